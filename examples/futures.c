// SPDX-License-Identifier: MPL-2.0
// Sends a few records with headers and waits for the fate of each: simple where latency matters more than throughput.
#include <stdio.h>
#include <weft/weft.h>

int main(void)
{
    struct weft_error error;
    weft_producer_t *producer;
    if (weft_producer_new((const char *[]){"linger.ms=0", NULL}, &producer, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    weft_topic_t *orders;
    weft_err_t err = weft_producer_topic(producer, "orders", &orders);

    weft_headers_t *headers = weft_headers_new();
    for (int i = 0; i < 3 && !err; i++) {
        char trace[16];
        snprintf(trace, sizeof trace, "trace-%d", i);
        weft_headers_clear(headers);
        weft_headers_add(headers, "trace-id", weft_text(trace));

        weft_delivery_t *delivery = NULL;
        struct weft_send_extra extra = {.headers = weft_headers_encoded(headers), .delivery = &delivery};
        err = weft_producer_send(producer, orders, 0, weft_text("k"), weft_text("hello"), &extra);
        if (err) break;
        err = weft_delivery_wait(delivery, 10000); // drives the producer meanwhile
        if (!err)
            printf("partition %d, offset %lld\n", weft_delivery_partition(delivery),
                   (long long) weft_delivery_offset(delivery));
        weft_delivery_destroy(&delivery);
    }
    weft_headers_destroy(&headers);

    if (err) fprintf(stderr, "%s: %s\n", weft_err_name(err), weft_producer_error_text(producer));
    weft_producer_destroy(&producer);
    return err ? 1 : 0;
}
