// SPDX-License-Identifier: MPL-2.0
/*
 * Fuzzes the state machine of consumer groups. The first byte chooses: a program of events, a byte an event and more its
 * arguments, as a coordinator and its members make them; commands as they come from a damaged log; or a snapshot as it
 * comes from a damaged disk, and a program that goes on with it. All invariants are asked after every command, what is
 * encoded must decode to the same, and at the end of a program, when everybody has carried out what he was told, nothing
 * is left over.
 */
#include "../../lib/base/assert.h"
#include "../../lib/core/groups.h"

#include <weft_gen/commands.h>

#include <string.h>

#define TOPICS 4
#define MEMBERS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

struct world {
    struct input input;
    weft_cluster_t *cluster;
    weft_groups_t *groups;
    uint64_t index;
    uint32_t next_topic;
    weft_buf_t command;
};

static uint32_t s_byte(struct input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

static weft_id_t s_id(uint32_t number)
{
    return (weft_id_t){.bytes = {1, (uint8_t) (number >> 8), (uint8_t) number}};
}

static weft_err_t s_apply(struct world *world)
{
    weft_slice_t command = weft_buf_slice(&world->command);
    struct weft_error error;
    world->index++;
    weft_err_t err = weft_groups_command(command)
                         ? weft_groups_apply(world->groups, world->cluster, world->index, command, NULL, NULL, &error)
                         : weft_cluster_apply(world->cluster, world->index, command, NULL, NULL, &error);
    weft_groups_check(world->groups);
    weft_buf_clear(&world->command);
    return err;
}

static void s_open(struct world *world)
{
    world->cluster = weft_cluster_new();
    world->groups = weft_groups_new();
    weft_buf_init(&world->command);
    struct weft_level_raised_command level;
    weft_level_raised_command_init(&level);
    level.level = 2;
    weft_level_raised_command_encode(&level, &world->command);
    (void) s_apply(world);
    struct weft_broker_registered_command broker;
    weft_broker_registered_command_init(&broker);
    weft_slice_t endpoint = weft_slice_text("inproc://a");
    broker.incarnation = s_id(1);
    broker.rack = weft_slice_text("a");
    broker.endpoints = &endpoint;
    broker.endpoints_count = 1;
    weft_broker_registered_command_encode(&broker, &world->command);
    (void) s_apply(world);
}

static void s_close(struct world *world)
{
    weft_groups_destroy(&world->groups);
    weft_cluster_destroy(&world->cluster);
    weft_buf_fini(&world->command);
}

static void s_through_snapshot(struct world *world)
{
    weft_buf_t bytes;
    weft_buf_init(&bytes);
    weft_groups_encode(world->groups, &bytes);
    weft_groups_t *copy = weft_groups_new();
    weft_assert(weft_groups_decode(copy, weft_buf_slice(&bytes)) == WEFT_OK);
    weft_assert(weft_groups_digest(copy) == weft_groups_digest(world->groups));
    weft_groups_destroy(&world->groups);
    world->groups = copy;
    weft_buf_fini(&bytes);
}

static const struct weft_group *s_group(const struct world *world)
{
    return weft_groups_find(world->groups, weft_slice_text("g"));
}

// ---- events

static void s_topic(struct world *world)
{
    static const char *const names[TOPICS] = {"a", "ab", "b", "__c"};
    uint32_t bits = s_byte(&world->input);
    const struct weft_cluster_topic *topic =
        weft_cluster_topic_by_name(world->cluster, weft_slice_text(names[bits % TOPICS]));
    int32_t replica = 0;
    struct weft_placement placement[4];
    for (size_t i = 0; i < 4; i++) placement[i] = (struct weft_placement){.replicas = &replica, .replicas_count = 1};
    if (!topic) {
        struct weft_topic_created_command it;
        weft_topic_created_command_init(&it);
        it.topic_id = s_id(++world->next_topic + 1000);
        it.topic = weft_slice_text(names[bits % TOPICS]);
        it.placement = placement;
        it.placement_count = 1 + (bits >> 2) % 4;
        weft_topic_created_command_encode(&it, &world->command);
    } else if (bits & 0x80) {
        struct weft_topic_deleted_command it;
        weft_topic_deleted_command_init(&it);
        it.topic_id = topic->id;
        weft_topic_deleted_command_encode(&it, &world->command);
    } else {
        struct weft_partitions_added_command it;
        weft_partitions_added_command_init(&it);
        it.topic_id = topic->id;
        it.from = topic->partition_count;
        it.placement = placement;
        it.placement_count = 1;
        weft_partitions_added_command_encode(&it, &world->command);
    }
    (void) s_apply(world);
}

static void s_join(struct world *world)
{
    static const char *const topics[] = {"a", "ab", "b", "__c", "a*", "*", "?", "__*", "[ab]", "["};
    static const char *const instances[] = {NULL, "x", "y", "z"};
    uint32_t bits = s_byte(&world->input), more = s_byte(&world->input);
    weft_slice_t subscription[2] = {weft_slice_text(topics[more % 10]), weft_slice_text(topics[(more / 10) % 10])};
    struct weft_group_joined_command it;
    weft_group_joined_command_init(&it);
    it.group = weft_slice_text("g");
    it.member = s_id(1 + bits % MEMBERS);
    if (bits & 8) it.replaces = s_id(1 + (bits >> 5));
    it.keeps = more >= 200;
    it.instance = weft_slice_text(instances[(bits >> 4) & 3]);
    it.topics = subscription;
    it.topics_count = more % 3;
    if (more % 7 == 0) it.assignor = weft_slice_text(more & 1 ? "range" : "uniform");
    if (more & 4) it.rack = weft_slice_text(more & 8 ? "a" : "b");
    weft_group_joined_command_encode(&it, &world->command);
    (void) s_apply(world);
}

static void s_leave(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    struct weft_group_left_command it;
    weft_group_left_command_init(&it);
    weft_id_t ids[2] = {s_id(1 + bits % MEMBERS), s_id(1 + (bits >> 3) % MEMBERS)};
    it.group = weft_slice_text("g");
    it.members = ids;
    it.members_count = 1 + (bits >> 7);
    it.paused = bits & 0x40;
    weft_group_left_command_encode(&it, &world->command);
    (void) s_apply(world);
}

static weft_err_t s_release(struct world *world, const struct weft_group_member *member, uint64_t back)
{
    struct weft_group_released_command it;
    weft_group_released_command_init(&it);
    it.group = weft_slice_text("g");
    it.member = member->id;
    it.epoch = member->epoch;
    it.revision = back < member->revision ? member->revision - back : 0;
    weft_group_released_command_encode(&it, &world->command);
    return s_apply(world);
}

static void s_release_some(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    const struct weft_group *group = s_group(world);
    if (!group || group->member_count == 0) return;
    (void) s_release(world, group->members[(bits & 15) % group->member_count], bits >> 4);
}

static void s_plan(struct world *world)
{
    const struct weft_group *group = s_group(world);
    if (!group) return;
    weft_groups_plan(group, world->cluster, &world->command);
    if (world->command.size) weft_assert(s_apply(world) == WEFT_OK);
    weft_groups_check_target(world->groups, world->cluster);
}

static void s_other(struct world *world)
{
    uint32_t bits = s_byte(&world->input);
    if (bits & 1) {
        s_through_snapshot(world);
        return;
    }
    struct weft_group_deleted_command it;
    weft_group_deleted_command_init(&it);
    it.group = weft_slice_text("g");
    weft_group_deleted_command_encode(&it, &world->command);
    (void) s_apply(world);
}

static void s_rest(struct world *world)
{
    s_plan(world);
    const struct weft_group *group = s_group(world);
    for (size_t i = 0; group && i < group->member_count; i++)
        if (group->members[i]->dropped_count) weft_assert(s_release(world, group->members[i], 0) == WEFT_OK);
    for (size_t i = 0; group && i < group->member_count; i++)
        weft_assert(group->members[i]->paused || group->members[i]->hold_count == group->members[i]->target_count);
    s_through_snapshot(world);
}

static void s_program(struct world *world)
{
    static void (*const events[])(struct world *) = {s_join,  s_plan, s_release_some, s_leave, s_topic,
                                                     s_other, s_join, s_plan,         s_topic, s_release_some};
    while (world->input.at < world->input.end) events[s_byte(&world->input) % (sizeof events / sizeof *events)](world);
    s_rest(world);
}

// Commands, each led by its size in two bytes.
static void s_commands(struct world *world)
{
    while (world->input.at < world->input.end) {
        size_t size = s_byte(&world->input) << 8;
        size |= s_byte(&world->input);
        if (size > (size_t) (world->input.end - world->input.at)) size = (size_t) (world->input.end - world->input.at);
        weft_buf_append(&world->command, world->input.at, size);
        (void) s_apply(world);
        world->input.at += size;
    }
    s_through_snapshot(world);
}

// A snapshot, led by its size in two bytes, and a program.
static void s_snapshot(struct world *world)
{
    size_t size = s_byte(&world->input) << 8;
    size |= s_byte(&world->input);
    if (size > (size_t) (world->input.end - world->input.at)) size = (size_t) (world->input.end - world->input.at);
    weft_err_t err = weft_groups_decode(world->groups, weft_slice(world->input.at, size));
    weft_assert(err == WEFT_OK || weft_groups_index(world->groups) == 0); // refused: as it was
    weft_groups_check(world->groups);
    world->input.at += size;
    if (weft_groups_index(world->groups) > UINT64_MAX / 2) return; // no log is as long
    if (weft_groups_index(world->groups) > world->index) world->index = weft_groups_index(world->groups);
    s_program(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct world world = {.input = {data + 1, data + size}};
    s_open(&world);
    switch (data[0] % 4) {
    case 1: s_commands(&world); break;
    case 2: s_snapshot(&world); break;
    default: s_program(&world); break;
    }
    s_close(&world);
    return 0;
}
