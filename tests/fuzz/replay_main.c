// SPDX-License-Identifier: MPL-2.0
/*
 * The smoke: feeds a fuzzer all files of the folders and files named on the command line, then mutations of them (bits, bytes, lengths, splices), the same
 * ones at every run. Each input stands exactly at the end of its allocation, so that a sanitizer sees a read beyond it. When the fuzzer dies,
 * the input that killed it is written to crash-<fuzzer>: name that file on the command line to repeat it.
 *
 *     fuzz_guard [--mutations N] [FOLDER | FILE]...
 */
#include "lib/base/bytes.h"
#include "lib/base/rand.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MUTATIONS 5000
#define INPUT_BYTES_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct s_input {
    uint8_t *data;
    size_t size;
};

static struct s_input *s_inputs;
static size_t s_input_count;
static struct s_input s_current; // what a crash leaves behind
static char s_crash_path[256];

static void s_on_crash(int number)
{
    int fd = open(s_crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, s_current.data, s_current.size) == (ssize_t) s_current.size) {
        dprintf(2, "the input is kept in %s\n", s_crash_path);
    }
    signal(number, SIG_DFL);
    raise(number);
}

// A sanitizer may end the process without a signal; it asks this function first.
__attribute__((visibility("default"))) void __asan_on_error(void);
void __asan_on_error(void)
{
    s_on_crash(SIGABRT);
}

static void s_run(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) abort();
    if (size) memcpy(exact, data, size);
    s_current = (struct s_input){exact, size};
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void s_add_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return;
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    if (!data) abort();
    size_t size = fread(data, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    s_inputs = realloc(s_inputs, (s_input_count + 1) * sizeof(*s_inputs));
    data = realloc(data, size ? size : 1);
    if (!s_inputs || !data) abort();
    s_inputs[s_input_count++] = (struct s_input){data, size};
}

static int s_by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

// In the order of names, because the mutations depend on it.
static void s_add_path(const char *path)
{
    struct stat status;
    if (stat(path, &status)) return; // a fuzzer need not have a corpus
    if (!S_ISDIR(status.st_mode)) {
        s_add_file(path);
        return;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, s_by_name);
    for (int i = 0; i < count; i++) {
        char inner[4096];
        if (entries[i]->d_name[0] != '.' &&
            snprintf(inner, sizeof(inner), "%s/%s", path, entries[i]->d_name) < (int) sizeof(inner))
            s_add_file(inner);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

static const uint8_t s_interesting[] = {0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0x9e, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc4,
                                        0xc6, 0xc9, 0xcc, 0xcf, 0xd2, 0xd3, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff};

// One change in place or in length; returns the new size.
static size_t s_mutate(weft_rand_t *rand, uint8_t *data, size_t size, size_t capacity)
{
    size_t at = size ? weft_rand_below(rand, size) : 0;
    switch (weft_rand_below(rand, 7)) {
    case 0:
        if (size) data[at] ^= (uint8_t) (1 << weft_rand_below(rand, 8));
        return size;
    case 1:
        if (size) data[at] = s_interesting[weft_rand_below(rand, sizeof(s_interesting))];
        return size;
    case 2:
        if (size) data[at] = (uint8_t) weft_rand_below(rand, 256);
        return size;
    case 3: return at; // cut
    case 4:            // a length, big endian
        for (size_t i = 0; i < 4 && at + i < size; i++) data[at + i] = i < weft_rand_below(rand, 4) ? 0 : 0xff;
        return size;
    case 5: { // a part of it again
        size_t more = weft_rand_below(rand, 64);
        if (size + more > capacity || at + more > size) return size;
        memmove(data + at + more, data + at, size - at);
        return size + more;
    }
    default: { // the head of this, the tail of another
        const struct s_input *other = &s_inputs[weft_rand_below(rand, s_input_count)];
        size_t from = other->size ? weft_rand_below(rand, other->size) : 0;
        size_t more = other->size - from < capacity - at ? other->size - from : capacity - at;
        if (more) memcpy(data + at, other->data + from, more);
        return at + more;
    }
    }
}

static void s_run_mutations(size_t count)
{
    weft_rand_t rand;
    weft_rand_init(&rand, 1);
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    if (!data) abort();
    for (size_t i = 0; i < count; i++) {
        const struct s_input *input = &s_inputs[weft_rand_below(&rand, s_input_count)];
        size_t size = input->size;
        if (size) memcpy(data, input->data, size);
        for (uint64_t times = 1 + weft_rand_below(&rand, 4); times > 0; times--)
            size = s_mutate(&rand, data, size, INPUT_BYTES_MAX);
        s_run(data, size);
    }
    free(data);
}

int main(int argc, char **argv)
{
    size_t mutations = MUTATIONS;
    const char *slash = strrchr(argv[0], '/');
    snprintf(s_crash_path, sizeof(s_crash_path), "crash-%s", slash ? slash + 1 : argv[0]);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutations") == 0 && i + 1 < argc) {
            mutations = strtoul(argv[++i], NULL, 10);
        } else {
            s_add_path(argv[i]);
        }
    }
    const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) signal(fatal[i], s_on_crash);
    for (size_t i = 0; i < s_input_count; i++) s_run(s_inputs[i].data, s_inputs[i].size);
    if (s_input_count > 0) s_run_mutations(mutations);
    printf("%zu inputs, %zu mutations\n", s_input_count, s_input_count ? mutations : 0);
    for (size_t i = 0; i < s_input_count; i++) free(s_inputs[i].data);
    free(s_inputs);
    return 0;
}
