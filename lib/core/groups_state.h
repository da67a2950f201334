// SPDX-License-Identifier: MPL-2.0
/**
 * Groups, inside: the state behind weft_groups_t and what its files share. Only lib/core/groups*.c include it.
 *
 * groups.c owns the objects and the lookups, groups_subscription.c what members ask to read, groups_match.c what globs
 * match, groups_apply.c the dispatch and who comes and goes, groups_give.c how partitions move, groups_view.c which topics
 * a group reads, groups_plan.c the target, groups_check.c the invariants, groups_snapshot.c the bytes. Groups with their
 * members, holds and targets are the replicated state; an index and all counts derive from them and are rebuilt with them.
 */
#ifndef WEFT_CORE_GROUPS_STATE_H
#define WEFT_CORE_GROUPS_STATE_H

#include "../base/map.h"
#include "groups.h"

#include <weft_gen/codec.h>
#include <weft_gen/commands.h>
#include <weft_gen/limits.h>
#include <weft_gen/records.h>

#define WEFT_GROUPS_LEVEL 2 // the feature level that has their commands (REPLICATION.md rule 24)

/** One name or glob that members of a group subscribe to. */
struct weft_group_pattern {
    char *text;
    bool glob;
    size_t subscription_count; // that have it
    uint32_t number;           // of a glob: its bit in what was found
    uint64_t *bits;            // of a view, while there is one: positions of topics that a glob matches
    size_t position;           // and of the one that a name names; SIZE_MAX: none
};

/** What members ask to read; those that ask for the same share it. */
struct weft_group_subscription {
    char *text; // the topics, each with a terminator: the key of the map
    size_t text_bytes;
    char **topics; // into it; sorted, none twice
    size_t topic_count;
    uint64_t digest;
    size_t member_count;
    uint32_t number;     // of a snapshot being written
    uint32_t *positions; // of a view: topics that it reads, ascending
    size_t position_count;
};

/** Who holds a partition, and who is to. */
struct weft_group_place {
    struct weft_group_member *holder, *wanted;
};

/** A topic, and the globs that match it. */
struct weft_group_found {
    const struct weft_cluster_topic *topic;
    uint32_t globs;
};

/** Derived of a group. */
struct weft_group_index {
    weft_map_t *ids, *instances; // to members
    weft_map_t *subscriptions;   // text to struct weft_group_subscription
    weft_map_t *patterns;        // text to struct weft_group_pattern
    size_t glob_count, glob_bytes;
    // What globs matched (groups_match.c): of which topics, up to which; lineage 0: nothing was asked yet.
    struct weft_group_found *found;
    size_t found_count, found_capacity;
    uint64_t found_lineage, found_added;
    size_t *kept;       // of weft_groups
    weft_map_t *places; // topic id and partition to struct weft_group_place
};

struct weft_groups {
    weft_codec_t *codec;
    uint64_t index;
    weft_map_t *groups; // name to struct weft_group, in order of creation
    // Derived:
    size_t member_count, place_count, bytes;
    size_t *kept; // topics found by globs, of all groups; on the heap, for groups point to it
    // Of the command being applied:
    const weft_cluster_t *cluster;
    struct weft_group_target *freed; // what nobody holds any more, of one group
    size_t freed_count, freed_capacity;
    struct weft_group_member **touched; // have another assignment
    size_t touched_count, touched_capacity;
    struct weft_group *changed; // has other members or subscriptions
    bool deleted;               // and goes
};

// ---- objects (groups.c)

struct weft_group *weft_groups_group(const weft_groups_t *self, weft_slice_t name); // NULL: none
struct weft_group *weft_groups_add(weft_groups_t *self, weft_slice_t name);
void weft_groups_drop(weft_groups_t *self, struct weft_group **group_p); // without members
struct weft_group_member *weft_group_find(const struct weft_group *group, weft_id_t id);
struct weft_group_member *weft_group_find_instance(const struct weft_group *group, weft_slice_t instance);
// At `position`, which others make room for. `id` and `instance` (nil: none) must be free.
struct weft_group_member *weft_group_member_add(weft_groups_t *self, struct weft_group *group, size_t position,
                                                weft_id_t id, weft_slice_t instance);
// It holds nothing and has no target.
void weft_group_member_drop(weft_groups_t *self, struct weft_group_member *member);
/** What a member says of itself. */
struct weft_group_profile {
    weft_slice_t client, host, rack;
    uint32_t session_ms, release_ms;
    bool exclusive;
};
void weft_group_member_describe(weft_groups_t *self, struct weft_group_member *member,
                                const struct weft_group_profile *profile);
