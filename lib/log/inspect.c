// SPDX-License-Identifier: MPL-2.0
// Reads what recovery would read, and all of it: every segment from its first byte with weft_segment_verify. A
// directory with segment files in it is a partition; any other is searched for such. The last segment of a log may have
// a tail: what a crash leaves, or a running node is writing. A damaged batch is passed where its header can be believed.
#include "inspect.h"

#include "checkpoint.h"
#include "log.h"
#include "segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_DEPTH_MAX 16

struct s_inspection {
    const struct weft_disk *disk;
    const struct weft_inspect *how;
    struct weft_inspect_report *report;
    struct weft_error *error;
    int64_t synced_end; // of the log looked at, as its data directory's checkpoint tells; 0: unknown
};

/** What stands in a directory. */
struct s_listing {
    int64_t *bases;
    size_t base_count;
    char **directories;
    size_t directory_count;
    bool swap; // a compaction was being put in place: old segments may stand beside the new one
};

static void s_listed(void *context, const char *name, bool is_directory)
{
    struct s_listing *self = context;
    int64_t base;
    if (is_directory) {
        self->directories = weft_realloc(self->directories, (self->directory_count + 1) * sizeof *self->directories);
        self->directories[self->directory_count++] = weft_strdup(name);
    } else if (weft_log_name_parse(name, ".log", &base)) {
        self->bases = weft_realloc(self->bases, (self->base_count + 1) * sizeof *self->bases);
        self->bases[self->base_count++] = base;
    } else if (strcmp(name, "swap") == 0) {
        self->swap = true;
    }
}

static void s_listing_fini(struct s_listing *self)
{
    for (size_t i = 0; i < self->directory_count; i++) free(self->directories[i]);
    free(self->directories);
    free(self->bases);
}

static void s_problem(struct s_inspection *self, const struct weft_inspect_problem *problem)
{
    if (problem->kind != WEFT_PROBLEM_TAIL) self->report->problems++;
    if (self->how->problem) self->how->problem(self->how->context, problem);
}

// ---- one segment

struct s_segment {
    struct s_inspection *of;
    const char *path;
    weft_file_t *file;
    weft_buf_t bytes;
    struct weft_segment noted; // as an index would know it
    weft_err_t err;
};

static void s_batch(void *context, const struct weft_batch *batch, int64_t position)
{
    struct s_segment *self = context;
    struct s_inspection *of = self->of;
    size_t got;
    weft_segment_note(&self->noted, batch);
    of->report->batches++;
    of->report->records += batch->count;
    of->report->bytes += (int64_t) weft_batch_bytes(batch);
    if (!of->how->batch || of->report->stopped || self->err) return;
    weft_buf_clear(&self->bytes);
    weft_buf_reserve(&self->bytes, weft_batch_bytes(batch));
    self->err = of->disk->ops->pread(self->file, self->bytes.data, weft_batch_bytes(batch), position, &got);
    if (self->err) return;
    self->bytes.size = got;
    const struct weft_inspect_batch found = {self->path, position, batch, weft_buf_slice(&self->bytes)};
    of->report->stopped = !of->how->batch(of->how->context, &found);
}

static void s_index_problem(struct s_inspection *self, const char *path, int64_t position, const char *what)
{
    char sentence[512];
    snprintf(sentence, sizeof sentence, "%s: byte %lld: %s; it is built again when needed", path, (long long) position,
             what);
    const struct weft_inspect_problem problem = {WEFT_PROBLEM_INDEX, path, position, -1, sentence};
    s_problem(self, &problem);
}

// An entry must name a batch that stands where it says.
static bool s_entry_good(const struct s_segment *self, const uint8_t *at, int64_t *last_position)
{
    struct weft_segment_walk walk;
    struct weft_batch batch;
    struct weft_index_entry entry;
    if (!weft_index_entry_read(at, self->noted.base_offset, &entry)) return false;
    if (entry.position <= *last_position) return false;
    *last_position = entry.position;
    weft_segment_walk_init(&walk, self->file, entry.position, self->noted.bytes);
    return !weft_segment_walk_peek(&walk, &batch) && batch.base_offset == entry.offset;
}

