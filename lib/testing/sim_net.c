// SPDX-License-Identifier: MPL-2.0
/*
 * Links and connections. A link is what a part holds, a connection what the network makes of it: it comes, is lost, comes
 * again. A pipe is one direction of a connection: a queue in order of arrival, with one event for its head. Where that
 * direction is cut the head waits, and all behind it: TCP sends again until it is healed or heartbeats give up.
 *
 * A part hears of a loss through its inputs, behind what had arrived before; until then its sends succeed and vanish.
 */
#include "sim_inner.h"

#include "../base/assert.h"
#include "../base/crc32c.h"

#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_US 20000
#define BACKOFF_MAX_US 1000000
#define SLOWEST_US 1000000

static bool s_is_inproc(const struct sim_connection *connection)
{
    return strncmp(connection->router->listen[connection->door], "inproc:", 7) == 0;
}

static int64_t s_delay(sim_t *self, sim_host_t a, sim_host_t b)
{
    if (a == b) return 1 + (int64_t) weft_sim_below(self, 50);
    const struct sim_config *config = &self->config;
    int64_t spread = config->delay_max_us - config->delay_min_us + 1;
    int64_t delay = config->delay_min_us + (int64_t) weft_sim_below(self, (uint64_t) spread);
    if (weft_sim_chance(self, config->slow_per_million)) delay *= 1 + (int64_t) weft_sim_below(self, 50);
    if (self->slow[a][b] > 1) delay *= self->slow[a][b];
    if (delay > SLOWEST_US) delay = SLOWEST_US; // what is behind it waits, too
    return delay + self->late_us[a][b];
}

static struct sim_link *s_link(const struct sim_slot *slot, weft_link_t id)
{
    if (id == 0 || id > slot->link_count) return NULL;
    return slot->links[id - 1].open ? &slot->links[id - 1] : NULL;
}

// ---- connections

static void s_flight_drop(struct sim_flight *flight)
{
    weft_frame_drop(&flight->header);
    weft_frame_drop(&flight->data);
}

static void s_pipe_fini(struct sim_pipe *pipe)
{
    for (size_t i = 0; i < pipe->count; i++) s_flight_drop(&pipe->flights[(pipe->first + i) % pipe->capacity]);
    free(pipe->flights);
    *pipe = (struct sim_pipe){.flights = NULL};
}

static void s_pipe_push(struct sim_pipe *pipe, struct sim_flight *flight)
{
    if (pipe->count == pipe->capacity) {
        size_t capacity = pipe->capacity == 0 ? 8 : pipe->capacity * 2;
        struct sim_flight *flights = weft_alloc(capacity * sizeof *flights);
        for (size_t i = 0; i < pipe->count; i++) flights[i] = pipe->flights[(pipe->first + i) % pipe->capacity];
        free(pipe->flights);
        pipe->flights = flights;
        pipe->first = 0;
        pipe->capacity = capacity;
    }
    pipe->flights[(pipe->first + pipe->count) % pipe->capacity] = *flight;
    pipe->count++;
    pipe->bytes += flight->header.size + flight->data.size;
}

static void s_input_later(struct sim_slot *slot, enum sim_input_type type, weft_link_t link, int64_t delay_us)
{
    weft_sim_event_add(slot->sim, (struct sim_event){.time_us = slot->sim->now_us + delay_us,
                                                     .type = SIM_EVENT_INPUT,
                                                     .slot = slot,
                                                     .input = type,
                                                     .detail = link});
}

static void s_connect_later(struct sim_slot *slot, struct sim_link *link)
{
    link->backoff_us = link->backoff_us == 0 ? BACKOFF_MIN_US : link->backoff_us * 2;
    if (link->backoff_us > BACKOFF_MAX_US) link->backoff_us = BACKOFF_MAX_US;
    int64_t wait_us = link->backoff_us / 2 + (int64_t) weft_sim_below(slot->sim, (uint64_t) link->backoff_us);
    weft_sim_event_add(slot->sim, (struct sim_event){.time_us = slot->sim->now_us + wait_us,
                                                     .type = SIM_EVENT_CONNECT,
                                                     .slot = slot,
                                                     .detail = link->id});
}

