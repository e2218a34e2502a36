"""Files without what was written beside their pixels: names, places, notes.

The compressed pixels stay bit for bit, and so does how they are turned. To be called in the
decoding child alone: the files come from anywhere.
"""

import struct
import zlib

from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES, READABLE, kind_of
from kirik.limits import Limits
from kirik.nameless import nameless_jpeg
from kirik.radiograph import decode_radiographs

_ORIENTATION = 0x0112
_EXIF = b"Exif\0\0"

_KEPT_CHUNKS = (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"pHYs", b"acTL", b"fcTL", b"fdAT")

_KEPT_TAGS = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280),
        *(281, 282, 283, 284, 290, 291, 292, 293, 296, 301, 317, 318, 319, 320, 321, 322, 323),
        *(324, 325, 332, 334, 336, 338, 339, 340, 341, 342, 347, 529, 530, 531, 532),
    )
)
"""Of TIFF: what the pixels' layout, colours and scale are made of."""
_TAG_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_PIXELS = ((273, 279), (324, 325))
"""Tags of where strips, or tiles, are, and of their sizes."""
_COMPRESSION, _JPEG_INSIDE, _JPEG_TABLES = 259, 7, 347
_MOST_PAGES = 10_000


def without_identity(data: bytes, name: str, limits: Limits, key: bytes) -> bytes:
    """The bytes of a radiograph's file without all that a reading does not need.

    name: how errors call it. key: see `kirik.dicom.identity`. What is written into the pixels
    themselves stays. Raises RadiographError for a file whose parts cannot be told.
    """
    kind = kind_of(data[:HEAD_BYTES])
    if kind == "DICOM":
        from kirik.dicom.identity import anonymous

        return anonymous(data, name, limits, key)
    if kind not in READABLE:
        raise RadiographError(
            f"{name}: not an image; give JPEG, PNG or DICOM", reason="unsupported"
        )
    orientation = (
        1 if kind == "TIFF" else next(decode_radiographs(data, name, 64, limits)).orientation
    )
    strip = {"JPEG": _jpeg, "PNG": _png, "TIFF": lambda content, _: _tiff(content)}[kind]
    try:
        return strip(data, orientation)
    except (struct.error, IndexError, ValueError):
        message = f"{name}: a damaged {kind} file; export or copy it again"
        raise RadiographError(message, reason="damaged") from None


def _jpeg(data: bytes, orientation: int) -> bytes:
    exif = _EXIF + _exif(orientation)
    turned = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    return nameless_jpeg(data, turned if orientation != 1 else b"")


def _png(data: bytes, orientation: int) -> bytes:
    kept, place = [data[:8]], 8
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        # A capital first: a chunk without which the picture cannot be shown.
        if kind[:1].isupper() or kind in _KEPT_CHUNKS:
            kept.append(data[place:end])
        if kind == b"IHDR" and orientation != 1:
            exif = b"eXIf" + _exif(orientation)
            kept.append(
                struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
            )
        if kind == b"IEND":
            return b"".join(kept)
        place = end
    return b"".join([*kept, data[place:][:4]])  # cut off; decoding says so


def _exif(orientation: int) -> bytes:
    """An EXIF block that says how the pixels are turned, and nothing else."""
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", _ORIENTATION, 3, 1, orientation, 0, 0)


def _tiff(data: bytes) -> bytes:
    """Each directory with the tags that are known to be harmless, and the bytes that these lead to;
    all others become zeros, those that nothing points to any more as well."""
    order = "<" if data[:2] == b"II" else ">"
    content = bytearray(len(data))
    content[:8] = data[:8]
    place, seen = struct.unpack_from(f"{order}I", data, 4)[0], set()
    while place:
        if place in seen or len(seen) >= _MOST_PAGES:
            raise ValueError("directories in a circle")
        seen.add(place)
        place = _copy_directory(data, content, place, order)
    return bytes(content)


def _copy_directory(data: bytes, content: bytearray, place: int, order: str) -> int:
    """Where the next directory is; 0 after the last."""
    count = struct.unpack_from(f"{order}H", data, place)[0]
    first, last = place + 2, place + 2 + 12 * count
    following = struct.unpack_from(f"{order}I", data, last)[0]
    entries = [data[first + 12 * n : first + 12 * n + 12] for n in range(count)]
    kept = {struct.unpack_from(f"{order}H", one)[0]: one for one in entries}
    kept = {tag: one for tag, one in kept.items() if tag in _KEPT_TAGS}
    for one in kept.values():
        _, start, end = _value(one, order)
        content[start:end] = data[start:end]
    jpeg = _COMPRESSION in kept and _numbers(data, kept[_COMPRESSION], order)[0] == _JPEG_INSIDE
    for places, sizes in _PIXELS:
        if places not in kept:
            continue
        starts = _numbers(data, kept[places], order)
        if sizes in kept:
            pairs = zip(starts, _numbers(data, kept[sizes], order), strict=True)
        else:
            pairs = [(starts[0], _plain_size(data, kept, order))]
        for start, size in pairs:
            part = data[start : start + size]
            if jpeg and part:
                part = nameless_jpeg(part).ljust(len(part), b"\0")
            content[start : start + len(part)] = part
    if jpeg and _JPEG_TABLES in kept:
        _, start, end = _value(kept[_JPEG_TABLES], order)
        content[start:end] = nameless_jpeg(data[start:end]).ljust(end - start, b"\0")
    body = b"".join(kept.values()) + struct.pack(f"{order}I", following)
    struct.pack_into(f"{order}H", content, place, len(kept))
    content[first : first + len(body)] = body
    return following


def _plain_size(data: bytes, kept: dict[int, bytes], order: str) -> int:
    """Bytes of the pixels where a file does not tell them, as some do that are not compressed."""

    def of(tag: int, *unless: int) -> list[int]:
        return _numbers(data, kept[tag], order) if tag in kept else list(unless)

    if of(_COMPRESSION, 1) != [1] or len(of(_PIXELS[0][0])) != 1 or not of(256) or not of(257):
        raise ValueError("pixels of unknown size")
    bits = of(258, 1)
    across = of(256)[0] * (sum(bits) if len(bits) > 1 else bits[0] * of(277, 1)[0])
    return of(257)[0] * -(-across // 8)


def _numbers(data: bytes, entry: bytes, order: str) -> list[int]:
    """An entry's values, which are whole numbers of 2 or 4 bytes."""
    kind, start, end = _value(entry, order)
    letter = {3: "H", 4: "I"}.get(kind)
    if letter is None:
        raise ValueError("places that are no whole numbers")
    count = struct.unpack_from(f"{order}I", entry, 4)[0]
    if end == start:
        return list(struct.unpack_from(f"{order}{count}{letter}", entry, 8))
    return list(struct.unpack_from(f"{order}{count}{letter}", data, start))


def _value(entry: bytes, order: str) -> tuple[int, int, int]:
    """An entry's type, and where its value lies outside of it; nowhere if it is short."""
    _, kind, count, place = struct.unpack(f"{order}HHII", entry)
    size = _TAG_SIZES.get(kind, 1) * count
    return (kind, place, place + size) if size > 4 else (kind, 0, 0)
