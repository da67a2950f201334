// SPDX-License-Identifier: MPL-2.0
// What members ask to read: names, and globs over names.
//
// Members that ask for the same share one subscription (a group of a thousand members has one, not a thousand copies),
// and a group knows each of its patterns once: matching costs by patterns, not by members. Globs are the only thing that
// is walked against all topics of the cluster, so a group may have only so many different ones.
#include "groups_state.h"

#include "../base/assert.h"
#include "../base/glob.h"

#include <stdlib.h>
#include <string.h>

// FNV-1a (Fowler, Noll, Vo), and a fold, for its low bits alone are weak. Digests travel in commands: it can't change.
uint64_t weft_group_hash(uint64_t state, weft_slice_t bytes)
{
    state ^= 0xcbf29ce484222325;
    for (size_t i = 0; i < bytes.size; i++) state = (state ^ bytes.data[i]) * 0x100000001b3;
    state = (state ^ (state >> 32)) * 0x9fb21c651e98df25;
    return state ^ (state >> 29);
}

// ---- what is legal

weft_err_t weft_group_name_check(weft_slice_t name, struct weft_error *error)
{
    if (name.size == 0) return weft_error_set(error, WEFT_ERR_INVALID_GROUP, "a group needs a name");
    if (name.size > WEFT_GROUP_NAME_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_GROUP, "a group name has at most %d bytes, this one has %zu",
                              WEFT_GROUP_NAME_BYTES_MAX, name.size);
    char text[WEFT_GROUP_NAME_BYTES_MAX + 1] = {0};
    memcpy(text, name.data, name.size);
    if (strlen(text) != name.size || !weft_text_is_clean(text))
        return weft_error_set(error, WEFT_ERR_INVALID_GROUP,
                              "the group name '%.*s' is not UTF-8 or has control characters", (int) name.size,
                              (const char *) name.data);
    return WEFT_OK;
}

static bool s_is_glob(weft_slice_t pattern)
{
    for (size_t i = 0; i < pattern.size; i++)
        if (pattern.data[i] == '*' || pattern.data[i] == '?' || pattern.data[i] == '[') return true;
    return false;
}

static bool s_legal(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

// A set from '[' at `at`: the position behind its ']', or 0 with *why.
static size_t s_set_end(weft_slice_t pattern, size_t at, const char **why)
{
    size_t first = at + 1 + (at + 1 < pattern.size && pattern.data[at + 1] == '!');
    size_t i = first;
    for (; i < pattern.size && pattern.data[i] != ']'; i++) {
        *why = "has a set of what no topic name has";
        if (!s_legal(pattern.data[i])) return 0;
        if (i + 2 >= pattern.size || pattern.data[i + 1] != '-' || pattern.data[i + 2] == ']') continue;
        if (!s_legal(pattern.data[i + 2])) return 0;
        *why = "has a range that is empty";
        if (pattern.data[i] > pattern.data[i + 2]) return 0;
        i += 2;
    }
    *why = i >= pattern.size ? "has a '[' that is never closed" : "has an empty set";
    return i >= pattern.size || i == first ? 0 : i + 1;
}

weft_err_t weft_group_pattern_check(weft_slice_t pattern, struct weft_error *error)
{
    if (!s_is_glob(pattern)) return weft_topic_name_check(pattern, error);
    if (pattern.size > WEFT_TOPIC_NAME_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_PATTERN, "a pattern has at most %d characters, this one has %zu",
                              WEFT_TOPIC_NAME_BYTES_MAX, pattern.size);
    const char *why = NULL;
    for (size_t i = 0; i < pattern.size && !why;) {
        uint8_t c = pattern.data[i];
        if (c == '[') {
            const char *wrong = NULL;
            i = s_set_end(pattern, i, &wrong);
            if (i == 0) why = wrong;
        } else if (c == '*' || c == '?' || s_legal(c))
            i++;
        else
            why = "has a character that no topic name has";
    }
    if (!why) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_INVALID_PATTERN,
                          "the pattern '%.*s' %s; use *, ?, [abc], [a-z], [!a-z] and characters of topic names",
                          (int) pattern.size, (const char *) pattern.data, why);
}

