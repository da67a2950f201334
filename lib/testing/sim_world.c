// SPDX-License-Identifier: MPL-2.0
/*
 * Time, hosts and parts. One heap of events, ordered by (time, number): the number makes equal times deterministic.
 *
 * A part has at most one valid turn event. Input brings it forward; a pause or a sync pushes it back. In a turn the part
 * gets a bounded number of its inputs, then turn(), then what it sent is let out, as in lib/net's loop. A turn takes a few
 * microseconds, so that time moves even for parts that always want another one.
 */
#include "sim_inner.h"

#include "../base/assert.h"
#include "../base/trace.h"
#include "../log/sync_part.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INPUTS_A_TURN 256
#define CALL_US 5 // of a program that drives a part by hand: so time passes in its loops, too

// ---- randomness, digest, trace

weft_rand_t *weft_sim_rand(sim_t *self)
{
    return &self->rand;
}

uint64_t weft_sim_below(sim_t *self, uint64_t bound)
{
    return bound <= 1 ? 0 : weft_rand_below(&self->rand, bound);
}

bool weft_sim_chance(sim_t *self, uint32_t per_million)
{
    return per_million > 0 && weft_rand_chance(&self->rand, per_million);
}

int64_t weft_sim_now_us(const sim_t *self)
{
    return self->now_us;
}

void weft_sim_mix(sim_t *self, uint64_t value)
{
    self->digest = (self->digest ^ value) * 0x100000001b3ULL;
    self->digest ^= self->digest >> 29;
}

uint64_t weft_sim_digest(const sim_t *self)
{
    return self->digest;
}

const struct sim_stats *weft_sim_stats(const sim_t *self)
{
    return &self->stats;
}

const char *weft_sim_running(const sim_t *self)
{
    return self->running != NULL ? self->running->name : "a node that starts";
}

sim_host_t weft_sim_running_host(const sim_t *self)
{
    return self->running != NULL ? self->running->host : -1;
}

static void s_line(const sim_t *self, const char *who, const char *text)
{
    fprintf(stderr, "%4lld.%06lld %-22s %s\n", (long long) (self->now_us / 1000000),
            (long long) (self->now_us % 1000000), who, text);
}

bool weft_sim_is_traced(const sim_t *self)
{
    return self->trace;
}

void weft_sim_trace(const sim_t *self, const char *who, const char *format, ...)
{
    if (!self->trace) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    s_line(self, who, text);
}

static void s_sink(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    const sim_t *self = context;
    if (self->trace) s_line(self, source, line);
}

void weft_sim_trace_on(sim_t *self, bool on, bool messages)
{
    self->trace = on;
    self->trace_messages = messages;
    weft_trace_level_set(on ? WEFT_TRACE_DEBUG : WEFT_TRACE_ERROR);
}

// ---- events

static bool s_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_us != b->time_us ? a->time_us < b->time_us : a->number < b->number;
}

void weft_sim_event_add(sim_t *self, struct sim_event event)
{
    if (event.time_us < self->now_us) event.time_us = self->now_us;
    event.number = self->event_number++;
    if (self->event_count == self->event_capacity) {
        self->event_capacity = self->event_capacity == 0 ? 256 : self->event_capacity * 2;
        self->heap = weft_realloc(self->heap, self->event_capacity * sizeof *self->heap);
    }
    size_t at = self->event_count++;
    while (at > 0 && s_before(&event, &self->heap[(at - 1) / 2])) {
        self->heap[at] = self->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    self->heap[at] = event;
}

static struct sim_event s_event_take(sim_t *self)
{
    struct sim_event first = self->heap[0], last = self->heap[--self->event_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= self->event_count) break;
        if (child + 1 < self->event_count && s_before(&self->heap[child + 1], &self->heap[child])) child++;
        if (!s_before(&self->heap[child], &last)) break;
        self->heap[at] = self->heap[child];
        at = child;
    }
    if (self->event_count > 0) self->heap[at] = last;
    return first;
}

void weft_sim_at(sim_t *self, int64_t time_us, sim_call_fn *fn, void *context)
{
    weft_sim_event_add(self,
                       (struct sim_event){.time_us = time_us, .type = SIM_EVENT_CALL, .fn = fn, .context = context});
}

// ---- inputs and turns

static void s_queue_push(struct sim_queue *queue, const struct sim_input *input)
{
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity == 0 ? 8 : queue->capacity * 2;
        struct sim_input *items = weft_alloc(capacity * sizeof *items);
        for (size_t i = 0; i < queue->count; i++) items[i] = queue->items[(queue->first + i) % queue->capacity];
        free(queue->items);
        queue->items = items;
        queue->first = 0;
        queue->capacity = capacity;
    }
    queue->items[(queue->first + queue->count) % queue->capacity] = *input;
    queue->count++;
}

