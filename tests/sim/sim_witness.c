// SPDX-License-Identifier: MPL-2.0
/*
 * An entry an index: the command's checksum, its result, the digest of the state behind it. Digests of nodes are compared now and then only: they cost
 * an encoding of the whole state.
 */
#include "sim_witness.h"

#include "sim_movement.h"

#include "../../lib/base/crc32c.h"

#include <weft_gen/codec.h>
#include <weft_gen/commands.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_EVERY 16
#define SNAPSHOT_EVERY 8
#define COMMANDS_MAX 64

struct entry {
    bool known, group; // group: for weft_groups_apply
    uint32_t command, digest;
    weft_err_t result;
};

struct sim_witness {
    sim_t *sim;
    sim_history_t *history;
    const struct sim_clients *clients;
    weft_cluster_t *cluster;
    weft_groups_t *groups;
    struct entry *entries; // by index
    size_t entry_count;
    uint64_t applied; // by nodes
    int64_t joined_us[SIM_BROKERS_MAX + 1], decided_us;
    uint64_t commands[COMMANDS_MAX];
    char traced[SIM_TOPICS_MAX + 1][SIM_PARTITIONS_MAX][160]; // what was last told of a partition; last: of __offsets
    weft_codec_t codec;
};

static sim_witness_t *s_witness;

weft_err_t __real_weft_cluster_apply(weft_cluster_t *self, uint64_t index, weft_slice_t command,
                                     weft_cluster_watch_fn *watch, void *context, struct weft_error *error);
weft_err_t __wrap_weft_cluster_apply(weft_cluster_t *self, uint64_t index, weft_slice_t command,
                                     weft_cluster_watch_fn *watch, void *context, struct weft_error *error);
weft_err_t __real_weft_groups_apply(weft_groups_t *self, const weft_cluster_t *cluster, uint64_t index,
                                    weft_slice_t command, weft_groups_watch_fn *watch, void *context,
                                    struct weft_error *error);
weft_err_t __wrap_weft_groups_apply(weft_groups_t *self, const weft_cluster_t *cluster, uint64_t index,
                                    weft_slice_t command, weft_groups_watch_fn *watch, void *context,
                                    struct weft_error *error);
weft_err_t __real_weft_groups_decode(weft_groups_t *self, weft_slice_t snapshot);
weft_err_t __wrap_weft_groups_decode(weft_groups_t *self, weft_slice_t snapshot);
weft_err_t __real_weft_cluster_decode(weft_cluster_t *self, weft_slice_t snapshot);
weft_err_t __wrap_weft_cluster_decode(weft_cluster_t *self, weft_slice_t snapshot);

// ---- what was decided, for the history

static int s_topic_of(const sim_witness_t *self, const char *name)
{
    for (int i = 0; i < self->clients->topic_count; i++) {
        if (strcmp(self->clients->topics[i].name, name) == 0) return i;
    }
    return -1;
}

static uint32_t s_brokers(const struct weft_cluster_partition *partition, uint16_t bits)
{
    uint32_t brokers = 0;
    for (int i = 0; i < partition->replica_count; i++) {
        if (bits & 1U << i) brokers |= UINT32_C(1) << partition->replicas[i];
    }
    return brokers;
}

static uint32_t s_replicas(const struct weft_cluster_partition *partition)
{
    return s_brokers(partition, (uint16_t) ((1U << partition->replica_count) - 1));
}

static uint32_t s_had_all(const struct weft_cluster_partition *partition)
{
    uint32_t brokers = s_brokers(partition, partition->eligible);
    for (int i = 0; i < partition->isr_count; i++) brokers |= UINT32_C(1) << partition->isr[i];
    return brokers;
}

static void s_trace(sim_witness_t *self, int topic, uint32_t p, const struct weft_cluster_partition *partition)
{
    char text[160], *last = self->traced[topic][p];
    const char *name = topic < SIM_TOPICS_MAX ? self->clients->topics[topic].name : "__offsets";
    int size = snprintf(text, sizeof text, "%s/%u: leader %d, epochs %d %d, in sync", name, p, partition->leader,
                        partition->leader_epoch, partition->partition_epoch);
    for (int i = 0; i < partition->isr_count; i++)
        size += snprintf(text + size, sizeof text - (size_t) size, " %d", partition->isr[i]);
    for (int i = 0; i < partition->replica_count; i++) {
        size += snprintf(text + size, sizeof text - (size_t) size, "%s%d%s%s%s", i == 0 ? " of " : " ",
                         partition->replicas[i], partition->eligible & 1U << i ? "e" : "",
                         partition->leavers & 1U << i ? "l" : "", partition->unsure & 1U << i ? "?" : "");
    }
    if (partition->moving != NULL) snprintf(text + size, sizeof text - (size_t) size, ", moving");
    if (strcmp(text, last) == 0) return;
    memcpy(last, text, sizeof text);
    weft_sim_trace(self->sim, "witness", "%s", text);
}

