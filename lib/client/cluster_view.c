// SPDX-License-Identifier: MPL-2.0
// Links and topics are heap objects behind growing arrays of pointers: their addresses never change while the view
// lives. A node that went away keeps its link, which reconnects by itself. One that nothing needs is taken over for
// another endpoint when there are too many; a link that went down has no call under way, so only partitions may still
// point at it.
#include "cluster_view.h"

#include "../base/assert.h"
#include "../base/map.h"
#include "../base/trace.h"

#include <weft_gen/limits.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

// ---- names

bool weft_view_endpoint_is_legal(weft_slice_t endpoint)
{
    if (!endpoint.data || endpoint.size >= WEFT_ENDPOINT_BYTES_MAX) return false;
    char text[WEFT_ENDPOINT_BYTES_MAX];
    memcpy(text, endpoint.data, endpoint.size);
    text[endpoint.size] = 0;
    if (strlen(text) != endpoint.size) return false;
    if (!strncmp(text, "ipc://", 6)) return text[6] != 0;
    if (!strncmp(text, "inproc://", 9)) return text[9] != 0;
    if (!strncmp(text, "virtual://", 10)) return text[10] != 0; // a test's cluster: weft/testing.h
    if (strncmp(text, "tcp://", 6)) return false;
    const char *colon = strrchr(text, ':');
    if (colon <= text + 6) return false;
    char *end;
    long port = strtol(colon + 1, &end, 10);
    return isdigit((unsigned char) colon[1]) && !*end && port >= 1 && port <= 65535;
}

bool weft_topic_name_is_legal(const char *name)
{
    size_t size = strlen(name);
    if (size < 1 || size > 249 || !strcmp(name, ".") || !strcmp(name, "..")) return false;
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char) name[i]) && !strchr("._-", name[i])) return false;
    return true;
}

// ---- life-cycle

static weft_err_t s_add_bootstrap(weft_view_t *self, weft_slice_t item, struct weft_error *error)
{
    if (!weft_view_endpoint_is_legal(item))
        return weft_error_set(
            error, WEFT_ERR_INVALID_ENDPOINT,
            "bootstrap: '%.*s' is no endpoint; expected tcp://HOST:PORT or ipc://PATH, comma separated",
            (int) (item.size < 200 ? item.size : 200), (const char *) item.data);
    if (self->bootstrap_count == WEFT_VIEW_BOOTSTRAP_MAX)
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT, "bootstrap: more than %d endpoints",
                              WEFT_VIEW_BOOTSTRAP_MAX);
    char *to = self->bootstrap[self->bootstrap_count++];
    memcpy(to, item.data, item.size);
    to[item.size] = 0;
    return WEFT_OK;
}

weft_err_t weft_view_init(weft_view_t *self, const char *bootstrap, struct weft_error *error)
{
    memset(self, 0, sizeof *self);
    self->missing_grace_us = WEFT_VIEW_MISSING_GRACE_US;
    for (const char *at = bootstrap; *at;) {
        at += strspn(at, ", \t");
        size_t size = strcspn(at, ", \t");
        if (!size) break;
        weft_err_t err = s_add_bootstrap(self, weft_bytes(at, size), error);
        if (err) return err;
        at += size;
    }
    if (!self->bootstrap_count)
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                              "bootstrap: no endpoint given; name at least one node, as tcp://127.0.0.1:9650");
    self->topics_by_name = weft_map_new();
    return WEFT_OK;
}

void weft_view_fini(weft_view_t *self)
{
    for (size_t i = 0; i < self->topic_count; i++) {
        free(self->topics[i]->name);
        free(self->topics[i]->partitions);
        free(self->topics[i]);
    }
    free(self->topics);
    for (size_t i = 0; i < self->link_count; i++) free(self->links[i]);
    free(self->links);
    weft_map_destroy(&self->topics_by_name);
    memset(self, 0, sizeof *self);
}

void weft_view_start(weft_view_t *self, const weft_port_t *port)
{
    self->port = *port;
    self->started = true;
    for (size_t i = 0; i < self->bootstrap_count; i++) {
        struct weft_view_link *link = weft_view_link_to(self, weft_text(self->bootstrap[i]));
        if (link) link->bootstrap = true;
    }
}

// ---- links

static bool s_leads(const weft_view_t *self, const struct weft_view_link *link)
{
    for (size_t i = 0; i < self->topic_count; i++)
        for (int32_t k = 0; k < self->topics[i]->partition_count; k++)
            if (self->topics[i]->partitions[k].link == link) return true;
    return false;
}

