// SPDX-License-Identifier: MPL-2.0
// Which leaderships should move.
//
// Away from a broker that drains: to the in-sync member that leads least, those planned here included, so that one
// broker's leaderships spread over all others and not onto its neighbour in the order of replicas. Back to the
// preferred replica: to the first that may lead, whatever it leads, for that order is what placement made even.
#include "cluster.h"

#include "../base/assert.h"

#include <stdlib.h>

struct s_plan {
    const weft_cluster_t *cluster;
    weft_map_t *led; // broker to its leaderships, those planned included (uint64_t, owned)
    struct weft_plan_leader *out;
    size_t count, max, stuck;
};

static bool s_may_lead(const weft_cluster_t *cluster, int32_t id)
{
    const struct weft_cluster_broker *broker = weft_cluster_broker(cluster, id);
    return broker && broker->alive && !broker->draining && !broker->sick;
}

static bool s_in_sync(const struct weft_cluster_partition *partition, int32_t id)
{
    for (uint8_t i = 0; i < partition->isr_count; i++)
        if (partition->isr[i] == id) return true;
    return false;
}

static uint64_t *s_led(struct s_plan *self, int32_t id)
{
    uint64_t *led = weft_map_get_u64(self->led, (uint64_t) id);
    if (led) return led;
    led = weft_alloc(sizeof *led);
    *led = weft_cluster_broker(self->cluster, id)->led_count;
    weft_map_put_u64(self->led, (uint64_t) id, led);
    return led;
}

// Who should lead instead of `from`, -1 if nobody can.
static int32_t s_least_leading(struct s_plan *self, const struct weft_cluster_partition *partition, int32_t from)
{
    int32_t best = -1;
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        if (id == from || !s_in_sync(partition, id) || !s_may_lead(self->cluster, id)) continue;
        if (best < 0 || *s_led(self, id) < *s_led(self, best)) best = id;
    }
    return best;
}

static int32_t s_preferred(const struct s_plan *self, const struct weft_cluster_partition *partition)
{
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        if (s_in_sync(partition, id) && s_may_lead(self->cluster, id)) return id;
    }
    return partition->leader;
}

static void s_add(struct s_plan *self, const struct weft_cluster_topic *topic, uint32_t number, int32_t leader)
{
    const struct weft_cluster_partition *partition = &topic->partitions[number];
    --*s_led(self, partition->leader);
    ++*s_led(self, leader);
    self->out[self->count++] = (struct weft_plan_leader){
        .topic = topic->id, .partition = number, .partition_epoch = partition->partition_epoch, .leader = leader};
}

static void s_consider(struct s_plan *self, const struct weft_cluster_topic *topic, uint32_t number, int32_t from,
                       bool preferred)
{
    const struct weft_cluster_partition *partition = &topic->partitions[number];
    int32_t leader = partition->leader;
    if (leader < 0 || (from >= 0 && leader != from)) return;
    if (from < 0 && !preferred && s_may_lead(self->cluster, leader)) return;
    int32_t to = preferred ? s_preferred(self, partition) : s_least_leading(self, partition, leader);
    if (to < 0) self->stuck++;
    if (to >= 0 && to != leader && self->count < self->max) s_add(self, topic, number, to);
}

size_t weft_plan_leaders(const weft_cluster_t *self, int32_t from, bool preferred, struct weft_plan_leader *out,
                         size_t max, size_t *stuck)
{
    struct s_plan plan = {.cluster = self, .led = weft_map_new(), .out = out, .max = max};
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));)
        for (uint32_t i = 0; i < topic->partition_count && (plan.count < max || stuck); i++)
            s_consider(&plan, topic, i, from, preferred);
    void *value;
    for (size_t cursor = 0; weft_map_next(plan.led, &cursor, NULL, &value);) free(value);
    weft_map_destroy(&plan.led);
    if (stuck) *stuck = plan.stuck;
    return plan.count;
}
