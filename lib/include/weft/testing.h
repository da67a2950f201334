// SPDX-License-Identifier: MPL-2.0
/**
 * Testing: a cluster inside your test, to try YOUR producers and consumers against faults. Library libweft-testing.
 *
 *     struct weft_test_options options = {.brokers = 3, .seed = 7};
 *     weft_test_cluster_t *cluster;
 *     if (weft_test_start(&options, &cluster, &error) != WEFT_OK) fail_msg("%s", error.text);
 *     weft_test_topic(cluster, "orders", 1, 3);
 *     ... your code, with weft_test_bootstrap(cluster) as its setting `bootstrap` ...
 *     weft_test_kill_node(cluster, weft_test_leader(cluster, "orders", 0));
 *     ... your code again: does it still do what you promise? ...
 *     weft_test_stop(&cluster);
 *
 * The nodes are real brokers and coordinators, not imitations. There are two kinds of time:
 *
 * - seed 0, real time. Each node runs on threads of its own in this process, its data in a temporary directory. Anything
 *   that speaks Weft may connect, from any thread. Faults are those below, lose_power excepted.
 * - any other seed, virtual time. Nodes, network, disks and clocks are simulated, in your thread, out of that seed: the
 *   same seed and the same program give the same history, to the last message (weft_test_fingerprint). Time passes only
 *   inside calls that wait: weft_producer_poll, _flush, weft_consumer_poll, an admin call, weft_test_run_for; ten
 *   seconds of silence cost a few milliseconds. What your program computes takes no time. The clients of such a cluster
 *   belong to the thread that started it, and have no threads behind them; a consumer in a group has its heartbeats all
 *   the same. Their fd is -1. A call that would wait for ever, since nothing happens for `patience_ms`, ends the program
 *   with a sentence.
 *
 * Names. Nodes are "broker-1" to "broker-N" and "coordinator-1" to "coordinator-N"; each other name is a client, by its
 * setting `client` (default "weft"). "*" stands for everybody. A node's number that is not there is a mistake of the
 * test: it ends the program with a sentence, as all wrong uses of this header do.
 *
 * Functions that return an error leave its sentence in weft_test_error_text. One thread at a time uses a cluster;
 * functions that say so may be called while another one waits in its client.
 */
#ifndef WEFT_TESTING_H
#define WEFT_TESTING_H

#include <weft/admin.h>
#include <weft/node.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_TEST_BROKERS_MAX 16
#define WEFT_TEST_COORDINATORS_MAX 5

typedef struct weft_test_cluster weft_test_cluster_t;

struct weft_test_options {
    uint32_t brokers;      // 0: one
    uint32_t coordinators; // 0: one; 3 or 5 to see one take over from another
    uint64_t seed;         // 0: real time
    // More "key=value" for every broker and coordinator, NULL at the end; may be NULL. Intervals are shorter than a
    // production cluster's, see docs/TESTING-YOURS.md.
    const char *const *broker_settings;
    const char *const *coordinator_settings;
    const char *data;    // real time: where nodes keep their data, kept at stop. NULL: a temporary directory
    const char *listen;  // real time: "inproc"; for clients in other processes "ipc", "tcp". NULL: "inproc"
    bool rough;          // virtual time: the network, the disks and the nodes stumble now and then by themselves
    int64_t patience_ms; // virtual time: longest that one call may wait; 0: one hour
    int trace;           // of nodes and clients to stderr, 0: errors only, 1: warnings, 2: life cycle, 3: decisions
};

/**
 * Starts all nodes and waits until they serve. options NULL: one broker, one coordinator, real time. Refused, nothing
 * left behind: with a sentence in `error` (may be NULL).
 */
WEFT_EXPORT_CHECKED weft_err_t weft_test_start(const struct weft_test_options *options, weft_test_cluster_t **out,
                                               struct weft_error *error);
/**
 * Ends all nodes, without a clean stop, and removes what was temporary. Clients of a virtual cluster must be destroyed
 * before. Nulls the pointer; accepts NULL.
 */
WEFT_EXPORT void weft_test_stop(weft_test_cluster_t **self_p);

/** For the setting `bootstrap` of clients and nodes; and the same with "bootstrap=" before it, for a list of settings. */
WEFT_EXPORT const char *weft_test_bootstrap(const weft_test_cluster_t *self);
WEFT_EXPORT const char *weft_test_setting(const weft_test_cluster_t *self);
WEFT_EXPORT const char *weft_test_error_text(const weft_test_cluster_t *self); // of the last failure; "" before
WEFT_EXPORT uint64_t weft_test_seed(const weft_test_cluster_t *self);

// ---- topics and records, by a client of the test's own: it is called "test"

/** Creates a topic and waits until every partition has a leader (10 s at most). */
WEFT_EXPORT weft_err_t weft_test_topic(weft_test_cluster_t *self, const char *topic, uint32_t partitions,
                                       uint32_t replicas);
/** One record, durable on all replicas in sync when it returns (10 s at most). key may be NULL. */
WEFT_EXPORT weft_err_t weft_test_put(weft_test_cluster_t *self, const char *topic, int32_t partition, const char *key,
                                     const char *value);
/** Who leads the partition: "broker-2"; NULL: nobody, or it can't be asked. Valid until the cluster is stopped. */
WEFT_EXPORT const char *weft_test_leader(weft_test_cluster_t *self, const char *topic, int32_t partition);
/** Which coordinator is in office: "coordinator-1"; NULL: it can't be asked. */
WEFT_EXPORT const char *weft_test_coordinator(weft_test_cluster_t *self);
/** The test's own client, for what is not here (weft/admin.h). Borrowed. */
WEFT_EXPORT weft_admin_t *weft_test_admin(weft_test_cluster_t *self);
/** What a group has committed for a partition; -1: nothing, or it can't be asked. */
WEFT_EXPORT int64_t weft_test_committed(weft_test_cluster_t *self, const char *group, const char *topic,
                                        int32_t partition);