// Nobody waits for it: it is down, nobody asked for its endpoint, and it leads nothing that is wanted.
static bool s_is_spare(const weft_view_t *self, const struct weft_view_link *link)
{
    return link->link && !link->up && !link->bootstrap && !link->pinned && link != self->coordinator &&
           !s_leads(self, link);
}

static void s_close(weft_view_t *self, struct weft_view_link *link)
{
    if (link->silent) self->silent_count--;
    self->port.ops->link_close(self->port.world, link->link);
    *link = (struct weft_view_link){.link = 0};
}

// Endpoints of nodes that are gone for good: a broker that came back on another port, a coordinator that was removed.
static void s_forget_links(weft_view_t *self)
{
    int64_t now_us = weft_port_now_us(&self->port);
    for (size_t i = 0; i < self->link_count; i++) {
        struct weft_view_link *link = self->links[i];
        if (link->told == self->updates || now_us - link->changed_us < WEFT_VIEW_FORGET_US) continue;
        if (s_is_spare(self, link)) s_close(self, link);
    }
}

// A struct for one link more: a closed one, a new one, or beyond the bound one that nothing needs. NULL: all are needed.
static struct weft_view_link *s_link_slot(weft_view_t *self)
{
    for (size_t i = 0; i < self->link_count; i++)
        if (!self->links[i]->link) return self->links[i];
    if (self->link_count < WEFT_VIEW_LINKS_MAX) {
        self->links = weft_realloc(self->links, (self->link_count + 1) * sizeof(void *));
        self->links[self->link_count] = weft_calloc(1, sizeof **self->links);
        return self->links[self->link_count++];
    }
    if (self->full) return NULL; // looking is long, and one reply may name many
    for (size_t i = 0; i < self->link_count; i++) {
        if (!s_is_spare(self, self->links[i])) continue;
        s_close(self, self->links[i]);
        return self->links[i];
    }
    self->full = self->applying;
    return NULL;
}

struct weft_view_link *weft_view_link_to(weft_view_t *self, weft_slice_t endpoint)
{
    for (size_t i = 0; i < self->link_count; i++)
        if (weft_slice_is_text(endpoint, self->links[i]->endpoint)) return self->links[i];
    if (!self->started || !weft_view_endpoint_is_legal(endpoint)) return NULL;
    struct weft_view_link *link = s_link_slot(self);
    if (!link) return NULL;
    char text[WEFT_ENDPOINT_BYTES_MAX];
    memcpy(text, endpoint.data, endpoint.size);
    text[endpoint.size] = 0;
    weft_link_t id = 0;
    weft_err_t err = self->port.ops->link_open(self->port.world, text, &id);
    if (err) {
        weft_trace(WEFT_TRACE_DEBUG, "client", "no link to %s: %s", text, weft_err_name(err));
        return NULL; // the slot stays closed
    }
    *link = (struct weft_view_link){.link = id, .changed_us = weft_port_now_us(&self->port), .told = self->updates};
    memcpy(link->endpoint, text, endpoint.size + 1);
    return link;
}

struct weft_view_link *weft_view_link_of(const weft_view_t *self, weft_link_t id)
{
    for (size_t i = 0; i < self->link_count; i++)
        if (self->links[i]->link == id) return self->links[i];
    return NULL;
}

struct weft_view_link *weft_view_any(weft_view_t *self, const struct weft_view_link *avoid)
{
    struct weft_view_link *best = NULL;
    int least = INT32_MAX;
    for (size_t i = 0; i < self->link_count; i++) {
        struct weft_view_link *link = self->links[self->turn++ % self->link_count];
        if (!link->up) continue;
        int cost = (link == avoid ? 1 : 0) + (link->silent ? 2 : 0);
        if (cost == 0) return link;
        if (cost >= least) continue;
        least = cost;
        best = link;
    }
    return best;
}

void weft_view_link_silent(weft_view_t *self, struct weft_view_link *link)
{
    if (link->silent || !link->link) return;
    link->silent = true;
    self->silent_count++;
}

static void s_not_silent(weft_view_t *self, struct weft_view_link *link)
{
    if (link->silent) self->silent_count--;
    link->silent = false;
}

void weft_view_link_heard(weft_view_t *self, weft_link_t id)
{
    if (!self->silent_count) return; // the path of every message
    struct weft_view_link *link = weft_view_link_of(self, id);
    if (link) s_not_silent(self, link);
}

