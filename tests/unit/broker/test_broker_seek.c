// SPDX-License-Identifier: MPL-2.0
// A broker among three coordinators: whom it asks, whom it obeys, and how it goes.
#include "rig.h"

#include "../../../nodes/broker/asks.h"

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

static void s_send(struct scene *self, struct seat *seat)
{
    weft_fake_world_from(self->rig.world, seat->endpoint, weft_buf_slice(&self->buf), WEFT_SLICE_NIL);
}

static void s_refuse(struct scene *self, struct seat *seat, uint64_t id)
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

static void s_registered(struct scene *self, struct seat *seat, weft_slice_t header)
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

static void s_push(struct scene *self, struct seat *seat, uint64_t from)
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

static void s_heartbeat(struct scene *self, struct seat *seat, weft_slice_t header)
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

static void s_change(struct scene *self, struct seat *seat, weft_slice_t header)
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

static void s_report(struct scene *self, struct seat *seat, weft_slice_t header)
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

static void s_hear(struct scene *self, struct seat *seat, weft_slice_t header)
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

static void s_coordinate(struct scene *self)
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

static void s_advance(struct scene *self, int64_t ms)
{
    for (int64_t i = 0; i < ms; i++) {
        weft_fake_world_advance(self->rig.world, 1000);
        s_coordinate(self);
    }
}

static int64_t s_now(const struct scene *self)
{
    return weft_fake_world_now_us(self->rig.world);
}

static void s_count_anew(struct scene *self)
{
    for (size_t i = 0; i < self->seat_count; i++)
        self->seats[i].heartbeats = self->seats[i].registrations = self->seats[i].changes = self->seats[i].reports = 0;
}

// How long until the seat is heard, in ms; -1: not within `ms`.
static int64_t s_until_heard(struct scene *self, size_t seat, int64_t ms)
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
static void s_take_office(struct scene *self, size_t seat)
{
    struct rig *rig = &self->rig;
    struct weft_took_office_command office = {.coordinator_id = (int32_t) seat,
                                              .endpoint = weft_slice_text(self->seats[seat].endpoint)};
    weft_buf_clear(&rig->buf);
    weft_took_office_command_encode(&office, &rig->buf);
    rig_commit(rig);
    self->seats[seat].role = OFFICE;
}

static int s_setup(void **state)
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

static int s_teardown(void **state)
{
    struct scene *self = *state;
    rig_end(&self->rig);
    weft_buf_fini(&self->buf);
    return 0;
}

// ---- whom it asks

static void test_seek__others_are_left_alone_while_one_answers(void **state)
{
    struct scene *self = *state;
    s_advance(self, 3000);
    assert_in_range(self->seats[0].heartbeats, 29, 31);
    assert_int_equal(self->seats[1].heartbeats + self->seats[2].heartbeats, 0);
}

static void test_seek__a_lost_coordinator_is_replaced_as_soon_as_another_is_in_office(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    assert_in_range(s_until_heard(self, 1, 100), 0, 60); // both others are asked at once
    s_advance(self, 800);                                // nobody is elected yet
    uint32_t asked = self->seats[1].heartbeats + self->seats[2].heartbeats;
    assert_in_range(asked, 6, 20); // and are not flooded meanwhile
    s_take_office(self, 2);
    assert_in_range(s_until_heard(self, 2, 1000), 0, 250);
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    s_advance(self, 200);
    assert_int_equal(rig_health(&self->rig, sentence), WEFT_HEALTH_SERVING);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_int_equal(self->seats[1].heartbeats, 0);
    assert_in_range(self->seats[2].heartbeats, 9, 11);
    assert_int_equal(self->seats[2].registrations, 0); // the same start goes on
}

