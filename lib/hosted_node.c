// SPDX-License-Identifier: MPL-2.0
// One node of any type: its table's functions between two threads. The starter's thread calls create and, after the
// run thread was joined, destroy; the run thread calls run and nothing else, with all signals blocked. `stopping` and
// the eventfd tell the node to end, `ended` under the lock tells that it has. A run thread that does not come back in
// its time keeps everything it may still use: nothing is freed then.
#include "hosted_node.h"

#include "base/trace.h"
#include "ipc_taken.h"
#include "net/net.h"
#include "zmq_context.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define S_STOP_MS INT64_C(10000)
#define S_LINGER_MS 2000  // beyond its stop.ms a node's own context may take so long to end
#define S_WAIT_NS 1000000 // health has no event; starting takes some of these

enum s_zmq { S_ZMQ_NONE, S_ZMQ_OWN, S_ZMQ_SHARED, S_ZMQ_OF_TYPE };

struct weft_hosted_node {
    const struct weft_node_type *type;
    void *library;
    weft_options_t *options;
    void *self; // what the type's create made
    char name[WEFT_NODE_NAME_BYTES_MAX];
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    int64_t stop_ms;
    int64_t grace_ms; // the type keeps stop_ms by itself, and needs so long to tell
    weft_counters_t counters;
    pthread_t thread;
    int stop_fd;
    atomic_bool stopping;
    pthread_mutex_t lock; // over all below
    pthread_cond_t changed;
    enum weft_health health;
    char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
    bool ended; // run has returned `result`
    weft_err_t result;
    enum s_zmq zmq_kind;
    void *zmq;
    bool zmq_ended; // its own one is terminated
};

static atomic_bool s_ends_are_told; // by this process's own code: no trace of them then

void weft_hosted_node_ends_are_told(void)
{
    atomic_store(&s_ends_are_told, true);
}

const char *weft_health_name(enum weft_health health)
{
    switch (health) {
    case WEFT_HEALTH_STARTING: return "starting";
    case WEFT_HEALTH_SERVING: return "serving";
    case WEFT_HEALTH_DEGRADED: return "degraded";
    case WEFT_HEALTH_STOPPING: return "stopping";
    case WEFT_HEALTH_FAILED: return "failed";
    default: return "unknown";
    }
}

// ---- making and freeing

static const struct weft_option *s_option(const struct weft_node_type *type, const char *name)
{
    for (size_t i = 0; i < type->option_count; i++)
        if (strcmp(type->options[i].name, name) == 0) return &type->options[i];
    return NULL;
}

static bool s_is_inproc(const struct weft_node_type *type, const weft_options_t *options)
{
    for (size_t i = 0; i < type->option_count; i++)
        if (type->options[i].type == WEFT_OPTION_TEXT &&
            weft_zmq_context_is_for(weft_options_text(options, type->options[i].name)))
            return true;
    return false;
}

// As for clients: what was set, then the environment, then the default.
static weft_err_t s_take_bootstrap(const weft_hosted_node_t *self, struct weft_error *error)
{
    const char *environment = getenv("WEFT_BOOTSTRAP");
    const struct weft_option *option = s_option(self->type, "bootstrap");
    if (environment == NULL || *environment == '\0' || option == NULL || option->type != WEFT_OPTION_TEXT)
        return WEFT_OK;
    if (weft_options_is_set(self->options, option->name)) return WEFT_OK;
    return weft_options_set(self->options, option->name, environment, error);
}

struct s_verdict {
    weft_err_t err;
    struct weft_error *error;
};

__attribute__((format(printf, 3, 4))) static void s_complain(void *context, const char *option, const char *format, ...)
{
    struct s_verdict *verdict = context;
    (void) option; // the sentence names it
    if (verdict->err != WEFT_OK) return;
    va_list arguments;
    va_start(arguments, format);
    verdict->err = weft_error_set_list(verdict->error, WEFT_ERR_INVALID_OPTION, format, arguments);
    va_end(arguments);
}

