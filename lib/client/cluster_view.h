// SPDX-License-Identifier: MPL-2.0
/**
 * Cluster view: what a client knows about the cluster, and its connections (one a distinct endpoint).
 *
 * Data only: requests.h asks for metadata and puts it here. Topics and links are never freed before the view is, so
 * that others may point at them. Links are bounded: beyond WEFT_VIEW_LINKS_MAX, and once an endpoint is of no known node
 * any more and gone for a minute, a link that nothing needs is closed and its struct stands for another endpoint.
 *
 * Knowledge only grows: an answer of a node that lags takes back neither a leader epoch, nor a topic, nor who is the
 * coordinator.
 */
#ifndef WEFT_CLIENT_CLUSTER_VIEW_H
#define WEFT_CLIENT_CLUSTER_VIEW_H

#include "../wire/port.h"

#include <weft_gen/messages.h>

#define WEFT_VIEW_BOOTSTRAP_MAX 16
#define WEFT_VIEW_MISSING_GRACE_US 1500000
#define WEFT_VIEW_LINKS_MAX 1024
#define WEFT_VIEW_TOPICS_MAX (1 << 18)     // missing ones too
#define WEFT_VIEW_PARTITIONS_MAX (1 << 20) // of all topics
#define WEFT_VIEW_SPARE_LINKS_MAX 64       // to nodes that lead nothing of ours, to have whom to ask
#define WEFT_VIEW_FORGET_US 60000000       // a link that is down for longer, to a node that nobody tells of, is closed

struct weft_view_link {
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    weft_link_t link;
    bool up;
    bool bootstrap;
    bool pinned;        // its endpoint was asked for by name (admin)
    bool broken;        // was up, is down
    bool silent;        // something sent over it is overdue: asked last, until it is heard again
    int64_t changed_us; // opened, up or down
    uint64_t told;      // view.updates when metadata told of its endpoint last
};

struct weft_view_partition {
    int32_t leader;              // broker id, -1: none or not known
    int32_t epoch;               // leader epoch, -1: not known
    struct weft_view_link *link; // to the leader's shard; NULL: none
    weft_err_t error;            // why there is no leader
};

enum weft_view_topic_state {
    WEFT_VIEW_ASKED, // no node has told of it yet
    WEFT_VIEW_KNOWN,
    WEFT_VIEW_MISSING // the last node that told does not know it
};

struct weft_view_topic {
    char *name;
    weft_id_t id; // zero until known
    enum weft_view_topic_state state;
    bool wanted; // its metadata is asked for by name
    bool internal;
    bool replaced;      // its id changed: whoever uses the topic clears it
    int64_t missing_us; // since when it is missing; meaningful with MISSING
    uint64_t told;      // view.updates when metadata told of it last
    int32_t partition_count;
    struct weft_view_partition *partitions;
    void *owner; // of the part that uses the view
};

typedef struct weft_view {
    weft_port_t port;
    bool started;
    char bootstrap[WEFT_VIEW_BOOTSTRAP_MAX][WEFT_ENDPOINT_BYTES_MAX];
    size_t bootstrap_count;
    struct weft_view_link **links;
    size_t link_count;
    size_t turn;                     // round robin over links
    size_t silent_count;             // links that are silent
    struct weft_view_topic **topics; // in order of first mention
    size_t topic_count, topic_capacity;
    size_t partition_count; // of all topics
    struct weft_map *topics_by_name;
    struct weft_view_link *coordinator; // best guess, NULL: none
    weft_id_t cluster_id;               // zero until known
    uint64_t version;
    uint64_t updates;         // grows with every metadata reply
    uint64_t updates_all;     // with every one that told of all topics
    bool applying, full;      // a metadata reply; no link is left for one endpoint more that it names
    int64_t missing_grace_us; // a topic just created may not be known to every node yet
    struct weft_error fatal;  // WRONG_CLUSTER; code WEFT_OK while fine
} weft_view_t;

// bootstrap: endpoints, comma separated. INVALID_ENDPOINT with a sentence.
WEFT_MUST_USE weft_err_t weft_view_init(weft_view_t *self, const char *bootstrap, struct weft_error *error);
void weft_view_fini(weft_view_t *self);
void weft_view_start(weft_view_t *self, const weft_port_t *port); // opens links to the bootstrap endpoints

// True for tcp://host:port, ipc://path and inproc://name.
bool weft_view_endpoint_is_legal(weft_slice_t endpoint);
// 1 to 249 of letters, digits, dot, underscore, hyphen; not "." or "..".
bool weft_topic_name_is_legal(const char *name);

// The link to an endpoint, opened if need be; NULL if the world can't.
struct weft_view_link *weft_view_link_to(weft_view_t *self, weft_slice_t endpoint);
struct weft_view_link *weft_view_link_of(const weft_view_t *self, weft_link_t link);
// Some link that is up, another one at each call; one that is silent or to be avoided only if there is no other. NULL:
// none is up.
struct weft_view_link *weft_view_any(weft_view_t *self, const struct weft_view_link *avoid);
void weft_view_link_up(weft_view_t *self, weft_link_t link);
struct weft_view_link *weft_view_link_down(weft_view_t *self, weft_link_t link); // NULL: not ours
void weft_view_link_silent(weft_view_t *self, struct weft_view_link *link);
void weft_view_link_heard(weft_view_t *self, weft_link_t link); // a message came over it

struct weft_view_topic *weft_view_topic(weft_view_t *self, const char *name); // made if absent
struct weft_view_topic *weft_view_topic_find(const weft_view_t *self, weft_slice_t name);
// The link to a partition's leader; NULL: not known, or none.
struct weft_view_link *weft_view_leader(const struct weft_view_topic *topic, int32_t partition);

// The nodes have said for longer than the grace that there is no such topic.
bool weft_view_is_missing(const weft_view_t *self, const struct weft_view_topic *topic);

// Takes over a metadata reply; `all`: it tells of every topic, so that those it does not mention are gone.
void weft_view_apply(weft_view_t *self, const struct weft_metadata_reply *reply, bool all);
// NOT_LEADER said who leads (endpoint empty: it does not know).
void weft_view_redirect(weft_view_t *self, struct weft_view_topic *topic, int32_t partition, int32_t leader,
                        weft_slice_t endpoint);

#endif
