"""Options that several commands share."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Seed = Annotated[int, Parameter(validator=Number(gte=0))]
Probability = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
