// SPDX-License-Identifier: MPL-2.0
/**
 * The program under test: sums up the amounts of a topic, as a member of a consumer group, exactly once.
 *
 * Sums of some records at a time go to a database, together with the place where reading has come to, in one
 * transaction; whoever is given a partition goes on at that place. The test's database is a struct.
 */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#define LEDGER_TOPIC "orders"
#define LEDGER_PARTITIONS 4

struct ledger_database {
    struct {
        int64_t total, next; // of one partition: what was summed up, the offset to go on at
    } rows[LEDGER_PARTITIONS];
};

typedef struct ledger ledger_t;

ledger_t *ledger_new(const char *bootstrap_setting, const char *client_setting, struct ledger_database *database);
bool ledger_step(ledger_t *self, int timeout_ms); // one poll, and its work; false: something is wrong for good
void ledger_destroy(ledger_t **self_p);           // writes what it has, leaves the group

#endif
