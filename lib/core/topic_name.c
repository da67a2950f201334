// SPDX-License-Identifier: MPL-2.0
// Topic names: Kafka's alphabet and length, so that a gateway never has to translate, and so that a name is a file
// name and a word on a command line.
#include "cluster.h"

#include <string.h>

static bool s_legal(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

weft_err_t weft_topic_name_check(weft_slice_t name, struct weft_error *error)
{
    if (name.size == 0) return weft_error_set(error, WEFT_ERR_INVALID_TOPIC, "a topic needs a name");
    if (name.size > WEFT_TOPIC_NAME_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_TOPIC, "a topic name has at most %d characters, this one has %zu",
                              WEFT_TOPIC_NAME_BYTES_MAX, name.size);
    if (weft_slice_is_text(name, ".") || weft_slice_is_text(name, ".."))
        return weft_error_set(error, WEFT_ERR_INVALID_TOPIC, "a topic can't be named '.' or '..'");
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (s_legal(c)) continue;
        if (c > ' ' && c < 0x7f)
            return weft_error_set(
                error, WEFT_ERR_INVALID_TOPIC,
                "'%c' (character %zu) is not legal in a topic name; use letters, digits, '.', '_' and '-'", c, i + 1);
        return weft_error_set(
            error, WEFT_ERR_INVALID_TOPIC,
            "byte 0x%02x (at %zu) is not legal in a topic name; use letters, digits, '.', '_' and '-'", c, i + 1);
    }
    return WEFT_OK;
}
