// SPDX-License-Identifier: MPL-2.0
// Reads one topic and writes another: key, value, headers and time are passed on without looking into them.
#include <stdio.h>
#include <weft/weft.h>

static weft_err_t s_copy(weft_consumer_t *consumer, weft_producer_t *producer, weft_topic_t *to, size_t *count)
{
    while (!weft_consumer_at_end(consumer)) {
        weft_records_t *records;
        weft_err_t err = weft_consumer_poll(consumer, 1000, &records);
        if (err) return err;
        for (struct weft_record_view record; weft_records_next(records, &record); ++*count) {
            struct weft_send_extra extra = {.headers = record.headers, .timestamp_ms = record.timestamp_ms};
            err = weft_producer_send_wait(producer, to, record.partition, record.key, record.value, &extra, 10000);
            if (err) return err;
        }
    }
    return weft_producer_flush(producer, 30000); // the first error of any record, so no reports are needed here
}

int main(void)
{
    struct weft_error error;
    weft_consumer_t *consumer = NULL;
    weft_producer_t *producer = NULL;
    weft_topic_t *to;
    size_t count = 0;
    weft_err_t err = weft_consumer_new(NULL, &consumer, &error);
    if (!err) err = weft_producer_new(NULL, &producer, &error);
    if (err) fprintf(stderr, "%s\n", error.text);

    if (!err) err = weft_producer_topic(producer, "orders-copy", &to);
    // A glob: `orders` only, not `orders-copy`. [s] makes it one; a plain name would do here.
    if (!err)
        err = weft_consumer_subscribe(consumer, (const char *[]){"order[s]"}, 1,
                                      (struct weft_position){WEFT_FROM_EARLIEST, 0});
    if (!err) err = s_copy(consumer, producer, to, &count);

    if (err) fprintf(stderr, "%s: %s\n", weft_err_name(err), producer ? weft_producer_error_text(producer) : "");
    printf("%zu records copied\n", count);
    weft_producer_destroy(&producer);
    weft_consumer_destroy(&consumer);
    return err || !count ? 1 : 0;
}
