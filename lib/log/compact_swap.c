// SPDX-License-Identifier: MPL-2.0
/*
 * Begin and done: what happens to the log itself. The swap is one small file, `swap`, which names every new segment and
 * the old ones in whose place it comes, and the marks that are true afterwards. Before it is there (durably) a crash
 * leaves the old log and some files that the next start removes; from then on a start carries it out: the same steps,
 * each of which may have been done already.
 *
 *   new files written, synced, the directory synced     (the run)
 *   `swap` written, synced, the directory synced
 *   old segments unlinked, new ones renamed into place
 *   mark `compacted` replaced, which syncs the directory
 *   `swap` unlinked, the directory synced: nobody may meet it again once other files bear those names
 *
 * Tombstones are gone only when `tombstones_below` says so: it is in `swap`. `compacted` may lag behind, never lead.
 */
#include "compact_internal.h"

#include "../base/assert.h"
#include "../base/crc32c.h"
#include "../base/mutate.h"
#include "../base/trace.h"

#include <stdlib.h>

#define S_FORMAT 1
#define S_HEAD_BYTES 24 // format, compacted, tombstones_below, count
#define S_FILE_BYTES_MAX (64 * 1024 * 1024)
#define S_SEGMENTS_MAX (1024 * 1024) // of one run: its swap fits into that

// ---- begin

static bool s_young(const struct weft_segment *segment, const struct weft_compact_wish *wish)
{
    if (wish->lag_ms <= 0 || segment->bytes == 0) return false;
    return segment->max_timestamp_ms > wish->now_ms - wish->lag_ms;
}

// How many segments, from the first on, may be worked on.
static size_t s_sources(const weft_log_t *self, const struct weft_compact_wish *wish)
{
    int64_t limit = wish->limit < self->synced_end ? wish->limit : self->synced_end;
    size_t count = 0;
    while (count + 1 < self->segment_count && count < S_SEGMENTS_MAX && self->segments[count].end_offset <= limit &&
           !s_young(&self->segments[count], wish))
        count++;
    return count;
}

void weft_log_compact_dirt(const weft_log_t *self, const struct weft_compact_wish *wish, struct weft_compact_dirt *out)
{
    size_t count = s_sources(self, wish);
    *out = (struct weft_compact_dirt){0};
    for (size_t i = 0; i < count; i++) {
        out->total_bytes += self->segments[i].bytes;
        if (self->segments[i].end_offset > self->compacted) out->dirty_bytes += self->segments[i].bytes;
    }
    const struct weft_segment *active = weft_log_active_const(self);
    bool all = count + 1 == self->segment_count && active->end_offset <= wish->limit &&
               active->end_offset <= self->synced_end && !s_young(active, wish);
    if (all) out->active_bytes = active->bytes;
}

static int s_compare_sessions(const void *a, const void *b)
{
    int64_t x = ((const struct weft_compact_session *) a)->producer_id;
    int64_t y = ((const struct weft_compact_session *) b)->producer_id;
    return x < y ? -1 : x > y;
}

static void s_take_wish(weft_compact_t *job, const struct weft_compact_wish *wish)
{
    struct weft_compact_rule *rule = &job->rule;
    rule->now_ms = wish->now_ms;
    if (__builtin_add_overflow(wish->now_ms, wish->delete_retention_ms, &rule->horizon_ms))
        rule->horizon_ms = INT64_MAX; // for ever
    rule->tombstones_limit = wish->tombstones_limit;
    weft_compact_map_init(&rule->map, wish->memory_bytes, wish->seed);
    rule->session_count = wish->session_count;
    rule->sessions = weft_alloc(wish->session_count * sizeof *rule->sessions);
    if (wish->session_count == 0) return;
    memcpy(rule->sessions, wish->sessions, wish->session_count * sizeof *rule->sessions);
    qsort(rule->sessions, rule->session_count, sizeof *rule->sessions, s_compare_sessions);
}

