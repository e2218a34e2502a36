"""JPEG, PNG and TIFF into radiographs, by Pillow."""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kirik.errors import RadiographError
from kirik.jpeg import CutOff, OddCoding, Source, demand_whole
from kirik.limits import Limits
from kirik.orientation import turn_upright
from kirik.radiograph import RAW_RANGE, Radiograph, graded, stretched

_ORIENTATION = 0x0112
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 259, 262, 284, 339
_STRIPS, _TILES = (273, 279), (324, 325)
_PAGE_KIND, _REDUCED, _MASK = 254, 1, 4
_WHITE_IS_ZERO, _YCBCR = 0, 6
_UNCOMPRESSED = 1
_BIG = b"MM"
_UNSIGNED, _SIGNED = 1, 2
_APART = 2


class _Png(PngImageFile):
    def load_read(self, read_bytes: int) -> bytes:
        data = super().load_read(read_bytes)
        if not data:
            raise CutOff
        return data


# Opened by class: Image.open would ask other plugins too and judge sizes by a global setting.
_OPENERS = {"JPEG": JpegImageFile, "PNG": _Png, "TIFF": TiffImageFile}


def open_image(
    data: bytes, kind: str, name: str, limits: Limits, at_least: int | None
) -> tuple[int, Callable[[int], Radiograph]]:
    """How many pages a file's bytes hold, and what decodes one of them, from 0.

    kind: JPEG, PNG or TIFF. name: how errors call the file. Both raise RadiographError.
    """

    source = Source(data)

    def open_() -> tuple[Image.Image, list[int]]:
        if kind == "PNG":
            _check_png(data, name)
        image = _OPENERS[kind](source)
        if kind == "TIFF":
            return image, _pages(image, name, limits)
        if getattr(image, "n_frames", 1) > 1:
            message = f"{name}: an animation of {image.n_frames} pictures; save each as a file"
            raise RadiographError(message, reason="unsupported")
        return image, [0]

    image, pages = _with_our_errors(open_, kind, name)
    count = len(pages)

    def decode(index: int) -> Radiograph:
        called = f"{name} (page {index + 1} of {count})" if count > 1 else name

        def work() -> Radiograph:
            if kind == "TIFF":
                source.in_header = True
                image.seek(pages[index])
            return _decode(image, source, kind, called, limits, at_least)

        radiograph = _with_our_errors(work, kind, called)
        return replace(radiograph, frame=index + 1, frames=count) if count > 1 else radiograph

    return count, decode


def _pages(image: TiffImageFile, name: str, limits: Limits) -> list[int]:
    """Numbers of the pages that are radiographs, not a smaller copy or a mask of one."""
    kinds, pixels = [], 0
    while True:
        try:
            image.seek(len(kinds))
        except EOFError:
            break
        rows, columns = stored_size_of(image)
        pixels += rows * columns
        kinds.append(image.tag_v2.get(_PAGE_KIND, 0))
        limits.check_frames(len(kinds), pixels, name)
    image.seek(0)
    whole = [page for page, kind in enumerate(kinds) if not kind & (_REDUCED | _MASK)]
    return whole or list(range(len(kinds)))


def _with_our_errors(work: Callable, kind: str, name: str):
    try:
        return work()
    except RadiographError:
        raise
    except CutOff as error:
        raise _truncated(name, kind) from error
    except OddCoding as error:
        message = f"{name}: a JPEG of {error} coding, which is not read; save it anew"
        raise RadiographError(message, reason="unsupported") from error
    except (MemoryError, Image.DecompressionBombError) as error:
        message = f"{name}: too large for this machine's memory; export it smaller"
        raise RadiographError(message, reason="too_large") from error
    # Damaged bytes make Pillow raise nearly anything, from SyntaxError to ZeroDivisionError.
    except Exception as error:
        if "truncated" in str(error).lower():
            raise _truncated(name, kind) from error
        if "pixel mode" in str(error):  # Pillow's words for sound files that it has no mode for
            message = f"{name}: a {kind} of numbers that are not read; save gray of 8 or 16 bits"
            raise RadiographError(message, reason="unsupported") from error
        if "bit layers" in str(error):  # and for samples of other than 8 bits
            message = f"{name}: a JPEG of more than 8 bits, which is not read; save it as PNG"
            raise RadiographError(message, reason="unsupported") from error
        message = f"{name}: a damaged {kind} file; export or copy it again"
        raise RadiographError(message, reason="damaged") from error


