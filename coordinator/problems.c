// SPDX-License-Identifier: MPL-2.0
// What is wrong with the cluster, as sentences that say what to do. Made when somebody asks, by one walk over brokers
// and partitions; alike ones are told in one sentence, and what is more than fits is counted.
#include "coordinator.h"

#include "../lib/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    S_GROUPS_MAX = 8,  // groups of partitions that are named
    S_STUCK_MS = 2000, // a turn of a shard or a sync that takes longer is worth a sentence
    S_SET_MAX = WEFT_REPLICAS_MAX
};

void weft_coordinator_problem(struct weft_problems *self, const char *format, ...)
{
    if (self->count + 1 >= WEFT_PROBLEMS_MAX) { // one place for what is left out
        self->left_out++;
        return;
    }
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self->sentences[self->count++] = weft_slice_text(weft_arena_text(self->arena, weft_slice_text(text)));
}

void weft_coordinator_problems_end(struct weft_problems *self)
{
    if (!self->left_out) return;
    char text[64];
    snprintf(text, sizeof text, "and %zu more problems", self->left_out);
    self->sentences[self->count++] = weft_slice_text(weft_arena_text(self->arena, weft_slice_text(text)));
}

static const char *s_s(uint64_t count)
{
    return count == 1 ? "" : "s";
}

// ---- brokers

// Why nobody else leads one partition that a drained broker leads still.
enum s_why { S_ONE_REPLICA, S_NONE_IN_SYNC, S_OTHERS_DRAINED, S_MOVES, S_WHYS };

static enum s_why s_why_led(const weft_coordinator_t *self, const struct weft_cluster_partition *partition)
{
    if (partition->replica_count == 1) return S_ONE_REPLICA;
    enum s_why why = S_NONE_IN_SYNC;
    for (uint8_t i = 0; i < partition->isr_count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, partition->isr[i]);
        if (partition->isr[i] == partition->leader || !broker || !broker->alive) continue;
        if (!broker->draining && !broker->sick) return S_MOVES;
        why = S_OTHERS_DRAINED;
    }
    return why;
}

static void s_still_leads(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                          struct weft_problems *problems)
{
    static const char *const sentences[S_WHYS] = {"with no other replica", "with no other replica in sync",
                                                  "whose other replicas in sync are on drained or sick brokers",
                                                  "about to be led by another"};
    uint32_t counts[S_WHYS] = {0};
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));)
        for (uint32_t i = 0; i < topic->partition_count; i++)
            if (topic->partitions[i].leader == broker->id) counts[s_why_led(self, &topic->partitions[i])]++;
    char text[300] = "";
    size_t used = 0;
    for (int why = 0; why < S_WHYS; why++)
        if (counts[why])
            used += (size_t) snprintf(text + used, sizeof text - used, "%s%u %s", used ? ", " : "", counts[why],
                                      sentences[why]);
    weft_coordinator_problem(problems, "broker %d is drained but leads %u partition%s still: %s", broker->id,
                             broker->led_count, s_s(broker->led_count), text);
}

static void s_wished(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                     struct weft_problems *problems)
{
    if (broker->leaving && broker->stored_count)
        weft_coordinator_problem(problems, "broker %d is leaving: %u replica%s still to move", broker->id,
                                 broker->stored_count, s_s(broker->stored_count));
    else if (broker->leaving && broker->alive)
        weft_coordinator_problem(problems, "broker %d is leaving and empty: stop it, and it is forgotten", broker->id);
    if (!broker->draining || !broker->alive) return;
    if (broker->led_count)
        s_still_leads(self, broker, problems);
    else if (!broker->stopping)
        weft_coordinator_problem(problems, "broker %d is drained and leads nothing until that is undone", broker->id);
}

void weft_coordinator_broker_problems(const weft_coordinator_t *self, const struct weft_cluster_broker *broker,
                                      struct weft_problems *problems)
{
    const struct weft_broker_session *session = weft_coordinator_session(self, broker->id);
    if (!broker->alive && broker->stored_count)
        weft_coordinator_problem(problems,
                                 "broker %d is down and holds %u partition%s; start it again, or see to its network",
                                 broker->id, broker->stored_count, s_s(broker->stored_count));
    s_wished(self, broker, problems);
    if (!session) return;
    if (session->ahead)
        weft_coordinator_problem(problems,
                                 "broker %d knows of %llu changes, this coordinator of %llu: its data directory is an "
                                 "old copy; put back the "
                                 "newest one",
                                 broker->id, (unsigned long long) session->ahead,
                                 (unsigned long long) weft_cluster_index(self->cluster));
    if (session->disk_failed)
        weft_coordinator_problem(problems, "the disk of broker %d failed: replace it, and start the broker again",
                                 broker->id);
    else if (session->turn_ms > S_STUCK_MS)
        weft_coordinator_problem(
            problems,
            "a shard or disk of broker %d has been busy with one turn for %u ms; look at its disk and its load",
            broker->id, session->turn_ms);
    else if (broker->sick)
        weft_coordinator_problem(problems, "broker %d was stuck and leads nothing until it is well for a while",
                                 broker->id);
}

