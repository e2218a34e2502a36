"""Files as they come in by HTTP: a multipart body streamed into one file without a name.

Held in memory is a megabyte at most, whatever is sent. A part's type is judged by its first bytes,
its size as it grows: what is refused is not kept, and the rest of the upload goes on. The file has
no name, so that nothing of it stays behind however the process ends.
"""

import asyncio
import io
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from kirik.errors import RadiographError
from kirik.files import HEAD_BYTES, READABLE, kind_of
from kirik.service.api.problems import Problem
from kirik.service.intake import Refused, Upload
from kirik.service.refusals import StorageFull
from kirik.service.settings import MIB, ServiceSettings

_IN_MEMORY = MIB
_PATIENCE = 60
"""Seconds that the next bytes of a body may take."""


def multipart(name: str, schema: dict) -> dict:
    """What OpenAPI says of a request whose body is a form with one field."""
    form = {"type": "object", "required": [name], "properties": {name: schema}}
    content = {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


@dataclass
class Received:
    """The files of one request, and those that were refused at once."""

    uploads: list[Upload] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class Accepts:
    """What may come: kinds as `kirik.files.kind_of` names them, and how large each."""

    most_bytes: dict[str, int]
    most_files: int

    @classmethod
    def radiographs(cls, settings: ServiceSettings) -> "Accepts":
        """Radiographs, and zips of them."""
        sizes = dict.fromkeys(READABLE, settings.most_file_bytes)
        return cls(sizes | {"ZIP": settings.most_zip_bytes}, settings.most_files)

    @classmethod
    def one_zip(cls, most_bytes: int) -> "Accepts":
        """A zip, and nothing else."""
        return cls({"ZIP": most_bytes}, 1)


@asynccontextmanager
async def received(
    request: Request, settings: ServiceSettings, accepts: Accepts
) -> AsyncIterator[Received]:
    """Take in a multipart body; its files can be read until the block ends.

    Raises Problem for what is no such body, is broken off, or brings more files than it may;
    StorageFull where the disk has no room for it.
    """
    parser_of = _boundary(request)
    _check_room(request, settings)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=settings.data) as spool:
        parts = _Parts(spool, accepts)
        parser = MultipartParser(parser_of, parts.callbacks())
        try:
            async for chunk in _patient(request):
                parser.write(chunk)
                if parts.pending > _IN_MEMORY // 4:
                    await parts.written()
            parser.finalize()
            await parts.written()
        except FormParserError as error:
            raise Problem(400, "not a whole multipart body; send it again") from error
        except OSError as error:
            raise StorageFull("the disk is full; nothing was kept") from error
        if parts.open:
            raise Problem(400, "the body was broken off; send it again")
        yield parts.received()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Problem(415, "send the files as multipart/form-data, in fields named files")
    if not options.get(b"boundary"):
        raise Problem(400, "the Content-Type names no boundary")
    if len(options[b"boundary"]) > 70:
        raise Problem(400, "the boundary is longer than it may be")
    return options[b"boundary"]


def _check_room(request: Request, settings: ServiceSettings) -> None:
    length = request.headers.get("content-length", "0")
    needed = int(length) if length.isdecimal() else 0
    if needed + settings.least_free_bytes > shutil.disk_usage(settings.data).free:
        raise StorageFull("the disk has no room for it; nothing was kept")


