"""A reader's own data as a split: arrays, a folder of images, or an indexed dataset.

What is known about the labels decides what can be done. Nothing known: the split has no clean
sample, and its test labels are as noisy as the others. Some samples known to be clean: they give
meta, validation and test sets. The truth known for all, as after a study: accuracy and memorisation
can be measured too. All results keep the reader's own ids.
"""

import filecmp
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nlmeta._checks import check_count, check_same_length
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data.images import ImageFiles, as_seen
from nlmeta.data.loading import VERIFIED, make_split
from nlmeta.data.source import Part, Source
from nlmeta.data.split import Split

__all__ = ["from_arrays", "from_dataset", "from_folder"]

IN_MEMORY = 2**31  # bytes of images up to which a folder is decoded once and kept
COLUMNS = ("path", "label", "id", "true_label", "clean")  # of a table; others are not looked at
ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def from_arrays(
    x: Tensor | ArrayLike,
    labels: Sequence[Any] | Tensor | ArrayLike,
    *,
    seed: int,
    true_labels: Sequence[Any] | Tensor | ArrayLike | None = None,
    clean: Sequence[bool] | Tensor | ArrayLike | None = None,
    test: tuple[Tensor | ArrayLike, Sequence[Any] | Tensor | ArrayLike] | None = None,
    ids: Sequence[str | int] | None = None,
    class_names: Sequence[Any] | None = None,
    name: str = "own data",
    **options: Any,
) -> Split:
    """Make a split of arrays in memory.

    Parameters
    ----------
    x : array, n rows
        uint8: images of shape (n, height, width), (n, height, width, channels) or (n, channels,
        height, width), with 1 or 3 channels. Floating point, (n, ...): taken as it is, unless
        `standardise` is given. int64, (n, words): places in a vocabulary.
    labels : sequence, n entries
        Given labels: class numbers from 0, or names of classes.
    seed : int
        Draws the parts.
    true_labels : sequence, n entries, optional
        The truth, if it is known for all. It is used for meta, validation and test sets, and never
        for training.
    clean : sequence of bool, n entries, optional
        Which given labels are known to be right; meta, validation and test sets come out of these.
    test : (x, labels), optional
        Test samples with labels to trust. Default: `test_size` of the above.
    ids : sequence of str or int, optional
        What you call the samples. Default: 0 to n - 1.
    class_names : sequence, optional
        Names in the order of the classes. Default: the names in `labels` in sorted order, or the
        class numbers.
    name : str
        Of the dataset. Default ``"own data"``.
    **options
        Of `nlmeta.data.make_split`: `meta_size`, `validation_size`, `test_size` (0 unless given),
        `balanced_meta`, `meta_from`, `scale`; `standardise`, here False unless given. With
        `true_labels` equal to `labels` also `noise` and `rate`: clean data that are made noisy.

    Returns
    -------
    Split

    Raises
    ------
    TypeError
        An option is unknown; the message has those there are.
    ValueError
        Names the argument, what was given and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from nlmeta.data import from_arrays
    >>> x = np.random.default_rng(0).random((6, 2), dtype=np.float32)
    >>> split = from_arrays(x, ["dog", "cat", "cat", "dog", "cat", "dog"], ids="abcdef", seed=0)
    >>> split.class_names, sorted(split.train.own_ids)
    (('cat', 'dog'), ['a', 'b', 'c', 'd', 'e', 'f'])
    """
    _check_options(options, from_arrays)
    inputs = _inputs("x", x)
    given = _plain("labels", labels)
    names = _class_names("labels", given, class_names)
    columns = {"y": _numbers("labels", given, names)}
    if true_labels is not None and clean is not None:
        raise ValueError("`clean` is given beside `true_labels`, which already says it; pass one")
    if true_labels is not None:
        columns["true"] = _numbers("true_labels", _plain("true_labels", true_labels), names)
    if clean is not None:
        columns[VERIFIED] = _mask("clean", clean)
    own = list(range(len(inputs))) if ids is None else list(ids)
    _check_ids(own, len(inputs))
    for column, values in columns.items():
        shown = {"y": "labels", "true": "true_labels", VERIFIED: "clean"}[column]
        check_same_length("x", inputs, shown, values)
    test_part = None
    if test is not None:
        test_part = Part(
            _inputs("test", test[0]), _numbers("test", _plain("test", test[1]), names), ids=None
        )
        if test_part.x.shape[1:] != inputs.shape[1:]:
            raise ValueError(
                f"`test` holds inputs of shape {tuple(test_part.x.shape[1:])}; those of `x` have "
                f"shape {tuple(inputs.shape[1:])}"
            )
    options = {"standardise": False, **options}
    return _split(name, names, inputs, columns, own, seed, options, test=test_part)