// The connection is no more. The dealer's part hears of it after delay_us (if it is to hear of it at all: not -1).
static void s_lose(struct sim_connection *connection, int64_t delay_us)
{
    if (!connection->alive) return;
    connection->alive = false;
    connection->dealer->sim->stats.broken++;
    s_pipe_fini(&connection->pipes[0]);
    s_pipe_fini(&connection->pipes[1]);
    if (delay_us >= 0) s_input_later(connection->dealer, SIM_INPUT_DOWN, connection->link, delay_us);
}

void weft_sim_net_input(struct sim_slot *slot, enum sim_input_type type, weft_link_t id)
{
    struct sim_link *link = s_link(slot, id);
    if (link == NULL) return;
    if (type == SIM_INPUT_UP) {
        if (link->up || link->connection == NULL || !link->connection->alive) return; // lost before it was told
        link->up = true;
        link->backoff_us = 0;
        slot->part->ops->link_up(slot->part, id);
        return;
    }
    if (link->connection == NULL || link->connection->alive) return;
    bool was_up = link->up;
    link->up = false;
    link->connection = NULL;
    s_connect_later(slot, link);
    if (was_up) slot->part->ops->link_down(slot->part, id);
}

static struct sim_slot *s_listener(const sim_t *self, const char *endpoint, uint8_t *door)
{
    for (size_t i = self->slot_count; i-- > 0;) {
        struct sim_slot *slot = self->slots[i];
        if (slot->part == NULL || !slot->world_started) continue;
        for (*door = 0; *door < 2; ++*door) {
            if (strcmp(slot->listen[*door], endpoint) == 0) return slot;
        }
    }
    return NULL;
}

void weft_sim_net_connect(struct sim_slot *slot, weft_link_t id)
{
    sim_t *self = slot->sim;
    struct sim_link *link = slot->part != NULL ? s_link(slot, id) : NULL;
    if (link == NULL || link->connection != NULL) return;
    uint8_t door = 0;
    struct sim_slot *router = s_listener(self, link->endpoint, &door);
    bool reached =
        router != NULL && self->cuts[slot->host][router->host] == 0 && self->cuts[router->host][slot->host] == 0;
    if (!reached) {
        s_connect_later(slot, link);
        return;
    }
    struct sim_connection *connection = weft_calloc(1, sizeof *connection);
    if (self->connection_count == self->connection_capacity) {
        self->connection_capacity = self->connection_capacity == 0 ? 64 : self->connection_capacity * 2;
        self->connections =
            weft_realloc(self->connections, self->connection_capacity * sizeof(struct sim_connection *));
    }
    self->connections[self->connection_count++] = connection;
    connection->id = (uint32_t) self->connection_count;
    connection->alive = true;
    connection->dealer = slot;
    connection->router = router;
    connection->door = door;
    connection->link = id;
    link->connection = connection;
    self->stats.connections++;
    s_input_later(slot, SIM_INPUT_UP, id, 3 * s_delay(self, slot->host, router->host)); // TCP's and ZMTP's greetings
}

// ---- messages

static void s_pipe_schedule(sim_t *self, struct sim_connection *connection, int direction, int64_t delay_us)
{
    struct sim_pipe *pipe = &connection->pipes[direction];
    if (pipe->scheduled || pipe->count == 0) return;
    pipe->scheduled = true;
    int64_t arrival_us = pipe->flights[pipe->first].arrival_us;
    if (arrival_us < self->now_us + delay_us) arrival_us = self->now_us + delay_us;
    weft_sim_event_add(self, (struct sim_event){.time_us = arrival_us,
                                                .type = SIM_EVENT_DELIVER,
                                                .connection = connection,
                                                .detail = (uint64_t) direction});
}

static bool s_is_cut(const sim_t *self, const struct sim_connection *connection, int direction)
{
    sim_host_t a = connection->dealer->host, b = connection->router->host;
    return direction == 0 ? self->cuts[a][b] != 0 : self->cuts[b][a] != 0;
}

