"""The cache of decoded radiographs, and the hash by which data are known again."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kirik.dataset.cache import RETRY_AFTER, data_hash, open_cache
from kirik.dataset.index import Record
from kirik.errors import DataSetError
from kirik.preprocessing import Preprocessing

CLASSES = ("normal", "fractured")


@pytest.fixture
def records(tmp_path):
    noise, made = np.random.default_rng(0), []
    for i in range(4):
        path = tmp_path / f"{i}.png"
        Image.fromarray(noise.integers(0, 256, (90, 80), dtype=np.uint8)).save(path)
        boxes = ((10.5, 20.0, 30.0, 12.0),) if i % 2 else ()
        made.append(Record(f"{i}.png", path, i % 2, boxes=boxes))
    return made


def test_the_same_data_have_one_hash_at_any_size_and_in_any_order(records, tmp_path):
    hashes = {
        data_hash(
            open_cache(records, Preprocessing(size=size), directory=tmp_path / "cache"),
            given,
            CLASSES,
        )
        for size, given in ((64, records), (96, records), (96, records[::-1]))
    }
    assert len(hashes) == 1


def test_another_box_outline_label_or_file_has_another_hash(records, tmp_path):
    def hashed(*given):
        cache = open_cache(given, Preprocessing(size=64), directory=tmp_path / "cache")
        return data_hash(cache, given, CLASSES)

    *others, last = records
    found = {
        hashed(*records),
        hashed(*others, replace(last, boxes=((10.5, 20.0, 30.0, 12.1),))),
        hashed(*others, replace(last, polygons=((10.0, 20.0, 40.0, 20.0, 40.0, 31.0),))),
        hashed(*others, replace(last, label=0)),
        hashed(*others, replace(last, path=others[0].path)),
    }
    assert len(found) == 5


def let_a_while_pass(cache_directory):
    """For all caches in a folder."""
    for file in cache_directory.glob("*/cache.json"):
        changed = file.stat().st_mtime - RETRY_AFTER
        os.utime(file, (changed, changed))


@pytest.fixture
def failing(monkeypatch):
    """Names of files whose reading the disk refuses, to be filled and emptied."""
    names, opened = set(), os.open

    def open_(path, *words, **options):
        if os.path.basename(os.fspath(path)) in names:  # noqa: PTH119
            raise OSError(5, "Input/output error")
        return opened(path, *words, **options)

    monkeypatch.setattr(os, "open", open_)
    return names


def test_what_could_not_be_read_once_is_read_later_in_its_own_row(records, failing, tmp_path):
    def opened():
        return open_cache(records, Preprocessing(size=64), directory=tmp_path / "cache")

    failing.update({"1.png", "2.png"})
    before = opened()
    assert before.ids == ("0.png", None, None, "3.png")
    failing.remove("1.png")
    assert opened().ids == before.ids  # another process of the same training
    let_a_while_pass(tmp_path / "cache")
    after = opened()
    assert after.ids == ("0.png", "1.png", None, "3.png")
    assert list(after.failures) == ["2.png"]
    assert "Input/output error" in after.failures["2.png"]
    kept = before.rows(["3.png", "0.png", "1.png"])
    assert kept.tolist() == [3, 0]
    assert (after.images[kept] == before.images[kept]).all()
    assert after.masks[1].any()
    assert opened().ids == after.ids  # no try for the other one until a while has passed
    failing.clear()
    let_a_while_pass(tmp_path / "cache")
    fresh = open_cache(records, Preprocessing(size=64), directory=tmp_path / "fresh")
    healed = opened()
    assert (healed.ids, healed.hashes, healed.failures) == (fresh.ids, fresh.hashes, {})
    for name in ("images", "masks", "outlines"):
        np.testing.assert_array_equal(getattr(healed, name), getattr(fresh, name))


def test_where_none_could_be_read_the_next_try_is_at_once(records, failing, tmp_path):
    failing.update(record.id for record in records)
    with pytest.raises(DataSetError, match=r"none of the 4 .* first: .*Input/output error"):
        open_cache(records, Preprocessing(size=64), directory=tmp_path / "cache")
    failing.clear()
    cache = open_cache(records, Preprocessing(size=64), directory=tmp_path / "cache")
    assert cache.ids == ("0.png", "1.png", "2.png", "3.png")


def test_an_outline_wholly_outside_its_radiograph_is_none(records, tmp_path):
    """One beside it lies in the network's input all the same, where that is padded."""
    outside = ((82.0, 20.0, 5.0, 12.0),)
    beside = (82.0, 20.0, 87.0, 20.0, 87.0, 32.0)
    given = [
        replace(records[0], boxes=outside),
        replace(records[1], polygons=(beside,)),
        replace(records[2], boxes=((70.0, 20.0, 30.0, 12.0), *outside)),
        replace(records[3], boxes=(), polygons=(beside, (1.0, 1.0, 9.0, 1.0, 9.0, 9.0))),
    ]
    cache = open_cache(given, Preprocessing(size=64), directory=tmp_path / "cache")
    told = np.isfinite(cache.outlines).any(axis=(2, 3)).sum(axis=1)
    assert told.tolist() == [0, 1, 1, 1]
    assert [bool(mask.any()) for mask in cache.masks] == [False, True, True, True]


