# SPDX-License-Identifier: MPL-2.0
"""The receiving half of a consumer, on the engine's thread: which partition is read from where, and what was fetched.

A partition goes through: FENCE (of a group: the committed offset is asked for, which raises the fence against older owners),
RESOLVE (earliest, latest or a time: list_offsets), READ (one fetch under way while there is room), STOPPED (an error, until a seek).
Nothing is skipped in silence (I4): an offset that is gone follows auto_offset_reset, and says so in the log, or is raised."""
import collections
import logging
import operator
import time
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

from . import _errors, _flows
from ._batch import Batch, batches
from ._engine import NEVER, Call, Engine, Flow, Part
from .errors import NoOffsetForPartitionError, WeftError
from .structs import ConsumerRecord, TopicPartition

log = logging.getLogger("weft.consumer")

FENCE, RESOLVE, READ, STOPPED = "fence", "resolve", "read", "stopped"
WATCH_MS = 60000
TRIES_MAX = 3  # a leader that refuses is asked again soon: one answer may end an outage
FENCES_MAX = 1000
MISSING = "topic '%s' does not exist (yet); nothing of it is read before it does"


class Opened:
    """A batch that is being handed out. Where the program is, is read off the iterator: that costs nothing a record."""

    __slots__ = ("reading", "serial", "records", "iterator", "at", "next_offset", "epoch")

    def __init__(self, reading: "Reading", records: List[ConsumerRecord], next_offset: int, epoch: int) -> None:
        self.reading, self.serial, self.records = reading, reading.serial, records
        self.iterator: Optional[Iterator[ConsumerRecord]] = None
        self.at, self.next_offset, self.epoch = 0, next_offset, epoch

    def handed(self) -> int:
        if self.iterator is not None:
            return len(self.records) - operator.length_hint(self.iterator)
        return self.at

    def detach(self) -> None:
        """Whoever iterates over it gets no more of it."""
        iterator = self.iterator
        if iterator is not None:
            self.at, self.iterator = self.handed(), None
            collections.deque(iterator, maxlen=0)

    def position(self) -> int:
        at = self.handed()
        return self.records[at].offset if at < len(self.records) else self.next_offset


class Reading:
    """One partition of a consumer."""

    __slots__ = ("tp", "owned", "token", "topic_id", "state", "at", "sought", "position", "done", "fetch_offset", "fetch_epoch", "read_epoch",
                 "chunks", "queued", "is_ready", "opened", "serial", "call", "asked", "retry", "tries", "paused", "lost", "told", "leaving",
                 "resetting", "why", "high", "durable_end", "log_start", "caught_up", "committed", "generation", "warned")

    def __init__(self, tp: TopicPartition, at: Any, fence: bool, owned: bool = False, token: int = 0, topic_id: bytes = b"") -> None:
        self.tp, self.owned, self.token, self.topic_id = tp, owned, token, topic_id
        self.at, self.sought = at, False  # an offset, "earliest", "latest", "reset" or ("time", ms)
        self.state = FENCE if fence else RESOLVE
        self.position = self.done = self.fetch_offset = -1  # done: the program is through with what lies below
        self.fetch_epoch = self.read_epoch = -1
        self.chunks: Deque[Batch] = collections.deque()
        self.queued = self.serial = self.asked = self.tries = 0
        self.is_ready = self.paused = self.lost = self.told = self.leaving = self.resetting = self.caught_up = self.warned = False
        self.opened: Optional[Opened] = None
        self.call: Optional[Call] = None
        self.retry = 0.0
        self.why: Optional[WeftError] = None
        self.high = self.durable_end = self.log_start = self.committed = -1
        self.generation = -1

    @property
    def quiet(self) -> bool:
        return self.paused or self.lost or self.leaving

    def where(self) -> int:
        """The next record that the program gets; -1: not known yet."""
        return self.opened.position() if self.opened is not None else self.position

    def epoch(self) -> int:
        return self.opened.epoch if self.opened is not None and self.opened.handed() else self.read_epoch


