"""Accounts, sessions, tokens, and what is refused to whom."""

import threading
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from kirik.service import access, accounts, limits, sessions, tokens
from kirik.service.access import LOCAL, Principal
from kirik.service.engine import now_of
from kirik.service.refusals import Conflict, Invalid, NotAllowed, NotFound, NotSignedIn, TooMany
from kirik.service.tables import Account, Entry, Hit, SignIn, Token

GOOD = "bone on dark ground"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """Argon2 at its cheapest: what it costs is its own tests' business."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "_HASHER", quick)
    accounts._no_ones.cache_clear()
    yield
    accounts._no_ones.cache_clear()


def add(core, name: str = "ayse", role: str = "reviewer", **said) -> Account:
    with core.database.writing() as session:
        return accounts.add(session, name, GOOD, role, **said)


def sign_in(core, name: str = "ayse", password: str = GOOD, address: str = "10.0.0.1"):
    return accounts.check_password(core, name, password, address)


def later(core, table, **columns) -> None:
    """As if so much time had passed for all rows of a table."""
    with core.database.writing() as session:
        moment = now_of(session)
        session.execute(update(table).values({k: moment + v for k, v in columns.items()}))


def test_passwords_are_kept_as_argon2id_alone():
    from argon2 import Type

    assert PasswordHasher().type is Type.ID
    assert PasswordHasher().memory_cost >= 64 * 1024


def test_the_right_password_opens_and_any_other_does_not(core):
    account = add(core)
    assert account.password.startswith("$argon2id$")
    assert GOOD not in account.password
    assert sign_in(core).name == "ayse"
    assert sign_in(core, name=" AYSE ").name == "ayse"
    for name, password in (("ayse", GOOD + "x"), ("ayse", ""), ("nobody", GOOD), ("", "")):
        with pytest.raises(NotSignedIn, match="wrong name or password"):
            sign_in(core, name, password)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "x" * 1025, "longusername1"])
def test_a_password_that_is_easy_to_guess_is_refused(sqlite_core, password):
    with sqlite_core.database.writing() as session, pytest.raises(Invalid):
        accounts.add(session, "longusername1", password, "reader")


@pytest.mark.parametrize(
    "name", ["", " ", "local", "Worker", "a b", "a\nb", "../x", "<b>", "x" * 81 + "\0"]
)
def test_a_name_that_is_none_is_refused(sqlite_core, name):
    with sqlite_core.database.writing() as session, pytest.raises(Invalid):
        accounts.add(session, name, GOOD, "reader")


def test_a_name_is_one_accounts_or_one_tokens(core):
    add(core, "ct")
    with core.database.writing() as session:
        tokens.make(session, "xr", "reader", by="boss")
    with pytest.raises(Conflict):
        add(core, "CT")
    with pytest.raises(Conflict):
        add(core, "xr")
    with core.database.writing() as session, pytest.raises(Conflict):
        tokens.make(session, "ct", "reader", by="boss")


def test_wrong_passwords_lock_the_name_for_longer_each_time_whether_it_exists_or_not(core):
    add(core)
    for name in ("ayse", "nobody"):
        later(core, Hit, until=timedelta(seconds=-1), locked_until=timedelta(seconds=-1))
        for n in range(accounts.TRIES):
            with pytest.raises(NotSignedIn):
                sign_in(core, name, "wrong", f"10.0.1.{n}")
        with pytest.raises(TooMany) as refused:
            sign_in(core, name)
        assert 50 < refused.value.seconds <= accounts.LOCKED_SECONDS
        later(core, Hit, locked_until=timedelta(seconds=-1))
        with pytest.raises(NotSignedIn):
            sign_in(core, name, "wrong")
        with pytest.raises(TooMany) as refused:
            sign_in(core, name)
        assert accounts.LOCKED_SECONDS < refused.value.seconds <= 2 * accounts.LOCKED_SECONDS


def test_the_right_password_after_a_lock_begins_anew(core):
    add(core)
    for _ in range(accounts.TRIES):
        with pytest.raises(NotSignedIn):
            sign_in(core, "ayse", "wrong")
    later(core, Hit, locked_until=timedelta(seconds=-1))
    assert sign_in(core).name == "ayse"
    with pytest.raises(NotSignedIn):
        sign_in(core, "ayse", "wrong")
    assert sign_in(core).name == "ayse"


def test_an_address_that_tries_many_names_is_slowed_down(core):
    for n in range(30):
        with pytest.raises(NotSignedIn):
            sign_in(core, f"name{n}", "wrong")
    with pytest.raises(TooMany):
        sign_in(core, "another", "wrong")
    with pytest.raises(NotSignedIn):
        sign_in(core, "another", "wrong", "10.9.9.9")


def test_what_was_typed_for_a_name_is_written_down_only_if_it_is_one(core):
    add(core)
    for name in ("ayse", "my secret password"):
        with pytest.raises(NotSignedIn):
            sign_in(core, name, "wrong")
    with core.database.reading() as session:
        refused = list(session.scalars(select(Entry).where(Entry.action == "session.refused")))
        kept = list(session.scalars(select(Hit.key)))
    assert [line.who for line in refused] == ["ayse", "–"]
    assert not any("secret" in line.details + line.subject for line in refused)
    assert not any("secret" in key for key in kept)


def test_a_disabled_account_is_out_at_once_and_cannot_come_back(core):
    add(core, "boss", "administrator")
    account = add(core)
    with core.database.writing() as session:
        secret = sessions.begin(session, account, core.settings)
    assert sessions.find(core, secret).name == "ayse"
    with core.database.writing() as session:
        accounts.change(session, "ayse", enabled=False, by="boss")
    assert sessions.find(core, secret) is None
    with pytest.raises(NotSignedIn):
        sign_in(core)


@pytest.mark.parametrize("change", [{"enabled": False}, {"role": "reader"}])
def test_the_last_administrator_stays_one(core, change):
    add(core, "boss", "administrator")
    with core.database.writing() as session, pytest.raises(Conflict):
        accounts.change(session, "boss", by="boss", **change)
    add(core, "deputy", "administrator")
    with core.database.writing() as session:
        accounts.change(session, "boss", by="deputy", **change)


def test_of_two_administrators_who_demote_each_other_at_once_one_is_left(core):
    add(core, "boss", "administrator")
    add(core, "deputy", "administrator")
    refused = []

    def demote_the_boss() -> None:
        try:
            with core.database.writing() as session:
                accounts.change(session, "boss", role="reader", by="deputy")
        except Conflict as error:
            refused.append(error.code)

    meanwhile = threading.Thread(target=demote_the_boss)
    with core.database.writing() as session:
        accounts.change(session, "deputy", role="reader", by="boss")
        meanwhile.start()
        meanwhile.join(0.5)
    meanwhile.join()
    with core.database.reading() as session:
        assert [one.role for one in accounts.listed(session)] == ["administrator", "reader"]
    assert refused == ["last_administrator"]


def test_an_administrators_own_administrators_tokens_end_with_the_role(core):
    add(core, "boss", "administrator")
    for name, role in (("deputy", "administrator"), ("away", "administrator")):
        add(core, name, role)
    made = (("all", "administrator", "deputy"), ("more", "administrator", "all"))
    made += (("ct", "reader", "deputy"), ("backup", "administrator", "boss"))
    with core.database.writing() as session:
        for name, role, by in made:
            tokens.make(session, name, role, by=by)
    with core.database.writing() as session:
        accounts.change(session, "deputy", enabled=False, by="boss")
    with core.database.reading() as session:
        assert [token.name for token in tokens.listed(session)] == ["backup", "ct"]
        removed = select(Entry.subject).where(Entry.action == "token.removed", Entry.who == "boss")
        assert set(session.scalars(removed)) == {"all", "more"}


def test_an_account_does_not_take_the_name_of_a_token_that_was_removed(core):
    with core.database.writing() as session:
        token, _ = tokens.make(session, "ct", "reader", by="boss")
        tokens.remove(session, token.id, by="boss")
    with pytest.raises(Conflict):
        add(core, "CT")
    with core.database.writing() as session:  # the device's next one
        tokens.make(session, "ct", "reader", by="boss")


@pytest.mark.parametrize(
    "change",
    [
        lambda session: accounts.set_password(session, "ayse", "another long one 7", by="boss"),
        lambda session: accounts.change(session, "ayse", enabled=False, by="boss"),
    ],
    ids=["password", "disabled"],
)
@pytest.mark.parametrize("when", ["while it is checked", "before the session"])
def test_what_changes_while_somebody_signs_in_counts(core, monkeypatch, change, when):
    add(core)

    class Slow(PasswordHasher):
        """Asks for a new hash of each password; while it checks one, the account is changed."""

        def verify(self, kept, password):
            same = super().verify(kept, password)
            if when == "while it is checked":
                with core.database.writing() as session:
                    change(session)
            return same

    monkeypatch.setattr(accounts, "_HASHER", Slow(time_cost=2, memory_cost=8, parallelism=1))
    with pytest.raises(NotSignedIn):  # noqa: PT012
        account = sign_in(core)
        with core.database.writing() as session:
            change(session)
        with core.database.writing() as session:
            sessions.begin(session, account, core.settings)
    with core.database.reading() as session:
        assert not list(session.scalars(select(SignIn)))
        kept = accounts.find(session, "ayse")
    if kept.enabled:
        assert PasswordHasher().verify(kept.password, "another long one 7")


def test_a_password_that_is_kept_by_newer_costs_still_opens(sqlite_core, monkeypatch):
    """Its letters may be composed otherwise than when it was made."""
    add(sqlite_core)
    with sqlite_core.database.writing() as session:
        accounts.set_password(session, "ayse", "gölge düşen kemik", by="boss")
    costlier = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "_HASHER", costlier)
    for password in ("go\u0308lge du\u0308s\u0327en kemik", "gölge düşen kemik"):
        assert "t=2" in sign_in(sqlite_core, password=password).password


def test_another_password_or_role_ends_the_sessions(core):
    add(core)
    for change in (
        lambda session: accounts.set_password(session, "ayse", "another long one 7", by="boss"),
        lambda session: accounts.change(session, "ayse", role="reader", by="boss"),
    ):
        with core.database.writing() as session:
            account = accounts.find(session, "ayse")
            secret = sessions.begin(session, account, core.settings)
        assert sessions.find(core, secret)
        with core.database.writing() as session:
            change(session)
        assert sessions.find(core, secret) is None
    with pytest.raises(NotSignedIn):
        sign_in(core)
    assert sign_in(core, password="another long one 7").role == "reader"


def test_a_session_is_found_by_its_secret_alone_which_is_not_kept(core):
    account = add(core)
    with core.database.writing() as session:
        secret = sessions.begin(session, account, core.settings)
    with core.database.reading() as session:
        [row] = session.scalars(select(SignIn))
    assert len(secret) >= 43  # 256 bits
    assert secret not in row.key
    assert sessions.find(core, secret) == Principal("ayse", "reviewer", True, False, "person")
    for wrong in (secret[:-1], secret + "x", row.key, "", "\ud800"):
        assert sessions.find(core, wrong) is None
    with core.database.writing() as session:
        sessions.end(session, secret)
    assert sessions.find(core, secret) is None


def test_a_session_ends_after_its_time_and_when_it_is_idle(core):
    account = add(core)
    for passed in ({"expires_at": timedelta(0)}, {"last_seen_at": timedelta(hours=-3)}):
        with core.database.writing() as session:
            secret = sessions.begin(session, account, core.settings)
        assert sessions.find(core, secret)
        later(core, SignIn, **passed)
        assert sessions.find(core, secret) is None
    with core.database.writing() as session:
        assert sessions.forget(session, core.settings) >= 1


def test_a_look_that_is_no_use_does_not_put_off_an_idle_end(core):
    account = add(core)
    with core.database.writing() as session:
        secret = sessions.begin(session, account, core.settings)
        _, token = tokens.make(session, "ct", "reader", by="boss")
    later(core, SignIn, last_seen_at=timedelta(minutes=-90))
    for used in (False, True):
        assert sessions.find(core, secret, used=used)
        assert tokens.find(core, token, used=used)
        with core.database.reading() as session:
            seen = now_of(session) - session.scalar(select(SignIn.last_seen_at))
            assert (seen < timedelta(minutes=1)) is used
            assert (session.scalar(select(Token.last_used_at)) is not None) is used


def test_what_proves_a_pages_request_belongs_to_its_session():
    word = sessions.csrf_of("one")
    assert sessions.verify_csrf("one", word)
    assert not sessions.verify_csrf("two", word)
    assert not sessions.verify_csrf("one", "")


def test_a_token_is_shown_once_and_opens_until_it_is_removed(core):
    with core.database.writing() as session:
        token, secret = tokens.make(session, "ct", "reader", own=True, by="boss")
    with core.database.reading() as session:
        [row] = session.scalars(select(Token))
    assert secret not in row.key
    assert tokens.find(core, secret) == Principal("ct", "reader", False, True, "device")
    with core.database.reading() as session:
        assert session.get(Token, token.id).last_used_at is not None
    for wrong in (secret[:-1], row.key, "kirik_", ""):
        assert tokens.find(core, wrong) is None
    with core.database.writing() as session:
        tokens.remove(session, token.id, by="boss")
    assert tokens.find(core, secret) is None
    with core.database.writing() as session, pytest.raises(NotFound):
        tokens.remove(session, token.id, by="boss")


def test_each_role_may_do_what_the_one_before_it_may(sqlite_core):
    reader = Principal("a", "reader", False, False, "person")
    reviewer = Principal("b", "reviewer", True, False, "person")
    access.require(reader, "reader")
    access.require(reviewer, "reader")
    access.require(LOCAL, "administrator")
    for principal, role in ((reader, "reviewer"), (reviewer, "administrator")):
        with pytest.raises(NotAllowed):
            access.require(principal, role)


def test_there_is_no_account_from_the_start(core):
    with core.database.reading() as session:
        assert not access.anyone(session)
    add(core)
    with core.database.reading() as session:
        assert access.anyone(session)


def test_a_rate_holds_for_all_processes_and_begins_anew_after_its_time(core):
    for _ in range(3):
        limits.hit(core, "upload:ct", 3, 60)
    with pytest.raises(TooMany) as refused:
        limits.hit(core, "upload:ct", 3, 60)
    assert 0 < refused.value.seconds <= 60
    limits.hit(core, "upload:xr", 3, 60)
    later(core, Hit, until=timedelta(seconds=-1))
    limits.hit(core, "upload:ct", 3, 60)


@pytest.mark.parametrize(
    ("made", "kept", "typed"),
    [
        ("İbrahim", "ibrahim", ("ibrahim", "İBRAHİM", "IBRAHIM", "I\u0307brahim", "i\u0307brahim")),
        ("IŞIL", "işil", ("ışıl", "IŞIL", "Işıl", "işil")),
        ("çağrı", "çağrı", ("ÇAĞRI", "Çağrı", "çağri")),
    ],
)
def test_a_name_is_the_same_with_any_i(core, made, kept, typed):
    assert add(core, made).name == kept
    for name in typed:
        assert sign_in(core, name).name == kept
        with core.database.reading() as session:
            assert accounts.find(session, name).name == kept
        with pytest.raises(Conflict):
            add(core, name)
        with core.database.writing() as session, pytest.raises(Conflict):
            tokens.make(session, name, "reader", by="boss")
    with pytest.raises(NotSignedIn):
        sign_in(core, kept.replace("ş", "s").replace("ç", "c").replace("b", "d"))


def test_every_i_of_a_name_shares_its_tries(core):
    add(core, "ışıl")
    for n, name in enumerate(("ışıl", "IŞIL", "işil", "ışil", "İŞİL")):
        with pytest.raises(NotSignedIn):
            sign_in(core, name, "wrong", f"10.0.2.{n}")
    with pytest.raises(TooMany):
        sign_in(core, "ışıl")


def test_two_older_accounts_that_are_alike_go_on_to_work(core):
    with core.database.writing() as session:
        for n, name in enumerate(("ışıl", "işil")):
            password = accounts.hashed(name, f"{GOOD} {n}")
            session.add(Account(name=name, password=password, role="reader"))
    assert sign_in(core, "ışıl", f"{GOOD} 0").name == "ışıl"
    for name in ("işil", "IŞIL"):  # as before
        assert sign_in(core, name, f"{GOOD} 1").name == "işil"
    with pytest.raises(NotSignedIn):
        sign_in(core, "ışil", f"{GOOD} 1")
