// SPDX-License-Identifier: MPL-2.0
/*
 * Golden traces: interleavings of REPLICATION.md, played on real replicas and sessions over toy logs.
 *
 * A trace file (tests/trace/<name>.trace) is commands, each followed by indented lines: exactly what the replica did.
 *     A start [incarnation=N] [lose=yes]     opens replica A (broker 1; B is 2 ...) on its log; lose: unsynced batches are gone
 *     A assign epoch=E part=P leader=A [min=N] members=A1*,B1    a member is name and incarnation, * if in sync
 *     A produce token=T [acks=all] [durable=yes] [id=I] [epoch=N] [seq=S] [count=10] [times=N] [fail=CODE]
 *                                            times: so many batches on end, of whose effects only the log end is shown
 *     A sync [to=N] | A follow from=B [to=N] | A marks from=B | A align with=B | A tick now=MS | A trim to=N
 *     A report from=B [epoch=E] [log=N] [synced=N] [begin=N] [incarnation=N] [now=MS]   what B would say, unless told otherwise
 *     A reset to=N                                       its log is emptied and begins there
 *     A state | A log | A deleted
 * After every command all invariants are checked, and that the sessions equal those replayed from the log (R7).
 */
#include "../../lib/core/replica.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REPLICAS 4
#define BATCHES_MAX 256
#define SESSIONS_MAX 8
#define EXPIRY_MS 1000000000

struct toy {
    weft_replica_t *replica;
    int incarnation;
    struct weft_batch log[BATCHES_MAX];
    size_t batch_count;
    int64_t start, synced;
};

struct play {
    struct toy toys[REPLICAS];
    weft_buf_t actual; // lines that the last command gave
    const char *file;
    int line;
    char arguments[16][96];
    int argument_count;
};

static weft_id_t s_id(int broker, int incarnation)
{
    return (weft_id_t){.bytes = {(uint8_t) broker, (uint8_t) incarnation}};
}

static int64_t s_end(const struct toy *toy)
{
    return toy->batch_count == 0 ? toy->start : weft_batch_next_offset(&toy->log[toy->batch_count - 1]);
}

static int32_t s_last_epoch(const struct toy *toy)
{
    return toy->batch_count == 0 ? -1 : toy->log[toy->batch_count - 1].leader_epoch;
}

static void s_cut(struct toy *toy, int64_t end)
{
    while (toy->batch_count > 0 && s_end(toy) > end) toy->batch_count--;
    if (toy->synced > s_end(toy)) toy->synced = s_end(toy);
}

static void s_epoch_end(const struct toy *toy, int32_t epoch, int32_t *found, int64_t *end)
{
    *found = -1;
    *end = toy->start;
    for (size_t i = 0; i < toy->batch_count && toy->log[i].leader_epoch <= epoch; i++) {
        *found = toy->log[i].leader_epoch;
        *end = weft_batch_next_offset(&toy->log[i]);
    }
}

static void s_replay(const struct toy *toy, weft_sessions_t *sessions)
{
    weft_sessions_clear(sessions);
    for (size_t i = 0; i < toy->batch_count; i++) weft_sessions_apply(sessions, &toy->log[i]);
}

// ---- what a command may name

static const char *s_text(const struct play *play, const char *key, const char *otherwise)
{
    size_t size = strlen(key);
    for (int i = 0; i < play->argument_count; i++) {
        const char *argument = play->arguments[i];
        if (strncmp(argument, key, size) == 0 && argument[size] == '=') return argument + size + 1;
    }
    return otherwise;
}

static int64_t s_number(const struct play *play, const char *key, int64_t otherwise)
{
    const char *text = s_text(play, key, NULL);
    return text == NULL ? otherwise : strtoll(text, NULL, 10);
}

static bool s_yes(const struct play *play, const char *key, const char *otherwise)
{
    return strcmp(s_text(play, key, otherwise), "yes") == 0;
}

static int s_broker(const char *name) // A is 1
{
    return name[0] - 'A' + 1;
}