static void test_seek__a_stopped_coordinator_is_left_within_its_session(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT; // its link stays up
    s_advance(self, 450);
    assert_true(self->seats[1].heartbeats + self->seats[2].heartbeats > 0);
    assert_true(self->seats[0].heartbeats >= 4); // it may only be slow
    s_take_office(self, 1);
    assert_in_range(s_until_heard(self, 1, 1000), 0, 250);
    s_count_anew(self);
    self->seats[0].role = OFFICE; // continued, and still of its old epoch
    self->seats[0].epoch = self->rig.epoch - 1;
    s_advance(self, 1000);
    assert_int_equal(self->seats[0].heartbeats, 0);
    assert_in_range(self->seats[1].heartbeats, 9, 11);
}

static void test_seek__a_slow_coordinator_is_kept_when_nobody_else_is_in_office(void **state)
{
    struct scene *self = *state;
    self->seats[1].names = self->seats[2].names = self->seats[0].endpoint;
    self->seats[0].role = SILENT;
    s_advance(self, 800);
    self->seats[0].role = OFFICE;
    s_advance(self, 150);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_in_range(self->seats[0].heartbeats, 9, 11);
    assert_int_equal(self->seats[1].heartbeats + self->seats[2].heartbeats, 0);
    assert_int_equal(self->seats[0].registrations, 0);
}

static void test_seek__who_is_named_is_asked_next_even_when_unknown(void **state)
{
    struct scene *self = *state;
    self->seat_count = 4;
    weft_fake_world_link(self->rig.world, self->seats[3].endpoint, true);
    s_take_office(self, 3);
    self->seats[0].role = PASSIVE;
    for (size_t i = 0; i < 3; i++) self->seats[i].names = self->seats[3].endpoint;
    assert_in_range(s_until_heard(self, 3, 1000), 0, 150);
    s_advance(self, 50);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_in_range(self->seats[3].heartbeats, 9, 11);
}

static void test_seek__two_that_name_each_other_are_not_flooded(void **state)
{
    struct scene *self = *state;
    for (size_t i = 0; i < 3; i++) {
        self->seats[i].role = PASSIVE;
        self->seats[i].names = self->seats[(i + 1) % 2].endpoint;
    }
    s_advance(self, 2000);
    uint32_t asked = 0;
    for (size_t i = 0; i < 3; i++) asked += self->seats[i].heartbeats;
    assert_in_range(asked, 20, 80);
}

static void test_seek__one_that_takes_office_is_asked_again_soon(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    self->seats[1].role = LOADING;
    s_advance(self, 300);
    s_take_office(self, 1);
    assert_in_range(s_until_heard(self, 1, 1000), 0, 150);
}

static void test_seek__voters_of_the_state_are_known_without_configuration(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    self->seat_count = 4;
    struct weft_voter voters[2];
    for (size_t i = 0; i < 2; i++)
        voters[i] = (struct weft_voter){
            .id = (int32_t) i + 3, .server = i + 3, .endpoint = weft_slice_text(self->seats[i + 2].endpoint)};
    struct weft_voters_changed_command command;
    weft_voters_changed_command_init(&command);
    command.voters = voters;
    command.voters_count = 2;
    weft_buf_clear(&rig->buf);
    weft_voters_changed_command_encode(&command, &rig->buf);
    rig_commit(rig);
    s_advance(self, 300);
    weft_fake_world_link(rig->world, self->seats[3].endpoint, true);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(rig->world, self->seats[i].endpoint, false); // all configured
    s_take_office(self, 3);
    assert_in_range(s_until_heard(self, 3, 1000), 0, 300);
    s_count_anew(self);
    s_advance(self, 1000);
    assert_in_range(self->seats[3].heartbeats, 9, 11);
}

static void test_seek__a_start_finds_the_one_in_office_though_the_first_is_stopped(void **state)
{
    struct scene *self = *state;
    rig_kill(&self->rig);
    static const char *const options[] = {"coordinators=tcp://coordinator:1,tcp://coordinator:2,tcp://coordinator:3",
                                          NULL};
    assert_ok(rig_create(&self->rig, options));
    const weft_world_t *world = weft_fake_world_of(self->rig.world);
    world->ops->start(world->self);
    self->seats[0].role = SILENT;
    s_take_office(self, 2);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(self->rig.world, self->seats[i].endpoint, true);
    s_advance(self, 1200);
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    assert_int_equal(rig_health(&self->rig, sentence), WEFT_HEALTH_SERVING);
    assert_int_equal(self->seats[2].registrations, 1);
}