bool weft_log_compact_begin(weft_log_t *self, const struct weft_compact_wish *wish, weft_compact_t **out)
{
    size_t count = s_sources(self, wish);
    if (count == 0 || self->broken || self->compacting) return false;
    weft_compact_t *job = weft_calloc(1, sizeof *job);
    job->disk = self->disk;
    strcpy(job->directory, self->directory);
    job->segment_bytes = self->config.segment_bytes;
    job->index_interval_bytes = self->config.index_interval_bytes;
    job->shape_generation = self->shape_generation;
    job->dirty_from = self->compacted;
    job->epoch = -1;
    job->source_count = count;
    job->sources = weft_alloc(count * sizeof *job->sources);
    for (size_t i = 0; i < count; i++)
        job->sources[i] = (struct weft_compact_source){self->segments[i].base_offset, self->segments[i].end_offset,
                                                       self->segments[i].bytes};
    job->end = job->sources[count - 1].end_offset;
    s_take_wish(job, wish);
    weft_compact_filter_init(&job->filter, &job->rule);
    atomic_init(&job->cancelled, false);
    self->compacting = true;
    *out = job;
    return true;
}

// ---- the file `swap`

static void s_put_u32(weft_buf_t *out, uint32_t value)
{
    uint8_t bytes[4];
    weft_put_u32(bytes, value);
    weft_buf_append(out, bytes, sizeof bytes);
}

static void s_put_u64(weft_buf_t *out, int64_t value)
{
    uint8_t bytes[8];
    weft_put_u64(bytes, (uint64_t) value);
    weft_buf_append(out, bytes, sizeof bytes);
}

static void s_swap_encode(const weft_compact_t *job, int64_t compacted, int64_t tombstones_below, weft_buf_t *out)
{
    s_put_u32(out, S_FORMAT);
    s_put_u64(out, compacted);
    s_put_u64(out, tombstones_below);
    s_put_u32(out, (uint32_t) job->output_count);
    for (size_t i = 0; i < job->output_count; i++) {
        const struct weft_compact_output *output = &job->outputs[i];
        s_put_u64(out, output->segment.base_offset);
        s_put_u32(out, (uint32_t) (output->count - 1)); // the first has its name
        for (size_t k = 1; k < output->count; k++) s_put_u64(out, job->sources[output->first + k].base_offset);
    }
    s_put_u32(out, weft_crc32c(0, out->data, out->size));
}

static weft_err_t s_unlink(const struct weft_disk *disk, const char *directory, int64_t offset, const char *suffix)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_err_t err = disk->ops->unlink(disk, weft_log_path(path, directory, offset, suffix));
    return err == WEFT_ERR_NOT_FOUND ? WEFT_OK : err;
}

// *done: it was there.
static weft_err_t s_rename(const struct weft_disk *disk, const char *directory, int64_t offset, const char *from,
                           const char *to, bool *done)
{
    char path_from[WEFT_LOG_PATH_BYTES_MAX], path_to[WEFT_LOG_PATH_BYTES_MAX];
    weft_err_t err = disk->ops->rename(disk, weft_log_path(path_from, directory, offset, from),
                                       weft_log_path(path_to, directory, offset, to));
    *done = err == WEFT_OK;
    return err == WEFT_ERR_NOT_FOUND ? WEFT_OK : err;
}

// One new segment into its place; all of it may have been done before.
static weft_err_t s_put_in_place(const struct weft_disk *disk, const char *directory, int64_t base, const uint8_t *olds,
                                 size_t old_count)
{
    bool done;
    weft_err_t err = s_rename(disk, directory, base, WEFT_COMPACT_LOG, ".log", &done);
    // An index of the old file may stay for a moment: it fits nowhere, and is built again if nothing comes in its place.
    if (!err) err = s_rename(disk, directory, base, WEFT_COMPACT_INDEX, ".index", &done);
    for (size_t i = 0; i < old_count && !err; i++) {
        int64_t old = (int64_t) weft_get_u64(olds + i * 8);
        err = s_unlink(disk, directory, old, ".log");
        if (!err) err = s_unlink(disk, directory, old, ".index");
    }
    return err;
}

static bool s_offset_good(const uint8_t *at)
{
    return weft_get_u64(at) <= (uint64_t) WEFT_LOG_OFFSET_MAX;
}

// Is it whole, and does every list in it fit? Then *count segments follow the head.
static bool s_swap_good(weft_slice_t bytes, uint32_t *count)
{
    if (bytes.size < S_HEAD_BYTES + 4 || weft_get_u32(bytes.data) != S_FORMAT) return false;
    if (weft_get_u32(bytes.data + bytes.size - 4) != weft_crc32c(0, bytes.data, bytes.size - 4)) return false;
    if (!s_offset_good(bytes.data + 4) || !s_offset_good(bytes.data + 12)) return false;
    size_t at = S_HEAD_BYTES, end = bytes.size - 4;
    *count = weft_get_u32(bytes.data + 20);
    for (uint32_t i = 0; i < *count; i++) {
        if (end - at < 12 || (end - at - 12) / 8 < weft_get_u32(bytes.data + at + 8)) return false;
        at += 12 + 8 * (size_t) weft_get_u32(bytes.data + at + 8);
    }
    return at == end;
}

