"""Label heads: a small network gives each sample its soft label, and a virtual step teaches it.

MSLG keeps a label for each training sample. Here a label is a function of the sample, learned by
the same hypergradient, so it exists for samples outside the training set too. Two methods of the
literature are this one, by its arguments (``presets.META_LABEL_NET_CIFAR10`` and
``presets.META_LABEL_CORRECTION_CIFAR10``):

* MetaLabelNet (Algan & Ulusoy, IEEE Transactions on Image Processing 2022): a `LinearLabelNet` on
  the features of a network that is frozen after the warm-up, with MSLG's losses.
* Meta Label Correction (Zheng, Awadallah & Dumais, AAAI 2021): a `LabelCorrectionNet` on the
  features of the network that is trained. Its authors call it MLC. It is not `MLC` of this package,
  which is Meta Loss Correction (Wang, Hu & Hu, CVPR 2020).

Both were read in the released code, gorkemalgan/MetaLabelNet at commit 6ffdeb6 and microsoft/MLC at
commits 1a68fd7 and 73fcea5. Of the papers only the abstracts were at hand, so it is not known here
where the code departs from them. Of the code is left out:

* MetaLabelNet adds 1e-10 to the soft label before its logarithm.
* Meta Label Correction's network runs on noisy and clean samples in two passes, here in one, which
  matters for BatchNorm alone.
* Its gradient over several steps, sparse labels, and weights shared between the embedding and the
  last layer are options that its released commands do not use.
"""

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta._checks import check_choice, check_not_negative, check_rate
from nlmeta._interface import Inputs, joined, rows_of
from nlmeta.data.batches import Batch
from nlmeta.distributed import world_size
from nlmeta.methods.base import require_meta
from nlmeta.methods.clid_mu import CLIDMU
from nlmeta.methods.heads import HeadOptimizer, checked_features
from nlmeta.methods.label_networks import LabelNetwork
from nlmeta.methods.objectives import LabelCrossEntropy, Objective
from nlmeta.methods.soft_labels import divergence_with_entropy
from nlmeta.methods.step_sizes import StepSize
from nlmeta.models import copy_of, with_features

__all__ = ["LabelHead"]

SURE = 1000.0  # a label logit whose softmax is a one-hot in every type


