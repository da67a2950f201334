// SPDX-License-Identifier: MPL-2.0
// Endpoints are computed first (embedded.h has the rule), then the coordinators start, then the brokers, which are told
// where those really are. A single coordinator may take a free port; several have to know each other before the first of
// them is bound, so their free ports are chosen here.
#include "host.h"
#include "zmq_context.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft/embedded.h>

#define S_LISTEN "tcp://127.0.0.1:9650"
#define S_READY_MS 60000

struct weft_embedded {
    weft_host_t host;
    bool inproc; // it uses the process's shared context
    const struct weft_node *coordinators[WEFT_EMBEDDED_COORDINATORS_MAX];
    uint32_t coordinator_count;
    const struct weft_node *brokers[WEFT_EMBEDDED_BROKERS_MAX];
    uint32_t broker_count;
    char bootstrap[WEFT_EMBEDDED_BROKERS_MAX * WEFT_ENDPOINT_BYTES_MAX];
};

// What start works with: the options with their defaults filled in.
struct s_plan {
    struct weft_embedded_options how;
    uint32_t shards;
    uint32_t brokers;
    uint32_t coordinators;
    char voters[WEFT_EMBEDDED_COORDINATORS_MAX][WEFT_ENDPOINT_BYTES_MAX]; // where each listens
};

// ---- endpoints

// Where each node listens: the name behind `listen` for ipc and inproc, or how many ports behind it.
struct s_place {
    char suffix[32];
    uint32_t port;
};

static struct s_place s_broker_place(const struct s_plan *plan, uint32_t number)
{
    struct s_place place = {.port = number == 1 ? 0 : plan->shards + 1 + (number - 2) * plan->shards};
    if (number > 1) snprintf(place.suffix, sizeof place.suffix, "-broker-%u", number);
    return place;
}

static struct s_place s_coordinator_place(const struct s_plan *plan, uint32_t number)
{
    struct s_place place = {.port = number == 1 ? plan->shards : plan->brokers * plan->shards + number - 1};
    snprintf(place.suffix, sizeof place.suffix, number == 1 ? "-coordinator" : "-coordinator-%u", number);
    return place;
}

static weft_err_t s_endpoint(const struct s_plan *plan, const struct s_place *place, char *out,
                             struct weft_error *error)
{
    const char *listen = plan->how.listen;
    if (strlen(listen) > WEFT_ENDPOINT_BYTES_MAX - 32)
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT, "endpoint '%.64s' is too long", listen);
    bool tcp = strncmp(listen, "tcp://", 6) == 0;
    const char *colon = strrchr(listen, ':');
    if (tcp && strcmp(colon, ":*") == 0) {
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%s", listen);
        return WEFT_OK;
    }
    if (!tcp || place->port == 0) { // a wrong one is refused with its own sentence when it is bound
        snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%s%s", listen, tcp ? "" : place->suffix);
        return WEFT_OK;
    }
    char *end = NULL;
    long first = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || first < 1 || first + place->port > 65535)
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                              "endpoint '%s' needs a port that leaves room for %u more behind it, or *", listen,
                              plan->brokers * plan->shards + plan->coordinators - 1);
    snprintf(out, WEFT_ENDPOINT_BYTES_MAX, "%.*s:%ld", (int) (colon - listen), listen, first + place->port);
    return WEFT_OK;
}

// "tcp://HOST:*" with a port that nobody has now. Left as it is if none is found: binding tells why.
static void s_free_port(char *endpoint)
{
    char host[WEFT_ENDPOINT_BYTES_MAX], port[16];
    char *colon = strrchr(endpoint, ':');
    snprintf(host, sizeof host, "%.*s", (int) (colon - endpoint - 6), endpoint + 6);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    if (getaddrinfo(strcmp(host, "*") ? host : NULL, "0", &hints, &found)) return;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *) &bound, &size) == 0 &&
        getnameinfo((struct sockaddr *) &bound, size, NULL, 0, port, sizeof port, NI_NUMERICSERV) == 0)
        snprintf(colon + 1, sizeof port, "%s", port);
    if (fd >= 0) close(fd);
    freeaddrinfo(found);
}

