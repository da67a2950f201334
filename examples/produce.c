// SPDX-License-Identifier: MPL-2.0
// Sends records as fast as the cluster takes them, and hears of each what became of it.
#include <stdio.h>
#include <weft/weft.h>

#define RECORDS 100000

struct tally {
    size_t delivered, failed;
};

// Runs inside weft_producer_send_wait and weft_producer_flush, on this thread.
static void s_reported(void *context, const struct weft_report *report)
{
    struct tally *tally = context;
    if (report->error == WEFT_OK) {
        tally->delivered++;
        return;
    }
    tally->failed++;
    fprintf(stderr, "record %zu: %s (%s)\n", (size_t) report->opaque, report->text,
            report->outcome == WEFT_OUTCOME_MAYBE_APPLIED ? "may have been written" : "was not written");
}

int main(void)
{
    const char *settings[] = {"compression=lz4", "linger.ms=5", NULL};
    struct weft_error error;
    weft_producer_t *producer;
    if (weft_producer_new(settings, &producer, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    struct tally tally = {0, 0};
    weft_producer_on_report(producer, s_reported, &tally);

    weft_topic_t *orders;
    weft_err_t err = weft_producer_topic(producer, "orders", &orders);
    for (size_t i = 0; i < RECORDS && !err; i++) {
        char key[32], value[64];
        snprintf(key, sizeof key, "customer-%zu", i % 100);
        snprintf(value, sizeof value, "{\"order\": %zu}", i);
        struct weft_send_extra extra = {.opaque = (void *) i};
        // Equal keys go to the same partition and stay in order. Waits only while the buffer is full.
        err = weft_producer_send_wait(producer, orders, WEFT_PARTITION_AUTO, weft_text(key), weft_text(value), &extra,
                                      10000);
    }
    if (!err) err = weft_producer_flush(producer, 30000); // everything is reported now

    if (err) fprintf(stderr, "%s: %s\n", weft_err_name(err), weft_producer_error_text(producer));
    printf("%zu delivered, %zu failed\n", tally.delivered, tally.failed);
    weft_producer_destroy(&producer);
    return err || tally.delivered != RECORDS ? 1 : 0;
}
