// SPDX-License-Identifier: MPL-2.0
// The face of both kinds of cluster: finds nodes by name, asks as a client where a client knows best (who leads, what is
// committed), and leaves the rest to the kind's table.
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>

#define S_READY_MS 60000
#define S_ANSWER_MS 10000
#define S_STEP_US 2000

// ---- names

static bool s_is_all(const char *name)
{
    return strcmp(name, "*") == 0;
}

// The index of a node; self->count if it is no node's name. "broker-9" of three is a mistake of the test.
static size_t s_find(const weft_test_cluster_t *self, const char *name)
{
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(self->nodes[i].name, name) == 0) return i;
    }
    if (strncmp(name, "broker-", 7) == 0 || strncmp(name, "coordinator-", 12) == 0)
        weft_test_wrong("there is no %s in this cluster of %u brokers and %u coordinators", name, self->how.brokers,
                        self->how.coordinators);
    return self->count;
}

static size_t s_node(const weft_test_cluster_t *self, const char *name)
{
    size_t node = name != NULL ? s_find(self, name) : self->count;
    if (node == self->count)
        weft_test_wrong("'%s' is no node; nodes are broker-1, coordinator-1 and so on", name != NULL ? name : "NULL");
    return node;
}

static void s_party(const weft_test_cluster_t *self, const char *name)
{
    if (name == NULL || *name == '\0' || strlen(name) >= WEFT_TEST_NAME_BYTES_MAX)
        weft_test_wrong("a name of a node or client is missing, or too long");
    if (!s_is_all(name)) (void) s_find(self, name);
}

static weft_err_t s_say(weft_test_cluster_t *self, weft_err_t err, const char *text)
{
    snprintf(self->text, sizeof self->text, "%s", text);
    return err;
}

// ---- life

static void s_write_setting(weft_test_cluster_t *self)
{
    size_t used = (size_t) snprintf(self->setting, sizeof self->setting, "bootstrap=");
    const char *comma = "";
    for (size_t i = 0; i < self->count; i++) {
        if (!self->nodes[i].broker) continue;
        const char *endpoint = self->nodes[i].bootstrap[0] != '\0' ? self->nodes[i].bootstrap : self->nodes[i].endpoint;
        used += (size_t) snprintf(self->setting + used, sizeof self->setting - used, "%s%s", comma, endpoint);
        comma = ",";
    }
}

static weft_err_t s_start_all(weft_test_cluster_t *self, struct weft_error *error)
{
    for (size_t i = 0; i < self->count; i++) {
        weft_err_t err = self->ops->start(self, i, error);
        if (err != WEFT_OK) return err;
        self->nodes[i].up = true;
    }
    if (weft_test_serving(self, "*", S_READY_MS)) return WEFT_OK;
    return weft_error_set(error, WEFT_ERR_LOCAL_TIMED_OUT, "%s", self->text);
}

weft_err_t weft_test_start(const struct weft_test_options *options, weft_test_cluster_t **out, struct weft_error *error)
{
    struct weft_error ignored;
    if (error == NULL) error = &ignored;
    struct weft_test_options how = options != NULL ? *options : (struct weft_test_options){0};
    weft_test_cluster_t *self = NULL;
    weft_err_t err = how.seed == 0 ? weft_test_real_new(&how, &self, error) : weft_test_virtual_new(&how, &self, error);
    if (err != WEFT_OK) return err;
    self->gate->trace((enum weft_trace_level)(how.trace < 0 ? 0 : how.trace > 3 ? 3 : how.trace));
    s_write_setting(self);
    err = s_start_all(self, error);
    if (err != WEFT_OK) {
        weft_test_stop(&self);
        return err;
    }
    *out = self;
    return WEFT_OK;
}

void weft_test_stop(weft_test_cluster_t **self_p)
{
    if (*self_p == NULL) return;
    weft_producer_destroy(&(*self_p)->producer);
    weft_admin_destroy(&(*self_p)->admin);
    (*self_p)->ops->destroy(self_p);
}

const char *weft_test_bootstrap(const weft_test_cluster_t *self)
{
    return self->setting + strlen("bootstrap=");
}

const char *weft_test_setting(const weft_test_cluster_t *self)
{
    return self->setting;
}

const char *weft_test_error_text(const weft_test_cluster_t *self)
{
    return self->text;
}

