"""EXIF orientation: arrays turned upright, and points and boxes carried there and back.

Coordinates are continuous: x to the right and y down from the outer corner of the first pixel,
so that pixel (column c, row r) covers c…c+1, r…r+1 and has its centre at (c + 0.5, r + 0.5).
COCO's boxes and polygons are measured so.
"""

from collections.abc import Sequence

import numpy as np

# Orientation: (whether rows and columns change places, then flip x, then flip y).
_TURNS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """An array [rows, columns] as stored, turned as EXIF orientation 1…8 asks; a view."""
    swap, flip_x, flip_y = _TURNS[orientation]
    upright = pixels.T if swap else pixels
    return upright[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def turn_stored(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of `turn_upright`; a view."""
    swap, flip_x, flip_y = _TURNS[orientation]
    stored = pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return stored.T if swap else stored


def to_upright(
    points: np.ndarray | Sequence, orientation: int, stored_size: tuple[int, int]
) -> np.ndarray:
    """Points of the file as stored, on the upright radiograph.

    points: [n, 2] as (x, y), or a single (x, y).
    stored_size: (rows, columns) of the file, before any turn.
    """
    swap, flip_x, flip_y = _TURNS[orientation]
    upright = np.array(points, dtype=np.float64)
    if swap:
        upright = upright[..., ::-1].copy()
    width, height = _upright_extent(orientation, stored_size)
    if flip_x:
        upright[..., 0] = width - upright[..., 0]
    if flip_y:
        upright[..., 1] = height - upright[..., 1]
    return upright


def to_stored(
    points: np.ndarray | Sequence, orientation: int, stored_size: tuple[int, int]
) -> np.ndarray:
    """Points of the upright radiograph, on the file as stored; the inverse of `to_upright`."""
    swap, flip_x, flip_y = _TURNS[orientation]
    stored = np.array(points, dtype=np.float64)
    width, height = _upright_extent(orientation, stored_size)
    if flip_x:
        stored[..., 0] = width - stored[..., 0]
    if flip_y:
        stored[..., 1] = height - stored[..., 1]
    return stored[..., ::-1].copy() if swap else stored


def to_upright_box(
    boxes: np.ndarray | Sequence, orientation: int, stored_size: tuple[int, int]
) -> np.ndarray:
    """`to_upright` for boxes (x, y, width, height): [n, 4], or a single one."""
    return _box_of(*(to_upright(c, orientation, stored_size) for c in _corners(boxes)))


def to_stored_box(
    boxes: np.ndarray | Sequence, orientation: int, stored_size: tuple[int, int]
) -> np.ndarray:
    """`to_stored` for boxes (x, y, width, height): [n, 4], or a single one."""
    return _box_of(*(to_stored(c, orientation, stored_size) for c in _corners(boxes)))


def _upright_extent(orientation: int, stored_size: tuple[int, int]) -> tuple[int, int]:
    rows, columns = stored_size
    return (rows, columns) if _TURNS[orientation][0] else (columns, rows)


def _corners(boxes: np.ndarray | Sequence) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, dtype=np.float64)
    return boxes[..., :2], boxes[..., :2] + boxes[..., 2:]


def _box_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.concatenate([np.minimum(one, other), np.abs(one - other)], axis=-1)
