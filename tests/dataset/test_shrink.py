"""A small copy of a data set shows the same, in the same places."""

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dicom.helpers import content_of, dicom
from kirik.cli import run
from kirik.dataset.cache import open_cache
from kirik.dataset.inspect import inspect_files
from kirik.dataset.shrink import shrink
from kirik.dataset.sources import load_index
from kirik.preprocessing import Preprocessing
from kirik.radiograph import read_radiograph


@pytest.fixture
def data(tmp_path):
    """Two radiographs with a bright box each, one stored turned; a truncated one; a.png beside."""
    folder = tmp_path / "data"
    folder.mkdir()
    pixels = np.full((400, 300), 40, np.uint8)
    pixels[100:160, 60:140] = 240
    Image.fromarray(pixels).save(folder / "a.jpg", quality=95)
    Image.fromarray(pixels).save(folder / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / "turned.jpg", exif=exif, quality=95)
    (folder / "short.jpg").write_bytes((folder / "a.jpg").read_bytes()[:900])
    rows = ["image_id,path,label,region,boxes,polygons"]
    shape = "60 100 80 60,60 100 140 100 140 160 60 160"
    rows += [f"{n},{n},fractured,hand,{shape}" for n in ("a.jpg", "a.png", "turned.jpg")]
    Image.fromarray(np.full((50, 50), 90, np.uint8)).save(folder / "whole.png")
    rows += ["short.jpg,short.jpg,normal,leg,,", "whole.png,whole.png,normal,leg,,"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder / "index.csv"


def test_copies_are_small_upright_and_their_boxes_fit(data, tmp_path, capsys):
    out = tmp_path / "small"
    assert run(["data", "shrink", str(data), str(out), "--size", "200"]) == 1
    assert "short.jpg" in capsys.readouterr().err
    index = load_index(out)
    assert sorted(index.by_id) == ["a.jpg", "a.png", "turned.jpg", "whole.png"]
    assert len({record.path for record in index.records}) == 4
    for record in (index.by_id[name] for name in ("a.jpg", "a.png", "turned.jpg")):
        copy = read_radiograph(record.path)
        assert max(copy.pixels.shape) == 200
        assert copy.orientation == 1
        [(x, y, width, height)] = record.boxes
        assert copy.pixels[round(y) + 2 : round(y + height) - 2, round(x) + 2 :].max() > 0.85
        inside = copy.pixels[
            round(y) + 2 : round(y + height) - 2, round(x) + 2 : round(x + width) - 2
        ]
        assert inside.mean() > 0.85
        bright = np.argwhere(copy.pixels > 0.5)
        assert (bright.min(axis=0)[::-1]) == pytest.approx((x, y), abs=1.5)
        corners = np.reshape(record.polygons[0], (-1, 2))
        assert (*corners.min(axis=0), *np.ptp(corners, axis=0)) == pytest.approx(
            (x, y, width, height), abs=0.1
        )
        assert record.region == ("hand",)


def test_a_small_box_stays_one_and_classes_keep_their_names(tmp_path):
    """A tenth of a pixel of the original, in classes that a table alone would call otherwise."""
    for name in ("yes", "no"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((500, 400), np.uint8)).save(tmp_path / "data" / name / "1.png")
    index = load_index(tmp_path / "data")
    boxed = replace(index.by_id["yes/1.png"], boxes=((100.01, 20.0, 0.1, 0.1),))
    shrink(replace(index, records=(index.by_id["no/1.png"], boxed)), tmp_path / "small", 20)
    copy = load_index(tmp_path / "small")
    assert (copy.classes, copy.negative) == (("no", "yes"), 0)
    assert copy.by_id["yes/1.png"].boxes[0] == pytest.approx((4.0004, 0.8, 0.004, 0.004))


def test_each_file_is_read_once(data, tmp_path, monkeypatch):
    read, opened = Counter(), os.open

    def open_(path, *words, **options):
        read[os.fspath(path)] += 1
        return opened(path, *words, **options)

    film = tmp_path / "film.dcm"
    film.write_bytes(content_of(dicom(np.zeros((30, 40), np.uint16))))
    index = load_index(data)
    index = replace(index, records=(replace(index.records[0], path=film), *index.records[1:]))
    monkeypatch.setattr(os, "open", open_)
    for number, look in enumerate(
        (
            lambda: shrink(index, tmp_path / "small", 20),
            lambda: open_cache(index.records, Preprocessing(size=64), directory=tmp_path),
            lambda: inspect_files(index, workers=0),
        ),
        start=1,
    ):
        look()
        assert read[str(film)] == number


def test_what_is_smaller_keeps_its_size_and_what_is_there_is_kept(data, tmp_path, capsys):
    out = tmp_path / "same"
    run(["data", "shrink", str(data), str(out), "--size", "4000"])
    assert read_radiograph(load_index(out).by_id["a.png"].path).pixels.shape == (400, 300)
    assert run(["data", "shrink", str(data), str(out), "--size", "100"]) == 2
    assert "already exists" in capsys.readouterr().err


def test_copies_do_not_become_a_class_of_their_originals(tmp_path, capsys):
    for name in ("normal", "fractured"):
        (tmp_path / name).mkdir()
        Image.new("L", (40, 40), 90).save(tmp_path / name / "a.png")
    out = tmp_path / "small"
    assert run(["data", "shrink", str(tmp_path), str(out), "--size", "100"]) == 2
    assert "is a folder of the data set" in capsys.readouterr().err
    assert not out.exists()


def test_copies_stay_in_their_folder_whatever_the_ids_say(data, tmp_path):
    """An id may be an absolute path, or lead out of the table's folder: the originals stay."""
    source = data.parent / "a.jpg"
    table = data.parent / "paths.csv"
    other = tmp_path / "elsewhere" / "b.jpg"
    other.parent.mkdir()
    other.write_bytes(source.read_bytes())
    ids = [str(source), "../elsewhere/b.jpg", "a.jpg", "a.png", "b.jpg", "..", "/", "A.JPG"]
    paths = [source, other, source, source.with_suffix(".png"), other, other, source, source]
    rows = zip(ids, paths, "10101010", strict=True)
    lines = (f"{image_id},{path},{label}\n" for image_id, path, label in rows)
    table.write_text("image_id,path,label\n" + "".join(lines))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    out = tmp_path / "out" / "small"
    assert run(["data", "shrink", str(table), str(out), "--size", "32"]) == 0
    assert {path: path.read_bytes() for path in before} == before
    index = load_index(out)
    assert sorted(index.by_id) == sorted(ids)
    copies = {record.path.resolve() for record in index.records}
    assert len({str(path).casefold() for path in copies}) == len(ids)
    assert all(path.is_relative_to(out / "images") for path in copies)
    made = {path for path in tmp_path.rglob("*.*") if path.is_file()} - before.keys()
    assert made == copies | {out / "data.csv"}
