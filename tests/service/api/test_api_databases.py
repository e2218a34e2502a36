"""The API says the same on SQLite and on PostgreSQL, and goes on where nothing can be written."""

import io
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from rooms import png, refused
from sqlalchemy import update

from kirik.service import engine
from kirik.service.engine import now_of
from kirik.service.export import TABLE
from kirik.service.tables import SignIn, Token
from service.helpers import disk_of


def test_the_whole_way_is_the_same_on_either_database(make_room, database_url, dicom_file):
    room = make_room(database_url=database_url)
    http = room.http()
    strong, weak, film = room.submit(png(0.9, seed=1), png(0.1, seed=2), dicom_file)
    for study, said in (
        (strong, {"agrees": True, "boxes": [{"x": 1, "y": 2, "width": 9, "height": 9}]}),
        (weak, {"agrees": False, "decision": "fracture", "comment": "ince çizgi"}),
        (weak, {"agrees": True}),
    ):
        assert http.post(f"/studies/{study}/reviews", json=said).status_code == 201
    order = [one["id"] for one in http.get("/studies").json()["studies"]]
    assert (order[0], order[-1]) == (strong, weak)
    assert [one["id"] for one in http.get("/studies?q=yılmaz").json()["studies"]] == [film]
    assert http.get(f"/studies/{weak}").json()["reviewed"] == "agreed"
    assert http.get("/agreement").json()["totals"]["agreed"] == 2
    assert http.get("/reviews.csv").text.count("\n") == 4
    with zipfile.ZipFile(io.BytesIO(http.get("/reviews.zip").content)) as archive:
        assert archive.read(TABLE).decode().count("\n") == 3
    assert 'kirik_studies{state="read"} 3.0' in httpx.get(f"{room.url}/metrics").text
    with http.stream("GET", "/events", headers={"Last-Event-ID": "0"}) as answer:
        told = answer.iter_lines()
        assert any(line.startswith("event: study") for line in told)
    assert http.get("/trail", params={"verify": True}).json()["intact"] is True
    assert http.delete(f"/studies/{film}").status_code == 204
    own = room.http(room.token("reader", own=True))
    assert own.get("/studies").json()["studies"] == []
    assert own.get("/agreement").json()["totals"]["reviewed"] == 0
    assert http.get("/health").json()["status"] == "ok"


def test_a_database_that_goes_away_is_503_and_comes_back(make_room, cluster):
    room = make_room(database_url=cluster.new_database())
    http = room.http()
    [study] = room.submit(png(0.9))
    cluster.stop()
    try:
        refused(http.get(f"/studies/{study}"), 503, "unavailable")
        refused(http.post("/studies", files={"files": png(seed=9)}), 503, "unavailable")
        health = http.get("/health")
        assert (health.status_code, health.json()["parts"]["database"]) == (503, "away")
    finally:
        cluster.start()
    assert http.get(f"/studies/{study}").status_code == 200
    assert http.post("/studies", files={"files": png(seed=9)}).status_code == 202


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Another program fills the disk."""
    with suppress(OSError), (disk / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass
    yield


@contextmanager
def locked(disk: Path) -> Iterator[None]:
    """Another program holds SQLite's lock."""
    other = sqlite3.connect(disk / "data" / "kirik.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


@pytest.mark.parametrize("unwritable", [full, locked])
def test_who_only_looks_goes_on_looking_where_nothing_can_be_written(
    make_room, tmp_path, monkeypatch, unwritable
):
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 1)
    with disk_of(tmp_path / "disk", 8) as disk:
        room = make_room(data=disk / "data", least_free_bytes=0)
        device, person = room.http(room.token()), room.http()
        name, password = room.account("ayse", "reviewer")
        assert person.post("/session", json={"name": name, "password": password}).is_success
        [study] = room.submit(png(0.9), http=device)
        with room.core.database.writing() as session:
            before = now_of(session) - timedelta(minutes=5)
            session.execute(update(SignIn).values(last_seen_at=before))
            session.execute(update(Token).values(last_used_at=before))
        with unwritable(disk):
            for http in (device, person):
                assert http.get("/studies").status_code == 200
                assert http.get(f"/studies/{study}/image").status_code == 200
            assert device.post("/studies", files={"files": png(seed=9)}).status_code in (503, 507)
