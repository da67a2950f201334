// SPDX-License-Identifier: MPL-2.0
/**
 * Cluster view: the answers that every node gives from its cluster state, so that one known endpoint is enough for
 * a client.
 *
 * metadata and topic_describe whole, and the refusals that name who and where: an unknown topic with the nearest
 * name that exists, a topic that was replaced, a partition that somebody else leads. Pure; what is appended to
 * `out` is an encoded reply header.
 */
#ifndef WEFT_CORE_CLUSTER_VIEW_H
#define WEFT_CORE_CLUSTER_VIEW_H

#include "cluster.h"

#include <weft_gen/messages.h>

/**
 * The topic that a request names: by name, by id, or by both (REPLICATION.md rule 12). UNKNOWN_TOPIC, with the
 * nearest name; TOPIC_REPLACED if the name belongs to another id by now.
 */
WEFT_MUST_USE weft_err_t weft_cluster_find_topic(const weft_cluster_t *self, weft_slice_t name, weft_id_t id,
                                                 const struct weft_cluster_topic **out, struct weft_error *error);
/** Likewise, and that it has the partition: UNKNOWN_TOPIC otherwise. */
WEFT_MUST_USE weft_err_t weft_cluster_find_partition(const weft_cluster_t *self, weft_slice_t name, weft_id_t id,
                                                     uint32_t partition, const struct weft_cluster_topic **out,
                                                     struct weft_error *error);

// Endpoint of the shard that leads the partition, "" if none does. `partition` must exist.
const char *weft_cluster_leader_endpoint(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                         uint32_t partition);
// "Made by Weft for itself": such names begin with two underscores.
bool weft_topic_name_is_internal(weft_slice_t name);

/**
 * NOT_LEADER with the leader's id and endpoint; when nobody leads, a sentence that says which brokers could.
 * `partition` must exist.
 */
void weft_cluster_not_leader_encode(const weft_cluster_t *self, const struct weft_cluster_topic *topic,
                                    uint32_t partition, uint64_t id, weft_buf_t *out);
void weft_cluster_metadata_encode(const weft_cluster_t *self, const struct weft_metadata_request *request,
                                  weft_buf_t *out);
void weft_cluster_topic_describe_encode(const weft_cluster_t *self, const struct weft_topic_describe_request *request,
                                        weft_buf_t *out);

#endif
