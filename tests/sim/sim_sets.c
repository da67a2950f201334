// SPDX-License-Identifier: MPL-2.0
/*
 * A set that lost a member begins anew: that one may have what the others had lost by then. In one that only grew counts
 * what was lost before, too; and in one that a damaged member left, or one that was moved away: what he had is as lost as
 * the others' memory.
 */
#include "sim_sets.h"

#include "../../lib/base/bytes.h"

#include <stdlib.h>

// A replica that the coordinators add to a set has been caught up with for a while: what its machine lost in between counts.
#define JOINING_US INT64_C(10000000)

struct sim_set {
    int64_t from_us;
    uint32_t members;
    int64_t since_us[SIM_BROKERS_MAX + 1]; // of members: what their machines lost since then counts
};

void sim_losses_add(struct sim_losses *self, int64_t now_us)
{
    if (self->count == SIM_LOSSES_MAX) // one slot stands for all later ones: never stricter than the truth
        self->us[SIM_LOSSES_MAX - 1] = now_us;
    else
        self->us[self->count++] = now_us;
}

bool sim_losses_between(const struct sim_losses *self, int64_t from_us, int64_t to_us)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->us[i] >= from_us && self->us[i] <= to_us) return true;
    }
    return false;
}

void sim_chain_fini(struct sim_chain *self)
{
    free(self->sets);
    *self = (struct sim_chain){.sets = NULL};
}

void sim_chain_add(struct sim_chain *self, int64_t now_us, uint32_t members, uint32_t gone)
{
    const struct sim_set *last = self->count > 0 ? &self->sets[self->count - 1] : NULL;
    if (last != NULL && last->members == members) return;
    bool shrank = last != NULL && (last->members & ~members & ~gone) != 0;
    struct sim_set set = {.from_us = now_us, .members = members};
    for (int i = 0; i <= SIM_BROKERS_MAX; i++) {
        bool was = last != NULL && (last->members & UINT32_C(1) << i) != 0;
        set.since_us[i] = !was ? now_us - JOINING_US : shrank ? now_us : last->since_us[i];
    }
    self->sets = weft_realloc(self->sets, (self->count + 1) * sizeof *self->sets);
    self->sets[self->count++] = set;
}

uint32_t sim_chain_now(const struct sim_chain *self)
{
    return self->count > 0 ? self->sets[self->count - 1].members : 0;
}

bool sim_chain_lost(const struct sim_chain *self, const struct sim_losses losses[SIM_BROKERS_MAX + 1], int64_t sent_us,
                    int64_t committed_us)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct sim_set *set = &self->sets[i];
        int64_t to_us = i + 1 < self->count ? self->sets[i + 1].from_us : INT64_MAX;
        if (to_us < sent_us) continue;
        bool all = true;
        for (int broker = 0; broker <= SIM_BROKERS_MAX && all; broker++) {
            if ((set->members & UINT32_C(1) << broker) == 0) continue;
            bool since_sent = set->from_us <= committed_us || set->since_us[broker] < sent_us;
            all = sim_losses_between(&losses[broker], since_sent ? sent_us : set->since_us[broker], to_us);
        }
        if (all) return true;
    }
    return false;
}