static struct toy *s_toy(struct play *play, const char *name)
{
    assert_in_range(s_broker(name), 1, REPLICAS);
    return &play->toys[s_broker(name) - 1];
}

static weft_err_t s_code(const char *name)
{
    for (int32_t number = 0; number < 2000; number++) {
        if (strcmp(weft_err_name(weft_err_of_number(number)), name) == 0) return weft_err_of_number(number);
    }
    fail_msg("no error is called %s", name);
    return WEFT_OK;
}

// ---- effects

static const char *s_level(enum weft_level level)
{
    static const char *const names[] = {"none", "leader", "committed", "durable"};
    return names[level];
}

static void s_print_ask(struct play *play, const struct weft_replica_assignment *proposal)
{
    weft_buf_printf(&play->actual, "ask %d.%d", proposal->leader_epoch, proposal->partition_epoch);
    for (size_t i = 0; i < proposal->member_count; i++) {
        if (!proposal->members[i].in_sync) continue;
        weft_buf_printf(&play->actual, " %c%d", 'A' + proposal->members[i].broker - 1,
                        proposal->members[i].incarnation.bytes[1]);
    }
    weft_buf_printf(&play->actual, "\n");
}

static void s_print_reply(struct play *play, const struct weft_replica_effect *effect)
{
    weft_buf_printf(&play->actual, "reply %llu ", (unsigned long long) effect->token);
    if (effect->code != WEFT_OK) {
        weft_buf_printf(&play->actual, "%s\n", weft_err_name(effect->code));
        return;
    }
    weft_buf_printf(&play->actual, "offset %lld %s%s\n", (long long) effect->offset, s_level(effect->level),
                    effect->duplicate ? " duplicate" : "");
}

static void s_effects(struct play *play, struct toy *toy)
{
    struct weft_replica_effect effect;
    while (weft_replica_effect(toy->replica, &effect)) {
        switch (effect.type) {
        case WEFT_REPLICA_REPLY: s_print_reply(play, &effect); break;
        case WEFT_REPLICA_COMMITTED:
            weft_buf_printf(&play->actual, "committed %lld\n", (long long) effect.offset);
            break;
        case WEFT_REPLICA_DURABLE: weft_buf_printf(&play->actual, "durable %lld\n", (long long) effect.offset); break;
        case WEFT_REPLICA_TRUNCATE:
            weft_buf_printf(&play->actual, "truncate %lld\n", (long long) effect.offset);
            s_cut(toy, effect.offset);
            s_replay(toy, weft_replica_sessions(toy->replica));
            weft_replica_truncated(toy->replica, s_end(toy), s_last_epoch(toy));
            break;
        case WEFT_REPLICA_ASK_ISR: s_print_ask(play, &effect.proposal); break;
        }
    }
}

static void s_refused(struct play *play, weft_err_t err)
{
    if (err != WEFT_OK) weft_buf_printf(&play->actual, "refused %s\n", weft_err_name(err));
}

// ---- commands

static void s_start(struct play *play, struct toy *toy, int broker)
{
    weft_replica_destroy(&toy->replica);
    toy->incarnation = (int) s_number(play, "incarnation", toy->incarnation + 1);
    if (s_yes(play, "lose", "no")) s_cut(toy, toy->synced);
    toy->replica = weft_replica_new(&(struct weft_replica_config){.self = broker,
                                                                  .sessions_max = SESSIONS_MAX,
                                                                  .session_expiry_ms = EXPIRY_MS,
                                                                  .waiters_max = 100,
                                                                  .replica_lag_ms = 1000,
                                                                  .incarnation = s_id(broker, toy->incarnation)});
    s_replay(toy, weft_replica_sessions(toy->replica));
    weft_replica_opened(toy->replica, toy->start, s_end(toy), toy->synced, s_last_epoch(toy));
}

