// SPDX-License-Identifier: MPL-2.0
// What waits stands in a map by partition, which keeps the order of arrival; what flies in an array.
#include "asks.h"

#include "../../lib/base/assert.h"
#include "../../lib/base/map.h"
#include <weft_gen/messages.h>

#include <stdlib.h>
#include <string.h>

struct s_key {
    uint8_t bytes[20];
};

struct s_entry {
    struct s_key key;
    union {
        struct weft_broker_ask ask;
        struct weft_broker_report report;
    } body;
};

struct weft_asks {
    enum weft_asks_kind kind;
    weft_map_t *waiting; // struct s_entry
    struct s_entry *flying[WEFT_ASKS_MESSAGE_MAX];
    size_t flying_count;
};

weft_asks_t *weft_asks_new(enum weft_asks_kind kind)
{
    weft_asks_t *self = weft_calloc(1, sizeof *self);
    self->kind = kind;
    self->waiting = weft_map_new();
    return self;
}

void weft_asks_destroy(weft_asks_t **self_p)
{
    weft_asks_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    weft_asks_clear(self);
    weft_map_destroy(&self->waiting);
    free(self);
}

static weft_slice_t s_slice(const struct s_key *key)
{
    return weft_slice(key->bytes, sizeof key->bytes);
}

static struct s_key s_key(weft_id_t topic, uint32_t partition)
{
    struct s_key key;
    memcpy(key.bytes, topic.bytes, 16);
    memcpy(key.bytes + 16, &partition, 4);
    return key;
}

bool weft_asks_put(weft_asks_t *self, const void *body)
{
    struct s_entry made;
    memset(&made, 0, sizeof made);
    if (self->kind == WEFT_ASKS_IN_SYNC) {
        made.body.ask = *(const struct weft_broker_ask *) body;
        made.key = s_key(made.body.ask.topic, made.body.ask.partition);
    } else {
        made.body.report = *(const struct weft_broker_report *) body;
        made.key = s_key(made.body.report.topic, made.body.report.partition);
    }
    struct s_entry *entry = weft_map_get(self->waiting, s_slice(&made.key));
    if (entry == NULL) {
        if (weft_map_count(self->waiting) >= WEFT_ASKS_WAITING_MAX) return false;
        entry = weft_alloc(sizeof *entry);
        weft_map_put(self->waiting, s_slice(&made.key), entry);
    }
    *entry = made;
    return true;
}

size_t weft_asks_waiting(const weft_asks_t *self)
{
    return weft_map_count(self->waiting);
}

bool weft_asks_flying(const weft_asks_t *self)
{
    return self->flying_count > 0;
}

static void s_take(weft_asks_t *self)
{
    void *value;
    for (size_t cursor = 0;
         self->flying_count < WEFT_ASKS_MESSAGE_MAX && weft_map_next(self->waiting, &cursor, NULL, &value);) {
        struct s_entry *entry = value;
        weft_map_remove(self->waiting, s_slice(&entry->key));
        self->flying[self->flying_count++] = entry;
    }
}

static void s_encode_changes(const weft_asks_t *self, struct weft_in_sync_change_request *request, weft_buf_t *out)
{
    enum { MEMBERS = sizeof self->flying[0]->body.ask.members / sizeof self->flying[0]->body.ask.members[0] };
    struct weft_in_sync_ask *changes = weft_calloc(self->flying_count, sizeof *changes);
    struct weft_in_sync_member *members = weft_calloc(self->flying_count * MEMBERS, sizeof *members);
    for (size_t i = 0; i < self->flying_count; i++) {
        const struct weft_broker_ask *ask = &self->flying[i]->body.ask;
        for (size_t k = 0; k < ask->member_count; k++)
            members[i * MEMBERS + k] = (struct weft_in_sync_member){.broker = ask->members[k].broker,
                                                                    .incarnation = ask->members[k].incarnation};
        changes[i] = (struct weft_in_sync_ask){.topic_id = ask->topic,
                                               .partition = ask->partition,
                                               .leader_epoch = ask->leader_epoch,
                                               .partition_epoch = ask->partition_epoch,
                                               .members = members + i * MEMBERS,
                                               .members_count = ask->member_count};
    }
    request->changes = changes;
    request->changes_count = self->flying_count;
    weft_in_sync_change_request_encode(request, out);
    free(members);
    free(changes);
}

static void s_encode_reports(const weft_asks_t *self, struct weft_partition_report_request *request, weft_buf_t *out)
{
    struct weft_replica_report *reports = weft_calloc(self->flying_count, sizeof *reports);
    for (size_t i = 0; i < self->flying_count; i++) {
        const struct weft_broker_report *report = &self->flying[i]->body.report;
        reports[i] = (struct weft_replica_report){.topic_id = report->topic,
                                                  .partition = report->partition,
                                                  .leader_epoch = report->leader_epoch,
                                                  .last_epoch = report->last_epoch,
                                                  .log_end = report->log_end,
                                                  .damaged = report->damaged};
    }
    request->reports = reports;
    request->reports_count = self->flying_count;
    weft_partition_report_request_encode(request, out);
    free(reports);
}

void weft_asks_encode(weft_asks_t *self, uint64_t id, int32_t broker, weft_id_t incarnation, weft_buf_t *out)
{
    weft_assert(self->flying_count == 0);
    s_take(self);
    weft_assert(self->flying_count > 0);
    if (self->kind == WEFT_ASKS_IN_SYNC) {
        struct weft_in_sync_change_request request;
        weft_in_sync_change_request_init(&request);
        request.id = id;
        request.broker_id = broker;
        request.incarnation = incarnation;
        s_encode_changes(self, &request, out);
    } else {
        struct weft_partition_report_request request;
        weft_partition_report_request_init(&request);
        request.id = id;
        request.broker_id = broker;
        request.incarnation = incarnation;
        s_encode_reports(self, &request, out);
    }
}

void weft_asks_done(weft_asks_t *self)
{
    while (self->flying_count > 0) free(self->flying[--self->flying_count]);
}

void weft_asks_back(weft_asks_t *self)
{
    for (size_t i = 0; i < self->flying_count; i++) {
        struct s_entry *entry = self->flying[i];
        if (weft_map_get(self->waiting, s_slice(&entry->key)) != NULL)
            free(entry);
        else
            weft_map_put(self->waiting, s_slice(&entry->key), entry);
    }
    self->flying_count = 0;
}

void weft_asks_clear(weft_asks_t *self)
{
    void *value;
    weft_asks_done(self);
    for (size_t cursor = 0; weft_map_next(self->waiting, &cursor, NULL, &value);) {
        struct s_entry *entry = value;
        weft_map_remove(self->waiting, s_slice(&entry->key));
        free(entry);
    }
}
