"""What the reading room tells Prometheus: its requests, its studies, its workers; of no patient."""

from datetime import timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import func, select

from kirik import __version__
from kirik.service import retention
from kirik.service.core import Core
from kirik.service.tables import STATES, WAITING, Reading, Study, Worker, now

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ALIVE = timedelta(seconds=90)
"""A worker that gave no sign for so long counts as gone."""

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counted in this process as it goes; the rest is asked of the database."""

    def __init__(self):
        self._registry = CollectorRegistry()
        labels = {"registry": self._registry}
        by = ["method", "path", "status"]
        self._requests = Counter("kirik_requests", "Requests answered", by, **labels)
        self._seconds = Histogram(
            "kirik_request_seconds", "Time to answer", ["path"], buckets=_SECONDS, **labels
        )
        self._files = Counter("kirik_files", "Files handed in", ["became"], **labels)
        self._listeners = Gauge("kirik_listeners", "Pages that listen for changes", **labels)
        self._studies = Gauge("kirik_studies", "Studies", ["state"], **labels)
        self._readings = Gauge("kirik_readings", "Frames read and kept", **labels)
        self._oldest = Gauge("kirik_waiting_seconds", "How long the oldest waits", **labels)
        self._workers = Gauge("kirik_workers", "Workers that gave a sign of life", **labels)
        self._free = Gauge("kirik_free_bytes", "Left on the disk of the files", **labels)
        Gauge("kirik_info", "This kirik", ["version"], **labels).labels(__version__).set(1)

    def request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one request, by the path as it was declared."""
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def files(self, new: int, known: int, refused: int) -> None:
        """Count the files of one upload."""
        for became, count in (("new", new), ("known", known), ("refused", refused)):
            self._files.labels(became).inc(count)

    def listeners(self, count: int) -> None:
        """Set how many pages listen."""
        self._listeners.set(count)

    def text(self, core: Core) -> bytes:
        """All of it, in Prometheus's text format."""
        with core.database.reading() as session:
            by_state = dict(
                session.execute(select(Study.state, func.count()).group_by(Study.state)).all()
            )
            oldest = session.scalar(
                select(func.min(Study.received_at)).where(Study.state == WAITING)
            )
            alive = select(func.count()).where(Worker.seen_at > now() - ALIVE)
            self._workers.set(session.scalar(alive))
            self._readings.set(session.scalar(select(func.count()).select_from(Reading)))
        for state in STATES:
            self._studies.labels(state).set(by_state.get(state, 0))
        self._oldest.set((now() - oldest).total_seconds() if oldest else 0)
        self._free.set(retention.storage(core).free_bytes)
        return generate_latest(self._registry)
