// SPDX-License-Identifier: MPL-2.0
/**
 * A broker among three coordinators that the test plays, each in a seat of its own: the first is in office. Each test
 * program that includes it has the one scene.
 */
#ifndef WEFT_TESTS_UNIT_BROKER_SEATS_H
#define WEFT_TESTS_UNIT_BROKER_SEATS_H

#include "rig.h"

enum role {
    OFFICE,  // answers
    PASSIVE, // NOT_COORDINATOR, and whom it names
    LOADING,
    SILENT, // connected, says nothing: SIGSTOP
    FENCER  // FENCED
};

struct seat {
    char endpoint[64];
    enum role role;
    const char *names;
    uint64_t epoch, index; // 0: the rig's
    bool stop_now;
    uint32_t heartbeats, registrations, changes, reports;
    int64_t heard_us; // the last message
    bool told_disk_failed, told_stop;
    uint32_t last_count; // of changes or reports
    int64_t last_value;  // of the first: partition epoch or log end
};

struct scene {
    struct rig rig;
    struct seat seats[4];
    size_t seat_count;
    weft_buf_t buf;
};

static inline void s_send(struct scene *self, struct seat *seat)
{
    weft_fake_world_from(self->rig.world, seat->endpoint, weft_buf_slice(&self->buf), WEFT_SLICE_NIL);
}

static inline void s_refuse(struct scene *self, struct seat *seat, uint64_t id)
{
    struct weft_broker_register_reply reply;
    weft_broker_register_reply_init(&reply);
    reply.header.id = id;
    reply.header.error = seat->role == PASSIVE   ? WEFT_ERR_NOT_COORDINATOR
                         : seat->role == LOADING ? WEFT_ERR_COORDINATOR_LOADING
                                                 : WEFT_ERR_FENCED;
    if (seat->names != NULL) reply.header.endpoint = weft_slice_text(seat->names);
    weft_buf_clear(&self->buf);
    weft_broker_register_reply_encode(&reply, &self->buf);
    s_send(self, seat);
}

static inline void s_registered(struct scene *self, struct seat *seat, weft_slice_t header)
{
    struct rig *rig = &self->rig;
    struct weft_broker_register_request request;
    assert_ok(weft_broker_register_request_decode(&rig->codec, header, &request, &rig->error));
    struct weft_broker_registered_command command;
    weft_broker_registered_command_init(&command);
    command.broker_id = request.broker_id;
    command.incarnation = rig->incarnation = request.incarnation;
    command.endpoints = request.endpoints;
    command.endpoints_count = request.endpoints_count;
    command.clean = request.clean;
    weft_buf_clear(&rig->buf);
    weft_broker_registered_command_encode(&command, &rig->buf);
    struct weft_broker_register_reply reply;
    weft_broker_register_reply_init(&reply);
    reply.header.id = request.id;
    rig_commit(rig);
    reply.cluster_id = weft_cluster_id(rig->cluster);
    reply.epoch = seat->epoch != 0 ? seat->epoch : rig->epoch;
    reply.heartbeat_ms = 100;
    reply.session_ms = 1000;
    weft_buf_clear(&self->buf);
    weft_broker_register_reply_encode(&reply, &self->buf);
    s_send(self, seat);
}

static inline void s_push(struct scene *self, struct seat *seat, uint64_t from)
{
    struct rig *rig = &self->rig;
    weft_buf_t data;
    weft_buf_init(&data);
    struct weft_cluster_update_request request;
    weft_cluster_update_request_init(&request);
    request.epoch = seat->epoch != 0 ? seat->epoch : rig->epoch;
    request.from_index = from;
    request.to_index = rig->index;
    request.snapshot = true;
    weft_buf_clear(&self->buf);
    weft_cluster_update_request_encode(&request, &self->buf);
    weft_cluster_encode(rig->cluster, &data);
    weft_fake_world_from(rig->world, seat->endpoint, weft_buf_slice(&self->buf), weft_buf_slice(&data));
    weft_buf_fini(&data);
}

static inline void s_heartbeat(struct scene *self, struct seat *seat, weft_slice_t header)
{
    struct rig *rig = &self->rig;
    struct weft_broker_heartbeat_request request;
    assert_ok(weft_broker_heartbeat_request_decode(&rig->codec, header, &request, &rig->error));
    seat->told_disk_failed = request.disk_failed;
    seat->told_stop = request.want_stop;
    struct weft_broker_heartbeat_reply reply;
    weft_broker_heartbeat_reply_init(&reply);
    reply.header.id = request.id;
    reply.epoch = seat->epoch != 0 ? seat->epoch : rig->epoch;
    reply.index = seat->index != 0 ? seat->index : rig->index;
    reply.stop_now = request.want_stop && seat->stop_now;
    weft_buf_clear(&self->buf);
    weft_broker_heartbeat_reply_encode(&reply, &self->buf);
    uint64_t told = request.index;
    s_send(self, seat);
    if (told < rig->index && seat->index == 0) s_push(self, seat, told);
}

static inline void s_change(struct scene *self, struct seat *seat, weft_slice_t header)
{
    struct rig *rig = &self->rig;
    struct weft_in_sync_change_request request;
    assert_ok(weft_in_sync_change_request_decode(&rig->codec, header, &request, &rig->error));
    assert_true(weft_id_equal(request.incarnation, rig->incarnation));
    seat->last_count = (uint32_t) request.changes_count;
    seat->last_value = request.changes[0].partition_epoch;
    struct weft_in_sync_change_reply reply;
    weft_in_sync_change_reply_init(&reply);
    reply.header.id = request.id;
    weft_buf_clear(&self->buf);
    weft_in_sync_change_reply_encode(&reply, &self->buf);
    s_send(self, seat);
}

