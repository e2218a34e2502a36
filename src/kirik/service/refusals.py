"""What the reading room refuses, each with a stable word and the HTTP status that it means."""

from kirik.errors import KirikError


class Refusal(KirikError):
    """Base of all of them. `reason`: a short, stable word. `status`: of HTTP.

    code: a finer word than the reason, where a person can do something about it; pages in other
    languages than English say what it means.
    """

    reason, status = "refused", 400

    def __init__(self, message: str, code: str | None = None):
        super().__init__(message)
        self.code = code


class NotFound(Refusal):
    """There is no such thing, or it is none of the asker's business, which must look alike."""

    reason, status = "not_found", 404


class NotAllowed(Refusal):
    """The role does not reach so far."""

    reason, status = "not_allowed", 403


class NotSignedIn(Refusal):
    """A wrong name or password, or a session or a token that is none (any more)."""

    reason, status = "not_signed_in", 401


class TooMany(Refusal):
    """Too often in too short a time. `seconds`: to wait before the next time."""

    reason, status = "too_many", 429

    def __init__(self, message: str, seconds: float):
        super().__init__(message)
        self.seconds = seconds


class Conflict(Refusal):
    """What is there already, or has changed meanwhile, forbids it."""

    reason, status = "conflict", 409


class Invalid(Refusal):
    """A value that cannot be used."""

    reason, status = "invalid", 422


class Unavailable(Refusal):
    """The database is away for the moment, or no file can be decoded; nothing was changed. Try
    again."""

    reason, status = "unavailable", 503


class StorageFull(Refusal):
    """The disk is full; nothing was kept."""

    reason, status = "storage_full", 507
