// SPDX-License-Identifier: MPL-2.0
/**
 * The history files that weft_fault_workload writes and weft_fault_history judges: a head, then events, in the order in
 * which the client met them. Native byte order: a history is judged where it was made. history.py writes the same, to
 * test the judge.
 *
 * A record's value begins with its id: producer << 40 | sequence, big-endian, then the time it was sent; the rest follows
 * from the id, so that a reader can tell a record from any other bytes.
 */
#ifndef WEFT_FAULT_HISTORY_H
#define WEFT_FAULT_HISTORY_H

#include <stdint.h>

#define HISTORY_MAGIC "WEFTHIS1"

enum history_kind {
    HISTORY_PRODUCER,
    HISTORY_CONSUMER, // read while things broke, from the first record on
    HISTORY_FINAL     // the whole log, read once all was over
};

struct history_head {
    char magic[8];
    uint32_t client;
    uint32_t kind;
};

enum history_type {
    HISTORY_SEND = 1, // id, partition: about to be sent
    HISTORY_ACK,      // id, partition, offset
    HISTORY_FAIL,     // id, partition; how: enum weft_err_outcome
    HISTORY_READ,     // id, partition, offset, epoch
    HISTORY_EVENT,    // how: enum weft_consumer_event_type; id: from_offset; offset
    HISTORY_BAD       // partition, offset: bytes that nobody sent
};

struct history_event {
    uint8_t type;
    uint8_t how;
    uint16_t reserved;
    int32_t partition;
    int64_t time_ns; // CLOCK_MONOTONIC: one clock for all processes of a machine
    uint64_t id;
    int64_t offset;
    int32_t epoch;
    int32_t error;
};

#define HISTORY_ID(client, sequence) ((uint64_t) (client) << 40 | (uint64_t) (sequence))
#define HISTORY_CLIENT(id) ((uint32_t) ((id) >> 40))
#define HISTORY_SEQUENCE(id) ((id) & ((UINT64_C(1) << 40) - 1))

#endif
