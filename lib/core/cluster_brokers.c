// SPDX-License-Identifier: MPL-2.0
// Brokers: registered, fenced, changed, removed.
//
// What happens to a broker is written on it; the partitions of which it holds a replica then settle by the rules
// (cluster_lead.c). The one thing that is written on partitions is what a start means: a new incarnation ends the
// epochs that it led (REPLICATION.md rule 2), and after an unclean stop it may lack what it never synced (rules 3, 4).
#include "cluster_state.h"

#include "../base/assert.h"
#include "../base/mutate.h"

// ---- a broker comes

// After an unclean start: whoever is in sync with others, or eligible beside them, is sure no more. The only one that
// can have anything stays sure, for nobody could know better; so do replicas of a partition that nobody ever led.
static void s_doubt(struct weft_cluster_partition *partition, uint16_t bit)
{
    uint16_t last = weft_partition_isr_bits(partition) | partition->eligible;
    bool never_led = partition->leader < 0 && partition->leader_epoch == 0;
    if (!(last & bit) || (last | partition->leavers) == bit || never_led) return;
    if (weft_mutated("unclean_restart_stays_in_sync")) return;
    if (partition->leader < 0 && weft_mutated("last_set_not_frozen")) return;
    partition->unsure |= bit;
}

// Its disk is another one: what it held is not there. The last set goes on without it, if there is anybody else in it; if
// there are leavers only, which lack what was committed without them, the best of these leads: a person said so.
static void s_forget(struct weft_cluster_partition *partition, uint16_t bit)
{
    uint16_t isr = weft_partition_isr_bits(partition);
    uint16_t rest = (uint16_t) ((isr | partition->eligible) & ~bit);
    if (!((isr | partition->eligible) & bit)) return;
    if (!rest) partition->unsure |= rest = partition->leavers;
    if (!rest) return;
    weft_partition_isr_set(partition, isr & ~bit ? (uint16_t) (isr & ~bit) : rest);
    partition->eligible &= (uint16_t) ~(bit | weft_partition_isr_bits(partition));
    partition->unsure &= (uint16_t) ~bit;
}

/** What a registration tells of a start. */
struct s_start {
    int32_t broker;
    bool restarted, clean;
    bool replaced; // its data directory is another one
};

static void s_started_in(weft_cluster_t *self, struct weft_cluster_topic *topic, const struct s_start *start)
{
    for (uint32_t i = 0; i < topic->partition_count; i++) {
        uint16_t bit = weft_partition_bit(&topic->partitions[i], start->broker);
        if (!bit) continue;
        struct weft_cluster_edit edit = weft_cluster_edit_begin(topic, i);
        if (start->restarted) edit.restarted = start->broker;
        if (start->replaced) {
            edit.lost = bit;
            s_forget(edit.partition, bit);
        } else if (start->restarted && !start->clean) {
            s_doubt(edit.partition, bit);
        }
        weft_cluster_edit_end(self, &edit);
    }
}

static bool s_replaced(const struct weft_cluster_broker *broker, const struct weft_broker_registered_command *it)
{
    return broker && !weft_id_is_zero(broker->directory) && !weft_id_is_zero(it->directory_id) &&
           !weft_id_equal(broker->directory, it->directory_id);
}

// Partitions of which only this broker can have what was acknowledged; *name and *number: the first of them.
static uint32_t s_alone(const weft_cluster_t *self, int32_t id, const char **name, uint32_t *number)
{
    uint32_t count = 0;
    void *value;
    for (size_t cursor = 0; weft_map_next(self->topics, &cursor, NULL, &value);) {
        const struct weft_cluster_topic *topic = value;
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct weft_cluster_partition *partition = &topic->partitions[i];
            uint16_t bit = weft_partition_bit(partition, id);
            uint16_t last = weft_partition_isr_bits(partition) | partition->eligible;
            bool never_led = partition->leader < 0 && partition->leader_epoch == 0;
            if (!bit || last != bit || never_led) continue;
            if (count++) continue;
            *name = topic->name;
            *number = i;
        }
    }
    return count;
}

static weft_err_t s_missing_check(const weft_cluster_t *self, const struct weft_broker_registered_command *it,
                                  struct weft_error *error)
{
    if (it->data_lost || !s_replaced(weft_cluster_broker_find(self, it->broker_id), it)) return WEFT_OK;
    const char *name = "";
    uint32_t number = 0, count = s_alone(self, it->broker_id, &name, &number);
    if (!count) return WEFT_OK;
    return weft_error_set(
        error, WEFT_ERR_DATA_MISSING,
        "broker %d came back with another data directory, and of %u partition%s (the first is "
        "%.100s/%u) nobody else is known to have what was acknowledged; put the old directory back, or "
        "elect another replica (weft cluster elect), or, if that data is lost for good, start it "
        "with data.lost=true",
        it->broker_id, count, count == 1 ? "" : "s", name, number);
}

static weft_err_t s_registered_check(const weft_cluster_t *self, const struct weft_broker_registered_command *it,
                                     struct weft_error *error)
{
    weft_err_t err =
        weft_cluster_broker_check(it->broker_id, it->incarnation, it->endpoints, it->endpoints_count, error);
    if (err) return err;
    if (it->replica_endpoints_count && it->replica_endpoints_count != it->endpoints_count)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d has %zu endpoints, but %zu for replicas",
                              it->broker_id, it->endpoints_count, it->replica_endpoints_count);
    if (it->replica_endpoints_count) {
        err = weft_cluster_broker_check(it->broker_id, it->incarnation, it->replica_endpoints,
                                        it->replica_endpoints_count, error);
        if (err) return err;
    }
    if (!weft_cluster_broker_find(self, it->broker_id) && weft_map_count(self->brokers) >= WEFT_CLUSTER_BROKERS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "the cluster has %d brokers, the most it can know",
                              WEFT_CLUSTER_BROKERS_MAX);
    if (weft_cluster_was_removed(self, it->directory_id) && !it->rejoin)
        return weft_error_set(
            error, WEFT_ERR_BROKER_REMOVED,
            "the broker with this data directory was removed from the cluster; to have a new broker %d, "
            "start it with an empty data directory; to have the old one back, with rejoin=true",
            it->broker_id);
    return s_missing_check(self, it, error);
}

