# SPDX-License-Identifier: MPL-2.0
"""The engine of a client: one thread that owns its sockets, the calls under way, and what is known of the cluster.

Two kinds of calls, as in the C client. An *automatic* call (admin, offsets, metadata) finds its node by itself, follows
redirections, and retries by error class with back-off until its deadline. A *manual* call (produce, fetch, heartbeat) is one
attempt; its owner keeps order and decides what next. A dead leader sends no error: its link goes down, or the request is overdue;
then another node is asked who leads, and what waits at a leader of the past is given up once metadata names a newer one.

`lock` guards everything: the thread holds it but while it waits in poll and while it calls back the program. Parts
(`turn(now) -> when to come back`) run under it, on the thread. Other threads may change a part's state under the lock, then
call wake(). Flows are generators, run on the thread: they yield a Call to have it answered, or a number of seconds to sleep."""
import collections
import heapq
import logging
import os
import random
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, Deque, Dict, Generator, List, Optional, Tuple

import zmq

from . import _codec, _errors
from ._link import Link
from ._view import View
from .errors import of_number

log = logging.getLogger("weft")

NEVER = float("inf")
ANY, COORDINATOR = "any", "coordinator"
REDIRECTS_AT_ONCE = 3  # then a redirection waits for the back-off: two confused nodes can't make a client spin
EAGER = 3.0  # how long metadata is asked for at a steady pace before the back-off grows
SILENCE_LOOKS = 4  # while a request stays unanswered others are asked again after this part of its age
FORGET = 60.0  # a link that is down for longer, to a node that nobody tells of, is closed
RECEIVE_MOST = 200  # messages of one link in one turn

Flow = Generator[Any, Any, Any]
IDLE, QUEUED, SENT = range(3)


class Call:
    """One request. `to` is ANY, COORDINATOR, an endpoint, or (topic, partition) for the leader of that partition."""

    __slots__ = ("api", "values", "to", "data", "done", "attempt", "parked", "deadline", "manual", "id", "state", "attempts", "epoch",
                 "sent", "retry", "link", "avoid", "doubtful", "redirected", "error", "updates", "packed")

    def __init__(self, api: str, values: Dict[str, Any], to: Any, done: Optional[Callable[..., None]] = None,
                 data: Optional[bytes] = None, attempt: float = 30.0, parked: float = 0.0, deadline: float = NEVER) -> None:
        self.api, self.values, self.to, self.done, self.data = api, values, to, done, data
        self.attempt, self.parked, self.deadline = attempt, parked, deadline
        self.manual = self.doubtful = self.redirected = False
        self.id = self.attempts = self.updates = 0
        self.epoch, self.state = -1, IDLE
        self.sent = self.retry = 0.0
        self.link: Optional[Link] = None
        self.avoid: Optional[Link] = None
        self.error: Optional[_errors.WeftError] = None
        self.packed: Optional[bytes] = None


