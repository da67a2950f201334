// SPDX-License-Identifier: MPL-2.0
/**
 * Parts of the filter: outputs that wait to be sent, the function of the user, and progress.
 */
#ifndef WEFT_NODES_FILTER_INNER_H
#define WEFT_NODES_FILTER_INNER_H

#include "../common/clock.h"
#include "expression.h"

#include <weft/consumer.h>
#include <weft/filter.h>
#include <weft/node_type.h>
#include <weft/producer.h>

// ---- outputs.c: what one record became, copied; sent as the producer has room

#define OUTPUTS_BYTES_MAX (64 * 1024 * 1024)
#define OUTPUTS_COUNT_MAX 65536

struct weft_output {
    size_t at;                                     // in `bytes`: key, value and headers, one behind the other
    int64_t key_bytes, value_bytes, headers_bytes; // -1: nil
    int64_t timestamp_ms;
};

struct weft_outputs {
    weft_buf_t bytes;
    struct weft_output *list;
    size_t count, capacity;
    size_t next; // to be sent
};

void weft_outputs_fini(struct weft_outputs *self);
void weft_outputs_clear(struct weft_outputs *self);
// False: one record gave too much.
bool weft_outputs_add(struct weft_outputs *self, const struct weft_filter_record *record);
// The next one; false: there is none. It stays the next until weft_outputs_sent.
bool weft_outputs_peek(const struct weft_outputs *self, struct weft_filter_record *out);
void weft_outputs_sent(struct weft_outputs *self);

// ---- function.c: the user's shared object

typedef struct weft_function weft_function_t;

// NOT_FOUND, INVALID_ARGUMENT, INVALID_OPTION (its init refused) with a sentence. Never unloaded: it may have threads.
bool weft_function_is_there(const char *path); // the file; not whether it is one of functions
WEFT_MUST_USE weft_err_t weft_function_new(const char *path, const char *config, weft_function_t **out,
                                           struct weft_error *error);
void weft_function_destroy(weft_function_t **self_p);
const char *weft_function_name(const weft_function_t *self);
// Fills `out` with what it emits. False: it failed, and `out` is empty.
bool weft_function_call(weft_function_t *self, const struct weft_record_view *record, struct weft_outputs *out);

// ---- open.c: the clients

const char *weft_filter_target_endpoints(const weft_options_t *options);
WEFT_MUST_USE weft_err_t weft_filter_open_consumer(const weft_hosted_node_t *node, const weft_options_t *options,
                                                   weft_consumer_t **out, struct weft_error *error);
WEFT_MUST_USE weft_err_t weft_filter_open_producer(const weft_hosted_node_t *node, const weft_options_t *options,
                                                   weft_producer_t **out, weft_topic_t **target,
                                                   struct weft_error *error);
// Asks a node of each side; an error while one does not answer.
WEFT_MUST_USE weft_err_t weft_filter_same_cluster(const weft_hosted_node_t *node, const weft_options_t *options,
                                                  bool *same);

// ---- progress.c: what may be committed

typedef struct weft_progress weft_progress_t;

weft_progress_t *weft_progress_new(const char *topic);
void weft_progress_destroy(weft_progress_t **self_p);
// For the `opaque` of a send: it belongs to the epoch that is open.
void *weft_progress_sending(weft_progress_t *self);
void weft_progress_not_sent(void *opaque); // it was refused
// What was sent with `opaque` was reported.
void weft_progress_reported(void *opaque, bool delivered);
void weft_progress_start(weft_progress_t *self, int32_t partition, int64_t offset); // a partition came; read from here
void weft_progress_drop(weft_progress_t *self, int32_t partition);                  // it went
void weft_progress_done(weft_progress_t *self, const struct weft_record_view *record); // all outputs of it were sent
bool weft_progress_has_new(const weft_progress_t *self);
// Closes the open epoch, so that what it holds can be committed once it is delivered. False: too many are closed.
bool weft_progress_close_epoch(weft_progress_t *self);
/**
 * What can be committed now, since all that was sent for it is delivered; counted in *count, borrowed until the next
 * call. 0: nothing new.
 */
const struct weft_group_offset *weft_progress_collect(weft_progress_t *self, size_t *count);
size_t weft_progress_waiting(const weft_progress_t *self); // sends not reported
// After a failure, with nothing waiting: gives each partition and where it has to be read from again.
void weft_progress_rewind(weft_progress_t *self, void (*each)(void *context, int32_t partition, int64_t offset),
                          void *context);

#endif
