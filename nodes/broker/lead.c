// SPDX-License-Identifier: MPL-2.0
// Sessions and entries: what followers say, and who is to be answered. lead_answer.c makes the answers.
//
// An entry is in the ready ring of its session when there is something to tell at once: data that was not sent yet, or
// the answer to where it may align. It is in the moved ring when only marks moved. Requests that came in one turn are
// answered together at its end, with all that was appended by then.
#include "lead_self.h"

#include "../../lib/base/mutate.h"
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_SESSIONS_MIN 1024          // as many there may always be,
#define S_SESSIONS_A_SHARD 4         // and so many for each shard of the cluster: two, and what reconnects left behind
#define S_IDLE_US (30 * 1000 * 1000) // a session without a request for so long is forgotten
#define S_HEARD_US (1000 * 1000)     // one that asked so lately is there
#define S_ERRORS_MAX 100000          // refusals of a session that wait to be told, beyond them it ends
#define S_STALLS 2                   // the same data was sent so often and never taken: is it damaged?

weft_lead_t *weft_lead_new(weft_shard_t *shard, uint64_t seed)
{
    weft_lead_t *self = weft_calloc(1, sizeof *self);
    self->shard = shard;
    self->sessions = weft_map_new();
    self->retry_us = WEFT_TIME_NEVER;
    weft_rand_init(&self->rand, seed);
    weft_ring_init(&self->order);
    weft_ring_init(&self->woken);
    return self;
}

// ---- entries

static void s_free_entry(struct weft_lead_entry *entry)
{
    weft_ring_take(&entry->in_session);
    weft_ring_take(&entry->in_ready);
    weft_ring_take(&entry->in_moved);
    struct weft_lead_entry **at = &entry->partition->followers;
    while (*at != entry) at = &(*at)->next;
    *at = entry->next;
    free(entry);
}

static void s_wake(struct weft_lead_session *session)
{
    if (session->wait != NULL && !weft_ring_in(&session->in_woken))
        weft_ring_push(&session->lead->woken, &session->in_woken);
}

static void s_ready(struct weft_lead_entry *entry)
{
    if (weft_ring_in(&entry->in_ready)) return;
    struct weft_lead_session *session = entry->session;
    bool counts = weft_replica_counts(entry->partition->replica, session->broker);
    weft_ring_push(&session->ready[counts ? 0 : 1], &entry->in_ready); // acknowledgements wait for those that count
    s_wake(session);
}

static void s_error(struct weft_lead_session *session, weft_id_t topic, uint32_t partition, weft_err_t code,
                    int64_t log_start)
{
    if (session->error_count == session->error_capacity) {
        session->error_capacity = session->error_capacity == 0 ? 16 : 2 * session->error_capacity;
        session->errors = weft_realloc(session->errors, session->error_capacity * sizeof session->errors[0]);
    }
    session->errors[session->error_count++] =
        (struct weft_lead_error){.topic = topic, .partition = partition, .code = code, .log_start = log_start};
    weft_counter_add(session->lead->shard->counters, WEFT_COUNT_REPLICAS_REFUSED, 1);
    s_wake(session);
}

static void s_drop_entry(struct weft_lead_entry *entry, weft_err_t code)
{
    const weft_partition_t *partition = entry->partition;
    s_error(entry->session, partition->topic, partition->number, code, 0);
    s_free_entry(entry);
}

// The entry of that follower, whichever its session.
static struct weft_lead_entry *s_find(const weft_partition_t *partition, int32_t broker)
{
    struct weft_lead_entry *entry = partition->followers;
    while (entry != NULL && entry->session->broker != broker) entry = entry->next;
    return entry;
}

static struct weft_lead_entry *s_take_entry(struct weft_lead_session *session, weft_partition_t *partition)
{
    struct weft_lead_entry *entry = s_find(partition, session->broker);
    if (entry != NULL && entry->session == session) return entry;
    if (entry != NULL) s_free_entry(entry); // named in another session: it goes along
    entry = weft_calloc(1, sizeof *entry);
    entry->session = session;
    entry->partition = partition;
    entry->in_session.owner = entry->in_ready.owner = entry->in_moved.owner = entry;
    entry->offset = entry->sent_lazily = -1;
    entry->next = partition->followers;
    partition->followers = entry;
    weft_ring_push(&session->all, &entry->in_session);
    return entry;
}

