// SPDX-License-Identifier: MPL-2.0
// A topology is judged whole: every problem with its line and what to do, and nothing else; what is right is made ready.
#include "tests/support/test.h"

#include "types.h"

static void s_expect(const char *text, const char *wanted)
{
    weft_topology_t *topology = types_check(text);
    weft_buf_t got;
    weft_buf_init(&got);
    types_problems(topology, &got);
    assert_string_equal((const char *) got.data, wanted);
    weft_buf_fini(&got);
    weft_topology_destroy(&topology);
}

#define CLUSTER \
    "coordinator\n    type = coordinator\n    listen = tcp://127.0.0.1:*\n" \
    "broker\n    type = broker\n    listen = tcp://127.0.0.1:*\n    coordinators = @coordinator\n" // 7 lines

static void test_topology__a_good_one_has_no_problem(void **state)
{
    s_expect("name = one\ndata = here\n" CLUSTER "tap\n    type = tap\n    bootstrap = @broker\n    topic = orders\n"
             "topics\n    orders\n        partitions = 4\n        retention.ms = 7d\n    other\n",
             "");
}

static unsigned s_port(void *context, const char *node, const char *option, const char *host, unsigned count)
{
    unsigned *next = context;
    unsigned port = *next;
    *next += count;
    return port;
}

static void s_settings(const weft_topology_t *topology, const char *node, const char *wanted)
{
    char **settings = weft_topology_settings(topology, weft_topology_find(topology, node));
    weft_buf_t got;
    weft_buf_init(&got);
    for (size_t i = 0; settings[i]; i++) weft_buf_printf(&got, "%s%s", i ? " " : "", settings[i]);
    weft_buf_append(&got, "", 1);
    assert_string_equal((const char *) got.data, wanted);
    weft_buf_fini(&got);
    free(settings);
}

static void test_topology__references_become_endpoints_with_ports(void **state)
{
    weft_topology_t *topology = types_check(
        "groups\n    core = a, @b\n    quorum = c1, c2, c3\n"
        "a\n    type = broker\n    options\n        id = 1\n        shards = 2\n        listen = tcp://127.0.0.1:*\n"
        "        coordinators = @quorum\n        replica\n            listen = tcp://10.0.0.1:*\n"
        "b\n    type = broker\n    id = 2\n    listen = tcp://0.0.0.0:7000\n    data = elsewhere\n"
        "    coordinators = @quorum\n    advertise = tcp://b.example:7000\n"
        "c1\n    type = coordinator\n    id = 11\n    listen = tcp://*:*\n    coordinators = @quorum\n"
        "c2\n    type = coordinator\n    id = 12\n    listen = ipc:///tmp/c2\n    coordinators = @quorum\n"
        "c3\n    type = coordinator\n    id = 13\n    listen = tcp://127.0.0.1:*\n"
        "    coordinators = 11=@c1, 12=@c2, 13=@c3\n"
        "tap\n    type = tap\n    bootstrap = @core\n    topic = t\n    from = @1700000000\n");
    weft_buf_t problems;
    weft_buf_init(&problems);
    types_problems(topology, &problems);
    assert_string_equal((const char *) problems.data, "");
    weft_buf_fini(&problems);
    unsigned next = 5000;
    struct weft_error error;
    assert_ok(weft_topology_place(topology, s_port, &next, &error));
    s_settings(
        topology, "a",
        "id=1 shards=2 data=weft-data/a listen=tcp://127.0.0.1:5000 "
        "coordinators=tcp://127.0.0.1:5003,ipc:///tmp/c2,tcp://127.0.0.1:5004 replica.listen=tcp://10.0.0.1:5002");
    s_settings(topology, "b",
               "id=2 data=elsewhere listen=tcp://0.0.0.0:7000 advertise=tcp://b.example:7000 "
               "coordinators=tcp://127.0.0.1:5003,ipc:///tmp/c2,tcp://127.0.0.1:5004");
    s_settings(topology, "c1",
               "id=11 data=weft-data/c1 listen=tcp://*:5003 "
               "coordinators=11=tcp://127.0.0.1:5003,12=ipc:///tmp/c2,13=tcp://127.0.0.1:5004");
    s_settings(topology, "tap",
               "name=tap bootstrap=tcp://127.0.0.1:5000,tcp://b.example:7000 topic=t from=@1700000000");
    char *bootstrap = weft_topology_bootstrap(topology, weft_topology_find(topology, "b"));
    assert_string_equal(bootstrap, "tcp://127.0.0.1:5000,tcp://b.example:7000");
    free(bootstrap);
    const size_t depths[] = {1, 1, 0, 0, 0, 2}; // coordinators name each other: what is first in the file starts first
    for (size_t i = 3; i < 6; i++) assert_true(weft_topology_node(topology, i)->depth >= depths[i]);
    size_t coordinator = weft_topology_node(topology, 4)->depth, broker = weft_topology_node(topology, 0)->depth;
    assert_true(coordinator < broker && broker < weft_topology_node(topology, 5)->depth);
    weft_topology_destroy(&topology);
}

