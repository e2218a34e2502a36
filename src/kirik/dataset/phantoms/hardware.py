"""Metal in bone: a plate with screws, single screws, or a nail, in whole and broken bones alike."""

from dataclasses import dataclass

import numpy as np

from kirik.dataset.phantoms.anatomy import Patient, visible_range
from kirik.dataset.phantoms.bones import Tube
from kirik.dataset.phantoms.projection import STEEL, Frame, window_of

SHARE = 0.06
"""How often a patient has hardware."""


@dataclass(frozen=True)
class Hardware:
    """Metal on one bone: its kind, the fractions of the bone's length that it spans, and the
    direction (radians round the bone) on which a plate lies."""

    kind: str
    bone: str
    span: tuple[float, float]
    direction: float


def draw_hardware(rng: np.random.Generator, patient: Patient) -> Hardware | None:
    """The patient's hardware, if there is any."""
    if rng.random() >= SHARE:
        return None
    bone = str(rng.choice(list(patient.part.breakable)))
    kind = str(rng.choice(["plate", "screws", "nail"], p=[0.5, 0.25, 0.25]))
    if "metacarpal" in bone or "phalanx" in bone:
        kind = "nail"
    carrier = next(b for b in patient.bones if b.name == bone)
    middle, half = rng.uniform(*visible_range(carrier, patient)), rng.uniform(0.07, 0.15)
    span = (float(middle - half), float(middle + half))
    return Hardware(kind, bone, (0.1, 0.9) if kind == "nail" else span, float(rng.uniform(0, 6.28)))


def add_hardware(
    absorption: np.ndarray, frame: Frame, hardware: Hardware, tube: Tube, angle: float
) -> None:
    """Add what the metal absorbs, as seen at `angle` (radians)."""
    window = window_of(frame, tube, 6.0)
    if window is None:
        return
    sample = np.clip(window.along / tube.length, 0, 1) * (len(tube.width) - 1)
    aside = window.aside - tube.centre[sample.astype(np.intp)]
    low, high = (share * tube.length for share in hardware.span)
    radius = float(np.interp((low + high) / 2, tube.at, tube.width))
    turned = hardware.direction - angle
    if hardware.kind == "nail":
        metal = _rod(window.along, aside, (low, high), 0.0, max(0.6, 0.28 * radius))
    else:
        metal = _screws(window.along, aside, (low, high), radius, turned)
    if hardware.kind == "plate":
        metal += _plate(window.along, aside, (low, high), radius, turned)
    absorption[window.place] += np.float32(STEEL) * np.minimum(metal, 4)


def _rod(
    along: np.ndarray, aside: np.ndarray, span: tuple[float, float], centre: float, radius: float
) -> np.ndarray:
    """Chord of a rod that lies along the bone."""
    chord = 2 * np.sqrt(np.maximum(radius**2 - (aside - np.float32(centre)) ** 2, 0))
    return chord * _between(along, *span)


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(values - np.float32(low), 0, 1) * np.clip(np.float32(high) - values, 0, 1)


def _plate(
    along: np.ndarray, aside: np.ndarray, span: tuple[float, float], radius: float, turned: float
) -> np.ndarray:
    """A plate on the bone's surface: broad and thin from the front, narrow and dense from aside."""
    centre = (radius + 1.5) * np.sin(turned)
    half = 1.6 + 0.35 * radius * abs(np.cos(turned))
    thick = 2.4 + 3.0 * abs(np.sin(turned))
    return (
        np.float32(thick)
        * _between(along, *span)
        * _between(aside, centre - half - 0.5, centre + half + 0.5)
    )


def _screws(
    along: np.ndarray, aside: np.ndarray, span: tuple[float, float], radius: float, turned: float
) -> np.ndarray:
    """Screws across the bone, one each 13 mm or so; seen end-on they are short and dense."""
    total = np.zeros_like(aside)
    reach = (radius + 2.5) * abs(np.sin(turned)) + 1.6
    for place in np.linspace(span[0] + 4, span[1] - 4, max(2, round((span[1] - span[0]) / 13))):
        across = along - np.float32(place)
        # The thread shows as a fine ripple of the screw's width.
        thread = np.float32(1.3) + np.float32(0.25) * np.sin(aside * np.float32(5))
        chord = 2 * np.sqrt(np.maximum(thread**2 - across**2, 0))
        total += chord * _between(aside, -reach, reach)
    return total
