"""From an evidence map on the network's input to boxes in the radiograph's own file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kirik.orientation import to_stored, to_stored_box
from kirik.preprocessing import Preprocessing
from kirik.radiograph import Radiograph
from kirik.reading.peaks import fused, peaks
from kirik.reading.reading import Finding, Peak

FAINTEST = 0.02
"""A finding that is fainter than this is no place to look at: none is given, none is measured."""
_HEARD = 0.01
"""Fainter peaks of a member's map have no part in an average's findings."""


@dataclass(frozen=True)
class Frame:
    """How a radiograph lies in an input, and how it was turned: what cells need to become pixels.

    shape: (rows, columns) of the upright radiograph.
    scales, top, left: its placement in the input, see `Preprocessing.placement`.
    stride: input pixels a cell of the evidence map.
    spacing: (row, column) distance of the stored file's pixels in millimetres, or None.
    """

    shape: tuple[int, int]
    stored_size: tuple[int, int]
    orientation: int
    scales: tuple[float, float]
    top: int
    left: int
    stride: int
    spacing: tuple[float, float] | None = None

    @classmethod
    def of(cls, radiograph: Radiograph, preprocessing: Preprocessing, stride: int) -> "Frame":
        """The frame of a radiograph; one that was decoded smaller is measured at its full size."""
        stored, orientation = radiograph.stored_size, radiograph.orientation
        shape = upright_size(radiograph)
        decoded = radiograph.levels.shape
        scales, top, left = preprocessing.placement(*decoded, radiograph.aspect)
        scales = tuple(
            scale * (part / whole)
            for scale, part, whole in zip(scales, decoded, shape, strict=True)
        )
        return cls(shape, stored, orientation, scales, top, left, stride, radiograph.spacing)

    def to_json(self) -> list:
        """Its fields, for `from_json`; `dataclasses.astuple` would copy each of them."""
        return [getattr(self, name) for name in self.__dataclass_fields__]

    @classmethod
    def from_json(cls, values: Sequence) -> "Frame":
        """A frame out of the list of its fields."""
        return cls(*(tuple(one) if isinstance(one, list) else one for one in values))

    def column(self, cell: float) -> float:
        """The upright radiograph's x of a map's column edge, kept within the radiograph."""
        x = (cell * self.stride - self.left) / self.scales[1]
        return min(max(x, 0.0), float(self.shape[1]))

    def row(self, cell: float) -> float:
        """The upright radiograph's y of a map's row edge, kept within the radiograph."""
        y = (cell * self.stride - self.top) / self.scales[0]
        return min(max(y, 0.0), float(self.shape[0]))

    def cells(self) -> tuple[slice, slice]:
        """The map's rows and columns that lie on the radiograph, at least in part."""
        bottom = self.top + self.shape[0] * self.scales[0]
        right = self.left + self.shape[1] * self.scales[1]
        return _cells(self.top, bottom, self.stride), _cells(self.left, right, self.stride)


def upright_size(radiograph: Radiograph) -> tuple[int, int]:
    """(rows, columns) of the whole file turned upright, at whatever size it was decoded."""
    rows, columns = radiograph.stored_size
    return (columns, rows) if radiograph.orientation >= 5 else (rows, columns)


def findings(
    evidence: np.ndarray, frame: Frame, threshold: float, boxes: np.ndarray | None = None
) -> tuple[Finding, ...]:
    """What the map says is fractured, from `threshold` on, highest score first.

    evidence: float32 [rows, columns], a cell for `stride` × `stride` pixels of the input.
    boxes: float32 [4, rows, columns], each cell's box (input pixels from its centre to the left,
    top, right and bottom); without them a finding is a box around connected cells.
    The letterbox's margin is left out.
    """
    if boxes is None:
        return _in_order(_boxes_around_cells(evidence, frame, threshold), frame)
    found = peaks(_on_film(evidence, frame), boxes, frame.stride, threshold)
    return _in_order(((_on_radiograph(one.box, frame), one.score) for one in found), frame)


