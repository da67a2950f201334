// SPDX-License-Identifier: MPL-2.0
// The type and its loop. One thread reads the source, writes and reads the target, and never waits for either: it polls
// all three clients, and sleeps on their descriptors when there was nothing to do. What may block has a thread of its own
// (steward.c).
#include "bridge.h"

#include "../common/clients.h"
#include "../common/sockets.h"
#include "bridge_inner.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define S_TICK_MS 100
#define S_SLEEP_MS 20
#define S_SESSIONS_MS 5000 // the source's notes are waited for so long before topics are made
#define S_UNHEARD_MS 3000
#define S_FIRST_MS 200    // what is found meanwhile was there when the bridge began
#define S_SETTLE_MS 2000  // what appears later waits
#define S_TROUBLE_MS 2000 // what is over before is not told

static const struct weft_counter_info s_counters[WEFT_BRIDGE_COUNTERS] = {
    [WEFT_BRIDGE_RECORDS] = {"records_copied_count", "Records written to the target and answered."},
    [WEFT_BRIDGE_BYTES] = {"copied_bytes", "Bytes of their batches."},
    [WEFT_BRIDGE_BATCHES] = {"batches_copied_count", "Batches written to the target and answered."},
    [WEFT_BRIDGE_REWRITTEN] =
        {"batches_rewritten_count",
         "Batches of the source that had to be encoded anew: compacted, cut, too large, or first behind a gap."},
    [WEFT_BRIDGE_MARKS] = {"marks_count", "Batches whose first record says which source offsets they hold."},
    [WEFT_BRIDGE_DUPLICATES] = {"duplicates_count",
                                "Batches that the target had already, from an attempt whose answer was lost."},
    [WEFT_BRIDGE_LOOPED] = {"records_looped_count", "Records left out because they came from the target."},
    [WEFT_BRIDGE_GONE] = {"offsets_gone_count", "Offsets that the source deleted before they were copied."},
    [WEFT_BRIDGE_DIVERGED] = {"divergences_count", "Times the source lost records that had been copied."},
    [WEFT_BRIDGE_LOOKS] = {"looks_count", "Times the target's tail was looked through."},
    [WEFT_BRIDGE_RETRIES] = {"retries_count", "Times copying of a partition was put off after an error."},
    [WEFT_BRIDGE_NOTES] = {"notes_count", "Places noted in the target."},
    [WEFT_BRIDGE_NOTES_FAILED] = {"notes_failed_count", "Notes that were not written; later ones stand for them."},
    [WEFT_BRIDGE_TOPICS_MADE] = {"topics_made_count", "Topics made, or given partitions, in the target."},
    [WEFT_BRIDGE_SETTINGS] = {"topic_settings_count",
                              "Settings of topics that changed in the source, set in the target."},
    [WEFT_BRIDGE_SETTINGS_LEFT] = {"topic_settings_left_count",
                                   "Settings that changed in the source and were left: the target has its own."},
    [WEFT_BRIDGE_SETTINGS_FAILED] = {"topic_settings_failed_count",
                                     "Times the target did not take them; it is tried again."},
    [WEFT_BRIDGE_GROUPS] = {"group_offsets_count", "Offsets of groups translated."},
    [WEFT_BRIDGE_GROUPS_SKIPPED] = {"groups_skipped_count",
                                    "Times a group was left alone: it has members in the target, or an error."},
    [WEFT_BRIDGE_ANSWERS] = {"answers_count", "Questions for offsets answered."},
    [WEFT_BRIDGE_BAD_QUESTIONS] = {"bad_questions_count", "Questions that were none."},
    [WEFT_BRIDGE_PARTITIONS] = {"partitions_count", "Partitions of the topics that match."},
    [WEFT_BRIDGE_PARTITIONS_COPYING] = {"partitions_copying_count", "Partitions that are being copied."},
    [WEFT_BRIDGE_LAG] = {"lag_count", "Offsets that the source is ahead, over all partitions, as last heard."},
};

bool weft_bridge_origins_has(const struct weft_bridge_origins *self, weft_id_t id)
{
    for (size_t i = 0; i < self->count; i++)
        if (weft_id_equal(self->ids[i], id)) return true;
    return false;
}

bool weft_bridge_origins_add(struct weft_bridge_origins *self, weft_id_t id)
{
    if (weft_bridge_origins_has(self, id)) return true;
    if (self->count == WEFT_BRIDGE_ORIGINS_MAX) return false;
    self->ids[self->count++] = id;
    return true;
}

// ---- options

