"""The database's versions: up, down, and the same as the tables."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from kirik.errors import SettingsError
from kirik.service.core import open_core
from kirik.service.migrations import downgrade, newest, upgrade
from kirik.service.settings import ServiceSettings
from kirik.service.tables import Base
from service.helpers import hand_in, png


def tables_of(core) -> set[str]:
    with core.database.engine.connect() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_migrations_make_what_the_tables_say(core):
    with core.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_they_go_down_and_up_again(core):
    downgrade(core.database, "base")
    assert tables_of(core) == set()
    upgrade(core.database)
    assert tables_of(core) == set(Base.metadata.tables)


def test_several_that_start_at_once_migrate_once(settings):
    gate = threading.Barrier(4)

    def start(_):
        gate.wait()
        open_core(settings).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    core = open_core(settings)
    assert tables_of(core) == set(Base.metadata.tables)
    core.close()


def test_a_database_of_a_newer_kirik_is_left_alone(core):
    with core.database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="newer kirik"):
        upgrade(core.database)
    assert newest() != "9999"


@pytest.mark.parametrize(
    "content", [b"no database, but some text " * 100, b"SQLite format 3\0" * 9]
)
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path, content):
    file = tmp_path / "kirik.sqlite3"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"kirik\.sqlite3: no SQLite database"):
        open_core(ServiceSettings(data=tmp_path))
    assert file.read_bytes() == content


def test_sqlite_keeps_every_commit(sqlite_core):
    with sqlite_core.database.engine.connect() as connection:
        said = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize("made_by_another", [False, True])
def test_none_but_the_owner_can_open_the_data(tmp_path, made_by_another):
    data = tmp_path / "data"
    if made_by_another:
        data.mkdir(mode=0o755)
    core = open_core(ServiceSettings(data=data))
    hand_in(core, png(0.5))  # so that SQLite's other files are there
    kept = [*data.iterdir(), *([] if made_by_another else [data])]
    assert {path.suffix for path in kept} >= {".sqlite3", ".sqlite3-wal", ".sqlite3-shm"}
    assert [path.name for path in kept if path.stat().st_mode & 0o077] == []
    core.close()
