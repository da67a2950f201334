// SPDX-License-Identifier: MPL-2.0
// Codes and their table are generated; here is only what fills a sentence and what reads an errno.
#include "error.h"

#include <errno.h>
#include <stdio.h>

// Bytes of the character that begins here; 0 if none does: no UTF-8 (RFC 3629), or a control character.
static size_t s_character_bytes(const char *text)
{
    const unsigned char *at = (const unsigned char *) text;
    if (at[0] < 0x80) return at[0] >= 0x20 && at[0] != 0x7f ? 1 : 0;
    if (at[0] < 0xc2 || at[0] > 0xf4) return 0;
    unsigned char low = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) return 0;
    size_t bytes = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    for (size_t i = 2; i < bytes; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return bytes;
}

// A sentence quotes what peers and people wrote, and may cut it in the middle of a character. It is text all the same.
static void s_make_text(char *text)
{
    while (*text != '\0') {
        size_t bytes = s_character_bytes(text);
        if (bytes == 0) *text = '?';
        text += bytes == 0 ? 1 : bytes;
    }
}

bool weft_text_is_clean(const char *text)
{
    while (*text != '\0') {
        size_t bytes = s_character_bytes(text);
        if (bytes == 0) return false;
        text += bytes;
    }
    return true;
}

weft_err_t weft_error_set_list(struct weft_error *error, weft_err_t code, const char *format, va_list arguments)
{
    if (!error) return code;
    error->code = code;
    if (vsnprintf(error->text, sizeof error->text, format, arguments) < 0) error->text[0] = '\0';
    s_make_text(error->text);
    return code;
}

weft_err_t weft_error_set(struct weft_error *error, weft_err_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    weft_error_set_list(error, code, format, arguments);
    va_end(arguments);
    return code;
}

weft_err_t weft_err_of_errno(int os_errno)
{
    if (os_errno == 0) return WEFT_OK;
    if (os_errno == ENOSPC || os_errno == EDQUOT) return WEFT_ERR_DISK_FULL;
    if (os_errno == ENOENT) return WEFT_ERR_NOT_FOUND;
    return WEFT_ERR_DISK_FAILED;
}
