"""The loop closes: what people said of readings in the room becomes the next model's data, and the
next model reads in the room."""

import csv
import json
import shutil
import zipfile

import pytest
from rooms import png

from kirik.cli import run
from kirik.client import Box

TINY = [
    *("--network", "test_efficientnet", "--weights", "none", "--size", "64", "--device", "cpu"),
    *("--batch-size", "8", "--epochs", "1", "--balance", "none"),
]


def kirik(*words) -> int:
    return run([str(word) for word in words])


@pytest.fixture
def truth(tmp_path) -> dict[str, dict]:
    """Phantoms, what a person would say of each, and where: by their files' names."""
    folder = tmp_path / "phantoms"
    assert kirik("data", "phantoms", folder, "--count", 60, "--size", 96, "--seed", 3) == 0
    said = json.loads(
        (folder / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json").read_text()
    )
    names = {image["id"]: image["file_name"] for image in said["images"]}
    boxes: dict[str, list] = {}
    for one in said["annotations"]:
        boxes.setdefault(names[one["image_id"]], []).append(one["bbox"])
    paths = sorted(folder.rglob("*.jpg"))
    return {path.name: {"path": path, "boxes": boxes.get(path.name, [])} for path in paths}


@pytest.mark.slow
def test_an_export_of_reviews_trains_a_model_that_then_reads_in_the_room(room, truth, tmp_path):
    pytest.importorskip("torch", reason="needs pip install kirik[train]")
    client = room.client()
    taken = client.submit(one["path"] for one in truth.values())
    assert not taken.refused
    room.read()
    for study in client.wait([study.id for study in taken.studies], timeout=60):
        boxes = truth[study.name]["boxes"]
        said = "fracture" if boxes else "no_fracture"
        agrees = study.decision == said
        client.review(
            study.id,
            agrees=agrees,
            decision=said,
            boxes=[Box(x=x, y=y, width=w, height=h) for x, y, w, h in boxes],
        )

    exported = tmp_path / "reviews"
    with zipfile.ZipFile(client.training_data(tmp_path / "reviews.zip")) as archive:
        archive.extractall(exported)
    with (exported / "radiographs.csv").open() as file:
        rows = list(csv.DictReader(file))
    fractured = sum(bool(one["boxes"]) for one in truth.values())
    assert len(rows) == len(truth)
    assert sum(row["label"] == "fractured" for row in rows) == fractured > 0
    coco = json.loads((exported / "annotations.json").read_text())
    assert len(coco["annotations"]) == sum(len(one["boxes"]) for one in truth.values())

    assert kirik("data", "audit", exported) == 0
    split = tmp_path / "split.csv"
    assert kirik("data", "split", exported, "--out", split, "--folds", 2, "--seed", 1) == 0
    trained = tmp_path / "run"
    words = ["--split", split, "--fold", 1, "--out", trained]
    assert kirik("train", exported, *TINY, *words) == 0
    facts = json.loads((trained / "run.json").read_text())
    assert 0 < facts["trained_on"] < len(truth)

    bundle = shutil.make_archive(str(tmp_path / "next"), "zip", trained / "bundle")
    made = client.put_model(bundle)
    assert made.network == "test_efficientnet"
    [study] = client.submit_bytes(png(0.4, seed=77), "next.png").studies
    room.read_anew()
    [read] = client.wait([study.id], timeout=60)
    assert read.state == "read"
    assert read.model == made.name
