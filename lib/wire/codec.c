// SPDX-License-Identifier: MPL-2.0
/*
 * Decoding: the guard walks the bytes, msgpack-c makes objects of them in a zone that is reused, the tables say what
 * goes where. A key is looked for first where the encoder would have put it, so that our own messages cost one
 * comparison a key. The struct is built in the arena and copied out at the end: a refused message leaves the caller's
 * struct as it was.
 *
 * Encoding: msgpack_packer writes into the buffer; a map's pairs are counted first, because fields equal to their
 * default are left out.
 */
#include "codec.h"

#include "../base/assert.h"

#include <weft_gen/codec.h>

#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#define ZONE_CHUNK_BYTES 8192
#define PATH_MAX_DEPTH 4 // arrays of structs within each other; the generator keeps below HEADER_DEPTH_MAX

struct s_decode {
    weft_codec_t *codec;
    const struct weft_shape *top;
    struct weft_error *error;
    struct {
        const char *name;
        size_t index;
    } path[PATH_MAX_DEPTH]; // the arrays of structs that enclose the field
    size_t depth;
};

void weft_codec_init(weft_codec_t *self)
{
    weft_arena_init(&self->arena);
    self->zone = NULL;
}

void weft_codec_fini(weft_codec_t *self)
{
    weft_arena_fini(&self->arena);
    if (self->zone) msgpack_zone_free(self->zone);
    self->zone = NULL;
}

// ---- fields in memory

static size_t s_element_bytes(const struct weft_field *field)
{
    switch ((enum weft_field_type) field->type) {
    case WEFT_FIELD_BOOL: return sizeof(bool);
    case WEFT_FIELD_I8:
    case WEFT_FIELD_U8: return 1;
    case WEFT_FIELD_I16:
    case WEFT_FIELD_U16: return 2;
    case WEFT_FIELD_I32:
    case WEFT_FIELD_U32: return 4;
    case WEFT_FIELD_I64:
    case WEFT_FIELD_U64: return 8;
    case WEFT_FIELD_STR:
    case WEFT_FIELD_BIN: return sizeof(weft_slice_t);
    case WEFT_FIELD_ID: return sizeof(weft_id_t);
    case WEFT_FIELD_STRUCT: return field->element->bytes;
    }
    return 0;
}

static void s_set_integer(const struct weft_field *field, void *at, int64_t number)
{
    switch (s_element_bytes(field)) { // two's complement: the low bytes are right for signed and unsigned alike
    case 1: *(uint8_t *) at = (uint8_t) number; break;
    case 2: *(uint16_t *) at = (uint16_t) number; break;
    case 4: *(uint32_t *) at = (uint32_t) number; break;
    default: *(uint64_t *) at = (uint64_t) number; break;
    }
}

static bool s_is_signed(const struct weft_field *field)
{
    return field->type >= WEFT_FIELD_I8 && field->type <= WEFT_FIELD_I64;
}

// The value of an integer, sign extended; the bit pattern of a u64.
static int64_t s_get_integer(const struct weft_field *field, const void *at)
{
    bool is_signed = s_is_signed(field);
    switch (s_element_bytes(field)) {
    case 1: return is_signed ? (int64_t) * (const int8_t *) at : (int64_t) * (const uint8_t *) at;
    case 2: return is_signed ? (int64_t) * (const int16_t *) at : (int64_t) * (const uint16_t *) at;
    case 4: return is_signed ? (int64_t) * (const int32_t *) at : (int64_t) * (const uint32_t *) at;
    default: return *(const int64_t *) at;
    }
}

static void s_set_default(const struct weft_field *field, uint8_t *out)
{
    if (field->flags & WEFT_FIELD_ARRAY) {
        memset(out + field->offset, 0, sizeof(void *));
        memset(out + field->count_offset, 0, sizeof(size_t));
        return;
    }
    uint8_t *at = out + field->offset;
    if (field->type == WEFT_FIELD_STR || field->type == WEFT_FIELD_BIN) {
        *(weft_slice_t *) (void *) at = weft_slice_text(field->initial_text);
    } else if (field->type == WEFT_FIELD_ID) {
        memset(at, 0, sizeof(weft_id_t));
    } else if (field->type == WEFT_FIELD_BOOL) {
        *(bool *) at = field->initial != 0;
    } else {
        s_set_integer(field, at, field->initial);
    }
}

