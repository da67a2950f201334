# SPDX-License-Identifier: MPL-2.0
"""Producer, shaped like kafka-python's KafkaProducer.

send() puts a record into the open batch of its partition and returns a future; a thread in the background sends the batches. Safe
to be used by several threads. What is acknowledged with the defaults (acks='all', durable=True) is on the disk of every in-sync
replica, once and in order, whatever was retried."""
import atexit
import logging
import random
import threading
import time
import weakref
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple, Type, Union

from . import _errors
from ._batch import BATCH_BYTES_MAX, OVERHEAD, RECORD_BYTES_MAX, codec_of
from ._engine import Engine
from ._lanes import Batch, Lane, Sender, Topic
from ._settings import (check_bools, check_function, check_ints, check_numbers, check_strs, check_topic, connect_seconds, is_text,
                        refuse_others, servers_of)
from .errors import WeftError
from .partitioner import DefaultPartitioner, partition_of_key
from .structs import RecordMetadata, TopicPartition

__all__ = ["Producer", "KafkaProducer", "FutureRecordMetadata"]

log = logging.getLogger("weft.producer")

ACKS = {0: "none", 1: "leader", -1: "all", "0": "none", "1": "leader", "all": "all", "-1": "all", "none": "none", "leader": "leader"}
CLOSE_AT_EXIT = 10.0

_now_ns = time.time_ns


