// SPDX-License-Identifier: MPL-2.0
#include "sim_operations.h"

#include <weft_gen/messages.h>

#include <stdio.h>

#define SECOND INT64_C(1000000)

static sim_t *s_sim(const struct sim_operations *self)
{
    return self->clients->sim;
}

static struct weft_call *s_begin(struct sim_operations *self, const char *what)
{
    struct weft_call *call = weft_admin_part_begin(self->admin, WEFT_TO_COORDINATOR, NULL, 0, NULL);
    weft_buf_clear(&call->header);
    self->what = what;
    return call;
}

static weft_id_t s_operation(struct sim_operations *self)
{
    return weft_rand_id(weft_sim_rand(s_sim(self)));
}

static int32_t s_broker(struct sim_operations *self)
{
    return 1 + (int32_t) weft_sim_below(s_sim(self), self->clients->nodes->settings.brokers);
}

// A partition of a topic that stays.
static int s_target(struct sim_operations *self, int *partition)
{
    int topic = (int) weft_sim_below(s_sim(self), (uint64_t) self->clients->stable_count);
    *partition = (int) weft_sim_below(s_sim(self), (uint64_t) self->clients->topics[topic].partitions);
    return topic;
}

// ---- what is asked; false: nothing this time

static bool s_drain(struct sim_operations *self, int32_t broker, bool undo)
{
    struct weft_call *call = s_begin(self, undo ? "undo drain" : "drain");
    struct weft_broker_drain_request request;
    weft_broker_drain_request_init(&request);
    request.id = call->id;
    request.broker_id = broker;
    request.undo = undo;
    request.operation = s_operation(self);
    weft_broker_drain_request_encode(&request, &call->header);
    return true;
}

static bool s_drain_some(struct sim_operations *self)
{
    return s_drain(self, s_broker(self), weft_sim_chance(s_sim(self), 500000));
}

static bool s_decommission(struct sim_operations *self, bool undo)
{
    struct weft_call *call = s_begin(self, undo ? "undo decommission" : "decommission");
    struct weft_broker_remove_request request;
    weft_broker_remove_request_init(&request);
    request.id = call->id;
    request.broker_id = self->leaving;
    request.undo = undo;
    request.operation = s_operation(self);
    weft_broker_remove_request_encode(&request, &call->header);
    return true;
}

static bool s_decommission_some(struct sim_operations *self)
{
    const struct sim_clients *clients = self->clients;
    if (self->removed) return false;
    if (self->leaving != 0) {
        bool retired = sim_nodes_broker(clients->nodes, self->leaving)->retired;
        return s_decommission(self, !retired && weft_sim_chance(s_sim(self), 300000));
    }
    for (int i = 0; i < clients->topic_count; i++) { // there must be somewhere to go
        if (clients->topics[i].replicas >= (int) clients->nodes->settings.brokers) return false;
    }
    self->leaving = s_broker(self);
    return s_decommission(self, false);
}

static bool s_reassign(struct sim_operations *self)
{
    int partition, topic = s_target(self, &partition);
    weft_id_t id;
    const struct weft_cluster_partition *now = sim_witness_partition(self->witness, topic, partition, &id);
    if (now == NULL) return false;
    bool cancel = now->moving != NULL && weft_sim_chance(s_sim(self), 600000);
    struct weft_call *call = s_begin(self, cancel ? "cancel a move" : "reassign");
    struct weft_reassign_request request;
    weft_reassign_request_init(&request);
    struct weft_partition_move move = {
        .topic = weft_slice_text(self->clients->topics[topic].name), .topic_id = id, .partition = (uint32_t) partition};
    int32_t to[SIM_BROKERS_MAX];
    size_t count = 0, brokers = self->clients->nodes->settings.brokers;
    uint64_t first = weft_sim_below(s_sim(self), brokers);
    while (!cancel && count < (size_t) self->clients->topics[topic].replicas) {
        to[count] = 1 + (int32_t) ((first + count) % brokers);
        if (to[count] == self->leaving) return false;
        count++;
    }
    move.to = to;
    move.to_count = count;
    request.id = call->id;
    request.moves = &move;
    request.moves_count = 1;
    request.operation = s_operation(self);
    if (weft_sim_chance(s_sim(self), 300000)) request.bytes_per_second = 100000;
    weft_reassign_request_encode(&request, &call->header);
    return true;
}

static bool s_balance(struct sim_operations *self)
{
    struct weft_call *call = s_begin(self, "balance");
    struct weft_balance_request request;
    weft_balance_request_init(&request);
    request.id = call->id;
    request.replicas = weft_sim_chance(s_sim(self), 500000);
    request.operation = s_operation(self);
    weft_balance_request_encode(&request, &call->header);
    return true;
}

