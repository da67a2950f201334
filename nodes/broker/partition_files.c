// SPDX-License-Identifier: MPL-2.0
// Descriptors. A log in use holds a few, and a shard may have more partitions than the process has descriptors; running
// out of them would fail a sync, which is for ever (rule 11). So a shard keeps at most its share of logs open, in the
// order of their last use: another one is opened when the longest unused that is synced has given its files back.
#include "partition.h"

#include <sys/resource.h>

#define S_FILES_A_LOG 4 // its active segment, that one's index, the epochs, and one for a reader of old segments
#define S_OPEN_MIN 8

size_t weft_shard_open_max(size_t shard_count)
{
    struct rlimit files;
    size_t share = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < SIZE_MAX ? (size_t) files.rlim_cur : 1024;
    share = share / 2 / S_FILES_A_LOG / shard_count; // the other half is for sockets, and for what is open in passing
    return share < S_OPEN_MIN ? S_OPEN_MIN : share;
}

void weft_partition_unuse(weft_partition_t *self)
{
    weft_shard_t *shard = self->shard;
    if (!self->in_used) return;
    if (self->used_before != NULL)
        self->used_before->used_after = self->used_after;
    else
        shard->used_first = self->used_after;
    if (self->used_after != NULL)
        self->used_after->used_before = self->used_before;
    else
        shard->used_last = self->used_before;
    self->used_before = self->used_after = NULL;
    self->in_used = false;
    shard->used_count--;
}

void weft_partition_idle(weft_partition_t *self)
{
    if (self->log == NULL || self->in_dirty || self->syncs_in_flight != 0 || weft_log_dirty(self->log)) return;
    weft_log_idle(self->log);
    weft_partition_unuse(self);
}

bool weft_shard_make_room(weft_shard_t *shard)
{
    weft_partition_t *next;
    for (weft_partition_t *one = shard->used_first; one != NULL && shard->used_count >= shard->used_max; one = next) {
        next = one->used_after;
        weft_partition_idle(one);
    }
    if (shard->used_count < shard->used_max) return true;
    shard->sync_urgent = true; // what is synced can be closed
    return false;
}

void weft_partition_used(weft_partition_t *self)
{
    weft_shard_t *shard = self->shard;
    self->used_us = weft_port_now_us(&shard->port);
    if (shard->used_last == self) return;
    weft_partition_unuse(self);
    self->used_before = shard->used_last;
    if (shard->used_last != NULL)
        shard->used_last->used_after = self;
    else
        shard->used_first = self;
    shard->used_last = self;
    self->in_used = true;
    shard->used_count++;
}
