# SPDX-License-Identifier: MPL-2.0
"""What the Python producer and consumer do with refusals and silence, against a node that is scripted: it answers what the test says."""

import os
import threading

import zmq

from harness import run
from python_client import KafkaConsumer, KafkaProducer, TopicPartition, batch_of, raises, wait_until

from weft import _batch, _codec, errors

TOPIC_ID, CLUSTER_ID = os.urandom(16), os.urandom(16)
NOTHING = object()  # no answer


class Node:
    """A ROUTER in a thread. `answers[api]` is a function of (request, data) to a dict, NOTHING, or (dict, data)."""

    def __init__(self, context, endpoint=None, leader=None):
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.leader = leader or self
        self.answers, self.seen, self.stopping = {}, [], False
        self.epoch, self.spares = 1, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            if self.socket.poll(10):
                who, header, *data = self.socket.recv_multipart()
                api = next(kind[:-8] for kind in _codec.SHAPES if kind.endswith("_request") and b"\xa3api" + _packed(kind[:-8]) in header)
                request = _codec.decode(api + "_request", header)
                self.seen.append((api, request, data[0] if data else b""))
                answer = self.answers.get(api, getattr(self, api, None))
                made = answer(request, data[0] if data else b"") if answer else {}
                if made is NOTHING:
                    continue
                reply, more = made if isinstance(made, tuple) else (made, b"")
                self.socket.send_multipart([who, _codec.encode(api + "_reply", {**reply, "id": request["id"]})] + ([more] if more else []))
        self.socket.close()

    def hello(self, request, data):
        return {"protocol_min": 1, "protocol_max": 1, "node": "broker", "cluster_id": CLUSTER_ID, "version": "0", "frame_bytes_max": 33554432,
                "batch_bytes_max": 16777216, "session_window": 64, "features": [], "wall_ms": 0}

    def metadata(self, request, data):
        place = {"partition": 0, "leader": 1, "epoch": self.leader.epoch, "replicas": [1], "isr": [1], "offline": [], "endpoint": self.leader.endpoint}
        return {"cluster_id": CLUSTER_ID, "version": self.leader.epoch, "coordinators": [self.endpoint],
                "brokers": [{"id": number, "endpoints": [endpoint], "rack": "", "alive": True} for number, endpoint in enumerate(self.others(), 1)],
                "topics": [{"name": "t", "id": TOPIC_ID, "partitions": [place]}]}

    def others(self):
        return [self.endpoint, *self.spares]

    def batches(self, api="produce"):
        return [(next(_batch.batches(data)), data) for name, _, data in self.seen if name == api]


def _packed(api):
    size = len(api)
    return (bytes([0xA0 | size]) if size < 32 else bytes([0xD9, size])) + api.encode()


class Nodes:
    def __enter__(self):
        self.context, self.made = zmq.Context(), []
        return self

    def make(self, leader=None):
        self.made.append(Node(self.context, leader=leader))
        return self.made[-1]

    def __exit__(self, *_):
        for node in self.made:
            node.stopping = True
            node.thread.join(10)
        self.context.term()


def session(data):
    """(producer id, epoch, sequence, count) of a batch."""
    return int.from_bytes(data[49:57], "big"), int.from_bytes(data[58:60], "big"), int.from_bytes(data[61:65], "big"), int.from_bytes(data[66:70], "big")


def ok(offset=0, duplicate=False):
    return {"offset": offset, "level": "durable", "duplicate": duplicate}


def refusal(error, **more):
    return {"error": error.errno, **more}


def test_python_retry__silence_and_refusals_are_retried_with_the_same_bytes():
    with Nodes() as nodes:
        node = nodes.make()
        answers = [refusal(errors.NotEnoughReplicasError), refusal(errors.OverloadedError, retry_ms=20), NOTHING, refusal(errors.TimedOutError), ok(7, True)]
        node.answers["produce"] = lambda request, data: answers.pop(0)
        with KafkaProducer(bootstrap_servers=node.endpoint, retry_backoff_ms=5, request_timeout_ms=300, linger_ms=0) as producer:
            assert producer.send("t", b"x").get(20).offset == 7
            assert producer.metrics()["duplicates_count"] == 1
        assert len({data for _, data in node.batches()}) == 1 and len(node.batches()) == 5


