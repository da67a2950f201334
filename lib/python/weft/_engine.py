# SPDX-License-Identifier: MPL-2.0
"""The engine of a client: one thread that owns its sockets, and what is known of the cluster.

`lock` guards everything: the thread holds it but while it waits in poll and while it calls back the program. Parts
(`turn(now) -> when to come back`) run under it, on the thread. It knows nothing of the object that the program has, so that one that
is dropped without close() can go. Other threads may change a part's state under the lock, then
call wake(). Flows are generators, run on the thread: they yield a Call to have it answered, or a number of seconds to sleep."""
import collections
import heapq
import logging
import os
import socket
import threading
import time
import weakref
from concurrent.futures import Future
from typing import Any, Callable, Deque, Dict, Generator, List, Optional, Tuple

import zmq

from . import _codec, _errors
from ._calls import ANY, COORDINATOR, NEVER, SENT, Call, Calls
from ._link import Link, host_name_of

__all__ = ["ANY", "COORDINATOR", "NEVER", "SENT", "Call", "Engine", "Flow", "Part"]

log = logging.getLogger("weft")

EAGER = 3.0  # how long metadata is asked for at a steady pace before the back-off grows
RECEIVE_MOST = 200  # messages of one link in one turn
ABANDONED_LOOKS = 0.1  # how often is looked whether a client that was dropped is through

Flow = Generator[Any, Any, Any]


