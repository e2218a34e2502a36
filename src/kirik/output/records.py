"""Readings for programs: JSON, JSON lines and CSV, written as they come, one record a file.

    {"path": …, "decision": …, "probability": …, "model": …}
    {"path": …, "error": …, "reason": …}

A reading that is doubtful has `warnings`, too: a list of stable words, such as low_resolution.
`probability` is a fracture's where the model tells "no fracture" from one kind of fracture, and
an object of class → probability where it knows more classes; it is null where the decision is
out_of_scope.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kirik.output.files import replacing
from kirik.reading.reading import Failure, Reading

Write = Callable[[Reading | Failure], None]
"""What a writer gives: call it with each result, in order."""


def record(result: Reading | Failure) -> dict:
    """A result as plain values for JSON."""
    if isinstance(result, Failure):
        return {"path": result.path, "error": result.error, "reason": result.reason}
    simple = not result.probabilities or (
        result.probability is not None and len(result.probabilities) == 2
    )
    by_class = {name: round(p, 6) for name, p in result.probabilities.items()}
    said = {
        "path": result.path,
        "decision": result.decision,
        "probability": _rounded(result.probability) if simple else by_class,
        "model": result.model,
    }
    return said | ({"warnings": list(result.warnings)} if result.warnings else {})


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 6)


@contextmanager
def json_writer(path: Path | str) -> Iterator[Write]:
    """A JSON list with a record a line; one record a line and no list if PATH ends in .jsonl.

    The file appears when the block ends well. Raises OutputError if the disk refuses.
    """
    path = Path(path)
    start, between, end = ("", "\n", "\n") if path.suffix == ".jsonl" else ("[\n", ",\n", "\n]\n")
    with replacing(path) as file:
        before = start

        def write(result: Reading | Failure) -> None:
            nonlocal before
            file.write(before + json.dumps(record(result), ensure_ascii=False, allow_nan=False))
            before = between

        try:
            yield write
        finally:
            empty = "" if path.suffix == ".jsonl" else "[]\n"
            file.write(empty if before == start else end)


@contextmanager
def csv_writer(path: Path | str, classes: Sequence[str]) -> Iterator[Write]:
    """A CSV with a row for each file, those that failed included.

    Columns: path, decision, probability (of a fracture), p_CLASS for each class, model, error,
    reason, warnings (parted by spaces). The file appears when the block ends well.

    Raises OutputError if the disk refuses.
    """
    columns = ["path", "decision", "probability", *(f"p_{name}" for name in classes)]
    columns += ["model", "error", "reason", "warnings"]
    with replacing(Path(path)) as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        yield lambda result: table.writerow(_row(result))


def _row(result: Reading | Failure) -> dict:
    if isinstance(result, Failure):
        return record(result)
    known = result.probability is not None
    return {
        "path": result.path,
        "decision": result.decision,
        "probability": f"{result.probability:.6f}" if known else "",
        **{f"p_{name}": f"{p:.6f}" for name, p in result.probabilities.items()},
        "model": result.model,
        "warnings": " ".join(result.warnings),
    }
