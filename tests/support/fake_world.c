// SPDX-License-Identifier: MPL-2.0
// One list of parts, one queue of mail, one list of what was sent. A part's port points at its slot.
#include "fake_world.h"

#include "test.h"

#include <stdio.h>
#include <string.h>

#define S_PARTS_MAX 80
#define S_LINKS_MAX 64
#define S_ROUNDS_MAX 100000 // turns at one time before the test is called stuck

struct s_slot {
    struct weft_fake_world *world;
    struct weft_part *part;
    weft_part_id_t id;
    bool listens[2], started, held; // by door
    int64_t next_us;
};

struct s_link {
    struct s_slot *slot;
    char endpoint[WEFT_ENDPOINT_BYTES_MAX];
    bool open, up;
};

struct s_letter {
    struct s_letter *next;
    weft_part_id_t to;
    struct weft_mail mail;
};

struct s_sent {
    struct s_sent *next;
    struct weft_fake_sent sent;
    weft_frame_t data; // not given back before it is taken, as by a socket
};

struct weft_fake_world {
    weft_world_t world;
    struct s_slot slots[S_PARTS_MAX];
    size_t slot_count;
    struct s_link links[S_LINKS_MAX];
    size_t link_count;
    char up[S_LINKS_MAX][WEFT_ENDPOINT_BYTES_MAX];
    size_t up_count;
    struct s_letter *letters, **letters_end;
    struct s_sent *sent, **sent_end, *taken;
    size_t outstanding;
    int64_t now_us;
    unsigned next_port;
};

// ---- port

static int64_t s_now_us(void *slot)
{
    return ((struct s_slot *) slot)->world->now_us;
}

static int64_t s_wall_ms(void *slot)
{
    return WEFT_FAKE_WALL_MS + ((struct s_slot *) slot)->world->now_us / 1000 - 1000;
}

// Differs at every start, also in another world of the same test.
static uint64_t s_seed(void *slot)
{
    static uint64_t seed;
    (void) slot;
    return ++seed;
}

static bool s_is_up(const weft_fake_world_t *self, const char *endpoint)
{
    for (size_t i = 0; i < self->up_count; i++)
        if (strcmp(self->up[i], endpoint) == 0) return true;
    return false;
}

static weft_err_t s_link_open(void *world, const char *endpoint, weft_link_t *out)
{
    struct s_slot *slot = world;
    weft_fake_world_t *self = slot->world;
    if (self->link_count == S_LINKS_MAX) return WEFT_ERR_INVALID_ENDPOINT;
    struct s_link *link = &self->links[self->link_count++];
    *link = (struct s_link){.slot = slot, .open = true};
    snprintf(link->endpoint, sizeof link->endpoint, "%s", endpoint);
    *out = (weft_link_t) self->link_count;
    return WEFT_OK;
}

static void s_link_close(void *world, weft_link_t link)
{
    struct s_link *one = &((struct s_slot *) world)->world->links[link - 1];
    one->open = one->up = false;
}

static struct weft_fake_sent *s_keep(struct s_slot *slot, weft_slice_t header, weft_frame_t *data)
{
    weft_fake_world_t *self = slot->world;
    struct s_sent *one = weft_calloc(1, sizeof *one);
    one->sent.part = slot->id;
    weft_buf_init(&one->sent.header);
    weft_buf_init(&one->sent.data);
    weft_buf_append(&one->sent.header, header.data, header.size);
    if (data != NULL && data->size != 0) weft_buf_append(&one->sent.data, data->data, data->size);
    one->data = WEFT_FRAME_EMPTY;
    if (data != NULL) weft_frame_move(&one->data, data);
    *self->sent_end = one;
    self->sent_end = &one->next;
    return &one->sent;
}

static weft_err_t s_send(void *world, weft_link_t link, weft_slice_t header, weft_frame_t *data)
{
    struct s_slot *slot = world;
    struct s_link *one = &slot->world->links[link - 1];
    if (!one->up) return WEFT_ERR_LOCAL_NOT_CONNECTED;
    struct weft_fake_sent *sent = s_keep(slot, header, data);
    sent->link = link;
    memcpy(sent->endpoint, one->endpoint, sizeof sent->endpoint);
    return WEFT_OK;
}