uint64_t weft_test_seed(const weft_test_cluster_t *self)
{
    return self->how.seed;
}

// ---- what a client knows

// The test's own client, made when it is first needed; NULL: it can't be (the text says why).
static weft_admin_t *s_admin(weft_test_cluster_t *self)
{
    if (self->admin != NULL) return self->admin;
    const char *settings[] = {self->setting, "client=test", "request.timeout.ms=10s", NULL};
    struct weft_error error;
    if (weft_admin_new(settings, &self->admin, &error) != WEFT_OK) s_say(self, error.code, error.text);
    return self->admin;
}

static weft_err_t s_of_admin(weft_test_cluster_t *self, weft_err_t err)
{
    return err != WEFT_OK ? s_say(self, err, weft_admin_error_text(self->admin)) : WEFT_OK;
}

weft_err_t weft_test_topic(weft_test_cluster_t *self, const char *topic, uint32_t partitions, uint32_t replicas)
{
    if (s_admin(self) == NULL) return WEFT_ERR_INTERNAL;
    struct weft_topic_change change;
    weft_err_t err = weft_admin_create_topic(self->admin, topic, partitions, replicas, NULL, 0, false, &change);
    if (err == WEFT_OK) err = weft_admin_wait_topic(self->admin, topic, S_ANSWER_MS);
    return s_of_admin(self, err);
}

static weft_err_t s_put(weft_test_cluster_t *self, const char *topic, int32_t partition, const char *key,
                        const char *value)
{
    weft_topic_t *handle;
    weft_err_t err = weft_producer_topic(self->producer, topic, &handle);
    if (err == WEFT_OK)
        err = weft_producer_send(self->producer, handle, partition, weft_text(key), weft_text(value), NULL);
    if (err == WEFT_OK) err = weft_producer_flush(self->producer, S_ANSWER_MS);
    return err;
}

weft_err_t weft_test_put(weft_test_cluster_t *self, const char *topic, int32_t partition, const char *key,
                         const char *value)
{
    const char *settings[] = {self->setting, "client=test", "linger.ms=0", NULL};
    struct weft_error error;
    weft_err_t err = WEFT_OK;
    if (self->producer == NULL) err = weft_producer_new(settings, &self->producer, &error);
    if (err != WEFT_OK) return s_say(self, err, error.text);
    err = s_put(self, topic, partition, key, value);
    if (err == WEFT_OK) return WEFT_OK;
    s_say(self, err, weft_producer_error_text(self->producer));
    weft_producer_destroy(&self->producer); // with the record, which must not come later
    return err;
}

static const char *s_broker_name(const weft_test_cluster_t *self, int32_t id)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->nodes[i].broker && (int32_t) self->nodes[i].id == id) return self->nodes[i].name;
    }
    return NULL;
}

const char *weft_test_leader(weft_test_cluster_t *self, const char *topic, int32_t partition)
{
    weft_metadata_t *metadata;
    if (s_admin(self) == NULL) return NULL;
    if (s_of_admin(self, weft_admin_metadata(self->admin, &topic, 1, true, &metadata)) != WEFT_OK) return NULL;
    const char *name = NULL;
    const struct weft_topic_info *info = metadata->topic_count == 1 ? &metadata->topics[0] : NULL;
    for (size_t i = 0; info != NULL && i < info->partition_count; i++) {
        if (info->partitions[i].partition == partition) name = s_broker_name(self, info->partitions[i].leader);
    }
    weft_metadata_destroy(&metadata);
    if (name == NULL) s_say(self, WEFT_OK, "nobody leads that partition");
    return name;
}

const char *weft_test_coordinator(weft_test_cluster_t *self)
{
    weft_metadata_t *metadata;
    if (s_admin(self) == NULL) return NULL;
    if (s_of_admin(self, weft_admin_metadata(self->admin, NULL, 0, false, &metadata)) != WEFT_OK) return NULL;
    const char *name = NULL;
    for (size_t i = 0; i < self->count; i++) {
        if (!self->nodes[i].broker && (int32_t) self->nodes[i].id == metadata->coordinator_id)
            name = self->nodes[i].name;
    }
    weft_metadata_destroy(&metadata);
    if (name == NULL) s_say(self, WEFT_OK, "no coordinator is known to be in office");
    return name;
}

