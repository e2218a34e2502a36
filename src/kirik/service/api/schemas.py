"""What the API takes and gives, version 1; the Python client speaks in the same types.

Boxes and points are in pixels of the file as stored; moments are in UTC.
"""

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Role = Literal["reader", "reviewer", "administrator"]
State = Literal["waiting", "reading", "read", "failed"]
Opinion = Literal["fracture", "no_fracture", "unsure"]

STUDY_ID = r"^[0-9a-f]{28}$"


def _storable(text: str) -> str:
    """Refuse what no database keeps: control characters but line ends and tabs, half characters."""
    if any((ord(c) < 32 and c not in "\n\r\t") or "\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("has a control character, or half of a character")
    return text


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=80, pattern=r"^[^\n\r\t]+$"),
    AfterValidator(_storable),
]
Comment = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_storable)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class _Given(BaseModel):
    """What the server gives."""

    model_config = ConfigDict(from_attributes=True)


class _Taken(BaseModel):
    """What the server takes: nothing that it does not know."""

    model_config = ConfigDict(extra="forbid")


class Problem(_Given):
    """An error, as RFC 9457 has it; `reason` is a stable word, `code` a finer one."""

    type: str = "about:blank"
    title: str
    status: int
    reason: str
    code: str | None = None
    detail: str


class Points(_Given):
    """Below `low`: no fracture. From `high` on: fracture. Between: a person decides."""

    low: float
    high: float


class Patient(_Given):
    """Given only to those who may see it."""

    name: str | None = None
    id: str | None = None


class Box(_Taken):
    """In pixels of the file as stored."""

    x: float = Field(ge=-1, le=1e6, allow_inf_nan=False)
    y: float = Field(ge=-1, le=1e6, allow_inf_nan=False)
    width: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    height: float = Field(gt=0, le=1e6, allow_inf_nan=False)


class Finding(_Given):
    """A box around evidence; millimetres where the file tells its scale."""

    x: float
    y: float
    width: float
    height: float
    score: float
    width_mm: float | None = None
    height_mm: float | None = None


class Peak(_Given):
    """Where the evidence is highest."""

    x: float
    y: float
    score: float


class Reading(_Given):
    """One frame read by one model, or why it could not be.

    orientation: EXIF's, 1…8, that turns the stored pixels upright. width, height: as stored.
    """

    frame: int
    decision: str | None
    probability: float | None
    probabilities: dict[str, float] = {}
    points: Points | None
    model: str
    attributes: dict[str, float] = {}
    findings: list[Finding] = []
    peak: Peak | None = None
    warnings: list[str] = []
    width: int | None
    height: int | None
    orientation: int = 1
    evidence: bool = False
    error: str | None = None
    reason: str | None = None


class NewReview(_Taken):
    """What a person says of a frame's reading.

    decision: may be left out where the person agrees.
    """

    frame: int = Field(default=1, ge=1, le=10_000)
    agrees: bool
    decision: Opinion | None = None
    boxes: list[Box] = Field(default=[], max_length=100)
    comment: Comment = ""


class Review(_Given):
    """A review, who made it and when."""

    id: int
    frame: int
    agrees: bool
    decision: Opinion
    boxes: list[Box]
    comment: str
    by: str
    at: datetime
    model: str | None = None


class Study(_Given):
    """One stored file and what became of it; decision and probability of its most urgent frame."""

    id: str
    name: str
    sha256: str
    size: int
    kind: str
    state: State
    decision: str | None
    probability: float | None
    points: Points | None = None
    region: str | None
    frames: int | None
    frame: int = Field(1, description="The frame that speaks for it")
    error: str | None
    reason: str | None
    warnings: list[str]
    received_at: datetime
    read_at: datetime | None
    model: str | None
    exam: str | None
    reviewed: Literal["agreed", "disagreed"] | None
    patient: Patient | None = None


class StudyWhole(Study):
    """A study with all that was read in it and said of it."""

    readings: list[Reading]
    reviews: list[Review]


class Refused(_Given):
    """A file that was not taken in."""

    name: str
    reason: str
    error: str


class TakenIn(_Given):
    """What became of an upload."""

    studies: list[Study]
    refused: list[Refused]


class Studies(_Given):
    """A page of the work list; `next` is the cursor of the one after it."""

    studies: list[Study]
    next: str | None
    counts: dict[str, int]


class Week(_Given):
    """Reviews of the week that begins with that Monday."""

    week: date
    agreed: int
    disagreed: int


class Region(_Given):
    """Reviews of one region."""

    region: str | None
    agreed: int
    disagreed: int


class Overruled(_Given):
    """A reading with which a person disagreed."""

    study: Study
    review: Review


class Totals(_Given):
    """Of the newest review of each frame. missed: read as no fracture, reviewed as one;
    false_alarms: the other way round."""

    reviewed: int
    agreed: int
    disagreed: int
    missed: int
    false_alarms: int


class Agreement(_Given):
    """How far people agree with the readings; the newest review of each frame counts."""

    totals: Totals
    by_week: list[Week]
    by_region: list[Region]
    overruled: list[Overruled]


class Me(_Given):
    """Who asks. local: nobody needs to sign in, since there is no account yet."""

    name: str
    role: Role
    local: bool
    patients: bool
    language: str | None = None


class SignIn(_Taken):
    name: Line
    password: Password


class User(_Given):
    """An account. patients: sees patients' names; own: sees only what it handed in."""

    name: str
    role: Role
    enabled: bool
    patients: bool
    own: bool
    language: str | None
    created_at: datetime
    last_seen_at: datetime | None


class NewUser(_Taken):
    name: Line
    password: Password
    role: Role = "reader"
    patients: bool | None = None
    own: bool = False


class UserChange(_Taken):
    """What is given is changed."""

    role: Role | None = None
    enabled: bool | None = None
    patients: bool | None = None
    own: bool | None = None
    password: Password | None = None


class Token(_Given):
    """A device's or a program's key, without the key."""

    id: str
    name: str
    role: Role
    patients: bool
    own: bool
    created_by: str
    created_at: datetime
    last_used_at: datetime | None


class NewToken(_Taken):
    name: Line
    role: Role = "reader"
    patients: bool = False
    own: bool = False


class TokenMade(Token):
    """A token with its key, which is shown this once."""

    token: str


class Model(_Given):
    """The model that reads. figures: measured on data it was not trained on, with intervals."""

    name: str
    version: str
    network: str
    created: date
    input: int
    classes: list[str]
    attributes: list[str]
    points: dict[str, Any] | None
    evidence: bool
    scope: bool
    card: str
    figures: dict[str, list[float | None]]


class TrailEntry(_Given):
    number: int
    at: str
    who: str
    action: str
    subject: str
    details: dict[str, Any] = {}


class Trail(_Given):
    """The newest entries first. intact: whether the chain of hashes holds; on the first page only,
    and where it was asked for."""

    entries: list[TrailEntry]
    next: str | None
    intact: bool | None = None


class Storage(_Given):
    studies: int
    bytes: int
    free_bytes: int
    oldest: datetime | None
    retention_days: int | None


class Retention(_Taken):
    """Delete studies after so many days; never where null."""

    retention_days: int | None = Field(ge=1, le=36_500)


class Health(_Given):
    """status: ok or broken; parts: the same of each part, or what is wrong, in a word."""

    status: Literal["ok", "broken"]
    parts: dict[str, str]
    version: str
