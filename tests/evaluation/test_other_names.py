"""A model measured on data whose classes bear other names than its own."""

import csv
import json

import pytest

from kirik.cli import run

FILMS = {"kırık": (0.8, 0.9, 0.6, 0.75), "kırık değil": (0.1, 0.3, 0.2, 0.35)}


def evaluate(bundle, save_radiograph, tmp_path, films: dict) -> int:
    for name, levels in films.items():
        for number, level in enumerate(levels):
            save_radiograph(f"{name}/{name}{number}.png", level)
    ids = [f"{name}/{name}{n}.png" for name, levels in films.items() for n in range(len(levels))]
    rows = "".join(f"{one},{one},test,\n" for one in ids)
    (tmp_path / "s.csv").write_text("image_id,group,split,fold\n" + rows, encoding="utf-8")
    words = ["--split", str(tmp_path / "s.csv"), "--part", "test", "--bootstrap", "20"]
    data, out = str(tmp_path / "films"), str(tmp_path / "report")
    return run(["evaluate", str(bundle.path), data, *words, "--out", out])


def test_two_classes_are_told_by_which_of_them_means_no_fracture(
    make_bundle, save_radiograph, tmp_path, capsys
):
    assert evaluate(make_bundle(), save_radiograph, tmp_path, FILMS) == 0
    assert "kırık_değil as not_fractured, kırık as fractured" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["fracture"]["auroc"]["value"] == 1
    with (tmp_path / "report" / "predictions.csv").open(encoding="utf-8") as file:
        labels = {row["image_id"]: row["label"] for row in csv.DictReader(file)}
    assert {one: "not" not in label for one, label in labels.items()} == {
        one: "değil" not in one for one in labels
    }


@pytest.mark.parametrize("name", ["oblique", "transverse"])
def test_other_classes_are_refused_before_anything_is_read(
    name, make_bundle, save_radiograph, tmp_path, capsys, monkeypatch
):
    films = {name: (0.8, 0.9, 0.6), "spiral": (0.1, 0.3, 0.2)}
    monkeypatch.setattr("kirik.measuring.read_all", None)
    assert evaluate(make_bundle(), save_radiograph, tmp_path, films) == 2
    said = capsys.readouterr().err
    assert f"its classes ({name}, spiral)" in said.replace(f"spiral, {name}", f"{name}, spiral")
    assert "one says that there is no fracture" in " ".join(said.split())
