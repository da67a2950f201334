// SPDX-License-Identifier: MPL-2.0
/**
 * Client peer: plays the cluster for a client part in a fake world.
 *
 * pump() takes all that the part sent: hello and metadata are answered from the description below, everything else is
 * kept as a call that the test answers, refuses or leaves.
 */
#ifndef WEFT_TESTS_SUPPORT_CLIENT_PEER_H
#define WEFT_TESTS_SUPPORT_CLIENT_PEER_H

#include "../../lib/wire/batch.h"
#include "fake_world.h"

#include <weft_gen/messages.h>

#define PEER_CALLS_MAX 256
#define PEER_PARTITIONS_MAX 16

struct peer_call {
    enum weft_api api;
    uint64_t id;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX]; // where it was sent to
    uint32_t partition;                     // produce, fetch, list_offsets, partition_status
    struct weft_batch batch;                // produce: its header
    weft_buf_t header;                      // as it was sent, to be decoded
    weft_buf_t data;                        // produce: its bytes
    struct weft_fetch_request fetch;        // fetch; no slices
    char at[16];                            // list_offsets
    int64_t suspect_offset;                 // partition_status
};

struct peer {
    weft_fake_world_t *world;
    weft_codec_t codec;
    // The cluster as metadata tells it: one topic.
    const char *topic; // NULL: none
    weft_id_t topic_id;
    uint32_t partitions;
    const char *leaders[PEER_PARTITIONS_MAX]; // endpoints, NULL: no leader
    int32_t epoch;
    uint32_t offsets_partitions; // of __offsets, told when asked for; 0: it does not exist
    const char *offsets_leader;  // of all of them
    uint64_t version;
    uint8_t cluster; // another number: another cluster
    const char *coordinator;
    uint32_t metadata_count;                     // answered so far
    char metadata_from[WEFT_ENDPOINT_BYTES_MAX]; // who answered last
    bool silent;                                 // leaves metadata unanswered
    bool careless;                               // takes batches that don't match their sum
    uint32_t metadata_left;                      // so many times
    struct peer_call calls[PEER_CALLS_MAX];
    size_t call_count;
};

// A world with the part in it, started; every partition is led by `endpoint`, whose link is up.
void peer_init(struct peer *self, struct weft_part *part, const char *topic, uint32_t partitions, const char *endpoint);
void peer_fini(struct peer *self);
void peer_pump(struct peer *self);
// Takes the first call out; it fails the test if there is none, or of another api. Valid until the next take; its data
// too.
const struct peer_call *peer_take(struct peer *self, enum weft_api api);

void peer_forget(struct peer *self); // all calls that wait to be taken
// Answers with an encoded reply, which is freed.
void peer_answer(struct peer *self, const struct peer_call *call, weft_buf_t *header);
void peer_refuse(struct peer *self, const struct peer_call *call, weft_err_t error, const char *endpoint,
                 uint32_t retry_ms);
void peer_produced(struct peer *self, const struct peer_call *call, int64_t offset, bool duplicate);
// data: batches, or nil.
void peer_fetched(struct peer *self, const struct peer_call *call, weft_slice_t data, int64_t high_watermark,
                  int64_t log_start);
void peer_diverged(struct peer *self, const struct peer_call *call, int64_t end_offset);
void peer_offset(struct peer *self, const struct peer_call *call, int64_t offset);

#endif
