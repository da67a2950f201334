// SPDX-License-Identifier: MPL-2.0
// Which replicas should move.
//
// Decommission: each replica of the broker goes, at its place in the order, to the broker with a rack that the partition
// does not use and the fewest replicas. Evening out: first racks that a partition uses twice though another is free;
// then every broker gets a goal (the average, rounded so that who has most keeps most) and gives what it has above to
// those below, which is the least that can move; then the order of replicas is changed, which moves no data, until
// preferred leaders are even too. A broker that is above another has a partition that the other has not, so only
// racks and partitions that move already keep it from its goal. Counts are those after the moves under way.
#include "cluster.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

struct s_seat {
    const struct weft_cluster_broker *broker;
    bool takes;                    // replicas may go there
    uint32_t stored, goal, firsts; // as planned so far; firsts: it is the preferred leader
    uint64_t shuffle;
    uint32_t *parts; // that it holds at the beginning
    uint32_t part_count;
};

struct s_part {
    const struct weft_cluster_topic *topic;
    uint32_t number;
    uint32_t seats[WEFT_REPLICAS_MAX];
    uint8_t count;
    bool changed;
};

struct s_plan {
    struct s_seat *seats;
    uint32_t seat_count;
    struct s_part *parts;
    uint32_t part_count;
    uint32_t *lists; // memory of all seats' parts
};

// ---- the state as seats and parts

static void s_seats(struct s_plan *plan, const weft_cluster_t *self, int32_t leaver, weft_rand_t *rand,
                    weft_map_t *by_id)
{
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; weft_cluster_next_broker(self, &cursor);) plan->seat_count++;
    plan->seats = weft_calloc(plan->seat_count, sizeof *plan->seats);
    uint32_t i = 0;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(self, &cursor)); i++) {
        struct s_seat *seat = &plan->seats[i];
        seat->broker = broker;
        seat->shuffle = weft_rand_next(rand);
        seat->takes = broker->alive && !broker->draining && !broker->leaving && !broker->sick && broker->id != leaver;
        weft_map_put_u64(by_id, (uint64_t) broker->id, seat);
    }
}

static void s_take_part(struct s_plan *plan, const struct weft_cluster_topic *topic, uint32_t number, weft_map_t *by_id)
{
    const struct weft_cluster_partition *partition = &topic->partitions[number];
    const struct weft_cluster_moving *moving = partition->moving;
    const int32_t *replicas = moving ? moving->target : partition->replicas;
    uint8_t count = moving ? moving->target_count : partition->replica_count;
    struct s_part part = {.topic = topic, .number = number, .count = count};
    for (uint8_t i = 0; i < count; i++) {
        struct s_seat *seat = weft_map_get_u64(by_id, (uint64_t) replicas[i]);
        seat->stored++;
        seat->firsts += i == 0;
        seat->part_count += !moving;
        part.seats[i] = (uint32_t) (seat - plan->seats);
    }
    if (!moving) plan->parts[plan->part_count++] = part;
}

static void s_begin(struct s_plan *plan, const weft_cluster_t *self, int32_t leaver, weft_rand_t *rand)
{
    weft_map_t *by_id = weft_map_new();
    s_seats(plan, self, leaver, rand, by_id);
    plan->parts = weft_calloc((size_t) weft_cluster_partition_count(self) + 1, sizeof *plan->parts);
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(self, &cursor));)
        for (uint32_t i = 0; i < topic->partition_count; i++) s_take_part(plan, topic, i, by_id);
    weft_map_destroy(&by_id);
    size_t held = 0;
    for (uint32_t i = 0; i < plan->seat_count; i++) held += plan->seats[i].part_count;
    plan->lists = weft_calloc(held + 1, sizeof *plan->lists);
    uint32_t *next = plan->lists;
    for (uint32_t i = 0; i < plan->seat_count; i++) {
        plan->seats[i].parts = next;
        next += plan->seats[i].part_count;
        plan->seats[i].part_count = 0;
    }
    for (uint32_t p = 0; p < plan->part_count; p++) {
        for (uint8_t i = 0; i < plan->parts[p].count; i++) {
            struct s_seat *seat = &plan->seats[plan->parts[p].seats[i]];
            seat->parts[seat->part_count++] = p;
        }
    }
}

static void s_fini(struct s_plan *plan)
{
    free(plan->lists);
    free(plan->parts);
    free(plan->seats);
}

// ---- one partition

