// SPDX-License-Identifier: MPL-2.0
/**
 * What both kinds of test cluster (weft/testing.h) have in common: names and settings of nodes, and the table of what
 * each kind does by itself. testing.c is in front, cluster_real.c and cluster_virtual.c behind.
 */
#ifndef WEFT_TESTING_CLUSTER_H
#define WEFT_TESTING_CLUSTER_H

#include "../base/options.h"
#include "../base/rand.h"
#include "../testing_gate.h"
#include "rules.h"

#include <weft/admin.h>
#include <weft/producer.h>
#include <weft/testing.h>

#define WEFT_TEST_NODES_MAX (WEFT_TEST_BROKERS_MAX + WEFT_TEST_COORDINATORS_MAX)

struct weft_test_node {
    const struct weft_parts_type *type;
    bool broker;
    uint32_t id;
    char name[32];
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];  // where it listens, known before it starts
    char replica[WEFT_ENDPOINT_BYTES_MAX];   // and for other brokers; "": what becomes of the first one
    char bootstrap[WEFT_ENDPOINT_BYTES_MAX]; // what clients are told; "": `endpoint`
    char data[600];
    _Atomic bool up;
};

struct weft_test_ops {
    // The node is down; refused: with a sentence.
    weft_err_t (*start)(weft_test_cluster_t *self, size_t node, struct weft_error *error);
    weft_err_t (*stop)(weft_test_cluster_t *self, size_t node); // the node is up
    void (*kill)(weft_test_cluster_t *self, size_t node);
    void (*lose_power)(weft_test_cluster_t *self, size_t node); // up or down; NULL: this kind can't
    enum weft_health (*health)(const weft_test_cluster_t *self, size_t node, char *sentence, size_t bytes);
    void (*network)(weft_test_cluster_t *self, const struct weft_rule *rule); // one more for the list
    void (*sever)(weft_test_cluster_t *self, const char *a, const char *b);
    void (*kill_client)(weft_test_cluster_t *self, const char *client);
    void (*slow_disk)(weft_test_cluster_t *self, size_t node, int64_t ms_per_sync);
    void (*full_disk)(weft_test_cluster_t *self, size_t node, bool full);
    void (*pause)(weft_test_cluster_t *self, const char *name, int64_t ms);      // NULL: this kind can't
    void (*jump_clock)(weft_test_cluster_t *self, const char *name, int64_t ms); // likewise
    int64_t (*now_us)(const weft_test_cluster_t *self);
    void (*run_until)(weft_test_cluster_t *self, int64_t time_us);
    void (*after)(weft_test_cluster_t *self, int64_t ms, weft_test_call_fn *fn, void *context);
    uint64_t (*random)(weft_test_cluster_t *self, uint64_t bound);
    uint64_t (*fingerprint)(const weft_test_cluster_t *self);
    void (*destroy)(weft_test_cluster_t **self_p); // also of one that was not started whole
};

struct weft_test_cluster {
    const struct weft_test_ops *ops;
    const struct weft_gate *gate;
    struct weft_test_options how; // its lists are copies
    size_t count;                 // the coordinators, then the brokers
    struct weft_test_node nodes[WEFT_TEST_NODES_MAX];
    char setting[WEFT_TEST_BROKERS_MAX * WEFT_ENDPOINT_BYTES_MAX + 16];
    weft_admin_t *admin;       // the test's own; NULL until needed
    weft_producer_t *producer; // likewise
    char text[WEFT_ERROR_TEXT_BYTES_MAX];
};

// Fills in nodes and gate of a zeroed cluster; no endpoints, no data. Refused: with a sentence.
WEFT_MUST_USE weft_err_t weft_test_cluster_init(weft_test_cluster_t *self, const struct weft_test_options *how,
                                                struct weft_error *error);
void weft_test_cluster_fini(weft_test_cluster_t *self);
/** What a node is started with, by its endpoint and data and those of the others. The caller destroys it. */
WEFT_MUST_USE weft_err_t weft_test_node_options(const weft_test_cluster_t *self, size_t node, weft_options_t **out,
                                                struct weft_error *error);
/** A mistake of the test: a sentence, and the end. */
_Noreturn void weft_test_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

WEFT_MUST_USE weft_err_t weft_test_real_new(const struct weft_test_options *how, weft_test_cluster_t **out,
                                            struct weft_error *error);
WEFT_MUST_USE weft_err_t weft_test_virtual_new(const struct weft_test_options *how, weft_test_cluster_t **out,
                                               struct weft_error *error);

#endif
