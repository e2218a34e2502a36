"""Every engine says what ONNX Runtime says, as nearly as its arithmetic allows."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from brightness import SIZE, brightness_graph
from convolutions import convolution_graph
from kirik.bundle import GRAPH, find_bundle, load_bundle
from kirik.cli import run
from kirik.errors import BundleError, SettingsError
from kirik.operating_points import decide
from kirik.reading import engines
from kirik.reading.classifier import load_model
from kirik.reading.engines import CPU, ENGINES, open_engine

FRACATLAS = Path(__file__).parents[3] / "shared" / "fracatlas" / "images"
ROOM = {"openvino": 1e-4}


@pytest.fixture(params=ROOM)
def engine(request) -> str:
    pytest.importorskip("openvino")
    try:
        open_engine(request.param, brightness_graph(), 1, [CPU])
    except SettingsError as error:
        pytest.skip(str(error))
    return request.param


def test_an_engine_says_what_onnx_runtime_says(engine, make_bundle, save_radiograph):
    bundle = make_bundle().path
    exact, other = load_model(bundle), load_model(bundle, engine=engine)
    for level in (0.1, 0.45, 0.55, 0.9):
        film = save_radiograph(f"{level}.png", level, shape=(128, 128))
        wanted, found = exact.read(film), other.read(film)
        assert found.probability == pytest.approx(wanted.probability, abs=ROOM[engine])
        assert found.decision == wanted.decision
        assert len(found.findings) == len(wanted.findings)


@pytest.mark.parametrize("name", ENGINES)
def test_neither_batch_nor_threads_change_a_bit(name, make_bundle):
    if name != "onnxruntime":
        pytest.importorskip(name)
    graph = make_bundle(evidence=None, graph=convolution_graph()).read(GRAPH)
    films = np.random.default_rng(0).integers(0, 256, (7, 1, SIZE, SIZE), dtype=np.uint8)
    [alone] = open_engine(name, graph, 1, [CPU]).run(["logits"], films)
    assert np.ptp(alone) > 1e-3
    for threads in (2, 5):
        engine = open_engine(name, graph, threads, [CPU])
        assert np.array_equal(engine.run(["logits"], films)[0], alone)
        # The first one alone takes one thread, those after it all.
        for number in (0, 3, 6):
            [found] = engine.run(["logits"], films[number : number + 1])
            assert np.array_equal(found, alone[number : number + 1])


@pytest.mark.parametrize("name", ENGINES)
def test_a_large_networks_radiographs_are_run_in_turn_and_say_the_same(
    name, make_bundle, monkeypatch
):
    if name != "onnxruntime":
        pytest.importorskip(name)
    graph = make_bundle(evidence=None, graph=convolution_graph()).read(GRAPH)
    films = np.random.default_rng(0).integers(0, 256, (5, 1, SIZE, SIZE), dtype=np.uint8)
    [expected] = open_engine(name, graph, 2, [CPU]).run(["logits"], films)
    monkeypatch.setattr(engines, "LITTLE", SIZE - 1)
    monkeypatch.setattr(engines, "HEAVY", len(graph))
    engine = open_engine(name, graph, 3, [CPU], side=SIZE)
    running, most, run_one = [], [], engine._run_one

    def counted(*own):
        running.append(own)
        most.append(len(running))
        found = run_one(*own)
        running.pop()
        return found

    monkeypatch.setattr(engine, "_run_one", counted)
    with ThreadPoolExecutor(3) as pool:
        for [found] in pool.map(lambda _: engine.run(["logits"], films), range(3)):
            assert np.array_equal(found, expected)
    assert most == [1] * 15


def test_an_engine_serves_many_threads_without_mixing_their_radiographs(engine, make_bundle):
    classifier = load_model(make_bundle().path, engine=engine)
    films = [np.repeat(np.arange(40 + i, 168 + i, dtype=np.uint8)[None], 128, 0) for i in range(8)]
    alone = [classifier.read(film).probability for film in films]
    found: dict[int, list[float]] = {}

    def read(number: int) -> None:
        found[number] = [classifier.read(films[number]).probability for _ in range(30)]

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(set(found[number]) == {alone[number]} for number in range(8))


def test_the_first_radiographs_of_a_process_are_run_at_the_same_time(engine):
    """Where OpenVINO's threads waited for each other, one in six such processes never came back."""
    code = f"""
import sys
import numpy as np
from brightness import SIZE, brightness_graph
from kirik.reading.engines import CPU, open_engine
engine = open_engine({engine!r}, brightness_graph(), 8, [CPU])
sys.setswitchinterval(1e-6)
engine.run(["logits"], np.zeros((8, 1, SIZE, SIZE), np.uint8))
"""
    started = [_python(code) for _ in range(6)]
    try:
        assert [process.wait(60) for process in started] == [0] * 6
    finally:
        for process in started:
            process.kill()