weft_admin_t *weft_test_admin(weft_test_cluster_t *self)
{
    if (s_admin(self) == NULL) weft_test_wrong("no admin client: %s", self->text);
    return self->admin;
}

int64_t weft_test_committed(weft_test_cluster_t *self, const char *group, const char *topic, int32_t partition)
{
    weft_group_offsets_t *offsets;
    if (s_admin(self) == NULL) return -1;
    if (s_of_admin(self, weft_admin_group_offsets(self->admin, group, &offsets)) != WEFT_OK) return -1;
    int64_t found = -1;
    for (size_t i = 0; i < offsets->count; i++) {
        const struct weft_group_committed *at = &offsets->offsets[i];
        if (at->partition == partition && strcmp(at->topic, topic) == 0) found = at->offset;
    }
    weft_group_offsets_destroy(&offsets);
    return found;
}

int64_t weft_test_end(weft_test_cluster_t *self, const char *topic, int32_t partition)
{
    struct weft_offset_found found;
    if (s_admin(self) == NULL) return -1;
    weft_err_t err = weft_admin_list_offsets(self->admin, topic, partition,
                                             (struct weft_position){.from = WEFT_FROM_LATEST}, false, &found);
    return s_of_admin(self, err) == WEFT_OK ? found.high_watermark : -1;
}

// ---- nodes

weft_err_t weft_test_stop_node(weft_test_cluster_t *self, const char *name)
{
    size_t node = s_node(self, name);
    if (!self->nodes[node].up) return WEFT_OK;
    weft_err_t err = self->ops->stop(self, node);
    self->nodes[node].up = false;
    return err != WEFT_OK ? s_say(self, err, "it did not come to rest in time, and was ended") : WEFT_OK;
}

void weft_test_kill_node(weft_test_cluster_t *self, const char *name)
{
    size_t node = s_node(self, name);
    if (!self->nodes[node].up) return;
    self->ops->kill(self, node);
    self->nodes[node].up = false;
}

void weft_test_lose_power(weft_test_cluster_t *self, const char *name)
{
    if (self->ops->lose_power == NULL) weft_test_wrong("weft_test_lose_power needs virtual time: give a seed");
    for (size_t i = 0; i < self->count; i++) {
        if (!s_is_all(name) && i != s_node(self, name)) continue;
        self->ops->lose_power(self, i);
        self->nodes[i].up = false;
    }
}

weft_err_t weft_test_start_node(weft_test_cluster_t *self, const char *name)
{
    for (size_t i = 0; i < self->count; i++) {
        if ((!s_is_all(name) && i != s_node(self, name)) || self->nodes[i].up) continue;
        struct weft_error error = {.text = ""};
        weft_err_t err = self->ops->start(self, i, &error);
        if (err != WEFT_OK) return s_say(self, err, error.text);
        self->nodes[i].up = true;
    }
    return WEFT_OK;
}

bool weft_test_is_up(const weft_test_cluster_t *self, const char *name)
{
    return self->nodes[s_node(self, name)].up;
}

struct s_serving {
    weft_test_cluster_t *self;
    size_t node; // self->count: all that are up
};

static bool s_serves(void *context)
{
    const struct s_serving *what = context;
    weft_test_cluster_t *self = what->self;
    for (size_t i = 0; i < self->count; i++) {
        if (what->node != self->count && what->node != i) continue;
        if (!self->nodes[i].up && what->node == self->count) continue;
        char sentence[WEFT_ERROR_TEXT_BYTES_MAX] = "is down";
        enum weft_health health =
            self->nodes[i].up ? self->ops->health(self, i, sentence, sizeof sentence) : WEFT_HEALTH_FAILED;
        if (health == WEFT_HEALTH_SERVING || health == WEFT_HEALTH_DEGRADED) continue;
        snprintf(self->text, sizeof self->text, "%s is %s: %.400s", self->nodes[i].name, weft_health_name(health),
                 sentence);
        return false;
    }
    return true;
}

bool weft_test_serving(weft_test_cluster_t *self, const char *name, int timeout_ms)
{
    struct s_serving what = {.self = self, .node = s_is_all(name) ? self->count : s_node(self, name)};
    return weft_test_wait(self, s_serves, &what, timeout_ms);
}

