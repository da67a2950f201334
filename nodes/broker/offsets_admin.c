// SPDX-License-Identifier: MPL-2.0
// offsets_list and offsets_delete. Deleting some offsets leaves a fence in the place of each. Deleting a group writes the
// fence of the whole group first, so that nothing older comes in behind it, then tombstones of all that is not newer, a
// portion a turn; the answer waits for the last of them.
#include "offsets_self.h"

#include "../../lib/core/cluster_view.h"
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_DELETES_A_TURN 4096
#define S_DELETIONS_MAX 1000

// ---- offsets_list

struct s_list {
    weft_arena_t *arena;
    struct weft_offsets_group *groups;
    size_t count, room;
};

static bool s_list_entry(void *context, const struct weft_offset_key *key, const struct weft_offset_value *value)
{
    struct s_list *self = context;
    if (value->offset < 0) return true;
    struct weft_offsets_group *last = self->count > 0 ? &self->groups[self->count - 1] : NULL;
    if (last == NULL || !weft_slice_equal(last->group, key->group)) { // entries come group by group
        if (self->count == self->room) {
            self->room = self->room == 0 ? 64 : 2 * self->room;
            self->groups = weft_realloc(self->groups, self->room * sizeof *self->groups);
        }
        last = &self->groups[self->count++];
        *last = (struct weft_offsets_group){.group = key->group, .committed_ms = -1};
    }
    last->partitions++;
    if (value->committed_ms > last->committed_ms) last->committed_ms = value->committed_ms;
    return true;
}

static int s_by_name(const void *a, const void *b)
{
    return weft_slice_compare(((const struct weft_offsets_group *) a)->group,
                              ((const struct weft_offsets_group *) b)->group);
}

void weft_shard_offsets_list(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_offsets_list_request request;
    weft_err_t code = weft_offsets_list_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) {
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    const weft_ledger_t *ledger = weft_ledger_of_number(self, asker, request.partition);
    if (ledger == NULL) return;
    struct s_list list = {.count = 0};
    (void) weft_offsets_each(ledger->table, WEFT_SLICE_NIL, s_list_entry, &list);
    if (list.count > 1) qsort(list.groups, list.count, sizeof list.groups[0], s_by_name);
    struct weft_offsets_list_reply reply;
    weft_offsets_list_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.groups = list.groups;
    reply.groups_count = list.count;
    weft_buf_clear(&self->reply);
    weft_offsets_list_reply_encode(&reply, &self->reply);
    free(list.groups);
    if (self->reply.size > WEFT_REPLY_BYTES_MAX || reply.groups_count > 1000000)
        weft_shard_refuse(self, asker, WEFT_ERR_INVALID_REQUEST,
                          "This partition of __offsets has more groups than fit one reply; ask for groups by name.");
    else if (weft_shard_peer_full(self, &asker->peer, self->reply.size))
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
    else
        weft_shard_answer(self, asker, NULL);
}

// ---- offsets_delete

static void s_answer_deleted(weft_ledger_t *self, const struct weft_asker *asker, uint32_t deleted)
{
    weft_shard_t *shard = self->partition->shard;
    struct weft_offsets_delete_reply reply;
    weft_offsets_delete_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.deleted = deleted;
    weft_buf_clear(&shard->reply);
    weft_offsets_delete_reply_encode(&reply, &shard->reply);
    if (weft_ledger_park(self, asker, weft_buf_slice(&shard->reply))) return;
    if (weft_replica_durable(self->partition->replica) == weft_log_end(self->partition->log))
        weft_shard_answer(shard, asker, NULL);
    else // who waited for its batch was told so long ago
        weft_shard_refuse(shard, asker, WEFT_ERR_TIMED_OUT, NULL);
}

static weft_err_t s_fence(weft_ledger_t *self, const struct weft_offset_key *key, uint64_t token, bool *had_offset)
{
    struct weft_offset_value newest;
    *had_offset = weft_offsets_newest(self->table, key, &newest) && newest.offset >= 0;
    const struct weft_offset_value fence = {
        .offset = -1, .epoch = -1, .token = token, .committed_ms = weft_port_wall_ms(&self->partition->shard->port)};
    return weft_ledger_add(self, key, &fence);
}

// The key of an entry. An id is enough for what belongs to a topic that is gone.
static weft_err_t s_key(weft_shard_t *shard, weft_slice_t group, const struct weft_committed_entry *entry,
                        struct weft_offset_key *key)
{
    *key = (struct weft_offset_key){.group = group, .topic = entry->topic_id, .partition = entry->partition};
    if (!weft_id_is_zero(entry->topic_id)) return WEFT_OK;
    const struct weft_cluster_topic *topic;
    weft_err_t code = weft_cluster_find_topic(shard->cluster, entry->topic, entry->topic_id, &topic, &shard->error);
    if (code == WEFT_OK) key->topic = topic->id;
    return code;
}

// Some of its offsets: all or, if one is fenced, none.
static weft_err_t s_delete_entries(weft_ledger_t *self, const struct weft_offsets_delete_request *request,
                                   const struct weft_asker *asker)
{
    weft_shard_t *shard = self->partition->shard;
    struct weft_offset_key key;
    size_t beside = weft_ledger_bytes_beside(self);
    for (size_t i = 0; i < request->entries_count; i++) {
        weft_err_t code = s_key(shard, request->group, &request->entries[i], &key);
        if (code == WEFT_OK) code = weft_offsets_judge(self->table, &key, request->token, UINT64_MAX, &shard->error);
        if (code == WEFT_OK) code = weft_ledger_fits(self, &key, 0, beside);
        if (code != WEFT_OK) return code;
    }
    uint32_t deleted = 0;
    for (size_t i = 0; i < request->entries_count; i++) {
        bool had_offset = false;
        weft_err_t code = s_key(shard, request->group, &request->entries[i], &key);
        if (code == WEFT_OK) code = s_fence(self, &key, request->token, &had_offset);
        if (code != WEFT_OK) return weft_error_set(&shard->error, code, "%s", weft_err_sentence(code));
        deleted += had_offset;
    }
    s_answer_deleted(self, asker, deleted);
    return WEFT_OK;
}

