// SPDX-License-Identifier: MPL-2.0
// What the group gives and takes. A turn only hears the news and hushes what is lost. What the program has to know
// happens in steps, which begin_poll and close take: then no record is being worked on, all that was read is done with and may be
// committed, and its callback runs on its own thread.
//
// One assignment is carried out at a time, the newest there is: what it lacks is let go (committed, answered, told,
// what the callback committed answered too), then what is new is taken, then the member part says so to the group. A
// second one meanwhile waits; so nothing is released under an answer that has not come.
#include "consumer_inner.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <stdio.h>
#include <stdlib.h>

// ---- the news

static int s_compare(const struct weft_desk_owned *owned, const struct weft_cpartition *partition)
{
    int order = strcmp(owned->topic, partition->topic->name);
    if (order) return order;
    int64_t index = owned->partition;
    return index < partition->index ? -1 : index > partition->index;
}

// Is it in the assignment, by the same giving?
static bool s_holds(const weft_desk_assignment_t *assignment, const struct weft_cpartition *partition)
{
    size_t low = 0, high = assignment ? assignment->count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = s_compare(&assignment->owned[middle], partition);
        if (!order)
            return assignment->owned[middle].token == partition->token &&
                   weft_id_equal(assignment->owned[middle].topic_id, partition->topic_id);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

// Until the next step tells the program, nothing of it is handed out or committed.
static void s_mark_lost(struct weft_cpartition *partition)
{
    if (weft_mutated("member_keeps_what_is_lost")) return;
    partition->lost = true;
    partition->part->group.lost_untold = true;
    weft_consumer_hush(partition);
}

static void s_lose_all(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        if (!partition->owned) continue;
        // What the program was already told to be revoked it need not hear of again.
        bool revoked = partition->letting_go && group->phase == WEFT_CPHASE_RELEASING;
        partition->told = partition->told || revoked;
        partition->letting_go = false;
        s_mark_lost(partition);
    }
    weft_consumer_give_up(self, WEFT_ERR_FENCED, group->news.lost_text);
    group->phase = WEFT_CPHASE_REST;
    weft_desk_assignment_drop(&group->next);
    group->taken = false;
}

void weft_consumer_lose(weft_consumer_part_t *self, struct weft_cpartition *partition, const char *text)
{
    if (!partition->owned || partition->lost) return;
    partition->letting_go = false;
    s_mark_lost(partition);
    snprintf(self->group.news.lost_text, sizeof self->group.news.lost_text, "%s", text);
}

// What the newest assignment lacks is not handed out any more, though it is let go only by the next step: it may be given to
// another at its release time-out.
static void s_hush_dropped(weft_consumer_part_t *self)
{
    const weft_desk_assignment_t *newest = self->group.news.assignment;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        if (!partition->owned) continue;
        partition->dropped = newest && !s_holds(newest, partition);
        weft_consumer_hush(partition);
    }
}

static void s_hear_refusal(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    const struct weft_desk_news *news = &group->news;
    if (!news->refused) {
        group->told_refused = false;
        group->refused.code = WEFT_OK;
        return;
    }
    enum weft_err_class class = weft_err_class(news->refused);
    if (class != WEFT_CLASS_RETRY && class != WEFT_CLASS_REFRESH && news->refused != WEFT_ERR_INTERNAL)
        weft_error_set(&group->refused, news->refused, "group '%.200s': %s", self->offsets.group, news->refused_text);
    else if (!group->told_refused)
        weft_consumer_tell_name(self, WEFT_EVENT_REFUSED, "", -1, -1, -1, news->refused, news->refused_text);
    group->told_refused = true;
}

static void s_hear_unknown(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    if (group->unknown_seen == group->news.unknown_told) return;
    group->unknown_seen = group->news.unknown_told;
    for (char **name = group->news.unknown; name && *name; name++) {
        struct weft_view_topic *topic = weft_view_topic(&self->view, *name);
        weft_consumer_tell(self, WEFT_EVENT_UNKNOWN_TOPIC, topic, -1, -1, -1, WEFT_ERR_UNKNOWN_TOPIC,
                           "the topic does not exist (yet)");
    }
}

