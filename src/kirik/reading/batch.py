"""Many files, in order: decoded in processes while the network runs, one result a frame."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kirik.archives import Member
from kirik.errors import KirikError, SettingsError
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
    if batch_size < 1:
        raise SettingsError(f"batch size {batch_size}: it must be 1 or more")
    if workers is not None and workers < 1:
        raise SettingsError(f"workers {workers}: it must be 1 or more")
    workers = workers or min(usable_cores(), _MOST_WORKERS)
    return _read(classifier, iter(sources), batch_size, workers)


def _read(
    classifier: "Classifier", sources: Iterator[Source], batch_size: int, workers: int
) -> Iterator[Reading | Failure]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="kirik-decode")
    judges = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kirik-judge")
    judged: deque[Future] = deque()
    try:
        ahead = _prepared_ahead(pool, classifier, sources, batch_size)
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
    """Prepared radiographs in order, with at most `depth` files begun before they are asked."""
    begun: deque[Future] = deque()
    for source in sources:
        begun.append(pool.submit(_prepare, classifier, source))
        if len(begun) > depth:
            yield from begun.popleft().result()
    while begun:
        yield from begun.popleft().result()


def _prepare(classifier: "Classifier", source: Source) -> "list[Prepared | Failure]":
    """A file's frames; a failure in the place of each that cannot be read, or of all."""
    if isinstance(source, Failure):
        return [source]
    try:
        found = classifier.prepare(source)
    except KirikError as error:
        return [failure_of(source, error)]
    except Exception as error:  # one odd file must not cost the readings of all others
        what = f"{source}: could not be decoded ({type(error).__name__}: {error})"
        return [Failure(str(source), " ".join(what.split()), "unexpected")]
    return [failure_of(source, one) if isinstance(one, KirikError) else one for one in found]


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
