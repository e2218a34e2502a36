"""DICOM radiographs into pixels as a viewer shows them: decompressed, windowed, bright bone.

Parsed within bounds (`parsing`), refused unseen if it is no radiograph of a limb (`scope`), then
each frame decompressed (`frames`) after its stream was checked (`codestream`), its stored values
made grays (`grays`) by what the file says of this frame (`groups`), and what lies outside shutters
made black (`shutters`).
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_color_lut

from kirik.dicom.frames import frame_samples, refuse_compression
from kirik.dicom.grays import numbers, shown
from kirik.dicom.groups import frames_differ, lay_shared_groups, of_frame
from kirik.dicom.parsing import parsed, share_pixels, truncated
from kirik.dicom.scope import refuse_body_part, refuse_others
from kirik.dicom.shutters import visible
from kirik.errors import RadiographError
from kirik.limits import Limits
from kirik.radiograph import Radiograph, graded, luminance

_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SIZES = ("Rows", "Columns")  # which stand before the pixels
_DESCRIBED_BY = ("SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation")
_FLOATS = ("FloatPixelData", "DoubleFloatPixelData")
_FINEST, _MOST_UNLIKE = 0.001, 100
"""Of a pixel: the smallest side, in mm, and how much longer than the other one may be."""
_MOST_MAGNIFIED = 10


def open_dicom(data: bytes, name: str, limits: Limits) -> tuple[int, Callable[[int], Radiograph]]:
    """How many frames a DICOM file's bytes hold, and what decodes one of them, from 0.

    name: how errors call the file. Both raise RadiographError.
    """

    def read() -> tuple[int, Dataset]:
        dataset = parsed(data, name, limits)
        share_pixels(dataset)
        refuse_others(dataset, name)
        lay_shared_groups(dataset)
        if not frames_differ(dataset):
            refuse_body_part(dataset, name)
        count = checked_frames(dataset, name, limits)
        if frames_differ(dataset):
            _refuse_if_all_are(dataset, count, name)
        return count, dataset

    count, dataset = with_our_errors(read, name)

    def decode(index: int) -> Radiograph:
        called = frame_name(name, index, count)
        work = partial(_decode, dataset, index, count, called, limits)
        return with_our_errors(work, called)

    return count, decode


def frame_name(name: str, index: int, count: int) -> str:
    """How errors call a frame, from 0, of so many."""
    return f"{name} (frame {index + 1} of {count})" if count > 1 else name


def _refuse_if_all_are(dataset: Dataset, count: int, name: str) -> None:
    """Raise if each frame is of a body part that kirik does not read; else it is for those that are
    to raise by themselves."""
    refused = None
    for index in range(count):
        try:
            refuse_body_part(of_frame(dataset, index), name)
            return
        except RadiographError as error:
            refused = error
        except Exception:  # groups that are damaged, which is this frame's own error, too
            return
    raise refused


def with_our_errors(work: Callable, name: str):
    """What this work returns. Raises RadiographError alone, which repeats nothing of the file."""
    try:
        return work()
    except RadiographError:
        raise
    except MemoryError as error:
        message = f"{name}: too large for this machine's memory; export it smaller"
        raise RadiographError(message, reason="too_large") from error
    # Damaged bytes make parser and codecs raise nearly anything; what they say may hold a
    # patient's data, and so neither it nor the traceback's cause is passed on.
    except Exception:
        raise RadiographError(
            f"{name}: a damaged DICOM file; export or send it again", reason="damaged"
        ) from None


def holds_pixels(dataset: Dataset) -> bool:
    """Whether it has any, of whichever kind."""
    return any(keyword in dataset for keyword in ("PixelData", *_FLOATS))


def checked_frames(dataset: Dataset, name: str, limits: Limits) -> int:
    """How many frames there are, after all is checked that can be told without decoding."""
    refuse_compression(dataset, name)
    if any(keyword in dataset for keyword in _FLOATS):
        message = f"{name}: pixels of floating-point numbers; export it with at most 16 bits"
        raise RadiographError(message, reason="unsupported")
    if "PixelData" not in dataset:
        raise truncated(name)
    _demand_numbers(dataset, _SIZES, name)
    limits.check(dataset.Rows, dataset.Columns, name)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames < 1:
        raise ValueError("less than no frames")
    limits.check_frames(frames, frames * dataset.Rows * dataset.Columns, name)
    _demand_numbers(dataset, _DESCRIBED_BY, name)
    if not dataset.get("PhotometricInterpretation"):
        raise _without("PhotometricInterpretation", name)
    if dataset.BitsAllocated not in (8, 16):
        message = f"{name}: {dataset.BitsAllocated} bits a pixel; export it with 8 or 16"
        raise RadiographError(message, reason="unsupported")
    if not 1 <= dataset.BitsStored <= dataset.BitsAllocated:
        raise ValueError("more bits stored than there is room for")
    if dataset.SamplesPerPixel == 1 and dataset.PhotometricInterpretation not in _ONE_SAMPLE:
        raise ValueError("a photometric interpretation that does not fit one sample a pixel")
    if dataset.SamplesPerPixel == 3 and dataset.PhotometricInterpretation not in _COLORS:
        message = f"{name}: colours that are neither RGB nor YBR; export it in grays, or as RGB"
        raise RadiographError(message, reason="unsupported")
    return frames


def _demand_numbers(dataset: Dataset, keywords: tuple[str, ...], name: str) -> None:
    """Raise unless these are whole numbers: an error that repeats one must not repeat a text."""
    for keyword in keywords:
        if not isinstance(dataset.get(keyword), int):
            raise _without(keyword, name)


def _without(keyword: str, name: str) -> RadiographError:
    message = f"{name}: a damaged DICOM file, without {keyword}; export or send it again"
    return RadiographError(message, reason="damaged")


def _decode(dataset: Dataset, index: int, count: int, name: str, limits: Limits) -> Radiograph:
    told = of_frame(dataset, index)
    if frames_differ(dataset):
        refuse_body_part(told, name)
    samples = frame_samples(dataset, index, count, name, limits)
    stored = samples.stored()
    open_ = visible(dataset, dataset.Rows, dataset.Columns)
    if dataset.SamplesPerPixel == 3:
        whole = 2**samples.bits - 1
        gray = np.clip(luminance(stored), 0, whole)
        # As of gray: fewer bits than are told would be dark.
        pixels = graded(gray, whole) if samples.bits > 8 else gray / np.float32(whole)
    elif dataset.PhotometricInterpretation == "PALETTE COLOR":
        colors = colored(stored, dataset)
        pixels = np.clip(luminance(colors) / np.float32(_palette_white(colors, dataset)), 0, 1)
    else:
        pixels = shown(stored, samples.bits, open_, told)
    if open_ is not None:
        pixels[~open_] = 0
    spacing = _spacing(told)
    return Radiograph(
        np.ascontiguousarray(pixels, dtype=np.float32),
        "DICOM",
        str(dataset.PhotometricInterpretation),
        pixels.shape,
        spacing=spacing,
        aspect=_aspect(spacing or _pair(dataset, "PixelAspectRatio")),
        frame=index + 1 if count > 1 else None,
        frames=count,
    )


def colored(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """[…, 3] RGB, uint8 or uint16, that a palette has for stored values of any shape. Raises nearly
    anything for damaged bytes."""
    colors = apply_color_lut(stored, dataset)
    # pydicom takes a palette's plain words for those of this machine.
    plain = "RedPaletteColorLookupTableData" in dataset and colors.dtype.itemsize == 2
    return colors if dataset.original_encoding[1] or not plain else colors.byteswap()


def _palette_white(colors: np.ndarray, dataset: Dataset) -> int:
    """The brightest level of a palette: some hold entries of 8 bits, as told, in words of 16."""
    full = np.iinfo(colors.dtype).max
    told = 2 ** dataset.RedPaletteColorLookupTableDescriptor[2] - 1
    return told if 0 < colors.max() <= told < full else full


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    """At the bone where the file says what is needed for that, else on detector or film."""
    told = _distances(dataset, "PixelSpacing")
    on_detector = _distances(dataset, "ImagerPixelSpacing")
    calibrated = str(dataset.get("PixelSpacingCalibrationType") or "").strip().upper()
    # A millimetre each, which no detector's pixels are apart, is written by those who know none.
    is_filler = told == (1, 1) and on_detector and calibrated not in ("GEOMETRY", "FIDUCIAL")
    if told and not is_filler:
        return told
    if on_detector:
        row, column = on_detector
        factor = next(iter(numbers(dataset, "EstimatedRadiographicMagnificationFactor")), np.nan)
        return (row / factor, column / factor) if 1 <= factor <= _MOST_MAGNIFIED else on_detector
    return _distances(dataset, "NominalScannedPixelSpacing")


def _distances(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    pair = _pair(dataset, keyword)
    return pair if pair and min(pair) >= _FINEST and max(pair) < 100 else None


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """An element's two numbers above 0, for rows and for columns; None unless they make sense."""
    found = numbers(dataset, keyword)
    if len(found) != 2 or not all(0 < one < np.inf for one in found):
        return None
    row, column = found
    return (row, column) if 1 / _MOST_UNLIKE <= row / column <= _MOST_UNLIKE else None


def _aspect(pair: tuple[float, float] | None) -> float:
    return pair[0] / pair[1] if pair else 1.0
