// SPDX-License-Identifier: MPL-2.0
// Groups as a whole: what is drawn for them, their settings in the cluster, and what they have to do once it is calm.
#include "sim_members_inner.h"

#include "../../lib/base/assert.h"

#include <weft_gen/messages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)

static sim_t *s_sim(const struct sim_members *self)
{
    return self->clients->sim;
}

// ---- the plan

static void s_plan_group(struct sim_members *self, struct sim_group *group)
{
    static const char *const assignors[] = {"", "uniform", "range"};
    *group = (struct sim_group){.exclusive = sim_members_chance(self, 50),
                                .assignor = assignors[sim_members_below(self, 3)]};
    group->session_ms = self->heartbeat_ms > 500 ? 3000 : sim_members_chance(self, 50) ? 500 : 1500;
    group->durable = sim_members_chance(self, self->clients->lazy ? 0 : 50);
    group->max_poll_ms = 300 + (uint32_t) sim_members_below(self, 2000);
    group->release_ms = sim_members_chance(self, 50) ? 600 : 2000;
}

void sim_members_plan(struct sim_members *self, struct sim_clients *clients, const sim_witness_t *witness,
                      uint64_t seed)
{
    *self = (struct sim_members){.clients = clients, .witness = witness};
    weft_rand_init(&self->rand, seed ^ UINT64_C(0x67726f757073));
    self->heartbeat_ms = sim_members_chance(self, 20) ? 1000 : sim_members_chance(self, 50) ? 50 : 200;
    self->offsets_partitions = 1 + (uint32_t) sim_members_below(self, 2);
    self->group_count = 1 + (int) sim_members_below(self, SIM_GROUPS_MAX);
    for (int i = 0; i < self->group_count; i++) s_plan_group(self, &self->groups[i]);
    self->count = self->group_count + (int) sim_members_below(self, SIM_MEMBERS_MAX - (uint64_t) self->group_count + 1);
    self->ledger = sim_ledger_new(clients, witness, sim_member_commits, self);
    for (int i = 0; i < self->count; i++) {
        struct sim_member *member = &self->members[i];
        *member = (struct sim_member){.owner = self, .number = i};
        member->group = i < self->group_count ? i : (int) sim_members_below(self, (uint64_t) self->group_count);
        snprintf(member->name, sizeof member->name, "member-%d.%d", member->group, i);
        if (sim_members_chance(self, 30)) snprintf(member->instance, sizeof member->instance, "static-%d", i);
        // Two programs under one name: the second waits for the first.
        if (member->instance[0] && sim_members_chance(self, 10))
            snprintf(member->instance, sizeof member->instance, "static-0");
    }
}

static bool s_admin_ok(struct sim_members *self, const char *what)
{
    if (sim_admin_run(self->clients, 20 * SECOND) == WEFT_OK) return true;
    weft_sim_trace(s_sim(self), "admin", "%s: %s", what, weft_admin_part_error_text(self->clients->admin));
    return false;
}

static bool s_set_cluster(struct sim_members *self, int replicas)
{
    char texts[5][16];
    const char *names[] = {"offsets.partitions", "offsets.replicas", "group.heartbeat.ms", "group.session.min.ms"};
    snprintf(texts[0], sizeof texts[0], "%u", self->offsets_partitions);
    snprintf(texts[1], sizeof texts[1], "%d", replicas);
    snprintf(texts[2], sizeof texts[2], "%ums", self->heartbeat_ms);
    snprintf(texts[3], sizeof texts[3], "100ms");
    struct weft_config_entry entries[4];
    for (int i = 0; i < 4; i++) {
        entries[i] = (struct weft_config_entry){weft_slice_text(names[i]), weft_slice_text(texts[i])};
    }
    struct weft_call *call = sim_admin_begin(self->clients, WEFT_TO_COORDINATOR, NULL, 0);
    struct weft_cluster_alter_request request;
    weft_cluster_alter_request_init(&request);
    request.id = call->id;
    request.config = entries;
    request.config_count = 4;
    request.operation = weft_rand_id(&self->rand);
    weft_cluster_alter_request_encode(&request, &call->header);
    return s_admin_ok(self, "groups' settings");
}

static bool s_begin_offsets(struct sim_members *self)
{
    struct weft_call *call = sim_admin_begin(self->clients, WEFT_TO_COORDINATOR, NULL, 0);
    struct weft_offsets_begin_request request;
    weft_offsets_begin_request_init(&request);
    request.id = call->id;
    weft_offsets_begin_request_encode(&request, &call->header);
    return s_admin_ok(self, "begin __offsets");
}

