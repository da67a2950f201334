# SPDX-License-Identifier: MPL-2.0
"""The same for asyncio, shaped like aiokafka: AIOProducer, AIOConsumer, AIOAdminClient.

    async with AIOProducer(bootstrap_servers="tcp://127.0.0.1:9650") as producer:
        print(await producer.send_and_wait("orders", b"two apples"))

    async with AIOConsumer("orders", group_id="billing", auto_offset_reset="earliest") as consumer:
        async for record in consumer:
            ...

A client's sockets have a thread of their own anyway; the event loop waits for it and is never blocked. Callbacks of a rebalance run
on that client's waiting thread, not on the loop."""
import asyncio
import collections
import functools
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, AsyncIterator, Callable, Deque, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple, Type, Union

from . import _errors
from .admin import AdminClient
from .consumer import Consumer
from .errors import WakeupError
from .producer import FutureRecordMetadata, Producer
from .structs import ConsumerRecord, OffsetAndMetadata, OffsetAndTimestamp, RecordMetadata, TopicPartition

__all__ = ["AIOProducer", "AIOConsumer", "AIOAdminClient", "AIOKafkaProducer", "AIOKafkaConsumer"]

WAIT_MS = 1000.0


class _Client:
    """A blocking client, and the one thread that may wait in it."""

    def __init__(self, make: Callable[[], Any], name: str) -> None:
        self._make, self._client = make, None  # type: Callable[[], Any], Any
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-%s" % name)

    async def start(self) -> None:
        if self._client is None:
            self._client = await self._run(self._make)

    async def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, functools.partial(function, *args, **kwargs))

    def _started(self) -> Any:
        if self._client is None:
            raise _errors.LocalClosedError("the client is not started, or is stopped; call start(), or use async with")
        return self._client

    async def _stop(self, close: Callable[[Any], None]) -> None:
        client, self._client = self._client, None
        try:
            if client is not None:
                await self._run(close, client)
        finally:
            self._thread.shutdown(wait=False)


class AIOProducer(_Client):
    """Options as those of Producer."""

    def __init__(self, bootstrap_servers: Union[str, Sequence[str], None] = None, **options: Any) -> None:
        _Client.__init__(self, lambda: Producer(bootstrap_servers, **options), "producer")
        self._finished: "Deque[Tuple[asyncio.Future[RecordMetadata], FutureRecordMetadata]]" = collections.deque()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._known: Set[str] = set()
        self._scheduled = False

    async def send(self, topic: str, value: Any = None, key: Any = None, partition: Optional[int] = None,
                   timestamp_ms: Optional[int] = None, headers: Any = None) -> "asyncio.Future[RecordMetadata]":
        """A future of what becomes of the record. Waits while the buffer is full."""
        producer: Producer = self._started()
        if topic in self._known and producer._has_room():
            sent = producer.send(topic, value, key, headers, partition, timestamp_ms)
        else:  # it may wait
            sent = await self._run(producer.send, topic, value, key, headers, partition, timestamp_ms)
            self._known.add(topic)
        self._loop = asyncio.get_running_loop()
        future: "asyncio.Future[RecordMetadata]" = self._loop.create_future()

        sent._add(functools.partial(self._done, future, sent))
        return future

    def _done(self, future: "asyncio.Future[RecordMetadata]", sent: FutureRecordMetadata) -> None:
        """On the producer's thread. One call into the loop for all that finish together."""
        self._finished.append((future, sent))
        if not self._scheduled and self._loop is not None:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._settle_all)
            except RuntimeError:  # the loop is closed: nobody waits
                pass

    def _settle_all(self) -> None:
        self._scheduled = False
        while self._finished:
            future, sent = self._finished.popleft()
            if future.done():  # cancelled
                continue
            error = sent.exception
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(sent.get())

    async def send_and_wait(self, topic: str, value: Any = None, key: Any = None, partition: Optional[int] = None,
                            timestamp_ms: Optional[int] = None, headers: Any = None) -> RecordMetadata:
        return await (await self.send(topic, value, key, partition, timestamp_ms, headers))

    async def flush(self, timeout: Optional[float] = None) -> None:
        await self._run(self._started().flush, timeout)

    async def partitions_for(self, topic: str) -> Set[int]:
        found: Set[int] = await self._run(self._started().partitions_for, topic)
        return found

    async def stop(self, timeout: Optional[float] = None) -> None:
        """Delivers what waits."""
        await self._stop(lambda producer: producer.close(timeout))

    async def __aenter__(self) -> "AIOProducer":
        await self.start()
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        await self.stop()