static void s_check(const weft_options_t *options, weft_complain_fn *complain, void *context)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *name = weft_options_text(options, "name"), *prefix = weft_options_text(options, "prefix");
    if (name[strspn(name, letters)] != '\0')
        complain(context, "name", "name '%s': a bridge's name has letters, digits, '.', '_' and '-' only", name);
    if (prefix[strspn(prefix, letters)] != '\0')
        complain(context, "prefix", "prefix '%s': a topic's name has letters, digits, '.', '_' and '-' only", prefix);
    weft_inside_check(options, "consumer", weft_options_consumer, weft_options_consumer_count, complain, context);
    weft_inside_check(options, "producer", weft_options_producer, weft_options_producer_count, complain, context);
}

static void s_read_options(weft_bridge_t *self)
{
    const weft_options_t *options = self->options;
    bool durable = weft_options_int(options, "read") == 0 ? false : true;
    const char *const source[] = {"reset=earliest", durable ? "read=durable" : "read=committed", "metadata.ms=5000",
                                  NULL};
    const char *const target[] = {"reset=earliest", "read=committed", "buffer.bytes=8MiB", NULL};
    // What an edge has spooled is not in the target yet: its note must be there before a session's first batch.
    const char *const producer[] = {"spool=false", NULL}, *at = weft_options_text(options, "target");
    self->name = weft_options_text(options, "name");
    self->prefix = weft_options_text(options, "prefix");
    self->kept_topic = weft_options_text(options, "checkpoint.topic");
    self->topics = weft_list_split(weft_options_text(options, "topics"));
    self->except = weft_list_split(weft_options_text(options, "except"));
    self->groups = weft_list_split(weft_options_text(options, "groups"));
    self->source_settings = weft_inside_settings(self->node, weft_options_text(options, "source"), source,
                                                 weft_options_text(options, "consumer"));
    self->target_settings = weft_inside_settings(self->node, at, target, "");
    self->producer_settings = weft_inside_settings(self->node, at, producer, weft_options_text(options, "producer"));
    self->partition_bytes = (size_t) weft_options_int(options, "partition.bytes");
    self->checkpoint_ms = weft_options_int(options, "checkpoint.ms");
    self->refresh_ms = weft_options_int(options, "refresh.ms");
    self->groups_ms = weft_options_int(options, "groups.ms");
    self->standby_ms = weft_options_int(options, "standby.ms");
}

// ---- life-cycle

static void s_destroy(void **self_p)
{
    weft_bridge_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_producer_destroy(&self->producer); // what waits is reported to flows that are still there
    weft_consumer_destroy(&self->source);
    weft_consumer_destroy(&self->target);
    weft_admin_destroy(&self->source_admin);
    weft_admin_destroy(&self->target_admin);
    if (self->router != NULL) zmq_close(self->router);
    weft_unread_drop(self->unread);
    for (size_t i = 0; i < self->flow_count; i++) weft_bridge_flow_free(&self->flows[i]);
    free(self->flows);
    for (size_t i = 0; i < self->table_count; i++) {
        free(self->table[i]->name);
        free(self->table[i]->target_name);
        weft_buf_fini(&self->table[i]->carried);
        free(self->table[i]);
    }
    free(self->table);
    weft_bridge_translated_free(self->translated, self->translated_count);
    weft_map_destroy(&self->by_place);
    weft_bridge_sessions_fini(self);
    weft_bridge_notes_fini(self);
    weft_bridge_rewrite_fini(&self->rewrite);
    weft_buf_fini(&self->scratch);
    weft_buf_fini(&self->key);
    weft_buf_fini(&self->value);
    weft_codec_fini(&self->codec);
    char ***lists[] = {&self->topics,          &self->except,          &self->groups,
                       &self->source_settings, &self->target_settings, &self->producer_settings};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) weft_list_free(lists[i]);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static weft_err_t s_listen(weft_bridge_t *self, struct weft_error *error)
{
    const char *endpoint = weft_options_text(self->options, "listen");
    char bound[WEFT_BOUND_BYTES_MAX];
    if (*endpoint == '\0') return WEFT_OK;
    weft_err_t err = weft_outside_router(self->node, WEFT_BRIDGE_ANSWERS_MAX, 100, 4096, &self->router, error);
    if (err == WEFT_OK) err = weft_outside_bind(self->router, "listen", endpoint, bound, error);
    if (err == WEFT_OK) weft_node_set_endpoint(self->node, bound);
    return err;
}