static bool s_any(void *context, const struct weft_offset_key *key, const struct weft_offset_value *value)
{
    (void) context;
    (void) key;
    (void) value;
    return false;
}

static weft_err_t s_delete_group(weft_ledger_t *self, const struct weft_offsets_delete_request *request,
                                 const struct weft_asker *asker)
{
    weft_shard_t *shard = self->partition->shard;
    if (self->deletion_count == S_DELETIONS_MAX)
        return weft_error_set(&shard->error, WEFT_ERR_OVERLOADED, "%s", weft_err_sentence(WEFT_ERR_OVERLOADED));
    const struct weft_offset_key whole = {.group = request->group};
    weft_err_t code = weft_offsets_judge(self->table, &whole, request->token, UINT64_MAX, &shard->error);
    // Its fence is small beside what goes; but of a group with nothing to delete it would only add.
    if (code == WEFT_OK && weft_offsets_each_newest(self->table, request->group, s_any, NULL))
        code = weft_ledger_fits(self, &whole, 0, weft_ledger_bytes_beside(self));
    if (code != WEFT_OK) return code;
    bool had_offset;
    code = s_fence(self, &whole, request->token, &had_offset);
    if (code != WEFT_OK) return weft_error_set(&shard->error, code, "%s", weft_err_sentence(code));
    self->deletions = weft_realloc(self->deletions, (self->deletion_count + 1) * sizeof self->deletions[0]);
    self->deletions[self->deletion_count++] = (struct weft_ledger_deletion){.asker = *asker,
                                                                            .group = weft_slice_dup(request->group),
                                                                            .group_size = request->group.size,
                                                                            .token = request->token};
    return WEFT_OK;
}

void weft_shard_offsets_delete(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_offsets_delete_request request;
    weft_err_t code = weft_offsets_delete_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) {
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    if (request.token == 0) {
        weft_shard_refuse(self, asker, WEFT_ERR_INVALID_REQUEST,
                          "token is 0; one of group_delete or group_token is wanted.");
        return;
    }
    weft_ledger_t *ledger = weft_ledger_of_group(self, asker, request.group);
    if (ledger == NULL) return;
    if (weft_ledger_crowded(ledger)) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    weft_ledger_touch(ledger, request.group);
    code = request.entries_count == 0 ? s_delete_group(ledger, &request, asker)
                                      : s_delete_entries(ledger, &request, asker);
    if (code != WEFT_OK) weft_shard_refuse(self, asker, code, self->error.text);
}

// ---- a group, a portion a turn

struct s_portion {
    uint64_t token;
    size_t count;
    struct {
        weft_id_t topic;
        uint32_t partition;
        bool has_offset;
    } entries[S_DELETES_A_TURN];
};

static bool s_pick(void *context, const struct weft_offset_key *key, const struct weft_offset_value *value)
{
    struct s_portion *self = context;
    bool fence = weft_id_is_zero(key->topic); // it stays
    if (fence || value->token > self->token) return true;
    self->entries[self->count].topic = key->topic;
    self->entries[self->count].partition = key->partition;
    self->entries[self->count++].has_offset = value->offset >= 0;
    return self->count < S_DELETES_A_TURN;
}

static void s_end(weft_ledger_t *self)
{
    free(self->deletions[0].group);
    self->deletion_count--;
    memmove(&self->deletions[0], &self->deletions[1], self->deletion_count * sizeof self->deletions[0]);
}

bool weft_ledger_delete_on(weft_ledger_t *self)
{
    if (self->deletion_count == 0) return false;
    struct weft_ledger_deletion *deletion = &self->deletions[0];
    const weft_slice_t group = weft_slice(deletion->group, deletion->group_size);
    struct s_portion *portion = weft_alloc(sizeof *portion);
    portion->token = deletion->token;
    portion->count = 0;
    bool last = weft_offsets_each_newest(self->table, group, s_pick, portion);
    weft_err_t code = WEFT_OK;
    for (size_t i = 0; i < portion->count && code == WEFT_OK; i++) {
        const struct weft_offset_key key = {
            .group = group, .topic = portion->entries[i].topic, .partition = portion->entries[i].partition};
        code = weft_ledger_add(self, &key, NULL);
        deletion->deleted += portion->entries[i].has_offset;
    }
    free(portion);
    if (code == WEFT_OK) code = last ? WEFT_OK : weft_ledger_flush(self);
    if (code != WEFT_OK)
        weft_shard_refuse(self->partition->shard, &deletion->asker, code, NULL);
    else if (last)
        s_answer_deleted(self, &deletion->asker, deletion->deleted);
    if (code != WEFT_OK || last) s_end(self);
    return self->deletion_count > 0;
}

void weft_ledger_refuse_deletions(weft_ledger_t *self, weft_err_t code)
{
    for (size_t i = 0; i < self->deletion_count; i++)
        weft_shard_refuse_moved(self->partition->shard, &self->deletions[i].asker, code, self->partition->topic,
                                self->partition->number);
    while (self->deletion_count > 0) s_end(self);
}
