"""The languages of tables, reports and pictures."""

from typing import Literal

Language = Literal["en", "tr"]
