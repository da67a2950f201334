// SPDX-License-Identifier: MPL-2.0
/**
 * What the two files of the shim share: shim.c (what is watched, the journal, the rules) and shim_calls.c (the calls
 * that it stands in for). Nothing of it is seen by the process that it is loaded into.
 */
#ifndef WEFT_FAULT_SHIM_SELF_H
#define WEFT_FAULT_SHIM_SELF_H

#include "shim.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SHIM_DESCRIPTORS 65536

#pragma GCC visibility push(hidden)

struct shim_descriptor {
    char *path; // NULL: not watched
    uint64_t inode;
    bool directory;
};

// The calls themselves, looked up once: dlsym in every call would cost more than the call.
struct shim_real {
    __typeof__(&open) open;
    __typeof__(&close) close;
    __typeof__(&write) write;
    __typeof__(&pwrite) pwrite;
    __typeof__(&pwritev) pwritev;
    __typeof__(&pread) pread;
    __typeof__(&fsync) fsync;
    __typeof__(&fdatasync) fdatasync;
    __typeof__(&syncfs) syncfs;
    __typeof__(&rename) rename;
    __typeof__(&unlink) unlink;
    __typeof__(&mkdir) mkdir;
    __typeof__(&rmdir) rmdir;
    __typeof__(&ftruncate) ftruncate;
    __typeof__(&fallocate) fallocate;
    __typeof__(&clock_gettime) clock_gettime;
    __typeof__(&statvfs) statvfs;
};

struct shim_fate {
    bool fails; // with errno set
    bool halves;
    bool dies;
};

extern struct shim_real shim_real;
extern struct shim_descriptor shim_open_files[SHIM_DESCRIPTORS];
extern int shim_journal;                       // -1: none
extern struct shim_control *shim_control_page; // NULL: none
extern atomic_llong shim_numbers;              // tokens and graves

void shim_resolve(void); // before shim_real is used: calls may come before the constructor

// The absolute path, or false if it is not below the watched directory.
bool shim_watched(const char *path, char out[PATH_MAX]);
struct shim_descriptor *shim_find(int fd); // NULL: not watched
void shim_remember(int fd, const char *path);

void shim_note(enum shim_event_type type, uint64_t inode, int64_t a, int64_t b, int64_t c, const void *text,
               size_t bytes);
void shim_note_path(enum shim_event_type type, uint64_t inode, int64_t a, int64_t b, const char *path);
// Keeps a file that is about to lose its name; its number, 0 if there was none.
int64_t shim_bury(const char *path);
uint64_t shim_inode_of(const char *path);

// What the rules say of this call, after their delays; shim_end when it is done.
struct shim_fate shim_fate_of(enum shim_op op, const char *path);
void shim_end(struct shim_fate fate);

#pragma GCC visibility pop

#endif
