"""The loop: it learns, stops early, and a killed and resumed run ends in the same weights."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from kirik.dataset.cache import open_cache
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Assignment, Split
from kirik.errors import TrainingError
from kirik.preprocessing import Preprocessing
from kirik.training import loop
from kirik.training.checkpoint import load_checkpoint
from kirik.training.data import Part
from kirik.training.loop import State, Trainer
from kirik.training.machine import find_machine
from kirik.training.run import _part
from kirik.training.scope import fit_scope
from kirik.training.validated import choose_evidence_threshold, validated
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


def test_an_epoch_that_many_radiographs_call_worse_is_not_kept_though_they_differ():
    """What counts is the error of the mean, not how far single radiographs are off it."""
    losses = np.random.default_rng(0).uniform(0.2, 0.4, 400)
    worse = losses + 0.02 + np.random.default_rng(1).normal(0, 0.1, 400)
    assert judged(losses.tolist(), worse.tolist())[1] == [True, False]


def test_what_is_measured_and_kept_is_the_moving_average(part, settings, tmp_path):
    once = settings.model_copy(update={"epochs": 1, "batch_size": 16})
    averaged = trainer(part, once, tmp_path / "a", validation=None)
    plain = trainer(part, once.model_copy(update={"ema": 0.0}), tmp_path / "b", validation=None)
    for trained in (averaged, plain):
        trained.fit(quiet, quiet)
    last, kept = plain.network.state_dict(), load_file(tmp_path / "a" / "best.safetensors")
    assert all(torch.equal(averaged.network.state_dict()[name], last[name]) for name in last)
    name = "head.1.weight"
    assert not torch.equal(averaged.averaged.state_dict()[name], last[name])
    assert torch.equal(averaged.averaged.state_dict()[name], kept[f"network/{name}"])


def test_the_epoch_that_is_kept_is_the_one_that_was_best(part, settings, tmp_path, monkeypatch):
    large = settings.model_copy(update={"batch_size": 32})
    trained, losses = trainer(part, large, tmp_path), iter((0.5, 0.4, 0.6, 0.7))
    monkeypatch.setattr(trained, "validate", lambda: ({}, [next(losses)] * 9))
    trained.fit(quiet, quiet)
    assert (trained.state.best_epoch, trained.state.epoch) == (2, 4)
    assert load_checkpoint(tmp_path / "best.safetensors", {}) == {"epoch": 2}


def test_the_learning_rate_warms_up_then_falls_to_next_to_nothing(part, settings, tmp_path):
    large = settings.model_copy(update={"batch_size": 16})
    trained, rates = trainer(part, large, tmp_path, validation=None), []
    trained.fit(lambda *_: rates.append(trained.optimizer.param_groups[0]["lr"]), quiet)
    peak = int(np.argmax(rates))
    assert rates[0] < settings.learning_rate / 10
    assert rates[peak] == pytest.approx(settings.learning_rate)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < settings.learning_rate / 20


def test_norms_and_biases_do_not_decay_and_no_step_is_a_leap(part, settings, tmp_path):
    trained = trainer(part, settings, tmp_path, validation=None)
    decay = {p: g["weight_decay"] for g in trained.optimizer.param_groups for p in g["params"]}
    for one in trained.network.parameters():
        assert decay[one] == (settings.weight_decay if one.ndim > 1 else 0)
    with torch.no_grad():
        trained.network.head[-1].bias.copy_(torch.tensor([1e3, -1e3]))
        trained.network.head[-1].weight.mul_(1e3)
    with pytest.raises(Killed):
        trained.fit(kill_at(1, 1), quiet)
    moments = [moment["exp_avg"].flatten() for moment in trained.optimizer.state.values()]
    assert torch.cat(moments).norm() < 0.1 * 5.01  # a tenth of the gradient, which is held to 5


def test_no_two_steps_of_any_epoch_process_or_seed_draw_alike(
    part, settings, tmp_path, monkeypatch
):
    drawn, augment = [], loop.augment_batch

    def noted(*words):
        drawn.append(torch.initial_seed())
        return augment(*words)

    monkeypatch.setattr(loop, "augment_batch", noted)
    for number, (seed, rank) in enumerate(((0, 0), (0, 1), (1, 0))):
        own = settings.model_copy(update={"epochs": 2, "seed": seed, "batch_size": 32})
        trained = trainer(part, own, tmp_path / str(number), validation=None)
        trained.machine = replace(trained.machine, rank=rank)
        trained.fit(quiet, quiet)
    assert len(drawn) == len(set(drawn)) == 3 * 2 * trained.steps


@pytest.mark.parametrize(("setting", "more"), [("label_smoothing", 0.4), ("box_weight", 5.0)])
def test_settings_of_the_loss_are_heeded(setting, more, part, settings, tmp_path):
    losses = []
    for value in (0.0, more):
        still = {"epochs": 1, "learning_rate": 1e-9, "ema": 0.0, "balance": "none"}
        own = settings.model_copy(update=still | {setting: value})
        trained = trainer(part, own, tmp_path / str(value), validation=None)
        with torch.no_grad():
            trained.network.head[-1].bias.copy_(torch.tensor([4.0, -4.0]))
        trained.fit(quiet, quiet)
        losses.append(trained.state.history[0]["train_loss"])
    assert abs(losses[1] - losses[0]) > 0.2


@dataclass(frozen=True)
class Told(Part):
    """A part whose batches say what they show: here the opposite."""

    def as_shown(self, batch, negative):
        return batch._replace(labels=1 - batch.labels)


def test_masks_outlines_and_labels_are_those_of_what_a_step_shows(
    part, settings, tmp_path, monkeypatch
):
    seen, loss = [], loop.training_loss

    def noted(output, batch, *words, **options):
        seen.append(batch)
        return loss(output, batch, *words, **options)

    monkeypatch.setattr(loop, "training_loss", noted)
    once = settings.model_copy(update={"epochs": 1})
    trainer(Told(**vars(part)), once, tmp_path, validation=None).fit(quiet, quiet)
    inside, off = [], []
    for batch in seen:
        assert torch.equal(batch.labels == 0, batch.masks.amax(dim=(1, 2, 3)) > 0)
        for image, mask, outlines in zip(
            batch.radiographs, batch.masks, batch.outlines, strict=True
        ):
            low, high = outlines[0].amin(dim=0), outlines[0].amax(dim=0)
            rows, columns = (mask[0] > 128).nonzero(as_tuple=True)
            if not len(rows) or low.amin() < 0 or high.amax() > 64:
                continue
            where = torch.stack([columns, rows]).float().mean(dim=1) * 4 + 2
            off.append(float((where - (low + high) / 2).norm()))
            inside.append(float(image[0, rows * 4 + 2, columns * 4 + 2].mean() / image.mean()))
    assert len(inside) > 10
    assert np.median(off) < 3.3  # whole cells are marked, and some copies moved by whole ones
    assert np.median(inside) > 1.5


def test_what_is_chosen_for_a_model_is_computed_as_its_graph_does(part, settings, tmp_path):
    """In float32, whatever the network trained in."""
    trained = trainer(part, settings.model_copy(update={"precision": "bfloat16"}), tmp_path)
    said = validated(trained, part).logits
    with torch.inference_mode():
        exact = trained.averaged.eval()(torch.from_numpy(part.images)[:, None]).logits
    np.testing.assert_allclose(said, exact.numpy(), atol=1e-5)


def test_what_is_in_scope_may_look_as_other_devices_show_it(part, settings, tmp_path):
    trained = trainer(part, settings, tmp_path)
    network = trained.averaged
    fit_scope(network, part, trained.machine, seed=0)
    tables = (torch.from_numpy(table) for table in (part.images, part.masks, part.outlines))
    images, masks, outlines = tables
    torch.manual_seed(1)
    other, *_ = loop.augment_batch(images[:, None], masks[:, None], outlines)
    strange = torch.from_numpy(255 * (np.indices((64, 64)).sum(axis=0) % 2)).expand(1, 1, 64, 64)
    with torch.inference_mode():
        plain, augmented, odd = (
            network(shown).strangeness for shown in (images[:, None], other, strange)
        )
    assert plain.mean() < 1.5
    assert augmented.mean() < 1.5
    assert odd > 2 * augmented.max()


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
    last = tmp_path / "last.safetensors"
    zeros, cut = save({}), save({}, {"state": '{"epoch": 3, "hist'})
    for content in (b"\x00" * 100, zeros, cut):
        last.write_bytes(content)
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
