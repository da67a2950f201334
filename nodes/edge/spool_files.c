// SPDX-License-Identifier: MPL-2.0
// Beside the logs: `topics` (replaced as a whole), `renamed` and `dead-letters` (appended to, each entry durable before
// anything relies on it). `renamed` is lines of text; a last one without its end was never relied on.
#include "spool_inner.h"

#include <weft_gen/limits.h>
#include <weft_gen/messages.h>
#include <weft_gen/records.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_TOPICS_BYTES_MAX WEFT_REPLY_BYTES_MAX
#define S_NAMES_BYTES_MAX (64 << 20)
#define S_TOPICS_US 1000000

char *weft_spool_path(const weft_spool_t *self, const char *name)
{
    weft_buf_t path;
    weft_buf_init(&path);
    weft_buf_printf(&path, "%s/%s", self->directory, name);
    char *text = weft_slice_dup(weft_buf_slice(&path));
    weft_buf_fini(&path);
    return text;
}

// ---- topics

void weft_spool_topics_load(weft_spool_t *self)
{
    char *path = weft_spool_path(self, "topics.known");
    weft_err_t err = weft_disk_read_file(self->disk, path, S_TOPICS_BYTES_MAX, &self->topics);
    free(path);
    struct weft_metadata_reply reply;
    struct weft_error why;
    if (err != WEFT_OK) return; // a new spool
    err = weft_metadata_reply_decode(&self->edge->codec, weft_buf_slice(&self->topics), &reply, &why);
    if (err != WEFT_OK) {
        weft_trace(WEFT_TRACE_WARN, self->name, "spool: topics.known can't be read, the core will tell: %s", why.text);
        return;
    }
    weft_view_apply(&self->edge->view, &reply, false);
    self->topics_updates = self->edge->view.updates;
}

void weft_spool_topics_turn(weft_spool_t *self, int64_t now_us)
{
    if (self->topics_updates == self->edge->view.updates) return;
    if (now_us < self->topics_us + S_TOPICS_US) {
        if (self->topics_us + S_TOPICS_US < self->next_us) self->next_us = self->topics_us + S_TOPICS_US;
        return;
    }
    self->topics_us = now_us;
    self->topics_updates = self->edge->view.updates;
    weft_buf_clear(&self->scratch);
    weft_edge_topics_encode(self->edge, &self->scratch);
    if (weft_slice_equal(weft_buf_slice(&self->scratch), weft_buf_slice(&self->topics))) return;
    char *path = weft_spool_path(self, "topics.known");
    weft_err_t err = weft_disk_replace_file(self->disk, path, weft_buf_slice(&self->scratch));
    if (err != WEFT_OK)
        weft_trace(WEFT_TRACE_WARN, self->name, "spool: %s can't be written (%s)", path, weft_err_name(err));
    free(path);
    if (err != WEFT_OK) return;
    weft_buf_clear(&self->topics);
    weft_buf_append(&self->topics, self->scratch.data, self->scratch.size);
}

// ---- files that are appended to

static weft_err_t s_append(weft_spool_t *self, const char *name, weft_file_t **file, int64_t *bytes, weft_slice_t entry)
{
    weft_err_t err = WEFT_OK;
    if (*file == NULL) {
        char *path = weft_spool_path(self, name);
        err = self->disk->ops->open(self->disk, path, WEFT_OPEN_CREATE, file);
        if (err == WEFT_OK) err = self->disk->ops->size(*file, bytes);
        if (err == WEFT_OK) err = self->disk->ops->sync_directory(self->disk, self->directory);
        free(path);
    }
    if (err == WEFT_OK) err = self->disk->ops->pwritev(*file, &entry, 1, *bytes);
    if (err == WEFT_OK) err = self->disk->ops->sync(*file);
    if (err == WEFT_OK) {
        *bytes += (int64_t) entry.size;
        return WEFT_OK;
    }
    weft_trace(WEFT_TRACE_ERROR, self->name, "spool: %s can't be written (%s); nothing behind it is delivered", name,
               weft_err_name(err));
    if (*file != NULL) self->disk->ops->close(file);
    return err;
}

weft_err_t weft_spool_dead(struct weft_spooled *self, weft_slice_t batch, weft_err_t error, const char *text)
{
    weft_spool_t *spool = self->spool;
    struct weft_dead_letter_record record;
    weft_dead_letter_record_init(&record);
    record.time_ms = weft_port_wall_ms(&spool->edge->port);
    record.topic = weft_slice_text(self->lane != NULL ? self->lane->topic->name : NULL);
    record.topic_id = self->topic_id;
    record.partition = self->partition;
    record.error = error;
    record.name = weft_slice_text(weft_err_name(error));
    record.message = weft_slice_text(text);
    weft_buf_clear(&spool->packed);
    weft_dead_letter_record_encode(&record, &spool->packed);
    weft_buf_append(&spool->packed, batch.data, batch.size);
    return s_append(spool, "dead-letters", &spool->dead, &spool->dead_bytes, weft_buf_slice(&spool->packed));
}

