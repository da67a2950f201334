# SPDX-License-Identifier: MPL-2.0
"""An edge's spool: producers go on while the core is away, the edge is killed meanwhile, and each record arrives once, in order."""

import threading
import time

import msgpack

from edges import edges
from harness import Load, clusters, run, up, wait_until, weft


def nodes(cluster, what):
    for number in (1, 2, 3):
        cluster(what, f"broker-{number}")
    cluster(what, "coordinator-1")


def read(endpoint, topic, partitions):
    """Values by partition."""
    done = weft("consume", topic, "--from", "earliest", "--exit-at-end", "--format", "%p %v\\n", bootstrap=endpoint)
    values = [[] for _ in range(partitions)]
    for line in done.stdout.splitlines():
        partition, value = line.split()
        values[int(partition)].append(value)
    return values


class Thin(threading.Thread):
    """Bare records of a socket and msgpack, one after the other; a value is counted once it is acknowledged."""

    def __init__(self, edge, topic, name):
        super().__init__(daemon=True)
        self.edge, self.topic, self.name_, self.acked, self.spooled, self.maybe, self.stopping = edge, topic, name, [], 0, set(), False

    def run(self):
        number = 0
        while not self.stopping:
            value = f"{self.name_}-{number}"
            number += 1
            try:
                told = self.edge.produce(self.topic, value.encode(), timeout_s=6)
            except Exception:  # nobody answers: the edge is gone, it may have been kept
                self.maybe.add(value)
                continue
            if told["error"] == 0:
                self.acked.append(value)
                self.spooled += told["level"] == "spooled"
            else:
                self.maybe.add(value)


def drained(edge):
    return edge.counter("spool_waiting_count") == 0 and edge.counter("links_count") > 0


def test_edge_spool__a_cut_core_and_a_killed_edge_lose_nothing_and_repeat_nothing():
    with clusters() as cluster, edges() as edge:
        cluster.up(3)
        edge.start(cluster.endpoints, "--set", f"spool={edge.directory}/spool")
        weft("topic", "create", "orders", "--partitions", 3, "--replicas", 3, bootstrap=edge.endpoint)
        weft("topic", "create", "thin", "--partitions", 1, "--replicas", 3, bootstrap=edge.endpoint)
        load, thin = Load("orders", edge.endpoint, rate=3000), Thin(edge, "thin", "a")
        thin.start()
        wait_until(lambda: len(load.acks) > 2000 and len(thin.acked) > 20, "records are acknowledged")
        for how, back in (("kill", "start"), ("stop", "cont")):
            nodes(cluster, how)
            wait_until(lambda: edge.counter("spool_waiting_count") > 20, "batches are spooled")
            for _ in range(3):  # in the midst of everything
                reached, thin_reached = len(load.acks), thin.spooled
                edge.kill()
                edge.start()
                wait_until(lambda: len(load.acks) > reached + 500 and thin.spooled > thin_reached + 10, "both producers go on")
            nodes(cluster, back)
            wait_until(lambda: edge.counter("drained_batches_count") > 0, "it is delivered")
            edge.kill()
            edge.start()
            wait_until(cluster.is_healthy, "the cluster is whole again")
            wait_until(lambda: drained(edge), "all of it is delivered", 60)
        thin.stopping = True
        thin.join(20)
        status, said = load.stop()
        assert status == 0, said
        wait_until(lambda: drained(edge), "all of it is delivered", 60)
        values = read(edge.endpoint, "orders", 3)
        assert sorted(int(value) for one in values for value in one) == list(range(load.sent)), "each once"
        for one in values:
            assert [int(value) for value in one] == sorted(int(value) for value in one), "in order"
        [seen] = read(edge.endpoint, "thin", 1)
        assert len(seen) == len(set(seen)) and set(thin.acked) <= set(seen) <= set(thin.acked) | thin.maybe
        assert [value for value in seen if value in set(thin.acked)] == thin.acked, "in order"
        assert thin.spooled > 50 and edge.counter("dead_letters_count") == 0 and edge.counter("sessions_renamed_count") == 0
        assert any(ack[2] == -1 for ack in load.acks), "an answer of the spool names no offset"


def test_edge_spool__what_is_full_says_so_and_who_wants_the_cluster_is_refused():
    with up("--brokers", 1) as node, edges() as edge:
        edge.start(node.endpoint, "--set", f"spool={edge.directory}/spool", "--set", "spool.bytes=1MiB", "--set", "retry.ms=500")
        weft("topic", "create", "orders", bootstrap=edge.endpoint)
        wait_until(lambda: (edge.directory / "spool/topics.known").exists() and b"orders" in (edge.directory / "spool/topics.known").read_bytes(), "the topic is noted")
        node.kill()
        told = edge.produce("orders", b"x", spool=False)
        assert told["name"] == "NOT_LEADER", told
        told, count = edge.produce("orders", bytes(100000)), 1
        while told["error"] == 0:
            assert told["level"] == "spooled" and told["offset"] == -1, told
            told, count = edge.produce("orders", bytes(100000)), count + 1
        assert told["name"] == "OVERLOADED" and "spool" in told["message"] and 8 < count < 12, (told, count)
        assert edge.produce("orders", b"\x00" * 10)["error"] == 0, "what fits is taken"
        told = edge.produce("nowhere", b"x")
        assert told["error"], "a topic that nobody knows"
        assert edge.ask(b"\x94rubbish", api="produce", id=1, topic="orders", partition=0)["name"] == "BAD_BATCH"
        weft("produce", "orders", bootstrap=edge.endpoint, input="y\n")
        edge.stop()
        edge.start()
        node.start()
        wait_until(lambda: drained(edge), "all is delivered")
        told = edge.ask(api="list_offsets", id=1, topic="orders", partition=0)
        assert told["offset"] == count + 1, told


def test_edge_spool__what_the_core_refuses_is_set_aside_and_blocks_nothing():
    with up("--brokers", 1) as node, edges() as edge:
        edge.start(node.endpoint, "--set", f"spool={edge.directory}/spool")
        weft("topic", "create", "small", "--set", "max.record.bytes=1KiB", bootstrap=edge.endpoint)
        weft("topic", "create", "gone", bootstrap=edge.endpoint)
        known = edge.directory / "spool/topics.known"
        wait_until(lambda: known.exists() and b"small" in known.read_bytes() and b"gone" in known.read_bytes(), "the topics are noted")
        node.kill()
        for value in (b"a", b"b", bytes(5000), b"c", bytes(6000), b"d"):
            assert edge.produce("small", value)["level"] == "spooled"
        assert edge.produce("gone", b"e")["level"] == "spooled"
        node.start()
        weft("topic", "delete", "gone", bootstrap=node.endpoint)
        wait_until(lambda: edge.counter("spool_waiting_count") == 0, "nothing waits any more")
        assert edge.fetch("small", 0) == [b"a", b"b", b"c", b"d"]
        edge.kill()
        edge.start()
        assert edge.produce("small", b"e")["error"] == 0 and edge.fetch("small", 4) == [b"e"]
        letters = list(msgpack.Unpacker(open(edge.directory / "spool/dead-letters", "rb"), max_buffer_size=0))
        told = [(letter["topic"], letter["name"]) for letter in letters[::2]]
        assert told[:2] == [("small", "RECORD_TOO_LARGE")] * 2, told
        assert all(isinstance(batch, list) and len(batch) == 14 for batch in letters[1::2]), "each with its batch"


if __name__ == "__main__":
    run(globals())
