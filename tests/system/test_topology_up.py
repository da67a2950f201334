# SPDX-License-Identifier: MPL-2.0
"""weft up FILE: what happens when nodes die, refuse to start, when the file changes, when all is to stop."""

import json
import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

from harness import DEADLINE_S, ROOT, WEFT, free_ports, run, wait_until, weft
from topologies import is_alive, topology

CLUSTER = """\
coordinator
    type = coordinator
    listen = tcp://127.0.0.1:*

broker
    type = broker
    listen = tcp://127.0.0.1:*
    coordinators = @coordinator
"""
TAP = """
tap
    type = tap
    bootstrap = @broker
    topic = orders
    listen = tcp://127.0.0.1:*
    replay =
"""
TOPIC = """
topics
    orders
        partitions = 2
        retention.ms = 1d
"""


def stops(it):
    """The nodes in the order in which they were told to stop."""
    return re.findall(r"^(\S+) stops$", it.text(), re.MULTILINE)


def test_up__a_killed_child_comes_back_and_the_reason_stays():
    with topology(CLUSTER + TAP + TOPIC, "--processes") as it:
        pids = {name: it.node(name)["pid"] for name in it.names()}
        assert len(set(pids.values())) == 3 and it.process.pid not in pids.values()
        os.kill(pids["tap"], signal.SIGKILL)
        wait_until(lambda: it.node("tap")["restarts"] == 1 and it.node("tap")["health"] == "serving", "the tap serves again")
        tap = it.node("tap")
        assert tap["reason"].startswith("killed by signal 9 (Killed)") and tap["pid"] != pids["tap"]
        for name in ("coordinator", "broker"):
            assert it.node(name)["pid"] == pids[name] and it.node(name)["restarts"] == 0 and it.node(name)["reason"] is None
        assert "tap failed: killed by signal 9" in it.text() and "starts again in 200 ms" in it.text()
        assert it.weft("topic", "describe", "orders", "--json").stdout.count('"leader"') == 2


FRAIL = """
#include <poll.h>
#include <stdlib.h>
#include <weft/node_type.h>

static const struct weft_option options[] = {
    {.name = "name", .type = WEFT_OPTION_TEXT, .initial = "", .max = 64, .doc = "Name."},
    {.name = "live.ms", .type = WEFT_OPTION_DURATION, .initial = "100", .max = 100000, .doc = "How long it lives."}};
static const struct weft_counter_info counters[] = {{"lives_count", "Times it began."}};
static struct { weft_hosted_node_t *node; int live_ms; } self;

static weft_err_t create(weft_hosted_node_t *node, const weft_options_t *set, void **out, struct weft_error *error)
{
    self.node = node;
    self.live_ms = (int) weft_options_int(set, "live.ms");
    *out = &self;
    return WEFT_OK;
}
static weft_err_t run(void *it, struct weft_error *error)
{
    weft_node_set_health(self.node, WEFT_HEALTH_SERVING, NULL);
    weft_node_counter_add(self.node, 0, 1);
    struct pollfd stop = {.fd = weft_node_stop_fd(self.node), .events = POLLIN};
    if (poll(&stop, 1, self.live_ms) == 0) abort();
    return WEFT_OK;
}
static void destroy(void **out) { *out = NULL; }
const struct weft_node_type weft_node_type_main = {.abi = WEFT_NODE_ABI, .name = "frail", .doc = "Dies.",
    .options = options, .option_count = 2, .counters = counters, .counter_count = 1, .traits = WEFT_NODE_OWN_PROCESS,
    .create = create, .run = run, .destroy = destroy};
"""