def from_folder(
    folder: str | Path,
    *,
    seed: int,
    table: str | Path | None = None,
    clean: str | Path | None = None,
    test: str | Path | None = None,
    size: int = 64,
    in_memory: bool | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
    **options: Any,
) -> Split:
    """Make a split of image files.

    Parameters
    ----------
    folder : path
        Holds one folder for each class, named like it, with images anywhere below; or, with
        `table`, images anywhere. The split's notes name other files, unless they are hidden.
    seed : int
        Draws the parts.
    table : path, optional
        A CSV file with the columns ``path`` (relative to `folder`) and ``label``; if there are
        such columns, also ``id``, ``true_label`` and ``clean`` (0 or 1), see `from_arrays`.
    clean : path, optional
        Another folder like `folder`, of images whose labels are known to be right. The meta set
        comes out of them, and validation and test sets where there is no `test`. Not with `table`,
        which has a column for it. An image that is in both folders is refused: move it.
    test : path, optional
        Another folder like `folder`, with labels to trust; no image of `folder` may be in it. Equal
        files are found under any name, and, where images are kept in memory, equal pixels too. A
        copy that was resized, or saved anew with loss, is not.
    size : int
        Images are brought to ``size x size`` pixels: resized by the shorter side, the middle square
        kept. Default 64 (ours, for a laptop; 224 to 256 suit networks trained on ImageNet).
    in_memory : bool, optional
        True: decode all images once. False: decode batches when they are needed, with several
        threads; the scale is then ImageNet's unless `scale` is given, and about a thousand images
        are decoded now to see whether they are whole. Default: True up to 2 GiB.
    class_names : sequence of str, optional
        Names in the order of the classes. Default: sorted.
    name : str, optional
        Of the dataset. Default: the folder's name.
    **options
        Of `nlmeta.data.make_split`: `meta_size`, `validation_size`, `test_size` (0 unless given),
        `balanced_meta`, `meta_from`, `scale`.

    Returns
    -------
    Split
        The ids are those of `table`, or paths relative to `folder`.

    Raises
    ------
    FileNotFoundError
        A folder, the table, or an image that the table names is not there.
    TypeError
        An option is unknown; the message has those there are.
    ValueError
        An image does not decode, the folder of a class has none, a label names no class, or an
        argument is out of range.
    """
    _check_options(options, from_folder)
    check_count("size", size)
    root = _folder("folder", folder)
    columns: dict[str, Tensor] = {}
    notes: tuple[str, ...] = ()
    if table is not None:
        if clean is not None:
            raise ValueError("`clean` is given beside `table`; put a column `clean` into the table")
        frame = _read_table(Path(table), root)
        paths, ids = frame["path"].tolist(), frame.get("id", frame["path"]).tolist()
        given = frame["label"].tolist()
        names = _class_names("label", given, class_names)
        columns["y"] = _numbers("label", given, names)
        if "true_label" in frame:
            columns["true"] = _numbers("true_label", frame["true_label"].tolist(), names)
        if "clean" in frame:
            columns[VERIFIED] = _mask("clean", frame["clean"].to_numpy())
    else:
        paths, given, notes = _listed("folder", root)
        ids, names = paths, _class_names("folder", given, class_names)
        columns["y"] = _numbers("folder", given, names, paths)
    _check_ids(ids, len(paths))
    listed = {}
    for argument, other in (("clean", clean), ("test", test)):
        if other is not None:
            there = _folder(argument, other)
            files, labels, passed_over = _listed(argument, there)
            notes += passed_over
            listed[argument] = there, files, _numbers(argument, labels, names, files)
            _refuse_copies(argument, _same_files(root, paths, there, files))
    x = _images(root, paths, size, in_memory)
    further = {}
    for argument, (there, files, y) in listed.items():
        images = _images(there, files, size, in_memory)
        _refuse_copies(argument, _same_pixels(x, paths, images, files))
        further[argument] = Part(images, y, ids=files)
    return _split(
        name or root.resolve().name,
        names,
        x,
        columns,
        ids,
        seed,
        options,
        clean_train=further.get("clean"),
        test=further.get("test"),
        notes=notes,
    )


