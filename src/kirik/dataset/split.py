"""Splits: which radiograph trains, which is measured on, and what must stay together.

A split is a CSV `image_id,group,split,fold,excluded_because`, and its parts are named
`dev`, `test`, `all` (dev and test), `fold1` … (one fold of dev) and `train1` … (dev without it).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kirik.dataset.check import check_split, torn_groups
from kirik.dataset.groups import bind
from kirik.dataset.index import Index
from kirik.dataset.stratify import assign
from kirik.dataset.tables import Row, read_table, write_table
from kirik.errors import SplitError

COLUMNS = ("image_id", "group", "split", "fold", "excluded_because")
PUBLISHED = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Assignment:
    """Where one radiograph belongs: `split` is dev, test or excluded; `fold` counts from 1."""

    image_id: str
    group: str
    split: str
    fold: int | None = None
    excluded_because: str = ""


@dataclass(frozen=True)
class Split:
    """A named split: assignments by radiograph id, in file order."""

    name: str
    assignments: dict[str, Assignment]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of who is where, by which a split is known whatever its file is called."""
        rows = sorted(f"{a.image_id} {a.split} {a.fold}" for a in self.assignments.values())
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(sorted({a.fold for a in self.assignments.values() if a.fold is not None}))

    def part(self, name: str) -> tuple[Assignment, ...]:
        """Assignments of one part. Raises SplitError, naming the parts there are."""
        wanted = re.fullmatch(r"(fold|train)(\d+)", name)
        rows = self.assignments.values()
        if name in ("dev", "test"):
            return tuple(a for a in rows if a.split == name)
        if name == "all":
            return tuple(a for a in rows if a.split in ("dev", "test"))
        if wanted and int(wanted[2]) in self.folds:
            fold, inside = int(wanted[2]), wanted[1] == "fold"
            return tuple(a for a in rows if a.split == "dev" and (a.fold == fold) == inside)
        parts = ["dev", "test", "all"] + [f"{k}{f}" for f in self.folds for k in ("fold", "train")]
        raise SplitError(f"split {self.name} has no part {name!r}; it has {', '.join(parts)}")


def published_splits() -> tuple[str, ...]:
    """Names of the splits that ship with kirik."""
    return tuple(sorted(path.stem for path in PUBLISHED.glob("*.csv")))


def load_split(name_or_path: str | Path) -> Split:
    """A split from its file, or by the name of a published one. Raises SplitError."""
    path = Path(name_or_path)
    if str(name_or_path) in published_splits():
        path = PUBLISHED / f"{name_or_path}.csv"
    elif not _exists(path):
        known = ", ".join(published_splits())
        raise SplitError(f"{name_or_path}: no such split file, nor a published split ({known})")
    table = read_table(path, SplitError)
    if not table.rows or not set(COLUMNS[:4]) <= set(table.columns):
        raise SplitError(f"{path}: not a split; its columns must be {','.join(COLUMNS)}")
    assignments: dict[str, Assignment] = {}
    for row in table.rows:
        assignment = _assignment(row, path)
        if assignment.image_id in assignments:
            raise SplitError(
                f"{path}, line {row.line}: {assignment.image_id} is named twice; keep one row"
            )
        assignments[assignment.image_id] = assignment
    _refuse_half_folded(assignments, path)
    return Split(path.stem, assignments)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as problem:
        raise SplitError(f"{path}: cannot be looked at ({problem.strerror})") from problem


def _assignment(row: Row, path: Path) -> Assignment:
    where = f"{path}, line {row.line}"
    image_id, group, part, fold = (row.cells[name] for name in COLUMNS[:4])
    if not image_id or not group:
        raise SplitError(f"{where}: {'group' if image_id else 'image_id'} is empty; fill it in")
    if part not in ("dev", "test", "excluded"):
        raise SplitError(f"{where}: split is {part!r}; expected dev, test or excluded")
    if fold and (not re.fullmatch("[0-9]{1,4}", fold) or int(fold) == 0):
        raise SplitError(f"{where}: fold is {fold!r}; expected 1, 2, … or nothing")
    if fold and part != "dev":
        raise SplitError(f"{where}: {image_id} is in fold {fold}, but in {part}; folds are of dev")
    because = row.cells.get("excluded_because", "")
    return Assignment(image_id, group, part, int(fold) if fold else None, because)