def test_up__a_type_of_ones_own_that_crashes_harms_nobody():
    build = pathlib.Path(WEFT).parent.parent
    text = CLUSTER + "frail\n    type = ./libfrail.so\n    live.ms = 50\nsturdy\n    type = ./libfrail.so\n    live.ms = 100s\n"
    with topology(text, start=False) as it:
        (it.directory / "frail.c").write_text(FRAIL)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", it.directory / "libfrail.so", it.directory / "frail.c", f"-I{ROOT}/lib/include",
                        f"-I{build}/generated/include"], check=True)
        it.launch()
        wait_until(lambda: it.status_file.exists() and it.node("frail")["restarts"] >= 3, "it died and was started again")
        assert "killed by signal 6 (Aborted)" in it.node("frail")["reason"]
        assert it.node("frail")["own_process"] and not it.node("broker")["own_process"]
        wait_until(lambda: it.node("sturdy")["counters"] == {"lives_count": 1}, "the other one of its type lives its first life")
        for name in ("sturdy", "broker", "coordinator"):
            assert it.node(name)["health"] == "serving" and it.node(name)["restarts"] == 0
        it.weft("topic", "create", "orders", bootstrap=it.node("broker")["endpoint"])
        it.stop()  # its status is 1 if the frail one dies just then


CRASHING = """
#include <stdlib.h>
#include <unistd.h>
#include <weft/filter.h>

static int init(const char *config, void **state, char *error, size_t error_bytes) { *state = (void *) config; return 0; }
static int record(void *state, const struct weft_record_view *in, const struct weft_filter_emit *emit)
{
    if (in->value.size == 5 && memcmp(in->value.data, "crash", 5) == 0 && access(state, F_OK) != 0) abort();
    return emit->record(emit, &(struct weft_filter_record){in->key, in->value, in->headers, 0});
}
const struct weft_filter weft_filter_main = {.abi = WEFT_FILTER_ABI, .name = "crashing", .init = init, .record = record};
"""


def test_up__a_filter_that_crashes_is_started_again_and_goes_on_from_where_it_was():
    build = pathlib.Path(WEFT).parent.parent
    with tempfile.TemporaryDirectory() as elsewhere:
        here = pathlib.Path(elsewhere)
        (here / "crashing.c").write_text(CRASHING)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", here / "crashing.so", here / "crashing.c", f"-I{ROOT}/lib/include", f"-I{build}/generated/include"], check=True)
        filter = f"""
filter
    type = filter
    bootstrap = @broker
    topic = orders
    target.topic = passed
    function = {here}/crashing.so
    config = {here}/mended
"""
        with topology(CLUSTER + filter + TAP + TOPIC + "    passed\n") as it:
            pids = {name: it.node(name)["pid"] for name in it.names()}
            assert pids["broker"] == pids["tap"] == it.process.pid != pids["filter"]
            it.weft("produce", "orders", "--partition", 0, input="a\ncrash\nb\n")
            wait_until(lambda: it.node("filter")["restarts"] >= 2, "the record crashes it again and again")
            assert "killed by signal 6 (Aborted)" in it.node("filter")["reason"]
            assert it.node("broker")["restarts"] == it.node("tap")["restarts"] == 0
            it.weft("produce", "orders", "--partition", 1, input="c\n")
            (here / "mended").touch()

            def passed():
                return set(it.weft("consume", "passed", "--from", "earliest", "--exit-at-end").stdout.splitlines()) == {"a", "b", "c", "crash"}

            wait_until(passed, "it goes on behind the record", 60)
            assert it.stop() == 0


