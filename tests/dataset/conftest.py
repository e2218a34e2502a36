"""Data sets in FracAtlas's layout and of a CSV, to be spoiled."""

from pathlib import Path

import pytest
from data_sets import coco, image

HEADER = (
    "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,"
    "frontal,lateral,oblique"
)


@pytest.fixture
def fracatlas(tmp_path: Path) -> Path:
    """Four radiographs in FracAtlas's layout, without a defect."""
    for name in ("IMG0000001.jpg", "IMG0000003.dcm"):
        image(tmp_path / "images" / "Fractured" / name)
    for name in ("IMG0000000.jpg", "IMG0000002.png"):
        image(tmp_path / "images" / "Non_fractured" / name)
    rows = [
        "IMG0000000.jpg,1,0,0,0,0,0,0,0,0,1,0,0",
        "IMG0000001.jpg,1,0,0,1,1,1,1,1,2,1,1,0",
        "IMG0000002.png,0,1,0,0,0,0,0,0,0,0,0,1",
        "IMG0000003.dcm,0,0,1,0,0,0,0,1,1,1,0,0",
    ]
    (tmp_path / "dataset.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    coco(
        tmp_path,
        {"IMG0000001.jpg": [[1, 2, 5, 6], [20, 20, 4, 4]], "IMG0000003.dcm": [[0, 0, 40, 30]]},
    )
    return tmp_path


@pytest.fixture
def listed(tmp_path: Path):
    """Write images a.png … d.png and a CSV of the given text; its path is returned."""
    for name in "abcd":
        image(tmp_path / "files" / f"{name}.png")

    def write(text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write
