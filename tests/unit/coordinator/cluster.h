// SPDX-License-Identifier: MPL-2.0
/**
 * Several brokers at one coordinator, played by the test: what they say, and what they are told (the copy of broker 1).
 * Broker b is the peer of its number; its n-th start has the incarnation 10 * b + n.
 */
#ifndef WEFT_TESTS_UNIT_COORDINATOR_CLUSTER_H
#define WEFT_TESTS_UNIT_COORDINATOR_CLUSTER_H

#include "fixture.h"

#define STEP_US (SECOND_US / 10)

static inline weft_id_t s_start_of(int32_t broker, uint8_t start)
{
    return s_incarnation((uint8_t) (10 * broker + start));
}

// Takes what was sent without looking at it; the copy follows.
static inline void s_drain(struct fixture *self)
{
    while (s_next_answer(self)) {}
}

static inline void s_join_request(struct fixture *self, int32_t broker, uint8_t start, bool clean)
{
    struct weft_broker_register_request request;
    weft_broker_register_request_init(&request);
    char text[64];
    snprintf(text, sizeof text, "tcp://127.0.0.1:%d", 7000 + broker);
    weft_slice_t endpoint = weft_slice_text(text);
    request.id = ++self->id;
    request.broker_id = broker;
    request.incarnation = s_start_of(broker, start);
    request.endpoints = &endpoint;
    request.endpoints_count = 1;
    request.clean = clean;
    weft_broker_register_request_encode(&request, &self->header);
}

static inline weft_err_t s_join(struct fixture *self, int32_t broker, uint8_t start, bool clean)
{
    s_join_request(self, broker, start, clean);
    return s_ask(self, (uint8_t) broker);
}

// Brokers 1 to `count`, first start, and the coordinator.
static inline void s_cluster(struct fixture *self, int32_t count)
{
    self->copy = weft_cluster_new();
    s_start(self);
    for (int32_t i = 1; i <= count; i++) assert_ok(s_join(self, i, 1, true));
    s_drain(self);
}

static inline void s_topic_on(struct fixture *self, const char *name, uint32_t partitions, uint32_t replicas,
                              const char *min_insync)
{
    struct weft_topic_create_request request;
    weft_topic_create_request_init(&request);
    struct weft_config_entry entry = {.key = weft_slice_text("min.insync"), .value = weft_slice_text(min_insync)};
    request.id = ++self->id;
    request.topic = weft_slice_text(name);
    request.partitions = partitions;
    request.replicas = replicas;
    request.config = &entry;
    request.config_count = min_insync ? 1 : 0;
    weft_topic_create_request_encode(&request, &self->header);
    assert_ok(s_ask(self, ADMIN));
    s_drain(self);
}

static inline const struct weft_cluster_topic *s_topic(struct fixture *self, const char *name)
{
    s_drain(self);
    const struct weft_cluster_topic *topic = weft_cluster_topic_by_name(self->copy, weft_slice_text(name));
    assert_non_null(topic);
    return topic;
}

static inline const struct weft_cluster_partition *s_partition(struct fixture *self, const char *name, uint32_t number)
{
    return &s_topic(self, name)->partitions[number];
}

static inline const struct weft_cluster_broker *s_broker(struct fixture *self, int32_t id)
{
    s_drain(self);
    return weft_cluster_broker(self->copy, id);
}

static inline bool s_in_sync(const struct weft_cluster_partition *partition, int32_t id)
{
    for (uint8_t i = 0; i < partition->isr_count; i++)
        if (partition->isr[i] == id) return true;
    return false;
}

// ---- time

/** How a broker beats. */
struct beat {
    int32_t broker;
    uint8_t start;
    bool want_stop, disk_failed;
    uint32_t turn_ms;
};

// True if it is told to stop.
static inline bool s_beat(struct fixture *self, const struct beat *beat)
{
    struct weft_broker_heartbeat_request request;
    weft_broker_heartbeat_request_init(&request);
    uint32_t turn = beat->turn_ms;
    request.id = ++self->id;
    request.broker_id = beat->broker;
    request.incarnation = s_start_of(beat->broker, beat->start);
    request.index = self->copy ? weft_cluster_index(self->copy) : 0;
    request.want_stop = beat->want_stop;
    request.disk_failed = beat->disk_failed;
    request.shard_turn_ms = &turn;
    request.shard_turn_ms_count = 1;
    weft_broker_heartbeat_request_encode(&request, &self->header);
    uint64_t id = self->id;
    s_send(self, (uint8_t) beat->broker);
    const struct weft_fake_sent *sent;
    bool stop = false;
    while ((sent = s_next_answer(self))) {
        struct weft_broker_heartbeat_reply reply;
        if (weft_broker_heartbeat_reply_decode(&self->codec, weft_buf_slice(&sent->header), &reply, NULL) ||
            reply.header.id != id)
            continue;
        stop = reply.header.error == 0 && reply.stop_now;
    }
    return stop;
}

