// SPDX-License-Identifier: MPL-2.0
/*
 * Truth is an array of slots a partition, by offset. Everything learnt goes through s_learn, which compares it with what
 * was known; the final reading compares the log with all slots, then all records with the log.
 */
#include "sim_history.h"

#include "../../lib/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BYTES_MAX 96
#define VALUE_BYTES_MAX 8192

struct slot {
    struct sim_record *record; // NULL: nothing known
    enum sim_promise promise;
    struct sim_record *final; // what stands there in the end
    uint32_t final_key;       // of a compacted topic; 0: nothing stands there, else one more than the key
    bool final_value;         // no tombstone
};

struct partition {
    struct sim_chain had_all, candidates; // in sync or eligible; and those with the leavers
    uint32_t leaders;                     // all that ever were
    bool unclean, retained;
    struct slot *slots;
    size_t slot_count; // known offsets are below
    int64_t deleted_asked, deleted_done;
    int64_t final_start, final_next;
};

struct lane { // of one writer in one partition; a record's index is its sequence
    struct sim_record **records;
    size_t count, capacity;
    int64_t last_final; // sequence last met in the final log
};

struct writer {
    struct sim_writer how;
    struct lane lanes[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
    uint64_t unanswered;
};

struct sim_history {
    char violation[1024];
    bool violated, renamed;
    struct partition partitions[SIM_TOPICS_MAX][SIM_PARTITIONS_MAX];
    bool fickle[SIM_TOPICS_MAX], compacted[SIM_TOPICS_MAX], tombstones_stay[SIM_TOPICS_MAX];
    int64_t topic_deleted_us[SIM_TOPICS_MAX]; // last asked for; -1: never
    struct sim_losses power[SIM_BROKERS_MAX + 1], data[SIM_BROKERS_MAX + 1];
    struct writer *writers;
    size_t writer_count;
    struct sim_history_stats stats;
};

static struct lane *s_lane_of(const sim_history_t *self, size_t number) // of all writers, in order
{
    struct writer *writer = &self->writers[number / (SIM_TOPICS_MAX * SIM_PARTITIONS_MAX)];
    return &writer->lanes[number / SIM_PARTITIONS_MAX % SIM_TOPICS_MAX][number % SIM_PARTITIONS_MAX];
}

sim_history_t *sim_history_new(void)
{
    return weft_calloc(1, sizeof(sim_history_t));
}

void sim_history_destroy(sim_history_t **self_p)
{
    sim_history_t *self = *self_p;
    if (self == NULL) return;
    for (size_t i = 0; i < self->writer_count * SIM_TOPICS_MAX * SIM_PARTITIONS_MAX; i++) {
        struct lane *lane = s_lane_of(self, i);
        for (size_t j = 0; j < lane->count; j++) free(lane->records[j]);
        free(lane->records);
    }
    free(self->writers);
    for (int t = 0; t < SIM_TOPICS_MAX; t++) {
        for (int p = 0; p < SIM_PARTITIONS_MAX; p++) {
            free(self->partitions[t][p].slots);
            sim_chain_fini(&self->partitions[t][p].had_all);
            sim_chain_fini(&self->partitions[t][p].candidates);
        }
    }
    free(self);
    *self_p = NULL;
}

const char *sim_history_violation(const sim_history_t *self)
{
    return self->violated ? self->violation : NULL;
}

void sim_history_violate(sim_history_t *self, const char *format, ...)
{
    if (self->violated) return; // the first one counts
    self->violated = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->violation, sizeof self->violation, format, arguments);
    va_end(arguments);
}

const struct sim_history_stats *sim_history_stats(const sim_history_t *self)
{
    return &self->stats;
}

void sim_history_retained(sim_history_t *self, int topic, int partition)
{
    self->partitions[topic][partition].retained = true;
}

void sim_history_decided(sim_history_t *self, int topic, int partition, int64_t now_us, const struct sim_decision *it)
{
    struct partition *at = &self->partitions[topic][partition];
    if (it->leader >= 0) at->leaders |= UINT32_C(1) << it->leader;
    sim_chain_add(&at->had_all, now_us, it->had_all, it->gone);
    sim_chain_add(&at->candidates, now_us, it->had_all | it->leavers, it->gone);
}