void weft_shape_init(const struct weft_shape *shape, void *out)
{
    memset(out, 0, shape->bytes);
    for (size_t i = 0; i < shape->field_count; i++) s_set_default(&shape->fields[i], out);
}

// ---- refusing

static void s_place(const struct s_decode *self, const struct weft_field *field, char *text, size_t size)
{
    int used = snprintf(text, size, "%s: ", self->top->name);
    for (size_t i = 0; i < self->depth && used > 0 && (size_t) used < size; i++)
        used += snprintf(text + used, size - (size_t) used, "%s[%zu].", self->path[i].name, self->path[i].index);
    if (used > 0 && (size_t) used < size) snprintf(text + used, size - (size_t) used, "%s", field->name);
}

static const char *s_wanted(const struct weft_field *field)
{
    switch ((enum weft_field_type) field->type) {
    case WEFT_FIELD_BOOL: return "true or false";
    case WEFT_FIELD_I8: return "an integer from -128 to 127";
    case WEFT_FIELD_I16: return "an integer from -32768 to 32767";
    case WEFT_FIELD_I32: return "an integer from -2147483648 to 2147483647";
    case WEFT_FIELD_I64: return "an integer from -9223372036854775808 to 9223372036854775807";
    case WEFT_FIELD_U8: return "an integer from 0 to 255";
    case WEFT_FIELD_U16: return "an integer from 0 to 65535";
    case WEFT_FIELD_U32: return "an integer from 0 to 4294967295";
    case WEFT_FIELD_U64: return "an integer from 0 to 18446744073709551615";
    case WEFT_FIELD_STR: return "a string";
    case WEFT_FIELD_BIN: return "binary";
    case WEFT_FIELD_ID: return "an id (16 bytes, or 32 hex digits)";
    case WEFT_FIELD_STRUCT: return "a map";
    }
    return "something else";
}

static void s_given(const msgpack_object *object, char *text, size_t size)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL: snprintf(text, size, "nil"); break;
    case MSGPACK_OBJECT_BOOLEAN: snprintf(text, size, "%s", object->via.boolean ? "true" : "false"); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: snprintf(text, size, "%" PRIu64, object->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: snprintf(text, size, "%" PRId64, object->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64: snprintf(text, size, "a float (%g)", object->via.f64); break;
    case MSGPACK_OBJECT_STR: snprintf(text, size, "a string of %" PRIu32 " bytes", object->via.str.size); break;
    case MSGPACK_OBJECT_BIN: snprintf(text, size, "binary of %" PRIu32 " bytes", object->via.bin.size); break;
    case MSGPACK_OBJECT_ARRAY: snprintf(text, size, "an array of %" PRIu32, object->via.array.size); break;
    case MSGPACK_OBJECT_MAP: snprintf(text, size, "a map"); break;
    case MSGPACK_OBJECT_EXT: snprintf(text, size, "an extension"); break;
    }
}

static weft_err_t s_refuse(const struct s_decode *self, const struct weft_field *field, const msgpack_object *object,
                           const char *wanted)
{
    char place[160], given[64];
    s_place(self, field, place, sizeof(place));
    s_given(object, given, sizeof(given));
    return weft_error_set(self->error, WEFT_ERR_INVALID_REQUEST, "%s is %s; %s is wanted.", place, given, wanted);
}

static weft_err_t s_refuse_size(const struct s_decode *self, const struct weft_field *field, size_t size,
                                const char *unit, size_t max)
{
    char place[160];
    s_place(self, field, place, sizeof(place));
    return weft_error_set(self->error, WEFT_ERR_INVALID_REQUEST, "%s has %zu %s; at most %zu are allowed.", place, size,
                          unit, max);
}

