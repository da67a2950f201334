// SPDX-License-Identifier: MPL-2.0
/**
 * Quorum wire: configurations and entries as bytes, checked before libraft sees them (its decoders trust their input).
 *
 * A voter's address within libraft is "ID=ENDPOINT", ID being the coordinator's. Entries travel as msgpack arrays of
 * three, of constant width: `93`, `cf` u64 term, one byte kind, `c6` u32 size and the bytes.
 */
#ifndef WEFT_COORDINATOR_QUORUM_WIRE_H
#define WEFT_COORDINATOR_QUORUM_WIRE_H

#include "quorum.h"

#include <raft.h>

#define WEFT_QUORUM_ADDRESS_BYTES_MAX (WEFT_ENDPOINT_BYTES_MAX + 16)
#define WEFT_QUORUM_TERM_MAX ((uint64_t) INT32_MAX) // of the batches' leader epoch

// ---- voters

void weft_quorum_address(const struct weft_quorum_voter *voter, char address[WEFT_QUORUM_ADDRESS_BYTES_MAX]);
// Id, server and endpoint; the rest is zero. False: that is no address of ours.
bool weft_quorum_voter_of(const struct raft_server *server, struct weft_quorum_voter *out);
// A configuration that libraft encoded: at most WEFT_QUORUM_VOTERS_MAX servers, ids and endpoints ours, nothing twice.
bool weft_quorum_configuration_guard(weft_slice_t bytes);
// Guards, then decodes into *out (for the caller to close).
bool weft_quorum_configuration_decode(weft_slice_t bytes, struct raft_configuration *out);
void weft_quorum_configuration_encode(const struct raft_configuration *configuration, weft_buf_t *out); // appends
void weft_quorum_configuration_copy(const struct raft_configuration *from, struct raft_configuration *to);
const struct raft_server *weft_quorum_server(const struct raft_configuration *configuration, uint64_t server);
const struct raft_server *weft_quorum_server_of_id(const struct raft_configuration *configuration, int32_t id);
size_t weft_quorum_count_voters(const struct raft_configuration *configuration);

// ---- entries

void weft_quorum_entry_append(uint64_t term, uint8_t kind, weft_slice_t data, weft_buf_t *out);
/**
 * Decodes all of `bytes` into one raft_malloc'd array (*out, for raft_free) over one raft_malloc'd batch, as libraft
 * wants them. False and nothing allocated: malformed, an unknown kind, a bad configuration, a term that is 0, falls or
 * is above `term_max`, or more than `max` entries.
 */
bool weft_quorum_entries_decode(weft_slice_t bytes, uint64_t term_max, unsigned max, struct raft_entry **out,
                                unsigned *count);

#endif
