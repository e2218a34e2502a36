"""Decoding in a child: a file that kills it, hangs it or eats its memory costs that file alone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirik.cli import run
from kirik.errors import RadiographError, SettingsError
from kirik.radiograph import Limits
from kirik.reading import child
from kirik.reading.classifier import load_model
from kirik.reading.decoder import _START, Decoders, DecodingLimits, _Child, shared_decoders
from kirik.reading.film import decode_film
from kirik.reading.reading import Failure, Reading

LIST = {"do": "list"}
FILM = {"do": "film", "number": None, "at_most": 64, "square": True}


@pytest.fixture
def decoders():
    with_limits = []

    def make(**limits) -> Decoders:
        with_limits.append(Decoders(DecodingLimits(**limits)))
        return with_limits[-1]

    yield make
    for one in with_limits:
        one.close()


def ends(decoders, source, request=FILM) -> str:
    """The reason for which decoding a source ends."""
    try:
        messages = [header for header, _ in decoders.ask(source, request)]
    except RadiographError as error:
        messages = [{"error": str(error), "reason": error.reason}]
    [said] = messages
    assert source.name in said.get("error", source.name)
    return said.get("reason", "done")


def children() -> list[int]:
    """The decoding ones: the browser and the servers of other tests are this process's, too."""
    words = ["ps", "--ppid", str(os.getpid()), "-ww", "-o", "pid=,args="]
    found = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
    return [int(line.split()[0]) for line in found if "kirik.reading.child" in line]


def kill_children() -> None:
    for pid in children():
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(pid, signal.SIGKILL)


def test_a_file_that_kills_every_child_is_a_failure_and_the_next_is_decoded(
    decoders, save_radiograph, monkeypatch
):
    path, decoder = save_radiograph("film.png", 0.5), decoders()
    ask = _Child.ask

    def killed(child, *request):
        child.kill()
        return ask(child, *request)

    with monkeypatch.context() as patch:
        patch.setattr(_Child, "ask", killed)
        assert ends(decoder, path) == "crashed"
    assert ends(decoder, path) == "done"


@pytest.mark.parametrize(
    "answer",
    [
        "nonsense",
        "5",
        "[" * 50_000,
        '{"arrays": 5}',
        '{"arrays": [[["a"], "|u1"]]}',
        '{"arrays": [[[1e9, 1e9], "|u1"]]}',
        '{"arrays": [[[100000000000000000000000000000, 0], "|u1"]]}',
        '{"arrays": [[[2, 2], "|O"]]}',
    ],
)
def test_nonsense_from_a_child_is_its_files_failure_alone(
    decoders, save_radiograph, monkeypatch, answer
):
    ready = '{"ready": true, "arrays": []}'
    program = f"import sys; print({ready!r}, flush=True); sys.stdin.readline(); print({answer!r})"
    escaped = program.replace("{", "{{").replace("}", "}}")
    monkeypatch.setattr("kirik.reading.decoder._START", escaped)
    assert ends(decoders(), save_radiograph("film.png", 0.5)) == "crashed"


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere/python"])
def test_a_machine_on_which_no_child_starts_is_told_once_and_no_file_is_blamed(
    program, make_bundle, save_radiograph, tmp_path, monkeypatch, capsys
):
    films = [str(save_radiograph(f"{i}.png", 0.5)) for i in range(5)]
    out = tmp_path / "readings.jsonl"
    words = ["predict", *films, "--model", str(make_bundle().path), "--json", str(out)]
    shared_decoders().close()  # of earlier readings
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", program)
        assert run([*words, "--workers", "2"]) == 2
    said = capsys.readouterr()
    assert said.err.count("no file can be decoded on this machine") == 1
    assert "raise the limits on memory and processes" in said.err
    assert "films" not in said.out + said.err
    assert run([*words, "--resume"]) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(one["path"], one.get("error")) for one in records] == [(film, None) for film in films]


