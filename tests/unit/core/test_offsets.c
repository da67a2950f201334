// SPDX-License-Identifier: MPL-2.0
// Committed offsets of one partition of __offsets: fences, what is durable, the records' bytes (REPLICATION.md rules 5,
// 19, 20).
#include "../../support/test.h"

#include "../../../lib/base/rand.h"
#include "../../../lib/core/offsets.h"

#include <weft_gen/records.h>

#include <stdio.h>
#include <string.h>

static weft_id_t s_id(uint8_t number)
{
    weft_id_t id = {{0}};
    id.bytes[7] = number;
    return id;
}

static struct weft_offset_key s_key(const char *group, uint8_t topic, uint32_t partition)
{
    return (struct weft_offset_key){.group = weft_slice_text(group), .topic = s_id(topic), .partition = partition};
}

static struct weft_offset_value s_value(int64_t offset, uint64_t token, uint64_t n)
{
    return (struct weft_offset_value){
        .offset = offset, .epoch = 3, .token = token, .n = n, .committed_ms = 1000 + offset};
}

static int s_setup(void **state)
{
    *state = weft_offsets_new();
    return 0;
}

static int s_teardown(void **state)
{
    weft_offsets_t *self = *state;
    weft_offsets_destroy(&self);
    return 0;
}

static int64_t s_find(const weft_offsets_t *self, const char *group, uint8_t topic, uint32_t partition)
{
    const struct weft_offset_key key = s_key(group, topic, partition);
    struct weft_offset_value value;
    return weft_offsets_find(self, &key, &value) ? value.offset : -99;
}

static void s_apply(weft_offsets_t *self, int64_t at, const char *group, uint32_t partition, int64_t offset,
                    uint64_t token, uint64_t n)
{
    const struct weft_offset_key key = s_key(group, 1, partition);
    const struct weft_offset_value value = s_value(offset, token, n);
    weft_offsets_apply(self, at, &key, &value);
    weft_offsets_check(self);
}

static weft_err_t s_judge(const weft_offsets_t *self, const char *group, uint32_t partition, uint64_t token, uint64_t n)
{
    const struct weft_offset_key key = s_key(group, 1, partition);
    struct weft_error error = {.text = ""};
    weft_err_t code = weft_offsets_judge(self, &key, token, n, &error);
    assert_true((code == WEFT_OK) == (error.text[0] == '\0'));
    return code;
}

static void test_offsets__what_is_not_durable_is_not_answered_but_counts_for_fences(void **state)
{
    weft_offsets_t *self = *state;
    s_apply(self, 0, "g", 0, 10, 5, 1);
    assert_int_equal(s_find(self, "g", 1, 0), -99);
    assert_err(s_judge(self, "g", 0, 4, 9), WEFT_ERR_FENCED);
    s_apply(self, 1, "g", 0, 20, 5, 2);
    weft_offsets_durable(self, 1);
    assert_int_equal(s_find(self, "g", 1, 0), 10);
    const struct weft_offset_key key = s_key("g", 1, 0);
    struct weft_offset_value value;
    assert_true(weft_offsets_newest(self, &key, &value));
    assert_int_equal(value.offset, 20);
    assert_false(weft_offsets_settled(self, &key));
    weft_offsets_durable(self, 2);
    assert_int_equal(s_find(self, "g", 1, 0), 20);
    assert_true(weft_offsets_settled(self, &key));
    weft_offsets_check(self);
}

static void test_offsets__a_lower_pair_is_fenced_and_an_equal_one_taken(void **state)
{
    weft_offsets_t *self = *state;
    s_apply(self, 0, "g", 0, 10, 5, 7);
    assert_err(s_judge(self, "g", 0, 4, 100), WEFT_ERR_FENCED);
    assert_err(s_judge(self, "g", 0, 0, 100), WEFT_ERR_FENCED); // outside groups, but a member held it
    assert_err(s_judge(self, "g", 0, 5, 6), WEFT_ERR_FENCED);
    assert_ok(s_judge(self, "g", 0, 5, 7));
    assert_ok(s_judge(self, "g", 0, 5, 8));
    assert_ok(s_judge(self, "g", 0, 6, 0));
    assert_ok(s_judge(self, "g", 0, 5, UINT64_MAX)); // a fence alone
    assert_ok(s_judge(self, "g", 1, 0, 0));          // another partition
    assert_ok(s_judge(self, "h", 0, 0, 0));
}

