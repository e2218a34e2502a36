import csv
import json
import subprocess
import sys

import pytest

from kirik.errors import KirikError, OutputError, SettingsError
from kirik.predict import predict
from kirik.reading.classifier import load_model
from kirik.reading.reading import Failure


@pytest.fixture
def classifier(make_bundle):
    return load_model(make_bundle().path)


@pytest.fixture
def folder(save_radiograph):
    """Two radiographs of one name in two folders, and a file that is none."""
    save_radiograph("a/film.png", 0.9, shape=(128, 128))
    save_radiograph("b/film.png", 0.1, shape=(128, 128))
    bad = save_radiograph("b/none.png", 0.5)
    bad.write_text("not pixels")
    return bad.parents[1]


def test_all_outputs_agree_and_name_every_file(classifier, folder, tmp_path):
    out = tmp_path / "out"
    summary = predict(
        [folder], classifier, json=out / "r.json", csv=out / "r.csv", overlay=out / "pictures"
    )
    assert (summary.read, summary.failed, summary.problems) == (2, 1, [])
    assert summary.decisions == {"fracture": 1, "no_fracture": 1}
    assert summary.exit_code == 1
    records = json.loads((out / "r.json").read_text())
    assert [r["path"] for r in records] == [
        str(folder / name) for name in ("a/film.png", "b/film.png", "b/none.png")
    ]
    assert [r.get("decision") for r in records] == ["fracture", "no_fracture", None]
    assert records[0]["probability"] == pytest.approx(
        classifier.read(folder / "a/film.png").probability, abs=1e-6
    )
    assert records[2]["error"] == summary.failures[0].error
    with (out / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [r["path"] for r in records]
    assert float(rows[0]["probability"]) == records[0]["probability"]
    assert len(list((out / "pictures").glob("*.overlay.png"))) == 2


def test_the_exit_code_says_whether_all_some_or_none_was_read(classifier, folder):
    assert predict([folder / "a"], classifier).exit_code == 0
    assert predict([folder], classifier).exit_code == 1
    assert predict([folder / "b" / "none.png"], classifier).exit_code == 2


def test_a_path_that_is_not_there_is_a_failure_and_the_rest_is_read(classifier, folder):
    summary = predict([folder / "nowhere", folder / "a"], classifier)
    assert summary.read == 1
    assert [failure.path for failure in summary.failures] == [str(folder / "nowhere")]


def test_a_folder_without_radiographs_is_told_in_one_line(classifier, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(KirikError, match="no radiographs in there"):
        predict([empty], classifier, json=tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_progress_counts_every_file_to_the_total(classifier, folder):
    seen = []
    predict(
        [folder],
        classifier,
        progress=lambda result, done, total: seen.append((type(result), done, total)),
    )
    assert [entry[1:] for entry in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[2][0] is Failure


def test_an_output_that_cannot_be_begun_is_refused_before_any_reading(classifier, folder, tmp_path):
    (tmp_path / "file").write_text("x")
    seen = []
    with pytest.raises(OutputError):
        predict(
            [folder],
            classifier,
            json=tmp_path / "r.json",
            csv=tmp_path / "file" / "r.csv",
            progress=lambda *args: seen.append(args),
        )
    assert seen == []
    assert not (tmp_path / "r.json").exists()
    with pytest.raises(SettingsError, match="language"):
        predict([folder], classifier, overlay=tmp_path / "o", language="xx")


def test_an_output_that_breaks_off_leaves_the_others_whole(classifier, folder, tmp_path):
    """A folder in the place of the picture stands for a disk that refuses it."""
    pictures = tmp_path / "pictures"
    (pictures / "film.overlay.png").mkdir(parents=True)
    summary = predict(
        [folder / "a", folder / "b"], classifier, json=tmp_path / "r.json", overlay=pictures
    )
    assert summary.problems == []
    alone = predict([folder / "a"], classifier, json=tmp_path / "r.json", overlay=pictures)
    assert len(alone.problems) == 1
    assert "film.overlay.png: cannot be written" in alone.problems[0]
    assert alone.exit_code == 2
    assert len(json.loads((tmp_path / "r.json").read_text())) == 1


def test_a_disk_that_fills_up_costs_that_output_and_nothing_else(make_bundle, folder, tmp_path):
    code = f"""
import resource
from kirik.predict import predict
from kirik.reading.classifier import load_model
classifier = load_model({str(make_bundle().path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
files = [{str(folder / "a/film.png")!r}] * 300
summary = predict(files, classifier, json={str(tmp_path / "r.json")!r})
print(summary.read, summary.exit_code, summary.problems)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr == ""
    said = f"['{tmp_path / 'r.json'}: cannot be written (File too large); "
    assert run.stdout.startswith(f"300 2 {said}")
    assert not (tmp_path / "r.json").exists()


def test_a_stop_keeps_what_was_read_beside(classifier, folder, tmp_path):
    def stop(result, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict([folder], classifier, json=tmp_path / "r.json", progress=stop)
    assert not (tmp_path / "r.json").exists()
    assert len(json.loads((tmp_path / "r.json.partial").read_text())) == 1
