"""Tests of nlmeta.presets: frozen, usable as they are, and the values of the released code."""

import inspect
from pathlib import Path

import pytest
import torch

from nlmeta import CLIDMU, MLC, MLNT, MSLG, CrossEntropy, data, fit, methods, models, presets

PRESETS = {name: getattr(presets, name) for name in presets.__all__ if name.isupper()}
every_preset = pytest.mark.parametrize("name", PRESETS)


def test_there_are_presets_and_all_are_listed():
    written = {name for name in vars(presets) if name.isupper()}
    assert set(PRESETS) == written == set(presets.__all__)
    assert "MLC_OFFICIAL_CIFAR10" in PRESETS


@every_preset
def test_a_preset_cannot_be_changed(name):
    preset = PRESETS[name]
    key = next(iter(preset))
    with pytest.raises(TypeError, match="does not support item assignment"):
        preset[key] = 0
    with pytest.raises(TypeError, match="does not support item deletion"):
        del preset[key]


@every_preset
def test_a_preset_holds_plain_values(name):
    plain = (bool, int, float, str, tuple)
    assert all(isinstance(value, plain) for value in PRESETS[name].values())


@every_preset
def test_the_source_of_a_preset_stands_in_the_comment_above_it(name):
    """published, code, port or ours: who found the numbers."""
    lines = inspect.getsource(presets).splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{name}: "))
    comment = []
    while lines[at - 1].startswith("#"):
        at -= 1
        comment.insert(0, lines[at])
    assert comment
    assert comment[0].startswith(("#: published.", "#: code.", "#: port.", "#: ours."))


NETWORK = models.MLP(64, 10, (4,), seed=2)
METHODS = {
    "MLC": lambda preset: MLC(10, **preset),
    "MSLG": lambda preset: MSLG(torch.tensor([0, 9, 3]), 10, **preset),
    "MLNT": lambda preset: MLNT(NETWORK, NETWORK, seed=2, **preset),
    "CLID": lambda preset: CLIDMU(methods.WeightNet(seed=2), **preset),
}
FOR_FIT = [name for name in PRESETS if name.endswith("_TRAINING")]
FOR_READERS = [name for name in PRESETS if name.endswith("_PROTOCOL")]
FOR_DATA = [name for name in PRESETS if name.endswith("_DATA")]
FOR_METHODS = sorted(set(PRESETS) - {"DIGITS", *FOR_FIT, *FOR_READERS, *FOR_DATA})


@pytest.mark.parametrize("name", FOR_METHODS)
def test_a_preset_goes_into_its_method_as_it_is(name):
    settings = METHODS[name.partition("_")[0]](PRESETS[name]).settings
    assert {key: settings[key] for key in PRESETS[name]} == dict(PRESETS[name])


@pytest.mark.parametrize("name", FOR_FIT)
def test_a_training_preset_goes_into_fit_as_it_is(name):
    split = data.load("digits", seed=2, meta_size=10, test_size=1700, validation_size=0)
    short = {"epochs": 1, "warmup_epochs": 0, "seed": 2, "progress": False, "device": "cpu"}
    model = models.MLP(64, 10, (4,), seed=2)
    assert fit(CrossEntropy(), model, split, **{**PRESETS[name], **short}).finished


def published(n):
    """n images of one pixel and their labels, as many of each of ten classes."""
    x = torch.zeros(n, 3, 1, 1, dtype=torch.uint8)
    return data.Part(x, torch.arange(n) % 10)


@pytest.mark.parametrize("name", ["MLC_OFFICIAL_CIFAR10_DATA", "MSLG_OFFICIAL_CIFAR10_DATA"])
def test_the_released_meta_sets_of_cifar10_are_test_images_and_leave_the_test_part(name):
    source = data.Source(
        "cifar10", tuple("abcdefghij"), published(50_000), published(10_000), False, "us"
    )
    split = data.make_split(
        source, data.SplitOptions(noise="one-target", rate=0.4, seed=2, **PRESETS[name])
    )
    assert split.origins["meta"] == split.origins["test"] == "test"
    sizes = [len(part) for part in (split.train, split.meta, split.validation, split.test)]
    assert sizes == [50_000, *((500, 0, 9_500) if name.startswith("MLC") else (4_000, 0, 5_000))]
    assert split.train.x.mean.tolist() == split.train.x.deviation.tolist() == [127.5] * 3


def test_the_released_meta_set_of_clothing1m_is_the_whole_validation_part():
    clothing = data.Source(
        "clothing1m",
        tuple("abcdefghij"),
        published(500),
        published(10),
        noisy=True,
        attribution="us",
        validation=published(14_313),
        clean_train=published(300),
    )
    split = data.make_split(
        clothing, data.SplitOptions(seed=2, **PRESETS["MSLG_OFFICIAL_CLOTHING1M_DATA"])
    )
    assert len(split.meta) == 14_313
    assert len(split.validation) == 0
    assert len(split.train) == 500


