"""A cache in which each radiograph is decoded once: uint8 memory maps beside the data.

A decode per epoch starves a network; a memory map costs one byte a pixel, is shared by all
processes, and holds the same bytes that a reading computes from the file.
"""

import glob
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from kirik.dataset.index import Record, box_around, box_corners, overlaps
from kirik.errors import DataSetError, RadiographError
from kirik.files import read_file
from kirik.preprocessing import Preprocessing
from kirik.radiograph import DEFAULT_LIMITS, Radiograph, decode_radiograph, to_upright

FORMAT = 7
MASK_STRIDE = 4
OUTLINES, CORNERS = 8, 24
"""At most so many fractures of a radiograph, and points of each outline, are kept."""
RETRY_AFTER = 300.0
"""Seconds after which what could not be read is tried again. Not at once: the processes of a
training open one cache one after another, and must all see the same."""
_ARRAYS = ("images", "masks", "outlines")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Cache:
    """Decoded radiographs of a data set.

    ids: of each row of the arrays, in the records' order; None where it could not be read.
    images: uint8 [n, size, size], the networks' input.
    masks: uint8 [n, size / 4, size / 4], 255 where a fracture is marked.
    outlines: float32 [n, 8, 24, 2], the corners (x, y) of each marked fracture, in input pixels;
        NaN for what there is not.
    hashes: SHA-256 of each row's file's bytes; None where it could not be read.
    failures: id → why it could not be read.
    """

    ids: tuple[str | None, ...]
    images: np.ndarray
    masks: np.ndarray
    outlines: np.ndarray
    hashes: tuple[str | None, ...]
    failures: dict[str, str]

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Row of each id; ids that could not be read are left out."""
        row = {image_id: i for i, image_id in enumerate(self.ids)}
        return np.array([row[i] for i in ids if i in row], dtype=np.int64)


def default_cache_directory() -> Path:
    """`$KIRIK_CACHE`, else `kirik` in the user's cache folder."""
    if "KIRIK_CACHE" in os.environ:
        return Path(os.environ["KIRIK_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "kirik"


def open_cache(
    records: Sequence[Record],
    preprocessing: Preprocessing,
    *,
    directory: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Cache:
    """The decoded records: from the cache if these very files are there, else decoded and kept.

    Those that could not be read (a disk may fail, or memory be short) are tried again in a later
    call, `RETRY_AFTER` seconds on; each has its row from the beginning, so that others keep theirs.
    Raises DataSetError if no record can be read or the disk has no room for the cache.
    """
    directory = directory or default_cache_directory()
    target = directory / _key(records, preprocessing)
    if not (target / "cache.json").is_file():
        with _alone(target) as alone:
            if not (target / "cache.json").is_file():
                _build(records, preprocessing, target, workers, progress, alone)
    elif _is_due(target):
        with _alone(target), suppress(OSError):  # one that cannot be written to is used as it is
            if _is_due(target):
                _fill(target, _facts(target), records, preprocessing, workers, progress)
    facts = _facts(target)
    arrays = (np.load(target / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    return Cache(tuple(facts["ids"]), *arrays, tuple(facts["hashes"]), facts["failures"])


def _facts(target: Path) -> dict:
    return json.loads((target / "cache.json").read_text(encoding="utf-8"))


def _is_due(target: Path) -> bool:
    """Whether what could not be read is to be tried again: its last try was a while ago."""
    tried = (target / "cache.json").stat().st_mtime
    return (
        time.time() - tried >= RETRY_AFTER
        and bool(_facts(target)["failures"])
        and os.access(target, os.W_OK)
    )


def _key(records: Sequence[Record], preprocessing: Preprocessing) -> str:
    """A name that changes with any file, box or setting that the cached bytes depend on."""
    said = json.dumps(asdict(preprocessing), separators=(",", ":"))
    digest = hashlib.sha256(f"{FORMAT} {said}".encode())
    for record in records:
        stat = record.path.stat()
        facts = (record.id, str(record.path), stat.st_size, stat.st_mtime_ns, record.boxes)
        digest.update(repr((*facts, record.polygons)).encode())
    return f"{preprocessing.size}-{digest.hexdigest()[:20]}"


@contextmanager
def _alone(target: Path) -> Iterator[bool]:
    """While no other process makes the same cache, so that several which begin at once decode once;
    where the system has no such locks, beside it, and False."""
    # The lock's file stays: who waits for one that is gone would be alone beside the next to come.
    lock = target.parent / f".{target.name}.lock"
    alone = False
    with ExitStack() as held:
        with suppress(ImportError, OSError):
            import fcntl

            target.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(lock.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        yield alone


def _build(
    records, preprocessing, target: Path, workers: int | None, progress, alone: bool
) -> None:
    """Decode into a temporary folder beside `target` and rename it when it is complete. alone:
    whether others of this machine, which a process that was killed left behind, can be removed."""
    work, prefix = None, f".building-{target.name}-{platform.node()}-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f"{glob.escape(prefix)}*") if alone else ():
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        facts = _lay_out(work, len(records), preprocessing.size)
        _fill(work, facts, records, preprocessing, workers, progress)
        if not any(facts["ids"]):  # not kept: what is wrong is likely to be mended, and soon
            reason = next(iter(facts["failures"].values()), "no records")
            raise DataSetError(
                f"none of the {len(records)} radiographs can be read; first: {reason}"
            )
        try:
            work.rename(target)
        except OSError:
            if not (target / "cache.json").is_file():  # else another process was faster
                raise
    except OSError as error:
        raise DataSetError(
            f"{target.parent}: cannot write the cache ({error.strerror}); "
            "make room, or name another folder in KIRIK_CACHE"
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def _lay_out(work: Path, count: int, size: int) -> dict:
    """Make arrays with a row for each record, and the facts of a cache in which none is read."""
    _allocate(work / "images.npy", (count, size, size))
    _allocate(work / "masks.npy", (count, size // MASK_STRIDE, size // MASK_STRIDE))
    np.save(work / "outlines.npy", np.full((count, OUTLINES, CORNERS, 2), np.nan, np.float32))
    return {"ids": [None] * count, "hashes": [None] * count, "failures": {}}


def _fill(folder: Path, facts: dict, records, preprocessing, workers: int | None, progress) -> None:
    """Decode the records that a cache lacks, each into its row, and write down what became of it.

    The rest is left alone, and the facts are written last: who uses the cache meanwhile sees it as
    it was.
    """
    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r+") for name in _ARRAYS]
    rows = [row for row, image_id in enumerate(facts["ids"]) if image_id is None]
    # Threads are enough: Pillow and numpy let go of the interpreter while they decode.
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        lacking = (records[row] for row in rows)
        decoded = _ahead(pool, partial(_decode, preprocessing=preprocessing), lacking)
        for done, (row, result) in enumerate(zip(rows, decoded, strict=True), start=1):
            image_id = records[row].id
            if isinstance(result, str):
                facts["failures"][image_id] = result
            else:
                *pictures, facts["hashes"][row] = result
                for array, picture in zip(arrays, pictures, strict=True):
                    array[row] = picture
                facts["ids"][row] = image_id
                facts["failures"].pop(image_id, None)
            if progress:
                progress(done, len(rows))
    for array in arrays:
        array.flush()
    written = folder / f".cache.json.{os.getpid()}"
    written.write_text(json.dumps(facts), encoding="utf-8")
    written.replace(folder / "cache.json")


def _ahead(pool: ThreadPoolExecutor, function, items: Iterable, depth: int = 64) -> Iterator:
    """Results in order, at most `depth` of them held: `pool.map` would hold them all."""
    begun: deque[Future] = deque()
    for item in items:
        begun.append(pool.submit(function, item))
        if len(begun) > depth:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _allocate(path: Path, shape: tuple[int, ...]) -> None:
    """Write a new uint8 array of zeros, whose room on disk is taken now.

    Writing to a sparse map on a full disk would kill the process with SIGBUS.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        else:
            file.seek(array.offset)
            for _ in range(shape[0]):
                file.write(bytes(shape[1] * shape[2]))


def _decode(record: Record, preprocessing: Preprocessing):
    """(image, mask, outlines, SHA-256) of a record, or the reason why it cannot be read."""
    try:
        content = read_file(record.path, DEFAULT_LIMITS.file_bytes)
        radiograph = decode_radiograph(content, str(record.path))
    except RadiographError as error:
        return str(error)
    outlines = fracture_outlines(record, radiograph, preprocessing)
    mask = fracture_mask(outlines, preprocessing)
    digest = hashlib.sha256(content).hexdigest()
    return preprocessing.apply(radiograph), mask, _padded(outlines), digest


def fracture_outlines(
    record: Record, radiograph: Radiograph, preprocessing: Preprocessing
) -> list[np.ndarray]:
    """The record's fractures in the network's input: corners float [k, 2] each.

    Polygons where there are some, else boxes; none that lie wholly outside the radiograph.
    """
    rows, columns = radiograph.stored_size
    outlines = [
        np.reshape(polygon, (-1, 2))
        for polygon in record.polygons
        if overlaps(box_around([polygon]), columns, rows)
    ]
    outlines = outlines or [
        np.reshape(box_corners(box), (-1, 2))
        for box in record.boxes
        if overlaps(box, columns, rows)
    ]
    (down, across), top, left = preprocessing.placement(*radiograph.pixels.shape, radiograph.aspect)
    return [
        to_upright(outline, radiograph.orientation, radiograph.stored_size) * (across, down)
        + (left, top)
        for outline in outlines
    ]


def fracture_mask(outlines: Sequence[np.ndarray], preprocessing: Preprocessing) -> np.ndarray:
    """Outlined fractures as uint8 [size / 4, size / 4], 255 inside."""
    side = preprocessing.size // MASK_STRIDE
    # Drawn at the input's size and averaged, so that a fracture thinner than a cell leaves a trace.
    canvas = Image.new("L", (side * MASK_STRIDE, side * MASK_STRIDE))
    draw = ImageDraw.Draw(canvas)
    for outline in outlines:
        draw.polygon([tuple(point) for point in outline], fill=255)
    return np.asarray(canvas.reduce(MASK_STRIDE))


def _padded(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Outlines as float32 [OUTLINES, CORNERS, 2]; the largest, where there are more."""
    kept = sorted(outlines, key=lambda corners: -float(np.prod(np.ptp(corners, axis=0))))
    table = np.full((OUTLINES, CORNERS, 2), np.nan, np.float32)
    for row, corners in zip(table, kept, strict=False):
        # The outermost corners first: they are what a box is made of.
        outermost = np.concatenate([corners.argmin(axis=0), corners.argmax(axis=0)])
        others = np.linspace(0, len(corners) - 1, CORNERS - len(outermost)).round().astype(int)
        row[:] = corners[np.concatenate([outermost, others])]
    return table


def data_hash(cache: Cache, records: Sequence[Record], classes: Sequence[str]) -> str:
    """One SHA-256 for these records, at whatever size they are cached: ids, names of their classes,
    the files' bytes, boxes and outlines. cache: holds them all."""
    return hash_of(dict(zip(cache.ids, cache.hashes, strict=True)), records, classes)


def hash_of(hashes: Mapping[str, str], records: Sequence[Record], classes: Sequence[str]) -> str:
    """The same, of files of which no cache is needed. hashes: SHA-256 of each, by id."""
    lines = []
    for record in records:
        marked = json.dumps((record.boxes, record.polygons))
        lines.append(f"{record.id} {classes[record.label]} {hashes[record.id]} {marked}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
