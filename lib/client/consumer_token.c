// SPDX-License-Identifier: MPL-2.0
// Who reads for a group without membership commits with token 0, which is refused where a member held the partition
// before, or a tool set its offset. While nobody is in the group that is no reason to shut him out: the coordinator gives
// a token that outranks those of the past, and refuses it while there are members, who are in the right then. A member
// that joins later outranks it in turn.
#include "consumer_inner.h"

#include <stdio.h>

#define TOKENS_MAX 3 // in a row: somebody else takes one each time

bool weft_consumer_want_token(weft_consumer_part_t *self, const struct weft_cpartition *partition)
{
    struct weft_coffsets *offsets = &self->offsets;
    if (partition->owned || partition->lost) return false;
    if (!offsets->token_wanted && offsets->token_tries >= TOKENS_MAX) return false;
    offsets->token_wanted = true;
    return true;
}

static void s_given(struct weft_call *call, weft_err_t error, const char *text, const struct weft_reply_header *header,
                    struct weft_message *message)
{
    weft_consumer_part_t *self = call->context;
    struct weft_coffsets *offsets = &self->offsets;
    struct weft_group_token_reply reply;
    struct weft_error why;
    if (!error) {
        error = weft_group_token_reply_decode(&self->requests.codec, weft_frame_slice(&message->header), &reply, &why);
        text = why.text;
    }
    offsets->token_wanted = false;
    offsets->commit.retry_us = 0;
    if (error) {
        char said[256]; // the text may be of what is given up
        snprintf(said, sizeof said, "%s", text);
        weft_consumer_no_token(self, error == WEFT_ERR_GROUP_NOT_EMPTY ? WEFT_ERR_FENCED : error, said);
        return;
    }
    offsets->token = reply.token;
}

void weft_consumer_token_turn(weft_consumer_part_t *self, int64_t now_us, int64_t deadline_us)
{
    struct weft_coffsets *offsets = &self->offsets;
    if (offsets->ask.id) return;
    offsets->token_tries++;
    struct weft_group_token_request request;
    weft_group_token_request_init(&request);
    request.id = weft_requests_id(&self->requests, &offsets->ask);
    request.group = weft_text(offsets->group);
    weft_buf_clear(&offsets->ask.header);
    weft_group_token_request_encode(&request, &offsets->ask.header);
    offsets->ask.to = WEFT_TO_COORDINATOR;
    offsets->ask.done = s_given;
    offsets->ask.context = self;
    offsets->ask.attempt_us = self->attempt_us / 3;
    offsets->ask.deadline_us = now_us + (deadline_us - now_us) * 3 / 4; // what it says is told, not that time is up
    weft_requests_submit(&self->requests, &offsets->ask);
}
