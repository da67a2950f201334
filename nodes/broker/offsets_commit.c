// SPDX-License-Identifier: MPL-2.0
// commit and committed. Entry by entry: which topic, may it (weft_offsets_judge), is there anything to write? What is a
// repeat of what stands there writes nothing; if that is not durable yet, its answer waits for the batch it is in.
//
// A reply that has to wait is encoded when it is asked for, from what was appended by then: all of that is durable when
// it is sent.
#include "offsets_self.h"

#include "../../lib/base/mutate.h"
#include "../../lib/core/cluster_view.h"
#include <weft_gen/limits.h>
#include <weft_gen/messages.h>

#include <string.h>

#define S_OFFSETS_MAX 200000     // that one reply lists
#define S_SENTENCE_BYTES_MAX 256 // of a refused entry, by the schema

/*
 * The topic of an entry, by id or by name, and that it has the partition. UNKNOWN_TOPIC and TOPIC_REPLACED with a sentence.
 * The shard knows every topic of the cluster: one lookup.
 */
static weft_err_t s_resolve(weft_shard_t *shard, weft_slice_t name, weft_id_t id, uint32_t partition, weft_id_t *topic)
{
    const struct weft_shard_topic *known =
        name.size == 0 ? weft_map_get(shard->topics, weft_id_slice(&id)) : weft_map_get(shard->topics_by_name, name);
    bool same = known != NULL && (name.size == 0 || weft_id_is_zero(id) || weft_id_equal(known->id, id));
    if (same && partition < known->partition_count) {
        *topic = known->id;
        return WEFT_OK;
    }
    const struct weft_cluster_topic *found;
    weft_err_t code = weft_cluster_find_partition(shard->cluster, name, id, partition, &found, &shard->error);
    if (code == WEFT_OK) *topic = found->id;
    return code;
}

// ---- commit

struct s_commit {
    weft_ledger_t *ledger;
    weft_slice_t group;
    uint64_t n;
    size_t bytes_beside;
    bool waits; // for what was added, or for what is not durable yet
    struct weft_refused_entry *refused;
    size_t refused_count;
    weft_err_t broken; // a batch could not be appended: nothing more is
};

static bool s_same(const struct weft_offset_value *a, const struct weft_offset_value *b)
{
    return a->offset == b->offset && a->epoch == b->epoch && a->token == b->token && a->n == b->n &&
           weft_slice_equal(a->metadata, b->metadata);
}

static weft_err_t s_check_entry(weft_shard_t *shard, const struct weft_commit_entry *entry)
{
    if (entry->offset < 0)
        return weft_error_set(&shard->error, WEFT_ERR_INVALID_REQUEST, "offset is %lld; it must not be negative.",
                              (long long) entry->offset);
    if (entry->metadata.size > WEFT_OFFSET_METADATA_BYTES_MAX)
        return weft_error_set(&shard->error, WEFT_ERR_METADATA_TOO_LARGE,
                              "metadata has %zu bytes; at most %d are kept.", entry->metadata.size,
                              WEFT_OFFSET_METADATA_BYTES_MAX);
    return WEFT_OK;
}

static weft_err_t s_commit_entry(struct s_commit *self, const struct weft_commit_entry *entry)
{
    weft_ledger_t *ledger = self->ledger;
    weft_shard_t *shard = ledger->partition->shard;
    struct weft_offset_key key = {.group = self->group, .partition = entry->partition};
    weft_err_t code = s_check_entry(shard, entry);
    if (code == WEFT_OK) code = s_resolve(shard, entry->topic, entry->topic_id, entry->partition, &key.topic);
    if (code == WEFT_OK) code = weft_offsets_judge(ledger->table, &key, entry->token, self->n, &shard->error);
    if (code == WEFT_OK) code = weft_ledger_fits(ledger, &key, entry->metadata.size, self->bytes_beside);
    if (code != WEFT_OK) return code;
    const struct weft_offset_value value = {.offset = entry->offset,
                                            .epoch = entry->epoch,
                                            .token = entry->token,
                                            .n = entry->token == 0 ? 0 : self->n,
                                            .metadata = entry->metadata,
                                            .committed_ms = weft_port_wall_ms(&shard->port)};
    struct weft_offset_value newest;
    bool settled = weft_offsets_settled(ledger->table, &key);
    bool repeat = entry->token != 0 && (settled || weft_ledger_may_park(ledger)) &&
                  weft_offsets_newest(ledger->table, &key, &newest) && s_same(&newest, &value);
    if (!repeat) self->broken = weft_ledger_add(ledger, &key, &value);
    self->waits = self->waits || !repeat || !settled;
    return WEFT_OK;
}

static void s_refuse_entry(struct s_commit *self, size_t index, size_t count, weft_err_t code)
{
    weft_shard_t *shard = self->ledger->partition->shard;
    weft_arena_t *arena = &shard->codec.arena; // lives as long as the decoded request
    if (self->refused == NULL) self->refused = weft_arena_alloc(arena, count * sizeof *self->refused);
    weft_slice_t text = weft_slice_text(shard->error.text);
    if (text.size > S_SENTENCE_BYTES_MAX) text.size = S_SENTENCE_BYTES_MAX;
    self->refused[self->refused_count++] =
        (struct weft_refused_entry){.index = (uint32_t) index,
                                    .error = (int32_t) code,
                                    .message = weft_slice(weft_arena_text(arena, text), text.size)};
}

