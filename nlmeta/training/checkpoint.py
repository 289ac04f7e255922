"""Checkpoints: the state of a run in a file, written whole, and read only into the same run."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlmeta import distributed, metrics
from nlmeta._files import write_whole
from nlmeta._interface import rows_of
from nlmeta.seeding import seeded
from nlmeta.training.run import Run
from nlmeta.training.settings import differences

__all__ = ["load", "save"]

CHECKPOINT_FORMAT = 7
ANSWERS = 8  # samples whose logits stand in a checkpoint
CHANGED = 0.01  # of the largest such logit: far above what another machine rounds


def save(run: Run, path: Path) -> None:
    """Write the state of a run, whole or not at all. Every process must call it; one writes.

    Raises
    ------
    OSError
        The file cannot be written. The message says which epoch the checkpoint still holds.
    """
    state = _state(run)
    if distributed.rank() == 0:
        try:
            write_whole(path, partial(_write, state))
        except OSError as error:
            raise _still_holding(error, path, run) from error
    distributed.gather_objects(None)  # nobody goes on before the file is there
    run.saved = len(run.rows)


def load(run: Run, path: Path) -> None:
    """Set a new run to the state of the run in the checkpoint.

    Raises
    ------
    ValueError
        The file is not a checkpoint of this run.
    """
    state = _read(path)
    for name, there, here in differences(state["settings"], run.settings):
        raise ValueError(
            f"`checkpoint` {str(path)!r} belongs to another run: there `{name}` is {there!r}, "
            f"here {here!r}. Continue it with the arguments of that run, or name another file"
        )
    _load_modules(run, state, path)
    if run.scaler is not None:
        run.scaler.load_state_dict(state["scaler"])
    keeper: Any = run.on_epoch
    if hasattr(keeper, "load_state_dict"):
        if "on_epoch" not in state:
            raise ValueError(
                f"`checkpoint` {str(path)!r} holds no state of `on_epoch`; it was written by a run "
                "without one, so leave `on_epoch` out"
            )
        keeper.load_state_dict(state["on_epoch"])
    _load_random_state(run, state["random_state"])
    run.rows = state["rows"]
    run.saved = len(run.rows)


def _state(run: Run) -> dict[str, Any]:
    random_state = {name: g.get_state() for name, g in run.generators.items()}
    random_state["cpu"] = distributed.gather(torch.get_rng_state()[None])  # (W, ...)
    if run.device.type == "cuda":
        own = torch.cuda.get_rng_state(run.device)
        random_state["cuda"] = distributed.gather(own[None])
    state = {
        "format": CHECKPOINT_FORMAT,
        "settings": run.settings,
        "rows": run.rows,
        "model": run.model.state_dict(),
        "method": run.method.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "random_state": random_state,
        "answers": _answers(run),
    }
    if run.scaler is not None:
        state["scaler"] = run.scaler.state_dict()
    keeper: Any = run.on_epoch
    if hasattr(keeper, "state_dict"):
        state["on_epoch"] = keeper.state_dict()
    return state


def _write(state: Mapping[str, Any], path: Path) -> None:
    """Write a state through a Python file, whose errors say what is wrong with the disk.

    Errors of PyTorch only name positions in the file. Such an error also hides the one behind it,
    if the end of the file does not fit either.
    """
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError | KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _still_holding(error: OSError, path: Path, run: Run) -> OSError:
    """The same error with a message about the checkpoint."""
    before = "there was none before"
    if run.saved:
        before = f"it still holds epoch {run.saved}, and resume=True continues from there"
    text = (
        f"{error.strerror or error}: `checkpoint` {str(path)!r} could not be written after epoch "
        f"{len(run.rows)}; {before}"
    )
    return OSError(text) if error.errno is None else OSError(error.errno, text)


def _read(path: Path) -> dict[str, Any]:
    try:
        # Loading moves what belongs on the device, and leaves Adam's count of steps in Python,
        # where it is not waited for.
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = isinstance(state, dict) and state.get("format") == CHECKPOINT_FORMAT
    except Exception as error:  # torch raises many kinds for a file that is not its own
        reason = str(error).partition("\n")[0]  # further lines advise to trust the file
        raise ValueError(
            f"`checkpoint` {str(path)!r} cannot be read as a checkpoint; it is truncated, or was "
            f"written by another program. Move it away to start anew. PyTorch says: {reason}"
        ) from error
    if not known:
        raise ValueError(
            f"`checkpoint` {str(path)!r} is not a checkpoint of this version of `nlmeta.fit`; "
            "name another file"
        )
    return state


def _load_modules(run: Run, state: Mapping[str, Any], path: Path) -> None:
    """Load network, method and optimiser, and require that the network computes what it did."""
    try:
        run.model.load_state_dict(state["model"])
        run.method.load_state_dict(state["method"])
        run.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"`checkpoint` {str(path)!r} belongs to another network: {error}"
        ) from error
    before, now = state["answers"].double(), _answers(run).double()
    if (now - before).abs().max() > CHANGED * before.abs().max():
        raise ValueError(
            f"`checkpoint` {str(path)!r} belongs to another network: with the stored weights, the "
            "network here returns other logits for the same samples. Its computation has "
            "changed, for example an activation function; or it draws random numbers that "
            "are not from PyTorch"
        )


def _answers(run: Run) -> Tensor:
    """Logits of the first training samples: what a network with these weights computes."""
    with seeded(0, "answers", run.device):  # nothing is drawn from the run's own stream
        first = rows_of(run.split.train.x, slice(ANSWERS))
        return metrics.predict(run.model, first).to("cpu", torch.float64)


def _load_random_state(run: Run, saved: Mapping[str, Tensor]) -> None:
    states = {name: state.cpu() for name, state in saved.items()}
    for name, g in run.generators.items():
        g.set_state(states[name])
    own = distributed.rank()  # cloned, since PyTorch crashes on a state that is a view
    torch.set_rng_state(states["cpu"][own].clone())
    if run.device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"][own].clone(), run.device)
