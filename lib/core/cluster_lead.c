// SPDX-License-Identifier: MPL-2.0
// Who leads a partition and who is in sync: the rules that every change of a partition ends with (cluster.h, "Who may
// lead").
//
// A command writes what it says into the partition; s_settle then brings it to what the rules ask. Sets are bits over
// the replicas: with at most 16 of them a rule is one line of masks. A leader and its in-sync set are alive and sure;
// who leaves stays eligible while the set is below min_insync, for nothing is committed without it then. If nobody is
// left that may lead, nothing shrinks any more: in-sync and eligible members are the frozen last set. Preferred order is
// the order of the replicas. Walking all partitions costs about 0.1 ms for ten thousand: brokers come and go rarely
// enough for no index beside it.
#include "cluster_state.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <stdlib.h>
#include <string.h>

// ---- sets

bool weft_partition_has(const int32_t *ids, uint8_t count, int32_t id)
{
    for (uint8_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

uint16_t weft_partition_bit(const struct weft_cluster_partition *partition, int32_t id)
{
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (partition->replicas[i] == id) return (uint16_t) (1u << i);
    return 0;
}

uint16_t weft_partition_bits(const struct weft_cluster_partition *partition, const int32_t *ids, size_t count)
{
    uint16_t bits = 0;
    for (size_t i = 0; i < count; i++) bits |= weft_partition_bit(partition, ids[i]);
    return bits;
}

uint16_t weft_partition_isr_bits(const struct weft_cluster_partition *partition)
{
    return weft_partition_bits(partition, partition->isr, partition->isr_count);
}

uint32_t weft_partition_count(uint16_t bits)
{
    uint32_t count = 0;
    for (; bits; bits &= (uint16_t) (bits - 1)) count++;
    return count;
}

// Of the first replica in the set, 0 if it is empty.
static uint16_t s_first(uint16_t bits)
{
    return (uint16_t) (bits & -bits);
}

static int32_t s_broker_of(const struct weft_cluster_partition *partition, uint16_t bit)
{
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (bit == 1u << i) return partition->replicas[i];
    return -1;
}

void weft_partition_isr_set(struct weft_cluster_partition *partition, uint16_t bits)
{
    int32_t isr[WEFT_REPLICAS_MAX] = {0};
    uint8_t count = 0;
    for (uint8_t i = 0; i < partition->isr_count; i++) {
        uint16_t bit = weft_partition_bit(partition, partition->isr[i]);
        if (bits & bit) isr[count++] = partition->isr[i];
        bits &= (uint16_t) ~bit;
    }
    for (; bits; bits &= (uint16_t) (bits - 1)) isr[count++] = s_broker_of(partition, s_first(bits));
    memcpy(partition->isr, isr, sizeof isr);
    partition->isr_count = count;
}

// ---- the rules

// What the brokers are now, as sets.
struct s_view {
    uint16_t alive;
    uint16_t sure;  // alive, and known to have what it had
    uint16_t well;  // alive, not sick
    uint16_t ready; // alive, not sick nor draining
};

static struct s_view s_look(const weft_cluster_t *self, const struct weft_cluster_partition *partition)
{
    struct s_view view = {0};
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker_find(self, partition->replicas[i]);
        uint16_t bit = (uint16_t) (1u << i);
        if (!broker->alive) continue;
        view.alive |= bit;
        if (!(partition->unsure & bit)) view.sure |= bit;
        if (!broker->sick) view.well |= bit;
        if (!broker->sick && !broker->draining) view.ready |= bit;
    }
    return view;
}

// The first of the set in preferred order: one that may lead, else one that is well, else any.
static uint16_t s_choose(const struct s_view *view, uint16_t bits)
{
    if (bits & view->ready) return s_first(bits & view->ready);
    if (bits & view->well) return s_first(bits & view->well);
    return s_first(bits);
}

static void s_settle(weft_cluster_t *self, const struct weft_cluster_topic *topic,
                     struct weft_cluster_partition *partition, int32_t restarted)
{
    struct s_view view = s_look(self, partition);
    uint16_t isr = weft_partition_isr_bits(partition);
    uint16_t in = isr & view.sure;
    if (in & view.well) in &= view.well; // C8
    if (!in) in = s_choose(&view, partition->eligible & view.sure);
    if (!in && weft_mutated("election_ignores_the_in_sync_set")) in = s_first(view.alive);
    if (!in) { // the last of them are lost: frozen
        weft_cluster_partition_lead(self, partition, -1);
        return;
    }
    uint16_t out = (uint16_t) ((isr | partition->eligible) & ~in & ~partition->unsure);
    bool committing = weft_partition_count(in) >= weft_cluster_min_insync(topic, partition);
    if (weft_mutated("eligible_while_committing")) committing = false;
    partition->eligible = committing ? 0 : out; // C7
    partition->unsure = 0;
    weft_partition_isr_set(partition, in); // C3
    uint16_t leader = weft_partition_bit(partition, partition->leader) & in;
    uint16_t others = (uint16_t) (in & ~weft_partition_bit(partition, restarted));
    if (leader && partition->leader == restarted) leader = others & view.ready ? s_choose(&view, others) : leader;
    if (!leader) leader = s_choose(&view, in);
    weft_cluster_partition_lead(self, partition, s_broker_of(partition, leader));
}

// A move is done once all of its target are in sync (C9).
static void s_complete(weft_cluster_t *self, const struct weft_cluster_topic *topic,
                       struct weft_cluster_partition *partition)
{
    struct weft_cluster_moving *moving = partition->moving;
    if (!moving || partition->leader < 0) return;
    uint16_t target = weft_partition_bits(partition, moving->target, moving->target_count);
    if (target & ~weft_partition_isr_bits(partition)) return;
    partition->moving = NULL;
    weft_cluster_partition_hold(self, partition, moving->target, moving->target_count);
    free(moving);
    s_settle(self, topic, partition, -1);
}

// ---- the parts of a partition

void weft_cluster_partition_lead(weft_cluster_t *self, struct weft_cluster_partition *partition, int32_t leader)
{
    if (leader == partition->leader) return;
    struct weft_cluster_broker *before = weft_cluster_broker_find(self, partition->leader);
    struct weft_cluster_broker *after = weft_cluster_broker_find(self, leader);
    weft_assert(leader == -1 || after);
    if (before) before->led_count--;
    if (after) after->led_count++;
    partition->leader = leader;
}

uint16_t weft_partition_remap(const struct weft_cluster_partition *from, uint16_t bits,
                              const struct weft_cluster_partition *to)
{
    uint16_t mapped = 0;
    for (; bits; bits &= (uint16_t) (bits - 1)) mapped |= weft_partition_bit(to, s_broker_of(from, s_first(bits)));
    return mapped;
}

void weft_cluster_partition_hold(weft_cluster_t *self, struct weft_cluster_partition *partition,
                                 const int32_t *replicas, size_t count)
{
    weft_assert(count >= 1 && count <= WEFT_REPLICAS_MAX);
    struct weft_cluster_partition before = *partition;
    memset(partition->replicas, 0, sizeof partition->replicas);
    memcpy(partition->replicas, replicas, count * sizeof *replicas);
    partition->replica_count = (uint8_t) count;
    for (uint8_t i = 0; i < before.replica_count; i++)
        weft_cluster_broker_find(self, before.replicas[i])->stored_count--;
    for (size_t i = 0; i < count; i++) weft_cluster_broker_find(self, replicas[i])->stored_count++;
    partition->eligible = weft_partition_remap(&before, before.eligible, partition);
    partition->unsure = weft_partition_remap(&before, before.unsure, partition);
    partition->leavers = weft_partition_remap(&before, before.leavers, partition);
    weft_partition_isr_set(partition, weft_partition_isr_bits(partition));
}

void weft_cluster_partition_begin(weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                  struct weft_cluster_partition *partition, const int32_t *replicas, size_t count)
{
    weft_cluster_partition_hold(self, partition, replicas, count);
    weft_partition_isr_set(partition, (uint16_t) ((1u << count) - 1)); // all are empty, so all are equal
    s_settle(self, topic, partition, -1);
}

void weft_cluster_partition_end(weft_cluster_t *self, struct weft_cluster_partition *partition)
{
    weft_cluster_partition_lead(self, partition, -1);
    for (uint8_t i = 0; i < partition->replica_count; i++)
        weft_cluster_broker_find(self, partition->replicas[i])->stored_count--;
    free(partition->moving);
    partition->moving = NULL;
}

// ---- edits

static int32_t s_epoch_next(int32_t epoch)
{
    return epoch < INT32_MAX ? epoch + 1 : epoch; // decoded epochs may be anything; no overflow
}

struct weft_cluster_edit weft_cluster_edit_begin(struct weft_cluster_topic *topic, uint32_t number)
{
    weft_assert(number < topic->partition_count);
    struct weft_cluster_partition *partition = &topic->partitions[number];
    return (struct weft_cluster_edit){.topic = topic, .partition = partition, .before = *partition, .restarted = -1};
}

weft_err_t weft_cluster_edit_find(weft_cluster_t *self, weft_id_t id, uint32_t partition, int32_t partition_epoch,
                                  struct weft_cluster_edit *out, struct weft_error *error)
{
    struct weft_cluster_topic *topic = weft_cluster_topic_find(self, id);
    if (!topic || partition >= topic->partition_count)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC, "no topic of that id has a partition %u", partition);
    int32_t now = topic->partitions[partition].partition_epoch;
    if (now != partition_epoch)
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH,
                              "partition %u of '%.200s' is at partition epoch %d, the change was decided on %d",
                              partition, topic->name, now, partition_epoch);
    *out = weft_cluster_edit_begin(topic, partition);
    return WEFT_OK;
}

