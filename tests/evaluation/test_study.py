"""The study: what its page says of models that were measured before."""

import json

import numpy as np
import pytest

from kirik.cli import run
from kirik.errors import DataSetError
from kirik.evaluation.metrics import measure
from kirik.evaluation.report import write_report
from kirik.evaluation.studied import add_ablation, add_runs
from kirik.evaluation.study import write_study
from kirik.operating_points import CrossFitted, OperatingPoints

from .conftest import make_predictions, make_types

POINTS = OperatingPoints(0.25, 0.6)


@pytest.fixture
def studied(tmp_path):
    """Makes a cross-validated run's report, adds it, and gives the study's page: studied(runs by
    name, facts of each, and the text of its settings)."""

    def study(**runs) -> str:
        for seed, (name, (facts, settings)) in enumerate(runs.items()):
            part = make_predictions(seed=seed)
            points = CrossFitted(np.full(300, 0.2), np.linspace(0.3, 0.7, 300))
            metrics = measure(part, bootstrap=20, operating_points=POINTS, cross_fitted=points)
            metrics["out_of_scope"] = 4
            run = tmp_path / "runs" / name
            said = {"split": "s", "network": "net"} | facts
            write_report(run / "report", part, metrics, facts=said)
            if settings:
                (run / "settings.toml").write_text(settings)
            add_runs(tmp_path / "study", [run])
        write_study(tmp_path / "study", tmp_path / "study.md", replicates=20)
        return (tmp_path / "study.md").read_text()

    return study


def test_each_model_is_defined_as_far_as_its_settings_tell(studied):
    page = studied(
        small=({}, "size = 224\nepochs = 9\n"),
        bare=({}, None),
        closer=({"overview": "small", "start": "bare"}, "size = 128\nclose_ups = 2\n"),
        both=({"averages": ["small", "closer"]}, None),
    )
    assert "- small: net on 224 × 224 pixels, trained for 9 epochs." in page
    assert "- bare: net on pixels of its own size." in page
    assert "- closer: small on the whole radiograph, and net on patches of it of 128 × 128" in page
    assert "and on its findings close up from the weights of bare." in page
    assert "- both: the average of small and closer." in page


def test_the_three_way_decision_tells_what_is_wrong_dismissed_and_refused(studied):
    part = make_predictions(seed=0)
    p, fractured = part.fracture_probability, part.fractured
    called, cleared = p >= np.linspace(0.3, 0.7, 300), p < 0.2
    wrong, missed = np.sum(called & ~fractured), np.sum(cleared & fractured)
    head, _, row, *_ = studied(one=({}, None)).split("Three-way")[1].split("\n\n")[1].split("\n")
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    said = cells["wrong among those called fracture"]
    assert said.startswith(f"{wrong / np.sum(called):.3f} (")
    assert said.endswith(f", {wrong} of {np.sum(called)}")
    said = cells["fractures called no fracture"]
    assert said.startswith(f"{missed / np.sum(fractured):.3f} (")
    assert said.endswith(f", {missed} of {np.sum(fractured)}")
    assert cells["refused by the scope gate |"] == "4 of 300 |"


def test_ends_of_a_difference_are_told_apart_from_minus_signs(studied):
    page = studied(one=({}, None), two=({}, None))
    table = page.split("## Differences")[1].split("## For whom")[0]
    assert " to " in table
    assert "–" not in table.split("|", 1)[1]


def test_a_faultless_subgroup_has_no_false_certainty(studied, monkeypatch):
    make = make_predictions

    def faultless(seed):
        part = make(seed=seed)
        sure = np.where(part.fractured, 0.9, 0.1)
        object.__setattr__(part, "probabilities", np.stack([1 - sure, sure], axis=1))
        return part

    monkeypatch.setattr(f"{__name__}.make_predictions", faultless)
    table = studied(one=({}, None)).split("## For whom")[1].split("## Cost")[0]
    assert "| 1.000 |" in table
    assert "1.000–1.000" not in table


def test_each_subgroup_tells_what_the_points_dismiss_and_call(studied):
    part = make_predictions(seed=0)
    tables = studied(one=({}, None)).split("whatever they show")[1].split("## Cost")[0]
    _, dismissed, called, _ = tables.split("\n\n")
    title, count, fractured, said = dismissed.splitlines()[2].strip("| ").split(" | ")
    own = np.array([title.split(": ")[1] in name for name in part.subgroups["region"]])
    assert [int(count), int(fractured)] == [own.sum(), (own & part.fractured).sum()]
    low = part.fracture_probability < POINTS.low
    share = low[own & part.fractured].mean()
    assert said.startswith(f"{share:.3f} (")
    high = part.fracture_probability >= POINTS.high
    share = high[own & ~part.fractured].mean()
    assert called.splitlines()[2].split(" | ")[3].startswith(f"{share:.3f} (")


