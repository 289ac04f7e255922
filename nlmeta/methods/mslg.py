"""MSLG: one learnable label per sample, moved so that a virtual step helps clean data (chapter 9).

G. Algan, I. Ulusoy, "Meta Soft Label Generation for Noisy Labels", ICPR 2020.

Every training sample has a soft label, which is kept across epochs. It starts near the given label.
A virtual step shows in which direction the label should move to serve the clean meta set, and the
label moves there. The network is then trained on the moved labels. The training loop does the
warm-up with plain cross-entropy.

The defaults are the paper's formulas. Its released code divides the inner loss by the number of
classes as well (``scale="entries"``); all of its settings are ``presets.MSLG_CIFAR10``.
"""

import os

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta._checks import check_choice, check_count, check_labels, check_not_negative
from nlmeta.data.batches import Batch
from nlmeta.data.split import Samples
from nlmeta.methods.base import Method, descend, require_meta
from nlmeta.methods.memory import given_memory
from nlmeta.methods.objectives import LabelCrossEntropy, Objective
from nlmeta.methods.sequence import both_steps, check_virtual_lr
from nlmeta.methods.soft_labels import divergence_with_entropy
from nlmeta.methods.step_sizes import StepSize, check_label_lr, label_step
from nlmeta.models import logits_of

__all__ = ["MSLG"]