def from_dataset(
    dataset: Any,
    *,
    seed: int,
    class_names: Sequence[Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> Split:
    """Make a split of any indexed PyTorch dataset, read once into memory.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        ``dataset[i]`` is (input, label, ...): an image of `PIL` or a tensor or array, all of one
        shape, and a class number. An image of `PIL` becomes what a person sees, see
        `nlmeta.data.images.as_seen`: one channel if its mode is a grey one, else three. Random
        augmentation in it would be frozen; leave it out and use `Split.augmented`.
    seed : int
        Draws the parts.
    class_names : sequence, optional
        Default: ``dataset.classes`` if there is such a thing, else the class numbers.
    progress : bool
        Show a progress bar. Default False.
    **options
        Of `from_arrays`.

    Returns
    -------
    Split
        The ids are indices of the dataset unless `ids` are given.

    Raises
    ------
    TypeError
        An option is unknown; the message has those there are.
    ValueError
        Samples of different shapes, a picture that does not decode, or as in `from_arrays`.
    """
    _check_options(options, from_dataset, from_arrays)
    inputs: list[Tensor] = []
    labels: list[Any] = []
    for index in tqdm(range(len(dataset)), disable=not progress, desc="reading", unit="sample"):
        x, y, *_ = dataset[index]
        if isinstance(x, Image.Image):
            x = _picture(x, index)
        x = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        if inputs and (x.shape, x.dtype) != (inputs[0].shape, inputs[0].dtype):
            raise ValueError(
                f"`dataset` gives {x.dtype} of shape {tuple(x.shape)} at index {index} and "
                f"{inputs[0].dtype} of shape {tuple(inputs[0].shape)} at 0; bring them to one shape"
            )
        inputs.append(x.cpu())
        labels.append(y)
    if not inputs:
        raise ValueError("`dataset` is empty")
    if class_names is None:
        class_names = getattr(dataset, "classes", None)
    return from_arrays(torch.stack(inputs), labels, seed=seed, class_names=class_names, **options)


def _split(
    name: str,
    class_names: tuple[str, ...],
    x: Tensor | ImageFiles,
    columns: Mapping[str, Tensor],
    ids: Sequence[str | int],
    seed: int,
    options: dict[str, Any],
    *,
    test: Part | None = None,
    clean_train: Part | None = None,
    notes: tuple[str, ...] = (),
) -> Split:
    known = "true" in columns
    y = columns["true"] if known else columns["y"]
    annotations = {"given": columns["y"]} if known else {}
    if VERIFIED in columns:
        annotations[VERIFIED] = columns[VERIFIED]
    labels = "given" if known else None
    if known and {"noise", "rate"} & set(options):  # the reader's clean data, to be made noisy
        if not torch.equal(columns["y"], columns["true"]):
            raise ValueError(
                "`noise` is given, and `labels` differ from `true_labels`; noise is drawn on clean "
                "labels only: pass the same twice, or leave `noise` and `rate` out"
            )
        labels = None
    source = Source(
        name=name,
        class_names=class_names,
        train=Part(x, y, annotations, ids=ids),
        test=test,
        noisy=not known,
        attribution="",
        clean_train=clean_train,
        notes=(*notes, *_rare_classes(columns["y"], class_names)),
    )
    return make_split(source, labels=labels, seed=seed, **options)


def _rare_classes(labels: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """A class with less than a twentieth of its share may be a slip of the pen."""
    counts = labels.bincount(minlength=len(names)).tolist()
    return tuple(
        f"class {name!r} has {count} of {len(labels)} samples: is the name misspelt?"
        for name, count in zip(names, counts, strict=True)
        if count * 20 * len(names) < len(labels)
    )


# What readers hand in


def _picture(image: Image.Image, index: int) -> Tensor:
    """What a person sees, (1 or 3, height, width)."""
    try:
        seen = as_seen(image)
    except Exception as error:  # a decoder may stumble over a damaged file in any way
        raise ValueError(
            f"`dataset` gives a picture at index {index} that does not decode ({error})"
        ) from error
    pixels = torch.from_numpy(np.array(seen))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def _check_options(options: Mapping[str, Any], *calls: Callable[..., Split]) -> None:
    """What is left over goes to `make_split`, whose `labels` are made here."""
    allowed = [name for name in keywords(*calls, make_split) if name != "labels"]
    check_options(f"`{calls[0].__name__}`", options, allowed)


def _plain(argument: str, values: Any) -> list[int | str]:
    """Labels as class numbers, or, as soon as there is a word among them, all as words."""
    plain = values.tolist() if hasattr(values, "tolist") else list(values)
    plain = [label.item() if hasattr(label, "item") else label for label in plain]
    for position, label in enumerate(plain):
        missing = label is None or label != label  # NaN is not itself
        if missing or not isinstance(label, Integral | str):
            raise ValueError(
                f"`{argument}` holds {label!r} at position {position}; every sample needs one "
                "label, a class number or the name of a class"
            )
    numbers = all(isinstance(label, Integral) and not isinstance(label, bool) for label in plain)
    return [int(label) for label in plain] if numbers else [str(label) for label in plain]


def _class_names(
    argument: str, labels: Sequence[Any], class_names: Sequence[Any] | None
) -> tuple[str, ...]:
    if class_names is not None:
        names = tuple(str(name) for name in class_names)
        if len(set(names)) < len(names):
            raise ValueError(f"`class_names` is {list(names)}; every name may be there once")
    elif all(isinstance(label, int) for label in labels):
        names = tuple(str(c) for c in range(max(labels, default=-1) + 1))
    else:
        names = tuple(sorted({str(label) for label in labels}))
    if len(names) < 2:
        raise ValueError(f"`{argument}` has {len(names)} classes; there must be at least two")
    return names


def _numbers(
    argument: str, labels: Sequence[Any], names: Sequence[str], paths: Sequence[str] = ()
) -> Tensor:
    """Class numbers, int64, (n,): a number is one, a word is looked up among the names.

    An error names the path, if there are any.
    """
    places = {name: c for c, name in enumerate(names)}
    numbers = []
    for position, label in enumerate(labels):
        number = label if isinstance(label, int) else places.get(label, -1)
        if not 0 <= number < len(names):
            place = f"({paths[position]})" if paths else f"at position {position}"
            raise ValueError(
                f"`{argument}` holds {label!r} {place}; classes are "
                f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
            )
        numbers.append(number)
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")


def _mask(argument: str, values: Any) -> Tensor:
    """1 where a label is known to be right, -1 elsewhere."""
    mask = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if mask.dtype.kind in "OU":  # from a table
        said = {"0": 0, "1": 1, "false": 0, "true": 1}
        mask = np.array([said.get(str(value).strip().lower(), -1) for value in mask])
    if mask.ndim != 1 or not np.isin(mask, (0, 1)).all():
        raise ValueError(f"`{argument}` must hold a yes or no for each sample, True or False")
    return torch.from_numpy(np.where(mask.astype(bool), 1, -1).astype(np.int64))


def _check_ids(ids: Sequence[str | int], n: int) -> None:
    if len(ids) != n:
        raise ValueError(f"`ids` has {len(ids)} entries for {n} samples; it needs one for each")
    if len(set(ids)) < n:
        seen: set[str | int] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise ValueError(f"`ids` has {twice!r} twice; results could not be told apart")


def _inputs(argument: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        array = np.ascontiguousarray(x)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"`{argument}` holds {array.dtype}; it must hold numbers")
        x = torch.from_numpy(array)
    x = x.detach().cpu()
    if x.dtype == torch.float64:
        x = x.float()
    if x.dtype == torch.uint8:
        if x.ndim == 3:
            x = x[:, None]
        elif x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
            x = x.permute(0, 3, 1, 2).contiguous()
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(
                f"`{argument}` is torch.uint8 of shape {tuple(x.shape)}; images have shape "
                "(n, height, width), (n, height, width, channels) or (n, channels, height, width), "
                "with 1 or 3 channels"
            )
    elif not x.is_floating_point() and x.dtype != torch.int64:
        raise ValueError(
            f"`{argument}` is {x.dtype}; it must be torch.uint8 (images), floating point or "
            "torch.int64 (places in a vocabulary)"
        )
    if x.is_floating_point() and not x.isfinite().all():
        row = int((~x.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"`{argument}` holds a number that is not finite, in row {row}")
    return x


def _folder(argument: str, folder: str | Path) -> Path:
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"`{argument}` is {str(folder)!r}; there is no such folder")
    return root


def _listed(argument: str, root: Path) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Images below the folders of a root, the folder each lies in, and a note on other files."""
    rule = f"images lie in the folder of a class and end in {', '.join(ENDINGS)}"
    paths: list[str] = []
    labels: list[str] = []
    others: list[str] = []
    empty: list[str] = []
    # Hidden files and folders are copies that systems and notebooks leave behind.
    for entry in sorted(entry for entry in root.iterdir() if not entry.name.startswith(".")):
        images = []
        for file in sorted(entry.rglob("*")) if entry.is_dir() else (entry,):
            path = file.relative_to(root)
            if any(part.startswith(".") for part in path.parts):
                continue
            if entry.is_dir() and file.suffix.lower() in ENDINGS:
                images.append(path.as_posix())
            elif file.is_file():
                others.append(path.as_posix())
        paths += images
        labels += [entry.name] * len(images)
        if entry.is_dir() and not images:
            empty.append(entry.name)
    if not paths:
        raise ValueError(f"{root} has no images in folders; {rule}")
    if empty:
        raise ValueError(
            f"`{argument}` has no image in {_counted('class folder', empty)}; {rule}. Put some "
            f"there, or take the folder out of {root}"
        )
    note = f"passed over in `{argument}`: {_counted('file', others)}; {rule}"
    return paths, labels, (note,) if others else ()


def _counted(what: str, names: Sequence[str]) -> str:
    many = "" if len(names) == 1 else "s"
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)} {what}{many} ({', '.join(names[:3])}{more})"


def _refuse_copies(argument: str, copies: Iterable[tuple[str, str]]) -> None:
    """An image to learn or to judge from may not be trained on as well, under any name."""
    for name, twin in copies:
        raise ValueError(
            f"`{argument}` holds {name}, which is in `folder` too, as {twin}; leave such images "
            "in one of the two"
        )


def _same_files(
    root: Path, paths: Sequence[str], other: Path, files: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Files that hold the same bytes."""
    by_size: dict[int, list[str]] = {}
    for path in paths:
        by_size.setdefault((root / path).stat().st_size, []).append(path)
    for name in files:
        for twin in by_size.get((other / name).stat().st_size, ()):
            if filecmp.cmp(other / name, root / twin, shallow=False):
                yield name, twin


def _same_pixels(
    x: Tensor | ImageFiles, paths: Sequence[str], other: Tensor | ImageFiles, files: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Images that are the same once decoded, where all are decoded anyway."""
    if isinstance(x, Tensor) and isinstance(other, Tensor):
        twins = dict(zip(map(_digest, x), paths, strict=True))
        for name, digest in zip(files, map(_digest, other), strict=True):
            if digest in twins:
                yield name, twins[digest]


def _digest(image: Tensor) -> bytes:
    return hashlib.sha256(image.numpy().tobytes()).digest()


def _read_table(table: Path, root: Path) -> pd.DataFrame:
    if not table.is_file():
        raise FileNotFoundError(f"`table` is {str(table)!r}; there is no such file")
    # As it is written: "007" is no number, and a class may be called None.
    frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    for column in ("path", "label"):
        if column not in frame:
            raise ValueError(
                f"{table} has the columns {', '.join(map(str, frame.columns))}; `{column}` is "
                "missing"
            )
    known = [column for column in COLUMNS if column in frame]
    empty = (frame[known] == "").any(axis=1)
    if empty.any():
        raise ValueError(f"{table}, row {int(empty.argmax()) + 2}: a field is empty")
    missing = ImageFiles(root, frame["path"].tolist()).missing()
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(frame)} images that {table} names are not in {root}, "
            f"for example {', '.join(missing[:3])}"
        )
    return frame


def _images(
    root: Path, paths: Sequence[str], size: int, in_memory: bool | None
) -> Tensor | ImageFiles:
    files = ImageFiles(root, paths, size=size)
    if in_memory is None:
        in_memory = len(paths) * 3 * size**2 <= IN_MEMORY
    if in_memory:
        return files[:]
    files.check(every=max(1, len(paths) // 1000))  # before any training, a sample of them
    return files
