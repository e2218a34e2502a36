"""The command line as a whole: what its help tells, and what a command loads."""

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
