// SPDX-License-Identifier: MPL-2.0
// One member of a consumer group: start several, and they share the partitions; each record is processed at least once.
// It ends when all that is there was read, so that it can be tried.
#include <stdio.h>
#include <weft/weft.h>

static const char *s_name(enum weft_consumer_event_type type)
{
    return type == WEFT_EVENT_ASSIGNED ? "given" : type == WEFT_EVENT_REVOKED ? "asked back" : "lost";
}

// Runs inside weft_consumer_poll and weft_consumer_close, on their thread. What is revoked is given away once this returned:
// the place to flush what was computed from it, and to commit by hand.
static void s_rebalanced(void *context, const struct weft_rebalance *rebalance)
{
    (void) context;
    for (size_t i = 0; i < rebalance->count; i++)
        printf("%s/%d is %s%s%s\n", rebalance->partitions[i].topic, rebalance->partitions[i].partition,
               s_name(rebalance->type), *rebalance->text ? ": " : "", rebalance->text);
}

static weft_err_t s_work(weft_consumer_t *consumer, size_t *count)
{
    while (!weft_consumer_at_end(consumer)) {
        weft_records_t *records;
        weft_err_t err = weft_consumer_poll(consumer, 1000, &records); // also commits what the polls before returned
        if (err) return err;
        for (struct weft_record_view record; weft_records_next(records, &record);) ++*count; // here the work is done
        for (struct weft_consumer_event event; weft_consumer_event(consumer, &event);)
            if (event.error) fprintf(stderr, "%s/%d: %s\n", event.topic, event.partition, event.text);
    }
    return WEFT_OK;
}

int main(void)
{
    const char *settings[] = {"group=billing", "reset=earliest", "auto.commit.ms=1s", NULL};
    struct weft_error error;
    weft_consumer_t *consumer;
    if (weft_consumer_new(settings, &consumer, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    weft_consumer_on_rebalance(consumer, s_rebalanced, NULL);
    weft_err_t err =
        weft_consumer_subscribe(consumer, (const char *[]){"orders"}, 1, (struct weft_position){WEFT_FROM_RESET, 0});

    size_t count = 0;
    if (!err) err = s_work(consumer, &count);
    weft_err_t closed = weft_consumer_close(consumer, 10000); // commits, and the others go on at once
    if (!err) err = closed;

    if (err) fprintf(stderr, "%s: %s\n", weft_err_name(err), weft_consumer_error_text(consumer));
    printf("%zu records\n", count);
    weft_consumer_destroy(&consumer);
    return err ? 1 : 0;
}