static void s_assign(struct play *play, struct toy *toy, int broker)
{
    struct weft_replica_assignment assignment = {.leader_epoch = (int32_t) s_number(play, "epoch", 1),
                                                 .partition_epoch = (int32_t) s_number(play, "part", 1),
                                                 .leader = s_broker(s_text(play, "leader", "A")),
                                                 .min_insync = (uint32_t) s_number(play, "min", 1)};
    for (const char *at = s_text(play, "members", ""); *at != '\0';) { // A1*,B1,...
        struct weft_replica_member *member = &assignment.members[assignment.member_count++];
        char *end;
        member->broker = s_broker(at);
        member->incarnation = s_id(member->broker, (int) strtol(at + 1, &end, 10));
        member->in_sync = *end == '*';
        at = end + (*end == '*' ? 1 : 0);
        if (*at == ',') at++;
    }
    s_refused(play, weft_replica_assign(toy->replica, &assignment, s_number(play, "now", 0)));
}

static void s_produce_one(struct play *play, struct toy *toy, int32_t sequence)
{
    const char *acks = s_text(play, "acks", "all");
    uint32_t count = (uint32_t) s_number(play, "count", 10);
    struct weft_batch batch = {.format = 1,
                               .count = count,
                               .last_offset_delta = count - 1,
                               .producer_id = s_number(play, "id", -1),
                               .producer_epoch = (int16_t) s_number(play, "epoch", 0),
                               .base_sequence = sequence};
    struct weft_replica_produce produce = {
        .token = (uint64_t) s_number(play, "token", 0),
        .acks = strcmp(acks, "all") == 0      ? WEFT_ACKS_ALL
                : strcmp(acks, "leader") == 0 ? WEFT_ACKS_LEADER
                                              : WEFT_ACKS_NONE,
        .durable = s_yes(play, "durable", "yes"),
        .batch = &batch,
    };
    int64_t base;
    int32_t epoch;
    if (weft_replica_produce(toy->replica, &produce, &base, &epoch) != WEFT_REPLICA_APPEND) return;
    const char *failure = s_text(play, "fail", NULL);
    if (failure != NULL) {
        weft_replica_append_failed(toy->replica, &produce, s_code(failure));
        return;
    }
    weft_buf_printf(&play->actual, "append %lld epoch %d\n", (long long) base, epoch);
    batch.base_offset = base;
    batch.leader_epoch = epoch;
    assert_true(toy->batch_count < BATCHES_MAX);
    toy->log[toy->batch_count++] = batch;
    weft_replica_appended(toy->replica, &produce, &batch);
}

static void s_produce(struct play *play, struct toy *toy, int broker)
{
    int64_t sequence = s_number(play, "seq", 0), count = s_number(play, "count", 10);
    int64_t times = s_number(play, "times", 1);
    for (int64_t i = 0; i < times; i++) s_produce_one(play, toy, (int32_t) (sequence + i * count));
    if (times == 1) return;
    s_effects(play, toy);
    weft_buf_clear(&play->actual);
    weft_buf_printf(&play->actual, "appended to %lld\n", (long long) s_end(toy));
}

static void s_sync(struct play *play, struct toy *toy, int broker)
{
    int64_t to = s_number(play, "to", s_end(toy));
    if (to > toy->synced) toy->synced = to;
    weft_replica_synced(toy->replica, to);
}

static void s_follow(struct play *play, struct toy *toy, int broker)
{
    const struct toy *from = s_toy(play, s_text(play, "from", "A"));
    int64_t to = s_number(play, "to", s_end(from));
    for (size_t i = 0; i < from->batch_count && weft_batch_next_offset(&from->log[i]) <= to; i++) {
        if (from->log[i].base_offset < s_end(toy)) continue;
        toy->log[toy->batch_count++] = from->log[i];
        weft_replica_followed(toy->replica, &from->log[i]);
    }
}

static void s_marks(struct play *play, struct toy *toy, int broker)
{
    const struct toy *from = s_toy(play, s_text(play, "from", "A"));
    weft_replica_leader_marks(toy->replica, weft_replica_committed(from->replica), weft_replica_durable(from->replica));
}

