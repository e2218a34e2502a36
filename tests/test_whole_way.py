"""From a data set to a reading, by the commands that a person would type."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kirik.bundle import load_bundle
from kirik.cli import run
from kirik.dataset.split import load_split
from kirik.measuring import _trained_on, seen_facts
from one_thread import one_thread  # noqa: F401 (a fixture)
from quick_export import quickly
from quick_figures import undrawn

TINY = [
    *("--network", "test_efficientnet", "--weights", "none", "--size", "64", "--device", "cpu"),
    *("--batch-size", "8", "--learning-rate", "0.003"),
]


def kirik(*words) -> int:
    return run([str(word) for word in words])


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="session")
def phantoms(place) -> Path:
    folder = place / "phantoms"
    assert kirik("data", "phantoms", folder, "--count", 100, "--size", 128, "--seed", 5) == 0
    return folder


@pytest.fixture(scope="session")
def split(place, phantoms) -> Path:
    file = place / "split.csv"
    assert kirik("data", "split", phantoms, "--out", file, "--folds", 3, "--seed", 2) == 0
    return file


@pytest.fixture(scope="session")
def trained(place, phantoms, split) -> Path:
    folder = place / "run"
    words = ["--split", split, "--fold", 1, "--out", folder, "--epochs", 3]
    assert kirik("train", phantoms, *TINY, *words) == 0
    return folder


@pytest.fixture(autouse=True)
def quick_bodies():
    """`trained` and the command of several processes export and draw as users do, other runs
    quickly."""
    with quickly(), undrawn():
        yield


def test_a_run_leaves_all_that_is_needed_to_repeat_and_to_judge_it(trained):
    left = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    assert {
        "run.json",
        "settings.toml",
        "split.csv",
        "history.csv",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        "loss.png",
        "accuracy.png",
        "bundle/bundle.json",
        "bundle/model.onnx",
        "bundle/card.md",
        "bundle/SHA256SUMS",
        "report/report.html",
        "report/metrics.json",
        "report/predictions.csv",
    } <= left
    facts = json.loads((trained / "run.json").read_text())
    assert len(facts["data_sha256"]) == 64
    assert {"torch", "timm", "kirik"} <= set(facts["versions"])


def test_bundle_and_report_hold_nothing_of_the_place_where_they_were_made(trained, place):
    private = [str(place), str(Path.home()), "site-packages", str(Path(__file__).parents[1])]
    for file in [*(trained / "bundle").iterdir(), *(trained / "report").iterdir()]:
        content = file.read_bytes()
        assert not [word for word in private if word.encode() in content], file


def test_the_fold_that_is_reported_on_neither_trained_nor_chose(trained, split):
    with split.open() as file:
        fold1 = {row["image_id"] for row in csv.DictReader(file) if row["fold"] == "1"}
    with (trained / "report" / "predictions.csv").open() as file:
        measured = {row["image_id"] for row in csv.DictReader(file)}
    assert measured == fold1
    with split.open() as file:
        others = [r for r in csv.DictReader(file) if r["split"] == "dev" and r["fold"] != "1"]
    run_facts = json.loads((trained / "run.json").read_text())
    assert run_facts["trained_on"] + run_facts["chosen_on"] == len(others)
    facts = json.loads((trained / "report" / "metrics.json").read_text())["facts"]
    assert facts["trained_on_this_part"] is False
    assert facts["selected_on_this_part"] is False


def test_measuring_on_training_data_is_called_that(trained, phantoms, split, tmp_path):
    words = ["--split", trained / "split.csv", "--part", "train1", "--bootstrap", 50]
    assert kirik("evaluate", trained, phantoms, *words, "--out", tmp_path / "r") == 0
    facts = json.loads((tmp_path / "r" / "metrics.json").read_text())["facts"]
    assert facts["trained_on_this_part"] is True


def test_another_split_of_the_same_data_is_measured_on_what_trained(
    trained, phantoms, split, tmp_path, capsys
):
    """Known by the split in the run's folder; a bundle alone does not know."""
    other = tmp_path / "other.csv"
    words = ["--out", other, "--folds", 3, "--seed", 11]
    assert kirik("data", "split", phantoms, *words) == 0
    rows = {}
    for file in (split, other):
        with file.open() as handle:
            rows[file] = list(csv.DictReader(handle))
    saw = {r["image_id"] for r in rows[split] if r["split"] == "dev" and r["fold"] != "1"}
    part = {r["image_id"] for r in rows[other] if r["split"] == "test"}
    assert 0 < len(saw & part) < len(part)
    shutil.copytree(trained / "bundle", tmp_path / "bare")
    words = ["--split", other, "--part", "test", "--bootstrap", 20, "--out"]
    capsys.readouterr()
    for model, seen, said in (
        (trained, True, f"trained on radiographs of this part, {len(saw & part)} of {len(part)}"),
        (tmp_path / "bare", None, "Whether the model was trained on some of these radiographs is"),
    ):
        out = tmp_path / f"report of {model.name}"
        assert kirik("evaluate", model, phantoms, *words, out) == 0
        facts = json.loads((out / "metrics.json").read_text())["facts"]
        assert facts["trained_on_this_part"] is facts["selected_on_this_part"] is seen
        assert facts["seen_in_training"] == (len(saw & part) if seen else None)
        assert said in (out / "report.html").read_text()
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("part", "known", "seen"), [("test", 9, False), ("dev", 9, True), ("dev", 4, None)]
)
def test_a_shipped_model_knows_what_it_trained_on_by_the_ids(
    part, known, seen, phantoms, tmp_path, capsys
):
    """Whatever the split at hand is called, or says. Few that are alike tell nothing."""
    published = load_split("fracatlas-v1")
    films = sorted(phantoms.glob("images/*/*.jpg"))[::12]
    ids = [film.name + ".own" for film in films]
    ids[:known] = [assignment.image_id for assignment in published.part(part)][:known]
    fractured = [int(film.parent.name == "Fractured") for film in films]
    rows = zip(ids, films, fractured, strict=True)
    lines = [f"{image_id},{film},{label}\n" for image_id, film, label in rows]
    (tmp_path / "d.csv").write_text("image_id,path,label\n" + "".join(lines))
    lines = [f"{image_id},{image_id},test,\n" for image_id in ids]
    (tmp_path / "s.csv").write_text("image_id,group,split,fold\n" + "".join(lines))
    words = ["--split", tmp_path / "s.csv", "--part", "test", "--bootstrap", 5]
    assert kirik("evaluate", "small", tmp_path / "d.csv", *words, "--out", tmp_path / "r") == 0
    facts = json.loads((tmp_path / "r" / "metrics.json").read_text())["facts"]
    assert facts["trained_on_this_part"] is seen
    assert facts["seen_in_training"] == (len(films) if seen else None)
    said = capsys.readouterr().err
    assert ("of this part, 9 of 9 by their ids" in said) is bool(seen)
    assert ("is not known" in said) is (seen is None)


