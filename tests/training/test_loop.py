"""The loop: it learns, stops early, and a killed and resumed run ends in the same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kirik.dataset.cache import open_cache
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Assignment, Split
from kirik.errors import DataSetError, TrainingError
from kirik.preprocessing import Preprocessing
from kirik.training.data import hold_out
from kirik.training.loop import State, Trainer
from kirik.training.machine import find_machine
from kirik.training.run import _part
from kirik.training.weights import build_network


def trainer(part, settings, directory, validation="the same"):
    torch.manual_seed(settings.seed)
    network = build_network(
        settings.network,
        classes=2,
        negative=0,
        size=settings.size,
        dropout=0.2,
        evidence=True,
        attributes=2,
    )
    machine = find_machine(settings)
    validation = part if validation == "the same" else validation
    return Trainer(network, part, validation, settings, machine, directory)


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


def test_another_seed_shows_the_radiographs_otherwise(part, settings, tmp_path):
    once = settings.model_copy(update={"epochs": 1})
    first = trainer(part, once, tmp_path / "a")
    second = trainer(part, once.model_copy(update={"seed": 1}), tmp_path / "b")
    second.network.load_state_dict(first.network.state_dict())
    first.fit(quiet, quiet)
    second.fit(quiet, quiet)
    assert first.state.history[0]["train_loss"] != second.state.history[0]["train_loss"]


def test_it_learns_what_there_is_to_learn(part, settings, tmp_path):
    longer = settings.model_copy(update={"epochs": 12, "learning_rate": 4e-3})
    trained = trainer(part, longer, tmp_path)
    trained.fit(quiet, quiet)
    assert trained.validate()[0]["validation_auroc"] > 0.95


def test_it_stops_when_nothing_gets_better(part, settings, tmp_path):
    patient = settings.model_copy(update={"epochs": 40, "patience": 2, "learning_rate": 1e-9})
    trained = trainer(part, patient, tmp_path)
    trained.fit(quiet, quiet)
    assert trained.state.epoch < 40
    assert trained.state.epoch - trained.state.best_epoch == 2


def test_the_weights_of_the_kept_epoch_come_out(part, settings, tmp_path):
    trained = trainer(part, settings, tmp_path)
    trained.fit(quiet, quiet)
    kept = trained.state.history[trained.state.best_epoch - 1]
    assert trained.validate()[0]["validation_loss"] == pytest.approx(
        kept["validation_loss"], abs=1e-5
    )


def test_without_a_validation_part_the_last_epoch_is_kept(part, settings, tmp_path):
    trained = trainer(part, settings, tmp_path, validation=None)
    trained.fit(quiet, quiet)
    assert trained.state.epoch == trained.state.best_epoch == settings.epochs
    last = trainer(part, settings, tmp_path, validation=None)
    last.resume()
    assert all(torch.equal(weights(trained)[k], v) for k, v in weights(last).items())


def judged(*epochs):
    state, kept = State(), []
    for losses in epochs:
        state.epoch += 1
        kept.append(state.judge(losses))
    return state, kept


def test_a_later_epoch_within_the_noise_of_the_best_is_kept():
    state, kept = judged([0.2, 0.3, 0.1, 0.4], [0.3, 0.1, 0.3, 0.31])
    assert kept == [True, True]
    assert state.lowest == [0.2, 0.3, 0.1, 0.4]


def test_an_epoch_that_is_surely_worse_is_not_kept():
    state, kept = judged([0.2, 0.3, 0.1, 0.4], [0.4, 0.5, 0.31, 0.6])
    assert kept == [True, False]
    assert state.best_epoch == 1


def test_small_losses_do_not_creep_away_from_the_best():
    epochs = [[0.1 + 0.02 * i, 0.1 + 0.02 * i, 0.1 + 0.02 * i + 0.001] for i in range(6)]
    assert judged(*epochs)[1] == [True] + [False] * 5


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
    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        trained.validate()


def test_a_damaged_or_absent_checkpoint_is_named(part, settings, tmp_path):
    with pytest.raises(TrainingError, match=r"last.safetensors: no such checkpoint"):
        trainer(part, settings, tmp_path).resume()
    (tmp_path / "last.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(TrainingError, match=r"last.safetensors: not a usable checkpoint"):
        trainer(part, settings, tmp_path).resume()


@pytest.mark.parametrize("seed", range(4))
def test_what_chooses_shares_no_group_with_what_trains(part, seed):
    train, chosen = hold_out(part, 0.25, seed)
    assert not set(train.groups) & set(chosen.groups)
    assert len(train) + len(chosen) == len(part)
    assert set(chosen.labels) == {0, 1}


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_two_groups_takes_no_more_than_its_share_away(part, seed):
    rare = np.isin(part.groups, ["g0", "g5"])
    few = replace(part, labels=rare.astype(int))
    train, chosen = hold_out(few, 0.1, seed)
    assert {0, 1} == set(train.labels) == set(chosen.labels)
    assert len(chosen) <= 0.25 * len(part)


def test_a_class_of_one_group_is_refused_by_its_name(part):
    few = replace(part, labels=(part.groups == "g3").astype(int))
    with pytest.raises(DataSetError, match="class greenstick has too few groups"):
        hold_out(few, 0.1, 0, ("normal", "greenstick"))


@pytest.mark.parametrize("seed", range(4))
def test_classes_smaller_than_the_share_has_folds_are_held_out_too(part, seed):
    """Three classes of six radiographs, of which a tenth chooses."""
    few = part.select(np.arange(18))
    few = replace(few, labels=np.arange(18) % 3, groups=np.arange(18).astype(str))
    train, chosen = hold_out(few, 0.1, seed)
    assert set(train.labels) == set(chosen.labels) == {0, 1, 2}
    assert 3 <= len(chosen) <= 6
    least = replace(few.select(np.arange(4)), labels=np.array([0, 0, 1, 1]))
    assert [len(side) for side in hold_out(least, 0.1, seed)] == [2, 2]


def test_a_fracture_boxed_outside_its_radiograph_teaches_no_map(tmp_path):
    """An empty mask would say that there is none."""
    boxes = ((10.0, 10.0, 20.0, 20.0),), ((900.0, 10.0, 20.0, 20.0),), (), ()
    records = []
    for number, own in enumerate(boxes):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((64, 64), 60 + number, np.uint8)).save(path)
        records.append(Record(path.name, path, int(number < 3), boxes=own))
    index = Index(tmp_path, "csv", ("normal", "fractured"), 0, tuple(records))
    split = Split("s", {one.id: Assignment(one.id, one.id, "dev") for one in records})
    cache = open_cache(records, Preprocessing(size=64), directory=tmp_path / "cache")
    part = _part(index, records, split, cache, ())
    assert part.marked.tolist() == [True, False, False, True]
