"""Checks of `fit` on its options and on the data, before anything is moved or trained."""

from collections.abc import Mapping
from typing import Any

from nlmeta import distributed
from nlmeta._checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_rate,
    check_seed,
)
from nlmeta.data import Images, Split
from nlmeta.methods import Method

__all__ = ["check_options", "check_split"]

SCHEDULES = ("cosine", "constant")


def check_options(options: Mapping[str, Any]) -> None:
    """Require options of `fit` in their ranges; ``"precision"`` is not checked."""
    epochs, warmup_epochs = options["epochs"], options["warmup_epochs"]
    check_count("epochs", epochs)
    check_seed("seed", options["seed"])
    check_count("batch_size", options["batch_size"])
    check_positive("lr", options["lr"])
    check_rate("momentum", options["momentum"])
    check_not_negative("weight_decay", options["weight_decay"])
    warmup = options["lr_warmup_epochs"]
    check_not_negative("lr_warmup_epochs", warmup)
    if warmup > epochs:
        raise ValueError(f"`lr_warmup_epochs` is {warmup}; it must lie in 0 to {epochs}")
    schedule, backend = options["schedule"], options["compile"]
    if isinstance(schedule, str):
        check_choice("schedule", schedule, SCHEDULES)
    else:
        for drop in schedule:
            check_count("schedule", drop)
    if not isinstance(backend, bool | str):
        raise ValueError(f"`compile` is {backend!r}; it must be True, False or a backend's name")
    check_count("warmup_epochs", warmup_epochs, minimum=0)
    if warmup_epochs > epochs:
        raise ValueError(f"`warmup_epochs` is {warmup_epochs}; it must lie in 0 to {epochs}")
    distributed.check_divisible("batch_size", options["batch_size"])
    if options["meta_batch_size"] is not None:
        check_count("meta_batch_size", options["meta_batch_size"])
        distributed.check_divisible("meta_batch_size", options["meta_batch_size"])


def check_split(split: Split, method: Method, meta_batch_size: int | None, precision: str) -> None:
    """Require data that the method can be trained on, and a precision for its steps."""
    if len(split.train) == 0:
        raise ValueError("`split` has an empty training part; there is nothing to train on")
    if method.needs_meta and len(split.meta) == 0:
        raise ValueError(
            f"`split` has an empty meta set; {type(method).__name__} needs meta samples, so load "
            "the data with `meta_size`"
        )
    processes = distributed.world_size()
    fewest = min(len(split.train), len(split.meta)) if method.needs_meta else len(split.train)
    if fewest < processes:
        raise ValueError(
            f"`split` has a part of {fewest} samples; each of {processes} processes needs at least "
            "one"
        )
    # A tangent has no scale of its own. On a CPU the hypergradient of a ResNet-18 of width 8 with
    # 512 digits in a batch was NaN in float16, and had a cosine of 0.93 to float64's in bfloat16.
    if precision == "float16" and not method.scalable:
        raise ValueError(
            "`precision` is 'float16', in which losses must be scaled, and "
            f"{type(method).__name__} is not made for that, see `Method.scalable`; use 'bfloat16' "
            "on a GPU that computes in it, or 'float32'"
        )
    on_disk = isinstance(split.meta.x, Images) and split.meta.x.on_disk
    if method.needs_meta and on_disk and meta_batch_size is None:
        raise ValueError(
            f"`meta_batch_size` is None, so all {len(split.meta)} meta images would be decoded "
            "anew in every step; pass a number"
        )
    if method.num_samples not in (None, len(split.train)):
        raise ValueError(
            f"`method` is made for {method.num_samples} training samples, and the training part "
            f"has {len(split.train)}; both must be equal"
        )
    if method.needs_meta_labels:
        missing = sorted(set(range(split.num_classes)) - set(split.meta.y.tolist()))
        if missing:
            raise ValueError(
                f"`split` has a meta set without class {missing[0]}; {type(method).__name__} "
                "learns from the meta labels and needs samples of every class"
            )
