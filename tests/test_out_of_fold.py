"""What is chosen on radiographs that networks never saw."""

import numpy as np

from kirik.evaluation.localization import Localized
from kirik.evaluation.predictions import Predictions
from kirik.out_of_fold import Read, choose


def test_boxes_on_radiographs_without_a_fracture_choose_no_threshold_of_findings():
    names, labels = tuple("abcd"), np.array([0, 0, 1, 1])
    table = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8]])
    box, none = np.array([[1.0, 2, 3, 4]]), np.zeros((0, 4))
    found = tuple(np.array([[1.0, 2, 3, 4, 0.5]]) for _ in names)
    for known, has_one in (
        (np.array([False, True, False, False]), False),
        (np.ones(4, bool), True),
    ):
        localized = Localized((box, none, none, none), found, names, known)
        predictions = Predictions(names, names, labels, table, ("normal", "fractured"), 0)
        chosen = choose(Read(predictions, np.ones(4), None, localized))
        assert (chosen.shown_from is not None) is has_one