static void test_offsets__outside_groups_nobody_counts_n(void **state)
{
    weft_offsets_t *self = *state;
    s_apply(self, 0, "g", 0, 10, 0, 7);
    assert_ok(s_judge(self, "g", 0, 0, 1));
}

static void test_offsets__a_group_s_fence_refuses_lower_tokens_everywhere(void **state)
{
    weft_offsets_t *self = *state;
    const struct weft_offset_key fence = {.group = weft_slice_text("g")};
    const struct weft_offset_value value = {.offset = -1, .epoch = -1, .token = 9, .committed_ms = 1};
    s_apply(self, 0, "g", 0, 10, 5, 1);
    weft_offsets_apply(self, 1, &fence, &value);
    weft_offsets_check(self);
    assert_err(s_judge(self, "g", 0, 8, 1), WEFT_ERR_FENCED);
    assert_err(s_judge(self, "g", 5, 8, 1), WEFT_ERR_FENCED);
    assert_err(s_judge(self, "g", 5, 1, 0), WEFT_ERR_FENCED);
    assert_ok(s_judge(self, "g", 5, 0, 0));                   // without membership: of no past
    assert_err(s_judge(self, "g", 0, 0, 0), WEFT_ERR_FENCED); // but a member's entry is still there
    assert_ok(s_judge(self, "g", 5, 9, 0));
    assert_ok(s_judge(self, "h", 5, 0, 0));
    weft_offsets_apply(self, 2, &fence, NULL); // it expired
    assert_ok(s_judge(self, "g", 5, 1, 0));
    weft_offsets_durable(self, 3);
    weft_offsets_check(self);
}

static void test_offsets__a_tombstone_takes_an_entry_away_once_it_is_durable(void **state)
{
    weft_offsets_t *self = *state;
    const struct weft_offset_key key = s_key("g", 1, 0);
    s_apply(self, 0, "g", 0, 10, 5, 1);
    weft_offsets_durable(self, 1);
    weft_offsets_apply(self, 1, &key, NULL);
    assert_int_equal(s_find(self, "g", 1, 0), 10);
    struct weft_offset_value value;
    assert_false(weft_offsets_newest(self, &key, &value));
    assert_ok(s_judge(self, "g", 0, 1, 0));
    s_apply(self, 2, "g", 0, 3, 1, 0); // again, meanwhile
    weft_offsets_durable(self, 2);
    assert_int_equal(s_find(self, "g", 1, 0), -99);
    assert_int_equal(weft_offsets_count(self), 1);
    weft_offsets_durable(self, 3);
    assert_int_equal(s_find(self, "g", 1, 0), 3);
    weft_offsets_apply(self, 3, &key, NULL);
    weft_offsets_apply(self, 4, &key, NULL); // of what is gone: nothing
    weft_offsets_durable(self, 5);
    assert_int_equal(weft_offsets_count(self), 0);
    weft_offsets_check(self);
}

static void test_offsets__what_was_not_appended_after_all_is_undone(void **state)
{
    weft_offsets_t *self = *state;
    s_apply(self, 0, "g", 0, 10, 5, 1);
    s_apply(self, 1, "g", 0, 11, 5, 2);
    weft_offsets_durable(self, 1);
    s_apply(self, 2, "g", 0, 12, 8, 1);
    s_apply(self, 3, "new", 0, 1, 1, 1);
    assert_err(s_judge(self, "g", 0, 5, 3), WEFT_ERR_FENCED);
    weft_offsets_undo(self, 2);
    weft_offsets_check(self);
    assert_ok(s_judge(self, "g", 0, 5, 3));
    assert_int_equal(weft_offsets_count(self), 1);
    weft_offsets_durable(self, 2);
    assert_int_equal(s_find(self, "g", 1, 0), 11);
    s_apply(self, 2, "g", 0, 13, 5, 3);
    weft_offsets_undo(self, 2);
    assert_int_equal(s_find(self, "g", 1, 0), 11);
}

