// SPDX-License-Identifier: MPL-2.0
// A hundred thousand random commands of all kinds, most of them legal, many stale: after each the invariants hold, epochs
// only grow, a frozen set stays whole, and a second replica, which was restored from a snapshot now and then, has the
// same bytes.
#include "cluster_fixture.h"

#include <stdlib.h>

enum { BROKERS = 7, TOPICS = 12, PARTITIONS = 3, COMMANDS = 100000 };

struct world {
    struct fixture *fixture;
    weft_cluster_t *twin;
    weft_rand_t rand;
    uint8_t incarnations[BROKERS];
    uint8_t ids[TOPICS]; // the id that a name has now
    uint8_t next_id;
    uint8_t last_topic;
    size_t accepted, refused;
};

static uint64_t s_below(struct world *self, uint64_t bound)
{
    return weft_rand_below(&self->rand, bound);
}

static int32_t s_any(struct world *self)
{
    return (int32_t) s_below(self, BROKERS);
}

static const struct weft_cluster_partition *s_pick(struct world *self, uint32_t *number)
{
    self->last_topic = self->ids[s_below(self, TOPICS)];
    const struct weft_cluster_topic *topic = weft_cluster_topic(self->fixture->cluster, s_id(self->last_topic));
    if (!topic) return NULL;
    *number = (uint32_t) s_below(self, topic->partition_count);
    return &topic->partitions[*number];
}

static size_t s_draw(struct world *self, int32_t *ids, size_t most)
{
    size_t count = 1 + s_below(self, most);
    int32_t first = s_any(self), stride = 1 + (int32_t) s_below(self, BROKERS - 1); // BROKERS is prime
    for (size_t i = 0; i < count; i++) ids[i] = (first + (int32_t) i * stride) % BROKERS;
    return count;
}

static int32_t s_epoch(struct world *self, int32_t epoch)
{
    return s_below(self, 8) ? epoch : epoch - 1; // stale now and then
}

static weft_id_t s_operation(struct world *self)
{
    weft_id_t id = {{0}};
    if (s_below(self, 2)) id.bytes[7] = (uint8_t) s_below(self, 256); // some repeat
    return id;
}

// ---- one command of each kind, into fixture->command

static void s_put_registered(struct world *self)
{
    int32_t id = s_any(self);
    struct weft_broker_registered_command it;
    weft_broker_registered_command_init(&it);
    weft_slice_t endpoints[2] = {weft_slice_text("inproc://a"), weft_slice_text("inproc://b")};
    weft_slice_t doors[2] = {weft_slice_text("inproc://c"), weft_slice_text("inproc://b")};
    if (s_below(self, 3)) self->incarnations[id]++;
    if (!self->incarnations[id]) self->incarnations[id] = 1;
    it.broker_id = id;
    it.incarnation = s_id(self->incarnations[id]);
    it.endpoints = endpoints;
    it.endpoints_count = 1 + s_below(self, 2);
    it.replica_endpoints = doors;
    it.replica_endpoints_count = s_below(self, 2) ? it.endpoints_count : 0;
    it.clean = s_below(self, 2);
    weft_broker_registered_command_encode(&it, &self->fixture->command);
}

static void s_put_fenced(struct world *self)
{
    struct weft_broker_fenced_command it;
    weft_broker_fenced_command_init(&it);
    it.broker_id = s_any(self);
    it.incarnation = s_id(self->incarnations[it.broker_id]);
    weft_broker_fenced_command_encode(&it, &self->fixture->command);
}

static void s_put_created(struct world *self)
{
    size_t name = s_below(self, TOPICS);
    char text[16];
    snprintf(text, sizeof text, "t%zu", name);
    struct weft_placement placement[PARTITIONS];
    int32_t replicas[PARTITIONS][5];
    struct weft_topic_created_command it;
    weft_topic_created_command_init(&it);
    it.placement_count = 1 + s_below(self, PARTITIONS);
    for (size_t i = 0; i < it.placement_count; i++)
        placement[i] = (struct weft_placement){.replicas = replicas[i], .replicas_count = s_draw(self, replicas[i], 5)};
    it.topic = weft_slice_text(text);
    if (!weft_cluster_topic_by_name(self->fixture->cluster, it.topic) && ++self->next_id)
        self->ids[name] = self->next_id;
    it.topic_id = s_id(self->ids[name]);
    it.placement = placement;
    it.operation = s_operation(self);
    weft_topic_created_command_encode(&it, &self->fixture->command);
}

