"""Images stored as bytes, in memory or on disk, and returned as floats for a network.

`ImageFiles` decodes files when rows are taken. `Images` holds either such files or a tensor of
bytes on a device, and returns standardised images; for training it also augments them, each image
with random numbers of its own.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from numbers import Integral
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from nlmeta._checks import check_count
from nlmeta._host import to_device
from nlmeta.data.augmentation import Augmentation
from nlmeta.data.pictures import as_seen, middle_square

__all__ = ["ImageFiles", "Images", "channel_statistics"]

AHEAD = 2  # batches that are decoded while one is in use
LOOKED_AT = 1000  # images that stand for all
LARGE = 2**25  # pixels, of which each takes four bytes and more while a picture is decoded


class ImageFiles:
    """Images that stay on disk until rows are taken.

    ``files[rows]`` decodes with several threads: the picture as a person sees it (`as_seen`), in
    RGB, is resized (bilinear) so that the shorter side is `size`, and the middle square is kept. A
    training crop of 224 pixels is then cut out of the square. Pictures above 33 megapixels are
    decoded one after the other.

    Parameters
    ----------
    folder : Path
        The folder of the images.
    names : sequence of str
        Path of each image relative to the folder, with ``/`` between folders.
    size : int
        Side of the square in pixels. Default 256 (the side to which the released code of MSLG
        resizes; that code squeezes the image instead of cutting it, the square is ours).
    threads : int
        Number of threads. Default 8 (ours).
    """

    def __init__(
        self, folder: Path, names: Sequence[str], *, size: int = 256, threads: int = 8
    ) -> None:
        check_count("size", size)
        check_count("threads", threads)
        self.folder = Path(folder)
        self.names = tuple(names)
        self.size = size
        self.threads = threads

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape (n, 3, size, size) of all decoded images."""
        return len(self), 3, self.size, self.size

    def __getitem__(self, rows: int | slice | Tensor | ArrayLike) -> Tensor:
        """Decode some images.

        Parameters
        ----------
        rows : int, slice, or sequence of int, shape (m,), or of bool, shape (n,)
            The rows; a sequence is a tensor, an array or a list.

        Returns
        -------
        Tensor of uint8, shape (m, 3, size, size)
            The images; without the first axis for a single row.

        Raises
        ------
        IndexError
            There is no such row.
        TypeError
            `rows` are neither whole numbers nor bools.
        ValueError
            `rows` has another shape; or an image does not decode, and the message has its path.
        """
        if (row := _single(rows)) is not None:
            return self[[row]][0]
        wanted = self._names(rows)
        images = torch.empty((len(wanted), *self.shape[1:]), dtype=torch.uint8, device="cpu")
        for i, image in enumerate(self._of_each(wanted, self._decode)):
            images[i] = image
        return images

    def subset(self, rows: slice | Tensor | ArrayLike) -> "ImageFiles":
        """Some of the images, still on disk; `rows` are the same as in indexing."""
        return ImageFiles(self.folder, self._names(rows), size=self.size, threads=self.threads)

    def missing(self) -> list[str]:
        """Names without a file. Each folder is listed once, so a million names take seconds."""
        parents = {name.rpartition("/")[0] for name in self.names}
        there = {parent: _file_names(self.folder / parent) for parent in parents}
        split = ((name, *name.rpartition("/")[::2]) for name in self.names)
        return [name for name, parent, file in split if file not in there[parent]]

    def check(self, *, every: int | None = 1) -> int:
        """Decode every image, or a sample at even distances, and name those that do not decode.

        Parameters
        ----------
        every : int, optional
            If 1 (default), all images are decoded; if k, the first of every k. None chooses k so
            that about a thousand are decoded.

        Returns
        -------
        int
            Number of decoded images.

        Raises
        ------
        ValueError
            Images do not decode; the message has their number and the paths of the first ten.
        """
        if every is None:
            every = max(1, len(self) // LOOKED_AT)
        check_count("every", every)
        names = self.names[::every]
        damaged = [text for text in self._of_each(names, self._damage) if text]
        if damaged:
            raise ValueError(
                f"{len(damaged)} of {len(names)} images that were checked do not decode:\n"
                + "\n".join(damaged[:10])
            )
        return len(names)

    def _names(self, rows: slice | Tensor | ArrayLike) -> tuple[str, ...]:
        chosen = _chosen(rows, len(self))
        if isinstance(chosen, slice):
            return self.names[chosen]
        return tuple(self.names[row] for row in chosen.tolist())

    def _of_each(self, names: Sequence[str], call: Callable[..., Any]) -> Iterator[Any]:
        """The results of a call for each name, in order, from several threads.

        The calling thread handles large pictures, since each thread keeps the memory that it once
        took. `call` returns None for a picture larger than its `at_most`.
        """
        pool = ThreadPoolExecutor(self.threads)
        try:
            of_small = pool.map(partial(call, at_most=LARGE), names)
            for name, given in zip(names, of_small, strict=True):
                yield call(name) if given is None else given
        finally:
            pool.shutdown(cancel_futures=True)

    def _decode(self, name: str, *, at_most: float = math.inf) -> Tensor | None:
        """One image, or None if it has more pixels than `at_most`."""
        path = self.folder / name
        try:
            with Image.open(path) as file:
                if file.width * file.height > at_most:
                    return None
                return middle_square(as_seen(file), self.size)
        except MemoryError:
            raise
        except Exception as error:  # a decoder may stumble over a damaged file in any way
            raise ValueError(f"{path} does not decode as an image ({error})") from error

    def _damage(self, name: str, *, at_most: float = math.inf) -> str | None:
        """The reason why an image does not decode, ``""`` if it does; None like `_decode`."""
        try:
            return None if self._decode(name, at_most=at_most) is None else ""
        except ValueError as error:
            return str(error)


class Images:
    """Images kept as bytes. ``images[rows]`` are floats, standardised, on the device.

    In memory they need a quarter of the space of floats. On disk they need no memory, and `batches`
    decodes the next ones while a step is taken.

    Parameters
    ----------
    stored : Tensor of uint8, shape (n, channels, height, width), or ImageFiles
        The images, from 0 to 255.
    mean, deviation : Tensor of float, shape (channels,)
        Numbers to subtract and to divide by, in grey values from 0 to 255.
    augmentation : Augmentation, optional
        The random change of images in `batches`. Indexing returns images that have gone through its
        `for_evaluation`.
    augment : bool
        If False, `batches` yields the images as evaluation sees them, even if an augmentation is
        set. Default True.
    """

    def __init__(
        self,
        stored: Tensor | ImageFiles,
        *,
        mean: Tensor,
        deviation: Tensor,
        augmentation: Augmentation | None = None,
        augment: bool = True,
    ) -> None:
        if isinstance(stored, Tensor) and (stored.dtype != torch.uint8 or stored.ndim != 4):
            raise ValueError(
                f"`stored` is {stored.dtype} of shape {tuple(stored.shape)}; images must be "
                "torch.uint8 of shape (n, channels, height, width)"
            )
        for name, values in (("mean", mean), ("deviation", deviation)):
            if tuple(values.shape) != (stored.shape[1],) or not values.isfinite().all():
                raise ValueError(
                    f"`{name}` is {values.tolist()}; it must hold a finite number for each of the "
                    f"{stored.shape[1]} channels"
                )
        if not (deviation > 0).all():
            raise ValueError(f"`deviation` is {deviation.tolist()}; it must be above 0")
        self.stored = stored
        self.mean, self.deviation = mean, deviation
        self.augmentation, self.augment = augmentation, augment

    def __len__(self) -> int:
        return len(self.stored)

    def __repr__(self) -> str:
        place = "on disk" if self.on_disk else "in memory"
        drawn = "drawn" if self.augment else "at rest"
        return (
            f"Images {place}, {tuple(self.stored.shape)}, mean {self.mean.tolist()}, deviation "
            f"{self.deviation.tolist()}, augmentation {self.augmentation!r} ({drawn})"
        )

    @property
    def description(self) -> str:
        """A `repr` that is the same on every device and in every precision; it copies no image."""
        mean, deviation = (t.to("cpu", torch.float32) for t in (self.mean, self.deviation))
        return repr(self._changed(mean=mean, deviation=deviation))

    @property
    def on_disk(self) -> bool:
        """Whether the images lie on disk and are decoded when they are taken."""
        return isinstance(self.stored, ImageFiles)

    @property
    def device(self) -> torch.device:
        """The device of the returned images."""
        return self.mean.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the returned images."""
        return self.mean.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (n, channels, height, width) of the images that indexing returns."""
        one = torch.zeros((1, *self.stored.shape[1:]), dtype=torch.uint8, device="cpu")
        return len(self), *self._for_evaluation(one).shape[1:]

    def size(self, dim: int | None = None) -> int | tuple[int, ...]:
        """`shape` or one entry of it, so that a `torch.utils.data.TensorDataset` accepts images."""
        return self.shape if dim is None else self.shape[dim]

    def __getitem__(self, rows: int | slice | Tensor | ArrayLike) -> Tensor:
        """Images as inputs of a network, without randomness.

        Parameters
        ----------
        rows : int, slice, or sequence of int, shape (m,), or of bool, shape (n,)
            The rows; a sequence is a tensor, an array or a list.

        Returns
        -------
        Tensor of float, shape (m, channels, height, width)
            The images; without the first axis for a single row.

        Raises
        ------
        IndexError
            There is no such row.
        TypeError
            `rows` are neither whole numbers nor bools.
        ValueError
            `rows` has another shape.
        """
        if (row := _single(rows)) is not None:
            return self[[row]][0]
        return self.standardised(self._for_evaluation(self.raw(rows)))

    def raw(self, rows: slice | Tensor | ArrayLike) -> Tensor:
        """The bytes of some images: uint8, (m, channels, height, width), on the device."""
        return to_device(self.stored[self._rows(rows)], self.device)

    def standardised(self, raw: Tensor) -> Tensor:
        """Standardised floats from bytes on the device, both (m, channels, height, width)."""
        mean, deviation = self.mean[:, None, None], self.deviation[:, None, None]
        return (raw.to(self.dtype) - mean) / deviation

    def subset(self, rows: slice | Tensor | ArrayLike) -> "Images":
        """Some of the images, still as bytes."""
        if isinstance(self.stored, ImageFiles):
            return self._changed(stored=self.stored.subset(rows))
        return self._changed(stored=self.stored[self._rows(rows)])

    def augmented(self, augmentation: Augmentation | None, *, augment: bool = True) -> "Images":
        """The same images with another augmentation."""
        return self._changed(augmentation=augmentation, augment=augment)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Images":
        """The same images, returned on a device and in a floating-point type.

        Bytes in memory are moved there; files stay files.
        """
        stored = self.stored.to(device) if isinstance(self.stored, Tensor) else self.stored
        return self._changed(
            stored=stored,
            mean=self.mean.to(device=device, dtype=dtype),
            deviation=self.deviation.to(device=device, dtype=dtype),
        )

    @property
    def num_random(self) -> int:
        """Number of uniform numbers that `batches` needs for an image; 0 if nothing is drawn."""
        return self.augmentation.num_random if self.augmentation and self.augment else 0

    def batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Images for training, augmented.

        Parameters
        ----------
        batches : iterable of (Tensor, Tensor)
            Rows, int64 of shape (m,), and uniform numbers, (m, `num_random`), of each batch.

        Yields
        ------
        Tensor of float, shape (m, channels, height, width)
            The images of a batch. If they are on disk, the next two batches are decoded meanwhile.
        """
        if not self.on_disk:
            for rows, u in batches:
                yield self._for_training(self.raw(rows), u)
            return
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[tuple[Future[Tensor], Tensor]] = deque()
            try:
                for rows, u in batches:
                    waiting.append((pool.submit(self.stored.__getitem__, self._rows(rows)), u))
                    if len(waiting) > AHEAD:
                        decoded, numbers = waiting.popleft()
                        yield self._for_training(self._here(decoded), numbers)
                while waiting:
                    decoded, numbers = waiting.popleft()
                    yield self._for_training(self._here(decoded), numbers)
            finally:  # a loop that is left early does not wait for images that nobody wants
                for decoded, _ in waiting:
                    decoded.cancel()

    def _here(self, decoded: Future[Tensor]) -> Tensor:
        # Not in the thread that decodes, which knows nothing of the stream in use here.
        return to_device(decoded.result(), self.device)

    def _for_training(self, raw: Tensor, u: Tensor) -> Tensor:
        if self.augmentation is None or not self.augment:
            return self.standardised(self._for_evaluation(raw))
        return self.standardised(self.augmentation(raw, to_device(u, raw.device)))

    def _for_evaluation(self, raw: Tensor) -> Tensor:
        return raw if self.augmentation is None else self.augmentation.for_evaluation(raw)

    def _changed(self, **changes: Any) -> "Images":
        names = ("stored", "mean", "deviation", "augmentation", "augment")
        return Images(**{name: getattr(self, name) for name in names} | changes)

    def _rows(self, rows: slice | Tensor | ArrayLike) -> slice | Tensor:
        """Row numbers on the device of the stored images."""
        chosen = _chosen(rows, len(self))
        if isinstance(chosen, slice):
            return chosen
        if isinstance(self.stored, ImageFiles):
            return chosen.cpu()
        return to_device(chosen, self.stored.device)


def channel_statistics(stored: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, from exact counts of all bytes.

    Parameters
    ----------
    stored : Tensor of uint8, shape (n, channels, height, width)
        Images.
    rows : Tensor of int64, optional
        Rows of the images to use. Default: all.

    Returns
    -------
    mean, deviation : Tensor of float32, shape (channels,)
        Mean and deviation in grey values from 0 to 255. A constant channel has deviation 1.
    """
    rows = torch.arange(len(stored), device="cpu") if rows is None else rows
    counts = torch.zeros(stored.shape[1], 256, dtype=torch.float64, device="cpu")
    for some in rows.split(4096):
        chunk = stored[some.to(stored.device)].transpose(0, 1).flatten(1)  # (channels, numbers)
        for channel, numbers in enumerate(chunk):
            counts[channel] += numbers.int().bincount(minlength=256).double().cpu()
    values = torch.arange(256, dtype=torch.float64, device="cpu")
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ values
    variance = (share * (values - mean[:, None]).square()).sum(1)
    deviation = torch.where(variance > 0, variance.sqrt(), 1.0)
    return mean.float(), deviation.float()


def _file_names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


# Rows


def _single(rows: Any) -> int | None:
    """The number of a single row, None if there may be several."""
    single = isinstance(rows, Integral) or getattr(rows, "ndim", None) == 0
    return index(rows) if single else None


def _chosen(rows: Any, n: int) -> slice | Tensor:
    """A slice as it is; anything else as row numbers, int64 of shape (m,)."""
    if isinstance(rows, slice):
        return rows
    allowed = "a slice, or a sequence of whole numbers, shape (m,), or of bools, shape (n,)"
    if not isinstance(rows, Tensor):
        array = np.asarray(rows)
        if isinstance(rows, tuple) or (array.size and array.dtype.kind not in "iub"):
            raise TypeError(f"`rows` is {rows!r}; it must be a row number, {allowed}")
        if array.dtype.kind != "b" and len(beyond := array[(array < -n) | (array >= n)]):
            raise IndexError(f"`rows` holds {beyond[0]}; the rows of {n} images are 0 to {n - 1}")
        rows = torch.from_numpy(array.astype(bool if array.dtype.kind == "b" else np.int64))
    if rows.ndim != 1 or rows.is_floating_point() or rows.is_complex():
        raise ValueError(
            f"`rows` is {rows.dtype} of shape {tuple(rows.shape)}; it must be {allowed}"
        )
    if rows.dtype == torch.bool:
        if len(rows) != n:
            raise ValueError(f"`rows` holds {len(rows)} bools; it must hold {n}, one per image")
        return rows.nonzero().flatten()
    return rows.long()
