# SPDX-License-Identifier: MPL-2.0
"""Consumer, shaped like kafka-python's KafkaConsumer.

An iterator over records, or poll(). A thread in the background fetches and keeps the consumer in its group; what the program sees,
its callbacks and the commits of a rebalance happen on the program's thread, inside poll() and between records. Used by one thread;
only wakeup() may be called by others. At least once: what is committed automatically is what the program is through with."""
import collections
import fnmatch
import logging
import re
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Callable, Deque, Dict, Generator, Iterable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

from . import _batch, _errors, _flows
from ._commits import Committer, Want
from ._engine import Engine, Flow
from ._link import endpoints_of
from ._member import Assignment, Member
from ._reading import FENCE, STOPPED, Fetcher, Opened, Reading
from ._settings import bootstrap_default
from .errors import CommitFailedError, IllegalStateError, WakeupError, WeftError
from .structs import ConsumerRecord, OffsetAndMetadata, OffsetAndTimestamp, TopicPartition

__all__ = ["Consumer", "KafkaConsumer", "ConsumerRebalanceListener"]

log = logging.getLogger("weft.consumer")

RESETS = {"earliest": "earliest", "smallest": "earliest", "latest": "latest", "largest": "latest", "none": "none"}
FOREVER = float("inf")


class ConsumerRebalanceListener:
    """Told on the program's thread, inside poll(), of what changed: only the partitions that come or go, the others flow on."""

    def on_partitions_revoked(self, revoked: List[TopicPartition]) -> None:
        """They are asked back. Still owned: the last moment to commit."""

    def on_partitions_assigned(self, assigned: List[TopicPartition]) -> None:
        """They are owned from now on."""

    def on_partitions_lost(self, lost: List[TopicPartition]) -> None:
        """They have another owner already: nothing can be committed any more."""
        self.on_partitions_revoked(lost)


