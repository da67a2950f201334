# SPDX-License-Identifier: MPL-2.0
"""Membership in a group by group_heartbeat (KIP-848's model), on the engine's thread, so that it goes on while the program works.

What is to be said is never queued: a heartbeat is built from what is known when it leaves, and what it carried counts as told once
it was answered. One is under way at a time, parked by the coordinator for its interval; it is sent anew at once when this side has
something to say. A coordinator that can't be heard changes nothing (I10): the consumer goes on with what it owns. Only the lease
ends, counted from the sending of the last heartbeat that was answered; who reads with `exclusive` obeys it."""
import logging
import os
import socket
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from . import _errors
from ._engine import COORDINATOR, NEVER, Call, Engine, Part
from .errors import WeftError

log = logging.getLogger("weft.consumer")

OUT, IN, IDLE, REFUSED, GONE = "out", "in", "idle", "refused", "gone"
PROBE = 0.25  # how long a coordinator may take to answer beyond the time it may park, at least
TRIES_MAX = 6
LEAVE_ABANDONED = 2.0  # how long one that was dropped waits to be told that it has left


class Owned(NamedTuple):
    topic: str
    topic_id: bytes
    partition: int
    token: int


class Assignment(NamedTuple):
    epoch: int
    revision: int
    owned: Tuple[Owned, ...]


