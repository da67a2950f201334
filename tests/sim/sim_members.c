// SPDX-License-Identifier: MPL-2.0
/*
 * A member's program is a step that comes again and again, unless it stalls or its host is stopped: takes events, polls, reads what came (or some of it),
 * commits now and then. All its choices come from the members' own randomness.
 */
#include "sim_members_inner.h"

#include "../../lib/base/assert.h"

#include <weft_gen/config.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)

uint64_t sim_members_below(struct sim_members *self, uint64_t bound)
{
    return weft_rand_below(&self->rand, bound);
}

bool sim_members_chance(struct sim_members *self, uint32_t percent)
{
    return sim_members_below(self, 100) < percent;
}

static sim_t *s_sim(const struct sim_members *self)
{
    return self->clients->sim;
}

static int64_t s_now_us(const struct sim_member *self)
{
    return weft_sim_now_us(s_sim(self->owner));
}

static sim_history_t *s_history(const struct sim_member *self)
{
    return self->owner->clients->history;
}

static struct sim_place *s_place(struct sim_member *self, const char *topic, int32_t partition, int *number)
{
    const struct sim_clients *clients = self->owner->clients;
    for (int i = 0; i < clients->topic_count; i++) {
        if (strcmp(clients->topics[i].name, topic) != 0 || partition < 0 || partition >= SIM_PARTITIONS_MAX) continue;
        *number = i;
        return &self->places[i][partition];
    }
    return NULL;
}

static bool s_is_fickle(const struct sim_members *self, int topic)
{
    return topic >= self->clients->stable_count;
}

// ---- what it is given and what is taken

// Who else holds it by now, under a newer token? By what is agreed on, which members hear of later.
static const struct weft_group_member *s_newer(const struct sim_member *self, weft_id_t topic, uint32_t partition,
                                               uint64_t token)
{
    char name[16];
    sim_group_name(self->group, name);
    const struct weft_group *group = weft_groups_find(sim_witness_groups(self->owner->witness), weft_slice_text(name));
    for (size_t i = 0; group != NULL && i < group->member_count; i++) {
        for (size_t h = 0; h < group->members[i]->hold_count; h++) {
            const struct weft_group_held *held = &group->members[i]->holds[h];
            if (held->partition != partition || held->token <= token || !weft_id_equal(held->topic, topic)) continue;
            return group->members[i];
        }
    }
    return NULL;
}

static struct sim_release *s_release(struct sim_member *self, int topic, int partition)
{
    return &self->owner->releases[self->group][topic][partition];
}

static void s_no_release(struct sim_member *self, int topic, int partition)
{
    *s_release(self, topic, partition) = (struct sim_release){.token = 0};
}

// All that it read is committed; who closes keeps back the last record that it was handed.
static void s_releases(struct sim_member *self, int topic, const struct weft_rebalance_partition *told,
                       struct sim_place *place)
{
    s_no_release(self, topic, told->partition);
    place->released.token = 0;
    if (!place->peace || told->position < 0 || told->token < self->owner->reset_tokens[self->group]) return;
    if (s_newer(self, place->topic, (uint32_t) told->partition, told->token) != NULL) return;
    int64_t offset = told->position - (self->closing ? 1 : 0);
    place->released = (struct sim_release){.token = told->token, .offset = offset};
}

// Where it begins is not before what was released, unless somebody wanted that.
static void s_goes_on(struct sim_member *self, int topic, int partition, const struct sim_place *place)
{
    const struct sim_release *release = s_release(self, topic, partition);
    if (release->token == 0 || release->token >= place->token || place->begun >= release->offset) return;
    sim_history_violate(s_history(self),
                        "I4: %s begins at %lld of topic %d partition %d, and who released it under token %llu had read "
                        "and committed up to %lld",
                        self->name, (long long) place->begun, topic, partition, (unsigned long long) release->token,
                        (long long) release->offset);
}

