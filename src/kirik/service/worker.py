"""The loop that reads: claims studies, decodes them in children while the network runs, finishes.

It may be killed at any moment: what it had claimed is taken up again, by it or another, when its
lease has run out. Where the database is away it waits and goes on, its results in hand.
"""

import logging
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from kirik.errors import KirikError, RadiographError
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.cores import usable_cores
from kirik.reading.prepare import Prepared
from kirik.service import retention, work
from kirik.service.core import Core, open_core
from kirik.service.engine import now_of
from kirik.service.models_in_use import model_in_use
from kirik.service.refusals import StorageFull, Unavailable
from kirik.service.results import Result
from kirik.service.settings import ServiceSettings
from kirik.service.tables import Worker as Row
from kirik.service.tables import new_id
from kirik.service.work import Claim

log = logging.getLogger("kirik.worker")

BATCH = 16
_LANES = 4
"""Batches that are read side by side, at most: each holds some hundred megabytes."""

_SPARE = 4 * BATCH
"""Frames that wait beside the first of each file: a file of many more is read from its start when
its turn comes."""

_POLL, _PAUSE, _MODEL_SECONDS, _SWEEP_SECONDS = 0.25, 0.1, 5.0, 600.0
_WAITS = (0.2, 0.5, 1.0, 2.0, 5.0)
_LATER_SECONDS, _TRIES_OF_A_FILE, _REST = 15.0, 4, 2.0
_Done = TypeVar("_Done")


_Frames = list[Prepared | KirikError]


@dataclass
class _Begun:
    """A claimed study that is being decoded for a model.

    decoded: its frames, or None where they are too many to be kept while others are read.
    """

    claim: Claim
    classifier: Classifier
    decoded: "Future[_Frames | None]"


