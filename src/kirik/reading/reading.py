"""What a reading is: one radiograph judged, or the reason why it could not be."""

from dataclasses import dataclass, field

import numpy as np

from kirik.operating_points import OperatingPoints


@dataclass(frozen=True)
class Finding:
    """A box around evidence of a fracture, in pixels of the file as stored.

    x, y: left and top edge. score: the highest evidence within, 0…1. millimetres: width and height
    by PixelSpacing, else by the spacing on the detector, its magnification taken out if told, where
    the file tells one.
    """

    x: float
    y: float
    width: float
    height: float
    score: float
    millimetres: tuple[float, float] | None = None


@dataclass(frozen=True)
class Peak:
    """Where the evidence is highest, in pixels of the file as stored, and how high (0…1)."""

    x: float
    y: float
    score: float


@dataclass(frozen=True, eq=False)
class Reading:
    """One radiograph, judged by one model.

    path: as it was asked for; None for an array.
    decision: fracture, uncertain or no_fracture; the likeliest class's name where no class means
        "no fracture"; out_of_scope for what is no radiograph of the kind that the model knows, of
        which nothing else is said.
    probability: of a fracture, 0…1; None where no class means "no fracture", or out of scope.
    probabilities: by class, in the model's order; they sum to 1. Empty out of scope.
    model: its name, and its version where that is not the first.
    frame: its number, from 1 on, in a file of several frames; else None.
    source: what was asked for: a path, a zip's `Member`, or None for an array.
    attributes: what the model tells beside that, such as region:hand or hardware, 0…1.
    strangeness: how unlike those trained on it is; None where the model cannot tell.
    findings: highest score first; none where the decision is no_fracture, and with the others at
        least the strongest, if its score is 0.02 or more.
    peak: None where the model gives no evidence map.
    evidence: float32 [rows, columns] in 0…1, spanning the radiograph turned upright; or None.
    points: the operating points by which the probability became the decision; None without.
    warnings: stable words for what makes the reading doubtful: low_resolution,
        low_contrast, pixel_aspect.
    """

    path: str | None
    decision: str
    probability: float | None
    probabilities: dict[str, float]
    model: str
    frame: int | None = None
    source: object = field(default=None, repr=False)
    attributes: dict[str, float] = field(default_factory=dict)
    strangeness: float | None = None
    findings: tuple[Finding, ...] = ()
    peak: Peak | None = None
    evidence: np.ndarray | None = field(default=None, repr=False)
    points: OperatingPoints | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A file, or a frame of it, that could not be read: one line for a person, one stable word for
    a program.

    path: as it was asked for; None for what is no file.
    """

    path: str | None
    error: str
    reason: str
    frame: int | None = None


def failure_of(path: object | None, error: Exception) -> Failure:
    """The failure that an exception stands for; its message made one line. path: None for what is
    no file."""
    message = " ".join(str(error).split()) or type(error).__name__
    reason = getattr(error, "reason", None) or "unreadable"
    where = None if path is None else str(path)
    return Failure(where, message, reason, getattr(error, "frame", None))
