// SPDX-License-Identifier: MPL-2.0
/**
 * Desk: where a consumer part and its group member part meet, each on a thread of its own.
 *
 * Whoever has something to say puts it here and wakes the other. Only the newest counts: an assignment replaces the one
 * before, so nothing queues up, and a side that is slow sees one step instead of many. What must not be lost by that is
 * a serial number: `lost` grows with every time that all was lost.
 *
 * The lock is held for a copy of a few fields (an assignment is handed over by pointer) and never while anything waits. It is
 * there because the program's thread may be inside a record for minutes while heartbeats have to go on: mail, the way
 * other parts meet, is taken in only by a thread that takes turns. No record is handed out under it: what reading needs
 * for each record, the end of the lease, is atomic.
 *
 * Counted: each part holds a reference, and so does who made it, until dropped; the last one frees.
 */
#ifndef WEFT_CLIENT_DESK_H
#define WEFT_CLIENT_DESK_H

#include "../base/bytes.h"

#define WEFT_DESK_PATTERNS_MAX 256

typedef struct weft_desk weft_desk_t;

struct weft_desk_owned {
    char *topic;
    weft_id_t topic_id;
    uint32_t partition;
    uint64_t token;
};

/** What a member owns by one answer of the coordinator. Counted, never changed. */
typedef struct weft_desk_assignment {
    _Atomic int references;        // of the desk
    uint64_t epoch, revision;      // of the membership; of the assignment
    struct weft_desk_owned *owned; // in order of topic name and partition
    size_t count;
} weft_desk_assignment_t;

enum weft_desk_side { WEFT_DESK_CONSUMER, WEFT_DESK_MEMBER };
enum weft_desk_leave { WEFT_DESK_STAY, WEFT_DESK_LEAVE, WEFT_DESK_PAUSE };

weft_desk_t *weft_desk_new(void); // with one reference
weft_desk_t *weft_desk_hold(weft_desk_t *self);
void weft_desk_drop(weft_desk_t **self_p); // accepts NULL

/**
 * How to wake a side: called on the other side's thread, after something was put for it, under the desk's lock: it must
 * not block, nor call the desk. NULL: that side looks by itself at every turn. Once it is cleared (NULL) it is not called
 * any more.
 */
typedef void weft_desk_wake_fn(void *context);
void weft_desk_on_change(weft_desk_t *self, enum weft_desk_side side, weft_desk_wake_fn *wake, void *context);
// Grows with all that is put for that side. No lock.
uint64_t weft_desk_serial(const weft_desk_t *self, enum weft_desk_side side);

// ---- consumer's side

/** Joins the group with these names and globs, or tells new ones; count 0 is not allowed. Copied. */
void weft_desk_subscribe(weft_desk_t *self, const char *const *patterns, size_t count);
/** The program asks for records: now, and (while `waiting`) until told otherwise. Wakes a member that waits for it. */
void weft_desk_polled(weft_desk_t *self, int64_t now_us, bool waiting);
/** All up to this assignment is carried out: what it lacks is released, the last commits answered. */
void weft_desk_carried(weft_desk_t *self, uint64_t epoch, uint64_t revision);
void weft_desk_leave(weft_desk_t *self, enum weft_desk_leave how, const char *why);

/** Of its reader, who begins with a zeroed one. */
struct weft_desk_news {
    weft_desk_assignment_t *assignment; // NULL: not in the group (yet)
    uint64_t lost;                      // times that all was lost so far: what was taken before the last one is gone
    char lost_text[256];                // why
    bool settled;                       // the coordinator has confirmed that nothing else is to come now
    bool left;                          // the group was left, or there was none to leave
    weft_err_t refused;                 // why the group does not take this member (now); WEFT_OK
    char refused_text[256];
    bool unheard;          // no coordinator answered for a session
    uint64_t unknown_told; // grows with `unknown`
    char **unknown;        // names of the subscription that do not exist; NULL terminated; NULL: none
};
void weft_desk_read(weft_desk_t *self, struct weft_desk_news *io); // as it is now
void weft_desk_news_fini(struct weft_desk_news *news);
// The assignment, to be dropped when it is done with; NULL stays NULL.
weft_desk_assignment_t *weft_desk_assignment_hold(weft_desk_assignment_t *assignment);
void weft_desk_assignment_drop(weft_desk_assignment_t **self_p);

/** No delivery may begin at or after this time (rule 22); 0: not a member. No lock: asked for every record. */
int64_t weft_desk_lease_us(const weft_desk_t *self);
// As in the news, without lock. Asked after the lease: a lease of a later membership comes behind the loss of this one.
uint64_t weft_desk_lost_count(const weft_desk_t *self);

// ---- member's side

// For a member to fill in; names are copied by the caller (weft_slice_dup), and freed with it.
weft_desk_assignment_t *weft_desk_assignment_new(uint64_t epoch, uint64_t revision, size_t count);

/** Of its reader, who begins with a zeroed one. */
struct weft_desk_orders {
    uint64_t subscription; // grows with every weft_desk_subscribe; 0: nobody subscribed yet
    char **patterns;       // NULL terminated
    size_t pattern_count;
    int64_t polled_us;        // when the program last asked for records; INT64_MAX: it waits for some now
    uint64_t epoch, revision; // carried out
    enum weft_desk_leave leave;
    char why[256];
};
void weft_desk_orders(weft_desk_t *self, struct weft_desk_orders *io); // as they are now
void weft_desk_orders_fini(struct weft_desk_orders *orders);
/** Takes the assignment over. */
void weft_desk_assign(weft_desk_t *self, weft_desk_assignment_t **assignment_p);
void weft_desk_lost(weft_desk_t *self, const char *text); // and no assignment is in force any more
void weft_desk_await_poll(weft_desk_t *self);             // to be woken by the next weft_desk_polled
void weft_desk_settle(weft_desk_t *self, bool settled);
void weft_desk_say_left(weft_desk_t *self);
void weft_desk_refuse(weft_desk_t *self, weft_err_t error, const char *text); // WEFT_OK: not any more
void weft_desk_say_unheard(weft_desk_t *self, bool unheard);
void weft_desk_unknown(weft_desk_t *self, const weft_slice_t *names, size_t count);
void weft_desk_lease(weft_desk_t *self, int64_t end_us);

#endif
