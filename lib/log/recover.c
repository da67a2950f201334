// SPDX-License-Identifier: MPL-2.0
/*
 * Recovery, in two phases (REPLICATION.md rules 9, 10, 13, 14). The first only reads: it finds where the log ends, or
 * that it is damaged, and then nothing was changed. The second makes the files agree with that, durably, before
 * anything may be appended: what was cut can never be taken for records later.
 *
 * What is read: a sealed segment that ends at or below the synced end is trusted by its index footer and its size. Any
 * other is verified, byte by byte, from its last index entry below the synced end. The first thing that is no batch at
 * the expected offset ends the log: below the synced end that is damage, above it a torn tail, and whatever stands
 * behind it goes, whole batches too.
 */
#include "log_internal.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <stdio.h>
#include <stdlib.h>

#define S_COPY_BYTES (1024 * 1024)
#define S_DIRECTORY_LEVELS_MAX 4 // data directory / topics / topic / partition

struct s_recovery {
    weft_log_t *log;
    struct weft_log_recovery *report;
    struct weft_error *error;
    int64_t synced_end; // as far as damage is called damage
    int64_t *bases;     // of all segment files found, ascending
    size_t base_count, base_capacity;
    bool torn; // the log's last segment has bytes behind its end
    bool epochs_good, epochs_changed;
    bool unlinked;
};

static void s_found(void *context, const char *name, bool is_directory)
{
    struct s_recovery *self = context;
    int64_t offset;
    if (is_directory) return;
    if (weft_log_name_parse(name, ".sessions", &offset)) weft_log_snapshot_note(self->log, offset);
    if (weft_log_is_leftover(name)) self->log->leftovers = true;
    if (!weft_log_name_parse(name, ".log", &offset)) return;
    if (self->base_count == self->base_capacity) {
        self->base_capacity = self->base_capacity ? self->base_capacity * 2 : 8;
        self->bases = weft_realloc(self->bases, self->base_capacity * sizeof *self->bases);
    }
    self->bases[self->base_count++] = offset;
}

static weft_err_t s_disk_error(struct s_recovery *self, weft_err_t err, const char *doing)
{
    return weft_error_set(self->error, err, "%s '%s' failed: %s", doing, self->log->directory, weft_err_sentence(err));
}

static weft_err_t s_list(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    weft_err_t err = log->disk->ops->list(log->disk, log->directory, s_found, self);
    if (err == WEFT_ERR_NOT_FOUND) err = log->disk->ops->mkdir(log->disk, log->directory);
    return err ? s_disk_error(self, err, "opening the log directory") : WEFT_OK;
}

static weft_err_t s_mark_damaged(struct s_recovery *self, const char *name)
{
    return weft_error_set(
        self->error, WEFT_ERR_DAMAGED,
        "'%s/%s' is damaged: 24 bytes with a matching checksum are expected; nothing was changed, restore "
        "this replica from another",
        self->log->directory, name);
}

static weft_err_t s_marks(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    int64_t start[2] = {0, 0}, cut[2];
    weft_err_t err = weft_log_mark_load(log->disk, log->directory, "start", start);
    if (err == WEFT_ERR_DAMAGED) return s_mark_damaged(self, "start");
    if (err && err != WEFT_ERR_NOT_FOUND) return s_disk_error(self, err, "reading the start of");
    log->start_offset = start[0];

    err = weft_log_mark_load(log->disk, log->directory, "cut", cut);
    if (err == WEFT_ERR_DAMAGED) return s_mark_damaged(self, "cut");
    if (err && err != WEFT_ERR_NOT_FOUND) return s_disk_error(self, err, "reading the cut mark of");
    if (!err) {
        log->cut_to = cut[0];
        log->cut_from = cut[1];
        if (cut[0] < self->synced_end)
            self->synced_end = cut[0]; // what was recorded above may be from before the truncation
    }
    int64_t compacted[2] = {0, 0};
    err = weft_log_mark_load(log->disk, log->directory, "compacted", compacted);
    if (err == WEFT_ERR_DAMAGED) return s_mark_damaged(self, "compacted");
    if (err && err != WEFT_ERR_NOT_FOUND) return s_disk_error(self, err, "reading the compaction mark of");
    log->compacted = compacted[0];
    log->tombstones_below = compacted[1];
    err = weft_log_epochs_load(log, &self->epochs_good);
    return err ? s_disk_error(self, err, "reading the epochs of") : WEFT_OK;
}

