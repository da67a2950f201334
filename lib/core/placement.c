// SPDX-License-Identifier: MPL-2.0
// Placement of new partitions.
//
// The live brokers form a ring, those with the fewest replicas first, then those that lead least, equals in random
// order; who drains or is sick is in it only if there are too few others, and leads only if there is nobody else; who
// leaves for good is never in it: he may be gone a moment later. The first replica (which leads) of partition p goes
// to place p of the ring: leaders are even within the topic and over topics, and small topics fall on the emptiest
// brokers. Each further replica goes to the broker with, in this order: a rack that the partition does not use yet,
// the fewest replicas (those planned here included), the nearest place behind the leader. The second replica is who
// leads after the first: for it, how often the broker is that already for this leader is added to its replicas, so
// that a death spreads leaderships over all others. At most S_WINDOW brokers are looked at for it, so that 100,000
// partitions on 10,000 brokers still take a fraction of a second.
#include "cluster.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

enum { S_WINDOW = 128 };

struct s_seat {
    const struct weft_cluster_broker *broker;
    int unfit;       // 0: nothing speaks against it
    uint64_t stored; // with what is planned
    uint64_t shuffle;
};

static int s_seat_compare(const void *a, const void *b)
{
    const struct s_seat *x = a, *y = b;
    if (x->unfit != y->unfit) return x->unfit < y->unfit ? -1 : 1;
    if (x->stored != y->stored) return x->stored < y->stored ? -1 : 1;
    if (x->broker->led_count != y->broker->led_count) return x->broker->led_count < y->broker->led_count ? -1 : 1;
    if (x->shuffle != y->shuffle) return x->shuffle < y->shuffle ? -1 : 1;
    return x->broker->id < y->broker->id ? -1 : 1;
}

static int s_unfit(const struct weft_cluster_broker *broker)
{
    return broker->draining + 2 * broker->sick;
}

// The seats that are used, at least `replicas` if so many brokers are alive; how many of them may lead.
static size_t s_ring(const weft_cluster_t *cluster, weft_rand_t *rand, uint32_t replicas, struct s_seat *seats,
                     size_t *leading)
{
    size_t count = 0, fit = 0;
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(cluster, &cursor));) {
        if (!broker->alive || broker->leaving) continue;
        seats[count++] = (struct s_seat){.broker = broker,
                                         .unfit = s_unfit(broker),
                                         .stored = broker->stored_count,
                                         .shuffle = weft_rand_next(rand)};
        fit += s_unfit(broker) == 0;
    }
    if (count) qsort(seats, count, sizeof seats[0], s_seat_compare);
    if (fit >= replicas)
        count = fit;
    else if (count > replicas)
        count = replicas;
    *leading = fit ? fit : count;
    return count;
}

static bool s_some_leave(const weft_cluster_t *cluster)
{
    const struct weft_cluster_broker *broker;
    for (size_t cursor = 0; (broker = weft_cluster_next_broker(cluster, &cursor));)
        if (broker->alive && broker->leaving) return true;
    return false;
}

static bool s_rack_used(struct s_seat *const *chosen, size_t count, const char *rack)
{
    if (!rack[0]) return false; // brokers that name no rack say nothing
    for (size_t i = 0; i < count; i++)
        if (strcmp(chosen[i]->broker->rack, rack) == 0) return true;
    return false;
}

static bool s_is_chosen(struct s_seat *const *chosen, size_t count, const struct s_seat *seat)
{
    for (size_t i = 0; i < count; i++)
        if (chosen[i] == seat) return true;
    return false;
}

// `heirs` counts by seat how often each is the second of this leader; NULL: nobody counts.
static struct s_seat *s_next_replica(struct s_seat *seats, size_t seat_count, size_t from, struct s_seat *const *chosen,
                                     size_t count, const uint32_t *heirs)
{
    struct s_seat *best = NULL;
    bool best_used = false;
    uint64_t best_load = 0;
    size_t window = seat_count < S_WINDOW ? seat_count : S_WINDOW;
    for (size_t step = 1; step <= window; step++) {
        struct s_seat *seat = &seats[(from + step) % seat_count];
        if (s_is_chosen(chosen, count, seat)) continue;
        bool used = s_rack_used(chosen, count, seat->broker->rack);
        uint64_t load = seat->stored + (heirs ? heirs[seat - seats] : 0);
        if (best && (used > best_used || (used == best_used && load >= best_load))) continue;
        best = seat;
        best_used = used;
        best_load = load;
    }
    return best;
}

weft_err_t weft_placement(const weft_cluster_t *self, uint32_t partitions, uint32_t replicas, weft_rand_t *rand,
                          int32_t (*out)[WEFT_REPLICAS_MAX], struct weft_error *error)
{
    if (replicas < 1 || replicas > WEFT_REPLICAS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION, "a partition has 1 to %d replicas, not %u",
                              WEFT_REPLICAS_MAX, replicas);
    struct s_seat *seats = weft_calloc(WEFT_CLUSTER_BROKERS_MAX, sizeof *seats);
    size_t leading, count = s_ring(self, rand, replicas, seats, &leading);
    if (count < replicas) {
        free(seats);
        if (count == 0)
            return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION,
                                  "no broker is alive and stays to hold the partitions; start one (weft broker)");
        return weft_error_set(error, WEFT_ERR_INVALID_REPLICATION,
                              "%u replicas were asked, but only %zu broker%s alive%s; start more or ask for fewer",
                              replicas, count, count == 1 ? " is" : "s are",
                              s_some_leave(self) ? " and not leaving" : "");
    }
    uint32_t *heirs = count <= S_WINDOW ? weft_calloc(count * count, sizeof *heirs) : NULL;
    for (uint32_t p = 0; p < partitions; p++) {
        struct s_seat *chosen[WEFT_REPLICAS_MAX];
        size_t first = p % leading;
        uint32_t *of_first = heirs ? &heirs[first * count] : NULL;
        chosen[0] = &seats[first];
        for (uint32_t r = 0; r < replicas; r++) {
            if (r > 0) chosen[r] = s_next_replica(seats, count, first, chosen, r, r == 1 ? of_first : NULL);
            weft_assert(chosen[r]);
            if (r == 1 && heirs) of_first[chosen[r] - seats]++;
            chosen[r]->stored++;
            out[p][r] = chosen[r]->broker->id;
        }
    }
    free(heirs);
    free(seats);
    return WEFT_OK;
}
