"""A reading room asked from Python.

    from kirik.client import Client

    with Client("http://127.0.0.1:8000", token="…") as room:
        for study in room.read(["wrist.jpg", "hand.dcm"]):
            print(study.name, study.decision, study.probability)

What the room refuses is raised as `RoomError`: its `status` is HTTP's, its `reason` a stable word.
A busy room, or one that is away for a moment, is asked again for a while: taking in is idempotent.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import httpx

from kirik.errors import KirikError
from kirik.files import head_of, kind_of
from kirik.service.api.schemas import (
    Agreement,
    Box,
    Me,
    Model,
    NewReview,
    Opinion,
    Refused,
    Review,
    Studies,
    Study,
    StudyWhole,
    TakenIn,
)

__all__ = ["Box", "Client", "Event", "Refused", "Review", "RoomError", "Study", "StudyWhole"]

_BUSY = {429, 502, 503, 504}
_UNSURE = {0, 502, 504}
"""Where a proxy or the connection failed: the room may have done what it was asked for."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
"""Seconds before a room that is busy or away is asked again, where it says no others."""

_AT_ONCE, _BYTES_AT_ONCE = 20, 256 * 2**20
"""Files of one request of `submit`, and bytes of those; a zip is handed in by itself."""

_TAKING_IN = 600.0
"""Seconds that a room may take over one such request: a zip holds a thousand files."""


class RoomError(KirikError):
    """What a reading room refused. status: of HTTP, 0 where it could not be asked; reason: a
    stable word; seconds: to wait before one asks again, where that was said."""

    def __init__(self, message: str, *, status: int, reason: str, seconds: float | None = None):
        super().__init__(message)
        self.status, self.reason, self.seconds = status, reason, seconds


@dataclass(frozen=True)
class Event:
    """What a room tells as it happens. name: study, gone or counts; study: where it is one."""

    name: str
    said: dict[str, Any]
    study: Study | None = None


