"""What is taken in, what is refused, and what a full disk or a crash in between leaves."""

import errno
import io
import os
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from dicom.helpers import content_of, dicom
from kirik.errors import RadiographError
from kirik.service import intake, retention, work
from kirik.service.core import open_core
from kirik.service.refusals import StorageFull
from kirik.service.results import Result
from kirik.service.settings import ServiceSettings
from kirik.service.tables import Entry, Study, Submission
from service.helpers import disk_of, hand_in, png, read_all, statements_of, upload


def studies(core) -> list[Study]:
    with core.database.reading() as session:
        return list(session.scalars(select(Study).order_by(Study.id)))


def files_on_disk(core) -> set[str]:
    return {p.parent.name + p.name for p in (core.settings.data / "blobs").glob("??/*")}


def drafts(core) -> list:
    return list((core.settings.data / "incoming").iterdir())


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_what_is_accepted_lies_on_the_disk_under_its_hash_and_nothing_else_does(core):
    content = png(0.4)
    [study_id] = hand_in(core, content)
    [study] = studies(core)
    assert (study.id, study.state, study.kind, study.size) == (
        study_id,
        "waiting",
        "png",
        len(content),
    )
    assert core.blobs.path(study.blob).read_bytes() == content
    assert files_on_disk(core) == {study.sha256}
    assert drafts(core) == []


@pytest.mark.parametrize("told", [None, "ISO_IR 6"])
@pytest.mark.parametrize("letters", ["utf-8", "cp1254"])
def test_a_turkish_name_is_read_where_no_character_set_is_told(sqlite_core, letters, told):
    """By the standard it could then only have the letters of ASCII."""
    name = "GÜLŞAH^IŞIKÖĞÜT".encode(letters)
    film = dicom(np.zeros((8, 8), np.uint16), PatientName="Q" * len(name), PatientID="ÇĞ-1")
    film.SpecificCharacterSet = "ISO_IR 192"
    content = content_of(film).replace(b"Q" * len(name), name)
    content = content.replace("ÇĞ-1".encode(), "ÇĞ-1".encode(letters).ljust(6))
    tag, other = b"\x08\0\5\0CS\x0a\0ISO_IR 192", b"\x08\0\5\0CS\x0a\0"
    assert content.count(tag) == 1
    hand_in(sqlite_core, content.replace(tag, other + (told or "").encode().ljust(10)))
    [study] = studies(sqlite_core)
    assert (study.patient_name, study.patient_id) == ("GÜLŞAH IŞIKÖĞÜT", "ÇĞ-1")


def test_the_same_bytes_are_the_same_study_whoever_hands_them_in(core):
    first = hand_in(core, png(0.4), png(0.4), by="ct")
    again = hand_in(core, png(0.4), by="ed")
    assert len({*first, *again}) == len(studies(core)) == 1
    with core.database.reading() as session:
        handed_in = {row.by for row in session.scalars(select(Submission))}
        lines = session.scalar(select(func.count()).where(Entry.action == "study.received"))
    assert handed_in == {"ct", "ed"}
    assert lines == 2


def test_one_bad_file_is_refused_and_the_others_are_taken_in(core):
    files = [upload("a.png", png(0.2)), upload("note.txt", b"hello"), upload("b.png", png(0.3))]
    files += [upload("c.gif", b"GIF89a..."), upload("empty.png", b"")]
    taken = intake.take_in(core, files, "ct")
    assert [one.name for one in taken.accepted] == ["a.png", "b.png"]
    reasons = {one.name: one.reason for one in taken.refused}
    assert reasons == {"note.txt": "not_an_image", "c.gif": "unsupported", "empty.png": "empty"}
    assert len(files_on_disk(core)) == 2
    assert drafts(core) == []


def test_no_name_of_the_user_becomes_a_file_or_leads_out_of_its_folder(sqlite_core):
    names = ["../../etc/passwd.png", "C:\\temp\\x.png", "a\0b\n.png", "\ud800.png", "/"]
    files = [upload(name, png(0.3, tag)) for tag, name in enumerate(names, 1)]
    intake.take_in(sqlite_core, files, "ct")
    assert [one.name for one in studies(sqlite_core)] == [
        *("passwd.png", "x.png", "ab.png", "?.png", "file")
    ]
    assert all(name.isalnum() for name in files_on_disk(sqlite_core))


