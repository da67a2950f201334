// SPDX-License-Identifier: MPL-2.0
/*
 * Consumers. Each reads one topic from its beginning, and holds every record against the offset that must come next (I4): forward jumps
 * only over what was deleted, backward jumps only where the partition's broker lost power, and never at level durable.
 */
#include "sim_clients.h"

#include "../../lib/base/assert.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <string.h>

// A jump that an event told: the partition goes on at `to`.
static void s_jump(struct sim_consumer *self, const struct weft_consumer_event *event, int64_t to)
{
    struct sim_clients *owner = self->owner;
    int64_t from = self->expected[event->partition];
    self->expected[event->partition] = to;
    if (from < 0 || to == from) return;
    if (to > from) {
        if (sim_history_may_skip(owner->history, self->topic, event->partition, from, to)) return;
        sim_history_violate(owner->history, "I4: %s was sent from %lld forward to %lld of topic %d partition %d (%s)",
                            self->name, (long long) from, (long long) to, self->topic, event->partition, event->text);
        return;
    }
    if (sim_history_may_diverge(owner->history, self->topic, event->partition, self->durable)) return;
    // Deleted from under its feet it may begin again anywhere; to be sent back without that is a loss.
    if (event->type == WEFT_EVENT_RESET &&
        sim_history_may_skip(owner->history, self->topic, event->partition, -1, to)) {
        return;
    }
    sim_history_violate(owner->history, "I4: %s (%s) was sent back from %lld to %lld of topic %d partition %d (%s)",
                        self->name, self->durable ? "durable" : "committed", (long long) from, (long long) to,
                        self->topic, event->partition, event->text);
}

static void s_event(struct sim_consumer *self, const struct weft_consumer_event *event)
{
    struct sim_clients *owner = self->owner;
    weft_sim_trace(owner->sim, self->name, "event %d partition %d from %lld to %lld: %s", (int) event->type,
                   event->partition, (long long) event->from_offset, (long long) event->offset, event->text);
    switch (event->type) {
    case WEFT_EVENT_ASSIGNED:
    case WEFT_EVENT_RESET:
    case WEFT_EVENT_DIVERGED: s_jump(self, event, event->offset); break;
    case WEFT_EVENT_UNKNOWN_TOPIC: break; // a node that hasn't heard of it yet
    case WEFT_EVENT_REVOKED:
    case WEFT_EVENT_LOST: // no group is in it
    case WEFT_EVENT_COMMIT_FAILED:
    case WEFT_EVENT_REFUSED:
    case WEFT_EVENT_UNHEARD:
    case WEFT_EVENT_BAD_BATCH:
    case WEFT_EVENT_STOPPED:
        if (self->rotten > 0 && sim_history_only_on(owner->history, self->topic, event->partition, self->rotten)) {
            self->stopped[event->partition] = true; // the damage is named: that is all that can be asked for
            break;
        }
        sim_history_violate(owner->history, "I4: %s stops at topic %d partition %d offset %lld: %s", self->name,
                            self->topic, event->partition, (long long) event->from_offset, event->text);
        break;
    }
}

static void s_record(struct sim_consumer *self, const struct weft_record_view *view)
{
    struct sim_clients *owner = self->owner;
    int64_t expected = self->expected[view->partition];
    bool skips = view->offset > expected && owner->topics[self->topic].compacted &&
                 sim_history_may_be_compacted(owner->history, self->topic, view->partition, expected, view->offset);
    if (expected >= 0 && view->offset != expected && !skips) {
        sim_history_violate(owner->history, "I4: %s expected offset %lld of topic %d partition %d and got %lld",
                            self->name, (long long) expected, self->topic, view->partition, (long long) view->offset);
    }
    self->expected[view->partition] = view->offset + 1;
    if (self->final)
        sim_history_final_record(owner->history, self->topic, view);
    else
        sim_history_read(owner->history, self->name, self->topic, view, self->durable, weft_sim_now_us(owner->sim));
}

// What compaction left no record of is passed in silence.
static void s_positions(struct sim_consumer *self)
{
    struct weft_partition_position at;
    for (size_t i = 0; weft_consumer_part_position(self->part, i, &at); i++) {
        int64_t expected = at.partition < SIM_PARTITIONS_MAX ? self->expected[at.partition] : -1;
        if (expected < 0 || at.position <= expected) continue;
        self->expected[at.partition] = at.position;
        if (sim_history_may_be_compacted(self->owner->history, self->topic, at.partition, expected, at.position))
            continue;
        sim_history_violate(self->owner->history, "I4: %s passed from %lld to %lld of topic %d partition %d in silence",
                            self->name, (long long) expected, (long long) at.position, self->topic, at.partition);
    }
}

