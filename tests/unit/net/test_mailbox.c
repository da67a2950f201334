// SPDX-License-Identifier: MPL-2.0
#include "parts.h"

#include "lib/net/mailbox.h"

#include <poll.h>
#include <sys/resource.h>

#define SENDERS 4
#define MAILS 20000

struct sender {
    weft_mailbox_t *mailbox;
    weft_part_id_t id;
    pthread_t thread;
};

static void *s_send(void *argument)
{
    struct sender *self = argument;
    for (uint64_t i = 0; i < MAILS; i++) {
        assert_true(weft_mailbox_put(self->mailbox, &(struct weft_mail){.from = self->id, .number = i}));
    }
    return NULL;
}

static void s_sleep(weft_mailbox_t *mailbox)
{
    if (!weft_mailbox_sleep(mailbox)) return;
    struct pollfd item = {.fd = weft_mailbox_fd(mailbox), .events = POLLIN};
    int rc = poll(&item, 1, 10000); // a lost wake-up shows as a failure here
    assert_int_equal(rc, 1);
    weft_mailbox_awake(mailbox, true);
}

static void test_mailbox__keeps_the_order_of_each_sender_under_threads(void **state)
{
    weft_mailbox_t *mailbox = weft_mailbox_new();
    struct sender senders[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.mailbox = mailbox, .id = (weft_part_id_t) i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, s_send, &senders[i]), 0);
    }
    uint64_t next[SENDERS] = {0};
    for (size_t got = 0; got < SENDERS * (size_t) MAILS;) {
        size_t count = 0;
        if (!weft_mailbox_pending(mailbox)) {
            s_sleep(mailbox);
            continue;
        }
        struct weft_mail *mails = weft_mailbox_take(mailbox, &count);
        for (size_t i = 0; i < count; i++) assert_int_equal(mails[i].number, next[mails[i].from]++);
        got += count;
    }
    for (int i = 0; i < SENDERS; i++) pthread_join(senders[i].thread, NULL);
    weft_mailbox_destroy(&mailbox);
    assert_null(mailbox);
}

static void test_mailbox__wake_ends_one_sleep_and_is_told_once(void **state)
{
    weft_mailbox_t *mailbox = weft_mailbox_new();
    weft_mailbox_wake(mailbox);
    assert_false(weft_mailbox_sleep(mailbox)); // a wake before the sleep prevents it
    assert_true(weft_mailbox_woken(mailbox));
    assert_false(weft_mailbox_woken(mailbox));
    weft_mailbox_awake(mailbox, true);
    assert_true(weft_mailbox_sleep(mailbox));
    weft_mailbox_wake(mailbox);
    struct pollfd item = {.fd = weft_mailbox_fd(mailbox), .events = POLLIN};
    assert_int_equal(poll(&item, 1, 0), 1);
    weft_mailbox_awake(mailbox, true);
    assert_int_equal(poll(&item, 1, 0), 0);
    weft_mailbox_destroy(&mailbox);
}

static int s_freed;

static void s_free(void *body)
{
    s_freed++;
    free(body);
}

static void test_mailbox__frees_bodies_that_nobody_took_and_leaves_refused_ones(void **state)
{
    s_freed = 0;
    weft_mailbox_t *mailbox = weft_mailbox_new();
    struct weft_mail mail = {.body = malloc(8), .body_free = s_free};
    assert_true(weft_mailbox_put(mailbox, &mail));
    weft_mailbox_close(mailbox);
    struct weft_mail late = {.body = malloc(8), .body_free = s_free};
    assert_false(weft_mailbox_put(mailbox, &late));
    assert_int_equal(s_freed, 0);
    weft_mailbox_destroy(&mailbox);
    assert_int_equal(s_freed, 1);
    free(late.body);
}

static void test_net__frees_the_body_of_mail_to_nobody(void **state)
{
    s_freed = 0;
    weft_net_t *net = net_new();
    assert_false(weft_net_post(net, 0, &(struct weft_mail){.body = malloc(8), .body_free = s_free}));
    assert_false(weft_net_post(net, 7, &(struct weft_mail){.body = malloc(8), .body_free = s_free}));
    assert_false(weft_net_post(net, UINT32_MAX, &(struct weft_mail){.body = malloc(8), .body_free = s_free}));
    assert_int_equal(s_freed, 3);
    weft_net_destroy(&net);
}

static void test_mailbox__without_a_descriptor_there_is_none(void **state)
{
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    weft_mailbox_t *mailbox = weft_mailbox_new();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_null(mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailbox__without_a_descriptor_there_is_none),
        cmocka_unit_test(test_mailbox__keeps_the_order_of_each_sender_under_threads),
        cmocka_unit_test(test_mailbox__wake_ends_one_sleep_and_is_told_once),
        cmocka_unit_test(test_mailbox__frees_bodies_that_nobody_took_and_leaves_refused_ones),
        cmocka_unit_test(test_net__frees_the_body_of_mail_to_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
