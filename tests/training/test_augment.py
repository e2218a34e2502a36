"""Augmentation: masks follow the radiograph, policies keep to what they promise."""

import numpy as np
import pytest
import torch

from kirik.training.augment import _RADIOGRAPH, POLICIES, RadiographAutoAugment, augment_batch


def square(top=40, left=56, side=24, size=128):
    image = torch.full((1, size, size), 20, dtype=torch.uint8)
    image[:, top : top + side, left : left + side] = 250
    mask = torch.zeros((1, size // 4, size // 4), dtype=torch.uint8)
    mask[:, top // 4 : (top + side) // 4, left // 4 : (left + side) // 4] = 255
    return image, mask


def centre(picture: torch.Tensor, above: float) -> np.ndarray:
    rows, columns = np.nonzero(picture.squeeze().numpy() > above)
    return np.array([rows.mean(), columns.mean()])


@pytest.mark.parametrize("seed", range(12))
def test_the_mask_moves_with_the_fracture_under_autoaugment(seed):
    torch.manual_seed(seed)
    image, mask = RadiographAutoAugment("radiograph").both(*square())
    bright = (int(image.max()) + int(image.median())) / 2
    assert centre(mask, 127) * 4 == pytest.approx(centre(image, bright), abs=6)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_moves_with_the_fracture_under_light_augmentation(seed):
    torch.manual_seed(seed)
    image, mask = square()
    moved, marked = augment_batch(image[None], mask[None])
    bright = float(moved.max() + moved.median()) / 2
    assert centre(marked[0], 127) * 4 == pytest.approx(centre(moved[0], bright), abs=4)


def test_light_augmentation_stays_in_range_and_shape():
    images = torch.randint(0, 256, (5, 1, 64, 64), dtype=torch.uint8)
    moved, marked = augment_batch(images, torch.zeros(5, 1, 16, 16, dtype=torch.uint8))
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
    image, mask = square()
    results = [RadiographAutoAugment(policy).both(image, mask) for _ in range(20)]
    assert all(i.dtype == torch.uint8 and i.shape == image.shape for i, _ in results)
    assert all(m.dtype == torch.uint8 and m.shape == mask.shape for _, m in results)
    assert any((i != image).any() for i, _ in results)
