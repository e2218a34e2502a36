"""Read files and folders, and write what was asked for: the whole of `kirik predict`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path

from kirik.errors import KirikError, OutputError, RadiographError, SettingsError
from kirik.files import head_of, kind_of
from kirik.output.done import Done
from kirik.output.files import in_each_others_way, refuse_urls
from kirik.output.records import (
    Write,
    begin_anew,
    csv_writer,
    json_writer,
    look_back,
    parquet_writer,
    reopen,
)
from kirik.reading.classifier import Classifier
from kirik.reading.outage import OutageError, until_outage
from kirik.reading.reading import Failure, Reading, failure_of
from kirik.reading.sources import Source, Sources

Progress = Callable[[Reading | Failure, int, int | None], None]
"""Called after each frame: its result, how many files are done, its own among them, and how many
there are, or None."""

Tell = Callable[[str], None]
"""Called as soon as an output breaks off, or the reading, with the problem."""

TOLD = 1000
"""So many failures are kept for the summary, and so many readings without a picture: a folder may
hold millions."""


@dataclass
class Summary:
    """What became of all files.

    before, failed_before: of a stopped run that was gone on with: records, failures among them.
    decisions: how many readings for each decision.
    failures: the first files that could not be read. untold: how many more there are.
    undrawn: the first readings whose picture could not be written. undrawn_untold: how many more
        there are.
    problems: outputs that could not be written to their end, or why not all was read; one line
        each.
    """

    read: int = 0
    before: int = 0
    failed_before: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    untold: int = 0
    undrawn: list[Failure] = field(default_factory=list)
    undrawn_untold: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, result: Reading | Failure) -> None:
        """Count one file's result."""
        if isinstance(result, Failure):
            self.add_failures([result], 1)
        else:
            self.read += 1
            self.decisions[result.decision] += 1

    def add_failures(self, failures: list[Failure], count: int) -> None:
        """Count so many more, of which these are the first."""
        kept = failures[: max(0, TOLD - len(self.failures))]
        self.failures += kept
        self.untold += count - len(kept)

    def add_undrawn(self, failure: Failure) -> None:
        """Count one more."""
        if len(self.undrawn) < TOLD:
            self.undrawn.append(failure)
        else:
            self.undrawn_untold += 1

    @property
    def failed(self) -> int:
        return self.failed_before + len(self.failures) + self.untold

    @property
    def exit_code(self) -> int:
        """0: all was read and written; 1: some files were not read, or have no picture; 2: none was
        read, an output broke, or the files' disk went away."""
        if self.problems or not self.read:
            return 2
        return 1 if self.failed or self.undrawn else 0


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
    count: bool = True,
    on_problem: Tell | None = None,
) -> Summary:
    """Read all radiographs of files, folders and archives; a bad one is a failure and the rest
    goes on.

    json, csv, parquet: files to write, see `kirik.output.records`. overlay: a folder for PNGs.
    resume: go on with the files that a stopped run left, reading only what they do not have, and
        what has no picture.
    count: whether to tell `progress` in time how many files there are of more than 100,000, which
        lists them all once more.

    Raises OutputError if an output cannot be begun, or another process is writing it, SettingsError
    if the files to go on with are another model's, a stopped run's would be lost without `resume`,
    two outputs are one file or stream, or a place is a URL, and RadiographError if there is no file
    at all. An output that breaks off later (a full disk) is a problem of the summary, told to
    `on_problem` at once. The others go on; where there is none left, the reading stops. So it does
    where the files' disk or network drive goes away, which is another problem of the summary: the
    outputs stay as of a stopped run, without failures for what was left.
    """
    paths = [*paths]
    refuse_urls(*paths, json, csv, parquet, overlay)
    named = {"json": json, "csv": csv, "parquet": parquet}
    places = {kind: Path(place) for kind, place in named.items() if place}
    sources = Sources(paths, classifier.decoders, count and progress is not None)
    before = _before(places, classifier, resume)
    names = None
    if overlay and sources.all_known:
        # Here, and where else pictures are asked for: a reading without them need not wait for it.
        from kirik.output.pictures import overlay_names

        names = overlay_names(sources.first)
    summary, done, last = _summary(before), _least(before).files, None
    known: set[str] = set()
    left = (
        one
        for one in _noted(sources, known)
        if not _has_all(before, _name(one)) or (overlay and _lacks(overlay, names, before, one))
    )
    results = classifier.read_many(left, batch_size=batch_size, workers=workers)
    outputs = _outputs(classifier, json, csv, parquet, overlay, names, before, language, on_problem)
    try:
        with closing(results), _closing(outputs):
            ahead = results
            for output in outputs:
                ahead = output.ahead(ahead)
            for result in until_outage(ahead, known):
                if outputs and all(output.problem for output in outputs):
                    break
                for output in outputs:
                    if undrawn := output.write(result):
                        summary.add_undrawn(undrawn)
                if _has_all(before, result.path):  # read again for its picture
                    unread = before[0].unread(result.path, result.frame)
                    if isinstance(result, Failure) and not unread:
                        summary.add_undrawn(result)
                    continue
                summary.add(result)
                done, last = done + (result.path != last), result.path
                if progress:
                    progress(result, done, sources.total)
    except OutageError as outage:
        summary.problems.append(str(outage))
        if on_problem:
            on_problem(str(outage))
    summary.problems += [output.problem for output in outputs if output.problem]
    return summary


