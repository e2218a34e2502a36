"""Who may do and see what.

A reader hands radiographs in and sees readings; a reviewer judges them, too; an administrator
does all. Beside the role, `patients` says whether patients' names and ids are shown, and `own`
that only what was handed in by oneself is.
"""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, exists, select, true
from sqlalchemy.orm import Session

from kirik.service.refusals import NotAllowed, NotFound
from kirik.service.tables import ROLES, Account, Study, Submission


@dataclass(frozen=True)
class Principal:
    """A person or a device that asks. name: as it stands in the audit trail."""

    name: str
    role: str
    patients: bool
    own: bool
    kind: Literal["person", "device", "local"]
    language: str | None = None


LOCAL = Principal("local", "administrator", patients=True, own=False, kind="local")
"""Whoever sits at this machine, as long as there is no account."""


_ANYONE = select(exists().where(Account.number.is_not(None)))


def anyone(session: Session) -> bool:
    """Whether there is an account, and so everyone must sign in."""
    return bool(session.connection().scalar(_ANYONE))


def allows(principal: Principal, role: str) -> bool:
    """Whether a principal's role reaches as far as this one."""
    return ROLES.index(principal.role) >= ROLES.index(role)


def require(principal: Principal, role: str) -> None:
    """Raises NotAllowed where the principal's role does not reach as far as this one."""
    if not allows(principal, role):
        raise NotAllowed(f"this takes the role {role}; ask an administrator")


def require_all(principal: Principal) -> None:
    """Raises NotAllowed where the principal sees its own studies alone."""
    if principal.own:
        raise NotAllowed("this tells of all studies, and you see your own; ask an administrator")


def sees_patients(principal: Principal) -> bool:
    """Whether patients' names and ids are shown to it."""
    return principal.patients


def visible(principal: Principal) -> ColumnElement[bool]:
    """The condition for the studies that a principal may see."""
    if not principal.own:
        return true()
    handed_in = exists().where(Submission.study_id == Study.id, Submission.by == principal.name)
    return handed_in


def may_see(session: Session, principal: Principal, study: Study) -> bool:
    """Whether a principal may see a study."""
    if not principal.own:
        return True
    return session.get(Submission, (principal.name, study.id)) is not None


def study_for(session: Session, principal: Principal, study_id: str) -> Study:
    """A study that the principal may see. Raises NotFound for any other, there or not."""
    study = session.get(Study, study_id)
    if study is None or not may_see(session, principal, study):
        raise NotFound("no such study; it may have been deleted")
    return study
