"""One look for every page that kirik writes: a template, its language, pictures inside the file.

A page has no outside links: pictures become data URIs, styles stand in the template.
"""

import base64
import io
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

LANGUAGES = ("en", "tr")

_environment = Environment(
    loader=PackageLoader("kirik"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_page(path: Path, template: str, language: str, **values) -> None:
    """Fill `template` (a file in kirik/templates) and write it as UTF-8."""
    text = _environment.get_template(template).render(language=language, **values)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as a data URI, so that a page carries its own pictures."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def thumbnail_uri(pixels: np.ndarray, side: int = 240) -> str:
    """Grayscale float32 [rows, columns] in 0…1, or uint8 RGB, as the data URI of a JPEG."""
    levels = pixels if pixels.dtype == np.uint8 else np.round(np.clip(pixels, 0, 1) * 255)
    image = Image.fromarray(levels.astype(np.uint8))
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return data_uri(buffer.getvalue(), "image/jpeg")
