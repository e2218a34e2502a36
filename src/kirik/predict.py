"""Read files and folders, and write what was asked for: the whole of `kirik predict`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kirik.errors import KirikError, OutputError, RadiographError
from kirik.files import find_files
from kirik.output.overlay import overlay_writer
from kirik.output.records import Write, csv_writer, json_writer
from kirik.reading.classifier import Classifier
from kirik.reading.reading import Failure, Reading, failure_of

Progress = Callable[[Reading | Failure, int, int], None]
"""Called after each file: its result, how many are done, how many there are."""


@dataclass
class Summary:
    """What became of all files.

    decisions: how many readings for each decision.
    failures: files that could not be read.
    problems: outputs that could not be written to their end, one line each.
    """

    read: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
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
        return len(self.failures)

    @property
    def exit_code(self) -> int:
        """0: all was read and written; 1: some files were not read; 2: none, or an output broke."""
        if self.problems or not self.read:
            return 2
        return 1 if self.failures else 0


def predict(
    paths: Iterable[Path | str],
    classifier: Classifier,
    *,
    json: Path | str | None = None,
    csv: Path | str | None = None,
    overlay: Path | str | None = None,
    language: str = "en",
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Summary:
    """Read all radiographs of files and folders; a bad one is a failure and the rest goes on.

    json, csv: files to write, see `kirik.output.records`. overlay: a folder for PNGs.

    Raises OutputError if an output cannot be begun, and RadiographError if there is no file at
    all. An output that breaks off later (a full disk) is a problem of the summary, and all else
    is done.
    """
    paths = list(paths)
    unseen: list[Failure] = []
    files = list(find_files(paths, lambda path, error: unseen.append(failure_of(path, error))))
    if not files and not unseen:
        where = ", ".join(str(path) for path in paths)
        raise RadiographError(f"{where}: no radiographs in there; name files, or a folder of them")
    outputs = _outputs(files, classifier, json, csv, overlay, language)
    summary = Summary()
    with _closing(outputs):
        for done, result in enumerate(_results(unseen, files, classifier, batch_size), 1):
            summary.add(result)
            for output in outputs:
                output.write(result)
            if progress:
                progress(result, done, len(files) + len(unseen))
    summary.problems += [output.problem for output in outputs if output.problem]
    return summary


def _results(
    unseen: list[Failure], files: list[Path], classifier: Classifier, batch_size: int
) -> Iterator[Reading | Failure]:
    """Folders that could not be looked into first, then a result for each file."""
    yield from unseen
    yield from classifier.read_many(files, batch_size=batch_size)


class _Output:
    """A writer that was begun. Where it breaks off, it says so in `problem` and is left alone."""

    def __init__(self, context: AbstractContextManager[Write]):
        self.problem: str | None = None
        self._context = context
        self._write = context.__enter__()

    def write(self, result: Reading | Failure) -> None:
        if self.problem is None:
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
    files: list[Path],
    classifier: Classifier,
    json: Path | str | None,
    csv: Path | str | None,
    overlay: Path | str | None,
    language: str,
) -> list[_Output]:
    """The outputs that were asked for, begun; so a place that cannot be written is known early."""
    contexts: list[AbstractContextManager[Write]] = []
    if json:
        contexts.append(json_writer(json))
    if csv:
        contexts.append(csv_writer(csv, classifier.classes))
    if overlay:
        contexts.append(overlay_writer(overlay, files, language))
    begun: list[_Output] = []
    with ExitStack() as undo:
        for context in contexts:
            begun.append(_Output(context))
            undo.callback(begun[-1].close, OutputError("another output cannot be begun"))
        undo.pop_all()
    return begun
