"""Patients: which part of a limb is radiographed, and how bones differ from one to the next."""

from dataclasses import dataclass, replace

import numpy as np

from kirik.dataset.phantoms.bones import Bone, Flesh
from kirik.dataset.phantoms.limbs import arm, leg


@dataclass(frozen=True)
class Part:
    """What one exam shows of a limb.

    region: FracAtlas's word. centre: of the field, x and y in mm. height: of the field in mm.
    slack: how far up or down the limb the field may be moved, in mm.
    breakable: bones that may be fractured here, and how often each is.
    views: name and angle in degrees.
    """

    limb: str
    region: str
    centre: tuple[float, float]
    height: tuple[float, float]
    slack: float
    breakable: dict[str, float]
    views: tuple[tuple[str, float], ...]


ALL_VIEWS = (("frontal", 0.0), ("lateral", 90.0), ("oblique", 40.0))
FLAT_VIEWS = (("frontal", 0.0), ("oblique", 35.0))
PARTS = {
    "lower leg": Part(
        "leg", "leg", (0, 190), (280, 400), 70, {"tibia": 0.8, "fibula": 0.2}, ALL_VIEWS
    ),
    "thigh": Part("leg", "leg", (0, -110), (270, 340), 35, {"femur": 1.0}, ALL_VIEWS),
    "forearm": Part(
        "arm", "hand", (3, 125), (230, 300), 40, {"radius": 0.55, "ulna": 0.45}, ALL_VIEWS
    ),
    "hand": Part(
        "arm",
        "hand",
        (5, 345),
        (205, 240),
        5,
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
    "upper arm": Part("arm", "shoulder", (-25, -175), (300, 350), 35, {"humerus": 1.0}, FLAT_VIEWS),
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
    bones, flesh = arm(rng, torso=name == "upper arm") if part.limb == "arm" else leg(rng)
    sturdy = rng.uniform(0.88, 1.12)
    cortex = rng.uniform(0.82, 1.1)
    # Limbs are symmetric: a left one is a right one's mirror image.
    side = "LR"[rng.integers(2)]
    mirror = 1 if side == "R" else -1
    height = rng.uniform(*part.height)
    slack = rng.uniform(-part.slack, part.slack)
    centre = (part.centre[0] * mirror, part.centre[1] + slack)
    bowed = rng.normal(0, 0.006, len(bones))
    bones = [_individual(b, sturdy, cortex, mirror, w) for b, w in zip(bones, bowed, strict=True)]
    flesh = [
        replace(f, start=_mirrored(f.start, mirror), end=_mirrored(f.end, mirror)) for f in flesh
    ]
    return Patient(part, side, tuple(bones), tuple(flesh), centre, height)


def visible_range(bone: Bone, patient: Patient) -> tuple[float, float]:
    """Fractions of the bone's length, away from its joints, that every view of the exam shows."""
    start, end = bone.start[1], bone.end[1]
    middle, reach = patient.centre[1], 0.3 * patient.height
    low, high = sorted((y - start) / (end - start) for y in (middle - reach, middle + reach))
    return max(0.16, low), min(0.84, high)


def _mirrored(point: tuple[float, float, float], mirror: int) -> tuple[float, float, float]:
    return (point[0] * mirror, point[1], point[2])


def _individual(bone: Bone, sturdy: float, cortex: float, mirror: int, bowed: float) -> Bone:
    # A tube's left hand is fixed to its axis, so that its own shifts to the side turn their sign.
    first = replace(bone.first, width=bone.first.width * sturdy, lean=-bone.first.lean * mirror)
    last = replace(bone.last, width=bone.last.width * sturdy, lean=-bone.last.lean * mirror)
    return replace(
        bone,
        start=_mirrored(bone.start, mirror),
        end=_mirrored(bone.end, mirror),
        shaft=bone.shaft * sturdy,
        cortex=bone.cortex * sturdy * cortex,
        bow=(bowed * bone.length - bone.bow[0] * mirror, bone.bow[1]),
        first=first,
        last=last,
    )
