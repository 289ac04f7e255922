"""MLC: learn the noise transition matrix so that a step taken with it helps clean data (chapter 8).

Z. Wang, G. Hu, Q. Hu, "Training Noise-Robust Deep Neural Networks via Meta-Learning", CVPR 2020.
Not to be confused with Meta Label Correction (Zheng et al., AAAI 2021), which is called MLC as
well.

The network's prediction p is multiplied by a matrix T before it is compared with the noisy label.
A virtual step shows which T would have served the clean meta set better, and T moves there. The
training loop does the warm-up with plain cross-entropy.

The defaults are the textbook form: forward correction with a T that is kept. The released code
differs in four places; each is an option, and ``presets.MLC_CIFAR10`` has all of them.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from nlmeta import bilevel, losses
from nlmeta._arrays import described
from nlmeta._checks import check_choice, check_count, check_not_negative, check_transition
from nlmeta.data.batches import Batch
from nlmeta.data.split import Samples
from nlmeta.methods.base import Method, descend, require_meta
from nlmeta.methods.objectives import LabelCrossEntropy, Objective
from nlmeta.methods.sequence import both_steps, check_virtual_lr
from nlmeta.methods.step_sizes import StepSize, check_step_size
from nlmeta.methods.transition_steps import (
    normalise_transition,
    transition_step,
    warn_of_errors_by_input,
)
from nlmeta.models import logits_of

__all__ = ["MLC", "normalise_transition"]


class MLC(Method):
    """Meta loss correction.

    Parameters
    ----------
    num_classes : int
        C, the number of classes.
    virtual_lr : float or None
        alpha, the size of the virtual step. It has no default: published is 1e-3 on a summed loss
        of 64 samples, which is 0.064 on their mean; on the digits 0.1 worked (`nlmeta.presets`).
        None, and only None, if `mode` has ``sequence="act-first"``.
    transition_lr : float or "auto"
        eta, the size of T's step. Published: 0.11; on the digits 30. With 0, T does not change.
        ``"auto"`` is a rule of ours for other data: T's rows move by 10, in root mean square, which
        is seven times the width of the simplex (as on the digits, where the number is good). `fit`
        then warns if errors do not follow the class, see `noise.neighbours_alike`.
    space : {"probability", "logit"}
        The quantity that T is applied to. Default ``"probability"``: forward correction. Released
        code: ``"logit"``, where a last linear layer can absorb T.
    keep_transition : bool
        If True (default), T is kept from step to step. Released code: False; T is then the identity
        again at every step, so nothing is ever learned about the noise.
    normalise : {"row", "column"}
        Whether T's rows or its columns sum to one after its step. Default ``"row"``, as in a
        transition matrix. Released code: ``"column"``.
    reduction : {"mean", "sum"}
        Reduction of the inner loss over the batch. Default ``"mean"``. Released code: ``"sum"``.
    q_floor : float
        Bound on the pull of one sample on T, see `losses.transition_cross_entropy`. Default 1e-4,
        ours; 0 is the textbook formula.
    objective : Objective
        The loss that judges the virtual step. Default: cross-entropy of the clean meta labels,
        published. `CrossLayerDivergence` uses no label.
    mode : {"jvp", "fd", "exact"} or bilevel.Lookahead
        Options for the hypergradient. Default ``"jvp"``. With ``sequence="act-first"`` T moves
        after the network, for the next step, so T must be kept.
    initial : Tensor of shape (C, C), optional
        T at the start. Default: the identity. With ``keep_transition=False`` every step starts from
        the identity, whatever `initial` is.

    Attributes
    ----------
    transition : nn.Parameter, shape (C, C)
        The matrix T; row: true class, column: given label.
    """

    needs_meta = True

    def __init__(
        self,
        num_classes: int,
        *,
        virtual_lr: float | None,
        transition_lr: StepSize,
        space: losses.Space = "probability",
        keep_transition: bool = True,
        normalise: Literal["row", "column"] = "row",
        reduction: losses.Reduction = "mean",
        q_floor: float = 1e-4,
        objective: Objective | None = None,
        mode: bilevel.Mode | bilevel.Lookahead = "jvp",
        initial: Tensor | None = None,
    ) -> None:
        super().__init__()
        check_count("num_classes", num_classes, minimum=2)
        self.mode = bilevel.Lookahead.of(mode)
        check_virtual_lr(virtual_lr, self.mode)
        check_step_size("transition_lr", transition_lr)
        check_not_negative("q_floor", q_floor)
        check_choice("space", space, ("probability", "logit"))
        check_choice("normalise", normalise, ("row", "column"))
        check_choice("reduction", reduction, ("mean", "sum"))
        if initial is not None and not isinstance(initial, Tensor):
            raise TypeError(
                f"`initial` is a {type(initial).__name__}; it must be a tensor of shape (C, C)"
            )
        start = torch.eye(num_classes) if initial is None else initial.detach().clone()
        if start.shape != (num_classes, num_classes):
            raise ValueError(
                f"`initial` has shape {tuple(start.shape)}; for {num_classes} classes it must have "
                f"shape {(num_classes, num_classes)}"
            )
        if initial is not None:
            check_transition("initial", start)
        self.transition = nn.Parameter(start)
        self.initial = "identity" if initial is None else described(start)
        self.virtual_lr = virtual_lr
        self.transition_lr = transition_lr
        self.space = space
        self.keep_transition = keep_transition
        self.normalise = normalise
        self.reduction = reduction
        self.q_floor = q_floor
        self.objective = LabelCrossEntropy() if objective is None else objective
        if self.mode.acts_first and not keep_transition:
            raise ValueError(
                "`keep_transition` is False and `mode` has sequence='act-first'; T would be "
                "forgotten before the next step could use it, so it must be kept"
            )

    def begin(self, epochs: float, train: Samples, clean: Samples | None) -> None:
        """With ``transition_lr="auto"``, warn if no matrix can describe the errors."""
        if self.transition_lr == "auto" and clean is not None and self.needs_meta_labels:
            warn_of_errors_by_input(train, clean)

    @property
    def capturable(self) -> bool:  # type: ignore[override]
        """Whether the network moves last. See `Method.capturable`."""
        return not self.mode.acts_first

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Virtual step, step of T, ordinary step: all three from one forward pass, since only T
        moves in between. See `Method.step`.
        """
        meta = require_meta(self, meta)
        if not self.keep_transition:
            nn.init.eye_(self.transition)
        forward = bilevel.forward_pass(model, train.x)

        def learn(taken: bilevel.TakenStep | None) -> dict[str, Tensor]:
            hyper = self.transition_gradient(model, forward, train.y, meta, taken=taken)
            with torch.no_grad():
                step = transition_step(hyper.gradients[0], self.transition_lr)
                moved = self.transition - step  # (8.4)
                self.transition.copy_(normalise_transition(moved, by=self.normalise))  # (8.5)
            return {"meta_loss": hyper.outer_loss, "hypergradient": hyper.norm}

        def loss(forward: bilevel.ForwardPass) -> Tensor:
            return self.loss(forward.logits, train.y, self.transition.detach())  # (8.6)

        return both_steps(self.mode, model, optimizer, forward, learn=learn, loss=loss)

    def ordinary_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """The network's step with T as it is, (8.6). See `Method.ordinary_step`."""
        loss = self.loss(logits_of(model, train.x), train.y, self.transition.detach())
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def loss(self, logits: Tensor, labels: Tensor, transition: Tensor) -> Tensor:
        """The corrected loss, (8.1), with this method's switches."""
        return losses.transition_cross_entropy(
            logits,
            labels,
            transition,
            space=self.space,
            reduction=self.reduction,
            q_floor=self.q_floor,
        )

    def transition_gradient(
        self,
        model: nn.Module,
        forward: bilevel.ForwardPass,
        labels: Tensor,
        meta: Batch,
        *,
        taken: bilevel.TakenStep | None = None,
    ) -> bilevel.Hypergradient:
        """Derivative by T of the meta loss after a virtual step, (8.2) and (8.3).

        Parameters
        ----------
        model : nn.Module
            The network.
        forward : bilevel.ForwardPass
            The network's pass over the noisy batch.
        labels : Tensor of int64, shape (n,)
            Given labels of that batch.
        meta : Batch
            Clean samples; their loss is plain cross-entropy, without T.
        taken : bilevel.TakenStep, optional
            The ordinary step, where it came first. Default: a virtual step is taken.

        Returns
        -------
        bilevel.Hypergradient
            A hypergradient with one gradient, of shape (C, C).
        """
        return bilevel.hypergradient(
            model,
            forward,
            inner_loss=lambda logits: self.loss(logits, labels, self.transition),
            outer_loss=lambda network: self.objective(network, meta),
            meta_parameters=[self.transition],
            lr=self.virtual_lr,
            mode=self.mode,
            taken=taken,
        )

    def learned_transition(self) -> Tensor:
        """T in the form of the options; with ``keep_transition=False`` the T of the last step."""
        return self.transition.detach().clone()

    def forward_transition(self) -> Tensor | None:
        """T in the textbook form: applied to probabilities, kept, with rows that sum to one."""
        textbook = self.space == "probability" and self.normalise == "row" and self.keep_transition
        return self.learned_transition() if textbook else None
