# SPDX-License-Identifier: MPL-2.0
"""Filters as processes: what passes is in the target, at least once, and nothing else; whatever is killed meanwhile."""

import contextlib
import os
import pathlib
import signal
import subprocess
import threading
import time

import msgpack
from harness import DEADLINE_S, ROOT, WEFT, run, up, wait_until, weft_json

NODE = None
FUNCTION = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft/filter.h>

// Writes each value twice with its key; "drop" is dropped, "fail" fails, "crash" crashes unless the file in `config` is there.
static int s_init(const char *config, void **state, char *error, size_t error_bytes)
{
    if (strcmp(config, "refuse") == 0) return snprintf(error, error_bytes, "the config is not to its liking");
    *state = strdup(config);
    return 0;
}

static int s_record(void *state, const struct weft_record_view *in, const struct weft_filter_emit *emit)
{
    struct weft_filter_record out = {.key = in->key, .value = in->value, .headers = in->headers};
    if (in->value.size == 4 && memcmp(in->value.data, "drop", 4) == 0) return 0;
    if (emit->record(emit, &out) != 0) return -1;
    if (in->value.size == 4 && memcmp(in->value.data, "fail", 4) == 0) return -1;
    if (in->value.size == 5 && memcmp(in->value.data, "crash", 5) == 0 && access(state, F_OK) != 0) abort();
    return emit->record(emit, &out);
}

static void s_fini(void *state)
{
    free(state);
}

const struct weft_filter weft_filter_main = {
    .abi = WEFT_FILTER_ABI, .name = "twice", .init = s_init, .record = s_record, .fini = s_fini};
