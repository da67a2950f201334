// SPDX-License-Identifier: MPL-2.0
// What survives power loss, rot, failed and stuck syncs, a full disk, a clean stop.
#include "fixture.h"

// ---- what survives

static void test_coordinator_disk__what_it_answered_survives_power_loss(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        weft_rand_init(&rand, seed);
        weft_crash_disk_destroy(&self->disk);
        self->disk = weft_crash_disk_new(seed);
        bool acked[60] = {false};
        uint32_t made = 0;
        for (int life = 0; life < 3; life++) {
            s_start(self);
            struct weft_metadata_reply reply = s_metadata(self);
            for (uint32_t i = 0; i < made; i++) {
                if (!acked[i]) continue;
                char name[8];
                snprintf(name, sizeof name, "t%u", i);
                bool found = false;
                for (size_t t = 0; t < reply.topics_count; t++) found |= weft_slice_is_text(reply.topics[t].name, name);
                assert_true(found); // I9, O1
            }
            s_register_request(self, 1, (uint8_t) (life + 1));
            s_send(self, 1);
            weft_fake_world_advance(self->world, SECOND_US);
            while (weft_fake_world_take_reply(self->world)) {}
            uint32_t until = made + 1 + (uint32_t) weft_rand_below(&rand, 18);
            for (; made < until; made++) {
                char name[8];
                snprintf(name, sizeof name, "t%u", made);
                if (made + 1 == until) weft_fake_world_hold(self->world, SYNC_PART, true); // the last is under way
                s_create_topic_request(self, name, 1, NULL, NULL);
                s_send(self, ADMIN);
                acked[made] = s_answer_error(self) == WEFT_OK;
            }
            weft_crash_disk_crash(self->disk, &rand);
            s_down(self);
        }
    }
}

static void test_coordinator_disk__snapshots_carry_the_state_over_starts(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    for (int round = 0; round < 60; round++) { // a snapshot every 32 commands
        char name[8];
        snprintf(name, sizeof name, "t%d", round);
        assert_ok(s_create_topic(self, name, 2));
        if (round % 3) assert_ok(s_delete_topic(self, name));
        weft_fake_world_advance(self->world, SECOND_US / 10);
        assert_ok(s_heartbeat(self, 1, 1, 0));
    }
    const struct weft_disk *disk = weft_crash_disk_of(self->disk);
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    assert_ok(weft_disk_read_file(disk, "c/snapshot", 1 << 20, &bytes));
    weft_buf_fini(&bytes);
    uint64_t version = s_metadata(self).version;
    s_down(self);
    weft_rand_t rand;
    weft_rand_init(&rand, 3);
    weft_crash_disk_crash(self->disk, &rand);
    s_start(self);
    struct weft_metadata_reply reply = s_metadata(self);
    assert_int_equal(reply.version, version + 1);
    assert_int_equal(reply.topics_count, 20);
    assert_slice(reply.topics[19].name, "t57");
}

static void test_coordinator_disk__a_flipped_bit_is_refused_or_harmless(void **state)
{
    struct fixture *self = *state;
    size_t refused = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        weft_crash_disk_destroy(&self->disk);
        self->disk = weft_crash_disk_new(seed);
        s_start(self);
        assert_ok(s_register(self, 1, 1));
        for (int i = 0; i < 40; i++) {
            char name[8];
            snprintf(name, sizeof name, "t%d", i);
            assert_ok(s_create_topic(self, name, 1));
        }
        uint64_t version = s_metadata(self).version;
        assert_true(weft_fake_world_stop(self->world, COORDINATOR_PART, 5 * SECOND_US));
        assert_true(weft_fake_world_stop(self->world, SYNC_PART, 5 * SECOND_US));
        s_down(self);
        weft_rand_t rand;
        weft_rand_init(&rand, seed);
        char path[256];
        assert_true(weft_crash_disk_flip(self->disk, &rand, NULL, path, sizeof path));
        if (s_create(self) != WEFT_OK) {
            assert_true(strlen(self->error.text) > 20);
            refused++;
        } else {
            const struct weft_world *world = weft_fake_world_of(self->world);
            world->ops->start(world->self);
            struct weft_metadata_reply reply = s_metadata(self);
            assert_int_equal(reply.topics_count, 40); // never in silence
            assert_int_equal(reply.version, version + 1);
        }
        s_down(self);
    }
    assert_true(refused > 0);
}