static int s_place_of(const struct s_part *part, uint32_t seat)
{
    for (uint8_t i = 0; i < part->count; i++)
        if (part->seats[i] == seat) return i;
    return -1;
}

// How many other replicas of the partition are in this seat's rack. No rack says nothing.
static uint32_t s_shared(const struct s_plan *plan, const struct s_part *part, uint32_t seat, int but)
{
    const char *rack = plan->seats[seat].broker->rack;
    uint32_t shared = 0;
    for (uint8_t i = 0; i < part->count && rack[0]; i++)
        shared += i != but && strcmp(plan->seats[part->seats[i]].broker->rack, rack) == 0;
    return shared;
}

static void s_replace(struct s_plan *plan, struct s_part *part, int place, uint32_t seat)
{
    struct s_seat *from = &plan->seats[part->seats[place]], *to = &plan->seats[seat];
    from->stored--;
    to->stored++;
    from->firsts -= place == 0;
    to->firsts += place == 0;
    part->seats[place] = seat;
    part->changed = true;
}

// Is `a` the better place for a replica: a rack less shared, then fewer replicas, then chance.
static bool s_better(const struct s_plan *plan, uint32_t a, uint32_t a_shared, uint32_t b, uint32_t b_shared)
{
    const struct s_seat *x = &plan->seats[a], *y = &plan->seats[b];
    if (a_shared != b_shared) return a_shared < b_shared;
    if (x->stored != y->stored) return x->stored < y->stored;
    return x->shuffle < y->shuffle;
}

// Where the replica at `place` should go, false if there is nowhere.
static bool s_find(const struct s_plan *plan, const struct s_part *part, int place, bool draining_too, uint32_t *out)
{
    bool found = false;
    uint32_t best_shared = 0;
    for (uint32_t i = 0; i < plan->seat_count; i++) {
        const struct weft_cluster_broker *broker = plan->seats[i].broker;
        bool takes = plan->seats[i].takes || (draining_too && broker->alive && !broker->leaving && !broker->sick);
        if (!takes || s_place_of(part, i) >= 0) continue;
        uint32_t shared = s_shared(plan, part, i, place);
        if (found && !s_better(plan, i, shared, *out, best_shared)) continue;
        found = true;
        *out = i;
        best_shared = shared;
    }
    return found;
}

// ---- decommission

static weft_err_t s_empty(struct s_plan *plan, int32_t broker, struct weft_error *error)
{
    uint32_t leaver = 0;
    while (leaver < plan->seat_count && plan->seats[leaver].broker->id != broker) leaver++;
    if (leaver == plan->seat_count)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_BROKER, "no broker %d is registered", broker);
    for (uint32_t i = 0; i < plan->seats[leaver].part_count; i++) {
        struct s_part *part = &plan->parts[plan->seats[leaver].parts[i]];
        int place = s_place_of(part, leaver);
        uint32_t to;
        if (!s_find(plan, part, place, false, &to) && !s_find(plan, part, place, true, &to))
            return weft_error_set(
                error, WEFT_ERR_INVALID_REPLICATION,
                "partition %u of '%.200s' has %u replicas and no other live broker could take that of "
                "broker %d; start another broker",
                part->number, part->topic->name, part->count, broker);
        s_replace(plan, part, place, to);
    }
    return WEFT_OK;
}

// ---- evening out

// The later of two replicas in one rack goes where no other is.
static void s_spread_racks(struct s_plan *plan)
{
    for (uint32_t p = 0; p < plan->part_count; p++) {
        struct s_part *part = &plan->parts[p];
        for (int place = part->count - 1; place > 0; place--) {
            uint32_t seat = part->seats[place], to;
            if (!plan->seats[seat].takes || s_shared(plan, part, seat, place) == 0) continue;
            if (s_find(plan, part, place, false, &to) && s_shared(plan, part, to, place) == 0)
                s_replace(plan, part, place, to);
        }
    }
}

static int s_most_first(const void *a, const void *b)
{
    const struct s_seat *x = *(struct s_seat *const *) a, *y = *(struct s_seat *const *) b;
    if (x->stored != y->stored) return x->stored > y->stored ? -1 : 1;
    return x->shuffle < y->shuffle ? -1 : x->shuffle > y->shuffle;
}

