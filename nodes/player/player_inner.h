// SPDX-License-Identifier: MPL-2.0
/** Player, inside: its state, shared by player.c (life, waiting), play.c (records) and orders.c (the control socket). */
#ifndef WEFT_PLAYER_INNER_H
#define WEFT_PLAYER_INNER_H

#include "../common/clock.h"
#include "../recorder/attach.h"
#include "../recorder/frames.h"
#include "control.h"
#include "pace.h"
#include "reel.h"

#include <zmq.h>

// As in the table of player.c.
enum weft_player_counter {
    WEFT_PLAYER_SENT,
    WEFT_PLAYER_SENT_BYTES,
    WEFT_PLAYER_LATE,
    WEFT_PLAYER_SLIP_MS,
    WEFT_PLAYER_BLOCKED_MS,
    WEFT_PLAYER_MALFORMED,
    WEFT_PLAYER_SKIPPED,
    WEFT_PLAYER_DAMAGED,
    WEFT_PLAYER_LOOPS,
    WEFT_PLAYER_PEERS,
    WEFT_PLAYER_SUBSCRIPTIONS,
    WEFT_PLAYER_REPLIES,
    WEFT_PLAYER_COUNTERS
};

enum weft_player_at_end { WEFT_PLAYER_WAIT, WEFT_PLAYER_STOP, WEFT_PLAYER_LOOP }; // as the choices of at.end

struct weft_player {
    weft_hosted_node_t *node;
    const weft_options_t *options;
    struct weft_attach target;
    void *control; // NULL: none
    weft_reel_t *reel;
    struct weft_pace pace;
    struct weft_position from;
    enum weft_player_at_end at_end;
    int type; // ZMQ_PUSH, ...
    bool key_value;

    bool paused, over;
    uint64_t steps; // still to be played while paused
    bool stepping;  // `stepper` waits for its answer
    struct weft_control_client stepper;
    enum weft_reel_state state; // as of the last look at the reel
    int64_t due_us;             // of the next record; 0: there is none, or it is not looked at yet
    bool blocked;               // peers take nothing now
    int64_t blocked_us;         // since when
    bool decoded;               // `frames` are those of the next record
    weft_slice_t *frames;       // WEFT_FRAMES_MAX of them
    size_t frame_count;
    struct weft_record_view last; // played last: partition, offset, time; no slices
    uint64_t loop_sent;           // `sent` when this round began

    uint64_t counts[WEFT_PLAYER_COUNTERS];
    uint64_t slip_us, blocked_total_us;
    int64_t published_us, begun_us;
};

// ---- play.c

// Plays what is due, `most` records at most. True: it may go on at once.
bool weft_player_play(struct weft_player *self, size_t most);
void weft_player_restart_pace(struct weft_player *self);
WEFT_MUST_USE weft_err_t weft_player_seek(struct weft_player *self, struct weft_position at);

// ---- orders.c

void weft_player_orders(struct weft_player *self); // answers what has come
// The step that is waited for is done, or can't go on: answered.
void weft_player_end_step(struct weft_player *self);
const char *weft_player_state(const struct weft_player *self); // "playing", "paused", "waiting", "ended"

#endif
