// SPDX-License-Identifier: MPL-2.0
/**
 * What verbs that talk to a cluster share: settings from options, an admin object, the server's sentence.
 */
#ifndef WEFT_CLI_CONNECT_H
#define WEFT_CLI_CONNECT_H

#include "cli.h"

#include <weft/weft.h>

// Of verbs that use topics; see cli_topic_partitions.
#define CLI_OPTION_WAIT \
    { \
        "--wait", "DURATION", "5s", false, "How long a topic that does not exist may take to be made; 0: not at all." \
    }

#define CLI_SETTINGS_MAX (CLI_REPEAT_MAX + 16) // every --set, and what the verb adds

/** "key=value" settings, NULL at the end, owned. */
struct cli_settings {
    char *list[CLI_SETTINGS_MAX + 1];
    size_t count;
};

void cli_settings_add(struct cli_settings *self, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_settings_fini(struct cli_settings *self);
const char *const *cli_settings_list(const struct cli_settings *self);

// --bootstrap, --timeout and every --set given. NULL after printing why.
weft_admin_t *cli_admin_new(const struct cli_args *args);
// The same for questions whose answer is a detail: gives up after a second or two, and says nothing while it waits.
weft_admin_t *cli_admin_quick(const struct cli_args *args);
weft_admin_t *cli_admin_within(const struct cli_args *args, const char *timeout); // as quick, with a time of one's own
// Prints the admin's last error as the verb's sentence; returns CLI_FAILED.
int cli_admin_fail(const struct cli_args *args, weft_admin_t *admin, weft_err_t code);

// Number of partitions of a topic; else prints the server's sentence, which knows the nearest name, and returns
// CLI_FAILED. record_bytes_max (may be NULL): largest record it takes, encoded. A topic that is not there is waited for as
// long as the verb's --wait says.
int cli_topic_partitions(const struct cli_args *args, const char *topic, uint32_t *partitions,
                         int64_t *record_bytes_max);

// The coordinators of a cluster, as cluster status and cluster voters show them. One that the active one does not hear is
// asked itself: it may run and be refused, and then says why.
void cli_coordinators_json(const struct cli_args *args, cli_json_t *json, const char *key,
                           const weft_cluster_health_t *health);
void cli_coordinators_table(const struct cli_args *args, const weft_cluster_health_t *health);

// As weft_position_parse, and "@-90s" (ms, s, m, h, d): so long ago. False: it is none of these.
bool cli_position(const char *text, struct weft_position *at);

// "2026-11-22T10:00:00.123Z", in a static buffer; "-" for negative times.
const char *cli_time_text(int64_t wall_ms);
const char *cli_id_text(weft_id_t id); // static buffer

#endif
