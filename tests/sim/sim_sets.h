// SPDX-License-Identifier: MPL-2.0
/**
 * Sets: who was to hold the records of a partition, decision by decision, and what their machines lost. From both it follows whether a record that was
 * promised may be gone.
 */
#ifndef WEFT_TESTS_SIM_SETS_H
#define WEFT_TESTS_SIM_SETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_BROKERS_MAX 6
#define SIM_LOSSES_MAX 64

/** When a broker's machine lost what it had not synced, or everything. */
struct sim_losses {
    int64_t us[SIM_LOSSES_MAX];
    size_t count;
};

struct sim_set; // from a decision to the next one

struct sim_chain {
    struct sim_set *sets;
    size_t count;
};

void sim_losses_add(struct sim_losses *self, int64_t now_us);
bool sim_losses_between(const struct sim_losses *self, int64_t from_us, int64_t to_us);

void sim_chain_fini(struct sim_chain *self);
// Decided: these brokers (as bits). `gone` of those that left are asked for nothing any more: moved away, or damaged.
void sim_chain_add(struct sim_chain *self, int64_t now_us, uint32_t members, uint32_t gone);
uint32_t sim_chain_now(const struct sim_chain *self); // 0: nothing was decided yet
/*
 * May a record be gone that was sent then, and committed by then? When all machines of a set that was in force have lost it: since it was sent, if the set
 * was there when it was committed; otherwise since somebody left, for he may have what the others had lost by then (unless
 * he is gone himself).
 */
bool sim_chain_lost(const struct sim_chain *self, const struct sim_losses losses[SIM_BROKERS_MAX + 1], int64_t sent_us,
                    int64_t committed_us);

#endif
