"""One phantom: a patient's limb, perhaps broken, as one exposure shows it.

What belongs to the patient, to the fracture, to the exposure and to its noise is drawn from
four generators, so that the same seed without its fracture gives the same radiograph elsewhere.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kirik.dataset.phantoms.anatomy import SHARES, Patient, make_patient, visible_range
from kirik.dataset.phantoms.bones import Bone, Tube, view_of_bone, view_of_flesh
from kirik.dataset.phantoms.exposure import collimation, draw_exposure, expose, marker
from kirik.dataset.phantoms.fractures import (
    FRACTURE_TYPES,
    Fracture,
    Fragment,
    fragments_of,
    make_fracture,
    outline,
)
from kirik.dataset.phantoms.hardware import add_hardware, draw_hardware
from kirik.dataset.phantoms.projection import Frame, add_bone, project_flesh
from kirik.errors import SettingsError

ASPECT = 0.82
"""Short side over long side: FracAtlas's 373 × 454."""
TILT = 8.0
"""How far a limb is turned on the film, as a standard deviation in degrees."""
SMALLEST, LARGEST = 96, 3000


@dataclass(frozen=True)
class Phantom:
    """A synthetic radiograph of which everything is known.

    pixels: float32 [rows, columns] in 0…1, bright bone on dark ground, as in a `Radiograph`.
    fracture_type: one of FRACTURE_TYPES, or None if nothing is broken.
    region: hand (with the forearm), leg or shoulder (with the upper arm), as in FracAtlas.
    view: frontal, lateral or oblique. hardware: whether screws, a plate or a nail are seen.
    polygons: an outline for each fracture, (x0, y0, x1, y1, …) in pixels, inside the image.
    spacing: distance of pixels at the detector, in millimetres. side: L or R, as on the marker.
    """

    pixels: np.ndarray
    fractured: bool
    fracture_type: str | None
    region: str
    view: str
    hardware: bool
    polygons: tuple[tuple[float, ...], ...]
    spacing: float
    side: str

    @cached_property
    def boxes(self) -> tuple[tuple[float, float, float, float], ...]:
        """(x, y, width, height) of each polygon, in pixels."""
        corners = [(p[0::2], p[1::2]) for p in self.polygons]
        return tuple((min(x), min(y), max(x) - min(x), max(y) - min(y)) for x, y in corners)


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """A generator of random numbers for one purpose of one seed, independent of all others."""
    return np.random.default_rng((seed % 2**63, *purpose))


