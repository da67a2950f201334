// SPDX-License-Identifier: MPL-2.0
// The life of a request: begun within the bounds, sent when its node is known and up, sent again while that is harmless
// and its time is not over, answered once. What may have been applied and may not be applied twice is not sent again:
// the client is told, and decides.
//
// Every attempt is a manual call of lib/client/requests.h: that finds leaders and the coordinator, learns from refusals,
// and tells when a node is silent or gone.
#include "edge.h"
#include "header.h"
#include "spool.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/mutate.h"
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

#define S_METADATA_LOOK_US 1500000 // with a spool the edge then tells what it knows itself

// ---- lists

void weft_edge_list_add(struct weft_edge_list *list, struct weft_edge_call *call)
{
    call->prev = list->last;
    call->next = NULL;
    if (list->last != NULL)
        list->last->next = call;
    else
        list->first = call;
    list->last = call;
    list->count++;
}

void weft_edge_list_remove(struct weft_edge_list *list, struct weft_edge_call *call)
{
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        list->first = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    else
        list->last = call->prev;
    call->next = call->prev = NULL;
    list->count--;
}

void weft_edge_due(weft_edge_part_t *self, int64_t at_us)
{
    if (at_us < self->retry_us) self->retry_us = at_us;
}

// ---- clients

static void s_client_key(const struct weft_peer *peer, uint8_t key[32])
{
    memset(key, 0, 32);
    key[0] = peer->size;
    key[1] = peer->door;
    memcpy(key + 2, peer->bytes, peer->size < sizeof peer->bytes ? peer->size : sizeof peer->bytes);
}

static struct weft_edge_client *s_client(weft_edge_part_t *self, const struct weft_peer *peer)
{
    uint8_t key[32];
    s_client_key(peer, key);
    struct weft_edge_client *client = weft_map_get(self->clients, weft_slice(key, sizeof key));
    if (client != NULL) return client;
    client = weft_calloc(1, sizeof *client);
    memcpy(client->key, key, sizeof key);
    weft_map_put(self->clients, weft_slice(key, sizeof key), client);
    weft_counter_set(weft_edge_counters(self), WEFT_EDGE_CLIENTS, weft_map_count(self->clients));
    return client;
}

static void s_client_leave(weft_edge_part_t *self, struct weft_edge_client *client, size_t bytes)
{
    client->bytes -= bytes;
    if (--client->requests > 0) return;
    weft_map_remove(self->clients, weft_slice(client->key, sizeof client->key));
    weft_counter_set(weft_edge_counters(self), WEFT_EDGE_CLIENTS, weft_map_count(self->clients));
    free(client);
}

// ---- begin

static const char *s_over(const weft_edge_part_t *self, const struct weft_edge_client *client, size_t bytes)
{
    if (self->under_way >= self->requests_max) return "The edge has as many requests under way as it may (`requests`).";
    if (self->under_way_bytes > 0 && self->under_way_bytes + bytes > self->bytes_max)
        return "The edge has as many bytes under way as it may (`bytes`).";
    if (client->requests >= self->client_requests_max)
        return "You have as many requests under way as one client may (`client.requests`).";
    if (client->bytes > 0 && client->bytes + bytes > self->client_bytes_max)
        return "You have as many bytes under way as one client may (`client.bytes`).";
    return NULL;
}

static void s_done(struct weft_call *base, weft_err_t error, const char *text, const struct weft_reply_header *header,
                   struct weft_message *message);

static struct weft_edge_call *s_new(weft_edge_part_t *self, struct weft_message *message,
                                    const struct weft_request_header *request)
{
    struct weft_edge_call *call = weft_calloc(1, sizeof *call);
    call->edge = self;
    call->peer = message->peer;
    call->delimited = message->delimited;
    call->client_id = request->id;
    call->api = request->api;
    call->bytes = message->header.size + message->data.size;
    call->begun_us = weft_port_now_us(&self->port);
    call->deadline_us = call->begun_us + self->look_us;
    call->call.done = s_done;
    call->call.context = call;
    call->call.deadline_us = WEFT_TIME_NEVER;
    weft_buf_init(&call->call.header);
    if (message->data.size > 0) call->call.data = weft_shared_new_frame(&message->data);
    return call;
}

