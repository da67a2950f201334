// SPDX-License-Identifier: MPL-2.0
// Assignors. The order of members (instance or id) decides every tie, so nothing depends on the order of joining.
//
// uniform puts members of equal subscription and rack into one *class*: a heap, least loaded on top. Who has a partition
// keeps it, but for what is above the quota; what is free goes, partition by partition, so that each topic is spread, to
// the least loaded member of the classes that read its topic, those with a replica in their rack first.
//
// With equal subscriptions the quota is floor(P / M), and one more for P mod M members: for those that have more than the
// floor already, as far as there are such. Fewer moves can't reach that balance. With different subscriptions there is no
// quota: everybody starts with what it has, and as long as a member could give a partition to one with two fewer, it does.
// Each such move lowers the sum of squares of loads, so it ends. That is no optimum over chains of three members. The work
// is bounded, for it is done between heartbeats: with thousands of classes a partition is in the end given to the least
// loaded of a few of them, another few each time.
//
// range walks the members in order, and counts for each topic how many came before.
#include "assignor.h"

#include "../base/assert.h"

#include <stdlib.h>
#include <string.h>

// Classes looked at while subscriptions are different, less than 100 ms: from then on balance is good enough.
enum { S_WORK_MAX = 10000000, S_FEW = 32 };

static const char *const s_names[] = {[WEFT_ASSIGNOR_UNIFORM] = "uniform", [WEFT_ASSIGNOR_RANGE] = "range"};

enum weft_assignor weft_assignor_of_name(weft_slice_t name)
{
    for (size_t i = 0; i < WEFT_ASSIGNOR_NONE; i++)
        if (weft_slice_is_text(name, s_names[i])) return (enum weft_assignor) i;
    return WEFT_ASSIGNOR_NONE;
}

const char *weft_assignor_name(enum weft_assignor assignor)
{
    return assignor < WEFT_ASSIGNOR_NONE ? s_names[assignor] : "none";
}

/** Members of equal subscription and rack. */
struct s_class {
    const uint32_t *topics;
    size_t topic_count;
    uint32_t rack;
    int32_t *heap; // members, least loaded on top, then in order
    size_t count;
};

struct s_plan {
    const struct weft_assign_topic *topics;
    size_t topic_count;
    const struct weft_assign_member *members;
    size_t member_count;
    int32_t *const *owner;
    uint32_t *rank; // of members, by `order`
    int32_t *ranked;
    // uniform:
    uint32_t *load;
    uint32_t *class_of;
    size_t *heap_at; // of members, in the heap of their class
    int32_t *heaps;
    struct s_class *classes;
    size_t class_count;
    uint32_t **readers; // per topic: classes that read it
    uint32_t *reader_counts, *reader_ids;
    uint64_t work; // classes looked at
};

// ---- order of members

struct s_ordered {
    weft_slice_t order;
    int32_t member;
};

static int s_order_compare(const void *a, const void *b)
{
    const struct s_ordered *x = a, *y = b;
    int order = weft_slice_compare(x->order, y->order);
    if (order) return order;
    return x->member < y->member ? -1 : x->member > y->member;
}

static void s_rank(struct s_plan *self)
{
    struct s_ordered *ordered = weft_alloc(self->member_count * sizeof *ordered);
    for (size_t i = 0; i < self->member_count; i++)
        ordered[i] = (struct s_ordered){.order = self->members[i].order, .member = (int32_t) i};
    qsort(ordered, self->member_count, sizeof *ordered, s_order_compare);
    self->rank = weft_alloc(self->member_count * sizeof *self->rank);
    self->ranked = weft_alloc(self->member_count * sizeof *self->ranked);
    for (size_t i = 0; i < self->member_count; i++) {
        self->ranked[i] = ordered[i].member;
        self->rank[ordered[i].member] = (uint32_t) i;
    }
    free(ordered);
}

// ---- range

static void s_range(struct s_plan *self)
{
    uint32_t *readers = weft_calloc(self->topic_count, sizeof *readers);
    uint32_t *before = weft_calloc(self->topic_count, sizeof *before);
    for (size_t m = 0; m < self->member_count; m++)
        for (size_t i = 0; i < self->members[m].topic_count; i++) readers[self->members[m].topics[i]]++;
    for (size_t t = 0; t < self->topic_count; t++)
        for (uint32_t p = 0; p < self->topics[t].partition_count; p++) self->owner[t][p] = -1;
    for (size_t k = 0; k < self->member_count; k++) {
        const struct weft_assign_member *member = &self->members[self->ranked[k]];
        for (size_t i = 0; i < member->topic_count; i++) {
            uint32_t t = member->topics[i], at = before[t]++;
            uint32_t each = self->topics[t].partition_count / readers[t];
            uint32_t longer = self->topics[t].partition_count % readers[t];
            uint32_t first = at * each + (at < longer ? at : longer), count = each + (at < longer);
            for (uint32_t p = first; p < first + count; p++) self->owner[t][p] = self->ranked[k];
        }
    }
    free(readers);
    free(before);
}