def _decode(
    image: Image.Image, source: Source, kind: str, name: str, limits: Limits, at_least: int | None
) -> Radiograph:
    mode, (rows, columns) = image.mode, stored_size_of(image)
    limits.check(rows, columns, name)
    # Pillow turns a TIFF by itself while loading and then forgets its orientation; of a PNG it
    # cannot tell it without loading.
    turned = orientation_of(image) if kind == "TIFF" else 1
    if kind == "TIFF":
        _check_tiff(image, source.getvalue(), name)
    elif kind == "JPEG":
        whole = demand_whole(image, source)
        image = whole if at_least is None else image
        _reduce(image, at_least)
    source.in_header = False
    image.load()
    left = orientation_of(image)
    levels = _levels(image)
    bits = _colour_bits(image, source)
    if bits > 8 and levels.dtype == np.uint8 and levels.max() <= 255 * RAW_RANGE:
        # Pillow gives the upper 8 alone: the grays of a radiograph of 12 bits would be 16 of them.
        message = f"{name}: colours of {bits} bits, which leave most unused; save it as gray"
        raise RadiographError(message, reason="unsupported")
    if kind == "PNG" and not levels[-1].any():
        _check_png_rows(source.getvalue())
    upright = np.ascontiguousarray(turn_upright(levels, left))
    return Radiograph(upright, kind, mode, (rows, columns), max(turned, left))


def stored_size_of(image: Image.Image) -> tuple[int, int]:
    """(rows, columns) before any turn."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2[257], image.tag_v2[256]
    return image.size[1], image.size[0]


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation 1…8. A PNG that says it after its pixels is loaded."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except CutOff:
        raise
    except Exception:  # a broken EXIF block says nothing about the pixels
        return 1
    return int(value) if value in range(1, 9) else 1


def _reduce(image: JpegImageFile, at_least: int | None) -> None:
    """Have the decoder give luminance alone, at the smallest size that is still large enough."""
    columns, rows = image.size
    longer = max(columns, rows)
    factors = [f for f in (8, 4, 2) if at_least and -(-longer // f) >= at_least]
    factors = [f for f in factors if min(columns, rows) >= f]
    size = (columns // factors[0], rows // factors[0]) if factors else None
    image.draft("L", size)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end (of the body) of each chunk. Raises CutOff if the last is not IEND."""
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
    raise CutOff


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
        raise CutOff


def _check_tiff(image: TiffImageFile, data: bytes, name: str) -> None:
    """Hold what its strips or tiles have against the file, and, uncompressed, against the image:
    Pillow leaves rows black that no strip has. Raises RadiographError for what it reads wrongly."""
    tags = image.tag_v2
    for offsets, counts in (_STRIPS, _TILES):
        parts = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > len(data) for offset, count in parts):
            raise CutOff
    told = [*tags.get(_STRIPS[1], ()), *tags.get(_TILES[1], ())]
    plain = tags.get(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED
    bits = tags.get(_BITS, (1,))
    if plain and tags.get(_PLANES) == _APART and len(bits) > 1 and max(bits) > 8:
        # Pillow takes the planes to have 8 bits.
        message = f"{name}: colours of more than 8 bits in planes of their own; save it as gray"
        raise RadiographError(message, reason="unsupported")
    if not plain and data.startswith(_BIG) and image.mode in ("I", "F"):
        # Its decoder gives them in this machine's order, and Pillow turns their bytes once more.
        message = f"{name}: signed or floating-point numbers, big endian and compressed"
        raise RadiographError(f"{message}; save it uncompressed", reason="unsupported")
    if told and plain and tags.get(_PHOTOMETRIC) != _YCBCR:  # whose colours may be fewer
        rows, columns = stored_size_of(image)
        if sum(told) < rows * columns * sum(bits) // 8:
            raise CutOff


def _truncated(name: str, kind: str) -> RadiographError:
    message = f"{name}: truncated, the {kind} file ends too early; copy or export it again"
    return RadiographError(message, reason="truncated")


def _levels(image: Image.Image) -> np.ndarray:
    """A loaded image's luminance [rows, columns], uint8 or float32 in 0…1, not yet turned."""
    if image.mode == "F" or image.mode.startswith("I") or (image.mode == "L" and _is_signed(image)):
        return _deep_levels(image)
    return np.asarray(_gray(image))


def _gray(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("L")
    if image.mode == "LAB":
        return image.getchannel(0)
    if image.mode == "L":
        return image
    if image.mode in ("1", "RGB"):
        return image.convert("L")
    return image.convert("RGB").convert("L")


def _colour_bits(image: Image.Image, source: Source) -> int:
    """Bits of a colour, or of a gray, as stored."""
    if isinstance(image, PngImageFile):
        return source.getvalue()[24]  # of the header, which comes first
    return max(getattr(image, "tag_v2", {}).get(_BITS, (8,)))


def _is_signed(image: Image.Image) -> bool:
    return getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _SIGNED


def _deep_levels(image: Image.Image) -> np.ndarray:
    """Gray of more than 8 bits, of signed numbers, or of floats."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    values = np.asarray(image)
    if image.mode == "I" and bits == 32 and tags.get(_SAMPLE_FORMAT, (1,))[0] == _UNSIGNED:
        values = values.view(np.uint32)
    if image.mode == "L":
        values = values.view(np.int8)
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    whole = 1 if image.mode == "F" else 2 ** (bits - _is_signed(image)) - 1
    fits = values.min() >= 0 and values.max() <= whole
    levels = graded(values, whole) if fits else stretched(values)
    return 1 - levels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels
