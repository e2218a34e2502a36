"""The facts of each file of a data set: its bytes, its header, and how its radiograph looks.

Every file is decoded once, in worker processes, by the same decoder that training and reading
use. A file that cannot be decoded keeps its reason; a file that kills its worker costs no other.
"""

import hashlib
import io
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import connection
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from kirik.dataset.groups import OF_PATIENT, UNKNOWN
from kirik.dataset.index import Index, Record
from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES, kind_of, read_file
from kirik.quiet import quiet_decoding
from kirik.radiograph import DEFAULT_LIMITS, decode_radiograph

THUMBNAIL_SIDE = 48
COMMON_SIDE = 256
"""Longer side at which brightness, contrast and sharpness are measured, so that sizes compare."""
BLACK = 8 / 255
_NOBODY = re.compile(
    rf"[0x*_.? -]*|({UNKNOWN}|test|(({UNKNOWN})[_. -]*)?(patient|hasta))[0x*_. -]*", re.IGNORECASE
)
"""What stands in place of a patient's id in DICOM where somebody took it away. A table's patient 0
is one."""


@dataclass(frozen=True, eq=False)
class FileFacts:
    """What one file says about itself; fields of the pixels are None where it was not decoded.

    problem: None if the file decodes, else the reason of the RadiographError (`truncated`, …), or
        `kills_decoder`.
    bytes, sha256: of the whole file; 0 and None if it is empty or cannot be opened.
    rows, columns: size as stored, before any turn; orientation: EXIF orientation 1…8.
    jpeg: estimated JPEG quality, or a digest of the quantization tables where they are not the
        standard ones; None for other formats.
    pixel_hash: hash of the upright grayscale radiograph at full size.
    thumbnail: float32 [48, 48] in 0…1, the upright radiograph without its aspect ratio.
    sharpness: standard deviation of the Laplacian over that of the pixels, at 256 pixels.
    black_border: share of the area in wholly black rows and columns at the four sides.
    missing_share: for a truncated file, the share of its rows that a lenient decoder fills.
    whose: digests of a DICOM file's study and patient, by which those of one know each other.
    """

    id: str
    bytes: int = 0
    sha256: str | None = None
    problem: str | None = None
    format: str | None = None
    mode: str | None = None
    rows: int | None = None
    columns: int | None = None
    orientation: int = 1
    jpeg: str | None = None
    pixel_hash: str | None = None
    thumbnail: np.ndarray | None = None
    mean: float | None = None
    contrast: float | None = None
    sharpness: float | None = None
    black_border: float | None = None
    missing_share: float | None = None
    whose: tuple[str, ...] = ()

    @property
    def decoded(self) -> bool:
        return self.problem is None


def inspect_files(
    index: Index,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileFacts]:
    """Facts of every record's file, in the order of `index.records`. Never raises for a bad file.

    workers: processes; None takes one per processor, 0 works in this process.
    progress: called as (done, total) after each file.
    """
    records = index.records
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    done: dict[str, FileFacts] = {}
    for facts in _each(records, min(workers, len(records))):
        done[facts.id] = facts
        if progress:
            progress(len(done), len(records))
    return [done[record.id] for record in records]


def _each(records: Iterable[Record], workers: int) -> Iterator[FileFacts]:
    """Facts in the order in which workers finish."""
    tasks = [(record.id, record.path) for record in records]
    if workers > 0 and _can_spawn():
        yield from _in_processes(tasks, workers)
    else:
        yield from (inspect_file(*task) for task in tasks)


def _can_spawn() -> bool:
    """Whether worker processes start at all; they do not under a script without a main guard."""
    try:
        with _pool(1) as pool:
            return pool.submit(os.getpid).result() > 0
    except (BrokenProcessPool, OSError):
        return False


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: a fork inherits the locks of torch's and OpenMP's threads.
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent)


def end_with_parent() -> None:
    """Have this process, which another one started, end when that one is killed: it would wait for
    work, or work, without end, and the next call would meet it."""
    parent = multiprocessing.parent_process().sentinel

    def watch() -> None:
        connection.wait([parent])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_processes(tasks: list[tuple[str, Path]], workers: int) -> Iterator[FileFacts]:
    """Few tasks at a time, so that a dead worker leaves few suspects; those then go one by one."""
    left = iter(tasks)
    while True:
        suspects: list[tuple[str, Path]] = []
        yield from _until_broken(left, workers, suspects)
        if not suspects:
            return
        for task in suspects:
            yield _alone(task)


def _until_broken(
    left: Iterator[tuple[str, Path]], workers: int, suspects: list[tuple[str, Path]]
) -> Iterator[FileFacts]:
    """Facts of what is `left`, until a worker dies: what it took along is added to `suspects`."""
    running: dict[tuple[str, Path], Future | None] = {}
    with _pool(workers) as pool:
        try:
            while True:
                while len(running) < 2 * workers and (task := next(left, None)):
                    running[task] = None
                    running[task] = pool.submit(inspect_file, *task)
                if not running:
                    return
                wait(running.values(), return_when=FIRST_COMPLETED)
                for task in [task for task, future in running.items() if future.done()]:
                    facts = running[task].result()
                    del running[task]
                    yield facts
        except BrokenProcessPool:
            suspects.extend(running)


