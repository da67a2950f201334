// SPDX-License-Identifier: MPL-2.0
// Real time. Each node has a runtime of its own, so that one can be ended while the others run; they meet over sockets
// whose names are known beforehand, so that a node that was killed comes back where it was. All of a cluster lies below
// one temporary directory.
//
// The network's faults happen at the DEALER's end of each link (lib/net/disturb.h), which asks s_look by the endpoint
// that it is connected to: that says which cluster and which node are meant. Two locks: s_lock for what s_look reads,
// from any thread; the cluster's own for its nodes, since faults may come from the thread of weft_test_after.
#include "cluster.h"
#include "host_disk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define S_DIRECTORY_BYTES_MAX 80 // socket paths have 107 bytes
#define S_LISTEN "inproc"
#define S_STOP_US INT64_C(10000000)

struct s_sever { // connections that were taken away: the highest number that matches a link counts
    struct s_sever *next;
    char a[WEFT_TEST_NAME_BYTES_MAX], b[WEFT_TEST_NAME_BYTES_MAX];
    uint64_t number;
};

struct s_dead { // a client that was killed: its links made up to then
    struct s_dead *next;
    char name[WEFT_TEST_NAME_BYTES_MAX];
    uint64_t serial;
};

struct s_timer {
    struct s_timer *next;
    struct s_real *cluster;
    pthread_t thread;
    int64_t due_us;
    weft_test_call_fn *fn;
    void *context;
};

struct s_real {
    weft_test_cluster_t base;
    struct s_real *next;
    struct weft_rules rules; // up to `down` under s_lock
    struct s_sever *severed;
    struct s_dead *dead;
    uint64_t severed_number;
    bool down[WEFT_TEST_NODES_MAX];
    bool inproc;
    pthread_mutex_t lock;
    struct weft_gate_node *nodes[WEFT_TEST_NODES_MAX]; // NULL: down
    weft_host_disk_t *disks[WEFT_TEST_NODES_MAX];
    char directory[S_DIRECTORY_BYTES_MAX];
    int64_t start_us;
    pthread_mutex_t timer_lock;
    pthread_cond_t timer_change;
    bool ending;
    struct s_timer *timers;
};

static pthread_mutex_t s_lock = PTHREAD_MUTEX_INITIALIZER;
static struct s_real *s_clusters;

static struct s_real *s_of(weft_test_cluster_t *base)
{
    return (struct s_real *) base;
}

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// ---- network

// A node's endpoints: its own, and those made of it for further shards and for replication.
static bool s_owns(const struct weft_test_node *node, const char *endpoint)
{
    size_t size = strlen(node->endpoint);
    if (strcmp(node->replica, endpoint) == 0) return true;
    return strncmp(node->endpoint, endpoint, size) == 0 && (endpoint[size] == '\0' || endpoint[size] == '-');
}

static const struct s_real *s_owner(const char *endpoint, size_t *node)
{
    for (const struct s_real *self = s_clusters; self != NULL; self = self->next) {
        for (*node = 0; *node < self->base.count; ++*node) {
            if (s_owns(&self->base.nodes[*node], endpoint)) return self;
        }
    }
    return NULL;
}

static bool s_is_between(const struct s_sever *severed, const char *c, const char *d)
{
    return (weft_rule_name_matches(severed->a, c) && weft_rule_name_matches(severed->b, d)) ||
           (weft_rule_name_matches(severed->a, d) && weft_rule_name_matches(severed->b, c));
}

// A connection that ends, and none comes about while this lasts.
static void s_refuse(struct weft_disturbance *out)
{
    out->cut_out = out->cut_in = true;
    out->breaks += UINT64_C(1) << 62;
}

// libzmq tells nobody that an inproc peer is gone, and lets everybody connect to one that is not there yet: here it is
// as with other transports.
static void s_judge(const struct s_real *self, const char *name, size_t index, uint64_t serial,
                    struct weft_disturbance *out)
{
    const char *node = self->base.nodes[index].name;
    out->cut_out = weft_rules_get(&self->rules, name, node, WEFT_RULE_CUT) != 0;
    out->cut_in = weft_rules_get(&self->rules, node, name, WEFT_RULE_CUT) != 0;
    out->delay_out_us = weft_rules_get(&self->rules, name, node, WEFT_RULE_DELAY_US);
    out->delay_in_us = weft_rules_get(&self->rules, node, name, WEFT_RULE_DELAY_US);
    for (const struct s_sever *severed = self->severed; severed != NULL; severed = severed->next) {
        if (severed->number > out->breaks && s_is_between(severed, name, node)) out->breaks = severed->number;
    }
    for (const struct s_dead *dead = self->dead; dead != NULL; dead = dead->next) {
        if (serial <= dead->serial && strcmp(dead->name, name) == 0) s_refuse(out);
    }
    if (self->inproc && self->down[index]) s_refuse(out);
}

