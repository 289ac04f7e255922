"""Tests of nlmeta.analysis: scores against loops, posteriors against Bayes' rule, ids, refusals."""

import ast
import math

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import refused
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from torch import nn
from torch.testing import assert_close

from nlmeta import CLIDMU, EMA, MLC, MSLG, CrossEntropy, Result, analysis, fit, noise
from nlmeta.data import Batch, Images, Samples, Split, from_arrays
from nlmeta.methods import (
    ELR,
    Captured,
    EveryKth,
    FixMatch,
    ForwardCorrection,
    GeneralisedCrossEntropy,
    GoldLossCorrection,
    LearningToReweight,
    LogitMultiplier,
    MetaWeightNet,
    Method,
    WeightNet,
)
from nlmeta.models import MLP

# Six samples in three classes: p of each class, and the given label. The network agrees with the
# given label of samples 0, 3 and 5; it is lopsided, so that no class can stand in for another.
P = torch.tensor(
    [
        [0.80, 0.15, 0.05],
        [0.20, 0.70, 0.10],
        [0.25, 0.35, 0.40],
        [0.10, 0.60, 0.30],
        [0.30, 0.05, 0.65],
        [0.01, 0.02, 0.97],
    ],
    dtype=torch.float64,
)
GIVEN = torch.tensor([0, 0, 1, 1, 0, 2])
T = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.0, 0.3, 0.7]], dtype=torch.float64)
NAMES = ("cat", "dog", "cow")
IDS = ("f.png", "a.png", "c.png", "b.png", "e.png", "d.png")
SCORES = ["self_confidence", "margin", "loss", "high_loss"]


def split_of(x, y, *, sample_ids=None, true=None, names=NAMES):
    nothing = Samples(x[:0], y[:0])
    rows = 100 + 10 * torch.arange(len(y))  # not 0, 1, 2: an id is no row of the training part
    indices = {"train": rows, "meta": rows[:0], "validation": rows[:0], "test": rows[:0]}
    train = Samples(x, y, sample_ids)
    return Split("tiny", train, nothing, nothing, nothing, true, None, indices, names, {})


@pytest.fixture
def split():
    """Its inputs are the network's logits, so that the identity is the network."""
    return split_of(P.log(), GIVEN, sample_ids=IDS)


def run_of(method, model=None):
    return Result(nn.Identity() if model is None else model, method, pd.DataFrame(), True)


def by_row(frame):
    return frame.sort_values("row").reset_index(drop=True)


def mslg(split, scale=1.0):
    method = MSLG(split.train.y, split.num_classes, virtual_lr=0.1, label_lr=1.0, k=0.0)
    shape = method.memory.logits.shape
    method.memory.logits += scale * torch.randn(shape, generator=torch.Generator().manual_seed(2))
    return method


def test_scores_equal_their_definitions(split):
    """Self-confidence, margin and loss, sample by sample and class by class."""
    frame = by_row(analysis.suspects(nn.Identity(), split))
    for row, given in enumerate(GIVEN.tolist()):
        p = P[row].tolist()
        best_other = max(p[k] for k in range(3) if k != given)
        assert frame["self_confidence"][row] == pytest.approx(p[given], abs=1e-12)
        assert frame["margin"][row] == pytest.approx(p[given] - best_other, abs=1e-12)
        assert frame["loss"][row] == pytest.approx(-math.log(p[given]), abs=1e-12)
        assert frame["suggested"][row] == p.index(max(p))
    assert frame["suggested_name"].tolist() == ["cat", "dog", "cow", "dog", "cow", "cow"]
    assert frame["given_name"].tolist() == ["cat", "cat", "dog", "dog", "cat", "cow"]
    assert list(frame) == [
        "id", "row", "given", "given_name", "suggested", "suggested_name", *SCORES, "rank"
    ]  # fmt: skip


def test_the_most_suspect_sample_comes_first(split):
    """By p of the given label: 0.2, 0.3, 0.35, 0.6, 0.8, 0.97. Two ways to rank differ."""
    frame = analysis.suspects(nn.Identity(), split)
    assert frame["row"].tolist() == [1, 4, 2, 3, 0, 5]
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert analysis.suspects(nn.Identity(), split, by="loss")["row"].tolist() == [1, 4, 2, 3, 0, 5]
    lopsided = P.clone()
    lopsided[4] = torch.tensor([0.3, 0.35, 0.35])  # margin -0.05 as sample 2's, p lower
    frame = analysis.suspects(None, split, probabilities=lopsided, by="margin")
    assert frame["row"].tolist()[:3] == [1, 2, 4]  # a tie stays in the order of the rows


@pytest.mark.parametrize("by", SCORES)
def test_every_score_ranks_the_suspicious_way(split, by):
    """A label that the network denies comes before one that it confirms."""
    order = analysis.suspects(nn.Identity(), split, by=by)["row"].tolist()
    assert order.index(1) < order.index(5)


def test_ids_are_the_readers_own_or_else_the_original_rows(split):
    frame = analysis.suspects(nn.Identity(), split)
    assert frame["id"].tolist() == [IDS[row] for row in frame["row"]]
    frame = analysis.suspects(nn.Identity(), split_of(P.log(), GIVEN))
    assert frame["id"].tolist() == [100 + 10 * row for row in frame["row"]]
    frame = analysis.corrected_labels(nn.Identity(), split)
    assert frame["id"].tolist() == list(IDS)