void weft_group_member_name(weft_groups_t *self, struct weft_group_member *member, weft_slice_t instance);
size_t weft_group_profile_bytes(const struct weft_group_profile *profile, weft_slice_t instance);

// ---- places (groups.c)

#define WEFT_GROUP_PLACE_KEY_BYTES 20
struct weft_group_place *weft_group_place(const struct weft_group *group, weft_id_t topic, uint32_t partition);
struct weft_group_place *weft_group_place_make(weft_groups_t *self, struct weft_group *group, weft_id_t topic,
                                               uint32_t partition);
// Forgets it if nobody holds or is to hold it.
void weft_group_place_trim(weft_groups_t *self, struct weft_group *group, weft_id_t topic, uint32_t partition);
int weft_group_place_compare(weft_id_t a_topic, uint32_t a_partition, weft_id_t b_topic, uint32_t b_partition);

// ---- what members ask to read (groups_subscription.c)

// The names and globs are legal and few enough: INVALID_REQUEST, INVALID_TOPIC, INVALID_PATTERN, GROUP_FULL. `group` may
// be NULL: it is to come.
WEFT_MUST_USE weft_err_t weft_group_subscription_check(const struct weft_group *group, const weft_slice_t *topics,
                                                       size_t count, struct weft_error *error);
size_t weft_group_subscription_bytes(const weft_slice_t *topics, size_t count); // at most
void weft_group_subscribe(weft_groups_t *self, struct weft_group_member *member, const weft_slice_t *topics,
                          size_t count);
void weft_group_unsubscribe(weft_groups_t *self, struct weft_group_member *member);
bool weft_group_pattern_matches(const struct weft_group_pattern *pattern, const char *topic);
uint64_t weft_group_hash(uint64_t state, weft_slice_t bytes); // the same on every node, in every version

// ---- what globs match (groups_match.c)

// Sees to it that index->found is as it should be.
void weft_group_match(const struct weft_group *group, const weft_cluster_t *cluster);
bool weft_group_match_has(const struct weft_group *group, const struct weft_cluster_topic *topic);
void weft_group_match_done(const struct weft_group *group); // it is not needed now
void weft_group_match_forget(struct weft_group_index *index);

// ---- how partitions move (groups_give.c)

// Nobody holds it any more: noted, given by weft_groups_settle.
void weft_group_freed(weft_groups_t *self, weft_id_t topic, uint32_t partition);
void weft_group_touch(weft_groups_t *self, struct weft_group_member *member); // its assignment is another now
// All that it holds is free; it has another assignment.
void weft_group_holds_free(weft_groups_t *self, struct weft_group_member *member);
void weft_group_target_clear(weft_groups_t *self, struct weft_group_member *member);
// `to` is to hold what `from` was.
void weft_group_target_pass(struct weft_group_member *from, struct weft_group_member *to);
// What it is to hold and nobody holds is given to it: it was paused, or is new there.
void weft_group_target_ask(weft_groups_t *self, const struct weft_group_member *member);
// Takes `target` (sorted, consumed) and drops what is held and is not in it.
void weft_group_target_set(weft_groups_t *self, struct weft_group_member *member, struct weft_group_target **target_p,
                           size_t count);
void weft_group_hold(weft_groups_t *self, struct weft_group_member *member, struct weft_group_held held);
// Gives what is free to who is to hold it, sorts, sets revisions (G3).
void weft_groups_settle(weft_groups_t *self, struct weft_group *group);
weft_err_t weft_groups_released(weft_groups_t *self, weft_slice_t command, struct weft_error *error);

// ---- which topics a group reads (groups_view.c)

/** Topics of a group by id, and who holds or is to hold which partition. The last view made of a group counts. */
struct weft_group_view {
    const struct weft_cluster_topic **topics;
    size_t topic_count;
    int32_t **owner;    // by topic and partition: position of the member; -1: none
    int32_t *owners;    // behind them
    weft_arena_t arena; // positions
};
void weft_group_view_init(struct weft_group_view *self, const struct weft_group *group, const weft_cluster_t *cluster);
void weft_group_view_fini(struct weft_group_view *self);
// Position of a topic; SIZE_MAX: not in it.
size_t weft_group_view_find(const struct weft_group_view *self, weft_id_t topic);
bool weft_group_view_reads(const struct weft_group_member *member, size_t topic);

weft_err_t weft_groups_assigned(weft_groups_t *self, weft_slice_t command, struct weft_error *error);

// ---- invariants (groups_check.c)

// G1 to G6 of one group, as far as its objects show them: asserted by weft_groups_check, asked of snapshots.
bool weft_group_is_right(const weft_groups_t *self, const struct weft_group *group);

#endif