bool sim_members_prepare(struct sim_members *self, int replicas)
{
    if (s_set_cluster(self, replicas) && s_begin_offsets(self)) return true;
    sim_history_violate(self->clients->history, "O9: groups can't be prepared in a calm cluster: %s",
                        weft_admin_part_error_text(self->clients->admin));
    return false;
}

void sim_members_start(struct sim_members *self)
{
    for (int i = 0; i < self->count; i++) {
        struct sim_member *member = &self->members[i];
        member->host = weft_sim_host_add(s_sim(self), member->name, NULL);
        weft_sim_at(s_sim(self), weft_sim_now_us(s_sim(self)) + 1 + (int64_t) sim_members_below(self, 2000000),
                    sim_member_come, member);
    }
    weft_sim_at(s_sim(self), weft_sim_now_us(s_sim(self)) + SECOND, sim_members_direct, self);
}

void sim_members_fini(struct sim_members *self)
{
    for (int i = 0; i < self->count; i++) {
        if (self->members[i].desk == NULL) continue;
        weft_desk_on_change(self->members[i].desk, WEFT_DESK_MEMBER, NULL, NULL);
        weft_desk_on_change(self->members[i].desk, WEFT_DESK_CONSUMER, NULL, NULL);
        weft_desk_drop(&self->members[i].desk);
    }
    while (self->steps != NULL) {
        struct sim_step *step = self->steps;
        self->steps = step->next;
        free(step);
    }
    sim_ledger_destroy(&self->ledger);
}

// ---- once it is calm

void sim_members_calm(struct sim_members *self)
{
    self->quiet = true;
    for (int i = 0; i < self->count; i++) {
        struct sim_member *member = &self->members[i];
        member->stalled_until_us = 0;
        member->away = false;
        if (member->part == NULL) sim_member_come_later(member);
        bool twin = i > 0 && strcmp(member->instance, "static-0") == 0; // one of two under a name
        if (twin) snprintf(member->instance, sizeof member->instance, "static-%d", i);
        if (member->part == NULL || member->closing) continue;
        if (twin)
            sim_member_close(member);
        else
            sim_member_subscribe(member);
    }
}

static const struct weft_group *s_group(const struct sim_members *self, int group)
{
    char name[16];
    sim_group_name(group, name);
    return weft_groups_find(sim_witness_groups(self->witness), weft_slice_text(name));
}

static bool s_is_held(const struct weft_group *group, weft_id_t topic, uint32_t partition)
{
    for (size_t i = 0; i < group->member_count; i++) {
        for (size_t h = 0; h < group->members[i]->hold_count; h++) {
            const struct weft_group_held *held = &group->members[i]->holds[h];
            if (held->dropped == 0 && held->partition == partition && weft_id_equal(held->topic, topic)) return true;
        }
    }
    return false;
}

static bool s_is_living(const struct sim_member *member, int group)
{
    return member->group == group && member->part != NULL && !member->closing;
}

static size_t s_living(const struct sim_members *self, int group)
{
    size_t count = 0;
    for (int i = 0; i < self->count; i++) count += s_is_living(&self->members[i], group);
    return count;
}

// How often the group has a member, its earlier lives with it.
static size_t s_times(const struct weft_group *group, const struct sim_member *member)
{
    size_t count = 0;
    for (size_t i = 0; group != NULL && i < group->member_count; i++)
        count += strcmp(group->members[i]->client, member->name) == 0;
    return count;
}

// Somebody who closes, or is about to come back, is not done with.
static bool s_all_came(const struct sim_members *self, int group)
{
    for (int i = 0; i < self->count; i++) {
        const struct sim_member *member = &self->members[i];
        bool comes = member->part == NULL && !member->away;
        if (member->group == group && (comes || member->closing)) return false;
    }
    return true;
}

