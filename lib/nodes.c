// SPDX-License-Identifier: MPL-2.0
// The one place that knows every type of node by name. What comes out of a shared object is judged before anything of
// it is used: the number of the contract first, since behind another number the table's own shape is unknown.
#include "nodes.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define S_SYMBOL "weft_node_type_main"
#define S_NAME_BYTES_MAX 32
#define S_COUNTERS_MAX 256
#define S_TRAITS ((unsigned) WEFT_NODE_OWN_PROCESS)

// In the order in which `weft node list` shows them.
const struct weft_node_type *const weft_node_types[] = {
    &weft_node_type_coordinator,
    &weft_node_type_broker,
    &weft_node_type_edge,
    &weft_node_type_recorder,
    &weft_node_type_player,
    &weft_node_type_tap,
    &weft_node_type_filter,
    &weft_node_type_bridge,
    // one line each: tap, recorder, player, bridge, edge, filter (declared in nodes.h)
    NULL,
};

const struct weft_node_type *weft_node_type_find(const char *name)
{
    for (size_t i = 0; weft_node_types[i] != NULL; i++)
        if (strcmp(weft_node_types[i]->name, name) == 0) return weft_node_types[i];
    return NULL;
}

static weft_err_t s_refuse_name(const char *name, struct weft_error *error)
{
    char known[256] = "";
    for (size_t i = 0, used = 0; weft_node_types[i] != NULL && used < sizeof known; i++)
        used +=
            (size_t) snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", weft_node_types[i]->name);
    return weft_error_set(
        error, WEFT_ERR_INVALID_ARGUMENT,
        "there is no node type '%.64s'; the types are %s; one of your own is given as the path of its "
        "shared object (./NAME.so)",
        name, known);
}

// ---- judging a table

static weft_err_t s_broken(const char *source, struct weft_error *error, const char *what)
{
    return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "%.200s breaks the contract of a node type: %.240s", source,
                          what);
}

static bool s_is_type_name(const char *name)
{
    size_t size = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return size > 0 && size <= S_NAME_BYTES_MAX && name[size] == '\0' && name[0] != '-';
}

static const char *s_judge_counters(const struct weft_node_type *type)
{
    if (type->counter_count > S_COUNTERS_MAX) return "it has more than 256 counters";
    if (type->counter_count > 0 && type->counters == NULL) return "its table of counters is missing";
    for (size_t i = 0; i < type->counter_count; i++) {
        if (type->counters[i].name == NULL || type->counters[i].doc == NULL) return "a counter lacks its name or doc";
        for (size_t k = 0; k < i; k++)
            if (strcmp(type->counters[k].name, type->counters[i].name) == 0) return "two counters have the same name";
    }
    return NULL;
}

static const char *s_judge_host_options(const struct weft_node_type *type)
{
    for (size_t i = 0; i < type->option_count; i++) {
        const struct weft_option *option = &type->options[i];
        if (strcmp(option->name, "name") == 0 && option->type != WEFT_OPTION_TEXT)
            return "its option 'name' is no text";
        if (strcmp(option->name, "stop.ms") == 0 && (option->type != WEFT_OPTION_DURATION || option->min < 0))
            return "its option 'stop.ms' is no duration from 0 up";
    }
    return NULL;
}

// NULL: nothing is wrong but, maybe, with the options.
static const char *s_judge(const struct weft_node_type *type)
{
    if (type->name == NULL || !s_is_type_name(type->name))
        return "its name is not made of lower-case letters, digits and '-' (at most 32)";
    if (type->doc == NULL) return "it lacks its doc";
    if (type->create == NULL) return "its create is NULL";
    if (type->run == NULL) return "its run is NULL";
    if (type->destroy == NULL) return "its destroy is NULL";
    if ((type->traits & ~S_TRAITS) != 0) return "it has traits that this library does not know";
    return s_judge_counters(type);
}

static weft_err_t s_check_abi(int abi, const char *source, struct weft_error *error)
{
    if (abi != WEFT_NODE_ABI)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "%.200s was made for number %d of the node contract, this library has %d; build it again "
                              "with the headers of this library",
                              source, abi, WEFT_NODE_ABI);
    return WEFT_OK;
}

weft_err_t weft_node_type_check(const struct weft_node_type *type, const char *source, struct weft_error *error)
{
    weft_err_t err = s_check_abi(type->abi, source, error);
    if (err != WEFT_OK) return err;
    const char *wrong = s_judge(type);
    if (wrong != NULL) return s_broken(source, error, wrong);
    struct weft_error why = {.code = WEFT_OK};
    if (weft_options_check_table(type->options, type->option_count, &why) != WEFT_OK)
        return s_broken(source, error, why.text);
    wrong = s_judge_host_options(type);
    return wrong != NULL ? s_broken(source, error, wrong) : WEFT_OK;
}

// ---- shared objects

bool weft_node_type_is_file(const char *name)
{
    size_t size = strlen(name);
    return strchr(name, '/') != NULL || (size > 3 && strcmp(name + size - 3, ".so") == 0);
}

void weft_node_library_close(void **library_p)
{
    if (*library_p != NULL) dlclose(*library_p);
    *library_p = NULL;
}

// Of another contract it may be anything, at any place: no more than the number is read before it is known.
static weft_err_t s_check_symbol(const void *symbol, const char *name, struct weft_error *error)
{
    if (symbol == NULL)
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT,
                              "'%.300s' holds no node type: it lacks the symbol " S_SYMBOL " (weft/node_type.h)", name);
    int abi;
    memcpy(&abi, symbol, sizeof abi);
    weft_err_t err = s_check_abi(abi, name, error);
    return err == WEFT_OK ? weft_node_type_check(symbol, name, error) : err;
}

static weft_err_t s_open_file(const char *name, const struct weft_node_type **out, void **library,
                              struct weft_error *error)
{
    char path[4096]; // without a '/' the loader would look in its own places only
    int size = snprintf(path, sizeof path, "%s%s", strchr(name, '/') == NULL ? "./" : "", name);
    if (size >= (int) sizeof path || access(path, F_OK) != 0)
        return weft_error_set(error, WEFT_ERR_NOT_FOUND, "there is no file '%.400s'", name);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        const char *why = dlerror();
        return weft_error_set(error, WEFT_ERR_INVALID_ARGUMENT, "'%.160s' can't be loaded as a shared object: %.280s",
                              name, why != NULL ? why : "no reason given");
    }
    weft_err_t err = s_check_symbol(dlsym(handle, S_SYMBOL), name, error);
    if (err != WEFT_OK) {
        weft_node_library_close(&handle);
        return err;
    }
    *out = dlsym(handle, S_SYMBOL);
    *library = handle;
    return WEFT_OK;
}

weft_err_t weft_node_type_open(const char *name, const struct weft_node_type **out, void **library,
                               struct weft_error *error)
{
    if (weft_node_type_is_file(name)) return s_open_file(name, out, library, error);
    const struct weft_node_type *type = weft_node_type_find(name);
    if (type == NULL) return s_refuse_name(name, error);
    *out = type;
    *library = NULL;
    return WEFT_OK;
}

weft_err_t weft_node_type_options(const struct weft_node_type *type, const char *const *settings, weft_options_t **out,
                                  struct weft_error *error)
{
    weft_options_t *options = weft_options_new(type->options, type->option_count, type->name);
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++) {
        weft_err_t err = weft_options_set_pair(options, settings[i], error);
        if (err != WEFT_OK) {
            weft_options_destroy(&options);
            return err;
        }
    }
    *out = options;
    return WEFT_OK;
}
