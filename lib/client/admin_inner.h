// SPDX-License-Identifier: MPL-2.0
/**
 * What admin.c, admin_cluster.c, admin_groups.c (the calls) and admin_results.c (answers as plain structs) share.
 */
#ifndef WEFT_CLIENT_ADMIN_INNER_H
#define WEFT_CLIENT_ADMIN_INNER_H

#include "../base/bytes.h"

#include "admin_part.h"
#include "driver.h"

#include <weft/admin.h>
#include <weft_gen/messages.h>

struct weft_admin {
    weft_admin_part_t *part; // belongs to the driver
    struct weft_driver *driver;
    weft_options_t *options;
    int64_t timeout_us;
    weft_admin_wait_fn *on_wait; // NULL: nobody asks
    void *on_wait_context;
    int64_t on_wait_us;
    weft_codec_t codec;
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

// Every call: begin, encode into the call's header, run, decode the reply.
static inline struct weft_call *weft_admin_begin(weft_admin_t *self, enum weft_call_to to)
{
    return weft_admin_part_begin(self->part, to, NULL, 0, NULL);
}
static inline weft_slice_t weft_admin_reply(const weft_admin_t *self)
{
    return weft_admin_part_reply(self->part);
}
weft_err_t weft_admin_say(weft_admin_t *self, weft_err_t error, const char *text); // keeps the sentence
weft_err_t weft_admin_run(weft_admin_t *self);                                     // until the call under way is done
weft_err_t weft_admin_run_many(weft_admin_t *self);                                // until all of the part's many are
weft_err_t weft_admin_decoded(weft_admin_t *self, weft_err_t err, const struct weft_error *why);
weft_err_t weft_admin_check_topic(weft_admin_t *self, const char *topic);
// After UNKNOWN_TOPIC: adds the nearest name that exists, unless the server said so. Returns `error` whatever happens.
weft_err_t weft_admin_suggest(weft_admin_t *self, weft_err_t error, const char *topic);

// A result in front of the arena that holds all it points to; freed with it. NULL is accepted.
void *weft_admin_block_new(size_t bytes, weft_arena_t **arena);
void weft_admin_block_free(void *body);
weft_arena_t *weft_admin_block_arena(void *body);

weft_topic_config_t *weft_topic_config_of(const struct weft_topic_describe_reply *reply);
weft_metadata_t *weft_metadata_of(const struct weft_metadata_reply *reply);
weft_cluster_health_t *weft_cluster_health_of(const struct weft_cluster_status_reply *reply);
weft_moves_t *weft_moves_of_reassign(const struct weft_reassign_reply *reply);
weft_moves_t *weft_moves_of_list(const struct weft_reassign_list_reply *reply);
weft_moves_t *weft_moves_of_balance(const struct weft_balance_reply *reply);
weft_group_info_t *weft_group_info_of(const struct weft_group_describe_reply *reply, bool known);
void weft_group_info_merge(weft_group_info_t *self, const weft_group_offsets_t *offsets);
weft_node_report_t *weft_node_report_of(const struct weft_node_status_reply *reply);
weft_node_hello_t *weft_node_hello_of(const struct weft_hello_reply *reply, int64_t round_trip_us);

#endif
