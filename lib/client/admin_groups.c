// SPDX-License-Identifier: MPL-2.0
// Consumer groups. A group is in two places: its members at the coordinator, its offsets at the leader of one partition
// of __offsets. A group that has only one of the two is a group, too.
#include "admin_inner.h"

#include "../base/map.h"
#include "../core/offsets.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY_MAX 512     // leaders asked at once
#define ENTRIES_MAX 1000 // offsets in one commit
#define ENTRY_BYTES 300
#define REQUEST_BYTES_MAX 800000

static weft_err_t s_check_group(weft_admin_t *self, const char *group)
{
    if (group && *group && strlen(group) <= 255) return WEFT_OK;
    snprintf(self->text, sizeof self->text, "'%.250s': %s", group ? group : "",
             weft_err_sentence(WEFT_ERR_INVALID_GROUP));
    return WEFT_ERR_INVALID_GROUP;
}

static weft_err_t s_unknown(weft_admin_t *self, const char *group)
{
    snprintf(self->text, sizeof self->text, "there is no group '%.255s': it has neither members nor committed offsets",
             group);
    return WEFT_ERR_UNKNOWN_GROUP;
}

// ---- __offsets

// 0: nobody has committed anything in this cluster.
static weft_err_t s_offsets_partitions(weft_admin_t *self, uint32_t *count)
{
    weft_metadata_t *metadata;
    weft_err_t err = weft_admin_metadata(self, (const char *const[]){WEFT_OFFSETS_TOPIC}, 1, true, &metadata);
    if (err) return err;
    bool known = metadata->topic_count == 1 && !metadata->topics[0].error;
    *count = known ? (uint32_t) metadata->topics[0].partition_count : 0;
    weft_metadata_destroy(&metadata);
    return WEFT_OK;
}

// A call to the leader of the group's partition; NULL: there is none, and *err tells whether that is an error.
static struct weft_call *s_begin_offsets(weft_admin_t *self, const char *group, weft_err_t *err)
{
    uint32_t count;
    *err = s_offsets_partitions(self, &count);
    if (*err || !count) return NULL;
    int32_t partition = (int32_t) weft_offsets_partition(weft_text(group), count);
    struct weft_call *call = weft_admin_part_begin(self->part, WEFT_TO_LEADER, WEFT_OFFSETS_TOPIC, partition, NULL);
    return call;
}

// ---- list

struct s_listing {
    weft_group_list_t *list;
    weft_arena_t *arena;
    struct weft_map *by_name;
    struct weft_group_entry **groups;
    size_t count, capacity;
};

static struct weft_group_entry *s_listed(struct s_listing *listing, weft_slice_t name)
{
    struct weft_group_entry *entry = weft_map_get(listing->by_name, name);
    if (entry) return entry;
    entry = weft_arena_alloc(listing->arena, sizeof *entry);
    *entry = (struct weft_group_entry){
        .name = weft_arena_text(listing->arena, name), .state = "none", .assignor = "", .committed_ms = -1};
    weft_map_put(listing->by_name, name, entry);
    if (listing->count == listing->capacity) {
        listing->capacity = listing->capacity ? listing->capacity * 2 : 64;
        listing->groups = weft_realloc(listing->groups, listing->capacity * sizeof(void *));
    }
    listing->groups[listing->count++] = entry;
    return entry;
}

static weft_err_t s_list_members(weft_admin_t *self, struct s_listing *listing)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_group_list_request request;
    weft_group_list_request_init(&request);
    request.id = call->id;
    weft_group_list_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_group_list_reply reply;
    struct weft_error why;
    err = weft_group_list_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    for (size_t i = 0; i < reply.groups_count; i++) {
        const struct weft_listed_group *from = &reply.groups[i];
        struct weft_group_entry *entry = s_listed(listing, from->group);
        entry->state = weft_arena_text(listing->arena, from->state);
        entry->assignor = weft_arena_text(listing->arena, from->assignor);
        entry->members = from->members;
    }
    return WEFT_OK;
}