static struct weft_peer s_peer(const struct sim_connection *connection)
{
    struct weft_peer peer = {.size = 5, .door = connection->door};
    memcpy(peer.bytes + 1, &connection->id, sizeof connection->id);
    return peer;
}

static struct sim_connection *s_connection_of(const struct sim_slot *router, const struct weft_peer *peer)
{
    uint32_t id;
    if (peer->size != 5) return NULL;
    memcpy(&id, peer->bytes + 1, sizeof id);
    if (id == 0 || id > router->sim->connection_count) return NULL;
    struct sim_connection *connection = router->sim->connections[id - 1];
    bool is = connection->alive && connection->router == router && connection->door == peer->door;
    return is ? connection : NULL;
}

// "replicate 7, 120 + 3000 bytes": what its header says it is; an answer has no name.
static void s_trace_message(const sim_t *self, const struct sim_connection *connection, int direction,
                            const struct sim_flight *flight)
{
    const struct sim_slot *from = direction == 0 ? connection->dealer : connection->router;
    const struct sim_slot *to = direction == 0 ? connection->router : connection->dealer;
    weft_slice_t header = weft_frame_slice(&flight->header);
    struct weft_request_header head;
    weft_err_t err = direction == 0 ? weft_request_header_decode(header, &head, NULL) : WEFT_ERR_UNKNOWN_API;
    int name = err == WEFT_OK ? (int) head.api_name.size : 6;
    weft_sim_trace(self, from->name, "-> %s: %.*s, %zu + %zu bytes", to->name, name,
                   err == WEFT_OK ? (const char *) head.api_name.data : "answer", flight->header.size,
                   flight->data.size);
}

void weft_sim_net_deliver(sim_t *self, struct sim_connection *connection, int direction)
{
    struct sim_pipe *pipe = &connection->pipes[direction];
    if (!connection->alive) return;
    pipe->scheduled = false;
    if (s_is_cut(self, connection, direction)) return; // sim_heal goes on
    struct sim_slot *to = direction == 0 ? connection->router : connection->dealer;
    while (pipe->count > 0 && pipe->flights[pipe->first].arrival_us <= self->now_us) {
        struct sim_flight *flight = &pipe->flights[pipe->first];
        struct sim_input input = {.type = SIM_INPUT_MESSAGE};
        if (direction == 0)
            input.message.peer = s_peer(connection);
        else
            input.message.link = connection->link;
        input.message.delimited = flight->delimited;
        if (self->trace_messages) s_trace_message(self, connection, direction, flight);
        pipe->bytes -= flight->header.size + flight->data.size;
        weft_sim_mix(self, weft_crc32c(0, flight->header.data, flight->header.size));
        weft_frame_move(&input.message.header, &flight->header);
        weft_frame_move(&input.message.data, &flight->data);
        pipe->first = (pipe->first + 1) % pipe->capacity;
        pipe->count--;
        self->stats.messages++;
        bool closed = direction == 1 && s_link(to, connection->link) == NULL;
        if (!closed) {
            weft_sim_input_add(to, &input);
            continue;
        }
        weft_frame_drop(&input.message.header);
        weft_frame_drop(&input.message.data);
    }
    s_pipe_schedule(self, connection, direction, 0);
    bool lingered = direction == 0 && pipe->count == 0 && s_link(connection->dealer, connection->link) == NULL;
    if (lingered) s_lose(connection, -1);
}

static void s_fly(struct sim_slot *from, struct sim_connection *connection, int direction, struct sim_sent *sent)
{
    sim_t *self = from->sim;
    struct sim_pipe *pipe = &connection->pipes[direction];
    struct sim_flight flight = {.delimited = sent->delimited};
    weft_frame_move(&flight.header, &sent->header);
    weft_frame_move(&flight.data, &sent->data);
    sim_host_t dealer = connection->dealer->host, router = connection->router->host;
    flight.arrival_us = self->now_us + (direction == 0 ? s_delay(self, dealer, router) : s_delay(self, router, dealer));
    if (flight.arrival_us < pipe->last_arrival_us) flight.arrival_us = pipe->last_arrival_us; // in order
    pipe->last_arrival_us = flight.arrival_us;
    s_pipe_push(pipe, &flight);
    s_pipe_schedule(self, connection, direction, 0);
    if (connection->dealer->host != connection->router->host && weft_sim_chance(self, self->config.break_per_million)) {
        s_lose(connection, (int64_t) weft_sim_below(self, 2000));
    }
}

