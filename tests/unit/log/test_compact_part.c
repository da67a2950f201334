// SPDX-License-Identifier: MPL-2.0
// The compact part under a world of one part: requests go in by hand, what it posts is collected.
#include "compact_fixture.h"

#include "../../../lib/log/compact_part.h"

struct world {
    struct compact_fixture *log;
    struct weft_part *part;
    struct weft_mail posted[4];
    size_t posted_count;
};

static void s_post(void *context, weft_part_id_t to, const struct weft_mail *mail)
{
    struct world *self = context;
    assert_int_equal(to, 3);
    assert_int_equal(mail->kind, WEFT_MAIL_COMPACTED);
    self->posted[self->posted_count++] = *mail;
}

static weft_part_id_t s_self_id(void *context)
{
    return 9;
}

static const struct weft_port_ops s_ops = {.post = s_post, .self_id = s_self_id};

static void s_begin(struct world *self, int64_t bytes_per_s)
{
    void *log;
    const struct weft_port port = {&s_ops, self};
    memset(self, 0, sizeof *self);
    compact_setup(&log);
    self->log = log;
    self->log->log.config.segment_bytes = 8 << 20;
    weft_log_configure(self->log->log.log, &self->log->log.config);
    self->part = weft_compact_part_new("compact", bytes_per_s);
    self->part->ops->start(self->part, &port);
}

static void s_end(struct world *self)
{
    void *log = self->log;
    for (size_t i = 0; i < self->posted_count; i++) self->posted[i].body_free(self->posted[i].body);
    self->part->ops->destroy(&self->part);
    compact_teardown(&log);
}

// So many bytes of records, sealed; a run over them is posted to the part.
static weft_compact_t *s_post_run(struct world *self, int64_t bytes)
{
    struct item items[60] = {{0}};
    while (weft_log_bytes(self->log->log.log) < bytes) {
        for (int i = 0; i < 60; i++) items[i].key = i;
        compact_append(self->log, items, 60);
    }
    compact_roll(self->log);
    struct weft_compact_request *request = weft_calloc(1, sizeof *request);
    assert_true(compact_begin(self->log, &request->job));
    request->owner = self;
    struct weft_mail mail = {
        .from = 3, .kind = WEFT_MAIL_COMPACT, .body = request, .body_free = weft_compact_request_free, .number = 5};
    self->part->ops->mail(self->part, &mail);
    return request->job;
}

static bool s_take(struct world *self)
{
    assert_int_equal(self->posted_count, 1);
    struct weft_compact_request *request = self->posted[--self->posted_count].body;
    assert_ptr_equal(request->owner, self);
    assert_int_equal(self->posted[0].number, 5);
    assert_ok(weft_log_compact_done(self->log->log.log, &request->job, &self->log->report));
    weft_compact_request_free(request);
    compact_check(self->log);
    return self->log->report.swapped;
}

static void test_compact_part__runs_and_gives_back(void **state)
{
    struct world self;
    s_begin(&self, 0);
    assert_true(self.part->ops->turn(self.part, 0) == WEFT_TIME_NEVER);
    (void) s_post_run(&self, 3 << 20);
    int turns = 0;
    while (self.posted_count == 0) {
        assert_true(self.part->ops->turn(self.part, 1000) == 1000); // at once, mail is read in between
        turns++;
    }
    assert_true(turns > 3); // a megabyte or so each
    assert_true(self.part->ops->turn(self.part, 1000) == WEFT_TIME_NEVER);
    assert_true(s_take(&self));
    s_end(&self);
}

static void test_compact_part__keeps_to_its_rate_without_sleeping(void **state)
{
    struct world self;
    s_begin(&self, 1 << 20); // a second for each megabyte
    (void) s_post_run(&self, 3 << 20);
    int64_t now_us = 0;
    while (self.posted_count == 0) {
        int64_t next_us = self.part->ops->turn(self.part, now_us);
        if (next_us > now_us) now_us = next_us;
    }
    assert_true(s_take(&self));
    int64_t moved = self.log->report.read_bytes + self.log->report.written_bytes;
    assert_true(now_us > (moved - (3 << 20)) && now_us < (moved + (3 << 20))); // about a microsecond a byte
    s_end(&self);
}

static void test_compact_part__stop_ends_what_is_under_way(void **state)
{
    struct world self;
    s_begin(&self, 1000); // it would take hours
    (void) s_post_run(&self, 3 << 20);
    int64_t next_us = self.part->ops->turn(self.part, 0);
    assert_int_equal(next_us, 0);
    assert_true(self.part->ops->turn(self.part, 0) > 60 * 1000000);
    self.part->ops->stop(self.part);
    assert_false(self.part->ops->stopped(self.part));
    self.part->ops->turn(self.part, 1);
    assert_true(self.part->ops->stopped(self.part));
    assert_false(s_take(&self));
    s_end(&self);
}

static void test_compact_part__cancelled_run_comes_back_at_the_next_turn(void **state)
{
    struct world self;
    s_begin(&self, 1000);
    weft_compact_t *job = s_post_run(&self, 3 << 20);
    self.part->ops->turn(self.part, 0);
    struct weft_mail wake = {.kind = WEFT_MAIL_COMPACT};
    self.part->ops->mail(self.part, &wake); // says nothing
    self.part->ops->turn(self.part, 0);
    assert_int_equal(self.posted_count, 0);
    weft_compact_cancel(job);
    self.part->ops->turn(self.part, 0);
    assert_false(s_take(&self));
    s_end(&self);
}

static void test_compact_part__destroyed_with_work_it_frees_it(void **state)
{
    struct world self;
    s_begin(&self, 0);
    (void) s_post_run(&self, 1 << 20);
    self.part->ops->turn(self.part, 0);
    s_end(&self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compact_part__runs_and_gives_back),
        cmocka_unit_test(test_compact_part__keeps_to_its_rate_without_sleeping),
        cmocka_unit_test(test_compact_part__stop_ends_what_is_under_way),
        cmocka_unit_test(test_compact_part__cancelled_run_comes_back_at_the_next_turn),
        cmocka_unit_test(test_compact_part__destroyed_with_work_it_frees_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
