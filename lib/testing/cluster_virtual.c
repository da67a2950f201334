// SPDX-License-Identifier: MPL-2.0
// Virtual time: the world of the simulator (sim_world.h) with a host for each node and for each name of a client.
//
// A client's part is driven by hand: it has its turns inside the calls of its owner, as in real life, and the world runs
// while such a call waits. Only the part of a group member runs by itself, where real clients have a thread. So all that
// happens is in the order of one heap of events, in one thread.
//
// The world lives until the cluster is stopped and its last client is gone: a test that fails leaves clients behind, and
// the next one must not suffer.
#include "cluster.h"
#include "crash_disk.h"
#include "sim_world.h"

#include "../base/assert.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define S_SCHEME "virtual://"
#define S_HOSTS_MAX 250 // nodes and names of clients; killed ones stay
#define S_PATIENCE_MS INT64_C(3600000)
#define S_STOP_US INT64_C(60000000)
#define S_STOP_STEP_US 1000
#define S_LINGER_US INT64_C(500000) // as lib/driver_net.c
#define S_DISK_FULL_BYTES 1

struct s_host {
    char name[WEFT_TEST_NAME_BYTES_MAX];
    sim_host_t host;
    bool dead; // a killed client: its name is free again
};

struct s_call {
    struct s_call *next;
    weft_test_cluster_t *cluster;
    weft_test_call_fn *fn;
    void *context;
};

struct s_virtual {
    weft_test_cluster_t base;
    struct s_virtual *next;
    uint64_t number; // of its clients' bootstrap
    sim_t *sim;
    weft_rand_t rand; // of the test's own choices
    pthread_t thread;
    struct s_host hosts[S_HOSTS_MAX]; // the nodes, then clients
    size_t host_count;
    weft_crash_disk_t *disks[WEFT_TEST_NODES_MAX];
    struct weft_node *nodes[WEFT_TEST_NODES_MAX]; // NULL: down
    struct weft_rules rules;
    struct s_call *calls; // not made yet
    size_t clients;       // drivers that live
    bool stopped;
};

struct s_driver {
    struct weft_driver base;
    struct s_virtual *world;
    sim_host_t host;
    weft_part_id_t part;
    bool woken, by_itself;
    int64_t waits_since_us; // for ever; -1: it does not
    char client[WEFT_TEST_NAME_BYTES_MAX];
};

static struct s_virtual *s_worlds; // of one thread
static uint64_t s_number;

static const struct sim_config s_calm = {
    .delay_min_us = 50, .delay_max_us = 500, .sync_min_us = 100, .sync_max_us = 2000};
static const struct sim_config s_rough = {.delay_min_us = 50,
                                          .delay_max_us = 2000,
                                          .slow_per_million = 20000,
                                          .break_per_million = 500,
                                          .sync_min_us = 100,
                                          .sync_max_us = 20000,
                                          .hang_per_million = 1000,
                                          .pause_per_million = 500};

static struct s_virtual *s_of(weft_test_cluster_t *base)
{
    return (struct s_virtual *) base;
}

static void s_check_thread(const struct s_virtual *self)
{
    if (!pthread_equal(self->thread, pthread_self()))
        weft_test_wrong("a cluster in virtual time, and its clients, belong to the thread that started it");
}

// ---- hosts and network

static void s_apply(struct s_virtual *self, const struct s_host *a, const struct s_host *b)
{
    bool cut = a->dead || b->dead || weft_rules_get(&self->rules, a->name, b->name, WEFT_RULE_CUT) != 0;
    weft_sim_cut(self->sim, a->host, b->host, cut);
    weft_sim_late(self->sim, a->host, b->host, weft_rules_get(&self->rules, a->name, b->name, WEFT_RULE_DELAY_US));
}

static void s_apply_all(struct s_virtual *self)
{
    for (size_t a = 0; a < self->host_count; a++) {
        for (size_t b = 0; b < self->host_count; b++) s_apply(self, &self->hosts[a], &self->hosts[b]);
    }
}

