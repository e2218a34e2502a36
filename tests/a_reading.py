"""A reading with evidence and a finding, as pictures draw it."""

import numpy as np

from kirik.reading.reading import Finding, Reading


def reading_of(path, **said) -> Reading:
    evidence = np.zeros((12, 8), np.float32)
    evidence[6:8, 2:4] = 1
    values = {
        "decision": "fracture",
        "probability": 0.9,
        "probabilities": {"not_fractured": 0.1, "fractured": 0.9},
        "model": "wrist 1",
        "findings": (Finding(16, 48, 16, 16, 0.97),),
        "evidence": evidence,
    }
    return Reading(str(path), **(values | said))
