// SPDX-License-Identifier: MPL-2.0
// Lines of words: nothing in them needs more. The parent reads whole lines, so one that does not fit is left out whole.
#include "node_report.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define S_WRITE_MS 1000 // a parent that has not read for so long will do without

void weft_node_report_health(const weft_hosted_node_t *node, weft_buf_t *out)
{
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    enum weft_health health = weft_node_health(node, sentence, sizeof sentence);
    for (char *at = sentence; *at; at++)
        if (*at == '\n') *at = ' ';
    weft_buf_printf(out, "E %s\nH %s%s%s\n", weft_node_endpoint(node), weft_health_name(health), *sentence ? " " : "",
                    sentence);
}

static void s_counter(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    (void) doc;
    weft_buf_printf(context, "c %.63s %.63s %" PRIu64 "\n", source, name, value);
}

void weft_node_report_counters(const weft_hosted_node_t *node, weft_buf_t *out)
{
    weft_buf_append(out, "C\n", 2);
    weft_node_counters(node, s_counter, out);
}

void weft_node_report_write(int fd, weft_buf_t *lines)
{
    size_t written = 0;
    while (written < lines->size) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (poll(&ready, 1, S_WRITE_MS) <= 0) break;
        ssize_t more = write(fd, lines->data + written, lines->size - written);
        if (more < 0 && errno == EINTR) continue;
        if (more <= 0) break;
        written += (size_t) more;
    }
    weft_buf_clear(lines);
}

static bool s_parse_health(const char *text, struct weft_node_report *out)
{
    static const enum weft_health all[] = {WEFT_HEALTH_STARTING, WEFT_HEALTH_SERVING, WEFT_HEALTH_DEGRADED,
                                           WEFT_HEALTH_STOPPING, WEFT_HEALTH_FAILED};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        size_t size = strlen(weft_health_name(all[i]));
        if (strncmp(text, weft_health_name(all[i]), size) != 0 || (text[size] && text[size] != ' ')) continue;
        out->health = all[i];
        snprintf(out->text, sizeof out->text, "%s", text[size] ? text + size + 1 : "");
        return true;
    }
    return false;
}

bool weft_node_report_parse(const char *line, struct weft_node_report *out)
{
    *out = (struct weft_node_report){.kind = WEFT_NODE_REPORT_COUNTERS};
    if (strcmp(line, "C") == 0) return true;
    if (!line[0] || line[1] != ' ') return false;
    const char *text = line + 2;
    if (line[0] == 'E') {
        out->kind = WEFT_NODE_REPORT_ENDPOINT;
        snprintf(out->text, sizeof out->text, "%s", text);
        return true;
    }
    if (line[0] == 'H') {
        out->kind = WEFT_NODE_REPORT_HEALTH;
        return s_parse_health(text, out);
    }
    out->kind = WEFT_NODE_REPORT_COUNTER;
    char name[64];
    if (line[0] != 'c' || sscanf(text, "%63s %63s %" SCNu64, out->source, name, &out->value) != 3) return false;
    snprintf(out->text, sizeof out->text, "%s", name);
    return true;
}
