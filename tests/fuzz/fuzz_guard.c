// SPDX-License-Identifier: MPL-2.0
/*
 * Whatever the guard accepts, msgpack-c must take whole, with memory in proportion to the bytes; and the request header's walk must agree with the guard.
 * Tight limits beside the real ones, so that their edges are met by small inputs.
 */
#include "lib/base/assert.h"
#include "lib/wire/guard.h"

#include <weft_gen/commands.h>

#include <msgpack.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_unpack(const uint8_t *data, size_t size)
{
    msgpack_zone zone;
    bool ready = msgpack_zone_init(&zone, 4096);
    weft_assert(ready);
    msgpack_object object;
    size_t at = 0;
    msgpack_unpack_return result = msgpack_unpack((const char *) data, size, &at, &zone, &object);
    weft_assert(result == MSGPACK_UNPACK_SUCCESS && at == size);
    msgpack_zone_destroy(&zone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct weft_guard_limits tight = {
        .bytes_max = 64, .depth_max = 3, .count_max = 4, .string_bytes_max = 8};
    struct weft_error error;
    weft_slice_t bytes = weft_slice(data, size);
    weft_err_t accepted = weft_guard_check(bytes, &weft_guard_header, &error);
    weft_assert(!accepted || accepted == WEFT_ERR_BAD_FRAME);
    if (!accepted) s_unpack(data, size);
    if (!weft_guard_check(bytes, &tight, NULL)) weft_assert(!accepted);
    struct weft_request_header header;
    weft_err_t err = weft_request_header_decode(bytes, &header, &error);
    if (accepted) weft_assert(err == WEFT_ERR_BAD_FRAME);
    if (!err)
        weft_assert(header.api != WEFT_API_UNKNOWN && header.api_name.data >= data &&
                    header.api_name.data < data + size);
    enum weft_command command;
    if (!weft_command_peek(bytes, &command)) weft_assert(!weft_guard_check(bytes, &weft_guard_record, NULL));
    return 0;
}
