// SPDX-License-Identifier: MPL-2.0
#include "lib/base/disk.h"

#include "tests/support/fault_disk.h"
#include "tests/support/test.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char s_directory[WEFT_TEST_PATH_BYTES];

static int s_setup(void **state)
{
    weft_test_directory_make(s_directory);
    return 0;
}

static int s_teardown(void **state)
{
    weft_test_directory_remove(s_directory);
    return 0;
}

static const struct weft_disk_ops *s_ops(void)
{
    return weft_disk_posix()->ops;
}

static weft_file_t *s_open(const char *name, enum weft_open_mode mode)
{
    weft_file_t *file = NULL;
    assert_ok(s_ops()->open(weft_disk_posix(), weft_test_path(s_directory, name), mode, &file));
    return file;
}

static void test_disk__reads_back_what_was_written_in_slices(void **state)
{
    enum { SLICES = 300 }; // more than one pwritev takes
    weft_slice_t slices[SLICES];
    for (size_t i = 0; i < SLICES; i++) slices[i] = weft_slice("0123456789", i % 11);
    weft_file_t *file = s_open("f", WEFT_OPEN_CREATE);
    assert_ok(s_ops()->pwritev(file, slices, SLICES, 5));
    uint8_t read[4096], *at = read + 5;
    size_t got;
    assert_ok(s_ops()->pread(file, read, sizeof read, 0, &got));
    for (size_t i = 0; i < SLICES; at += slices[i++].size) {
        if (slices[i].size) assert_memory_equal(at, slices[i].data, slices[i].size);
    }
    assert_int_equal(got, at - read);
    int64_t bytes;
    assert_ok(s_ops()->size(file, &bytes));
    assert_int_equal(bytes, got);
    assert_ok(s_ops()->sync(file));
    s_ops()->close(&file);
    assert_null(file);
}

static void test_disk__reads_less_only_at_the_end(void **state)
{
    weft_file_t *file = s_open("f", WEFT_OPEN_CREATE);
    weft_slice_t text = weft_slice_text("0123456789");
    assert_ok(s_ops()->pwritev(file, &text, 1, 0));
    char read[10];
    size_t got = 99;
    assert_ok(s_ops()->pread(file, read, 10, 4, &got));
    assert_int_equal(got, 6);
    assert_ok(s_ops()->pread(file, read, 10, 100, &got));
    assert_int_equal(got, 0);
    assert_ok(s_ops()->truncate(file, 3));
    assert_ok(s_ops()->pread(file, read, 10, 0, &got));
    assert_int_equal(got, 3);
    s_ops()->close(&file);
}

static void test_disk__preallocating_changes_nothing_that_is_read(void **state)
{
    weft_file_t *file = s_open("f", WEFT_OPEN_CREATE);
    weft_slice_t text = weft_slice_text("abc");
    assert_ok(s_ops()->pwritev(file, &text, 1, 0));
    assert_ok(s_ops()->preallocate(file, 1 << 20));
    int64_t bytes;
    assert_ok(s_ops()->size(file, &bytes));
    assert_int_equal(bytes, 3);
    s_ops()->close(&file);
}

static void test_disk__modes_say_whether_a_file_must_exist(void **state)
{
    weft_file_t *file = NULL;
    const char *path = weft_test_path(s_directory, "absent");
    assert_err(s_ops()->open(weft_disk_posix(), path, WEFT_OPEN_READ, &file), WEFT_ERR_NOT_FOUND);
    assert_err(s_ops()->open(weft_disk_posix(), path, WEFT_OPEN_WRITE, &file), WEFT_ERR_NOT_FOUND);
    assert_null(file);
    file = s_open("absent", WEFT_OPEN_CREATE);
    s_ops()->close(&file);
    file = s_open("absent", WEFT_OPEN_READ);
    weft_slice_t text = weft_slice_text("x");
    assert_err(s_ops()->pwritev(file, &text, 1, 0), WEFT_ERR_DISK_FAILED);
    s_ops()->close(&file);
}

static void test_disk__a_referenced_file_outlives_its_closing(void **state)
{
    weft_file_t *file = s_open("f", WEFT_OPEN_CREATE), *held = file;
    s_ops()->ref(file);
    s_ops()->close(&file);
    assert_ok(s_ops()->sync(held));
    s_ops()->close(&held);
    s_ops()->close(&held); // NULL: nothing
}

