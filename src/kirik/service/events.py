"""Studies as they change, told to every page that listens (server-sent events).

The database's changes are counted, and one look a moment finds what is new, whichever process made
it. That look is made once for all who listen, and what it found is written out once for all who
see the same.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from starlette.concurrency import run_in_threadpool

from kirik.errors import KirikError
from kirik.service import worklist
from kirik.service.access import Principal
from kirik.service.api import shown
from kirik.service.core import Core
from kirik.service.metrics import Metrics
from kirik.service.refusals import NotSignedIn, TooMany
from kirik.service.worklist import Filters

log = logging.getLogger("kirik.service")

LOOK_EVERY = 0.4
"""Seconds between two looks at what has changed."""

_COUNTS_EVERY = 1.0
_SIGN_OF_LIFE = 15.0
_BEHIND = 400
"""Messages that a listener may be behind; then it is let go, and asks anew."""
_MOST, _MOST_EACH = 1_000, 20

_Key = tuple[str | None, bool]
"""Who sees the same: the name where only its own studies are seen, and whether patients are."""


@dataclass(eq=False)
class _Listener:
    principal: Principal
    queue: asyncio.Queue = field(default_factory=lambda: asyncio.Queue(_BEHIND))
    lost: bool = False

    @property
    def key(self) -> _Key:
        return (self.principal.name if self.principal.own else None, self.principal.patients)

    def tell(self, messages: Iterable[str]) -> None:
        for message in messages:
            if self.queue.full():
                self.lost = True
                return
            self.queue.put_nowait(message)


class Hub:
    """Looks for changes while anybody listens. Belongs to one event loop."""

    def __init__(self, core: Core, metrics: Metrics):
        self._core, self._metrics = core, metrics
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task | None = None
        self._last = 0
        self._counted: dict[_Key, float] = {}
        self._ended, self._starting = asyncio.Event(), asyncio.Lock()

    def end(self) -> None:
        """Let go of all who listen: the server stops."""
        self._ended.set()
        for listener in self._listeners:
            listener.lost = True
            with suppress(asyncio.QueueFull):
                listener.queue.put_nowait("")

    def admit(self, principal: Principal) -> None:
        """Raises TooMany where too many listen, in all or by this name."""
        same = sum(one.principal.name == principal.name for one in self._listeners)
        if len(self._listeners) >= _MOST or same >= _MOST_EACH:
            raise TooMany("too many pages listen; close some", 10)

    async def listen(
        self, principal: Principal, since: int | None, check: Callable[[], Principal]
    ) -> AsyncIterator[str]:
        """Events as text, from change number `since` on, until the listener goes.

        check: who listens, asked again and again, however much there is to tell. Where it raises
        NotSignedIn, or somebody's rights are others now, the stream ends.
        """
        listener = _Listener(principal)
        self._listeners.add(listener)  # before the first look, so that nothing falls between
        self._metrics.listeners(len(self._listeners))
        rights = _Rights(principal, check)
        try:
            await self._start()
            yield "retry: 3000\n\n"
            fresh = since is None
            while since is not None and not self._ended.is_set():
                missed, since = await run_in_threadpool(self._missed, principal, since)
                for message in missed:
                    yield message
                if await rights.are_gone():
                    return
            yield await run_in_threadpool(self._counts, principal, fresh)
            while not listener.lost and not self._ended.is_set():
                message = await _next(listener.queue, rights.seconds)
                if await rights.are_gone():
                    return
                yield ": still here\n\n" if message is None else message
        finally:
            self._listeners.discard(listener)
            self._metrics.listeners(len(self._listeners))

    async def _start(self) -> None:
        async with self._starting:
            if self._task is None or self._task.done():
                self._last = await run_in_threadpool(self._newest)
                self._task = asyncio.create_task(self._look())

    def _newest(self) -> int:
        with self._core.database.reading() as session:
            return worklist.last_change(session)

    def _missed(self, principal: Principal, since: int) -> tuple[list[str], int | None]:
        """What a listener is told of the next changes after a number, and the number of the last
        of them; None where there are no more."""
        with self._core.database.reading() as session:
            changes = worklist.changes_after(session, since)
            return _told(session, principal, changes), changes[-1][0] if changes else None

    def _counts(self, principal: Principal, fresh: bool) -> str:
        """What is told of the counts; to who is fresh with the number of the newest change, from
        which it can go on even if it hears of none before it is cut off."""
        with self._core.database.reading() as session:
            number = worklist.last_change(session) if fresh else None
            return _event("counts", worklist.counts(session, principal, Filters()), number)

    async def _look(self) -> None:
        """While anybody listens: tell what is new."""
        waiting: dict[_Key, bool] = {}
        while self._listeners and not self._ended.is_set():
            await asyncio.sleep(LOOK_EVERY)
            try:
                changes = await run_in_threadpool(self._changes)
                # Not before that: who joins from here on finds these changes made.
                sample = {one.key: one.principal for one in self._listeners}
                if not changes and not any(waiting.get(key) for key in sample):
                    continue
                found = await run_in_threadpool(self._news, changes, sample, waiting)
            except KirikError:  # the database is away: those who listen hear of it later
                continue
            except Exception as error:
                log.error("looking for changes failed (%s)", type(error).__name__)
                continue
            for listener in list(self._listeners):
                listener.tell(found.get(listener.key, ()))
            if changes:
                self._last = changes[-1][0]

    def _changes(self) -> list[tuple[int, str]]:
        with self._core.database.reading() as session:
            return worklist.changes_after(session, self._last)

    def _news(
        self,
        changes: list[tuple[int, str]],
        sample: dict[_Key, Principal],
        waiting: dict[_Key, bool],
    ) -> dict[_Key, list[str]]:
        """Messages by who sees the same. waiting: whose counts are to be told as soon as may be."""
        found: dict[_Key, list[str]] = {}
        with self._core.database.reading() as session:
            for key, principal in sample.items():
                messages = _told(session, principal, changes)
                waiting[key] = waiting.get(key, False) or bool(changes)
                soon = time.monotonic() - self._counted.get(key, 0) >= _COUNTS_EVERY
                if waiting[key] and soon:
                    counts = worklist.counts(session, principal, Filters())
                    messages.append(_event("counts", counts))
                    waiting[key], self._counted[key] = False, time.monotonic()
                found[key] = messages
        return found


class _Rights:
    """What somebody who listens may see, looked at again from time to time."""

    def __init__(self, principal: Principal, check: Callable[[], Principal]):
        self._principal, self._check = principal, check
        self._looked = time.monotonic()

    @property
    def seconds(self) -> float:
        """Until they are to be looked at again."""
        return max(0.0, self._looked + _SIGN_OF_LIFE - time.monotonic())

    async def are_gone(self) -> bool:
        """Whether it is time to look, and they are others now, or none."""
        if self.seconds:
            return False
        same = await run_in_threadpool(_same, self._principal, self._check)
        self._looked = time.monotonic()
        return not same


async def _next(queue: asyncio.Queue, seconds: float) -> str | None:
    """What is told next; None where nothing is within so many seconds."""
    try:
        return await asyncio.wait_for(queue.get(), seconds)
    except TimeoutError:
        return None


def _same(principal: Principal, check: Callable[[], Principal]) -> bool:
    """Whether it is still this one who asks, and with these rights; the language may be another."""
    try:
        return replace(check(), language=None) == replace(principal, language=None)
    except NotSignedIn:
        return False


def _told(session, principal: Principal, changes: list[tuple[int, str]]) -> list[str]:
    """Messages for changes, each study once, with the number of its last change."""
    numbers = {study: number for number, study in changes}
    rows = worklist.by_ids(session, principal, list(numbers))
    told = {}
    for study in shown.studies(session, principal, rows):
        leave_out = None if study.patient else {"patient"}
        told[study.id] = study.model_dump(mode="json", exclude=leave_out)
    seen = {row.id for row in rows}
    # Of others' studies nothing is told but that they are gone: an id is random, and whose studies
    # those were nobody knows any more.
    there = worklist.existing(session, numbers) if principal.own else seen
    messages = []
    for study, number in sorted(numbers.items(), key=lambda item: item[1]):
        if study in seen:
            messages.append(_event("study", told[study], number))
        elif study not in there:
            messages.append(_event("gone", {"id": study}, number))
    return messages


def _event(name: str, said: dict, number: int | None = None) -> str:
    id_ = "" if number is None else f"id: {number}\n"
    return f"event: {name}\n{id_}data: {json.dumps(said, ensure_ascii=False)}\n\n"
