// SPDX-License-Identifier: MPL-2.0
// One mutex over plain fields. Both sides copy what they need and go; strings that rarely change carry a serial, so that
// they are copied only when they did. The wake of the other side happens under the lock, so that a side that clears its
// wake knows that nobody is about to use it.
#include "desk.h"

#include "../base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct s_side {
    _Atomic uint64_t serial;
    weft_desk_wake_fn *wake;
    void *context;
};

struct weft_desk {
    pthread_mutex_t lock;
    _Atomic int references;
    _Atomic int64_t lease_us;
    _Atomic uint64_t lost_count; // news.lost
    struct s_side sides[2];
    bool poll_awaited;
    struct weft_desk_orders orders;
    struct weft_desk_news news;
};

// ---- life-cycle

weft_desk_t *weft_desk_new(void)
{
    weft_desk_t *self = weft_calloc(1, sizeof *self);
    weft_assert(pthread_mutex_init(&self->lock, NULL) == 0);
    self->references = 1;
    self->orders.polled_us = INT64_MAX;
    return self;
}

weft_desk_t *weft_desk_hold(weft_desk_t *self)
{
    self->references++;
    return self;
}

static void s_free_texts(char ***texts_p)
{
    char **texts = *texts_p;
    *texts_p = NULL;
    for (size_t i = 0; texts && texts[i]; i++) free(texts[i]);
    free(texts);
}

static char **s_copy_texts(char *const *texts)
{
    size_t count = 0;
    while (texts && texts[count]) count++;
    char **copy = weft_calloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = weft_strdup(texts[i]);
    return copy;
}

void weft_desk_orders_fini(struct weft_desk_orders *orders)
{
    s_free_texts(&orders->patterns);
}

void weft_desk_news_fini(struct weft_desk_news *news)
{
    weft_desk_assignment_drop(&news->assignment);
    s_free_texts(&news->unknown);
}