static void s_take_offsets(weft_admin_t *self, struct s_listing *listing, weft_slice_t bytes)
{
    struct weft_offsets_list_reply reply;
    struct weft_error why;
    if (weft_offsets_list_reply_decode(&self->codec, bytes, &reply, &why)) {
        listing->list->unanswered++;
        return;
    }
    for (size_t i = 0; i < reply.groups_count; i++) {
        struct weft_group_entry *entry = s_listed(listing, reply.groups[i].group);
        entry->partitions = reply.groups[i].partitions;
        entry->committed_ms = reply.groups[i].committed_ms;
    }
}

static weft_err_t s_list_offsets(weft_admin_t *self, struct s_listing *listing)
{
    uint32_t count;
    weft_err_t err = s_offsets_partitions(self, &count);
    if (err || !count) return err;
    listing->list->asked = count;
    weft_admin_part_many_begin(self->part, count);
    for (uint32_t i = 0; i < count; i++) {
        struct weft_call *call = weft_admin_part_many_call(self->part, i, WEFT_OFFSETS_TOPIC, (int32_t) i);
        struct weft_offsets_list_request request;
        weft_offsets_list_request_init(&request);
        request.id = call->id;
        request.partition = i;
        weft_offsets_list_request_encode(&request, &call->header);
    }
    err = weft_admin_run_many(self);
    if (err) return err;
    for (uint32_t i = 0; i < count; i++) {
        weft_slice_t bytes;
        if (weft_admin_part_many_result(self->part, i, &bytes))
            listing->list->unanswered++;
        else
            s_take_offsets(self, listing, bytes);
    }
    return WEFT_OK;
}

