"""Taking files in: accepted only when bytes and row are safe on disk.

    stream ─▶ draft on disk ─▶ its first bytes tell its kind ─▶ whose it is (in the decoding child)
           ─▶ one transaction: the draft gets its name, the row is there

A zip's radiographs are taken in one by one; those that do not say themselves of which exam they
are, as DICOM files do, are studies of one exam. The same bytes again are the same study. What is
refused is named in the answer, and costs the other files nothing.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import PurePosixPath, PureWindowsPath
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from kirik.archives import Member
from kirik.errors import KirikError, RadiographError
from kirik.files import HEAD_BYTES, READABLE, kind_of, not_readable
from kirik.service import audit_trail, work
from kirik.service.blobs import Draft
from kirik.service.core import Core, raise_refusal
from kirik.service.engine import changed, insert_once, lock_blobs, now_of
from kirik.service.refusals import StorageFull, Unavailable
from kirik.service.retention import delete_study
from kirik.service.tables import Option, Study, Submission, new_id
from kirik.service.words import one_line, searchable

__all__ = ["Accepted", "Refused", "TakenIn", "Upload", "delete_study", "exam_key", "take_in"]

_TOGETHER = 32
"""Files that are put in their places in one transaction."""

_PIECE = 2**20
_KEY = "exam_key"


@dataclass(frozen=True)
class Upload:
    """A file that is handed in. name: as its sender calls it; never a file's name here."""

    name: str
    file: BinaryIO


@dataclass(frozen=True)
class Accepted:
    """A study that is safe on disk. new: whether it was not known before."""

    study_id: str
    name: str
    new: bool


@dataclass(frozen=True)
class Refused:
    """A file of which nothing was kept: a stable word, and a line for a person."""

    name: str
    reason: str
    error: str