// ---- partitions

/** Partitions of one topic that wait for the same brokers. */
struct s_group {
    const struct weft_cluster_topic *topic;
    int32_t brokers[S_SET_MAX];
    uint8_t broker_count; // 0: for nobody, all are damaged
    uint32_t first, count;
};

struct s_groups {
    struct s_group of[S_GROUPS_MAX];
    size_t used, topic_from; // groups of the present topic begin there
    uint32_t named;
};

static void s_group_add(struct s_groups *self, const struct weft_cluster_topic *topic, uint32_t number,
                        const int32_t *brokers, uint8_t count)
{
    size_t at = self->topic_from;
    while (at < self->used &&
           (self->of[at].broker_count != count || memcmp(self->of[at].brokers, brokers, count * sizeof *brokers) != 0))
        at++;
    if (at == S_GROUPS_MAX) return; // left to the total
    struct s_group *group = &self->of[at];
    if (at == self->used) {
        self->used++;
        *group = (struct s_group){.topic = topic, .broker_count = count, .first = number};
        memcpy(group->brokers, brokers, count * sizeof *brokers);
    }
    group->count++;
    self->named++;
}

static int s_compare_ids(const void *a, const void *b)
{
    int32_t x = *(const int32_t *) a, y = *(const int32_t *) b;
    return (x > y) - (x < y);
}

// Whom a partition without a leader waits for: members of its last set that have not said what they hold.
static uint8_t s_waits_for(const weft_coordinator_t *self, const struct weft_cluster_topic *topic, uint32_t number,
                           int32_t *out)
{
    const struct weft_cluster_partition *partition = &topic->partitions[number];
    const struct weft_told *told = weft_coordinator_told(self, topic->id, number);
    uint8_t count = 0;
    for (uint8_t i = 0; i < partition->replica_count; i++)
        if (weft_coordinator_is_frozen(partition, i) &&
            !(told && weft_coordinator_told_by(self, told, partition->replicas[i])))
            out[count++] = partition->replicas[i];
    if (count) qsort(out, count, sizeof *out, s_compare_ids);
    return count;
}

static void s_join(const int32_t *ids, uint8_t count, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = 0;
    for (uint8_t i = 0; i < count && used < bytes; i++)
        used += (size_t) snprintf(out + used, bytes - used, "%s%d",
                                  i == 0           ? ""
                                  : i + 1 == count ? " and "
                                                   : ", ",
                                  ids[i]);
}

static void s_say_group(const struct s_group *group, struct weft_problems *problems)
{
    char brokers[S_SET_MAX * 16];
    s_join(group->brokers, group->broker_count, brokers, sizeof brokers);
    const char *plural = group->broker_count == 1 ? "" : "s";
    if (group->broker_count == 0)
        weft_coordinator_problem(problems,
                                 "%u partition%s of '%s' (the first is %u) %s no leader: every replica that had all is "
                                 "damaged; restore one, or order an unclean election",
                                 group->count, s_s(group->count), group->topic->name, group->first,
                                 group->count == 1 ? "has" : "have");
    else if (group->count == 1)
        weft_coordinator_problem(problems, "partition %u of '%s' has no leader: it waits for broker%s %s", group->first,
                                 group->topic->name, plural, brokers);
    else
        weft_coordinator_problem(problems, "%u partitions of '%s' have no leader: they wait for broker%s %s",
                                 group->count, group->topic->name, plural, brokers);
}

static void s_leaderless(const weft_coordinator_t *self, uint32_t leaderless, struct weft_problems *problems)
{
    if (leaderless == 0) return;
    struct s_groups groups = {.used = 0};
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));) {
        groups.topic_from = groups.used;
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            if (topic->partitions[i].leader >= 0) continue;
            int32_t brokers[S_SET_MAX];
            uint8_t count = s_waits_for(self, topic, i, brokers);
            s_group_add(&groups, topic, i, brokers, count);
        }
    }
    for (size_t i = 0; i < groups.used; i++) s_say_group(&groups.of[i], problems);
    if (leaderless > groups.named)
        weft_coordinator_problem(problems, "%u more partition%s no leader", leaderless - groups.named,
                                 leaderless - groups.named == 1 ? " has" : "s have");
}

static bool s_is_in_sync(const struct weft_cluster_partition *partition, int32_t id)
{
    for (uint8_t i = 0; i < partition->isr_count; i++)
        if (partition->isr[i] == id) return true;
    return false;
}

/** Replicas that are not in sync though their brokers are up. */
struct s_behind {
    uint32_t count, first; // the first: a partition of `topic`
    const struct weft_cluster_topic *topic;
    int32_t brokers[S_SET_MAX]; // some of them
    uint8_t broker_count;
};

