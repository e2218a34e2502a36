"""Reviews that are given at the same moment."""

import threading

from kirik.service import reviews
from kirik.service.access import LOCAL
from kirik.service.reviews import Opinion
from kirik.service.tables import Reading, Study


def test_of_two_frames_judged_at_once_both_count(core):
    with core.database.writing() as session:
        study = Study(sha256="a" * 64, blob="a" * 64, size=1, kind="dicom", received_by="ct")
        study.state, study.model, study.frames = "read", "m", 2
        session.add(study)
        session.flush()
        for frame in (1, 2):
            row = {"decision": "fracture", "probability": 0.9, "width": 100, "height": 100}
            session.add(Reading(study_id=study.id, frame=frame, model="m", **row))

    def disagree() -> None:
        with core.database.writing() as session:
            reviews.add(session, LOCAL, study.id, 2, Opinion(False, "no_fracture"))

    other = threading.Thread(target=disagree)
    with core.database.writing() as session:
        reviews.add(session, LOCAL, study.id, 1, Opinion(True))
        other.start()
        other.join(0.5)  # it is over by then, or waits
    other.join(30)
    with core.database.reading() as session:
        assert session.get(Study, study.id).reviewed == "disagreed"
