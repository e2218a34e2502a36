"""Reviews as data: a table of all of them, and a data set that `kirik train` takes.

    radiographs.csv    path, label, region, group, boxes, … of each frame that was judged
    annotations.json   the boxes as COCO
    images/            the radiographs: JPEG and PNG as they are, all else as PNG, without names
    history/reviews.csv  every review ever made

The newest review of each frame counts; whoever was unsure made no label. A row's group is its
exam, so that one exam's radiographs stay on one side of a split.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sqlalchemy import select

from kirik.errors import KirikError
from kirik.orientation import turn_stored
from kirik.radiograph import Radiograph
from kirik.service.access import Principal, visible
from kirik.service.core import Core
from kirik.service.films import Films
from kirik.service.reviews import judged
from kirik.service.tables import Reading, Review, Study

TABLE, COCO, HISTORY = "radiographs.csv", "annotations.json", "history/reviews.csv"
LABELS = {"fracture": "fractured", "no_fracture": "not_fractured"}

_FULL = 2**14
"""Pixels on the longer side: as many as there are."""
_AS_THEY_ARE = {"jpeg": "jpg", "png": "png"}
_PIECE = 2**20
_REVIEW = (
    *("review", "study", "frame", "model", "reading", "probability", "agrees", "decision"),
    *("boxes", "comment", "by", "at"),
)
_ROW = (
    *("image_id", "path", "label", "group", "region", "boxes"),
    *("x_reading", "x_probability", "x_model", "x_agrees", "x_reviewed_by", "x_reviewed_at"),
)


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
            except (KirikError, OSError):  # deleted meanwhile, or cannot be decoded any more
                continue
            images.append(image)
        archive.writestr(TABLE, _table(_ROW, map(_row, images)))
        archive.writestr(COCO, json.dumps(_coco(images), ensure_ascii=False, indent=1))
        archive.writestr(HISTORY, history)
        yield from pipe.taken()
    yield from pipe.taken()


def _add_image(
    core: Core, films: Films, archive: zipfile.ZipFile, pipe: "_Pipe", study, review, reading
) -> Iterator[bytes]:
    """Put a frame's file into the zip; returns the frame."""
    several = (study.frames or 1) > 1
    suffix = None if several else _AS_THEY_ARE.get(study.kind)
    name = f"images/{study.id}" + (f"-{review.frame}" if several else "") + f".{suffix or 'png'}"
    if suffix and reading is not None and reading.width:
        size = (reading.width, reading.height)
        # In this order: a member without its bytes would spoil the whole.
        with core.blobs.path(study.blob).open("rb") as file, archive.open(name, "w") as member:
            while piece := file.read(_PIECE):
                member.write(piece)
                yield from pipe.taken()
    else:
        film = films.film(study, review.frame, _FULL)
        size, content = film.stored_size[::-1], _sixteen_bits(film)
        archive.writestr(name, content)
    yield from pipe.taken()
    return _Image(name, study, review, reading, size)


def _sixteen_bits(film: Radiograph) -> bytes:
    """PNG of a frame in the orientation as stored, its grays as finely as a PNG keeps them."""
    levels = np.round(np.clip(film.pixels, 0, 1) * 65535).astype(np.uint16)
    buffer = io.BytesIO()
    stored = np.ascontiguousarray(turn_stored(levels, film.orientation))
    Image.fromarray(stored).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _row(image: _Image) -> list[str]:
    study, review, reading = image.study, image.review, image.reading
    return [
        image.name.removeprefix("images/"),
        image.name,
        LABELS[review.decision],
        study.exam or study.id,
        _harmless(study.region or ""),
        _boxes(review),
        (reading.decision if reading else None) or "",
        "" if reading is None or reading.probability is None else f"{reading.probability:.6f}",
        _harmless(review.model or ""),
        str(int(review.agrees)),
        _harmless(review.by),
        review.at.isoformat(timespec="seconds"),
    ]


def _review(review: Review, reading: Reading | None) -> list[str]:
    probability = reading.probability if reading else None
    return [
        str(review.number),
        review.study_id,
        str(review.frame),
        _harmless(review.model or ""),
        (reading.decision if reading else None) or "",
        "" if probability is None else f"{probability:.6f}",
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