static void s_look(const char *party, const char *endpoint, uint64_t serial, struct weft_disturbance *out)
{
    char name[WEFT_TEST_NAME_BYTES_MAX];
    const char *slash = strchr(party, '/'); // a part of a node: "broker-1/shard-0"
    size_t node = 0;
    snprintf(name, sizeof name, "%.*s", slash != NULL ? (int) (slash - party) : (int) strlen(party), party);
    pthread_mutex_lock(&s_lock);
    const struct s_real *self = s_owner(endpoint, &node);
    if (self != NULL) s_judge(self, name, node, serial, out);
    pthread_mutex_unlock(&s_lock);
}

static void s_network(weft_test_cluster_t *base, const struct weft_rule *rule)
{
    pthread_mutex_lock(&s_lock);
    weft_rules_add(&s_of(base)->rules, rule->from, rule->to, rule->kind, rule->value);
    pthread_mutex_unlock(&s_lock);
}

static void s_sever(weft_test_cluster_t *base, const char *a, const char *b)
{
    struct s_real *self = s_of(base);
    struct s_sever *severed = weft_calloc(1, sizeof *severed);
    snprintf(severed->a, sizeof severed->a, "%s", a);
    snprintf(severed->b, sizeof severed->b, "%s", b);
    pthread_mutex_lock(&s_lock);
    severed->number = ++self->severed_number;
    severed->next = self->severed;
    self->severed = severed;
    pthread_mutex_unlock(&s_lock);
}

static void s_kill_client(weft_test_cluster_t *base, const char *client)
{
    struct s_real *self = s_of(base);
    struct s_dead *dead = weft_calloc(1, sizeof *dead);
    snprintf(dead->name, sizeof dead->name, "%s", client);
    dead->serial = base->gate->disturb_serial();
    pthread_mutex_lock(&s_lock);
    dead->next = self->dead;
    self->dead = dead;
    pthread_mutex_unlock(&s_lock);
}

// ---- nodes

static void s_set_down(struct s_real *self, size_t index, bool down)
{
    pthread_mutex_lock(&s_lock);
    self->down[index] = down;
    pthread_mutex_unlock(&s_lock);
}

static weft_err_t s_start(weft_test_cluster_t *base, size_t index, struct weft_error *error)
{
    struct s_real *self = s_of(base);
    weft_options_t *options;
    weft_err_t err = weft_test_node_options(base, index, &options, error);
    if (err != WEFT_OK) return err;
    const struct weft_disk *disk = weft_host_disk_of(self->disks[index]);
    pthread_mutex_lock(&self->lock);
    err = base->gate->start(base->nodes[index].type, options, disk, &self->nodes[index], error);
    pthread_mutex_unlock(&self->lock);
    weft_options_destroy(&options);
    if (err == WEFT_OK) s_set_down(self, index, false);
    return err;
}

static weft_err_t s_stop(weft_test_cluster_t *base, size_t index)
{
    struct s_real *self = s_of(base);
    pthread_mutex_lock(&self->lock);
    weft_err_t err = base->gate->stop(&self->nodes[index], S_STOP_US);
    pthread_mutex_unlock(&self->lock);
    s_set_down(self, index, true);
    return err;
}

static void s_kill(weft_test_cluster_t *base, size_t index)
{
    struct s_real *self = s_of(base);
    s_set_down(self, index, true);
    pthread_mutex_lock(&self->lock);
    if (self->nodes[index] != NULL) base->gate->kill(&self->nodes[index]);
    pthread_mutex_unlock(&self->lock);
}

static enum weft_health s_health(const weft_test_cluster_t *base, size_t index, char *sentence, size_t bytes)
{
    struct s_real *self = s_of((weft_test_cluster_t *) (uintptr_t) base); // for the lock
    enum weft_health health = WEFT_HEALTH_FAILED;                         // another thread has ended it
    pthread_mutex_lock(&self->lock);
    if (self->nodes[index] != NULL) {
        const struct weft_node *node = base->gate->node(self->nodes[index]);
        health = node->type->health(node, sentence, bytes);
    }
    pthread_mutex_unlock(&self->lock);
    return health;
}

