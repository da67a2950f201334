// SPDX-License-Identifier: MPL-2.0
// As `weft group reset` and `weft group delete` do it: a token of the coordinator, which refuses while the group has members, then the change under that token.
#include "sim_resets.h"

#include "../../lib/core/offsets.h"

#include <weft_gen/messages.h>

#include <string.h>

#define SECOND INT64_C(1000000)

static sim_t *s_sim(const struct sim_resets *self)
{
    return self->members->clients->sim;
}

static uint64_t s_below(struct sim_resets *self, uint64_t bound)
{
    return weft_rand_below(&self->members->rand, bound);
}

static void s_submit(struct sim_resets *self)
{
    weft_admin_part_submit(self->admin, 5 * SECOND);
    weft_sim_part_poke(s_sim(self), self->host, self->admin_id);
}

static struct weft_call *s_begin(struct sim_resets *self, bool leader)
{
    char name[16];
    sim_group_name(self->group, name);
    int32_t partition = (int32_t) weft_offsets_partition(weft_slice_text(name), self->members->offsets_partitions);
    struct weft_call *call = weft_admin_part_begin(self->admin, leader ? WEFT_TO_LEADER : WEFT_TO_COORDINATOR,
                                                   leader ? WEFT_OFFSETS_TOPIC : NULL, leader ? partition : 0, NULL);
    weft_buf_clear(&call->header);
    return call;
}

static void s_ask_token(struct sim_resets *self)
{
    char name[16];
    const struct sim_clients *clients = self->members->clients;
    self->group = (int) s_below(self, (uint64_t) self->members->group_count);
    self->topic = (int) s_below(self, (uint64_t) clients->stable_count);
    self->partition = (int) s_below(self, (uint64_t) clients->topics[self->topic].partitions);
    self->deletes = s_below(self, 4) == 0;
    if (sim_witness_partition(self->members->witness, self->topic, self->partition, &self->id) == NULL) return;
    sim_group_name(self->group, name);
    struct weft_call *call = s_begin(self, false);
    if (self->deletes) {
        struct weft_group_delete_request request;
        weft_group_delete_request_init(&request);
        request.id = call->id;
        request.group = weft_slice_text(name);
        request.operation = weft_rand_id(&self->members->rand);
        weft_group_delete_request_encode(&request, &call->header);
    } else {
        struct weft_group_token_request request;
        weft_group_token_request_init(&request);
        request.id = call->id;
        request.group = weft_slice_text(name);
        request.operation = weft_rand_id(&self->members->rand);
        weft_group_token_request_encode(&request, &call->header);
    }
    self->state = SIM_RESETS_TOKEN;
    s_submit(self);
}

// A deletion is one of every partition, of topics that come and go as well, and of those that were added while nobody was
// told so yet.
static void s_tell(struct sim_resets *self, bool done)
{
    struct sim_members *members = self->members;
    sim_ledger_t *ledger = members->ledger;
    members->reset_tokens[self->group] = self->token;
    memset(members->releases[self->group], 0, sizeof members->releases[self->group]);
    if (!self->deletes) {
        sim_ledger_reset(ledger, self->group, self->id, (uint32_t) self->partition, self->token, self->offset, done);
        return;
    }
    for (int t = 0; t < members->clients->topic_count; t++) {
        weft_id_t id;
        for (int p = 0; sim_witness_partition(members->witness, t, p, &id) != NULL; p++) {
            sim_ledger_reset(ledger, self->group, id, (uint32_t) p, self->token, -1, done);
        }
    }
}

