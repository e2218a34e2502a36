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


def test_the_originals_are_measured_alone(tmp_path):
    rows = ["image_id,group,label,negative_class,p_no,p_yes"]
    rows += [f"a{n}.jpg,a{n},no,no,{0.9 - n / 100},{0.1 + n / 100}" for n in range(9)]
    rows += [f"b{n}.jpg,b{n},yes,no,{0.95 - n / 40},{0.05 + n / 40}" for n in range(9)]
    truth = [(0.1 + n / 100, 0) for n in range(9)] + [(0.05 + n / 40, 1) for n in range(9)]
    wins = [(y > x) + (y == x) / 2 for x, a in truth for y, b in truth if (a, b) == (0, 1)]
    rows += [f"b{n}-copy1.jpg,b{n}-copy1,yes,no,0.01,0.99" for n in range(9)]
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    words = [sys.executable, SCRIPT, "originals", tmp_path / "p.csv", "--bootstrap", "50"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "18 of 27 are no copies" in said
    assert f"AUROC {sum(wins) / len(wins):.3f} (" in said


def test_what_is_no_table_of_predictions_is_told_in_a_line(tmp_path):
    (tmp_path / "p.csv").write_text("nothing\n")
    for name in ("p.csv", "none.csv"):
        words = [sys.executable, SCRIPT, "originals", tmp_path / name]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert name in done.stderr


def test_both_protocols_are_compared_on_what_both_measured(tmp_path):
    def table(name, rows):
        lines = ["image_id,group,label,negative_class,p_no,p_yes", *rows]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    truth = ["no", "yes"] * 8
    clean = [f"{n}.jpg,g{n // 2},{t},no,0.5,0.5" for n, t in enumerate(truth)]
    sure = {"no": "0.9,0.1", "yes": "0.1,0.9"}
    leaky = [f"{n}.jpg,{n}.jpg,{t},no,{sure[t]}" for n, t in enumerate(truth) if n >= 4]
    leaky += [f"{n}-copy1.jpg,{n}-copy1.jpg,yes,no,0.9,0.1" for n in range(4)]
    files = table("leaky.csv", leaky), table("clean.csv", clean)
    words = [sys.executable, SCRIPT, "shared", *files, "--bootstrap", "50"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=120).stdout
    assert said == "clean: 0.500 on 12\nleaky: 1.000 on 12\ndifference 0.500 (0.500 to 0.500)\n"