static void s_answer_commit(struct s_commit *self, const struct weft_asker *asker)
{
    weft_shard_t *shard = self->ledger->partition->shard;
    struct weft_commit_reply reply;
    weft_commit_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.refused = self->refused;
    reply.refused_count = self->refused_count;
    weft_buf_clear(&shard->reply);
    if (!self->waits || self->refused_count != 0) weft_commit_reply_encode(&reply, &shard->reply);
    if (!self->waits) {
        weft_shard_answer(shard, asker, NULL);
        return;
    }
    if (weft_mutated("commit_answered_at_once")) {
        weft_buf_clear(&shard->reply);
        weft_commit_reply_encode(&reply, &shard->reply);
        weft_shard_answer(shard, asker, NULL);
        return;
    }
    weft_slice_t bytes = self->refused_count != 0 ? weft_buf_slice(&shard->reply) : WEFT_SLICE_NIL;
    (void) weft_ledger_park(self->ledger, asker, bytes);
}

void weft_shard_commit(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_commit_request request;
    weft_err_t code = weft_commit_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) {
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    struct s_commit commit = {.group = request.group, .n = request.n};
    commit.ledger = weft_ledger_of_group(self, asker, request.group);
    if (commit.ledger == NULL) return;
    if (weft_ledger_crowded(commit.ledger)) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    commit.bytes_beside = weft_ledger_bytes_beside(commit.ledger);
    weft_ledger_touch(commit.ledger, request.group);
    weft_counter_add(self->counters, WEFT_COUNT_COMMITS, 1);
    for (size_t i = 0; i < request.entries_count && commit.broken == WEFT_OK; i++) {
        code = s_commit_entry(&commit, &request.entries[i]);
        if (code != WEFT_OK) s_refuse_entry(&commit, i, request.entries_count, code);
    }
    weft_counter_add(self->counters, WEFT_COUNT_COMMITS_REFUSED, commit.refused_count);
    if (commit.broken != WEFT_OK)
        weft_shard_refuse(self, asker, commit.broken, NULL);
    else if (commit.refused_count != 0 && request.entries_count == 1) // of several each has an error of its own
        weft_shard_refuse(self, asker, (weft_err_t) commit.refused[0].error,
                          (const char *) commit.refused[0].message.data);
    else
        s_answer_commit(&commit, asker);
}

// ---- committed

struct s_look {
    weft_ledger_t *ledger;
    const struct weft_committed_request *request;
    struct weft_committed_offset *offsets;
    size_t count, room;
    bool waits;
};

static void s_fill(const weft_shard_t *shard, const struct weft_offset_key *key, const struct weft_offset_value *value,
                   struct weft_committed_offset *out)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(shard->cluster, key->topic);
    out->topic = topic != NULL ? weft_slice_text(topic->name) : WEFT_SLICE_NIL;
    out->topic_id = key->topic;
    out->partition = key->partition;
    if (value == NULL) return;
    out->offset = value->offset;
    out->epoch = value->epoch;
    out->token = value->token;
    out->metadata = value->metadata;
    out->committed_ms = value->offset >= 0 ? value->committed_ms : -1; // a fence's own time is nobody's business
}

// Raises the fence of one partition, if that has to be.
static weft_err_t s_fence(struct s_look *self, const struct weft_offset_key *key, uint64_t token)
{
    weft_ledger_t *ledger = self->ledger;
    weft_shard_t *shard = ledger->partition->shard;
    struct weft_offset_value value = {.offset = -1, .epoch = -1, .committed_ms = weft_port_wall_ms(&shard->port)};
    bool found = weft_offsets_newest(ledger->table, key, &value);
    bool settled = weft_offsets_settled(ledger->table, key);
    if (found && value.token == token && (settled || weft_ledger_may_park(ledger))) {
        self->waits = self->waits || !settled;
        return WEFT_OK;
    }
    if (weft_mutated("fence_not_written")) return WEFT_OK;
    if (value.token != token) value.n = 0;
    value.token = token;
    self->waits = true;
    return weft_ledger_add(ledger, key, &value); // copies what it keeps before the table changes
}

// First what is to be written, then what is told: by then it is known whether it waits, and so what holds when it is sent.
static weft_err_t s_raise_fences(struct s_look *self)
{
    weft_shard_t *shard = self->ledger->partition->shard;
    size_t beside = weft_ledger_bytes_beside(self->ledger);
    for (size_t i = 0; i < self->count; i++) {
        const struct weft_committed_entry *entry = &self->request->entries[i];
        struct weft_committed_offset *out = &self->offsets[i];
        struct weft_offset_key key = {.group = self->request->group, .partition = entry->partition};
        weft_err_t code = s_resolve(shard, entry->topic, entry->topic_id, entry->partition, &key.topic);
        out->topic_id = code == WEFT_OK ? key.topic : entry->topic_id;
        if (code == WEFT_OK && entry->token != 0)
            code = weft_offsets_judge(self->ledger->table, &key, entry->token, UINT64_MAX, &shard->error);
        if (code == WEFT_OK && entry->token != 0) code = weft_ledger_fits(self->ledger, &key, 0, beside);
        out->error = (int32_t) code;
        if (code != WEFT_OK || entry->token == 0) continue;
        code = s_fence(self, &key, entry->token);
        if (code != WEFT_OK) return code;
    }
    return WEFT_OK;
}