// Who was told to leave a partition as damaged, as bits; `topic` and `number` are that partition's.
static uint32_t s_damaged(sim_witness_t *self, weft_slice_t bytes, weft_id_t *topic, uint32_t *number)
{
    struct weft_partition_changed_command command;
    uint32_t brokers = 0;
    if (weft_partition_changed_command_decode(&self->codec, bytes, &command, NULL) != WEFT_OK) return 0;
    for (size_t i = 0; i < command.damaged_count; i++) {
        if (command.damaged[i] >= 0 && command.damaged[i] <= SIM_BROKERS_MAX)
            brokers |= UINT32_C(1) << command.damaged[i];
    }
    *topic = command.topic_id;
    *number = command.partition;
    return brokers;
}

static void s_tell(sim_witness_t *self, enum weft_command command, weft_slice_t bytes)
{
    weft_id_t damaged_topic = {.bytes = {0}};
    uint32_t damaged_number = 0, damaged = 0;
    if (command == WEFT_COMMAND_PARTITION_CHANGED) damaged = s_damaged(self, bytes, &damaged_topic, &damaged_number);
    size_t cursor = 0;
    const struct weft_cluster_topic *topic;
    while ((topic = weft_cluster_next_topic(self->cluster, &cursor)) != NULL) {
        int index = s_topic_of(self, topic->name);
        bool offsets = weft_sim_is_traced(self->sim) && strcmp(topic->name, "__offsets") == 0;
        for (uint32_t p = 0; offsets && p < topic->partition_count && p < SIM_PARTITIONS_MAX; p++) {
            s_trace(self, SIM_TOPICS_MAX, p, &topic->partitions[p]);
        }
        for (uint32_t p = 0; index >= 0 && p < topic->partition_count && p < SIM_PARTITIONS_MAX; p++) {
            const struct weft_cluster_partition *partition = &topic->partitions[p];
            bool told = p == damaged_number && weft_id_equal(topic->id, damaged_topic);
            const struct sim_decision decision = {.leader = partition->leader,
                                                  .had_all = s_had_all(partition),
                                                  .leavers = s_brokers(partition, partition->leavers),
                                                  .gone = ~s_replicas(partition) | (told ? damaged : 0)};
            sim_history_decided(self->history, index, (int) p, weft_sim_now_us(self->sim), &decision);
            if (weft_sim_is_traced(self->sim)) s_trace(self, index, p, partition);
        }
    }
}

static void s_elected(sim_witness_t *self, weft_slice_t bytes)
{
    struct weft_leader_elected_command command;
    if (weft_leader_elected_command_decode(&self->codec, bytes, &command, NULL) != WEFT_OK || !command.unclean) return;
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, command.topic_id);
    int index = topic != NULL ? s_topic_of(self, topic->name) : -1;
    if (index < 0 || command.partition >= SIM_PARTITIONS_MAX) return;
    weft_sim_trace(self->sim, "witness", "unclean election of broker %d for topic %d partition %u", command.leader,
                   index, command.partition);
    sim_history_unclean(self->history, index, (int) command.partition);
}

static void s_registered(sim_witness_t *self, weft_slice_t bytes)
{
    struct weft_broker_registered_command command;
    if (weft_broker_registered_command_decode(&self->codec, bytes, &command, NULL) != WEFT_OK) return;
    if (command.broker_id < 0 || command.broker_id > SIM_BROKERS_MAX) return;
    self->joined_us[command.broker_id] = weft_sim_now_us(self->sim);
}

// ---- what nodes apply

static struct entry *s_entry(sim_witness_t *self, uint64_t index)
{
    if (index >= self->entry_count) {
        size_t count = (size_t) index * 2 + 64;
        self->entries = weft_realloc(self->entries, count * sizeof *self->entries);
        memset(&self->entries[self->entry_count], 0, (count - self->entry_count) * sizeof *self->entries);
        self->entry_count = count;
    }
    return &self->entries[index];
}