static void s_slow_disk(weft_test_cluster_t *base, size_t node, int64_t ms_per_sync)
{
    weft_host_disk_slow(s_of(base)->disks[node], ms_per_sync);
}

static void s_full_disk(weft_test_cluster_t *base, size_t node, bool full)
{
    weft_host_disk_full(s_of(base)->disks[node], full);
}

// ---- time

static int64_t s_now_us(const weft_test_cluster_t *base)
{
    return s_clock_us() - ((const struct s_real *) base)->start_us;
}

static void s_run_until(weft_test_cluster_t *base, int64_t time_us)
{
    int64_t until_us = time_us + s_of(base)->start_us;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
}

static void *s_timer_run(void *context)
{
    struct s_timer *timer = context;
    struct s_real *self = timer->cluster;
    struct timespec due = {.tv_sec = timer->due_us / 1000000, .tv_nsec = timer->due_us % 1000000 * 1000};
    pthread_mutex_lock(&self->timer_lock);
    int rc = 0;
    while (!self->ending && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&self->timer_change, &self->timer_lock, &due);
    bool ending = self->ending;
    pthread_mutex_unlock(&self->timer_lock);
    if (!ending) timer->fn(&self->base, timer->context);
    return NULL;
}

static void s_after(weft_test_cluster_t *base, int64_t ms, weft_test_call_fn *fn, void *context)
{
    struct s_real *self = s_of(base);
    struct s_timer *timer = weft_calloc(1, sizeof *timer);
    *timer = (struct s_timer){.cluster = self, .due_us = s_clock_us() + ms * 1000, .fn = fn, .context = context};
    pthread_mutex_lock(&self->timer_lock);
    if (self->ending) { // called by one that is the last
        free(timer);
    } else {
        if (pthread_create(&timer->thread, NULL, s_timer_run, timer) != 0)
            weft_test_wrong("no thread for weft_test_after");
        timer->next = self->timers;
        self->timers = timer;
    }
    pthread_mutex_unlock(&self->timer_lock);
}

static void s_timers_end(struct s_real *self)
{
    pthread_mutex_lock(&self->timer_lock);
    self->ending = true;
    pthread_cond_broadcast(&self->timer_change);
    pthread_mutex_unlock(&self->timer_lock);
    while (self->timers != NULL) { // none begins another: `ending` is seen by all
        struct s_timer *timer = self->timers;
        pthread_join(timer->thread, NULL);
        self->timers = timer->next;
        free(timer);
    }
}

static uint64_t s_random(weft_test_cluster_t *base, uint64_t bound)
{
    weft_rand_t rand;
    weft_rand_seed_os(&rand);
    return weft_rand_below(&rand, bound);
}

static uint64_t s_fingerprint(const weft_test_cluster_t *base)
{
    return 0;
}

// ---- life

static void s_leave(struct s_real *self)
{
    pthread_mutex_lock(&s_lock);
    struct s_real **at = &s_clusters;
    while (*at != NULL && *at != self) at = &(*at)->next;
    if (*at == self) { // else it was refused before it joined
        *at = self->next;
        if (s_clusters == NULL) self->base.gate->disturb(NULL);
    }
    pthread_mutex_unlock(&s_lock);
}

static void s_free_lists(struct s_real *self)
{
    for (struct s_sever *next, *at = self->severed; at != NULL; at = next) {
        next = at->next;
        free(at);
    }
    for (struct s_dead *next, *at = self->dead; at != NULL; at = next) {
        next = at->next;
        free(at);
    }
    weft_rules_fini(&self->rules);
}

static void s_destroy(weft_test_cluster_t **base_p)
{
    struct s_real *self = s_of(*base_p);
    *base_p = NULL;
    s_timers_end(self);
    for (size_t i = self->base.count; i-- > 0;) {
        if (self->nodes[i] != NULL) self->base.gate->kill(&self->nodes[i]);
        weft_host_disk_destroy(&self->disks[i]);
    }
    s_leave(self);
    s_free_lists(self);
    if (self->directory[0] != '\0') (void) !weft_disk_remove_tree(weft_disk_posix(), self->directory);
    pthread_cond_destroy(&self->timer_change);
    pthread_mutex_destroy(&self->timer_lock);
    pthread_mutex_destroy(&self->lock);
    weft_test_cluster_fini(&self->base);
    free(self);
}

