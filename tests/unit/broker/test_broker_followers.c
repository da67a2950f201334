// SPDX-License-Identifier: MPL-2.0
// A leader and what followers claim: the test is the follower, at the door for other brokers.
#include "crew.h"

static int s_setup_of(void **state, const char *const *pairs)
{
    struct crew *crew = weft_alloc(sizeof *crew);
    crew_begin(crew, 2, pairs);
    *state = crew;
    crew_topic(crew, CREW_TOPIC, 10, 3, 2, NULL, NULL);
    crew_advance(crew, 100);
    // From here on broker 2 is played by the test.
    crew->cut[1][2] = crew->cut[2][1] = true;
    weft_fake_world_link(crew_broker(crew, 2)->world, crew_door(crew_broker(crew, 1)), false);
    const struct crew_produce how = {.count = 10, .acks = "leader"};
    assert_int_equal(crew_produce(crew, 1, &how).header.error, WEFT_OK);
    return 0;
}

static int s_setup(void **state)
{
    return s_setup_of(state, NULL);
}

static int s_small(void **state)
{
    static const char *const pairs[] = {"shard.bytes=4MiB", NULL};
    return s_setup_of(state, pairs);
}

static int s_teardown(void **state)
{
    struct crew *crew = *state;
    crew_end(crew);
    free(crew);
    return 0;
}

#define S_PEER 200 // the test's own connection

/** A request and what was answered last. */
struct follower {
    struct weft_replicate_request request;
    struct weft_replicate_partition named[64];
    struct weft_partition_ref forget[4];
    struct weft_replicate_reply reply;
    uint8_t more; // of the number of its connection
};

static void s_init(struct crew *crew, struct follower *self)
{
    weft_replicate_request_init(&self->request);
    self->request.broker_id = 2;
    self->request.incarnation = crew_broker(crew, 2)->incarnation;
    self->request.sequence = 1;
    self->request.max_wait_ms = 100;
    self->request.partitions = self->named;
    self->request.forget = self->forget;
}

static void s_name(struct follower *self, uint32_t partition, int64_t offset, int64_t synced_end)
{
    self->named[self->request.partitions_count++] = (struct weft_replicate_partition){.topic_id = crew_id(10),
                                                                                      .partition = partition,
                                                                                      .offset = offset,
                                                                                      .synced_end = synced_end,
                                                                                      .last_epoch = offset > 0 ? 0 : -1,
                                                                                      .max_bytes = 1 << 20};
}

static void s_send(struct crew *crew, struct follower *self, uint8_t door)
{
    struct crew_broker *leader = crew_broker(crew, 1);
    self->request.id = crew->next_id++;
    weft_buf_clear(&crew->buf);
    weft_replicate_request_encode(&self->request, &crew->buf);
    leader->reply_count = 0;
    weft_fake_world_request_at(leader->world, 0, door, (uint8_t) (S_PEER + self->more), weft_buf_slice(&crew->buf),
                               WEFT_SLICE_NIL);
    crew_settle(crew);
    self->request.sequence++;
    self->request.partitions_count = self->request.forget_count = 0;
}

static void s_take(struct crew *crew, struct follower *self)
{
    struct crew_broker *leader = crew_broker(crew, 1);
    assert_true(leader->reply_count > 0);
    assert_ok(weft_replicate_reply_decode(&crew->codec, weft_buf_slice(&leader->reply), &self->reply, &crew->error));
    if (self->reply.header.error == WEFT_OK) self->request.session = self->reply.session;
}

// The error that naming one partition gives.
static weft_err_t s_claim(struct crew *crew, struct follower *self, const struct weft_replicate_partition *claim)
{
    self->named[0] = *claim;
    self->request.partitions_count = 1;
    s_send(crew, self, 1);
    s_take(crew, self);
    assert_ok(self->reply.header.error);
    assert_int_equal(self->reply.partitions_count, 1);
    return (weft_err_t) self->reply.partitions[0].error;
}

