// SPDX-License-Identifier: MPL-2.0
/*
 * Topology files: whatever the text is, it is checked with sentences that have an end, or it is right; and what is
 * right has settings that its types take, is placed and drawn.
 */
#include "lib/base/assert.h"
#include "tests/unit/topology/types.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned s_port(void *context, const char *node, const char *option, const char *host, unsigned count)
{
    unsigned *next = context;
    unsigned port = *next;
    *next += count;
    return port;
}

static void s_check_problems(const weft_topology_t *topology)
{
    unsigned line = 0;
    for (size_t i = 0; i < weft_topology_problem_count(topology); i++) {
        const struct weft_topology_problem *problem = weft_topology_problem(topology, i);
        weft_assert(problem->line >= line && problem->text[0] && weft_text_is_clean(problem->text));
        line = problem->line;
    }
}

static void s_check_settings(const weft_topology_t *topology, size_t index)
{
    const struct weft_topology_node *node = weft_topology_node(topology, index);
    weft_options_t *options = weft_options_new(node->type->options, node->type->option_count, node->type->name);
    char **settings = weft_topology_settings(topology, index);
    for (size_t i = 0; settings[i]; i++) {
        weft_err_t err = weft_options_set_pair(options, settings[i], NULL);
        weft_assert(err == WEFT_OK);
    }
    free(settings);
    weft_options_destroy(&options);
    weft_assert(node->depth <= WEFT_TOPOLOGY_NODES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weft_topology_t *topology = weft_topology_parse("fuzz.conf", weft_slice(data, size));
    struct weft_topology_types types = types_known();
    bool good = weft_topology_check(topology, &types, &(struct weft_topology_how){.processes = size % 2});
    s_check_problems(topology);
    weft_buf_t picture;
    weft_buf_init(&picture);
    if (good) {
        unsigned next = 1024;
        weft_err_t err = weft_topology_place(topology, s_port, &next, NULL);
        weft_assert(err == WEFT_OK);
        for (size_t i = 0; i < weft_topology_node_count(topology); i++) s_check_settings(topology, i);
    }
    weft_topology_draw_text(topology, &picture);
    weft_topology_draw_svg(topology, &picture);
    weft_buf_fini(&picture);
    weft_topology_destroy(&topology);
    return 0;
}