class MSLG(Method):
    """Meta soft label generation.

    Parameters
    ----------
    given_labels : Tensor of int64, shape (N,)
        The noisy labels of the whole training part; entry i belongs to sample id i.
    num_classes : int
        C, the number of classes.
    virtual_lr : float or None
        alpha, the size of the virtual step. Released: 0.5, with ``scale="entries"``. None, and only
        None, if `mode` has ``sequence="act-first"``.
    label_lr : float or "auto"
        beta, the size of the labels' step. Released: 4000 (CIFAR-10) and 1500. With 0 the labels
        stay, and only the inner loss remains of the method (see Notes). ``"auto"`` is a rule of
        ours for other data: the rows of a batch move by 2 K / `visits`, in root mean square, so the
        way of a label in the whole run is about twice its height at the start.
    k : float
        K, the label logit of the given class at the start; the others are 0. Default 10, as
        released: a soft label of 0.9996 for ten classes.
    entropy_weight : float
        gamma, weight of the prediction's entropy in the ordinary step. Default 1, as released.
    direction : {"prediction-first", "label-first"}
        Direction of the divergence, see `losses.soft_label_divergence`. Default
        ``"prediction-first"``.
    scale : {"samples", "entries"}
        Scale of the loss (`losses`). Default ``"samples"``, the paper's. Released: ``"entries"``.
    objective : Objective
        The loss that judges the virtual step. Default: cross-entropy of the clean meta labels,
        published. `CrossLayerDivergence` uses no label.
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient. Default ``"jvp"``. With ``sequence="act-first"`` the network
        sees a moved label when the sample comes next, an epoch later.
    memory_device : str, optional
        ``"cpu"`` keeps the labels there, in float32, if the method moves to a GPU or to another
        type; use it if N times C numbers do not fit on the GPU. Default: they move with the method.
    memory_file : path, optional
        A file that holds the labels, for numbers that do not fit into RAM either. It is created or
        overwritten; a checkpoint holds the labels as well. Several processes cannot use it.
        Default: no file.
    visits : float, optional
        Number of epochs in which a loop of your own calls `step`; only ``label_lr="auto"`` uses it.
        Default: `fit` says it.

    Attributes
    ----------
    memory : LabelMemory
        The label logits u, shape (N, C), float32 unless they move with the method to another type.

    Notes
    -----
    With ``entropy_weight=1`` and the prediction first, the ordinary step's loss is reverse
    cross-entropy. At the start, where a label is K times a one-hot, it equals K times the mean
    absolute error up to a constant. That loss is robust by itself, so ``label_lr=0`` is the control
    that shows what moving the labels adds.
    """

    needs_meta = True

    def __init__(
        self,
        given_labels: Tensor,
        num_classes: int,
        *,
        virtual_lr: float | None,
        label_lr: StepSize,
        k: float = 10.0,
        entropy_weight: float = 1.0,
        direction: losses.Direction = "prediction-first",
        scale: losses.Scale = "samples",
        objective: Objective | None = None,
        mode: bilevel.Mode | bilevel.Lookahead = "jvp",
        memory_device: str | None = None,
        memory_file: str | os.PathLike[str] | None = None,
        visits: float | None = None,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes, minimum=2)
        check_labels("given_labels", given_labels, num_classes)
        self.mode = bilevel.Lookahead.of(mode)
        check_virtual_lr(virtual_lr, self.mode)
        check_label_lr(label_lr, visits)
        check_not_negative("k", k)
        check_not_negative("entropy_weight", entropy_weight)
        check_choice("direction", direction, ("prediction-first", "label-first"))
        check_choice("scale", scale, ("samples", "entries"))
        self.virtual_lr = virtual_lr
        self.label_lr = label_lr
        self.visits = visits
        self.k = k
        self.entropy_weight = entropy_weight
        self.direction = direction
        self.scale = scale
        self.objective = LabelCrossEntropy() if objective is None else objective
        self.num_samples = len(given_labels)
        self.memory = given_memory(
            given_labels, num_classes, k, device=memory_device, file=memory_file
        )

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """Whether the rows lie on the network's device, which moves last. See `Method`."""
        return not (self.memory.stays or self.mode.acts_first)

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Trial step, step of the batch's labels, ordinary step on them. See `Method.step`."""
        meta = require_meta(self, meta)
        forward = bilevel.forward_pass(model, train.x)
        u = self.memory.read(train.ids, like=forward.logits)  # (n, C)

        def learn(taken: bilevel.TakenStep | None) -> dict[str, Tensor]:
            nonlocal u
            hyper = self.label_gradient(model, forward, u, meta, taken=taken)
            step = label_step(hyper.gradients[0], self.label_lr, unit=self.k, visits=self.visits)
            before, u = u, u - step  # (9.5)
            self.memory.write(train.ids, u)
            change = (u - before).abs().mean()
            norm = hyper.norm
            return {"meta_loss": hyper.outer_loss, "hypergradient": norm, "label_change": change}

        def loss(forward: bilevel.ForwardPass) -> Tensor:
            return self.ordinary_loss(forward.logits, u)  # (9.6): old weights, new labels

        return both_steps(self.mode, model, optimizer, forward, learn=learn, loss=loss)

    def begin(self, epochs: float, train: Samples, clean: Samples | None) -> None:
        """Note the number of visits that ``label_lr="auto"`` shares its way among."""
        if self.label_lr == "auto" and epochs > 0:
            self.visits = epochs

    def ordinary_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """The network's step on the labels as they are, (9.6). See `Method.ordinary_step`."""
        logits = logits_of(model, train.x)
        loss = self.ordinary_loss(logits, self.memory.read(train.ids, like=logits))
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def divergence(self, logits: Tensor, label_logits: Tensor) -> Tensor:
        """The inner loss, (9.1), with this method's switches."""
        return losses.soft_label_divergence(
            logits, label_logits, direction=self.direction, scale=self.scale
        )

    def ordinary_loss(self, logits: Tensor, label_logits: Tensor) -> Tensor:
        """The loss of the ordinary step, (9.6): the divergence plus gamma times the entropy."""
        return divergence_with_entropy(
            logits,
            label_logits,
            direction=self.direction,
            scale=self.scale,
            entropy_weight=self.entropy_weight,
        )

    def label_gradient(
        self,
        model: nn.Module,
        forward: bilevel.ForwardPass,
        label_logits: Tensor,
        meta: Batch,
        *,
        taken: bilevel.TakenStep | None = None,
    ) -> bilevel.Hypergradient:
        """Derivative by the batch's label logits of the meta loss after a virtual step, (9.2-9.4).

        For "prediction-first" it is alpha times the tangent of the *probabilities* along the outer
        gradient, times the scale of the loss: labels move as the prediction itself would in a step
        on the clean batch.

        Parameters
        ----------
        model : nn.Module
            The network.
        forward : bilevel.ForwardPass
            The network's pass over the noisy batch.
        label_logits : Tensor, shape (n, C)
            The label logits u of that batch.
        meta : Batch
            Clean samples.
        taken : bilevel.TakenStep, optional
            The ordinary step, where it came first. Default: a virtual step is taken.

        Returns
        -------
        bilevel.Hypergradient
            A hypergradient with one gradient, of shape (n, C).
        """
        u = label_logits.detach().requires_grad_()
        return bilevel.hypergradient(
            model,
            forward,
            inner_loss=lambda logits: self.divergence(logits, u),
            outer_loss=lambda network: self.objective(network, meta),
            meta_parameters=[u],
            lr=self.virtual_lr,
            mode=self.mode,
            taken=taken,
        )

    def soft_labels(self) -> Tensor:
        """The learned labels of all samples: probabilities, shape (N, C)."""
        return self.memory.all_rows().softmax(1)

    def learned_labels(self) -> Tensor:
        """`soft_labels`, under the name that all methods share. See `Method.learned_labels`."""
        return self.soft_labels()
