"""Fracture outlines of a COCO annotation file: boxes and polygons by file name.

The format: https://cocodataset.org/#format-data (object detection).
"""

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from kirik.dataset.index import Defect, box_around, box_corners
from kirik.errors import DataSetError

MASKS = Path("Annotations") / "COCO JSON" / "COCO_fracture_masks.json"
TOLERANCE = 0.5
"""Pixels that a box may pass the border by: annotation tools round at half a pixel."""

Numbers = tuple[float, ...]


@dataclass
class Shapes:
    """Annotations of one image, in its stored pixels: boxes (x, y, width, height), and each one's
    own outlines, of which there may be none. size: (columns, rows) that the file says it has."""

    size: tuple[float, float] | None = None
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    outlines: list[list[Numbers]] = field(default_factory=list)

    @property
    def polygons(self) -> list[Numbers]:
        """The outlines of all fractures, a box where a fracture has no other; none where none has:
        boxes say as much."""
        if not any(self.outlines):
            return []
        pairs = zip(self.boxes, self.outlines, strict=True)
        return [polygon for box, own in pairs for polygon in own or [box_corners(box)]]


@dataclass(frozen=True)
class Annotations:
    """Shapes by file name; `names` are all images that the file lists, annotated or not."""

    shapes: dict[str, Shapes]
    names: frozenset[str]

    def fractures(self, name: str) -> int:
        """How many fractures are outlined on an image."""
        return len(self.shapes[name].boxes) if name in self.shapes else 0


def read_annotations(path: Path, defects: list[Defect]) -> Annotations | None:
    """Annotations of a COCO file, or None if there is none; what is wrong goes into `defects`.

    Raises DataSetError if the file is no COCO file.
    """
    if not path.is_file():
        defects.append(Defect("missing_annotations", (path.name,), "no boxes are known"))
        return None
    document = _load(path)
    images = {image.get("id"): image for image in document["images"]}
    shapes: dict[str, Shapes] = defaultdict(Shapes)
    for annotation in document["annotations"]:
        image = images.get(annotation.get("image_id"))
        if image is None:
            shown = str(annotation.get("image_id"))
            detail = f"annotation {annotation.get('id')} is of an image that the file lacks"
            defects.append(Defect("annotation_of_unknown_image", (shown,), detail))
            continue
        own = shapes[image["file_name"]]
        own.size = _size(image)
        defects += _add(own, annotation, image)
    names = frozenset(image["file_name"] for image in images.values())
    return Annotations(dict(shapes), names)


def _load(path: Path) -> dict:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise DataSetError(f"{path}: cannot be read ({problem.strerror})") from problem
    except (ValueError, RecursionError) as problem:
        raise DataSetError(f"{path}: not JSON ({problem}); fetch the file again") from problem
    parts = [document.get(key) for key in ("images", "annotations")] if _is(document, dict) else []
    if not parts or not all(_is(part, list) for part in parts):
        raise DataSetError(f"{path}: not a COCO file; it needs lists `images` and `annotations`")
    images, annotations = parts
    named = all(_is(image, dict) and _is(image.get("file_name"), str) for image in images)
    if not named or not all(_is(annotation, dict) for annotation in annotations):
        raise DataSetError(f"{path}: not a COCO file; each image needs `id` and `file_name`")
    for image in images:  # tools write folders, too, of whatever system they ran on
        image["file_name"] = re.split(r"[/\\]", image["file_name"])[-1]
    _refuse_odd_ids(path, images, annotations)
    return document


def _refuse_odd_ids(path: Path, images: list[dict], annotations: list[dict]) -> None:
    names: dict[object, str] = {}
    for image in images:
        name = image["file_name"]
        _refuse_odd_id(path, "id", image, f"image {name}")
        if names.setdefault(image["id"], name) != name:
            raise DataSetError(
                f"{path}: images {names[image['id']]} and {name} have one `id` ({image['id']}); "
                "number them anew, and their annotations' `image_id` with them"
            )
    for annotation in annotations:
        if annotation.get("image_id") is not None:
            _refuse_odd_id(path, "image_id", annotation, f"annotation {annotation.get('id')}")


def _refuse_odd_id(path: Path, key: str, said: dict, what: str) -> None:
    if not isinstance(said.get(key), int | float | str):
        raise DataSetError(
            f"{path}: {what}: its `{key}` is no number and no text; correct it, or fetch the file "
            "again"
        )


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind)


def _add(shapes: Shapes, annotation: dict, image: dict) -> list[Defect]:
    name = image["file_name"]
    polygons = _polygons(annotation.get("segmentation"))
    box = _numbers(annotation.get("bbox")) or (box_around(polygons) if polygons else ())
    if len(box) != 4 or box[2] <= 0 or box[3] <= 0:
        detail = f"annotation {annotation.get('id')} has neither a box nor an outline with an area"
        return [Defect("bad_annotation", (name,), detail)]
    shapes.boxes.append(box)
    shapes.outlines.append(polygons)
    if shapes.size and passes_border(box, *shapes.size):
        shown = ", ".join(f"{number:.0f}" for number in box)
        detail = f"box [{shown}] in an image of {sized(shapes.size)}"
        return [Defect("box_outside_image", (name,), detail)]
    return []


def _size(image: dict) -> tuple[float, float] | None:
    size = _numbers([image.get("width"), image.get("height")])
    return size if size and min(size) > 0 else None


def sized(size: tuple[float, float]) -> str:
    """A size (columns, rows), as a defect's detail."""
    return "×".join(f"{side:g}" for side in size)


def passes_border(box: tuple[float, float, float, float], width: float, height: float) -> bool:
    """Whether a box (x, y, width, height) reaches outside an image of that size, in pixels."""
    x, y, wide, high = box
    inside = min(x, y) >= -TOLERANCE and x + wide <= width + TOLERANCE
    return not (inside and y + high <= height + TOLERANCE)


def _polygons(segmentation: object) -> list[Numbers]:
    outlines = segmentation if isinstance(segmentation, list) else []  # run lengths: no outline
    polygons = [_numbers(outline) for outline in outlines]
    return [polygon for polygon in polygons if len(polygon) >= 6 and len(polygon) % 2 == 0]


def _numbers(values: object) -> Numbers:
    if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values):
        return ()
    try:
        numbers = tuple(map(float, values))
    except OverflowError:  # a whole number of hundreds of digits
        return ()
    return numbers if all(map(math.isfinite, numbers)) else ()