// Of what has to keep its order.
static bool s_is_ordered(enum weft_api api)
{
    return api == WEFT_API_PRODUCE || api == WEFT_API_COMMIT || api == WEFT_API_OFFSETS_DELETE;
}

static void s_place(weft_edge_part_t *self, struct weft_edge_call *call)
{
    call->unknown = false;
    if (call->call.to == WEFT_TO_LEADER && s_is_ordered(call->api)) {
        weft_edge_lane_add(weft_edge_lane_of(self, call->call.topic, (uint32_t) call->call.partition), call);
        return;
    }
    if (weft_edge_send(call)) return;
    call->listed = true;
    weft_edge_list_add(&self->idle, call);
}

// Its topic is sought before anybody is asked.
static void s_seek(weft_edge_part_t *self, struct weft_edge_call *call)
{
    call->updates = self->view.updates;
    call->listed = true;
    weft_edge_list_add(&self->idle, call);
    weft_edge_due(self, call->deadline_us);
    weft_requests_refresh(&self->requests);
}

void weft_edge_begin(weft_edge_part_t *self, struct weft_message *message, const struct weft_request_header *request)
{
    const struct weft_edge_asker asker = {message->peer, message->delimited, request->id};
    struct weft_edge_client *client = s_client(self, &message->peer);
    size_t bytes = message->header.size + message->data.size;
    const char *over = s_over(self, client, bytes);
    client->requests++;
    client->bytes += bytes;
    if (over != NULL) {
        s_client_leave(self, client, bytes);
        weft_counter_add(weft_edge_counters(self), WEFT_EDGE_OVERLOADED, 1);
        if (request->api == WEFT_API_PRODUCE)
            weft_edge_owe_unrouted(self, weft_frame_slice(&message->header), weft_frame_slice(&message->data));
        weft_edge_refuse(self, &asker, WEFT_ERR_OVERLOADED, over);
        return;
    }
    weft_buf_clear(&self->scratch);
    struct weft_edge_call *call = s_new(self, message, request);
    call->client = client;
    self->under_way++;
    self->under_way_bytes += bytes;
    weft_slice_t header = weft_frame_slice(&message->header);
    weft_err_t code = weft_edge_route(self, call, header);
    if (code == WEFT_OK) {
        if (self->scratch.size > 0) header = weft_buf_slice(&self->scratch);
        code = weft_edge_header_with_id(header, &weft_guard_header, 0, &call->call.header, &self->error);
    }
    if (code != WEFT_OK) {
        weft_edge_end_refused(call, code, self->error.text);
        return;
    }
    bool known = self->spool != NULL && (call->api == WEFT_API_METADATA || call->api == WEFT_API_TOPIC_DESCRIBE);
    if (known) call->deadline_us = call->begun_us + S_METADATA_LOOK_US;
    if (known && weft_view_any(&self->view, NULL) == NULL && weft_edge_answer_known(self, call->api, &asker, header)) {
        weft_edge_end(call);
        return;
    }
    if (call->unknown)
        s_seek(self, call);
    else
        s_place(self, call);
}

// ---- sending

static bool s_sent(struct weft_edge_call *call)
{
    weft_edge_part_t *self = call->edge;
    weft_counter_add(weft_edge_counters(self), WEFT_EDGE_FORWARDED, 1);
    call->state = WEFT_EDGE_SENT;
    call->tries++;
    if (call->listed) {
        weft_edge_list_remove(&self->idle, call);
        call->listed = false;
    }
    if (call->lane != NULL) weft_edge_lane_sent(call);
    return true;
}

bool weft_edge_send(struct weft_edge_call *call)
{
    weft_edge_part_t *self = call->edge;
    weft_edge_header_set_id(&call->call.header, weft_requests_id(&self->requests, &call->call));
    if (weft_requests_try(&self->requests, &call->call) == WEFT_OK) return s_sent(call);
    if (call->last_error == WEFT_OK) call->last_error = WEFT_ERR_LOCAL_NOT_CONNECTED;
    call->retry_us = weft_port_now_us(&self->port) + self->requests.config.backoff_us;
    weft_edge_due(self, call->retry_us < call->deadline_us ? call->retry_us : call->deadline_us);
    return false;
}

