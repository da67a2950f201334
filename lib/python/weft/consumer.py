# SPDX-License-Identifier: MPL-2.0
"""Consumer, shaped like kafka-python's KafkaConsumer.

An iterator over records, or poll(). A thread in the background fetches and keeps the consumer in its group; what the program sees,
its callbacks and the commits of a rebalance happen on the program's thread, inside poll() and between records. Used by one thread;
only wakeup() may be called by others. At least once: what is committed automatically is what the program is through with."""
import re
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

from . import _batch, _errors, _flows
from ._commits import Want
from ._engine import Engine, Flow
from ._handing import FOREVER, Handing
from ._reading import STOPPED, Reading
from ._settings import (check_bools, check_function, check_ints, check_numbers, check_partition, check_strs, check_topic, connect_seconds,
                        is_glob, refuse_others, seconds_of, servers_of)
from .errors import CommitFailedError, IllegalStateError
from .structs import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition

__all__ = ["Consumer", "KafkaConsumer", "ConsumerRebalanceListener"]

RESETS = {"earliest": "earliest", "smallest": "earliest", "latest": "latest", "largest": "latest", "none": "none"}
class ConsumerRebalanceListener:
    """Told on the program's thread, inside poll(), of what changed: only the partitions that come or go, the others flow on."""

    def on_partitions_revoked(self, revoked: List[TopicPartition]) -> None:
        """They are asked back. Still owned: the last moment to commit."""

    def on_partitions_assigned(self, assigned: List[TopicPartition]) -> None:
        """They are owned from now on."""

    def on_partitions_lost(self, lost: List[TopicPartition]) -> None:
        """They have another owner already: nothing can be committed any more."""
        self.on_partitions_revoked(lost)


