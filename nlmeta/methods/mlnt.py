"""MLNT: weights at which a step on other wrong labels does little harm (chapter 10).

J. Li, Y. Wong, Q. Zhao, M. Kankanhalli, "Learning to Learn from Noisy Labeled Data", CVPR 2019.

Steps on synthetic wrong labels are tried and undone. The network moves so that after such a step it
still agrees with its slow average, the teacher. No clean label is used. A mentor and filters of
samples are made by `nlmeta.procedures.mlnt_iterations`.

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
        The network; the teacher has the same shape and copies its values in the first step.
    mentor : nn.Module
        A network whose features (`models.with_features`) decide who is a neighbour. It is part of
        the target if `teacher_share` is below 1. A copy is kept, frozen and in evaluation mode.
        Released: trained by cross-entropy on the same labels.
    trial_lr : float
        alpha, size of a trial step. Released: 0.02. With 0 this is the mean teacher (Tarvainen &
        Valpola, NeurIPS 2017) with a divergence as its cost, and only one set of labels is tried.
    meta_weight : float
        w, or eta for ``update="two-step"``. Released: 1. With 0: cross-entropy, bit for bit.
    trials : int
        M, the number of sets of synthetic labels in a step. Default 10, released.
    replaced : float
        rho, share of the batch whose labels are replaced. Default 0.5, released.
    neighbours : int
        k: a replaced label is copied from one of the sample's k nearest neighbours, drawn at
        random (`neighbour_labels`). Default 10, released.
    order : {"first", "second"}
        Order of the meta-gradient (`bilevel.trial_gradient`). Default ``"first"``, the authors'
        first commit. The last has ``"second"``, by an outside change meant to keep the first order.
    update : {"sum", "two-step"}
        ``"sum"`` (default, both commits): one step on both gradients at the old weights.
        ``"two-step"`` (reported of the paper by others): first a gradient step of size eta on the
        meta loss, then an optimiser step on the cross-entropy at the new weights.
    scale : {"samples", "entries"}
        Scale of the divergence (`losses`). Default ``"samples"``; released: ``"entries"``.
    ramp_steps : int
        Number of steps over which w rises from 0.0067 of its value. Default 0: it is constant.
    decay, ramp_decay : float
        gamma, the teacher's decay after and during the ramp. Defaults 0.999, 0.99, released.
    teacher_share : float
        lambda, the teacher's share of the target; the rest is the mentor's. Default 1.
    predict_with : {"teacher", "student"}
        The network that predicts. Default ``"teacher"``; released: the better on clean validation.
    trials_at_once : int
        Trial steps taken side by side (`bilevel.trial_gradients`). Default 1, ours. More than one
        needs ``order="first"``, no dropout and no compilation.
    trial_dtype : {"bfloat16"}, optional
        Type of autocast in the trial steps (`bilevel.mean_trial_gradient`). Default: none, ours.
    seed : int
        Seed of the synthetic labels.

    Notes
    -----
    In BatchNorm, teacher and trial networks use the batch's statistics. The running ones move once
    a step; the teacher's are averages of the student's (released: each trial step moves them, and
    the teacher has its own). Dropout leaves out the same units in all these networks.
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
        trial_dtype: Literal["bfloat16"] | None = None,
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
        _checks.check_choice("trial_dtype", trial_dtype, ("bfloat16", None))
        self.trial_lr, self.meta_weight, self.trials_at_once = trial_lr, meta_weight, trials_at_once
        self.trials, self.replaced, self.neighbours = trials, replaced, neighbours
        self.order, self.update, self.scale, self.trial_dtype = order, update, scale, trial_dtype
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
        """Teacher, trial steps, ordinary step; the meta batch is not used. See `Method.step`."""
        forward = bilevel.forward_pass(model, train.x)
        weight = self._move_teacher(model, forward.logits.device)
        log_q, features = self.target(model, forward)
        own: Any = {"trials": self.trials, "replaced": self.replaced, "generator": self._generator}
        labels = neighbour_labels(features, train.y, neighbours=self.neighbours, **own)  # (M, n)
        gradient, meta_loss = self.meta_gradient(model, forward, labels, log_q)
        theta = bilevel.parameters(model)
        if self.update == "two-step":
            theirs = {id(p) for group in optimizer.param_groups for p in group["params"]}
            with torch.no_grad():
                for name, p in theta.items():
                    if id(p) in theirs:  # what the optimiser leaves out stays where it is
                        p -= weight * gradient[name]  # (10.7)
            with bilevel.same_random_numbers(forward):
                again = bilevel.with_parameters(model, theta)  # so running statistics stay
                loss = losses.cross_entropy(logits_of(again, train.x), train.y)
            descend(optimizer, loss)
        else:
            loss = losses.cross_entropy(forward.logits, train.y)
            backward(optimizer, loss)
            for name, p in theta.items():
                if p.grad is not None:  # what the logits do not depend on has none
                    p.grad += weight * gradient[name]  # (10.6)
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
        """A step on cross-entropy; the teacher still follows. See `Method.ordinary_step`."""
        loss = losses.cross_entropy(logits_of(model, train.x), train.y)
        self._move_teacher(model, train.y.device)
        descend(optimizer, loss)
        return {"loss": loss.detach()}

    def target(self, model: nn.Module, forward: bilevel.ForwardPass) -> tuple[Tensor, Tensor]:
        """The prediction that the trial networks should agree with, see `mixed_target`."""
        self.mentor.eval()  # also where `train` was called on the method
        teacher, share = self.teacher.module, self.teacher_share
        return mixed_target(model, forward, teacher, self.mentor, share=share)

    def meta_gradient(
        self, model: nn.Module, forward: bilevel.ForwardPass, labels: Tensor, log_q: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Mean divergence after a trial step on each set: its gradient by name, (10.5), and itself.

        Parameters
        ----------
        model, forward
            The network and its pass, as in `target`. The graph of `forward` serves all sets.
        labels : Tensor of int64, shape (M, n)
            Synthetic labels.
        log_q : Tensor, shape (n, C)
            Log-probabilities from `target`.
        """

        def divergence(network: Any) -> Tensor:  # (10.4): KL(q || p')
            return losses.soft_label_divergence(
                logits_of(network, forward.x), log_q, direction="label-first", scale=self.scale
            )

        sets = labels if self.trial_lr > 0 else labels[:1]
        return bilevel.mean_trial_gradient(  # (10.2), (10.5)
            model,
            forward,
            losses.cross_entropy,
            sets,
            divergence,
            lr=self.trial_lr,
            order=self.order,
            at_once=self.trials_at_once,
            dtype=self.trial_dtype,
        )

    def predictor(self, model: nn.Module) -> nn.Module:
        """The teacher or the student; before the first step always the student."""
        teach = self.predict_with == "teacher" and self.teacher.n_averaged > 0
        return self.teacher.module if teach else model

    def get_extra_state(self) -> Tensor:
        """The state of the generator, for `state_dict`."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the generator."""
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
        weight = self.meta_weight * math.exp(-5 * (1 - u) ** 2)  # (10.8)
        return torch.tensor([weight, share], dtype=torch.float64, device="cpu")
