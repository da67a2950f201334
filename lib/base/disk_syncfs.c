// SPDX-License-Identifier: MPL-2.0
// A table of the file systems that this process writes to, by device number: a descriptor of a directory there, and
// whether a sync failed. It only grows, and has as many rows as there are data disks. Linux 5.8 and later report
// write-back errors by syncfs.
#include "disk_syncfs.h"

#include "bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct s_filesystem {
    dev_t device;
    int directory; // open since before the first write
    weft_err_t failed;
};

// Serialises: two who sync at once share one descriptor, and only the first would be told of an error. Opening files
// and syncing a whole file system are rare, or take a millisecond anyway.
static pthread_mutex_t s_lock = PTHREAD_MUTEX_INITIALIZER;
static struct s_filesystem *s_known;
static size_t s_known_count;

static struct s_filesystem *s_find(dev_t device)
{
    for (size_t i = 0; i < s_known_count; i++) {
        if (s_known[i].device == device) return &s_known[i];
    }
    return NULL;
}

static int s_open_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *parent = weft_slice_dup(weft_slice(path, slash == path ? 1 : (size_t) (slash - path)));
    int directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    return directory;
}

weft_err_t weft_disk_syncfs_watch(int fd, const char *path)
{
    struct stat status;
    if (fstat(fd, &status) != 0) return weft_err_of_errno(errno);
    weft_err_t err = WEFT_OK;
    pthread_mutex_lock(&s_lock);
    if (!s_find(status.st_dev)) {
        int directory = s_open_parent(path);
        if (directory < 0) {
            err = weft_err_of_errno(errno);
        } else {
            s_known = weft_realloc(s_known, (s_known_count + 1) * sizeof *s_known);
            s_known[s_known_count++] = (struct s_filesystem){status.st_dev, directory, WEFT_OK};
        }
    }
    pthread_mutex_unlock(&s_lock);
    return err;
}

weft_err_t weft_disk_syncfs(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) return weft_err_of_errno(errno);
    pthread_mutex_lock(&s_lock);
    struct s_filesystem *filesystem = s_find(status.st_dev);
    weft_err_t err = WEFT_OK; // never written to: nothing to sync
    if (filesystem) {
        if (!filesystem->failed && syncfs(filesystem->directory) != 0) filesystem->failed = weft_err_of_errno(errno);
        err = filesystem->failed;
    }
    pthread_mutex_unlock(&s_lock);
    return err;
}
