# SPDX-License-Identifier: MPL-2.0
"""Calls under way, their answers, and what happens when none comes (as lib/client/requests.h of the C client).

Two kinds. An *automatic* call (admin, offsets, metadata) finds its node by itself, follows redirections, and retries by error class
with back-off until its deadline. A *manual* call (produce, fetch, heartbeat) is one attempt; its owner keeps order and decides what
next. A dead leader sends no error: its link goes down, or the request is overdue; then another node is asked who leads, and what
waits at a leader of the past is given up once metadata names a newer one. A call keeps its id over all attempts."""
import collections
import logging
import random
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import zmq

from . import _codec, _errors
from ._link import Link
from ._view import View
from .errors import of_number

log = logging.getLogger("weft")

NEVER = float("inf")
ANY, COORDINATOR = "any", "coordinator"
REDIRECTS_AT_ONCE = 3  # then a redirection waits for the back-off: two confused nodes can't make a client spin
SILENCE_LOOKS = 4  # while a request stays unanswered others are asked again after this part of its age
FORGET = 60.0  # a link that is down for longer, to a node that nobody tells of, is closed
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


class Calls:
    """The half of the engine that any thread may use under its lock, but for sockets: those are the engine's thread's."""

    def __init__(self, bootstrap: Tuple[str, ...], client_id: str, request_timeout: float, backoff: float, silence: float,
                 linger_ms: int, unanswered: bool, context: "zmq.Context[Any]") -> None:
        self.bootstrap, self.client_id, self.silence, self.backoff = bootstrap, client_id, silence, backoff
        self.request_timeout = request_timeout
        self.view = View()
        self.batch_bytes_max, self.session_window = 16777216, 64
        self.counts: "collections.Counter[str]" = collections.Counter()
        self._linger_ms, self._unanswered = linger_ms, unanswered
        self._context = context
        self._poller = zmq.Poller()
        self._links: Dict[str, Link] = {}
        self._by_socket: Dict[Any, Tuple[Link, bool]] = {}
        self._turn_links = 0
        self._calls: Dict[int, Call] = {}
        self._last_id = 0
        self._check = NEVER  # the next sweep over the calls
        self._look_at = 0.0
        self._metadata: Optional[Call] = None
        self._metadata_wanted = True
        self._metadata_at = 0.0  # not before
        self._metadata_tries = 0
        self._unsettled = NEVER  # since when what is sought is not there

    def wake(self) -> None:
        """The thread is to take a turn."""

    # ---- what is wanted

    def seek_topic(self, name: str) -> None:
        """Its metadata is needed from now on."""
        topic = self.view.topic(name)
        if not topic.wanted:
            topic.wanted = True
            self._metadata_wanted, self._metadata_at, self._metadata_tries = True, 0.0, 0

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

    # ---- links

    def link_to(self, endpoint: str, now: float, pinned: bool = False) -> Optional[Link]:
        link = self._links.get(endpoint)
        if link is None and endpoint:
            try:
                link = Link(self._context, endpoint, now, pinned, self._linger_ms, self._unanswered)
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

    def pack(self, call: Call) -> None:
        """Gives it its id and its bytes. Raises what the codec does not take."""
        self._last_id += 1
        call.values["id"] = self._last_id
        call.packed = _codec.encode(call.api + "_request", call.values)
        call.id = self._last_id

    def _send(self, call: Call, link: Link) -> bool:
        if not call.id:
            self.pack(call)
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
        if not call.id:
            self.pack(call)
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
        elif topic.known and not 0 <= number < len(topic.places):
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
                self.seek_topic(call.to[0])
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

    def _hello_answered(self, header: bytes) -> None:
        """The engine's."""

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
