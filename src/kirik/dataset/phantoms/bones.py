"""What a phantom is built of: bones and flesh as tubes in millimetres, and their view.

A tube runs straight from its start to its end and has an elliptic cross-section that changes
along it, so that a ray's path through it is a closed formula (the chord of an ellipse). The
medullary cavity is a thinner tube inside; what lies between the two is cortical bone.

Axes: x to the patient's thumb or little toe, y down the limb, z to the front.
"""

from dataclasses import dataclass, replace

import numpy as np

STEP = 0.25
"""Distance of a tube's samples along its axis, in millimetres."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class End:
    """One end of a bone, in millimetres.

    width: half-width in the frontal view. flare: length over which the shaft widens to it.
    cap: length over which it closes. notch: depth of the groove between two condyles.
    depth: half-depth over half-width. lean: shift of the end to the side, frontal view.
    """

    width: float
    flare: float
    cap: float
    notch: float = 0.0
    depth: float = 0.85
    lean: float = 0.0


@dataclass(frozen=True)
class Bone:
    """A bone in space, in millimetres.

    shaft: half-width of the shaft. cortex: thickness of the shaft's wall; the ends have a thin
    shell. marrow: density of the spongy bone in the shaft, relative to that in the ends.
    bow: sagitta of the axis to the side and to the front. shell: thickness of the wall at the ends.
    depth: half-depth over half-width of the shaft.
    """

    name: str
    start: Point
    end: Point
    shaft: float
    cortex: float
    first: End
    last: End
    marrow: float = 0.12
    bow: tuple[float, float] = (0.0, 0.0)
    shell: float = 0.9
    depth: float = 1.0

    @property
    def length(self) -> float:
        return float(np.linalg.norm(np.subtract(self.end, self.start)))


@dataclass(frozen=True)
class Flesh:
    """Soft tissue around bones: half-widths at equal distances along its axis, in millimetres.

    depth: half-depth over half-width. fat: thickness of the layer under the skin.
    """

    start: Point
    end: Point
    widths: tuple[float, ...]
    depth: float = 1.0
    fat: float = 5.0


@dataclass(frozen=True)
class Tube:
    """A bone or flesh as one view sees it: tables along the projected axis, in millimetres.

    start, along: origin and unit vector of the axis in the view's plane. centre: shift of the
    middle to the axis's left hand. width and depth: outer half-axes of the cross-section;
    cavity_width and cavity_depth: those of the inner tube. density: of what the inner tube holds.
    """

    start: np.ndarray
    along: np.ndarray
    length: float
    centre: np.ndarray
    width: np.ndarray
    depth: np.ndarray
    cavity_width: np.ndarray
    cavity_depth: np.ndarray
    density: np.ndarray
    notches: tuple[float, float] = (0.0, 0.0)

    @property
    def at(self) -> np.ndarray:
        """Position of each sample along the axis."""
        return np.linspace(0, self.length, len(self.width), dtype=np.float32)

    def point(self, along: np.ndarray, aside: np.ndarray) -> np.ndarray:
        """Points of the view's plane [n, 2] at these distances along the axis and beside it."""
        across = np.array([-self.along[1], self.along[0]])
        return self.start + np.outer(along, self.along) + np.outer(aside, across)


def _ease(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (1.6 - 0.6 * x)


def _closing(distance: np.ndarray, cap: float) -> np.ndarray:
    """How far a tube is open at this distance from its end: a quarter of a superellipse."""
    inside = np.clip(distance / cap, 0, 1)
    return (1 - (1 - inside) ** 2.6) ** (1 / 2.6)


def _projected(start: Point, end: Point, angle: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Start and unit vector in the view's plane, and the projected length."""
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0]])
    first, last = turn @ np.array(start), turn @ np.array(end)
    length = max(float(np.linalg.norm(last - first)), 1.0)
    return first, (last - first) / length, length