static int s_by_name(const void *a, const void *b)
{
    const struct weft_group_entry *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

weft_err_t weft_admin_list_groups(weft_admin_t *self, weft_group_list_t **out)
{
    struct s_listing listing = {.by_name = weft_map_new()};
    listing.list = weft_admin_block_new(sizeof *listing.list, &listing.arena);
    weft_err_t err = s_list_members(self, &listing);
    if (!err) err = s_list_offsets(self, &listing);
    if (listing.count) qsort(listing.groups, listing.count, sizeof *listing.groups, s_by_name);
    struct weft_group_entry *groups = weft_arena_alloc(listing.arena, (listing.count + 1) * sizeof *groups);
    for (size_t i = 0; i < listing.count; i++) groups[i] = *listing.groups[i];
    listing.list->groups = groups;
    listing.list->count = listing.count;
    weft_map_destroy(&listing.by_name);
    free(listing.groups);
    if (err)
        weft_admin_block_free(listing.list);
    else
        *out = listing.list;
    return err;
}

void weft_group_list_destroy(weft_group_list_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

// ---- offsets

static int s_by_partition(const void *a, const void *b)
{
    const struct weft_group_committed *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    if (!order) order = memcmp(x->topic_id.bytes, y->topic_id.bytes, sizeof x->topic_id.bytes);
    return order ? order : x->partition < y->partition ? -1 : x->partition > y->partition;
}

static void s_keep_offsets(weft_group_offsets_t *self, weft_arena_t *arena, const struct weft_committed_reply *reply)
{
    struct weft_group_committed *offsets = weft_arena_alloc(arena, (reply->offsets_count + 1) * sizeof *offsets);
    for (size_t i = 0; i < reply->offsets_count; i++) {
        const struct weft_committed_offset *from = &reply->offsets[i];
        if (from->offset < 0) continue; // a fence alone
        offsets[self->count++] = (struct weft_group_committed){.topic = weft_arena_text(arena, from->topic),
                                                               .topic_id = from->topic_id,
                                                               .partition = (int32_t) from->partition,
                                                               .offset = from->offset,
                                                               .leader_epoch = from->epoch,
                                                               .committed_ms = from->committed_ms,
                                                               .metadata = weft_arena_text(arena, from->metadata)};
    }
    qsort(offsets, self->count, sizeof *offsets, s_by_partition);
    self->offsets = offsets;
}

weft_err_t weft_admin_group_offsets(weft_admin_t *self, const char *group, weft_group_offsets_t **out)
{
    weft_err_t err = s_check_group(self, group);
    if (err) return err;
    struct weft_committed_reply reply;
    weft_committed_reply_init(&reply);
    struct weft_call *call = s_begin_offsets(self, group, &err);
    if (call) {
        struct weft_committed_request request;
        weft_committed_request_init(&request);
        request.id = call->id;
        request.group = weft_text(group);
        weft_committed_request_encode(&request, &call->header);
        err = weft_admin_run(self);
    }
    if (err) return err;
    struct weft_error why;
    if (call) err = weft_committed_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    weft_arena_t *arena;
    weft_group_offsets_t *offsets = weft_admin_block_new(sizeof *offsets, &arena);
    s_keep_offsets(offsets, arena, &reply);
    *out = offsets;
    return WEFT_OK;
}

void weft_group_offsets_destroy(weft_group_offsets_t **self_p)
{
    weft_admin_block_free(*self_p);
    *self_p = NULL;
}

// ---- describe

static weft_err_t s_describe_members(weft_admin_t *self, const char *group, weft_group_info_t **out)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_group_describe_request request;
    weft_group_describe_request_init(&request);
    request.id = call->id;
    request.group = weft_text(group);
    weft_group_describe_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    struct weft_group_describe_reply reply;
    struct weft_error why;
    weft_group_describe_reply_init(&reply);
    bool known = !err;
    if (err && err != WEFT_ERR_UNKNOWN_GROUP) return err;
    if (known) err = weft_group_describe_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (known && err) return weft_admin_decoded(self, err, &why);
    *out = weft_group_info_of(&reply, known);
    return WEFT_OK;
}

// Ends of the partitions, asked of their leaders, many at once.
static weft_err_t s_describe_ends(weft_admin_t *self, struct weft_group_partition_info **list, size_t count)
{
    weft_admin_part_many_begin(self->part, count);
    for (size_t i = 0; i < count; i++) {
        struct weft_call *call = weft_admin_part_many_call(self->part, i, list[i]->topic, list[i]->partition);
        struct weft_list_offsets_request request;
        weft_list_offsets_request_init(&request);
        request.id = call->id;
        request.topic = weft_text(list[i]->topic);
        request.topic_id = list[i]->topic_id;
        request.partition = (uint32_t) list[i]->partition;
        request.at = weft_text("latest");
        weft_list_offsets_request_encode(&request, &call->header);
    }
    weft_err_t err = weft_admin_run_many(self);
    if (err) return err;
    for (size_t i = 0; i < count; i++) {
        weft_slice_t bytes;
        struct weft_list_offsets_reply reply;
        struct weft_error why;
        list[i]->error = weft_admin_part_many_result(self->part, i, &bytes);
        if (!list[i]->error) list[i]->error = weft_list_offsets_reply_decode(&self->codec, bytes, &reply, &why);
        if (list[i]->error) continue;
        list[i]->log_start = reply.log_start;
        list[i]->end = reply.high_watermark;
        int64_t from = list[i]->committed >= 0 ? list[i]->committed : reply.log_start;
        list[i]->lag = reply.high_watermark > from ? reply.high_watermark - from : 0;
    }
    return WEFT_OK;
}

static weft_err_t s_describe_partitions(weft_admin_t *self, weft_group_info_t *info)
{
    // The result is of our own making and not given away yet.
    struct weft_group_partition_info *partitions = (struct weft_group_partition_info *) (uintptr_t) info->partitions;
    struct weft_group_partition_info *list[MANY_MAX];
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < info->partition_count && !err;) {
        size_t count = 0;
        for (; i < info->partition_count && count < MANY_MAX; i++) {
            if (*partitions[i].topic)
                list[count++] = &partitions[i];
            else
                partitions[i].error = WEFT_ERR_UNKNOWN_TOPIC;
        }
        if (count) err = s_describe_ends(self, list, count);
    }
    return err;
}

