"""The cache of decoded radiographs, and the hash by which data are known again."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kirik.dataset.cache import data_hash, open_cache
from kirik.dataset.index import Record
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
    assert [path.name[:3] for path in (tmp_path / "cache").iterdir()] == ["64-"]