// ---- decoding

static bool s_bytes_of(const msgpack_object *object, weft_slice_t *out)
{
    if (object->type == MSGPACK_OBJECT_STR) {
        *out = weft_slice(object->via.str.ptr, object->via.str.size);
    } else if (object->type == MSGPACK_OBJECT_BIN) {
        *out = weft_slice(object->via.bin.ptr, object->via.bin.size);
    } else {
        return false;
    }
    return true;
}

static weft_err_t s_decode_integer(const struct s_decode *self, const struct weft_field *field,
                                   const msgpack_object *object, void *at)
{
    unsigned bits = 8 * (unsigned) s_element_bytes(field);
    uint64_t max = UINT64_MAX >> (64 - bits + (s_is_signed(field) ? 1 : 0));
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= max) {
        s_set_integer(field, at, (int64_t) object->via.u64);
        return WEFT_OK;
    }
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER && s_is_signed(field) &&
        object->via.i64 >= -1 - (int64_t) max) {
        s_set_integer(field, at, object->via.i64);
        return WEFT_OK;
    }
    return s_refuse(self, field, object, s_wanted(field));
}

static weft_err_t s_decode_id(const struct s_decode *self, const struct weft_field *field, const msgpack_object *object,
                              weft_id_t *at)
{
    weft_slice_t bytes;
    if (!s_bytes_of(object, &bytes)) return s_refuse(self, field, object, s_wanted(field));
    if (bytes.size == sizeof(at->bytes)) {
        memcpy(at->bytes, bytes.data, sizeof(at->bytes));
        return WEFT_OK;
    }
    char text[WEFT_ID_TEXT_BYTES];
    if (bytes.size != sizeof(text) - 1) return s_refuse(self, field, object, s_wanted(field));
    memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = 0;
    return weft_id_parse(text, at) ? s_refuse(self, field, object, s_wanted(field)) : WEFT_OK;
}

static weft_err_t s_decode_map(struct s_decode *self, const struct weft_shape *shape, const msgpack_object_map *map,
                               void *out);

static weft_err_t s_decode_value(struct s_decode *self, const struct weft_field *field, const msgpack_object *object,
                                 void *at)
{
    switch ((enum weft_field_type) field->type) {
    case WEFT_FIELD_BOOL:
        if (object->type != MSGPACK_OBJECT_BOOLEAN) return s_refuse(self, field, object, s_wanted(field));
        *(bool *) at = object->via.boolean;
        return WEFT_OK;
    case WEFT_FIELD_STR:
    case WEFT_FIELD_BIN: {
        weft_slice_t bytes;
        if (!s_bytes_of(object, &bytes)) return s_refuse(self, field, object, s_wanted(field));
        if (bytes.size > field->bytes_max) return s_refuse_size(self, field, bytes.size, "bytes", field->bytes_max);
        *(weft_slice_t *) at = bytes;
        return WEFT_OK;
    }
    case WEFT_FIELD_ID: return s_decode_id(self, field, object, at);
    case WEFT_FIELD_STRUCT:
        if (object->type != MSGPACK_OBJECT_MAP) return s_refuse(self, field, object, s_wanted(field));
        return s_decode_map(self, field->element, &object->via.map, at);
    case WEFT_FIELD_I8:
    case WEFT_FIELD_I16:
    case WEFT_FIELD_I32:
    case WEFT_FIELD_I64:
    case WEFT_FIELD_U8:
    case WEFT_FIELD_U16:
    case WEFT_FIELD_U32:
    case WEFT_FIELD_U64: break;
    }
    return s_decode_integer(self, field, object, at);
}