static void s_change(struct sim_resets *self)
{
    char name[16];
    sim_group_name(self->group, name);
    struct weft_call *call = s_begin(self, true);
    int64_t end = sim_history_committed_end(self->members->clients->history, self->topic, self->partition, INT64_MAX);
    self->offset = (int64_t) s_below(self, (uint64_t) end + 1);
    struct weft_offsets_delete_request all;
    struct weft_commit_request commit;
    struct weft_commit_entry entry = {.topic_id = self->id,
                                      .partition = (uint32_t) self->partition,
                                      .offset = self->offset,
                                      .epoch = -1,
                                      .token = self->token};
    weft_offsets_delete_request_init(&all);
    weft_commit_request_init(&commit);
    all.id = commit.id = call->id;
    all.group = commit.group = weft_slice_text(name);
    all.token = self->token;
    commit.entries = &entry;
    commit.entries_count = 1;
    if (self->deletes)
        weft_offsets_delete_request_encode(&all, &call->header);
    else
        weft_commit_request_encode(&commit, &call->header);
    weft_sim_trace(s_sim(self), "resets", "%s of %s: topic %d partition %d to %lld under %llu",
                   self->deletes ? "delete" : "reset", name, self->topic, self->partition, (long long) self->offset,
                   (unsigned long long) self->token);
    s_tell(self, false);
    self->state = SIM_RESETS_CHANGE;
    s_submit(self);
}

static void s_have_token(struct sim_resets *self)
{
    weft_codec_t *codec = &self->members->clients->codec;
    weft_slice_t bytes = weft_admin_part_reply(self->admin);
    struct weft_group_token_reply token;
    struct weft_group_delete_reply deleted;
    weft_err_t err = self->deletes ? weft_group_delete_reply_decode(codec, bytes, &deleted, NULL)
                                   : weft_group_token_reply_decode(codec, bytes, &token, NULL);
    self->state = SIM_RESETS_REST;
    if (err != WEFT_OK) return;
    self->token = self->deletes ? deleted.token : token.token;
    s_change(self);
}

static bool s_is_changed(struct sim_resets *self)
{
    struct weft_commit_reply reply;
    if (self->deletes) return true;
    weft_slice_t bytes = weft_admin_part_reply(self->admin);
    return weft_commit_reply_decode(&self->members->clients->codec, bytes, &reply, NULL) == WEFT_OK &&
           reply.refused_count == 0;
}

static void s_answered(struct sim_resets *self)
{
    weft_err_t err = weft_admin_part_error(self->admin);
    weft_sim_trace(s_sim(self), "resets", "%s: %s", self->state == SIM_RESETS_TOKEN ? "token" : "change",
                   err == WEFT_OK ? "done" : weft_admin_part_error_text(self->admin));
    if (self->state == SIM_RESETS_TOKEN && err == WEFT_OK) {
        s_have_token(self);
        return;
    }
    if (self->state == SIM_RESETS_CHANGE && err == WEFT_OK && s_is_changed(self)) {
        self->done++;
        s_tell(self, true);
    }
    self->state = SIM_RESETS_REST;
}

static void s_step(void *context)
{
    struct sim_resets *self = context;
    if (self->state != SIM_RESETS_REST && weft_admin_part_is_done(self->admin)) s_answered(self);
    if (self->quiet) return;
    if (self->state == SIM_RESETS_REST) s_ask_token(self);
    weft_sim_at(s_sim(self), weft_sim_now_us(s_sim(self)) + 20000 + (int64_t) s_below(self, 1000000), s_step, self);
}

void sim_resets_start(struct sim_resets *self, struct sim_members *members)
{
    *self = (struct sim_resets){.members = members};
    self->admin = sim_clients_admin_run(members->clients, "resets", &self->host, &self->admin_id);
    weft_sim_at(s_sim(self), weft_sim_now_us(s_sim(self)) + SECOND, s_step, self);
}

static bool s_call_ended(void *context)
{
    const struct sim_resets *self = context;
    return weft_admin_part_is_done(self->admin);
}

void sim_resets_settle(struct sim_resets *self)
{
    self->quiet = true;
    while (self->state != SIM_RESETS_REST) {
        if (!weft_sim_run_until_true(s_sim(self), weft_sim_now_us(s_sim(self)) + 10 * SECOND, s_call_ended, self))
            return;
        s_answered(self);
    }
}
