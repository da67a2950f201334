// SPDX-License-Identifier: MPL-2.0
/*
 * The loop of `weft up FILE`, and the two ways in which the set of nodes changes: the file is read again (SIGHUP), or
 * all is stopped.
 *
 * A file that is read again is judged whole before anything is touched. Then nodes that are gone or changed stop, the
 * deepest first (those that others connect to last), and what is new or changed starts the other way round. Nodes whose
 * settings are the same, references replaced, are not touched; ports of tcp://HOST:* stay with their node.
 */
#include "run.h"

#include "../lib/hosted_node.h"
#include "../lib/net/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define S_TURN_MS_STARTING 20
#define S_TURN_MS 100
#define S_FILE_US 1000000    // how often the file is looked at
#define S_SETTLE_US 10000000 // that long degraded nodes may get well before all counts as ready

struct s_file {
    struct timespec changed;
    off_t size;
    ino_t inode;
};

struct s_loop {
    struct run run;
    int signals;
    bool hup_ignored; // nohup: a terminal that goes away is no reason to end
    bool terminals[3];
    struct s_file seen, told;
    int64_t file_us, up_us;
};

char *run_bootstrap(const struct run *run)
{
    size_t found = WEFT_TOPOLOGY_NONE;
    for (size_t i = 0; i < weft_topology_node_count(run->topology); i++) {
        const struct weft_topology_node *node = weft_topology_node(run->topology, i);
        if (node->cluster == WEFT_TOPOLOGY_NONE) continue;
        bool broker = strcmp(node->type->name, "broker") == 0;
        if (broker || found == WEFT_TOPOLOGY_NONE) found = i;
        if (broker) break;
    }
    return found == WEFT_TOPOLOGY_NONE ? weft_strdup("") : weft_topology_bootstrap(run->topology, found);
}

// ---- the set of nodes

static int s_by_depth(const void *a, const void *b)
{
    const struct run_node *one = *(struct run_node *const *) a, *two = *(struct run_node *const *) b;
    if (one->depth != two->depth) return one->depth < two->depth ? -1 : 1;
    return strcmp(one->name, two->name);
}

// The node that runs as the file has it; NULL: none does.
static struct run_node *s_find_same(const struct run *run, const weft_topology_t *topology, size_t index)
{
    for (size_t i = 0; i < run->node_count; i++) {
        if (strcmp(run->nodes[i]->name, weft_topology_node(topology, index)->name) == 0)
            return run_node_is(run->nodes[i], topology, index, run->how.processes) ? run->nodes[i] : NULL;
    }
    return NULL;
}

// Begins to stop those of one depth; returns how many there are.
static size_t s_begin_stop(struct run *run, struct run_node **nodes, size_t count, size_t depth)
{
    size_t begun = 0;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i]->depth != depth || nodes[i]->state == RUN_STOPPED) continue;
        if (nodes[i]->pid > 0 || nodes[i]->hosted) run_say(run, nodes[i]->name, "stops");
        run_node_stop_begin(run, nodes[i]);
        begun++;
    }
    return begun;
}

// While some stop because the file has changed, the others are watched and started again as ever.
static void s_look_at_others(struct run *run)
{
    for (size_t i = 0; i < run->node_count && !run->stopping; i++)
        if (!run->nodes[i]->stopping) run_node_look(run, run->nodes[i]);
}

// Stops all of a list, deepest first; those of one depth together.
static void s_stop_nodes(struct run *run, struct run_node **nodes, size_t count)
{
    for (size_t depth = WEFT_TOPOLOGY_NODES_MAX + 1; depth-- > 0;) {
        if (s_begin_stop(run, nodes, count, depth) == 0) continue;
        for (bool left = true; left;) {
            left = false;
            for (size_t i = 0; i < count; i++)
                if (nodes[i]->depth == depth && !run_node_stop_done(run, nodes[i])) left = true;
            s_look_at_others(run);
            run_show(run);
            if (left) cli_sleep_ms(10);
        }
        for (size_t i = 0; i < count; i++)
            if (nodes[i]->depth == depth) nodes[i]->state = RUN_STOPPED;
    }
}

// The nodes of a checked and placed topology take the place of those that run.
static void s_take_over(struct run *run, weft_topology_t *topology)
{
    size_t count = weft_topology_node_count(topology), gone_count = 0;
    struct run_node **nodes = weft_calloc(count + 1, sizeof *nodes);
    struct run_node **gone = weft_calloc(run->node_count + 1, sizeof *gone);
    for (size_t i = 0; i < count; i++) nodes[i] = s_find_same(run, topology, i);
    for (size_t i = 0; i < run->node_count; i++) {
        size_t k = 0;
        while (k < count && nodes[k] != run->nodes[i]) k++;
        if (k == count) gone[gone_count++] = run->nodes[i];
    }
    s_stop_nodes(run, gone, gone_count);
    for (size_t i = 0; i < gone_count; i++) run_node_destroy(&gone[i]);
    free(gone);
    free(run->nodes);
    for (size_t i = 0; i < count; i++) {
        if (!nodes[i]) nodes[i] = run_node_new(topology, i, run->how.processes);
        nodes[i]->depth = weft_topology_node(topology, i)->depth;
    }
    qsort(nodes, count, sizeof *nodes, s_by_depth);
    run->nodes = nodes;
    run->node_count = count;
    run_topics_destroy(&run->topics);
    weft_topology_destroy(&run->topology);
    run->topology = topology;
    run->topics = run_topics_new(topology);
    run->ready = false;
    run->changed = true;
}

