// SPDX-License-Identifier: MPL-2.0
// How many messages a recorder takes from one PUSH: a sender process over TCP; broker, coordinator and recorder in this
// one. It is counted from the first message received to the last one acknowledged, so what is in a buffer does not count.
// Then a player sends all of it back.
//
//     bench_recorder [MESSAGES] [BYTES] [key=value of the recorder]...        default: 5000000 messages of 100 bytes
#include "lib/base/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft/embedded.h>
#include <weft/weft.h>
#include <zmq.h>

#define SETTINGS_MAX 32
#define TURN_NS 1000000

static double s_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double s_processor_s(int who)
{
    struct rusage used;
    getrusage(who, &used);
    return (double) used.ru_utime.tv_sec + (double) used.ru_stime.tv_sec +
           (double) (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void s_die(const char *what, const char *why)
{
    fprintf(stderr, "bench_recorder: %s: %s\n", what, why);
    exit(1);
}

// The sender: connects to the endpoint that comes down the pipe, and sends until all is gone.
static int s_send(int pipe_fd, long messages, size_t bytes)
{
    char endpoint[256] = "";
    if (read(pipe_fd, endpoint, sizeof endpoint - 1) <= 0) return 1;
    void *context = zmq_ctx_new(), *push = zmq_socket(context, ZMQ_PUSH);
    int hwm = 100000;
    zmq_setsockopt(push, ZMQ_SNDHWM, &hwm, sizeof hwm);
    if (zmq_connect(push, endpoint)) return 1;
    char *message = calloc(1, bytes + 8);
    for (uint64_t i = 0; i < (uint64_t) messages; i++) {
        memcpy(message, &i, sizeof i);
        while (zmq_send(push, message, bytes, 0) < 0 && errno == EINTR) continue;
    }
    zmq_close(push);
    zmq_ctx_term(context);
    free(message);
    return 0;
}

struct s_counts {
    uint64_t received, acked, failed;
};

static void s_count(void *context, const char *source, const char *name, const char *doc, uint64_t value)
{
    struct s_counts *counts = context;
    if (strcmp(name, "messages_received_count") == 0) counts->received = value;
    if (strcmp(name, "records_acked_count") == 0) counts->acked = value;
    if (strcmp(name, "records_failed_count") == 0) counts->failed = value;
}

static struct s_counts s_look(const weft_hosted_node_t *node)
{
    struct s_counts counts = {0};
    nanosleep(&(const struct timespec){.tv_nsec = TURN_NS}, NULL); // allow-sleep: pace of a poll
    weft_node_counters(node, s_count, &counts);
    return counts;
}

static void s_create_topic(const char *bootstrap)
{
    char setting[300];
    snprintf(setting, sizeof setting, "bootstrap=%s", bootstrap);
    weft_admin_t *admin;
    if (weft_admin_new((const char *[]){setting, NULL}, &admin, NULL)) exit(1);
    if (weft_admin_create_topic(admin, "recorded", 1, 1, NULL, 0, false, NULL) ||
        weft_admin_wait_topic(admin, "recorded", 10000))
        s_die("topic", weft_admin_error_text(admin));
    weft_admin_destroy(&admin);
}

static weft_hosted_node_t *s_recorder(const char *bootstrap, char **more, int count)
{
    char setting[300];
    snprintf(setting, sizeof setting, "bootstrap=%s", bootstrap);
    const char *settings[SETTINGS_MAX + 1] = {setting, "topic=recorded", "listen=tcp://127.0.0.1:*"};
    for (int i = 0; i < count && i < SETTINGS_MAX - 3; i++) settings[3 + i] = more[i];
    weft_hosted_node_t *node;
    struct weft_error error;
    if (weft_node_start("recorder", settings, &node, &error)) s_die("recorder", error.text);
    return node;
}

static void s_measure(const weft_hosted_node_t *node, uint64_t messages, size_t bytes)
{
    struct s_counts counts = {0};
    while (!counts.received) counts = s_look(node);
    double begun = s_now_s(), processor = s_processor_s(RUSAGE_SELF);
    uint64_t first = counts.acked;
    while (counts.acked + counts.failed < messages) counts = s_look(node);
    double took = s_now_s() - begun;
    processor = s_processor_s(RUSAGE_SELF) - processor;
    double recorded = (double) (messages - first);
    printf("%.0f messages of %zu bytes in %.2f s: %.0f a second, %.0f MB/s, failed %llu; %.0f ns of processor time "
           "each here\n",
           recorded, bytes, took, recorded / took, recorded * (double) bytes / took / 1e6,
           (unsigned long long) counts.failed, processor / recorded * 1e9);
}

// And back: a player as fast as possible into a PULL of this process.
static void s_play(const char *bootstrap, uint64_t messages)
{
    void *context = zmq_ctx_new(), *pull = zmq_socket(context, ZMQ_PULL);
    int hwm = 100000;
    char setting[300], endpoint[256], target[300];
    size_t size = sizeof endpoint;
    zmq_setsockopt(pull, ZMQ_RCVHWM, &hwm, sizeof hwm);
    if (zmq_bind(pull, "tcp://127.0.0.1:*") || zmq_getsockopt(pull, ZMQ_LAST_ENDPOINT, endpoint, &size)) exit(1);
    snprintf(setting, sizeof setting, "bootstrap=%s", bootstrap);
    snprintf(target, sizeof target, "target=%s", endpoint);
    const char *settings[] = {setting, "topic=recorded", target, "speed=max", NULL};
    weft_hosted_node_t *node;
    struct weft_error error;
    if (weft_node_start("player", settings, &node, &error)) s_die("player", error.text);
    zmq_msg_t message;
    zmq_msg_init(&message);
    double begun = 0;
    for (uint64_t i = 0; i < messages; i++) {
        while (zmq_msg_recv(&message, pull, 0) < 0) continue;
        if (i == 0) begun = s_now_s();
    }
    printf("played back: %.0f messages a second\n", (double) messages / (s_now_s() - begun));
    zmq_msg_close(&message);
    if (weft_node_stop(&node)) exit(1);
    zmq_close(pull);
    zmq_ctx_term(context);
}

int main(int argc, char **argv)
{
    long messages = argc > 1 ? atol(argv[1]) : 5000000;
    size_t bytes = argc > 2 ? (size_t) atol(argv[2]) : 100;
    int pipes[2];
    if (pipe(pipes)) return 1;
    pid_t sender = fork();
    if (sender == 0) _exit(s_send(pipes[0], messages, bytes < 8 ? 8 : bytes));
    char directory[] = "/tmp/weft-bench-recorder-XXXXXX";
    if (!mkdtemp(directory)) return 1;
    struct weft_error error;
    weft_embedded_t *cluster;
    struct weft_embedded_options options = {.data = directory, .listen = "tcp://127.0.0.1:19650"};
    if (weft_embedded_start(&options, &cluster, &error)) s_die("cluster", error.text);
    s_create_topic(weft_embedded_bootstrap(cluster));
    weft_hosted_node_t *node = s_recorder(weft_embedded_bootstrap(cluster), argv + 3, argc > 3 ? argc - 3 : 0);
    if (write(pipes[1], weft_node_endpoint(node), strlen(weft_node_endpoint(node))) < 0) return 1;
    s_measure(node, (uint64_t) messages, bytes);
    int status = 1;
    waitpid(sender, &status, 0);
    printf("sender: %.0f ns of processor time a message\n", s_processor_s(RUSAGE_CHILDREN) / (double) messages * 1e9);
    if (weft_node_stop(&node)) status = 1;
    s_play(weft_embedded_bootstrap(cluster), (uint64_t) messages);
    if (weft_embedded_stop(&cluster)) status = 1;
    if (weft_disk_remove_tree(weft_disk_posix(), directory)) status = 1;
    return status != 0;
}
