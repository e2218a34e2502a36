"""A real Ray cluster of several processes, on which processes, a machine and the driver are killed:
afterwards every file has its one row, and the rows are those that one machine writes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kirik import console
from kirik.cli import run
from kirik.predict import predict
from kirik.reading.classifier import load_model
from s3_server import S3Server

ray = pytest.importorskip("ray", reason="the cluster extra is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3():
    with S3Server() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(s3):
    """Two machines, so to speak, of one core each; their processes know the object store."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "RAY_USAGE_STATS_ENABLED": "0",
        }.items():
            patch.setenv(name, value)
        started = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False},
        )
        started.add_node(num_cpus=1)
        patch.setenv("RAY_ADDRESS", started.address)
        yield started
        started.shutdown()


@pytest.fixture
def films(save_radiograph):
    """Large ones, so that there is time to kill what reads them; one of them damaged."""
    base = [save_radiograph(f"{i}.png", 0.2 + i / 16, (1600, 1600)) for i in range(10)]
    folder = base[0].parent / "all"
    folder.mkdir()
    for i in range(90):
        shutil.copy(base[i % 10], folder / f"{i:02}.png")
    (folder / "33b.png").write_text("not pixels")
    return folder


@pytest.fixture
def bundle(make_bundle):
    return make_bundle().path


@pytest.fixture
def expected(films, bundle, tmp_path):
    """What one machine says: a table. A named file that is not there has its row, too."""
    from pyarrow import parquet

    one = tmp_path / "one.parquet"
    predict([films, films / "gone.png"], load_model(bundle), parquet=one)
    return parquet.read_table(one)