static weft_err_t s_decode_array(struct s_decode *self, const struct weft_field *field, const msgpack_object *object,
                                 uint8_t *out)
{
    if (object->type != MSGPACK_OBJECT_ARRAY) return s_refuse(self, field, object, "an array");
    size_t count = object->via.array.size;
    if (count > field->count_max) return s_refuse_size(self, field, count, "elements", field->count_max);
    size_t element_bytes = s_element_bytes(field);
    uint8_t *elements = count ? weft_arena_alloc(&self->codec->arena, count * element_bytes) : NULL;
    bool deeper = field->type == WEFT_FIELD_STRUCT;
    if (deeper) {
        weft_assert(self->depth < PATH_MAX_DEPTH);
        self->path[self->depth++].name = field->name;
    }
    for (size_t i = 0; i < count; i++) {
        if (deeper) self->path[self->depth - 1].index = i;
        weft_err_t err = s_decode_value(self, field, &object->via.array.ptr[i], elements + i * element_bytes);
        if (err) return err;
    }
    if (deeper) self->depth--;
    memcpy(out + field->offset, &elements, sizeof(elements));
    memcpy(out + field->count_offset, &count, sizeof(count));
    return WEFT_OK;
}

// The field of that key, or NULL; looked for from `hint` on.
static const struct weft_field *s_field_of_key(const struct weft_shape *shape, weft_slice_t key, size_t hint)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        size_t at = hint + i < shape->field_count ? hint + i : hint + i - shape->field_count;
        const struct weft_field *field = &shape->fields[at];
        if (field->name_bytes == key.size && memcmp(field->name, key.data, key.size) == 0) return field;
    }
    return NULL;
}

static weft_err_t s_check_required(const struct s_decode *self, const struct weft_shape *shape, uint64_t seen)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct weft_field *field = &shape->fields[i];
        if (!(field->flags & WEFT_FIELD_REQUIRED) || seen >> i & 1) continue;
        char place[160];
        s_place(self, field, place, sizeof(place));
        return weft_error_set(self->error, WEFT_ERR_INVALID_REQUEST, "%s is missing; %s is wanted.", place,
                              field->flags & WEFT_FIELD_ARRAY ? "an array" : s_wanted(field));
    }
    return WEFT_OK;
}

static weft_err_t s_decode_map(struct s_decode *self, const struct weft_shape *shape, const msgpack_object_map *map,
                               void *out)
{
    weft_assert(shape->field_count <= 64); // bits of `seen`
    weft_shape_init(shape, out);
    uint64_t seen = 0;
    size_t hint = 0;
    for (uint32_t i = 0; i < map->size; i++) {
        weft_slice_t key;
        if (!s_bytes_of(&map->ptr[i].key, &key)) continue;
        const struct weft_field *field = s_field_of_key(shape, key, hint);
        if (!field) continue;
        size_t at = (size_t) (field - shape->fields);
        hint = at + 1 < shape->field_count ? at + 1 : 0;
        const msgpack_object *value = &map->ptr[i].val;
        weft_err_t err = WEFT_OK;
        if (value->type == MSGPACK_OBJECT_NIL) {
            s_set_default(field, out);
            seen &= ~(UINT64_C(1) << at);
            continue;
        }
        if (field->flags & WEFT_FIELD_ARRAY) {
            err = s_decode_array(self, field, value, out);
        } else {
            err = s_decode_value(self, field, value, (uint8_t *) out + field->offset);
        }
        if (err) return err;
        seen |= UINT64_C(1) << at;
    }
    return s_check_required(self, shape, seen);
}

// Objects in the codec's zone; they point into `bytes`.
static weft_err_t s_unpack(weft_codec_t *codec, weft_slice_t bytes, msgpack_object *out, struct weft_error *error)
{
    if (codec->zone) msgpack_zone_clear(codec->zone);
    if (!codec->zone) codec->zone = msgpack_zone_new(ZONE_CHUNK_BYTES);
    weft_assert(codec->zone);
    size_t at = 0;
    msgpack_unpack_return result = msgpack_unpack((const char *) bytes.data, bytes.size, &at, codec->zone, out);
    if (result == MSGPACK_UNPACK_SUCCESS && at == bytes.size) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_BAD_FRAME, "The message is no legal msgpack (stopped at byte %zu of %zu).",
                          at, bytes.size);
}

