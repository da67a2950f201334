// SPDX-License-Identifier: MPL-2.0
// The simulated world itself, with toy parts: what the network promises, what it takes away, and that a seed is a history.
#include "../../lib/testing/sim_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define SERVER "tcp://server:1"

struct toy { // sends numbers over a link, or answers each with the same number
    struct weft_part base;
    weft_port_t port;
    const char *target;
    weft_part_id_t mail_to;
    weft_link_t link;
    uint32_t next, sent, refused;  // numbers sent; attempts refused
    uint32_t got[4096], got_count; // numbers that arrived, in order
    uint32_t mails, ups, downs, turns, lives;
    bool is_up, stopping;
    int64_t every_us, due_us;
    struct toy **alive; // nulled by destroy
};

static void s_start(struct weft_part *part, const weft_port_t *port)
{
    struct toy *self = (struct toy *) part;
    self->port = *port;
    self->lives++;
    if (self->target != NULL) assert_int_equal(port->ops->link_open(port->world, self->target, &self->link), WEFT_OK);
}

static void s_message(struct weft_part *part, struct weft_message *message)
{
    struct toy *self = (struct toy *) part;
    uint32_t number;
    assert_int_equal(message->header.size, sizeof number);
    memcpy(&number, message->header.data, sizeof number);
    assert_true(self->got_count < 4096);
    self->got[self->got_count++] = number;
    if (message->link != 0) return;
    assert_int_equal(message->data.size, 3);
    weft_err_t err = self->port.ops->reply(self->port.world, &message->peer, message->delimited,
                                           weft_frame_slice(&message->header), &message->data);
    assert_true(err == WEFT_OK || err == WEFT_ERR_LOCAL_WOULD_BLOCK);
}

static void s_mail(struct weft_part *part, struct weft_mail *mail)
{
    struct toy *self = (struct toy *) part;
    assert_int_equal(mail->number, self->mails);
    self->mails++;
    free(mail->body);
}

static void s_up(struct weft_part *part, weft_link_t link)
{
    struct toy *self = (struct toy *) part;
    assert_false(self->is_up);
    self->is_up = true;
    self->ups++;
}

static void s_down(struct weft_part *part, weft_link_t link)
{
    struct toy *self = (struct toy *) part;
    assert_true(self->is_up);
    self->is_up = false;
    self->downs++;
}

static void s_send_one(struct toy *self)
{
    weft_frame_t data;
    weft_frame_init_copy(&data, weft_slice("abc", 3));
    weft_err_t err =
        self->port.ops->send(self->port.world, self->link, weft_slice(&self->next, sizeof self->next), &data);
    assert_true((err == WEFT_OK) || (!self->is_up && err == WEFT_ERR_LOCAL_NOT_CONNECTED));
    assert_true(err != WEFT_OK || data.size == 0);
    weft_frame_drop(&data);
    if (err == WEFT_OK)
        self->sent++, self->next++;
    else
        self->refused++;
}

static int64_t s_turn(struct weft_part *part, int64_t now_us)
{
    struct toy *self = (struct toy *) part;
    assert_int_equal(now_us, weft_port_now_us(&self->port));
    self->turns++;
    if (self->every_us == 0 || self->stopping) return WEFT_TIME_NEVER;
    if (now_us < self->due_us) return self->due_us;
    self->due_us = now_us + self->every_us;
    if (self->target != NULL) s_send_one(self);
    if (self->mail_to != 0) {
        struct weft_mail mail = {.kind = 1, .number = self->next++, .body = malloc(10), .body_free = free};
        self->port.ops->post(self->port.world, self->mail_to, &mail);
    }
    return self->due_us;
}

static void s_stop(struct weft_part *part)
{
    ((struct toy *) part)->stopping = true;
}

static bool s_stopped(struct weft_part *part)
{
    return ((struct toy *) part)->stopping;
}

static void s_destroy(struct weft_part **part_p)
{
    struct toy *self = (struct toy *) *part_p;
    if (self->alive != NULL) *self->alive = NULL;
    free(self);
    *part_p = NULL;
}

