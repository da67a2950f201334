// SPDX-License-Identifier: MPL-2.0
// Compacted topics in a broker: who is compacted when, what is refused, and what followers do about gaps and tombstones.
#include "crew.h"

#include "../../../lib/log/compact.h"

#define TOPIC 10

static const char *const s_options[] = {"retention.check.ms=100ms", "replica.lag.ms=1s", NULL};

static void s_begin(struct crew *crew, size_t brokers)
{
    crew_begin(crew, brokers, s_options);
    crew_topic(crew, CREW_TOPIC, TOPIC, 1, brokers, "cleanup.policy", "compact");
}

// All settings of the topic from now on: pairs of key and value, then NULL.
static void s_alter_all(struct crew *crew, const char *const *pairs)
{
    struct weft_config_entry config[8];
    struct weft_topic_altered_command command = {.topic_id = crew_id(TOPIC), .config = config};
    for (; pairs[2 * command.config_count] != NULL; command.config_count++)
        config[command.config_count] =
            (struct weft_config_entry){.key = weft_slice_text(pairs[2 * command.config_count]),
                                       .value = weft_slice_text(pairs[2 * command.config_count + 1])};
    weft_buf_clear(&crew->buf);
    weft_topic_altered_command_encode(&command, &crew->buf);
    assert_ok(crew_commit(crew));
    crew_settle(crew);
}

#define s_alter(crew, ...) s_alter_all(crew, (const char *const[]){__VA_ARGS__, NULL})

static void s_send(struct crew *crew, int32_t to, weft_slice_t data, const char *acks)
{
    struct weft_produce_request request;
    weft_produce_request_init(&request);
    request.id = crew->next_id++;
    request.topic = weft_slice_text(CREW_TOPIC);
    if (acks) request.acks = weft_slice_text(acks);
    weft_buf_clear(&crew->buf);
    weft_produce_request_encode(&request, &crew->buf);
    crew_broker(crew, to)->reply_count = 0;
    weft_fake_world_queue(crew_broker(crew, to)->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf), data, false);
}

// One record; key or value NULL: nil.
static weft_err_t s_try_put(struct crew *crew, const char *key, const char *value, enum weft_codec codec)
{
    weft_batch_builder_t builder;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_batch_builder_init(&builder);
    for (int i = 0; i < 20; i++) // compressible
        weft_batch_builder_add(&builder, WEFT_FAKE_WALL_MS, i ? weft_slice_text("filler") : weft_slice_text(key),
                               weft_slice_text(i ? "filler" : value), WEFT_SLICE_NIL);
    assert_ok(weft_batch_builder_finish(&builder, codec, -1, -1, -1, &bytes));
    s_send(crew, 1, weft_buf_slice(&bytes), NULL);
    weft_batch_builder_fini(&builder);
    weft_buf_fini(&bytes);
    for (int i = 0; i < 100 && crew_broker(crew, 1)->reply_count == 0; i++) crew_advance(crew, 5);
    return crew_produced(crew, 1).header.error;
}

// A batch of one record.
static void s_put(struct crew *crew, const char *key, const char *value)
{
    weft_batch_builder_t builder;
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_batch_builder_init(&builder);
    weft_batch_builder_add(&builder, WEFT_FAKE_WALL_MS, weft_slice_text(key), weft_slice_text(value), WEFT_SLICE_NIL);
    assert_ok(weft_batch_builder_finish(&builder, WEFT_CODEC_NONE, -1, -1, -1, &bytes));
    s_send(crew, 1, weft_buf_slice(&bytes), NULL);
    weft_batch_builder_fini(&builder);
    weft_buf_fini(&bytes);
    for (int i = 0; i < 100 && crew_broker(crew, 1)->reply_count == 0; i++) crew_advance(crew, 5);
    assert_int_equal(crew_produced(crew, 1).header.error, WEFT_OK);
}

