// SPDX-License-Identifier: MPL-2.0
/*
 * Topics of the file are made by a thread of its own, since a cluster that is not there yet makes every call wait. A
 * topic that exists stays as it is; where it differs from the file that is said. Refused or not answered: tried again
 * until the end. What waiting will hardly mend is told: at once, or after a while where brokers may be missing.
 */
#include "run.h"

#include "../lib/base/options.h"

#include <weft/admin.h>
#include <weft_gen/config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define S_RETRY_MS 500
#define S_REFUSED_US 3000000 // of being refused while brokers may still be about to come

struct s_topic {
    char *name, *bootstrap;
    uint32_t partitions, replicas;
    struct weft_setting *settings;
    size_t setting_count;
    bool made, refused;
    int64_t refused_us; // since when; 0: it is not
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    char told[WEFT_ERROR_TEXT_BYTES_MAX]; // of its sentences the last one that a person was told
};

struct run_topics {
    struct s_topic *topics;
    size_t count;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; // over `made`, `sentence`, `changes`, `admin`, `stopping`
    pthread_cond_t stop;
    bool stopping;
    unsigned changes;
    weft_admin_t *admin; // that the thread waits in; NULL: in none
};

// ---- the thread

static void s_tell(run_topics_t *self, struct s_topic *topic, bool made, bool refused, const char *sentence)
{
    pthread_mutex_lock(&self->lock);
    if (made != topic->made || refused != topic->refused || strcmp(sentence, topic->sentence) != 0) self->changes++;
    topic->made = made;
    topic->refused = refused;
    snprintf(topic->sentence, sizeof topic->sentence, "%s", sentence);
    pthread_mutex_unlock(&self->lock);
}

// False: it is to end.
static bool s_hold(run_topics_t *self, weft_admin_t *admin)
{
    pthread_mutex_lock(&self->lock);
    bool go_on = !self->stopping;
    self->admin = go_on ? admin : NULL;
    pthread_mutex_unlock(&self->lock);
    return go_on;
}

// Whether two texts are one value: "1d" is "24h".
static bool s_same_value(const char *key, const char *one, const char *other)
{
    weft_options_t *a = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
    weft_options_t *b = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
    bool known = weft_options_set(a, key, one, NULL) == WEFT_OK && weft_options_set(b, key, other, NULL) == WEFT_OK;
    bool text = false;
    for (size_t i = 0; known && i < weft_options_topic_count; i++)
        if (strcmp(weft_options_topic[i].name, key) == 0) text = weft_options_topic[i].type == WEFT_OPTION_TEXT;
    bool same = !known || (text ? strcmp(one, other) == 0 : weft_options_int(a, key) == weft_options_int(b, key));
    weft_options_destroy(&a);
    weft_options_destroy(&b);
    return same;
}

// How a topic that exists differs from the file; the first difference is enough.
static void s_difference(const struct s_topic *topic, const weft_topic_config_t *config, char *out, size_t size)
{
    if (config->partitions != topic->partitions) {
        snprintf(out, size, "it exists with %u partition%s, the file says %u%s", config->partitions,
                 config->partitions == 1 ? "" : "s", topic->partitions,
                 config->partitions < topic->partitions ? "; see weft topic add-partitions" : "");
        return;
    }
    if (topic->replicas > 0 && config->replicas != topic->replicas) {
        snprintf(out, size, "it exists with %u replica%s, the file says %u; see weft cluster reassign",
                 config->replicas, config->replicas == 1 ? "" : "s", topic->replicas);
        return;
    }
    for (size_t i = 0; i < topic->setting_count; i++) {
        const struct weft_setting *wanted = &topic->settings[i];
        for (size_t k = 0; k < config->setting_count; k++) {
            const struct weft_topic_setting *has = &config->settings[k];
            if (strcmp(wanted->key, has->key) != 0 || s_same_value(wanted->key, wanted->value, has->value)) continue;
            snprintf(out, size, "it exists with %s = %s, the file says %s; see weft topic alter", has->key, has->value,
                     wanted->value);
            return;
        }
    }
}

static void s_compare(run_topics_t *self, struct s_topic *topic, weft_admin_t *admin)
{
    weft_topic_config_t *config = NULL;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    if (weft_admin_describe_topic(admin, topic->name, &config) == WEFT_OK)
        s_difference(topic, config, sentence, sizeof sentence);
    weft_topic_config_destroy(&config);
    s_tell(self, topic, true, false, sentence);
}

static bool s_is_refused(struct s_topic *topic, weft_err_t err)
{
    if (weft_err_class(err) != WEFT_CLASS_PERMANENT) {
        topic->refused_us = 0;
        return false;
    }
    if (topic->refused_us == 0) topic->refused_us = cli_now_us();
    return err != WEFT_ERR_INVALID_REPLICATION || cli_now_us() - topic->refused_us >= S_REFUSED_US;
}

static void s_make(run_topics_t *self, struct s_topic *topic, weft_admin_t *admin)
{
    weft_err_t err = weft_admin_create_topic(admin, topic->name, topic->partitions, topic->replicas, topic->settings,
                                             topic->setting_count, false, NULL);
    bool exists = err == WEFT_ERR_TOPIC_EXISTS;
    if (err == WEFT_OK || exists) err = weft_admin_wait_topic(admin, topic->name, 5000);
    if (err == WEFT_ERR_INTERRUPTED) return;
    if (err != WEFT_OK)
        s_tell(self, topic, false, s_is_refused(topic, err), weft_admin_error_text(admin));
    else if (exists)
        s_compare(self, topic, admin);
    else
        s_tell(self, topic, true, false, "");
}

