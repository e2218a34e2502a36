"""What a classifier said about radiographs whose label is known: the input of every measure."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from kirik.dataset.index import negative_class
from kirik.dataset.tables import write_table
from kirik.errors import DataSetError

NOT_SUBGROUPS = frozenset({"image_id", "group", "label", "negative_class", "peak_on_fracture"})


@dataclass(frozen=True)
class Predictions:
    """Probabilities beside labels, one row per radiograph.

    ids, groups: text; rows of one group are resampled together.
    labels: int [n], index into `classes`.
    probabilities: float64 [n, classes], rows sum to 1.
    negative: index of the class "no fracture", or None where there is none.
    subgroups: further columns by name (region, view, hardware), as text, for tables per subgroup.
    peaks_on_fracture: for each radiograph 1.0 if the evidence map's maximum lies in a fracture's
        box, 0.0 if not, NaN where there is no box or no map.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    negative: int | None
    subgroups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    peaks_on_fracture: np.ndarray | None = None

    @property
    def binary(self) -> bool:
        """Whether there is a question "fractured or not": a class says "no fracture"."""
        return self.negative is not None

    @cached_property
    def fractured(self) -> np.ndarray:
        """bool [n]: whether the label is any class but the negative one."""
        return self.labels != self.negative

    @cached_property
    def fracture_probability(self) -> np.ndarray:
        """float64 [n]: 1 − the negative class's probability."""
        if len(self.classes) == 2:
            return self.probabilities[:, 1 - self.negative]
        return 1 - self.probabilities[:, self.negative]

    def select(self, rows: np.ndarray) -> "Predictions":
        """The rows of a boolean or integer index, in that order."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(int)
        peaks = self.peaks_on_fracture
        return Predictions(
            tuple(self.ids[i] for i in rows),
            tuple(self.groups[i] for i in rows),
            self.labels[rows],
            self.probabilities[rows],
            self.classes,
            self.negative,
            {name: tuple(column[i] for i in rows) for name, column in self.subgroups.items()},
            None if peaks is None else peaks[rows],
        )

    @classmethod
    def concat(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """Parts of one data set, read by models of the same classes, one after the other."""
        first = parts[0]
        peaks = [part.peaks_on_fracture for part in parts]
        return cls(
            tuple(i for part in parts for i in part.ids),
            tuple(g for part in parts for g in part.groups),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
            first.classes,
            first.negative,
            {
                name: tuple(value for part in parts for value in part.subgroups[name])
                for name in first.subgroups
            },
            None if any(p is None for p in peaks) else np.concatenate(peaks),
        )

    def write(self, path: Path) -> None:
        """Write as CSV: id, group, label, negative class, p_CLASS for each class, subgroups, peak.

        Every digit is kept, so that the file gives the same figures again. It is there whole or not
        at all. Raises DataSetError if it cannot be written.
        """
        peaks = self.peaks_on_fracture
        head = ["image_id", "group", "label", "negative_class"]
        head += [f"p_{name}" for name in self.classes] + list(self.subgroups)
        negative = "" if self.negative is None else self.classes[self.negative]
        rows = []
        for i, image_id in enumerate(self.ids):
            row = [image_id, self.groups[i], self.classes[self.labels[i]], negative]
            row += [repr(p) for p in self.probabilities[i].tolist()]
            row += [column[i] for column in self.subgroups.values()]
            if peaks is not None:
                row.append("" if np.isnan(peaks[i]) else f"{peaks[i]:.0f}")
            rows.append(row)
        head += [] if peaks is None else ["peak_on_fracture"]
        write_table(path, head, rows, line_end="\r\n")


def read_predictions(path: Path) -> Predictions:
    """Read what `Predictions.write` wrote, or a like table of another program.

    Columns: image_id, label and p_CLASS for each class; group (else, and where it is empty, each
    radiograph is its own), negative_class (else judged by the classes' names), peak_on_fracture;
    any other is a subgroup.
    Raises DataSetError naming the line and the column that is wrong.
    """
    columns, lines = _read_table(path)
    classes = tuple(name.removeprefix("p_") for name in columns if name.startswith("p_"))
    ids = columns["image_id"]
    _check_unique(ids, lines, path)
    peaks = columns.get("peak_on_fracture")
    return Predictions(
        ids,
        tuple(group or own for group, own in zip(columns.get("group", ids), ids, strict=True)),
        _labels(columns["label"], classes, lines, path),
        _probabilities(columns, classes, lines, path),
        classes,
        _negative(columns.get("negative_class"), classes, lines, path),
        {
            name: column
            for name, column in columns.items()
            if name not in NOT_SUBGROUPS and not name.startswith("p_")
        },
        None if peaks is None else _peaks(peaks, lines, path),
    )


def _read_table(path: Path) -> tuple[dict[str, tuple[str, ...]], list[int]]:
    """Columns by name, and the line on which each row ends."""
    rows, lines = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file)
            head = next(table, [])
            _check_head(head, path)
            for row in table:
                if row and len(row) != len(head):
                    raise DataSetError(
                        f"{path}, line {table.line_num}: {len(row)} columns where the first line"
                        f" names {len(head)}"
                    )
                if row:
                    rows.append(row)
                    lines.append(table.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path}: not a readable CSV of predictions ({error})") from error
    if not rows:
        raise DataSetError(f"{path}: no predictions in it, only a first line")
    return dict(zip(head, zip(*rows, strict=True), strict=True)), lines


def _check_head(head: list[str], path: Path) -> None:
    for name in ("image_id", "label"):
        if name not in head:
            raise DataSetError(
                f"{path}, line 1: no column {name}; a CSV of predictions has image_id, label and"
                " a column p_CLASS for each class"
            )
    if sum(name.startswith("p_") for name in head) < 2:
        raise DataSetError(f"{path}, line 1: fewer than two columns p_CLASS of probabilities")
    twice = next((name for name in head if head.count(name) > 1), None)
    if twice is not None:
        raise DataSetError(f"{path}, line 1: column {twice!r} stands there twice; keep one")


def _check_unique(ids: tuple[str, ...], lines: list[int], path: Path) -> None:
    first: dict[str, int] = {}
    for image_id, line in zip(ids, lines, strict=True):
        if image_id in first:
            raise DataSetError(
                f"{path}, line {line}, column image_id: {image_id!r} stands already on line"
                f" {first[image_id]}; keep one row per radiograph"
            )
        first[image_id] = line


def _labels(names: tuple[str, ...], classes: tuple[str, ...], lines: list[int], path: Path):
    for name, line in zip(names, lines, strict=True):
        if name not in classes:
            raise DataSetError(
                f"{path}, line {line}, column label: {name!r} is none of the classes"
                f" {', '.join(classes)}"
            )
    return np.array([classes.index(name) for name in names])


def _probabilities(columns: dict, classes: tuple[str, ...], lines: list[int], path: Path):
    table = np.column_stack(
        [_numbers(columns[f"p_{name}"], f"p_{name}", lines, path) for name in classes]
    )
    outside = np.argwhere(~((table >= 0) & (table <= 1)))
    if len(outside):
        row, column = outside[0]
        raise DataSetError(
            f"{path}, line {lines[row]}, column p_{classes[column]}: {table[row, column]:g} is not"
            " a probability (0…1)"
        )
    off = np.flatnonzero(np.abs(table.sum(axis=1) - 1) > 1e-3)
    if len(off):
        raise DataSetError(
            f"{path}, line {lines[off[0]]}, columns p_…: the probabilities sum to"
            f" {table[off[0]].sum():.4f}; expected 1"
        )
    return table


def _numbers(texts: tuple[str, ...], column: str, lines: list[int], path: Path) -> np.ndarray:
    values = []
    for text, line in zip(texts, lines, strict=True):
        try:
            values.append(float(text))
        except ValueError:
            raise DataSetError(
                f"{path}, line {line}, column {column}: {text!r} is not a number"
            ) from None
    return np.array(values)


def _peaks(texts: tuple[str, ...], lines: list[int], path: Path) -> np.ndarray:
    for text, line in zip(texts, lines, strict=True):
        if text not in ("", "0", "1"):
            raise DataSetError(
                f"{path}, line {line}, column peak_on_fracture: {text!r}; expected 1, 0 or nothing"
            )
    return np.array([float(text) if text else np.nan for text in texts])


def _negative(
    column: tuple[str, ...] | None, classes: tuple[str, ...], lines: list[int], path: Path
) -> int | None:
    if column is None:
        return negative_class(classes)
    for name, line in zip(column, lines, strict=True):
        if name != column[0] or name not in ("", *classes):
            raise DataSetError(
                f"{path}, line {line}, column negative_class: {name!r}; expected one of"
                f" {', '.join(classes)}, or nothing, the same on every line"
            )
    return classes.index(column[0]) if column[0] else None
