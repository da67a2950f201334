// SPDX-License-Identifier: MPL-2.0
/**
 * What the bridge's files share.
 *
 * bridge.c: the type, its loop, health. source.c: what is read, and whose records must not be copied back. flow.c: one
 * partition's way. target.c: what is read in the target: notes of bridges, and the tail of a partition that is looked
 * through. notes.c: what is noted there. steward.c, groups.c: the second thread, which makes topics, carries their
 * settings over and translates groups' offsets, because its calls block. answer.c: questions for offsets.
 *
 * The steward shares with the loop what stands behind `lock`: the table of topics and the maps of offsets.
 */
#ifndef WEFT_BRIDGE_INNER_H
#define WEFT_BRIDGE_INNER_H

#include "../common/clock.h"
#include "../common/unread.h"
#include "epochs.h"
#include "map.h"
#include "resume.h"
#include "rewrite.h"
#include "settings.h"

#include "../../lib/base/map.h"
#include "../../lib/base/rand.h"
#include "../../lib/wire/codec.h"
#include <weft/admin.h>
#include <weft/consumer.h>
#include <weft/node_type.h>
#include <weft/producer.h>

#include <pthread.h>
#include <stdatomic.h>

#define WEFT_BRIDGE_ORIGINS_MAX 64
#define WEFT_BRIDGE_REASON_BYTES 320
#define WEFT_BRIDGE_ANSWERS_MAX 64 // that one asker need not have read; questions likewise

enum weft_bridge_counter {
    WEFT_BRIDGE_RECORDS,
    WEFT_BRIDGE_BYTES,
    WEFT_BRIDGE_BATCHES,
    WEFT_BRIDGE_REWRITTEN,
    WEFT_BRIDGE_MARKS,
    WEFT_BRIDGE_DUPLICATES,
    WEFT_BRIDGE_LOOPED,
    WEFT_BRIDGE_GONE,
    WEFT_BRIDGE_DIVERGED,
    WEFT_BRIDGE_LOOKS,
    WEFT_BRIDGE_RETRIES,
    WEFT_BRIDGE_NOTES,
    WEFT_BRIDGE_NOTES_FAILED,
    WEFT_BRIDGE_TOPICS_MADE,
    WEFT_BRIDGE_SETTINGS,
    WEFT_BRIDGE_SETTINGS_LEFT,
    WEFT_BRIDGE_SETTINGS_FAILED,
    WEFT_BRIDGE_GROUPS,
    WEFT_BRIDGE_GROUPS_SKIPPED,
    WEFT_BRIDGE_ANSWERS,
    WEFT_BRIDGE_BAD_QUESTIONS,
    WEFT_BRIDGE_PARTITIONS,
    WEFT_BRIDGE_PARTITIONS_COPYING,
    WEFT_BRIDGE_LAG,
    WEFT_BRIDGE_COUNTERS
};

enum weft_bridge_topic_state { WEFT_BRIDGE_TOPIC_NEW, WEFT_BRIDGE_TOPIC_WANTED, WEFT_BRIDGE_TOPIC_READY };

/** A topic of the source. Behind the lock, but name and target_name, which never change. */
struct weft_bridge_topic {
    char *name, *target_name;
    enum weft_bridge_topic_state state;
    weft_id_t source_id, target_id;
    uint32_t partitions; // of the target's
    bool looped;         // the source has it from the target: it is not made there (written by the loop alone)
    uint32_t tries;
    int64_t retry_ms, seen_ms;
    char reason[WEFT_BRIDGE_REASON_BYTES]; // why it is not ready
    // The source's settings as they were last carried over: a bridge_settings record; empty: never.
    weft_buf_t carried;
    bool carried_known; // read from its note, or ours
    bool carried_moved; // to be noted
};

/** What became of a group's offset in one partition. */
struct weft_bridge_translated {
    char *group, *topic, *target_topic, *reason; // reason NULL: it is committed there
    int32_t partition;
    int64_t offset, target_offset, committed; // -1: none
    bool exact;
};

/** Clusters whose records a session may bring. */
struct weft_bridge_origins {
    weft_id_t ids[WEFT_BRIDGE_ORIGINS_MAX];
    size_t count;
};
bool weft_bridge_origins_has(const struct weft_bridge_origins *self, weft_id_t id);
bool weft_bridge_origins_add(struct weft_bridge_origins *self, weft_id_t id); // false: it is full