static weft_err_t s_reply(void *world, const struct weft_peer *peer, bool delimited, weft_slice_t header,
                          weft_frame_t *data)
{
    struct weft_fake_sent *sent = s_keep(world, header, data);
    sent->peer = peer->bytes[0];
    sent->door = peer->door;
    assert_true(peer->door < 2 && ((struct s_slot *) world)->listens[peer->door]);
    sent->delimited = delimited;
    return WEFT_OK;
}

static size_t s_outstanding(void *world, const struct weft_peer *peer)
{
    (void) peer;
    return ((struct s_slot *) world)->world->outstanding;
}

static void s_post(void *world, weft_part_id_t to, const struct weft_mail *mail)
{
    struct s_slot *slot = world;
    struct s_letter *letter = weft_calloc(1, sizeof *letter);
    letter->to = to;
    letter->mail = *mail;
    letter->mail.from = slot->id;
    *slot->world->letters_end = letter;
    slot->world->letters_end = &letter->next;
}

static weft_part_id_t s_self_id(void *world)
{
    return ((struct s_slot *) world)->id;
}

static const struct weft_port_ops s_port_ops = {
    .now_us = s_now_us,
    .wall_ms = s_wall_ms,
    .seed = s_seed,
    .link_open = s_link_open,
    .link_close = s_link_close,
    .send = s_send,
    .reply = s_reply,
    .peer_outstanding_bytes = s_outstanding,
    .post = s_post,
    .self_id = s_self_id,
};

// ---- world

static void s_bind(weft_fake_world_t *self, const char *listen, char *bound)
{
    if (bound == NULL || listen == NULL) return;
    size_t size = strlen(listen);
    if (size >= 2 && strcmp(listen + size - 2, ":*") == 0)
        snprintf(bound, WEFT_ENDPOINT_BYTES_MAX, "%.*s%u", (int) (size - 1), listen, self->next_port++);
    else
        snprintf(bound, WEFT_ENDPOINT_BYTES_MAX, "%s", listen);
}

static weft_err_t s_add(void *world, const struct weft_world_part *how, struct weft_part *part, weft_part_id_t *id,
                        char *bound, struct weft_error *error)
{
    weft_fake_world_t *self = world;
    (void) error;
    assert_true(self->slot_count < S_PARTS_MAX);
    struct s_slot *slot = &self->slots[self->slot_count++];
    *slot = (struct s_slot){.world = self,
                            .part = part,
                            .id = (weft_part_id_t) self->slot_count,
                            .listens = {how->listen != NULL, how->listen_too != NULL}};
    *id = slot->id;
    s_bind(self, how->listen, bound);
    s_bind(self, how->listen_too, how->bound_too);
    return WEFT_OK;
}

static void s_start(void *world)
{
    weft_fake_world_t *self = world;
    for (size_t i = 0; i < self->slot_count; i++) {
        struct s_slot *slot = &self->slots[i];
        if (slot->started) continue;
        slot->started = true;
        const struct weft_port port = {.ops = &s_port_ops, .world = slot};
        slot->part->ops->start(slot->part, &port);
    }
    weft_fake_world_settle(self);
}

static const struct weft_world_ops s_world_ops = {.add = s_add, .start = s_start};

weft_fake_world_t *weft_fake_world_new(const struct weft_disk *disk)
{
    weft_fake_world_t *self = weft_calloc(1, sizeof *self);
    self->world = (weft_world_t){.ops = &s_world_ops, .self = self, .disk = disk};
    self->letters_end = &self->letters;
    self->sent_end = &self->sent;
    self->now_us = 1000000;
    self->next_port = 20000;
    return self;
}

static void s_free_sent(struct s_sent **sent_p)
{
    if (*sent_p == NULL) return;
    weft_buf_fini(&(*sent_p)->sent.header);
    weft_buf_fini(&(*sent_p)->sent.data);
    weft_frame_drop(&(*sent_p)->data);
    free(*sent_p);
    *sent_p = NULL;
}

static const struct weft_fake_sent *s_take(weft_fake_world_t *self, bool over_link)
{
    s_free_sent(&self->taken);
    struct s_sent **at = &self->sent;
    while (*at != NULL && ((*at)->sent.link != 0) != over_link) at = &(*at)->next;
    struct s_sent *one = *at;
    if (one == NULL) return NULL;
    *at = one->next;
    if (self->sent_end == &one->next) self->sent_end = at;
    self->taken = one;
    return &one->sent;
}

