"""The options of a lookahead: the way to its derivative, and whether the network acts first."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from nlmeta._checks import check_choice, check_positive
from nlmeta.bilevel.passes import ForwardPass, repeated

__all__ = ["MODES", "SEQUENCES", "Lookahead", "Mode", "StepSequence", "recomputed"]

Mode = Literal["jvp", "fd", "exact"]
MODES = ("jvp", "fd", "exact")
StepSequence = Literal["look-first", "act-first"]
SEQUENCES = ("look-first", "act-first")
HALF = ("bfloat16", None)


@dataclass(frozen=True)
class Lookahead:
    """Options for computing a hypergradient.

    Every argument called `mode` takes one of these, or the name of a mode for the defaults.

    Parameters
    ----------
    mode : {"jvp", "fd", "exact"}
        One of the three ways in the table of `nlmeta.bilevel`. Default ``"jvp"``.
    recompute : bool
        If True, the graph of the forward pass is freed after the virtual step, and the pass is run
        again for the ordinary step (`recomputed`), as in activation checkpointing. This costs one
        more forward pass and saves the memory of about one graph. The numbers stay the same. It
        cannot be combined with ``"exact"`` or with `only`. Default False.
    only : tuple of str, optional
        Beginnings of the names of the parameters that take part in the virtual step; the others
        are held fixed. ``("classifier",)`` is the last layer of the networks in `nlmeta.models`: it
        costs little and is another, weaker signal (chapter 13). Default: all parameters.
    fd_step : float
        Length of the step of ``mode="fd"``, explained in `tangent`. Default 1e-2.
    one_sided : bool
        If True, ``mode="fd"`` takes the difference to the logits of the forward pass. This saves
        one pass, and the error is of first instead of second order. On a GPU the forward pass must
        then be as exact as the other pass: switch TensorFloat-32 off by
        ``torch.backends.cudnn.conv.fp32_precision = "ieee"``, and likewise in ``cudnn.rnn`` and
        ``cuda.matmul``. Default False.
    sequence : {"look-first", "act-first"}
        The sequence of the steps. ``"look-first"`` (default) is that of the papers: a virtual step,
        the step of the meta-parameters, then the ordinary step with the moved ones. With
        ``"act-first"`` the ordinary step is the lookahead (`act`): the network steps with the
        meta-parameters as they are, and these move afterwards, for the next step. This is cheaper
        by the virtual step, and one graph needs no place. The price is the delay: of one step for
        what all samples share, of an epoch for what each sample has of its own. It cannot be
        combined with ``"exact"``, `recompute` or `only`, which are ways to take a virtual step.
    dtype : {"bfloat16"}, optional
        The type of autocast in the outer gradient (4.2); the ordinary step keeps its own. Networks
        in float64 are not cast. At the first weights of a deep network the direction suffers, which
        `nlmeta.experiments.cost` measures. Default: no autocast beside that of the caller.
    tangent_dtype : {"bfloat16"}, optional
        The same for the tangent (4.3). It needs ``mode="jvp"``, since a difference of two
        half-precision passes is mostly rounding error.
    """

    mode: Mode = "jvp"
    recompute: bool = False
    only: tuple[str, ...] | None = None
    fd_step: float = 1e-2
    one_sided: bool = False
    sequence: StepSequence = "look-first"
    dtype: Literal["bfloat16"] | None = None
    tangent_dtype: Literal["bfloat16"] | None = None

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("sequence", self.sequence, SEQUENCES)
        check_choice("dtype", self.dtype, HALF)
        check_choice("tangent_dtype", self.tangent_dtype, HALF)
        check_positive("fd_step", self.fd_step)
        if self.one_sided and self.mode != "fd":
            raise ValueError(
                f"`one_sided` is True and `mode` is {self.mode!r}; only mode='fd' can be one-sided"
            )
        if isinstance(self.only, str):
            raise ValueError(f"`only` is {self.only!r}; it must be a tuple, ({self.only!r},)")
        if self.recompute and (self.mode == "exact" or self.only is not None):
            raise ValueError(
                "`recompute` is True; the virtual step must be able to free the whole graph, so "
                "use neither mode='exact' nor `only`"
            )
        if self.acts_first and (self.mode == "exact" or self.recompute or self.only is not None):
            raise ValueError(
                "`sequence` is 'act-first'; the ordinary step is the lookahead, it moves all "
                "parameters and frees its graph, so use neither mode='exact' nor `recompute` nor "
                "`only`"
            )
        if self.tangent_dtype is not None and self.mode != "jvp":
            raise ValueError(
                f"`tangent_dtype` is {self.tangent_dtype!r} and `mode` is {self.mode!r}; only the "
                "tangent of mode='jvp' can be taken in half precision"
            )

    @property
    def acts_first(self) -> bool:
        """Whether the ordinary step comes first."""
        return self.sequence == "act-first"

    @classmethod
    def of(cls, mode: "Mode | Lookahead") -> "Lookahead":
        """The given lookahead; for the name of a mode, that mode with the default options."""
        return mode if isinstance(mode, Lookahead) else cls(mode)


def recomputed(model: nn.Module, forward: ForwardPass, mode: Mode | Lookahead) -> ForwardPass:
    """The forward pass for the ordinary step; it is run again if the lookahead freed its graph.

    The new pass uses the same random numbers, and running statistics do not move a second time.

    Parameters
    ----------
    model : nn.Module
        The network, at the parameters of the forward pass.
    forward : ForwardPass
        A pass from `forward_pass`.
    mode : {"jvp", "fd", "exact"} or Lookahead
        The mode that `hypergradient` was called with.

    Returns
    -------
    ForwardPass
        A pass whose logits have a graph.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import bilevel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> forward = bilevel.forward_pass(model, torch.tensor([[2.0]]))
    >>> _ = bilevel.virtual_step(model, forward.logits.sum(), lr=0.1, free_graph=True)
    >>> again = bilevel.recomputed(model, forward, bilevel.Lookahead(recompute=True))
    >>> torch.autograd.grad(again.logits.sum(), model.weight)
    (tensor([[2.]]),)
    """
    if not Lookahead.of(mode).recompute:
        return forward
    return repeated(model, forward)
