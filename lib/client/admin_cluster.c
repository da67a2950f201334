// SPDX-License-Identifier: MPL-2.0
// The calls that change the cluster as a whole: brokers, replicas, leaders, settings, coordinators. The same shape as
// in admin.c; all go to the active coordinator, and each carries one operation id for all its attempts.
#include "admin_inner.h"

#include <stdio.h>
#include <stdlib.h>

// ---- brokers

weft_err_t weft_admin_drain_broker(weft_admin_t *self, int32_t broker, bool undo, struct weft_drain_state *out)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_broker_drain_request request;
    weft_broker_drain_request_init(&request);
    request.id = call->id;
    request.broker_id = broker;
    request.undo = undo;
    request.operation = weft_admin_part_operation(self->part);
    weft_broker_drain_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_broker_drain_reply reply;
    struct weft_error why;
    err = weft_broker_drain_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = (struct weft_drain_state){.leads = reply.leads, .stuck = reply.stuck};
    return WEFT_OK;
}

weft_err_t weft_admin_remove_broker(weft_admin_t *self, int32_t broker, enum weft_remove_mode mode,
                                    struct weft_remove_state *out)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_broker_remove_request request;
    weft_broker_remove_request_init(&request);
    request.id = call->id;
    request.broker_id = broker;
    request.undo = mode == WEFT_REMOVE_UNDO;
    request.dry_run = mode == WEFT_REMOVE_DRY_RUN;
    request.operation = weft_admin_part_operation(self->part);
    weft_broker_remove_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_broker_remove_reply reply;
    struct weft_error why;
    err = weft_broker_remove_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = (struct weft_remove_state){.replicas = reply.replicas, .removed = reply.removed};
    return WEFT_OK;
}

// ---- replicas and leaders

static weft_err_t s_check_wishes(weft_admin_t *self, const struct weft_replica_wish *wishes, size_t count)
{
    if (!count) return weft_admin_say(self, WEFT_ERR_INVALID_ARGUMENT, "there is nothing to reassign");
    for (size_t i = 0; i < count; i++) {
        weft_err_t err = weft_admin_check_topic(self, wishes[i].topic);
        if (err) return err;
        if (wishes[i].partition >= 0 && wishes[i].to_count <= WEFT_REPLICAS_KNOWN_MAX) continue;
        snprintf(self->text, sizeof self->text,
                 wishes[i].partition < 0 ? "%s/%d: there is no partition of that number"
                                         : "%s/%d: a partition has at most %d replicas",
                 wishes[i].topic, (int) wishes[i].partition, WEFT_REPLICAS_KNOWN_MAX);
        return WEFT_ERR_INVALID_ARGUMENT;
    }
    return WEFT_OK;
}

weft_err_t weft_admin_reassign(weft_admin_t *self, const struct weft_replica_wish *wishes, size_t count,
                               int64_t bytes_per_second, bool dry_run, weft_moves_t **out)
{
    weft_err_t err = s_check_wishes(self, wishes, count);
    if (err) return err;
    struct weft_partition_move *moves = weft_calloc(count, sizeof *moves);
    for (size_t i = 0; i < count; i++)
        moves[i] = (struct weft_partition_move){.topic = weft_text(wishes[i].topic),
                                                .partition = (uint32_t) wishes[i].partition,
                                                .to = (int32_t *) (uintptr_t) wishes[i].to,
                                                .to_count = wishes[i].to_count,
                                                .leader = -1};
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_reassign_request request;
    weft_reassign_request_init(&request);
    request.id = call->id;
    request.moves = moves;
    request.moves_count = count;
    request.bytes_per_second = bytes_per_second;
    request.dry_run = dry_run;
    request.operation = weft_admin_part_operation(self->part);
    weft_reassign_request_encode(&request, &call->header);
    free(moves);
    err = weft_admin_run(self);
    if (err) return count == 1 ? weft_admin_suggest(self, err, wishes[0].topic) : err;
    struct weft_reassign_reply reply;
    struct weft_error why;
    err = weft_reassign_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = weft_moves_of_reassign(&reply);
    return WEFT_OK;
}

weft_err_t weft_admin_list_moves(weft_admin_t *self, weft_moves_t **out)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_reassign_list_request request;
    weft_reassign_list_request_init(&request);
    request.id = call->id;
    weft_reassign_list_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_reassign_list_reply reply;
    struct weft_error why;
    err = weft_reassign_list_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    *out = weft_moves_of_list(&reply);
    return WEFT_OK;
}

