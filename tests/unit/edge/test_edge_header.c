// SPDX-License-Identifier: MPL-2.0
// The id in a header, and nothing else of it.
#include "nodes/edge/header.h"
#include "tests/support/test.h"

#include <string.h>
#include <weft_gen/messages.h>

static weft_buf_t s_out;

static weft_err_t s_patch(const char *bytes, size_t size, uint64_t id)
{
    weft_buf_clear(&s_out);
    return weft_edge_header_with_id(weft_slice(bytes, size), &weft_guard_header, id, &s_out, NULL);
}

static void s_expect(const char *bytes, size_t size)
{
    assert_int_equal(s_out.size, size);
    assert_memory_equal(s_out.data, bytes, size);
}

#define PATCH(text, id) s_patch(text, sizeof(text) - 1, id)
#define EXPECT(text) s_expect(text, sizeof(text) - 1)

static void test_edge_header__the_id_is_replaced_and_all_else_stays(void **state)
{
    assert_ok(PATCH("\x83\xa3"
                    "api\xa5"
                    "fetch\xa2id\x07\xa3new\x92\x01\xc0",
                    0x0102030405060708));
    EXPECT("\x83\xa2id\xcf\x01\x02\x03\x04\x05\x06\x07\x08\xa3"
           "api\xa5"
           "fetch\xa3new\x92\x01\xc0");
    weft_edge_header_set_id(&s_out, 9);
    EXPECT("\x83\xa2id\xcf\0\0\0\0\0\0\0\x09\xa3"
           "api\xa5"
           "fetch\xa3new\x92\x01\xc0");
}

static void test_edge_header__one_without_an_id_gets_one_and_one_with_two_keeps_none(void **state)
{
    assert_ok(PATCH("\x80", 1));
    EXPECT("\x81\xa2id\xcf\0\0\0\0\0\0\0\x01");
    assert_ok(PATCH("\x82\xa2id\x05\xc4\x02id\xcd\x01\x00", 1));
    EXPECT("\x81\xa2id\xcf\0\0\0\0\0\0\0\x01");
}

static void test_edge_header__a_map_that_grows_beyond_its_head_gets_another(void **state)
{
    char map[64] = "\x8f";
    for (int i = 0; i < 15; i++) memcpy(map + 1 + 3 * i, "\xa1x\x01", 3);
    assert_ok(s_patch(map, 1 + 3 * 15, 1));
    assert_memory_equal(s_out.data, "\xde\x00\x10\xa2id\xcf", 7);
    weft_edge_header_set_id(&s_out, 0xff);
    assert_int_equal(s_out.data[3 + 4 + 7], 0xff);
    assert_memory_equal(s_out.data + 3 + 12, map + 1, 3 * 15);
}

static void test_edge_header__what_is_no_map_is_refused(void **state)
{
    assert_err(PATCH("", 1), WEFT_ERR_BAD_FRAME);
    assert_err(PATCH("\x91\x01", 1), WEFT_ERR_BAD_FRAME);
    assert_err(PATCH("\x81\xa2id", 1), WEFT_ERR_BAD_FRAME);
    assert_err(PATCH("\x80\x80", 1), WEFT_ERR_BAD_FRAME);
    assert_err(PATCH("\xdf\x0f\xff\xff\xff", 1), WEFT_ERR_BAD_FRAME);
}

static void test_edge_header__what_comes_out_is_read_as_before(void **state)
{
    struct weft_produce_request request, read;
    struct weft_error error;
    weft_codec_t codec;
    weft_buf_t header;
    weft_codec_init(&codec);
    weft_buf_init(&header);
    weft_produce_request_init(&request);
    request.id = 5;
    request.topic = weft_slice_text("orders");
    request.partition = 3;
    request.durable = false;
    weft_produce_request_encode(&request, &header);
    assert_ok(s_patch((const char *) header.data, header.size, UINT64_MAX));
    assert_ok(weft_produce_request_decode(&codec, weft_buf_slice(&s_out), &read, &error));
    assert_true(read.id == UINT64_MAX && read.partition == 3 && !read.durable);
    assert_slice(read.topic, "orders");
    weft_buf_fini(&header);
    weft_codec_fini(&codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edge_header__the_id_is_replaced_and_all_else_stays),
        cmocka_unit_test(test_edge_header__one_without_an_id_gets_one_and_one_with_two_keeps_none),
        cmocka_unit_test(test_edge_header__a_map_that_grows_beyond_its_head_gets_another),
        cmocka_unit_test(test_edge_header__what_is_no_map_is_refused),
        cmocka_unit_test(test_edge_header__what_comes_out_is_read_as_before),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    weft_buf_fini(&s_out);
    return failed;
}
