"""Data sets of phantoms on disk: layouts, tables, formats, balance."""

import csv
import hashlib
import itertools
import json
from collections import Counter

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy.stats import fisher_exact

from kirik.dataset.duplicates import find_duplicates
from kirik.dataset.inspect import inspect_files
from kirik.dataset.phantoms import FRACTURE_TYPES, write_phantoms
from kirik.dataset.sources import load_index
from kirik.dataset.split import load_split
from kirik.errors import DataSetError

HEADER = (
    "image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,"
    "frontal,lateral,oblique"
)
REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    """A small data set in FracAtlas's layout: (directory, rows of its table, COCO document)."""
    directory = tmp_path_factory.mktemp("phantoms") / "atlas"
    write_phantoms(directory, count=60, seed=3, size=128)
    with (directory / "dataset.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    masks = directory / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    return directory, rows, json.loads(masks.read_text())


def contents(directory):
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def region_of(row):
    return next(region for region in REGIONS if row[region] == "1")


def test_table_has_fracatlas_columns_and_a_row_for_each_file(atlas):
    directory, rows, _ = atlas
    assert (directory / "dataset.csv").read_text().splitlines()[0] == HEADER
    assert [row["image_id"] for row in rows] == [f"phantom{i:07d}.jpg" for i in range(60)]
    assert load_index(directory).by_id.keys().isdisjoint(load_split("fracatlas-v1").assignments)
    for row in rows:
        folder = "Fractured" if row["fractured"] == "1" else "Non_fractured"
        assert (directory / "images" / folder / row["image_id"]).is_file()
    assert len(list((directory / "images").rglob("*.jpg"))) == 60


def test_each_row_has_one_region_one_view_and_its_count_of_fractures(atlas):
    _, rows, masks = atlas
    names = {image["id"]: image["file_name"] for image in masks["images"]}
    counted = Counter(names[mask["image_id"]] for mask in masks["annotations"])
    for row in rows:
        assert sum(int(row[region]) for region in REGIONS) == 1
        assert sum(int(row[view]) for view in VIEWS) == 1
        assert int(row["fracture_count"]) == counted[row["image_id"]]
        assert (row["fractured"] == "1") == (counted[row["image_id"]] > 0)


def test_share_of_fractured_ones_is_exact(atlas, tmp_path):
    _, rows, _ = atlas
    assert sum(row["fractured"] == "1" for row in rows) == 18
    for share, expected in ((0.0, 0), (1.0, 7), (0.5, 4)):
        write_phantoms(tmp_path / str(share), count=7, size=96, fractured_share=share)
        made = list((tmp_path / str(share) / "images").glob("Fractured/*"))
        assert len(made) == expected


def test_masks_have_the_shape_of_fracatlas(atlas):
    directory, _, masks = atlas
    assert set(masks) == {"info", "images", "annotations", "categories"}
    assert masks["categories"] == [{"id": 0, "name": "fractured"}]
    images = {image["id"]: image for image in masks["images"]}
    assert [mask["id"] for mask in masks["annotations"]] == list(range(len(masks["annotations"])))
    for image in images.values():
        with Image.open(directory / "images" / "Fractured" / image["file_name"]) as file:
            assert file.size == (image["width"], image["height"])
    for mask in masks["annotations"]:
        polygon = mask["segmentation"][0]
        x, y, width, height = mask["bbox"]
        assert x == min(polygon[0::2])
        assert y == min(polygon[1::2])
        assert x + width == pytest.approx(max(polygon[0::2]))
        assert y + height == pytest.approx(max(polygon[1::2]))
        assert 0 <= x < x + width <= images[mask["image_id"]]["width"]
        assert 0 <= y < y + height <= images[mask["image_id"]]["height"]
        assert 0 < mask["area"] <= width * height


def test_runs_of_one_region_are_exams_of_one_patient(atlas):
    _, rows, _ = atlas
    runs = [list(run) for _, run in itertools.groupby(rows, key=region_of)]
    assert {len(run) for run in runs} == {1, 2, 3}
    for run in runs:
        for fact in ("fractured", "fracture_count", "hardware"):
            assert len({row[fact] for row in run}) == 1
        views = [view for row in run for view in VIEWS if row[view] == "1"]
        if region_of(run[0]) == "leg":
            assert len(set(views)) == len(views)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        write_phantoms(tmp_path / name, count=9, seed=seed, size=96, image_format="mixed")
    one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert not set(one.values()) & set(three.values())


def test_folders_hold_one_class_each_in_equal_numbers(tmp_path):
    write_phantoms(tmp_path / "d", count=30, size=96, form="folders", fractured_share=0.5)
    counts = {f.name: len(list(f.iterdir())) for f in (tmp_path / "d").iterdir()}
    assert counts == {"not_fractured": 15, **dict.fromkeys(FRACTURE_TYPES, 3)}


def test_png_is_lossless_and_jpeg_near_it(tmp_path):
    for image_format in ("png", "jpeg"):
        write_phantoms(tmp_path / image_format, count=3, size=160, image_format=image_format)
    png = sorted((tmp_path / "png" / "images").rglob("*.png"))
    jpeg = sorted((tmp_path / "jpeg" / "images").rglob("*.jpg"))
    assert [p.stem for p in png] == [p.stem for p in jpeg]
    for one, other in zip(png, jpeg, strict=True):
        with Image.open(one) as first, Image.open(other) as second:
            assert first.format == "PNG"
            assert second.format == "JPEG"
            assert first.mode == second.mode == "L"
            apart = np.abs(np.asarray(first, int) - np.asarray(second, int))
        assert apart.mean() < 5


def test_format_changes_the_file_and_not_the_radiograph(tmp_path):
    for image_format in ("png", "dicom"):
        write_phantoms(tmp_path / image_format, count=8, size=96, image_format=image_format)
    files = sorted((tmp_path / "dicom" / "images").rglob("*.dcm"))
    assert len(files) == 8
    for path in files:
        dataset = pydicom.dcmread(path)
        values = dataset.pixel_array / (2**dataset.BitsStored - 1)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            values = 1 - values
        with Image.open(next((tmp_path / "png" / "images").rglob(f"{path.stem}.png"))) as image:
            assert np.abs(values - np.asarray(image) / 255).max() < 1 / 255


def test_dicom_files_are_valid_anonymous_and_of_both_kinds(tmp_path):
    write_phantoms(tmp_path / "d", count=24, size=96, image_format="dicom")
    files = sorted((tmp_path / "d" / "images").rglob("*.dcm"))
    datasets = [pydicom.dcmread(path) for path in files]
    assert len(datasets) == 24
    assert {d.PhotometricInterpretation for d in datasets} == {"MONOCHROME1", "MONOCHROME2"}
    assert {(d.Modality, d.BitsStored) for d in datasets} == {("CR", 12), ("DX", 16)}
    assert len({d.SOPInstanceUID for d in datasets}) == 24
    for dataset in datasets:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
            assert keyword in dataset
            assert not dataset[keyword].value
        assert dataset.pixel_array.shape == (dataset.Rows, dataset.Columns)
        assert dataset.pixel_array.max() < 2**dataset.BitsStored
        assert float(dataset.ImagerPixelSpacing[0]) > 0
        assert dataset.SOPInstanceUID.is_valid


def test_views_of_one_exam_share_a_dicom_study_and_exams_do_not(tmp_path):
    write_phantoms(tmp_path / "d", count=20, size=96, image_format="dicom")
    with (tmp_path / "d" / "dataset.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    studies = []
    for _, run in itertools.groupby(rows, key=region_of):
        paths = [next((tmp_path / "d" / "images").rglob(row["image_id"])) for row in run]
        uids = {pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID for path in paths}
        assert len(uids) == 1
        studies += uids
    assert len(set(studies)) == len(studies) > 1


def test_mixed_formats_are_named_by_their_own_suffix_in_equal_numbers(tmp_path):
    for count in (3, 24):
        folder = tmp_path / str(count)
        write_phantoms(folder, count=count, size=96, image_format="mixed")
        with (folder / "dataset.csv").open(newline="") as file:
            names = [row["image_id"] for row in csv.DictReader(file)]
        suffixes = Counter(name.rpartition(".")[2] for name in names)
        assert suffixes == dict.fromkeys(("jpg", "png", "dcm"), count // 3)
        assert {p.name for p in (folder / "images").rglob("*.*")} == set(names)


def test_no_two_exams_of_a_set_are_taken_for_the_same_radiograph(tmp_path):
    write_phantoms(tmp_path / "d", count=200, seed=4, size=96, fractured_share=0.4)
    with (tmp_path / "d" / "dataset.csv").open(newline="") as file:
        runs = [list(run) for _, run in itertools.groupby(csv.DictReader(file), key=region_of)]
    exams = {row["image_id"]: number for number, run in enumerate(runs) for row in run}
    found = find_duplicates(inspect_files(load_index(tmp_path / "d"), workers=0))
    assert len(exams) == 200
    assert [ids for ids in found.pairs() if len({exams[i] for i in ids}) > 1] == []


def test_progress_counts_every_file(tmp_path):
    seen = []
    write_phantoms(tmp_path / "d", count=4, size=96, progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_facts_of_a_file_do_not_tell_its_class(tmp_path):
    """Nothing that an index or a header shows may differ between fractured and whole ones."""
    write_phantoms(
        tmp_path / "d", count=160, seed=1, size=96, image_format="mixed", fractured_share=0.5
    )
    with (tmp_path / "d" / "dataset.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fractured = np.array([row["fractured"] == "1" for row in rows])
    facts = {name: [row[name] == "1" for row in rows] for name in ("hardware", "frontal", "leg")}
    facts["jpeg"] = [row["image_id"].endswith("jpg") for row in rows]
    facts["late"] = [i >= 80 for i in range(160)]
    for name, values in facts.items():
        yes = np.array(values)
        assert 0 < yes.sum() < 160, name
        table = [[(yes & side).sum(), (~yes & side).sum()] for side in (fractured, ~fractured)]
        assert fisher_exact(table).pvalue > 0.05, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count 0"),
        ({"count": -3}, "count -3"),
        ({"fractured_share": 1.2}, "share 1.2"),
        ({"fractured_share": float("nan")}, "share nan"),
        ({"size": 20}, "size 20"),
        ({"form": "zip"}, "'zip'.*fracatlas"),
        ({"image_format": "gif"}, "'gif'.*jpeg"),
    ],
)
def test_refuses_wrong_arguments_and_writes_nothing(tmp_path, arguments, message):
    with pytest.raises(DataSetError, match=message) as caught:
        write_phantoms(tmp_path / "d", **{"count": 2, "size": 96, **arguments})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "d").exists()


def test_refuses_a_directory_that_holds_something_and_leaves_it(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DataSetError, match="not empty"):
        write_phantoms(tmp_path, count=2, size=96)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_refuses_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "d").write_text("kept")
    with pytest.raises(DataSetError, match="not a directory"):
        write_phantoms(tmp_path / "d", count=2, size=96)


def test_uses_an_empty_directory_that_exists(tmp_path):
    write_phantoms(tmp_path, count=1, size=96)
    assert (tmp_path / "dataset.csv").is_file()
