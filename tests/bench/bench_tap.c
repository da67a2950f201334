// SPDX-License-Identifier: MPL-2.0
// A tap beside a bare PUB/SUB pair that moves the same three frames: topic, sequence, value. Bare: one process sends in a
// tight loop, this one receives. Tap: a broker and a tap in processes of their own, this one receives the same way what
// the topic holds. Both drop for a subscriber that is too slow (default) or wait for it. Counted is what arrived, from
// the first message to the last; medians of the rounds. Not a test. bench_tap [records] [value bytes] [rounds]
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft/embedded.h>
#include <weft/node.h>
#include <weft/weft.h>
#include <zmq.h>

enum { S_HWM = 80000 };

static long s_records = 2000000;
static size_t s_value_bytes = 100;
static char s_directory[] = "/tmp/bench-tap-XXXXXX";
static char s_broker[64], s_pub[64];

static void s_must(bool fine, const char *what)
{
    if (fine) return;
    fprintf(stderr, "bench_tap: %s\n", what);
    exit(1);
}

static double s_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec * 1e-9;
}

static void s_wait_for_end(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    int number;
    sigwait(&set, &number);
}

// ---- the senders, each a process

static void s_bare(bool waits)
{
    void *context = zmq_ctx_new(), *pub = zmq_socket(context, ZMQ_XPUB);
    int hwm = S_HWM, nodrop = waits;
    zmq_setsockopt(pub, ZMQ_SNDHWM, &hwm, sizeof hwm);
    zmq_setsockopt(pub, ZMQ_XPUB_NODROP, &nodrop, sizeof nodrop);
    s_must(zmq_bind(pub, s_pub) == 0, "bind");
    char subscription[64], *value = calloc(1, s_value_bytes);
    s_must(zmq_recv(pub, subscription, sizeof subscription, 0) > 0, "no subscription");
    for (long i = 0; i < s_records; i++) {
        uint8_t sequence[8];
        for (int k = 0; k < 8; k++) sequence[k] = (uint8_t) ((uint64_t) i >> (56 - 8 * k));
        zmq_send(pub, "events", 6, ZMQ_SNDMORE);
        zmq_send(pub, sequence, 8, ZMQ_SNDMORE);
        zmq_send(pub, value, s_value_bytes, 0);
    }
    s_wait_for_end();
    _exit(0);
}

static void s_broker_process(int ready)
{
    weft_embedded_t *cluster;
    struct weft_error error;
    struct weft_embedded_options options = {.data = s_directory, .listen = s_broker};
    if (weft_embedded_start(&options, &cluster, &error)) s_must(false, error.text);
    s_must(write(ready, "", 1) == 1, "pipe");
    s_wait_for_end();
    (void) weft_embedded_stop(&cluster);
    _exit(0);
}

static void s_tap(bool waits)
{
    char bootstrap[100], listen[100], hwm[32];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", s_broker);
    snprintf(listen, sizeof listen, "listen=%s", s_pub);
    snprintf(hwm, sizeof hwm, "hwm=%d", S_HWM);
    const char *settings[] = {
        bootstrap, listen, hwm, "topic=events", "replay=", "from=earliest", waits ? "slow=wait" : "slow=drop", NULL};
    weft_hosted_node_t *node;
    struct weft_error error;
    if (weft_node_start("tap", settings, &node, &error)) s_must(false, error.text);
    s_wait_for_end();
    (void) weft_node_stop(&node);
    _exit(0);
}

static pid_t s_fork(void (*run)(bool), bool waits)
{
    pid_t child = fork();
    if (child == 0) run(waits);
    return child;
}

static void s_end(pid_t child)
{
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
}

// ---- the receiver

struct result {
    double per_second;
    long received;
};

