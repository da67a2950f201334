// SPDX-License-Identifier: MPL-2.0
// The clients of a filter, from its options; and whether two clusters are one.
#include "filter_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <weft/admin.h>
#include <weft_gen/config.h>

// As clients have it: what was set, then the environment, then the default.
const char *filter_source_endpoints(const weft_options_t *options)
{
    const char *environment = getenv("WEFT_BOOTSTRAP");
    bool is_set = weft_options_is_set(options, "bootstrap") || !environment || !environment[0];
    return is_set ? weft_options_text(options, "bootstrap") : environment;
}

const char *filter_target_endpoints(const weft_options_t *options)
{
    const char *target = weft_options_text(options, "target");
    return target[0] ? target : filter_source_endpoints(options);
}

// "first=...", what is fixed, then "a=1,b=2" of a person. NULL at the end; every one and the list is freed by s_free_list.
static char **s_settings(const char *const *fixed, const char *more)
{
    size_t count = 1, used = 0;
    for (const char *const *at = fixed; *at; at++) count++;
    for (const char *at = more; *at; at++) count += *at == ',';
    char **list = weft_calloc(count + 1, sizeof *list);
    for (const char *const *at = fixed; *at; at++) list[used++] = weft_strdup(*at);
    while (*more) {
        size_t size = strcspn(more, ",");
        if (size > 0) list[used++] = weft_slice_dup(weft_slice(more, size));
        more += size + (more[size] == ',');
    }
    return list;
}

static void s_free_list(char **list)
{
    for (char **at = list; *at; at++) free(*at);
    free(list);
}

weft_err_t filter_open_consumer(const weft_hosted_node_t *node, const weft_options_t *options, weft_consumer_t **out,
                                struct weft_error *error)
{
    char bootstrap[4200], client[100], group[640];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", filter_source_endpoints(options));
    snprintf(client, sizeof client, "client=%.80s", weft_node_name(node));
    const char *name = weft_options_text(options, "group");
    if (name[0])
        snprintf(group, sizeof group, "group=%s", name);
    else
        snprintf(group, sizeof group, "group=%.64s.%.90s.%.90s", weft_node_name(node),
                 weft_options_text(options, "topic"), weft_options_text(options, "target.topic"));
    const char *from = weft_options_int(options, "from") == WEFT_FILTER_FROM_LATEST ? "reset=latest" : "reset=earliest";
    char **settings = s_settings((const char *[]){bootstrap, client, group, from, "auto.commit.ms=0", "session.ms=3s",
                                                  "max.poll.records=10000", "buffer.bytes=16MiB", NULL},
                                 weft_options_text(options, "consumer"));
    weft_err_t err = weft_consumer_new((const char *const *) settings, out, error);
    s_free_list(settings);
    if (err || weft_consumer_option_int(*out, "auto.commit.ms") == 0) return err;
    weft_consumer_destroy(out);
    return weft_node_refuse(error, WEFT_ERR_INVALID_OPTION,
                            "consumer: auto.commit.ms would commit records that are not written yet; leave it out.");
}

weft_err_t filter_open_producer(const weft_hosted_node_t *node, const weft_options_t *options, weft_producer_t **out,
                                weft_topic_t **target, struct weft_error *error)
{
    char bootstrap[4200], client[100];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", filter_target_endpoints(options));
    snprintf(client, sizeof client, "client=%.80s", weft_node_name(node));
    // However long the target is away, records wait for it.
    char **settings = s_settings((const char *[]){bootstrap, client, "delivery.timeout.ms=3650d", NULL},
                                 weft_options_text(options, "producer"));
    weft_err_t err = weft_producer_new((const char *const *) settings, out, error);
    s_free_list(settings);
    if (err) return err;
    err = weft_producer_topic(*out, weft_options_text(options, "target.topic"), target);
    if (!err) return WEFT_OK;
    weft_node_refuse(error, err, "target.topic: %s", weft_producer_error_text(*out));
    weft_producer_destroy(out);
    return err;
}

static weft_err_t s_cluster_of(const char *endpoints, weft_id_t *out)
{
    char setting[4200], first[256];
    snprintf(setting, sizeof setting, "bootstrap=%s", endpoints);
    snprintf(first, sizeof first, "%.*s", (int) strcspn(endpoints, ","), endpoints);
    weft_admin_t *admin = NULL;
    weft_node_hello_t *hello = NULL;
    weft_err_t err = weft_admin_new((const char *[]){setting, "request.timeout.ms=1s", NULL}, &admin, NULL);
    if (!err) err = weft_admin_hello(admin, first, &hello);
    if (!err) *out = hello->cluster_id;
    weft_node_hello_destroy(&hello);
    weft_admin_destroy(&admin);
    return err;
}

weft_err_t filter_same_cluster(const weft_options_t *options, bool *same)
{
    weft_id_t from, to;
    weft_err_t err = s_cluster_of(filter_source_endpoints(options), &from);
    if (!err) err = s_cluster_of(filter_target_endpoints(options), &to);
    if (!err) *same = memcmp(from.bytes, to.bytes, sizeof from.bytes) == 0;
    return err;
}