def test_of_many_outlines_the_largest_are_kept_and_each_keeps_its_outermost_corners(
    records, tmp_path
):
    """Of a record of 90 rows and 80 columns, in an input as high."""
    boxes = tuple((5.0 * n, 2.0, 2.0 + n, 4.0 + n) for n in range(10))
    turns = np.linspace(0, 2 * np.pi, 201)[:-1]
    wheel = 8 * np.stack([np.cos(turns), np.sin(turns)], axis=1) + (30, 50)
    wheel[3] = (76.0, 51.0)
    given = [
        replace(records[0], boxes=boxes, polygons=()),
        replace(records[1], boxes=(), polygons=(tuple(wheel.flatten().tolist()),)),
    ]
    cache = open_cache(given, Preprocessing(size=96), directory=tmp_path / "cache")
    many, one = np.array(cache.outlines)
    (scale, _), top, left = Preprocessing(size=96).placement(90, 80)
    kept = np.sort(np.ptp(many[..., 0], axis=1))
    np.testing.assert_allclose(kept, scale * np.arange(4.0, 12.0), rtol=1e-4)
    low, high = one[0].min(axis=0), one[0].max(axis=0)
    np.testing.assert_allclose(low, wheel.min(axis=0) * scale + (left, top), atol=1e-3)
    np.testing.assert_allclose(high, wheel.max(axis=0) * scale + (left, top), atol=1e-3)
    middle = np.argwhere(cache.masks[1] > 128).mean(axis=0) * 4 + 2
    np.testing.assert_allclose(middle[0], 50 * scale + top, atol=2)


def test_processes_that_begin_at_once_decode_once(save_radiograph, tmp_path):
    """As the trainings of a cross-validation do."""
    films = [save_radiograph(f"{i}.png", 0.5, (900, 900)) for i in range(40)]
    code = """
import sys
from pathlib import Path
from kirik.dataset import cache
from kirik.dataset.index import Record
from kirik.preprocessing import Preprocessing
build = cache._build
cache._build = lambda *words: (print("built", flush=True), build(*words))
records = [Record(Path(p).name, Path(p), 0) for p in sys.argv[2:]]
found = cache.open_cache(records, Preprocessing(size=64), directory=Path(sys.argv[1]))
print(len(found.ids))
"""
    words = [sys.executable, "-c", code, str(tmp_path / "cache"), *map(str, films)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [one.communicate(timeout=120)[0].split() for one in running]
    assert sorted(said) == [["40"], ["40"], ["built", "40"]]
    assert [path.name[:3] for path in (tmp_path / "cache").glob("[!.]*")] == ["64-"]


def test_what_a_killed_process_had_begun_takes_no_room(save_radiograph, tmp_path):
    films = [save_radiograph(f"{i}.png", 0.5, (90, 80)) for i in range(3)]
    code = """
import os, signal, sys
from pathlib import Path
from kirik.dataset.cache import open_cache
from kirik.dataset.index import Record
from kirik.preprocessing import Preprocessing
def die(done, total):
    os.kill(os.getpid(), signal.SIGKILL)
records = [Record(Path(p).name, Path(p), 0) for p in sys.argv[2:]]
open_cache(records, Preprocessing(size=64), directory=Path(sys.argv[1]), progress=die)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "cache"), *map(str, films)])
    assert list((tmp_path / "cache").glob(".building*"))
    records = [Record(film.name, film, 0) for film in films]
    found = open_cache(records, Preprocessing(size=64), directory=tmp_path / "cache")
    assert all(found.ids)
    assert not list((tmp_path / "cache").glob(".building*"))