class Member(Part):
    """A part of the engine. The consumer reads assignment, lost_count, refused and left, and calls subscribe, carried, polled, leave."""

    def __init__(self, engine: Engine, group: str, settings: Dict[str, Any]) -> None:
        self.engine, self.group = engine, group
        self.id = os.urandom(16)
        self.told = {"client": engine.client_id, "host": socket.gethostname()[:128], "session_ms": settings["session_ms"],
                     "release_ms": settings["release_ms"], "exclusive": settings["exclusive"]}
        for key in ("assignor", "rack"):
            if settings[key]:
                self.told[key] = settings[key]
        self.instance: Optional[str] = settings["instance"]
        self.max_poll = settings["max_poll_ms"] / 1000
        self.state, self.epoch, self.seen, self.revision = OUT, 0, 0, 0
        self.heartbeat, self.lease = 1.0, settings["session_ms"] / 1000
        # News for the consumer.
        self.assignment: Optional[Assignment] = None
        self.lost_count, self.lost_text = 0, ""
        self.refused: Optional[WeftError] = None
        self.unknown: List[str] = []
        self.left = False
        self.lease_end = 0.0
        self.news: Callable[[], None] = lambda: None
        self.progress: Callable[[], int] = lambda: 0
        # Orders of the consumer.
        self._topics: List[str] = []
        self._subscription = self._told_subscription = self._sent_subscription = 0
        self._carried = (0, 0)
        self._polled: Optional[float] = None  # None: the program waits for records right now
        self._progress_seen = 0
        self._leave: Optional[str] = None
        self._why = ""
        # The conversation.
        self._call: Optional[Call] = None
        self._full = True
        self._sent_join = self._sent_leave = self._leaving_told = False
        self._sent_revision = 0
        self._parked = 0.0
        self._tries = 0
        self._retry = 0.0
        self._heard = 0.0
        self._unheard = False
        self._abandoned = 0.0

    # ---- from the consumer, under the lock

    def subscribe(self, topics: List[str]) -> None:
        if self.state == GONE:  # it left, and comes back as another member
            self.id, self.state, self.left = os.urandom(16), OUT, False
        self._leave = None
        self._topics = topics
        self._subscription += 1
        self.engine.wake()

    def carried(self, epoch: int, revision: int) -> None:
        self._carried = (epoch, revision)
        self.engine.wake()

    def polled(self, waits: bool) -> None:
        was = self._polled
        self._polled = None if waits else time.monotonic()
        if self.state == IDLE or (was is None) != waits:
            self.engine.wake()

    def leave(self, why: str) -> None:
        self._leave, self._why = ("pause" if self.instance else "leave"), why
        self.engine.wake()

    # ---- what happens to the membership

    def _forget(self) -> None:
        self.epoch = self.seen = self.revision = 0
        self._told_subscription = 0
        self._full = True

    def _lose(self, text: str) -> None:
        self._forget()
        self.assignment = None
        self.lost_count += 1
        self.lost_text = text
        log.warning("group '%s': %s", self.group, text)
        self.news()

    def _end(self) -> None:
        if self._call is not None:
            self.engine.cancel(self._call)
            self._call = None
        self._forget()
        self.state, self.left = GONE, True
        self.news()

    def _mind_orders(self, now: float) -> None:
        if self.state == GONE:
            return
        wanted = self.state == OUT and self._subscription or self.state == REFUSED and self._subscription != self._sent_subscription
        if wanted and self._leave is None:
            self.state, self._full, self._retry = IN, True, 0.0
        if self._leave is None:
            self._mind_idle(now)
            return
        nothing = not self.epoch and self._call is None  # a join under way may make a member of it
        if nothing or self.state in (OUT, REFUSED) or (self.state == IDLE and self._leaving_told):
            self._end()

    def _idle(self, now: float) -> float:
        if self._polled is None:
            return 0.0
        made = self.progress()
        if made != self._progress_seen:
            self._progress_seen, self._polled = made, now
        return now - self._polled

    def _mind_idle(self, now: float) -> None:
        idle = self._idle(now)
        if self.state == IN and idle > self.max_poll:
            self._why = "stopped polling for %.1f s" % idle
            self._leaving_told = not self.epoch and self._call is None
            self.state = IDLE
            self.assignment = None
            self.lost_count += 1
            self.lost_text = "the program did not poll for %.1f s (max_poll_interval_ms): it left the group, and joins again" % idle
            log.warning("group '%s': %s", self.group, self.lost_text)
            self.news()
        elif self.state == IDLE and idle <= self.max_poll:
            if self._call is not None:
                self.engine.cancel(self._call)
                self._call = None
            self._forget()
            self.state, self._retry = IN, 0.0

    # ---- saying

    def turn(self, now: float) -> float:
        self._mind_orders(now)
        due = self._speak(now)
        if self.state == IN:
            if self._polled is not None:
                due = min(due, now + max(0.05, self._polled + self.max_poll - now))
            if self.epoch:
                if now >= self._heard + self.lease:
                    if not self._unheard:
                        log.warning("group '%s': no coordinator was heard for a session; %s", self.group,
                                    "nothing is handed out until one is" if self.told["exclusive"] else "reading goes on")
                    self._unheard = True
                else:
                    due = min(due, self._heard + self.lease)
        return due

    def abandoned(self, now: float) -> bool:
        if self._leave is None:
            self.leave("dropped")
            self._abandoned = now
            self.engine.wake()
        return self.left or now > self._abandoned + LEAVE_ABANDONED

    def closed(self) -> None:
        self.left = True

    def _leave_word(self) -> Optional[str]:
        return self._leave or ("leave" if self.state == IDLE else None)

    def _has_more(self) -> bool:
        """Something is to be said that neither was answered nor is under way."""
        sent = self._call is not None
        if self._leave_word():
            return not (sent and self._sent_leave)
        if not self.epoch:
            return False
        revision = self._carried[1] if self._carried[0] == self.epoch else 0
        if revision != (self._sent_revision if sent else self.revision):
            return True
        return self._subscription != (self._sent_subscription if sent else self._told_subscription)

    def _speak(self, now: float) -> float:
        if self.state in (OUT, REFUSED, GONE) or (self.state == IDLE and self._leaving_told):
            return NEVER
        more = self._has_more()
        if self._call is not None:
            if not more or self._sent_join:  # each join that is answered is a new membership: it is waited for
                return NEVER
            self.engine.cancel(self._call)  # the next one says all that this one did
            self._call, self._retry = None, now
        elif more and not self._tries:
            self._retry = now
        if self._retry > now:
            return self._retry
        self._send(now)
        return NEVER if self._call is not None else self._retry

    def _send(self, now: float) -> None:
        leave = self._leave_word()
        self._sent_leave, self._sent_join = leave is not None, not self.epoch and leave is None
        self._sent_subscription = self._subscription
        self._sent_revision = self._carried[1] if self.epoch and self._carried[0] == self.epoch else 0
        values: Dict[str, Any] = {"group": self.group, "member": self.id, "epoch": self.epoch}
        if self.instance:
            values["instance"] = self.instance
        full = self._full or self._sent_join
        if leave:
            values.update(leave=leave, why=self._why[:256])
        else:
            if full or self._told_subscription != self._subscription:
                values["topics"] = self._topics
            if full:
                values.update(self.told)
        self._parked = 0.0 if leave or self._sent_join or self._tries else self.heartbeat
        values.update(seen=self.seen if self.epoch else 0, revision=self._sent_revision, wait_ms=int(self._parked * 1000),
                      idle_ms=int(self._idle(now) * 1000))
        patience = min(self.engine.silence * 2 ** min(self._tries, 4), self.lease / 4)
        if self._sent_join:
            patience = self.lease / 4
        call = Call("group_heartbeat", values, COORDINATOR, self._answered, attempt=self._parked + max(patience, PROBE),
                    parked=self._parked)
        call.avoid, self._avoid = self._avoid, None
        if self.engine.attempt(call) is None:
            self._call = call
        else:
            self._retry = now + self.engine.backoff

    _avoid: Any = None

    # ---- hearing

    def _answered(self, call: Call, error: Optional[WeftError], reply: Any, _data: Any) -> None:
        if call is not self._call:
            return
        self._call = None
        is_out = error is None or isinstance(error, (_errors.UnknownMemberError, _errors.FencedMemberError)) or (
            error.error_class == "permanent")
        if self._sent_leave and is_out:
            if self._leave is not None:
                self._end()
            else:
                self._leaving_told = True
        elif error is not None:
            self._hear_refusal(call, error, reply)
        else:
            self._hear(call, reply, time.monotonic())
        self.engine.wake()

    def _hear(self, call: Call, reply: Dict[str, Any], now: float) -> None:
        self.heartbeat = reply["heartbeat_ms"] / 1000 or self.heartbeat
        self.lease = reply["session_ms"] / 1000 or self.lease
        self._heard = call.sent
        self.lease_end = self._heard + self.lease
        self._unheard = False
        if self._sent_join:
            self.seen = self.revision = 0
        self.epoch = reply["epoch"]
        if call.link is not None:
            self.engine.view.coordinator = call.link.endpoint
        self._full, self._tries, self.refused = False, 0, None
        self._told_subscription, self.revision = self._sent_subscription, self._sent_revision
        if reply["unknown"] != self.unknown:
            self.unknown = reply["unknown"]
            for name in self.unknown:
                log.warning("group '%s': topic '%s' does not exist (yet)", self.group, name)
        if self.state == IN and (self._sent_join or (reply["assigned"] and reply["revision"] != self.seen)):
            owned = tuple(Owned(topic["topic"] or "", topic["topic_id"], number, token) for topic in reply["assignment"]
                          for number, token in zip(topic["partitions"], topic["tokens"]))
            self.assignment = Assignment(reply["epoch"], reply["revision"], owned)
            if reply["assigned"]:
                self.seen = reply["revision"]  # a join that gave nothing yet says only that it is in
            self.news()
        # Parked ones follow each other at once, and so does what waits for the consequence of what was told. A coordinator that does
        # not park is asked at the interval.
        at_once = reply["assigned"] or now - call.sent >= self._parked / 2 or "topics" in call.values
        self._retry = now if at_once else call.sent + self.heartbeat

    def _later(self, least: float) -> None:
        self._tries = min(self._tries + 1, TRIES_MAX)
        wait = self.engine.wait_seconds(self._tries)
        if self.epoch:  # a member has a session to lose
            wait = min(wait, self.lease / 8)
        self._retry = time.monotonic() + max(wait, least)

    def _hear_refusal(self, call: Call, error: WeftError, reply: Any) -> None:
        least = reply["retry_ms"] / 1000 if reply else 0.0
        self._full = True
        if isinstance(error, _errors.LocalClosedError):
            return
        if isinstance(error, (_errors.UnknownMemberError, _errors.FencedMemberError)):
            again = self._tries > 0 or not self.epoch
            if self.epoch:
                self._lose("%s; it joins again (%s)" % ("another member took this one's place" if isinstance(
                    error, _errors.FencedMemberError) else "the group took this member for dead", error))
            if again:
                self._later(0.0)
            else:
                self._retry = 0.0
                self._tries += 1
        elif error.retriable or isinstance(error, _errors.InternalError):
            if isinstance(error, _errors.InstanceInUseError):
                self._tries = 0
                log.warning("group '%s': %s", self.group, error)
            self._avoid = None if call.redirected else call.link
            if call.redirected and self._tries < 3:
                self._tries += 1
                self._retry = 0.0
            else:
                self._later(least)
        else:
            self.refused = error
            self.news()
            if self.epoch:  # still a member, by what was told before
                self._told_subscription = self._sent_subscription
                self._full = False
                self._later(self.heartbeat)
            else:
                self.state = REFUSED