def test_up__a_node_that_cannot_start_is_tried_again_ever_later_and_others_go_on():
    with tempfile.TemporaryDirectory() as elsewhere:
        blocked = pathlib.Path(elsewhere) / "blocked"
        blocked.write_text("no directory")
        for options in ([], ["--processes"]):
            other = f"""
other
    type = broker
    id = 2
    listen = tcp://127.0.0.1:*
    coordinators = @coordinator
    data = {blocked}
"""
            with topology(CLUSTER, *options) as it:
                it.ready.unlink()
                it.reload(CLUSTER + other)
                wait_until(lambda: "starts again in 1600 ms" in it.text(), "the back-off has doubled thrice")
                waits = [int(ms) for ms in re.findall(r"other failed: .*starts again in (\d+) ms", it.text())]
                assert waits[:4] == [200, 400, 800, 1600], waits
                node = it.node("other")
                assert str(blocked) in node["reason"] and node["health"] == "failed"
                assert it.node("broker")["health"] == "serving" and it.node("broker")["restarts"] == 0
                assert not it.ready.exists()
                blocked.unlink()
                wait_until(it.ready.exists, "all serve once the reason is gone")
                assert it.node("other")["restarts"] >= 4 and str(blocked) in it.node("other")["reason"]
                assert it.stop() == 0
            subprocess.run(["rm", "-rf", str(blocked)], check=True)
            blocked.write_text("no directory")


def test_up__what_can_never_start_is_told_at_the_first_start_and_ends_all():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = [
            (TAP.replace("tcp://127.0.0.1:*", f"tcp://127.0.0.1:{port}"), "tap", "another program has it"),
            ("filter\n    type = filter\n    bootstrap = @broker\n    topic = orders\n    target.topic = other\n    function = /dev/null\n", "filter", "can't be loaded"),
        ]
        for options in ([], ["--processes"]):
            for text, name, words in cases:
                with topology(CLUSTER + text, *options, start=False) as it:
                    assert it.launch().process.wait(2 * DEADLINE_S) == 1, it.text()
                    assert re.search(f"^{name} can't start: .*{words}", it.text(), re.MULTILINE), it.text()
                    assert "starts again" not in it.text() and "stopped cleanly" not in it.text() and stops(it)[-1] == "coordinator"
                    assert not it.ready.exists()


def test_up__what_a_type_says_of_its_options_is_told_with_the_line_before_anything_starts():
    wrong = (
        TAP
        + "    from = yesterday\n    consumer = read=maybe\n"
        + "filter\n    type = filter\n    bootstrap = @broker\n    topic = orders\n    target.topic = other\n    where = value ==\n"
        + "player\n    type = player\n    bootstrap = @broker\n    topic = orders\n    speed = fast\n    listen = tcp://127.0.0.1:*\n"
        + "bridge\n    type = bridge\n    source = @broker\n    target = tcp://10.0.0.1:9650\n    producer = lingerms=5\n"
    )
    with topology(CLUSTER + wrong, start=False) as it:
        lines = it.file.read_text().splitlines()
        done = weft("topology", "check", it.file, status=1)
        assert not done.stdout
        told = [line[len(f"{it.file}:") :].split(": ", 1) for line in done.stderr.splitlines()]
        assert [lines[int(number) - 1].split()[0] for number, _ in told] == ["from", "consumer", "where", "speed", "producer"], told
        for (_, sentence), words in zip(told, ["'tap': from=yesterday is no place", "'tap': consumer: 'read' can't be 'maybe'", "'filter': where: column", "'player': option 'speed': 'fast'", "'bridge': producer: 'lingerms' is no setting of a producer"]):
            assert sentence.startswith(words), sentence
        up = weft("up", it.file, status=1)
        assert up.stderr == done.stderr and not up.stdout


def test_up__all_stop_in_order_those_that_others_need_last():
    for options in ([], ["--processes"]):
        with topology(TAP + CLUSTER + TOPIC, *options) as it:
            pids = [node["pid"] for node in it.status()["nodes"]]
            assert it.stop() == 0
            assert stops(it) == ["tap", "broker", "coordinator"]
            assert it.text().rstrip().endswith("test stopped cleanly")
            assert not any(is_alive(pid) for pid in pids)
            assert [node["health"] for node in it.status()["nodes"]] == ["stopped"] * 3


def test_up__children_die_with_their_parent():
    with topology(CLUSTER, "--processes") as it:
        pids = [node["pid"] for node in it.status()["nodes"]]
        it.process.kill()
        it.process.wait(DEADLINE_S)
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "no child is left")


