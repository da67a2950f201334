// SPDX-License-Identifier: MPL-2.0
#include "lib/base/crc32c.h"

#include "lib/base/rand.h"
#include "tests/support/test.h"

#include <string.h>

static void s_expect(const uint8_t *data, size_t size, uint32_t crc)
{
    assert_int_equal(weft_crc32c(0, data, size), crc);
    assert_int_equal(weft_crc32c_portable(0, data, size), crc);
}

// RFC 3720 B.4; its bytes are given there in the order in which they are sent.
static void test_crc32c__gives_the_values_of_rfc_3720(void **state)
{
    uint8_t data[48];
    memset(data, 0, 32);
    s_expect(data, 32, 0x8a9136aa);
    memset(data, 0xff, 32);
    s_expect(data, 32, 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) data[i] = i;
    s_expect(data, 32, 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++) data[i] = 31 - i;
    s_expect(data, 32, 0x113fdb5c);
    static const uint8_t read_command[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                             0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                             0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
    s_expect(read_command, 48, 0xd9963a56);
    s_expect((const uint8_t *) "123456789", 9, 0xe3069283);
}

static void test_crc32c__nothing_changes_nothing(void **state)
{
    assert_int_equal(weft_crc32c(0, "", 0), 0);
    assert_int_equal(weft_crc32c(0x12345678, "", 0), 0x12345678);
}

static void test_crc32c__both_ways_agree_at_every_size_and_alignment(void **state)
{
    enum { BYTES = 20000 };
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    uint8_t *data = weft_alloc(BYTES + 64);
    for (size_t i = 0; i < BYTES + 64; i++) data[i] = (uint8_t) weft_rand_next(&rand);
    for (size_t size = 0; size < 2000; size++)
        assert_int_equal(weft_crc32c(7, data + size % 64, size), weft_crc32c_portable(7, data + size % 64, size));
    for (int i = 0; i < 2000; i++) {
        size_t size = weft_rand_below(&rand, BYTES), at = weft_rand_below(&rand, 64);
        uint32_t begin = (uint32_t) weft_rand_next(&rand);
        assert_int_equal(weft_crc32c(begin, data + at, size), weft_crc32c_portable(begin, data + at, size));
    }
    free(data);
}

static void test_crc32c__can_be_extended_at_any_place(void **state)
{
    uint8_t data[7000];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t) (i * 31 >> 3);
    uint32_t whole = weft_crc32c(0, data, sizeof data);
    for (size_t cut = 0; cut <= sizeof data; cut += 13)
        assert_int_equal(weft_crc32c(weft_crc32c(0, data, cut), data + cut, sizeof data - cut), whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c__gives_the_values_of_rfc_3720),
        cmocka_unit_test(test_crc32c__nothing_changes_nothing),
        cmocka_unit_test(test_crc32c__both_ways_agree_at_every_size_and_alignment),
        cmocka_unit_test(test_crc32c__can_be_extended_at_any_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