static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    struct sim_member *self = context;
    int topic;
    for (size_t i = 0; i < rebalance->count; i++) {
        const struct weft_rebalance_partition *told = &rebalance->partitions[i];
        struct sim_place *place = s_place(self, told->topic, told->partition, &topic);
        weft_sim_trace(s_sim(self->owner), self->name, "%s %s/%d token %llu position %lld %s",
                       rebalance->type == WEFT_EVENT_ASSIGNED  ? "is given"
                       : rebalance->type == WEFT_EVENT_REVOKED ? "releases"
                                                               : "lost",
                       told->topic, told->partition, (unsigned long long) told->token, (long long) told->position,
                       rebalance->text);
        if (place == NULL) continue;
        if (rebalance->type == WEFT_EVENT_ASSIGNED && place->token >= told->token) {
            sim_history_violate(s_history(self), "I5: %s is given %s/%d under token %llu, and had %llu", self->name,
                                told->topic, told->partition, (unsigned long long) told->token,
                                (unsigned long long) place->token);
        }
        if (rebalance->type == WEFT_EVENT_REVOKED) s_releases(self, topic, told, place);
        if (rebalance->type == WEFT_EVENT_LOST) s_no_release(self, topic, told->partition);
        place->token = rebalance->type == WEFT_EVENT_ASSIGNED ? told->token : 0;
        if (rebalance->type != WEFT_EVENT_ASSIGNED) continue;
        place->begun = place->expected = place->lowest = place->highest = place->position = -1;
        place->peace = !self->commits;
        (void) sim_witness_partition(self->owner->witness, topic, told->partition, &place->topic);
    }
    uint64_t ticket;
    if (self->commits && rebalance->type == WEFT_EVENT_REVOKED) (void) !weft_consumer_part_commit(self->part, &ticket);
}

// Goes on somewhere else, as an event tells.
static void s_jump(struct sim_member *self, const struct weft_consumer_event *event, int topic, struct sim_place *place)
{
    sim_history_t *history = s_history(self);
    int64_t from = place->expected, to = event->offset;
    bool read = from > place->begun; // else it stands where the group, or a person, has put it
    if (event->type == WEFT_EVENT_ASSIGNED || place->begun < 0) {
        place->begun = place->lowest = place->highest = to;
        if (event->type == WEFT_EVENT_ASSIGNED && !s_is_fickle(self->owner, topic)) {
            s_goes_on(self, topic, event->partition, place);
        }
        s_no_release(self, topic, event->partition);
        sim_ledger_began(self->owner->ledger, self->group, place->topic, (uint32_t) event->partition, to);
    }
    place->expected = to;
    if (to < place->lowest) place->lowest = to;
    if (to > place->highest) place->highest = to;
    if (event->type == WEFT_EVENT_ASSIGNED || from < 0 || from == to || s_is_fickle(self->owner, topic)) return;
    if (to > from && sim_history_may_skip(history, topic, event->partition, from, to)) return;
    if (to < from && sim_history_may_diverge(history, topic, event->partition, self->durable && read)) return;
    if (to < from && event->type == WEFT_EVENT_RESET &&
        sim_history_may_skip(history, topic, event->partition, -1, to)) {
        return;
    }
    sim_history_violate(history, "I4: %s was sent from %lld to %lld of topic %d partition %d (%s)", self->name,
                        (long long) from, (long long) to, topic, event->partition, event->text);
}

static void s_event(struct sim_member *self, const struct weft_consumer_event *event)
{
    int topic = -1;
    struct sim_place *place = s_place(self, event->topic, event->partition, &topic);
    weft_sim_trace(s_sim(self->owner), self->name, "event %d of %s/%d from %lld to %lld: %s", (int) event->type,
                   event->topic, event->partition, (long long) event->from_offset, (long long) event->offset,
                   event->text);
    switch (event->type) {
    case WEFT_EVENT_ASSIGNED:
    case WEFT_EVENT_RESET:
    case WEFT_EVENT_DIVERGED:
        if (place != NULL) s_jump(self, event, topic, place);
        break;
    case WEFT_EVENT_REVOKED:
        if (place != NULL && place->released.token != 0) *s_release(self, topic, event->partition) = place->released;
        if (place != NULL) place->released.token = 0;
        if (place != NULL) place->expected = -1;
        break;
    case WEFT_EVENT_LOST:
        if (place != NULL) place->expected = -1;
        break;
    case WEFT_EVENT_STOPPED:
    case WEFT_EVENT_BAD_BATCH:
        if (topic >= 0 && s_is_fickle(self->owner, topic)) break;
        sim_history_violate(s_history(self), "I4: %s stops at %s/%d offset %lld: %s", self->name, event->topic,
                            event->partition, (long long) event->from_offset, event->text);
        break;
    case WEFT_EVENT_COMMIT_FAILED:
        if (place == NULL) break;
        place->peace = false;
        place->released.token = 0;
        s_no_release(self, topic, event->partition);
        break;
    case WEFT_EVENT_UNKNOWN_TOPIC:
    case WEFT_EVENT_REFUSED:
    case WEFT_EVENT_UNHEARD: break;
    }
}