void weft_sim_net_flush(struct sim_slot *slot)
{
    for (size_t i = 0; i < slot->sent_count; i++) {
        struct sim_sent *sent = &slot->sent[i];
        struct sim_link *link = sent->link != 0 ? s_link(slot, sent->link) : NULL;
        struct sim_connection *connection = link != NULL      ? link->connection
                                            : sent->link == 0 ? s_connection_of(slot, &sent->peer)
                                                              : NULL;
        if (connection != NULL && connection->alive) s_fly(slot, connection, sent->link != 0 ? 0 : 1, sent);
        weft_frame_drop(&sent->header);
        weft_frame_drop(&sent->data);
    }
    slot->sent_count = 0;
}

// ---- the port

static int64_t s_now_us(void *world)
{
    const struct sim_slot *slot = world;
    return slot->sim->now_us;
}

static int64_t s_wall_ms(void *world)
{
    const struct sim_slot *slot = world;
    return weft_sim_host_wall_ms(slot->sim, slot->host);
}

static uint64_t s_seed(void *world)
{
    struct sim_slot *slot = world;
    return weft_rand_next(&slot->sim->rand);
}

static weft_err_t s_link_open(void *world, const char *endpoint, weft_link_t *out)
{
    struct sim_slot *slot = world;
    if (strstr(endpoint, "://") == NULL || strlen(endpoint) >= WEFT_ENDPOINT_BYTES_MAX) {
        return WEFT_ERR_INVALID_ENDPOINT;
    }
    slot->links = weft_realloc(slot->links, (slot->link_count + 1) * sizeof *slot->links);
    struct sim_link *link = &slot->links[slot->link_count++];
    *link = (struct sim_link){.id = (weft_link_t) slot->link_count, .open = true};
    // "virtual://7/broker-1:9650" is how a program names a node of this world (weft/testing.h)
    const char *node = strncmp(endpoint, "virtual://", 10) == 0 ? strchr(endpoint + 10, '/') : NULL;
    snprintf(link->endpoint, sizeof link->endpoint, "%s%s", node != NULL ? "tcp://" : "",
             node != NULL ? node + 1 : endpoint);
    weft_sim_event_add(
        slot->sim, (struct sim_event){
                       .time_us = slot->sim->now_us + 1, .type = SIM_EVENT_CONNECT, .slot = slot, .detail = link->id});
    *out = link->id;
    return WEFT_OK;
}

static void s_link_close(void *world, weft_link_t id)
{
    struct sim_slot *slot = world;
    struct sim_link *link = s_link(slot, id);
    if (link == NULL) return;
    for (size_t i = 0; i < slot->sent_count; i++) { // what was sent in this turn still leaves
        if (slot->sent[i].link == id && link->connection != NULL && link->connection->alive) {
            s_fly(slot, link->connection, 0, &slot->sent[i]);
        }
    }
    if (link->connection != NULL && link->connection->pipes[0].count == 0) s_lose(link->connection, -1);
    link->open = false;
}

static void s_copy(weft_frame_t *to, weft_frame_t *data, bool inproc)
{
    if (data == NULL || data->size == 0) {
        if (data != NULL) weft_frame_drop(data);
        return;
    }
    if (inproc) { // the very memory of the sender, who may still hold it
        weft_frame_move(to, data);
        to->shared = true;
        return;
    }
    weft_frame_init_copy(to, weft_frame_slice(data));
    weft_frame_drop(data);
}

