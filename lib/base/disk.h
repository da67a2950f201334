// SPDX-License-Identifier: MPL-2.0
/**
 * Disk: the few file operations that logs and node directories need, as an interface.
 *
 * weft_disk_posix() is the real one; tests/support has one that fails the n-th call (EIO, ENOSPC, short write),
 * tests/sim has one in memory that loses unsynced bytes at a crash. Everything that is kept goes through here, so that
 * a fault can be put under every call.
 *
 * Paths are relative to the process or absolute; '/' separates. Files are counted: weft_file_ref lets the sync part
 * hold a file that the log closes meanwhile. pread, pwrite and sync of one file may be called from different threads.
 * Errors: DISK_FULL, NOT_FOUND, DISK_FAILED, LOCKED; a failed sync means that the bytes are in doubt for ever: it is
 * never retried (REPLICATION.md rule 11).
 */
#ifndef WEFT_BASE_DISK_H
#define WEFT_BASE_DISK_H

#include "bytes.h"

typedef struct weft_file weft_file_t;
struct weft_disk;

enum weft_open_mode {
    WEFT_OPEN_READ,  // must exist
    WEFT_OPEN_WRITE, // read and write, must exist
    WEFT_OPEN_CREATE // read and write, made if absent, kept if present
};

typedef void weft_disk_list_fn(void *context, const char *name, bool is_directory);

struct weft_disk_ops {
    weft_err_t (*open)(const struct weft_disk *disk, const char *path, enum weft_open_mode mode, weft_file_t **out);
    void (*ref)(weft_file_t *file);
    void (*close)(weft_file_t **file_p); // drops one reference; nulls
    // Reads up to `size` bytes; *got is less only at the end of the file.
    weft_err_t (*pread)(weft_file_t *file, void *data, size_t size, int64_t offset, size_t *got);
    // Writes all slices, back to back, or fails (then any prefix may have been written).
    weft_err_t (*pwritev)(weft_file_t *file, const weft_slice_t *slices, size_t count, int64_t offset);
    weft_err_t (*size)(weft_file_t *file, int64_t *bytes);
    weft_err_t (*truncate)(weft_file_t *file, int64_t bytes);
    // may be a no-op; never changes what is read below the old size
    weft_err_t (*preallocate)(weft_file_t *file, int64_t bytes);
    weft_err_t (*sync)(weft_file_t *file); // fdatasync: blocks
    weft_err_t (*rename)(const struct weft_disk *disk, const char *from, const char *to);
    weft_err_t (*unlink)(const struct weft_disk *disk, const char *path);
    // an existing directory is no error; parents are made too, and made durable
    weft_err_t (*mkdir)(const struct weft_disk *disk, const char *path);
    weft_err_t (*rmdir)(const struct weft_disk *disk, const char *path); // must be empty
    // makes creates, renames, unlinks in it durable
    weft_err_t (*sync_directory)(const struct weft_disk *disk, const char *path);
    // sorted by name
    weft_err_t (*list)(const struct weft_disk *disk, const char *path, weft_disk_list_fn *each, void *context);
    // Exclusive lock for the life of the process or until close; LOCKED if another holds it. Writes the holder's pid in
    // it.
    weft_err_t (*lock)(const struct weft_disk *disk, const char *path, weft_file_t **out);
    weft_err_t (*free_bytes)(const struct weft_disk *disk, const char *path, int64_t *bytes);
    // Optional, NULL if the disk has none: syncs everything written to the file system of `path`, names included
    // (syncfs): blocks.
    weft_err_t (*sync_all)(const struct weft_disk *disk, const char *path);
};

struct weft_disk {
    const struct weft_disk_ops *ops;
    void *self;
};

// Every file begins with this, whichever disk made it.
struct weft_file {
    const struct weft_disk *disk;
};

const struct weft_disk *weft_disk_posix(void);

// Conveniences over the ops.
// The whole file, refused (TOO_LARGE) beyond bytes_max. `out` must be initialised; it is replaced.
WEFT_MUST_USE weft_err_t weft_disk_read_file(const struct weft_disk *disk, const char *path, size_t bytes_max,
                                             weft_buf_t *out);
// Writes path.tmp, syncs it, renames it over path, syncs the directory: after a crash either the old or the new content
// is there.
WEFT_MUST_USE weft_err_t weft_disk_replace_file(const struct weft_disk *disk, const char *path, weft_slice_t bytes);
// Removes a directory and all in it.
WEFT_MUST_USE weft_err_t weft_disk_remove_tree(const struct weft_disk *disk, const char *path);

#endif