static const struct weft_test_ops s_ops = {.start = s_start,
                                           .stop = s_stop,
                                           .kill = s_kill,
                                           .health = s_health,
                                           .network = s_network,
                                           .sever = s_sever,
                                           .kill_client = s_kill_client,
                                           .slow_disk = s_slow_disk,
                                           .full_disk = s_full_disk,
                                           .now_us = s_now_us,
                                           .run_until = s_run_until,
                                           .after = s_after,
                                           .random = s_random,
                                           .fingerprint = s_fingerprint,
                                           .destroy = s_destroy};

static weft_err_t s_directory(struct s_real *self, struct weft_error *error)
{
    const char *where = getenv("TMPDIR");
    if (where == NULL || strlen(where) + sizeof "/weft-test-XXXXXX" > sizeof self->directory) where = "/tmp";
    snprintf(self->directory, sizeof self->directory, "%s/weft-test-XXXXXX", where);
    if (mkdtemp(self->directory) != NULL) return WEFT_OK;
    weft_err_t err =
        weft_error_set(error, WEFT_ERR_DISK_FAILED, "no temporary directory %s: %s", self->directory, strerror(errno));
    self->directory[0] = '\0';
    return err;
}

// A port that nobody has now.
static unsigned s_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *) &address, size) == 0 &&
        getsockname(fd, (struct sockaddr *) &address, &size) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0) close(fd);
    return port;
}

static weft_err_t s_place_node(struct weft_test_node *node, const char *listen, const char *directory, const char *data,
                               struct weft_error *error)
{
    char name[sizeof node->name];
    memcpy(name, node->name, sizeof name);
    snprintf(node->data, sizeof node->data, "%s/%s", data, name);
    if (strcmp(listen, "inproc") == 0) {
        snprintf(node->endpoint, sizeof node->endpoint, "inproc://%s/%s", directory, name);
    } else if (strcmp(listen, "ipc") == 0) {
        snprintf(node->endpoint, sizeof node->endpoint, "ipc://%s/%s.ipc", directory, name);
    } else if (strcmp(listen, "tcp") == 0) {
        snprintf(node->endpoint, sizeof node->endpoint, "tcp://127.0.0.1:%u", s_free_port());
        if (node->broker) snprintf(node->replica, sizeof node->replica, "tcp://127.0.0.1:%u", s_free_port());
    } else {
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "listen '%.40s'; known: inproc, ipc, tcp", listen);
    }
    return WEFT_OK;
}

static weft_err_t s_place(struct s_real *self, struct weft_error *error)
{
    const char *listen = self->base.how.listen != NULL ? self->base.how.listen : S_LISTEN;
    self->inproc = strcmp(listen, "inproc") == 0;
    char directory[sizeof self->directory];
    memcpy(directory, self->directory, sizeof directory);
    const char *data = self->base.how.data != NULL ? self->base.how.data : directory;
    for (size_t i = 0; i < self->base.count; i++) {
        weft_err_t err = s_place_node(&self->base.nodes[i], listen, directory, data, error);
        if (err != WEFT_OK) return err;
    }
    return WEFT_OK;
}

static void s_join(struct s_real *self)
{
    pthread_mutex_lock(&s_lock);
    self->next = s_clusters;
    s_clusters = self;
    self->base.gate->disturb(s_look);
    pthread_mutex_unlock(&s_lock);
}

weft_err_t weft_test_real_new(const struct weft_test_options *how, weft_test_cluster_t **out, struct weft_error *error)
{
    struct s_real *self = weft_calloc(1, sizeof *self);
    self->base.ops = &s_ops;
    self->start_us = s_clock_us();
    pthread_mutex_init(&self->lock, NULL);
    pthread_mutex_init(&self->timer_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->timer_change, &monotonic);
    pthread_condattr_destroy(&monotonic);
    weft_err_t err = weft_test_cluster_init(&self->base, how, error);
    if (err == WEFT_OK) err = s_directory(self, error);
    if (err == WEFT_OK) err = s_place(self, error);
    if (err != WEFT_OK) {
        weft_test_cluster_t *base = &self->base;
        s_destroy(&base);
        return err;
    }
    for (size_t i = 0; i < self->base.count; i++) self->disks[i] = weft_host_disk_new();
    s_join(self);
    *out = &self->base;
    return WEFT_OK;
}