static weft_err_t s_admin(weft_bridge_t *self, const char *side, weft_admin_t **out, struct weft_error *error)
{
    char **settings = weft_inside_settings(self->node, weft_options_text(self->options, side),
                                           (const char *[]){"request.timeout.ms=10s", NULL}, "");
    weft_err_t err = weft_admin_new((const char *const *) settings, out, error);
    weft_list_free(&settings);
    return err;
}

static weft_err_t s_create(weft_hosted_node_t *node, const weft_options_t *options, void **out,
                           struct weft_error *error)
{
    weft_bridge_t *self = weft_calloc(1, sizeof *self);
    weft_rand_t rand;
    self->node = node;
    self->options = options;
    self->unread = weft_unread_new();
    s_read_options(self);
    weft_rand_seed_os(&rand);
    self->instance = weft_rand_id(&rand);
    self->term = 1;
    self->trouble_ms = -1;
    self->by_place = weft_map_new();
    self->sessions = weft_map_new();
    self->copied = weft_map_new();
    self->notes = weft_map_new();
    weft_bridge_rewrite_init(&self->rewrite);
    weft_buf_init(&self->scratch);
    weft_buf_init(&self->key);
    weft_buf_init(&self->value);
    weft_codec_init(&self->codec);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, NULL);
    atomic_init(&self->ending, false);
    void *kept = self;
    weft_err_t err = weft_bridge_source_open(self, error);
    if (err == WEFT_OK) err = weft_consumer_new((const char *const *) self->target_settings, &self->target, error);
    if (err == WEFT_OK) err = weft_producer_new((const char *const *) self->producer_settings, &self->producer, error);
    if (err == WEFT_OK) err = s_admin(self, "source", &self->source_admin, error);
    if (err == WEFT_OK) err = s_admin(self, "target", &self->target_admin, error);
    if (err == WEFT_OK) err = s_listen(self, error);
    if (err != WEFT_OK) {
        s_destroy(&kept);
        return err;
    }
    if (weft_producer_option_int(self->producer, "acks") == WEFT_PRODUCER_ACKS_NONE) {
        s_destroy(&kept);
        return weft_node_refuse(error, WEFT_ERR_INVALID_OPTION,
                                "producer 'acks=none': what nobody answers for is not copied; say leader or all");
    }
    self->producer_bytes = (size_t) weft_producer_option_int(self->producer, "buffer.bytes");
    weft_producer_on_batch(self->producer, weft_bridge_reported, self);
    *out = self;
    return WEFT_OK;
}

// ---- who copies

// The steward knows both clusters: reading may begin.
static weft_err_t s_begin(weft_bridge_t *self, struct weft_error *error)
{
    if (self->began) return WEFT_OK;
    pthread_mutex_lock(&self->lock);
    weft_err_t fatal = self->fatal;
    bool ready = self->kept_ready;
    self->sessions_read = self->source_unbridged;
    self->source_cluster = self->told_source;
    self->target_cluster = self->told_target;
    pthread_mutex_unlock(&self->lock);
    if (fatal != WEFT_OK) return weft_node_refuse(error, fatal, "%s", self->fatal_text);
    if (!ready) return WEFT_OK;
    weft_err_t err = weft_producer_topic(self->producer, self->kept_topic, &self->kept);
    if (err != WEFT_OK) return weft_node_refuse(error, err, "%s", weft_producer_error_text(self->producer));
    self->began = self->assign_due = true;
    self->tick_ms = 0;
    self->note_ms = weft_mono_ms();
    return WEFT_OK;
}

static void s_claims(weft_bridge_t *self, int64_t now_ms)
{
    if (!self->notes_read || self->claim_out) return;
    if (self->standing_by) {
        if (now_ms - self->other_ms < self->standby_ms) return;
        weft_node_trace(self->node, 1, "the run that copied is silent: this one takes over");
        self->standing_by = false;
        self->term++;
        self->claim_ms = 0;
    }
    if (self->claim_ms != 0 && now_ms - self->claim_ms < self->standby_ms / 5) return;
    self->claim_ms = now_ms;
    weft_bridge_claim_write(self);
}

// Another run copies now: what is under way may still end, nothing new is begun.
static void s_stand_by(weft_bridge_t *self)
{
    for (size_t i = 0; i < self->flow_count; i++) {
        struct weft_bridge_flow *flow = self->flows[i];
        if (flow->state == WEFT_BRIDGE_WAITING || flow->state == WEFT_BRIDGE_STANDING) {
            flow->known = flow->noted = false; // the notes tell where the other one is by then
            continue;
        }
        weft_bridge_flow_stop(flow, 0, NULL);
    }
}