def test_notes_stand_before_the_commands(studied, tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.md").write_text("## What was chosen where\n\nAll of it.\n")
    page = studied(one=({}, None))
    assert "## What was chosen where\n\nAll of it.\n\n## Commands" in page


def test_commands_name_the_data_and_the_weights_as_far_as_they_are_known(studied):
    page = studied(
        none=({"data_set": "wrists", "weights": "none"}, None),
        hub=({"data_set": "fracatlas", "weights": "hub"}, None),
        both=({"data_set": "two words", "averages": ["none", "hub"]}, None),
        folds=({"data_set": "wrists", "weights": "none", "final": "average"}, None),
    )
    assert "kirik crossval wrists --split s --out runs/none --weights none --settings" in page
    assert "kirik crossval FracAtlas --split s --out runs/hub --weights hub --settings" in page
    assert "kirik ensemble runs/none runs/hub --data 'two words' --split s" in page
    assert "--out runs/folds --weights none --final average --settings" in page
    assert page.count("--final") == 1
    assert "FOLDER" not in page
    page = studied(older=({}, None), file=({"weights": "resnet.safetensors"}, None))
    assert page.count("kirik crossval DATA") == 2
    assert page.count("--weights FOLDER") == 2
    assert "FOLDER holds the starting weights" in page


def test_a_model_without_a_negative_class_is_refused_by_its_folders_name(studied, tmp_path):
    studied(one=({}, None))
    part, run = make_types(negative=None), tmp_path / "types"
    write_report(run / "report", part, measure(part, bootstrap=0), facts={"split": "s"})
    (run / "settings.toml").write_text("size = 64\n")
    with pytest.raises(DataSetError, match='types: none of its classes means "no fracture"'):
        add_runs(tmp_path / "study", [run])
    with pytest.raises(DataSetError, match="types: none of its classes"):
        add_ablation(tmp_path / "study", "masks", "1-types", run)
    assert not (tmp_path / "study" / "types").exists()
    (run / "report").rename(tmp_path / "study" / "older")  # as an older kirik took it
    with pytest.raises(DataSetError, match="study/older: none of its classes"):
        write_study(tmp_path / "study", tmp_path / "study.md", replicates=20)


def test_what_was_measured_on_one_fold_is_no_row_of_the_study(studied, tmp_path):
    studied(one=({}, None))
    part, run = make_predictions(), tmp_path / "plain"
    write_report(run / "report", part, measure(part, bootstrap=0), facts={"part": "fold1"})
    with pytest.raises(DataSetError, match="plain: was measured on fold1 by a single network"):
        add_runs(tmp_path / "study", [run])
    (run / "report").rename(tmp_path / "study" / "older")
    with pytest.raises(DataSetError, match="study/older: was measured on fold1"):
        write_study(tmp_path / "study", tmp_path / "study.md", replicates=20)


def test_the_first_row_of_a_topic_differs_from_none(studied, tmp_path):
    studied(one=({}, None))
    run, part = tmp_path / "ablated", make_predictions()
    write_report(run / "report", part, measure(part, bootstrap=20), facts={"split": "s"})
    (run / "settings.toml").write_text("size = 64\n")
    add_ablation(tmp_path / "study", "masks", "1-with", run)
    write_study(tmp_path / "study", tmp_path / "study.md", replicates=20)
    [row] = [x for x in (tmp_path / "study.md").read_text().splitlines() if x[:7] == "| with "]
    assert row.endswith("| – |")


def test_the_page_lies_beside_its_folder_under_all_of_its_name(studied, tmp_path, monkeypatch):
    studied(one=({}, None))
    folder = (tmp_path / "study").rename(tmp_path / "v1.0")
    assert run(["study", str(folder), "--bootstrap", "20"]) == 0
    assert (tmp_path / "v1.0.md").is_file()
    (tmp_path / "v1.0.md").unlink()
    monkeypatch.chdir(folder)
    assert run(["study", ".", "--bootstrap", "20"]) == 0
    assert (tmp_path / "v1.0.md").is_file()
    assert not (tmp_path / "v1.md").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *(("one/metrics.json", text) for text in ("[]", "null", '{"fracture": []}', "{")),
        ("one/settings.toml", "size = ["),
        *(("gate.json", text) for text in ("{", "{}", "[1]", '{"small": {"page": {}}}')),
    ],
)
def test_a_broken_file_of_a_study_is_named(studied, tmp_path, file, content, capsys):
    studied(one=({}, "size = 64\n"))
    (tmp_path / "study" / file).write_text(content)
    assert run(["study", str(tmp_path / "study"), "--bootstrap", "20"]) == 2
    assert f"study/{file}: no" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["fracture", "n", "facts", "auroc"])
def test_figures_of_which_some_are_lost_or_others_are_named(studied, tmp_path, lost, capsys):
    studied(one=({}, None))
    file = tmp_path / "study" / "one" / "metrics.json"
    metrics = json.loads(file.read_text())
    place = metrics["fracture"] if lost == "auroc" else metrics
    place[lost] = 3 if lost == "facts" else "many"
    file.write_text(json.dumps(metrics))
    assert run(["study", str(tmp_path / "study"), "--bootstrap", "20"]) == 2
    assert "study/one" in capsys.readouterr().err