weft_err_t weft_shape_decode(weft_codec_t *codec, const struct weft_shape *shape, weft_slice_t bytes,
                             const struct weft_guard_limits *limits, void *out, struct weft_error *error)
{
    weft_err_t err = weft_guard_check(bytes, limits, error);
    if (err) return err;
    weft_arena_reset(&codec->arena);
    msgpack_object object;
    err = s_unpack(codec, bytes, &object, error);
    if (err) return err;
    if (object.type != MSGPACK_OBJECT_MAP)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "%s: a msgpack map is wanted.", shape->name);
    struct s_decode decode = {.codec = codec, .top = shape, .error = error};
    void *made = weft_arena_alloc(&codec->arena, shape->bytes);
    err = s_decode_map(&decode, shape, &object.via.map, made);
    if (err) return err;
    memcpy(out, made, shape->bytes);
    return WEFT_OK;
}

weft_err_t weft_reply_shape_decode(weft_codec_t *codec, const struct weft_shape *shape, weft_slice_t bytes, void *out,
                                   struct weft_error *error)
{
    weft_err_t err = weft_shape_decode(codec, shape, bytes, &weft_guard_reply, out, error);
    if (err) return err;
    struct weft_reply_header *header = out;
    header->error = weft_err_of_number((int32_t) header->error);
    return WEFT_OK;
}

// ---- encoding

static int s_write(void *buf, const char *data, size_t size)
{
    weft_buf_append(buf, data, size);
    return 0;
}

static void s_pack_text(msgpack_packer *packer, const char *text, size_t size)
{
    msgpack_pack_str(packer, size);
    msgpack_pack_str_body(packer, text, size);
}

static bool s_is_default(const struct weft_field *field, const uint8_t *self)
{
    if (field->flags & WEFT_FIELD_ARRAY) return *(const size_t *) (const void *) (self + field->count_offset) == 0;
    const uint8_t *at = self + field->offset;
    if (field->type == WEFT_FIELD_STR || field->type == WEFT_FIELD_BIN) {
        const weft_slice_t *slice = (const void *) at;
        return !slice->data || weft_slice_equal(*slice, weft_slice_text(field->initial_text));
    }
    if (field->type == WEFT_FIELD_ID) return weft_id_is_zero(*(const weft_id_t *) at);
    if (field->type == WEFT_FIELD_BOOL) return *(const bool *) at == (field->initial != 0);
    return s_get_integer(field, at) == field->initial;
}

static bool s_is_sent(const struct weft_field *field, const uint8_t *self, bool only_set)
{
    if (only_set) return field->flags & WEFT_FIELD_HAS_DEFAULT && !s_is_default(field, self);
    return !(field->flags & WEFT_FIELD_HAS_DEFAULT) || field->flags & WEFT_FIELD_ALWAYS || !s_is_default(field, self);
}

static void s_encode_map(msgpack_packer *packer, const struct weft_shape *shape, const uint8_t *self,
                         const struct weft_shape_head *head);

static void s_encode_value(msgpack_packer *packer, const struct weft_field *field, const void *at)
{
    if (field->type == WEFT_FIELD_STRUCT) {
        s_encode_map(packer, field->element, at, NULL);
    } else if (field->type == WEFT_FIELD_STR || field->type == WEFT_FIELD_BIN) {
        const weft_slice_t *slice = at;
        if (!slice->data) {
            msgpack_pack_nil(packer);
        } else if (field->type == WEFT_FIELD_STR) {
            s_pack_text(packer, (const char *) slice->data, slice->size);
        } else {
            msgpack_pack_bin(packer, slice->size);
            msgpack_pack_bin_body(packer, slice->data, slice->size);
        }
    } else if (field->type == WEFT_FIELD_ID) {
        msgpack_pack_bin(packer, sizeof(weft_id_t));
        msgpack_pack_bin_body(packer, at, sizeof(weft_id_t));
    } else if (field->type == WEFT_FIELD_BOOL) {
        if (*(const bool *) at) msgpack_pack_true(packer);
        if (!*(const bool *) at) msgpack_pack_false(packer);
    } else if (field->type == WEFT_FIELD_U64) {
        msgpack_pack_uint64(packer, (uint64_t) s_get_integer(field, at));
    } else {
        msgpack_pack_int64(packer, s_get_integer(field, at));
    }
}

