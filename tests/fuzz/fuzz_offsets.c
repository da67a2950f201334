// SPDX-License-Identifier: MPL-2.0
/*
 * Records of __offsets. The input is cut into key and value by its first byte. What the reader by hand takes, the generated
 * codec takes too and finds the same in it; written again it is read as the same. Then the input is a list of steps with a
 * table: commits, tombstones, marks, taking back; its invariants hold after each.
 */
#include "lib/base/assert.h"
#include "lib/core/offsets.h"

#include <weft_gen/records.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void s_same_as_codec(weft_slice_t key_bytes, weft_slice_t value_bytes, const struct weft_offset_key *key,
                            const struct weft_offset_value *value)
{
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_error error;
    struct weft_offset_key_record key_record;
    struct weft_offset_value_record record;
    weft_err_t err = weft_offset_key_record_decode(&codec, key_bytes, &key_record, &error);
    weft_assert(!err && weft_slice_equal(key_record.group, key->group));
    weft_assert(weft_id_equal(key_record.topic_id, key->topic) && key_record.partition == key->partition);
    if (value_bytes.data != NULL) {
        err = weft_offset_value_record_decode(&codec, value_bytes, &record, &error);
        weft_assert(!err && record.offset == value->offset && record.epoch == value->epoch);
        weft_assert(record.token == value->token && record.n == value->n && record.committed_ms == value->committed_ms);
        weft_assert(weft_slice_equal(record.metadata, value->metadata));
    }
    weft_codec_fini(&codec);
}

static void s_read(weft_slice_t key_bytes, weft_slice_t value_bytes)
{
    struct weft_offset_key key, again_key;
    struct weft_offset_value value, again;
    bool has_value = false;
    if (weft_offset_decode(key_bytes, value_bytes, &key, &value, &has_value) != WEFT_OK) return;
    weft_assert(has_value == (value_bytes.data != NULL));
    s_same_as_codec(key_bytes, value_bytes, &key, &value);
    weft_buf_t key_out, value_out;
    weft_buf_init(&key_out);
    weft_buf_init(&value_out);
    weft_offset_encode(&key, &value, &key_out, &value_out);
    weft_err_t err =
        weft_offset_decode(weft_buf_slice(&key_out), weft_buf_slice(&value_out), &again_key, &again, &has_value);
    weft_assert(!err && weft_slice_equal(again_key.group, key.group) && again.offset == value.offset);
    weft_assert(weft_slice_equal(again.metadata, value.metadata) && again.token == value.token);
    weft_buf_fini(&key_out);
    weft_buf_fini(&value_out);
}

static void s_steps(const uint8_t *data, size_t size)
{
    static const char *const groups[] = {"a", "b", "a group with a rather long name", "d"};
    weft_offsets_t *table = weft_offsets_new();
    int64_t end = 0, durable = 0;
    for (size_t i = 0; i + 2 < size; i += 3) {
        struct weft_offset_key key = {.group = weft_slice_text(groups[data[i] & 3]), .partition = data[i + 1] & 7};
        key.topic.bytes[0] = data[i + 1] >> 6;
        struct weft_offset_value value = {.offset = data[i + 2], .token = data[i + 2] >> 4, .n = i, .epoch = 1};
        if (data[i + 2] & 1) value.metadata = weft_slice(data + i, 3);
        unsigned what = data[i] >> 4;
        struct weft_error error;
        if (what < 9 && weft_offsets_judge(table, &key, value.token, value.n, &error) == WEFT_OK)
            weft_offsets_apply(table, end++, &key, &value);
        else if (what < 12)
            weft_offsets_apply(table, end++, &key, NULL);
        else if (what < 14)
            weft_offsets_durable(table, durable += data[i + 1] % (end - durable + 1));
        else
            weft_offsets_undo(table, end = durable + data[i + 1] % (end - durable + 1));
        weft_offsets_check(table);
        struct weft_offset_value newest, found;
        bool settled = weft_offsets_settled(table, &key);
        bool has_newest = weft_offsets_newest(table, &key, &newest), has = weft_offsets_find(table, &key, &found);
        weft_assert(!settled || (has == has_newest && (!has || newest.offset == found.offset)));
    }
    weft_offsets_destroy(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    size_t cut = 1 + data[0] % (size - 1);
    weft_slice_t key = weft_slice(data + 1, cut - 1), value = weft_slice(data + cut, size - cut);
    s_read(key, value);
    s_read(key, WEFT_SLICE_NIL);
    s_read(weft_slice(data + 1, size - 1), WEFT_SLICE_NIL);
    s_steps(data + 1, size - 1);
    return 0;
}
