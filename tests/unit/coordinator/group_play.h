// SPDX-License-Identifier: MPL-2.0
/**
 * Members of consumer groups at one coordinator, played by the test: each sends heartbeats, waits for answers as a client
 * does, and carries out what it is told at once, unless the test says otherwise. Its requests carry its number, so that
 * answers find it.
 */
#ifndef WEFT_TESTS_UNIT_COORDINATOR_GROUP_PLAY_H
#define WEFT_TESTS_UNIT_COORDINATOR_GROUP_PLAY_H

#include "fixture.h"

enum { MEMBERS_MAX = 1100, MEMBER_IDS = 10000000, MEMBER_PEER = 100, PLAY_STEP_US = 10000 };

struct owned {
    weft_id_t topic;
    uint32_t partition;
    uint64_t token;
};

struct member {
    const char *group;
    weft_id_t id;
    const char *instance, *topic, *assignor; // NULL: none
    uint32_t session_ms, release_ms, wait_ms;
    bool exclusive;
    bool slow;   // sees assignments and carries none out
    bool silent; // sends nothing by itself

    uint64_t epoch, seen, revision;
    uint64_t waits; // id of the request that is not answered; 0: none
    uint64_t sent;  // requests
    size_t answers;
    weft_err_t err; // of the last answer
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    uint32_t retry_ms, heartbeat_ms;
    int64_t answered_us;
    size_t unknown_count;
    struct owned *owned;
    size_t owned_count;
};

struct play {
    struct fixture *at;
    struct member members[MEMBERS_MAX];
    size_t count;
};

static inline weft_id_t s_member_id(size_t number)
{
    weft_id_t id = {{0xaa}};
    memcpy(id.bytes + 8, &number, sizeof number);
    return id;
}

static inline struct play *s_play_new(struct fixture *at)
{
    struct play *self = weft_calloc(1, sizeof *self);
    self->at = at;
    return self;
}

static inline void s_play_free(struct play *self)
{
    for (size_t i = 0; i < self->count; i++) free(self->members[i].owned);
    free(self);
}

static inline struct member *s_member(struct play *self, const char *group, const char *topic)
{
    assert_true(self->count < MEMBERS_MAX);
    struct member *member = &self->members[self->count];
    *member = (struct member){.group = group,
                              .id = s_member_id(++self->count),
                              .topic = topic,
                              .session_ms = 10000,
                              .release_ms = 60000,
                              .wait_ms = 1000};
    return member;
}

// ---- requests

static inline void s_request_fill(struct play *self, struct member *member, struct weft_group_heartbeat_request *out)
{
    weft_group_heartbeat_request_init(out);
    out->id = (uint64_t) (member - self->members + 1) * MEMBER_IDS + ++member->sent;
    out->group = weft_slice_text(member->group);
    out->member = member->id;
    out->epoch = member->epoch;
    out->seen = member->seen;
    out->revision = member->revision;
    if (member->epoch) {
        out->wait_ms = member->wait_ms;
        return;
    }
    out->instance = weft_slice_text(member->instance);
    out->assignor = weft_slice_text(member->assignor);
    out->client = weft_slice_text("app");
    out->host = weft_slice_text("host");
    out->session_ms = member->session_ms;
    out->release_ms = member->release_ms;
    out->exclusive = member->exclusive;
}

static inline void s_request_send(struct play *self, struct member *member,
                                  struct weft_group_heartbeat_request *request)
{
    member->waits = request->id;
    weft_group_heartbeat_request_encode(request, &self->at->header);
    weft_fake_world_queue(self->at->world, 0, MEMBER_PEER, false, weft_buf_slice(&self->at->header), WEFT_SLICE_NIL,
                          false);
    weft_buf_clear(&self->at->header);
}

static inline void s_member_take(struct play *self, struct member *member,
                                 const struct weft_group_heartbeat_reply *reply)
{
    member->err = (weft_err_t) reply->header.error;
    member->retry_ms = reply->header.retry_ms;
    snprintf(member->sentence, sizeof member->sentence, "%.*s", (int) reply->header.message.size,
             reply->header.message.size ? (const char *) reply->header.message.data : "");
    member->answered_us = weft_fake_world_now_us(self->at->world);
    member->answers++;
    if (member->err) return;
    member->epoch = reply->epoch;
    member->heartbeat_ms = reply->heartbeat_ms;
    member->unknown_count = reply->unknown_count;
    if (!reply->assigned) return;
    member->seen = reply->revision;
    if (!member->slow) member->revision = reply->revision;
    size_t count = 0;
    for (size_t i = 0; i < reply->assignment_count; i++) count += reply->assignment[i].partitions_count;
    member->owned = weft_realloc(member->owned, (count + 1) * sizeof *member->owned);
    member->owned_count = 0;
    for (size_t i = 0; i < reply->assignment_count; i++) {
        const struct weft_assigned_topic *topic = &reply->assignment[i];
        assert_int_equal(topic->partitions_count, topic->tokens_count);
        for (size_t k = 0; k < topic->partitions_count; k++)
            member->owned[member->owned_count++] =
                (struct owned){topic->topic_id, topic->partitions[k], topic->tokens[k]};
    }
}

