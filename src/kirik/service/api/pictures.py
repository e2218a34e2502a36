"""Pictures, the report and the record of a study."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from kirik.output.records import record
from kirik.reading.reading import Failure
from kirik.service import access, audit_trail
from kirik.service.access import Principal
from kirik.service.api.asked import Room, StudyId, Who
from kirik.service.core import Core
from kirik.service.films import FILM, LARGEST, Films, evidence_png
from kirik.service.refusals import Conflict, NotFound
from kirik.service.results import as_reading
from kirik.service.tables import Reading, Review, Study

router = APIRouter(prefix="/studies/{study}", tags=["pictures"])

Frame = Annotated[int, Query(ge=1, le=10_000, description="From 1 on")]
Size = Annotated[int, Query(ge=16, le=LARGEST, description="Pixels of the longer side, at most")]
Language = Literal["en", "tr"]

_PNG = {200: {"content": {"image/png": {}}, "description": "A picture"}}
_PDF = {200: {"content": {"application/pdf": {}}, "description": "The report"}}
_KEEP = "private, no-cache"
"""Kept by the browser, and asked for again each time, so that who signed out sees nothing."""


@router.get("/image", response_class=Response, responses=_PNG)
async def image(
    request: Request,
    core: Room,
    principal: Who,
    study: StudyId,
    frame: Frame = 1,
    size: Size = LARGEST,
) -> Response:
    """The radiograph as PNG, 8-bit gray, its pixels in the order as stored, which boxes use."""

    def make(films: Films) -> tuple[str, Callable[[], bytes]]:
        with core.database.reading() as session:
            row = access.study_for(session, principal, study)
        return f"{row.blob}-{frame}-{size}", lambda: films.image(row, frame, size)

    return await _picture(request, make)


@router.get("/evidence", response_class=Response, responses=_PNG)
async def evidence(
    request: Request, core: Room, principal: Who, study: StudyId, frame: Frame = 1
) -> Response:
    """The evidence as PNG to lay over the image: RGBA, its alpha the evidence, stretched to it."""

    def make(_: Films) -> tuple[str, Callable[[], bytes]]:
        with core.database.reading() as session:
            row, reading = _read(session, principal, study, frame)
        return f"{row.blob}-{frame}-{reading.number}-e", lambda: evidence_png(reading)

    return await _picture(request, make)


@router.get("/overlay.png", response_class=Response, responses=_PNG)
async def overlay(
    request: Request,
    core: Room,
    principal: Who,
    study: StudyId,
    frame: Frame = 1,
    language: Language = "en",
) -> Response:
    """The radiograph beside the same with its evidence and findings, and what was read, as PNG."""

    def make(films: Films) -> tuple[str, Callable[[], bytes]]:
        with core.database.reading() as session:
            row, reading = _read(session, principal, study, frame)
        tag = f"{row.blob}-{frame}-{reading.number}-{language}"
        return tag, lambda: films.overlay(row, reading, language)

    return await _picture(request, make)


@router.get("/report.pdf", response_class=Response, responses=_PDF)
async def report(
    request: Request,
    core: Room,
    principal: Who,
    study: StudyId,
    frame: Frame = 1,
    language: Language = "en",
) -> Response:
    """The report of a frame as PDF. That it was taken stands in the audit trail."""

    def make() -> bytes:
        return _report(request, core, principal, study, frame, language)

    content = await _limited(request, make)
    name = f'attachment; filename="kirik-{study}-{frame}.pdf"'
    headers = {"Content-Disposition": name}
    return Response(content, media_type="application/pdf", headers=headers)


@router.get("/result.json")
def result(core: Room, principal: Who, study: StudyId) -> JSONResponse:
    """The records of all frames, as `kirik predict --json` writes them."""
    with core.database.reading() as session:
        row = access.study_for(session, principal, study)
        rows = session.scalars(
            select(Reading)
            .where(Reading.study_id == row.id, Reading.model == row.model)
            .order_by(Reading.frame)
            .options(undefer(Reading.evidence))
        ).all()
    path, several = row.name or row.id, len(rows) > 1
    if not rows and row.state == "failed":
        return JSONResponse([record(Failure(path, row.error or "", row.reason or "unreadable"))])
    if not rows:
        raise Conflict("the study has not been read yet; wait for its reading")
    return JSONResponse([_record(one, path, several) for one in rows])


def _record(row: Reading, path: str, several: bool) -> dict:
    if row.error is not None:
        frame = row.frame if several else None
        return record(Failure(path, row.error, row.reason or "unreadable", frame))
    said = record(as_reading(row, path))
    return said if several else {k: v for k, v in said.items() if k != "frame"}


def _read(session: Session, principal: Principal, study: str, frame: int) -> tuple[Study, Reading]:
    """A study and a frame's reading. Raises NotFound, Conflict where there is none yet."""
    row = access.study_for(session, principal, study)
    found = session.scalar(
        select(Reading)
        .where(Reading.study_id == row.id, Reading.frame == frame, Reading.model == row.model)
        .options(undefer(Reading.evidence))
    )
    if found is None and row.state in ("waiting", "reading"):
        raise Conflict("the study has not been read yet; wait for its reading")
    if found is None or found.error is not None:
        raise NotFound(f"there is no reading of frame {frame}")
    return row, found


def _report(
    request: Request, core: Core, principal: Principal, study: str, frame: int, language: str
) -> bytes:
    from kirik.output.report_pdf import report_pdf
    from kirik.service.api.room import manifest_of

    with core.database.reading() as session:
        row, reading = _read(session, principal, study, frame)
        reviews = session.scalars(
            select(Review)
            .where(Review.study_id == row.id, Review.frame == frame)
            .order_by(Review.number)
        ).all()
    film = request.app.state.films.film(row, frame, FILM)
    of_several = as_reading(reading) if (row.frames or 1) > 1 else None
    content = report_pdf(
        of_several or replace(as_reading(reading), frame=None),
        film,
        manifest_of(core, reading.model),
        language,
        name=row.name or row.id,
        received=row.received_at,
        reviews=reviews,
    )
    with core.database.writing() as session:
        audit_trail.record(session, principal.name, "report.taken", study, frame=frame)
    return content


async def _picture(
    request: Request, make: Callable[[Films], tuple[str, Callable[[], bytes]]]
) -> Response:
    """A PNG, made only where the browser does not have it yet."""
    films = request.app.state.films
    named, draw = await anyio.to_thread.run_sync(make, films)
    tag = f'"{hashlib.sha256(named.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": _KEEP, "Vary": "Cookie, Authorization"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(await _limited(request, draw), media_type="image/png", headers=headers)


async def _limited(request: Request, make: Callable[[], bytes]) -> bytes:
    """Decode and draw for few at a time; the others wait without holding a thread."""
    return await anyio.to_thread.run_sync(make, limiter=request.app.state.drawing)
