"""Pictures of a stored study: the radiograph, its evidence, both with their reading.

Files are decoded in the limited child; what was made is kept in memory for a while, since a list
of fifty studies asks for fifty small pictures each time that it is opened.
"""

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from kirik.errors import RadiographError
from kirik.orientation import turn_stored
from kirik.output.overlay import FILM, draw_overlay
from kirik.radiograph import Radiograph
from kirik.reading.film import decode_film
from kirik.service.core import Core, decoding
from kirik.service.refusals import Invalid, NotFound
from kirik.service.results import as_reading, unpack_evidence
from kirik.service.settings import MIB
from kirik.service.tables import Reading, Study

LARGEST = 4096
"""Pixels on the longer side of the largest picture."""

_EVIDENCE = 1024
_HEAT = (230, 120, 0)  # as in kirik.output.overlay
_KEPT = 64 * MIB
_KEPT_EACH = 4 * MIB


class Films:
    """Makes pictures, and keeps the last ones. Safe to share among threads."""

    def __init__(self, core: Core):
        self._core, self._kept, self._lock = core, OrderedDict(), threading.Lock()
        self._bytes = 0

    def image(self, study: Study, frame: int, at_most: int) -> bytes:
        """PNG, 8-bit gray, in the orientation as stored, of square pixels. Raises Invalid if it
        cannot be decoded."""
        return self._once((study.blob, frame, at_most), lambda: self._image(study, frame, at_most))

    def film(
        self, study: Study, frame: int, at_most: int = FILM, square: bool = True
    ) -> Radiograph:
        """A frame's pixels, turned upright, see `decode_film`. Raises Invalid if it cannot be
        decoded, Unavailable if no file can be at the moment."""
        if study.frames is not None and frame > max(1, study.frames):
            raise NotFound(f"the study has no frame {frame}")
        path = self._core.blobs.path(study.blob)
        try:
            with decoding():
                return decode_film(path, frame, at_most, self._core.decoders, square)
        except RadiographError as error:
            raise _unreadable(error) from error

    def overlay(self, study: Study, row: Reading, language: str) -> bytes:
        """PNG of a reading: the radiograph beside the same with its evidence and findings."""
        picture = draw_overlay(self.film(study, row.frame), as_reading(row), language)
        return _png(picture)

    def _image(self, study: Study, frame: int, at_most: int) -> bytes:
        film = self.film(study, frame, at_most)
        levels = np.round(np.clip(film.pixels, 0, 1) * 255).astype(np.uint8)
        return _png(Image.fromarray(np.ascontiguousarray(turn_stored(levels, film.orientation))))

    def _once(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if len(made) <= _KEPT_EACH and key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > _KEPT:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    def forget(self, study: Study) -> None:
        """Let go of a study's pictures."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == study.blob]:
                self._bytes -= len(self._kept.pop(key))


def nameless(core: Core, study: Study) -> Iterator[bytes]:
    """The bytes of a study's JPEG, PNG or TIFF, in pieces, without what was written beside the
    pixels, which may name its patient; these stay bit for bit.

    Raises Invalid where the parts cannot be told, Unavailable if no file can be decoded.
    """
    request = {"do": "anonymize", "key": ""}  # which only DICOM's UIDs need
    try:
        yield from core.pieces(core.blobs.path(study.blob), request)
    except RadiographError as error:
        raise _unreadable(error) from error


def evidence_png(row: Reading) -> bytes:
    """PNG, RGBA, whose alpha is the evidence, to be laid over the picture as stored.

    Raises NotFound where the reading has no map.
    """
    if row.evidence is None:
        raise NotFound("this reading has no evidence map")
    cells = turn_stored(unpack_evidence(row.evidence), row.orientation)
    width, height = row.width or cells.shape[1], row.height or cells.shape[0]
    scale = min(1.0, _EVIDENCE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    map_ = Image.fromarray(np.ascontiguousarray(cells)).resize(size, Image.Resampling.BICUBIC)
    alpha = np.round(np.clip(np.asarray(map_), 0, 1) * 255).astype(np.uint8)
    colour = [np.full_like(alpha, level) for level in _HEAT]
    return _png(Image.fromarray(np.stack([*colour, alpha], axis=-1), "RGBA"))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # The quickest compression: people wait for it, and it goes a short way.
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _unreadable(error: RadiographError) -> Invalid:
    """Without the file's place in the storage, which an error begins with."""
    refused = Invalid(str(error).partition(": ")[2] or "cannot be decoded")
    refused.reason = error.reason
    return refused