// A state that was come to can be snapshotted, and taken over.
static void s_check_snapshot(sim_witness_t *self, uint64_t index, enum weft_command command)
{
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(self->cluster, &snapshot);
    weft_cluster_t *other = weft_cluster_new();
    weft_err_t err = __real_weft_cluster_decode(other, weft_buf_slice(&snapshot));
    if (err != WEFT_OK || weft_cluster_digest(other) != weft_cluster_digest(self->cluster)) {
        sim_history_violate(self->history, "I9: nobody can take over the snapshot of index %llu, behind %s (%s)",
                            (unsigned long long) index, weft_command_name(command), weft_err_name(err));
    }
    weft_cluster_destroy(&other);
    weft_buf_fini(&snapshot);
}

static void s_first(sim_witness_t *self, uint64_t index, weft_slice_t bytes)
{
    struct weft_error error;
    struct entry *entry = s_entry(self, index);
    entry->known = true;
    entry->command = weft_crc32c(0, bytes.data, bytes.size);
    entry->result = __real_weft_cluster_apply(self->cluster, index, bytes, NULL, NULL, &error);
    entry->digest = weft_cluster_digest(self->cluster);
    enum weft_command command = WEFT_COMMAND_UNKNOWN;
    if (weft_command_peek(bytes, &command) != WEFT_OK || entry->result != WEFT_OK) return;
    self->decided_us = weft_sim_now_us(self->sim);
    if ((size_t) command < COMMANDS_MAX) self->commands[command]++;
    if (index % SNAPSHOT_EVERY == 0 || weft_sim_is_traced(self->sim)) s_check_snapshot(self, index, command);
    if (command == WEFT_COMMAND_LEADER_ELECTED) s_elected(self, bytes);
    if (command == WEFT_COMMAND_BROKER_REGISTERED) s_registered(self, bytes);
    s_tell(self, command, bytes);
}

weft_err_t __wrap_weft_cluster_apply(weft_cluster_t *cluster, uint64_t index, weft_slice_t bytes,
                                     weft_cluster_watch_fn *watch, void *context, struct weft_error *error)
{
    sim_witness_t *self = s_witness;
    uint64_t before = weft_cluster_index(cluster);
    if (self != NULL && index > weft_cluster_index(self->cluster)) s_first(self, index, bytes);
    weft_err_t result = __real_weft_cluster_apply(cluster, index, bytes, watch, context, error);
    if (self == NULL) return result;
    const char *who = weft_sim_running(self->sim);
    const struct entry *entry = s_entry(self, index);
    for (uint64_t i = before + 1; i < index; i++) {
        if (!s_entry(self, i)->known || s_entry(self, i)->group) continue; // the quorum's own
        sim_history_violate(self->history, "O7: %s applies the command of index %llu behind that of %llu", who,
                            (unsigned long long) index, (unsigned long long) before);
    }
    entry = s_entry(self, index);
    if (!entry->known || entry->command != weft_crc32c(0, bytes.data, bytes.size)) {
        sim_history_violate(self->history, "O7: %s applies at index %llu what nobody else applied there", who,
                            (unsigned long long) index);
    } else if (entry->result != result) {
        sim_history_violate(self->history, "O7: the command of index %llu is %s at %s, and was %s",
                            (unsigned long long) index, weft_err_name(result), who, weft_err_name(entry->result));
    } else if (++self->applied % DIGEST_EVERY == 0 && weft_cluster_digest(cluster) != entry->digest) {
        sim_history_violate(self->history, "O7: behind index %llu the state of %s is another than that of others",
                            (unsigned long long) index, who);
    }
    return result;
}

weft_err_t __wrap_weft_cluster_decode(weft_cluster_t *cluster, weft_slice_t snapshot)
{
    weft_err_t err = __real_weft_cluster_decode(cluster, snapshot);
    sim_witness_t *self = s_witness;
    if (self == NULL || err != WEFT_OK || weft_cluster_index(cluster) == 0) return err;
    uint64_t index = weft_cluster_index(cluster);
    const struct entry *entry = s_entry(self, index);
    if (!entry->known || entry->digest != weft_cluster_digest(cluster)) {
        sim_history_violate(self->history, "O7: %s takes over a snapshot of index %llu that is not the state there",
                            weft_sim_running(self->sim), (unsigned long long) index);
    }
    return err;
}

// ---- groups: the same, on coordinators

