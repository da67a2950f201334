// SPDX-License-Identifier: MPL-2.0
/**
 * The inside of the control part, shared by its files: control.c (its life, what it is told by shards and world),
 * control_seek.c (which coordinator is in office) and control_talk.c (what is said to one, and what it answers). For
 * nobody else.
 */
#ifndef WEFT_BROKER_CONTROL_SELF_H
#define WEFT_BROKER_CONTROL_SELF_H

#include "asks.h"
#include "broker.h"
#include "counters.h"
#include "update.h"

#include <weft_gen/codec.h>
#include <weft_gen/messages.h>

#define WEFT_CONTROL_COORDINATORS_MAX 16
#define WEFT_CONTROL_GROUPS_MAX 64

struct weft_control_coordinator {
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    weft_link_t link; // 0: the endpoint can't be used
    bool up;
    bool given;            // by configuration: never makes room for one that was learnt
    uint64_t register_id;  // of the registration that it was sent and has not answered, 0: none
    int64_t register_us;   // when that was
    uint64_t behind_epoch; // its state is an old copy (it held less than this broker), in this epoch of its; 0: not
};

struct weft_control_asks {
    weft_asks_t *asks;
    uint64_t id; // of the request that flies
    weft_link_t link;
    int64_t since_us;
};

struct weft_control {
    struct weft_part part;
    struct weft_broker *broker;
    char name[WEFT_NODE_NAME_BYTES_MAX];
    weft_port_t port;
    weft_rand_t rand;

    struct weft_control_coordinator coordinators[WEFT_CONTROL_COORDINATORS_MAX];
    size_t coordinator_count;
    size_t active; // the one in office, as far as is known
    // Looking for it: the others are asked in turn, beside the active one.
    bool seeking;
    size_t probed;         // last one asked out of turn
    size_t named;          // said to be in office by another, and not asked yet; SIZE_MAX: none
    int64_t probe_us;      // when to ask the next
    int64_t probe_wait_us; // grows from probe to probe
    uint64_t epoch;        // highest heard
    uint64_t refused_epoch;

    weft_cluster_t *cluster;
    uint64_t applied_index;

    weft_id_t incarnation;
    bool restarted; // not registered before in this run: tells `clean` of the directory
    bool registered;
    uint64_t next_id, first_id; // replies below first_id were for another incarnation
    int64_t send_us;            // when the next heartbeat or registration to the active one is due
    int64_t answered_us;        // last good word of a coordinator in office
    int64_t refused_us;         // since when registration is refused, 0: it is not
    int64_t heartbeat_us, session_us;
    struct weft_control_asks in_sync, reports;
    struct weft_broker_groups *groups[WEFT_CONTROL_GROUPS_MAX]; // questions of ledgers; the first one is put
    size_t group_count;
    uint64_t groups_id; // of its request; 0: none is under way
    int64_t groups_us;  // until when it may be answered

    bool stopping, left;
    int64_t stop_us;      // when it was asked to stop
    int64_t stop_last_us; // a stop waits no longer
    bool parting;         // nothing is led any more: clients are told where to go for a moment
    int64_t part_us;      // it ends, unless somebody still asks
    int64_t part_last_us; // at the latest
    uint64_t part_told;   // clients sent elsewhere so far

    weft_codec_t codec;
    weft_buf_t buf;
    struct weft_error error;
};

typedef struct weft_control weft_control_t;

// ---- control.c
void weft_control_standing(weft_control_t *self, enum weft_broker_standing standing);
void weft_control_count(weft_control_t *self, enum weft_control_counter counter);
void weft_control_new_incarnation(weft_control_t *self);
void weft_control_part(weft_control_t *self, int64_t now_us); // a stop: nothing is led here any more

// ---- control_seek.c
// The coordinator at that endpoint, made known if there is room; SIZE_MAX: there is none.
size_t weft_control_coordinator(weft_control_t *self, weft_slice_t endpoint, bool given);
size_t weft_control_coordinator_of(const weft_control_t *self, weft_link_t link); // SIZE_MAX: none of them
// Takes up those that the cluster state names.
void weft_control_follow_voters(weft_control_t *self);
// The active one can't be it, or is silent: others are asked from now on.
void weft_control_seek(weft_control_t *self, int64_t now_us);
void weft_control_name(weft_control_t *self, weft_slice_t endpoint, int64_t now_us); // somebody says who is in office
void weft_control_found(weft_control_t *self, size_t at, int64_t now_us);            // this one is
// Asks the active one when that is due, and others while it seeks; returns when it wants to again.
int64_t weft_control_seek_turn(weft_control_t *self, int64_t now_us);
void weft_control_link_up(weft_control_t *self, weft_link_t link);
void weft_control_link_down(weft_control_t *self, weft_link_t link);

// ---- control_talk.c
// A heartbeat, or a registration if none is under way there. False: it could not be sent.
bool weft_control_ask(weft_control_t *self, size_t at, int64_t now_us);
void weft_control_told(weft_control_t *self, struct weft_message *message, int64_t now_us);
int64_t weft_control_asks_turn(weft_control_t *self, int64_t now_us);
void weft_control_asks_lost(weft_control_t *self,
                            weft_link_t link); // what flies there will not be answered; 0: anywhere

// ---- offsets_check.c
struct weft_broker_groups;                                                             // offsets.h
void weft_control_groups_put(weft_control_t *self, struct weft_broker_groups *groups); // takes it
int64_t weft_control_groups_turn(weft_control_t *self, int64_t now_us);
bool weft_control_groups_answered(weft_control_t *self, uint64_t id, weft_slice_t header); // false: of something else
void weft_control_groups_fini(weft_control_t *self);

#endif