static bool s_group_settled(const struct sim_members *self, int number, char *why, size_t why_bytes)
{
    const struct weft_group *group = s_group(self, number);
    if (!s_all_came(self, number)) {
        snprintf(why, why_bytes, "of group %d somebody has still not closed, or come back", number);
        return false;
    }
    for (int i = 0; i < self->count; i++) { // who lives, and nobody else: two numbers alone may agree by chance
        const struct sim_member *member = &self->members[i];
        size_t times = s_times(group, member), wanted = s_is_living(member, number);
        if (member->group != number || times == wanted) continue;
        snprintf(why, why_bytes, "group %d has %s %zu times instead of %zu", number, member->name, times, wanted);
        return false;
    }
    size_t living = s_living(self, number);
    for (int t = 0; living > 0 && t < self->clients->stable_count; t++) {
        for (int p = 0; p < self->clients->topics[t].partitions; p++) {
            weft_id_t id;
            if (sim_witness_partition(self->witness, t, p, &id) == NULL) continue;
            if (s_is_held(group, id, (uint32_t) p)) continue;
            snprintf(why, why_bytes, "in group %d nobody holds topic %d partition %d", number, t, p);
            return false;
        }
    }
    return true;
}

bool sim_members_settled(const struct sim_members *self, char *why, size_t why_bytes)
{
    for (int i = 0; i < self->group_count; i++) {
        if (!s_group_settled(self, i, why, why_bytes)) return false;
    }
    return true;
}

static bool s_settled_or_bad(void *context)
{
    const struct sim_members *self = context;
    char why[128];
    return sim_history_violation(self->clients->history) != NULL || sim_members_settled(self, why, sizeof why);
}

static bool s_settle(struct sim_members *self, int64_t limit_us, const char *after)
{
    char why[128] = "";
    if (!weft_sim_run_until_true(s_sim(self), weft_sim_now_us(s_sim(self)) + limit_us, s_settled_or_bad, self)) {
        (void) sim_members_settled(self, why, sizeof why);
        sim_history_violate(self->clients->history, "O9: %lld ms after %s in a calm cluster %s",
                            (long long) limit_us / 1000, after, why);
    }
    return sim_history_violation(self->clients->history) == NULL;
}

bool sim_members_probe(struct sim_members *self)
{
    if (!s_settle(self, 20 * SECOND, "the last fault")) return false;
    struct sim_member *member = sim_members_some(self);
    const struct sim_group *how = &self->groups[member->group];
    int64_t beats_us = 2000 * (int64_t) self->heartbeat_ms + 300000; // two, and what messages and syncs take
    int64_t session_us = 1000 * (int64_t) how->session_ms + (how->exclusive ? 500000 : 0); // groups.h: for a late turn
    if (member->part == NULL || member->closing) return true;
    member->away = true;
    bool dies = sim_members_chance(self, 50), keeps = member->instance[0] != 0; // its place, for a session
    if (dies)
        sim_member_kill(member);
    else
        sim_member_close(member);
    int64_t limit_us = beats_us + (dies || keeps ? session_us : 0);
    if (!s_settle(self, limit_us, dies ? "a member died" : keeps ? "a static member closed" : "a member left"))
        return false;
    member->away = false;
    sim_member_come(member);
    weft_sim_run_until(s_sim(self), weft_sim_now_us(s_sim(self)) + 20000);
    return s_settle(self, beats_us, "a member came");
}

bool sim_members_done(const struct sim_members *self, int64_t ends[][SIM_PARTITIONS_MAX])
{
    for (int g = 0; g < self->group_count; g++) {
        for (int t = 0; t < self->clients->stable_count; t++) {
            for (int p = 0; p < self->clients->topics[t].partitions; p++) {
                bool there = ends[t][p] < 0;
                for (int i = 0; i < self->count && !there; i++) {
                    const struct sim_member *member = &self->members[i];
                    there = member->group == g && member->places[t][p].token > 0 &&
                            member->places[t][p].position >= ends[t][p];
                }
                if (!there && s_living(self, g) > 0) return false;
            }
        }
    }
    return true;
}

void sim_members_stop(struct sim_members *self)
{
    for (int i = 0; i < self->count; i++) {
        self->members[i].away = true;
        if (self->members[i].part != NULL) sim_member_gone(&self->members[i], false);
    }
}

void sim_members_summary(const struct sim_members *self, char *text, size_t text_bytes)
{
    snprintf(
        text, text_bytes,
        ", %d members of %d groups: %llu handed out, %llu of them again, %llu commits, %llu fenced, %llu closed, %llu "
        "killed, %llu stalled",
        self->count, self->group_count, (unsigned long long) self->handed, (unsigned long long) self->again,
        (unsigned long long) sim_ledger_commits(self->ledger), (unsigned long long) sim_ledger_fenced(self->ledger),
        (unsigned long long) self->closed, (unsigned long long) self->killed, (unsigned long long) self->stalled);
}
