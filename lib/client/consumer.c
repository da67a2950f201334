// SPDX-License-Identifier: MPL-2.0
// The blocking face of the consumer part. While a program walks through a poll, the part gets a turn at every frame
// that was read to its end: so the next fetches are asked for, and answers taken in, while it works.
#include <weft/consumer.h>

#include "../base/assert.h"
#include "consumer_part.h"
#include "driver.h"
#include "settings.h"

#include <weft_gen/config.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct weft_records {
    weft_consumer_t *consumer;
};

struct weft_consumer {
    weft_consumer_part_t *part; // belongs to the driver
    struct weft_driver *driver;
    weft_options_t *options;
    struct weft_records records;
    bool woken;            // wake() was met outside poll
    uint64_t event_serial; // of the last event that made a poll return: one that nobody takes does so once
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

static int64_t s_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

weft_err_t weft_consumer_new(const char *const *settings, weft_consumer_t **out, struct weft_error *error)
{
    struct weft_error ignored;
    if (!error) error = &ignored;
    weft_consumer_t *self = weft_calloc(1, sizeof *self);
    weft_err_t err = weft_settings_parse(settings, weft_options_consumer, weft_options_consumer_count, "consumer",
                                         &self->options, error);
    if (err) goto fail_new;
    err = weft_consumer_part_new(self->options, &self->part, error);
    if (err) goto fail_options;
    err = weft_driver_new(weft_consumer_part_base(self->part), &self->driver, error);
    if (err) goto fail_options; // the driver destroyed the part
    self->records.consumer = self;
    *out = self;
    return WEFT_OK;

fail_options:
    weft_options_destroy(&self->options);
fail_new:
    free(self);
    return err;
}

void weft_consumer_destroy(weft_consumer_t **self_p)
{
    weft_consumer_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    self->driver->ops->destroy(&self->driver);
    weft_options_destroy(&self->options);
    free(self);
}

int64_t weft_consumer_option_int(const weft_consumer_t *self, const char *name)
{
    return weft_options_int(self->options, name);
}

const char *weft_consumer_option_text(const weft_consumer_t *self, const char *name)
{
    return weft_options_text(self->options, name);
}

static weft_err_t s_said(weft_consumer_t *self, weft_err_t error)
{
    if (error) snprintf(self->text, sizeof self->text, "%s", weft_consumer_part_error_text(self->part));
    return error;
}

weft_err_t weft_consumer_assign(weft_consumer_t *self, const struct weft_assignment *list, size_t count)
{
    return s_said(self, weft_consumer_part_assign(self->part, list, count));
}

weft_err_t weft_consumer_subscribe(weft_consumer_t *self, const char *const *patterns, size_t count,
                                   struct weft_position at)
{
    return s_said(self, weft_consumer_part_subscribe(self->part, patterns, count, at));
}

weft_err_t weft_consumer_seek(weft_consumer_t *self, const char *topic, int32_t partition, struct weft_position at)
{
    return s_said(self, weft_consumer_part_seek(self->part, topic, partition, at));
}

weft_err_t weft_consumer_pause(weft_consumer_t *self, const char *topic, int32_t partition)
{
    return s_said(self, weft_consumer_part_pause(self->part, topic, partition, true));
}

weft_err_t weft_consumer_resume(weft_consumer_t *self, const char *topic, int32_t partition)
{
    return s_said(self, weft_consumer_part_pause(self->part, topic, partition, false));
}

// ---- reading

static weft_err_t s_fatal(weft_consumer_t *self)
{
    const struct weft_error *fatal = weft_consumer_part_fatal(self->part);
    if (fatal->code) snprintf(self->text, sizeof self->text, "%s", fatal->text);
    return fatal->code;
}

static weft_err_t s_wait(weft_consumer_t *self, int timeout_ms)
{
    int64_t deadline_us = timeout_ms < 0 ? -1 : s_now_us() + (int64_t) timeout_ms * 1000;
    int64_t left_us = 0; // first only what is there
    for (;;) {
        bool woken = self->driver->ops->run(self->driver, left_us) != WEFT_OK || self->woken;
        self->woken = false;
        weft_err_t fatal = s_fatal(self);
        if (fatal) return fatal;
        bool happened = weft_consumer_part_event_serial(self->part) != self->event_serial;
        self->event_serial = weft_consumer_part_event_serial(self->part);
        if (weft_consumer_part_begin_poll(self->part) || happened) {
            self->woken = woken; // told by the next poll
            return WEFT_OK;
        }
        if (woken) {
            snprintf(self->text, sizeof self->text, "%s", weft_err_sentence(WEFT_ERR_INTERRUPTED));
            return WEFT_ERR_INTERRUPTED;
        }
        left_us = deadline_us < 0 ? -1 : deadline_us - s_now_us();
        if (deadline_us >= 0 && left_us <= 0) return WEFT_OK;
    }
}

weft_err_t weft_consumer_poll(weft_consumer_t *self, int timeout_ms, weft_records_t **records)
{
    (void) weft_consumer_part_begin_poll(self->part); // makes room first: the turn can ask for more
    weft_err_t err = s_wait(self, timeout_ms);
    if (!err) *records = &self->records;
    return err;
}

bool weft_records_next(weft_records_t *self, struct weft_record_view *record)
{
    weft_consumer_t *consumer = self->consumer;
    bool crossed = false;
    bool found = weft_consumer_part_next(consumer->part, record, &crossed);
    if (__builtin_expect(crossed, 0) && consumer->driver->ops->run(consumer->driver, 0)) consumer->woken = true;
    return found;
}

bool weft_consumer_event(weft_consumer_t *self, struct weft_consumer_event *event)
{
    return weft_consumer_part_event(self->part, event);
}

bool weft_consumer_at_end(const weft_consumer_t *self)
{
    return weft_consumer_part_at_end(self->part);
}

bool weft_consumer_position(const weft_consumer_t *self, size_t index, struct weft_partition_position *out)
{
    return weft_consumer_part_position(self->part, index, out);
}

int weft_consumer_fd(const weft_consumer_t *self)
{
    return self->driver->ops->fd(self->driver);
}
void weft_consumer_wake(weft_consumer_t *self)
{
    self->driver->ops->wake(self->driver);
}
const char *weft_consumer_error_text(const weft_consumer_t *self)
{
    return self->text;
}

bool weft_consumer_counter(const weft_consumer_t *self, size_t index, const char **name, uint64_t *value)
{
    const weft_counters_t *counters = weft_consumer_part_counters(self->part);
    if (index >= counters->count) return false;
    *name = counters->infos[index].name;
    *value = weft_counter_get(counters, index);
    return true;
}
