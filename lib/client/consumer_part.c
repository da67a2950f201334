// SPDX-License-Identifier: MPL-2.0
// Life-cycle of the part, its events, and what a program may ask about its partitions.
#include "consumer_inner.h"

#include "../base/assert.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>

#define UNSETTLED_US 100000 // whether a topic is missing for long enough is looked at this often

static const struct weft_part_ops s_ops;

static const struct weft_counter_info s_counter_infos[WEFT_CONSUMER_COUNTERS] = {
    [WEFT_CONSUMER_RECORDS] = {"records_count", "Records handed out."},
    [WEFT_CONSUMER_BYTES] = {"fetched_bytes", "Bytes of batches received."},
    [WEFT_CONSUMER_FETCHES] = {"fetches_count", "Fetch requests sent, watches too."},
    [WEFT_CONSUMER_EMPTY_FETCHES] = {"empty_fetches_count", "Fetches answered without data."},
    [WEFT_CONSUMER_RESETS] = {"resets_count", "Times an offset was gone."},
    [WEFT_CONSUMER_DIVERGENCES] = {"divergences_count", "Times the log no longer held what was read last."},
    [WEFT_CONSUMER_BAD_BATCHES] = {"bad_batches_count", "Batches that could not be read."},
    [WEFT_CONSUMER_GAPS] = {"gaps_count", "Times offsets were missing between two batches."},
    [WEFT_CONSUMER_RETRIES] = {"retries_count", "Requests refused or unanswered, asked again later."},
    [WEFT_CONSUMER_EVENTS_DROPPED] = {"events_dropped_count", "Events that nobody took, beyond 1,024."},
    [WEFT_CONSUMER_LINKS_LOST] = {"links_lost_count", "Connections lost."},
    [WEFT_CONSUMER_REDIRECTS] = {"redirects_count", "Times a node named another one to go to."},
    [WEFT_CONSUMER_REROUTES] = {"reroutes_count",
                                "Requests given up because their partition was led elsewhere by then."},
    [WEFT_CONSUMER_STRAY] = {"stray_replies_count", "Answers to nothing that waits."},
    [WEFT_CONSUMER_COMMITS] = {"commits_count", "Offsets committed."},
    [WEFT_CONSUMER_COMMITS_FAILED] = {"commits_failed_count", "Offsets refused, or not answered in time."},
    [WEFT_CONSUMER_ASSIGNED] = {"assigned_count", "Partitions that the group gave."},
    [WEFT_CONSUMER_REVOKED] = {"revoked_count", "Partitions that the group asked back."},
    [WEFT_CONSUMER_LOST] = {"lost_count", "Partitions lost to the group."},
};

// ---- life-cycle

static void s_read_options(weft_consumer_part_t *self, const weft_options_t *options)
{
    snprintf(self->client, sizeof self->client, "%s", weft_options_text(options, "client"));
    self->reset = weft_options_int(options, "reset");
    self->durable = weft_options_int(options, "read") == WEFT_CONSUMER_READ_DURABLE;
    self->check_crc = weft_options_bool(options, "check.crc");
    self->fetch_bytes = (uint32_t) weft_options_int(options, "fetch.bytes");
    self->fetch_min_bytes = (uint32_t) weft_options_int(options, "fetch.min.bytes");
    self->fetch_wait_ms = (uint32_t) weft_options_int(options, "fetch.wait.ms");
    self->buffer_bytes = (size_t) weft_options_int(options, "buffer.bytes");
    self->attempt_us = weft_options_int(options, "request.timeout.ms") * 1000;
}

