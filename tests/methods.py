"""Every method, a line for each of its forms: how to build it small, and what is known of it.

The suites take their methods from `LINES`, so a new method is in all of them by its line here:
`test_every_method.py`, `test_training.py`, `test_captured.py`, `test_distributed.py`,
`test_options_of_speed.py`, `test_gpu.py` and `test_device.py`. What they check of a line is written
in `properties.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta.data import Batch
from nlmeta.methods import (
    CLIDMU,
    ELR,
    EMA,
    MLC,
    MLNT,
    MSLG,
    Captured,
    CoTeaching,
    CrossEntropy,
    EveryKth,
    FixMatch,
    ForwardCorrection,
    GeneralisedCrossEntropy,
    GoldLossCorrection,
    LabelCorrectionNet,
    LabelHead,
    LearningToReweight,
    LinearLabelNet,
    LogitMultiplier,
    MetaWeightNet,
    Method,
    WeightNet,
)
from nlmeta.methods.base import descend
from nlmeta.models import MLP


@dataclass(frozen=True)
class Problem:
    """What methods are built for."""

    labels: Tensor
    """The given labels, shape (N,)."""

    transition: Tensor
    """A transition matrix, shape (C, C)."""

    unlabelled: Tensor
    """Inputs without labels, shape (U, ...); at least 32."""

    network: Callable[[int], nn.Module]
    """A small network from a seed; it has features, and its last layer is `classifier`."""

    @property
    def num_classes(self):
        return len(self.transition)

    @property
    def num_features(self):
        return self.network(0).classifier.in_features


def problem_of(split, network):
    """The problem that a split of the data poses."""
    transition = 0.8 * torch.eye(split.num_classes) + 0.2 / split.num_classes
    return Problem(split.train.y, transition, split.test.x[:200], network)


Build = Callable[[Problem, nn.Module], Method]


def first_inputs(method, train, meta):
    """Of the training batch alone, as in most methods."""
    return train.x


@dataclass(frozen=True)
class Line:
    """A method in one of its forms."""

    name: str

    build: Build
    """The method for a problem and the network that it will train."""

    zero: Build | None = None
    """The same with a meta step of zero, or with no effect: then it is the method `known`."""

    known: Build | None = None
    exact: bool = True
    """Bit for bit, rather than but for rounding."""

    seen: Callable[[Method, Batch, Batch], Tensor] = first_inputs
    """The inputs of the one ordinary pass of a step, which moves running statistics."""

    learns: bool = True
    """Something beside the network is changed by each step."""

    by_place: bool = False
    """Random numbers go to the rows of a batch by their places, so that the order matters."""

    recorded: bool = True
    """A GPU can repeat the step as a graph, see `Captured`."""

    joint: bool = True
    """Several processes can take the step together."""

    @property
    def kind(self):
        """The class of the method."""
        return type(self.build(SMALL, SMALL.network(1)))


ACT_FIRST = bilevel.Lookahead(sequence="act-first")
HALF = bilevel.Lookahead(dtype="bfloat16", tangent_dtype="bfloat16")

# Methods with the settings that the lines share; the problem comes first, options last.


def mlc(p, **options):
    return MLC(p.num_classes, **{"virtual_lr": 0.1, "transition_lr": 3.0, **options})


def mslg(p, **options):
    chosen = {"virtual_lr": 0.1, "label_lr": 50.0, "k": 4.0, **options}
    return MSLG(p.labels, p.num_classes, **chosen)


def mlnt(p, model, **options):
    chosen = {"trial_lr": 0.3, "meta_weight": 2.0, "trials": 2, "neighbours": 3, "seed": 2}
    return MLNT(model, p.network(4), **{**chosen, **options})


def weight_net(p):
    return WeightNet(8, seed=2)


def multiplier(p):
    return LogitMultiplier(p.num_features, p.num_classes, embedding=3, hidden=(6,), seed=2)


def clid_mu(p, head=weight_net, **options):
    return CLIDMU(head(p), **{"head_lr": 1.0, "max_norm": 0.01, **options})


def by_adam(p, head=weight_net, **options):
    return CLIDMU(head(p), **{"head_lr": 0.01, "head_optimizer": "adam", **options})


def meta_weight_net(p, **options):
    return MetaWeightNet(**{"hidden": 8, "seed": 2, "head_lr": 0.1, **options})


def linear_labels(p):
    return LinearLabelNet(p.num_features, p.num_classes, seed=2)


def corrected_labels(p, **options):
    sizes = {"embedding": 3, "hidden": 6, **options}
    return LabelCorrectionNet(p.num_features, p.num_classes, seed=2, **sizes)


def meta_label_net(p, **options):
    chosen = {"head_lr": 0.05, "encoder": p.network(4), "head_weight_decay": 1e-4, **options}
    return LabelHead(linear_labels(p), direction="prediction-first", entropy_weight=1.0, **chosen)


def label_correction(p, head=corrected_labels, **options):
    return LabelHead(head(p), **{"head_lr": 0.05, "head_optimizer": "amsgrad", **options})


def co_teaching(p, **options):
    return CoTeaching(p.network(4), **{"forget_rate": 0.4, "ramp_steps": 2, **options})


def elr(p, **options):
    return ELR(len(p.labels), p.num_classes, **options)


def jitter(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator, device="cpu").to(
        x, non_blocking=True
    )


def as_it_is(x, generator):
    return x


def fixmatch(p, **options):
    chosen = {"weak": jitter, "strong": jitter, "batch_size": 30, "cutoff": 0.1, "seed": 2}
    return FixMatch(p.unlabelled, **{**chosen, **options})


# What methods are when their meta step is zero.


def cross_entropy(p, model):
    return CrossEntropy()


class JointCrossEntropy(CrossEntropy):
    """Plain training on the noisy and the clean batch together."""

    def step(self, model, optimizer, train, meta=None):
        joint = Batch(torch.cat([train.x, meta.x]), torch.cat([train.y, meta.y]))
        return super().step(model, optimizer, joint)


class ReverseCrossEntropy(Method):
    """The given labels as logits of k, never moved."""

    def __init__(self, given, num_classes, k):
        super().__init__()
        self.register_buffer("u", k * F.one_hot(given, num_classes).float())

    def step(self, model, optimizer, train, meta=None):
        loss = losses.reverse_cross_entropy(model(train.x), self.u[train.ids])
        descend(optimizer, loss)
        return {"loss": loss.detach()}


class Fixed(Method):
    """A head of CLID-MU as it was drawn, never moved."""

    def __init__(self, head, *, calls=2):
        super().__init__()
        self.head = head
        self.calls = calls

    def step(self, model, optimizer, train, meta=None):
        forward = bilevel.forward_pass(model, train.x, features=self.head.needs_features)
        for _ in range(self.calls):  # the virtual step has a call; multipliers draw noise there
            factors = self.head(forward, train.y).detach()
        loss = self.head.loss(forward.logits, train.y, factors)
        descend(optimizer, loss)
        return {"loss": loss.detach()}


class FrozenLabels(Method):
    """Labels of one linear layer on features of another network, never moved."""

    def __init__(self, layer, encoder):
        super().__init__()
        self.layer, self.encoder = layer, encoder
        self.networks = (encoder,)

    def step(self, model, optimizer, train, meta=None):
        with torch.no_grad():
            u = self.layer(self.encoder.eval()(train.x, return_features=True)[1])
        loss = losses.reverse_cross_entropy(model(train.x), u)
        descend(optimizer, loss)
        return {"loss": loss.detach()}


class CorrectedLabels(Method):
    """Cross-entropy of the labels of a network, never moved, and of some clean samples."""

    def __init__(self, head, share=0.0):
        super().__init__()
        self.head, self.share = head, share

    def step(self, model, optimizer, train, meta=None):
        clean = meta if meta is None else Batch(*(rows[self.first(meta) :] for rows in meta[:2]))
        x, y = (torch.cat(pair) for pair in zip(train[:2], clean, strict=False))
        logits, features = model(x, return_features=True)
        n = len(train.y)
        s = F.one_hot(y, logits.shape[1]).to(logits)
        s[:n] = self.head.label_logits(features.detach()[:n], train.y).detach().softmax(1)
        loss = -(s * logits.log_softmax(1)).sum(1).mean()
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def first(self, meta):
        return len(meta.y) - int(self.share * len(meta.y))


def seen_by_clean_halves(method, train, meta):
    """The noisy batch and the second half of the clean one."""
    return torch.cat([train.x, meta.x[len(meta.x) - len(meta.x) // 2 :]])


def seen_by_gold(method, train, meta):
    return torch.cat([train.x, meta.x])


def seen_by_fixmatch(method, train, meta):
    """The weak view of the labelled samples and the strong one of some others."""
    labelled = method.weak(train.x, method._random)
    return torch.cat([labelled, method.views()[1]])


LINES = (
    Line("cross-entropy", cross_entropy, learns=False),
    Line(
        "GCE",
        lambda p, m: GeneralisedCrossEntropy(),
        zero=lambda p, m: GeneralisedCrossEntropy(q=0.0),
        known=cross_entropy,
        exact=False,
        learns=False,
    ),
    Line(
        "forward correction",
        lambda p, m: ForwardCorrection(p.transition),
        zero=lambda p, m: ForwardCorrection(torch.eye(p.num_classes)),
        known=cross_entropy,
        learns=False,
    ),
    Line(
        "gold loss correction",
        lambda p, m: GoldLossCorrection(p.transition),
        zero=lambda p, m: GoldLossCorrection(torch.eye(p.num_classes)),
        known=lambda p, m: JointCrossEntropy(),
        exact=False,
        seen=seen_by_gold,
        learns=False,
    ),
    # Its weights have a positive part alone: no step of zero makes it a known method.
    Line("reweighting", lambda p, m: LearningToReweight(), learns=False),
    Line("L2B", lambda p, m: LearningToReweight(bootstrap=True), learns=False),
    Line(
        "Meta-Weight-Net",
        lambda p, m: meta_weight_net(p),
        zero=lambda p, m: meta_weight_net(p, head_lr=0.0),
        known=lambda p, m: Fixed(meta_weight_net(p).head),
    ),
    Line(
        "Meta-Weight-Net, act first",
        lambda p, m: meta_weight_net(p, mode=ACT_FIRST),
        zero=lambda p, m: meta_weight_net(p, mode=ACT_FIRST, head_lr=0.0),
        known=lambda p, m: Fixed(meta_weight_net(p).head),
        recorded=False,
    ),
    Line(
        "label head, linear, of a frozen network",
        lambda p, m: meta_label_net(p),
        zero=lambda p, m: meta_label_net(p, head_lr=0.0),
        known=lambda p, m: FrozenLabels(linear_labels(p).layer, p.network(4)),
    ),
    Line("label head, exact", lambda p, m: meta_label_net(p, mode="exact")),
    Line(
        "label head, corrected labels",
        lambda p, m: label_correction(p),
        zero=lambda p, m: label_correction(p, head_lr=0.0),
        known=lambda p, m: CorrectedLabels(corrected_labels(p)),
        exact=False,
    ),
    Line(
        "label head, corrected labels, act first",
        lambda p, m: label_correction(p, mode=ACT_FIRST),
        zero=lambda p, m: label_correction(p, mode=ACT_FIRST, head_lr=0.0),
        known=lambda p, m: CorrectedLabels(corrected_labels(p)),
        exact=False,
        recorded=False,
    ),
    Line(
        "label head, corrected labels, half of the clean ones",
        lambda p, m: label_correction(p, clean_share=0.5),
        zero=lambda p, m: label_correction(p, head_lr=0.0, clean_share=0.5),
        known=lambda p, m: CorrectedLabels(corrected_labels(p), 0.5),
        exact=False,
        seen=seen_by_clean_halves,
        joint=False,
    ),
    Line(
        "Co-teaching",
        lambda p, m: co_teaching(p),
        zero=lambda p, m: co_teaching(p, forget_rate=0.0),
        known=cross_entropy,
        recorded=False,
    ),
    Line(
        "ELR",
        lambda p, m: elr(p),
        zero=lambda p, m: elr(p, weight=0.0),
        known=cross_entropy,
    ),
    Line(
        "ELR, targets on the CPU",
        lambda p, m: elr(p, memory_device="cpu"),
        zero=lambda p, m: elr(p, memory_device="cpu", weight=0.0),
        known=cross_entropy,
        recorded=False,
    ),
    Line(
        "MLC",
        lambda p, m: mlc(p),
        zero=lambda p, m: mlc(p, transition_lr=0.0),
        known=cross_entropy,
    ),
    Line("MLC, sum", lambda p, m: mlc(p, reduction="sum", virtual_lr=0.003)),
    Line("MLC, lean", lambda p, m: mlc(p, mode=bilevel.Lookahead(recompute=True))),
    Line(
        "MLC, forgetful, lean, by logits",
        lambda p, m: mlc(
            p, keep_transition=False, mode=bilevel.Lookahead(recompute=True), space="logit"
        ),
    ),
    Line("MLC, differences", lambda p, m: mlc(p, mode="fd")),
    Line(
        "MLC, lean differences",
        lambda p, m: mlc(p, mode=bilevel.Lookahead("fd", recompute=True)),
    ),
    Line("MLC, exact", lambda p, m: mlc(p, mode="exact")),
    Line(
        "MLC, act first",
        lambda p, m: mlc(p, virtual_lr=None, mode=ACT_FIRST),
        zero=lambda p, m: mlc(p, virtual_lr=None, mode=ACT_FIRST, transition_lr=0.0),
        known=cross_entropy,
        recorded=False,
    ),
    Line(
        "MLC, act first, one-sided differences",
        lambda p, m: mlc(
            p,
            virtual_lr=None,
            mode=bilevel.Lookahead("fd", one_sided=True, sequence="act-first"),
        ),
        recorded=False,
    ),
    Line(
        "MLC, outer gradient and tangent in bfloat16",
        lambda p, m: mlc(p, mode=HALF),
        zero=lambda p, m: mlc(p, mode=HALF, transition_lr=0.0),
        known=cross_entropy,
    ),
    Line("MLC, last layer", lambda p, m: mlc(p, mode=bilevel.Lookahead(only=("classifier",)))),
    Line("MLC, auto", lambda p, m: mlc(p, transition_lr="auto")),
    Line(
        "MSLG",
        lambda p, m: mslg(p),
        zero=lambda p, m: mslg(p, label_lr=0.0),
        known=lambda p, m: ReverseCrossEntropy(p.labels, p.num_classes, 4.0),
    ),
    Line("MSLG, last layer", lambda p, m: mslg(p, mode=bilevel.Lookahead(only=("classifier",)))),
    Line(
        "MSLG, act first",
        lambda p, m: mslg(p, virtual_lr=None, mode=ACT_FIRST),
        zero=lambda p, m: mslg(p, virtual_lr=None, mode=ACT_FIRST, label_lr=0.0),
        known=lambda p, m: ReverseCrossEntropy(p.labels, p.num_classes, 4.0),
        recorded=False,
    ),
    Line("MSLG, auto", lambda p, m: mslg(p, label_lr="auto", visits=2)),
    Line("MSLG, labels on the CPU", lambda p, m: mslg(p, memory_device="cpu"), recorded=False),
    Line(
        "CLID-MU, weights",
        lambda p, m: clid_mu(p),
        zero=lambda p, m: clid_mu(p, head_lr=0.0),
        known=lambda p, m: Fixed(weight_net(p)),
    ),
    Line(
        "CLID-MU, weights by Adam",
        lambda p, m: by_adam(p),
        zero=lambda p, m: by_adam(p, head_lr=0.0),
        known=lambda p, m: Fixed(weight_net(p)),
    ),
    Line(
        "CLID-MU, multipliers",
        lambda p, m: clid_mu(p, multiplier),
        zero=lambda p, m: clid_mu(p, multiplier, head_lr=0.0),
        known=lambda p, m: Fixed(multiplier(p)),
        by_place=True,
    ),
    Line(
        "CLID-MU, multipliers by Adam",
        lambda p, m: by_adam(p, multiplier),
        zero=lambda p, m: by_adam(p, multiplier, head_lr=0.0),
        known=lambda p, m: Fixed(multiplier(p)),
        by_place=True,
    ),
    Line(
        "CLID-MU, weights, act first",
        lambda p, m: clid_mu(p, mode=ACT_FIRST),
        zero=lambda p, m: clid_mu(p, mode=ACT_FIRST, head_lr=0.0),
        known=lambda p, m: Fixed(weight_net(p)),
        recorded=False,
    ),
    Line(
        "CLID-MU, multipliers, act first",
        lambda p, m: by_adam(p, multiplier, mode=ACT_FIRST),
        zero=lambda p, m: by_adam(p, multiplier, mode=ACT_FIRST, head_lr=0.0),
        known=lambda p, m: Fixed(multiplier(p), calls=1),
        by_place=True,
        recorded=False,
    ),
    Line("CLID-MU, exact", lambda p, m: clid_mu(p, mode="exact")),
    Line(
        "MLNT",
        lambda p, m: mlnt(p, m),
        zero=lambda p, m: mlnt(p, m, meta_weight=0.0),
        known=cross_entropy,
        by_place=True,
    ),
    Line("MLNT, second order", lambda p, m: mlnt(p, m, order="second"), by_place=True),
    Line(
        "MLNT, trials at once",
        lambda p, m: mlnt(p, m, trials=5, trials_at_once=3),
        by_place=True,
    ),
    Line(
        "MLNT, rising weight, mentor",
        lambda p, m: mlnt(p, m, ramp_steps=8, decay=0.9, ramp_decay=0.5, teacher_share=0.4),
        by_place=True,
    ),
    Line(
        "MLNT, trials in bfloat16",
        lambda p, m: mlnt(p, m, trial_dtype="bfloat16"),
        zero=lambda p, m: mlnt(p, m, trial_dtype="bfloat16", meta_weight=0.0),
        known=cross_entropy,
        by_place=True,
    ),
    Line("MLNT, two steps", lambda p, m: mlnt(p, m, update="two-step"), by_place=True),
    Line(
        "MLNT, two steps, second order, mentor",
        lambda p, m: mlnt(p, m, update="two-step", order="second", teacher_share=0.5),
        zero=lambda p, m: mlnt(p, m, update="two-step", order="second", meta_weight=0.0),
        known=cross_entropy,
        by_place=True,
    ),
    Line(
        "FixMatch",
        lambda p, m: fixmatch(p),
        zero=lambda p, m: fixmatch(p, weak=as_it_is, unlabelled_weight=0.0),
        known=cross_entropy,
        seen=seen_by_fixmatch,
        by_place=True,
        recorded=False,
        joint=False,
    ),
    Line(
        "FixMatch with CLID-MU",
        lambda p, m: fixmatch(p, correction=by_adam(p)),
        zero=lambda p, m: fixmatch(p, weak=as_it_is, unlabelled_weight=0.0, correction=by_adam(p)),
        known=lambda p, m: by_adam(p),
        seen=seen_by_fixmatch,
        by_place=True,
        recorded=False,
        joint=False,
    ),
    # Methods around others: an average trains as what it averages, and so do the others.
    Line(
        "EMA",
        lambda p, m: EMA(CrossEntropy(), m, decay=0.8),
        zero=lambda p, m: EMA(CrossEntropy(), m, decay=0.8),
        known=cross_entropy,
        recorded=False,
    ),
    Line(
        "EMA of MLC",
        lambda p, m: EMA(mlc(p), m, decay=0.8),
        zero=lambda p, m: EMA(mlc(p), m, decay=0.8),
        known=lambda p, m: mlc(p),
        recorded=False,
    ),
    Line("EMA of MSLG", lambda p, m: EMA(mslg(p), m, decay=0.5), recorded=False),
    Line("EMA of MLNT", lambda p, m: EMA(mlnt(p, m), m, decay=0.5), by_place=True, recorded=False),
    Line(
        "EMA of multipliers",
        lambda p, m: EMA(by_adam(p, multiplier), m, decay=0.8),
        by_place=True,
        recorded=False,
    ),
    Line(
        "MLC, every second step",
        lambda p, m: EveryKth(mlc(p), 2),
        zero=lambda p, m: EveryKth(mlc(p, transition_lr=0.0), 2),
        known=cross_entropy,
        recorded=False,
    ),
    Line(
        "MLC, act first, every second step",
        lambda p, m: EveryKth(mlc(p, virtual_lr=None, mode=ACT_FIRST), 2),
        zero=lambda p, m: EveryKth(mlc(p, virtual_lr=None, mode=ACT_FIRST, transition_lr=0.0), 2),
        known=cross_entropy,
        recorded=False,
    ),
    Line(
        "EMA of MLC, every second step",
        lambda p, m: EMA(EveryKth(mlc(p), 2), m, decay=0.9),
        recorded=False,
    ),
    Line(
        "MLC, captured",
        lambda p, m: Captured(mlc(p)),
        zero=lambda p, m: Captured(mlc(p)),
        known=lambda p, m: mlc(p),
        recorded=False,
    ),
)

SMALL = Problem(
    torch.tensor([2, 0, 2, 1, 2, 2, 0]),
    0.7 * torch.eye(3) + 0.1,
    torch.zeros(32, 4),
    lambda seed: MLP(4, 3, (5,), seed=seed),
)
BY_NAME = {line.name: line for line in LINES}
EACH = tuple({line.kind: line for line in reversed(LINES)}.values())[::-1]
"""The first line of each class, for what its other forms can hardly change."""
