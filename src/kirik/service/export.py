"""Reviews as data: a table of all of them, and a data set that `kirik train` takes.

    radiographs.csv    path, label, region, group, boxes, … of each frame that was judged
    annotations.json   the boxes as COCO
    images/            the radiographs: JPEG and PNG without what is written beside their pixels,
                       all else as PNG
    history/reviews.csv  every review ever made
    history/labels.csv   whose review made each label, and of which reading

The newest review of each frame counts; whoever was unsure made no label. A row's group is its
exam, so that one exam's radiographs stay on one side of a split.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from PIL import Image
from sqlalchemy import select

from kirik.errors import KirikError
from kirik.orientation import turn_stored
from kirik.radiograph import Limits, Radiograph
from kirik.service.access import Principal, visible
from kirik.service.core import Core
from kirik.service.films import Films, nameless
from kirik.service.refusals import Invalid, Unavailable
from kirik.service.reviews import judged
from kirik.service.tables import Reading, Review, Study

TABLE, COCO = "radiographs.csv", "annotations.json"
HISTORY, ORIGINS = "history/reviews.csv", "history/labels.csv"
LABELS = {"fracture": "fractured", "no_fracture": "not_fractured"}

_FULL = Limits.pixels
"""Pixels on the longer side: as many as there are, since boxes are told in those."""
_AS_THEY_ARE = {"jpeg": "jpg", "png": "png"}
_REVIEW = (
    *("review", "study", "frame", "model", "reading", "probability", "agrees", "decision"),
    *("boxes", "comment", "by", "at"),
)
_ROW = ("image_id", "path", "label", "group", "region", "boxes")
_ORIGIN = ("image_id", "reading", "probability", "model", "agrees", "reviewed_by", "reviewed_at")
"""How a label came about is nothing that a radiograph shows: in the data set's own table it would
be taken for a fact that may give the label away."""


@dataclass(frozen=True)
class _Image:
    """A judged frame. name: of its file; size: (width, height) as stored."""

    name: str
    study: Study
    review: Review
    reading: Reading | None
    size: tuple[int, int]


def reviews_csv(core: Core, principal: Principal) -> str:
    """All reviews that a principal may see, oldest first, a row each."""
    with core.database.reading() as session:
        asked = (
            select(Review, Reading)
            .join(Study, Study.id == Review.study_id)
            .outerjoin(
                Reading,
                (Reading.study_id == Review.study_id)
                & (Reading.frame == Review.frame)
                & (Reading.model == Review.model),
            )
            .where(visible(principal))
            .order_by(Review.number)
        )
        return _table(_REVIEW, (_review(*row) for row in session.execute(asked)))


def training_zip(core: Core, films: Films, principal: Principal) -> Iterator[bytes]:
    """The data set, zipped piece by piece: it may be larger than any memory."""
    with core.database.reading() as session:
        found = session.execute(judged(principal).order_by(Review.number)).all()
        history = reviews_csv(core, principal)
    pipe, images = _Pipe(), []
    with zipfile.ZipFile(pipe, "w") as archive:
        for review, study, reading in found:
            if review.decision not in LABELS:
                continue
            try:
                image = yield from _add_image(core, films, archive, pipe, study, review, reading)
            except Unavailable:  # of no file: what comes after it would be missing, too
                raise
            except (KirikError, OSError):  # deleted meanwhile, or cannot be decoded any more
                continue
            images.append(image)
        archive.writestr(TABLE, _table(_ROW, map(_row, images)))
        archive.writestr(COCO, json.dumps(_coco(images), ensure_ascii=False, indent=1))
        archive.writestr(HISTORY, history)
        archive.writestr(ORIGINS, _table(_ORIGIN, map(_origin, images)))
        yield from pipe.taken()
    yield from pipe.taken()


def _add_image(
    core: Core, films: Films, archive: zipfile.ZipFile, pipe: "_Pipe", study, review, reading
) -> Iterator[bytes]:
    """Put a frame's file into the zip; returns the frame."""
    several = (study.frames or 1) > 1
    told = reading is not None and reading.width and not several
    suffix = _AS_THEY_ARE.get(study.kind) if told else None
    as_it_is = _as_it_is(core, study) if suffix else None
    number = f"-{review.frame}" if several else ""
    name = f"images/{study.id}{number}.{suffix if as_it_is else 'png'}"
    if as_it_is:
        size = (reading.width, reading.height)
        with archive.open(name, "w") as member:
            for piece in as_it_is:
                member.write(piece)
                yield from pipe.taken()
    else:
        film = films.film(study, review.frame, _FULL, square=False)
        size, content = film.stored_size[::-1], _sixteen_bits(film)
        archive.writestr(name, content)
    yield from pipe.taken()
    return _Image(name, study, review, reading, size)


