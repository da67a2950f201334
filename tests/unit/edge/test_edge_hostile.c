// SPDX-License-Identifier: MPL-2.0
// Clients and core nodes that lie: whatever they say costs themselves something, and nobody else anything.
#include "edge_rig.h"

#include "lib/client/cluster_view.h"
#include "nodes/edge/edge.h"

#include <weft_gen/limits.h>

// A node answers requests that were never sent to it, or to anybody: ids are small numbers.
static void test_edge_hostile__an_answer_to_what_was_not_sent_yet_is_passed_over(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    rig_produce(&rig, 1, 7, rig_batch(&rig, 50, 0));
    for (uint64_t generation = 1; generation < 4; generation++)
        for (uint64_t slot = 0; slot < 4; slot++) {
            const struct peer_call guessed = {.id = generation << 20 | slot, .endpoint = RIG_B};
            peer_refuse(&rig.peer, &guessed, WEFT_ERR_NOT_LEADER, RIG_B, 0);
        }
    assert_int_equal(weft_fake_world_reply_count(rig.peer.world), 0);
    weft_fake_world_link(rig.peer.world, RIG_A, true);
    rig_advance(&rig, 300);
    const struct peer_call call = *peer_take(&rig.peer, WEFT_API_PRODUCE);
    peer_produced(&rig.peer, &call, 100, false);
    peer_produced(&rig.peer, &call, 200, false); // and once more
    assert_int_equal(rig_reply(&rig, 1, 7).offset, 100);
    assert_null(weft_fake_world_take_reply(rig.peer.world));
    rig_fini(&rig);
}

// A leader that takes requests and says nothing for ever: what can't be sent again is told, once.
static void test_edge_hostile__a_leader_that_never_answers_costs_its_requests_only(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    rig_produce(&rig, 1, 1, rig_batch(&rig, -1, 0));
    rig_produce(&rig, 1, 2, rig_batch(&rig, 50, 0));
    rig.peer.silent = true;
    weft_fake_world_advance(rig.peer.world, 61000000);
    rig_expect(&rig, 1, 1, WEFT_ERR_LEADER_CHANGED);
    rig_expect(&rig, 1, 2, WEFT_ERR_LEADER_CHANGED);
    assert_null(weft_fake_world_take_reply(rig.peer.world));
    rig_fini(&rig);
}

// A fetch of a topic that nobody knows, its header as large as one may be.
static void s_largest(weft_buf_t *out)
{
    static const char head[] = "\x89\xa3"
                               "api\xa5"
                               "fetch\xa5"
                               "topic\xa1x\xa9"
                               "partition\x00\xa6"
                               "offset\x00";
    weft_buf_append(out, head, sizeof head - 1);
    for (uint8_t i = 0; i < 5; i++) {
        size_t left = WEFT_HEADER_BYTES_MAX - out->size - 7; // key a1 'a', and the head of a bin32
        size_t bytes = i < 4 ? (WEFT_HEADER_BYTES_MAX - 200) / 5 : left;
        const uint8_t pair[7] = {0xa1,
                                 (uint8_t) ('a' + i),
                                 0xc6,
                                 (uint8_t) (bytes >> 24),
                                 (uint8_t) (bytes >> 16),
                                 (uint8_t) (bytes >> 8),
                                 (uint8_t) bytes};
        weft_buf_append(out, pair, sizeof pair);
        uint8_t *filler = weft_calloc(1, bytes);
        weft_buf_append(out, filler, bytes);
        free(filler);
    }
    assert_int_equal(out->size, WEFT_HEADER_BYTES_MAX);
}

