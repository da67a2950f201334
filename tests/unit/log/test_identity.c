// SPDX-License-Identifier: MPL-2.0
#include "../../../lib/base/crc32c.h"
#include "../../../lib/log/identity.h"
#include "../../../lib/testing/crash_disk.h"
#include "../../support/test.h"

#include <weft_gen/records.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    weft_crash_disk_t *crash;
    const struct weft_disk *disk;
    struct weft_identity_claim claim;
    struct weft_error error;
};

static int s_setup(void **state)
{
    struct fixture *self = calloc(1, sizeof *self);
    self->crash = weft_crash_disk_new(1);
    self->disk = weft_crash_disk_of(self->crash);
    self->claim = (struct weft_identity_claim){.node = "broker", .node_id = 3, .directory_id = {{9}}, .now_ms = 1234};
    *state = self;
    return 0;
}

static int s_teardown(void **state)
{
    struct fixture *self = *state;
    weft_crash_disk_destroy(&self->crash);
    free(self);
    return 0;
}

static void s_refused(struct fixture *self, weft_err_t expected, const char *sentence)
{
    weft_identity_t *identity = NULL;
    assert_err(weft_identity_open(self->disk, "/data", &self->claim, &identity, &self->error), expected);
    assert_null(identity);
    if (!strstr(self->error.text, sentence)) fail_msg("%s", self->error.text);
}

static void s_make(struct fixture *self)
{
    weft_identity_t *identity;
    assert_ok(weft_identity_open(self->disk, "/data", &self->claim, &identity, &self->error));
    weft_identity_destroy(&identity);
}

static void test_identity__a_new_directory_is_made_and_known_again(void **state)
{
    struct fixture *self = *state;
    weft_identity_t *identity;
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    assert_ok(weft_identity_open(self->disk, "/data", &self->claim, &identity, &self->error));
    assert_true(weft_identity_made(identity));
    assert_true(weft_id_is_zero(weft_identity_cluster_id(identity)));
    weft_identity_destroy(&identity);
    weft_crash_disk_crash(self->crash, &rand);

    weft_id_t first = self->claim.directory_id;
    self->claim.directory_id = (weft_id_t){{77}};
    assert_ok(weft_identity_open(self->disk, "/data", &self->claim, &identity, &self->error));
    assert_false(weft_identity_made(identity));
    assert_true(weft_id_equal(weft_identity_directory_id(identity), first));
    assert_string_equal(weft_identity_directory(identity), "/data");
    weft_identity_destroy(&identity);
}

static void test_identity__another_node_is_refused(void **state)
{
    struct fixture *self = *state;
    s_make(self);
    self->claim.node_id = 4;
    s_refused(self, WEFT_ERR_WRONG_DIRECTORY, "belongs to broker 3, not to broker 4");
    self->claim.node_id = 3;
    self->claim.node = "coordinator";
    s_refused(self, WEFT_ERR_WRONG_DIRECTORY, "belongs to broker 3, not to coordinator 3");
    self->claim.node = "broker";
    s_make(self);
}

static void test_identity__a_cluster_is_joined_once_for_ever(void **state)
{
    struct fixture *self = *state;
    weft_identity_t *identity;
    weft_rand_t rand;
    const weft_id_t ours = {{1, 2}}, theirs = {{3, 4}};
    weft_rand_init(&rand, 1);
    assert_ok(weft_identity_open(self->disk, "/data", &self->claim, &identity, &self->error));
    assert_ok(weft_identity_join(identity, ours, &self->error));
    assert_ok(weft_identity_join(identity, ours, &self->error));
    assert_err(weft_identity_join(identity, theirs, &self->error), WEFT_ERR_WRONG_CLUSTER);
    assert_non_null(strstr(self->error.text, "01020000"));
    weft_identity_destroy(&identity);
    weft_crash_disk_crash(self->crash, &rand);
    self->claim.cluster_id = theirs;
    s_refused(self, WEFT_ERR_WRONG_CLUSTER, "belongs to cluster 0102");
    self->claim.cluster_id = ours;
    assert_ok(weft_identity_open(self->disk, "/data", &self->claim, &identity, &self->error));
    assert_true(weft_id_equal(weft_identity_cluster_id(identity), ours));
    weft_identity_destroy(&identity);
}

static void test_identity__a_newer_format_is_refused(void **state)
{
    struct fixture *self = *state;
    struct weft_node_identity_record record;
    weft_buf_t bytes;
    s_make(self);
    weft_node_identity_record_init(&record);
    record.format = 2;
    record.node = weft_slice_text("broker");
    record.node_id = 3;
    weft_buf_init(&bytes);
    weft_node_identity_record_encode(&record, &bytes);
    uint32_t crc = weft_crc32c(0, bytes.data, bytes.size);
    const uint8_t tail[5] = {0xce, (uint8_t) (crc >> 24), (uint8_t) (crc >> 16), (uint8_t) (crc >> 8), (uint8_t) crc};
    weft_buf_append(&bytes, tail, sizeof tail);
    assert_ok(weft_disk_replace_file(self->disk, "/data/identity", weft_buf_slice(&bytes)));
    s_refused(self, WEFT_ERR_WRONG_FORMAT, "has format 2, this build reads up to 1");
    weft_buf_fini(&bytes);
}

static void test_identity__any_flipped_bit_is_damage(void **state)
{
    struct fixture *self = *state;
    weft_rand_t rand;
    weft_buf_t good;
    weft_rand_init(&rand, 2);
    weft_buf_init(&good);
    s_make(self);
    assert_ok(weft_disk_read_file(self->disk, "/data/identity", 4096, &good));
    for (int i = 0; i < 200; i++) {
        assert_true(weft_crash_disk_flip(self->crash, &rand, "/identity", NULL, 0));
        s_refused(self, WEFT_ERR_DAMAGED, "/data/identity");
        assert_ok(weft_disk_replace_file(self->disk, "/data/identity", weft_buf_slice(&good)));
    }
    s_make(self);
    assert_ok(weft_disk_replace_file(self->disk, "/data/identity", weft_slice(good.data, 3)));
    s_refused(self, WEFT_ERR_DAMAGED, "/data/identity");
    weft_buf_fini(&good);
}

static void test_identity__a_locked_directory_names_the_process(void **state)
{
    char directory[WEFT_TEST_PATH_BYTES], sentence[64];
    struct weft_error error;
    weft_identity_t *identity, *second = NULL;
    const struct weft_identity_claim claim = {.node = "broker", .node_id = 1};
    weft_test_directory_make(directory);
    assert_ok(weft_identity_open(weft_disk_posix(), directory, &claim, &identity, &error));
    assert_err(weft_identity_open(weft_disk_posix(), directory, &claim, &second, &error), WEFT_ERR_LOCKED);
    snprintf(sentence, sizeof sentence, "is in use by process %d", (int) getpid());
    if (!strstr(error.text, sentence)) fail_msg("%s", error.text);
    weft_identity_destroy(&identity);
    assert_ok(weft_identity_open(weft_disk_posix(), directory, &claim, &second, &error));
    weft_identity_destroy(&second);
    weft_test_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_identity__a_new_directory_is_made_and_known_again, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_identity__another_node_is_refused, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_identity__a_cluster_is_joined_once_for_ever, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_identity__a_newer_format_is_refused, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_identity__any_flipped_bit_is_damage, s_setup, s_teardown),
        cmocka_unit_test_setup_teardown(test_identity__a_locked_directory_names_the_process, s_setup, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
