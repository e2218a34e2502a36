"""Images whose likeness is known, and indexes of them, for the tests of the audit."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from kirik.dataset.index import Index, Record

CLASSES = ("fractured", "not_fractured")


def scene(seed: int, rows: int = 150, columns: int = 120) -> np.ndarray:
    """uint8 [rows, columns]: a smooth random field, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).uniform(0.15, 0.95, (6, 5)).astype(np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC))
    return np.clip(field * 255, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int = 90, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, **options)
    return buffer.getvalue()


def save(path: Path, content: np.ndarray | bytes, **options) -> Path:
    """Bytes as they are; pixels in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path, **options)
    return path


def record(path: Path, label: int = 1, **known) -> Record:
    return Record(path.name, path, label, **known)


def index_of(root: Path, records, *, classes=CLASSES, negative=1, kind="csv", defects=()) -> Index:
    return Index(root, kind, tuple(classes), negative, tuple(records), tuple(defects))