// ---- sessions

static void s_free_session(struct weft_lead_session *session)
{
    weft_lead_t *self = session->lead;
    while (!weft_ring_empty(&session->all)) s_free_entry(weft_ring_first(&session->all));
    weft_ring_take(&session->in_order);
    weft_ring_take(&session->in_woken);
    weft_map_remove_u64(self->sessions, session->id);
    if (session->wait != NULL) weft_waits_give(&self->shard->waits, session->wait);
    free(session->errors);
    free(session);
    weft_counter_set(self->shard->counters, WEFT_COUNT_REPLICA_SESSIONS, weft_map_count(self->sessions));
}

void weft_lead_destroy(weft_lead_t **self_p)
{
    weft_lead_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    while (!weft_ring_empty(&self->order)) s_free_session(weft_ring_first(&self->order));
    weft_map_destroy(&self->sessions);
    free(self->answers);
    free(self->frames);
    free(self);
}

// Bounded by what the cluster can need. Counted only once there are many.
static size_t s_sessions_max(const weft_lead_t *self)
{
    size_t shards = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self->shard->cluster, &cursor)) != NULL;)
        shards += broker->shard_count;
    return shards * S_SESSIONS_A_SHARD > S_SESSIONS_MIN ? shards * S_SESSIONS_A_SHARD : S_SESSIONS_MIN;
}

// What earlier starts of that broker had is over. One is made room for, if need be, by the longest unused.
static struct weft_lead_session *s_new_session(weft_lead_t *self, const struct weft_replicate_request *request)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(self->shard->cluster, request->broker_id);
    bool current = broker != NULL && weft_id_equal(broker->incarnation, request->incarnation);
    struct weft_ring_node *node = self->order.head.next, *next;
    for (; current && node != &self->order.head; node = next) {
        struct weft_lead_session *old = node->owner;
        next = node->next;
        if (old->broker == request->broker_id && !weft_id_equal(old->incarnation, request->incarnation))
            s_free_session(old);
    }
    size_t count = weft_map_count(self->sessions);
    if (count >= S_SESSIONS_MIN && count >= s_sessions_max(self)) s_free_session(weft_ring_first(&self->order));
    struct weft_lead_session *session = weft_calloc(1, sizeof *session);
    session->lead = self;
    session->fresh = true;
    session->number = ++self->begun;
    do session->id = weft_rand_next(&self->rand);
    while (session->id == 0 || weft_map_get_u64(self->sessions, session->id) != NULL);
    session->broker = request->broker_id;
    session->incarnation = request->incarnation;
    session->in_order.owner = session->in_woken.owner = session;
    weft_ring_init(&session->all);
    weft_ring_init(&session->ready[0]);
    weft_ring_init(&session->ready[1]);
    weft_ring_init(&session->moved);
    weft_map_put_u64(self->sessions, session->id, session);
    weft_counter_set(self->shard->counters, WEFT_COUNT_REPLICA_SESSIONS, weft_map_count(self->sessions));
    return session;
}

// The session of a request, or NULL: refused. A gap ends it: what the missing request said is not known.
static struct weft_lead_session *s_session(weft_lead_t *self, const struct weft_asker *asker,
                                           const struct weft_replicate_request *request)
{
    struct weft_lead_session *session = NULL;
    if (request->session == 0 && request->sequence == 1) return s_new_session(self, request);
    if (request->session != 0) session = weft_map_get_u64(self->sessions, request->session);
    bool known = session != NULL && session->broker == request->broker_id &&
                 weft_id_equal(session->incarnation, request->incarnation);
    if (known && request->sequence == session->sequence + 1) return session;
    if (known) s_free_session(session);
    weft_shard_refuse(self->shard, asker, WEFT_ERR_SESSION_NOT_FOUND, NULL);
    return NULL;
}

// ---- what a request says of its partitions

