"""The content of a dataset in a few lines of text."""

import torch
from torch import Tensor

from nlmeta._interface import parts_of
from nlmeta.data.images import ImageFiles
from nlmeta.data.source import COARSE, Part, Source

__all__ = ["summary"]


def summary(source: Source) -> str:
    """The content of a dataset: parts, shapes, class balance, annotations, and work to cite.

    Parameters
    ----------
    source : Source
        A dataset from `nlmeta.data.sources.read`.

    Returns
    -------
    str
        A text of several lines.
    """
    truth = "noisy labels, the truth is not known" if source.noisy else "labels taken for the truth"
    names = ", ".join(source.class_names[:10]) + (", ..." if source.num_classes > 10 else "")
    lines = [f"{source.name}: {source.num_classes} classes ({names})"]
    for name, part in source.parts.items():
        per_class = part.y.bincount(minlength=source.num_classes)
        said = f"; {truth}" if name == "train" else ""
        lines.append(
            f"  {name:<12}{len(part):>9,} samples, {_inputs(part)}; "
            f"{per_class.min():,} to {per_class.max():,} of a class{said}"
        )
        lines += [_annotation(source, part, annotation) for annotation in part.annotations]
    lines += [f"  note: {note}" for note in source.notes]
    lines.append(f"  cite: {source.attribution}")
    return "\n".join(lines)


def _inputs(part: Part) -> str:
    if isinstance(part.x, ImageFiles):
        return f"image files, decoded to {_shape(part.x)}"
    if not isinstance(part.x, Tensor):
        each = [f"{name} of {_shape(x)}" for name, x in parts_of(part.x).items()]
        return f"inputs {', '.join(each)}"
    kind = {torch.uint8: "images", torch.int64: "words"}.get(part.x.dtype, "numbers")
    return f"{kind} of {_shape(part.x)}"


def _shape(x: Tensor | ImageFiles) -> str:
    return " x ".join(map(str, x.shape[1:])) or "one number"


def _annotation(source: Source, part: Part, name: str) -> str:
    values = part.annotations[name]
    known = values >= 0
    label = _compared_with(source, part, name)
    if label is None:
        what = f"{len(values[known].unique())} different ones"
    else:
        what = f"{(values != label)[known].double().mean().item():.2%} differ from the label"
    return f"    annotation {name!r}: {int(known.sum()):,} known, {what}"


def _compared_with(source: Source, part: Part, name: str) -> Tensor | None:
    """The labels of the part that have the same meaning as an annotation."""
    space = source.label_space_of(name)
    if space is None or name == COARSE:
        return None
    return part.annotations[COARSE] if space == "superclasses" else part.y
