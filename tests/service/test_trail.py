"""The audit trail: what happened stands in it, and none can change it unseen."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from kirik.cli import run
from kirik.service import audit_trail
from kirik.service.audit_trail import entries, record, verify

TRIGGERS = {
    "sqlite": [f"DROP TRIGGER trail_no_{what}" for what in ("update", "delete", "replace")],
    "postgresql": ["ALTER TABLE trail DISABLE TRIGGER ALL"],
}


def written(core, count: int = 10) -> None:
    for n in range(count):
        with core.database.writing() as session:
            record(session, "ayse", "study.looked", f"s{n}", why="ünlü", n=n)


def tampered(core, *statements: str) -> None:
    """As one who rules the database does it."""
    with core.database.writing() as session:
        for statement in (*TRIGGERS[core.database.kind], *statements):
            session.execute(text(statement))


def verified(core, head: str | None = None) -> audit_trail.Verified:
    with core.database.reading() as session:
        return verify(session, head)


def test_lines_follow_each_other_whoever_writes_them(core):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: written(core, 5), range(4)))
    found = verified(core)
    assert (found.ok, found.entries) == (True, 20)
    with core.database.reading() as session:
        assert [line.number for line in entries(session, limit=3)] == [20, 19, 18]
        assert [line.number for line in entries(session, before=18, limit=2)] == [17, 16]


def test_a_block_that_is_undone_leaves_no_line_and_no_gap(core):
    written(core, 2)

    def fail():
        with core.database.writing() as session:
            record(session, "ayse", "study.deleted", "s")
            raise KeyError("undone")

    with pytest.raises(KeyError):
        fail()
    written(core, 1)
    assert verified(core) == audit_trail.Verified(True, 3, verified(core).head)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trail SET who = 'x' WHERE number = 3",
        "UPDATE trail SET hash = hash",
        "DELETE FROM trail WHERE number = 10",
        "DELETE FROM trail",
        "TRUNCATE trail",
        "INSERT OR REPLACE INTO trail SELECT number, at, 'x', action, subject, details, previous,"
        " hash FROM trail WHERE number = 3",
    ],
)
def test_the_database_refuses_to_change_or_delete_a_line(core, statement):
    foreign = {"sqlite": "TRUNCATE", "postgresql": "OR REPLACE"}[core.database.kind]
    if foreign in statement:
        pytest.skip("the other database's language")
    written(core)

    def change():
        with core.database.writing() as session:
            session.execute(text(statement))

    with pytest.raises(DBAPIError, match="only ever added to"):
        change()
    assert verified(core).entries == 10


@pytest.mark.parametrize(
    ("statement", "broken", "why"),
    [
        ("UPDATE trail SET who = 'x' WHERE number = 4", 4, "changed"),
        ("UPDATE trail SET details = '{}' WHERE number = 4", 4, "changed"),
        ("UPDATE trail SET at = '2020' WHERE number = 1", 1, "changed"),
        ("UPDATE trail SET previous = hash WHERE number = 4", 4, "follow"),
        ("DELETE FROM trail WHERE number = 4", 4, "missing"),
        ("DELETE FROM trail WHERE number = 1", 1, "missing"),
        ("DELETE FROM trail WHERE number > 8", 9, "end"),
        ("DELETE FROM trail", 1, "end"),
        (
            "UPDATE counters SET value = 8, text = (SELECT hash FROM trail WHERE number = 8)"
            " WHERE name = 'trail'",
            9,
            "added",
        ),
    ],
)
def test_the_first_line_that_was_tampered_with_is_named(core, statement, broken, why):
    written(core)
    tampered(core, statement)
    found = verified(core)
    assert (found.ok, found.broken) == (False, broken)
    assert why in found.problem


def test_a_trail_that_was_written_anew_lacks_the_head_that_was_noted(core):
    written(core, 5)
    noted = verified(core).head
    written(core, 5)
    assert verified(core, noted).ok
    tampered(
        core,
        "DELETE FROM trail",
        f"UPDATE counters SET value = 0, text = '{audit_trail.START}' WHERE name = 'trail'",
    )
    written(core, 10)
    assert verified(core).ok
    assert not verified(core, noted).ok


def test_a_trail_that_grows_while_it_is_looked_through_is_unbroken(core):
    written(core, 5)
    looked = []

    def grow(_connection, _cursor, statement: str, *_) -> None:
        if statement.startswith("SELECT"):
            looked.append(statement)
            written(core, 1)

    event.listen(core.database.engine, "after_cursor_execute", grow)
    found = verified(core)
    event.remove(core.database.engine, "after_cursor_execute", grow)
    assert (found.ok, found.problem) == (True, None)
    assert verified(core).entries == 5 + len(looked) > 6


def test_kirik_audit_verify_names_the_first_broken_line(core, monkeypatch, capsys):
    monkeypatch.setenv("KIRIK_DATABASE_URL", core.settings.database_url or "")
    command = ["audit", "verify", "--data", str(core.settings.data)]
    written(core)
    assert run(command) == 0
    assert capsys.readouterr().out.startswith("10 lines, unbroken; head ")
    tampered(core, "UPDATE trail SET who = 'x' WHERE number = 4")
    assert run(command) == 1
    assert capsys.readouterr().err == (
        "kirik: the audit trail is broken at line 4: it was changed\n"
    )


@pytest.mark.parametrize(
    "command", ["audit verify", "users list", "users disable ayse", "users password ayse"]
)
def test_no_command_makes_a_room_of_a_mistyped_folder(tmp_path, monkeypatch, capsys, command):
    monkeypatch.delenv("KIRIK_DATABASE_URL", raising=False)
    typo = tmp_path / "typo"
    assert run([*command.split(), "--data", str(typo)]) == 2
    assert capsys.readouterr().err.startswith(f"kirik: {typo}: no reading room there; ")
    assert not typo.exists()