static void s_events(struct sim_member *self)
{
    struct weft_consumer_event event;
    while (weft_consumer_part_event(self->part, &event)) s_event(self, &event);
}

// ---- what it is handed

static void s_record(struct sim_member *self, const struct weft_record_view *view)
{
    int topic = -1;
    struct sim_place *place = s_place(self, view->topic, view->partition, &topic);
    if (place == NULL) return;
    sim_history_t *history = s_history(self);
    if (place->token == 0) {
        sim_history_violate(history, "I5: %s is handed offset %lld of %s/%d, which is not its own", self->name,
                            (long long) view->offset, view->topic, view->partition);
    }
    if (self->owner->groups[self->group].exclusive && !s_is_fickle(self->owner, topic) &&
        s_newer(self, place->topic, (uint32_t) view->partition, place->token) != NULL) {
        sim_history_violate(
            history, "I5: %s, exclusive, is handed offset %lld of %s/%d under token %llu, which another holds",
            self->name, (long long) view->offset, view->topic, view->partition, (unsigned long long) place->token);
    }
    int64_t expected = place->expected;
    bool skips = view->offset > expected &&
                 sim_history_may_be_compacted(history, topic, view->partition, expected, view->offset);
    if (expected >= 0 && view->offset != expected && !skips && !s_is_fickle(self->owner, topic)) {
        sim_history_violate(history, "I4: %s expected offset %lld of %s/%d and got %lld", self->name,
                            (long long) expected, view->topic, view->partition, (long long) view->offset);
    }
    place->expected = view->offset + 1;
    if (place->expected > place->highest) place->highest = place->expected;
    struct sim_record *record =
        sim_history_read(history, self->name, topic, view, self->durable, weft_sim_now_us(s_sim(self->owner)));
    self->owner->handed++;
    if (record == NULL) return;
    if ((record->handed & UINT32_C(1) << self->group) != 0) self->owner->again++;
    record->handed |= UINT32_C(1) << self->group;
}

// What it commits lies between where it began, or wished to go back to, and what it was handed.
void sim_member_commits(void *context, sim_host_t host, int group, weft_id_t topic, uint32_t partition, uint64_t token,
                        int64_t offset)
{
    struct sim_members *owner = context;
    int number = sim_topic_of(owner->clients, owner->witness, topic);
    for (int i = 0; number >= 0 && !s_is_fickle(owner, number) && i < owner->count; i++) {
        const struct sim_member *self = &owner->members[i];
        if (self->host != host || partition >= SIM_PARTITIONS_MAX) continue;
        const struct sim_place *place = &self->places[number][partition];
        if (token == place->token && group == self->group && offset >= place->lowest && offset <= place->highest)
            return;
        // A gap that compaction left is passed without a record.
        if (token == place->token && owner->clients->topics[number].compacted && offset >= place->lowest) return;
        if (place->begun < 0 || place->token != token) return; // told to the program only later, or already
        sim_history_violate(
            owner->clients->history, "I4: %s commits %lld of topic %d partition %u, which it read from %lld to %lld",
            self->name, (long long) offset, number, partition, (long long) place->lowest, (long long) place->expected);
    }
}

// ---- its program

static void s_read_some(struct sim_member *self)
{
    struct weft_record_view view;
    bool exclusive = self->owner->groups[self->group].exclusive;
    uint64_t most = sim_members_chance(self->owner, 20) ? sim_members_below(self->owner, 20) : UINT64_MAX;
    for (uint64_t i = 0; i < most; i++) {
        if (exclusive && weft_consumer_part_lease_over(self->part, s_now_us(self))) return; // as weft_records_next
        if (!weft_consumer_part_next(self->part, &view, NULL)) return;
        s_record(self, &view);
    }
}

