"""The room itself: its model, audit trail, storage and health; reviews as tables and data."""

import json
import shutil
import tempfile
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from sqlalchemy import func, select, text

from kirik import __version__
from kirik.bundle import MANIFEST, Bundle, Manifest, find_bundle, load_bundle
from kirik.errors import BundleError, KirikError
from kirik.service import agreement as agreements
from kirik.service import audit_trail, models_in_use, retention
from kirik.service.api import schemas, shown
from kirik.service.api.asked import TO_ALL, Administrator, Reviewer, Room, SeesAll, Who
from kirik.service.api.problems import Problem
from kirik.service.api.uploads import Accepts, multipart, received
from kirik.service.bundles import unpack_bundle
from kirik.service.core import Core
from kirik.service.export import reviews_csv, training_zip
from kirik.service.metrics import ALIVE, CONTENT_TYPE
from kirik.service.tables import Study, Worker, now

router = APIRouter()
MODEL_BYTES = 2**31
"""Of a bundle that is put in, zipped."""

_ATTACHED = "attachment; filename="
_CSV = {200: {"content": {"text/csv": {}}, "description": "A table"}}
_ZIP = {200: {"content": {"application/zip": {}}, "description": "A data set"}}
_FILE = multipart("file", {"type": "string", "format": "binary"})
_BROKEN = {503: {"model": schemas.Health, "description": "A part is broken"}}


@router.get("/reviews.csv", tags=["reviews"], response_class=PlainTextResponse, responses=_CSV)
def table(core: Room, principal: Reviewer) -> Response:
    """Every review, oldest first."""
    with core.database.writing() as session:
        audit_trail.record(session, principal.name, "reviews.exported")
    headers = {"Content-Disposition": f'{_ATTACHED}"reviews.csv"'}
    return PlainTextResponse(reviews_csv(core, principal), media_type="text/csv", headers=headers)


@router.get("/reviews.zip", tags=["reviews"], response_class=StreamingResponse, responses=_ZIP)
def data_set(request: Request, core: Room, principal: Reviewer) -> StreamingResponse:
    """A data set of all that was reviewed, for `kirik train`: CSV, COCO and radiographs."""
    with core.database.writing() as session:
        audit_trail.record(session, principal.name, "reviews.exported")
    headers = {"Content-Disposition": f'{_ATTACHED}"reviews.zip"'}
    pieces = training_zip(core, request.app.state.films, principal)
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


@router.get("/agreement", tags=["reviews"], response_model=schemas.Agreement)
def agreement(core: Room, principal: Who) -> JSONResponse:
    """How far people agree with the readings."""
    with core.database.reading() as session:
        found = agreements.agreement(session, principal)
        studies = shown.studies(session, principal, [study for study, _ in found.overruled])
    overruled = [
        schemas.Overruled(study=study, review=shown.review(review))
        for study, (_, review) in zip(studies, found.overruled, strict=True)
    ]
    said = schemas.Agreement(
        totals=schemas.Totals(
            reviewed=found.agreed + found.disagreed,
            **{n: getattr(found, n) for n in ("agreed", "disagreed", "missed", "false_alarms")},
        ),
        by_week=[
            schemas.Week(week=week, agreed=yes, disagreed=no)
            for week, (yes, no) in found.by_week.items()
        ],
        by_region=[
            schemas.Region(region=region, agreed=yes, disagreed=no)
            for region, (yes, no) in found.by_region.items()
        ],
        overruled=overruled,
    ).model_dump(mode="json")
    for one in said["overruled"]:
        if one["study"]["patient"] is None:
            del one["study"]["patient"]
    return JSONResponse(said)


@router.get("/model", tags=["model"], response_model=schemas.Model)
def model(core: Room, _: Who) -> schemas.Model:
    """The model that reads."""
    try:
        return _model(_loaded(core))
    except BundleError as error:
        raise Problem(404, _without_place(error), "no_model") from error


@router.post(
    "/model", tags=["model"], status_code=201, response_model=schemas.Model, openapi_extra=_FILE
)
async def put_model(request: Request, core: Room, principal: Administrator) -> schemas.Model:
    """Put another bundle in: a zip of its folder. It is checked, file by file, and reads a test
    radiograph, before it takes the old one's place; a refused one changes nothing."""
    async with received(request, core.settings, Accepts.one_zip(MODEL_BYTES)) as body:
        if body.refused:
            one = body.refused[0]
            status = 413 if one.reason == "too_large" else 415
            raise Problem(status, one.error, one.reason)
        if not body.uploads:
            raise Problem(422, "no file in it; send a zip of a bundle", "empty")
        put = partial(_put_in, core, principal.name, body.uploads[0].file)
        return await anyio.to_thread.run_sync(put, limiter=request.app.state.taking_in)


def _put_in(core: Core, by: str, file) -> schemas.Model:
    with tempfile.TemporaryDirectory(dir=core.blobs.incoming) as place:
        try:
            bundle = unpack_bundle(file, Path(place))
            models_in_use.put_in(core, bundle.path, by=by)
        except KirikError as error:
            refused = Problem(422, _without_place(error).replace(place, ""), "bundle")
            refused.code = getattr(error, "code", None)
            raise refused from error
    return _model(_loaded(core))


