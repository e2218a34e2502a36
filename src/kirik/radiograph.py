"""Bytes into pixels: the only place of kirik that decodes an image file.

JPEG, PNG, TIFF and DICOM, known by their content, become a `Radiograph`: one grayscale float32
array with bright bone on dark ground, turned upright, with the facts of its source beside it.
What cannot be decoded whole is refused: a truncated file never becomes a radiograph with a
gray band.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES, READABLE, find_files, kind_of, read_file, shown
from kirik.orientation import (
    to_stored,
    to_stored_box,
    to_upright,
    to_upright_box,
    turn_upright,
)
from kirik.quiet import quiet_decoding

__all__ = [
    "Limits",
    "Radiograph",
    "find_files",
    "radiograph_from_array",
    "read_radiograph",
    "to_stored",
    "to_stored_box",
    "to_upright",
    "to_upright_box",
]

_ORIENTATION = 0x0112
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_STRIPS, _TILES = (273, 279), (324, 325)
_WHITE_IS_ZERO = 0
_UNSIGNED = 1

TINY_RANGE = 1 / 8
"""A 16-bit file that uses less of its range is stretched: 12 bits in a 16-bit file are dark."""


@dataclass(frozen=True)
class Radiograph:
    """One radiograph, decoded.

    pixels: float32 [rows, columns] in 0…1, bright bone on dark ground, EXIF orientation applied.
    format: JPEG, PNG, TIFF, DICOM or array.
    mode: the stored colour mode (Pillow's name), or DICOM's photometric interpretation.
    stored_size: (rows, columns) of the file, before any turn.
    orientation: EXIF orientation 1…8 that was applied.
    spacing: (row, column) distance of pixels in millimetres, where the file says it.
    """

    pixels: np.ndarray
    format: str
    mode: str
    stored_size: tuple[int, int]
    orientation: int = 1
    spacing: tuple[float, float] | None = None
    frame: int | None = None

    def reduced(self, at_most: int) -> "Radiograph":
        """The same with at most so many pixels on its longer side; `stored_size` stays."""
        rows, columns = self.pixels.shape
        scale = at_most / max(rows, columns)
        if scale >= 1:
            return self
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        small = Image.fromarray(self.pixels).resize(size, Image.Resampling.BILINEAR)
        return replace(self, pixels=np.asarray(small))


@dataclass(frozen=True)
class Limits:
    """What is refused before it is decoded, so that no file can take the machine's memory.

    file_bytes: size of the file. pixels: rows × columns.
    """

    file_bytes: int = 512 * 2**20
    pixels: int = 100_000_000

    def check(self, rows: int, columns: int, name: str) -> None:
        """Raises RadiographError for a size above the limit, or of no pixels at all."""
        if min(rows, columns) < 1:
            raise RadiographError(
                f"{name}: an image without pixels; export it again", reason="damaged"
            )
        if rows * columns > self.pixels:
            raise RadiographError(
                f"{name}: {columns:,}×{rows:,} pixels, more than the limit of "
                f"{self.pixels:,}; export it smaller",
                reason="too_large",
            )


DEFAULT_LIMITS = Limits()


def read_radiograph(
    path: Path | str, at_least: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Radiograph:
    """Decode one file.

    at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, as long
        as its longer side keeps this many pixels. `stored_size` stays the file's own.

    Raises RadiographError, which names the file and what is wrong with it; its `reason` is one
    of missing, not_a_file, no_permission, unreadable, empty, not_an_image, unsupported,
    too_large, truncated, damaged and wrong_modality.
    """
    data = read_file(path, limits.file_bytes)
    name, kind = shown(path), kind_of(data[:HEAD_BYTES])
    if kind not in READABLE:
        raise _not_readable(name, kind)
    with quiet_decoding():
        if kind == "DICOM":
            from kirik.dicom import decode_dicom  # pydicom takes longer to import than a reading

            return decode_dicom(data, name, limits)
        return _decode(data, kind, name, limits, at_least)


def decode_radiographs(data, name, at_least, limits):
    """Shim until the frames' decoder is there."""
    kind = kind_of(data[:HEAD_BYTES])
    if kind not in READABLE:
        raise _not_readable(shown(name), kind)
    with quiet_decoding():
        if kind == "DICOM":
            from kirik.dicom import decode_dicom

            yield decode_dicom(data, shown(name), limits)
        else:
            yield _decode(data, kind, shown(name), limits, at_least)


def radiograph_from_array(array: np.ndarray) -> Radiograph:
    """A radiograph from pixels in memory, bright bone on dark ground.

    array: [rows, columns], or [rows, columns, 3] in RGB; uint8, uint16 (of its whole range, or
    stretched if it uses little of it), or floats in 0…1.

    Raises RadiographError, with reason bad_array, for any other shape, type or value.
    """
    array = np.asarray(array)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise _bad_array(
            f"of shape {array.shape}; give [rows, columns], or [rows, columns, 3] for RGB"
        )
    if array.size == 0:
        raise _bad_array(f"of shape {array.shape}, without pixels; give at least one row")
    mode = "RGB" if array.ndim == 3 else "L"
    pixels = _array_levels(array)
    if array.ndim == 3:
        pixels = luminance(pixels)
    return Radiograph(np.ascontiguousarray(pixels), "array", mode, pixels.shape)


def _array_levels(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array.astype(np.float32) / 255
    if array.dtype == np.uint16:
        return graded(array, 65535)
    if array.dtype.kind != "f":
        raise _bad_array(f"of {array.dtype}; give uint8, uint16, or floats in 0…1")
    if not np.isfinite(array).all():
        raise _bad_array("with NaN or infinite values; replace them")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise _bad_array(f"of floats from {low:g} to {high:g}; scale them to 0…1")
    return array.astype(np.float32)


def _bad_array(what: str) -> RadiographError:
    return RadiographError(f"array {what}", reason="bad_array")


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Luminance (ITU-R BT.601) of [rows, columns, 3], float32 [rows, columns]."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def graded(values: np.ndarray, full_scale: float) -> np.ndarray:
    """Unsigned values as float32 in 0…1 by their full scale, stretched if they use little of it."""
    low, high = np.percentile(values, (0.5, 99.5))
    if (high - low) / full_scale < TINY_RANGE:
        return stretched(values)
    return values.astype(np.float32) / np.float32(full_scale)


def stretched(values: np.ndarray) -> np.ndarray:
    """Any values as float32 in 0…1, from their 0.5th to their 99.5th percentile."""
    low, high = np.percentile(values, (0.5, 99.5))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    span = max(high - low, np.finfo(np.float32).tiny)
    return np.clip((values.astype(np.float32) - np.float32(low)) / np.float32(span), 0, 1)


def _not_readable(name: str, kind: str | None) -> RadiographError:
    if kind is None:
        message = f"{name}: not an image; give a JPEG, PNG, TIFF or DICOM file"
        return RadiographError(message, reason="not_an_image")
    message = f"{name}: a {kind} file, which kirik does not read; save it as JPEG, PNG or DICOM"
    return RadiographError(message, reason="unsupported")


class _CutOff(Exception):
    """The file ended before its image did."""


class _Source(io.BytesIO):
    """Bytes for Pillow that do not end quietly.

    Pillow can be told, for the whole process, to fill what is missing with gray; an exception
    out of `read` reaches us however it is told. Headers are read by exact lengths, pixels by
    blocks, of which the last one is shorter.
    """

    in_header = True

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        missing = len(data) < size if self.in_header and size else not data
        if missing and size != 0:
            raise _CutOff
        return data


class _Png(PngImageFile):
    def load_read(self, read_bytes: int) -> bytes:
        data = super().load_read(read_bytes)
        if not data:
            raise _CutOff
        return data


# Opened by class: Image.open would ask other plugins too and judge sizes by a global setting.
_OPENERS = {"JPEG": JpegImageFile, "PNG": _Png, "TIFF": TiffImageFile}


def _decode(data: bytes, kind: str, name: str, limits: Limits, at_least: int | None) -> Radiograph:
    try:
        return _decode_with_pillow(data, kind, name, limits, at_least)
    except RadiographError:
        raise
    except _CutOff as error:
        raise _truncated(name, kind) from error
    except (MemoryError, Image.DecompressionBombError) as error:
        message = f"{name}: too large for this machine's memory; export it smaller"
        raise RadiographError(message, reason="too_large") from error
    # Damaged bytes make Pillow raise nearly anything, from SyntaxError to ZeroDivisionError.
    except Exception as error:
        if "truncated" in str(error).lower():
            raise _truncated(name, kind) from error
        message = f"{name}: a damaged {kind} file; export or copy it again"
        raise RadiographError(message, reason="damaged") from error


def _decode_with_pillow(
    data: bytes, kind: str, name: str, limits: Limits, at_least: int | None
) -> Radiograph:
    if kind == "PNG":
        _check_png(data, name)
    source = _Source(data)
    image = _OPENERS[kind](source)
    if getattr(image, "n_frames", 1) > 1:
        message = f"{name}: {image.n_frames} pages or frames; save each as a file of its own"
        raise RadiographError(message, reason="unsupported")
    mode, (columns, rows) = image.mode, _stored_size(image)
    limits.check(rows, columns, name)
    # Pillow turns a TIFF by itself while loading and then forgets its orientation; of a PNG it
    # cannot tell it without loading.
    turned = _orientation(image) if kind == "TIFF" else 1
    if kind == "TIFF":
        _check_tiff(image, len(data))
    elif kind == "JPEG":
        _reduce(image, at_least)
    source.in_header = False
    image.load()
    left = _orientation(image)
    levels = _levels(image)
    if kind == "PNG" and not levels[-1].any():
        _check_png_rows(data)
    upright = np.ascontiguousarray(turn_upright(levels, left))
    return Radiograph(upright, kind, mode, (rows, columns), max(turned, left))


def _stored_size(image: Image.Image) -> tuple[int, int]:
    if isinstance(image, TiffImageFile):
        return image.tag_v2[256], image.tag_v2[257]
    return image.size


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _CutOff:
        raise
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return value if value in range(1, 9) else 1


def _reduce(image: JpegImageFile, at_least: int | None) -> None:
    """Have the decoder give luminance alone, at the smallest size that is still large enough."""
    columns, rows = image.size
    longer = max(columns, rows)
    factors = [f for f in (8, 4, 2) if at_least and -(-longer // f) >= at_least]
    factors = [f for f in factors if min(columns, rows) >= f]
    size = (columns // factors[0], rows // factors[0]) if factors else None
    image.draft("L", size)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end (of the body) of each chunk. Raises _CutOff if the last is not IEND."""
    start = 8
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 8 + length
        if end + 4 > len(data):
            break
        yield kind, start + 8, end
        if kind == b"IEND":
            return
        start = end + 4
    raise _CutOff


def _check_png(data: bytes, name: str) -> None:
    """Walk the chunks to the last one: Pillow would not miss the end, nor check the pixels' CRC."""
    view = memoryview(data)
    for _, start, end in _png_chunks(data):
        if zlib.crc32(view[start - 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            message = f"{name}: a damaged PNG file (a checksum fails); export or copy it again"
            raise RadiographError(message, reason="damaged")


def _check_png_rows(data: bytes) -> None:
    """Count the bytes of pixels: Pillow leaves rows black that a complete stream does not have."""
    columns, rows, depth, color, *_, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    needed = rows * columns * bits // 8 if interlaced else rows * (1 + -(-columns * bits // 8))
    inflate, found = zlib.decompressobj(), 0
    for kind, start, end in _png_chunks(data):
        waiting = data[start:end] if kind == b"IDAT" else b""
        while waiting and found < needed:
            found += len(inflate.decompress(waiting, 2**20))
            waiting = inflate.unconsumed_tail
    if found < needed:
        raise _CutOff


def _check_tiff(image: TiffImageFile, length: int) -> None:
    for offsets, counts in (_STRIPS, _TILES):
        parts = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=False)
        if any(offset + count > length for offset, count in parts):
            raise _CutOff


def _truncated(name: str, kind: str) -> RadiographError:
    message = f"{name}: truncated, the {kind} file ends too early; copy or export it again"
    return RadiographError(message, reason="truncated")


def _levels(image: Image.Image) -> np.ndarray:
    """A loaded image's luminance, float32 [rows, columns] in 0…1, not yet turned."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _deep_levels(image)
    return np.asarray(_gray(image), dtype=np.float32) / 255


def _gray(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("L")
    if image.mode == "LAB":
        return image.getchannel(0)
    if image.mode in ("L", "1", "RGB"):
        return image.convert("L")
    return image.convert("RGB").convert("L")


def _deep_levels(image: Image.Image) -> np.ndarray:
    """Gray of more than 8 bits, or of floats."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    values = np.asarray(image)
    if image.mode == "I" and bits == 32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == _UNSIGNED:
        values = values.view(np.uint32)
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    whole = 1 if image.mode == "F" else 2**bits - 1
    fits = values.min() >= 0 and values.max() <= whole
    levels = graded(values, whole) if fits else stretched(values)
    return 1 - levels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels
