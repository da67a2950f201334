// SPDX-License-Identifier: MPL-2.0
// The second thread: what it asks of the two clusters may take seconds, or an hour, while copying goes on. It learns
// which clusters these are, keeps a topic in the target for each one that is wanted, carries settings over (carry.c), and
// translates groups' offsets (groups.c).
#include "bridge_inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define S_WAIT_MS 200
#define S_LEADERS_MS 5000
#define S_BACKOFF_MS_MAX 10000

// ---- the table

struct weft_bridge_topic *weft_bridge_topic_get(weft_bridge_t *self, const char *name)
{
    for (size_t i = 0; i < self->table_count; i++)
        if (strcmp(self->table[i]->name, name) == 0) return self->table[i];
    struct weft_bridge_topic *topic = weft_calloc(1, sizeof *topic);
    weft_buf_t target;
    weft_buf_init(&target);
    weft_buf_printf(&target, "%s%s", self->prefix, name);
    topic->name = weft_strdup(name);
    weft_buf_init(&topic->carried);
    topic->target_name = weft_slice_dup(weft_buf_slice(&target));
    weft_buf_fini(&target);
    self->table = weft_realloc(self->table, (self->table_count + 1) * sizeof(void *));
    self->table[self->table_count++] = topic;
    return topic;
}

static bool s_ending(weft_bridge_t *self)
{
    return atomic_load(&self->ending);
}

