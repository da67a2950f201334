// SPDX-License-Identifier: MPL-2.0
/** Recorder, inside: its state, shared by recorder.c (life, health), take.c (messages) and resume.c (the past). */
#ifndef WEFT_RECORDER_INNER_H
#define WEFT_RECORDER_INNER_H

#include "../common/clock.h"
#include "attach.h"
#include "frames.h"
#include "sequence.h"

#include <weft/producer.h>
#include <zmq.h>

// As in the table of recorder.c.
enum weft_recorder_counter {
    WEFT_RECORDER_RECEIVED,
    WEFT_RECORDER_RECEIVED_BYTES,
    WEFT_RECORDER_ACKED,
    WEFT_RECORDER_FAILED,
    WEFT_RECORDER_TOO_LARGE,
    WEFT_RECORDER_WITHOUT_KEY,
    WEFT_RECORDER_WAITING,
    WEFT_RECORDER_BLOCKED_MS,
    WEFT_RECORDER_PEERS,
    WEFT_RECORDER_GAPS,
    WEFT_RECORDER_MISSING,
    WEFT_RECORDER_DUPLICATES,
    WEFT_RECORDER_RESETS,
    WEFT_RECORDER_UNREADABLE,
    WEFT_RECORDER_UNTRACKED,
    WEFT_RECORDER_STREAMS,
    WEFT_RECORDER_COUNTERS
};

struct weft_recorder {
    weft_hosted_node_t *node;
    const weft_options_t *options;
    struct weft_attach source;
    weft_sequences_t *sequences;
    int64_t key_frame;
    int32_t partition;
    const char *topic_name;

    weft_producer_t *producer; // NULL between two
    weft_topic_t *topic;
    // The message that was received last; `held`: the producer has not taken it.
    zmq_msg_t **parts; // made on demand, reused
    size_t part_count, parts_made;
    bool held, refused;      // refused: by more than a full buffer, see `why`
    bool over;               // the producer can't go on: another one does
    bool resumed;            // the past was read
    uint64_t missing;        // counted before it
    weft_slice_t *frames;    // WEFT_FRAMES_MAX of them
    weft_buf_t buf;          // its value, where that is made
    weft_headers_t *headers; // its headers
    struct weft_frames_record record;
    int64_t received_ms; // Unix time of the messages received now
    unsigned clock_age;  // messages since that was read

    uint64_t counts[WEFT_RECORDER_COUNTERS];   // published by weft_recorder_publish
    int64_t acked_ms;                          // monotonic: last time that the cluster answered, or nothing waited
    int64_t failed_ms;                         // monotonic: last failure, -1: none
    int64_t blocked_ms;                        // monotonic: since when the source isn't read, -1: it is
    int64_t published_ms, warned_ms, begun_ms; // monotonic
    char failed_text[200];
    char why[WEFT_ERROR_TEXT_BYTES_MAX];
};

// ---- take.c

/**
 * Receives what is there, `most` messages at most, and gives it to the producer; returns how many were received. Stops at one that the
 * producer does not take now: it is held, and tried again first.
 */
size_t weft_recorder_take(struct weft_recorder *self, size_t most);
// Gives the held message to the producer. False: it is still held.
bool weft_recorder_give(struct weft_recorder *self);
void weft_recorder_free_parts(struct weft_recorder *self);

// ---- resume.c

/**
 * Reads the last records of the topic, so that the sequences go on where they stood: a gap over a restart is counted.
 * False: it was not finished (the node is to stop, or a partition does not answer).
 */
bool weft_recorder_resume(struct weft_recorder *self);

// ---- recorder.c

void weft_recorder_publish(struct weft_recorder *self); // counters and health, every 100 ms at most
void weft_recorder_warn(struct weft_recorder *self, const char *what, const char *why); // trace, one line a second

#endif