// Records of a replica as "offset:key=value ", its broker being down.
static void s_list(struct crew *crew, int32_t id, weft_buf_t *out)
{
    const struct weft_log_config config = {.segment_ms = -1, .retention_ms = -1, .retention_bytes = -1};
    char path[WEFT_TEST_PATH_BYTES], text[WEFT_ID_TEXT_BYTES];
    weft_frame_pool_t *pool = weft_frame_pool_new(65536, 4);
    struct weft_log_recovery recovery;
    weft_log_t *log;
    weft_id_text(crew_id(TOPIC), text);
    snprintf(path, sizeof path, "%s/data/topics/%s/0", crew_broker(crew, id)->directory, text);
    assert_ok(weft_log_open(weft_disk_posix(), path, &config, 0, &log, &recovery, &crew->error));
    weft_buf_clear(out);
    for (int64_t next = weft_log_start(log); next < weft_log_end(log);) {
        weft_frame_t frame;
        assert_ok(weft_log_read(log, next, 65536, true, INT64_MAX, pool, &frame));
        for (weft_slice_t rest = weft_frame_slice(&frame); rest.size;) {
            struct weft_batch batch;
            weft_record_iter_t iter;
            struct weft_record record;
            assert_ok(weft_batch_read(rest, &batch));
            assert_ok(weft_batch_verify(weft_slice(rest.data, weft_batch_bytes(&batch)), &batch));
            assert_int_equal(batch.base_offset, next);
            weft_record_iter_init(&iter, weft_slice(rest.data + WEFT_BATCH_HEADER_BYTES, batch.payload_bytes));
            while (weft_record_iter_next(&iter, &record, NULL))
                weft_buf_printf(out, "%lld:%.*s=%.*s ", (long long) (batch.base_offset + record.offset_delta),
                                (int) record.key.size, (const char *) record.key.data, (int) record.value.size,
                                record.value.data ? (const char *) record.value.data : "");
            next = weft_batch_next_offset(&batch);
            rest = weft_slice(rest.data + weft_batch_bytes(&batch), rest.size - weft_batch_bytes(&batch));
        }
        weft_frame_drop(&frame);
    }
    weft_buf_printf(out, "end %lld, tombstones below %lld", (long long) weft_log_end(log),
                    (long long) weft_log_tombstones_below(log));
    weft_buf_append(out, "", 1);
    weft_log_destroy(&log);
    weft_frame_pool_destroy(&pool);
}

static void s_assert_list(struct crew *crew, int32_t id, const char *expected)
{
    weft_buf_t found;
    weft_buf_init(&found);
    s_list(crew, id, &found);
    assert_string_equal((const char *) found.data, expected);
    weft_buf_fini(&found);
}

static void s_wait(struct crew *crew, int32_t id, enum weft_shard_counter counter, uint64_t count)
{
    for (int i = 0; i < 200 && crew_counter(crew, id, counter) < count; i++) crew_advance(crew, 20);
    assert_true(crew_counter(crew, id, counter) >= count);
}

static void test_compact__every_replica_compacts_what_rests(void **state)
{
    struct crew crew;
    s_begin(&crew, 3);
    s_alter(&crew, "cleanup.policy", "compact", "compact.dirty.percent", "5");
    s_put(&crew, "a", "1");
    s_put(&crew, "b", "2");
    s_put(&crew, "a", "3");
    s_put(&crew, "c", "4");
    s_put(&crew, "b", "5");
    for (int32_t id = 1; id <= 3; id++) s_wait(&crew, id, WEFT_COUNT_COMPACTIONS, 1);
    s_put(&crew, "c", "6");
    for (int32_t id = 1; id <= 3; id++) s_wait(&crew, id, WEFT_COUNT_COMPACTIONS, 2);
    assert_int_equal(crew_counter(&crew, 1, WEFT_COUNT_COMPACTED_RECORDS), 3);
    for (int32_t id = 1; id <= 3; id++) {
        crew_kill(&crew, id);
        s_assert_list(&crew, id, "2:a=3 4:b=5 5:c=6 end 6, tombstones below 0");
    }
    crew_end(&crew);
}

static void test_compact__records_without_a_key_are_refused(void **state)
{
    struct crew crew;
    s_begin(&crew, 1);
    static const uint8_t bare[] = {0x94, 0x00, 0xc0, 0xc4, 0x01, 'v', 0xc0};
    static const uint8_t keyed[] = {0x94, 0x00, 0xc4, 0x01, 'k', 0xc4, 0x01, 'v', 0xc0};
    assert_int_equal(s_try_put(&crew, NULL, "v", WEFT_CODEC_NONE), WEFT_ERR_BAD_BATCH);
    assert_int_equal(s_try_put(&crew, NULL, "v", WEFT_CODEC_LZ4), WEFT_ERR_BAD_BATCH);
    assert_int_equal(s_try_put(&crew, NULL, "v", WEFT_CODEC_ZSTD), WEFT_ERR_BAD_BATCH);
    assert_int_equal(s_try_put(&crew, "k", NULL, WEFT_CODEC_ZSTD), WEFT_OK);
    s_send(&crew, 1, weft_slice(bare, sizeof bare), NULL);
    crew_advance(&crew, 20);
    assert_int_equal(crew_produced(&crew, 1).header.error, WEFT_ERR_BAD_BATCH);
    s_send(&crew, 1, weft_slice(keyed, sizeof keyed), NULL);
    crew_advance(&crew, 20);
    assert_int_equal(crew_produced(&crew, 1).header.error, WEFT_OK);
    s_alter(&crew, "cleanup.policy", "delete");
    assert_int_equal(s_try_put(&crew, NULL, "v", WEFT_CODEC_NONE), WEFT_OK);
    crew_end(&crew);
}