/** The offset that the next record of a partition gets; -1: it can't be asked. */
WEFT_EXPORT int64_t weft_test_end(weft_test_cluster_t *self, const char *topic, int32_t partition);

// ---- nodes

/** A clean stop, SIGTERM: waits until it is done. LOCAL_TIMED_OUT: it did not come to rest and was ended. */
WEFT_EXPORT weft_err_t weft_test_stop_node(weft_test_cluster_t *self, const char *node);
/** kill -9: what was written is there again after a start, synced or not. The peers see their connections end. */
WEFT_EXPORT void weft_test_kill_node(weft_test_cluster_t *self, const char *node);
/**
 * Virtual time: power is cut, "*": of all nodes at once. What was not synced is kept or lost sector by sector, by the
 * seed; the peers hear nothing but silence.
 */
WEFT_EXPORT void weft_test_lose_power(weft_test_cluster_t *self, const char *node);
/** Starts a node that is down, on its data; "*": all that are. Does not wait until it serves (weft_test_serving). */
WEFT_EXPORT weft_err_t weft_test_start_node(weft_test_cluster_t *self, const char *node);
WEFT_EXPORT bool weft_test_is_up(const weft_test_cluster_t *self, const char *node);
/** True once the node serves ("*": all that are up); waits for it. */
WEFT_EXPORT bool weft_test_serving(weft_test_cluster_t *self, const char *node, int timeout_ms);
/**
 * Ends a client as kill -9 does, for all others: they hear no more of it. The objects stay to be destroyed; nothing they
 * still say arrives. A client that is made later under this name is another one.
 */
WEFT_EXPORT void weft_test_kill_client(weft_test_cluster_t *self, const char *client);

// ---- network; may be called while another thread waits in its client, and from a function of weft_test_after

/**
 * Nothing passes between a and b any more, as if a cable were pulled: neither side is told. What is under way waits, and
 * arrives late if the cut is healed within three seconds; then the connection is given up with all that is in it, and
 * comes again by itself once healed. To cut twice is to cut once. cut_from cuts one way only.
 */
WEFT_EXPORT void weft_test_cut(weft_test_cluster_t *self, const char *a, const char *b);
WEFT_EXPORT void weft_test_cut_from(weft_test_cluster_t *self, const char *from, const char *to);
/** Ends cuts and delays between them. ("*", "*"): all. */
WEFT_EXPORT void weft_test_heal(weft_test_cluster_t *self, const char *a, const char *b);
/** Every message between them, both ways, arrives so much later; 0: no more. */
WEFT_EXPORT void weft_test_delay(weft_test_cluster_t *self, const char *a, const char *b, int64_t ms);
/** Their connections are lost now, with what is under way, and come again by themselves. */
WEFT_EXPORT void weft_test_break(weft_test_cluster_t *self, const char *a, const char *b);

// ---- disks

/** Each sync of a node's disk takes so long; 0: as before. "*": of all nodes. */
WEFT_EXPORT void weft_test_slow_disk(weft_test_cluster_t *self, const char *node, int64_t ms_per_sync);
/** Each write of a node's disk fails as if it were full, until told otherwise. */
WEFT_EXPORT void weft_test_full_disk(weft_test_cluster_t *self, const char *node, bool full);

// ---- programs that stand still, virtual time

/**
 * A node or a client does nothing for so long, heartbeats included (SIGSTOP, a laptop's lid, a long garbage collection);
 * then it goes on with all that came meanwhile. "*": all.
 */
WEFT_EXPORT void weft_test_pause(weft_test_cluster_t *self, const char *name, int64_t ms);
/** The Unix time of a node or client jumps by so much, back if negative. "*": of all. */
WEFT_EXPORT void weft_test_jump_clock(weft_test_cluster_t *self, const char *name, int64_t ms);

// ---- time

/** Since the start. Virtual: of the simulated clock. */
WEFT_EXPORT int64_t weft_test_now_ms(const weft_test_cluster_t *self);
/** Lets so much time pass: for what your code does between its calls ("this takes 200 ms"), too. */
WEFT_EXPORT void weft_test_run_for(weft_test_cluster_t *self, int64_t ms);
/**
 * Calls fn once, so much later, while the program is inside whatever it does then: a fault in the middle of a poll. It
 * may use the functions on nodes (but stop_node), network and disks. Real time: on a thread of the cluster's own.
 */
typedef void weft_test_call_fn(weft_test_cluster_t *cluster, void *context);
WEFT_EXPORT void weft_test_after(weft_test_cluster_t *self, int64_t ms, weft_test_call_fn *fn, void *context);
/** Lets time pass until the condition holds, looking every few milliseconds; false: it does not within timeout_ms. */
typedef bool weft_test_condition_fn(void *context);
WEFT_EXPORT bool weft_test_wait(weft_test_cluster_t *self, weft_test_condition_fn *holds, void *context,
                                int timeout_ms);

// ---- the seed

/** 0 to bound - 1, out of the seed (real time: of the operating system): for a test's own choices. */
WEFT_EXPORT uint64_t weft_test_random(weft_test_cluster_t *self, uint64_t bound);
/** Of all that happened so far, virtual time: two runs that agree in it were the same. 0 in real time. */
WEFT_EXPORT uint64_t weft_test_fingerprint(const weft_test_cluster_t *self);

#ifdef __cplusplus
}
#endif

#endif