static void test_followers__have_a_door_of_their_own(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_name(&follower, 0, 0, 0);
    s_send(crew, &follower, 0);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.header.error, WEFT_ERR_INVALID_REQUEST);
    assert_non_null(
        memmem(follower.reply.header.message.data, follower.reply.header.message.size, "replica endpoint", 16));
    // And clients are sent away from it.
    struct weft_fetch_request fetch;
    struct weft_reply_header header;
    weft_fetch_request_init(&fetch);
    fetch.id = 77;
    fetch.topic = weft_slice_text(CREW_TOPIC);
    weft_buf_clear(&crew->buf);
    weft_fetch_request_encode(&fetch, &crew->buf);
    weft_fake_world_request_at(crew_broker(crew, 1)->world, 0, 1, S_PEER, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
    crew_settle(crew);
    assert_ok(
        weft_reply_header_decode(&crew->codec, weft_buf_slice(&crew_broker(crew, 1)->reply), &header, &crew->error));
    assert_int_equal(header.error, WEFT_ERR_INVALID_REQUEST);
}

static void test_followers__data_comes_once_and_again_when_it_is_named_again(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_name(&follower, 0, 0, 0);
    s_name(&follower, 1, 0, 0);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.partitions_count, 1);
    assert_int_equal(follower.reply.partitions[0].bytes, crew_broker(crew, 1)->reply_data.size);
    assert_true(follower.reply.partitions[0].bytes > 0);
    assert_int_equal(follower.reply.partitions[0].log_end, 10);
    // Not named: nothing more of it, until its time is up.
    s_send(crew, &follower, 1);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    crew_advance(crew, 120);
    s_take(crew, &follower);
    assert_int_equal(crew_broker(crew, 1)->reply_data.size, 0);
    s_name(&follower, 0, 0, 0);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.partitions_count, 1);
    assert_true(follower.reply.partitions[0].bytes > 0);
    // Taken: parked, and answered by the next record.
    s_name(&follower, 0, 10, 10);
    s_send(crew, &follower, 1);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 10);
    const struct crew_produce how = {.count = 1, .acks = "none"};
    (void) crew_send(crew, 1, &how);
    crew_settle(crew);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.partitions_count, 1);
    assert_int_equal(follower.reply.partitions[0].high_watermark, 10);
    assert_int_equal(follower.reply.partitions[0].log_end, 11);
}

static void test_followers__a_request_whose_time_is_up_as_data_comes_is_answered_once(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_name(&follower, 0, 10, 10);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    s_send(crew, &follower, 1);
    // The broker's next turn finds both: the shard slept over the end of the wait.
    const struct crew_produce how = {.count = 1, .acks = "none"};
    struct weft_broker *broker = (struct weft_broker *) crew_broker(crew, 1)->node;
    weft_fake_world_hold(crew_broker(crew, 1)->world, broker->shards[0].id, true);
    weft_fake_world_advance(crew_broker(crew, 1)->world, 200 * 1000);
    (void) crew_send(crew, 1, &how);
    weft_fake_world_hold(crew_broker(crew, 1)->world, broker->shards[0].id, false);
    crew_settle(crew);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.partitions[0].log_end, 11);
}

static void test_followers__a_second_request_has_the_first_answered_at_once(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_name(&follower, 0, 10, 10);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    s_send(crew, &follower, 1);
    uint64_t first = follower.request.id;
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 1);
    assert_int_equal(follower.reply.header.id, first);
}

static void test_followers__a_gap_ends_the_session_and_a_stranger_has_none(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_name(&follower, 0, 10, 10);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    uint64_t session = follower.request.session;
    assert_int_not_equal(session, 0);
    follower.request.broker_id = 1;
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.header.error, WEFT_ERR_SESSION_NOT_FOUND);
    follower.request.broker_id = 2;
    follower.request.sequence = 5;
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.header.error, WEFT_ERR_SESSION_NOT_FOUND);
    follower.request.sequence = 2;
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.header.error, WEFT_ERR_SESSION_NOT_FOUND);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_REPLICA_SESSIONS), 1); // that of broker 2 itself, cut off
}

