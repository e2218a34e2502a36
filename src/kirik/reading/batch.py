"""Many files, in order: decoded in processes while the network runs, one result a frame."""

import atexit
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from kirik.archives import Member
from kirik.errors import NO_THREADS, KirikError, RadiographError, SettingsError
from kirik.files import shown
from kirik.reading.cores import usable_cores
from kirik.reading.reading import Failure, Reading, failure_of
from kirik.stores import Remote

if TYPE_CHECKING:
    from kirik.reading.classifier import Classifier
    from kirik.reading.prepare import Prepared

_File = Path | str | Member | Remote
Source = _File | Failure
"""A failure goes through: what could not be looked into has its place among the rest."""

_One = TypeVar("_One")

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
    if isinstance(sources, _File):
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
    judges = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kirik-judge")
    judged: deque[Future] = deque()
    given = Given(sources)
    try:
        with closing(_prepared_ahead(classifier, given, batch_size, workers)) as ahead:
            while batch := list(islice(ahead, batch_size)):
                judged.append(judges.submit(_judge, classifier, batch))
                if len(judged) >= _AT_ONCE:
                    yield from judged.popleft().result()
        while judged:
            yield from judged.popleft().result()
        if given.error is not None:
            raise given.error
    finally:
        judges.shutdown(cancel_futures=True)


class Given(Generic[_One]):
    """What an iterator gives, as far as it comes. error: what it raised instead of the next."""

    def __init__(self, those: Iterable[_One]):
        self._those = those
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[_One]:
        try:
            # Not `yield from`, which would close what is the caller's.
            for one in self._those:  # noqa: UP028
                yield one
        except Exception as error:
            self.error = error


def _prepared_ahead(
    classifier: "Classifier", sources: Iterable[Source], depth: int, workers: int
) -> Iterator["Prepared | Failure"]:
    """Prepared radiographs in order, with at most `depth` files begun, and as many frames prepared,
    before they are asked."""
    ahead = _Ahead(depth, workers)
    begun: deque[_Begun] = deque()
    try:
        for source in sources:
            begun.append(ahead.begin(_prepared(classifier, source)))
            if len(begun) > depth:
                yield from ahead.taken(begun.popleft())
        while begun:
            yield from ahead.taken(begun.popleft())
    finally:
        ahead.close()


class _Begun:
    """A file to be decoded. coming: its frames as they are made. frames: that wait to be taken.
    its_turn: nothing comes before it any more. ended: there will be no further frame. error: what
    went wrong, so that there is none."""

    def __init__(self, coming: "Iterator[Prepared | Failure]"):
        self.coming = coming
        self.frames: deque[Prepared | Failure] = deque()
        self.its_turn = self.ended = False
        self.error: BaseException | None = None


class _Ahead:
    """Threads that decode files, and the frames that wait in these, at most `most` in all.

    A file whose turn it is may always have one, so that none waits for the others for ever.
    """

    # An executor's threads are waited for at a program's end before anything can tell them that
    # nobody takes their frames any more. These are daemons, and stopped in time by `atexit`.

    def __init__(self, most: int, workers: int):
        self._most, self._workers = most, workers
        self._waiting, self._closed = 0, False
        self._to_do: deque[_Begun] = deque()
        self._threads: list[threading.Thread] = []
        lock = threading.RLock()
        self._given, self._changed = threading.Condition(lock), threading.Condition(lock)
        atexit.register(self.close)

    def begin(self, frames: "Iterator[Prepared | Failure]") -> _Begun:
        """Have a thread take a file's frames, as soon as one is free."""
        file = _Begun(frames)
        with self._given:
            self._to_do.append(file)
            self._given.notify()
        if len(self._threads) < self._workers:
            name = f"kirik-decode_{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more of them
                if not self._threads:
                    raise SettingsError(NO_THREADS) from error
                self._workers = len(self._threads)
            else:
                self._threads.append(thread)
        return file

    def _work(self) -> None:
        while True:
            with self._given:
                self._given.wait_for(lambda: self._to_do or self._closed)
                if self._closed:
                    return
                file = self._to_do.popleft()
            self._fill(file)

    def _fill(self, file: _Begun) -> None:
        """Give a file its frames, each as soon as there is room."""

        def room() -> bool:
            own = file.its_turn and not file.frames
            return self._closed or own or self._waiting < self._most

        try:
            with closing(file.coming) as frames:
                for frame in frames:
                    with self._changed:
                        self._changed.wait_for(room)
                        if self._closed:
                            raise CancelledError
                        file.frames.append(frame)
                        self._waiting += 1
                        self._changed.notify_all()
        except BaseException as error:
            file.error = error
        with self._changed:
            file.ended = True
            self._changed.notify_all()

    def taken(self, file: _Begun) -> "Iterator[Prepared | Failure]":
        """The frames of the file whose turn it is. Raises what went wrong in its thread."""
        while True:
            with self._changed:
                file.its_turn = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: file.frames or file.ended)
                if not file.frames:
                    break
                frame = file.frames.popleft()
                self._waiting -= 1
                self._changed.notify_all()
            yield frame
        if file.error:
            raise file.error

    def close(self) -> None:
        """Let the threads go, those that wait for room, too, and wait for them."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed = True
            self._given.notify_all()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()


def _prepared(classifier: "Classifier", source: Source) -> "Iterator[Prepared | Failure]":
    """A file's frames; a failure in the place of each that cannot be read, or of all to come.

    What no file can help, a KirikError other than RadiographError, is raised.
    """
    if isinstance(source, Failure):
        yield source
        return
    path = str(source) if isinstance(source, _File) else None  # else it is content
    try:
        for one in classifier.frames(source):
            yield failure_of(path, one) if isinstance(one, KirikError) else one
    except RadiographError as error:
        yield failure_of(path, error)
    except KirikError:
        raise
    except Exception as error:  # one odd file must not cost the readings of all others
        where = type(source).__name__ if path is None else path
        what = f"{where}: could not be decoded ({type(error).__name__}: {error})"
        yield Failure(path, shown(" ".join(what.split())), "unexpected")


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
