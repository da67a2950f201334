// SPDX-License-Identifier: MPL-2.0
// A loop inside another. The number given out stays the same for life: an outer epoll set that holds a timer for the
// deadline and an inner epoll set over all that the loop waits on; the inner one is made anew when links come and go (a
// closed socket's descriptor may live on in libzmq, so it can't be left to leave by itself). Sockets that are `ready`
// with a silent descriptor (see loop.c) are covered by arming the timer at once after the turn.
#include "loop_self.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static bool s_watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static void s_close(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

void weft_loop_fd_close(weft_loop_t *self)
{
    s_close(&self->outer_fd);
    s_close(&self->inner_fd);
    s_close(&self->timer_fd);
}

void weft_loop_fd_renew(weft_loop_t *self)
{
    if (self->outer_fd < 0) return;
    s_close(&self->inner_fd);
    self->inner_fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->inner_fd < 0 || !s_watch(self->outer_fd, self->inner_fd)) return; // the timer still wakes the outer loop
    for (size_t i = 0; i < self->poll_count; i++) (void) s_watch(self->inner_fd, self->polls[i].fd);
}

static bool s_ready(const weft_loop_t *self)
{
    if (!weft_outbox_empty(&self->outbox) || self->polls_stale || self->inner_fd < 0) return true;
    for (size_t i = 0; i < WEFT_LOOP_DOORS; i++) {
        if (self->doors[i].ready || self->doors[i].watch) return true;
    }
    for (size_t i = 0; i < self->link_count; i++) {
        if (self->links[i].ready || self->links[i].monitor_ready) return true;
    }
    return false;
}

void weft_loop_fd_arm(weft_loop_t *self)
{
    if (self->outer_fd < 0) return;
    bool at_once = s_ready(self) || !weft_mailbox_sleep(self->mailbox);
    int64_t deadline = at_once ? 1 : weft_loop_deadline_us(self);
    struct itimerspec when = {.it_value = {0, 0}}; // zero disarms
    if (deadline != WEFT_TIME_NEVER) {
        if (deadline < 1) deadline = 1;
        when.it_value.tv_sec = deadline / 1000000;
        when.it_value.tv_nsec = deadline % 1000000 * 1000;
    }
    (void) timerfd_settime(self->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

int weft_loop_fd(weft_loop_t *self)
{
    if (self->outer_fd >= 0) return self->outer_fd;
    self->outer_fd = epoll_create1(EPOLL_CLOEXEC);
    self->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (self->outer_fd < 0 || self->timer_fd < 0 || !s_watch(self->outer_fd, self->timer_fd)) {
        weft_loop_fd_close(self);
        return -1;
    }
    self->polls_stale = true; // the next run fills the inner set; until then the loop is ready
    weft_loop_fd_arm(self);
    return self->outer_fd;
}
