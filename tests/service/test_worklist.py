"""The work list: order, filters, search, paging, and its speed with 100,000 studies."""

import random
import statistics
import time
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import insert, text

from kirik.service import access, intake, worklist
from kirik.service.access import LOCAL, Principal
from kirik.service.refusals import Invalid, NotFound
from kirik.service.tables import URGENCY, Study, Submission, new_id
from kirik.service.words import searchable
from kirik.service.worklist import Filters, by_ids, counts, page
from service.helpers import hand_in, png, read_all

CLERK = Principal("clerk", "reader", patients=False, own=False, kind="person")
DEVICE = Principal("ct", "reader", patients=False, own=True, kind="device")
REGIONS = ("hand", "leg", "hip", None)


def filled(core, count: int, seed: int = 1) -> list[dict]:
    """Studies of all kinds, straight into the table."""
    chance, rows = random.Random(seed), []
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(count):
        kind = chance.choice(list(URGENCY))
        known = kind in ("fracture", "uncertain", "no_fracture")
        probability = round(chance.random(), 3) if known else None
        state = {"failed": "failed", "waiting": "waiting"}.get(kind, "read")
        name, patient = f"film{n}.dcm", f"Hasta {chance.choice('ŞİIÖ')}ahin{n % 97}"
        row = {
            "id": new_id(),
            "sha256": f"{n:064x}",
            "blob": f"{n:064x}",
            "size": 1,
            "kind": "dicom",
        }
        row |= {"name": name, "words": searchable(name), "patient_name": patient}
        row |= {"patient_words": searchable(patient), "received_by": "ct", "state": state}
        row |= {"decision": None if kind in ("failed", "waiting") else kind}
        row |= {"probability": probability, "urgency": URGENCY[kind]}
        row |= {"unlikeliness": -(probability or 0), "region": chance.choice(REGIONS)}
        row |= {"reviewed": chance.choice((None, None, "agreed", "disagreed"))}
        row |= {"received_at": start + timedelta(minutes=n)}
        rows.append(row)
    with core.database.writing() as session:
        session.execute(insert(Study), rows)
        session.execute(text("ANALYZE"))
    return rows


def all_pages(core, filters=Filters(), limit: int = 7, who=LOCAL) -> list[Study]:  # noqa: B008
    found, cursor = [], None
    while True:
        with core.database.reading() as session:
            some = page(session, who, filters, cursor, limit)
        found += some.studies
        cursor = some.next
        if cursor is None:
            return found


def test_the_most_urgent_come_first_and_no_page_shows_one_twice(core):
    rows = filled(core, 100)
    found = all_pages(core)
    expected = sorted(rows, key=lambda row: (row["urgency"], row["unlikeliness"], row["id"]))
    assert [study.id for study in found] == [row["id"] for row in expected]
    kinds = list(dict.fromkeys(study.urgency for study in found))
    assert kinds == sorted(URGENCY.values())


def test_what_comes_in_between_shifts_no_page(core):
    filled(core, 30)
    with core.database.reading() as session:
        first = page(session, LOCAL, Filters(), limit=10)
    filled_more = filled_again(core)
    with core.database.reading() as session:
        second = page(session, LOCAL, Filters(), first.next, limit=100)
    shown = [study.id for study in (*first.studies, *second.studies)]
    assert len(shown) == len(set(shown)) == 30 + filled_more


def filled_again(core) -> int:
    """Five more that are as little urgent as can be."""
    with core.database.writing() as session:
        for n in range(5):
            session.add(
                Study(sha256=f"x{n}", blob="x", size=1, kind="png", received_by="ct", urgency=5)
            )
    return 5


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({"decision": "fracture"}, lambda row: row["decision"] == "fracture"),
        ({"decision": "failed"}, lambda row: row["state"] == "failed"),
        ({"state": "waiting"}, lambda row: row["state"] == "waiting"),
        ({"region": "hand"}, lambda row: row["region"] == "hand"),
        ({"reviewed": "no"}, lambda row: row["reviewed"] is None),
        ({"reviewed": "yes"}, lambda row: row["reviewed"] is not None),
        ({"reviewed": "disagreed"}, lambda row: row["reviewed"] == "disagreed"),
        ({"q": "FILM7"}, lambda row: "film7" in row["name"]),
        ({"q": "sahin12 hasta"}, lambda row: "Şahin12" in row["patient_name"]),
        ({"q": "100%"}, lambda row: False),
        ({"q": "f i l m d c . film7 hasta"}, lambda row: "film7" in row["name"]),
        ({"q": "f i l m d c . 7 nowhere"}, lambda row: False),
        ({"region": "leg", "decision": "uncertain", "q": "film"},
         lambda row: row["region"] == "leg" and row["decision"] == "uncertain"),
    ],
)  # fmt: skip
def test_filters_and_search_give_what_fits_and_nothing_else(core, filters, fits):
    rows = filled(core, 200)
    found = {study.id for study in all_pages(core, Filters(**filters), limit=50)}
    assert found == {row["id"] for row in rows if fits(row)}


