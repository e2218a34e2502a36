"""Tiny data sets of every kind, and what an index says of them."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from kirik.dataset.index import Index
from kirik.dataset.sources import load_index
from kirik.errors import DataSetError


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 30)).save(path, "PNG")
    return path


def coco(root: Path, annotations: dict[str, list[list[float]]], size: tuple[int, int] = (40, 30)):
    """Write a COCO file: boxes by file name, each with its outline."""
    images = [
        {"id": i, "file_name": name, "width": size[0], "height": size[1]}
        for i, name in enumerate(annotations)
    ]
    boxes = [
        {
            "id": 10 * i + j,
            "image_id": i,
            "category_id": 0,
            "bbox": box,
            "segmentation": [[box[0], box[1], box[0] + box[2], box[1], box[0], box[1] + box[3]]],
        }
        for i, found in enumerate(annotations.values())
        for j, box in enumerate(found)
    ]
    path = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": boxes}))


def kinds(index: Index) -> Counter:
    return Counter(defect.kind for defect in index.defects)


def ids_of(index: Index, kind: str) -> set[str]:
    return {i for defect in index.defects if defect.kind == kind for i in defect.ids}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(path: Path, match: str, **options) -> None:
    with pytest.raises(DataSetError, match=match) as caught:
        load_index(path, **options)
    assert "\n" not in str(caught.value)