static void test_disk__mkdir_makes_parents_and_takes_what_is_there(void **state)
{
    const struct weft_disk *disk = weft_disk_posix();
    assert_ok(s_ops()->mkdir(disk, weft_test_path(s_directory, "a/b//c/")));
    assert_ok(s_ops()->mkdir(disk, weft_test_path(s_directory, "a/b/c")));
    assert_err(s_ops()->rmdir(disk, weft_test_path(s_directory, "a/b")), WEFT_ERR_DISK_FAILED);
    assert_ok(s_ops()->rmdir(disk, weft_test_path(s_directory, "a/b/c")));
    assert_ok(s_ops()->sync_directory(disk, weft_test_path(s_directory, "a/b")));
    weft_file_t *file = s_open("a/file", WEFT_OPEN_CREATE);
    s_ops()->close(&file);
    assert_err(s_ops()->mkdir(disk, weft_test_path(s_directory, "a/file")), WEFT_ERR_DISK_FAILED);
    assert_err(s_ops()->mkdir(disk, weft_test_path(s_directory, "a/file/d")), WEFT_ERR_DISK_FAILED);
}

static void s_add_name(void *context, const char *name, bool is_directory)
{
    weft_buf_printf(context, "%s%s ", name, is_directory ? "/" : "");
}

static void test_disk__lists_sorted(void **state)
{
    static const char *const names[] = {"20", "1", "b", "a"};
    for (size_t i = 0; i < 4; i++) {
        weft_file_t *file = s_open(names[i], WEFT_OPEN_CREATE);
        s_ops()->close(&file);
    }
    assert_ok(s_ops()->mkdir(weft_disk_posix(), weft_test_path(s_directory, "10")));
    weft_buf_t listed;
    weft_buf_init(&listed);
    assert_ok(s_ops()->list(weft_disk_posix(), s_directory, s_add_name, &listed));
    assert_slice(weft_buf_slice(&listed), "1 10/ 20 a b ");
    weft_buf_fini(&listed);
    assert_err(s_ops()->list(weft_disk_posix(), weft_test_path(s_directory, "absent"), s_add_name, &listed),
               WEFT_ERR_NOT_FOUND);
}

static void test_disk__a_lock_is_held_by_one_and_names_it(void **state)
{
    const struct weft_disk *disk = weft_disk_posix();
    const char *path = weft_test_path(s_directory, "lock");
    weft_file_t *lock = NULL, *second = NULL;
    assert_ok(s_ops()->lock(disk, path, &lock));
    assert_err(s_ops()->lock(disk, path, &second), WEFT_ERR_LOCKED);
    assert_null(second);
    weft_buf_t content;
    weft_buf_init(&content);
    assert_ok(weft_disk_read_file(disk, path, 100, &content));
    char pid[32];
    snprintf(pid, sizeof pid, "%ld\n", (long) getpid());
    assert_slice(weft_buf_slice(&content), pid);
    weft_buf_fini(&content);
    s_ops()->close(&lock);
    assert_ok(s_ops()->lock(disk, path, &second));
    s_ops()->close(&second);
}