static void s_align(struct play *play, struct toy *toy, int broker)
{
    const struct toy *with = s_toy(play, s_text(play, "with", "A"));
    int32_t leader_epoch, own_epoch;
    int64_t leader_end, own_end;
    s_epoch_end(with, s_last_epoch(toy), &leader_epoch, &leader_end);
    s_epoch_end(toy, leader_epoch, &own_epoch, &own_end);
    weft_replica_diverged(toy->replica, leader_epoch, leader_end, own_epoch, own_end);
}

static void s_report(struct play *play, struct toy *toy, int broker)
{
    const char *name = s_text(play, "from", "B");
    const struct toy *from = s_toy(play, name);
    int incarnation = (int) s_number(play, "incarnation", from->incarnation);
    int32_t epoch = (int32_t) s_number(play, "epoch", weft_replica_leader_epoch(from->replica));
    if (weft_replica_knows(toy->replica, s_broker(name), s_id(s_broker(name), incarnation), epoch) == WEFT_OK)
        weft_replica_starts(toy->replica, s_broker(name), s_number(play, "begin", from->start));
    s_refused(play, weft_replica_report(toy->replica, s_broker(name), s_id(s_broker(name), incarnation), epoch,
                                        s_number(play, "log", s_end(from)), s_number(play, "synced", from->synced),
                                        s_number(play, "now", 0)));
}

static void s_tick(struct play *play, struct toy *toy, int broker)
{
    weft_replica_tick(toy->replica, s_number(play, "now", 0));
}

static void s_trim(struct play *play, struct toy *toy, int broker)
{
    toy->start = s_number(play, "to", 0);
    weft_replica_trimmed(toy->replica, toy->start);
}

static void s_reset(struct play *play, struct toy *toy, int broker)
{
    toy->start = toy->synced = s_number(play, "to", 0);
    toy->batch_count = 0;
    weft_replica_reset(toy->replica, toy->start);
}

static void s_deleted(struct play *play, struct toy *toy, int broker)
{
    weft_buf_printf(&play->actual, "below %lld\n", (long long) weft_replica_deleted(toy->replica));
}

static void s_state(struct play *play, struct toy *toy, int broker)
{
    static const char *const roles[] = {"none", "leader", "follower"};
    const weft_replica_t *replica = toy->replica;
    weft_buf_printf(&play->actual, "%s epoch %d log %lld synced %lld committed %lld durable %lld waiters %zu%s\n",
                    roles[weft_replica_role(replica)], weft_replica_leader_epoch(replica),
                    (long long) weft_replica_log_end(replica), (long long) weft_replica_synced_end(replica),
                    (long long) weft_replica_committed(replica), (long long) weft_replica_durable(replica),
                    weft_replica_waiter_count(replica),
                    weft_replica_settled(replica)   ? " settled"
                    : weft_replica_aligned(replica) ? " aligned"
                                                    : "");
}

static void s_log(struct play *play, struct toy *toy, int broker)
{
    for (size_t i = 0; i < toy->batch_count; i++) {
        weft_buf_printf(&play->actual, "%s%lld@%d", i == 0 ? "" : " ", (long long) toy->log[i].base_offset,
                        toy->log[i].leader_epoch);
    }
    weft_buf_printf(&play->actual, "%sto %lld\n", toy->batch_count == 0 ? "" : " ", (long long) s_end(toy));
}

static const struct {
    const char *name;
    void (*run)(struct play *play, struct toy *toy, int broker);
} s_commands[] = {{"start", s_start},   {"assign", s_assign},  {"produce", s_produce}, {"sync", s_sync},
                  {"follow", s_follow}, {"marks", s_marks},    {"align", s_align},     {"report", s_report},
                  {"tick", s_tick},     {"trim", s_trim},      {"state", s_state},     {"log", s_log},
                  {"reset", s_reset},   {"deleted", s_deleted}};

