// SPDX-License-Identifier: MPL-2.0
/*
 * A replica's log is its segments' batches, one after the other, up to the first that does not go on from the one before. What a crash may have taken
 * from a machine is not held against it until it has joined again.
 */
#include "sim_logs.h"

#include "../../lib/base/crc32c.h"
#include "../../lib/wire/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stretch { // one batch
    int64_t base, next;
    int32_t epoch;
    uint32_t size, crc;
};

struct copy { // of a partition
    int32_t broker;
    struct stretch *batches;
    size_t count, capacity;
    int64_t start, end; // -1: no segment
};

static void s_segment(void *context, const char *path, weft_slice_t bytes)
{
    struct copy *self = context;
    size_t length = strlen(path);
    long long base;
    if (length < 24 || strcmp(path + length - 4, ".log") != 0) return;
    if (sscanf(path + length - 24, "%20lld", &base) != 1) return;
    if (self->end >= 0 && base != self->end) return; // behind a hole
    if (self->end < 0) self->start = self->end = base;
    for (size_t at = 0; at < bytes.size;) {
        struct weft_batch batch;
        weft_slice_t rest = weft_slice(bytes.data + at, bytes.size - at);
        if (weft_batch_read(rest, &batch) != WEFT_OK || batch.base_offset != self->end) return;
        size_t size = weft_batch_bytes(&batch);
        if (self->count == self->capacity) {
            self->capacity = self->capacity == 0 ? 64 : self->capacity * 2;
            self->batches = weft_realloc(self->batches, self->capacity * sizeof *self->batches);
        }
        self->end = weft_batch_next_offset(&batch);
        self->batches[self->count++] = (struct stretch){.base = batch.base_offset,
                                                        .next = self->end,
                                                        .epoch = batch.leader_epoch,
                                                        .size = (uint32_t) size,
                                                        .crc = weft_crc32c(0, rest.data, size)};
        at += size;
    }
}

static void s_read(struct copy *out, const struct sim_node *node, weft_id_t topic, int partition)
{
    char id[WEFT_ID_TEXT_BYTES], directory[128];
    weft_id_text(topic, id);
    snprintf(directory, sizeof directory, "data/topics/%s/%d", id, partition);
    *out = (struct copy){.broker = node->id, .start = -1, .end = -1};
    weft_crash_disk_each(node->disk, directory, s_segment, out);
}

// Both hold [from, to): the same batches?
static void s_compare(sim_history_t *history, const char *topic, int partition, const struct copy *a,
                      const struct copy *b, int64_t from, int64_t to)
{
    size_t i = 0, j = 0;
    while (i < a->count && a->batches[i].next <= from) i++;
    while (j < b->count && b->batches[j].next <= from) j++;
    for (; i < a->count && j < b->count && a->batches[i].base < to && b->batches[j].base < to; i++, j++) {
        const struct stretch *x = &a->batches[i], *y = &b->batches[j];
        if (x->base == y->base && x->size == y->size && x->crc == y->crc) continue;
        sim_history_violate(history,
                            "I2: %s partition %d: offsets %lld to %lld (epoch %d, %u bytes, checksum %08x) at broker "
                            "%d, %lld to %lld (epoch %d, %u bytes, checksum %08x) at broker %d",
                            topic, partition, (long long) x->base, (long long) x->next - 1, x->epoch, x->size, x->crc,
                            a->broker, (long long) y->base, (long long) y->next - 1, y->epoch, y->size, y->crc,
                            b->broker);
        return;
    }
}

static int64_t s_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// May it be held against this machine what it lacks? Having lost power it must have registered since, in this very start:
// what was sent before may be applied late.
static bool s_counts(const struct sim_node *node, const sim_witness_t *witness)
{
    if (node->retired || node->removed) return false;
    if (node->power_lost_us < 0) return true;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    return node->power_lost_us < sim_witness_joined_us(witness, node->id) && node->state == SIM_NODE_UP &&
           node->type->health(node->node, sentence, sizeof sentence) == WEFT_HEALTH_SERVING;
}

static void s_compare_partition(struct sim_nodes *nodes, const struct sim_clients *clients,
                                const sim_witness_t *witness, int t, int p, bool all)
{
    struct copy copies[SIM_BROKERS_MAX];
    size_t count = 0;
    weft_id_t id;
    const char *name = clients->topics[t].name;
    const struct weft_cluster_partition *partition = sim_witness_partition(witness, t, p, &id);
    if (partition == NULL) return;
    int64_t committed = all ? INT64_MAX : sim_history_committed_end(clients->history, t, p, INT64_MAX);
    for (int i = 0; i < partition->isr_count; i++) {
        const struct sim_node *node = sim_nodes_broker(nodes, partition->isr[i]);
        if (!sim_witness_in_sync(partition, partition->isr[i]) || !s_counts(node, witness)) continue;
        struct copy *copy = &copies[count++];
        s_read(copy, node, id, p);
        // A crash may have left compacted segments half-way in the place of others: the next start goes on.
        if (!all && !clients->topics[t].compacted && s_max(copy->end, 0) < committed) {
            sim_history_violate(clients->history,
                                "I1: %s partition %d: all below %lld is committed, and broker %d, in sync, has it only "
                                "to %lld",
                                name, p, (long long) committed, copy->broker, (long long) copy->end);
        }
        if (all && count > 1 && s_max(copy->end, 0) != s_max(copies[0].end, 0)) {
            sim_history_violate(clients->history, "I2: %s partition %d ends at %lld at broker %d, at %lld at broker %d",
                                name, p, (long long) copies[0].end, copies[0].broker, (long long) copy->end,
                                copy->broker);
        }
    }
    size_t compared = clients->topics[t].compacted ? 0 : count;    // else each compacts for itself
    int64_t deleted = sim_history_deleted(clients->history, t, p); // what stands below is shown to nobody
    for (size_t i = 1; i < compared; i++) {
        int64_t from = s_max(deleted, s_max(copies[0].start, copies[i].start));
        s_compare(clients->history, name, p, &copies[0], &copies[i], from, committed);
    }
    for (size_t i = 0; i < count; i++) free(copies[i].batches);
}

void sim_logs_compare_committed(struct sim_nodes *nodes, const struct sim_clients *clients,
                                const sim_witness_t *witness)
{
    for (int t = 0; t < clients->stable_count; t++) {
        for (int p = 0; p < clients->topics[t].partitions; p++) {
            s_compare_partition(nodes, clients, witness, t, p, false);
        }
    }
}

void sim_logs_compare_all(struct sim_nodes *nodes, const struct sim_clients *clients, const sim_witness_t *witness)
{
    for (int t = 0; t < clients->topic_count; t++) {
        for (int p = 0; p < clients->topics[t].partitions; p++) {
            s_compare_partition(nodes, clients, witness, t, p, true);
        }
    }
}
