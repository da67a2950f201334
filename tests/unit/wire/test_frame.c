// SPDX-License-Identifier: MPL-2.0
#include "lib/wire/frame.h"

#include "tests/support/test.h"

#include <pthread.h>
#include <string.h>

static void test_frame__moves_leave_the_source_empty(void **state)
{
    weft_frame_t a, b = WEFT_FRAME_EMPTY;
    weft_frame_init_copy(&a, weft_slice_text("bytes"));
    uint8_t *data = a.data;
    weft_frame_move(&b, &a);
    assert_null(a.ops);
    assert_null(a.data);
    assert_int_equal(a.size, 0);
    assert_ptr_equal(b.data, data);
    assert_slice(weft_frame_slice(&b), "bytes");
    weft_frame_drop(&a); // empty: allowed
    weft_frame_drop(&b);
    assert_null(b.ops);
}

static void test_frame__takes_over_a_buf_without_a_copy(void **state)
{
    weft_buf_t buf;
    weft_buf_init(&buf);
    weft_buf_append(&buf, "bytes", 5);
    uint8_t *data = buf.data;
    weft_frame_t frame;
    weft_frame_init_buf(&frame, &buf);
    assert_ptr_equal(frame.data, data);
    assert_int_equal(buf.size + buf.capacity, 0);
    weft_buf_append(&buf, "usable", 6);
    weft_frame_shorten(&frame, 3);
    assert_slice(weft_frame_slice(&frame), "byt");
    weft_frame_drop(&frame);
    weft_buf_fini(&buf);

    weft_frame_init_buf(&frame, &buf); // an empty one: a frame of no bytes
    assert_non_null(frame.data);
    assert_int_equal(frame.size, 0);
    weft_frame_drop(&frame);
}

// A frame whose bytes lie in its own storage, as a message of a transport may: moving must mend `data`.
static int s_dropped;

static void s_inline_move(weft_frame_t *to, weft_frame_t *from)
{
    memcpy(to->storage, from->storage, sizeof to->storage);
    to->data = to->storage;
}

static void s_inline_drop(weft_frame_t *self)
{
    s_dropped += self->data == self->storage;
}

static void test_frame__moving_asks_the_owner_of_the_bytes(void **state)
{
    static const struct weft_frame_ops ops = {s_inline_move, s_inline_drop};
    weft_frame_t a = {.ops = &ops, .size = 4, .shared = true}, b = WEFT_FRAME_EMPTY;
    a.data = a.storage;
    memcpy(a.storage, "tiny", 4);
    weft_frame_move(&b, &a);
    assert_ptr_equal(b.data, b.storage);
    assert_true(b.shared);
    assert_slice(weft_frame_slice(&b), "tiny");
    weft_frame_drop(&b);
    assert_int_equal(s_dropped, 1);
}

static void test_frame__pool_gives_buffers_again(void **state)
{
    weft_frame_pool_t *pool = weft_frame_pool_new(1000, 2);
    weft_frame_t frames[3];
    uint8_t *seen[3];
    for (int i = 0; i < 3; i++) {
        weft_frame_pool_take(pool, 1000, &frames[i]);
        memset(frames[i].data, i, 1000);
        seen[i] = frames[i].data;
    }
    for (int i = 0; i < 3; i++) weft_frame_drop(&frames[i]); // the third is one too many to keep
    weft_frame_pool_take(pool, 10, &frames[0]);
    weft_frame_pool_take(pool, 10, &frames[1]);
    assert_ptr_equal(frames[0].data, seen[1]);
    assert_ptr_equal(frames[1].data, seen[0]);
    weft_frame_pool_take(pool, 1001, &frames[2]); // larger than its buffers: made for it
    assert_int_equal(weft_frame_pool_outside_bytes(pool), 3001);
    memset(frames[2].data, 7, 1001);
    weft_frame_pool_destroy(&pool);
    assert_null(pool);
    for (int i = 0; i < 3; i++) { // outlive the pool's owner
        memset(frames[i].data, 1, frames[i].size);
        weft_frame_drop(&frames[i]);
    }
}

static void *s_drop_all(void *context)
{
    weft_frame_t *frames = context;
    for (int i = 0; i < 1000; i++) weft_frame_drop(&frames[i]);
    return NULL;
}

static void test_frame__pool_takes_frames_back_from_any_thread(void **state)
{
    weft_frame_pool_t *pool = weft_frame_pool_new(64, 100);
    weft_frame_t *frames = weft_calloc(2000, sizeof *frames);
    for (int i = 0; i < 2000; i++) weft_frame_pool_take(pool, 64, &frames[i]);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, s_drop_all, frames + 1000 * i), 0);
    for (int i = 0; i < 100; i++) {
        weft_frame_t frame;
        weft_frame_pool_take(pool, 64, &frame);
        weft_frame_drop(&frame);
    }
    weft_frame_pool_destroy(&pool); // while they come back
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    free(frames);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame__moves_leave_the_source_empty),
        cmocka_unit_test(test_frame__takes_over_a_buf_without_a_copy),
        cmocka_unit_test(test_frame__moving_asks_the_owner_of_the_bytes),
        cmocka_unit_test(test_frame__pool_gives_buffers_again),
        cmocka_unit_test(test_frame__pool_takes_frames_back_from_any_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
