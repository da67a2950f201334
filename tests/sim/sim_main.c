// SPDX-License-Identifier: MPL-2.0
/*
 * weft_sim: plays seeds. Workers are processes, so that an assertion, a sanitizer's report or an endless loop in one history costs that seed
 * and no other: the parent knows which seed a worker was at, counts it as failed and starts another worker behind it.
 */
#include "sim_large.h"
#include "sim_run.h"

#include "sim_history.h"

#ifdef WEFT_MUTATIONS
#include "sim_mutations.h"
#endif

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64
#define SEED_SECONDS_MAX 120 // of real time; a history takes a fraction of one

struct options {
    uint64_t from, count;
    enum sim_kind kind;
    bool single, trace, messages, verbose;
    bool large;         // the large group, instead of seeds
    bool hunt, often;   // for planted bugs; only for those that show often
    bool until_failure; // stop at the first seed that fails
    bool quiet;
    double minutes;
    int jobs;
    const char *seeds_file;
};

struct message { // from a worker to the parent, in one write
    uint64_t seed;
    bool ended;
    struct sim_result result;
};

struct worker {
    pid_t pid;
    int fd;
    uint64_t seed; // at work on it
    bool at_work;
    time_t since;
};

struct totals {
    uint64_t seeds, failed, sent, acked, crashes, events;
    double virtual_s;
    char first_violation[256];
};

static uint64_t *s_list; // seeds to play before the range
static size_t s_list_count;

static double s_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

// The n-th seed of this run.
static uint64_t s_seed_of(const struct options *options, uint64_t n)
{
    return n < s_list_count ? s_list[n] : options->from + (n - s_list_count);
}

static void s_load_list(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) return;
    char line[256];
    while (fgets(line, sizeof line, file) != NULL) {
        char *end;
        uint64_t seed = strtoull(line, &end, 10);
        if (end == line) continue; // a comment
        s_list = realloc(s_list, (s_list_count + 1) * sizeof *s_list);
        if (s_list == NULL) abort();
        s_list[s_list_count++] = seed;
    }
    fclose(file);
}

// ---- workers: each asks for a seed by a byte on its pipe pair and answers with messages

static void s_worker_run(const struct options *options, int commands, int fd)
{
    struct message message;
    while (read(commands, &message.seed, sizeof message.seed) == (ssize_t) sizeof message.seed) {
        message.ended = true;
        sim_run_seed(message.seed, options->kind, options->trace, false, &message.result);
        if (write(fd, &message, sizeof message) != (ssize_t) sizeof message) break;
    }
    exit(0); // a sanitizer looks for leaks now
}

static int s_commands[JOBS_MAX];

static void s_worker_start(const struct options *options, struct worker *worker, int index)
{
    int commands[2], results[2];
    if (pipe(commands) != 0 || pipe(results) != 0) abort();
    fflush(NULL);
    worker->pid = fork();
    if (worker->pid < 0) abort();
    if (worker->pid == 0) {
        for (int i = 0; i < JOBS_MAX; i++) {
            if (s_commands[i] > 0) close(s_commands[i]); // else the others would never see their pipe's end
        }
        close(commands[1]);
        close(results[0]);
        s_worker_run(options, commands[0], results[1]);
    }
    close(commands[0]);
    close(results[1]);
    s_commands[index] = commands[1];
    worker->fd = results[0];
    worker->at_work = false;
}