static const struct weft_part_ops s_ops = {.start = s_start,
                                           .message = s_message,
                                           .mail = s_mail,
                                           .link_up = s_up,
                                           .link_down = s_down,
                                           .turn = s_turn,
                                           .stop = s_stop,
                                           .stopped = s_stopped,
                                           .destroy = s_destroy};

static struct toy *s_toy(sim_t *sim, sim_host_t host, const char *name, const char *listen, const char *target,
                         int64_t every_us)
{
    struct toy *toy = calloc(1, sizeof *toy);
    toy->base.ops = &s_ops;
    toy->target = target;
    toy->every_us = every_us;
    weft_part_id_t id;
    struct weft_world_part how = {.name = name, .listen = listen, .frame_bytes_max = 1000};
    const weft_world_t *world = weft_sim_host_world(sim, host);
    assert_int_equal(world->ops->add(world->self, &how, &toy->base, &id, NULL, NULL), WEFT_OK);
    world->ops->start(world->self);
    return toy;
}

static const struct sim_config s_calm = {
    .delay_min_us = 100, .delay_max_us = 1000, .sync_min_us = 100, .sync_max_us = 1000};

struct pair {
    sim_t *sim;
    sim_host_t a, b;
    struct toy *server, *client;
};

static struct pair s_pair(uint64_t seed, const struct sim_config *config)
{
    struct pair pair = {.sim = weft_sim_new(seed, config)};
    pair.a = weft_sim_host_add(pair.sim, "server", NULL);
    pair.b = weft_sim_host_add(pair.sim, "client", NULL);
    pair.server = s_toy(pair.sim, pair.a, "server", SERVER, NULL, 0);
    pair.client = s_toy(pair.sim, pair.b, "client", NULL, SERVER, 10000);
    return pair;
}

static void s_assert_rising(const struct toy *toy)
{
    for (uint32_t i = 1; i < toy->got_count; i++) assert_true(toy->got[i] > toy->got[i - 1]);
}

static void test_sim__messages_arrive_in_order_and_none_is_lost_without_faults(void **state)
{
    (void) state;
    struct pair pair = s_pair(1, &s_calm);
    weft_sim_run_until(pair.sim, 5 * SECOND);
    pair.client->every_us = 0;
    weft_sim_run_until(pair.sim, 6 * SECOND);
    assert_true(pair.client->sent > 400);
    assert_int_equal(pair.server->got_count, pair.client->sent);
    assert_int_equal(pair.client->got_count, pair.client->sent);
    for (uint32_t i = 0; i < pair.client->got_count; i++) assert_int_equal(pair.client->got[i], i);
    assert_true(pair.client->refused >= 1); // its first turn came before the connection
    weft_sim_destroy(&pair.sim);
}

static void test_sim__lost_connections_lose_what_is_under_way_and_come_back(void **state)
{
    (void) state;
    struct sim_config config = s_calm;
    config.break_per_million = 50000;
    struct pair pair = s_pair(2, &config);
    weft_sim_run_until(pair.sim, 20 * SECOND);
    assert_true(pair.client->downs > 5 && pair.client->ups >= pair.client->downs);
    assert_true(pair.server->got_count < pair.client->sent);
    assert_true(pair.server->got_count > pair.client->sent / 2);
    s_assert_rising(pair.server);
    s_assert_rising(pair.client);
    weft_sim_destroy(&pair.sim);
}