// ---- ticks

static void s_topics(weft_bridge_t *self, int64_t now_ms)
{
    bool early = !self->sessions_read && now_ms - self->began_ms < S_SESSIONS_MS, some = false;
    bool copies = self->notes_read && self->claimed && !self->standing_by;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->table_count; i++) {
        struct weft_bridge_topic *topic = self->table[i];
        if (copies && !topic->carried_known) weft_bridge_settings_load(self, topic);
        topic->carried_known = copies; // who takes over reads what the other has noted
        topic->looped = weft_bridge_is_looped(self, topic->name);
        // Another bridge makes a topic, and then notes whose copies it will hold. Taken at once for the source's own it
        // would be made in the target, and from there on, around a ring of clusters without end.
        bool late = topic->seen_ms - self->discovered_ms > S_FIRST_MS && now_ms - topic->seen_ms < S_SETTLE_MS;
        if (early || late || topic->state != WEFT_BRIDGE_TOPIC_NEW) continue;
        topic->state = WEFT_BRIDGE_TOPIC_WANTED;
        some = true;
    }
    if (some) pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void s_note_all(weft_bridge_t *self)
{
    for (size_t i = 0; i < self->flow_count; i++) {
        struct weft_bridge_flow *flow = self->flows[i];
        if (flow->moved && flow->noted && flow->out_notes == 0 && !weft_bridge_note_write(flow)) return;
    }
    for (size_t i = 0; i < self->table_count; i++) // which grows in this thread alone
        if (!weft_bridge_settings_note(self, self->table[i])) return;
}

// What keeps a partition from being copied now; NULL: nothing that is known.
static const char *s_problem(const struct weft_bridge_flow *flow, int64_t now_ms, char *room, size_t size)
{
    if (flow->gone || flow->topic->looped) return NULL;
    if (flow->reason[0] != '\0') return flow->reason;
    if (flow->out_count + flow->out_notes == 0 || now_ms - flow->heard_ms < S_UNHEARD_MS) return NULL;
    snprintf(room, size, "the target has not answered for %lld s", (long long) (now_ms - flow->heard_ms) / 1000);
    return room;
}

// The worst that is known, as a sentence; "": nothing.
static void s_judge(weft_bridge_t *self, int64_t now_ms, char *out, size_t size)
{
    char room[64];
    size_t problems = 0;
    pthread_mutex_lock(&self->lock);
    snprintf(out, size, "%s", self->steward_reason);
    pthread_mutex_unlock(&self->lock);
    if (self->standing_by)
        snprintf(
            out, size,
            "another run of bridge '%s' copies: this one stands by, and takes over when that is silent for %lld ms",
            self->name, (long long) self->standby_ms);
    if (out[0] != '\0') return;
    for (size_t i = 0; i < self->flow_count; i++) {
        const char *problem = s_problem(self->flows[i], now_ms, room, sizeof room);
        if (problem == NULL || problems++ > 0) continue;
        snprintf(out, size, "'%s' %d is not copied now: %s", self->flows[i]->topic->name,
                 (int) self->flows[i]->partition, problem);
    }
    size_t used = strlen(out);
    if (problems > 1) snprintf(out + used, size - used, " (and %zu more partitions)", problems - 1);
}

// Once when it begins and once when it is over: who runs it as a process sees no table of health.
static void s_tell(weft_bridge_t *self, int64_t now_ms, const char *trouble)
{
    if (trouble[0] == '\0') {
        if (self->trouble_told) weft_node_trace(self->node, 2, "it copies again");
        self->trouble_ms = -1;
        self->trouble_told = false;
        return;
    }
    if (self->trouble_ms < 0) self->trouble_ms = now_ms;
    if (self->trouble_told || now_ms - self->trouble_ms < S_TROUBLE_MS) return;
    weft_node_trace(self->node, 1, "%s", trouble);
    self->trouble_told = true;
}

static void s_health(weft_bridge_t *self, int64_t now_ms)
{
    char sentence[2 * WEFT_BRIDGE_REASON_BYTES];
    size_t copying = 0, open = 0;
    for (size_t i = 0; i < self->flow_count; i++) {
        const struct weft_bridge_flow *flow = self->flows[i];
        copying += flow->state == WEFT_BRIDGE_COPYING;
        open += flow->state != WEFT_BRIDGE_COPYING && !flow->gone && !flow->topic->looped;
    }
    weft_node_counter_set(self->node, WEFT_BRIDGE_PARTITIONS, self->flow_count);
    weft_node_counter_set(self->node, WEFT_BRIDGE_PARTITIONS_COPYING, copying);
    s_judge(self, now_ms, sentence, sizeof sentence);
    s_tell(self, now_ms, sentence);
    if (sentence[0] != '\0') {
        weft_node_set_health(self->node, WEFT_HEALTH_DEGRADED, "%s", sentence);
        return;
    }
    if (self->notes_read && self->claimed && (open == 0 || copying > 0))
        weft_node_set_health(self->node, WEFT_HEALTH_SERVING, NULL);
}

