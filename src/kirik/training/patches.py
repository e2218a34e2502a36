"""What a cascade's second network learns from: patches where the first one may send it.

Patches around every outlined fracture, moved at random, and around the places of most evidence on
all radiographs; and close-ups of both, at a size that is much the same for every fracture. They are
cut out of the cascade's input when they are asked for, with a margin, so that an augmentation that
turns or moves them brings in what lies beside, not black.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from kirik.bundle import WIDE, Bundle
from kirik.dataset.cache import MASK_STRIDE, Cache
from kirik.reading.engines import CPU
from kirik.reading.models import open_model
from kirik.reading.patches import close_up_side, looked_at, resampled, window
from kirik.training.balance import real_shares
from kirik.training.data import Batch, Part

STRIDE = 8
"""Input pixels a cell of the map, on whose grid patches lie."""
MARGIN = 1.5
"""Side of what is cut out for an augmentation, over the patch's."""
LOOKS = 4
"""Patches of every radiograph, around the places of most evidence."""
AROUND, JITTER = 6, 0.3
"""Patches for each fracture, and as many close-ups; how far they are off it at most, as a part of
the patch's or the fracture's side."""
VARIED = 0.3
"""Standard deviation of the logarithm of a close-up's side, around what the fracture's would give.
"""


@dataclass(frozen=True)
class _Patches:
    """What a cache's array holds of patches, taken out of it when it is indexed, as an array of
    them would be.

    source: [n, …]. rows: int [m], of which; corners: float [m, 2], top and left of each patch;
    spans: float [m], its side; all in the source's pixels.
    size: side that a patch is brought to. margin: what is taken around it, in pixels of the patch.
    """

    source: np.ndarray
    rows: np.ndarray
    corners: np.ndarray
    spans: np.ndarray
    size: int
    margin: int

    def __getitem__(self, which) -> np.ndarray:
        if np.ndim(which):
            return np.stack([self[int(one)] for one in which])
        pixel = self.spans[which] / self.size
        top, left = self.corners[which] - self.margin * pixel
        return self._of(self.rows[which], top, left, pixel)

    def _of(self, row: int, top: float, left: float, pixel: float) -> np.ndarray:
        """What the source's row holds of the patch that, margin and all, begins there, and whose
        pixels are `pixel` of the source's wide."""
        raise NotImplementedError


class Cut(_Patches):
    """Patches of images, uint8 [n, side, side]; black beyond their edges."""

    def _of(self, row: int, top: float, left: float, pixel: float) -> np.ndarray:
        side = self.size + 2 * self.margin
        return window(self.source[row], top, left, side * pixel, side)


class Outlines(_Patches):
    """Outlines, float32 [n, k, points, 2], in the pixels of patches with their margin."""

    def _of(self, row: int, top: float, left: float, pixel: float) -> np.ndarray:
        return ((self.source[row] - (left, top)) / pixel).astype(np.float32)


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
        seen = in_sight(fracture_boxes(batch.outlines)[0], batch.radiographs.shape[-1])
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

    maps: the first network's evidence, float [n, rows, columns]. Close-ups follow, which help the
    network even where a reading has none. A fracture that nobody outlined could be anywhere, so
    that such a radiograph has no patches.
    """
    rng = np.random.default_rng(seed)
    boxes = fracture_boxes(torch.from_numpy(part.outlines[part.rows]))
    centres, sides = (of_boxes.flip(2).numpy() for of_boxes in boxes)
    marked = np.flatnonzero(part.marked)
    squares = [
        *_squares(maps, centres, marked, size, rng),
        *_close_ups(maps, centres, sides.max(axis=2), marked, size, rng),
    ]
    chosen = np.repeat(
        [position for position, _ in squares], [len(own) for _, own in squares]
    ).astype(int)
    places = np.concatenate([np.empty((0, 3)), *(own for _, own in squares)])
    off, within = centres[chosen] - places[:, None, :2], places[:, 2:, None]
    seen = in_sight(torch.from_numpy(off), torch.from_numpy(within)).any(dim=1).numpy()
    told = seen | ~_unlisted(part, chosen, places, size)
    chosen, places, seen = chosen[told], places[told], seen[told]
    corners, spans = places[:, :2], places[:, 2]
    rows, margin = part.rows[chosen], int((MARGIN - 1) / 2 * size) // STRIDE * STRIDE
    place = (rows, corners, spans, size, margin)
    of_masks = (corners / MASK_STRIDE, spans / MASK_STRIDE, *(n // MASK_STRIDE for n in place[3:]))
    return PatchPart(
        images=Cut(part.images, *place),
        masks=Cut(part.masks, rows, *of_masks),
        outlines=Outlines(part.outlines, *place),
        rows=np.arange(len(rows)),
        labels=np.where(seen, 1 - negative, negative),
        groups=part.groups[chosen],
        marked=np.ones(len(rows), bool),
        attributes=np.zeros((len(rows), 0), np.float32),
        shares=real_shares(part.labels, 2),
    )


def _unlisted(part: Part, chosen: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """bool [m]: which patches may show a fracture without its outline, as a cache keeps so many of
    a radiograph's and no more: those with something in the mask where there is no room for another.

    chosen: int [m], positions of their radiographs. places: float [m, 3], top, left and side.
    """
    full = np.isfinite(part.outlines[part.rows, -1]).any(axis=(1, 2))
    found = np.zeros(len(chosen), bool)
    for patch in np.flatnonzero(full[chosen]):
        mask = part.masks[part.rows[chosen[patch]]]
        found[patch] = window(mask, *places[patch] / MASK_STRIDE, size // MASK_STRIDE).any()
    return found


_Squares = Iterator[tuple[int, np.ndarray]]
"""A radiograph's position in its part, and squares: top, left and side, float [k, 3]."""


