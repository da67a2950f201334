// SPDX-License-Identifier: MPL-2.0
// Finding the coordinator in office, and finding the next one fast.
//
// One coordinator is `active`: the last that gave a good answer. While it answers nobody else is bothered. When it
// refuses, its connection is lost, or two and a half heartbeats pass without an answer (it may be stopped, or slow), the
// broker *seeks*: it goes on heartbeating to the active one, for nobody else may be in office yet, and asks the others in
// turn, the one first that somebody names. A good answer makes its sender the active one. So a new coordinator hears
// its brokers within a probe or two of taking office, however the old one ended.
//
// Probes start after a few random milliseconds, because a coordinator's death is seen by all brokers at once, and slow
// down to S_PROBE_MAX_US; that is also what a cluster without a majority costs.
#include "control_self.h"

#include "../../lib/base/trace.h"

#include <stdio.h>
#include <string.h>

#define S_PROBE_FIRST_US 10000 // at most, random
#define S_PROBE_MIN_US 20000
#define S_PROBE_MAX_US 100000
#define S_REGISTER_PATIENCE_US 600000 // a registration under our old start's id waits three heartbeats

// ---- the list

// Who is neither given nor a voter any more makes room.
static size_t s_place(const weft_control_t *self)
{
    if (self->coordinator_count < WEFT_CONTROL_COORDINATORS_MAX) return self->coordinator_count;
    size_t voter_count;
    const struct weft_cluster_voter *voters = weft_cluster_voters(self->cluster, &voter_count);
    for (size_t i = 0; i < self->coordinator_count; i++) {
        bool kept = self->coordinators[i].given || i == self->active;
        for (size_t k = 0; k < voter_count && !kept; k++)
            kept = strcmp(voters[k].endpoint, self->coordinators[i].endpoint) == 0;
        if (!kept) return i;
    }
    return SIZE_MAX;
}

size_t weft_control_coordinator(weft_control_t *self, weft_slice_t endpoint, bool given)
{
    if (endpoint.size == 0 || endpoint.size >= WEFT_ENDPOINT_BYTES_MAX) return SIZE_MAX;
    for (size_t i = 0; i < self->coordinator_count; i++)
        if (weft_slice_is_text(endpoint, self->coordinators[i].endpoint)) return i;
    size_t at = s_place(self);
    if (at == SIZE_MAX) return SIZE_MAX;
    struct weft_control_coordinator *one = &self->coordinators[at];
    if (at < self->coordinator_count && one->link != 0) self->port.ops->link_close(self->port.world, one->link);
    memset(one, 0, sizeof *one);
    one->given = given;
    snprintf(one->endpoint, sizeof one->endpoint, "%.*s", (int) endpoint.size, (const char *) endpoint.data);
    if (self->port.ops->link_open(self->port.world, one->endpoint, &one->link) != WEFT_OK) {
        one->link = 0;
        weft_trace(WEFT_TRACE_WARN, self->name, "coordinator endpoint '%s' can't be used", one->endpoint);
    }
    if (at == self->coordinator_count) self->coordinator_count++;
    return at;
}

size_t weft_control_coordinator_of(const weft_control_t *self, weft_link_t link)
{
    for (size_t i = 0; i < self->coordinator_count; i++)
        if (link != 0 && self->coordinators[i].link == link) return i;
    return SIZE_MAX;
}

void weft_control_follow_voters(weft_control_t *self)
{
    size_t count;
    const struct weft_cluster_voter *voters = weft_cluster_voters(self->cluster, &count);
    for (size_t i = 0; i < count; i++)
        (void) weft_control_coordinator(self, weft_slice_text(voters[i].endpoint), false);
}

// ---- seeking

static int64_t s_random_below(weft_control_t *self, int64_t us)
{
    return (int64_t) weft_rand_below(&self->rand, (uint64_t) us);
}

void weft_control_seek(weft_control_t *self, int64_t now_us)
{
    if (self->seeking) return;
    self->seeking = true;
    self->probe_wait_us = S_PROBE_MIN_US;
    self->probe_us = now_us + s_random_below(self, S_PROBE_FIRST_US);
}