static bool s_elect(struct sim_operations *self)
{
    int partition, topic = s_target(self, &partition);
    struct weft_call *call = s_begin(self, "elect");
    struct weft_elect_leader_request request;
    weft_elect_leader_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(self->clients->topics[topic].name);
    request.partition = (uint32_t) partition;
    if (weft_sim_chance(s_sim(self), 500000)) request.broker_id = s_broker(self);
    request.unclean = self->unclean;
    request.operation = s_operation(self);
    weft_elect_leader_request_encode(&request, &call->header);
    return true;
}

static bool s_throttle(struct sim_operations *self, const char *bytes)
{
    struct weft_call *call = s_begin(self, "throttle");
    struct weft_cluster_alter_request request;
    struct weft_config_entry entry = {weft_slice_text("reassign.bytes"), weft_slice_text(bytes)};
    weft_cluster_alter_request_init(&request);
    request.id = call->id;
    request.config = &entry;
    request.config_count = 1;
    request.operation = s_operation(self);
    weft_cluster_alter_request_encode(&request, &call->header);
    return true;
}

static bool s_throttle_some(struct sim_operations *self)
{
    return s_throttle(self, weft_sim_chance(s_sim(self), 500000) ? "50000" : "0");
}

static bool s_alter(struct sim_operations *self)
{
    int partition, topic = s_target(self, &partition);
    char text[8];
    uint64_t replicas = (uint64_t) self->clients->topics[topic].replicas;
    snprintf(text, sizeof text, "%d", (int) weft_sim_below(s_sim(self), replicas + 1));
    struct weft_call *call = s_begin(self, "alter min.insync");
    struct weft_topic_alter_request request;
    struct weft_config_entry entry = {weft_slice_text("min.insync"), weft_slice_text(text)};
    weft_topic_alter_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(self->clients->topics[topic].name);
    request.set = &entry;
    request.set_count = 1;
    request.operation = s_operation(self);
    weft_topic_alter_request_encode(&request, &call->header);
    return true;
}

static bool s_add_partitions(struct sim_operations *self)
{
    self->topic = (int) weft_sim_below(s_sim(self), (uint64_t) self->clients->stable_count);
    const struct sim_topic *topic = &self->clients->topics[self->topic];
    if (topic->partitions == SIM_PARTITIONS_MAX || topic->retained) return false;
    self->partitions = topic->partitions + 1;
    struct weft_call *call = s_begin(self, "add a partition");
    struct weft_topic_add_partitions_request request;
    weft_topic_add_partitions_request_init(&request);
    request.id = call->id;
    request.topic = weft_slice_text(topic->name);
    request.to = (uint32_t) self->partitions;
    request.operation = s_operation(self);
    weft_topic_add_partitions_request_encode(&request, &call->header);
    return true;
}

// ---- one after the other

static void s_submit(struct sim_operations *self, int64_t timeout_us)
{
    self->asked++;
    weft_admin_part_submit(self->admin, timeout_us);
    weft_sim_part_poke(s_sim(self), self->host, self->admin_id);
}

// It is forgotten, and stopped, if that has not been done; now and then somebody starts it again.
static void s_forgotten(struct sim_operations *self)
{
    struct sim_node *node = sim_nodes_broker(self->clients->nodes, self->leaving);
    weft_sim_trace(s_sim(self), node->name, "is forgotten");
    if (!node->retired) sim_node_kill(node);
    self->removed = node->removed = true;
    node->retired = !weft_sim_chance(s_sim(self), 500000);
    if (!node->retired) sim_node_start_after(node, SECOND);
}

// All its replicas are elsewhere: its process is stopped, and then it is forgotten.
static void s_gone(struct sim_operations *self)
{
    struct weft_broker_remove_reply reply;
    weft_slice_t bytes = weft_admin_part_reply(self->admin);
    weft_err_t err = weft_broker_remove_reply_decode(&self->clients->codec, bytes, &reply, NULL);
    if (err != WEFT_OK || (reply.replicas > 0 && !reply.removed)) return;
    struct sim_node *node = sim_nodes_broker(self->clients->nodes, self->leaving);
    if (!node->retired) sim_node_kill(node);
    node->retired = true;
    if (reply.removed) s_forgotten(self);
}

static void s_ended(struct sim_operations *self)
{
    weft_err_t err = weft_admin_part_error(self->admin);
    bool decommission = self->what[0] == 'd' && self->what[1] == 'e';
    weft_sim_trace(s_sim(self), "operations", "%s: %s", self->what,
                   err == WEFT_OK ? "done" : weft_admin_part_error_text(self->admin));
    bool adds = self->partitions > 0;
    self->what = NULL;
    if (err == WEFT_OK) self->done++;
    // A refusal of what is there already: the answer to an earlier attempt was lost.
    if (adds && (err == WEFT_OK || err == WEFT_ERR_INVALID_PARTITIONS)) {
        self->clients->topics[self->topic].partitions = self->partitions;
    }
    if (adds) self->partitions = 0;
    if (decommission && err == WEFT_OK) s_gone(self);
    if (decommission && err == WEFT_ERR_UNKNOWN_BROKER) { // forgotten, and the answer was lost
        s_forgotten(self);
        self->done++;
    }
}

