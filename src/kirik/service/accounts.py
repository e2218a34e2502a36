"""People's accounts: Argon2id passwords, roles, and a lock-out that is the same for every name.

A name is kept in small letters, and found whichever of I, İ, ı and i it is typed with: what is a
capital's small letter depends on the language, and on a keyboard's caps lock.
"""

import re
import unicodedata
from datetime import timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from kirik.service import audit_trail
from kirik.service.access import LOCAL
from kirik.service.core import Core
from kirik.service.engine import now_of
from kirik.service.limits import hit, row_of
from kirik.service.refusals import Conflict, Invalid, NotFound, NotSignedIn, TooMany
from kirik.service.tables import ROLES, Account, Entry, SignIn, Token

LEAST_LETTERS, MOST_LETTERS = 12, 1024
TRIES = 5
"""Wrong passwords in a row after which a name is locked, at first for `LOCKED_SECONDS`, each
further time for twice as long, up to `MOST_LOCKED_SECONDS`."""

LOCKED_SECONDS, MOST_LOCKED_SECONDS = 60, 3600
_A_DAY, _TRIES_OF_AN_ADDRESS = 86_400, 30

_TAKEN = frozenset({LOCAL.name, "worker", "folder", "retention"})
"""What stands in the audit trail for nobody's account."""

_LISTED = ", ".join(sorted(_TAKEN))
_NAME = re.compile(r"[\w][\w.@+-]{0,79}")
_HASHER = PasswordHasher()
"""Argon2id by the second recommendation of RFC 9106: 64 MiB, three passes."""


def add(
    session: Session,
    name: str,
    password: str,
    role: str = "reader",
    *,
    patients: bool | None = None,
    own: bool = False,
    by: str = "local",
) -> Account:
    """A new account. Raises Invalid for an unusable name, password or role, Conflict for a name
    that is taken.

    patients: whether patients' names are shown; from the reviewer on where None.
    """
    name = checked_name(name)
    _check_role(role)
    if is_taken(session, name) or _was_a_tokens(session, name):
        raise Conflict(f"the name {name} is taken; choose another", "name_taken")
    account = Account(
        name=name,
        password=hashed(name, password),
        role=role,
        patients=role != "reader" if patients is None else patients,
        own=own,
    )
    session.add(account)
    session.flush()
    audit_trail.record(session, by, "account.added", name, role=role, patients=account.patients)
    return account


def listed(session: Session) -> list[Account]:
    """All accounts by name."""
    return list(session.scalars(select(Account).order_by(Account.name)))


def find(session: Session, name: str) -> Account:
    """Raises NotFound where there is none of this name."""
    account = _named(session, _plain(name))
    if account is None:
        raise NotFound("no account of this name; see kirik users list")
    return account


def change(
    session: Session,
    name: str,
    *,
    by: str,
    role: str | None = None,
    enabled: bool | None = None,
    patients: bool | None = None,
    own: bool | None = None,
    language: str | None = None,
) -> Account:
    """Change what is given. Raises NotFound, Invalid, and Conflict where no administrator would
    be left. Whoever is disabled, or of another role now, is signed out, and administrators' tokens
    that one who is no administrator any more made are removed."""
    account = find(session, name)
    if role is not None or enabled is not None:
        _lock(session, account)
    asked = {"role": role, "enabled": enabled, "patients": patients, "own": own}
    changes = {key: value for key, value in asked.items() if value is not None}
    changes = {key: value for key, value in changes.items() if getattr(account, key) != value}
    if role is not None:
        _check_role(role)
    ends = account.role == "administrator" and (
        "role" in changes or changes.get("enabled") is False
    )
    if ends and account.enabled:
        _refuse_the_last(session, account)
    for key, value in changes.items():
        setattr(account, key, value)
    if language is not None:
        account.language = language[:8]
    if changes:
        session.execute(delete(SignIn).where(SignIn.account_number == account.number))
        if ends:
            _remove_administrators_tokens(session, account, by)
        audit_trail.record(session, by, "account.changed", account.name, **changes)
    return account


def set_password(session: Session, name: str, password: str, *, by: str) -> None:
    """A new password; whoever was signed in with the old one is signed out."""
    account = find(session, name)
    account.password = hashed(account.name, password)
    session.execute(delete(SignIn).where(SignIn.account_number == account.number))
    audit_trail.record(session, by, "account.password", account.name)


def check_password(core: Core, name: str, password: str, address: str) -> Account:
    """The account of a name and its password.

    Raises NotSignedIn, the same whatever is wrong and as late, which stands in the audit trail, and
    TooMany after repeated failures of the name or the address.
    """
    name = _plain(name)[:MOST_LETTERS]
    hit(core, f"sign-in-from:{address}", _TRIES_OF_AN_ADDRESS, 60)
    with core.database.reading() as session:
        account = _named(session, name)
    # Counted by the account, or each way to write its name would give as many tries again.
    name = account.name if account else _folded(name)
    _refuse_locked(core, name)
    known = _verified(account.password if account else _no_ones(), password)
    opened = _opened(core, account, password) if known and account and account.enabled else None
    if opened is None:
        _count_failure(core, name, address, known=account is not None)
        raise NotSignedIn("wrong name or password")
    return opened


def unchanged(session: Session, account: Account) -> Account | None:
    """The account anew, and locked until the transaction's end; None where its password is not that
    of `account` any more, or it is disabled: somebody changed it while its owner signed in."""
    found = session.get(Account, account.number, with_for_update=True, populate_existing=True)
    same = found is not None and found.enabled and found.password == account.password
    return found if same else None


