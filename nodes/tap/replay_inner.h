// SPDX-License-Identifier: MPL-2.0
/**
 * Requesters of replays, and the frames sent to them.
 *
 * A requester is one peer of the ROUTER and one stream. libzmq would queue replies for it without bound, so each counts
 * the bytes it has not taken yet, by what libzmq frees; beyond a bound its replay pauses.
 */
#ifndef WEFT_NODES_TAP_REPLAY_INNER_H
#define WEFT_NODES_TAP_REPLAY_INNER_H

#include "../common/unread.h"
#include "tap_inner.h"

#define REQUESTER_ID_BYTES_MAX 255

#define REPLAY_END_UNKNOWN (-1)
#define REPLAY_END_OF_LOG (-2) // to be looked up first: nothing is published yet, for want of subscribers

enum requester_state {
    REQUESTER_QUEUED,  // waits for a reader
    REQUESTER_SERVED,  // by a reader
    REQUESTER_BLOCKED, // has enough unread
    REQUESTER_OWING    // its replay is over, but it has not read all of it
};

struct weft_tap_requester {
    struct weft_tap_requester *next, *previous; // all of them, in order of their turn
    enum requester_state state;
    uint8_t id[REQUESTER_ID_BYTES_MAX];
    size_t id_bytes;
    bool delimited; // an empty frame stands before the rest, as REQ sends it
    bool single;    // a REQ socket: takes one reply a request
    char name[WEFT_TAP_NAME_BYTES_MAX];
    size_t name_bytes;              // of the stream asked for; with names_topic as given
    bool with_topic;                // replies carry the topic frame
    struct weft_tap_stream *stream; // NULL: not known yet
    int64_t at, end;                // next sequence to be sent; where the replay ends, or one of the two below
    uint32_t ends_owed;             // end markers
    bool moved;                     // `at` was set back: the reader has to seek
    int64_t progress_us;            // when it last took something
    size_t seen_bytes;              // unread then
    weft_unread_t *unread;          // bytes that libzmq still holds for it
};

enum send_result { SEND_DONE, SEND_GONE };

// One reply: the record with this sequence, or the end marker.
enum send_result weft_tap_reply_send(void *router, const struct weft_tap_requester *to, uint64_t sequence,
                                     weft_slice_t payload);

#endif
