"""The languages of tables, reports and pictures."""

import os
from typing import Literal

Language = Literal["en", "tr"]
DEFAULT: Language = "tr" if os.environ.get("KIRIK_LANGUAGE") == "tr" else "en"
"""Without --language."""
