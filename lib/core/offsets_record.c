// SPDX-License-Identifier: MPL-2.0
// The bytes of a record in __offsets, by hand: a leader writes and reads hundreds of thousands a second. They are those
// that the generated codec makes of schemas/records/offset_key.json and offset_value.json (a test compares them), and a
// reader takes whatever that codec takes: keys in any order, integers of any width, keys unknown. One key has one
// encoding, for compaction compares bytes.
#include "offsets.h"

#include "../wire/walk.h"

#include <string.h>

#define S_GROUP_BYTES_MAX 255
#define S_KEY_PAIRS_MAX 64 // a map with more was not written by any version of this

// ---- writing

static uint8_t *s_room(weft_buf_t *out, size_t bytes)
{
    weft_buf_reserve(out, bytes);
    return out->data + out->size;
}

static uint8_t *s_big(uint8_t *at, uint64_t number, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;) *at++ = (uint8_t) (number >> (8 * i));
    return at;
}

static uint8_t *s_uint(uint8_t *at, uint64_t number)
{
    if (number < 0x80) return *at = (uint8_t) number, at + 1;
    unsigned log = number <= UINT8_MAX ? 0 : number <= UINT16_MAX ? 1 : number <= UINT32_MAX ? 2 : 3;
    *at++ = (uint8_t) (0xcc + log);
    return s_big(at, number, 1u << log);
}

static uint8_t *s_int(uint8_t *at, int64_t number)
{
    if (number >= 0) return s_uint(at, (uint64_t) number);
    if (number >= -32) return *at = (uint8_t) number, at + 1;
    unsigned log = number >= INT8_MIN ? 0 : number >= INT16_MIN ? 1 : number >= INT32_MIN ? 2 : 3;
    *at++ = (uint8_t) (0xd0 + log);
    return s_big(at, (uint64_t) number, 1u << log);
}

static uint8_t *s_str(uint8_t *at, const void *data, size_t size)
{
    if (size < 32) {
        *at++ = (uint8_t) (0xa0 | size);
    } else if (size <= UINT8_MAX) {
        *at++ = 0xd9;
        at = s_big(at, size, 1);
    } else {
        *at++ = 0xda;
        at = s_big(at, size, 2);
    }
    memcpy(at, data, size);
    return at + size;
}

#define S_NAME(at, text) s_str(at, text, sizeof(text) - 1)

static void s_encode_key(const struct weft_offset_key *key, weft_buf_t *out)
{
    bool has_topic = !weft_id_is_zero(key->topic), has_partition = key->partition != 0;
    uint8_t *at = s_room(out, 64 + key->group.size);
    *at++ = (uint8_t) (0x81 + has_topic + has_partition);
    at = S_NAME(at, "group");
    at = s_str(at, key->group.data, key->group.size);
    if (has_topic) {
        at = S_NAME(at, "topic_id");
        *at++ = 0xc4;
        *at++ = 16;
        memcpy(at, key->topic.bytes, 16);
        at += 16;
    }
    if (has_partition) {
        at = S_NAME(at, "partition");
        at = s_uint(at, key->partition);
    }
    out->size = (size_t) (at - out->data);
}

static void s_encode_value(const struct weft_offset_value *value, weft_buf_t *out)
{
    uint8_t *map = s_room(out, 128 + value->metadata.size), *at = map + 1;
    uint8_t pairs = 0;
    if (value->offset != -1) at = s_int(S_NAME(at, "offset"), value->offset), pairs++;
    if (value->epoch != -1) at = s_int(S_NAME(at, "epoch"), value->epoch), pairs++;
    if (value->token != 0) at = s_uint(S_NAME(at, "token"), value->token), pairs++;
    if (value->n != 0) at = s_uint(S_NAME(at, "n"), value->n), pairs++;
    if (value->metadata.data != NULL) {
        at = S_NAME(at, "metadata");
        at = s_str(at, value->metadata.data, value->metadata.size);
        pairs++;
    }
    if (value->committed_ms != -1) at = s_int(S_NAME(at, "committed_ms"), value->committed_ms), pairs++;
    *map = (uint8_t) (0x80 | pairs);
    out->size = (size_t) (at - out->data);
}

void weft_offset_encode(const struct weft_offset_key *key, const struct weft_offset_value *value, weft_buf_t *key_out,
                        weft_buf_t *value_out)
{
    s_encode_key(key, key_out);
    if (value != NULL) s_encode_value(value, value_out);
}

// ---- reading

