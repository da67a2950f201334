// SPDX-License-Identifier: MPL-2.0
/*
 * A book a (group, topic id, partition), an entry a write that was ever sent, in order of sending; a few hundred at most, so they are walked.
 */
#include "sim_ledger.h"

#include <weft_gen/codec.h>
#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASKED_MAX 64   // hosts with a commit, or a question, under way
#define NOT_KNOWN (-2) // of a fence that was not answered

struct write {
    uint64_t token, rank;     // rank: 0 of a fence, of a commit n + 1
    int64_t offset;           // -1: none
    int64_t sent_us, done_us; // done_us -1: not answered
};

struct book {
    int group;
    weft_id_t topic;
    uint32_t partition;
    struct write *writes;
    size_t count, capacity;
    int64_t began, passed; // where its first reader began; all below is known to be handed out. -1: not known
};

struct part { // of a request
    size_t book, write;
    uint64_t token;
    bool writes;
};

enum kind { COMMIT, FENCE, LOOK };

struct asked { // a request under way
    sim_host_t host;
    uint64_t id;
    enum kind kind;
    int64_t sent_us;
    struct part *parts;
    size_t count;
};

struct sim_ledger {
    struct sim_clients *clients;
    const sim_witness_t *witness;
    sim_ledger_sent_fn *sent;
    void *context;
    struct book *books;
    size_t book_count;
    struct asked asked[ASKED_MAX];
    size_t asked_count;
    uint64_t commits, fenced;
};

static sim_ledger_t *s_ledger;

void __real_weft_commit_request_encode(const struct weft_commit_request *self, weft_buf_t *out);
void __wrap_weft_commit_request_encode(const struct weft_commit_request *self, weft_buf_t *out);
void __real_weft_committed_request_encode(const struct weft_committed_request *self, weft_buf_t *out);
void __wrap_weft_committed_request_encode(const struct weft_committed_request *self, weft_buf_t *out);
weft_err_t __real_weft_commit_reply_decode(weft_codec_t *codec, weft_slice_t header, struct weft_commit_reply *out,
                                           struct weft_error *error);
weft_err_t __wrap_weft_commit_reply_decode(weft_codec_t *codec, weft_slice_t header, struct weft_commit_reply *out,
                                           struct weft_error *error);
weft_err_t __real_weft_committed_reply_decode(weft_codec_t *codec, weft_slice_t header,
                                              struct weft_committed_reply *out, struct weft_error *error);
weft_err_t __wrap_weft_committed_reply_decode(weft_codec_t *codec, weft_slice_t header,
                                              struct weft_committed_reply *out, struct weft_error *error);

// ---- names

void sim_group_name(int group, char text[16])
{
    snprintf(text, 16, "group-%d", group);
}

int sim_group_of(weft_slice_t name)
{
    return name.size == 7 && memcmp(name.data, "group-", 6) == 0 ? name.data[6] - '0' : -1;
}

int sim_topic_of(const struct sim_clients *clients, const sim_witness_t *witness, weft_id_t id)
{
    const struct weft_cluster_topic *topic = weft_cluster_topic(sim_witness_cluster(witness), id);
    for (int i = 0; topic != NULL && i < clients->topic_count; i++) {
        if (strcmp(clients->topics[i].name, topic->name) == 0) return i;
    }
    return -1;
}

static int64_t s_now_us(const sim_ledger_t *self)
{
    return weft_sim_now_us(self->clients->sim);
}

// ---- books

static size_t s_book(sim_ledger_t *self, int group, weft_id_t topic, uint32_t partition)
{
    for (size_t i = 0; i < self->book_count; i++) {
        const struct book *book = &self->books[i];
        if (book->group == group && book->partition == partition && weft_id_equal(book->topic, topic)) return i;
    }
    self->books = weft_realloc(self->books, (self->book_count + 1) * sizeof *self->books);
    self->books[self->book_count] =
        (struct book){.group = group, .topic = topic, .partition = partition, .began = -1, .passed = -1};
    return self->book_count++;
}

static size_t s_write(sim_ledger_t *self, size_t at, struct write write)
{
    struct book *book = &self->books[at];
    if (book->count == book->capacity) {
        book->capacity = book->capacity == 0 ? 32 : book->capacity * 2;
        book->writes = weft_realloc(book->writes, book->capacity * sizeof *book->writes);
    }
    write.sent_us = s_now_us(self);
    write.done_us = -1;
    book->writes[book->count] = write;
    return book->count++;
}

