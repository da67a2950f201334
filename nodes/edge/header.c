// SPDX-License-Identifier: MPL-2.0
// The id goes to the front with a constant width, so that a second attempt patches eight bytes: [map][a2 'id' cf ........]
// and then the other pairs as they came. A header may name `id` more than once; all of them go.
#include "header.h"

#include "../../lib/base/assert.h"
#include "../../lib/wire/walk.h"

#include <string.h>

#define S_KEY_BYTES 4 // a2 'i' 'd' cf

static void s_number(uint8_t *to, uint64_t number)
{
    for (int i = 0; i < 8; i++) to[i] = (uint8_t) (number >> (56 - 8 * i));
}

static size_t s_head_bytes(uint8_t first)
{
    return first == 0xde ? 3 : first == 0xdf ? 5 : 1;
}

static void s_head(weft_buf_t *out, uint64_t pairs)
{
    uint8_t head[5] = {0xdf, (uint8_t) (pairs >> 24), (uint8_t) (pairs >> 16), (uint8_t) (pairs >> 8), (uint8_t) pairs};
    if (pairs < 16) {
        uint8_t small = (uint8_t) (0x80 | pairs);
        weft_buf_append(out, &small, 1);
    } else if (pairs < 65536) {
        head[2] = 0xde;
        weft_buf_append(out, head + 2, 3);
    } else {
        weft_buf_append(out, head, 5);
    }
}

static bool s_is_id(const struct weft_value *key)
{
    return (key->kind == WEFT_KIND_STR || key->kind == WEFT_KIND_BIN) && key->bytes.size == 2 &&
           memcmp(key->bytes.data, "id", 2) == 0;
}

// Passes one pair; *is_id tells whether it is one.
static weft_err_t s_pair(weft_walk_t *walk, bool *is_id)
{
    struct weft_value key, value;
    weft_err_t err = weft_walk_next(walk, &key);
    if (err == WEFT_OK) err = weft_walk_skip_content(walk, &key, 2);
    if (err == WEFT_OK) err = weft_walk_next(walk, &value);
    if (err == WEFT_OK) err = weft_walk_skip_content(walk, &value, 2);
    if (err == WEFT_OK) *is_id = s_is_id(&key);
    return err;
}

weft_err_t weft_edge_header_with_id(weft_slice_t header, const struct weft_guard_limits *limits, uint64_t id,
                                    weft_buf_t *out, struct weft_error *error)
{
    weft_walk_t walk;
    struct weft_value map;
    weft_err_t err = weft_walk_init(&walk, header, limits, error);
    if (err == WEFT_OK) err = weft_walk_next(&walk, &map);
    if (err != WEFT_OK) return err;
    if (map.kind != WEFT_KIND_MAP) return weft_error_set(error, WEFT_ERR_BAD_FRAME, "The header is no map.");
    const weft_walk_t pairs = walk;
    uint64_t ids = 0;
    bool is_id = false;
    for (uint64_t i = 0; i < map.number; i++) {
        err = s_pair(&walk, &is_id);
        if (err != WEFT_OK) return err;
        ids += is_id;
    }
    err = weft_walk_end(&walk);
    if (err != WEFT_OK) return err;
    s_head(out, map.number - ids + 1);
    uint8_t own[S_KEY_BYTES + 8] = {0xa2, 'i', 'd', 0xcf};
    s_number(own + S_KEY_BYTES, id);
    weft_buf_append(out, own, sizeof own);
    walk = pairs;
    for (uint64_t i = 0; i < map.number; i++) {
        const uint8_t *begin = walk.at;
        err = s_pair(&walk, &is_id);
        weft_assert(err == WEFT_OK); // as above
        if (!is_id) weft_buf_append(out, begin, (size_t) (walk.at - begin));
    }
    return WEFT_OK;
}

void weft_edge_header_set_id(weft_buf_t *header, uint64_t id)
{
    s_number(header->data + s_head_bytes(header->data[0]) + S_KEY_BYTES, id);
}
