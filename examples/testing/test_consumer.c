// SPDX-License-Identifier: MPL-2.0
// How to test a consumer of yours against faults: two ledgers share a topic, one of them loses the network for a while, and
// in the end every order must have been counted once. Fifty histories, each from its seed; a seed that fails can be
// played again alone: SEED=17 ./test_consumer
#include "ledger.h"

#include <weft/producer.h>
#include <weft/testing.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ORDERS 1000
#define SEEDS 50

struct shop {
    weft_test_cluster_t *cluster;
    weft_producer_t *producer;
    weft_topic_t *topic;
    struct ledger_database database;
    ledger_t *ledgers[2];
};

static void s_open(struct shop *shop, uint64_t seed)
{
    *shop = (struct shop){0};
    struct weft_test_options options = {.brokers = 3, .seed = seed};
    struct weft_error error;
    if (weft_test_start(&options, &shop->cluster, &error) != WEFT_OK) fail_msg("%s", error.text);
    if (weft_test_topic(shop->cluster, LEDGER_TOPIC, LEDGER_PARTITIONS, 3) != WEFT_OK)
        fail_msg("%s", weft_test_error_text(shop->cluster));
    const char *bootstrap = weft_test_setting(shop->cluster);
    const char *settings[] = {bootstrap, "client=shop", "partitioner=round-robin", NULL};
    assert_int_equal(weft_producer_new(settings, &shop->producer, &error), WEFT_OK);
    assert_int_equal(weft_producer_topic(shop->producer, LEDGER_TOPIC, &shop->topic), WEFT_OK);
    shop->ledgers[0] = ledger_new(bootstrap, "client=ledger-1", &shop->database);
    shop->ledgers[1] = ledger_new(bootstrap, "client=ledger-2", &shop->database);
}

static void s_close(struct shop *shop)
{
    for (int i = 0; i < 2; i++) ledger_destroy(&shop->ledgers[i]);
    weft_producer_destroy(&shop->producer);
    weft_test_stop(&shop->cluster);
}

// Both ledgers work for so long.
static void s_work(struct shop *shop, int64_t ms)
{
    int64_t until_ms = weft_test_now_ms(shop->cluster) + ms;
    while (weft_test_now_ms(shop->cluster) < until_ms) {
        for (int i = 0; i < 2; i++) assert_true(ledger_step(shop->ledgers[i], 50));
    }
}

static void s_sell(struct shop *shop, int orders)
{
    for (int i = 0; i < orders; i++) {
        weft_slice_t value = weft_text("1");
        assert_int_equal(weft_producer_send(shop->producer, shop->topic, -1, WEFT_SLICE_NIL, value, NULL), WEFT_OK);
    }
    assert_int_equal(weft_producer_flush(shop->producer, 60000), WEFT_OK);
}

static void s_heal(weft_test_cluster_t *cluster, void *context)
{
    (void) context;
    weft_test_heal(cluster, "ledger-1", "*");
}

// One history; what was counted in the end.
static int64_t s_play(uint64_t seed)
{
    struct shop shop;
    s_open(&shop, seed);
    int64_t counted = 0;
    int cut_at = (int) weft_test_random(shop.cluster, 10);
    for (int i = 0; i < 10; i++) {
        s_sell(&shop, ORDERS / 10);
        if (i == cut_at) {
            weft_test_cut(shop.cluster, "ledger-1", "*");
            weft_test_after(shop.cluster, 1000 + (int64_t) weft_test_random(shop.cluster, 30000), s_heal, NULL);
        }
        s_work(&shop, 3000);
    }
    s_work(&shop, 60000); // all is healed: time to finish
    for (int i = 0; i < 2; i++) ledger_destroy(&shop.ledgers[i]);
    for (int i = 0; i < LEDGER_PARTITIONS; i++) counted += shop.database.rows[i].total;
    s_close(&shop);
    return counted;
}

static void test_ledger__counts_every_order_once_though_its_network_is_cut(void **state)
{
    (void) state;
    const char *only = getenv("SEED");
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + (only != NULL ? 1 : SEEDS); seed++) {
        int64_t counted = s_play(seed);
        if (counted != ORDERS)
            fail_msg("%lld of %d orders were counted; play it again with SEED=%llu", (long long) counted, ORDERS,
                     (unsigned long long) seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ledger__counts_every_order_once_though_its_network_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