static bool s_count(void *context, const struct weft_offset_key *key, const struct weft_offset_value *value)
{
    (void) key;
    *(int64_t *) context += value->offset;
    return true;
}

static void test_offsets__lists_one_group_or_all_as_durable(void **state)
{
    weft_offsets_t *self = *state;
    for (uint32_t i = 0; i < 100; i++) s_apply(self, i, i % 2 ? "odd" : "even", i, 1, 0, 0);
    weft_offsets_durable(self, 100);
    s_apply(self, 100, "odd", 1, 50, 0, 0);
    int64_t sum = 0;
    assert_true(weft_offsets_each(self, weft_slice_text("odd"), s_count, &sum));
    assert_int_equal(sum, 50);
    sum = 0;
    assert_true(weft_offsets_each_newest(self, weft_slice_text("odd"), s_count, &sum));
    assert_int_equal(sum, 99);
    sum = 0;
    assert_true(weft_offsets_each(self, WEFT_SLICE_NIL, s_count, &sum));
    assert_int_equal(sum, 100);
    sum = 0;
    assert_true(weft_offsets_each(self, weft_slice_text("none"), s_count, &sum));
    assert_int_equal(sum, 0);
}

static void test_offsets__is_walked_in_portions(void **state)
{
    weft_offsets_t *self = *state;
    for (uint32_t i = 0; i < 50; i++) s_apply(self, i, "g", i, 1, 0, 0);
    size_t cursor = 0, found = 0, portions = 0;
    while (cursor != SIZE_MAX) {
        size_t steps = 7;
        struct weft_offset_key key;
        struct weft_offset_value value;
        while (weft_offsets_next(self, &cursor, &steps, &key, &value)) {
            found++;
            if (key.partition % 2 == 0) weft_offsets_apply(self, 50 + key.partition, &key, NULL);
        }
        portions++;
    }
    assert_int_equal(found, 50);
    assert_in_range(portions, 7, 9);
    weft_offsets_durable(self, 1000);
    assert_int_equal(weft_offsets_count(self), 25);
    weft_offsets_check(self);
}

static weft_err_t s_fits(const weft_offsets_t *self, const char *group, uint32_t partition, size_t metadata_size,
                         size_t beside, size_t bytes_max)
{
    const struct weft_offset_key key = s_key(group, 1, partition);
    struct weft_error error = {.text = ""};
    weft_err_t code = weft_offsets_fits(self, &key, metadata_size, beside, bytes_max, &error);
    assert_true((code == WEFT_OK) == (error.text[0] == '\0'));
    return code;
}