static void s_step(void *context)
{
    static bool (*const operations[])(struct sim_operations *) = {
        s_drain_some, s_reassign, s_reassign,      s_balance,        s_elect,
        s_elect,      s_alter,    s_throttle_some, s_add_partitions, s_decommission_some};
    struct sim_operations *self = context;
    sim_t *sim = s_sim(self);
    if (self->what != NULL && weft_admin_part_is_done(self->admin)) s_ended(self);
    if (self->quiet) return;
    if (self->what == NULL) {
        uint64_t drawn = weft_sim_below(sim, sizeof operations / sizeof operations[0]);
        if (operations[drawn](self))
            s_submit(self, 5 * SECOND);
        else
            self->what = NULL;
    }
    weft_sim_at(sim, weft_sim_now_us(sim) + 20000 + (int64_t) weft_sim_below(sim, 1200000), s_step, self);
}

void sim_operations_start(struct sim_operations *self, struct sim_clients *clients, const sim_witness_t *witness,
                          bool unclean)
{
    *self = (struct sim_operations){.clients = clients, .witness = witness, .unclean = unclean};
    self->admin = sim_clients_admin_run(clients, "operations", &self->host, &self->admin_id);
    weft_sim_at(clients->sim, weft_sim_now_us(clients->sim) + 300000, s_step, self);
}

static bool s_call_ended(void *context)
{
    const struct sim_operations *self = context;
    return weft_admin_part_is_done(self->admin);
}

static void s_wait(struct sim_operations *self)
{
    if (self->what == NULL) return;
    (void) weft_sim_run_until_true(s_sim(self), weft_sim_now_us(s_sim(self)) + 10 * SECOND, s_call_ended, self);
    s_ended(self);
}

static bool s_failed(const struct sim_operations *self)
{
    return sim_history_violation(self->clients->history) != NULL;
}

// Asks until it holds; whatever else is decided meanwhile.
static void s_insist(struct sim_operations *self, bool (*ask)(struct sim_operations *self))
{
    for (int tries = 0; tries < 60 && !s_failed(self);
         tries++) { // a broker whose disk hung is taken for sick ten seconds longer
        uint32_t done = self->done;
        if (!ask(self)) return;
        s_submit(self, 5 * SECOND);
        s_wait(self);
        if (self->done > done) return;
        weft_sim_run_until(s_sim(self), weft_sim_now_us(s_sim(self)) + 300000);
    }
    if (s_failed(self)) return;
    sim_history_violate(self->clients->history, "O9: an operation is refused after the faults: %s",
                        weft_admin_part_error_text(self->admin));
}

static bool s_no_throttle(struct sim_operations *self)
{
    return s_throttle(self, "0");
}

static bool s_no_drain(struct sim_operations *self)
{
    size_t cursor = 0;
    const struct weft_cluster_broker *broker;
    while ((broker = weft_cluster_next_broker(sim_witness_cluster(self->witness), &cursor)) != NULL) {
        if (broker->draining) return s_drain(self, broker->id, true);
    }
    self->what = NULL;
    return false;
}

static bool s_go_on_leaving(struct sim_operations *self)
{
    return !self->removed && s_decommission(self, false);
}

void sim_operations_settle(struct sim_operations *self)
{
    self->quiet = true;
    s_wait(self);
    s_insist(self, s_no_throttle);
    for (size_t i = 0; i < self->clients->nodes->settings.brokers; i++) s_insist(self, s_no_drain);
    for (int tries = 0; self->leaving != 0 && !self->removed && tries < 100 && !s_failed(self); tries++) {
        s_insist(self, s_go_on_leaving);
        weft_sim_run_until(s_sim(self), weft_sim_now_us(s_sim(self)) + 300000);
    }
    if (self->leaving != 0 && !self->removed) {
        sim_history_violate(self->clients->history, "O9: the decommission of broker %d does not end", self->leaving);
    }
    if (!self->removed) return;
    if (weft_cluster_broker(sim_witness_cluster(self->witness), self->leaving) != NULL) {
        sim_history_violate(self->clients->history, "broker %d was removed, and is back", self->leaving);
    }
    struct sim_node *node = sim_nodes_broker(self->clients->nodes, self->leaving);
    if (!node->retired) sim_node_kill(node);
    node->retired = true;
}
