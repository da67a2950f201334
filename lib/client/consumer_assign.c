// SPDX-License-Identifier: MPL-2.0
// Which partitions are read. A subscription is a name or a glob; every metadata answer is matched against all of them:
// partitions that appeared are added, topics that are surely gone take theirs away. What appears after the first look
// is read from its first record, whatever `at` says about earliest or latest: between its creation and our look records
// may have come.
#include "consumer_inner.h"

#include "../base/assert.h"
#include "../base/glob.h"

#include <stdio.h>
#include <stdlib.h>

static int s_compare(const struct weft_cpartition *a, const char *topic, int32_t partition)
{
    int order = strcmp(a->topic->name, topic);
    if (order) return order;
    return a->index < partition ? -1 : a->index > partition;
}

// Where the partition is, or would stand.
static size_t s_place(const weft_consumer_part_t *self, const char *topic, int32_t partition)
{
    size_t low = 0, high = self->partition_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s_compare(self->partitions[middle], topic, partition) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct weft_cpartition *weft_consumer_find(const weft_consumer_part_t *self, const char *topic, int32_t partition)
{
    size_t at = s_place(self, topic, partition);
    if (at == self->partition_count || s_compare(self->partitions[at], topic, partition)) return NULL;
    return self->partitions[at];
}

// How it begins is still to be said.
static struct weft_cpartition *s_insert(weft_consumer_part_t *self, struct weft_view_topic *topic, int32_t index)
{
    struct weft_cpartition *partition = weft_calloc(1, sizeof *partition);
    partition->part = self;
    partition->topic = topic;
    partition->index = index;
    partition->position = partition->end = partition->log_start = partition->end_at_start = -1;
    partition->fetch_epoch = partition->read_epoch = partition->sought_epoch = -1;
    partition->commit = (struct weft_ccommit){.want = -1, .want_epoch = -1, .sent = -1, .done = -1};
    weft_buf_init(&partition->call.header);
    partition->call.to = WEFT_TO_LEADER;
    partition->call.topic = topic;
    partition->call.partition = index;
    partition->call.context = partition;
    size_t place = s_place(self, topic->name, index);
    self->partitions = weft_realloc(self->partitions, (self->partition_count + 1) * sizeof(void *));
    memmove(&self->partitions[place + 1], &self->partitions[place], (self->partition_count - place) * sizeof(void *));
    self->partitions[place] = partition;
    self->partition_count++;
    return partition;
}

static void s_add(weft_consumer_part_t *self, struct weft_view_topic *topic, int32_t index, struct weft_position at)
{
    struct weft_cpartition *partition = s_insert(self, topic, index);
    if (*self->offsets.group && at.from == WEFT_FROM_RESET) { // resumed where the group stands
        partition->state = WEFT_CSTATE_FENCE;
        partition->at = at;
    } else
        weft_consumer_move(self, partition, at);
}

static void s_remove(weft_consumer_part_t *self, size_t place)
{
    struct weft_cpartition *partition = self->partitions[place];
    weft_consumer_forget(self, partition);
    weft_consumer_offsets_forget(self, partition);
    if (self->handed == partition) self->handed = NULL;
    self->partition_count--;
    memmove(&self->partitions[place], &self->partitions[place + 1], (self->partition_count - place) * sizeof(void *));
    free(partition);
}

// ---- what a group gives

void weft_consumer_hush(struct weft_cpartition *partition)
{
    partition->quiet = partition->paused || partition->dropped || partition->letting_go || partition->lost;
}

struct weft_cpartition *weft_consumer_own(weft_consumer_part_t *self, const struct weft_desk_owned *owned)
{
    struct weft_view_topic *topic = weft_view_topic(&self->view, owned->topic);
    topic->wanted = true;
    bool known = topic->state == WEFT_VIEW_KNOWN && (int64_t) owned->partition < topic->partition_count &&
                 weft_id_equal(topic->id, owned->topic_id);
    if (!known) weft_requests_refresh_now(&self->requests);
    struct weft_cpartition *partition = s_insert(self, topic, (int32_t) owned->partition);
    partition->owned = true;
    partition->topic_id = owned->topic_id;
    partition->token = owned->token;
    partition->state = WEFT_CSTATE_FENCE;
    partition->at = self->group.at;
    return partition;
}

// The metadata of a topic is asked for as long as one of its partitions is owned.
void weft_consumer_disown(weft_consumer_part_t *self, struct weft_cpartition *partition)
{
    struct weft_view_topic *topic = partition->topic;
    size_t place = s_place(self, topic->name, partition->index);
    s_remove(self, place);
    bool left = (place < self->partition_count && self->partitions[place]->topic == topic) ||
                (place && self->partitions[place - 1]->topic == topic);
    if (!left) topic->wanted = false;
}

static void s_clear(weft_consumer_part_t *self)
{
    while (self->partition_count) s_remove(self, self->partition_count - 1);
    for (size_t i = 0; i < self->subscription_count; i++) free(self->subscriptions[i].pattern);
    free(self->subscriptions);
    self->subscriptions = NULL;
    self->subscription_count = 0;
    for (size_t i = 0; i < self->view.topic_count; i++) self->view.topics[i]->wanted = false;
}

void weft_consumer_assign_fini(weft_consumer_part_t *self)
{
    s_clear(self);
    free(self->partitions);
    self->partitions = NULL;
}

// ---- matching

// `partition` is new to us, by this subscription.
static void s_cover(weft_consumer_part_t *self, struct weft_csubscription *by, struct weft_view_topic *topic,
                    int32_t partition)
{
    if (weft_consumer_find(self, topic->name, partition)) return;
    struct weft_position at = by->at;
    if (by->looked && (at.from == WEFT_FROM_LATEST || at.from == WEFT_FROM_RESET)) at.from = WEFT_FROM_EARLIEST;
    s_add(self, topic, partition, at);
}

static void s_cover_topic(weft_consumer_part_t *self, struct weft_csubscription *by, struct weft_view_topic *topic)
{
    if (by->partition != WEFT_PARTITION_ALL) {
        if (by->partition < topic->partition_count) {
            s_cover(self, by, topic, by->partition);
        } else if (!by->told_missing) {
            by->told_missing = true;
            weft_consumer_tell(self, WEFT_EVENT_UNKNOWN_TOPIC, topic, by->partition, -1, -1, WEFT_ERR_UNKNOWN_TOPIC,
                               "the topic has no such partition (yet)");
        }
        return;
    }
    for (int32_t i = 0; i < topic->partition_count; i++) s_cover(self, by, topic, i);
}

static void s_match_name(weft_consumer_part_t *self, struct weft_csubscription *by)
{
    struct weft_view_topic *topic = weft_view_topic(&self->view, by->pattern);
    if (topic->state == WEFT_VIEW_KNOWN) {
        s_cover_topic(self, by, topic);
        by->looked = true;
    } else if (weft_view_is_missing(&self->view, topic)) {
        if (!by->told_missing) {
            char text[WEFT_ERROR_TEXT_BYTES_MAX];
            snprintf(text, sizeof text, "topic '%.200s' does not exist (yet)", topic->name);
            weft_consumer_tell(self, WEFT_EVENT_UNKNOWN_TOPIC, topic, -1, -1, -1, WEFT_ERR_UNKNOWN_TOPIC, text);
        }
        by->told_missing = by->looked = true;
    } else
        self->unsettled = true;
}

static void s_match_glob(weft_consumer_part_t *self, struct weft_csubscription *by)
{
    bool internal = !strncmp(by->pattern, "__", 2);
    for (size_t i = 0; i < self->view.topic_count; i++) {
        struct weft_view_topic *topic = self->view.topics[i];
        if (topic->state != WEFT_VIEW_KNOWN || (topic->internal && !internal)) continue;
        if (!internal && !strncmp(topic->name, "__", 2)) continue;
        if (weft_glob_match(by->pattern, topic->name)) s_cover_topic(self, by, topic);
    }
    if (!self->first_look) by->looked = true;
}

static void s_take_away(weft_consumer_part_t *self)
{
    for (size_t i = self->partition_count; i-- > 0;) {
        struct weft_cpartition *partition = self->partitions[i];
        if (partition->owned) continue; // the group says when
        bool known = partition->topic->state == WEFT_VIEW_KNOWN;
        if (known && partition->index < partition->topic->partition_count) continue;
        if (!known && !weft_view_is_missing(&self->view, partition->topic)) {
            self->unsettled = true;
            continue;
        }
        weft_consumer_tell(self, WEFT_EVENT_REVOKED, partition->topic, partition->index, partition->position, -1,
                           WEFT_ERR_UNKNOWN_TOPIC,
                           known ? "the topic was replaced by one with fewer partitions" : "the topic was deleted");
        s_remove(self, i);
    }
}

void weft_consumer_match(weft_consumer_part_t *self)
{
    if (self->first_look && self->view.updates_all > self->look_after) self->first_look = false;
    self->unsettled = false;
    for (size_t i = 0; i < self->subscription_count; i++) {
        struct weft_csubscription *by = &self->subscriptions[i];
        if (by->is_glob)
            s_match_glob(self, by);
        else
            s_match_name(self, by);
    }
    s_take_away(self);
}

// ---- what the program asks

static weft_err_t s_refuse(weft_consumer_part_t *self, weft_err_t error, const char *what, const char *name)
{
    snprintf(self->text, sizeof self->text, "'%.250s': %s", name ? name : "", what);
    return error;
}

static weft_err_t s_check_topic(weft_consumer_part_t *self, const char *name)
{
    if (name && weft_topic_name_is_legal(name)) return WEFT_OK;
    return s_refuse(self, WEFT_ERR_INVALID_TOPIC, weft_err_sentence(WEFT_ERR_INVALID_TOPIC), name);
}

static void s_replace(weft_consumer_part_t *self, struct weft_csubscription *subscriptions, size_t count)
{
    s_clear(self);
    self->subscriptions = subscriptions;
    self->subscription_count = count;
    self->has_glob = false;
    bool internal = false;
    for (size_t i = 0; i < count; i++) {
        if (!subscriptions[i].is_glob)
            weft_view_topic(&self->view, subscriptions[i].pattern)->wanted = true;
        else
            self->has_glob = true;
        if (!strncmp(subscriptions[i].pattern, "__", 2)) internal = true;
    }
    self->requests.config.all_topics = self->has_glob;
    self->requests.config.internal_topics = internal;
    self->look_after = self->view.updates_all;
    self->first_look = self->has_glob;
    self->unsettled = true;
    weft_requests_refresh_now(&self->requests);
}

weft_err_t weft_consumer_part_assign(weft_consumer_part_t *self, const struct weft_assignment *list, size_t count)
{
    if (self->group.subscribed)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT,
                        "a member of a group can't assign; the group gives it its partitions", self->offsets.group);
    if (self->group.closing) return s_refuse(self, WEFT_ERR_LOCAL_CLOSED, "the consumer is closed", "");
    for (size_t i = 0; i < count; i++) {
        weft_err_t err = s_check_topic(self, list[i].topic);
        if (err) return err;
        if (list[i].partition < WEFT_PARTITION_ALL)
            return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "the partition is negative", list[i].topic);
        if (list[i].at.from == WEFT_FROM_OFFSET && list[i].at.value < 0)
            return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "the offset is negative", list[i].topic);
    }
    struct weft_csubscription *subscriptions = weft_calloc(count + 1, sizeof *subscriptions);
    for (size_t i = 0; i < count; i++)
        subscriptions[i] = (struct weft_csubscription){
            .pattern = weft_strdup(list[i].topic), .partition = list[i].partition, .at = list[i].at};
    s_replace(self, subscriptions, count);
    return WEFT_OK;
}

