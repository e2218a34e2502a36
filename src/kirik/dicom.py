"""DICOM radiographs into pixels as a viewer shows them: decompressed, windowed, bright bone.

The steps follow DICOM PS3.3 C.11 and PS3.4 N.2: modality LUT, VOI LUT or window, then
photometric interpretation. They run over a table of all stored values that occur rather than
over the pixels, which is exact and many times faster.
"""

import io

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.pixels import (
    apply_color_lut,
    apply_rescale,
    apply_windowing,
    get_decoder,
    pixel_array,
)
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kirik.errors import RadiographError
from kirik.radiograph import Limits, Radiograph, luminance

_RADIOGRAPHY = ("CR", "DX", "RG")
_UNTOLD = ("", "OT", "SC")
_RADIOGRAPH_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
)
_RAW_CLASS = "1.2.840.10008.5.1.4.1.1.1.1.1"  # digital X-ray, for processing
_OTHERS = {
    "CT": "a CT image",
    "MR": "an MR image",
    "US": "an ultrasound image",
    "MG": "a mammogram",
    "XA": "an angiogram",
    "RF": "a fluoroscopy image",
    "NM": "a nuclear medicine image",
    "PT": "a PET image",
    "PX": "a dental panoramic radiograph",
    "IO": "an intra-oral radiograph",
    "SR": "a structured report",
    "PR": "a presentation state",
    "KO": "a key object selection",
    "SEG": "a segmentation",
    "DOC": "a document",
    "ECG": "an electrocardiogram",
}
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_NARROW = 0.02
"""A window that leaves the image's 0.5th to 99.5th percentile less of the scale is absurd."""


def decode_dicom(data: bytes, name: str, limits: Limits) -> Radiograph:
    """Decode a DICOM file's bytes; `name` is how errors call it. Raises RadiographError."""
    try:
        dataset = _parsed(data, name)
        _refuse_others(dataset, name)
        _refuse_unreadable(dataset, name, limits)
        pixels = _color(dataset) if dataset.SamplesPerPixel == 3 else _shown(dataset)
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
    return Radiograph(
        np.ascontiguousarray(pixels, dtype=np.float32),
        "DICOM",
        str(dataset.PhotometricInterpretation),
        pixels.shape,
        spacing=_spacing(dataset),
    )


def _parsed(data: bytes, name: str) -> Dataset:
    # Inflated in one go by pydicom: a few kilobytes could ask for all memory.
    if DeflatedExplicitVRLittleEndian.encode() in data[:2048]:
        message = f"{name}: a deflated DICOM file; convert it to another transfer syntax"
        raise RadiographError(message, reason="unsupported")
    try:
        dataset = dcmread(io.BytesIO(data), force=True)
    except EOFError:
        raise _truncated(name) from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _refuse_others(dataset: Dataset, name: str) -> None:
    modality = str(dataset.get("Modality") or "").strip().upper()
    sop_class = str(dataset.get("SOPClassUID") or "")
    intent = str(dataset.get("PresentationIntentType") or "").strip().upper()
    if sop_class == _RAW_CLASS or intent == "FOR PROCESSING":
        raise RadiographError(
            f"{name}: raw detector data (for processing); send the image made for presentation",
            reason="unsupported",
        )
    if modality in _RADIOGRAPHY or (modality in _UNTOLD and sop_class in _RADIOGRAPH_CLASSES):
        return
    if not modality and not sop_class:
        raise _truncated(name)
    what = _OTHERS.get(modality, "no radiograph by its modality")
    raise RadiographError(
        f"{name}: {what}; kirik reads plain radiographs (CR, DX, RG, secondary capture)",
        reason="wrong_modality",
    )


def _refuse_unreadable(dataset: Dataset, name: str, limits: Limits) -> None:
    """All that can be told without decoding: absent or cut pixel data, size, frames, codec."""
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        raise _truncated(name)
    limits.check(dataset.Rows, dataset.Columns, name)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        message = f"{name}: {frames} frames; send each radiograph as an image of its own"
        raise RadiographError(message, reason="unsupported")
    if dataset.BitsAllocated > 16:
        message = f"{name}: {dataset.BitsAllocated} bits a pixel; export it with at most 16"
        raise RadiographError(message, reason="unsupported")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax.is_encapsulated:
        _refuse_codestream(dataset, syntax, name, limits)
    elif len(dataset.PixelData) < _native_length(dataset):
        raise _truncated(name)


def _native_length(dataset: Dataset) -> int:
    samples = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        samples = samples * 2 // 3
    return samples * dataset.BitsAllocated // 8