// ---- whom it obeys

static void test_seek__only_the_one_in_office_can_fence(void **state)
{
    struct scene *self = *state;
    s_advance(self, 2000);
    // A late word of one that nobody takes for the coordinator.
    weft_id_t incarnation = self->rig.incarnation;
    struct weft_broker_heartbeat_reply reply;
    weft_broker_heartbeat_reply_init(&reply);
    reply.header.id = 12;
    reply.header.error = WEFT_ERR_FENCED;
    weft_buf_clear(&self->buf);
    weft_broker_heartbeat_reply_encode(&reply, &self->buf);
    s_send(self, &self->seats[2]);
    s_advance(self, 500);
    assert_true(weft_id_equal(incarnation, self->rig.incarnation));
    self->seats[0].role = FENCER;
    s_advance(self, 150);
    self->seats[0].role = OFFICE;
    s_advance(self, 300);
    assert_false(weft_id_equal(incarnation, self->rig.incarnation));
}

static void test_seek__a_new_coordinator_may_fence_when_the_old_one_is_gone(void **state)
{
    struct scene *self = *state;
    weft_id_t incarnation = self->rig.incarnation;
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    s_take_office(self, 1);
    self->seats[1].role = FENCER;
    s_advance(self, 100);
    self->seats[1].role = OFFICE;
    s_advance(self, 300);
    assert_false(weft_id_equal(incarnation, self->rig.incarnation));
    assert_true(self->seats[1].registrations >= 1);
}

static void test_seek__an_old_copy_of_the_state_is_not_obeyed_also_once_it_has_as_much(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    const struct rig_produce orders = {.topic = "orders"};
    rig_topic(rig, "orders", 10, 1);
    s_advance(self, 200);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_OK);
    for (size_t i = 1; i < 3; i++) weft_fake_world_link(rig->world, self->seats[i].endpoint, false);
    self->seats[0].epoch = rig->epoch + 5;
    self->seats[0].index = 2; // it came back with an old disk
    s_advance(self, 1500);
    assert_int_equal(rig_health(rig, sentence), WEFT_HEALTH_DEGRADED);
    assert_non_null(strstr(sentence, "old copy"));
    // Another history grows there, in which the topic was deleted.
    rig_delete(rig, rig_id(10));
    self->seats[0].index = 0;
    s_advance(self, 500);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_OK); // I10
}

// ---- what the shards ask

static void s_ask(struct scene *self, uint32_t partition, int32_t partition_epoch)
{
    struct weft_broker_ask *ask = calloc(1, sizeof *ask);
    ask->topic = rig_id(10);
    ask->partition = partition;
    ask->partition_epoch = partition_epoch;
    ask->member_count = 3;
    for (size_t i = 0; i < 3; i++) ask->members[i].broker = (int32_t) i + 1;
    const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_ASK, .body = ask, .body_free = free};
    weft_fake_world_mail(self->rig.world, self->rig.node->parts[0], &mail);
}

static void s_tell(struct scene *self, uint32_t partition, int64_t log_end)
{
    struct weft_broker_report *report = calloc(1, sizeof *report);
    report->topic = rig_id(10);
    report->partition = partition;
    report->log_end = log_end;
    const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_REPORT, .body = report, .body_free = free};
    weft_fake_world_mail(self->rig.world, self->rig.node->parts[0], &mail);
}

