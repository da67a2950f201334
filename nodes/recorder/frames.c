// SPDX-License-Identifier: MPL-2.0
// Both directions of the table in the header. What a record says about itself is believed only after a bounded walk:
// anybody may write to the topic.
#include "frames.h"

#include "../../lib/wire/walk.h"

#include <stdio.h>

static void s_put_be(weft_buf_t *buf, uint8_t marker, uint64_t number, size_t bytes)
{
    uint8_t head[9] = {marker};
    for (size_t i = 0; i < bytes; i++) head[1 + i] = (uint8_t) (number >> 8 * (bytes - 1 - i));
    weft_buf_append(buf, head, 1 + bytes);
}

static void s_put_array(weft_buf_t *buf, size_t count)
{
    if (count < 16)
        s_put_be(buf, (uint8_t) (0x90 | count), 0, 0);
    else
        s_put_be(buf, 0xdc, count, 2);
}

static void s_put_bin(weft_buf_t *buf, weft_slice_t bytes)
{
    if (bytes.size <= UINT8_MAX)
        s_put_be(buf, 0xc4, bytes.size, 1);
    else if (bytes.size <= UINT16_MAX)
        s_put_be(buf, 0xc5, bytes.size, 2);
    else
        s_put_be(buf, 0xc6, bytes.size, 4);
    if (bytes.size) weft_buf_append(buf, bytes.data, bytes.size);
}

static void s_header(weft_headers_t *headers, const char *name, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long) number);
    weft_headers_add(headers, name, weft_text(text));
}

static weft_slice_t s_not_nil(weft_slice_t bytes)
{
    return bytes.data ? bytes : weft_bytes("", 0);
}

void weft_frames_encode(const weft_slice_t *frames, size_t count, int64_t key_frame, uint64_t missing, weft_buf_t *buf,
                        weft_headers_t *headers, struct weft_frames_record *out)
{
    bool has_key = key_frame >= 0 && (uint64_t) key_frame < count;
    size_t key_at = has_key ? (size_t) key_frame : count, rest = count - has_key;
    *out = (struct weft_frames_record){.value = weft_bytes("", 0)};
    weft_headers_clear(headers);
    if (count > 1 || has_key) s_header(headers, WEFT_FRAMES_COUNT_HEADER, count);
    if (has_key) {
        s_header(headers, WEFT_FRAMES_KEY_HEADER, key_at);
        out->key = s_not_nil(frames[key_at]);
    }
    if (missing) s_header(headers, WEFT_FRAMES_MISSING_HEADER, missing);
    out->headers = weft_headers_encoded(headers);
    if (rest == 1) {
        out->value = s_not_nil(frames[key_at == 0 ? 1 : 0]);
        return;
    }
    if (!rest) return;
    weft_buf_clear(buf);
    s_put_array(buf, rest);
    for (size_t i = 0; i < count; i++)
        if (i != key_at) s_put_bin(buf, frames[i]);
    out->value = weft_buf_slice(buf);
}

// ---- back

// Decimal digits, at most five: all that can be right here.
static bool s_number(weft_slice_t text, size_t *out)
{
    if (text.size < 1 || text.size > 5) return false;
    size_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        number = number * 10 + (text.data[i] - '0');
    }
    *out = number;
    return true;
}

static bool s_array(weft_slice_t value, weft_slice_t *frames, size_t count)
{
    const struct weft_guard_limits limits = {
        .bytes_max = UINT32_MAX, .depth_max = 2, .count_max = WEFT_FRAMES_MAX, .string_bytes_max = UINT32_MAX};
    weft_walk_t walk;
    struct weft_value found;
    if (weft_walk_init(&walk, value, &limits, NULL) || weft_walk_next(&walk, &found)) return false;
    if (found.kind != WEFT_KIND_ARRAY || found.number != count) return false;
    for (size_t i = 0; i < count; i++) {
        if (weft_walk_next(&walk, &found)) return false;
        if (found.kind != WEFT_KIND_BIN && found.kind != WEFT_KIND_STR) return false;
        frames[i] = found.bytes;
    }
    return weft_walk_end(&walk) == WEFT_OK;
}

weft_err_t weft_frames_decode(const struct weft_record_view *record, weft_slice_t *frames, size_t *count, bool *made)
{
    weft_slice_t rest = record->headers, name, text;
    size_t total = 0, key_at = SIZE_MAX;
    bool good = true, found = false;
    while (weft_headers_next(&rest, &name, &text)) {
        if (weft_slice_is_text(name, WEFT_FRAMES_COUNT_HEADER))
            found = true, good = good && s_number(text, &total);
        else if (weft_slice_is_text(name, WEFT_FRAMES_KEY_HEADER))
            good = good && s_number(text, &key_at);
    }
    if (!found) {
        frames[0] = s_not_nil(record->value);
        *count = 1;
        *made = false;
        return WEFT_OK;
    }
    bool has_key = key_at != SIZE_MAX;
    if (!good || total < 1 || total > WEFT_FRAMES_MAX || (has_key && key_at >= total)) return WEFT_ERR_BAD_FRAME;
    if (has_key && !record->key.data) return WEFT_ERR_BAD_FRAME;
    size_t others = total - has_key;
    if (others == 1)
        frames[0] = s_not_nil(record->value);
    else if (others && !s_array(record->value, frames, others))
        return WEFT_ERR_BAD_FRAME;
    if (has_key) {
        memmove(frames + key_at + 1, frames + key_at, (others - key_at) * sizeof *frames);
        frames[key_at] = record->key;
    }
    *count = total;
    *made = true;
    return WEFT_OK;
}