static void test_sim__a_short_cut_delays_and_a_long_one_costs_the_connection(void **state)
{
    (void) state;
    struct pair pair = s_pair(3, &s_calm);
    weft_sim_run_until(pair.sim, SECOND);
    weft_sim_cut(pair.sim, pair.b, pair.a, true); // one way: nothing reaches the server
    uint32_t before = pair.server->got_count;
    weft_sim_run_until(pair.sim, 2 * SECOND);
    assert_true(pair.server->got_count <= before + 1);
    weft_sim_heal(pair.sim);
    weft_sim_run_until(pair.sim, 3 * SECOND);
    assert_int_equal(pair.client->downs, 0);
    assert_in_range(pair.client->sent - pair.server->got_count, 0, 1);

    weft_sim_cut(pair.sim, pair.a, pair.b, true); // the other way: the server hears, the client doesn't
    before = pair.client->got_count;
    weft_sim_run_until(pair.sim, 8 * SECOND);
    assert_int_equal(pair.client->downs, 1);
    assert_false(pair.client->is_up);
    assert_true(pair.client->got_count <= before + 1);
    weft_sim_heal(pair.sim);
    weft_sim_run_until(pair.sim, 11 * SECOND);
    assert_true(pair.client->is_up);
    weft_sim_destroy(&pair.sim);
}

static void test_sim__a_killed_host_takes_nothing_with_it_but_its_parts(void **state)
{
    (void) state;
    for (int silent = 0; silent < 2; silent++) {
        struct pair pair = s_pair(4 + (uint64_t) silent, &s_calm);
        pair.server->alive = &pair.server;
        weft_sim_run_until(pair.sim, SECOND);
        weft_sim_host_kill(pair.sim, pair.a, silent);
        assert_null(pair.server);
        assert_false(weft_sim_host_up(pair.sim, pair.a));
        weft_sim_run_until(pair.sim, SECOND + 10000);
        if (!silent) assert_int_equal(pair.client->downs, 1);
        weft_sim_run_until(pair.sim, 5 * SECOND);
        assert_int_equal(pair.client->downs, 1);
        pair.server = s_toy(pair.sim, pair.a, "server", SERVER, NULL, 0);
        weft_sim_run_until(pair.sim, 8 * SECOND);
        assert_int_equal(pair.client->ups, 2);
        assert_true(pair.server->got_count > 0);
        assert_true(pair.server->got[0] > 50); // nothing of before waits for the restarted one
        weft_sim_destroy(&pair.sim);
    }
}

static void test_sim__mail_arrives_in_order_also_behind_a_slow_disk(void **state)
{
    (void) state;
    sim_t *sim = weft_sim_new(6, &s_calm);
    sim_host_t host = weft_sim_host_add(sim, "node", NULL);
    struct toy *sync = s_toy(sim, host, "node/sync", NULL, NULL, 0);
    struct toy *shard = s_toy(sim, host, "node/shard", NULL, NULL, 500);
    shard->mail_to = 1;
    weft_sim_run_until(sim, SECOND);
    shard->every_us = 0;
    weft_sim_run_until(sim, 2 * SECOND);
    assert_true(sync->mails > 1500);
    assert_int_equal(sync->mails, shard->next);
    weft_sim_destroy(&sim);
}

static void test_sim__a_paused_part_gets_everything_afterwards(void **state)
{
    (void) state;
    struct pair pair = s_pair(7, &s_calm);
    weft_sim_run_until(pair.sim, SECOND);
    uint32_t before = pair.server->got_count;
    weft_sim_host_pause(pair.sim, pair.a, 2 * SECOND);
    weft_sim_run_until(pair.sim, 2 * SECOND);
    assert_int_equal(pair.server->got_count, before);
    weft_sim_run_until(pair.sim, 4 * SECOND);
    assert_in_range(pair.client->sent - pair.server->got_count, 0, 1);
    weft_sim_destroy(&pair.sim);
}

static void test_sim__stops_a_part_once_it_has_come_to_rest(void **state)
{
    (void) state;
    struct pair pair = s_pair(8, &s_calm);
    weft_sim_run_until(pair.sim, SECOND);
    assert_false(weft_sim_part_stopped(pair.sim, pair.b, 1));
    weft_sim_part_stop(pair.sim, pair.b, 1);
    weft_sim_run_until(pair.sim, SECOND + 100000);
    assert_true(weft_sim_part_stopped(pair.sim, pair.b, 1));
    uint32_t sent = pair.client->sent;
    weft_sim_run_until(pair.sim, 2 * SECOND);
    assert_int_equal(pair.client->sent, sent);
    weft_sim_destroy(&pair.sim);
}

