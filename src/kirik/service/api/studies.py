"""Studies: handed in, listed, looked at, deleted."""

from datetime import datetime
from functools import partial
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from kirik.service import access, intake, retention, reviews, worklist
from kirik.service.access import Principal
from kirik.service.api import schemas, shown
from kirik.service.api.asked import Administrator, Reviewer, Room, StudyId, Who
from kirik.service.api.problems import Problem
from kirik.service.api.uploads import Accepts, Received, multipart, received
from kirik.service.core import Core
from kirik.service.films import nameless
from kirik.service.refusals import NotAllowed
from kirik.service.worklist import Filters

router = APIRouter(prefix="/studies", tags=["studies"])

Decision = Literal["fracture", "uncertain", "out_of_scope", "no_fracture", "failed", "waiting"]
_BODY = multipart(
    "files",
    {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "format": "binary"},
        "description": "JPEG, PNG, TIFF or DICOM files, or zips of them",
    },
)
_SUFFIXES = {"jpeg": "jpg", "png": "png", "tiff": "tif", "dicom": "dcm"}


@router.post(
    "",
    status_code=202,
    response_model=schemas.TakenIn,
    response_model_exclude_none=True,
    responses={200: {"model": schemas.TakenIn, "description": "All were known already"}},
    openapi_extra=_BODY,
)
async def submit(request: Request, core: Room, principal: Who) -> JSONResponse:
    """Hand radiographs in. 202: they are safe on disk and will be read; 200: all were known.

    The same bytes are the same study, however often they come. A file that cannot be taken stands
    in `refused`; where none can, the answer is an error with the same list.
    """
    async with received(request, core.settings, Accepts.radiographs(core.settings)) as body:
        if not body.uploads and not body.refused:
            raise Problem(422, "no file in it; send files in fields named files", "empty")
        limiter = request.app.state.taking_in
        take = partial(_take_in, request, core, principal, body)
        return await anyio.to_thread.run_sync(take, limiter=limiter)


def _take_in(request: Request, core: Core, principal: Principal, body: Received) -> JSONResponse:
    taken = intake.take_in(core, body.uploads, principal.name)
    refused = [*body.refused, *taken.refused]
    ids = list(dict.fromkeys(one.study_id for one in taken.accepted))
    new = sum(one.new for one in taken.accepted)
    request.app.state.metrics.files(new, len(taken.accepted) - new, len(refused))
    told = [schemas.Refused.model_validate(one) for one in refused]
    if not ids:
        raise _all_refused(told)
    with core.database.reading() as session:
        rows = worklist.by_ids(session, principal, ids)
        said = schemas.TakenIn(studies=shown.studies(session, principal, rows), refused=told)
    return JSONResponse(_json(said), 202 if new else 200)


def _all_refused(refused: list[schemas.Refused]) -> Problem:
    """The error for an upload of which nothing was taken in."""
    if not refused:
        return Problem(422, "no radiograph in it", "empty")
    reasons = {one.reason for one in refused}
    kinds, sizes = {"not_an_image", "unsupported"}, {"too_large"}
    status = 415 if reasons <= kinds else 413 if reasons <= sizes else 422
    first = refused[0]
    more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
    listed = [one.model_dump() for one in refused]
    return Problem(status, first.error + more, first.reason, refused=listed)


def _json(said) -> dict:
    """Without what is not there: a patient whom the asker may not see is not even null."""
    whole = said.model_dump(mode="json")
    for study in whole["studies"]:
        if study["patient"] is None:
            del study["patient"]
    return whole


@router.get("", response_model=schemas.Studies)
def listed(
    core: Room,
    principal: Who,
    decision: Decision | None = None,
    state: schemas.State | None = None,
    region: Annotated[str | None, Query(max_length=120)] = None,
    reviewed: Literal["agreed", "disagreed", "yes", "no"] | None = None,
    q: Annotated[str | None, Query(max_length=200, description="Words of name or patient")] = None,
    since: Annotated[datetime | None, Query(description="Received from then on")] = None,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
):
    """The work list, most urgent first: fracture by probability, uncertain, out of scope, failed,
    waiting, no fracture. `counts` are of all that the other filters let through."""
    filters = Filters(decision, state, region, reviewed, q, since)
    with core.database.reading() as session:
        found = worklist.page(session, principal, filters, cursor, limit)
        said = schemas.Studies(
            studies=shown.studies(session, principal, found.studies),
            next=found.next,
            counts=worklist.counts(session, principal, filters),
        )
    return JSONResponse(_json(said))


@router.get("/{study}", response_model=schemas.StudyWhole)
def one(core: Room, principal: Who, study: StudyId):
    """A study with its readings, frame by frame, and all reviews."""
    with core.database.reading() as session:
        row = access.study_for(session, principal, study)
        said = shown.whole(session, principal, row)
    return JSONResponse(said.model_dump(mode="json", exclude=None if said.patient else {"patient"}))


@router.delete("/{study}", status_code=204)
def delete(request: Request, core: Room, principal: Administrator, study: StudyId) -> None:
    """Delete a study, its readings, its reviews and its file."""
    with core.database.reading() as session:
        row = access.study_for(session, principal, study)
    retention.delete_study(core, study, by=principal.name)
    request.app.state.films.forget(row)


@router.get("/{study}/original", response_class=FileResponse)
async def original(request: Request, core: Room, principal: Who, study: StudyId) -> Response:
    """The file as it was stored. To those who may not see patients without what is written beside
    its pixels; a DICOM file, which names its patient, not at all."""

    def make() -> Response:
        return _original(core, principal, study)

    return await anyio.to_thread.run_sync(make, limiter=request.app.state.drawing)


def _original(core: Core, principal: Principal, study: str) -> Response:
    with core.database.reading() as session:
        row = access.study_for(session, principal, study)
    sees = access.sees_patients(principal)
    if row.kind == "dicom" and not sees:
        what = "this file names its patient, whom you may not see"
        raise NotAllowed(what, "names_patient")
    path = core.blobs.path(row.blob)
    if not path.is_file():
        raise Problem(404, "the file is not there any more")
    name = f"{row.id}.{_SUFFIXES.get(row.kind, 'bin')}"
    if sees:
        return FileResponse(path, media_type="application/octet-stream", filename=name)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    content = b"".join(nameless(core, row))
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.post("/{study}/reviews", status_code=201, response_model=schemas.Review)
def review(core: Room, principal: Reviewer, study: StudyId, said: schemas.NewReview):
    """Agree or disagree with a frame's reading; nothing is overwritten, and the newest counts."""
    boxes = [(box.x, box.y, box.width, box.height) for box in said.boxes]
    opinion = reviews.Opinion(said.agrees, said.decision, boxes, said.comment)
    with core.database.writing() as session:
        return shown.review(reviews.add(session, principal, study, said.frame, opinion))