def _as_it_is(core: Core, study: Study) -> Iterator[bytes] | None:
    """A study's file without what may name its patient, in pieces; None where that cannot be told
    from the pixels."""
    pieces = nameless(core, study)
    try:
        # Before its member is begun, which would spoil the whole if its bytes did not come.
        return chain([next(pieces, b"")], pieces)
    except Invalid:
        return None


def _sixteen_bits(film: Radiograph) -> bytes:
    """PNG of a frame in the orientation as stored, its grays as finely as a PNG keeps them."""
    levels = np.round(np.clip(film.pixels, 0, 1) * 65535).astype(np.uint16)
    buffer = io.BytesIO()
    stored = np.ascontiguousarray(turn_stored(levels, film.orientation))
    Image.fromarray(stored).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _row(image: _Image) -> list[str]:
    study, review = image.study, image.review
    return [
        image.name.removeprefix("images/"),
        image.name,
        LABELS[review.decision],
        study.exam or study.id,
        _harmless(study.region or ""),
        _boxes(review),
    ]


def _origin(image: _Image) -> list[str]:
    review, reading = image.review, image.reading
    return [
        image.name.removeprefix("images/"),
        *_said(reading),
        _harmless(review.model or ""),
        str(int(review.agrees)),
        _harmless(review.by),
        review.at.isoformat(timespec="seconds"),
    ]


def _said(reading: Reading | None) -> tuple[str, str]:
    """A reading's decision and its probability."""
    probability = reading.probability if reading else None
    decision = (reading.decision if reading else None) or ""
    return decision, "" if probability is None else f"{probability:.6f}"


def _review(review: Review, reading: Reading | None) -> list[str]:
    return [
        str(review.number),
        review.study_id,
        str(review.frame),
        _harmless(review.model or ""),
        *_said(reading),
        str(int(review.agrees)),
        review.decision,
        _boxes(review),
        _harmless(review.comment),
        _harmless(review.by),
        review.at.isoformat(timespec="seconds"),
    ]


def _boxes(review: Review) -> str:
    sides = ("x", "y", "width", "height")
    return "; ".join(" ".join(repr(float(box[side])) for side in sides) for box in review.boxes)


def _table(columns: tuple[str, ...], rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet takes for text, whatever somebody wrote into it."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _coco(images: list[_Image]) -> dict:
    """https://cocodataset.org/#format-data, object detection."""
    annotations = [
        {"image_id": number, "category_id": 1, "iscrowd": 0}
        | {"bbox": [box[side] for side in ("x", "y", "width", "height")]}
        | {"area": box["width"] * box["height"], "segmentation": []}
        for number, image in enumerate(images, 1)
        for box in image.review.boxes
    ]
    return {
        "info": {"description": "Reviews of kirik's readings"},
        "images": [
            {"id": number, "file_name": image.name.removeprefix("images/")}
            | {"width": image.size[0], "height": image.size[1]}
            for number, image in enumerate(images, 1)
        ],
        "annotations": [{"id": i} | one for i, one in enumerate(annotations, 1)],
        "categories": [{"id": 1, "name": "fracture"}],
    }


class _Pipe(io.RawIOBase):
    """What a zip is written into, and taken out of as it grows."""

    def __init__(self):
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """What was written since it was last asked for."""
        pieces, self._pieces = self._pieces, []
        if pieces:
            yield b"".join(pieces)
