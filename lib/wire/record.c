// SPDX-License-Identifier: MPL-2.0
// Records by hand: [ts_delta, key|nil, value|nil, headers|nil]. One record is bounded in two ways: a short straight
// path for what our own builder writes (fixarray, small unsigned delta, bin8 or bin16, no headers: a few predicted
// branches and one dependent load), and a general one that takes every legal width and says what is wrong. Both trust
// nothing: each length is compared with the bytes that remain (I8).
#include "batch.h"

#include "batch_bytes.h"

#include <inttypes.h>

// What was wrong, and where; filled by the general path only.
struct s_fault {
    const char *what;
    const uint8_t *at;
};

static const uint8_t *s_refuse(struct s_fault *fault, const char *what, const uint8_t *at)
{
    *fault = (struct s_fault){what, at};
    return NULL;
}

// ---- the general path. Each function takes the place of a value and returns the place behind it, or NULL if it is not
// legal.

static const uint8_t *s_take_int(const uint8_t *at, const uint8_t *end, int64_t *out)
{
    if (at == end) return NULL;
    uint8_t tag = *at++;
    size_t left = (size_t) (end - at);
    if (tag <= 0x7f || tag >= 0xe0) return *out = (int8_t) tag, at;
    static const uint8_t widths[8] = {1, 2, 4, 8, 1, 2, 4, 8}; // cc to d3
    if (tag < 0xcc || tag > 0xd3 || left < widths[tag - 0xcc]) return NULL;
    switch (tag) {
    case 0xcc: *out = *at; break;
    case 0xcd: *out = s_load16(at); break;
    case 0xce: *out = s_load32(at); break;
    case 0xcf: *out = (int64_t) s_load64(at); break;
    case 0xd0: *out = (int8_t) *at; break;
    case 0xd1: *out = (int16_t) s_load16(at); break;
    case 0xd2: *out = (int32_t) s_load32(at); break;
    default: *out = (int64_t) s_load64(at); break;
    }
    if (tag == 0xcf && *out < 0) return NULL; // above INT64_MAX
    return at + widths[tag - 0xcc];
}

// nil, bin or str; out->data is NULL only for nil.
static const uint8_t *s_take_bytes(const uint8_t *at, const uint8_t *end, weft_slice_t *out)
{
    if (at == end) return NULL;
    uint8_t tag = *at++;
    size_t left = (size_t) (end - at), width, size;
    if (tag == 0xc0) return *out = WEFT_SLICE_NIL, at;
    if ((tag & 0xe0) == 0xa0) {
        width = 0;
        size = tag & 0x1f;
    } else if (tag == 0xc4 || tag == 0xd9) {
        width = 1;
        size = left >= 1 ? *at : 0;
    } else if (tag == 0xc5 || tag == 0xda) {
        width = 2;
        size = left >= 2 ? s_load16(at) : 0;
    } else if (tag == 0xc6 || tag == 0xdb) {
        width = 4;
        size = left >= 4 ? s_load32(at) : 0;
    } else {
        return NULL;
    }
    if (left < width || left - width < size) return NULL;
    *out = weft_slice(at + width, size);
    return at + width + size;
}

static const uint8_t *s_take_array(const uint8_t *at, const uint8_t *end, uint32_t *count)
{
    if (at == end) return NULL;
    uint8_t tag = *at++;
    size_t left = (size_t) (end - at);
    if ((tag & 0xf0) == 0x90) return *count = tag & 0x0f, at;
    if (tag == 0xdc && left >= 2) return *count = s_load16(at), at + 2;
    if (tag == 0xdd && left >= 4) return *count = s_load32(at), at + 4;
    return NULL;
}

// nil, or an array of names and values in turn.
static const uint8_t *s_take_headers(const uint8_t *at, const uint8_t *end, weft_slice_t *out, struct s_fault *fault)
{
    if (at < end && *at == 0xc0) return *out = WEFT_SLICE_NIL, at + 1;
    uint32_t count;
    const uint8_t *from = at;
    at = s_take_array(at, end, &count);
    if (!at) return s_refuse(fault, "headers are neither an array nor nil", from);
    if (count % 2) return s_refuse(fault, "headers are an array of odd count", from);
    for (uint32_t i = 0; i < count; i++) { // ends with the bytes at the latest: each step takes one or more
        weft_slice_t bytes;
        const uint8_t *next = s_take_bytes(at, end, &bytes);
        if (!next) return s_refuse(fault, "a header's name or value is no whole bin, str or nil", at);
        if (i % 2 == 0 && !bytes.data) return s_refuse(fault, "a header's name is nil", at);
        at = next;
    }
    *out = weft_slice(from, (size_t) (at - from));
    return at;
}

