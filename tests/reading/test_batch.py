import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brightness import brightness_graph
from convolutions import convolution_graph
from kirik.archives import Member
from kirik.errors import SettingsError
from kirik.reading import batch
from kirik.reading.classifier import load_model
from kirik.reading.cores import usable_cores
from kirik.reading.reading import Failure, Reading


@pytest.fixture
def films(save_radiograph):
    """Twenty films of noise, no two alike."""
    noise = np.random.default_rng(1)
    return [
        save_radiograph(f"{i:02}.png", noise.integers(0, 256, (90 + i, 70), dtype=np.uint8))
        for i in range(20)
    ]


def test_the_size_of_a_batch_does_not_change_a_probability(make_bundle, films):
    classifier = load_model(make_bundle(graph=convolution_graph(), evidence=None).path)
    alone = [classifier.read(path).probability for path in films]
    assert np.ptp(alone) > 1e-3
    for batch_size in (1, 3, 7, 20, 64):
        many = [r.probability for r in classifier.read_many(films, batch_size=batch_size)]
        assert many == alone


def test_the_number_of_threads_does_not_change_a_probability(make_bundle, films):
    bundle = make_bundle(graph=convolution_graph(), evidence=None)
    one, two = (load_model(bundle.path, threads=n) for n in (1, 2))
    for path in films[:5]:
        assert one.read(path).probability == two.read(path).probability


@pytest.mark.parametrize(("heavy", "most"), [(False, 8), (True, 2)])
def test_a_heavy_model_has_fewer_decoders(make_bundle, films, monkeypatch, heavy, most):
    classifier = load_model(make_bundle().path)
    expected = [classifier.read(path).probability for path in films]
    monkeypatch.setattr(batch, "usable_cores", lambda: 8)
    monkeypatch.setattr(classifier, "heavy", heavy)
    names, frames = set(), classifier.frames

    def named(source):
        names.add(threading.current_thread().name)
        time.sleep(0.05)  # so that each thread has some of the files
        return frames(source)

    monkeypatch.setattr(classifier, "frames", named)
    assert [one.probability for one in classifier.read_many(films)] == expected
    assert len(names) == most


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("workers", [1, 5])
def test_results_come_in_order_with_failures_in_their_place(
    make_bundle, films, tmp_path, batch_size, workers
):
    bad = tmp_path / "bad.png"
    bad.write_text("no")
    paths = [bad, *films[:6], tmp_path / "none.png", *films[6:], bad]
    classifier = load_model(make_bundle().path)
    results = list(classifier.read_many(paths, batch_size=batch_size, workers=workers))
    assert [result.path for result in results] == [str(path) for path in paths]
    failed = [i for i, result in enumerate(results) if isinstance(result, Failure)]
    assert failed == [0, 7, len(paths) - 1]
    for result in results:
        if isinstance(result, Failure):
            assert "\n" not in result.error
            assert result.path in result.error
            assert result.reason
        else:
            expected = classifier.read(result.path)
            assert result.probability == pytest.approx(expected.probability, abs=1e-6)
            assert result.findings == expected.findings


def test_nothing_at_all_gives_nothing_at_all(make_bundle):
    classifier = load_model(make_bundle().path)
    assert list(classifier.read_many([])) == []
    assert classifier.judge([]) == []


def test_only_bad_files_give_only_failures(make_bundle, tmp_path):
    results = list(load_model(make_bundle().path).read_many([tmp_path / "x", tmp_path / "y"]))
    assert [type(result) for result in results] == [Failure, Failure]


