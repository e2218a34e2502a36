"""Augmentation: masks follow the radiograph, policies keep to what they promise."""

import numpy as np
import pytest
import torch

from kirik.training import augment
from kirik.training.augment import _RADIOGRAPH, POLICIES, RadiographAutoAugment, augment_batch


def square(top=40, left=56, side=24, size=128):
    image = torch.full((1, size, size), 20, dtype=torch.uint8)
    image[:, top : top + side, left : left + side] = 250
    mask = torch.zeros((1, size // 4, size // 4), dtype=torch.uint8)
    mask[:, top // 4 : (top + side) // 4, left // 4 : (left + side) // 4] = 255
    right, bottom = left + side, top + side
    corners = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]])
    outlines = torch.full((3, 4, 2), torch.nan)
    outlines[0] = corners
    return image, mask, outlines


def centre(picture: torch.Tensor, above: float) -> np.ndarray:
    rows, columns = np.nonzero(picture.squeeze().numpy() > above)
    return np.array([rows.mean(), columns.mean()])


def middle(outlines: torch.Tensor) -> np.ndarray:
    """The centre of the first outline, as `centre` gives it; there must be no other."""
    assert outlines.isnan().any(dim=(1, 2)).tolist() == [False, True, True]
    return outlines[0].mean(dim=0).flip(0).numpy() - 0.5


@pytest.mark.parametrize("seed", range(12))
def test_mask_and_outline_move_with_the_fracture_under_autoaugment(seed):
    torch.manual_seed(seed)
    image, mask, outlines = RadiographAutoAugment("radiograph").whole(*square())
    bright = (int(image.max()) + int(image.median())) / 2
    where = centre(image, bright)
    assert centre(mask, 127) * 4 == pytest.approx(where, abs=6)
    assert middle(outlines) == pytest.approx(where, abs=1.5)


@pytest.mark.parametrize("step", range(2, 9))
def test_a_mask_moves_as_far_as_its_radiograph(monkeypatch, step):
    move = ("TranslateX", 1.0, step)
    monkeypatch.setattr(augment, "_RADIOGRAPH", [(move, ("Rotate", 0.0, 1))])
    image, mask, outlines = RadiographAutoAugment("radiograph").whole(*square(56, 52))
    assert centre(mask, 127) * 4 == pytest.approx(centre(image, 128), abs=4)
    assert abs(centre(mask, 127)[1] * 4 + 1.5 - centre(image, 128)[1]) <= 2
    assert middle(outlines) == pytest.approx(centre(image, 128), abs=0.1)


@pytest.mark.parametrize("seed", range(12))
def test_mask_and_outline_move_with_the_fracture_in_every_batch(seed):
    torch.manual_seed(seed)
    image, mask, outlines = square()
    moved, marked, corners = augment_batch(image[None], mask[None], outlines[None])
    bright = float(moved.max() + moved.median()) / 2
    where = centre(moved[0], bright)
    assert centre(marked[0], 127) * 4 == pytest.approx(where, abs=4)
    assert middle(corners[0]) == pytest.approx(where, abs=1.5)
    low, high = corners[0, 0].amin(dim=0), corners[0, 0].amax(dim=0)
    rows, columns = np.nonzero(moved[0, 0].numpy() > bright)
    assert [columns.min(), rows.min()] == pytest.approx(low.tolist(), abs=2)
    assert [columns.max() + 1, rows.max() + 1] == pytest.approx(high.tolist(), abs=2)


def test_some_radiographs_of_a_batch_are_turned_by_quarters():
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    image[..., 28:36, :] = 250  # a bar that lies, and stands after a quarter turn
    batch = image.expand(400, 1, 64, 64)
    mask = torch.zeros(400, 1, 16, 16, dtype=torch.uint8)
    moved, *_ = augment_batch(batch, mask, torch.full((400, 1, 4, 2), torch.nan))
    bright = moved[:, 0] > moved.amax(dim=(1, 2, 3))[:, None, None] / 2
    standing = bright.any(dim=2).sum(dim=1) > bright.any(dim=1).sum(dim=1)
    assert 0.05 < standing.float().mean() < 0.16


def drawn(level=128, count=150):
    """A flat square, augmented so often, and the outlines of what lies in its middle."""
    torch.manual_seed(0)
    image, mask, outlines = square(top=52, left=52)
    return augment_batch(
        torch.full_like(image, level).expand(count, -1, -1, -1),
        mask.expand(count, -1, -1, -1),
        outlines[:1].expand(count, -1, -1, -1),
    )


def test_a_batch_is_mirrored_scaled_and_moved_as_is_told():
    corners = drawn()[2][:, 0]
    (across, down), (across_too, down_too) = ((corners[:, one] - corners[:, 0]).T for one in (1, 3))
    area = across * down_too - down * across_too
    assert 0.4 < (area < 0).float().mean() < 0.6
    scale = area.abs().sqrt() / 24
    assert 0.84 < scale.min() < 0.92
    assert 1.1 < scale.max() < 1.18
    off = (corners.mean(dim=1) - 64).abs() / 128
    assert 0.05 < off.max() < 0.12


def test_levels_of_a_batch_vary_and_some_are_noisy():
    middles = drawn()[0][:, 0, 48:80, 48:80]
    means, noise = middles.mean(dim=(1, 2)), middles.std(dim=(1, 2))
    assert means.std() > 8
    assert 0.12 < (noise > 0.5).float().mean() < 0.38


def test_augmentation_of_a_batch_stays_in_range_and_shape():
    images = torch.randint(0, 256, (5, 1, 64, 64), dtype=torch.uint8)
    masks = torch.zeros(5, 1, 16, 16, dtype=torch.uint8)
    moved, marked, _ = augment_batch(images, masks, torch.full((5, 1, 4, 2), torch.nan))
    assert moved.shape == images.shape
    assert moved.min() >= 0
    assert moved.max() <= 255
    assert not marked.any()


def test_the_radiograph_policy_has_no_operation_that_makes_no_sense_on_a_radiograph():
    used = {operation for pair in _RADIOGRAPH for operation, _, _ in pair}
    assert not used & {"Invert", "Solarize", "Color", "Posterize"}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_keeps_type_and_shape_and_changes_something(policy):
    torch.manual_seed(0)
    image, mask, outlines = square()
    results = [RadiographAutoAugment(policy).whole(image, mask, outlines) for _ in range(20)]
    assert all(i.dtype == torch.uint8 and i.shape == image.shape for i, _, _ in results)
    assert all(m.dtype == torch.uint8 and m.shape == mask.shape for _, m, _ in results)
    assert all(o.dtype == torch.float32 and o.shape == outlines.shape for _, _, o in results)
    assert any((i != image).any() for i, _, _ in results)