def fused_findings(
    parts: Sequence[tuple[float, np.ndarray, np.ndarray]], frame: Frame
) -> tuple[Finding, ...]:
    """What several models' maps say together, from a score of `FAINTEST` on, highest first.

    parts: of each model what it counts, and its evidence and boxes, as for `findings`.
    """
    found = [
        peaks(_on_film(evidence, frame), boxes, frame.stride, _HEARD)
        for _, evidence, boxes in parts
    ]
    together = fused(found, [weight for weight, _, _ in parts])
    boxes = ((_on_radiograph(box, frame), score) for box, score in together if score >= FAINTEST)
    return _in_order(boxes, frame)


_Box = tuple[float, float, float, float]
_Found = Iterable[tuple[_Box, float]]
"""Left, top, right and bottom in the upright radiograph, and the score."""


def _in_order(found: _Found, frame: Frame) -> tuple[Finding, ...]:
    """Findings in the pixels of the file as stored."""
    findings = []
    for (left, top, right, bottom), score in found:
        box = (left, top, right - left, bottom - top)
        stored = to_stored_box(box, frame.orientation, frame.stored_size).tolist()
        findings.append(Finding(*stored, score, _millimetres(stored, frame.spacing)))
    return tuple(sorted(findings, key=lambda f: (-f.score, f.y, f.x)))


def _millimetres(box, spacing: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if spacing is None else (box[2] * spacing[1], box[3] * spacing[0])


def _boxes_around_cells(evidence: np.ndarray, frame: Frame, threshold: float) -> _Found:
    """Connected cells, by an edge or a corner, at or above the threshold."""
    from scipy import ndimage  # takes longer to import than many a reading to make

    rows, columns = frame.cells()
    on_film = evidence[rows, columns]
    labels, _ = ndimage.label(on_film >= threshold, structure=np.ones((3, 3)))
    for number, (down, across) in enumerate(ndimage.find_objects(labels), 1):
        score = float(on_film[down, across][labels[down, across] == number].max())
        left, right = (frame.column(columns.start + c) for c in (across.start, across.stop))
        top, bottom = (frame.row(rows.start + r) for r in (down.start, down.stop))
        yield (left, top, right, bottom), score


def _on_film(evidence: np.ndarray, frame: Frame) -> np.ndarray:
    """The map with nothing in the letterbox's margin."""
    on_film = np.zeros_like(evidence)
    on_film[frame.cells()] = evidence[frame.cells()]
    return on_film


def _on_radiograph(box: np.ndarray, frame: Frame) -> _Box:
    """A box of the input in the upright radiograph."""
    left, right = (frame.column(x / frame.stride) for x in box[::2])
    top, bottom = (frame.row(y / frame.stride) for y in box[1::2])
    return left, top, right, bottom


def peak(evidence: np.ndarray, frame: Frame) -> Peak:
    """The centre of the radiograph's highest cell."""
    rows, columns = frame.cells()
    on_film = evidence[rows, columns]
    row, column = np.unravel_index(int(on_film.argmax()), on_film.shape)
    point = frame.column(columns.start + column + 0.5), frame.row(rows.start + row + 0.5)
    x, y = to_stored(point, frame.orientation, frame.stored_size).tolist()
    return Peak(x, y, float(on_film[row, column]))


def over_radiograph(evidence: np.ndarray, frame: Frame) -> np.ndarray:
    """The map without the letterbox's margin, resampled to span the upright radiograph."""
    height, width = (
        side * scale / frame.stride for side, scale in zip(frame.shape, frame.scales, strict=True)
    )
    left, top = frame.left / frame.stride, frame.top / frame.stride
    rows, columns = evidence.shape
    window = (left, top, min(left + width, columns), min(top + height, rows))
    size = (max(1, round(width)), max(1, round(height)))
    resized = Image.fromarray(evidence).resize(size, Image.Resampling.BILINEAR, box=window)
    return np.clip(np.asarray(resized), 0, 1)


def _cells(start: float, stop: float, stride: int) -> slice:
    # A hair inside, so that an edge on a cell's border does not take in the next cell.
    return slice(int((start + 1e-6) // stride), int((stop - 1e-6) // stride) + 1)