static void test_topology__text_that_is_no_zpl_is_told_with_its_line(void **state)
{
    s_expect("a\n\ttype = broker\n", "2: a tab; indent and separate with spaces.\n");
    s_expect("a\n  type = broker\n", "2: indented by other than a multiple of four spaces.\n");
    s_expect("", "0: No node stands in it; a node is a name alone on a line, and 'type = broker' indented by four "
                 "spaces below it.\n");
}

static void test_topology__unknown_types_keys_and_nodes_come_with_the_nearest(void **state)
{
    s_expect(
        "coordinator\n    type = coordinatr\nbroker\n    type = broker\n    coordinators = @cordinator\n"
        "    lsiten = tcp://127.0.0.1:*\n    shards = 65\nnam = x\nx\n    type = zebra\ny\n    id = 1\n",
        "2: 'coordinator' is of type 'coordinatr', which there is not; did you mean 'coordinator'?\n"
        "5: There is no node 'cordinator' for 'coordinators'; did you mean '@coordinator'?\n"
        "6: 'broker': 'lsiten' is no setting of a broker; did you mean 'listen'?\n"
        "7: 'broker': 'shards' can't be '65'; allowed is a number from 0 to 64.\n"
        "8: 'nam' is no setting of a topology (those are name and data); did you mean 'name'; a node is a section: "
        "its name alone on a line, and 'type = ...' indented below it.\n"
        "10: 'x': there is no node type 'zebra'\n"
        "11: 'y' has no type; add 'type = broker' (or another) below it.\n");
}

static void test_topology__slips_around_topics_are_told_by_what_was_meant(void **state)
{
    s_expect(CLUSTER "topic\n    orders\n        partitions = 1\n",
             "8: 'topic' has no type; did you mean 'topics'? Else add 'type = broker' (or another) below it.\n");
    s_expect(CLUSTER "topics\n    orders\n        partitons = 1\n        replicas = 2\n        retention.msec = 1\n",
             "9: Topic 'orders' asks for 2 replicas, but its cluster has 1 broker; lower 'replicas', or add brokers.\n"
             "10: Topic 'orders': 'partitons' is no setting of a topic; did you mean 'partitions'?\n"
             "12: Topic 'orders': 'retention.msec' is no setting of a topic; did you mean 'retention.ms'?\n");
}

static void test_topology__a_broken_broker_is_told_once_and_a_port_too_high_as_such(void **state)
{
    s_expect("coordinator\n    type = coordinator\n    listen = tcp://127.0.0.1:99999\n"
             "broker\n    type = brokr\n    coordinators = @coordinator\n"
             "topics\n    orders\n    other\n        cluster = @broker\n",
             "3: The port of 'tcp://127.0.0.1:99999' is out of range; it is 1 to 65535, or * for a free one.\n"
             "5: 'broker' is of type 'brokr', which there is not; did you mean 'broker'?\n");
}

static void test_topology__what_stands_twice_is_told(void **state)
{
    s_expect("name = a\nname = b\n" CLUSTER "broker\n    type = tap\n    topic = x\n"
             "tap\n    type = tap\n    topic = x\n    topic = y\n    bootstrap = @broker\n    bootstrap =\n",
             "2: 'name' was set in line 1 already; keep one of them.\n"
             "10: A node 'broker' stands in line 6 already; give this one another name.\n"
             "16: 'topic' was set in line 15 already; keep one of them.\n"
             "18: 'bootstrap' was set in line 17 already; keep one of them.\n");
}

