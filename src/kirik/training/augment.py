"""Augmentation: AutoAugment policies for the copies that balance classes, and a light one for all.

AutoAugment: Cubuk et al. 2019, doi:10.1109/CVPR.2019.00020, in torchvision's implementation.
"""

import torch
from torch.nn import functional
from torchvision import tv_tensors
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
    """AutoAugment for a radiograph and where its fractures are, which follow the geometry alone."""

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

    def whole(self, radiograph: torch.Tensor, mask: torch.Tensor, outlines: torch.Tensor):
        """One draw for a radiograph, its mask and its outlines.

        radiograph: uint8 [1, size, size]; mask: uint8 [1, s, s]; outlines: float [k, points, 2],
        (x, y) in the radiograph's pixels.
        """
        self._moves = []
        augmented = self(radiograph)
        size = radiograph.shape[-1]
        scale = mask.shape[-1] / size
        points = tv_tensors.KeyPoints(outlines.flatten(0, 1), canvas_size=(size, size))
        for transform_id, magnitude in self._moves:
            # Torchvision would cut off what is beyond a whole cell.
            moved_by = round(int(magnitude) * scale)
            in_cells = moved_by if transform_id.startswith("Translate") else magnitude
            mask, points = (
                super(RadiographAutoAugment, self)._apply_image_or_video_transform(
                    moved, transform_id, by, interpolation=self.interpolation, fill=self._fill
                )
                for moved, by in ((mask, in_cells), (points, magnitude))
            )
        return augmented, mask, points.as_subclass(torch.Tensor).view_as(outlines)


TURNED = 0.15
"""Share of a batch's radiographs that are turned by one, two or three quarters: they come so."""


def augment_batch(
    radiographs: torch.Tensor,
    masks: torch.Tensor,
    outlines: torch.Tensor,
    size: int | None = None,
):
    """The augmentation that every radiograph of a training batch gets, on its device.

    radiographs: uint8 [N, 1, side, side]; masks: uint8 [N, 1, s, s]; outlines: float
    [N, k, points, 2], (x, y) in the radiographs' pixels, NaN where there is none.
    size: side of what is shown of them, their middle; all where None.
    Returns the first two as float 0…255, and the outlines: mirrored, some turned by quarters, all
    turned by up to 15°, scaled by up to 15 %, moved by up to 6 %, with brightness, contrast and
    gamma changed by up to a fifth, and some of them blurred, sharpened or noisy.
    """
    whole = radiographs.shape[-1]
    size = size or whole
    matrix = _random_geometry(len(radiographs), radiographs.device) * (size / whole)
    of_masks = size * masks.shape[-1] // whole
    moved, marked = _warp(radiographs.float(), matrix, size), _warp(masks.float(), matrix, of_masks)
    outlines = _move_points(outlines, matrix, whole, size)
    return _vary_levels(_vary_sharpness(moved / 255)) * 255, marked, outlines


def _uniform(count: int, device, low: float, high: float) -> torch.Tensor:
    return torch.rand(count, device=device) * (high - low) + low


def _random_geometry(count: int, device) -> torch.Tensor:
    """[N, 2, 3], from the output's to the input's coordinates in -1…1, as `affine_grid` wants."""
    angle, scale = _uniform(count, device, -0.26, 0.26), _uniform(count, device, 0.85, 1.15)
    quarters = torch.randint(1, 4, (count,), device=device)
    turned = torch.rand(count, device=device) < TURNED
    angle = angle + torch.where(turned, quarters, 0) * (torch.pi / 2)
    mirror = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    shift = [_uniform(count, device, -0.12, 0.12) for _ in range(2)]
    across = torch.stack([cosine * mirror, -sine, shift[0]], dim=1)
    down = torch.stack([sine * mirror, cosine, shift[1]], dim=1)
    return torch.stack([across, down], dim=1)


def _warp(images: torch.Tensor, matrix: torch.Tensor, size: int) -> torch.Tensor:
    grid = functional.affine_grid(matrix, [*images.shape[:2], size, size], align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _move_points(
    outlines: torch.Tensor, matrix: torch.Tensor, whole: int, size: int
) -> torch.Tensor:
    """Where points of the input, `whole` pixels wide, come to lie in the output of `_warp`."""
    inverse = torch.linalg.inv(matrix[:, :, :2])[:, None, None]
    centred = outlines * (2 / whole) - 1 - matrix[:, None, None, :, 2]
    return ((inverse @ centred[..., None])[..., 0] + 1) * (size / 2)


def _vary_sharpness(levels: torch.Tensor) -> torch.Tensor:
    """Half of the radiographs blurred or sharpened, a quarter with noise: it tells scanners apart,
    not fractures from bones."""
    count, device = len(levels), levels.device
    shape = (count, 1, 1, 1)
    amount = _uniform(count, device, -1.0, 1.0).view(shape)
    amount = amount * (torch.rand(count, device=device) < 0.5).view(shape)
    blurred = functional.avg_pool2d(levels, 3, stride=1, padding=1, count_include_pad=False)
    spread = _uniform(count, device, 0.0, 0.03) * (torch.rand(count, device=device) < 0.25)
    return levels + amount * (blurred - levels) + torch.randn_like(levels) * spread.view(shape)


def _vary_levels(levels: torch.Tensor) -> torch.Tensor:
    count, device = len(levels), levels.device
    shape = (count, 1, 1, 1)
    levels = levels.clamp(1e-4, 1) ** _uniform(count, device, 0.8, 1.25).view(shape)
    mean = levels.mean(dim=(2, 3), keepdim=True)
    contrast = _uniform(count, device, 0.8, 1.2).view(shape)
    brightness = _uniform(count, device, 0.85, 1.15).view(shape)
    return ((levels - mean) * contrast + mean * brightness).clamp(0, 1)
