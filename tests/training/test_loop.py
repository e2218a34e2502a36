"""The loop: it learns, stops early, and a killed and resumed run ends in the same weights."""

import numpy as np
import pytest
import torch

from kirik.errors import TrainingError
from kirik.training.data import hold_out
from kirik.training.loop import Trainer
from kirik.training.machine import find_machine
from kirik.training.weights import build_network


def trainer(part, settings, directory, validation=None):
    torch.manual_seed(settings.seed)
    network = build_network(
        settings.network, classes=2, negative=0, size=settings.size, dropout=0.2, evidence=True
    )
    machine = find_machine(settings)
    return Trainer(network, part, validation or part, settings, machine, directory)


def weights(trained):
    return {k: v.clone() for k, v in trained.averaged.state_dict().items()}


class Killed(Exception):
    pass


def kill_at(epoch, step):
    def report(e, s, *_):
        if (e, s) == (epoch, step):
            raise Killed

    return report


def quiet(*_):
    pass


def test_a_killed_and_resumed_run_ends_in_the_same_weights(part, settings, tmp_path):
    whole = trainer(part, settings, tmp_path / "whole")
    whole.fit(quiet, quiet)
    broken = trainer(part, settings, tmp_path / "broken")
    with pytest.raises(Killed):
        broken.fit(kill_at(3, 2), quiet)
    resumed = trainer(part, settings, tmp_path / "broken")
    resumed.resume()
    assert resumed.state.epoch == 2
    resumed.fit(quiet, quiet)
    expected, found = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    rows = [[{**r, "seconds": 0} for r in t.state.history] for t in (whole, resumed)]
    assert rows[0] == rows[1]


def test_another_seed_gives_other_weights(part, settings, tmp_path):
    first = trainer(part, settings, tmp_path / "a")
    first.fit(quiet, quiet)
    second = trainer(part, settings.model_copy(update={"seed": 1}), tmp_path / "b")
    second.fit(quiet, quiet)
    assert any(not torch.equal(weights(first)[n], weights(second)[n]) for n in weights(first))


def test_it_learns_what_there_is_to_learn(part, settings, tmp_path):
    longer = settings.model_copy(update={"epochs": 12, "learning_rate": 4e-3})
    trained = trainer(part, longer, tmp_path)
    trained.fit(quiet, quiet)
    assert trained.validate()["validation_auroc"] > 0.95


def test_it_stops_when_nothing_gets_better(part, settings, tmp_path):
    patient = settings.model_copy(update={"epochs": 40, "patience": 2, "learning_rate": 1e-9})
    trained = trainer(part, patient, tmp_path)
    trained.fit(quiet, quiet)
    assert trained.state.epoch < 40
    assert trained.state.epoch - trained.state.best_epoch == 2


def test_the_best_epoch_is_kept_not_the_last(part, settings, tmp_path):
    trained = trainer(part, settings, tmp_path)
    trained.fit(quiet, quiet)
    best = max(row["validation_auroc"] for row in trained.state.history)
    assert trained.validate()["validation_auroc"] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("balance", ["autoaugment", "weights", "sampler", "none"])
def test_every_balance_trains(balance, part, settings, tmp_path):
    once = settings.model_copy(update={"balance": balance, "epochs": 1, "ema": 0.0})
    trained = trainer(part, once, tmp_path)
    trained.fit(quiet, quiet)
    assert np.isfinite(trained.state.history[0]["train_loss"])


def test_bfloat16_trains(part, settings, tmp_path):
    trained = trainer(part, settings.model_copy(update={"precision": "bfloat16"}), tmp_path)
    trained.fit(quiet, quiet)
    assert np.isfinite(trained.state.history[-1]["validation_loss"])


def test_worker_processes_give_the_same_batches(part, settings, tmp_path):
    once = settings.model_copy(update={"epochs": 1})
    alone = trainer(part, once, tmp_path / "a")
    alone.fit(quiet, quiet)
    helped = trainer(part, once.model_copy(update={"workers": 2}), tmp_path / "b")
    helped.fit(quiet, quiet)
    assert alone.state.history[0]["train_loss"] == helped.state.history[0]["train_loss"]


def test_fewer_radiographs_than_a_batch_are_refused(part, settings, tmp_path):
    with pytest.raises(TrainingError, match="fewer than a batch of 128"):
        trainer(part, settings.model_copy(update={"batch_size": 128}), tmp_path)


def test_a_diverging_run_says_so(part, settings, tmp_path):
    wild = settings.model_copy(update={"learning_rate": 1.0, "ema": 0.0})
    trained = trainer(part, wild, tmp_path)
    with torch.no_grad():
        trained.network.head[-1].weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        trained.fit(quiet, quiet)


def test_a_damaged_or_absent_checkpoint_is_named(part, settings, tmp_path):
    with pytest.raises(TrainingError, match=r"last.safetensors: no such checkpoint"):
        trainer(part, settings, tmp_path).resume()
    (tmp_path / "last.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(TrainingError, match=r"last.safetensors: not a usable checkpoint"):
        trainer(part, settings, tmp_path).resume()


def test_what_chooses_shares_no_group_with_what_trains(part):
    train, chosen = hold_out(part, 0.25, seed=0)
    assert not set(train.groups) & set(chosen.groups)
    assert len(train) + len(chosen) == len(part)
    assert set(chosen.labels) == {0, 1}