static struct s_host *s_host_add(struct s_virtual *self, const char *name, const struct weft_disk *disk)
{
    if (self->host_count == S_HOSTS_MAX)
        weft_test_wrong("more than %d nodes and names of clients in one cluster", S_HOSTS_MAX);
    struct s_host *host = &self->hosts[self->host_count++];
    snprintf(host->name, sizeof host->name, "%s", name);
    host->host = weft_sim_host_add(self->sim, name, disk);
    return host;
}

static struct s_host *s_client_host(struct s_virtual *self, const char *name)
{
    for (size_t i = self->base.count; i < self->host_count; i++) {
        if (!self->hosts[i].dead && strcmp(self->hosts[i].name, name) == 0) return &self->hosts[i];
    }
    struct s_host *host = s_host_add(self, name, NULL);
    s_apply_all(self);
    return host;
}

static void s_network(weft_test_cluster_t *base, const struct weft_rule *rule)
{
    struct s_virtual *self = s_of(base);
    weft_rules_add(&self->rules, rule->from, rule->to, rule->kind, rule->value);
    s_apply_all(self);
}

static void s_sever(weft_test_cluster_t *base, const char *a, const char *b)
{
    struct s_virtual *self = s_of(base);
    for (size_t i = 0; i < self->host_count; i++) {
        for (size_t k = i + 1; k < self->host_count; k++) {
            const char *c = self->hosts[i].name, *d = self->hosts[k].name;
            bool one_way = weft_rule_name_matches(a, c) && weft_rule_name_matches(b, d);
            bool other_way = weft_rule_name_matches(a, d) && weft_rule_name_matches(b, c);
            if (one_way || other_way) weft_sim_break(self->sim, self->hosts[i].host, self->hosts[k].host);
        }
    }
}

static void s_kill_client(weft_test_cluster_t *base, const char *client)
{
    struct s_virtual *self = s_of(base);
    for (size_t i = base->count; i < self->host_count; i++) {
        struct s_host *host = &self->hosts[i];
        if (host->dead || strcmp(host->name, client) != 0) continue;
        host->dead = true;
        for (size_t k = 0; k < self->host_count; k++) weft_sim_break(self->sim, host->host, self->hosts[k].host);
        s_apply_all(self);
    }
}

// ---- nodes

static weft_err_t s_start(weft_test_cluster_t *base, size_t index, struct weft_error *error)
{
    struct s_virtual *self = s_of(base);
    weft_options_t *options;
    weft_err_t err = weft_test_node_options(base, index, &options, error);
    if (err != WEFT_OK) return err;
    const struct weft_parts_type *type = base->nodes[index].type;
    const weft_world_t *world = weft_sim_host_world(self->sim, self->hosts[index].host);
    base->gate->seed(weft_rand_next(weft_sim_rand(self->sim)) | 1);
    err = type->create(world, options, &self->nodes[index], error);
    base->gate->seed(0);
    weft_options_destroy(&options);
    if (err == WEFT_OK)
        world->ops->start(world->self);
    else
        weft_sim_host_kill(self->sim, self->hosts[index].host, false); // parts that it had added
    return err;
}

static void s_gone(struct s_virtual *self, size_t index, bool silent)
{
    weft_sim_host_kill(self->sim, self->hosts[index].host, silent);
    if (self->nodes[index] != NULL) self->base.nodes[index].type->destroy(&self->nodes[index]);
}

static void s_kill(weft_test_cluster_t *base, size_t index)
{
    struct s_virtual *self = s_of(base);
    weft_crash_disk_kill(self->disks[index]); // what a destructor still writes can't be kept
    s_gone(self, index, false);
}

static void s_lose_power(weft_test_cluster_t *base, size_t index)
{
    struct s_virtual *self = s_of(base);
    weft_crash_disk_crash(self->disks[index], weft_sim_rand(self->sim));
    s_gone(self, index, true);
}

