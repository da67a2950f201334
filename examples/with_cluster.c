// SPDX-License-Identifier: MPL-2.0
// with_cluster COMMAND...: starts a cluster inside this process, in a directory that is removed again, runs each
// COMMAND against it (WEFT_BOOTSTRAP), one after the other, and stops. Fails with the first command that fails. It is
// how the tests run the examples, and an example itself.
#define _GNU_SOURCE // nftw, mkdtemp
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/embedded.h>

static int s_remove(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void) status, (void) type, (void) walk;
    return remove(path);
}

static int s_run(char *command)
{
    pid_t child = fork();
    if (child == 0) {
        execl(command, command, (char *) NULL);
        _exit(127);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) < 0) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int count, char **commands)
{
    const char *tmp = getenv("TMPDIR");
    char directory[512];
    snprintf(directory, sizeof directory, "%s/weft-example-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(directory)) {
        perror(directory);
        return 1;
    }
    struct weft_error error;
    weft_embedded_t *cluster;
    struct weft_embedded_options options = {.data = directory, .listen = "tcp://127.0.0.1:*"};
    int result = 0;
    if (weft_embedded_start(&options, &cluster, &error) != WEFT_OK) {
        fprintf(stderr, "%s\n", error.text);
        result = 1;
    } else {
        setenv("WEFT_BOOTSTRAP", weft_embedded_bootstrap(cluster), 1);
        for (int i = 1; i < count && !result; i++) {
            printf("== %s\n", commands[i]);
            fflush(stdout);
            result = s_run(commands[i]);
        }
        if (weft_embedded_stop(&cluster) != WEFT_OK) result = 1;
    }
    nftw(directory, s_remove, 16, FTW_DEPTH | FTW_PHYS);
    return result;
}