static void s_say(weft_bridge_t *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void s_say(weft_bridge_t *self, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    pthread_mutex_lock(&self->lock);
    vsnprintf(self->steward_reason, sizeof self->steward_reason, format, list);
    pthread_mutex_unlock(&self->lock);
    va_end(list);
}

// ---- clusters

static bool s_learn_cluster(weft_bridge_t *self, weft_admin_t *admin, const char *which, weft_id_t *out)
{
    weft_metadata_t *metadata = NULL;
    const char *const none[] = {NULL};
    weft_err_t err = weft_admin_metadata(admin, none, 0, false, &metadata);
    if (err != WEFT_OK) {
        if (!s_ending(self)) s_say(self, "the %s cluster does not answer: %.200s", which, weft_admin_error_text(admin));
        return false;
    }
    bool known = !weft_id_is_zero(metadata->cluster_id);
    pthread_mutex_lock(&self->lock);
    *out = metadata->cluster_id;
    pthread_mutex_unlock(&self->lock);
    weft_metadata_destroy(&metadata);
    if (!known) s_say(self, "the %s cluster is not formed yet", which);
    return known;
}

// Whether some bridge writes into the source.
static bool s_learn_notes(weft_bridge_t *self)
{
    weft_metadata_t *metadata = NULL;
    weft_err_t err = weft_admin_metadata(self->source_admin, &self->kept_topic, 1, false, &metadata);
    if (err != WEFT_OK) return false;
    pthread_mutex_lock(&self->lock);
    self->source_unbridged = metadata->topic_count == 1 && metadata->topics[0].error == WEFT_ERR_UNKNOWN_TOPIC;
    pthread_mutex_unlock(&self->lock);
    weft_metadata_destroy(&metadata);
    return true;
}

static bool s_learn(weft_bridge_t *self)
{
    if (weft_id_is_zero(self->told_source) && !s_learn_cluster(self, self->source_admin, "source", &self->told_source))
        return false;
    if (weft_id_is_zero(self->told_target) && !s_learn_cluster(self, self->target_admin, "target", &self->told_target))
        return false;
    if (!weft_id_equal(self->told_source, self->told_target) || *self->prefix != '\0') return true;
    pthread_mutex_lock(&self->lock);
    self->fatal = WEFT_ERR_INVALID_OPTION;
    snprintf(self->fatal_text, sizeof self->fatal_text,
             "source and target are the same cluster and there is no prefix: every topic would be copied into itself "
             "for ever; give a prefix, or another cluster");
    pthread_mutex_unlock(&self->lock);
    return false;
}

// ---- topics

static weft_err_t s_create(weft_bridge_t *self, const char *name, const weft_topic_config_t *like)
{
    struct weft_setting settings[WEFT_BRIDGE_SETTINGS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < like->setting_count && count < WEFT_BRIDGE_SETTINGS_MAX; i++) {
        const struct weft_topic_setting *from = &like->settings[i];
        if (from->is_default || !weft_bridge_setting_is_carried(from->key)) continue;
        settings[count++] = (struct weft_setting){from->key, from->value};
    }
    uint32_t replicas = (uint32_t) weft_options_int(self->options, "replicas");
    weft_err_t err =
        weft_admin_create_topic(self->target_admin, name, like->partitions, replicas, settings, count, false, NULL);
    if (err == WEFT_OK) weft_node_trace(self->node, 2, "made topic '%s' in the target", name);
    return err == WEFT_ERR_TOPIC_EXISTS ? WEFT_OK : err;
}

// The target's topic: its id and partitions; WEFT_OK with a zero id if there is none.
static weft_err_t s_target(weft_bridge_t *self, const char *name, weft_id_t *id, uint32_t *partitions)
{
    weft_metadata_t *metadata = NULL;
    weft_err_t err = weft_admin_metadata(self->target_admin, &name, 1, false, &metadata);
    if (err != WEFT_OK) return err;
    *id = (weft_id_t){{0}};
    *partitions = 0;
    if (metadata->topic_count == 1 && metadata->topics[0].error == WEFT_OK) {
        *id = metadata->topics[0].id;
        *partitions = (uint32_t) metadata->topics[0].partition_count;
    }
    weft_metadata_destroy(&metadata);
    return WEFT_OK;
}

static weft_err_t s_no_topic(const char *name, bool looped, struct weft_error *why)
{
    if (looped)
        return weft_node_refuse(why, WEFT_ERR_UNKNOWN_TOPIC,
                                "it is a copy of a topic of the target: no copy of the copy is made there");
    return weft_node_refuse(why, WEFT_ERR_UNKNOWN_TOPIC, "the target has no topic '%.200s', and create=false", name);
}

static weft_err_t s_said(weft_admin_t *admin, weft_err_t err, struct weft_error *why)
{
    return err == WEFT_OK ? WEFT_OK : weft_node_refuse(why, err, "%.300s", weft_admin_error_text(admin));
}

// Makes what is missing.
static weft_err_t s_keep_topic(weft_bridge_t *self, const char *name, const weft_topic_config_t *like, bool looped,
                               weft_id_t *id, uint32_t *partitions, struct weft_error *why)
{
    bool create = weft_options_bool(self->options, "create");
    weft_err_t err = s_said(self->target_admin, s_target(self, name, id, partitions), why);
    if (err != WEFT_OK) return err;
    bool make = weft_id_is_zero(*id), grow = !make && *partitions < like->partitions;
    if (!make && !grow) return WEFT_OK;
    if (make && (looped || !create)) return s_no_topic(name, looped, why);
    if (grow && !create) return WEFT_OK; // those that it has are copied
    err =
        make ? s_create(self, name, like) : weft_admin_add_partitions(self->target_admin, name, like->partitions, NULL);
    if (err == WEFT_OK) {
        weft_node_counter_add(self->node, WEFT_BRIDGE_TOPICS_MADE, 1);
        err = weft_admin_wait_topic(self->target_admin, name, S_LEADERS_MS);
    }
    if (err == WEFT_OK) err = s_target(self, name, id, partitions);
    if (err == WEFT_OK && weft_id_is_zero(*id)) err = WEFT_ERR_UNKNOWN_TOPIC;
    return s_said(self->target_admin, err, why);
}

static void s_told(weft_bridge_t *self, struct weft_bridge_topic *topic, const weft_topic_config_t *config,
                   weft_id_t target_id, uint32_t partitions, weft_err_t err, const struct weft_error *why)
{
    pthread_mutex_lock(&self->lock);
    if (err == WEFT_OK) {
        topic->state = WEFT_BRIDGE_TOPIC_READY;
        topic->source_id = config->topic_id;
        topic->target_id = target_id;
        topic->partitions = partitions;
        topic->tries = 0;
        topic->reason[0] = '\0';
        topic->retry_ms = weft_mono_ms() + self->refresh_ms;
    } else {
        int64_t wait_ms = S_WAIT_MS << (topic->tries < 6 ? topic->tries++ : 6);
        topic->retry_ms = weft_mono_ms() + (wait_ms < S_BACKOFF_MS_MAX ? wait_ms : S_BACKOFF_MS_MAX);
        snprintf(topic->reason, sizeof topic->reason, "%.300s", why->text);
    }
    pthread_mutex_unlock(&self->lock);
}

static void s_tend(weft_bridge_t *self, struct weft_bridge_topic *topic)
{
    struct weft_error why = {.code = WEFT_OK};
    weft_topic_config_t *config = NULL;
    weft_id_t target_id = {{0}};
    uint32_t partitions = 0;
    pthread_mutex_lock(&self->lock);
    bool looped = topic->looped;
    pthread_mutex_unlock(&self->lock);
    weft_err_t err =
        s_said(self->source_admin, weft_admin_describe_topic(self->source_admin, topic->name, &config), &why);
    if (err == WEFT_OK) err = s_keep_topic(self, topic->target_name, config, looped, &target_id, &partitions, &why);
    s_told(self, topic, config, target_id, partitions, err, &why);
    if (err == WEFT_OK) weft_bridge_carry(self, topic, config);
    weft_topic_config_destroy(&config);
}

// The next one whose time has come.
static struct weft_bridge_topic *s_due(weft_bridge_t *self)
{
    struct weft_bridge_topic *due = NULL;
    int64_t now_ms = weft_mono_ms();
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->table_count && due == NULL; i++) {
        struct weft_bridge_topic *topic = self->table[i];
        if (topic->state != WEFT_BRIDGE_TOPIC_NEW && now_ms >= topic->retry_ms) due = topic;
    }
    pthread_mutex_unlock(&self->lock);
    return due;
}

