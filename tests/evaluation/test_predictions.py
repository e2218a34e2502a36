from types import SimpleNamespace

import numpy as np
import pytest

from kirik.dataset.index import Index, Record
from kirik.dataset.split import Assignment, Split
from kirik.errors import DataSetError
from kirik.evaluation.metrics import measure
from kirik.evaluation.predictions import read_predictions
from kirik.measuring import predictions_of
from kirik.reading.reading import Peak

from .conftest import make_predictions, make_types

GOOD = "image_id,label,p_normal,p_broken\na.png,normal,0.9,0.1\nb.png,broken,0.2,0.8\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "predictions.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_writing_and_reading_gives_the_same_predictions_and_figures(tmp_path):
    part = make_predictions()
    part.subgroups["note"] = tuple('kırık, "şüpheli"\nsatır' for _ in part.ids)
    part.write(tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv")
    assert (found.ids, found.groups, found.classes) == (part.ids, part.groups, part.classes)
    assert found.subgroups == part.subgroups
    assert found.negative == 0
    assert np.array_equal(found.labels, part.labels)
    assert np.array_equal(found.peaks_on_fracture, part.peaks_on_fracture, equal_nan=True)
    assert np.array_equal(found.probabilities, part.probabilities)
    assert measure(found, bootstrap=20) == measure(part, bootstrap=20)


def test_a_table_that_cannot_be_written_whole_is_not_there_at_all(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataSetError, match="cannot be written"):
        make_predictions().write(tmp_path / "p.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("negative", [None, 0, 2])
def test_the_negative_class_is_known_from_the_file(tmp_path, negative):
    part = make_types(12, ("a", "normal", "b"), negative)
    part.write(tmp_path / "p.csv")
    assert read_predictions(tmp_path / "p.csv").negative == negative


def test_where_no_group_is_known_each_radiograph_is_its_own(tmp_path):
    rows = ["image_id,group,label,p_no,p_yes", "a.png,,no,0.9,0.1", "b.png,,yes,0.2,0.8"]
    rows += ["c.png,g1,yes,0.2,0.8", "d.png,g1,yes,0.2,0.8"]
    found = read_predictions(written(tmp_path, "\n".join(rows), "utf-8"))
    assert found.groups == ("a.png", "b.png", "g1", "g1")


def test_a_foreign_table_with_the_least_columns_is_read(tmp_path):
    found = read_predictions(written(tmp_path, GOOD, "utf-8-sig"))
    assert found.groups == ("a.png", "b.png")
    assert found.negative == 0
    assert found.peaks_on_fracture is None
    assert found.fracture_probability.tolist() == [0.1, 0.8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column image_id"),
        ("image_id,label,p_a,p_b\n", "no predictions in it"),
        (GOOD.replace("label", "class"), "line 1: no column label"),
        ("image_id,label,p_a\nx,a,1\n", "line 1: fewer than two columns p_CLASS"),
        (GOOD.replace("p_broken", "p_normal"), "line 1: column 'p_normal' stands there twice"),
        (GOOD.replace("b.png,broken", "b.png,Broken"), "line 3, column label: 'Broken' is none of"),
        (
            GOOD.replace("b.png", "a.png"),
            "line 3, column image_id: 'a.png' stands already on",
        ),
        (GOOD.replace("0.8", "high"), "line 3, column p_broken: 'high' is not a number"),
        (GOOD.replace("0.8", "nan"), "line 3, column p_broken: nan is not a probability"),
        (GOOD.replace("0.8", "80"), "line 3, column p_broken: 80 is not a probability"),
        (GOOD.replace("0.8", "0.7"), "line 3, columns p_…: the probabilities sum to 0.9000"),
        (GOOD.replace(",0.8", ""), "line 3: 3 columns where the first line names 4"),
    ],
)
def test_a_bad_table_is_refused_by_line_and_column(tmp_path, text, message):
    with pytest.raises(DataSetError) as caught:
        read_predictions(written(tmp_path, text))
    assert message in str(caught.value)
    assert "predictions.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_peaks_and_negative_classes_are_refused(tmp_path):
    rows = "image_id,label,negative_class,p_a,p_b,peak_on_fracture\nx,a,{},1,0,{}\ny,b,a,0,1,0\n"
    with pytest.raises(DataSetError, match="line 2, column peak_on_fracture: 'yes'"):
        read_predictions(written(tmp_path, rows.format("a", "yes")))
    with pytest.raises(DataSetError, match="line 2, column negative_class: 'c'"):
        read_predictions(written(tmp_path, rows.format("c", "")))
    with pytest.raises(DataSetError, match="line 3, column negative_class: 'a'"):
        read_predictions(written(tmp_path, rows.format("b", "")))


def test_what_is_no_csv_is_refused_in_one_line(tmp_path):
    path = written(tmp_path, GOOD)
    path.write_bytes(b"\xff\xfe\x00\x01image")
    with pytest.raises(DataSetError, match="not a readable CSV"):
        read_predictions(path)
    with pytest.raises(DataSetError, match="not a readable CSV"):
        read_predictions(tmp_path / "absent.csv")


def test_selecting_keeps_rows_together():
    part = make_predictions()
    chosen = part.select(part.labels == 1)
    assert chosen.fractured.all()
    first = part.ids.index(chosen.ids[0])
    assert chosen.groups[0] == part.groups[first]
    assert chosen.subgroups["region"][0] == part.subgroups["region"][first]
    assert chosen.probabilities[0].tolist() == part.probabilities[first].tolist()
    assert part.select([]).ids == ()


def test_readings_become_predictions_with_their_groups_and_what_their_maps_hit(tmp_path):
    box = (10.0, 20.0, 30.0, 5.0)
    records = [
        Record(f"{n}.png", tmp_path / f"{n}.png", n % 2, region=("hand",), boxes=own)
        for n, own in enumerate(((), (box,), (), (box,), (), ()))
    ]
    index = Index(tmp_path, "csv", ("normal", "fractured"), 0, tuple(records))
    split = Split(
        "s", {one.id: Assignment(one.id, f"g{n // 3}", "dev") for n, one in enumerate(records)}
    )
    peaks = [None, Peak(38, 22, 0.9), Peak(1, 1, 0.9), Peak(12, 38, 0.9), None, Peak(38, 22, 0.9)]
    readings = [
        (record, SimpleNamespace(probabilities={"yes": 0.1 * n, "no": 1 - 0.1 * n}, peak=peak))
        for n, (record, peak) in enumerate(zip(records, peaks, strict=True))
    ]
    said = SimpleNamespace(negative=1, evidence=object())
    model = SimpleNamespace(classes=("yes", "no"), manifest=said)
    found = predictions_of(readings, index, split, model)
    assert found.groups == ("g0",) * 3 + ("g1",) * 3
    assert found.fractured.tolist() == [False, True] * 3
    assert found.fracture_probability == pytest.approx(0.1 * np.arange(6))
    np.testing.assert_array_equal(found.peaks_on_fracture, [np.nan, 1, np.nan, 0, np.nan, np.nan])
