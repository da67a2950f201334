// SPDX-License-Identifier: MPL-2.0
/**
 * Removing a file without waiting for its bytes to go. For disk_posix.c only.
 *
 * The name is gone on return, as with unlink(2). What a large file holds (its pages in the cache, its blocks, and where
 * the file system is mounted with `discard` the word to the disk) goes bit by bit in a thread of its own. All at once it
 * takes 60 ms for 256 MiB on the disk of docs/PERFORMANCE.md, and every sync of the machine waits behind it.
 *
 * Caveats: whoever holds the file open sees it shrink, and must close it first if its bytes are to go there and not with
 * that close. Under another name (a hard link) it keeps everything.
 */
#ifndef WEFT_BASE_DISK_UNLINK_H
#define WEFT_BASE_DISK_UNLINK_H

// 0, or -1 with errno set, as unlink(2) does. Any thread.
int weft_disk_unlink(const char *path);

#endif