// NULL: it can't be run, told.
static weft_topology_t *s_load(struct run *run)
{
    weft_topology_t *topology = run_load(run->args, run->path, &run->types, &run->how);
    if (!topology) return NULL;
    struct weft_error error = {0};
    if (weft_topology_problem_count(topology) > 0)
        run_print_problems(topology, stderr);
    else if (weft_topology_place(topology, run_port, &run->ports, &error) != WEFT_OK)
        cli_fail(run->args, "%s", error.text);
    else
        return topology;
    weft_topology_destroy(&topology);
    return NULL;
}

static void s_read_again(struct s_loop *loop)
{
    struct run *run = &loop->run;
    run_say(run, NULL, "%s is read again", run->path);
    weft_topology_t *topology = s_load(run);
    if (!topology) {
        run_say(run, NULL, "%s can't be run as it is now; all goes on as it was", run->path);
        return;
    }
    run->reloaded = true;
    s_take_over(run, topology);
    loop->up_us = cli_now_us();
}

// ---- the file

static struct s_file s_look_at(const char *path)
{
    struct stat what;
    if (stat(path, &what) != 0) return (struct s_file){0};
    return (struct s_file){what.st_mtim, what.st_size, what.st_ino};
}

static bool s_same_file(const struct s_file *a, const struct s_file *b)
{
    return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec && a->size == b->size &&
           a->inode == b->inode;
}

// A change is told, not taken over: a file that is half written may look whole.
static void s_watch_file(struct s_loop *loop)
{
    if (cli_now_us() - loop->file_us < S_FILE_US) return;
    loop->file_us = cli_now_us();
    struct s_file now = s_look_at(loop->run.path);
    if (now.inode == 0 || s_same_file(&now, &loop->seen) || s_same_file(&now, &loop->told)) return;
    loop->told = now;
    run_say(&loop->run, NULL,
            "%s has changed; kill -HUP %d takes it over (weft topology check tells whether it is right)",
            loop->run.path, (int) getpid());
}

// ---- signals

static bool s_terminal_is_gone(const struct s_loop *loop)
{
    for (int fd = 0; fd < 3; fd++) {
        struct pollfd look = {.fd = fd};
        if (loop->terminals[fd] && poll(&look, 1, 0) == 1 && (look.revents & (POLLHUP | POLLERR))) return true;
    }
    return false;
}

static void s_take_signal(struct s_loop *loop)
{
    struct signalfd_siginfo info;
    while (read(loop->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) continue; // the turn looks at all children
        if (info.ssi_signo == SIGCONT) {
            run_show_forget(&loop->run);
            continue;
        }
        if (info.ssi_signo == SIGHUP) {
            bool hung_up = info.ssi_code == SI_KERNEL || s_terminal_is_gone(loop);
            if (!hung_up) {
                loop->seen = loop->told = s_look_at(loop->run.path);
                s_read_again(loop);
            } else if (!loop->hup_ignored) {
                loop->run.stopping = true;
            }
            continue;
        }
        loop->run.stopping = true;
    }
}