static void s_step(void *context)
{
    struct sim_consumer *self = context;
    if (self->part == NULL) return;
    sim_t *sim = self->owner->sim;
    struct weft_consumer_event event;
    struct weft_record_view view;
    // Events first: they tell where what follows begins.
    while (weft_consumer_part_event(self->part, &event)) s_event(self, &event);
    if (weft_consumer_part_begin_poll(self->part)) {
        while (weft_consumer_part_next(self->part, &view, NULL)) s_record(self, &view);
    }
    while (weft_consumer_part_event(self->part, &event)) s_event(self, &event);
    if (self->owner->topics[self->topic].compacted) s_positions(self);
    weft_sim_part_poke(sim, self->host, self->part_id);
    int64_t wait_us = (int64_t) weft_sim_below(sim, weft_sim_chance(sim, 20000) ? 2000000 : 50000);
    weft_sim_at(sim, weft_sim_now_us(sim) + 100 + wait_us, s_step, self);
}

static const char *s_through(const struct sim_consumer *self)
{
    for (int i = 0; i < self->owner->consumer_count; i++)
        if (self == &self->owner->consumers[i]) return self->owner->consumer_through[i];
    return NULL; // a final reader
}

static void s_start_part(struct sim_consumer *self)
{
    struct sim_clients *owner = self->owner;
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    sim_clients_bootstrap(owner, options);
    if (s_through(self) != NULL) weft_assert(weft_options_set(options, "bootstrap", s_through(self), NULL) == WEFT_OK);
    weft_err_t err = weft_options_set(options, "read", self->durable ? "durable" : "committed", NULL);
    if (err == WEFT_OK) err = weft_options_set(options, "reset", self->final ? "error" : "earliest", NULL);
    const char *bytes = weft_sim_chance(owner->sim, 500000) ? "2KiB" : "256KiB";
    if (err == WEFT_OK) err = weft_options_set(options, "fetch.bytes", bytes, NULL);
    if (err == WEFT_OK) err = weft_options_set(options, "metadata.ms", "2s", NULL);
    if (err == WEFT_OK) err = weft_options_set(options, "request.timeout.ms", "3s", NULL);
    weft_assert(err == WEFT_OK);
    struct weft_error error;
    weft_assert(weft_consumer_part_new(options, &self->part, &error) == WEFT_OK);
    weft_options_destroy(&options);
    for (int i = 0; i < SIM_PARTITIONS_MAX; i++) self->expected[i] = -1;
    struct weft_assignment assignment = {
        .topic = owner->topics[self->topic].name, .partition = WEFT_PARTITION_ALL, .at = {.from = WEFT_FROM_EARLIEST}};
    weft_assert(weft_consumer_part_assign(self->part, &assignment, 1) == WEFT_OK);
    self->part_id = sim_clients_run_part(owner, self->host, self->name, weft_consumer_part_base(self->part));
    weft_sim_at(owner->sim, weft_sim_now_us(owner->sim) + 1000, s_step, self);
}

void sim_consumer_start(struct sim_consumer *self, struct sim_clients *owner, const char *name, int topic, bool durable,
                        bool final)
{
    *self = (struct sim_consumer){.owner = owner, .topic = topic, .durable = durable, .final = final};
    snprintf(self->name, sizeof self->name, "%s", name);
    for (int i = 0; i < SIM_PARTITIONS_MAX; i++) self->goal[i] = -1;
    self->host = weft_sim_host_add(owner->sim, name, NULL);
    s_start_part(self);
}

void sim_consumer_stop(struct sim_consumer *self)
{
    if (self->part == NULL) return;
    weft_sim_host_kill(self->owner->sim, self->host, false);
    self->part = NULL;
}

static void s_again(void *context)
{
    struct sim_consumer *self = context;
    if (self->part == NULL) s_start_part(self);
}

void sim_consumer_kill(struct sim_consumer *self)
{
    if (self->part == NULL) return;
    sim_t *sim = self->owner->sim;
    weft_sim_trace(sim, self->name, "killed");
    sim_consumer_stop(self);
    // Long enough for the last step of the one before to have found it dead.
    weft_sim_at(sim, weft_sim_now_us(sim) + 2200000, s_again, self);
}

void sim_consumers_start(struct sim_clients *self)
{
    for (int i = 0; i < self->consumer_count; i++) {
        char name[24];
        snprintf(name, sizeof name, "consumer-%d", i + 1);
        int topic = (int) weft_sim_below(self->sim, (uint64_t) self->stable_count);
        bool durable = weft_sim_chance(self->sim, self->lazy ? 0 : 500000);
        sim_consumer_start(&self->consumers[i], self, name, topic, durable, false);
    }
}

bool sim_consumer_done(const struct sim_consumer *self)
{
    for (int i = 0; i < self->owner->topics[self->topic].partitions; i++) {
        if (!self->stopped[i] && self->expected[i] < self->goal[i]) return false;
    }
    return true;
}
