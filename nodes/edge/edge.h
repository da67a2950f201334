// SPDX-License-Identifier: MPL-2.0
/**
 * Edge: one endpoint for clients that reach nothing else (docs/EDGE.md). A ROUTER for them, DEALER links to the core.
 *
 * A request is guarded and recognised once, sent on to who serves it (route.c) under an id of the edge's own (header.h),
 * and its answer goes back under the client's. What the core says of leaders and coordinators stays here: the edge looks
 * for them in bounded time, and tells its clients that everything is at the edge (answer.c).
 *
 * Order: requests that change one partition stand in one lane (lane.c), and nothing overtakes in it. With a spool
 * (spool.h) a lane whose leader can't be reached for long goes on to the disk.
 *
 * Bounds: requests and bytes of one client and of all, under way to the core and back; beyond them OVERLOADED. A client
 * that is gone costs nothing but its requests, until they are answered.
 */
#ifndef WEFT_EDGE_EDGE_H
#define WEFT_EDGE_EDGE_H

#include "../../lib/base/map.h"
#include "../../lib/base/trace.h"
#include "../../lib/client/requests.h"
#include "../../lib/wire/batch.h"
#include "../../lib/wire/node.h"

#include <stdatomic.h>

enum weft_edge_counter {
    WEFT_EDGE_REQUESTS,
    WEFT_EDGE_FORWARDED,
    WEFT_EDGE_ANSWERED,
    WEFT_EDGE_AGAIN,
    WEFT_EDGE_REFUSED,
    WEFT_EDGE_OVERLOADED,
    WEFT_EDGE_BAD_FRAMES,
    WEFT_EDGE_GAVE_UP,
    WEFT_EDGE_DROPPED,
    WEFT_EDGE_REPLIES_DROPPED,
    WEFT_EDGE_UNDER_WAY,
    WEFT_EDGE_CLIENTS,
    WEFT_EDGE_LINKS,
    WEFT_EDGE_SPOOLED,
    WEFT_EDGE_SPOOLED_BYTES,
    WEFT_EDGE_SPOOL_REFUSED,
    WEFT_EDGE_DRAINED,
    WEFT_EDGE_DRAIN_AGAIN,
    WEFT_EDGE_DRAIN_DUPLICATES,
    WEFT_EDGE_RENAMED,
    WEFT_EDGE_DEAD,
    WEFT_EDGE_WAITING_BATCHES,
    WEFT_EDGE_WAITING_BYTES,
    WEFT_EDGE_COUNTERS
};
extern const struct weft_counter_info weft_edge_counter_infos[WEFT_EDGE_COUNTERS];

typedef struct weft_edge_part weft_edge_part_t;
typedef struct weft_spool weft_spool_t; // spool.h

/** A client with requests under way; gone with its last one. */
struct weft_edge_client {
    uint8_t key[32]; // size, door and bytes of the peer
    size_t requests, bytes;
};

enum weft_edge_state {
    WEFT_EDGE_WAITING, // for a leader, a coordinator, any node, or its turn in the lane
    WEFT_EDGE_SENT,
    WEFT_EDGE_KEPT // in the spool, not yet synced
};

/** A request under way. */
struct weft_edge_call {
    struct weft_call call;
    weft_edge_part_t *edge;
    struct weft_edge_client *client;
    struct weft_peer peer;
    uint64_t client_id; // the id that the client gave it
    enum weft_api api;
    enum weft_edge_state state;
    bool delimited;
    bool answers;     // the client waits for an answer
    bool repeatable;  // may be sent again although an attempt may have been applied
    bool doubtful;    // one may have been
    bool homeless;    // its topic is not known here: the coordinator was asked instead of a leader
    bool unknown;     // its topic is not known here: sought once, then any node may say so
    bool spools;      // may go to the spool
    uint64_t updates; // of the view when it came in
    uint32_t tries;
    size_t bytes;
    int64_t begun_us, deadline_us, retry_us;
    weft_err_t last_error;
    // In a lane, or in the list of those that wait outside of lanes.
    struct weft_edge_lane *lane;
    struct weft_edge_call *next, *prev;
    bool listed;
    int64_t kept_end; // KEPT: answered once the lane is synced up to here
};

