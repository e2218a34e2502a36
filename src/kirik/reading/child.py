"""The decoding child: the process in which files are decoded, which may die of one alone.

It is told on standard input what to do, a JSON object a line (and the bytes of a file that its
parent has fetched from a store, if that says so), and answers on standard output with
messages: a JSON object a line, each followed by the bytes of the arrays whose shapes it names, and
at last {"end": true}. It cannot take more memory than it was given, write a file, or leave a core
dump, and it ends with its parent.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from kirik.anonymous import without_identity
from kirik.archives import Member, close_archive, look_through, read_source
from kirik.errors import RadiographError
from kirik.files import access_error, shown
from kirik.limits import Limits
from kirik.preprocessing import Preprocessing
from kirik.quiet import quiet_decoding
from kirik.radiograph import decode_radiographs
from kirik.reading.prepare import Wanted, prepare

Message = tuple[dict, list[np.ndarray]]
_LOOKED_AT_A_MESSAGE = 100
"""Members of an archive, radiographs or not: none may take a message's time or room."""
_PIECE = 16 * 2**20


def main(memory: int) -> None:
    """Serve requests until the parent closes standard input. memory: bytes of address space."""
    # Whatever a codec prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _confine(memory)
    _warm_up()  # before it is ready, so that a file's time is its own
    _send(answers, ({"ready": True}, []))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if request.get("bytes") is not None:
            request["content"] = sys.stdin.buffer.read(request["bytes"])
        for message in _answer(request):
            _send(answers, message)
        _send(answers, ({"end": True}, []))


def _confine(memory: int) -> None:
    for told_to_all in (signal.SIGINT, signal.SIGTERM):  # by Ctrl-C, by systemd
        signal.signal(told_to_all, signal.SIG_IGN)  # the parent decides what it means
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)  # which none but root may raise
    if most != resource.RLIM_INFINITY:
        memory = min(memory, most)
    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
    for limit, value in limits.items():
        with suppress(ValueError, OSError):  # macOS knows no limit of address space
            resource.setrlimit(limit, (value, value))


def _warm_up() -> None:
    """Load what the first file needs, while nobody may have asked yet."""
    pixels, file = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64), BytesIO()
    with suppress(Exception):  # which the first file then meets, and tells
        Image.fromarray(pixels).save(file, "JPEG")
        for radiograph in decode_radiographs(file.getvalue(), ""):
            prepare(radiograph, None, Wanted((Preprocessing(),), stride=32))


def _send(answers, message: Message) -> None:
    header, arrays = message
    shapes = [[array.shape, array.dtype.str] for array in arrays]
    answers.write(json.dumps(header | {"arrays": shapes}).encode() + b"\n")
    for array in arrays:
        answers.write(np.ascontiguousarray(array).data)
    answers.flush()


def _answer(request: dict) -> Iterator[Message]:
    if request["do"] == "close":  # what it keeps open for the next member
        close_archive()
        return
    source = request["path"]
    if request.get("member") is not None:
        source = Member(source, request["member"])
    limits = Limits(**request["limits"])
    job = _JOBS[request["do"]]
    try:
        _go_where_meant(request)
        yield from job(source, limits, request)
    except RadiographError as error:
        yield _refused(str(error), error.reason)
    except MemoryError:
        message = f"{shown(source)}: too large for the memory that decoding may take"
        yield _refused(f"{message}; export it smaller", "too_large")
    # Nothing else is foreseen. What an exception says may hold a patient's data: only its kind
    # is passed on.
    except Exception as error:
        yield _refused(f"{shown(source)}: cannot be decoded ({type(error).__name__})", "unexpected")


def _go_where_meant(request: dict) -> None:
    """Work in the parent's folder, which may have become another. Raises RadiographError where it
    cannot be entered, and the path is relative to it."""
    try:
        os.chdir(request["folder"] or "")
    except OSError as error:
        if "content" not in request and not Path(request["path"]).is_absolute():
            raise access_error(request["path"], error) from error


def _content(source, limits: Limits, request: dict) -> bytes:
    fetched = request.get("content")
    return read_source(source, limits.file_bytes) if fetched is None else fetched


def _prepared(source, limits: Limits, request: dict) -> Iterator[Message]:
    """Each frame at the model's inputs, or why there is none."""
    settings = tuple(Preprocessing(**setting) for setting in request["settings"])
    later = frozenset(settings[number] for number in request["later"])
    wanted = Wanted(settings, request["stride"], later)
    data = _content(source, limits, request)
    # At full size: a JPEG decoded to half of it, which is quicker, moved the probability of a
    # radiograph by up to 0.05.
    for radiograph in decode_radiographs(data, str(source), limits=limits).results():
        if isinstance(radiograph, RadiographError):
            yield _refused(str(radiograph), radiograph.reason, radiograph.frame)
            continue
        try:
            one = prepare(radiograph, source, wanted)
        except RadiographError as error:
            yield _refused(str(error), error.reason, radiograph.frame)
            continue
        header = {"number": one.number, "frame": one.frame.to_json(), "warnings": one.warnings}
        yield header, [one.inputs[setting] for setting in settings]


def _film(source, limits: Limits, request: dict) -> Iterator[Message]:
    """One frame's pixels, of at most `at_most` on the longer side, for a picture: squares, or as
    they are stored."""
    at_most = request["at_most"]
    data = _content(source, limits, request)
    frames = decode_radiographs(data, str(source), at_most, limits)
    frames.skip((request["number"] or 1) - 1)
    radiograph = next(frames).reduced(at_most, request["square"])
    names = ("format", "mode", "stored_size", "orientation", "spacing", "frame")
    yield {name: getattr(radiograph, name) for name in names}, [radiograph.pixels]


def _listed(source, limits: Limits, _) -> Iterator[Message]:
    """The radiographs in an archive: paths, and names of members."""
    found = look_through(Path(source), limits.file_bytes)
    while some := list(islice(found, _LOOKED_AT_A_MESSAGE)):
        members = [one.name for one in some if isinstance(one, Member)]
        paths = [str(one) for one in some if isinstance(one, Path)]
        yield {"members": members, "paths": paths}, []
        for one in some:
            if isinstance(one, RadiographError):
                yield _refused(str(one), one.reason)


def _identified(source, limits: Limits, _) -> Iterator[Message]:
    """What a DICOM file says of its patient and its study."""
    from kirik.dicom.identity import identity

    with quiet_decoding():
        found = identity(read_source(source, limits.file_bytes), str(source), limits)
    yield asdict(found), []


def _unpacked(source, limits: Limits, _) -> Iterator[Message]:
    """The bytes of a zip's member, or of a file."""
    yield from _in_pieces(read_source(source, limits.file_bytes))


def _anonymous(source, limits: Limits, request: dict) -> Iterator[Message]:
    """The bytes of a file without what tells whose it is. key: see `kirik.dicom.identity`."""
    data, name = read_source(source, limits.file_bytes), str(source)
    with quiet_decoding():
        yield from _in_pieces(without_identity(data, name, limits, bytes.fromhex(request["key"])))


def _in_pieces(data: bytes) -> Iterator[Message]:
    whole = np.frombuffer(data, np.uint8)
    for start in range(0, len(whole), _PIECE):
        yield {}, [whole[start : start + _PIECE]]


_JOBS = {
    "prepare": _prepared,
    "film": _film,
    "list": _listed,
    "identify": _identified,
    "unpack": _unpacked,
    "anonymize": _anonymous,
}


def _refused(error: str, reason: str, number: int | None = None) -> Message:
    return {"error": error, "reason": reason, "number": number}, []
