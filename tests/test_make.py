"""The Makefile's jobs: `make demo`'s script with a kirik that only writes down what it is asked,
and what the trainings refuse."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def demo(tmp_path):
    """Runs the script in a folder of its own, where realpath has no -m, as on macOS."""
    programs, asked = tmp_path / "programs", tmp_path / "asked"
    programs.mkdir()
    for name, does in {
        "kirik": f'echo "$1 $2" >> "{asked}"',
        "realpath": 'echo "realpath: illegal option -- m" >&2; exit 1',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()

    def run(data: str = "") -> tuple[subprocess.CompletedProcess, list[str]]:
        env = os.environ | {"DATA": data, "WEIGHTS": "", "LANGUAGE": "en"}
        env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
        command = ["sh", ROOT / "scripts" / "demo.sh"]
        done = subprocess.run(
            command, cwd=place, env=env, capture_output=True, text=True, check=False
        )
        return done, asked.read_text().splitlines() if asked.exists() else []

    return run, place


def test_the_whole_job_runs_on_phantoms(demo):
    done, asked = demo[0]()
    assert done.returncode == 0, done.stderr
    steps = "phantoms", "audit", "split", "check-split", "augment-preview"
    assert asked[:5] == [f"data {step}" for step in steps]
    assert [one.split()[0] for one in asked[5:]] == ["train", "data", "predict"]


def test_data_in_the_folder_that_is_made_anew_stays(demo):
    run, place = demo
    data = place / "demo" / "FracAtlas"
    data.mkdir(parents=True)
    for name in ("demo/FracAtlas", "demo", str(data)):
        done, asked = run(name)
        assert (done.returncode, asked) == (2, [])
        assert "move it first" in done.stderr
        assert data.is_dir()


def test_data_that_is_not_there_is_told_before_anything_is_deleted(demo):
    run, place = demo
    (place / "demo").mkdir()
    done, asked = run("FracAtlsa")
    assert (done.returncode != 0, asked) == (True, [])
    assert "FracAtlsa" in done.stderr
    assert (place / "demo").is_dir()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("job", ["small", "medium", "best"])
def test_a_training_asks_for_its_data_before_it_installs_anything(job, tmp_path):
    command = ["make", "-f", ROOT / "Makefile", job, "PYTHON=false"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "DATA=path/to/FracAtlas" in done.stderr
    assert not list(tmp_path.iterdir())
