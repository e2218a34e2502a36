"""From absorption to a radiograph: exposure, scatter, blur, noise, collimation, display.

Nothing here knows whether a bone is fractured: the settings of an exposure are drawn apart from
it, and what adapts to the image (scatter, display range) is taken from the limb unbroken.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

LEAD = 7.0
"""Absorption of collimator blades and lead markers."""
STROKES = {
    "L": [((0.1, 0), (0.1, 1), (0.7, 1))],
    "R": [
        ((0.1, 1), (0.1, 0), (0.5, 0), (0.7, 0.12), (0.7, 0.4), (0.5, 0.52), (0.1, 0.52)),
        ((0.4, 0.52), (0.72, 1)),
    ],
}


@dataclass(frozen=True)
class Exposure:
    """The settings of one exposure and its display.

    quanta: X-ray quanta that reach a pixel of one square millimetre in air. scatter: share of
    the signal. blur: standard deviation of focal spot and detector, in mm. base: gray of air,
    0…1. gamma: curve of the display. edges: strength of the edge enhancement. margins: of the
    collimated field, shares of the image's sides (top, bottom, left, right). shutter: how the
    unexposed border is shown. softness: of the beam, a factor of what flesh absorbs.
    heel: how the tube's output changes across the field (heel effect), in exponents along x and y.
    marker: whether a side marker is seen. streaks: detector lines.
    """

    quanta: float
    scatter: float
    blur: float
    base: float
    gamma: float
    peak: float
    edges: float
    margins: tuple[float, float, float, float]
    shutter: Literal["white", "black"]
    blade: float
    softness: float
    heel: tuple[float, float]
    marker: bool
    marker_size: float
    streaks: float


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Settings as they vary from exam to exam."""
    margins = rng.uniform(0, 0.1, 4) * (rng.random(4) < 0.5)
    return Exposure(
        quanta=float(np.exp(rng.uniform(np.log(4e3), np.log(4e4)))),
        scatter=float(rng.uniform(0.05, 0.2)),
        blur=float(rng.uniform(0.2, 0.42)),
        base=float(rng.uniform(0.02, 0.13)),
        gamma=float(rng.uniform(1.15, 1.65)),
        peak=float(rng.uniform(0.84, 0.99)),
        edges=float(rng.uniform(0.1, 0.7)),
        margins=tuple(margins.tolist()),
        shutter="white" if rng.random() < 0.5 else "black",
        blade=float(np.deg2rad(rng.normal(0, 2))),
        softness=float(rng.uniform(0.8, 1.1)),
        heel=tuple(rng.normal(0, 0.1, 2).tolist()),
        marker=bool(rng.random() < 0.65),
        marker_size=float(rng.uniform(0.04, 0.06)),
        streaks=float(rng.uniform(0, 0.006)),
    )


def collimation(exposure: Exposure, rows: int, columns: int) -> np.ndarray:
    """0…1 [rows, columns]: how far each pixel lies behind the collimator's blades."""
    top, bottom, left, right = exposure.margins
    slope = np.float32(np.tan(exposure.blade))
    y = np.arange(rows, dtype=np.float32)[:, None]
    x = np.arange(columns, dtype=np.float32)[None, :]
    tilted_y, tilted_x = y + slope * (x - columns / 2), x - slope * (y - rows / 2)
    behind = np.zeros((rows, columns), np.float32)
    for share, depth in (
        (top, top * rows - tilted_y),
        (bottom, tilted_y - (1 - bottom) * rows),
        (left, left * columns - tilted_x),
        (right, tilted_x - (1 - right) * columns),
    ):
        if share:
            np.maximum(behind, np.clip(depth / 2 + np.float32(0.5), 0, 1), out=behind)
    return behind