static int s_compare(const void *a, const void *b)
{
    return weft_slice_compare(*(const weft_slice_t *) a, *(const weft_slice_t *) b);
}

// The topics sorted, each once and with a terminator.
static char *s_text(const weft_slice_t *topics, size_t *count, size_t *bytes)
{
    weft_slice_t sorted[WEFT_GROUP_TOPICS_MAX];
    if (*count) memcpy(sorted, topics, *count * sizeof *sorted);
    qsort(sorted, *count, sizeof *sorted, s_compare);
    size_t kept = 0;
    *bytes = 0;
    for (size_t i = 0; i < *count; i++) {
        if (kept && weft_slice_equal(sorted[kept - 1], sorted[i])) continue;
        sorted[kept++] = sorted[i];
        *bytes += sorted[i].size + 1;
    }
    char *text = weft_calloc(1, *bytes + 1), *at = text;
    for (size_t i = 0; i < kept; i++, at++) {
        memcpy(at, sorted[i].data, sorted[i].size);
        at += sorted[i].size;
    }
    *count = kept;
    return text;
}

static bool s_has_subscription(const struct weft_group *group, const weft_slice_t *topics, size_t count)
{
    size_t bytes;
    char *text = s_text(topics, &count, &bytes);
    bool has = weft_map_get(group->index->subscriptions, weft_slice(text, bytes));
    free(text);
    return has;
}

weft_err_t weft_group_subscription_check(const struct weft_group *group, const weft_slice_t *topics, size_t count,
                                         struct weft_error *error)
{
    if (count > WEFT_GROUP_TOPICS_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "a subscription has at most %d names, not %zu",
                              WEFT_GROUP_TOPICS_MAX, count);
    size_t globs = group ? group->index->glob_count : 0, bytes = group ? group->index->glob_bytes : 0;
    for (size_t i = 0; i < count; i++) {
        weft_err_t err = weft_group_pattern_check(topics[i], error);
        if (err) return err;
        if (!s_is_glob(topics[i]) || (group && weft_map_get(group->index->patterns, topics[i]))) continue;
        globs++;
        bytes += topics[i].size;
    }
    if (group && weft_map_count(group->index->subscriptions) >= WEFT_GROUP_SUBSCRIPTIONS_MAX &&
        !s_has_subscription(group, topics, count))
        return weft_error_set(error, WEFT_ERR_GROUP_FULL,
                              "the members of a group subscribe in at most %d different ways; let this one subscribe "
                              "to what others do",
                              WEFT_GROUP_SUBSCRIPTIONS_MAX);
    if (globs > WEFT_GROUP_GLOBS_MAX || bytes > WEFT_GROUP_GLOB_BYTES_MAX)
        return weft_error_set(error, WEFT_ERR_GROUP_FULL,
                              "a group has at most %d different patterns, of %d characters together; with this "
                              "subscription it would have more: use fewer, shorter or plain names",
                              WEFT_GROUP_GLOBS_MAX, WEFT_GROUP_GLOB_BYTES_MAX);
    return WEFT_OK;
}

size_t weft_group_subscription_bytes(const weft_slice_t *topics, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += 2 * (topics[i].size + 1); // in the subscription, and as a pattern
    return bytes;
}

// ---- patterns of a group

static void s_pattern_use(weft_groups_t *self, struct weft_group_index *index, const char *text)
{
    weft_slice_t key = weft_slice_text(text);
    struct weft_group_pattern *pattern = weft_map_get(index->patterns, key);
    if (!pattern) {
        pattern = weft_calloc(1, sizeof *pattern);
        pattern->text = weft_strdup(text);
        pattern->glob = s_is_glob(key);
        if (pattern->glob) weft_group_match_forget(index);
        index->glob_count += pattern->glob;
        index->glob_bytes += pattern->glob ? key.size : 0;
        self->bytes += key.size + 1;
        weft_map_put(index->patterns, key, pattern);
    }
    pattern->subscription_count++;
}

