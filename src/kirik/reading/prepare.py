"""A radiograph brought to a model's inputs: all of a reading that comes before the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kirik.archives import Member
from kirik.errors import RadiographError
from kirik.files import shown
from kirik.preprocessing import Preprocessing
from kirik.radiograph import TINY_RANGE, Radiograph
from kirik.reading.evidence import Frame
from kirik.stores import Remote

_LEAST_SIDE = 32
"""A radiograph with fewer pixels than this across shows no bone that could be judged."""

_LEAST_SPREAD = 0.02
"""Less than this between the 1st and 99th percentile is an empty exposure, or a lost window."""

_LITTLE_SPREAD = TINY_RANGE
"""With less than this much is lost of what a film shows; of FracAtlas's all have more than 0.2."""

_MOST_STRETCHED = 1.02
"""Pixels less square than this are finer one way than the other: no network was trained on such."""


@dataclass(frozen=True)
class Wanted:
    """What a model wants of a radiograph.

    settings: the preprocessings of its networks; the first is the model's own.
    stride: input pixels a cell of its evidence map.
    later: those of the settings that only some radiographs turn out to need.
    """

    settings: tuple[Preprocessing, ...]
    stride: int
    later: frozenset[Preprocessing] = frozenset()


@dataclass(frozen=True)
class Prepared:
    """A radiograph brought to the model's inputs; no more of its pixels is kept.

    source: what was asked for: a path, a zip's `Member`, a store's `Remote`; None for an array.
    number: its frame, from 1 on, in a file of several.
    inputs: uint8 [size, size] for each preprocessing that the model wants; for one that it may not
        need, the radiograph's levels where they weigh less, see `Later`.
    """

    source: Path | str | Member | Remote | None
    number: int | None
    inputs: dict[Preprocessing, np.ndarray]
    frame: Frame
    warnings: tuple[str, ...]

    @property
    def path(self) -> str | None:
        return None if self.source is None else str(self.source)


def prepare(
    radiograph: Radiograph, source: Path | str | Member | Remote | None, wanted: Wanted
) -> Prepared:
    """Bring a decoded radiograph to the model's inputs.

    Raises RadiographError for what shows nothing: its reason is then too_small or blank.
    """
    spread = _spread(radiograph)
    _check_shows_something(radiograph, spread, _name(radiograph, str(source or "array")))
    inputs = {
        setting: radiograph.levels
        if setting in wanted.later and _waits(radiograph, setting)
        else setting.apply(radiograph)
        for setting in wanted.settings
    }
    frame = Frame.of(radiograph, wanted.settings[0], wanted.stride)
    warnings = _warnings(radiograph, spread, frame)
    return Prepared(source, radiograph.frame, inputs, frame, warnings)


class Later:
    """Inputs of several radiographs that not all of them need: made where they are asked for.

    To enlarge a radiograph takes longer than to hand it on, and more to hand on.
    """

    def __init__(self, setting: Preprocessing, given: Sequence[np.ndarray]):
        """given: inputs, or levels, see `Prepared`."""
        self._setting, self._given = setting, list(given)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Inputs of the radiographs of these numbers, int [m]: uint8 [m, size, size]."""
        for row in rows:  # kept, as several networks may ask
            if _smaller(self._given[row], self._setting):
                self._given[row] = self._setting.of_levels(self._given[row])
        return np.stack([self._given[row] for row in rows])


def _waits(radiograph: Radiograph, setting: Preprocessing) -> bool:
    """Whether a radiograph's levels, alone, can become an input later, and weigh less."""
    return radiograph.aspect == 1 and _smaller(radiograph.levels, setting)


def _smaller(levels: np.ndarray, setting: Preprocessing) -> bool:
    """Whether levels weigh less than their input."""
    return levels.nbytes < setting.size**2


def _name(radiograph: Radiograph, where: str) -> str:
    """How an error calls it: one of several frames or pages with its number."""
    if radiograph.frame is None:
        return shown(where)
    what = "page" if radiograph.format == "TIFF" else "frame"
    return f"{shown(where)} ({what} {radiograph.frame} of {radiograph.frames})"


def _warnings(radiograph: Radiograph, spread: float, frame: Frame) -> tuple[str, ...]:
    """Stable words for what makes a reading of this radiograph doubtful."""
    # Above 2, more than half of the input's pixels would be made up.
    few = max(frame.scales) > 2
    stretched = max(radiograph.aspect, 1 / radiograph.aspect) > _MOST_STRETCHED
    pale = spread < _LITTLE_SPREAD
    return ("low_resolution",) * few + ("low_contrast",) * pale + ("pixel_aspect",) * stretched


def _spread(radiograph: Radiograph) -> float:
    """Between the 1st and the 99th percentile of its levels, as a part of their range."""
    rows, columns = radiograph.levels.shape
    step = max(1, min(rows, columns) // 96)  # enough pixels for percentiles, and quick
    some = radiograph.levels[::step, ::step].ravel()
    first, last = len(some) // 100, len(some) - 1 - len(some) // 100
    if some.dtype == np.uint8:
        up_to = np.bincount(some, minlength=256).cumsum()  # quicker than to sort
        low, high = np.searchsorted(up_to, (first, last), side="right") / 255
    else:
        low, high = np.partition(some, (first, last))[[first, last]]
    return float(high - low)


def _check_shows_something(radiograph: Radiograph, spread: float, name: str) -> None:
    """A network gives a sure answer for an empty picture, too: so that it is never asked."""
    rows, columns = radiograph.stored_size
    if min(rows, columns) < _LEAST_SIDE:
        raise RadiographError(
            f"{name}: {columns}×{rows} pixels are too few to judge (at least {_LEAST_SIDE} on each "
            "side); export it larger",
            reason="too_small",
        )
    if spread < _LEAST_SPREAD:
        raise RadiographError(
            f"{name}: nothing to see in it: all pixels are nearly alike; "
            "export it again with a window",
            reason="blank",
        )