static weft_err_t s_carry_out(const struct weft_disk *disk, const char *directory, weft_slice_t swap, uint32_t count)
{
    const uint8_t *at = swap.data + S_HEAD_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t olds = weft_get_u32(at + 8);
        weft_err_t err = s_put_in_place(disk, directory, (int64_t) weft_get_u64(at), at + 12, olds);
        if (err) return err;
        at += 12 + 8 * (size_t) olds;
    }
    return WEFT_OK;
}

static weft_err_t s_swap_remove(const struct weft_disk *disk, const char *directory)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    weft_err_t err = disk->ops->unlink(disk, weft_log_path_named(path, directory, "swap"));
    if (err && err != WEFT_ERR_NOT_FOUND) return err;
    return disk->ops->sync_directory(disk, directory);
}

weft_err_t weft_log_swap_finish(const struct weft_disk *disk, const char *directory, struct weft_error *error)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    struct weft_log log = {.disk = disk}; // for its marks
    weft_buf_t bytes;
    uint32_t count;
    weft_buf_init(&bytes);
    weft_err_t err = weft_disk_read_file(disk, weft_log_path_named(path, directory, "swap"), S_FILE_BYTES_MAX, &bytes);
    if (err == WEFT_ERR_NOT_FOUND) return WEFT_OK;
    if (err == WEFT_ERR_TOO_LARGE || (!err && !s_swap_good(weft_buf_slice(&bytes), &count))) {
        weft_buf_fini(&bytes);
        return weft_error_set(error, WEFT_ERR_DAMAGED,
                              "'%s' is damaged: the list of segments that a compaction replaces, with a matching "
                              "checksum, is expected; nothing was changed, restore this replica from another",
                              path);
    }
    strcpy(log.directory, directory);
    if (!err) err = s_carry_out(disk, directory, weft_buf_slice(&bytes), count);
    if (!err)
        err = weft_log_compacted_store(&log, (int64_t) weft_get_u64(bytes.data + 4),
                                       (int64_t) weft_get_u64(bytes.data + 12));
    if (!err) err = s_swap_remove(disk, directory);
    weft_buf_fini(&bytes);
    return err ? weft_error_set(error, err, "finishing the compaction in '%s' failed: %s", directory,
                                weft_err_sentence(err))
               : WEFT_OK;
}

// ---- leftovers

bool weft_log_is_leftover(const char *name)
{
    int64_t offset;
    return strcmp(name, "swap.tmp") == 0 || weft_log_name_parse(name, WEFT_COMPACT_LOG, &offset) ||
           weft_log_name_parse(name, WEFT_COMPACT_INDEX, &offset);
}

static void s_remove_leftover(void *context, const char *name, bool is_directory)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    const weft_log_t *self = context;
    if (is_directory || !weft_log_is_leftover(name)) return;
    (void) !self->disk->ops->unlink(self->disk, weft_log_path_named(path, self->directory, name));
}

void weft_log_remove_leftovers(weft_log_t *self)
{
    (void) !self->disk->ops->list(self->disk, self->directory, s_remove_leftover, self);
}

// ---- done

// Number of the log's segment that begins at `offset`.
static size_t s_number_of(weft_log_t *self, int64_t offset)
{
    const struct weft_segment *segment = weft_log_segment_of(self, offset);
    weft_assert(segment->base_offset == offset);
    return (size_t) (segment - self->segments);
}

static void s_forget_reader(weft_log_t *self, int64_t base_offset)
{
    for (size_t i = 0; i < WEFT_LOG_READERS; i++)
        if (self->readers[i] == base_offset) self->readers[i] = -1;
}

// The new segments in memory.
static void s_replace(weft_log_t *self, const weft_compact_t *job)
{
    weft_log_forget_cursors(self);
    for (size_t i = 0; i < job->output_count; i++) {
        const struct weft_compact_output *output = &job->outputs[i];
        size_t at = s_number_of(self, output->segment.base_offset), gone = output->count - 1;
        for (size_t k = at; k <= at + gone; k++) {
            s_forget_reader(self, self->segments[k].base_offset);
            weft_segment_close(&self->segments[k]);
        }
        weft_assert(self->segments[at + gone].end_offset == output->segment.end_offset);
        self->segments[at] = output->segment;
        memmove(&self->segments[at + 1], &self->segments[at + 1 + gone],
                (self->segment_count - at - 1 - gone) * sizeof *self->segments);
        self->segment_count -= gone;
    }
}

