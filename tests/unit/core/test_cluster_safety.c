// SPDX-License-Identifier: MPL-2.0
// Elections against a model of who can hold every acknowledged record.
//
// Four brokers with logs, of which a partition has one to three replicas; the real state machine decides who leads. Each
// broker acts on a view of the state that is as old as chance has it: leaders append, followers copy, sync and report,
// leaders count marks and ask for other in-sync sets, proposals are applied late, twice or never, brokers are fenced
// while they live, stop cleanly, are killed, lose power and with it what they had not synced; replicas are moved,
// min.insync changes, brokers drain and fall sick. After every step the leader of the newest epoch that acts must have
//     - every record that was acknowledged as durable, whatever was lost;
//     - every record that was acknowledged as committed, as long as fewer brokers stopped uncleanly than min_insync;
//     - with one broker whose machine keeps its power: every record that was committed with it, until it had left and all
//       that stayed had heard so while they lived.
// And when all brokers are back, the partition has a leader again.
#include "cluster_fixture.h"

#include <stdlib.h>

enum { BROKERS = 4, LOG_MAX = 48, HISTORY_MAX = 4096, ASKS_MAX = 8, NONE = -1 };

struct entry {
    int32_t epoch;
    uint32_t value;
};

// What a node knows of the partition at some index.
struct view {
    uint64_t index;
    int32_t leader, leader_epoch, partition_epoch;
    unsigned replicas, isr; // bits of broker ids
    uint32_t min_insync;
    uint8_t incarnations[BROKERS];
};

struct report { // as the leader remembers it
    int32_t epoch;
    uint8_t incarnation;
    size_t end, synced;
};

struct broker {
    bool up, registered, was_clean; // of this run; was_clean: it found the marker of a clean stop
    bool clean;                     // the marker is there
    uint8_t incarnation;
    struct entry log[LOG_MAX];
    size_t end, synced;
    size_t view; // in the history
    int32_t aligned_epoch;
    struct report reports[BROKERS];
    unsigned asked_in; // counted since, until the partition epoch moves
    int32_t asked_epoch;
    int32_t led_epoch; // in which it leads, or led, and what it had when it began
    size_t inherited_end;
    size_t committed, durable; // what it acknowledged in this run
    uint8_t beat_incarnation;  // its last heartbeat
    uint64_t beat_index;
    bool whole;          // lost nothing since it came to those that had all
    uint64_t seen_index; // highest state that it took up while it was
};

struct ask {
    int32_t partition_epoch, leader_epoch, leader;
    unsigned isr;
    uint8_t incarnations[BROKERS];
};

struct world {
    struct fixture *fixture;
    weft_rand_t rand;
    struct broker brokers[BROKERS];
    struct view *history;
    size_t history_count;
    struct ask asks[ASKS_MAX];
    size_t ask_count;
    uint8_t next_incarnation;
    uint32_t next_value;
    struct entry acknowledged[LOG_MAX]; // by offset; epoch 1: durable, 0: committed
    size_t acknowledged_end;
    uint32_t unclean_stops, unclean_max, lowest_min;
    uint64_t calm;        // of so many steps one is a fault or an order
    uint64_t slow;        // of so many turns of a disk one syncs
    int32_t newest_epoch; // in which anybody led
    bool elected_any;
    int32_t keeper;      // never loses power; NONE: nobody
    bool kept[LOG_MAX];  // committed with it, so not to be lost
    uint64_t left_index; // since when it and everybody else who left is gone from those that had all; 0: it is not
    unsigned had_all;    // in sync or eligible, as bits of broker ids
};

static uint64_t s_below(struct world *self, uint64_t bound)
{
    return weft_rand_below(&self->rand, bound);
}

// ---- the state, and views of it

static const struct weft_cluster_partition *s_now(struct world *self)
{
    return s_partition(self->fixture, 1, 0);
}

static bool s_is_candidate(const struct weft_cluster_partition *it, int32_t id)
{
    for (uint8_t i = 0; i < it->isr_count; i++)
        if (it->isr[i] == id) return true;
    for (uint8_t i = 0; i < it->replica_count; i++)
        if (it->replicas[i] == id && ((it->eligible | it->leavers) & (1u << i))) return true;
    return false;
}

// The state as decided; what its own rule about leavers makes of it is not asked.
static void s_follow_keeper(struct world *self, const struct weft_cluster_partition *it)
{
    unsigned had_all = 0, replicas = 0;
    for (uint8_t i = 0; i < it->isr_count; i++) had_all |= 1u << it->isr[i];
    for (uint8_t i = 0; i < it->replica_count; i++) {
        replicas |= 1u << it->replicas[i];
        if (it->eligible & (1u << i)) had_all |= 1u << it->replicas[i];
    }
    for (int32_t i = 0; i < BROKERS; i++)
        if (had_all & ~self->had_all & 1u << i) self->brokers[i].whole = true;
    bool stays = self->keeper >= 0 && (had_all & 1u << self->keeper);
    if (stays)
        self->left_index = 0;
    else if (self->left_index == 0 || (self->had_all & ~had_all))
        self->left_index = weft_cluster_index(self->fixture->cluster);
    self->had_all = had_all;
    if (self->keeper < 0 || !(replicas & 1u << self->keeper)) memset(self->kept, 0, sizeof self->kept); // moved away
}

// All that stayed lived on when the keeper had left: from now on they are the in-sync set, and all may die.
static void s_release_keeper(struct world *self)
{
    if (self->left_index == 0 || s_now(self)->leader < 0) return;
    for (int32_t i = 0; i < BROKERS; i++)
        if ((self->had_all & 1u << i) && self->brokers[i].seen_index < self->left_index) return;
    memset(self->kept, 0, sizeof self->kept);
}

static void s_remember(struct world *self)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->fixture->cluster, s_id(1));
    const struct weft_cluster_partition *it = &topic->partitions[0];
    assert_true(self->history_count < HISTORY_MAX);
    struct view *view = &self->history[self->history_count++];
    s_follow_keeper(self, it);
    *view = (struct view){.index = weft_cluster_index(self->fixture->cluster),
                          .leader = it->leader,
                          .leader_epoch = it->leader_epoch,
                          .partition_epoch = it->partition_epoch,
                          .min_insync = weft_cluster_min_insync(topic, it)};
    for (uint8_t i = 0; i < it->replica_count; i++) view->replicas |= 1u << it->replicas[i];
    for (uint8_t i = 0; i < it->isr_count; i++) view->isr |= 1u << it->isr[i];
    for (int32_t i = 0; i < BROKERS; i++)
        view->incarnations[i] = weft_cluster_broker(self->fixture->cluster, i)->incarnation.bytes[15];
    if (view->min_insync < self->lowest_min) self->lowest_min = view->min_insync;
    weft_cluster_check(self->fixture->cluster);
}

static const struct view *s_view(const struct world *self, int32_t id)
{
    return &self->history[self->brokers[id].view];
}

static bool s_leads(const struct world *self, int32_t id)
{
    const struct broker *broker = &self->brokers[id];
    const struct view *view = s_view(self, id);
    return broker->up && broker->registered && view->leader == id && view->incarnations[id] == broker->incarnation;
}

// Takes up a view of the state.
static void s_know(struct world *self, int32_t id, size_t index)
{
    struct broker *broker = &self->brokers[id];
    broker->view = index;
    uint64_t seen = self->history[index].index;
    if (broker->whole && seen > broker->seen_index) broker->seen_index = seen;
    if (!s_leads(self, id) || broker->led_epoch == s_view(self, id)->leader_epoch) return;
    broker->led_epoch = s_view(self, id)->leader_epoch;
    broker->inherited_end = broker->end;
}

// ---- brokers' lives

static void s_start(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    if (broker->up) return;
    broker->up = true;
    broker->registered = false;
    broker->was_clean = broker->clean;
    broker->clean = false;
    broker->incarnation = ++self->next_incarnation;
    broker->synced = broker->end; // recovery
    broker->aligned_epoch = broker->led_epoch = NONE;
    broker->asked_in = 0;
    broker->committed = broker->durable = 0;
    memset(broker->reports, 0, sizeof broker->reports);
}

