"""What a cascade's second network learns from: patches where the first one may send it.

Patches around every outlined fracture, moved at random, and around the places of most evidence on
all radiographs. They are cut out of the cascade's input when they are asked for, with a margin, so
that an augmentation that turns or moves them brings in what lies beside, not black.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from kirik.bundle import WIDE, Bundle
from kirik.dataset.cache import MASK_STRIDE, Cache
from kirik.reading.engines import CPU
from kirik.reading.models import open_model
from kirik.reading.patches import looked_at, resampled
from kirik.training.balance import real_shares
from kirik.training.data import Batch, Part

STRIDE = 8
"""Input pixels a cell of the map, on whose grid patches lie."""
MARGIN = 1.5
"""Side of what is cut out for an augmentation, over the patch's."""
LOOKS = 4
"""Patches of every radiograph, around the places of most evidence."""
AROUND, JITTER = 6, 0.3
"""Patches for each fracture, and how far they are off it at most, as a part of their side."""


@dataclass(frozen=True)
class _Patches:
    """What a cache's array holds of patches, taken out of it when it is indexed, as an array of
    them would be.

    source: [n, …]. rows: int [m], of which; corners: int [m, 2], top and left of each patch.
    margin: what is taken around it. Both in the source's pixels.
    """

    source: np.ndarray
    rows: np.ndarray
    corners: np.ndarray
    margin: int

    def __getitem__(self, which) -> np.ndarray:
        if np.ndim(which):
            return np.stack([self[int(one)] for one in which])
        return self._of(self.rows[which], *(self.corners[which] - self.margin))

    def _of(self, row: int, top: int, left: int) -> np.ndarray:
        """What the source's row holds of the patch that, margin and all, begins there."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cut(_Patches):
    """Patches of images, uint8 [n, side, side]; black beyond their edges.

    size: side of a patch without its margin.
    """

    size: int

    def _of(self, row: int, top: int, left: int) -> np.ndarray:
        side = self.size + 2 * self.margin
        cut = np.zeros((side, side), self.source.dtype)
        height, width = self.source.shape[1:]
        rows = slice(max(top, 0), min(top + side, height))
        columns = slice(max(left, 0), min(left + side, width))
        inside = self.source[row, rows, columns]
        cut[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
        return cut


class Outlines(_Patches):
    """Outlines, float32 [n, k, points, 2], in the pixels of patches with their margin."""

    def _of(self, row: int, top: int, left: int) -> np.ndarray:
        return (self.source[row] - (left, top)).astype(np.float32)


@dataclass(frozen=True)
class PatchPart(Part):
    """Patches that are trained on; a patch is fractured where it shows a fracture's centre.

    shares: float [classes], of each class among the radiographs.
    """

    shares: np.ndarray

    def real_shares(self, classes: int) -> np.ndarray:
        return self.shares

    def as_shown(self, batch: Batch, negative: int) -> Batch:
        """What it shows now tells the labels, and a fracture whose centre went out of sight has no
        box."""
        seen = in_sight(fracture_centres(batch.outlines), batch.radiographs.shape[-1])
        labels = torch.where(seen.any(dim=1), 1 - negative, negative)
        outlines = batch.outlines.masked_fill(~seen[..., None, None], torch.nan)
        return batch._replace(labels=labels, outlines=outlines)

    def plain(self) -> "PatchPart":
        tables = {
            name: replace(getattr(self, name), margin=0) for name in ("images", "masks", "outlines")
        }
        return replace(self, **tables)


def evidence_maps(overview: Bundle, cache: Cache, part: Part, side: int) -> np.ndarray:
    """What the first network sees on a part: float32 [n, side, side].

    cache: of the radiographs as it takes them. part: of any cache with the same rows.
    """
    model = open_model(overview, None, [CPU], "onnxruntime")
    [setting] = model.wants
    found = []
    for start in range(0, len(part), 64):
        rows = part.rows[start : start + 64]
        found.append(model.run({setting: np.array(cache.images[rows])}).evidence)
    return resampled(np.concatenate(found), side)


def patch_part(part: Part, maps: np.ndarray, size: int, negative: int, seed: int) -> PatchPart:
    """The patches of a part's radiographs, `size` × `size` pixels of images `WIDE` times as wide.

    maps: the first network's evidence, float [n, rows, columns]. A fracture that nobody outlined
    could be anywhere, so that such a radiograph has no patches.
    """
    rng = np.random.default_rng(seed)
    centres = fracture_centres(torch.from_numpy(part.outlines[part.rows])).flip(2).numpy()
    positions, corners = [], []
    for position in np.flatnonzero(part.marked):
        found = [*(looked_at(maps[position], size // STRIDE, LOOKS) * STRIDE)]
        for centre in centres[position][np.isfinite(centres[position, :, 0])]:
            off = rng.uniform(-JITTER, JITTER, (AROUND, 2)) * size
            found += [*_around(centre + off, size)]
        positions += [position] * len(found)
        corners += found
    chosen, corners = np.array(positions), np.array(corners)
    rows, margin = part.rows[chosen], int((MARGIN - 1) / 2 * size) // STRIDE * STRIDE
    of_masks = (corners // MASK_STRIDE, margin // MASK_STRIDE, size // MASK_STRIDE)
    seen = in_sight(torch.from_numpy(centres[chosen] - corners[:, None]), size)
    return PatchPart(
        images=Cut(part.images, rows, corners, margin, size),
        masks=Cut(part.masks, rows, *of_masks),
        outlines=Outlines(part.outlines, rows, corners, margin),
        rows=np.arange(len(rows)),
        labels=np.where(seen.any(dim=1).numpy(), 1 - negative, negative),
        groups=part.groups[chosen],
        marked=np.ones(len(rows), bool),
        attributes=np.zeros((len(rows), 0), np.float32),
        shares=real_shares(part.labels, 2),
    )


def fracture_centres(outlines: torch.Tensor) -> torch.Tensor:
    """Centres (x, y) [N, k, 2] of the boxes of outlines [N, k, points, 2]; NaN where there is none,
    in the one as in the other."""
    low = outlines.nan_to_num(nan=torch.inf).amin(dim=2)
    high = outlines.nan_to_num(nan=-torch.inf).amax(dim=2)
    return (low + high) / 2


def in_sight(centres: torch.Tensor, size: int) -> torch.Tensor:
    """bool [N, k]: which centres [N, k, 2] lie within 0…size."""
    return ((centres > 0) & (centres < size)).all(dim=2)


def _around(centres: np.ndarray, size: int) -> np.ndarray:
    """Top and left of the patches around these points, within the image: int [k, 2]."""
    corners = np.round((centres - size / 2) / STRIDE).astype(int) * STRIDE
    return np.clip(corners, 0, (WIDE - 1) * size)
