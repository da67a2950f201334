// SPDX-License-Identifier: MPL-2.0
// Headers of records, encoded once by whoever sends them, and positions as people write them.
#include <weft/record.h>

#include "../base/assert.h"
#include "../base/bytes.h"
#include "../wire/batch.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

bool weft_headers_next(weft_slice_t *rest, weft_slice_t *name, weft_slice_t *value)
{
    if (!rest->data || !rest->size) return false;
    // An encoded array begins with its own mark (0x9., 0xdc, 0xdd), a name (bin or str) never does.
    uint8_t first = rest->data[0];
    bool begun = !((first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd);
    return weft_record_header_next(rest, &begun, name, value);
}

// ---- building: the array's count stands in front as array 32, patched when asked for

struct weft_headers {
    weft_buf_t buf;
    uint32_t count; // pairs
};

#define HEADERS_ROOM 5

weft_headers_t *weft_headers_new(void)
{
    weft_headers_t *self = weft_calloc(1, sizeof *self);
    weft_buf_init(&self->buf);
    weft_headers_clear(self);
    return self;
}

void weft_headers_destroy(weft_headers_t **self_p)
{
    if (!*self_p) return;
    weft_buf_fini(&(*self_p)->buf);
    free(*self_p);
    *self_p = NULL;
}

void weft_headers_clear(weft_headers_t *self)
{
    weft_buf_clear(&self->buf);
    weft_buf_append(&self->buf, "\0\0\0\0\0", HEADERS_ROOM);
    self->count = 0;
}

static void s_put(weft_buf_t *buf, uint8_t mark8, weft_slice_t bytes)
{
    size_t size = bytes.size;
    uint8_t head[5] = {mark8, (uint8_t) size};
    size_t head_bytes = 2;
    if (size > 0xff) {
        head[0] = (uint8_t) (mark8 + (size > 0xffff ? 2 : 1));
        head_bytes = size > 0xffff ? 5 : 3;
        for (size_t i = 1; i < head_bytes; i++) head[i] = (uint8_t) (size >> 8 * (head_bytes - 1 - i));
    }
    weft_buf_append(buf, head, head_bytes);
    if (size) weft_buf_append(buf, bytes.data, size);
}

void weft_headers_add(weft_headers_t *self, const char *name, weft_slice_t value)
{
    s_put(&self->buf, 0xd9, weft_text(name)); // str 8, 16, 32
    if (value.data)
        s_put(&self->buf, 0xc4, value); // bin 8, 16, 32
    else
        weft_buf_append(&self->buf, "\xc0", 1);
    self->count++;
}

weft_slice_t weft_headers_encoded(weft_headers_t *self)
{
    if (!self->count) return WEFT_SLICE_NIL;
    uint32_t elements = self->count * 2;
    uint8_t *head = self->buf.data;
    size_t skip = elements < 16 ? 4 : elements <= 0xffff ? 2 : 0;
    if (skip == 4)
        head[4] = (uint8_t) (0x90 | elements);
    else {
        head[skip] = skip == 2 ? 0xdc : 0xdd;
        for (size_t i = skip + 1; i < HEADERS_ROOM; i++) head[i] = (uint8_t) (elements >> 8 * (HEADERS_ROOM - 1 - i));
    }
    return weft_bytes(head + skip, self->buf.size - skip);
}

// ---- positions

static bool s_number(const char *text, int64_t *out)
{
    if (!isdigit((unsigned char) *text)) return false;
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return !errno && !*end;
}

// "", "Z", "+01", "+0100", "-01:00": seconds east of UTC.
static bool s_zone(const char *text, int64_t *east_s)
{
    unsigned hours = 0, minutes = 0;
    int used = 0;
    *east_s = 0;
    if (!*text || !strcmp(text, "Z")) return true;
    if ((*text != '+' && *text != '-') || !isdigit((unsigned char) text[1])) return false;
    bool whole = (sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) == 2 && used == 5) ||
                 (sscanf(text + 1, "%2u%2u%n", &hours, &minutes, &used) == 2 && used == 4) ||
                 (sscanf(text + 1, "%2u%n", &hours, &used) == 1 && used == 2);
    if (!whole) return false;
    if (text[1 + used] || hours > 14 || minutes > 59) return false;
    *east_s = (int64_t) (hours * 3600 + minutes * 60) * (*text == '-' ? -1 : 1);
    return true;
}

static bool s_time(const char *text, int64_t *ms)
{
    if (s_number(text, ms)) {
        if (*ms < INT64_C(100000000000)) *ms *= 1000; // up to the year 5138 in seconds; more is meant in ms
        return true;
    }
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &tm);
    if (!rest) return false;
    if ((*rest == 'T' || *rest == ' ') && !(rest = strptime(rest + 1, "%H:%M", &tm))) return false;
    if (*rest == ':' && !(rest = strptime(rest + 1, "%S", &tm))) return false;
    int64_t east_s;
    if (!s_zone(rest, &east_s)) return false;
    *ms = ((int64_t) timegm(&tm) - east_s) * 1000;
    return true;
}

weft_err_t weft_position_parse(const char *text, struct weft_position *out)
{
    struct weft_position at = {.from = WEFT_FROM_OFFSET};
    if (!strcmp(text, "earliest"))
        at.from = WEFT_FROM_EARLIEST;
    else if (!strcmp(text, "latest"))
        at.from = WEFT_FROM_LATEST;
    else if (*text == '@') {
        at.from = WEFT_FROM_TIME;
        if (!s_time(text + 1, &at.value)) return WEFT_ERR_INVALID_ARGUMENT;
    } else if (!s_number(text, &at.value))
        return WEFT_ERR_INVALID_ARGUMENT;
    *out = at;
    return WEFT_OK;
}
