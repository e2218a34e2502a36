"""A small copy of a data set: what a network sees of it, for a slow disk, or to travel.

The copy is a CSV data set: OUT/data.csv and OUT/images/ID.jpg, grayscale, upright, its boxes and
outlines in the copies' pixels. Whatever the originals were (DICOM, 16 bits, turned by EXIF), the
copies differ from one another in what they show alone. What DICOM's tags say is of one study or
patient is a group of the copy.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from kirik.dataset.index import Index, Record
from kirik.dataset.inspect import whose
from kirik.dataset.places import refuse_folder
from kirik.dataset.sources.bonds import bonds_of_tags
from kirik.dataset.sources.table import write_index
from kirik.errors import DataSetError, RadiographError
from kirik.files import read_file
from kirik.orientation import to_upright, to_upright_box
from kirik.radiograph import DEFAULT_LIMITS, decode_radiograph

QUALITY = 90


def shrink(
    index: Index,
    out: Path,
    size: int,
    *,
    quality: int = QUALITY,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Write copies whose longer side has at most `size` pixels; smaller ones keep their size.

    Returns why others could not be read, by id: they are left out.
    Raises DataSetError if `out` is there already, none can be read, or the disk refuses,
    OutputError if what lies there would count as a part of the data set.
    """
    if out.exists():
        raise DataSetError(f"{out}: already exists; name a new folder")
    refuse_folder(out, index)
    failures, kept, tags = {}, [], {}
    try:
        (out / "images").mkdir(parents=True)
        with ThreadPoolExecutor() as pool:
            draw = partial(_copy, size=size, quality=quality)
            copies = pool.map(draw, index.records, _places(index.records, out / "images"))
            for done, (record, copy) in enumerate(zip(index.records, copies, strict=True), 1):
                if isinstance(copy, str):
                    failures[record.id] = copy
                else:
                    kept.append(copy[0])
                    tags[record.id] = copy[1]
                if progress:
                    progress(done, len(index.records))
    except OSError as error:
        raise DataSetError(f"{out}: cannot be written ({error.strerror}); make room") from error
    if not kept:
        reason = next(iter(failures.values()), "no radiographs")
        raise DataSetError(f"{index.root}: no radiograph of it can be read; first: {reason}")
    copied = replace(index, root=out, records=tuple(kept), defects=())
    write_index(bonds_of_tags(tags).bound(copied), out / "data.csv")
    return failures


def _places(records: Sequence[Record], folder: Path) -> list[Path]:
    """A file's place within the folder for each record, by its id, which may be an absolute path,
    or lead outside; a.png and a.jpg must not become one."""
    taken: set[str] = set()
    places = []
    for number, record in enumerate(records):
        parts = [part.replace(":", "_") for part in re.split(r"[/\\]", record.id)]
        inside = PurePosixPath(*(part for part in parts if part not in ("", ".", "..")))
        inside = inside if inside.name else PurePosixPath(f"{number}")
        further = (f"{inside}.{n}.jpg" for n in count(number))
        names = chain((f"{inside.with_suffix('.jpg')}", f"{inside}.jpg"), further)
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        places.append(folder / name)
    return places


def _copy(
    record: Record, path: Path, size: int, quality: int
) -> tuple[Record, tuple[str, ...]] | str:
    """The copy, and whose it is; or why there is none."""
    try:
        content = read_file(record.path, DEFAULT_LIMITS.file_bytes)
        radiograph = decode_radiograph(content, str(record.path))
    except RadiographError as error:
        return str(error)
    rows, columns = radiograph.pixels.shape
    scale = min(1.0, size / max(rows, columns))
    shape = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    image = Image.fromarray(radiograph.pixels).resize(shape, Image.Resampling.BILINEAR)
    levels = np.clip(np.asarray(image) * 255 + 0.5, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path, "JPEG", quality=quality)
    turned = radiograph.orientation, radiograph.stored_size
    boxes = tuple(
        _shortened(to_upright_box(np.array(box), *turned) * scale) for box in record.boxes
    )
    polygons = tuple(
        _shortened(to_upright(np.reshape(p, (-1, 2)), *turned) * scale) for p in record.polygons
    )
    return replace(record, path=path, boxes=boxes, polygons=polygons), whose(content)


def _shortened(numbers: np.ndarray) -> tuple[float, ...]:
    """Numbers to seven digits, not to some decimals: no box, however small, becomes nothing."""
    return tuple(float(f"{number:.7g}") for number in numbers.ravel())
