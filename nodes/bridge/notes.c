// SPDX-License-Identifier: MPL-2.0
// What a bridge notes in the target, in a compacted topic that all bridges into that cluster share: per partition its place,
// and its map of offsets in pages; per bridge a claim, which says which run of it copies. A note is never more than a
// hint: a place is true whenever it was written, and what came after it is read from the target's own log.
#include "bridge_inner.h"

#include <weft_gen/records.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t s_wall_ms(void)
{
    struct timespec now;
    (void) clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void weft_bridge_note_key(weft_bridge_t *self, const struct weft_bridge_flow *flow, int page)
{
    char cluster[WEFT_ID_TEXT_BYTES], topic[WEFT_ID_TEXT_BYTES];
    weft_buf_clear(&self->key);
    weft_id_text(self->source_cluster, cluster);
    weft_id_text(flow->source_id, topic);
    weft_buf_printf(&self->key, "%s/%s/%s/%d", self->name, cluster, topic, (int) flow->partition);
    if (page >= 0) weft_buf_printf(&self->key, "#%d", page);
}

// ---- loading

static void s_load_page(struct weft_bridge_flow *flow, int page)
{
    weft_bridge_t *self = flow->bridge;
    struct weft_bridge_page_record record;
    weft_bridge_note_key(self, flow, page);
    const weft_buf_t *value = weft_map_get(self->notes, weft_buf_slice(&self->key));
    if (value == NULL || weft_bridge_page_record_decode(&self->codec, weft_buf_slice(value), &record, NULL)) return;
    if (!weft_id_equal(record.target_topic_id, flow->target_id)) return;
    for (size_t i = 0; i < record.spans_count; i++) {
        const struct weft_bridge_page_span *from = &record.spans[i];
        bool sound = from->source >= 0 && from->source_next > from->source && from->target >= 0 &&
                     from->target_next > from->target;
        if (!sound) continue;
        struct weft_bridge_span span = {from->source, from->source_next, from->target, from->target_next, from->exact};
        if (span.exact) span.exact = span.source_next - span.source == span.target_next - span.target;
        flow->map.fresh = 0; // they were thinned before they were noted
        weft_bridge_map_add(&flow->map, &span);
    }
}

static void s_load_epochs(weft_bridge_t *self, struct weft_bridge_epochs *out,
                          const struct weft_bridge_place_record *record)
{
    weft_bridge_epochs_init(out);
    bool sound = record->source_epoch >= 0 && record->source_epoch_from >= 0;
    if (!sound) return;
    // Who noted what it was about to copy, and was the last to copy, has written the batches of that round.
    bool planned = record->planned > record->round && weft_id_equal(record->instance, self->claimant);
    out->round = planned ? record->planned : record->round;
    out->now = (struct weft_bridge_epoch){record->source_epoch_from, record->source_epoch};
    if (record->source_epoch_before >= 0 && record->source_epoch_before_from >= 0)
        out->before = (struct weft_bridge_epoch){record->source_epoch_before_from, record->source_epoch_before};
}

static void s_save_epochs(const struct weft_bridge_epochs *from, struct weft_bridge_place_record *record)
{
    record->round = from->round;
    record->source_epoch = from->now.epoch;
    record->source_epoch_from = from->now.epoch < 0 ? -1 : from->now.from;
    record->source_epoch_before = from->before.epoch;
    record->source_epoch_before_from = from->before.epoch < 0 ? -1 : from->before.from;
}

bool weft_bridge_note_load(struct weft_bridge_flow *flow)
{
    weft_bridge_t *self = flow->bridge;
    struct weft_bridge_place_record record;
    weft_bridge_note_key(self, flow, -1);
    const weft_buf_t *value = weft_map_get(self->notes, weft_buf_slice(&self->key));
    if (value == NULL || weft_bridge_place_record_decode(&self->codec, weft_buf_slice(value), &record, NULL))
        return false;
    bool ours = record.producer_id == flow->producer_id && weft_id_equal(record.target_topic_id, flow->target_id);
    if (!ours || record.source_next < 0 || record.target_next < 0 || record.sequence < 0 || record.epoch < -1)
        return false;
    flow->resume.place = (struct weft_bridge_place){.source_next = record.source_next,
                                                    .target_next = record.target_next,
                                                    .anchor = record.anchor,
                                                    .sequence = record.sequence,
                                                    .epoch = record.epoch};
    flow->resume.read_next = record.read_next;
    s_load_epochs(self, &flow->epochs, &record);
    for (size_t i = 0; i < record.origins_count; i++)
        (void) !weft_bridge_origins_add(&flow->origins, record.origins[i]);
    uint32_t pages = record.pages <= WEFT_BRIDGE_MAP_SPANS_MAX / WEFT_BRIDGE_MAP_PAGE ? record.pages : 0;
    pthread_mutex_lock(&self->lock);
    for (uint32_t i = 0; i < pages; i++) s_load_page(flow, (int) i);
    flow->map.fresh = 0;
    flow->map.dirty = 0;
    pthread_mutex_unlock(&self->lock);
    flow->pages_noted = pages;
    return true;
}

// ---- writing

static bool s_send(weft_bridge_t *self, struct weft_bridge_sent *sent)
{
    struct weft_send_extra extra = {.opaque = sent};
    weft_err_t err = weft_producer_send(self->producer, self->kept, 0, weft_buf_slice(&self->key),
                                        weft_buf_slice(&self->value), &extra);
    if (err == WEFT_OK) return true;
    free(sent);
    weft_node_counter_add(self->node, WEFT_BRIDGE_NOTES_FAILED, 1);
    return false;
}

// The page as it is now, in self->value.
static void s_encode_page(struct weft_bridge_flow *flow, size_t page)
{
    weft_bridge_t *self = flow->bridge;
    struct weft_bridge_page_span spans[WEFT_BRIDGE_MAP_PAGE];
    struct weft_bridge_page_record record;
    weft_bridge_page_record_init(&record);
    record.target_topic_id = flow->target_id;
    record.page = (uint32_t) page;
    record.spans = spans;
    size_t end =
        (page + 1) * WEFT_BRIDGE_MAP_PAGE < flow->map.count ? (page + 1) * WEFT_BRIDGE_MAP_PAGE : flow->map.count;
    for (size_t i = page * WEFT_BRIDGE_MAP_PAGE; i < end; i++) {
        const struct weft_bridge_span *from = &flow->map.spans[i];
        spans[record.spans_count++] = (struct weft_bridge_page_span){from->source, from->source_next, from->target,
                                                                     from->target_next, from->exact};
    }
    weft_buf_clear(&self->value);
    weft_bridge_page_record_encode(&record, &self->value);
}

static bool s_send_page(struct weft_bridge_flow *flow, size_t page)
{
    weft_bridge_t *self = flow->bridge;
    weft_bridge_note_key(self, flow, (int) page);
    struct weft_bridge_sent *sent = weft_calloc(1, sizeof *sent);
    *sent = (struct weft_bridge_sent){.flow = flow, .is_note = true};
    if (flow->out_count + flow->out_notes == 0) flow->heard_ms = weft_mono_ms();
    flow->out_notes++; // it may be reported before send returns
    if (s_send(self, sent)) return true;
    flow->out_notes--;
    return false;
}

// Pages that changed; how many there are. Nothing is sent with the lock held: send may report what was sent before, and
// that takes it.
static bool s_write_pages(struct weft_bridge_flow *flow, uint32_t *pages)
{
    weft_bridge_map_t *map = &flow->map;
    pthread_mutex_t *lock = &flow->bridge->lock;
    pthread_mutex_lock(lock);
    *pages = (uint32_t) ((map->count + WEFT_BRIDGE_MAP_PAGE - 1) / WEFT_BRIDGE_MAP_PAGE);
    map->fresh = 0;
    pthread_mutex_unlock(lock);
    for (uint32_t i = 0; i < *pages; i++) {
        uint64_t bit = UINT64_C(1) << i;
        pthread_mutex_lock(lock);
        bool dirty = (map->dirty & bit) != 0;
        if (dirty) s_encode_page(flow, i);
        map->dirty &= ~bit;
        pthread_mutex_unlock(lock);
        if (!dirty || s_send_page(flow, i)) continue;
        pthread_mutex_lock(lock);
        map->dirty |= bit;
        pthread_mutex_unlock(lock);
        return false;
    }
    return true;
}

bool weft_bridge_note_write(struct weft_bridge_flow *flow)
{
    weft_bridge_t *self = flow->bridge;
    struct weft_bridge_place_record record;
    weft_bridge_place_record_init(&record);
    if (!s_write_pages(flow, &record.pages)) return false;
    record.bridge = weft_text(self->name);
    record.source_cluster = self->source_cluster;
    record.source_topic = weft_text(flow->topic->name);
    record.source_topic_id = flow->source_id;
    record.partition = (uint32_t) flow->partition;
    record.target_topic = weft_text(flow->topic->target_name);
    record.target_topic_id = flow->target_id;
    record.producer_id = flow->producer_id;
    record.origins = flow->origins.ids;
    record.origins_count = flow->origins.count;
    record.instance = self->instance;
    record.source_next = flow->resume.place.source_next;
    record.read_next = flow->resume.read_next;
    if (flow->out_count > 0 && record.read_next > flow->resume.place.source_next)
        record.read_next = flow->resume.place.source_next;
    s_save_epochs(&flow->epochs, &record);
    record.planned = flow->planned;
    record.target_next = flow->resume.place.target_next;
    record.anchor = flow->resume.place.anchor;
    record.sequence = flow->resume.place.sequence;
    record.epoch = flow->resume.place.epoch;
    record.written_ms = s_wall_ms();
    weft_buf_clear(&self->value);
    weft_bridge_place_record_encode(&record, &self->value);
    weft_bridge_note_key(self, flow, -1);
    struct weft_bridge_sent *sent = weft_calloc(1, sizeof *sent);
    *sent = (struct weft_bridge_sent){.flow = flow, .is_note = true, .first_note = flow->state == WEFT_BRIDGE_NOTING};
    if (flow->out_count + flow->out_notes == 0) flow->heard_ms = weft_mono_ms();
    flow->out_notes++;
    flow->moved = false;
    if (!s_send(self, sent)) {
        flow->out_notes--;
        flow->moved = true;
        return false;
    }
    weft_node_counter_add(self->node, WEFT_BRIDGE_NOTES, 1);
    return true;
}

// ---- settings

static void s_settings_key(weft_bridge_t *self, const struct weft_bridge_topic *topic)
{
    char cluster[WEFT_ID_TEXT_BYTES];
    weft_buf_clear(&self->key);
    weft_id_text(self->source_cluster, cluster);
    weft_buf_printf(&self->key, "%s/%s/%s#settings", self->name, cluster, topic->name);
}

void weft_bridge_settings_load(weft_bridge_t *self, struct weft_bridge_topic *topic)
{
    s_settings_key(self, topic);
    const weft_buf_t *value = weft_map_get(self->notes, weft_buf_slice(&self->key));
    topic->carried_moved = value == NULL && topic->carried.size > 0; // the note of a topic that was made just now
    if (value == NULL) return;
    weft_buf_clear(&topic->carried);
    weft_buf_append(&topic->carried, value->data, value->size);
}

bool weft_bridge_settings_note(weft_bridge_t *self, struct weft_bridge_topic *topic)
{
    pthread_mutex_lock(&self->lock);
    bool due = topic->carried_moved && topic->carried_known;
    topic->carried_moved &= !due;
    weft_buf_clear(&self->value);
    if (due) weft_buf_append(&self->value, topic->carried.data, topic->carried.size);
    pthread_mutex_unlock(&self->lock);
    if (!due) return true;
    s_settings_key(self, topic);
    struct weft_bridge_sent *sent = weft_calloc(1, sizeof *sent);
    *sent = (struct weft_bridge_sent){.topic = topic, .is_note = true};
    if (s_send(self, sent)) return true;
    pthread_mutex_lock(&self->lock);
    topic->carried_moved = true;
    pthread_mutex_unlock(&self->lock);
    return false;
}

// ---- claims

static void s_claim_key(weft_bridge_t *self)
{
    char cluster[WEFT_ID_TEXT_BYTES];
    weft_buf_clear(&self->key);
    weft_id_text(self->source_cluster, cluster);
    weft_buf_printf(&self->key, "%s/%s/claim", self->name, cluster);
}

void weft_bridge_claim_write(weft_bridge_t *self)
{
    struct weft_bridge_claim_record record;
    weft_bridge_claim_record_init(&record);
    record.instance = self->instance;
    record.term = self->term;
    record.written_ms = s_wall_ms();
    weft_buf_clear(&self->value);
    weft_bridge_claim_record_encode(&record, &self->value);
    s_claim_key(self);
    struct weft_bridge_sent *sent = weft_calloc(1, sizeof *sent);
    *sent = (struct weft_bridge_sent){.is_note = true};
    self->claim_out = true; // it may be reported before send returns
    if (!s_send(self, sent)) self->claim_out = false;
}

// ---- hearing

// A run of the same name with a higher term copies; of two with the same, the one whose claim came first.
static void s_claim_heard(weft_bridge_t *self, weft_slice_t value)
{
    struct weft_bridge_claim_record record;
    if (weft_bridge_claim_record_decode(&self->codec, value, &record, NULL)) return;
    bool ours = weft_id_equal(record.instance, self->instance);
    if (!ours && (weft_id_is_zero(self->claimant) || record.term > self->claimant_term)) {
        self->claimant = record.instance;
        self->claimant_term = record.term;
    }
    if (ours) {
        if (record.term == self->term) self->claimed = true;
        return;
    }
    if (!self->notes_read) { // before our own claim
        if (record.term >= self->term) self->term = record.term + 1;
        return;
    }
    if (record.term < self->term || (record.term == self->term && self->claimed)) return;
    self->other_ms = weft_mono_ms();
    if (!self->standing_by)
        weft_node_trace(self->node, 1, "another run of this bridge has taken over (term %llu): this one stands by",
                        (unsigned long long) record.term);
    self->standing_by = true;
    self->claimed = false;
    self->term = record.term;
}

void weft_bridge_note_heard(weft_bridge_t *self, weft_slice_t key, weft_slice_t value)
{
    size_t name = strlen(self->name);
    bool ours = key.size > name && memcmp(key.data, self->name, name) == 0 && key.data[name] == '/';
    if (!ours) return;
    s_claim_key(self);
    if (weft_slice_equal(key, weft_buf_slice(&self->key))) {
        if (value.data != NULL) s_claim_heard(self, value);
        return;
    }
    weft_buf_t *kept = weft_map_get(self->notes, key);
    if (value.data == NULL) {
        if (kept != NULL) weft_buf_clear(kept);
        return;
    }
    if (kept == NULL) {
        kept = weft_alloc(sizeof *kept);
        weft_buf_init(kept);
        weft_map_put(self->notes, key, kept);
    }
    weft_buf_clear(kept);
    weft_buf_append(kept, value.data, value.size);
}

void weft_bridge_notes_fini(weft_bridge_t *self)
{
    void *value;
    for (size_t i = 0; self->notes != NULL && weft_map_next(self->notes, &i, NULL, &value);) {
        weft_buf_fini(value);
        free(value);
    }
    weft_map_destroy(&self->notes);
}