bool sim_history_only_on(const sim_history_t *self, int topic, int partition, int32_t broker)
{
    return sim_chain_now(&self->partitions[topic][partition].had_all) == UINT32_C(1) << broker;
}

void sim_history_unclean(sim_history_t *self, int topic, int partition)
{
    self->partitions[topic][partition].unclean = true;
}

void sim_history_fickle(sim_history_t *self, int topic)
{
    self->fickle[topic] = true;
    self->topic_deleted_us[topic] = -1;
}

void sim_history_compacted(sim_history_t *self, int topic, bool tombstones_stay)
{
    self->compacted[topic] = true;
    self->tombstones_stay[topic] = tombstones_stay;
}

uint32_t sim_history_key(const struct sim_record *record)
{
    return record->sequence % 7;
}

void sim_history_topic_deleted(sim_history_t *self, int topic, int64_t asked_us)
{
    self->topic_deleted_us[topic] = asked_us;
}

void sim_history_renamed(sim_history_t *self)
{
    self->renamed = true;
}

void sim_history_power_lost(sim_history_t *self, int32_t broker, int64_t now_us)
{
    sim_losses_add(&self->power[broker], now_us);
}

void sim_history_data_lost(sim_history_t *self, int32_t broker, int64_t now_us)
{
    sim_losses_add(&self->power[broker], now_us);
    sim_losses_add(&self->data[broker], now_us);
}

// Is a record that was sent and, as far as anybody was told, committed by then, gone with the machines that had it?
static bool s_all_lost(const struct partition *at, const struct sim_losses *losses, const struct sim_record *record)
{
    int64_t committed_us = record->committed_us > 0 ? record->committed_us : INT64_MAX;
    return sim_chain_lost(&at->had_all, losses, record->sent_us, committed_us) ||
           sim_chain_lost(&at->candidates, losses, record->sent_us, committed_us);
}

static bool s_leader_lost(const sim_history_t *self, const struct partition *at, int64_t since_us)
{
    if ((at->leaders & (at->leaders - 1)) != 0) return true; // more than one has led
    for (int broker = 0; broker <= SIM_BROKERS_MAX; broker++) {
        bool led = (at->leaders & UINT32_C(1) << broker) != 0;
        if (led && sim_losses_between(&self->power[broker], since_us, INT64_MAX)) return true;
    }
    return false;
}

// ---- values

// Its name, then letters that follow from it, few of them: compressible.
static weft_slice_t s_value(const struct sim_record *record, uint8_t room[VALUE_BYTES_MAX])
{
    weft_assert(record->value_bytes <= VALUE_BYTES_MAX - 8);
    char head[HEAD_BYTES_MAX];
    size_t size = (size_t) snprintf(head, sizeof head, "w%u t%u p%u s%u n%u ", record->producer, record->topic,
                                    record->partition, record->sequence, record->value_bytes);
    memcpy(room, head, size);
    uint64_t state = record->producer * UINT64_C(2654435761) + record->sequence * UINT64_C(40503) + record->partition;
    for (; size < record->value_bytes; size += 8) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t letters = UINT64_C(0x6161616161616161) + ((state >> 4) & UINT64_C(0x0f0f0f0f0f0f0f0f));
        memcpy(room + size, &letters, sizeof letters);
    }
    return weft_slice(room, record->value_bytes > size ? size : record->value_bytes);
}

// The record that these bytes are; NULL if they are none that was ever sent, or not all of it.
static struct sim_record *s_record_of(const sim_history_t *self, int topic, int partition, weft_slice_t value)
{
    char head[HEAD_BYTES_MAX];
    size_t size = value.size < sizeof head - 1 ? value.size : sizeof head - 1;
    memcpy(head, value.data, size);
    head[size] = '\0';
    uint32_t writer, t, p, sequence, bytes;
    if (sscanf(head, "w%u t%u p%u s%u n%u ", &writer, &t, &p, &sequence, &bytes) != 5) return NULL;
    if (writer >= self->writer_count || t != (uint32_t) topic || p != (uint32_t) partition) return NULL;
    const struct lane *lane = &self->writers[writer].lanes[t][p];
    if (sequence >= lane->count) return NULL;
    struct sim_record *found = lane->records[sequence];
    uint8_t room[VALUE_BYTES_MAX];
    return weft_slice_equal(s_value(found, room), value) ? found : NULL;
}