weft_err_t weft_admin_balance(weft_admin_t *self, bool replicas, int64_t bytes_per_second, bool dry_run,
                              weft_moves_t **out)
{
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_balance_request request;
    weft_balance_request_init(&request);
    request.id = call->id;
    request.replicas = replicas;
    request.bytes_per_second = bytes_per_second;
    request.dry_run = dry_run;
    request.operation = weft_admin_part_operation(self->part);
    weft_balance_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_balance_reply reply;
    struct weft_error why;
    err = weft_balance_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) *out = weft_moves_of_balance(&reply);
    return WEFT_OK;
}

weft_err_t weft_admin_elect_leader(weft_admin_t *self, const char *topic, int32_t partition, int32_t broker,
                                   bool unclean, struct weft_elected *out)
{
    weft_err_t err = weft_admin_check_topic(self, topic);
    if (!err && partition < 0) err = weft_admin_say(self, WEFT_ERR_INVALID_ARGUMENT, "the partition is negative");
    if (err) return err;
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_elect_leader_request request;
    weft_elect_leader_request_init(&request);
    request.id = call->id;
    request.topic = weft_text(topic);
    request.partition = (uint32_t) partition;
    request.broker_id = broker;
    request.unclean = unclean;
    request.operation = weft_admin_part_operation(self->part);
    weft_elect_leader_request_encode(&request, &call->header);
    err = weft_admin_run(self);
    if (err) return weft_admin_suggest(self, err, topic);
    struct weft_elect_leader_reply reply;
    struct weft_error why;
    err = weft_elect_leader_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (out) {
        *out = (struct weft_elected){.broker = reply.broker_id, .epoch = reply.epoch};
        snprintf(out->loss, sizeof out->loss, "%.*s", (int) reply.loss.size, (const char *) reply.loss.data);
    }
    return WEFT_OK;
}

// ---- settings and coordinators

weft_err_t weft_admin_alter_cluster(weft_admin_t *self, const struct weft_setting *set, size_t set_count,
                                    uint64_t *version)
{
    struct weft_config_entry *entries = weft_calloc(set_count + 1, sizeof *entries);
    for (size_t i = 0; i < set_count; i++)
        entries[i] = (struct weft_config_entry){weft_text(set[i].key), weft_text(set[i].value)};
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_cluster_alter_request request;
    weft_cluster_alter_request_init(&request);
    request.id = call->id;
    request.config = entries;
    request.config_count = set_count;
    request.operation = weft_admin_part_operation(self->part);
    weft_cluster_alter_request_encode(&request, &call->header);
    free(entries);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_cluster_alter_reply reply;
    struct weft_error why;
    err = weft_cluster_alter_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (version) *version = reply.version;
    return WEFT_OK;
}

weft_err_t weft_admin_change_voter(weft_admin_t *self, int32_t coordinator, const char *endpoint, uint32_t *voters)
{
    if (endpoint && !weft_view_endpoint_is_legal(weft_text(endpoint))) {
        snprintf(self->text, sizeof self->text, "'%.250s' is no endpoint; expected tcp://HOST:PORT or ipc://PATH",
                 endpoint);
        return WEFT_ERR_INVALID_ENDPOINT;
    }
    struct weft_call *call = weft_admin_begin(self, WEFT_TO_COORDINATOR);
    struct weft_voter_change_request request;
    weft_voter_change_request_init(&request);
    request.id = call->id;
    request.coordinator_id = coordinator;
    request.endpoint = endpoint ? weft_text(endpoint) : WEFT_SLICE_NIL;
    request.remove = !endpoint;
    call->parked_us = self->timeout_us; // answered once the new one has all entries: asked twice it would be refused
    request.operation = weft_admin_part_operation(self->part);
    weft_voter_change_request_encode(&request, &call->header);
    weft_err_t err = weft_admin_run(self);
    if (err) return err;
    struct weft_voter_change_reply reply;
    struct weft_error why;
    err = weft_voter_change_reply_decode(&self->codec, weft_admin_reply(self), &reply, &why);
    if (err) return weft_admin_decoded(self, err, &why);
    if (voters) *voters = reply.voters;
    return WEFT_OK;
}
