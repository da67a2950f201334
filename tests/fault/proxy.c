// SPDX-License-Identifier: MPL-2.0
// A TCP proxy with bad manners: it delays, slows, holds back or breaks what goes through it. A node advertises the
// proxy's endpoint instead of its own; ZeroMQ notices nothing. It is told what to do on stdin, a line each, and answers
// "ok" or "error ..." on stdout:
//
//   link NAME LISTEN_PORT HOST:PORT     listen on 127.0.0.1 (port 0: any; the answer is "ok PORT"), pass on to HOST:PORT
//   delay NAME up|down|both MS JITTER   every byte is MS to MS + JITTER ms late, in order
//   rate NAME up|down|both BYTES        bytes a second, 0: no limit
//   cut NAME up|down|both               nothing passes; what was sent waits, as in a network that drops packets
//   half NAME                           the node's side is closed, the other side is not told and talks into the void
//   reset NAME                          all connections are reset now
//   heal NAME                           none of this any more (half-open connections stay as they are)
//
// "up" is from who dialled to the node. One thread, poll, a queue of chunks with the time when each is due. A link that
// is cut is not read either, so that its sender meets full buffers as it would without a network.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    S_LINKS_MAX = 64,
    S_CONNECTIONS_MAX = 1024,
    S_CHUNK_BYTES = 64 << 10,
    S_QUEUE_BYTES_MAX = 4 << 20,
    UP = 0,
    DOWN = 1
};

struct s_chunk {
    struct s_chunk *next;
    int64_t due_us;
    size_t size, sent;
    char bytes[];
};

struct s_way {
    struct s_chunk *first, **last;
    size_t bytes;
    int64_t last_due_us;
    bool ended; // the sender closed; the receiver is told when the queue is empty
};

struct s_link {
    char name[64];
    int listener;
    struct sockaddr_in target;
    bool cut[2], half;
    int64_t delay_us[2], jitter_us[2], rate[2];
};

struct s_connection {
    struct s_link *link;
    int fds[2]; // who dialled, the node; -1: closed
    bool connecting;
    struct s_way ways[2];
};

static struct s_link s_links[S_LINKS_MAX];
static size_t s_link_count;
static struct s_connection *s_connections[S_CONNECTIONS_MAX];
static size_t s_connection_count;

static int64_t s_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// ---- connections

static void s_free_way(struct s_way *way)
{
    while (way->first) {
        struct s_chunk *chunk = way->first;
        way->first = chunk->next;
        free(chunk);
    }
    way->last = &way->first;
    way->bytes = 0;
}

