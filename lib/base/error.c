// SPDX-License-Identifier: MPL-2.0
// Codes and their table are generated; here is only what fills a sentence and what reads an errno.
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

weft_err_t weft_error_set(struct weft_error *error, weft_err_t code, const char *format, ...)
{
    if (!error) return code;
    error->code = code;
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(error->text, sizeof error->text, format, arguments) < 0) error->text[0] = '\0';
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