class Fetcher(Part):
    """A part of the engine. Everything here is guarded by the engine's lock."""

    def __init__(self, engine: Engine, settings: Dict[str, Any]) -> None:
        self.engine = engine
        self.readings: Dict[TopicPartition, Reading] = {}
        self.free: Dict[Reading, None] = {}  # those without a request under way: with many partitions few
        self.ready: Deque[Reading] = collections.deque()
        self.failures: Deque[WeftError] = collections.deque()  # to be raised by the next poll
        self.held = 0  # bytes that are here, and those asked for
        self.group: str = settings["group"]
        self.reset: str = settings["reset"]
        self.read: str = settings["read"]
        self.fetch_bytes, self.min_bytes, self.wait_ms = settings["fetch_bytes"], settings["min_bytes"], settings["wait_ms"]
        self.buffer_bytes, self.timeout = settings["buffer_bytes"], settings["request_timeout"]
        self.interrupt: Callable[[], None] = lambda: None
        self.on_lost: Callable[[Reading, str], None] = lambda reading, text: None
        self._fencing = False
        self._quiet_bytes = -1  # of this turn

    # ---- what is read

    def add(self, reading: Reading) -> None:
        self.readings[reading.tp] = reading
        self.free[reading] = None
        self.engine.want(reading.tp.topic)
        self.engine.wake()

    def remove(self, reading: Reading) -> None:
        self.forget(reading)
        if self.readings.get(reading.tp) is reading:
            del self.readings[reading.tp]
        self.free.pop(reading, None)

    def forget(self, reading: Reading) -> None:
        """What was fetched and what is under way."""
        if reading.call is not None:
            self.engine.cancel(reading.call)
            self._is_free(reading)
        self.held -= reading.queued + reading.asked
        reading.queued = reading.asked = 0
        reading.chunks.clear()
        if reading.opened is not None:
            reading.position = reading.opened.position()
            reading.opened.detach()
            reading.opened = None
        reading.serial += 1
        self.interrupt()

    def move(self, reading: Reading, at: Any) -> None:
        """Seek."""
        if reading.state == FENCE:  # the fence comes first
            reading.at, reading.sought = at, True
            return
        self.forget(reading)
        reading.resetting, reading.tries, reading.retry, reading.why = False, 0, 0.0, None
        if at == "reset":
            if self.reset == "none":
                self.stop(reading, NoOffsetForPartitionError("%s/%d: there is no offset to begin at, and auto_offset_reset is 'none'; "
                                                             "seek to one" % reading.tp))
                return
            at = self.reset
        reading.at = at
        if isinstance(at, int):
            self._read_from(reading, at)
        else:
            reading.state, reading.position = RESOLVE, -1
        self.engine.wake()

    def set_paused(self, reading: Reading, paused: bool) -> None:
        reading.paused = paused
        if not paused and (reading.chunks or reading.opened is not None):
            self._make_ready(reading)
        self.engine.wake()

    def hush(self, reading: Reading) -> None:
        """It is lost, or asked back: nothing of it is handed out any more."""
        self.interrupt()
        self.engine.changed.notify_all()

    def stop(self, reading: Reading, error: WeftError) -> None:
        self.forget(reading)
        reading.state, reading.why = STOPPED, error
        self.failures.append(error)
        self.engine.changed.notify_all()

    def _read_from(self, reading: Reading, offset: int, epoch: int = -1) -> None:
        reading.state = READ
        reading.position = reading.done = reading.fetch_offset = offset
        reading.fetch_epoch = reading.read_epoch = epoch
        reading.caught_up = False
        self.engine.changed.notify_all()

    def _make_ready(self, reading: Reading) -> None:
        if not reading.is_ready:
            reading.is_ready = True
            self.ready.append(reading)
        self.engine.changed.notify_all()

    def take(self) -> Optional[Tuple[Reading, Any]]:
        """What the program gets next: an Opened that it was at before, or a Batch to be opened."""
        while self.ready:
            reading = self.ready.popleft()
            reading.is_ready = False
            if reading.quiet or self.readings.get(reading.tp) is not reading:
                continue
            if reading.opened is not None:
                return reading, reading.opened
            if reading.chunks:
                batch = reading.chunks.popleft()
                size = batch.end - batch.at
                reading.queued -= size
                self.held -= size
                if reading.chunks:  # its turn goes on: records of a frame stay together
                    reading.is_ready = True
                    self.ready.appendleft(reading)
                if reading.queued < self.fetch_bytes and reading.call is None:
                    self.engine.wake()
                return reading, batch
        return None

    def put_back(self, reading: Reading, batch: Batch, serial: int) -> bool:
        """A batch that was taken and could not be opened. False: there was a seek meanwhile."""
        if reading.serial != serial:
            return False
        reading.chunks.appendleft(batch)
        reading.queued += batch.end - batch.at
        self.held += batch.end - batch.at
        self.give_back(reading)
        return True

    def give_back(self, reading: Reading) -> None:
        """It has an Opened with records left, or a batch."""
        if not reading.is_ready and not reading.quiet:
            reading.is_ready = True
            self.ready.appendleft(reading)

    # ---- on the thread

    def turn(self, now: float) -> float:
        due = NEVER
        readings = list(self.free)  # in the order in which they became so: each gets its turn
        self._quiet_bytes = -1
        if not self._fencing and any(reading.state == FENCE and not reading.quiet for reading in readings):
            self._fencing = True
            self.engine.spawn(self._fence_flow())
        for reading in readings:
            due = min(due, self._reading_turn(reading, now))
        return due

    def _reading_turn(self, reading: Reading, now: float) -> float:
        if reading.state in (FENCE, STOPPED) or reading.call is not None or reading.lost or reading.leaving:
            return NEVER
        topic = self.engine.view.topic(reading.tp.topic)
        if not topic.known:
            self._warn_missing(reading, now)
            return now + 0.1 if not reading.warned else NEVER
        if reading.owned and topic.id != reading.topic_id:
            self.engine.refresh()  # one of the two was told late
            return now + self.engine.backoff
        if not reading.owned and reading.generation != topic.generation:
            if reading.generation >= 0:
                self._reset(reading, _errors.TopicReplacedError("topic '%s' was deleted and made again" % topic.name), "earliest")
            reading.generation = topic.generation
            if reading.state == STOPPED:
                return NEVER
        if reading.retry > now:
            return reading.retry
        if reading.state == RESOLVE:
            if reading.resetting and (reading.chunks or reading.opened is not None):
                return NEVER  # first what was good
            error = self._ask_offset(reading, topic.id)
        else:
            if reading.quiet:
                return NEVER
            many = len(self.readings) * self.fetch_bytes > self.buffer_bytes
            watch = many and reading.caught_up
            if not watch and not self._has_room(reading):
                return NEVER
            error = self._ask_data(reading, topic.id, watch, many)
        if error is None:
            return NEVER
        return now + (0.002 if isinstance(error, _errors.LocalWouldBlockError) else self.engine.backoff)

    def _warn_missing(self, reading: Reading, now: float) -> None:
        if self.engine.view.is_missing(self.engine.view.topic(reading.tp.topic), now) and not reading.warned:
            reading.warned = True
            log.warning(MISSING, reading.tp.topic)

    def _has_room(self, reading: Reading) -> bool:
        # What paused partitions hold may fill the budget for as long as the program likes: beside it one fetch goes on.
        if self.held + self.fetch_bytes > self.buffer_bytes:
            if self._quiet_bytes < 0:
                self._quiet_bytes = sum(other.queued for other in self.readings.values() if other.quiet)
            if self.held > self._quiet_bytes:
                return False
        return reading.queued < self.fetch_bytes  # one being read, one waiting

    def _ask_offset(self, reading: Reading, topic_id: bytes) -> Optional[WeftError]:
        at = "reset" if reading.at is None else reading.at
        if at == "reset":
            self.move(reading, at)
            if reading.state != RESOLVE:
                return None
            at = reading.at
        kind, time_ms = ("time", at[1]) if isinstance(at, tuple) else (at, -1)
        call = Call("list_offsets", {"topic": reading.tp.topic, "topic_id": topic_id, "partition": reading.tp.partition, "at": kind,
                                     "time_ms": time_ms, "read": self.read}, (reading.tp.topic, reading.tp.partition),
                    lambda call, error, reply, data: self._resolved(reading, call, error, reply), attempt=self.timeout)
        return self._attempt(reading, call)

    def _attempt(self, reading: Reading, call: Call) -> Optional[WeftError]:
        error = self.engine.attempt(call)
        if error is None:
            reading.call = call
            self.free.pop(reading, None)
        return error

    def _is_free(self, reading: Reading) -> None:
        reading.call = None
        if self.readings.get(reading.tp) is reading:
            self.free[reading] = None

    def _resolved(self, reading: Reading, call: Call, error: Optional[WeftError], reply: Any) -> None:
        if reading.call is not call:
            return
        self._is_free(reading)
        if error is not None:
            self._refused(reading, call, error, reply)
            return
        if reading.resetting:
            log.warning("%s/%d: offset %d is gone (%s); reading goes on at %d", *reading.tp, reading.position, reading.why,
                        reply["offset"])
        reading.resetting, reading.why, reading.tries = False, None, 0
        self._read_from(reading, reply["offset"])
        reading.log_start = reply["log_start"]

    def _ask_data(self, reading: Reading, topic_id: bytes, watch: bool, many: bool) -> Optional[WeftError]:
        # The first answer tells the end, so it must not wait; with many partitions only watches wait.
        wait_ms = WATCH_MS if watch else 0 if reading.high < 0 or many else self.wait_ms
        asked = 0 if watch else self.fetch_bytes
        call = Call("fetch", {"topic": reading.tp.topic, "topic_id": topic_id, "partition": reading.tp.partition,
                              "offset": reading.fetch_offset, "epoch": reading.fetch_epoch, "max_wait_ms": wait_ms,
                              "min_bytes": self.min_bytes, "max_bytes": asked, "read": self.read},
                    (reading.tp.topic, reading.tp.partition),
                    lambda call, error, reply, data: self._fetched(reading, call, error, reply, data, watch),
                    attempt=self.timeout + wait_ms / 1000, parked=wait_ms / 1000)
        error = self._attempt(reading, call)
        if error is None:
            reading.asked = asked
            self.held += asked
            self.engine.counts["fetches_count"] += 1
        return error

    def _fetched(self, reading: Reading, call: Call, error: Optional[WeftError], reply: Any, data: Optional[bytes], watch: bool) -> None:
        if reading.call is not call:
            return
        self._is_free(reading)
        self.held -= reading.asked
        reading.asked = 0
        if isinstance(error, _errors.OffsetOutOfRangeError):
            self._reset(reading, error)
        elif isinstance(error, _errors.DivergedError):
            self._diverged(reading, error, reply["end_offset"])
        elif error is not None:
            self._refused(reading, call, error, reply)
        else:
            reading.tries = 0
            reading.high, reading.durable_end = max(reading.high, reply["high_watermark"]), max(reading.durable_end, reply["durable"])
            reading.log_start = reply["log_start"]
            if data and not watch:
                self._take_data(reading, data)
            else:
                reading.caught_up = not watch
                self.engine.changed.notify_all()

    def _take_data(self, reading: Reading, data: bytes) -> None:
        offset, count = reading.fetch_offset, 0
        try:
            for batch in batches(data):
                if batch.next_offset <= offset or (count and batch.base_offset < offset):
                    break
                reading.chunks.append(batch)
                reading.queued += batch.end - batch.at
                self.held += batch.end - batch.at
                offset, reading.fetch_epoch, count = batch.next_offset, batch.leader_epoch, count + 1
        except WeftError as error:
            if not count:
                self._bad(reading, error)
                return
        if not count:
            self._bad(reading, _errors.BadBatchError("the answer holds no batch that reaches the offset"))
            return
        self.engine.counts["fetched_bytes"] += len(data)
        reading.fetch_offset, reading.caught_up = offset, False
        if not reading.quiet:
            self._make_ready(reading)

    def _bad(self, reading: Reading, error: WeftError) -> None:
        if reading.chunks:  # what came before is good: it is read first, then the same place is met again
            self._try_later(reading, 0.0)
            return
        self.bad_batch(reading, reading.fetch_offset, error)

    def bad_batch(self, reading: Reading, offset: int, error: WeftError) -> None:
        """Its leader is told, so that it looks at its disk."""
        self.engine.counts["bad_batches_count"] += 1
        self.stop(reading, type(error)("%s/%d at offset %d: %s. Seek behind it to go on." % (*reading.tp, offset, error)))
        report = Call("partition_status", {"topic": reading.tp.topic, "partition": reading.tp.partition, "suspect_offset": offset},
                      (reading.tp.topic, reading.tp.partition))
        self.engine.soon(lambda: self.engine.attempt(report))

    def _diverged(self, reading: Reading, error: WeftError, end: int) -> None:
        """The log no longer holds what was read last; `end` is where the common part ends."""
        position = reading.where()
        self.forget(reading)
        reading.high = reading.durable_end = -1
        if end < 0:
            self._reset(reading, error)
        elif position <= end:  # nothing that was handed out is lost
            epoch, done = reading.read_epoch, reading.done
            self._read_from(reading, position)
            reading.done, reading.read_epoch = done, epoch
        elif self.reset == "none":
            self.stop(reading, error)
        else:
            log.warning("%s/%d: records from %d to %d, which were read, are lost; reading goes on at %d", *reading.tp, end, position - 1, end)
            self._read_from(reading, end)

    def _reset(self, reading: Reading, error: WeftError, to: Optional[str] = None) -> None:
        self.engine.counts["resets_count"] += 1
        reading.high = reading.durable_end = -1
        if self.reset == "none":
            self.stop(reading, type(error)("%s/%d at offset %d: %s" % (*reading.tp, reading.fetch_offset, error)))
            return
        reading.state, reading.at, reading.resetting, reading.why = RESOLVE, to or self.reset, True, error

    def _try_later(self, reading: Reading, least: float) -> None:
        self.engine.counts["retries_count"] += 1
        reading.tries = min(reading.tries + 1, TRIES_MAX)
        reading.retry = time.monotonic() + max(self.engine.wait_seconds(reading.tries), least)

    def _refused(self, reading: Reading, call: Call, error: WeftError, reply: Any) -> None:
        reading.caught_up = False  # a real fetch tells soon that it is heard again, a watch would not
        if isinstance(error, _errors.TopicReplacedError):
            self.engine.refresh()  # then the view, or the group, tells
            self._try_later(reading, 0.0)
        elif isinstance(error, _errors.LocalClosedError):
            return
        elif error.retriable:
            at_once = call.redirected and reading.tries < TRIES_MAX or (
                isinstance(error, _errors.LocalNotConnectedError) and reading.tries < 1)
            if at_once:
                reading.tries += 1
            else:
                self._try_later(reading, reply["retry_ms"] / 1000 if reply else 0.0)
        else:
            self.stop(reading, type(error)("%s/%d: %s" % (*reading.tp, error)))

    # ---- fences: where the group is; asking with the token shuts older owners out

    def _fence_flow(self) -> Flow:
        try:
            while True:
                rows = [reading for reading in self.readings.values() if reading.state == FENCE and not reading.lost
                        and not reading.leaving][:FENCES_MAX]
                if not rows or self.engine.stopping:
                    return
                ready = [reading for reading in rows if reading.owned or self.engine.view.topic(reading.tp.topic).known]
                for reading in rows if len(ready) < len(rows) else ():
                    self._warn_missing(reading, time.monotonic())
                if not ready or not (yield from self._fence_some(ready)):
                    yield self.engine.wait_seconds(1)
        finally:
            self._fencing = False

    def _fence_some(self, rows: List[Reading]) -> Flow:
        entries = [{"topic_id": reading.topic_id if reading.owned else self.engine.view.topic(reading.tp.topic).id,
                    "partition": reading.tp.partition, "token": reading.token} for reading in rows]
        try:
            offsets = yield from _flows.committed(self.engine, self.group, entries, time.monotonic() + self.timeout / 3)
        except _errors.LocalClosedError:
            return False
        except WeftError as error:
            if not error.retriable:
                for reading in rows:
                    if reading.state == FENCE:
                        self.stop(reading, error)
            return False
        if not offsets:  # nobody has committed anything
            offsets = [{"offset": -1, "epoch": -1, "error": 0}] * len(rows)
        good = True
        for reading, row in zip(rows, offsets):
            if reading.state != FENCE or reading.lost or reading.leaving:
                continue
            if row["error"] == _errors.FencedError.errno:
                self.on_lost(reading, "its offsets have another owner by now")
            elif row["error"]:
                good = False  # a topic that the broker does not know yet
            else:
                self._fenced(reading, row["offset"], row["epoch"])
        return good

    def _fenced(self, reading: Reading, offset: int, epoch: int) -> None:
        reading.committed = offset
        reading.state = RESOLVE
        if reading.sought or offset < 0:
            self.move(reading, reading.at)
        else:
            self._read_from(reading, offset, epoch)
        self.engine.wake()
