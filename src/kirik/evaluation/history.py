"""The history of a training run: one row per epoch, whatever columns it has."""

import csv
from pathlib import Path

import numpy as np

from kirik.errors import DataSetError


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Columns by name, float64 [epochs]; what is empty or no number is NaN.

    A last line that a kill cut short is read as far as it goes. Without a column `epoch`, rows are
    counted from 1. Raises DataSetError if the file cannot be read or has no row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path}: not a readable training history ({error})") from error
    if not rows:
        raise DataSetError(f"{path}: no epochs in it; leave the history out, or train first")
    names = [name for name in rows[0] if name is not None]
    history = {name: np.array([_number(row[name]) for row in rows]) for name in names}
    counted = np.arange(1.0, len(rows) + 1)
    return history | ({} if "epoch" in history else {"epoch": counted})


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