static void test_offsets__memory_is_counted_and_bounded(void **state)
{
    weft_offsets_t *self = *state;
    assert_int_equal(weft_offsets_bytes(self), 0);
    char text[WEFT_OFFSET_METADATA_BYTES_MAX];
    memset(text, 'm', sizeof text);
    struct weft_offset_value value = s_value(10, 0, 0);
    value.metadata = weft_slice(text, sizeof text);
    for (uint32_t i = 0; i < 100; i++) {
        const struct weft_offset_key key = s_key("g", 1, i);
        weft_offsets_apply(self, i, &key, &value);
    }
    weft_offsets_durable(self, 100);
    size_t bytes = weft_offsets_bytes(self);
    assert_in_range(bytes, 100 * sizeof text, 100 * (sizeof text + 300));
    assert_ok(s_fits(self, "g", 100, 100, 0, bytes + 101));
    assert_err(s_fits(self, "g", 100, 100, 0, bytes + 100), WEFT_ERR_OVERLOADED);
    assert_err(s_fits(self, "g", 100, 100, 1, bytes + 101), WEFT_ERR_OVERLOADED); // another table has it
    assert_err(s_fits(self, "new", 0, 0, 0, bytes), WEFT_ERR_OVERLOADED);
    assert_ok(s_fits(self, "g", 0, sizeof text, 0, bytes)); // does not grow
    const struct weft_offset_key key = s_key("g", 1, 0);
    weft_offsets_apply(self, 100, &key, &value);
    assert_err(s_fits(self, "g", 0, sizeof text, 0, bytes), WEFT_ERR_OVERLOADED); // one at a time
    weft_offsets_undo(self, 100);
    assert_int_equal(weft_offsets_bytes(self), bytes);
    value.metadata = WEFT_SLICE_NIL;
    weft_offsets_apply(self, 100, &key, &value);
    weft_offsets_durable(self, 101);
    assert_true(weft_offsets_bytes(self) < bytes - sizeof text);
    assert_err(s_fits(self, "g", 0, 1, 0, 0), WEFT_ERR_OVERLOADED);
    for (uint32_t i = 0; i < 100; i++) {
        const struct weft_offset_key gone = s_key("g", 1, i);
        weft_offsets_apply(self, 101 + i, &gone, NULL);
    }
    weft_offsets_durable(self, 201);
    assert_int_equal(weft_offsets_bytes(self), 0);
    weft_offsets_check(self);
}

// ---- against a model

#define KEYS 60
struct s_model {
    bool exists;
    int64_t offset;
    char metadata[8];
    bool has_metadata;
};

static void s_compare(const weft_offsets_t *self, const struct s_model *model, bool newest)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        char group[8];
        snprintf(group, sizeof group, "g%u", (unsigned) k % 5);
        const struct weft_offset_key key = s_key(group, (uint8_t) (k % 3), k);
        struct weft_offset_value value;
        bool found = newest ? weft_offsets_newest(self, &key, &value) : weft_offsets_find(self, &key, &value);
        assert_int_equal(found, model[k].exists);
        if (!found) continue;
        assert_int_equal(value.offset, model[k].offset);
        assert_int_equal(value.metadata.data != NULL, model[k].has_metadata);
        if (model[k].has_metadata) assert_slice(value.metadata, model[k].metadata);
    }
}

static void test_offsets__agrees_with_a_simple_model(void **state)
{
    weft_offsets_t *self = *state;
    enum { STEPS = 4000 };
    static struct s_model at[STEPS + 1][KEYS];
    memset(at, 0, sizeof at);
    weft_rand_t rand;
    weft_rand_init(&rand, 4711);
    int64_t end = 0, durable = 0;
    for (int i = 0; i < 20000 && end < STEPS; i++) {
        uint64_t what = weft_rand_next(&rand) % 100;
        if (what < 80) {
            uint32_t k = (uint32_t) (weft_rand_next(&rand) % KEYS);
            char group[8];
            snprintf(group, sizeof group, "g%u", (unsigned) k % 5);
            const struct weft_offset_key key = s_key(group, (uint8_t) (k % 3), k);
            memcpy(at[end + 1], at[end], sizeof at[0]);
            struct s_model *model = &at[end + 1][k];
            model->exists = weft_rand_next(&rand) % 4 != 0;
            model->offset = (int64_t) (weft_rand_next(&rand) % 1000);
            model->has_metadata = weft_rand_next(&rand) % 3 == 0;
            snprintf(model->metadata, sizeof model->metadata, "%d", i % 1000);
            struct weft_offset_value value = s_value(model->offset, 1, 1);
            if (model->has_metadata) value.metadata = weft_slice_text(model->metadata);
            weft_offsets_apply(self, end, &key, model->exists ? &value : NULL);
            end++;
        } else if (what < 95) {
            durable += (int64_t) (weft_rand_next(&rand) % (uint64_t) (end - durable + 1));
            weft_offsets_durable(self, durable);
        } else {
            end = durable + (int64_t) (weft_rand_next(&rand) % (uint64_t) (end - durable + 1));
            weft_offsets_undo(self, end);
        }
        if (i % 7 == 0) weft_offsets_check(self);
        if (i % 7 == 0) s_compare(self, at[end], true);
        if (i % 7 == 0) s_compare(self, at[durable], false);
    }
    weft_offsets_clear(self);
    weft_offsets_check(self);
    assert_int_equal(weft_offsets_count(self), 0);
    assert_int_equal(weft_offsets_bytes(self), 0);
}

