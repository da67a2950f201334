# SPDX-License-Identifier: MPL-2.0
"""docs/ATTACH.md: exactly its listings, against a live broker."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from harness import ROOT, Load, clusters, run, up, wait_until


LINES = {"member.py": 79, "attach.mjs": 41}  # a member of a group has more to do; the second is two in one


def listings():
    text = (ROOT / "docs/ATTACH.md").read_text()
    return dict(re.findall(r"<!-- listing: (\S+) -->\n```(?:python|js|bash)\n(.*?)```", text, re.S))


def python(directory, name, *arguments):
    path = pathlib.Path(directory, name)
    path.write_text(listings()[name])
    done = subprocess.run([sys.executable, str(path), *map(str, arguments)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout


def test_attach__every_listing_runs_and_agrees():
    with up() as node, tempfile.TemporaryDirectory() as directory:
        node.weft("topic", "create", "orders", "--partitions", 1)
        assert python(directory, "producer.py", node.endpoint, "orders") == "100 records from offset 0 on, durable\n"
        assert python(directory, "producer.py", node.endpoint, "orders") == "100 records from offset 100 on, durable\n"
        expected = "".join(f"{at} customer-{at % 100 % 7} order {at % 100}\n" for at in range(200))
        assert python(directory, "consumer.py", node.endpoint, "orders", 0, 200) == expected
        assert python(directory, "consumer.py", node.endpoint, "orders", 57, 2) == "57 customer-1 order 57\n58 customer-2 order 58\n"
        told = python(directory, "request.py", node.endpoint)
        assert "broker 1, Weft" in told and f"orders/0 led by broker 1 at {node.endpoint}" in told, told
        segments = sorted(pathlib.Path(node.directory, "data").rglob("*/0/*.log"))
        assert python(directory, "segment.py", *[s for s in segments if "broker" in str(s)]) == expected


def test_attach__whoever_is_asked_the_leader_serves_and_the_end_ends():
    with clusters() as cluster, tempfile.TemporaryDirectory() as directory:
        cluster.up(2)
        cluster.weft("topic", "create", "orders", "--partitions", 1, "--replicas", 1)
        leader = cluster.partition("orders")["leader"]
        other = next(broker["endpoint"] for broker in cluster.json("cluster", "brokers") if broker["id"] != leader)
        assert python(directory, "producer.py", other, "orders") == "100 records from offset 0 on, durable\n"
        assert python(directory, "consumer.py", other, "orders", 98, 9) == "98 customer-0 order 98\n99 customer-1 order 99\n"


class Member:
    """The listing member.py, running; what it printed and said so far."""

    def __init__(self, directory, name, endpoints, group, topic):
        pathlib.Path(directory, "member.py").write_text(listings()["member.py"])
        self.out, self.err = pathlib.Path(directory, f"{name}.out"), pathlib.Path(directory, f"{name}.err")
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen([sys.executable, str(pathlib.Path(directory, "member.py")), endpoints, group, topic], stdout=out, stderr=err)

    def owns(self):
        """As said last; a line may be half written."""
        whole = self.err.read_text().rpartition("\n")[0].splitlines()
        assert all(line.startswith("owns [") for line in whole) and self.process.poll() is None, whole
        return re.findall(r"\d+", whole[-1]) if whole else []

    def read(self):
        return [tuple(map(int, line.split())) for line in self.out.read_text().rpartition("\n")[0].splitlines()]


def shared(*members):
    wait_until(lambda: sorted(sum((member.owns() for member in members), [])) == list("0123") and all(member.owns() for member in members), "they share the partitions")


def values(*members):
    return {value for member in members for _, _, value in member.read()}


def test_attach__two_members_share_one_is_killed_and_nothing_is_skipped():
    with up() as node, tempfile.TemporaryDirectory() as directory:
        node.weft("topic", "create", "orders", "--partitions", 4)
        load = Load("orders", node.endpoint, rate=300)
        a, b = (Member(directory, name, node.endpoint, "g", "orders") for name in "ab")
        shared(a, b)
        wait_until(lambda: all(len(each.read()) > 100 for each in (a, b)), "both read")
        a.process.kill()
        shared(b)  # its session is of ten seconds
        status, said = load.stop()
        assert (status, said) == (0, ""), said
        wait_until(lambda: values(a, b) >= set(range(load.sent)), "every record is read")
        c = Member(directory, "c", node.endpoint, "g", "orders")
        shared(b, c)
        b.process.send_signal(signal.SIGINT)
        assert b.process.wait(30) == 0
        shared(c)
        c.process.send_signal(signal.SIGINT)
        assert c.process.wait(30) == 0
        assert not c.read(), "what was read and committed is not read again"
        group = json.loads(node.weft("group", "describe", "g", "--json").stdout)
        assert (group["state"], sum(p["committed"] for p in group["partitions"])) == ("empty", load.sent), group


def test_attach__a_member_goes_on_over_the_death_of_all_that_it_talks_to():
    with clusters() as cluster, tempfile.TemporaryDirectory() as directory:
        cluster.up(3)
        cluster.weft("topic", "create", "orders", "--partitions", 4)
        load = Load("orders", cluster.endpoints, rate=200)
        a, b = (Member(directory, name, cluster.endpoints, "g", "orders") for name in "ab")
        shared(a, b)
        for number in (1, 2, 3):  # each leads some of the topic's partitions, one of them the group's offsets
            before = len(values(a, b))
            wait_until(lambda: len(values(a, b)) > before + 100, "they read")
            wait_until(cluster.is_healthy, "all nodes are there")
            office = cluster.coordinator()
            cluster("kill", f"broker-{number}", *([office] if number == 1 else []))
            before = load.sent
            wait_until(lambda: values(a, b) >= set(range(before)), "what was sent before is read")
            cluster("start", f"broker-{number}", *([office] if number == 1 else []))
        status, said = load.stop()
        assert (status, said) == (0, ""), said
        wait_until(lambda: values(a, b) >= set(range(load.sent)), "every record is read")
        for member in (a, b):
            member.process.send_signal(signal.SIGINT)
            assert member.process.wait(30) == 0, member.err.read_text()
        assert len(a.read() + b.read()) == load.sent  # both lived on: none twice
        group = cluster.json("group", "describe", "g")
        assert sum(p["committed"] for p in group["partitions"]) == load.sent, group


def test_attach__bash_alone_writes():
    with up() as node, tempfile.TemporaryDirectory() as directory:
        node.weft("topic", "create", "orders")
        path = pathlib.Path(directory, "attach.sh")
        path.write_text(listings()["attach.sh"])
        host, port = node.endpoint.removeprefix("tcp://").split(":")
        lines = "".join(f"line {n}\n" for n in range(200)) + "tschüß\n"
        for topic, status, told in (("orders", 0, "written, durable"), ("nobody", 1, "UNKNOWN_TOPIC")):
            done = subprocess.run(["bash", str(path), host, port, topic], input=lines, capture_output=True, text=True, timeout=30)
            assert done.returncode == status and told in done.stdout + done.stderr, done
        assert node.weft("consume", "orders", "--from", "earliest", "--exit-at-end").stdout == lines


def test_attach__node_js_writes_and_reads():
    """With packages from npm: where there is neither node nor a registry, this can't be tried, and says so."""
    with up() as node, tempfile.TemporaryDirectory() as directory:
        try:
            subprocess.run(["npm", "install", "--silent", "--no-save", "zeromq@6", "@msgpack/msgpack@3"], cwd=directory, check=True, capture_output=True, timeout=120)
            subprocess.run(["node", "-e", "require('zeromq')"], cwd=directory, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"skipped: no node with zeromq and @msgpack/msgpack here ({error})", flush=True)
            return
        node.weft("topic", "create", "orders")
        path = pathlib.Path(directory, "attach.mjs")
        path.write_text(listings()["attach.mjs"])

        def attach(*arguments):
            done = subprocess.run(["node", str(path), node.endpoint, "orders", *map(str, arguments)], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout
        assert attach("produce", 100) == "100 records from offset 0 on, durable\n"
        assert attach("consume", 100) == "".join(f"{at} customer-{at % 7} order {at}\n" for at in range(100))


def test_attach__listings_are_short():
    for name, text in listings().items():
        lines = [line for line in text.splitlines() if line.strip()]
        assert len(lines) <= LINES.get(name, 24), f"{name} has {len(lines)} lines"


if __name__ == "__main__":
    run(globals())