def test_python_retry__who_does_not_lead_names_who_does():
    with Nodes() as nodes:
        second, first = nodes.make(), None
        first = nodes.make()
        first.answers["produce"] = lambda request, data: refusal(errors.NotLeaderError, leader=2, endpoint=second.endpoint)
        second.answers["produce"] = lambda request, data: ok(3)
        with KafkaProducer(bootstrap_servers=first.endpoint) as producer:
            assert producer.send("t", b"x").get(20).offset == 3
            assert producer.metrics()["redirects_count"] == 1


def test_python_retry__a_leader_that_falls_silent_is_left_for_the_next_one():
    with Nodes() as nodes:
        old, new = nodes.make(), nodes.make()
        old.spares, new.epoch = [new.endpoint], 2
        silent = threading.Event()
        old.answers["produce"] = lambda request, data: silent.set() or NOTHING
        old.answers["metadata"] = lambda request, data: NOTHING if silent.is_set() else old.metadata(request, data)
        new.answers["metadata"] = lambda request, data: new.metadata(request, data) if silent.is_set() else old.metadata(request, data)
        new.answers["produce"] = lambda request, data: ok(5)
        with KafkaProducer(bootstrap_servers=old.endpoint, request_timeout_ms=60000) as producer:
            assert producer.send("t", b"x").get(20).offset == 5  # long before the request's time is over
        assert old.batches()[0][1] == new.batches()[0][1]


def test_python_retry__a_permanent_refusal_fails_its_batch_alone_and_the_next_epoch_goes_on():
    with Nodes() as nodes:
        node = nodes.make()
        told = []

        def produce(request, data):
            who = session(data)
            told.append(who)
            return refusal(errors.RecordTooLargeError) if len(told) == 1 else ok(len(told))
        node.answers["produce"] = produce
        with KafkaProducer(bootstrap_servers=node.endpoint, linger_ms=0) as producer:
            raises(errors.RecordTooLargeError, lambda: producer.send("t", b"x").get(20))
            assert producer.send("t", b"y").get(20).offset == 2
            assert producer.metrics()["identities_count"] == 1
        assert told[0][0] == told[1][0] and told[0][1:3] == (0, 0) and told[1][1:3] == (1, 0), told


def test_python_retry__sequences_are_in_order_and_a_gap_is_filled_in_order():
    with Nodes() as nodes:
        node = nodes.make()
        log, dropped = [], []

        def produce(request, data):
            _, epoch, sequence, count = session(data)
            if sequence == 10 and not dropped:
                dropped.append(sequence)
                return refusal(errors.NotEnoughReplicasError)  # what comes behind it overtakes
            if sequence != sum(row[1] for row in log):
                return refusal(errors.OutOfOrderSequenceError)
            log.append((sequence, count))
            return ok(sequence)
        node.answers["produce"] = produce
        with KafkaProducer(bootstrap_servers=node.endpoint, batch_size=1100, linger_ms=1000, retry_backoff_ms=5) as producer:
            futures = [producer.send("t", b"%05d" % number + b"." * 70) for number in range(100)]  # ten in a batch
            assert [future.get(20).offset for future in futures] == list(range(100))
        assert dropped and [sequence for sequence, _ in log] == sorted(sequence for sequence, _ in log)


def test_python_retry__what_is_in_doubt_when_its_time_is_over_says_so():
    with Nodes() as nodes:
        node = nodes.make()
        node.answers["produce"] = lambda request, data: NOTHING
        with KafkaProducer(bootstrap_servers=node.endpoint, delivery_timeout_ms=300) as producer:
            error = raises(errors.KafkaTimeoutError, lambda: producer.send("t", b"x").get(20), "may have been written")
            assert error.outcome == "maybe_applied"
            node.answers["produce"] = lambda request, data: ok(9)
            assert producer.send("t", b"y").get(20).offset == 9
        assert session(node.batches()[-1][1])[1:3] == (1, 0)  # another epoch: the one in doubt can't come behind it


