# SPDX-License-Identifier: MPL-2.0
"""Flows (see _engine.py) that more than one client needs: one request, the topic __offsets, a group's offsets."""
import os
import time
from typing import Any, Dict, List, Optional

from . import _errors
from ._batch import crc32c
from ._engine import ANY, COORDINATOR, Call, Engine, Flow

OFFSETS = "__offsets"
ENTRIES_MAX = 1000  # offsets in one commit
PAUSE = 0.02


def ask(engine: Engine, api: str, values: Dict[str, Any], to: Any, deadline: float) -> Flow:
    """One request, retried until the deadline. The reply; or the error."""
    reply = yield Call(api, values, to, attempt=engine.request_timeout, deadline=deadline)
    return reply


def change(engine: Engine, api: str, values: Dict[str, Any], deadline: float) -> Flow:
    """A change that the coordinator makes once, however often it is asked: the operation's id tells."""
    return (yield from ask(engine, api, {**values, "operation": os.urandom(16)}, COORDINATOR, deadline))


def metadata(engine: Engine, names: List[str], deadline: float, internal: bool = False, brokers_only: bool = False) -> Flow:
    reply = yield from ask(engine, "metadata", {"topics": names, "internal": internal, "brokers_only": brokers_only}, ANY, deadline)
    with engine.lock:
        engine.view.apply(reply, False, time.monotonic())
    return reply


def wait_version(engine: Engine, version: int, deadline: float, topic: Optional[str] = None) -> Flow:
    """Until the node asked has heard of a change, so that whoever asks next finds it."""
    while True:
        reply = yield from metadata(engine, [topic] if topic else [], deadline, internal=True, brokers_only=not topic)
        if reply["version"] >= version or time.monotonic() >= deadline:
            return reply
        yield PAUSE


def offsets_count(engine: Engine, deadline: float, make: bool) -> Flow:
    """Partitions of __offsets; 0: nobody has committed anything in this cluster, and `make` is False."""
    begun = False
    while True:
        reply = yield from metadata(engine, [OFFSETS], deadline, internal=True)
        rows = [row for row in reply["topics"] if row["name"] == OFFSETS and not row["error"]]
        if rows and rows[0]["partitions"]:
            return len(rows[0]["partitions"])
        if not make:
            return 0
        if time.monotonic() >= deadline:
            raise _errors.LocalTimedOutError("the topic %s was not made in time" % OFFSETS)
        if not begun:
            yield from ask(engine, "offsets_begin", {}, COORDINATOR, deadline)
            begun = True
        yield PAUSE


def offsets_place(engine: Engine, group: str, deadline: float, make: bool) -> Flow:
    """(topic, partition) of the leader who keeps the group's offsets; None: nobody has committed anything."""
    topic = engine.view.topics.get(OFFSETS)
    count = len(topic.places) if topic is not None and topic.known else 0
    if not count:
        count = yield from offsets_count(engine, deadline, make)
    if not count:
        return None
    return OFFSETS, crc32c(group.encode()) % count


def committed(engine: Engine, group: str, entries: List[Dict[str, Any]], deadline: float) -> Flow:
    """Rows of the reply `committed`; none where nobody has committed."""
    place = yield from offsets_place(engine, group, deadline, any(entry.get("token") for entry in entries))
    if place is None:
        return []
    reply = yield from ask(engine, "committed", {"group": group, "entries": entries}, place, deadline)
    return reply["offsets"]


def list_offsets(engine: Engine, topic: str, partition: int, at: str, deadline: float, time_ms: int = -1,
                 read: str = "committed") -> Flow:
    return (yield from ask(engine, "list_offsets", {"topic": topic, "partition": partition, "at": at, "time_ms": time_ms, "read": read},
                           (topic, partition), deadline))