class Engine:
    def __init__(self, bootstrap: Tuple[str, ...], client_id: str, request_timeout: float, backoff: float, silence: float = 0.5,
                 metadata_max_age: float = 0.0, linger_ms: int = 0, unanswered: bool = False,
                 context: Optional[zmq.Context] = None) -> None:
        self.bootstrap, self.client_id, self.silence, self.backoff = bootstrap, client_id, silence, backoff
        self.request_timeout, self.metadata_max_age = request_timeout, metadata_max_age
        self.linger_ms, self.unanswered = linger_ms, unanswered
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # the view, or a part's state that somebody waits for
        self.view = View()
        self.parts: List[Any] = []
        self.all_topics = False
        self.batch_bytes_max, self.session_window = 16777216, 64
        self.counts = collections.Counter()  # type: collections.Counter[str]
        self._own_context = context is None
        self._context = zmq.Context() if context is None else context
        self._links: Dict[str, Link] = {}
        self._by_socket: Dict[Any, Tuple[Link, bool]] = {}
        self._poller = zmq.Poller()
        self._calls: Dict[int, Call] = {}
        self._last_id = 0
        self._turn_links = 0
        self._check = NEVER
        self._inbox: Deque[Callable[[], None]] = collections.deque()
        self._posted: List[Callable[[], None]] = []
        self._timers: List[Tuple[float, int, Callable[[], None]]] = []
        self._timer_count = 0
        self._asleep = False
        self._stopping = False
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._poller.register(self._read_end, zmq.POLLIN)
        # metadata
        self._metadata: Optional[Call] = None
        self._metadata_wanted = True
        self._metadata_at = 0.0
        self._metadata_next = NEVER
        self._metadata_tries = 0
        self._unsettled = NEVER
        self._look_at = 0.0
        self.thread = threading.Thread(target=self._run, name="weft-%s" % client_id, daemon=True)
        self._pid = os.getpid()

    # ---- from any thread

    def start(self) -> None:
        self.thread.start()

    def wake(self) -> None:
        if self._asleep:
            self._asleep = False
            try:
                os.write(self._write_end, b"w")
            except OSError:  # it is full: then it wakes
                pass

    def soon(self, function: Callable[[], None]) -> None:
        """Runs on the thread, under the lock."""
        self._inbox.append(function)
        self.wake()

    def post(self, function: Callable[[], None]) -> None:
        """Calls back the program: on the thread, without the lock. Under the lock."""
        self._posted.append(function)

    def spawn(self, flow: Flow) -> "Future[Any]":
        future: "Future[Any]" = Future()
        if self._stopping:
            flow.close()
            future.set_exception(_errors.LocalClosedError("the client is closed"))
        else:
            self.soon(lambda: self._step(flow, future, None, None))
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
        with self.lock:
            while not any(link.up for link in self._links.values()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _errors.LocalNotConnectedError(self._unreachable())
                self.changed.wait(left)

    def close(self) -> None:
        with self.lock:
            if self._stopping:
                return
            self._stopping = True
        self._asleep = True  # whatever it is doing: one byte more does no harm
        self.wake()
        if threading.current_thread() is not self.thread and self.thread.is_alive():
            self.thread.join()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def want(self, *names: str) -> None:
        """Their metadata is needed from now on."""
        with self.lock:
            for name in names:
                topic = self.view.topic(name)
                if not topic.wanted:
                    topic.wanted = True
                    self._metadata_wanted, self._metadata_at, self._metadata_tries = True, 0.0, 0
            self.wake()

    def unwant(self, name: str) -> None:
        self.view.topic(name).wanted = False

    def refresh(self, now: bool = False) -> None:
        """Asks some node for metadata soon (spaced by the back-off), or at once."""
        self._metadata_wanted = True
        if now:
            self._metadata_at, self._metadata_tries = 0.0, 0
            self.wake()

    def wait_seconds(self, tries: int) -> float:
        """Back-off before attempt `tries` (from 1): doubles up to 20 times, with jitter of a quarter."""
        wait: float = min(self.backoff * 2 ** min(max(0, tries - 1), 10), self.backoff * 20)
        return wait * (0.75 + random.random() / 2)

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
        except Exception:
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
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if now >= self._check:
            self._sweep(now)
        self._metadata_turn(now)
        due = NEVER
        for part in self.parts:
            due = min(due, part.turn(now))
        due = min(due, self._check, self._timers[0][0] if self._timers else NEVER, self._metadata_next)
        if self._metadata_wanted and self._metadata is None:
            due = min(due, self._metadata_at)
        return due

    def _end(self) -> None:
        with self.lock:
            self._stopping = True
            closed = _errors.LocalClosedError("the client is closed")
            for call in list(self._calls.values()):
                self._finish(call, closed, None, None)
            while self._inbox or self._timers:  # flows that sleep end, too
                self._inbox.popleft()() if self._inbox else heapq.heappop(self._timers)[2]()
            for part in self.parts:
                part.closed()
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

    # ---- links

    def link_to(self, endpoint: str, now: float, pinned: bool = False) -> Optional[Link]:
        link = self._links.get(endpoint)
        if link is None and endpoint:
            try:
                link = Link(self._context, endpoint, now, pinned, self.linger_ms, self.unanswered)
            except zmq.ZMQError as error:
                log.warning("no connection to %s: %s", endpoint, error)
                return None
            self._links[endpoint] = link
            for socket, is_monitor in ((link.socket, False), (link.monitor, True)):
                self._poller.register(socket, zmq.POLLIN)
                self._by_socket[socket] = (link, is_monitor)
        return link

    def _forget_links(self, now: float) -> None:
        known = set(self.view.endpoints())
        for endpoint, link in list(self._links.items()):
            if link.pinned or link.up or endpoint in known or now - link.changed < FORGET:
                continue
            for socket in (link.socket, link.monitor):
                self._poller.unregister(socket)
                del self._by_socket[socket]
            del self._links[endpoint]
            link.close()

    def any_link(self, avoid: Optional[Link]) -> Optional[Link]:
        """Some link that is up, another one each time; one that is silent or to be avoided only if there is no other."""
        up = [link for link in self._links.values() if link.up]
        if not up:
            return None
        self._turn_links += 1
        good = [link for link in up if not link.silent and link is not avoid] or [link for link in up if link is not avoid] or up
        return good[self._turn_links % len(good)]

    def is_near(self, link: Optional[Link]) -> bool:
        """Up, or just being opened: worth the wait."""
        return link is not None and (link.up or (not link.broken and time.monotonic() - link.changed <= self.backoff))

    def leader(self, name: str, number: int) -> Optional[Link]:
        topic = self.view.topics.get(name)
        place = topic.place(number) if topic is not None and topic.known else None
        return self.link_to(place.endpoint, time.monotonic()) if place is not None and place.endpoint else None

    def _target(self, call: Call) -> Optional[Link]:
        if isinstance(call.to, tuple):
            return self.leader(*call.to)
        if call.to == COORDINATOR:
            if self.view.coordinator:
                link = self.link_to(self.view.coordinator, time.monotonic())
                if link is not None and link is not call.avoid and self.is_near(link):
                    return link
            return self.any_link(call.avoid)
        if call.to == ANY:
            return self.any_link(call.avoid)
        return self.link_to(call.to, time.monotonic())

    def _unreachable(self) -> str:
        several = " or another bootstrap endpoint; are the nodes running, and is the network up?"
        return "no connection to %s%s" % (self.bootstrap[0], several if len(self.bootstrap) > 1
                                          else "; is a node running there? (weft up starts one)")

    # ---- calls

    def _check_by(self, at: float) -> None:
        if at < self._check:
            self._check = at

    def epoch_of(self, call: Call) -> int:
        if not isinstance(call.to, tuple):
            return -1
        topic = self.view.topics.get(call.to[0])
        place = topic.place(call.to[1]) if topic is not None else None
        return place.epoch if place is not None else -1

    def _attempt_seconds(self, call: Call) -> float:
        """Asking a second node is cheap and a late answer of the first one still counts: an automatic call does not wait long."""
        if call.manual:
            return call.attempt
        return min(self.silence * 2 ** min(max(0, call.attempts - 1), 7) + call.parked, call.attempt)

    def _send(self, call: Call, link: Link) -> bool:
        if not call.id:
            self._last_id += 1
            call.id = self._last_id
            call.values["id"] = call.id
            call.packed = _codec.encode(call.api + "_request", call.values)
        assert call.packed is not None
        if not link.send(call.packed, call.data):
            return False
        self._calls[call.id] = call
        call.link, call.state, call.redirected = link, SENT, False
        call.attempts += 1
        call.epoch = self.epoch_of(call)
        call.sent = time.monotonic()
        self._check_by(call.sent + self._attempt_seconds(call))
        if isinstance(call.to, tuple):
            self._check_by(call.sent + call.parked + self.silence)
        return True

    def attempt(self, call: Call) -> Optional[_errors.WeftError]:
        """Manual: sends it, or says why not; then it stays idle."""
        call.manual = True
        link = self._target(call)
        if link is None or not link.up:
            if link is None or not self.is_near(link):
                self.refresh()
            return _errors.LocalNotConnectedError(None if link else self._unreachable())
        return None if self._send(call, link) else _errors.LocalWouldBlockError()

    def submit(self, call: Call) -> None:
        """Automatic; call.done is called once."""
        call.state, call.retry, call.updates = QUEUED, 0.0, self.view.updates
        self._last_id += 1
        call.id = self._last_id
        call.values["id"] = call.id
        call.packed = _codec.encode(call.api + "_request", call.values)
        self._calls[call.id] = call
        self._check_by(call.deadline)
        self._advance(call, time.monotonic())

    def cancel(self, call: Call) -> None:
        self._calls.pop(call.id, None)
        call.id, call.state, call.attempts, call.packed = 0, IDLE, 0, None

    def _finish(self, call: Call, error: Optional[_errors.WeftError], reply: Optional[Dict[str, Any]], data: Optional[bytes]) -> None:
        self._calls.pop(call.id, None)
        call.id, call.state = 0, IDLE
        if call.done:
            call.done(call, error, reply, data)

    def _pointless(self, call: Call) -> bool:
        """The topic or partition does not exist. Ends the call then."""
        if not isinstance(call.to, tuple) or call.updates == self.view.updates:
            return False
        name, number = call.to
        topic = self.view.topic(name)
        if self.view.is_missing(topic, time.monotonic()):
            text = "topic '%s' does not exist" % name
        elif topic.known and number >= len(topic.places):
            text = "topic '%s' has %d partitions, numbered from 0; there is no partition %d" % (name, len(topic.places), number)
        else:
            return False
        self._finish(call, _errors.UnknownTopicError(text), None, None)
        return True

    def _advance(self, call: Call, now: float) -> None:
        if call.retry > now:
            self._check_by(call.retry)
            return
        if self._pointless(call):
            return
        link = self._target(call)
        if isinstance(call.to, tuple):
            if not self.view.topic(call.to[0]).wanted:
                self.want(call.to[0])
            if link is None or not link.up:
                self.refresh()
        if link is not None and link.up and self._send(call, link):
            return
        call.retry = now + self.backoff
        self._check_by(call.retry)

    def _make_due(self) -> None:
        for call in self._calls.values():
            if call.state == QUEUED and (call.error is None or isinstance(
                    call.error, (_errors.LocalNotConnectedError, _errors.NotCoordinatorError))):
                call.retry = 0.0
        self._check = 0.0

    def _retry(self, call: Call, error: _errors.WeftError, wait: float) -> None:
        call.error, call.state = error, QUEUED
        call.retry = time.monotonic() + wait
        self._check_by(min(call.retry, call.deadline))

    def _attempt_failed(self, call: Call, error: _errors.WeftError) -> None:
        call.doubtful, call.avoid = True, call.link
        if call.manual:
            self._finish(call, error, None, None)
        else:
            self._retry(call, error, 0.0 if isinstance(error, _errors.LocalNotConnectedError) else self.wait_seconds(call.attempts))

    # ---- answers

    def _message(self, link: Link, frames: List[bytes]) -> None:
        try:
            call_id = _codec.reply_id(frames[0])
            call = self._calls.get(call_id)
            if call is None:
                if call_id == 0:
                    self._hello_answered(frames[0])
                else:
                    self.counts["stray_replies_count"] += 1
                return
            reply = _codec.decode(call.api + "_reply", frames[0])
        except _codec.CodecError as error:
            log.warning("a message from %s that is no reply: %s", link.endpoint, error)
            self.counts["stray_replies_count"] += 1
            return
        data = b"" if len(frames) < 2 else frames[1]
        if reply["error"]:
            self._refused(call, of_number(reply["error"], reply["message"]), reply, data)
        else:
            self._finish(call, None, reply, data)

    def _learn(self, call: Call, error: _errors.WeftError, reply: Dict[str, Any]) -> bool:
        """What the view learns from a refusal. True: the reply named another node to go to."""
        endpoint = reply["endpoint"] or ""
        redirected = False
        moved = isinstance(error, (_errors.LeaderChangedError, _errors.StoppingError))
        if isinstance(call.to, tuple) and (isinstance(error, _errors.NotLeaderError) or (moved and endpoint)):
            topic = self.view.topic(call.to[0])
            self.view.redirect(topic, call.to[1], reply["leader"], endpoint)
            link = self.leader(*call.to)
            redirected = link is not None and link is not call.link
        elif isinstance(error, _errors.NotCoordinatorError):
            link = self.link_to(endpoint, time.monotonic()) if endpoint else None
            redirected = link is not None and link is not call.link
            self.view.coordinator = endpoint if redirected else ""
            call.avoid = call.link
        elif moved or isinstance(error, (_errors.CoordinatorUnavailableError, _errors.CoordinatorLoadingError)):
            call.avoid = call.link
        call.redirected = redirected
        if redirected:
            self.counts["redirects_count"] += 1
        if not redirected and call is not self._metadata and (
                error.error_class == "refresh" or isinstance(error, _errors.TopicReplacedError)):
            self.refresh()
        return redirected

    def _refused(self, call: Call, error: _errors.WeftError, reply: Dict[str, Any], data: bytes) -> None:
        redirected = self._learn(call, error, reply)
        if error.outcome != "not_applied":
            call.doubtful = True
        final = isinstance(error, _errors.FencedError) or (isinstance(error, _errors.UnknownTopicError) and call.attempts > 1)
        if call.manual or final or not error.retriable:
            self._finish(call, error, reply, data)
            return
        wait = 0.0 if redirected and call.attempts <= REDIRECTS_AT_ONCE else self.wait_seconds(call.attempts)
        wait = max(wait, reply["retry_ms"] / 1000)
        self._retry(call, error, wait)
        if wait == 0:
            self._advance(call, time.monotonic())

    # ---- time

    def _sweep(self, now: float) -> None:
        self._check = NEVER
        overdue = 0.0
        for call in list(self._calls.values()):
            if call.state == SENT and now - call.sent >= self._attempt_seconds(call):
                if call.link is not None:
                    call.link.silent = True
                if call is not self._metadata:
                    self.refresh()
                self._attempt_failed(call, _errors.LocalTimedOutError("%s did not answer in time" % (
                    call.link.endpoint if call.link is not None else "the node")))
                if call.state != QUEUED:
                    continue
            if call.state == SENT:
                self._check_by(call.sent + self._attempt_seconds(call))
                overdue = max(overdue, self._mind_silence(call, now))
            if call.manual or call.state == IDLE:
                continue
            if now >= call.deadline:
                self._over(call)
                continue
            self._check_by(call.deadline)
            if call.state == QUEUED:
                self._advance(call, now)
        if overdue:
            if now >= self._look_at:
                self.refresh()
                self._look_at = now + min(overdue / SILENCE_LOOKS, 1.0)
            self._check_by(self._look_at)

    def _mind_silence(self, call: Call, now: float) -> float:
        if not isinstance(call.to, tuple):
            return 0.0
        at = call.sent + call.parked + self.silence
        if now < at:
            self._check_by(at)
            return 0.0
        if call.link is not None:
            call.link.silent = True
        return now - call.sent - call.parked

    def _over(self, call: Call) -> None:
        """The time of an automatic call is over. What it was refused with says more than that."""
        in_doubt = call.doubtful or call.state == SENT
        error = call.error
        if not call.attempts and (error is None or isinstance(error, _errors.LocalNotConnectedError)):
            error = _errors.LocalNotConnectedError(self._unreachable())
        elif error is None or in_doubt and error.outcome == "not_applied":
            last = " Last: %s" % error if error is not None else ""
            error = _errors.LocalTimedOutError("%s was not answered in time.%s" % (call.api, last))
        self._finish(call, error, None, None)

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
            self._step(flow, future, None, _errors.LocalClosedError("the client is closed"))
        elif isinstance(wanted, Call):
            def done(call: Call, failed: Optional[_errors.WeftError], reply: Any, data: Any) -> None:
                self._step(flow, future, reply, failed)
            wanted.done = done
            self.submit(wanted)
        else:
            self.at(time.monotonic() + wanted, lambda: self._step(flow, future, None, None))
