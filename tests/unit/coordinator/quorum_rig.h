// SPDX-License-Identifier: MPL-2.0
/**
 * A simulated quorum: the real thing on disks in memory, links that the test delays, cuts and resets, and a clock that jumps from
 * event to event, all from one seed. Each test program includes it once.
 *
 * The state machine of every node folds what it is told into a hash. What was applied first at an index is the truth for
 * all that come after: the rig fails the test where a node applies something else, skips a command, restores another
 * state, where two nodes lead in one term, or where a barrier answers from before a command that was acknowledged.
 */
#ifndef WEFT_TESTS_UNIT_COORDINATOR_QUORUM_RIG_H
#define WEFT_TESTS_UNIT_COORDINATOR_QUORUM_RIG_H

#include "../../../lib/testing/crash_disk.h"
#include "tests/support/test.h"

#include "base/trace.h"
#include "coordinator/quorum_self.h"

#include <stdio.h>
#include <string.h>

enum {
    RIG_NODES_MAX = 7,
    RIG_INDEX_MAX = 1 << 16,
    RIG_TERMS_MAX = 1 << 14,
    MS = 1000,
    RIG_ELECTION_MS = 300,
    RIG_HEARTBEAT_MS = 50
};

enum rig_event_kind { RIG_TURN, RIG_DELIVER, RIG_SYNCED, RIG_LINK, RIG_START, RIG_RESET, RIG_CRASH };

struct rig_event {
    int64_t at_us;
    uint64_t sequence;
    enum rig_event_kind kind;
    int node;      // that it happens to
    int from;      // of a message; of a link: its other end
    uint64_t life; // of the node; of a message, number of the connection
    bool up;
    struct weft_sync_request *request;
    weft_buf_t header, data;
};

struct rig_connection {
    bool open, up, cut;
    uint64_t number; // counts resets
    int64_t last_us; // FIFO
    struct rig_event *held;
    size_t held_count, held_capacity;
};

struct rig_node {
    struct rig *rig;
    int number;
    weft_crash_disk_t *disk;
    uint64_t server;
    weft_checkpoint_t *checkpoint;
    weft_quorum_t *quorum; // NULL: down
    uint64_t life;
    int64_t turn_us, paused_until_us;
    int64_t sync_us; // what a sync takes, at most
    struct rig_connection to[RIG_NODES_MAX];
    char list[512]; // its coordinators option, as node numbers
    int list_count;
    // state machine
    uint64_t last, count, hash; // of commands
    bool leads;
    struct weft_error error;
    size_t lost, barriers_done, changes_done, changes_lost;
    weft_err_t lost_code;
    int64_t stall_us;
    size_t restored; // snapshots, in this life and before
};

struct rig {
    weft_rand_t rand;
    int64_t now_us;
    uint64_t sequence;
    struct rig_event *heap;
    size_t count, capacity;
    struct rig_node nodes[RIG_NODES_MAX];
    int node_count;
    uint64_t snapshot_commands;
    size_t piece_bytes, state_words; // of snapshots
    size_t pieces;                   // that were sent
    uint32_t piece_faults;           // of a million pieces, so many are followed by something bad
    int64_t delay_us;                // of a message, at most
    int64_t mib_us;                  // what one MiB takes on a link; 0: nothing
    uint64_t truth[RIG_INDEX_MAX];   // command at an index; 0: none known
    uint64_t after[RIG_INDEX_MAX];   // hash after it
    uint64_t truth_last;
    int leader_of[RIG_TERMS_MAX]; // + 1
    uint64_t value, acked_last, acked_count;
    uint64_t barrier_floor[4096]; // by token: what had been acknowledged when it was asked
    uint64_t token;
    uint32_t garble; // of a million messages, so many have some bytes changed; then agreement is not looked at
};

static struct rig *rig_now;

