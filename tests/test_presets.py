"""Tests of nlmeta.presets: frozen, usable as they are, and the values of the released code."""

import ast
import inspect
import re
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
import torch

from nlmeta import CLIDMU, MLC, MLNT, MSLG, CrossEntropy, data, fit, methods, models, presets
from nlmeta.presets.base import PARTS

every_preset = pytest.mark.parametrize("name", presets.ALL)


def names_with(part):
    """The presets that have values in this part."""
    return [name for name, preset in presets.ALL.items() if getattr(preset, part)]


def files():
    """The text of each file of the package, parsed."""
    folder = Path(inspect.getfile(presets)).parent
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.py"))]


def test_there_are_presets_and_all_are_listed():
    there = {name for name, value in vars(presets).items() if isinstance(value, presets.Preset)}
    listed = {name for name in presets.__all__ if name.isupper()} - {"ALL"}
    assert set(presets.ALL) == there == listed
    assert all(presets.ALL[name] is getattr(presets, name) for name in presets.ALL)
    assert "MLC_CIFAR10" in presets.ALL


def test_presets_are_written_out_and_each_is_handed_out():
    """Each is a call with keywords, in which nothing is decided."""
    written = {}
    for statement in (statement for tree in files() for statement in tree.body):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            written[statement.targets[0].id] = statement.value
    assert set(written) == set(presets.ALL)
    for name, call in written.items():
        assert ast.unparse(call.func) == "Preset", name
        assert not call.args, name
        decided = (ast.IfExp, ast.BoolOp, ast.DictComp)
        assert not any(isinstance(node, decided) for node in ast.walk(call)), name


@every_preset
def test_a_preset_cannot_be_changed(name):
    preset = presets.ALL[name]
    with pytest.raises(AttributeError, match="cannot assign to field"):
        preset.method = {}
    for part in (*PARTS, "remarks"):
        values = getattr(preset, part)
        with pytest.raises(TypeError, match="does not support item assignment"):
            values["lr"] = 0
        with pytest.raises(TypeError, match="does not support item deletion"):
            del values["lr"]
    with pytest.raises(TypeError, match="does not support item assignment"):
        presets.ALL[name] = preset


def test_a_preset_holds_a_copy_of_what_it_was_given():
    given = {"lr": 0.1}
    preset = presets.Preset(certainty="ours", source="Found here.", training=given)
    given["lr"] = 0.2
    assert preset.training == {"lr": 0.1}


@every_preset
def test_a_preset_holds_plain_values(name):
    plain = (bool, int, float, str, tuple)
    values = [v for part in PARTS for v in getattr(presets.ALL[name], part).values()]
    assert values
    assert all(isinstance(value, plain) for value in values)


@every_preset
def test_a_preset_says_how_sure_it_is_and_where_it_is_from(name):
    """published, code, port or ours: who found the numbers; sentences say how."""
    preset = presets.ALL[name]
    assert preset.certainty in get_args(presets.Certainty)
    for sentence in (preset.source, *preset.remarks.values()):
        assert sentence.endswith(".")
        assert "  " not in sentence
    assert (preset.certainty == "code") == (preset.commit is not None)
    if preset.commit is not None:
        assert re.fullmatch("[0-9a-f]{7}", preset.commit)
    if preset.date is not None:
        assert date(2018, 1, 1) < date.fromisoformat(preset.date) < date(2026, 1, 1)


def test_a_preset_of_the_digits_is_ours_and_no_other_is():
    ours = {name for name, preset in presets.ALL.items() if preset.certainty == "ours"}
    assert ours == {name for name in presets.ALL if name.endswith("DIGITS")}
    port = {name for name, preset in presets.ALL.items() if preset.certainty == "port"}
    assert port == {"MLNT_CIFAR10"}


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"certainty": "read"}, "`certainty` is 'read'; it must be one of 'published'"),
        ({"source": ""}, "`source` is empty; it must name what was read or how the values"),
        (
            {"remarks": {"training.rate": "No."}},
            "`remarks` has the key 'training.rate'; this",
        ),
        ({"remarks": {"method": "No."}}, "`remarks` has the key 'method'; this preset has no such"),
        ({"remarks": {"lr": "No."}}, "`remarks` has the key 'lr'; this preset has no such value"),
        ({"remarks": {"source": "No."}}, "`remarks` has the key 'source'; this preset has no such"),
        ({"date": "2020-10-06"}, "`commit` is None and `date` is '2020-10-06'; give the commit"),
        (
            {"commit": "709FE1C", "date": "2020-10-06"},
            "`commit` is '709FE1C'; it must be 7 hexadecimal digits",
        ),
        (
            {"commit": "709fe1c", "date": "6 Oct 2020"},
            "`date` is '6 Oct 2020'; it must be a date such as '2020-10-06'",
        ),
    ],
)
def test_a_preset_whose_source_does_not_hold_together_is_refused(wrong, text):
    right = {
        "certainty": "code",
        "source": "A repository.",
        "training": {"lr": 0.1},
        "remarks": {"training": "After a warm-up.", "training.lr": "On the sum."},
    }
    assert presets.Preset(**right).training["lr"] == 0.1
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        presets.Preset(**{**right, **wrong})


