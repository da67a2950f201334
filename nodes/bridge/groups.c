// SPDX-License-Identifier: MPL-2.0
// Consumer groups: where a group of the source stands, said in the target's offsets, so that its members can go on there.
// Only for groups that nobody is in over there, only forward, and never beyond what was copied: a member that moves reads
// some records again rather than missing one. What became of each offset is kept until the next time, for who asks.
#include "bridge_inner.h"

#include "../../lib/base/glob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S_TRANSLATED_MAX 4096 // kept for who asks

struct s_list {
    struct weft_bridge_translated *rows;
    size_t count, capacity;
};

static bool s_wanted(const weft_bridge_t *self, const char *group)
{
    for (size_t i = 0; self->groups[i] != NULL; i++)
        if (weft_glob_match(self->groups[i], group)) return true;
    return false;
}

// False: that partition is not copied. An offset of -1: nothing of it was yet.
static bool s_translate(weft_bridge_t *self, const struct weft_group_committed *from, char *target_topic, size_t size,
                        struct weft_bridge_mapped *mapped)
{
    bool found = false;
    *mapped = (struct weft_bridge_mapped){-1, false};
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->flow_count && !found; i++) {
        const struct weft_bridge_flow *flow = self->flows[i];
        if (flow->partition != from->partition || strcmp(flow->topic->name, from->topic) != 0) continue;
        if (!weft_id_equal(flow->topic->source_id, from->topic_id)) break;
        (void) weft_bridge_map_target(&flow->map, from->offset, mapped);
        snprintf(target_topic, size, "%s", flow->topic->target_name);
        found = true;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

static int64_t s_there(const weft_group_offsets_t *offsets, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < offsets->count; i++)
        if (offsets->offsets[i].partition == partition && strcmp(offsets->offsets[i].topic, topic) == 0)
            return offsets->offsets[i].offset;
    return -1;
}

static void s_keep(struct s_list *list, const char *group, const struct weft_group_committed *from,
                   const char *target_topic, const struct weft_bridge_mapped *mapped, int64_t committed)
{
    if (list->count == S_TRANSLATED_MAX) return;
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->rows = weft_realloc(list->rows, list->capacity * sizeof *list->rows);
    }
    const char *reason = mapped->offset < 0 ? "nothing of this partition was copied yet" : NULL;
    list->rows[list->count++] = (struct weft_bridge_translated){.group = weft_strdup(group),
                                                                .topic = weft_strdup(from->topic),
                                                                .target_topic = weft_strdup(target_topic),
                                                                .reason = reason == NULL ? NULL : weft_strdup(reason),
                                                                .partition = from->partition,
                                                                .offset = from->offset,
                                                                .target_offset = mapped->offset,
                                                                .committed = committed,
                                                                .exact = mapped->exact};
}

// What is to be said in the target; topic names are the caller's to free.
static size_t s_plan(weft_bridge_t *self, const char *group, const weft_group_offsets_t *source,
                     const weft_group_offsets_t *target, struct weft_group_offset *plan, struct s_list *list)
{
    char topic[256];
    struct weft_bridge_mapped mapped;
    size_t count = 0;
    for (size_t i = 0; i < source->count; i++) {
        const struct weft_group_committed *from = &source->offsets[i];
        if (from->offset < 0 || from->topic[0] == '\0') continue;
        if (!s_translate(self, from, topic, sizeof topic, &mapped)) continue;
        int64_t there = s_there(target, topic, from->partition), offset = mapped.offset;
        s_keep(list, group, from, topic, &mapped, there);
        if (offset <= there) continue;
        plan[count++] = (struct weft_group_offset){.topic = weft_strdup(topic),
                                                   .partition = from->partition,
                                                   .offset = offset,
                                                   .leader_epoch = -1,
                                                   .metadata = from->metadata};
    }
    return count;
}

