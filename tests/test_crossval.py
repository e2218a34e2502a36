"""Cross-validation: what is chosen on some folds is measured on the others, and can be resumed."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import expit

from kirik.bundle import load_bundle
from kirik.cli import run
from kirik.console import Console
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Assignment, Split, load_split
from kirik.evaluation.localization import Localized
from kirik.evaluation.predictions import Predictions, read_predictions
from kirik.out_of_fold import Read, choose, concat, cross_fit, read_fold, report_out_of_fold
from kirik.preprocessing import Preprocessing
from kirik.reading.classifier import load_model
from kirik.shipping import megabytes
from kirik.telemetry import onnxruntime
from kirik.training.runs import find_run
from kirik.training.validated import Validated
from kirik.workflow import _choices, choose_scope
from one_thread import one_thread  # noqa: F401 (a fixture)
from quick_export import quick_export  # noqa: F401 (a fixture)
from quick_figures import quick_figures  # noqa: F401 (a fixture)

TINY = [
    *("--network", "test_efficientnet", "--weights", "none", "--size", "64", "--device", "cpu"),
    *("--batch-size", "8", "--learning-rate", "0.003", "--epochs", "2"),
]


def kirik(*words) -> int:
    return run([str(word) for word in words])


def but(words, flag, value) -> list:
    """A command's words with another value of one of its flags."""
    place = words.index(flag) + 1
    return [*words[:place], value, *words[place + 1 :]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set, its split of three folds, and the folder of its cross-validation."""
    place = tmp_path_factory.mktemp("crossval")
    data, split, out = place / "phantoms", place / "split.csv", place / "tiny"
    assert kirik("data", "phantoms", data, "--count", 90, "--size", 96, "--seed", 3) == 0
    assert kirik("data", "split", data, "--out", split, "--folds", 3) == 0
    words = ["crossval", data, "--split", split, "--out", out, *TINY, "--bootstrap", 50]
    assert kirik(*words) == 0
    return data, split, out, words


def test_every_development_radiograph_is_read_once_by_a_network_that_never_saw_it(made):
    _, _, out, _ = made
    predictions = read_predictions(out / "report" / "predictions.csv")
    rows = (out / "fold1" / "split.csv").read_text().splitlines()[1:]
    fold = {row.split(",")[0]: row.split(",")[3] for row in rows if row.split(",")[2] == "dev"}
    assert sorted(predictions.ids) == sorted(fold)
    for number in (1, 2, 3):
        read = read_predictions(out / f"fold{number}" / "read.csv")
        assert {fold[image_id] for image_id in read.ids} == {str(number)}
        said = json.loads((out / f"fold{number}" / "run.json").read_text())
        assert (said["fold"], said["chosen_on"]) == (number, 0)


def test_a_run_that_began_with_timms_weights_hands_its_layers_on(made, tmp_path):
    """TensorFlow's MobileNet pads otherwise than timm's own: the same weights say other things."""
    data, split, _, _ = made
    words = ["train", data, "--split", split, "--fold", 1, *TINY[2:], "--network", "mobilenetv1"]
    words = but(but([*words, "--freeze", 2, "--no-masks"], "--epochs", 1), "--size", 64)
    begun = tmp_path / "begun"
    assert kirik(*but(words, "--weights", "none"), "--out", begun) == 0
    record = json.loads((begun / "run.json").read_text())
    assert record.pop("built_as_timms") is False
    pads = [first_pads(begun)]
    # As an older kirik noted a run that fetched its weights.
    record["settings"]["weights"] = "hub"
    (begun / "run.json").write_text(json.dumps(record))
    for before, name in ((begun, "second"), (tmp_path / "second", "third")):
        out = tmp_path / name
        assert kirik(*but(words, "--weights", before), "--out", out) == 0
        pads.append(first_pads(out))
        assert json.loads((out / "run.json").read_text())["built_as_timms"]
    shutil.rmtree(tmp_path / "third" / "bundle")
    assert kirik("train", "--resume", tmp_path / "third") == 0
    assert [*pads, first_pads(tmp_path / "third")] == [[0, 0, 1, 1], *[[1, 1, 1, 1]] * 3]


def first_pads(run) -> list[int]:
    """What is added before the first convolution, and by it: top, left, bottom, right."""
    model = onnx.load(run / "bundle" / "model.onnx")
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    added = np.array(next(list(one.ints) for one in first.attribute if one.name == "pads"))
    before = next(node for node in model.graph.node if first.input[0] in node.output)
    if before.op_type == "Pad":  # of what is computed from the input's size
        told = onnx.helper.make_tensor_value_info(before.input[1], onnx.TensorProto.INT64, [8])
        model.graph.output.append(told)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        blank = np.zeros((1, 1, 64, 64), np.uint8)
        added += session.run([told.name], {"radiograph": blank})[0][[2, 3, 6, 7]]
    return added.tolist()


def test_figures_of_where_and_of_scope_are_there(made):
    metrics = json.loads((made[2] / "report" / "metrics.json").read_text())
    assert metrics["fracture"]["cross_fitted"] is True
    assert {"map50", "found_at_0.25", "false_per_normal"} <= metrics["localization"].keys()
    assert 0 <= metrics["out_of_scope"] <= 5
    heads, *findings = (
        (place / "findings.csv").read_text().splitlines()
        for place in (made[2] / "report", *(made[2] / f"fold{fold}" for fold in (1, 2, 3)))
    )
    assert heads == findings[0][:1] + [row for rows in findings for row in rows[1:]]
    assert len(heads) > 30


def test_the_bundle_is_trained_on_all_folds_and_carries_what_they_chose(made):
    _, _, out, _ = made
    manifest = load_bundle(out / "bundle").manifest
    assert manifest.name == "tiny"
    assert manifest.provenance["fold"] is None
    assert manifest.operating_points.fractured > 20
    assert manifest.scope.accepted == 0.99
    assert manifest.scope.threshold < 100
    assert manifest.provenance["out_of_fold"]["auroc"][0] > 0
    plain = load_bundle(out / "all").manifest
    assert (plain.temperature, plain.operating_points.high) == (1, 0.5)
    assert "SHA-256" in (out / "bundle" / "card.md").read_text()


def test_the_same_command_goes_on_where_it_stopped(made):
    _, _, out, words = made
    before = (out / "fold2" / "read.csv").stat().st_mtime_ns
    figures = json.loads((out / "report" / "metrics.json").read_text())
    kept = (out / "fold3" / "checkpoints" / "best.safetensors").read_bytes()
    for gone in (out / "report", out / "bundle", out / "fold3" / "bundle"):
        shutil.rmtree(gone)
    for gone in ("read.csv", "findings.csv", "strangeness.csv"):
        (out / "fold3" / gone).unlink()
    (out / ".bundles.0123abcd" / "0").mkdir(parents=True)  # as of a kirik that was killed
    older = json.loads((out / "fold2" / "run.json").read_text())
    del older["settings"]["close_ups"]  # as of a run that began before there was such a setting
    (out / "fold2" / "run.json").write_text(json.dumps(older))
    assert kirik(*words) == 0
    assert not list(out.glob(".bundles*"))
    assert (out / "fold2" / "read.csv").stat().st_mtime_ns == before
    assert (out / "fold3" / "checkpoints" / "best.safetensors").read_bytes() == kept
    again = json.loads((out / "report" / "metrics.json").read_text())
    assert again["fracture"]["auroc"] == pytest.approx(figures["fracture"]["auroc"], abs=1e-5)


def test_a_folder_that_was_begun_otherwise_is_refused_before_anything_runs(made, tmp_path, capsys):
    data, _, out, words = made
    before = (out / "settings.toml").read_bytes()
    assert kirik(*but(words, "--learning-rate", 0.01)) == 2
    assert "begun with learning_rate 0.003, not 0.01" in capsys.readouterr().err
    assert kirik(*words, "--seed", 1) == 2
    assert "begun with seed 0, not 1" in capsys.readouterr().err
    assert kirik(*but(words, "--out", out / "fold1")) == 2
    assert "is the folder of a training" in capsys.readouterr().err
    assert kirik(*words, "--validation", 0.2) == 2
    assert "--validation: cross-validation holds nothing back" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    assert kirik("data", "split", data, "--out", other, "--folds", 3, "--seed", 5) == 0
    capsys.readouterr()
    assert kirik(*but(words, "--split", other)) == 2
    assert "fold1: was begun on another split than other, split" in capsys.readouterr().err
    assert (out / "settings.toml").read_bytes() == before
    unknown = tmp_path / "unknown"
    shutil.copytree(out / "fold1" / "bundle", unknown / "fold1" / "bundle")
    assert kirik(*but(words, "--out", unknown)) == 2
    assert "no usable run.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "before", "now", "told"),
    [
        ("weights", "none", "hub", "begun with weights none, not hub"),
        ("weights", "/disk/closer", "runs/nearer", "begun with weights /disk/closer, not runs/n"),
        ("teacher", None, "runs/large", "begun with teacher none, not runs/large"),
        ("overview", "runs/large", None, "begun with overview runs/large, not none"),
        # Moved, or another user's; then what differs besides is told.
        ("weights", "~/hand/closer/", "/disk/closer", "begun with seed 0, not 1"),
        ("teacher", "", None, "begun with seed 0, not 1"),
        ("overview", "/disk/large", "~nobody/large", "begun with seed 0, not 1"),
    ],
)
def test_what_a_folder_was_begun_with_may_move_but_not_change(
    made, tmp_path, capsys, name, before, now, told
):
    _, _, out, words = made
    said = json.loads((out / "fold1" / "run.json").read_text())
    said["settings"][name] = before
    (tmp_path / "fold1").mkdir()
    (tmp_path / "fold1" / "run.json").write_text(json.dumps(said))
    words = [*but(words, "--out", tmp_path), "--seed", 1]
    capsys.readouterr()
    if now and f"--{name}" in words:
        words = but(words, f"--{name}", now)
    elif now:
        words += [f"--{name}", now]
    assert kirik(*words) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["fold1", "run.json"]


def test_what_the_last_network_builds_on_is_looked_for_before_the_first(made, tmp_path, capsys):
    _, _, out, words = made
    for fold in ("fold1", "fold2", "fold3"):
        (tmp_path / "large" / fold / "bundle").mkdir(parents=True)
        shutil.copy(out / fold / "run.json", tmp_path / "large" / fold)
    (tmp_path / "large" / "all").mkdir()  # of which nothing was made
    words = [*but(words, "--out", tmp_path / "new"), "--teacher", tmp_path / "large"]
    capsys.readouterr()
    for final, told in (
        ("single", "with all in it; name another --teacher"),
        ("none", "fold3: its training has not come to its end"),
    ):
        assert kirik(*words, "--final", final) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
        shutil.rmtree(tmp_path / "large" / "fold3" / "bundle", ignore_errors=True)


def test_labels_that_were_corrected_are_not_measured_by_what_was_read_before(
    made, tmp_path, capsys
):
    data, split, out, words = made
    corrected, again, twin = tmp_path / "phantoms", tmp_path / "tiny", tmp_path / "twin"
    shutil.copytree(data, corrected)
    for place in (again, twin):
        shutil.copytree(out, place)
    name = read_predictions(out / "fold2" / "read.csv").ids[0]
    [film] = corrected.glob(f"images/*/{name}")
    kinds = {kind.name: kind for kind in (corrected / "images").iterdir()}
    other = next(kind for kind in kinds if kind != film.parent.name)
    film.rename(kinds[other] / name)
    asked = ["crossval", corrected, *but(words, "--out", again)[2:], "--final", "none"]
    pooled = ["ensemble", again, twin, "--data", corrected, "--split", split]
    pooled += ["--out", tmp_path / "pooled"]
    for ask in (asked, pooled):
        capsys.readouterr()
        assert kirik(*ask) == 2
        told = capsys.readouterr().err
        assert "fold1: the data set's classes, labels or outlines have changed" in told
    for place in (again, twin):
        for run_json in place.glob("*/run.json"):  # as an older kirik wrote it
            said = json.loads(run_json.read_text())
            del said["labels_sha256"]
            run_json.write_text(json.dumps(said))
    for ask in (asked, pooled):
        assert kirik(*ask) == 2
        told = capsys.readouterr().err
        assert "fold2/read.csv: the data set has changed since the fold was read" in told
        assert name in told


def test_groups_and_views_that_were_corrected_are_those_of_the_next_report(made, tmp_path):
    _, split, out, words = made
    again, mended = tmp_path / "tiny", tmp_path / "split.csv"
    shutil.copytree(out, again)
    before = read_predictions(out / "report" / "predictions.csv")
    rows = [row.split(",") for row in split.read_text().splitlines()]
    first, *others = {row[1] for row in rows if row[2:4] == ["dev", "1"]}
    for row in rows:
        row[1] = first if row[1] == others[0] else row[1]
    mended.write_text("\n".join(map(",".join, rows)) + "\n")
    assert kirik(*but(but(words, "--out", again), "--split", mended), "--final", "none") == 0
    after = read_predictions(again / "report" / "predictions.csv")
    assert others[0] in before.groups
    assert set(after.groups) == set(before.groups) - {others[0]}
    assert after.probabilities == pytest.approx(before.probabilities)


def test_folds_do_not_learn_from_different_teachers_of_one_name(made, tmp_path, capsys):
    _, _, out, words = made
    again = tmp_path / "tiny"
    shutil.copytree(out, again)
    for gone in ("all", "fold3"):
        shutil.rmtree(again / gone)
    for fold in (1, 2):
        run_json = again / f"fold{fold}" / "run.json"
        said = json.loads(run_json.read_text())
        said["settings"]["teacher"] = str(out)
        said["built_on"] = {"teacher": load_bundle(out / f"fold{fold}").digest}
        if fold == 2:
            said["built_on"]["teacher"] = "another's"
        run_json.write_text(json.dumps(said))
    capsys.readouterr()
    assert kirik(*but(words, "--out", again), "--teacher", out, "--final", "none") == 2
    told = capsys.readouterr().err
    assert "fold2: was begun with another --teacher than lies there now under the name" in told
    assert not (again / "fold3").exists()


def test_other_files_of_the_same_names_are_not_gone_on_with(made, tmp_path, capsys):
    """As of films that were exported anew; but the data set may be moved."""
    data, split, out, words = made
    moved, again, twin = tmp_path / "phantoms", tmp_path / "tiny", tmp_path / "twin"
    shutil.copytree(data, moved)
    for place in (again, twin):
        shutil.copytree(out, place)
    shutil.rmtree(again / "fold3")
    asked = ["crossval", moved, *but(words, "--out", again)[2:], "--final", "none"]
    pooled = ["ensemble", out, twin, "--data", moved, "--split", split]
    pooled += ["--out", tmp_path / "pooled"]
    name = read_predictions(out / "fold2" / "read.csv").ids[0]
    [film] = moved.glob(f"images/*/{name}")
    kept = film.read_bytes()
    film.write_bytes(kept + b"\0")
    for ask in (asked, pooled):
        capsys.readouterr()
        assert kirik(*ask) == 2
        assert (
            f"fold1: began with other files than {moved} has, in {data}" in capsys.readouterr().err
        )
    assert not (again / "fold3").exists()
    assert not (tmp_path / "pooled").exists()
    film.write_bytes(kept)
    assert kirik(*asked) == 0


def test_classes_that_mean_something_else_now_are_not_gone_on_with(made, tmp_path, capsys):
    """Which class is the negative one, and so the first, another kirik may have told otherwise."""
    _, _, out, words = made
    again = tmp_path / "tiny"
    shutil.copytree(out, again)
    for gone in (again / "report", again / "bundle", again / "fold2" / "bundle"):
        shutil.rmtree(gone)
    said = json.loads((again / "fold2" / "run.json").read_text())
    said["classes"] = said["classes"][::-1]
    (again / "fold2" / "run.json").write_text(json.dumps(said))
    assert kirik("train", "--resume", again / "fold2") == 2
    assert "or what its classes mean, has changed since the run began" in capsys.readouterr().err
    assert kirik(*but(words, "--out", again)) == 2
    assert "fold2: the data set's classes, labels or outlines" in capsys.readouterr().err


def test_a_radiograph_that_cannot_be_read_is_named_and_costs_no_other(made, tmp_path):
    data, _, out, words = made
    first, second, *rest = read_predictions(out / "fold1" / "read.csv").ids
    worse, again = tmp_path / "phantoms", tmp_path / "tiny"
    shutil.copytree(data, worse)
    shutil.copytree(out, again)
    (again / "fold1" / "read.csv").unlink()
    for run_json in again.glob("*/run.json"):  # of an older kirik, which goes by the labels alone
        said = json.loads(run_json.read_text())
        del said["left_out"]
        run_json.write_text(json.dumps(said))
    [empty], [pages] = (list(worse.glob(f"images/*/{name}")) for name in (first, second))
    empty.write_bytes(b"")
    with Image.open(pages) as page:
        page.save(pages, format="TIFF", save_all=True, append_images=[page.copy()])
    words = ["crossval", worse, *but(words, "--out", again)[2:], "--final", "none"]
    assert kirik(*words) == 0
    assert list(read_predictions(again / "fold1" / "read.csv").ids) == rest
    for _ in range(2):  # the second time from the files beside the readings
        told = json.loads((again / "report" / "metrics.json").read_text())["facts"]["unreadable"]
        assert [why.split(":")[0] for why in told] == [first, second]
        assert "2 frames or pages" in told[1]
        assert str(tmp_path) not in " ".join(told)
        shutil.rmtree(again / "report")
        assert kirik(*words) == 0


def test_the_average_of_the_folds_networks_reads(made, tmp_path):
    data, _, out, words = made
    both = tmp_path / "average"
    shutil.copytree(out, both)
    shutil.rmtree(both / "bundle")
    words = [*words[:5], both, *words[6:], "--final", "average"]
    assert kirik(*words) == 0
    bundle = load_bundle(both / "bundle")
    assert len(bundle.members) == 3
    assert {path.name for path in both.iterdir()} == {path.name for path in out.iterdir()}
    one, three = (
        json.loads((place / "report" / "metrics.json").read_text())["facts"]
        for place in (out, both)
    )
    assert three["cost"]["parameters"] == pytest.approx(3 * one["cost"]["parameters"], abs=0.01)
    assert three["cost"]["megabytes"] == pytest.approx(megabytes(bundle), abs=0.02)
    assert three["final"] == "average"
    assert "final" not in one
    reading = load_model(both / "bundle").read(next(data.glob("images/*/*.jpg")))
    assert reading.decision in ("fracture", "uncertain", "no_fracture", "out_of_scope")


def test_a_study_puts_models_side_by_side(made, tmp_path, capsys):
    _, _, out, _ = made
    other = tmp_path / "other"
    shutil.copytree(out, other)
    folder = tmp_path / "docs" / "study"
    words = ["study", folder, "--add", out, "--add", other, "--bootstrap", 50]
    assert kirik(*words) == 0
    text = (tmp_path / "docs" / "study.md").read_text()
    figure = json.loads((out / "report" / "metrics.json").read_text())["fracture"]["auroc"]
    assert f"| tiny | {figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f}) |" in text
    assert "0.000 (0.000 to 0.000)" in text.split("## Differences")[1].split("## For whom")[0]
    assert "region: hand" in text
    kept = (folder / "tiny" / "findings.csv").read_bytes()
    assert kept == (out / "report" / "findings.csv").read_bytes()
    assert "kirik crossval phantoms --split split --out runs/tiny --weights none --set" in text
    assert "FOLDER" not in text
    assert str(tmp_path) not in (folder / "tiny" / "metrics.json").read_text()
    assert "## Ablations" not in text
    report = ["--split", made[1], "--part", "fold1", "--bootstrap", 20]
    for fold in ("fold1", "fold2"):
        place = out / fold / "report"
        assert kirik("evaluate", out / fold, made[0], *report, "--out", place) == 0
    rows = [f"masks/1-with={out / 'fold1'}", f"masks/2-no-masks={out / 'fold2'}"]
    assert kirik("study", folder, *(x for row in rows for x in ("--ablation", row))) == 0
    table = (tmp_path / "docs" / "study.md").read_text().split("### masks")[1]
    assert "| with | fold1 of" in table
    assert "| no masks | fold1 of" in table
    assert "weights" not in (folder / "ablations/masks/1-with/settings.toml").read_text()
    assert kirik("study", folder, "--ablation", "masks=x") == 2
    assert kirik("study", folder, "--ablation", f"masks/y={out}") == 2
    assert not (folder / "ablations" / "masks" / "y").exists()
    assert kirik("study", folder, "--ablation", f"masks/x={tmp_path}") == 2
    assert kirik("study", folder, "--add", tmp_path) == 2
    assert "run kirik crossval" in capsys.readouterr().err
    assert kirik("study", folder, "--add", out / "fold1") == 2
    assert "was measured on fold1 by a single network, not cross-v" in capsys.readouterr().err
    assert not (folder / "fold1").exists()


def losses(run):
    return [line.split(",")[1] for line in (run / "history.csv").read_text().splitlines()[1:]]


def test_a_student_learns_from_the_network_that_left_out_the_same_fold(
    made, tmp_path, capsys, monkeypatch
):
    data, split, out, _ = made
    monkeypatch.setenv("HOME", str(out.parent))
    other = [*TINY[2:5], "96", *TINY[6:], "--network", "test_resnet", "--validation", 0]
    words = ["train", data, "--split", split, "--fold", 1, *other]
    assert kirik(*words, "--out", tmp_path / "taught", "--teacher", "~/tiny") == 0
    assert kirik(*words, "--out", tmp_path / "alone") == 0
    pairs = zip(losses(tmp_path / "taught"), losses(tmp_path / "alone"), strict=True)
    assert all(float(with_teacher) > float(without) for with_teacher, without in pairs)
    said = load_bundle(tmp_path / "taught").manifest.provenance["settings"]
    assert said["teacher"] == "tiny"  # its name, not its place
    capsys.readouterr()
    leaky = [*words, "--out", tmp_path / "leaky", "--teacher"]
    for teacher in (out / "fold2", out / "all"):
        assert kirik(*leaky, teacher) == 2
        assert "would leak it" in capsys.readouterr().err
    assert kirik(*leaky, tmp_path) == 2
    assert "neither a training run" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    assert kirik("data", "split", data, "--out", other, "--folds", 3, "--seed", 5) == 0
    asked = [*but(words, "--split", other), "--out", tmp_path / "leaky"]
    for leaking in ([*asked, "--teacher", out], but(asked, "--weights", out)):
        capsys.readouterr()
        assert kirik(*leaking) == 2
        told = capsys.readouterr().err
        assert "fold1: was trained on another split, split, and by their ids on rad" in told
        assert "of this one's fold 1 or test part (" in told
    # What trains on all of dev is measured on test, of which another split's dev may hold some.
    whole = [word for word in asked if word not in ("--fold", 1)]
    near = [*whole, "--overview", out]
    for leaking in ([*whole, "--teacher", out], but(whole, "--weights", out), near):
        capsys.readouterr()
        assert kirik(*leaking) == 2
        told = capsys.readouterr().err
        assert "all: was trained on another split, split, and by their ids on radiographs" in told
    assert not (tmp_path / "leaky").exists()
    same = load_split(split).digest
    assert find_run(out, None, "--teacher", same) == out / "all"
    # Another data set's split, of which it saw nothing.
    assert find_run(out, None, "--weights", "other", {"elsewhere.png"}) == out / "all"
    assert find_run(out / "fold2", None, "--teacher", same) == out / "fold2"


def readings(fold, fractured, probability, strangeness=None):
    count = len(fold)
    table = np.stack([1 - probability, probability], axis=1)
    ids = tuple(f"r{i}" for i in range(count))
    predictions = Predictions(
        ids, ids, fractured.astype(int), table, ("not_fractured", "fractured"), 0
    )
    strangeness = np.ones(count) if strangeness is None else strangeness
    return Read(predictions, np.array(fold), strangeness, None)


def test_a_fold_is_calibrated_and_decided_by_the_others_alone():
    rng = np.random.default_rng(0)
    fold = np.repeat([1, 2], 400)
    fractured = rng.random(800) < 0.3
    logits = np.where(fractured, 1.5, -1.5) + rng.normal(0, 1.5, 800)
    probability = 1 / (1 + np.exp(-logits * np.where(fold == 1, 4, 0.5)))
    read = readings(fold, fractured, probability)
    fitted, points, _, _ = cross_fit(read)
    expected = choose(read.select(fold == 2))
    assert points.high[:400] == pytest.approx(expected.points.high)
    assert points.low[:400] == pytest.approx(expected.points.low)
    changed = np.where(fold == 1, 0.5, probability)  # fold 1's own readings must not matter to it
    again = cross_fit(readings(fold, fractured, changed))[1]
    assert again.high[:400] == pytest.approx(points.high[:400])
    assert again.high[400:] != pytest.approx(points.high[400:])
    assert fitted.predictions.probabilities[:400] != pytest.approx(
        read.predictions.probabilities[:400]
    )


def found_at(fold, fractured, score):
    """A finding on each radiograph, right on the fractured ones, of these scores."""
    box = (10, 10, 20, 20)
    truth = tuple(np.array([box] * int(one), float).reshape(-1, 4) for one in fractured)
    found = tuple(np.array([(*box, own)], float) for own in score)
    groups = tuple(map(str, range(len(fold))))
    return Localized(truth, found, groups, np.ones(len(fold), bool))


def test_points_findings_and_scope_of_a_fold_are_the_others_choice_on_what_is_calibrated():
    rng, fold = np.random.default_rng(4), np.repeat([1, 2], 200)
    fractured = rng.random(400) < 0.4
    logits = 4 * (np.where(fractured, 1.5, -1.5) + rng.normal(0, 1.5, 400))
    score = np.where(fractured, 0.8, 0.7) - 0.4 * (fold == 2) + rng.uniform(0, 0.05, 400)
    strangeness = np.where(fold == 1, 1, 3) + rng.uniform(0, 0.5, 400)
    read = readings(fold, fractured, 1 / (1 + np.exp(-logits)), strangeness)
    read = replace(read, localized=found_at(fold, fractured, score))
    fitted, points, shown_from, refused = cross_fit(read)
    assert refused == 200  # all of the second fold, which is far from the first
    for own, other in ((1, 2), (2, 1)):
        chosen, here = choose(read.select(fold == other)), fold == own
        assert set(shown_from[here]) == {chosen.shown_from}
        expected = chosen.calibration.apply(read.predictions.probabilities[here])
        np.testing.assert_allclose(fitted.predictions.probabilities[here], expected)
        calibrated = chosen.calibration.apply(read.predictions.probabilities[fold == other])[:, 1]
        flagged = calibrated[fractured[fold == other]] >= points.low[here][0]
        assert flagged.mean() == pytest.approx(chosen.points.sensitivity)
    assert fitted.localized.found[0] is read.localized.found[0]


@pytest.mark.parametrize("negative", [0, 1])
def test_a_single_training_chooses_points_on_probabilities_as_they_will_be_read(negative):
    rng = np.random.default_rng(6)
    fractured = rng.random(400) < 0.4
    logit = 4 * (np.where(fractured, 1.5, -1.5) + rng.normal(0, 1.5, 400))
    logits = np.stack([-logit, logit] if negative == 0 else [logit, -logit], axis=1) / 2
    labels = np.where(fractured, 1 - negative, negative)
    nothing = np.zeros((400, 16, 16), np.uint8)
    held_out = Validated(logits, labels, None, nothing, np.ones(400, bool), np.ones(400))
    trained = SimpleNamespace(
        validation=held_out,
        network=SimpleNamespace(pyramid=None),
        preprocessing=Preprocessing(size=64),
        provenance={"settings": {"scope": True}},
    )
    chosen = _choices(trained, SimpleNamespace(negative=negative))
    assert chosen["temperature"] > 2
    points, probability = chosen["operating_points"], expit(logit / chosen["temperature"])
    assert np.mean(probability[fractured] >= points.low) == pytest.approx(0.95, abs=0.01)
    assert np.mean(probability[~fractured] < points.high) == pytest.approx(0.95, abs=0.01)


def test_what_a_reading_dismisses_shows_no_finding_in_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr("kirik.out_of_fold.write_report", lambda out, *_, **__: out.mkdir())
    rng, fold = np.random.default_rng(5), np.arange(200) % 2 + 1
    fractured = np.arange(200) % 4 < 2
    probability = np.where(fractured, 0.9, 0.1) + rng.uniform(-0.05, 0.05, 200)
    read = readings(fold, fractured, probability)
    read = replace(read, localized=found_at(fold, fractured, np.full(200, 0.6)))
    said = report_out_of_fold(tmp_path / "report", read, {}, bootstrap=20)["localization"]
    assert said["fractures_found"]["value"] == 1
    assert said["normal_with_false"]["value"] == 0
    assert said["map50"]["value"] < 0.9  # a curve counts them, whatever is decided


def test_a_fracture_without_a_box_is_not_measured_where_it_is(tmp_path):
    """Nor what is marked on a radiograph that is not fractured."""
    boxes = ((10.0, 10.0, 20.0, 20.0),)
    records = tuple(
        Record(f"{number}.png", tmp_path / f"{number}.png", label, boxes=own)
        for number, (label, own) in enumerate(((1, boxes), (1, ()), (0, ()), (0, boxes)))
    )
    index = Index(tmp_path, "csv", ("not_fractured", "fractured"), 0, records)
    split = Split("s", {one.id: Assignment(one.id, one.id, "dev", 1) for one in records})
    table = np.full((4, 2), 0.5)
    names = tuple(one.id for one in records)
    labels = np.array([one.label for one in records])
    Predictions(names, names, labels, table, index.classes, 0).write(tmp_path / "read.csv")
    (tmp_path / "findings.csv").write_text("image_id,x,y,width,height,score\n1.png,1,2,3,4,0.5\n")
    read = read_fold(tmp_path, index, split, 1, Console())
    assert read.localized.known.tolist() == [True, False, True, False]
    assert [len(found) for found in read.localized.found] == [0, 1, 0, 0]
    assert read.fold.tolist() == [1] * 4
    assert read.strangeness is None


def test_the_gate_accepts_99_in_100_of_what_was_not_trained_on():
    rng = np.random.default_rng(1)
    strangeness = rng.normal(1, 0.1, 2000)
    read = readings(np.repeat([1, 2], 1000), rng.random(2000) < 0.3, rng.random(2000), strangeness)
    assert np.mean(strangeness > choose(read).scope.threshold) == pytest.approx(0.01, abs=0.001)
    assert cross_fit(read)[3] == pytest.approx(20, abs=12)


def test_networks_that_tell_no_scope_refuse_nothing():
    rng = np.random.default_rng(2)
    read = readings(np.repeat([1, 2], 100), rng.random(200) < 0.3, rng.random(200))
    without = replace(read, strangeness=None)
    assert choose(without).scope is None
    assert cross_fit(without)[3] is None
    assert concat([without, without]).strangeness is None


@pytest.mark.parametrize("count", [1, 3, 6, 20, 60, 200])
def test_the_gate_of_few_radiographs_refuses_few_others(count):
    rng = np.random.default_rng(count)
    thresholds = [choose_scope(rng.lognormal(0, 0.2, count)).threshold for _ in range(300)]
    others = rng.lognormal(0, 0.2, 2000)
    assert np.mean([np.mean(others > threshold) for threshold in thresholds]) < 0.015
    assert count < 6 or np.mean(np.array(thresholds) > 10) < 0.05


def test_training_goes_on_at_another_size_from_the_run_that_left_out_the_same_fold(
    made, tmp_path, capsys
):
    data, split, out, _ = made
    words = ["train", data, "--split", split, "--fold", 1, *TINY[:2], *TINY[6:]]
    words = [*words, "--size", 96, "--validation", 0]
    assert kirik(*words, "--out", tmp_path / "on", "--weights", out, "--freeze", 4) == 0
    assert kirik(*words, "--out", tmp_path / "new", "--weights", "none") == 0
    assert float(losses(tmp_path / "on")[0]) < float(losses(tmp_path / "new")[0])
    names = ("conv_stem.weight", "bn1.running_mean", "blocks.0.0.conv.weight")
    stem = [f"network/backbones.test_efficientnet.{name}" for name in names]
    kept = [
        load_file(run / "checkpoints" / "best.safetensors")
        for run in (out / "fold1", tmp_path / "on", tmp_path / "new")
    ]
    for name in stem:
        assert torch.equal(kept[0][name], kept[1][name])
        assert not torch.equal(kept[0][name], kept[2][name])
    last = "network/head.1.weight"
    assert not torch.equal(kept[0][last], kept[1][last])
    said = load_bundle(tmp_path / "on").manifest.provenance["settings"]
    assert (said["weights"], said["freeze"]) == ("tiny", 4)
    capsys.readouterr()
    assert kirik(*words, "--out", tmp_path / "leaky", "--weights", out / "fold2") == 2
    assert "would leak it" in capsys.readouterr().err
    words[words.index("test_efficientnet")] = "test_resnet"
    assert kirik(*words, "--out", tmp_path / "other", "--weights", out) == 2
    told = capsys.readouterr().err
    assert "fold1: its weights do not fit test_resnet" in told
    assert 'Missing key(s) in state_dict: "backbones.test_resnet.' in told
    assert "Error(s) in loading" not in told


def test_a_split_without_folds_is_refused(made, tmp_path, capsys):
    data, split, _, _ = made
    lines = split.read_text().splitlines()
    plain = [lines[0], *(",".join((*x.split(",")[:3], "", "")) for x in lines[1:])]
    (tmp_path / "plain.csv").write_text("\n".join(plain) + "\n")
    words = ["--split", tmp_path / "plain.csv", "--out", tmp_path / "x"]
    assert kirik("crossval", data, *words, *TINY) == 2
    assert "has no folds" in capsys.readouterr().err


def test_the_average_of_cross_validated_models_is_measured_out_of_fold(made, tmp_path, capsys):
    data, split, out, words = made
    other, pooled = tmp_path / "other", tmp_path / "pooled"
    again = [*words[:5], other, *words[6:], "--seed", 1, "--final", "none", "--no-scope"]
    assert kirik(*again) == 0
    assert not (other / "fold1" / "strangeness.csv").exists()
    assert "out_of_scope" not in json.loads((other / "report" / "metrics.json").read_text())
    ask = ["ensemble", out, other, "--data", data, "--split", split, "--out", pooled]
    assert kirik(*ask, "--bootstrap", 50) == 0
    read = read_predictions(pooled / "fold2" / "read.csv")
    assert set(read.ids) == set(read_predictions(out / "fold2" / "read.csv").ids)
    manifest = load_bundle(pooled / "fold2" / "bundle").manifest
    assert manifest.members == ("tiny-fold2", "other-fold2")
    others = [read_predictions(out / f"fold{number}" / "read.csv") for number in (1, 3)]
    fractured = sum(int(one.fractured.sum()) for one in others)
    for member in load_bundle(pooled / "fold2" / "bundle").members:
        assert member.manifest.operating_points.fractured == fractured
    bundle = load_bundle(pooled / "bundle")
    assert bundle.manifest.members == ("tiny", "other")
    assert "of the seeds 0 and 1" in (pooled / "bundle" / "card.md").read_text()
    made_of = [(m.manifest.kind, m.manifest.provenance.get("fold")) for m in bundle.members]
    assert made_of == [("network", None), ("average", None)]
    assert len(bundle.members[1].members) == 3
    # One of them tells what is in scope, for both; the other's graphs say nothing of it.
    assert bundle.manifest.scope.threshold > 0
    assert [m.manifest.scope is None for m in bundle.members] == [False, True]
    graphs = [bundle.members[0], *bundle.members[1].members]
    assert [b"strangeness" in graph.read("model.onnx") for graph in graphs] == [True, *[False] * 3]
    assert (pooled / "fold1" / "strangeness.csv").is_file()
    said = [bundle.members[0], *bundle.members[1].members, *load_bundle(pooled / "fold2").members]
    # Pooled, then calibrated.
    assert {(m.manifest.temperature, m.manifest.bias) for m in said} == {(1, ())}
    assert bundle.manifest.temperature != 1
    assert len(bundle.manifest.bias) == 2
    own = load_bundle(out / "bundle")
    assert bundle.members[0].manifest.operating_points != own.manifest.operating_points
    assert "calibration error" in own.read("card.md").decode()
    assert "calibration error" not in bundle.members[0].read("card.md").decode()
    card = bundle.read("card.md").decode()
    assert "members/tiny/card.md" in card
    metrics = json.loads((pooled / "report" / "metrics.json").read_text())
    assert metrics["fracture"]["cross_fitted"] is True
    assert metrics["facts"]["averages"] == ["tiny", "other"]
    figure = metrics["fracture"]["auroc"]["value"]
    assert bundle.manifest.provenance["out_of_fold"]["auroc"][0] == pytest.approx(figure, abs=1e-4)
    assert bundle.manifest.operating_points.fractured > 20
    assert kirik("study", tmp_path / "study", "--add", pooled, "--add", out) == 0
    table = (tmp_path / "study.md").read_text()
    assert "| pooled |" in table
    assert "kirik ensemble runs/tiny runs/other --data" in table
    reading = load_model(pooled / "bundle").read(next(data.glob("images/*/*.jpg")))
    assert reading.decision in ("fracture", "uncertain", "no_fracture", "out_of_scope")
    measured = ["--split", split, "--part", "fold1", "--bootstrap", 20, "--out", tmp_path / "r"]
    assert kirik("evaluate", pooled / "fold1", data, *measured) == 0
    facts = json.loads((tmp_path / "r" / "metrics.json").read_text())["facts"]
    assert facts["trained_on_this_part"] is False
    capsys.readouterr()
    shutil.copytree(other, tmp_path / "third")
    third = [tmp_path / "third" if word == other else word for word in ask]
    changed = tmp_path / "changed" / "other"
    shutil.copytree(other, changed)
    shutil.rmtree(changed / "fold1" / "bundle")
    shutil.copytree(out / "fold1" / "bundle", changed / "fold1" / "bundle")
    read = (pooled / "fold2" / "read.csv").stat().st_mtime_ns
    assert kirik(*third) == 2
    said = capsys.readouterr().err
    assert "pooled: was begun as the average of other and tiny, not of third and tiny" in said
    assert kirik(*(changed if word == other else word for word in ask)) == 2
    assert "whose networks have changed" in capsys.readouterr().err
    (pooled / "members.json").unlink()  # as an older kirik left it
    assert kirik(*third) == 2
    assert kirik(*ask, "--bootstrap", 50) == 0
    assert (pooled / "members.json").is_file()
    assert (pooled / "fold2" / "read.csv").stat().st_mtime_ns == read


def test_a_plain_average_tells_that_one_of_its_networks_learned_from_a_part(made, tmp_path, capsys):
    data, split, out, _ = made
    average = tmp_path / "average"
    assert kirik("ensemble", out / "fold1", out / "fold2", "--out", average) == 0
    for part, seen in (("fold1", True), ("test", False)):
        place = tmp_path / part
        words = ["--split", split, "--part", part, "--bootstrap", 20, "--out", place]
        assert kirik("evaluate", average, data, *words) == 0
        facts = json.loads((place / "metrics.json").read_text())["facts"]
        assert facts["trained_on_this_part"] is seen
        warned = f"{place}: The model was trained on radiographs of this part"
        assert (warned in capsys.readouterr().err) is seen


def test_what_was_not_cross_validated_on_the_split_is_not_averaged(made, tmp_path, capsys):
    data, split, out, _ = made
    ask = ["ensemble", out, "--data", data, "--out", tmp_path / "pooled"]
    assert kirik(*ask, tmp_path / "nothing", "--split", split) == 2
    assert "no finished fold 1" in capsys.readouterr().err
    assert kirik(*ask, out, "--split", split) == 2
    assert "two different" in capsys.readouterr().err
    assert kirik(*ask, out / "report") == 2
    assert "belong together" in capsys.readouterr().err
    other = tmp_path / "other.csv"
    assert kirik("data", "split", data, "--out", other, "--folds", 3, "--seed", 5) == 0
    shutil.copytree(out, tmp_path / "copy")
    assert kirik(*ask, tmp_path / "copy", "--split", other) == 2
    assert "average models of one split" in capsys.readouterr().err
    begun = [*ask[:-1], out / "fold1", tmp_path / "copy", "--split", split]
    assert kirik(*begun) == 2
    assert "is the folder of a training" in capsys.readouterr().err
    no_folds = tmp_path / "no_folds.csv"
    lines = split.read_text().splitlines(keepends=True)
    no_folds.write_text("".join(lines[:1] + [line for line in lines if ",test," in line]))
    assert kirik(*ask, tmp_path / "copy", "--split", no_folds) == 2
    assert "has no folds" in capsys.readouterr().err
    assert not (tmp_path / "pooled").exists()


def test_a_second_network_looks_closer_and_both_are_one_model(made, tmp_path, capsys):
    data, split, out, _ = made
    once = but(TINY, "--epochs", 1)
    words = ["crossval", data, "--split", split, *once, "--bootstrap", 20]
    closer = [*words, "--overview", out, "--looks", 3, "--looks-from", 0.001]
    closer += ["--close-ups", 2, "--overview-weight", 0.5]
    for final in ("single", "average"):
        assert kirik(*closer, "--out", tmp_path / "closer", "--final", final) == 0
    single = load_bundle(tmp_path / "closer" / "all").manifest
    assert (single.kind, single.looks, single.preprocessing.size) == ("cascade", 3, 256)
    assert (single.looks_from, single.close_ups, single.overview_weight) == (0.001, 2, 0.5)
    assert single.provenance["settings"]["overview"] == "tiny"
    average = load_bundle(tmp_path / "closer" / "bundle")
    assert [member.manifest.kind for member in average.members] == ["cascade"] * 3
    assert average.manifest.scope.threshold == 1
    metrics = json.loads((tmp_path / "closer" / "report" / "metrics.json").read_text())
    assert {"map50", "found_at_0.25"} <= metrics["localization"].keys()
    assert metrics["facts"]["cost"]["gflops"] > 0
    table = read_predictions(tmp_path / "closer" / "report" / "predictions.csv")
    assert sorted(table.ids) == sorted(read_predictions(out / "report" / "predictions.csv").ids)
    reading = load_model(tmp_path / "closer").read(next(data.glob("images/*/*.jpg")))
    assert reading.decision in ("fracture", "uncertain", "no_fracture", "out_of_scope")
    first = load_bundle(tmp_path / "closer" / "fold1")
    assert first.members[0].read("model.onnx") == load_bundle(out / "fold1").read("model.onnx")
    words = ["train", data, "--split", split, "--fold", 1, *once[2:], "--validation", 0]
    words += ["--network", "test_resnet"]
    capsys.readouterr()
    cascade = [*words, "--overview", tmp_path / "closer", "--out", tmp_path / "third"]
    assert kirik(*cascade) == 2
    assert "is two networks already" in capsys.readouterr().err
    near = [*words, "--overview", out]
    assert kirik(*near, "--out", tmp_path / "taught", "--teacher", tmp_path / "closer") == 0
    assert kirik(*near, "--out", tmp_path / "alone") == 0
    pairs = zip(losses(tmp_path / "taught"), losses(tmp_path / "alone"), strict=True)
    assert all(float(with_teacher) > float(without) for with_teacher, without in pairs)
    capsys.readouterr()
    for ask, teacher, told in (
        (near, out, "its network sees whole radiographs, and this one patches"),
        (words, tmp_path / "closer", "its network sees patches, and this one whole radiographs"),
    ):
        assert kirik(*ask, "--out", tmp_path / "none", "--teacher", teacher) == 2
        assert told in capsys.readouterr().err


def test_what_cannot_look_closer_is_told_before_anything_is_decoded(made, tmp_path, capsys):
    data, split, out, _ = made
    words = ["train", data, "--split", split, "--fold", 1, *TINY, "--out", tmp_path / "new"]
    for flags, told in (
        (["--overview", out], "needs --validation 0"),
        (["--overview", out, "--validation", 0, "--no-masks"], "needs --masks"),
        (["--overview", out / "fold2", "--validation", 0], "would leak it"),
        (["--overview", tmp_path, "--validation", 0], "neither a training run"),
    ):
        assert kirik(*words, *flags) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "new").exists()
    whole = ["crossval", data, "--split", split, *TINY, "--out", tmp_path / "new"]
    assert kirik(*whole, "--overview", out / "fold1") == 2  # a run of one fold serves no other
    assert "would leak it" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    blind = tmp_path / "blind"
    assert kirik(*words[:-1], blind, "--no-masks", "--validation", 0) == 0
    assert kirik(*words, "--overview", blind, "--validation", 0) == 2
    assert "no evidence map" in capsys.readouterr().err
