"""Boxes and outlines that show nothing of their radiograph are told, and left out.

A box wholly outside its file marks no fracture that a reading could find: whoever measures one
must not count it. Where a data set was resized and its annotations were not, all lie elsewhere.
"""

import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from kirik.dataset.index import Defect, Index, Record, box_around, overlaps, placed
from kirik.dataset.sources.coco import sized
from kirik.files import head_of, kind_of
from kirik.images import orientation_of, stored_size_of
from kirik.orientation import to_stored, to_stored_box
from kirik.quiet import quiet_decoding

_BEGINNING = 2**16
"""Bytes of a DICOM file among which its size is sought: a header is seldom larger."""
_ROWS, _COLUMNS = 0x00280010, 0x00280011


def without_beyond(index: Index) -> Index:
    """The index without boxes and outlines that lie wholly outside their files as stored, and a
    defect for each, and without those of a radiograph that were drawn on another size than its
    file's, and one for all; one that has no other is a radiograph whose fracture is not marked.
    What was drawn on a file that its EXIF turned is brought to the file as stored.

    Only headers are read, and only of radiographs with boxes or outlines. Where a header does not
    say the size, all stay.
    """
    marked = [record for record in index.records if record.boxes or record.polygons]
    defects: list[Defect] = []
    kept: dict[str, Record] = {}
    with ThreadPoolExecutor() as pool:
        sizes = pool.map(stored_size, (record.path for record in marked))
        for record, size in zip(marked, sizes, strict=True):
            if not size:
                continue
            own = _as_stored(record, *size)
            if other := _other_size(own, *size):
                defects.append(other)
                own = replace(own, boxes=(), polygons=())
            elif beyond := list(_beyond(own, *size)):
                defects += beyond
                own = _without_beyond(own, *size)
            if own is not record:
                kept[record.id] = own
    if not kept:
        return index
    records = tuple(kept.get(record.id, record) for record in index.records)
    return replace(index, records=records, defects=(*index.defects, *dict.fromkeys(defects)))


def _as_stored(record: Record, rows: int, columns: int) -> Record:
    """The record with what its source drew on the file as EXIF turns it by a quarter, as browsers
    show it, and so said its sides the other way round."""
    drawn_on = record.drawn_on or (columns, rows)
    off = [sum(np.abs(np.subtract(drawn_on, size))) for size in ((columns, rows), (rows, columns))]
    turned_size = off[1] < off[0] and off[1] <= 2  # sides may be rounded
    if not turned_size or (orientation := _orientation(record.path)) < 5:
        return record
    turned = orientation, (rows, columns)
    polygons = (to_stored(np.reshape(one, (-1, 2)), *turned) for one in record.polygons)
    return replace(
        record,
        boxes=tuple(tuple(to_stored_box(box, *turned).tolist()) for box in record.boxes),
        polygons=tuple(tuple(one.ravel().tolist()) for one in polygons),
        drawn_on=drawn_on[::-1],
    )


def _orientation(path: Path) -> int:
    """EXIF orientation 1…8 of a radiograph's file; 1 where it says none. Never raises."""
    try:
        with quiet_decoding(), Image.open(path, formats=("JPEG", "PNG", "TIFF")) as image:
            return orientation_of(image)
    except Exception:  # a DICOM has none, and decoding will say what is damaged
        return 1


def _other_size(record: Record, rows: int, columns: int) -> Defect | None:
    """What was drawn on another size than the file's; a quarter turn is none."""
    own, drawn_on = (columns, rows), record.drawn_on or (columns, rows)
    if all(abs(said - side) <= 1 for said, side in zip(sorted(drawn_on), sorted(own), strict=True)):
        return None
    detail = f"drawn on {sized(drawn_on)}; the file has {sized(own)}"
    return Defect("annotation_of_other_size", (record.id,), detail)


def _beyond(record: Record, rows: int, columns: int) -> Iterable[Defect]:
    for box in (*record.boxes, *(box_around([polygon]) for polygon in record.polygons)):
        if not overlaps(box, columns, rows):
            yield Defect("box_beyond_image", (record.id,), placed(box, columns, rows))


def _without_beyond(record: Record, rows: int, columns: int) -> Record:
    return replace(
        record,
        boxes=tuple(box for box in record.boxes if overlaps(box, columns, rows)),
        polygons=tuple(p for p in record.polygons if overlaps(box_around([p]), columns, rows)),
    )


def stored_size(path: Path) -> tuple[int, int] | None:
    """(rows, columns) of a radiograph's file as stored, by its header alone; None where that does
    not say it, or the file has several pages. Never raises."""
    try:
        with quiet_decoding():
            if kind_of(head_of(path)) == "DICOM":
                return _dicom_size(path)
            with Image.open(path, formats=("JPEG", "PNG", "TIFF")) as image:
                return stored_size_of(image) if getattr(image, "n_frames", 1) == 1 else None
    except Exception:  # whatever a damaged header makes a parser raise; decoding will say it
        return None


def _dicom_size(path: Path) -> tuple[int, int]:
    from pydicom.filereader import read_partial  # takes as long to import as all else here
    from pydicom.tag import Tag

    with path.open("rb") as file:
        beginning = io.BytesIO(file.read(_BEGINNING))
    said = read_partial(
        beginning,
        stop_when=lambda tag, *_: tag > _COLUMNS,
        force=True,
        specific_tags=[Tag(_ROWS), Tag(_COLUMNS)],
    )
    return int(said.Rows), int(said.Columns)