void weft_view_link_up(weft_view_t *self, weft_link_t id)
{
    struct weft_view_link *link = weft_view_link_of(self, id);
    if (!link) return;
    link->up = true;
    link->broken = false;
    link->changed_us = weft_port_now_us(&self->port);
}

struct weft_view_link *weft_view_link_down(weft_view_t *self, weft_link_t id)
{
    struct weft_view_link *link = weft_view_link_of(self, id);
    if (!link) return NULL;
    link->broken |= link->up;
    link->up = false;
    s_not_silent(self, link);
    link->changed_us = weft_port_now_us(&self->port);
    return link;
}

// ---- topics

struct weft_view_topic *weft_view_topic_find(const weft_view_t *self, weft_slice_t name)
{
    return weft_map_get(self->topics_by_name, name);
}

struct weft_view_topic *weft_view_topic(weft_view_t *self, const char *name)
{
    struct weft_view_topic *topic = weft_view_topic_find(self, weft_text(name));
    if (topic) return topic;
    topic = weft_calloc(1, sizeof *topic);
    topic->name = weft_strdup(name);
    if (self->topic_count == self->topic_capacity) {
        self->topic_capacity = self->topic_capacity ? self->topic_capacity * 2 : 16;
        self->topics = weft_realloc(self->topics, self->topic_capacity * sizeof(void *));
    }
    self->topics[self->topic_count++] = topic;
    weft_map_put(self->topics_by_name, weft_text(topic->name), topic);
    return topic;
}

struct weft_view_link *weft_view_leader(const struct weft_view_topic *topic, int32_t partition)
{
    if (topic->state != WEFT_VIEW_KNOWN || partition < 0 || partition >= topic->partition_count) return NULL;
    return topic->partitions[partition].link;
}

static void s_mark_missing(weft_view_t *self, struct weft_view_topic *topic)
{
    if (topic->state == WEFT_VIEW_MISSING) return;
    topic->state = WEFT_VIEW_MISSING;
    topic->missing_us = weft_port_now_us(&self->port);
}

// An answer of a node that lags must not take back a newer leader epoch, nor what this epoch is known to be.
static void s_apply_partition(weft_view_t *self, struct weft_view_partition *to,
                              const struct weft_metadata_partition *from, bool lags)
{
    if (from->epoch < to->epoch && from->epoch >= 0) return;
    if (lags && from->epoch == to->epoch && to->link) return;
    to->epoch = from->epoch;
    to->leader = from->leader;
    to->error = from->error ? weft_err_of_number(from->error) : WEFT_OK;
    to->link = from->endpoint.size ? weft_view_link_to(self, from->endpoint) : NULL;
}

static void s_forget_partitions(struct weft_view_topic *topic)
{
    for (int32_t i = 0; i < topic->partition_count; i++)
        topic->partitions[i] = (struct weft_view_partition){.leader = -1, .epoch = -1};
}

static void s_apply_topic(weft_view_t *self, struct weft_view_topic *topic, const struct weft_metadata_topic *from,
                          bool lags)
{
    if (from->error) {
        if (!lags) s_mark_missing(self, topic);
        return;
    }
    if (!weft_id_is_zero(topic->id) && !weft_id_equal(topic->id, from->id)) {
        topic->replaced = true;
        s_forget_partitions(topic);
        self->partition_count -= (size_t) topic->partition_count;
        topic->partition_count = 0;
    }
    topic->id = from->id;
    topic->internal = from->internal;
    int32_t count = topic->partition_count;
    for (size_t i = 0; i < from->partitions_count; i++) {
        if (from->partitions[i].partition >= WEFT_PARTITIONS_MAX) return;
        if ((int32_t) from->partitions[i].partition >= count) count = (int32_t) from->partitions[i].partition + 1;
    }
    if (!count) return;
    if (count > topic->partition_count) {
        // Few bytes may name a partition of a high number: what it would take to hold is bounded as a whole.
        if (self->partition_count + (size_t) (count - topic->partition_count) > WEFT_VIEW_PARTITIONS_MAX) return;
        self->partition_count += (size_t) (count - topic->partition_count);
        topic->partitions = weft_realloc(topic->partitions, (size_t) count * sizeof *topic->partitions);
        for (int32_t i = topic->partition_count; i < count; i++)
            topic->partitions[i] = (struct weft_view_partition){.leader = -1, .epoch = -1};
        topic->partition_count = count;
    }
    for (size_t i = 0; i < from->partitions_count; i++)
        s_apply_partition(self, &topic->partitions[from->partitions[i].partition], &from->partitions[i], lags);
    topic->state = WEFT_VIEW_KNOWN;
}