class Consumer:
    """Consumer(*topics, bootstrap_servers=..., group_id=...): topics may be globs ("orders.*"). group_id None: no group, all partitions
    are read. auto_offset_reset: earliest, latest, or none (raise) where there is no offset or it is gone. consumer_timeout_ms: the
    iterator ends when no record came for so long. read: committed, or durable (nothing that was read can ever disappear). exclusive: no
    record is handed out once another member may have its partition. check_crcs: None means if a C implementation is installed."""

    def __init__(self, *topics: str, bootstrap_servers: Union[str, Sequence[str], None] = None, group_id: Optional[str] = None,
                 client_id: str = "weft-python", key_deserializer: Any = None, value_deserializer: Any = None,
                 auto_offset_reset: str = "latest", enable_auto_commit: bool = True, auto_commit_interval_ms: float = 5000,
                 consumer_timeout_ms: float = FOREVER, max_poll_records: int = 500, max_poll_interval_ms: float = 300000,
                 session_timeout_ms: int = 10000, group_instance_id: Optional[str] = None, client_rack: Optional[str] = None,
                 partition_assignment_strategy: Optional[str] = None, exclusive: bool = False, read: str = "committed",
                 fetch_min_bytes: int = 1, fetch_max_wait_ms: int = 500, max_partition_fetch_bytes: int = 1048576,
                 fetch_max_bytes: int = 67108864, check_crcs: Optional[bool] = None, metadata_max_age_ms: float = 30000,
                 request_timeout_ms: float = 30000, release_timeout_ms: int = 300000, retry_backoff_ms: float = 50,
                 connect_timeout_ms: float = 5000, context: Any = None) -> None:
        if auto_offset_reset not in RESETS:
            raise ValueError("auto_offset_reset is %r; earliest, latest or none is wanted" % (auto_offset_reset,))
        if read not in ("committed", "durable"):
            raise ValueError("read is %r; committed or durable is wanted" % (read,))
        if group_id is not None and not 0 < len(group_id.encode()) <= 255:
            raise _errors.InvalidGroupError()
        self._group, self._auto = group_id, enable_auto_commit and group_id is not None
        self._auto_interval, self._timeout = auto_commit_interval_ms / 1000, request_timeout_ms / 1000
        self._consumer_timeout, self._max_poll_records = consumer_timeout_ms / 1000, max_poll_records
        self._key_of, self._value_of = _deserializer(key_deserializer), _deserializer(value_deserializer)
        self._check = _batch.fast_crc32c is not None if check_crcs is None else check_crcs
        self._exclusive, self._read = exclusive and group_id is not None, read
        self._patience = min(release_timeout_ms / 2000, self._timeout)
        self._engine = Engine(endpoints_of(bootstrap_servers or bootstrap_default()), client_id, self._timeout, retry_backoff_ms / 1000,
                              metadata_max_age=metadata_max_age_ms / 1000, context=context)
        self._lock, self._changed = self._engine.lock, self._engine.changed
        self._fetcher = Fetcher(self._engine, {
            "group": group_id or "", "reset": RESETS[auto_offset_reset], "read": read, "fetch_bytes": max_partition_fetch_bytes,
            "min_bytes": fetch_min_bytes, "wait_ms": fetch_max_wait_ms, "buffer_bytes": max(fetch_max_bytes, max_partition_fetch_bytes),
            "request_timeout": self._timeout})
        self._fetcher.interrupt, self._fetcher.on_lost = self._interrupt_now, self._lost
        self._member: Optional[Member] = None
        self._committer: Optional[Committer] = None
        if group_id is not None:
            self._committer = Committer(self._engine, group_id, self._timeout)
            self._committer.on_lost = self._lost
            self._member = Member(self._engine, group_id, {
                "session_ms": session_timeout_ms, "release_ms": release_timeout_ms, "exclusive": self._exclusive,
                "assignor": partition_assignment_strategy, "rack": client_rack, "instance": group_instance_id,
                "max_poll_ms": max_poll_interval_ms})
            self._member.news, self._member.progress = self._interrupt_now, self._progress
            self._engine.parts.append(self._member)
        self._engine.parts.extend((self._fetcher, self))
        self._current: Optional[Opened] = None
        self._interrupt = False
        self._iterator: Optional[Generator[ConsumerRecord, None, None]] = None
        self._names: List[str] = []  # subscribed: names and globs
        self._pattern: Optional["re.Pattern[str]"] = None
        self._mode: Optional[str] = None  # subscribe or assign
        self._listener: Optional[Any] = None
        self._taken: Optional[Tuple[int, int]] = None
        self._lost_seen, self._matched = 0, -1
        self._known: Set[str] = set()  # topics whose partitions were taken up once
        self._auto_at = time.monotonic() + self._auto_interval
        self._answers: Deque[Callable[[], None]] = collections.deque()
        self._polled: List[Reading] = []  # whose records the last poll() returned
        self._count = 0
        self._woken = self._closed = self._in_step = False
        self._engine.start()
        try:
            if connect_timeout_ms:
                self._engine.wait_up(connect_timeout_ms / 1000)
            if topics:
                self.subscribe(topics)
        except BaseException:
            self._closed = True
            self._engine.close()
            raise

    # ---- what is read

    def subscribe(self, topics: Union[Sequence[str], str] = (), pattern: Optional[str] = None, listener: Optional[Any] = None) -> None:
        """Names or globs; or a regular expression that names have to match. With a group the partitions are shared with its members,
        else all are read. listener: a ConsumerRebalanceListener."""
        self._check_open()
        names = [topics] if isinstance(topics, str) else list(topics)
        if bool(names) == bool(pattern):
            raise IllegalStateError("subscribe() takes either topics or a pattern")
        if self._mode == "assign":
            raise IllegalStateError("assign() was called before; unsubscribe() first")
        if listener is not None and not hasattr(listener, "on_partitions_assigned"):
            raise TypeError("listener is no ConsumerRebalanceListener")
        with self._lock:
            self._mode, self._names, self._listener = "subscribe", names, listener
            self._pattern = re.compile(pattern) if pattern else None
            self._engine.all_topics = self._pattern is not None or (self._member is None and any(map(_is_glob, names)))
            self._matched = -1
            self._engine.refresh(now=True)
            if self._member is None:
                if not self._engine.all_topics:
                    self._engine.want(*names)
            elif self._pattern is None:
                self._member.subscribe(names)
            if self._member is None:
                for reading in list(self._fetcher.readings.values()):
                    if not self._matches(reading.tp.topic):
                        self._drop(reading)
            self._engine.wake()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """These and no others, without membership. With a group_id reading begins at what it committed, and commits are allowed while
        nobody is in it."""
        self._check_open()
        if self._mode == "subscribe":
            raise IllegalStateError("subscribe() was called before; unsubscribe() first")
        wanted = [TopicPartition(*tp) for tp in partitions]
        with self._lock:
            self._mode = "assign"
            for reading in list(self._fetcher.readings.values()):
                if reading.tp not in wanted:
                    self._drop(reading)
            for tp in wanted:
                if tp not in self._fetcher.readings:
                    self._fetcher.add(Reading(tp, "reset", self._group is not None))

    def unsubscribe(self) -> None:
        """Leaves the group, and reads nothing."""
        self._check_open()
        if self._mode == "subscribe" and self._member is not None:
            self._leave()
        with self._lock:
            for reading in list(self._fetcher.readings.values()):
                self._drop(reading)
            for topic in self._engine.view.topics.values():
                topic.wanted = topic.name == _flows.OFFSETS
            self._mode, self._names, self._pattern, self._taken = None, [], None, None
            self._engine.all_topics = False
            self._known.clear()

    def _drop(self, reading: Reading) -> None:
        if self._current is not None and self._current.reading is reading:
            self._current = None
        self._fetcher.remove(reading)

    def assignment(self) -> Set[TopicPartition]:
        with self._lock:
            return {reading.tp for reading in self._fetcher.readings.values() if not reading.lost}

    def subscription(self) -> Optional[Set[str]]:
        return set(self._names) if self._mode == "subscribe" else None

    def seek(self, partition: TopicPartition, offset: int) -> None:
        if not isinstance(offset, int) or offset < 0:
            raise ValueError("offset is %r; 0 or more is wanted" % (offset,))
        with self._lock:
            self._move(self._reading(partition), offset)

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self._seek_to("earliest", partitions)

    def seek_to_end(self, *partitions: TopicPartition) -> None:
        self._seek_to("latest", partitions)

    def _seek_to(self, where: str, partitions: Sequence[TopicPartition]) -> None:
        with self._lock:
            for tp in partitions or list(self._fetcher.readings):
                self._move(self._reading(tp), where)

    def _move(self, reading: Reading, at: Any) -> None:
        if self._current is not None and self._current.reading is reading:
            self._current = None
        self._fetcher.move(reading, at)

    def pause(self, *partitions: TopicPartition) -> None:
        with self._lock:
            for tp in partitions:
                reading = self._reading(tp)
                if self._current is not None and self._current.reading is reading:
                    self._put_back()
                self._fetcher.set_paused(reading, True)
                self._interrupt = True

    def resume(self, *partitions: TopicPartition) -> None:
        with self._lock:
            for tp in partitions:
                self._fetcher.set_paused(self._reading(tp), False)

    def paused(self) -> Set[TopicPartition]:
        with self._lock:
            return {reading.tp for reading in self._fetcher.readings.values() if reading.paused}

    def _reading(self, tp: TopicPartition) -> Reading:
        self._check_open()
        reading = self._fetcher.readings.get(TopicPartition(*tp))
        if reading is None or reading.lost:
            raise IllegalStateError("%s/%d is not assigned to this consumer" % tuple(tp))
        return reading

    # ---- records

    def poll(self, timeout_ms: float = 0, max_records: Optional[int] = None,
             update_offsets: bool = True) -> Dict[TopicPartition, List[ConsumerRecord]]:
        """Records by partition; waits for the first at most timeout_ms. What the poll before returned counts as processed."""
        deadline = time.monotonic() + timeout_ms / 1000
        left = self._max_poll_records if max_records is None else max_records
        found: Dict[TopicPartition, List[ConsumerRecord]] = {}
        self._set_done()
        before = []
        while left > 0:
            opened = self._open(None if found else deadline)
            if opened is None:
                break
            records = opened.records
            if opened.iterator is not None:  # an iterator was at it before
                opened.at, opened.iterator = opened.handed(), None
            some = records[opened.at:opened.at + left] if opened.at or len(records) > left else records
            before.append((opened, opened.at))
            opened.at += len(some)
            left -= len(some)
            tp = opened.reading.tp
            found[tp] = found[tp] + some if tp in found else list(some) if some is records else some
            if opened.reading not in self._polled:
                self._polled.append(opened.reading)
            if opened.at >= len(records):
                self._retire(opened)
        if self._exclusive and self._lease_over():
            for opened, at in reversed(before):
                self._unread(opened, at)
            return {}
        if not update_offsets:
            for opened, at in reversed(before):
                self._unread(opened, at)
        return found

    def __iter__(self) -> Iterator[ConsumerRecord]:
        self._check_open()
        if self._iterator is None:
            self._iterator = self._generate()
        return self._iterator

    def __next__(self) -> ConsumerRecord:
        return next(iter(self))  # type: ignore[call-overload, no-any-return]

    def _generate(self) -> Generator[ConsumerRecord, None, None]:
        try:
            while True:
                self._set_done()
                opened = self._open(time.monotonic() + self._consumer_timeout)
                if opened is None:
                    return
                if opened.iterator is None:
                    opened.iterator = iter(opened.records[opened.at:] if opened.at else opened.records)
                    if opened.at:
                        opened.records, opened.at = opened.records[opened.at:], 0
                    self._polled = [opened.reading]
                if self._exclusive:
                    yield from self._guarded(opened)
                else:
                    for record in opened.iterator:
                        yield record
                        if self._interrupt:
                            break
                if self._current is opened and opened.handed() >= len(opened.records):
                    self._retire(opened)
        finally:
            self._iterator = None

    def _guarded(self, opened: Opened) -> Generator[ConsumerRecord, None, None]:
        assert opened.iterator is not None
        while not self._interrupt and not self._lease_over():
            record = next(opened.iterator, None)
            if record is None:
                return
            yield record

    def _lease_over(self) -> bool:
        member = self._member
        return member is not None and self._mode == "subscribe" and (
            time.monotonic() >= member.lease_end or member.lost_count != self._lost_seen)

    def _progress(self) -> int:
        opened = self._current
        return self._count + (opened.handed() if opened is not None and opened.iterator is not None else 0)

    def _retire(self, opened: Opened) -> None:
        """All of its records are handed out."""
        with self._lock:
            self._count += len(opened.records)
            reading = opened.reading
            if reading.opened is opened:
                reading.position, reading.read_epoch, reading.opened = opened.next_offset, opened.epoch, None
            if self._current is opened:
                self._current = None

    def _unread(self, opened: Opened, at: int) -> None:
        with self._lock:
            reading = opened.reading
            if opened.serial == reading.serial and at < len(opened.records):
                if reading.opened is None or reading.opened is opened:
                    opened.at, opened.iterator = at, None
                    reading.opened, reading.position = opened, opened.position()
                    self._fetcher.give_back(reading)
                else:  # a later batch of it is open
                    opened.records = opened.records[at:] + reading.opened.records
                    opened.at, opened.next_offset = 0, reading.opened.next_offset
                    reading.opened = opened
                self._current = None if self._current is not None and self._current.reading is reading else self._current
                if reading in self._polled:
                    self._polled.remove(reading)

    def _set_done(self) -> None:
        """The program asks for more: it is through with what it got."""
        with self._lock:
            for reading in self._polled:
                reading.done = reading.where()
            self._polled = []

    def _put_back(self) -> None:
        opened, self._current = self._current, None
        if opened is not None:
            self._fetcher.give_back(opened.reading)

    def _interrupt_now(self) -> None:
        self._interrupt = True
        self._changed.notify_all()

    def _open(self, deadline: Optional[float]) -> Optional[Opened]:
        """The batch to hand out records of. None: nothing until the deadline (None: do not wait). Here a rebalance takes its steps."""
        while True:
            self._step()
            with self._lock:
                current = self._current
                if current is not None and current.serial == current.reading.serial and not current.reading.quiet:
                    if not (self._exclusive and self._lease_over()):
                        return current
                self._put_back()
                taken = None if self._exclusive and self._lease_over() else self._fetcher.take()
                if taken is None:
                    if deadline is None or not self._wait(deadline):
                        return None
                    continue
                reading, what = taken
                if isinstance(what, Opened):
                    self._current = what
                    return what
                serial, position = reading.serial, reading.position
            opened = self._decode(reading, what, position, serial)
            if opened is not None:
                return opened

    def _decode(self, reading: Reading, batch: _batch.Batch, position: int, serial: int) -> Optional[Opened]:
        try:
            if self._check:
                batch.check()
            records = _batch.records_of(reading.tp.topic, reading.tp.partition, batch, position, self._key_of, self._value_of)
        except WeftError as error:
            with self._lock:
                if reading.serial == serial:
                    self._fetcher.bad_batch(reading, max(batch.base_offset, position), error)
            return None
        with self._lock:
            if reading.serial != serial:
                return None
            if not records:
                reading.position, reading.read_epoch = batch.next_offset, batch.leader_epoch
                return None
            reading.opened = self._current = Opened(reading, records, batch.next_offset, batch.leader_epoch)
            return self._current

    def _wait(self, deadline: float) -> bool:
        """For news, under the lock. False: the deadline is over."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        member = self._member if self._mode == "subscribe" else None
        if member is not None:
            member.polled(True)
        try:
            self._changed.wait(min(left, 1.0, max(0.001, self._auto_at - time.monotonic()) if self._auto else 1.0))
        finally:
            if member is not None:
                member.polled(False)
        return True

    # ---- the consumer's own part of the engine: topics that match

    def turn(self, now: float) -> float:
        if self._mode == "subscribe" and self._matched != self._engine.view.updates:
            self._matched = self._engine.view.updates
            if self._member is None:
                self._match()
            elif self._pattern is not None:
                names = sorted(name for name, topic in self._engine.view.topics.items()
                               if topic.known and not topic.internal and self._pattern.search(name))
                if names != self._names:
                    self._names = names
                    self._member.subscribe(names)
        if not self._auto:
            return FOREVER
        if now < self._auto_at:
            return self._auto_at
        self._interrupt = True  # who is within a batch commits behind the record it works on
        return FOREVER

    def closed(self) -> None:
        self._changed.notify_all()

    def _matches(self, name: str) -> bool:
        if self._pattern is not None:
            return self._pattern.search(name) is not None
        return name in self._names or any(_is_glob(glob) and fnmatch.fnmatchcase(name, glob) for glob in self._names)

    def _match(self) -> None:
        """Without a group: every partition of every topic. One that was added is read from its beginning."""
        for name, topic in list(self._engine.view.topics.items()):
            if not topic.known or not self._matches(name) or (topic.internal and name not in self._names):
                continue
            known = name in self._known
            self._known.add(name)
            for number in range(len(topic.places)):
                tp = TopicPartition(name, number)
                if tp not in self._fetcher.readings:
                    self._fetcher.add(Reading(tp, "earliest" if known else "reset", False))

    # ---- the group: what it gives and takes

    def _step(self) -> None:
        self._check_open()
        if self._in_step:
            return
        self._interrupt = False
        while self._answers:
            self._answers.popleft()()
        with self._lock:
            if self._woken:
                self._woken = False
                raise WakeupError()
            if self._engine.view.fatal is not None:
                raise self._engine.view.fatal
            if self._fetcher.failures:
                raise self._fetcher.failures.popleft()
            if self._engine.stopping:
                raise _errors.LocalClosedError("the client's thread ended; the log says why")
        member = self._member if self._mode == "subscribe" else None
        if member is not None:
            self._in_step = True
            try:
                with self._lock:
                    member.polled(False)
                    if member.refused is not None and not member.epoch and not member.refused.retriable:
                        raise member.refused
                while self._rebalance(member):
                    pass
            finally:
                self._in_step = False
        if self._auto and time.monotonic() >= self._auto_at:
            self._auto_commit()

    def _rebalance(self, member: Member) -> bool:
        """One step; True: there may be another."""
        with self._lock:
            if member.lost_count != self._lost_seen:
                self._lost_seen = member.lost_count
                for reading in self._fetcher.readings.values():
                    reading.lost = True
                self._taken = None
            lost = [reading for reading in self._fetcher.readings.values() if reading.lost]
            for reading in lost:
                self._drop(reading)
        if lost:
            self._tell("on_partitions_lost", lost)
            return True
        with self._lock:
            newest = member.assignment
            if newest is None or self._taken == (newest.epoch, newest.revision):
                return False
            held = {(owned.topic_id, owned.partition, owned.token) for owned in newest.owned}
            gone = [reading for reading in self._fetcher.readings.values()
                    if (reading.topic_id, reading.tp.partition, reading.token) not in held]
            for reading in gone:
                reading.leaving = True
            if self._current is not None and self._current.reading in gone:
                self._current = None
        if gone and not self._let_go(gone):
            return True
        self._take_up(member, newest, gone)
        return True

    def _let_go(self, gone: List[Reading]) -> bool:
        """Commits, tells, and waits for what the callback committed. False: they were lost meanwhile."""
        deadline = time.monotonic() + self._patience
        if self._auto:
            self._wait_commit(self._commit_positions(gone), deadline, "before a rebalance")
        if any(reading.lost for reading in gone):
            return False
        self._tell("on_partitions_revoked", gone)
        while self._committer is not None and not self._committer.idle and time.monotonic() < deadline:
            with self._lock:
                self._changed.wait(0.01)
        return not any(reading.lost for reading in gone)

    def _take_up(self, member: Member, newest: Assignment, gone: List[Reading]) -> None:
        fresh = []
        with self._lock:
            if self._member is None or member.lost_count != self._lost_seen:
                return
            for reading in gone:
                self._drop(reading)
            for owned in newest.owned:
                tp = TopicPartition(owned.topic, owned.partition)
                if owned.topic and tp not in self._fetcher.readings:
                    fresh.append(Reading(tp, "reset", True, True, owned.token, owned.topic_id))
                    self._fetcher.add(fresh[-1])
            self._taken = (newest.epoch, newest.revision)
            member.carried(newest.epoch, newest.revision)
        self._tell("on_partitions_assigned", fresh)

    def _tell(self, what: str, readings: List[Reading]) -> None:
        if not readings:
            return
        tps = [reading.tp for reading in readings]
        log.info("group '%s': %s %s", self._group, what[3:].replace("_", " "), tps)
        function = getattr(self._listener, what, None) or (
            getattr(self._listener, "on_partitions_revoked", None) if what == "on_partitions_lost" else None)
        if function is not None:
            function(tps)

    def _lost(self, reading: Reading, text: str) -> None:
        if reading.owned and not reading.lost:
            reading.lost = True
            log.warning("group '%s': %s/%d is lost: %s", self._group, *reading.tp, text)
            self._fetcher.hush(reading)

    def _leave(self) -> None:
        member = self._member
        assert member is not None
        with self._lock:
            member.leave("closed")
            deadline = time.monotonic() + min(self._timeout, 5.0)
            while not member.left and time.monotonic() < deadline and not self._engine.stopping:
                self._changed.wait(0.05)

    # ---- offsets

    def _wants(self, readings: Iterable[Reading], safe: bool = False) -> List[Want]:
        """safe: without the records that the program may be working on."""
        wants = []
        for reading in readings:
            offset, epoch = reading.where(), reading.epoch()
            if safe and reading in self._polled:
                opened = reading.opened
                handed = opened.handed() if opened is not None and opened.iterator is not None else 0
                offset = opened.records[handed - 1].offset if opened is not None and handed else reading.done
            if reading.state == FENCE or reading.lost or offset < 0 or offset == reading.committed:
                continue
            wants.append(Want(reading, offset, epoch, ""))
        return wants

    def _commit_positions(self, readings: Iterable[Reading], safe: bool = False) -> "Future[None]":
        assert self._committer is not None
        with self._lock:
            return self._committer.want(self._wants(readings, safe))

    def _auto_commit(self) -> None:
        self._auto_at = time.monotonic() + self._auto_interval
        future = self._commit_positions(self._fetcher.readings.values())
        future.add_done_callback(_log_failure)

    def _wait_commit(self, future: "Future[None]", deadline: float, when: str) -> None:
        try:
            future.result(max(0.0, deadline - time.monotonic()))
        except (FutureTimeout, WeftError) as error:
            log.warning("group '%s': offsets were not committed %s: %s", self._group, when, error or "no answer in time")

    def _given(self, offsets: Optional[Mapping[TopicPartition, Any]]) -> "Future[None]":
        self._check_open()
        if self._committer is None:
            raise IllegalStateError("there is no group to commit for; give the consumer a group_id")
        with self._lock:
            if offsets is None:
                return self._committer.want(self._wants(self._fetcher.readings.values()))
            wants = []
            for tp, value in offsets.items():
                reading = self._fetcher.readings.get(TopicPartition(*tp))
                if reading is None or reading.lost:
                    raise CommitFailedError("%s/%d is not assigned to this consumer (any more)" % tuple(tp))
                offset, metadata, epoch = _offset_of(value)
                if epoch < 0 and offset <= reading.where():
                    epoch = reading.epoch()
                wants.append(Want(reading, offset, epoch, metadata))
            return self._committer.want(wants)

    def commit(self, offsets: Optional[Mapping[TopicPartition, Union[OffsetAndMetadata, int]]] = None,
               timeout_ms: Optional[float] = None) -> None:
        """Commits what was handed out so far, or these offsets (of the next record to be read), and waits for it. CommitFailedError: the
        partition has another owner by now; other members go on from what was committed before."""
        future = self._given(offsets)
        try:
            future.result((self._timeout if timeout_ms is None else timeout_ms / 1000) + 1.0)
        except FutureTimeout:
            raise _errors.LocalTimedOutError("the commit was not answered in time") from None

    def commit_async(self, offsets: Optional[Mapping[TopicPartition, Union[OffsetAndMetadata, int]]] = None,
                     callback: Optional[Callable[[Any, Optional[BaseException]], None]] = None) -> "Future[None]":
        """The same without waiting. callback(offsets, exception or None) is called by a later poll()."""
        future = self._given(offsets)
        if callback is not None:
            function = callback

            def done(finished: "Future[None]") -> None:
                self._answers.append(lambda: function(offsets, finished.exception()))
                self._interrupt = True
            future.add_done_callback(done)
        return future

    def committed(self, partition: TopicPartition, metadata: bool = False) -> Any:
        """The offset that the group committed last, or None; with metadata=True an OffsetAndMetadata."""
        self._check_open()
        if self._group is None:
            raise IllegalStateError("there is no group to look at; give the consumer a group_id")
        topic, number = partition
        entries = [{"topic": topic, "partition": number}]
        rows = self._engine.run(_flows.committed(self._engine, self._group, entries, time.monotonic() + self._timeout))
        if not rows or rows[0]["error"] or rows[0]["offset"] < 0:
            return None
        row = rows[0]
        return OffsetAndMetadata(row["offset"], row["metadata"] or "", row["epoch"]) if metadata else row["offset"]

    def position(self, partition: TopicPartition, timeout_ms: Optional[float] = None) -> int:
        """Offset of the next record that is handed out. Waits until it is known."""
        deadline = time.monotonic() + (self._timeout if timeout_ms is None else timeout_ms / 1000)
        with self._lock:
            while True:
                reading = self._reading(partition)
                if reading.where() >= 0:
                    return reading.where()
                if reading.state == STOPPED and reading.why is not None:
                    raise type(reading.why)(str(reading.why))
                if time.monotonic() >= deadline:
                    raise _errors.LocalTimedOutError("the position of %s/%d was not learnt in time" % tuple(partition))
                self._changed.wait(min(0.05, max(0.0, deadline - time.monotonic())))

    def highwater(self, partition: TopicPartition) -> Optional[int]:
        """End of what is committed in the log, as the last fetch told; None: no fetch yet."""
        with self._lock:
            reading = self._reading(partition)
            return reading.high if reading.high >= 0 else None

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> Dict[TopicPartition, int]:
        return {tp: row["offset"] for tp, row in self._ask_offsets("earliest", {tp: -1 for tp in partitions}).items()}

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> Dict[TopicPartition, int]:
        return {tp: row["offset"] for tp, row in self._ask_offsets("latest", {tp: -1 for tp in partitions}).items()}

    def offsets_for_times(self, timestamps: Mapping[TopicPartition, int]) -> Dict[TopicPartition, Optional[OffsetAndTimestamp]]:
        """The first record not older than that, or None."""
        rows = self._ask_offsets("time", timestamps)
        return {tp: OffsetAndTimestamp(row["offset"], row["timestamp_ms"], row["epoch"]) if row["timestamp_ms"] >= 0 else None
                for tp, row in rows.items()}

    def _ask_offsets(self, at: str, times: Mapping[TopicPartition, int]) -> Dict[TopicPartition, Dict[str, Any]]:
        self._check_open()
        deadline = time.monotonic() + self._timeout
        asked = {TopicPartition(*tp): self._engine.spawn(_flows.list_offsets(self._engine, tp[0], tp[1], at, deadline, ms, self._read))
                 for tp, ms in times.items()}
        return {tp: future.result() for tp, future in asked.items()}

    def _positions(self) -> Dict[TopicPartition, int]:
        """Those that are known (for weft.aio)."""
        with self._lock:
            return {tp: reading.where() for tp, reading in self._fetcher.readings.items() if reading.where() >= 0 and not reading.lost}

    def _rewind(self, first: Mapping[TopicPartition, int]) -> None:
        """Records from there on were not handed out after all (for weft.aio)."""
        with self._lock:
            for tp, offset in first.items():
                reading = self._fetcher.readings.get(tp)
                if reading is not None and not reading.lost:
                    self._move(reading, offset)

    # ---- the cluster

    def topics(self) -> Set[str]:
        return {row["name"] for row in self._metadata([])["topics"] if not row["error"]}

    def partitions_for_topic(self, topic: str) -> Optional[Set[int]]:
        rows = [row for row in self._metadata([topic])["topics"] if row["name"] == topic and not row["error"]]
        return {part["partition"] for part in rows[0]["partitions"]} if rows else None

    def _metadata(self, names: List[str]) -> Dict[str, Any]:
        def flow() -> Flow:
            return (yield from _flows.metadata(self._engine, names, time.monotonic() + self._timeout, internal=bool(names)))

        self._check_open()
        reply: Dict[str, Any] = self._engine.run(flow())
        return reply

    def bootstrap_connected(self) -> bool:
        with self._lock:
            return self._engine.any_link(None) is not None

    def metrics(self) -> Dict[str, int]:
        """Counters: fetches_count, fetched_bytes, commits_count, resets_count, links_lost_count ..."""
        with self._lock:
            return dict(self._engine.counts, records_count=self._progress())

    # ---- the end

    def wakeup(self) -> None:
        """From another thread: whoever waits in poll() or for a record gets a WakeupError."""
        with self._lock:
            self._woken = self._interrupt = True
            self._changed.notify_all()

    def close(self, autocommit: bool = True) -> None:
        """Commits what was handed out, and leaves the group, so that others go on at once. While an exception is on its way the records
        that the program was working on are not committed: whoever reads next gets them again."""
        if self._closed:
            return
        try:
            if threading.current_thread() is not self._engine.thread:
                self._close_group(autocommit, failing=sys.exc_info()[0] is not None)
        finally:
            self._closed = True
            self._engine.close()

    def _close_group(self, autocommit: bool, failing: bool) -> None:
        if self._engine.stopping:
            return
        readings = list(self._fetcher.readings.values())
        if self._auto and autocommit:
            self._wait_commit(self._commit_positions(readings, safe=failing), time.monotonic() + self._patience, "at the end")
        if self._member is not None and self._mode == "subscribe":
            if readings and self._listener is not None:
                self._tell("on_partitions_revoked", [reading for reading in readings if not reading.lost])
            self._leave()

    def __enter__(self) -> "Consumer":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if self._closed:
            return
        try:
            self._close_group(True, failing=kind is not None)
        finally:
            self._closed = True
            self._engine.close()

    def _check_open(self) -> None:
        if self._closed:
            raise _errors.LocalClosedError("the consumer is closed")


KafkaConsumer = Consumer


def _offset_of(value: Any) -> Tuple[int, str, int]:
    if isinstance(value, int):
        return value, "", -1
    return value[0], value[1] or "", value[2] if len(value) > 2 else -1


def _log_failure(future: "Future[None]") -> None:
    error = future.exception()
    if error is not None and not isinstance(error, _errors.LocalClosedError):
        log.warning("offsets were not committed: %s", error)


def _is_glob(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _deserializer(given: Any) -> Optional[Callable[[bytes], Any]]:
    """A function of the bytes, or an object with deserialize(topic, bytes)."""
    if given is None:
        return None
    if hasattr(given, "deserialize"):
        return lambda value: given.deserialize(None, value)
    function: Callable[[bytes], Any] = given
    return function
