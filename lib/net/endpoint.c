// SPDX-License-Identifier: MPL-2.0
// The ipc lock is an flock on "<path>.lock": the kernel lets go of it however its holder ends. The file is unlinked by
// its holder only, and a new holder makes sure that the file it locked still has its name, so that two can't hold two
// files of one name. A socket that answers on the path without a lock (some other program's) is in use as well.
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define S_ENDPOINT_BYTES_MAX 255

static bool s_begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static weft_err_t s_invalid(struct weft_error *error, const char *endpoint, const char *why)
{
    return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                          "endpoint '%.64s' %s; write tcp://HOST:PORT, ipc://PATH or inproc://NAME", endpoint, why);
}

static weft_err_t s_check_tcp(const char *endpoint, struct weft_error *error)
{
    const char *address = endpoint + strlen("tcp://");
    const char *colon = strrchr(address, ':');
    if (colon == NULL) return s_invalid(error, endpoint, "has no port");
    if (colon == address) return s_invalid(error, endpoint, "has no host");
    if (strcmp(colon + 1, "*") == 0) return WEFT_OK;
    char *end = NULL;
    errno = 0;
    long port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || errno != 0 || port < 0 || port > 65535 || colon[1] == '+' ||
        colon[1] == '-')
        return s_invalid(error, endpoint, "has a port that is not a number from 0 to 65535 or *");
    return WEFT_OK;
}

weft_err_t weft_endpoint_check(const char *endpoint, struct weft_error *error)
{
    if (endpoint == NULL || *endpoint == '\0') return s_invalid(error, "", "is empty");
    if (strlen(endpoint) > S_ENDPOINT_BYTES_MAX) return s_invalid(error, endpoint, "is longer than 255 bytes");
    if (s_begins(endpoint, "tcp://")) return s_check_tcp(endpoint, error);
    if (s_begins(endpoint, "ipc://")) {
        size_t size = strlen(endpoint + strlen("ipc://"));
        if (size == 0) return s_invalid(error, endpoint, "has no path");
        if (size >= sizeof((struct sockaddr_un *) 0)->sun_path)
            return s_invalid(error, endpoint, "has a path too long for a Unix socket (107 bytes)");
        return WEFT_OK;
    }
    if (s_begins(endpoint, "inproc://"))
        return endpoint[strlen("inproc://")] != '\0' ? WEFT_OK : s_invalid(error, endpoint, "has no name");
    return s_invalid(error, endpoint, "has no known transport");
}

weft_err_t weft_endpoint_bind_error(const char *endpoint, int zmq_errno, struct weft_error *error)
{
    switch (zmq_errno) {
    case EADDRINUSE:
        return weft_error_set(
            error, WEFT_ERR_ENDPOINT_IN_USE,
            "endpoint %s is in use by another process; stop that one, or choose another endpoint with "
            "--listen (weft up) or --set listen=ENDPOINT",
            endpoint);
    case EADDRNOTAVAIL:
    case ENODEV:
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                              "endpoint '%s' is not an address of this machine; give one of its own or 0.0.0.0",
                              endpoint);
    case EACCES:
    case EPERM:
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT,
                              "this user may not listen on '%s'; choose a port above 1023 or a path that it may write",
                              endpoint);
    default:
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT, "can't listen on '%s': %s", endpoint,
                              zmq_strerror(zmq_errno));
    }
}

// Opens and locks the file; false with errno. EWOULDBLOCK: somebody holds it.
static bool s_lock_file(const char *path, int *out)
{
    for (int attempt = 0; attempt < 16; attempt++) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) return false;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int saved = errno;
            close(fd);
            errno = saved;
            return false;
        }
        struct stat held, named;
        if (fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev) {
            *out = fd;
            return true;
        }
        close(fd); // its last holder unlinked it between our open and our lock
    }
    errno = EWOULDBLOCK;
    return false;
}

static bool s_answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    bool answers = connect(fd, (struct sockaddr *) &address, sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    return answers;
}

weft_err_t weft_endpoint_lock(const char *endpoint, char *path, size_t path_bytes, int *fd, struct weft_error *error)
{
    *fd = -1;
    if (!s_begins(endpoint, "ipc://")) return WEFT_OK;
    const char *socket_path = endpoint + strlen("ipc://");
    if (*socket_path == '@' || strcmp(socket_path, "*") == 0) return WEFT_OK; // the kernel, or libzmq, sees to those
    snprintf(path, path_bytes, "%s.lock", socket_path);
    int held = -1;
    if (!s_lock_file(path, &held)) {
        if (errno == EWOULDBLOCK) return weft_endpoint_bind_error(endpoint, EADDRINUSE, error);
        return weft_error_set(error, WEFT_ERR_INVALID_ENDPOINT, "can't make the lock file '%s' beside the endpoint: %s",
                              path, strerror(errno));
    }
    if (s_answers(socket_path)) {
        weft_endpoint_unlock(path, &held);
        return weft_endpoint_bind_error(endpoint, EADDRINUSE, error);
    }
    *fd = held;
    return WEFT_OK;
}

void weft_endpoint_unlock(const char *path, int *fd)
{
    if (*fd < 0) return;
    unlink(path); // while still locked
    close(*fd);
    *fd = -1;
}