def test_an_unforeseen_error_costs_its_own_file_alone(make_bundle, films, monkeypatch):
    classifier = load_model(make_bundle().path)
    frames, content = classifier.frames, b"DOE^JANE"

    def breaking(path):
        if path in (films[1], content):
            raise ZeroDivisionError("of a kind\nnobody foresaw")
        return frames(path)

    monkeypatch.setattr(classifier, "frames", breaking)
    results = list(classifier.read_many(films[:3]))
    assert [type(result) for result in results] == [Reading, Failure, Reading]
    assert results[1].reason == "unexpected"
    assert f"{films[1]}: could not be decoded (ZeroDivisionError: of a kind" in results[1].error
    assert "\n" not in results[1].error
    [no_file] = classifier.read_many([content])
    assert (no_file.path, no_file.reason) == (None, "unexpected")
    assert "bytes: could not be decoded (ZeroDivisionError" in no_file.error


def test_a_failure_of_a_name_that_is_not_text_can_be_written_anywhere(
    make_bundle, save_radiograph, monkeypatch
):
    film = save_radiograph("\udcff.png", 0.5)
    [unsaid] = load_model(make_bundle(graph=brightness_graph(gain=float("nan"))).path).read_many(
        [film]
    )
    classifier = load_model(make_bundle("other").path)

    def breaking(path):
        raise ZeroDivisionError(path)

    monkeypatch.setattr(classifier, "frames", breaking)
    [broken] = classifier.read_many([film])
    for failure, reason in ((unsaid, "model"), (broken, "unexpected")):
        assert (failure.path, failure.reason) == (str(film), reason)
        assert failure.error.encode().startswith(b"%s/\\udcff.png: " % bytes(film.parent))


@pytest.mark.parametrize("most", [0, 1])
def test_where_the_system_gives_few_threads(make_bundle, films, few_threads, most):
    classifier = load_model(make_bundle().path)
    expected = [reading.probability for reading in classifier.read_many(films[:4], workers=3)]
    few_threads(lambda thread: thread.name.startswith("kirik-decode"), most)
    if most:
        results = classifier.read_many(films[:4], workers=3)
        assert [reading.probability for reading in results] == expected
    else:
        with pytest.raises(SettingsError, match="no thread can be started here"):
            list(classifier.read_many(films[:4], workers=3))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"\0" * 128 + b"DICM\x10\0\x10\0PN\x08\0DOE^JANE", "not_an_image"),
        (np.array([["DOE^JANE"]]), "bad_array"),
        (np.zeros((50, 50)), "blank"),
    ],
)
def test_a_failure_does_not_tell_what_stands_in_what_is_no_file(make_bundle, films, given, reason):
    classifier = load_model(make_bundle().path)
    first, failed, last = classifier.read_many([films[0], given, films[1]])
    assert (first.path, last.path) == (str(films[0]), str(films[1]))
    assert (failed.path, failed.reason) == (None, reason)
    assert "DOE" not in repr(failed)


def test_a_failure_names_the_member_that_it_is_of(make_bundle, tmp_path):
    [failed] = load_model(make_bundle().path).read_many([Member(str(tmp_path / "x.zip"), "a.png")])
    assert failed.path == f"{tmp_path / 'x.zip'}/a.png"


def test_what_came_before_a_list_that_breaks_off_is_read(make_bundle, films):
    def listing():
        yield from films
        raise ConnectionError("the archive has gone")

    results, paths = load_model(make_bundle().path).read_many(listing(), batch_size=8), []
    with pytest.raises(ConnectionError, match="the archive has gone"):
        paths.extend(result.path for result in results)
    assert paths == [str(film) for film in films]


def test_a_list_that_is_left_is_not_closed(make_bundle, films):
    listing = (film for film in films)
    results = load_model(make_bundle().path).read_many(listing, batch_size=1)
    next(results)
    results.close()
    assert films[-1] in listing


def test_numbers_that_cannot_be_are_refused_at_once(make_bundle):
    with pytest.raises(SettingsError, match="batch size 0"):
        load_model(make_bundle().path).read_many([], batch_size=0)
    with pytest.raises(SettingsError, match="workers 0"):
        load_model(make_bundle("b").path).read_many([], workers=0)
    one = load_model(make_bundle("d").path)
    for path in ("film.png", Path("film.png")):
        with pytest.raises(SettingsError, match=r"film.png: one file where a list .* use read"):
            one.read_many(path)
    with pytest.raises(SettingsError, match="threads -1"):
        load_model(make_bundle("c").path, threads=-1)


