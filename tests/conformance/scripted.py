# SPDX-License-Identifier: MPL-2.0
"""A server from a script: two nodes, one topic of one partition in memory, and whatever a check wants them to do wrong.

It speaks docs/PROTOCOL.md with its own few lines. A check gives `on_produce` or `on_fetch`: called with the request, it returns None (serve
it), "silent" (no answer), "cut" (applied, then the connection breaks), ("later", n) (answered behind the next n) or (error name, {more fields}).
"""

import threading
import time

import msgpack
import zmq

from wire import CRC_ABSENT, NUMBERS, batch, crc_is_right, record, records_of, split

TOPIC, TOPIC_ID, CLUSTER_ID = "conformance", bytes(range(16)), bytes(range(100, 116))
STRANGE = {"x_new": [1, {"deep": [None, 2.5, b"\x00"]}], "y_new": None, 17: "not even a name"}


class Request:
    def __init__(self, node, peer, fields, data):
        self.node, self.peer, self.fields, self.data = node, peer, fields, data
        self.at = time.monotonic()


class Server:
    def __init__(self, nodes=2):
        self.context = zmq.Context()
        self.sockets = [self.context.socket(zmq.ROUTER) for _ in range(nodes)]
        self.endpoints = []
        for socket in self.sockets:
            socket.linger = 0
            socket.bind("tcp://127.0.0.1:*")
            self.endpoints.append(socket.last_endpoint.decode().rstrip("\0"))
        self.leader, self.epoch, self.log_start = 0, 1, 0
        self.dead = set()  # nodes that hear and do not answer
        self.strange = False  # replies carry keys that nobody knows
        self.batches, self.end, self.sessions = [], 0, {}
        self.on_produce = self.on_fetch = lambda request: None
        self.produced, self.fetched, self.problems, self.held = [], [], [], []
        self.waiting, self.most_waiting, self.window = 0, 0, 64
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def close(self):
        self.stopping.set()
        self.thread.join(10)
        self.context.destroy(0)

    # ---- its log

    def append(self, whole):
        """A batch, stamped as a leader stamps it; returns its offset."""
        one = split(whole)[0]
        offset = self.end
        fields = {name: one[name] for name in one if name not in ("crc32c", "bytes", "payload", "base_offset", "leader_epoch", "attributes")}
        stamped = batch([], payload=one["payload"], payload_bytes=len(one["payload"]), base_offset=offset, leader_epoch=self.epoch,
                        attributes=one["attributes"] & ~CRC_ABSENT, **fields)
        self.batches.append((offset, offset + one["last_offset_delta"] + 1, stamped))
        self.end = self.batches[-1][1]
        return offset

    def fill(self, values, size=10, **fields):
        """Values, `size` to a batch."""
        for at in range(0, len(values), size):
            self.append(batch([record(value) for value in values[at:at + size]], **fields))

    def values(self):
        return [one[2] for _, _, whole in self.batches for _, one in records_of(split(whole)[0])]

    # ---- its loop

    def run(self):
        while not self.stopping.is_set():
            poller = zmq.Poller()
            for socket in self.sockets:
                poller.register(socket, zmq.POLLIN)
            for socket, _ in poller.poll(20):
                try:
                    self.take(self.sockets.index(socket), socket.recv_multipart())
                except Exception as error:  # told by the check, which would else only see a silent server
                    self.problems.append(f"{type(error).__name__}: {error}")
            if self.held and time.monotonic() - self.held[0][2] > 0.3:
                self.let_go()

    def reconnect(self, node):
        """Every connection to the node breaks, and what was on its way; it listens again at once."""
        self.sockets[node].close(0)
        self.sockets[node] = self.context.socket(zmq.ROUTER)
        self.sockets[node].linger = 0
        deadline = time.monotonic() + 5
        while True:
            try:
                self.sockets[node].bind(self.endpoints[node])
                return
            except zmq.ZMQError:  # libzmq closes in the background
                assert time.monotonic() < deadline, "the scripted server could not listen again"
                time.sleep(0.01)  # allow-sleep: the pace of a wait with a deadline

    def take(self, node, frames):
        peer, frames = frames[0], frames[1:]
        delimited = frames[0] == b""
        header, *data = frames[1:] if delimited else frames
        request = Request(node, (peer, delimited), msgpack.unpackb(header, strict_map_key=False), data[0] if data else b"")
        if node in self.dead:
            return
        serve = getattr(self, "do_" + str(request.fields.get("api")), None)
        if serve is None:
            self.refuse(request, "UNKNOWN_API")
        else:
            serve(request)

    def answer(self, request, fields=None, data=b""):
        header = {"id": request.fields.get("id", 0), "error": 0, **(fields or {})}
        if self.strange:
            header = {**STRANGE, **header}
        peer, delimited = request.peer
        self.sockets[request.node].send_multipart([peer, *([b""] if delimited else []), msgpack.packb(header), *([data] if data else [])])

    def refuse(self, request, name, **more):
        self.answer(request, {"error": NUMBERS.get(name, 9999), "name": name, "message": f"The script says {name} here.", **more})

    def let_go(self):
        for request, fields, _ in reversed(self.held):
            self.answer(request, fields)
        self.waiting -= len(self.held)
        self.held.clear()

    def wants(self, request, hook):
        """True: to be served. What the check said instead is done."""
        if request.node != self.leader:
            self.refuse(request, "NOT_LEADER", leader=self.leader, endpoint=self.endpoints[self.leader])
            return None
        if request.fields.get("topic") not in (None, TOPIC) or request.fields.get("topic_id") not in (None, bytes(16), TOPIC_ID, TOPIC_ID.hex()):
            self.refuse(request, "UNKNOWN_TOPIC")
            return None
        said = hook(request) or "served"
        if isinstance(said, tuple) and said[0] != "later":
            self.refuse(request, said[0], **(said[1] if len(said) > 1 else {}))
        return said

    # ---- what it serves

    def do_hello(self, request):
        self.answer(request, {"protocol_min": 1, "protocol_max": 1, "node": "broker", "node_id": request.node + 1, "cluster_id": CLUSTER_ID, "version": "0.1.0",
                              "frame_bytes_max": 33554432, "batch_bytes_max": 16777216, "session_window": self.window, "features": ["x-new"],
                              "wall_ms": int(time.time() * 1000)})

    def do_metadata(self, request):
        wanted = request.fields.get("topics") or [TOPIC]
        one = {"name": TOPIC, "id": TOPIC_ID, "error": 0, "internal": False,
               "partitions": [{"partition": 0, "error": 0, "leader": self.leader + 1, "epoch": self.epoch, "replicas": [1, 2], "isr": [1, 2], "offline": [],
                               "endpoint": self.endpoints[self.leader]}]}
        none = [{"name": name, "id": bytes(16), "error": NUMBERS["UNKNOWN_TOPIC"], "internal": False, "partitions": []} for name in wanted if name != TOPIC]
        self.answer(request, {"cluster_id": CLUSTER_ID, "version": self.epoch, "coordinator_id": 1, "coordinators": [self.endpoints[-1]],
                              "brokers": [{"id": n + 1, "endpoints": [e], "rack": "", "alive": True} for n, e in enumerate(self.endpoints)],
                              "topics": [] if request.fields.get("brokers_only") else ([one] if TOPIC in wanted else []) + none})

    def do_topic_describe(self, request):
        self.answer(request, {"topic_id": TOPIC_ID, "partitions": 1, "replicas": 2, "config": []})

    def do_list_offsets(self, request):
        if self.wants(request, lambda _: None):
            at = request.fields.get("at") or "latest"
            self.answer(request, {"offset": self.log_start if at == "earliest" else self.end, "epoch": self.epoch, "high_watermark": self.end,
                                  "log_start": self.log_start})

    def do_produce(self, request):
        if request.node == self.leader:  # a client may find the leader by asking others first
            self.produced.append(request)
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        said = self.wants(request, self.on_produce)
        if said is None or said == "silent" or isinstance(said, tuple) and said[0] != "later":
            self.waiting -= 1
            return
        fields = self.write(request)
        if isinstance(said, tuple):
            self.held.append((request, fields, time.monotonic()))
            if len(self.held) > said[1]:
                self.let_go()
            return
        self.waiting -= 1
        if said == "cut":
            self.reconnect(request.node)
        elif request.fields.get("acks") != "none":
            self.answer(request, fields)

    def write(self, request):
        """The reply's fields."""
        data = request.data
        if data[:1] != b"\x9e":  # bare records
            unpacker, count = msgpack.Unpacker(max_buffer_size=0), 0
            unpacker.feed(data)
            for one in unpacker:
                assert isinstance(one, list) and len(one) == 4, f"a bare record is {one!r}"
                count += 1
            return {"offset": self.append(batch([], payload=data, payload_bytes=len(data), raw_bytes=len(data), count=count, last_offset_delta=count - 1)),
                    "level": "durable"}
        found = split(data)
        one = found[0]
        if len(found) != 1:
            self.problems.append(f"a produce request carries one batch, this one {len(found)}")
        if not one["attributes"] & CRC_ABSENT and not crc_is_right(data):
            self.problems.append("a batch came with a wrong CRC")
        if one["count"] != one["last_offset_delta"] + 1:
            self.problems.append(f"count {one['count']} and last_offset_delta {one['last_offset_delta']} do not agree")
        if one["producer_id"] < 0:
            return {"offset": self.append(data), "level": "durable"}
        key, first = (one["producer_id"], one["producer_epoch"]), one["base_sequence"]
        known = self.sessions.setdefault(key, {"next": 0, "written": {}})
        if first in known["written"]:
            if known["written"][first][1] != data[22:]:
                self.problems.append(f"the batch of sequence {first} was sent again with other bytes")
            return {"offset": known["written"][first][0], "level": "durable", "duplicate": True}
        if first != known["next"]:
            return {"error": NUMBERS["OUT_OF_ORDER_SEQUENCE"], "name": "OUT_OF_ORDER_SEQUENCE", "message": f"Sequence {known['next']} is next, {first} came."}
        offset = self.append(data)
        known["written"][first] = (offset, data[22:])
        known["next"] = first + one["count"]
        return {"offset": offset, "level": "durable"}

    def do_fetch(self, request):
        if request.node == self.leader:
            self.fetched.append(request)
        said = self.wants(request, self.on_fetch)
        if said is None or said == "silent" or isinstance(said, tuple):
            return
        offset, room = request.fields["offset"], request.fields.get("max_bytes", 1 << 20)
        marks = {"high_watermark": self.end, "durable": self.end, "log_start": self.log_start}
        if not self.log_start <= offset <= self.end:
            self.refuse(request, "OFFSET_OUT_OF_RANGE", **marks)
            return
        data = b""
        for _, end, whole in self.batches:
            if end > offset and room and (not data or len(data) + len(whole) <= room):
                data += whole
        if isinstance(said, bytes):
            data = said
        self.answer(request, marks, data)

    def do_partition_status(self, request):
        self.refuse(request, "UNKNOWN_API")