// ---- names

static void s_push(struct weft_spooled *self, const struct weft_spool_name *name)
{
    self->names = weft_realloc(self->names, (self->name_count + 1) * sizeof *name);
    self->names[self->name_count++] = *name;
}

static void s_line(const struct weft_spooled *self, const struct weft_spool_name *name, weft_buf_t *out)
{
    char id[WEFT_ID_TEXT_BYTES];
    weft_id_text(self->topic_id, id);
    weft_buf_printf(out, "%s %" PRIu32 " %" PRId64 " %d %" PRId64 " %" PRId64 " %" PRId32 "\n", id, self->partition,
                    name->producer_id, (int) name->epoch, name->from_offset, name->new_id, name->base_sequence);
}

weft_err_t weft_spool_name_add(struct weft_spooled *self, const struct weft_spool_name *name)
{
    weft_buf_t line;
    weft_buf_init(&line);
    s_line(self, name, &line);
    weft_err_t err =
        s_append(self->spool, "renamed", &self->spool->renamed, &self->spool->renamed_bytes, weft_buf_slice(&line));
    weft_buf_fini(&line);
    if (err == WEFT_OK) s_push(self, name);
    return err;
}

static void s_clear(struct weft_spooled *self, int64_t below)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->name_count; i++)
        if (self->names[i].from_offset >= below) self->names[kept++] = self->names[i];
    self->name_count = kept;
}

// A name of producer -1 says that all names before its offset are void.
void weft_spool_names_clear(struct weft_spooled *self)
{
    const struct weft_spool_name end = {.producer_id = -1, .from_offset = weft_log_end(self->log)};
    if (self->name_count == 0) return;
    if (weft_spool_name_add(self, &end) != WEFT_OK) return;
    s_clear(self, INT64_MAX);
}

static void s_take_line(weft_spool_t *self, const char *line)
{
    struct weft_spool_name name;
    char id[40];
    uint32_t partition;
    int epoch;
    if (sscanf(line, "%39s %" SCNu32 " %" SCNd64 " %d %" SCNd64 " %" SCNd64 " %" SCNd32, id, &partition,
               &name.producer_id, &epoch, &name.from_offset, &name.new_id, &name.base_sequence) != 7)
        return;
    name.epoch = (int16_t) epoch;
    weft_id_t topic;
    struct weft_spooled *one = weft_id_parse(id, &topic) == WEFT_OK ? weft_spool_find(self, topic, partition) : NULL;
    if (one == NULL) return;
    if (name.producer_id == -1)
        s_clear(one, name.from_offset);
    else
        s_push(one, &name);
}

// Reads what holds, and writes the file anew with that alone.
weft_err_t weft_spool_names_load(weft_spool_t *self, struct weft_error *error)
{
    weft_buf_t text;
    weft_buf_init(&text);
    char *path = weft_spool_path(self, "renamed");
    weft_err_t err = weft_disk_read_file(self->disk, path, S_NAMES_BYTES_MAX, &text);
    if (err == WEFT_ERR_NOT_FOUND) {
        err = WEFT_OK;
        goto end;
    }
    if (err != WEFT_OK) goto fail;
    weft_buf_append(&text, "", 1);
    for (char *line = (char *) text.data, *stop; (stop = strchr(line, '\n')) != NULL; line = stop + 1) {
        *stop = '\0';
        s_take_line(self, line);
    }
    weft_buf_clear(&text);
    for (size_t i = 0; i < self->count; i++) // what is delivered needs no names, also if the end of that was cut short
        if (self->logs[i]->position == weft_log_end(self->logs[i]->log)) self->logs[i]->name_count = 0;
    for (size_t i = 0; i < self->count; i++)
        for (size_t k = 0; k < self->logs[i]->name_count; k++) s_line(self->logs[i], &self->logs[i]->names[k], &text);
    err = weft_disk_replace_file(self->disk, path, weft_buf_slice(&text));
    if (err == WEFT_OK) goto end;
fail:
    weft_error_set(error, err, "spool: %s can't be read or written: %s", path, weft_err_sentence(err));
end:
    free(path);
    weft_buf_fini(&text);
    return err;
}