static void test_followers__impossible_claims_are_refused_and_move_no_mark(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    const struct weft_replicate_partition good = {
        .topic_id = crew_id(10), .offset = 0, .synced_end = 0, .last_epoch = -1, .max_bytes = 1 << 20};
    struct weft_replicate_partition claim = good;
    claim.offset = claim.synced_end = 11; // beyond the log end
    claim.last_epoch = 0;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_INVALID_REQUEST);
    claim.offset = 5;
    claim.synced_end = 6;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_INVALID_REQUEST);
    claim.offset = claim.synced_end = -1;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_INVALID_REQUEST);
    claim.offset = INT64_MIN;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_INVALID_REQUEST);
    claim = good;
    claim.offset = claim.synced_end = 10;
    claim.last_epoch = 1000000000; // a bit flipped in an epoch
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_DIVERGED);
    claim = good;
    claim.leader_epoch = 1;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_UNKNOWN_EPOCH);
    claim.leader_epoch = -1;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_STALE_EPOCH);
    claim = good;
    claim.partition = 3;
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_UNKNOWN_TOPIC);
    claim.topic_id = crew_id(99);
    assert_int_equal(s_claim(crew, &follower, &claim), WEFT_ERR_UNKNOWN_TOPIC);
    // Another start of the follower, and somebody who is no replica.
    struct follower other = {0};
    s_init(crew, &other);
    other.request.incarnation = crew_id(66);
    claim = good;
    claim.offset = claim.synced_end = 10;
    claim.last_epoch = 0;
    assert_int_equal(s_claim(crew, &other, &claim), WEFT_ERR_FENCED);
    s_init(crew, &other);
    other.request.broker_id = 9;
    assert_int_equal(s_claim(crew, &other, &claim), WEFT_ERR_UNKNOWN_BROKER);
    s_init(crew, &other);
    other.request.broker_id = 1; // the leader itself
    other.request.incarnation = crew_broker(crew, 1)->incarnation;
    assert_int_equal(s_claim(crew, &other, &claim), WEFT_ERR_UNKNOWN_BROKER);
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 0);
    assert_true(crew_counter(crew, 1, WEFT_COUNT_REPLICAS_REFUSED) >= 12);
}

static void s_progress(struct crew *crew, uint8_t peer, int64_t log_end)
{
    struct weft_partition_progress moved = {.topic_id = crew_id(10), .log_end = log_end, .synced_end = log_end};
    struct weft_progress_request request;
    weft_progress_request_init(&request);
    request.id = crew->next_id++;
    request.broker_id = 2;
    request.incarnation = crew_broker(crew, 2)->incarnation;
    request.partitions = &moved;
    request.partitions_count = 1;
    weft_buf_clear(&crew->buf);
    weft_progress_request_encode(&request, &crew->buf);
    crew_broker(crew, 1)->reply_count = 0;
    weft_fake_world_request_at(crew_broker(crew, 1)->world, 0, 1, peer, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
    crew_settle(crew);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0); // never answered
}

static void test_followers__progress_counts_over_the_connection_of_its_session_only(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_name(&follower, 0, 0, 0);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    s_progress(crew, S_PEER + 1, 10);
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 0);
    s_progress(crew, S_PEER, 11); // beyond the log end
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 0);
    s_progress(crew, S_PEER, 10);
    assert_int_equal(crew_status(crew, 1, 0).high_watermark, 10);
    // A question where to align is no report, and ends what was known.
    follower.named[0] = (struct weft_replicate_partition){
        .topic_id = crew_id(10), .offset = 10, .synced_end = 10, .last_epoch = 0, .align = true, .max_bytes = 1};
    follower.request.partitions_count = 1;
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    assert_int_equal(follower.reply.partitions_count, 1);
    assert_int_equal(follower.reply.partitions[0].epoch, 0);
    assert_int_equal(follower.reply.partitions[0].epoch_end, 10);
    assert_int_equal(follower.reply.partitions[0].bytes, 0);
    uint64_t refused = crew_counter(crew, 1, WEFT_COUNT_REPLICAS_REFUSED);
    s_progress(crew, S_PEER, 10);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_REPLICAS_REFUSED), refused + 1);
}

static void test_followers__a_partition_goes_along_to_the_session_that_names_it_last(void **state)
{
    struct crew *crew = *state;
    struct follower one = {0}, two = {0};
    s_init(crew, &one);
    s_init(crew, &two);
    s_name(&one, 0, 10, 10);
    s_send(crew, &one, 1);
    s_take(crew, &one);
    s_name(&two, 0, 10, 10);
    s_send(crew, &two, 1);
    s_take(crew, &two);
    // The first one forgets it too late: it is not its own any more.
    one.forget[0] = (struct weft_partition_ref){.topic_id = crew_id(10), .partition = 0};
    one.request.forget_count = 1;
    s_send(crew, &one, 1);
    s_send(crew, &two, 1);
    const struct crew_produce how = {.count = 1, .acks = "none"};
    (void) crew_send(crew, 1, &how);
    crew_settle(crew);
    s_take(crew, &two);
    assert_int_equal(two.reply.header.id, two.request.id);
    assert_int_equal(two.reply.partitions_count, 1);
}