// ---- bytes

static void s_check_bytes(const struct weft_offset_key *key, const struct weft_offset_value *value)
{
    weft_buf_t key_bytes, value_bytes, expected;
    weft_buf_init(&key_bytes);
    weft_buf_init(&value_bytes);
    weft_buf_init(&expected);
    weft_offset_encode(key, value, &key_bytes, &value_bytes);
    const struct weft_offset_key_record key_record = {
        .group = key->group, .topic_id = key->topic, .partition = key->partition};
    weft_offset_key_record_encode(&key_record, &expected);
    assert_true(weft_slice_equal(weft_buf_slice(&key_bytes), weft_buf_slice(&expected)));
    const struct weft_offset_value_record value_record = {.offset = value->offset,
                                                          .epoch = value->epoch,
                                                          .token = value->token,
                                                          .n = value->n,
                                                          .metadata = value->metadata,
                                                          .committed_ms = value->committed_ms};
    weft_buf_clear(&expected);
    weft_offset_value_record_encode(&value_record, &expected);
    assert_true(weft_slice_equal(weft_buf_slice(&value_bytes), weft_buf_slice(&expected)));
    struct weft_offset_key read_key;
    struct weft_offset_value read;
    bool has_value = false;
    assert_ok(
        weft_offset_decode(weft_buf_slice(&key_bytes), weft_buf_slice(&value_bytes), &read_key, &read, &has_value));
    assert_true(has_value && weft_slice_equal(read_key.group, key->group) && weft_id_equal(read_key.topic, key->topic));
    assert_true(read_key.partition == key->partition && read.offset == value->offset && read.epoch == value->epoch);
    assert_true(read.token == value->token && read.n == value->n && read.committed_ms == value->committed_ms);
    assert_true(weft_slice_equal(read.metadata, value->metadata));
    for (size_t i = 0; i < value_bytes.size; i++) // cut anywhere it is no record, or (0 bytes) none
        assert_err(weft_offset_decode(weft_buf_slice(&key_bytes), weft_slice(value_bytes.data, i), &read_key, &read,
                                      &has_value),
                   WEFT_ERR_BAD_FRAME);
    assert_ok(weft_offset_decode(weft_buf_slice(&key_bytes), WEFT_SLICE_NIL, &read_key, &read, &has_value));
    assert_false(has_value);
    weft_buf_fini(&key_bytes);
    weft_buf_fini(&value_bytes);
    weft_buf_fini(&expected);
}

