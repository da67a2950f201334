// SPDX-License-Identifier: MPL-2.0
// Health has no event: it is looked at often until the node serves, then twice a second.
#include "node_process.h"

#include "base/disk.h"
#include "hosted_node.h"
#include "net/process.h"
#include "node_report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define S_HEALTH_US_STARTING INT64_C(5000)
#define S_HEALTH_US_SERVING INT64_C(500000)
#define S_COUNTERS_LOOKS 2 // that many looks at health for one at the counters, once it serves

// One that lost a partition, or whose peer is not there yet, serves all the same: whoever waits for the line must not
// wait for ever.
static bool s_announce(const weft_hosted_node_t *node, enum weft_health health, const char *sentence,
                       const char *ready_file)
{
    const char *name = weft_node_name(node), *endpoint = weft_node_endpoint(node);
    printf("%s serves%s%s\n", name, *endpoint != '\0' ? " " : "", endpoint);
    fflush(stdout);
    if (health == WEFT_HEALTH_DEGRADED) fprintf(stderr, "%s is degraded: %s\n", name, sentence);
    if (ready_file == NULL) return true;
    char line[WEFT_ENDPOINT_BYTES_MAX + 2];
    int size = snprintf(line, sizeof line, "%s\n", endpoint);
    if (weft_disk_replace_file(weft_disk_posix(), ready_file, weft_slice(line, (size_t) size)) == WEFT_OK) return true;
    fprintf(stderr, "%s: can't write the ready file '%s'\n", name, ready_file);
    return false;
}

// To the parent: health whenever it is another one, counters now and then.
struct s_report {
    int fd; // -1: nobody listens
    weft_buf_t lines, before;
    int looks;
};

static void s_tell_parent(struct s_report *self, const weft_hosted_node_t *node, bool served)
{
    if (self->fd < 0) return;
    weft_node_report_health(node, &self->lines);
    if (weft_slice_equal(weft_buf_slice(&self->lines), weft_buf_slice(&self->before))) {
        weft_buf_clear(&self->lines);
    } else {
        weft_buf_clear(&self->before);
        weft_buf_append(&self->before, self->lines.data, self->lines.size);
    }
    if (served && self->looks++ % S_COUNTERS_LOOKS == 0) weft_node_report_counters(node, &self->lines);
    if (self->lines.size > 0) weft_node_report_write(self->fd, &self->lines);
}

// Waits for the end of the node's service; false: it failed, and that was said.
static bool s_serve(const weft_hosted_node_t *node, const char *ready_file, struct s_report *report)
{
    bool told = false;
    for (;;) {
        char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
        enum weft_health health = weft_node_health(node, sentence, sizeof sentence);
        s_tell_parent(report, node, told);
        if (health == WEFT_HEALTH_FAILED && strcmp(sentence, WEFT_NODE_ENDED_BY_ITSELF) == 0)
            return true; // its work is done
        if (health == WEFT_HEALTH_FAILED) {
            fprintf(stderr, "%s: %s\n", weft_node_name(node), sentence);
            return false;
        }
        if (!told && (health == WEFT_HEALTH_SERVING || health == WEFT_HEALTH_DEGRADED)) {
            told = true;
            if (!s_announce(node, health, sentence, ready_file)) return false;
        }
        if (weft_process_wait_signal(told ? S_HEALTH_US_SERVING : S_HEALTH_US_STARTING) != 0) return true;
    }
}

int weft_node_process_run(const struct weft_node_type *type, weft_options_t **options_p, void **library_p,
                          const char *ready_file, int report_fd)
{
    weft_process_begin();
    weft_hosted_node_ends_are_told();
    struct weft_error error = {.code = WEFT_OK};
    weft_hosted_node_t *node = NULL;
    char name[WEFT_NODE_NAME_BYTES_MAX];
    snprintf(name, sizeof name, "%s", type->name); // the type may be gone with its library
    if (weft_hosted_node_start(type, options_p, library_p, &node, &error) != WEFT_OK) {
        fprintf(stderr, "weft %s: %s\n", name, error.text);
        return 1;
    }
    snprintf(name, sizeof name, "%s", weft_node_name(node));
    struct s_report report = {.fd = report_fd};
    weft_buf_init(&report.lines);
    weft_buf_init(&report.before);
    bool served = s_serve(node, ready_file, &report);
    weft_buf_fini(&report.lines);
    weft_buf_fini(&report.before);
    weft_err_t err = weft_node_stop(&node);
    if (err == WEFT_ERR_LOCAL_TIMED_OUT) {
        fprintf(stderr, "%s: did not come to rest within its stop.ms; the next start recovers\n", name);
        fflush(NULL);
        _exit(1); // a thread may hang in a call: no orderly end is left
    }
    if (err != WEFT_OK && served) fprintf(stderr, "%s: its stop failed: %s\n", name, weft_err_sentence(err));
    return served && err == WEFT_OK ? 0 : 1;
}