static bool s_outranks(const struct write *a, const struct write *b)
{
    return a->token > b->token || (a->token == b->token && a->rank > b->rank);
}

// A person's, or a topic's of which it can still be told what its records are.
static bool s_is_told(const sim_ledger_t *self, const struct book *book, int *topic)
{
    *topic = sim_topic_of(self->clients, self->witness, book->topic);
    return *topic >= 0;
}

// ---- what answers say

static void s_name(const struct book *book, char text[64])
{
    snprintf(text, 64, "group-%d, topic %08x.. partition %u", book->group,
             (unsigned) weft_id_slice(&book->topic).data[0], book->partition);
}

static void s_pass(sim_ledger_t *self, struct book *book, int64_t offset)
{
    int topic;
    if (book->began >= 0 && s_is_told(self, book, &topic)) {
        int64_t from = book->passed > book->began ? book->passed : book->began;
        if (!self->clients->topics[topic].compacted) {
            sim_history_passed(self->clients->history, book->group, topic, (int) book->partition, from, offset);
        }
    }
    book->passed = offset;
}

static void s_acked(sim_ledger_t *self, struct book *book, size_t at)
{
    struct write *write = &book->writes[at];
    if (write->done_us < 0) write->done_us = s_now_us(self);
    self->commits++;
    for (size_t i = 0; i < book->count; i++) {
        const struct write *other = &book->writes[i];
        if (other->done_us < 0 || other->done_us >= write->sent_us || other->token <= write->token) continue;
        char name[64];
        s_name(book, name);
        sim_history_violate(
            self->clients->history,
            "I5: %s: a commit of %lld under token %llu was sent %lld us after %llu was in force, and is "
            "acknowledged",
            name, (long long) write->offset, (unsigned long long) write->token,
            (long long) (write->sent_us - other->done_us), (unsigned long long) other->token);
    }
    if (write->offset > book->passed) s_pass(self, book, write->offset);
}

// Somebody newer must have been there.
static void s_refused(sim_ledger_t *self, const struct book *book, size_t at)
{
    const struct write *write = &book->writes[at];
    self->fenced++;
    for (size_t i = 0; i < book->count; i++) {
        if (s_outranks(&book->writes[i], write)) return;
    }
    int topic;
    if (!s_is_told(self, book, &topic)) return; // of a group or topic that was deleted
    char name[64];
    s_name(book, name);
    sim_history_violate(self->clients->history,
                        "I5: %s: a commit under token %llu is fenced, and nobody had a newer one", name,
                        (unsigned long long) write->token);
}

static void s_check_read(sim_ledger_t *self, const struct book *book, int64_t asked_us, int64_t offset)
{
    const struct write *best = NULL;
    int topic;
    if (!s_is_told(self, book, &topic)) return;
    for (size_t i = 0; i < book->count; i++) {
        const struct write *write = &book->writes[i];
        if (write->done_us < 0 || write->done_us > asked_us) continue;
        if (best == NULL || s_outranks(write, best)) best = write;
    }
    if (best == NULL ? offset < 0 : offset == best->offset) return;
    for (size_t i = 0; i < book->count; i++) {
        const struct write *write = &book->writes[i];
        if (write->rank > 0 && (best == NULL || s_outranks(write, best)) && write->offset == offset) return;
    }
    char name[64];
    s_name(book, name);
    sim_history_violate(
        self->clients->history,
        "I5: %s: committed is told as %lld, and was %lld (token %llu, n %lld), which nothing newer that "
        "was ever sent has changed to that",
        name, (long long) offset, best == NULL ? -1LL : (long long) best->offset,
        best == NULL ? 0ULL : (unsigned long long) best->token, best == NULL ? -1LL : (long long) best->rank - 1);
}

// A look raises no fence, so one who no longer leads may answer, with what was so before; but what it tells was durable.
static void s_check_look(sim_ledger_t *self, struct book *book, int64_t offset)
{
    struct write *least = NULL;
    int topic;
    if (offset < 0 || !s_is_told(self, book, &topic)) return;
    for (size_t i = 0; i < book->count; i++) {
        struct write *write = &book->writes[i];
        if (write->rank == 0 || write->offset != offset) continue;
        if (least == NULL || s_outranks(least, write)) least = write;
    }
    if (least != NULL && least->done_us < 0) least->done_us = s_now_us(self);
    if (least != NULL) return;
    char name[64];
    s_name(book, name);
    sim_history_violate(self->clients->history, "I5: %s: committed is told as %lld, which nobody ever committed", name,
                        (long long) offset);
}