static void test_topology__one_endpoint_or_directory_is_of_one_node(void **state)
{
    s_expect(
        "coordinator\n    type = coordinator\n    data = ./x//y/\nbroker\n    type = broker\n    shards = 2\n"
        "    listen = tcp://*:9650\n    coordinators = @coordinator\n    data = x/y\n"
        "tap\n    type = tap\n    topic = x\n    bootstrap = @broker\n    listen = 127.0.0.1:99\n",
        "7: 'broker' would listen on tcp://*:9650 ('listen' in line 7), but 'coordinator' in line 1 has "
        "tcp://127.0.0.1:9651 (its default of 'listen') (each shard takes one more port); give one of them another "
        "endpoint, or tcp://127.0.0.1:* for a free port.\n"
        "9: 'broker' would keep its 'data' in x/y, which is the 'data' of 'coordinator' (line 3); give one of them "
        "another directory.\n"
        "14: '127.0.0.1:99' is no endpoint; write tcp://HOST:PORT, ipc://PATH or inproc://NAME.\n");
}

static void test_topology__who_takes_what_is_taken_is_told_once_whatever_its_spelling(void **state)
{
    s_expect(CLUSTER "t1\n    type = tap\n    topic = x\n    bootstrap = @broker\n    listen = ipc://./run//t\n"
                     "t2\n    type = tap\n    topic = x\n    bootstrap = @broker\n    listen = ipc://run/t\n"
                     "t3\n    type = tap\n    topic = x\n    bootstrap = @broker\n    listen = ipc://run/t\n",
             "17: 't2' would listen on ipc://run/t ('listen' in line 17), but 't1' in line 8 has ipc://./run//t "
             "('listen' in line 12); give one of them another endpoint, or tcp://127.0.0.1:* for a free port.\n"
             "22: 't3' would listen on ipc://run/t ('listen' in line 22), but 't1' in line 8 has ipc://./run//t "
             "('listen' in line 12); give one of them another endpoint, or tcp://127.0.0.1:* for a free port.\n");
}

static void test_topology__what_only_the_type_can_judge_comes_with_its_line(void **state)
{
    s_expect(CLUSTER "f\n    type = filter\n    where = a and (b\n    bootstrap = @broker\n    topic = \"no topic\"\n"
                     "g\n    type = filter\n    bootstrap = @broker\n    topic = a\n    target.topic = \"b c\"\n",
             "8: 'f': target.topic has to be set.\n"
             "10: 'f': column 7: no brackets.\n"
             "12: 'f': 'topic' has 'no topic', which names no topic; use letters, digits, '.', '_' and '-', 249 at "
             "most.\n"
             "17: 'g': 'target.topic' has 'b c', which names no topic; use letters, digits, '.', '_' and '-', 249 at "
             "most.\n");
    s_expect(CLUSTER "f\n    type = filter\n    bootstrap = @broker\n    where = (\n",
             "8: 'f' is told no topic to read; add 'topic = TOPIC'.\n11: 'f': column 1: no brackets.\n");
}

static void test_topology__a_missing_part_is_told(void **state)
{
    s_expect(
        "broker\n    type = broker\n    listen = tcp://127.0.0.1:*\ntap\n    type = tap\n    bootstrap = @broker\n"
        "rec\n    type = recorder\n    bootstrap = @broker\n    topic = x\n"
        "play\n    type = player\n    bootstrap = @tap\n    topic = x\n    target = @rec\n",
        "1: 'broker' is told no 'coordinators', and no node of this file listens on its default "
        "tcp://127.0.0.1:9651; add 'coordinators = @NODE' (or an endpoint).\n"
        "4: 'tap' is told no topic to read; add 'topic = TOPIC'.\n"
        "7: 'rec' has no socket to read; add 'source = ENDPOINT' (it connects) or 'listen = ENDPOINT' (it binds).\n"
        "13: 'bootstrap' of 'play' names 'tap', which knows no topics; name a node of a cluster (a broker).\n"
        "15: 'rec' listens nowhere, so nothing can connect to it; set its option for that (weft node describe "
        "recorder).\n");
}

static void test_topology__coordinators_and_brokers_of_a_cluster_fit_together(void **state)
{
    s_expect(
        "c1\n    type = coordinator\n    listen = tcp://127.0.0.1:*\n"
        "c2\n    type = coordinator\n    listen = tcp://127.0.0.1:*\n    id = 2\n    coordinators = 1=@c1\n"
        "b1\n    type = broker\n    listen = tcp://127.0.0.1:*\n    coordinators = @c1, @c2\n"
        "b2\n    type = broker\n    listen = tcp://127.0.0.1:*\n    coordinators = @c1\n",
        "1: 'c1' does not know 'c2', though 'b1' takes orders from both; name all of them in the 'coordinators' of "
        "each: coordinators = @c1, @c2.\n"
        "4: 'c2' has to stand in its own list of those that decide together; add @c2 to it.\n"
        "13: 'b2' has the id 1, as has 'b1' (line 9) of the same cluster; set another 'id'.\n");
}