def test_the_radiographs_of_a_zip_become_studies_of_one_exam(core):
    inside = {"hand/1.png": png(0.2), "hand/2.png": png(0.3), "readme.txt": b"hello"}
    taken = intake.take_in(core, [upload("hand.zip", zipped(**inside))], "ct")
    assert [one.name for one in taken.accepted] == ["1.png", "2.png"]
    assert len({study.exam for study in studies(core)}) == 1
    assert studies(core)[0].exam is not None
    assert drafts(core) == []


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_a_zip_that_was_taken_in_gives_its_room_back(core):
    """A decoding child that kept it open would hold its space on the disk, unseen."""
    content = zipped(**{f"{n}.png": png(0.4 + n / 10) for n in range(3)})
    assert len(intake.take_in(core, [upload("hand.zip", content)], "ct").accepted) == 3
    processes = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid="], capture_output=True
    )
    held = []
    for pid in processes.stdout.split():
        with suppress(OSError):  # ps itself is over
            held += [link.readlink() for link in Path(f"/proc/{int(pid)}/fd").iterdir()]
    assert held
    assert not [one for one in held if one.is_relative_to(core.settings.data)]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_files_of_one_name_in_a_zip_the_last_is_taken_in_and_the_other_named(core):
    """As `kirik predict` reads them."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, level in (("a.png", 0.2), ("b.png", 0.4), ("a.png", 0.6)):
            archive.writestr(name, png(level))
    taken = intake.take_in(core, [upload("both.zip", content.getvalue())], "ct")
    assert [one.name for one in taken.accepted] == ["a.png", "b.png"]
    kept = [core.blobs.path(one.blob).read_bytes() for one in studies(core)]
    assert sorted(kept) == sorted([png(0.4), png(0.6)])
    [refused] = taken.refused
    assert (refused.name, refused.reason) == ("both.zip", "unsupported")
    assert refused.error.startswith("both.zip/a.png: another file of the same name comes later")


def test_a_bomb_in_a_zip_is_refused_without_its_neighbours(sqlite_core):
    core = with_limits(sqlite_core, most_file_bytes=2**20)
    bomb = b"\x89PNG\r\n\x1a\n" + bytes(50 * 2**20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bomb)
        archive.writestr("film.png", png(0.3))
    taken = intake.take_in(core, [upload("both.zip", file.getvalue())], "ct")
    assert [one.name for one in taken.accepted] == ["film.png"]
    [refused] = taken.refused
    assert (refused.name, refused.reason) == ("both.zip/bomb.png", "too_large")
    assert str(core.settings.data) not in refused.error


def test_all_members_of_a_zip_together_are_limited_in_size_and_number(sqlite_core):
    members = {f"{n}.png": png(0.3, n) for n in range(6)}
    content = zipped(**members)
    small = with_limits(sqlite_core, most_zip_bytes=len(content))
    assert len(intake.take_in(small, [upload("a.zip", content)], "ct").accepted) == 6
    few = with_limits(sqlite_core, most_files=5)
    taken = intake.take_in(few, [upload("a.zip", content)], "ct")
    assert [one.reason for one in taken.refused] == ["too_many"]


@pytest.mark.parametrize("content", [b"PK\x03\x04 no zip at all", zipped(note=b"hello")])
def test_a_zip_that_is_none_or_holds_no_radiograph_is_refused(sqlite_core, content):
    taken = intake.take_in(sqlite_core, [upload("a.zip", content)], "ct")
    assert not taken.accepted
    [refused] = taken.refused
    assert refused.error.startswith("a.zip: ")
    assert drafts(sqlite_core) == []


def test_a_full_disk_keeps_nothing_says_so_and_all_else_goes_on(core, monkeypatch):
    [before] = hand_in(core, png(0.2))
    real = os.fsync

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="full"):
        intake.take_in(core, [upload("a.png", png(0.9))], "ct")
    assert [study.id for study in studies(core)] == [before]
    assert drafts(core) == []
    monkeypatch.setattr(os, "fsync", real)
    assert len(hand_in(core, png(0.9))) == 1


@pytest.fixture
def tiny_disk(tmp_path):
    """A folder on a disk of 4 MiB."""
    with disk_of(tmp_path / "tiny", 4) as place:
        yield place


def test_a_disk_that_really_is_full_keeps_all_that_was_accepted_and_nothing_else(tiny_disk):
    core = open_core(ServiceSettings(data=tiny_disk / "data", least_free_bytes=0))
    accepted, refusals = [], 0
    for tag in range(150):
        content = png(0.5, tag) + os.urandom(30_000)
        try:
            taken = intake.take_in(core, [upload("a.png", content)], "ct")
        except StorageFull:
            refusals += 1
        else:
            accepted += [one.study_id for one in taken.accepted]
    assert accepted
    assert refusals
    assert [study.id for study in studies(core)] == accepted
    assert all(core.blobs.path(one.blob).stat().st_size == one.size for one in studies(core))
    assert drafts(core) == []
    core.close()


def test_a_full_database_undoes_the_row_and_says_so(sqlite_core):
    core = sqlite_core
    hand_in(core, png(0.2))
    core.database.engine.dispose()
    limit_pages(core, 0)

    def fill():
        for tag in range(200):
            hand_in(core, *(png(0.9, 20 * tag + n) for n in range(1, 20)))

    with pytest.raises(StorageFull, match="database is full"):
        fill()
    kept = {study.blob for study in studies(core)}
    assert drafts(core) == []
    limit_pages(core, 1_000_000)
    retention.sweep(core, orphan_hours=-1)
    assert files_on_disk(core) == kept
    assert len(hand_in(core, png(0.5))) == 1


def limit_pages(core, more: int) -> None:
    """Let the database's file grow by so many pages at most, on all its connections."""
    from sqlalchemy import event

    @event.listens_for(core.database.engine, "begin")
    def limit(connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        most = limits.setdefault(id(core), pages) + more
        connection.exec_driver_sql(f"PRAGMA max_page_count={most}")


limits: dict[int, int] = {}


def test_a_disk_that_is_nearly_full_is_left_to_the_database(sqlite_core):
    core = with_limits(sqlite_core, least_free_bytes=2**62)
    with pytest.raises(StorageFull, match="nearly full"):
        intake.take_in(core, [upload("a.png", png(0.9))], "ct")


def test_a_crash_before_the_row_leaves_a_file_that_is_swept_and_can_come_again(core, monkeypatch):
    hand_in(core, png(0.1))

    def crash(*_):
        raise RuntimeError("power cut")

    monkeypatch.setattr("kirik.service.engine.finish", crash)
    with pytest.raises(RuntimeError):
        intake.take_in(core, [upload("a.png", png(0.9))], "ct")
    monkeypatch.undo()
    assert len(studies(core)) == 1
    assert len(files_on_disk(core)) == 2
    assert retention.sweep(core).files == 0  # it may be just being taken in
    assert retention.sweep(core, orphan_hours=-1).files == 1
    assert len(hand_in(core, png(0.9))) == 1
    assert retention.sweep(core, orphan_hours=-1).files == 0


def test_a_file_that_got_lost_from_the_disk_comes_back_with_the_same_bytes(core):
    hand_in(core, png(0.4))
    [study] = studies(core)
    core.blobs.path(study.blob).unlink()
    hand_in(core, png(0.4))
    assert core.blobs.path(study.blob).read_bytes() == png(0.4)


@pytest.mark.parametrize("back", [False, True])
def test_a_study_that_failed_without_its_file_is_read_when_it_is_handed_in_again(core, back):
    """back: whether the file, such as one on a disk that was not mounted, is there by then."""
    [study_id] = hand_in(core, png(0.8))
    path = core.blobs.path(studies(core)[0].blob)
    path.unlink()
    gone = Result(1, RadiographError("no such file", reason="missing"))
    work.finish(core, [(claim, [gone]) for claim in work.claim(core, 1)], "bright")
    assert (studies(core)[0].state, studies(core)[0].reason) == ("failed", "missing")
    if back:
        path.write_bytes(png(0.8))
    assert hand_in(core, png(0.8)) == [study_id]
    assert (studies(core)[0].state, studies(core)[0].reason) == ("waiting", None)
    read_all(core)
    assert studies(core)[0].decision == "fracture"


def test_a_deleted_study_takes_its_file_along_and_leaves_a_line(core):
    [one, other] = hand_in(core, png(0.2), png(0.3))
    retention.delete_study(core, one, by="boss")
    assert [study.id for study in studies(core)] == [other]
    assert len(files_on_disk(core)) == 1
    with core.database.reading() as session:
        last = session.scalars(select(Entry).order_by(Entry.number.desc())).first()
    assert (last.who, last.action, last.subject) == ("boss", "study.deleted", one)


def with_limits(core, **limits):
    """The same core with other settings."""
    from dataclasses import replace

    from kirik.radiograph import Limits
    from kirik.reading.decoder import Decoders, DecodingLimits

    settings = core.settings.model_copy(update=limits)
    sizes = Limits(file_bytes=settings.most_file_bytes)
    return replace(core, settings=settings, decoders=Decoders(DecodingLimits(sizes=sizes)))


def test_an_upload_is_one_transaction_of_few_statements(sqlite_core):
    hand_in(sqlite_core, png(0.2))
    with statements_of(sqlite_core) as asked:
        hand_in(sqlite_core, png(0.5))
    # Study, who handed it in, the change and its number, the trail's line, number and head.
    assert len(asked) == 8, "\n".join(asked)
    assert [one for one in asked if one.startswith("BEGIN")] == ["BEGIN IMMEDIATE"]
    with statements_of(sqlite_core) as asked:
        hand_in(sqlite_core, *(png(0.7, tag) for tag in range(8)))
    # Of each file the two rows of its own; the rest is once for all.
    assert len(asked) == 6 + 2 * 8, "\n".join(asked)
