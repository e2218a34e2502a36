"""Options that several commands share."""

from typing import Annotated, Literal

from cyclopts import Parameter

from kirik.training.settings import TrainingSettings

Language = Literal["en", "tr"]
Settings = Annotated[TrainingSettings, Parameter(name="*")]
DEFAULTS = TrainingSettings()
