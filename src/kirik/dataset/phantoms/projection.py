"""Line integrals: what bone and flesh absorb of each pixel's ray (Beer–Lambert's exponent).

Attenuation coefficients are those of a beam of about 50 keV mean energy (NIST XCOM, ICRU-44
tissues), per millimetre, rounded.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from kirik.dataset.phantoms.bones import STEP, Tube
from kirik.dataset.phantoms.fractures import ACROSS, WHOLE, Fragment

MUSCLE, FAT, CORTEX, SPONGY, STEEL = 0.0235, 0.0205, 0.088, 0.041, 0.9
FLESH_GRID = 3
"""Flesh is smooth, so it is projected on every third pixel only."""


@dataclass(frozen=True)
class Frame:
    """The detector: pixels, their spacing in mm, the point of the view's plane at its centre, and
    how the limb is turned on it (radians)."""

    rows: int
    columns: int
    spacing: float
    centre: tuple[float, float]
    turn: float

    @property
    def axes(self) -> np.ndarray:
        """Matrix [2, 2] from the view's plane (mm) to pixels (column, row)."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return np.array([[c, -s], [s, c]]) / self.spacing

    @property
    def middle(self) -> np.ndarray:
        return np.array([(self.columns - 1) / 2, (self.rows - 1) / 2])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Columns and rows [n, 2] of points of the view's plane."""
        return (np.asarray(points) - self.centre) @ self.axes.T + self.middle

    def coarser(self, factor: int) -> "Frame":
        """The same field on fewer pixels."""
        rows, columns = -(-self.rows // factor), -(-self.columns // factor)
        return Frame(rows, columns, self.spacing * self.rows / rows, self.centre, self.turn)


@dataclass(frozen=True)
class Window:
    """The pixels that a tube can reach: slices, and their places along and beside its axis."""

    place: tuple[slice, slice]
    along: np.ndarray
    aside: np.ndarray


def window_of(frame: Frame, tube: Tube, reach: float = 0.0) -> Window | None:
    """The window of a tube, `reach` mm wider than the tube; None if it lies outside the frame."""
    wide = float((np.abs(tube.centre) + tube.width).max()) + reach + frame.spacing
    ends = np.array([-frame.spacing - reach, tube.length + frame.spacing + reach])
    corners = np.concatenate([tube.point(ends, np.full(2, w)) for w in (-wide, wide)])
    pixels = frame.pixels(corners)
    left, top = np.maximum(np.floor(pixels.min(0)), 0).astype(int)
    right, bottom = np.ceil(pixels.max(0)).astype(int) + 1
    right, bottom = min(right, frame.columns), min(bottom, frame.rows)
    if left >= right or top >= bottom:
        return None
    start = frame.pixels(tube.start[None])[0]
    axis = frame.axes @ tube.along * frame.spacing**2
    x = (np.arange(left, right, dtype=np.float32) - np.float32(start[0]))[None, :]
    y = (np.arange(top, bottom, dtype=np.float32) - np.float32(start[1]))[:, None]
    ax, ay = np.float32(axis[0]), np.float32(axis[1])
    place = (slice(top, bottom), slice(left, right))
    return Window(place, x * ax + y * ay, y * ax - x * ay)


@lru_cache(maxsize=1)
def _spongy_texture() -> np.ndarray:
    """A tile [256, 256] of trabeculae: strands along the first axis, mean 0, deviation 1."""
    noise = np.random.default_rng(2023).standard_normal((256, 256)).astype(np.float32)
    fine = gaussian_filter(noise, (5.0, 1.5), mode="wrap")
    broad = gaussian_filter(noise[::-1], (12.0, 8.0), mode="wrap")
    tile = fine / fine.std() + 0.6 * broad / broad.std()
    return (tile / tile.std()).astype(np.float32)


def _bounds(curve: np.ndarray, column: np.ndarray, along: np.ndarray, edge: float) -> np.ndarray:
    """0…1: how far each pixel lies beyond a curve across the tube, over an edge of one pixel."""
    return np.clip((along - curve[column]) * np.float32(1 / edge) + np.float32(0.5), 0, 1)


def _shares(
    fragment: Fragment, along: np.ndarray, across: np.ndarray, half_width: np.ndarray, edge: float
) -> np.ndarray | None:
    """0…1: the share of the ray's way through the bone that belongs to the fragment."""
    if fragment.lower is None and fragment.upper is None:
        return None
    scale = np.float32((len(ACROSS) - 1) / (ACROSS[-1] - ACROSS[0]))
    column = np.clip((across - ACROSS[0]) * scale, 0, len(ACROSS) - 1).astype(np.intp)
    share = np.zeros_like(along)
    for side in (0, 1):
        inside = np.float32(0.5)
        if fragment.lower is not None:
            inside = inside * _bounds(fragment.lower[side], column, along, edge)
        if fragment.upper is not None:
            inside = inside * (1 - _bounds(fragment.upper[side], column, along, edge))
        share += inside
    if fragment.between is not None:
        low, high = fragment.between
        share *= np.clip((across - low) * half_width / edge + 0.5, 0, 1)
        share *= np.clip((high - across) * half_width / edge + 0.5, 0, 1)
    return share


def add_bone(
    absorption: np.ndarray,
    frame: Frame,
    tube: Tube,
    fragments: tuple[Fragment, ...] = (WHOLE,),
    texture: int = 0,
) -> None:
    """Add what a bone, whole or in fragments, absorbs beyond the flesh in its place."""
    reach = max((float(np.abs(f.aside).max()) for f in fragments if f.aside is not None), default=0)
    for fragment in fragments:
        window = window_of(frame, tube, reach)
        if window is not None:
            absorption[window.place] += _fragment(window, frame, tube, fragment, texture)


def _fragment(
    window: Window, frame: Frame, tube: Tube, fragment: Fragment, texture: int
) -> np.ndarray:
    along, aside = window.along, window.aside
    scale, last = np.float32((len(tube.width) - 1) / tube.length), len(tube.width) - 1
    sample = np.clip(along * scale, 0, last).astype(np.intp)
    if fragment.aside is not None:
        aside = aside - fragment.aside[sample]
        if fragment.turn:
            aside = aside - np.float32(fragment.turn) * (along - np.float32(fragment.pivot))
        along = along - fragment.along[sample] + np.float32(fragment.turn) * aside
        sample = np.clip(along * scale, 0, last).astype(np.intp)
    if tube.notches != (0.0, 0.0):
        sample = _notched(tube, along, aside, scale)
    aside = aside - tube.centre[sample]
    width = tube.width[sample]
    across = aside / np.maximum(width, np.float32(1e-3))
    outer = 2 * tube.depth[sample] * np.sqrt(np.maximum(1 - across * across, 0))
    inside = aside / np.maximum(tube.cavity_width[sample], np.float32(1e-3))
    inner = 2 * tube.cavity_depth[sample] * np.sqrt(np.maximum(1 - inside * inside, 0))
    inner = np.minimum(inner, outer)
    absorbed = np.float32(CORTEX - MUSCLE) * (outer - inner)
    absorbed += (
        np.float32(SPONGY - MUSCLE)
        * inner
        * tube.density[sample]
        * _trabeculae(sample, aside, texture)
    )
    absorbed *= (along > 0) & (along < tube.length)
    share = _shares(fragment, along, across, width, max(frame.spacing, 2 * STEP))
    return absorbed if share is None else absorbed * share


def _notched(tube: Tube, along: np.ndarray, aside: np.ndarray, scale: np.float32) -> np.ndarray:
    """Samples of a tube whose ends have a groove in the middle, a peak if it is negative."""
    first, last = tube.notches
    shift = np.zeros_like(along)
    for depth, towards, at in ((first, -1, 0.0), (last, 1, tube.length)):
        if depth:
            # A short bone seen nearly end-on has no width so far from its end.
            wide = max(float(np.interp(at - towards * 12, tube.at, tube.width)), 1.0)
            size = np.float32(0.28 * wide)
            near = np.clip(1 - np.abs(along - np.float32(at)) / np.float32(30), 0, 1)
            shift += np.float32(towards * depth) * near * np.exp(-((aside / size) ** 2))
    return np.clip((along + shift) * scale, 0, len(tube.width) - 1).astype(np.intp)


def _trabeculae(sample: np.ndarray, aside: np.ndarray, texture: int) -> np.ndarray:
    tile = _spongy_texture()
    column = (aside * np.float32(4) + np.float32(1000 + texture % 256)).astype(np.intp) & 255
    return 1 + np.float32(0.16) * tile[(sample + texture) & 255, column]


def chords(window: Window, tube: Tube) -> tuple[np.ndarray, np.ndarray]:
    """Ways of the ray through the outer and the inner tube, in mm."""
    scale = np.float32((len(tube.width) - 1) / tube.length)
    sample = np.clip(window.along * scale, 0, len(tube.width) - 1).astype(np.intp)
    aside = window.aside - tube.centre[sample]
    ways = []
    for width, depth in ((tube.width, tube.depth), (tube.cavity_width, tube.cavity_depth)):
        across = aside / np.maximum(width[sample], np.float32(1e-3))
        way = 2 * depth[sample] * np.sqrt(np.maximum(1 - across * across, 0))
        ways.append(way * ((window.along > 0) & (window.along < tube.length)))
    return ways[0], ways[1]


def project_flesh(frame: Frame, tubes: list[Tube]) -> np.ndarray:
    """What flesh absorbs [rows, columns]; overlapping tubes are one body, not two."""
    coarse = frame.coarser(FLESH_GRID)
    outer = np.zeros((coarse.rows, coarse.columns), np.float32)
    inner = np.zeros_like(outer)
    for tube in tubes:
        window = window_of(coarse, tube)
        if window is not None:
            skin, muscle = chords(window, tube)
            np.maximum(outer[window.place], skin, out=outer[window.place])
            np.maximum(inner[window.place], muscle, out=inner[window.place])
    absorbed = np.float32(FAT) * outer + np.float32(MUSCLE - FAT) * np.minimum(inner, outer)
    absorbed = gaussian_filter(absorbed, 0.7)
    fine = Image.fromarray(absorbed).resize((frame.columns, frame.rows), Image.Resampling.BICUBIC)
    return np.maximum(np.asarray(fine), 0)
