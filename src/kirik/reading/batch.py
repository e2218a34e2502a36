"""Many files, in order: decoded in processes while the network runs, one result a frame."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

from kirik.archives import Member
from kirik.errors import KirikError, RadiographError, SettingsError
from kirik.reading.cores import usable_cores
from kirik.reading.reading import Failure, Reading, failure_of
from kirik.stores import Remote

if TYPE_CHECKING:
    from kirik.reading.classifier import Classifier
    from kirik.reading.prepare import Prepared

Source = Path | str | Member | Remote | Failure
"""A failure goes through: what could not be looked into has its place among the rest."""

_MOST_WORKERS = 8
"""More decoders than this only hold more full-size radiographs in memory."""
_CORES_A_DECODER = 4
"""With a heavy model, which takes several times as long for a radiograph as its decoder, and leaves
no memory to spare for idle ones."""
_AT_ONCE = 2
"""Batches that are judged at the same time, so that the next one's radiographs follow at once where
the last of the one before keeps only some of the cores busy."""


def read_in_order(
    classifier: "Classifier",
    sources: Iterable[Source],
    *,
    batch_size: int = 16,
    workers: int | None = None,
) -> Iterator[Reading | Failure]:
    """One Reading or Failure for each frame, in order; see `Classifier.read_many`."""
    if isinstance(sources, str | Path | Member | Remote):
        what = f"{sources}: one file where a list of them is expected; give [file], or use read"
        raise SettingsError(what)
    if not _is_count(batch_size):
        raise SettingsError(f"batch size {batch_size}: it must be a whole number, 1 or more")
    if not (workers is None or _is_count(workers)):
        raise SettingsError(f"workers {workers}: it must be a whole number, 1 or more")
    if workers is None:
        workers = min(usable_cores(), _MOST_WORKERS)
        if classifier.heavy:
            workers = max(1, workers // _CORES_A_DECODER)
    return _read(classifier, iter(sources), batch_size, workers)


def _is_count(value: object) -> bool:
    try:
        return index(value) >= 1
    except TypeError:
        return False


def _read(
    classifier: "Classifier", sources: Iterator[Source], batch_size: int, workers: int
) -> Iterator[Reading | Failure]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="kirik-decode")
    judges = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kirik-judge")
    judged: deque[Future] = deque()
    try:
        with closing(_prepared_ahead(pool, classifier, sources, batch_size)) as ahead:
            while batch := list(islice(ahead, batch_size)):
                judged.append(judges.submit(_judge, classifier, batch))
                if len(judged) >= _AT_ONCE:
                    yield from judged.popleft().result()
        while judged:
            yield from judged.popleft().result()
    finally:
        judges.shutdown(cancel_futures=True)
        pool.shutdown(cancel_futures=True)


def _prepared_ahead(
    pool: ThreadPoolExecutor, classifier: "Classifier", sources: Iterator[Source], depth: int
) -> Iterator["Prepared | Failure"]:
    """Prepared radiographs in order, with at most `depth` files begun, and as many frames prepared,
    before they are asked."""
    ahead = _Ahead(depth)
    begun: deque[tuple[_Begun, Future]] = deque()

    def first() -> "Iterator[Prepared | Failure]":
        file, filling = begun.popleft()
        yield from ahead.taken(file)
        filling.result()  # raises what went wrong in the thread

    try:
        for source in sources:
            file = _Begun()
            begun.append((file, pool.submit(ahead.fill, file, _prepared(classifier, source))))
            if len(begun) > depth:
                yield from first()
        while begun:
            yield from first()
    finally:
        ahead.close()


class _Begun:
    """A file that is being decoded. frames: that wait to be taken. its_turn: nothing comes before
    it any more. ended: there will be no further frame."""

    def __init__(self):
        self.frames: deque[Prepared | Failure] = deque()
        self.its_turn = self.ended = False


class _Ahead:
    """Frames that wait in their files, at most `most` in all.

    A file whose turn it is may always have one, so that none waits for the others for ever.
    """

    def __init__(self, most: int):
        self._most, self._waiting, self._closed = most, 0, False
        self._changed = threading.Condition()

    def fill(self, file: _Begun, frames: "Iterator[Prepared | Failure]") -> None:
        """Give a file its frames, each as soon as there is room; to be called in a thread."""

        def room() -> bool:
            own = file.its_turn and not file.frames
            return self._closed or own or self._waiting < self._most

        try:
            with closing(frames):
                for frame in frames:
                    with self._changed:
                        self._changed.wait_for(room)
                        if self._closed:
                            return
                        file.frames.append(frame)
                        self._waiting += 1
                        self._changed.notify_all()
        finally:
            with self._changed:
                file.ended = True
                self._changed.notify_all()

    def taken(self, file: _Begun) -> "Iterator[Prepared | Failure]":
        """The frames of the file whose turn it is."""
        while True:
            with self._changed:
                file.its_turn = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: file.frames or file.ended)
                if not file.frames:
                    return
                frame = file.frames.popleft()
                self._waiting -= 1
                self._changed.notify_all()
            yield frame

    def close(self) -> None:
        """Let the threads go that wait for room."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _prepared(classifier: "Classifier", source: Source) -> "Iterator[Prepared | Failure]":
    """A file's frames; a failure in the place of each that cannot be read, or of all to come.

    What no file can help, a KirikError other than RadiographError, is raised.
    """
    if isinstance(source, Failure):
        yield source
        return
    try:
        for one in classifier.frames(source):
            yield failure_of(source, one) if isinstance(one, KirikError) else one
    except RadiographError as error:
        yield failure_of(source, error)
    except KirikError:
        raise
    except Exception as error:  # one odd file must not cost the readings of all others
        what = f"{source}: could not be decoded ({type(error).__name__}: {error})"
        yield Failure(str(source), " ".join(what.split()), "unexpected")


def _judge(classifier: "Classifier", batch: list["Prepared | Failure"]) -> list[Reading | Failure]:
    """The batch's results in its order, its failures passed through."""
    good = [one for one in batch if not isinstance(one, Failure)]
    judged = iter(classifier.judge(good) if good else ())
    results = []
    for one in batch:
        result = one if isinstance(one, Failure) else next(judged)
        failed = isinstance(result, KirikError)
        results.append(failure_of(one.path, result) if failed else result)
    return results