static void s_encode_field(msgpack_packer *packer, const struct weft_field *field, const uint8_t *self)
{
    s_pack_text(packer, field->name, field->name_bytes);
    if (!(field->flags & WEFT_FIELD_ARRAY)) {
        s_encode_value(packer, field, self + field->offset);
        return;
    }
    size_t count = *(const size_t *) (const void *) (self + field->count_offset);
    const uint8_t *elements = *(uint8_t *const *) (const void *) (self + field->offset);
    size_t element_bytes = s_element_bytes(field);
    msgpack_pack_array(packer, count);
    for (size_t i = 0; i < count; i++) s_encode_value(packer, field, elements + i * element_bytes);
}

static size_t s_head_pairs(const struct weft_shape_head *head)
{
    return head ? (head->text_key ? 1 : 0) + (head->number_key ? 1 : 0) : 0;
}

static void s_encode_head(msgpack_packer *packer, const struct weft_shape_head *head)
{
    if (head && head->text_key) {
        s_pack_text(packer, head->text_key, strlen(head->text_key));
        s_pack_text(packer, head->text, strlen(head->text));
    }
    if (head && head->number_key) {
        s_pack_text(packer, head->number_key, strlen(head->number_key));
        msgpack_pack_uint64(packer, head->number);
    }
}

static void s_encode_map(msgpack_packer *packer, const struct weft_shape *shape, const uint8_t *self,
                         const struct weft_shape_head *head)
{
    size_t pairs = s_head_pairs(head);
    for (size_t i = 0; i < shape->field_count; i++) pairs += s_is_sent(&shape->fields[i], self, false);
    msgpack_pack_map(packer, pairs);
    s_encode_head(packer, head);
    for (size_t i = 0; i < shape->field_count; i++) {
        if (s_is_sent(&shape->fields[i], self, false)) s_encode_field(packer, &shape->fields[i], self);
    }
}

void weft_shape_encode(const struct weft_shape *shape, const void *self, const struct weft_shape_head *head,
                       weft_buf_t *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, s_write);
    s_encode_map(&packer, shape, self, head);
}

// A reply that refuses: the header with name and sentence, and what else was set on purpose (DIVERGED tells where the
// common part ends).
static void s_encode_refusal(msgpack_packer *packer, const struct weft_shape *shape, const void *reply)
{
    struct weft_reply_header header = *(const struct weft_reply_header *) reply;
    if (!header.name.data) header.name = weft_slice_text(weft_err_name(header.error));
    if (!header.message.data) header.message = weft_slice_text(weft_err_sentence(header.error));
    const uint8_t *fixed = (const uint8_t *) &header;
    size_t pairs = 0;
    for (size_t i = 0; i < shape->field_count; i++)
        pairs += i < WEFT_REPLY_FIELD_COUNT ? s_is_sent(&shape->fields[i], fixed, false)
                                            : s_is_sent(&shape->fields[i], reply, true);
    msgpack_pack_map(packer, pairs);
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct weft_field *field = &shape->fields[i];
        bool is_header = i < WEFT_REPLY_FIELD_COUNT;
        const uint8_t *self = is_header ? fixed : reply;
        if (s_is_sent(field, self, !is_header)) s_encode_field(packer, field, self);
    }
}

void weft_reply_shape_encode(const struct weft_shape *shape, const void *reply, weft_buf_t *out)
{
    const struct weft_reply_header *header = reply;
    if (!header->error) {
        weft_shape_encode(shape, reply, NULL, out);
        return;
    }
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, s_write);
    s_encode_refusal(&packer, shape, reply);
}
