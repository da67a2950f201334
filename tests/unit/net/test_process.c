// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include "lib/net/process.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- a type of node with one echo part

static const struct weft_option s_options[] = {
    {.name = "listen",
     .type = WEFT_OPTION_TEXT,
     .initial = "tcp://127.0.0.1:*",
     .min = 1,
     .max = 255,
     .doc = "Endpoint."},
    {.name = "stop.ms", .type = WEFT_OPTION_DURATION, .initial = "5s", .min = 1, .max = 60000, .doc = "Longest stop."},
    {.name = "never.stops", .type = WEFT_OPTION_BOOL, .initial = "false", .max = 1, .doc = "For tests."},
    {.name = "fails", .type = WEFT_OPTION_BOOL, .initial = "false", .max = 1, .doc = "For tests."},
};

struct node {
    struct weft_node base;
    struct echo echo;
    bool fails;
};

static const struct weft_parts_type s_type;

static bool s_never(struct weft_part *part)
{
    return false;
}

static weft_err_t s_create(const weft_world_t *world, const weft_options_t *options, struct weft_node **out,
                           struct weft_error *error)
{
    static struct weft_part_ops ops; // as echo's, but for `stopped` where asked
    ops = echo_ops;
    if (weft_options_bool(options, "never.stops")) ops.stopped = s_never;
    struct node *self = weft_calloc(1, sizeof *self);
    self->echo.part.ops = &ops;
    self->fails = weft_options_bool(options, "fails");
    struct weft_world_part how = {.name = "echo-1", .listen = weft_options_text(options, "listen")};
    weft_err_t err =
        world->ops->add(world->self, &how, &self->echo.part, &self->base.parts[0], self->base.endpoint, error);
    if (err != WEFT_OK) {
        free(self);
        return err;
    }
    self->base.type = &s_type;
    self->base.part_count = 1;
    snprintf(self->base.name, sizeof self->base.name, "echo-1");
    *out = &self->base;
    return WEFT_OK;
}

static enum weft_health s_health(const struct weft_node *node, char *sentence, size_t sentence_bytes)
{
    if (!((const struct node *) node)->fails) return WEFT_HEALTH_SERVING;
    snprintf(sentence, sentence_bytes, "the disk is gone");
    return WEFT_HEALTH_FAILED;
}

static void s_destroy(struct weft_node **node)
{
    free(*node);
    *node = NULL;
}

static const struct weft_parts_type s_type = {.name = "echo",
                                              .options = s_options,
                                              .option_count = 4,
                                              .create = s_create,
                                              .health = s_health,
                                              .destroy = s_destroy};

// ---- a process of it

struct process {
    pid_t pid;
    FILE *output;
};

static struct process s_run(const char *setting)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL); // else the child prints what the parent had not
    struct process self = {.pid = fork()};
    assert_true(self.pid >= 0);
    if (self.pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(30);
        weft_options_t *options = weft_options_new(s_options, 4, "echo");
        if (setting != NULL && weft_options_set_pair(options, setting, NULL) != WEFT_OK) _exit(99);
        int status = weft_process_run(&s_type, options);
        weft_options_destroy(&options);
        fflush(NULL);
        _exit(status);
    }
    close(ends[1]);
    self.output = fdopen(ends[0], "r");
    assert_non_null(self.output);
    return self;
}

static int s_wait(struct process *self)
{
    int status;
    pid_t pid;
    do {
        pid = waitpid(self->pid, &status, 0);
    } while (pid < 0 && errno == EINTR);
    assert_int_equal(pid, self->pid);
    fclose(self->output);
    return status;
}

static void s_ready(struct process *self, char *endpoint)
{
    char line[512];
    assert_non_null(fgets(line, sizeof line, self->output));
    assert_int_equal(sscanf(line, "echo-1 serves %255s", endpoint), 1);
}

static void test_process__serves_and_stops_cleanly_on_a_signal(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct process process = s_run(NULL);
        char endpoint[256], text[16];
        s_ready(&process, endpoint);
        void *context = zmq_ctx_new();
        void *dealer = peer_new(context, ZMQ_DEALER, endpoint);
        zmq_send(dealer, "hello", 5, 0);
        assert_int_equal(peer_receive(dealer, text, sizeof text), 5);
        zmq_close(dealer);
        zmq_ctx_term(context);
        kill(process.pid, numbers[i]);
        int status = s_wait(&process);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void test_process__the_second_signal_ends_it_at_once(void **state)
{
    struct process process = s_run("never.stops=true");
    char endpoint[256];
    s_ready(&process, endpoint);
    int64_t deadline = clock_us() + 4000000; // its stop alone would take 5 s
    int status = 0;
    while (waitpid(process.pid, &status, WNOHANG) ==
           0) { // one that comes before the first was taken is the same one to the kernel
        assert_true(clock_us() < deadline);
        kill(process.pid, SIGTERM);
    }
    fclose(process.output);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void test_process__a_failed_node_and_a_refused_one_are_status_1_with_a_sentence(void **state)
{
    char text[512];
    struct process failed = s_run("fails=true");
    assert_non_null(fgets(text, sizeof text, failed.output));
    assert_non_null(strstr(text, "echo-1: the disk is gone"));
    int status = s_wait(&failed);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    struct process refused = s_run("listen=nonsense");
    assert_non_null(fgets(text, sizeof text, refused.output));
    assert_non_null(strstr(text, "nonsense"));
    status = s_wait(&refused);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process__serves_and_stops_cleanly_on_a_signal),
        cmocka_unit_test(test_process__the_second_signal_ends_it_at_once),
        cmocka_unit_test(test_process__a_failed_node_and_a_refused_one_are_status_1_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