static struct sim_sent *s_note(struct sim_slot *slot, weft_slice_t header)
{
    if (slot->sent_count == slot->sent_capacity) {
        slot->sent_capacity = slot->sent_capacity == 0 ? 8 : slot->sent_capacity * 2;
        slot->sent = weft_realloc(slot->sent, slot->sent_capacity * sizeof *slot->sent);
    }
    struct sim_sent *sent = &slot->sent[slot->sent_count++];
    *sent = (struct sim_sent){.header = WEFT_FRAME_EMPTY, .data = WEFT_FRAME_EMPTY};
    weft_frame_init_copy(&sent->header, header);
    if (!slot->in_turn) weft_sim_part_poke(slot->sim, slot->host, slot->id);
    return sent;
}

static bool s_over(const struct sim_slot *slot, size_t outstanding, size_t more)
{
    return outstanding > 0 && (outstanding > slot->peer_bytes_max || more > slot->peer_bytes_max - outstanding);
}

static weft_err_t s_send(void *world, weft_link_t id, weft_slice_t header, weft_frame_t *data)
{
    struct sim_slot *slot = world;
    struct sim_link *link = s_link(slot, id);
    if (link == NULL || !link->up || link->connection == NULL) {
        slot->sim->stats.refused++;
        return WEFT_ERR_LOCAL_NOT_CONNECTED;
    }
    size_t bytes = header.size + (data != NULL ? data->size : 0);
    if (s_over(slot, link->connection->pipes[0].bytes, bytes)) return WEFT_ERR_LOCAL_WOULD_BLOCK;
    struct sim_sent *sent = s_note(slot, header);
    sent->link = id;
    s_copy(&sent->data, data, s_is_inproc(link->connection));
    return WEFT_OK;
}

static weft_err_t s_reply(void *world, const struct weft_peer *peer, bool delimited, weft_slice_t header,
                          weft_frame_t *data)
{
    struct sim_slot *slot = world;
    const struct sim_connection *connection = s_connection_of(slot, peer);
    size_t bytes = header.size + (data != NULL ? data->size : 0);
    if (connection == NULL || s_over(slot, connection->pipes[1].bytes, bytes)) {
        if (data != NULL) weft_frame_drop(data);
        return WEFT_ERR_LOCAL_WOULD_BLOCK;
    }
    struct sim_sent *sent = s_note(slot, header);
    sent->peer = *peer;
    sent->delimited = delimited;
    s_copy(&sent->data, data, s_is_inproc(connection));
    return WEFT_OK;
}

static size_t s_peer_outstanding(void *world, const struct weft_peer *peer)
{
    const struct sim_connection *connection = s_connection_of(world, peer);
    return connection == NULL ? 0 : connection->pipes[1].bytes;
}

static void s_post(void *world, weft_part_id_t to, const struct weft_mail *mail)
{
    struct sim_slot *slot = world;
    struct sim_slot *target = weft_sim_slot_of(slot->sim, slot->host, to);
    if (target == NULL) {
        if (mail->body_free != NULL && mail->body != NULL) mail->body_free(mail->body);
        return;
    }
    int64_t arrival_us = slot->sim->now_us + 1 + (int64_t) weft_sim_below(slot->sim, 20) + slot->mail_delay_us;
    if (arrival_us < target->mail_us) arrival_us = target->mail_us; // in order
    target->mail_us = arrival_us;
    struct sim_event event = {.time_us = arrival_us, .type = SIM_EVENT_MAIL, .slot = target, .mail = *mail};
    event.mail.from = slot->id;
    weft_sim_event_add(slot->sim, event);
}

static weft_part_id_t s_self_id(void *world)
{
    const struct sim_slot *slot = world;
    return slot->id;
}

const struct weft_port_ops weft_sim_port_ops = {.now_us = s_now_us,
                                                .wall_ms = s_wall_ms,
                                                .seed = s_seed,
                                                .link_open = s_link_open,
                                                .link_close = s_link_close,
                                                .send = s_send,
                                                .reply = s_reply,
                                                .peer_outstanding_bytes = s_peer_outstanding,
                                                .post = s_post,
                                                .self_id = s_self_id};

// ---- faults