def marker(exposure: Exposure, side: str, flesh: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """0…1: a lead letter in the first of the image's corners (in this order) with no limb in it."""
    rows, columns = flesh.shape
    size = max(7, round(exposure.marker_size * max(rows, columns)))
    canvas = Image.new("L", (columns, rows))
    if not exposure.marker:
        return np.asarray(canvas, np.float32)
    pen = ImageDraw.Draw(canvas)
    for corner in corners:
        top = round((0.12, 0.82, 0.12, 0.82, 0.45, 0.45)[corner] * rows)
        left = round((0.11, 0.11, 0.83, 0.83, 0.1, 0.84)[corner] * columns)
        if flesh[top : top + size, left : left + size].max(initial=1 if top + size > rows else 0):
            continue
        for stroke in STROKES[side]:
            points = [(left + x * size * 0.8, top + y * size) for x, y in stroke]
            pen.line(points, fill=255, width=max(1, size // 6), joint="curve")
        break
    return np.asarray(canvas, np.float32) / 255


def _fall(heel: tuple[float, float], rows: int, columns: int) -> np.ndarray:
    """Exponents [rows, columns] by which the tube's output falls off from the field's middle."""
    x, y = np.linspace(-0.5, 0.5, columns), np.linspace(-0.5, 0.5, rows)[:, None]
    return (heel[0] * x + heel[1] * y).astype(np.float32)


def _haze(primary: np.ndarray) -> np.ndarray:
    """Scatter: the image, blurred over about a sixth of its side."""
    rows, columns = primary.shape
    small = Image.fromarray(primary).resize((columns // 8, rows // 8), Image.Resampling.BOX)
    blurred = gaussian_filter(np.asarray(small), 0.06 * max(small.size), mode="nearest")
    wide = Image.fromarray(blurred).resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(wide)


def expose(
    absorption: np.ndarray,
    unbroken: np.ndarray,
    overlays: np.ndarray,
    exposure: Exposure,
    spacing: float,
    noise: np.random.Generator,
) -> np.ndarray:
    """Pixels, float32 0…1, bright bone on dark ground.

    absorption: Beer–Lambert exponents; unbroken: the same with no fracture, which sets scatter
    and display range; overlays: 0…1, where lead lies on the detector. noise: its own generator.
    """
    fall = _fall(exposure.heel, *absorption.shape)
    absorption, unbroken = absorption + fall, unbroken + fall
    scattered = _haze(np.exp(-unbroken))
    primary = np.exp(-(absorption + LEAD * overlays))
    primary = gaussian_filter(primary, exposure.blur / spacing, truncate=3)
    share = np.float32(exposure.scatter)
    signal = (1 - share) * primary + share * scattered * (1 - overlays)
    quanta = np.float32(exposure.quanta * spacing**2)
    signal += np.sqrt(signal / quanta) * noise.standard_normal(signal.shape, dtype=np.float32)
    # A detector's columns are never quite equal.
    signal *= 1 + np.float32(exposure.streaks) * noise.standard_normal(
        (1, signal.shape[1]), dtype=np.float32
    )
    depth = -np.log(np.maximum(signal, np.float32(1e-3)))
    densest = -np.log((1 - share) * np.exp(-unbroken[::3, ::3]) + share * scattered[::3, ::3])
    return _display(depth, float(np.percentile(densest, 98.8)), exposure, spacing)


def _display(depth: np.ndarray, full: float, exposure: Exposure, spacing: float) -> np.ndarray:
    """Gray values from optical depth: edges enhanced, then a curve that saturates softly."""
    coarse = Image.fromarray(depth)
    half = coarse.resize((depth.shape[1] // 3, depth.shape[0] // 3), Image.Resampling.BOX)
    smooth = gaussian_filter(np.asarray(half), max(0.7, 3.0 / spacing / 3), truncate=3)
    smooth = Image.fromarray(smooth).resize(coarse.size, Image.Resampling.BILINEAR)
    depth = depth + np.float32(exposure.edges) * (depth - np.asarray(smooth))
    level = np.maximum(depth / np.float32(full), 0) ** np.float32(exposure.gamma)
    level = np.where(level > 0.8, 0.8 + 0.35 * np.tanh((level - 0.8) / 0.35), level)
    gray = exposure.base + (exposure.peak - exposure.base) * level
    return np.clip(gray, 0, 1).astype(np.float32)