static void s_join(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    const struct weft_cluster_broker *known = weft_cluster_broker(self->fixture->cluster, id);
    if (!broker->up || (broker->registered && known->alive)) return;
    assert_int_equal(s_register(self->fixture, id, broker->incarnation, broker->was_clean || broker->registered),
                     WEFT_OK);
    broker->registered = true;
    s_remember(self);
    s_know(self, id, self->history_count - 1);
}

static void s_stop(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    if (!broker->up) return;
    broker->up = false;
    broker->synced = broker->end;
    broker->clean = broker->registered || broker->was_clean; // what nobody was told is not forgotten
}

static void s_crash(struct world *self, int32_t id, bool power)
{
    struct broker *broker = &self->brokers[id];
    if (self->unclean_stops >= self->unclean_max) return;
    if (!broker->up) return;
    self->unclean_stops++;
    broker->up = broker->clean = false;
    if (power && id != self->keeper) broker->whole = false;
    if (power && id != self->keeper) broker->end = broker->synced + s_below(self, broker->end - broker->synced + 1);
}

// ---- replication

static void s_append(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    if (!s_leads(self, id) || broker->end == LOG_MAX) return;
    broker->log[broker->end++] = (struct entry){s_view(self, id)->leader_epoch, ++self->next_value};
}

static bool s_same_entry(const struct entry *a, const struct entry *b)
{
    return a->epoch == b->epoch && a->value == b->value;
}

// A follower takes what the leader of its view has next, having cut what diverges, and reports.
static void s_replicate(struct world *self, int32_t id)
{
    struct broker *follower = &self->brokers[id];
    const struct view *view = s_view(self, id);
    int32_t leader_id = view->leader;
    if (!follower->up || !follower->registered || leader_id < 0 || leader_id == id || !(view->replicas & 1u << id))
        return;
    struct broker *leader = &self->brokers[leader_id];
    const struct view *led = s_view(self, leader_id);
    if (!s_leads(self, leader_id) || led->leader_epoch != view->leader_epoch) return;
    if (led->incarnations[id] != follower->incarnation) return; // refused until the leader knows this start
    if (follower->aligned_epoch != view->leader_epoch) {
        size_t common = 0;
        while (common < follower->end && common < leader->end &&
               s_same_entry(&follower->log[common], &leader->log[common]))
            common++;
        follower->end = common;
        if (follower->synced > common) follower->synced = common;
        follower->aligned_epoch = view->leader_epoch;
    } else if (follower->end < leader->end) {
        follower->log[follower->end] = leader->log[follower->end];
        follower->end++;
    }
    leader->reports[id] = (struct report){view->leader_epoch, follower->incarnation, follower->end, follower->synced};
}

// What the leader believes of a member in this epoch.
static struct report s_report(const struct world *self, int32_t leader, int32_t id)
{
    const struct broker *broker = &self->brokers[leader];
    if (id == leader) return (struct report){0, broker->incarnation, broker->end, broker->synced};
    struct report report = broker->reports[id];
    const struct view *view = s_view(self, leader);
    if (report.epoch != view->leader_epoch || report.incarnation != view->incarnations[id]) report = (struct report){0};
    return report;
}

static unsigned s_counted(const struct world *self, int32_t leader)
{
    const struct broker *broker = &self->brokers[leader];
    const struct view *view = s_view(self, leader);
    return view->isr | (broker->asked_epoch == view->partition_epoch ? broker->asked_in : 0);
}

static void s_marks(const struct world *self, int32_t leader, size_t *committed, size_t *durable)
{
    const struct view *view = s_view(self, leader);
    *committed = *durable = 0;
    if ((uint32_t) __builtin_popcount(view->isr) < view->min_insync) return;
    *committed = *durable = LOG_MAX;
    for (int32_t i = 0; i < BROKERS; i++) {
        if (!(s_counted(self, leader) & 1u << i)) continue;
        struct report report = s_report(self, leader, i);
        if (report.end < *committed) *committed = report.end;
        if (report.synced < *durable) *durable = report.synced;
    }
}

