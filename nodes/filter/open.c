// SPDX-License-Identifier: MPL-2.0
// The clients of a filter, from its options; and whether two clusters are one.
#include "filter_inner.h"

#include "../common/clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <weft/admin.h>
#include <weft_gen/config.h>

const char *weft_filter_target_endpoints(const weft_options_t *options)
{
    const char *target = weft_options_text(options, "target");
    return target[0] ? target : weft_options_text(options, "bootstrap");
}

weft_err_t weft_filter_open_consumer(const weft_hosted_node_t *node, const weft_options_t *options,
                                     weft_consumer_t **out, struct weft_error *error)
{
    char group[640];
    const char *name = weft_options_text(options, "group");
    if (name[0])
        snprintf(group, sizeof group, "group=%s", name);
    else
        snprintf(group, sizeof group, "group=%.64s.%.90s.%.90s", weft_node_name(node),
                 weft_options_text(options, "topic"), weft_options_text(options, "target.topic"));
    const char *from = weft_options_int(options, "from") == WEFT_FILTER_FROM_LATEST ? "reset=latest" : "reset=earliest";
    const char *const own[] = {
        group, from, "auto.commit.ms=0", "session.ms=3s", "max.poll.records=10000", "buffer.bytes=16MiB", NULL};
    char **settings = weft_inside_settings(node, weft_options_text(options, "bootstrap"), own,
                                           weft_options_text(options, "consumer"));
    weft_err_t err = weft_consumer_new((const char *const *) settings, out, error);
    weft_list_free(&settings);
    if (err || weft_consumer_option_int(*out, "auto.commit.ms") == 0) return err;
    weft_consumer_destroy(out);
    return weft_node_refuse(error, WEFT_ERR_INVALID_OPTION,
                            "consumer: auto.commit.ms would commit records that are not written yet; leave it out.");
}

weft_err_t weft_filter_open_producer(const weft_hosted_node_t *node, const weft_options_t *options,
                                     weft_producer_t **out, weft_topic_t **target, struct weft_error *error)
{
    const char *const own[] = {"delivery.timeout.ms=3650d", NULL}; // however long the target is away, records wait
    char **settings =
        weft_inside_settings(node, weft_filter_target_endpoints(options), own, weft_options_text(options, "producer"));
    weft_err_t err = weft_producer_new((const char *const *) settings, out, error);
    weft_list_free(&settings);
    if (err) return err;
    err = weft_producer_topic(*out, weft_options_text(options, "target.topic"), target);
    if (!err) return WEFT_OK;
    weft_node_refuse(error, err, "target.topic: %s", weft_producer_error_text(*out));
    weft_producer_destroy(out);
    return err;
}

static weft_err_t s_cluster_of(const weft_hosted_node_t *node, const char *endpoints, weft_id_t *out)
{
    char **settings = weft_inside_settings(node, endpoints, (const char *[]){"request.timeout.ms=1s", NULL}, "");
    char **nodes = weft_list_split(endpoints);
    weft_admin_t *admin = NULL;
    weft_node_hello_t *hello = NULL;
    weft_err_t err = weft_admin_new((const char *const *) settings, &admin, NULL);
    if (!err) err = weft_admin_hello(admin, nodes[0] ? nodes[0] : "", &hello);
    if (!err) *out = hello->cluster_id;
    weft_node_hello_destroy(&hello);
    weft_admin_destroy(&admin);
    weft_list_free(&nodes);
    weft_list_free(&settings);
    return err;
}

weft_err_t weft_filter_same_cluster(const weft_hosted_node_t *node, const weft_options_t *options, bool *same)
{
    weft_id_t from, to;
    weft_err_t err = s_cluster_of(node, weft_options_text(options, "bootstrap"), &from);
    if (!err) err = s_cluster_of(node, weft_filter_target_endpoints(options), &to);
    if (!err) *same = memcmp(from.bytes, to.bytes, sizeof from.bytes) == 0;
    return err;
}