static void s_put_deleted(struct world *self)
{
    struct weft_topic_deleted_command it;
    weft_topic_deleted_command_init(&it);
    it.topic_id = s_id(self->ids[s_below(self, TOPICS)]);
    if (self->next_id < 250) weft_topic_deleted_command_encode(&it, &self->fixture->command);
}

static void s_put_altered(struct world *self)
{
    static const char *const texts[] = {"0", "1", "2", "3", "16", "rubbish", ""};
    struct weft_config_entry entry = {weft_slice_text("min.insync"), weft_slice_text(texts[s_below(self, 7)])};
    struct weft_topic_altered_command it;
    weft_topic_altered_command_init(&it);
    it.topic_id = s_id(self->ids[s_below(self, TOPICS)]);
    it.config = &entry;
    it.config_count = s_below(self, 2);
    weft_topic_altered_command_encode(&it, &self->fixture->command);
}

static void s_put_changed(struct world *self)
{
    uint32_t number;
    const struct weft_cluster_partition *partition = s_pick(self, &number);
    if (!partition) return;
    struct weft_partition_changed_command it;
    weft_partition_changed_command_init(&it);
    int32_t isr[WEFT_REPLICAS_MAX], damaged = s_any(self);
    weft_id_t incarnations[WEFT_REPLICAS_MAX];
    for (uint8_t i = 0; i < partition->replica_count; i++) {
        int32_t id = partition->replicas[i];
        const struct weft_cluster_broker *broker = weft_cluster_broker(self->fixture->cluster, id);
        if (id != partition->leader && (!broker->alive || !s_below(self, 4)) && s_below(self, 20)) continue;
        isr[it.isr_count] = id;
        incarnations[it.isr_count++] = broker->incarnation;
    }
    it.topic_id = s_id(self->last_topic);
    it.partition = number;
    it.partition_epoch = s_epoch(self, partition->partition_epoch);
    it.leader_epoch = s_below(self, 2) ? s_epoch(self, partition->leader_epoch) : -1;
    it.leader = s_below(self, 6) ? partition->leader : s_any(self) - 1;
    it.isr = isr;
    it.incarnations = incarnations;
    it.incarnations_count = s_below(self, 3) ? it.isr_count : 0;
    it.damaged = &damaged;
    it.damaged_count = s_below(self, 5) == 0;
    weft_partition_changed_command_encode(&it, &self->fixture->command);
}

static void s_put_moved(struct world *self)
{
    struct weft_leader_move moves[4];
    struct weft_leaders_moved_command it;
    weft_leaders_moved_command_init(&it);
    for (size_t i = 0; i < 4; i++) {
        uint32_t number;
        const struct weft_cluster_partition *partition = s_pick(self, &number);
        if (!partition) continue;
        moves[it.moves_count++] =
            (struct weft_leader_move){.topic_id = s_id(self->last_topic),
                                      .partition = number,
                                      .partition_epoch = s_epoch(self, partition->partition_epoch),
                                      .leader = partition->isr[s_below(self, partition->isr_count)]};
    }
    it.moves = moves;
    weft_leaders_moved_command_encode(&it, &self->fixture->command);
}

static void s_put_elected(struct world *self)
{
    uint32_t number;
    const struct weft_cluster_partition *partition = s_pick(self, &number);
    if (!partition) return;
    struct weft_leader_elected_command it;
    weft_leader_elected_command_init(&it);
    it.topic_id = s_id(self->last_topic);
    it.partition = number;
    it.partition_epoch = s_epoch(self, partition->partition_epoch);
    it.leader = partition->replicas[s_below(self, partition->replica_count)];
    it.incarnation = s_id(self->incarnations[it.leader]);
    it.unclean = s_below(self, 8) == 0;
    weft_leader_elected_command_encode(&it, &self->fixture->command);
}

static void s_put_reassigned(struct world *self)
{
    uint32_t number;
    const struct weft_cluster_partition *partition = s_pick(self, &number);
    if (!partition) return;
    int32_t replicas[4];
    struct weft_replica_move move = {.topic_id = s_id(self->last_topic),
                                     .partition = number,
                                     .partition_epoch = s_epoch(self, partition->partition_epoch),
                                     .replicas = replicas};
    move.replicas_count = s_below(self, 4) ? s_draw(self, replicas, 4) : 0;
    struct weft_reassigned_command it;
    weft_reassigned_command_init(&it);
    it.moves = &move;
    it.moves_count = 1;
    it.operation = s_operation(self);
    weft_reassigned_command_encode(&it, &self->fixture->command);
}

