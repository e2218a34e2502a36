"""How long studies are kept, and what is never deleted."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from kirik.cli import run
from kirik.service import retention, work
from kirik.service import worker as worker_module
from kirik.service.engine import now_of
from kirik.service.refusals import Invalid
from kirik.service.tables import Entry, Option, Reading, Study
from service.helpers import hand_in, png, read_all


def age(core, days: int, *ids: str) -> None:
    with core.database.writing() as session:
        then = now_of(session) - timedelta(days=days)
        session.execute(update(Study).where(Study.id.in_(ids)).values(received_at=then))


def left(core) -> list[str]:
    with core.database.reading() as session:
        return list(session.scalars(select(Study.id).order_by(Study.id)))


def test_nothing_is_deleted_as_long_as_nobody_says_so(core):
    ids = hand_in(core, png(0.5))
    read_all(core)
    age(core, 10_000, *ids)
    assert retention.sweep(core).studies == 0
    assert left(core) == ids


def test_what_is_older_goes_with_its_file_and_readings_and_leaves_a_line(core):
    [old, young, waiting] = hand_in(core, png(0.2), png(0.3), png(0.4))
    read_all(core)
    with core.database.writing() as session:
        work.read_again(session, waiting, by="boss")
        retention.set_days(session, 30, by="boss")
    age(core, 31, old, waiting)
    assert retention.sweep(core).studies == 1
    assert left(core) == [young, waiting]  # what is not read yet stays
    assert len(list((core.settings.data / "blobs").glob("??/*"))) == 2
    with core.database.reading() as session:
        assert session.scalar(select(func.count()).where(Reading.study_id == old)) == 0
        line = session.scalars(select(Entry).where(Entry.action == "study.deleted")).one()
    assert (line.who, line.subject) == ("retention", old)


def test_an_administrators_choice_counts_more_than_the_settings(core):
    settings = core.settings.model_copy(update={"retention_days": 7})
    with core.database.reading() as session:
        assert retention.days(session, settings) == 7
    with core.database.writing() as session:
        retention.set_days(session, None, by="boss")
    with core.database.reading() as session:
        assert retention.days(session, settings) is None
    with core.database.writing() as session, pytest.raises(Invalid):
        retention.set_days(session, 0, by="boss")


def test_what_a_worker_alone_was_told_is_what_the_room_does_and_says(core):
    """A server that has no worker of its own was told nothing of it."""
    [old] = hand_in(core, png(0.5))
    read_all(replace(core, settings=core.settings.model_copy(update={"retention_days": 7})))
    age(core, 8, old)
    assert retention.storage(core).retention_days == 7
    assert retention.sweep(core).studies == 1
    with core.database.writing() as session:
        session.get(Option, "retention_noted").value = {"days": 7, "until": 0.0}
    assert retention.storage(core).retention_days is None  # the worker has been gone for a while


def test_kirik_worker_takes_how_long_studies_are_kept(sqlite_core, monkeypatch):
    told = []
    monkeypatch.setattr(worker_module, "run_worker", lambda settings, _: told.append(settings))
    monkeypatch.delenv("KIRIK_DATABASE_URL", raising=False)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    data = str(sqlite_core.settings.data)
    assert run(["worker", "--data", data, "--retention-days", "30"]) == 0
    assert run(["worker", "--data", data, "--retention-days", "0"]) == 2
    assert [settings.retention_days for settings in told] == [30]


def test_storage_tells_what_there_is(core):
    assert retention.storage(core).studies == 0
    hand_in(core, png(0.5), png(0.6))
    found = retention.storage(core)
    assert (found.studies, found.bytes) == (2, len(png(0.5)) + len(png(0.6)))
    assert found.free_bytes > 0
    assert found.oldest is not None
