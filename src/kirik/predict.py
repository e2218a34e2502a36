"""Read files and folders, and write what was asked for: the whole of `kirik predict`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kirik.errors import KirikError, OutputError, SettingsError
from kirik.output.done import Done
from kirik.output.overlay import overlay_names, overlay_writer
from kirik.output.records import Write, csv_writer, json_writer, look_back, parquet_writer
from kirik.reading.classifier import Classifier
from kirik.reading.reading import Failure, Reading
from kirik.reading.sources import Source, Sources

Progress = Callable[[Reading | Failure, int, int | None], None]
"""Called after each frame: its result, how many are done, how many files there are, or None."""


@dataclass
class Summary:
    """What became of all files.

    before, failed_before: of a stopped run that was gone on with: records, failures among them.
    decisions: how many readings for each decision.
    failures: files that could not be read. untold: how many more there are.
    problems: outputs that could not be written to their end, one line each.
    """

    read: int = 0
    before: int = 0
    failed_before: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    untold: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, result: Reading | Failure) -> None:
        """Count one file's result."""
        if isinstance(result, Failure):
            self.failures.append(result)
        else:
            self.read += 1
            self.decisions[result.decision] += 1

    @property
    def failed(self) -> int:
        return self.failed_before + len(self.failures) + self.untold

    @property
    def exit_code(self) -> int:
        """0: all was read and written; 1: some files were not read; 2: none, or an output broke."""
        if self.problems or not self.read:
            return 2
        return 1 if self.failed else 0


def predict(
    paths: Iterable[Path | str],
    classifier: Classifier,
    *,
    json: Path | str | None = None,
    csv: Path | str | None = None,
    parquet: Path | str | None = None,
    overlay: Path | str | None = None,
    resume: bool = False,
    language: str = "en",
    batch_size: int = 16,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Read all radiographs of files, folders and archives; a bad one is a failure and the rest
    goes on.

    json, csv, parquet: files to write, see `kirik.output.records`. overlay: a folder for PNGs.
    resume: go on with the files that a stopped run left, reading only what they do not have.

    Raises OutputError if an output cannot be begun, SettingsError if the files to go on with are
    another model's, and RadiographError if there is no file at all. An output that breaks off later
    (a full disk) is a problem of the summary, and all else is done.
    """
    sources = Sources(paths, classifier.decoders)
    places = [Path(place) for place in (json, csv, parquet) if place]
    before = [look_back(place) if resume else Done() for place in places]
    for place, done in zip(places, before, strict=True):
        if done.models - {classifier.name}:
            raise SettingsError(
                f"{place}: begun with the model {', '.join(sorted(done.models))}; go on with "
                "that one, or name another file"
            )
    outputs = _outputs(sources, classifier, json, csv, parquet, overlay, before, language)
    summary = _summary(before)
    left = (one for one in sources if not (before and all(_name(one) in done for done in before)))
    with _closing(outputs):
        results = classifier.read_many(left, batch_size=batch_size, workers=workers)
        for done, result in enumerate(results, 1 + summary.before):
            summary.add(result)
            for output in outputs:
                output.write(result)
            if progress:
                progress(result, done, sources.total)
    summary.problems += [output.problem for output in outputs if output.problem]
    return summary


def _name(source: Source) -> str:
    return source.path if isinstance(source, Failure) else str(source)


def _summary(before: list[Done]) -> Summary:
    """Of what all outputs have already; the shortest tells it."""
    if not before:
        return Summary()
    least = min(before, key=lambda done: done.rows)
    return Summary(
        read=least.rows - least.failed,
        decisions=Counter(least.decisions),
        before=least.rows,
        failed_before=least.failed,
    )


class _Output:
    """A writer that was begun. Where it breaks off, it says so in `problem` and is left alone.

    done: what it has already.
    """

    def __init__(self, context: AbstractContextManager[Write], done: Done):
        self.problem: str | None = None
        self._done = done
        self._context = context
        self._write = context.__enter__()

    def write(self, result: Reading | Failure) -> None:
        if self.problem is None and result.path not in self._done:
            try:
                self._write(result)
            except (OSError, KirikError) as error:
                self.close(error)
                self.problem = self.problem or str(error)

    def close(self, error: BaseException | None) -> None:
        """End it well, or, after an error, as far as it came."""
        if self.problem is None:
            try:
                self._context.__exit__(error and type(error), error, None)
            except KirikError as refused:
                self.problem = str(refused)


@contextmanager
def _closing(outputs: list[_Output]) -> Iterator[None]:
    """Close all outputs, each for itself; as broken off if the block was."""
    try:
        yield
    except BaseException as error:
        for output in outputs:
            output.close(error)
        raise
    for output in outputs:
        output.close(None)


def _outputs(
    sources: Sources,
    classifier: Classifier,
    json: Path | str | None,
    csv: Path | str | None,
    parquet: Path | str | None,
    overlay: Path | str | None,
    before: list[Done],
    language: str,
) -> list[_Output]:
    """The outputs that were asked for, begun; so a place that cannot be written is known early."""
    classes, dones = classifier.classes, iter(before)
    contexts: list[tuple[AbstractContextManager[Write], Done]] = []
    for place, begin in (
        (json, json_writer),
        (csv, partial(csv_writer, classes=classes)),
        (parquet, partial(parquet_writer, classes=classes)),
    ):
        if place:
            done = next(dones)
            contexts.append((begin(place, done=done), done))
    if overlay:
        names = overlay_names(sources.first) if sources.all_known else None
        pictures = overlay_writer(overlay, names, classifier.decoders, language)
        # First, so that what has a record has its picture, too.
        contexts.insert(0, (pictures, Done()))
    begun: list[_Output] = []
    with ExitStack() as undo:
        for context, done in contexts:
            begun.append(_Output(context, done))
            undo.callback(begun[-1].close, OutputError("another output cannot be begun"))
        undo.pop_all()
    return begun