void weft_fake_world_destroy(weft_fake_world_t **self_p)
{
    weft_fake_world_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    for (size_t i = 0; i < self->slot_count; i++) {
        struct s_slot *slot = &self->slots[i];
        if (slot->part != NULL) slot->part->ops->destroy(&slot->part);
    }
    while (self->letters != NULL) {
        struct s_letter *letter = self->letters;
        self->letters = letter->next;
        if (letter->mail.body_free != NULL) letter->mail.body_free(letter->mail.body);
        free(letter);
    }
    while (s_take(self, true) != NULL || s_take(self, false) != NULL) {}
    s_free_sent(&self->taken);
    free(self);
}

const weft_world_t *weft_fake_world_of(weft_fake_world_t *self)
{
    return &self->world;
}

// ---- time

int64_t weft_fake_world_now_us(const weft_fake_world_t *self)
{
    return self->now_us;
}

// Delivers the oldest letter that is not held back; false: none.
static bool s_deliver(weft_fake_world_t *self)
{
    for (struct s_letter **at = &self->letters; *at != NULL; at = &(*at)->next) {
        struct s_letter *letter = *at;
        struct s_slot *slot = &self->slots[letter->to - 1];
        if (slot->held) continue;
        *at = letter->next;
        if (self->letters_end == &letter->next) self->letters_end = at;
        if (slot->part != NULL) {
            slot->part->ops->mail(slot->part, &letter->mail);
            slot->next_us = self->now_us;
        } else if (letter->mail.body_free != NULL) {
            letter->mail.body_free(letter->mail.body);
        }
        free(letter);
        return true;
    }
    return false;
}

static bool s_turns(weft_fake_world_t *self)
{
    bool any = false;
    for (size_t i = 0; i < self->slot_count; i++) {
        struct s_slot *slot = &self->slots[i];
        if (slot->part == NULL || !slot->started || slot->held || slot->next_us > self->now_us) continue;
        slot->next_us = slot->part->ops->turn(slot->part, self->now_us);
        any = true;
    }
    return any;
}

static void s_link_set(weft_fake_world_t *self, struct s_link *link, bool up)
{
    if (!link->open || link->up == up) return;
    link->up = up;
    struct weft_part *part = link->slot->part;
    weft_link_t id = (weft_link_t) (link - self->links) + 1;
    if (part == NULL) return;
    if (up)
        part->ops->link_up(part, id);
    else
        part->ops->link_down(part, id);
    link->slot->next_us = self->now_us;
}

// Links that were opened to an endpoint that is up.
static bool s_connect(weft_fake_world_t *self)
{
    bool any = false;
    for (size_t i = 0; i < self->link_count; i++) {
        struct s_link *link = &self->links[i];
        if (!link->open || link->up || !s_is_up(self, link->endpoint)) continue;
        s_link_set(self, link, true);
        any = true;
    }
    return any;
}

void weft_fake_world_settle(weft_fake_world_t *self)
{
    for (size_t rounds = 0;; rounds++) {
        assert_true(rounds < S_ROUNDS_MAX);
        bool any = s_connect(self);
        while (s_deliver(self)) any = true;
        if (s_turns(self)) any = true;
        if (!any) return;
    }
}

void weft_fake_world_advance(weft_fake_world_t *self, int64_t us)
{
    int64_t end_us = self->now_us + us;
    while (self->now_us < end_us) {
        int64_t next_us = end_us;
        for (size_t i = 0; i < self->slot_count; i++) {
            const struct s_slot *slot = &self->slots[i];
            if (slot->part != NULL && slot->started && !slot->held && slot->next_us < next_us) next_us = slot->next_us;
        }
        self->now_us = next_us > self->now_us ? next_us : self->now_us + 1;
        weft_fake_world_settle(self);
    }
}

// ---- the peers' side

static struct s_slot *s_listening(weft_fake_world_t *self, size_t number, uint8_t door)
{
    for (size_t i = 0; i < self->slot_count; i++)
        if (self->slots[i].listens[door] && number-- == 0) return &self->slots[i];
    fail_msg("no such listening part");
    return NULL;
}

static void s_hand_over(struct s_slot *slot, struct weft_message *message, weft_slice_t header, weft_slice_t data,
                        bool shared)
{
    weft_frame_init_copy(&message->header, header);
    if (data.data != NULL) weft_frame_init_copy(&message->data, data);
    message->data.shared = shared;
    slot->part->ops->message(slot->part, message);
    weft_frame_drop(&message->header);
    weft_frame_drop(&message->data);
    slot->next_us = slot->world->now_us;
}