struct weft_edge_list {
    struct weft_edge_call *first, *last;
    size_t count;
};

/** All that changes one partition, in order of arrival: the sent ones first, unless it is disordered. */
struct weft_edge_lane {
    uint8_t key[20]; // topic id, partition
    weft_id_t topic_id;
    struct weft_view_topic *topic;
    uint32_t partition;
    struct weft_edge_list calls;
    struct weft_edge_call *waiting; // the first that is not sent, unless disordered
    struct weft_view_link *link;    // of the sent ones
    size_t sent;
    bool disordered;            // one came back while later ones are still under way
    struct weft_spooled *spool; // spool.h; NULL: nothing was ever kept
};

struct weft_edge {
    struct weft_node base;
    weft_options_t *options;
    weft_counters_t counters;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX]; // told to clients
    atomic_bool settled;                    // a node of the core was reached, or was looked for long enough
    atomic_bool stopping;
    atomic_bool foreign; // the core that answers is another than before
};

struct weft_edge_part {
    struct weft_part base;
    struct weft_edge *node;
    weft_port_t port;
    weft_view_t view;
    weft_requests_t requests;
    weft_codec_t codec;
    weft_map_t *clients, *lanes, *topics; // topics: by id
    weft_map_t *owed;                     // owed.c
    uint64_t topics_updates;              // view.updates when `topics` was made
    struct weft_edge_list idle;           // wait outside of lanes
    size_t under_way, under_way_bytes;
    struct weft_held *held; // answers that the transport has (held.h)
    weft_spool_t *spool;    // NULL: none
    bool kicked;            // a link came up, or the view changed: look again at all that waits
    uint64_t seen_updates;
    int64_t retry_us; // when something that waits is due
    bool stopping;
    int64_t started_us;
    weft_buf_t reply, scratch;
    struct weft_error error;
    // Options.
    bool admin;
    size_t client_requests_max, client_bytes_max, requests_max, bytes_max;
    int64_t look_us; // retry.ms
};

#define WEFT_EDGE_RETRY_MS 50 // told with OVERLOADED

struct weft_part *weft_edge_part_new(struct weft_edge *node, weft_spool_t **spool_p, struct weft_error *error);

// ---- route.c

// Where a request goes: sets call->to, topic, partition and what retrying it means. Refused: a sentence in edge->error.
WEFT_MUST_USE weft_err_t weft_edge_route(weft_edge_part_t *self, struct weft_edge_call *call, weft_slice_t header);
// The topic by name, by id, or NULL: not known (yet).
struct weft_view_topic *weft_edge_topic(weft_edge_part_t *self, weft_slice_t name, weft_id_t id);
struct weft_view_topic *weft_edge_topic_of_id(weft_edge_part_t *self, weft_id_t id);
// Its partition exists as far as is known.
bool weft_edge_is_known(const struct weft_edge_call *call);
// Changes topics, settings, brokers: refused with `admin` false.
bool weft_edge_is_admin(enum weft_api api);
// Spoken between nodes only.
bool weft_edge_is_inner(enum weft_api api);

// ---- call.c

// Takes a guarded request; every way out answers it.
void weft_edge_begin(weft_edge_part_t *self, struct weft_message *message, const struct weft_request_header *request);
// Tries to send. False: it waits on (its retry_us is set).
bool weft_edge_send(struct weft_edge_call *call);
// An earlier attempt may have been applied, and the last was refused without effect: to the client all of it is in doubt. It sends
// again, and hears of the refusal then. *error and *sentence become what it is told.
void weft_edge_doubt(const struct weft_edge_call *call, weft_err_t *error, const char **sentence);
// It goes on waiting, to be sent again after wait_us; past its deadline it is given up.
void weft_edge_again(struct weft_edge_call *call, weft_err_t error, int64_t wait_us);
void weft_edge_give_up(struct weft_edge_call *call);
// Refuses and ends it; sentence NULL: that of the table.
void weft_edge_end_refused(struct weft_edge_call *call, weft_err_t error, const char *sentence);
// Takes it out of everything and frees it. The lane it stood in goes on at weft_edge_lane_advance.
void weft_edge_end(struct weft_edge_call *call);
// All that waits outside of lanes and is due.
void weft_edge_retry_idle(weft_edge_part_t *self, int64_t now_us);
void weft_edge_due(weft_edge_part_t *self, int64_t at_us);
void weft_edge_list_add(struct weft_edge_list *list, struct weft_edge_call *call);
void weft_edge_list_remove(struct weft_edge_list *list, struct weft_edge_call *call);

