"""The command line of the datasets: `data` and `features`."""

import argparse
from typing import Any

from nlmeta.data.fixed_features import BACKBONES, backbone, features_of
from nlmeta.data.source import data_folder
from nlmeta.data.sources import DATASETS, read
from nlmeta.data.summary import summary

__all__ = ["add_data", "add_features"]


def add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `data NAME` and its options."""
    data = commands.add_parser("data", help="print what a dataset holds, and check its files")
    data.add_argument("name", choices=DATASETS)
    data.add_argument("--data", help="folder of the datasets (default: $NLMETA_DATA)")
    data.add_argument("--download", action="store_true", help="download missing files, if allowed")
    data.add_argument(
        "--all-images",
        action="store_true",
        help="decode every image file (default: about a thousand of each part)",
    )
    data.set_defaults(run=_run_data)


def add_features(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `features NAME` and its options."""
    made = commands.add_parser("features", help="turn a dataset's images into features, once")
    made.add_argument("name", choices=DATASETS)
    made.add_argument("--backbone", choices=BACKBONES, default="efficientnet-lite0")
    made.add_argument("--data", help="folder of the datasets (default: $NLMETA_DATA)")
    made.add_argument("--folder", help="folder of the features (default: that of the datasets)")
    made.add_argument("--device", default="cpu", help="default: %(default)s")
    made.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    made.set_defaults(run=_run_features)


def _run_features(given: argparse.Namespace) -> None:
    """Compute the features that the folder does not hold yet, part by part."""
    source = read(given.name, folder=given.data)
    network = backbone(given.backbone)
    folder = data_folder(given.data) if given.folder is None else given.folder
    options = {"folder": folder, "device": given.device, "batch_size": given.batch_size}
    for name, part in source.parts.items():
        images: Any = part.x  # inputs of another kind are refused there
        found = features_of(images, network, **options)
        print(f"{name}: {len(found):,} images, {found.shape[1]:,} features each")


def _run_data(given: argparse.Namespace) -> None:
    """Print what a dataset holds, and decode its image files or some of them."""
    source = read(given.name, folder=given.data, download=given.download)
    print(summary(source))
    for part, count in source.check(every=1 if given.all_images else None).items():
        print(f"{count:,} images of the {part} part decode")
    print("no file is missing, and no file that was checked is damaged")
