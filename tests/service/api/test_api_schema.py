"""Whatever fits the API's own description, and what does not, is answered without an error of the
server's (schemathesis)."""

import re

import pytest
from rooms import Room, png

schemathesis = pytest.importorskip("schemathesis")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis.strategies import nothing  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402

from kirik.service.api.schemas import STUDY_ID  # noqa: E402
from kirik.service.guard import Rates  # noqa: E402

_FEW = settings(
    max_examples=16,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
_LEFT_OUT = {"/api/v1/events"}  # never ends


@pytest.fixture
def filled(make_room, database_url) -> tuple[Room, str, str]:
    """A room with a study read, and an administrator's token."""
    room = make_room(database_url=database_url, rates=Rates(known=10**6, address=10**6))
    [study] = room.submit(png(0.9))
    return room, study, room.token("administrator")


@pytest.mark.slow
def test_no_request_of_the_descriptions_kind_makes_the_server_err(filled):
    room, study, token = filled
    schema = schemathesis.openapi.from_url(f"{room.url}/api/v1/openapi.json")
    headers = {"Authorization": f"Bearer {token}"}
    statuses = {}
    found = [one.ok() for one in schema.get_all_operations()]
    # What deletes the study comes last.
    for operation in sorted(found, key=lambda one: one.method.upper() == "DELETE"):
        if operation.path in _LEFT_OUT:
            continue
        place = f"{operation.method.upper()} {operation.path}"
        statuses[place] = _tried(operation, study, headers)
    assert len(statuses) > 20
    reached = {place for place, seen in statuses.items() if any(one < 400 for one in seen)}
    assert len(reached) > 18, statuses


def _odd(operation):
    """What does not fit the description; nothing where nothing could."""
    try:
        return operation.as_strategy(GenerationMode.NEGATIVE)
    except schemathesis.errors.SchemathesisError:
        return nothing()


def _tried(operation, study: str, headers: dict) -> set[int]:
    """The statuses of an operation's examples; raises for an error of the server's."""
    seen: set[int] = set()

    @_FEW
    @given(case=operation.as_strategy(GenerationMode.POSITIVE) | _odd(operation))
    def try_out(case):
        if re.fullmatch(STUDY_ID, str((case.path_parameters or {}).get("study", ""))):
            case.path_parameters["study"] = study
        answer = case.call(headers=headers)
        seen.add(answer.status_code)
        assert answer.status_code < 500, (operation.method, operation.path, answer.text[:500])
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]

    try_out()
    return seen