// The member part does the rest; what it brings is told by the desk.
static weft_err_t s_join(weft_consumer_part_t *self, const char *const *patterns, size_t count, struct weft_position at)
{
    if (!count || count > WEFT_DESK_PATTERNS_MAX)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "a member subscribes to 1 to 256 patterns",
                        self->offsets.group);
    struct weft_cgroup *group = &self->group;
    if (!group->subscribed) {
        s_replace(self, NULL, 0);
        self->unsettled = false;
        self->requests.config.internal_topics = true; // __offsets
    }
    group->subscribed = true;
    group->at = at;
    group->refused.code = WEFT_OK;
    group->told_refused = false;
    group->unknown_seen = UINT64_MAX;
    weft_desk_polled(group->desk, self->started ? weft_port_now_us(&self->port) : 0, !self->started);
    weft_desk_subscribe(group->desk, patterns, count);
    return WEFT_OK;
}

weft_err_t weft_consumer_part_subscribe(weft_consumer_part_t *self, const char *const *patterns, size_t count,
                                        struct weft_position at)
{
    if (self->group.closing) return s_refuse(self, WEFT_ERR_LOCAL_CLOSED, "the consumer is closed", "");
    if (at.from == WEFT_FROM_OFFSET && at.value < 0)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "the offset is negative", "");
    for (size_t i = 0; i < count; i++) {
        if (patterns[i] && weft_glob_is_pattern(patterns[i]) && strlen(patterns[i]) < 250) continue;
        weft_err_t err = s_check_topic(self, patterns[i]);
        if (err) return err;
    }
    if (self->group.desk) return s_join(self, patterns, count, at);
    struct weft_csubscription *subscriptions = weft_calloc(count + 1, sizeof *subscriptions);
    for (size_t i = 0; i < count; i++)
        subscriptions[i] = (struct weft_csubscription){.pattern = weft_strdup(patterns[i]),
                                                       .is_glob = weft_glob_is_pattern(patterns[i]),
                                                       .partition = WEFT_PARTITION_ALL,
                                                       .at = at};
    s_replace(self, subscriptions, count);
    return WEFT_OK;
}