static void test_followers__a_late_word_of_a_lost_connection_takes_nothing_along(void **state)
{
    struct crew *crew = *state;
    struct follower lost = {0}, now = {.more = 1};
    s_init(crew, &lost);
    s_init(crew, &now);
    s_name(&lost, 0, 10, 10);
    s_send(crew, &lost, 1);
    s_take(crew, &lost);
    s_name(&now, 0, 10, 10);
    s_send(crew, &now, 1);
    s_take(crew, &now);
    s_send(crew, &now, 1);
    s_name(&lost, 0, 0, 0); // sent before, read after
    s_send(crew, &lost, 1);
    const struct crew_produce how = {.count = 1, .acks = "none"};
    (void) crew_send(crew, 1, &how);
    crew_settle(crew);
    s_take(crew, &now);
    assert_int_equal(now.reply.header.id, now.request.id);
    assert_int_equal(now.reply.partitions_count, 1);
    assert_true(now.reply.partitions[0].bytes > 0);
}

static void test_followers__nothing_is_read_for_one_that_takes_nothing_off(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    s_init(crew, &follower);
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    weft_fake_world_outstanding(crew_broker(crew, 1)->world, 1 << 30);
    s_name(&follower, 0, 0, 0);
    follower.request.max_wait_ms = 5000;
    s_send(crew, &follower, 1);
    crew_advance(crew, 100);
    assert_int_equal(crew_broker(crew, 1)->reply_count, 0);
    weft_fake_world_outstanding(crew_broker(crew, 1)->world, 0);
    crew_advance(crew, 50);
    s_take(crew, &follower);
    assert_true(follower.reply.partitions[0].bytes > 0);
}

// Consumers that take nothing off use up what the shard may hold for them, not what acknowledgements wait for.
static void test_followers__are_served_however_slow_consumers_are(void **state)
{
    struct crew *crew = *state;
    struct follower follower = {0};
    weft_fake_world_t *world = crew_broker(crew, 1)->world;
    const struct crew_produce large = {.count = 1, .value_bytes = 900000, .acks = "leader"};
    for (int i = 0; i < 4; i++) assert_int_equal(crew_produce(crew, 1, &large).header.error, WEFT_OK);
    s_init(crew, &follower);
    s_name(&follower, 0, 14, 14); // so the rest is committed
    s_send(crew, &follower, 1);
    s_take(crew, &follower);
    struct weft_fetch_request fetch;
    weft_fetch_request_init(&fetch);
    fetch.id = 77;
    fetch.topic = weft_slice_text(CREW_TOPIC);
    fetch.max_bytes = 4000000;
    weft_buf_clear(&crew->buf);
    weft_fetch_request_encode(&fetch, &crew->buf);
    uint64_t fetched = crew_counter(crew, 1, WEFT_COUNT_FETCH_BYTES);
    uint64_t replicated = crew_counter(crew, 1, WEFT_COUNT_REPLICATE_BYTES);
    weft_fake_world_request_at(world, 0, 0, CREW_CLIENT, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
    assert_true(crew_counter(crew, 1, WEFT_COUNT_FETCH_BYTES) > fetched + 3500000); // and it stays there
    follower.request.id = crew->next_id++;
    follower.request.max_bytes = 700000;
    s_name(&follower, 0, 10, 10);
    weft_buf_clear(&crew->buf);
    weft_replicate_request_encode(&follower.request, &crew->buf);
    weft_fake_world_request_at(world, 0, 1, S_PEER, weft_buf_slice(&crew->buf), WEFT_SLICE_NIL);
    assert_true(crew_counter(crew, 1, WEFT_COUNT_REPLICATE_BYTES) > replicated);
}

static void test_followers__rubbish_is_refused_and_counted(void **state)
{
    struct crew *crew = *state;
    static const uint8_t rubbish[] = {0x83, 0xa3, 'a', 'p', 'i',  0xa9, 'r', 'e', 'p',  'l', 'i',
                                      'c',  'a',  't', 'e', 0xa2, 'i',  'd', 1,   0xaa, 'p', 'a',
                                      'r',  't',  'i', 't', 'i',  'o',  'n', 's', 5};
    uint64_t bad = crew_counter(crew, 1, WEFT_COUNT_BAD_FRAMES);
    weft_fake_world_request_at(crew_broker(crew, 1)->world, 0, 1, S_PEER, weft_slice(rubbish, sizeof rubbish),
                               WEFT_SLICE_NIL);
    crew_settle(crew);
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_BAD_FRAMES), bad + 1);
    // Sessions are bounded: the longest unused go.
    for (int i = 0; i < 1100; i++) {
        struct follower follower = {0};
        s_init(crew, &follower);
        s_send(crew, &follower, 1);
    }
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_REPLICA_SESSIONS), 1024);
    crew_advance(crew, 35000);
    assert_true(crew_counter(crew, 1, WEFT_COUNT_REPLICA_SESSIONS) == 0);
}

