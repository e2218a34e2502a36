"""The picture of AutoAugment copies: its columns are named, its tiles are where they belong."""

import numpy as np
import pytest
from PIL import Image

from kirik.dataset.sources import load_index
from kirik.errors import OutputError, SettingsError
from kirik.training.preview import COPIES, GAP, GROUND, SIDE, TEXTS, TITLE, write_preview


@pytest.fixture
def index(save_radiograph):
    noise = np.random.default_rng(0)
    for i in range(4):
        folder = ("normal", "fractured")[i % 2]
        path = save_radiograph(
            f"{folder}/{i}.png", noise.integers(0, 256, (64, 64), dtype=np.uint8)
        )
    return load_index(path.parents[1])


def draw(index, out, **said) -> np.ndarray:
    write_preview(index, out, **({"policy": "radiograph", "count": 2, "seed": 0} | said))
    return np.asarray(Image.open(out))


def test_every_column_has_a_title_over_it_and_tiles_below(index, tmp_path):
    sheet = draw(index, tmp_path / "p.png")
    step = SIDE + GAP
    assert sheet.shape == (TITLE + 2 * step + GAP, (COPIES + 1) * step + GAP)
    for column in range(COPIES + 1):
        across = slice(GAP + column * step, GAP + column * step + SIDE)
        assert sheet[:TITLE, across].max() > 200
        assert sheet[TITLE + GAP : TITLE + GAP + SIDE, across].std() > 5
    assert (sheet[TITLE : TITLE + GAP] == GROUND).all()


def test_titles_are_in_the_readers_language_and_the_tiles_are_not_changed_by_it(index, tmp_path):
    assert TEXTS["en"].keys() == TEXTS["tr"].keys()
    english = draw(index, tmp_path / "en.png")
    turkish = draw(index, tmp_path / "tr.png", language="tr")
    assert (english[:TITLE] != turkish[:TITLE]).any()
    assert (english[TITLE:] == turkish[TITLE:]).all()


def test_the_name_says_the_format_and_another_is_refused(index, tmp_path):
    draw(index, tmp_path / "p.JPG")
    assert Image.open(tmp_path / "p.JPG").format == "JPEG"
    for name in ("p.html", "p", "p.png.txt"):
        with pytest.raises(SettingsError, match=r"not a picture\'s name; end it in .png or .jpg"):
            draw(index, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_a_preview_does_not_become_a_radiograph(index):
    out = index.records[0].path.parent / "preview.png"
    with pytest.raises(OutputError, match="is a folder of the data set"):
        write_preview(index, out, policy="radiograph", count=2, seed=0)
    assert not out.exists()