def _squares(
    maps: np.ndarray, centres: np.ndarray, marked: np.ndarray, size: int, rng: np.random.Generator
) -> _Squares:
    """What a reading may look at: the places of most evidence, and around every fracture.

    marked: int [any], positions of radiographs whose fractures, if any, are outlined.
    """
    for position in marked:
        corners = [looked_at(maps[position], size // STRIDE, LOOKS) * STRIDE]
        for centre in centres[position][np.isfinite(centres[position, :, 0])]:
            off = rng.uniform(-JITTER, JITTER, (AROUND, 2)) * size
            corners.append(_around(centre + off, size))
        yield position, np.pad(np.concatenate(corners), ((0, 0), (0, 1)), constant_values=size)


def _close_ups(
    maps: np.ndarray,
    centres: np.ndarray,
    sides: np.ndarray,
    marked: np.ndarray,
    size: int,
    rng: np.random.Generator,
) -> _Squares:
    """What a reading may see close up: every fracture, and the place of most evidence, at the size
    of some fracture. sides: the longer ones of the fractures' boxes, float [n, k]."""
    usual = sides[np.isfinite(sides)]
    for position in marked if len(usual) else ():
        highest = np.unravel_index(maps[position].argmax(), maps[position].shape)
        middles = [(np.array([highest]) + 0.5) * STRIDE]
        longest = [rng.choice(usual, 1)]
        for fracture in np.flatnonzero(np.isfinite(sides[position])):
            side = sides[position, fracture]
            off = rng.uniform(-JITTER, JITTER, (AROUND, 2)) * side
            middles.append(centres[position, fracture] + off)
            longest.append(np.full(AROUND, side))
        longest = np.concatenate(longest)
        spans = close_up_side(longest * np.exp(rng.normal(0, VARIED, len(longest))), size)[:, None]
        yield position, np.hstack([np.concatenate(middles) - spans / 2, spans])


def fracture_boxes(outlines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and sides (x, y), both [N, k, 2], of the boxes of outlines [N, k, points, 2]; NaN
    where there is none."""
    low = outlines.nan_to_num(nan=torch.inf).amin(dim=2)
    high = outlines.nan_to_num(nan=-torch.inf).amax(dim=2)
    sides = high - low
    return (low + high) / 2, torch.where(sides.isfinite(), sides, torch.nan)


def in_sight(centres: torch.Tensor, size) -> torch.Tensor:
    """bool [N, k]: which centres [N, k, 2] lie within 0…size, of all or [N, 1, 1]."""
    return ((centres > 0) & (centres < size)).all(dim=2)


def _around(centres: np.ndarray, size: int) -> np.ndarray:
    """Top and left of the patches around these points, within the image: int [k, 2]."""
    corners = np.round((centres - size / 2) / STRIDE).astype(int) * STRIDE
    return np.clip(corners, 0, (WIDE - 1) * size)
