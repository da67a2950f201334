// SPDX-License-Identifier: MPL-2.0
// Consumer groups: where a group of the source stands, said in the target's offsets, so that its members can go on there.
// Only for groups that nobody is in over there, only forward, and never beyond what was copied: a member that moves reads
// some records again rather than missing one.
#include "bridge_inner.h"

#include "../../lib/base/glob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool s_wanted(const weft_bridge_t *self, const char *group)
{
    for (size_t i = 0; self->groups[i] != NULL; i++)
        if (weft_glob_match(self->groups[i], group)) return true;
    return false;
}

// False: that partition is not copied, or nothing of it was yet.
static bool s_translate(weft_bridge_t *self, const struct weft_group_committed *from, char *target_topic, size_t size,
                        int64_t *offset)
{
    struct weft_bridge_mapped mapped;
    bool found = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->flow_count && !found; i++) {
        const struct weft_bridge_flow *flow = self->flows[i];
        if (flow->partition != from->partition || strcmp(flow->topic->name, from->topic) != 0) continue;
        if (!weft_id_equal(flow->topic->source_id, from->topic_id)) break;
        if (!weft_bridge_map_target(&flow->map, from->offset, &mapped)) break;
        snprintf(target_topic, size, "%s", flow->topic->target_name);
        *offset = mapped.offset;
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

// What is to be said in the target; topic names are the caller's to free.
static size_t s_plan(weft_bridge_t *self, const weft_group_offsets_t *source, const weft_group_offsets_t *target,
                     struct weft_group_offset *plan)
{
    char topic[256];
    size_t count = 0;
    for (size_t i = 0; i < source->count; i++) {
        const struct weft_group_committed *from = &source->offsets[i];
        int64_t offset;
        if (from->offset < 0 || from->topic[0] == '\0') continue;
        if (!s_translate(self, from, topic, sizeof topic, &offset)) continue;
        if (offset <= s_there(target, topic, from->partition)) continue;
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

static weft_err_t s_group(weft_bridge_t *self, const char *group)
{
    weft_group_offsets_t *source = NULL, *target = NULL;
    weft_err_t err = weft_admin_group_offsets(self->source_admin, group, &source);
    if (err != WEFT_OK) return err;
    err = weft_admin_group_offsets(self->target_admin, group, &target);
    if (err == WEFT_OK) {
        struct weft_group_offset *plan = weft_calloc(source->count + 1, sizeof *plan);
        size_t count = s_plan(self, source, target, plan);
        if (count > 0) err = s_commit(self, group, plan, count);
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

weft_err_t weft_bridge_groups(weft_bridge_t *self)
{
    weft_group_list_t *groups = NULL;
    weft_err_t err = weft_admin_list_groups(self->source_admin, &groups);
    for (size_t i = 0; err == WEFT_OK && i < groups->count && !atomic_load(&self->ending); i++)
        if (s_wanted(self, groups->groups[i].name)) (void) !s_group(self, groups->groups[i].name);
    weft_group_list_destroy(&groups);
    return err;
}