def test_up__a_second_signal_ends_all_at_once():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, as by the background jobs of a script
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            with topology(CLUSTER, "--processes") as it:
                pids = [node["pid"] for node in it.status()["nodes"]]
                os.kill(it.node("broker")["pid"], signal.SIGSTOP)
                it.process.send_signal(number)
                wait_until(lambda it=it: stops(it) == ["broker"], "the stop waits for the broker")
                it.process.send_signal(number)
                assert it.process.wait(DEADLINE_S) == -number
                wait_until(lambda pids=pids: not any(is_alive(pid) for pid in pids), "no child is left")
    finally:
        signal.signal(signal.SIGINT, before)


def test_up__a_child_that_does_not_stop_is_ended_after_its_time():
    text = CLUSTER.replace("    coordinators = @coordinator\n", "    coordinators = @coordinator\n    stop.ms = 100\n")
    with topology(text, "--processes") as it:
        os.kill(it.node("broker")["pid"], signal.SIGSTOP)
        assert it.stop() == 1
        assert "broker did not stop within 100 ms" in it.text() and stops(it) == ["broker", "coordinator"]


def test_up__a_changed_file_is_taken_over_on_sighup_and_what_is_the_same_is_not_touched():
    for options in ([], ["--processes"]):
        with topology(CLUSTER + TAP + TOPIC, *options) as it:
            before = {node["name"]: node for node in it.status()["nodes"]}
            other = TAP.replace("tap\n", "other\n", 1)
            it.file.write_text(CLUSTER + TAP.replace("replay =", "replay =\n    payload = record") + other + TOPIC + "    more\n")
            wait_until(lambda: f"has changed; kill -HUP {it.process.pid} takes it over" in it.text(), "the change is told")
            assert it.names() == ["coordinator", "broker", "tap"]
            it.ready.unlink()
            it.reload()
            wait_until(it.ready.exists, "the new file serves")
            now = {node["name"]: node for node in it.status()["nodes"]}
            assert set(now) == {"coordinator", "broker", "tap", "other"}
            for name in ("coordinator", "broker"):
                assert now[name]["since_ms"] == before[name]["since_ms"] and now[name]["pid"] == before[name]["pid"]
            assert now["tap"]["endpoint"] == before["tap"]["endpoint"] and now["tap"]["since_ms"] > before["tap"]["since_ms"]
            assert stops(it) == ["tap"]
            assert [topic["name"] for topic in it.status()["topics"]] == ["orders", "more"]
            it.weft("topic", "describe", "more")
            it.ready.unlink()
            it.reload(CLUSTER + TOPIC)
            wait_until(lambda: it.names() == ["coordinator", "broker"], "those gone are stopped")
            assert sorted(stops(it)[1:]) == ["other", "tap"]
            wait_until(it.ready.exists, "the smaller file serves")
            assert it.stop() == 0


def test_up__while_a_node_takes_its_time_to_stop_for_a_reload_others_are_still_watched():
    slow = TAP.replace("tap\n", "slow\n", 1) + "    stop.ms = 20s\n"
    with topology(CLUSTER + TAP + slow + TOPIC, "--processes") as it:
        stuck, killed = it.node("slow")["pid"], it.node("tap")["pid"]
        os.kill(stuck, signal.SIGSTOP)  # it will not hear that it is to stop
        try:
            it.reload(CLUSTER + TAP + TOPIC)
            wait_until(lambda: stops(it) == ["slow"], "it is told to stop")
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: it.node("tap")["restarts"] == 1 and it.node("tap")["health"] == "serving", "the other one is back meanwhile")
            assert "slow" in it.names() and is_alive(stuck)
        finally:
            os.kill(stuck, signal.SIGCONT)
        wait_until(lambda: "slow" not in it.names(), "it has stopped")
        assert it.stop() == 0