void weft_fake_world_queue(weft_fake_world_t *self, size_t number, uint8_t peer, bool delimited, weft_slice_t header,
                           weft_slice_t data, bool shared)
{
    struct weft_message message = {.delimited = delimited};
    message.peer.size = 1;
    message.peer.bytes[0] = peer;
    s_hand_over(s_listening(self, number, 0), &message, header, data, shared);
}

void weft_fake_world_request(weft_fake_world_t *self, size_t number, uint8_t peer, bool delimited, weft_slice_t header,
                             weft_slice_t data, bool shared)
{
    weft_fake_world_queue(self, number, peer, delimited, header, data, shared);
    weft_fake_world_settle(self);
}

void weft_fake_world_queue_at(weft_fake_world_t *self, size_t number, uint8_t door, uint8_t peer, weft_slice_t header,
                              weft_slice_t data)
{
    struct weft_message message = {.peer = {.size = 1, .door = door, .bytes = {peer}}};
    s_hand_over(s_listening(self, number, door), &message, header, data, false);
}

void weft_fake_world_request_at(weft_fake_world_t *self, size_t number, uint8_t door, uint8_t peer, weft_slice_t header,
                                weft_slice_t data)
{
    weft_fake_world_queue_at(self, number, door, peer, header, data);
    weft_fake_world_settle(self);
}

const struct weft_fake_sent *weft_fake_world_take_reply(weft_fake_world_t *self)
{
    return s_take(self, false);
}

const struct weft_fake_sent *weft_fake_world_take_sent(weft_fake_world_t *self)
{
    return s_take(self, true);
}

size_t weft_fake_world_reply_count(const weft_fake_world_t *self)
{
    size_t count = 0;
    for (const struct s_sent *one = self->sent; one != NULL; one = one->next) count += one->sent.link == 0;
    return count;
}

void weft_fake_world_outstanding(weft_fake_world_t *self, size_t bytes)
{
    self->outstanding = bytes;
}

void weft_fake_world_link(weft_fake_world_t *self, const char *endpoint, bool up)
{
    if (up && !s_is_up(self, endpoint)) snprintf(self->up[self->up_count++], WEFT_ENDPOINT_BYTES_MAX, "%s", endpoint);
    if (!up)
        for (size_t i = 0; i < self->up_count; i++)
            if (strcmp(self->up[i], endpoint) == 0)
                memmove(self->up[i], self->up[--self->up_count], WEFT_ENDPOINT_BYTES_MAX);
    for (size_t i = 0; i < self->link_count; i++)
        if (strcmp(self->links[i].endpoint, endpoint) == 0) s_link_set(self, &self->links[i], up);
    weft_fake_world_settle(self);
}

void weft_fake_world_from(weft_fake_world_t *self, const char *endpoint, weft_slice_t header, weft_slice_t data)
{
    for (size_t i = 0; i < self->link_count; i++) {
        struct s_link *link = &self->links[i];
        if (!link->up || strcmp(link->endpoint, endpoint) != 0) continue;
        struct weft_message message = {.link = (weft_link_t) i + 1};
        s_hand_over(link->slot, &message, header, data, false);
        break;
    }
    weft_fake_world_settle(self);
}

void weft_fake_world_mail(weft_fake_world_t *self, weft_part_id_t to, const struct weft_mail *mail)
{
    s_post(&self->slots[to - 1], to, mail);
    weft_fake_world_settle(self);
}

// ---- stop

void weft_fake_world_hold(weft_fake_world_t *self, weft_part_id_t part, bool hold)
{
    self->slots[part - 1].held = hold;
    if (!hold) weft_fake_world_settle(self);
}

bool weft_fake_world_stop(weft_fake_world_t *self, weft_part_id_t part, int64_t us)
{
    struct s_slot *slot = &self->slots[part - 1];
    slot->part->ops->stop(slot->part);
    slot->next_us = self->now_us;
    int64_t end_us = self->now_us + us;
    for (;;) {
        weft_fake_world_settle(self);
        if (slot->part->ops->stopped(slot->part)) return true;
        weft_fake_world_settle(self); // what stopped() began
        if (slot->part->ops->stopped(slot->part)) return true;
        if (self->now_us >= end_us) return false;
        weft_fake_world_advance(self, 10000);
    }
}