static void s_tick(weft_bridge_t *self)
{
    int64_t now_ms = weft_mono_ms();
    bool due = now_ms - self->tick_ms >= S_TICK_MS;
    if (due) self->tick_ms = now_ms;
    if (self->began) {
        if (due) s_topics(self, now_ms);
        if (due) s_claims(self, now_ms);
        if (due && self->standing_by) s_stand_by(self);
        for (size_t i = 0; i < self->flow_count; i++) weft_bridge_flow_tick(self->flows[i], now_ms);
        if (due) weft_bridge_source_tick(self);
        if (now_ms - self->note_ms >= self->checkpoint_ms && !self->standing_by) {
            self->note_ms = now_ms;
            s_note_all(self);
        }
    }
    if (due) s_health(self, now_ms);
}

// ---- the loop

static void s_sleep(weft_bridge_t *self)
{
    zmq_pollitem_t items[] = {
        {.fd = weft_node_stop_fd(self->node), .events = ZMQ_POLLIN},
        {.fd = weft_consumer_fd(self->source), .events = ZMQ_POLLIN},
        {.fd = weft_consumer_fd(self->target), .events = ZMQ_POLLIN},
        {.fd = weft_producer_fd(self->producer), .events = ZMQ_POLLIN},
        {.socket = self->router, .events = ZMQ_POLLIN},
    };
    (void) zmq_poll(items, self->router != NULL ? 5 : 4, S_SLEEP_MS);
}

static void s_turn(weft_bridge_t *self)
{
    size_t done = weft_bridge_source_turn(self);
    weft_bridge_target_turn(self);
    done += weft_producer_poll(self->producer, 0);
    weft_bridge_answer(self);
    s_tick(self);
    if (done == 0) s_sleep(self);
}

// What is under way is answered, and noted, if that does not take too long.
static void s_finish(weft_bridge_t *self)
{
    int64_t end_ms = weft_mono_ms() + weft_options_int(self->options, "stop.ms") / 2;
    bool left = self->began && !self->standing_by;
    for (size_t i = 0; i < self->flow_count; i++) weft_bridge_flow_stop(self->flows[i], INT32_MAX, NULL);
    while (left && weft_mono_ms() < end_ms) {
        (void) weft_producer_poll(self->producer, S_SLEEP_MS);
        left = false;
        for (size_t i = 0; i < self->flow_count; i++) left |= self->flows[i]->out_count > 0;
    }
    if (!self->began || self->standing_by) return;
    s_note_all(self);
    int64_t left_ms = end_ms - weft_mono_ms();
    (void) !weft_producer_flush(self->producer, left_ms > 0 ? (int) left_ms : 0);
}

static weft_err_t s_run(void *context, struct weft_error *error)
{
    weft_bridge_t *self = context;
    if (pthread_create(&self->steward, NULL, weft_bridge_steward, self) != 0)
        return weft_node_refuse(error, WEFT_ERR_INTERNAL, "the bridge's second thread could not be started");
    weft_err_t err = WEFT_OK;
    self->began_ms = weft_mono_ms();
    while (err == WEFT_OK && !weft_node_stopping(self->node)) {
        err = s_begin(self, error);
        if (err == WEFT_OK) s_turn(self);
    }
    s_finish(self);
    atomic_store(&self->ending, true);
    weft_admin_wake(self->source_admin);
    weft_admin_wake(self->target_admin);
    pthread_mutex_lock(&self->lock);
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->steward, NULL);
    return err;
}

const struct weft_node_type weft_node_type_bridge = {
    .abi = WEFT_NODE_ABI,
    .name = "bridge",
    .doc = "Copies topics of one cluster into another, each record once.",
    .options = weft_options_bridge,
    .option_count = sizeof weft_options_bridge / sizeof *weft_options_bridge,
    .counters = s_counters,
    .counter_count = WEFT_BRIDGE_COUNTERS,
    .create = s_create,
    .run = s_run,
    .destroy = s_destroy,
    .check = s_check,
};