static void s_acknowledge(struct world *self, int32_t id)
{
    if (!s_leads(self, id)) return;
    size_t committed, durable;
    s_marks(self, id, &committed, &durable);
    struct broker *broker = &self->brokers[id];
    if (committed > broker->committed) broker->committed = committed;
    if (durable > broker->durable) broker->durable = durable;
    bool gentle = self->unclean_stops < self->lowest_min;
    for (size_t i = 0; i < committed; i++) {
        if (i >= self->acknowledged_end) {
            self->acknowledged[i] = (struct entry){0, self->brokers[id].log[i].value};
            self->acknowledged_end = i + 1;
        }
        struct entry *told = &self->acknowledged[i];
        if (told->epoch || gentle || self->kept[i]) assert_int_equal(told->value, self->brokers[id].log[i].value); // I6
        told->value = self->brokers[id].log[i].value;
        if (i < durable) told->epoch = 1;
        if (self->keeper >= 0 && (s_counted(self, id) & 1u << self->keeper)) self->kept[i] = true;
    }
}

// ---- in-sync sets

// The leader asks for another set: members leave by chance, others join that have all it acknowledged.
static void s_ask_for(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    const struct view *view = s_view(self, id);
    if (!s_leads(self, id) || self->ask_count == ASKS_MAX) return;
    if (broker->asked_epoch == view->partition_epoch && broker->asked_in) return; // one at a time
    struct ask ask = {.partition_epoch = view->partition_epoch, .leader_epoch = view->leader_epoch, .leader = id};
    unsigned joining = 0;
    for (int32_t i = 0; i < BROKERS; i++) {
        unsigned bit = 1u << i;
        struct report report = s_report(self, id, i);
        ask.incarnations[i] = view->incarnations[i];
        bool fits = (view->replicas & bit) && report.incarnation == view->incarnations[i] &&
                    report.end >= broker->committed && report.synced >= broker->durable &&
                    report.synced >= broker->inherited_end; // rule 3
        if (i == id || ((view->isr & bit) && s_below(self, 4))) ask.isr |= bit;
        if (!(view->isr & bit) && fits && s_below(self, 4)) joining |= bit;
    }
    ask.isr |= joining;
    if (ask.isr == view->isr) return;
    broker->asked_in = joining;
    broker->asked_epoch = view->partition_epoch;
    self->asks[self->ask_count++] = ask;
}

static void s_grant(struct world *self)
{
    if (self->ask_count == 0) return;
    size_t which = s_below(self, self->ask_count);
    struct ask ask = self->asks[which];
    if (s_below(self, 3)) self->asks[which] = self->asks[--self->ask_count]; // or once more later
    struct weft_partition_changed_command it;
    weft_partition_changed_command_init(&it);
    int32_t isr[BROKERS];
    weft_id_t incarnations[BROKERS];
    for (int32_t i = 0; i < BROKERS; i++) {
        if (!(ask.isr & 1u << i)) continue;
        isr[it.isr_count] = i;
        incarnations[it.isr_count++] = s_id(ask.incarnations[i]);
    }
    it.topic_id = s_id(1);
    it.partition_epoch = ask.partition_epoch;
    it.leader_epoch = ask.leader_epoch;
    it.leader = ask.leader;
    it.isr = isr;
    it.incarnations = incarnations;
    it.incarnations_count = it.isr_count;
    weft_partition_changed_command_encode(&it, &self->fixture->command);
    (void) s_apply(self->fixture);
    s_remember(self);
}

// ---- the coordinator

// Of a partition without a leader: once all of the frozen set have recovered, the best leads.
static void s_elect_reported(struct world *self)
{
    const struct weft_cluster_partition *partition = s_now(self);
    if (partition->leader >= 0) return;
    int32_t best = NONE;
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        if (!s_is_candidate(partition, id)) continue;
        const struct broker *broker = &self->brokers[id];
        if (!broker->up || !broker->registered || !weft_cluster_broker(self->fixture->cluster, id)->alive) return;
        const struct broker *so_far = best < 0 ? NULL : &self->brokers[best];
        int32_t epoch = broker->end ? broker->log[broker->end - 1].epoch : NONE;
        int32_t best_epoch = so_far && so_far->end ? so_far->log[so_far->end - 1].epoch : NONE;
        if (!so_far || epoch > best_epoch || (epoch == best_epoch && broker->end > so_far->end)) best = id;
    }
    for (size_t i = 0; i < self->acknowledged_end; i++) {
        if (!self->kept[i]) continue;
        assert_true(i < self->brokers[best].end);
        assert_int_equal(self->brokers[best].log[i].value, self->acknowledged[i].value);
    }
    assert_int_equal(s_elect(self->fixture, 1, best, self->brokers[best].incarnation, false), WEFT_OK);
    s_remember(self);
    self->elected_any = true;
}