weft_err_t weft_consumer_part_new(const weft_options_t *options, weft_consumer_part_t **out, struct weft_error *error)
{
    weft_consumer_part_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err = weft_view_init(&self->view, weft_options_text(options, "bootstrap"), error);
    if (err) {
        free(self);
        return err;
    }
    self->base.ops = &s_ops;
    s_read_options(self, options);
    weft_requests_init(
        &self->requests, &self->view,
        &(struct weft_requests_config){.client = self->client,
                                       .backoff_us = weft_options_int(options, "retry.backoff.ms") * 1000,
                                       .attempt_us = self->attempt_us,
                                       .silence_us = weft_options_int(options, "silence.ms") * 1000,
                                       .metadata_us = weft_options_int(options, "metadata.ms") * 1000});
    weft_counters_init(&self->counters, s_counter_infos, WEFT_CONSUMER_COUNTERS);
    weft_consumer_offsets_init(self, options);
    self->group.exclusive = weft_options_bool(options, "exclusive") && *self->offsets.group;
    self->poll_most = (uint64_t) weft_options_int(options, "max.poll.records");
    self->group.is_static = *weft_options_text(options, "instance") != 0;
    self->group.patience_us = weft_options_int(options, "release.ms") * 500;
    if (self->group.patience_us > self->attempt_us) self->group.patience_us = self->attempt_us;
    *out = self;
    return WEFT_OK;
}

struct weft_part *weft_consumer_part_base(weft_consumer_part_t *self)
{
    return &self->base;
}

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    weft_consumer_part_t *self = (weft_consumer_part_t *) part;
    self->port = *port;
    weft_view_start(&self->view, port);
    weft_requests_start(&self->requests, port);
    self->started = true;
}

static void s_destroy(struct weft_part **part_p)
{
    weft_consumer_part_t *self = (weft_consumer_part_t *) *part_p;
    *part_p = NULL;
    if (!self) return;
    weft_consumer_assign_fini(self);
    weft_consumer_group_fini(self);
    weft_consumer_offsets_fini(self);
    weft_consumer_free_chunks(self);
    free(self->events);
    weft_requests_fini(&self->requests);
    weft_view_fini(&self->view);
    weft_counters_fini(&self->counters);
    free(self);
}

// ---- slots

static void s_message(struct weft_part *part, struct weft_message *message)
{
    weft_requests_message(&((weft_consumer_part_t *) part)->requests, message);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    if (mail->body_free) mail->body_free(mail->body);
}

static void s_link_up(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_up(&((weft_consumer_part_t *) part)->requests, link);
}

static void s_link_down(struct weft_part *part, weft_link_t link)
{
    weft_requests_link_down(&((weft_consumer_part_t *) part)->requests, link);
}

// Topics that were deleted and created again.
static void s_begin_anew(weft_consumer_part_t *self)
{
    for (size_t i = 0; i < self->partition_count; i++)
        if (self->partitions[i]->topic->replaced) weft_consumer_begin_anew(self, self->partitions[i]);
    for (size_t i = 0; i < self->view.topic_count; i++) self->view.topics[i]->replaced = false;
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    weft_consumer_part_t *self = (weft_consumer_part_t *) part;
    int64_t next_us = weft_requests_turn(&self->requests, now_us);
    if (self->updates_seen != self->view.updates || self->unsettled) {
        self->updates_seen = self->view.updates;
        s_begin_anew(self);
        weft_consumer_match(self);
    }
    if (*self->offsets.group) {
        weft_consumer_group_turn(self, now_us);
        int64_t offsets_us = weft_consumer_offsets_turn(self, now_us);
        if (offsets_us < next_us) next_us = offsets_us;
        int64_t deadline_us = self->group.phase != WEFT_CPHASE_REST ? self->group.deadline_us : 0;
        if (deadline_us > now_us && deadline_us < next_us) next_us = deadline_us;
    }
    int64_t fetch_us = weft_consumer_fetch_turn(self, now_us);
    if (fetch_us < next_us) next_us = fetch_us;
    if (self->unsettled && now_us + UNSETTLED_US < next_us) next_us = now_us + UNSETTLED_US;
    weft_counter_set(&self->counters, WEFT_CONSUMER_LINKS_LOST, self->requests.link_down_count);
    weft_counter_set(&self->counters, WEFT_CONSUMER_REDIRECTS, self->requests.redirect_count);
    weft_counter_set(&self->counters, WEFT_CONSUMER_REROUTES, self->requests.reroute_count);
    weft_counter_set(&self->counters, WEFT_CONSUMER_STRAY, self->requests.stray_count);
    return next_us;
}

static void s_stop(struct weft_part *part) {}

static bool s_stopped(struct weft_part *part)
{
    return true;
}