class Engine(Calls):
    def __init__(self, bootstrap: Tuple[str, ...], client_id: str, request_timeout: float, backoff: float, silence: float = 0.5,
                 metadata_max_age: float = 0.0, linger_ms: int = 0, unanswered: bool = False,
                 context: "Optional[zmq.Context[Any]]" = None) -> None:
        Calls.__init__(self, bootstrap, client_id, request_timeout, backoff, silence, linger_ms, unanswered,
                       zmq.Context() if context is None else context)
        self._own_context = context is None
        self.metadata_max_age = metadata_max_age
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # the view, or a part's state that somebody waits for
        self.parts: List[Part] = []
        self.all_topics = False
        self._inbox: Deque[Callable[[], Any]] = collections.deque()
        self._posted: List[Callable[[], None]] = []
        self._timers: List[Tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._metadata_next = NEVER
        self._asleep = self._stopping = self._abandoned = False
        self.orphaned = False  # it is a child's copy, after a fork
        self._why_closed = "the client is closed"
        self._nameless: Dict[str, Tuple[bool, str]] = {}  # endpoint: is it hopeless, and why
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._poller.register(self._read_end, zmq.POLLIN)
        self.thread = threading.Thread(target=self._run, name="weft-%s" % client_id, daemon=True)

    # ---- from any thread

    def start(self) -> None:
        _ENGINES.add(self)
        self.thread.start()

    def wake(self) -> None:
        if self._asleep:
            self._asleep = False
            try:
                os.write(self._write_end, b"w")
            except OSError:  # it is full: then it wakes
                pass

    def soon(self, function: Callable[[], Any]) -> None:
        """Runs on the thread, under the lock."""
        self._inbox.append(function)
        self.wake()

    def post(self, function: Callable[[], None]) -> None:
        """Calls back the program: on the thread, without the lock. Under the lock."""
        self._posted.append(function)

    def spawn(self, flow: Flow) -> "Future[Any]":
        future: "Future[Any]" = Future()
        with self.lock:  # what is in the inbox when the thread ends is still answered
            if not self._stopping:
                self.soon(lambda: self._step(flow, future, None, None))
                return future
        flow.close()
        future.set_exception(self.closed_error())
        return future

    def run(self, flow: Flow) -> Any:
        """Runs a flow to its end, and gives what it returns. Flows have deadlines of their own."""
        if threading.current_thread() is self.thread:
            flow.close()
            raise RuntimeError("a call that waits was made from a callback, which runs on the thread it waits for")
        return self.spawn(flow).result()

    def wait_up(self, seconds: float) -> None:
        """Until some node is connected. LocalNotConnectedError."""
        deadline = time.monotonic() + seconds
        for endpoint in self.bootstrap:
            if host_name_of(endpoint):  # an answer may take long
                threading.Thread(target=self._look_up, args=(endpoint,), name="weft-names", daemon=True).start()
        with self.lock:
            while not any(link.up for link in self._links.values()):
                left = deadline - time.monotonic()
                hopeless = all(self._nameless.get(endpoint, (False, ""))[0] for endpoint in self.bootstrap)
                if left <= 0 or hopeless:
                    why = [text for _, text in self._nameless.values()]
                    raise _errors.LocalNotConnectedError("; ".join([self._unreachable()] * (not hopeless) + why))
                self.changed.wait(left)

    def _look_up(self, endpoint: str) -> None:
        """Whether the host's name stands for an address. On a thread of its own."""
        host = host_name_of(endpoint)
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            final = not isinstance(error, socket.gaierror) or error.errno != socket.EAI_AGAIN
            with self.lock:
                self._nameless[endpoint] = final, "the host name '%s' has no address (%s)" % (
                    host, error.strerror if isinstance(error, OSError) else error)
                self.changed.notify_all()

    def close(self) -> None:
        with self.lock:
            if self._stopping:
                return
            self._stopping = True
        self._asleep = True  # whatever it is doing: one byte more does no harm
        self.wake()
        if threading.current_thread() is not self.thread and self.thread.is_alive():
            self.thread.join()

    def abandon(self) -> None:
        """The program has dropped the client: the thread does what was promised (`abandoned` of its parts), then ends. It may be called
        wherever garbage is collected, so it takes no lock."""
        self._abandoned = True
        self.wake()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def closed_error(self) -> _errors.LocalClosedError:
        return _errors.LocalClosedError(self._why_closed)

    # ---- fork: the child has no such thread, and the sockets are the parent's

    def hold(self) -> None:
        self.lock.acquire()
        for part in self.parts:
            part.hold()

    def release(self) -> None:
        for part in self.parts:
            part.release()
        self.lock.release()

    def orphan(self) -> None:
        """In the child: whoever waits for something, or asks for it, is told."""
        self._stopping = self.orphaned = True
        self._why_closed = "the client was made before a fork, and its thread is the parent's; make another one here"
        for part in self.parts:
            part.release()
        self._tell_closed()
        for part in self.parts:
            part.hold()
        self._posted = []
        self._close_pipe()

    def want(self, *names: str) -> None:
        """Their metadata is needed from now on."""
        with self.lock:
            for name in names:
                self.seek_topic(name)
            self.wake()

    # ---- the thread

    def _run(self) -> None:
        try:
            with self.lock:
                now = time.monotonic()
                for endpoint in self.bootstrap:
                    self.link_to(endpoint, now, pinned=True)
            while not self._stopping:
                with self.lock:
                    self._asleep = True
                    due = self._turn()
                    if self._inbox or self._posted:
                        due = 0.0
                    if not self._asleep:  # woken meanwhile
                        due = 0.0
                    posted, self._posted = self._posted, []
                for function in posted:
                    try:
                        function()
                    except Exception:
                        log.exception("a callback of the program failed")
                if posted:
                    continue
                self._poll(due)
        except Exception as error:
            self._why_closed = "the client's thread ended: %r" % error
            log.exception("the client's thread ended")
        finally:
            self._end()

    def _poll(self, due: float) -> None:
        wait = due - time.monotonic()
        timeout = None if wait > 1e6 else max(0, int(wait * 1000 + 0.999)) if wait > 0 else 0
        ready = self._poller.poll(timeout)
        self._asleep = False
        if not ready:
            return
        with self.lock:
            events = []
            for socket, _event in ready:
                if socket == self._read_end:
                    try:
                        os.read(self._read_end, 4096)
                    except OSError:
                        pass
                    continue
                found = self._by_socket.get(socket)
                if found is None:
                    continue
                link, is_monitor = found
                if is_monitor:
                    events.append(link)
                else:
                    self._receive(link)
            for link in events:  # behind what it still said
                self._mind_monitor(link)

    def _turn(self) -> float:
        while self._inbox:
            self._inbox.popleft()()
        now = time.monotonic()
        if self._abandoned and all([part.abandoned(now) for part in self.parts]):
            self._stopping = True
            return now
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if now >= self._check:
            self._sweep(now)
        self._metadata_turn(now)
        due = now + ABANDONED_LOOKS if self._abandoned else NEVER
        for part in self.parts:
            due = min(due, part.turn(now))
        due = min(due, self._check, self._timers[0][0] if self._timers else NEVER, self._metadata_next)
        if self._metadata_wanted and self._metadata is None:
            due = min(due, self._metadata_at)
        return due

    def _tell_closed(self) -> None:
        for call in list(self._calls.values()):
            self._finish(call, self.closed_error(), None, None)
        while self._inbox or self._timers:  # flows that sleep end, too
            self._inbox.popleft()() if self._inbox else heapq.heappop(self._timers)[2]()
        for part in self.parts:
            part.closed()

    def _end(self) -> None:
        with self.lock:
            self._stopping = True
            self._tell_closed()
            for link in self._links.values():
                link.close()
            posted, self._posted = self._posted, []
            self.changed.notify_all()
        for function in posted:
            try:
                function()
            except Exception:
                log.exception("a callback of the program failed")
        if self._own_context:
            self._context.term()
        self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._read_end)
        write_end, self._write_end = self._write_end, -1
        os.close(write_end)

    def _receive(self, link: Link) -> None:
        for _ in range(RECEIVE_MOST):
            frames = link.receive()
            if frames is None:
                return
            link.silent = False
            self._message(link, frames)

    def _mind_monitor(self, link: Link) -> None:
        while True:
            up = link.event()
            if up is None:
                return
            link.changed = time.monotonic()
            if up:
                link.up, link.broken, link.silent = True, False, False
                self._hello(link)
                self._make_due()
                self.changed.notify_all()
            elif link.up:
                self._went_down(link)

    def _went_down(self, link: Link) -> None:
        link.up, link.broken = False, True
        self.counts["links_lost_count"] += 1
        self._metadata_at, self._metadata_wanted = 0.0, True
        self._unsettled = NEVER
        if self.view.coordinator == link.endpoint:
            self.view.coordinator = ""
        for call in list(self._calls.values()):
            if call.state == SENT and call.link is link:
                self._attempt_failed(call, _errors.LocalNotConnectedError("the connection to %s was lost" % link.endpoint))

    # ---- hello: limits and versions, asked of every node when its link comes up. Its id is 0, which no call has.

    def _hello(self, link: Link) -> None:
        link.send(_codec.encode("hello_request", {"id": 0, "client": self.client_id}), None)

    def _hello_answered(self, header: bytes) -> None:
        reply = _codec.decode("hello_reply", header)
        if reply["error"] == _errors.UnsupportedVersionError.errno:
            self.view.fatal = _errors.UnsupportedVersionError(
                "the node speaks no protocol version that this package speaks; upgrade the older one")
        if reply["error"]:
            return
        if reply["batch_bytes_max"]:
            self.batch_bytes_max = min(self.batch_bytes_max, reply["batch_bytes_max"])
        if reply["session_window"]:
            self.session_window = min(self.session_window, reply["session_window"])

    # ---- metadata: one request is under way at a time

    def _metadata_turn(self, now: float) -> None:
        if self._metadata_next <= now:
            self._metadata_wanted, self._metadata_next = True, NEVER
        if self._metadata_wanted and self._metadata is None and self._metadata_at <= now:
            names = [] if self.all_topics else [topic.name for topic in self.view.topics.values() if topic.wanted][:10000]
            everything = self.all_topics
            self._metadata_wanted = False
            self._metadata = Call("metadata", {"topics": names, "brokers_only": not names and not everything,
                                               "internal": not everything}, ANY,
                                  lambda call, error, reply, data: self._metadata_done(error, reply, everything),
                                  attempt=min(self.request_timeout, 5.0))
            self.submit(self._metadata)

    def _is_settled(self) -> bool:
        """Every partition of every topic wanted has a leader that is, or is about to be, connected."""
        for topic in self.view.topics.values():
            if not topic.wanted:
                continue
            if not topic.known:
                return False
            for place in topic.places:
                if not place.endpoint or not self.is_near(self.link_to(place.endpoint, time.monotonic())):
                    return False
        return True

    def _metadata_done(self, error: Optional[_errors.WeftError], reply: Optional[Dict[str, Any]], everything: bool) -> None:
        self._metadata = None
        now = time.monotonic()
        if error is not None or reply is None:
            self._metadata_tries += 1
            self._metadata_at, self._metadata_wanted = now + self.wait_seconds(self._metadata_tries), True
            return
        self.view.apply(reply, everything, now)
        if self.view.fatal:
            log.error("%s", self.view.fatal)
        if self.metadata_max_age:
            self._metadata_next = now + self.metadata_max_age
        settled = self._is_settled()
        if settled:
            self._unsettled = NEVER
        elif self._unsettled == NEVER:
            self._unsettled = now
        eager = settled or now - self._unsettled < EAGER
        self._metadata_tries = 1 if eager else self._metadata_tries + 1
        self._metadata_at = now + self.wait_seconds(self._metadata_tries)
        if not settled:
            self._metadata_wanted = True
        for endpoint in self.view.spares():
            self.link_to(endpoint, now)
        self._reroute()
        self._forget_links(now)
        self._make_due()
        self.changed.notify_all()

    def _reroute(self) -> None:
        """What waits at a node that leads its partition no more is given up: if that node is stopped, nothing else would tell."""
        for call in list(self._calls.values()):
            if call.state != SENT or not isinstance(call.to, tuple):
                continue
            link = self.leader(*call.to)
            if link is not None and link is not call.link and self.epoch_of(call) > call.epoch:
                self._attempt_failed(call, _errors.LocalNotConnectedError("the partition is led elsewhere by now"))

    # ---- flows

    def at(self, when: float, function: Callable[[], None]) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, function))
        self.wake()

    def _step(self, flow: Flow, future: "Future[Any]", value: Any, error: Optional[BaseException]) -> None:
        try:
            wanted = flow.throw(error) if error is not None else flow.send(value)
        except StopIteration as end:
            future.set_result(end.value)
            return
        except BaseException as failed:  # it is the future's to tell
            future.set_exception(failed)
            return
        if self._stopping:
            self._step(flow, future, None, self.closed_error())
        elif isinstance(wanted, Call):
            def done(call: Call, failed: Optional[_errors.WeftError], reply: Any, data: Any) -> None:
                self._step(flow, future, reply, failed)
            wanted.done = done
            try:
                self.pack(wanted)
            except Exception as failed:  # what the program gave can't be said
                self._step(flow, future, None, _errors.InvalidArgumentError("%s: %s" % (wanted.api, failed), "not_applied"))
            else:
                self.submit(wanted)
        else:
            self.at(time.monotonic() + wanted, lambda: self._step(flow, future, None, None))


