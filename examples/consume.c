// SPDX-License-Identifier: MPL-2.0
// Reads a topic from its beginning to the end it had when reading began.
#include <stdio.h>
#include <weft/weft.h>

static void s_print_event(const struct weft_consumer_event *event)
{
    if (event->type == WEFT_EVENT_ASSIGNED)
        printf("%s/%d: from offset %lld\n", event->topic, event->partition, (long long) event->offset);
    else
        fprintf(stderr, "%s/%d: %s\n", event->topic, event->partition, event->text);
}

int main(void)
{
    struct weft_error error;
    weft_consumer_t *consumer;
    if (weft_consumer_new((const char *[]){"read=durable", NULL}, &consumer, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    const struct weft_assignment all = {
        .topic = "orders", .partition = WEFT_PARTITION_ALL, .at = {WEFT_FROM_EARLIEST, 0}};
    weft_err_t err = weft_consumer_assign(consumer, &all, 1);

    size_t count = 0, bytes = 0;
    while (!err && !weft_consumer_at_end(consumer)) {
        weft_records_t *records;
        err = weft_consumer_poll(consumer, 1000, &records);
        if (err) break;
        // Slices point into what was received: no copy, valid until the next poll.
        for (struct weft_record_view record; weft_records_next(records, &record);) {
            count++;
            bytes += record.value.size;
        }
        for (struct weft_consumer_event event; weft_consumer_event(consumer, &event);) s_print_event(&event);
    }

    if (err) fprintf(stderr, "%s: %s\n", weft_err_name(err), weft_consumer_error_text(consumer));
    printf("%zu records, %zu bytes of values\n", count, bytes);
    weft_consumer_destroy(&consumer);
    return err || !count ? 1 : 0;
}