// A program that wants to read something again, when it starts the next time.
static void s_commit_lower(struct sim_member *self)
{
    const struct sim_clients *clients = self->owner->clients;
    int topic = (int) sim_members_below(self->owner, (uint64_t) clients->stable_count);
    int partition = (int) sim_members_below(self->owner, (uint64_t) clients->topics[topic].partitions);
    struct sim_place *place = &self->places[topic][partition];
    if (place->token == 0 || place->expected <= 0) return;
    int64_t offset = (int64_t) sim_members_below(self->owner, (uint64_t) place->expected + 1);
    struct weft_group_offset at = {.topic = clients->topics[topic].name,
                                   .partition = partition,
                                   .offset = offset,
                                   .leader_epoch = -1,
                                   .metadata = sim_members_chance(self->owner, 50) ? "again" : NULL};
    uint64_t ticket;
    if (weft_consumer_part_commit_offsets(self->part, &at, 1, &ticket) != WEFT_OK) return;
    place->peace = false;
    if (offset < place->lowest) place->lowest = offset;
}

static void s_commit(struct sim_member *self)
{
    uint64_t ticket;
    if (self->commits && sim_members_chance(self->owner, 20)) (void) !weft_consumer_part_commit(self->part, &ticket);
    if (!self->owner->quiet && sim_members_below(self->owner, 400) == 0) s_commit_lower(self);
}

// Asks what its group has committed somewhere; the ledger holds the answer against what it knows.
static void s_look(struct sim_member *self)
{
    const struct sim_clients *clients = self->owner->clients;
    if (sim_members_below(self->owner, 100) >= 4) return;
    int topic = (int) sim_members_below(self->owner, (uint64_t) clients->stable_count);
    struct weft_committed at = {.topic = clients->topics[topic].name};
    at.partition = (int32_t) sim_members_below(self->owner, (uint64_t) clients->topics[topic].partitions);
    (void) !weft_consumer_part_look(self->part, &at, 1, 3 * SECOND);
}

void sim_member_subscribe(struct sim_member *self)
{
    static const char *const patterns[] = {"*", "topic-*", "topic-0", "topic-[01]"};
    self->pattern = self->owner->quiet || !sim_members_chance(self->owner, 30)
                        ? "topic-*"
                        : patterns[sim_members_below(self->owner, 4)];
    weft_sim_trace(s_sim(self->owner), self->name, "subscribes to %s", self->pattern);
    struct weft_position at = {.from = WEFT_FROM_EARLIEST};
    weft_assert(weft_consumer_part_subscribe(self->part, &self->pattern, 1, at) == WEFT_OK);
}

void sim_member_gone(struct sim_member *self, bool silent)
{
    weft_desk_on_change(self->desk, WEFT_DESK_MEMBER, NULL, NULL);
    weft_desk_on_change(self->desk, WEFT_DESK_CONSUMER, NULL, NULL);
    weft_sim_host_kill(s_sim(self->owner), self->host, silent);
    weft_desk_drop(&self->desk);
    self->part = NULL;
    self->member = NULL;
    self->closing = false;
    memset(self->places, 0, sizeof self->places);
}

void sim_member_come_later(struct sim_member *self)
{
    if (self->away) return;
    uint64_t most = sim_members_chance(self->owner, 30) ? 3000000 : 600000;
    weft_sim_at(s_sim(self->owner), s_now_us(self) + 1000 + (int64_t) sim_members_below(self->owner, most),
                sim_member_come, self);
}

static void s_close_step(struct sim_member *self)
{
    weft_err_t error;
    if (weft_consumer_part_close_step(self->part, &error)) {
        weft_sim_trace(s_sim(self->owner), self->name, "is closed: %s", weft_err_name(error));
    } else if (s_now_us(self) < self->close_us + 5 * SECOND) {
        return;
    }
    s_events(self);
    sim_member_gone(self, false);
    sim_member_come_later(self);
}

static void s_step(void *context);

