"""Bytes into pixels: the only way by which kirik decodes an image file.

JPEG, PNG, TIFF (`kirik.images`) and DICOM (`kirik.dicom`), known by their content, become a
`Radiograph`: one grayscale float32 array with bright bone on dark ground, turned upright, with
the facts of its source beside it. What cannot be decoded whole is refused: a truncated file never
becomes a radiograph with a gray band.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES, READABLE, find_files, kind_of, not_readable, read_file, shown
from kirik.limits import Limits
from kirik.orientation import (
    to_stored,
    to_stored_box,
    to_upright,
    to_upright_box,
)
from kirik.quiet import quiet_decoding

__all__ = [
    "Frames",
    "Limits",
    "Radiograph",
    "decode_radiographs",
    "find_files",
    "radiograph_from_array",
    "read_radiograph",
    "read_radiographs",
    "to_stored",
    "to_stored_box",
    "to_upright",
    "to_upright_box",
]

TINY_RANGE, RAW_RANGE = 1 / 8, 1 / 4
"""A 16-bit file that uses less of its range, or nothing above the latter, is not shown by it: 12 or
14 bits in a 16-bit file are dark."""

_DETECTOR_BITS = (10, 12, 14)


@dataclass(frozen=True)
class Radiograph:
    """One radiograph, decoded.

    levels: [rows, columns], bright bone on dark ground, EXIF orientation applied: uint8 as an 8-bit
        file has them, or float32 in 0…1.
    format: JPEG, PNG, TIFF, DICOM or array.
    mode: the stored colour mode (Pillow's name), or DICOM's photometric interpretation.
    stored_size: (rows, columns) of the file, before any turn.
    orientation: EXIF orientation 1…8 that was applied.
    spacing: (row, column) distance of pixels in millimetres, where the file says it.
    aspect: how much higher than wide a pixel is, where the file says it; else 1. What is made of
        it for a network or a person has square pixels.
    frame: its number, from 1, in a file of several frames or pages; else None.
    frames: how many frames or pages its file has.
    """

    levels: np.ndarray
    format: str
    mode: str
    stored_size: tuple[int, int]
    orientation: int = 1
    spacing: tuple[float, float] | None = None
    aspect: float = 1.0
    frame: int | None = None
    frames: int = 1

    @cached_property
    def pixels(self) -> np.ndarray:
        """The levels as float32 [rows, columns] in 0…1."""
        if self.levels.dtype == np.uint8:
            return np.divide(self.levels, np.float32(255), dtype=np.float32)
        return self.levels

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width in square pixels, as wide as the file's pixels are on their shorter
        side."""
        rows, columns = self.levels.shape
        return rows * max(1.0, self.aspect), columns * max(1.0, 1 / self.aspect)

    def reduced(self, at_most: int, square: bool = False) -> "Radiograph":
        """The same with at most so many pixels on its longer side, and those squares if asked for;
        `stored_size` stays."""
        rows, columns = self.levels.shape
        height, width = self.extent if square else (rows, columns)
        scale = min(1.0, at_most / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size == (columns, rows):
            return self
        other = Image.fromarray(self.pixels).resize(size, Image.Resampling.BILINEAR)
        return replace(self, levels=np.asarray(other), aspect=1.0 if square else self.aspect)


DEFAULT_LIMITS = Limits()


class Frames(Iterator[Radiograph]):
    """The radiographs of one file, each decoded when it is asked for.

    count: how many there are.

    `next` raises RadiographError for a frame that cannot be decoded; in a file of several its
    `frame` says which, and the following `next` gives the following frame. `results` goes on by
    itself.
    """

    def __init__(self, count: int, decode: Callable[[int], Radiograph]):
        self.count, self._decode, self._asked = count, decode, 0

    def __next__(self) -> Radiograph:
        if self._asked >= self.count:
            raise StopIteration
        self._asked += 1
        try:
            with quiet_decoding():
                return self._decode(self._asked - 1)
        except RadiographError as error:
            error.frame = self._asked if self.count > 1 else None
            raise

    def skip(self, count: int) -> None:
        """Pass over so many frames without decoding them."""
        self._asked += count

    def results(self) -> Iterator["Radiograph | RadiographError"]:
        """Each frame, or in its place the error of one that cannot be decoded."""
        while self._asked < self.count:
            try:
                yield next(self)
            except RadiographError as error:
                yield error


def read_radiograph(
    path: Path | str, at_least: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Radiograph:
    """Decode one file.

    at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is much faster, as long
        as its longer side keeps this many pixels. `stored_size` stays the file's own.

    Raises RadiographError, which names the file and what is wrong with it; its `reason` is one
    of missing, not_a_file, no_permission, unreadable, empty, not_an_image, unsupported,
    too_large, truncated, damaged, wrong_modality, wrong_body_part and several_frames.
    """
    return decode_radiograph(read_file(path, limits.file_bytes), str(path), at_least, limits)


def decode_radiograph(
    data: bytes, name: str, at_least: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Radiograph:
    """The radiograph in a file's bytes. name: how errors call it.

    at_least: as for `read_radiograph`, as which it raises RadiographError.
    """
    frames = decode_radiographs(data, name, at_least, limits)
    if frames.count > 1:
        message = f"{shown(name)}: {frames.count} frames or pages, where one radiograph is expected"
        message += "; give each as a file of its own"
        raise RadiographError(message, reason="several_frames")
    return next(frames)


def read_radiographs(
    path: Path | str, at_least: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Frames:
    """All frames of one file, or pages of a TIFF, one at a time; see `decode_radiographs`."""
    return decode_radiographs(read_file(path, limits.file_bytes), str(path), at_least, limits)


def decode_radiographs(
    data: bytes, name: str, at_least: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Frames:
    """All frames in a file's bytes. name: how errors call it. at_least: as for `read_radiograph`.

    Raises RadiographError at once for what concerns the whole file, and later, out of the
    iterator, for a frame.
    """
    name, kind = shown(name), kind_of(data[:HEAD_BYTES])
    if kind not in READABLE:
        raise not_readable(name, kind)
    with quiet_decoding():
        if kind == "DICOM":
            from kirik.dicom import open_dicom  # pydicom takes longer to import than a reading

            return Frames(*open_dicom(data, name, limits))
        from kirik.images import open_image
        from kirik.jpeg import has_scan

        if kind == "JPEG" and not has_scan(data):
            message = f"{name}: a JPEG file without an image; export or copy it again"
            raise RadiographError(message, reason="damaged")
        return Frames(*open_image(data, kind, name, limits, at_least))


def radiograph_from_array(array: np.ndarray) -> Radiograph:
    """A radiograph from pixels in memory, bright bone on dark ground.

    array: [rows, columns], or [rows, columns, 3] in RGB; uint8, uint16 (of its whole range, or
    brought to it where it uses little of it: see `graded`), or floats in 0…1.

    Raises RadiographError, with reason bad_array, for any other shape, type or value.
    """
    if np.ma.is_masked(array):
        raise _bad_array("with masked values; fill them")
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
    if array.dtype.newbyteorder("=") == np.uint16:
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
    """Unsigned values as float32 in 0…1 by their full scale; if they use little of it, by that of a
    detector's bits, where all but the brightest fill these, too, else stretched."""
    low, high = np.percentile(values, (0.5, 99.5))
    most = values.max()
    if most <= full_scale * RAW_RANGE:
        filled = (2**bits for bits in _DETECTOR_BITS if 2**bits > most and high >= 2**bits / 2)
        full_scale = next(filled, np.inf) - 1
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
