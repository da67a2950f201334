// SPDX-License-Identifier: MPL-2.0
/*
 * With P partitions for M members each gets P / M, the first P mod M one more. A member keeps as many of those that it had as it may have now; to keep most,
 * those who had more are those who get one more. What is kept is counted, and has to be that many.
 */
#include "sim_movement.h"

#include <weft_gen/codec.h>
#include <weft_gen/commands.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool s_subscribe_alike(const struct weft_group *group)
{
    const struct weft_group_member *first = group->members[0];
    for (size_t i = 1; i < group->member_count; i++) {
        const struct weft_group_member *member = group->members[i];
        if (member->topic_count != first->topic_count) return false;
        for (size_t t = 0; t < first->topic_count; t++) {
            if (strcmp(member->topics[t], first->topics[t]) != 0) return false;
        }
    }
    return true;
}

void sim_movement_before(struct sim_movement *out, const weft_groups_t *groups, const weft_cluster_t *cluster,
                         weft_slice_t command)
{
    weft_codec_t codec;
    weft_codec_init(&codec);
    struct weft_group_assigned_command assigned;
    const struct weft_group *group = NULL;
    if (weft_group_assigned_command_decode(&codec, command, &assigned, NULL) == WEFT_OK) {
        group = weft_groups_find(groups, assigned.group);
    }
    weft_codec_fini(&codec);
    if (group == NULL || group->member_count == 0 || group->assignor != WEFT_ASSIGNOR_UNIFORM) return;
    if (!s_subscribe_alike(group)) return;
    snprintf(out->group, sizeof out->group, "%s", group->name);
    out->member_count = group->member_count;
    for (size_t i = 0; i < group->member_count; i++) {
        const struct weft_group_member *member = group->members[i];
        for (size_t t = 0; t < member->target_count; t++) {
            const struct weft_group_target *target = &member->target[t];
            const struct weft_cluster_topic *topic = weft_cluster_topic(cluster, target->topic);
            if (topic == NULL || !weft_group_reads(group, weft_slice_text(topic->name))) continue;
            out->places = weft_realloc(out->places, (out->count + 1) * sizeof *out->places);
            out->places[out->count++] =
                (struct sim_movement_place){.topic = target->topic, .partition = target->partition, .owner = i};
        }
    }
}

static bool s_has(const struct weft_group_member *member, const struct sim_movement_place *place)
{
    for (size_t i = 0; i < member->target_count; i++) {
        const struct weft_group_target *target = &member->target[i];
        if (target->partition == place->partition && weft_id_equal(target->topic, place->topic)) return true;
    }
    return false;
}

void sim_movement_after(const struct sim_movement *self, const weft_groups_t *groups, const weft_cluster_t *cluster,
                        sim_history_t *history)
{
    const struct weft_group *group = weft_groups_find(groups, weft_slice_text(self->group));
    (void) cluster;
    if (group == NULL || group->member_count != self->member_count) return;
    size_t all = 0, kept = 0, most = 0, more = 0;
    for (size_t i = 0; i < group->member_count; i++) all += group->members[i]->target_count;
    size_t least = all / group->member_count, one_more = all % group->member_count;
    for (size_t i = 0; i < group->member_count; i++) {
        size_t had = 0;
        for (size_t p = 0; p < self->count; p++) {
            if (self->places[p].owner != i) continue;
            had++;
            kept += s_has(group->members[i], &self->places[p]);
        }
        most += had < least ? had : least;
        more += had > least;
    }
    most += more < one_more ? more : one_more;
    if (kept == most) return;
    sim_history_violate(history,
                        "more moves than needed: of %zu partitions for %zu members of %s %zu stay where they were, and "
                        "%zu could",
                        all, group->member_count, self->group, kept, most);
}

void sim_movement_fini(struct sim_movement *self)
{
    free(self->places);
    self->places = NULL;
}