static weft_err_t s_stop(weft_test_cluster_t *base, size_t index)
{
    struct s_virtual *self = s_of(base);
    sim_host_t host = self->hosts[index].host;
    const struct weft_node *node = self->nodes[index];
    int64_t deadline_us = weft_sim_now_us(self->sim) + S_STOP_US;
    bool cleanly = true;
    for (size_t i = 0; cleanly && i < node->part_count; i++) {
        weft_sim_part_stop(self->sim, host, node->parts[i]);
        while (!weft_sim_part_stopped(self->sim, host, node->parts[i]) && weft_sim_now_us(self->sim) < deadline_us)
            weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + S_STOP_STEP_US);
        cleanly = weft_sim_part_stopped(self->sim, host, node->parts[i]);
    }
    weft_sim_run_until(self->sim, weft_sim_now_us(self->sim) + S_STOP_STEP_US); // its last answers leave
    if (!cleanly) weft_crash_disk_kill(self->disks[index]);
    s_gone(self, index, false);
    weft_crash_disk_kill(self->disks[index]);
    return cleanly ? WEFT_OK : WEFT_ERR_LOCAL_TIMED_OUT;
}

static enum weft_health s_health(const weft_test_cluster_t *base, size_t index, char *sentence, size_t bytes)
{
    const struct weft_node *node = ((const struct s_virtual *) base)->nodes[index];
    return node->type->health(node, sentence, bytes);
}

static void s_slow_disk(weft_test_cluster_t *base, size_t node, int64_t ms_per_sync)
{
    weft_sim_host_sync_us(s_of(base)->sim, s_of(base)->hosts[node].host, ms_per_sync * 1000);
}

static void s_full_disk(weft_test_cluster_t *base, size_t node, bool full)
{
    struct weft_crash_disk_faults faults = {.space_bytes = full ? S_DISK_FULL_BYTES : 0};
    weft_crash_disk_faults_set(s_of(base)->disks[node], &faults);
}

// ---- time

static void s_pause(weft_test_cluster_t *base, const char *name, int64_t ms)
{
    struct s_virtual *self = s_of(base);
    for (size_t i = 0; i < self->host_count; i++) {
        if (!self->hosts[i].dead && weft_rule_name_matches(name, self->hosts[i].name))
            weft_sim_host_pause(self->sim, self->hosts[i].host, ms * 1000);
    }
}

static void s_jump_clock(weft_test_cluster_t *base, const char *name, int64_t ms)
{
    struct s_virtual *self = s_of(base);
    for (size_t i = 0; i < self->host_count; i++) {
        if (!self->hosts[i].dead && weft_rule_name_matches(name, self->hosts[i].name))
            weft_sim_host_clock_jump(self->sim, self->hosts[i].host, ms);
    }
}

static int64_t s_now_us(const weft_test_cluster_t *base)
{
    return weft_sim_now_us(((const struct s_virtual *) base)->sim);
}

static void s_run_until(weft_test_cluster_t *base, int64_t time_us)
{
    s_check_thread(s_of(base));
    weft_sim_run_until(s_of(base)->sim, time_us);
}

static void s_call_remove(struct s_virtual *self, struct s_call *call)
{
    struct s_call **at = &self->calls;
    while (*at != call) at = &(*at)->next;
    *at = call->next;
}

static void s_call_due(void *context)
{
    struct s_call call = *(struct s_call *) context;
    s_call_remove(s_of(call.cluster), context);
    free(context);
    if (!s_of(call.cluster)->stopped) call.fn(call.cluster, call.context);
}

static void s_after(weft_test_cluster_t *base, int64_t ms, weft_test_call_fn *fn, void *context)
{
    struct s_virtual *self = s_of(base);
    struct s_call *call = weft_calloc(1, sizeof *call);
    *call = (struct s_call){.next = self->calls, .cluster = base, .fn = fn, .context = context};
    self->calls = call;
    weft_sim_at(self->sim, weft_sim_now_us(self->sim) + ms * 1000, s_call_due, call);
}

static uint64_t s_random(weft_test_cluster_t *base, uint64_t bound)
{
    return weft_rand_below(&s_of(base)->rand, bound);
}

static uint64_t s_fingerprint(const weft_test_cluster_t *base)
{
    return weft_sim_digest(((const struct s_virtual *) base)->sim);
}

// ---- life

static void s_sink(void *context, enum weft_trace_level level, const char *source, const char *line)
{
    static const char *const s_names[] = {"error", "warn", "info", "debug"};
    const struct s_virtual *self = context;
    int64_t now_us = weft_sim_now_us(self->sim);
    fprintf(stderr, "%6lld.%06lld %-5s %s: %s\n", (long long) (now_us / 1000000), (long long) (now_us % 1000000),
            s_names[level], source, line);
}

