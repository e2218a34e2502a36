"""Decoding in a child: a file that kills it, hangs it or eats its memory costs that file alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from kirik.errors import RadiographError
from kirik.radiograph import Limits
from kirik.reading.classifier import load_model
from kirik.reading.decoder import Decoders, DecodingLimits
from kirik.reading.reading import Failure, Reading

LIST = {"do": "list"}
FILM = {"do": "film", "number": None, "at_most": 64}


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
    found = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid="], capture_output=True)
    return [int(pid) for pid in found.stdout.split()]


def kill_children() -> None:
    for pid in children():
        with suppress(ProcessLookupError):  # ps was a child, too
            os.kill(pid, signal.SIGKILL)


def test_a_file_that_kills_every_child_is_a_failure_and_the_next_is_decoded(
    decoders, save_radiograph
):
    path, decoder, over = save_radiograph("film.png", 0.5), decoders(), threading.Event()

    def hunt():
        while not over.is_set():
            kill_children()

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        assert ends(decoder, path) == "crashed"
    finally:
        over.set()
        hunter.join()
    assert ends(decoder, path) == "done"


def test_a_child_that_died_of_something_else_costs_nothing(decoders, save_radiograph):
    path, decoder = save_radiograph("film.png", 0.5), decoders()
    for _ in range(3):
        assert ends(decoder, path) == "done"
        kill_children()


def test_a_file_that_takes_too_long_is_given_up(decoders, tmp_path):
    # Noise of 90 million pixels as PNG takes seconds to inflate on any machine.
    noise = np.random.default_rng(0).integers(0, 256, (500, 1000), dtype=np.uint8)
    path = tmp_path / "large.png"
    Image.fromarray(np.tile(noise, (18, 10))).save(path, compress_level=1)
    decoder, started = decoders(seconds=0.2), time.monotonic()
    assert ends(decoder, path) == "too_slow"
    assert time.monotonic() - started < 30
    small = tmp_path / "small.png"
    Image.fromarray(noise[:90, :90]).save(small)
    assert ends(decoder, small) == "done"


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
list(decoders.ask(sys.argv[1], {"do": "film", "number": None, "at_most": 64}))
[child] = decoders._idle
limits = open(f"/proc/{child._process.pid}/limits").read()
print([line.split()[3] for line in limits.splitlines() if line.startswith("Max file size")])
print(child._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "film.png"
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(path)
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    limits, pid = run.stdout.splitlines()
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


def test_a_forked_process_has_children_of_its_own(make_bundle, save_radiograph):
    path = save_radiograph("film.png", 0.6)
    code = f"""
import os
from kirik.reading.classifier import load_model
from kirik.reading.decoder import shared_decoders
classifier = load_model({str(make_bundle().path)!r})
first = classifier.read({str(path)!r}).probability
before = shared_decoders()
pid = os.fork()
if pid == 0:
    os._exit(0 if shared_decoders() is not before else 1)
assert os.waitpid(pid, 0)[1] == 0
assert shared_decoders() is before
assert classifier.read({str(path)!r}).probability == first
print("well")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "well\n", run.stderr
