// SPDX-License-Identifier: MPL-2.0
/**
 * Requests: calls under way, their answers, and what happens when none comes (REPLICATION.md rules 23, 24).
 *
 * Two kinds. An *automatic* call (admin, offsets, metadata) finds its node by itself, follows redirections, retries by
 * error class with back-off and jitter until its deadline, and ends once. A *manual* call (produce, fetch, whose owners
 * keep order and windows) is one attempt: weft_requests_try sends it or says why not, and it ends with the answer, with
 * LOCAL_NOT_CONNECTED when its link went down or its partition is led elsewhere by now, or with LOCAL_TIMED_OUT after
 * attempt_us of silence; its owner decides what next. From the answers of both the cluster view learns: redirections
 * are noted, errors of class refresh and broken links make another node be asked for metadata.
 *
 * A dead leader sends no error. Its link goes down: then metadata is asked for at once, and every backoff_us while the
 * partition has no leader that can be reached (after three seconds less and less often). A stopped one keeps its link:
 * a request that is silent_us overdue makes another node be asked. What waits at a leader of the past is given up as
 * soon as metadata shows a newer epoch led elsewhere. One metadata request is under way at a time.
 *
 * A call keeps its id over all attempts: an answer to an earlier one counts.
 */
#ifndef WEFT_CLIENT_REQUESTS_H
#define WEFT_CLIENT_REQUESTS_H

#include "cluster_view.h"
#include "shared_bytes.h"

enum weft_call_to { WEFT_TO_ANY, WEFT_TO_COORDINATOR, WEFT_TO_LEADER, WEFT_TO_LINK };
enum weft_call_state { WEFT_CALL_IDLE, WEFT_CALL_QUEUED, WEFT_CALL_SENT };

struct weft_call;

/**
 * The end of a call; it is idle then and may be used or freed. error WEFT_OK or the server's: `header` and `message`
 * are given (frames may be moved out); a local error: both are NULL and `text` tells.
 */
typedef void weft_call_done_fn(struct weft_call *call, weft_err_t error, const char *text,
                               const struct weft_reply_header *header, struct weft_message *message);

struct weft_call {
    // Set by the owner.
    enum weft_call_to to;
    struct weft_view_topic *topic; // WEFT_TO_LEADER
    int32_t partition;
    struct weft_view_link *link; // WEFT_TO_LINK; while sent: the link it went over
    weft_buf_t header;           // encoded, with the id of weft_requests_id
    weft_shared_t *data;         // or NULL; owned by the owner
    int64_t attempt_us;          // silence after which an attempt is given up
    int64_t parked_us;           // how long the node may park it by its own fields; silence counts from there on
    int64_t deadline_us;         // automatic: when to give up
    weft_call_done_fn *done;
    void *context;
    // Of requests.
    uint64_t id;
    enum weft_call_state state;
    bool manual;
    bool doubtful;   // an attempt got no answer, or one that does not rule out that it was applied
    bool redirected; // the refusal named another node, and the view knows it now
    uint32_t attempts;
    int32_t epoch; // TO_LEADER: as the view had it when it was sent
    int64_t sent_us;
    int64_t retry_us; // queued: not before
    weft_err_t last_error;
    char last_text[256];
    struct weft_view_link *avoid;
    uint64_t view_updates; // automatic: metadata replies seen when it was submitted
};

struct weft_requests_config {
    const char *client; // name told to nodes
    int64_t backoff_us;
    int64_t attempt_us;
    int64_t silence_us;  // overdue for so long: another node is asked
    int64_t metadata_us; // refresh regularly; 0: only when needed
    bool all_topics;     // metadata of every topic, not only of those wanted
    bool internal_topics;
};

typedef struct weft_requests {
    weft_view_t *view;
    weft_port_t port;
    struct weft_requests_config config;
    weft_rand_t rand;
    weft_codec_t codec;
    weft_codec_t inner_codec; // for hello and metadata, so that an owner's decoded answer stays
    struct weft_call **slots;
    uint32_t *generations;
    size_t slot_count, slot_capacity;
    size_t free_hint;
    int64_t check_us;   // next sweep over the slots
    int64_t overdue_us; // how long the oldest request is under way, of those that are overdue; 0: none is
    int64_t look_us;    // while some are: others are asked again then
    // metadata
    struct weft_call metadata;
    bool metadata_wanted, metadata_all;
    int64_t metadata_us;      // not before
    int64_t metadata_next_us; // regular refresh
    uint32_t metadata_tries;  // in a row, without an answer or without what was sought
    int64_t unsettled_us;     // since when what is sought is not there; WEFT_TIME_NEVER: it is
    // limits told by hello, the least of all nodes
    uint32_t batch_bytes_max;
    uint32_t session_window;
    uint64_t stray_count; // answers to nothing that waits
    uint64_t redirect_count, link_down_count, timeout_count, reroute_count;
} weft_requests_t;

void weft_requests_init(weft_requests_t *self, weft_view_t *view, const struct weft_requests_config *config);
void weft_requests_fini(weft_requests_t *self);
void weft_requests_start(weft_requests_t *self, const weft_port_t *port);

// Gives the call an id; encode the header with it, then submit or try. The id stays until cancel or done.
uint64_t weft_requests_id(weft_requests_t *self, struct weft_call *call);
void weft_requests_submit(weft_requests_t *self, struct weft_call *call); // automatic
// One attempt. Not sent: LOCAL_NOT_CONNECTED (also: no leader known), LOCAL_WOULD_BLOCK; the call stays idle and keeps
// its id.
WEFT_MUST_USE weft_err_t weft_requests_try(weft_requests_t *self, struct weft_call *call);
// Forgets it (done is not called); an idle call without id is allowed. Frees the header.
void weft_requests_cancel(weft_requests_t *self, struct weft_call *call);

// Asks some node for metadata soon (spaced by the back-off).
void weft_requests_refresh(weft_requests_t *self);
// The same, but at once: something new is sought.
void weft_requests_refresh_now(weft_requests_t *self);
// Back-off before attempt `tries` (from 1): doubles from backoff_us to 20 times, with jitter of a quarter.
int64_t weft_requests_backoff_us(weft_requests_t *self, uint32_t tries);

// From the part's slots.
void weft_requests_message(weft_requests_t *self, struct weft_message *message);
void weft_requests_link_up(weft_requests_t *self, weft_link_t link);
void weft_requests_link_down(weft_requests_t *self, weft_link_t link);
int64_t weft_requests_turn(weft_requests_t *self, int64_t now_us); // when to call again

#endif
