// SPDX-License-Identifier: MPL-2.0
/**
 * A node that is a process of its own: `weft broker`, `weft tap`, `weft node run ./libcounter.so`.
 */
#ifndef WEFT_NODE_PROCESS_H
#define WEFT_NODE_PROCESS_H

#include "nodes.h"

/*
 * Runs the node, prints one line to stdout once it serves ("broker-1 serves tcp://127.0.0.1:9650") and, if it is
 * degraded, why, to stderr; then writes its endpoint to `ready_file` (NULL: none). With report_fd it tells a parent
 * how it is (node_report.h; -1: nobody). Waits for a signal or for the node to fail, and stops it. Returns the exit
 * status: 0 stopped cleanly, 1 failed (one sentence on stderr). Takes over options and library (NULL: none). Calls
 * weft_process_begin; a node that can't be stopped ends the process.
 */
int weft_node_process_run(const struct weft_node_type *type, weft_options_t **options_p, void **library_p,
                          const char *ready_file, int report_fd);

#endif