static struct sim_input s_queue_take(struct sim_queue *queue)
{
    struct sim_input input = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->capacity;
    queue->count--;
    return input;
}

void weft_sim_mail_drop(struct weft_mail *mail)
{
    if (mail->body_free != NULL && mail->body != NULL) mail->body_free(mail->body);
    mail->body = NULL;
}

static void s_input_drop(struct sim_input *input)
{
    if (input->type == SIM_INPUT_MAIL) weft_sim_mail_drop(&input->mail);
    if (input->type != SIM_INPUT_MESSAGE) return;
    weft_frame_drop(&input->message.header);
    weft_frame_drop(&input->message.data);
}

void weft_sim_queue_fini(struct sim_queue *queue)
{
    while (queue->count > 0) {
        struct sim_input input = s_queue_take(queue);
        s_input_drop(&input);
    }
    free(queue->items);
    *queue = (struct sim_queue){.items = NULL};
}

void weft_sim_turn_at(struct sim_slot *slot, int64_t time_us)
{
    if (time_us == WEFT_TIME_NEVER) return;
    if (time_us < slot->free_us) time_us = slot->free_us;
    if (time_us < slot->sim->now_us) time_us = slot->sim->now_us;
    if (slot->turn_us <= time_us) return;
    slot->turn_us = time_us;
    if (slot->by_hand) return;
    slot->turn_number++;
    weft_sim_event_add(
        slot->sim,
        (struct sim_event){.time_us = time_us, .type = SIM_EVENT_TURN, .slot = slot, .detail = slot->turn_number});
}

static int64_t s_sync_time(const struct sim_slot *slot)
{
    sim_t *self = slot->sim;
    const struct sim_config *config = &self->config;
    if (self->hosts[slot->host].sync_us > 0) return self->hosts[slot->host].sync_us;
    if (weft_sim_chance(self, config->hang_per_million)) return (int64_t) weft_sim_below(self, 3000000);
    int64_t spread = config->sync_max_us - config->sync_min_us + 1;
    int64_t time_us = config->sync_min_us + (int64_t) weft_sim_below(self, (uint64_t) spread);
    uint32_t factor = self->hosts[slot->host].disk_factor;
    return factor > 1 ? time_us * factor : time_us;
}

void weft_sim_input_add(struct sim_slot *slot, struct sim_input *input)
{
    if (slot->part == NULL || slot->stopped) {
        s_input_drop(input);
        return;
    }
    bool too = input->type == SIM_INPUT_MESSAGE && input->message.link == 0 && input->message.peer.door == 1;
    s_queue_push(too ? &slot->inputs_too : &slot->inputs, input);
    int64_t wait_us = (int64_t) weft_sim_below(slot->sim, 5);
    bool sync = slot->is_sync && input->type == SIM_INPUT_MAIL && input->mail.kind == WEFT_MAIL_SYNC;
    if (sync && weft_sim_chance(slot->sim, 500000)) wait_us += s_sync_time(slot); // it takes effect at its end
    weft_sim_turn_at(slot, slot->sim->now_us + wait_us);
}

static void s_give(struct sim_slot *slot, struct sim_input *input)
{
    struct weft_part *part = slot->part;
    weft_sim_mix(slot->sim, (uint64_t) input->type + 7 * slot->id);
    switch (input->type) {
    case SIM_INPUT_MESSAGE:
        part->ops->message(part, &input->message);
        s_input_drop(input);
        break;
    case SIM_INPUT_MAIL:
        if (slot->is_sync && input->mail.kind == WEFT_MAIL_SYNC && slot->mail_delay_us == 0 &&
            weft_sim_chance(slot->sim, 500000)) {
            slot->mail_delay_us = s_sync_time(slot); // it takes effect at its start
        }
        part->ops->mail(part, &input->mail);
        break;
    case SIM_INPUT_UP:
    case SIM_INPUT_DOWN: weft_sim_net_input(slot, input->type, input->link); break;
    }
}

static void s_stop_if_asked(struct sim_slot *slot)
{
    if (!slot->stop_asked) return;
    if (!slot->stopping) slot->part->ops->stop(slot->part);
    slot->stopping = true;
}

static int64_t s_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

void weft_sim_host_meter(sim_t *self, sim_host_t host)
{
    self->hosts[host].metered = true;
    self->hosts[host].cpu_ns = 0;
}