static void s_index(struct s_segment *self, bool last)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    size_t stem = strlen(self->path) - strlen(".log");
    weft_buf_t bytes;
    struct weft_segment told = self->noted;
    weft_buf_init(&bytes);
    if (stem + sizeof ".index" > sizeof path) return;
    snprintf(path, sizeof path, "%.*s.index", (int) stem, self->path);
    weft_err_t err = weft_disk_read_file(self->of->disk, path, WEFT_SEGMENT_BYTES_MAX, &bytes);
    if (err && (err != WEFT_ERR_NOT_FOUND || !last)) s_index_problem(self->of, path, 0, "it can't be read");
    size_t end = bytes.size;
    if (end >= WEFT_INDEX_FOOTER_BYTES && weft_index_footer_read(bytes.data + end - WEFT_INDEX_FOOTER_BYTES, &told)) {
        end -= WEFT_INDEX_FOOTER_BYTES;
        if (told.end_offset != self->noted.end_offset || told.bytes != self->noted.bytes)
            s_index_problem(self->of, path, (int64_t) end, "the footer does not fit the segment");
    } else if (!err && !last) {
        s_index_problem(self->of, path, (int64_t) end, "the footer of a sealed segment is missing or bad");
    }
    int64_t position = 0;
    size_t at = 0;
    struct weft_index_entry entry;
    while (at + WEFT_INDEX_ENTRY_BYTES <= end && s_entry_good(self, bytes.data + at, &position))
        at += WEFT_INDEX_ENTRY_BYTES;
    bool of_tail = last && at + WEFT_INDEX_ENTRY_BYTES <= end &&
                   weft_index_entry_read(bytes.data + at, self->noted.base_offset, &entry) &&
                   entry.position >= self->noted.bytes; // of a batch that is torn, or was written since
    if (at < end && !of_tail) s_index_problem(self->of, path, (int64_t) at, "the entry is bad");
    weft_buf_fini(&bytes);
}

static void s_stopped_short(struct s_segment *self, const struct weft_verify *verify, bool last)
{
    char sentence[512];
    int64_t rest = verify->file_bytes - verify->position;
    bool tail = last && rest >= 0 && verify->offset >= self->of->synced_end;
    if (tail) self->of->report->tail_bytes += rest;
    snprintf(sentence, sizeof sentence, "%s: byte %lld, where offset %lld is expected: %s (%lld bytes follow)",
             self->path, (long long) verify->position, (long long) verify->offset, verify->reason, (long long) rest);
    const struct weft_inspect_problem problem = {tail ? WEFT_PROBLEM_TAIL : WEFT_PROBLEM_DAMAGE, self->path,
                                                 verify->position, verify->offset, sentence};
    s_problem(self->of, &problem);
}

/*
 * A damaged batch whose header can be believed: it stands at the expected offset and ends where the file ends or the
 * batch of the following offset begins. Then only its records are lost, and what follows is looked at.
 */
static bool s_passable(const struct s_segment *self, const struct weft_verify *verify, struct weft_batch *batch)
{
    struct weft_segment_walk walk;
    struct weft_batch next;
    weft_segment_walk_init(&walk, self->file, verify->position, verify->file_bytes);
    if (weft_segment_walk_next(&walk, batch) || batch->base_offset != verify->offset) return false;
    if (weft_batch_next_offset(batch) <= verify->offset) return false;
    if (walk.position == verify->file_bytes) return true;
    return !weft_segment_walk_peek(&walk, &next) && next.base_offset == weft_batch_next_offset(batch);
}

// False: the rest of the segment can't be looked at. A tail is not passed, as a start would not.
static bool s_pass(struct s_segment *self, struct weft_verify *verify, bool last)
{
    char sentence[512];
    struct weft_batch batch;
    if (last && verify->offset >= self->of->synced_end) return false;
    if (!s_passable(self, verify, &batch)) return false;
    snprintf(sentence, sizeof sentence, "%s: byte %lld, offsets %lld to %lld: %s", self->path,
             (long long) verify->position, (long long) batch.base_offset,
             (long long) weft_batch_next_offset(&batch) - 1, verify->reason);
    const struct weft_inspect_problem problem = {WEFT_PROBLEM_DAMAGE, self->path, verify->position, verify->offset,
                                                 sentence};
    s_problem(self->of, &problem);
    weft_segment_note(&self->noted, &batch);
    verify->position += (int64_t) weft_batch_bytes(&batch);
    verify->offset = weft_batch_next_offset(&batch);
    return true;
}

