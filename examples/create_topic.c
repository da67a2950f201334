// SPDX-License-Identifier: MPL-2.0
// Creates topics and shows who leads their partitions.
#include <stdio.h>
#include <weft/weft.h>

int main(void)
{
    struct weft_error error;
    weft_admin_t *admin;
    if (weft_admin_new(NULL, &admin, &error) != WEFT_OK) { // settings NULL: defaults, and WEFT_BOOTSTRAP
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }

    const char *topics[] = {"orders", "orders-copy"};
    const struct weft_setting settings[] = {{"retention.ms", "7d"}};
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < 2 && !err; i++) {
        // 3 partitions; 0 replicas: as many as the coordinator chooses, three where there are three brokers
        err = weft_admin_create_topic(admin, topics[i], 3, 0, settings, 1, false, NULL);
        if (err == WEFT_ERR_TOPIC_EXISTS) err = WEFT_OK;
        if (!err) err = weft_admin_wait_topic(admin, topics[i], 10000);
    }

    weft_metadata_t *metadata = NULL;
    if (!err) err = weft_admin_metadata(admin, topics, 2, false, &metadata);
    for (size_t t = 0; !err && t < metadata->topic_count; t++)
        for (size_t p = 0; p < metadata->topics[t].partition_count; p++)
            printf("%s/%zu is led by broker %d\n", metadata->topics[t].name, p,
                   metadata->topics[t].partitions[p].leader);
    weft_metadata_destroy(&metadata);

    if (err) fprintf(stderr, "%s: %s\n", weft_err_name(err), weft_admin_error_text(admin));
    weft_admin_destroy(&admin);
    return err ? 1 : 0;
}
