// SPDX-License-Identifier: MPL-2.0
// Nothing overtakes in a lane. While requests are under way to one node, others go to the same node only, behind them;
// when one comes back to be sent again, all that is under way is waited for first, and then they go again in the order
// in which they came. So a leader that moves costs a round trip, and never the order.
#include "edge.h"
#include "spool.h"

#include "../../lib/base/assert.h"

#include <stdlib.h>
#include <string.h>

static void s_key(weft_id_t topic, uint32_t partition, uint8_t key[20])
{
    memcpy(key, topic.bytes, sizeof topic.bytes);
    memcpy(key + sizeof topic.bytes, &partition, sizeof partition);
}

struct weft_edge_lane *weft_edge_lane_find(weft_edge_part_t *self, weft_id_t topic, uint32_t partition)
{
    uint8_t key[20];
    s_key(topic, partition, key);
    return weft_map_get(self->lanes, weft_slice(key, sizeof key));
}

struct weft_edge_lane *weft_edge_lane_of(weft_edge_part_t *self, struct weft_view_topic *topic, uint32_t partition)
{
    struct weft_edge_lane *lane = weft_edge_lane_find(self, topic->id, partition);
    if (lane != NULL) return lane;
    lane = weft_calloc(1, sizeof *lane);
    s_key(topic->id, partition, lane->key);
    lane->topic_id = topic->id;
    lane->topic = topic;
    lane->partition = partition;
    weft_map_put(self->lanes, weft_slice(lane->key, sizeof lane->key), lane);
    return lane;
}

void weft_edge_lane_free_if_idle(weft_edge_part_t *self, struct weft_edge_lane *lane)
{
    if (lane->calls.count > 0 || lane->spool != NULL) return;
    weft_map_remove(self->lanes, weft_slice(lane->key, sizeof lane->key));
    free(lane);
}

// Some wait here that are to be kept as well: they came before.
static bool s_some_spool(const struct weft_edge_lane *lane)
{
    for (const struct weft_edge_call *call = lane->calls.first; call != NULL; call = call->next)
        if (call->spools) return true;
    return false;
}

void weft_edge_lane_add(struct weft_edge_lane *lane, struct weft_edge_call *call)
{
    weft_edge_part_t *self = call->edge;
    if (call->spools && lane->spool != NULL && weft_spooled_goes_behind(lane->spool) && !s_some_spool(lane)) {
        weft_spool_keep(self->spool, lane, call);
        return;
    }
    call->lane = lane;
    weft_edge_list_add(&lane->calls, call);
    if (lane->waiting == NULL && !lane->disordered) lane->waiting = call;
    weft_edge_lane_advance(self, lane);
}

void weft_edge_lane_sent(struct weft_edge_call *call)
{
    struct weft_edge_lane *lane = call->lane;
    weft_assert(lane->waiting == call && (lane->sent == 0 || lane->link == call->call.link));
    lane->link = call->call.link;
    lane->sent++;
    lane->waiting = call->next;
}

void weft_edge_lane_back(struct weft_edge_call *call)
{
    struct weft_edge_lane *lane = call->lane;
    weft_assert(call->state == WEFT_EDGE_SENT);
    call->state = WEFT_EDGE_WAITING;
    lane->sent--;
    lane->disordered = true;
    lane->waiting = NULL;
}

void weft_edge_lane_remove(weft_edge_part_t *self, struct weft_edge_call *call)
{
    struct weft_edge_lane *lane = call->lane;
    if (call->state == WEFT_EDGE_SENT) lane->sent--;
    if (lane->waiting == call) lane->waiting = call->next;
    weft_edge_list_remove(&lane->calls, call);
    call->lane = NULL;
}

// All that was under way is back: what is left waits, in order.
static void s_settle(struct weft_edge_lane *lane)
{
    if (!lane->disordered || lane->sent > 0) return;
    lane->disordered = false;
    lane->waiting = lane->calls.first;
}

static struct weft_edge_call *s_first_waiting(const struct weft_edge_lane *lane)
{
    struct weft_edge_call *call = lane->disordered ? lane->calls.first : lane->waiting;
    while (call != NULL && call->state == WEFT_EDGE_SENT) call = call->next;
    return call;
}

// Past its time, wherever it stands: those behind it came later.
static bool s_give_up_late(struct weft_edge_lane *lane, int64_t now_us)
{
    struct weft_edge_call *call = s_first_waiting(lane);
    if (call == NULL || now_us < call->deadline_us) return false;
    weft_edge_give_up(call);
    return true;
}

// The leader can't be reached for so long that what waits is kept on the disk instead.
static void s_keep(weft_edge_part_t *self, struct weft_edge_lane *lane, int64_t now_us)
{
    struct weft_edge_call *call = lane->waiting, *next;
    if (self->spool == NULL || lane->sent > 0 || lane->disordered) return;
    while (call != NULL && !call->spools) call = call->next;
    if (call == NULL) return;
    int64_t due_us = call->begun_us + weft_spool_after_us(self->spool);
    if (now_us < due_us) {
        weft_edge_due(self, due_us);
        return;
    }
    for (; call != NULL; call = next) {
        next = call->next;
        if (!call->spools) continue;
        weft_edge_lane_remove(self, call);
        weft_spool_keep(self->spool, lane, call);
    }
}

static bool s_send_next(weft_edge_part_t *self, struct weft_edge_lane *lane, int64_t now_us)
{
    struct weft_edge_call *call = lane->waiting;
    if (call == NULL || lane->disordered) return false;
    if (lane->spool != NULL && weft_spooled_holds(lane->spool)) return false;
    if (lane->sent > 0 && weft_view_leader(lane->topic, (int32_t) lane->partition) != lane->link) return false;
    if (call->retry_us > now_us && !self->kicked) return false;
    if (!weft_edge_send(call)) return false;
    if (!call->answers) weft_edge_end(call);
    return true;
}

void weft_edge_lane_advance(weft_edge_part_t *self, struct weft_edge_lane *lane)
{
    int64_t now_us = weft_port_now_us(&self->port);
    s_settle(lane);
    while (s_send_next(self, lane, now_us))
        ;
    s_keep(self, lane, now_us);
    while (s_give_up_late(lane, now_us))
        ;
    const struct weft_edge_call *call = s_first_waiting(lane);
    if (call != NULL) {
        int64_t at_us = call->retry_us > now_us ? call->retry_us : now_us + self->requests.config.backoff_us;
        weft_edge_due(self, at_us < call->deadline_us ? at_us : call->deadline_us);
    }
    weft_edge_lane_free_if_idle(self, lane);
}

void weft_edge_lanes_advance(weft_edge_part_t *self)
{
    size_t cursor = 0;
    void *value;
    while (weft_map_next(self->lanes, &cursor, NULL, &value)) weft_edge_lane_advance(self, value);
}