class AIOConsumer(_Client):
    """Topics and options as those of Consumer."""

    def __init__(self, *topics: str, **options: Any) -> None:
        _Client.__init__(self, lambda: Consumer(*topics, **options), "consumer")
        self._waiting: Optional["asyncio.Future[Any]"] = None
        self._given_up = False  # by a task that was cancelled
        self._failure: Optional[BaseException] = None
        self._buffer: Deque[ConsumerRecord] = collections.deque()
        self._origin: Dict[TopicPartition, int] = {}

    async def getmany(self, *partitions: TopicPartition, timeout_ms: float = 0,
                      max_records: Optional[int] = None) -> Dict[TopicPartition, List[ConsumerRecord]]:
        """Records by partition; waits for the first at most timeout_ms. What the call before returned counts as processed."""
        if partitions:
            raise ValueError("getmany() takes no partitions; pause() the others")
        found: Dict[TopicPartition, List[ConsumerRecord]] = {} if self._buffer else await self._poll(timeout_ms, max_records)
        while self._buffer and (max_records is None or max_records > 0):
            record = self._buffer.popleft()
            found.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
            max_records = None if max_records is None else max_records - 1
        return found

    async def _poll(self, timeout_ms: float, max_records: Optional[int]) -> Any:
        """Cancelled: the thread is woken and what it got is kept for the next call."""
        consumer: Consumer = self._started()
        if self._waiting is not None and not self._waiting.done() and not self._given_up:
            raise RuntimeError("another task waits for records of this consumer already")
        await self._settle(consumer)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._buffer:
            return {}
        self._waiting, self._given_up = asyncio.ensure_future(self._run(consumer.poll, timeout_ms, max_records)), False
        try:
            return await asyncio.shield(self._waiting)
        except asyncio.CancelledError:
            self._given_up = True
            consumer.wakeup()
            await self._settle(consumer)  # who is cancelled once more leaves that to the next call
            raise

    async def _settle(self, consumer: Consumer) -> None:
        """Keeps what the call got that was given up."""
        if not self._given_up or self._waiting is None:
            return
        await asyncio.wait([self._waiting])
        if not self._given_up:  # another task was here
            return
        self._given_up = False
        consumer._woken = False  # it came too late
        if self._waiting.cancelled():  # the loop ends
            return
        error = self._waiting.exception()
        if error is None:
            for rows in self._waiting.result().values():
                self._buffer.extend(rows)
        elif not isinstance(error, WakeupError):
            self._failure = error

    async def getone(self) -> ConsumerRecord:
        while not self._buffer:
            for rows in (await self._poll(WAIT_MS, None)).values():
                self._buffer.extend(rows)
        return self._buffer.popleft()

    async def __aiter__(self) -> AsyncIterator[ConsumerRecord]:
        """Ends when the consumer is stopped."""
        while self._client is not None:
            if not self._buffer:
                for rows in (await self._poll(WAIT_MS, None)).values():
                    self._buffer.extend(rows)
            while self._buffer:
                yield self._buffer.popleft()

    def _unhanded(self) -> Dict[TopicPartition, int]:
        """First offset of each partition that is here and was not handed out."""
        first: Dict[TopicPartition, int] = {}
        for record in self._buffer:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        return first

    async def commit(self, offsets: Optional[Mapping[TopicPartition, Union[OffsetAndMetadata, int]]] = None) -> None:
        """What was handed out so far, or these offsets. CommitFailedError."""
        consumer: Consumer = self._started()
        await self._settle(consumer)
        first = self._unhanded()
        if offsets is None and first:
            offsets = {**consumer._positions(), **first}
        await self._run(consumer.commit, offsets)

    async def committed(self, partition: TopicPartition) -> Optional[int]:
        found: Optional[int] = await self._run(self._started().committed, partition)
        return found

    async def position(self, partition: TopicPartition) -> int:
        await self._settle(self._started())
        first = self._unhanded()
        position: int = first[partition] if partition in first else await self._run(self._started().position, partition)
        return position

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        await self._settle(self._started())
        self._forget([partition])
        await self._run(self._started().seek, partition, offset)

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        await self._settle(self._started())
        self._forget(partitions)
        await self._run(self._started().seek_to_beginning, *partitions)

    async def seek_to_end(self, *partitions: TopicPartition) -> None:
        await self._settle(self._started())
        self._forget(partitions)
        await self._run(self._started().seek_to_end, *partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        self._buffer = collections.deque(record for record in self._buffer
                                         if partitions and TopicPartition(record.topic, record.partition) not in partitions)

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> Dict[TopicPartition, int]:
        found: Dict[TopicPartition, int] = await self._run(self._started().beginning_offsets, partitions)
        return found

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> Dict[TopicPartition, int]:
        found: Dict[TopicPartition, int] = await self._run(self._started().end_offsets, partitions)
        return found

    async def offsets_for_times(self, timestamps: Mapping[TopicPartition, int]) -> Dict[TopicPartition, Optional[OffsetAndTimestamp]]:
        found: Dict[TopicPartition, Optional[OffsetAndTimestamp]] = await self._run(self._started().offsets_for_times, timestamps)
        return found

    async def topics(self) -> Set[str]:
        found: Set[str] = await self._run(self._started().topics)
        return found

    async def subscribe(self, topics: Sequence[str] = (), pattern: Optional[str] = None, listener: Optional[Any] = None) -> None:
        await self._run(self._started().subscribe, topics, pattern, listener)

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        await self._run(self._started().assign, list(partitions))

    async def unsubscribe(self) -> None:
        await self._settle(self._started())
        self._buffer.clear()
        await self._run(self._started().unsubscribe)

    def assignment(self) -> Set[TopicPartition]:
        found: Set[TopicPartition] = self._started().assignment()
        return found

    def pause(self, *partitions: TopicPartition) -> None:
        self._started().pause(*partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._started().resume(*partitions)

    async def stop(self) -> None:
        """Commits what was handed out, and leaves the group."""
        client = self._client
        if client is None:
            return
        if self._waiting is not None and not self._waiting.done():
            client.wakeup()
            await asyncio.wait([self._waiting])
        await self._settle(client)
        first = self._unhanded()

        def close(consumer: Consumer) -> None:
            consumer._rewind(first)
            consumer.close()

        self._buffer.clear()
        await self._stop(close)

    async def __aenter__(self) -> "AIOConsumer":
        await self.start()
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        await self.stop()


class AIOAdminClient(_Client):
    """All methods of AdminClient, to be awaited."""

    def __init__(self, bootstrap_servers: Union[str, Sequence[str], None] = None, **options: Any) -> None:
        _Client.__init__(self, lambda: AdminClient(bootstrap_servers, **options), "admin")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or not callable(getattr(AdminClient, name, None)):
            raise AttributeError("%r object has no attribute %r" % (type(self).__name__, name))

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._run(getattr(self._started(), name), *args, **kwargs)

        return call

    async def stop(self) -> None:
        await self._stop(lambda admin: admin.close())

    close = stop

    async def __aenter__(self) -> "AIOAdminClient":
        await self.start()
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        await self.stop()


AIOKafkaProducer, AIOKafkaConsumer = AIOProducer, AIOConsumer
