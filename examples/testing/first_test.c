// SPDX-License-Identifier: MPL-2.0
// A first test: what a producer was told to be written is there, though the leader of its partition dies meanwhile.
#include <stdio.h>
#include <weft/producer.h>
#include <weft/testing.h>

static void s_kill_leader(weft_test_cluster_t *cluster, void *context)
{
    const char **leader = context;
    weft_test_kill_node(cluster, *leader);
}

int main(void)
{
    struct weft_test_options options = {.brokers = 3, .seed = 7}; // without a seed: real time
    struct weft_error error;
    weft_test_cluster_t *cluster;
    if (weft_test_start(&options, &cluster, &error) != WEFT_OK) return puts(error.text), 1;
    if (weft_test_topic(cluster, "orders", 1, 3) != WEFT_OK) return puts(weft_test_error_text(cluster)), 1;

    // here begins what your program does
    const char *settings[] = {weft_test_setting(cluster), "client=shop", NULL};
    weft_producer_t *producer;
    weft_topic_t *topic;
    if (weft_producer_new(settings, &producer, &error) != WEFT_OK) return puts(error.text), 1;
    if (weft_producer_topic(producer, "orders", &topic) != WEFT_OK) return 1;
    for (int i = 0; i < 1000; i++)
        if (weft_producer_send(producer, topic, 0, WEFT_SLICE_NIL, weft_text("one"), NULL) != WEFT_OK) return 1;

    // in the middle of the flush, 2 ms from now
    const char *leader = weft_test_leader(cluster, "orders", 0);
    weft_test_after(cluster, 2, s_kill_leader, &leader);
    if (weft_producer_flush(producer, 30000) != WEFT_OK) return puts(weft_producer_error_text(producer)), 1;

    long long end = (long long) weft_test_end(cluster, "orders", 0);
    printf("%lld records after %lld ms; %s leads now\n", end, (long long) weft_test_now_ms(cluster),
           weft_test_leader(cluster, "orders", 0));
    weft_producer_destroy(&producer);
    weft_test_stop(&cluster);
    return end == 1000 ? 0 : 1;
}