def _noted(sources: Iterable[Source], known: set[str]) -> Iterator[Source]:
    """The same sources. known: gets the paths of what could not be looked into."""
    for one in sources:
        if isinstance(one, Failure):
            known.add(one.path)
        yield one


def _before(places: dict[str, Path], classifier: Classifier, resume: bool) -> list[Done]:
    """What each output has already; nothing without `resume`, and no draft either."""
    for one, other in combinations(places.values(), 2):
        if in_each_others_way(one, other):
            raise SettingsError(f"{other}: named for two outputs; give each a file of its own")
    for place in places.values():
        _refuse_radiograph(place)
    look = look_back if resume else begin_anew
    before = {kind: look(place, kind) for kind, place in places.items()}
    for kind, done in before.items():
        _require_own(done, places[kind], classifier)
        done.digest = classifier.bundle.digest
    for kind, done in before.items():
        if done.finished:
            reopen(places[kind], kind, done)
    return [*before.values()]


def _refuse_radiograph(place: Path) -> None:
    """An output must not take the place of a radiograph, or of a zip of them."""
    try:
        kind = kind_of(head_of(place)) if place.is_file() else None
    except OSError:  # where it cannot be written either, that is said
        return
    if kind is not None:
        what = "an archive" if kind == "ZIP" else f"a {kind} file"
        raise SettingsError(f"{place}: is {what}, which an output would replace; name another file")


def _require_own(done: Done, place: Path, classifier: Classifier) -> None:
    """Refuse to go on with another model's readings."""
    # What kirik wrote before it kept digests has none.
    other = done.models and done.digest not in (None, classifier.bundle.digest)
    if not other and done.models <= {classifier.name}:
        return
    name = ", ".join(sorted(done.models))
    same = f", of another make than this {name}" if done.models == {classifier.name} else ""
    raise SettingsError(
        f"{place}: begun with the model {name}{same}; go on with that one, or name another file"
    )


def _has_all(before: list[Done], path: str) -> bool:
    """Whether all outputs that hold records had a file's before this run."""
    return bool(before) and all(path in done for done in before)


def _lacks(
    folder: Path | str, names: dict[str, str] | None, before: list[Done], source: Source
) -> bool:
    """Whether a stopped run left records of a file, but not all of its pictures: its disk was
    full."""
    from kirik.output.pictures import has_pictures

    path = _name(source)
    frames = () if isinstance(source, Failure) else before[0].frames_read(path)
    return bool(frames) and not has_pictures(folder, names, path, frames)


def _name(source: Source) -> str:
    return source.path if isinstance(source, Failure) else str(source)


def _summary(before: list[Done]) -> Summary:
    """Of what all outputs have already."""
    least = _least(before)
    return Summary(
        read=least.rows - least.failed,
        decisions=Counter(least.decisions),
        before=least.rows,
        failed_before=least.failed,
    )


def _least(before: list[Done]) -> Done:
    """The shortest of them tells what all have."""
    return min(before, key=lambda done: done.rows, default=Done())


class _Output:
    """A writer that was begun. Where it breaks off, it says so in `problem` and is left alone.

    done: what it has already.
    """

    def __init__(self, context: AbstractContextManager[Write], done: Done, tell: Tell | None):
        self.problem: str | None = None
        self._done, self._tell = done, tell
        self._context = context
        self._write = context.__enter__()

    def ahead(self, results: Iterator[Reading | Failure]) -> Iterator[Reading | Failure]:
        """The same results, for which this one may do some of its work beforehand."""
        ahead = getattr(self._write, "ahead", None)
        return ahead(results) if ahead else results

    def write(self, result: Reading | Failure) -> Failure | None:
        """Why there is no picture of this one, where it is so; the next may have theirs."""
        if self.problem is None and result.path not in self._done:
            try:
                self._write(result)
            except RadiographError as error:
                return failure_of(result.path, error)
            except (OSError, KirikError) as error:
                self.close(error)
                if self.problem is None:
                    self._break_off(error)
        return None

    def close(self, error: BaseException | None) -> None:
        """End it well, or, after an error, as far as it came."""
        if self.problem is None:
            try:
                self._context.__exit__(error and type(error), error, None)
            except KirikError as refused:
                self._break_off(refused)

    def _break_off(self, error: Exception) -> None:
        self.problem = str(error)
        if self._tell:
            self._tell(self.problem)


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
    classifier: Classifier,
    json: Path | str | None,
    csv: Path | str | None,
    parquet: Path | str | None,
    overlay: Path | str | None,
    names: dict[str, str] | None,
    before: list[Done],
    language: str,
    tell: Tell | None,
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
        from kirik.output.pictures import overlay_writer

        pictures = overlay_writer(overlay, names, classifier.decoders, language)
        # First, so that what has a record has its picture, too, unless the disk was full.
        contexts.insert(0, (pictures, Done()))
    begun: list[_Output] = []
    with ExitStack() as undo:
        for context, done in contexts:
            begun.append(_Output(context, done, tell))
            undo.callback(begun[-1].close, OutputError("another output cannot be begun"))
        undo.pop_all()
    return begun
