# SPDX-License-Identifier: MPL-2.0
"""The sending half of a producer: batches of a partition (a lane) leave in order of their sequences, whatever happens to them.

As in the C client (lib/client/producer_dispatch.c): whatever makes an attempt fail only marks its batch READY again, and may set a
time before which nothing of the lane is sent; the one place that sends walks the queue from its head and stops at the first batch
that can't go. A batch that is given up breaks the lane: nothing new leaves until all that is in doubt is resolved, then the lane
goes on under the next epoch of its producer id (`_mend`). So a retry never adds a record twice nor reorders (I3)."""
import collections
import logging
import random
import threading
import time
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from . import _errors
from ._batch import header_bytes, pack_records, seal
from ._engine import NEVER, Call, Engine, Part
from ._view import MISSING_GRACE
from .errors import LoneRecordTooLargeError, WeftError

log = logging.getLogger("weft.producer")

OPEN, READY, WAITING, RESTAMP = range(4)
REDIRECTS_AT_ONCE = 3
MOVING_TRIES_MAX = 3
BLOCKED = 0.002  # the transport takes no more: try again after this, if nothing else calls earlier
EPOCH_MAX = 32767


class Batch:
    """Records of one partition that leave together. Program side: `append` guards records, size, event and callbacks."""

    __slots__ = ("lane", "records", "size", "base_ms", "opened", "deadline", "count", "max_ms", "payload", "raw_bytes", "sequence", "wire",
                 "state", "in_doubt", "done", "error", "offset", "level", "callbacks", "event", "urgent", "last_error", "tries")

    def __init__(self, lane: "Lane", base_ms: int, now: float, deadline: float) -> None:
        self.lane, self.base_ms, self.opened, self.deadline = lane, base_ms, now, deadline
        self.records: List[Tuple[int, Optional[bytes], Optional[bytes], Any]] = []
        self.size, self.count, self.max_ms, self.raw_bytes, self.sequence, self.tries = 80, 0, 0, 0, -1, 0
        self.payload = self.wire = b""
        self.state, self.in_doubt, self.done, self.urgent = OPEN, False, False, False
        self.error: Optional[WeftError] = None
        self.last_error: Optional[WeftError] = None
        self.offset, self.level = -1, None  # type: int, Optional[str]
        self.callbacks: Optional[List[Callable[[], None]]] = None
        self.event: Optional[threading.Event] = None


class Lane:
    """One partition of a topic, as the producer sees it."""

    __slots__ = ("topic", "number", "open", "closed", "active", "queue", "in_flight", "identity", "epoch", "next_sequence", "broken",
                 "retry", "tries")

    def __init__(self, topic: "Topic", number: int) -> None:
        self.topic, self.number = topic, number
        self.open: Optional[Batch] = None
        self.closed: Deque[Batch] = collections.deque()  # by the program, full
        self.active = self.broken = False
        self.queue: Deque[Batch] = collections.deque()
        self.in_flight = self.tries = 0
        self.retry = 0.0
        self.identity = random.getrandbits(63) or 1
        self.epoch = self.next_sequence = 0


class Topic:
    __slots__ = ("name", "lanes", "sticky", "generation")

    def __init__(self, name: str, generation: int) -> None:
        self.name, self.generation = name, generation
        self.lanes: List[Lane] = []
        self.sticky: Optional[Lane] = None  # where records without a key go, until its batch is closed


