// SPDX-License-Identifier: MPL-2.0
// Signals are taken synchronously by sigtimedwait: no handler runs anywhere, so nothing is to be async-signal-safe.
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define S_HEALTH_US_STARTING INT64_C(5000)
#define S_HEALTH_US_SERVING INT64_C(500000)

static void s_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    struct sigaction hangup; // the terminal is gone: as clean a stop, unless it was started to outlive it (nohup)
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaddset(set, SIGHUP);
}

void weft_process_begin(void)
{
    sigset_t set;
    s_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &files); // the old limit does as well, for fewer partitions and peers
    }
}

int weft_process_wait_signal(int64_t timeout_us)
{
    sigset_t set;
    s_signals(&set);
    struct timespec wait = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    int number;
    do {
        number = timeout_us < 0 ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &wait);
    } while (number < 0 && errno == EINTR && timeout_us < 0);
    if (number <= 0) return 0;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL); // this thread's default action is the process's end
    return number;
}

// Waits for the end of the node's service; false: it failed, `sentence` says how.
static bool s_serve(const struct weft_node *node, char *sentence, size_t sentence_bytes)
{
    bool told = false;
    for (;;) {
        enum weft_health health = node->type->health(node, sentence, sentence_bytes);
        if (health == WEFT_HEALTH_FAILED) return false;
        // One that lost a partition or its coordinator serves all the same: whoever waits for the line must not wait
        // for ever.
        if (!told && (health == WEFT_HEALTH_SERVING || health == WEFT_HEALTH_DEGRADED)) {
            printf("%s serves %s\n", node->name, node->endpoint);
            fflush(stdout);
            told = true;
        }
        if (weft_process_wait_signal(told ? S_HEALTH_US_SERVING : S_HEALTH_US_STARTING) != 0) return true;
    }
}

static int s_run(weft_runtime_t *runtime, const struct weft_parts_type *type, const weft_options_t *options)
{
    struct weft_error error = {0};
    struct weft_node *node = NULL;
    const weft_world_t *world = weft_runtime_world(runtime);
    if (type->create(world, options, &node, &error) != WEFT_OK) {
        fprintf(stderr, "weft %s: %s\n", type->name, error.text);
        return 1;
    }
    world->ops->start(world->self);
    char name[WEFT_NODE_NAME_BYTES_MAX], sentence[WEFT_ERROR_TEXT_BYTES_MAX] = "";
    snprintf(name, sizeof name, "%s", node->name);
    bool served = s_serve(node, sentence, sizeof sentence);
    if (!served) fprintf(stderr, "%s: %s\n", name, sentence);
    if (weft_runtime_stop_node(runtime, &node, weft_options_int(options, "stop.ms") * 1000) != WEFT_OK) {
        fprintf(stderr, "%s: did not come to rest within %s; the next start recovers\n", name,
                weft_options_text(options, "stop.ms"));
        if (node != NULL) _exit(1); // a thread hangs in a call: no orderly end is left
        return 1;
    }
    return served ? 0 : 1;
}

int weft_process_io_threads(const struct weft_parts_type *type, const weft_options_t *options)
{
    int64_t shards = 1;
    for (size_t i = 0; i < type->option_count; i++) {
        if (strcmp(type->options[i].name, "shards") == 0) shards = weft_options_int(options, "shards");
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) cores = 1;
    return (int) (shards < cores ? shards : cores);
}

int weft_process_run(const struct weft_parts_type *type, const weft_options_t *options)
{
    weft_process_begin();
    struct weft_error error = {0};
    weft_runtime_t *runtime = NULL;
    struct weft_runtime_how how = {.io_threads = weft_process_io_threads(type, options)};
    if (weft_runtime_new(&how, &runtime, &error) != WEFT_OK) {
        fprintf(stderr, "weft %s: %s\n", type->name, error.text);
        return 1;
    }
    int status = s_run(runtime, type, options);
    weft_runtime_destroy(&runtime);
    return status;
}
