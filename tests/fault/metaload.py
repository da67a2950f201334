# SPDX-License-Identifier: MPL-2.0
"""Clients of the metadata: each creates, alters and deletes topics of its own; what was acknowledged has to stay.

A key is a topic with one writer; its setting retention.ms only grows. A reader that is shown an older version than was acknowledged before it
asked has read from a coordinator that does not lead any more. A request is repeated under the same operation id until an answer says what became
of it; if none does in time, the key is left alone: it may be either way in the end.
"""

import os
import random
import threading
import time

import msgpack
import zmq

import nodes

ANSWER_S, GIVE_UP_S, BASE_MS = 0.7, 20, 1000000


class Unknown(Exception):
    """No answer says what became of the request."""


class Voice:
    """Asks whoever is the coordinator now."""

    def __init__(self, endpoints, over):
        self.endpoints, self.at, self.over, self.sockets, self.id = endpoints, 0, over, {}, 0

    def socket(self, endpoint):
        if endpoint not in self.sockets:
            self.sockets[endpoint] = nodes.CONTEXT.socket(zmq.DEALER)
            self.sockets[endpoint].linger = 0
            self.sockets[endpoint].connect(endpoint)
        return self.sockets[endpoint]

    def once(self, endpoint, api, fields):
        self.id += 1
        dealer = self.socket(endpoint)
        dealer.send_multipart([msgpack.packb({"api": api, "id": self.id, **fields})])
        deadline = time.monotonic() + ANSWER_S
        while dealer.poll(max(0, (deadline - time.monotonic()) * 1000)):
            reply = msgpack.unpackb(dealer.recv_multipart()[0])
            if reply.get("id") == self.id:
                return reply
        dealer.close()  # an answer that comes later belongs to nobody
        del self.sockets[endpoint]
        return None

    def ask(self, api, **fields):
        """A reply that is final. Unknown after GIVE_UP_S."""
        fields["operation"] = os.urandom(16)
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            reply = self.once(self.endpoints[self.at], api, fields)
            if reply is not None and reply.get("name") not in nodes.AGAIN:
                return reply
            told = (reply or {}).get("endpoint", "")
            if told and told not in self.endpoints:
                self.endpoints.append(told)  # one that was added since
            self.at = self.endpoints.index(told) if told else (self.at + 1) % len(self.endpoints)
            self.over.wait(0.02)
        raise Unknown(api)

    def close(self):
        for dealer in self.sockets.values():
            dealer.close()