weft_err_t weft_admin_describe_group(weft_admin_t *self, const char *group, weft_group_info_t **out)
{
    weft_err_t err = s_check_group(self, group);
    if (err) return err;
    weft_group_info_t *info;
    err = s_describe_members(self, group, &info);
    if (err) return err;
    weft_group_offsets_t *offsets = NULL;
    err = weft_admin_group_offsets(self, group, &offsets);
    if (err) goto fail_info;
    if (!strcmp(info->state, "none") && !offsets->count) {
        err = s_unknown(self, group);
        goto fail_offsets;
    }
    weft_group_info_merge(info, offsets);
    err = s_describe_partitions(self, info);
    if (err) goto fail_offsets;
    weft_group_offsets_destroy(&offsets);
    *out = info;
    return WEFT_OK;

fail_offsets:
    weft_group_offsets_destroy(&offsets);
fail_info:
    weft_group_info_destroy(&info);
    return err;
}

// ---- token, commit, delete

weft_err_t weft_admin_group_token(weft_admin_t *self, const char *group, uint64_t *token)
{
    weft_err_t err = s_check_group(self, group);
    if (err) return err;
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_group_token_request request;
    weft_group_token_request_init(&request);
    request.id = call->id;
    request.group = weft_text(group);
    request.operation = weft_admin_part_operation(self->part);
    weft_group_token_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return err;
    struct weft_group_token_reply reply;
    struct weft_error why;
    err = weft_group_token_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *token = reply.token;
    return WEFT_OK;
}

// Nobody has committed in this cluster yet: now somebody does.
static weft_err_t s_make_offsets(weft_admin_t *self)
{
    uint32_t count;
    weft_err_t err = s_offsets_partitions(self, &count);
    if (err || count) return err;
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_offsets_begin_request request;
    weft_offsets_begin_request_init(&request);
    request.id = call->id;
    weft_offsets_begin_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    return err ? err : weft_admin_wait_topic(self, WEFT_OFFSETS_TOPIC, (int) (self->timeout_us / 1000));
}

static weft_err_t s_entry_error(weft_admin_t *self, const struct weft_group_offset *at, weft_err_t error,
                                const char *text)
{
    char said[WEFT_ERROR_TEXT_BYTES_MAX];
    snprintf(said, sizeof said, "%.100s/%d: %.350s", at->topic ? at->topic : "", (int) at->partition, text);
    return weft_admin_say(self, error, said);
}

static weft_err_t s_check_offset(weft_admin_t *self, const struct weft_group_offset *at)
{
    weft_err_t err = weft_admin_check_topic(self, at->topic);
    if (err) return err;
    if (at->partition < 0) return s_entry_error(self, at, WEFT_ERR_INVALID_ARGUMENT, "the partition is negative");
    if (at->offset < 0) return s_entry_error(self, at, WEFT_ERR_INVALID_ARGUMENT, "the offset is negative");
    if (at->metadata && strlen(at->metadata) > WEFT_OFFSET_METADATA_BYTES_MAX)
        return s_entry_error(self, at, WEFT_ERR_METADATA_TOO_LARGE, weft_err_sentence(WEFT_ERR_METADATA_TOO_LARGE));
    return WEFT_OK;
}

