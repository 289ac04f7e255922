"""Entries of the two label heads and their controls, for tables of several datasets.

MetaLabelNet reads features that nothing trains any more: those of the network after the warm-up,
or the inputs themselves where they are features of a frozen network already. The step sizes of its
virtual step and the rest of its form are the released ones, as are those of Meta Label Correction
but for the widths of its network. In a control the head stays as it was drawn.
"""

from collections.abc import Mapping
from typing import Any, Literal

from nlmeta import presets
from nlmeta.experiments.task import Entry, Setting

__all__ = ["CORRECTION", "label_heads"]

CORRECTION: Mapping[str, Any] = {
    "head": "corrected",
    "head_options": {"embedding": 16, "hidden": 64},
}


def label_heads(
    *,
    encoder: Literal["before", "inputs"],
    epochs: int,
    warmup_epochs: int,
    linear: tuple[Setting, ...],
    corrected: tuple[Setting, ...],
    at_rest: tuple[Setting, ...],
    **training: Any,
) -> tuple[Entry, ...]:
    """MetaLabelNet, Meta Label Correction, and both with a head that stays.

    Parameters
    ----------
    encoder : {"before", "inputs"}
        The network whose features the head of MetaLabelNet reads, see `builders.ENCODERS`.
    epochs : int
        Epochs of a run, with the warm-up.
    warmup_epochs : int
        Epochs of cross-entropy before the method begins.
    linear, corrected, at_rest : tuple of mapping
        Settings to choose from: of MetaLabelNet, of Meta Label Correction, and of the controls.
    **training
        Further arguments of `nlmeta.fit`.

    Returns
    -------
    tuple of Entry
    """
    linear_options = {**presets.META_LABEL_NET_CIFAR10.method, "head": "linear", "encoder": encoder}
    correction = {**presets.META_LABEL_CORRECTION_CIFAR10.method, **CORRECTION}
    within: dict[str, Any] = {"training": {**training, "warmup_epochs": warmup_epochs}}
    before: dict[str, Any] = {
        "start": {"epochs": warmup_epochs, "schedule": "constant"},
        "training": {**training, "epochs": epochs - warmup_epochs},
    }
    common: dict[str, Any] = {"meta": "clean", "effort": 4.0}
    rows = (
        ("MetaLabelNet", linear_options, linear, before if encoder == "before" else within),
        ("Meta Label Correction", correction, corrected, within),
    )
    return tuple(
        entry
        for name, options, grid, stages in rows
        for entry in (
            Entry(name, "label_head", options, grid=grid, faithful="code", **stages, **common),
            Entry(
                f"{name}, head stays",
                "label_head",
                {**options, "head_lr": 0.0},
                grid=at_rest,
                **stages,
                **common,
            ),
        )
    )