// Brokers that are registered and never seen.
static void s_register_many(struct crew *crew, int32_t count, size_t shards)
{
    weft_slice_t endpoints[WEFT_BROKER_SHARDS_MAX];
    for (size_t i = 0; i < shards; i++) endpoints[i] = weft_slice_text("tcp://127.0.0.1:1");
    for (int32_t i = 0; i < count; i++) {
        struct weft_broker_registered_command command;
        weft_broker_registered_command_init(&command);
        command.broker_id = 100 + i;
        command.incarnation = crew_id((uint8_t) (100 + i));
        command.endpoints = endpoints;
        command.endpoints_count = shards;
        weft_buf_clear(&crew->buf);
        weft_broker_registered_command_encode(&command, &crew->buf);
        assert_ok(crew_commit(crew));
    }
    crew_settle(crew);
}

static void test_followers__a_large_cluster_may_have_more_sessions(void **state)
{
    struct crew *crew = *state;
    size_t shards = crew->count;
    s_register_many(crew, 10, 40);
    shards += 10 * 40;
    for (size_t i = 0; i < shards * 4 + 100; i++) {
        struct follower follower = {0};
        s_init(crew, &follower);
        s_send(crew, &follower, 1);
    }
    assert_int_equal(crew_counter(crew, 1, WEFT_COUNT_REPLICA_SESSIONS), shards * 4);
}

static void test_followers__who_asks_for_nonsense_only_is_not_remembered_for_ever(void **state)
{
    enum { COUNT = 10000 };
    struct crew *crew = *state;
    struct follower follower = {0};
    struct weft_replicate_partition *named = weft_calloc(COUNT, sizeof *named);
    for (uint32_t i = 0; i < COUNT; i++) named[i] = (struct weft_replicate_partition){.topic_id = crew_id(99)};
    s_init(crew, &follower);
    follower.request.partitions = named;
    int requests = 0;
    do {
        follower.request.partitions_count = COUNT;
        s_send(crew, &follower, 1);
        s_take(crew, &follower);
    } while (follower.reply.header.error == WEFT_OK && ++requests < 100);
    assert_int_equal(follower.reply.header.error, WEFT_ERR_SESSION_NOT_FOUND);
    assert_in_range(requests, 2, 40);
    free(named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_followers__have_a_door_of_their_own, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__data_comes_once_and_again_when_it_is_named_again, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__a_request_whose_time_is_up_as_data_comes_is_answered_once,
                                        s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__a_second_request_has_the_first_answered_at_once, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__a_gap_ends_the_session_and_a_stranger_has_none, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__impossible_claims_are_refused_and_move_no_mark, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__progress_counts_over_the_connection_of_its_session_only,
                                        s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__a_partition_goes_along_to_the_session_that_names_it_last,
                                        s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__a_late_word_of_a_lost_connection_takes_nothing_along, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__nothing_is_read_for_one_that_takes_nothing_off, s_setup,
                                        s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__are_served_however_slow_consumers_are, s_small, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__rubbish_is_refused_and_counted, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__a_large_cluster_may_have_more_sessions, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_followers__who_asks_for_nonsense_only_is_not_remembered_for_ever, s_setup,
                                        s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