static inline void s_rig_say(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    (void) context;
    (void) level;
    if (getenv("RIG_TRACE"))
        fprintf(stderr, "%8.3f %s: %s\n", rig_now ? (double) rig_now->now_us / 1e6 : 0.0, source, line);
}

// ---- events

static inline bool s_rig_before(const struct rig_event *a, const struct rig_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static inline void s_rig_push(struct rig *rig, struct rig_event event)
{
    if (rig->count == rig->capacity) {
        rig->capacity = rig->capacity ? rig->capacity * 2 : 256;
        rig->heap = weft_realloc(rig->heap, rig->capacity * sizeof *rig->heap);
    }
    event.sequence = ++rig->sequence;
    size_t at = rig->count++;
    while (at && s_rig_before(&event, &rig->heap[(at - 1) / 2])) {
        rig->heap[at] = rig->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    rig->heap[at] = event;
}

static inline struct rig_event s_rig_pop(struct rig *rig)
{
    struct rig_event first = rig->heap[0], last = rig->heap[--rig->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= rig->count) break;
        if (child + 1 < rig->count && s_rig_before(&rig->heap[child + 1], &rig->heap[child])) child++;
        if (!s_rig_before(&rig->heap[child], &last)) break;
        rig->heap[at] = rig->heap[child];
        at = child;
    }
    rig->heap[at] = last;
    return first;
}

static inline void s_rig_event_fini(struct rig_event *event)
{
    weft_buf_fini(&event->header);
    weft_buf_fini(&event->data);
    if (event->request) weft_quorum_request_free(event->request);
}

// ---- the world of a node

static inline int64_t s_port_now(void *world)
{
    return ((struct rig_node *) world)->rig->now_us;
}

static inline int64_t s_port_wall(void *world)
{
    return 1700000000000 + s_port_now(world) / 1000;
}

static inline uint64_t s_port_seed(void *world)
{
    return weft_rand_next(&((struct rig_node *) world)->rig->rand);
}

// The connection to the other end comes up, if that lives.
static inline void s_rig_connect(struct rig_node *node, int to)
{
    struct rig_connection *connection = &node->to[to];
    if (!connection->open || !node->rig->nodes[to].quorum || connection->cut) return;
    int64_t at = node->rig->now_us + 1 + (int64_t) weft_rand_below(&node->rig->rand, 30 * MS);
    s_rig_push(node->rig,
               (struct rig_event){
                   .at_us = at, .kind = RIG_LINK, .node = node->number, .from = to, .life = node->life, .up = true});
}

static inline weft_err_t s_port_open(void *world, const char *endpoint, weft_link_t *out)
{
    struct rig_node *node = world;
    int to = atoi(endpoint + strlen("node-")) - 1;
    assert_true(to >= 0 && to < RIG_NODES_MAX);
    node->to[to].open = true;
    *out = (weft_link_t) to + 1;
    s_rig_connect(node, to);
    return WEFT_OK;
}

static inline void s_port_close(void *world, weft_link_t link)
{
    struct rig_connection *connection = &((struct rig_node *) world)->to[link - 1];
    connection->open = connection->up = false;
    connection->number++;
}

static inline void s_rig_garble(struct rig *rig, struct rig_event *event)
{
    for (uint64_t n = 1 + weft_rand_below(&rig->rand, 4); n; n--) {
        weft_buf_t *bytes = event->data.size && weft_rand_chance(&rig->rand, 500000) ? &event->data : &event->header;
        uint8_t *at = &bytes->data[weft_rand_below(&rig->rand, bytes->size)];
        *at = weft_rand_chance(&rig->rand, 500000) ? (uint8_t) weft_rand_next(&rig->rand)
                                                   : (uint8_t) (*at ^ 1 << weft_rand_below(&rig->rand, 8));
    }
}

static inline bool s_rig_is_piece(weft_slice_t header)
{
    weft_codec_t codec;
    struct weft_quorum_request request;
    struct weft_error error;
    weft_codec_init(&codec);
    bool piece = weft_quorum_request_decode(&codec, header, &request, &error) == WEFT_OK && request.kind == 8;
    weft_codec_fini(&codec);
    return piece;
}

// Between two pieces the connection of either way is lost, the receiver dies, or the piece comes once more, late.
static inline void s_rig_trouble(struct rig *rig, const struct rig_event *piece)
{
    struct rig_event event = {.at_us = rig->now_us + 1 + (int64_t) weft_rand_below(&rig->rand, 10 * MS),
                              .life = rig->nodes[piece->node].life};
    uint64_t which = weft_rand_below(&rig->rand, 6);
    event.kind = which < 3 ? RIG_RESET : which == 3 ? RIG_CRASH : RIG_DELIVER;
    event.node = which < 2 ? piece->from : piece->node;
    event.from = event.node == piece->node ? piece->from : piece->node;
    if (event.kind == RIG_DELIVER) {
        event.life = piece->life;
        weft_buf_append(&event.header, piece->header.data, piece->header.size);
        weft_buf_append(&event.data, piece->data.data, piece->data.size);
    }
    s_rig_push(rig, event);
}

static inline weft_err_t s_port_send(void *world, weft_link_t link, weft_slice_t header, weft_frame_t *data)
{
    struct rig_node *node = world;
    struct rig *rig = node->rig;
    struct rig_connection *connection = &node->to[link - 1];
    if (!connection->up) return WEFT_ERR_LOCAL_NOT_CONNECTED;
    struct rig_event event = {
        .kind = RIG_DELIVER, .node = (int) link - 1, .from = node->number, .life = connection->number};
    weft_buf_init(&event.header);
    weft_buf_init(&event.data);
    weft_buf_append(&event.header, header.data, header.size);
    bool piece = data && s_rig_is_piece(header);
    rig->pieces += piece;
    if (data) {
        weft_buf_append(&event.data, data->data, data->size);
        weft_frame_drop(data);
    }
    if (weft_rand_chance(&rig->rand, rig->garble)) s_rig_garble(rig, &event);
    event.at_us = rig->now_us + 50 + (int64_t) weft_rand_below(&rig->rand, (uint64_t) rig->delay_us);
    int64_t takes_us = 1 + rig->mib_us * (int64_t) event.data.size / (1 << 20);
    int64_t free_us = connection->last_us > rig->now_us ? connection->last_us : rig->now_us;
    if (event.at_us < free_us + takes_us) event.at_us = free_us + takes_us;
    connection->last_us = event.at_us;
    s_rig_push(rig, event);
    if (piece && weft_rand_chance(&rig->rand, rig->piece_faults)) s_rig_trouble(rig, &event);
    return WEFT_OK;
}

static inline void s_port_post(void *world, weft_part_id_t to, const struct weft_mail *mail)
{
    struct rig_node *node = world;
    (void) to;
    int64_t took = 100 + (int64_t) weft_rand_below(&node->rig->rand, (uint64_t) node->sync_us);
    if (node->stall_us > 0) took = node->stall_us;
    s_rig_push(node->rig, (struct rig_event){.at_us = node->rig->now_us + took,
                                             .kind = RIG_SYNCED,
                                             .node = node->number,
                                             .life = node->life,
                                             .request = mail->body});
}

static const struct weft_port_ops s_rig_port = {.now_us = s_port_now,
                                                .wall_ms = s_port_wall,
                                                .seed = s_port_seed,
                                                .link_open = s_port_open,
                                                .link_close = s_port_close,
                                                .send = s_port_send,
                                                .post = s_port_post};

#include "quorum_rig_state.h"

// ---- lives

static inline struct weft_quorum_self *s_inside(const struct rig_node *node)
{
    return (struct weft_quorum_self *) node->quorum;
}

static inline weft_err_t s_rig_open(struct rig_node *node)
{
    const struct weft_disk *disk = weft_crash_disk_of(node->disk);
    struct weft_quorum_voter list[WEFT_QUORUM_VOTERS_MAX];
    memset(list, 0, sizeof list);
    for (int i = 0; i < node->list_count; i++) {
        list[i].id = node->list[i];
        snprintf(list[i].endpoint, sizeof list[i].endpoint, "node-%d", node->list[i]);
    }
    weft_err_t err = disk->ops->mkdir(disk, "q");
    if (!err) err = weft_checkpoint_open(disk, "q", &node->checkpoint, &node->error);
    if (err) return err;
    char name[16];
    snprintf(name, sizeof name, "node-%d", node->number + 1);
    node->last = node->count = node->hash = 0;
    const struct weft_quorum_options options = {.disk = disk,
                                                .directory = "q",
                                                .name = name,
                                                .synced_end =
                                                    weft_checkpoint_get(node->checkpoint, weft_quorum_log_id(), 0),
                                                .snapshot_commands = node->rig->snapshot_commands,
                                                .id = node->number + 1,
                                                .server = node->server,
                                                .format_id = weft_rand_id(&node->rig->rand),
                                                .coordinators = list,
                                                .coordinator_count = (size_t) node->list_count,
                                                .election_ms = RIG_ELECTION_MS,
                                                .heartbeat_ms = RIG_HEARTBEAT_MS,
                                                .piece_bytes = node->rig->piece_bytes};
    weft_quorum_t *quorum = NULL;
    err = weft_quorum_open(&options, &s_rig_events, node, &quorum, &node->error);
    if (err) {
        weft_checkpoint_destroy(&node->checkpoint);
        return err;
    }
    node->quorum = quorum;
    return WEFT_OK;
}

static inline void s_rig_turn_at(struct rig_node *node, int64_t at_us)
{
    if (at_us >= node->turn_us && node->turn_us > node->rig->now_us) return;
    node->turn_us = at_us;
    s_rig_push(node->rig,
               (struct rig_event){.at_us = at_us, .kind = RIG_TURN, .node = node->number, .life = node->life});
}

static inline void s_rig_turn(struct rig_node *node)
{
    int64_t next = node->quorum->ops->turn(node->quorum, node->rig->now_us);
    if (next == WEFT_TIME_NEVER) return;
    if (next <= node->rig->now_us) next = node->rig->now_us + 1;
    s_rig_turn_at(node, next);
}

static inline weft_err_t s_rig_up(struct rig_node *node)
{
    weft_err_t err = s_rig_open(node);
    if (err) return err;
    node->life++;
    node->turn_us = 0;
    node->leads = false;
    char endpoint[16];
    snprintf(endpoint, sizeof endpoint, "node-%d", node->number + 1);
    const weft_port_t port = {.ops = &s_rig_port, .world = node};
    node->quorum->ops->start(node->quorum, &port, 1, endpoint);
    for (int i = 0; i < node->rig->node_count; i++)
        if (node->rig->nodes[i].quorum && i != node->number) s_rig_connect(&node->rig->nodes[i], node->number);
    s_rig_turn(node);
    return WEFT_OK;
}

static inline void s_rig_reset(struct rig_node *from, int to)
{
    struct rig_connection *connection = &from->to[to];
    connection->number++;
    for (size_t i = 0; i < connection->held_count; i++) s_rig_event_fini(&connection->held[i]);
    connection->held_count = 0;
    if (!connection->up) return;
    connection->up = false;
    if (from->quorum) from->quorum->ops->link(from->quorum, (weft_link_t) to + 1, false);
}

// Power loss, or kill -9.
static inline void s_rig_down(struct rig_node *node, bool power)
{
    struct rig *rig = node->rig;
    if (!node->quorum) return;
    node->life++;
    node->leads = false;
    node->quorum->ops->destroy(&node->quorum);
    weft_checkpoint_destroy(&node->checkpoint);
    for (int i = 0; i < rig->node_count; i++) {
        s_rig_reset(&rig->nodes[i], node->number);
        s_rig_reset(node, i);
        node->to[i].open = false;
    }
    for (size_t i = 0; i < rig->count; i++) // syncs that never come back
        if (rig->heap[i].node == node->number && rig->heap[i].request) {
            weft_quorum_request_free(rig->heap[i].request);
            rig->heap[i].request = NULL;
        }
    if (power)
        weft_crash_disk_crash(node->disk, &rig->rand);
    else
        weft_crash_disk_kill(node->disk);
}

static inline void s_rig_wipe(struct rig_node *node)
{
    weft_crash_disk_destroy(&node->disk);
    node->disk = weft_crash_disk_new(weft_rand_next(&node->rig->rand));
    node->server = weft_rand_next(&node->rig->rand) | 1;
}

static inline struct rig *s_rig_new(uint64_t seed, int voters, int spare)
{
    struct rig *rig = weft_calloc(1, sizeof *rig);
    rig_now = rig;
    weft_trace_sink_set(s_rig_say, NULL);
    weft_rand_init(&rig->rand, seed);
    rig->now_us = 1000 * MS;
    rig->snapshot_commands = 20;
    rig->piece_bytes = seed % 8 ? 50 + seed * 37 % 350 : 0;
    rig->state_words = 120;
    rig->delay_us = 2 * MS;
    rig->value = 1 << 20;
    rig->token = 1;
    rig->node_count = voters + spare;
    for (int i = 0; i < rig->node_count; i++) {
        struct rig_node *node = &rig->nodes[i];
        node->rig = rig;
        node->number = i;
        node->sync_us = 3 * MS;
        node->server = weft_rand_next(&rig->rand) | 1;
        node->disk = weft_crash_disk_new(weft_rand_next(&rig->rand));
        for (int j = 0; j < voters && voters > 1; j++) node->list[node->list_count++] = (char) (j + 1);
        if (i >= voters) node->list[node->list_count++] = (char) (i + 1);
    }
    return rig;
}

static inline void s_rig_destroy(struct rig **rig_p)
{
    struct rig *rig = *rig_p;
    for (int i = 0; i < rig->node_count; i++) s_rig_down(&rig->nodes[i], false);
    for (int i = 0; i < rig->node_count; i++) {
        weft_crash_disk_destroy(&rig->nodes[i].disk);
        for (int j = 0; j < rig->node_count; j++) free(rig->nodes[i].to[j].held);
    }
    for (size_t i = 0; i < rig->count; i++) s_rig_event_fini(&rig->heap[i]);
    free(rig->heap);
    free(rig);
    *rig_p = rig_now = NULL;
}

// ---- running

static inline void s_rig_deliver(struct rig *rig, struct rig_event *event)
{
    struct rig_node *node = &rig->nodes[event->node];
    struct rig_connection *connection = &rig->nodes[event->from].to[event->node];
    if (!node->quorum || connection->number != event->life) return;
    if (connection->cut) {
        if (connection->held_count == connection->held_capacity) {
            connection->held_capacity = connection->held_capacity ? connection->held_capacity * 2 : 16;
            connection->held = weft_realloc(connection->held, connection->held_capacity * sizeof *connection->held);
        }
        connection->held[connection->held_count++] = *event;
        event->header = event->data = (weft_buf_t){0};
        return;
    }
    struct weft_message message = {.header = WEFT_FRAME_EMPTY, .data = WEFT_FRAME_EMPTY};
    weft_frame_init_copy(&message.header, weft_buf_slice(&event->header));
    if (event->data.size) weft_frame_init_copy(&message.data, weft_buf_slice(&event->data));
    node->quorum->ops->message(node->quorum, &message);
    weft_frame_drop(&message.header);
    weft_frame_drop(&message.data);
    s_rig_turn(node);
}

static inline void s_rig_synced(struct rig_node *node, struct rig_event *event)
{
    struct weft_sync_job *job = &event->request->jobs[0];
    weft_log_sync_run(&job->sync);
    if (!job->sync.result && !weft_id_is_zero(job->topic)) {
        weft_checkpoint_set(node->checkpoint, job->topic, 0, job->sync.end_offset);
        if (weft_rand_chance(&node->rig->rand, 100000)) (void) !weft_checkpoint_write(node->checkpoint);
    }
    struct weft_mail mail = {.kind = WEFT_MAIL_SYNCED, .body = event->request};
    event->request = NULL;
    node->quorum->ops->mail(node->quorum, &mail);
    s_rig_turn(node);
}

static inline void s_rig_break(struct rig *rig, struct rig_event *event)
{
    struct rig_node *node = &rig->nodes[event->node];
    if (event->kind == RIG_RESET) {
        s_rig_reset(node, event->from);
        if (node->quorum) s_rig_connect(node, event->from);
    } else if (node->quorum && node->life == event->life && !node->quorum->ops->failure(node->quorum)) {
        s_rig_down(node, weft_rand_chance(&rig->rand, 500000));
        s_rig_push(rig, (struct rig_event){.at_us = rig->now_us + 100 * MS, .kind = RIG_START, .node = node->number});
    }
}

static inline void s_rig_handle(struct rig *rig, struct rig_event *event)
{
    struct rig_node *node = &rig->nodes[event->node];
    rig->now_us = event->at_us;
    if (node->quorum && node->paused_until_us > rig->now_us && event->kind != RIG_START) {
        event->at_us = node->paused_until_us;
        s_rig_push(rig, *event);
        *event = (struct rig_event){.header = {0}};
        return;
    }
    if (event->kind == RIG_DELIVER) {
        s_rig_deliver(rig, event);
    } else if (event->kind == RIG_RESET || event->kind == RIG_CRASH) {
        s_rig_break(rig, event);
    } else if (event->kind == RIG_START) {
        if (node->quorum || s_rig_up(node) == WEFT_OK) return;
        if (node->error.code == WEFT_ERR_DAMAGED) fail_msg("%s", node->error.text);
        weft_crash_disk_kill(node->disk); // a disk fault of the test's: again, on a disk that works
        weft_crash_disk_faults_set(node->disk, &(struct weft_crash_disk_faults){0});
        s_rig_push(rig, (struct rig_event){.at_us = rig->now_us + 50 * MS, .kind = RIG_START, .node = event->node});
    } else if (!node->quorum || node->life != event->life) {
        return;
    } else if (event->kind == RIG_TURN) {
        if (event->at_us >= node->turn_us) s_rig_turn(node);
    } else if (event->kind == RIG_SYNCED) {
        s_rig_synced(node, event);
    } else if (node->to[event->from].open && !node->to[event->from].up && rig->nodes[event->from].quorum) {
        node->to[event->from].up = true;
        node->quorum->ops->link(node->quorum, (weft_link_t) event->from + 1, true);
        s_rig_turn(node);
    }
}

static inline void s_rig_run_until(struct rig *rig, int64_t until_us)
{
    while (rig->count && rig->heap[0].at_us <= until_us) {
        struct rig_event event = s_rig_pop(rig);
        s_rig_handle(rig, &event);
        s_rig_event_fini(&event);
    }
    rig->now_us = until_us;
}

static inline void s_rig_run(struct rig *rig, int64_t us)
{
    s_rig_run_until(rig, rig->now_us + us);
}

static inline void s_rig_cut(struct rig *rig, int from, int to)
{
    rig->nodes[from].to[to].cut = true;
}

// What was held arrives, or the connection was lost meanwhile.
static inline void s_rig_heal(struct rig *rig, int from, int to)
{
    struct rig_connection *connection = &rig->nodes[from].to[to];
    if (!connection->cut) return;
    connection->cut = false;
    if (connection->up && weft_rand_chance(&rig->rand, 500000)) {
        for (size_t i = 0; i < connection->held_count; i++) {
            struct rig_event event = connection->held[i];
            event.at_us = rig->now_us + 1;
            s_rig_push(rig, event);
        }
        connection->held_count = 0;
        connection->last_us = rig->now_us + 2;
        return;
    }
    s_rig_reset(&rig->nodes[from], to);
    s_rig_connect(&rig->nodes[from], to);
}

static inline void s_rig_heal_all(struct rig *rig)
{
    for (int i = 0; i < rig->node_count; i++)
        for (int j = 0; j < rig->node_count; j++) s_rig_heal(rig, i, j);
}

static inline struct rig_node *s_rig_leader_node(struct rig *rig)
{
    struct rig_node *best = NULL;
    uint64_t term = 0;
    for (int i = 0; i < rig->node_count; i++) {
        struct rig_node *node = &rig->nodes[i];
        if (!node->quorum || !node->quorum->ops->leads(node->quorum)) continue;
        uint64_t own = raft_current_term(s_inside(node)->raft);
        if (!best || own > term) best = node;
        if (best == node) term = own;
    }
    return best;
}

static inline weft_err_t s_rig_propose(struct rig_node *node)
{
    uint64_t command[4] = {++node->rig->value, 0, 0, 0};
    weft_err_t err = node->quorum->ops->propose(node->quorum, weft_slice(command, sizeof command), command[0]);
    s_rig_turn_at(node, node->rig->now_us + 1);
    return err;
}

static inline void s_rig_barrier(struct rig_node *node)
{
    struct rig *rig = node->rig;
    if (rig->token + 1 >= 4096) rig->token = 1;
    rig->barrier_floor[rig->token] = rig->acked_last;
    node->quorum->ops->barrier(node->quorum, rig->token++);
    s_rig_turn_at(node, rig->now_us + 1);
}

// All that should be up are, know a leader that commits, and have applied the same.
static inline void s_rig_assert_well(struct rig *rig, int64_t within_us)
{
    int64_t until = rig->now_us + within_us;
    uint64_t before = rig->acked_count;
    bool well = false;
    while (!well && rig->now_us < until) {
        s_rig_run(rig, 50 * MS);
        struct rig_node *leader = s_rig_leader_node(rig);
        if (!leader) continue;
        if (rig->acked_count == before) {
            (void) s_rig_propose(leader);
            continue;
        }
        well = true;
        for (int i = 0; i < rig->node_count; i++) {
            struct rig_node *node = &rig->nodes[i];
            if (!node->quorum || node->quorum->ops->waits(node->quorum)) continue; // none of the voters
            if (node->quorum->ops->failure(node->quorum)) fail_msg("%s", node->quorum->ops->failure(node->quorum));
            if (node->last != rig->truth_last) well = false;
        }
    }
    if (!well && getenv("RIG_TRACE")) {
        for (int i = 0; i < rig->node_count; i++) {
            struct rig_node *node = &rig->nodes[i];
            if (!node->quorum) continue;
            const char *waits = node->quorum->ops->waits(node->quorum);
            const char *failure = node->quorum->ops->failure(node->quorum);
            struct raft *raft = s_inside(node)->raft;
            fprintf(stderr, "node-%d: last %llu state %d term %llu commit %llu raft last %llu waits %s failure %s\n",
                    i + 1, (unsigned long long) node->last, raft ? (int) raft->state : -1,
                    raft ? raft->current_term : 0, raft ? raft->commit_index : 0, raft ? raft_last_index(raft) : 0,
                    waits ? waits : "-", failure ? failure : "-");
        }
    }
    assert_true(well);
    assert_true(rig->truth_last >= rig->acked_last);
}

#endif