static void s_put_broker_changed(struct world *self)
{
    struct weft_broker_changed_command it;
    weft_broker_changed_command_init(&it);
    it.broker_id = s_any(self);
    if (s_below(self, 2)) it.incarnation = s_id(self->incarnations[it.broker_id]);
    it.draining = s_below(self, 4) == 0;
    it.leaving = s_below(self, 4) == 0;
    it.sick = s_below(self, 4) == 0;
    weft_broker_changed_command_encode(&it, &self->fixture->command);
}

static void s_put_heard(struct world *self)
{
    struct weft_broker_heard_command it;
    weft_broker_heard_command_init(&it);
    it.broker_id = s_any(self);
    it.incarnation = s_id(self->incarnations[it.broker_id]);
    it.index = weft_cluster_index(self->fixture->cluster) - s_below(self, 20);
    if (weft_cluster_index(self->fixture->cluster) > 20) weft_broker_heard_command_encode(&it, &self->fixture->command);
}

static void s_put_removed(struct world *self)
{
    struct weft_broker_removed_command it;
    weft_broker_removed_command_init(&it);
    it.broker_id = s_any(self);
    weft_broker_removed_command_encode(&it, &self->fixture->command);
}

static void s_put_cluster(struct world *self)
{
    struct weft_voter voters[3] = {{0, s_below(self, 3), weft_slice_text("tcp://a:1")},
                                   {(int32_t) s_below(self, 3), 2, weft_slice_text("tcp://b:1")}};
    struct weft_config_entry entry = {weft_slice_text("reassign.bytes"),
                                      weft_slice_text(s_below(self, 2) ? "1m" : "2m")};
    struct weft_voters_changed_command changed;
    weft_voters_changed_command_init(&changed);
    changed.voters = voters;
    changed.voters_count = s_below(self, 3);
    struct weft_cluster_altered_command altered;
    weft_cluster_altered_command_init(&altered);
    altered.config = &entry;
    altered.config_count = s_below(self, 2);
    altered.operation = s_operation(self);
    struct weft_took_office_command office;
    weft_took_office_command_init(&office);
    office.endpoint = voters[0].endpoint;
    switch (s_below(self, 3)) {
    case 0: weft_voters_changed_command_encode(&changed, &self->fixture->command); break;
    case 1: weft_cluster_altered_command_encode(&altered, &self->fixture->command); break;
    default: weft_took_office_command_encode(&office, &self->fixture->command); break;
    }
}

static void s_put(struct world *self)
{
    switch (s_below(self, 30)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: s_put_registered(self); break;
    case 5:
    case 6: s_put_fenced(self); break;
    case 7: s_put_created(self); break;
    case 8:
        if (s_below(self, 40) == 0) s_put_deleted(self);
        break;
    case 9: s_put_altered(self); break;
    case 10:
    case 11: s_put_moved(self); break;
    case 12:
    case 13: s_put_elected(self); break;
    case 14:
    case 15: s_put_reassigned(self); break;
    case 16: s_put_broker_changed(self); break;
    case 17: s_put_removed(self); break;
    case 18: s_put_cluster(self); break;
    case 19:
    case 20: s_put_heard(self); break;
    default: s_put_changed(self); break;
    }
}

// ---- what must hold between two states

struct before {
    bool known;
    weft_id_t id;
    struct weft_cluster_partition partition;
    weft_id_t leader_incarnation;
};

static void s_look(struct world *self, struct before before[TOPICS][PARTITIONS])
{
    memset(before, 0, sizeof(struct before) * TOPICS * PARTITIONS);
    for (size_t t = 0; t < TOPICS; t++) {
        const struct weft_cluster_topic *topic = weft_cluster_topic(self->fixture->cluster, s_id(self->ids[t]));
        for (uint32_t p = 0; topic && p < topic->partition_count; p++) {
            struct before *it = &before[t][p];
            it->known = true;
            it->id = topic->id;
            it->partition = topic->partitions[p];
            if (it->partition.leader >= 0)
                it->leader_incarnation = weft_cluster_broker(self->fixture->cluster, it->partition.leader)->incarnation;
        }
    }
}