weft_err_t weft_hosted_node_check(const struct weft_node_type *type, const weft_options_t *options,
                                  struct weft_error *error)
{
    struct s_verdict verdict = {.error = error};
    if (type->check != NULL) type->check(options, s_complain, &verdict);
    return verdict.err;
}

static void s_read_settings(weft_hosted_node_t *self)
{
    const char *name = s_option(self->type, "name") != NULL ? weft_options_text(self->options, "name") : "";
    weft_hosted_node_set_name(self, *name != '\0' ? name : self->type->name);
    self->stop_ms = s_option(self->type, "stop.ms") != NULL ? weft_options_int(self->options, "stop.ms") : S_STOP_MS;
    if (s_is_inproc(self->type, self->options)) {
        self->zmq_kind = S_ZMQ_SHARED;
        self->zmq = weft_zmq_context_take();
    }
}

static weft_hosted_node_t *s_new(const struct weft_node_type *type, weft_options_t **options_p, void **library_p)
{
    weft_hosted_node_t *self = weft_calloc(1, sizeof *self);
    self->type = type;
    self->options = *options_p;
    *options_p = NULL;
    self->library = *library_p;
    *library_p = NULL;
    self->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    weft_counters_init(&self->counters, type->counters, type->counter_count);
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return self;
}

static struct timespec s_in(int64_t ms)
{
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += (time_t) (ms / 1000);
    when.tv_nsec += (long) (ms % 1000) * 1000000;
    if (when.tv_nsec >= 1000000000) {
        when.tv_sec++;
        when.tv_nsec -= 1000000000;
    }
    return when;
}

// Waits until a flag under the lock is set; false: not by then.
static bool s_wait_for(weft_hosted_node_t *self, const bool *flag, int64_t ms)
{
    struct timespec until = s_in(ms);
    pthread_mutex_lock(&self->lock);
    int rc = 0;
    while (!*flag && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&self->changed, &self->lock, &until);
    bool set = *flag;
    pthread_mutex_unlock(&self->lock);
    return set;
}

static void *s_term(void *argument)
{
    weft_hosted_node_t *self = argument;
    void *zmq = self->zmq;
    weft_net_context_term(&zmq);
    pthread_mutex_lock(&self->lock);
    self->zmq_ended = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

// A context ends when all sockets in it are closed: a type that left one open must not hang its host for ever. False:
// it did, and a thread stays behind that waits for it.
static bool s_end_zmq(weft_hosted_node_t *self)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, s_term, self) != 0) return false;
    if (s_wait_for(self, &self->zmq_ended, self->stop_ms + S_LINGER_MS)) return pthread_join(thread, NULL) == 0;
    weft_trace(WEFT_TRACE_ERROR, self->name, "left a socket open: a defect of node type '%s'", self->type->name);
    pthread_detach(thread);
    return false;
}

// False: something of it is left behind, with all that it may use.
static bool s_free(weft_hosted_node_t *self)
{
    if (self->self != NULL) self->type->destroy(&self->self);
    if (self->zmq_kind == S_ZMQ_OWN && !s_end_zmq(self)) return false;
    // A part that is stuck still has its sockets there: the context's end would wait for them.
    if (self->zmq_kind == S_ZMQ_SHARED && self->result != WEFT_ERR_LOCAL_TIMED_OUT) weft_zmq_context_release();
    weft_options_destroy(&self->options);
    weft_counters_fini(&self->counters);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    if (self->stop_fd >= 0) close(self->stop_fd);
    weft_node_library_close(&self->library);
    free(self);
    return true;
}

// ---- its thread