void weft_edge_again(struct weft_edge_call *call, weft_err_t error, int64_t wait_us)
{
    weft_edge_part_t *self = call->edge;
    call->last_error = error;
    call->retry_us = weft_port_now_us(&self->port) + wait_us;
    weft_counter_add(weft_edge_counters(self), WEFT_EDGE_AGAIN, 1);
    weft_edge_due(self, call->retry_us);
    if (call->lane != NULL) {
        weft_edge_lane_back(call);
    } else {
        call->state = WEFT_EDGE_WAITING;
        call->listed = true;
        weft_edge_list_add(&self->idle, call);
    }
}

// ---- the end

void weft_edge_end(struct weft_edge_call *call)
{
    weft_edge_part_t *self = call->edge;
    if (call->listed) weft_edge_list_remove(&self->idle, call);
    if (call->lane != NULL) weft_edge_lane_remove(self, call);
    weft_requests_cancel(&self->requests, &call->call);
    weft_buf_fini(&call->call.header);
    weft_shared_drop(&call->call.data);
    self->under_way--;
    self->under_way_bytes -= call->bytes;
    s_client_leave(self, call->client, call->bytes);
    weft_counter_set(weft_edge_counters(self), WEFT_EDGE_UNDER_WAY, self->under_way);
    free(call);
}

void weft_edge_doubt(const struct weft_edge_call *call, weft_err_t *error, const char **sentence)
{
    if (weft_mutated("edge_has_no_doubt")) return;
    if (!call->doubtful || call->api != WEFT_API_PRODUCE || weft_err_outcome(*error) != WEFT_OUTCOME_NOT_APPLIED)
        return;
    *error = WEFT_ERR_LEADER_CHANGED;
    *sentence = "The edge lost a leader that had the batch and may have written it; sent again, it was refused. Send "
                "it once more.";
}

void weft_edge_end_refused(struct weft_edge_call *call, weft_err_t error, const char *sentence)
{
    const struct weft_edge_asker asker = weft_edge_asker_of(call);
    weft_edge_doubt(call, &error, &sentence);
    weft_edge_owe(call);
    if (call->answers)
        weft_edge_refuse(call->edge, &asker, error, sentence);
    else
        weft_counter_add(weft_edge_counters(call->edge), WEFT_EDGE_DROPPED, 1);
    weft_edge_end(call);
}

// Nobody could be found in time. What is surely not applied is told as such.
void weft_edge_give_up(struct weft_edge_call *call)
{
    weft_edge_part_t *self = call->edge;
    weft_counter_add(weft_edge_counters(self), WEFT_EDGE_GAVE_UP, 1);
    if (call->doubtful) {
        weft_edge_end_refused(call, WEFT_ERR_TIMED_OUT,
                              "The edge lost the node that had the request, and may have been answered; it found no "
                              "other one in time.");
    } else if (call->call.to == WEFT_TO_LEADER && call->call.topic != NULL) {
        weft_edge_end_refused(call, WEFT_ERR_NOT_LEADER,
                              "The edge can't reach the leader of the partition at the moment; try again.");
    } else {
        weft_edge_end_refused(call, WEFT_ERR_COORDINATOR_UNAVAILABLE,
                              "The edge can't reach a node that answers this at the moment; try again.");
    }
}

// Refused without effect, for a reason that goes away by asking somebody else.
static bool s_is_elsewhere(const struct weft_edge_call *call, weft_err_t error)
{
    if (error == WEFT_ERR_NOT_LEADER || error == WEFT_ERR_NOT_COORDINATOR || error == WEFT_ERR_STOPPING) return true;
    return error == WEFT_ERR_LEADER_CHANGED && call->repeatable;
}

static void s_lost(struct weft_edge_call *call, weft_err_t error)
{
    call->doubtful = true;
    if (error == WEFT_ERR_LOCAL_NOT_CONNECTED && call->repeatable) {
        weft_edge_again(call, error, 0);
        return;
    }
    if (call->api == WEFT_API_PRODUCE)
        weft_edge_end_refused(call, WEFT_ERR_LEADER_CHANGED,
                              "The edge lost the leader before it answered; the batch may have been written. A batch "
                              "with a producer id can be sent again without harm.");
    else
        weft_edge_end_refused(call, WEFT_ERR_TIMED_OUT,
                              "The edge lost the node before it answered; the request may have been applied.");
}