weft_err_t weft_consumer_part_seek(weft_consumer_part_t *self, const char *topic, int32_t partition,
                                   struct weft_position at)
{
    struct weft_cpartition *found = weft_consumer_find(self, topic, partition);
    if (!found) return s_refuse(self, WEFT_ERR_NOT_FOUND, "the partition is not assigned", topic);
    if (at.from == WEFT_FROM_OFFSET && at.value < 0)
        return s_refuse(self, WEFT_ERR_INVALID_ARGUMENT, "the offset is negative", topic);
    found->sought_epoch = -1;
    weft_consumer_move(self, found, at);
    return WEFT_OK;
}

weft_err_t weft_consumer_part_seek_behind(weft_consumer_part_t *self, const char *topic, int32_t partition,
                                          int64_t offset, int32_t leader_epoch)
{
    weft_err_t err = weft_consumer_part_seek(self, topic, partition, (struct weft_position){WEFT_FROM_OFFSET, offset});
    if (err != WEFT_OK) return err;
    weft_consumer_behind(weft_consumer_find(self, topic, partition), leader_epoch < 0 ? -1 : leader_epoch);
    return WEFT_OK;
}

weft_err_t weft_consumer_part_pause(weft_consumer_part_t *self, const char *topic, int32_t partition, bool paused)
{
    bool any = !topic;
    for (size_t i = 0; i < self->partition_count; i++) {
        struct weft_cpartition *at = self->partitions[i];
        if (topic && strcmp(at->topic->name, topic)) continue;
        if (topic && partition != WEFT_PARTITION_ALL && at->index != partition) continue;
        at->paused = paused;
        weft_consumer_hush(at);
        any = true;
    }
    return any ? WEFT_OK : s_refuse(self, WEFT_ERR_NOT_FOUND, "no such partition is assigned", topic);
}