// ---- phase one: one segment

static weft_err_t s_damaged(struct s_recovery *self, const struct weft_segment *segment, const char *reason)
{
    return weft_error_set(
        self->error, WEFT_ERR_DAMAGED,
        "'%s/%020lld.log' is damaged at byte %lld: offset %lld is expected there (the log was synced up to "
        "%lld), but %s; nothing was changed, restore this replica from another",
        self->log->directory, (long long) segment->base_offset, (long long) segment->bytes,
        (long long) segment->end_offset, (long long) self->synced_end, reason);
}

// A batch that recovery has read: does the epochs file know its epoch?
static void s_batch(void *context, const struct weft_batch *batch, int64_t position)
{
    struct s_recovery *self = context;
    weft_log_t *log = self->log;
    weft_log_index_note(log, weft_log_active(log), batch);
    if (!self->epochs_good || weft_log_epoch_at(log, batch->base_offset) == batch->leader_epoch) return;
    const struct weft_log_epoch *last = log->epoch_count ? &log->epochs[log->epoch_count - 1] : NULL;
    if (last && (last->epoch >= batch->leader_epoch || last->start_offset >= batch->base_offset)) {
        self->epochs_good = false;
        return;
    }
    weft_log_epochs_note(log, batch->leader_epoch, batch->base_offset);
    self->epochs_changed = true;
}