// Time passes in which these brokers beat, the first starts of them; others are silent.
static inline void s_pass(struct fixture *self, int64_t us, const int32_t *brokers, size_t count)
{
    for (; us > 0; us -= STEP_US) {
        for (size_t i = 0; i < count; i++) (void) s_beat(self, &(struct beat){.broker = brokers[i], .start = 1});
        weft_fake_world_advance(self->world, us < STEP_US ? us : STEP_US);
        s_drain(self);
    }
}

#define PASS(self, us, ...) \
    s_pass((self), (us), (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

// These stay, the others fall silent until they are fenced.
#define LOSE_ALL_BUT(self, ...) PASS(self, SECOND_US + SECOND_US / 2, __VA_ARGS__)

// ---- in-sync sets

/** A leader's wish; `members` ends with 0. */
struct wish {
    const char *topic;
    uint32_t partition;
    int32_t members[4];
    uint8_t start_of_last; // of the last member; 0: its first
    int32_t leader_epoch_more, partition_epoch_more;
};

static inline size_t s_wish_fill(struct fixture *self, const struct wish *wish, struct weft_in_sync_member *members,
                                 struct weft_in_sync_ask *ask)
{
    const struct weft_cluster_topic *topic = s_topic(self, wish->topic);
    const struct weft_cluster_partition *partition = &topic->partitions[wish->partition];
    size_t count = 0;
    while (count < 4 && wish->members[count]) {
        members[count] = (struct weft_in_sync_member){.broker = wish->members[count],
                                                      .incarnation = s_start_of(wish->members[count], 1)};
        count++;
    }
    if (wish->start_of_last)
        members[count - 1].incarnation = s_start_of(members[count - 1].broker, wish->start_of_last);
    *ask = (struct weft_in_sync_ask){.topic_id = topic->id,
                                     .partition = wish->partition,
                                     .leader_epoch = partition->leader_epoch + wish->leader_epoch_more,
                                     .partition_epoch = partition->partition_epoch + wish->partition_epoch_more,
                                     .members = members,
                                     .members_count = count};
    return count;
}

// The error of the one change, or of the request.
static inline weft_err_t s_wish(struct fixture *self, int32_t leader, uint8_t start, const struct wish *wish)
{
    struct weft_in_sync_member members[4];
    struct weft_in_sync_ask ask;
    (void) s_wish_fill(self, wish, members, &ask);
    struct weft_in_sync_change_request request;
    weft_in_sync_change_request_init(&request);
    request.id = ++self->id;
    request.broker_id = leader;
    request.incarnation = s_start_of(leader, start);
    request.changes = &ask;
    request.changes_count = 1;
    weft_in_sync_change_request_encode(&request, &self->header);
    weft_err_t err = s_ask(self, (uint8_t) leader);
    if (err) return err;
    struct weft_in_sync_change_reply reply;
    DECODE(in_sync_change, &reply);
    assert_int_equal(reply.errors_count, 1);
    return (weft_err_t) reply.errors[0];
}

// ---- reports

/** What a replica says. */
struct said {
    int32_t broker;
    uint8_t start;
    int32_t last_epoch;
    int64_t log_end;
    bool damaged;
    int32_t leader_epoch_more;
};

static inline weft_err_t s_say(struct fixture *self, const char *name, uint32_t number, const struct said *said)
{
    const struct weft_cluster_topic *topic = s_topic(self, name);
    struct weft_replica_report report = {.topic_id = topic->id,
                                         .partition = number,
                                         .leader_epoch =
                                             topic->partitions[number].leader_epoch + said->leader_epoch_more,
                                         .last_epoch = said->last_epoch,
                                         .log_end = said->log_end,
                                         .damaged = said->damaged};
    struct weft_partition_report_request request;
    weft_partition_report_request_init(&request);
    request.id = ++self->id;
    request.broker_id = said->broker;
    request.incarnation = s_start_of(said->broker, said->start);
    request.reports = &report;
    request.reports_count = 1;
    weft_partition_report_request_encode(&request, &self->header);
    return s_ask(self, (uint8_t) said->broker);
}

// ---- status

static inline bool s_status_says(struct fixture *self, const char *part)
{
    struct weft_cluster_status_request request;
    struct weft_cluster_status_reply reply;
    weft_cluster_status_request_init(&request);
    request.id = ++self->id;
    weft_cluster_status_request_encode(&request, &self->header);
    assert_ok(s_ask(self, CLIENT));
    DECODE(cluster_status, &reply);
    bool says = false;
    for (size_t i = 0; i < reply.problems_count; i++) {
        char *text = weft_slice_dup(reply.problems[i]);
        says |= strstr(text, part) != NULL;
        free(text);
    }
    return says;
}

#endif
