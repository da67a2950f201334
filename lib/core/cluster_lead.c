// SPDX-License-Identifier: MPL-2.0
// Who leads a partition and who is in sync, when brokers come and go.
//
// An in-sync set never becomes empty: the last member stays in it when it is lost (KIP-966's last standing), and
// only it may lead again. While a partition has a leader, every in-sync member is alive. A leader never goes on
// across a start: a new incarnation is a new leader epoch (REPLICATION.md rule 2), and after an unclean stop it
// leaves the in-sync sets that have other live members first. Preferred order is the order of the replicas. Walking
// all partitions costs about 0.1 ms for ten thousand: brokers come and go rarely enough for no index beside it.
#include "cluster_state.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <string.h>

bool weft_partition_has(const int32_t *ids, uint8_t count, int32_t id)
{
    for (uint8_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static bool s_alive(const weft_cluster_t *self, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker_find(self, id);
    return broker && broker->alive;
}

static int32_t s_epoch_next(int32_t epoch)
{
    return epoch < INT32_MAX ? epoch + 1 : epoch; // decoded epochs may be anything; no overflow
}

void weft_cluster_partition_lead(weft_cluster_t *self, struct weft_cluster_partition *partition, int32_t leader)
{
    struct weft_cluster_broker *before = weft_cluster_broker_find(self, partition->leader);
    struct weft_cluster_broker *after = weft_cluster_broker_find(self, leader);
    weft_assert(leader == -1 || after);
    if (before) before->led_count--;
    if (after) after->led_count++;
    partition->leader = leader;
}

// The first replica that is in sync and alive, -1 if there is none.
static int32_t s_candidate(const weft_cluster_t *self, const struct weft_cluster_partition *partition)
{
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        if (weft_partition_has(partition->isr, partition->isr_count, id) && s_alive(self, id)) return id;
    }
    return -1;
}

// Takes a member out; false if it is none or the last.
static bool s_isr_remove(struct weft_cluster_partition *partition, int32_t id)
{
    if (partition->isr_count <= 1) return false;
    for (uint8_t i = 0; i < partition->isr_count; i++) {
        if (partition->isr[i] != id) continue;
        memmove(&partition->isr[i], &partition->isr[i + 1],
                (size_t) (partition->isr_count - i - 1) * sizeof partition->isr[0]);
        partition->isr[--partition->isr_count] = 0;
        return true;
    }
    return false;
}

// Leaves only live members, if there are any.
static void s_isr_keep_alive(const weft_cluster_t *self, struct weft_cluster_partition *partition)
{
    if (s_candidate(self, partition) < 0) return;
    for (uint8_t i = partition->isr_count; i > 0; i--)
        if (!s_alive(self, partition->isr[i - 1])) (void) s_isr_remove(partition, partition->isr[i - 1]);
}

void weft_cluster_partition_begin(weft_cluster_t *self, struct weft_cluster_partition *partition,
                                  const int32_t *replicas, size_t count)
{
    weft_assert(count >= 1 && count <= WEFT_REPLICAS_MAX);
    partition->replica_count = partition->isr_count = (uint8_t) count;
    for (size_t i = 0; i < count; i++) {
        partition->replicas[i] = partition->isr[i] = replicas[i];
        weft_cluster_broker_find(self, replicas[i])->stored_count++;
    }
    s_isr_keep_alive(self, partition); // none alive: all are equal, for all are empty
    weft_cluster_partition_lead(self, partition, s_candidate(self, partition));
}

void weft_cluster_partition_end(weft_cluster_t *self, struct weft_cluster_partition *partition)
{
    weft_cluster_partition_lead(self, partition, -1);
    for (uint8_t i = 0; i < partition->replica_count; i++)
        weft_cluster_broker_find(self, partition->replicas[i])->stored_count--;
}

// Chooses a leader anew, in a new epoch.
static void s_elect(weft_cluster_t *self, struct weft_cluster_partition *partition)
{
    s_isr_keep_alive(self, partition);
    weft_cluster_partition_lead(self, partition, s_candidate(self, partition));
    if (weft_mutated("leads_on_in_the_old_epoch")) return;
    partition->leader_epoch = s_epoch_next(partition->leader_epoch);
}

// ---- a broker comes

// What a broker's start does to one partition; true if it changed. `restarted`: its incarnation is new.
static bool s_on_registered(weft_cluster_t *self, struct weft_cluster_partition *partition, int32_t id, bool restarted,
                            bool clean)
{
    if (!weft_partition_has(partition->isr, partition->isr_count, id)) return false;
    bool led = partition->leader == id;
    bool left = false;
    if (restarted && !clean) {
        for (uint8_t i = 0; i < partition->isr_count && !left; i++)
            left = partition->isr[i] != id && s_alive(self, partition->isr[i]);
        if (left) left = s_isr_remove(partition, id);
    }
    if ((led && restarted) || partition->leader == -1)
        s_elect(self, partition); // C5
    else if (!left)
        return false;
    return true;
}

static void s_each_partition(weft_cluster_t *self, int32_t id,
                             bool (*change)(weft_cluster_t *, struct weft_cluster_partition *, int32_t, bool, bool),
                             bool a, bool b)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->topics, &cursor, NULL, &value);) {
        struct weft_cluster_topic *topic = value;
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            struct weft_cluster_partition *partition = &topic->partitions[i];
            if (!change(self, partition, id, a, b)) continue;
            partition->partition_epoch = s_epoch_next(partition->partition_epoch);
            weft_cluster_note(self, WEFT_CLUSTER_PARTITION, topic->id, i, id);
        }
    }
}