static void s_order(struct world *self)
{
    int32_t id = (int32_t) s_below(self, BROKERS), replicas[3];
    switch (s_below(self, 6)) {
    case 0:
        for (int32_t i = 0; i < 3; i++) replicas[i] = (id + i) % BROKERS;
        (void) s_reassign(self->fixture, 1, replicas, s_below(self, 4)); // 0: given up
        break;
    case 1: (void) s_move_leader(self->fixture, 1, id); break;
    case 2: (void) s_alter(self->fixture, 1, (const char *[]){"0", "1", "2", "3"}[s_below(self, 4)]); break;
    case 3: (void) s_change_broker(self->fixture, id, 0, s_below(self, 2), false, s_below(self, 2)); break;
    default: (void) s_change_broker(self->fixture, id, 0, false, false, false); break;
    }
    s_remember(self);
}

// Heartbeats come late, also from those that are dead by then.
static void s_beat(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    if (broker->up && broker->registered) {
        broker->beat_incarnation = broker->incarnation;
        broker->beat_index = s_view(self, id)->index;
    }
    if (s_below(self, 2) && broker->beat_index)
        (void) s_heard(self->fixture, id, broker->beat_incarnation, broker->beat_index);
}

static void s_fence_one(struct world *self, int32_t id)
{
    uint8_t incarnation = weft_cluster_broker(self->fixture->cluster, id)->incarnation.bytes[15];
    assert_int_equal(s_fence(self->fixture, id, incarnation), WEFT_OK);
    s_remember(self);
}

// ---- runs

static void s_check_world(struct world *self)
{
    s_release_keeper(self);
    int32_t leader = NONE;
    for (int32_t i = 0; i < BROKERS; i++)
        if (s_leads(self, i) && (leader < 0 || s_view(self, i)->leader_epoch > s_view(self, leader)->leader_epoch))
            leader = i;
    if (leader < 0 || s_view(self, leader)->leader_epoch < self->newest_epoch) return; // one of the past
    self->newest_epoch = s_view(self, leader)->leader_epoch;
    const struct broker *broker = &self->brokers[leader];
    bool gentle = self->unclean_stops < self->lowest_min;
    for (size_t i = 0; i < self->acknowledged_end; i++) {
        if (!self->acknowledged[i].epoch && !gentle && !self->kept[i]) continue;
        assert_true(i < broker->end);
        assert_int_equal(broker->log[i].value, self->acknowledged[i].value);
    }
}

static void s_hear(struct world *self, int32_t id)
{
    struct broker *broker = &self->brokers[id];
    size_t behind = self->history_count - 1 - broker->view;
    if (broker->up && broker->registered && behind)
        s_know(self, id, broker->view + (s_below(self, 2) ? behind : 1 + s_below(self, behind)));
}

static void s_step(struct world *self)
{
    int32_t id = (int32_t) s_below(self, BROKERS);
    struct broker *broker = &self->brokers[id];
    if (s_below(self, self->calm) == 0) {
        switch (s_below(self, 6)) {
        case 0: s_crash(self, id, true); break;
        case 1: s_crash(self, id, false); break;
        case 2: s_stop(self, id); break;
        case 3: s_order(self); break;
        default: s_fence_one(self, id); break;
        }
        s_check_world(self);
        return;
    }
    switch (s_below(self, 26)) {
    case 0: s_start(self, id); break;
    case 1:
    case 2: s_join(self, id); break;
    case 3: s_elect_reported(self); break;
    case 4: s_ask_for(self, id); break;
    case 5:
    case 6: s_grant(self); break;
    case 7:
    case 8: s_append(self, id); break;
    case 9:
    case 10:
        if (s_below(self, self->slow) == 0) broker->synced = broker->end;
        break;
    case 11:
    case 12:
    case 13: s_hear(self, id); break;
    case 14:
    case 15:
    case 16: s_acknowledge(self, id); break;
    case 17:
    case 18: s_beat(self, id); break;
    default: s_replicate(self, id); break;
    }
    s_check_world(self);
}