static void test_edge_hostile__a_header_that_has_no_room_for_an_id_is_refused(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, false);
    s_largest(&rig.buf);
    weft_fake_world_request(rig.peer.world, 0, 1, false, weft_buf_slice(&rig.buf), WEFT_SLICE_NIL, false);
    rig_advance(&rig, 300); // its topic is sought meanwhile
    rig_expect(&rig, 1, 0, WEFT_ERR_BAD_FRAME);
    rig_produce(&rig, 2, 1, rig_batch(&rig, -1, 0));
    peer_produced(&rig.peer, peer_take(&rig.peer, WEFT_API_PRODUCE), 5, false);
    rig_expect(&rig, 2, 1, WEFT_OK);
    rig_fini(&rig);
}

// ---- the spool's files

static void s_flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fputc(byte ^ 0x55, file), byte ^ 0x55);
    assert_int_equal(fclose(file), 0);
}

// What was synced and rots is told: the edge does not run without it, nor write over it.
static void test_edge_hostile__a_spool_that_is_damaged_is_refused_and_left_as_it_is(void **state)
{
    struct rig rig;
    struct weft_error error = {.text = ""};
    rig_init(&rig, NULL, true);
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    for (int32_t i = 0; i < 5; i++) rig_produce(&rig, 1, (uint64_t) i, rig_batch(&rig, 50, i));
    rig_advance(&rig, 1500);
    for (uint64_t i = 0; i < 5; i++) rig_expect(&rig, 1, i, WEFT_OK);
    rig_crash(&rig);
    s_flip(weft_test_path(rig.directory, "topics/07000000000000000000000000000000/0/00000000000000000000.log"), 120);
    weft_options_t *options = weft_options_new(weft_options_edge, weft_options_edge_count, "edge");
    assert_ok(weft_options_set(options, "bootstrap", RIG_A, &error));
    assert_ok(weft_options_set(options, "spool", rig.directory, &error));
    for (int again = 0; again < 2; again++) {
        rig_world(&rig);
        assert_err(weft_node_edge.create(weft_fake_world_of(rig.peer.world), options, &rig.node, &error),
                   WEFT_ERR_DAMAGED);
        assert_non_null(strstr(error.text, "00000000000000000000.log"));
        weft_fake_world_destroy(&rig.peer.world);
    }
    weft_options_destroy(&options);
    s_flip(weft_test_path(rig.directory, "topics/07000000000000000000000000000000/0/00000000000000000000.log"), 120);
    rig_world(&rig);
    rig_begin(&rig, NULL, true);
    rig_advance(&rig, 300);
    for (int32_t i = 0; i < 5; i++) {
        const struct peer_call call = *peer_take(&rig.peer, WEFT_API_PRODUCE);
        assert_int_equal(call.batch.base_sequence, i);
        peer_produced(&rig.peer, &call, i, false);
    }
    rig_fini(&rig);
}

// The core's answers to the batches that are on their way; how many don't match their sum.
static size_t s_answer_batches(struct rig *rig)
{
    size_t rotten = 0;
    while (rig->peer.call_count > 0) {
        const struct peer_call call = *peer_take(&rig->peer, WEFT_API_PRODUCE);
        struct weft_batch batch;
        bool whole = weft_batch_verify(weft_buf_slice(&call.data), &batch) == WEFT_OK;
        rotten += !whole;
        if (whole)
            peer_produced(&rig->peer, &call, batch.base_sequence, false);
        else
            peer_refuse(&rig->peer, &call, WEFT_ERR_BAD_CRC, "", 0);
    }
    return rotten;
}

