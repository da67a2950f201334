# SPDX-License-Identifier: MPL-2.0
"""The half of a consumer that the program's thread runs: handing out records, and carrying out what the group gives and takes.

What the program has to know happens in steps, between batches: then no record is being worked on, all that was read is done with and
may be committed, and its callbacks run on its own thread. One assignment is carried out at a time, the newest there is: what it
lacks is let go (committed, told, what the callback committed answered too), then what is new is taken, then the group is told."""
import collections
import fnmatch
import logging
import re
import time
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Callable, Deque, Dict, Generator, Iterable, Iterator, List, Optional, Set, Tuple

from . import _batch, _errors
from ._commits import Committer, Want
from ._engine import NEVER, Engine, Part
from ._member import Assignment, Member
from ._reading import FENCE, MISSING, Fetcher, Opened, Reading
from ._view import MISSING_GRACE
from ._settings import check_numbers, is_glob
from .errors import WakeupError, WeftError
from .structs import ConsumerRecord, TopicPartition

log = logging.getLogger("weft.consumer")

FOREVER = float("inf")
CUT_OFF = 3.0  # seconds without any connection after which the last commit is given up
LEAVE, LEAVE_CUT_OFF = 5.0, 0.5  # how long a member waits to be told that it has left


class Shadow(Part):
    """What the engine knows of a consumer. It keeps none that the program has dropped."""

    def __init__(self, consumer: "Handing") -> None:
        self._of = weakref.ref(consumer)

    def turn(self, now: float) -> float:
        consumer = self._of()
        return consumer._turn(now) if consumer is not None else NEVER

    def closed(self) -> None:
        self.interrupt()

    def interrupt(self) -> None:
        consumer = self._of()
        if consumer is not None:
            consumer._interrupt_now()

    def heard(self) -> None:
        consumer = self._of()
        if consumer is not None:
            consumer._heard()

    def lost(self, reading: Reading, text: str) -> None:
        consumer = self._of()
        if consumer is not None:
            consumer._lost(reading, text)

    def progress(self) -> int:
        consumer = self._of()
        return consumer._progress() if consumer is not None else 0