static uint32_t s_frozen(const struct weft_cluster_partition *it)
{
    uint32_t frozen = 0;
    for (uint8_t i = 0; i < it->isr_count; i++) frozen |= 1u << it->isr[i];
    for (uint8_t i = 0; i < it->replica_count; i++)
        if (it->eligible & (1u << i)) frozen |= 1u << it->replicas[i];
    return frozen;
}

static uint32_t s_leavers(const struct weft_cluster_partition *it)
{
    uint32_t leavers = 0;
    for (uint8_t i = 0; i < it->replica_count; i++)
        if (it->leavers & (1u << i)) leavers |= 1u << it->replicas[i];
    return leavers;
}

static void s_compare(struct world *self, struct before before[TOPICS][PARTITIONS])
{
    for (size_t t = 0; t < TOPICS; t++) {
        const struct weft_cluster_topic *topic = weft_cluster_topic(self->fixture->cluster, before[t][0].id);
        for (uint32_t p = 0; topic && p < topic->partition_count; p++) {
            const struct weft_cluster_partition *was = &before[t][p].partition, *is = &topic->partitions[p];
            assert_true(is->leader_epoch >= was->leader_epoch && is->partition_epoch >= was->partition_epoch); // C4
            bool same = is->leader == was->leader;
            if (same && is->leader >= 0)
                same = weft_id_equal(before[t][p].leader_incarnation,
                                     weft_cluster_broker(self->fixture->cluster, is->leader)->incarnation);
            if (!same) assert_true(is->leader_epoch > was->leader_epoch); // C5, I6
            bool sets = s_frozen(is) != s_frozen(was) || is->isr_count != was->isr_count || is->unsure != was->unsure ||
                        is->replica_count != was->replica_count;
            if (!same || sets) assert_true(is->partition_epoch > was->partition_epoch);
            if (was->leader >= 0 || is->leader >= 0) continue;
            assert_int_equal(s_frozen(is), s_frozen(was)); // rule 4
            assert_int_equal(s_leavers(is), s_leavers(was));
        }
    }
}

static void s_step(struct world *self, int number)
{
    static struct before before[TOPICS][PARTITIONS];
    weft_buf_clear(&self->fixture->command);
    s_put(self);
    if (self->fixture->command.size == 0) return;
    s_look(self, before);
    weft_buf_t again;
    weft_buf_init(&again);
    weft_buf_append(&again, self->fixture->command.data, self->fixture->command.size);
    weft_err_t err = s_apply(self->fixture);
    uint64_t index = weft_cluster_index(self->fixture->cluster);
    assert_int_equal(weft_cluster_apply(self->twin, index, weft_buf_slice(&again), NULL, NULL, NULL), err);
    weft_buf_fini(&again);
    *(err ? &self->refused : &self->accepted) += 1;
    weft_cluster_check(self->fixture->cluster);
    s_compare(self, before);
    if (number % 16) return;
    assert_int_equal(weft_cluster_digest(self->twin), weft_cluster_digest(self->fixture->cluster)); // O7
    if (number % 256) return;
    weft_buf_t snapshot;
    weft_buf_init(&snapshot);
    weft_cluster_encode(self->fixture->cluster, &snapshot);
    assert_int_equal(weft_cluster_decode(self->twin, weft_buf_slice(&snapshot)), WEFT_OK);
    weft_cluster_check(self->twin);
    assert_int_equal(weft_cluster_digest(self->twin), weft_cluster_digest(self->fixture->cluster));
    weft_buf_fini(&snapshot);
}

static void test_cluster_random__any_history_keeps_the_invariants_on_all_replicas(void **state)
{
    const char *seed = getenv("WEFT_RANDOM_SEED");
    struct world self = {.fixture = *state, .twin = weft_cluster_new()};
    weft_rand_init(&self.rand, seed ? strtoull(seed, NULL, 10) : 20261122);
    for (int i = 0; i < COMMANDS; i++) s_step(&self, i);
    print_message("%zu commands done, %zu refused\n", self.accepted, self.refused);
    assert_true(self.accepted > COMMANDS / 4);
    weft_cluster_destroy(&self.twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cluster_random__any_history_keeps_the_invariants_on_all_replicas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
