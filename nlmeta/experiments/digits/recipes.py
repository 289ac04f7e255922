"""What is compared on the digits: methods, controls and baselines, each with what it may choose.

A recipe trains on one split with one setting and returns networks by name, the rows of the table.
All have six settings to choose from, or none where there is nothing to choose.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from nlmeta import metrics, presets
from nlmeta.data import Split
from nlmeta.methods import (
    CLIDMU,
    ELR,
    EMA,
    MLC,
    MLNT,
    MSLG,
    CoTeaching,
    CrossEntropy,
    CrossLayerDivergence,
    ForwardCorrection,
    GeneralisedCrossEntropy,
    GoldLossCorrection,
    LabelCrossEntropy,
    LearningToReweight,
    LogitMultiplier,
    Method,
    PredictionEntropy,
    WeightNet,
)
from nlmeta.methods.objectives import Objective
from nlmeta.models import MLP
from nlmeta.procedures import (
    KeepEpochs,
    divergence_score,
    fine_tune,
    train_on_meta_set,
    transition_from_anchors,
    transition_from_clean,
)
from nlmeta.training import Result, fit

__all__ = ["RECIPES", "Recipe"]

EPOCHS = 60
NOISY_META = 500  # noisy training images that a divergence may look at, 100 in each step
ANCHOR_PERCENTILE = 97.0  # as in the released code for ten classes
PEER = 1000  # between the seed of a network and that of its peer in Co-teaching
RAMP_EPOCHS = 10  # of Co-teaching, as in the released code

Setting = Mapping[str, Any]
Networks = dict[str, tuple[nn.Module, Mapping[str, float]]]


@dataclass(frozen=True)
class Recipe:
    """One line of work.

    Attributes
    ----------
    name : str
        Of the recipe. Its networks have names of their own.
    run : callable
        ``run(split, seed, setting)`` trains and returns networks by name, each with further
        numbers for the record.
    settings : sequence of mapping
        To choose from.
    clean : bool
        Whether clean samples are used in training.
    after : str, optional
        The recipe whose choice comes first and joins this one's settings.
    """

    name: str
    run: Callable[[Split, int, Setting], Networks]
    settings: Sequence[Setting]
    clean: bool = False
    after: str | None = None


def _over(name: str, values: Iterable[float]) -> list[Setting]:
    return [{name: value} for value in values]


def _train(
    method: Method,
    split: Split,
    seed: int,
    *,
    epochs: int = EPOCHS,
    network: nn.Module | None = None,
    **options: Any,
) -> Result:
    given = {**presets.DIGITS.training, "evaluate_every": epochs, "progress": False, **options}
    model = _network(seed) if network is None else network
    return fit(method, model, split, epochs=epochs, seed=seed, device="cpu", **given)


def _network(seed: int) -> MLP:
    return MLP(64, 10, seed=seed)


def _matrix(split: Split) -> Tensor:
    """The matrix that the noise was drawn from; on the digits there always is one."""
    assert split.transition is not None
    return split.transition


# Baselines


def _cross_entropy(split: Split, seed: int, setting: Setting, *, name: str) -> Networks:
    return {name: (_train(CrossEntropy(), split, seed, **setting).model, {})}


def _early_stopping(split: Split, seed: int, setting: Setting) -> Networks:
    result = _train(CrossEntropy(), split, seed, epochs=setting["early_epochs"])
    return {"early stopping": (result.model, {})}


def _averaged(split: Split, seed: int, setting: Setting) -> Networks:
    method = EMA(CrossEntropy(), _network(seed), decay=setting["decay"])
    return {"EMA": (_train(method, split, seed).predictor, {})}


def _gce(split: Split, seed: int, setting: Setting) -> Networks:
    return {"GCE": (_train(GeneralisedCrossEntropy(q=setting["q"]), split, seed).model, {})}


def _meta_alone(split: Split, seed: int, setting: Setting) -> Networks:
    result = train_on_meta_set(
        _network(seed), split, seed=seed, lr=setting["lr"], progress=False, device="cpu"
    )
    return {"meta set alone": (result.model, {})}


def _fine_tuning(split: Split, seed: int, setting: Setting) -> Networks:
    start = _train(CrossEntropy(), split, seed, epochs=setting["early_epochs"]).model
    result = fine_tune(start, split, seed=seed, lr=setting["lr"], progress=False, device="cpu")
    return {"fine-tuning": (result.model, {})}


# Baselines of the literature


def _forward(split: Split, seed: int, setting: Setting) -> Networks:
    """With the matrix that the noise was drawn from, which nobody has outside of an experiment."""
    result = _train(ForwardCorrection(_matrix(split)), split, seed, lr=setting["lr"])
    return {"forward, true T": (result.model, {})}


def _forward_estimated(split: Split, seed: int, setting: Setting) -> Networks:
    start = _train(CrossEntropy(), split, seed, epochs=setting["early_epochs"]).model
    estimate = transition_from_anchors(start, split.train.x, percentile=ANCHOR_PERCENTILE)
    result = _train(ForwardCorrection(estimate), split, seed, lr=setting["lr"])
    error = metrics.transition_error(estimate, _matrix(split))
    return {"forward, estimated T": (result.model, {"transition_error": error})}


def _gold(split: Split, seed: int, setting: Setting) -> Networks:
    start = _train(CrossEntropy(), split, seed, epochs=setting["early_epochs"]).model
    estimate = transition_from_clean(start, split.meta)
    result = _train(GoldLossCorrection(estimate), split, seed, lr=setting["lr"])
    error = metrics.transition_error(estimate, _matrix(split))
    return {"GLC": (result.model, {"transition_error": error})}


def _reweight(split: Split, seed: int, setting: Setting) -> Networks:
    result = _train(LearningToReweight(), split, seed, lr=setting["lr"])
    return {"learning to reweight": (result.model, {})}


def _co_teaching(split: Split, seed: int, setting: Setting) -> Networks:
    """Twice the work a step; the first network predicts."""
    training: dict[str, Any] = dict(presets.DIGITS.training)
    ramp_steps = RAMP_EPOCHS * math.ceil(len(split.train) / training["batch_size"])
    method = CoTeaching(_network(seed + PEER), ramp_steps=ramp_steps, **setting)
    return {"Co-teaching": (_train(method, split, seed).model, {})}


def _elr(split: Split, seed: int, setting: Setting) -> Networks:
    method = ELR(len(split.train), 10, **setting)
    return {"ELR": (_train(method, split, seed).model, {})}


# MLC and MSLG, which use clean samples


def _mlc(split: Split, seed: int, setting: Setting, *, name: str, **switches: Any) -> Networks:
    options = {**presets.MLC_DIGITS.method, **switches, **setting}
    method = MLC(10, **options)
    result = _train(method, split, seed, warmup_epochs=10)
    error = metrics.transition_error(method.transition.detach(), _matrix(split))
    return {name: (result.model, {"transition_error": error})}


def _mslg(split: Split, seed: int, setting: Setting, *, name: str, **switches: Any) -> Networks:
    options: dict[str, Any] = {**presets.MSLG_DIGITS.method, **switches}
    training = dict(presets.MSLG_DIGITS.training)
    (training if "lr" in setting else options).update(setting)
    start = _train(CrossEntropy(), split, seed, epochs=8, schedule="constant").model
    method = MSLG(split.train.y, 10, **options)
    quiet: dict[str, Any] = {"evaluate_every": 42, "progress": False, "device": "cpu"}
    result = fit(method, start, split, epochs=42, seed=seed, **{**training, **quiet})
    soft_labels = method.soft_labels()
    labels = metrics.label_recovery(soft_labels, split.train.y, split.true_labels)
    return {name: (result.model, {f"labels_{key}": value for key, value in labels.items()})}


# CLID-MU and its controls


def _weights(
    split: Split, seed: int, setting: Setting, *, name: str, objective: Objective
) -> Networks:
    method = _clid_mu(WeightNet(seed=seed), objective, setting)
    return {name: (_meta_train(method, split, seed).model, {})}


def _multipliers(
    split: Split, seed: int, setting: Setting, *, name: str, objective: Objective
) -> Networks:
    head = LogitMultiplier(256, 10, embedding=16, hidden=(128, 64), seed=seed)
    method = _clid_mu(head, objective, setting)
    return {name: (_meta_train(method, split, seed).model, {})}


def _clid_mu(head: Any, objective: Objective, setting: Setting) -> CLIDMU:
    return CLIDMU(head, head_optimizer="adam", max_norm=1.0, objective=objective, **setting)


def _meta_train(method: Method, split: Split, seed: int, **options: Any) -> Result:
    if not method.needs_meta_labels:
        split = split.with_noisy_meta(NOISY_META, seed=seed)
    return _train(method, split, seed, meta_batch_size=100, **options)


# MLNT and its controls


def _mlnt(split: Split, seed: int, setting: Setting, *, name: str, **switches: Any) -> Networks:
    features = _train(CrossEntropy(), split, seed, epochs=10).model
    model = _network(seed)
    options: dict[str, Any] = {**presets.MLNT_DIGITS.method, **switches, **setting}
    result = _train(MLNT(model, features, seed=seed, **options), split, seed, network=model)
    return {name: (result.predictor, {}), f"{name}, student": (result.model, {})}


# Networks chosen among the epochs of a run


def _chosen_epochs(
    split: Split, seed: int, setting: Setting, *, name: str, train: Callable[..., Result]
) -> Networks:
    x = split.with_noisy_meta(NOISY_META, seed=seed).meta.x
    scores = {
        "divergence": partial(divergence_score, x=x, seed=seed),
        "one-hot divergence": partial(divergence_score, x=x, one_hot=True, seed=seed),
    }
    kept = KeepEpochs(_network(seed), scores)
    train(split, seed, setting, on_epoch=kept)
    chosen = {f"{name}, five of lowest {score}": kept.ensemble(score) for score in scores}
    chosen[f"{name}, last five"] = kept.last_ensemble()
    return {network: (ensemble, {}) for network, ensemble in chosen.items()}


def _cross_entropy_run(split: Split, seed: int, setting: Setting, **options: Any) -> Result:
    return _train(CrossEntropy(), split, seed, **setting, **options)


def _clid_mu_run(split: Split, seed: int, setting: Setting, **options: Any) -> Result:
    method = _clid_mu(WeightNet(seed=seed), CrossLayerDivergence(), setting)
    return _meta_train(method, split, seed, **options)


RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
SMALL_RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
HEAD_RATES = _over("head_lr", (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2))
LABEL_RATES = _over("label_lr", (250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0))
TRIALS = [
    {"trial_lr": trial_lr, "meta_weight": weight}
    for trial_lr in (0.1, 0.3, 1.0)
    for weight in (3.0, 10.0)
]
EARLY_LEARNING = [
    {"weight": weight, "beta": beta}
    for beta, weights in ((0.7, (3.0, 5.0, 7.0)), (0.9, (5.0, 7.0, 10.0)))
    for weight in weights
]
UNIFORM = CrossLayerDivergence(temperature=math.inf)

RECIPES = (
    Recipe("cross-entropy", partial(_cross_entropy, name="cross-entropy"), [{}]),
    Recipe(
        "cross-entropy, small rate",
        partial(_cross_entropy, name="cross-entropy, small rate"),
        _over("lr", (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05)),
    ),
    Recipe("early stopping", _early_stopping, _over("early_epochs", (5, 10, 15, 20, 30, 40))),
    Recipe("EMA", _averaged, _over("decay", (0.99, 0.998, 0.999, 0.9995, 0.9998, 0.9999))),
    Recipe("GCE", _gce, _over("q", (0.3, 0.5, 0.7, 0.8, 0.9, 1.0))),
    Recipe("meta set alone", _meta_alone, _over("lr", RATES), clean=True),
    Recipe(
        "fine-tuning",
        _fine_tuning,
        _over("lr", SMALL_RATES),
        clean=True,
        after="early stopping",
    ),
    Recipe(
        "MLC",
        partial(_mlc, name="MLC"),
        _over("transition_lr", (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)),
        clean=True,
    ),
    Recipe(
        "MLC, T stays the identity",
        partial(_mlc, name="MLC, T stays the identity", transition_lr=0.0),
        [{}],
        clean=True,
    ),
    Recipe(
        "MLC, released form",
        partial(
            _mlc,
            name="MLC, released form",
            space="logit",
            keep_transition=False,
            normalise="column",
            q_floor=0.0,
        ),
        _over("transition_lr", (0.11, 1.1, 11.0, 110.0, 1100.0, 11000.0)),
        clean=True,
    ),
    Recipe("MSLG", partial(_mslg, name="MSLG"), LABEL_RATES, clean=True),
    Recipe(
        "MSLG, labels stay",
        partial(_mslg, name="MSLG, labels stay", label_lr=0.0),
        _over("lr", (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)),
        clean=True,
    ),
    Recipe("MLNT", partial(_mlnt, name="MLNT"), TRIALS),
    Recipe(
        "MLNT, given labels",
        partial(_mlnt, name="MLNT, given labels", replaced=0.0, trials=1),
        TRIALS,
    ),
    Recipe(
        "mean teacher",
        partial(_mlnt, name="mean teacher", trial_lr=0.0, trials=1),
        _over("meta_weight", (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)),
    ),
    Recipe(
        "CLID-MU",
        partial(_weights, name="CLID-MU", objective=CrossLayerDivergence()),
        HEAD_RATES,
    ),
    Recipe(
        "CLID-MU, uniform graph",
        partial(_weights, name="CLID-MU, uniform graph", objective=UNIFORM),
        HEAD_RATES,
    ),
    Recipe(
        "CLID-MU, entropy instead",
        partial(_weights, name="CLID-MU, entropy instead", objective=PredictionEntropy()),
        HEAD_RATES,
    ),
    Recipe(
        "Meta-Weight-Net",
        partial(_weights, name="Meta-Weight-Net", objective=LabelCrossEntropy()),
        HEAD_RATES,
        clean=True,
    ),
    Recipe(
        "CLID-MU, multipliers",
        partial(_multipliers, name="CLID-MU, multipliers", objective=CrossLayerDivergence()),
        HEAD_RATES,
    ),
    Recipe(
        "CLID-MU, multipliers stay",
        partial(_multipliers, name="CLID-MU, multipliers stay", objective=CrossLayerDivergence()),
        [{"head_lr": 0.0}],
    ),
    Recipe(
        "cross-entropy, chosen epochs",
        partial(_chosen_epochs, name="cross-entropy", train=_cross_entropy_run),
        [{}],
        after="cross-entropy",
    ),
    Recipe(
        "CLID-MU, chosen epochs",
        partial(_chosen_epochs, name="CLID-MU", train=_clid_mu_run),
        [{}],
        after="CLID-MU",
    ),
    Recipe(
        "CLID-MU, multipliers, uniform graph",
        partial(_multipliers, name="CLID-MU, multipliers, uniform graph", objective=UNIFORM),
        HEAD_RATES,
    ),
    Recipe("forward, true T", _forward, _over("lr", RATES)),
    Recipe(
        "forward, estimated T",
        _forward_estimated,
        _over("lr", SMALL_RATES),
        after="early stopping",
    ),
    Recipe("GLC", _gold, _over("lr", SMALL_RATES), clean=True, after="early stopping"),
    Recipe("learning to reweight", _reweight, _over("lr", SMALL_RATES), clean=True),
    Recipe("Co-teaching", _co_teaching, _over("forget_rate", (0.2, 0.3, 0.4, 0.5, 0.6, 0.7))),
    Recipe("ELR", _elr, EARLY_LEARNING),
)
