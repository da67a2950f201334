// SPDX-License-Identifier: MPL-2.0
/**
 * Report: what a node that is a child tells its parent on a pipe, a line each: endpoint, health, counters. `weft up
 * FILE` starts its children with --report-fd and reads them.
 *
 *     E tcp://127.0.0.1:9650
 *     H serving
 *     H degraded no coordinator answers
 *     C                                   counters follow, in place of those before
 *     c broker-1/0 records_appended_count 17
 */
#ifndef WEFT_NODE_REPORT_H
#define WEFT_NODE_REPORT_H

#include "base/bytes.h"

#include <weft/node.h>

enum weft_node_report_kind {
    WEFT_NODE_REPORT_ENDPOINT,
    WEFT_NODE_REPORT_HEALTH,
    WEFT_NODE_REPORT_COUNTERS,
    WEFT_NODE_REPORT_COUNTER
};

struct weft_node_report {
    enum weft_node_report_kind kind;
    enum weft_health health;
    uint64_t value;
    char source[64];
    char text[WEFT_ERROR_TEXT_BYTES_MAX]; // endpoint, sentence, name of the counter
};

// A line without its end; false: it is none of these.
bool weft_node_report_parse(const char *line, struct weft_node_report *out);

// Lines to append to `out`. Neither fails.
void weft_node_report_health(const weft_hosted_node_t *node, weft_buf_t *out); // with the endpoint
void weft_node_report_counters(const weft_hosted_node_t *node, weft_buf_t *out);
// Writes all; a parent that is gone or does not read is no trouble: then the rest is dropped.
void weft_node_report_write(int fd, weft_buf_t *lines);

#endif