static void s_set_goals(struct s_plan *plan)
{
    struct s_seat **order = weft_calloc(plan->seat_count + 1, sizeof *order);
    uint64_t total = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->seat_count; i++) {
        if (!plan->seats[i].takes) continue;
        order[count++] = &plan->seats[i];
        total += plan->seats[i].stored;
    }
    if (count) qsort(order, count, sizeof order[0], s_most_first);
    for (uint32_t i = 0; i < count; i++) order[i]->goal = (uint32_t) (total / count) + (i < total % count);
    free(order);
}

// Gives one replica of `from` in this partition to whoever lacks most, if racks stay as spread as they are.
static void s_give(struct s_plan *plan, struct s_part *part, uint32_t from)
{
    int place = s_place_of(part, from);
    if (place < 0) return;
    uint32_t shared = s_shared(plan, part, from, place), best = from;
    for (uint32_t i = 0; i < plan->seat_count; i++) {
        const struct s_seat *seat = &plan->seats[i], *so_far = &plan->seats[best];
        if (!seat->takes || seat->stored >= seat->goal || s_place_of(part, i) >= 0) continue;
        if (s_shared(plan, part, i, place) > shared) continue;
        if (best == from || seat->goal - seat->stored > so_far->goal - so_far->stored) best = i;
    }
    if (best != from) s_replace(plan, part, place, best);
}

static void s_even_stored(struct s_plan *plan, weft_rand_t *rand)
{
    s_set_goals(plan);
    for (uint32_t i = 0; i < plan->seat_count; i++) {
        const struct s_seat *seat = &plan->seats[i];
        if (!seat->takes || seat->part_count == 0) continue;
        uint32_t from = (uint32_t) weft_rand_below(rand, seat->part_count); // not always those of the oldest topics
        for (uint32_t j = 0; j < seat->part_count && seat->stored > seat->goal; j++)
            s_give(plan, &plan->parts[seat->parts[(from + j) % seat->part_count]], i);
    }
}

// Exchanges the preferred leader with the replica that is one least often, where that makes both more even.
static void s_even_firsts(struct s_plan *plan)
{
    for (uint32_t p = 0; p < plan->part_count; p++) {
        struct s_part *part = &plan->parts[p];
        struct s_seat *first = &plan->seats[part->seats[0]];
        int least = 0;
        for (int i = 1; i < part->count; i++) {
            const struct s_seat *seat = &plan->seats[part->seats[i]];
            if (seat->takes && seat->firsts < plan->seats[part->seats[least]].firsts) least = i;
        }
        struct s_seat *other = &plan->seats[part->seats[least]];
        if (least == 0 || !first->takes || first->firsts < other->firsts + 2) continue;
        uint32_t seat = part->seats[0];
        part->seats[0] = part->seats[least];
        part->seats[least] = seat;
        first->firsts--;
        other->firsts++;
        part->changed = true;
    }
}

// ---- the result

static bool s_differs(const struct s_plan *plan, const struct s_part *part)
{
    const int32_t *now = part->topic->partitions[part->number].replicas;
    for (uint8_t i = 0; part->changed && i < part->count; i++)
        if (plan->seats[part->seats[i]].broker->id != now[i]) return true;
    return false;
}

static struct weft_plan_replicas *s_result(const struct s_plan *plan, size_t *count)
{
    *count = 0;
    for (uint32_t p = 0; p < plan->part_count; p++) *count += s_differs(plan, &plan->parts[p]);
    struct weft_plan_replicas *out = weft_calloc(*count + 1, sizeof *out), *next = out;
    for (uint32_t p = 0; p < plan->part_count; p++) {
        const struct s_part *part = &plan->parts[p];
        if (!s_differs(plan, part)) continue;
        *next = (struct weft_plan_replicas){.topic = part->topic->id,
                                            .partition = part->number,
                                            .partition_epoch = part->topic->partitions[part->number].partition_epoch,
                                            .replica_count = part->count};
        for (uint8_t i = 0; i < part->count; i++) next->replicas[i] = plan->seats[part->seats[i]].broker->id;
        next++;
    }
    return out;
}

weft_err_t weft_plan_replicas(const weft_cluster_t *self, int32_t broker, weft_rand_t *rand,
                              struct weft_plan_replicas **out, size_t *count, struct weft_error *error)
{
    struct s_plan plan = {0};
    s_begin(&plan, self, broker, rand);
    weft_err_t err = WEFT_OK;
    if (broker >= 0) {
        err = s_empty(&plan, broker, error);
    } else {
        s_spread_racks(&plan);
        s_even_stored(&plan, rand);
        s_even_firsts(&plan);
    }
    if (!err) *out = s_result(&plan, count);
    s_fini(&plan);
    return err;
}