// The number of the segment file that begins at `offset`; base_count if there is none.
static size_t s_base_find(const struct s_recovery *self, int64_t offset)
{
    size_t low = 0, high = self->base_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (self->bases[middle] < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < self->base_count && self->bases[low] == offset ? low : self->base_count;
}

// Reads the footer of a sealed segment. False: it must be verified.
static weft_err_t s_trust(struct s_recovery *self, struct weft_segment *segment, bool *trusted)
{
    uint8_t bytes[WEFT_INDEX_FOOTER_BYTES];
    int64_t index_bytes, file_bytes;
    size_t got;
    struct weft_segment told = *segment;
    const struct weft_disk_ops *ops = self->log->disk->ops;
    *trusted = false;
    if (!segment->index_file) return WEFT_OK;
    weft_err_t err = ops->size(segment->index_file, &index_bytes);
    if (err) return err;
    int64_t at = index_bytes - WEFT_INDEX_FOOTER_BYTES;
    if (at < 0 || at % WEFT_INDEX_ENTRY_BYTES) return WEFT_OK;
    err = ops->pread(segment->index_file, bytes, sizeof bytes, at, &got);
    if (!err) err = ops->size(segment->file, &file_bytes);
    if (err) return err;
    if (got != sizeof bytes || !weft_index_footer_read(bytes, &told)) return WEFT_OK;
    if (told.bytes != file_bytes || told.end_offset > self->synced_end) return WEFT_OK;
    if (s_base_find(self, told.end_offset) == self->base_count) return WEFT_OK;
    if (weft_log_epoch_at(self->log, told.end_offset - 1) != told.last_epoch) self->epochs_good = false;
    told.index_count = at / WEFT_INDEX_ENTRY_BYTES;
    *segment = told;
    *trusted = true;
    return WEFT_OK;
}

// Where verification may begin: the last good index entry below the synced end.
static weft_err_t s_begin(struct s_recovery *self, struct weft_segment *segment, struct weft_index_entry *entry)
{
    struct weft_index_want want = {.by_time = false, .bound = self->synced_end - 1};
    int64_t index_bytes, index;
    *entry = weft_index_origin(segment);
    segment->index_count = 0;
    if (!segment->index_file) return WEFT_OK;
    weft_err_t err = self->log->disk->ops->size(segment->index_file, &index_bytes);
    if (err) return err;
    segment->index_count = index_bytes / WEFT_INDEX_ENTRY_BYTES;
    err = weft_index_search(segment, &want, true, entry, &index);
    if (err) return err;
    segment->index_count = index + 1;
    return WEFT_OK;
}

static weft_err_t s_verify_from(struct s_recovery *self, struct weft_segment *segment,
                                const struct weft_index_entry *entry, int32_t epoch, struct weft_verify *verify)
{
    *verify = (struct weft_verify){.file = segment->file,
                                   .position = entry->position,
                                   .offset = entry->offset,
                                   .epoch = entry->position ? entry->epoch : epoch,
                                   .each = s_batch,
                                   .context = self};
    weft_buf_clear(&self->log->index_page);
    self->log->index_since_bytes = 0;
    segment->verified_from = segment->bytes = entry->position;
    segment->end_offset = entry->offset;
    segment->max_timestamp_ms = entry->max_before_ms;
    segment->last_epoch = verify->epoch;
    weft_err_t err = weft_segment_verify(verify);
    self->report->verified_bytes += verify->read_bytes;
    return err;
}

// The first batch's time, when verification did not pass it.
static weft_err_t s_first_time(struct weft_segment *segment)
{
    struct weft_segment_walk walk;
    struct weft_batch batch;
    weft_segment_walk_init(&walk, segment->file, 0, segment->bytes);
    weft_err_t err = weft_segment_walk_peek(&walk, &batch);
    if (!err) segment->first_timestamp_ms = batch.base_timestamp_ms;
    return err == WEFT_ERR_NOT_FOUND || err == WEFT_ERR_DAMAGED ? WEFT_OK : err;
}

static weft_err_t s_verify(struct s_recovery *self, struct weft_segment *segment, int32_t epoch,
                           struct weft_verify *verify)
{
    struct weft_index_entry entry;
    weft_err_t err = s_begin(self, segment, &entry);
    if (err) return err;
    if (entry.position && self->epochs_good && weft_log_epoch_at(self->log, entry.offset) != entry.epoch)
        self->epochs_good = false;
    err = s_verify_from(self, segment, &entry, epoch, verify);
    if (!err && entry.position && verify->read_bytes == 0) { // an entry that points at no such batch says nothing
        entry = weft_index_origin(segment);
        segment->index_count = 0;
        err = s_verify_from(self, segment, &entry, epoch, verify);
    }
    if (err) return err;
    if (segment->bytes == 0) segment->last_epoch = -1;
    return entry.position ? s_first_time(segment) : WEFT_OK;
}

static weft_err_t s_open_files(struct s_recovery *self, struct weft_segment *segment)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_log_t *log = self->log;
    weft_err_t err = weft_segment_open(segment, log->disk, log->directory);
    if (err) return err;
    weft_log_path(path, log->directory, segment->base_offset, ".index");
    err = log->disk->ops->open(log->disk, path, WEFT_OPEN_WRITE, &segment->index_file);
    return err == WEFT_ERR_NOT_FOUND ? WEFT_OK : err;
}

// The segment goes on in another file: nothing is appended to it any more.
static void s_sealed(struct s_recovery *self, struct weft_segment *segment, bool trusted)
{
    if (!trusted) (void) !weft_log_index_seal(self->log, segment); // had again at need
    segment->sealed = true;
    // Recovered but not known to be synced: held open for the first sync.
    if (segment->end_offset > self->synced_end) weft_log_pending_add(self->log, segment->file, segment->end_offset);
    weft_segment_close(segment);
}

/*
 * One segment, the last in the list: *next is the file in which the log goes on, base_count if it ends here. That is
 * the one that begins where this one ends; others in between are left over from a roll that failed.
 */