class MetaLoad:
    def __init__(self, run, cluster, count=4, pace_s=0.01):
        self.run, self.cluster, self.pace_s = run, cluster, pace_s
        self.over, self.lock = threading.Event(), threading.Lock()
        self.sure, self.loose = {}, set()  # topic -> acknowledged value, None: deleted; topics of which nobody knows
        self.acked = self.unknown = self.refused = self.reads = self.version = 0
        self.ack_times = []
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self, number):
        rng = random.Random(f"{self.run.seed} {number}")
        voice = Voice([node.endpoint for node in self.cluster.coordinators if not node.spare], self.over)
        mine, serial = {}, 0  # topic -> value
        while not self.over.wait(self.pace_s):
            pick = rng.random()
            try:
                if pick < 0.25:
                    self.read(voice)
                elif len(mine) < 3 or pick < 0.35:
                    serial += 1
                    name = f"m{number}-{serial}"
                    self.change(voice, mine, name, 0, "topic_create", topic=name, partitions=1, replicas=1, config=[self.setting(0)])
                elif pick < 0.9:
                    name = rng.choice(list(mine))
                    value = mine[name] + 1
                    self.change(voice, mine, name, value, "topic_alter", topic=name, set=[self.setting(value)])
                else:
                    name = rng.choice(list(mine))
                    self.change(voice, mine, name, None, "topic_delete", topic=name)
            except Unknown:
                self.unknown += 1
        voice.close()

    @staticmethod
    def setting(value):
        return {"key": "retention.ms", "value": str(BASE_MS + value)}

    def change(self, voice, mine, name, value, api, **fields):
        mine.pop(name, None)  # nobody knows, until an answer comes
        with self.lock:
            self.loose.add(name)
        reply = voice.ask(api, **fields)
        if api == "topic_create" and reply.get("name") == "INVALID_REPLICATION":  # no broker is alive now: surely not made
            self.refused += 1
            with self.lock:
                self.loose.discard(name)
                self.sure[name] = None
            return
        if reply.get("error"):
            self.refused += 1
            self.run.find("O1 metadata: acknowledged changes stay", f"{api} {name} was refused, though this client alone changes it: {reply['name']}: {reply['message']}")
            return
        with self.lock:
            self.loose.discard(name)
            self.sure[name] = value
            self.version = max(self.version, reply["version"])
            self.acked += 1
            self.ack_times.append(time.monotonic())
        if value is not None:
            mine[name] = value

    def read(self, voice):
        """What only the coordinator in office answers has to show everything that was acknowledged before the question."""
        least = self.version
        reply = voice.ask("cluster_status")
        self.reads += 1
        self.run.need(not reply.get("error") and reply["version"] >= least, "O7 no stale read",
                      f"version {least} was acknowledged, then {reply.get('version')} was read of {reply.get('coordinator')} in epoch {reply.get('epoch')}")

    def wait_acked(self, more=1, seconds=10):
        target = self.acked + more
        return nodes.wait_until(lambda: self.acked >= target, f"{more} more changes of metadata acknowledged", seconds)

    def longest_gap_s(self):
        return max((b - a for a, b in zip(self.ack_times, self.ack_times[1:])), default=0)

    def heal(self, seconds=5):
        """Faults are over: changes are taken within 3 election timeouts (and what a slow machine adds)."""
        started = time.monotonic()
        try:
            self.wait_acked(1, 30)
            took = time.monotonic() - started
            self.run.figures["metadata_after_heal_s"] = round(took, 2)
            self.run.need(took <= seconds, "O9 metadata changes go on", f"only {took:.1f} s after all was healed")
        except AssertionError as error:
            self.run.find("O9 metadata changes go on", str(error))

    def finish(self):
        """Stops, and holds every node's metadata against what was acknowledged."""
        run = self.run
        self.over.set()
        for thread in self.threads:
            thread.join(GIVE_UP_S + 5)
        run.figures.update(metadata_acked=self.acked, metadata_unknown=self.unknown, metadata_reads=self.reads, metadata_gap_s=round(self.longest_gap_s(), 2))
        self.compare()
        run.held("O7 no stale read")
        missing = 0
        for name, value in self.sure.items():
            if name in self.loose:
                continue
            if value is None or missing > 5 or (len(self.sure) > 400 and hash(name) % 4):
                continue
            reply = self.cluster.admin("topic_describe", topic=name)
            found = None if reply.get("error") else next(int(e["value"]) for e in reply["config"] if e["key"] == "retention.ms") - BASE_MS
            missing += not run.need(found == value, "O1 metadata: acknowledged changes stay", f"{name}: {value} was acknowledged, {found} is there ({reply.get('name')})")

    def compare(self):
        """All nodes show the same topics, those that were acknowledged (O7)."""
        run, there = self.run, [node for node in self.cluster.nodes.values() if not node.spare]

        def views():
            seen = {}
            for node in there:
                reply = self.cluster.metadata(node)
                if reply:
                    seen[node.name] = (reply["version"], sorted((t["name"], t["id"], [(p["leader"], p["epoch"], p["isr"]) for p in t["partitions"]]) for t in reply["topics"]))
            return seen

        def agree():
            seen = views()
            return seen if len(seen) == len(there) and len({repr(view) for view in seen.values()}) == 1 else None

        try:
            seen = nodes.wait_until(agree, "all nodes show the same metadata", 20, pace=0.2)
        except AssertionError as error:
            seen = views()
            run.find("O7 one metadata everywhere", f"{error}: {[(name, view[0], len(view[1])) for name, view in seen.items()]}")
        run.held("O7 one metadata everywhere")
        there = {name for name, _, _ in next(iter(seen.values()))[1]} if seen else set()
        for name, value in self.sure.items():
            if name not in self.loose:
                run.need((name in there) == (value is not None), "O1 metadata: acknowledged changes stay",
                         f"{name} was {'created' if value is not None else 'deleted'}, and that is gone")