static void s_step_at(struct sim_member *self, int64_t at_us)
{
    struct sim_members *owner = self->owner;
    struct sim_step *step = owner->steps_free;
    if (step != NULL) {
        owner->steps_free = step->next_free;
    } else {
        step = weft_alloc(sizeof *step);
        step->next = owner->steps;
        owner->steps = step;
    }
    step->member = self;
    step->life = self->life;
    weft_sim_at(s_sim(owner), at_us, s_step, step);
}

static void s_work(struct sim_member *self)
{
    s_events(self);
    if (self->closing) {
        s_close_step(self);
        return;
    }
    bool there = weft_consumer_part_begin_poll(self->part);
    s_events(self); // they tell where what follows begins
    if (there) s_read_some(self);
    s_events(self);
    s_commit(self);
    s_look(self);
    struct weft_partition_position at;
    for (size_t i = 0; weft_consumer_part_position(self->part, i, &at); i++) {
        int topic;
        struct sim_place *place = s_place(self, at.topic, at.partition, &topic);
        if (place != NULL) place->position = at.position;
    }
}

static void s_step(void *context)
{
    struct sim_step *step = context;
    struct sim_member *self = step->member;
    step->next_free = self->owner->steps_free;
    self->owner->steps_free = step;
    if (self->life != step->life || self->part == NULL) return;
    sim_t *sim = s_sim(self->owner);
    int64_t now_us = s_now_us(self), free_us = weft_sim_part_free_us(sim, self->host, self->part_id);
    if (free_us > now_us) { // stopped: its program is, too
        s_step_at(self, free_us);
        return;
    }
    if (now_us < self->stalled_until_us) {
        s_step_at(self, self->stalled_until_us);
        return;
    }
    s_work(self);
    if (self->part == NULL) return;
    weft_sim_part_poke(sim, self->host, self->part_id);
    s_step_at(self, now_us + 100 + (int64_t) sim_members_below(self->owner, 40000));
}

// ---- its life

static void s_wake_member(void *context)
{
    const struct sim_member *self = context;
    weft_sim_part_poke(s_sim(self->owner), self->host, self->member_id);
}

static void s_wake_consumer(void *context)
{
    const struct sim_member *self = context;
    weft_sim_part_poke(s_sim(self->owner), self->host, self->part_id);
}

static void s_set_ms(weft_options_t *options, const char *name, uint32_t ms)
{
    char text[24];
    snprintf(text, sizeof text, "%ums", ms);
    weft_assert(weft_options_set(options, name, text, NULL) == WEFT_OK);
}

static void s_set(weft_options_t *options, const char *name, const char *value)
{
    weft_assert(weft_options_set(options, name, value, NULL) == WEFT_OK);
}

static weft_options_t *s_options(const struct sim_member *self)
{
    struct sim_members *owner = self->owner;
    const struct sim_group *how = &owner->groups[self->group];
    char group[16];
    sim_group_name(self->group, group);
    weft_options_t *options = weft_options_new(weft_options_consumer, weft_options_consumer_count, "consumer");
    sim_clients_bootstrap(owner->clients, options);
    s_set(options, "group", group);
    s_set(options, "instance", self->instance);
    s_set(options, "client", self->name);
    s_set(options, "assignor", how->assignor);
    s_set(options, "exclusive", how->exclusive ? "true" : "false");
    s_set(options, "read", self->durable ? "durable" : "committed");
    s_set(options, "reset", "earliest");
    s_set(options, "fetch.bytes", sim_members_chance(owner, 50) ? "2KiB" : "256KiB");
    s_set(options, "silence.ms", sim_members_chance(owner, 50) ? "100ms" : "500ms");
    s_set_ms(options, "metadata.ms", 2000);
    s_set_ms(options, "request.timeout.ms", 3000);
    s_set_ms(options, "session.ms", how->session_ms);
    s_set_ms(options, "max.poll.ms", how->max_poll_ms);
    s_set_ms(options, "release.ms", how->release_ms);
    s_set_ms(options, "auto.commit.ms", self->commits ? 0 : 20 + (uint32_t) sim_members_below(owner, 400));
    return options;
}

