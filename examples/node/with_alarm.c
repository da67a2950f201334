// SPDX-License-Identifier: MPL-2.0
// The same node inside a program of its own: a cluster, the alarm and a subscriber in one process, over inproc.
//     ./with_alarm DIRECTORY
#include <stdio.h>
#include <weft/embedded.h>
#include <weft/weft.h>
#include <zmq.h>

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

static weft_err_t produce(const char *bootstrap)
{
    weft_producer_t *producer = NULL;
    weft_topic_t *orders = NULL;
    weft_err_t err = weft_producer_new((const char *[]){bootstrap, NULL}, &producer, NULL);
    if (!err) err = weft_producer_topic(producer, "orders", &orders);
    if (!err) err = weft_producer_send_wait(producer, orders, 0, WEFT_SLICE_NIL, weft_text("one"), NULL, 10000);
    if (!err) err = weft_producer_close(producer, 10000);
    weft_producer_destroy(&producer);
    return err;
}

static int hear(void *subscriber, const char *wanted)
{
    char topic[64], what[64];
    if (zmq_recv(subscriber, topic, sizeof topic, 0) < 0) return failed("subscriber", "heard nothing");
    int size = zmq_recv(subscriber, what, sizeof what - 1, 0);
    what[size < 0 ? 0 : size] = '\0';
    printf("heard: orders %s\n", what);
    return strncmp(what, wanted, strlen(wanted)) ? failed("subscriber", "that is not what was to come") : 0;
}

int main(int argc, char **argv)
{
    struct weft_error error = {0};
    struct weft_embedded_options options = {.data = argc > 1 ? argv[1] : "weft-data", .listen = "inproc://weft"};
    weft_embedded_t *cluster = NULL;
    if (weft_embedded_start(&options, &cluster, &error)) return failed("cluster", error.text);
    weft_admin_t *admin = NULL;
    weft_err_t err = weft_admin_new((const char *[]){"bootstrap=inproc://weft", NULL}, &admin, &error);
    if (!err) err = weft_admin_create_topic(admin, "orders", 1, 1, NULL, 0, false, NULL);
    if (!err) err = weft_admin_wait_topic(admin, "orders", 10000);
    if (err) return failed("topic", weft_err_sentence(err));
    weft_admin_destroy(&admin);

    // Bound before the alarm is there: whoever connects first need not wait, and misses nothing.
    void *subscriber = zmq_socket(weft_zmq_context(), ZMQ_SUB);
    zmq_setsockopt(subscriber, ZMQ_SUBSCRIBE, "orders", 6);
    zmq_setsockopt(subscriber, ZMQ_RCVTIMEO, &(int){20000}, sizeof(int));
    zmq_connect(subscriber, "inproc://alarm");

    const char *settings[] = {"bootstrap=inproc://weft", "listen=inproc://alarm", "silence.ms=200", NULL};
    weft_hosted_node_t *alarm = NULL;
    if (weft_node_start("./libalarm.so", settings, &alarm, &error)) return failed("alarm", error.text);
    int status = hear(subscriber, "silent for ");
    err = produce("bootstrap=inproc://weft");
    if (err) return failed("produce", weft_err_sentence(err));
    if (!status) status = hear(subscriber, "heard again");

    err = weft_node_stop(&alarm);
    zmq_close(subscriber);
    if (!err) err = weft_embedded_stop(&cluster);
    if (!err) err = weft_zmq_context_set(NULL); // what weft_zmq_context gave is given back
    return err ? failed("stop", weft_err_sentence(err)) : status;
}