def _seen(width: np.ndarray, ratio: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Half-width and half-depth of an ellipse that is turned by the view's angle."""
    c, s = np.cos(angle), np.sin(angle)
    return width * np.hypot(c, ratio * s), width * np.hypot(s, ratio * c)


def view_of_bone(bone: Bone, angle: float) -> Tube:
    """A bone seen at `angle` (radians; 0 is frontal, π/2 lateral)."""
    start, along, length = _projected(bone.start, bone.end, angle)
    at = np.linspace(0, bone.length, max(8, round(length / STEP)))
    rest = bone.length - at
    head, foot = _ease(1 - at / bone.first.flare), _ease(1 - rest / bone.last.flare)
    flared = bone.shaft * (1 - head - foot) + bone.first.width * head + bone.last.width * foot
    ends = np.maximum(head, foot)
    wall = bone.shell + (bone.cortex - bone.shell) * (1 - ends) ** 2
    ratio = bone.depth * (1 - head - foot) + bone.first.depth * head + bone.last.depth * foot
    opening = _closing(at, bone.first.cap) * _closing(rest, bone.last.cap)
    width, depth = _seen(flared * opening, ratio, angle)
    shell = bone.shell
    hollow = _closing(at - shell, bone.first.cap) * _closing(rest - shell, bone.last.cap)
    cavity_width, cavity_depth = _seen(flared, ratio, angle)
    # A bone seen end-on is passed lengthwise.
    stretch = min(bone.length / length, 3.0)
    bow = bone.bow[0] * np.cos(angle) + bone.bow[1] * np.sin(angle)
    middle = at / bone.length
    lean = (bone.first.lean * head + bone.last.lean * foot) * np.cos(angle)
    tables = {
        "centre": 4 * bow * middle * (1 - middle) + lean,
        "width": width,
        "depth": depth * stretch,
        "cavity_width": np.maximum(cavity_width - wall, 0) * hollow,
        "cavity_depth": np.maximum(cavity_depth - wall, 0) * hollow * stretch,
        "density": bone.marrow + (1 - bone.marrow) * np.sqrt(ends),
    }
    notches = (bone.first.notch * np.cos(angle), bone.last.notch * np.cos(angle))
    return Tube(start, along, length, **_single(tables), notches=notches)


def view_of_flesh(flesh: Flesh, angle: float) -> Tube:
    """Soft tissue seen at `angle`: the outer tube is skin and fat, the inner one muscle."""
    start, along, length = _projected(flesh.start, flesh.end, angle)
    knots = np.linspace(0, 1, len(flesh.widths))
    at = np.linspace(0, 1, max(8, round(length / STEP)))
    smooth = np.interp(at, knots, flesh.widths)
    reach = max(1, len(at) // (3 * len(knots)))
    padded = np.pad(smooth, reach, mode="edge")
    smooth = np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid")
    cap = 0.9 * max(smooth[0], smooth[-1]) / max(length, 1)
    opening = _closing(at, cap) * _closing(1 - at, cap)
    width, depth = _seen(smooth * opening, np.full_like(at, flesh.depth), angle)
    stretch = min(float(np.linalg.norm(np.subtract(flesh.end, flesh.start))) / length, 3.0)
    tables = {
        "centre": np.zeros_like(at),
        "width": width,
        "depth": depth * stretch,
        "cavity_width": np.maximum(width - flesh.fat, 0),
        "cavity_depth": np.maximum(depth - flesh.fat, 0) * stretch,
        "density": np.ones_like(at),
    }
    return Tube(start, along, length, **_single(tables))


def _single(tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: table.astype(np.float32) for name, table in tables.items()}


def buckled(tube: Tube, along: float, aside: float, bulge: float) -> Tube:
    """The tube with a cortex that bulges at `along`: by `bulge` mm, more on the side of `aside`."""
    bump = bulge * np.exp(-(((tube.at - along) / (0.45 * tube.width.max() + 2)) ** 2))
    bump = bump.astype(np.float32)
    return replace(
        tube,
        width=tube.width + bump / 2,
        cavity_width=tube.cavity_width + bump / 3,
        centre=tube.centre + np.float32(np.sign(aside)) * bump / 2,
    )
