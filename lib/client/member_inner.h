// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the member part share.
 *
 * member_part.c: life-cycle, the state it should be in. member_heartbeat.c: what is said, and what the answers mean.
 */
#ifndef WEFT_CLIENT_MEMBER_INNER_H
#define WEFT_CLIENT_MEMBER_INNER_H

#include "member_part.h"
#include "requests.h"

enum weft_member_state {
    WEFT_MEMBER_OUT,     // nobody subscribed
    WEFT_MEMBER_IN,      // joining (epoch 0) or a member
    WEFT_MEMBER_IDLE,    // left, since the program does not poll
    WEFT_MEMBER_REFUSED, // for good, until there is another subscription
    WEFT_MEMBER_GONE     // left
};

enum weft_member_counter {
    WEFT_MEMBER_COUNT_HEARTBEATS,
    WEFT_MEMBER_COUNT_JOINS,
    WEFT_MEMBER_COUNT_LOST,
    WEFT_MEMBER_COUNT_UNANSWERED,
    WEFT_MEMBER_COUNT_REFUSALS,
    WEFT_MEMBER_COUNTERS
};

struct weft_member_part {
    struct weft_part base;
    weft_port_t port;
    weft_desk_t *desk;
    weft_view_t view;
    weft_requests_t requests;
    weft_counters_t counters;
    // options
    char group[256], instance[256], rack[65], assignor[33], client[129], host[129];
    uint32_t session_ms, release_ms;
    int64_t max_poll_us;
    bool exclusive;
    // membership
    enum weft_member_state state;
    weft_id_t id;
    uint64_t epoch;                         // 0: to join
    uint64_t seen;                          // revision of the newest assignment received
    int64_t assigned_us;                    // when
    uint64_t subscription;                  // the newest that the coordinator has answered
    uint64_t revision;                      // carried out, likewise
    bool full;                              // it may not know all that a join tells
    struct weft_view_link *avoid;           // did not answer
    const struct weft_view_link *told_link; // of the coordinator that answered last
    int64_t heartbeat_us, lease_us;         // interval and session, as told
    int64_t heard_us;                       // sending of the last heartbeat that was answered
    struct weft_desk_orders orders;
    char why[256];     // WEFT_MEMBER_IDLE: for the coordinator
    bool leaving_told; // WEFT_MEMBER_IDLE: it knows, or need not
    // the heartbeat under way
    struct weft_call call;
    uint64_t sent_subscription, sent_revision;
    bool sent_leave, sent_join;
    int64_t wait_us;
    uint32_t tries;
    int64_t retry_us;
};

// member_part.c
void weft_member_forget(weft_member_part_t *self);                 // the membership
void weft_member_lose(weft_member_part_t *self, const char *text); // likewise, and the consumer is told
void weft_member_end(weft_member_part_t *self);                    // it is out for good
int64_t weft_member_idle_us(const weft_member_part_t *self, int64_t now_us);

// member_heartbeat.c
int64_t weft_member_speak(weft_member_part_t *self, int64_t now_us); // if there is something to say; when to call again

#endif