static void s_close_side(struct s_connection *connection, int side, bool hard)
{
    if (connection->fds[side] < 0) return;
    struct linger linger = {1, 0};
    if (hard) setsockopt(connection->fds[side], SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(connection->fds[side]);
    connection->fds[side] = -1;
}

static void s_drop(size_t index, bool hard)
{
    struct s_connection *connection = s_connections[index];
    s_close_side(connection, 0, hard);
    s_close_side(connection, 1, hard);
    s_free_way(&connection->ways[UP]);
    s_free_way(&connection->ways[DOWN]);
    free(connection);
    s_connections[index] = s_connections[--s_connection_count];
}

static void s_accept(struct s_link *link)
{
    int one = 1, client = accept4(link->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) return;
    int node = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct s_connection *connection = calloc(1, sizeof *connection);
    if (!connection || node < 0 || s_connection_count == S_CONNECTIONS_MAX) {
        close(client);
        if (node >= 0) close(node);
        free(connection);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(node, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *connection = (struct s_connection){.link = link, .fds = {client, node}, .connecting = true};
    connection->ways[UP].last = &connection->ways[UP].first;
    connection->ways[DOWN].last = &connection->ways[DOWN].first;
    s_connections[s_connection_count++] = connection;
    if (connect(node, (struct sockaddr *) &link->target, sizeof link->target) != 0 && errno != EINPROGRESS)
        s_drop(s_connection_count - 1, true);
}

// Reads what one side sent; false when the connection has ended.
static bool s_read(struct s_connection *connection, int way)
{
    struct s_link *link = connection->link;
    struct s_way *queue = &connection->ways[way];
    char buffer[S_CHUNK_BYTES];
    ssize_t got = read(connection->fds[way], buffer, sizeof buffer);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    if (got == 0) {
        queue->ended = true;
        return true;
    }
    if (connection->fds[!way] < 0) return true; // half open: into the void
    struct s_chunk *chunk = malloc(sizeof *chunk + (size_t) got);
    if (!chunk) return false;
    int64_t due = s_now_us() + link->delay_us[way] + (link->jitter_us[way] ? random() % link->jitter_us[way] : 0);
    if (due < queue->last_due_us) due = queue->last_due_us;
    if (link->rate[way]) due += got * 1000000 / link->rate[way];
    queue->last_due_us = due;
    chunk->next = NULL;
    chunk->due_us = due;
    chunk->size = (size_t) got;
    chunk->sent = 0;
    memcpy(chunk->bytes, buffer, (size_t) got);
    *queue->last = chunk;
    queue->last = &chunk->next;
    queue->bytes += (size_t) got;
    return true;
}

static bool s_write(struct s_connection *connection, int way, int64_t now_us)
{
    struct s_way *queue = &connection->ways[way];
    int fd = connection->fds[!way];
    while (fd >= 0 && queue->first && queue->first->due_us <= now_us) {
        struct s_chunk *chunk = queue->first;
        ssize_t sent = send(fd, chunk->bytes + chunk->sent, chunk->size - chunk->sent, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN || errno == EINTR;
        chunk->sent += (size_t) sent;
        queue->bytes -= (size_t) sent;
        if (chunk->sent < chunk->size) return true;
        queue->first = chunk->next;
        if (!queue->first) queue->last = &queue->first;
        free(chunk);
    }
    return !(queue->ended && !queue->first);
}

// ---- commands

static struct s_link *s_find(const char *name)
{
    for (size_t i = 0; i < s_link_count; i++) {
        if (strcmp(s_links[i].name, name) == 0) return &s_links[i];
    }
    return NULL;
}

static int s_new_link(const char *name, int port, const char *host, int target_port)
{
    if (s_link_count == S_LINKS_MAX || s_find(name)) return -1;
    struct s_link *link = &s_links[s_link_count];
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t) port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    int one = 1;
    *link = (struct s_link){.target = {.sin_family = AF_INET, .sin_port = htons((uint16_t) target_port)}};
    snprintf(link->name, sizeof link->name, "%s", name);
    if (inet_pton(AF_INET, host, &link->target.sin_addr) != 1) return -1;
    link->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(link->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(link->listener, (struct sockaddr *) &here, size) != 0 || listen(link->listener, 128) != 0) {
        close(link->listener);
        return -1;
    }
    getsockname(link->listener, (struct sockaddr *) &here, &size);
    s_link_count++;
    return ntohs(here.sin_port);
}

static void s_for_connections(const struct s_link *link, bool half)
{
    for (size_t i = s_connection_count; i-- > 0;) {
        if (s_connections[i]->link != link) continue;
        if (!half) {
            s_drop(i, true);
            continue;
        }
        s_close_side(s_connections[i], 1, false);
        s_free_way(&s_connections[i]->ways[UP]);
        s_free_way(&s_connections[i]->ways[DOWN]);
    }
}

static bool s_each_way(const char *ways, bool which[2])
{
    which[UP] = strcmp(ways, "down") != 0;
    which[DOWN] = strcmp(ways, "up") != 0;
    return strcmp(ways, "up") == 0 || strcmp(ways, "down") == 0 || strcmp(ways, "both") == 0;
}

static bool s_set(struct s_link *link, const char *verb, const char *ways, long a, long b)
{
    bool which[2];
    if (!s_each_way(ways, which)) return false;
    for (int way = UP; way <= DOWN; way++) {
        if (!which[way]) continue;
        if (strcmp(verb, "delay") == 0) {
            link->delay_us[way] = a * 1000;
            link->jitter_us[way] = b * 1000;
        } else if (strcmp(verb, "rate") == 0) {
            link->rate[way] = a;
        } else {
            link->cut[way] = true;
        }
    }
    return true;
}

static bool s_known_verb(const char *verb)
{
    return strcmp(verb, "delay") == 0 || strcmp(verb, "rate") == 0 || strcmp(verb, "cut") == 0;
}

static void s_command(const char *line)
{
    char verb[16] = "", name[64] = "", third[64] = "", host[64];
    int port, target_port;
    long a = 0, b = 0;
    if (sscanf(line, "link %63s %d %63[^:]:%d", name, &port, host, &target_port) == 4) {
        int bound = s_new_link(name, port, host, target_port);
        printf(bound < 0 ? "error cannot listen\n" : "ok %d\n", bound);
        return;
    }
    int words = sscanf(line, "%15s %63s %63s %ld %ld", verb, name, third, &a, &b);
    struct s_link *link = s_find(name);
    bool good = words >= 2 && link;
    if (good && s_known_verb(verb)) {
        good = s_set(link, verb, third, a, b);
    } else if (good && strcmp(verb, "half") == 0) {
        link->half = true;
        s_for_connections(link, true);
    } else if (good && strcmp(verb, "reset") == 0) {
        s_for_connections(link, false);
    } else if (good && strcmp(verb, "heal") == 0) {
        for (int way = UP; way <= DOWN; way++) {
            link->cut[way] = false;
            link->delay_us[way] = link->jitter_us[way] = link->rate[way] = 0;
        }
        link->half = false;
    } else {
        good = false;
    }
    puts(good ? "ok" : "error not understood");
}

static bool s_read_commands(void)
{
    static char buffer[4096];
    static size_t filled;
    ssize_t got = read(STDIN_FILENO, buffer + filled, sizeof buffer - 1 - filled);
    if (got <= 0) return got < 0 && errno == EINTR;
    filled += (size_t) got;
    buffer[filled] = '\0';
    char *line = buffer, *end;
    while ((end = strchr(line, '\n'))) {
        *end = '\0';
        s_command(line);
        line = end + 1;
    }
    filled = strlen(line);
    memmove(buffer, line, filled + 1);
    fflush(stdout);
    return true;
}

// ---- the loop

static short s_wants(const struct s_connection *connection, int side, int64_t now_us, int64_t *next_us)
{
    const struct s_link *link = connection->link;
    int in = side, out = !side; // side 0 reads what goes up and writes what comes down
    short events = 0;
    if (!link->cut[in] && !connection->ways[in].ended && connection->ways[in].bytes < S_QUEUE_BYTES_MAX &&
        !connection->connecting)
        events |= POLLIN;
    const struct s_chunk *chunk = connection->ways[out].first;
    if (link->cut[out] || !chunk) return events;
    if (chunk->due_us <= now_us) return (short) (events | POLLOUT);
    if (chunk->due_us < *next_us) *next_us = chunk->due_us;
    return events;
}

// False when the connection is over.
static bool s_serve(struct s_connection *connection, int side, short events, int64_t now_us)
{
    const struct s_link *link = connection->link;
    if (connection->fds[side] < 0) return true;
    if (connection->connecting && side == 1 && events) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(connection->fds[1], SOL_SOCKET, SO_ERROR, &error, &size);
        connection->connecting = false;
        if (error) return false;
        if (link->half) s_close_side(connection, 1, false);
        return true;
    }
    if (events & POLLERR) return connection->fds[!side] < 0;
    if ((events & (POLLIN | POLLHUP)) && !link->cut[side] && !s_read(connection, side)) return false;
    if (!link->cut[!side] && !s_write(connection, !side, now_us)) return false;
    // ended, nothing left to deliver (or nobody to deliver to)
    return !(connection->ways[side].ended && !link->cut[side] &&
             (!connection->ways[side].first || connection->fds[!side] < 0));
}

static void s_turn(void)
{
    static struct pollfd polls[1 + S_LINKS_MAX + 2 * S_CONNECTIONS_MAX];
    size_t count = 0, first = 1 + s_link_count, connections = s_connection_count;
    int64_t now_us = s_now_us(), next_us = now_us + 1000000;
    polls[count++] = (struct pollfd){STDIN_FILENO, POLLIN, 0};
    for (size_t i = 0; i < s_link_count; i++) polls[count++] = (struct pollfd){s_links[i].listener, POLLIN, 0};
    for (size_t i = 0; i < connections; i++) {
        for (int side = 0; side < 2; side++) {
            short events = s_wants(s_connections[i], side, now_us, &next_us);
            if (s_connections[i]->connecting) events = side == 1 ? POLLOUT : 0;
            // a side that wants nothing is not polled: POLLHUP of a cut link would spin
            polls[count++] = (struct pollfd){events ? s_connections[i]->fds[side] : -1, events, 0};
        }
    }
    int wait_ms = (int) ((next_us - now_us + 999) / 1000);
    if (poll(polls, count, wait_ms) < 0) return;
    now_us = s_now_us();
    for (size_t i = connections; i-- > 0;) {
        bool alive = s_serve(s_connections[i], 0, polls[first + 2 * i].revents, now_us) &&
                     s_serve(s_connections[i], 1, polls[first + 2 * i + 1].revents, now_us);
        if (!alive) s_drop(i, false);
    }
    for (size_t i = 0; i < s_link_count && i < first - 1; i++) {
        if (polls[1 + i].revents) s_accept(&s_links[i]);
    }
    if (polls[0].revents && !s_read_commands()) exit(0); // who started us is gone
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    for (;;) s_turn();
}