class Client:
    """A reading room.

    url: its address. token: a device's or a program's key, where the room has accounts.
    timeout: seconds for an answer; for that to files handed in it is ten minutes at least.
    patience: seconds for which a busy room is asked again.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        token: str | None = None,
        *,
        timeout: float = 60,
        patience: float = 60,
        transport: httpx.BaseTransport | None = None,
    ):
        headers = {"X-Requested-With": "kirik"}
        if token:
            headers["Authorization"] = f"Bearer {token.strip()}"  # a file's line has an end
        base = f"{url.rstrip('/')}/api/v1"
        self._http = httpx.Client(
            base_url=base, headers=headers, timeout=timeout, transport=transport
        )
        self._patience = patience
        self._taking_in = httpx.Timeout(timeout, read=max(timeout, _TAKING_IN))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def me(self) -> Me:
        """Who asks."""
        return Me.model_validate(self._json("GET", "/me"))

    def submit(self, paths: Iterable[Path | str]) -> TakenIn:
        """Hand in files, or zips of them; what was refused stands in `refused`.

        They are safe on the room's disk when this returns. The same bytes are the same study.
        """
        return _together(self._submit(some) for some in _requests(paths))

    def submit_bytes(self, content: bytes, name: str) -> TakenIn:
        """Hand in a file that is held in memory."""
        return self._taken([("files", (_sendable(name), content))])

    def _submit(self, paths: Sequence[Path]) -> TakenIn:
        with ExitStack() as stack:
            files = [
                ("files", (_sendable(path.name), stack.enter_context(path.open("rb"))))
                for path in paths
            ]
            try:
                return self._taken(files)
            except RoomError as error:
                if error.status != 413 or len(paths) == 1:
                    raise
        # This room, or a proxy before it, takes less at once.
        half = len(paths) // 2
        return _together(self._submit(some) for some in (paths[:half], paths[half:]))

    def _taken(self, files: list) -> TakenIn:
        try:
            said = self._json("POST", "/studies", files=files, timeout=self._taking_in)
            return TakenIn.model_validate(said)
        except _Refused as error:
            refused = error.document.get("refused")
            if not refused:
                raise
            return TakenIn(studies=[], refused=refused)

    def read(
        self, paths: Iterable[Path | str], *, timeout: float | None = None
    ) -> Iterator[StudyWhole]:
        """Hand in files and give each study once it was read, or could not be, as they are done.

        Raises RoomError for a file that is refused, after the others were handed in, and where
        nothing was read for `timeout` seconds.
        """
        taken = self.submit(paths)
        yield from self.wait((study.id for study in taken.studies), timeout=timeout)
        if taken.refused:
            one = taken.refused[0]
            raise RoomError(one.error, status=422, reason=one.reason)

    def wait(self, studies: Iterable[str], *, timeout: float | None = None) -> Iterator[StudyWhole]:
        """Give each of these studies, by id, once it was read, or could not be."""
        left, pause = list(dict.fromkeys(studies)), 0.1
        last = time.monotonic()
        while left:
            for id_ in list(left):
                study = self.study(id_)
                if study.state in ("read", "failed"):
                    left.remove(id_)
                    pause, last = 0.1, time.monotonic()
                    yield study
            if left and timeout is not None and time.monotonic() - last > timeout:
                what = f"{len(left)} studies were not read within {timeout:g} s"
                raise RoomError(what, status=0, reason="too_slow")
            if left:
                time.sleep(pause)
                pause = min(2.0, pause * 1.5)

    def study(self, id_: str) -> StudyWhole:
        """A study with its readings and reviews."""
        return StudyWhole.model_validate(self._json("GET", f"/studies/{id_}"))

    def studies(self, **filters: Any) -> Iterator[Study]:
        """The work list, most urgent first; filters as of `GET /studies`: decision, state, region,
        reviewed, q, since."""
        cursor = None
        while True:
            page = self.page(cursor=cursor, **filters)
            yield from page.studies
            cursor = page.next
            if cursor is None:
                return

    def page(self, *, limit: int = 200, cursor: str | None = None, **filters: Any) -> Studies:
        """One page of the work list, with the counts of all."""
        asked = {"limit": limit, "cursor": cursor} | filters
        params = {name: value for name, value in asked.items() if value is not None}
        return Studies.model_validate(self._json("GET", "/studies", params=params))

    def delete(self, id_: str) -> None:
        """Delete a study; an administrator may."""
        self._ask("DELETE", f"/studies/{id_}")

    def review(
        self,
        id_: str,
        *,
        agrees: bool,
        decision: Opinion | None = None,
        frame: int = 1,
        boxes: Sequence[Box] = (),
        comment: str = "",
    ) -> Review:
        """Agree or disagree with a frame's reading."""
        said = NewReview(
            frame=frame, agrees=agrees, decision=decision, boxes=list(boxes), comment=comment
        )
        answer = self._json("POST", f"/studies/{id_}/reviews", json=said.model_dump(mode="json"))
        return Review.model_validate(answer)

    def image(self, id_: str, *, frame: int = 1, size: int = 4096) -> bytes:
        """The radiograph as PNG, its pixels in the order as stored."""
        return self._ask("GET", f"/studies/{id_}/image", params={"frame": frame, "size": size})

    def evidence(self, id_: str, *, frame: int = 1) -> bytes:
        """The evidence as PNG, to be laid over the image."""
        return self._ask("GET", f"/studies/{id_}/evidence", params={"frame": frame})

    def overlay(self, id_: str, *, frame: int = 1, language: Literal["en", "tr"] = "en") -> bytes:
        """The reading as a picture, PNG."""
        asked = {"frame": frame, "language": language}
        return self._ask("GET", f"/studies/{id_}/overlay.png", params=asked)

    def report(self, id_: str, *, frame: int = 1, language: Literal["en", "tr"] = "en") -> bytes:
        """The report as PDF."""
        asked = {"frame": frame, "language": language}
        return self._ask("GET", f"/studies/{id_}/report.pdf", params=asked)

    def records(self, id_: str) -> list[dict[str, Any]]:
        """The records of all frames, as `kirik predict --json` writes them."""
        return self._json("GET", f"/studies/{id_}/result.json")

    def original(self, id_: str) -> bytes:
        """The file as it was stored."""
        return self._ask("GET", f"/studies/{id_}/original")

    def agreement(self) -> Agreement:
        """How far people agree with the readings."""
        return Agreement.model_validate(self._json("GET", "/agreement"))

    def model(self) -> Model:
        """The model that reads."""
        return Model.model_validate(self._json("GET", "/model"))

    def put_model(self, bundle: Path | str) -> Model:
        """Put a zipped bundle in; an administrator may."""
        with Path(bundle).open("rb") as file:
            said = self._json("POST", "/model", files={"file": file}, timeout=600)
        return Model.model_validate(said)

    def training_data(self, path: Path | str) -> Path:
        """Save all that was reviewed as a zip, which, unpacked, `kirik train` takes as data."""
        path = Path(path)
        draft = path.with_name(f".{path.name}.partial")
        try:
            with self._http.stream("GET", "/reviews.zip") as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                with draft.open("wb") as file:
                    for piece in answer.iter_bytes():
                        file.write(piece)
            draft.replace(path)
        except httpx.TransportError as error:
            raise _away(error) from error
        finally:
            draft.unlink(missing_ok=True)
        return path

    def events(self) -> Iterator[Event]:
        """Studies as they change, for as long as one listens; asked for again where it breaks."""
        last: str | None = None
        pause = _FIRST_PAUSE
        while True:
            wait = None
            try:
                for event, number in self._events(last):
                    last, pause = number or last, _FIRST_PAUSE
                    yield event
            except httpx.TransportError:
                pass
            except RoomError as error:
                if error.status not in _BUSY:
                    raise
                wait = error.seconds
            time.sleep(wait or pause)
            pause = min(_LONGEST_PAUSE, pause * 2)

    def _events(self, last: str | None) -> Iterator[tuple[Event, str | None]]:
        headers = {"Last-Event-ID": last} if last else {}
        patient = httpx.Timeout(60)
        with self._http.stream("GET", "/events", headers=headers, timeout=patient) as answer:
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                    continue
                if "event" in fields:
                    said = json.loads(fields.get("data", "{}"))
                    is_study = fields["event"] == "study"
                    study = Study.model_validate(said) if is_study else None
                    yield Event(fields["event"], said, study), fields.get("id")
                fields = {}

    def _json(self, method: str, path: str, **asked: Any) -> Any:
        return json.loads(self._ask(method, path, **asked))

    def _ask(self, method: str, path: str, **asked: Any) -> bytes:
        """An answer's bytes, asked for again for a while where the room is busy or away."""
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                _rewind(asked.get("files"))
                answer = self._http.request(method, path, **asked)
                if answer.is_success:
                    return answer.content
                error: RoomError = _refusal(answer)
            except httpx.TransportError as lost:
                error = _away(lost)
            wait = error.seconds or pause * random.uniform(0.5, 1)
            unsure = error.status in _UNSURE
            again = _repeatable(method, path) if unsure else error.status in _BUSY
            if not again or time.monotonic() + wait > until:
                raise error
            time.sleep(wait)
            pause = min(_LONGEST_PAUSE, pause * 2)