void weft_consumer_group_turn(weft_consumer_part_t *self, int64_t now_us)
{
    struct weft_cgroup *group = &self->group;
    if (!group->desk) return;
    uint64_t serial = weft_desk_serial(group->desk, WEFT_DESK_CONSUMER);
    if (serial == group->serial) return;
    group->serial = serial;
    const weft_desk_assignment_t *before = group->news.assignment;
    weft_desk_read(group->desk, &group->news);
    if (group->news.assignment != before) s_hush_dropped(self);
    if (group->news.lost != group->lost_seen) {
        group->lost_seen = group->news.lost;
        s_lose_all(self);
    }
    s_hear_refusal(self);
    s_hear_unknown(self);
    if (group->news.unheard && !group->told_unheard)
        weft_consumer_tell_name(
            self, WEFT_EVENT_UNHEARD, "", -1, -1, -1, WEFT_ERR_COORDINATOR_UNAVAILABLE,
            group->exclusive
                ? "no coordinator was heard for a session: nothing is handed out until one is"
                : "no coordinator was heard for a session: reading goes on, another member may by now, too");
    group->told_unheard = group->news.unheard;
}

bool weft_consumer_part_has_news(const weft_consumer_part_t *self)
{
    const struct weft_cgroup *group = &self->group;
    return group->subscribed && weft_desk_serial(group->desk, WEFT_DESK_CONSUMER) != group->serial;
}

bool weft_consumer_part_lease_over(const weft_consumer_part_t *self, int64_t now_us)
{
    const struct weft_cgroup *group = &self->group;
    if (!group->subscribed || weft_mutated("member_outlives_its_lease")) return false;
    bool over = now_us >= weft_desk_lease_us(group->desk);
    return over || weft_desk_lost_count(group->desk) != group->lost_seen;
}

// ---- telling the program

typedef bool s_which(const struct weft_cpartition *partition);

static bool s_is_lost_untold(const struct weft_cpartition *partition)
{
    return partition->lost && !partition->told;
}

static bool s_is_let_go(const struct weft_cpartition *partition)
{
    return partition->owned && partition->letting_go;
}

static bool s_is_new(const struct weft_cpartition *partition)
{
    return partition->owned && !partition->given;
}

static void s_call(weft_consumer_part_t *self, const struct weft_rebalance *rebalance)
{
    struct weft_cgroup *group = &self->group;
    if (!group->fn) return;
    group->in_callback = true; // it is work of the program, not waiting for records
    if (group->desk && group->waiting) weft_desk_polled(group->desk, weft_port_now_us(&self->port), false);
    group->fn(group->context, rebalance);
    group->in_callback = false;
    if (group->desk && group->waiting) weft_desk_polled(group->desk, 0, true);
}

static enum weft_consumer_counter s_counter(enum weft_consumer_event_type type)
{
    if (type == WEFT_EVENT_ASSIGNED) return WEFT_CONSUMER_ASSIGNED;
    return type == WEFT_EVENT_REVOKED ? WEFT_CONSUMER_REVOKED : WEFT_CONSUMER_LOST;
}

// Tells of all partitions of that kind by callback and, but for what is only beginning, by events.
static void s_tell(weft_consumer_part_t *self, enum weft_consumer_event_type type, s_which *which, const char *text)
{
    struct weft_rebalance_partition *list = weft_calloc(self->partition_count + 1, sizeof *list);
    size_t count = 0;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        if (!which(partition)) continue;
        bool begins = type == WEFT_EVENT_ASSIGNED, lost = type == WEFT_EVENT_LOST;
        list[count++] = (struct weft_rebalance_partition){.topic = partition->topic->name,
                                                          .partition = partition->index,
                                                          .position = begins ? -1 : partition->position,
                                                          .token = partition->token};
        partition->given = true;
        partition->told = lost;
        if (begins) continue;
        weft_consumer_tell(self, type, partition->topic, partition->index, partition->position,
                           lost ? partition->commit.done : -1, lost ? WEFT_ERR_FENCED : WEFT_OK, text);
    }
    weft_counter_add(&self->counters, s_counter(type), count);
    if (count) s_call(self, &(struct weft_rebalance){.type = type, .partitions = list, .count = count, .text = text});
    free(list);
}

