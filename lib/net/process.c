// SPDX-License-Identifier: MPL-2.0
// Signals are taken synchronously by sigtimedwait: no handler runs anywhere, so nothing is to be async-signal-safe.
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

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