static void test_sim__an_endpoint_has_one_listener(void **state)
{
    (void) state;
    struct pair pair = s_pair(9, &s_calm);
    struct toy *toy = calloc(1, sizeof *toy), *alive = toy;
    toy->base.ops = &s_ops;
    toy->alive = &alive;
    struct weft_world_part how = {.name = "other", .listen = SERVER};
    const weft_world_t *world = weft_sim_host_world(pair.sim, pair.b);
    weft_part_id_t id;
    struct weft_error error;
    assert_int_equal(world->ops->add(world->self, &how, &toy->base, &id, NULL, &error), WEFT_ERR_ENDPOINT_IN_USE);
    assert_null(alive);
    weft_sim_destroy(&pair.sim);
}

static void test_sim__what_comes_through_the_second_door_is_taken_first(void **state)
{
    (void) state;
    sim_t *sim = weft_sim_new(11, &s_calm);
    sim_host_t host = weft_sim_host_add(sim, "server", NULL);
    struct toy *server = calloc(1, sizeof *server);
    server->base.ops = &s_ops;
    char bound[WEFT_ENDPOINT_BYTES_MAX], too[WEFT_ENDPOINT_BYTES_MAX];
    struct weft_world_part how = {.name = "server", .listen = SERVER, .listen_too = "tcp://server:*", .bound_too = too};
    const weft_world_t *world = weft_sim_host_world(sim, host);
    weft_part_id_t id;
    assert_int_equal(world->ops->add(world->self, &how, &server->base, &id, bound, NULL), WEFT_OK);
    world->ops->start(world->self);
    assert_string_equal(bound, SERVER);
    assert_string_not_equal(too, SERVER);
    struct toy *first = s_toy(sim, weft_sim_host_add(sim, "first", NULL), "first", NULL, SERVER, 10000);
    struct toy *second = s_toy(sim, weft_sim_host_add(sim, "second", NULL), "second", NULL, too, 10000);
    second->next = 1000000;
    weft_sim_run_until(sim, SECOND);
    weft_sim_host_pause(sim, host, SECOND / 2);
    uint32_t before = server->got_count;
    weft_sim_run_until(sim, 2 * SECOND);
    bool of_first = false;
    for (uint32_t i = before; i < before + 40; i++) { // what had come during the pause, in one turn
        of_first = of_first || server->got[i] < 1000000;
        assert_false(of_first && server->got[i] >= 1000000);
    }
    assert_true(first->got_count > 100 && second->got_count > 100); // each has its own answers
    s_assert_rising(first);
    s_assert_rising(second);
    assert_true(first->got[0] < 1000000 && second->got[0] >= 1000000);
    weft_sim_destroy(&sim);
}

static void test_sim__a_part_by_hand_has_turns_only_when_it_is_run(void **state)
{
    (void) state;
    struct pair pair = s_pair(12, &s_calm);
    const bool not_woken = false, woken = true;
    struct toy *hand = s_toy(pair.sim, weft_sim_host_add(pair.sim, "hand", NULL), "hand", NULL, SERVER, 0);
    weft_sim_part_by_hand(pair.sim, 2, 1, true);
    assert_int_equal(hand->lives, 1); // it began at once
    weft_sim_run_until(pair.sim, SECOND);
    assert_int_equal(hand->turns, 0);
    weft_sim_part_run(pair.sim, 2, 1, 0, &not_woken);
    assert_int_equal(hand->turns, 1);
    assert_true(hand->is_up); // news that had waited
    s_send_one(hand);
    int64_t before_us = weft_sim_now_us(pair.sim);
    weft_sim_part_run(pair.sim, 2, 1, SECOND, &woken); // woken: at once
    assert_true(weft_sim_now_us(pair.sim) < before_us + 1000);
    weft_sim_part_run(pair.sim, 2, 1, SECOND, &not_woken); // until the answer
    assert_int_equal(hand->got_count, 1);
    assert_in_range(weft_sim_now_us(pair.sim) - before_us, 200, 10000);
    before_us = weft_sim_now_us(pair.sim);
    weft_sim_part_run(pair.sim, 2, 1, SECOND, &not_woken); // nothing comes
    assert_in_range(weft_sim_now_us(pair.sim) - before_us, SECOND, SECOND + 100);
    weft_sim_host_pause(pair.sim, 2, 3 * SECOND);
    before_us = weft_sim_now_us(pair.sim);
    weft_sim_part_run(pair.sim, 2, 1, 0, &not_woken); // stands still
    assert_in_range(weft_sim_now_us(pair.sim) - before_us, 3 * SECOND, 3 * SECOND + 100);
    weft_sim_part_kill(pair.sim, 2, 1);
    weft_sim_run_until(pair.sim, 7 * SECOND);
    weft_sim_destroy(&pair.sim);
}

