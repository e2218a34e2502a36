"""The models that ship: what they weigh, and that they say nothing of what they never saw."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.data import get_testdata_file

from kirik.bundle import find_bundle, shipped_models
from kirik.reading.classifier import load_model

MEGABYTES = {"small": 10, "medium": 10, "best": 60}


@pytest.mark.parametrize("model", shipped_models())
def test_its_size(model):
    files = [path for path in find_bundle(model).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MEGABYTES[model] * 1e6


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """Pictures that are no radiographs of a limb."""
    folder = tmp_path_factory.mktemp("strange")
    page = Image.new("L", (850, 1100), 250)
    words = "\n".join(
        f"{line}. The wrist was seen in two planes; no fracture." for line in range(40)
    )
    ImageDraw.Draw(page).text((60, 60), words, 20, ImageFont.load_default(20))
    page.save(folder / "page.png")
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (500, 400), dtype=np.uint8))
    noise.save(folder / "noise.png")
    tiles = (np.indices((512, 512)) // 32).sum(0) % 2 * 255
    Image.fromarray(tiles.astype(np.uint8)).save(folder / "tiles.png")
    for name in ("CT_small", "MR_small"):
        slice_ = dcmread(get_testdata_file(f"{name}.dcm")).pixel_array.astype(float)
        levels = (slice_ - slice_.min()) / np.ptp(slice_) * 255
        Image.fromarray(levels.astype(np.uint8)).resize((512, 512)).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("model", shipped_models())
def test_it_gives_no_probability_to_what_is_no_radiograph(strange, model):
    readings = list(load_model(model).read_many(strange))
    said = {one.path.rpartition("/")[2]: (one.decision, one.probability) for one in readings}
    assert said == {path.name: ("out_of_scope", None) for path in strange}
