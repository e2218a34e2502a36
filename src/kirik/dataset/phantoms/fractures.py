"""Fractures: how a bone breaks, and the fragments that one view then sees.

A fracture runs round the bone as a surface. A view sees its front and its back half as two
curves across the shaft, which coincide only where the ray lies in the surface; that gives an
oblique fracture its ellipse and a spiral one its long double line. The fragments hinge on the
joints at the bone's ends: at the fracture they are moved, at the joint they are not, so that
nothing but the broken bone changes.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter1d

from kirik.dataset.phantoms.bones import Tube, buckled

FRACTURE_TYPES = ("transverse", "oblique", "spiral", "comminuted", "greenstick")
ACROSS = np.linspace(-1.3, 1.3, 131, dtype=np.float32)
"""Positions across a bone, in half-widths, at which a fracture's curves are sampled."""


@dataclass(frozen=True)
class Fracture:
    """One fracture of one bone; lengths in units of the bone's half-width at the fracture.

    at: fraction of the bone's length. lean: slope of the surface to the side and to the front.
    helix: length of a spiral's turn. width: of the zone of a comminuted one. gap: between the
    fragments. moved: of the near and the far fragment at the fracture, to the side and to the
    front. shortened: how far the fragments override. seed: of everything rough.
    """

    bone: str
    kind: str
    at: float
    gap: float
    lean: tuple[float, float] = (0.0, 0.0)
    helix: float = 0.0
    width: float = 0.0
    moved: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    shortened: float = 0.0
    bulge: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Fragment:
    """A piece of a tube in one view.

    lower, upper: float32 [2, ACROSS]: where along the tube it begins and ends, on its front and
    its back, or None at a joint. aside, along: its shift, in mm, for each sample of the tube.
    turn: its rotation about `pivot`, in radians. between: the part of the width it takes.
    """

    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    aside: np.ndarray | None = None
    along: np.ndarray | None = None
    turn: float = 0.0
    pivot: float = 0.0
    between: tuple[float, float] | None = None


WHOLE = Fragment()


def _around(rng: np.random.Generator, size: float) -> tuple[float, float]:
    """A vector to the side and to the front, so turned that no usual view looks along it."""
    angle = np.deg2rad(rng.uniform(25, 65))
    sign = rng.choice([-1, 1])
    return float(sign * size * np.cos(angle)), float(sign * size * np.sin(angle))


def make_fracture(rng: np.random.Generator, bone: str, kind: str, at: float) -> Fracture:
    """A fracture of this kind, from subtle to obvious; most are plain to see."""
    severity = 0.25 + 0.75 * rng.beta(2.2, 1.3)
    base = {"bone": bone, "kind": kind, "at": at, "seed": int(rng.integers(2**31))}
    if kind == "greenstick":
        bend = _around(rng, 0.4 + 0.7 * severity)
        gap, bulge = 0.25 + 0.4 * severity, 0.15 + 0.25 * severity
        return Fracture(gap=gap, moved=(bend, bend), lean=_around(rng, 0.12), bulge=bulge, **base)
    base["gap"] = 0.1 + 0.2 * severity * rng.uniform(0.5, 1)
    base["moved"] = _displacement(rng, severity)
    override = float(rng.uniform(0, 0.5) * severity)
    if kind == "transverse":
        return Fracture(lean=_around(rng, rng.uniform(0, 0.2)), **base)
    if kind == "oblique":
        return Fracture(lean=_around(rng, rng.uniform(0.9, 1.7)), shortened=override, **base)
    if kind == "spiral":
        return Fracture(helix=float(rng.uniform(3.2, 5.5)), shortened=0.6 * override, **base)
    lean = _around(rng, rng.uniform(0, 0.5))
    return Fracture(lean=lean, width=float(rng.uniform(1.3, 2.4)), **base)