// From here on a start would carry it out: what fails breaks the log.
static weft_err_t s_swap(weft_log_t *self, const weft_compact_t *job, weft_slice_t swap)
{
    weft_err_t err = s_carry_out(self->disk, self->directory, swap, (uint32_t) job->output_count);
    if (!err)
        err = weft_log_compacted_store(self, (int64_t) weft_get_u64(swap.data + 4),
                                       (int64_t) weft_get_u64(swap.data + 12));
    if (!err) err = s_swap_remove(self->disk, self->directory);
    return err;
}

static weft_err_t s_swap_begin(weft_log_t *self, weft_slice_t swap)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    if (weft_mutated("compaction_without_swap")) return WEFT_OK;
    weft_err_t err = weft_disk_replace_file(self->disk, weft_log_path_named(path, self->directory, "swap"), swap);
    // It may be in its place all the same; then a start would carry out what the log knows nothing of.
    if (err && s_swap_remove(self->disk, self->directory)) self->broken = true;
    return err;
}

static weft_err_t s_done(weft_log_t *self, weft_compact_t *job)
{
    int64_t compacted = job->rule.end > self->compacted ? job->rule.end : self->compacted;
    int64_t tombstones = job->filter.tombstones_below;
    if (tombstones < self->tombstones_below) tombstones = self->tombstones_below;
    if (job->output_count == 0)
        return compacted == self->compacted ? WEFT_OK : weft_log_compacted_store(self, compacted, tombstones);
    weft_buf_t swap;
    weft_buf_init(&swap);
    s_swap_encode(job, compacted, tombstones, &swap);
    weft_err_t err = s_swap_begin(self, weft_buf_slice(&swap));
    if (!err) {
        err = s_swap(self, job, weft_buf_slice(&swap));
        if (err) self->broken = true; // half done: a start sorts it out
        s_replace(self, job);
    }
    weft_buf_fini(&swap);
    return err;
}

weft_err_t weft_log_compact_done(weft_log_t *self, weft_compact_t **job_p, struct weft_compact_report *report)
{
    weft_compact_t *job = *job_p;
    bool may = job->shape_generation == self->shape_generation && !weft_compact_cancelled(job) && !self->broken;
    // What a run met that a truncation took away meanwhile is no error.
    weft_err_t err = job->shape_generation == self->shape_generation ? job->err : WEFT_OK;
    weft_assert(self->compacting);
    self->compacting = false;
    *report = job->report;
    if (may && !err && job->phase == WEFT_COMPACT_READY) {
        err = s_done(self, job);
        report->swapped = !err;
        report->compacted = self->compacted;
    }
    if (err) report->failed_at = job->offset;
    if (!report->swapped && !self->broken) weft_compact_unlink(job);
    weft_compact_destroy(job_p);
    if (!self->broken) weft_log_check(self);
    return err;
}

// ---- marks

int64_t weft_log_compacted(const weft_log_t *self)
{
    return self->compacted;
}

int64_t weft_log_tombstones_below(const weft_log_t *self)
{
    return self->tombstones_below;
}

weft_err_t weft_log_tombstones_adopt(weft_log_t *self, int64_t offset)
{
    if (offset <= self->tombstones_below) return WEFT_OK;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    return weft_log_compacted_store(self, self->compacted, offset);
}

weft_err_t weft_log_roll_due(weft_log_t *self, int64_t now_ms, bool now, bool *rolled)
{
    struct weft_segment *active = weft_log_active(self);
    *rolled = false;
    if (self->broken) return WEFT_ERR_DISK_FAILED;
    if (active->bytes == 0 || self->torn) return WEFT_OK;
    int64_t first = active->first_timestamp_ms;
    bool old = self->config.segment_ms >= 0 && now_ms > first &&
               (uint64_t) now_ms - (uint64_t) first >= (uint64_t) self->config.segment_ms;
    if (!old && !now) return WEFT_OK;
    weft_err_t err = weft_segment_open(active, self->disk, self->directory);
    if (!err) err = weft_log_roll(self);
    *rolled = !err;
    return err;
}
