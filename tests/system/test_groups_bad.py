# SPDX-License-Identifier: MPL-2.0
"""What a group refuses, from people and from peers that lie: a number and a sentence each time; nobody loses a partition, no offset moves.

unmoved() is the oracle: members, owners, tokens and committed offsets before and after, and an honest member that goes on.
"""

import contextlib
import itertools
import os

import msgpack

from harness import run, up, wait_until
from members import LONG, Hand, lines, members, own, parts, read_all
from peer import Peer, refused
from test_bad_input import wrong_values

NODE = None


def topic(name, partitions=2, records=100):
    NODE.weft("topic", "create", name, "--partitions", partitions)
    for number in range(partitions):
        NODE.weft("produce", name, "--partition", number, "--key-separator", ":", input=lines(0, records)[0])


def state(group):
    with Hand(NODE.endpoint, group) as hand:
        told = hand.ask("group_describe", group=group)
        owns = sorted((m["member"], m["epoch"], [(t["topic_id"], t["partitions"], t["tokens"]) for t in m.get("owns") or []]) for m in told["members"])
        offsets = hand.ask("committed", group=group).get("offsets") or []
        return told["epoch"], owns, sorted((o["topic_id"], o["partition"], o["offset"], o["token"]) for o in offsets)


@contextlib.contextmanager
def unmoved(honest):
    """What happens inside changes nothing; the honest member goes on."""
    before = state(honest.group)
    yield
    assert NODE.process.poll() is None, NODE.trace()
    assert not honest.beat().get("error")
    after = state(honest.group)
    assert after == before, f"{before} became {after}"


@contextlib.contextmanager
def honest(group, name, count=2):
    """A member by hand that owns all of a topic and has committed 10 everywhere."""
    topic(name, count)
    with Hand(NODE.endpoint, group, name) as hand:
        hand.owns(count)
        for part, token in hand.owned.items():
            assert hand.committed(part, token)["offset"] == -1
            assert not hand.commit(part, 10).get("error")
        yield hand


def test_bad__people_are_told_what_is_wrong_with_a_subscription():
    topic("people")

    def refused_consume(*words, says):
        done = NODE.weft("consume", *words, status=None)
        assert done.returncode in (1, 2) and says in done.stderr and len(done.stderr) < 1000, (words, done.returncode, done.stderr)

    refused_consume("people", "--group", "people", "--set", "assignor=zigzag", says="there is no assignor 'zigzag': uniform or range")
    refused_consume("people", "--group", "people", "--set", "session.ms=100", says="session_ms 100 is not within 1000 and 1800000")
    refused_consume("people", "--group", "people", "--set", "session.ms=1h", says="session_ms 3600000 is not within")
    refused_consume("peo[", "--group", "people", says="'peo[' has a '[' that is never closed")
    refused_consume("people", "--group", "g" * 10240, says="255")
    refused_consume("people", "--group", "", says="--group is empty")
    refused_consume("people", "--show-rebalance", says="goes with --group")
    refused_consume("missing", "--group", "people", says="missing")
    assert "people" not in NODE.weft("group", "list").stdout