static bool s_integer(const struct weft_value *value, int64_t min, int64_t *out)
{
    if (value->kind == WEFT_KIND_UINT && value->number > INT64_MAX) return false;
    if (value->kind != WEFT_KIND_UINT && value->kind != WEFT_KIND_NEGATIVE) return false;
    *out = (int64_t) value->number;
    return *out >= min;
}

static bool s_bytes(const struct weft_value *value, size_t size_max, weft_slice_t *out)
{
    if (value->kind != WEFT_KIND_STR && value->kind != WEFT_KIND_BIN) return false;
    *out = value->bytes;
    return value->bytes.size <= size_max;
}

// Of a key that stands twice the last counts; nil stands for its default.
static bool s_key_field(weft_slice_t name, const struct weft_value *value, struct weft_offset_key *key)
{
    int64_t number = 0;
    weft_slice_t bytes = WEFT_SLICE_NIL;
    bool nil = value->kind == WEFT_KIND_NIL;
    if (weft_slice_is_text(name, "group")) {
        key->group = WEFT_SLICE_NIL;
        return nil || s_bytes(value, S_GROUP_BYTES_MAX, &key->group);
    }
    if (weft_slice_is_text(name, "topic_id")) {
        if (!nil && (!s_bytes(value, 16, &bytes) || bytes.size != 16)) return false;
        key->topic = weft_id_of_slice(bytes);
    } else if (weft_slice_is_text(name, "partition")) {
        if (!nil && (!s_integer(value, 0, &number) || number > UINT32_MAX)) return false;
        key->partition = (uint32_t) number;
    }
    return true;
}

static bool s_value_field(weft_slice_t name, const struct weft_value *value, struct weft_offset_value *out)
{
    int64_t number = -1;
    bool nil = value->kind == WEFT_KIND_NIL;
    if (weft_slice_is_text(name, "metadata")) {
        out->metadata = WEFT_SLICE_NIL;
        return nil || s_bytes(value, WEFT_OFFSET_METADATA_BYTES_MAX, &out->metadata);
    }
    if (weft_slice_is_text(name, "token") || weft_slice_is_text(name, "n")) {
        if (!nil && value->kind != WEFT_KIND_UINT) return false;
        *(name.size == 1 ? &out->n : &out->token) = nil ? 0 : value->number;
    } else if (weft_slice_is_text(name, "offset")) {
        if (!nil && !s_integer(value, -1, &number)) return false;
        out->offset = number;
    } else if (weft_slice_is_text(name, "committed_ms")) {
        if (!nil && !s_integer(value, INT64_MIN, &number)) return false;
        out->committed_ms = number;
    } else if (weft_slice_is_text(name, "epoch")) {
        if (!nil && (!s_integer(value, INT32_MIN, &number) || number > INT32_MAX)) return false;
        out->epoch = (int32_t) number;
    }
    return true;
}

// One map of known fields; `key` or `value` takes them.
static bool s_map(weft_slice_t bytes, struct weft_offset_key *key, struct weft_offset_value *value)
{
    weft_walk_t walk;
    struct weft_value map, name, field;
    if (weft_walk_init(&walk, bytes, &weft_guard_record, NULL) != WEFT_OK || weft_walk_next(&walk, &map) != WEFT_OK)
        return false;
    if (map.kind != WEFT_KIND_MAP || map.number > S_KEY_PAIRS_MAX) return false;
    for (uint64_t i = 0; i < map.number; i++) {
        if (weft_walk_next(&walk, &name) != WEFT_OK || name.kind != WEFT_KIND_STR) return false;
        if (weft_walk_next(&walk, &field) != WEFT_OK) return false;
        if (weft_walk_skip_content(&walk, &field, 2) != WEFT_OK) return false;
        bool taken = key != NULL ? s_key_field(name.bytes, &field, key) : s_value_field(name.bytes, &field, value);
        if (!taken) return false;
    }
    return weft_walk_end(&walk) == WEFT_OK;
}

weft_err_t weft_offset_decode(weft_slice_t key_bytes, weft_slice_t value_bytes, struct weft_offset_key *key,
                              struct weft_offset_value *value, bool *has_value)
{
    struct weft_offset_key read_key = {.group = WEFT_SLICE_NIL};
    struct weft_offset_value read = {.offset = -1, .epoch = -1, .committed_ms = -1};
    if (!s_map(key_bytes, &read_key, NULL) || read_key.group.size == 0) return WEFT_ERR_BAD_FRAME;
    if (value_bytes.data != NULL && !s_map(value_bytes, NULL, &read)) return WEFT_ERR_BAD_FRAME;
    *key = read_key;
    *value = read;
    *has_value = value_bytes.data != NULL;
    return WEFT_OK;
}