def _python(code: str) -> subprocess.Popen:
    there = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", code]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=there
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("radiographs", [1, 3])
def test_an_engine_says_in_a_forked_process_that_it_does_not_work_there(engine, radiographs):
    code = f"""
import os, signal, sys
import numpy as np
from brightness import SIZE, brightness_graph
from kirik.errors import SettingsError
from kirik.reading.engines import CPU, open_engine
films = np.zeros(({radiographs}, 1, SIZE, SIZE), np.uint8)
engine = open_engine({engine!r}, brightness_graph(), 2, [CPU])
before = engine.run(["logits"], films)[0]
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    try:
        engine.run(["logits"], films)
    except SettingsError as error:
        print(error, flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert (engine.run(["logits"], films)[0] == before).all()
"""
    process = _python(code)
    out, err = process.communicate(timeout=60)
    assert "does not work in a forked process; load the model in" in out, err
    assert process.returncode == 0, err


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
@pytest.mark.parametrize(
    "gone",
    [
        "engines.pop(0); gc.collect(); engines.clear()",
        "thread = threading.Thread(target=engines.clear); thread.start(); thread.join()",
    ],
    ids=["first", "elsewhere"],
)
def test_a_signal_after_an_engine_is_gone_is_no_crash(engine, gone):
    """OpenVINO took the stack that signals are handled on with it."""
    code = f"""
import gc, os, signal, threading
from brightness import brightness_graph
from kirik.reading.engines import CPU, open_engine
engines = [open_engine({engine!r}, brightness_graph(), 1, [CPU]) for _ in range(2)]
signal.signal(signal.SIGUSR1, lambda *_: print("told", flush=True))
{gone}
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""
    process = _python(code)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "told\n"), err


@pytest.mark.parametrize("name", ENGINES)
def test_nobody_is_told_that_a_model_was_read_with(make_bundle, tmp_path, name):
    """ONNX Runtime and OpenVINO write down who they will tell their makers of, and then tell."""
    if name != ENGINES[0]:
        pytest.importorskip("openvino")
    bundle, home = make_bundle().path, tmp_path / "home"
    home.mkdir()
    code = f"from kirik import load_model; load_model({str(bundle)!r}, engine={name!r})"
    told = {**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    for variable in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        told.pop(variable, None)
    subprocess.run([sys.executable, "-c", code], env=told, check=True)
    assert [*home.rglob("*")] == []


def test_an_engine_refuses_a_graph_that_is_none(engine, make_bundle):
    with pytest.raises(BundleError, match="not a graph that kirik can run"):
        load_model(make_bundle(graph=b"no graph").path, engine=engine)


def test_an_unknown_engine_is_refused_with_those_there_are(make_bundle):
    with pytest.raises(SettingsError, match="unknown engine 'magic'; there are: onnxruntime, "):
        load_model(make_bundle().path, engine="magic")


def test_a_missing_engine_says_how_to_get_it(make_bundle, save_radiograph, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openvino", None)
    film = save_radiograph("film.png", 0.8)
    arguments = ["predict", str(film), "--model", str(make_bundle().path)]
    assert run([*arguments, "--engine", "openvino"]) == 2
    assert "in kirik's clone: pip install '.[openvino]'" in capsys.readouterr().err


def test_weights_of_8_bits_say_the_same_side_by_side(engine):
    """OpenVINO 2026.4 gave NaN for them, or did not come back, where it widened them itself."""
    larger = load_bundle(find_bundle("best")).members[1]
    graph = larger.members[1].read(GRAPH)
    assert b".int8" in graph
    patches = np.random.default_rng(0).integers(0, 256, (12, 1, 128, 128), dtype=np.uint8)
    exact, other = (open_engine(name, graph, 2, [CPU], side=128) for name in (ENGINES[0], engine))
    [wanted], [found] = (one.run(["logits"], patches) for one in (exact, other))
    assert np.abs(found - wanted).max() < ROOM[engine]


@pytest.mark.real
@pytest.mark.skipif(not FRACATLAS.is_dir(), reason="needs FracAtlas in ../shared")
@pytest.mark.parametrize(("model", "count"), [("small", 48), ("best", 4)])
def test_a_shipped_model_decides_alike_in_every_engine(engine, model, count):
    """Of these real radiographs at most one may be decided otherwise."""
    files = sorted((FRACATLAS / "Fractured").glob("*.jpg"))[::10][:count]
    files += sorted((FRACATLAS / "Non_fractured").glob("*.jpg"))[::50][:count]
    assert len(files) == 2 * count
    exact, other = (load_model(model, engine=name) for name in (ENGINES[0], engine))
    points = exact.manifest.operating_points
    wanted = [reading.probability for reading in exact.read_many(files)]
    found = [reading.probability for reading in other.read_many(files)]
    flips = sum(
        decide(a, points) != decide(b, points)
        for a, b in zip(wanted, found, strict=True)
        if a is not None and b is not None
    )
    assert flips <= 1
    moved = np.abs(np.subtract([p or 0 for p in wanted], [p or 0 for p in found]))
    assert moved.mean() < ROOM[engine]