static weft_err_t s_segment(struct s_recovery *self, size_t *next)
{
    weft_log_t *log = self->log;
    struct weft_segment *segment = weft_log_active(log);
    int32_t epoch = log->segment_count > 1 ? segment[-1].last_epoch : -1;
    struct weft_verify verify;
    bool trusted = false, last = segment->base_offset == self->bases[self->base_count - 1];
    *next = self->base_count;
    weft_err_t err = s_open_files(self, segment);
    if (!err && !last) err = s_trust(self, segment, &trusted);
    if (!err && !trusted) err = s_verify(self, segment, epoch, &verify);
    if (err) return s_disk_error(self, err, "reading the log in");
    // A sealed segment below the synced end had an index; another has one as soon as it has an entry.
    bool had_none = segment->index_count == 0 && log->index_page.size;
    if (!trusted && (had_none || (!last && segment->end_offset <= self->synced_end))) self->report->indexes_rebuilt++;
    if (!trusted && verify.reason[0]) {
        bool damage = segment->end_offset < self->synced_end && !weft_mutated("damage_cut_as_torn");
        if (damage) return s_damaged(self, segment, verify.reason);
        if (!verify.zeros) self->report->cut_bytes += verify.file_bytes - segment->bytes;
        self->torn = true;
        return WEFT_OK;
    }
    if (segment->bytes) *next = s_base_find(self, segment->end_offset);
    if (*next < self->base_count)
        s_sealed(self, segment, trusted);
    else if (!last && segment->end_offset < self->synced_end)
        return s_damaged(self, segment, "the file ends and no segment goes on from there");
    return WEFT_OK;
}

// ---- phase one: the whole

// Segments wholly below the start were to be removed; one that holds the start must be there. *first: its number.
static weft_err_t s_first_segment(struct s_recovery *self, size_t *first)
{
    int64_t start = self->log->start_offset;
    *first = 0;
    while (*first + 1 < self->base_count && self->bases[*first + 1] <= start) ++*first;
    if (self->base_count && self->bases[*first] <= start) return WEFT_OK;
    *first = self->base_count;
    if (self->synced_end <= start) return WEFT_OK;
    return weft_error_set(
        self->error, WEFT_ERR_DAMAGED,
        "'%s' holds no segment with offset %lld, though the log was synced up to %lld; nothing was changed, "
        "restore this replica from another",
        self->log->directory, (long long) start, (long long) self->synced_end);
}

static weft_err_t s_end(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    int64_t end = log->segment_count ? weft_log_end(log) : log->start_offset;
    if (weft_mutated("damage_cut_as_torn")) return WEFT_OK;
    if (end < self->synced_end && log->start_offset < self->synced_end)
        return s_damaged(self, weft_log_active(log), "the file ends");
    if (end < log->start_offset) { // all that is left was deleted: begin empty where the log is said to start
        while (log->segment_count) weft_log_segment_drop_last(log);
        weft_log_pending_clear(log);
        weft_buf_clear(&log->index_page);
        self->torn = false;
    }
    return WEFT_OK;
}

static weft_err_t s_read(struct s_recovery *self)
{
    size_t at;
    weft_err_t err = s_first_segment(self, &at);
    while (!err && at < self->base_count) {
        weft_log_segment_push(self->log, self->bases[at]);
        err = s_segment(self, &at);
    }
    return err ? err : s_end(self);
}

static weft_err_t s_rebuild_epochs(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    log->epoch_count = 0;
    self->epochs_changed = true;
    for (size_t i = 0; i < log->segment_count; i++) {
        struct weft_segment *segment = &log->segments[i];
        struct weft_segment_walk walk;
        struct weft_batch batch;
        weft_err_t err = weft_log_use(log, segment);
        if (err) return err;
        weft_segment_walk_init(&walk, segment->file, 0, segment->bytes);
        while (!(err = weft_segment_walk_next(&walk, &batch)))
            weft_log_epochs_note(log, batch.leader_epoch, batch.base_offset);
        if (err != WEFT_ERR_NOT_FOUND) return err;
    }
    return WEFT_OK;
}

