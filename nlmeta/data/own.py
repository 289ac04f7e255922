"""A reader's own data as a split: arrays, a folder of images, or an indexed dataset.

The possibilities depend on what is known about the labels. If nothing is known, the split has no
clean sample, and its test labels are as noisy as the others. If some samples are known to be clean,
meta, validation and test sets are taken from them. If the truth is known for all samples, as after
a study, accuracy and memorisation can be measured too. All results keep the reader's own ids.

Copies of a picture stay in one part, so no picture is both trained and tested on. If two copies
have different classes, one of the labels is wrong; such pictures are not in a meta, validation or
test set. Notes of the split name both kinds of copies.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nlmeta._checks import check_count, check_same_length
from nlmeta._interface import Inputs, length
from nlmeta.data._arguments import check_options, keywords
from nlmeta.data._copies import (
    describe,
    equal,
    keys_of_files,
    keys_of_rows,
    pixel_keys,
    refuse_shared,
    shared,
)
from nlmeta.data._handed_in import (
    check_ids,
    check_same_kind,
    ids_of,
    indices_of,
    inputs_of,
    mask_of,
    names_of,
    picked,
    picture_of,
)
from nlmeta.data._labels import number_classes
from nlmeta.data._listing import existing_folder, listed
from nlmeta.data._notes import counted, few
from nlmeta.data._table import read_table
from nlmeta.data.images import ImageFiles
from nlmeta.data.loading import make_split
from nlmeta.data.source import VERIFIED, Part, Source
from nlmeta.data.split import Split
from nlmeta.data.splitting import SplitOptions

__all__ = ["from_arrays", "from_dataset", "from_folder"]

IN_MEMORY = 2**31  # bytes of images up to which a folder is decoded once and kept
COLUMNS = ("path", "label", "id", "true_label", "clean")  # of a table; others are not looked at


def from_arrays(
    x: Tensor | ArrayLike | tuple[Any, ...] | Mapping[str, Any],
    labels: Sequence[Any] | Tensor | ArrayLike,
    *,
    seed: int,
    true_labels: Sequence[Any] | Tensor | ArrayLike | None = None,
    clean: Sequence[bool] | Tensor | ArrayLike | None = None,
    test: tuple[Tensor | ArrayLike, Sequence[Any] | Tensor | ArrayLike] | None = None,
    ids: Sequence[str | int] | None = None,
    class_names: Sequence[Any] | None = None,
    words: bool = False,
    name: str = "own data",
    **options: Any,
) -> Split:
    """Make a split of arrays in memory.

    Parameters
    ----------
    x : array, n rows
        Inputs. uint8 are images of shape (n, height, width), (n, height, width, channels) or (n,
        channels, height, width), with 1 or 3 channels. Floating-point numbers, (n, ...), are used
        as they are unless `standardise` is given. Other whole numbers are indices of a vocabulary,
        with `words`; convert counts and measurements to floats. Equal rows of at least two
        dimensions, such as pictures, are copies. A tuple or dict of arrays holds the positional or
        keyword arguments of a network; in it, all whole numbers are indices, and bools are masks.
        Samples with equal inputs are then copies if one input is a picture or indices (n, words).
    labels : sequence, n entries
        Given labels: class numbers from 0, or names of classes. Spaces around names and their
        Unicode form do not count; a note lists names that become equal by this.
    seed : int
        Seed of the parts.
    true_labels : sequence, n entries, optional
        The true labels, if they are known for all samples. They are used for meta, validation and
        test sets, and never for training. Numbers here and names in `labels`, or the other way
        round, are refused unless the names are written whole numbers or `class_names` is given.
    clean : sequence of bool, n entries, optional
        Whether each given label is known to be right; meta, validation and test sets are taken from
        these samples.
    test : (x, labels), optional
        Test samples with trusted labels; a note counts those that are also in `x`. Default:
        `test_size` of the samples above.
    ids : sequence of str or int, optional
        Your names of the samples. Default: 0 to n - 1.
    class_names : sequence, optional
        Names in the order of the classes. Default: the sorted names in `labels`, by value if all
        are written whole numbers; or the class numbers from 0 to the largest.
    words : bool
        Whether whole numbers in `x` are indices of a vocabulary, (n, words). Default False.
    name : str
        Name of the dataset. Default ``"own data"``.
    **options
        Fields of `nlmeta.data.SplitOptions`: `meta_size`, `validation_size`, `test_size` (0 unless
        given), `balanced_meta`, `meta_from`, `scale`; `standardise`, here False unless given. With
        `true_labels` equal to `labels` also `noise` and `rate`: clean data that are made noisy.

    Returns
    -------
    Split
        A split; `nlmeta.data.make_split` explains the effect of copies on the sizes.

    Raises
    ------
    TypeError
        An option is unknown; the message lists the options.
    ValueError
        An argument is wrong; the message names it, what was given and what is allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from nlmeta.data import from_arrays
    >>> x = np.random.default_rng(0).random((6, 2), dtype=np.float32)
    >>> split = from_arrays(x, ["dog", "cat", "cat", "dog", "cat", "dog"], ids="abcdef", seed=0)
    >>> split.class_names, sorted(split.train.sample_ids)
    (('cat', 'dog'), ['a', 'b', 'c', 'd', 'e', 'f'])
    """
    _check_options(options, from_arrays)
    if true_labels is not None and clean is not None:
        raise ValueError(
            "`clean` is given, and `true_labels` contains the same information; pass only one"
        )
    if test is not None and not (isinstance(test, list | tuple) and len(test) == 2):
        raise ValueError(f"`test` is a {type(test).__name__}; it must be a pair, (x, labels)")
    inputs = inputs_of("x", x, words)
    given = {"labels": labels, "true_labels": true_labels, "test": test[1] if test else None}
    names, numbers, notes = number_classes(
        {argument: values for argument, values in given.items() if values is not None}, class_names
    )
    columns = {"y": numbers["labels"]}
    if true_labels is not None:
        columns["true"] = numbers["true_labels"]
    if clean is not None:
        columns[VERIFIED] = mask_of("clean", clean)
    own = list(range(length(inputs))) if ids is None else ids_of(ids)
    check_ids(own, length(inputs))
    for column, values in columns.items():
        shown = {"y": "labels", "true": "true_labels", VERIFIED: "clean"}[column]
        check_same_length("x", range(length(inputs)), shown, values)
    keys = keys_of_rows(inputs)
    test_part = None
    if test is not None:
        x_test = inputs_of("test", test[0], words)
        check_same_kind("test", x_test, inputs)
        check_same_length("test[0]", range(length(x_test)), "test[1]", numbers["test"])
        test_keys = keys_of_rows(x_test)
        test_part = Part(x_test, numbers["test"], groups=equal(test_keys))
        notes += describe("test", test_part, names)
        twins = [f"{row} = {own[twin]}" for row, twin in shared(test_keys, keys)]
        if twins:
            what = counted("sample", twins)
            notes += (f"`test` holds {what} of `x`: tested on, and trained on as well",)
    options = {"standardise": False, **options}
    return _split(
        name,
        names,
        inputs,
        columns,
        own,
        seed,
        options,
        argument="x",
        keys=keys,
        test=test_part,
        notes=notes,
    )


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
        A folder with a folder for each class, which has the name of the class and images anywhere
        below; or, with `table`, images anywhere. Links are followed. The split's notes name other
        files that are not hidden, links that lead in a circle, and copies.
    seed : int
        Seed of the parts.
    table : path, optional
        A CSV file in UTF-8 with one row per line and the columns ``path`` (relative to `folder`)
        and ``label``; the columns ``id``, ``true_label`` and ``clean`` (0 or 1) are optional, see
        `from_arrays`. Fields are separated by commas, semicolons or tabs.
    clean : path, optional
        Another folder like `folder`, with images whose labels are known to be right. The meta set
        is taken from them, and without `test` also validation and test sets. It cannot be combined
        with `table`, which has a column for it. An image in both folders is refused: move it.
    test : path, optional
        Another folder like `folder`, with trusted labels; it may not contain an image of `folder`
        or `clean`. Equal files are found under any name, and for images kept in memory also equal
        pixels, here and within a folder. A copy that was resized, or saved again with loss, is not
        found.
    size : int
        Side in pixels of the squares that images become. They are decoded as a person sees them,
        see `nlmeta.data.pictures.as_seen`: rotated according to their EXIF data, 16 bits scaled to
        8, transparency on white. Then they are resized by the shorter side, and the middle square
        is kept. Default 64 (ours, for a laptop; 224 to 256 suit networks trained on ImageNet).
    in_memory : bool, optional
        If True, all images are decoded once. If False, batches are decoded when they are needed,
        with several threads; the scale is then ImageNet's unless `scale` is given, and about a
        thousand images are decoded now as a check. Default: True up to 2 GiB.
    class_names : sequence of str, optional
        Names in the order of the classes. Default: sorted, by value if all are whole numbers.
        Spaces around names and their Unicode form do not count.
    name : str, optional
        Name of the dataset. Default: the folder's name.
    **options
        Fields of `nlmeta.data.SplitOptions`: `meta_size`, `validation_size`, `test_size` (0 unless
        given), `balanced_meta`, `meta_from`, `scale`.

    Returns
    -------
    Split
        A split whose ids are those of `table`, or paths relative to `folder`.
        `nlmeta.data.make_split` explains the effect of copies on the sizes.

    Raises
    ------
    FileNotFoundError
        A folder, the table, an image named in the table, or the target of a link is missing.
    PermissionError
        A folder cannot be read.
    TypeError
        An option is unknown; the message lists the options.
    ValueError
        An image does not decode, the folder of a class has no image, a label is not a class, a row
        of the table does not fit its columns, or an argument is out of range.
    """
    _check_options(options, from_folder)
    check_count("size", size)
    root = existing_folder("folder", folder)
    columns: dict[str, Tensor] = {}
    notes: tuple[str, ...] = ()
    labels: dict[str, Sequence[str]]
    if table is None:
        paths, given, notes = listed("folder", root)
        ids, labels = paths, {"folder": given}
    else:
        if clean is not None:
            raise ValueError("`clean` is given with `table`; put a column `clean` into the table")
        read = _read_table(Path(table), root)
        paths, ids = read["path"], read.get("id", read["path"])
        labels = {column: read[column] for column in ("label", "true_label") if column in read}
        if "clean" in read:
            columns[VERIFIED] = mask_of("clean", read["clean"])
    check_ids(ids, len(paths))
    folders = {"folder": (root, paths)}
    for argument, other in (("clean", clean), ("test", test)):
        if other is not None:
            there = existing_folder(argument, other)
            found, labels[argument], passed_over = listed(argument, there)
            folders[argument] = there, found
            notes += passed_over
    names, numbers, odd = number_classes(
        labels, class_names, paths={a: folders.get(a, folders["folder"])[1] for a in labels}
    )
    columns["y"] = numbers["folder" if table is None else "label"]
    if "true_label" in numbers:
        columns["true"] = numbers["true_label"]
    keys = keys_of_files(folders)
    refuse_shared(keys, folders)
    images = {argument: _images(*there, size, in_memory) for argument, there in folders.items()}
    keys |= {a: pixel_keys(x) for a, x in images.items() if isinstance(x, Tensor)}
    refuse_shared(keys, folders)
    further = {
        argument: Part(
            images[argument],
            numbers[argument],
            ids=folders[argument][1],
            groups=equal(keys[argument]),
        )
        for argument in folders
        if argument != "folder"
    }
    for argument, part in further.items():
        notes += describe(argument, part, names)
    return _split(
        name or root.resolve().name,
        names,
        images["folder"],
        columns,
        ids,
        seed,
        options,
        argument="folder",
        keys=keys["folder"],
        clean_train=further.get("clean"),
        test=further.get("test"),
        notes=(*notes, *odd),
    )


