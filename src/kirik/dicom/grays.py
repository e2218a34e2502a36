"""Stored values into the grays that a viewer shows.

The steps follow DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT, VOI LUT or window, then the
presentation LUT's shape or photometric interpretation. They run over a table of all stored values
that occur rather than over the pixels, which is exact and many times faster.
"""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from pydicom import Dataset

from kirik.radiograph import RAW_RANGE, TINY_RANGE

_NARROW, _FEW = 0.02, 0.005
"""A window is absurd if it leaves less than the former share of the pixels that are not black
between black and white, or if less than the latter share of all are not black."""

BINARY = ("FD", "FL", "US", "SS", "UL", "SL")
_MOST_OFFERED = 32
"""Of LUTs, and of windows, so many are looked at: each costs as much as all of a small frame."""

_BLOCK = 2**17
"""Pixels that are counted, or looked up, at a time: as indices they take eight bytes each."""

Formula = Callable[[np.ndarray], np.ndarray]


def shown(stored: np.ndarray, bits: int, open_: np.ndarray | None, dataset: Dataset) -> np.ndarray:
    """One sample a pixel as a viewer shows it, float32 [rows, columns] in 0…1.

    stored: whole numbers [rows, columns]. bits: how many of them each has, which may be fewer than
    the file tells. open_: bool, what no shutter covers and so counts for a window; None for all.
    """
    values = np.arange(int(stored.min()), int(stored.max()) + 1, dtype=np.int32)
    padding = _padding(values, stored.dtype, dataset)
    counts = _counts(stored, values, padding, open_)
    table = _gray_table(values, bits, counts, dataset)
    if _is_inverted(dataset):
        table = 1 - table
    if padding is not None:
        table[padding] = 0
    pixels = np.empty(stored.shape, np.float32)
    for rows in _blocks(stored):
        pixels[rows] = table[_places(stored[rows], values)]
    return pixels


def _is_inverted(dataset: Dataset) -> bool:
    """Whether black is the most of what the window gives: by the presentation LUT's shape, which
    stands for the whole last step, else by the photometric interpretation."""
    shape = str(dataset.get("PresentationLUTShape") or "").strip().upper()
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return dataset.PhotometricInterpretation == "MONOCHROME1"


