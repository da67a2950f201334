// SPDX-License-Identifier: MPL-2.0
// Only installed headers, warnings on: starts a cluster in this process, makes a topic, produces a record durably, stops.
#include <weft/embedded.h>
#include <weft/version.h>
#include <weft/weft.h>

#include <stdio.h>
#include <string.h>

static int failed(const char *what, weft_err_t err, const char *text)
{
    fprintf(stderr, "%s: %s: %s\n", what, weft_err_name(err), text);
    return 1;
}

static int produce(const char *endpoint)
{
    char bootstrap[300];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", endpoint);
    const char *settings[] = {bootstrap, NULL};
    struct weft_error error = {0};
    weft_admin_t *admin = NULL;
    weft_err_t err = weft_admin_new(settings, &admin, &error);
    if (err != WEFT_OK) return failed("admin", err, error.text);
    err = weft_admin_create_topic(admin, "orders", 2, 1, NULL, 0, false, NULL);
    if (err != WEFT_OK) return failed("create", err, weft_admin_error_text(admin));
    err = weft_admin_wait_topic(admin, "orders", 10000);
    if (err != WEFT_OK) return failed("wait", err, weft_admin_error_text(admin));
    weft_admin_destroy(&admin);
    weft_producer_t *producer = NULL;
    weft_topic_t *topic = NULL;
    err = weft_producer_new(settings, &producer, &error);
    if (err != WEFT_OK) return failed("producer", err, error.text);
    err = weft_producer_topic(producer, "orders", &topic);
    if (err == WEFT_OK) err = weft_producer_send(producer, topic, 0, weft_text("key"), weft_text("value"), NULL);
    if (err == WEFT_OK) err = weft_producer_close(producer, 10000);
    if (err != WEFT_OK) return failed("produce", err, weft_err_sentence(err));
    weft_producer_destroy(&producer);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    if (strcmp(weft_version(), WEFT_VERSION_TEXT) != 0) return failed("version", WEFT_OK, weft_version());
    struct weft_embedded_options options = {.data = argv[1], .listen = "tcp://127.0.0.1:*"};
    struct weft_error error = {0};
    weft_embedded_t *cluster = NULL;
    weft_err_t err = weft_embedded_start(&options, &cluster, &error);
    if (err != WEFT_OK) return failed("start", err, error.text);
    int status = produce(weft_embedded_endpoint(cluster));
    err = weft_embedded_stop(&cluster);
    if (err != WEFT_OK) return failed("stop", err, weft_err_sentence(err));
    if (status == 0) printf("weft %s: produced durably\n", weft_version());
    return status;
}