class Worker:
    """Reads what waits with one model at a time, until it is told to stop.

    classifier: always this one, for tests; else the model in use, and another as soon as an
    administrator puts one in. niceness: added to that of what computes, so that a page that a
    person waits for goes first; what locks the database keeps its own, or all would wait for it.
    """

    def __init__(self, core: Core, classifier: Classifier | None = None, *, niceness: int = 0):
        self.core, self.id, self._niceness = core, new_id(), niceness
        self._fixed, self._classifier, self._model_path = classifier, classifier, None
        self._read, self._problem, self._asked = 0, None, 0.0
        self._claiming: Future[list[Claim]] | None = None
        self._not_before = self._rest_until = 0.0
        self._undecodable: str | None = None
        # Batches side by side, each on few cores, wait for each other less than all cores on one.
        threads = core.settings.threads or usable_cores()
        self._lanes = min(threads, _LANES)
        self._threads = max(1, threads // self._lanes)
        self._computing = threading.BoundedSemaphore(self._lanes)
        self._leases: dict[str, int] = {}
        self._held = 0
        self._lock = threading.Lock()

    def run(self, stop: threading.Event, *, until_idle: bool = False) -> int:
        """Read until `stop` is set, or, `until_idle`, nothing waits any more; how many studies
        were finished. What was begun and not finished is given back."""
        begun: deque[_Begun] = deque()
        reading: list[Future[None]] = []
        with ThreadPoolExecutor(1, thread_name_prefix="kirik-keep") as keeper, self._beating(stop):
            keeper.submit(int).result()  # its thread has the niceness of before
            self._lower()
            decoding = ThreadPoolExecutor(min(usable_cores(), 8), "kirik-decode")
            # One more than compute, since one waits until its results are kept.
            readers = ThreadPoolExecutor(self._lanes + 1, "kirik-read")
            try:
                while not stop.is_set():
                    if not self._ready(stop):
                        continue
                    reading = _still(reading)
                    self._claim(decoding, begun, keeper, idle=not (begun or reading))
                    if begun and len(reading) <= self._lanes:
                        batch = self._batch(begun)
                        reading.append(readers.submit(self._finish, batch, keeper, stop))
                    elif reading:
                        asked = [self._claiming] if self._claiming else []
                        wait([*reading, *asked], _PAUSE, return_when=FIRST_COMPLETED)
                    elif until_idle:
                        break
                    else:
                        stop.wait(_POLL)
            finally:
                decoding.shutdown(wait=False, cancel_futures=True)
                readers.shutdown()
                self._give_back([*(one.claim for one in begun), *self._asked_for()])
        _still(reading)
        return self._read

    def _lower(self) -> None:
        """Lower this thread's priority, and that of all threads and processes that it begins."""
        if self._niceness and sys.platform == "linux":  # elsewhere it is the whole process's
            os.nice(self._niceness)

    def _ready(self, stop: threading.Event) -> bool:
        """Whether there is a model to read with; asks now and then whether it is another one."""
        if self._fixed is not None or time.monotonic() - self._asked < _MODEL_SECONDS:
            return self._classifier is not None
        try:
            path = model_in_use(self.core)
            if self._classifier is None or path != self._model_path:
                self._classifier = load_model(
                    path, threads=self._threads, decoders=self.core.decoders
                )
                self._model_path = path
                log.info("reads with %s", self._classifier.name)
            self._asked, self._problem = time.monotonic(), None
            return True
        except KirikError as error:
            self._problem = str(error)
            log.error("cannot read: %s", error)
            stop.wait(2)
            return False

    def _claim(
        self,
        decoding: ThreadPoolExecutor,
        begun: deque[_Begun],
        keeper: ThreadPoolExecutor,
        *,
        idle: bool,
    ) -> None:
        """Keep two batches of files being decoded; waits for claims only where all else is done."""
        room = 2 * BATCH - len(begun)
        if time.monotonic() < self._rest_until:
            return
        due = idle or (room >= BATCH and time.monotonic() > self._not_before)
        if self._claiming is None and due:
            self._claiming = keeper.submit(self._claimed, room)
        if self._claiming is None or not (idle or self._claiming.done()):
            return
        claims = self._asked_for()
        if len(claims) < room:  # there are no more at the moment
            self._not_before = time.monotonic() + _PAUSE
        for claim in claims:
            with self._lock:
                self._leases[claim.lease] = self._leases.get(claim.lease, 0) + 1
            classifier = self._classifier
            decoded = decoding.submit(self._decode, claim, classifier)
            begun.append(_Begun(claim, classifier, decoded))

    def _asked_for(self) -> list[Claim]:
        """The claims that were asked for last, if any; waits for them."""
        asked, self._claiming = self._claiming, None
        try:
            return asked.result() if asked else []
        except (Unavailable, StorageFull) as error:
            log.warning("cannot claim: %s", error)
            time.sleep(_WAITS[1])
            return []

    def _claimed(self, room: int) -> list[Claim]:
        with self.core.database.reading() as session:
            if not work.any_open(session):
                return []
        return work.claim(self.core, room)

    def _decode(self, claim: Claim, classifier: Classifier) -> _Frames | None:
        """A study's frames, as long as there is room for them; a first one always has."""
        frames: _Frames = []
        for frame in _frames(claim, classifier, self.core):
            with self._lock:
                if frames and self._held >= _SPARE:
                    self._held -= len(frames) - 1
                    return None
                self._held += bool(frames)
            frames.append(frame)
        return frames

    def _batch(self, begun: deque[_Begun]) -> list[_Begun]:
        """The next studies for one model, at most a batch: those that are decoded, or the first."""
        batch = [begun.popleft()]
        count = len(batch[0].decoded.result() or ())  # waits; a file of too many goes alone
        while count and begun and begun[0].decoded.done():
            frames = begun[0].decoded.result()
            count += len(frames or ())
            if not frames or count > BATCH or begun[0].classifier is not batch[0].classifier:
                break
            batch.append(begun.popleft())
        return batch

    def _finish(
        self, batch: list[_Begun], keeper: ThreadPoolExecutor, stop: threading.Event
    ) -> None:
        """Judge the batch's frames and have their results kept."""
        with self._computing:
            results = _judged(batch, self.core, stop)
        with self._lock:
            self._held -= sum(max(0, len(one.decoded.result() or ()) - 1) for one in batch)
        if results is None:
            self._give_back(one.claim for one in batch)
            return
        problems = {claim: _problem_of(own) for claim, own in results.items()}
        self._note(problems.values())
        # What ends this process may have ended its decoders first, which is no file's fault.
        cut = {claim for claim, own in results.items() if stop.is_set() and _broke_down(own)}
        unread = [claim for claim, problem in problems.items() if problem or claim in cut]
        later = [one for one, own in results.items() if one not in unread and _is_away(one, own)]
        done = [(one, own) for one, own in results.items() if one not in (*unread, *later)]
        keeper.submit(self._keep, batch[0].classifier.name, unread, later, done, stop).result()

    def _note(self, problems: Collection[str | None]) -> None:
        """Whether files can be decoded here; where none can, the next ones are claimed later."""
        told = next(filter(None, problems), None)
        if told and told != self._undecodable:
            log.error("cannot read: %s", told)
        if told:
            self._rest_until = time.monotonic() + _REST
        self._undecodable = told

    def _keep(
        self,
        model: str,
        unread: list[Claim],
        later: list[Claim],
        done: list,
        stop: threading.Event,
    ) -> None:
        """Keep results, however long the database is away, unless we are to stop.

        unread: what this machine cannot read now, which is no try. later: files that are away.
        """
        for some, tried in ((unread, False), (later, True)):
            if some:
                back = partial(work.release, self.core, some, seconds=_LATER_SECONDS, tried=tried)
                self._persist(back, stop)
        if done:
            kept = self._persist(lambda: work.finish(self.core, done, model), stop)
            self._read += len(kept or ())
        self._let_go([*unread, *later, *(claim for claim, _ in done)])

    def _persist(self, keep: Callable[[], _Done], stop: threading.Event) -> _Done | None:
        """Do it as soon as the database is there; None where we are to stop before that."""
        for seconds in (*_WAITS, *([_WAITS[-1]] * 100_000)):
            try:
                return keep()
            except (Unavailable, StorageFull) as error:
                log.warning("results wait: %s", error)
                if stop.wait(seconds):
                    return None
        return None

    def _give_back(self, claims: Iterable[Claim]) -> None:
        claims = list(claims)
        # Where that fails, the leases run out.
        with suppress(KirikError):
            work.release(self.core, claims)
        self._let_go(claims)

    def _let_go(self, claims: Iterable[Claim]) -> None:
        """Of the leases that are renewed."""
        with self._lock:
            for claim in claims:
                left = self._leases.pop(claim.lease, 0) - 1
                if left > 0:
                    self._leases[claim.lease] = left

    @contextmanager
    def _beating(self, stop: threading.Event):
        """Renew the leases and show a sign of life, in a thread of its own."""
        over = threading.Event()
        thread = threading.Thread(target=self._beat, args=(over,), name="kirik-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=5)
            with suppress(KirikError), self.core.database.writing() as session:
                row = session.get(Row, self.id)
                if row is not None:
                    session.delete(row)

    def _beat(self, over: threading.Event) -> None:
        swept = time.monotonic()
        while True:
            try:
                with self._lock:
                    leases = list(self._leases)
                work.heartbeat(self.core, leases)
                self._sign()
                if time.monotonic() - swept > _SWEEP_SECONDS:
                    swept = time.monotonic()
                    retention.sweep(self.core)
            except (KirikError, OSError) as error:
                log.warning("no sign of life: %s", error)
            if over.wait(self.core.settings.lease_seconds / 3):
                return

    def _sign(self) -> None:
        with self.core.database.writing() as session:
            moment, row = now_of(session), session.get(Row, self.id)
            if row is None:
                row = Row(id=self.id, host=socket.gethostname(), process=os.getpid())
                row.started_at, row.read = moment, 0
                session.add(row)
            row.seen_at, row.read = moment, self._read
            row.problem = self._problem or self._undecodable
            row.model = self._classifier and self._classifier.name
            retention.note(session, self.core.settings)


def run_worker(settings: ServiceSettings, stop: threading.Event | None = None) -> int:
    """`kirik worker`: read until stopped; how many studies were finished."""
    core = open_core(settings)
    try:
        return Worker(core).run(stop or threading.Event())
    finally:
        core.close()


def _still(reading: list[Future[None]]) -> list[Future[None]]:
    """Those that are not done yet; raises what went wrong with one that is."""
    for one in reading:
        if one.done():
            one.result()
    return [one for one in reading if not one.done()]


def _frames(claim: Claim, classifier: Classifier, core: Core) -> Iterator[Prepared | KirikError]:
    """A study's frames; at last, where the file goes no further, the error. It is a RadiographError
    unless no file can be decoded on this machine."""
    path = core.blobs.path(claim.blob)
    try:
        yield from classifier.frames(path)
    except KirikError as error:
        yield error
    except Exception as error:  # one odd file must not cost the others theirs
        what = f"could not be decoded ({type(error).__name__})"
        yield RadiographError(what, reason="unexpected")


def _problem_of(results: list[Result]) -> str | None:
    """What keeps this machine from reading any file; None where it can."""
    errors = (one.result for one in results if isinstance(one.result, KirikError))
    return next((str(one) for one in errors if not isinstance(one, RadiographError)), None)


def _broke_down(results: list[Result]) -> bool:
    """Whether the decoder ended before the file did."""
    return getattr(results[-1].result, "reason", None) == "crashed"


def _is_away(claim: Claim, results: list[Result]) -> bool:
    """Whether the file was not there, and may be another time."""
    gone = getattr(results[0].result, "reason", None) in work.AWAY
    return gone and claim.attempts < _TRIES_OF_A_FILE


def _judged(
    begun: list[_Begun], core: Core, stop: threading.Event
) -> dict[Claim, list[Result]] | None:
    """The results of all frames of some studies, a batch of frames at a time; None where `stop` was
    set before a file of many frames was read to its end."""
    results: dict[Claim, list[Result]] = {one.claim: [] for one in begun}
    frames = (
        (one, frame)
        for one in begun
        for frame in one.decoded.result() or _frames(one.claim, one.classifier, core)
    )
    while some := list(islice(frames, BATCH)):
        if stop.is_set() and some[0][0].decoded.result() is None:
            return None
        good = [frame for _, frame in some if isinstance(frame, Prepared)]
        judged = iter(some[0][0].classifier.judge(good) if good else ())
        for one, frame in some:
            decoded = isinstance(frame, Prepared)
            result = next(judged) if decoded else frame
            if isinstance(result, RadiographError):
                result = _nameless(result, core.blobs.path(one.claim.blob))
            own = results[one.claim]
            own.append(Result(len(own) + 1, result, frame.frame if decoded else None))
    return results


def _nameless(error: RadiographError, path: Path) -> RadiographError:
    """The error without the place where the file lies here."""
    text = str(error).replace(f"{path}: ", "").replace(str(path), "the file")
    return RadiographError(text, reason=error.reason, frame=error.frame)
