"""MLNT: weights at which a step on other wrong labels does little harm (chapter 7).

J. Li, Y. Wong, Q. Zhao, M. Kankanhalli, "Learning to Learn from Noisy Labeled Data", CVPR 2019.

Steps on synthetic wrong labels are tried and thrown away. What is kept is the gradient of one
demand: after each of them the network shall still agree with the teacher, a slow average of itself.
No clean label is used. How a mentor is made, and filters: `nlmeta.procedures.mlnt_iterations`.

The paper's text was not at hand. The formulas are those of the released code, for Clothing1M alone:
the authors' first commit (91eac84, 2018), and the last (40f163d, 2020) where `order` says so.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlmeta import _checks, bilevel, losses, seeding
from nlmeta._host import from_host
from nlmeta.bilevel.trials import check_at_once
from nlmeta.data.batches import Batch
from nlmeta.methods.agreement import mixed_target
from nlmeta.methods.average import WeightAverage
from nlmeta.methods.base import Method, backward, descend
from nlmeta.methods.neighbours import neighbour_labels
from nlmeta.models import copy_of, logits_of

__all__ = ["MLNT"]


class MLNT(Method):
    """Meta-learning based noise-tolerant training.

    Parameters
    ----------
    model : nn.Module
        The network, whose shape the teacher takes. Its values are copied in the first step.
    mentor : nn.Module
        Names the neighbours by its features, see `models.with_features`, and has its part in the
        target where `teacher_share` is below 1. A copy is kept, frozen and in evaluation mode.
        Released: trained by cross-entropy on the same labels.
    trial_lr : float
        alpha. Released: 0.02. With 0 this is the mean teacher (Tarvainen & Valpola, NeurIPS 2017),
        with a divergence as its cost; one set of labels is then enough, and only one is tried.
    meta_weight : float
        w, or eta for ``update="two-step"``. Released: 1. With 0: cross-entropy, bit for bit.
    trials : int
        M, sets of synthetic labels a step. Default 10, released.
    replaced : float
        rho, share of the batch that takes a neighbour's label. Default 0.5, released.
    neighbours : int
        Of how many one is drawn, see `neighbour_labels`. Default 10, released.
    order : {"first", "second"}
        Of the meta-gradient, see `bilevel.trial_gradient`. Default ``"first"``, the authors' first
        commit. The last one computes ``"second"``, by an outside change meant to keep the first.
    update : {"sum", "two-step"}
        ``"sum"`` (default): one step on both gradients at the old weights, as both commits have it.
        ``"two-step"``, the paper's from second hand: a plain step of size eta on the meta-gradient,
        then the optimiser's on cross-entropy where that led.
    scale : {"samples", "entries"}
        Of the divergence, see `losses`. Default ``"samples"``; released: ``"entries"``.
    ramp_steps : int
        Steps over which w rises, from 0.0067 of its value. Default 0: it is constant.
    decay, ramp_decay : float
        gamma, the teacher's memory, after the ramp and during it. Defaults 0.999, 0.99, released.
    teacher_share : float
        lambda, in what is agreed with; the rest is the mentor's. Default 1.
    predict_with : {"teacher", "student"}
        Default ``"teacher"``. The released code takes the better by clean validation data.
    trials_at_once : int
        Trial steps that are taken side by side, see `bilevel.trial_gradients`. Default 1, ours: one
        after the other. More is for ``order="first"``, without dropout and compilation.
    seed : int
        Draws the synthetic labels.

    Notes
    -----
    Teacher and trial networks use the batch's statistics in BatchNorm. The running ones move once a
    step, and the teacher's are averages of the student's (released: each trial step moves them, and
    the teacher fills its own). With dropout these networks drop what the student dropped.
    """

    capturable = True

    def __init__(
        self,
        model: nn.Module,
        mentor: nn.Module,
        *,
        trial_lr: float,
        meta_weight: float,
        trials: int = 10,
        replaced: float = 0.5,
        neighbours: int = 10,
        order: bilevel.Order = "first",
        update: Literal["sum", "two-step"] = "sum",
        scale: losses.Scale = "samples",
        ramp_steps: int = 0,
        decay: float = 0.999,
        ramp_decay: float = 0.99,
        teacher_share: float = 1.0,
        predict_with: Literal["teacher", "student"] = "teacher",
        trials_at_once: int = 1,
        seed: int,
    ) -> None:
        super().__init__()
        _checks.check_not_negative("trial_lr", trial_lr)
        _checks.check_not_negative("meta_weight", meta_weight)
        rates = {"replaced": replaced, "decay": decay, "ramp_decay": ramp_decay}
        for name, value in {**rates, "teacher_share": teacher_share}.items():
            _checks.check_rate(name, value)
        _checks.check_count("trials", trials)
        _checks.check_count("neighbours", neighbours)
        _checks.check_count("ramp_steps", ramp_steps, minimum=0)
        _checks.check_choice("order", order, bilevel.ORDERS)
        _checks.check_choice("update", update, ("sum", "two-step"))
        _checks.check_choice("scale", scale, ("samples", "entries"))
        _checks.check_choice("predict_with", predict_with, ("teacher", "student"))
        check_at_once("trials_at_once", trials_at_once, order)
        self.trial_lr, self.meta_weight, self.trials_at_once = trial_lr, meta_weight, trials_at_once
        self.trials, self.replaced, self.neighbours = trials, replaced, neighbours
        self.order, self.update, self.scale = order, update, scale
        self.ramp_steps, self.decay, self.ramp_decay = ramp_steps, decay, ramp_decay
        self.teacher_share, self.predict_with, self.seed = teacher_share, predict_with, seed
        self.smallest_batch = neighbours + 1
        self.mentor = copy_of(mentor).requires_grad_(False).eval()
        self.networks = (self.mentor,)  # the teacher runs in the place of `model`
        self.teacher = WeightAverage(model)  # and the number of steps taken
        self._generator = seeding.generator(seed, "synthetic labels")

    def step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: Batch,
        meta: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Teacher, trial steps, ordinary step; no meta batch is looked at. See `Method.step`."""
        forward = bilevel.forward_pass(model, train.x)
        weight = self._move_teacher(model, forward.x.device)
        log_q, features = self.target(model, forward)
        labels = neighbour_labels(
            features,
            train.y,
            trials=self.trials,
            replaced=self.replaced,
            neighbours=self.neighbours,
            generator=self._generator,
        )  # (M, n)
        gradient, meta_loss = self.meta_gradient(model, forward, labels, log_q)
        theta = bilevel.parameters(model)
        if self.update == "two-step":
            theirs = {id(p) for group in optimizer.param_groups for p in group["params"]}
            with torch.no_grad():
                for name, p in theta.items():
                    if id(p) in theirs:  # what the optimiser leaves out stays where it is
                        p -= weight * gradient[name]  # (7.7)
            with bilevel.same_random_numbers(forward):
                again = bilevel.with_parameters(model, theta)  # so running statistics stay
                loss = losses.cross_entropy(logits_of(again, train.x), train.y)
            descend(optimizer, loss)
        else:
            loss = losses.cross_entropy(forward.logits, train.y)
            backward(optimizer, loss)
            for name, p in theta.items():
                if p.grad is not None:  # what the logits do not depend on has none
                    p.grad += weight * gradient[name]  # (7.6)
            optimizer.step()
        return {
            "loss": loss.detach(),
            "meta_loss": meta_loss,
            "hypergradient": torch.stack([g.norm() for g in gradient.values()]).norm(),
            "meta_weight": weight,
            "labels_changed": (labels != train.y).float().mean(),
        }

    def ordinary_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, train: Batch
    ) -> dict[str, Tensor]:
        """Cross-entropy; the teacher follows all the same. See `Method.ordinary_step`."""
        loss = losses.cross_entropy(logits_of(model, train.x), train.y)
        self._move_teacher(model, train.x.device)
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def target(self, model: nn.Module, forward: bilevel.ForwardPass) -> tuple[Tensor, Tensor]:
        """What the trial networks shall agree with, see `mixed_target`."""
        self.mentor.eval()  # also where `train` was called on the method
        teacher, share = self.teacher.module, self.teacher_share
        return mixed_target(model, forward, teacher, self.mentor, share=share)

    def meta_gradient(
        self, model: nn.Module, forward: bilevel.ForwardPass, labels: Tensor, log_q: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Gradient of the mean divergence after a trial step on each set of labels, (7.5), by
        parameter name, and that divergence, detached.

        Parameters
        ----------
        model, forward
            As for `target`. The graph of `forward` serves all sets.
        labels : Tensor of int64, shape (M, n)
            Synthetic labels.
        log_q : Tensor, shape (n, C)
            From `target`.
        """

        def divergence(network: Any) -> Tensor:  # (7.4): KL(q || p')
            return losses.soft_label_divergence(
                logits_of(network, forward.x), log_q, direction="label-first", scale=self.scale
            )

        sets = labels if self.trial_lr > 0 else labels[:1]
        return bilevel.mean_trial_gradient(  # (7.2), (7.5)
            model,
            forward,
            losses.cross_entropy,
            sets,
            divergence,
            lr=self.trial_lr,
            order=self.order,
            at_once=self.trials_at_once,
        )

    def predictor(self, model: nn.Module) -> nn.Module:
        """The teacher, or the student; before the first step the student, for there is no other."""
        teach = self.predict_with == "teacher" and self.teacher.n_averaged > 0
        return self.teacher.module if teach else model

    def get_extra_state(self) -> Tensor:
        """The state of the generator, for `state_dict`."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Put the generator back."""
        self._generator.set_state(state.cpu())

    def _move_teacher(self, model: nn.Module, device: torch.device) -> Tensor:
        """Copy the student in the first step, average later; returns the weight of this step."""
        weight, share = from_host(self._begin_step, device)
        self.teacher.update(model, share)
        return weight

    def _begin_step(self) -> Tensor:
        """Count a step. Returns the weight of its meta-gradient and the teacher's share, (2,)."""
        u = min(self.teacher.n_averaged / self.ramp_steps, 1.0) if self.ramp_steps else 1.0
        share = self.teacher.count(self.decay if u == 1 else self.ramp_decay)
        weight = self.meta_weight * math.exp(-5 * (1 - u) ** 2)  # (7.8)
        return torch.tensor([weight, share], dtype=torch.float64, device="cpu")
