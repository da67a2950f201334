// SPDX-License-Identifier: MPL-2.0
// One node of a topology, in this process or as a child, from start to start: its health, why it ended, and when it
// starts again. The back-off doubles with every end and begins anew after a while of good service.
#include "run.h"

#include "../lib/hosted_node.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool s_own_process(const weft_topology_t *topology, size_t index, bool processes)
{
    return processes || (weft_topology_node(topology, index)->type->traits & WEFT_NODE_OWN_PROCESS) != 0;
}

struct run_node *run_node_new(const weft_topology_t *topology, size_t index, bool processes)
{
    const struct weft_topology_node *node = weft_topology_node(topology, index);
    struct run_node *self = weft_calloc(1, sizeof *self);
    self->name = weft_strdup(node->name);
    self->type = weft_strdup(node->type_name);
    self->settings = weft_topology_settings(topology, index);
    self->own_process = s_own_process(topology, index, processes);
    self->depth = node->depth;
    self->stop_ms = weft_topology_stop_ms(topology, index);
    self->err.fd = self->report.fd = -1;
    snprintf(self->endpoint, sizeof self->endpoint, "%s", weft_topology_endpoint(topology, index));
    self->health = WEFT_HEALTH_STARTING;
    self->since_ms = cli_wall_ms();
    return self;
}

void run_node_destroy(struct run_node **self_p)
{
    struct run_node *self = *self_p;
    if (!self) return;
    free(self->name);
    free(self->type);
    free(self->settings);
    free(self->counters);
    free(self);
    *self_p = NULL;
}

bool run_node_is(const struct run_node *self, const weft_topology_t *topology, size_t index, bool processes)
{
    if (strcmp(self->type, weft_topology_node(topology, index)->type_name) != 0) return false;
    if (self->own_process != s_own_process(topology, index, processes)) return false;
    char **settings = weft_topology_settings(topology, index);
    size_t i = 0;
    while (self->settings[i] && settings[i] && strcmp(self->settings[i], settings[i]) == 0) i++;
    bool same = !self->settings[i] && !settings[i];
    free(settings);
    return same;
}

// ---- what becomes of it

void run_node_health(struct run *run, struct run_node *node, enum weft_health health, const char *sentence)
{
    bool good = health == WEFT_HEALTH_SERVING || health == WEFT_HEALTH_DEGRADED;
    if (!good) node->good_us = 0;
    if (good && !node->good_us) node->good_us = cli_now_us();
    bool same = health == node->health;
    if (same && strcmp(sentence, node->sentence) == 0) return;
    run->changed = true;
    snprintf(node->sentence, sizeof node->sentence, "%s", sentence);
    if (same) return;
    enum weft_health before = node->health;
    node->health = health;
    node->since_ms = cli_wall_ms();
    if (run->stopping) return; // the others go: of course it is degraded
    if (good && !node->served) {
        node->served = true;
        run_say(run, node->name, "serves%s%s%s%s%s", *node->endpoint ? " " : "", node->endpoint,
                health == WEFT_HEALTH_DEGRADED ? ", but is degraded: " : "",
                health == WEFT_HEALTH_DEGRADED ? sentence : "", "");
    } else if (health == WEFT_HEALTH_DEGRADED) {
        run_say(run, node->name, "is degraded: %s", sentence);
    } else if (health == WEFT_HEALTH_SERVING && before == WEFT_HEALTH_DEGRADED) {
        run_say(run, node->name, "is well again");
    }
}

void run_node_ended(struct run *run, struct run_node *node, bool in_order, const char *reason)
{
    bool long_good = node->good_us && cli_now_us() - node->good_us >= RUN_GOOD_MS * INT64_C(1000);
    node->since_ms = cli_wall_ms();
    node->good_us = 0;
    run->changed = true;
    if (node->stopping) {
        node->state = RUN_STOPPED;
        return;
    }
    snprintf(node->reason, sizeof node->reason, "%s", reason);
    node->reason_ms = node->since_ms;
    if (run->once) {
        run->ended = true;
        if (!in_order) run->status = CLI_FAILED;
    }
    snprintf(node->sentence, sizeof node->sentence, "%s", reason);
    if (in_order || run->once) {
        node->state = in_order ? RUN_DONE : RUN_STOPPED;
        node->health = in_order ? WEFT_HEALTH_STOPPING : WEFT_HEALTH_FAILED;
        run_say(run, node->name, in_order ? "has done its work" : "failed: %s", reason);
        return;
    }
    node->health = WEFT_HEALTH_FAILED;
    node->backoff_ms = long_good || !node->backoff_ms ? RUN_BACKOFF_MS_MIN : node->backoff_ms * 2;
    if (node->backoff_ms > RUN_BACKOFF_MS_MAX) node->backoff_ms = RUN_BACKOFF_MS_MAX;
    node->next_us = cli_now_us() + node->backoff_ms * 1000;
    node->state = RUN_WAITING;
    run_say(run, node->name, "failed: %s; it starts again in %lld ms", reason, (long long) node->backoff_ms);
}

