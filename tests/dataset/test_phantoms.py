"""One phantom: the same for the same arguments, and different only where the bone is broken."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from kirik.dataset.phantoms import FRACTURE_TYPES, make_phantom
from kirik.errors import SettingsError

SMALL = 200


def digest(phantom):
    return hashlib.sha256(phantom.pixels.tobytes()).hexdigest()


def inside_boxes(phantom):
    mask = np.zeros(phantom.pixels.shape, bool)
    for x, y, width, height in phantom.boxes:
        mask[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))] = True
    return mask


def test_pixels_are_a_radiograph_of_bright_bone_on_dark_ground():
    for seed in range(12):
        pixels = make_phantom(seed, size=SMALL).pixels
        assert pixels.dtype == np.float32
        assert pixels.min() >= 0
        assert pixels.max() <= 1
        assert np.median(pixels) < 0.55
        assert np.percentile(pixels, 99) > np.median(pixels) + 0.2
        assert pixels.std() > 0.08


@pytest.mark.parametrize("size", [96, 301, 450])
def test_longer_side_has_the_size_asked_for(size):
    shapes = {make_phantom(seed, size=size).pixels.shape for seed in range(12)}
    assert all(max(shape) == size for shape in shapes)
    assert all(min(shape) == round(0.82 * size) for shape in shapes)


def test_same_arguments_give_the_same_phantom_in_another_process():
    code = (
        "import hashlib; from kirik.dataset.phantoms import make_phantom;"
        "p = make_phantom(7, size=200, fracture_type='spiral');"
        "print(hashlib.sha256(p.pixels.tobytes()).hexdigest(), p.polygons)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = make_phantom(7, size=SMALL, fracture_type="spiral")
    assert other.stdout.strip() == f"{digest(here)} {here.polygons}"


def test_seeds_give_different_phantoms():
    assert len({digest(make_phantom(seed, size=SMALL)) for seed in range(20)}) == 20


def test_what_is_asked_for_is_made():
    assert not make_phantom(1, size=SMALL, fractured=False).fractured
    assert make_phantom(1, size=SMALL, fractured=True).fractured
    for kind in FRACTURE_TYPES:
        phantom = make_phantom(1, size=SMALL, fracture_type=kind)
        assert phantom.fractured
        assert phantom.fracture_type == kind


def test_half_are_fractured_and_all_types_and_regions_occur():
    phantoms = [make_phantom(seed, size=96) for seed in range(80)]
    fractured = [p for p in phantoms if p.fractured]
    assert 25 <= len(fractured) <= 55
    assert {p.fracture_type for p in fractured} == set(FRACTURE_TYPES)
    assert {p.region for p in phantoms} == {"hand", "leg", "shoulder"}
    assert {p.view for p in phantoms} == {"frontal", "lateral", "oblique"}
    assert any(p.hardware for p in phantoms)


def test_a_whole_bone_has_no_outline():
    phantom = make_phantom(3, size=SMALL, fractured=False)
    assert phantom.polygons == ()
    assert phantom.boxes == ()
    assert phantom.fracture_type is None


@pytest.mark.parametrize("kind", FRACTURE_TYPES)
def test_outlines_lie_in_the_image_and_enclose_something_small(kind):
    for seed in range(25):
        phantom = make_phantom(seed, size=SMALL, fracture_type=kind)
        rows, columns = phantom.pixels.shape
        assert 1 <= len(phantom.polygons) <= 2
        for polygon, (x, y, width, height) in zip(phantom.polygons, phantom.boxes, strict=True):
            assert len(polygon) >= 6
            assert len(polygon) % 2 == 0
            assert x >= 0
            assert y >= 0
            assert x + width <= columns
            assert y + height <= rows
            assert min(width, height) >= 3
            assert width * height < 0.2 * rows * columns


@pytest.mark.parametrize("kind", FRACTURE_TYPES)
def test_fracture_is_visible_in_its_box_and_changes_nothing_but_its_bone(kind):
    for seed in range(12):
        broken = make_phantom(seed, size=SMALL, fracture_type=kind)
        whole = make_phantom(seed, size=SMALL, fractured=False)
        change = np.abs(broken.pixels - whole.pixels)
        boxes = inside_boxes(broken)
        for x, y, width, height in broken.boxes:
            here = change[int(y) : int(np.ceil(y + height)), int(x) : int(np.ceil(x + width))]
            assert here.max() > 0.1
        assert (change[boxes] ** 2).mean() > 4 * (change[~boxes] ** 2).mean()
        # Beyond the broken bone every pixel, noise and marker too, is the same.
        assert (change[~boxes] < 1e-6).mean() > 0.7


def test_fracture_changes_neither_facts_nor_exposure_nor_border_of_its_scene():
    for seed in range(20):
        broken = make_phantom(seed, size=96, fractured=True)
        whole = make_phantom(seed, size=96, fractured=False)
        for name in ("region", "view", "hardware", "spacing"):
            assert getattr(broken, name) == getattr(whole, name)
        same = broken.pixels == whole.pixels
        border = np.concatenate([same[0], same[-1], same[:, 0], same[:, -1]])
        assert border.mean() > 0.8
        assert np.percentile(broken.pixels, 5) == pytest.approx(
            np.percentile(whole.pixels, 5), 1e-3
        )


def test_type_of_fracture_changes_nothing_but_the_fracture():
    one, other = (make_phantom(5, size=96, fracture_type=k) for k in ("transverse", "spiral"))
    assert one.view == other.view
    assert (one.pixels == other.pixels).mean() > 0.6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 10}, "size 10"),
        ({"size": 10**6}, "size 1000000"),
        ({"fracture_type": "hairline"}, "hairline.*transverse"),
        ({"fractured": False, "fracture_type": "spiral"}, "not fractured"),
    ],
)
def test_refuses_what_cannot_be_made_in_one_line(arguments, message):
    with pytest.raises(SettingsError, match=message) as caught:
        make_phantom(0, **arguments)
    assert "\n" not in str(caught.value)