// ---- heaps of classes

static bool s_less(const struct s_plan *self, int32_t a, int32_t b)
{
    if (self->load[a] != self->load[b]) return self->load[a] < self->load[b];
    return self->rank[a] < self->rank[b];
}

static void s_put(struct s_plan *self, struct s_class *class, size_t at, int32_t member)
{
    class->heap[at] = member;
    self->heap_at[member] = at;
}

static void s_sift(struct s_plan *self, int32_t member)
{
    struct s_class *class = &self->classes[self->class_of[member]];
    size_t at = self->heap_at[member];
    for (; at && s_less(self, member, class->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s_put(self, class, at, class->heap[(at - 1) / 2]);
    for (size_t child; (child = 2 * at + 1) < class->count; at = child) {
        if (child + 1 < class->count && s_less(self, class->heap[child + 1], class->heap[child])) child++;
        if (!s_less(self, class->heap[child], member)) break;
        s_put(self, class, at, class->heap[child]);
    }
    s_put(self, class, at, member);
}

static void s_load_add(struct s_plan *self, int32_t member, int32_t by)
{
    self->load[member] += (uint32_t) by;
    s_sift(self, member);
}

static int s_topics_compare(const struct weft_assign_member *a, const struct weft_assign_member *b)
{
    if (a->topic_count != b->topic_count) return a->topic_count < b->topic_count ? -1 : 1;
    if (a->topics == b->topics || a->topic_count == 0) return 0;
    return memcmp(a->topics, b->topics, a->topic_count * sizeof *a->topics);
}

struct s_classed {
    const struct weft_assign_member *member;
    uint32_t rank;
    int32_t number;
};

static int s_class_compare(const void *a, const void *b)
{
    const struct s_classed *x = a, *y = b;
    int order = s_topics_compare(x->member, y->member);
    if (order) return order;
    if (x->member->rack != y->member->rack) return x->member->rack < y->member->rack ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

// Returns whether all subscriptions are equal.
static bool s_classify(struct s_plan *self)
{
    struct s_classed *sorted = weft_alloc(self->member_count * sizeof *sorted);
    for (size_t i = 0; i < self->member_count; i++)
        sorted[i] = (struct s_classed){.member = &self->members[i], .rank = self->rank[i], .number = (int32_t) i};
    qsort(sorted, self->member_count, sizeof *sorted, s_class_compare);
    bool equal = true;
    for (size_t i = 0; i < self->member_count; i++) {
        const struct weft_assign_member *member = sorted[i].member;
        bool other = i && s_topics_compare(sorted[i - 1].member, member) != 0;
        equal = equal && !other;
        if (i == 0 || other || sorted[i - 1].member->rack != member->rack)
            self->classes[self->class_count++] = (struct s_class){.topics = member->topics,
                                                                  .topic_count = member->topic_count,
                                                                  .rack = member->rack,
                                                                  .heap = self->heaps + i};
        struct s_class *class = &self->classes[self->class_count - 1];
        self->class_of[sorted[i].number] = (uint32_t) (self->class_count - 1);
        s_put(self, class, class->count++, sorted[i].number); // of equal loads, by rank: a heap
    }
    free(sorted);
    return equal;
}

static void s_readers(struct s_plan *self)
{
    size_t total = 0;
    self->reader_counts = weft_calloc(self->topic_count, sizeof *self->reader_counts);
    self->readers = weft_calloc(self->topic_count, sizeof *self->readers);
    for (size_t c = 0; c < self->class_count; c++) {
        total += self->classes[c].topic_count;
        for (size_t i = 0; i < self->classes[c].topic_count; i++) self->reader_counts[self->classes[c].topics[i]]++;
    }
    self->reader_ids = weft_alloc(total * sizeof *self->reader_ids);
    uint32_t *at = self->reader_ids;
    for (size_t t = 0; t < self->topic_count; at += self->reader_counts[t++]) self->readers[t] = at;
    memset(self->reader_counts, 0, self->topic_count * sizeof *self->reader_counts);
    for (size_t c = 0; c < self->class_count; c++)
        for (size_t i = 0; i < self->classes[c].topic_count; i++) {
            uint32_t t = self->classes[c].topics[i];
            self->readers[t][self->reader_counts[t]++] = (uint32_t) c;
        }
}

static bool s_reads(const struct s_plan *self, int32_t member, size_t topic)
{
    if (member < 0 || (size_t) member >= self->member_count) return false;
    const struct weft_assign_member *it = &self->members[member];
    size_t low = 0, high = it->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (it->topics[middle] < topic)
            low = middle + 1;
        else
            high = middle;
    }
    return low < it->topic_count && it->topics[low] == topic;
}

static bool s_near(const struct weft_assign_topic *topic, uint32_t partition, uint32_t rack)
{
    if (!topic->rack_first || rack == UINT32_MAX) return false;
    for (uint32_t i = topic->rack_first[partition]; i < topic->rack_first[partition + 1]; i++)
        if (topic->racks[i] == rack) return true;
    return false;
}

// The least loaded of those that read the topic, in racks of the partition only or in all; -1: nobody.
static int32_t s_least(const struct s_plan *self, size_t topic, uint32_t partition, bool near)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < self->reader_counts[topic]; i++) {
        const struct s_class *class = &self->classes[self->readers[topic][i]];
        if (near && !s_near(&self->topics[topic], partition, class->rack)) continue;
        if (best < 0 || s_less(self, class->heap[0], best)) best = class->heap[0];
    }
    return best;
}

