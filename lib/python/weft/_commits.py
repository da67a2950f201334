# SPDX-License-Identifier: MPL-2.0
"""Committing offsets of a group, at the leader of its partition of __offsets.

One commit is under way at a time and carries the newest that is wanted of each partition, so that however fast a program commits,
nothing queues up; n grows with each, so that one which comes late is refused and not taken for news. A commit that is refused
FENCED means that the partition has another owner: it is lost. A consumer that was given its partitions by assign() commits with
token 0; where a member was before, the coordinator gives it a token that outranks those of the past, unless there are members."""
import time
from concurrent.futures import Future
from typing import Any, Callable, Dict, List, Optional

from . import _errors, _flows
from ._engine import COORDINATOR, Engine, Flow
from ._reading import Reading
from .errors import CommitFailedError, WeftError, of_number

ENTRIES_MAX = 1000
TOKENS_MAX = 3  # in a row: somebody else takes one each time


class Ticket:
    """What one commit() asked for; answered when all of it is."""

    def __init__(self) -> None:
        self.future: "Future[None]" = Future()
        self.left = 0
        self.error: Optional[WeftError] = None

    def answer(self, error: Optional[WeftError]) -> None:
        self.left -= 1
        self.error = self.error or error
        if self.left <= 0 and not self.future.done():
            if self.error is not None:
                self.future.set_exception(self.error)
            else:
                self.future.set_result(None)


class Want:
    __slots__ = ("reading", "offset", "epoch", "metadata", "tickets")

    def __init__(self, reading: Reading, offset: int, epoch: int, metadata: str) -> None:
        self.reading, self.offset, self.epoch, self.metadata = reading, offset, epoch, metadata
        self.tickets: List[Ticket] = []

    def answer(self, error: Optional[WeftError]) -> None:
        for ticket in self.tickets:
            ticket.answer(error)


class Committer:
    """Under the engine's lock; flows run on its thread."""

    def __init__(self, engine: Engine, group: str, timeout: float) -> None:
        self.engine, self.group, self.timeout = engine, group, timeout
        self.n = self.token = 0
        self.on_lost: Callable[[Reading, str], None] = lambda reading, text: None
        self._wanted: Dict[Reading, Want] = {}
        self._running = False

    @property
    def idle(self) -> bool:
        return not self._wanted and not self._running

    def want(self, wants: List[Want]) -> "Future[None]":
        ticket = Ticket()
        ticket.left = len(wants)
        if not wants:
            ticket.future.set_result(None)
            return ticket.future
        for want in wants:
            before = self._wanted.get(want.reading)
            want.tickets = [ticket] + (before.tickets if before is not None else [])
            self._wanted[want.reading] = want
        if not self._running:
            self._running = True
            self.engine.spawn(self._run())
        return ticket.future

    def _run(self) -> Flow:
        some: List[Want] = []
        try:
            while self._wanted:
                some = list(self._wanted.values())[:ENTRIES_MAX]
                for want in some:
                    del self._wanted[want.reading]
                yield from self._commit(some, time.monotonic() + self.timeout)
        except WeftError as error:
            for want in some:
                want.answer(error)
        finally:
            self._running = False
            if self._wanted:
                if self.engine.stopping:
                    wanted, self._wanted = list(self._wanted.values()), {}
                    for want in wanted:
                        want.answer(_errors.LocalClosedError("the consumer is closed"))
                else:
                    self._running = True
                    self.engine.spawn(self._run())

    def _entry(self, want: Want) -> Dict[str, Any]:
        reading = want.reading
        topic_id = reading.topic_id if reading.owned else self.engine.view.topic(reading.tp.topic).id
        return {"topic": None if any(topic_id) else reading.tp.topic, "topic_id": topic_id, "partition": reading.tp.partition,
                "offset": want.offset, "epoch": want.epoch, "token": reading.token if reading.owned else self.token,
                "metadata": want.metadata or None}

    def _commit(self, wants: List[Want], deadline: float) -> Flow:
        tries = tokens = 0
        open_wants = list(wants)
        try:
            while open_wants:
                for want in [want for want in open_wants if want.reading.lost]:
                    open_wants.remove(want)
                    want.answer(_fenced("the group gave it to another member"))
                if not open_wants:
                    break
                refused = yield from self._commit_once(open_wants, deadline, tries)
                again: List[Want] = []
                want_token = False
                for want, error in refused:
                    if isinstance(error, _errors.FencedError) and not want.reading.owned and tokens < TOKENS_MAX:
                        again.append(want)
                        want_token = True
                    elif isinstance(error, _errors.FencedError):
                        if want.reading.owned:
                            self.on_lost(want.reading, str(error))
                        want.answer(_fenced(str(error)))
                    elif error.retriable and time.monotonic() < deadline and not (
                            isinstance(error, _errors.UnknownTopicError) and tries > 1):
                        again.append(want)
                    else:
                        want.answer(error)
                for want in open_wants:
                    if want not in [row[0] for row in refused]:
                        want.reading.committed = want.offset
                        self.engine.counts["commits_count"] += 1
                        want.answer(None)
                open_wants = again
                if want_token:
                    tokens += 1
                    yield from self._take_token(deadline)
                elif open_wants:
                    tries += 1
                    yield self.engine.wait_seconds(tries)
        except WeftError as error:
            for want in open_wants:
                want.answer(error)

    def _take_token(self, deadline: float) -> Flow:
        try:
            reply = yield from _flows.ask(self.engine, "group_token", {"group": self.group}, COORDINATOR, deadline)
        except _errors.GroupNotEmptyError as error:
            raise _fenced(str(error)) from error
        self.token = reply["token"]

    def _commit_once(self, wants: List[Want], deadline: float, tries: int) -> Flow:
        """[(want, error)] of those refused."""
        self.n += 1
        values = {"group": self.group, "n": self.n, "entries": [self._entry(want) for want in wants]}
        place = yield from _flows.offsets_place(self.engine, self.group, deadline, True)
        try:
            reply = yield from _flows.ask(self.engine, "commit", values, place, deadline)
        except _errors.UnknownTopicError as error:
            if len(wants) > 1 or not tries:  # it may be __offsets that is unknown there
                yield from _flows.offsets_count(self.engine, deadline, True)
            return [(want, error) for want in wants]
        except WeftError as error:
            if isinstance(error, (_errors.LocalClosedError, _errors.LocalTimedOutError, _errors.LocalNotConnectedError)):
                raise
            return [(want, error) for want in wants]
        return [(wants[row["index"]], of_number(row["error"], row["message"])) for row in reply["refused"] if row["index"] < len(wants)]


def _fenced(text: str) -> CommitFailedError:
    return CommitFailedError("not committed: %s" % text)