static void s_name(const struct sim_record *record, char text[80])
{
    if (record == NULL)
        snprintf(text, 80, "nothing");
    else
        snprintf(text, 80, "record %u of writer %u", record->sequence, record->producer);
}

// ---- learning

static struct slot *s_slot(struct partition *partition, int64_t offset)
{
    if ((size_t) offset >= partition->slot_count) {
        size_t count = (size_t) offset + 1;
        partition->slots = weft_realloc(partition->slots, count * sizeof *partition->slots);
        memset(&partition->slots[partition->slot_count], 0, (count - partition->slot_count) * sizeof *partition->slots);
        partition->slot_count = count;
    }
    return &partition->slots[offset];
}

// May what stands in a slot be gone, with what was promised about it?
static bool s_excused(const sim_history_t *self, const struct sim_record *record, enum sim_promise promise)
{
    const struct partition *at = &self->partitions[record->topic][record->partition];
    if (at->unclean || s_all_lost(at, self->data, record)) return true;
    if (promise == SIM_PROMISE_DURABLE) return false;
    if (s_all_lost(at, self->power, record)) return true;
    return promise < SIM_PROMISE_COMMITTED && s_leader_lost(self, at, record->sent_us);
}

static const char *s_promise_name(enum sim_promise promise)
{
    static const char *const names[] = {"not promised", "leader", "committed", "durable"};
    return names[promise];
}

static void s_learn(sim_history_t *self, const char *who, struct sim_record *record, int64_t offset,
                    enum sim_promise promise, int64_t now_us)
{
    if (self->fickle[record->topic]) return;
    if (offset < 0 || offset > 100000000) {
        sim_history_violate(self, "I2: %s names offset %lld", who, (long long) offset);
        return;
    }
    if (promise >= SIM_PROMISE_COMMITTED && record->committed_us == 0) record->committed_us = now_us;
    struct slot *slot = s_slot(&self->partitions[record->topic][record->partition], offset);
    if (slot->record == record) {
        if (promise > slot->promise) slot->promise = promise;
        return;
    }
    // What somebody asked to delete may be gone on the way: nothing holds it any more.
    bool held = offset >= self->partitions[record->topic][record->partition].deleted_asked;
    if (slot->record != NULL && held && !s_excused(self, slot->record, slot->promise)) {
        if (s_excused(self, record, promise)) return; // an answer or a fetch of before the loss that comes late
        char was[80], is[80];
        s_name(slot->record, was);
        s_name(record, is);
        sim_history_violate(self, "I2: topic %u partition %u offset %lld held %s (%s) and now, says %s, %s",
                            record->topic, record->partition, (long long) offset, was, s_promise_name(slot->promise),
                            who, is);
        return;
    }
    slot->record = record;
    slot->promise = promise;
}

// ---- producers

uint32_t sim_history_writer(sim_history_t *self, const struct sim_writer *writer)
{
    self->writers = weft_realloc(self->writers, (self->writer_count + 1) * sizeof *self->writers);
    struct writer *added = &self->writers[self->writer_count];
    memset(added, 0, sizeof *added);
    for (int t = 0; t < SIM_TOPICS_MAX; t++) {
        for (int p = 0; p < SIM_PARTITIONS_MAX; p++) added->lanes[t][p].last_final = -1;
    }
    added->how = *writer;
    return (uint32_t) self->writer_count++;
}

struct sim_record *sim_history_send(sim_history_t *self, uint32_t producer, int topic, int partition,
                                    uint32_t value_bytes, int64_t now_us, weft_buf_t *value)
{
    struct writer *writer = &self->writers[producer];
    struct sim_record *record = weft_calloc(1, sizeof *record);
    record->producer = producer;
    struct lane *lane = &writer->lanes[topic][partition];
    record->sequence = (uint32_t) lane->count;
    record->topic = (uint8_t) topic;
    record->partition = (uint8_t) partition;
    record->value_bytes = value_bytes;
    record->sent_us = now_us;
    record->offset = -1;
    if (lane->count == lane->capacity) {
        lane->capacity = lane->capacity == 0 ? 64 : lane->capacity * 2;
        lane->records = weft_realloc(lane->records, lane->capacity * sizeof(struct sim_record *));
    }
    lane->records[lane->count++] = record;
    writer->unanswered++;
    self->stats.sent++;
    uint8_t room[VALUE_BYTES_MAX];
    weft_slice_t bytes = s_value(record, room);
    weft_buf_append(value, bytes.data, bytes.size);
    return record;
}

