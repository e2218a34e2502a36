"""What listeners are told of changes, and that none falls between."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from sqlalchemy import event

from kirik.service import engine
from kirik.service.access import LOCAL, Principal
from kirik.service.events import Hub
from kirik.service.metrics import Metrics
from kirik.service.tables import Study

CLERK = Principal("clerk", "reader", patients=False, own=False, kind="person")


def add(core, count: int = 1) -> None:
    """Studies that have just come in."""
    with core.database.writing() as session:
        for n in range(count):
            study = Study(sha256=f"{n:064x}", blob="b", size=1, kind="png", received_by="ct")
            session.add(study)
            session.flush()
            engine.changed(session, study.id)


def run(coroutine: Coroutine) -> list[str]:
    """In a thread of its own: in this one Playwright's loop may run."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


async def told(hub: Hub, who: Principal, since: int | None, until: str) -> list[str]:
    """What is told up to the first event of this name."""
    messages = []
    async for message in hub.listen(who, since, lambda: who):
        messages.append(message)
        if message.startswith(f"event: {until}"):
            break
    return messages


@contextmanager
def held_look(core):
    """The next time that changes are asked for waits: gives what is set once it does, and what
    lets it go on."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_connection, _cursor, statement: str, *_) -> None:
        if "FROM changes" in statement and not begun.is_set():
            begun.set()
            go_on.wait(10)

    event.listen(core.database.engine, "before_cursor_execute", hold)
    yield begun, go_on
    go_on.set()
    event.remove(core.database.engine, "before_cursor_execute", hold)


def test_a_listener_that_was_away_is_told_all_that_it_missed(sqlite_core):
    add(sqlite_core, 1_100)
    messages = run(told(Hub(sqlite_core, Metrics()), LOCAL, 1, until="counts"))
    numbers = [one.split("\n")[1] for one in messages if one.startswith("event: study")]
    assert numbers == [f"id: {number}" for number in range(2, 1_101)]


def test_a_listener_that_has_heard_of_no_change_yet_knows_where_to_go_on(sqlite_core):
    add(sqlite_core, 3)
    messages = run(told(Hub(sqlite_core, Metrics()), LOCAL, None, until="counts"))
    assert messages[-1].startswith("event: counts\nid: 3\n")


def test_who_joins_while_a_look_is_under_way_hears_of_what_it_finds(sqlite_core):
    async def joined(hub: Hub) -> list[str]:
        first = asyncio.create_task(told(hub, LOCAL, None, until="study"))
        await asyncio.to_thread(begun.wait, 10)
        second = asyncio.create_task(told(hub, CLERK, None, until="study"))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(add, sqlite_core)
        go_on.set()
        try:
            return await asyncio.wait_for(second, 5)
        finally:
            await first

    with held_look(sqlite_core) as (begun, go_on):
        messages = run(joined(Hub(sqlite_core, Metrics())))
    assert messages[-1].startswith("event: study\nid: 1\n")
