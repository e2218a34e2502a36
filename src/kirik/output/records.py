"""Readings for programs: JSON, JSON lines, CSV and Parquet, written as they come, one record a
frame.

    {"path": …, "decision": …, "probability": …, "model": …, "findings": […]}
    {"path": …, "error": …, "reason": …}

`docs/reading.schema.json` says what may stand in them. A reading that is doubtful has `warnings`,
too: a list of stable words, such as low_resolution. `probability` is a fracture's where the model
tells "no fracture" from one kind of fracture, and an object of class → probability where it knows
more classes; it is null where the decision is out_of_scope.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from kirik.errors import SettingsError, installed
from kirik.output.done import Done, read_csv, read_lines, read_note
from kirik.output.files import (
    draft_of,
    is_stream,
    lock,
    locked,
    note_of,
    replacing,
    seen_of,
    writing,
)
from kirik.reading.reading import Failure, Finding, Reading

Write = Callable[[Reading | Failure], None]
"""What a writer gives: call it with each result, in order."""


def record(result: Reading | Failure) -> dict:
    """A result as plain values for JSON."""
    frame = {} if result.frame is None else {"frame": result.frame}
    if isinstance(result, Failure):
        return {"path": result.path, **frame, "error": result.error, "reason": result.reason}
    simple = not result.probabilities or (
        result.probability is not None and len(result.probabilities) == 2
    )
    by_class = {name: round(p, 6) for name, p in result.probabilities.items()}
    said = {
        "path": result.path,
        **frame,
        "decision": result.decision,
        "probability": _rounded(result.probability) if simple else by_class,
        "model": result.model,
    }
    if result.findings:
        said["findings"] = [_box(finding) for finding in result.findings]
    return said | ({"warnings": list(result.warnings)} if result.warnings else {})


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 6)


def _box(finding: Finding) -> dict:
    """A finding in pixels of the file as stored, and in millimetres where the file has a scale."""
    sides = {name: round(getattr(finding, name), 1) for name in ("x", "y", "width", "height")}
    size = {}
    if finding.millimetres:
        width, height = (round(side, 1) for side in finding.millimetres)
        size = {"width_mm": width, "height_mm": height}
    return sides | size | {"score": round(finding.score, 4)}


def look_back(path: Path, kind: str) -> Done:
    """What an earlier run that was stopped left of an output, for one that goes on with it.

    Where it was not stopped, all of it counts; `reopen` it then. kind: json, csv or parquet,
    whatever its name. Raises OutputError if it cannot be read, SettingsError if it holds something
    else.
    """
    draft, note = draft_of(path), note_of(path)
    with writing(path):
        if is_stream(path):
            return Done()
        seen, stopped = seen_of(path), draft.is_file() and draft.stat().st_size > 0
        if not (stopped or path.is_file()):
            return Done(seen=seen)
        held, digest, sure = draft if stopped else path, None, 0
        try:
            if stopped and note.is_file():
                digest, sure = read_note(note.read_text())
            if kind == "parquet" and not stopped:
                done = read_lines(_lines_of(path), whole=True, escaped=True)
                done.columns = _columns_of(path)
            else:
                lines = partial(read_lines, escaped=kind == "parquet")
                read = read_csv if kind == "csv" else lines
                with held.open("rb") as file:
                    if kind == "json":
                        _require_form(file, path)
                    done = read(file, whole=not stopped, sure=sure)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            why = "holds something else than readings as kirik writes them; name another file"
            raise SettingsError(f"{held}: {why}") from error
    done.seen, done.finished, done.digest = seen, not stopped, digest
    done.sure = sure if stopped else done.keep
    return done


def _require_form(file: BinaryIO, path: Path) -> None:
    """Raise ValueError for a list where there must be lines, or lines for a list: the file had
    another name."""
    begin = file.read(1)
    file.seek(0)
    if begin and (begin == b"[") == _is_lines(path):
        raise ValueError("a list" if begin == b"[" else "no list")


def _is_lines(path: Path) -> bool:
    return path.suffix.casefold() == ".jsonl"


def reopen(path: Path, kind: str, done: Done) -> None:
    """Make a finished output a draft again, besides. done: what `look_back` found in it.

    Raises OutputError if the disk refuses, or another process has written the output since.
    """
    with writing(path), locked(path, done.seen) as draft:
        copy = draft_of(path).with_suffix(".rows")
        try:
            with copy.open("wb") as rows:
                if kind == "parquet":
                    rows.writelines(_lines_of(path))
                else:
                    with path.open("rb") as file:
                        shutil.copyfileobj(file, rows)
            note_of(path).write_text(done.note or "")
            draft.close()  # Windows replaces no file that is open
            copy.replace(draft_of(path))  # half a copy would pass for all that there is
        except BaseException:
            with suppress(OSError):
                copy.unlink()
            raise
        done.seen = seen_of(path)


def begin_anew(path: Path, kind: str) -> Done:
    """What there is to go on with for a run that begins anew: nothing.

    Raises SettingsError where a stopped run's records would be lost, OutputError if the run has not
    stopped.
    """
    if is_stream(path):
        return Done()
    draft, rows = draft_of(path), 0
    with writing(path):
        seen = seen_of(path)
        if draft.is_file():
            with draft.open("r+") as file, lock(file):
                rows = look_back(path, kind).rows
    if rows:
        raise SettingsError(
            f"{path}: a stopped run's {rows:,} records stand in {draft.name}; go on with them by "
            "--resume, or delete that file to begin anew"
        )
    return Done(seen=seen)


@contextmanager
def json_writer(path: Path | str, done: Done | None = None) -> Iterator[Write]:
    """A JSON list with a record a line; one record a line and no list if PATH ends in .jsonl.

    The file appears when the block ends well; until then it grows as `draft_of(path)`.
    done: what a stopped run left of it, and is gone on with. Raises OutputError if the disk
    refuses, or another process is writing the file, or has since `done` was found out.
    """
    path, done = Path(path), done or Done()
    lines = _is_lines(path)
    start, between, end = ("", "\n", "\n") if lines else ("[\n", ",\n", "\n]\n")
    with replacing(path, keep=done.keep, seen=done.seen, note=done.note) as file:
        before = between if done.rows else start

        def write(result: Reading | Failure) -> None:
            nonlocal before
            file.write(before + json.dumps(record(result), ensure_ascii=False, allow_nan=False))
            file.flush()
            before = between

        try:
            yield write
        finally:
            file.write(end if before == between else "" if lines else "[]\n")


@contextmanager
def csv_writer(
    path: Path | str, classes: Sequence[str], done: Done | None = None
) -> Iterator[Write]:
    """A CSV with a row for each frame, those that failed included.

    Columns: path, frame, decision, probability (of a fracture), p_CLASS for each class, findings
    (their number), model, error, reason, warnings (parted by spaces). The file appears when the
    block ends well; until then it grows as `draft_of(path)`. done: see `json_writer`.

    Raises OutputError if the disk refuses, SettingsError if `done` has other columns.
    """
    columns, done, path = _columns(classes), done or Done(), Path(path)
    _require_columns(done, columns, path)
    with replacing(path, keep=done.keep, seen=done.seen, note=done.note) as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        # A carriage return, which others take for a line's end, is not quoted by itself.
        quoting = csv.DictWriter(file, columns, lineterminator="\n", quoting=csv.QUOTE_ALL)
        if done.columns is None:
            table.writeheader()

        def write(result: Reading | Failure) -> None:
            odd = "\r" in f"{result.path}"
            (quoting if odd else table).writerow(_row(result))
            file.flush()

        yield write


def _require_columns(done: Done, columns: list[str], path: Path) -> None:
    if done.columns is not None and done.columns != columns:
        raise SettingsError(f"{path}: has other columns than this model's; name another file")


def _columns(classes: Sequence[str]) -> list[str]:
    columns = ["path", "frame", "decision", "probability", *(f"p_{name}" for name in classes)]
    return [*columns, "findings", "model", "error", "reason", "warnings"]


def _row(result: Reading | Failure) -> dict:
    if isinstance(result, Failure):
        return record(result)
    known = result.probability is not None
    return {
        "path": result.path,
        "frame": result.frame,
        "decision": result.decision,
        "probability": f"{result.probability:.6f}" if known else "",
        **{f"p_{name}": f"{p:.6f}" for name, p in result.probabilities.items()},
        "findings": len(result.findings),
        "model": result.model,
        "warnings": " ".join(result.warnings),
    }


@contextmanager
def parquet_writer(
    path: Path | str, classes: Sequence[str], done: Done | None = None
) -> Iterator[Write]:
    """The columns of `csv_writer` as Parquet, typed.

    It grows as JSON lines in `draft_of(path)`, and becomes Parquet, which has no half files, when
    the block ends well. Raises OutputError if the disk refuses, SettingsError without pyarrow or
    if `done` has other columns.
    """
    _require_pyarrow()
    path, done = Path(path), done or Done()
    _require_columns(done, _columns(classes), path)
    if is_stream(path):
        raise SettingsError(f"{path}: Parquet cannot be written to a stream; name a file")

    def made_of(draft: Path) -> Path:
        table = draft.with_suffix(".rows")  # beside the draft: a link may lead to another disk
        _to_parquet(draft, table, _columns(classes))
        return table

    with replacing(path, keep=done.keep, seen=done.seen, note=done.note, made_of=made_of) as file:
        before = "\n" if done.rows else ""

        def write(result: Reading | Failure) -> None:
            nonlocal before
            file.write(before + json.dumps(_told(result), ensure_ascii=False, allow_nan=False))
            file.flush()
            before = "\n"

        yield write


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        message = f"Parquet needs pyarrow: {installed('parquet')}; or write .jsonl or .csv"
        raise SettingsError(message) from error


def parquet_bytes(
    results: Iterable[Reading | Failure], classes: Sequence[str], counts: dict
) -> bytes:
    """A whole Parquet file in the columns of `csv_writer`, typed, the same bytes for the same rows.

    counts: JSON values that `counts_in_parquet` gives back without reading the rows.
    Raises SettingsError without pyarrow.
    """
    _require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    rows = [_typed(_told(result)) for result in results]
    table = pyarrow.Table.from_pylist(rows, _schema(_columns(classes)))
    file = pyarrow.BufferOutputStream()
    said = {_COUNTS: json.dumps(counts).encode()}
    parquet.write_table(table.replace_schema_metadata(said), file)
    return file.getvalue().to_pybytes()


def counts_in_parquet(read: Callable[[int], bytes | None]) -> dict | None:
    """The counts that `parquet_bytes` was given; None if the file is not whole, or none of its.

    read: gives the file's last bytes, as many as its argument says, which is negative.
    """
    _require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    tail = read(-_TAIL) or b""
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > len(tail) >= _TAIL:
        tail = read(-length) or b""
    try:
        said = parquet.read_metadata(pyarrow.BufferReader(tail)).metadata or {}
        return json.loads(said[_COUNTS])
    except (pyarrow.ArrowException, OSError, KeyError, ValueError):
        return None


_COUNTS = b"kirik"
_TAIL = 2**15
"""Bytes in which a Parquet file's last words stand, as a rule."""