void sim_history_unsend(sim_history_t *self, struct sim_record *record)
{
    struct writer *writer = &self->writers[record->producer];
    struct lane *lane = &writer->lanes[record->topic][record->partition];
    weft_assert(lane->records[lane->count - 1] == record);
    lane->count--;
    writer->unanswered--;
    self->stats.sent--;
    free(record);
}

static bool s_answer(sim_history_t *self, struct sim_record *record, enum sim_fate fate)
{
    if (record->fate != SIM_SENT) {
        sim_history_violate(self, "I7: record %u of writer %u was reported twice", record->sequence, record->producer);
        return false;
    }
    record->fate = fate;
    self->writers[record->producer].unanswered--;
    return true;
}

void sim_history_acked(sim_history_t *self, struct sim_record *record, int64_t offset, int64_t now_us)
{
    if (!s_answer(self, record, SIM_ACKED)) return;
    self->stats.acked++;
    record->offset = offset;
    record->acked_us = now_us;
    enum sim_promise promise = self->writers[record->producer].how.promise;
    if (promise == SIM_PROMISE_NONE || offset < 0) return; // "written before, too long ago to tell where"
    char who[64];
    snprintf(who, sizeof who, "the answer to writer %u", record->producer);
    s_learn(self, who, record, offset, promise, now_us);
}

void sim_history_failed(sim_history_t *self, struct sim_record *record, bool maybe_applied)
{
    if (!s_answer(self, record, maybe_applied ? SIM_MAYBE_APPLIED : SIM_NOT_APPLIED)) return;
    if (maybe_applied)
        self->stats.maybe_applied++;
    else
        self->stats.not_applied++;
}

void sim_history_abandon(sim_history_t *self, uint32_t producer)
{
    size_t lanes = SIM_TOPICS_MAX * SIM_PARTITIONS_MAX;
    for (size_t i = producer * lanes; i < (producer + 1) * lanes; i++) {
        const struct lane *lane = s_lane_of(self, i);
        for (size_t j = 0; j < lane->count; j++) {
            if (lane->records[j]->fate == SIM_SENT) sim_history_failed(self, lane->records[j], true);
        }
    }
}

uint64_t sim_history_unanswered(const sim_history_t *self, uint32_t producer)
{
    return self->writers[producer].unanswered;
}

// ---- compacted topics

static bool s_same_key(const struct sim_record *a, const struct sim_record *b)
{
    return a != NULL && sim_history_key(a) == sim_history_key(b);
}

// Was anything of its key, or a tombstone, ever sent that may stand behind it, though nobody was told where?
static bool s_maybe_behind(const sim_history_t *self, const struct sim_record *record, int64_t offset, bool tombstone)
{
    for (size_t i = 0; i < self->writer_count; i++) {
        const struct lane *lane = &self->writers[i].lanes[record->topic][record->partition];
        for (size_t j = 0; j < lane->count; j++) {
            const struct sim_record *other = lane->records[j];
            if (other == record || other->fate == SIM_NOT_APPLIED || !s_same_key(other, record)) continue;
            if (tombstone && !other->tombstone) continue;
            if (other->offset < 0 || other->offset > offset) return true;
        }
    }
    return false;
}

bool sim_history_may_be_compacted(const sim_history_t *self, int topic, int partition, int64_t from, int64_t to)
{
    const struct partition *at = &self->partitions[topic][partition];
    if (!self->compacted[topic] || from > to) return false;
    for (int64_t offset = from < 0 ? 0 : from; offset < to && (size_t) offset < at->slot_count; offset++) {
        const struct slot *slot = &at->slots[offset];
        if (slot->record == NULL || slot->promise < SIM_PROMISE_COMMITTED || offset < at->deleted_asked) continue;
        if (slot->record->tombstone && !self->tombstones_stay[topic]) continue;
        bool newer = false;
        for (size_t next = (size_t) offset + 1; next < at->slot_count && !newer; next++) {
            newer = s_same_key(at->slots[next].record, slot->record);
        }
        if (newer || s_maybe_behind(self, slot->record, offset, false)) continue;
        if (!s_excused(self, slot->record, slot->promise)) return false;
    }
    return true;
}

