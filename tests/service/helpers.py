"""What tests hand in and have read."""

import io
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event

from kirik.service import intake
from kirik.service.core import Core
from kirik.service.worker import Worker


def png(level: float, tag: int = 0, shape: tuple[int, int] = (96, 96)) -> bytes:
    """A film whose reading is known by its level; another tag makes other bytes of it."""
    middle = round(level * 255)
    apart = min(16, middle, 255 - middle)
    pixels = np.full(shape, middle, np.uint8)
    pixels[:, : shape[1] // 2] -= apart
    pixels[:, -(shape[1] // 2) :] += apart
    for bit in range(16):
        pixels[0, bit] ^= tag >> bit & 1
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upload(name: str, content: bytes) -> intake.Upload:
    return intake.Upload(name, io.BytesIO(content))


def hand_in(core: Core, *contents: bytes, by: str = "ct", name: str = "film") -> list[str]:
    """Take files in, which must all be accepted; the studies' ids."""
    uploads = [upload(f"{name}{n}.png", one) for n, one in enumerate(contents)]
    taken = intake.take_in(core, uploads, by)
    assert not taken.refused
    return [one.study_id for one in taken.accepted]


def read_all(core: Core) -> int:
    """Have a worker read all that waits."""
    return Worker(core).run(threading.Event(), until_idle=True)


@contextmanager
def statements_of(core: Core) -> Iterator[list[str]]:
    """What is asked of the database meanwhile, from "BEGIN" on."""
    asked: list[str] = []

    def note(_connection, _cursor, statement: str, *_) -> None:
        asked.append(statement)

    event.listen(core.database.engine, "before_cursor_execute", note)
    yield asked
    event.remove(core.database.engine, "before_cursor_execute", note)


@contextmanager
def disk_of(place: Path, mebibytes: int) -> Iterator[Path]:
    """A new folder on a disk of its own that is so large; skips where none may be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk takes root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
