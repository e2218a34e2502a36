"""Watched folders: what appears is taken in once, whole, and never brought back."""

import os
import threading
from pathlib import Path

import pytest
from rooms import png
from sqlalchemy import select

from kirik.service import retention
from kirik.service.core import open_core
from kirik.service.settings import ServiceSettings
from kirik.service.tables import Entry, Study
from kirik.service.watch import Watcher


@pytest.fixture
def core(tmp_path):
    opened = open_core(ServiceSettings(data=tmp_path / "data", database_url=None))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    return place


def names(core) -> list[str]:
    with core.database.reading() as session:
        return sorted(session.scalars(select(Study.name)))


def test_a_file_is_taken_once_it_does_not_grow_any_more(core, folder):
    watcher = Watcher(core, [folder])
    content = png(seed=1)
    (folder / "a.png").write_bytes(content[:50])
    assert watcher.look() == 0
    (folder / "a.png").write_bytes(content)
    assert watcher.look() == 0
    assert watcher.look() == 1
    assert watcher.look() == 0
    assert names(core) == ["a.png"]
    assert (folder / "a.png").read_bytes() == content


def test_neither_a_new_start_nor_a_deletion_brings_a_file_back(core, folder):
    watcher = Watcher(core, [folder])
    (folder / "a.png").write_bytes(png(seed=1))
    watcher.look()
    watcher.look()
    with core.database.reading() as session:
        study = session.scalar(select(Study.id))
    retention.delete_study(core, study, by="test")
    again = Watcher(core, [folder])
    assert [again.look(), again.look(), names(core)] == [0, 0, []]
    os.utime(folder / "a.png", (1, 1))  # another file, by what is known of it
    assert [again.look(), again.look(), names(core)] == [0, 1, ["a.png"]]


def test_what_is_refused_stands_in_the_trail_once_and_without_its_name(core, folder):
    (folder / "Yilmaz.png").write_bytes(b"no image at all")
    (folder / "b.png").write_bytes(png(seed=2))
    watcher = Watcher(core, [folder])
    for _ in range(4):
        watcher.look()
    assert names(core) == ["b.png"]
    with core.database.reading() as session:
        lines = [(one.action, one.details) for one in session.scalars(select(Entry))]
    refused = [details for action, details in lines if action == "file.refused"]
    assert refused == ['{"reason": "not_an_image"}']
    assert "Yilmaz" not in str(lines)
    assert "Yilmaz" not in (core.settings.data / "watched.txt").read_text()


def test_a_file_that_cannot_be_read_is_told_once_and_costs_the_others_nothing(core, folder):
    unreadable = Path("/sys/class/net/lo/speed")  # EINVAL: as an unplugged disk's EIO
    if not unreadable.exists():
        pytest.skip("needs /sys")
    (folder / "a.png").symlink_to(unreadable)
    (folder / "b.png").write_bytes(png(seed=2))
    watcher = Watcher(core, [folder])
    assert [watcher.look() for _ in range(3)] == [0, 1, 0]
    (folder / "c.png").write_bytes(png(seed=3))
    assert [watcher.look() for _ in range(2)] == [0, 1]
    assert names(core) == ["b.png", "c.png"]
    with core.database.reading() as session:
        refused = select(Entry.details).where(Entry.action == "file.refused")
        assert list(session.scalars(refused)) == ['{"reason": "unreadable"}']


def test_a_folder_that_is_away_is_looked_at_again(core, folder, tmp_path):
    watcher, stop = Watcher(core, [tmp_path / "later"]), threading.Event()
    thread = threading.Thread(target=watcher.run, args=(stop,), kwargs={"every": 0.05})
    thread.start()
    folder.rename(tmp_path / "later")
    (tmp_path / "later" / "a.png").write_bytes(png(seed=1))
    try:
        for _ in range(100):
            if names(core):
                break
            stop.wait(0.05)
    finally:
        stop.set()
        thread.join(5)
    assert names(core) == ["a.png"]
