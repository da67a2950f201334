// SPDX-License-Identifier: MPL-2.0
// Each look asks the coordinator which moves are under way, and their leaders how far the new replicas are. A move that
// is no longer listed is done (or was cancelled): its bytes count as copied.
#include "moves.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US 500000
#define LEADERS_ASKED_MAX 200 // partitions a look; the others keep what was heard of them last

void cli_moves_watch_begin(struct cli_moves_watch *self, const struct cli_args *args, weft_admin_t *admin)
{
    *self = (struct cli_moves_watch){.admin = admin, .quick = cli_admin_quick(args), .begun_us = cli_now_us()};
}

const struct cli_moves_item *cli_moves_watch_find(const struct cli_moves_watch *self, const char *topic,
                                                  int32_t partition)
{
    for (size_t i = 0; i < self->count; i++)
        if (self->items[i].partition == partition && !strcmp(self->items[i].topic, topic)) return &self->items[i];
    return NULL;
}

static struct cli_moves_item *s_item(struct cli_moves_watch *self, const struct weft_move *move)
{
    const struct cli_moves_item *found = cli_moves_watch_find(self, move->topic, move->partition);
    if (found) return &self->items[found - self->items];
    if (self->count == self->capacity) {
        self->capacity = self->capacity ? self->capacity * 2 : 16;
        self->items = weft_realloc(self->items, self->capacity * sizeof *self->items);
    }
    struct cli_moves_item *item = &self->items[self->count++];
    *item = (struct cli_moves_item){.partition = move->partition};
    snprintf(item->topic, sizeof item->topic, "%s", move->topic);
    return item;
}

static bool s_among(int32_t id, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

static void s_ask_leader(struct cli_moves_watch *self, const struct weft_move *move, struct cli_moves_item *item)
{
    struct weft_partition_marks marks;
    if (!self->quick || move->leader < 0 || move->leader == self->mute) return;
    weft_err_t err = weft_admin_partition_status(self->quick, move->topic, move->partition, &marks);
    if (err < 0) self->mute = move->leader; // until the next look
    if (err) return;
    int64_t length = marks.log_end - marks.log_start;
    item->bytes = item->copied = item->offsets_left = 0;
    for (size_t i = 0; i < move->to_count; i++) {
        if (s_among(move->to[i], move->from, move->from_count)) continue;
        int64_t has = 0;
        for (size_t k = 0; k < marks.replica_count; k++)
            if (marks.replicas[k].broker == move->to[i]) has = marks.replicas[k].log_end - marks.log_start;
        has = has < 0 ? 0 : has > length ? length : has;
        item->bytes += marks.bytes;
        item->copied += length ? (int64_t) ((double) marks.bytes * (double) has / (double) length) : marks.bytes;
        item->offsets_left += length - has;
    }
}

static void s_show(struct cli_moves_watch *self)
{
    if (!isatty(STDERR_FILENO) || !self->count) return;
    int64_t bytes = 0, copied = 0;
    size_t done = 0;
    for (size_t i = 0; i < self->count; i++) {
        bytes += self->items[i].bytes;
        copied += self->items[i].under_way ? self->items[i].copied : self->items[i].bytes;
        done += !self->items[i].under_way;
    }
    double seconds = (double) (cli_now_us() - self->begun_us) / 1e6;
    self->shown = true;
    fprintf(stderr, "\r\033[Kmoved %zu of %zu partitions, copied %s of %s (%.0f %%), %s/s", done, self->count,
            cli_bytes_text((double) copied), cli_bytes_text((double) bytes),
            bytes ? 100.0 * (double) copied / (double) bytes : 100.0,
            cli_bytes_text(seconds > 0 ? (double) copied / seconds : 0));
}

weft_err_t cli_moves_watch_look(struct cli_moves_watch *self, size_t *left)
{
    weft_moves_t *moves = NULL;
    weft_err_t err = weft_admin_list_moves(self->admin, &moves);
    if (err) return err;
    bool ask = cli_now_us() >= self->next_us;
    if (ask) self->next_us = cli_now_us() + LOOK_US;
    self->mute = -1;
    for (size_t i = 0; i < self->count; i++) self->items[i].under_way = false;
    for (size_t i = 0; i < moves->move_count; i++) {
        struct cli_moves_item *item = s_item(self, &moves->moves[i]);
        item->under_way = true;
        if (ask && i < LEADERS_ASKED_MAX) s_ask_leader(self, &moves->moves[i], item);
    }
    if (left) *left = moves->move_count;
    weft_moves_destroy(&moves);
    if (ask) s_show(self);
    return WEFT_OK;
}

void cli_moves_watch_end(struct cli_moves_watch *self)
{
    if (self->shown) fputs("\r\033[K", stderr);
    free(self->items);
    weft_admin_destroy(&self->quick);
    *self = (struct cli_moves_watch){.count = 0};
}

// ---- printing

const char *cli_ids_text(const int32_t *ids, size_t count, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count && used + 12 < bytes; i++)
        used += (size_t) snprintf(text + used, bytes - used, "%s%d", i ? "," : "", ids[i]);
    return count ? text : "-";
}