class Sender(Part):
    """A part of the engine. `append` is the one lock between it and those who send."""

    def __init__(self, engine: Engine, settings: Dict[str, Any]) -> None:
        self.engine = engine
        self.append = threading.Lock()
        self.room = threading.Condition(self.append)
        self.pending: Dict[Batch, None] = {}  # all that are not done, oldest first
        self.active: List[Lane] = []
        self.topics: Dict[str, Topic] = {}
        self.waiting_bytes = 0
        self.fatal: Optional[WeftError] = None
        self.counts = engine.counts
        self.acks, self.durable, self.idempotent = settings["acks"], settings["durable"], settings["idempotent"]
        self.codec, self.compress = settings["codec"]
        self.linger, self.window, self.timeout = settings["linger"], settings["in_flight"], settings["request_timeout"]
        self.retries = settings["retries"]
        self._updates = -1

    # ---- program side, under `append`

    def roll(self, lane: Lane) -> None:
        """Closes the open batch."""
        batch = lane.open
        assert batch is not None
        lane.open = None
        lane.closed.append(batch)
        self.waiting_bytes += batch.size
        if lane.topic.sticky is lane:
            lane.topic.sticky = None

    def activate(self, lane: Lane) -> None:
        if not lane.active:
            lane.active = True
            self.active.append(lane)

    # ---- on the engine's thread

    def turn(self, now: float) -> float:
        if self.engine.view.fatal is not None and self.fatal is None:
            self.fatal = self.engine.view.fatal
            self.fail_all(self.fatal)
        if self._updates != self.engine.view.updates:
            self._updates = self.engine.view.updates
            self._follow_topics()
        with self.append:
            lanes = list(self.active)
        due = self._mind_missing(lanes, now)
        for lane in lanes:
            due = min(due, self._lane_turn(lane, now))
            if not lane.queue:
                with self.append:
                    if lane.open is None and not lane.closed:
                        lane.active = False
                        self.active.remove(lane)
        return due

    def abandoned(self, now: float) -> bool:
        with self.append:
            for batch in self.pending:
                batch.urgent = True
            return not self.pending

    def closed(self) -> None:
        if self.engine.orphaned:  # the parent delivers them
            for lane in self.active:
                lane.open = None
                lane.closed.clear()
                lane.queue.clear()
            for batch in list(self.pending):
                self.report(batch, -1, None, _errors.LocalClosedError(str(self.engine.closed_error()), "maybe_applied"))
            return
        self.fail_all(_errors.LocalClosedError("the producer was closed before the record was delivered"))

    def hold(self) -> None:
        self.append.acquire()

    def release(self) -> None:
        self.append.release()

    def _follow_topics(self) -> None:
        """Partitions that were added, topics that were made again."""
        for topic in self.topics.values():
            view = self.engine.view.topics.get(topic.name)
            if view is None or not view.known:
                continue
            if view.generation != topic.generation:
                topic.generation = view.generation
                for lane in topic.lanes:  # sequences of another log: what may have been written there is not written here, too
                    self._fail_lane(lane, _errors.TopicReplacedError(), only_in_doubt=True)
                    lane.broken = self.idempotent
                gone = topic.lanes[len(view.places):]
                with self.append:
                    del topic.lanes[len(view.places):]
                    topic.sticky = None
                self._fail_lanes(gone, _errors.TopicReplacedError())
            with self.append:
                while len(topic.lanes) < len(view.places):
                    topic.lanes.append(Lane(topic, len(topic.lanes)))

    def _mind_missing(self, lanes: List[Lane], now: float) -> float:
        """What waits for a topic that was deleted waits for nothing."""
        due = NEVER
        for name in {lane.topic.name for lane in lanes}:
            view = self.engine.view.topic(name)
            if view.missing_since is None:
                continue
            if self.engine.view.is_missing(view, now):
                self._fail_lanes([lane for lane in lanes if lane.topic.name == name],
                                 _errors.UnknownTopicError("topic '%s' was deleted" % name))
            else:
                due = min(due, view.missing_since + MISSING_GRACE + 0.001)
        return due

    def _lane_turn(self, lane: Lane, now: float) -> float:
        while lane.queue and lane.queue[0].deadline <= now:
            self._expired(lane.queue[0])
        moved, ripe_at = [], NEVER
        window = min(self.window, self.engine.session_window)
        with self.append:
            batch = lane.open
            if batch is not None:
                ripe_at = now if batch.urgent else batch.opened + self.linger
                # Beyond the window a batch does better to grow.
                roomy = lane.in_flight < window and not lane.closed and (not lane.queue or lane.queue[-1].state == WAITING)
                if ripe_at <= now and (roomy or batch.deadline <= now):
                    self.roll(lane)
                    ripe_at = NEVER
                elif ripe_at <= now:
                    ripe_at = batch.deadline  # or sooner, when an answer comes
            while lane.closed:
                moved.append(lane.closed.popleft())
        for batch in moved:
            self._pack(lane, batch)
        due = min(ripe_at, self._dispatch(lane, now, window))
        return min(due, lane.queue[0].deadline) if lane.queue else due

    def _pack(self, lane: Lane, batch: Batch) -> None:
        try:
            raw = pack_records(batch.records)
            batch.count, batch.max_ms = len(batch.records), batch.base_ms + max(record[0] for record in batch.records)
            batch.raw_bytes = len(raw)
            batch.payload = self.compress(raw) if self.codec else raw
            batch.records = []
            self._stamp(lane, batch)
        except Exception as error:
            log.exception("a batch of %s can't be packed", lane.topic.name)
            self.report(batch, -1, None, _errors.InvalidArgumentError("the records can't be packed: %s" % error, "not_applied"))
            return
        batch.state = READY
        lane.queue.append(batch)
        self.counts["batches_count"] += 1
        self.counts["batch_bytes"] += len(batch.wire)

    def _stamp(self, lane: Lane, batch: Batch) -> None:
        """Gives it the lane's identity and next sequence."""
        who = (lane.identity, lane.epoch, lane.next_sequence) if self.idempotent else (-1, -1, -1)
        header = header_bytes(self.codec, batch.count, batch.base_ms, batch.max_ms, who[0], who[1], who[2], batch.raw_bytes,
                              len(batch.payload))
        batch.wire, batch.sequence = seal(header, batch.payload), who[2]
        lane.next_sequence = (lane.next_sequence + batch.count) & 0x7FFFFFFF

    # ---- fates

    def report(self, batch: Batch, offset: int, level: Optional[str], error: Optional[WeftError]) -> None:
        """The end of a batch, told once."""
        with self.append:
            batch.offset, batch.level, batch.error = offset, level, error
            batch.done = True
            batch.payload = batch.wire = b""
            self.pending.pop(batch, None)
            self.waiting_bytes -= batch.size
            self.room.notify_all()
            event, callbacks, batch.callbacks = batch.event, batch.callbacks, None
        if event is not None:
            event.set()
        for callback in callbacks or ():
            self.engine.post(callback)
        self.counts["failed_count" if error else "delivered_count"] += batch.count

    def _failed(self, batch: Batch, error: WeftError) -> None:
        lane = batch.lane
        if batch.state == WAITING:
            lane.in_flight -= 1
        batch.state = RESTAMP  # a late answer finds that nobody waits
        lane.broken = self.idempotent
        lane.queue.remove(batch)
        doubt = batch.in_doubt or error.outcome == "maybe_applied"
        error.outcome = "maybe_applied" if doubt else "not_applied"
        log.warning("%d records for %s/%d were not delivered: %s", batch.count, lane.topic.name, lane.number, error)
        self.report(batch, -1, None, error)

    def _expired(self, batch: Batch) -> None:
        if batch.state == WAITING:
            batch.in_doubt = True
        last = " Last: %s" % batch.last_error if batch.last_error is not None else ""
        how = "it may have been written" if batch.in_doubt else "it was not written"
        self._failed(batch, _errors.LocalTimedOutError("not delivered within delivery_timeout_ms (%s).%s" % (how, last)))

    def _fail_lane(self, lane: Lane, error: WeftError, only_in_doubt: bool = False) -> None:
        for batch in list(lane.queue):
            if batch.state == WAITING:
                batch.in_doubt = True
            if batch.in_doubt or not only_in_doubt:
                self._failed(batch, type(error)(str(error)))

    def fail_all(self, error: WeftError) -> None:
        with self.append:
            lanes = list(self.active)
        self._fail_lanes(lanes, error)

    def _fail_lanes(self, lanes: List[Lane], error: WeftError) -> None:
        with self.append:
            early: List[Batch] = []
            for lane in lanes:
                if lane.open is not None:
                    self.roll(lane)
                early.extend(lane.closed)
                lane.closed.clear()
        for lane in lanes:
            self._fail_lane(lane, error)
        for batch in early:
            batch.count = len(batch.records)
            self.report(batch, -1, None, type(error)(str(error), "not_applied"))

    @staticmethod
    def _unresolved(batch: Batch) -> bool:
        return batch.state == WAITING or batch.in_doubt

    def _mend(self, lane: Lane) -> None:
        """After a batch was given up. As long as something sent is still in doubt nothing new may be sent."""
        if any(self._unresolved(batch) for batch in lane.queue):
            return
        if lane.epoch == EPOCH_MAX:
            lane.identity, lane.epoch = random.getrandbits(63) or 1, 0
        else:
            lane.epoch += 1
        lane.next_sequence, lane.broken = 0, False
        for batch in lane.queue:
            self._stamp(lane, batch)
            batch.state = READY
        self.counts["identities_count"] += 1

    # ---- answers

    def _gap(self, batch: Batch, error: WeftError) -> None:
        """The broker misses sequences before this batch. Earlier ones unanswered: it overtook them. None: what was acknowledged
        before it is gone there (acks leader and a failover, or the session expired)."""
        lane = batch.lane
        head = lane.queue[0]
        before = []
        for other in lane.queue:
            if other is batch:
                break
            before.append(other)
        if batch is not head and (not lane.broken or any(self._unresolved(other) for other in before)):
            if head.state == WAITING:
                self._try_later(lane, self.engine.wait_seconds(1))
            return
        if batch.in_doubt:
            self._failed(batch, error)
            return
        batch.state, lane.broken = RESTAMP, True

    def _try_later(self, lane: Lane, wait: float) -> None:
        lane.retry = max(lane.retry, time.monotonic() + wait)

    def _retry(self, call: Call, batch: Batch, error: WeftError, reply: Optional[Dict[str, Any]]) -> None:
        lane = batch.lane
        if batch is lane.queue[0]:
            lane.tries += 1
        batch.tries += 1
        self.counts["retries_count"] += 1
        if self.retries is not None and batch.tries > self.retries:
            self._failed(batch, error)
            return
        if call.redirected and lane.tries <= REDIRECTS_AT_ONCE:
            return
        unled = isinstance(error, _errors.NotLeaderError) and self.engine.leader(lane.topic.name, lane.number) is None
        if unled or isinstance(error, _errors.LocalNotConnectedError):
            return  # until there is one nothing can be sent
        tries = min(lane.tries, MOVING_TRIES_MAX) if error.error_class == "refresh" else lane.tries
        self._try_later(lane, max(self.engine.wait_seconds(tries), reply["retry_ms"] / 1000 if reply else 0.0))

    def _answered(self, call: Call, batch: Batch, error: Optional[WeftError], reply: Optional[Dict[str, Any]]) -> None:
        if batch.state != WAITING:
            return  # given up meanwhile
        lane = batch.lane
        lane.in_flight -= 1
        batch.state = READY
        if error is None and reply is not None:
            if reply["duplicate"]:
                self.counts["duplicates_count"] += 1
            self._delivered(batch, reply["offset"], reply["level"])
            return
        assert error is not None
        if isinstance(error, _errors.BatchTooLargeError) and batch.count == 1:
            error = LoneRecordTooLargeError("the record is too large: %s" % error)
        batch.last_error = error
        if reply is None or error.outcome == "maybe_applied":
            batch.in_doubt = True
        if error.outcome == "applied":  # a duplicate of long ago
            self._delivered(batch, -1, None)
        elif isinstance(error, (_errors.OutOfOrderSequenceError, _errors.UnknownProducerError)) and self.idempotent:
            self._gap(batch, error)
        elif error.retriable:
            self._retry(call, batch, error, reply)
        elif error.error_class == "fatal":
            self.fatal = error
            self.fail_all(error)
        else:
            self._failed(batch, error)

    def _delivered(self, batch: Batch, offset: int, level: Optional[str]) -> None:
        batch.lane.tries = 0
        batch.lane.queue.remove(batch)
        self.report(batch, offset, level, None)

    # ---- sending

    def _dispatch(self, lane: Lane, now: float, window: int) -> float:
        if not lane.queue:
            return NEVER
        if lane.retry > now:
            return lane.retry
        if lane.broken:
            self._mend(lane)
        for batch in list(lane.queue):
            if lane.in_flight >= window:
                break
            if batch.state == WAITING or (lane.broken and not batch.in_doubt):
                continue
            error = self._send(lane, batch)
            if isinstance(error, _errors.LocalWouldBlockError):
                return now + BLOCKED
            if error is not None:
                return now + self.engine.backoff  # no leader, no link: or sooner, when there is one
        return NEVER

    def _send(self, lane: Lane, batch: Batch) -> Optional[WeftError]:
        view = self.engine.view.topics[lane.topic.name]
        values = {"topic": lane.topic.name, "topic_id": view.id, "partition": lane.number, "acks": self.acks, "durable": self.durable,
                  "timeout_ms": int(self.timeout * 1000)}
        call = Call("produce", values, (lane.topic.name, lane.number), data=batch.wire, attempt=self.timeout + 1.0,
                    done=lambda call, error, reply, _data: self._answered(call, batch, error, reply))
        error = self.engine.attempt(call)
        if error is not None:
            return error
        if self.acks == "none":  # taken by the transport is all that is promised
            self.engine.cancel(call)
            batch.state = READY
            self._delivered(batch, -1, None)
            return None
        batch.state = WAITING
        lane.in_flight += 1
        return None
