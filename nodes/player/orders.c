// SPDX-License-Identifier: MPL-2.0
// What the control socket asks for, and how the player stands. A step is answered when it is done, so that a test can go
// on from there; anything that makes it pointless answers it with what was played until then.
#include "player_inner.h"

#define ORDERS_MAX 16 // of one turn

const char *weft_player_state(const struct weft_player *self)
{
    if (self->over) return "ended";
    if (self->paused) return self->steps ? "stepping" : "paused";
    return self->state == WEFT_REEL_RECORD ? "playing" : "waiting";
}

static void s_answer_status(struct weft_player *self, const struct weft_control_client *client)
{
    weft_buf_t json;
    weft_buf_init(&json);
    weft_buf_printf(&json, "{\"ok\": true, \"state\": \"%s\", \"at_end\": %s, \"speed\": %.6g, \"sent\": %llu",
                    weft_player_state(self),
                    self->state == WEFT_REEL_AT_END || self->state == WEFT_REEL_OVER ? "true" : "false",
                    self->pace.speed, (unsigned long long) self->counts[WEFT_PLAYER_SENT]);
    if (self->counts[WEFT_PLAYER_SENT])
        weft_buf_printf(&json, ", \"partition\": %d, \"offset\": %lld, \"timestamp_ms\": %lld", self->last.partition,
                        (long long) self->last.offset, (long long) self->last.timestamp_ms);
    if (self->due_us)
        weft_buf_printf(&json, ", \"next_in_ms\": %lld", (long long) (self->due_us - weft_mono_us()) / 1000);
    weft_buf_append(&json, "}", 1);
    weft_control_answer(self->control, client, &json);
    weft_buf_fini(&json);
}

static void s_answer_error(struct weft_player *self, const struct weft_control_client *client, const char *text)
{
    weft_buf_t json;
    weft_buf_init(&json);
    weft_buf_printf(&json, "{\"ok\": false, \"error\": ");
    weft_control_quote(&json, text);
    weft_buf_append(&json, "}", 1);
    weft_control_answer(self->control, client, &json);
    weft_buf_fini(&json);
}

void weft_player_end_step(struct weft_player *self)
{
    self->steps = 0;
    if (!self->stepping) return;
    self->stepping = false;
    s_answer_status(self, &self->stepper);
}

static void s_begin_step(struct weft_player *self, const struct weft_control_client *client, uint64_t steps)
{
    weft_player_end_step(self);
    self->paused = true;
    self->steps = steps;
    self->stepping = true;
    self->stepper = *client;
    weft_player_restart_pace(self);
}

static void s_obey(struct weft_player *self, const struct weft_control_client *client,
                   const struct weft_control_order *order)
{
    if (order->verb == WEFT_CONTROL_STEP) {
        s_begin_step(self, client, order->steps);
        return;
    }
    if (order->verb != WEFT_CONTROL_STATUS) weft_player_end_step(self);
    if (order->verb == WEFT_CONTROL_PAUSE) self->paused = true;
    if (order->verb == WEFT_CONTROL_RESUME) self->paused = false;
    if (order->verb == WEFT_CONTROL_SPEED) self->pace.speed = order->speed;
    if (order->verb != WEFT_CONTROL_STATUS) weft_player_restart_pace(self);
    if (order->verb == WEFT_CONTROL_SEEK && weft_player_seek(self, order->at)) {
        s_answer_error(self, client, weft_reel_trouble(self->reel));
        return;
    }
    s_answer_status(self, client);
}

void weft_player_orders(struct weft_player *self)
{
    char text[WEFT_CONTROL_TEXT_BYTES_MAX];
    for (int i = 0; self->control && i < ORDERS_MAX; i++) {
        struct weft_control_client client;
        struct weft_control_order order;
        struct weft_error error;
        size_t bytes;
        if (!weft_control_receive(self->control, &client, text, &bytes)) return;
        if (weft_control_parse(weft_bytes(text, bytes), &order, &error))
            s_answer_error(self, &client, error.text);
        else
            s_obey(self, &client, &order);
    }
}