static __attribute__((noinline)) const uint8_t *s_take_record_general(const uint8_t *at, const uint8_t *end,
                                                                      struct weft_record *record, struct s_fault *fault)
{
    uint32_t count;
    const uint8_t *next = s_take_array(at, end, &count);
    if (!next) return s_refuse(fault, "a record is an array", at);
    if (count != 4) return s_refuse(fault, "a record has four elements", at);
    at = next;
    next = s_take_int(at, end, &record->timestamp_delta_ms);
    if (!next) return s_refuse(fault, "ts_delta is no whole integer", at);
    at = next;
    next = s_take_bytes(at, end, &record->key);
    if (!next) return s_refuse(fault, "key is no whole bin, str or nil", at);
    at = next;
    next = s_take_bytes(at, end, &record->value);
    if (!next) return s_refuse(fault, "value is no whole bin, str or nil", at);
    return s_take_headers(next, end, &record->headers, fault);
}

// ---- the straight path

// Room for the longest prefix that it reads unchecked: 94, cd xx xx, c5 xx xx.
enum { S_STRAIGHT_BYTES = 8 };

// A bin8, bin16 or nil whose prefix is known to lie within the bytes. False: not so simple.
static inline __attribute__((always_inline)) bool s_straight_bytes(const uint8_t **at_p, const uint8_t *end,
                                                                   weft_slice_t *out)
{
    const uint8_t *at = *at_p;
    if (*at == 0xc0) {
        *out = WEFT_SLICE_NIL;
        *at_p = at + 1;
        return true;
    }
    size_t size;
    if (__builtin_expect(*at == 0xc4, 1)) {
        size = at[1];
        at += 2;
    } else if (*at == 0xc5) {
        size = s_load16(at + 1);
        at += 3;
    } else {
        return false;
    }
    if ((size_t) (end - at) <= size) return false; // at least one byte must follow
    *out = weft_slice(at, size);
    *at_p = at + size;
    return true;
}

static inline __attribute__((always_inline)) const uint8_t *
s_take_record(const uint8_t *at, const uint8_t *end, struct weft_record *record, struct s_fault *fault)
{
    const uint8_t *from = at;
    if (end - at < S_STRAIGHT_BYTES || *at != 0x94) goto general;
    if (at[1] <= 0x7f) {
        record->timestamp_delta_ms = at[1];
        at += 2;
    } else if (at[1] == 0xcc) {
        record->timestamp_delta_ms = at[2];
        at += 3;
    } else if (at[1] == 0xcd) {
        record->timestamp_delta_ms = s_load16(at + 2);
        at += 4;
    } else {
        goto general;
    }
    if (!s_straight_bytes(&at, end, &record->key)) goto general;
    if (end - at < 3 || !s_straight_bytes(&at, end, &record->value)) goto general;
    if (at == end || *at != 0xc0) goto general;
    record->headers = WEFT_SLICE_NIL;
    return at + 1;
general:
    return s_take_record_general(from, end, record, fault);
}

// ---- checking

weft_err_t weft_batch_check_records(weft_slice_t payload, uint32_t count, uint32_t record_bytes_max,
                                    struct weft_error *error)
{
    const uint8_t *at = payload.data, *end = at + payload.size;
    struct weft_record record;
    struct s_fault fault;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *next = s_take_record(at, end, &record, &fault);
        if (__builtin_expect(!next, 0)) {
            if (at == end) {
                return weft_error_set(error, WEFT_ERR_BAD_BATCH,
                                      "batch: count is %" PRIu32 ", but the payload holds %" PRIu32 " records", count,
                                      i);
            }
            return weft_error_set(error, WEFT_ERR_BAD_BATCH, "record %" PRIu32 ": %s (byte %td of the payload)", i,
                                  fault.what, fault.at - payload.data);
        }
        if (__builtin_expect((size_t) (next - at) > record_bytes_max, 0)) {
            return weft_error_set(error, WEFT_ERR_RECORD_TOO_LARGE,
                                  "record %" PRIu32 ": it has %td bytes, at most %" PRIu32 " are allowed", i, next - at,
                                  record_bytes_max);
        }
        at = next;
    }
    if (at == end) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_BAD_BATCH, "batch: %td bytes follow the last of count %" PRIu32 " records",
                          end - at, count);
}

// ---- iterating

void weft_record_iter_init(weft_record_iter_t *self, weft_slice_t payload)
{
    self->at = payload.data;
    self->end = payload.data ? payload.data + payload.size : NULL;
    self->offset_delta = 0;
}

// Takes an integer n >= 1, which stands for n offsets that compaction took away. A batch spans less than 2^32 offsets.
static bool s_take_gap(weft_record_iter_t *self)
{
    int64_t gone;
    const uint8_t *next = s_take_int(self->at, self->end, &gone);
    if (!next || gone < 1 || gone > UINT32_MAX || self->offset_delta > UINT32_MAX) return false;
    self->at = next;
    self->offset_delta += gone;
    return true;
}

