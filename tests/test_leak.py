"""The leaky protocol that the study measures is really leaky, and kirik says so."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from kirik.cli import run
from kirik.dataset.sources import load_index

SCRIPT = Path(__file__).parents[1] / "scripts" / "leak.py"


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    place = tmp_path_factory.mktemp("leak")
    data, split = str(place / "phantoms"), str(place / "split.csv")
    run(["data", "phantoms", data, "--count", "60", "--size", "96", "--seed", "1"])
    run(["data", "split", data, "--out", split, "--folds", "2"])
    out = place / "leaky"
    words = [sys.executable, SCRIPT, data, out, "--split", split]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    return out


def test_classes_are_balanced_by_copies_of_fractured_radiographs(leaky):
    index = load_index(leaky / "data.csv")
    counts = index.counts()
    assert counts["fractured"] == counts["not_fractured"]
    copies = [record for record in index.records if "-copy" in record.id]
    assert copies
    assert {index.classes[record.label] for record in copies} == {"fractured"}


def test_copies_of_one_radiograph_are_in_several_folds_and_check_split_names_them(leaky, capsys):
    with (leaky / "leaky.csv").open() as file:
        fold = {row["image_id"]: row["fold"] for row in csv.DictReader(file)}
    torn = [i for i in fold if "-copy" in i and fold[i] != fold[i.split("-copy")[0] + ".jpg"]]
    assert len(torn) > 5
    split = str(leaky / "leaky.csv")
    assert run(["data", "check-split", split, str(leaky / "data.csv")]) == 1
    assert "leaks" in capsys.readouterr().out