int64_t weft_sim_host_cpu_us(const sim_t *self, sim_host_t host)
{
    return self->hosts[host].cpu_ns / 1000;
}

static void s_begin(struct sim_slot *slot)
{
    if (slot->started) return;
    slot->started = true;
    weft_port_t port = {.ops = &weft_sim_port_ops, .world = slot};
    slot->part->ops->start(slot->part, &port);
}

static void s_turn(struct sim_slot *slot)
{
    sim_t *self = slot->sim;
    slot->turn_us = WEFT_TIME_NEVER;
    if (slot->part == NULL || slot->stopped) return;
    const struct sim_slot *running = self->running; // inside a turn by hand its owner may drive another part
    self->stats.turns++;
    slot->in_turn = true;
    self->running = slot;
    slot->mail_delay_us = 0;
    struct weft_part *part = slot->part;
    s_begin(slot);
    struct sim_host *host = &self->hosts[slot->host];
    int64_t begun_ns = host->metered ? s_cpu_ns() : 0;
    s_stop_if_asked(slot);
    for (int i = 0; i < INPUTS_A_TURN && slot->inputs.count + slot->inputs_too.count > 0; i++) {
        struct sim_input input = s_queue_take(slot->inputs_too.count > 0 ? &slot->inputs_too : &slot->inputs);
        s_give(slot, &input);
    }
    int64_t again_us = part->ops->turn(part, self->now_us);
    if (host->metered) host->cpu_ns += s_cpu_ns() - begun_ns;
    weft_sim_net_flush(slot);
    slot->in_turn = false;
    self->running = running;
    weft_sim_mix(self, (uint64_t) self->now_us ^ (uint64_t) slot->id << 48 ^ (uint64_t) slot->host << 56);

    slot->free_us = self->now_us + 1 + (int64_t) weft_sim_below(self, 10) + slot->mail_delay_us;
    if (weft_sim_chance(self, self->config.pause_per_million)) slot->free_us += (int64_t) weft_sim_below(self, 200000);
    if (slot->stopping && part->ops->stopped(part)) {
        slot->stopped = true;
        return;
    }
    if (slot->inputs.count + slot->inputs_too.count > 0) again_us = self->now_us;
    if (slot->stopping && again_us > self->now_us + 10000) again_us = self->now_us + 10000;
    weft_sim_turn_at(slot, again_us);
}

static void s_mail(struct sim_slot *slot, struct weft_mail *mail)
{
    slot->sim->stats.mails++;
    struct sim_input input = {.type = SIM_INPUT_MAIL, .mail = *mail};
    weft_sim_input_add(slot, &input);
}

static void s_event_run(sim_t *self, struct sim_event *event)
{
    self->stats.events++;
    switch (event->type) {
    case SIM_EVENT_TURN:
        if (event->detail == event->slot->turn_number && event->slot->turn_us != WEFT_TIME_NEVER) {
            if (event->slot->free_us > self->now_us) { // paused meanwhile
                event->slot->turn_us = WEFT_TIME_NEVER;
                weft_sim_turn_at(event->slot, event->slot->free_us);
            } else {
                s_turn(event->slot);
            }
        }
        break;
    case SIM_EVENT_DELIVER: weft_sim_net_deliver(self, event->connection, (int) event->detail); break;
    case SIM_EVENT_MAIL: s_mail(event->slot, &event->mail); break;
    case SIM_EVENT_CONNECT: weft_sim_net_connect(event->slot, (weft_link_t) event->detail); break;
    case SIM_EVENT_INPUT: {
        struct sim_input input = {.type = event->input, .link = (weft_link_t) event->detail};
        weft_sim_input_add(event->slot, &input);
        break;
    }
    case SIM_EVENT_SILENCE: weft_sim_net_silence(self, event->a, event->b, (uint32_t) event->detail); break;
    case SIM_EVENT_CALL: event->fn(event->context); break;
    }
}

static bool s_step(sim_t *self, int64_t time_us)
{
    if (self->event_count == 0 || self->heap[0].time_us > time_us) {
        if (self->now_us < time_us) self->now_us = time_us;
        return false;
    }
    struct sim_event event = s_event_take(self);
    self->now_us = event.time_us;
    s_event_run(self, &event);
    return true;
}

void weft_sim_run_until(sim_t *self, int64_t time_us)
{
    while (s_step(self, time_us)) {}
}