def _requests(paths: Iterable[Path | str]) -> Iterator[list[Path]]:
    """Files, those together that one request takes. Raises OSError for one that cannot be read."""
    some: list[Path] = []
    room = _BYTES_AT_ONCE
    for path in map(Path, paths):
        size, zipped = path.stat().st_size, kind_of(head_of(path)) == "ZIP"
        if some and (zipped or size > room or len(some) == _AT_ONCE):
            yield some
            some, room = [], _BYTES_AT_ONCE
        if zipped:
            yield [path]
            continue
        some.append(path)
        room -= size
    if some:
        yield some


def _sendable(name: str) -> str:
    """A file's name as UTF-8 takes it; older systems' letters are not always."""
    return name.encode("utf-8", "replace").decode()


def _together(all_: Iterable[TakenIn]) -> TakenIn:
    """What became of the files of several requests."""
    taken = TakenIn(studies=[], refused=[])
    for one in all_:
        taken.studies += one.studies
        taken.refused += one.refused
    return taken


def _repeatable(method: str, path: str) -> bool:
    """Whether a request that may have been carried out can be sent again."""
    return method != "POST" or path == "/studies"


def _rewind(files: Any) -> None:
    """Back to the beginning of files that a first try has sent."""
    for one in files.values() if isinstance(files, dict) else [f for _, (_, f) in files or ()]:
        if hasattr(one, "seek"):
            one.seek(0)


class _Refused(RoomError):
    """With the whole document of the problem."""

    document: dict[str, Any]


def _refusal(answer: httpx.Response) -> _Refused:
    try:
        said = answer.json()
    except ValueError:
        said = {}
    document = said if isinstance(said, dict) else {}
    seconds = answer.headers.get("retry-after", "")
    what = f"the reading room answered {answer.status_code}"
    if moved := answer.headers.get("location"):
        what += f": it is at {moved}; name that address"
    error = _Refused(
        document.get("detail") or what,
        status=answer.status_code,
        reason=document.get("reason", "error"),
        seconds=float(seconds) if seconds.isdecimal() else None,
    )
    error.document = document
    return error


def _away(error: httpx.TransportError) -> RoomError:
    if isinstance(error, httpx.ReadTimeout):
        what = "the reading room has not answered in time, and may go on with it; ask again later"
        return RoomError(what, status=0, reason="away")
    what = f"the reading room cannot be reached ({type(error).__name__}); is it running?"
    return RoomError(what, status=0, reason="away")
