"""A reading room's core on SQLite and, where it is installed, on a PostgreSQL of its own."""

from collections.abc import Iterator

import pytest

from kirik.service.core import Core, open_core
from kirik.service.settings import ServiceSettings
from service.cluster import Cluster, why_not


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A PostgreSQL server in a folder of its own; skips where none can be started."""
    why = why_not()
    if why:
        pytest.skip(why)
    with Cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request) -> str | None:
    """None for SQLite in the data folder; an empty database otherwise."""
    if request.param == "sqlite":
        return None
    return request.getfixturevalue("cluster").new_database()


@pytest.fixture
def settings(tmp_path, database_url, make_bundle) -> ServiceSettings:
    """Of a core with a tiny model, quick leases, and weak checks of the free disk."""
    return ServiceSettings(
        data=tmp_path / "data",
        database_url=database_url,
        model=make_bundle().path,
        lease_seconds=5,
        least_free_bytes=0,
        threads=1,
    )


@pytest.fixture
def core(settings) -> Iterator[Core]:
    opened = open_core(settings)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_core(tmp_path, make_bundle) -> Iterator[Core]:
    """For what does not touch the database in a way that would differ."""
    settings = ServiceSettings(
        data=tmp_path / "data", model=make_bundle().path, least_free_bytes=0, threads=1
    )
    opened = open_core(settings)
    yield opened
    opened.close()
