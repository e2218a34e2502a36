"""Options that several commands share."""

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

Language = Literal["en", "tr"]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Seed = Annotated[int, Parameter(validator=Number(gte=0))]
Probability = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