void weft_desk_drop(weft_desk_t **self_p)
{
    weft_desk_t *self = *self_p;
    *self_p = NULL;
    if (!self || --self->references) return;
    weft_desk_orders_fini(&self->orders);
    weft_desk_news_fini(&self->news);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

weft_desk_assignment_t *weft_desk_assignment_new(uint64_t epoch, uint64_t revision, size_t count)
{
    weft_desk_assignment_t *self = weft_calloc(1, sizeof *self);
    self->references = 1;
    self->epoch = epoch;
    self->revision = revision;
    self->owned = weft_calloc(count + 1, sizeof *self->owned);
    self->count = count;
    return self;
}

weft_desk_assignment_t *weft_desk_assignment_hold(weft_desk_assignment_t *assignment)
{
    if (assignment) assignment->references++;
    return assignment;
}

void weft_desk_assignment_drop(weft_desk_assignment_t **self_p)
{
    weft_desk_assignment_t *self = *self_p;
    *self_p = NULL;
    if (!self || --self->references) return;
    for (size_t i = 0; i < self->count; i++) free(self->owned[i].topic);
    free(self->owned);
    free(self);
}

// ---- lock and wake

static void s_lock(weft_desk_t *self)
{
    weft_assert(pthread_mutex_lock(&self->lock) == 0);
}

static void s_unlock(weft_desk_t *self)
{
    weft_assert(pthread_mutex_unlock(&self->lock) == 0);
}

// Something was put for that side.
static void s_unlock_telling(weft_desk_t *self, enum weft_desk_side side)
{
    struct s_side *told = &self->sides[side];
    told->serial++;
    if (told->wake) told->wake(told->context);
    s_unlock(self);
}

void weft_desk_on_change(weft_desk_t *self, enum weft_desk_side side, weft_desk_wake_fn *wake, void *context)
{
    s_lock(self);
    self->sides[side].wake = wake;
    self->sides[side].context = context;
    s_unlock(self);
}

uint64_t weft_desk_serial(const weft_desk_t *self, enum weft_desk_side side)
{
    return self->sides[side].serial;
}

// ---- consumer's side

void weft_desk_subscribe(weft_desk_t *self, const char *const *patterns, size_t count)
{
    weft_assert(count && count <= WEFT_DESK_PATTERNS_MAX);
    char **copy = weft_calloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = weft_strdup(patterns[i]);
    s_lock(self);
    s_free_texts(&self->orders.patterns);
    self->orders.patterns = copy;
    self->orders.pattern_count = count;
    self->orders.subscription++;
    self->news.refused = WEFT_OK; // of the one before
    s_unlock_telling(self, WEFT_DESK_MEMBER);
}

// Once a poll: nobody is woken for it, but a member that had left because nobody polled.
void weft_desk_polled(weft_desk_t *self, int64_t now_us, bool waiting)
{
    s_lock(self);
    self->orders.polled_us = waiting ? INT64_MAX : now_us;
    bool awaited = self->poll_awaited;
    self->poll_awaited = false;
    if (awaited)
        s_unlock_telling(self, WEFT_DESK_MEMBER);
    else
        s_unlock(self);
}

void weft_desk_carried(weft_desk_t *self, uint64_t epoch, uint64_t revision)
{
    s_lock(self);
    self->orders.epoch = epoch;
    self->orders.revision = revision;
    s_unlock_telling(self, WEFT_DESK_MEMBER);
}

void weft_desk_leave(weft_desk_t *self, enum weft_desk_leave how, const char *why)
{
    s_lock(self);
    self->orders.leave = how;
    snprintf(self->orders.why, sizeof self->orders.why, "%s", why);
    s_unlock_telling(self, WEFT_DESK_MEMBER);
}

void weft_desk_read(weft_desk_t *self, struct weft_desk_news *io)
{
    struct weft_desk_news before = *io;
    s_lock(self);
    *io = self->news;
    io->assignment = weft_desk_assignment_hold(self->news.assignment);
    bool same = before.unknown_told == io->unknown_told;
    io->unknown = same ? before.unknown : s_copy_texts(self->news.unknown);
    s_unlock(self);
    if (same) before.unknown = NULL;
    weft_desk_news_fini(&before);
}

int64_t weft_desk_lease_us(const weft_desk_t *self)
{
    return self->lease_us;
}

uint64_t weft_desk_lost_count(const weft_desk_t *self)
{
    return self->lost_count;
}

// ---- member's side

void weft_desk_orders(weft_desk_t *self, struct weft_desk_orders *io)
{
    struct weft_desk_orders before = *io;
    s_lock(self);
    *io = self->orders;
    bool same = before.subscription == io->subscription;
    io->patterns = same ? before.patterns : s_copy_texts(self->orders.patterns);
    s_unlock(self);
    if (same) before.patterns = NULL;
    weft_desk_orders_fini(&before);
}

void weft_desk_assign(weft_desk_t *self, weft_desk_assignment_t **assignment_p)
{
    s_lock(self);
    weft_desk_assignment_t *before = self->news.assignment;
    self->news.assignment = *assignment_p;
    *assignment_p = NULL;
    self->news.settled = false;
    self->news.refused = WEFT_OK;
    s_unlock_telling(self, WEFT_DESK_CONSUMER);
    weft_desk_assignment_drop(&before);
}

void weft_desk_lost(weft_desk_t *self, const char *text)
{
    s_lock(self);
    weft_desk_assignment_t *before = self->news.assignment;
    self->news.assignment = NULL;
    self->news.settled = false;
    self->lost_count = ++self->news.lost;
    snprintf(self->news.lost_text, sizeof self->news.lost_text, "%s", text);
    self->orders.epoch = self->orders.revision = 0; // what was carried out was of another membership
    self->lease_us = 0;
    s_unlock_telling(self, WEFT_DESK_CONSUMER);
    weft_desk_assignment_drop(&before);
}

void weft_desk_await_poll(weft_desk_t *self)
{
    s_lock(self);
    self->poll_awaited = true;
    s_unlock(self);
}

void weft_desk_settle(weft_desk_t *self, bool settled)
{
    s_lock(self);
    bool changed = self->news.settled != settled;
    self->news.settled = settled;
    if (changed)
        s_unlock_telling(self, WEFT_DESK_CONSUMER);
    else
        s_unlock(self);
}

void weft_desk_say_left(weft_desk_t *self)
{
    s_lock(self);
    self->news.left = true;
    self->lease_us = 0;
    s_unlock_telling(self, WEFT_DESK_CONSUMER);
}

void weft_desk_refuse(weft_desk_t *self, weft_err_t error, const char *text)
{
    s_lock(self);
    bool changed = self->news.refused != error;
    self->news.refused = error;
    snprintf(self->news.refused_text, sizeof self->news.refused_text, "%s", text);
    if (changed)
        s_unlock_telling(self, WEFT_DESK_CONSUMER);
    else
        s_unlock(self);
}

void weft_desk_say_unheard(weft_desk_t *self, bool unheard)
{
    s_lock(self);
    bool changed = self->news.unheard != unheard;
    self->news.unheard = unheard;
    if (changed)
        s_unlock_telling(self, WEFT_DESK_CONSUMER);
    else
        s_unlock(self);
}

static bool s_same_texts(char *const *texts, const weft_slice_t *names, size_t count)
{
    size_t i = 0;
    while (texts && texts[i] && i < count && weft_slice_is_text(names[i], texts[i])) i++;
    return i == count && (!texts || !texts[i]);
}

void weft_desk_unknown(weft_desk_t *self, const weft_slice_t *names, size_t count)
{
    s_lock(self);
    if (s_same_texts(self->news.unknown, names, count)) {
        s_unlock(self);
        return;
    }
    s_free_texts(&self->news.unknown);
    self->news.unknown = weft_calloc(count + 1, sizeof *self->news.unknown);
    for (size_t i = 0; i < count; i++) self->news.unknown[i] = weft_slice_dup(names[i]);
    self->news.unknown_told++;
    s_unlock_telling(self, WEFT_DESK_CONSUMER);
}

void weft_desk_lease(weft_desk_t *self, int64_t end_us)
{
    self->lease_us = end_us;
}
