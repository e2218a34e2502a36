"""The command line as a whole: what its help tells, what it answers, and what a command loads."""

import os
import subprocess
import sys

import pytest

from kirik.cli import run


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_tells_what_each_command_does(arguments, capsys):
    assert run(arguments) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "audit The audit trail of the reading room.",
        "data Look at a data set, split it, download it, or make phantoms.",
        "predict Read radiographs:",
        "study ",
        "train Train a classifier, measure it on the fold left out, and write its bundle.",
        "worker ",
    ):
        assert words in told


def test_a_command_loads_no_others():
    code = """
import sys
from kirik.cli import run
assert run(["models"]) == 0
assert not {"kirik.cli.bench", "kirik.cli.service", "kirik.training.settings"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.PIPE)


def test_a_reading_of_paths_alone_waits_for_no_parser(save_radiograph):
    code = f"""
import sys
from kirik.cli import run
assert run(["predict", {str(save_radiograph("film.png", 0.5))!r}]) == 0
assert not {{"cyclopts", "kirik.output.pictures", "kirik.training.settings"}} & {{*sys.modules}}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert "film.png" in done.stdout


def test_a_decoding_process_loads_no_more_than_it_needs():
    code = """
import sys
import kirik.reading.child
assert not {"pydantic", "onnxruntime", "rich", "cyclopts", "pydicom"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("language", "more", "told"),
    [("tr", [], "kırık"), ("tr", ["--language", "en"], "fracture"), ("xx", [], "fracture")],
)
def test_the_language_is_the_asked_for_or_the_environments(
    make_bundle, save_radiograph, language, more, told
):
    words = [sys.executable, "-m", "kirik", "predict", save_radiograph("film.png", 0.9), *more]
    own = {"KIRIK_LANGUAGE": language, "KIRIK_MODEL": str(make_bundle().path)}
    environment = os.environ | own | {"PYTHONUTF8": "1", "COLUMNS": "120"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert told in done.stdout.split()


def test_who_wants_a_data_sets_audit_is_told_where_it_is(tmp_path, capsys):
    assert run(["audit", str(tmp_path)]) == 2
    assert f"a data set: kirik data audit {tmp_path}" in capsys.readouterr().err
    assert run(["audit"]) == 0
    assert "verify" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict"], "predict needs PATHS; kirik predict --help tells"),
        (["predict", "--json", "out.json"], "predict needs PATHS; kirik predict --help tells"),
        (["data", "split", "films"], "data split needs --out; kirik data split --help tells"),
        (["predict", "--json"], "--json requires an argument"),
    ],
)
def test_what_a_command_lacks_is_told_as_its_help_calls_it(words, told, capsys):
    assert run(words) == 2
    assert told in capsys.readouterr().err