static weft_err_t s_read_error(struct s_inspection *self, weft_err_t err, const char *path)
{
    return weft_error_set(self->error, err, "'%s' can't be read: %s", path, weft_err_sentence(err));
}

// Verifies one file; *end_offset and *epoch are behind its last good batch.
static weft_err_t s_segment(struct s_inspection *self, const char *path, int64_t base, bool last, int32_t *epoch,
                            int64_t *end_offset)
{
    struct s_segment segment = {.of = self, .path = path};
    weft_err_t err = self->disk->ops->open(self->disk, path, WEFT_OPEN_READ, &segment.file);
    if (err) return s_read_error(self, err, path);
    weft_buf_init(&segment.bytes);
    weft_segment_init(&segment.noted, base);
    struct weft_verify verify = {
        .file = segment.file, .offset = base, .epoch = *epoch, .each = s_batch, .context = &segment};
    self->report->segments++;
    do {
        err = weft_segment_verify(&verify);
    } while (!err && verify.reason[0] && s_pass(&segment, &verify, last));
    if (!err) err = segment.err;
    if (err) {
        err = s_read_error(self, err, path);
    } else {
        if (verify.reason[0] && !(last && verify.zeros)) s_stopped_short(&segment, &verify, last);
        if (self->how->indexes) s_index(&segment, last);
        *epoch = verify.epoch;
        *end_offset = verify.offset;
    }
    weft_buf_fini(&segment.bytes);
    self->disk->ops->close(&segment.file);
    return err;
}

// ---- directories

static void s_hole(struct s_inspection *self, const char *directory, int64_t end, int64_t next)
{
    char sentence[512];
    if (next > end)
        snprintf(sentence, sizeof sentence,
                 "%s: offsets %lld to %lld can't be read: they are missing before the segment that begins at %lld",
                 directory, (long long) end, (long long) next - 1, (long long) next);
    else
        snprintf(sentence, sizeof sentence, "%s: offset %lld is expected next, but the next segment begins at %lld",
                 directory, (long long) end, (long long) next);
    const struct weft_inspect_problem problem = {WEFT_PROBLEM_DAMAGE, directory, -1, end, sentence};
    s_problem(self, &problem);
}

// Removes the last name of a path; false if there is none left.
static bool s_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) return false;
    *slash = '\0';
    return true;
}

/*
 * What tells damage from a torn tail: the synced end in the checkpoint of the data directory above DATA/topics/ID/N, or
 * above DATA/log, whose checkpoint has one entry. 0 where there is none (a copied directory), or it can't be read.
 */
static int64_t s_synced_end(struct s_inspection *self, const char *directory)
{
    char path[WEFT_LOG_PATH_BYTES_MAX], text[WEFT_ID_TEXT_BYTES] = "", *end;
    weft_checkpoint_t *checkpoint = NULL;
    weft_id_t topic = {{0}};
    const char *name = strrchr(directory, '/');
    unsigned long partition = strtoul(name ? name + 1 : directory, &end, 10);
    snprintf(path, sizeof path, "%s", directory);
    if (!s_up(path)) return 0;
    if (*end == '\0') {
        name = strrchr(path, '/');
        snprintf(text, sizeof text, "%s", name ? name + 1 : path);
        if (weft_id_parse(text, &topic) || !s_up(path) || !s_up(path)) return 0;
    }
    if (weft_checkpoint_open(self->disk, path, &checkpoint, NULL)) return 0;
    int64_t synced =
        *end == '\0' ? weft_checkpoint_get(checkpoint, topic, (uint32_t) partition) : weft_checkpoint_sole(checkpoint);
    weft_checkpoint_destroy(&checkpoint);
    return synced;
}