static void test_sim__messages_are_late_by_as_much_as_is_said(void **state)
{
    (void) state;
    struct pair pair = s_pair(13, &s_calm);
    weft_sim_run_until(pair.sim, SECOND);
    weft_sim_late(pair.sim, pair.b, pair.a, SECOND / 2);
    uint32_t before = pair.server->got_count;
    weft_sim_run_until(pair.sim, SECOND + SECOND * 4 / 10);
    assert_in_range(pair.server->got_count - before, 0, 1);
    weft_sim_run_until(pair.sim, 2 * SECOND);
    assert_in_range(pair.server->got_count - before, 40, 51);
    weft_sim_late(pair.sim, pair.b, pair.a, 0);
    pair.client->every_us = 0;
    weft_sim_run_until(pair.sim, 3 * SECOND);
    assert_int_equal(pair.server->got_count, pair.client->sent);
    s_assert_rising(pair.server);
    weft_sim_destroy(&pair.sim);
}

static uint64_t s_digest_of(uint64_t seed)
{
    struct sim_config config = s_calm;
    config.break_per_million = 20000;
    config.slow_per_million = 100000;
    config.pause_per_million = 10000;
    struct pair pair = s_pair(seed, &config);
    weft_sim_run_until(pair.sim, 3 * SECOND);
    weft_sim_break(pair.sim, pair.a, pair.b);
    weft_sim_run_until(pair.sim, 5 * SECOND);
    uint64_t digest = weft_sim_digest(pair.sim);
    weft_sim_destroy(&pair.sim);
    return digest;
}

static void test_sim__one_seed_is_one_history(void **state)
{
    (void) state;
    for (uint64_t seed = 10; seed < 20; seed++) {
        assert_true(s_digest_of(seed) == s_digest_of(seed));
        assert_false(s_digest_of(seed) == s_digest_of(seed + 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sim__messages_arrive_in_order_and_none_is_lost_without_faults),
        cmocka_unit_test(test_sim__lost_connections_lose_what_is_under_way_and_come_back),
        cmocka_unit_test(test_sim__a_short_cut_delays_and_a_long_one_costs_the_connection),
        cmocka_unit_test(test_sim__a_killed_host_takes_nothing_with_it_but_its_parts),
        cmocka_unit_test(test_sim__mail_arrives_in_order_also_behind_a_slow_disk),
        cmocka_unit_test(test_sim__a_paused_part_gets_everything_afterwards),
        cmocka_unit_test(test_sim__stops_a_part_once_it_has_come_to_rest),
        cmocka_unit_test(test_sim__an_endpoint_has_one_listener),
        cmocka_unit_test(test_sim__what_comes_through_the_second_door_is_taken_first),
        cmocka_unit_test(test_sim__a_part_by_hand_has_turns_only_when_it_is_run),
        cmocka_unit_test(test_sim__messages_are_late_by_as_much_as_is_said),
        cmocka_unit_test(test_sim__one_seed_is_one_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