static const struct weft_part_ops s_ops = {.start = s_start,
                                           .message = s_message,
                                           .mail = s_mail,
                                           .link_up = s_link_up,
                                           .link_down = s_link_down,
                                           .turn = s_turn,
                                           .stop = s_stop,
                                           .stopped = s_stopped,
                                           .destroy = s_destroy};

// ---- events

void weft_consumer_tell(weft_consumer_part_t *self, enum weft_consumer_event_type type,
                        const struct weft_view_topic *topic, int32_t partition, int64_t from_offset, int64_t offset,
                        weft_err_t error, const char *text)
{
    weft_consumer_tell_name(self, type, topic->name, partition, from_offset, offset, error, text);
}

void weft_consumer_tell_name(weft_consumer_part_t *self, enum weft_consumer_event_type type, const char *topic,
                             int32_t partition, int64_t from_offset, int64_t offset, weft_err_t error, const char *text)
{
    self->event_serial++;
    if (self->event_count == WEFT_CONSUMER_EVENTS_MAX) {
        weft_counter_add(&self->counters, WEFT_CONSUMER_EVENTS_DROPPED, 1);
        return;
    }
    if (!self->events) self->events = weft_calloc(WEFT_CONSUMER_EVENTS_MAX + 1, sizeof *self->events);
    struct weft_cevent *event =
        &self->events[(self->event_first + self->event_count++) % (WEFT_CONSUMER_EVENTS_MAX + 1)];
    *event = (struct weft_cevent){.type = type,
                                  .topic = topic,
                                  .partition = partition,
                                  .from_offset = from_offset,
                                  .offset = offset,
                                  .error = error};
    snprintf(event->text, sizeof event->text, "%s", text);
}

uint64_t weft_consumer_part_event_serial(const weft_consumer_part_t *self)
{
    return self->event_serial;
}

// One place of the ring is always free, so that the text of the event just taken stays until the next call.
bool weft_consumer_part_event(weft_consumer_part_t *self, struct weft_consumer_event *out)
{
    if (!self->event_count) return false;
    const struct weft_cevent *event = &self->events[self->event_first];
    self->event_first = (self->event_first + 1) % (WEFT_CONSUMER_EVENTS_MAX + 1);
    self->event_count--;
    *out = (struct weft_consumer_event){.type = event->type,
                                        .topic = event->topic,
                                        .partition = event->partition,
                                        .from_offset = event->from_offset,
                                        .offset = event->offset,
                                        .error = event->error,
                                        .text = event->text};
    return true;
}

// ---- what the program asks

bool weft_consumer_part_at_end(const weft_consumer_part_t *self)
{
    if (self->first_look || self->unsettled) return false;
    if (self->group.subscribed && !weft_consumer_group_settled(self)) return false;
    for (size_t i = 0; i < self->partition_count; i++) {
        const struct weft_cpartition *partition = self->partitions[i];
        if (partition->state == WEFT_CSTATE_STOPPED || partition->lost) continue;
        if (partition->end_at_start < 0 || partition->position < partition->end_at_start) return false;
    }
    return true;
}

bool weft_consumer_part_position(const weft_consumer_part_t *self, size_t index, struct weft_partition_position *out)
{
    if (index >= self->partition_count) return false;
    const struct weft_cpartition *partition = self->partitions[index];
    int64_t lag = partition->end >= 0 && partition->position >= 0 ? partition->end - partition->position : -1;
    *out = (struct weft_partition_position){.topic = partition->topic->name,
                                            .partition = partition->index,
                                            .position = partition->position,
                                            .high_watermark = partition->end,
                                            .log_start = partition->log_start,
                                            .lag = lag < -1 ? 0 : lag,
                                            .end_at_start = partition->end_at_start,
                                            .paused = partition->paused,
                                            .error = partition->error,
                                            .unheard = partition->unheard};
    return true;
}

const struct weft_error *weft_consumer_part_fatal(const weft_consumer_part_t *self)
{
    return self->view.fatal.code ? &self->view.fatal : &self->group.refused;
}
const weft_counters_t *weft_consumer_part_counters(const weft_consumer_part_t *self)
{
    return &self->counters;
}
const char *weft_consumer_part_error_text(const weft_consumer_part_t *self)
{
    return self->text;
}