@pytest.mark.parametrize(("part", "count"), [("test", 0), ("dev", 5)])
def test_what_an_average_of_an_unknown_network_saw_is_not_told_as_all(part, count):
    published = load_split("fracatlas-v1")
    ids = [assignment.image_id for assignment in published.part(part)][:5]
    known, unknown = (
        SimpleNamespace(members=(), manifest=SimpleNamespace(provenance={"split_sha256": digest}))
        for digest in (published.digest, "0" * 64)
    )
    for members, sure in (([known, known], True), ([unknown, known], False)):
        seen, whole = _trained_on(SimpleNamespace(members=members), [published], ids)
        assert (len(seen), whole) == (count, sure)
        facts = seen_facts(seen, whole)
        assert facts["seen_in_training" if sure else "seen_at_least"] == (count or None)
        assert facts["seen_at_least" if sure else "seen_in_training"] is None
        told = bool(count) if count or sure else None
        assert facts["trained_on_this_part"] is facts["selected_on_this_part"] is told


def test_reading_gives_json_csv_and_pictures(trained, phantoms, tmp_path, capsys):
    files = sorted((phantoms / "images" / "Fractured").iterdir())[:3]
    out = tmp_path / "readings.json"
    words = ["--json", out, "--csv", tmp_path / "r.csv", "--overlay", tmp_path / "pictures"]
    assert kirik("predict", *files, "--model", trained, *words) == 0
    readings = json.loads(out.read_text())
    assert [r["path"] for r in readings] == [str(f) for f in files]
    assert all(
        set(r) - {"findings"} == {"path", "decision", "probability", "model"} for r in readings
    )
    assert all(r["decision"] != "no_fracture" for r in readings if "findings" in r)
    for reading in readings:  # A network of three epochs may find a phantom strange.
        refused = reading["decision"] == "out_of_scope"
        assert (reading["probability"] is None) if refused else 0 <= reading["probability"] <= 1
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3
    assert files[0].name in capsys.readouterr().out


