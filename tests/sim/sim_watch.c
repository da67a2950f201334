// SPDX-License-Identifier: MPL-2.0
#include "sim_watch.h"

#include <weft_gen/messages.h>

#define SECOND INT64_C(1000000)

static void s_ask(struct sim_watch *self)
{
    struct sim_clients *clients = self->clients;
    self->topic = (int) weft_sim_below(clients->sim, (uint64_t) clients->stable_count);
    self->partition = (int) weft_sim_below(clients->sim, (uint64_t) clients->topics[self->topic].partitions);
    weft_id_t id;
    const struct weft_cluster_partition *partition =
        sim_witness_partition(self->witness, self->topic, self->partition, &id);
    if (partition == NULL) return;
    self->epoch = partition->leader_epoch;
    self->asked_us = weft_sim_now_us(clients->sim);
    self->known = sim_history_committed_end(clients->history, self->topic, self->partition, self->asked_us);
    const char *name = clients->topics[self->topic].name;
    struct weft_call *call = weft_admin_part_begin(self->admin, WEFT_TO_LEADER, name, self->partition, NULL);
    weft_buf_clear(&call->header);
    struct weft_list_offsets_request request;
    weft_list_offsets_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(name);
    request.partition = (uint32_t) self->partition;
    request.read = weft_slice_text("committed");
    weft_list_offsets_request_encode(&request, &call->header);
    weft_admin_part_submit(self->admin, 2 * SECOND);
    weft_sim_part_poke(clients->sim, self->host, self->admin_id);
    self->busy = true;
}

static void s_answered(struct sim_watch *self)
{
    struct sim_history *history = self->clients->history;
    self->busy = false;
    if (weft_admin_part_error(self->admin) != WEFT_OK) return;
    struct weft_list_offsets_reply reply;
    weft_slice_t bytes = weft_admin_part_reply(self->admin);
    if (weft_list_offsets_reply_decode(&self->clients->codec, bytes, &reply, NULL) != WEFT_OK) return;
    // An older leader that can't know better may tell what it knows; and what was lost since is not missed, also where
    // others stand by now.
    int64_t still = sim_history_committed_end(history, self->topic, self->partition, self->asked_us);
    int64_t known = self->known < still ? self->known : still;
    if (reply.epoch < self->epoch || reply.offset >= known) return;
    sim_history_violate(
        history,
        "O6: topic %d partition %d: all below %lld was committed by epoch %d, and the leader of epoch %d "
        "says that it ends at %lld",
        self->topic, self->partition, (long long) known, self->epoch, reply.epoch, (long long) reply.offset);
}

static void s_step(void *context)
{
    struct sim_watch *self = context;
    sim_t *sim = self->clients->sim;
    if (self->clients->calm) return;
    if (self->busy && weft_admin_part_is_done(self->admin)) s_answered(self);
    if (!self->busy) s_ask(self);
    weft_sim_at(sim, weft_sim_now_us(sim) + 500 + (int64_t) weft_sim_below(sim, 20000), s_step, self);
}

void sim_watch_start(struct sim_watch *self, struct sim_clients *clients, const sim_witness_t *witness)
{
    *self = (struct sim_watch){.clients = clients, .witness = witness};
    self->admin = sim_clients_admin_run(clients, "watch", &self->host, &self->admin_id);
    weft_sim_at(clients->sim, weft_sim_now_us(clients->sim) + 100000, s_step, self);
}