class LabelHead(CLIDMU):
    """A head whose correction is the soft label itself; the steps are those of `CLIDMU`.

    Parameters
    ----------
    head : LinearLabelNet or LabelCorrectionNet
        The small network that is meta-learned. Another `LabelNetwork` is possible.
    head_lr : float or "auto"
        Size of the head's step. Released: 0.01 for MetaLabelNet on CIFAR-10, 3e-4 for Meta Label
        Correction. With 0 the head stays as it was initialised. ``"auto"`` is 1e-3, for Adam alone;
        ``python -m nlmeta report carry_over`` says where that failed.
    virtual_lr : float, optional
        alpha, the size of the virtual step. Default: the current learning rate of the network's
        optimiser, as released for Meta Label Correction. Released for MetaLabelNet: 1, with
        ``scale="entries"``.
    encoder : nn.Module, optional
        The network whose features the head reads, such as the network after its warm-up. It is
        copied, frozen, and run in evaluation mode. Default: the network that is trained, whose
        features are detached.
    direction : {"label-first", "prediction-first"}
        Direction of the divergence, see `losses.soft_label_divergence`. Default ``"label-first"``,
        whose steps are those of the cross-entropy of a soft label. MetaLabelNet:
        ``"prediction-first"``.
    scale : {"samples", "entries"}
        Scale of the loss (`losses`). Default ``"samples"``. Released for MetaLabelNet:
        ``"entries"``.
    entropy_weight : float
        Weight of the prediction's entropy in the ordinary step. Default 0. MetaLabelNet: 1.
    clean_share : float
        Share of each meta batch that joins the training batch with its own labels, which the head
        does not touch; the rest judges. It needs ``direction="label-first"`` and one process.
        Default 0. Released for Meta Label Correction: 0.5. `FixMatch` does not use it.
    head_optimizer : {"adam", "amsgrad", "sgd"}
        Optimiser of the head. Default ``"adam"``. Released for Meta Label Correction:
        ``"amsgrad"``.
    head_weight_decay : float
        Weight decay of the head. Default 0. Released for MetaLabelNet: 1e-4.
    max_norm : float, optional
        Largest norm of the head's gradient. Default: no bound, as released for both.
    objective : Objective
        The loss that judges the virtual step. Default: cross-entropy of the clean meta labels.
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient. Default ``"jvp"``. Released for Meta Label Correction:
        ``sequence="act-first"``. The network moves by the labels of the old head, its own step with
        momentum and weight decay is the lookahead, and the head moves after it.

    Notes
    -----
    A `LinearLabelNet` reads no label. So a batch of unlabelled samples can be trained on like any
    other; the numbers in the place of its labels have no effect.

    A linear head without a bias on the one-hot of the sample's number is `MSLG`. A head that copies
    the given label is cross-entropy.

    `learned_labels` is None, since the labels follow from features, which the method does not keep.
    Call `soft_labels`.

    Examples
    --------
    The labels of test samples, which MSLG cannot give:

    >>> import torch
    >>> from nlmeta import data, methods, models
    >>> split = data.load("digits", noise="symmetric", rate=0.4, meta_size=100, seed=0)
    >>> network = models.MLP(64, 10, seed=0)
    >>> head = methods.LinearLabelNet(network.classifier.in_features, 10, seed=0)
    >>> method = methods.LabelHead(head, head_lr=0.01, encoder=network)
    >>> _, features = models.with_features(method.encoder, split.test.x[:3])
    >>> method.soft_labels(features).shape
    torch.Size([3, 10])
    """

    def __init__(
        self,
        head: LabelNetwork,
        *,
        head_lr: StepSize,
        virtual_lr: float | None = None,
        encoder: nn.Module | None = None,
        direction: losses.Direction = "label-first",
        scale: losses.Scale = "samples",
        entropy_weight: float = 0.0,
        clean_share: float = 0.0,
        head_optimizer: HeadOptimizer = "adam",
        head_weight_decay: float = 0.0,
        max_norm: float | None = None,
        objective: Objective | None = None,
        mode: bilevel.Mode | bilevel.Lookahead = "jvp",
    ) -> None:
        super().__init__(
            head,
            head_lr=head_lr,
            virtual_lr=virtual_lr,
            head_optimizer=head_optimizer,
            head_weight_decay=head_weight_decay,
            max_norm=max_norm,
            objective=LabelCrossEntropy() if objective is None else objective,
            mode=mode,
        )
        check_choice("direction", direction, ("prediction-first", "label-first"))
        check_choice("scale", scale, ("samples", "entries"))
        check_not_negative("entropy_weight", entropy_weight)
        check_rate("clean_share", clean_share)
        if clean_share > 0 and direction != "label-first":
            raise ValueError(
                f"`clean_share` is {clean_share} and `direction` is {direction!r}; clean samples "
                "are trained on by cross-entropy, which is 'label-first'"
            )
        if clean_share > 0 and world_size() > 1:
            raise RuntimeError(
                f"LabelHead runs in one process, not in {world_size()}, with `clean_share` above "
                "0: a pass has rows of two kinds. Leave torchrun out, or `clean_share`"
            )
        self.direction = direction
        self.scale = scale
        self.entropy_weight = entropy_weight
        self.clean_share = clean_share
        self._clean = 0  # in a step: how many of its last samples are clean
        self.encoder = None if encoder is None else copy_of(encoder).requires_grad_(False).eval()
        self.networks = () if self.encoder is None else (self.encoder,)

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Virtual step, step of the head, ordinary step on its labels. See `Method.step`."""
        meta = require_meta(self, meta)
        self._clean = int(self.clean_share * len(meta.y))
        judges = len(meta.y) - self._clean
        x, y = rows_of(meta.x, slice(judges, None)), meta.y[judges:]
        joint = Batch(joined([train.x, x]), torch.cat([train.y, y]))
        judge = Batch(rows_of(meta.x, slice(judges)), meta.y[:judges])
        try:
            return super().step(model, optimizer, joint, judge)
        finally:
            self._clean = 0

    def forward_pass(self, model: nn.Module, x: Inputs) -> bilevel.ForwardPass:
        """The network's pass over a batch, with the features of the encoder if there is one."""
        if self.encoder is None:
            return super().forward_pass(model, x)
        forward = bilevel.forward_pass(model, x)
        self.encoder.eval()  # also where `train` was called on the method
        with torch.no_grad():
            _, features = with_features(self.encoder, x)
        return forward._replace(features=features)

    def inner_loss(self, logits: Tensor, labels: Tensor, correction: Tensor) -> Tensor:
        """The loss of the virtual step: the divergence of prediction and soft label."""
        return losses.soft_label_divergence(
            logits[: len(labels)],
            self._label_logits(correction, labels),
            direction=self.direction,
            scale=self.scale,
        )

    def ordinary_loss(
        self, forward: bilevel.ForwardPass, labels: Tensor, correction: Tensor | None = None
    ) -> Tensor:
        """The loss of the ordinary step: divergence plus entropy. See `CLIDMU.ordinary_loss`."""
        if correction is None:
            with torch.no_grad():
                correction = self.head(forward, labels)
        label_logits = self._label_logits(correction.detach(), labels)
        return divergence_with_entropy(
            forward.logits[: len(labels)],
            label_logits,
            direction=self.direction,
            scale=self.scale,
            entropy_weight=self.entropy_weight,
        )

    def soft_labels(self, features: Tensor, given: Tensor | None = None) -> Tensor:
        """The soft labels of any samples, seen or unseen, as the head gives them now.

        Parameters
        ----------
        features : Tensor, shape (n, D)
            Features of the samples, from `models.with_features` of the encoder, or of the network
            that is trained if there is no encoder.
        given : Tensor of int64, shape (n,), optional
            Given labels, for a head that reads them; the samples of a `LinearLabelNet` need none.

        Returns
        -------
        Tensor of float, shape (n, C)
            Probabilities; rows sum to one. They are detached, on the device and in the type of the
            head.
        """
        place = next(self.head.parameters()).device
        with torch.no_grad():
            seen = checked_features(self.head, features.to(place))
            given = None if given is None else given.to(place)
            return self.head.label_logits(seen, given).softmax(1)

    def _label_logits(self, correction: Tensor, labels: Tensor) -> Tensor:
        """Those of the head, and for clean samples, which come last, their own label."""
        own = torch.zeros_like(correction).scatter(1, labels[:, None], SURE)
        first = len(labels) - self._clean
        return torch.cat([correction[:first], own[first:]])
