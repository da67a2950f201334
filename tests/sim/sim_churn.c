// SPDX-License-Identifier: MPL-2.0
#include "sim_churn.h"

#include <weft_gen/messages.h>

#define SECOND INT64_C(1000000)

static void s_submit(struct sim_churn *self, int64_t timeout_us)
{
    const struct sim_topic *topic = &self->clients->topics[self->topic];
    struct weft_call *call = weft_admin_part_begin(self->admin, WEFT_TO_COORDINATOR, NULL, 0, NULL);
    weft_buf_clear(&call->header);
    if (self->creates) {
        struct weft_topic_create_request request;
        weft_topic_create_request_init(&request);
        request.id = call->id;
        request.topic = weft_slice_text(topic->name);
        request.partitions = (uint32_t) topic->partitions;
        request.replicas = (uint32_t) topic->replicas;
        weft_topic_create_request_encode(&request, &call->header);
    } else {
        self->asked_us = weft_sim_now_us(self->clients->sim);
        struct weft_topic_delete_request request;
        weft_topic_delete_request_init(&request);
        request.id = call->id;
        request.topic = weft_slice_text(topic->name);
        weft_topic_delete_request_encode(&request, &call->header);
    }
    weft_admin_part_submit(self->admin, timeout_us);
    weft_sim_part_poke(self->clients->sim, self->host, self->admin_id);
    self->busy = true;
}

static void s_done(struct sim_churn *self)
{
    weft_err_t err = weft_admin_part_error(self->admin);
    weft_sim_trace(self->clients->sim, "churn", "%s: %s", self->creates ? "create" : "delete",
                   err == WEFT_OK ? "done" : weft_admin_part_error_text(self->admin));
    self->busy = false;
    // TOPIC_EXISTS and UNKNOWN_TOPIC: an answer to an earlier attempt was lost.
    if (err == WEFT_OK && !self->creates) {
        sim_history_topic_deleted(self->clients->history, self->topic, self->asked_us);
    }
    bool done = err == WEFT_OK || err == (self->creates ? WEFT_ERR_TOPIC_EXISTS : WEFT_ERR_UNKNOWN_TOPIC);
    if (!done) return;
    if (self->creates)
        self->creations++;
    else
        self->deletions++;
    self->creates = !self->creates;
}

static void s_step(void *context)
{
    struct sim_churn *self = context;
    sim_t *sim = self->clients->sim;
    if (self->busy && weft_admin_part_is_done(self->admin)) s_done(self);
    if (self->quiet) return;
    if (!self->busy) s_submit(self, 5 * SECOND);
    weft_sim_at(sim, weft_sim_now_us(sim) + 50000 + (int64_t) weft_sim_below(sim, 1500000), s_step, self);
}

void sim_churn_start(struct sim_churn *self, struct sim_clients *clients, int topic)
{
    *self = (struct sim_churn){.clients = clients, .topic = topic}; // it exists: the first step deletes it
    self->admin = sim_clients_admin_run(clients, "churn", &self->host, &self->admin_id);
    weft_sim_at(clients->sim, weft_sim_now_us(clients->sim) + 300000, s_step, self);
}

static bool s_call_ended(void *context)
{
    const struct sim_churn *self = context;
    return weft_admin_part_is_done(self->admin);
}

void sim_churn_settle(struct sim_churn *self)
{
    sim_t *sim = self->clients->sim;
    self->quiet = true;
    if (self->busy && weft_sim_run_until_true(sim, weft_sim_now_us(sim) + 10 * SECOND, s_call_ended, self))
        s_done(self);
    weft_sim_run_until(sim, weft_sim_now_us(sim) + 5 * SECOND); // what got no answer is carried out by now, or never
    for (int tries = 0; tries < 20 && sim_history_violation(self->clients->history) == NULL; tries++) {
        self->creates = true;
        s_submit(self, 5 * SECOND);
        (void) weft_sim_run_until_true(sim, weft_sim_now_us(sim) + 10 * SECOND, s_call_ended, self);
        s_done(self);
        if (!self->creates && sim_clients_led(self->clients, self->topic)) return;
        weft_sim_run_until(sim, weft_sim_now_us(sim) + 300000);
    }
    sim_history_violate(self->clients->history, "O9: a topic can't be created after the faults");
}
