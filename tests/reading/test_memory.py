"""What `kirik predict` holds in memory, all processes together, however large the folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirik.bundle import shipped_models

MOST = 500_000
"""KiB, shared pages counted once."""
FILES = {"best": 14}
"""The others read 60, in less time."""


@pytest.fixture
def folder(tmp_path, model):
    """Radiographs of FracAtlas's sizes: most small, some of six million pixels."""
    noise = np.random.default_rng(0)
    for number in range(FILES.get(model, 60)):
        rows, columns = (2304, 2880) if number % 10 == 0 else (373, 454)
        film = np.linspace(0, 200, columns)[None] + noise.integers(0, 50, (rows, 1))
        Image.fromarray(film.astype(np.uint8)).save(tmp_path / f"{number:02}.jpg")
    return tmp_path


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
@pytest.mark.parametrize("model", shipped_models())
def test_a_folder_is_read_in_half_a_gigabyte(folder, model):
    command = [sys.executable, "-m", "kirik", "predict", folder, "--model", model]
    process = subprocess.Popen(
        [*command, "--json", folder / "out.jsonl"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=on_two_cores,  # each further core takes a decoder and a thread more
    )
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(held, family(process.pid))))
        time.sleep(0.05)
    assert process.returncode == 0
    assert len((folder / "out.jsonl").read_text().splitlines()) == FILES.get(model, 60)
    assert 50_000 < most < MOST


def on_two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [pid, *(int(c) for task in tasks for c in (task / "children").read_text().split())]
    except OSError:
        return [pid]


def held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
