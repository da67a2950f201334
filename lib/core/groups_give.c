// SPDX-License-Identifier: MPL-2.0
// How partitions move: dropped, released, given.
//
// What a command frees is only noted while it is carried out, and given at its end in one go, to who is to hold it by
// then: under the command's index as token (G2), so that everybody who has another assignment has one new revision. What
// is given stands unsorted behind the holds until that end, and is merged in. A member that is paused is given nothing;
// what it is to hold stays its own (G3).
#include "groups_state.h"

#include "../base/assert.h"
#include "../base/mutate.h"

#include <stdlib.h>
#include <string.h>

static int s_held_compare(const void *a, const void *b)
{
    const struct weft_group_held *x = a, *y = b;
    return weft_group_place_compare(x->topic, x->partition, y->topic, y->partition);
}

void weft_group_freed(weft_groups_t *self, weft_id_t topic, uint32_t partition)
{
    if (self->freed_count == self->freed_capacity) {
        self->freed_capacity = self->freed_capacity ? 2 * self->freed_capacity : 64;
        self->freed = weft_realloc(self->freed, self->freed_capacity * sizeof *self->freed);
    }
    self->freed[self->freed_count++] = (struct weft_group_target){.topic = topic, .partition = partition};
}

void weft_group_touch(weft_groups_t *self, struct weft_group_member *member)
{
    if (member->touched) return;
    member->touched = true;
    if (self->touched_count == self->touched_capacity) {
        self->touched_capacity = self->touched_capacity ? 2 * self->touched_capacity : 64;
        self->touched = weft_realloc(self->touched, self->touched_capacity * sizeof *self->touched);
    }
    self->touched[self->touched_count++] = member;
}

static void s_let_go(weft_groups_t *self, struct weft_group *group, const struct weft_group_held *held)
{
    weft_group_place(group, held->topic, held->partition)->holder = NULL;
    weft_group_freed(self, held->topic, held->partition);
}

void weft_group_holds_free(weft_groups_t *self, struct weft_group_member *member)
{
    for (size_t i = 0; i < member->hold_count; i++) s_let_go(self, member->group, &member->holds[i]);
    member->hold_count = member->dropped_count = 0;
}

void weft_group_hold(weft_groups_t *self, struct weft_group_member *member, struct weft_group_held held)
{
    struct weft_group_place *place = weft_group_place_make(self, member->group, held.topic, held.partition);
    weft_assert(!place->holder); // G1
    place->holder = member;
    if (member->hold_count == member->hold_capacity) {
        member->hold_capacity = member->hold_capacity ? 2 * member->hold_capacity : 8;
        member->holds = weft_realloc(member->holds, member->hold_capacity * sizeof *member->holds);
    }
    member->holds[member->hold_count++] = held;
    member->dropped_count += held.dropped != 0;
    member->fresh_count++;
}

// The fresh ones among the others, from the back.
static void s_merge(struct weft_group_member *member)
{
    size_t fresh = member->fresh_count, old = member->hold_count - fresh;
    member->fresh_count = 0;
    if (fresh == 0) return;
    qsort(member->holds + old, fresh, sizeof *member->holds, s_held_compare);
    if (old == 0 || s_held_compare(&member->holds[old - 1], &member->holds[old]) < 0) return;
    struct weft_group_held *given = weft_alloc(fresh * sizeof *given);
    memcpy(given, member->holds + old, fresh * sizeof *given);
    for (size_t to = member->hold_count; fresh;) {
        bool later = old && s_held_compare(&member->holds[old - 1], &given[fresh - 1]) > 0;
        member->holds[--to] = later ? member->holds[--old] : given[--fresh];
    }
    free(given);
}

void weft_groups_settle(weft_groups_t *self, struct weft_group *group)
{
    for (size_t i = 0; i < self->freed_count; i++) {
        const struct weft_group_target *it = &self->freed[i];
        struct weft_group_place *place = weft_group_place(group, it->topic, it->partition);
        if (!place || place->holder) continue; // noted twice
        if (!place->wanted) {
            weft_group_place_trim(self, group, it->topic, it->partition);
            continue;
        }
        if (place->wanted->paused) continue;
        weft_group_touch(self, place->wanted);
        uint64_t token = weft_mutated("token_of_the_membership") ? place->wanted->epoch : self->index; // G2
        weft_group_hold(self, place->wanted,
                        (struct weft_group_held){.topic = it->topic, .partition = it->partition, .token = token});
    }
    self->freed_count = 0;
    for (size_t i = 0; i < self->touched_count; i++) {
        s_merge(self->touched[i]);
        self->touched[i]->revision = self->index; // G4
    }
}