static void test_asks__go_at_once_together_and_only_the_newest_of_a_partition(void **state)
{
    struct scene *self = *state;
    s_ask(self, 1, 1);
    s_ask(self, 2, 5); // the first flies: these wait for its answer
    s_ask(self, 3, 6);
    s_ask(self, 2, 7);
    s_tell(self, 4, 100);
    s_advance(self, 2);
    assert_int_equal(self->seats[0].changes, 2);
    assert_int_equal(self->seats[0].reports, 1);
    s_advance(self, 3000);
    assert_int_equal(self->seats[0].changes, 2); // answered is done: the shard asks again if it must
    s_ask(self, 2, 8);
    s_advance(self, 2);
    assert_int_equal(self->seats[0].last_count, 1);
    assert_int_equal(self->seats[0].last_value, 8);
}

static void test_asks__thousands_go_in_bounded_requests(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    s_ask(self, 0, 1);
    for (uint32_t i = 1; i <= 10000; i++) s_ask(self, i, 1);
    self->seats[0].role = OFFICE;
    s_advance(self, 3000);
    assert_in_range(self->seats[0].changes, 2 + 10000 / WEFT_ASKS_MESSAGE_MAX, 4 + 10000 / WEFT_ASKS_MESSAGE_MAX);
}

static void test_asks__go_again_to_a_new_coordinator(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    s_ask(self, 1, 1);
    s_tell(self, 2, 200);
    s_advance(self, 2);
    assert_int_equal(self->seats[0].changes, 1);
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    s_take_office(self, 1);
    s_advance(self, 500);
    assert_int_equal(self->seats[1].changes, 1);
    assert_int_equal(self->seats[1].reports, 1);
}

static void test_asks__of_an_older_start_are_forgotten(void **state)
{
    struct scene *self = *state;
    self->seats[0].role = SILENT;
    s_ask(self, 1, 1);
    s_ask(self, 2, 1);
    self->seats[0].role = FENCER;
    s_advance(self, 1500);
    self->seats[0].role = OFFICE;
    s_count_anew(self);
    s_advance(self, 2000);
    assert_true(self->seats[0].registrations > 0);
    assert_int_equal(self->seats[0].changes, 0);
}

static void test_asks__a_failed_disk_is_told_with_every_heartbeat(void **state)
{
    struct scene *self = *state;
    s_advance(self, 200);
    assert_false(self->seats[0].told_disk_failed);
    atomic_store(&((struct weft_broker *) self->rig.node)->disk_failed, true);
    s_advance(self, 200);
    assert_true(self->seats[0].told_disk_failed);
}

// ---- how it goes

static bool s_stop_control(struct scene *self, int64_t ms)
{
    weft_part_id_t control = self->rig.node->parts[0];
    for (int64_t i = 0; i < ms; i++) {
        if (weft_fake_world_stop(self->rig.world, control, 0)) return true;
        s_advance(self, 1);
    }
    return false;
}

static void test_leave__waits_for_the_coordinator_and_the_shards_learn_of_the_moves(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    const struct rig_produce orders = {.topic = "orders"};
    rig_topic(rig, "orders", 10, 1);
    s_advance(self, 200);
    assert_false(s_stop_control(self, 1000));
    assert_true(self->seats[0].told_stop);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_OK); // served meanwhile
    rig_delete(rig, rig_id(10));
    s_advance(self, 200);
    assert_int_equal(rig_produce_records(rig, &orders, 1).header.error, WEFT_ERR_UNKNOWN_TOPIC);
    self->seats[0].stop_now = true;
    assert_true(s_stop_control(self, 300));
}

static void test_leave__goes_on_over_a_change_of_the_coordinator(void **state)
{
    struct scene *self = *state;
    assert_false(s_stop_control(self, 100));
    weft_fake_world_link(self->rig.world, self->seats[0].endpoint, false);
    assert_false(s_stop_control(self, 500));
    s_take_office(self, 2);
    self->seats[2].stop_now = true;
    assert_true(s_stop_control(self, 800));
    assert_true(self->seats[2].told_stop);
}

