"""Augmentation: AutoAugment policies for the copies that balance classes, and a light one for all.

AutoAugment: Cubuk et al. 2019, doi:10.1109/CVPR.2019.00020, in torchvision's implementation.
"""

import torch
from torch.nn import functional
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.v2 import AutoAugment

POLICIES = {
    "imagenet": AutoAugmentPolicy.IMAGENET,
    "cifar10": AutoAugmentPolicy.CIFAR10,
    "svhn": AutoAugmentPolicy.SVHN,
    "radiograph": "radiograph",
}
"""Names of the AutoAugment policies there are."""

# Two operations each: (operation, probability, magnitude 0…9), as in AutoAugment. What makes no
# sense on a radiograph is absent: Invert and Solarize turn bone dark, Color has nothing to change,
# Posterize leaves contours like fracture lines. Geometry stays small, as positioning does.
_RADIOGRAPH = [
    (("Rotate", 0.8, 4), ("Contrast", 0.6, 4)),
    (("Rotate", 0.6, 8), ("AutoContrast", 0.4, None)),
    (("ShearX", 0.6, 3), ("Brightness", 0.6, 3)),
    (("ShearY", 0.6, 3), ("Contrast", 0.6, 5)),
    (("TranslateX", 0.6, 2), ("Sharpness", 0.6, 6)),
    (("TranslateY", 0.6, 2), ("Brightness", 0.6, 4)),
    (("Equalize", 0.4, None), ("Rotate", 0.8, 3)),
    (("AutoContrast", 0.6, None), ("ShearX", 0.6, 4)),
    (("Sharpness", 0.8, 8), ("Rotate", 0.6, 5)),
    (("Brightness", 0.8, 4), ("Contrast", 0.6, 3)),
    (("ShearY", 0.6, 4), ("Rotate", 0.6, 6)),
    (("Sharpness", 0.6, 4), ("TranslateX", 0.6, 3)),
]
_GEOMETRY = frozenset({"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"})


class RadiographAutoAugment(AutoAugment):
    """AutoAugment for a radiograph and its fracture mask: the mask follows the geometry alone."""

    def __init__(self, policy: str):
        super().__init__(POLICIES[policy], interpolation=InterpolationMode.BILINEAR, fill=0)
        self._moves = []

    def _get_policies(self, policy):
        return _RADIOGRAPH if policy == "radiograph" else super()._get_policies(policy)

    def _apply_image_or_video_transform(self, image, transform_id, magnitude, *args, **kwargs):
        if transform_id in _GEOMETRY:
            self._moves.append((transform_id, magnitude))
        return super()._apply_image_or_video_transform(
            image, transform_id, magnitude, *args, **kwargs
        )

    def both(self, radiograph: torch.Tensor, mask: torch.Tensor):
        """One draw for a radiograph uint8 [1, size, size] and its mask uint8 [1, s, s]."""
        self._moves = []
        augmented = self(radiograph)
        scale = mask.shape[-1] / radiograph.shape[-1]
        for transform_id, magnitude in self._moves:
            in_cells = magnitude * scale if transform_id.startswith("Translate") else magnitude
            mask = super()._apply_image_or_video_transform(
                mask, transform_id, in_cells, interpolation=self.interpolation, fill=self._fill
            )
        return augmented, mask


def augment_batch(radiographs: torch.Tensor, masks: torch.Tensor):
    """The light augmentation that every radiograph of a training batch gets, on its device.

    radiographs: uint8 [N, 1, size, size]; masks: uint8 [N, 1, s, s].
    Returns both as float 0…255, mirrored, turned by up to 15°, scaled by up to 12 %, moved by up
    to 6 %, with brightness, contrast and gamma changed by up to a fifth.
    """
    count, device = len(radiographs), radiographs.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, device=device) * (high - low) + low

    angle, scale = uniform(-0.26, 0.26), uniform(0.88, 1.12)
    mirror = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    across = torch.stack([cosine * mirror, -sine, uniform(-0.12, 0.12)], dim=1)
    down = torch.stack([sine * mirror, cosine, uniform(-0.12, 0.12)], dim=1)
    matrix = torch.stack([across, down], dim=1)
    moved, marked = (_warp(x.float(), matrix) for x in (radiographs, masks))
    shape = (count, 1, 1, 1)
    levels = (moved / 255).clamp(1e-4, 1) ** uniform(0.8, 1.25).view(shape)
    mean = levels.mean(dim=(2, 3), keepdim=True)
    levels = (levels - mean) * uniform(0.8, 1.2).view(shape) + mean * uniform(0.85, 1.15).view(
        shape
    )
    return levels.clamp(0, 1) * 255, marked


def _warp(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
