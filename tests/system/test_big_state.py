# SPDX-License-Identifier: MPL-2.0
"""A cluster whose state is larger than one frame of the wire: a coordinator that was away gets all of it, and takes office with it."""

import os

from harness import clusters, run, wait_until
from members import Hand

FRAME = 32 * 1024 * 1024
GROUPS, MEMBERS, TOPICS = 3, 640, 256  # subscriptions of 62 KiB each, no two the same


def fill(cluster):
    """Members that say what they want to read, once: their sessions outlast the test."""
    with Hand(cluster.endpoints, "") as hand:
        for n in range(MEMBERS):
            group, first = n % GROUPS, n // GROUPS
            hand.group, hand.id, hand.epoch = f"group-{group}", os.urandom(16), 0
            hand.join = {"topics": [f"{group}-{(first + i) % 400}-".ljust(249, "x") for i in range(TOPICS)], "client": "hand", "session_ms": 1800000}
            reply = hand.beat()
            assert not reply.get("error"), reply


def members(cluster):
    return sorted((group["group"], group["members"]) for group in cluster.json("group", "list"))


def behind(cluster, name):
    return next(voter for voter in cluster.json("cluster", "voters") if voter["id"] == int(name[-1]))


def test_big__a_coordinator_that_was_away_gets_a_state_beyond_a_frame():
    with clusters() as cluster:
        cluster.up(1, "--coordinators", 3, "--set-coordinator", "snapshot.commands=100")
        active = cluster.coordinator()
        away, third = [name for name in ("coordinator-1", "coordinator-2", "coordinator-3") if name != active]
        cluster("kill", away)
        fill(cluster)
        assert (cluster.directory / active / "snapshot").stat().st_size > FRAME
        before = members(cluster)
        cluster("start", away)
        wait_until(lambda: behind(cluster, away)["reachable"] and behind(cluster, away)["behind"] == 0, "it has caught up", 60)
        assert "installs a snapshot of the leader" in (cluster.directory / f"{away}.trace").read_text()
        assert (cluster.directory / away / "snapshot").stat().st_size > FRAME
        assert cluster.coordinator() == active  # which kept its office meanwhile
        cluster("kill", active)
        wait_until(lambda: cluster.coordinator() != active, "another is in office", 60)
        assert members(cluster) == before
        cluster("kill", third)  # one alone decides nothing
        cluster("start", active)
        wait_until(lambda: behind(cluster, active)["behind"] == 0 and cluster.coordinator() in (away, active), "the two are a quorum", 60)
        assert members(cluster) == before


if __name__ == "__main__":
    run(globals())