def test_bad__a_join_that_can_not_be_is_refused():
    topic("join")
    bad = [({"topics": []}, "INVALID_REQUEST", "names the topics"), ({"topics": None}, "INVALID_REQUEST", "names the topics"),
           ({"topics": [""]}, ("INVALID_PATTERN", "INVALID_TOPIC"), ""), ({"topics": ["a b"]}, ("INVALID_PATTERN", "INVALID_TOPIC"), ""), ({"topics": ["x["]}, "INVALID_PATTERN", "closed"),
           ({"topics": ["x" * 250]}, "INVALID_REQUEST", "topics"), ({"topics": ["x"] * 257}, "INVALID_REQUEST", "topics"), ({"assignor": "zigzag"}, "UNSUPPORTED_ASSIGNOR", "zigzag"),
           ({"session_ms": 1}, "INVALID_REQUEST", "session"), ({"session_ms": 4000000000}, "INVALID_REQUEST", "session"), ({"release_ms": 0}, "INVALID_REQUEST", "release_ms"),
           ({"member": bytes(16)}, "INVALID_REQUEST", "zero"), ({"group": ""}, "INVALID_GROUP", ""), ({"group": "a\nb"}, "INVALID_GROUP", ""), ({"group": "g" * 256}, "INVALID_REQUEST", "group"),
           ({"group": "g" * 10240}, "INVALID_REQUEST", "group"), ({"instance": "a\x00b"}, "INVALID_REQUEST", "instance"), ({"instance": "i" * 256}, "INVALID_REQUEST", "instance"),
           ({"client": "c" * 129}, "INVALID_REQUEST", "client"), ({"leave": "tomorrow"}, "INVALID_REQUEST", "tomorrow"), ({"epoch": 7}, ("UNKNOWN_MEMBER", "FENCED_MEMBER"), "")]
    with Hand(NODE.endpoint, "join", "join") as hand:
        for changes, names, says in bad:
            reply = refused(hand.beat(**changes), *([names] if isinstance(names, str) else names))
            assert says in reply["message"], (changes, reply)
        refused(hand.ask("group_describe", group="join"), "UNKNOWN_GROUP")  # nothing came of any of them
        hand.owns(2)


def test_bad__a_subscription_to_what_is_not_there_waits_and_says_so():
    with Hand(NODE.endpoint, "nothing", "not-yet") as hand:
        reply = hand.turn()
        assert reply["unknown"] == ["not-yet"] and not hand.owned, reply
        topic("not-yet")
        hand.owns(2)


def test_bad__anothers_id_or_an_old_epoch_moves_nothing():
    with honest("id", "id") as hand, Hand(NODE.endpoint, "id", "id") as thief, unmoved(hand):
        thief.id = hand.id
        for epoch in (1, hand.epoch - 1, hand.epoch + 1, (1 << 64) - 1):
            refused(thief.beat(epoch=epoch), "FENCED_MEMBER")
            refused(thief.beat(epoch=epoch, leave="leave"), "FENCED_MEMBER")
            refused(thief.beat(epoch=epoch, topics=["nothing"]), "FENCED_MEMBER")
        refused(thief.beat(epoch=hand.epoch, leave="pause"), "INVALID_REQUEST")  # no instance: nobody could come back
        for ahead in ({"seen": hand.seen + 1}, {"revision": hand.seen + 1}, {"seen": 0, "revision": hand.seen}, {"seen": (1 << 64) - 1, "revision": (1 << 64) - 1}):
            refused(hand.beat(**ahead), "INVALID_REQUEST")
        refused(hand.beat(member=os.urandom(16)), "UNKNOWN_MEMBER")
        refused(hand.beat(topics=["x["]), "INVALID_PATTERN")
        refused(hand.beat(assignor="zigzag"), "UNSUPPORTED_ASSIGNOR")


def test_bad__a_join_under_a_known_id_takes_its_place_and_fences_it():
    with honest("again", "again", 1) as hand:
        part, old = next(iter(hand.owned.items()))
        with Hand(NODE.endpoint, "again", "again") as second:
            second.id = hand.id
            second.owns(1)
            assert second.owned[part] > old
            assert second.committed(part, second.owned[part])["offset"] == 10
            refused(hand.beat(), "FENCED_MEMBER")
            refused(hand.commit(part, 99), "FENCED")
            assert second.committed(part)["offset"] == 10


def test_bad__an_instance_name_in_use_is_refused_and_says_whose_it_is():
    topic("instance")
    with Hand(NODE.endpoint, "instance", "instance", instance="one") as hand, Hand(NODE.endpoint, "instance", "instance", instance="one") as other:
        hand.owns(2)
        with unmoved(hand):
            reply = refused(other.beat(), "INSTANCE_IN_USE")
            assert "hand@" in reply["message"] and "'one'" in reply["message"] and reply["retry_ms"] > 0, reply