class Part:
    """What an engine runs beside itself. All of it is called under the lock; all but the last two on the thread."""

    def turn(self, now: float) -> float:
        """Does what is due, and says when there is more."""
        return NEVER

    def abandoned(self, now: float) -> bool:
        """The program has dropped the client. True: nothing is left to be done."""
        return True

    def closed(self) -> None:
        """It ends."""

    def hold(self) -> None:
        """Takes its other locks."""

    def release(self) -> None:
        """Releases them."""


_ENGINES: "weakref.WeakSet[Engine]" = weakref.WeakSet()
_FORKING = threading.RLock()
_held: List[Engine] = []


def _before_fork() -> None:
    """A child gets its copy of everything in a state that fits together, and locks that it can release."""
    _FORKING.acquire()
    while True:
        try:
            _held[:] = sorted((engine for engine in _ENGINES if not engine.stopping), key=id)
            break
        except RuntimeError:  # one came or went meanwhile
            continue
    for engine in _held:
        engine.hold()


def _after_fork(in_child: bool) -> None:
    for engine in _held:
        if in_child and not engine.stopping:
            engine.orphan()
        engine.release()
    _held.clear()
    _FORKING.release()


os.register_at_fork(before=_before_fork, after_in_parent=lambda: _after_fork(False), after_in_child=lambda: _after_fork(True))
