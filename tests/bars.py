"""Images with bright bars in them, and what a cache says of where these are."""

import numpy as np


def with_fractures(images: np.ndarray, boxes: dict[int, tuple], level: int) -> tuple:
    """Images with a bar each, their masks and their outlines, as `kirik.dataset.cache.Cache` has
    them.

    images: uint8 [n, side, side]. boxes: row → left, top, right, bottom. level: of the bars.
    """
    count, side = images.shape[:2]
    images, masks = images.copy(), np.zeros((count, side // 4, side // 4), np.uint8)
    outlines = np.full((count, 8, 24, 2), np.nan, np.float32)
    for row, (left, top, right, bottom) in boxes.items():
        images[row, top:bottom, left:right] = level
        first = top // 4
        masks[row, first : first + (bottom - top) // 4, left // 4 : right // 4] = 255
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        outlines[row, 0] = np.resize(corners, (24, 2))
    return images, masks, outlines