def test_bad__a_commit_from_the_past_or_of_nobody_is_refused():
    with honest("commit", "commit") as hand, unmoved(hand):
        part, token = next(iter(hand.owned.items()))
        with Hand(NODE.endpoint, "commit", "commit") as stranger:
            for stale in (1, token - 1):
                refused(stranger.commit(part, 50, token=stale), "FENCED")
                assert stranger.committed(part, stale)["error"] != 0  # nor does asking with it raise a fence
            refused(stranger.commit(part, 50), "FENCED")  # without a token, while a member holds it
        refused(hand.commit(part, 50, n=0), "FENCED")  # its own, out of order
        for offset in (-1, -(1 << 63)):
            refused(hand.commit(part, offset), "INVALID_REQUEST")
        refused(hand.commit(part, 50, metadata="m" * 4097), "METADATA_TOO_LARGE")
        refused(hand.commit(part, 50, partition=77), "UNKNOWN_PARTITION", "UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PARTITION")
        refused(hand.commit(part, 50, topic_id=os.urandom(16)), "UNKNOWN_TOPIC")
        refused(hand.commit(part, 50, topic_id=None, topic="no-such"), "UNKNOWN_TOPIC")
        refused(hand.commit(part, 50, group=""), "INVALID_GROUP")
        refused(hand.commit(part, 50, group="g" * 10240), "INVALID_REQUEST")
        entry = {"topic_id": part[0], "partition": part[1]}
        refused(hand.ask("offsets_delete", group="commit", token=token - 1, entries=[entry]), "FENCED")
        for stale in (0, 1, min(hand.owned.values()) - 1):  # deletes what is older than it: nothing
            reply = hand.ask("offsets_delete", group="commit", token=stale)
            assert reply.get("error") or reply.get("deleted", 0) == 0, reply


def test_bad__of_several_offsets_each_has_its_own_answer():
    with honest("several", "several") as hand:
        good, other = sorted(hand.owned)
        entries = [{"topic_id": good[0], "partition": good[1], "offset": 20, "token": hand.owned[good]},
                   {"topic_id": other[0], "partition": other[1], "offset": 20, "token": hand.owned[other] - 1},
                   {"topic_id": os.urandom(16), "partition": 0, "offset": 20, "token": hand.owned[good]}]
        reply = hand.ask("commit", group="several", n=9, entries=entries)
        assert not reply.get("error") and [each["index"] for each in reply["refused"]] == [1, 2] and all(each["message"] for each in reply["refused"]), reply
        assert (hand.committed(good)["offset"], hand.committed(other)["offset"]) == (20, 10)


def test_bad__a_commit_beyond_the_end_is_told_at_the_next_fetch():
    with honest("beyond", "beyond", 1) as hand:
        part = next(iter(hand.owned))
        assert not hand.commit(part, 1000).get("error")  # the offsets' leader does not know the log's end
        assert not hand.beat(leave="leave").get("error")
    assert "1000" in NODE.weft("group", "describe", "beyond").stdout.replace(",", "")
    with members() as member:
        stops = member(NODE.endpoint, "beyond", "beyond", options=("--set", "reset=error"))
        assert stops.ended() == 1 and any("beyond/0 at offset 1000" in line for line in stops.said), stops.said
        assert stops.values() == []
        goes_on = member(NODE.endpoint, "beyond", "beyond")
        wait_until(lambda: any("went on at offset 0, not 1000" in line for line in goes_on.said), "the jump is said")
        read_all([str(n) for n in range(100)], goes_on)


BAD = "INVALID_REQUEST", "BAD_FRAME", "NOT_LEADER", "NOT_COORDINATOR"  # the last two: at the other door