static weft_err_t s_place_voters(struct s_plan *plan, struct weft_error *error)
{
    for (uint32_t k = 0; k < plan->coordinators; k++) {
        struct s_place place = s_coordinator_place(plan, k + 1);
        weft_err_t err = s_endpoint(plan, &place, plan->voters[k], error);
        if (err != WEFT_OK) return err;
        size_t length = strlen(plan->voters[k]);
        if (plan->coordinators > 1 && !strncmp(plan->voters[k], "tcp://", 6) &&
            !strcmp(plan->voters[k] + length - 2, ":*"))
            s_free_port(plan->voters[k]);
    }
    return WEFT_OK;
}

// ---- nodes

static weft_err_t s_apply(weft_options_t *options, const char *const *settings, struct weft_error *error)
{
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        weft_err_t err = weft_options_set_pair(options, settings[i], error);
        if (err != WEFT_OK) return err;
    }
    return WEFT_OK;
}

// Each key once, in the order of a NULL-ended list of pairs "key", "value".
static weft_err_t s_set(weft_options_t *options, const char *const (*pairs)[2], struct weft_error *error)
{
    for (size_t i = 0; pairs[i][0] != NULL; i++) {
        weft_err_t err = weft_options_set(options, pairs[i][0], pairs[i][1], error);
        if (err != WEFT_OK) return err;
    }
    return WEFT_OK;
}

static weft_err_t s_start_node(weft_embedded_t *self, const struct weft_parts_type *type, const char *const (*pairs)[2],
                               const char *const *settings, const struct weft_node **out, struct weft_error *error)
{
    weft_options_t *options = weft_options_new(type->options, type->option_count, type->name);
    weft_err_t err = s_apply(options, settings, error);
    if (err == WEFT_OK) err = s_set(options, pairs, error); // ids, endpoints and directories are this file's
    if (err == WEFT_OK) err = weft_host_start(&self->host, type, options, out, error);
    weft_options_destroy(&options);
    return err;
}

// "1=tcp://...,2=tcp://..." of several, "" of one, which has nobody to know.
static void s_voters_text(const struct s_plan *plan, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t k = 0; plan->coordinators > 1 && k < plan->coordinators; k++)
        used += (size_t) snprintf(out + used, size - used, "%s%u=%s", k ? "," : "", k + 1, plan->voters[k]);
}

static weft_err_t s_start_coordinator(weft_embedded_t *self, const struct s_plan *plan, uint32_t number,
                                      struct weft_error *error)
{
    char data[1024], id[16], voters[WEFT_EMBEDDED_COORDINATORS_MAX * (WEFT_ENDPOINT_BYTES_MAX + 4)];
    snprintf(data, sizeof data, "%s/coordinator-%u", plan->how.data, number);
    snprintf(id, sizeof id, "%u", number);
    s_voters_text(plan, voters, sizeof voters);
    const char *const pairs[][2] = {
        {"id", id}, {"data", data}, {"listen", plan->voters[number - 1]}, {"coordinators", voters}, {NULL, NULL}};
    const struct weft_node *coordinator = NULL;
    weft_err_t err =
        s_start_node(self, &weft_node_coordinator, pairs, plan->how.coordinator_settings, &coordinator, error);
    if (err == WEFT_OK) self->coordinators[self->coordinator_count++] = coordinator;
    return err;
}

static weft_err_t s_start_broker(weft_embedded_t *self, const struct s_plan *plan, uint32_t number,
                                 struct weft_error *error)
{
    char listen[WEFT_ENDPOINT_BYTES_MAX], data[1024], id[16], shards[16];
    struct s_place place = s_broker_place(plan, number);
    char coordinators[WEFT_EMBEDDED_COORDINATORS_MAX * WEFT_ENDPOINT_BYTES_MAX];
    size_t length = 0;
    for (uint32_t k = 0; k < self->coordinator_count; k++)
        length += (size_t) snprintf(coordinators + length, sizeof coordinators - length, "%s%s", k ? "," : "",
                                    self->coordinators[k]->endpoint);
    weft_err_t err = s_endpoint(plan, &place, listen, error);
    if (err != WEFT_OK) return err;
    snprintf(data, sizeof data, "%s/broker-%u", plan->how.data, number);
    snprintf(id, sizeof id, "%u", number);
    snprintf(shards, sizeof shards, "%u", plan->shards);
    const char *const pairs[][2] = {
        {"id", id},  {"data", data}, {"listen", listen}, {"shards", shards}, {"coordinators", coordinators},
        {NULL, NULL}};
    const struct weft_node *broker = NULL;
    err = s_start_node(self, &weft_node_broker, pairs, plan->how.broker_settings, &broker, error);
    if (err != WEFT_OK) return err;
    self->brokers[self->broker_count++] = broker;
    size_t used = strlen(self->bootstrap);
    snprintf(self->bootstrap + used, sizeof self->bootstrap - used, "%s%s", used > 0 ? "," : "", broker->endpoint);
    return WEFT_OK;
}