// False: it did not end as it should, by a signal or with a sanitizer's report.
static bool s_worker_end(struct worker *worker, int index, bool kill_it)
{
    if (kill_it) kill(worker->pid, SIGKILL);
    close(s_commands[index]);
    s_commands[index] = 0;
    close(worker->fd);
    int status = 0;
    while (waitpid(worker->pid, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void s_give(struct worker *worker, int index, uint64_t seed)
{
    worker->seed = seed;
    worker->at_work = true;
    worker->since = time(NULL);
    if (write(s_commands[index], &seed, sizeof seed) != (ssize_t) sizeof seed) {
        // It died before it had anything to do: its pipe's end tells.
    }
}

// ---- results

static void s_failed(struct totals *totals, const struct options *options, uint64_t seed, const char *why,
                     const char *summary)
{
    if (totals->failed++ == 0) snprintf(totals->first_violation, sizeof totals->first_violation, "%s", why);
    if (options->quiet) return;
    printf("seed %" PRIu64 " FAILED: %s\n", seed, why);
    if (summary[0] != '\0') printf("    %s\n", summary);
    printf("    replay: scripts/sim %s--seed %" PRIu64 " --trace\n", options->kind == SIM_KIND_EDGE ? "--edge " : "",
           seed);
    fflush(stdout);
}

static void s_count(struct totals *totals, const struct options *options, const struct message *message)
{
    const struct sim_result *result = &message->result;
    totals->seeds++;
    totals->sent += result->sent;
    totals->acked += result->acked;
    totals->crashes += result->crashes;
    totals->events += result->events;
    totals->virtual_s += (double) result->virtual_us / 1e6;
    if (result->failed)
        s_failed(totals, options, message->seed, result->violation, result->summary);
    else if (options->verbose)
        printf("seed %" PRIu64 " ok: %s, digest %016" PRIx64 "\n", message->seed, result->summary, result->digest);
}

// One message of a worker, or its end.
static void s_hear(struct totals *totals, const struct options *options, struct worker *worker, int index)
{
    struct message message;
    size_t got = 0;
    while (got < sizeof message) {
        ssize_t size = read(worker->fd, (char *) &message + got, sizeof message - got);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0) break;
        got += (size_t) size;
    }
    if (got == sizeof message) {
        worker->at_work = false;
        s_count(totals, options, &message);
        return;
    }
    if (worker->at_work) {
        totals->seeds++;
        s_failed(totals, options, worker->seed, "the process died: an assertion or a sanitizer, see above", "");
    }
    (void) s_worker_end(worker, index, false);
    s_worker_start(options, worker, index);
}

static void s_check_time(struct totals *totals, const struct options *options, struct worker *worker, int index)
{
    if (!worker->at_work || time(NULL) - worker->since < SEED_SECONDS_MAX) return;
    totals->seeds++;
    s_failed(totals, options, worker->seed, "it does not end in real time", "");
    (void) s_worker_end(worker, index, true);
    s_worker_start(options, worker, index);
}

static void s_play(const struct options *options, struct totals *totals)
{
    struct worker workers[JOBS_MAX];
    double end = options->minutes > 0 ? s_now() + options->minutes * 60 : 0;
    uint64_t next = 0, all = s_list_count + options->count;
    for (int i = 0; i < options->jobs; i++) s_worker_start(options, &workers[i], i);
    for (;;) {
        int busy = 0;
        bool over = end > 0 ? s_now() > end : next >= all;
        if (options->until_failure && totals->failed > 0) over = true;
        struct pollfd polls[JOBS_MAX];
        for (int i = 0; i < options->jobs; i++) {
            if (!workers[i].at_work && !over && (end > 0 || next < all))
                s_give(&workers[i], i, s_seed_of(options, next++));
            busy += workers[i].at_work;
            polls[i] = (struct pollfd){.fd = workers[i].fd, .events = POLLIN};
        }
        if (busy == 0) break;
        if (poll(polls, (nfds_t) options->jobs, 1000) < 0 && errno != EINTR) break;
        for (int i = 0; i < options->jobs; i++) {
            if (polls[i].revents != 0)
                s_hear(totals, options, &workers[i], i);
            else
                s_check_time(totals, options, &workers[i], i);
        }
    }
    for (int i = 0; i < options->jobs; i++) {
        if (s_worker_end(&workers[i], i, false)) continue;
        totals->failed++;
        printf("a worker did not end well: see above\n");
    }
}

// ---- the hunt for planted bugs

#ifdef WEFT_MUTATIONS
#define HUNT_SEEDS_MAX 2500 // every one is found within these
#define HUNT_EDGE_SEEDS_MAX 1000
#define HUNT_OFTEN_SEEDS_MAX 300 // and those that show often within these

// How many of the list are not found.
static int s_hunt(const struct options *given, const char *const *names, uint64_t seeds_max)
{
    int missed = 0;
    for (const char *const *name = names; *name != NULL; name++) {
        struct options options = *given;
        options.count = seeds_max;
        options.until_failure = options.quiet = true;
        struct totals totals = {.seeds = 0};
        sim_mutate(*name);
        double begun = s_now();
        s_play(&options, &totals);
        if (totals.failed == 0) missed++;
        printf("%-26s %s after %" PRIu64 " seeds, %.1f s: %s\n", *name, totals.failed > 0 ? "found" : "NOT FOUND",
               totals.seeds, s_now() - begun, totals.first_violation);
        fflush(stdout);
    }
    return missed;
}

static int s_hunts(const struct options *options)
{
    if (options->kind == SIM_KIND_EDGE) return s_hunt(options, sim_mutations_edge, HUNT_EDGE_SEEDS_MAX) == 0 ? 0 : 1;
    int missed = s_hunt(options, sim_mutations_often, HUNT_OFTEN_SEEDS_MAX);
    if (!options->often) missed += s_hunt(options, sim_mutations_seldom, HUNT_SEEDS_MAX);
    return missed == 0 ? 0 : 1;
}
#endif

// ---- command line

static int s_single(const struct options *options)
{
    struct sim_result result;
    sim_run_seed(options->from, options->kind, options->trace, options->messages, &result);
    printf("seed %" PRIu64 ": %s, digest %016" PRIx64 "\n", options->from, result.summary, result.digest);
    if (!result.failed) return 0;
    printf("FAILED: %s\n", result.violation);
    return 1;
}

static int s_usage(void)
{
    fprintf(stderr, "usage: weft_sim [--seeds N] [--from S] [--seed N] [--trace | --messages] [--minutes M] [--jobs J] "
                    "[--list FILE] [--verbose] [--edge] [--groups-large]\n");
    return 2;
}

static bool s_parse(int argc, char **argv, struct options *options)
{
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0)
            options->trace = true;
        else if (strcmp(argv[i], "--messages") == 0)
            options->messages = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            options->verbose = true;
        else if (strcmp(argv[i], "--edge") == 0)
            options->kind = SIM_KIND_EDGE;
        else if (strcmp(argv[i], "--groups-large") == 0)
            options->large = true;
        else if (strcmp(argv[i], "--hunt") == 0)
            options->hunt = true;
        else if (strcmp(argv[i], "--hunt-often") == 0)
            options->hunt = options->often = true;
        else if (!has_value)
            return false;
        else if (strcmp(argv[i], "--seeds") == 0)
            options->count = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--from") == 0)
            options->from = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--minutes") == 0)
            options->minutes = strtod(argv[++i], NULL);
        else if (strcmp(argv[i], "--jobs") == 0)
            options->jobs = atoi(argv[++i]);
        else if (strcmp(argv[i], "--list") == 0)
            options->seeds_file = argv[++i];
        else if (strcmp(argv[i], "--seed") == 0) {
            options->from = strtoull(argv[++i], NULL, 10);
            options->single = true;
        } else
            return false;
    }
    return options->jobs >= 1 && options->jobs <= JOBS_MAX;
}

int main(int argc, char **argv)
{
    struct options options = {.from = 1, .count = 300, .jobs = (int) sysconf(_SC_NPROCESSORS_ONLN)};
    if (!s_parse(argc, argv, &options)) return s_usage();
    signal(SIGPIPE, SIG_IGN);
#ifdef WEFT_MUTATIONS
    sim_mutate(getenv("WEFT_MUTATE"));
    if (options.hunt) return s_hunts(&options);
#else
    if (options.hunt) return s_usage(); // weft_sim_mutants does
#endif
    if (options.large) return sim_large_run(options.trace) ? 0 : 1;
    if (options.single) return s_single(&options);
    if (options.seeds_file != NULL) s_load_list(options.seeds_file);
    struct totals totals = {.seeds = 0};
    double begun = s_now();
    s_play(&options, &totals);
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %.0f s of clusters' time in %.1f s; %" PRIu64
           " records sent, %" PRIu64 " acknowledged, %" PRIu64 " crashes, %.1f million events\n",
           totals.seeds, totals.failed, totals.virtual_s, s_now() - begun, totals.sent, totals.acked, totals.crashes,
           (double) totals.events / 1e6);
    free(s_list);
    return totals.failed == 0 ? 0 : 1;
}