static void s_give(struct s_plan *self, size_t topic, uint32_t partition, int32_t member)
{
    self->owner[topic][partition] = member;
    s_load_add(self, member, 1);
}

// ---- uniform, equal subscriptions

/** Who may have how many. */
struct s_quota {
    uint32_t each, longer; // `longer` members have each + 1
    uint32_t longer_left;
};

// Those with more than `each` keep one more, as many as there are such quotas.
static void s_quota_reserve(const struct s_plan *self, struct s_quota *quota, uint32_t *keep)
{
    quota->longer_left = quota->longer;
    for (size_t k = 0; k < self->member_count; k++) {
        int32_t member = self->ranked[k];
        bool one_more = self->load[member] > quota->each && quota->longer_left;
        keep[member] = quota->each + one_more;
        quota->longer_left -= one_more;
    }
}

// Takes what members have above `keep`: what is far from their rack first.
static void s_quota_cut(struct s_plan *self, const uint32_t *keep, bool far_only)
{
    for (size_t t = self->topic_count; t-- > 0;) {
        for (uint32_t p = self->topics[t].partition_count; p-- > 0;) {
            int32_t member = self->owner[t][p];
            if (member < 0 || self->load[member] <= keep[member]) continue;
            if (far_only && s_near(&self->topics[t], p, self->members[member].rack)) continue;
            self->owner[t][p] = -1;
            s_load_add(self, member, -1);
        }
    }
}

static void s_quota_give(struct s_plan *self, struct s_quota *quota, bool near)
{
    for (size_t t = 0; t < self->topic_count; t++) {
        for (uint32_t p = 0; p < self->topics[t].partition_count; p++) {
            if (self->owner[t][p] >= 0) continue;
            int32_t member = s_least(self, t, p, near);
            if (member < 0) continue;
            bool one_more = self->load[member] >= quota->each;
            if (one_more && (self->load[member] > quota->each || !quota->longer_left)) continue;
            quota->longer_left -= one_more;
            s_give(self, t, p, member);
        }
    }
}

static void s_uniform_equal(struct s_plan *self, bool racks)
{
    uint64_t total = 0;
    for (size_t i = 0; i < self->members[0].topic_count; i++)
        total += self->topics[self->members[0].topics[i]].partition_count;
    struct s_quota quota = {.each = (uint32_t) (total / self->member_count),
                            .longer = (uint32_t) (total % self->member_count)};
    uint32_t *keep = weft_alloc(self->member_count * sizeof *keep);
    s_quota_reserve(self, &quota, keep);
    if (racks) s_quota_cut(self, keep, true);
    s_quota_cut(self, keep, false);
    free(keep);
    if (racks) s_quota_give(self, &quota, true);
    s_quota_give(self, &quota, false);
}

// ---- uniform, different subscriptions

struct s_choice {
    uint32_t topic;
    uint64_t readers; // members
};

static int s_choice_compare(const void *a, const void *b)
{
    const struct s_choice *x = a, *y = b;
    if (x->readers != y->readers) return x->readers < y->readers ? -1 : 1;
    return x->topic < y->topic ? -1 : x->topic > y->topic;
}