static weft_err_t s_start_all(weft_embedded_t *self, const struct s_plan *plan, struct weft_error *error)
{
    weft_err_t err = WEFT_OK;
    for (uint32_t number = 1; err == WEFT_OK && number <= plan->coordinators; number++)
        err = s_start_coordinator(self, plan, number, error);
    for (uint32_t number = 1; err == WEFT_OK && number <= plan->brokers; number++)
        err = s_start_broker(self, plan, number, error);
    int ready_ms = plan->how.ready_ms == 0 ? S_READY_MS : plan->how.ready_ms;
    if (err == WEFT_OK && ready_ms > 0) err = weft_host_wait_serving(&self->host, ready_ms, error);
    return err;
}

static weft_err_t s_plan(const struct weft_embedded_options *options, struct s_plan *plan, struct weft_error *error)
{
    *plan = (struct s_plan){.how = *options};
    if (plan->how.data == NULL) plan->how.data = "weft-data";
    if (plan->how.listen == NULL) plan->how.listen = S_LISTEN;
    plan->brokers = options->brokers > 0 ? options->brokers : 1;
    plan->shards = options->shards > 0 ? options->shards : 1;
    plan->coordinators = options->coordinators > 0 ? options->coordinators : 1;
    if (plan->coordinators > WEFT_EMBEDDED_COORDINATORS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "%u coordinators in one process; at most %d",
                              plan->coordinators, WEFT_EMBEDDED_COORDINATORS_MAX);
    if (plan->brokers > WEFT_EMBEDDED_BROKERS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "%u brokers in one process; at most %d", plan->brokers,
                              WEFT_EMBEDDED_BROKERS_MAX);
    if (strlen(plan->how.data) > 900)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "the data directory's path is longer than 900 bytes");
    return s_place_voters(plan, error);
}

weft_err_t weft_embedded_start(const struct weft_embedded_options *options, weft_embedded_t **out,
                               struct weft_error *error)
{
    struct s_plan plan;
    weft_err_t err = s_plan(options, &plan, error);
    if (err != WEFT_OK) return err;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t io_threads = plan.brokers * plan.shards;
    if (cores > 0 && io_threads > (uint32_t) cores) io_threads = (uint32_t) cores;
    weft_embedded_t *self = weft_calloc(1, sizeof *self);
    self->inproc = weft_zmq_context_is_for(plan.how.listen);
    err = weft_host_init(&self->host, self->inproc ? weft_zmq_context_take() : NULL, (int) io_threads, error);
    if (err != WEFT_OK) goto fail_self;
    err = s_start_all(self, &plan, error);
    if (err != WEFT_OK) goto fail_host;
    *out = self;
    return WEFT_OK;

fail_host:
    weft_host_fini(&self->host);
fail_self:
    if (self->inproc) weft_zmq_context_release();
    free(self);
    return err;
}

weft_err_t weft_embedded_stop(weft_embedded_t **self_p)
{
    weft_embedded_t *self = *self_p;
    if (self == NULL) return WEFT_OK;
    *self_p = NULL;
    weft_err_t err = weft_host_fini(&self->host);
    if (self->inproc && err == WEFT_OK) weft_zmq_context_release(); // else a stuck part may still have sockets there
    free(self);
    return err;
}

const char *weft_embedded_endpoint(const weft_embedded_t *self)
{
    return self->brokers[0]->endpoint;
}

const char *weft_embedded_bootstrap(const weft_embedded_t *self)
{
    return self->bootstrap;
}

const char *weft_embedded_coordinator(const weft_embedded_t *self)
{
    return self->coordinators[0]->endpoint;
}

enum weft_health weft_embedded_health(const weft_embedded_t *self, char *sentence, size_t sentence_bytes)
{
    return weft_host_health(&self->host, sentence, sentence_bytes);
}

void weft_embedded_counters(const weft_embedded_t *self, weft_counter_fn *each, void *context)
{
    weft_host_counters(&self->host, each, context);
}

void *weft_embedded_zmq_context(const weft_embedded_t *self)
{
    return weft_runtime_zmq(self->host.runtime);
}