"""


class Filter:
    def __init__(self, topic, *settings):
        self.arguments = [WEFT, "filter"]
        for setting in (f"bootstrap={NODE.endpoint}", f"topic={topic}", f"target.topic={topic}-out", "commit.ms=50",
                        "consumer=session.ms=1s", *settings):
            self.arguments += ["--set", setting]
        self.path = pathlib.Path(NODE.directory) / f"filter-{topic}"
        self.process = None

    def start(self):
        trace = open(self.path, "ab")
        self.process = subprocess.Popen(self.arguments, stdout=trace, stderr=trace, stdin=subprocess.DEVNULL)
        return self

    def trace(self):
        return self.path.read_text(errors="replace")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def filters(*all_settings):
    running = [Filter(*settings).start() for settings in all_settings]
    try:
        yield running if len(running) > 1 else running[0]
    finally:
        for one in running:
            if one.process.poll() is None:
                one.end(signal.SIGKILL)


def create(topic, partitions=1):
    for name in (topic, f"{topic}-out"):
        NODE.weft("topic", "create", name, "--partitions", partitions)


def produce(topic, values):
    NODE.weft("produce", topic, input=b"".join(value + b"\n" for value in values))


def target(topic):
    """All values in the target, as they stand there."""
    done = subprocess.run([WEFT, "consume", f"{topic}-out", "--from", "earliest", "--exit-at-end", "--bootstrap", NODE.endpoint],
                          capture_output=True, timeout=4 * DEADLINE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(b"\n")[:-1]


def lag(group):
    return sum(one["lag"] for one in weft_json("group", "describe", group, bootstrap=NODE.endpoint)["partitions"])


def event(number, **more):
    return msgpack.packb({"number": f"{number:08}", "kind": "even" if number % 2 == 0 else "odd", **more})


def test_filter__kills_under_load_lose_nothing_that_passes_and_add_nothing_else():
    create("kills", 3)
    count = 60000
    with filters(("kills", 'where=kind == "even" and number startswith "0"')) as one:
        process = subprocess.Popen([WEFT, "produce", "kills", "--bootstrap", NODE.endpoint], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

        def feed():
            for first in range(0, count, 50):
                process.stdin.write(b"".join(event(number) + b"\n" for number in range(first, first + 50)))
                process.stdin.flush()
                time.sleep(0.002)  # allow-sleep: the pace of the load
            process.stdin.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        for _ in range(4):
            have = len(target("kills"))
            wait_until(lambda: len(target("kills")) > have + 1000, "more in the target")
            one.end(signal.SIGKILL)
            one.start()
        feeder.join()
        assert process.wait(DEADLINE_S) == 0
        wanted = {event(number) for number in range(0, count, 2)}
        wait_until(lambda: set(target("kills")) >= wanted, "all that passes is there", 2 * DEADLINE_S)
        assert set(target("kills")) == wanted
        wait_until(lambda: lag("filter.kills.kills-out") == 0, "all is committed")
        assert one.end() == 0
    with filters(("kills", 'where=kind == "even" and number startswith "0"')) as one:  # everything was committed: nothing comes again
        have = len(target("kills"))
        produce("kills", [event(count)])
        wait_until(lambda: len(target("kills")) > have, "the next one")
        assert len(target("kills")) == have + 1, "what was committed came again"


def test_filter__two_share_the_partitions_and_one_that_dies_is_replaced():
    create("shared", 6)
    count = 30000
    settings = ("shared", "where=true", "producer=linger.ms=0")
    with filters(settings, settings) as (one, two):
        group = "filter.shared.shared-out"

        def spread():
            info = weft_json("group", "describe", group, bootstrap=NODE.endpoint)
            return sorted(member["owns"] for member in info["members"])

        wait_until(lambda: spread() == [3, 3], "three partitions each")
        for part in range(3):
            lines = b"".join(b"%d;%d\n" % (number, number) for number in range(part * count // 3, (part + 1) * count // 3))
            NODE.weft("produce", "shared", "--key-separator", ";", input=lines)
            if part == 0:
                one.end(signal.SIGKILL)
            elif part == 1:
                one.start()
        wanted = {b"%d" % number for number in range(count)}
        wait_until(lambda: set(target("shared")) == wanted, "all records", 2 * DEADLINE_S)
        wait_until(lambda: lag(group) == 0, "all is committed")
        assert one.end() == 0 and two.end() == 0


def compile_function(name, source=FUNCTION):
    directory = pathlib.Path(NODE.directory)
    (directory / f"{name}.c").write_text(source)
    built = pathlib.Path(WEFT).parent.parent / "generated/include"
    done = subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-Wall", "-Werror", f"-I{ROOT}/lib/include", f"-I{built}",
                           "-o", directory / f"{name}.so", directory / f"{name}.c"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory / f"{name}.so"


def test_filter__a_function_writes_what_it_likes_and_its_failures_are_passed_over():
    library = compile_function("twice")
    create("own")
    with filters(("own", f"function={library}")) as one:
        produce("own", [b"a", b"drop", b"b", b"fail", b"c"])
        wait_until(lambda: target("own") == [b"a", b"a", b"b", b"b", b"c", b"c"], f"what the function writes: {target('own')}")
        assert "offset 3" in one.trace() and "fail" in one.trace()
        assert one.end() == 0


NONSENSE = '''
#include <string.h>
#include <weft/filter.h>

static int s_is(const struct weft_record_view *in, const char *text)
{
    return in->value.size == strlen(text) && memcmp(in->value.data, text, in->value.size) == 0;
}

static int s_record(void *state, const struct weft_record_view *in, const struct weft_filter_emit *emit)
{
    static const unsigned char large[9 << 20], good[] = {0x92, 0xa1, 'n', 0xc4, 1, 'v'};
    struct weft_filter_record out = {.key = in->key, .value = in->value};
    if (s_is(in, "large")) out.value = (weft_slice_t){large, sizeof large};
    if (s_is(in, "endless")) out.value.size = (size_t) -1;
    if (s_is(in, "none")) out.value = (weft_slice_t){0};
    if (s_is(in, "no headers")) out.headers = (weft_slice_t){(const unsigned char *) "\\xc1\\xff", 2};
    if (s_is(in, "cut headers")) out.headers = (weft_slice_t){good, sizeof good - 1};
    if (s_is(in, "good headers")) out.headers = (weft_slice_t){good, sizeof good};
    for (int i = 0; s_is(in, "many") && i < 100000000; i++)
        if (emit->record(emit, &out) != 0) return 0; // as if all was well
    return emit->record(emit, &out);
}

const struct weft_filter weft_filter_main = {.abi = WEFT_FILTER_ABI, .name = "nonsense", .record = s_record};
'''


def test_filter__what_a_function_emits_is_not_believed():
    library = compile_function("nonsense", NONSENSE)
    create("nonsense")
    with filters(("nonsense", f"function={library}")) as one:
        produce("nonsense", [b"a", b"large", b"endless", b"no headers", b"cut headers", b"many", b"none", b"good headers", b"b"])
        wait_until(lambda: target("nonsense") == [b"a", b"", b"good headers", b"b"], f"what makes sense: {target('nonsense')}", 2 * DEADLINE_S)
        assert one.end() == 0, one.trace()


def test_filter__a_crash_of_the_function_ends_its_process_only_and_is_gone_on_from():
    library = compile_function("crashing")
    create("crash")
    create("calm")
    mend = pathlib.Path(NODE.directory) / "mended"
    with filters(("crash", f"function={library}", f"config={mend}"), ("calm", "where=true")) as (one, calm):
        produce("crash", [b"a", b"b"])
        wait_until(lambda: len(target("crash")) >= 4, "the first records")
        produce("crash", [b"crash", b"c"])
        assert one.process.wait(DEADLINE_S) == -signal.SIGABRT
        one.start()  # as a topology would; the record is still there
        assert one.process.wait(DEADLINE_S) == -signal.SIGABRT
        produce("calm", [b"x"])
        wait_until(lambda: target("calm") == [b"x"], "the other filter goes on")
        mend.touch()
        one.start()
        wait_until(lambda: {b"a", b"b", b"crash", b"c"} <= set(target("crash")), "it goes on behind the crash")
        assert calm.end() == 0 and one.end() == 0


def test_filter__on_error_stop_ends_the_node_and_commits_no_further():
    library = compile_function("stopping")
    create("stop")
    with filters(("stop", f"function={library}", "on.error=stop")) as one:
        produce("stop", [b"a", b"fail", b"b"])
        assert one.process.wait(DEADLINE_S) != 0
        assert "offset 1" in one.trace(), one.trace()
        assert target("stop") == [b"a", b"a"]
        one.start()
        assert one.process.wait(DEADLINE_S) != 0  # the record is still the next
        assert target("stop") == [b"a", b"a"]


def test_filter__a_cluster_that_is_away_is_waited_for():
    create("away")
    with filters(("away", "where=true")) as one:
        produce("away", [b"1"])
        wait_until(lambda: target("away") == [b"1"], "the first record")
        NODE.kill()
        NODE.start()
        produce("away", [b"2"])
        wait_until(lambda: target("away")[-1:] == [b"2"], "the second record")
        assert one.process.poll() is None


def test_filter__into_another_cluster_that_goes_away_and_comes_back():
    for patience in ("3650d", "200ms"):  # records wait in the producer, or are given up and read again
        topic = f"over-{patience}"
        with up() as other:
            NODE.weft("topic", "create", topic, "--partitions", 2)
            other.weft("topic", "create", topic, "--partitions", 2)

            def there():
                return set(other.weft("consume", topic, "--from", "earliest", "--exit-at-end").stdout.split())

            settings = (f"target={other.endpoint}", f"target.topic={topic}", "where=true", "partition=keep",
                        f"producer=delivery.timeout.ms={patience}")
            with filters((topic, *settings)) as one:
                produce(topic, [b"before"])
                wait_until(lambda: there() == {"before"}, "the first record")
                other.kill()
                produce(topic, [b"while-%d" % number for number in range(2000)])
                wait_until(lambda: "degraded" in one.trace(), "it says so")
                other.start()
                wait_until(lambda: len(there()) == 2001, "all records")
                wait_until(lambda: lag(f"filter.{topic}.{topic}") == 0, "progress")
                assert one.end() == 0, one.trace()


def refused(*settings):
    arguments = [WEFT, "filter"]
    for setting in (f"bootstrap={NODE.endpoint}", "topic=events", "target.topic=filtered", *settings):
        arguments += ["--set", setting]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode != 0, settings
    return done.stderr


def test_filter__what_can_t_work_is_refused_with_a_sentence():
    library = compile_function("refused")
    other = compile_function("abi", FUNCTION.replace(".abi = WEFT_FILTER_ABI", ".abi = 77"))
    assert "column 6" in refused("topic=a", "where=kind = 1")
    assert "reads what it writes" in refused("topic=a", "target.topic=a", "where=true").replace("would read", "reads")
    assert "where" in refused("topic=a")
    assert "have to be set" in refused("topic=", "where=true")
    assert "no file" in refused("topic=a", "function=./nothing.so")
    assert "weft_filter_main" in refused("topic=a", "function=/lib/x86_64-linux-gnu/libm.so.6") or not os.path.exists("/lib/x86_64-linux-gnu/libm.so.6")
    assert "liking" in refused("topic=a", f"function={library}", "config=refuse")
    assert "another number" in refused("topic=a", f"function={other}")
    assert "auto.commit.ms" in refused("topic=a", "where=true", "consumer=auto.commit.ms=1s")
    # One cluster under two names: told once both are seen.
    alias = NODE.endpoint.replace("127.0.0.1", "localhost")
    assert "would read what it writes" in refused("topic=a", "target.topic=a", "where=true", f"target={alias}")


if __name__ == "__main__":
    with up() as NODE:
        run(globals())