// ---- targets

void weft_group_target_clear(weft_groups_t *self, struct weft_group_member *member)
{
    for (size_t i = 0; i < member->target_count; i++) {
        const struct weft_group_target *it = &member->target[i];
        weft_group_place(member->group, it->topic, it->partition)->wanted = NULL;
        weft_group_freed(self, it->topic, it->partition); // to be forgotten, if nobody holds it
    }
    free(member->target);
    member->target = NULL;
    member->target_count = 0;
}

void weft_group_target_pass(struct weft_group_member *from, struct weft_group_member *to)
{
    weft_assert(to->target_count == 0 && from->group == to->group);
    to->target = from->target;
    to->target_count = from->target_count;
    from->target = NULL;
    from->target_count = 0;
    for (size_t i = 0; i < to->target_count; i++)
        weft_group_place(to->group, to->target[i].topic, to->target[i].partition)->wanted = to;
}

// What is held and not to be held any more: to be released, or of a topic that is gone and nobody waits for.
static void s_drop(weft_groups_t *self, struct weft_group_member *member)
{
    const struct weft_group_target *target = member->target, *end = target + member->target_count;
    const struct weft_cluster_topic *topic = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < member->hold_count; i++) {
        struct weft_group_held *held = &member->holds[i];
        while (target < end &&
               weft_group_place_compare(target->topic, target->partition, held->topic, held->partition) < 0)
            target++;
        bool wanted = target < end && target->partition == held->partition && weft_id_equal(target->topic, held->topic);
        if (!topic || !weft_id_equal(topic->id, held->topic)) topic = weft_cluster_topic(self->cluster, held->topic);
        if (!wanted && !held->dropped) {
            weft_group_touch(self, member);
            held->dropped = self->index;
            member->dropped_count++;
        }
        if (!wanted && (!topic || weft_mutated("given_before_release"))) { // I5
            member->dropped_count--;
            s_let_go(self, member->group, held);
        } else
            member->holds[kept++] = *held;
    }
    member->hold_count = kept;
}

void weft_group_target_ask(weft_groups_t *self, const struct weft_group_member *member)
{
    for (size_t i = 0; i < member->target_count; i++)
        weft_group_freed(self, member->target[i].topic, member->target[i].partition); // if it is
}

void weft_group_target_set(weft_groups_t *self, struct weft_group_member *member, struct weft_group_target **target_p,
                           size_t count)
{
    weft_group_target_clear(self, member);
    member->target = *target_p;
    member->target_count = count;
    *target_p = NULL;
    for (size_t i = 0; i < count; i++)
        weft_group_place_make(self, member->group, member->target[i].topic, member->target[i].partition)->wanted =
            member;
    weft_group_target_ask(self, member);
    s_drop(self, member);
}

// ---- released

weft_err_t weft_groups_released(weft_groups_t *self, weft_slice_t command, struct weft_error *error)
{
    struct weft_group_released_command it;
    weft_err_t err = weft_group_released_command_decode(self->codec, command, &it, error);
    if (err) return err;
    struct weft_group *group = weft_groups_group(self, it.group);
    if (!group) return weft_error_set(error, WEFT_ERR_UNKNOWN_GROUP, "there is no such group");
    struct weft_group_member *member = weft_group_find(group, it.member);
    if (!member)
        return weft_error_set(error, WEFT_ERR_UNKNOWN_MEMBER, "the member is not in the group '%s'", group->name);
    if (member->epoch != it.epoch)
        return weft_error_set(error, WEFT_ERR_FENCED_MEMBER,
                              "the membership is of epoch %llu, what was released of %llu",
                              (unsigned long long) member->epoch, (unsigned long long) it.epoch);
    if (it.revision > member->revision)
        return weft_error_set(error, WEFT_ERR_INVALID_REQUEST, "revision %llu was never given; the newest is %llu",
                              (unsigned long long) it.revision, (unsigned long long) member->revision);
    if (it.revision <= member->released) return WEFT_OK; // told before
    member->released = it.revision;
    size_t kept = 0;
    for (size_t i = 0; i < member->hold_count; i++) {
        const struct weft_group_held *held = &member->holds[i];
        if (!held->dropped || held->dropped > it.revision) {
            member->holds[kept++] = *held;
            continue;
        }
        s_let_go(self, group, held);
        member->dropped_count--;
    }
    member->hold_count = kept;
    weft_groups_settle(self, group);
    return WEFT_OK;
}