@pytest.mark.parametrize("name", FOR_READERS)
def test_a_protocol_stands_beside_the_settings_that_it_explains(name):
    """It says nothing that method or `fit` take, except where their preset has no room for it."""
    partner = name.removesuffix("_PROTOCOL")
    partners = [other for other in PRESETS if other != name and other.startswith(partner)]
    family = partner.replace("_CLOTHING1M", "").replace("_CIFAR10", "")
    assert partners or any(other.startswith(family) for other in FOR_METHODS)
    for other in partners:
        assert not set(PRESETS[name]) & set(PRESETS[other])
    assert "network" in PRESETS[name]


def test_each_of_the_four_methods_has_what_its_release_does():
    for method in ("MLC", "MSLG", "MLNT", "CLID_MU"):
        assert any(name.startswith(f"{method}_OFFICIAL") for name in FOR_METHODS), method


def test_the_two_official_forms_of_mlnt_differ_in_the_order_of_their_gradient_alone():
    first, last = presets.MLNT_OFFICIAL_2018_CLOTHING1M, presets.MLNT_OFFICIAL_HEAD_CLOTHING1M
    assert {key for key in first if first[key] != last[key]} == {"order"}
    assert (first["order"], last["order"]) == ("first", "second")


def test_the_preset_of_the_digits_goes_into_fit_as_it_is():
    split = data.load("digits", seed=2, meta_size=0, test_size=1700, validation_size=0)
    model = models.MLP(64, 10, (4,), seed=2)
    result = fit(CrossEntropy(), model, split, epochs=1, seed=2, progress=False, **presets.DIGITS)
    assert result.finished


def test_the_defaults_of_fit_are_the_preset_of_the_digits():
    """`fit` documents its defaults as those of this preset."""
    parameters = inspect.signature(fit).parameters
    for key, value in presets.DIGITS.items():
        assert parameters[key].default == value, key


def test_the_official_preset_of_mlc_has_every_switch_of_the_released_code():
    """Logits, T forgotten at each step, columns normalised, losses summed; alpha and eta."""
    assert dict(presets.MLC_OFFICIAL_CIFAR10) == {
        "virtual_lr": 1e-3,
        "transition_lr": 0.11,
        "space": "logit",
        "keep_transition": False,
        "normalise": "column",
        "reduction": "sum",
        "q_floor": 0.0,
    }
    assert dict(presets.MLC_OFFICIAL_CIFAR10_TRAINING) == {
        "batch_size": 64,
        "lr": 1e-4,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "constant",
    }


def test_each_official_switch_differs_from_the_textbook_default():
    defaults = inspect.signature(MLC).parameters
    for switch in ("space", "keep_transition", "normalise", "reduction", "q_floor"):
        assert presets.MLC_OFFICIAL_CIFAR10[switch] != defaults[switch].default


def test_the_digits_preset_of_mlc_is_the_textbook_form():
    assert set(presets.MLC_DIGITS) == {"virtual_lr", "transition_lr"}


def test_one_mean_step_with_converted_rates_is_one_official_sum_step():
    """The comments beside the numbers: 64 times the rate, weight decay divided by 64."""
    n = presets.MLC_OFFICIAL_CIFAR10_TRAINING["batch_size"]
    lr = presets.MLC_OFFICIAL_CIFAR10_TRAINING["lr"]
    decay = presets.MLC_OFFICIAL_CIFAR10_TRAINING["weight_decay"]
    assert 64 * presets.MLC_OFFICIAL_CIFAR10["virtual_lr"] == pytest.approx(0.064)
    assert decay / 64 == pytest.approx(7.8e-6, abs=5e-8)  # as the comment rounds it
    draw = torch.Generator().manual_seed(3)
    weights = torch.randn(5, generator=draw, dtype=torch.float64)
    x = torch.randn(n, 5, generator=draw, dtype=torch.float64)
    moved = []
    for reduce, rate, weight_decay in (("sum", lr, decay), ("mean", n * lr, decay / n)):
        w = weights.clone().requires_grad_()
        optimizer = torch.optim.SGD([w], lr=rate, momentum=0.9, weight_decay=weight_decay)
        for _ in range(3):  # momentum takes part
            optimizer.zero_grad()
            getattr((x @ w).sigmoid(), reduce)().backward()
            optimizer.step()
        moved.append(w.detach())
    assert (moved[0] - weights).abs().max() > 1e-4
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=1e-14)


def test_reading_the_presets_needs_no_other_module():
    source = Path(inspect.getfile(presets)).read_text(encoding="utf-8")
    assert "nlmeta." not in source.split('"""', 2)[2]
    assert "if " not in source.split('"""', 2)[2]
