"""A short run of the fuzzer; `make fuzz` is the long one."""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[1] / "scripts" / "fuzz.py"


def test_damaged_files_end_in_a_radiograph_or_a_known_reason(tmp_path):
    command = [sys.executable, FUZZ, "--count", "600", "--seed", "7"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.endswith("nothing found\n"), run.stdout + run.stderr
    assert run.returncode == 0
    assert "'damaged'" in run.stdout
    assert "'read'" in run.stdout


def test_what_must_not_be_is_found(tmp_path):
    """A decoder that takes too long for everything stands for one that hangs."""
    code = FUZZ.read_text().replace("seconds=20", "seconds=0.0001")
    (tmp_path / "fuzz.py").write_text(code)
    command = [sys.executable, tmp_path / "fuzz.py", "--count", "5"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert "too_slow" in run.stdout
    assert list((tmp_path / "fuzz-found").iterdir())