static void s_check_groups_snapshot(sim_witness_t *self, uint64_t index)
{
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_groups_encode(self->groups, &snapshot);
    weft_groups_t *other = weft_groups_new();
    weft_err_t err = __real_weft_groups_decode(other, weft_buf_slice(&snapshot));
    if (err != WEFT_OK || weft_groups_digest(other) != weft_groups_digest(self->groups)) {
        sim_history_violate(self->history, "I9: nobody can take over the groups' snapshot of index %llu (%s)",
                            (unsigned long long) index, weft_err_name(err));
    }
    weft_groups_destroy(&other);
    weft_buf_fini(&snapshot);
}

static void s_groups_first(sim_witness_t *self, uint64_t index, weft_slice_t bytes)
{
    struct weft_error error = {.text = ""};
    enum weft_command command = WEFT_COMMAND_UNKNOWN;
    weft_err_t peeked = weft_command_peek(bytes, &command);
    struct sim_movement movement = {.count = 0};
    if (peeked == WEFT_OK && command == WEFT_COMMAND_GROUP_ASSIGNED) {
        sim_movement_before(&movement, self->groups, self->cluster, bytes);
    }
    struct entry *entry = s_entry(self, index);
    entry->known = entry->group = true;
    entry->command = weft_crc32c(0, bytes.data, bytes.size);
    entry->result = __real_weft_groups_apply(self->groups, self->cluster, index, bytes, NULL, NULL, &error);
    entry->digest = weft_groups_digest(self->groups);
    weft_groups_check(self->groups);
    if (peeked == WEFT_OK && entry->result == WEFT_OK && (size_t) command < COMMANDS_MAX) self->commands[command]++;
    weft_sim_trace(self->sim, "witness", "%s at %llu: %s %s", weft_command_name(command), (unsigned long long) index,
                   weft_err_name(entry->result), error.text);
    if (movement.count > 0 && entry->result == WEFT_OK) {
        sim_movement_after(&movement, self->groups, self->cluster, self->history);
    }
    sim_movement_fini(&movement);
    if (index % SNAPSHOT_EVERY == 0 || weft_sim_is_traced(self->sim)) s_check_groups_snapshot(self, index);
}

weft_err_t __wrap_weft_groups_apply(weft_groups_t *groups, const weft_cluster_t *cluster, uint64_t index,
                                    weft_slice_t bytes, weft_groups_watch_fn *watch, void *context,
                                    struct weft_error *error)
{
    sim_witness_t *self = s_witness;
    uint64_t before = weft_groups_index(groups);
    if (self != NULL && index > weft_groups_index(self->groups)) s_groups_first(self, index, bytes);
    weft_err_t result = __real_weft_groups_apply(groups, cluster, index, bytes, watch, context, error);
    if (self == NULL) return result;
    const char *who = weft_sim_running(self->sim);
    for (uint64_t i = before + 1; i < index; i++) {
        if (!s_entry(self, i)->known || !s_entry(self, i)->group) continue;
        sim_history_violate(self->history, "O7: %s applies the groups' command of index %llu behind that of %llu", who,
                            (unsigned long long) index, (unsigned long long) before);
    }
    const struct entry *entry = s_entry(self, index);
    if (!entry->known || entry->command != weft_crc32c(0, bytes.data, bytes.size)) {
        sim_history_violate(self->history, "O7: %s applies at index %llu what nobody else applied there", who,
                            (unsigned long long) index);
    } else if (entry->result != result) {
        sim_history_violate(self->history, "O7: the groups' command of index %llu is %s at %s, and was %s",
                            (unsigned long long) index, weft_err_name(result), who, weft_err_name(entry->result));
    } else if (++self->applied % DIGEST_EVERY == 0) {
        weft_groups_check(groups);
        if (weft_groups_digest(groups) == entry->digest) return result;
        sim_history_violate(self->history, "O7: behind index %llu the groups of %s are others than those of others",
                            (unsigned long long) index, who);
    }
    return result;
}

weft_err_t __wrap_weft_groups_decode(weft_groups_t *groups, weft_slice_t snapshot)
{
    weft_err_t err = __real_weft_groups_decode(groups, snapshot);
    sim_witness_t *self = s_witness;
    if (self == NULL || err != WEFT_OK || weft_groups_index(groups) == 0) return err;
    const struct entry *entry = s_entry(self, weft_groups_index(groups));
    if (!entry->known || !entry->group || entry->digest != weft_groups_digest(groups)) {
        sim_history_violate(self->history, "O7: %s takes over groups of index %llu that are not those there",
                            weft_sim_running(self->sim), (unsigned long long) weft_groups_index(groups));
    }
    return err;
}