void weft_test_kill_client(weft_test_cluster_t *self, const char *client)
{
    s_party(self, client);
    if (s_is_all(client) || s_find(self, client) != self->count)
        weft_test_wrong("'%s' is no client; nodes are ended by weft_test_kill_node", client);
    self->ops->kill_client(self, client);
}

// ---- network

static void s_rule(weft_test_cluster_t *self, const char *from, const char *to, enum weft_rule_kind kind, int64_t value)
{
    s_party(self, from);
    s_party(self, to);
    struct weft_rule rule = {.kind = kind, .value = value};
    snprintf(rule.from, sizeof rule.from, "%s", from);
    snprintf(rule.to, sizeof rule.to, "%s", to);
    self->ops->network(self, &rule);
}

void weft_test_cut_from(weft_test_cluster_t *self, const char *from, const char *to)
{
    s_rule(self, from, to, WEFT_RULE_CUT, 1);
}

void weft_test_cut(weft_test_cluster_t *self, const char *a, const char *b)
{
    weft_test_cut_from(self, a, b);
    weft_test_cut_from(self, b, a);
}

void weft_test_delay(weft_test_cluster_t *self, const char *a, const char *b, int64_t ms)
{
    s_rule(self, a, b, WEFT_RULE_DELAY_US, ms * 1000);
    s_rule(self, b, a, WEFT_RULE_DELAY_US, ms * 1000);
}

void weft_test_heal(weft_test_cluster_t *self, const char *a, const char *b)
{
    s_rule(self, a, b, WEFT_RULE_CUT, 0);
    s_rule(self, b, a, WEFT_RULE_CUT, 0);
    weft_test_delay(self, a, b, 0);
}

void weft_test_break(weft_test_cluster_t *self, const char *a, const char *b)
{
    s_party(self, a);
    s_party(self, b);
    self->ops->sever(self, a, b);
}

// ---- disks

void weft_test_slow_disk(weft_test_cluster_t *self, const char *name, int64_t ms_per_sync)
{
    for (size_t i = 0; i < self->count; i++) {
        if (s_is_all(name) || i == s_node(self, name)) self->ops->slow_disk(self, i, ms_per_sync);
    }
}

void weft_test_full_disk(weft_test_cluster_t *self, const char *name, bool full)
{
    for (size_t i = 0; i < self->count; i++) {
        if (s_is_all(name) || i == s_node(self, name)) self->ops->full_disk(self, i, full);
    }
}

// ---- time and seed

void weft_test_pause(weft_test_cluster_t *self, const char *name, int64_t ms)
{
    s_party(self, name);
    if (self->ops->pause == NULL) weft_test_wrong("weft_test_pause needs virtual time: give a seed");
    self->ops->pause(self, name, ms);
}

void weft_test_jump_clock(weft_test_cluster_t *self, const char *name, int64_t ms)
{
    s_party(self, name);
    if (self->ops->jump_clock == NULL) weft_test_wrong("weft_test_jump_clock needs virtual time: give a seed");
    self->ops->jump_clock(self, name, ms);
}

int64_t weft_test_now_ms(const weft_test_cluster_t *self)
{
    return self->ops->now_us(self) / 1000;
}

void weft_test_run_for(weft_test_cluster_t *self, int64_t ms)
{
    self->ops->run_until(self, self->ops->now_us(self) + ms * 1000);
}

void weft_test_after(weft_test_cluster_t *self, int64_t ms, weft_test_call_fn *fn, void *context)
{
    self->ops->after(self, ms, fn, context);
}

bool weft_test_wait(weft_test_cluster_t *self, weft_test_condition_fn *holds, void *context, int timeout_ms)
{
    int64_t deadline_us = self->ops->now_us(self) + (int64_t) timeout_ms * 1000;
    while (!holds(context)) {
        int64_t now_us = self->ops->now_us(self);
        if (now_us >= deadline_us) return false;
        self->ops->run_until(self, now_us + S_STEP_US < deadline_us ? now_us + S_STEP_US : deadline_us);
    }
    return true;
}

uint64_t weft_test_random(weft_test_cluster_t *self, uint64_t bound)
{
    if (bound == 0) weft_test_wrong("weft_test_random(0)");
    return self->ops->random(self, bound);
}

uint64_t weft_test_fingerprint(const weft_test_cluster_t *self)
{
    return self->ops->fingerprint(self);
}
