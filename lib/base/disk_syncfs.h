// SPDX-License-Identifier: MPL-2.0
/**
 * syncfs(2) that misses no error. For disk_posix.c only.
 *
 * A write-back error is reported once to every descriptor that was open before somebody saw it; one opened later never
 * hears of it. So a descriptor of each file system is kept from before the first write to it, and a failure is
 * remembered: whoever asks next, maybe for another node of this process, is told too.
 */
#ifndef WEFT_BASE_DISK_SYNCFS_H
#define WEFT_BASE_DISK_SYNCFS_H

#include "error.h"

// Before anything is written through `fd`, which was opened at `path`. Any thread.
WEFT_MUST_USE weft_err_t weft_disk_syncfs_watch(int fd, const char *path);
// Syncs the file system of the directory `path`; blocks. Once it failed it fails for ever. Any thread, one at a time.
WEFT_MUST_USE weft_err_t weft_disk_syncfs(const char *path);

#endif