// The open partition that is led here; else *code says why not.
static weft_partition_t *s_partition(weft_shard_t *shard, weft_id_t topic_id, uint32_t number, weft_err_t *code)
{
    const struct weft_shard_topic *topic = weft_map_get(shard->topics, weft_id_slice(&topic_id));
    *code = WEFT_ERR_UNKNOWN_TOPIC;
    if (topic == NULL || number >= topic->partition_count) return NULL;
    weft_partition_t *partition = topic->partitions[number];
    *code = WEFT_ERR_NOT_LEADER;
    if (partition == NULL) return NULL;
    if (partition->state == WEFT_PARTITION_WAITING && weft_shard_make_room(shard)) weft_partition_open(partition);
    if (partition->state == WEFT_PARTITION_REFUSED) *code = partition->refusal;
    return partition->state == WEFT_PARTITION_OPEN && partition->leads ? partition : NULL;
}

// Does the follower's last batch stand before its log end here, too? What it aligned by can't have changed in this
// epoch, so this finds only what should not be; but it finds it before the follower counts.
static bool s_goes_on(const weft_partition_t *partition, const struct weft_replicate_partition *named)
{
    if (named->last_epoch < 0 || named->offset <= weft_log_start(partition->log)) return true;
    int32_t found_epoch;
    int64_t end;
    weft_log_epoch_end(partition->log, named->last_epoch, &found_epoch, &end);
    return found_epoch == named->last_epoch && end >= named->offset;
}

struct s_place {
    int32_t leader_epoch;
    int64_t log_start, log_end, synced_end;
};

static weft_err_t s_report(weft_partition_t *partition, const struct weft_lead_session *session,
                           const struct s_place *place)
{
    weft_shard_t *shard = partition->shard;
    weft_replica_t *replica = partition->replica;
    weft_err_t code = weft_replica_knows(replica, session->broker, session->incarnation, place->leader_epoch);
    if (code == WEFT_OK && place->log_start > place->log_end) code = WEFT_ERR_INVALID_REQUEST;
    if (code != WEFT_OK) return code;
    weft_replica_starts(replica, session->broker, place->log_start);
    code = weft_replica_report(replica, session->broker, session->incarnation, place->leader_epoch, place->log_end,
                               place->synced_end, weft_port_now_us(&shard->port) / 1000);
    if (code != WEFT_OK) return code;
    weft_counter_add(shard->counters, WEFT_COUNT_REPLICA_REPORTS, 1);
    weft_shard_delete_wake(partition);
    return WEFT_OK;
}

// Where a follower can begin that is to go on from `offset`: that may be in the midst of a batch, and these are sent
// whole. *gap: it is one without records, of which a follower also takes only the rest.
static int64_t s_base(weft_partition_t *partition, int64_t offset, bool *gap)
{
    *gap = false;
    if (offset < weft_log_start(partition->log)) offset = weft_log_start(partition->log);
    weft_frame_t frame = WEFT_FRAME_EMPTY;
    struct weft_batch batch;
    weft_err_t code = weft_log_read(partition->log, offset, 1, true, weft_log_end(partition->log),
                                    partition->shard->small_frames, &frame);
    if (code == WEFT_OK && frame.size > 0) code = weft_batch_read(weft_frame_slice(&frame), &batch);
    if (code == WEFT_OK && frame.size > 0) {
        offset = batch.base_offset;
        *gap = weft_compact_is_gap(&batch);
    }
    weft_frame_drop(&frame);
    return offset;
}

// All that a follower may have in common with this log was deleted here: whether it is the same nobody can tell. (Of who
// is in sync it is known: below the committed mark it has what everybody has.) Or this log ends below all that the
// follower keeps: it was lost to a person's word, or to an old copy of a disk.
static bool s_unjoined(const weft_partition_t *partition, const struct weft_lead_session *session,
                       const struct weft_replicate_partition *named)
{
    int32_t found_epoch;
    int64_t end, start = weft_log_start(partition->log);
    if (weft_replica_counts(partition->replica, session->broker)) return false;
    if (named->log_start > weft_log_end(partition->log)) return true;
    if (named->log_start >= start) return false;
    weft_log_epoch_end(partition->log, named->last_epoch, &found_epoch, &end);
    return end <= start;
}