// What rots while it waits is set aside and told, and does not hold up what stands behind it.
static void test_edge_hostile__a_batch_that_rotted_in_the_spool_is_set_aside(void **state)
{
    struct rig rig;
    rig_init(&rig, NULL, true);
    weft_fake_world_link(rig.peer.world, RIG_A, false);
    for (int32_t i = 0; i < 3; i++) { // so large that a clean start does not read all of them again
        const struct weft_test_batch how = {
            .value_bytes = 100000, .has_producer = true, .producer_id = 50, .base_sequence = i};
        weft_test_batch_make(&rig.batch, &how);
        rig_produce(&rig, 1, (uint64_t) i, weft_buf_slice(&rig.batch));
    }
    rig_advance(&rig, 1500);
    for (size_t i = 0; i < 2; i++) assert_true(weft_fake_world_stop(rig.peer.world, rig.node->parts[i], 1000000));
    rig_crash(&rig);
    s_flip(weft_test_path(rig.directory, "topics/07000000000000000000000000000000/0/00000000000000000000.log"), 1000);
    rig_world(&rig);
    rig.peer.careless = true;
    rig_begin(&rig, NULL, true);
    size_t rotten = 0;
    for (int i = 0; i < 100; i++) {
        rig_advance(&rig, 50);
        rotten += s_answer_batches(&rig);
    }
    if (rotten < 1 || rotten > 3) fail_msg("%zu batches that rotted were sent", rotten);
    const weft_counters_t *counters = rig.node->counters[0];
    assert_int_equal(weft_counter_get(counters, WEFT_EDGE_DRAINED), 2);
    assert_int_equal(weft_counter_get(counters, WEFT_EDGE_DEAD), 1);
    assert_int_equal(weft_counter_get(counters, WEFT_EDGE_WAITING_BATCHES), 0);
    rig_fini(&rig);
}

// ---- metadata of a view

// Few bytes that name partitions far out, in many topics.
static void s_absurd(weft_view_t *view, unsigned first, unsigned count)
{
    struct weft_metadata_partition far = {.partition = WEFT_PARTITIONS_MAX - 1, .leader = 1, .epoch = 1};
    struct weft_metadata_topic *topics = weft_calloc(count, sizeof *topics);
    char(*names)[16] = weft_calloc(count, sizeof *names);
    for (unsigned i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "t%u", first + i);
        topics[i] =
            (struct weft_metadata_topic){.name = weft_slice_text(names[i]), .partitions = &far, .partitions_count = 1};
        topics[i].id.bytes[0] = 1;
    }
    struct weft_metadata_reply reply;
    weft_metadata_reply_init(&reply);
    reply.topics = topics;
    reply.topics_count = count;
    weft_view_apply(view, &reply, true);
    free(topics);
    free(names);
}

static int64_t s_now_us(void *world)
{
    return 1000000;
}

static void test_edge_hostile__metadata_that_names_absurdly_much_takes_bounded_memory(void **state)
{
    static const struct weft_port_ops ops = {.now_us = s_now_us};
    weft_view_t view;
    assert_ok(weft_view_init(&view, RIG_A, NULL));
    view.port = (weft_port_t){.ops = &ops};
    s_absurd(&view, 0, 20000);
    s_absurd(&view, 10000, 60000);
    size_t partitions = 0;
    for (size_t i = 0; i < view.topic_count; i++) partitions += (size_t) view.topics[i]->partition_count;
    assert_true(partitions == view.partition_count && partitions <= WEFT_VIEW_PARTITIONS_MAX);
    assert_int_equal(view.topic_count, 70000);
    assert_int_equal(view.topics[0]->state, WEFT_VIEW_MISSING); // not told of the second time
    for (unsigned turn = 1; turn < 6; turn++) s_absurd(&view, turn * 60000, 60000);
    assert_int_equal(view.topic_count, WEFT_VIEW_TOPICS_MAX);
    weft_view_fini(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edge_hostile__an_answer_to_what_was_not_sent_yet_is_passed_over),
        cmocka_unit_test(test_edge_hostile__a_leader_that_never_answers_costs_its_requests_only),
        cmocka_unit_test(test_edge_hostile__a_header_that_has_no_room_for_an_id_is_refused),
        cmocka_unit_test(test_edge_hostile__a_spool_that_is_damaged_is_refused_and_left_as_it_is),
        cmocka_unit_test(test_edge_hostile__a_batch_that_rotted_in_the_spool_is_set_aside),
        cmocka_unit_test(test_edge_hostile__metadata_that_names_absurdly_much_takes_bounded_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