class Consumer(Handing):
    """Consumer(*topics, bootstrap_servers=..., group_id=...): topics may be globs ("orders.*"). group_id None: no group, all partitions
    are read. auto_offset_reset: earliest, latest, or none (raise) where there is no offset or it is gone. consumer_timeout_ms: the
    iterator ends when no record came for so long. read: committed, or durable (nothing that was read can ever disappear). exclusive: no
    record is handed out once another member may have its partition. check_crcs: None means if a C implementation is installed.
    connect_timeout_ms: how long the constructor waits for a node (None: 5000, or request_timeout_ms if that is less; 0: not at all)."""

    def __init__(self, *topics: str, bootstrap_servers: Union[str, Sequence[str], None] = None, group_id: Optional[str] = None,
                 client_id: str = "weft-python", key_deserializer: Any = None, value_deserializer: Any = None,
                 auto_offset_reset: str = "latest", enable_auto_commit: bool = True, auto_commit_interval_ms: float = 5000,
                 consumer_timeout_ms: float = FOREVER, max_poll_records: int = 500, max_poll_interval_ms: float = 300000,
                 session_timeout_ms: int = 10000, group_instance_id: Optional[str] = None, client_rack: Optional[str] = None,
                 partition_assignment_strategy: Optional[str] = None, exclusive: bool = False, read: str = "committed",
                 fetch_min_bytes: int = 1, fetch_max_wait_ms: int = 500, max_partition_fetch_bytes: int = 1048576,
                 fetch_max_bytes: int = 67108864, check_crcs: Optional[bool] = None, metadata_max_age_ms: float = 30000,
                 request_timeout_ms: float = 30000, release_timeout_ms: int = 300000, retry_backoff_ms: float = 50,
                 connect_timeout_ms: Optional[float] = None, context: Any = None, **others: Any) -> None:
        refuse_others(Consumer, others)
        for topic in topics:
            if not isinstance(topic, str):
                given = ", ".join(map(repr, topic)) if isinstance(topic, (list, tuple, set)) else "'orders'"
                raise TypeError("a topic is %r; topics are strings, one by one: KafkaConsumer(%s)" % (topic, given))
        check_bools(enable_auto_commit=enable_auto_commit, exclusive=exclusive, check_crcs=check_crcs or False)
        check_ints(0, fetch_min_bytes=fetch_min_bytes, fetch_max_wait_ms=fetch_max_wait_ms)
        check_ints(1, max_poll_records=max_poll_records, max_partition_fetch_bytes=max_partition_fetch_bytes,
                   fetch_max_bytes=fetch_max_bytes)
        check_numbers(0, consumer_timeout_ms=consumer_timeout_ms)
        check_numbers(1, auto_commit_interval_ms=auto_commit_interval_ms, max_poll_interval_ms=max_poll_interval_ms,
                      session_timeout_ms=session_timeout_ms, metadata_max_age_ms=metadata_max_age_ms, request_timeout_ms=request_timeout_ms,
                      release_timeout_ms=release_timeout_ms, retry_backoff_ms=retry_backoff_ms)
        check_strs(group_id=group_id, client_id=client_id, group_instance_id=group_instance_id, client_rack=client_rack,
                   auto_offset_reset=auto_offset_reset)
        check_function("key_deserializer", key_deserializer, "deserialize")
        check_function("value_deserializer", value_deserializer, "deserialize")
        if auto_offset_reset not in RESETS:
            raise ValueError("auto_offset_reset is %r; earliest, latest or none is wanted" % (auto_offset_reset,))
        if read not in ("committed", "durable"):
            raise ValueError("read is %r; committed or durable is wanted" % (read,))
        if partition_assignment_strategy is not None and not isinstance(partition_assignment_strategy, str):
            raise ValueError("partition_assignment_strategy is %r; None, 'uniform' or 'range' is wanted" % (partition_assignment_strategy,))
        if group_id is not None and not 0 < len(group_id.encode()) <= 255:
            raise _errors.InvalidGroupError()
        patience = connect_seconds(connect_timeout_ms, request_timeout_ms)
        engine = Engine(servers_of(bootstrap_servers), client_id, request_timeout_ms / 1000,
                        retry_backoff_ms / 1000, metadata_max_age=metadata_max_age_ms / 1000, context=context)
        Handing.__init__(self, engine, group_id, {
            "group": group_id or "", "reset": RESETS[auto_offset_reset], "read": read, "fetch_bytes": max_partition_fetch_bytes,
            "min_bytes": fetch_min_bytes, "wait_ms": fetch_max_wait_ms, "buffer_bytes": max(fetch_max_bytes, max_partition_fetch_bytes),
            "request_timeout": request_timeout_ms / 1000, "session_ms": int(session_timeout_ms), "release_ms": int(release_timeout_ms),
            "exclusive": exclusive, "assignor": partition_assignment_strategy, "rack": client_rack, "instance": group_instance_id,
            "max_poll_ms": max_poll_interval_ms, "auto_commit": enable_auto_commit,
            "auto_commit_interval": auto_commit_interval_ms / 1000, "consumer_timeout": consumer_timeout_ms / 1000,
            "max_poll_records": max_poll_records, "key_of": _deserializer(key_deserializer),
            "value_of": _deserializer(value_deserializer),
            "check": _batch.fast_crc32c is not None if check_crcs is None else check_crcs})
        engine.start()
        try:
            if patience:
                engine.wait_up(patience)
            if topics:
                self.subscribe(topics)
        except BaseException:
            self._closed = True
            engine.close()
            raise

    # ---- what is read

    def subscribe(self, topics: Union[Sequence[str], str] = (), pattern: Optional[str] = None, listener: Optional[Any] = None) -> None:
        """Names or globs; or a regular expression that names have to match. With a group the partitions are shared with its members,
        else all are read. listener: a ConsumerRebalanceListener."""
        self._check_open()
        names = [topics] if isinstance(topics, str) else list(topics)
        if not all(isinstance(name, str) for name in names):
            raise TypeError("topics is %r; a list of strings is wanted, as ['orders']" % (topics,))
        for name in names:
            check_topic(name, or_glob=True)
        if bool(names) == bool(pattern):
            raise IllegalStateError("subscribe() takes either topics or a pattern")
        if self._mode == "assign":
            raise IllegalStateError("assign() was called before; unsubscribe() first")
        if listener is not None and not hasattr(listener, "on_partitions_assigned"):
            raise TypeError("listener is no ConsumerRebalanceListener")
        with self._lock:
            self._mode, self._names, self._listener = "subscribe", names, listener
            self._pattern = re.compile(pattern) if pattern else None
            self._engine.all_topics = self._pattern is not None or (self._member is None and any(map(is_glob, names)))
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
        if isinstance(partitions, (TopicPartition, str)):
            raise TypeError("partitions is %r; a list is wanted, as [TopicPartition('orders', 0)]" % (partitions,))
        wanted = [check_partition(tp) for tp in partitions]
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
            raise IllegalStateError("%s/%d is not assigned to this consumer" % (tp[0], tp[1]))
        return reading

    # ---- offsets

    def _given(self, offsets: Optional[Mapping[TopicPartition, Any]]) -> "Future[None]":
        self._check_open()
        if self._committer is None:
            raise IllegalStateError("there is no group to commit for; give the consumer a group_id")
        with self._lock:
            lost = [reading.tp for reading in self._fetcher.readings.values() if reading.lost]
            if offsets is None and lost:
                raise CommitFailedError("not committed: the group took %s/%d back, and others" % lost[0])
            if offsets is None:
                return self._committer.want(self._wants(self._fetcher.readings.values()))
            wants = []
            for given, value in offsets.items():
                tp = check_partition(given)
                reading = self._fetcher.readings.get(TopicPartition(*tp))
                if reading is None or reading.lost:
                    raise CommitFailedError("%s/%d is not assigned to this consumer (any more)" % (tp[0], tp[1]))
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
            future.result(seconds_of(timeout_ms, self._timeout) + 1.0)
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

    def committed(self, partition: TopicPartition, metadata: bool = False, timeout_ms: Optional[float] = None) -> Any:
        """The offset that the group committed last, or None; with metadata=True an OffsetAndMetadata."""
        self._check_open()
        if self._group is None:
            raise IllegalStateError("there is no group to look at; give the consumer a group_id")
        topic, number = check_partition(partition)
        entries = [{"topic": topic, "partition": number}]
        deadline = time.monotonic() + seconds_of(timeout_ms, self._timeout)
        rows = self._engine.run(_flows.committed(self._engine, self._group, entries, deadline))
        if not rows or rows[0]["error"] or rows[0]["offset"] < 0:
            return None
        row = rows[0]
        return OffsetAndMetadata(row["offset"], row["metadata"] or "", row["epoch"]) if metadata else row["offset"]

    def position(self, partition: TopicPartition, timeout_ms: Optional[float] = None) -> int:
        """Offset of the next record that is handed out. Waits until it is known."""
        deadline = time.monotonic() + seconds_of(timeout_ms, self._timeout)
        with self._lock:
            while True:
                reading = self._reading(partition)
                if reading.where() >= 0:
                    return reading.where()
                if reading.state == STOPPED and reading.why is not None:
                    raise type(reading.why)(str(reading.why))
                if time.monotonic() >= deadline:
                    raise _errors.LocalTimedOutError("the position of %s/%d was not learnt in time" % (partition[0], partition[1]))
                self._changed.wait(min(0.05, max(0.0, deadline - time.monotonic())))

    def highwater(self, partition: TopicPartition) -> Optional[int]:
        """End of what is committed in the log, as the last fetch told; None: no fetch yet."""
        with self._lock:
            reading = self._reading(partition)
            return reading.high if reading.high >= 0 else None

    def beginning_offsets(self, partitions: Iterable[TopicPartition], timeout_ms: Optional[float] = None) -> Dict[TopicPartition, int]:
        return {tp: row["offset"] for tp, row in self._ask_offsets("earliest", {tp: -1 for tp in partitions}, timeout_ms).items()}

    def end_offsets(self, partitions: Iterable[TopicPartition], timeout_ms: Optional[float] = None) -> Dict[TopicPartition, int]:
        return {tp: row["offset"] for tp, row in self._ask_offsets("latest", {tp: -1 for tp in partitions}, timeout_ms).items()}

    def offsets_for_times(self, timestamps: Mapping[TopicPartition, int],
                          timeout_ms: Optional[float] = None) -> Dict[TopicPartition, Optional[OffsetAndTimestamp]]:
        """The first record not older than that, or None."""
        check_ints(0, **{"the time of %s/%s" % tuple(check_partition(tp)): ms for tp, ms in timestamps.items()})
        rows = self._ask_offsets("time", timestamps, timeout_ms)
        return {tp: OffsetAndTimestamp(row["offset"], row["timestamp_ms"], row["epoch"]) if row["timestamp_ms"] >= 0 else None
                for tp, row in rows.items()}

    def _ask_offsets(self, at: str, times: Mapping[TopicPartition, int], timeout_ms: Optional[float]) -> Dict[TopicPartition, Dict[str, Any]]:
        self._check_open()
        deadline = time.monotonic() + seconds_of(timeout_ms, self._timeout)
        wanted = {check_partition(tp): ms for tp, ms in times.items()}
        asked = {tp: self._engine.spawn(_flows.list_offsets(self._engine, tp.topic, tp.partition, at, deadline, ms, self._read))
                 for tp, ms in wanted.items()}
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
        check_topic(topic)
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

    def close(self, autocommit: bool = True, timeout_ms: Optional[float] = None) -> None:
        """Commits what was handed out, and leaves the group, so that others go on at once. While an exception is on its way the records
        that the program was working on are not committed: whoever reads next gets them again. Waits for answers at most for timeout_ms
        (None: request_timeout_ms); a few seconds where no node is connected. What was not committed is told to the log."""
        if self._closed:
            return
        if timeout_ms is not None:
            check_numbers(0, timeout_ms=timeout_ms)
        try:
            if threading.current_thread() is not self._engine.thread:
                self._close_group(autocommit, sys.exc_info()[0] is not None, timeout_ms)
        finally:
            self._closed = True
            self._engine.close()

    def _close_group(self, autocommit: bool, failing: bool, timeout_ms: Optional[float]) -> None:
        if self._engine.stopping:
            return
        given = None if timeout_ms is None else time.monotonic() + timeout_ms / 1000
        readings = list(self._fetcher.readings.values())
        if self._auto and autocommit:
            deadline = time.monotonic() + self._patience if given is None else given
            self._wait_commit(self._commit_positions(readings, safe=failing), deadline, "at the end")
        if self._member is not None and self._mode == "subscribe":
            if readings and self._listener is not None:
                self._tell("on_partitions_revoked", [reading for reading in readings if not reading.lost])
            self._leave(given)

    def __enter__(self) -> "Consumer":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        if self._closed:
            return
        try:
            self._close_group(True, kind is not None, None)
        finally:
            self._closed = True
            self._engine.close()

KafkaConsumer = Consumer


def _offset_of(value: Any) -> Tuple[int, str, int]:
    if isinstance(value, int):
        return value, "", -1
    if not isinstance(value, (tuple, list)) or len(value) < 2 or not isinstance(value[0], int):
        raise TypeError("%r is no offset; an int or OffsetAndMetadata(offset, '') is wanted" % (value,))
    return value[0], value[1] or "", value[2] if len(value) > 2 else -1


def _deserializer(given: Any) -> Optional[Callable[[bytes], Any]]:
    """A function of the bytes, or an object with deserialize(topic, bytes)."""
    if given is None:
        return None
    if hasattr(given, "deserialize"):
        return lambda value: given.deserialize(None, value)
    function: Callable[[bytes], Any] = given
    return function