static void s_tell(weft_view_t *self, weft_slice_t endpoint, bool open)
{
    struct weft_view_link *link = NULL;
    for (size_t i = 0; i < self->link_count && !link; i++)
        if (self->links[i]->link && weft_slice_is_text(endpoint, self->links[i]->endpoint)) link = self->links[i];
    if (!link && open && self->link_count < WEFT_VIEW_SPARE_LINKS_MAX) link = weft_view_link_to(self, endpoint);
    if (link) link->told = self->updates;
}

// Links to coordinators and brokers, so that someone can be asked once the bootstrap nodes are gone.
static void s_apply_nodes(weft_view_t *self, const struct weft_metadata_reply *reply, bool lags)
{
    for (size_t i = 0; i < reply->coordinators_count; i++) s_tell(self, reply->coordinators[i], true);
    for (size_t i = 0; i < reply->brokers_count; i++)
        for (size_t k = 0; k < reply->brokers[i].endpoints_count; k++)
            s_tell(self, reply->brokers[i].endpoints[k], k == 0 && reply->brokers[i].alive);
    bool told = reply->coordinators_count == 1 || (reply->coordinators_count && reply->coordinator_id >= 0);
    if (told && !(lags && self->coordinator)) {
        struct weft_view_link *link = weft_view_link_to(self, reply->coordinators[0]);
        if (link) self->coordinator = link;
    }
    s_forget_links(self);
}

// Whatever nodes tell, a view has an end.
static bool s_is_full(const weft_view_t *self, const char *name)
{
    return self->topic_count >= WEFT_VIEW_TOPICS_MAX && !weft_view_topic_find(self, weft_text(name));
}

void weft_view_apply(weft_view_t *self, const struct weft_metadata_reply *reply, bool all)
{
    if (!weft_id_is_zero(reply->cluster_id)) {
        if (weft_id_is_zero(self->cluster_id)) self->cluster_id = reply->cluster_id;
        if (!weft_id_equal(self->cluster_id, reply->cluster_id)) {
            weft_error_set(
                &self->fatal, WEFT_ERR_WRONG_CLUSTER,
                "a node that answered belongs to another cluster than before; check the bootstrap endpoints, "
                "or begin anew if the cluster was replaced");
            return;
        }
    }
    bool lags = reply->version < self->version; // what it does not know may be new: it takes nothing back
    size_t passed_over = 0;
    self->updates++;
    self->applying = true;
    for (size_t i = 0; i < reply->topics_count; i++) {
        char name[250];
        weft_slice_t given = reply->topics[i].name;
        if (!given.size || given.size >= sizeof name) continue;
        memcpy(name, given.data, given.size);
        name[given.size] = 0;
        bool full = s_is_full(self, name);
        passed_over += full;
        if (full || !weft_topic_name_is_legal(name)) continue;
        struct weft_view_topic *topic = weft_view_topic(self, name);
        topic->told = self->updates;
        s_apply_topic(self, topic, &reply->topics[i], lags);
    }
    if (passed_over)
        weft_trace(WEFT_TRACE_WARN, "client", "%zu topics are passed over, %d are known already", passed_over,
                   WEFT_VIEW_TOPICS_MAX);
    for (size_t i = 0; all && !lags && i < self->topic_count; i++)
        if (self->topics[i]->told != self->updates) s_mark_missing(self, self->topics[i]);
    s_apply_nodes(self, reply, lags);
    self->applying = self->full = false;
    if (!lags) self->version = reply->version;
    if (all) self->updates_all++;
}

bool weft_view_is_missing(const weft_view_t *self, const struct weft_view_topic *topic)
{
    return topic->state == WEFT_VIEW_MISSING &&
           weft_port_now_us(&self->port) - topic->missing_us >= self->missing_grace_us;
}

void weft_view_redirect(weft_view_t *self, struct weft_view_topic *topic, int32_t partition, int32_t leader,
                        weft_slice_t endpoint)
{
    if (partition < 0 || partition >= topic->partition_count) return;
    struct weft_view_partition *at = &topic->partitions[partition];
    at->leader = leader;
    at->link = endpoint.size ? weft_view_link_to(self, endpoint) : NULL;
}