static void s_end(weft_hosted_node_t *self, weft_err_t err, const struct weft_error *error)
{
    bool asked = atomic_load(&self->stopping);
    const char *why = err == WEFT_OK           ? WEFT_NODE_ENDED_BY_ITSELF
                      : error->text[0] != '\0' ? error->text
                                               : weft_err_sentence(err);
    if (asked ? err != WEFT_OK : !atomic_load(&s_ends_are_told))
        weft_trace(err == WEFT_OK ? WEFT_TRACE_INFO : WEFT_TRACE_ERROR, self->name, "%s", why);
    pthread_mutex_lock(&self->lock);
    self->ended = true;
    self->result = err;
    self->health = WEFT_HEALTH_FAILED;
    snprintf(self->sentence, sizeof self->sentence, "%s", why);
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

static void *s_run(void *argument)
{
    weft_hosted_node_t *self = argument;
    struct weft_error error = {.code = WEFT_OK};
    weft_err_t err = self->type->run(self->self, &error);
    s_end(self, err, &error);
    return NULL;
}

static bool s_spawn(weft_hosted_node_t *self)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&self->thread, NULL, s_run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) return false;
    size_t size = strlen(self->name); // the kernel keeps 15 bytes; the last ones tell nodes apart
    pthread_setname_np(self->thread, size > 15 ? self->name + size - 15 : self->name);
    return true;
}

// ---- start and stop

weft_err_t weft_hosted_node_start(const struct weft_node_type *type, weft_options_t **options_p, void **library_p,
                                  weft_hosted_node_t **out, struct weft_error *error)
{
    weft_hosted_node_t *self = s_new(type, options_p, library_p);
    struct weft_error reason = {.code = WEFT_OK};
    weft_err_t err = s_take_bootstrap(self, &reason);
    if (err == WEFT_OK) err = weft_hosted_node_check(type, self->options, &reason);
    if (err == WEFT_OK) err = weft_ipc_check(type->options, type->option_count, self->options, &reason);
    if (err != WEFT_OK) goto fail_self;
    s_read_settings(self);
    err = WEFT_ERR_TOO_LARGE;
    if (self->stop_fd < 0) {
        weft_error_set(&reason, err, "no descriptor left for %s: raise the limit of open files (ulimit -n)",
                       self->name);
        goto fail_self;
    }
    err = type->create(self, self->options, &self->self, &reason);
    if (err != WEFT_OK) {
        self->self = NULL; // refused: nothing is left behind
        goto fail_self;
    }
    if (self->self == NULL) {
        err =
            weft_error_set(&reason, WEFT_ERR_INTERNAL,
                           "the create of node type '%s' gave no node and no error: a defect of that type", type->name);
        goto fail_self;
    }
    if (!s_spawn(self)) {
        err = weft_error_set(&reason, WEFT_ERR_TOO_LARGE,
                             "no thread left for %s: raise the limit of processes (ulimit -u)", self->name);
        goto fail_self;
    }
    *out = self;
    return WEFT_OK;

fail_self:
    if (error != NULL && reason.text[0] != '\0') *error = reason;
    if (error != NULL && reason.text[0] == '\0') weft_error_set(error, err, "%s", weft_err_sentence(err));
    if (error != NULL) error->code = err;
    if (!s_free(self)) weft_trace(WEFT_TRACE_ERROR, type->name, "could not be freed");
    return err;
}

weft_err_t weft_node_start(const char *type_name, const char *const *settings, weft_hosted_node_t **out,
                           struct weft_error *error)
{
    const struct weft_node_type *type = NULL;
    void *library = NULL;
    weft_err_t err = weft_node_type_open(type_name, &type, &library, error);
    if (err != WEFT_OK) return err;
    weft_options_t *options = NULL;
    err = weft_node_type_options(type, settings, &options, error);
    if (err == WEFT_OK) err = weft_hosted_node_start(type, &options, &library, out, error);
    weft_node_library_close(&library);
    return err;
}