void cli_json_ids(cli_json_t *json, const char *key, const int32_t *ids, size_t count)
{
    cli_json_open(json, key, '[');
    for (size_t i = 0; i < count; i++) cli_json_int(json, NULL, ids[i]);
    cli_json_close(json, ']');
}

void cli_moves_json(cli_json_t *json, const char *key, const struct weft_move *moves, size_t count,
                    const struct cli_moves_watch *watch)
{
    cli_json_open(json, key, '[');
    for (size_t i = 0; i < count; i++) {
        const struct weft_move *move = &moves[i];
        const struct cli_moves_item *item = watch ? cli_moves_watch_find(watch, move->topic, move->partition) : NULL;
        cli_json_open(json, NULL, '{');
        cli_json_text(json, "topic", move->topic);
        cli_json_int(json, "partition", move->partition);
        cli_json_ids(json, "from", move->from, move->from_count);
        cli_json_ids(json, "replicas", move->to, move->to_count);
        cli_json_int(json, "leader", move->leader);
        if (move->isr_count) cli_json_ids(json, "isr", move->isr, move->isr_count);
        if (item) {
            cli_json_int(json, "bytes", item->bytes);
            cli_json_int(json, "copied_bytes", item->copied);
            cli_json_int(json, "offsets_left", item->offsets_left);
        }
        if (move->error) {
            cli_json_text(json, "error", weft_err_name(move->error));
            cli_json_text(json, "message", move->message);
        }
        cli_json_close(json, '}');
    }
    cli_json_close(json, ']');
}

void cli_moves_table(const struct weft_move *moves, size_t count, const struct cli_moves_watch *watch)
{
    static const char *const plan[] = {"TOPIC", ">PARTITION", "FROM", "TO", ">LEADER", "REFUSED"};
    static const char *const running[] = {"TOPIC",   ">PARTITION", "FROM", "TO",
                                          "IN SYNC", ">COPIED",    ">OF",  ">OFFSETS LEFT"};
    cli_table_t *table = watch ? cli_table_new(running, 8) : cli_table_new(plan, 6);
    char text[200];
    for (size_t i = 0; i < count; i++) {
        const struct weft_move *move = &moves[i];
        cli_table_cell(table, "%s", move->topic);
        cli_table_cell(table, "%d", move->partition);
        cli_table_cell(table, "%s", cli_ids_text(move->from, move->from_count, text, sizeof text));
        cli_table_cell(table, "%s", cli_ids_text(move->to, move->to_count, text, sizeof text));
        if (!watch) {
            cli_table_cell(table, move->leader < 0 ? "-" : "%d", move->leader);
            cli_table_cell(table, "%s", move->error ? move->message : "-");
            continue;
        }
        const struct cli_moves_item *item = cli_moves_watch_find(watch, move->topic, move->partition);
        cli_table_cell(table, "%s", cli_ids_text(move->isr, move->isr_count, text, sizeof text));
        cli_table_cell(table, "%s", item ? cli_bytes_text((double) item->copied) : "-");
        cli_table_cell(table, "%s", item ? cli_bytes_text((double) item->bytes) : "-");
        cli_table_cell(table, "%s", item ? cli_count_text(item->offsets_left) : "-");
    }
    cli_table_print(table, stdout);
    cli_table_destroy(&table);
}