def test_the_truth_changes_nothing():
    """The same frames whether the split knows nothing, the truth, or another truth."""
    frames = [
        (analysis.suspects(nn.Identity(), s), analysis.corrected_labels(nn.Identity(), s))
        for s in (split_of(P.log(), GIVEN, true=true) for true in (None, GIVEN, (GIVEN + 1) % 3))
    ]
    for ranked, corrected in frames[1:]:
        pd.testing.assert_frame_equal(ranked, frames[0][0])
        pd.testing.assert_frame_equal(corrected, frames[0][1])


def test_predictions_are_made_in_evaluation_mode_and_in_the_networks_type():
    """Dropout would change them; a float64 network would refuse float32 inputs."""
    x = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    split = split_of(x, torch.arange(40) % 3)
    network = nn.Sequential(MLP(8, 3, (5,), seed=1), nn.Dropout(0.9)).double()
    want = network.eval()(x.double()).softmax(1).detach()
    network.train()
    assert_close(torch.from_numpy(analysis.pred_probs(network, split)), want, rtol=0, atol=1e-12)
    assert network[1].training  # and it is left as it came


def test_images_that_are_bytes_are_read_as_a_network_takes_them():
    stored = torch.randint(0, 256, (9, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    images = Images(stored.byte(), mean=torch.tensor([100.0]), deviation=torch.tensor([50.0]))
    network = MLP(16, 3, (5,), seed=1)
    y = torch.arange(9) % 3
    got = analysis.suspects(network, split_of(images, y))
    want = analysis.suspects(network, split_of((stored.float() - 100) / 50, y))
    pd.testing.assert_frame_equal(got, want)


def test_a_run_predicts_with_the_methods_average():
    model = MLP(8, 3, (5,), seed=1)
    method = EMA(CrossEntropy(), model, decay=0.5)
    for parameter in method.average.parameters():
        parameter.data += 1.0
    split = split_of(
        torch.randn(7, 8, generator=torch.Generator().manual_seed(0)), GIVEN[:1][[0] * 7]
    )
    got = analysis.pred_probs(run_of(method, model), split)
    assert np.array_equal(got, analysis.pred_probs(method.average.module, split))
    assert np.abs(got - analysis.pred_probs(model, split)).max() > 1e-3


def test_own_probabilities_replace_the_networks(split):
    swapped = P[[5, 4, 3, 2, 1, 0]]
    got = by_row(analysis.suspects(nn.Identity(), split, probabilities=swapped))
    want = swapped.gather(1, GIVEN[:, None]).squeeze(1)
    assert np.allclose(got["self_confidence"], want, rtol=0, atol=1e-12)
    alone = by_row(analysis.suspects(None, split, probabilities=swapped))
    pd.testing.assert_frame_equal(got, alone)


def test_a_probability_of_zero_is_a_large_finite_loss(split):
    hard = torch.eye(3, dtype=torch.float64)[P.argmax(1)]
    frame = analysis.suspects(None, split, probabilities=hard)
    assert frame["loss"].max() == pytest.approx(52 * math.log(2))  # of float64's epsilon
    assert frame["loss"].min() == 0


@pytest.mark.parametrize("wrapped", [False, True])
def test_soft_labels_of_mslg_are_a_score_and_a_frame(split, wrapped):
    method = mslg(split)
    want = method.soft_labels().double()
    run = run_of(EMA(EveryKth(method, 2), nn.Linear(3, 3), decay=0.5) if wrapped else method)
    if wrapped:
        run.method.average.module = nn.Identity()
    frame = analysis.suspects(run, split, by="soft_label")
    own = want.gather(1, GIVEN[:, None]).squeeze(1)
    assert own.max() - own.min() > 0.2  # the ranking means something
    assert frame["row"].tolist() == own.argsort().tolist()
    assert np.allclose(frame["soft_label"], own[frame["row"].tolist()], rtol=0, atol=1e-6)
    labels = analysis.learned_soft_labels(run, split)
    assert labels.index.tolist() == list(IDS)
    assert list(labels) == list(NAMES)
    assert np.allclose(labels, want, rtol=0, atol=1e-6)  # float32 logits


@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_are_the_heads_at_the_loss_beside_them(split, wrapped):
    method = MetaWeightNet(hidden=4, seed=0)
    want = method.head.weights(-P.log().gather(1, GIVEN[:, None]).squeeze(1).float()).detach()
    assert want.max() - want.min() > 1e-3
    run = run_of(EveryKth(method, 2) if wrapped else method)
    frame = analysis.learned_weights(run, split)
    assert list(frame) == ["id", "row", "given", "given_name", "loss", "weight"]
    assert np.allclose(frame["weight"], want, rtol=0, atol=1e-6)
    ranked = analysis.suspects(run, split, by="weight")
    assert ranked["row"].tolist() == want.argsort().tolist()


def test_learned_transition_has_true_classes_in_rows(split):
    method = MLC(3, virtual_lr=0.1, transition_lr=1.0, initial=T)
    frame = analysis.learned_transition(run_of(method), split)
    assert (frame.index.name, frame.columns.name) == ("true", "given")
    assert frame.loc["dog", "cat"] == pytest.approx(0.4)
    assert frame.loc["cat", "dog"] == pytest.approx(0.2)
    assert np.array_equal(frame, analysis.learned_transition(EveryKth(method, 3), split))


def test_posterior_is_bayes_rule():
    """Against the joint table of true class and given label of each sample, cell by cell."""
    split = split_of(P.log(), GIVEN)
    method = MLC(3, virtual_lr=0.1, transition_lr=1.0, initial=T)
    frame = analysis.corrected_labels(run_of(method), split, threshold=0.0)
    assert set(frame["rule"]) == {"posterior"}
    for row, given in enumerate(GIVEN.tolist()):
        joint = [[float(P[row, i] * T[i, j]) for j in range(3)] for i in range(3)]
        column = [joint[i][given] for i in range(3)]
        posterior = [value / sum(column) for value in column]
        assert frame["corrected"][row] == posterior.index(max(posterior))
        assert frame["confidence"][row] == pytest.approx(max(posterior), abs=1e-12)
    # Sample 4 is given 0, predicted 2, and T holds 2 -> 0 for impossible: Bayes keeps the label.
    assert frame["corrected"][4] == 0 != P[4].argmax()


def test_posterior_is_the_prediction_where_the_given_label_is_impossible():
    impossible = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    run = run_of(ForwardCorrection(impossible))
    frame = analysis.corrected_labels(run, split_of(P.log(), GIVEN), threshold=0.0)
    for row in (2, 3):  # given 1
        assert frame["confidence"][row] == pytest.approx(float(P[row].max()), abs=1e-12)
    assert np.isfinite(frame["confidence"]).all()


@pytest.mark.parametrize(
    "switch", [{"space": "logit"}, {"keep_transition": False}, {"normalise": "column"}]
)
def test_other_forms_of_mlc_have_no_posterior(split, switch):
    run = run_of(MLC(3, virtual_lr=0.1, transition_lr=1.0, **switch))
    assert set(analysis.corrected_labels(run, split)["rule"]) == {"prediction"}
    with pytest.raises(ValueError, match="`rule` is 'posterior'; `run` must have a method whose"):
        analysis.corrected_labels(run, split, rule="posterior")


def test_only_labels_above_the_threshold_change(split):
    """Of the samples 1, 2, 4 whose prediction is another class it is 0.70, 0.40 and 0.65."""
    changed = {
        threshold: analysis.corrected_labels(nn.Identity(), split, threshold=threshold)["changed"]
        for threshold in (0.0, 0.5, 0.66, 1.0)
    }
    assert {t: np.flatnonzero(rows).tolist() for t, rows in changed.items()} == {
        0.0: [1, 2, 4],
        0.5: [1, 4],
        0.66: [1],
        1.0: [],
    }
    frame = analysis.corrected_labels(nn.Identity(), split)
    assert frame["corrected"].tolist() == [0, 1, 1, 1, 2, 2]
    assert frame["corrected_name"].tolist() == ["cat", "dog", "dog", "dog", "cow", "cow"]
    assert np.allclose(frame["confidence"], [0.8, 0.7, 0.35, 0.6, 0.65, 0.97], rtol=0, atol=1e-12)


def test_mslg_corrects_by_its_soft_labels(split):
    method = mslg(split, scale=3.0)
    frame = analysis.corrected_labels(run_of(method), split, threshold=0.0)
    want = method.soft_labels().argmax(1)
    assert set(frame["rule"]) == {"soft label"}
    assert frame["corrected"].tolist() == want.tolist()
    assert want.tolist() != P.argmax(1).tolist()
    by_network = analysis.corrected_labels(run_of(method), split, threshold=0.0, rule="prediction")
    assert by_network["corrected"].tolist() == P.argmax(1).tolist()


def test_an_early_network_finds_wrong_labels_and_corrects_them():
    """Three clouds five deviations apart, 40 % of their labels wrong, eight epochs.

    The ranking's area under the curve is 1 for a perfect network and 0.5 for none; what overlap of
    the clouds costs is far less than the margin to 0.9.
    """
    g = torch.Generator().manual_seed(4)
    true = torch.arange(600) % 3
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    x = torch.randn(600, 2, generator=g) + centres[true]
    given = noise.corrupt(true, noise.pair(3, 0.4), generator=g)
    split = split_of(x, given, true=true)
    one = Samples(x[:3], true[:3])
    split = Split(**{**vars(split), "test": one, "meta": one, "validation": one})
    method, model = GeneralisedCrossEntropy(), MLP(2, 3, (16,), seed=0)
    result = fit(method, model, split, epochs=8, seed=0, device="cpu", progress=False)
    frame = by_row(analysis.suspects(result, split))
    wrong = split.wrong.numpy()
    assert 0.35 < wrong.mean() < 0.45
    for score, sign in {"self_confidence": -1, "margin": -1, "loss": 1, "high_loss": 1}.items():
        assert roc_auc_score(wrong, sign * frame[score]) > 0.9, score
    corrected = analysis.corrected_labels(result, split)["corrected"].to_numpy()
    assert (corrected == true.numpy()).mean() > 0.9 > (given == true).float().mean()


def losses_of_two_kinds(n=4000, seed=0):
    g = torch.Generator().manual_seed(seed)
    kinds = torch.rand(n, generator=g, dtype=torch.float64) < 0.3
    normal = torch.randn(n, generator=g, dtype=torch.float64)
    return torch.where(kinds, 5 + 0.8 * normal, 2 + 0.4 * normal), kinds


def test_mixture_finds_the_components_that_losses_were_drawn_from():
    """Within five standard errors; those of a deviation s are s / sqrt(2 n).

    To each variance 5e-4 of the squared range was added.
    """
    losses, _ = losses_of_two_kinds()
    fitted = analysis.fit_loss_mixture(losses)
    n = [0.7 * len(losses), 0.3 * len(losses)]
    added = 5e-4 * float(losses.max() - losses.min()) ** 2
    share_error = math.sqrt(0.3 * 0.7 / len(losses))
    for k, (weight, mean, deviation) in enumerate([(0.7, 2.0, 0.4), (0.3, 5.0, 0.8)]):
        assert fitted.weights[k] == pytest.approx(weight, abs=5 * share_error)
        assert fitted.means[k] == pytest.approx(mean, abs=5 * deviation / math.sqrt(n[k]))
        wider, error = math.sqrt(deviation**2 + added), deviation / math.sqrt(2 * n[k])
        assert fitted.deviations[k] == pytest.approx(wider, abs=5 * error)


def test_posterior_of_the_mixture_is_its_share_of_the_density():
    """scikit-learn's own posterior against the densities in the losses' unit."""
    losses, kinds = losses_of_two_kinds()
    fitted = analysis.fit_loss_mixture(losses)
    low, high = fitted.densities(losses)
    assert_close(fitted.posterior, high / (low + high), rtol=0, atol=1e-9)
    assert ((fitted.posterior > 0.5) == kinds).double().mean() > 0.98  # 0.994 for the true one
    grid = torch.linspace(-2, 12, 80001, dtype=torch.float64)
    assert torch.trapezoid(fitted.densities(grid).sum(0), grid) == pytest.approx(1, abs=1e-6)


def test_posterior_is_one_half_at_the_boundaries():
    losses, _ = losses_of_two_kinds()
    fitted = analysis.fit_loss_mixture(losses)
    boundaries = fitted.boundaries()
    assert len(boundaries) == 2  # the wider component is the likelier one outside
    assert boundaries[0] < fitted.means[0] < boundaries[1] < fitted.means[1]
    low, high = fitted.densities(torch.tensor(boundaries, dtype=torch.float64))
    assert_close(low, high, rtol=1e-9, atol=0)


def test_posterior_first_falls_with_the_loss_before_it_grows():
    """Between the components' means it grows; far below both the wider one is likelier again."""
    losses, _ = losses_of_two_kinds()
    fitted = analysis.fit_loss_mixture(losses)
    at = torch.tensor([fitted.boundaries()[0] - 0.1, 1.5, 3.0, 4.0], dtype=torch.float64)
    low, high = fitted.densities(at)
    posterior = (high / (low + high)).tolist()
    assert posterior[0] > 0.5 > posterior[1] < posterior[2] < posterior[3]


def test_mixture_of_equal_deviations_has_one_boundary_and_a_swallowed_one_none():
    half = analysis.LossMixture((0.5, 0.5), (1.0, 3.0), (0.5, 0.5), torch.empty(0))
    assert half.boundaries() == pytest.approx([2.0])
    swallowed = analysis.LossMixture((0.99, 0.01), (1.0, 1.1), (0.5, 0.4), torch.empty(0))
    assert swallowed.boundaries() == []


def test_mixture_agrees_with_the_released_recipe():
    """DivideMix's own call, commit 39740b2, from k-means and with at most ten rounds."""
    losses, _ = losses_of_two_kinds(n=1500, seed=1)
    scaled = ((losses - losses.min()) / (losses.max() - losses.min())).numpy()[:, None]
    released = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0).fit(scaled)
    high = released.predict_proba(scaled)[:, released.means_.argmax()]
    ours = analysis.fit_loss_mixture(losses).posterior.numpy()
    assert ((high > 0.5) == (ours > 0.5)).mean() > 0.995
    assert np.abs(high - ours).mean() < 0.01  # their rounds end earlier


def test_posterior_of_the_mixture_keeps_under_shift_and_scale():
    losses, _ = losses_of_two_kinds(n=500)
    once = analysis.fit_loss_mixture(losses)
    again = analysis.fit_loss_mixture(0.01 * losses + 7)
    assert_close(once.posterior, again.posterior, rtol=0, atol=1e-6)
    assert again.means[1] == pytest.approx(0.01 * once.means[1] + 7)
    assert again.deviations[1] == pytest.approx(0.01 * once.deviations[1])


def numpys_own():
    """NumPy's global state, which scikit-learn falls back on."""
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def test_mixture_draws_no_number():
    states = numpys_own(), torch.get_rng_state()
    one = analysis.fit_loss_mixture(losses_of_two_kinds(n=300)[0])
    two = analysis.fit_loss_mixture(losses_of_two_kinds(n=300)[0])
    assert torch.equal(one.posterior, two.posterior)
    assert numpys_own() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_cleanlabs_noise_matrix_takes_true_shares_to_given_ones():
    """Its convention: P(given) = noise_matrix @ P(true), columns sum to one.

    From docs.cleanlab.ai, `cleanlab.benchmarking.noise_generation.noise_matrix_is_valid`.
    """
    noise_matrix = analysis.to_cleanlab(T)
    true_shares = np.array([0.5, 0.3, 0.2])
    want = true_shares @ T.numpy()  # rows: true class
    assert np.allclose(noise_matrix @ true_shares, want, rtol=0, atol=1e-12)
    assert not np.allclose(T.numpy() @ true_shares, want, rtol=0, atol=1e-2)
    assert np.allclose(noise_matrix.sum(axis=0), 1)
    assert torch.equal(analysis.from_cleanlab(noise_matrix), T)
    frame = pd.DataFrame(T.numpy(), index=NAMES, columns=NAMES)
    assert np.array_equal(analysis.to_cleanlab(frame), noise_matrix)


def test_label_issues_are_those_of_cleanlabs_own_example():
    """Labels, predictions and issues from github.com/cleanlab/cleanlab/discussions/405."""
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    p = torch.tensor(
        [
            [0.9, 0.025, 0.075],
            [0.75, 0.15, 0.1],
            [0.1, 0.05, 0.85],
            [0.3, 0.5, 0.2],
            [0.05, 0.9, 0.05],
            [0.1, 0.1, 0.8],
        ],
        dtype=torch.float64,
    )
    split = split_of(p.log(), labels, sample_ids=IDS)
    issues = analysis.label_issues(analysis.suspects(nn.Identity(), split))
    assert list(issues)[:4] == [
        "is_label_issue",
        "label_quality",
        "given_label",
        "predicted_label",
    ]
    assert issues["is_label_issue"].tolist() == [False, False, True, False, True, False]
    assert issues["predicted_label"][issues["is_label_issue"]].tolist() == [2, 1]
    assert np.allclose(issues["label_quality"], [0.9, 0.75, 0.05, 0.5, 0.05, 0.8])
    assert issues["given_label"].tolist() == labels.tolist()
    assert issues.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert issues["id"].tolist() == list(IDS)
    assert np.allclose(analysis.pred_probs(nn.Identity(), split), p, rtol=0, atol=1e-12)


def test_frames_come_back_from_csv_with_their_ids(split, tmp_path):
    frame = analysis.suspects(nn.Identity(), split)
    frame.to_csv(tmp_path / "suspects.csv", index=False)
    back = pd.read_csv(tmp_path / "suspects.csv")
    assert back["id"].tolist() == frame["id"].tolist()
    labels = analysis.learned_soft_labels(run_of(mslg(split)), split)
    labels.to_csv(tmp_path / "labels.csv")
    assert pd.read_csv(tmp_path / "labels.csv")["id"].tolist() == list(IDS)


def test_refuses_what_is_no_run_and_scores_it_has_not(split):
    suspects = analysis.suspects
    refused(
        "`run` is a CrossEntropy; it must be the result of `fit`",
        lambda: suspects(CrossEntropy(), split),
        TypeError,
    )
    refused("`run` is a NoneType", lambda: suspects(None, split), TypeError)
    refused(
        "`by` is 'soft_label'; it must be one of 'self_confidence', 'margin', 'loss', 'high_loss'",
        lambda: suspects(run_of(CrossEntropy()), split, by="soft_label"),
    )
    refused(
        "`run` predicts logits of shape (6, 2); for a training part of 6 samples in 3 classes",
        lambda: suspects(nn.Linear(3, 2).double(), split),
    )
    refused(
        "`run` predicts logits that are not finite",
        lambda: suspects(nn.Identity(), split_of(P.log() * math.inf, GIVEN)),
    )


def test_refuses_probabilities_that_are_none(split):
    def suspects(probabilities):
        return lambda: analysis.suspects(None, split, probabilities=probabilities)

    refused("`probabilities` has shape (5, 3); for a training part of 6 samples", suspects(P[1:]))
    refused("`probabilities` has row 0 summing to 2", suspects(2 * P))
    refused("`probabilities` holds an entry outside of [0, 1], or NaN", suspects(P - 0.1))


def test_refuses_what_a_method_has_not_learned(split):
    refused(
        "`run` is of CrossEntropy, which learns no transition matrix; pass",
        lambda: analysis.learned_transition(run_of(CrossEntropy()), split),
    )
    refused(
        "`run` is of ForwardCorrection, which learns no transition matrix",
        lambda: analysis.learned_transition(ForwardCorrection(T), split),
    )
    refused(
        "`run` is of EMA, which learns no soft labels; pass a run of a method",
        lambda: analysis.learned_soft_labels(
            EMA(CrossEntropy(), nn.Linear(2, 2), decay=0.5), split
        ),
    )
    heads = LogitMultiplier(4, 3, seed=0), WeightNet(seed=0)
    multiplied, weighted = (run_of(CLIDMU(head, head_lr=0.1)) for head in heads)
    refused(
        "`run` is of CLIDMU, which learns no weights",
        lambda: analysis.learned_weights(multiplied, split),
    )
    assert len(analysis.learned_weights(weighted, split)) == 6
    refused(
        "`run` is of a network alone, which learns no weights",
        lambda: analysis.learned_weights(nn.Identity(), split),
    )
    refused(
        "`rule` is 'soft label'; `run` must have a method that learns soft labels, such as",
        lambda: analysis.corrected_labels(nn.Identity(), split, rule="soft label"),
    )


def test_refuses_the_split_of_another_run(split):
    other = split_of(P.log()[1:], GIVEN[1:])
    refused(
        "`run` has 6 training samples, and `split` has 5; pass the split of the run",
        lambda: analysis.suspects(run_of(mslg(split)), other),
    )
    method = MLC(4, virtual_lr=0.1, transition_lr=1.0)
    refused(
        "`run` has 4 classes, and `split` has 3",
        lambda: analysis.learned_transition(method, split),
    )


def test_refuses_losses_that_have_no_two_components():
    fit_loss_mixture = analysis.fit_loss_mixture
    refused("`losses` are all 0.5;", lambda: fit_loss_mixture(torch.full((4,), 0.5)))
    refused(
        "`losses` holds inf at position 1",
        lambda: fit_loss_mixture(torch.tensor([1.0, math.inf, 2.0])),
    )
    refused("`losses` has shape (1,)", lambda: fit_loss_mixture(torch.ones(1)))


def test_refuses_matrices_and_frames_of_another_convention(split):
    refused(
        "`transition` has row 0 summing to 1.1",
        lambda: analysis.to_cleanlab(T.T),  # cleanlab's own, handed in by mistake
    )
    refused("`noise_matrix.T` has row 0", lambda: analysis.from_cleanlab(T.numpy()))
    frame = analysis.suspects(nn.Identity(), split).drop(columns="suggested")
    refused("it lacks ['suggested']", lambda: analysis.label_issues(frame))


# What a method says of itself


class Own(Method):
    """A reader's own method, which has learned all that can be learned."""

    capturable = True

    def step(self, model, optimizer, train, meta=None):
        return self.warmup_step(model, optimizer, train)

    def ordinary_step(self, model, optimizer, train):
        return self.warmup_step(model, optimizer, train)

    def learned_transition(self):
        return T.float()

    def forward_transition(self):
        return T.flip(0)

    def learned_labels(self):
        return P.flip(0)

    def sample_weights(self, sample_losses):
        return 1 / (1 + sample_losses)


WRAPPERS = {
    "alone": lambda method: method,
    "EMA": lambda method: EMA(method, nn.Linear(3, 3), decay=0.5),
    "EveryKth": lambda method: EveryKth(method, 2),
    "Captured": Captured,
    "two": lambda method: EMA(EveryKth(Captured(method), 3), nn.Linear(3, 3), decay=0.5),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_method_of_the_readers_own_answers_for_itself(split, wrapper):
    """Every frame has what it says, also through wrappers: the analysis lists no methods."""
    method = WRAPPERS[wrapper](Own())
    run = run_of(method)
    if isinstance(method, EMA):
        method.average.module = nn.Identity()
    matrix = analysis.learned_transition(method, split)
    assert np.allclose(matrix, T, rtol=0, atol=1e-7)
    assert np.array_equal(analysis.learned_soft_labels(method, split), P.flip(0))
    losses = -P.log().gather(1, GIVEN[:, None]).squeeze(1)
    weights = analysis.learned_weights(run, split)
    assert np.allclose(weights["weight"], 1 / (1 + losses), rtol=0, atol=1e-12)
    frame = by_row(analysis.suspects(run, split, by="soft_label"))
    own = P.flip(0).gather(1, GIVEN[:, None]).squeeze(1)
    assert np.allclose(frame["soft_label"], own, rtol=0, atol=1e-12)
    assert np.allclose(frame["weight"], 1 / (1 + losses), rtol=0, atol=1e-12)
    by_label = analysis.corrected_labels(run, split, threshold=0.0)
    assert by_label["corrected"].tolist() == P.flip(0).argmax(1).tolist()
    posterior = analysis.corrected_labels(run, split, threshold=0.0, rule="posterior")
    joint = P * T.flip(0).T[GIVEN]
    assert posterior["corrected"].tolist() == joint.argmax(1).tolist()
    assert posterior["corrected"].tolist() != (P * T.T[GIVEN]).argmax(1).tolist()


def test_analysis_names_no_method(root):
    """From the methods it imports their base class alone, so a new method needs no line there."""
    taken = set()
    for path in (root / "nlmeta/analysis").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nlmeta"):
                taken |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                taken |= {alias.name for alias in node.names}
    assert "nlmeta.data.Split" in taken  # imports were found
    assert {name for name in taken if "nlmeta.methods" in name} == {"nlmeta.methods.Method"}


def fixmatch(head):
    return FixMatch(
        P.clone(), weak=str, strong=str, batch_size=2, correction=CLIDMU(head, head_lr=0.1), seed=0
    )


def mlc(**switch):
    return MLC(3, virtual_lr=0.1, transition_lr=1.0, initial=T, **switch)


#: What each has of: learned T, forward correction, labels, weights.
ANSWERS = {
    "CrossEntropy": (CrossEntropy, ""),
    "GeneralisedCrossEntropy": (GeneralisedCrossEntropy, ""),
    "LearningToReweight": (LearningToReweight, ""),  # its weights are forgotten after each step
    "MLC": (mlc, "learned forward"),
    "MLC on logits": (lambda: mlc(space="logit"), "learned"),
    "MLC afresh": (lambda: mlc(keep_transition=False), "learned"),
    "MLC by columns": (lambda: mlc(normalise="column"), "learned"),
    "ForwardCorrection": (lambda: ForwardCorrection(T), "forward"),  # its T is given
    "GoldLossCorrection": (lambda: GoldLossCorrection(T), "forward"),
    "MSLG": (lambda: MSLG(GIVEN, 3, virtual_lr=0.1, label_lr=1.0, k=1.0), "labels"),
    "ELR": (lambda: ELR(6, 3), "labels"),
    "MetaWeightNet": (lambda: MetaWeightNet(seed=0), "weights"),
    "CLIDMU": (lambda: CLIDMU(WeightNet(seed=0), head_lr=0.1), "weights"),
    "CLIDMU, factors": (lambda: CLIDMU(LogitMultiplier(4, 3, seed=0), head_lr=0.1), ""),
    "FixMatch": (lambda: fixmatch(WeightNet(seed=0)), "weights"),
    "FixMatch, factors": (lambda: fixmatch(LogitMultiplier(4, 3, seed=0)), ""),
}


def answers(method):
    return {
        "learned": method.learned_transition(),
        "forward": method.forward_transition(),
        "labels": method.learned_labels(),
        "weights": method.sample_weights(torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64)),
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_every_method_has_what_it_learns_and_nothing_else(name):
    """Of the right shape, without a graph, and a copy that says nothing new after a change."""
    make, wanted = ANSWERS[name]
    method = make()
    told = {what: found for what, found in answers(method).items() if found is not None}
    assert set(told) == set(wanted.split())
    shapes = {"learned": (3, 3), "forward": (3, 3), "labels": (6, 3), "weights": (3,)}
    before = {what: found.clone() for what, found in told.items()}
    for what, found in told.items():
        assert found.shape == shapes[what]
        assert found.is_floating_point()
        assert not found.requires_grad
    with torch.no_grad():
        for tensor in [*method.parameters(), *method.buffers()]:
            tensor += 0.25
    for what, found in told.items():
        assert_close(found, before[what], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_learned_weights_follow_the_method_and_not_the_losses(dtype):
    method = MetaWeightNet(hidden=4, seed=0).to(dtype)
    losses = torch.tensor([0.1, 3.0], dtype=torch.float64)
    weights = method.sample_weights(losses)
    assert weights.dtype == dtype
    assert torch.equal(weights, method.head.weights(losses).detach())


def elr_after(steps, beta=0.7):
    """ELR whose samples 0, 1, 3 and 5 were trained on some times, with the predictions so far."""
    method, rows = ELR(6, 3, beta=beta).double(), torch.tensor([0, 1, 3, 5])
    model = nn.Linear(3, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    predictions = []
    for _ in range(steps):
        predictions.append(model(P[rows]).detach().softmax(1))
        method.step(model, optimizer, Batch(P[rows], GIVEN[rows], rows))
    return method, rows, predictions


def test_elrs_labels_are_means_of_its_predictions():
    """The weights are those of the moving average, beta^(k - 1 - i), divided by their sum."""
    method, rows, predictions = elr_after(3, beta=0.6)
    shares = [0.6**2, 0.6, 1.0]
    want = sum(w * p for w, p in zip(shares, predictions, strict=True)) / sum(shares)
    labels = method.learned_labels()
    assert (predictions[0] - predictions[2]).abs().max() > 1e-2  # a mean of different ones
    assert_close(labels[rows], want, rtol=0, atol=1e-12)
    assert labels[[2, 4]].isnan().all()  # of these it knows nothing
    assert ELR(6, 3).learned_labels().isnan().all()


def test_suspects_see_elrs_labels_and_rank_unseen_samples_last(split):
    method, rows, _ = elr_after(5)
    frame = analysis.suspects(run_of(method), split, by="soft_label")
    own = method.learned_labels().gather(1, GIVEN[:, None]).squeeze(1)
    seen = own[rows].argsort()
    assert frame["row"].tolist() == [*rows[seen].tolist(), 2, 4]
    assert np.allclose(frame["soft_label"][:4], own[rows].sort().values, rtol=0, atol=1e-12)
    assert frame["soft_label"][4:].isna().all()
    corrected = analysis.corrected_labels(run_of(method), split, threshold=0.0)
    assert set(corrected["rule"]) == {"soft label"}
    want = torch.where(own.isnan(), GIVEN, method.learned_labels().argmax(1))
    assert corrected["corrected"].tolist() == want.tolist()
    assert corrected["confidence"].isna().tolist() == [False, False, True, False, True, False]
    assert not corrected["changed"][[2, 4]].any()


def test_a_large_score_ranks_first_where_it_is_the_suspect_one_and_ties_stay(split):
    """The same rule for scores that ascend and that descend."""
    lopsided = P.clone()
    lopsided[4] = lopsided[1]  # both are given class 0
    ascending = analysis.suspects(None, split, probabilities=lopsided)
    descending = analysis.suspects(None, split, probabilities=lopsided, by="loss")
    assert ascending["row"].tolist()[:3] == descending["row"].tolist()[:3] == [1, 4, 2]


def test_refuses_a_forward_correction_of_other_classes(split):
    method = MLC(4, virtual_lr=0.1, transition_lr=1.0)
    refused(
        "`run` has 4 classes, and `split` has 3",
        lambda: analysis.corrected_labels(run_of(method), split),
    )


# Frames and arrays handed in


def predictions_as(form):
    return {
        "tensor": P,
        "NumPy": P.numpy(),
        "float32": P.numpy().astype(np.float32),
        "frame": pd.DataFrame(P.numpy(), index=IDS, columns=NAMES),
        "nameless frame": pd.DataFrame(P.numpy()),
        "frame of other names": pd.DataFrame(P.numpy(), index=range(5, 11), columns=list("abc")),
    }[form]


@pytest.mark.parametrize(
    "form", ["NumPy", "float32", "frame", "nameless frame", "frame of other names"]
)
def test_probabilities_may_come_as_a_tensor_an_array_or_a_frame(split, form):
    """In particular what `pred_probs` returns."""
    run = run_of(MetaWeightNet(hidden=4, seed=0))
    tolerance = 1e-6 if form == "float32" else 0.0
    for call in (analysis.suspects, analysis.corrected_labels, analysis.learned_weights):
        want = call(run, split, probabilities=P)
        got = call(run, split, probabilities=predictions_as(form))
        pd.testing.assert_frame_equal(got, want, rtol=0, atol=tolerance)
    own = analysis.suspects(None, split, probabilities=analysis.pred_probs(nn.Identity(), split))
    pd.testing.assert_frame_equal(own, analysis.suspects(nn.Identity(), split))


@pytest.mark.parametrize(
    "call", [analysis.suspects, analysis.corrected_labels, analysis.learned_weights]
)
def test_probabilities_that_are_no_array_are_refused_by_name(split, call):
    run = run_of(MetaWeightNet(hidden=4, seed=0))
    allowed = "it must be a tensor, a NumPy array or a pandas frame of numbers"
    words = pd.DataFrame(P.numpy()).astype(str).astype(object)
    for other, kind in ((P.tolist(), "list"), (words, "DataFrame of object")):
        text = f"`probabilities` is a {kind}; {allowed}"
        refused(text, lambda other=other: call(run, split, probabilities=other), TypeError)


def test_a_frame_in_another_order_is_refused(split):
    """Taken by position, its rows would speak of other samples, its columns of other classes."""
    frame = predictions_as("frame")

    def suspects(probabilities):
        return lambda: analysis.suspects(None, split, probabilities=probabilities)

    refused(
        "`probabilities` has its rows in another order, 'd.png' first; the split has 'f.png' first",
        suspects(frame.iloc[::-1]),
    )
    refused(
        "`probabilities` has its columns in another order, 'cow' first; the split has 'cat' first",
        suspects(frame[["cow", "dog", "cat"]]),
    )


def test_a_frame_in_the_readers_own_order_is_refused_where_ids_are_numbers():
    """An index that counts and has a name is one of ids, and those of a split are shuffled."""
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    split = from_arrays(x, [0, 1] * 10, seed=0)
    assert split.train.sample_ids != list(range(20))
    p = torch.rand(20, 1, generator=torch.Generator().manual_seed(1)).numpy()
    index = pd.Index(range(20), name="id")
    frame = pd.DataFrame(np.hstack([p, 1 - p]), columns=["0", "1"], index=index)
    refused(
        "`probabilities` has its rows in another order",
        lambda: analysis.suspects(None, split, probabilities=frame),
    )
    ours = frame.loc[split.train.sample_ids]
    found = analysis.suspects(None, split, probabilities=ours).set_index("id")
    for own, given in found["given"].items():
        assert found.loc[own, "self_confidence"] == pytest.approx(frame.loc[own, str(given)])


# Frames handed out


@pytest.fixture
def shuffled():
    """A reader's table, and a split of it whose training part is in another order, and smaller."""
    n = 60
    names = [f"{n - k:02d}.png" for k in range(n)]
    table = pd.DataFrame({"file": names, "label": [NAMES[k * 7 // 5 % 3] for k in range(n)]})
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    clean = [k % 4 == 0 for k in range(n)]
    split = from_arrays(
        x,
        table["label"],
        ids=names,
        clean=clean,
        meta_size=3,
        test_size=5,
        class_names=NAMES,
        seed=3,
    )
    order = [names.index(own) for own in split.train.sample_ids]
    assert order != sorted(order)  # shuffled
    assert len(order) < n
    return table, split, order


def test_every_frame_has_the_readers_ids_beside_their_own_labels(shuffled):
    """After a shuffle: joined by id each row meets its own label, by position it does not."""
    table, split, order = shuffled
    model = MLP(4, 3, (5,), seed=1)
    suspects = analysis.suspects(model, split)
    method = MSLG(split.train.y, 3, virtual_lr=0.1, label_lr=1.0, k=2.0)
    soft = analysis.learned_soft_labels(method, split)
    weighted = run_of(MetaWeightNet(hidden=4, seed=0), model)
    issues = analysis.label_issues(suspects)
    issues["given_name"] = [NAMES[k] for k in issues["given_label"]]
    frames = {
        "suspects": suspects,
        "corrected": analysis.corrected_labels(model, split),
        "weights": analysis.learned_weights(weighted, split),
        "issues": issues,
        "soft": pd.DataFrame({"id": soft.index, "given_name": soft.to_numpy().argmax(1)}).replace(
            {"given_name": dict(enumerate(NAMES))}
        ),
    }
    for name, frame in frames.items():
        joined = table.merge(frame, left_on="file", right_on="id", validate="one_to_one")
        assert len(joined) == len(order), name
        assert (joined["label"] == joined["given_name"]).all(), name
        by_position = table["label"].to_numpy()[: len(frame)]
        assert (by_position != frame["given_name"].to_numpy()).any(), name


def test_a_frame_that_counts_from_zero_gets_its_ids_from_label_issues(shuffled):
    """The join that the docstring shows, for a frame like that of cleanlab's `CleanLearning`."""
    table, split, order = shuffled
    p = analysis.pred_probs(MLP(4, 3, (5,), seed=1), split)
    given = split.train.y.numpy()
    theirs = pd.DataFrame({"label_quality": p[np.arange(len(p)), given], "given_label": given})
    issues = analysis.label_issues(analysis.suspects(None, split, probabilities=p))
    joined = table.merge(theirs.join(issues["id"]), left_on="file", right_on="id")
    assert len(joined) == len(order)
    assert [NAMES[k] for k in joined["given_label"]] == joined["label"].tolist()
    both = joined.merge(issues, on="id", suffixes=("_theirs", "_ours"))
    assert np.allclose(both["label_quality_theirs"], both["label_quality_ours"], rtol=0, atol=1e-12)
