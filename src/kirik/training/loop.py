"""The loop: epochs, steps, the moving average, early stopping, resuming.

All randomness of a step is drawn from (seed, epoch, step), so that a run that was killed and
resumed ends in the same weights as one that was not.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from kirik.errors import TrainingError
from kirik.evaluation.calibration import fit_temperature
from kirik.training.augment import augment_batch
from kirik.training.balance import class_weights, plan_epoch, trained_shares
from kirik.training.checkpoint import load_checkpoint, save_checkpoint
from kirik.training.data import Batch, Epoch, Part, batches, evaluation_batches, step_seed
from kirik.training.distil import Teacher
from kirik.training.losses import training_loss
from kirik.training.machine import Machine
from kirik.training.networks import FractureNetwork
from kirik.training.settings import TrainingSettings

StepReport = Callable[[int, int, int, float], None]
"""Called after each step with epoch, step, steps per epoch and the loss."""


@dataclass
class State:
    """Where a run stands after `epoch` whole epochs; `history` has one row per epoch.

    best_epoch: whose weights are kept. lowest: the losses of the validation radiographs in the
        epoch in which their mean was lowest.
    """

    epoch: int = 0
    best_epoch: int = 0
    lowest: list[float] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)

    def finished(self, settings: TrainingSettings) -> bool:
        """Whether all epochs are done, or the patience is at its end."""
        return self.epoch >= settings.epochs or self.epoch - self.best_epoch >= settings.patience

    def judge(self, losses: list[float]) -> bool:
        """Whether the epoch just ended, with these losses, is the one to keep so far.

        It is, unless it is worse than the lowest by more than the standard error of their paired
        difference: a few dozen fractures choose, and a difference within their noise must not
        overrule the schedule, whose later weights are the better annealed ones. Without losses
        nothing is chosen, and every epoch replaces the one before.
        """
        if not losses:
            self.best_epoch = self.epoch
            return True
        difference = np.subtract(losses, self.lowest) if self.lowest else np.zeros(1)
        if not self.lowest or difference.mean() < 0:
            self.lowest = losses
        if difference.mean() > difference.std() / np.sqrt(len(difference)):
            return False
        self.best_epoch = self.epoch
        return True


class Trainer:
    """One network being trained on one part, and what must be saved of it.

    validation: what chooses the epoch that is kept; None keeps the last.
    settings: with epochs and learning rate resolved. directory: where checkpoints go.
    """

    def __init__(
        self,
        network: FractureNetwork,
        train: Part,
        validation: Part | None,
        settings: TrainingSettings,
        machine: Machine,
        directory: Path,
        teacher: Teacher | None = None,
    ):
        self.teacher = teacher
        self.settings, self.machine, self.directory = settings, machine, directory
        self.train_part, self.validation = train, validation
        classes = network.prior_shift.shape[0]
        network.set_priors(
            torch.from_numpy(trained_shares(train.labels, classes, settings.balance)),
            torch.from_numpy(train.real_shares(classes)),
        )
        self.network = network.to(machine.device, memory_format=torch.channels_last)
        self.weights = torch.tensor(
            class_weights(train.labels, classes, settings.balance),
            dtype=torch.float32,
            device=machine.device,
        )
        self.optimizer = torch.optim.AdamW(
            _decay_groups(network, settings.weight_decay), lr=settings.learning_rate
        )
        self.ema = (
            ModelEmaV3(network, decay=settings.ema, use_warmup=True) if settings.ema else None
        )
        self.steps = len(self._plan(0).rows) // settings.batch_size
        if self.steps == 0:
            raise TrainingError(
                f"{len(train)} radiographs are fewer than a batch of {settings.batch_size}; "
                "use a smaller --batch-size"
            )
        total = self.steps * settings.epochs
        warmup = min(self.steps, total // 10)
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=total - warmup,
            lr_min=settings.learning_rate / 100,
            warmup_t=warmup,
            warmup_lr_init=settings.learning_rate / 20,
            warmup_prefix=True,
            t_in_epochs=False,
        )
        self.state = State()

    @property
    def averaged(self) -> FractureNetwork:
        """The network that is measured and kept: the moving average, if there is one."""
        return self.ema.module if self.ema else self.network

    def resume(self) -> None:
        """Go back to the last checkpoint. Raises TrainingError if there is none."""
        state = load_checkpoint(
            self.directory / "last.safetensors", self._modules(), self.optimizer
        )
        self.state = State(**state)

    def fit(self, report: StepReport, after_epoch: Callable[[State], None]) -> None:
        """Train until the last epoch or the end of patience, then load the best weights."""
        model = self.network
        if self.machine.world > 1:
            model = DistributedDataParallel(self.network)
        while not self.state.finished(self.settings):
            started = time.monotonic()
            row = self._epoch(model, report)
            measured, losses = self.validate()
            row |= measured | {"seconds": round(time.monotonic() - started, 2)}
            # Each process's batch norms saw its own share, so that only one may judge the epoch.
            self._conclude(*self.machine.agree((row, losses)))
            after_epoch(self.state)
        if self.machine.first:
            load_checkpoint(self.directory / "best.safetensors", {"network": self.averaged})

    def validate(self) -> tuple[dict, list[float]]:
        """The averaged network on the validation part: a row for the history, and losses.

        The losses are each radiograph's log loss after the calibration that reading will apply,
        without which a later, surer epoch would look worse than it is. Both are empty where there
        is no validation part.
        """
        if self.validation is None:
            return {}, []
        logits = predict_logits(self.averaged, self.validation, self.machine)
        if not torch.isfinite(logits).all():
            raise TrainingError("the weights became infinite; use a smaller --learning-rate")
        labels = torch.from_numpy(self.validation.labels)
        temperature = fit_temperature(logits.numpy(), labels.numpy(), probabilities=False)
        losses = functional.cross_entropy(logits / temperature, labels, reduction="none")
        probabilities = logits.softmax(dim=1).numpy()
        row = {
            "validation_loss": float(functional.cross_entropy(logits, labels)),
            "validation_accuracy": float((logits.argmax(dim=1) == labels).float().mean()),
            "validation_auroc": _auroc(self.validation.labels, probabilities),
            "calibrated_loss": float(losses.mean()),
        }
        return row, [round(loss, 5) for loss in losses.tolist()]

    def _epoch(self, model, report: StepReport) -> dict:
        settings, machine, epoch = self.settings, self.machine, self.state.epoch
        data = Epoch(self.train_part, self._plan(epoch), settings.policy, settings.seed, epoch)
        loader = batches(data, settings.batch_size, machine, settings.workers)
        self.network.train()
        losses, right, seen = [], 0, 0
        for step, batch in enumerate(loader):
            torch.manual_seed(step_seed(settings.seed, epoch, step, machine.rank))
            loss, correct = self._step(model, batch, epoch * self.steps + step)
            losses.append(loss)
            right, seen = right + correct, seen + len(batch.labels)
            if machine.first:
                report(epoch + 1, step + 1, self.steps, loss)
        rate = self.optimizer.param_groups[0]["lr"]
        return {
            "epoch": epoch + 1,
            "train_loss": float(np.mean(losses)),
            "train_accuracy": right / seen,
            "learning_rate": rate,
        }

    def _step(self, model, batch, number: int) -> tuple[float, int]:
        self.schedule.step_update(number)
        batch = Batch(*(x.to(self.machine.device, non_blocking=True) for x in batch))
        images, masks, outlines = augment_batch(
            batch.radiographs, batch.masks, batch.outlines, self.network.size
        )
        images = images.contiguous(memory_format=torch.channels_last)
        batch = batch._replace(radiographs=images, masks=masks, outlines=outlines)
        batch = self.train_part.as_shown(batch, self.network.negative)
        with self.machine.autocast():
            output = model(images)
        loss = training_loss(
            output,
            batch,
            self.weights,
            label_smoothing=self.settings.label_smoothing,
            box_weight=self.settings.box_weight,
        )
        if self.teacher:
            loss = loss + self.teacher.loss(self.network, output, images)
        if not torch.isfinite(loss):
            raise TrainingError("the loss became infinite; use a smaller --learning-rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        if self.ema:
            self.ema.update(self.network, step=number)
        return float(loss.detach()), int((output.logits.argmax(dim=1) == batch.labels).sum())

    def _conclude(self, row: dict, losses: list[float]) -> None:
        """Enter an epoch's row, keep its weights if they are best, save where the run stands."""
        state = self.state
        state.epoch += 1
        state.history.append({k: round(v, 6) for k, v in row.items()})
        better = state.judge(losses)
        if self.machine.first:
            if better:
                best = self.directory / "best.safetensors"
                save_checkpoint(best, {"network": self.averaged}, None, {"epoch": state.epoch})
            last = self.directory / "last.safetensors"
            save_checkpoint(last, self._modules(), self.optimizer, asdict(state))

    def _plan(self, epoch: int):
        settings = self.settings
        return plan_epoch(self.train_part.labels, settings.balance, settings.seed, epoch)

    def _modules(self) -> dict:
        average = {"ema": self.ema.module} if self.ema else {}
        return {"network": self.network, **average}


def predict_logits(network: FractureNetwork, part: Part, machine: Machine) -> torch.Tensor:
    """Logits float32 [n, classes] of a part, in order, on the CPU."""
    network.eval()
    rows = []
    with torch.inference_mode(), machine.autocast():
        for images, _ in evaluation_batches(part, 64):
            rows.append(network(images.to(machine.device)).logits.float().cpu())
    return torch.cat(rows)


def _auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """AUROC, one against the rest and averaged for several classes; 0.5 where it does not exist."""
    present = np.unique(labels)
    scores = [
        roc_auc_score(labels == label, probabilities[:, label])
        for label in (present if len(present) > 2 else present[-1:])
        if len(present) > 1
    ]
    return float(np.mean(scores)) if scores else 0.5


def _decay_groups(network: torch.nn.Module, weight_decay: float) -> list[dict]:
    """No weight decay on biases, norms and single numbers."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