#define TWO_CLUSTERS \
    "c1\n    type = coordinator\n    listen = tcp://127.0.0.1:*\n" \
    "a\n    type = broker\n    listen = tcp://127.0.0.1:*\n    coordinators = @c1\n" \
    "c2\n    type = coordinator\n    listen = tcp://127.0.0.1:*\n" \
    "b\n    type = broker\n    listen = tcp://127.0.0.1:*\n    coordinators = @c2\n" // 14 lines

static void test_topology__a_loop_is_told_as_the_path_it_takes(void **state)
{
    s_expect(
        CLUSTER "filter\n    type = filter\n    bootstrap = @broker\n    topic = a, b\n    target = @broker\n"
                "    target.topic = b\n",
        "8: Records would go round for ever: topic 'b' (cluster of 'coordinator') -> 'filter' (line 8) -> topic 'b' "
        "(cluster of 'coordinator'); let one of the nodes write elsewhere, or under another name.\n");
    s_expect(
        CLUSTER "filter\n    type = filter\n    bootstrap = @broker\n    topic = a\n    target.topic = a\n",
        "8: Records would go round for ever: topic 'a' (cluster of 'coordinator') -> 'filter' (line 8) -> topic 'a' "
        "(cluster of 'coordinator'); let one of the nodes write elsewhere, or under another name.\n");
    s_expect(
        TWO_CLUSTERS "there\n    type = bridge\n    source = @a\n    target = @b\n"
                     "back\n    type = bridge\n    source = @b\n    target = @a\n    topics = x, orders\n",
        "19: Records would go round for ever: topic '*' (cluster of 'c1') -> 'there' (line 15) -> topic 'x' "
        "(cluster of 'c2') -> 'back' (line 19) -> topic '*' (cluster of 'c1'); let one of the nodes write elsewhere, "
        "or under another name.\n"
        "19: Records would go round for ever: topic '*' (cluster of 'c1') -> 'there' (line 15) -> topic 'orders' "
        "(cluster of 'c2') -> 'back' (line 19) -> topic '*' (cluster of 'c1'); let one of the nodes write elsewhere, "
        "or under another name.\n");
    s_expect(CLUSTER "rec\n    type = recorder\n    bootstrap = @broker\n    topic = x\n    source = @tap\n"
                     "tap\n    type = tap\n    bootstrap = @broker\n    topic = x\n",
             "13: Records would go round for ever: the stream of 'tap' -> 'rec' (line 8) -> topic 'x' (cluster of "
             "'coordinator') -> 'tap' (line 13) -> the stream of 'tap'; let one of the nodes write elsewhere, or under "
             "another name.\n");
    s_expect("there\n    type = bridge\n    source = tcp://h:1, tcp://h:2\n    target = tcp://k:1\n    topics = o\n"
             "back\n    type = bridge\n    source = tcp://k:1\n    target = tcp://h:2\n    topics = o\n",
             "6: Records would go round for ever: topic 'o' (cluster of 'tcp://h:1') -> 'there' (line 1) -> topic 'o' "
             "(cluster of 'tcp://k:1') -> 'back' (line 6) -> topic 'o' (cluster of 'tcp://h:1'); let one of the nodes "
             "write elsewhere, or under another name.\n");
}

static void test_topology__ways_that_do_not_come_back_are_no_loop(void **state)
{
    s_expect(TWO_CLUSTERS "there\n    type = bridge\n    source = @a\n    target = @b\n    topics = orders, sales\n"
                          "back\n    type = bridge\n    source = @b\n    target = @a\n    topics = orders\n"
                          "    prefix = b-\n",
             "");
    s_expect(TWO_CLUSTERS
             "there\n    type = bridge\n    source = @a\n    target = @b\n    prefix = a.\n    except = b.*\n"
             "back\n    type = bridge\n    source = @b\n    target = @a\n    prefix = b.\n    except = a.*\n",
             "");
    s_expect(CLUSTER "filter\n    type = filter\n    bootstrap = @broker\n    topic = a\n    target = @broker\n"
                     "    target.topic = b\nrec\n    type = recorder\n    bootstrap = @broker\n    topic = c\n"
                     "    listen = ipc://rec\nplay\n    type = player\n    bootstrap = @broker\n    topic = b\n"
                     "    target = @rec\n",
             "");
}