// The newest of its key is there: it itself, or what came behind it.
static bool s_final_newest(const sim_history_t *self, const struct partition *at, size_t offset)
{
    const struct sim_record *record = at->slots[offset].record;
    uint32_t key = sim_history_key(record) + 1;
    for (size_t next = offset + 1; next < at->slot_count; next++) {
        if (at->slots[next].final_key == key) return true;
    }
    if (self->tombstones_stay[record->topic]) return false;
    if (!record->tombstone) return s_maybe_behind(self, record, (int64_t) offset, true); // deleted, and forgotten
    for (size_t before = 0; before < offset; before++) {
        if (at->slots[before].final_key == key && at->slots[before].final_value)
            return false; // what it deleted is back
    }
    return true;
}

static struct sim_record *s_read_tombstone(sim_history_t *self, const char *reader, int topic,
                                           const struct weft_record_view *view, bool durable, int64_t now_us)
{
    const struct partition *at = &self->partitions[topic][view->partition];
    if ((size_t) view->offset >= at->slot_count || at->slots[view->offset].record == NULL) return NULL;
    struct sim_record *record = at->slots[view->offset].record;
    if (!record->tombstone) return NULL; // of a record that was lost since, or not: the final reading tells
    // They look all the same: one that a leader of the past alone had promised may be another by now.
    if (at->slots[view->offset].promise < SIM_PROMISE_COMMITTED) return NULL;
    s_learn(self, reader, record, view->offset, durable ? SIM_PROMISE_DURABLE : SIM_PROMISE_COMMITTED, now_us);
    return record;
}

// ---- consumers

struct sim_record *sim_history_read(sim_history_t *self, const char *reader, int topic,
                                    const struct weft_record_view *view, bool durable, int64_t now_us)
{
    if (self->compacted[topic] && view->value.data == NULL) {
        return s_read_tombstone(self, reader, topic, view, durable, now_us);
    }
    struct sim_record *record = s_record_of(self, topic, view->partition, view->value);
    if (record == NULL) {
        sim_history_violate(self, "I2: %s read %zu bytes at topic %d partition %d offset %lld that nobody sent", reader,
                            view->value.size, topic, view->partition, (long long) view->offset);
        return NULL;
    }
    const struct partition *partition = &self->partitions[topic][view->partition];
    bool known = (size_t) view->offset < partition->slot_count && partition->slots[view->offset].record == record;
    self->stats.read++;
    if (known) self->stats.read_again++;
    s_learn(self, reader, record, view->offset, durable ? SIM_PROMISE_DURABLE : SIM_PROMISE_COMMITTED, now_us);
    return record;
}

void sim_history_delete(sim_history_t *self, int topic, int partition, int64_t before, bool done)
{
    struct partition *at = &self->partitions[topic][partition];
    if (before > at->deleted_asked) at->deleted_asked = before;
    if (done && before > at->deleted_done) at->deleted_done = before;
}

int64_t sim_history_deleted(const sim_history_t *self, int topic, int partition)
{
    return self->partitions[topic][partition].deleted_asked;
}

bool sim_history_may_skip(const sim_history_t *self, int topic, int partition, int64_t from, int64_t to)
{
    const struct partition *at = &self->partitions[topic][partition];
    return at->retained || (from < to && to <= at->deleted_asked);
}

bool sim_history_may_diverge(const sim_history_t *self, int topic, int partition, bool durable)
{
    if (self->partitions[topic][partition].unclean) return true;
    for (size_t i = 0; i < self->writer_count; i++) {
        const struct lane *lane = &self->writers[i].lanes[topic][partition];
        for (size_t j = 0; j < lane->count; j++) {
            const struct sim_record *record = lane->records[j];
            if (record->committed_us == 0) continue;
            if (s_excused(self, record, durable ? SIM_PROMISE_DURABLE : SIM_PROMISE_COMMITTED)) return true;
        }
    }
    return false;
}

int64_t sim_history_committed_end(const sim_history_t *self, int topic, int partition, int64_t by_us)
{
    const struct partition *at = &self->partitions[topic][partition];
    for (size_t i = at->slot_count; i > (size_t) at->deleted_asked; i--) {
        const struct slot *slot = &at->slots[i - 1];
        if (slot->record == NULL || slot->promise < SIM_PROMISE_COMMITTED) continue;
        if (slot->record->committed_us > by_us) continue;
        if (!s_excused(self, slot->record, slot->promise)) return (int64_t) i;
    }
    return 0;
}

