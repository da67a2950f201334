// SPDX-License-Identifier: MPL-2.0
// Topics that a group's globs match.
//
// Globs are walked against all topics of the cluster, on the thread that answers heartbeats. So each is prepared before,
// and what they match is kept: while neither the globs nor the topics are others nothing is matched, and of topics that
// came only those are. That is derived: a group without it, as after a snapshot, finds the same. What all groups keep
// together is bounded; beyond that it is forgotten after use.
#include "groups_state.h"

#include "../base/assert.h"
#include "../base/glob.h"

#include <stdlib.h>
#include <string.h>

enum { S_KEPT_MAX = 2000000 }; // topics found, 32 MB

_Static_assert(WEFT_GROUP_GLOBS_MAX <= WEFT_GLOBS_MAX, "globs of a group can be prepared");
_Static_assert(WEFT_GROUP_GLOB_BYTES_MAX <= WEFT_GLOBS_BYTES_MAX, "globs of a group can be prepared");

void weft_group_match_forget(struct weft_group_index *index)
{
    *index->kept -= index->found_count;
    free(index->found);
    index->found = NULL;
    index->found_count = index->found_capacity = 0;
    index->found_lineage = index->found_added = 0;
}

// Numbered as they are walked, which stays while there are no others.
static struct weft_globs *s_prepare(const struct weft_group_index *index, uint32_t *internal)
{
    struct weft_globs *globs = weft_alloc(sizeof *globs);
    weft_globs_init(globs);
    *internal = 0;
    void *value;
    for (size_t cursor = 0; weft_map_next(index->patterns, &cursor, NULL, &value);) {
        struct weft_group_pattern *pattern = value;
        if (!pattern->glob) continue;
        pattern->number = (uint32_t) globs->count;
        *internal |= (uint32_t) (strncmp(pattern->text, "__", 2) == 0) << pattern->number;
        weft_globs_add(globs, pattern->text);
    }
    return globs;
}

static void s_add(struct weft_group_index *index, const struct weft_cluster_topic *topic, uint32_t globs)
{
    if (index->found_count == index->found_capacity) {
        index->found_capacity = index->found_capacity ? 2 * index->found_capacity : 16;
        index->found = weft_realloc(index->found, index->found_capacity * sizeof *index->found);
    }
    index->found[index->found_count++] = (struct weft_group_found){.topic = topic, .globs = globs};
    ++*index->kept;
}

void weft_group_match(const struct weft_group *group, const weft_cluster_t *cluster)
{
    struct weft_group_index *index = group->index;
    uint64_t lineage, added;
    weft_cluster_topics_version(cluster, &lineage, &added);
    bool anew = index->found_lineage != lineage;
    if (index->glob_count == 0 || (!anew && index->found_added == added)) return;
    if (anew) weft_group_match_forget(index);
    uint32_t internal; // those that may match internal topics
    struct weft_globs *globs = s_prepare(index, &internal);
    const struct weft_cluster_topic *topic;
    for (size_t cursor = 0; (topic = weft_cluster_next_topic(cluster, &cursor));) {
        if (topic->serial <= index->found_added) continue;
        bool hidden = topic->name[0] == '_' && topic->name[1] == '_';
        uint32_t matches = weft_globs_match(globs, topic->name, hidden ? internal : UINT32_MAX);
        if (matches) s_add(index, topic, matches);
    }
    free(globs);
    index->found_lineage = lineage;
    index->found_added = added;
}

void weft_group_match_done(const struct weft_group *group)
{
    if (*group->index->kept > S_KEPT_MAX) weft_group_match_forget(group->index);
}

// Ascending by serial, as topics are walked.
bool weft_group_match_has(const struct weft_group *group, const struct weft_cluster_topic *topic)
{
    const struct weft_group_index *index = group->index;
    size_t low = 0, high = index->found_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->found[middle].topic->serial < topic->serial)
            low = middle + 1;
        else
            high = middle;
    }
    return low < index->found_count && index->found[low].topic == topic;
}