def test_the_table_has_a_row_for_each_preset_and_all_of_its_values():
    table = presets.table().set_index("name")
    assert list(table.index) == list(presets.ALL)
    assert list(table.columns) == ["certainty", "source", "commit", "date", "values"]
    for name, preset in presets.ALL.items():
        row = table.loc[name]
        assert row["certainty"] == preset.certainty
        assert row["source"] == preset.source
        for key in ("commit", "date"):
            here = getattr(preset, key)
            assert row[key] == here if here is not None else table[key].isna()[name]
        for part in PARTS:
            assert (f"{part}: " in row["values"]) == bool(getattr(preset, part))
            assert all(f"{k}={v!r}" in row["values"] for k, v in getattr(preset, part).items())
    assert table["values"]["MLC_DIGITS"] == "method: virtual_lr=0.1, transition_lr=30.0"
    assert table["values"]["MSLG_DIGITS"].startswith("method: virtual_lr=0.5, label_lr=2000.0, k=5")
    assert "'entries'; training: batch_size=64, " in table["values"]["MSLG_DIGITS"]


NETWORK = models.MLP(64, 10, (4,), seed=2)
METHODS = {
    "MLC": lambda preset: MLC(10, **preset),
    "MSLG": lambda preset: MSLG(torch.tensor([0, 9, 3]), 10, **preset),
    "MLNT": lambda preset: MLNT(NETWORK, NETWORK, seed=2, **preset),
    "CLID": lambda preset: CLIDMU(methods.WeightNet(seed=2), **preset),
    "META": lambda preset: methods.LabelHead(methods.LinearLabelNet(4, 10, seed=2), **preset),
}


@pytest.mark.parametrize("name", names_with("method"))
def test_a_preset_goes_into_its_method_as_it_is(name):
    preset = presets.ALL[name].method
    settings = METHODS[name.partition("_")[0]](preset).settings
    assert {key: settings[key] for key in preset} == dict(preset)


def test_every_preset_but_the_training_of_the_digits_is_of_a_method():
    assert {*presets.ALL} - {*names_with("method")} == {"DIGITS"}


@pytest.mark.parametrize("name", names_with("training"))
def test_a_training_preset_goes_into_fit_as_it_is(name):
    split = data.load("digits", seed=2, meta_size=10, test_size=1700, validation_size=0)
    short = {"epochs": 1, "warmup_epochs": 0, "seed": 2, "progress": False, "device": "cpu"}
    model = models.MLP(64, 10, (4,), seed=2)
    training = {**presets.ALL[name].training, **short}
    assert fit(CrossEntropy(), model, split, **training).finished


def published(n):
    """n images of one pixel and their labels, as many of each of ten classes."""
    x = torch.zeros(n, 3, 1, 1, dtype=torch.uint8)
    return data.Part(x, torch.arange(n) % 10)