def _blocks(stored: np.ndarray) -> Iterator[slice]:
    rows = max(1, _BLOCK // stored.shape[1])
    return (slice(start, start + rows) for start in range(0, len(stored), rows))


def _places(stored: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where stored values stand among all of them."""
    return np.subtract(stored, values[0], dtype=np.intp)


def _padding(values: np.ndarray, dtype: np.dtype, dataset: Dataset) -> np.ndarray | None:
    """bool [values]: with which the image was filled up; None if with none or with all of them."""
    value = _whole(dataset, "PixelPaddingValue", dtype)
    if value is None:
        return None
    limit = _whole(dataset, "PixelPaddingRangeLimit", dtype)
    limit = value if limit is None else limit
    padding = (values >= min(value, limit)) & (values <= max(value, limit))
    return padding if padding.any() and not padding.all() else None


def _whole(dataset: Dataset, keyword: str, dtype: np.dtype) -> int | None:
    """A stored value named in the header; some write it in the other signedness."""
    value = dataset.get(keyword)
    if not isinstance(value, int):
        return None
    if dtype.kind == "i":
        return value - 2**16 if value >= 2**15 else value
    return value % 2**16 if value < 0 else value


def _counts(
    stored: np.ndarray, values: np.ndarray, padding: np.ndarray | None, open_: np.ndarray | None
) -> np.ndarray:
    """How many pixels have each value, without padding, shutters and burned-in borders."""
    within = _within_border(stored, (values[0], values[-1]))
    counts = _histogram(stored[within], values, None if open_ is None else open_[within])
    if padding is not None:
        counts[padding] = 0
    return counts if counts.any() else _histogram(stored, values, None)


def _histogram(stored: np.ndarray, values: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """How many pixels have each value; seen: bool, those that count, None for all."""
    counts = np.zeros(len(values), np.int64)
    for rows in _blocks(stored):
        block = stored[rows] if seen is None else stored[rows][seen[rows]]
        counts += np.bincount(_places(block, values).ravel(), minlength=len(values))
    return counts


def _within_border(stored: np.ndarray, extremes: tuple[int, int]) -> tuple[slice, slice]:
    """The part that is left without borders: lines at an edge, more than one and 1 % of the side,
    that are all of the darkest or the brightest stored value; everything, if nothing is left."""
    slices = []
    for lines in (stored, stored.T):
        before, after = _flat(lines, extremes), _flat(lines[::-1], extremes)
        if before == len(lines):
            return slice(None), slice(None)
        slices.append(slice(before, len(lines) - after))
    return slices[0], slices[1]


def _flat(lines: np.ndarray, values: tuple[int, int]) -> int:
    """How many of the first lines are a border, each of one of these values."""
    count = 0
    for line in lines:
        if line[0] not in values or (line != line[0]).any():
            break
        count += 1
    return count if count > max(1, len(lines) / 100) else 0


def _gray_table(values: np.ndarray, bits: int, counts: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The shown gray, float32 in 0…1, of each stored value.

    counts: how many of the pixels that matter have each of these values.
    """
    modality, usual = _modality(values, dataset), _usual(counts)
    for formula in _voi(dataset, bits):
        table = np.clip(formula(modality), 0, 1)
        if _makes_sense(table, counts, usual, dataset):
            return table.astype(np.float32)
    low, high = sorted(modality[usual].astype(np.float64))
    if _is_made_for_display(modality, values, bits, dataset) and high - low >= 255 * TINY_RANGE:
        low, high = 0, 255
    table = (modality - low) / max(high - low, 1e-9)
    return np.clip(table, 0, 1).astype(np.float32)


def _usual(counts: np.ndarray) -> np.ndarray:
    """Where the 0.5th and the 99.5th percentile of pixels lie, so many of which have each value."""
    return np.searchsorted(np.cumsum(counts) / counts.sum(), (0.005, 0.995))


def _makes_sense(
    table: np.ndarray, counts: np.ndarray, usual: np.ndarray, dataset: Dataset
) -> bool:
    """Whether a window or a LUT shows what is there. What it shows black counts for little: around
    a finger nearly all of a film is."""
    if not np.isfinite(table).all():
        return False
    if usual[0] == usual[1]:
        return True
    grays = 1 - table if _is_inverted(dataset) else table
    present = grays[counts > 0]
    seen = np.where(grays > 0, counts, 0)
    if np.ptp(present) <= RAW_RANGE or seen.sum() < _FEW * counts.sum():
        return False
    darkest, brightest = grays[_usual(seen)]
    between = seen[grays < 1].sum()
    return abs(brightest - darkest) >= TINY_RANGE and between >= _NARROW * seen.sum()


def _is_made_for_display(
    modality: np.ndarray, values: np.ndarray, bits: int, dataset: Dataset
) -> bool:
    """Whether these are the 8 bits of an export, whose grays are those to be shown."""
    eight = bits == 8 and dataset.PixelRepresentation == 0
    return eight and np.array_equal(modality, values)


def _modality(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Stored values in the units of the windows; as they are, if that would leave but one."""
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        result = _looked_up(values, sequence[0], dataset)[0]
    else:
        slope, intercept = (
            _first(dataset, "RescaleSlope", 1),
            _first(dataset, "RescaleIntercept", 0),
        )
        result = values * slope + intercept
    usable = np.isfinite(result).all() and (result[0] != result[-1] or len(result) == 1)
    return result if usable else values.astype(np.float64)


def _first(dataset: Dataset, keyword: str, otherwise: float) -> float:
    found = numbers(dataset, keyword)
    return found[0] if found and not np.isnan(found[0]) else float(otherwise)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The first numbers that an element's text holds, NaN in the place of what is none.

    Not by pydicom, to which one bad value, or a decimal comma, spoils those beside it; but for
    numbers that some write in binary instead.
    """
    if keyword not in dataset:
        return []
    element = dataset.get_item(keyword)
    value = element.value
    if isinstance(value, bytes) and element.VR in BINARY:
        value = dataset[keyword].value
    if isinstance(value, bytes):
        text = value.decode("latin-1")
    elif isinstance(value, str | float | int | None):
        text = "" if value is None else str(value)
    else:
        text = "\\".join(map(str, value))
    return [number(part) for part in text.split("\\", _MOST_OFFERED)[:_MOST_OFFERED]]


def number(text: str) -> float:
    """What a decimal string says, also with a decimal comma; NaN if it is no number."""
    try:
        value = float(text.replace(",", ".").strip(" \0"))
    except ValueError:
        return np.nan
    return value if abs(value) < 1e15 else np.nan


def _voi(dataset: Dataset, bits: int) -> Iterator[Formula]:
    """What the file offers to make grays of modality values, its first choice first."""
    yield from _luts(dataset)
    # A stream of 8 bits in a file that tells more was made of what the window belongs to, and a
    # window that ends above what it can hold is none of its own.
    is_export = bits == 8 < dataset.BitsStored
    extremes = _modality(np.array([0, 255], np.int32), dataset)
    for formula in _windows(dataset):
        if not is_export or formula(extremes).max() >= 0.98:
            yield formula


def _luts(dataset: Dataset) -> Iterator[Formula]:
    for item in islice(dataset.get("VOILUTSequence") or (), _MOST_OFFERED):
        if "LUTData" in item and "LUTDescriptor" in item:
            yield lambda x, item=item: _by_lut(x, item, dataset)


def _windows(dataset: Dataset) -> Iterator[Formula]:
    centers, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    for center, width in zip(centers, widths, strict=False):
        if np.isnan((center, width)).any():
            continue
        if function == "SIGMOID" and width > 0:
            yield lambda x, c=center, w=width: _sigmoid(x, c, w)
        elif function == "LINEAR_EXACT" and width > 0:
            yield lambda x, c=center, w=width: (x - c) / w + 0.5
        elif width > 1:
            yield lambda x, c=center, w=width: (x - (c - 0.5)) / (w - 1) + 0.5


def _sigmoid(values: np.ndarray, center: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))


def _by_lut(modality: np.ndarray, item: Dataset, dataset: Dataset) -> np.ndarray:
    try:
        shown, entries = _looked_up(np.rint(modality), item, dataset)
        full = 2.0 ** item.LUTDescriptor[2] - 1
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError):
        return np.full(len(modality), np.nan)
    # Some tell 16 bits of a table that has 12 or 14, which would show it nearly black.
    most = entries.max()
    return shown / (full if full * RAW_RANGE < most <= full else max(most, 1))


def _looked_up(
    values: np.ndarray, item: Dataset, dataset: Dataset
) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers through one LUT of a sequence, and the LUT's entries.

    Not by pydicom, which indexes a table of 8-bit entries by 8 bits and refuses 12-bit entries.
    """
    entries, first, _ = item.LUTDescriptor
    entries = entries % 2**16 or 2**16
    if first >= 2**15 and values.max() < 2**15:
        first -= 2**16  # a signed number, written as an unsigned one
    table = item.LUTData
    if isinstance(table, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        single = len(table) < 2 * entries
        table = np.frombuffer(
            table if single else table[: 2 * entries], np.uint8 if single else f"{order}u2"
        )
    table = np.asarray(table, np.float64).reshape(-1)[:entries]
    places = np.clip(np.asarray(values, np.float64) - first, 0, len(table) - 1)
    return table[places.astype(np.int64)], table