// ---- groups

static bool s_was_handed(const struct sim_record *record, int group)
{
    return (record->handed & UINT32_C(1) << group) != 0;
}

void sim_history_passed(sim_history_t *self, int group, int topic, int partition, int64_t from, int64_t to)
{
    const struct partition *at = &self->partitions[topic][partition];
    if (self->fickle[topic] || at->retained || at->unclean) return;
    if (from < at->deleted_asked) from = at->deleted_asked;
    for (int64_t offset = from; offset < to && (size_t) offset < at->slot_count; offset++) {
        const struct slot *slot = &at->slots[offset];
        if (slot->record == NULL || slot->promise < SIM_PROMISE_DURABLE || s_was_handed(slot->record, group)) continue;
        if (s_excused(self, slot->record, slot->promise)) continue;
        // Handed another one there, that was lost since: its next owner is sent back (rule 18).
        if (sim_history_may_diverge(self, topic, partition, false)) continue;
        sim_history_violate(self,
                            "I4: group %d committed offset %lld of topic %d partition %d, and nobody in it was handed "
                            "record %u of writer %u at offset %lld",
                            group, (long long) to, topic, partition, slot->record->sequence, slot->record->producer,
                            (long long) offset);
        return;
    }
}

// What another replica still has, though it may have been compacted away where the group read.
static bool s_final_superseded(const struct partition *at, size_t offset)
{
    for (size_t next = offset + 1; next < at->slot_count; next++)
        if (at->slots[next].final_key == at->slots[offset].final_key) return true;
    return false;
}

void sim_history_final_handed(sim_history_t *self, int group, int topic, int partition, int64_t from)
{
    const struct partition *at = &self->partitions[topic][partition];
    if (self->fickle[topic] || at->retained || at->unclean) return;
    if (from < at->deleted_asked) from = at->deleted_asked;
    for (size_t offset = (size_t) from; offset < at->slot_count; offset++) {
        const struct sim_record *record = at->slots[offset].final;
        if (record == NULL || record->tombstone || s_was_handed(record, group))
            continue; // it is not always known which
        if (self->compacted[topic] && s_final_superseded(at, offset)) continue;
        sim_history_violate(self,
                            "I4: record %u of writer %u stands at offset %zu of topic %d partition %d and was handed "
                            "to nobody in group %d",
                            record->sequence, record->producer, offset, topic, partition, group);
        return;
    }
}

// ---- the end

void sim_history_final_begin(sim_history_t *self, int topic, int partition, int64_t log_start)
{
    struct partition *at = &self->partitions[topic][partition];
    at->final_start = at->final_next = log_start;
    self->stats.deleted_offsets += (uint64_t) log_start;
    if (!at->retained && log_start > at->deleted_asked) {
        sim_history_violate(self, "I1: topic %d partition %d begins at %lld, though nobody deleted above %lld", topic,
                            partition, (long long) log_start, (long long) at->deleted_asked);
    }
    if (log_start < at->deleted_done && !at->unclean && !sim_chain_lost(&at->had_all, self->data, 0, INT64_MAX)) {
        sim_history_violate(self, "topic %d partition %d begins at %lld, though all below %lld was deleted", topic,
                            partition, (long long) log_start, (long long) at->deleted_done);
    }
}

static void s_final_order(sim_history_t *self, const struct sim_record *record)
{
    struct writer *writer = &self->writers[record->producer];
    if (!writer->how.idempotent) return;
    if (self->renamed && writer->how.by_edge && writer->how.promise < SIM_PROMISE_DURABLE) return;
    int64_t *last = &writer->lanes[record->topic][record->partition].last_final;
    if ((int64_t) record->sequence <= *last) {
        sim_history_violate(self, "I3: topic %u partition %u: record %u of writer %u stands %s record %lld",
                            record->topic, record->partition, record->sequence, record->producer,
                            record->final_count > 1 ? "twice, the second time behind" : "behind", (long long) *last);
    }
    *last = record->sequence;
}