@pytest.mark.parametrize("name", ["MLC_CIFAR10", "MSLG_CIFAR10"])
def test_the_released_meta_sets_of_cifar10_are_test_images_and_leave_the_test_part(name):
    source = data.Source(
        "cifar10", tuple("abcdefghij"), published(50_000), published(10_000), False, "us"
    )
    options = presets.ALL[name].data
    split = data.make_split(
        source, data.SplitOptions(noise="one-target", rate=0.4, seed=2, **options)
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
    split = data.make_split(clothing, data.SplitOptions(seed=2, **presets.MSLG_CLOTHING1M.data))
    assert len(split.meta) == 14_313
    assert len(split.validation) == 0
    assert len(split.train) == 500


def test_the_released_habits_of_loading_are_all_tried_above():
    assert names_with("data") == ["MLC_CIFAR10", "MSLG_CIFAR10", "MSLG_CLOTHING1M"]


@pytest.mark.parametrize("name", names_with("protocol"))
def test_a_protocol_stands_beside_the_settings_that_it_explains(name):
    """It says nothing that method or `fit` take, except where their part has no room for it."""
    preset = presets.ALL[name]
    for other in (preset.method, preset.training, preset.data):
        assert not set(preset.protocol) & set(other)
    assert preset.method
    assert "network" in preset.protocol


def test_each_preset_of_a_release_has_a_protocol():
    released = [name for name, preset in presets.ALL.items() if preset.certainty != "ours"]
    assert names_with("protocol") == released


def test_each_of_the_four_methods_has_what_its_release_does():
    for method in ("MLC", "MSLG", "MLNT", "CLID_MU"):
        released = [name for name in presets.ALL if presets.ALL[name].certainty == "code"]
        assert any(name.startswith(f"{method}_") for name in released), method


def test_the_two_official_forms_of_mlnt_differ_in_the_order_of_their_gradient_alone():
    first, last = presets.MLNT_CLOTHING1M_2018, presets.MLNT_CLOTHING1M_HEAD
    differing = {key for key in first.method if first.method[key] != last.method[key]}
    assert differing == {"order"}
    assert (first.method["order"], last.method["order"]) == ("first", "second")
    assert set(first.method) == set(last.method)
    assert (first.training, first.protocol) == (last.training, last.protocol)
    assert first.date < last.date


def test_the_preset_of_the_digits_goes_into_fit_as_it_is():
    split = data.load("digits", seed=2, meta_size=0, test_size=1700, validation_size=0)
    model = models.MLP(64, 10, (4,), seed=2)
    options = {"epochs": 1, "seed": 2, "progress": False}
    result = fit(CrossEntropy(), model, split, **options, **presets.DIGITS.training)
    assert result.finished


def test_the_defaults_of_fit_are_the_preset_of_the_digits():
    """`fit` documents its defaults as those of this preset."""
    parameters = inspect.signature(fit).parameters
    for key, value in presets.DIGITS.training.items():
        assert parameters[key].default == value, key


def test_the_official_preset_of_mlc_has_every_switch_of_the_released_code():
    """Logits, T forgotten at each step, columns normalised, losses summed; alpha and eta."""
    assert dict(presets.MLC_CIFAR10.method) == {
        "virtual_lr": 1e-3,
        "transition_lr": 0.11,
        "space": "logit",
        "keep_transition": False,
        "normalise": "column",
        "reduction": "sum",
        "q_floor": 0.0,
    }
    assert dict(presets.MLC_CIFAR10.training) == {
        "batch_size": 64,
        "lr": 1e-4,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "constant",
    }


def test_each_official_switch_differs_from_the_textbook_default():
    defaults = inspect.signature(MLC).parameters
    for switch in ("space", "keep_transition", "normalise", "reduction", "q_floor"):
        assert presets.MLC_CIFAR10.method[switch] != defaults[switch].default


def test_the_digits_preset_of_mlc_is_the_textbook_form():
    assert set(presets.MLC_DIGITS.method) == {"virtual_lr", "transition_lr"}


def test_one_mean_step_with_converted_rates_is_one_official_sum_step():
    """The remarks on the numbers: 64 times the rate, weight decay divided by 64."""
    preset = presets.MLC_CIFAR10
    n, lr, decay = (preset.training[key] for key in ("batch_size", "lr", "weight_decay"))
    assert 64 * preset.method["virtual_lr"] == pytest.approx(0.064)
    assert "0.064 on the mean" in preset.remarks["method.virtual_lr"]
    assert decay / 64 == pytest.approx(7.8e-6, abs=5e-8)  # as the remark rounds it
    assert "7.8e-6 beside a mean loss" in preset.remarks["training.weight_decay"]
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
    nodes = [node for tree in files() for node in ast.walk(tree)]
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    }
    ours = {name for name in imported if name.startswith("nlmeta")}
    assert ours
    assert all(name.startswith("nlmeta.presets.") for name in ours)
