// SPDX-License-Identifier: MPL-2.0
/**
 * Offsets: what one partition of __offsets says: committed offsets and fences of consumer groups. Pure.
 *
 * A function of the partition's prefix: apply every record in order and the same table results. The leader also holds
 * what it has appended and what is not yet durable: it judges by the newest (a fence counts from its append on), and
 * answers only what is durable (REPLICATION.md rules 5 and 19).
 *
 * Key of an entry: group, topic id, partition. A commit carries (token, n): lower than the entry's is refused, FENCED; an
 * equal pair is taken (a retry, or somebody who counts no n). Token 0 is a consumer outside groups: taken while the
 * entry's token is 0, whatever its n, for nobody counts it for all of them. Deleting a group leaves a fence of the whole
 * group behind (topic id zero): no token of a member below it is taken, for offsets.retention.ms. Token 0 passes it: no
 * member of the past has that, and who reads without membership begins anew.
 *
 * Memory: some 100 bytes an entry, its metadata beside it; a group or topic is named once. weft_offsets_bytes counts it,
 * weft_offsets_fits bounds it.
 *
 * Invariants (weft_offsets_check):
 *     O1  (token, n) of an entry never falls while it exists, and no token below the group's fence is taken, but 0: by
 *         weft_offsets_judge before each append
 *     O2  what is answered was appended below the durable mark
 */
#ifndef WEFT_CORE_OFFSETS_H
#define WEFT_CORE_OFFSETS_H

#include "../base/bytes.h"

#define WEFT_OFFSETS_TOPIC "__offsets"
#define WEFT_OFFSET_METADATA_BYTES_MAX 4096
#define WEFT_OFFSETS_MAX 4000000 // entries of one partition; more: OVERLOADED

typedef struct weft_offsets weft_offsets_t;

struct weft_offset_key {
    weft_slice_t group;
    weft_id_t topic; // zero: the fence of the whole group
    uint32_t partition;
};
struct weft_offset_value {
    int64_t offset; // -1: none, a fence alone
    int32_t epoch;
    uint64_t token, n;
    weft_slice_t metadata;
    int64_t committed_ms;
};

// The partition of __offsets that holds a group: CRC-32C of its name modulo `partitions`.
uint32_t weft_offsets_partition(weft_slice_t group, uint32_t partitions);

weft_offsets_t *weft_offsets_new(void);
void weft_offsets_destroy(weft_offsets_t **self_p);
void weft_offsets_clear(weft_offsets_t *self);

// Would a commit or fence with this token (and n; UINT64_MAX: a fence alone) be taken? FENCED with a sentence, OVERLOADED.
WEFT_MUST_USE weft_err_t weft_offsets_judge(const weft_offsets_t *self, const struct weft_offset_key *key,
                                            uint64_t token, uint64_t n, struct weft_error *error);
// Is there memory for it, beside `bytes_beside` of other tables? OVERLOADED with a sentence. What replaces something
// durable and does not grow always fits.
WEFT_MUST_USE weft_err_t weft_offsets_fits(const weft_offsets_t *self, const struct weft_offset_key *key,
                                           size_t metadata_size, size_t bytes_beside, size_t bytes_max,
                                           struct weft_error *error);
// A record at `offset`: value NULL deletes. From a log that is read (then `durable` is called with its end) or appended.
void weft_offsets_apply(weft_offsets_t *self, int64_t offset, const struct weft_offset_key *key,
                        const struct weft_offset_value *value);
// All below is durable: it is what lookups answer.
void weft_offsets_durable(weft_offsets_t *self, int64_t offset);

// Forgets what was applied at `offset` and above: it could not be appended after all. Nothing of it may be durable.
void weft_offsets_undo(weft_offsets_t *self, int64_t offset);

// As durable; false: nothing is there. Slices are valid until the next change.
bool weft_offsets_find(const weft_offsets_t *self, const struct weft_offset_key *key, struct weft_offset_value *out);
// As appended last, durable or not; what a fence without an offset of its own keeps.
bool weft_offsets_newest(const weft_offsets_t *self, const struct weft_offset_key *key, struct weft_offset_value *out);
// Nothing of this key waits for the durable mark: newest and durable are the same.
bool weft_offsets_settled(const weft_offsets_t *self, const struct weft_offset_key *key);
typedef bool weft_offsets_each_fn(void *context, const struct weft_offset_key *key,
                                  const struct weft_offset_value *value); // false stops
// Of one group, or of all (group nil), group by group, as durable; false if `each` stopped it.
bool weft_offsets_each(const weft_offsets_t *self, weft_slice_t group, weft_offsets_each_fn *each, void *context);
// The same, as appended last.
bool weft_offsets_each_newest(const weft_offsets_t *self, weft_slice_t group, weft_offsets_each_fn *each,
                              void *context);
/**
 * Walks all entries, as appended last, in portions that changes may come between: looks at `steps` places from *cursor
 * (begin with 0) and returns the first entry there; *steps is what is left. False: none (*steps 0), or the end (*cursor
 * SIZE_MAX).
 */
bool weft_offsets_next(const weft_offsets_t *self, size_t *cursor, size_t *steps, struct weft_offset_key *key,
                       struct weft_offset_value *value);
size_t weft_offsets_count(const weft_offsets_t *self); // of entries, also of those that are not durable yet
size_t weft_offsets_bytes(const weft_offsets_t *self); // of memory: entries, groups, metadata, also what is not durable

// The records' bytes.
void weft_offset_encode(const struct weft_offset_key *key, const struct weft_offset_value *value, weft_buf_t *key_out,
                        weft_buf_t *value_out);
// BAD_FRAME: of a record that nobody here wrote; readers pass it over and count it. value_bytes nil: *has_value false.
WEFT_MUST_USE weft_err_t weft_offset_decode(weft_slice_t key_bytes, weft_slice_t value_bytes,
                                            struct weft_offset_key *key, struct weft_offset_value *value,
                                            bool *has_value);

void weft_offsets_check(const weft_offsets_t *self);

#endif