class FutureRecordMetadata:
    """What becomes of one record. Cheap: all futures of a batch share its fate."""

    __slots__ = ("_batch", "_index", "_stamp", "_sender")

    def __init__(self, batch: Batch, index: int, stamp: int, sender: Sender) -> None:
        self._batch, self._index, self._stamp, self._sender = batch, index, stamp, sender

    def get(self, timeout: Optional[float] = None) -> RecordMetadata:
        """Waits (seconds) for the record to be delivered. Raises why it was not, or KafkaTimeoutError. Who waits does not linger:
        the batch leaves at once."""
        batch = self._batch
        if not batch.done:
            self._wait(batch, timeout)
        if batch.error is not None:
            raise self._error()
        return self._metadata()

    def _wait(self, batch: Batch, timeout: Optional[float]) -> None:
        if threading.current_thread() is self._sender.engine.thread:
            raise RuntimeError("get() was called from a callback, which runs on the thread it waits for")
        with self._sender.append:
            if batch.done:
                return
            if batch.event is None:
                batch.event = threading.Event()
            batch.urgent = True
        self._sender.engine.wake()
        if not batch.event.wait(timeout):
            raise _errors.LocalTimedOutError("the record was not acknowledged within %s s; it may be yet" % timeout)

    def _error(self) -> WeftError:
        error = self._batch.error
        assert error is not None
        return type(error)(str(error), error.outcome)  # one of its own: each raise writes its trace into it

    def _metadata(self) -> RecordMetadata:
        batch, lane = self._batch, self._batch.lane
        return RecordMetadata(lane.topic.name, lane.number, TopicPartition(lane.topic.name, lane.number),
                              batch.offset + self._index if batch.offset >= 0 else -1, self._stamp, batch.level)

    @property
    def is_done(self) -> bool:
        return self._batch.done

    def done(self) -> bool:
        return self._batch.done

    def succeeded(self) -> bool:
        return self._batch.done and self._batch.error is None

    def failed(self) -> bool:
        return self._batch.done and self._batch.error is not None

    @property
    def value(self) -> Optional[RecordMetadata]:
        return self._metadata() if self.succeeded() else None

    @property
    def exception(self) -> Optional[WeftError]:
        return self._error() if self.failed() else None

    def retriable(self) -> bool:
        error = self.exception
        return error is not None and error.retriable

    def add_callback(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> "FutureRecordMetadata":
        """function(*args, record_metadata, **kwargs) once delivered: on the client's thread, so it must not wait for the client."""
        return self._add(lambda: function(*args, self._metadata(), **kwargs) if self._batch.error is None else None)

    def add_errback(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> "FutureRecordMetadata":
        """function(*args, exception, **kwargs) once it is given up."""
        return self._add(lambda: function(*args, self._error(), **kwargs) if self._batch.error is not None else None)

    def add_both(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> "FutureRecordMetadata":
        return self.add_callback(function, *args, **kwargs).add_errback(function, *args, **kwargs)

    def _add(self, run: Callable[[], Any]) -> "FutureRecordMetadata":
        with self._sender.append:
            if not self._batch.done:
                if self._batch.callbacks is None:
                    self._batch.callbacks = []
                self._batch.callbacks.append(run)
                return self
        run()
        return self


_OPEN: "weakref.WeakSet[Producer]" = weakref.WeakSet()
_DROPPED: "weakref.WeakSet[Engine]" = weakref.WeakSet()  # their threads still deliver


class Producer:
    """bootstrap_servers: endpoints of any nodes. acks: 0, 1 or 'all'. durable: with acks='all' only once synced to every in-sync
    replica's disk. enable_idempotence: retries never duplicate nor reorder (needs acks 1 or 'all'). compression_type: None, 'lz4',
    'zstd' (need the packages lz4, zstandard). batch_size, linger_ms: a batch leaves when it is full, or so old. buffer_memory: bytes
    that may wait; beyond it send() blocks, at most for max_block_ms. delivery_timeout_ms: then a record is given up.
    retries: attempts beyond the first; None: as many as fit into delivery_timeout_ms. connect_timeout_ms: how long the constructor
    waits for a node (None: 5000, or request_timeout_ms if that is less; 0: not at all)."""

    def __init__(self, bootstrap_servers: Union[str, Sequence[str], None] = None, *, client_id: str = "weft-python",
                 key_serializer: Any = None, value_serializer: Any = None, acks: Union[int, str] = "all", durable: bool = True,
                 enable_idempotence: bool = True, compression_type: Optional[str] = None, batch_size: int = 65536, linger_ms: float = 5,
                 buffer_memory: int = 33554432, max_block_ms: float = 60000, max_request_size: int = RECORD_BYTES_MAX,
                 max_in_flight_requests_per_connection: int = 64, retries: Optional[int] = None, delivery_timeout_ms: float = 120000,
                 request_timeout_ms: float = 30000, retry_backoff_ms: float = 50, partitioner: Optional[Callable[..., int]] = None,
                 metadata_max_age_ms: float = 300000, connect_timeout_ms: Optional[float] = None, context: Any = None,
                 **others: Any) -> None:
        refuse_others(Producer, others)
        check_bools(durable=durable, enable_idempotence=enable_idempotence)
        check_ints(0, batch_size=batch_size, retries=0 if retries is None else retries)
        check_ints(1, buffer_memory=buffer_memory, max_request_size=max_request_size,
                   max_in_flight_requests_per_connection=max_in_flight_requests_per_connection)
        check_numbers(0, linger_ms=linger_ms, max_block_ms=max_block_ms)
        check_numbers(1, retry_backoff_ms=retry_backoff_ms, delivery_timeout_ms=delivery_timeout_ms, request_timeout_ms=request_timeout_ms,
                      metadata_max_age_ms=metadata_max_age_ms)
        check_strs(client_id=client_id)
        check_function("key_serializer", key_serializer, "serialize")
        check_function("value_serializer", value_serializer, "serialize")
        check_function("partitioner", partitioner, "__call__")
        if isinstance(acks, bool) or not isinstance(acks, (int, str)):
            raise TypeError("acks is %r; 0, 1 or 'all' is wanted" % (acks,))
        if acks not in ACKS:
            raise ValueError("acks is %r; 0, 1 or 'all' is wanted" % (acks,))
        if not 1 <= max_in_flight_requests_per_connection <= 64:
            raise ValueError("max_in_flight_requests_per_connection is %r; 1 to 64 is wanted" % max_in_flight_requests_per_connection)
        level = ACKS[acks]
        self._key_serializer, self._value_serializer = _serializer(key_serializer), _serializer(value_serializer)
        self._batch_bytes, self._buffer_bytes = min(batch_size, BATCH_BYTES_MAX), buffer_memory
        self._max_block, self._delivery = max_block_ms / 1000, delivery_timeout_ms / 1000
        self._record_max = min(max_request_size, RECORD_BYTES_MAX)
        self._partitioner = None if isinstance(partitioner, DefaultPartitioner) else partitioner
        self._closed = False
        patience = connect_seconds(connect_timeout_ms, request_timeout_ms)
        self._engine = Engine(servers_of(bootstrap_servers), client_id, request_timeout_ms / 1000,
                              retry_backoff_ms / 1000, metadata_max_age=metadata_max_age_ms / 1000,
                              linger_ms=1000 if level == "none" else 0, unanswered=level == "none", context=context)
        self._sender = Sender(self._engine, {
            "acks": level, "durable": durable and level == "all", "idempotent": enable_idempotence and level != "none",
            "codec": codec_of(compression_type), "linger": linger_ms / 1000, "in_flight": max_in_flight_requests_per_connection,
            "request_timeout": request_timeout_ms / 1000, "retries": retries})
        self._append = self._sender.append
        self._topics = self._sender.topics
        self._engine.parts.append(self._sender)
        self._engine.start()
        _OPEN.add(self)
        weakref.finalize(self, _drop, self._engine).atexit = False
        if patience:
            try:
                self._engine.wait_up(patience)
            except BaseException:
                self.close(0)
                raise

    # ---- send

    def send(self, topic: str, value: Any = None, key: Any = None, headers: Optional[Sequence[Tuple[str, Optional[bytes]]]] = None,
             partition: Optional[int] = None, timestamp_ms: Optional[int] = None) -> FutureRecordMetadata:
        """Takes a record in. Blocks only where the topic's partitions are not known yet, or the buffer is full, at most for
        max_block_ms. Equal keys go to the same partition. Raises what no waiting would mend (UnknownTopicError, RecordTooLargeError,
        TypeError); what happens later is told by the future."""
        if self._value_serializer is not None:
            value = self._value_serializer(topic, value)
        if self._key_serializer is not None:
            key = self._key_serializer(topic, key)
        size = OVERHEAD
        if value is not None:
            if type(value) is not bytes:
                value = _as_bytes("value", value)
            size += len(value)
        if key is not None:
            if type(key) is not bytes:
                key = _as_bytes("key", key)
            size += len(key)
        flat = None
        if headers:
            flat, bytes_more = _flat(headers)
            size += bytes_more
        if size > self._record_max:
            raise _errors.RecordTooLargeError("the record has about %d bytes; at most %d are taken" % (size, self._record_max))
        if timestamp_ms is not None and not (type(timestamp_ms) is int and -1 << 62 < timestamp_ms < 1 << 62):
            raise TypeError("timestamp_ms is %r; milliseconds since 1970 as an int are wanted" % (timestamp_ms,))
        place = self._topics.get(topic)
        if place is None:
            place = self._wait_topic(topic)
        with self._append:
            if key is None and partition is None and self._partitioner is None:
                lane = place.sticky or self._stick(place)
            else:
                lane = self._choose(place, key, partition)
            batch = lane.open
            if batch is None or batch.size + size > self._batch_bytes:
                batch = self._room(lane, size, timestamp_ms)
            stamp = _now_ns() // 1000000 if timestamp_ms is None else timestamp_ms
            records = batch.records
            index = len(records)
            records.append((stamp - batch.base_ms, key, value, flat))
            batch.size += size
        return FutureRecordMetadata(batch, index, stamp, self._sender)

    def _wait_topic(self, name: str) -> Topic:
        check_topic(name)
        self._check_open()
        if threading.current_thread() is self._engine.thread:
            raise RuntimeError("a callback sent to a topic that the producer does not know yet; it can't wait for the metadata there")
        deadline = time.monotonic() + self._max_block
        engine = self._engine
        engine.want(name)
        with engine.lock:
            view = engine.view.topic(name)
            while not (view.known and view.places):
                now = time.monotonic()
                if engine.view.is_missing(view, now):
                    view.missing_since = None  # it may be made yet: the next send asks again
                    engine.unwant(name)
                    raise _errors.UnknownTopicError("topic '%s' does not exist; create it first" % name)
                if engine.view.fatal is not None:
                    raise engine.view.fatal
                if engine.stopping:
                    raise engine.closed_error()
                if now >= deadline:
                    raise _errors.LocalTimedOutError("no node told of topic '%s' within %g s (max_block_ms)" % (name, self._max_block),
                                                     "not_applied")
                engine.changed.wait(min(deadline - now, 0.1))
            with self._append:
                found = self._topics.get(name)
                if found is None:
                    found = Topic(name, view.generation)
                    found.lanes = [Lane(found, number) for number in range(len(view.places))]
                    self._topics[name] = found
                self._batch_bytes = min(self._batch_bytes, engine.batch_bytes_max)
                return found

    def _stick(self, place: Topic) -> Lane:
        """A partition for records without a key: one that can be written to, if there is any."""
        lanes = place.lanes
        view = self._engine.view.topics[place.name].places
        start = random.randrange(len(lanes))
        chosen = lanes[start]
        for at in range(len(lanes)):
            number = (start + at) % len(lanes)
            if number < len(view) and view[number].endpoint:
                chosen = lanes[number]
                break
        place.sticky = chosen
        return chosen

    def _choose(self, place: Topic, key: Optional[bytes], partition: Optional[int]) -> Lane:
        lanes = place.lanes
        if partition is None:
            if self._partitioner is not None:
                view = self._engine.view.topics[place.name].places
                partition = self._partitioner(key, list(range(len(lanes))),
                                              [number for number, at in enumerate(view[:len(lanes)]) if at.endpoint])
            else:
                assert key is not None
                partition = partition_of_key(key, len(lanes))
        if not isinstance(partition, int):
            raise TypeError("partition is %r; an int is wanted" % (partition,))
        if not 0 <= partition < len(lanes):
            self._engine.refresh(now=True)  # it may have been added since
            raise _errors.UnknownTopicError("topic '%s' has %d partitions, numbered from 0; there is no partition %s"
                                            % (place.name, len(lanes), partition))
        return lanes[partition]

    def _room(self, lane: Lane, size: int, stamp: Optional[int]) -> Batch:
        """An open batch that the record fits into. Waits while the buffer is full."""
        sender, deadline = self._sender, 0.0
        while True:
            self._check_open()
            batch = lane.open
            if batch is not None:
                if batch.size + size <= self._batch_bytes:
                    return batch
                sender.roll(lane)
                self._engine.wake()
            if sender.waiting_bytes < self._buffer_bytes:
                break
            now = time.monotonic()
            deadline = deadline or now + self._max_block
            if threading.current_thread() is self._engine.thread:
                raise _errors.LocalQueueFullError("the buffer is full (buffer_memory), and a callback can't wait for it to empty")
            if now >= deadline:
                raise _errors.LocalTimedOutError("the buffer was full for %g s (max_block_ms): the cluster takes less than is sent"
                                                 % self._max_block, "not_applied")
            sender.room.wait(deadline - now)
        now = time.monotonic()
        batch = Batch(lane, _now_ns() // 1000000 if stamp is None else stamp, now, now + self._delivery)
        lane.open = batch
        sender.pending[batch] = None
        sender.activate(lane)
        self._engine.wake()
        return batch

    def _has_room(self) -> bool:
        """A send of a topic that is known does not block (for weft.aio)."""
        return self._sender.waiting_bytes < self._buffer_bytes

    def _check_open(self) -> None:
        if self._sender.fatal is not None:
            raise type(self._sender.fatal)(str(self._sender.fatal), "not_applied")
        if self._closed:
            raise _errors.LocalClosedError("the producer is closed")
        if self._engine.stopping:
            raise self._engine.closed_error()

    # ---- the rest

    def flush(self, timeout: Optional[float] = None) -> None:
        """Waits (seconds) until all that was sent so far is delivered or given up. KafkaTimeoutError."""
        if threading.current_thread() is self._engine.thread:
            raise RuntimeError("flush() was called from a callback, which runs on the thread it waits for")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._append:
            waited = list(self._sender.pending)
            for batch in waited:
                batch.urgent = True
                if batch.event is None:
                    batch.event = threading.Event()
        self._engine.wake()
        for batch in waited:
            assert batch.event is not None
            if not batch.event.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                raise _errors.LocalTimedOutError("not all records were delivered within %s s; they may be yet" % timeout)

    def partitions_for(self, topic: str) -> Set[int]:
        place = self._topics.get(topic) or self._wait_topic(topic)
        return set(range(len(place.lanes)))

    def bootstrap_connected(self) -> bool:
        with self._engine.lock:
            return self._engine.any_link(None) is not None

    def metrics(self) -> Dict[str, int]:
        """Counters: delivered_count, failed_count, retries_count, duplicates_count, links_lost_count ..."""
        with self._engine.lock:
            return dict(self._engine.counts, waiting_bytes=self._sender.waiting_bytes)

    def close(self, timeout: Optional[float] = None) -> None:
        """Delivers what waits (seconds at most; None: until delivery_timeout_ms gives it up), then ends the thread. What is left fails
        with LocalClosedError."""
        if self._closed:
            return
        try:
            if timeout is None or timeout > 0:
                self.flush(timeout)
        except _errors.LocalTimedOutError:
            log.warning("the producer is closed with %d batches that are not delivered", len(self._sender.pending))
        finally:
            with self._append:
                self._closed = True
                self._sender.room.notify_all()
            self._engine.close()
            _OPEN.discard(self)

    def __enter__(self) -> "Producer":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()


KafkaProducer = Producer


@atexit.register
def _close_all() -> None:
    for producer in list(_OPEN):
        producer.close(CLOSE_AT_EXIT)
    end = time.monotonic() + CLOSE_AT_EXIT
    for engine in list(_DROPPED):
        if engine.thread.is_alive():
            engine.thread.join(max(0.0, end - time.monotonic()))


def _drop(engine: Engine) -> None:
    """Of a producer that the program has dropped."""
    if not engine.stopping:
        _DROPPED.add(engine)
        engine.abandon()


def _serializer(given: Any) -> Optional[Callable[[str, Any], Any]]:
    """A function of the value, or an object with serialize(topic, value)."""
    if given is None:
        return None
    if hasattr(given, "serialize"):
        method: Callable[[str, Any], Any] = given.serialize
        return method
    return lambda _topic, value: given(value)


def _as_bytes(what: str, value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    advice = "encode it" if what == "header" else "give a %s_serializer, or encode it" % what
    raise TypeError("%s is a%s %s; bytes are wanted (%s)" % (what, "n" * (type(value).__name__[0] in "aeiou"), type(value).__name__, advice))


def _flat(headers: Sequence[Tuple[str, Optional[bytes]]]) -> Tuple[List[Any], int]:
    """[(name, value)] -> [name, value ...] as records hold them, and the bytes of it."""
    flat: List[Any] = []
    size = 5
    if isinstance(headers, (dict, str, bytes)):
        raise TypeError("headers is a %s; a list of pairs is wanted, as [('source', b'shop 7')]" % type(headers).__name__)
    for pair in headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError("a header is %r; a pair is wanted, as ('source', b'shop 7')" % (pair,))
        name, value = pair
        if not isinstance(name, str) or not is_text(name):
            raise TypeError("the name of a header is %r; a str is wanted" % (name,))
        flat += (name, None if value is None else _as_bytes("header", value))
        size += 10 + 4 * len(name) + len(value or b"")
    return flat, size