weft_err_t weft_cluster_broker_registered(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_registered_command it;
    weft_err_t err = weft_broker_registered_command_decode(self->codec, command, &it, error);
    if (err) return err;
    err = s_registered_check(self, &it, error);
    if (err) return err;
    struct weft_cluster_broker *broker = weft_cluster_broker_find(self, it.broker_id);
    if (!broker) broker = weft_cluster_broker_add(self, it.broker_id);
    const struct s_start start = {.broker = broker->id,
                                  .restarted = !weft_id_equal(broker->incarnation, it.incarnation),
                                  .clean = it.clean,
                                  .replaced = s_replaced(broker, &it)};
    broker->incarnation = it.incarnation;
    if (!weft_id_is_zero(it.directory_id)) broker->directory = it.directory_id;
    (void) weft_map_remove(self->removed, weft_id_slice(&it.directory_id));
    broker->alive = true;
    if (start.restarted) {
        broker->sick = false; // of the start before
        if (broker->stopping) broker->draining = broker->stopping = false;
    }
    weft_cluster_broker_describe(broker, it.rack, it.version, it.endpoints, it.endpoints_count,
                                 it.replica_endpoints_count ? it.replica_endpoints : NULL);
    weft_cluster_note(self, WEFT_CLUSTER_BROKER, (weft_id_t){{0}}, 0, broker->id);
    void *value;
    for (size_t cursor = 0; broker->stored_count && weft_map_next(self->topics, &cursor, NULL, &value);)
        s_started_in(self, value, &start);
    return WEFT_OK;
}

// ---- a broker goes

static weft_err_t s_find(const weft_cluster_t *self, int32_t id, struct weft_cluster_broker **out,
                         struct weft_error *error)
{
    *out = weft_cluster_broker_find(self, id);
    return *out ? WEFT_OK : weft_error_set(error, WEFT_ERR_UNKNOWN_BROKER, "no broker %d is registered", id);
}

static weft_err_t s_fenced(const struct weft_cluster_broker *broker, struct weft_error *error)
{
    return weft_error_set(error, WEFT_ERR_FENCED, "broker %d has registered anew meanwhile", broker->id);
}

weft_err_t weft_cluster_broker_fenced(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_fenced_command it;
    weft_err_t err = weft_broker_fenced_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_cluster_broker *broker;
    err = s_find(self, it.broker_id, &broker, error);
    if (err) return err;
    if (!weft_id_equal(broker->incarnation, it.incarnation)) return s_fenced(broker, error);
    if (!broker->alive) return WEFT_OK; // a repeat
    broker->alive = false;
    weft_cluster_note(self, WEFT_CLUSTER_BROKER, (weft_id_t){{0}}, 0, broker->id);
    if (broker->stored_count) weft_cluster_settle(self, NULL, broker->id);
    return WEFT_OK;
}

// ---- a broker drains, leaves, is sick

weft_err_t weft_cluster_broker_changed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_changed_command it;
    weft_err_t err = weft_broker_changed_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    struct weft_cluster_broker *broker;
    err = s_find(self, it.broker_id, &broker, error);
    if (err) return err;
    bool any = weft_id_is_zero(it.incarnation);
    if (!any && !weft_id_equal(broker->incarnation, it.incarnation)) return s_fenced(broker, error);
    bool stopping = it.draining && !any && (broker->stopping || !broker->draining); // a person's drain stays one
    if (broker->draining == it.draining && broker->leaving == it.leaving && broker->sick == it.sick &&
        broker->stopping == stopping)
        return WEFT_OK; // a repeat
    broker->draining = it.draining;
    broker->stopping = stopping;
    broker->leaving = it.leaving;
    broker->sick = it.sick;
    weft_cluster_note(self, WEFT_CLUSTER_BROKER, (weft_id_t){{0}}, 0, broker->id);
    if (broker->stored_count) weft_cluster_settle(self, NULL, broker->id);
    return WEFT_OK;
}

// One that runs is forgotten only while it leaves: otherwise it would be a new broker again by its next heartbeat, without
// anybody's wish. The coordinator tells it to stop.
weft_err_t weft_cluster_broker_removed(weft_cluster_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_broker_removed_command it;
    weft_err_t err = weft_broker_removed_command_decode(self->codec, command, &it, error);
    if (err) return err;
    if (weft_cluster_operation_repeated(self, it.operation)) return WEFT_OK;
    struct weft_cluster_broker *broker;
    err = s_find(self, it.broker_id, &broker, error);
    if (err) return err;
    if (broker->stored_count > 0)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST,
                              "broker %d holds replicas of %u partitions; they have to be moved away first", broker->id,
                              broker->stored_count);
    if (broker->alive && !broker->leaving)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "broker %d is alive and was not asked to leave",
                              broker->id);
    int32_t id = broker->id;
    if (!weft_id_is_zero(broker->directory)) weft_cluster_removed_add(self, broker->directory);
    weft_cluster_broker_drop(self, broker);
    weft_cluster_note(self, WEFT_CLUSTER_BROKER, (weft_id_t){{0}}, 0, id);
    return WEFT_OK;
}