def _told(result: Reading | Failure) -> dict:
    return {name: value for name, value in _row(result).items() if value not in ("", None)}


def _schema(columns: Sequence[str]):
    import pyarrow

    kinds = {"frame": pyarrow.int32(), "findings": pyarrow.int32()}
    kinds |= {n: pyarrow.float64() for n in columns if n == "probability" or n.startswith("p_")}
    return pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in columns])


def _to_parquet(source: Path, target: Path, columns: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = _schema(columns)
    try:
        with (
            parquet.ParquetWriter(target, schema) as table,
            source.open(encoding="utf-8") as lines,
        ):
            while some := [json.loads(line) for line in islice(lines, 50_000)]:
                table.write_table(pyarrow.Table.from_pylist([*map(_typed, some)], schema))
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise


def _lines_of(path: Path) -> Iterator[bytes]:
    """The rows of a finished Parquet file as its draft had them. Raises ValueError for another."""
    _require_pyarrow()
    from pyarrow import parquet

    with parquet.ParquetFile(path) as table:
        for batch in table.iter_batches(10_000):
            for row in batch.to_pylist():
                told = {name: value for name, value in row.items() if value is not None}
                yield json.dumps(told | _as_text(told), ensure_ascii=False).encode() + b"\n"


def _columns_of(path: Path) -> list[str]:
    from pyarrow import parquet

    return parquet.read_schema(path).names


def _as_text(row: dict) -> dict[str, str]:
    return {name: f"{value:.6f}" for name, value in row.items() if isinstance(value, float)}


def _typed(row: dict) -> dict:
    numbers = (name for name in row if name == "probability" or name.startswith("p_"))
    path = row["path"].encode("utf-8", "backslashreplace").decode()  # Parquet's text is UTF-8
    return row | {"path": path} | {name: float(row[name]) for name in numbers}