def test_children_keep_within_a_memory_limit_of_the_system(save_radiograph):
    code = f"""
import resource, sys
from kirik.reading.decoder import Decoders
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))
decoders = Decoders()
[(header, _)] = decoders.ask(sys.argv[1], {FILM})
print(header.get("error"))
[child] = decoders._idle
limits = open(f"/proc/{{child._process.pid}}/limits").read()
print([line.split()[3:5] for line in limits.splitlines() if line.startswith("Max address")])
"""
    words = [sys.executable, "-c", code, save_radiograph("film.png", 0.6)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["None", str([2 * [str(3 * 2**30)]])], done.stderr


def test_a_child_that_died_of_something_else_costs_nothing(decoders, save_radiograph):
    path, decoder = save_radiograph("film.png", 0.5), decoders()
    for _ in range(3):
        assert ends(decoder, path) == "done"
        kill_children()


@pytest.fixture
def noise(tmp_path):
    """90 million pixels of it as PNG take seconds to inflate on any machine."""
    pixels = np.random.default_rng(0).integers(0, 256, (500, 1000), dtype=np.uint8)
    path = tmp_path / "large.png"
    Image.fromarray(np.tile(pixels, (18, 10))).save(path, compress_level=1)
    return path


def test_a_file_that_takes_too_long_is_given_up(decoders, noise, save_radiograph):
    decoder, started = decoders(seconds=0.2), time.monotonic()
    assert ends(decoder, noise) == "too_slow"
    assert time.monotonic() - started < 30
    assert ends(decoder, save_radiograph("small.png", 0.5)) == "done"


SLOW = """import time
from kirik.reading import child
read = child.read_source
child.read_source = lambda *given: (time.sleep(1.5), read(*given))[1]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="where the system tells what was computed")
@pytest.mark.parametrize(("seconds", "told"), [(0.5, "done"), (0.1, "too_slow")])
def test_storage_that_takes_long_has_ten_times_as_long_as_decoding(
    decoders, save_radiograph, monkeypatch, seconds, told
):
    start = _START.replace("; from", "; " + SLOW.replace("\n", "; ") + "from")
    monkeypatch.setattr("kirik.reading.decoder._START", start)
    film = save_radiograph("film.png", 0.5)
    assert ends(decoders(seconds=seconds), film) == told
    if told == "too_slow":
        with pytest.raises(RadiographError, match="did not come from its storage in 1 s; read"):
            list(decoders(seconds=seconds).ask(film, FILM))


def test_time_in_which_the_whole_program_was_stopped_does_not_count(noise):
    code = f"""
import sys
from kirik.reading.decoder import Decoders, DecodingLimits
decoders = Decoders(DecodingLimits(seconds=10))
decoders.start()
decoders._idle[0].await_start()
print("begun", flush=True)
print([header.get("error") for header, _ in decoders.ask(sys.argv[1], {FILM})])
"""
    words = [sys.executable, "-c", code, noise]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdout.readline() == "begun\n"
        time.sleep(0.5)
        os.killpg(program.pid, signal.SIGSTOP)
        time.sleep(11)
        os.killpg(program.pid, signal.SIGCONT)
        assert program.stdout.read() == "[None]\n"


def test_a_file_that_wants_too_much_memory_is_refused_and_the_child_lives(decoders, tmp_path):
    path = tmp_path / "large.png"
    Image.fromarray(np.zeros((9000, 9000), np.uint8) + np.arange(9000, dtype=np.uint8)).save(path)
    decoder = decoders(memory=700 * 2**20)
    assert ends(decoder, path) == "too_large"
    [child] = decoder._idle
    small = tmp_path / "small.png"
    Image.fromarray(np.arange(9000, dtype=np.uint8).reshape(90, 100)).save(small)
    assert ends(decoder, small) == "done"
    assert decoder._idle == [child]


def test_a_frame_for_a_picture_is_told_by_its_number(decoders, tmp_path):
    path, pages = tmp_path / "film.tif", [Image.new("L", (40, 30), level) for level in (90, 200)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    film = decode_film(path, 2, 64, decoders())
    assert (film.frame, film.aspect, film.spacing, film.orientation) == (2, 1, None, 1)
    assert np.allclose(film.pixels, 200 / 255, atol=1e-3)


def test_limits_of_sizes_hold_in_the_child(decoders, save_radiograph):
    path = save_radiograph("film.png", 0.5, shape=(200, 200))
    assert ends(decoders(sizes=Limits(pixels=100 * 100)), path) == "too_large"
    assert ends(decoders(sizes=Limits(file_bytes=100)), path) == "too_large"


def test_a_child_can_write_no_file_and_leaves_with_its_parent(tmp_path):
    code = """
import os, signal, sys
from kirik.reading.decoder import Decoders
decoders = Decoders()
decoders.start()
list(decoders.ask(sys.argv[1], {"do": "film", "number": None, "at_most": 64, "square": True}))
[child] = decoders._idle
limits = open(f"/proc/{child._process.pid}/limits").read()
print([line.split()[3] for line in limits.splitlines() if line.startswith("Max file size")])
print(child._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "film.png"
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(path)
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    limits, pid = done.stdout.splitlines()
    assert limits == "['0']"
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")


def test_reading_goes_on_where_children_are_killed_at_random(make_bundle, save_radiograph):
    files = [save_radiograph(f"{i}.png", 0.3 + i / 100) for i in range(40)]
    decoders = Decoders()
    classifier = load_model(make_bundle().path, decoders=decoders)
    expected = {str(path): classifier.read(path).probability for path in files}
    results = []
    for number, result in enumerate(classifier.read_many(files, workers=2, batch_size=4)):
        results.append(result)
        if number % 8 == 0:
            kill_children()
    decoders.close()
    assert [result.path for result in results] == [str(path) for path in files]
    lost = [result for result in results if isinstance(result, Failure)]
    assert {failure.reason for failure in lost} <= {"crashed"}
    assert len(lost) <= 10  # two files at each of five times
    for result in results:
        if isinstance(result, Reading):
            assert result.probability == pytest.approx(expected[result.path], abs=1e-6)


def test_a_forked_process_has_children_and_a_time_limit_of_its_own(noise, save_radiograph):
    code = f"""
import os, signal, sys
from kirik.errors import RadiographError
from kirik.reading.decoder import Decoders, DecodingLimits
FILM = {FILM}
large, small = sys.argv[1:]
decoders = Decoders(DecodingLimits(seconds=0.5))
assert len(list(decoders.ask(small, FILM))) == 1
[child] = decoders._idle
pid = os.fork()
if pid == 0:
    signal.alarm(60)
    assert not decoders._idle
    list(decoders.ask(small, FILM))
    try:
        list(decoders.ask(large, FILM))
    except RadiographError as error:
        print(error.reason, flush=True)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
list(decoders.ask(small, FILM))
assert decoders._idle == [child]
print("well")
"""
    words = [sys.executable, "-c", code, noise, save_radiograph("film.png", 0.6)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout == "too_slow\nwell\n", done.stderr


def test_a_relative_path_is_meant_from_where_the_process_is_now(
    decoders, save_radiograph, tmp_path, monkeypatch
):
    decoder = decoders()

    def level(source) -> float:
        [(_, [pixels])] = decoder.ask(source, FILM)
        return float(pixels.mean())

    dark, bright = save_radiograph("a/film.png", 0.2), save_radiograph("b/film.png", 0.8)
    expected = [level(dark), level(bright)]
    found = []
    for folder in (dark.parent, bright.parent):
        monkeypatch.chdir(folder)
        found.append(level(Path("film.png")))
    assert found == expected
    assert decoder._idle[0]._asked == 4
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert level(dark) == expected[0]
    assert ends(decoder, Path("film.png")) == "missing"


def test_a_watch_that_could_not_be_begun_once_is_begun_the_next_time(
    decoders, save_radiograph, few_threads, monkeypatch
):
    films = [save_radiograph("a.png"), save_radiograph("b.png")]
    few_threads(lambda thread: thread.name == "kirik-watch")
    several, before = decoders(seconds=20), watches()
    with pytest.raises(SettingsError, match="no thread can be started here"):
        list(several.ask(films[0], FILM))
    assert watches() == before
    monkeypatch.undo()
    [_] = several.ask(films[1], FILM)
    assert watches() == before + 1


def watches() -> int:
    return sum(thread.name == "kirik-watch" for thread in threading.enumerate())


def test_a_limit_that_the_system_does_not_know_keeps_none_of_the_others_away(monkeypatch):
    """As macOS, which knows none of the address space."""
    resource, given = pytest.importorskip("resource"), []

    def without_memory(limit, values):
        if limit == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")
        given.append((limit, values))

    monkeypatch.setattr(resource, "setrlimit", without_memory)
    monkeypatch.setattr(child.signal, "signal", lambda *_: None)
    child._confine(2**32)
    assert given == [(resource.RLIMIT_FSIZE, (0, 0)), (resource.RLIMIT_CORE, (0, 0))]
