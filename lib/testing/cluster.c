// SPDX-License-Identifier: MPL-2.0
// Nodes' settings. What makes a cluster a test's comes first, then what the test asked for, then what the cluster can't do
// without: ids, endpoints, directories.
#include "cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void weft_test_wrong(const char *format, ...)
{
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "weft/testing.h: %s\n", text);
    abort();
}

static const char **s_copy_list(const char *const *list)
{
    size_t count = 0;
    while (list != NULL && list[count] != NULL) count++;
    const char **copy = weft_calloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) copy[i] = weft_strdup(list[i]);
    return copy;
}

static void s_free_list(const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) free((char *) (uintptr_t) list[i]);
    free((void *) (uintptr_t) list);
}

static void s_add(weft_test_cluster_t *self, bool broker, uint32_t id)
{
    struct weft_test_node *node = &self->nodes[self->count++];
    node->type = broker ? self->gate->broker : self->gate->coordinator;
    node->broker = broker;
    node->id = id;
    snprintf(node->name, sizeof node->name, broker ? "broker-%u" : "coordinator-%u", id);
}

// Nothing that a test asks for may be passed over in silence.
static weft_err_t s_check_settings(const char *const *list, struct weft_error *error)
{
    static const char *const s_own[] = {"id", "data", "listen", "coordinators"};
    for (; list != NULL && *list != NULL; list++)
        for (size_t i = 0; i < sizeof s_own / sizeof *s_own; i++)
            if (strlen(s_own[i]) == strcspn(*list, "=") && strncmp(*list, s_own[i], strlen(s_own[i])) == 0)
                return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                                      "'%s' of a node is the test cluster's own; leave it out", s_own[i]);
    return WEFT_OK;
}

static weft_err_t s_check(const struct weft_test_options *how, struct weft_error *error)
{
    if (how->seed != 0 && how->data != NULL)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "data '%.80s': disks of virtual time are in memory; leave it out, or the seed",
                              how->data);
    if (how->seed != 0 && how->listen != NULL && strcmp(how->listen, "inproc") != 0)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "listen '%.40s': the network of virtual time is simulated; leave it out, or the seed",
                              how->listen);
    weft_err_t err = s_check_settings(how->broker_settings, error);
    return err != WEFT_OK ? err : s_check_settings(how->coordinator_settings, error);
}

weft_err_t weft_test_cluster_init(weft_test_cluster_t *self, const struct weft_test_options *how,
                                  struct weft_error *error)
{
    weft_err_t err = s_check(how, error);
    if (err != WEFT_OK) return err;
    if (how->brokers > WEFT_TEST_BROKERS_MAX || how->coordinators > WEFT_TEST_COORDINATORS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "at most %d brokers and %d coordinators",
                              WEFT_TEST_BROKERS_MAX, WEFT_TEST_COORDINATORS_MAX);
    const struct weft_gate *gate = weft_testing_gate();
    if (strcmp(gate->version, WEFT_VERSION) != 0)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "libweft-testing is of version %s, libweft of %s: install both from one build",
                              WEFT_VERSION, gate->version);
    self->gate = gate;
    self->how = *how;
    if (self->how.brokers == 0) self->how.brokers = 1;
    if (self->how.coordinators == 0) self->how.coordinators = 1;
    self->how.broker_settings = s_copy_list(how->broker_settings);
    self->how.coordinator_settings = s_copy_list(how->coordinator_settings);
    for (uint32_t id = 1; id <= self->how.coordinators; id++) s_add(self, false, id);
    for (uint32_t id = 1; id <= self->how.brokers; id++) s_add(self, true, id);
    return WEFT_OK;
}

void weft_test_cluster_fini(weft_test_cluster_t *self)
{
    s_free_list(self->how.broker_settings);
    s_free_list(self->how.coordinator_settings);
}

// ---- a node's settings

// The endpoints of all coordinators: "E,E" as brokers are told, "1=E,2=E" as they are told themselves.
static void s_coordinators(const weft_test_cluster_t *self, bool named, char *out, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < self->count && !self->nodes[i].broker; i++) {
        const struct weft_test_node *node = &self->nodes[i];
        char number[16] = "";
        if (named) snprintf(number, sizeof number, "%u=", node->id);
        used += (size_t) snprintf(out + used, bytes - used, "%s%s%s", used > 0 ? "," : "", number, node->endpoint);
    }
}

static weft_err_t s_set(weft_options_t *options, const char *name, const char *value, struct weft_error *error)
{
    return weft_options_set(options, name, value, error);
}

static weft_err_t s_set_own(const weft_test_cluster_t *self, const struct weft_test_node *node, weft_options_t *options,
                            struct weft_error *error)
{
    char coordinators[WEFT_TEST_COORDINATORS_MAX * (WEFT_ENDPOINT_BYTES_MAX + 4)], id[16];
    snprintf(id, sizeof id, "%u", node->id);
    s_coordinators(self, !node->broker, coordinators, sizeof coordinators);
    weft_err_t err = s_set(options, "id", id, error);
    if (err == WEFT_OK) err = s_set(options, "data", node->data, error);
    if (err == WEFT_OK) err = s_set(options, "listen", node->endpoint, error);
    if (err == WEFT_OK && node->replica[0] != '\0') err = s_set(options, "replica.listen", node->replica, error);
    if (err != WEFT_OK || (!node->broker && self->how.coordinators == 1)) return err;
    return s_set(options, "coordinators", coordinators, error);
}

weft_err_t weft_test_node_options(const weft_test_cluster_t *self, size_t index, weft_options_t **out,
                                  struct weft_error *error)
{
    // In real time nobody wants to wait for a second until a death is noticed; virtual time has seconds to spare.
    static const char *const s_quick[] = {"heartbeat.ms=50", "session.ms=500", "election.ms=300",
                                          "quorum.heartbeat.ms=50", NULL};
    const struct weft_test_node *node = &self->nodes[index];
    const char *const *wanted = node->broker ? self->how.broker_settings : self->how.coordinator_settings;
    weft_options_t *options = weft_options_new(node->type->options, node->type->option_count, node->type->name);
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; !node->broker && self->how.seed == 0 && s_quick[i] != NULL && err == WEFT_OK; i++)
        err = weft_options_set_pair(options, s_quick[i], error);
    for (size_t i = 0; wanted[i] != NULL && err == WEFT_OK; i++) err = weft_options_set_pair(options, wanted[i], error);
    if (err == WEFT_OK) err = s_set_own(self, node, options, error);
    if (err != WEFT_OK) {
        weft_options_destroy(&options);
        return err;
    }
    *out = options;
    return WEFT_OK;
}