// ---- carrying an assignment out

// Removes what is lost and told, and (`released`) what was let go.
static void s_drop(weft_consumer_part_t *self, bool released)
{
    for (size_t i = self->partition_count; i-- > 0;) {
        struct weft_cpartition *partition = self->partitions[i];
        if (!partition->owned || s_holds(self->group.next, partition)) continue;
        if ((partition->lost && partition->told) || (released && partition->letting_go))
            weft_consumer_disown(self, partition);
    }
}

static void s_take(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    s_drop(self, true);
    for (size_t i = 0; i < group->next->count; i++) {
        const struct weft_desk_owned *owned = &group->next->owned[i];
        if (*owned->topic && owned->partition < INT32_MAX &&
            !weft_consumer_find(self, owned->topic, (int32_t) owned->partition))
            (void) weft_consumer_own(self, owned);
    }
    group->epoch = group->next->epoch;
    group->revision = group->next->revision;
    group->taken = true;
    group->phase = WEFT_CPHASE_REST;
    weft_desk_assignment_drop(&group->next);
    weft_desk_carried(group->desk, group->epoch, group->revision);
    s_tell(self, WEFT_EVENT_ASSIGNED, s_is_new, "");
}

// Marks what `next` lacks (or all); true if there is something to let go.
static bool s_let_go(weft_consumer_part_t *self, bool spare)
{
    bool any = false;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *partition = self->partitions[i];
        if (!partition->owned || partition->lost || s_holds(self->group.next, partition)) continue;
        partition->letting_go = any = true;
        weft_consumer_hush(partition);
        if (self->offsets.auto_us) weft_consumer_want(self, partition, spare);
    }
    self->group.ticket = weft_consumer_ticket(self);
    self->group.deadline_us = weft_port_now_us(&self->port) + self->group.patience_us;
    self->group.phase = WEFT_CPHASE_LETTING_GO;
    return any;
}

static bool s_is_late(const weft_consumer_part_t *self)
{
    return weft_port_now_us(&self->port) >= self->group.deadline_us;
}

// True: the phase is over, and nothing of what is let go waits for an answer.
static bool s_answered(weft_consumer_part_t *self)
{
    weft_err_t error;
    bool after = self->group.phase == WEFT_CPHASE_RELEASING;
    if (weft_mutated("member_releases_unanswered")) return true;
    if (after ? weft_consumer_offsets_idle(self) : weft_consumer_part_committed(self, self->group.ticket, &error))
        return true;
    if (!s_is_late(self)) return false;
    weft_consumer_give_up(self, WEFT_ERR_LOCAL_TIMED_OUT, "no answer before the partitions had to be released");
    return true;
}

// Goes on with what is being let go; true once all of it may be dropped.
static bool s_go_on(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    if (group->phase == WEFT_CPHASE_LETTING_GO) {
        if (!s_answered(self)) return false;
        group->phase = WEFT_CPHASE_RELEASING;
        group->deadline_us = weft_port_now_us(&self->port) + group->patience_us;
        s_tell(self, WEFT_EVENT_REVOKED, s_is_let_go, "");
    }
    return s_answered(self);
}

static void s_tell_lost(weft_consumer_part_t *self)
{
    if (!self->group.lost_untold) return;
    self->group.lost_untold = false;
    char text[sizeof self->group.news.lost_text];
    snprintf(text, sizeof text, "%s", self->group.news.lost_text);
    s_tell(self, WEFT_EVENT_LOST, s_is_lost_untold, text);
}

// One assignment after the other; true: the next one may be looked at.
static bool s_step(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    if (group->phase == WEFT_CPHASE_REST) {
        const weft_desk_assignment_t *newest = group->news.assignment;
        if (!newest) {
            s_drop(self, false);
            return false;
        }
        if (group->taken && group->epoch == newest->epoch && group->revision == newest->revision) return false;
        group->next = weft_desk_assignment_hold(group->news.assignment);
        if (!s_let_go(self, false)) {
            s_take(self);
            return true;
        }
    }
    if (!s_go_on(self)) return false;
    // Lost while the callback worked: all of it, then there is nothing to take; or some, which is told first.
    if (group->phase != WEFT_CPHASE_REST && !group->lost_untold) s_take(self);
    return true;
}