weft_err_t weft_node_start_type(const struct weft_node_type *type, const char *const *settings,
                                weft_hosted_node_t **out, struct weft_error *error)
{
    weft_err_t err = weft_node_type_check(type, "this node type", error);
    if (err != WEFT_OK) return err;
    weft_options_t *options = NULL;
    void *no_library = NULL;
    err = weft_node_type_options(type, settings, &options, error);
    return err == WEFT_OK ? weft_hosted_node_start(type, &options, &no_library, out, error) : err;
}

weft_err_t weft_node_stop(weft_hosted_node_t **self_p)
{
    weft_hosted_node_t *self = *self_p;
    if (self == NULL) return WEFT_OK;
    *self_p = NULL;
    atomic_store(&self->stopping, true);
    const uint64_t one = 1;
    ssize_t written = write(self->stop_fd, &one, sizeof one); // to an eventfd that was never written: it can't fail
    (void) written;
    if (!s_wait_for(self, &self->ended, self->stop_ms + self->grace_ms)) {
        weft_trace(WEFT_TRACE_ERROR, self->name, "did not come to rest in %lld ms; its thread is left behind",
                   (long long) self->stop_ms);
        pthread_detach(self->thread);
        return WEFT_ERR_LOCAL_TIMED_OUT;
    }
    pthread_join(self->thread, NULL);
    weft_err_t err = self->result;
    return s_free(self) ? err : WEFT_ERR_LOCAL_TIMED_OUT;
}

// ---- what others ask

const char *weft_node_name(const weft_hosted_node_t *self)
{
    return self->name;
}

const char *weft_node_endpoint(const weft_hosted_node_t *self)
{
    return self->endpoint;
}

// The lock is no part of what a node is to its readers.
static pthread_mutex_t *s_lock_of(const weft_hosted_node_t *self)
{
    return (pthread_mutex_t *) (uintptr_t) &self->lock;
}

enum weft_health weft_node_health(const weft_hosted_node_t *self, char *sentence, size_t sentence_bytes)
{
    char scratch[WEFT_ERROR_TEXT_BYTES_MAX];
    if (sentence == NULL || sentence_bytes == 0) {
        sentence = scratch;
        sentence_bytes = sizeof scratch;
    }
    sentence[0] = '\0';
    if (atomic_load(&self->stopping)) return WEFT_HEALTH_STOPPING;
    pthread_mutex_lock(s_lock_of(self));
    bool told = self->ended || self->type->health == NULL;
    enum weft_health health = self->health;
    if (told) snprintf(sentence, sentence_bytes, "%s", self->sentence);
    pthread_mutex_unlock(s_lock_of(self));
    return told ? health : self->type->health(self->self, sentence, sentence_bytes);
}

static int64_t s_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

weft_err_t weft_node_wait_serving(const weft_hosted_node_t *self, int timeout_ms, struct weft_error *error)
{
    int64_t deadline = s_clock_ms() + timeout_ms;
    for (;;) {
        char sentence[WEFT_ERROR_TEXT_BYTES_MAX];
        enum weft_health health = weft_node_health(self, sentence, sizeof sentence);
        if (health == WEFT_HEALTH_SERVING || health == WEFT_HEALTH_DEGRADED) return WEFT_OK;
        const char *between = sentence[0] != '\0' ? ": " : "";
        if (health == WEFT_HEALTH_FAILED)
            return weft_error_set(error, WEFT_ERR_INTERNAL, "%s is failed%s%.400s", self->name, between, sentence);
        if (s_clock_ms() >= deadline)
            return weft_error_set(error, WEFT_ERR_LOCAL_TIMED_OUT, "after %d ms %s is %s%s%.380s", timeout_ms,
                                  self->name, weft_health_name(health), between, sentence);
        nanosleep(&(const struct timespec){.tv_nsec = S_WAIT_NS}, NULL);
    }
}