static void test_coordinator_disk__a_failed_sync_ends_it(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    const struct weft_crash_disk_faults faults = {.sync_eio = 1000000};
    weft_crash_disk_faults_set(self->disk, &faults);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_DISK_FAILED); // maybe applied
    const struct weft_crash_disk_faults none = {0};
    weft_crash_disk_faults_set(self->disk, &none);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_COORDINATOR_UNAVAILABLE); // never tried again
    struct weft_node_status_reply status = s_status(self);
    assert_slice(status.health, "failed");
    char sentence[256];
    assert_int_equal(weft_node_coordinator.health(self->node, sentence, sizeof sentence), WEFT_HEALTH_FAILED);
    assert_non_null(strstr(sentence, "disk"));
}

static void test_coordinator_disk__a_stuck_sync_ends_it_after_three_seconds(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    weft_fake_world_hold(self->world, SYNC_PART, true);
    s_create_topic_request(self, "orders", 1, NULL, NULL);
    s_send(self, ADMIN);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    assert_null(s_next_answer(self));
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    assert_non_null(s_next_answer(self));
    assert_slice(s_status(self).health, "failed");
    weft_fake_world_hold(self->world, SYNC_PART, false);
    weft_fake_world_settle(self->world);
}

static void test_coordinator_disk__a_full_disk_refuses_changes_until_there_is_space(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    const struct weft_crash_disk_faults full = {.write_enospc = 1000000}, none = {0};
    weft_crash_disk_faults_set(self->disk, &full);
    assert_err(s_create_topic(self, "orders", 1), WEFT_ERR_DISK_FULL);
    assert_ok(s_heartbeat(self, 1, 1, 3));
    weft_crash_disk_faults_set(self->disk, &none);
    assert_ok(s_create_topic(self, "orders", 1));
}

static void test_coordinator_disk__takes_office_once_a_full_disk_has_space(void **state)
{
    struct fixture *self = *state;
    const struct weft_crash_disk_faults full = {.write_enospc = 1000000}, none = {0};
    assert_ok(s_create(self));
    weft_crash_disk_faults_set(self->disk, &full);
    const struct weft_world *world = weft_fake_world_of(self->world);
    world->ops->start(world->self);
    weft_fake_world_advance(self->world, 2 * SECOND_US);
    assert_err(s_register(self, 1, 1), WEFT_ERR_COORDINATOR_LOADING);
    weft_crash_disk_faults_set(self->disk, &none);
    weft_fake_world_advance(self->world, SECOND_US);
    assert_ok(s_register(self, 1, 1));
    assert_ok(s_create_topic(self, "orders", 1));
}

static void test_coordinator_disk__a_clean_stop_answers_what_it_took(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    assert_ok(s_register(self, 1, 1));
    s_create_topic_request(self, "orders", 1, NULL, NULL);
    weft_fake_world_queue(self->world, 0, ADMIN, false, weft_buf_slice(&self->header), WEFT_SLICE_NIL, false);
    weft_buf_clear(&self->header);
    assert_true(weft_fake_world_stop(self->world, COORDINATOR_PART, 5 * SECOND_US));
    assert_non_null(s_next_answer(self));
    assert_err(s_create_topic(self, "late", 1), WEFT_ERR_STOPPING);
    assert_slice(s_status(self).health, "stopping");
    assert_true(weft_fake_world_stop(self->world, SYNC_PART, 5 * SECOND_US));
    s_down(self);
    weft_rand_t rand;
    weft_rand_init(&rand, 5);
    weft_crash_disk_crash(self->disk, &rand);
    s_start(self);
    assert_int_equal(s_metadata(self).topics_count, 1);
}

static void test_coordinator_disk__a_directory_is_one_coordinators(void **state)
{
    struct fixture *self = *state;
    s_start(self);
    struct fixture other = *self;
    other.world = NULL;
    other.node = NULL;
    assert_err(s_create(&other), WEFT_ERR_LOCKED);
    s_down(&other);
    s_down(self);
    weft_crash_disk_kill(self->disk);
    assert_ok(weft_options_set(self->options, "id", "2", NULL));
    assert_err(s_create(self), WEFT_ERR_WRONG_DIRECTORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_coordinator_disk__what_it_answered_survives_power_loss),
        TEST(test_coordinator_disk__snapshots_carry_the_state_over_starts),
        TEST(test_coordinator_disk__a_flipped_bit_is_refused_or_harmless),
        TEST(test_coordinator_disk__a_failed_sync_ends_it),
        TEST(test_coordinator_disk__a_stuck_sync_ends_it_after_three_seconds),
        TEST(test_coordinator_disk__a_full_disk_refuses_changes_until_there_is_space),
        TEST(test_coordinator_disk__takes_office_once_a_full_disk_has_space),
        TEST(test_coordinator_disk__a_clean_stop_answers_what_it_took),
        TEST(test_coordinator_disk__a_directory_is_one_coordinators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