static void test_leave__nobody_who_answers_is_not_waited_for(void **state)
{
    struct scene *self = *state;
    for (size_t i = 0; i < 3; i++) self->seats[i].role = SILENT;
    int64_t began_us = s_now(self);
    assert_true(s_stop_control(self, 5000));
    assert_in_range((s_now(self) - began_us) / 1000, 1500, 2500);
    for (size_t i = 0; i < 3; i++) weft_fake_world_link(self->rig.world, self->seats[i].endpoint, false);
}

static void test_leave__clients_are_told_where_to_go_until_they_know(void **state)
{
    struct scene *self = *state;
    struct rig *rig = &self->rig;
    weft_slice_t endpoint = weft_slice_text("tcp://other:1");
    struct weft_broker_registered_command command;
    weft_broker_registered_command_init(&command);
    command.broker_id = 2;
    command.incarnation = rig_id(77);
    command.endpoints = &endpoint;
    command.endpoints_count = 1;
    weft_buf_clear(&rig->buf);
    weft_broker_registered_command_encode(&command, &rig->buf);
    rig_commit(rig);
    int32_t replicas[1] = {2};
    struct weft_placement placement = {.replicas = replicas, .replicas_count = 1};
    struct weft_topic_created_command topic;
    weft_topic_created_command_init(&topic);
    topic.topic_id = rig_id(10);
    topic.topic = weft_slice_text("orders");
    topic.placement = &placement;
    topic.placement_count = 1;
    weft_buf_clear(&rig->buf);
    weft_topic_created_command_encode(&topic, &rig->buf);
    rig_commit(rig);
    s_advance(self, 300);
    self->seats[0].stop_now = true;
    const struct rig_produce orders = {.topic = "orders"};
    int64_t began_us = s_now(self);
    for (int i = 0; i < 6; i++) {
        assert_false(s_stop_control(self, 50));
        struct weft_produce_reply reply = rig_produce_records(rig, &orders, 1);
        assert_int_equal(reply.header.error, WEFT_ERR_NOT_LEADER);
        assert_slice(reply.header.endpoint, "tcp://other:1");
    }
    assert_true(s_stop_control(self, 200));
    assert_in_range((s_now(self) - began_us) / 1000, 300, 700);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, s_setup, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_seek__others_are_left_alone_while_one_answers),
        TEST(test_seek__a_lost_coordinator_is_replaced_as_soon_as_another_is_in_office),
        TEST(test_seek__a_stopped_coordinator_is_left_within_its_session),
        TEST(test_seek__a_slow_coordinator_is_kept_when_nobody_else_is_in_office),
        TEST(test_seek__who_is_named_is_asked_next_even_when_unknown),
        TEST(test_seek__two_that_name_each_other_are_not_flooded),
        TEST(test_seek__one_that_takes_office_is_asked_again_soon),
        TEST(test_seek__voters_of_the_state_are_known_without_configuration),
        TEST(test_seek__a_start_finds_the_one_in_office_though_the_first_is_stopped),
        TEST(test_seek__only_the_one_in_office_can_fence),
        TEST(test_seek__a_new_coordinator_may_fence_when_the_old_one_is_gone),
        TEST(test_seek__an_old_copy_of_the_state_is_not_obeyed_also_once_it_has_as_much),
        TEST(test_asks__go_at_once_together_and_only_the_newest_of_a_partition),
        TEST(test_asks__thousands_go_in_bounded_requests),
        TEST(test_asks__go_again_to_a_new_coordinator),
        TEST(test_asks__of_an_older_start_are_forgotten),
        TEST(test_asks__a_failed_disk_is_told_with_every_heartbeat),
        TEST(test_leave__waits_for_the_coordinator_and_the_shards_learn_of_the_moves),
        TEST(test_leave__goes_on_over_a_change_of_the_coordinator),
        TEST(test_leave__nobody_who_answers_is_not_waited_for),
        TEST(test_leave__clients_are_told_where_to_go_until_they_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
