// SPDX-License-Identifier: MPL-2.0
/**
 * Process: what a long-running command does with signals and limits.
 *
 * Signals: SIGTERM, SIGINT and SIGHUP (unless it is ignored, as nohup has it) are blocked in all threads and waited
 * for here. The first one stops cleanly, the second ends the process at once. SIGPIPE is ignored. Nothing of this
 * happens in a program that merely links the library.
 */
#ifndef WEFT_NET_PROCESS_H
#define WEFT_NET_PROCESS_H

#include <stdint.h>

// First of all, before any thread exists: blocks the signals, ignores SIGPIPE, raises the soft limit of open files to
// the hard one.
void weft_process_begin(void);
// Waits up to timeout_us (negative: for ever) for SIGTERM, SIGINT or SIGHUP; 0: none came. After one came, the next one ends
// the process.
int weft_process_wait_signal(int64_t timeout_us);

#endif