static void test_topology__a_gateway_is_of_the_cluster_behind_it(void **state)
{
    s_expect(CLUSTER "edge\n    type = edge\n    bootstrap = @broker\n"
                     "filter\n    type = filter\n    bootstrap = @edge\n    topic = b\n    target = @broker\n"
                     "    target.topic = b\n",
             "11: Records would go round for ever: topic 'b' (cluster of 'coordinator') -> 'filter' (line 11) -> topic "
             "'b' (cluster of 'coordinator'); let one of the nodes write elsewhere, or under another name.\n");
    s_expect(TWO_CLUSTERS "tap\n    type = tap\n    topic = x\n    bootstrap = @a, @b\n",
             "18: 'bootstrap' of 'tap' names 'a' and 'b', which are of two clusters; name nodes of one.\n");
}

static void test_topology__inproc_reaches_one_process_only(void **state)
{
    s_expect(
        "coordinator\n    type = coordinator\n    listen = inproc://c\nbroker\n    type = broker\n"
        "    listen = inproc://b\n    coordinators = @coordinator\n"
        "filter\n    type = filter\n    bootstrap = @broker\n    topic = b\n    target = @broker\n"
        "    target.topic = c\n",
        "10: 'filter' has a process of its own and can't reach 'broker' on inproc://b; let 'broker' listen on ipc:// "
        "or tcp://.\n"
        "12: 'filter' has a process of its own and can't reach 'broker' on inproc://b; let 'broker' listen on ipc:// "
        "or tcp://.\n");
}

static void test_topology__topics_are_checked_with_their_cluster(void **state)
{
    s_expect(TWO_CLUSTERS "topics\n    orders\n        partitions = 0\n        retenton.ms = 5d\n    orders\n"
                          "        cluster = @b\n    x\n        cluster = @nobody\n",
             "16: The topic 'orders' could be of the cluster of 'a' or of that of 'c2'; say 'cluster = @a' below it.\n"
             "17: 'partitions' can't be '0'; allowed is a number from 1 to 100000.\n"
             "18: Topic 'orders': 'retenton.ms' is no setting of a topic; did you mean 'retention.ms'?\n"
             "19: The topic 'orders' stands in line 16 already; keep one of them.\n"
             "22: '@nobody' is no node of a cluster; name one: cluster = @NODE.\n");
}

static void test_topology__problems_and_nodes_are_bounded(void **state)
{
    weft_buf_t text;
    weft_buf_init(&text);
    for (int i = 0; i < 300; i++) weft_buf_printf(&text, "n%d\n    type = tap\n    bootstrap = @n%d\n", i, i + 1);
    weft_buf_append(&text, "", 1);
    weft_topology_t *topology = types_check((const char *) text.data);
    assert_int_equal(weft_topology_node_count(topology), WEFT_TOPOLOGY_NODES_MAX);
    assert_int_equal(weft_topology_problem_count(topology), WEFT_TOPOLOGY_PROBLEMS_MAX);
    assert_true(weft_topology_problems_dropped(topology) > 0);
    weft_topology_destroy(&topology);
    weft_buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topology__a_good_one_has_no_problem),
        cmocka_unit_test(test_topology__references_become_endpoints_with_ports),
        cmocka_unit_test(test_topology__text_that_is_no_zpl_is_told_with_its_line),
        cmocka_unit_test(test_topology__unknown_types_keys_and_nodes_come_with_the_nearest),
        cmocka_unit_test(test_topology__slips_around_topics_are_told_by_what_was_meant),
        cmocka_unit_test(test_topology__a_broken_broker_is_told_once_and_a_port_too_high_as_such),
        cmocka_unit_test(test_topology__what_stands_twice_is_told),
        cmocka_unit_test(test_topology__one_endpoint_or_directory_is_of_one_node),
        cmocka_unit_test(test_topology__who_takes_what_is_taken_is_told_once_whatever_its_spelling),
        cmocka_unit_test(test_topology__what_only_the_type_can_judge_comes_with_its_line),
        cmocka_unit_test(test_topology__a_missing_part_is_told),
        cmocka_unit_test(test_topology__coordinators_and_brokers_of_a_cluster_fit_together),
        cmocka_unit_test(test_topology__a_loop_is_told_as_the_path_it_takes),
        cmocka_unit_test(test_topology__ways_that_do_not_come_back_are_no_loop),
        cmocka_unit_test(test_topology__a_gateway_is_of_the_cluster_behind_it),
        cmocka_unit_test(test_topology__inproc_reaches_one_process_only),
        cmocka_unit_test(test_topology__topics_are_checked_with_their_cluster),
        cmocka_unit_test(test_topology__problems_and_nodes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
