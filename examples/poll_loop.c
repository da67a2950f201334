// SPDX-License-Identifier: MPL-2.0
// A consumer and a producer in an event loop of your own: both have a descriptor for poll(2), epoll or zmq_poll.
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <weft/weft.h>

int main(void)
{
    struct weft_error error;
    weft_consumer_t *consumer = NULL;
    weft_producer_t *producer = NULL;
    weft_topic_t *orders;
    weft_err_t err = weft_consumer_new(NULL, &consumer, &error);
    if (!err) err = weft_producer_new((const char *[]){"linger.ms=0", NULL}, &producer, &error);
    if (!err) err = weft_producer_topic(producer, "orders", &orders);
    const struct weft_assignment first = {.topic = "orders", .partition = 0, .at = {WEFT_FROM_EARLIEST, 0}};
    if (!err) err = weft_consumer_assign(consumer, &first, 1);
    if (!err) err = weft_producer_send(producer, orders, 0, weft_text("k"), weft_text("from the loop"), NULL);

    size_t count = 0;
    const time_t end = time(NULL) + 10;
    while (!err && time(NULL) < end && (!count || weft_producer_waiting_count(producer))) {
        struct pollfd fds[] = {{.fd = weft_consumer_fd(consumer), .events = POLLIN},
                               {.fd = weft_producer_fd(producer), .events = POLLIN}};
        poll(fds, 2, 50); // at the latest then: timers (lingering batches, retries) are not seen by the descriptors
        weft_producer_poll(producer, 0);
        weft_records_t *records;
        err = weft_consumer_poll(consumer, 0, &records);
        if (err) break;
        for (struct weft_record_view record; weft_records_next(records, &record);) count++;
    }

    if (err) fprintf(stderr, "%s\n", weft_err_name(err));
    printf("%zu records seen, %zu still waiting\n", count, producer ? weft_producer_waiting_count(producer) : 0);
    bool done = count && producer && !weft_producer_waiting_count(producer);
    weft_producer_destroy(&producer);
    weft_consumer_destroy(&consumer);
    return err || !done ? 1 : 0;
}
