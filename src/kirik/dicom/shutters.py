"""Display shutters (DICOM PS3.3 C.7.6.11): what a viewer shows black around the exposed field."""

import numpy as np
from PIL import Image, ImageDraw
from pydicom import Dataset

_LEAST_VISIBLE = 0.01
"""Shutters that leave less of the radiograph than this share are taken for a mistake."""
_MOST_VERTICES = 10_000


def visible(dataset: Dataset, rows: int, columns: int) -> np.ndarray | None:
    """bool [rows, columns]: what all shutters leave open; None if that is everything."""
    shapes = _values(dataset, "ShutterShape", str)
    masks = [_SHAPES[shape](dataset, rows, columns) for shape in shapes if shape in _SHAPES]
    masks = [mask for mask in masks if mask is not None]
    if not masks:
        return None
    mask = np.logical_and.reduce(masks)
    return None if mask.all() or mask.mean() < _LEAST_VISIBLE else mask


def _values(dataset: Dataset, keyword: str, kind: type) -> list:
    """An element's values, none if it is absent or cannot be understood."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return []
        values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return [kind(one) for one in values]
    except (ValueError, TypeError, OverflowError):
        return []


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column numbers as DICOM counts them, from 1."""
    return np.arange(1, rows + 1)[:, None], np.arange(1, columns + 1)[None, :]


def _rectangle(dataset: Dataset, rows: int, columns: int) -> np.ndarray | None:
    keywords = ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    edges = [_values(dataset, f"Shutter{keyword}Edge", int) for keyword in keywords]
    if any(len(edge) != 1 for edge in edges):
        return None
    (left,), (right,), (upper,), (lower,) = edges
    row, column = _grid(rows, columns)
    return (row >= upper) & (row <= lower) & (column >= left) & (column <= right)


def _circle(dataset: Dataset, rows: int, columns: int) -> np.ndarray | None:
    center = _values(dataset, "CenterOfCircularShutter", float)
    radius = _values(dataset, "RadiusOfCircularShutter", float)
    if len(center) != 2 or len(radius) != 1:
        return None
    row, column = _grid(rows, columns)
    return (row - center[0]) ** 2 + (column - center[1]) ** 2 <= radius[0] ** 2


def _polygon(dataset: Dataset, rows: int, columns: int) -> np.ndarray | None:
    numbers = _values(dataset, "VerticesOfThePolygonalShutter", int)
    if not 6 <= len(numbers) <= 2 * _MOST_VERTICES or len(numbers) % 2:
        return None
    most = 4 * max(rows, columns)  # far outside is outside; the drawing has no room for more
    numbers = [min(max(number - 1, -most), most) for number in numbers]
    canvas = Image.new("L", (columns, rows))
    vertices = list(zip(numbers[1::2], numbers[::2], strict=True))
    ImageDraw.Draw(canvas).polygon(vertices, fill=1, outline=1)
    return np.asarray(canvas).astype(bool)


_SHAPES = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}