def from_dataset(
    dataset: Any,
    *,
    seed: int,
    columns: tuple[int | str, int | str] = (0, 1),
    class_names: Sequence[Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> Split:
    """Make a split of any indexed dataset of PyTorch or Hugging Face, read once into memory.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset, or anything with a length and samples by number
        The dataset. A sample has a label and an input, which is an image of `PIL`, a tensor or an
        array, all of one shape. An image of `PIL` is decoded as a person sees it, see
        `nlmeta.data.pictures.as_seen`: one channel if its mode is a grey one, else three. Random
        augmentation in the dataset would be drawn only once; use `Split.augmented` instead.
    seed : int
        Seed of the parts.
    columns : pair of int or of str
        Places of the input and of the label in a sample: indices of a tuple, or keys of a dict,
        such as ``("image", "label")``. Default (0, 1).
    class_names : sequence, optional
        Names in the order of the classes. Default: ``dataset.classes`` if it exists; the names of
        the label in ``dataset.features``, as in Hugging Face's datasets; else as in `from_arrays`.
    progress : bool
        Whether a progress bar is shown. Default False.
    **options
        Options of `from_arrays`.

    Returns
    -------
    Split
        A split whose ids are indices of the dataset unless `ids` are given.

    Raises
    ------
    TypeError
        An option is unknown, and the message lists the options; or the dataset has no length.
    ValueError
        Samples have different shapes or lack these columns, a picture does not decode, or an
        argument is refused by `from_arrays`.
    """
    _check_options(options, from_dataset, from_arrays)
    inputs: list[Tensor] = []
    labels: list[Any] = []
    for index in tqdm(indices_of(dataset), disable=not progress, desc="reading", unit="sample"):
        x, y = picked(dataset[index], columns, index)
        if isinstance(x, Image.Image):
            x = picture_of(x, index)
        try:
            x = x if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"`dataset` returns a {type(x).__name__} as input at index {index}; it must be an "
                "image, a tensor or an array of numbers"
            ) from error
        if inputs and (x.shape, x.dtype) != (inputs[0].shape, inputs[0].dtype):
            raise ValueError(
                f"`dataset` returns {x.dtype} of shape {tuple(x.shape)} at index {index} and "
                f"{inputs[0].dtype} of shape {tuple(inputs[0].shape)} at 0; bring them to one shape"
            )
        inputs.append(x.cpu())
        labels.append(y)
    if not inputs:
        raise ValueError("`dataset` is empty; it must hold at least one sample")
    if class_names is None:
        class_names = names_of(dataset, columns[1])
    return from_arrays(torch.stack(inputs), labels, seed=seed, class_names=class_names, **options)


def _split(
    name: str,
    class_names: tuple[str, ...],
    x: Inputs | ImageFiles,
    columns: Mapping[str, Tensor],
    ids: Sequence[str | int],
    seed: int,
    options: dict[str, Any],
    *,
    argument: str,
    keys: Sequence[Hashable],
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
                "`noise` is given, and `labels` differ from `true_labels`; noise needs clean "
                "labels: pass the same labels twice, or leave `noise` and `rate` out"
            )
        labels = None
    train = Part(x, y, annotations, ids=ids, groups=equal(keys))
    source = Source(
        name=name,
        class_names=class_names,
        train=train,
        test=test,
        noisy=not known,
        attribution="",
        clean_train=clean_train,
        notes=(
            *describe(argument, train, class_names),
            *notes,
            *_rare_classes(columns["y"], class_names),
        ),
    )
    return make_split(source, SplitOptions(labels=labels, seed=seed, **options))


def _rare_classes(labels: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Notes on classes with less than a twentieth of their share, which may be misspelt names."""
    counts = labels.bincount(minlength=len(names)).tolist()
    rare = [
        f"class {name!r} has {count} of {len(labels)} samples"
        for name, count in zip(names, counts, strict=True)
        if count * 20 * len(names) < len(labels)
    ]
    return (f"{few(rare)}: is the name misspelt?",) if rare else ()


def _check_options(options: Mapping[str, Any], *calls: Callable[..., Split]) -> None:
    """Require options of a call or of `SplitOptions`, whose `labels` are made here."""
    allowed = [name for name in keywords(*calls, SplitOptions) if name != "labels"]
    check_options(f"`{calls[0].__name__}`", options, allowed)


def _read_table(table: Path, root: Path) -> dict[str, list[str]]:
    if not table.is_file():
        raise FileNotFoundError(f"`table` is {str(table)!r}; there is no such file")
    columns, rows = read_table(table, needed=("path", "label"), known=COLUMNS)
    paths = columns["path"]
    if "id" not in columns:
        first: dict[str, int] = {}
        for path, row in zip(paths, rows, strict=True):
            if first.setdefault(path, row) != row:
                raise ValueError(
                    f"{table}, row {row} names {path}, as row {first[path]} does; add a column "
                    "`id` to distinguish such rows"
                )
    missing = ImageFiles(root, paths).missing()
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(paths)} images that {table} names are not in {root}, "
            f"for example {', '.join(missing[:3])}"
        )
    return columns


def _images(
    root: Path, paths: Sequence[str], size: int, in_memory: bool | None
) -> Tensor | ImageFiles:
    files = ImageFiles(root, paths, size=size)
    if in_memory is None:
        in_memory = len(paths) * 3 * size**2 <= IN_MEMORY
    if in_memory:
        return files[:]
    files.check(every=None)  # before any training, a sample of them
    return files
