"""The tables of the reading room. `migrations/` makes them, and a test holds the two alike."""

import secrets
import threading
import time
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

WAITING, READING, READ, FAILED = STATES = ("waiting", "reading", "read", "failed")

URGENCY = {
    "fracture": 0,
    "uncertain": 1,
    "out_of_scope": 2,
    "failed": 3,
    "waiting": 4,
    "no_fracture": 5,
}
"""The work list's order. What could not be read stands before what still waits, and only what was
read and found without a fracture last."""

ROLES = ("reader", "reviewer", "administrator")
"""Each may do all that the one before it may."""


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def new_id() -> str:
    """28 hexadecimal digits: the microsecond, so that later ones are greater, also of those that
    one process makes at the same time; then what cannot be guessed."""
    global _last_id
    with _id_lock:
        _last_id = max(time.time_ns() // 1000, _last_id + 1)
        return f"{_last_id:014x}{secrets.token_hex(7)}"


_last_id, _id_lock = 0, threading.Lock()

_Counted = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts by itself in a column of this type alone."""


class Moment(TypeDecorator):
    """A moment in UTC, aware of it on either database."""

    impl, cache_ok = DateTime(timezone=True), True

    def process_bind_param(self, value: datetime | None, dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, _) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Of all tables; constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: Moment(),
        float: Double(),
        dict: JSON(none_as_null=True),
        list: JSON(none_as_null=True),
        bytes: LargeBinary(),
    }


class Study(Base):
    """One stored file and what became of it.

    sha256: of the bytes as they were received, which makes taking in idempotent. blob: of the bytes
    that are stored; another where they were de-identified. size: bytes stored.
    name: as it was called, for people; empty where de-identified. kind: jpeg, png, tiff or dicom.
    words, patient_words: the name and the patient as they are searched, see `kirik.service.words`.
    exam: the same for the files of one exam (a DICOM study; of files that name none, a zip); a
    keyed hash that tells nothing of it.
    decision, probability, region, warnings: of its most urgent frame; decision is None where that
    one could not be read, or nothing was read yet.
    urgency: see `URGENCY`. unlikeliness: minus the probability, so that the list is ascending.
    attempts: how often a worker took it up. lease: of the claim that reads it now.
    """

    __tablename__ = "studies"

    id: Mapped[str] = mapped_column(String(28), primary_key=True, default=new_id)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    blob: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(String(200), default="")
    kind: Mapped[str] = mapped_column(String(8))
    words: Mapped[str] = mapped_column(String(200), default="")
    exam: Mapped[str | None] = mapped_column(String(64), index=True)
    patient_name: Mapped[str | None] = mapped_column(String(200))
    patient_id: Mapped[str | None] = mapped_column(String(80))
    patient_words: Mapped[str] = mapped_column(String(300), default="")
    received_at: Mapped[datetime] = mapped_column(default=now, index=True)
    received_by: Mapped[str] = mapped_column(String(80))
    state: Mapped[str] = mapped_column(String(8), default=WAITING)
    decision: Mapped[str | None] = mapped_column(String(120))
    probability: Mapped[float | None]
    region: Mapped[str | None] = mapped_column(String(120))
    frames: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(String(40))
    warnings: Mapped[list] = mapped_column(default=list)
    read_at: Mapped[datetime | None]
    model: Mapped[str | None] = mapped_column(String(280))
    reviewed: Mapped[str | None] = mapped_column(String(12))
    urgency: Mapped[int] = mapped_column(default=URGENCY["waiting"])
    unlikeliness: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    lease: Mapped[str | None] = mapped_column(String(64), index=True)
    lease_until: Mapped[datetime | None]

    readings: Mapped[list["Reading"]] = relationship(
        order_by="Reading.frame, Reading.number", viewonly=True
    )
    reviews: Mapped[list["Review"]] = relationship(order_by="Review.number", viewonly=True)

    __table_args__ = (
        Index("ix_studies_order", "urgency", "unlikeliness", "id"),
        Index("ix_studies_region", "region", "urgency", "unlikeliness", "id"),
        Index("ix_studies_reviewed", "reviewed", "urgency", "unlikeliness", "id"),
        Index(
            "ix_studies_open",
            "id",
            sqlite_where=text("state IN ('waiting', 'reading')"),
            postgresql_where=text("state IN ('waiting', 'reading')"),
        ),
    )


class Submission(Base):
    """Who handed a study in, and when first: the same bytes may come from several."""

    __tablename__ = "submissions"

    by: Mapped[str] = mapped_column(String(80), primary_key=True)
    study_id: Mapped[str] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    at: Mapped[datetime] = mapped_column(default=now)


class Reading(Base):
    """One frame read by one model, or why it could not be (`error`, `reason`); never changed.

    frame: from 1 on, also where the file has but one. width, height: pixels as stored.
    orientation: EXIF's, 1…8, that turns these upright. low, high: the operating points.
    findings, peak: in pixels as stored, as `kirik.service.results` writes them.
    evidence: see `kirik.service.results.pack_evidence`; loaded when it is asked for.
    """

    __tablename__ = "readings"

    number: Mapped[int] = mapped_column(_Counted, primary_key=True, autoincrement=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    frame: Mapped[int]
    model: Mapped[str] = mapped_column(String(280))
    at: Mapped[datetime] = mapped_column(default=now)
    decision: Mapped[str | None] = mapped_column(String(120))
    probability: Mapped[float | None]
    probabilities: Mapped[dict] = mapped_column(default=dict)
    low: Mapped[float | None]
    high: Mapped[float | None]
    strangeness: Mapped[float | None]
    attributes: Mapped[dict] = mapped_column(default=dict)
    region: Mapped[str | None] = mapped_column(String(120))
    findings: Mapped[list] = mapped_column(default=list)
    peak: Mapped[dict | None]
    warnings: Mapped[list] = mapped_column(default=list)
    width: Mapped[int | None]
    height: Mapped[int | None]
    orientation: Mapped[int] = mapped_column(default=1)
    error: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(String(40))
    evidence: Mapped[bytes | None] = mapped_column(deferred=True)

    __table_args__ = (UniqueConstraint("study_id", "frame", "model"),)


class Review(Base):
    """What a person says of a frame's reading; never changed, the newest of each frame counts.

    model: of the reading that was judged. decision: fracture, no_fracture or unsure.
    boxes: [{"x", "y", "width", "height"}] in pixels as stored.
    """

    __tablename__ = "reviews"

    number: Mapped[int] = mapped_column(_Counted, primary_key=True, autoincrement=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    frame: Mapped[int] = mapped_column(default=1)
    model: Mapped[str | None] = mapped_column(String(280))
    agrees: Mapped[bool]
    decision: Mapped[str] = mapped_column(String(12))
    boxes: Mapped[list] = mapped_column(default=list)
    comment: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(String(80))
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class Account(Base):
    """A person who may sign in. password: Argon2id's own text, salt and cost within.

    patients: whether patients' names and ids are shown. own: whether only studies that the person
    handed in are.
    """

    __tablename__ = "accounts"

    number: Mapped[int] = mapped_column(_Counted, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    password: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(16))
    patients: Mapped[bool] = mapped_column(default=False)
    own: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=True)
    language: Mapped[str | None] = mapped_column(String(8))
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime | None]


class SignIn(Base):
    """A session of a person's browser; `key` is the SHA-256 of what its cookie holds."""

    __tablename__ = "sessions"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_number: Mapped[int] = mapped_column(
        ForeignKey("accounts.number", ondelete="CASCADE"), index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]

    account: Mapped[Account] = relationship(lazy="joined")


class Token(Base):
    """What a device or a program shows instead of a password; `key` is its SHA-256."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(28), primary_key=True, default=new_id)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    patients: Mapped[bool] = mapped_column(default=False)
    own: Mapped[bool] = mapped_column(default=False)
    created_by: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]


class Hit(Base):
    """How often something was done or failed: sign-ins by name and by address, requests.

    key: what is counted. until: when the count starts anew. locked_until: not before then.
    """

    __tablename__ = "hits"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)
    until: Mapped[datetime] = mapped_column(index=True)
    locked_until: Mapped[datetime | None]


class Entry(Base):
    """A line of the audit trail. The database refuses to change or delete one.

    hash: SHA-256 over `previous`, the hash of the line before, and this line's canonical JSON.
    at: text, as it went into the hash. details: JSON text, for the same reason.
    """

    __tablename__ = "trail"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    who: Mapped[str] = mapped_column(String(80), index=True)
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(200), index=True)
    details: Mapped[str] = mapped_column(Text, default="{}")
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class Change(Base):
    """That a study changed, or went: what live pages ask for, from the last number that they know.

    Numbers come in the order of commits, so that none appears behind one that was seen.
    """

    __tablename__ = "changes"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[str] = mapped_column(String(28))
    at: Mapped[datetime] = mapped_column(default=now)


class Counter(Base):
    """A number that transactions raise one after the other: `changes`, `trail`. text: the trail's
    last hash."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)
    text: Mapped[str] = mapped_column(String(64), default="")


class Option(Base):
    """A setting that outlives a start: an administrator's choices, the key of exams' hashes."""

    __tablename__ = "options"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[dict] = mapped_column(default=dict)


class Worker(Base):
    """A process that reads, and when it last gave a sign of life."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(String(28), primary_key=True, default=new_id)
    host: Mapped[str] = mapped_column(String(255))
    process: Mapped[int]
    model: Mapped[str | None] = mapped_column(String(280))
    started_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now, index=True)
    read: Mapped[int] = mapped_column(BigInteger, default=0)
    problem: Mapped[str | None] = mapped_column(Text)
