"""The command line: `python -m nlmeta data NAME` looks at a dataset before anything is trained."""

import argparse
import sys
from collections.abc import Sequence

import torch

from nlmeta.data import DATASETS, ImageFiles, Part, Source
from nlmeta.data.digits import read_digits

__all__ = ["main", "summary"]

FILES_LOOKED_AT = 1000  # of each part, unless all are asked for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 if all is well, 1 with a message if not.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the command line.

    Returns
    -------
    int
    """
    parser = argparse.ArgumentParser(prog="python -m nlmeta", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="say what a dataset holds, and check its files")
    data.add_argument("name", choices=DATASETS)
    data.add_argument("--folder", help="where the datasets lie (default: $NLMETA_DATA)")
    data.add_argument("--download", action="store_true", help="get what is not there, if allowed")
    data.add_argument(
        "--all-images",
        action="store_true",
        help=f"decode every image file (default: about {FILES_LOOKED_AT} of each part)",
    )
    given = parser.parse_args(arguments)
    try:
        source = _read(given.name, given.folder, given.download)
        print(summary(source))
        for name, part in source.parts.items():
            if isinstance(part.x, ImageFiles):
                every = 1 if given.all_images else max(1, len(part) // FILES_LOOKED_AT)
                part.x.check(every=every)
                print(f"{len(part.x.names[::every]):,} images of the {name} part decode")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("nothing is missing, and nothing that was looked at is damaged")
    return 0


def summary(source: Source) -> str:
    """What a dataset holds: parts, shapes, class balance, how far annotations differ, whom to cite.

    Parameters
    ----------
    source : Source
        From `nlmeta.data.sources.read`.

    Returns
    -------
    str
        Several lines.
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
        lines += [_annotation(key, values, part) for key, values in part.annotations.items()]
    lines += [f"  note: {note}" for note in source.notes]
    lines.append(f"  cite: {source.attribution}")
    return "\n".join(lines)


def _inputs(part: Part) -> str:
    shape = " x ".join(map(str, part.x.shape[1:]))
    if isinstance(part.x, ImageFiles):
        return f"image files, decoded to {shape}"
    kind = {torch.uint8: "images", torch.int64: "words"}.get(part.x.dtype, "numbers")
    return f"{kind} of {shape}"


def _annotation(name: str, values: torch.Tensor, part: Part) -> str:
    known = values >= 0
    if name in ("coarse", "verified"):
        text = f"{int(known.sum()):,} known, {len(values[known].unique())} different ones"
    else:
        label = part.annotations["coarse"] if name == "noisy_coarse" else part.y
        differ = (values != label)[known].double().mean().item()
        text = f"{int(known.sum()):,} known, {differ:.2%} differ from the label"
    return f"    annotation {name!r}: {text}"


def _read(name: str, folder: str | None, download: bool) -> Source:
    if name == "digits":
        return read_digits()
    from nlmeta.data.sources import read  # torchvision, which the digits do without

    return read(name, folder=folder, download=download)


if __name__ == "__main__":
    sys.exit(main())
