"""Several trainings at once: the same networks, and one that dies costs no other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from kirik.cli import run
from one_thread import one_thread  # noqa: F401 (a fixture)
from quick_export import quick_export  # noqa: F401 (a fixture)

QUICK_KIRIK = Path(__file__).with_name("quick_kirik.py")
TINY = [
    *("--network", "test_efficientnet", "--weights", "none", "--size", "64", "--device", "cpu"),
    *("--batch-size", "8", "--epochs", "2", "--bootstrap", "20"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data set of phantoms and its split of two folds."""
    place = tmp_path_factory.mktemp("trainings")
    assert run(["data", "phantoms", str(place / "films"), "--count", "60", "--size", "96"]) == 0
    words = ["data", "split", str(place / "films"), "--out", str(place / "split.csv")]
    assert run([*words, "--folds", "2"]) == 0
    return place


def crossval(data, out, *more) -> list[str]:
    words = ["crossval", data / "films", "--split", data / "split.csv", "--out", out, *TINY, *more]
    return [str(word) for word in words]


def at_once(data, out, *more) -> list[str]:
    """The command for two trainings at a time."""
    return [sys.executable, str(QUICK_KIRIK), *crossval(data, out, "--at-once", "2", *more)]


def test_at_once_or_one_by_one_they_are_the_same_networks(data, tmp_path):
    assert run(crossval(data, tmp_path / "one", "--final", "none")) == 0
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # as here: the order of sums goes with the threads
    words = at_once(data, tmp_path / "two")
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    said = done.stderr
    assert done.returncode == 0, said
    assert "\nall: epoch   2  loss" in said
    for name in ("fold1", "fold2"):
        assert f"\n{name}: epoch   2  loss" in f"\n{said}"
        first, second = (
            load_file(tmp_path / out / name / "checkpoints" / "best.safetensors")
            for out in ("one", "two")
        )
        for key, values in first.items():
            assert values == pytest.approx(second[key], abs=1e-4), (name, key)
    assert (tmp_path / "two" / "bundle" / "model.onnx").is_file()


def children(pid: int) -> list[int]:
    """Processes that train for another one."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [row.split(None, 1) for row in listed.stdout.splitlines()]
    return [int(number) for number, words in rows if "spawn_main" in words]


@pytest.fixture
def begin(data):
    """Begins the command for a folder: returns once two networks train that are not soon done."""
    processes = []

    def start(out: Path) -> subprocess.Popen:
        words = at_once(data, out, "--final", "none")
        words[words.index("--epochs") + 1] = "12"
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        started = time.time()
        histories = [out / f"fold{fold}" / "history.csv" for fold in (1, 2)]
        until(lambda: all(one.is_file() and one.stat().st_mtime > started for one in histories))
        return process

    yield start
    for process in processes:
        process.kill()


def until(true) -> None:
    for _ in range(4000):  # a busy machine takes minutes to load torch in three processes
        if true():
            return
        time.sleep(0.1)
    pytest.fail("nothing came of it in many minutes")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes by ps of Linux")
def test_a_training_that_dies_costs_no_other_and_the_same_command_goes_on(begin, tmp_path):
    out = tmp_path / "runs"
    process = begin(out)
    trainings = children(process.pid)
    assert len(trainings) == 2
    process.kill()
    process.communicate()
    until(lambda: not any(alive(pid) for pid in trainings))  # none trains for nobody
    assert not list(out.glob("*/bundle"))

    process = begin(out)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=500)
    assert process.returncode == 2
    assert "its process ended by signal 9; if memory is short, have fewer at once" in said
    assert "Traceback" not in said
    left = [name for name in ("fold1", "fold2") if not (out / name / "bundle").is_dir()]
    assert len(left) == 1
    assert f"{left[0]}: {out / left[0]}: its process ended" in said


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_what_cannot_be_trained_is_told_after_the_others_ended(data, tmp_path):
    out = tmp_path / "runs"
    assert run(crossval(data, out, "--final", "none")) == 0
    before = (out / "fold2" / "checkpoints" / "best.safetensors").read_bytes()
    for fold in (1, 2):
        for path in sorted((out / f"fold{fold}" / "bundle").rglob("*"), reverse=True):
            path.unlink()
        (out / f"fold{fold}" / "bundle").rmdir()
    (out / "fold1" / "split.csv").write_text("nonsense\n")
    words = at_once(data, out, "--final", "none")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    said = done.stderr
    assert done.returncode == 2
    assert "split.csv" in said
    assert "Traceback" not in said
    assert (out / "fold2" / "bundle").is_dir()
    assert (out / "fold2" / "checkpoints" / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", ["crossval", "ensemble", "ensemble --data"])
def test_what_is_one_processs_work_is_not_for_torchrun(
    command, data, tmp_path, monkeypatch, capsys
):
    words = crossval(data, tmp_path / "runs")
    if command == "ensemble --data":
        words = ["ensemble", "one", "two", "--data", *words[1:6]]
    elif command == "ensemble":
        words = ["ensemble", "one", "two", *words[4:6]]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(words) == 2
    told = capsys.readouterr().err
    assert f"kirik {command.split()[0]} is the work of one process, and torchrun began 2" in told
    assert not (tmp_path / "runs").exists()