static void s_found(weft_edge_part_t *self, struct weft_edge_call *call)
{
    call->last_error = WEFT_ERR_NOT_LEADER;
    call->state = WEFT_EDGE_WAITING;
    call->unknown = true;
    call->homeless = false;
    s_seek(self, call);
}

static void s_done(struct weft_call *base, weft_err_t error, const char *text, const struct weft_reply_header *header,
                   struct weft_message *message)
{
    struct weft_edge_call *call = base->context;
    weft_edge_part_t *self = call->edge;
    struct weft_edge_lane *lane = call->lane;
    bool redirected = base->redirected;
    if (message == NULL) {
        s_lost(call, error);
    } else if (error != WEFT_OK && s_is_elsewhere(call, error)) {
        if (weft_err_outcome(error) != WEFT_OUTCOME_NOT_APPLIED) call->doubtful = true;
        if (call->homeless && error == WEFT_ERR_NOT_LEADER) { // it exists: metadata will tell where
            s_found(self, call);
            return;
        }
        bool at_once = redirected && call->tries <= 3;
        weft_edge_again(call, error, at_once ? 0 : weft_requests_backoff_us(&self->requests, call->tries));
    } else if (weft_edge_pass_on(call, error, text, header, message)) {
        if (error == WEFT_OK || weft_err_outcome(error) == WEFT_OUTCOME_APPLIED)
            weft_edge_paid_call(call);
        else
            weft_edge_owe(call);
        weft_edge_end(call);
    } else {
        call->call.to = WEFT_TO_COORDINATOR;
        weft_edge_again(call, error, 0);
    }
    if (lane != NULL) weft_edge_lane_advance(self, lane);
}

// ---- those that wait outside of lanes

// A topic that was sought: known by now, or nobody is left to ask but any node.
static void s_look_again(weft_edge_part_t *self, struct weft_edge_call *call, int64_t now_us)
{
    if (call->updates == self->view.updates && now_us < call->deadline_us) {
        weft_edge_due(self, call->deadline_us);
        return;
    }
    bool told = call->updates != self->view.updates;
    weft_edge_list_remove(&self->idle, call);
    call->listed = false;
    weft_buf_clear(&self->scratch);
    // Decoded once before, but for the id: that may have made it larger than a header may be.
    weft_err_t code = weft_edge_route(self, call, weft_buf_slice(&call->call.header));
    if (code != WEFT_OK) {
        weft_edge_end_refused(call, code, self->error.text);
        return;
    }
    if (call->unknown && (!told || now_us >= call->deadline_us)) {
        weft_edge_give_up(call);
        return;
    }
    if (call->unknown) { // the coordinator knows, or who to ask
        call->call.to = WEFT_TO_COORDINATOR;
        call->call.topic = NULL;
        call->spools = false;
        call->homeless = true;
    }
    s_place(self, call);
}

static void s_retry(weft_edge_part_t *self, struct weft_edge_call *call, int64_t now_us)
{
    if (call->unknown) {
        s_look_again(self, call, now_us);
        return;
    }
    bool due = now_us >= call->retry_us || self->kicked;
    if (due && weft_edge_send(call)) return;
    if (now_us >= call->deadline_us) {
        const struct weft_edge_asker asker = weft_edge_asker_of(call);
        if (weft_edge_answer_known(self, call->api, &asker, weft_buf_slice(&call->call.header)))
            weft_edge_end(call);
        else
            weft_edge_give_up(call);
        return;
    }
    weft_edge_due(self, call->retry_us < call->deadline_us ? call->retry_us : call->deadline_us);
}

void weft_edge_retry_idle(weft_edge_part_t *self, int64_t now_us)
{
    struct weft_edge_call *last = self->idle.last, *next;
    for (struct weft_edge_call *call = self->idle.first; call != NULL; call = next) {
        next = call == last ? NULL : call->next;
        s_retry(self, call, now_us);
    }
}
