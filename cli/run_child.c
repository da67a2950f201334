// SPDX-License-Identifier: MPL-2.0
/*
 * A node as a child: the same executable as `weft TYPE --set ...`, as a person could start it, with --report-fd for a
 * pipe on which it tells health and counters (lib/node_report.h). It dies with this process (PR_SET_PDEATHSIG),
 * stands in a process group of its own (a Ctrl-C at the terminal is for this process, which stops all in order), and
 * what it says on stdout and stderr comes out here behind its name.
 */
#include "run.h"

#include "../lib/hosted_node.h"
#include "../lib/node_report.h"
#include "../lib/nodes.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define S_REPORT_FD 3

// ---- start

// "weft", "broker", "--trace", ..., NULL; the settings stay the node's.
static char **s_command(const struct run *run, const struct run_node *node, char *report, size_t report_size)
{
    size_t count = 0;
    while (node->settings[count]) count++;
    char **argv = weft_calloc(2 * count + 10, sizeof *argv), **next = argv;
    static char words[][8] = {"weft", "node", "run"};
    *next++ = words[0];
    if (weft_node_type_is_file(node->type)) {
        *next++ = words[1];
        *next++ = words[2];
    }
    *next++ = node->type;
    snprintf(report, report_size, "--report-fd=%d", S_REPORT_FD);
    *next++ = report;
    static char trace[32];
    snprintf(trace, sizeof trace, "--trace=%s", cli_get(run->args, "--trace"));
    *next++ = trace;
    static char set[] = "--set";
    for (size_t i = 0; i < count; i++) {
        *next++ = set;
        *next++ = node->settings[i];
    }
    return argv;
}

// Only what is safe between fork and exec of a process with threads.
static _Noreturn void s_become(char **argv, pid_t parent, int err, int report)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nothing = open("/dev/null", O_RDONLY);
    if (getppid() != parent || nothing < 0 || dup2(nothing, 0) < 0 || dup2(err, 1) < 0 || dup2(err, 2) < 0 ||
        dup2(report, S_REPORT_FD) < 0)
        _exit(126);
    close_range(S_REPORT_FD + 1, ~0U, 0);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv("/proc/self/exe", argv);
    _exit(127);
}

// A pipe whose ends are above the descriptors that the child gets.
static bool s_pipe(int ends[2])
{
    int made[2];
    if (pipe2(made, O_CLOEXEC) != 0) return false;
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(made[i], F_DUPFD_CLOEXEC, 16);
        close(made[i]);
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return ends[0] >= 0 && ends[1] >= 0;
}

bool run_child_start(struct run *run, struct run_node *node)
{
    int err[2] = {-1, -1}, report[2] = {-1, -1};
    char text[32];
    char **argv = s_command(run, node, text, sizeof text);
    pid_t parent = getpid(), pid = -1;
    if (s_pipe(err) && s_pipe(report)) pid = fork();
    if (pid == 0) s_become(argv, parent, err[1], report[1]);
    int why = errno;
    free(argv);
    if (err[1] >= 0) close(err[1]);
    if (report[1] >= 0) close(report[1]);
    if (pid < 0) {
        if (err[0] >= 0) close(err[0]);
        if (report[0] >= 0) close(report[0]);
        char reason[128];
        snprintf(reason, sizeof reason, "no process can be started: %s", strerror(why));
        run_node_ended(run, node, false, reason);
        return false;
    }
    setpgid(pid, pid); // here and there: whoever comes first
    node->pid = pid;
    node->err = (struct run_lines){.fd = err[0]};
    node->report = (struct run_lines){.fd = report[0]};
    node->last_line[0] = '\0';
    return true;
}

// ---- what it says

// "2026-11-22T21:07:14.840Z info ...": trace of what goes well explains no end.
static bool s_is_chat(const char *line)
{
    const char *level = isdigit((unsigned char) *line) ? strchr(line, ' ') : NULL;
    return level && (strncmp(level, " info ", 6) == 0 || strncmp(level, " debug ", 7) == 0);
}

static void s_said(struct run *run, struct run_node *node, const char *line)
{
    const char *serves = strstr(line, " serves"); // it is told here, once it has reported
    if (serves && serves > line && !memchr(line, ' ', (size_t) (serves - line)) &&
        (!serves[7] || strstr(serves, "://")))
        return;
    if (*line && !s_is_chat(line)) snprintf(node->last_line, sizeof node->last_line, "%s", line);
    run_pass(run, node->name, line);
}