// All come back, nobody fails any more: the partition must get a leader, unless a sure one is what it has.
static void s_heal(struct world *self)
{
    for (int32_t i = 0; i < BROKERS; i++) {
        s_start(self, i);
        s_join(self, i);
    }
    s_elect_reported(self);
    for (int32_t i = 0; i < BROKERS; i++) s_know(self, i, self->history_count - 1);
    assert_true(s_now(self)->leader >= 0);
    s_check_world(self);
}

enum mode { DURABLE, GENTLE, KEEPER };

static void s_run(uint64_t seed, enum mode mode, int steps, size_t *acknowledged, size_t *elected)
{
    bool gentle = mode == GENTLE;
    struct world *self = weft_calloc(1, sizeof *self);
    s_setup((void **) &self->fixture);
    self->history = weft_calloc(HISTORY_MAX, sizeof *self->history);
    weft_rand_init(&self->rand, seed);
    self->lowest_min = 3;
    self->keeper = mode == KEEPER ? (int32_t) s_below(self, BROKERS) : NONE;
    self->unclean_max = gentle ? 2 : UINT32_MAX;
    self->slow = 1 + s_below(self, 10);
    self->calm = 3 + s_below(self, s_below(self, 2) ? 20 : 120);
    for (int32_t i = 0; i < BROKERS; i++) {
        self->brokers[i].clean = true;
        s_start(self, i);
        assert_int_equal(s_register(self->fixture, i, self->brokers[i].incarnation, true), WEFT_OK);
        self->brokers[i].registered = true;
    }
    int32_t replicas[3] = {0, 1, 2};
    assert_int_equal(s_create(self->fixture, "t", 1, 1, replicas, 3), WEFT_OK);
    if (gentle) assert_int_equal(s_alter(self->fixture, 1, s_below(self, 2) ? "2" : "3"), WEFT_OK);
    s_remember(self);
    for (int i = 0; i < steps && self->next_incarnation < 240; i++) s_step(self);
    s_heal(self);
    *acknowledged += self->acknowledged_end;
    *elected += self->elected_any;
    s_teardown((void **) &self->fixture);
    free(self->history);
    free(self);
}

static void s_runs(enum mode mode)
{
    const char *wanted = getenv("WEFT_SAFETY_RUNS"), *first = getenv("WEFT_SAFETY_SEED");
    uint64_t runs = wanted ? strtoull(wanted, NULL, 10) : 1500, from = first ? strtoull(first, NULL, 10) : 1;
    size_t acknowledged = 0, elected = 0;
    for (uint64_t i = from; i < from + runs; i++) {
        if (first) print_message("seed %llu\n", (unsigned long long) i);
        s_run(i, mode, 1500, &acknowledged, &elected);
    }
    print_message("%llu runs: %zu records acknowledged, %zu runs with an election by reports\n",
                  (unsigned long long) runs, acknowledged, elected);
    assert_true(acknowledged > runs);
}

static void test_cluster_safety__what_was_durable_is_never_lost(void **state)
{
    (void) state;
    s_runs(DURABLE);
}

static void test_cluster_safety__what_was_committed_survives_all_but_one_of_the_in_sync(void **state)
{
    (void) state;
    s_runs(GENTLE);
}

static void test_cluster_safety__one_machine_that_keeps_its_power_is_enough(void **state)
{
    (void) state;
    s_runs(KEEPER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_safety__what_was_durable_is_never_lost),
        cmocka_unit_test(test_cluster_safety__what_was_committed_survives_all_but_one_of_the_in_sync),
        cmocka_unit_test(test_cluster_safety__one_machine_that_keeps_its_power_is_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