// Can what it has be continued by a batch that is still here? Compaction may have merged the end of what it has into one
// gap with all that was deleted since: it has nothing to begin anew for, the rest of that gap is what it lacks.
static bool s_can_go_on(weft_partition_t *partition, const struct weft_replicate_partition *named)
{
    bool gap, empty = named->offset == named->log_start; // so it need not stand between two batches
    if (!empty && named->offset >= weft_log_start(partition->log)) return true;
    int64_t base = s_base(partition, named->offset, &gap);
    return base == named->offset || (base < named->offset && gap && !empty);
}

static weft_err_t s_check(weft_partition_t *partition, const struct weft_lead_session *session,
                          const struct weft_replicate_partition *named)
{
    weft_err_t code =
        weft_replica_knows(partition->replica, session->broker, session->incarnation, named->leader_epoch);
    if (code == WEFT_OK && named->align && s_unjoined(partition, session, named)) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    if (code != WEFT_OK || named->align) return code;
    if (named->offset < 0 || named->offset > weft_log_end(partition->log)) return WEFT_ERR_INVALID_REQUEST;
    if (!s_can_go_on(partition, named)) return WEFT_ERR_OFFSET_OUT_OF_RANGE;
    if (!s_goes_on(partition, named)) return WEFT_ERR_DIVERGED;
    const struct s_place place = {named->leader_epoch, named->log_start, named->offset, named->synced_end};
    weft_replica_named(partition->replica, session->broker, place.log_end, place.synced_end, place.log_start);
    return s_report(partition, session, &place);
}

// A follower that never takes what it is sent may be sent rubbish: what rots in our file has the right headers.
static void s_count_stall(struct weft_lead_entry *entry, int64_t offset)
{
    bool stalled = entry->awaiting && entry->offset == offset;
    entry->stalls = stalled ? entry->stalls + 1 : 0;
    if (entry->stalls < S_STALLS) return;
    entry->stalls = 0;
    weft_partition_suspect(entry->partition, offset);
}