static weft_err_t s_commit(weft_bridge_t *self, const char *group, const struct weft_group_offset *plan, size_t count)
{
    uint64_t token = 0;
    weft_err_t err = weft_admin_group_token(self->target_admin, group, &token);
    if (err == WEFT_ERR_UNKNOWN_GROUP) err = WEFT_OK; // it has never had members: token 0
    if (err == WEFT_OK) err = weft_admin_commit_group_offsets(self->target_admin, group, token, plan, count, NULL);
    if (err == WEFT_OK)
        weft_node_counter_add(self->node, WEFT_BRIDGE_GROUPS, count);
    else
        weft_node_counter_add(self->node, WEFT_BRIDGE_GROUPS_SKIPPED, 1);
    if (err != WEFT_OK && err != WEFT_ERR_GROUP_NOT_EMPTY && !atomic_load(&self->ending))
        weft_node_trace(self->node, 1, "offsets of group '%s' were not translated: %s", group,
                        weft_admin_error_text(self->target_admin));
    return err;
}

// Of those that were kept since `from`: committed now, or why not.
static void s_committed(weft_bridge_t *self, struct s_list *list, size_t from, weft_err_t err)
{
    char why[WEFT_BRIDGE_REASON_BYTES];
    snprintf(why, sizeof why, "%s",
             err == WEFT_ERR_GROUP_NOT_EMPTY ? "the group has members in the target"
                                             : weft_admin_error_text(self->target_admin));
    for (size_t i = from; i < list->count; i++) {
        struct weft_bridge_translated *row = &list->rows[i];
        if (row->target_offset <= row->committed) continue;
        if (err == WEFT_OK)
            row->committed = row->target_offset;
        else
            row->reason = weft_strdup(why);
    }
}

static weft_err_t s_group(weft_bridge_t *self, const char *group, struct s_list *list)
{
    weft_group_offsets_t *source = NULL, *target = NULL;
    weft_err_t err = weft_admin_group_offsets(self->source_admin, group, &source);
    if (err != WEFT_OK) return err;
    err = weft_admin_group_offsets(self->target_admin, group, &target);
    if (err == WEFT_OK) {
        struct weft_group_offset *plan = weft_calloc(source->count + 1, sizeof *plan);
        size_t before = list->count, count = s_plan(self, group, source, target, plan, list);
        if (count > 0) {
            err = s_commit(self, group, plan, count);
            s_committed(self, list, before, err);
        }
        for (size_t i = 0; i < count; i++) {
            char *topic;
            memcpy(&topic, &plan[i].topic, sizeof topic); // ours, though the struct says const
            free(topic);
        }
        free(plan);
    }
    weft_group_offsets_destroy(&source);
    weft_group_offsets_destroy(&target);
    return err;
}

void weft_bridge_translated_free(struct weft_bridge_translated *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].group);
        free(list[i].topic);
        free(list[i].target_topic);
        free(list[i].reason);
    }
    free(list);
}

static void s_show(weft_bridge_t *self, struct s_list *list)
{
    pthread_mutex_lock(&self->lock);
    struct s_list before = {self->translated, self->translated_count, 0};
    self->translated = list->rows;
    self->translated_count = list->count;
    pthread_mutex_unlock(&self->lock);
    weft_bridge_translated_free(before.rows, before.count);
}

weft_err_t weft_bridge_groups(weft_bridge_t *self)
{
    struct s_list list = {NULL, 0, 0};
    weft_group_list_t *groups = NULL;
    weft_err_t err = weft_admin_list_groups(self->source_admin, &groups);
    for (size_t i = 0; err == WEFT_OK && i < groups->count && !atomic_load(&self->ending); i++)
        if (s_wanted(self, groups->groups[i].name)) (void) !s_group(self, groups->groups[i].name, &list);
    weft_group_list_destroy(&groups);
    if (err == WEFT_OK)
        s_show(self, &list);
    else
        weft_bridge_translated_free(list.rows, list.count); // what was known stands
    return err;
}