def test_up__an_ipc_path_that_somebody_listens_on_is_not_taken_from_him():
    with tempfile.TemporaryDirectory(prefix="weft-") as directory:
        path = f"{directory}/tap"
        text = CLUSTER + TAP.replace("tcp://127.0.0.1:*", f"ipc://{path}", 1) + TOPIC
        with topology(text) as first, topology(text, start=False) as second:
            assert second.launch().process.wait(2 * DEADLINE_S) == 1, second.text()
            assert re.search(f"^tap can't start: .*{path}.* in use", second.text(), re.MULTILINE), second.text()
            assert first.node("tap")["health"] == "serving" and first.stop() == 0
        with topology(text, "--processes") as it:
            os.kill(it.node("tap")["pid"], signal.SIGKILL)  # what the dead leave behind is no hindrance
            wait_until(lambda: it.node("tap")["restarts"] == 1 and it.node("tap")["health"] == "serving", "it is back")
            assert it.stop() == 0


def test_up__a_file_that_became_wrong_changes_nothing():
    with topology(CLUSTER + TOPIC) as it:
        before = it.status()["nodes"]
        it.reload(CLUSTER + "tap\n    type = tap\n    bootstrap = @brokr\n")
        wait_until(lambda: "can't be run as it is now; all goes on as it was" in it.text(), "it is told")
        assert f"{it.file}:11: There is no node 'brokr' for 'bootstrap'; did you mean '@broker'?" in it.text()
        it.file.unlink()
        it.reload()
        wait_until(lambda: it.text().count("all goes on as it was") == 2, "a file that is gone is told")
        assert [(node["name"], node["since_ms"]) for node in it.status()["nodes"]] == [(node["name"], node["since_ms"]) for node in before]
        it.weft("produce", "orders", input="still here\n")
        assert it.stop() == 0


def test_up__with_once_the_end_of_one_is_the_end_of_all():
    player = """
player
    type = player
    bootstrap = @broker
    topic = orders
    listen = tcp://127.0.0.1:*
    at.end = stop
"""
    with topology(CLUSTER + player + TOPIC, "--once", start=False) as it:
        assert it.launch().process.wait(2 * DEADLINE_S) == 0, it.text()
        assert "player has done its work" in it.text() and stops(it)[-2:] == ["broker", "coordinator"]
    with topology(CLUSTER + TOPIC, "--once", "--processes") as it:
        os.kill(it.node("broker")["pid"], signal.SIGKILL)
        assert it.process.wait(2 * DEADLINE_S) == 1, it.text()
        assert "broker failed: killed by signal 9" in it.text() and stops(it) == ["coordinator"]


def test_up__a_player_at_its_end_is_done_and_not_started_again():
    player = "player\n    type = player\n    bootstrap = @broker\n    topic = orders\n    listen = tcp://127.0.0.1:*\n    at.end = stop\n"
    for options in ([], ["--processes"]):
        with topology(CLUSTER + player + TOPIC, *options) as it:
            wait_until(lambda: it.node("player")["health"] == "done", "the player is done")
            assert it.node("player")["restarts"] == 0 and it.node("broker")["health"] == "serving"
            assert it.stop() == 0


def test_up__scripts_read_lines_of_json():
    with topology(CLUSTER + TOPIC, "--json") as it:
        assert it.stop() == 0
        lines = [json.loads(line) for line in it.text().splitlines() if line.startswith("{")]
        assert not lines[0]["ready"] and lines[0]["nodes"][0]["health"] == "starting"
        assert any(line["ready"] and all(node["health"] == "serving" for node in line["nodes"]) for line in lines)
        assert lines[-1]["stopping"] and lines[-1]["topics"] == [{"name": "orders", "made": True, "sentence": ""}]


def test_up__counters_come_from_children_too():
    with topology(CLUSTER + TOPIC, "--processes") as it:
        it.weft("produce", "orders", input="a\nb\nc\n")
        wait_until(lambda: it.node("broker")["counters"].get("produce_records_count") == 3, "the broker's counter is told")


