"""Every file is looked at once; what one file does costs no other."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from audit_images import index_of, jpeg, record, save, scene
from PIL import Image, ImageFile

from kirik.dataset.inspect import black_border, inspect_file, inspect_files, missing_share


class Deadly(type(Path())):
    """A path that ends the process that opens it, as a broken decoder would."""

    def __fspath__(self):
        os._exit(9)


def test_a_whole_jpeg_tells_size_mode_quality_and_bytes(tmp_path):
    content = jpeg(scene(1, 150, 120), quality=83)
    facts = inspect_file("a", save(tmp_path / "a.jpg", content))
    assert facts.decoded
    assert (facts.format, facts.mode, facts.rows, facts.columns) == ("JPEG", "L", 150, 120)
    assert facts.jpeg == "83"
    assert facts.bytes == len(content)
    assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert facts.thumbnail.shape == (48, 48)
    assert facts.mean == pytest.approx(scene(1, 150, 120).mean() / 255, abs=0.01)


def test_own_quantization_tables_are_not_taken_for_a_quality(tmp_path):
    content = jpeg(scene(1), quality=50, qtables=[[7] * 64])
    assert inspect_file("a", save(tmp_path / "a.jpg", content)).jpeg.startswith("tables ")


def test_exif_orientation_leaves_the_stored_size_and_turns_the_thumbnail(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(scene(3, 150, 120)))
    lying = inspect_file("a", save(tmp_path / "a.png", turned, exif=exif))
    upright = inspect_file("b", save(tmp_path / "b.png", scene(3, 150, 120)))
    assert (lying.orientation, lying.rows, lying.columns) == (6, 120, 150)
    assert lying.pixel_hash == upright.pixel_hash
    assert np.allclose(lying.thumbnail, upright.thumbnail)


def test_gray_and_colour_copies_have_one_pixel_hash_and_other_pixels_another(tmp_path):
    gray = inspect_file("a", save(tmp_path / "a.png", scene(4)))
    colour = inspect_file("b", save(tmp_path / "b.png", np.stack([scene(4)] * 3, axis=-1)))
    changed = scene(4)
    changed[0, 0] ^= 1
    other = inspect_file("c", save(tmp_path / "c.png", changed))
    assert (gray.mode, colour.mode) == ("L", "RGB")
    assert gray.pixel_hash == colour.pixel_hash != other.pixel_hash


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_jpeg_says_how_much_is_missing(tmp_path, kept):
    noise = np.random.default_rng(0).integers(0, 256, (320, 200), np.uint8)
    content = jpeg(noise)
    facts = inspect_file("a", save(tmp_path / "a.jpg", content[: int(len(content) * kept)]))
    assert facts.problem == "truncated"
    assert (facts.rows, facts.columns) == (320, 200)
    assert facts.missing_share == pytest.approx(1 - kept, abs=0.06)


def test_the_lenient_decoder_leaves_pillow_strict():
    content = jpeg(scene(1))
    assert missing_share(content[: len(content) // 2]) > 0
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert missing_share(b"no image") is None
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_black_border_is_the_share_outside_of_what_is_lit():
    pixels = np.zeros((100, 100), np.float32)
    assert black_border(pixels) == 1
    pixels[10:60, 20:70] = 0.5
    assert black_border(pixels) == pytest.approx(0.75)
    assert black_border(np.ones((4, 4), np.float32)) == 0


def test_blur_lowers_sharpness_and_a_uniform_image_has_none(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    small = Image.fromarray(noise).resize((40, 40))
    blurred = np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC))
    sharp, soft, flat = (
        inspect_file(name, save(tmp_path / f"{name}.png", pixels)).sharpness
        for name, pixels in [("a", noise), ("b", blurred), ("c", np.full((50, 50), 9, np.uint8))]
    )
    assert sharp > 3 * soft > 0
    assert flat == 0


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.jpg", b"", "empty"),
        ("text.jpg", b"hello", "not_an_image"),
        ("text.dcm", b"hello", "not_an_image"),
    ],
)
def test_what_is_no_radiograph_keeps_its_reason(tmp_path, name, content, problem):
    facts = inspect_file(name, save(tmp_path / name, content))
    assert facts.problem == problem
    assert facts.thumbnail is None
    assert facts.bytes == len(content)


def test_absent_files_and_pipes_keep_their_reason(tmp_path):
    assert inspect_file("gone.jpg", tmp_path / "gone.jpg").problem == "missing"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert inspect_file("pipe.jpg", tmp_path / "pipe.jpg").problem == "not_a_file"


def test_worker_processes_agree_with_this_one_and_keep_the_order(tmp_path):
    paths = [save(tmp_path / f"{i}.png", scene(i)) for i in range(5)]
    index = index_of(tmp_path, [record(path) for path in paths])
    seen = []
    apart = inspect_files(index, workers=2, progress=lambda done, total: seen.append((done, total)))
    here = inspect_files(index, workers=0)
    assert [file.id for file in apart] == [record.id for record in index.records]
    assert [file.pixel_hash for file in apart] == [file.pixel_hash for file in here]
    assert seen == [(i, 5) for i in range(1, 6)]


def test_a_file_that_kills_its_worker_loses_no_other(tmp_path):
    paths = [save(tmp_path / f"{i}.png", scene(i)) for i in range(5)]
    paths[1] = Deadly(paths[1])
    facts = inspect_files(index_of(tmp_path, [record(path) for path in paths]), workers=1)
    assert [file.problem for file in facts] == [None, "kills_decoder", None, None, None]


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    paths = [str(save(tmp_path / f"{i}.png", scene(i))) for i in range(5)]
    code = """
import os, signal, sys
from pathlib import Path
from kirik.dataset.index import Index, Record
from kirik.dataset.inspect import inspect_files
records = tuple(Record(p, Path(p), 0) for p in sys.argv[1:])
def die(done, total):
    os.kill(os.getpid(), signal.SIGKILL)
inspect_files(Index(Path(), "csv", ("a", "b"), 0, records), workers=2, progress=die)
"""
    # They have its standard output, too, which is at its end when the last of them is gone.
    ended = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, timeout=120)
    assert ended.returncode == -9


def test_no_files_are_no_facts(tmp_path):
    assert inspect_files(index_of(tmp_path, [])) == []
