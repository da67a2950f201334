// SPDX-License-Identifier: MPL-2.0
/**
 * Process: the main function of a node that is a process of its own, and the pieces of it for other long-running
 * commands.
 *
 * Signals: SIGTERM, SIGINT and SIGHUP (unless it is ignored, as nohup has it) are blocked in all threads and waited
 * for here. The first one stops cleanly, the second ends the process at once. SIGPIPE is ignored. Nothing of this
 * happens in a program that merely links the library.
 */
#ifndef WEFT_NET_PROCESS_H
#define WEFT_NET_PROCESS_H

#include "runtime.h"

// First of all, before any thread exists: blocks the signals, ignores SIGPIPE, raises the soft limit of open files to
// the hard one.
void weft_process_begin(void);
// Waits up to timeout_us (negative: for ever) for SIGTERM, SIGINT or SIGHUP; 0: none came. After one came, the next one ends
// the process.
int weft_process_wait_signal(int64_t timeout_us);

// How many I/O threads a node with these options gets: one a shard, at most one a core. With more, what a shard sends in
// one turn wakes several of them.
int weft_process_io_threads(const struct weft_parts_type *type, const weft_options_t *options);

/*
 * Creates the node, runs it, prints one line to stdout once it serves ("broker-1 serves tcp://127.0.0.1:9650"), waits
 * for a signal or for the node to fail, stops it within its option "stop.ms". Returns the exit status: 0 stopped
 * cleanly, 1 failed (one sentence on stderr). Calls weft_process_begin.
 */
int weft_process_run(const struct weft_parts_type *type, const weft_options_t *options);

#endif