static void s_behind_add(struct s_behind *self, const struct weft_cluster_topic *topic, uint32_t number, int32_t id)
{
    if (self->count++ == 0) {
        self->topic = topic;
        self->first = number;
    }
    for (uint8_t i = 0; i < self->broker_count; i++)
        if (self->brokers[i] == id) return;
    if (self->broker_count < S_SET_MAX) self->brokers[self->broker_count++] = id;
}

static void s_say_behind(struct s_behind *self, struct weft_problems *problems)
{
    if (!self->count) return;
    char brokers[S_SET_MAX * 16];
    qsort(self->brokers, self->broker_count, sizeof *self->brokers, s_compare_ids);
    s_join(self->brokers, self->broker_count, brokers, sizeof brokers);
    weft_coordinator_problem(problems,
                             "%u replica%s on broker%s %s, up but not in sync (%s partition %u of '%s'), %s by "
                             "%s; if that takes long, see to the network between the brokers",
                             self->count, s_s(self->count), s_s(self->broker_count), brokers,
                             self->count == 1 ? "of" : "the first of", self->first, self->topic->name,
                             self->count == 1 ? "catches up" : "catch up", self->count == 1 ? "itself" : "themselves");
}

// Led, but by fewer than it should be: what brokers that are down explain is not told again.
static void s_lacking(const weft_coordinator_t *self, struct weft_problems *problems)
{
    uint32_t few = 0;
    struct s_behind behind = {.count = 0};
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));) {
        for (uint32_t i = 0; i < topic->partition_count; i++) {
            const struct weft_cluster_partition *partition = &topic->partitions[i];
            if (partition->leader < 0) continue;
            few += partition->isr_count < weft_cluster_min_insync(topic, partition);
            for (uint8_t r = 0; r < partition->replica_count && !partition->moving; r++)
                if (weft_cluster_broker(self->cluster, partition->replicas[r])->alive &&
                    !s_is_in_sync(partition, partition->replicas[r]))
                    s_behind_add(&behind, topic, i, partition->replicas[r]);
        }
    }
    if (few)
        weft_coordinator_problem(
            problems,
            "%u partition%s fewer replicas in sync than min.insync: what is produced there with acks "
            "all waits until more are back",
            few, few == 1 ? " has" : "s have");
    s_say_behind(&behind, problems);
}

static bool s_lags(const weft_coordinator_t *self, const struct weft_cluster_moving *moving, int32_t *down)
{
    for (uint8_t i = 0; i < moving->target_count; i++) {
        const struct weft_cluster_broker *broker = weft_cluster_broker(self->cluster, moving->target[i]);
        if (broker && broker->alive) continue;
        *down = moving->target[i];
        return true;
    }
    return false;
}

static void s_stuck_moves(const weft_coordinator_t *self, struct weft_problems *problems)
{
    uint32_t stuck = 0;
    int32_t down = -1;
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self->cluster, &cursor));)
        for (uint32_t i = 0; i < topic->partition_count; i++)
            if (topic->partitions[i].moving) stuck += s_lags(self, topic->partitions[i].moving, &down);
    if (stuck)
        weft_coordinator_problem(
            problems,
            "%u move%s of replicas wait%s for brokers that are down, like %d; start them, or cancel "
            "the moves",
            stuck, s_s(stuck), stuck == 1 ? "s" : "", down);
}

// The replica that leads, or the last in sync, can't be served.
static void s_damaged(const weft_coordinator_t *self, struct weft_problems *problems)
{
    void *value;
    for (size_t cursor = 0; weft_map_next(self->told, &cursor, NULL, &value);) {
        const struct weft_told *told = value;
        const struct weft_cluster_topic *topic = weft_cluster_topic(self->cluster, told->topic);
        if (!topic || told->partition >= topic->partition_count) continue;
        const struct weft_cluster_partition *partition = &topic->partitions[told->partition];
        const struct weft_told_by *by = weft_coordinator_told_by(self, told, partition->isr[0]);
        if (partition->leader < 0 || partition->isr_count != 1 || !by || !by->damaged) continue;
        weft_coordinator_problem(problems,
                                 "partition %u of '%s' is damaged on broker %d, which alone has all of it (weft log "
                                 "verify names the place): restore its directory from a copy, or order an unclean "
                                 "election of another replica",
                                 told->partition, topic->name, by->broker);
    }
}

void weft_coordinator_partition_problems(const weft_coordinator_t *self, struct weft_problems *problems)
{
    struct weft_cluster_health_counts counts;
    weft_cluster_count_health(self->cluster, &counts);
    s_leaderless(self, counts.leaderless, problems);
    s_damaged(self, problems);
    if (counts.under_replicated) s_lacking(self, problems);
    if (counts.moving) s_stuck_moves(self, problems);
}