// ---- phase two

static weft_err_t s_remove_segment(struct s_recovery *self, size_t at)
{
    weft_log_t *log = self->log;
    struct weft_segment segment;
    int64_t bytes = 0;
    weft_segment_init(&segment, self->bases[at]);
    weft_err_t err = weft_segment_open(&segment, log->disk, log->directory);
    if (!err) err = log->disk->ops->size(segment.file, &bytes);
    weft_segment_close(&segment);
    if (!err && self->bases[at] >= log->start_offset) self->report->cut_bytes += bytes;
    if (!err) err = weft_log_unlink(log, self->bases[at], ".log");
    if (!err) err = weft_log_unlink(log, self->bases[at], ".index");
    self->unlinked = true;
    return err;
}

// Every segment file that is not the log's, newest first.
static weft_err_t s_remove_segments(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    weft_err_t err = WEFT_OK;
    size_t kept = log->segment_count;
    for (size_t i = self->base_count; i > 0 && !err; i--) {
        if (kept && log->segments[kept - 1].base_offset == self->bases[i - 1])
            kept--;
        else
            err = s_remove_segment(self, i - 1);
    }
    return err;
}

// The segment that goes on: nothing behind its end, no index entry that was not derived from it.
static weft_err_t s_fix_active(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    struct weft_segment *active = weft_log_active(log);
    weft_err_t err = WEFT_OK;
    int64_t index_bytes;
    // A truncation that was cut short may be seen here and not be on the disk: what it took away must not come back
    // either.
    if (self->torn || log->cut_from) {
        err = log->disk->ops->truncate(active->file, active->bytes);
        if (!err) err = log->disk->ops->sync(active->file);
        if (err) return err;
    }
    if (active->index_file) {
        err = log->disk->ops->size(active->index_file, &index_bytes);
        if (!err && index_bytes != active->index_count * WEFT_INDEX_ENTRY_BYTES) {
            err = log->disk->ops->truncate(active->index_file, active->index_count * WEFT_INDEX_ENTRY_BYTES);
            if (!err) err = log->disk->ops->sync(active->index_file);
        }
    }
    if (!err && weft_log_index_flush(log, active)) weft_buf_clear(&log->index_page);
    active->sealed = false;
    return err;
}

/*
 * Bytes that nobody knows to be synced are written again, as they were read. They may stand in the page cache alone:
 * after an fdatasync that failed, Linux calls such pages clean, and the sync of a later process would succeed without
 * writing them (REPLICATION.md rule 11). Written again they are dirty, and the first sync means what it says.
 */
static weft_err_t s_write_again(struct weft_segment *segment, weft_buf_t *scratch)
{
    const struct weft_disk_ops *ops = segment->file->disk->ops;
    weft_err_t err = WEFT_OK;
    for (int64_t at = segment->verified_from; at < segment->bytes && !err; at += (int64_t) scratch->size) {
        size_t size = S_COPY_BYTES, got;
        if (segment->bytes - at < (int64_t) size) size = (size_t) (segment->bytes - at);
        weft_buf_clear(scratch);
        weft_buf_reserve(scratch, size);
        err = ops->pread(segment->file, scratch->data, size, at, &got);
        if (err) return err;
        scratch->size = got;
        weft_slice_t slice = weft_buf_slice(scratch);
        if (got < size) return WEFT_ERR_DISK_FAILED;
        err = ops->pwritev(segment->file, &slice, 1, at);
    }
    return err;
}

static weft_err_t s_write_unsynced_again(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    weft_buf_t scratch;
    weft_err_t err = WEFT_OK;
    weft_buf_init(&scratch);
    for (size_t i = 0; i < log->segment_count && !err; i++) {
        struct weft_segment *segment = &log->segments[i];
        if (segment->end_offset <= self->synced_end || segment->verified_from < 0) continue;
        bool closed = segment->file == NULL;
        err = weft_segment_open(segment, log->disk, log->directory);
        if (!err) err = s_write_again(segment, &scratch);
        if (closed) weft_segment_close(segment);
    }
    weft_buf_fini(&scratch);
    if (!err && log->epoch_count && log->epochs[log->epoch_count - 1].start_offset >= self->synced_end)
        self->epochs_changed = true; // likewise
    return err;
}