void weft_control_name(weft_control_t *self, weft_slice_t endpoint, int64_t now_us)
{
    size_t at = weft_control_coordinator(self, endpoint, false);
    if (at == SIZE_MAX || at == self->active) return;
    self->named = at;
    // At once the first time. Two that name each other are not asked in a tight circle.
    int64_t soon_us = now_us + (self->probe_wait_us <= S_PROBE_MIN_US ? 0 : self->probe_wait_us / 2);
    if (soon_us < self->probe_us) self->probe_us = soon_us;
}

void weft_control_found(weft_control_t *self, size_t at, int64_t now_us)
{
    self->seeking = false;
    self->named = SIZE_MAX;
    self->answered_us = now_us;
    if (at == self->active) return;
    weft_trace(WEFT_TRACE_INFO, self->name, "the coordinator in office is at %s", self->coordinators[at].endpoint);
    self->active = at;
    self->send_us = now_us + self->heartbeat_us; // it has just heard of us
    weft_control_asks_lost(self, 0);
}

// The one that was named, else the next of the others, if it is connected. SIZE_MAX: none is.
static size_t s_next(weft_control_t *self)
{
    size_t named = self->named;
    self->named = SIZE_MAX;
    if (named != SIZE_MAX && self->coordinators[named].up) return named;
    for (size_t i = 1; i <= self->coordinator_count; i++) {
        size_t at = (self->probed + i) % self->coordinator_count;
        if (at != self->active && self->coordinators[at].up) return at;
    }
    return SIZE_MAX;
}

static void s_probe(weft_control_t *self, int64_t now_us)
{
    size_t at = s_next(self);
    if (at != SIZE_MAX) {
        self->probed = at;
        (void) weft_control_ask(self, at, now_us);
    }
    self->probe_us = now_us + self->probe_wait_us * 3 / 4 + s_random_below(self, self->probe_wait_us / 2);
    self->probe_wait_us *= 2;
    if (self->probe_wait_us > S_PROBE_MAX_US) self->probe_wait_us = S_PROBE_MAX_US;
}

// ---- turn

static void s_check_silence(weft_control_t *self, int64_t now_us)
{
    int64_t silent_us = now_us - self->answered_us;
    int64_t patience_us = self->registered ? self->heartbeat_us * 5 / 2 : S_REGISTER_PATIENCE_US;
    if (silent_us > patience_us) weft_control_seek(self, now_us);
    if (!self->registered || silent_us < self->session_us) return;
    int before = atomic_load_explicit(&self->broker->standing, memory_order_relaxed);
    weft_control_standing(self, WEFT_BROKER_ALONE);
    if (before != WEFT_BROKER_JOINED) return;
    weft_control_count(self, WEFT_COUNT_HEARTBEATS_UNANSWERED);
    weft_trace(WEFT_TRACE_WARN, self->name, "no coordinator answers (the last was at %s); serving on without one",
               self->coordinators[self->active].endpoint);
}

int64_t weft_control_seek_turn(weft_control_t *self, int64_t now_us)
{
    s_check_silence(self, now_us);
    if (now_us >= self->send_us) {
        self->send_us = now_us + self->heartbeat_us;
        if (!weft_control_ask(self, self->active, now_us)) weft_control_seek(self, now_us);
    }
    if (!self->seeking) return self->send_us;
    if (now_us >= self->probe_us) s_probe(self, now_us);
    return self->send_us < self->probe_us ? self->send_us : self->probe_us;
}

// ---- links

void weft_control_link_up(weft_control_t *self, weft_link_t link)
{
    size_t at = weft_control_coordinator_of(self, link);
    if (at == SIZE_MAX) return;
    int64_t now_us = weft_port_now_us(&self->port);
    self->coordinators[at].up = true;
    self->coordinators[at].register_id = 0; // whatever was asked over the old connection
    if (at == self->active)
        self->send_us = now_us;
    else if (self->seeking && self->named == SIZE_MAX) // somebody who is back may know more than those asked so far
        self->named = at;
}

void weft_control_link_down(weft_control_t *self, weft_link_t link)
{
    size_t at = weft_control_coordinator_of(self, link);
    if (at == SIZE_MAX) return;
    self->coordinators[at].up = false;
    self->coordinators[at].register_id = 0;
    weft_control_asks_lost(self, link);
    if (at == self->active) weft_control_seek(self, weft_port_now_us(&self->port));
}
