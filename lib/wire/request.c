// SPDX-License-Identifier: MPL-2.0
/*
 * The header of a request, on the path of every message: one walk guards the bytes and picks out `api`, `id` and `must`
 * on the way, without msgpack-c and without an allocation. The fields are decoded later, by whoever knows the message.
 *
 * The id is taken as soon as it is met, so that even a header that turns out to be broken behind it is refused under
 * its id.
 */
#include "walk.h"

#include "../base/assert.h"
#include "../base/options.h"

#include <weft_gen/codec.h>

#include <stdio.h>
#include <string.h>

#define MUST_COUNT_MAX 16 // schemas/messages/_common.json
#define MUST_BYTES_MAX 64

struct s_found {
    struct weft_value api, id, must;
    weft_slice_t must_content; // the encoded elements of must
    bool has_api, has_id, has_must;
};

static bool s_is_key(const struct weft_value *key, const char *name, size_t size)
{
    return (key->kind == WEFT_KIND_STR || key->kind == WEFT_KIND_BIN) && key->bytes.size == size &&
           memcmp(key->bytes.data, name, size) == 0;
}

static weft_err_t s_pair(weft_walk_t *walk, struct s_found *found, struct weft_request_header *out)
{
    struct weft_value key, value;
    weft_err_t err = weft_walk_next(walk, &key);
    if (!err) err = weft_walk_skip_content(walk, &key, 2);
    if (!err) err = weft_walk_next(walk, &value);
    if (err) return err;
    const uint8_t *content = walk->at;
    err = weft_walk_skip_content(walk, &value, 2);
    if (err) return err;
    if (s_is_key(&key, "id", 2)) {
        found->id = value;
        found->has_id = true;
        out->id = value.kind == WEFT_KIND_UINT ? value.number : 0;
    } else if (s_is_key(&key, "api", 3)) {
        found->api = value;
        found->has_api = true;
    } else if (s_is_key(&key, "must", 4)) {
        found->must = value;
        found->must_content = (weft_slice_t){content, (size_t) (walk->at - content)};
        found->has_must = value.kind != WEFT_KIND_NIL;
    }
    return WEFT_OK;
}

static enum weft_api s_api_of_name(weft_slice_t name)
{
    size_t low = 1, high = WEFT_API_COUNT;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *known = weft_api_rows[middle].name;
        size_t size = strlen(known);
        int order = memcmp(name.data, known, name.size < size ? name.size : size);
        if (order == 0 && name.size == size) return (enum weft_api) middle;
        if (order < 0 || (order == 0 && name.size < size)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return WEFT_API_UNKNOWN;
}

// Bytes of a peer as they may stand in a sentence.
static const char *s_printable(weft_slice_t bytes, char *text, size_t size)
{
    size_t count = bytes.size < size - 1 ? bytes.size : size - 1;
    for (size_t i = 0; i < count; i++) {
        uint8_t byte = bytes.data[i];
        text[i] = byte >= 0x20 && byte < 0x7f ? (char) byte : '?';
    }
    text[count] = 0;
    return text;
}

static weft_err_t s_unknown_api(weft_slice_t name, struct weft_error *error)
{
    if (!error) return WEFT_ERR_UNKNOWN_API;
    const char *known[WEFT_API_COUNT - 1];
    for (size_t i = 1; i < WEFT_API_COUNT; i++) known[i - 1] = weft_api_rows[i].name;
    char text[MUST_BYTES_MAX + 1];
    const char *nearest = weft_nearest(s_printable(name, text, sizeof(text)), known, WEFT_API_COUNT - 1);
    if (nearest)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_API, "The api '%s' is not known to this node; did you mean '%s'?",
                              text, nearest);
    return weft_error_set(error, WEFT_ERR_UNKNOWN_API,
                          "The api '%s' is not known to this node; docs/PROTOCOL.md lists those that are.", text);
}

static bool s_understands(const struct weft_shape *request, weft_slice_t key)
{
    if (weft_slice_is_text(key, "api") || weft_slice_is_text(key, "must")) return true;
    for (size_t i = 0; i < request->field_count; i++) {
        const struct weft_field *field = &request->fields[i];
        if (field->name_bytes == key.size && memcmp(field->name, key.data, key.size) == 0) return true;
    }
    return false;
}

