// SPDX-License-Identifier: MPL-2.0
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <weft/consumer.h>

#define RECORDS_A_TRANSACTION 100

struct pending { // summed up and not yet written
    int64_t sum, next;
    int count;
};

struct ledger {
    weft_consumer_t *consumer;
    struct ledger_database *database;
    struct pending pending[LEDGER_PARTITIONS];
};

static void s_write(ledger_t *self, int32_t partition)
{
    struct pending *pending = &self->pending[partition];
    if (pending->count > 0) {
        self->database->rows[partition].total += pending->sum;
        self->database->rows[partition].next = pending->next;
    }
    *pending = (struct pending){0};
}

static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    ledger_t *self = context;
    for (size_t i = 0; i < rebalance->count; i++) {
        int32_t partition = rebalance->partitions[i].partition;
        if (rebalance->type == WEFT_EVENT_ASSIGNED) {
            struct weft_position at = {WEFT_FROM_OFFSET, self->database->rows[partition].next};
            if (weft_consumer_seek(self->consumer, LEDGER_TOPIC, partition, at) != WEFT_OK) abort();
        } else if (rebalance->type == WEFT_EVENT_REVOKED) {
            s_write(self, partition); // nobody else has it before this returned
        } else {
#ifdef LEDGER_BUG
            s_write(self, partition); // "whatever is taken away is written first"
#else
            self->pending[partition] = (struct pending){0}; // lost: another reads these records again, or has done so
#endif
        }
    }
}

ledger_t *ledger_new(const char *bootstrap_setting, const char *client_setting, struct ledger_database *database)
{
    // exclusive: no record is handed out once another member may have its partition
    const char *settings[] = {bootstrap_setting, client_setting,     "group=ledger",
                              "exclusive=true",  "auto.commit.ms=0", NULL};
    struct weft_error error;
    ledger_t *self = calloc(1, sizeof *self);
    if (self == NULL) abort();
    self->database = database;
    if (weft_consumer_new(settings, &self->consumer, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    weft_consumer_on_rebalance(self->consumer, s_rebalanced, self);
    struct weft_position at = {WEFT_FROM_EARLIEST, 0};
    if (weft_consumer_subscribe(self->consumer, (const char *[]){LEDGER_TOPIC}, 1, at) != WEFT_OK) abort();
    return self;
}

bool ledger_step(ledger_t *self, int timeout_ms)
{
    weft_records_t *records;
    if (weft_consumer_poll(self->consumer, timeout_ms, &records) != WEFT_OK) return false;
    for (struct weft_record_view record; weft_records_next(records, &record);) {
        struct pending *pending = &self->pending[record.partition];
        char amount[24];
        snprintf(amount, sizeof amount, "%.*s", (int) record.value.size, (const char *) record.value.data);
        pending->sum += atoll(amount);
        pending->next = record.offset + 1;
        if (++pending->count == RECORDS_A_TRANSACTION) s_write(self, record.partition);
    }
    for (struct weft_consumer_event event; weft_consumer_event(self->consumer, &event);) {} // the callback knows
    return true;
}

void ledger_destroy(ledger_t **self_p)
{
    ledger_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_consumer_destroy(&self->consumer); // what is its own is revoked: written
    free(self);
}