def test_up__a_terminal_shows_a_table():
    with topology(CLUSTER + TOPIC, start=False) as it:
        master, slave = pty.openpty()
        process = subprocess.Popen([WEFT, "up", str(it.file)], cwd=it.directory, stdout=slave, stderr=slave, stdin=slave, start_new_session=True)
        os.close(slave)
        shown = ""
        deadline = time.monotonic() + DEADLINE_S

        def read(until):
            nonlocal shown
            while not re.search(until, shown) and time.monotonic() < deadline:
                if select.select([master], [], [], 0.1)[0]:
                    try:
                        shown += os.read(master, 65536).decode(errors="replace")
                    except OSError:
                        break
            assert re.search(until, shown), shown

        read(r"test: 2 of 2 nodes serve")
        read(r"NODE +TYPE +HEALTH")
        read(r"broker +broker +serving +\d+s +0 +tcp://127")
        process.send_signal(signal.SIGINT)
        read(r"test stopped cleanly")
        assert process.wait(DEADLINE_S) == 0
        os.close(master)


JOBS = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen(sys.argv[1:], preexec_fn=lambda: os.setpgid(0, 0))
group = {"fg": job.pid, "bg": os.getpgrp()}
for line in sys.stdin:
    if line.strip() == "end":
        job.terminate()
        break
    os.tcsetpgrp(0, group[line.strip()])
    print("now in", line.strip(), flush=True)
