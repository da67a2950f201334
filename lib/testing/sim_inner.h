// SPDX-License-Identifier: MPL-2.0
/**
 * What the files of the simulated world share: sim_world.c (time, parts), sim_hosts.c, sim_net.c (links).
 */
#ifndef WEFT_TESTING_INNER_H
#define WEFT_TESTING_INNER_H

#include "sim_world.h"

#define SIM_HEARTBEAT_US 3000000 // as lib/net's ZMTP heartbeats: a silent peer is given up after this long

struct sim_slot;

enum sim_input_type { SIM_INPUT_MESSAGE, SIM_INPUT_MAIL, SIM_INPUT_UP, SIM_INPUT_DOWN };

struct sim_input {
    enum sim_input_type type;
    weft_link_t link; // of UP, DOWN
    struct weft_message message;
    struct weft_mail mail;
};

struct sim_queue { // ring of inputs
    struct sim_input *items;
    size_t first, count, capacity;
};

struct sim_flight { // a message under way
    int64_t arrival_us;
    bool delimited;
    weft_frame_t header, data;
};

struct sim_pipe { // one direction of a connection, in order
    struct sim_flight *flights;
    size_t first, count, capacity, bytes;
    int64_t last_arrival_us;
    bool scheduled; // an event for its head is in the queue
};

struct sim_connection {
    uint32_t id;
    bool alive;
    struct sim_slot *dealer, *router;
    uint8_t door; // of the router
    weft_link_t link;
    struct sim_pipe pipes[2]; // 0: to the router, 1: to the dealer
};

struct sim_link { // of a part
    weft_link_t id;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    bool open, up;                     // up: as the part was told
    struct sim_connection *connection; // NULL while there is none
    int64_t backoff_us;
};

struct sim_sent {     // what a part sent in this turn
    weft_link_t link; // 0: reply to `peer`
    struct weft_peer peer;
    bool delimited;
    weft_frame_t header, data;
};

struct sim_slot { // a part in its place; kept to the end of the simulation, so that late events find it dead
    sim_t *sim;
    sim_host_t host;
    weft_part_id_t id;
    struct weft_part *part; // NULL once dead
    char name[64];
    char listen[2][WEFT_ENDPOINT_BYTES_MAX]; // its doors; "": none
    size_t peer_bytes_max;
    bool by_hand; // turns only by weft_sim_part_run; turn_us is what it wishes
    bool is_sync, world_started, started, stop_asked, stopping, stopped, in_turn;
    struct sim_queue inputs, inputs_too; // of the second door: taken first
    struct sim_link *links;
    size_t link_count;
    struct sim_sent *sent;
    size_t sent_count, sent_capacity;
    int64_t turn_us;       // when the next turn is due, WEFT_TIME_NEVER
    uint64_t turn_number;  // an older turn event is stale
    int64_t free_us;       // paused or busy until
    int64_t mail_us;       // arrival of its last mail: order
    int64_t mail_delay_us; // of what it posts in this turn: a sync under way
};

struct sim_host {
    char name[64];
    const struct weft_disk *disk;
    weft_world_t world;
    int64_t wall_offset_ms;
    uint32_t disk_factor;    // 0: as others
    int64_t sync_us;         // 0: as others
    struct sim_slot **slots; // of this life
    size_t slot_count;
    uint32_t next_port;
    bool metered;
    int64_t cpu_ns;
    sim_t *sim;
    sim_host_t index;
};

enum sim_event_type {
    SIM_EVENT_TURN,
    SIM_EVENT_DELIVER,
    SIM_EVENT_MAIL,
    SIM_EVENT_CONNECT,
    SIM_EVENT_INPUT,
    SIM_EVENT_SILENCE,
    SIM_EVENT_CALL
};

struct sim_event {
    int64_t time_us;
    uint64_t number; // order among equals
    enum sim_event_type type;
    struct sim_slot *slot;
    struct sim_connection *connection;
    uint64_t detail; // turn number, pipe, link, cut generation
    struct weft_mail mail;
    enum sim_input_type input;
    sim_host_t a, b;
    sim_call_fn *fn;
    void *context;
};

struct sim {
    weft_rand_t rand;
    struct sim_config config;
    int64_t now_us;
    struct sim_event *heap;
    size_t event_count, event_capacity;
    uint64_t event_number;
    struct sim_host hosts[SIM_HOSTS_MAX];
    int host_count;
    struct sim_slot **slots; // all that ever were
    size_t slot_count, slot_capacity;
    struct sim_connection **connections; // all that ever were
    size_t connection_count, connection_capacity;
    uint32_t cuts[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; // 0: none, else its generation
    uint32_t slow[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; // 0: none, else so many times slower
    int64_t late_us[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
    uint32_t cut_generation;
    uint64_t digest;
    struct sim_stats stats;
    bool trace, trace_messages;
    const struct sim_slot *running;
};

// sim_world.c
void weft_sim_turn_at(struct sim_slot *slot, int64_t time_us); // at the latest
void weft_sim_queue_fini(struct sim_queue *queue);
void weft_sim_mail_drop(struct weft_mail *mail);
void weft_sim_event_add(sim_t *self, struct sim_event event);
void weft_sim_input_add(struct sim_slot *slot, struct sim_input *input); // and a turn for it
void weft_sim_mix(sim_t *self, uint64_t value);                          // into the digest
struct sim_slot *weft_sim_slot_of(const sim_t *self, sim_host_t host, weft_part_id_t part);

// sim_net.c
extern const struct weft_port_ops weft_sim_port_ops;
void weft_sim_net_flush(struct sim_slot *slot); // lets out what the part sent
void weft_sim_net_deliver(sim_t *self, struct sim_connection *connection, int direction);
void weft_sim_net_connect(struct sim_slot *slot, weft_link_t link); // an attempt
void weft_sim_net_silence(sim_t *self, sim_host_t a, sim_host_t b, uint32_t generation);
void weft_sim_net_slot_dies(struct sim_slot *slot, bool silent);
void weft_sim_net_input(struct sim_slot *slot, enum sim_input_type type,
                        weft_link_t link);           // takes a link's news; false: stale
bool weft_sim_net_idle(const struct sim_slot *slot); // nothing that it sent over a link is under way
void weft_sim_net_fini(sim_t *self);

#endif