static bool s_same_connection(const struct weft_peer *a, const struct weft_peer *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

// What was said over a connection that is lost by now may be read behind what was said over the next one.
static bool s_is_late(const struct weft_lead_session *session, const struct weft_lead_entry *entry)
{
    const struct weft_lead_session *holder = entry != NULL ? entry->session : session;
    return holder->number > session->number && !s_same_connection(&holder->peer, &session->peer);
}

static void s_name(struct weft_lead_session *session, const struct weft_replicate_partition *named)
{
    weft_err_t code;
    weft_partition_t *partition = s_partition(session->lead->shard, named->topic_id, named->partition, &code);
    struct weft_lead_entry *old = partition != NULL ? s_find(partition, session->broker) : NULL;
    if (partition != NULL)
        code = s_is_late(session, old) ? WEFT_ERR_SESSION_NOT_FOUND : s_check(partition, session, named);
    if (code != WEFT_OK) {
        if (old != NULL && old->session == session) s_free_entry(old);
        bool gap, anew = partition != NULL && code == WEFT_ERR_OFFSET_OUT_OF_RANGE;
        s_error(session, named->topic_id, named->partition, code,
                anew ? s_base(partition, named->align ? 0 : named->offset, &gap) : 0);
        return;
    }
    struct weft_lead_entry *entry = s_take_entry(session, partition);
    s_count_stall(entry, named->align ? -1 : named->offset);
    entry->leader_epoch = named->leader_epoch;
    entry->offset = named->offset;
    entry->synced_end = named->synced_end;
    entry->last_epoch = named->last_epoch;
    entry->align = named->align;
    entry->max_bytes = named->max_bytes;
    entry->awaiting = false;
    // One that has everything may still not know where the log begins: it does not join before.
    bool starts_below = named->log_start < weft_log_start(partition->log);
    if (entry->align || starts_below || entry->offset < weft_log_end(partition->log)) s_ready(entry);
    weft_partition_effects(partition);
}

static void s_forget(struct weft_lead_session *session, const struct weft_partition_ref *named)
{
    const weft_shard_t *shard = session->lead->shard;
    const struct weft_shard_topic *topic = weft_map_get(shard->topics, weft_id_slice(&named->topic_id));
    if (topic == NULL || named->partition >= topic->partition_count) return;
    const weft_partition_t *partition = topic->partitions[named->partition];
    struct weft_lead_entry *entry = partition != NULL ? s_find(partition, session->broker) : NULL;
    if (entry != NULL && entry->session == session) s_free_entry(entry);
}

// ---- requests

static void s_park(struct weft_lead_session *session, const struct weft_asker *asker,
                   const struct weft_replicate_request *request)
{
    weft_shard_t *shard = session->lead->shard;
    uint32_t wait_ms = request->max_wait_ms < WEFT_SHARD_WAIT_MS_MAX ? request->max_wait_ms : WEFT_SHARD_WAIT_MS_MAX;
    session->wait = weft_waits_take(&shard->waits, WEFT_WAIT_REPLICATE);
    session->wait->asker = *asker;
    session->wait->owner = session;
    weft_waits_deadline(&shard->waits, session->wait, weft_port_now_us(&shard->port) + (int64_t) wait_ms * 1000);
}

void weft_lead_replicate(weft_lead_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    weft_shard_t *shard = self->shard;
    struct weft_replicate_request request;
    weft_err_t code = weft_replicate_request_decode(&shard->codec, header, &request, &shard->error);
    if (code != WEFT_OK) {
        weft_shard_refuse(shard, asker, code, shard->error.text);
        return;
    }
    struct weft_lead_session *session = NULL;
    if (weft_id_is_zero(request.incarnation))
        weft_shard_refuse(shard, asker, WEFT_ERR_FENCED, NULL);
    else
        session = s_session(self, asker, &request);
    if (session == NULL) return;
    weft_counter_add(shard->counters, WEFT_COUNT_REPLICATE_REQUESTS, 1);
    // It has more to say before there was anything to tell: the request before is answered with what is there.
    if (session->wait != NULL) weft_lead_answer(session, WEFT_LEAD_AT_ONCE);
    if (session->error_count > S_ERRORS_MAX) { // what it is told is never all that it asked for: it asks for nonsense
        s_free_session(session);
        weft_shard_refuse(shard, asker, WEFT_ERR_SESSION_NOT_FOUND, NULL);
        return;
    }
    session->sequence = request.sequence;
    session->peer = asker->peer;
    session->max_bytes = request.max_bytes < WEFT_LEAD_BYTES_MAX ? request.max_bytes : WEFT_LEAD_BYTES_MAX;
    session->used_us = weft_port_now_us(&shard->port);
    weft_ring_push(&self->order, &session->in_order);
    s_park(session, asker, &request);
    for (size_t i = 0; i < request.forget_count; i++) s_forget(session, &request.forget[i]);
    for (size_t i = 0; i < request.partitions_count; i++) s_name(session, &request.partitions[i]);
    bool something =
        session->error_count != 0 || !weft_ring_empty(&session->ready[0]) || !weft_ring_empty(&session->ready[1]);
    if (something || session->fresh) s_wake(session);
}

static weft_err_t s_progress(weft_lead_t *self, const struct weft_asker *asker,
                             const struct weft_progress_request *request, const struct weft_partition_progress *moved)
{
    weft_err_t code;
    weft_partition_t *partition = s_partition(self->shard, moved->topic_id, moved->partition, &code);
    if (partition == NULL) return code;
    struct weft_lead_entry *entry = s_find(partition, request->broker_id);
    bool asks = entry != NULL && entry->align && !weft_mutated("follower_reports_unaligned");
    bool known = entry != NULL && !asks && weft_id_equal(entry->session->incarnation, request->incarnation) &&
                 s_same_connection(&entry->session->peer, &asker->peer);
    if (!known) return WEFT_ERR_SESSION_NOT_FOUND;
    const struct s_place place = {moved->leader_epoch, moved->log_start, moved->log_end, moved->synced_end};
    code = s_report(partition, entry->session, &place);
    if (code != WEFT_OK) return code;
    entry->synced_end = moved->synced_end;
    weft_partition_effects(partition);
    return WEFT_OK;
}

// Not answered, whatever is in it.
void weft_lead_progress(weft_lead_t *self, const struct weft_asker *asker, weft_slice_t header)
{
    weft_shard_t *shard = self->shard;
    struct weft_progress_request request;
    weft_err_t code = weft_progress_request_decode(&shard->codec, header, &request, &shard->error);
    if (code != WEFT_OK) {
        weft_shard_refuse(shard, NULL, code, NULL);
        return;
    }
    for (size_t i = 0; i < request.partitions_count; i++) {
        code = s_progress(self, asker, &request, &request.partitions[i]);
        if (code == WEFT_OK) continue;
        weft_counter_add(shard->counters, WEFT_COUNT_REPLICAS_REFUSED, 1);
        weft_trace(WEFT_TRACE_DEBUG, shard->name, "progress of broker %d is refused: %s", (int) request.broker_id,
                   weft_err_name(code));
    }
}

// ---- what happened to a partition

void weft_lead_appended(weft_partition_t *partition)
{
    for (struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = entry->next)
        if (!entry->awaiting && !entry->align) s_ready(entry);
}

void weft_lead_moved(weft_partition_t *partition)
{
    for (struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = entry->next)
        if (!weft_ring_in(&entry->in_moved)) weft_ring_push(&entry->session->moved, &entry->in_moved);
}

void weft_lead_trimmed(weft_partition_t *partition)
{
    for (struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = entry->next)
        if (!entry->align) s_ready(entry);
}

// Records that were sent while nobody waited for them.
void weft_lead_wanted(weft_partition_t *partition)
{
    for (struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = entry->next)
        if (entry->sent_lazily > entry->synced_end) s_ready(entry);
}

void weft_lead_assigned(weft_partition_t *partition)
{
    struct weft_lead_entry *next;
    for (struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = next) {
        next = entry->next;
        // Of a newer leader epoch nobody of the older one is asked for: they name it anew once they align.
        bool same = partition->leads && entry->leader_epoch == weft_replica_leader_epoch(partition->replica);
        weft_err_t code = !partition->leads ? WEFT_ERR_NOT_LEADER : WEFT_ERR_STALE_EPOCH;
        if (same)
            code = weft_replica_knows(partition->replica, entry->session->broker, entry->session->incarnation,
                                      entry->leader_epoch);
        if (code != WEFT_OK) s_drop_entry(entry, code);
    }
}

int64_t weft_lead_lowest(const weft_partition_t *partition)
{
    int64_t lowest = INT64_MAX;
    for (const struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = entry->next)
        if (entry->offset < lowest) lowest = entry->offset;
    return lowest;
}

void weft_lead_end(weft_partition_t *partition, weft_err_t code)
{
    while (partition->followers != NULL) s_drop_entry(partition->followers, code);
}

// ---- time

int64_t weft_lead_turn(weft_lead_t *self, int64_t now_us)
{
    if (now_us >= self->retry_us) { // a peer or the shard had no room
        for (struct weft_ring_node *node = self->order.head.next; node != &self->order.head; node = node->next) {
            struct weft_lead_session *session = node->owner;
            bool ready = !weft_ring_empty(&session->ready[0]) || !weft_ring_empty(&session->ready[1]);
            if (ready) s_wake(session);
        }
        self->retry_us = WEFT_TIME_NEVER;
    }
    while (!weft_ring_empty(&self->woken)) {
        struct weft_lead_session *session = weft_ring_first(&self->woken);
        weft_ring_take(&session->in_woken);
        weft_lead_answer(session, WEFT_LEAD_WHAT_THERE_IS);
    }
    return self->retry_us;
}

void weft_lead_timed_out(weft_lead_t *self, struct weft_wait *wait)
{
    (void) self;
    weft_lead_answer(wait->owner, WEFT_LEAD_TIME_IS_UP);
}

void weft_lead_sweep(weft_lead_t *self, int64_t now_us)
{
    struct weft_ring_node *node = self->order.head.next, *next;
    for (; node != &self->order.head; node = next) {
        struct weft_lead_session *session = node->owner;
        next = node->next;
        if (session->wait == NULL && now_us - session->used_us > S_IDLE_US) s_free_session(session);
    }
}

void weft_lead_tick(weft_partition_t *partition, int64_t now_us)
{
    for (struct weft_lead_entry *entry = partition->followers; entry != NULL; entry = entry->next) {
        const struct weft_lead_session *session = entry->session;
        bool heard = session->wait != NULL || now_us - session->used_us < S_HEARD_US;
        if (heard && !entry->align)
            (void) !weft_replica_report(partition->replica, session->broker, session->incarnation, entry->leader_epoch,
                                        entry->offset, entry->synced_end, now_us / 1000);
    }
}