// What nodes and clients say goes to the newest cluster there is, for its clock.
static void s_trace(const struct weft_gate *gate)
{
    gate->trace_to(s_worlds != NULL ? s_sink : NULL, s_worlds);
}

static void s_free(struct s_virtual *self)
{
    weft_sim_destroy(&self->sim);
    s_trace(self->base.gate);
    for (size_t i = 0; i < self->base.count; i++) weft_crash_disk_destroy(&self->disks[i]);
    while (self->calls != NULL) {
        struct s_call *call = self->calls;
        self->calls = call->next;
        free(call);
    }
    weft_rules_fini(&self->rules);
    weft_test_cluster_fini(&self->base);
    free(self);
}

static void s_leave(struct s_virtual *self)
{
    struct s_virtual **at = &s_worlds;
    while (*at != NULL && *at != self) at = &(*at)->next;
    if (*at == self) *at = self->next;
    if (s_worlds == NULL) self->base.gate->provide(S_SCHEME, NULL);
    s_trace(self->base.gate);
}

static void s_destroy(weft_test_cluster_t **base_p)
{
    struct s_virtual *self = s_of(*base_p);
    *base_p = NULL;
    for (size_t i = self->base.count; i-- > 0;) {
        if (self->nodes[i] != NULL) s_kill(&self->base, i);
    }
    self->stopped = true;
    s_leave(self);
    if (self->clients == 0) s_free(self);
}

static const struct weft_test_ops s_ops = {.start = s_start,
                                           .stop = s_stop,
                                           .kill = s_kill,
                                           .lose_power = s_lose_power,
                                           .health = s_health,
                                           .network = s_network,
                                           .sever = s_sever,
                                           .kill_client = s_kill_client,
                                           .slow_disk = s_slow_disk,
                                           .full_disk = s_full_disk,
                                           .pause = s_pause,
                                           .jump_clock = s_jump_clock,
                                           .now_us = s_now_us,
                                           .run_until = s_run_until,
                                           .after = s_after,
                                           .random = s_random,
                                           .fingerprint = s_fingerprint,
                                           .destroy = s_destroy};

// ---- clients

static weft_err_t s_driver_run(struct weft_driver *base, int64_t timeout_us)
{
    struct s_driver *self = (struct s_driver *) base;
    struct s_virtual *world = self->world;
    s_check_thread(world);
    int64_t now_us = weft_sim_now_us(world->sim), patience_us = world->base.how.patience_ms * 1000;
    if (timeout_us >= 0) {
        self->waits_since_us = -1;
    } else {
        if (self->waits_since_us < 0) self->waits_since_us = now_us;
        timeout_us = self->waits_since_us + patience_us - now_us;
        if (timeout_us <= 0)
            weft_test_wrong("client '%s' has waited for %lld s of virtual time, seed %llu: it would wait for ever",
                            self->client, (long long) (patience_us / 1000000),
                            (unsigned long long) world->base.how.seed);
    }
    weft_sim_part_run(world->sim, self->host, self->part, timeout_us, &self->woken);
    bool woken = self->woken;
    self->woken = false;
    return woken ? WEFT_ERR_INTERRUPTED : WEFT_OK;
}

static void s_driver_wake(struct weft_driver *base)
{
    struct s_driver *self = (struct s_driver *) base;
    if (self->by_itself)
        weft_sim_part_poke(self->world->sim, self->host, self->part);
    else
        self->woken = true;
}

static int s_driver_fd(const struct weft_driver *base)
{
    return -1;
}

static void s_driver_go(struct weft_driver *base)
{
    struct s_driver *self = (struct s_driver *) base;
    self->by_itself = true;
    weft_sim_part_by_hand(self->world->sim, self->host, self->part, false);
}

static int64_t s_driver_now_us(const struct weft_driver *base)
{
    return weft_sim_now_us(((const struct s_driver *) base)->world->sim);
}

static int64_t s_driver_wall_ms(const struct weft_driver *base)
{
    const struct s_driver *self = (const struct s_driver *) base;
    return weft_sim_host_wall_ms(self->world->sim, self->host);
}

