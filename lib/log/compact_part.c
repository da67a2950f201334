// SPDX-License-Identifier: MPL-2.0
// One request at a time, in the order in which they came, a step a turn. The rate is a budget that a step may overdraw
// and that time refills: the next step comes when it is paid back.
#include "compact_part.h"

#include "../base/trace.h"

#include <stdlib.h>
#include <string.h>

#define S_STEP_BYTES (1024 * 1024)

struct s_request {
    struct weft_compact_request *body;
    void (*body_free)(void *body);
    weft_part_id_t from;
    uint64_t number;
};

struct s_part {
    struct weft_part base;
    weft_port_t port;
    char *name;
    int64_t bytes_per_s;
    int64_t next_us; // of the next step, where there is a rate
    struct s_request *requests;
    size_t request_count, request_capacity;
    bool stopping;
};

static struct s_part *s_of(struct weft_part *part)
{
    return (struct s_part *) part;
}

void weft_compact_request_free(void *body)
{
    struct weft_compact_request *request = body;
    weft_compact_destroy(&request->job);
    free(request);
}

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    s_of(part)->port = *port;
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    // It has no endpoint; the world drops what is left in the message.
}

static void s_link(struct weft_part *part, weft_link_t link) {}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    struct s_part *self = s_of(part);
    if (mail->kind != WEFT_MAIL_COMPACT || !mail->body) {
        if (mail->body && mail->body_free) mail->body_free(mail->body);
        return;
    }
    if (self->request_count == self->request_capacity) {
        self->request_capacity = self->request_capacity ? self->request_capacity * 2 : 8;
        self->requests = weft_realloc(self->requests, self->request_capacity * sizeof *self->requests);
    }
    self->requests[self->request_count++] = (struct s_request){mail->body, mail->body_free, mail->from, mail->number};
}

static void s_answer(struct s_part *self)
{
    const struct s_request request = self->requests[0];
    memmove(self->requests, self->requests + 1, --self->request_count * sizeof *self->requests);
    const struct weft_mail mail = {.from = self->port.ops->self_id(self->port.world),
                                   .kind = WEFT_MAIL_COMPACTED,
                                   .body = request.body,
                                   .body_free = request.body_free,
                                   .number = request.number};
    self->port.ops->post(self->port.world, request.from, &mail);
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    struct s_part *self = s_of(part);
    if (self->request_count == 0) return WEFT_TIME_NEVER;
    weft_compact_t *job = self->requests[0].body->job;
    if (self->stopping) weft_compact_cancel(job);
    if (!weft_compact_cancelled(job) && self->bytes_per_s && now_us < self->next_us) return self->next_us;
    bool more;
    size_t moved;
    weft_err_t err = weft_compact_step(job, S_STEP_BYTES, &more, &moved);
    if (err)
        weft_trace(WEFT_TRACE_DEBUG, self->name, "a compaction ended: %s", weft_err_name(err)); // its owner says more
    if (!more) s_answer(self);
    if (self->bytes_per_s) {
        if (self->next_us < now_us) self->next_us = now_us;
        self->next_us += (int64_t) ((double) moved * 1e6 / (double) self->bytes_per_s);
    }
    return now_us;
}

static void s_stop(struct weft_part *part)
{
    s_of(part)->stopping = true;
}

static bool s_stopped(struct weft_part *part)
{
    return s_of(part)->stopping && s_of(part)->request_count == 0;
}

static void s_destroy(struct weft_part **part_p)
{
    if (!*part_p) return;
    struct s_part *self = s_of(*part_p);
    *part_p = NULL;
    for (size_t i = 0; i < self->request_count; i++)
        if (self->requests[i].body_free) self->requests[i].body_free(self->requests[i].body);
    free(self->requests);
    free(self->name);
    free(self);
}

struct weft_part *weft_compact_part_new(const char *name, int64_t bytes_per_s)
{
    static const struct weft_part_ops ops = {.start = s_start,
                                             .message = s_message,
                                             .mail = s_mail,
                                             .link_up = s_link,
                                             .link_down = s_link,
                                             .turn = s_turn,
                                             .stop = s_stop,
                                             .stopped = s_stopped,
                                             .destroy = s_destroy};
    struct s_part *self = weft_calloc(1, sizeof *self);
    self->base.ops = &ops;
    self->name = weft_strdup(name);
    self->bytes_per_s = bytes_per_s;
    return &self->base;
}