@dataclass
class TakenIn:
    """What became of all files."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


@dataclass(frozen=True)
class _Ready:
    """A draft with all that its row needs."""

    draft: Draft
    name: str
    sha256: str
    kind: str
    exam: str | None = None
    patient_name: str | None = None
    patient_id: str | None = None
    study_id: str = field(default_factory=new_id)


def take_in(core: Core, uploads: Iterable[Upload], by: str, *, exam: str | None = None) -> TakenIn:
    """Take files in; `by` stands in the audit trail.

    exam: what makes them one exam, such as an order's number; else each DICOM file's own study
    does, and for a file without one the zip that it came in. Raises StorageFull or Unavailable
    where nothing at all could be kept because of it; where some was, the rest is refused.
    """
    taken, intake = TakenIn(), _Intake(core, by, exam)
    waiting: list[_Ready] = []
    try:
        for one in intake.ready(uploads, taken):
            waiting.append(one)
            if len(waiting) == _TOGETHER:
                intake.keep(waiting, taken)
        intake.keep(waiting, taken)
    except (StorageFull, Unavailable) as error:
        if not taken.accepted:
            raise
        taken.refused += [_refused(one.name, error) for one in waiting] or [_refused("…", error)]
    finally:
        for one in waiting:
            one.draft.drop()
    return taken


class _Intake:
    """One call of `take_in`."""

    def __init__(self, core: Core, by: str, exam: str | None):
        self.core, self.by, self.exam = core, by, exam
        self.settings, self.blobs = core.settings, core.blobs

    @cached_property
    def key(self) -> bytes:
        """See `exam_key`; most files need none."""
        return exam_key(self.core)

    def ready(self, uploads: Iterable[Upload], taken: TakenIn) -> Iterator[_Ready]:
        """The files, a zip's members among them, that can be kept; the others are refused."""
        for number, upload in enumerate(uploads):
            name = one_line(PureWindowsPath(PurePosixPath(upload.name).name).name, 200) or "file"
            try:
                if number >= self.settings.most_files:
                    raise _too_many(name, self.settings.most_files)
                draft = self._draft(upload.file, name)
            except (StorageFull, Unavailable):
                raise
            except KirikError as error:
                taken.refused.append(_refused(name, error))
                continue
            try:
                if kind_of(draft.head) == "ZIP":
                    yield from self._members(draft, name, taken)
                    continue
                one = self._one(draft, name)
            except RadiographError as error:
                draft.drop()
                taken.refused.append(_refused(name, error, draft))
                continue
            except BaseException:
                draft.drop()
                raise
            yield one

    def _draft(self, file: BinaryIO, name: str) -> Draft:
        """The upload on disk, unless its first bytes say that it is nothing to read."""
        if self.blobs.free() < self.settings.least_free_bytes:
            raise StorageFull("the disk is nearly full; free some space and try again")
        head = file.read(HEAD_BYTES)
        zipped = kind_of(head) == "ZIP"
        if head and not zipped:
            _checked_kind(head, name)
        most = self.settings.most_zip_bytes if zipped else self.settings.most_file_bytes
        rest = iter(lambda: file.read(_PIECE), b"")
        return self.blobs.draft_of(chain([head] if head else [], rest), most, name)

    def _members(self, archive: Draft, name: str, taken: TakenIn) -> Iterator[_Ready]:
        """A zip's radiographs, read under limits in the decoding child."""
        left, exam = self.settings.most_zip_bytes, f"zip:{archive.sha256}"
        try:
            names, passed_over = self._names(archive, name)
            taken.refused += passed_over
            if not names:
                message = f"{name}: no radiographs in there; zip JPEG, PNG or DICOM files"
                raise RadiographError(message, reason="not_an_image")
            for inside in names:
                called = one_line(PurePosixPath(inside).name, 200) or "file"
                try:
                    draft = self._member(archive, inside, called, left)
                    left -= draft.size
                except RadiographError as error:
                    taken.refused.append(_refused(f"{name}/{called}", error, archive, inside))
                    continue
                try:
                    yield self._one(draft, called, exam)
                except RadiographError as error:
                    draft.drop()
                    taken.refused.append(_refused(f"{name}/{called}", error, draft))
                except BaseException:
                    draft.drop()
                    raise
        finally:
            archive.drop()
            self.core.decoders.close_archives()

    def _names(self, archive: Draft, name: str) -> tuple[list[str], list[Refused]]:
        """Its radiographs, and what is passed over: all but the last of one name, as elsewhere."""
        names: list[str] = []
        problems: list[RadiographError] = []
        for header, _ in self.core.ask(archive.path, {"do": "list"}):
            if "error" in header:
                problems.append(RadiographError(header["error"], reason=header["reason"]))
            names += header.get("members", ())
            if len(names) > self.settings.most_files:
                raise _too_many(name, self.settings.most_files)
        if problems and not names:
            raise problems[0]
        return names, [_refused(name, one, archive) for one in problems]

    def _member(self, archive: Draft, inside: str, name: str, left: int) -> Draft:
        most = min(left, self.settings.most_file_bytes)
        source = Member(str(archive.path), inside)
        pieces = self.core.pieces(source, {"do": "unpack"})
        first = next(pieces, b"")
        _checked_kind(first[:HEAD_BYTES], name)
        return self.blobs.draft_of(chain([first], pieces), most, name)

    def _one(self, draft: Draft, name: str, zipped: str | None = None) -> _Ready:
        """What a row needs of a file. Where it must not be known whose it is, another draft.

        zipped: makes one exam of the files of a zip that name no study.
        """
        kind, sha256 = _checked_kind(draft.head, name), draft.sha256
        who: dict = {}
        if kind == "DICOM":
            who = self._identity(draft)
        study = f"dicom:{who['study_uid']}" if who.get("study_uid") else None
        # One exam may come in two zips, and a zip may hold two people's.
        hashed = self._hashed(self.exam or study or zipped)
        if not self.settings.deidentify:
            people = {key: who.get(key) for key in ("patient_name", "patient_id")}
            return _Ready(draft, name, sha256, kind.lower(), hashed, **people)
        pieces = self.core.pieces(draft.path, {"do": "anonymize", "key": self.key.hex()})
        nameless = self.blobs.draft_of(pieces, self.settings.most_file_bytes, name)
        draft.drop()
        # The name that a file had may be the patient's, too.
        return _Ready(nameless, f"{sha256[:8]}.{kind.lower()}", sha256, kind.lower(), hashed)

    def _identity(self, draft: Draft) -> dict:
        """Whose a DICOM file is; of one that cannot be parsed its reading says so."""
        try:
            [(header, _)] = self.core.ask(draft.path, {"do": "identify"})
            raise_refusal(header)
        except RadiographError:
            if self.settings.deidentify:
                raise
            return {}
        return header

    def _hashed(self, exam: str | None) -> str | None:
        if not exam:
            return None
        return hmac.new(self.key, exam.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    def keep(self, waiting: list[_Ready], taken: TakenIn) -> None:
        """Bytes and rows in one transaction; `waiting` is empty afterwards."""
        if not waiting:
            return
        # In one order for all, so that two that take in the same files do not wait for each other.
        files = sorted(waiting, key=lambda one: one.sha256)
        with self.core.database.writing() as session:
            lock_blobs(session, [one.draft.sha256 for one in files])
            kept = {id(one): self._keep_one(session, one) for one in files}
        taken.accepted += [kept[id(one)] for one in waiting]
        for one in waiting:
            one.draft.drop()
        waiting.clear()

    def _keep_one(self, session: Session, one: _Ready) -> Accepted:
        study_id, moment = one.study_id, now_of(session)
        patient = " ".join(filter(None, (one.patient_name, one.patient_id)))
        new = insert_once(
            session,
            Study,
            id=study_id,
            sha256=one.sha256,
            blob=one.draft.sha256,
            size=one.draft.size,
            name=one.name,
            words=searchable(one.name)[:200],
            kind=one.kind,
            exam=one.exam,
            patient_name=one_line(one.patient_name, 200) if one.patient_name else None,
            patient_id=one_line(one.patient_id, 80) if one.patient_id else None,
            patient_words=searchable(one_line(patient, 300))[:300],
            received_at=moment,
            received_by=self.by,
        )
        if new:
            changed(session, study_id)
            self.blobs.keep(one.draft)
        else:
            study_id = self._restored(session, one)
        first = insert_once(session, Submission, by=self.by, study_id=study_id, at=moment)
        if first:
            audit_trail.record(session, self.by, "study.received", study_id, sha256=one.sha256)
        return Accepted(study_id, one.name, new)

    def _restored(self, session: Session, one: _Ready) -> str:
        """The study of bytes that are known; where its file got lost from the disk, or could not
        be read there, it is here again, and is read."""
        known = select(Study.id, Study.blob, Study.reason).where(Study.sha256 == one.sha256)
        study_id, blob, reason = session.execute(known).one()
        away = reason in work.AWAY
        if blob == one.draft.sha256 and (away or not self.blobs.path(blob).is_file()):
            self.blobs.keep(one.draft)
            if away:
                work.read_again(session, study_id, by=self.by)
        return study_id


def exam_key(core: Core) -> bytes:
    """The secret by which exams and UIDs are hashed here, made when it is first needed."""
    with core.database.reading() as session:
        option = session.get(Option, _KEY)
    if option is None:
        with core.database.writing() as session:
            insert_once(session, Option, name=_KEY, value={"key": secrets.token_hex(32)})
            option = session.get(Option, _KEY)
    return bytes.fromhex(option.value["key"])


def _checked_kind(head: bytes, name: str) -> str:
    kind = kind_of(head)
    if kind in READABLE:
        return kind
    raise not_readable(name, kind)


def _too_many(name: str, most: int) -> RadiographError:
    message = f"{name}: more than {most:,} files at once; hand them in in parts"
    return RadiographError(message, reason="too_many")


def _refused(name: str, error: KirikError, draft: Draft | None = None, member="") -> Refused:
    message = str(error)
    if draft is not None:  # where it lies here is nobody's business
        place = f"{draft.path}/{member}" if member else str(draft.path)
        message = message.replace(place, name).replace(str(draft.path), name)
    return Refused(name, getattr(error, "reason", "refused"), message)