// What was sent still leaves, as a socket lingers.
static void s_driver_destroy(struct weft_driver **base_p)
{
    if (*base_p == NULL) return;
    struct s_driver *self = (struct s_driver *) *base_p;
    *base_p = NULL;
    struct s_virtual *world = self->world;
    int64_t until_us = weft_sim_now_us(world->sim) + S_LINGER_US;
    while (!weft_sim_part_drain(world->sim, self->host, self->part) && weft_sim_now_us(world->sim) < until_us)
        weft_sim_run_until(world->sim, weft_sim_now_us(world->sim) + 50);
    weft_sim_part_kill(world->sim, self->host, self->part);
    free(self);
    if (--world->clients == 0 && world->stopped) s_free(world);
}

static const struct weft_driver_ops s_driver_ops = {.run = s_driver_run,
                                                    .wake = s_driver_wake,
                                                    .fd = s_driver_fd,
                                                    .go = s_driver_go,
                                                    .now_us = s_driver_now_us,
                                                    .wall_ms = s_driver_wall_ms,
                                                    .destroy = s_driver_destroy};

static struct s_virtual *s_find(const char *bootstrap)
{
    uint64_t number = strtoull(bootstrap + strlen(S_SCHEME), NULL, 10);
    for (struct s_virtual *world = s_worlds; world != NULL; world = world->next) {
        if (world->number == number) return world;
    }
    return NULL;
}

static weft_err_t s_make(struct weft_part *part, const struct weft_driver_how *how, struct weft_driver **out,
                         struct weft_error *error)
{
    struct s_virtual *world = s_find(how->bootstrap);
    if (world == NULL) {
        part->ops->destroy(&part);
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT, "bootstrap: the test cluster of '%.60s' was stopped",
                              how->bootstrap);
    }
    s_check_thread(world);
    struct s_driver *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_driver_ops;
    self->world = world;
    self->waits_since_us = -1;
    snprintf(self->client, sizeof self->client, "%s", how->client);
    self->host = s_client_host(world, how->client)->host;
    struct weft_world_part added = {.name = how->client};
    const weft_world_t *sim = weft_sim_host_world(world->sim, self->host);
    weft_err_t err = sim->ops->add(sim->self, &added, part, &self->part, NULL, error);
    weft_assert(err == WEFT_OK); // it binds nothing
    sim->ops->start(sim->self);
    weft_sim_part_by_hand(world->sim, self->host, self->part, true);
    world->clients++;
    *out = &self->base;
    return WEFT_OK;
}

// ---- start

static void s_place(struct s_virtual *self)
{
    for (size_t i = 0; i < self->base.count; i++) {
        struct weft_test_node *node = &self->base.nodes[i];
        self->disks[i] = weft_crash_disk_new(weft_rand_next(&self->rand));
        (void) s_host_add(self, node->name, weft_crash_disk_of(self->disks[i]));
        char name[sizeof node->name];
        memcpy(name, node->name, sizeof name);
        snprintf(node->endpoint, sizeof node->endpoint, "tcp://%s:9650", name);
        snprintf(node->bootstrap, sizeof node->bootstrap, S_SCHEME "%llu/%s:9650", (unsigned long long) self->number,
                 name);
        snprintf(node->data, sizeof node->data, "data");
    }
}

weft_err_t weft_test_virtual_new(const struct weft_test_options *how, weft_test_cluster_t **out,
                                 struct weft_error *error)
{
    struct s_virtual *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_ops;
    weft_err_t err = weft_test_cluster_init(&self->base, how, error);
    if (err != WEFT_OK) {
        free(self);
        return err;
    }
    if (self->base.how.patience_ms <= 0) self->base.how.patience_ms = S_PATIENCE_MS;
    self->thread = pthread_self();
    self->number = ++s_number;
    weft_rand_init(&self->rand, how->seed ^ UINT64_C(0x7465737473)); // the world's own goes by the seed alone
    self->sim = weft_sim_new(how->seed, how->rough ? &s_rough : &s_calm);
    s_place(self);
    self->next = s_worlds;
    s_worlds = self;
    self->base.gate->provide(S_SCHEME, s_make);
    s_trace(self->base.gate);
    *out = &self->base;
    return WEFT_OK;
}