def _refuse_half_folded(assignments: dict[str, Assignment], path: Path) -> None:
    dev = [a for a in assignments.values() if a.split == "dev"]
    without = [a.image_id for a in dev if a.fold is None]
    if without and len(without) < len(dev):
        raise SplitError(
            f"{path}: {without[0]} and {len(without) - 1} others are in dev without a fold, while "
            "the rest have one; number them or exclude them"
        )
    folds = {a.fold for a in dev if a.fold is not None}
    if len(folds) == 1:
        raise SplitError(f"{path}: dev has one fold alone; nothing is left to train on")


def write_split(
    split: Split,
    path: str | Path,
    *,
    index: Index | None = None,
    duplicates: Iterable[tuple[str, ...]] = (),
) -> None:
    """Write a split whole or not at all. Raises SplitError if it leaks, or cannot be written.

    With the index (and the duplicates) it is checked as `check_split` does, else by its own
    groups alone.
    """
    leaks = torn_groups(split) if index is None else check_split(split, index, duplicates)
    if leaks:
        raise SplitError(
            f"{path}: not written, since the split leaks in {len(leaks)} places; first: {leaks[0]}"
        )
    rows = [
        (a.image_id, a.group, a.split, "" if a.fold is None else str(a.fold), a.excluded_because)
        for a in split.assignments.values()
    ]
    write_table(Path(path), COLUMNS, rows, SplitError)


def make_split(
    index: Index,
    duplicates: Iterable[tuple[str, ...]] = (),
    *,
    folds: int = 4,
    test_share: float = 0.2,
    seed: int = 0,
    excluded: Mapping[str, str] | None = None,
    name: str = "split",
) -> Split:
    """A split that tears no group, its test part and folds alike in label × region and hardware.

    duplicates: ids that show the same radiograph, and so belong together.
    folds: parts of dev, at least 2; test_share: share of the radiographs in test, 0 for none.
    excluded: reason by id, for radiographs that belong in no part (unreadable ones, duplicates
        with opposite labels).
    The same arguments give the same split, in whatever order the index lists its records.
    Raises SplitError if a part would lack a class.
    """
    if folds < 2 or not 0 <= test_share < 1:
        raise SplitError(
            f"{folds} folds and a test share of {test_share:g} make no split; "
            "choose at least 2 folds and a share from 0 to below 1"
        )
    excluded = dict(excluded or {})
    groups = bind(index.records, duplicates)
    used = [record for record in index.records if record.id not in excluded]
    shares = [test_share] + [(1 - test_share) / folds] * folds
    part_of = assign(used, groups, index.classes, shares, seed)
    ids = sorted(record.id for record in index.records)
    return Split(name, {i: _placed(i, groups[i], part_of, excluded) for i in ids})


def _placed(
    image_id: str, group: str, part_of: dict[str, int], excluded: dict[str, str]
) -> Assignment:
    if image_id in excluded:
        return Assignment(image_id, group, "excluded", None, excluded[image_id])
    part = part_of[group]
    return Assignment(image_id, group, "dev", part) if part else Assignment(image_id, group, "test")


def class_counts(split: Split, index: Index) -> dict[str, dict[str, int]]:
    """Radiographs that are there, by part (test, fold1 …) and class: how even a split is."""
    counts: dict[str, dict[str, int]] = {}
    folds = [f"fold{fold}" for fold in split.folds]
    for part in ["test", *(folds or ["dev"])]:
        present = [index.by_id[a.image_id] for a in split.part(part) if a.image_id in index.by_id]
        labels = Counter(record.label for record in present)
        counts[part] = {name: labels[i] for i, name in enumerate(index.classes)}
    return counts
