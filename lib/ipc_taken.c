// SPDX-License-Identifier: MPL-2.0
// One connection tells: refused, or no such file, means that the path is free or left behind by somebody who died. The
// listener sees a peer that says nothing and goes.
#include "ipc_taken.h"

#include "net/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define S_SCHEME "ipc://"
#define S_LOOKS 25 // 10 ms between them

static bool s_listens(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return false; // binding tells
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    bool taken =
        connect(fd, (const struct sockaddr *) &address, sizeof address) == 0 || errno == EAGAIN; // its queue is full
    close(fd);
    return taken;
}

static bool s_is_taken(const char *endpoint)
{
    const char *path = endpoint + strlen(S_SCHEME);
    // Names without a file, "@x", are held by the kernel as ports are; "*" is one that nobody has.
    if (strncmp(endpoint, S_SCHEME, strlen(S_SCHEME)) != 0 || !*path || *path == '@' || *path == '*') return false;
    for (int look = 0; s_listens(path); look++) {
        if (look == S_LOOKS) return true;
        nanosleep(&(const struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return false;
}

static weft_err_t s_check(const char *list, struct weft_error *error)
{
    weft_err_t err = WEFT_OK;
    while (*list && err == WEFT_OK) {
        size_t size = strcspn(list, ","), skip = strspn(list, " ");
        if (skip < size) {
            char *endpoint = weft_slice_dup(weft_slice(list + skip, size - skip));
            for (size_t end = strlen(endpoint); end > 0 && endpoint[end - 1] == ' ';) endpoint[--end] = '\0';
            if (s_is_taken(endpoint)) err = weft_endpoint_bind_error(endpoint, EADDRINUSE, error);
            free(endpoint);
        }
        list += size + (list[size] == ',');
    }
    return err;
}

weft_err_t weft_ipc_check(const struct weft_option *table, size_t count, const weft_options_t *options,
                          struct weft_error *error)
{
    weft_err_t err = WEFT_OK;
    for (size_t i = 0; i < count && err == WEFT_OK; i++)
        if (table[i].role == WEFT_OPTION_ROLE_LISTEN) err = s_check(weft_options_text(options, table[i].name), error);
    return err;
}