void run_node_refused(struct run *run, struct run_node *node, const char *sentence, const char *reason)
{
    bool first = !node->created && !*node->reason && !run->reloaded && !run->once && !run->stopping;
    if (!first) {
        run_node_ended(run, node, false, reason);
        return;
    }
    node->state = RUN_STOPPED;
    node->health = WEFT_HEALTH_FAILED;
    node->since_ms = node->reason_ms = cli_wall_ms();
    snprintf(node->sentence, sizeof node->sentence, "%s", sentence);
    snprintf(node->reason, sizeof node->reason, "%s", reason);
    run_complain(run, node->name, "can't start: %s", sentence);
    run->status = CLI_FAILED;
    run->stopping = run->changed = true;
}

// ---- start, look, stop

void run_node_start(struct run *run, struct run_node *node)
{
    if (*node->reason) node->restarts++;
    node->served = false;
    node->state = RUN_UP;
    node->health = WEFT_HEALTH_STARTING;
    node->since_ms = cli_wall_ms();
    node->sentence[0] = '\0';
    run->changed = true;
    if (node->own_process) {
        run_child_start(run, node);
        return;
    }
    struct weft_error error = {0};
    weft_err_t err = weft_node_start(node->type, (const char *const *) node->settings, &node->hosted, &error);
    if (err == WEFT_OK)
        node->created = true;
    else if (weft_err_class(err) == WEFT_CLASS_RETRY)
        run_node_ended(run, node, false, error.text);
    else
        run_node_refused(run, node, error.text, error.text);
}

static void s_look_hosted(struct run *run, struct run_node *node)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    enum weft_health health = weft_node_health(node->hosted, sentence, sizeof sentence);
    if (health != WEFT_HEALTH_FAILED) {
        run_node_health(run, node, health, sentence);
        return;
    }
    run_node_count(node);
    weft_err_t err = weft_node_stop(&node->hosted); // its run has returned, or will not serve again
    run_node_ended(run, node, err == WEFT_OK && strcmp(sentence, WEFT_NODE_ENDED_BY_ITSELF) == 0, sentence);
}

void run_node_look(struct run *run, struct run_node *node)
{
    if (node->own_process)
        run_child_look(run, node);
    else if (node->hosted)
        s_look_hosted(run, node);
    if (node->state == RUN_WAITING && !run->stopping && node->next_us <= cli_now_us()) run_node_start(run, node);
}

static void s_counter(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    (void) doc;
    struct run_node *node = context;
    if (node->counter_count == RUN_COUNTERS_MAX) return;
    if (!node->counters) node->counters = weft_calloc(RUN_COUNTERS_MAX, sizeof *node->counters);
    struct run_counter *counter = &node->counters[node->counter_count++];
    snprintf(counter->source, sizeof counter->source, "%s", source);
    snprintf(counter->name, sizeof counter->name, "%s", name);
    counter->value = value;
}

void run_node_count(struct run_node *node)
{
    if (!node->hosted) return; // a child tells by itself
    node->counter_count = 0;
    weft_node_counters(node->hosted, s_counter, node);
}

void run_node_stop_begin(struct run *run, struct run_node *node)
{
    node->stopping = true;
    if (node->pid > 0) {
        kill(node->pid, SIGTERM);
        node->next_us = cli_now_us() + (node->stop_ms + 2000) * 1000; // it keeps stop.ms by itself
        return;
    }
    if (node->hosted) {
        weft_err_t err = weft_node_stop(&node->hosted);
        if (err != WEFT_OK) {
            run->status = CLI_FAILED;
            run_say(run, node->name, "did not stop cleanly: %s", weft_err_sentence(err));
        }
    }
    node->state = RUN_STOPPED;
}

bool run_node_stop_done(struct run *run, struct run_node *node)
{
    if (node->pid > 0) {
        run_child_look(run, node);
        if (node->pid > 0 && cli_now_us() >= node->next_us) {
            run_say(run, node->name, "did not stop within %lld ms; it is ended, and recovers at its next start",
                    (long long) node->stop_ms);
            run->status = CLI_FAILED;
            kill(node->pid, SIGKILL);
            node->next_us = INT64_MAX;
        }
    }
    return node->pid <= 0;
}