static void s_pattern_leave(weft_groups_t *self, struct weft_group_index *index, const char *text)
{
    weft_slice_t key = weft_slice_text(text);
    struct weft_group_pattern *pattern = weft_map_get(index->patterns, key);
    if (--pattern->subscription_count) return;
    weft_map_remove(index->patterns, key);
    if (pattern->glob) weft_group_match_forget(index);
    index->glob_count -= pattern->glob;
    index->glob_bytes -= pattern->glob ? key.size : 0;
    self->bytes -= key.size + 1;
    free(pattern->text);
    free(pattern);
}

// Internal topics are for who names their kind.
bool weft_group_pattern_matches(const struct weft_group_pattern *pattern, const char *topic)
{
    if (!pattern->glob) return strcmp(pattern->text, topic) == 0;
    if (topic[0] == '_' && topic[1] == '_' && strncmp(pattern->text, "__", 2) != 0) return false;
    return weft_glob_match(pattern->text, topic);
}

bool weft_group_reads(const struct weft_group *group, weft_slice_t topic)
{
    if (weft_map_get(group->index->patterns, topic)) return true;
    if (group->index->glob_count == 0 || topic.size > WEFT_TOPIC_NAME_BYTES_MAX) return false;
    char name[WEFT_TOPIC_NAME_BYTES_MAX + 1] = {0};
    if (topic.size) memcpy(name, topic.data, topic.size);
    void *value;
    for (size_t cursor = 0; weft_map_next(group->index->patterns, &cursor, NULL, &value);)
        if (((struct weft_group_pattern *) value)->glob && weft_group_pattern_matches(value, name)) return true;
    return false;
}

// ---- subscriptions of a group

static struct weft_group_subscription *s_make(weft_groups_t *self, struct weft_group_index *index, char *text,
                                              size_t bytes, size_t count)
{
    struct weft_group_subscription *made = weft_calloc(1, sizeof *made);
    made->text = text;
    made->text_bytes = bytes;
    made->topics = weft_calloc(count, sizeof *made->topics);
    made->topic_count = count;
    for (size_t i = 0; i < count; i++, text += strlen(text) + 1) {
        made->topics[i] = text;
        s_pattern_use(self, index, text);
    }
    made->digest = weft_group_hash(0, weft_slice(made->text, bytes));
    self->bytes += bytes;
    weft_map_put(index->subscriptions, weft_slice(made->text, bytes), made);
    return made;
}

void weft_group_subscribe(weft_groups_t *self, struct weft_group_member *member, const weft_slice_t *topics,
                          size_t count)
{
    weft_assert(count <= WEFT_GROUP_TOPICS_MAX);
    struct weft_group_index *index = member->group->index;
    size_t bytes;
    char *text = s_text(topics, &count, &bytes);
    struct weft_group_subscription *to = weft_map_get(index->subscriptions, weft_slice(text, bytes));
    if (to)
        free(text);
    else
        to = s_make(self, index, text, bytes, count);
    to->member_count++; // before the old one goes: it may be the same
    weft_group_unsubscribe(self, member);
    member->subscription = to;
    member->topics = to->topics;
    member->topic_count = to->topic_count;
}

void weft_group_unsubscribe(weft_groups_t *self, struct weft_group_member *member)
{
    struct weft_group_subscription *old = member->subscription;
    member->subscription = NULL;
    member->topics = NULL;
    member->topic_count = 0;
    if (!old || --old->member_count) return;
    struct weft_group_index *index = member->group->index;
    for (size_t i = 0; i < old->topic_count; i++) s_pattern_leave(self, index, old->topics[i]);
    self->bytes -= old->text_bytes;
    weft_map_remove(index->subscriptions, weft_slice(old->text, old->text_bytes));
    free(old->text);
    free(old->topics);
    free(old);
}