@pytest.fixture
def tokyo(monkeypatch):
    """The server's clock shows another time than UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5)), None])
def test_since_gives_what_was_received_then_or_later(core, tokyo, zone):
    rows = filled(core, 50)
    since = rows[30]["received_at"]
    since = since.astimezone(zone) if zone else since.replace(tzinfo=None)  # then it is UTC, too
    found = {study.id for study in all_pages(core, Filters(since=since))}
    assert found == {row["id"] for row in rows[30:]}


def test_counts_are_of_all_kinds_under_the_other_filters(core):
    rows = filled(core, 200)
    names = {rank: name for name, rank in URGENCY.items()}
    with core.database.reading() as session:
        everything = counts(session, LOCAL, Filters(decision="fracture"))
        hands = counts(session, LOCAL, Filters(region="hand"))
    assert everything == Counter(names[row["urgency"]] for row in rows)
    expected = Counter(names[row["urgency"]] for row in rows if row["region"] == "hand")
    assert hands == dict.fromkeys(URGENCY, 0) | expected


def test_who_may_not_see_patients_does_not_find_them_by_their_names(core):
    filled(core, 50)
    assert all_pages(core, Filters(q="hasta"), who=LOCAL)
    assert not all_pages(core, Filters(q="hasta"), who=CLERK)
    assert all_pages(core, Filters(q="film"), who=CLERK)


def test_a_device_that_sees_its_own_sees_nothing_else_by_any_way(core):
    [own] = hand_in(core, png(0.9), by="ct")
    [other] = hand_in(core, png(0.8), by="ed")
    read_all(core)
    assert [study.id for study in all_pages(core, who=DEVICE)] == [own]
    with core.database.reading() as session:
        assert sum(counts(session, DEVICE, Filters()).values()) == 1
        assert [study.id for study in by_ids(session, DEVICE, [other, own])] == [own]
        assert access.study_for(session, DEVICE, own).id == own
        with pytest.raises(NotFound):
            access.study_for(session, DEVICE, other)
    hand_in(core, png(0.8), by="ct")
    assert len(all_pages(core, who=DEVICE)) == 2


@pytest.mark.parametrize(
    "bad",
    ["x", "AAAA", "W10", "WzEsMSwxXQ==", "WzEsIDAsICJhJyJd", "é", "W251bGwsMSwiYSJd", "=" * 9],
)
def test_a_cursor_that_is_none_is_refused(sqlite_core, bad):
    with sqlite_core.database.reading() as session, pytest.raises(Invalid):
        page(session, LOCAL, Filters(), bad)


@pytest.mark.parametrize("bad", [{"state": "gone"}, {"reviewed": "maybe"}])
def test_a_filter_that_is_none_is_refused(sqlite_core, bad):
    with sqlite_core.database.reading() as session, pytest.raises(Invalid):
        page(session, LOCAL, Filters(**bad))


def test_words_are_found_without_case_accents_or_dots(sqlite_core):
    assert searchable("YILMAZ^Işıl  Ağaoğlu") == "yilmaz isil agaoglu"
    assert intake.searchable("İSTANBUL") == "istanbul"


@pytest.mark.slow
def test_a_page_of_a_hundred_thousand_comes_in_milliseconds(core):
    """Anywhere in the list, with every filter; generously, as tests share their machine."""
    for seed in range(10):
        fill_fast(core, 10_000, seed)
    cursor, middle = None, None
    with core.database.reading() as session:
        for _ in range(40):
            some = page(session, LOCAL, Filters(), cursor, 200)
            cursor = some.next
        middle = cursor
    asked = [
        Filters(),
        Filters(decision="uncertain"),
        Filters(region="hand"),
        Filters(reviewed="no"),
    ]
    for filters in asked:
        assert timed(core, filters, None) < 0.05, filters
        assert timed(core, filters, middle) < 0.05, filters
    assert timed(core, Filters(q="film99"), None) < 0.5


def timed(core, filters: Filters, cursor: str | None) -> float:
    seconds = []
    for _ in range(5):
        with core.database.reading() as session:
            begun = time.perf_counter()
            found = page(session, LOCAL, filters, cursor)
            seconds.append(time.perf_counter() - begun)
        assert len(found.studies) == 50
    return statistics.median(seconds)


def fill_fast(core, count: int, seed: int) -> None:
    chance, rows = random.Random(seed), []
    for n in range(seed * count, (seed + 1) * count):
        rank = chance.randrange(6)
        rows.append(
            {
                **{"id": new_id(), "sha256": f"{n:064x}", "blob": f"{n:064x}", "size": 1},
                **{"kind": "png", "words": f"film{n}.png", "name": f"film{n}.png"},
                **{"received_by": "ct", "state": "read", "urgency": rank},
                **{"unlikeliness": -chance.random(), "region": chance.choice(REGIONS)},
                "reviewed": chance.choice((None, "agreed")),
            }
        )
    with core.database.writing() as session:
        session.connection().execute(insert(Study.__table__), rows)  # quicker by far
        if seed == 9:
            session.execute(text("ANALYZE"))


def test_submissions_go_with_their_study(core):
    from kirik.service.retention import delete_study

    [study_id] = hand_in(core, png(0.5))
    delete_study(core, study_id, by="boss")
    with core.database.reading() as session:
        assert session.get(Submission, ("ct", study_id)) is None
        numbers = worklist.changes_after(session, 0)
    assert [one for _, one in numbers] == [study_id, study_id]
