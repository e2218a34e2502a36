"""The model that reads: an administrator's choice, else the one of the settings, else kirik's own.

A bundle that is put in is copied into the data folder, its checksums verified and a radiograph
read with it, before any worker takes it up.
"""

import hashlib
import os
import shutil
from pathlib import Path
from uuid import uuid4

import numpy as np
from sqlalchemy.orm import Session

from kirik.bundle import load_bundle
from kirik.errors import KirikError
from kirik.reading.classifier import Classifier
from kirik.service import audit_trail
from kirik.service.blobs import refused_when_full
from kirik.service.core import Core
from kirik.service.engine import insert_once
from kirik.service.refusals import Conflict, Invalid
from kirik.service.tables import Option

_MODEL, _KNOWN = "model", "models"


def model_in_use(core: Core) -> Path | str | None:
    """What `kirik.load_model` takes: a bundle's folder, a name, or None for kirik's own."""
    with core.database.reading() as session:
        option = session.get(Option, _MODEL)
    if option is None:
        return core.settings.model
    return _models(core) / option.value["folder"]


def put_in(core: Core, folder: Path, *, by: str) -> str:
    """Check a bundle and let the workers read with it from now on; the model's name.

    Raises Invalid for what is no bundle or cannot read, Conflict where another bundle of the same
    name and version was here, StorageFull.
    """
    try:
        bundle = load_bundle(folder)
        classifier = Classifier(bundle, threads=1, decoders=core.decoders, gate=False)
        classifier.read(np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1)))
    except KirikError as error:
        # Its place on this machine is nobody's business.
        message = str(error).replace(str(folder), "bundle")
        raise Invalid(f"the bundle cannot be used: {message}") from error
    sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(bundle.checksums.items()))
    digest = hashlib.sha256(sums.encode()).hexdigest()
    _copy(core, bundle.path, digest, list(bundle.checksums))
    try:
        _use(core, classifier.name, digest, by)
    except Conflict:
        shutil.rmtree(_models(core) / digest, ignore_errors=True)
        raise
    return classifier.name


def _models(core: Core) -> Path:
    return core.settings.data / "models"


def _use(core: Core, name: str, digest: str, by: str) -> None:
    """Raises Conflict where a name is another bundle's."""
    with core.database.writing() as session:
        insert_once(session, Option, name=_KNOWN, value={})
        known = session.get(Option, _KNOWN, with_for_update=True, populate_existing=True)
        if known.value.get(name, digest) != digest:
            what = f"another bundle was {name} here; give this one another version"
            raise Conflict(what, "model_version")
        known.value = known.value | {name: digest}
        _set(session, {"folder": digest, "name": name})
        audit_trail.record(session, by, "model.changed", name, bundle=digest)


def _set(session: Session, value: dict) -> None:
    insert_once(session, Option, name=_MODEL, value=value)
    session.get(Option, _MODEL, with_for_update=True, populate_existing=True).value = value


def _copy(core: Core, source: Path, digest: str, names: list[str]) -> None:
    """The listed files alone, whole and on disk before the folder has its name."""
    models = _models(core)
    place, draft = models / digest, core.blobs.incoming / uuid4().hex
    if place.is_dir():
        return
    with refused_when_full():
        try:
            models.mkdir(mode=0o700, exist_ok=True)
            for name in [*names, "SHA256SUMS"]:
                target = draft / name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copyfile(source / name, target)
                with target.open("rb+") as file:
                    os.fsync(file.fileno())
            draft.rename(place)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
