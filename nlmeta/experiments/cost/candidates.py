"""Every kind of training step that is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from nlmeta import methods
from nlmeta.bilevel import Lookahead
from nlmeta.data.batches import Batch
from nlmeta.experiments.cost import literal
from nlmeta.methods import CLIDMU, MLC, MLNT, MSLG, Method

__all__ = ["CANDIDATES", "LOOKAHEADS", "Candidate", "num_classes"]

LOOKAHEADS = {
    "exact": Lookahead("exact"),
    "jvp, fast": Lookahead("jvp"),
    "jvp, lean": Lookahead("jvp", recompute=True),
    "fd, fast": Lookahead("fd"),
    "fd, lean": Lookahead("fd", recompute=True),
    "fd one-sided, fast": Lookahead("fd", one_sided=True),
    "fd one-sided, lean": Lookahead("fd", one_sided=True, recompute=True),
    "jvp, last layer": Lookahead("jvp", only=("classifier",)),
    "jvp, bfloat16": Lookahead("jvp", dtype="bfloat16", tangent_dtype="bfloat16"),
    "act first, jvp": Lookahead("jvp", sequence="act-first"),
    "act first, fd one-sided": Lookahead("fd", one_sided=True, sequence="act-first"),
    "act first, fd one-sided, outer gradient in bfloat16": Lookahead(
        "fd", one_sided=True, sequence="act-first", dtype="bfloat16"
    ),
    "act first, jvp, bfloat16": Lookahead(
        "jvp", sequence="act-first", dtype="bfloat16", tangent_dtype="bfloat16"
    ),
}


@dataclass(frozen=True)
class Candidate:
    """One way to take a training step.

    Attributes
    ----------
    method, mode : str
        Its row in the table.
    build : callable
        ``build(model, train)`` returns the method for a network and the batch it is timed on.
    steps : int
        Steps that are timed together; their mean counts. Default 1.
    device : str, optional
        The only kind of device that it is for. Default: any.
    watched : bool
        Whether its operations and bytes can be followed. Default True. With a tangent in bfloat16
        they cannot: PyTorch 2.15, while operations are followed, leaves the tangent behind a group
        norm in float32, and the next convolution refuses it.
    """

    method: str
    mode: str
    build: Callable[[nn.Module, Batch], Method]
    steps: int = 1
    device: str | None = None
    watched: bool = True


def _mlc(
    model: nn.Module, train: Batch, *, kind: type[MLC] = MLC, mode: Lookahead = LOOKAHEADS["exact"]
) -> Method:
    virtual_lr = None if mode.acts_first else 0.1
    return kind(num_classes(model), virtual_lr=virtual_lr, transition_lr=1.0, mode=mode)


def _mslg(
    model: nn.Module,
    train: Batch,
    *,
    kind: type[MSLG] = MSLG,
    mode: Lookahead = LOOKAHEADS["exact"],
    **options: Any,
) -> Method:
    options |= {"virtual_lr": None if mode.acts_first else 0.1, "label_lr": 100.0, "mode": mode}
    return kind(train.y.cpu(), num_classes(model), **options)


def _clid_mu(model: nn.Module, train: Batch, *, kind: Any = CLIDMU, **options: Any) -> Method:
    return kind(methods.WeightNet(seed=0), head_lr=1e-3, **options)


def _mlnt(model: nn.Module, train: Batch, *, kind: type[MLNT] = MLNT, **options: Any) -> Method:
    return kind(model, model, trial_lr=0.1, meta_weight=1.0, seed=0, **options)


def _every_kth(model: nn.Module, train: Batch, *, build: Callable[..., Method], k: int) -> Method:
    return methods.EveryKth(build(model, train), k)


def _captured(model: nn.Module, train: Batch, *, build: Callable[..., Method]) -> Method:
    return methods.Captured(build(model, train))


def num_classes(model: nn.Module) -> int:
    """The outputs of the network's last layer, named ``classifier``."""
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return classifier.out_features


def _candidates() -> list[Candidate]:
    found = [Candidate("cross-entropy", "plain", lambda model, train: methods.CrossEntropy())]
    lookaheads: list[tuple[str, Callable[..., Method], type]] = [
        ("MLC", _mlc, literal.LiteralMLC),
        ("MSLG", _mslg, literal.LiteralMSLG),
        ("CLID-MU", _clid_mu, literal.LiteralCLIDMU),
    ]
    for name, build, as_released in lookaheads:
        found.append(Candidate(name, "literal", partial(build, kind=as_released)))
        for mode, how in LOOKAHEADS.items():
            watched = how.tangent_dtype is None
            found.append(Candidate(name, mode, partial(build, mode=how), watched=watched))
        tenth = partial(_every_kth, build=partial(build, mode=LOOKAHEADS["jvp, fast"]), k=10)
        found.append(Candidate(name, "jvp, every 10th step", tenth, steps=10))
    emlc = partial(_mslg, kind=literal.LiteralEMLC, mode=LOOKAHEADS["act first, jvp"])
    emlc = partial(emlc, direction="label-first")
    found.append(Candidate("MSLG", "literal, EMLC's sequence", emlc))
    for order in ("first", "second"):
        literal_mlnt = partial(_mlnt, kind=literal.LiteralMLNT, order=order)
        found.append(Candidate("MLNT", f"literal, {order} order, M=10", literal_mlnt))
        for trials in (10, 5, 1) if order == "first" else (10, 1):
            build = partial(_mlnt, order=order, trials=trials)
            found.append(Candidate("MLNT", f"{order} order, M={trials}", build))
    batched = partial(_mlnt, trials_at_once=10)
    found.append(Candidate("MLNT", "first order, M=10, batched", batched))
    half = partial(_mlnt, trial_dtype="bfloat16")
    found.append(Candidate("MLNT", "first order, M=10, trials in bfloat16", half))
    modes = {"plain", "jvp, fast", "fd, fast", "first order, M=10", "first order, M=10, batched"}
    for one in [one for one in found if one.mode in modes]:
        build = partial(_captured, build=one.build)
        found.append(Candidate(one.method, f"{one.mode}, captured", build, device="cuda"))
    return found


CANDIDATES: Sequence[Candidate] = tuple(_candidates())