static void test_offsets__records_are_those_of_the_schema(void **state)
{
    (void) state;
    static const int64_t numbers[] = {-1, 0, 1, 127, 128, 255, 256, 65535, 65536, UINT32_MAX, INT64_MAX};
    static const uint64_t tokens[] = {0, 1, 200, 1u << 20, UINT64_C(1) << 40, UINT64_MAX};
    char text[4096];
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        for (size_t k = 0; k < sizeof tokens / sizeof tokens[0]; k++) {
            static const size_t sizes[] = {1, 31, 32, 255, 256, 4096};
            struct weft_offset_key key = {.group = weft_slice(text, sizes[k] > 255 ? 255 : sizes[k]),
                                          .topic = s_id((uint8_t) k),
                                          .partition = (uint32_t) tokens[k]};
            struct weft_offset_value value = {.offset = numbers[i],
                                              .epoch = (int32_t) numbers[i],
                                              .token = tokens[k],
                                              .n = tokens[(k + i) % 6],
                                              .committed_ms = numbers[(i + k) % 11]};
            if (k > 0) value.metadata = weft_slice(text, sizes[k]);
            if (k == 2) value.metadata = weft_slice(text, 0);
            s_check_bytes(&key, &value);
        }
    }
    const struct weft_offset_key key = s_key("g", 1, 1);
    static const int32_t epochs[] = {-2, -32, -33, -128, -129, -40000, INT32_MIN};
    for (size_t i = 0; i < sizeof epochs / sizeof epochs[0]; i++) {
        const struct weft_offset_value value = {.offset = 5, .epoch = epochs[i], .committed_ms = epochs[i]};
        s_check_bytes(&key, &value);
    }
}

static void test_offsets__foreign_records_are_refused(void **state)
{
    (void) state;
    struct weft_offset_key key;
    struct weft_offset_value value;
    bool has_value;
    static const char *const keys[] = {"",
                                       "\x80",
                                       "\x90",
                                       "text",
                                       "\x81\xa5group\xa0",
                                       "\x81\xa5group\x05",
                                       "\x82\xa5group\xa1g\xa8topic_id\xa3xyz",
                                       "\x81\xa5group\xa1g\xff",
                                       "\x82\xa5group\xa1g\xa9partition\xff"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_err(weft_offset_decode(weft_slice_text(keys[i]), WEFT_SLICE_NIL, &key, &value, &has_value),
                   WEFT_ERR_BAD_FRAME);
    const weft_slice_t good =
        weft_slice_text("\x82\xa5group\xa1g\xa5other\x92\x01\x02"); // unknown keys are passed over
    assert_ok(weft_offset_decode(good, weft_slice_text("\x81\xa6offset\x07"), &key, &value, &has_value));
    assert_int_equal(value.offset, 7);
    assert_err(weft_offset_decode(good, weft_slice_text("\x81\xa6offset\xfe"), &key, &value, &has_value),
               WEFT_ERR_BAD_FRAME); // below -1
}

static void test_offsets__groups_spread_over_the_partitions(void **state)
{
    (void) state;
    uint32_t counts[16] = {0};
    for (int i = 0; i < 1600; i++) {
        char name[16];
        snprintf(name, sizeof name, "group-%d", i);
        uint32_t partition = weft_offsets_partition(weft_slice_text(name), 16);
        assert_in_range(partition, 0, 15);
        counts[partition]++;
    }
    for (int i = 0; i < 16; i++) assert_in_range(counts[i], 50, 150);
    assert_int_equal(weft_offsets_partition(weft_slice_text("123456789"), 1000),
                     0xe3069283u % 1000); // others find it too
}

#define OFFSETS_TEST(name) cmocka_unit_test_setup_teardown(test_offsets__##name, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFSETS_TEST(what_is_not_durable_is_not_answered_but_counts_for_fences),
        OFFSETS_TEST(a_lower_pair_is_fenced_and_an_equal_one_taken),
        OFFSETS_TEST(outside_groups_nobody_counts_n),
        OFFSETS_TEST(a_group_s_fence_refuses_lower_tokens_everywhere),
        OFFSETS_TEST(a_tombstone_takes_an_entry_away_once_it_is_durable),
        OFFSETS_TEST(what_was_not_appended_after_all_is_undone),
        OFFSETS_TEST(lists_one_group_or_all_as_durable),
        OFFSETS_TEST(is_walked_in_portions),
        OFFSETS_TEST(memory_is_counted_and_bounded),
        OFFSETS_TEST(agrees_with_a_simple_model),
        cmocka_unit_test(test_offsets__records_are_those_of_the_schema),
        cmocka_unit_test(test_offsets__foreign_records_are_refused),
        cmocka_unit_test(test_offsets__groups_spread_over_the_partitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