def _refuse_codestream(dataset: Dataset, syntax: UID, name: str, limits: Limits) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        how = syntax.name if syntax.name != syntax else "an unknown method"
        message = f"{name}: compressed with {how}, which kirik cannot decode; decompress it first"
        raise RadiographError(message, reason="unsupported")
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if frame.startswith((b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP")):
        # A codec fills what is missing; all of these streams end in the same marker.
        if b"\xff\xd9" not in frame[-64:]:
            raise _truncated(name)
        # The stream has a size of its own, whatever the tags say.
        limits.check(*_codestream_size(frame), name)


def _codestream_size(frame: bytes) -> tuple[int, int]:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream announces for itself."""
    if not frame.startswith(b"\xff\xd8"):
        start = frame.index(b"\xff\x4f\xff\x51") + 8
        sides = [int.from_bytes(frame[i : i + 4], "big") for i in range(start, start + 16, 4)]
        return sides[1] - sides[3], sides[0] - sides[2]
    start = 2
    while frame[start + 1] not in (*range(0xC0, 0xC4), *range(0xC5, 0xC8), 0xC9, 0xCA, 0xCB, 0xF7):
        start += 2 + int.from_bytes(frame[start + 2 : start + 4], "big")
    rows, columns = frame[start + 5 : start + 7], frame[start + 7 : start + 9]
    return int.from_bytes(rows, "big"), int.from_bytes(columns, "big")


def _truncated(name: str) -> RadiographError:
    message = f"{name}: truncated, the DICOM file ends before its pixels; send or copy it again"
    return RadiographError(message, reason="truncated")


def _color(dataset: Dataset) -> np.ndarray:
    return luminance(pixel_array(dataset)) / np.float32(2**dataset.BitsStored - 1)


def _shown(dataset: Dataset) -> np.ndarray:
    """One sample a pixel as a viewer shows it, float32 [rows, columns] in 0…1."""
    if dataset.PhotometricInterpretation not in _ONE_SAMPLE:
        raise ValueError("a photometric interpretation that does not fit one sample a pixel")
    stored = pixel_array(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colors = apply_color_lut(stored, dataset)
        return luminance(colors) / np.float32(np.iinfo(colors.dtype).max)
    stored = _within_bits_stored(stored, dataset)
    padding = _padding(stored, dataset)
    first = int(stored.min())
    places = stored.astype(np.int32) - first
    counts = np.bincount((places if padding is None else places[~padding]).ravel())
    table = _gray_table(first, int(places.max()) + 1, counts, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        table = 1 - table
    pixels = table[places]
    if padding is not None:
        pixels[padding] = 0
    return pixels


def _within_bits_stored(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Without what lies in the unused high bits (retired overlays, noise)."""
    unused = dataset.BitsAllocated - dataset.BitsStored
    if unused <= 0:
        return stored
    shift = stored.dtype.itemsize * 8 - dataset.BitsStored
    # Shifting up and down again clears them, and spreads the sign where there is one.
    return (stored << shift) >> shift


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """bool [rows, columns]: where the image was filled up; None if nowhere or everywhere."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    limit = limit if isinstance(limit, int) else value
    padding = (stored >= min(value, limit)) & (stored <= max(value, limit))
    return padding if padding.any() and not padding.all() else None


def _gray_table(first: int, length: int, counts: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The shown gray, float32 in 0…1, of the stored values `first`, `first` + 1, …

    counts: how many pixels have each of these values, without padding.
    """
    values = np.arange(first, first + length, dtype=np.int32)
    share = np.cumsum(counts) / counts.sum()
    usual = np.searchsorted(share, (0.005, 0.995))
    modality = _modality(values, dataset)
    if modality[0] == modality[-1] and length > 1:
        modality = values  # a rescale slope of 0
    table = _windowed(modality, dataset)
    if table is None or (usual[0] != usual[1] and abs(np.diff(table[usual])) < _NARROW):
        low, high = sorted(modality[usual].astype(np.float64))
        table = (modality - low) / max(high - low, 1e-9)
    return np.clip(table, 0, 1).astype(np.float32)


def _modality(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    sequence = dataset.get("ModalityLUTSequence")
    if sequence:
        return _looked_up(values, sequence[0], dataset)
    return np.asarray(apply_rescale(values, dataset))


def _looked_up(values: np.ndarray, item: Dataset, dataset: Dataset) -> np.ndarray:
    """Whole numbers through one LUT of a sequence.

    Not by pydicom, which indexes a table of 8-bit entries by 8 bits and refuses 12-bit entries.
    """
    entries, first, _ = item.LUTDescriptor
    entries = entries or 2**16
    table = item.LUTData
    if isinstance(table, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        table = np.frombuffer(table, np.uint8 if len(table) < 2 * entries else f"{order}u2")
    table = np.asarray(table, np.float64)[:entries]
    return table[np.clip(values - first, 0, len(table) - 1)]


def _windowed(modality: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """By the file's VOI LUT or window, in 0…1; None where there is none that makes sense."""
    sequence = dataset.get("VOILUTSequence")
    try:
        if sequence and "LUTData" in sequence[0]:
            shown = _looked_up(np.rint(modality).astype(np.int32), sequence[0], dataset)
            return shown / (2 ** sequence[0].LUTDescriptor[2] - 1)
        if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
            return None
        # Two values far outside show what the window makes of black and of white.
        probed = np.append(modality.astype(np.float64), (-1e30, 1e30))
        with np.errstate(over="ignore"):
            shown = apply_windowing(probed, dataset)
        black, white = shown[-2:]
        table = (shown[:-2] - black) / (white - black)
    except (ValueError, TypeError, IndexError, NotImplementedError):
        return None
    return table if np.isfinite(table).all() else None


def _spacing(dataset: Dataset) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        try:
            row, column = (float(value) for value in dataset.get(keyword) or ())
        except (TypeError, ValueError):
            continue
        if 0 < row < 100 and 0 < column < 100:
            return row, column
    return None