bool weft_sim_run_until_true(sim_t *self, int64_t time_us, bool (*condition)(void *context), void *context)
{
    bool holds = condition(context);
    while (!holds && s_step(self, time_us)) holds = condition(context);
    return holds;
}

// ---- parts

struct sim_slot *weft_sim_slot_of(const sim_t *self, sim_host_t host, weft_part_id_t part)
{
    const struct sim_host *at = &self->hosts[host];
    return part >= 1 && part <= at->slot_count ? at->slots[part - 1] : NULL;
}

void weft_sim_part_poke(sim_t *self, sim_host_t host, weft_part_id_t part)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    if (slot != NULL && slot->part != NULL && slot->world_started) weft_sim_turn_at(slot, self->now_us);
}

void weft_sim_part_pause(sim_t *self, sim_host_t host, weft_part_id_t part, int64_t duration_us)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    if (slot != NULL && slot->free_us < self->now_us + duration_us) slot->free_us = self->now_us + duration_us;
}

int64_t weft_sim_part_free_us(const sim_t *self, sim_host_t host, weft_part_id_t part)
{
    const struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    return slot != NULL ? slot->free_us : 0;
}

void weft_sim_sync_pause(sim_t *self, sim_host_t host, int64_t duration_us)
{
    for (size_t i = 0; i < self->hosts[host].slot_count; i++) {
        if (self->hosts[host].slots[i]->is_sync) weft_sim_part_pause(self, host, (weft_part_id_t) (i + 1), duration_us);
    }
}

void weft_sim_part_stop(sim_t *self, sim_host_t host, weft_part_id_t part)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    if (slot == NULL || slot->part == NULL) return;
    slot->stop_asked = true;
    weft_sim_turn_at(slot, self->now_us);
}

bool weft_sim_part_stopped(const sim_t *self, sim_host_t host, weft_part_id_t part)
{
    const struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    return slot == NULL || slot->part == NULL || slot->stopped;
}

// ---- parts by hand

void weft_sim_part_by_hand(sim_t *self, sim_host_t host, weft_part_id_t part, bool by_hand)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    slot->by_hand = by_hand;
    slot->turn_us = WEFT_TIME_NEVER;
    slot->turn_number++;        // what was due before is not any more
    if (by_hand) s_begin(slot); // its owner may use it at once
    weft_sim_turn_at(slot, self->now_us);
}

static bool s_has_input(const struct sim_slot *slot)
{
    return slot->inputs.count + slot->inputs_too.count > 0;
}

void weft_sim_part_run(sim_t *self, sim_host_t host, weft_part_id_t part, int64_t timeout_us, const bool *woken)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    weft_assert(slot != NULL && slot->by_hand && !slot->in_turn);
    int64_t deadline_us = self->now_us + timeout_us;
    weft_sim_run_until(self, self->now_us + CALL_US);
    while (!s_has_input(slot) && !*woken && self->now_us < deadline_us && self->now_us < slot->turn_us)
        (void) s_step(self, deadline_us < slot->turn_us ? deadline_us : slot->turn_us);
    while (slot->free_us > self->now_us) (void) s_step(self, slot->free_us); // it is paused
    s_turn(slot);
}

bool weft_sim_part_drain(sim_t *self, sim_host_t host, weft_part_id_t part)
{
    struct sim_slot *slot = weft_sim_slot_of(self, host, part);
    if (slot == NULL || slot->part == NULL) return true;
    weft_sim_net_flush(slot);
    return weft_sim_net_idle(slot);
}

// ---- life

sim_t *weft_sim_new(uint64_t seed, const struct sim_config *config)
{
    sim_t *self = weft_calloc(1, sizeof *self);
    weft_rand_init(&self->rand, seed);
    self->config = *config;
    self->digest = 0xcbf29ce484222325ULL;
    weft_trace_sink_set(s_sink, self);
    return self;
}

void weft_sim_configure(sim_t *self, const struct sim_config *config)
{
    self->config = *config;
}

void weft_sim_destroy(sim_t **self_p)
{
    sim_t *self = *self_p;
    if (self == NULL) return;
    for (int i = 0; i < self->host_count; i++) weft_sim_host_kill(self, i, true);
    for (size_t i = 0; i < self->event_count; i++) {
        if (self->heap[i].type == SIM_EVENT_MAIL) weft_sim_mail_drop(&self->heap[i].mail);
    }
    weft_sim_net_fini(self);
    for (size_t i = 0; i < self->slot_count; i++) free(self->slots[i]);
    free(self->slots);
    free(self->heap);
    weft_trace_sink_set(NULL, NULL);
    free(self);
    *self_p = NULL;
}
