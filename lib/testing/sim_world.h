// SPDX-License-Identifier: MPL-2.0
/**
 * Simulated world: runs parts (lib/wire/port.h) of many hosts in one thread, from one seed, in virtual time.
 *
 * What it takes from the real world, and what it makes worse:
 * - Links are ZMTP over TCP as lib/net uses it: refused while not connected, in order within a connection, no loss but
 * with the connection; then what was
 *   under way is gone, sends in between vanish, and the link comes back by itself. Order breaks only across reconnects.
 *   "inproc://" endpoints hand over the sender's own memory, marked shared.
 * - A cut holds back what flows in one direction; it arrives late when healed soon, and costs the connection when not.
 * - A part may have two doors (ROUTERs): what came in through the second is given to it first.
 * - Mail between parts of one host arrives in order, soon.
 * - A sync part (by its name: it ends with "sync") is slow like a disk: a sync happens at the start or the end of its
 * time. - Parts and hosts can be paused (SIGSTOP, a long page fault), hosts killed (the peers are told) or cut from
 * power (they aren't), clocks jump.
 *
 * Same seed, same binary: same history; sim_digest says so. Nothing here is thread-safe.
 */
#ifndef WEFT_TESTING_WORLD_H
#define WEFT_TESTING_WORLD_H

#include "../base/disk.h"
#include "../wire/port.h"

#define SIM_HOSTS_MAX 256

typedef struct sim sim_t;
typedef int sim_host_t; // from 0 on

struct sim_config {
    int64_t delay_min_us, delay_max_us; // of a message between two hosts
    uint32_t slow_per_million;          // of messages: up to 50 times slower
    uint32_t break_per_million;         // of messages: the connection is lost with them
    int64_t sync_min_us, sync_max_us;   // time of one round of a sync part
    uint32_t hang_per_million;          // of rounds: up to 3 s
    uint32_t pause_per_million;         // of turns: the part stops for up to 200 ms
};

struct sim_stats {
    uint64_t turns, messages, mails, connections, broken, refused, events;
};

sim_t *weft_sim_new(uint64_t seed, const struct sim_config *config);
void weft_sim_destroy(sim_t **self_p);                                 // destroys what parts are left
void weft_sim_configure(sim_t *self, const struct sim_config *config); // from now on

weft_rand_t *weft_sim_rand(sim_t *self); // for whoever decides on faults and load
uint64_t weft_sim_below(sim_t *self, uint64_t bound);
bool weft_sim_chance(sim_t *self, uint32_t per_million);
int64_t weft_sim_now_us(const sim_t *self);
uint64_t weft_sim_digest(const sim_t *self);
const struct sim_stats *weft_sim_stats(const sim_t *self);
const char *weft_sim_running(const sim_t *self);     // the part whose turn it is, for people
sim_host_t weft_sim_running_host(const sim_t *self); // -1: none

// Lines with virtual time and host to stderr, also of weft_trace. Off by default.
// `messages`: every message that is delivered, too.
void weft_sim_trace_on(sim_t *self, bool on, bool messages);
bool weft_sim_is_traced(const sim_t *self);
void weft_sim_trace(const sim_t *self, const char *who, const char *format, ...) __attribute__((format(printf, 3, 4)));

// ---- hosts

sim_host_t weft_sim_host_add(sim_t *self, const char *name, const struct weft_disk *disk);
// For node constructors; borrowed, valid as long as the simulation.
const weft_world_t *weft_sim_host_world(sim_t *self, sim_host_t host);
// All its parts are destroyed as they are, nothing is stopped. `silent`: its peers hear nothing but missing heartbeats.
void weft_sim_host_kill(sim_t *self, sim_host_t host, bool silent);
bool weft_sim_host_up(const sim_t *self, sim_host_t host); // has parts
void weft_sim_host_pause(sim_t *self, sim_host_t host, int64_t duration_us);
void weft_sim_host_clock_jump(sim_t *self, sim_host_t host, int64_t ms);
void weft_sim_host_sync_us(sim_t *self, sim_host_t host, int64_t us); // each of its syncs takes so long; 0: as others
void weft_sim_host_slow_disk(sim_t *self, sim_host_t host, uint32_t factor); // its syncs take so many times longer
// Measures what its turns cost in real time of a processor from now on; the other: what they cost so far. No part of a history.
void weft_sim_host_meter(sim_t *self, sim_host_t host);
int64_t weft_sim_host_cpu_us(const sim_t *self, sim_host_t host);
int64_t weft_sim_host_wall_ms(const sim_t *self, sim_host_t host);

// ---- parts

// A turn soon, for parts whose owner called functions on them.
void weft_sim_part_poke(sim_t *self, sim_host_t host, weft_part_id_t part);
void weft_sim_part_pause(sim_t *self, sim_host_t host, weft_part_id_t part, int64_t duration_us);
// When a part that is paused, or busy, goes on; not in the future: it is neither.
int64_t weft_sim_part_free_us(const sim_t *self, sim_host_t host, weft_part_id_t part);
void weft_sim_sync_pause(sim_t *self, sim_host_t host, int64_t duration_us); // of its sync parts: a disk that hangs
// Asks for a clean stop; turns go on until its stopped() is true.
void weft_sim_part_stop(sim_t *self, sim_host_t host, weft_part_id_t part);
// Destroys one part, as it is; its peers see its connections end.
void weft_sim_part_kill(sim_t *self, sim_host_t host, weft_part_id_t part);
bool weft_sim_part_stopped(const sim_t *self, sim_host_t host, weft_part_id_t part);

// By hand: a client's part. Its turns come from weft_sim_part_run alone, which its owner calls from outside the world's
// events or from inside a turn of another such part; the world runs meanwhile. It begins at once: started before.
void weft_sim_part_by_hand(sim_t *self, sim_host_t host, weft_part_id_t part, bool by_hand);
// Gives it a turn, once there is input, or *woken, or it is time for one as it said, or timeout_us have passed.
void weft_sim_part_run(sim_t *self, sim_host_t host, weft_part_id_t part, int64_t timeout_us, const bool *woken);
// Lets out what it sent since its last turn; true: nothing of it is under way any more.
bool weft_sim_part_drain(sim_t *self, sim_host_t host, weft_part_id_t part);

// ---- network

void weft_sim_cut(sim_t *self, sim_host_t from, sim_host_t to, bool cut); // one way
void weft_sim_heal(sim_t *self);                                          // no cuts any more
void weft_sim_break(sim_t *self, sim_host_t a, sim_host_t b);             // connections between them are lost, once
void weft_sim_slow(sim_t *self, sim_host_t from, sim_host_t to,
                   uint32_t factor); // one way; 1: as others; until sim_heal
// One way: so much later than otherwise; 0: not. Until told otherwise.
void weft_sim_late(sim_t *self, sim_host_t from, sim_host_t to, int64_t us);
size_t weft_sim_connection_count(const sim_t *self);

// ---- time

typedef void sim_call_fn(void *context);
void weft_sim_at(sim_t *self, int64_t time_us, sim_call_fn *fn, void *context);
// Runs all events up to that time, which is the time afterwards.
void weft_sim_run_until(sim_t *self, int64_t time_us);
// Runs events until the condition holds (looked at after each event) or the time has come; says whether it holds.
bool weft_sim_run_until_true(sim_t *self, int64_t time_us, bool (*condition)(void *context), void *context);

#endif
