// SPDX-License-Identifier: MPL-2.0
/**
 * Groups: the replicated state machine of consumer groups. Applies committed commands in log order; deterministic.
 *
 * It stands beside weft_cluster and is fed from the same log on every coordinator (commands group_*); brokers don't have
 * it. A change of coordinator therefore rebalances nothing. Who is silent, and who waits for an answer, is the
 * coordinator's (coordinator/groups*.c) and is not replicated.
 *
 * How a partition moves (KIP-848, without a barrier):
 *
 *     group_joined, group_left, topics that come, grow or go     the inputs of the target change (weft_groups_inputs)
 *     -> the coordinator works a new target out (weft_groups_plan) and proposes it:         group_assigned
 *     -> who holds what its target lacks is to release it: dropped from its assignment, which has a new revision;
 *        what nobody holds is given to who is to hold it, under a token: the index of the command that gave it
 *     -> the member carries its new assignment out, and says so (heartbeat: revision):       group_released
 *     -> what it dropped is free, and given at once to who is to hold it
 *
 * All others keep what they have meanwhile. A member that is gone frees at once all that it held, but one that is
 * paused keeps its place: its target stays, nobody else is given that, and it is given it again when the instance is
 * back (new tokens; group_joined with `replaces`).
 *
 * A topic that is deleted stays in targets until the next one: what was held of it is then gone at once, for nobody
 * else can be given it (its id never returns), and no release of it is waited for. Internal topics are read only by
 * patterns that begin with "__".
 *
 * A proposal may be applied twice. A second join of a member is a join again; who is none is passed over by
 * group_left; a group that is none is refused UNKNOWN_GROUP by group_deleted; a token is another one.
 *
 * Invariants (weft_groups_check):
 *     G1  a partition of a topic is held by at most one member of a group (dropped ones count until released)
 *     G2  a token is the index of a command, and every giving has one higher than all before
 *     G3  a partition that some target names and nobody holds does not exist after a command, but for paused members
 *     G4  revisions only grow; released <= revision; what is dropped carries a revision above `released`
 *     G5  instance names are unique in a group; a paused member has one, and holds nothing
 *     G6  a partition is in at most one target of a group; what is held and not dropped is in the holder's target
 * and once the target is as it should be (digest equal to weft_groups_inputs; weft_groups_check_target):
 *     G7  targets name only topics that exist and that the member subscribes to, and every partition that somebody
 *         subscribes to is in a target
 */
#ifndef WEFT_CORE_GROUPS_H
#define WEFT_CORE_GROUPS_H

#include "assignor.h"
#include "cluster.h"

#define WEFT_GROUP_NAME_BYTES_MAX 255
#define WEFT_GROUPS_MAX 100000            // in a cluster
#define WEFT_GROUPS_MEMBERS_MAX 200000    // in a cluster
#define WEFT_GROUPS_PLACES_MAX 4000000    // partitions held or targeted, in all groups together
#define WEFT_GROUPS_BYTES_MAX (64u << 20) // of names, subscriptions and what members say of themselves
#define WEFT_GROUP_GLOBS_MAX 32           // different ones in a group
#define WEFT_GROUP_GLOB_BYTES_MAX 1024    // of them together: each is matched against every topic of the cluster
#define WEFT_GROUP_SUBSCRIPTIONS_MAX 256  // different ones in a group
#define WEFT_GROUP_TOPICS_MAX 256         // of a subscription
#define WEFT_GROUP_MEMBERS_MAX 100000     // of a group, whatever the setting group.members says
#define WEFT_GROUP_MEMBERS_DEFAULT 10000  // unless that says otherwise

struct weft_group_held {
    weft_id_t topic;
    uint32_t partition;
    uint64_t token;
    uint64_t dropped; // revision that dropped it; 0: it is in the assignment
};

struct weft_group_target {
    weft_id_t topic;
    uint32_t partition;
};

struct weft_group_member {
    weft_id_t id;
    uint64_t epoch;    // index of the command by which it joined
    uint64_t revision; // index of the command that changed its assignment last
    uint64_t released; // revision that it carried out
    char *instance;    // "" if none
    bool paused;
    char **topics; // names and globs, sorted
    size_t topic_count;
    char *client, *host, *rack;
    uint32_t session_ms, release_ms;
    bool exclusive;
    struct weft_group_held *holds; // sorted by topic, partition
    size_t hold_count, hold_capacity;
    size_t dropped_count;             // of them
    struct weft_group_target *target; // sorted
    size_t target_count;
    // What follows is for lib/core/groups*.c.
    struct weft_group *group;
    size_t position;    // in group->members
    size_t fresh_count; // at the end of holds: not sorted in yet
    bool touched;
    struct weft_group_subscription *subscription; // owns `topics`
};