static struct result s_receive(void)
{
    void *context = zmq_ctx_new(), *sub = zmq_socket(context, ZMQ_SUB);
    int hwm = S_HWM, start_ms = 30000, silence_ms = 2000;
    zmq_setsockopt(sub, ZMQ_RCVHWM, &hwm, sizeof hwm);
    zmq_setsockopt(sub, ZMQ_RCVTIMEO, &start_ms, sizeof start_ms);
    zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "events", 6);
    zmq_connect(sub, s_pub);
    zmq_msg_t part;
    zmq_msg_init(&part);
    struct result result = {0};
    double first = 0, last = 0;
    uint64_t sequence = 0;
    while (sequence != (uint64_t) s_records - 1) {
        if (zmq_msg_recv(&part, sub, 0) < 0) break;
        if (first == 0) zmq_setsockopt(sub, ZMQ_RCVTIMEO, &silence_ms, sizeof silence_ms);
        s_must(zmq_msg_recv(&part, sub, 0) == 8, "no sequence");
        const uint8_t *bytes = zmq_msg_data(&part);
        sequence = 0;
        for (int k = 0; k < 8; k++) sequence = sequence << 8 | bytes[k];
        s_must(zmq_msg_recv(&part, sub, 0) == (int) s_value_bytes, "no value");
        if (first == 0) first = s_now();
        if (++result.received % 1024 == 0) last = s_now();
    }
    s_must(first != 0, "nothing arrived in 30 s");
    if (sequence == (uint64_t) s_records - 1) last = s_now();
    result.per_second = (double) result.received / (last - first);
    zmq_msg_close(&part);
    zmq_close(sub);
    zmq_ctx_term(context);
    return result;
}

static void s_fill(void)
{
    char bootstrap[100];
    snprintf(bootstrap, sizeof bootstrap, "bootstrap=%s", s_broker);
    weft_admin_t *admin = NULL;
    weft_producer_t *producer = NULL;
    weft_topic_t *topic = NULL;
    const char *settings[] = {bootstrap, "acks=leader", NULL};
    weft_err_t err = weft_admin_new((const char *[]){bootstrap, NULL}, &admin, NULL);
    if (!err) err = weft_admin_create_topic(admin, "events", 1, 1, NULL, 0, false, NULL);
    if (!err) err = weft_admin_wait_topic(admin, "events", 10000);
    if (!err) err = weft_producer_new(settings, &producer, NULL);
    if (!err) err = weft_producer_topic(producer, "events", &topic);
    uint8_t *value = calloc(1, s_value_bytes);
    for (long i = 0; !err && i < s_records; i++)
        err = weft_producer_send_wait(producer, topic, 0, WEFT_SLICE_NIL, weft_bytes(value, s_value_bytes), NULL, -1);
    if (!err) err = weft_producer_flush(producer, 60000);
    s_must(!err, weft_err_name(err));
    free(value);
    weft_producer_destroy(&producer);
    weft_admin_destroy(&admin);
}

static int s_compare(const void *a, const void *b)
{
    double left = ((const struct result *) a)->per_second, right = ((const struct result *) b)->per_second;
    return left < right ? -1 : left > right;
}

int main(int argc, char **argv)
{
    if (argc > 1) s_records = strtol(argv[1], NULL, 10);
    if (argc > 2) s_value_bytes = (size_t) strtol(argv[2], NULL, 10);
    int rounds = argc > 3 ? (int) strtol(argv[3], NULL, 10) : 5;
    s_must(s_records > 1 && rounds > 0 && rounds < 100 && mkdtemp(s_directory),
           "bench_tap [records] [value bytes] [rounds]");
    int port = 20000 + (int) (getpid() % 10000);
    snprintf(s_broker, sizeof s_broker, "tcp://127.0.0.1:%d", port);
    snprintf(s_pub, sizeof s_pub, "tcp://127.0.0.1:%d", port + 20);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int ready[2];
    s_must(pipe(ready) == 0, "pipe");
    pid_t broker = fork();
    if (broker == 0) s_broker_process(ready[1]);
    char byte;
    close(ready[1]);
    s_must(read(ready[0], &byte, 1) == 1, "the broker did not start");
    s_fill();
    struct result results[2][2][100];
    for (int i = 0; i < rounds; i++)
        for (int waits = 0; waits < 2; waits++)
            for (int tap = 0; tap < 2; tap++) {
                pid_t child = s_fork(tap ? s_tap : s_bare, waits);
                results[waits][tap][i] = s_receive();
                s_end(child);
            }
    s_end(broker);
    for (int waits = 0; waits < 2; waits++) {
        for (int tap = 0; tap < 2; tap++) qsort(results[waits][tap], (size_t) rounds, sizeof(struct result), s_compare);
        const struct result *bare = &results[waits][0][rounds / 2], *tap = &results[waits][1][rounds / 2];
        printf("slow=%s  bare %.0f/s (%ld of %ld arrived)  tap %.0f/s (%ld)  ratio %.2f\n", waits ? "wait" : "drop",
               bare->per_second, bare->received, s_records, tap->per_second, tap->received,
               tap->per_second / bare->per_second);
    }
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", s_directory);
    return system(command) == 0 ? 0 : 1;
}