// As many of the list as one request takes; *taken of it.
static weft_err_t s_commit_some(weft_admin_t *self, const char *group, uint64_t token,
                                const struct weft_group_offset *list, size_t count, size_t *taken, size_t *committed)
{
    weft_err_t err;
    struct weft_call *call = s_begin_offsets(self, group, &err);
    if (!call)
        return err ? err : weft_admin_say(self, WEFT_ERR_UNKNOWN_TOPIC, weft_err_sentence(WEFT_ERR_UNKNOWN_TOPIC));
    struct weft_commit_entry *entries = weft_calloc(ENTRIES_MAX, sizeof *entries);
    size_t n = 0;
    for (size_t bytes = 0; n < count && n < ENTRIES_MAX && bytes < REQUEST_BYTES_MAX; n++) {
        entries[n] = (struct weft_commit_entry){.topic = weft_text(list[n].topic),
                                                .partition = (uint32_t) list[n].partition,
                                                .offset = list[n].offset,
                                                .epoch = list[n].leader_epoch,
                                                .token = token,
                                                .metadata = weft_text(list[n].metadata)};
        bytes += ENTRY_BYTES + entries[n].metadata.size;
    }
    struct weft_commit_request request;
    weft_commit_request_init(&request);
    request.id = call->id;
    request.group = weft_text(group);
    request.entries = entries;
    request.entries_count = n;
    weft_commit_request_encode(&request, &call->header);
    free(entries);
    *taken = n;
    err = weft_admin_run(self);
    if (err) return n == 1 ? s_entry_error(self, list, err, weft_admin_part_error_text(self->part)) : err;
    struct weft_commit_reply reply;
    struct weft_error why;
    err = weft_commit_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *committed += n - (reply.refused_count < n ? reply.refused_count : n);
    if (!reply.refused_count || reply.refused[0].index >= n) return WEFT_OK;
    const struct weft_refused_entry *refused = &reply.refused[0];
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int) refused->message.size, (const char *) refused->message.data);
    err = weft_err_of_number(refused->error);
    return s_entry_error(self, &list[refused->index], err, *text ? text : weft_err_sentence(err));
}

weft_err_t weft_admin_commit_group_offsets(weft_admin_t *self, const char *group, uint64_t token,
                                           const struct weft_group_offset *list, size_t count, size_t *committed)
{
    size_t ignored;
    if (!committed) committed = &ignored;
    *committed = 0;
    weft_err_t err = s_check_group(self, group);
    for (size_t i = 0; i < count && !err; i++) err = s_check_offset(self, &list[i]);
    if (!err && count) err = s_make_offsets(self);
    for (size_t done = 0, taken = 0; done < count && !err; done += taken)
        err = s_commit_some(self, group, token, list + done, count - done, &taken, committed);
    return err;
}

static weft_err_t s_delete_offsets(weft_admin_t *self, const char *group, uint64_t token, uint32_t *deleted)
{
    weft_err_t err;
    *deleted = 0;
    struct weft_call *call = s_begin_offsets(self, group, &err);
    if (!call) return err;
    struct weft_offsets_delete_request request;
    weft_offsets_delete_request_init(&request);
    request.id = call->id;
    request.group = weft_text(group);
    request.token = token;
    weft_offsets_delete_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return err;
    struct weft_offsets_delete_reply reply;
    struct weft_error why;
    err = weft_offsets_delete_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *deleted = reply.deleted;
    return WEFT_OK;
}

weft_err_t weft_admin_delete_group(weft_admin_t *self, const char *group, uint32_t *deleted)
{
    weft_err_t err = s_check_group(self, group);
    if (err) return err;
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_group_delete_request request;
    weft_group_delete_request_init(&request);
    request.id = call->id;
    request.group = weft_text(group);
    request.operation = weft_admin_part_operation(self->part);
    weft_group_delete_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return err;
    struct weft_group_delete_reply reply;
    struct weft_error why;
    err = weft_group_delete_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    uint64_t token = reply.token;
    bool existed = reply.existed;
    uint32_t count;
    err = s_delete_offsets(self, group, token, &count);
    if (err) return err;
    if (!existed && !count) return s_unknown(self, group);
    if (deleted) *deleted = count;
    return WEFT_OK;
}
