// SPDX-License-Identifier: MPL-2.0
// weft topology check | draw: files of nodes, before anything runs.
#include "run.h"

#include <string.h>

// ---- check

static void s_json_nodes(const weft_topology_t *topology, cli_json_t *json)
{
    cli_json_open(json, "nodes", '[');
    for (size_t i = 0; i < weft_topology_node_count(topology); i++) {
        const struct weft_topology_node *node = weft_topology_node(topology, i);
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "name", node->name);
        cli_json_text(json, "type", node->type_name);
        cli_json_int(json, "line", node->line);
        if (node->type) cli_json_text(json, "endpoint", weft_topology_endpoint(topology, i));
        if (node->cluster != WEFT_TOPOLOGY_NONE)
            cli_json_text(json, "cluster", weft_topology_node(topology, node->cluster)->name);
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

static void s_check_json(const weft_topology_t *topology)
{
    cli_json_t json;
    cli_json_init(&json);
    cli_json_open(&json, NULL, '{');
    cli_json_text(&json, "file", weft_topology_path(topology));
    cli_json_text(&json, "topology", weft_topology_name(topology));
    cli_json_bool(&json, "good", weft_topology_problem_count(topology) == 0);
    cli_json_open(&json, "problems", '[');
    for (size_t i = 0; i < weft_topology_problem_count(topology); i++) {
        const struct weft_topology_problem *problem = weft_topology_problem(topology, i);
        cli_json_open(&json, NULL, '{');
        cli_json_int(&json, "line", problem->line);
        cli_json_text(&json, "text", problem->text);
        cli_json_close(&json, '}');
    }
    cli_json_close(&json, ']');
    cli_json_int(&json, "problems_dropped", (int64_t) weft_topology_problems_dropped(topology));
    s_json_nodes(topology, &json);
    cli_json_close(&json, '}');
    cli_json_print(&json, stdout);
    cli_json_fini(&json);
}

static void s_check_text(const weft_topology_t *topology)
{
    size_t clusters = 0, nodes = weft_topology_node_count(topology), topics = weft_topology_topic_count(topology);
    for (size_t i = 0; i < nodes; i++) clusters += weft_topology_node(topology, i)->cluster == i;
    printf("%s: %zu node%s, %zu cluster%s, %zu topic%s to be made; no problem\n", weft_topology_path(topology), nodes,
           nodes == 1 ? "" : "s", clusters, clusters == 1 ? "" : "s", topics, topics == 1 ? "" : "s");
}

static int s_check(const struct cli_args *args)
{
    struct run_types types;
    run_types_init(&types);
    struct weft_topology_how how = {.processes = cli_has(args, "--processes")};
    weft_topology_t *topology = run_load(args, args->arguments[0], &types, &how);
    int status = topology && weft_topology_problem_count(topology) == 0 ? CLI_DONE : CLI_FAILED;
    if (topology && cli_json(args))
        s_check_json(topology);
    else if (topology && status == CLI_DONE)
        s_check_text(topology);
    else if (topology)
        run_print_problems(topology, stderr);
    weft_topology_destroy(&topology);
    run_types_fini(&types);
    return status;
}

// ---- draw

static int s_draw(const struct cli_args *args)
{
    struct run_types types;
    run_types_init(&types);
    weft_topology_t *topology = run_load(args, args->arguments[0], &types, &(struct weft_topology_how){.data = NULL});
    int status = topology && weft_topology_problem_count(topology) == 0 ? CLI_DONE : CLI_FAILED;
    if (status == CLI_DONE) {
        weft_buf_t picture;
        weft_buf_init(&picture);
        if (cli_has(args, "--svg"))
            weft_topology_draw_svg(topology, &picture);
        else
            weft_topology_draw_text(topology, &picture);
        fwrite(picture.data, 1, picture.size, stdout);
        weft_buf_fini(&picture);
    } else if (topology) {
        run_print_problems(topology, stderr);
    }
    weft_topology_destroy(&topology);
    run_types_fini(&types);
    return status;
}

static const struct cli_option s_check_options[] = {
    {"--processes", NULL, NULL, false, "As 'weft up FILE --processes' would run it."}, {0}};
static const struct cli_option s_draw_options[] = {{"--svg", NULL, NULL, false, "Print SVG instead of text."}, {0}};

const struct cli_verb cli_verb_topology_check = {
    "topology check",
    "FILE",
    1,
    1,
    "Tell all that is wrong with a topology file, without running anything.",
    "Unknown types, keys and nodes, wrong values, two nodes on one endpoint or directory, missing parts, loops: each "
    "with its line and what to do. Exit status 1 if there is a problem.",
    "  weft topology check topologies/three-broker.conf",
    s_check_options,
    false,
    true,
    s_check};
const struct cli_verb cli_verb_topology_draw = {"topology draw",
                                                "FILE",
                                                1,
                                                1,
                                                "Draw a topology file: nodes and the ways of records between them.",
                                                NULL,
                                                "  weft topology draw topologies/fan-out.conf\n"
                                                "  weft topology draw topologies/fan-out.conf --svg > fan-out.svg",
                                                s_draw_options,
                                                false,
                                                false,
                                                s_draw};
