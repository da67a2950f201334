// SPDX-License-Identifier: MPL-2.0
// The user's code is foreign code in our process: its table is judged before it is used; what it does then, the
// process dies of or not, which is why a topology gives a filter a process of its own.
#include "filter_inner.h"

#include "../../lib/base/error.h"
#include "../../lib/wire/batch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SYMBOL "weft_filter_main"
#define HEADERS_BYTES_MAX (64 * 1024 * 1024) // as all that is emitted for one record

struct weft_function {
    const struct weft_filter *table;
    void *state;
};

// The first member is what the user's code sees.
struct emitter {
    struct weft_filter_emit base;
    struct weft_outputs *out;
    const struct weft_record_view *in;
    bool refused; // something that was emitted: too much, or no headers
};

// Headers of the record that was read are what they were; others are looked at, they would spoil a whole batch.
static bool s_are_headers(const struct emitter *emitter, weft_slice_t headers)
{
    if (!headers.data || (headers.data == emitter->in->headers.data && headers.size == emitter->in->headers.size))
        return true;
    if (headers.size > HEADERS_BYTES_MAX) return false;
    weft_buf_t record;
    weft_buf_init(&record);
    weft_buf_append(&record, "\x94\x00\xc0\xc0", 4); // time, key and value of a record: then come headers
    weft_buf_append(&record, headers.data, headers.size);
    weft_err_t err = weft_batch_check_records(weft_buf_slice(&record), 1, UINT32_MAX, NULL);
    weft_buf_fini(&record);
    return err == WEFT_OK;
}

static int s_emit(const struct weft_filter_emit *self, const struct weft_filter_record *record)
{
    struct emitter *emitter = (struct emitter *) (uintptr_t) self; // made below, not const
    struct weft_filter_record one = *record;
    if (one.timestamp_ms == 0) one.timestamp_ms = emitter->in->timestamp_ms;
    if (!emitter->refused && s_are_headers(emitter, one.headers) && weft_outputs_add(emitter->out, &one)) return 0;
    emitter->refused = true;
    return -1;
}

bool weft_function_call(weft_function_t *self, const struct weft_record_view *record, struct weft_outputs *out)
{
    struct emitter emitter = {.base = {.record = s_emit}, .out = out, .in = record};
    int rc = self->table->record(self->state, record, &emitter.base);
    if (rc == 0 && !emitter.refused) return true;
    weft_outputs_clear(out);
    return false;
}

const char *weft_function_name(const weft_function_t *self)
{
    return self->table->name;
}

bool weft_function_is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static weft_err_t s_load(const char *path, const struct weft_filter **out, struct weft_error *error)
{
    char full[4200]; // without a '/' the loader would look in its own places only
    snprintf(full, sizeof full, "%s%.4096s", strchr(path, '/') ? "" : "./", path);
    if (!weft_function_is_there(path))
        return weft_error_set(error, WEFT_ERR_NOT_FOUND, "function: there is no file '%.400s'", path);
    void *library = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "function: '%.160s' can't be loaded: %.280s", path,
                              why ? why : "no reason given");
    }
    const struct weft_filter *table = dlsym(library, SYMBOL);
    const char *wrong = NULL;
    if (!table)
        wrong = "it lacks the symbol " SYMBOL " (weft/filter.h)";
    else if (table->abi != WEFT_FILTER_ABI)
        wrong =
            "it was made for another number of the filter contract; build it again with the headers of this library";
    else if (!table->name || !table->record)
        wrong = "its name or its function `record` is NULL";
    if (!wrong) {
        *out = table;
        return WEFT_OK;
    }
    dlclose(library);
    return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "function: '%.160s' is no filter: %s", path, wrong);
}

weft_err_t weft_function_new(const char *path, const char *config, weft_function_t **out, struct weft_error *error)
{
    const struct weft_filter *table = NULL;
    weft_err_t err = s_load(path, &table, error);
    if (err) return err;
    void *state = NULL;
    char why[300] = "";
    if (table->init && table->init(config, &state, why, sizeof why) != 0) {
        why[sizeof why - 1] = '\0';
        return weft_error_set(error, WEFT_ERR_INVALID_OPTION, "function: '%.64s' does not start: %s", table->name,
                              why[0] ? why : "its init gave no reason");
    }
    weft_function_t *self = weft_calloc(1, sizeof *self);
    *self = (weft_function_t){.table = table, .state = state};
    *out = self;
    return WEFT_OK;
}

void weft_function_destroy(weft_function_t **self_p)
{
    weft_function_t *self = *self_p;
    if (!self) return;
    *self_p = NULL;
    if (self->table->fini) self->table->fini(self->state);
    free(self);
}