// Takes all answers that are there; false: there was none.
static inline bool s_pump(struct play *self)
{
    weft_fake_world_settle(self->at->world);
    const struct weft_fake_sent *sent;
    bool any = false;
    while ((sent = s_next_answer(self->at))) {
        struct weft_reply_header header;
        assert_ok(weft_reply_header_decode(&self->at->codec, weft_buf_slice(&sent->header), &header, NULL));
        uint64_t number = header.id / MEMBER_IDS;
        if (number == 0) { // to what another asked
            weft_buf_clear(&self->at->reply);
            weft_buf_append(&self->at->reply, sent->header.data, sent->header.size);
            continue;
        }
        assert_true(number <= self->count);
        struct weft_group_heartbeat_reply reply;
        assert_ok(weft_group_heartbeat_reply_decode(&self->at->codec, weft_buf_slice(&sent->header), &reply, NULL));
        struct member *member = &self->members[number - 1];
        if (member->waits != reply.header.id) continue; // an older one
        member->waits = 0;
        s_member_take(self, member, &reply);
        any = true;
    }
    return any;
}

// Sends the request that was built, and takes its answer into at->reply; members' are taken too.
static inline weft_err_t s_play_ask(struct play *self)
{
    weft_buf_clear(&self->at->reply);
    s_send(self->at, ADMIN);
    (void) s_pump(self);
    if (self->at->reply.size == 0) return WEFT_ERR_TIMED_OUT;
    struct weft_reply_header header;
    assert_ok(weft_reply_header_decode(&self->at->codec, weft_buf_slice(&self->at->reply), &header, NULL));
    assert_int_equal(header.id, self->at->id);
    snprintf(self->at->error.text, sizeof self->at->error.text, "%.*s", (int) header.message.size,
             header.message.size ? (const char *) header.message.data : "");
    return header.error;
}

// Sends what a member would send now, whatever is waited for.
static inline void s_beat_member(struct play *self, struct member *member)
{
    struct weft_group_heartbeat_request request;
    weft_slice_t topic = weft_slice_text(member->topic);
    s_request_fill(self, member, &request);
    if (member->epoch == 0 && topic.data) {
        request.topics = &topic;
        request.topics_count = 1;
    }
    s_request_send(self, member, &request);
}

// Joins, and waits for the answer.
static inline weft_err_t s_join_group(struct play *self, struct member *member)
{
    member->epoch = member->seen = member->revision = 0;
    member->owned_count = 0;
    s_beat_member(self, member);
    (void) s_pump(self);
    if (member->waits) return WEFT_ERR_TIMED_OUT;
    return member->err;
}

static inline weft_err_t s_leave_group(struct play *self, struct member *member, const char *how, const char *why)
{
    struct weft_group_heartbeat_request request;
    s_request_fill(self, member, &request);
    request.leave = weft_slice_text(how);
    request.why = weft_slice_text(why);
    s_request_send(self, member, &request);
    (void) s_pump(self);
    if (member->waits) return WEFT_ERR_TIMED_OUT;
    if (!member->err) {
        member->epoch = member->seen = member->revision = 0;
        member->owned_count = 0;
        member->silent = true;
    }
    return member->err;
}

// Members live for so long: each that is not waiting sends its next heartbeat.
static inline void s_live(struct play *self, int64_t us)
{
    for (int64_t end_us = weft_fake_world_now_us(self->at->world) + us;;) {
        do {
            for (size_t i = 0; i < self->count; i++) {
                struct member *member = &self->members[i];
                if (!member->silent && !member->waits && member->epoch && !member->err) s_beat_member(self, member);
            }
        } while (s_pump(self));
        if (weft_fake_world_now_us(self->at->world) >= end_us) return;
        weft_fake_world_advance(self->at->world, PLAY_STEP_US);
    }
}

// ---- what is owned

// Every partition of the topic by exactly one of the group's members; how many hold any in *holders (may be NULL).
static inline bool s_all_owned(struct play *self, const char *group, uint32_t partitions, size_t *holders)
{
    uint8_t *seen = weft_calloc(partitions, 1);
    size_t owned = 0, members = 0;
    bool once = true;
    for (size_t i = 0; i < self->count; i++) {
        const struct member *member = &self->members[i];
        if (strcmp(member->group, group) != 0 || !member->epoch) continue;
        members += member->owned_count > 0;
        for (size_t k = 0; k < member->owned_count; k++) {
            assert_true(member->owned[k].partition < partitions);
            once = once && !seen[member->owned[k].partition];
            seen[member->owned[k].partition] = 1;
            owned++;
        }
    }
    free(seen);
    if (holders) *holders = members;
    return once && owned == partitions;
}

static inline void s_group_start(struct fixture *self)
{
    assert_ok(weft_options_set(self->options, "session.ms", "600000", NULL)); // brokers stay
    s_start(self);
    assert_ok(s_register(self, 1, 1));
}

static inline uint64_t s_counter(struct play *self, const char *name)
{
    struct weft_node_status_request request;
    weft_node_status_request_init(&request);
    request.id = ++self->at->id;
    weft_node_status_request_encode(&request, &self->at->header);
    assert_ok(s_play_ask(self));
    struct weft_node_status_reply reply;
    assert_ok(weft_node_status_reply_decode(&self->at->codec, weft_buf_slice(&self->at->reply), &reply, NULL));
    for (size_t i = 0; i < reply.counters_count; i++)
        if (weft_slice_is_text(reply.counters[i].name, name)) return reply.counters[i].value;
    fail_msg("no counter %s", name);
    return 0;
}

#endif