weft_err_t weft_cluster_broker_registered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_registered_command it;
    weft_err_t err = weft_broker_registered_command_decode(self->codec, command, &it, error);
    if (err) return err;
    err = weft_cluster_broker_check(it.broker_id, it.incarnation, it.endpoints, it.endpoints_count, error);
    if (err) return err;
    struct weft_cluster_broker *broker = weft_cluster_broker_find(self, it.broker_id);
    if (!broker) {
        if (weft_map_count(self->brokers) >= WEFT_CLUSTER_BROKERS_MAX)
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the cluster has %d brokers, the most it can know",
                                  WEFT_CLUSTER_BROKERS_MAX);
        broker = weft_cluster_broker_add(self, it.broker_id);
    }
    bool restarted = !weft_id_equal(broker->incarnation, it.incarnation);
    broker->incarnation = it.incarnation;
    broker->alive = true;
    weft_cluster_broker_describe(broker, it.rack, it.version, it.endpoints, it.endpoints_count);
    weft_cluster_note(self, WEFT_CLUSTER_BROKER, (weft_id_t){{0}}, 0, broker->id);
    s_each_partition(self, broker->id, s_on_registered, restarted, it.clean);
    return WEFT_OK;
}

// ---- a broker goes

static bool s_on_fenced(weft_cluster_t *self, struct weft_cluster_partition *partition, int32_t id, bool unused_a,
                        bool unused_b)
{
    (void) unused_a;
    (void) unused_b;
    bool left = s_isr_remove(partition, id);
    if (partition->leader == id)
        s_elect(self, partition);
    else if (!left)
        return false;
    return true;
}

weft_err_t weft_cluster_broker_fenced(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_fenced_command it;
    weft_err_t err = weft_broker_fenced_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_cluster_broker *broker = weft_cluster_broker_find(self, it.broker_id);
    if (!broker) return weft_error_set(error, WEFT_ERR_UNKNOWN_BROKER, "no broker %d is registered", it.broker_id);
    if (!weft_id_equal(broker->incarnation, it.incarnation))
        return weft_error_set(error, WEFT_ERR_FENCED, "broker %d has registered anew meanwhile", it.broker_id);
    if (!broker->alive) return WEFT_OK; // a repeat
    broker->alive = false;
    weft_cluster_note(self, WEFT_CLUSTER_BROKER, (weft_id_t){{0}}, 0, broker->id);
    s_each_partition(self, broker->id, s_on_fenced, false, false);
    return WEFT_OK;
}

// ---- an explicit change

static weft_err_t s_change_check(const weft_cluster_t *self, const struct weft_cluster_partition *partition,
                                 const struct weft_partition_changed_command *it, struct weft_error *error)
{
    if (it->partition_epoch != partition->partition_epoch)
        return weft_error_set(error, WEFT_ERR_STALE_EPOCH,
                              "partition %u is at partition epoch %d, the change was decided on %d", it->partition,
                              partition->partition_epoch, it->partition_epoch);
    if (it->isr_count < 1 || it->isr_count > partition->replica_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "an in-sync set has 1 to %u members, not %zu",
                              partition->replica_count, it->isr_count);
    for (size_t i = 0; i < it->isr_count; i++) {
        if (!weft_partition_has(partition->replicas, partition->replica_count, it->isr[i]) ||
            weft_partition_has(it->isr, (uint8_t) i, it->isr[i]))
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d holds no replica, or is named twice",
                                  it->isr[i]);
        if (it->leader >= 0 && !s_alive(self, it->isr[i]))
            return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d is not alive: it can't be in sync",
                                  it->isr[i]);
    }
    if (it->leader != -1 && !weft_partition_has(it->isr, (uint8_t) it->isr_count, it->leader))
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "leader %d is not in the in-sync set", it->leader);
    return WEFT_OK;
}

weft_err_t weft_cluster_partition_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_partition_changed_command it;
    weft_err_t err = weft_partition_changed_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_cluster_topic *topic = weft_cluster_topic_find(self, it.topic_id);
    if (!topic || it.partition >= topic->partition_count)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_TOPIC, "no topic of that id has a partition %u", it.partition);
    struct weft_cluster_partition *partition = &topic->partitions[it.partition];
    err = s_change_check(self, partition, &it, error);
    if (err) return err;
    memset(partition->isr, 0, sizeof partition->isr);
    memcpy(partition->isr, it.isr, it.isr_count * sizeof it.isr[0]);
    partition->isr_count = (uint8_t) it.isr_count;
    if (it.leader != partition->leader) {
        weft_cluster_partition_lead(self, partition, it.leader);
        partition->leader_epoch = s_epoch_next(partition->leader_epoch);
    }
    partition->partition_epoch = s_epoch_next(partition->partition_epoch);
    weft_cluster_note(self, WEFT_CLUSTER_PARTITION, topic->id, it.partition, it.leader);
    return WEFT_OK;
}