static void test_disk__a_lock_dies_with_its_process(void **state)
{
    const char *path = weft_test_path(s_directory, "lock");
    pid_t child = fork();
    if (child == 0) {
        weft_file_t *lock;
        _exit(s_ops()->lock(weft_disk_posix(), path, &lock) == WEFT_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    weft_file_t *lock = NULL;
    assert_ok(s_ops()->lock(weft_disk_posix(), path, &lock));
    s_ops()->close(&lock);
}

static void test_disk__free_bytes_are_told(void **state)
{
    int64_t bytes = -1;
    assert_ok(s_ops()->free_bytes(weft_disk_posix(), s_directory, &bytes));
    assert_true(bytes >= 0);
    assert_err(s_ops()->free_bytes(weft_disk_posix(), weft_test_path(s_directory, "absent"), &bytes),
               WEFT_ERR_NOT_FOUND);
}

static void test_disk__a_whole_file_system_syncs_from_any_directory_of_it(void **state)
{
    weft_file_t *file = s_open("f", WEFT_OPEN_CREATE);
    weft_slice_t text = weft_slice_text("abc");
    assert_ok(s_ops()->pwritev(file, &text, 1, 0));
    assert_ok(s_ops()->sync_all(weft_disk_posix(), s_directory));
    s_ops()->close(&file);
    assert_err(s_ops()->sync_all(weft_disk_posix(), weft_test_path(s_directory, "absent")), WEFT_ERR_NOT_FOUND);
}

static void test_disk__read_file_refuses_beyond_its_limit(void **state)
{
    const struct weft_disk *disk = weft_disk_posix();
    const char *path = weft_test_path(s_directory, "f");
    weft_buf_t content;
    weft_buf_init(&content);
    weft_buf_append(&content, "old", 3);
    assert_ok(weft_disk_replace_file(disk, path, weft_slice_text("0123456789")));
    assert_err(weft_disk_read_file(disk, path, 9, &content), WEFT_ERR_TOO_LARGE);
    assert_slice(weft_buf_slice(&content), "old");
    assert_ok(weft_disk_read_file(disk, path, 10, &content));
    assert_slice(weft_buf_slice(&content), "0123456789");
    assert_ok(weft_disk_replace_file(disk, path, weft_slice_text("")));
    assert_ok(weft_disk_read_file(disk, path, 0, &content));
    assert_slice(weft_buf_slice(&content), "");
    weft_buf_fini(&content);
}

static void test_disk__remove_tree_takes_all_of_it(void **state)
{
    const struct weft_disk *disk = weft_disk_posix();
    assert_ok(s_ops()->mkdir(disk, weft_test_path(s_directory, "t/a/b")));
    weft_file_t *file = s_open("t/a/b/f", WEFT_OPEN_CREATE);
    s_ops()->close(&file);
    file = s_open("t/g", WEFT_OPEN_CREATE);
    s_ops()->close(&file);
    assert_ok(weft_disk_remove_tree(disk, weft_test_path(s_directory, "t")));
    assert_err(weft_disk_remove_tree(disk, weft_test_path(s_directory, "t")), WEFT_ERR_NOT_FOUND);
}

// Whichever call fails: the old content is there, or the new one, whole; and no temporary file stays unless its removal
// failed too.
// Waits until the size is at most `most`; `file` was unlinked.
static void s_await_size(weft_file_t *file, int64_t most)
{
    int64_t bytes = INT64_MAX;
    for (time_t end = time(NULL) + 30; bytes > most; sched_yield()) {
        assert_true(time(NULL) < end);
        assert_ok(s_ops()->size(file, &bytes));
    }
}

static void test_disk__a_large_file_goes_bit_by_bit_behind_its_name(void **state)
{
    const int64_t large = 40 << 20;
    int64_t bytes;
    weft_file_t *first = s_open("first", WEFT_OPEN_CREATE), *second = s_open("second", WEFT_OPEN_CREATE), *none;
    assert_ok(s_ops()->truncate(first, large));
    assert_ok(s_ops()->truncate(second, large));
    char kept[WEFT_TEST_PATH_BYTES];
    snprintf(kept, sizeof kept, "%s", weft_test_path(s_directory, "kept"));
    assert_int_equal(link(weft_test_path(s_directory, "second"), kept), 0);
    assert_ok(s_ops()->unlink(weft_disk_posix(), weft_test_path(s_directory, "second")));
    assert_ok(s_ops()->unlink(weft_disk_posix(), weft_test_path(s_directory, "first")));
    assert_err(s_ops()->open(weft_disk_posix(), weft_test_path(s_directory, "first"), WEFT_OPEN_READ, &none),
               WEFT_ERR_NOT_FOUND);
    s_await_size(first, 4 << 20); // the rest with the last close: ours
    assert_ok(s_ops()->size(second, &bytes));
    assert_int_equal(bytes, large); // it has another name
    s_ops()->close(&first);
    s_ops()->close(&second);
    assert_err(s_ops()->unlink(weft_disk_posix(), weft_test_path(s_directory, "first")), WEFT_ERR_NOT_FOUND);
}

static void test_disk__replace_file_keeps_old_or_new_at_any_fault(void **state)
{
    weft_fault_disk_t *fault_disk = weft_fault_disk_new(weft_disk_posix());
    const struct weft_disk *disk = weft_fault_disk_of(fault_disk);
    char *path = weft_strdup(weft_test_path(s_directory, "f"));
    weft_buf_t content;
    weft_buf_init(&content);
    bool failed = true;
    int refused = 0;
    for (uint64_t nth = 1; failed; nth++) {
        assert_ok(weft_disk_replace_file(weft_disk_posix(), path, weft_slice_text("old content")));
        struct weft_fault fault = {
            .kinds = WEFT_FAULT_ALL, .nth = nth, .times = 1, .err = WEFT_ERR_DISK_FULL, .short_bytes = 2};
        weft_fault_disk_arm(fault_disk, &fault);
        failed = weft_disk_replace_file(disk, path, weft_slice_text("new")) != WEFT_OK;
        refused += failed;
        assert_int_equal(failed, weft_fault_disk_fired(fault_disk) > 0);
        weft_fault_disk_disarm(fault_disk);
        assert_ok(weft_disk_read_file(disk, path, 100, &content));
        bool is_new = weft_slice_is_text(weft_buf_slice(&content), "new");
        assert_true(is_new || weft_slice_is_text(weft_buf_slice(&content), "old content"));
        if (!failed) assert_true(is_new);
        weft_file_t *file;
        assert_err(disk->ops->open(disk, weft_test_path(s_directory, "f.tmp"), WEFT_OPEN_READ, &file),
                   WEFT_ERR_NOT_FOUND);
    }
    assert_int_equal(refused, 6); // open, truncate, pwritev, sync, rename, sync_directory
    free(path);
    weft_buf_fini(&content);
    weft_fault_disk_destroy(&fault_disk);
}

static void test_disk__fault_disk_fails_what_it_was_told_to(void **state)
{
    weft_fault_disk_t *fault_disk = weft_fault_disk_new(weft_disk_posix());
    const struct weft_disk *disk = weft_fault_disk_of(fault_disk);
    weft_file_t *log = NULL, *other = NULL;
    assert_ok(disk->ops->open(disk, weft_test_path(s_directory, "a.log"), WEFT_OPEN_CREATE, &log));
    assert_ok(disk->ops->open(disk, weft_test_path(s_directory, "a.index"), WEFT_OPEN_CREATE, &other));
    struct weft_fault fault = {.kinds = WEFT_FAULT_PWRITEV | WEFT_FAULT_SYNC,
                               .nth = 2,
                               .times = 2,
                               .err = WEFT_ERR_DISK_FAILED,
                               .short_bytes = 4,
                               .path_suffix = ".log"};
    weft_fault_disk_arm(fault_disk, &fault);
    weft_slice_t slices[] = {weft_slice_text("abc"), weft_slice_text("def")};
    assert_ok(disk->ops->pwritev(log, slices, 2, 0));
    assert_ok(disk->ops->pwritev(other, slices, 2, 0));
    assert_err(disk->ops->pwritev(log, slices, 2, 6), WEFT_ERR_DISK_FAILED);
    assert_ok(disk->ops->sync(other));
    assert_err(disk->ops->sync(log), WEFT_ERR_DISK_FAILED);
    assert_ok(disk->ops->sync(log));
    int64_t bytes;
    assert_ok(disk->ops->size(log, &bytes));
    assert_int_equal(bytes, 10); // 6, and the 4 of the one that was cut short
    assert_int_equal(weft_fault_disk_fired(fault_disk), 2);
    assert_int_equal(weft_fault_disk_calls(fault_disk, WEFT_FAULT_PWRITEV), 3);
    assert_int_equal(weft_fault_disk_calls(fault_disk, WEFT_FAULT_CHANGES), 6);
    weft_fault_disk_calls_reset(fault_disk);
    assert_int_equal(weft_fault_disk_calls(fault_disk, WEFT_FAULT_ALL), 0);
    disk->ops->close(&log);
    disk->ops->close(&other);
    weft_fault_disk_destroy(&fault_disk);
}

#define s_test(function) cmocka_unit_test_setup_teardown(function, s_setup, s_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        s_test(test_disk__reads_back_what_was_written_in_slices),
        s_test(test_disk__reads_less_only_at_the_end),
        s_test(test_disk__preallocating_changes_nothing_that_is_read),
        s_test(test_disk__modes_say_whether_a_file_must_exist),
        s_test(test_disk__a_referenced_file_outlives_its_closing),
        s_test(test_disk__mkdir_makes_parents_and_takes_what_is_there),
        s_test(test_disk__lists_sorted),
        s_test(test_disk__a_lock_is_held_by_one_and_names_it),
        s_test(test_disk__a_lock_dies_with_its_process),
        s_test(test_disk__free_bytes_are_told),
        s_test(test_disk__a_whole_file_system_syncs_from_any_directory_of_it),
        s_test(test_disk__read_file_refuses_beyond_its_limit),
        s_test(test_disk__remove_tree_takes_all_of_it),
        s_test(test_disk__a_large_file_goes_bit_by_bit_behind_its_name),
        s_test(test_disk__replace_file_keeps_old_or_new_at_any_fault),
        s_test(test_disk__fault_disk_fails_what_it_was_told_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
