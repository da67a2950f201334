// SPDX-License-Identifier: MPL-2.0
// One consumer in the target reads two kinds of things: the notes of bridges, always, and the tails of partitions that are
// looked through. What it reads is said anew as a whole when something is to be looked at; all places are ours, so
// nothing depends on what it had fetched.
#include "bridge_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void s_assign(weft_bridge_t *self)
{
    struct weft_assignment *list = weft_calloc(self->flow_count + 1, sizeof *list);
    size_t count = 0;
    list[count++] =
        (struct weft_assignment){self->kept_topic, 0,
                                 self->notes_next > 0 ? (struct weft_position){WEFT_FROM_OFFSET, self->notes_next}
                                                      : (struct weft_position){.from = WEFT_FROM_EARLIEST}};
    for (size_t i = 0; i < self->flow_count; i++) {
        struct weft_bridge_flow *flow = self->flows[i];
        if (flow->state != WEFT_BRIDGE_LOOKING) continue;
        struct weft_position at = {.from = WEFT_FROM_EARLIEST};
        if (flow->look_at > 0) at = (struct weft_position){WEFT_FROM_OFFSET, flow->look_at};
        list[count++] = (struct weft_assignment){flow->topic->target_name, flow->partition, at};
    }
    weft_err_t err = weft_consumer_assign(self->target, list, count);
    if (err != WEFT_OK)
        weft_node_trace(self->node, 0, "the target's partitions can't be looked at: %s",
                        weft_consumer_error_text(self->target));
    self->assign_due = err != WEFT_OK;
    self->kept_assigned = err == WEFT_OK;
    free(list);
}

static struct weft_bridge_flow *s_looking(weft_bridge_t *self, const char *target_topic, int32_t partition)
{
    size_t prefix = strlen(self->prefix);
    if (strncmp(target_topic, self->prefix, prefix) != 0) return NULL;
    struct weft_bridge_flow *flow = weft_bridge_flow_find(self, target_topic + prefix, partition);
    return flow != NULL && flow->state == WEFT_BRIDGE_LOOKING ? flow : NULL;
}

static void s_events(weft_bridge_t *self)
{
    struct weft_consumer_event event;
    while (weft_consumer_event(self->target, &event)) {
        if (event.type == WEFT_EVENT_BAD_BATCH && event.offset >= 0) // that of somebody else is not ours to judge
            (void) !weft_consumer_seek(self->target, event.topic, event.partition,
                                       (struct weft_position){WEFT_FROM_OFFSET, event.offset});
        struct weft_bridge_flow *flow =
            event.type == WEFT_EVENT_DIVERGED ? s_looking(self, event.topic, event.partition) : NULL;
        if (flow != NULL) weft_bridge_flow_stop(flow, 0, NULL); // some of what it met is there no more
        if (event.type == WEFT_EVENT_BAD_BATCH || event.type == WEFT_EVENT_STOPPED)
            weft_node_trace(self->node, 1, "target '%s' %d: %s", event.topic, (int) event.partition, event.text);
    }
}

static void s_notes(weft_bridge_t *self, const struct weft_batch_view *view)
{
    struct weft_batch batch;
    weft_slice_t payload;
    weft_record_iter_t iter;
    struct weft_record record;
    if (weft_batch_read(view->bytes, &batch) != WEFT_OK) return;
    self->notes_next = view->next_offset;
    if (batch.count == 0 || weft_batch_payload(view->bytes, &batch, &self->scratch, &payload) != WEFT_OK) return;
    weft_record_iter_init(&iter, payload);
    while (weft_record_iter_next(&iter, &record, NULL))
        if (batch.base_offset + record.offset_delta >= view->position && record.key.data != NULL)
            weft_bridge_note_heard(self, record.key, record.value);
}

// Who has read up to the end that was there when it began.
static void s_ends(weft_bridge_t *self)
{
    struct weft_partition_position at;
    for (size_t i = 0; weft_consumer_position(self->target, i, &at); i++) {
        if (at.position < 0 || at.end_at_start < 0 || at.position < at.end_at_start) continue;
        if (strcmp(at.topic, self->kept_topic) == 0) {
            if (!self->notes_read) weft_node_trace(self->node, 3, "the notes in the target are read");
            self->notes_read = true;
            continue;
        }
        struct weft_bridge_flow *flow = s_looking(self, at.topic, at.partition);
        if (flow == NULL) continue;
        if (at.position > flow->look_at) flow->look_at = at.position;
        (void) !weft_consumer_pause(self->target, at.topic, at.partition);
        weft_bridge_flow_looked(flow);
    }
}

void weft_bridge_target_turn(weft_bridge_t *self)
{
    weft_records_t *records;
    struct weft_batch_view view;
    if (!self->began) return;
    if (self->assign_due) s_assign(self);
    if (!self->kept_assigned || weft_consumer_poll(self->target, 0, &records) != WEFT_OK) return;
    s_events(self);
    while (weft_records_next_batch(records, &view)) {
        if (strcmp(view.topic, self->kept_topic) == 0) {
            s_notes(self, &view);
            continue;
        }
        struct weft_bridge_flow *flow = s_looking(self, view.topic, view.partition);
        if (flow != NULL) weft_bridge_flow_met(flow, &view);
    }
    s_ends(self);
}
