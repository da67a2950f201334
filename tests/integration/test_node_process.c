// SPDX-License-Identifier: MPL-2.0
// A node as a process: what it prints, how signals end it, its exit status.
#include "tests/support/test.h"

#include "echo_node.h"
#include "lib/node_process.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static int64_t s_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct process {
    pid_t pid;
    FILE *output;
};

static struct process s_run(const char *setting, const char *ready_file)
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
        const char *settings[] = {"name=echo-1", setting, NULL};
        weft_options_t *options = NULL;
        void *library = NULL;
        if (weft_node_type_options(&echo_type, settings, &options, NULL) != WEFT_OK) _exit(99);
        int status = weft_node_process_run(&echo_type, &options, &library, ready_file, -1);
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
        struct process process = s_run(NULL, NULL);
        char endpoint[256], text[16];
        s_ready(&process, endpoint);
        void *context = zmq_ctx_new();
        void *dealer = zmq_socket(context, ZMQ_DEALER);
        int patience = 10000;
        zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &patience, sizeof patience);
        assert_int_equal(zmq_connect(dealer, endpoint), 0);
        zmq_send(dealer, "hello", 5, 0);
        assert_int_equal(zmq_recv(dealer, text, sizeof text, 0), 5);
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
    struct process process = s_run("behave=never-stops", NULL);
    char endpoint[256];
    s_ready(&process, endpoint);
    int64_t deadline = s_clock_us() + 4000000; // its stop alone would take 5 s
    int status = 0;
    while (waitpid(process.pid, &status, WNOHANG) ==
           0) { // one that comes before the first was taken is the same one to the kernel
        assert_true(s_clock_us() < deadline);
        kill(process.pid, SIGTERM);
    }
    fclose(process.output);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void test_process__a_failed_node_and_a_refused_one_are_status_1_with_a_sentence(void **state)
{
    char text[512];
    struct process failed = s_run("behave=fails", NULL);
    assert_non_null(fgets(text, sizeof text, failed.output));
    assert_non_null(strstr(text, "echo-1: the disk is gone"));
    assert_null(fgets(text, sizeof text, failed.output)); // and trace does not say it again
    int status = s_wait(&failed);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    struct process refused = s_run("listen=nonsense", NULL);
    assert_non_null(fgets(text, sizeof text, refused.output));
    assert_non_null(strstr(text, "nonsense"));
    status = s_wait(&refused);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void test_process__says_why_it_is_degraded_and_serves_all_the_same(void **state)
{
    char directory[WEFT_TEST_PATH_BYTES], path[WEFT_TEST_PATH_BYTES + 16], first[512], second[512];
    weft_test_directory_make(directory);
    snprintf(path, sizeof path, "%s/ready", directory);
    struct process process = s_run("behave=lonely", path);
    assert_non_null(fgets(first, sizeof first, process.output));
    assert_memory_equal(first, "echo-1 serves tcp://127.0.0.1:", 30);
    assert_non_null(fgets(second, sizeof second, process.output));
    assert_string_equal(second, "echo-1 is degraded: nobody is there yet\n");
    while (access(path, F_OK) != 0) assert_true(kill(process.pid, 0) == 0); // it is written last
    FILE *ready = fopen(path, "r");
    assert_non_null(fgets(second, sizeof second, ready));
    fclose(ready);
    assert_string_equal(second, first + strlen("echo-1 serves "));
    kill(process.pid, SIGTERM);
    int status = s_wait(&process);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    weft_test_directory_remove(directory);
}

static void test_process__that_can_not_stop_is_status_1(void **state)
{
    char endpoint[256], text[512];
    struct process process = s_run("behave=stop-fails", NULL);
    s_ready(&process, endpoint);
    kill(process.pid, SIGTERM);
    assert_non_null(fgets(text, sizeof text, process.output));
    assert_non_null(strstr(text, "no room"));
    int status = s_wait(&process);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void test_process__whose_node_has_done_its_work_is_status_0(void **state)
{
    struct process process = s_run("behave=ends", NULL);
    int status = s_wait(&process);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process__serves_and_stops_cleanly_on_a_signal),
        cmocka_unit_test(test_process__the_second_signal_ends_it_at_once),
        cmocka_unit_test(test_process__a_failed_node_and_a_refused_one_are_status_1_with_a_sentence),
        cmocka_unit_test(test_process__says_why_it_is_degraded_and_serves_all_the_same),
        cmocka_unit_test(test_process__that_can_not_stop_is_status_1),
        cmocka_unit_test(test_process__whose_node_has_done_its_work_is_status_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
