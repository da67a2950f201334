# SPDX-License-Identifier: MPL-2.0
"""What a server must do for topics and consumer groups; as server_checks.py."""

import os
import time

from cluster import fine, refused
from report import registry
from wire import record

CHECKS, check = registry()

# ---- topics


@check("topic_create")
def topics_are_made_described_grown_and_deleted(world):
    topic = world.topic(partitions=2, retention_ms="1d")
    header = fine(world.link().ask("topic_describe", topic=topic)[0])
    config = {entry["key"]: entry for entry in header["config"]}
    assert header["partitions"] == 2 and config["retention.ms"]["value"] == "1d" and not config["retention.ms"]["is_default"]
    refused(world.coordinator("topic_create", topic=topic), "TOPIC_EXISTS")
    fine(world.coordinator("topic_add_partitions", topic=topic, to=4))
    refused(world.coordinator("topic_add_partitions", topic=topic, to=3), "INVALID_PARTITIONS")
    fine(world.coordinator("topic_alter", topic=topic, config=[{"key": "retention.ms", "value": "2d"}]))
    world.topics.remove(topic)
    fine(world.coordinator("topic_delete", topic=topic))
    refused(world.coordinator("topic_delete", topic=topic), "UNKNOWN_TOPIC")


@check("topic_create")
def an_operation_sent_twice_is_done_once(world):
    """Same operation id: answered as done."""
    name, operation = "conformance-" + os.urandom(6).hex(), os.urandom(16)
    first = fine(world.coordinator("topic_create", topic=name, operation=operation))
    world.topics.append(name)
    again = fine(world.coordinator("topic_create", topic=name, operation=operation))
    assert first["topic_id"] == again["topic_id"]


@check("topic_create")
def bad_topics_are_refused_and_nothing_is_made(world):
    for fields, names in (({"topic": ""}, ("INVALID_TOPIC", "INVALID_REQUEST")), ({"topic": "a b"}, ("INVALID_TOPIC",)), ({"topic": ".."}, ("INVALID_TOPIC",)),
                          ({"topic": "x" * 250}, ("INVALID_REQUEST", "INVALID_TOPIC")), ({"partitions": 0}, ("INVALID_PARTITIONS",)),
                          ({"partitions": 2**31}, ("INVALID_PARTITIONS",)), ({"replicas": 15}, ("INVALID_REPLICATION",)),
                          ({"config": [{"key": "no.such", "value": "1"}]}, ("INVALID_CONFIG",)),
                          ({"config": [{"key": "retention.ms", "value": "soon"}]}, ("INVALID_CONFIG",))):
        name = "conformance-" + os.urandom(6).hex()
        refused(world.coordinator("topic_create", **{"topic": name, **fields}), *names)
    name = "conformance-" + os.urandom(6).hex()
    fine(world.coordinator("topic_create", topic=name, validate_only=True))
    refused(world.link().ask("topic_describe", topic=name)[0], "UNKNOWN_TOPIC")


@check("topic_create")
def a_compacted_topic_takes_no_record_without_a_key(world):
    topic = world.topic(cleanup_policy="compact")
    refused(world.at(topic, "produce", 0, record())[0], "BAD_BATCH")
    world.produce(topic, record(key=b"k"))


# ---- groups


class Member:
    """The few lines of docs/ATTACH.md that a member is."""

    def __init__(self, world, group, topic, **joins):
        self.world, self.group, self.member = world, group, os.urandom(16)
        self.epoch = self.seen = 0
        self.owned = {}
        self.joins = {"topics": [topic], "client": "conformance", "session_ms": 6000, **joins}

    def beat(self, **more):
        header = self.world.coordinator("group_heartbeat", group=self.group, member=self.member, epoch=self.epoch, seen=self.seen,
                                        revision=self.seen, **({} if self.epoch else self.joins), **more)
        if not header.get("error") and not more.get("leave"):
            self.epoch = header["epoch"]
            if header.get("assigned"):
                self.seen = header["revision"]
                self.owned = {(t["topic"], p): token for t in header.get("assignment") or () for p, token in zip(t["partitions"], t["tokens"])}
        return header


def settle(members, condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in 20 s: {what}; owned: {[sorted(m.owned) for m in members]}"
        for member in members:
            fine(member.beat())
        time.sleep(0.02)  # allow-sleep: the pace of a wait with a deadline


@check("group_heartbeat")
def members_share_the_partitions(world):
    """One owner a partition, tokens grow, who leaves frees his."""
    topic, group = world.topic(partitions=4), "conformance-" + os.urandom(6).hex()
    ann, bob = Member(world, group, topic), Member(world, group, topic)
    settle([ann], lambda: len(ann.owned) == 4, "the only member owns all four partitions")
    before = dict(ann.owned)
    settle([ann, bob], lambda: len(ann.owned) == 2 and len(bob.owned) == 2, "two members own two each")
    assert not set(ann.owned) & set(bob.owned), "a partition has two owners"
    assert all(bob.owned[p] > before[p] for p in bob.owned), "a later giving has a higher token"
    fine(bob.beat(leave="leave"))
    settle([ann], lambda: len(ann.owned) == 4, "the one who stays owns all again")
    described = fine(world.coordinator("group_describe", group=group))
    assert any(m["client"] == "conformance" for m in described["members"]), described
    fine(ann.beat(leave="leave"))


@check("group_heartbeat")
def a_stranger_is_sent_back_to_join(world):
    topic, group = world.topic(), "conformance-" + os.urandom(6).hex()
    refused(world.coordinator("group_heartbeat", group=group, member=os.urandom(16), epoch=77), "UNKNOWN_MEMBER", "FENCED_MEMBER")
    refused(world.coordinator("group_heartbeat", group=group, member=os.urandom(16)), "INVALID_REQUEST")
    refused(world.coordinator("group_heartbeat", group="", member=os.urandom(16), topics=[topic]), "INVALID_GROUP", "INVALID_REQUEST")


@check("commit")
def commits_are_kept_and_fenced_by_token(world):
    topic, group = world.topic(), "conformance-" + os.urandom(6).hex()
    ann = Member(world, group, topic)
    settle([ann], lambda: ann.owned, "the member owns the partition")
    token = ann.owned[topic, 0]
    entry = {"topic": topic, "partition": 0}
    fence = fine(world.offsets("committed", group=group, entries=[{**entry, "token": token}]))["offsets"][0]
    assert fence["offset"] == -1 and fence["token"] == token, fence
    fine(world.offsets("commit", group=group, n=1, entries=[{**entry, "offset": 5, "token": token, "metadata": "five"}]))
    kept = fine(world.offsets("committed", group=group, entries=[entry]))["offsets"][0]
    assert kept["offset"] == 5 and kept["metadata"] == "five", kept
    refused(world.offsets("commit", group=group, n=9, entries=[{**entry, "offset": 1, "token": token - 1}]), "FENCED")
    fine(world.offsets("commit", group=group, n=2, entries=[{**entry, "offset": 6, "token": token}]))
    fine(ann.beat(leave="leave"))
    raised = fine(world.coordinator("group_token", group=group))["token"]
    assert raised > token
    fine(world.offsets("commit", group=group, n=1, entries=[{**entry, "offset": 2, "token": raised}]))
    assert fine(world.offsets("committed", group=group))["offsets"][0]["offset"] == 2
