"""What a classifier said about radiographs whose label is known: the input of every measure."""

import csv
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from kirik.errors import DataSetError


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
        return 1 - self.probabilities[:, self.negative]

    def select(self, rows: np.ndarray) -> "Predictions":
        """The rows of a boolean or integer index, in that order."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
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

    def write(self, path: Path) -> None:
        """Write as CSV: id, group, label, a column p_CLASS per class, subgroups, peak."""
        names = list(self.subgroups)
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image_id", "group", "label", *(f"p_{c}" for c in self.classes), *names]
                           + (["peak_on_fracture"] if self.peaks_on_fracture is not None else []))
            for i, image_id in enumerate(self.ids):
                row = [image_id, self.groups[i], self.classes[self.labels[i]]]
                row += [f"{p:.6f}" for p in self.probabilities[i]]
                row += [self.subgroups[name][i] for name in names]
                if self.peaks_on_fracture is not None:
                    peak = self.peaks_on_fracture[i]
                    row.append("" if np.isnan(peak) else f"{peak:.0f}")
                table.writerow(row)


def read_predictions(path: Path, negative: str | None = "not_fractured") -> Predictions:
    """Read what `Predictions.write` wrote. Raises DataSetError if a column is absent or no row is."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or "image_id" not in rows[0]:
        raise DataSetError(f"{path}: no predictions in it (a CSV with image_id, label, p_… is expected)")
    classes = tuple(name[2:] for name in rows[0] if name.startswith("p_"))
    known = {"image_id", "group", "label", "peak_on_fracture", *(f"p_{c}" for c in classes)}
    subgroups = [name for name in rows[0] if name not in known]
    peaks = None
    if "peak_on_fracture" in rows[0]:
        peaks = np.array([float(row["peak_on_fracture"] or "nan") for row in rows])
    return Predictions(
        tuple(row["image_id"] for row in rows),
        tuple(row["group"] for row in rows),
        np.array([classes.index(row["label"]) for row in rows]),
        np.array([[float(row[f"p_{c}"]) for c in classes] for row in rows]),
        classes,
        classes.index(negative) if negative in classes else None,
        {name: tuple(row[name] for row in rows) for name in subgroups},
        peaks,
    )