static int32_t s_choose(struct s_plan *self, size_t topic, uint32_t partition)
{
    bool racks = self->topics[topic].rack_first;
    int32_t any = s_least(self, topic, partition, false), near = racks ? s_least(self, topic, partition, true) : -1;
    self->work += self->reader_counts[topic] * (1u + racks);
    return near >= 0 && self->load[near] <= self->load[any] ? near : any;
}

static int32_t s_least_of_few(const struct s_plan *self, size_t topic, uint32_t turn)
{
    int32_t best = -1;
    for (uint32_t i = 0; i < S_FEW; i++) {
        uint32_t reader = (turn * S_FEW + i) % self->reader_counts[topic];
        int32_t it = self->classes[self->readers[topic][reader]].heap[0];
        if (best < 0 || s_less(self, it, best)) best = it;
    }
    return best;
}

// Free partitions to the least loaded, topics first that few read.
static void s_fill(struct s_plan *self, const struct s_choice *choices)
{
    uint32_t turn = 0;
    for (size_t i = 0; i < self->topic_count; i++) {
        size_t t = choices[i].topic;
        for (uint32_t p = 0; self->reader_counts[t] && p < self->topics[t].partition_count; p++) {
            if (self->owner[t][p] >= 0) continue;
            int32_t to = self->work < S_WORK_MAX ? s_choose(self, t, p) : s_least_of_few(self, t, turn++);
            s_give(self, t, p, to);
        }
    }
}

// One walk over all partitions, or until the work is too much; returns whether something moved.
static bool s_level(struct s_plan *self, const struct s_choice *choices)
{
    bool moved = false;
    for (size_t i = 0; i < self->topic_count && self->work < S_WORK_MAX; i++) {
        size_t t = choices[i].topic;
        if (self->reader_counts[t] == 0) continue;
        int32_t to = s_least(self, t, 0, false); // until something moves
        self->work += self->reader_counts[t] + self->topics[t].partition_count;
        for (uint32_t p = 0; p < self->topics[t].partition_count && self->work < S_WORK_MAX; p++) {
            int32_t from = self->owner[t][p];
            if (self->load[from] < self->load[to] + 2) continue;
            s_load_add(self, from, -1);
            s_give(self, t, p, to);
            to = s_least(self, t, p, false);
            self->work += self->reader_counts[t];
            moved = true;
        }
    }
    return moved;
}

static void s_uniform_different(struct s_plan *self)
{
    struct s_choice *choices = weft_calloc(self->topic_count, sizeof *choices);
    for (size_t t = 0; t < self->topic_count; t++) {
        choices[t].topic = (uint32_t) t;
        for (uint32_t i = 0; i < self->reader_counts[t]; i++)
            choices[t].readers += self->classes[self->readers[t][i]].count;
    }
    qsort(choices, self->topic_count, sizeof *choices, s_choice_compare);
    s_fill(self, choices);
    while (self->work < S_WORK_MAX && s_level(self, choices)) continue;
    free(choices);
}

static void s_uniform(struct s_plan *self)
{
    self->load = weft_calloc(self->member_count, sizeof *self->load);
    self->class_of = weft_calloc(self->member_count, sizeof *self->class_of);
    self->heap_at = weft_calloc(self->member_count, sizeof *self->heap_at);
    self->heaps = weft_calloc(self->member_count, sizeof *self->heaps);
    self->classes = weft_calloc(self->member_count, sizeof *self->classes);
    bool equal = s_classify(self), racks = false;
    s_readers(self);
    for (size_t t = 0; t < self->topic_count; t++) {
        racks = racks || self->topics[t].rack_first;
        for (uint32_t p = 0; p < self->topics[t].partition_count; p++) {
            int32_t member = self->owner[t][p];
            if (s_reads(self, member, t))
                s_load_add(self, member, 1);
            else
                self->owner[t][p] = -1;
        }
    }
    if (equal)
        s_uniform_equal(self, racks);
    else
        s_uniform_different(self);
    free(self->load);
    free(self->class_of);
    free(self->heap_at);
    free(self->heaps);
    free(self->classes);
    free(self->readers);
    free(self->reader_counts);
    free(self->reader_ids);
}

void weft_assign(enum weft_assignor assignor, const struct weft_assign_topic *topics, size_t topic_count,
                 const struct weft_assign_member *members, size_t member_count, int32_t *const *owner)
{
    struct s_plan self = {
        .topics = topics, .topic_count = topic_count, .members = members, .member_count = member_count, .owner = owner};
    weft_assert(member_count && member_count <= INT32_MAX);
    s_rank(&self);
    if (assignor == WEFT_ASSIGNOR_RANGE)
        s_range(&self);
    else
        s_uniform(&self);
    free(self.rank);
    free(self.ranked);
}
