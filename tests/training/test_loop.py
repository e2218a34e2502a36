"""The loop: it learns, stops early, and a killed and resumed run ends in the same weights."""

import numpy as np
import pytest
import torch
from PIL import Image

from kirik.dataset.cache import open_cache
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Assignment, Split
from kirik.errors import TrainingError
from kirik.preprocessing import Preprocessing
from kirik.training.loop import State, Trainer
from kirik.training.machine import find_machine
from kirik.training.run import _part
from kirik.training.validated import choose_evidence_threshold
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


@pytest.mark.parametrize(("balance", "shift"), [("autoaugment", np.log(0.5)), ("none", 0.0)])
def test_what_balancing_overstates_a_reading_understates(balance, shift, part, settings, tmp_path):
    """A third is fractured, and the network learned from as many of each."""
    balanced = settings.model_copy(update={"balance": balance})
    shifts = trainer(part, balanced, tmp_path).network.prior_shift
    assert float(shifts[1] - shifts[0]) == pytest.approx(shift, abs=1e-5)


def test_a_rare_class_weighs_more_in_the_loss_where_weights_balance(part, settings, tmp_path):
    """Of a network that calls nothing fractured."""
    losses = {}
    for balance in ("none", "weights"):  # both show each radiograph once, in the same order
        still = {"balance": balance, "epochs": 1, "learning_rate": 1e-9, "ema": 0.0}
        trained = trainer(part, settings.model_copy(update=still), tmp_path / balance)
        with torch.no_grad():
            trained.network.head[-1].bias.copy_(torch.tensor([4.0, -4.0]))
        trained.fit(quiet, quiet)
        losses[balance] = trained.state.history[0]["train_loss"]
    assert losses["weights"] > losses["none"] + 0.5


def test_how_sure_a_network_is_does_not_choose_the_epoch(part, settings, tmp_path, monkeypatch):
    """A reading's calibration makes up for it."""
    trained, said = trainer(part, settings, tmp_path), []
    fractured = np.random.default_rng(0).normal(2 * part.labels - 1, 1.5).astype(np.float32)
    for sure in (1, 4):
        logits = torch.from_numpy(np.stack([-fractured, fractured], axis=1) * sure)
        monkeypatch.setattr("kirik.training.loop.predict_logits", lambda *_, its=logits: its)
        said.append(trained.validate())
    (calm, losses), (surer, again) = said
    assert surer["validation_loss"] > calm["validation_loss"] + 0.5
    assert np.mean(again) == pytest.approx(np.mean(losses), abs=0.01)


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


@pytest.mark.parametrize("level", [0.3, 0.7])
def test_the_maps_threshold_parts_fractures_from_the_rest(level):
    """On the radiographs whose mask is known; without a fracture on them it is the middle."""
    rng, marked = np.random.default_rng(0), np.arange(12) < 4
    masks = np.zeros((12, 16, 16), np.uint8)
    masks[:, 4:8, 8:12] = 255
    levels = np.where(marked, level, 1 - level)[:, None, None]
    evidence = levels - rng.uniform(0.06, 0.2, (12, 8, 8))
    evidence[:, 2:4, 4:6] = levels + rng.uniform(0.06, 0.2, (12, 2, 2))
    threshold = choose_evidence_threshold(evidence, masks, marked)
    assert threshold == pytest.approx(level, abs=0.06)
    assert choose_evidence_threshold(evidence, 0 * masks, marked) == 0.5