static void s_look_up(struct s_look *self)
{
    const weft_shard_t *shard = self->ledger->partition->shard;
    const weft_offsets_t *table = self->ledger->table;
    for (size_t i = 0; i < self->count; i++) {
        const struct weft_committed_entry *entry = &self->request->entries[i];
        struct weft_committed_offset *out = &self->offsets[i];
        const struct weft_offset_key key = {
            .group = self->request->group, .topic = out->topic_id, .partition = entry->partition};
        struct weft_offset_value value;
        bool found = self->waits ? weft_offsets_newest(table, &key, &value) : weft_offsets_find(table, &key, &value);
        s_fill(shard, &key, found ? &value : NULL, out);
        if (out->topic.data == NULL) out->topic = entry->topic;
    }
}

static bool s_collect(void *context, const struct weft_offset_key *key, const struct weft_offset_value *value)
{
    struct s_look *self = context;
    if (value->offset < 0) return true;
    if (self->count == S_OFFSETS_MAX) return false;
    if (self->count == self->room) {
        self->room = self->room == 0 ? 64 : 2 * self->room;
        struct weft_committed_offset *more =
            weft_arena_alloc(&self->ledger->partition->shard->codec.arena, self->room * sizeof *more);
        if (self->count != 0) memcpy(more, self->offsets, self->count * sizeof *more);
        self->offsets = more;
    }
    struct weft_committed_offset *out = &self->offsets[self->count++];
    *out = (struct weft_committed_offset){.offset = -1, .epoch = -1, .committed_ms = -1};
    s_fill(self->ledger->partition->shard, key, value, out);
    return true;
}

static void s_answer_look(struct s_look *self, const struct weft_asker *asker)
{
    weft_shard_t *shard = self->ledger->partition->shard;
    struct weft_committed_reply reply;
    weft_committed_reply_init(&reply);
    reply.header.id = asker->request_id;
    reply.offsets = self->offsets;
    reply.offsets_count = self->count;
    weft_buf_clear(&shard->reply);
    weft_committed_reply_encode(&reply, &shard->reply);
    if (shard->reply.size > WEFT_REPLY_BYTES_MAX)
        weft_shard_refuse(shard, asker, WEFT_ERR_INVALID_REQUEST,
                          "The offsets don't fit one reply: name fewer partitions at a time.");
    else if (self->waits)
        (void) weft_ledger_park(self->ledger, asker, weft_buf_slice(&shard->reply));
    else if (weft_shard_peer_full(shard, &asker->peer, shard->reply.size))
        weft_shard_refuse(shard, asker, WEFT_ERR_OVERLOADED, NULL);
    else
        weft_shard_answer(shard, asker, NULL);
}

static weft_err_t s_look(struct s_look *self)
{
    weft_shard_t *shard = self->ledger->partition->shard;
    const struct weft_committed_request *request = self->request;
    if (request->entries_count == 0) {
        if (weft_offsets_each(self->ledger->table, request->group, s_collect, self)) return WEFT_OK;
        return weft_error_set(&shard->error, WEFT_ERR_INVALID_REQUEST,
                              "The group has more than %d offsets: name the partitions.", S_OFFSETS_MAX);
    }
    self->count = request->entries_count;
    self->offsets = weft_arena_alloc(&shard->codec.arena, self->count * sizeof *self->offsets);
    for (size_t i = 0; i < self->count; i++)
        self->offsets[i] = (struct weft_committed_offset){.offset = -1, .epoch = -1, .committed_ms = -1};
    shard->error.text[0] = '\0';
    weft_err_t code = s_raise_fences(self);
    if (code == WEFT_OK) s_look_up(self);
    return code == WEFT_OK ? WEFT_OK : weft_error_set(&shard->error, code, "%s", weft_err_sentence(code));
}

void weft_shard_committed(weft_shard_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    struct weft_committed_request request;
    weft_err_t code = weft_committed_request_decode(&self->codec, header, &request, &self->error);
    if (code != WEFT_OK) {
        weft_shard_refuse(self, asker, code, self->error.text);
        return;
    }
    struct s_look look = {.request = &request};
    look.ledger = weft_ledger_of_group(self, asker, request.group);
    if (look.ledger == NULL) return;
    if (weft_ledger_crowded(look.ledger)) {
        weft_shard_refuse(self, asker, WEFT_ERR_OVERLOADED, NULL);
        return;
    }
    weft_ledger_touch(look.ledger, request.group);
    code = s_look(&look);
    if (code != WEFT_OK)
        weft_shard_refuse(self, asker, code, self->error.text);
    else
        s_answer_look(&look, asker);
}
