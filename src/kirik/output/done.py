"""What an earlier run, that was stopped, wrote of an output: which files it has and where to go on.

A file's records stand together, in order, so that only the last file's may be incomplete, of an
output that was not written to its end.
"""

import csv
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import BinaryIO

import numpy as np


@dataclass
class Done:
    """The records that are kept of an output.

    keep: bytes up to the end of the last of them. rows: how many there are. files: of how many
    files. decisions: how many of each. failed: files or frames that could not be read; `unread`
    knows which. models: that read them. columns: of a table; None where it has none yet.
    digest: of the model's content; None where it is not known. finished: whether the run came to
    its end, so that there is no draft. sure: bytes of which a run that came to its end wrote all.
    seen: of which state all this is, see `files.seen_of`. escaped: whether its paths are a table's,
    in which a name that is not text looks as one that is called as it is escaped.
    """

    keep: int = 0
    rows: int = 0
    files: int = 0
    failed: int = 0
    decisions: Counter = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    columns: list[str] | None = None
    digest: str | None = None
    finished: bool = False
    sure: int = 0
    seen: tuple | None = None
    escaped: bool = False
    _unread: set[tuple[int, int]] = field(default_factory=set, repr=False)
    _frames: dict[int, list[int]] = field(default_factory=dict, repr=False)
    _hashes: array = field(default_factory=lambda: array("Q"), repr=False)
    _sorted: np.ndarray | None = field(default=None, repr=False)

    def add(self, path: str, row: dict) -> None:
        """Count a record that is kept."""
        self.rows += 1
        one, frame = self._hash(path), int(row.get("frame") or 0)
        self.files += not self._hashes or one != self._hashes[-1]
        self._hashes.append(one)
        frames = self._frames.setdefault(one, []) if frame else []
        if row.get("error"):
            self.failed += 1
            self._unread.add((one, frame))
        else:
            frames.append(frame)
            self.decisions[row["decision"]] += 1
            self.models.add(row["model"])

    @property
    def note(self) -> str | None:
        """What is told of a draft beside it, for `read_note`."""
        return self.digest and f"{self.digest} {self.sure}"

    def unread(self, path: str, frame: int | None) -> bool:
        """Whether a file, or this one of its frames, could not be read."""
        return (self._hash(path), frame or 0) in self._unread

    def frames_read(self, path: str) -> Sequence[int | None]:
        """Which frames of a file that has records could be read; None for the only one."""
        of_one = () if self.unread(path, None) else (None,)
        return self._frames.get(self._hash(path), of_one)

    def __contains__(self, source: object) -> bool:
        """Whether the records of a path are there. Hashes of 64 bits, as there may be millions."""
        if not self.rows:
            return False
        if self._sorted is None:
            self._sorted = np.sort(np.frombuffer(self._hashes, np.uint64))
        wanted = np.uint64(self._hash(str(source)))
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and bool(self._sorted[place] == wanted)

    def _hash(self, path: str) -> int:
        # As the output has a name that is not text.
        name = path.encode("utf-8", "backslashreplace" if self.escaped else "surrogatepass")
        return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def read_note(text: str) -> tuple[str | None, int]:
    """A draft's `digest` and `sure`, of its note."""
    digest, _, sure = text.partition(" ")  # once, the digest stood alone
    return digest or None, int(sure or 0)


def read_lines(
    file: Iterable[bytes], *, whole: bool = False, sure: int = 0, escaped: bool = False
) -> Done:
    """Of JSON with a record a line, as a list or not.

    whole: it was written to its end, so that no line is cut off. sure, escaped: see `Done`. Raises
    ValueError if it holds others.
    """
    return _kept(_json_rows(file, whole), Done(escaped=escaped), whole, sure)


def _json_rows(file: Iterable[bytes], whole: bool) -> Iterator[tuple[int, dict]]:
    end = 0
    for line in file:
        end += len(line)
        text = line.strip().rstrip(b",")
        if text in (b"", b"[", b"]", b"[]"):
            continue
        try:
            row = json.loads(text)
        except ValueError:
            if whole:
                raise
            return  # cut off in the middle
        yield end - len(line) + len(line.rstrip(b",\n")), row


def read_csv(file: BinaryIO, *, whole: bool = False, sure: int = 0) -> Done:
    """Of a CSV with a header. whole, sure: see `read_lines`. Raises ValueError if it holds
    others."""
    csv.field_size_limit(_LONGEST_FIELD)
    rows = _csv_rows(file, whole)
    header = next(rows, None)
    if header is None:
        return Done()
    end, columns = header
    named = ((place, dict(zip(columns, cells, strict=False))) for place, cells in rows)
    return _kept(named, Done(keep=end, columns=columns, escaped=True), whole, sure)


_LONGEST_FIELD = 2**31 - 1
"""Python's csv refuses fields of more than 128 KiB: an error that names a long path may be one."""


def _csv_rows(file: BinaryIO, whole: bool) -> Iterator[tuple[int, list[str]]]:
    end, text, width = 0, b"", None
    for line in file:
        text += line
        if text.count(b'"') % 2 or not text.endswith(b"\n"):
            continue  # a name with a line break in it, or cut off in the middle
        end += len(text)
        try:
            [cells] = csv.reader([text.decode("utf-8", "replace")])
        except csv.Error as error:
            raise ValueError(str(error)) from error
        width = width or len(cells)
        if len(cells) != width:
            if whole:
                raise ValueError(f"{len(cells)} cells, not {width}")
            return
        yield end, cells
        text = b""
    if whole and text:
        raise ValueError("no line's end after the last row")


def _kept(rows: Iterator[tuple[int, dict]], done: Done, whole: bool, sure: int) -> Done:
    """Count all rows, but of an output that was not written to its end those of the last file, if
    it is one of several frames and they are not sure to be all."""
    waiting: list[tuple[int, dict]] = []
    for row in rows:
        _require_record(row[1])
        if waiting and waiting[-1][1]["path"] != row[1]["path"]:
            _keep(done, waiting)
            waiting = []
        waiting.append(row)
    if waiting and (whole or waiting[-1][0] <= sure or not waiting[-1][1].get("frame")):
        _keep(done, waiting)
    return done


def _require_record(row: object) -> None:
    if not isinstance(row, dict):
        raise ValueError("no object")
    told = ("path", "error") if row.get("error") else ("path", "decision", "model")
    if not all(isinstance(row.get(name), str) for name in told):
        raise ValueError("no record of a reading")


def _keep(done: Done, rows: list[tuple[int, dict]]) -> None:
    for end, row in rows:
        done.add(row["path"], row)
        done.keep = end