void sim_history_final_record(sim_history_t *self, int topic, const struct weft_record_view *view)
{
    struct partition *at = &self->partitions[topic][view->partition];
    if (view->offset != at->final_next && (view->offset < at->final_next || !self->compacted[topic])) {
        sim_history_violate(self, "I2: topic %d partition %d: offset %lld follows %lld", topic, view->partition,
                            (long long) view->offset, (long long) at->final_next - 1);
    }
    at->final_next = view->offset + 1;
    if (self->compacted[topic]) {
        char key[16];
        snprintf(key, sizeof key, "%.*s", (int) (view->key.size < 12 ? view->key.size : 12),
                 (const char *) view->key.data);
        s_slot(at, view->offset)->final_key = (uint32_t) strtoul(key + 1, NULL, 10) + 1;
        s_slot(at, view->offset)->final_value = view->value.data != NULL;
    }
    if (self->compacted[topic] && view->value.data == NULL) {
        struct slot *slot = s_slot(at, view->offset);
        slot->final = slot->record != NULL && slot->record->tombstone ? slot->record : NULL;
        return;
    }
    struct sim_record *record = s_record_of(self, topic, view->partition, view->value);
    if (record == NULL) {
        sim_history_violate(self, "I2: topic %d partition %d offset %lld holds what nobody sent", topic,
                            view->partition, (long long) view->offset);
        return;
    }
    self->stats.final_records++;
    s_slot(at, view->offset)->final = record;
    if (record->final_count++ > 0) self->stats.duplicates++;
    s_final_order(self, record);
    bool promised = record->fate == SIM_ACKED && self->writers[record->producer].how.promise != SIM_PROMISE_NONE;
    if (self->fickle[topic] && promised && record->acked_us < self->topic_deleted_us[topic]) {
        sim_history_violate(self,
                            "record %u of writer %u was acknowledged in a topic that was deleted, and stands at offset "
                            "%lld of the one after it",
                            record->sequence, record->producer, (long long) view->offset);
    }
    if (record->fate == SIM_NOT_APPLIED) {
        sim_history_violate(self,
                            "record %u of writer %u was reported as surely not written, and stands at offset %lld",
                            record->sequence, record->producer, (long long) view->offset);
    }
}

// Acknowledged without an offset: it has to stand somewhere.
static void s_final_somewhere(sim_history_t *self, int topic, int partition)
{
    const struct partition *at = &self->partitions[topic][partition];
    if (at->retained || at->deleted_asked > 0 || self->fickle[topic] || self->compacted[topic]) return;
    for (size_t i = 0; i < self->writer_count; i++) {
        const struct lane *lane = &self->writers[i].lanes[topic][partition];
        enum sim_promise promise = self->writers[i].how.promise;
        for (size_t j = 0; j < lane->count && promise != SIM_PROMISE_NONE; j++) {
            const struct sim_record *record = lane->records[j];
            if (record->fate != SIM_ACKED || record->offset >= 0 || record->final_count > 0) continue;
            if (s_excused(self, record, promise)) continue;
            sim_history_violate(self,
                                "I1: record %u of writer %u was acknowledged (%s) and stands nowhere in topic %d "
                                "partition %d",
                                record->sequence, record->producer, s_promise_name(promise), topic, partition);
        }
    }
}

void sim_history_final_end(sim_history_t *self, int topic, int partition, int64_t log_end)
{
    struct partition *at = &self->partitions[topic][partition];
    if (at->final_next != log_end && !self->compacted[topic]) {
        sim_history_violate(self, "I2: topic %d partition %d ends at %lld, its last record is at %lld", topic,
                            partition, (long long) log_end, (long long) at->final_next - 1);
    }
    s_final_somewhere(self, topic, partition);
    int64_t held = at->deleted_asked > at->final_start ? at->deleted_asked : at->final_start;
    for (size_t offset = (size_t) held; offset < at->slot_count; offset++) {
        const struct slot *slot = &at->slots[offset];
        if (slot->record == NULL || slot->final == slot->record || s_excused(self, slot->record, slot->promise)) {
            continue;
        }
        if (self->compacted[topic] && slot->final == NULL && s_final_newest(self, at, offset)) continue;
        char was[80], is[80];
        s_name(slot->record, was);
        s_name(slot->final, is);
        sim_history_violate(self, "%s: topic %d partition %d offset %zu held %s (%s), in the end %s",
                            slot->final == NULL ? "I1" : "I2", topic, partition, offset, was,
                            s_promise_name(slot->promise), is);
    }
}
