"""Tests of nlmeta.plots: what a figure says, not how it looks."""

import inspect
import itertools
import runpy
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import refused
from matplotlib.colors import to_rgb

from nlmeta import Method, analysis, methods, noise, plots, widgets
from nlmeta.data import Images, Samples, Split
from nlmeta.plots import styles

mpl.use("Agg")

METHODS = [
    "cross-entropy",
    "early stopping",
    "EMA",
    "meta set alone",
    "fine-tuning",
    "GCE",
    "ELR",
    "Co-teaching",
    "forward",
    "GLC",
    "learning to reweight",
    "L2B",
    "mean teacher",
    "Meta-Weight-Net",
    "MetaLabelNet",
    "Meta Label Correction",
    "MLNT",
    "MSLG",
    "MLC",
    "CLID-MU",
]
# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency" (2009), severity 1, on linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
XYZ = np.array(  # of linear RGB, divided by the white point D65
    [
        [0.4339, 0.3762, 0.1899],
        [0.2126, 0.7152, 0.0722],
        [0.0178, 0.1095, 0.8727],
    ]
)


def lab(colour, sight):
    """CIE L*a*b* of a colour as seen with that sight."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(np.clip(XYZ @ SIGHT[sight] @ linear, 0.008856, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("sight", SIGHT)
def test_different_colours_stay_apart_for_colour_blind_readers(sight):
    """A difference of 2.3 is just noticeable; 10 is plain to see. Labels have their own two."""
    others = [styles.RIGHT, styles.WRONG, styles.UNKNOWN_METHOD["color"]]
    colours = [*sorted(set(plots.COLOURS.values())), *others]
    for one, other in itertools.combinations(colours, 2):
        distance = np.linalg.norm(lab(one, sight) - lab(other, sight))
        assert distance > 10, (one, other, distance)


def test_every_method_has_a_style_that_no_other_has():
    assert list(plots.STYLES) == METHODS
    assert {method: style["color"] for method, style in plots.STYLES.items()} == plots.COLOURS
    looks = {(style["color"], style["linestyle"]) for style in plots.STYLES.values()}
    markers = {style["marker"] for style in plots.STYLES.values()}
    assert len(looks) == len(markers) == len(METHODS)


# The label under which tables and figures show a method.
LABELS = {
    "CLIDMU": "CLID-MU",
    "CoTeaching": "Co-teaching",
    "CrossEntropy": "cross-entropy",
    "ELR": "ELR",
    "EMA": "EMA",
    "ForwardCorrection": "forward",
    "GeneralisedCrossEntropy": "GCE",
    "GoldLossCorrection": "GLC",
    "LabelHead": "MetaLabelNet",
    "LearningToReweight": "learning to reweight",
    "MLC": "MLC",
    "MLNT": "MLNT",
    "MSLG": "MSLG",
    "MetaWeightNet": "Meta-Weight-Net",
}
WRAPPERS = {"Captured", "EveryKth"}  # drawn as the method within
IN_NO_FIGURE = {"FixMatch"}


def test_every_method_of_the_package_has_a_style():
    """A method that is added gets a label here and a style, or is named with a reason."""
    public = {name: getattr(methods, name) for name in methods.__all__}
    there = {
        name
        for name, value in public.items()
        if inspect.isclass(value) and issubclass(value, Method) and value is not Method
    }
    assert there == {*LABELS} | WRAPPERS | IN_NO_FIGURE
    assert {*LABELS.values()} <= {*plots.STYLES}


FILES = [*sorted(Path(plots.__file__).parent.glob("*.py")), Path(widgets.__file__)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_importing_changes_no_setting_of_matplotlib(file):
    before = mpl.rcParams.copy()
    runpy.run_path(str(file))
    assert mpl.rcParams == before


def test_a_transition_matrix_has_true_classes_in_rows():
    ax = plots.transition_matrix(noise.pair(3, 0.3), class_names=["a", "b", "c"], title="Pair")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("given label", "true class")
    assert ax.get_title() == "Pair"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.yaxis_inverted()  # class 0 on top, as in print
    assert texts(ax) == ["70", "30", "", "", "70", "30", "30", "", "70"]
    shown = np.asarray(ax.collections[0].get_array()).reshape(3, 3)
    assert np.allclose(shown, 100 * noise.pair(3, 0.3).numpy())


def test_a_class_without_samples_is_named_as_such():
    counted = noise.empirical_transition(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2]), 3)
    ax = plots.transition_matrix(counted)
    (note,) = [text for text in ax.texts if text.get_text() == "no samples"]
    assert note.get_position() == (1.5, 1.5)  # the row of class 1
    assert "nan" not in texts(ax)


def test_entries_are_written_for_few_classes_only_unless_asked():
    assert len(plots.transition_matrix(noise.pair(10, 0.3)).texts) == 100
    assert len(plots.transition_matrix(noise.pair(11, 0.3)).texts) == 0
    assert len(plots.transition_matrix(noise.pair(11, 0.3), annotate=True).texts) == 121
    assert len(plots.transition_matrix(noise.pair(3, 0.3), annotate=False).texts) == 0


def test_figures_are_white_also_when_the_readers_settings_are_dark():
    with plt.style.context("dark_background"):
        ax = plots.transition_matrix(noise.pair(3, 0.3))
        figure = plots.transition_beside_estimate(noise.pair(3, 0.3), torch.eye(3))
    assert to_rgb(ax.figure.get_facecolor()) == to_rgb(figure.get_facecolor()) == (1, 1, 1)
    assert to_rgb(ax.get_facecolor()) == (1, 1, 1)


def test_given_axes_are_drawn_on():
    _, ax = plt.subplots()
    assert plots.transition_matrix(noise.pair(3, 0.3), ax=ax) is ax
    _, ax = plt.subplots()
    assert plots.memorisation_curve(history(), ax=ax) is ax
    _, ax = plt.subplots()
    assert plots.curves(history(), {"memorised": {}}, ax=ax) is ax
    _, ax = plt.subplots()
    assert plots.paired_differences(results(), reference="EMA", ax=ax) is ax


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 1, 8, 8), (5, 3, 8, 8)])
def test_wrong_labels_are_marked_by_words_and_frame(shape):
    images = torch.linspace(-3, 9, int(np.prod(shape))).reshape(shape)
    true, given = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 1, 2, 2, 1])
    figure = plots.noisy_examples(images, true, given, columns=3, class_names=["cat", "dog", "cow"])
    titles = [ax.get_title().strip() for ax in figure.axes]
    assert titles == ["cat", "dog", "cow", "cow, wrong:\nit is cat", "dog", ""]
    widths = [ax.spines["left"].get_linewidth() for ax in figure.axes[:5]]
    assert widths.index(max(widths)) == 3


def test_pictures_share_one_scale():
    images = torch.stack([torch.zeros(2, 2), torch.ones(2, 2), torch.full((2, 2), 4.0)])
    figure = plots.noisy_examples(images, torch.arange(3), torch.arange(3))
    assert [ax.images[0].get_array().max() for ax in figure.axes] == [0.0, 0.25, 1.0]


def history(*seeds):
    rows = [
        {
            "seed": seed,
            "epoch": epoch,
            "test_accuracy": 0.8 - 0.1 * epoch + 0.02 * seed,
            "train_accuracy": 0.5 + 0.1 * epoch,
            "memorised": 0.2 * epoch,
        }
        for seed in (seeds or (0,))
        for epoch in (1, 2, 3)
    ]
    frame = pd.DataFrame(rows)
    return frame if seeds else frame.drop(columns="seed")


def test_memorisation_is_three_curves_told_apart_by_their_lines():
    ax = plots.memorisation_curve(history())
    assert [line.get_label() for line in ax.lines] == [
        "clean test samples classified right",
        "training samples fitted to their given label",
        "wrong labels memorised",
    ]
    assert len({line.get_linestyle() for line in ax.lines}) == 3
    assert np.allclose(ax.lines[0].get_ydata(), [0.7, 0.6, 0.5])
    assert np.allclose(ax.lines[2].get_ydata(), [0.2, 0.4, 0.6])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "share")


def test_several_seeds_are_drawn_as_mean_and_standard_deviation():
    ax = plots.memorisation_curve(history(0, 1, 2))
    assert np.allclose(ax.lines[0].get_ydata(), [0.72, 0.62, 0.52])
    band = ax.collections[0].get_paths()[0].get_extents()
    assert np.allclose([band.y0, band.y1], [0.52 - 0.02, 0.72 + 0.02])


def test_curves_draw_the_columns_that_are_named_in_the_styles_that_are_given():
    lines = {"memorised": plots.STYLES["MLC"], "test_accuracy": {"color": "red", "label": "test"}}
    ax = plots.curves(history(0, 1, 2), lines, title="Two of three")
    assert [line.get_label() for line in ax.lines] == ["memorised", "test"]
    assert [line.get_color() for line in ax.lines] == [plots.COLOURS["MLC"], "red"]
    assert ax.lines[0].get_marker() == "D"
    assert np.allclose(ax.lines[1].get_ydata(), [0.72, 0.62, 0.52])
    band = ax.collections[1].get_paths()[0].get_extents()
    assert np.allclose([band.y0, band.y1], [0.52 - 0.02, 0.72 + 0.02])
    assert (ax.get_title(), ax.get_xlabel(), ax.get_legend()) == ("Two of three", "epoch", None)


def test_styles_of_curves_may_have_the_short_names_of_matplotlib():
    ax = plots.curves(history(), {"memorised": {"lw": 3, "c": "red", "ls": ":"}})
    line = ax.lines[0]
    assert (line.get_linewidth(), line.get_color(), line.get_linestyle()) == (3, "red", ":")


def test_epochs_without_a_measurement_are_left_out():
    frame = history()
    frame.loc[1, "test_accuracy"] = np.nan
    ax = plots.memorisation_curve(frame)
    assert ax.lines[0].get_xdata().tolist() == [1, 3]
    assert ax.lines[1].get_xdata().tolist() == [1, 2, 3]


def test_curves_have_the_colour_of_their_method():
    ax = plots.memorisation_curve(history(), method="MLC")
    assert {line.get_color() for line in ax.lines} == {plots.COLOURS["MLC"]}


def results():
    accuracies = {"EMA": [0.60, 0.70, 0.80], "MLC": [0.65, 0.72, 0.88], "mine": [0.5, 0.6, 0.7]}
    return pd.DataFrame(
        {"method": method, "seed": seed, "accuracy": accuracy}
        for method, series in accuracies.items()
        for seed, accuracy in enumerate(series)
    )


def test_differences_are_taken_seed_by_seed_in_points():
    """MLC above EMA: 5, 2 and 8 points, so mean 5 and standard deviation 3."""
    shuffled = results().iloc[[0, 4, 8, 2, 3, 1, 7, 6, 5]]  # the order of rows must not matter
    ax = plots.paired_differences(shuffled, reference="EMA")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["MLC", "mine"]
    assert texts(ax) == ["+5.0 ± 3.0", "-10.0 ± 0.0"]
    dots = next(line for line in ax.lines if len(line.get_xdata()) == 3)
    assert np.allclose(dots.get_xdata(), [5, 2, 8])
    assert ax.get_xlabel() == "points above EMA (mean ± sd, n = 3)"


def runs_of_two_noises():
    """Two methods and a control, under two noises, with 100 and 20 clean samples, two seeds."""
    return pd.DataFrame(
        {
            "method": method,
            "seed": seed,
            "accuracy": 0.5 + 0.1 * place + 0.02 * seed - (0.1 if meta_size == 20 else 0),
            "noise": noise,
            "meta_size": meta_size,
        }
        for noise in ("symmetric", "pair")
        for place, method in enumerate(["EMA", "MLC", "MLC, T stays the identity"])
        for meta_size in (20, 100)
        for seed in range(2)
    )


def test_dots_are_means_and_ticks_are_seeds_in_the_order_that_is_asked_for():
    frame = runs_of_two_noises()
    figure = plots.dot_plot(frame, methods=["MLC", "EMA"], coloured=["MLC"])
    assert [ax.get_title() for ax in figure.axes] == ["symmetric", "pair"]
    for ax in figure.axes:
        assert [label.get_text() for label in ax.get_yticklabels()] == ["MLC", "EMA"]
        dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata())]
        assert np.allclose([dot.get_xdata()[0] for dot in dots], [61, 51, 51, 41])
        assert [dot.get_markerfacecolor() == "white" for dot in dots] == [False, True] * 2
        ticks = [line.get_xdata() for line in ax.lines if line.get_marker() == "|"]
        assert np.allclose(ticks, [[60, 62], [50, 52], [50, 52], [40, 42]])
    colours = [to_rgb(dot.get_color()) for dot in dots]
    assert colours == [to_rgb(plots.COLOURS["MLC"])] * 2 + [to_rgb("0.4")] * 2
    shown = figure.legends[0]
    assert shown.get_title().get_text() == "meta size"
    assert [text.get_text() for text in shown.get_texts()] == ["100", "20"]


def test_dots_of_a_control_have_the_colour_of_its_method_and_one_series_needs_no_legend():
    frame = runs_of_two_noises().query("meta_size == 100")
    figure = plots.dot_plot(frame, methods=["MLC, T stays the identity"], coloured=["MLC"])
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_color() for dot in dots] == [plots.COLOURS["MLC"]]
    assert not figure.legends


def test_refuses_dots_that_the_frame_does_not_hold():
    frame = runs_of_two_noises()

    def draw(part, methods=("MLC",)):
        return lambda: plots.dot_plot(part, methods=methods)

    refused("lacks ['GLC, symmetric, 100', 'GLC, symmetric, 20',", draw(frame, ["MLC", "GLC"]))
    refused("`methods` is []; `frame` must have a run of each", draw(frame, []))
    refused("it lacks ['meta_size']", draw(frame.drop(columns="meta_size")))
    refused("two rows for method MLC, seed 1", draw(pd.concat([frame, frame[frame.seed == 1]])))
    three = pd.concat([frame, frame.query("meta_size == 20").assign(meta_size=5)])
    refused("'meta_size' has the values [100, 20, 5]; it may have two at most", draw(three))
    lacking = frame.query("not (method == 'MLC' and noise == 'pair' and meta_size == 20)")
    refused("lacks ['MLC, pair, 20']", draw(lacking))


def test_refuses_a_matrix_that_is_not_square_and_names_that_do_not_fit():
    refused(
        "`matrix` has shape (2, 3); it must be square, (C, C)",
        lambda: plots.transition_matrix(torch.ones(2, 3)),
    )
    refused(
        "`class_names` holds 2 names; it must hold 3, one for",
        lambda: plots.transition_matrix(torch.eye(3), class_names=["a", "b"]),
    )


def test_refuses_pictures_of_another_shape_and_labels_of_another_number():
    labels = torch.arange(3)
    refused(
        "`images` has shape (3, 2, 8, 8); it must be (n, H, W), (n, 1, H, W) or (n, 3, H, W)",
        lambda: plots.noisy_examples(torch.zeros(3, 2, 8, 8), labels, labels),
    )
    refused(
        "`images` holds 3 samples and `true_labels` 2",
        lambda: plots.noisy_examples(torch.zeros(3, 8, 8), labels[:2], labels[:2]),
    )


def test_refuses_a_history_without_a_column_or_with_two_runs_in_one():
    refused(
        "`history` has the columns ['epoch', 'test_accuracy', 'train_accuracy']; "
        "it lacks ['memorised']",
        lambda: plots.memorisation_curve(history().drop(columns="memorised")),
    )
    refused("it lacks ['loss']", lambda: plots.curves(history(), {"memorised": {}, "loss": {}}))
    refused(
        "`history` has two rows for epoch 1; it must have one",
        lambda: plots.memorisation_curve(pd.concat([history(), history()])),
    )
    refused(
        "`history` has two rows for seed 4, epoch 1; it must have one",
        lambda: plots.memorisation_curve(pd.concat([history(4), history(4)])),
    )


def test_refuses_a_comparison_that_is_not_paired():
    frame = results()

    def draw(part, reference="EMA"):
        return lambda: plots.paired_differences(part, reference=reference)

    refused(
        "`reference` is 'GLC'; it must be one of 'EMA', 'MLC', 'mine'", draw(frame, reference="GLC")
    )
    refused("`frame` lacks an accuracy of 'MLC' for seed 2", draw(frame.drop(index=5)))
    refused("`frame` has two rows for method MLC, seed 0", draw(pd.concat([frame, frame[3:4]])))
    refused(
        "`frame` holds 1 seed; a standard deviation needs at least 2", draw(frame[frame.seed == 0])
    )
    refused("it lacks ['accuracy']", draw(frame.drop(columns="accuracy")))


def test_a_control_has_the_colour_of_its_method_and_a_hollow_marker():
    frame = pd.DataFrame(
        [
            {"method": method, "seed": seed, "accuracy": 0.5 + 0.01 * seed * i}
            for i, method in enumerate(["early stopping", "MSLG", "MSLG, labels stay", "mine"])
            for seed in range(3)
        ]
    )
    ax = plots.paired_differences(frame, reference="early stopping")
    whole, hollow, other = (line for line in ax.lines if len(line.get_xdata()) == 3)
    assert whole.get_color() == hollow.get_color() == plots.COLOURS["MSLG"] != other.get_color()
    assert hollow.get_markerfacecolor() == "white" != whole.get_markerfacecolor()


def suspects(ids=("a.png", "b.png", "c.png"), suggested=("dog", "cow", "cat")):
    """Rows 4, 0 and 2 of five images, the most suspect first."""
    return pd.DataFrame(
        {
            "id": ids,
            "row": [4, 0, 2],
            "given_name": ["cat", "dog", "cat"],
            "suggested_name": suggested,
            "self_confidence": [0.0123, 0.2, 0.9],
            "loss": [4.4, 1.6, 0.1],
        }
    )


@pytest.mark.parametrize("shape", [(5, 2, 2), (5, 1, 2, 2), (5, 3, 2, 2)])
def test_suspects_are_shown_with_id_labels_and_score(shape):
    """The image of a row is the one with that number; brightness tells here which it is."""
    images = torch.arange(5.0)[(...,) + (None,) * (len(shape) - 1)].expand(shape)
    figure = plots.suspects_sheet(suspects(), images, columns=2)
    assert [ax.get_title() for ax in figure.axes] == [
        "a.png\ncat\n\N{RIGHTWARDS ARROW} dog\n0.0123",
        "b.png\ndog\n\N{RIGHTWARDS ARROW} cow\n0.2",
        "c.png\ncat\nstays\n0.9",
        "",
    ]
    shown = [ax.images[0].get_array().max() for ax in figure.axes[:3]]
    assert shown == [1.0, 0.0, 0.5]  # rows 4, 0, 2
    figure = plots.suspects_sheet(suspects(), images, count=1, score="loss")
    assert [ax.get_title().splitlines()[-1] for ax in figure.axes] == ["4.4"]


def test_suspects_that_are_bytes_are_shown_as_they_are():
    stored = torch.tensor([0, 50, 100, 150, 204]).byte()[:, None, None, None].expand(5, 3, 2, 2)
    images = Images(stored, mean=torch.full((3,), 90.0), deviation=torch.full((3,), 7.0))
    figure = plots.suspects_sheet(suspects(), images)
    shown = [float(ax.images[0].get_array().max()) for ax in figure.axes]
    assert shown == pytest.approx([204 / 255, 0, 100 / 255])


def test_long_ids_are_cut_at_the_front_and_dollars_stay_dollars():
    ids = ("holidays/2019/summer/img_000123.png", "cost $1$", 17)
    figure = plots.suspects_sheet(suspects(ids), torch.zeros(5, 2, 2))
    first = [ax.get_title().splitlines()[0] for ax in figure.axes]
    assert first == ["\N{HORIZONTAL ELLIPSIS}er/img_000123.png", "cost $1$", "17"]
    assert not any(ax.title.get_parse_math() for ax in figure.axes)


def test_the_frame_of_suspects_fits_the_sheet():
    """What `analysis.suspects` gives is what the figure takes."""
    x, y = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), torch.tensor([1, 1, 0])
    train, none = Samples(x, y, ["p", "q", "r"]), Samples(x[:0], y[:0])
    split = Split("tiny", train, none, none, none, None, None, {}, ("cat", "dog"), {})
    frame = analysis.suspects(torch.nn.Identity(), split)
    figure = plots.suspects_sheet(frame, torch.zeros(3, 2, 2), score="loss")
    assert [ax.get_title().splitlines()[0] for ax in figure.axes] == ["p", "r", "q"]


def test_an_estimate_stands_beside_the_matrix_with_the_difference():
    truth = noise.pair(3, 0.3)
    estimate = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.7, 0.3], [0.4, 0.0, 0.6]]).to(truth)
    figure = plots.transition_beside_estimate(truth, estimate, class_names=["a", "b", "c"])
    left, middle, right = figure.axes[:3]
    assert [ax.get_title() for ax in (left, middle)] == ["Noise matrix", "Estimate"]
    assert right.get_title() == "Difference (error 0.100)"  # (0.2 + 0 + 0.1) / 3
    shown = np.asarray(right.collections[0].get_array()).reshape(3, 3)
    assert np.allclose(shown, [[-20, 20, 0], [0, 0, 0], [10, 0, -10]], rtol=0, atol=1e-5)
    assert right.collections[0].get_clim() == pytest.approx((-20, 20))  # zero is white
    assert texts(right) == ["-20", "20", "", "", "", "", "10", "", "-10"]
    assert texts(left) == ["70", "30", "", "", "70", "30", "30", "", "70"]


def test_a_class_without_samples_does_not_count_in_the_difference():
    truth = noise.pair(3, 0.3)
    counted = noise.empirical_transition(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2]), 3)
    figure = plots.transition_beside_estimate(truth, counted)
    assert figure.axes[2].get_title() == "Difference (error 0.250)"  # (0.2 + 0.3) / 2
    assert "no samples" in texts(figure.axes[1])
    assert "no samples" in texts(figure.axes[2])


def test_equal_matrices_show_no_difference():
    figure = plots.transition_beside_estimate(noise.pair(3, 0.3), noise.pair(3, 0.3) + 1e-9)
    assert figure.axes[2].collections[0].get_clim() == (-1, 1)
    assert set(texts(figure.axes[2])) == {""}


def losses_of_two_kinds():
    g = torch.Generator().manual_seed(0)
    wrong = torch.rand(600, generator=g) < 0.3
    normal = torch.randn(600, generator=g)
    return torch.where(wrong, 5 + 0.8 * normal, 2 + 0.4 * normal), wrong


def test_losses_are_drawn_with_their_components_and_boundary():
    losses, _ = losses_of_two_kinds()
    mixture = analysis.fit_loss_mixture(losses)
    ax = plots.loss_mixture(losses, bins=30)
    area = sum(bar.get_height() * bar.get_width() for bar in ax.patches)
    assert len(ax.patches) == 30
    assert area == pytest.approx(1)
    low, high = ax.lines[:2]
    assert [low.get_label(), high.get_label()] == [
        "component of low losses",
        "component of high losses",
    ]
    assert low.get_linestyle() != high.get_linestyle()
    at = torch.as_tensor(low.get_xdata())
    assert np.allclose([low.get_ydata(), high.get_ydata()], mixture.densities(at))
    inside = [b for b in mixture.boundaries() if losses.min() <= b <= losses.max()]
    assert len(inside) >= 1
    assert [line.get_xdata()[0] for line in ax.lines[2:]] == pytest.approx(inside)


def test_wrong_labels_are_told_apart_only_where_they_are_known():
    """The two parts of the bars add up, and are told apart by hatching too."""
    losses, wrong = losses_of_two_kinds()
    ax = plots.loss_mixture(losses, wrong=wrong, bins=30)
    areas = [
        sum(bar.get_height() * bar.get_width() for bar in container) for container in ax.containers
    ]
    share = float(wrong.double().mean())
    assert areas == pytest.approx([1 - share, share])
    assert [container[0].get_hatch() or "" for container in ax.containers] == ["", "///"]
    legend = [text.get_text() for text in ax.legend_.texts]
    assert {"right labels", "wrong labels"} <= set(legend)
    assert not any("wrong" in t.get_text() for t in plots.loss_mixture(losses).legend_.texts)


def test_new_figures_draw_on_given_axes_and_are_white():
    losses, _ = losses_of_two_kinds()
    with plt.style.context("dark_background"):
        _, ax = plt.subplots()
        assert plots.loss_mixture(losses, ax=ax) is ax
        sheet = plots.suspects_sheet(suspects(), torch.zeros(5, 2, 2))
        beside = plots.transition_beside_estimate(torch.eye(3), noise.pair(3, 0.3))
    for figure in (ax.figure, sheet, beside):
        assert to_rgb(figure.get_facecolor()) == (1, 1, 1)
    assert to_rgb(beside.axes[2].get_facecolor()) == (1, 1, 1)


def test_refuses_what_the_new_figures_cannot_draw():
    frame = suspects()
    refused(
        "it lacks ['soft_label']",
        lambda: plots.suspects_sheet(frame, torch.zeros(5, 2, 2), score="soft_label"),
    )
    refused(
        "`frame` holds row 4; `images` has rows 0 to 3",
        lambda: plots.suspects_sheet(frame, torch.zeros(4, 2, 2)),
    )
    refused("`frame` has no rows", lambda: plots.suspects_sheet(frame[:0], torch.zeros(5, 2, 2)))
    refused(
        "`estimate` has shape (2, 2) and `truth` (3, 3)",
        lambda: plots.transition_beside_estimate(torch.eye(3), torch.eye(2)),
    )
    losses, wrong = losses_of_two_kinds()
    refused("`wrong` is torch.float32", lambda: plots.loss_mixture(losses, wrong=wrong.float()))
    refused("`losses` are all 1;", lambda: plots.loss_mixture(torch.ones(5)))
