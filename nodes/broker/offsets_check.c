// SPDX-License-Identifier: MPL-2.0
// The control part's side of expiry: questions of the ledgers which groups the coordinator knows, one under way at a time.
// What gets no answer is given back as it came: its ledger asks again with its next sweep.
#include "control_self.h"
#include "offsets.h"

#include <stdlib.h>
#include <string.h>

#define S_WAIT_US 2000000

struct weft_broker_groups *weft_broker_groups_new(const weft_slice_t *names, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += names[i].size;
    struct weft_broker_groups *self =
        weft_calloc(1, sizeof *self + count * (sizeof *self->names + sizeof *self->known) + bytes);
    self->count = count;
    self->names = (weft_slice_t *) (self + 1);
    self->known = (bool *) (self->names + count);
    uint8_t *at = (uint8_t *) (self->known + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(at, names[i].data, names[i].size);
        self->names[i] = weft_slice(at, names[i].size);
        at += names[i].size;
    }
    return self;
}

static void s_give_back(weft_control_t *self, struct weft_broker_groups *groups)
{
    const struct weft_mail mail = {.kind = WEFT_MAIL_BROKER_GROUPS, .body = groups, .body_free = free};
    self->port.ops->post(self->port.world, groups->from, &mail);
}

static void s_end(weft_control_t *self)
{
    s_give_back(self, self->groups[0]);
    self->group_count--;
    memmove(&self->groups[0], &self->groups[1], self->group_count * sizeof self->groups[0]);
    self->groups_id = 0;
}

void weft_control_groups_put(weft_control_t *self, struct weft_broker_groups *groups)
{
    if (self->group_count < WEFT_CONTROL_GROUPS_MAX)
        self->groups[self->group_count++] = groups;
    else
        s_give_back(self, groups);
}

void weft_control_groups_fini(weft_control_t *self)
{
    for (size_t i = 0; i < self->group_count; i++) free(self->groups[i]);
}

int64_t weft_control_groups_turn(weft_control_t *self, int64_t now_us)
{
    if (self->groups_id != 0) {
        if (now_us < self->groups_us) return self->groups_us;
        s_end(self);
    }
    while (self->group_count > 0) {
        const struct weft_control_coordinator *one = &self->coordinators[self->active];
        struct weft_group_check_request request;
        weft_group_check_request_init(&request);
        request.id = self->next_id++;
        request.groups = self->groups[0]->names;
        request.groups_count = self->groups[0]->count;
        weft_buf_clear(&self->buf);
        weft_group_check_request_encode(&request, &self->buf);
        bool reaches = self->registered && !self->seeking && one->link != 0 && one->up;
        if (reaches && self->port.ops->send(self->port.world, one->link, weft_buf_slice(&self->buf), NULL) == WEFT_OK) {
            self->groups_id = request.id;
            self->groups_us = now_us + S_WAIT_US;
            return self->groups_us;
        }
        s_end(self);
    }
    return WEFT_TIME_NEVER;
}

bool weft_control_groups_answered(weft_control_t *self, uint64_t id, weft_slice_t header)
{
    if (self->groups_id == 0 || self->groups_id != id) return false;
    struct weft_broker_groups *groups = self->groups[0];
    struct weft_group_check_reply reply;
    weft_err_t code = weft_group_check_reply_decode(&self->codec, header, &reply, &self->error);
    groups->answered = code == WEFT_OK && reply.header.error == WEFT_OK && reply.known_count == groups->count;
    for (size_t i = 0; groups->answered && i < groups->count; i++) groups->known[i] = reply.known[i];
    s_end(self);
    return true;
}