static void s_start(struct sim_member *self)
{
    struct sim_members *owner = self->owner;
    struct weft_error error;
    self->life++;
    self->commits = sim_members_chance(owner, 30);
    self->durable = owner->groups[self->group].durable;
    weft_options_t *options = s_options(self);
    self->desk = weft_desk_new();
    weft_assert(weft_consumer_part_new(options, &self->part, &error) == WEFT_OK);
    weft_consumer_part_meet(self->part, self->desk);
    weft_consumer_part_on_rebalance(self->part, s_rebalanced, self);
    weft_assert(weft_member_part_new(options, self->name, self->desk, &self->member, &error) == WEFT_OK);
    weft_options_destroy(&options);
    weft_sim_trace(s_sim(owner), self->name, "starts%s%s", self->instance[0] ? ", static as " : "", self->instance);
    self->part_id = sim_clients_run_part(owner->clients, self->host, self->name, weft_consumer_part_base(self->part));
    self->member_id = sim_clients_run_part(owner->clients, self->host, self->name, weft_member_part_base(self->member));
    weft_desk_on_change(self->desk, WEFT_DESK_MEMBER, s_wake_member, self);
    weft_desk_on_change(self->desk, WEFT_DESK_CONSUMER, s_wake_consumer, self);
    self->stalled_until_us = 0;
    sim_member_subscribe(self);
    s_step_at(self, s_now_us(self) + 1000);
}

void sim_member_come(void *context)
{
    struct sim_member *self = context;
    if (self->part == NULL && !self->away) s_start(self);
}

void sim_member_close(struct sim_member *self)
{
    weft_sim_trace(s_sim(self->owner), self->name, "closes");
    self->owner->closed++;
    weft_consumer_part_close(self->part);
    self->closing = true;
    self->close_us = s_now_us(self);
}

void sim_member_kill(struct sim_member *self)
{
    weft_sim_trace(s_sim(self->owner), self->name, "is killed");
    self->owner->killed++;
    sim_member_gone(self, sim_members_chance(self->owner, 50));
    sim_member_come_later(self);
}

static void s_stall(struct sim_member *self)
{
    const struct sim_group *how = &self->owner->groups[self->group];
    self->stalled_until_us =
        s_now_us(self) + (int64_t) sim_members_below(self->owner, 2000 * (uint64_t) how->max_poll_ms);
    self->owner->stalled++;
    weft_sim_trace(s_sim(self->owner), self->name, "stalls for %lld us",
                   (long long) (self->stalled_until_us - s_now_us(self)));
}

static void s_pause(struct sim_member *self)
{
    const struct sim_group *how = &self->owner->groups[self->group];
    int64_t duration_us = (int64_t) sim_members_below(self->owner, 3000 * (uint64_t) how->session_ms);
    weft_sim_trace(s_sim(self->owner), self->name, "is stopped for %lld us", (long long) duration_us);
    // A thread of two may be what is stopped: its program, or its heartbeats.
    uint64_t which = sim_members_below(self->owner, 6);
    if (which == 0) weft_sim_part_pause(s_sim(self->owner), self->host, self->part_id, duration_us);
    if (which == 1) weft_sim_part_pause(s_sim(self->owner), self->host, self->member_id, duration_us);
    if (which > 1) weft_sim_host_pause(s_sim(self->owner), self->host, duration_us);
}

struct sim_member *sim_members_some(struct sim_members *self)
{
    return &self->members[sim_members_below(self, (uint64_t) self->count)];
}

void sim_member_trouble(struct sim_member *self)
{
    if (self->part == NULL || self->closing || self->owner->quiet) return;
    uint64_t kind = sim_members_below(self->owner, 100);
    if (kind < 30)
        sim_member_close(self);
    else if (kind < 55)
        sim_member_kill(self);
    else if (kind < 70)
        s_stall(self);
    else if (kind < 88)
        s_pause(self);
    else
        sim_member_subscribe(self);
}

void sim_members_direct(void *context)
{
    struct sim_members *self = context;
    if (self->quiet) return;
    sim_member_trouble(sim_members_some(self));
    weft_sim_at(s_sim(self), weft_sim_now_us(s_sim(self)) + 20000 + (int64_t) sim_members_below(self, 1500000),
                sim_members_direct, self);
}
