"""Patients: which part of a limb is radiographed, and how bones differ from one to the next."""

from dataclasses import dataclass, replace

import numpy as np

from kirik.dataset.phantoms.bones import Bone, End, Flesh, Point
from kirik.dataset.phantoms.limbs import arm, leg
from kirik.dataset.phantoms.pose import moved, posed


@dataclass(frozen=True)
class Part:
    """What one exam shows of a limb.

    region: FracAtlas's word. centre: of the field, x and y in mm. height: of the field in mm.
    slack: how far up or down the limb the field may be moved, in mm. aside: how far across it, as
    a share of the field's height. upturned: how often the limb lies with its tip up.
    breakable: bones that may be fractured here, and how often each is.
    views: name and angle in degrees.
    """

    limb: str
    region: str
    centre: tuple[float, float]
    height: tuple[float, float]
    slack: float
    aside: float
    upturned: float
    breakable: dict[str, float]
    views: tuple[tuple[str, float], ...]


ALL_VIEWS = (("frontal", 0.0), ("lateral", 90.0), ("oblique", 40.0))
FLAT_VIEWS = (("frontal", 0.0), ("oblique", 35.0))
PARTS = {
    "lower leg": Part(
        "leg", "leg", (0, 190), (235, 400), 85, 0.1, 0.08, {"tibia": 0.8, "fibula": 0.2}, ALL_VIEWS
    ),
    "thigh": Part("leg", "leg", (0, -110), (230, 350), 45, 0.08, 0.08, {"femur": 1.0}, ALL_VIEWS),
    "forearm": Part(
        "arm",
        "hand",
        (3, 125),
        (185, 310),
        50,
        0.12,
        0.35,
        {"radius": 0.55, "ulna": 0.45},
        ALL_VIEWS,
    ),
    "hand": Part(
        "arm",
        "hand",
        (5, 345),
        (170, 265),
        14,
        0.05,
        0.6,
        {
            "metacarpal index": 0.18,
            "metacarpal middle": 0.18,
            "metacarpal ring": 0.2,
            "metacarpal little": 0.24,
            "phalanx 1 index": 0.07,
            "phalanx 1 middle": 0.07,
            "phalanx 1 ring": 0.06,
        },
        FLAT_VIEWS,
    ),
    "upper arm": Part(
        "arm", "shoulder", (-25, -175), (250, 370), 45, 0.08, 0.08, {"humerus": 1.0}, FLAT_VIEWS
    ),
}
SHARES = {"lower leg": 0.32, "thigh": 0.12, "forearm": 0.26, "hand": 0.2, "upper arm": 0.1}


@dataclass(frozen=True)
class Patient:
    """One patient's limb as an exam shows it, all lengths in millimetres; side is L or R."""

    part: Part
    side: str
    bones: tuple[Bone, ...]
    flesh: tuple[Flesh, ...]
    centre: tuple[float, float]
    height: float


def make_patient(rng: np.random.Generator, name: str) -> Patient:
    """A patient whose exam shows the part of this name."""
    part = PARTS[name]
    chain = arm(rng, torso=name == "upper arm") if part.limb == "arm" else leg(rng)
    chain = posed(rng, chain, name)
    build = _draw_build(rng)
    height = rng.uniform(*part.height)
    slack = rng.uniform(-part.slack, part.slack)
    centre = build.placed((part.centre[0], part.centre[1] + slack, 0))
    bones = [_individual(rng, bone, build) for segment in chain for bone in segment.bones]
    flesh = [moved(flesh, build.placed) for segment in chain for flesh in segment.flesh]
    side = "R" if build.mirror == 1 else "L"
    return Patient(part, side, tuple(bones), tuple(flesh), centre[:2], height)


def visible_range(bone: Bone, patient: Patient) -> tuple[float, float]:
    """Fractions of the bone's length, away from its joints, that every view of the exam shows."""
    start, end = bone.start[1], bone.end[1]
    middle, reach = patient.centre[1], 0.3 * patient.height
    low, high = sorted((y - start) / (end - start) for y in (middle - reach, middle + reach))
    return max(0.16, low), min(0.84, high)


@dataclass(frozen=True)
class _Build:
    """How one patient's limb differs from the usual: factors of length, breadth and so on."""

    tall: float
    broad: float
    sturdy: float
    cortex: float
    mirror: int

    def placed(self, point: Point) -> Point:
        """A point of the usual limb in the patient's; limbs are symmetric, so a left one is a right
        one's mirror image."""
        return (point[0] * self.broad * self.mirror, point[1] * self.tall, point[2] * self.broad)


def _draw_build(rng: np.random.Generator) -> _Build:
    sturdy = rng.uniform(0.84, 1.18)
    return _Build(
        tall=rng.uniform(0.9, 1.1),
        broad=sturdy * rng.uniform(0.9, 1.12),
        sturdy=sturdy,
        cortex=rng.uniform(0.8, 1.12),
        mirror=int(rng.choice([-1, 1])),
    )


def _individual(rng: np.random.Generator, bone: Bone, build: _Build) -> Bone:
    bowed = rng.normal(0, 0.009, 2) * bone.length
    return replace(
        moved(bone, build.placed),
        shaft=bone.shaft * build.sturdy * rng.normal(1, 0.04),
        cortex=bone.cortex * build.sturdy * build.cortex,
        bow=(bowed[0] - bone.bow[0] * build.mirror, bone.bow[1] + bowed[1]),
        first=_individual_end(rng, bone.first, build),
        last=_individual_end(rng, bone.last, build),
    )


def _individual_end(rng: np.random.Generator, end: End, build: _Build) -> End:
    # A tube's left hand is fixed to its axis, so that its own shifts to the side turn their sign.
    return replace(
        end,
        width=end.width * build.sturdy * rng.normal(1, 0.04),
        flare=end.flare * rng.uniform(0.85, 1.15),
        lean=-end.lean * build.mirror + rng.normal(0, 0.04) * end.width,
    )