// From now on SIGTERM and SIGINT end the process at once; children go with it. A shell has its background jobs ignore
// SIGINT: the first one came through the descriptor all the same, so the second one shall not be lost.
static void s_let_signals_end(void)
{
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void s_take_over_signals(struct s_loop *loop)
{
    struct sigaction hangup;
    loop->hup_ignored = sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN;
    signal(SIGHUP, SIG_DFL); // blocked below; ignored it would never be seen
    for (int fd = 0; fd < 3; fd++) loop->terminals[fd] = isatty(fd);
    weft_process_begin();
    sigset_t set;
    sigemptyset(&set);
    const int all[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGCONT};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sigaddset(&set, all[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    loop->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// ---- turns

static void s_wait(struct s_loop *loop)
{
    struct run *run = &loop->run;
    struct pollfd *fds = weft_calloc(1 + 2 * run->node_count, sizeof *fds);
    nfds_t count = 0;
    fds[count++] = (struct pollfd){.fd = loop->signals, .events = POLLIN};
    for (size_t i = 0; i < run->node_count; i++) {
        if (run->nodes[i]->err.fd >= 0) fds[count++] = (struct pollfd){.fd = run->nodes[i]->err.fd, .events = POLLIN};
        if (run->nodes[i]->report.fd >= 0)
            fds[count++] = (struct pollfd){.fd = run->nodes[i]->report.fd, .events = POLLIN};
    }
    poll(fds, count, run->ready ? S_TURN_MS : S_TURN_MS_STARTING);
    if (fds[0].revents) s_take_signal(loop);
    free(fds);
}

static bool s_is_ready(struct s_loop *loop)
{
    struct run *run = &loop->run;
    bool settled = cli_now_us() - loop->up_us >= S_SETTLE_US;
    for (size_t i = 0; i < run->node_count; i++) {
        const struct run_node *node = run->nodes[i];
        bool good = node->state == RUN_DONE || (node->state == RUN_UP && node->health == WEFT_HEALTH_SERVING);
        if (!good && !(settled && node->state == RUN_UP && node->health == WEFT_HEALTH_DEGRADED)) return false;
    }
    struct run_topic_view views[WEFT_TOPOLOGY_TOPICS_MAX];
    unsigned changes;
    size_t count = run_topics_view(run->topics, views, WEFT_TOPOLOGY_TOPICS_MAX, &changes);
    for (size_t i = 0; i < count; i++)
        if (!views[i].made && !(settled && views[i].refused)) return false;
    return true;
}

static size_t s_topics_missing(const struct run *run)
{
    struct run_topic_view views[WEFT_TOPOLOGY_TOPICS_MAX];
    unsigned changes;
    size_t count = run_topics_view(run->topics, views, WEFT_TOPOLOGY_TOPICS_MAX, &changes), missing = 0;
    for (size_t i = 0; i < count; i++) missing += !views[i].made;
    return missing;
}

static void s_tell_ready(struct s_loop *loop)
{
    struct run *run = &loop->run;
    run->ready = run->changed = true;
    char *bootstrap = run_bootstrap(run);
    size_t missing = s_topics_missing(run);
    char but[64] = "";
    if (missing > 0) snprintf(but, sizeof but, ", but %zu topic%s could not be made", missing, missing == 1 ? "" : "s");
    run_say(run, NULL, "%s serves: %zu node%s, data in %s%s%s%s", weft_topology_name(run->topology), run->node_count,
            run->node_count == 1 ? "" : "s", weft_topology_data(run->topology), but,
            *bootstrap ? "\n  export WEFT_BOOTSTRAP=" : "", bootstrap);
    free(bootstrap);
    if (run_write_ready(run)) return;
    run->status = cli_fail(run->args, "can't write the ready file '%s'", cli_get(run->args, "--ready-file"));
    run->stopping = true;
}

static void s_tell_topics(struct run *run)
{
    struct run_topic_view view;
    while (run_topics_news(run->topics, &view)) {
        if (view.made)
            run_complain(run, NULL, "topic '%s' differs from the file: %s", view.name, view.sentence);
        else
            run_complain(run, NULL, "topic '%s' could not be made: %s; it is tried again", view.name, view.sentence);
    }
}

static void s_serve(struct s_loop *loop)
{
    struct run *run = &loop->run;
    loop->up_us = cli_now_us();
    while (!run->stopping && !run->ended) {
        for (size_t i = 0; i < run->node_count; i++) run_node_look(run, run->nodes[i]);
        s_tell_topics(run);
        if (!run->ready && s_is_ready(loop)) s_tell_ready(loop);
        s_watch_file(loop);
        run_show(run);
        s_wait(loop);
    }
}

static void s_stop(struct s_loop *loop)
{
    struct run *run = &loop->run;
    run->stopping = true;
    s_let_signals_end();
    run_topics_end(run->topics);
    s_stop_nodes(run, run->nodes, run->node_count);
    run_show_end(run);
    if (run->status == CLI_DONE) run_say(run, NULL, "%s stopped cleanly", weft_topology_name(run->topology));
}

int cli_run_topology(const struct cli_args *args)
{
    struct s_loop *loop = weft_calloc(1, sizeof *loop);
    struct run *run = &loop->run;
    *run = (struct run){.args = args,
                        .path = args->arguments[0],
                        .once = cli_has(args, "--once"),
                        .how = {.processes = cli_has(args, "--processes")},
                        .started_ms = cli_wall_ms()};
    if (cli_has(args, "--data")) run->how.data = cli_get(args, "--data");
    run_types_init(&run->types);
    loop->seen = s_look_at(run->path);
    weft_topology_t *topology = s_load(run);
    if (topology) {
        weft_hosted_node_ends_are_told();
        s_take_over_signals(loop);
        run->show = run_show_new(args);
        s_take_over(run, topology);
        s_serve(loop);
        s_stop(loop);
        close(loop->signals);
    } else {
        run->status = CLI_FAILED;
    }
    for (size_t i = 0; i < run->node_count; i++) run_node_destroy(&run->nodes[i]);
    free(run->nodes);
    run_topics_destroy(&run->topics);
    run_show_destroy(&run->show);
    weft_topology_destroy(&run->topology);
    run_types_fini(&run->types);
    run_ports_fini(&run->ports);
    int status = run->status;
    free(loop);
    return status;
}