def test_python_and_command_read_the_same_as_the_report(trained, phantoms, tmp_path):
    import kirik as package

    with (trained / "report" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))[:5]
    # The report measures every radiograph, those too that the gate would refuse.
    classifier = package.load_model(trained / "bundle", gate=False)
    for row in rows:
        [path] = phantoms.glob(f"images/*/{row['image_id']}")
        probability = classifier.read(path).probability
        assert probability == pytest.approx(float(row["p_fractured"]), abs=1e-6)


def test_a_bad_file_in_a_folder_costs_nothing_else(trained, phantoms, tmp_path, capsys):
    good = sorted((phantoms / "images" / "Fractured").iterdir())[:2]
    for file in good:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "cut.jpg").write_bytes(good[0].read_bytes()[:1500])
    (tmp_path / "empty.jpg").write_bytes(b"")
    out = tmp_path / "out.json"
    assert kirik("predict", tmp_path, "--model", trained, "--json", out) == 1
    readings = json.loads(out.read_text())
    assert sum("decision" in r for r in readings) == 2
    errors = {Path(r["path"]).name for r in readings if "error" in r}
    assert errors == {"cut.jpg", "empty.jpg"}
    said = capsys.readouterr()
    assert "cut.jpg" in said.out + said.err


def test_a_published_split_is_checked_and_a_leak_is_named(phantoms, split, tmp_path, capsys):
    assert kirik("data", "check-split", split, phantoms) == 0
    assert "no leak" in capsys.readouterr().out
    with split.open() as file:
        rows = list(csv.DictReader(file))
    by_group = {}
    for row in rows:
        by_group.setdefault((row["group"], row["split"]), []).append(row)
    moved = next(g for (_, part), g in by_group.items() if part == "dev" and len(g) > 1)[0]
    moved.update(split="test", fold="")
    with (tmp_path / "leaky.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    assert kirik("data", "check-split", tmp_path / "leaky.csv", phantoms) == 1
    assert moved["image_id"] in capsys.readouterr().out


def test_runs_are_compared_and_averaged(trained, phantoms, split, place, tmp_path, capsys):
    second = place / "second"
    words = ["--split", split, "--fold", 1, "--out", second, "--epochs", 1, "--seed", 1]
    words += ["--balance", "weights", "--no-masks", "--no-scope"]
    assert kirik("train", phantoms, *TINY, *words) == 0
    page = tmp_path / "compare.html"
    assert kirik("compare", trained, second, "--html", page, "--bootstrap", 50) == 0
    assert "AUROC" in capsys.readouterr().out
    assert "second" in page.read_text()
    assert kirik("ensemble", trained, second, "--out", tmp_path / "both") == 0
    assert "# both" in (tmp_path / "both" / "card.md").read_text()
    import kirik as package

    file = next((phantoms / "images" / "Fractured").iterdir())
    one, two, both = (
        package.load_model(path, gate=False).read(file).probability
        for path in (trained, second, tmp_path / "both")
    )
    assert both == pytest.approx((one + two) / 2, abs=1e-6)
    # One of them tells what is in scope, and that is the average's.
    scopes = [
        package.load_model(path).manifest.scope for path in (trained, second, tmp_path / "both")
    ]
    assert [scope is None for scope in scopes] == [False, True, False]


def test_settings_come_from_toml_and_flags_win(phantoms, split, trained, tmp_path):
    text = (trained / "settings.toml").read_text().replace("epochs = 3", "epochs = 9")
    (tmp_path / "s.toml").write_text(text)
    words = ["--split", split, "--fold", 2, "--settings", tmp_path / "s.toml", "--epochs", 1]
    assert kirik("train", phantoms, *words, "--out", tmp_path / "run") == 0
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["epochs"] == 1
    assert settings["network"] == "test_efficientnet"
    assert settings["learning_rate"] == 0.003


def test_fracture_types_are_told_apart_from_folders(place, capsys):
    folder, split = place / "types", place / "types.csv"
    words = ["--form", "folders", "--fractured-share", 0.8, "--size", 96, "--seed", 3]
    assert kirik("data", "phantoms", folder, "--count", 150, *words) == 0
    assert kirik("data", "split", folder, "--out", split, "--folds", 2) == 0
    out = place / "types-run"
    words = ["--split", split, "--fold", 1, "--out", out, "--epochs", 1]
    assert kirik("train", folder, *TINY, *words) == 0
    metrics = json.loads((out / "report" / "metrics.json").read_text())
    assert (
        len(
            metrics["by_class"]["classes"]
            if "classes" in metrics["by_class"]
            else metrics["classes"]
        )
        == 6
    )
    file = next((folder / "spiral").iterdir())
    assert kirik("predict", file, "--model", out, "--json", place / "types.json") == 0
    [reading] = json.loads((place / "types.json").read_text())
    assert set(reading["probability"]) >= {"spiral", "transverse", "not_fractured"}
    assert sum(reading["probability"].values()) == pytest.approx(1, abs=1e-5)


def start(*words, **environment) -> subprocess.Popen:
    command = [sys.executable, "-m", "kirik", *map(str, words)]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_run_killed_before_its_bundle_ends_in_the_same_one(phantoms, split, tmp_path, capsys):
    """Without averaging, what is measured is the very network that trained. A radiograph that could
    not be read when it began is left out, even if it can be read by then; none may be lost."""
    words = ["--split", split, "--fold", 1, "--epochs", 2, "--ema", 0, "--no-scope"]
    whole, broken, data = (tmp_path / name for name in ("whole", "broken", "data"))
    shutil.copytree(phantoms, data)
    first, second = (one.image_id for one in load_split(split).part("train1")[:2])
    lost, other = (next(data.rglob(name)) for name in (first, second))
    content = lost.read_bytes()
    lost.write_bytes(b"nothing")
    assert kirik("train", data, *TINY, *words, "--out", whole) == 1
    lost.write_bytes(content)
    shutil.copytree(whole, broken)
    shutil.rmtree(broken / "bundle")
    capsys.readouterr()
    assert kirik("train", "--resume", broken) == 1
    told = f"{first}: could not be read when the run began; left out still\n"
    assert told in capsys.readouterr().err
    graphs = [(run / "bundle" / "model.onnx").read_bytes() for run in (whole, broken)]
    assert graphs[0] == graphs[1]
    manifests = [load_bundle(run).manifest for run in (whole, broken)]
    assert manifests[0].model_copy(update={"name": "broken"}) == manifests[1]

    shutil.rmtree(broken / "bundle")
    assert without_left_out(broken) == {first}
    assert kirik("train", "--resume", broken) == 2
    assert "1 radiographs could not be read when the run began, 0 cannot now" in (
        capsys.readouterr().err
    )
    other.write_bytes(b"nothing")
    shutil.rmtree(whole / "bundle")
    assert kirik("train", "--resume", whole) == 2
    said = capsys.readouterr().err
    told = "1 of the radiographs that could be read before cannot be read now"
    assert f"{told}; first: {other}" in said


def without_left_out(run) -> set[str]:
    """Makes a run's record one of a kirik that did not note what is left out, which it returns."""
    record = json.loads((run / "run.json").read_text())
    left_out = record.pop("left_out")
    (run / "run.json").write_text(json.dumps(record))
    return {*left_out}


def test_a_run_killed_with_9_and_resumed_ends_in_the_same_bundle(phantoms, split, tmp_path):
    words = ["--split", split, "--fold", 1, "--epochs", 4]
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"
    assert kirik("train", phantoms, *TINY, *words, "--out", whole) == 0
    # The order of sums goes with the threads.
    process = start("train", phantoms, *TINY, *words, "--out", broken, OMP_NUM_THREADS="1")
    checkpoint, deadline = broken / "checkpoints" / "last.safetensors", time.monotonic() + 120
    while not checkpoint.is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (broken / "bundle").exists()
    assert kirik("train", "--resume", broken) == 0
    graphs = [(run / "bundle" / "model.onnx").read_bytes() for run in (whole, broken)]
    assert graphs[0] == graphs[1]


def test_two_processes_train_together(phantoms, split, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "kirik", "train", str(phantoms), *TINY]
    command += ["--split", str(split), "--fold", "1", "--epochs", "2", "--out", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with (out / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert len(history) == 2
    assert np.isfinite(float(history[-1]["train_loss"]))
    assert (out / "report" / "report.html").is_file()