// ---- requests under way: one of a kind a host

static struct asked *s_asked_new(sim_ledger_t *self, enum kind kind, uint64_t id, size_t count)
{
    sim_host_t host = weft_sim_running_host(self->clients->sim);
    struct asked *asked = NULL;
    for (size_t i = 0; i < self->asked_count; i++) {
        if (self->asked[i].host == host && self->asked[i].kind == kind) asked = &self->asked[i];
    }
    if (asked == NULL) {
        if (self->asked_count == ASKED_MAX) return NULL;
        asked = &self->asked[self->asked_count++];
        *asked = (struct asked){.parts = NULL};
    }
    free(asked->parts);
    *asked = (struct asked){.host = host, .kind = kind, .id = id, .sent_us = s_now_us(self)};
    asked->parts = weft_calloc(count + 1, sizeof *asked->parts);
    return asked;
}

static struct asked *s_asked(sim_ledger_t *self, bool commits, uint64_t id)
{
    sim_host_t host = weft_sim_running_host(self->clients->sim);
    struct asked *found = NULL; // the newest: an earlier life of the host counted from 1, too
    for (size_t i = 0; i < self->asked_count; i++) {
        struct asked *asked = &self->asked[i];
        if (asked->host != host || (asked->kind == COMMIT) != commits || asked->id != id) continue;
        if (found == NULL || asked->sent_us >= found->sent_us) found = asked;
    }
    return found;
}

void __wrap_weft_commit_request_encode(const struct weft_commit_request *request, weft_buf_t *out)
{
    __real_weft_commit_request_encode(request, out);
    sim_ledger_t *self = s_ledger;
    int group = self == NULL ? -1 : sim_group_of(request->group);
    if (group < 0 || weft_sim_running_host(self->clients->sim) < 0) return; // a person's: sim_ledger_reset
    struct asked *asked = s_asked_new(self, COMMIT, request->id, request->entries_count);
    for (size_t i = 0; asked != NULL && i < request->entries_count; i++) {
        const struct weft_commit_entry *entry = &request->entries[i];
        size_t book = s_book(self, group, entry->topic_id, entry->partition);
        struct write write = {.token = entry->token, .rank = request->n + 1, .offset = entry->offset};
        size_t at = s_write(self, book, write);
        asked->parts[asked->count++] = (struct part){.book = book, .write = at, .token = entry->token, .writes = true};
        weft_sim_trace(self->clients->sim, weft_sim_running(self->clients->sim),
                       "commits %lld of partition %u under %llu, n %llu", (long long) entry->offset, entry->partition,
                       (unsigned long long) entry->token, (unsigned long long) request->n);
        self->sent(self->context, asked->host, group, entry->topic_id, entry->partition, entry->token, entry->offset);
    }
}

weft_err_t __wrap_weft_commit_reply_decode(weft_codec_t *codec, weft_slice_t header, struct weft_commit_reply *out,
                                           struct weft_error *error)
{
    weft_err_t err = __real_weft_commit_reply_decode(codec, header, out, error);
    sim_ledger_t *self = s_ledger;
    if (err != WEFT_OK || self == NULL || out->header.error != WEFT_OK) return err;
    struct asked *asked = s_asked(self, true, out->header.id);
    for (size_t i = 0; asked != NULL && i < asked->count; i++) {
        weft_err_t refused = WEFT_OK;
        for (size_t k = 0; k < out->refused_count; k++) {
            if (out->refused[k].index == i) refused = weft_err_of_number(out->refused[k].error);
        }
        struct book *book = &self->books[asked->parts[i].book];
        if (refused == WEFT_OK) s_acked(self, book, asked->parts[i].write);
        if (refused == WEFT_ERR_FENCED) s_refused(self, book, asked->parts[i].write);
    }
    return err;
}