static inline bool s_is_array(uint8_t tag)
{
    return (tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd;
}

bool weft_record_iter_next(weft_record_iter_t *self, struct weft_record *record, bool *bad)
{
    struct s_fault fault;
    while (self->at != self->end) {
        if (__builtin_expect(*self->at == 0x94, 1) || s_is_array(*self->at)) {
            const uint8_t *next = s_take_record(self->at, self->end, record, &fault);
            if (__builtin_expect(!next, 0)) break;
            self->at = next;
            record->offset_delta = self->offset_delta++;
            return true;
        }
        if (!s_take_gap(self)) break;
    }
    if (bad) *bad = self->at != self->end;
    self->end = self->at; // it stays ended
    return false;
}

bool weft_record_header_next(weft_slice_t *headers_rest, bool *begun, weft_slice_t *name, weft_slice_t *value)
{
    if (!headers_rest->data || headers_rest->size == 0) return false;
    const uint8_t *at = headers_rest->data, *end = at + headers_rest->size;
    uint32_t count;
    weft_slice_t found_name, found_value;
    if (!*begun) at = s_take_array(at, end, &count);
    if (at) at = s_take_bytes(at, end, &found_name);
    if (at) at = s_take_bytes(at, end, &found_value);
    *begun = true;
    *headers_rest = at ? weft_slice(at, (size_t) (end - at)) : weft_slice(end, 0);
    if (!at || !found_name.data) return false;
    *name = found_name;
    *value = found_value;
    return true;
}

// ---- bare records

// Counts the records, and finds the greatest ts_delta. No gaps: nobody produces them.
static weft_err_t s_survey(weft_slice_t records, uint32_t record_bytes_max, uint32_t *count, int64_t *delta_max,
                           struct weft_error *error)
{
    const uint8_t *at = records.data, *end = at + records.size;
    struct weft_record record;
    struct s_fault fault;
    *count = 0;
    *delta_max = 0;
    while (at != end) {
        const uint8_t *next = s_take_record(at, end, &record, &fault);
        if (!next) {
            return weft_error_set(error, WEFT_ERR_BAD_BATCH, "bare record %" PRIu32 ": %s (byte %td)", *count,
                                  fault.what, fault.at - records.data);
        }
        if ((size_t) (next - at) > record_bytes_max) {
            return weft_error_set(error, WEFT_ERR_RECORD_TOO_LARGE,
                                  "bare record %" PRIu32 ": it has %td bytes, at most %" PRIu32 " are allowed", *count,
                                  next - at, record_bytes_max);
        }
        if (record.timestamp_delta_ms > *delta_max) *delta_max = record.timestamp_delta_ms;
        (*count)++;
        at = next;
    }
    return WEFT_OK;
}

weft_err_t weft_batch_of_bare_records(weft_slice_t records, int64_t now_ms, const struct weft_batch_limits *limits,
                                      weft_buf_t *out, struct weft_error *error)
{
    if (records.size == 0) return weft_error_set(error, WEFT_ERR_BAD_BATCH, "no record: the data frame is empty");
    size_t batch_bytes_max = limits->batch_bytes_max;
    if (records.size + WEFT_BATCH_HEADER_BYTES > batch_bytes_max || records.size > limits->raw_bytes_max) {
        return weft_error_set(error, WEFT_ERR_BATCH_TOO_LARGE,
                              "bare records: they have %zu bytes, at most %zu are allowed", records.size,
                              batch_bytes_max - WEFT_BATCH_HEADER_BYTES);
    }
    uint32_t count;
    int64_t delta_max, max_timestamp_ms;
    weft_err_t err = s_survey(records, limits->record_bytes_max, &count, &delta_max, error);
    if (err) return err;
    if (__builtin_add_overflow(now_ms, delta_max, &max_timestamp_ms)) {
        return weft_error_set(error, WEFT_ERR_BAD_BATCH, "bare records: ts_delta %" PRId64 " lies beyond all time",
                              delta_max);
    }
    struct weft_batch batch = {
        .format = WEFT_BATCH_FORMAT,
        .last_offset_delta = count - 1,
        .base_timestamp_ms = now_ms,
        .max_timestamp_ms = max_timestamp_ms,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
        .count = count,
        .raw_bytes = (uint32_t) records.size,
        .payload_bytes = (uint32_t) records.size,
    };
    weft_buf_clear(out);
    weft_buf_reserve(out, weft_batch_bytes(&batch));
    weft_batch_write_header(out->data, &batch);
    out->size = WEFT_BATCH_HEADER_BYTES;
    weft_buf_append(out, records.data, records.size);
    weft_batch_seal(out->data, out->size);
    return WEFT_OK;
}
