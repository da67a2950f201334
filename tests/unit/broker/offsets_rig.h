// SPDX-License-Identifier: MPL-2.0
/**
 * Rig of the tests of committed offsets at one broker: the requests of groups, on top of rig.h. Topic "orders" has four
 * partitions, __offsets two.
 */
#ifndef WEFT_TESTS_UNIT_BROKER_OFFSETS_RIG_H
#define WEFT_TESTS_UNIT_BROKER_OFFSETS_RIG_H

#include "rig.h"

#include "../../../lib/core/offsets.h"

static inline void offsets_topics(struct rig *rig)
{
    rig_topic(rig, "orders", 10, 4);
    rig_topic(rig, "__offsets", 11, 2);
    rig_advance(rig, 20);
}

// ---- what clients send

static inline struct weft_commit_entry offsets_entry(uint32_t partition, int64_t offset, uint64_t token)
{
    return (struct weft_commit_entry){
        .topic = weft_slice_text("orders"), .partition = partition, .offset = offset, .epoch = 3, .token = token};
}

static inline void offsets_queue(struct rig *rig)
{
    weft_fake_world_queue(rig->world, 0, 1, false, weft_buf_slice(&rig->buf), WEFT_SLICE_NIL, false);
}

static inline uint64_t offsets_queue_commit(struct rig *rig, const char *group, uint64_t n,
                                            struct weft_commit_entry *entries, size_t count)
{
    struct weft_commit_request request;
    weft_commit_request_init(&request);
    request.id = rig->next_id++;
    request.group = weft_slice_text(group);
    request.n = n;
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&rig->buf);
    weft_commit_request_encode(&request, &rig->buf);
    offsets_queue(rig);
    return request.id;
}

static inline struct weft_commit_reply offsets_take_commit(struct rig *rig)
{
    struct weft_commit_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_commit_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static inline struct weft_commit_reply offsets_commit_all(struct rig *rig, const char *group, uint64_t n,
                                                          struct weft_commit_entry *entries, size_t count)
{
    uint64_t id = offsets_queue_commit(rig, group, n, entries, count);
    weft_fake_world_settle(rig->world);
    struct weft_commit_reply reply = offsets_take_commit(rig);
    assert_int_equal(reply.header.id, id);
    assert_int_equal(weft_fake_world_reply_count(rig->world), 0);
    return reply;
}

static inline weft_err_t offsets_commit(struct rig *rig, const char *group, uint64_t n, uint32_t partition,
                                        int64_t offset, uint64_t token)
{
    struct weft_commit_entry entry = offsets_entry(partition, offset, token);
    struct weft_commit_reply reply = offsets_commit_all(rig, group, n, &entry, 1);
    assert_int_equal(reply.refused_count, 0);
    return reply.header.error;
}

static inline void offsets_queue_committed(struct rig *rig, const char *group, struct weft_committed_entry *entries,
                                           size_t count)
{
    struct weft_committed_request request;
    weft_committed_request_init(&request);
    request.id = rig->next_id++;
    request.group = weft_slice_text(group);
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&rig->buf);
    weft_committed_request_encode(&request, &rig->buf);
    offsets_queue(rig);
}

static inline struct weft_committed_reply offsets_take_committed(struct rig *rig)
{
    struct weft_committed_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_committed_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static inline struct weft_committed_reply offsets_committed_all(struct rig *rig, const char *group)
{
    offsets_queue_committed(rig, group, NULL, 0);
    weft_fake_world_settle(rig->world);
    return offsets_take_committed(rig);
}

static inline struct weft_committed_offset offsets_committed(struct rig *rig, const char *group, uint32_t partition,
                                                             uint64_t token)
{
    struct weft_committed_entry entry = {.topic = weft_slice_text("orders"), .partition = partition, .token = token};
    offsets_queue_committed(rig, group, &entry, 1);
    weft_fake_world_settle(rig->world);
    struct weft_committed_reply reply = offsets_take_committed(rig);
    assert_int_equal(reply.header.error, WEFT_OK);
    assert_int_equal(reply.offsets_count, 1);
    return reply.offsets[0];
}

static inline struct weft_offsets_delete_reply offsets_delete(struct rig *rig, const char *group, uint64_t token,
                                                              struct weft_committed_entry *entries, size_t count)
{
    struct weft_offsets_delete_request request;
    weft_offsets_delete_request_init(&request);
    request.id = rig->next_id++;
    request.group = weft_slice_text(group);
    request.token = token;
    request.entries = entries;
    request.entries_count = count;
    weft_buf_clear(&rig->buf);
    weft_offsets_delete_request_encode(&request, &rig->buf);
    offsets_queue(rig);
    weft_fake_world_settle(rig->world);
    struct weft_offsets_delete_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_offsets_delete_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

static inline struct weft_offsets_list_reply offsets_list(struct rig *rig, uint32_t partition)
{
    struct weft_offsets_list_request request = {.id = rig->next_id++, .partition = partition};
    weft_buf_clear(&rig->buf);
    weft_offsets_list_request_encode(&request, &rig->buf);
    offsets_queue(rig);
    weft_fake_world_settle(rig->world);
    struct weft_offsets_list_reply reply;
    const struct weft_fake_sent *sent = weft_fake_world_take_reply(rig->world);
    assert_non_null(sent);
    assert_ok(weft_offsets_list_reply_decode(&rig->codec, weft_buf_slice(&sent->header), &reply, &rig->error));
    return reply;
}

// Records in both partitions of __offsets.
static inline int64_t offsets_records(struct rig *rig)
{
    return (int64_t) rig_counter(rig, WEFT_COUNT_PRODUCE_RECORDS);
}

static inline weft_part_id_t offsets_sync_part(const struct rig *rig)
{
    return rig->node->parts[rig->node->part_count - 1];
}

#endif