// ---- what is asked

const weft_groups_t *sim_witness_groups(const sim_witness_t *self)
{
    return self->groups;
}

const weft_cluster_t *sim_witness_cluster(const sim_witness_t *self)
{
    return self->cluster;
}

const struct weft_cluster_partition *sim_witness_partition(const sim_witness_t *self, int topic, int partition,
                                                           weft_id_t *id)
{
    const struct weft_cluster_topic *found =
        weft_cluster_topic_by_name(self->cluster, weft_slice_text(self->clients->topics[topic].name));
    if (found == NULL || (uint32_t) partition >= found->partition_count) return NULL;
    *id = found->id;
    return &found->partitions[partition];
}

bool sim_witness_in_sync(const struct weft_cluster_partition *partition, int32_t broker)
{
    for (int i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i] == broker && (partition->unsure & 1U << i) != 0) return false;
    }
    for (int i = 0; i < partition->isr_count; i++) {
        if (partition->isr[i] == broker) return true;
    }
    return false;
}

bool sim_witness_settled(const sim_witness_t *self, char *why, size_t why_bytes)
{
    size_t cursor = 0;
    const struct weft_cluster_topic *topic;
    while ((topic = weft_cluster_next_topic(self->cluster, &cursor)) != NULL) {
        for (uint32_t p = 0; p < topic->partition_count; p++) {
            const struct weft_cluster_partition *partition = &topic->partitions[p];
            const char *what = partition->leader < 0                              ? "has no leader"
                               : partition->isr_count != partition->replica_count ? "has not all replicas in sync"
                               : partition->moving != NULL                        ? "is still being moved"
                                                                                  : NULL;
            if (what == NULL) continue;
            snprintf(why, why_bytes, "%s partition %u %s (leader %d, %d of %d in sync)", topic->name, p, what,
                     partition->leader, partition->isr_count, partition->replica_count);
            return false;
        }
    }
    return true;
}

int64_t sim_witness_decided_us(const sim_witness_t *self)
{
    return self->decided_us;
}

int64_t sim_witness_joined_us(const sim_witness_t *self, int32_t broker)
{
    return self->joined_us[broker];
}

void sim_witness_summary(const sim_witness_t *self, char *text, size_t text_bytes)
{
    static const struct {
        enum weft_command command;
        const char *name;
    } told[] = {{WEFT_COMMAND_TOOK_OFFICE, "offices"},
                {WEFT_COMMAND_BROKER_FENCED, "fencings"},
                {WEFT_COMMAND_PARTITION_CHANGED, "set changes"},
                {WEFT_COMMAND_LEADERS_MOVED, "leader moves"},
                {WEFT_COMMAND_LEADER_ELECTED, "elections"},
                {WEFT_COMMAND_REASSIGNED, "reassignments"},
                {WEFT_COMMAND_VOTERS_CHANGED, "voter changes"},
                {WEFT_COMMAND_GROUP_JOINED, "joins"},
                {WEFT_COMMAND_GROUP_LEFT, "leaves"},
                {WEFT_COMMAND_GROUP_ASSIGNED, "targets"}};
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < sizeof told / sizeof told[0] && used < text_bytes; i++) {
        uint64_t count = self->commands[told[i].command];
        if (count == 0) continue;
        used +=
            (size_t) snprintf(text + used, text_bytes - used, ", %llu %s", (unsigned long long) count, told[i].name);
    }
}

// ---- life

sim_witness_t *sim_witness_new(sim_t *sim, sim_history_t *history, const struct sim_clients *clients)
{
    sim_witness_t *self = weft_calloc(1, sizeof *self);
    self->sim = sim;
    self->history = history;
    self->clients = clients;
    self->cluster = weft_cluster_new();
    self->groups = weft_groups_new();
    for (int i = 0; i <= SIM_BROKERS_MAX; i++) self->joined_us[i] = -1;
    weft_codec_init(&self->codec);
    s_witness = self;
    return self;
}

void sim_witness_destroy(sim_witness_t **self_p)
{
    sim_witness_t *self = *self_p;
    if (self == NULL) return;
    s_witness = NULL;
    weft_cluster_destroy(&self->cluster);
    weft_groups_destroy(&self->groups);
    weft_codec_fini(&self->codec);
    free(self->entries);
    free(self);
    *self_p = NULL;
}