void weft_node_counters(const weft_hosted_node_t *self, weft_counter_fn *each, void *context)
{
    if (self->type->each_counter != NULL) {
        if (!atomic_load(&self->stopping)) self->type->each_counter(self->self, each, context);
        return;
    }
    for (size_t i = 0; i < self->counters.count; i++)
        each(context, self->name, self->counters.infos[i].name, self->counters.infos[i].doc,
             weft_counter_get(&self->counters, i));
}

void *weft_node_zmq_context(const weft_hosted_node_t *self)
{
    weft_hosted_node_t *own = (weft_hosted_node_t *) (uintptr_t) self; // made when first asked for
    pthread_mutex_lock(&own->lock);
    if (own->zmq_kind == S_ZMQ_NONE) {
        own->zmq = weft_net_context_new(1);
        own->zmq_kind = S_ZMQ_OWN;
    }
    void *zmq = own->zmq;
    pthread_mutex_unlock(&own->lock);
    return zmq;
}

// ---- what the node's code calls

bool weft_node_stopping(const weft_hosted_node_t *self)
{
    return atomic_load(&self->stopping);
}

int weft_node_stop_fd(const weft_hosted_node_t *self)
{
    return self->stop_fd;
}

void weft_node_set_endpoint(weft_hosted_node_t *self, const char *endpoint)
{
    snprintf(self->endpoint, sizeof self->endpoint, "%s", endpoint);
}

void weft_node_set_health(weft_hosted_node_t *self, enum weft_health health, const char *format, ...)
{
    struct weft_error text = {.code = WEFT_OK};
    if (format != NULL) {
        va_list arguments;
        va_start(arguments, format);
        weft_error_set_list(&text, WEFT_OK, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_lock(&self->lock);
    if (!self->ended) {
        self->health = health;
        memcpy(self->sentence, text.text, sizeof self->sentence);
    }
    pthread_mutex_unlock(&self->lock);
}

void weft_node_counter_add(weft_hosted_node_t *self, size_t index, uint64_t more)
{
    if (index < self->counters.count) weft_counter_add(&self->counters, index, more);
}

void weft_node_counter_set(weft_hosted_node_t *self, size_t index, uint64_t value)
{
    if (index < self->counters.count) weft_counter_set(&self->counters, index, value);
}

void weft_node_trace(const weft_hosted_node_t *self, int level, const char *format, ...)
{
    if (level > weft_trace_level_now) return;
    struct weft_error text = {.code = WEFT_OK};
    va_list arguments;
    va_start(arguments, format);
    weft_error_set_list(&text, WEFT_OK, format, arguments);
    va_end(arguments);
    enum weft_trace_level known = level < 0                  ? WEFT_TRACE_ERROR
                                  : level > WEFT_TRACE_DEBUG ? WEFT_TRACE_DEBUG
                                                             : (enum weft_trace_level) level;
    weft_trace(known, self->name, "%s", text.text);
}

weft_err_t weft_node_refuse(struct weft_error *error, weft_err_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    weft_err_t err = weft_error_set_list(error, code, format, arguments);
    va_end(arguments);
    return err;
}

// ---- what types of this library call

const struct weft_node_type *weft_hosted_node_type(const weft_hosted_node_t *self)
{
    return self->type;
}

void weft_hosted_node_set_name(weft_hosted_node_t *self, const char *name)
{
    snprintf(self->name, sizeof self->name, "%s", name);
}

void weft_hosted_node_set_grace(weft_hosted_node_t *self, int64_t grace_ms)
{
    self->grace_ms = grace_ms;
}

void *weft_hosted_node_shared_zmq(const weft_hosted_node_t *self)
{
    return self->zmq_kind == S_ZMQ_SHARED ? self->zmq : NULL;
}

void weft_hosted_node_set_zmq(weft_hosted_node_t *self, void *zmq)
{
    if (self->zmq_kind == S_ZMQ_SHARED) return;
    self->zmq_kind = S_ZMQ_OF_TYPE;
    self->zmq = zmq;
}