static bool s_between(const struct sim_connection *connection, sim_host_t a, sim_host_t b)
{
    sim_host_t c = connection->dealer->host, d = connection->router->host;
    return (a == c && b == d) || (a == d && b == c);
}

void weft_sim_break(sim_t *self, sim_host_t a, sim_host_t b)
{
    for (size_t i = 0; i < self->connection_count; i++) {
        struct sim_connection *connection = self->connections[i];
        if (connection->alive && s_between(connection, a, b)) s_lose(connection, (int64_t) weft_sim_below(self, 2000));
    }
}

void weft_sim_net_silence(sim_t *self, sim_host_t a, sim_host_t b, uint32_t generation)
{
    if (self->cuts[a][b] == generation) weft_sim_break(self, a, b);
}

static void s_resume(sim_t *self, sim_host_t from, sim_host_t to)
{
    for (size_t i = 0; i < self->connection_count; i++) {
        struct sim_connection *connection = self->connections[i];
        if (!connection->alive || !s_between(connection, from, to)) continue;
        int direction = connection->dealer->host == from ? 0 : 1;
        s_pipe_schedule(self, connection, direction, (int64_t) weft_sim_below(self, 300000)); // the next retransmission
    }
}

void weft_sim_cut(sim_t *self, sim_host_t from, sim_host_t to, bool cut)
{
    if (from == to || (self->cuts[from][to] != 0) == cut) return;
    weft_sim_trace(self, "network", "%s -> %s %s", self->hosts[from].name, self->hosts[to].name,
                   cut ? "cut" : "healed");
    if (!cut) {
        self->cuts[from][to] = 0;
        s_resume(self, from, to);
        return;
    }
    self->cuts[from][to] = ++self->cut_generation;
    weft_sim_event_add(
        self, (struct sim_event){.time_us = self->now_us + SIM_HEARTBEAT_US + (int64_t) weft_sim_below(self, 1000000),
                                 .type = SIM_EVENT_SILENCE,
                                 .a = from,
                                 .b = to,
                                 .detail = self->cut_generation});
}

void weft_sim_slow(sim_t *self, sim_host_t from, sim_host_t to, uint32_t factor)
{
    if (from != to) self->slow[from][to] = factor;
}

void weft_sim_late(sim_t *self, sim_host_t from, sim_host_t to, int64_t us)
{
    if (from != to) self->late_us[from][to] = us;
}

void weft_sim_heal(sim_t *self)
{
    memset(self->slow, 0, sizeof self->slow);
    for (int a = 0; a < self->host_count; a++) {
        for (int b = 0; b < self->host_count; b++) weft_sim_cut(self, a, b, false);
    }
}

void weft_sim_net_slot_dies(struct sim_slot *slot, bool silent)
{
    sim_t *self = slot->sim;
    for (size_t i = 0; i < self->connection_count; i++) {
        struct sim_connection *connection = self->connections[i];
        if (!connection->alive) continue;
        if (connection->dealer == slot) s_lose(connection, -1);
        int64_t limit_us = silent ? SIM_HEARTBEAT_US : 2000;
        if (connection->router == slot) s_lose(connection, (int64_t) weft_sim_below(self, (uint64_t) limit_us));
    }
    for (size_t i = 0; i < slot->sent_count; i++) {
        weft_frame_drop(&slot->sent[i].header);
        weft_frame_drop(&slot->sent[i].data);
    }
    slot->sent_count = 0;
}

size_t weft_sim_connection_count(const sim_t *self)
{
    size_t count = 0;
    for (size_t i = 0; i < self->connection_count; i++) count += self->connections[i]->alive;
    return count;
}

bool weft_sim_net_idle(const struct sim_slot *slot)
{
    for (size_t i = 0; i < slot->link_count; i++) {
        const struct sim_connection *connection = slot->links[i].connection;
        if (connection != NULL && connection->alive && connection->pipes[0].count > 0) return false;
    }
    return true;
}

void weft_sim_net_fini(sim_t *self)
{
    for (size_t i = 0; i < self->connection_count; i++) {
        s_lose(self->connections[i], -1);
        free(self->connections[i]);
    }
    free(self->connections);
}
