"""The settings of a training run: one model gives the flags, the TOML file, checks and help."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kirik.errors import SettingsError

Balance = Literal["autoaugment", "weights", "sampler", "none"]
Policy = Literal["imagenet", "cifar10", "svhn", "radiograph"]
PLACES = ("weights", "teacher", "overview")
"""Settings that say where something lies on this machine, which is its own affair."""
Flag = Annotated[bool, Parameter(negative="--no-")]


@Parameter(name="*")
class TrainingSettings(BaseModel):
    """How to train. A value of None stands for the network's own default."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    network: str = "mobilenet"
    """mobilenet, mobilenetv1, densenet, densenet169, xception, vit, ensemble, or a timm name."""

    weights: str = "hub"
    """Starting weights: a file, a folder of NAME.safetensors, a finished run or cross-validated
    folder of the same network, 'hub' (timm's) or 'none'. A run may be of another data set: what
    tells other things apart begins anew. One that trained on what this one is measured on, or on
    what --validation holds out, is refused."""

    freeze: int = Field(default=0, ge=0, le=32)
    """Layers with cells of at most so many pixels keep their starting weights, which makes a step
    cheaper; 0 trains all."""

    size: int | None = Field(default=None, ge=64, le=1024, multiple_of=32)
    """Side of the square input in pixels, a multiple of 32; where not given, what suits the
    network."""

    epochs: int | None = Field(default=None, ge=1, le=10_000)
    """Passes over the training part, unless stopped earlier; where not given, what suits the
    network."""

    batch_size: int = Field(default=32, ge=2, le=4096)
    """Radiographs per step, over all processes together."""

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak learning rate of AdamW; it warms up, then falls as a cosine. Where not given, what suits
    the network."""

    weight_decay: float = Field(default=0.02, ge=0, le=1)
    """AdamW's decoupled weight decay."""

    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the last layer."""

    label_smoothing: float = Field(default=0.02, ge=0, lt=0.5)
    """Share of the label spread over all classes."""

    balance: Balance = "autoaugment"
    """How the training part's classes are balanced."""

    policy: Policy = "radiograph"
    """AutoAugment policy of the copies that balance the classes, with --balance autoaugment."""

    teacher: str | None = None
    """Finished run, or cross-validated folder, of a larger network to learn from, too; with
    --overview, one that looks closer. A run that trained on what
    --validation holds out is refused."""

    overview: str | None = None
    """Finished run, or cross-validated folder, whose network sees the whole radiograph: this one
    learns to look closer where that sees most evidence, and the model is both. --size is then that
    of a patch, a quarter of the input's side."""

    looks: int = Field(default=4, ge=1, le=64)
    """With --overview, how many patches of a radiograph are looked at."""

    looks_from: float = Field(default=0, ge=0, lt=0.5)
    """With --overview, the probability of a fracture from which the model looks closer: below it,
    it goes by the overview alone, which is quicker. 0 looks closer always."""

    close_ups: int = Field(default=0, ge=0, le=64)
    """With --overview, how many findings of a radiograph, at most, the model looks at once more,
    close up, at much the same size however large they are."""

    overview_weight: float = Field(default=1, gt=0, le=10)
    """With --overview, what its word on the whole radiograph counts beside the second network's on
    a patch, which counts 1."""

    masks: bool = True
    """Train an evidence map on the marked fractures, where the data set has some."""

    box_weight: float = Field(default=0.5, ge=0, le=10)
    """What the findings' boxes count in the loss, beside the label's 1."""

    scope: bool = True
    """Learn what radiographs look like to the network, so that what looks otherwise is out of its
    scope; without it nothing is. With --overview, what that network learned counts."""

    validation: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the training part (whole groups) that chooses epoch, calibration, thresholds; with
    0 nothing is chosen: all of the part trains, and the last epoch is kept. kirik crossval holds
    nothing back, as the folds left out choose, and takes 0."""

    patience: int = Field(default=6, ge=1)
    """Stop after so many epochs without a better validation score, where there is one."""

    ema: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the weights' exponential moving average; 0 for none. It warms up from step to step,
    to 0.95 by the 100th, 0.99 by the 1,000th and 0.998 by the 11,200th: before, a higher one
    changes nothing."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the forward pass; auto is bfloat16 on a GPU, float32 on a CPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU if there is one."""

    workers: int = Field(default=0, ge=0, le=64)
    """Processes that prepare batches; 0 prepares them in the training process."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of everything random."""

    @classmethod
    def parse(cls, values: dict, where: str) -> "TrainingSettings":
        """Settings from plain values. Raises SettingsError that names the first wrong one."""
        try:
            return cls(**values)
        except ValidationError as error:
            flaw = error.errors()[0]
            name = ".".join(map(str, flaw["loc"]))
            if flaw["type"] == "extra_forbidden":
                raise SettingsError(f"{where}: {_unknown(name, cls.model_fields)}") from error
            raise SettingsError(f"{where}: {name}: {flaw_words(flaw)}") from error


def flaw_words(flaw: Mapping) -> str:
    """What a value must be and is not, from one of a ValidationError's errors."""
    limits = flaw.get("ctx", {})
    wanted = next((words for kind, words in _WANTED.items() if flaw["type"].startswith(kind)), None)
    said = wanted.format(**limits) if wanted else flaw["msg"]
    return f"{said}, not {flaw['input']!r}"


_WANTED = {
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "literal_error": "must be {expected}",
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
}
"""By the beginning of pydantic's name of an error; longer beginnings first."""


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown setting {name!r}; {hint}"
