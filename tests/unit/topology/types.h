// SPDX-License-Identifier: MPL-2.0
/**
 * Node types for the tests of topologies: tables alone, with the roles that real ones have.
 */
#ifndef WEFT_TESTS_TOPOLOGY_TYPES_H
#define WEFT_TESTS_TOPOLOGY_TYPES_H

#include "lib/topology/topology.h"

#include <stdio.h>
#include <string.h>

#define TEXT(name_, initial_, role_) \
    { \
        .name = name_, .type = WEFT_OPTION_TEXT, .initial = initial_, .min = 0, .max = 4096, .doc = "d", .role = role_ \
    }
#define NUMBER(name_, initial_, max_) \
    { \
        .name = name_, .type = WEFT_OPTION_INT, .initial = initial_, .min = 0, .max = max_, .doc = "d" \
    }

static const struct weft_option types_coordinator[] = {
    NUMBER("id", "1", 1000),
    TEXT("data", "weft-data", WEFT_OPTION_ROLE_PATH),
    TEXT("listen", "tcp://127.0.0.1:9651", WEFT_OPTION_ROLE_LISTEN),
    TEXT("advertise", "", WEFT_OPTION_ROLE_NONE),
    TEXT("coordinators", "", WEFT_OPTION_ROLE_CONTROL),
};
static const struct weft_option types_broker[] = {
    NUMBER("id", "1", 1000),
    NUMBER("shards", "1", 64),
    TEXT("data", "weft-data", WEFT_OPTION_ROLE_PATH),
    TEXT("listen", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_LISTEN),
    TEXT("advertise", "", WEFT_OPTION_ROLE_NONE),
    TEXT("coordinators", "tcp://127.0.0.1:9651", WEFT_OPTION_ROLE_CONTROL),
    TEXT("replica.listen", "", WEFT_OPTION_ROLE_LISTEN),
    TEXT("replica.advertise", "", WEFT_OPTION_ROLE_NONE),
};
static const struct weft_option types_tap[] = {
    TEXT("name", "tap", WEFT_OPTION_ROLE_NONE),
    TEXT("bootstrap", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_SOURCE),
    TEXT("topic", "", WEFT_OPTION_ROLE_SOURCE_TOPIC),
    TEXT("listen", "tcp://127.0.0.1:5557", WEFT_OPTION_ROLE_LISTEN),
    TEXT("from", "latest", WEFT_OPTION_ROLE_NONE),
};
static const struct weft_option types_recorder[] = {
    TEXT("bootstrap", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_TARGET),
    TEXT("topic", "", WEFT_OPTION_ROLE_TARGET_TOPIC),
    TEXT("listen", "", WEFT_OPTION_ROLE_LISTEN),
    TEXT("source", "", WEFT_OPTION_ROLE_SOURCE),
};
static const struct weft_option types_player[] = {
    TEXT("bootstrap", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_SOURCE),
    TEXT("topic", "", WEFT_OPTION_ROLE_SOURCE_TOPIC),
    TEXT("listen", "", WEFT_OPTION_ROLE_LISTEN),
    TEXT("target", "", WEFT_OPTION_ROLE_TARGET),
};
static const struct weft_option types_bridge[] = {
    TEXT("source", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_SOURCE),
    TEXT("topics", "*", WEFT_OPTION_ROLE_SOURCE_TOPIC),
    TEXT("target", "", WEFT_OPTION_ROLE_TARGET),
    TEXT("prefix", "", WEFT_OPTION_ROLE_TARGET_TOPIC),
    TEXT("except", "", WEFT_OPTION_ROLE_NONE),
};
static const struct weft_option types_filter[] = {
    TEXT("bootstrap", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_SOURCE),
    TEXT("topic", "", WEFT_OPTION_ROLE_SOURCE_TOPIC),
    TEXT("target", "", WEFT_OPTION_ROLE_TARGET),
    TEXT("target.topic", "", WEFT_OPTION_ROLE_TARGET_TOPIC),
    TEXT("where", "", WEFT_OPTION_ROLE_NONE),
};
static const struct weft_option types_edge[] = {
    TEXT("listen", "tcp://127.0.0.1:9660", WEFT_OPTION_ROLE_LISTEN),
    TEXT("bootstrap", "tcp://127.0.0.1:9650", WEFT_OPTION_ROLE_TARGET),
};

// As a type that judges its options by itself.
static inline void types_filter_check(const weft_options_t *options, weft_complain_fn *complain, void *context)
{
    if (!*weft_options_text(options, "target.topic")) complain(context, "target.topic", "target.topic has to be set.");
    if (strchr(weft_options_text(options, "where"), '('))
        complain(context, "where", "column %zu: no brackets.", strcspn(weft_options_text(options, "where"), "(") + 1);
}

#define TYPE(name_) \
    { \
        .abi = WEFT_NODE_ABI, .name = #name_, .doc = "d", .options = types_##name_, \
        .option_count = sizeof types_##name_ / sizeof *types_##name_ \
    }
static struct weft_node_type types_all[] = {TYPE(coordinator), TYPE(broker), TYPE(tap),    TYPE(recorder),
                                            TYPE(player),      TYPE(bridge), TYPE(filter), TYPE(edge)};
#define TYPES_COUNT (sizeof types_all / sizeof *types_all)

static inline const struct weft_node_type *types_find(void *context, const char *name, struct weft_error *error)
{
    for (size_t i = 0; i < TYPES_COUNT; i++)
        if (strcmp(types_all[i].name, name) == 0) return &types_all[i];
    (void) weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "there is no node type '%.64s'", name);
    return NULL;
}

static inline struct weft_topology_types types_known(void)
{
    static const char *names[TYPES_COUNT];
    for (size_t i = 0; i < TYPES_COUNT; i++) names[i] = types_all[i].name;
    types_all[6].traits = WEFT_NODE_OWN_PROCESS; // filter
    types_all[6].check = types_filter_check;
    return (struct weft_topology_types){NULL, types_find, names, TYPES_COUNT};
}

static inline weft_topology_t *types_check(const char *text)
{
    weft_topology_t *topology = weft_topology_parse("dir/test.conf", weft_slice_text(text));
    struct weft_topology_types types = types_known();
    weft_topology_check(topology, &types, &(struct weft_topology_how){.data = NULL});
    return topology;
}

// "LINE: sentence" a line.
static inline void types_problems(const weft_topology_t *topology, weft_buf_t *out)
{
    for (size_t i = 0; i < weft_topology_problem_count(topology); i++) {
        const struct weft_topology_problem *problem = weft_topology_problem(topology, i);
        weft_buf_printf(out, "%u: %s\n", problem->line, problem->text);
    }
    weft_buf_append(out, "", 1);
}

#endif