void __wrap_weft_committed_request_encode(const struct weft_committed_request *request, weft_buf_t *out)
{
    __real_weft_committed_request_encode(request, out);
    sim_ledger_t *self = s_ledger;
    int group = self == NULL ? -1 : sim_group_of(request->group);
    if (group < 0 || weft_sim_running_host(self->clients->sim) < 0) return;
    enum kind kind = request->entries_count > 0 && request->entries[0].token > 0 ? FENCE : LOOK;
    struct asked *asked = s_asked_new(self, kind, request->id, request->entries_count);
    for (size_t i = 0; asked != NULL && i < request->entries_count; i++) {
        const struct weft_committed_entry *entry = &request->entries[i];
        weft_id_t topic = entry->topic_id;
        const struct weft_cluster_topic *named =
            weft_cluster_topic_by_name(sim_witness_cluster(self->witness), entry->topic);
        if (weft_id_is_zero(topic) && named != NULL) topic = named->id;
        struct part part = {.book = s_book(self, group, topic, entry->partition), .token = entry->token};
        part.writes = entry->token > 0;
        struct write write = {.token = entry->token, .offset = NOT_KNOWN};
        if (part.writes) part.write = s_write(self, part.book, write);
        asked->parts[asked->count++] = part;
    }
}

weft_err_t __wrap_weft_committed_reply_decode(weft_codec_t *codec, weft_slice_t header,
                                              struct weft_committed_reply *out, struct weft_error *error)
{
    weft_err_t err = __real_weft_committed_reply_decode(codec, header, out, error);
    sim_ledger_t *self = s_ledger;
    if (err != WEFT_OK || self == NULL || out->header.error != WEFT_OK) return err;
    struct asked *asked = s_asked(self, false, out->header.id);
    if (asked == NULL || asked->count != out->offsets_count) return err;
    for (size_t i = 0; i < asked->count; i++) {
        const struct weft_committed_offset *told = &out->offsets[i];
        const struct part *part = &asked->parts[i];
        struct book *book = &self->books[part->book];
        if (told->error != 0) continue;
        if (!part->writes) {
            s_check_look(self, book, told->offset);
            continue;
        }
        s_check_read(self, book, asked->sent_us, told->offset);
        book->writes[part->write].offset = told->offset;
        book->writes[part->write].done_us = s_now_us(self);
    }
    return err;
}

// ---- members and persons

void sim_ledger_began(sim_ledger_t *self, int group, weft_id_t topic, uint32_t partition, int64_t offset)
{
    struct book *book = &self->books[s_book(self, group, topic, partition)];
    if (book->began < 0) book->began = offset;
}

void sim_ledger_reset(sim_ledger_t *self, int group, weft_id_t topic, uint32_t partition, uint64_t token,
                      int64_t offset, bool done)
{
    size_t at = s_book(self, group, topic, partition);
    struct book *book = &self->books[at];
    if (!done) {
        (void) s_write(self, at, (struct write){.token = token, .rank = UINT64_MAX, .offset = offset});
        // Told to somebody or not, it may be so from now on: what is skipped by it was not skipped by the group.
        if (offset > book->began) book->began = offset;
        if (offset > book->passed) book->passed = offset;
        return;
    }
    // A deletion passes over what a newer owner has fenced meanwhile.
    for (size_t i = 0; i < book->count && offset < 0; i++) {
        if (book->writes[i].token > token) return;
    }
    for (size_t i = 0; i < book->count; i++) {
        struct write *write = &book->writes[i];
        if (write->token == token && write->rank == UINT64_MAX) write->done_us = s_now_us(self);
    }
}

void sim_ledger_final(const sim_ledger_t *self)
{
    for (size_t i = 0; i < self->book_count; i++) {
        const struct book *book = &self->books[i];
        int topic;
        if (book->began < 0 || !s_is_told(self, book, &topic)) continue;
        sim_history_final_handed(self->clients->history, book->group, topic, (int) book->partition, book->began);
    }
}

uint64_t sim_ledger_commits(const sim_ledger_t *self)
{
    return self->commits;
}

uint64_t sim_ledger_fenced(const sim_ledger_t *self)
{
    return self->fenced;
}

// ---- life

sim_ledger_t *sim_ledger_new(struct sim_clients *clients, const sim_witness_t *witness, sim_ledger_sent_fn *sent,
                             void *context)
{
    sim_ledger_t *self = weft_calloc(1, sizeof *self);
    *self = (sim_ledger_t){.clients = clients, .witness = witness, .sent = sent, .context = context};
    s_ledger = self;
    return self;
}

void sim_ledger_destroy(sim_ledger_t **self_p)
{
    sim_ledger_t *self = *self_p;
    if (self == NULL) return;
    *self_p = NULL;
    s_ledger = NULL;
    for (size_t i = 0; i < self->book_count; i++) free(self->books[i].writes);
    for (size_t i = 0; i < self->asked_count; i++) free(self->asked[i].parts);
    free(self->books);
    free(self);
}
