"""What is known of FracAtlas in words, the audit finds in numbers."""

import csv
from pathlib import Path

import pytest

from kirik.dataset.audit import audit
from kirik.dataset.sources import load_index

FRACATLAS = Path(__file__).parents[3] / "shared" / "fracatlas"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(not FRACATLAS.is_dir(), reason=f"no FracAtlas at {FRACATLAS}"),
]


@pytest.fixture(scope="module")
def found():
    return audit(load_index(FRACATLAS))


@pytest.fixture(scope="module")
def published():
    with (FRACATLAS / "split-v1.csv").open(newline="") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def finding(found, kind):
    return next(one for one in found.findings if one.kind == kind)


def fact(found, name):
    return next(one for one in found.confounders if one.fact == name)


def excluded(published, because):
    return {i for i, row in published.items() if row["excluded_because"] == because}


def test_every_radiograph_is_counted(found):
    assert found.index.counts() == {"not_fractured": 2704, "fractured": 576}
    assert found.decodable == 3221
    assert found.tables["size"]["not_fractured"]["373×454"] == 1737


def test_the_truncated_files_are_those_that_the_published_split_excludes(found, published):
    truncated = finding(found, "truncated")
    assert set(truncated.ids) == excluded(published, "truncated-jpeg")
    assert found.classes_of(truncated) == {"not_fractured": 59}
    assert fact(found, "problem").counts["fractured"] == {"none": 576, "truncated": 0}
    assert fact(found, "problem").flagged
    shares = [file.missing_share for file in found.facts if file.problem == "truncated"]
    assert all(0 <= share < 1 for share in shares)
    assert sum(share > 0.04 for share in shares) > 20


def test_near_duplicates_with_opposite_labels_are_those_that_it_excludes(found, published):
    opposite = finding(found, "opposite_labels")
    assert set(opposite.ids) == excluded(published, "conflicting-duplicate")


def test_duplicates_are_inside_the_published_groups(found, published):
    bonds = found.duplicates.pairs()
    assert (len(found.duplicates.byte), len(found.duplicates.pixel)) == (11, 54)
    assert len(found.duplicates.near) == 40
    assert found.duplicates.turned == found.duplicates.inverted == ()
    assert all(len({published[i]["group"] for i in ids}) == 1 for ids in bonds)


def test_large_gray_and_hardware_radiographs_are_flagged_as_shortcuts(found):
    hardware = fact(found, "hardware").standout
    assert (hardware.name, hardware.files, hardware.of_class) == ("yes", 81, 79)
    size, mode = fact(found, "size"), fact(found, "mode")
    large = {name: n["2304×2880"] / sum(n.values()) for name, n in size.counts.items()}
    assert large["fractured"] == pytest.approx(0.13, abs=0.01)
    assert large["not_fractured"] == pytest.approx(0.07, abs=0.01)
    assert (mode.standout.name, mode.standout.files, mode.standout.of_class) == ("L", 500, 123)
    assert all(fact(found, name).flagged for name in ("hardware", "size", "mode", "region"))
    assert not any(fact(found, name).flagged for name in ("multiscan", "black_border"))


def test_orientation_disagreement_and_boxes(found):
    assert len(finding(found, "exif_orientation").ids) == 15
    assert finding(found, "label_disagreement").ids == ("IMG0003298.jpg",)
    assert (found.boxes.boxes, found.boxes.radiographs) == (734, 576)
    assert found.boxes.median_share == pytest.approx(0.063, abs=0.001)
