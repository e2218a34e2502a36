"""Files without what was written beside their pixels: names, places, notes.

The compressed pixels stay bit for bit, and so does how they are turned. To be called in the
decoding child alone: the files come from anywhere.
"""

import struct
import zlib

from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES, READABLE, kind_of
from kirik.nameless import nameless_jpeg
from kirik.radiograph import Limits, decode_radiographs

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
_POINTERS = frozenset((330, 34665, 34853, 40965))
"""Tags whose values are the places of further directories: smaller copies, EXIF, GPS."""
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
    """Each directory with the tags that are known to be harmless; the others' values blanked."""
    content, order = bytearray(data), "<" if data[:2] == b"II" else ">"
    place, seen = struct.unpack_from(f"{order}I", data, 4)[0], set()
    while place:
        if place in seen or len(seen) >= _MOST_PAGES:
            raise ValueError("directories in a circle")
        seen.add(place)
        place = _reduce_directory(content, place, order)
    return bytes(content)


def _reduce_directory(content: bytearray, place: int, order: str) -> int:
    """Where the next directory is; 0 after the last."""
    count = struct.unpack_from(f"{order}H", content, place)[0]
    first, last = place + 2, place + 2 + 12 * count
    following = struct.unpack_from(f"{order}I", content, last)[0]
    entries = [bytes(content[first + 12 * n : first + 12 * n + 12]) for n in range(count)]
    kept = [one for one in entries if struct.unpack_from(f"{order}H", one)[0] in _KEPT_TAGS]
    spans = [_span(one, order) for one in kept]
    for one in entries:
        if one not in kept:
            _blank(content, one, order, spans)
    body = b"".join(kept) + struct.pack(f"{order}I", following)
    struct.pack_into(f"{order}H", content, place, len(kept))
    content[first : last + 4] = body.ljust(last + 4 - first, b"\0")
    return following


def _blank(content: bytearray, entry: bytes, order: str, spans: list, depth: int = 0) -> None:
    """Zeros in place of an entry's value, and of the directories that it leads to.

    spans: of what stays; a tag that points there says nothing that is not needed.
    """
    tag, _, count, value = struct.unpack(f"{order}HHII", entry)
    start, end = _span(entry, order)
    if tag in _POINTERS and depth < 3:
        inside = end <= len(content) and end > start
        many = struct.unpack_from(f"{order}{min(count, 16)}I", content, start) if inside else ()
        for place in many or (value,):
            if not 0 < place < len(content) - 2:
                continue
            entries = min(struct.unpack_from(f"{order}H", content, place)[0], 1000)
            for n in range(entries):
                at = place + 2 + 12 * n
                if at + 12 <= len(content):
                    _blank(content, bytes(content[at : at + 12]), order, spans, depth + 1)
            _zero(content, place, min(place + 2 + 12 * entries, len(content)), spans)
    _zero(content, start, end, spans)


def _zero(content: bytearray, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    if end <= len(content) and not any(a < end and start < b for a, b in spans):
        content[start:end] = bytes(end - start)


def _span(entry: bytes, order: str) -> tuple[int, int]:
    """Where an entry's value lies outside of the entry; nowhere if it is short."""
    _, kind, count, place = struct.unpack(f"{order}HHII", entry)
    size = _TAG_SIZES.get(kind, 1) * count
    return (place, place + size) if size > 4 else (0, 0)