@router.get("/trail", tags=["audit trail"], response_model=schemas.Trail)
def trail(
    core: Room,
    _: Administrator,
    cursor: Annotated[int | None, Query(ge=1, lt=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    verify: Annotated[bool, Query(description="Check the whole chain; it may take long")] = False,
) -> schemas.Trail:
    """Who did what, the newest first; `cursor` is the `next` of the page before."""
    with core.database.reading() as session:
        rows = audit_trail.entries(session, cursor, limit)
        intact = audit_trail.verify(session).ok if verify else None
    names = ("number", "at", "who", "action", "subject")
    entries = [
        schemas.TrailEntry(
            **{name: getattr(row, name) for name in names}, details=json.loads(row.details)
        )
        for row in rows
    ]
    last = entries[-1].number if len(entries) == limit and entries[-1].number > 1 else None
    return schemas.Trail(entries=entries, next=str(last) if last else None, intact=intact)


@router.get("/storage", tags=["storage"], response_model=schemas.Storage)
def storage(core: Room, _: Administrator) -> schemas.Storage:
    """What the files take, and how long they are kept."""
    return schemas.Storage.model_validate(retention.storage(core))


@router.put("/storage", tags=["storage"], response_model=schemas.Storage)
def set_storage(core: Room, principal: Administrator, said: schemas.Retention) -> schemas.Storage:
    """Set after how many days studies are deleted; null: never."""
    with core.database.writing() as session:
        retention.set_days(session, said.retention_days, by=principal.name)
    return schemas.Storage.model_validate(retention.storage(core))


@router.get(
    "/health",
    tags=["health"],
    response_model=schemas.Health,
    responses=_BROKEN,
    openapi_extra=TO_ALL,
)
def health(core: Room) -> JSONResponse:
    """Whether all parts work: database, storage, workers. No sign-in; tells nothing else."""
    parts = {"database": _database(core), "storage": _storage(core)}
    parts["workers"] = _workers(core) if parts["database"] == "ok" else "unknown"
    broken = any(word not in ("ok", "unknown") for word in parts.values())
    said = schemas.Health(status="broken" if broken else "ok", parts=parts, version=__version__)
    return JSONResponse(said.model_dump(), 503 if broken else 200)


@router.get("/metrics", tags=["health"], response_class=PlainTextResponse)
def metrics(request: Request, core: Room, _: SeesAll) -> Response:
    """For Prometheus."""
    return Response(request.app.state.metrics.text(core), media_type=CONTENT_TYPE)


def _database(core: Core) -> str:
    try:
        with core.database.reading() as session:
            session.execute(text("SELECT 1"))
    except KirikError:
        return "away"
    return "ok"


def _storage(core: Core) -> str:
    try:
        free = shutil.disk_usage(core.settings.data).free
    except OSError:
        return "away"
    return "ok" if free > core.settings.least_free_bytes else "full"


def _workers(core: Core) -> str:
    """none: nobody reads, or can, although studies wait."""
    try:
        with core.database.reading() as session:
            able = Worker.problem.is_(None)
            alive = select(func.count()).where(Worker.seen_at > now() - ALIVE, able)
            waiting = select(func.min(Study.received_at)).where(Study.state == "waiting")
            oldest = session.scalar(waiting)
            if session.scalar(alive) or oldest is None or now() - oldest < timedelta(minutes=1):
                return "ok"
    except KirikError:
        return "unknown"
    return "none"


def manifest_of(core: Core, model: str | None) -> Manifest | None:
    """The manifest of the model in use, where it is the one that made a reading."""
    try:
        manifest = _loaded(core).manifest
    except BundleError:
        return None
    first = manifest.version == "1"
    name = manifest.name if first else f"{manifest.name}, version {manifest.version}"
    return manifest if name == model else None


def _loaded(core: Core) -> Bundle:
    place = find_bundle(models_in_use.model_in_use(core))
    return _verified(place, (place / MANIFEST).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _verified(place: Path, _changed: int) -> Bundle:
    return load_bundle(place)


def _model(bundle: Bundle) -> schemas.Model:
    said = bundle.manifest
    return schemas.Model(
        name=said.name,
        version=said.version,
        network=said.network,
        created=said.created,
        input=said.preprocessing.size,
        classes=list(said.classes),
        attributes=list(said.attributes),
        points=said.operating_points.to_dict() if said.operating_points else None,
        evidence=said.evidence is not None,
        scope=said.scope is not None,
        card=_card(bundle),
        figures=_figures(said.provenance.get("out_of_fold", {})),
    )


def _card(bundle: Bundle) -> str:
    there = "card.md" in bundle.checksums
    return bundle.read("card.md").decode("utf-8", "replace") if there else ""


def _figures(said: Any) -> dict[str, list[float | None]]:
    """Value, low and high by name, of what the bundle says that looks like that."""
    if not isinstance(said, dict):
        return {}
    return {
        name: list(values)
        for name, values in said.items()
        if isinstance(values, list | tuple)
        and len(values) == 3
        and all(value is None or isinstance(value, int | float) for value in values)
    }


def _without_place(error: KirikError) -> str:
    """What is wrong, without the path of the server's folder that the message begins with."""
    where, _, what = str(error).partition(": ")
    return what if "/" in where and what else str(error)