static void s_try(run_topics_t *self, struct s_topic *topic)
{
    char bootstrap[8192];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", topic->bootstrap);
    const char *settings[] = {bootstrap, "client=weft-up", "request.timeout.ms=5000", NULL};
    weft_admin_t *admin = NULL;
    struct weft_error error = {0};
    if (weft_admin_new(settings, &admin, &error) != WEFT_OK) {
        s_tell(self, topic, false, true, error.text);
        return;
    }
    if (s_hold(self, admin)) s_make(self, topic, admin);
    s_hold(self, NULL);
    weft_admin_destroy(&admin);
}

static bool s_wait(run_topics_t *self)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += S_RETRY_MS * 1000000L;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&self->lock);
    if (!self->stopping) pthread_cond_timedwait(&self->stop, &self->lock, &until);
    bool go_on = !self->stopping;
    pthread_mutex_unlock(&self->lock);
    return go_on;
}

static void *s_run(void *argument)
{
    run_topics_t *self = argument;
    for (bool left = true; left;) {
        left = false;
        for (size_t i = 0; i < self->count; i++) {
            if (self->topics[i].made) continue; // written by this thread alone
            s_try(self, &self->topics[i]);
            left = left || !self->topics[i].made;
        }
        if (left && !s_wait(self)) break;
    }
    return NULL;
}

// ---- its life

// All of the cluster: a coordinator on inproc is reached by clients that name an inproc endpoint.
static char *s_bootstrap(const weft_topology_t *topology, size_t node)
{
    weft_buf_t out;
    weft_buf_init(&out);
    for (size_t i = 0; i < weft_topology_node_count(topology); i++) {
        if (weft_topology_node(topology, i)->cluster != weft_topology_node(topology, node)->cluster) continue;
        const char *endpoint = weft_topology_endpoint(topology, i);
        if (*endpoint) weft_buf_printf(&out, "%s%s", out.size > 0 ? "," : "", endpoint);
    }
    weft_buf_append(&out, "", 1);
    return (char *) out.data;
}

static void s_fill(const weft_topology_t *topology, size_t index, struct s_topic *topic)
{
    const struct weft_topology_topic *from = weft_topology_topic(topology, index);
    *topic = (struct s_topic){.name = weft_strdup(from->name),
                              .bootstrap = s_bootstrap(topology, from->node),
                              .partitions = from->partitions,
                              .replicas = from->replicas,
                              .settings = weft_calloc(from->setting_count + 1, sizeof *topic->settings),
                              .setting_count = from->setting_count};
    snprintf(topic->sentence, sizeof topic->sentence, "waits for its cluster");
    for (size_t i = 0; i < from->setting_count; i++)
        topic->settings[i] =
            (struct weft_setting){weft_strdup(from->settings[i].key), weft_strdup(from->settings[i].value)};
}

run_topics_t *run_topics_new(const weft_topology_t *topology)
{
    run_topics_t *self = weft_calloc(1, sizeof *self);
    self->count = weft_topology_topic_count(topology);
    self->topics = weft_calloc(self->count + 1, sizeof *self->topics);
    for (size_t i = 0; i < self->count; i++) s_fill(topology, i, &self->topics[i]);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->stop, NULL);
    self->started = self->count > 0 && pthread_create(&self->thread, NULL, s_run, self) == 0;
    return self;
}

void run_topics_end(run_topics_t *self)
{
    pthread_mutex_lock(&self->lock);
    self->stopping = true;
    if (self->admin) weft_admin_wake(self->admin);
    pthread_cond_signal(&self->stop);
    pthread_mutex_unlock(&self->lock);
    if (self->started) pthread_join(self->thread, NULL);
    self->started = false;
}

void run_topics_destroy(run_topics_t **self_p)
{
    run_topics_t *self = *self_p;
    if (!self) return;
    run_topics_end(self);
    for (size_t i = 0; i < self->count; i++) {
        struct s_topic *topic = &self->topics[i];
        for (size_t k = 0; k < topic->setting_count; k++) {
            free((void *) (uintptr_t) topic->settings[k].key);
            free((void *) (uintptr_t) topic->settings[k].value);
        }
        free(topic->settings);
        free(topic->name);
        free(topic->bootstrap);
    }
    free(self->topics);
    pthread_cond_destroy(&self->stop);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}

static void s_fill_view(const struct s_topic *topic, struct run_topic_view *view)
{
    view->name = topic->name;
    view->made = topic->made;
    view->refused = topic->refused;
    memcpy(view->sentence, topic->sentence, sizeof view->sentence);
}

bool run_topics_news(run_topics_t *self, struct run_topic_view *view)
{
    bool found = false;
    pthread_mutex_lock(&self->lock);
    for (size_t i = 0; i < self->count && !found; i++) {
        struct s_topic *topic = &self->topics[i];
        if (!(topic->refused || (topic->made && *topic->sentence)) || strcmp(topic->told, topic->sentence) == 0)
            continue;
        memcpy(topic->told, topic->sentence, sizeof topic->told);
        s_fill_view(topic, view);
        found = true;
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

size_t run_topics_view(run_topics_t *self, struct run_topic_view *views, size_t count_max, unsigned *changes)
{
    pthread_mutex_lock(&self->lock);
    size_t count = self->count < count_max ? self->count : count_max;
    for (size_t i = 0; i < count; i++) {
        views[i].name = self->topics[i].name;
        s_fill_view(&self->topics[i], &views[i]);
    }
    *changes = self->changes;
    pthread_mutex_unlock(&self->lock);
    return count;
}
