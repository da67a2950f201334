// SPDX-License-Identifier: MPL-2.0
/**
 * A function of your own for the node type `filter`: a record in, any number of records out.
 *
 * Build it as a shared object against the installed headers, without linking anything of Weft, and name it in the
 * option `function`:
 *
 *     #include <weft/filter.h>
 *     static int upper(void *state, const struct weft_record_view *in, const struct weft_filter_emit *emit)
 *     {
 *         return in->value.size > 3 ? emit->record(emit, &(struct weft_filter_record){in->key, in->value, in->headers, 0}) : 0;
 *     }
 *     const struct weft_filter weft_filter_main = {.abi = WEFT_FILTER_ABI, .name = "long", .record = upper};
 *
 *     cc -shared -fPIC -o long.so long.c
 *     weft filter --set topic=words --set target.topic=long-words --set function=./long.so
 *
 * All of it is called on one thread. It sees each record at least once: after a crash or a failover those since the last
 * commit come again, so what it remembers in `state` may count some twice. It must not block for long (the group takes a
 * member that does not come back within max.poll.ms for dead), and a crash in it ends its process, not the log.
 */
#ifndef WEFT_FILTER_H
#define WEFT_FILTER_H

#include <weft/record.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_FILTER_ABI 1 // of the structs in this header; another number is refused

/** A record to be written. data NULL is nil. Copied before the call returns. */
struct weft_filter_record {
    weft_slice_t key;
    weft_slice_t value;
    weft_slice_t headers; // of the record that was read, or nil
    int64_t timestamp_ms; // 0: that of the record that was read
};

/** How records leave: valid during one call of `record`. */
struct weft_filter_emit {
    /**
     * 0: taken; it is written if `record` returns 0. Otherwise one record gave more than 64 MiB or 65,536 records: return
     * an error then.
     */
    int (*record)(const struct weft_filter_emit *self, const struct weft_filter_record *record);
};

struct weft_filter {
    int abi;          // WEFT_FILTER_ABI
    const char *name; // for traces
    /**
     * Once, before all records: `config` is the option `config`. Returns 0, or an error with a sentence in `error`: the
     * node does not start. May be NULL; *state is NULL then.
     */
    int (*init)(const char *config, void **state, char *error, size_t error_bytes);
    /**
     * One record, borrowed for the call. Returns 0; anything else: it failed, nothing it emitted for this record is
     * written, and the node's option on.error says whether it is passed over and counted, or ends the node.
     */
    int (*record)(void *state, const struct weft_record_view *in, const struct weft_filter_emit *emit);
    void (*fini)(void *state); // at the end; may be NULL
};

#ifdef __cplusplus
}
#endif

#endif