static weft_err_t s_partition(struct s_inspection *self, const char *directory, const struct s_listing *listing)
{
    char path[WEFT_LOG_PATH_BYTES_MAX];
    int32_t epoch = -1;
    int64_t end = 0;
    weft_err_t err = WEFT_OK;
    self->report->logs++;
    self->synced_end = s_synced_end(self, directory);
    if (self->how->log) self->how->log(self->how->context, directory);
    for (size_t i = 0; i < listing->base_count && !err && !self->report->stopped; i++) {
        if (i && listing->swap && listing->bases[i] < end) continue; // removed by the next start
        if (i && end != listing->bases[i]) s_hole(self, directory, end, listing->bases[i]);
        weft_log_path(path, directory, listing->bases[i], ".log");
        err = s_segment(self, path, listing->bases[i], i + 1 == listing->base_count, &epoch, &end);
    }
    return err;
}

// What weft_log_set_aside left: known to be damaged, and replaced.
static bool s_is_aside(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    return digits > 0 && strcmp(name + digits, WEFT_LOG_ASIDE_SUFFIX) == 0;
}

static weft_err_t s_directory(struct s_inspection *self, const char *path, int depth);

static weft_err_t s_below(struct s_inspection *self, const char *path, const char *name, int depth)
{
    weft_err_t err = WEFT_OK;
    weft_buf_t below;
    weft_buf_init(&below);
    weft_buf_printf(&below, "%s/%s", path, name);
    if (!s_is_aside(name)) {
        err = s_directory(self, (const char *) below.data, depth);
    } else {
        self->report->aside++;
        if (self->how->aside) self->how->aside(self->how->context, (const char *) below.data);
    }
    weft_buf_fini(&below);
    return err;
}

static weft_err_t s_directory(struct s_inspection *self, const char *path, int depth)
{
    struct s_listing listing = {0};
    weft_err_t err = strlen(path) > 255 ? WEFT_ERR_INVALID_ARGUMENT : WEFT_OK; // no directory of ours
    if (!err) err = self->disk->ops->list(self->disk, path, s_listed, &listing);
    if (err)
        err = s_read_error(self, err, path);
    else if (listing.base_count)
        err = s_partition(self, path, &listing);
    for (size_t i = 0; i < listing.directory_count && !err && !self->report->stopped && depth < S_DEPTH_MAX; i++)
        err = s_below(self, path, listing.directories[i], depth + 1);
    s_listing_fini(&listing);
    return err;
}

static bool s_is_file(const struct weft_disk *disk, const char *path)
{
    weft_file_t *file;
    int64_t bytes;
    size_t got;
    uint8_t byte;
    if (disk->ops->open(disk, path, WEFT_OPEN_READ, &file)) return false;
    // A directory may be opened for reading, but not read.
    bool is_file = !disk->ops->size(file, &bytes) && !disk->ops->pread(file, &byte, 1, 0, &got);
    disk->ops->close(&file);
    return is_file;
}

static weft_err_t s_file(struct s_inspection *self, const char *path)
{
    const char *slash = strrchr(path, '/');
    int32_t epoch = -1;
    int64_t base, end = 0;
    if (!weft_log_name_parse(slash ? slash + 1 : path, ".log", &base))
        return weft_error_set(
            self->error, WEFT_ERR_INVALID_ARGUMENT,
            "'%s' is no segment: those are named by 20 digits and .log; give a segment or a directory", path);
    char directory[WEFT_LOG_PATH_BYTES_MAX];
    snprintf(directory, sizeof directory, "%s", path);
    if (strlen(path) < sizeof directory && s_up(directory)) self->synced_end = s_synced_end(self, directory);
    return s_segment(self, path, base, true, &epoch, &end);
}

weft_err_t weft_inspect_run(const struct weft_disk *disk, const char *path, const struct weft_inspect *inspect,
                            struct weft_inspect_report *report, struct weft_error *error)
{
    struct s_inspection self = {.disk = disk, .how = inspect, .report = report, .error = error};
    *report = (struct weft_inspect_report){0};
    return s_is_file(disk, path) ? s_file(&self, path) : s_directory(&self, path, 0);
}
