// SPDX-License-Identifier: MPL-2.0
// Proof that the unit simulation of the quorum finds a rule that is broken: each planted bug (lib/base/mutate.h) is played until a seed
// fails, in a process of its own. The objects here are compiled with the bugs in them.
int sim_main(int argc, char **argv);
#define main sim_main
#include "test_quorum_sim.c"
#undef main

#include "base/mutate.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct mutant {
    const char *name, *test;
    const char *seeds; // that are played; one of them must fail
    const char *from;  // or the one that is known to
} s_mutants[] = {
    {"vote_not_stored", "*five*", "150", NULL},                           // rule 1
    {"snapshot_of_what_is_not_durable", "*three_voters_a*", "150", NULL}, // rule 3
    {"persisted_before_it_is_synced", "*one_v*", "150", NULL},            // rule 4
    {"voters_within_a_message", "*amid*", "1", NULL},                     // rule 8
    {"entries_from_before_the_log", "*", "150", NULL},                    // rule 9
    {"pre_vote_hides_the_term", "*three_voters_a*", "200", NULL},
    {"pieces_out_of_place", "*three_voters_a*", "150", NULL},
    {"office_lost_later", "*three_voters_a*", "150", NULL},
};

static const char *s_now = "";

bool weft_mutated(const char *name)
{
    return strcmp(s_now, name) == 0;
}

static bool s_found(const struct mutant *mutant)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int nowhere = open("/dev/null", O_WRONLY);
        if (!getenv("RIG_SEEDS")) {
            dup2(nowhere, 1);
            dup2(nowhere, 2);
        }
        setenv("WEFT_SEEDS", mutant->seeds, 1);
        if (mutant->from) setenv("WEFT_SEED", mutant->from, 1);
        s_now = mutant->name;
        char test[64];
        snprintf(test, sizeof test, "%s", mutant->test);
        char *arguments[] = {test, test, NULL};
        exit(sim_main(2, arguments) == 0 ? 0 : 1);
    }
    int status = 0;
    (void) waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

int main(int argc, char **argv)
{
    int missed = 0;
    for (size_t i = 0; i < sizeof s_mutants / sizeof s_mutants[0]; i++) {
        if (argc > 1 && strcmp(argv[1], s_mutants[i].name) != 0) continue;
        bool found = s_found(&s_mutants[i]);
        printf("%s: %s\n", found ? "found " : "MISSED", s_mutants[i].name);
        missed += !found;
    }
    return missed != 0;
}