enum weft_bridge_state {
    WEFT_BRIDGE_WAITING, // for its topic in the target, or for its turn
    WEFT_BRIDGE_LOOKING, // through the target's tail
    WEFT_BRIDGE_NOTING,  // its first note is not answered yet
    WEFT_BRIDGE_COPYING,
    WEFT_BRIDGE_ASKING,   // a bridge's session that is not known yet wrote the next batch
    WEFT_BRIDGE_DRAINING, // something went wrong: what is under way is waited for, then it looks again
    WEFT_BRIDGE_STANDING  // until retry_ms
};

typedef struct weft_bridge weft_bridge_t;

/** One partition. */
struct weft_bridge_flow {
    weft_bridge_t *bridge;
    struct weft_bridge_topic *topic;
    int32_t partition;
    enum weft_bridge_state state;
    bool late;          // appeared while the bridge ran: copied from its first record
    bool gone;          // the source has it no more
    int64_t source_end; // as last heard; -1: not yet
    weft_id_t source_id, target_id;
    int64_t producer_id;
    weft_topic_t *target;
    struct weft_bridge_origins origins;
    struct weft_bridge_resume resume;
    weft_bridge_map_t map; // behind the lock
    bool diverged;         // the source said that it goes on below what was sent
    int64_t lost_from;     // it has lost what it had from there on, and the next round reads on there; -1: nothing
    struct weft_bridge_epochs epochs;
    int16_t planned; // the epoch of our session for which it was noted that they hold; -1: none, or not as they are now
    size_t out_count, out_bytes, out_notes;
    int64_t heard_ms; // of the last answer, or since when one is waited for
    size_t batch_bytes_max;
    bool paused;
    int64_t look_at;   // the target was looked at up to there
    int64_t looked_ms; // when it was
    // Trouble.
    uint32_t tries;
    int64_t retry_ms;
    int64_t asking_id, asking_at; // whose batch, and where
    char reason[WEFT_BRIDGE_REASON_BYTES];
    // Notes.
    bool known; // place and origins were read from its note
    bool noted; // by this run, as it is
    bool moved;
    uint32_t pages_noted;
};

/** What is under way in the producer: its opaque. */
struct weft_bridge_sent {
    struct weft_bridge_flow *flow;   // NULL: a claim, or
    struct weft_bridge_topic *topic; // its settings
    bool is_note, first_note;
    struct weft_bridge_batch batch;
    size_t bytes;
};

struct weft_bridge {
    weft_hosted_node_t *node;
    const weft_options_t *options;
    const char *name;
    const char *prefix;
    const char *kept_topic;
    char **topics, **except, **groups;
    char **source_settings, **target_settings, **producer_settings;
    size_t partition_bytes, producer_bytes;
    int64_t checkpoint_ms, refresh_ms, groups_ms, standby_ms;
    // the loop's own
    weft_consumer_t *source, *target;
    weft_producer_t *producer;
    void *router;
    weft_unread_t *unread;           // answers
    weft_topic_t *kept;              // handle of kept_topic
    struct weft_bridge_flow **flows; // the list itself grows behind the lock
    size_t flow_count;
    weft_map_t *by_place;            // topic name, NUL, number -> flow
    struct weft_bridge_flow *latest; // of by_place
    weft_bridge_rewrite_t rewrite;
    weft_buf_t scratch, key, value;
    weft_codec_t codec;
    weft_id_t source_cluster, target_cluster; // once known
    bool began;                               // both are
    // the source's bridges
    weft_map_t *sessions; // producer id -> struct weft_bridge_session
    weft_map_t *copied;   // topic name -> struct weft_bridge_origins: of whose records it holds copies
    bool sessions_read;
    bool sessions_behind; // the source's notes can't be read to their end now
    // notes in the target
    weft_map_t *notes; // key -> weft_buf_t, the value
    bool notes_read, kept_assigned;
    int64_t notes_next;
    bool assign_due;
    // who copies
    weft_id_t instance;
    uint64_t term;
    bool claimed, standing_by;
    bool claim_out;
    int64_t claim_ms, other_ms; // last sent; last heard of another
    weft_id_t claimant;         // the other run that had the highest term, zero: none
    uint64_t claimant_term;
    int64_t note_ms, tick_ms, discovered_ms;
    int64_t trouble_ms; // since when something is wrong; -1: nothing is
    bool trouble_told;
    // behind the lock
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct weft_bridge_topic **table;
    size_t table_count;
    weft_id_t told_source, told_target;
    bool kept_ready, source_unbridged;
    struct weft_bridge_translated *translated; // the last time
    size_t translated_count;
    char steward_reason[WEFT_BRIDGE_REASON_BYTES]; // "": nothing is wrong
    weft_err_t fatal;
    char fatal_text[WEFT_BRIDGE_REASON_BYTES];
    // the steward
    pthread_t steward;
    bool steward_runs;
    atomic_bool ending;
    weft_admin_t *source_admin, *target_admin;
    int64_t began_ms;
};

