"""Where a cascade looks closer, and how what it sees there goes back into one map.

A cascade sends its second network to the places where the first one's evidence map is highest
(Viola and Jones 2001, doi:10.1109/CVPR.2001.990517; proposals of regions: Ren et al. 2015,
arXiv:1506.01497). Patches lie on the map's grid, so that what is seen in them is put back cell by
cell.
"""

import numpy as np
from PIL import Image

from kirik.reading.peaks import box_at

CLOSE_UP = 2.5
"""Side of what is shown of a finding, over the longer side of its box."""
MIDDLE = 1 / 8
"""How far off the middle of a close-up its finding may be, as a part of the side: the standard
deviation."""


def looked_at(evidence: np.ndarray, cells: int, looks: int) -> np.ndarray:
    """Top and left cell, int [looks, 2], of the patches around a map's highest places.

    evidence: float32 [rows, columns] in 0…1. cells: side of a patch. Places nearer to a higher one
    than a quarter of a patch are passed over.
    """
    left, side, apart = evidence.copy(), np.array(evidence.shape), cells // 4
    corners = np.empty((looks, 2), int)
    for number in range(looks):
        place = np.array(np.unravel_index(int(left.argmax()), left.shape))
        corners[number] = np.clip(place - cells // 2, 0, side - cells)
        top, start = np.maximum(place - apart, 0)
        bottom, end = place + apart + 1
        left[top:bottom, start:end] = -1
    return corners


def cut(images: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """The patches, uint8 [n · looks, side, side], whose top and left pixel are `corners`, int
    [n, looks, 2], of images uint8 [n, rows, columns]."""
    return np.stack(
        [
            image[top : top + side, left : left + side]
            for image, own in zip(images, corners, strict=True)
            for top, left in own
        ]
    )


def close_up_side(longest: np.ndarray, size: int) -> np.ndarray:
    """Side of the square that shows a finding close up, float [n].

    longest: the longer side of its box, float [n]. size: side of a patch, to which it is brought.
    """
    return np.clip(CLOSE_UP * longest, size / 3, size * 2)


def close_up_squares(boxes: np.ndarray, size: int) -> np.ndarray:
    """Top, left and side of the squares that show findings close up, float [n, 3].

    boxes: left, top, right and bottom, float [n, 4]. size: side of a patch.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    span = close_up_side((high - low).max(axis=1), size)[:, None]
    return np.hstack([((low + high - span) / 2)[:, ::-1], span])


def middle_box(evidence: np.ndarray, boxes: np.ndarray, stride: float) -> np.ndarray:
    """The box of what lies in the middle of a patch: left, top, right and bottom, float [4].

    evidence: float [cells, cells]. boxes: float [4, cells, cells], distances from each cell's
    centre. Of the cells, the one counts whose evidence is highest, weighed by how near it is to
    the middle, with its neighbours.
    """
    cells = len(evidence)
    off = np.arange(cells) - (cells - 1) / 2
    near = np.exp(-((off / (cells * MIDDLE)) ** 2) / 2)
    seen = np.maximum(evidence, 1e-12) * near * near[:, None]  # of a black map, the middle
    row, column = np.unravel_index(seen.argmax(), evidence.shape)
    return box_at(evidence, boxes, stride, row, column)


def window(image: np.ndarray, top: float, left: float, span: float, side: int) -> np.ndarray:
    """A square of an image, `span` pixels wide, brought to `side` × `side`; black beyond its edges.

    image: uint8 [rows, columns]. top, left: its first row and column, which may lie outside.
    """
    first, begin = int(np.floor(top)), int(np.floor(left))
    if (first, begin, side) == (top, left, span):
        return _inside(image, first, begin, side)
    reach = int(np.ceil(span / side)) + 1  # beyond its edges, as far as the filter sees
    around = _inside(image, first - reach, begin - reach, int(np.ceil(span)) + 2 * reach + 1)
    box = np.array([left - begin, top - first] * 2) + reach + (0, 0, span, span)
    resized = Image.fromarray(around).resize(
        (side, side), Image.Resampling.BILINEAR, box=tuple(box.tolist())
    )
    return np.asarray(resized)


def _inside(image: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    seen = np.zeros((side, side), image.dtype)
    height, width = image.shape
    rows = slice(max(top, 0), min(top + side, height))
    columns = slice(max(left, 0), min(left + side, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        seen[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = (
            image[rows, columns]
        )
    return seen


def pasted(
    maps: np.ndarray,
    corners: np.ndarray,
    suspected: np.ndarray,
    evidence: np.ndarray,
    boxes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Evidence float32 [n, rows, columns] and boxes float32 [n, 4, rows, columns] of radiographs.

    maps: the first network's evidence [n, rows, columns]. corners: int [n, looks, 2]. suspected:
    probability of a fracture in each patch [n, looks]; evidence, boxes: the second network's
    [n, looks, cells, cells] and [n, looks, 4, cells, cells].
    A cell's evidence is the geometric mean of what both networks see there and of the patch's
    probability, the highest where patches overlap; where nobody looked closer it is 0.
    """
    found = np.zeros(maps.shape, np.float32)
    sides = np.ones((len(maps), 4, *maps.shape[1:]), np.float32)
    cells = evidence.shape[-1]
    for row, patch in np.ndindex(corners.shape[:2]):
        top, left = corners[row, patch]
        place = (slice(top, top + cells), slice(left, left + cells))
        both = evidence[row, patch] * suspected[row, patch] * maps[row][place]
        here = np.cbrt(both).astype(np.float32)
        higher = here > found[row][place]
        found[row][place][higher] = here[higher]
        sides[row][:, *place][:, higher] = boxes[row, patch][:, higher]
    return found, sides


def resampled(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps float32 [n, any, any] on a grid of `side` × `side` cells."""
    if maps.shape[1:] == (side, side):
        return maps
    images = [Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR) for one in maps]
    return np.stack([np.asarray(image) for image in images])