static void s_reported(struct run *run, struct run_node *node, const char *line)
{
    struct weft_node_report report;
    if (!weft_node_report_parse(line, &report)) return;
    node->created = true;
    if (report.kind == WEFT_NODE_REPORT_HEALTH) {
        run_node_health(run, node, report.health, report.text);
    } else if (report.kind == WEFT_NODE_REPORT_ENDPOINT) {
        snprintf(node->endpoint, sizeof node->endpoint, "%s", report.text);
    } else if (report.kind == WEFT_NODE_REPORT_COUNTERS) {
        node->counter_count = 0;
    } else if (node->counter_count < RUN_COUNTERS_MAX) {
        if (!node->counters) node->counters = weft_calloc(RUN_COUNTERS_MAX, sizeof *node->counters);
        struct run_counter *counter = &node->counters[node->counter_count++];
        snprintf(counter->source, sizeof counter->source, "%s", report.source);
        snprintf(counter->name, sizeof counter->name, "%s", report.text);
        counter->value = report.value;
    }
}

typedef void s_line_fn(struct run *run, struct run_node *node, const char *line);

static void s_take_lines(struct run *run, struct run_node *node, struct run_lines *lines, s_line_fn *take)
{
    char *begin = lines->text, *end = lines->text + lines->size, *newline;
    while ((newline = memchr(begin, '\n', (size_t) (end - begin))) != NULL) {
        *newline = '\0';
        take(run, node, begin);
        begin = newline + 1;
    }
    size_t left = (size_t) (end - begin);
    if (left == sizeof lines->text - 1) { // longer than a line may be: in pieces
        begin[left] = '\0';
        take(run, node, begin);
        left = 0;
    }
    memmove(lines->text, begin, left);
    lines->size = left;
}

static void s_read(struct run *run, struct run_node *node, struct run_lines *lines, s_line_fn *take)
{
    for (int i = 0; i < 64 && lines->fd >= 0; i++) { // one that never stops talking holds up nobody
        ssize_t got = read(lines->fd, lines->text + lines->size, sizeof lines->text - 1 - lines->size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            close(lines->fd);
            lines->fd = -1;
            return;
        }
        lines->size += (size_t) got;
        s_take_lines(run, node, lines, take);
    }
}

void run_child_read(struct run *run, struct run_node *node)
{
    s_read(run, node, &node->err, s_said);
    s_read(run, node, &node->report, s_reported);
}

// ---- its end

// What it said at last, without "weft TYPE: ", which is told already.
static const char *s_sentence(const struct run_node *node)
{
    const char *colon = strncmp(node->last_line, "weft ", 5) == 0 ? strstr(node->last_line, ": ") : NULL;
    return colon ? colon + 2 : node->last_line;
}

static void s_close(struct run_lines *lines)
{
    if (lines->fd >= 0) close(lines->fd);
    lines->fd = -1;
}

void run_child_look(struct run *run, struct run_node *node)
{
    int status;
    run_child_read(run, node);
    if (node->pid <= 0 || waitpid(node->pid, &status, WNOHANG) != node->pid) return;
    run_child_read(run, node); // what it said at last
    s_close(&node->err);
    s_close(&node->report);
    node->pid = 0;
    bool in_order = strcmp(node->sentence, WEFT_NODE_ENDED_BY_ITSELF) == 0;
    const char *said = node->last_line, *between = *said ? ": " : "";
    char reason[WEFT_ERROR_TEXT_BYTES_MAX];
    if (WIFSIGNALED(status))
        snprintf(reason, sizeof reason, "killed by signal %d (%s)%s%.300s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), *said ? "; its last line: " : "", said);
    else if (in_order)
        snprintf(reason, sizeof reason, "%s", WEFT_NODE_ENDED_BY_ITSELF);
    else
        snprintf(reason, sizeof reason, "ended with status %d%s%.400s", WEXITSTATUS(status), between, said);
    if (node->stopping && !(WIFEXITED(status) && WEXITSTATUS(status) == 0) && !in_order) {
        run->status = CLI_FAILED;
        run_say(run, node->name, "did not stop cleanly: %s", reason);
    }
    if (WIFEXITED(status) && !in_order && !node->created && !node->stopping)
        run_node_refused(run, node, *said ? s_sentence(node) : reason, reason);
    else
        run_node_ended(run, node, in_order, reason);
}