// ---- lane.c

struct weft_edge_lane *weft_edge_lane_of(weft_edge_part_t *self, struct weft_view_topic *topic, uint32_t partition);
struct weft_edge_lane *weft_edge_lane_find(weft_edge_part_t *self, weft_id_t topic, uint32_t partition);
void weft_edge_lane_add(struct weft_edge_lane *lane, struct weft_edge_call *call);
void weft_edge_lane_remove(weft_edge_part_t *self, struct weft_edge_call *call);
void weft_edge_lane_sent(struct weft_edge_call *call);
// It came back, not answered for good: it waits at its place.
void weft_edge_lane_back(struct weft_edge_call *call);
// Sends what may go now. May free the lane.
void weft_edge_lane_advance(weft_edge_part_t *self, struct weft_edge_lane *lane);
void weft_edge_lanes_advance(weft_edge_part_t *self);
void weft_edge_lane_free_if_idle(weft_edge_part_t *self, struct weft_edge_lane *lane);

// ---- owed.c: a producer's batch that was refused; what stands behind it may not be spooled before it comes again

void weft_edge_owe(struct weft_edge_call *call);
void weft_edge_owe_unrouted(weft_edge_part_t *self, weft_slice_t header, weft_slice_t data); // of a produce request
bool weft_edge_owes_before(weft_edge_part_t *self, weft_id_t topic, uint32_t partition, const struct weft_batch *batch);
void weft_edge_paid(weft_edge_part_t *self, weft_id_t topic, uint32_t partition, const struct weft_batch *batch);
void weft_edge_paid_call(struct weft_edge_call *call);
void weft_edge_owed_clear(weft_edge_part_t *self);

// ---- answer.c

struct weft_edge_asker {
    struct weft_peer peer;
    bool delimited;
    uint64_t id;
};

// Sends self->reply and a frame (consumed; may be NULL).
void weft_edge_answer(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_frame_t *data);
void weft_edge_refuse(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_err_t code,
                      const char *sentence);
// The core's answer, under the client's id. `message` may be emptied. False: it was not passed on, the coordinator is to
// be asked: the node that answered may know less than others.
bool weft_edge_pass_on(struct weft_edge_call *call, weft_err_t error, const char *text,
                       const struct weft_reply_header *header, struct weft_message *message);
void weft_edge_hello(weft_edge_part_t *self, const struct weft_edge_asker *asker, weft_slice_t header);
void weft_edge_node_status(weft_edge_part_t *self, const struct weft_edge_asker *asker);
// With a spool: metadata and topic_describe, from what the edge knows itself; false: it knows nothing.
bool weft_edge_answer_known(weft_edge_part_t *self, enum weft_api api, const struct weft_edge_asker *asker,
                            weft_slice_t header);
// What is known of all topics, as a metadata reply without endpoints (kept beside the spool).
void weft_edge_topics_encode(weft_edge_part_t *self, weft_buf_t *out);

// ---- edge.c

enum weft_health weft_edge_health(const struct weft_node *node, char *sentence, size_t sentence_bytes);

static inline struct weft_edge_asker weft_edge_asker_of(const struct weft_edge_call *call)
{
    return (struct weft_edge_asker){.peer = call->peer, .delimited = call->delimited, .id = call->client_id};
}
static inline weft_counters_t *weft_edge_counters(weft_edge_part_t *self)
{
    return &self->node->counters;
}

#endif