static bool s_tend_notes(weft_bridge_t *self)
{
    static const struct weft_topic_setting settings[] = {
        {"cleanup.policy", "compact", false}, {"segment.bytes", "16777216", false}, {"segment.ms", "3600000", false}};
    const weft_topic_config_t like = {.partitions = 1, .settings = settings, .setting_count = 3};
    struct weft_error why = {.code = WEFT_OK};
    weft_id_t id;
    uint32_t partitions;
    if (s_keep_topic(self, self->kept_topic, &like, false, &id, &partitions, &why) != WEFT_OK) {
        if (!s_ending(self))
            s_say(self, "topic '%.100s' of the target, where places are noted: %.180s", self->kept_topic, why.text);
        return false;
    }
    pthread_mutex_lock(&self->lock);
    self->kept_ready = true;
    pthread_mutex_unlock(&self->lock);
    return true;
}

// ---- its life

static void s_wait(weft_bridge_t *self)
{
    struct timespec until;
    (void) clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += S_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&self->lock);
    if (!s_ending(self)) pthread_cond_timedwait(&self->changed, &self->lock, &until);
    pthread_mutex_unlock(&self->lock);
}

void *weft_bridge_steward(void *context)
{
    weft_bridge_t *self = context;
    int64_t groups_ms = weft_mono_ms() + self->groups_ms;
    bool ready = false;
    for (; !s_ending(self); s_wait(self)) {
        if (!ready) ready = s_learn(self) && s_learn_notes(self) && s_tend_notes(self);
        if (!ready) continue;
        s_say(self, "%s", "");
        for (struct weft_bridge_topic *topic; !s_ending(self) && (topic = s_due(self)) != NULL;) s_tend(self, topic);
        if (*self->groups == NULL || weft_mono_ms() < groups_ms || s_ending(self)) continue;
        (void) !weft_bridge_groups(self);
        groups_ms = weft_mono_ms() + self->groups_ms;
    }
    return NULL;
}
