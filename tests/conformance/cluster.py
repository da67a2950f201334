# SPDX-License-Identifier: MPL-2.0
"""The server under test, as the checks see it: requests over plain DEALER and REQ sockets, followed to whoever serves them."""

import os
import sys
import time

import msgpack
import zmq

from wire import ERRORS, NUMBERS

ANSWER_S = 10.0


class Link:
    """A DEALER (or REQ) connected to one node."""

    def __init__(self, context, endpoint, kind=zmq.DEALER):
        self.endpoint, self.id = endpoint, 100
        self.socket = context.socket(kind)
        self.socket.linger = 0
        self.socket.connect(endpoint)

    def send(self, *frames):
        self.socket.send_multipart(frames)

    def receive(self, seconds=ANSWER_S):
        """Frames of the next message, or None."""
        return self.socket.recv_multipart() if self.socket.poll(seconds * 1000) else None

    def request(self, api, data=None, **fields):
        """Sends; returns the id."""
        self.id += 1
        self.send(msgpack.packb({"api": api, "id": self.id, **fields}), *([] if data is None else [data]))
        return self.id

    def reply(self, seconds=ANSWER_S):
        """(header, data) of the next reply."""
        frames = self.receive(seconds)
        assert frames is not None, f"no answer from {self.endpoint} within {seconds:g} s"
        assert len(frames) <= 2, f"a reply has a header and a data frame at most, this one has {len(frames)} frames"
        try:
            header = msgpack.unpackb(frames[0], strict_map_key=False)
        except Exception as error:
            raise AssertionError(f"a reply begins with a msgpack map, not with {frames[0][:32]!r} ({type(error).__name__})") from None
        assert isinstance(header, dict), f"a reply begins with a msgpack map, not {header!r}"
        return header, frames[1] if len(frames) == 2 else b""

    def ask(self, api, data=None, **fields):
        number = self.request(api, data, **fields)
        header, body = self.reply()
        assert header.get("id") == number, f"{api}: the reply has id {header.get('id')}, the request had {number}"
        return header, body


def refused(header, *names):
    """The reply is one of these errors, and is told as docs/PROTOCOL.md says: number, name, a sentence."""
    given = ERRORS.get(header.get("error", 0), header.get("error"))
    assert given in names, f"expected {' or '.join(names)}, got {given}: {header.get('message', header)}"
    assert header.get("name") == given, f"error {header['error']} is {given}, the reply names it {header.get('name')!r}"
    message = header.get("message")
    assert isinstance(message, str) and len(message.split()) >= 3, f"{given} came without a sentence: {message!r}"
    return header


def fine(header):
    assert not header.get("error"), f"refused with {header.get('name')}: {header.get('message')}"
    return header


class Cluster:
    """Where to ask for what. Topics made here are deleted by close()."""

    def __init__(self, endpoint):
        self.endpoint, self.context = endpoint, zmq.Context()
        self.links, self.topics, self.where = {}, [], {}

    def close(self):
        try:
            for topic in self.topics:
                fine(self.coordinator("topic_delete", topic=topic))
        except AssertionError as error:
            print(f"scripts/conformance: topics conformance-* are left behind: {error}", file=sys.stderr)
        for link in self.links.values():
            link.socket.close()
        self.context.term()

    def link(self, endpoint=None, fresh=False, kind=zmq.DEALER):
        """One a node; `fresh`: a connection of its own, which the caller closes."""
        endpoint = endpoint or self.endpoint
        if fresh:
            return Link(self.context, endpoint, kind)
        if endpoint not in self.links:
            self.links[endpoint] = Link(self.context, endpoint)
        return self.links[endpoint]

    def ask(self, what, api, data=None, **fields):
        """Asks whoever serves `what`; follows NOT_LEADER and NOT_COORDINATOR, repeats refresh and retry errors for a while."""
        deadline = time.monotonic() + 3 * ANSWER_S
        while True:
            header, body = self.link(self.where.get(what)).ask(api, data, **fields)
            name = ERRORS.get(header.get("error", 0))
            if name in ("NOT_LEADER", "NOT_COORDINATOR") and header.get("endpoint"):
                self.where[what] = header["endpoint"]
            elif name not in ("NOT_LEADER", "NOT_COORDINATOR", "COORDINATOR_LOADING", "COORDINATOR_UNAVAILABLE", "OVERLOADED", "STALE_EPOCH"):
                return header, body
            else:
                self.where.pop(what, None)
            assert time.monotonic() < deadline, f"{api}: still {name}: {header.get('message')}"
            time.sleep(0.02)  # allow-sleep: the pace of a wait with a deadline

    def coordinator(self, api, **fields):
        return self.ask("coordinator", api, **fields)[0]

    def offsets(self, api, **fields):
        """To the leader of the group's partition of __offsets, which is made if it isn't there yet."""
        header, _ = self.ask("offsets " + fields["group"], api, **fields)
        if header.get("error") == NUMBERS["UNKNOWN_TOPIC"] and "entries" in fields and not self.where.get("offsets made"):
            fine(self.coordinator("offsets_begin"))
            self.where["offsets made"] = True
            deadline = time.monotonic() + 3 * ANSWER_S
            while header.get("error") == NUMBERS["UNKNOWN_TOPIC"] and time.monotonic() < deadline:
                time.sleep(0.05)  # allow-sleep: the pace of a wait with a deadline
                header, _ = self.ask("offsets " + fields["group"], api, **fields)
        return header

    def topic(self, partitions=1, replicas=0, **config):
        """A new topic of a name of its own, ready to be written."""
        name = "conformance-" + os.urandom(6).hex()
        fine(self.coordinator("topic_create", topic=name, partitions=partitions, replicas=replicas,
                              config=[{"key": key.replace("_", "."), "value": value} for key, value in config.items()]))
        self.topics.append(name)
        deadline = time.monotonic() + 3 * ANSWER_S
        for partition in range(partitions):
            while self.at(name, "list_offsets", partition)[0].get("error"):
                assert time.monotonic() < deadline, f"topic {name} was made and does not serve"
                time.sleep(0.02)  # allow-sleep: the pace of a wait with a deadline
        return name

    def at(self, topic, api, partition=0, data=None, **fields):
        """A request to the leader of a partition."""
        return self.ask(f"{topic}/{partition}", api, data, topic=topic, partition=partition, **fields)

    def leader(self, topic, partition=0, fresh=False):
        """A link to the leader itself, for what must not be repeated."""
        self.at(topic, "list_offsets", partition)
        return self.link(self.where.get(f"{topic}/{partition}"), fresh)

    def produce(self, topic, data, partition=0, **fields):
        return fine(self.at(topic, "produce", partition, data, **fields)[0])

    def fetch(self, topic, offset, partition=0, **fields):
        header, data = self.at(topic, "fetch", partition, offset=offset, **fields)
        return fine(header), data
