"""A radiograph into a network's input: the same steps in the training cache and in a reading.

The result is uint8, so that a decoded radiograph costs one byte a pixel on disk and a cached
one is the same, to the bit, as one read from its file. Scaling to floats happens in the graph.
"""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from kirik.radiograph import Radiograph

WHITE, EVERYWHERE = 0.9, 0.95
LEAST_MARGIN, PENUMBRA, MOST_MARGIN = 0.02, 0.04, 0.45
"""Shares: of the brightest level, of a line's pixels, and of the radiograph's side."""


def darken_unexposed(pixels: np.ndarray) -> np.ndarray:
    """Margins that the collimator kept from exposure, black instead of white.

    Film shows them white, and most systems mask them black before they hand a radiograph on. Those
    that do not would show a network two bright bars unlike anything it was trained on. A margin is
    lines from an edge on that are white nearly everywhere, at least 2 % of the side, with up to 4 %
    of blurred border after them; what is white on more than 45 % of the side is no margin.
    pixels: float32 [rows, columns] in 0…1, upright. Returns them, or a copy with dark margins.
    """
    result = pixels
    for quarter in range(4):
        lines = np.rot90(pixels, quarter)
        white = (lines > WHITE).mean(axis=1) >= EVERYWHERE
        count = len(white) if white.all() else int(white.argmin())
        side = len(lines)
        if not LEAST_MARGIN * side <= count <= MOST_MARGIN * side:
            continue
        end = count + int(PENUMBRA * side) + 1
        bright = np.median(lines[count:end], axis=1) > WHITE / 2
        count += len(bright) if bright.all() else int(bright.argmin())
        result = result.copy() if result is pixels else result
        np.rot90(result, quarter)[:count] = 0
    return result


class Preprocessing(BaseModel):
    """How a radiograph is brought to the input's size: a setting that travels with the bundle.

    size: side of the square input, in pixels.
    fit: letterbox keeps the aspect ratio, centres, and fills with black. Unexposed margins are
        made black, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=320, ge=32, le=2048)
    fit: Literal["letterbox"] = "letterbox"

    def placement(self, rows: int, columns: int) -> tuple[float, int, int]:
        """Scale, top and left (input pixels) of a `rows` × `columns` radiograph in the input."""
        scale = self.size / max(rows, columns)
        height = max(1, round(rows * scale))
        width = max(1, round(columns * scale))
        return scale, (self.size - height) // 2, (self.size - width) // 2

    def apply(self, radiograph: Radiograph) -> np.ndarray:
        """The input of a radiograph: uint8 [size, size]."""
        rows, columns = radiograph.pixels.shape
        scale, top, left = self.placement(rows, columns)
        height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
        # Pillow's bilinear filter widens with the reduction, so it averages all source pixels.
        resized = Image.fromarray(radiograph.pixels).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        canvas = np.zeros((self.size, self.size), np.uint8)
        levels = np.clip(darken_unexposed(np.asarray(resized)) * 255 + 0.5, 0, 255)
        canvas[top : top + height, left : left + width] = levels.astype(np.uint8)
        return canvas