def _alone(task: tuple[str, Path]) -> FileFacts:
    """Facts of one file in a process of its own; one that dies again is the file's own doing."""
    try:
        with _pool(1) as pool:
            return pool.submit(inspect_file, *task).result()
    except BrokenProcessPool:
        return FileFacts(task[0], problem="kills_decoder")


def inspect_file(record_id: str, path: Path) -> FileFacts:
    """Facts of one file; what cannot be known of it stays at its default."""
    try:
        content = read_file(path, DEFAULT_LIMITS.file_bytes)
    except RadiographError as error:
        return FileFacts(record_id, problem=error.reason)
    facts = FileFacts(record_id, len(content), hashlib.sha256(content).hexdigest())
    facts = replace(facts, **_header(content), whose=whose(content))
    try:
        radiograph = decode_radiograph(content, str(path))
    except RadiographError as error:
        missing = missing_share(content) if error.reason == "truncated" else None
        return replace(facts, problem=error.reason, missing_share=missing)
    except Exception:  # an audit of thousands outlives what no decoder promised for one of them
        return replace(facts, problem="kills_decoder")
    rows, columns = radiograph.stored_size
    return replace(
        facts,
        format=radiograph.format,
        mode=radiograph.mode,
        rows=rows,
        columns=columns,
        orientation=radiograph.orientation,
        **_appearance(radiograph.pixels),
    )


def whose(content: bytes) -> tuple[str, ...]:
    """Digests of the ids of a study and a patient that a DICOM file names; none for other files.

    Digests, since nobody needs the ids themselves; a patient's begins with `OF_PATIENT`.
    """
    if kind_of(content[:HEAD_BYTES]) != "DICOM":
        return ()
    from kirik.dicom.identity import identity  # pydicom takes as long to import as all else here

    try:
        with quiet_decoding():
            found = identity(content, "", DEFAULT_LIMITS)
    except RadiographError:
        return ()
    nobody = _NOBODY.fullmatch(found.patient_id or "")
    ids = (("study ", found.study_uid), (OF_PATIENT, None if nobody else found.patient_id))
    return tuple(
        kind + hashlib.blake2b(value.encode("utf-8", "replace"), digest_size=16).hexdigest()
        for kind, value in ids
        if value
    )


def _header(content: bytes) -> dict:
    """What the header alone says; it is often whole where the pixels are not."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            turn = image.getexif().get(0x0112, 1)
            return {
                "format": image.format,
                "mode": image.mode,
                "rows": image.height,
                "columns": image.width,
                "orientation": turn if turn in range(1, 9) else 1,
                "jpeg": _jpeg_tables(getattr(image, "quantization", None)),
            }
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {}


def _jpeg_tables(tables: dict[int, list[int]] | None) -> str | None:
    """JPEG quality if the luminance table is the standard's at some quality, else its digest."""
    if not tables:
        return None
    luminance = sorted(tables[min(tables)])
    for quality in range(100, 0, -1):
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        if luminance == sorted(min(255, max(1, int((q * scale + 50) / 100))) for q in _LUMINANCE):
            return str(quality)
    return "tables " + hashlib.sha256(bytes(min(q, 255) for q in luminance)).hexdigest()[:6]


# ITU-T T.81, Annex K, table K.1; only its values matter here, not their order.
_LUMINANCE = [
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57),
    *(69, 56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64),
    *(81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
]


def _appearance(pixels: np.ndarray) -> dict:
    levels = np.round(np.clip(pixels, 0, 1) * 65535).astype("<u2")
    shape = np.array(pixels.shape, "<i8").tobytes()
    scale = COMMON_SIDE / max(pixels.shape)
    common = _resized(pixels, *(max(3, round(side * scale)) for side in pixels.shape))
    contrast = float(common.std())
    return {
        "pixel_hash": hashlib.blake2b(shape + levels.tobytes(), digest_size=16).hexdigest(),
        "thumbnail": _resized(common, THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        "mean": float(common.mean()),
        "contrast": contrast,
        "sharpness": float(_laplacian(common).std()) / contrast if contrast > 1e-6 else 0.0,
        "black_border": black_border(common),
    }


def _resized(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX))


def _laplacian(pixels: np.ndarray) -> np.ndarray:
    centre = pixels[1:-1, 1:-1]
    return pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:] - 4 * centre


def black_border(pixels: np.ndarray) -> float:
    """Share of a radiograph's area outside the smallest rectangle that holds all that is lit."""
    lit = pixels > BLACK
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    if rows.size == 0:
        return 1.0
    inside = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return 1 - float(inside) / pixels.size


def missing_share(content: bytes) -> float | None:
    """Share of rows that a lenient decoder makes up for a truncated file: the gray band.

    libjpeg fills what is missing with middle gray, Pillow's other decoders leave it black. None
    if not even the lenient decoder gets anything.
    """
    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        with Image.open(io.BytesIO(content)) as image:
            fill = 128 if isinstance(image, JpegImagePlugin.JpegImageFile) else 0
            levels = np.asarray(image.convert("L"), dtype=np.int16)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient
    kept = np.flatnonzero((np.abs(levels - fill) > 2).any(1))
    return 1 - (int(kept[-1]) + 1 if kept.size else 0) / len(levels)
