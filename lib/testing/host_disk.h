// SPDX-License-Identifier: MPL-2.0
/**
 * Host disk: the machine's own disk under one node of a test in real time; its syncs can be made slow, its writes made
 * to fail as if it were full. Safe from several threads.
 */
#ifndef WEFT_TESTING_HOST_DISK_H
#define WEFT_TESTING_HOST_DISK_H

#include "../base/disk.h"

typedef struct weft_host_disk weft_host_disk_t;

weft_host_disk_t *weft_host_disk_new(void);
void weft_host_disk_destroy(weft_host_disk_t **self_p); // after all files were closed
const struct weft_disk *weft_host_disk_of(weft_host_disk_t *self);
void weft_host_disk_slow(weft_host_disk_t *self, int64_t ms_per_sync);
void weft_host_disk_full(weft_host_disk_t *self, bool full);

#endif
