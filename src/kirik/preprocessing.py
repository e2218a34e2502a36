"""A radiograph into a network's input: the same steps in the training cache and in a reading.

The result is uint8, so that a decoded radiograph costs one byte a pixel on disk and a cached
one is the same, to the bit, as one read from its file. Scaling to floats happens in the graph.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from kirik.radiograph import Radiograph

WHITE, EVERYWHERE = 0.9, 0.95
LEAST_MARGIN, MOST_MARGIN = 0.02, 0.45
PENUMBRA, LONG_PENUMBRA = 0.04, 0.12
"""Shares: of the brightest level, of a line's pixels, and of the radiograph's side."""


def darken_unexposed(pixels: np.ndarray) -> np.ndarray:
    """Margins that the collimator kept from exposure, black instead of white.

    Film shows them white, and most systems mask them black before they hand a radiograph on. Those
    that do not would show a network two bright bars unlike anything it was trained on. A margin is
    lines from an edge on that are white nearly everywhere, at least 2 % of the side, with their
    blurred border (see `_border`); what is white on more than 45 % of the side is no margin.
    pixels: float32 [rows, columns] in 0…1, upright. Returns them, or a copy with dark margins.
    """
    result = pixels
    edges = pixels[0], pixels[:, -1], pixels[-1], pixels[:, 0]  # that `rot90` brings to the top
    for quarter, edge in enumerate(edges):
        if np.count_nonzero(edge > WHITE) < EVERYWHERE * len(edge):
            continue
        lines = np.rot90(pixels, quarter)
        white = (lines > WHITE).mean(axis=1) >= EVERYWHERE
        count = len(white) if white.all() else int(white.argmin())
        side = len(lines)
        if not LEAST_MARGIN * side <= count <= MOST_MARGIN * side:
            continue
        after = lines[count : count + int(LONG_PENUMBRA * side) + 1]
        count += _border(np.median(after, axis=1), int(PENUMBRA * side) + 1)
        result = result.copy() if result is pixels else result
        np.rot90(result, quarter)[:count] = 0
    return result


def _border(levels: np.ndarray, short: int) -> int:
    """Lines of a margin's blurred border: up to `short` that are bright, or all that there are, of
    those given, where they fall without a rise from the margin's white to a dark ground. Without
    that ground, what lies there may be a limb.

    levels: medians of the lines after a margin, float [n].
    """
    dark = np.flatnonzero(levels <= WHITE / 4)
    if len(dark):
        fall = levels[: dark[0]]
        if (fall <= np.minimum.accumulate(fall) + 0.02).all():
            return int(dark[0])
    bright = levels[:short] > WHITE / 2
    return len(bright) if bright.all() else int(bright.argmin())


def resize(levels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Levels at another size, by the bilinear filter that Pillow has: it widens with the reduction,
    so that all source pixels are averaged.

    levels: [any, any], float32, or uint8 as parts of 255. Returns float32 [rows, columns] in 0…1.
    The filter is a matrix with a band of weights, multiplied block by block, which takes a third of
    Pillow's time for floats, and never needs all of the source in floats.
    """
    lower = np.empty((rows, levels.shape[1]), np.float32)
    for start, stop, first, last, weights in _bands(levels.shape[0], rows):
        np.matmul(weights, levels[first:last].astype(np.float32, copy=False), out=lower[start:stop])
    if levels.dtype == np.uint8:
        lower /= 255
    result = np.empty((rows, columns), np.float32)
    for start, stop, first, last, weights in _bands(levels.shape[1], columns):
        np.matmul(lower[:, first:last], weights.T, out=result[:, start:stop])
    return result


_BLOCKS = ((6.0, 4), (2.5, 8), (0.0, 16))
"""Lines of the result that one product gives, from a reduction on: more would multiply by more
zeros, fewer take more calls. Powers of two, as products of other sizes are slower."""


def _extent(rows: int, columns: int, scales: tuple[float, float]) -> tuple[int, int]:
    down, across = scales
    return max(1, round(rows * down)), max(1, round(columns * across))


@lru_cache(maxsize=64)
def _bands(source: int, target: int) -> tuple[tuple[int, int, int, int, np.ndarray], ...]:
    """The filter from `source` lines to `target`: blocks of the result's lines, each as its start
    and end, those of the source lines that it needs, and their weights [lines, source lines]."""
    return tuple(_blocks(source, target))


def _blocks(source: int, target: int) -> Iterator[tuple[int, int, int, int, np.ndarray]]:
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    firsts = np.maximum(centres - reach + 0.5, 0).astype(int)
    lasts = np.minimum(centres + reach + 0.5, source).astype(int)
    block = next(lines for reduction, lines in _BLOCKS if scale >= reduction)
    for start in range(0, target, block):
        stop = min(start + block, target)
        lines = np.arange(firsts[start], lasts[stop - 1])
        weights = 1 - np.abs((lines + 0.5 - centres[start:stop, None]) / reach)
        inside = (lines >= firsts[start:stop, None]) & (lines < lasts[start:stop, None])
        weights = np.where(inside, np.maximum(weights, 0), 0)
        weights /= weights.sum(axis=1, keepdims=True)
        yield start, stop, int(lines[0]), int(lines[-1]) + 1, weights.astype(np.float32)


@dataclass(frozen=True)
class Preprocessing:
    """How a radiograph is brought to the input's size: a setting that travels with the bundle.

    size: side of the square input, in pixels.
    fit: letterbox keeps the aspect ratio, centres, and fills with black. Unexposed margins are
        made black, too.

    Raises ValueError for a size that is not 32 to 2048. A plain dataclass, as to load pydantic
    would take the decoding processes longer than all else: where a manifest is read, it checks this
    as its own.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    size: int = 320
    fit: Literal["letterbox"] = "letterbox"

    def __post_init__(self):
        if not 32 <= self.size <= 2048:
            raise ValueError(f"size {self.size}: expected 32 to 2048 pixels")

    def placement(
        self, rows: int, columns: int, aspect: float = 1.0
    ) -> tuple[tuple[float, float], int, int]:
        """Input pixels a row and a column of a `rows` × `columns` radiograph, and its top and left
        in the input. aspect: how much higher than wide its pixels are; in the input they are
        squares."""
        scale = self.size / max(rows * aspect, columns)
        scales = scale * aspect, scale
        height, width = _extent(rows, columns, scales)
        return scales, (self.size - height) // 2, (self.size - width) // 2

    def apply(self, radiograph: Radiograph) -> np.ndarray:
        """The input of a radiograph: uint8 [size, size]."""
        return self.of_levels(radiograph.levels, radiograph.aspect)

    def of_levels(self, levels: np.ndarray, aspect: float = 1.0) -> np.ndarray:
        """The input of a radiograph's levels, see `Radiograph`: uint8 [size, size]."""
        scales, top, left = self.placement(*levels.shape, aspect)
        height, width = _extent(*levels.shape, scales)
        resized = resize(levels, height, width)
        canvas = np.zeros((self.size, self.size), np.uint8)
        shown = darken_unexposed(resized)
        shown *= 255  # in place, all three: to get new memory takes longer
        shown += 0.5
        np.clip(shown, 0, 255, out=shown)
        canvas[top : top + height, left : left + width] = shown
        return canvas