def test_python_retry__a_fence_ends_the_producer():
    with Nodes() as nodes:
        node = nodes.make()
        node.answers["produce"] = lambda request, data: refusal(errors.ProducerFencedError)
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            raises(errors.ProducerFencedError, lambda: producer.send("t", b"x").get(20))
            raises(errors.ProducerFencedError, lambda: producer.send("t", b"x"))


def test_python_retry__garbage_is_counted_and_does_no_harm():
    with Nodes() as nodes:
        node = nodes.make()
        node.answers["produce"] = lambda request, data: ok(1)
        with KafkaProducer(bootstrap_servers=node.endpoint) as producer:
            producer.send("t", b"x").get(20)

            def garbage(request, data):
                return {"offset": -5, "level": "?" * 16}
            node.answers["produce"] = garbage
            assert producer.send("t", b"x").get(20).offset == -1
            link = next(iter(producer._engine._links.values()))
            with producer._engine.lock:
                for frame in (b"", b"\xc1", b"\x80", b"\xdd\x0f\xff\xff\xff", os.urandom(100), _codec.encode("hello_reply", {**node.hello({}, b""), "id": 77})):
                    producer._engine._message(link, [frame])
            assert producer.metrics()["stray_replies_count"] >= 5
            node.answers["produce"] = lambda request, data: ok(2)
            assert producer.send("t", b"x").get(20).offset == 2


def batch(*values, base=0):
    return batch_of([(0, None, value, None) for value in values], base, epoch=1)


def test_python_retry__a_consumer_skips_nothing_in_silence():
    with Nodes() as nodes:
        node = nodes.make()
        marks = {"high_watermark": 4, "durable": 4, "log_start": 0}
        frames = [({**marks}, batch(b"0", b"1")), refusal(errors.NotEnoughReplicasError), ({**marks}, batch(b"0", b"1") + batch(b"2", base=2)[:-1]),
                  NOTHING, ({**marks}, batch(b"2", b"3", base=2))]
        node.answers["list_offsets"] = lambda request, data: {"offset": 0}
        asked = []

        def fetch(request, data):
            asked.append(request["offset"])
            return frames.pop(0) if frames else NOTHING
        node.answers["fetch"] = fetch
        with KafkaConsumer("t", bootstrap_servers=node.endpoint, auto_offset_reset="earliest", request_timeout_ms=200, fetch_max_wait_ms=10,
                           retry_backoff_ms=5) as consumer:
            assert [next(consumer).value for _ in range(2)] == [b"0", b"1"]
            # A frame that holds nothing from offset 2 on: told, and the place is read again once the program seeks.
            raises(errors.BadBatchError, lambda: next(consumer), "offset 2")
            wait_until(lambda: any(api == "partition_status" and request["suspect_offset"] == 2 for api, request, _ in node.seen), "its leader is told")
            consumer.seek(TopicPartition("t", 0), 2)
            assert [next(consumer).value for _ in range(2)] == [b"2", b"3"]
        assert asked[:5] == [0, 2, 2, 2, 2]


def test_python_retry__a_diverged_log_is_read_on_from_where_it_is_common():
    with Nodes() as nodes:
        node = nodes.make()
        frames = [({"high_watermark": 3, "durable": 3}, batch(b"0", b"1", b"2")), {**refusal(errors.DivergedError), "end_offset": 1},
                  ({"high_watermark": 3, "durable": 3}, batch(b"one", b"two", base=1))]
        node.answers["list_offsets"] = lambda request, data: {"offset": 0}
        read = threading.Event()

        def fetch(request, data):
            if len(frames) == 2:  # what diverged was read before
                read.wait(10)
            return frames.pop(0) if frames else NOTHING
        node.answers["fetch"] = fetch
        with KafkaConsumer("t", bootstrap_servers=node.endpoint, auto_offset_reset="earliest", request_timeout_ms=1000) as consumer:
            assert [next(consumer).value for _ in range(3)] == [b"0", b"1", b"2"]
            read.set()
            assert [next(consumer).value for _ in range(2)] == [b"one", b"two"]


if __name__ == "__main__":
    run(globals())