def _displacement(
    rng: np.random.Generator, severity: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far the near and the far fragment are moved: both by angulation, apart by a step."""
    angulation = np.array(_around(rng, severity * rng.uniform(0, 0.7)))
    step = np.array(_around(rng, severity * rng.uniform(0.25, 1.3)))
    share = rng.uniform(0, 0.6)
    near, far = angulation - share * step, angulation + (1 - share) * step
    return tuple(near.tolist()), tuple(far.tolist())


class _View:
    """One fracture as one view sees it: lengths in millimetres, angles in the view's plane."""

    def __init__(self, fracture: Fracture, tube: Tube, angle: float):
        self.fracture, self.tube = fracture, tube
        self.middle = fracture.at * tube.length
        self.radius = float(np.interp(self.middle, tube.at, tube.width))
        self.rng = np.random.default_rng(fracture.seed)
        self.angle = angle

    def seen(self, vector: tuple[float, float]) -> tuple[float, float]:
        """A vector (side, front) as (left hand of the axis, towards the film), in mm."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        return (
            -float(vector[0] * c + vector[1] * s) * self.radius,
            float(-vector[0] * s + vector[1] * c) * self.radius,
        )

    def surface(self) -> np.ndarray:
        """[2, ACROSS]: where the fracture crosses the front and the back of the bone, in mm."""
        aside, away = (v / self.radius for v in self.seen(self.fracture.lean))
        height = np.sqrt(np.maximum(1 - ACROSS**2, 0))
        signs = np.array([[1.0], [-1.0]])
        level = aside * ACROSS + away * signs * height
        if self.fracture.helix:
            around = np.arctan2(signs * height, ACROSS) - np.deg2rad(50) - self.angle
            level = level + self.fracture.helix * ((around / (2 * np.pi)) % 1 - 0.5)
            level = uniform_filter1d(level, 9, axis=1, mode="nearest")
        return (self.middle + self.radius * (level + self._roughness())).astype(np.float32)

    def _roughness(self) -> np.ndarray:
        coarse = self.rng.normal(0, 0.09, (2, 14))
        knots = np.linspace(-1.3, 1.3, 14)
        front = np.interp(ACROSS, knots, coarse[0])
        return np.stack([front, 0.7 * front + 0.5 * np.interp(ACROSS, knots, coarse[1])])

    def half_gap(self, surface: np.ndarray) -> np.ndarray:
        """Half the gap, measured along the axis; a steep surface needs more for the same width."""
        slope = np.gradient(surface, ACROSS * self.radius, axis=1)
        gap = max(self.fracture.gap * self.radius, 0.9)
        return 0.5 * gap * np.sqrt(1 + np.clip(slope, -2.5, 2.5) ** 2)

    def hinged(self, surface_side: int) -> tuple[np.ndarray, np.ndarray]:
        """Shift aside and along of the near (0) or the far (1) fragment, for the tube's samples."""
        at, middle, length = self.tube.at, self.middle, self.tube.length
        reach = at / middle if surface_side == 0 else (length - at) / (length - middle)
        reach = np.clip(reach, 0, 1.3).astype(np.float32)
        aside = self.seen(self.fracture.moved[surface_side])[0]
        pulled = self.fracture.shortened * self.radius / 2 * (1 if surface_side == 0 else -1)
        return np.float32(aside) * reach, np.float32(pulled) * reach


def fragments_of(fracture: Fracture, tube: Tube, angle: float) -> tuple[Tube, tuple[Fragment, ...]]:
    """The tube (buckled, if it is a greenstick) and its fragments as seen at `angle`."""
    view = _View(fracture, tube, angle)
    surface = view.surface()
    if fracture.kind == "greenstick":
        return _bent(view, surface)
    half = view.half_gap(surface)
    if fracture.kind == "comminuted":
        return tube, _shattered(view, surface, half)
    near, far = view.hinged(0), view.hinged(1)
    return tube, (
        Fragment(upper=surface - half, aside=near[0], along=near[1]),
        Fragment(lower=surface + half, aside=far[0], along=far[1]),
    )


def _bent(view: _View, surface: np.ndarray) -> tuple[Tube, tuple[Fragment, ...]]:
    """A greenstick: the cortex gapes where the bend stretches it and buckles opposite."""
    aside = view.seen(view.fracture.moved[0])[0]
    tension = np.sign(aside) * ACROSS
    opening = np.clip((tension + 0.15) / 1.15, 0, 1.2) * max(view.fracture.gap * view.radius, 1.0)
    # Where nothing opens the two pieces must meet without a seam: both pass the surface a little.
    half = 0.5 * np.where(tension > -0.15, opening, -0.05)
    near, far = view.hinged(0), view.hinged(1)
    tube = buckled(view.tube, view.middle, -aside, view.fracture.bulge * view.radius)
    return tube, (
        Fragment(upper=(surface - half).astype(np.float32), aside=near[0], along=near[1]),
        Fragment(lower=(surface + half).astype(np.float32), aside=far[0], along=far[1]),
    )


def _shattered(view: _View, surface: np.ndarray, half: np.ndarray) -> tuple[Fragment, ...]:
    """A comminuted fracture: two main fragments and three or four pieces between them."""
    rng, radius = view.rng, view.radius
    zone = 0.5 * view.fracture.width * radius
    slant = rng.uniform(0.2, 0.5, 2) * radius * rng.choice([-1, 1])
    upper_edge = (surface - zone + slant[0] * ACROSS).astype(np.float32)
    lower_edge = (surface + zone - slant[1] * ACROSS).astype(np.float32)
    near, far = view.hinged(0), view.hinged(1)
    pieces = [
        Fragment(upper=upper_edge - half, aside=near[0], along=near[1]),
        Fragment(lower=lower_edge + half, aside=far[0], along=far[1]),
    ]
    drift = 0.5 * (np.interp(view.middle, view.tube.at, near[0] + far[0]))
    split = rng.uniform(-0.25, 0.25)
    cut = rng.uniform(0.35, 0.65)
    for side, bounds in ((-1, (-2.0, split - 0.07)), (1, (split + 0.07, 2.0))):
        edges = [upper_edge, lower_edge]
        if side == rng.choice([-1, 1]):
            edges.insert(1, upper_edge + np.float32(cut) * (lower_edge - upper_edge))
        for above, below in pairwise(edges):
            out = side * rng.uniform(0.05, 0.55) * radius + drift
            pieces.append(
                Fragment(
                    lower=above + 0.4 * half,
                    upper=below - 0.4 * half,
                    aside=np.full_like(near[0], out),
                    along=np.full_like(near[0], rng.normal(0, 0.12) * radius),
                    turn=float(rng.normal(0, 0.22)),
                    pivot=view.middle,
                    between=bounds,
                )
            )
    return tuple(pieces)


def outline(tube: Tube, fragments: tuple[Fragment, ...], margin: float) -> np.ndarray:
    """Convex outline of a fracture in the view's plane [n, 2], in mm, `margin` mm around it."""
    across = np.linspace(-1, 1, 9)
    points = []
    for fragment in fragments:
        for edge in (fragment.lower, fragment.upper):
            for curve in () if edge is None else edge:
                points.append(_moved_edge(tube, fragment, np.interp(across, ACROSS, curve), across))
    around = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    ring = margin * np.stack([np.cos(around), np.sin(around)], axis=1)
    return convex_hull((np.concatenate(points)[:, None] + ring).reshape(-1, 2))


def _moved_edge(
    tube: Tube, fragment: Fragment, along: np.ndarray, across: np.ndarray
) -> np.ndarray:
    if fragment.between is not None:
        across = np.clip(across, *fragment.between)
    aside = across * np.interp(along, tube.at, tube.width) + np.interp(along, tube.at, tube.centre)
    moved_along = along + np.interp(along, tube.at, fragment.along) - fragment.turn * aside
    moved_aside = aside + np.interp(along, tube.at, fragment.aside)
    moved_aside = moved_aside + fragment.turn * (along - fragment.pivot)
    return tube.point(moved_along, moved_aside)


def convex_hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull [n, 2] of points in a plane (Andrew's monotone chain)."""
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    halves = []
    for sequence in (ordered, ordered[::-1]):
        chain: list[np.ndarray] = []
        for point in sequence:
            while len(chain) > 1 and _turns_right(chain[-2], chain[-1], point):
                chain.pop()
            chain.append(point)
        halves += chain[:-1]
    return np.array(halves)


def _turns_right(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0