static void test_compact__compacted_topic_is_not_deleted_by_age(void **state)
{
    struct crew crew;
    s_begin(&crew, 1);
    s_put(&crew, "a", "1");
    s_alter(&crew, "cleanup.policy", "compact", "segment.ms", "1s", "retention.ms", "100");
    crew_advance(&crew, 2500);
    assert_int_equal(crew_counter(&crew, 1, WEFT_COUNT_SEGMENTS_REMOVED), 0);
    s_alter(&crew, "cleanup.policy", "both", "segment.ms", "1s", "retention.ms", "100");
    s_wait(&crew, 1, WEFT_COUNT_SEGMENTS_REMOVED, 1);
    crew_end(&crew);
}

static void test_compact__follower_takes_what_it_lacks_of_a_merged_gap(void **state)
{
    struct crew crew;
    s_begin(&crew, 2);
    for (int i = 0; i < 5; i++) s_put(&crew, "a", "old");
    crew_kill(&crew, 2);
    crew_fence(&crew, 2);
    for (int i = 0; i < 5; i++) s_put(&crew, "a", "new");
    s_put(&crew, "b", "last");
    s_wait(&crew, 1, WEFT_COUNT_COMPACTIONS, 1);
    crew_up(&crew, 2);
    crew_advance(&crew, 100);
    assert_int_equal(crew_counter(&crew, 2, WEFT_COUNT_RESETS), 0);
    assert_int_equal(crew_counter(&crew, 2, WEFT_COUNT_FOLLOWED_REFUSED), 0);
    assert_int_equal(crew_partition(&crew, TOPIC, 0)->isr_count, 2);
    s_wait(&crew, 2, WEFT_COUNT_COMPACTIONS, 1);
    crew_kill(&crew, 1);
    crew_kill(&crew, 2);
    s_assert_list(&crew, 1, "9:a=new 10:b=last end 11, tombstones below 0");
    s_assert_list(&crew, 2, "9:a=new 10:b=last end 11, tombstones below 0");
    crew_end(&crew);
}

// Offsets below `before`, done.
static void s_delete(struct crew *crew, int32_t to, int64_t before)
{
    struct weft_delete_records_request request;
    struct weft_delete_records_reply reply;
    weft_delete_records_request_init(&request);
    request.id = crew->next_id++;
    request.topic = weft_slice_text(CREW_TOPIC);
    request.before_offset = before;
    request.timeout_ms = 1000;
    weft_buf_clear(&crew->buf);
    weft_delete_records_request_encode(&request, &crew->buf);
    crew_broker(crew, to)->reply_count = 0;
    weft_fake_world_queue(crew_broker(crew, to)->world, 0, CREW_CLIENT, false, weft_buf_slice(&crew->buf),
                          WEFT_SLICE_NIL, false);
    crew_settle(crew);
    assert_int_equal(crew_broker(crew, to)->reply_count, 1);
    assert_ok(weft_delete_records_reply_decode(&crew->codec, weft_buf_slice(&crew_broker(crew, to)->reply), &reply,
                                               &crew->error));
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.log_start, before);
}

// The gap begins below what the follower has, and ends above where the leader's log begins.
static void test_compact__follower_ends_in_a_gap_that_the_log_begins_in(void **state)
{
    struct crew crew;
    s_begin(&crew, 2);
    for (int i = 0; i < 5; i++) s_put(&crew, "a", "old");
    crew_kill(&crew, 2);
    crew_fence(&crew, 2);
    for (int i = 0; i < 5; i++) s_put(&crew, "a", "new");
    s_put(&crew, "b", "last");
    s_wait(&crew, 1, WEFT_COUNT_COMPACTIONS, 1);
    s_delete(&crew, 1, 7);
    crew_up(&crew, 2);
    crew_advance(&crew, 1000);
    assert_int_equal(crew_counter(&crew, 2, WEFT_COUNT_RESETS), 0);
    assert_int_equal(crew_counter(&crew, 2, WEFT_COUNT_FOLLOWED_REFUSED), 0);
    assert_int_equal(crew_partition(&crew, TOPIC, 0)->isr_count, 2);
    assert_int_equal(crew_status(&crew, 1, 0).log_start, 7);
    crew_move_leader(&crew, TOPIC, 0, 2);
    crew_advance(&crew, 100);
    assert_int_equal(crew_status(&crew, 2, 0).log_start, 7);
    assert_int_equal(crew_status(&crew, 2, 0).log_end, 11);
    crew_end(&crew);
}