sys.exit(job.wait())
"""


def test_up__a_job_in_the_background_draws_no_table():
    with topology(CLUSTER + TOPIC, start=False) as it:
        master, slave = pty.openpty()
        orders = os.pipe()
        command = [sys.executable, "-c", JOBS.replace("sys.stdin", f"open({orders[0]})"), WEFT, "up", str(it.file), "--status-file", str(it.status_file)]
        process = subprocess.Popen(command, cwd=it.directory, stdout=slave, stderr=slave, stdin=slave, start_new_session=True, pass_fds=[orders[0]])
        os.close(slave)
        shown = ""

        def read(until):
            nonlocal shown

            def seen():
                nonlocal shown
                try:
                    while select.select([master], [], [], 0)[0]:
                        shown += os.read(master, 65536).decode(errors="replace")
                except OSError:
                    pass  # the last one who had it open is gone
                return re.search(until, shown)

            wait_until(seen, f"{until} is shown")
            shown, before = "", shown
            return before

        def changes(times):
            for _ in range(times):
                known = it.status()["time_ms"]
                wait_until(lambda known=known: it.status()["time_ms"] != known, "the status is written again")

        assert "NODE " not in read(r"test serves: 2 nodes")
        changes(3)
        os.write(orders[1], b"fg\n")
        before = read(r"NODE +TYPE +HEALTH")
        assert "\033[" not in before.split("now in fg")[0], before
        os.write(orders[1], b"bg\n")
        read("now in bg")
        changes(3)
        os.write(orders[1], b"end\n")
        after = read("test stopped cleanly")
        assert after.count("NODE ") <= 1, after  # one that was under way
        assert process.wait(DEADLINE_S) == 0
        for fd in (master, *orders):
            os.close(fd)


def test_up__a_topic_that_cannot_be_made_or_differs_is_told_once_per_reason():
    topics = "topics\n    orders\n        partitions = 2\n        retention.ms = 1d\n    __mine\n    narrow\n        min.insync = 2\n"
    with topology(CLUSTER + topics) as it:
        assert it.text().count("topic '__mine' could not be made: names that begin with '__'") == 1, it.text()
        assert it.text().count("topic 'narrow' could not be made: min.insync 2 is more than") == 1, it.text()
        assert "test serves: 2 nodes, data in weft-data, but 2 topics could not be made" in it.text() and "differs" not in it.text()
        said = len(it.text())
        for partitions, retention, words in ((2, "24h", None), (1, "1d", "it exists with 2 partitions, the file says 1"), (2, "2d", "retention.ms = 1d, the file says 2d")):
            it.ready.unlink()
            it.reload(CLUSTER + f"topics\n    orders\n        partitions = {partitions}\n        retention.ms = {retention}\n")
            wait_until(it.ready.exists, "the new file serves")
            assert words is None or "topic 'orders' differs from the file: it exists with" in it.text()[said:], it.text()
            assert words is None and "differs" not in it.text()[said:] or words in it.text()[said:], it.text()
        assert it.stop() == 0
    # Replicas may only wait for brokers that are about to come: told after a while.
    with tempfile.TemporaryDirectory() as elsewhere:
        blocked = pathlib.Path(elsewhere) / "blocked"
        blocked.write_text("no directory")
        other = f"other\n    type = broker\n    id = 2\n    listen = tcp://127.0.0.1:*\n    coordinators = @coordinator\n    data = {blocked}\n"
        with topology(CLUSTER) as it:
            it.reload(CLUSTER + other + "topics\n    wide\n        replicas = 2\n")
            wait_until(lambda: "topic 'wide' could not be made: " in it.text(), "it is told")
            blocked.unlink()
            wait_until(lambda: it.status()["topics"] == [{"name": "wide", "made": True, "sentence": ""}], "it is made once the broker has come")
            assert it.stop() == 0


def test_up__who_comes_before_the_topics_are_made_waits_for_them():
    port = free_ports(2)
    text = CLUSTER.replace("*", str(port), 1).replace("*", str(port + 1), 1)
    with topology(text + TOPIC, start=False) as it:
        it.launch()
        endpoint = f"tcp://127.0.0.1:{port + 1}"
        it.weft("produce", "orders", input="a\n", bootstrap=endpoint)
        assert it.weft("consume", "orders", "--from", "earliest", "--count", 1, bootstrap=endpoint).stdout == "a\n"
        wait_until(it.ready.exists, "all serve")
        assert it.stop() == 0


def test_up__a_wrong_file_is_told_and_nothing_runs():
    with topology("broker\n    type = brokr\n", start=False) as it:
        done = weft("up", it.file, status=1)
        assert done.stderr == f"{it.file}:2: 'broker' is of type 'brokr', which there is not; did you mean 'broker'?\n" and not done.stdout
        done = weft("topology", "check", it.file, "--json", status=1)
        assert json.loads(done.stdout)["problems"] == [{"line": 2, "text": "'broker' is of type 'brokr', which there is not; did you mean 'broker'?"}]
        assert "no configuration file" in weft("topology", "check", it.directory / "nothing", status=1).stderr
        assert "it takes FILE" in weft("topology", "check", status=2).stderr
        assert "write it in" in weft("up", it.file, "--brokers", 3, status=2).stderr
        assert "needs a topology" in weft("up", "--processes", status=2).stderr
        assert weft("topology", "draw", it.file, status=1).stderr == weft("topology", "check", it.file, status=1).stderr
        it.file.write_text(CLUSTER.replace("tcp://127.0.0.1:*", "inproc://c", 1))
        assert weft("topology", "check", it.file).stdout.endswith("1 cluster, 0 topics to be made; no problem\n")
        assert "inproc://c, which reaches only the nodes of one process" in weft("topology", "check", it.file, "--processes", status=1).stderr


def test_up__nodes_of_one_process_meet_over_inproc():
    with topology(CLUSTER.replace("tcp://127.0.0.1:*", "inproc://coordinator", 1) + TAP + TOPIC) as it:
        assert it.endpoints["coordinator"] == "inproc://coordinator"
        it.weft("produce", "orders", input="a\n")
        assert it.weft("consume", "orders", "--from", "earliest", "--exit-at-end").stdout == "a\n"
        assert it.stop() == 0


if __name__ == "__main__":
    run(globals())
