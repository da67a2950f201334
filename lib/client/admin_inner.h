// SPDX-License-Identifier: MPL-2.0
/**
 * What admin.c (the calls) and admin_results.c (answers as plain structs) share.
 */
#ifndef WEFT_CLIENT_ADMIN_INNER_H
#define WEFT_CLIENT_ADMIN_INNER_H

#include "../base/bytes.h"

#include <weft/admin.h>
#include <weft_gen/messages.h>

weft_topic_config_t *weft_topic_config_of(const struct weft_topic_describe_reply *reply);
weft_metadata_t *weft_metadata_of(const struct weft_metadata_reply *reply);
weft_cluster_health_t *weft_cluster_health_of(const struct weft_cluster_status_reply *reply);
weft_node_report_t *weft_node_report_of(const struct weft_node_status_reply *reply);
weft_node_hello_t *weft_node_hello_of(const struct weft_hello_reply *reply, int64_t round_trip_us);

#endif