static void test_compact__follower_that_missed_tombstones_begins_anew(void **state)
{
    struct crew crew;
    s_begin(&crew, 3);
    s_alter(&crew, "cleanup.policy", "compact", "delete.retention.ms", "500");
    s_put(&crew, "a", "1");
    s_put(&crew, "b", "2");
    crew_kill(&crew, 3);
    crew_fence(&crew, 3);
    s_put(&crew, "a", NULL);
    s_put(&crew, "c", "4");
    s_wait(&crew, 1, WEFT_COUNT_COMPACTED_RECORDS, 2); // a, then its tombstone
    s_wait(&crew, 2, WEFT_COUNT_COMPACTED_RECORDS, 2);
    s_put(&crew, "d", "5");
    crew_up(&crew, 3);
    crew_advance(&crew, 200);
    assert_int_equal(crew_counter(&crew, 3, WEFT_COUNT_RESETS), 1);
    assert_int_equal(crew_partition(&crew, TOPIC, 0)->isr_count, 3);
    for (int32_t id = 1; id <= 3; id++) {
        crew_kill(&crew, id);
        s_assert_list(&crew, id, "1:b=2 3:c=4 4:d=5 end 5, tombstones below 3"); // 3 tells the next, too
    }
    crew_end(&crew);
}

// The compact part takes long: its mail is held back.
static void s_hold(struct crew *crew, bool hold)
{
    const struct weft_broker *broker = (const struct weft_broker *) crew_broker(crew, 1)->node;
    weft_fake_world_hold(crew_broker(crew, 1)->world, broker->compact_id, hold);
}

static void test_compact__topic_deleted_meanwhile_goes_when_the_run_is_back(void **state)
{
    struct crew crew;
    struct weft_topic_deleted_command command = {.topic_id = crew_id(TOPIC)};
    char path[WEFT_TEST_PATH_BYTES], text[WEFT_ID_TEXT_BYTES];
    weft_file_t *file;
    s_begin(&crew, 1);
    s_put(&crew, "a", "1");
    s_put(&crew, "a", "2");
    s_hold(&crew, true);
    crew_advance(&crew, 2000);
    assert_int_equal(crew_counter(&crew, 1, WEFT_COUNT_COMPACTIONS), 0);
    weft_buf_clear(&crew.buf);
    weft_topic_deleted_command_encode(&command, &crew.buf);
    assert_ok(crew_commit(&crew));
    crew_advance(&crew, 100);
    weft_id_text(crew_id(TOPIC), text);
    snprintf(path, sizeof path, "%s/data/topics/%s/0/00000000000000000000.log", crew_broker(&crew, 1)->directory, text);
    assert_ok(weft_disk_posix()->ops->open(weft_disk_posix(), path, WEFT_OPEN_READ, &file));
    weft_disk_posix()->ops->close(&file);
    s_hold(&crew, false);
    crew_advance(&crew, 100);
    assert_int_equal(weft_disk_posix()->ops->open(weft_disk_posix(), path, WEFT_OPEN_READ, &file), WEFT_ERR_NOT_FOUND);
    crew_end(&crew);
}

static void test_compact__stop_waits_for_the_run_and_voids_it(void **state)
{
    struct crew crew;
    s_begin(&crew, 1);
    s_put(&crew, "a", "1");
    s_put(&crew, "a", "2");
    s_hold(&crew, true);
    crew_advance(&crew, 2000);
    struct crew_broker *broker = crew_broker(&crew, 1);
    const struct weft_broker *inner = (const struct weft_broker *) broker->node;
    assert_false(weft_fake_world_stop(broker->world, inner->shards[0].id, 100000));
    s_hold(&crew, false);
    assert_true(weft_fake_world_stop(broker->world, inner->shards[0].id, 100000));
    assert_true(weft_fake_world_stop(broker->world, inner->compact_id, 0));
    assert_int_equal(crew_counter(&crew, 1, WEFT_COUNT_COMPACTIONS), 0);
    crew_kill(&crew, 1);
    s_assert_list(&crew, 1, "0:a=1 1:a=2 end 2, tombstones below 0");
    crew_end(&crew);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compact__every_replica_compacts_what_rests),
        cmocka_unit_test(test_compact__records_without_a_key_are_refused),
        cmocka_unit_test(test_compact__compacted_topic_is_not_deleted_by_age),
        cmocka_unit_test(test_compact__follower_takes_what_it_lacks_of_a_merged_gap),
        cmocka_unit_test(test_compact__follower_ends_in_a_gap_that_the_log_begins_in),
        cmocka_unit_test(test_compact__follower_that_missed_tombstones_begins_anew),
        cmocka_unit_test(test_compact__topic_deleted_meanwhile_goes_when_the_run_is_back),
        cmocka_unit_test(test_compact__stop_waits_for_the_run_and_voids_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