/** A session that another bridge has in the source. */
struct weft_bridge_session {
    struct weft_bridge_origins origins;
    bool plain; // it only looks like one
};

// source.c
WEFT_MUST_USE weft_err_t weft_bridge_source_open(weft_bridge_t *self, struct weft_error *error);
size_t weft_bridge_source_turn(weft_bridge_t *self); // batches taken
void weft_bridge_source_tick(weft_bridge_t *self);
bool weft_bridge_is_looped(weft_bridge_t *self, const char *topic); // it holds copies of the target's
// What comes of a topic that bridges write to came from there. False: nothing that was not known.
bool weft_bridge_add_origins(struct weft_bridge_flow *flow);
void weft_bridge_sessions_fini(weft_bridge_t *self);

// flow.c
struct weft_bridge_flow *weft_bridge_flow_find(weft_bridge_t *self, const char *topic, int32_t partition);
struct weft_bridge_flow *weft_bridge_flow_new(weft_bridge_t *self, struct weft_bridge_topic *topic, int32_t partition);
void weft_bridge_flow_free(struct weft_bridge_flow **flow_p);
void weft_bridge_flow_tick(struct weft_bridge_flow *flow, int64_t now_ms);
void weft_bridge_flow_batch(struct weft_bridge_flow *flow, const struct weft_batch_view *view);
void weft_bridge_flow_met(struct weft_bridge_flow *flow, const struct weft_batch_view *view); // in the target
void weft_bridge_flow_looked(struct weft_bridge_flow *flow);                                  // to the end
void weft_bridge_flow_begin_anew(struct weft_bridge_flow *flow);
void weft_bridge_flow_lost(struct weft_bridge_flow *flow, int64_t from); // the source has lost it
void weft_bridge_flow_stop(struct weft_bridge_flow *flow, int64_t wait_ms, const char *reason); // drains, looks again
void weft_bridge_flow_pace(struct weft_bridge_flow *flow); // pauses or resumes its reading
void weft_bridge_flow_session_known(weft_bridge_t *self, int64_t producer_id);
const char *weft_bridge_state_name(const struct weft_bridge_flow *flow);
void weft_bridge_reported(void *context, const struct weft_batch_report *report);

// target.c
void weft_bridge_target_turn(weft_bridge_t *self);

// notes.c
void weft_bridge_note_key(weft_bridge_t *self, const struct weft_bridge_flow *flow, int page); // page -1: the place
bool weft_bridge_note_load(struct weft_bridge_flow *flow);                                     // false: there is none
bool weft_bridge_note_write(struct weft_bridge_flow *flow); // false: it could not be sent now
void weft_bridge_claim_write(weft_bridge_t *self);
void weft_bridge_settings_load(weft_bridge_t *self, struct weft_bridge_topic *topic); // locked by the caller
bool weft_bridge_settings_note(weft_bridge_t *self, struct weft_bridge_topic *topic); // false: it could not be sent now
void weft_bridge_note_heard(weft_bridge_t *self, weft_slice_t key, weft_slice_t value);
void weft_bridge_notes_fini(weft_bridge_t *self);

// steward.c
void *weft_bridge_steward(void *context);
struct weft_bridge_topic *weft_bridge_topic_get(weft_bridge_t *self,
                                                const char *name); // makes it; locked by the caller

// carry.c
void weft_bridge_carry(weft_bridge_t *self, struct weft_bridge_topic *topic, const weft_topic_config_t *source);

// groups.c
weft_err_t weft_bridge_groups(weft_bridge_t *self);
void weft_bridge_translated_free(struct weft_bridge_translated *list, size_t count);

// answer.c
void weft_bridge_answer(weft_bridge_t *self);

#endif
