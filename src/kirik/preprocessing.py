"""A radiograph into a network's input: the same steps in the training cache and in a reading.

The result is uint8, so that a decoded radiograph costs one byte a pixel on disk and a cached
one is the same, to the bit, as one read from its file. Scaling to floats happens in the graph.
"""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from kirik.radiograph import Radiograph


class Preprocessing(BaseModel):
    """How a radiograph is brought to the input's size: a setting that travels with the bundle.

    size: side of the square input, in pixels.
    fit: letterbox keeps the aspect ratio, centres, and fills with black.
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
        levels = np.clip(np.asarray(resized) * 255 + 0.5, 0, 255)
        canvas[top : top + height, left : left + width] = levels.astype(np.uint8)
        return canvas
