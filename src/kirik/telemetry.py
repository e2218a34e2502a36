"""Libraries that tell their makers of their use: where kirik loads them, they do not.

A hospital's machine tells nobody what runs on it. What decides is what stands when such a library
is first loaded, so the rest of kirik has them from here. Who wants them to tell sets their own
variables of the environment.
"""

import os
import sys
from types import ModuleType

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

# It may have been loaded before kirik was.
onnxruntime.disable_telemetry_events()


def load_openvino() -> ModuleType:
    """OpenVINO, which tells by a package of its own, if there is one. Raises ImportError."""
    teller = "openvino_telemetry"
    if not {"openvino", teller} & sys.modules.keys():
        sys.modules[teller] = None
        try:
            import openvino
        finally:
            del sys.modules[teller]
    import openvino

    return openvino
