"""CSV files of people and for people: Excel's byte order mark, semicolons, line numbers.

Errors name the file, the line, and what to do; the caller says which kind of error it is.
"""

import csv
import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kirik.errors import DataSetError, KirikError

csv.field_size_limit(2**24)  # outlines of masks pass the standard library's 131,072 characters


@dataclass(frozen=True)
class Row:
    """One row of a table: its line in the file (the header is line 1) and its cells by column."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV file: column names, stripped and casefolded, and its rows that are not blank. Columns
    without a name and without content, which spreadsheets leave behind, are none."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(path: Path, error: type[KirikError] = DataSetError) -> Table:
    """Read a CSV in UTF-8, with commas, semicolons or tabs. Raises `error` in one line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = next((line for line in file if line.strip()), "")
            file.seek(0)
            lines = csv.reader(file, delimiter=max(",;\t", key=header.count), strict=True)
            numbered = [(lines.line_num, cells) for cells in lines]
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror})") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path}: not UTF-8 text; save the table as 'CSV UTF-8'") from problem
    except csv.Error as problem:
        raise error(f"{path}: not a CSV table ({problem})") from problem
    return _table(path, numbered, error)


def _table(path: Path, numbered: list[tuple[int, list[str]]], error: type[KirikError]) -> Table:
    filled = [(line, cells) for line, cells in numbered if any(cell.strip() for cell in cells)]
    if not filled:
        raise error(f"{path}: the table is empty; its first line must name the columns")
    names = [name.strip().casefold() for name in filled[0][1]]
    held = {number for _, cells in filled for number, cell in enumerate(cells) if cell.strip()}
    columns = tuple(name for number, name in enumerate(names) if number in held)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise error(f"{path}: column {twice[0]!r} appears more than once; rename or remove one")
    rows = []
    for line, cells in filled[1:]:
        if any(cell.strip() for cell in cells[len(names) :]):
            raise error(
                f"{path}, line {line}: {len(cells)} cells for {len(names)} columns; "
                "quote cells that hold the delimiter"
            )
        padded = [*cells, *[""] * (len(names) - len(cells))]
        own = [cell.strip() for number, cell in enumerate(padded) if number in held]
        rows.append(Row(line, dict(zip(columns, own, strict=False))))
    return Table(path, columns, tuple(rows))


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'label'?` with the known name that is nearest; empty if none is near."""
    near = difflib.get_close_matches(name.casefold(), list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    error: type[KirikError] = DataSetError,
    *,
    line_end: str = "\n",
) -> None:
    """Write a CSV whole or not at all: beside its place first, then moved there. Raises `error`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator=line_end)
            lines.writerow(columns)
            lines.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as problem:
        raise error(f"{path}: cannot be written ({problem.strerror})") from problem
    finally:
        beside.unlink(missing_ok=True)
