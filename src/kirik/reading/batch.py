"""Many files, in order: decoded in threads while the network runs, one result for each."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kirik.errors import KirikError, SettingsError
from kirik.reading.cores import usable_cores
from kirik.reading.reading import Failure, Reading, failure_of

if TYPE_CHECKING:
    from kirik.reading.classifier import Classifier, Prepared

_MOST_WORKERS = 8
"""More decoders than this only hold more full-size radiographs in memory."""


def read_in_order(
    classifier: "Classifier",
    paths: Iterable[Path | str],
    *,
    batch_size: int = 16,
    workers: int | None = None,
) -> Iterator[Reading | Failure]:
    """One Reading or Failure for each path, in order; see `Classifier.read_many`."""
    if batch_size < 1:
        raise SettingsError(f"batch size {batch_size}: it must be 1 or more")
    if workers is not None and workers < 1:
        raise SettingsError(f"workers {workers}: it must be 1 or more")
    workers = workers or min(usable_cores(), _MOST_WORKERS)
    return _read(classifier, iter(paths), batch_size, workers)


def _read(
    classifier: "Classifier", paths: Iterator[Path | str], batch_size: int, workers: int
) -> Iterator[Reading | Failure]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="kirik-decode")
    try:
        ahead = _prepared_ahead(pool, classifier, paths, 2 * batch_size)
        while batch := list(islice(ahead, batch_size)):
            yield from _judge(classifier, batch)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepared_ahead(
    pool: ThreadPoolExecutor, classifier: "Classifier", paths: Iterator[Path | str], depth: int
) -> Iterator["Prepared | Failure"]:
    """Prepared radiographs in order, with at most `depth` of them begun before they are asked."""
    begun: deque[Future] = deque()
    for path in paths:
        begun.append(pool.submit(_prepare, classifier, path))
        if len(begun) > depth:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _prepare(classifier: "Classifier", path: Path | str) -> "Prepared | Failure":
    try:
        return classifier.prepare(path)
    except KirikError as error:
        return failure_of(path, error)
    except Exception as error:  # one odd file must not cost the readings of all others
        what = f"{path}: could not be decoded ({type(error).__name__}: {error})"
        return Failure(str(path), " ".join(what.split()), "unexpected")


def _judge(
    classifier: "Classifier", batch: list["Prepared | Failure"]
) -> Iterator[Reading | Failure]:
    """The batch's results in its order, its failures passed through."""
    good = [one for one in batch if not isinstance(one, Failure)]
    judged = iter(classifier.judge(good) if good else ())
    for one in batch:
        if isinstance(one, Failure):
            yield one
            continue
        result = next(judged)
        yield failure_of(one.path, result) if isinstance(result, KirikError) else result
