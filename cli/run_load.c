// SPDX-License-Identifier: MPL-2.0
// Topology files as the command reads them: types from the library and from shared objects, problems for people, ports
// that are free.
#include "run.h"

#include "../lib/nodes.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define S_PORT_MIN 10000
#define S_PORT_TRIES 200

// ---- types

static const struct weft_node_type *s_find(void *context, const char *name, struct weft_error *error)
{
    struct run_types *self = context;
    const struct weft_node_type *type = NULL;
    void *library = NULL;
    if (weft_node_type_open(name, &type, &library, error) != WEFT_OK) return NULL;
    if (library) { // its table is read as long as the topology lives
        self->libraries = weft_realloc(self->libraries, (self->library_count + 1) * sizeof *self->libraries);
        self->libraries[self->library_count++] = library;
    }
    return type;
}

void run_types_init(struct run_types *self)
{
    *self = (struct run_types){.names = NULL};
    size_t count = 0;
    while (weft_node_types[count]) count++;
    self->names = weft_calloc(count, sizeof *self->names);
    for (size_t i = 0; i < count; i++) self->names[i] = weft_node_types[i]->name;
    self->types = (struct weft_topology_types){self, s_find, self->names, count};
}

void run_types_fini(struct run_types *self)
{
    for (size_t i = 0; i < self->library_count; i++) weft_node_library_close(&self->libraries[i]);
    free(self->libraries);
    free(self->names);
}

// ---- files

weft_topology_t *run_load(const struct cli_args *args, const char *path, struct run_types *types,
                          const struct weft_topology_how *how)
{
    weft_topology_t *topology = NULL;
    struct weft_error error = {0};
    if (weft_topology_read(path, &topology, &error) != WEFT_OK) {
        cli_fail(args, "%s", error.text);
        return NULL;
    }
    weft_topology_check(topology, &types->types, how);
    return topology;
}

void run_print_problems(const weft_topology_t *topology, FILE *stream)
{
    for (size_t i = 0; i < weft_topology_problem_count(topology); i++) {
        const struct weft_topology_problem *problem = weft_topology_problem(topology, i);
        fprintf(stream, "%s", weft_topology_path(topology));
        if (problem->line) fprintf(stream, ":%u", problem->line);
        fprintf(stream, ": %s\n", problem->text);
    }
    size_t dropped = weft_topology_problems_dropped(topology);
    if (dropped) fprintf(stream, "%s: and %zu more.\n", weft_topology_path(topology), dropped);
}

// ---- ports

// A socket bound to host:port (0: any), its port in *port; -1: not to be had.
static int s_bind(const char *host, unsigned *port)
{
    char text[16];
    snprintf(text, sizeof text, "%u", *port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    if (getaddrinfo(strcmp(host, "*") ? host : NULL, text, &hints, &found)) return -1;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        (bind(fd, found->ai_addr, found->ai_addrlen) != 0 || getsockname(fd, (struct sockaddr *) &bound, &size) != 0 ||
         getnameinfo((struct sockaddr *) &bound, size, NULL, 0, text, sizeof text, NI_NUMERICSERV) != 0)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd >= 0) *port = (unsigned) strtoul(text, NULL, 10);
    return fd;
}

// Below the ports that the kernel gives to outgoing connections: there a node finds its own again at a restart.
static unsigned s_guess(void)
{
    unsigned low = 32768, value = 0;
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
    if (range) {
        if (fscanf(range, "%u", &low) != 1 || low > 65535) low = 32768;
        fclose(range);
    }
    if (low <= S_PORT_MIN + 1000 || getrandom(&value, sizeof value, 0) != sizeof value) return 0;
    return S_PORT_MIN + value % (low - S_PORT_MIN - 64);
}

// The first of `count` free ports in a row; 0: none is found.
static unsigned s_free_ports(const char *host, unsigned count)
{
    for (int tries = 0; tries < S_PORT_TRIES; tries++) {
        unsigned first = tries < S_PORT_TRIES / 2 ? s_guess() : 0; // 0: whichever the kernel gives
        int fds[64], held = 0;
        if ((fds[held] = s_bind(host, &first)) < 0) {
            if (tries < S_PORT_TRIES / 2) continue;
            return 0;
        }
        for (held = 1; held < (int) count && held < 64; held++) {
            unsigned port = first + (unsigned) held;
            if (port > 65535 || (fds[held] = s_bind(host, &port)) < 0) break;
        }
        for (int i = 0; i < held; i++) close(fds[i]);
        if (held >= (int) count || held == 64) return first;
    }
    return 0;
}

static bool s_is_given(const struct run_ports *ports, unsigned first, unsigned count)
{
    for (size_t i = 0; i < ports->count; i++)
        if (first < ports->given[i].port + ports->given[i].count && ports->given[i].port < first + count) return true;
    return false;
}

unsigned run_port(void *context, const char *node, const char *option, const char *host, unsigned count)
{
    struct run_ports *ports = context;
    char key[512];
    snprintf(key, sizeof key, "%s %s %s", node, option, host);
    for (size_t i = 0; i < ports->count; i++)
        if (strcmp(ports->given[i].key, key) == 0 && ports->given[i].count == count) return ports->given[i].port;
    unsigned port = 0;
    for (int tries = 0; tries < 100; tries++) {
        port = s_free_ports(host, count);
        if (port == 0) return 0;
        if (!s_is_given(ports, port, count)) break; // nobody listens there yet
    }
    ports->given = weft_realloc(ports->given, (ports->count + 1) * sizeof *ports->given);
    ports->given[ports->count].key = weft_strdup(key);
    ports->given[ports->count].port = port;
    ports->given[ports->count++].count = count;
    return port;
}

void run_ports_fini(struct run_ports *self)
{
    for (size_t i = 0; i < self->count; i++) free(self->given[i].key);
    free(self->given);
}