def test_files_are_asked_for_only_as_they_are_needed(make_bundle, films):
    """A folder of ten thousand is not decoded at once, and one that is left is left alone."""
    asked = []

    def listing():
        for path in films * 10:
            asked.append(path)
            yield path

    results = load_model(make_bundle().path).read_many(listing(), batch_size=2)
    for _ in range(3):
        next(results)
    assert len(asked) <= 12
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("kirik-decode")]
    assert len(asked) <= 12


@pytest.fixture
def stacks(films, tmp_path):
    """Five TIFFs of twelve pages, no two alike, with films between them."""
    pages = [Image.open(path).resize((70, 90)) for path in films[:12]]
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.tif")
        turned = pages[number:] + pages[:number]
        turned[0].save(paths[-1], save_all=True, append_images=turned[1:])
        paths.append(films[number])
    return paths


def test_a_file_of_more_frames_than_may_be_held_is_read_in_order(make_bundle, stacks):
    classifier = load_model(make_bundle(graph=convolution_graph(), evidence=None).path)
    expected = []
    for path in stacks:
        prepared = classifier.frames(path)
        read = [classifier.judge([one])[0] for one in prepared]
        assert len(read) == (12 if path.suffix == ".tif" else 1)
        expected += [(str(path), one.frame, one.probability) for one in read]
    for batch_size, workers in ((1, 1), (2, 5), (5, 2), (100, 3)):
        results = classifier.read_many(stacks, batch_size=batch_size, workers=workers)
        assert [(one.path, one.frame, one.probability) for one in results] == expected


def test_what_is_held_is_bounded_by_frames_and_not_by_files(make_bundle, stacks, monkeypatch):
    classifier, held, most = load_model(make_bundle().path), [], 0
    frames, judge = classifier.frames, classifier.judge

    def counted(source):
        for one in frames(source):
            held.append(one)
            yield one

    def judged(batch):
        nonlocal most
        time.sleep(0.1)  # those that decode could go on for long
        most = max(most, len(held) - done)
        return judge(batch)

    monkeypatch.setattr(classifier, "frames", counted)
    monkeypatch.setattr(classifier, "judge", judged)
    done = 0
    for _ in classifier.read_many(stacks, batch_size=4, workers=2):
        done += 1
    assert done == len(held) == 65
    assert most <= 3 * 4 + 1 + 2  # and one of the file whose turn it is, and of each worker


def test_reading_that_is_left_within_a_file_of_many_frames_ends_at_once(make_bundle, stacks):
    results = load_model(make_bundle().path).read_many(stacks, batch_size=2, workers=3)
    next(results)
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("kirik-decode")]


def test_a_program_that_takes_no_more_readings_ends(make_bundle, stacks):
    """And so do its decoders."""
    code = f"""
import os
from pathlib import Path
from kirik.reading.classifier import load_model
paths = {[str(path) for path in stacks]!r}
results = load_model({str(make_bundle().path)!r}).read_many(paths, batch_size=2)
print(next(results).path)
for thread in Path("/proc/self/task").glob("*/children"):
    print(thread.read_text())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    first, *children = ended.stdout.split()
    assert (ended.returncode, first, ended.stderr) == (0, str(stacks[0]), "")
    assert children or not Path("/proc").exists()
    deadline = time.monotonic() + 10
    while any(Path("/proc", child).exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_one_classifier_serves_several_threads(make_bundle, films):
    classifier = load_model(make_bundle(graph=convolution_graph(), evidence=None).path)
    expected = [classifier.read(path).probability for path in films]
    found = {}

    def read(start):
        for i in range(start, len(films), 4):
            found[i] = classifier.read(films[i]).probability

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(len(films))] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("", 8)]
)
def test_a_containers_share_bounds_the_cores(tmp_path, monkeypatch, quota, cores):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr("kirik.reading.cores._QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert usable_cores() == cores
