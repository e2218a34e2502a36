"""Whole data sets of phantoms on disk, in FracAtlas's layout or as a folder per class."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from kirik.dataset.phantoms.files import SUFFIXES, save_phantom
from kirik.dataset.phantoms.phantom import LARGEST, SMALLEST, Exam, Phantom
from kirik.dataset.phantoms.plan import Plan, plan_exams, plan_formats
from kirik.errors import DataSetError

Form = Literal["fracatlas", "folders"]
ImageFormat = Literal["jpeg", "png", "dicom", "mixed"]

FLAGS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
COLUMNS = (
    "image_id",
    *FLAGS,
    "mixed",
    "hardware",
    "multiscan",
    "fractured",
    "fracture_count",
    *VIEWS,
)
NOT_FRACTURED = "not_fractured"


@dataclass(frozen=True)
class _Written:
    """What the tables need to know of a phantom that is on disk."""

    name: str
    rows: int
    columns: int
    phantom: Phantom


def write_phantoms(
    directory: Path,
    *,
    count: int,
    seed: int = 0,
    size: int = 450,
    form: Form = "fracatlas",
    image_format: ImageFormat = "jpeg",
    fractured_share: float = 0.3,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write `count` phantoms into an empty or new directory, the same bytes for the same arguments.

    size: of the longer side, in pixels. form: `fracatlas` (images, dataset.csv, COCO masks) or
    `folders` (not_fractured and one folder per fracture type; one view a patient, so that no
    two files show the same one). image_format: of the files; `mixed` has all three in equal
    numbers. fractured_share: 0…1; the number of fractured ones is exact. progress: called with
    files done and in all, after each. Raises DataSetError before anything is written.
    """
    directory = Path(directory)
    _refuse(directory, count, size, form, image_format, fractured_share)
    formats = tuple(SUFFIXES) if image_format == "mixed" else (image_format,)
    plans = plan_exams(count, seed, fractured_share, single=form == "folders")
    files = zip(plan_formats(count, seed, formats), _phantoms(plans, size), strict=True)
    places = _fracatlas_place if form == "fracatlas" else _folder_place
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for done, (own, (plan, view, phantom)) in enumerate(files):
        name = f"phantom{done:07d}{SUFFIXES[own]}"  # FracAtlas's own are IMG…
        path = directory / places(phantom) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_phantom(phantom, path, own, exam=plan.seed, view=view)
        rows, columns = phantom.pixels.shape
        written.append(_Written(name, rows, columns, _without_pixels(phantom)))
        if progress is not None:
            progress(done + 1, count)
    if form == "fracatlas":
        _write_table(directory, written)
        _write_masks(directory, written)


def _refuse(
    directory: Path, count: int, size: int, form: str, image_format: str, share: float
) -> None:
    if directory.exists() and not directory.is_dir():
        raise DataSetError(f"{directory}: a file, not a directory; name a new or empty directory")
    if directory.is_dir() and any(directory.iterdir()):
        raise DataSetError(f"{directory}: not empty; phantoms need a new or empty directory")
    if count < 1:
        raise DataSetError(f"count {count}: at least 1 phantom can be written")
    if not 0 <= share <= 1:
        raise DataSetError(f"fractured share {share}: it must lie in 0…1")
    if not SMALLEST <= size <= LARGEST:
        raise DataSetError(f"size {size}: a phantom has {SMALLEST} to {LARGEST} pixels a side")
    if form not in ("fracatlas", "folders"):
        raise DataSetError(f"form {form!r} is unknown; there are fracatlas, folders")
    if image_format not in (*SUFFIXES, "mixed"):
        raise DataSetError(
            f"image format {image_format!r} is unknown; there are {', '.join(SUFFIXES)}, mixed"
        )


def _phantoms(plans: list[Plan], size: int) -> Iterator[tuple[Plan, int, Phantom]]:
    for plan in plans:
        exam = Exam(
            plan.seed,
            size=size,
            kind=plan.kind,
            fractured=plan.fracture is not None,
            fracture_type=plan.fracture,
        )
        for view in range(plan.views):
            yield plan, view, exam.view(view)


def _without_pixels(phantom: Phantom) -> Phantom:
    return replace(phantom, pixels=np.empty((0, 0), np.float32))


def _fracatlas_place(phantom: Phantom) -> Path:
    return Path("images", "Fractured" if phantom.fractured else "Non_fractured")


def _folder_place(phantom: Phantom) -> Path:
    return Path(phantom.fracture_type or NOT_FRACTURED)


def _write_table(directory: Path, written: list[_Written]) -> None:
    with (directory / "dataset.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for item in written:
            seen = item.phantom
            table.writerow(
                [
                    item.name,
                    *(int(seen.region == flag) for flag in FLAGS),
                    0,
                    int(seen.hardware),
                    0,
                    int(seen.fractured),
                    len(seen.polygons),
                    *(int(seen.view == view) for view in VIEWS),
                ]
            )


def _write_masks(directory: Path, written: list[_Written]) -> None:
    """FracAtlas's COCO file: it lists the fractured images only, and numbers masks from 0."""
    images, masks = [], []
    for number, item in enumerate((w for w in written if w.phantom.fractured), start=1):
        images.append(
            {"id": number, "width": item.columns, "height": item.rows, "file_name": item.name}
        )
        for polygon, box in zip(item.phantom.polygons, item.phantom.boxes, strict=True):
            masks.append(
                {
                    "id": len(masks),
                    "iscrowd": 0,
                    "image_id": number,
                    "category_id": 0,
                    "segmentation": [list(polygon)],
                    "bbox": list(box),
                    "area": _area(polygon),
                }
            )
    document = {
        "info": {"description": "kirik phantoms"},
        "images": images,
        "annotations": masks,
        "categories": [{"id": 0, "name": "fractured"}],
    }
    path = directory / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def _area(polygon: tuple[float, ...]) -> float:
    """Area of a polygon, in square pixels (the shoelace formula)."""
    x, y = np.array(polygon[0::2]), np.array(polygon[1::2])
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