@contextlib.contextmanager
def both_doors():
    """Peers of the broker and of the coordinator: who does not serve an api has to stand it too."""
    with Peer(NODE.endpoint) as broker, Peer(broker.ask("metadata")["coordinators"][0]) as coordinator:
        yield broker, coordinator


def test_bad__hostile_frames_of_every_kind_are_answered_and_move_nothing():
    with honest("hostile", "hostile") as hand:
        part, token = next(iter(hand.owned.items()))
        entry = {"topic_id": part[0], "partition": part[1], "offset": 50, "token": token}
        whole = {"group_heartbeat": {"group": "hostile", "member": os.urandom(16), "topics": ["hostile"], "session_ms": LONG * 1000}, "commit": {"group": "hostile", "n": 1, "entries": [entry]},
                 "committed": {"group": "hostile", "entries": [entry]}, "offsets_delete": {"group": "hostile", "token": 1}, "group_describe": {"group": "hostile"}, "group_token": {"group": "hostile"},
                 "group_delete": {"group": "hostile"}, "offsets_list": {"partition": 0}}
        with unmoved(hand), both_doors() as doors:
            for peer, (api, fields) in itertools.product(doors, whole.items()):
                frames = []
                for name in fields:  # each field of each wrong type, and missing
                    kind = {bytes: "id", str: "str", int: "u64", list: "[str]" if name == "topics" else "[struct]"}[type(fields[name])]
                    frames += [{**fields, name: value} for value in wrong_values(kind)]
                    frames += [{key: value for key, value in fields.items() if key != name}] if name in ("group", "member", "partition") else []
                for fields_now in frames:
                    reply = peer.ask(api, **fields_now)
                    assert reply.get("error"), (api, fields_now, reply)
                for name, value in ("partition", -1), ("partition", 1 << 32), ("offset", "x"), ("token", -1), ("topic_id", b"short"), ("metadata", 5), ("metadata", "m" * 70000):
                    if "entries" in fields and not (api == "committed" and name in ("offset", "metadata")):
                        refused(peer.ask(api, **{**fields, "entries": [{**entry, name: value}]}), *BAD)
            for peer in doors:
                refused(peer.ask("commit", group="hostile", n=99, entries=[{**entry, "token": 1}] * 10001), *BAD)
                hostile_bytes(peer)


def hostile_bytes(peer):
    """Prefixes and flipped bits of a heartbeat and a commit that are refused for two reasons each, of which a bit takes one away."""
    for header in (msgpack.packb({"api": "group_heartbeat", "id": 5, "group": "hostile", "member": os.urandom(16), "epoch": 7, "topics": ["x["]}),
                   msgpack.packb({"api": "commit", "id": 5, "group": "hostile", "n": 1, "entries": [{"partition": 0, "offset": 5, "token": 1}]})):
        for size in range(1, len(header)):
            assert peer.exchange(header[:size]).get("error")
        for bit in range(0, len(header) * 8, 3):
            flipped = bytearray(header)
            flipped[bit // 8] ^= 1 << bit % 8
            peer.exchange(bytes(flipped))


def test_bad__a_flood_of_joins_and_commits_leaves_others_served():
    with honest("flood", "flood") as hand, both_doors() as (_, coordinator):
        part = next(iter(hand.owned))
        before = state("flood")
        for n in range(2000):
            coordinator.send(msgpack.packb({"api": "group_heartbeat", "id": n, "group": f"flood-{n % 50}", "member": os.urandom(16), "topics": ["flood"], "session_ms": 1000, "wait_ms": 1000}))
        assert not hand.beat().get("error")
        seen = [coordinator.receive()[0] for _ in range(200)]
        assert all(reply.get("error", 0) == 0 or reply["message"] for reply in seen)
        assert state("flood") == before
        assert not hand.commit(part, 30).get("error")


if __name__ == "__main__":
    with up() as NODE:
        run({name: value for name, value in globals().items() if name.startswith("test_bad__")})