class Handing:
    """What the program gets, and when. `settings` are those that Fetcher, Member and this class read."""

    def __init__(self, engine: Engine, group: Optional[str], settings: Dict[str, Any]) -> None:
        self._engine, self._group = engine, group
        self._auto = settings["auto_commit"] and group is not None
        self._auto_interval, self._timeout = settings["auto_commit_interval"], settings["request_timeout"]
        self._consumer_timeout, self._max_poll_records = settings["consumer_timeout"], settings["max_poll_records"]
        self._key_of, self._value_of, self._check = settings["key_of"], settings["value_of"], settings["check"]
        self._exclusive, self._read = settings["exclusive"] and group is not None, settings["read"]
        self._patience = min(settings["release_ms"] / 2000, self._timeout)
        self._lock, self._changed = engine.lock, engine.changed
        self._fetcher = Fetcher(engine, settings)
        shadow = Shadow(self)
        self._fetcher.interrupt, self._fetcher.on_lost = shadow.interrupt, shadow.lost
        self._member: Optional[Member] = None
        self._committer: Optional[Committer] = None
        if group is not None:
            self._committer = Committer(engine, group, self._timeout)
            self._committer.on_lost = shadow.lost
            self._member = Member(engine, group, settings)
            self._member.news, self._member.progress = shadow.heard, shadow.progress
            engine.parts.append(self._member)
        engine.parts.extend((self._fetcher, shadow))
        weakref.finalize(self, engine.abandon).atexit = False
        self._current: Optional[Opened] = None
        self._interrupt = False
        self._iterator: Optional[Generator[ConsumerRecord, None, None]] = None
        self._names: List[str] = []  # subscribed: names and globs
        self._pattern: "Optional[re.Pattern[str]]" = None
        self._mode: Optional[str] = None  # subscribe or assign
        self._listener: Optional[Any] = None
        self._taken: Optional[Tuple[int, int]] = None
        self._lost_heard = self._lost_seen = 0
        self._matched, self._missing_at = -1, FOREVER
        self._warned: Set[str] = set()  # topics that were told not to exist
        self._known: Set[str] = set()  # topics whose partitions were taken up once
        self._auto_at = time.monotonic() + self._auto_interval
        self._answers: Deque[Callable[[], None]] = collections.deque()
        self._polled: List[Reading] = []  # whose records the last poll() returned
        self._count = 0
        self._woken = self._closed = self._in_step = False

    # ---- records

    def poll(self, timeout_ms: float = 0, max_records: Optional[int] = None,
             update_offsets: bool = True) -> Dict[TopicPartition, List[ConsumerRecord]]:
        """Records by partition; waits for the first at most timeout_ms. What the poll before returned counts as processed."""
        check_numbers(0, timeout_ms=timeout_ms, max_records=max_records or 0)
        deadline = time.monotonic() + timeout_ms / 1000
        left = self._max_poll_records if max_records is None else max_records
        found: Dict[TopicPartition, List[ConsumerRecord]] = {}
        self._set_done()
        before: List[Tuple[Opened, int]] = []
        try:
            while left > 0:
                opened = self._next(deadline, bool(found))
                if opened is None:
                    break
                records = opened.records
                opened.detach()  # an iterator may have been at it before
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
        except BaseException:  # KeyboardInterrupt: the program never sees them
            for opened, at in reversed(before):
                self._unread(opened, at)
            raise
        if self._exclusive and self._lease_over():
            for opened, at in reversed(before):
                self._unread(opened, at)
            return {}
        if not update_offsets:
            for opened, at in reversed(before):
                self._unread(opened, at)
        return found

    def _next(self, deadline: float, has_some: bool) -> Optional[Opened]:
        """Of one poll(). Once it has some nothing may keep them back: what else there is to tell is told by the next poll()."""
        if not has_some:
            return self._open(deadline)
        try:
            return self._open(None, steps=False)
        except Exception:  # a deserializer's: the record is met again
            return None

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
        iterator = opened.iterator
        assert iterator is not None
        while not self._interrupt and not self._lease_over():
            record = next(iterator, None)
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
                    opened.at = at
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
            opened.detach()
            self._fetcher.give_back(opened.reading)

    def _heard(self) -> None:
        """The member has news (on the engine's thread)."""
        if self._member is not None and self._member.lost_count != self._lost_heard:
            self._lost_heard = self._member.lost_count
            for reading in self._fetcher.readings.values():
                reading.lost = reading.lost or reading.owned
        self._interrupt_now()

    def _interrupt_now(self) -> None:
        self._interrupt = True
        self._changed.notify_all()

    def _open(self, deadline: Optional[float], steps: bool = True) -> Optional[Opened]:
        """The batch to hand out records of. None: nothing until the deadline (None: do not wait). Here a rebalance takes its steps."""
        while True:
            if steps:
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
        except _batch.Undecoded as bad:
            return self._undecoded(reading, batch, serial, bad)
        except BaseException:  # KeyboardInterrupt
            with self._lock:
                self._fetcher.put_back(reading, batch, serial)
            raise
        with self._lock:
            if reading.serial != serial:
                return None
            if not records:
                reading.position, reading.read_epoch = batch.next_offset, batch.leader_epoch
                return None
            reading.opened = self._current = Opened(reading, records, batch.next_offset, batch.leader_epoch)
            return self._current

    def _undecoded(self, reading: Reading, batch: _batch.Batch, serial: int, bad: _batch.Undecoded) -> Optional[Opened]:
        """A record that the program's deserializer does not take: those before it are handed out; then it is raised, again and again,
        and the position is its offset, until the program seeks past it."""
        with self._lock:
            if not self._fetcher.put_back(reading, batch, serial):
                return None
            reading.position = max(reading.position, bad.before[0].offset if bad.before else bad.offset)
            if bad.before:
                reading.opened = self._current = Opened(reading, bad.before, bad.offset, batch.leader_epoch)
                return self._current
        raise bad.error

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

    def _turn(self, now: float) -> float:
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
            self._missing_at = now
        if self._missing_at <= now:
            self._missing_at = self._warn_missing(now) if self._mode == "subscribe" and self._member is None else FOREVER
        if not self._auto:
            return self._missing_at
        if now < self._auto_at:
            return min(self._missing_at, self._auto_at)
        self._interrupt = True  # who is within a batch commits behind the record it works on
        return self._missing_at

    def _warn_missing(self, now: float) -> float:
        """Of names that no topic has, told once; with a group the coordinator tells. When to look again."""
        due = FOREVER
        for name in self._names:
            topic = self._engine.view.topics.get(name)
            if topic is None or topic.known or topic.missing_since is None:
                self._warned.discard(name)
            elif not self._engine.view.is_missing(topic, now):
                due = min(due, topic.missing_since + MISSING_GRACE + 0.001)
            elif name not in self._warned:
                self._warned.add(name)
                log.warning(MISSING, name)
        return due

    def _matches(self, name: str) -> bool:
        if self._pattern is not None:
            return self._pattern.search(name) is not None
        return name in self._names or any(is_glob(glob) and fnmatch.fnmatchcase(name, glob) for glob in self._names)

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
                raise self._engine.closed_error()
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

    def _leave(self, deadline: Optional[float] = None) -> None:
        member = self._member
        assert member is not None
        with self._lock:
            member.leave("closed")
            now = time.monotonic()
            deadline = min(now + min(self._timeout, LEAVE), now + LEAVE if deadline is None else deadline)
            while not member.left and time.monotonic() < deadline and not self._engine.stopping:
                if self._engine.any_link(None) is None and time.monotonic() > now + LEAVE_CUT_OFF:
                    break
                self._changed.wait(0.05)
            if not member.left:
                log.warning("group '%s': no coordinator heard that this member leaves; the others get its partitions when its session ends",
                            self._group)

    # ---- what is to be committed

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
        begun = linked = time.monotonic()
        while not future.done():
            now = time.monotonic()
            with self._lock:
                if self._engine.any_link(None) is not None:
                    linked = now
            if now >= min(deadline, linked + CUT_OFF):
                log.warning("group '%s': offsets were not committed %s: no answer came within %.1f s; whoever reads next begins where the "
                            "last commit was", self._group, when, now - begun)
                return
            try:
                future.result(max(0.0, min(deadline - now, 0.1)))
            except (FutureTimeout, WeftError):
                pass
        error = future.exception()
        if error is not None:
            log.warning("group '%s': offsets were not committed %s: %s", self._group, when, error)

    # ---- small things

    def _drop(self, reading: Reading) -> None:
        if self._current is not None and self._current.reading is reading:
            self._current = None
        self._fetcher.remove(reading)

    def _move(self, reading: Reading, at: Any) -> None:
        if self._current is not None and self._current.reading is reading:
            self._current = None
        self._fetcher.move(reading, at)

    def _check_open(self) -> None:
        if self._closed:
            raise _errors.LocalClosedError("the consumer is closed")
        if self._engine.stopping:
            raise self._engine.closed_error()


def _log_failure(future: "Future[None]") -> None:
    error = future.exception()
    if error is not None and not isinstance(error, _errors.LocalClosedError):
        log.warning("offsets were not committed: %s", error)