static inline void s_report(struct scene *self, struct seat *seat, weft_slice_t header)
{
    struct rig *rig = &self->rig;
    struct weft_partition_report_request request;
    assert_ok(weft_partition_report_request_decode(&rig->codec, header, &request, &rig->error));
    seat->last_count = (uint32_t) request.reports_count;
    seat->last_value = request.reports[0].log_end;
    struct weft_partition_report_reply reply;
    weft_partition_report_reply_init(&reply);
    reply.header.id = request.id;
    weft_buf_clear(&self->buf);
    weft_partition_report_reply_encode(&reply, &self->buf);
    s_send(self, seat);
}

static inline void s_hear(struct scene *self, struct seat *seat, weft_slice_t header)
{
    struct weft_request_header request;
    assert_ok(weft_request_header_decode(header, &request, &self->rig.error));
    seat->heard_us = weft_fake_world_now_us(self->rig.world);
    seat->heartbeats += request.api == WEFT_API_BROKER_HEARTBEAT;
    seat->registrations += request.api == WEFT_API_BROKER_REGISTER;
    seat->changes += request.api == WEFT_API_IN_SYNC_CHANGE;
    seat->reports += request.api == WEFT_API_PARTITION_REPORT;
    if (seat->role == SILENT) return;
    if (seat->role != OFFICE) {
        s_refuse(self, seat, request.id);
        return;
    }
    if (request.api == WEFT_API_BROKER_REGISTER) s_registered(self, seat, header);
    if (request.api == WEFT_API_BROKER_HEARTBEAT) s_heartbeat(self, seat, header);
    if (request.api == WEFT_API_IN_SYNC_CHANGE) s_change(self, seat, header);
    if (request.api == WEFT_API_PARTITION_REPORT) s_report(self, seat, header);
}

static inline void s_coordinate(struct scene *self)
{
    const struct weft_fake_sent *sent;
    while ((sent = weft_fake_world_take_sent(self->rig.world)) != NULL) {
        weft_buf_t header;
        weft_buf_init(&header);
        weft_buf_append(&header, sent->header.data, sent->header.size);
        struct seat *seat = NULL;
        for (size_t i = 0; i < self->seat_count; i++)
            if (strcmp(self->seats[i].endpoint, sent->endpoint) == 0) seat = &self->seats[i];
        assert_non_null(seat);
        s_hear(self, seat, weft_buf_slice(&header));
        weft_buf_fini(&header);
    }
}

static inline void s_advance(struct scene *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i++) {
        weft_fake_world_advance(self->rig.world, 1000);
        s_coordinate(self);
    }
}

static inline int64_t s_now(const struct scene *self)
{
    return weft_fake_world_now_us(self->rig.world);
}

static inline void s_count_anew(struct scene *self)
{
    for (size_t i = 0; i < self->seat_count; i++)
        self->seats[i].heartbeats = self->seats[i].registrations = self->seats[i].changes = self->seats[i].reports = 0;
}

// How long until the seat is heard, in ms; -1: not within `ms`.
static inline int64_t s_until_heard(struct scene *self, size_t seat, int64_t ms)
{
    int64_t began_us = s_now(self);
    self->seats[seat].heard_us = -1;
    for (int64_t i = 0; i < ms; i++) {
        s_advance(self, 1);
        if (self->seats[seat].heard_us >= 0) return (self->seats[seat].heard_us - began_us) / 1000;
    }
    return -1;
}

// A new coordinator takes office in the rig's state, and in its seat.
static inline void s_take_office(struct scene *self, size_t seat)
{
    struct rig *rig = &self->rig;
    struct weft_took_office_command office = {.coordinator_id = (int32_t) seat,
                                              .endpoint = weft_slice_text(self->seats[seat].endpoint)};
    weft_buf_clear(&rig->buf);
    weft_took_office_command_encode(&office, &rig->buf);
    rig_commit(rig);
    self->seats[seat].role = OFFICE;
}

static inline int s_setup(void **state)
{
    static struct scene scene;
    memset(&scene, 0, sizeof scene);
    weft_buf_init(&scene.buf);
    rig_begin(&scene.rig);
    scene.seat_count = 3;
    for (size_t i = 0; i < 4; i++) {
        snprintf(scene.seats[i].endpoint, sizeof scene.seats[i].endpoint, "tcp://coordinator:%zu", i + 1);
        scene.seats[i].role = i == 0 ? OFFICE : PASSIVE;
    }
    static const char *const options[] = {"coordinators=tcp://coordinator:1,tcp://coordinator:2,tcp://coordinator:3",
                                          NULL};
    assert_ok(rig_create(&scene.rig, options));
    const weft_world_t *world = weft_fake_world_of(scene.rig.world);
    world->ops->start(world->self);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(scene.rig.world, scene.seats[i].endpoint, true);
    s_advance(&scene, 300);
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    assert_int_equal(rig_health(&scene.rig, sentence), WEFT_HEALTH_SERVING);
    s_count_anew(&scene);
    *state = &scene;
    return 0;
}

static inline int s_teardown(void **state)
{
    struct scene *self = *state;
    rig_end(&self->rig);
    weft_buf_fini(&self->buf);
    return 0;
}

#endif