async def _patient(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; refused where nothing comes for long."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_PATIENCE):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Problem(408, "nothing came for a minute; send it again", "too_slow") from None
        if chunk is None:
            return
        yield chunk


@dataclass
class _Part:
    """One part of the body, as far as it came. error: why it is not kept."""

    header: bytes = b""
    disposition: bytes = b""
    head: bytearray = field(default_factory=bytearray)
    kind: str | None = None
    start: int = 0
    size: int = 0
    is_file: bool = False
    name: str = ""
    error: RadiographError | None = None


class _Parts:
    """Told by the parser what it finds; keeps files' bytes in the spool."""

    def __init__(self, spool: BinaryIO, accepts: Accepts):
        self._spool, self._accepts = spool, accepts
        self._files: list[_Part] = []
        self._now, self._value, self._waiting, self._end = _Part(), b"", bytearray(), 0
        self.open = True

    def callbacks(self) -> dict:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._all,
        }

    @property
    def pending(self) -> int:
        """Bytes that are not in the spool yet."""
        return len(self._waiting)

    async def written(self) -> None:
        """Put what waits into the spool. Raises OSError where the disk refuses."""
        if self._end <= _IN_MEMORY:  # it never comes to the disk: not worth a thread's turn
            self._write()
        else:
            await run_in_threadpool(self._write)

    def _write(self) -> None:
        self._spool.write(self._waiting)
        self._waiting = bytearray()

    def received(self) -> Received:
        """What came, once all of it is in the spool."""
        found = Received()
        for part in self._files:
            if part.error is None:
                window = io.BufferedReader(_Window(self._spool, part.start, part.size))
                found.uploads.append(Upload(part.name, window))
            else:
                found.refused.append(Refused(part.name, part.error.reason, str(part.error)))
        return found

    def _begin(self) -> None:
        self._now, self._value = _Part(start=self._end), b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._now.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._now.header.lower() == b"content-disposition":
            self._now.disposition = self._value
        self._now.header = self._value = b""

    def _headers_finished(self) -> None:
        part = self._now
        _, options = parse_options_header(part.disposition)
        part.is_file = b"filename" in options or options.get(b"name") in (b"files", b"file")
        part.name = _plain_name(options.get(b"filename", b""))
        if part.is_file:
            self._files.append(part)
            if len(self._files) > self._accepts.most_files:
                most = f"more than {self._accepts.most_files:,} at once"
                raise Problem(413, f"{most}; send fewer at a time", "too_many_files")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._now
        if not part.is_file or part.error:
            return
        part.size += end - start
        if part.kind is None:
            part.head += data[start:end]
            if len(part.head) >= HEAD_BYTES:
                self._judge(part)
            return
        self._keep(part, data[start:end])

    def _judge(self, part: _Part) -> None:
        """Look at the first bytes: what is no kind that may come is not kept."""
        kind = kind_of(bytes(part.head[:HEAD_BYTES]))
        if not part.head:
            what = f"{part.name}: empty (0 bytes); copy it again"
            part.error = RadiographError(what, reason="empty")
        elif kind not in self._accepts.most_bytes:
            part.error = _wrong_kind(part.name, kind, self._accepts)
        else:
            part.kind = kind
            self._keep(part, bytes(part.head))
        part.head.clear()

    def _keep(self, part: _Part, data: bytes) -> None:
        most = self._accepts.most_bytes[part.kind]
        if part.size > most:
            what = f"{part.name}: more than the limit of {most / MIB:,.0f} MiB; export it smaller"
            part.error = RadiographError(what, reason="too_large")
            return
        self._waiting += data
        self._end += len(data)

    def _part_end(self) -> None:
        part = self._now
        if part.is_file and part.kind is None and part.error is None:
            self._judge(part)

    def _all(self) -> None:
        self.open = False


def _wrong_kind(name: str, kind: str | None, accepts: Accepts) -> RadiographError:
    wanted = "JPEG, PNG, TIFF, DICOM or zip" if "JPEG" in accepts.most_bytes else "zip"
    if kind is None:
        what = f"{name}: not an image; give a {wanted} file"
        return RadiographError(what, reason="not_an_image")
    what = f"{name}: a {kind} file, which kirik does not take; give a {wanted} file"
    return RadiographError(what, reason="unsupported")


def _plain_name(given: bytes) -> str:
    """The last part of a file's name, as text that stays on one line; for people alone."""
    text = given.decode("utf-8", "replace").replace("\\", "/")
    name = "".join(c for c in PurePosixPath(text).name if c.isprintable())
    return name[-200:] or "radiograph"


class _Window(io.RawIOBase):
    """A part of the spool, as a file of its own. Not for several threads at a time."""

    def __init__(self, spool: BinaryIO, start: int, size: int):
        self._spool, self._start, self._size, self._at = spool, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer) -> int:
        self._spool.seek(self._start + self._at)
        data = self._spool.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