// ---- playing a file

static void s_check_sessions(const struct toy *toy) // R7
{
    weft_sessions_t *replayed = weft_sessions_new(SESSIONS_MAX, EXPIRY_MS);
    s_replay(toy, replayed);
    weft_buf_t a, b;
    weft_buf_init(&a);
    weft_buf_init(&b);
    weft_sessions_encode(replayed, &a);
    weft_sessions_encode(weft_replica_sessions(toy->replica), &b);
    assert_true(weft_slice_equal(weft_buf_slice(&a), weft_buf_slice(&b)));
    weft_buf_fini(&a);
    weft_buf_fini(&b);
    weft_sessions_destroy(&replayed);
}

static void s_split(struct play *play, char *line)
{
    play->argument_count = 0;
    for (char *word = strtok(line, " \n"); word != NULL; word = strtok(NULL, " \n")) {
        assert_true(play->argument_count < 16 && strlen(word) < sizeof play->arguments[0]);
        strcpy(play->arguments[play->argument_count++], word);
    }
}

static void s_run(struct play *play, char *line)
{
    s_split(play, line);
    struct toy *toy = s_toy(play, play->arguments[0]);
    size_t i = 0, count = sizeof s_commands / sizeof s_commands[0];
    while (i < count && strcmp(s_commands[i].name, play->arguments[1]) != 0) i++;
    if (i == count) fail_msg("%s:%d: no command %s", play->file, play->line, play->arguments[1]);
    s_commands[i].run(play, toy, s_broker(play->arguments[0]));
    s_effects(play, toy);
    weft_replica_check(toy->replica);
    s_check_sessions(toy);
}

// Takes one line off what happened and compares it.
static void s_expect(struct play *play, const char *line)
{
    while (*line == ' ') line++;
    size_t size = strcspn(line, "\n");
    char *actual = (char *) play->actual.data;
    size_t got = play->actual.size == 0 ? 0 : strcspn(actual, "\n");
    if (play->actual.size == 0 || got != size || memcmp(actual, line, size) != 0) {
        fail_msg("%s:%d: expected \"%.*s\", got \"%.*s\"", play->file, play->line, (int) size, line, (int) got,
                 play->actual.size == 0 ? "" : actual);
    }
    play->actual.size -= got + 1;
    memmove(actual, actual + got + 1, play->actual.size);
}

static void s_expect_no_more(const struct play *play)
{
    if (play->actual.size == 0) return;
    fail_msg("%s:%d: before this line it also did: %.*s", play->file, play->line, (int) play->actual.size,
             (char *) play->actual.data);
}

static void s_play(const char *directory, const char *name)
{
    char path[512], line[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct play *play = weft_calloc(1, sizeof *play);
    play->file = name;
    weft_buf_init(&play->actual);
    while (fgets(line, sizeof line, file) != NULL) {
        play->line++;
        if (line[0] == '#' || line[0] == '\n') continue;
        if (line[0] == ' ') {
            s_expect(play, line);
            continue;
        }
        s_expect_no_more(play);
        s_run(play, line);
    }
    s_expect_no_more(play);
    fclose(file);
    for (int i = 0; i < REPLICAS; i++) weft_replica_destroy(&play->toys[i].replica);
    weft_buf_fini(&play->actual);
    free(play);
}

static void test_traces__every_interleaving_gives_its_effects(void **state)
{
    (void) state;
    char directory[512];
    snprintf(directory, sizeof directory, "%s", __FILE__);
    *strrchr(directory, '/') = '\0';
    struct dirent **entries;
    int count = scandir(directory, &entries, NULL, alphasort), played = 0;
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        size_t size = strlen(entries[i]->d_name);
        if (size > 6 && strcmp(entries[i]->d_name + size - 6, ".trace") == 0) {
            s_play(directory, entries[i]->d_name);
            played++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_in_range(played, 10, 1000); // none was lost on the way
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_traces__every_interleaving_gives_its_effects)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