def checked_name(name: str) -> str:
    """A name as it is kept. Raises Invalid."""
    name = _plain(name)
    if not _NAME.fullmatch(name) or _folded(name) in _TAKEN:
        what = f"a name has 1 to 80 letters, digits and . @ + - _, and is none of {_LISTED}"
        raise Invalid(what, "name_unusable")
    return name


def is_taken(session: Session, name: str) -> bool:
    """Whether an account or a token has this name, or one that is not told from it."""
    return any(
        session.scalar(select(func.count()).where(_alike(table.name, name)))
        for table in (Account, Token)
    )


def hashed(name: str, password: str) -> str:
    """A new password's hash. Raises Invalid for one that is too short, too long, or the name."""
    if not LEAST_LETTERS <= len(password) <= MOST_LETTERS:
        what = f"a password has {LEAST_LETTERS} to {MOST_LETTERS} letters; take a sentence"
        raise Invalid(what, "password_length")
    if len(set(password)) < 5 or _folded(password) == _folded(name):
        raise Invalid("this password is too easy to guess; take a sentence", "password_easy")
    return _HASHER.hash(_normal(password))


def _was_a_tokens(session: Session, name: str) -> bool:
    """Whether a token that was removed had this name: what it handed in would be shown as one's
    own. Another token may have it again, for the same device."""
    made = exists().where(Entry.subject == name, Entry.action == "token.made")
    return bool(session.scalar(select(made)))


def _plain(name: str) -> str:
    # Python's small İ is an i with a dot of its own above it.
    return unicodedata.normalize("NFKC", name).strip().lower().replace("i\u0307", "i")


def _folded(name: str) -> str:
    return _plain(name).replace("ı", "i")


def _alike(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return func.replace(column, "ı", "i") == _folded(name)


def _named(session: Session, name: str) -> Account | None:
    """The account of a plain name. Older rooms may have two that are alike: then it is the one that
    is written so, or none."""
    alike = list(session.scalars(select(Account).where(_alike(Account.name, name))))
    exact = [account for account in alike if account.name == name]
    found = exact or alike
    return found[0] if len(found) == 1 else None


def _normal(password: str) -> str:
    # The same letters may be composed in one system and not in another.
    return unicodedata.normalize("NFC", password)


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Invalid(f"role {role!r}: give {', '.join(ROLES)}")


def _lock(session: Session, account: Account) -> None:
    """Keep an account and all administrators' as they are now until the transaction's end: of two
    who demote each other at the same time, each would count on the other."""
    concerned = or_(Account.number == account.number, Account.role == "administrator")
    # All lock in the same order, or two would wait for each other.
    asked = select(Account).where(concerned).order_by(Account.number).with_for_update()
    session.scalars(asked, execution_options={"populate_existing": True}).all()


def _refuse_the_last(session: Session, account: Account) -> None:
    others = select(func.count()).where(
        Account.role == "administrator", Account.enabled, Account.number != account.number
    )
    if not session.scalar(others):
        what = "this is the last administrator; make another one first"
        raise Conflict(what, "last_administrator")


def _remove_administrators_tokens(session: Session, account: Account, by: str) -> None:
    """Those that the account made, or that tokens among these made: who made one knows its secret.
    Tokens of a smaller role stay, since a device that hands in would fall silent."""
    makers = [account.name]
    for maker in makers:
        made = select(Token).where(Token.created_by == maker, Token.role == "administrator")
        for token in session.scalars(made).all():
            makers.append(token.name)
            audit_trail.record(session, by, "token.removed", token.name)
            session.delete(token)


def _verified(hash_: str, password: str) -> bool:
    if len(password) > MOST_LETTERS:
        return False
    try:
        return _HASHER.verify(hash_, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


def _opened(core: Core, account: Account, password: str) -> Account | None:
    """Note that an account's right password was given, and keep it by today's costs; None where it
    is the right one no more."""
    kept = account.password
    if _HASHER.check_needs_rehash(kept):
        kept = _HASHER.hash(_normal(password))
    with core.database.writing() as session:
        row = row_of(session, f"sign-in:{account.name}", _A_DAY)
        found = unchanged(session, account)
        if found is not None:
            row.count, found.password, found.last_seen_at = 0, kept, now_of(session)
        return found


@cache
def _no_ones() -> str:
    """The hash that a name without an account is checked against, so that it takes as long."""
    return _HASHER.hash("no one's")


def _refuse_locked(core: Core, name: str) -> None:
    with core.database.writing() as session:
        row, moment = row_of(session, f"sign-in:{name}", _A_DAY), now_of(session)
        left = (row.locked_until - moment).total_seconds() if row.locked_until else 0
    if left > 0:
        raise TooMany("too many wrong passwords; wait before the next one", left)


def _count_failure(core: Core, name: str, address: str, *, known: bool) -> None:
    with core.database.writing() as session:
        row, moment = row_of(session, f"sign-in:{name}", _A_DAY), now_of(session)
        row.count += 1
        if row.count >= TRIES:
            seconds = min(LOCKED_SECONDS * 2 ** (row.count - TRIES), MOST_LOCKED_SECONDS)
            row.locked_until = moment + timedelta(seconds=seconds)
        # Some type their password where the name should stand: no unknown one is written down.
        audit_trail.record(session, name if known else "–", "session.refused", address=address)