static weft_err_t s_check_must(const struct s_found *found, const struct weft_shape *request, struct weft_error *error)
{
    if (found->must.kind != WEFT_KIND_ARRAY || found->must.number > MUST_COUNT_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "%s: 'must' has to be an array of at most %d strings.",
                              request->name, MUST_COUNT_MAX);
    weft_walk_t walk = {found->must_content.data, found->must_content.data,
                        found->must_content.data + found->must_content.size, &weft_guard_header, error};
    for (uint64_t i = 0; i < found->must.number; i++) {
        struct weft_value key;
        weft_err_t err = weft_walk_next(&walk, &key);
        if (err) return err;
        if ((key.kind != WEFT_KIND_STR && key.kind != WEFT_KIND_BIN) || key.bytes.size > MUST_BYTES_MAX)
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                                  "%s: 'must' holds %s, strings of at most %d bytes are allowed.", request->name,
                                  weft_kind_name(key.kind), MUST_BYTES_MAX);
        char text[MUST_BYTES_MAX + 1];
        if (!s_understands(request, key.bytes))
            return weft_error_set(error, WEFT_ERR_UNSUPPORTED,
                                  "%s: the key '%s' must be understood, but this node does not know it; use an older "
                                  "form of the request.",
                                  request->name, s_printable(key.bytes, text, sizeof(text)));
    }
    return WEFT_OK;
}

static weft_err_t s_judge(const struct s_found *found, struct weft_request_header *out, struct weft_error *error)
{
    if (!found->has_api || (found->api.kind != WEFT_KIND_STR && found->api.kind != WEFT_KIND_BIN))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "The request %s; 'api' has to be the name of a message.",
                              found->has_api ? "has an 'api' that is no string" : "has no 'api'");
    if (found->has_id && found->id.kind != WEFT_KIND_UINT && found->id.kind != WEFT_KIND_NIL)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "The request's 'id' is %s; an integer from 0 to 18446744073709551615 is wanted.",
                              found->id.kind == WEFT_KIND_NEGATIVE ? "negative" : weft_kind_name(found->id.kind));
    enum weft_api api = s_api_of_name(found->api.bytes);
    if (api == WEFT_API_UNKNOWN) return s_unknown_api(found->api.bytes, error);
    out->api = api;
    out->api_name = found->api.bytes;
    return found->has_must ? s_check_must(found, weft_api_rows[api].request, error) : WEFT_OK;
}

weft_err_t weft_request_header_decode(weft_slice_t header, struct weft_request_header *out, struct weft_error *error)
{
    *out = (struct weft_request_header){.api = WEFT_API_UNKNOWN};
    weft_walk_t walk;
    struct weft_value map;
    weft_err_t err = weft_walk_init(&walk, header, &weft_guard_header, error);
    if (!err) err = weft_walk_next(&walk, &map);
    if (err) return err;
    if (map.kind != WEFT_KIND_MAP)
        return weft_error_set(error, WEFT_ERR_BAD_FRAME, "The message header is %s; a msgpack map is wanted.",
                              weft_kind_name(map.kind));
    struct s_found found = {0};
    for (uint64_t i = 0; i < map.number; i++) {
        err = s_pair(&walk, &found, out);
        if (err) return err;
    }
    err = weft_walk_end(&walk);
    return err ? err : s_judge(&found, out, error);
}

weft_err_t weft_map_number(weft_slice_t bytes, const struct weft_guard_limits *limits, const char *key, uint64_t *out)
{
    weft_walk_t walk;
    struct weft_value map;
    weft_err_t err = weft_walk_init(&walk, bytes, limits, NULL);
    if (!err) err = weft_walk_next(&walk, &map);
    if (err) return err;
    if (map.kind != WEFT_KIND_MAP) return WEFT_ERR_BAD_FRAME;
    struct weft_value found = {.kind = WEFT_KIND_NIL};
    for (uint64_t i = 0; i < map.number; i++) {
        struct weft_value name, value;
        err = weft_walk_next(&walk, &name);
        if (!err) err = weft_walk_skip_content(&walk, &name, 2);
        if (!err) err = weft_walk_next(&walk, &value);
        if (!err) err = weft_walk_skip_content(&walk, &value, 2);
        if (err) return err;
        if (s_is_key(&name, key, strlen(key))) found = value;
    }
    err = weft_walk_end(&walk);
    if (err) return err;
    if (found.kind != WEFT_KIND_UINT) return WEFT_ERR_INVALID_REQUEST;
    *out = found.number;
    return WEFT_OK;
}

void weft_request_add_must(weft_buf_t *header, const char *key)
{
    const uint8_t must[] = {0xa4, 'm', 'u', 's', 't', 0x91};
    size_t size = strlen(key);
    uint8_t *map = header->data;
    weft_assert(header->size > 0 && *map >= 0x80 && *map < 0x8f && size < 32);
    (*map)++;
    uint8_t tag = (uint8_t) (0xa0 | size);
    weft_buf_append(header, must, sizeof must);
    weft_buf_append(header, &tag, 1);
    weft_buf_append(header, key, size);
}