def begin(films, bundle, out, *words):
    words = ["--cluster", "ray", "--parquet", out, "--partition", 5, *words]
    words = ["predict", films, films / "gone.png", "--model", bundle, *words]
    command = [sys.executable, "-m", "kirik", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_parts(out, count, process):
    deadline = time.monotonic() + 120
    while len([*out.glob("part-*.parquet")]) < count:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def ended(process) -> int:
    said, problems = process.communicate(timeout=200)
    assert said == "90 read, 2 not read\n"  # and no word of Ray's
    assert "Traceback" not in problems
    return process.returncode


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def readers() -> list[int]:
    """Processes of the cluster that hold a classifier."""

    def title(pid: int) -> bytes:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""

    titles = {pid: title(pid) for pid in descendants(os.getpid())}
    return [pid for pid, name in titles.items() if name.startswith(b"ray::") and b"_Worker" in name]


def table(out):
    from pyarrow import dataset

    return dataset.dataset(out).to_table()


def test_processes_and_a_machine_may_die_on_the_way(cluster, films, bundle, expected, tmp_path):
    out = tmp_path / "out"
    process = begin(films, bundle, out)
    wait_for_parts(out, 1, process)
    victims = readers()
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    wait_for_parts(out, 4, process)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert len([*out.glob("part-*")]) < 19
    assert ended(process) == 1
    cluster.add_node(num_cpus=1)
    assert table(out).equals(expected)
    assert (out / "_SUCCESS").exists()
    assert not [*out.glob(".*")]


def test_a_killed_driver_is_gone_on_with(
    cluster, films, bundle, expected, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    process = begin(films, bundle, out)
    wait_for_parts(out, 3, process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while readers():  # they end with their driver
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kept = {part: part.stat().st_mtime_ns for part in out.glob("part-*.parquet")}
    assert 3 <= len(kept) < 19
    assert not (out / "_SUCCESS").exists()
    again = [films, films / "gone.png", "--model", bundle, "--cluster", "ray", "--parquet", out]
    assert run(["predict", *map(str, again)]) == 2
    assert "go on with it by --resume" in capsys.readouterr().err
    shown: list[tuple] = []
    monkeypatch.setattr(
        console, "_shown", lambda *_: lambda *done, before: shown.append((done, before))
    )
    assert run(["predict", *map(str, again), "--resume"]) == 1
    assert "were read before" in capsys.readouterr().err
    begun = 5 * len(kept)  # the rate is that of the rest
    assert (shown[0][0][0], shown[-1][0][0]) == (begun, 92)
    assert {before for _, before in shown} == {begun}
    assert table(out).equals(expected)
    assert all(part.stat().st_mtime_ns == when for part, when in kept.items())


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_ends_in_order(cluster, films, bundle, tmp_path, how, code):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind
    process = begin(films, bundle, tmp_path / "out")
    wait_for_parts(tmp_path / "out", 1, process)
    process.send_signal(how)
    said, problems = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "")
    stopped = "kirik: stopped; the same command with --resume goes on from here"
    assert problems.splitlines() == ([stopped] if how == signal.SIGINT else [])


def test_stores_are_read_and_written_by_all_machines(cluster, s3, films, bundle, expected, capsys):
    import fsspec
    from pyarrow import parquet

    for path in films.iterdir():
        s3.objects[f"films/{path.name}"] = path.read_bytes()
    words = ["--cluster", "ray", "--parquet", "s3://out/run", "--partition", "50"]
    assert run(["predict", "s3://films", "--model", str(bundle), *words]) == 1
    assert "90 read, 1 not read" in capsys.readouterr().out
    system = fsspec.filesystem("s3")
    rows = [
        row
        for part in sorted(name for name in s3.objects if name.endswith(".parquet"))
        for row in parquet.read_table(system.open(part)).to_pylist()
    ]
    for row, here in zip(rows, expected.to_pylist()[:-1], strict=True):
        assert row["path"] == here["path"].replace(str(films), "s3://films")
        assert (row["error"] is None) == (here["error"] is None)
        row |= {"path": 0, "error": 0}
        assert row == here | {"path": 0, "error": 0}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["FILMS"], "name a folder or URL by --parquet"),
        (["FILMS", "--parquet", "out", "--csv", "r.csv"], "--csv does not go with --cluster"),
        (["FILMS", "--parquet", "memory://out"], "no other machine sees"),
        (["FILMS", "--parquet", "FILE"], "with --cluster, name a folder"),
        (["FILMS", "--parquet", "s9://out"], "no store is called s9"),
        (["FILMS", "--parquet", "out", "--threads", "9"], "no machine of the cluster has 9 cores"),
        (["s3://nowhere", "--parquet", "out"], "s3://nowhere: there is no such file or store"),
        (["FILMS", "--parquet", "out", "--partition", "0"], "partition"),
        (["FILMS", "--parquet", "out", "--threads", "-1"], "threads -1: it must be 1 or more"),
        (["FILMS", "--parquet", "out", "--workers", "0"], "workers 0: it must be 1 or more"),
    ],
)
def test_what_cannot_be_begun_is_told_in_one_line(
    cluster, make_bundle, save_radiograph, tmp_path, monkeypatch, capsys, words, says
):
    monkeypatch.chdir(tmp_path)
    known = {"FILMS": save_radiograph("1.png").parent, "FILE": save_radiograph("1.png")}
    words = [str(known.get(word, word)) for word in words]
    bundle = str(make_bundle().path)
    assert run(["predict", "--cluster", "ray", "--model", bundle, *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert says in lines[0]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001"])
def test_a_cluster_that_is_not_there_is_told_in_one_line(
    make_bundle, save_radiograph, tmp_path, monkeypatch, capsys, address
):
    monkeypatch.setenv("RAY_ADDRESS", address)
    words = [save_radiograph("1.png"), "--model", make_bundle().path, "--parquet", tmp_path / "out"]
    assert run(["predict", "--cluster", "ray", *map(str, words)]) == 2
    said = capsys.readouterr().err
    assert address in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_without_ray_it_is_told_what_to_install(
    make_bundle, save_radiograph, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = [save_radiograph("1.png"), "--model", make_bundle().path, "--parquet", tmp_path / "out"]
    assert run(["predict", "--cluster", "ray", *map(str, words)]) == 2
    assert "in kirik's clone: pip install '.[cluster]'" in capsys.readouterr().err


def test_a_store_without_a_cluster_is_told_of_it(make_bundle, capsys):
    assert run(["predict", "s3://b/k", "--model", str(make_bundle().path)]) == 2
    assert "--cluster ray" in capsys.readouterr().err