// How many directories, from the log's own upwards, belong to the data directory: that is the one with the file
// `identity`. Above it is not ours.
static uint8_t s_levels(const weft_log_t *log)
{
    char path[WEFT_LOG_PATH_BYTES_MAX], above[sizeof log->directory];
    weft_file_t *file;
    strcpy(above, log->directory);
    for (uint8_t levels = 1; levels < S_DIRECTORY_LEVELS_MAX; levels++) {
        weft_log_path_named(path, above, "identity");
        if (!log->disk->ops->open(log->disk, path, WEFT_OPEN_READ, &file)) {
            log->disk->ops->close(&file);
            return levels;
        }
        char *slash = strrchr(above, '/');
        if (!slash || slash == above) return levels;
        *slash = '\0';
    }
    return S_DIRECTORY_LEVELS_MAX;
}

// What was recovered and not known to be synced goes with the first sync.
static void s_mark_unsynced(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    struct weft_segment *active = weft_log_active(log);
    log->synced_end = self->synced_end < active->end_offset ? self->synced_end : active->end_offset;
    // Nobody knows whether the entries in this directory, and its own in those above, ever reached the disk.
    log->directory_levels_dirty = 0;
    log->directory_levels_unknown = s_levels(log);
    if (active->end_offset <= log->synced_end) {
        weft_segment_close(active);
        return;
    }
    active->dirty = true;
}

static weft_err_t s_write(struct s_recovery *self)
{
    weft_log_t *log = self->log;
    bool removed;
    weft_err_t err = s_remove_segments(self);
    if (!err && log->segment_count == 0) {
        err = weft_log_segment_create(log, log->start_offset);
        self->torn = false;
    }
    if (!err) err = s_fix_active(self);
    if (!err) err = weft_log_snapshots_cut(log, weft_log_end(log), &removed);
    if (!err) self->unlinked |= removed;
    if (!err) err = s_write_unsynced_again(self);
    if (!err && self->epochs_changed) err = weft_log_epochs_store(log);
    if (!err && (self->unlinked || log->cut_from)) err = log->disk->ops->sync_directory(log->disk, log->directory);
    // What comes above the end is new, whatever stood there once.
    if (!err && log->compacted > weft_log_end(log))
        err = weft_log_compacted_store(log, weft_log_end(log), log->tombstones_below);
    if (!err) s_mark_unsynced(self);
    if (!err && log->leftovers) weft_log_remove_leftovers(log);
    return err ? s_disk_error(self, err, "repairing the log in") : WEFT_OK;
}

static weft_err_t s_recover(struct s_recovery *self)
{
    weft_err_t err = weft_log_swap_finish(self->log->disk, self->log->directory, self->error);
    if (!err) err = s_list(self);
    if (!err) err = s_marks(self);
    if (!err) err = s_read(self);
    if (err) return err;
    if (!self->epochs_good) {
        err = s_rebuild_epochs(self);
        if (err) return s_disk_error(self, err, "reading the epochs from the batches in");
    }
    int64_t end = self->log->segment_count ? weft_log_end(self->log) : self->log->start_offset;
    if (weft_log_epochs_cut(self->log, end)) self->epochs_changed = true;
    return s_write(self);
}

weft_err_t weft_log_recover(weft_log_t *log, int64_t synced_end, struct weft_log_recovery *report,
                            struct weft_error *error)
{
    struct s_recovery self = {.log = log, .report = report, .error = error, .synced_end = synced_end};
    *report = (struct weft_log_recovery){0};
    log->recovering = true;
    weft_err_t err = s_recover(&self);
    log->recovering = false;
    free(self.bases);
    if (!err) report->log_end = weft_log_end(log);
    return err;
}
