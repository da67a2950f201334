// SPDX-License-Identifier: MPL-2.0
// Settings, admin objects and the sentences of servers, shared by the verbs.
#include "connect.h"

#include "../lib/base/options.h"

#include <weft_gen/config.h>

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLI_WAIT_MS 2000 // then a person is told what is waited for
#define CLI_QUICK "1500ms"
#define CLI_TOPIC_PACE_MS 100
#define CLI_TOPIC_TELL_US 1000000 // of waiting for a topic

void cli_settings_add(struct cli_settings *self, const char *format, ...)
{
    if (self->count == CLI_SETTINGS_MAX) return;
    va_list list;
    va_start(list, format);
    char *text = NULL;
    if (vasprintf(&text, format, list) >= 0) self->list[self->count++] = text;
    va_end(list);
    self->list[self->count] = NULL;
}

void cli_settings_fini(struct cli_settings *self)
{
    for (size_t i = 0; i < self->count; i++) free(self->list[i]);
    self->count = 0;
}

const char *const *cli_settings_list(const struct cli_settings *self)
{
    return (const char *const *) self->list;
}

static const char *s_timeout(const struct cli_args *args)
{
    return cli_get(args, "--timeout") ? cli_get(args, "--timeout") : "10s";
}

static void s_on_wait(void *context, const char *text)
{
    const struct cli_args *args = context;
    cli_fail(args, "still trying: %s (for %s%s)", text, s_timeout(args),
             cli_get(args, "--timeout") ? ", see --timeout" : "");
}

static weft_admin_t *s_admin(const struct cli_args *args, const char *timeout)
{
    struct cli_settings settings = {.count = 0};
    cli_settings_add(&settings, "bootstrap=%s", cli_bootstrap(args));
    cli_settings_add(&settings, "request.timeout.ms=%s", timeout);
    weft_admin_t *admin = NULL;
    struct weft_error error;
    if (weft_admin_new(cli_settings_list(&settings), &admin, &error) != WEFT_OK) {
        if (strstr(error.text, "request.timeout.ms"))
            cli_usage(args, "--timeout is '%s'; it takes a duration from 10ms up (500ms, 10s, 1m)", timeout);
        else
            cli_fail(args, "%s", error.text);
        admin = NULL;
    }
    cli_settings_fini(&settings);
    return admin;
}

weft_admin_t *cli_admin_new(const struct cli_args *args)
{
    weft_admin_t *admin = s_admin(args, s_timeout(args));
    if (admin) weft_admin_on_wait(admin, CLI_WAIT_MS, s_on_wait, (void *) (uintptr_t) args);
    return admin;
}

weft_admin_t *cli_admin_within(const struct cli_args *args, const char *timeout)
{
    return s_admin(args, timeout);
}

weft_admin_t *cli_admin_quick(const struct cli_args *args)
{
    return s_admin(args, CLI_QUICK);
}

int cli_admin_fail(const struct cli_args *args, weft_admin_t *admin, weft_err_t code)
{
    const char *text = weft_admin_error_text(admin);
    if (!text || !*text) text = weft_err_sentence(code);
    if (code == WEFT_ERR_LOCAL_TIMED_OUT && cli_get(args, "--timeout"))
        return cli_fail(args, "%s Gave up after %s (--timeout)", text, s_timeout(args));
    return cli_fail(args, "%s", text);
}

// A topic's setting as a number; `otherwise` if the node does not tell it or tells what this version can't read.
static int64_t s_topic_setting(const weft_topic_config_t *config, const char *key, int64_t otherwise)
{
    weft_options_t *options = weft_options_new(weft_options_topic, weft_options_topic_count, "topic");
    int64_t value = otherwise;
    for (size_t i = 0; i < config->setting_count; i++)
        if (strcmp(config->settings[i].key, key) == 0 &&
            weft_options_set(options, key, config->settings[i].value, NULL) == WEFT_OK)
            value = weft_options_int(options, key);
    weft_options_destroy(&options);
    return value;
}

// A cluster that has just come up may be about to get its topics (weft up FILE): a moment of patience, not in silence.
static weft_err_t s_await_topic(const struct cli_args *args, weft_admin_t *admin, const char *topic, int64_t wait_ms,
                                weft_topic_config_t **config)
{
    int64_t begun_us = cli_now_us(), until_us = begun_us + wait_ms * 1000;
    bool waited = false, told = false;
    weft_err_t err;
    while ((err = weft_admin_describe_topic(admin, topic, config)) == WEFT_ERR_UNKNOWN_TOPIC) {
        int64_t now = cli_now_us();
        if (now >= until_us) break;
        if (!told && now - begun_us >= CLI_TOPIC_TELL_US)
            told = true, cli_fail(args, "waiting up to %s for it to be made (--wait): %s", cli_get(args, "--wait"),
                                  weft_admin_error_text(admin));
        waited = true;
        cli_sleep_ms(CLI_TOPIC_PACE_MS);
    }
    if (err == WEFT_OK && waited) (void) !weft_admin_wait_topic(admin, topic, 5000); // until its partitions are led
    return err;
}

int cli_topic_partitions(const struct cli_args *args, const char *topic, uint32_t *partitions,
                         int64_t *record_bytes_max)
{
    int64_t wait_ms = 0; // verbs without --wait do not
    if (!cli_duration(args, "--wait", 0, &wait_ms)) return CLI_USAGE;
    weft_admin_t *admin = cli_admin_new(args);
    if (!admin) return CLI_FAILED;
    weft_topic_config_t *config = NULL;
    weft_err_t err = s_await_topic(args, admin, topic, wait_ms, &config);
    int status = err == WEFT_OK ? CLI_DONE : cli_admin_fail(args, admin, err);
    if (err == WEFT_OK) *partitions = config->partitions;
    if (err == WEFT_OK && record_bytes_max) *record_bytes_max = s_topic_setting(config, "max.record.bytes", INT64_MAX);
    weft_topic_config_destroy(&config);
    weft_admin_destroy(&admin);
    return status;
}

const char *cli_time_text(int64_t wall_ms)
{
    static char text[64];
    if (wall_ms < 0) return "-";
    time_t seconds = (time_t) (wall_ms / 1000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof text - size, ".%03dZ", (int) (wall_ms % 1000));
    return text;
}

const char *cli_id_text(weft_id_t id)
{
    static char text[WEFT_ID_TEXT_BYTES];
    weft_id_text(id, text);
    return text;
}

bool cli_position(const char *text, struct weft_position *at)
{
    if (strncmp(text, "@-", 2) != 0) return weft_position_parse(text, at) == WEFT_OK;
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end;
    errno = 0;
    long long number = strtoll(text + 2, &end, 10);
    if (end == text + 2 || !isdigit((unsigned char) text[2]) || errno != 0) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) != 0 || number > cli_wall_ms() / units[i].ms) continue;
        *at = (struct weft_position){.from = WEFT_FROM_TIME, .value = cli_wall_ms() - number * units[i].ms};
        return true;
    }
    return false;
}