void weft_consumer_group_step(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    if (!group->subscribed || group->in_callback || group->closing) return;
    if (!group->waiting) weft_desk_polled(group->desk, weft_port_now_us(&self->port), false);
    do s_tell_lost(self);
    while (s_step(self));
}

bool weft_consumer_group_settled(const weft_consumer_part_t *self)
{
    const struct weft_cgroup *group = &self->group;
    const weft_desk_assignment_t *newest = group->news.assignment;
    return newest && group->news.settled && group->phase == WEFT_CPHASE_REST && group->taken &&
           group->epoch == newest->epoch && group->revision == newest->revision;
}

// ---- close

void weft_consumer_part_close(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    if (group->closing) return;
    group->closing = true;
    group->closed = !self->started;
    weft_desk_assignment_drop(&group->next); // a revocation under way ends, what was to come then does not
}

// All that is read is let go, a revocation under way first.
static bool s_close_begin(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    if (group->phase != WEFT_CPHASE_REST) {
        if (!s_go_on(self)) return false;
        s_drop(self, true);
    }
    for (size_t i = 0; i < self->partition_count && !group->subscribed; i++) {
        if (*self->offsets.group && self->offsets.auto_us) weft_consumer_want(self, self->partitions[i], true);
        self->partitions[i]->letting_go = true;
        weft_consumer_hush(self->partitions[i]);
    }
    (void) s_let_go(self, true);
    group->letting_all_go = true;
    return true;
}

static void s_leave(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    group->leaving = true;
    s_drop(self, true);
    group->phase = WEFT_CPHASE_REST;
    if (group->subscribed)
        weft_desk_leave(group->desk, group->is_static ? WEFT_DESK_PAUSE : WEFT_DESK_LEAVE, "closed");
    else
        group->closed = true;
}

static void s_close_on(weft_consumer_part_t *self)
{
    struct weft_cgroup *group = &self->group;
    s_tell_lost(self);
    if (!group->letting_all_go && !s_close_begin(self)) return;
    weft_err_t failed = WEFT_OK;
    if (weft_consumer_part_committed(self, group->ticket, &failed) && failed) group->close_error = failed;
    // Lost meanwhile: there is nothing to let go any more.
    if (group->phase == WEFT_CPHASE_REST || s_go_on(self)) s_leave(self);
}

bool weft_consumer_part_close_step(weft_consumer_part_t *self, weft_err_t *error)
{
    struct weft_cgroup *group = &self->group;
    weft_assert(group->closing);
    if (!group->closed && !group->leaving && !group->in_callback) s_close_on(self);
    if (group->leaving && group->news.left) group->closed = true;
    *error = group->close_error;
    return group->closed;
}

// ---- life-cycle

void weft_consumer_part_meet(weft_consumer_part_t *self, weft_desk_t *desk)
{
    weft_assert(!self->group.desk && *self->offsets.group);
    self->group.desk = weft_desk_hold(desk);
}

void weft_consumer_part_on_rebalance(weft_consumer_part_t *self, weft_rebalance_fn *fn, void *context)
{
    self->group.fn = fn;
    self->group.context = context;
}

void weft_consumer_part_waits(weft_consumer_part_t *self, bool waits)
{
    struct weft_cgroup *group = &self->group;
    if (!group->subscribed || group->waiting == waits) return;
    group->waiting = waits;
    weft_desk_polled(group->desk, weft_port_now_us(&self->port), waits);
}

bool weft_consumer_part_in_callback(const weft_consumer_part_t *self)
{
    return self->group.in_callback;
}

void weft_consumer_group_fini(weft_consumer_part_t *self)
{
    weft_desk_assignment_drop(&self->group.next);
    weft_desk_news_fini(&self->group.news);
    weft_desk_drop(&self->group.desk);
}