static bool s_differs(const struct weft_cluster_partition *a, const struct weft_cluster_partition *b)
{
    return a->leader != b->leader || a->leader_epoch != b->leader_epoch || a->replica_count != b->replica_count ||
           a->isr_count != b->isr_count || a->eligible != b->eligible || a->unsure != b->unsure ||
           memcmp(a->isr, b->isr, sizeof a->isr) != 0 || memcmp(a->replicas, b->replicas, sizeof a->replicas) != 0;
}

void weft_cluster_edit_end(weft_cluster_t *self, struct weft_cluster_edit *edit)
{
    struct weft_cluster_partition *partition = edit->partition;
    s_settle(self, edit->topic, partition, edit->restarted);
    s_complete(self, edit->topic, partition);
    weft_cluster_leavers_settle(self, edit);
    bool again = edit->restarted >= 0 && edit->before.leader == edit->restarted; // C5
    // Who gives up its replica deletes it, but may hear of that late, when it is a replica again: what it reported of the
    // old one must not count for the new one.
    uint16_t all = (uint16_t) ((1u << edit->before.replica_count) - 1);
    uint16_t kept = weft_partition_remap(&edit->before, all, partition);
    again = again || weft_partition_count(kept) < edit->before.replica_count;
    if ((partition->leader != edit->before.leader || again) && !weft_mutated("leads_on_in_the_old_epoch"))
        partition->leader_epoch = s_epoch_next(partition->leader_epoch);
    if (!edit->changed && !s_differs(partition, &edit->before)) return;
    partition->partition_epoch = s_epoch_next(partition->partition_epoch);
    weft_cluster_note(self, WEFT_CLUSTER_PARTITION, edit->topic->id, (uint32_t) (partition - edit->topic->partitions),
                      partition->leader);
}

static void s_settle_topic(weft_cluster_t *self, struct weft_cluster_topic *topic, int32_t broker)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        if (broker >= 0 && !weft_partition_bit(&topic->partitions[i], broker)) continue;
        struct weft_cluster_edit edit = weft_cluster_edit_begin(topic, i);
        weft_cluster_edit_end(self, &edit);
    }
}

void weft_cluster_settle(weft_cluster_t *self, struct weft_cluster_topic *topic, int32_t broker)
{
    void *value = topic;
    if (topic) s_settle_topic(self, topic, broker);
    for (size_t cursor = 0; !topic && weft_map_next(self->topics, &cursor, NULL, &value);)
        s_settle_topic(self, value, broker);
}