class Exam:
    """One patient's views of one limb, the same bones and the same fracture in each.

    seed: of the patient. kind: the part of the body, by its name in PARTS; drawn if None.
    """

    def __init__(
        self,
        seed: int,
        *,
        size: int = 450,
        kind: str | None = None,
        fractured: bool | None = None,
        fracture_type: str | None = None,
    ):
        _check(size, fractured, fracture_type)
        self.seed, self.size = seed, size
        rng = generator(seed, 1)
        drawn = str(rng.choice(list(SHARES), p=list(SHARES.values())))
        self.patient: Patient = make_patient(generator(seed, 2), kind or drawn)
        self.hardware = draw_hardware(generator(seed, 3), self.patient)
        order = rng.permutation(len(self.patient.part.views))
        self.views = tuple(self.patient.part.views[i] for i in order)
        self.landscape = bool(rng.random() < 0.2)
        self.quarters = self._quarters(rng)
        drawn_fractured = bool(rng.random() < 0.5)
        self.fractured = drawn_fractured if fractured is None else fractured
        if fractured is None and fracture_type is not None:
            self.fractured = True
        self.fractures = self._break(fracture_type) if self.fractured else ()

    def _quarters(self, rng: np.random.Generator) -> int:
        """Quarter turns of the limb on the film."""
        if self.landscape:
            return int(rng.choice([1, 3]))
        return 2 if rng.random() < self.patient.part.upturned else 0

    def _break(self, kind: str | None) -> tuple[Fracture, ...]:
        rng = generator(self.seed, 4)
        drawn = FRACTURE_TYPES[rng.integers(len(FRACTURE_TYPES))]
        part = self.patient.part
        names = list(part.breakable)
        bone = str(rng.choice(names, p=list(part.breakable.values())))
        bones = [bone]
        if bone in ("radius", "ulna") and rng.random() < 0.35:
            bones = ["radius", "ulna"]
        return tuple(self._fracture(rng, name, kind or drawn) for name in bones)

    def _fracture(self, rng: np.random.Generator, name: str, kind: str) -> Fracture:
        bone = next(b for b in self.patient.bones if b.name == name)
        at = float(rng.uniform(*visible_range(bone, self.patient)))
        return make_fracture(rng, name, kind, at)

    def view(self, number: int) -> Phantom:
        """The exam's view of this number, counted from 0; views repeat after the last."""
        name, degrees = self.views[number % len(self.views)]
        rng = generator(self.seed, 5, number)
        angle = float(np.deg2rad(degrees + rng.normal(0, 7)))
        exposure = draw_exposure(rng)
        frame = self._frame(rng)
        corners = rng.permutation(6)
        flesh = project_flesh(frame, [view_of_flesh(f, angle) for f in self.patient.flesh])
        flesh = np.maximum(flesh, 0) * np.float32(exposure.softness)
        unbroken, absorption, outlines = self._bones(frame, flesh, angle)
        overlays = collimation(exposure, frame.rows, frame.columns)
        letter = marker(exposure, self.patient.side, flesh, corners)
        # A white border is the blades' shadow, a black one is painted over it by the display.
        lead = letter if exposure.shutter == "black" else np.maximum(overlays, letter)
        noise = generator(self.seed, 6, number)
        pixels = expose(absorption, unbroken, lead, exposure, frame.spacing, noise)
        if exposure.shutter == "black":
            pixels *= 1 - overlays
        return Phantom(
            pixels,
            self.fractured,
            self.fractures[0].kind if self.fractures else None,
            self.patient.part.region,
            name,
            self.hardware is not None,
            tuple(_inside(frame, points) for points in outlines),
            frame.spacing,
            self.patient.side,
        )

    def _frame(self, rng: np.random.Generator) -> Frame:
        long, short = self.size, round(self.size * ASPECT)
        rows, columns = (short, long) if self.landscape else (long, short)
        turn = np.deg2rad(TILT * np.clip(rng.normal(), -2, 2)) + self.quarters * np.pi / 2
        reach = np.array([self.patient.part.aside, 0.03]) * self.patient.height
        centre = tuple((np.array(self.patient.centre) + rng.uniform(-reach, reach)).tolist())
        return Frame(rows, columns, self.patient.height / long, centre, float(turn))

    def _bones(
        self, frame: Frame, flesh: np.ndarray, angle: float
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Absorption of the limb unbroken and as it is, and the outlines of its fractures."""
        common = flesh.copy()
        broken = {fracture.bone: fracture for fracture in self.fractures}
        tubes = {
            bone.name: view_of_bone(bone, angle)
            for bone in self.patient.bones
            if self._in_field(bone)
        }
        for number, bone in enumerate(self.patient.bones):
            if bone.name in tubes and bone.name not in broken:
                add_bone(common, frame, tubes[bone.name], texture=self._texture(number))
        if self.hardware is not None:
            add_hardware(common, frame, self.hardware, tubes[self.hardware.bone], angle)
        if not broken:
            return common, common, []
        unbroken, absorption, outlines = common.copy(), common, []
        for number, bone in enumerate(self.patient.bones):
            if bone.name in broken:
                texture = self._texture(number)
                add_bone(unbroken, frame, tubes[bone.name], texture=texture)
                pieces = fragments_of(broken[bone.name], tubes[bone.name], angle)
                add_bone(absorption, frame, *pieces, texture=texture)
                outlines.append(_outline(frame, *pieces, broken[bone.name]))
        return unbroken, absorption, outlines

    def _in_field(self, bone: Bone) -> bool:
        """Whether any of it can lie in the field; most bones of a limb do not, which saves time."""
        reach = 0.65 * self.patient.height + 30
        heights = sorted((bone.start[1], bone.end[1]))
        y = self.patient.centre[1]
        return heights[0] < y + reach and heights[1] > y - reach

    def _texture(self, number: int) -> int:
        return int((self.seed * 7919 + number * 104729) % 65536)


def _outline(
    frame: Frame, tube: Tube, pieces: tuple[Fragment, ...], fracture: Fracture
) -> np.ndarray:
    width = float(np.interp(fracture.at * tube.length, tube.at, tube.width))
    # A buckled cortex bulges for some way above and below its crack.
    share = 0.7 if fracture.kind == "greenstick" else 0.2
    return frame.pixels(outline(tube, pieces, max(1.5, share * width, 1.5 * frame.spacing)))


def _inside(frame: Frame, points: np.ndarray) -> tuple[float, ...]:
    inside = np.clip(points, 0, [frame.columns, frame.rows])
    return tuple(float(v) for v in np.round(inside, 2).ravel())


def _check(size: int, fractured: bool | None, fracture_type: str | None) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise SettingsError(f"size {size}: a phantom has {SMALLEST} to {LARGEST} pixels a side")
    if fracture_type is not None and fracture_type not in FRACTURE_TYPES:
        known = ", ".join(FRACTURE_TYPES)
        raise SettingsError(f"fracture type {fracture_type!r} is unknown; there are {known}")
    if fracture_type is not None and fractured is False:
        raise SettingsError("a phantom that is not fractured has no fracture type; leave one out")


def make_phantom(
    seed: int, *, size: int = 450, fractured: bool | None = None, fracture_type: str | None = None
) -> Phantom:
    """A synthetic radiograph, the same for the same arguments.

    size: of the longer side, in pixels. fractured: None draws it, evenly. fracture_type: one of
    FRACTURE_TYPES; None draws it. The same seed with `fractured=False` gives the same scene,
    exposure and noise with the bone whole. Raises SettingsError.
    """
    return Exam(seed, size=size, fractured=fractured, fracture_type=fracture_type).view(0)