struct weft_group {
    char *name;
    uint64_t epoch;  // of the target: index of its command; 0: none yet
    uint64_t digest; // what the target was worked out from
    enum weft_assignor assignor;
    int64_t empty_since_ms;             // Unix time; -1: it has members
    struct weft_group_member **members; // in order of joining; who takes a static place stands where the other stood
    size_t member_count;
    struct weft_group_index *index; // for lib/core/groups*.c
};

typedef struct weft_groups weft_groups_t;

weft_groups_t *weft_groups_new(void);
void weft_groups_destroy(weft_groups_t **self_p);

/**
 * Told after a command took effect: `member` has another assignment, or (NULL) the group's members or subscriptions
 * changed. Of a group that is deleted it is the last that is heard.
 */
typedef void weft_groups_watch_fn(void *context, const struct weft_group *group,
                                  const struct weft_group_member *member);

// True for the commands that are for weft_groups_apply; all others are the cluster's.
bool weft_groups_command(weft_slice_t command);
/**
 * Applies the group command of log index `index`. The result is the command's own error, for its proposer:
 * UNKNOWN_GROUP, UNKNOWN_MEMBER, FENCED_MEMBER, INSTANCE_IN_USE, GROUP_NOT_EMPTY, GROUP_FULL, STALE_EPOCH, INVALID_GROUP,
 * INVALID_PATTERN, INVALID_TOPIC, INVALID_REQUEST, UNSUPPORTED_ASSIGNOR, BAD_FRAME. Refused, nothing changed but the index.
 * `cluster` is as of the same index.
 *
 * group_joined: a member that is known joins again (new epoch; what it held is free). With an instance whose member is
 * paused, or is named by `replaces`, it takes that one's place and target; `replaces` of nobody is passed over. No topics:
 * as before, else refused. `keeps`: subscription and assignor (the last told counts for the group) alone are taken.
 * group_left: of a group or members that are none, and `paused` of those that are paused, passes over; `paused` of a
 * member without an instance is a leave.
 */
weft_err_t weft_groups_apply(weft_groups_t *self, const weft_cluster_t *cluster, uint64_t index, weft_slice_t command,
                             weft_groups_watch_fn *watch, void *context, struct weft_error *error);
uint64_t weft_groups_index(const weft_groups_t *self);

void weft_groups_encode(const weft_groups_t *self, weft_buf_t *out);
// Replaces the state; on BAD_FRAME it is left as it was.
WEFT_MUST_USE weft_err_t weft_groups_decode(weft_groups_t *self, weft_slice_t snapshot);
uint32_t weft_groups_digest(const weft_groups_t *self); // CRC-32C of the snapshot

const struct weft_group *weft_groups_find(const weft_groups_t *self, weft_slice_t name); // NULL: none
const struct weft_group *weft_groups_next(const weft_groups_t *self, size_t *cursor);    // in order of creation
size_t weft_groups_count(const weft_groups_t *self);
const struct weft_group_member *weft_group_member(const struct weft_group *group, weft_id_t id);
const struct weft_group_member *weft_group_instance(const struct weft_group *group, weft_slice_t instance);
// What keeps a group from rest: "empty", "assigning", "reconciling", "stable".
const char *weft_group_state(const struct weft_group *group, const weft_cluster_t *cluster);

// A legal group name; a legal name or glob of a subscription. INVALID_GROUP, INVALID_PATTERN, INVALID_TOPIC.
WEFT_MUST_USE weft_err_t weft_group_name_check(weft_slice_t name, struct weft_error *error);
WEFT_MUST_USE weft_err_t weft_group_pattern_check(weft_slice_t pattern, struct weft_error *error);

// Does a member subscribe to a topic of this name? O(patterns): asked before anything is worked out for a new topic.
bool weft_group_reads(const struct weft_group *group, weft_slice_t topic);

// Digest of all that a target depends on: the assignor, members (instance, or else id) and their subscriptions, the topics
// that these match and their partitions. Equal to group->digest: the target is as it should be. Racks are not in it: who
// has a partition keeps it anyway. 0: a group without members.
uint64_t weft_groups_inputs(const struct weft_group *group, const weft_cluster_t *cluster);
// A group_assigned command with the group's new target; nothing in `out` if the inputs are those of the last one.
void weft_groups_plan(const struct weft_group *group, const weft_cluster_t *cluster, weft_buf_t *out);

// What these two look at, at most, for who spreads them over turns: a unit is 10 to 50 ns.
uint64_t weft_groups_work(const struct weft_group *group, const weft_cluster_t *cluster);
uint64_t weft_group_reads_work(const struct weft_group *group); // of weft_group_reads

void weft_groups_check(const weft_groups_t *self);                                       // walks everything
void weft_groups_check_target(const weft_groups_t *self, const weft_cluster_t *cluster); // G7

#endif
