"""Splits: which radiograph trains, which is measured on, and what must stay together.

A split is a CSV `image_id,group,split,fold,excluded_because`, and its parts are named
`dev`, `test`, `all` (dev and test), `fold1` … (one fold of dev) and `train1` … (dev without it).
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from kirik.errors import SplitError

COLUMNS = ("image_id", "group", "split", "fold", "excluded_because")
PUBLISHED = Path(__file__).parent / "published"


@dataclass(frozen=True)
class Assignment:
    """Where one radiograph belongs: `split` is dev, test or excluded; `fold` counts from 1 in dev."""

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
    elif not path.is_file():
        known = ", ".join(published_splits())
        raise SplitError(f"{name_or_path}: no such split file, nor a published split ({known})")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(COLUMNS[:4]) <= set(rows[0]):
        raise SplitError(f"{path}: not a split; its columns must be {','.join(COLUMNS)}")
    return Split(path.stem, {row["image_id"]: _assignment(row, path) for row in rows})


def _assignment(row: dict[str, str], path: Path) -> Assignment:
    image_id, part, fold = row["image_id"], row["split"], row["fold"]
    if part not in ("dev", "test", "excluded"):
        raise SplitError(f"{path}: {image_id} is in {part!r}; expected dev, test or excluded")
    if fold and not fold.isdigit():
        raise SplitError(f"{path}: {image_id} is in fold {fold!r}; expected a number or nothing")
    because = row.get("excluded_because") or ""
    return Assignment(image_id, row["group"], part, int(fold) if fold else None, because)
