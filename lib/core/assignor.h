// SPDX-License-Identifier: MPL-2.0
/**
 * Assignor: which member of a consumer group is to hold which partition. Pure; same input, same output.
 *
 * uniform: every member gets as many partitions as the others, but for one, as far as subscriptions allow; of all such
 * assignments one that moves as few partitions as possible from who has them now (KIP-54's stickiness), and among those
 * left free, partitions with a replica in the member's rack first (KIP-881). Members with equal subscriptions are the
 * common case and cost O((P + M) log M); others are balanced greedily, least loaded first, in bounded work, until no
 * partition could go to a member that has two fewer.
 *
 * range: per topic, the members that read it, in order of instance name or else member id, get ranges of partition
 * numbers of equal length, the first ones one more; topics with as many partitions are so co-partitioned. Not sticky.
 */
#ifndef WEFT_CORE_ASSIGNOR_H
#define WEFT_CORE_ASSIGNOR_H

#include "../base/bytes.h"

enum weft_assignor { WEFT_ASSIGNOR_UNIFORM, WEFT_ASSIGNOR_RANGE, WEFT_ASSIGNOR_NONE };
enum weft_assignor weft_assignor_of_name(weft_slice_t name); // NONE: there is no such
const char *weft_assignor_name(enum weft_assignor assignor);

struct weft_assign_topic {
    weft_id_t id;
    uint32_t partition_count;
    const uint32_t *rack_first; // per partition, position in `racks`, and one more for the end; NULL: no racks known
    const uint32_t *racks;      // numbers of racks, as in the members, of the replicas; any other is passed over
};

struct weft_assign_member {
    weft_slice_t order;     // instance name or member id: unique, gives the order of members
    uint32_t rack;          // below member_count; UINT32_MAX: none
    const uint32_t *topics; // ascending positions in the topics that it reads
    size_t topic_count;
};

/** owner[t][p]: position of the member, or -1. In: who holds it now (or is to). Out: who is to hold it. */
void weft_assign(enum weft_assignor assignor, const struct weft_assign_topic *topics, size_t topic_count,
                 const struct weft_assign_member *members, size_t member_count, int32_t *const *owner);

#endif
