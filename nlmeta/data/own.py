"""A reader's own data as a split: arrays, a folder of images, or an indexed dataset.

What is known about the labels decides what can be done. Nothing known: the split has no clean
sample, and its test labels are as noisy as the others. Some samples known to be clean: they give
meta, validation and test sets. The truth known for all, as after a study: accuracy and memorisation
can be measured too. All results keep the reader's own ids.

Copies of a picture stay in one part, so that none is tested on that is trained on. A copy under
another class has a wrong label, or the other has: such pictures are in no meta, validation or test
set. Notes of the split name both.
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
    x: Tensor | ArrayLike,
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
        uint8: images of shape (n, height, width), (n, height, width, channels) or (n, channels,
        height, width), with 1 or 3 channels. Floating point, (n, ...): taken as it is, unless
        `standardise` is given. Other whole numbers: places in a vocabulary, with `words`; what
        counts or measures comes as floats. Rows of at least two dimensions that are equal, such as
        pictures, are copies.
    labels : sequence, n entries
        Given labels: class numbers from 0, or names of classes. Spaces around names and their
        Unicode form do not count; what that brings together is noted.
    seed : int
        Draws the parts.
    true_labels : sequence, n entries, optional
        The truth, if it is known for all. It is used for meta, validation and test sets, and never
        for training. Numbers here and names in `labels`, or the other way round, are refused,
        unless the names are whole numbers in writing or `class_names` says their order.
    clean : sequence of bool, n entries, optional
        Which given labels are known to be right; meta, validation and test sets come out of these.
    test : (x, labels), optional
        Test samples with labels to trust; a note counts those that are in `x` too. Default:
        `test_size` of the above.
    ids : sequence of str or int, optional
        What you call the samples. Default: 0 to n - 1.
    class_names : sequence, optional
        Names in the order of the classes. Default: the names in `labels`, sorted, by their value if
        all are whole numbers in writing; or the class numbers from 0 to the largest.
    words : bool
        Whether whole numbers in `x` are places in a vocabulary, (n, words). Default False.
    name : str
        Of the dataset. Default ``"own data"``.
    **options
        Fields of `nlmeta.data.SplitOptions`: `meta_size`, `validation_size`, `test_size` (0 unless
        given), `balanced_meta`, `meta_from`, `scale`; `standardise`, here False unless given. With
        `true_labels` equal to `labels` also `noise` and `rate`: clean data that are made noisy.

    Returns
    -------
    Split
        `nlmeta.data.make_split` says what copies do to the sizes.

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
    >>> split.class_names, sorted(split.train.sample_ids)
    (('cat', 'dog'), ['a', 'b', 'c', 'd', 'e', 'f'])
    """
    _check_options(options, from_arrays)
    if true_labels is not None and clean is not None:
        raise ValueError("`clean` is given beside `true_labels`, which already says it; pass one")
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
    own = list(range(len(inputs))) if ids is None else ids_of(ids)
    check_ids(own, len(inputs))
    for column, values in columns.items():
        shown = {"y": "labels", "true": "true_labels", VERIFIED: "clean"}[column]
        check_same_length("x", inputs, shown, values)
    keys = keys_of_rows(inputs)
    test_part = None
    if test is not None:
        x_test = inputs_of("test", test[0], words)
        check_same_kind("test", x_test, inputs)
        check_same_length("test[0]", x_test, "test[1]", numbers["test"])
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
        Holds one folder for each class, named like it, with images anywhere below; or, with
        `table`, images anywhere. Links are followed. The split's notes name other files, unless
        they are hidden, links that lead in a circle, and copies.
    seed : int
        Draws the parts.
    table : path, optional
        A CSV file in UTF-8, a row to a line, with the columns ``path`` (relative to `folder`) and
        ``label``; if there are such columns, also ``id``, ``true_label`` and ``clean`` (0 or 1),
        see `from_arrays`. Fields lie between commas, semicolons or tabs.
    clean : path, optional
        Another folder like `folder`, of images whose labels are known to be right. The meta set
        comes out of them, and validation and test sets where there is no `test`. Not with `table`,
        which has a column for it. An image that is in both folders is refused: move it.
    test : path, optional
        Another folder like `folder`, with labels to trust; no image of `folder` or `clean` may be
        in it. Equal files are found under any name, and, where images are kept in memory, equal
        pixels too, here and within a folder. A copy that was resized, or saved anew with loss, is
        not.
    size : int
        Images become what a person sees, see `nlmeta.data.pictures.as_seen`: turned as their EXIF
        data say, 16 bits scaled to 8, transparency on white. Then they are brought to ``size x
        size`` pixels: resized by the shorter side, the middle square kept. Default 64
        (ours, for a laptop; 224 to 256 suit networks trained on ImageNet).
    in_memory : bool, optional
        True: decode all images once. False: decode batches when they are needed, with several
        threads; the scale is then ImageNet's unless `scale` is given, and about a thousand images
        are decoded now to see whether they are whole. Default: True up to 2 GiB.
    class_names : sequence of str, optional
        Names in the order of the classes. Default: sorted, by their value if all are whole numbers.
        Spaces around names and their Unicode form do not count.
    name : str, optional
        Of the dataset. Default: the folder's name.
    **options
        Fields of `nlmeta.data.SplitOptions`: `meta_size`, `validation_size`, `test_size` (0 unless
        given), `balanced_meta`, `meta_from`, `scale`.

    Returns
    -------
    Split
        The ids are those of `table`, or paths relative to `folder`. `nlmeta.data.make_split` says
        what copies do to the sizes.

    Raises
    ------
    FileNotFoundError
        A folder, the table, an image that the table names, or what a link leads to is not there.
    PermissionError
        A folder cannot be read.
    TypeError
        An option is unknown; the message has those there are.
    ValueError
        An image does not decode, the folder of a class has none, a label names no class, a row of
        the table does not fit its columns, or an argument is out of range.
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
            raise ValueError("`clean` is given beside `table`; put a column `clean` into the table")
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
        A sample has an input, which is an image of `PIL` or a tensor or array, all of one shape,
        and a label. An image of `PIL` becomes what a person sees, see
        `nlmeta.data.pictures.as_seen`: one channel if its mode is a grey one, else three. Random
        augmentation in it would be frozen; leave it out and use `Split.augmented`.
    seed : int
        Draws the parts.
    columns : pair of int or of str
        Where a sample has its input and its label: places in a tuple, or keys of a dict, such as
        ``("image", "label")``. Default (0, 1).
    class_names : sequence, optional
        Default: ``dataset.classes`` if there is such a thing; the names that
        ``dataset.features`` has for the label, as those of Hugging Face do; else as in
        `from_arrays`.
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
        An option is unknown, and the message has those there are; or the dataset has no length.
    ValueError
        Samples of different shapes or without such columns, a picture that does not decode, or as
        in `from_arrays`.
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
                f"`dataset` gives an input at index {index} that is no image, tensor or array of "
                f"numbers but a {type(x).__name__}"
            ) from error
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
        class_names = names_of(dataset, columns[1])
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
                "`noise` is given, and `labels` differ from `true_labels`; noise is drawn on clean "
                "labels only: pass the same twice, or leave `noise` and `rate` out"
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
    """A class with less than a twentieth of its share may be a slip of the pen."""
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
                    f"{table}, row {row} names {path}, as row {first[path]} does; a column `id` "
                    "tells such rows apart"
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
