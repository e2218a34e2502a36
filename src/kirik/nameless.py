"""Compressed pixels without all that is neither pixels nor needed to decode them."""

import re
import struct
from collections.abc import Iterator

_COMMENT, _SCAN, _END, _JPEG_LS = 0xFE, 0xDA, 0xD9, 0xF7
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
_NEXT_MARKER_LS = re.compile(rb"\xff+[\x80-\xcf\xd8-\xfe]", re.DOTALL)
"""JPEG-LS stuffs a bit where JPEG stuffs a byte (ISO 14495-1 A.1): less is its pixels'."""
_KEPT_APPS = {0xE0: (b"JFIF\0", 14), 0xE8: (b"mrfx", 5), 0xEE: (b"Adobe", 12)}
"""Application segments that say what the colours are: how they begin, and how many bytes say it;
a small copy or a note may follow."""


def nameless_jpeg(data: bytes, added: bytes = b"") -> bytes:
    """The same JPEG or JPEG-LS without comments, others' segments, and what follows its end; the
    compressed pixels stay bit for bit.

    added: segments to put at its beginning. Raises ValueError, IndexError or struct.error where the
    parts cannot be told.
    """
    kept, place, next_marker = [data[:2], added], 2, _NEXT_MARKER
    while True:
        found = _NEXT_MARKER.match(data, place)
        if found is None:
            raise ValueError("no marker where one was expected")
        marker, start = data[found.end() - 1], found.end()
        if marker == _END:
            return b"".join([*kept, b"\xff\xd9"])  # what comes behind it is not the picture
        if marker == _JPEG_LS:
            next_marker = _NEXT_MARKER_LS
        end = start + struct.unpack_from(">H", data, start)[0]
        if marker == _SCAN:  # its pixels run to the next marker
            following = next_marker.search(data, end)
            if following is None:
                return b"".join([*kept, b"\xff\xda", data[start:]])  # cut off; decoding says so
            end = following.start()
        kept.append(_kept(marker, data[start:end]))
        if end <= start or end > len(data):
            raise ValueError("a segment beyond the end")
        place = end


def _kept(marker: int, segment: bytes) -> bytes:
    """What stays of a segment, which begins with its length."""
    if marker == _COMMENT:
        return b""
    if 0xE0 <= marker <= 0xEF:
        begins, length = _KEPT_APPS.get(marker, (b"", 0))
        if not length or not segment.startswith(begins, 2):
            return b""
        said = segment[2 : 2 + length]
        if marker == 0xE0:
            said = said[:12] + bytes(len(said[12:]))  # of a copy of no size
        segment = struct.pack(">H", len(said) + 2) + said
    return b"\xff" + bytes([marker]) + segment


def nameless_j2k(data: bytes) -> bytes:
    """The same JPEG 2000 codestream with comments of zeros, without the boxes of a JP2 file around
    it and what follows its end (ISO 15444-1, annex A).

    Raises ValueError or struct.error where the parts cannot be told.
    """
    start = data.find(_SOC_SIZ)
    if start < 0:
        raise ValueError("no codestream")
    content = bytearray(data[start:])
    for marker, place, end in j2k_segments(content):
        if marker == _EOC:
            return bytes(content[:end])
        if marker == _COM:
            content[place + 6 : end] = bytes(max(0, end - place - 6))
    return bytes(content)  # cut off; decoding says so


def j2k_segments(stream: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment of a JPEG 2000 codestream, and of its end marker.

    A tile-part's packets, from its SOD on, count as one segment; where its length is left open, as
    that of the last one may be, they go to the end marker, or to the end of what is there. Raises
    ValueError or struct.error where the parts cannot be told.
    """
    place, tile_end = 2, 0
    while place + 2 <= len(stream):
        marker = struct.unpack_from(">H", stream, place)[0]
        if marker == _EOC:
            end = place + 2
        elif marker == _SOD:
            found = stream.find(_END_MARKER, place) if tile_end <= place else tile_end
            end = found if found >= 0 else len(stream)
        else:
            length = struct.unpack_from(">H", stream, place + 2)[0]
            if length < 2:
                raise ValueError("a segment of no length")
            end = place + 2 + length
        if marker == _SOT:
            part = struct.unpack_from(">I", stream, place + 6)[0]
            tile_end = place + part if part else 0
        yield marker, place, end
        if marker == _EOC:
            return
        place = end


_SOC_SIZ, _END_MARKER = b"\xff\x4f\xff\x51", b"\xff\xd9"
_SOT, _SOD, _EOC, _COM = 0xFF90, 0xFF93, 0xFFD9, 0xFF64


def nameless_rle(plane: int, data: bytes) -> bytes:
    """The same RLE frame (DICOM PS3.5, annex G) with zeros where nothing of a plane is.

    plane: bytes of each plane, unpacked. Raises ValueError or struct.error where the parts cannot
    be told.
    """
    count, *places = struct.unpack_from("<16I", data)
    if not 1 <= count <= 15:
        raise ValueError("no planes")
    content = bytearray(len(data))
    struct.pack_into("<16I", content, 0, count, *places[:count], *[0] * (15 - count))
    for place, end in zip(places, [*places[1:count], len(data)], strict=False):
        at, left = place, plane
        while left > 0 and at < end:
            code = data[at]
            if code < 128:
                at, left = at + 2 + code, left - code - 1
            else:
                at, left = at + (2 if code > 128 else 1), left - (257 - code if code > 128 else 0)
        content[place : min(at, end)] = data[place : min(at, end)]
    return bytes(content)
