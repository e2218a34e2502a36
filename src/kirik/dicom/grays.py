"""Stored values into the grays that a viewer shows.

The steps follow DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT, VOI LUT or window, then
photometric interpretation. They run over a table of all stored values that occur rather than
over the pixels, which is exact and many times faster.
"""

from collections.abc import Callable, Iterator

import numpy as np
from pydicom import Dataset

from kirik.radiograph import TINY_RANGE

_NARROW = 0.02
"""A window that leaves the image's 0.5th to 99.5th percentile less of the scale is absurd, and so
is one that leaves less than this share of the pixels between black and white."""

Formula = Callable[[np.ndarray], np.ndarray]


def shown(stored: np.ndarray, open_: np.ndarray | None, dataset: Dataset) -> np.ndarray:
    """One sample a pixel as a viewer shows it, float32 [rows, columns] in 0…1.

    stored: whole numbers [rows, columns]. open_: bool, what no shutter covers; None for all.
    """
    hidden = _padding(stored, dataset)
    if open_ is not None:
        hidden = ~open_ if hidden is None else hidden | ~open_
    first = int(stored.min())
    places = stored.astype(np.int32) - first
    length = int(places.max()) + 1
    table = _gray_table(first, _counts(places, hidden, length), dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        table = 1 - table
    pixels = table[places]
    if hidden is not None:
        pixels[hidden] = 0
    return pixels


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """bool [rows, columns]: where the image was filled up; None if nowhere or everywhere."""
    value = _whole(dataset, "PixelPaddingValue", stored.dtype)
    if value is None:
        return None
    limit = _whole(dataset, "PixelPaddingRangeLimit", stored.dtype)
    limit = value if limit is None else limit
    padding = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return padding if padding.any() and not padding.all() else None


def _whole(dataset: Dataset, keyword: str, dtype: np.dtype) -> int | None:
    """A stored value named in the header; some write it in the other signedness."""
    value = dataset.get(keyword)
    if not isinstance(value, int):
        return None
    if dtype.kind == "i":
        return value - 2**16 if value >= 2**15 else value
    return value % 2**16 if value < 0 else value


def _counts(places: np.ndarray, hidden: np.ndarray | None, length: int) -> np.ndarray:
    """How many pixels have each value, without padding, shutters and burned-in borders."""
    rows, columns = _within_border(places)
    if hidden is not None:
        seen = places[rows, columns][~hidden[rows, columns]]
        seen = seen if seen.size else places
    else:
        seen = places[rows, columns]
    return np.bincount(seen.ravel(), minlength=length)


def _within_border(places: np.ndarray) -> tuple[slice, slice]:
    """The part that is left without borders: lines at an edge, more than one and 1 % of the side,
    that are all of the darkest or the brightest stored value; everything, if nothing is left."""
    extremes = (0, int(places.max()))
    slices = []
    for lines in (places, places.T):
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


def _gray_table(first: int, counts: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The shown gray, float32 in 0…1, of the stored values `first`, `first` + 1, …

    counts: how many of the pixels that matter have each of these values.
    """
    values = np.arange(first, first + len(counts), dtype=np.int32)
    share = np.cumsum(counts) / counts.sum()
    usual = np.searchsorted(share, (0.005, 0.995))
    modality = _modality(values, dataset)
    told = list(_voi(modality, dataset))
    for formula in told:
        table = np.clip(formula(modality), 0, 1)
        if _makes_sense(table, counts, usual):
            return table.astype(np.float32)
    low, high = sorted(modality[usual].astype(np.float64))
    if not told and _is_made_for_display(modality, values, dataset):
        low, high = (0, 255) if high - low >= 255 * TINY_RANGE else (low, high)
    table = (modality - low) / max(high - low, 1e-9)
    return np.clip(table, 0, 1).astype(np.float32)


def _makes_sense(table: np.ndarray, counts: np.ndarray, usual: np.ndarray) -> bool:
    if not np.isfinite(table).all():
        return False
    if usual[0] == usual[1]:
        return True
    between = counts[(table > 0) & (table < 1)].sum() / counts.sum()
    return abs(table[usual[1]] - table[usual[0]]) >= _NARROW and between >= _NARROW


def _is_made_for_display(modality: np.ndarray, values: np.ndarray, dataset: Dataset) -> bool:
    """Whether these are the 8 bits of an export, whose grays are those to be shown."""
    eight = dataset.BitsStored == 8 and dataset.PixelRepresentation == 0
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
    numbers = _numbers(dataset, keyword)
    return numbers[0] if numbers and not np.isnan(numbers[0]) else float(otherwise)


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The numbers that an element's text holds, NaN in the place of what is none.

    Not by pydicom, to which one bad value, or a decimal comma, spoils those beside it.
    """
    if keyword not in dataset:
        return []
    value = dataset.get_item(keyword).value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
    return [_number(part) for part in text.split("\\")]


def _number(text: str) -> float:
    try:
        number = float(text.replace(",", ".").strip(" \0"))
    except ValueError:
        return np.nan
    return number if abs(number) < 1e15 else np.nan


def _voi(modality: np.ndarray, dataset: Dataset) -> Iterator[Formula]:
    """All that the file offers to make grays of modality values, its first choice first."""
    for item in dataset.get("VOILUTSequence") or ():
        if "LUTData" in item and "LUTDescriptor" in item:
            yield lambda x, item=item: _by_lut(x, item, dataset)
    centers, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
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
    # Some tell 16 bits of a table that has 12, which would show it nearly black.
    most = entries.max()
    return shown / (full if full * TINY_RANGE <= most <= full else max(most, 1))


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
