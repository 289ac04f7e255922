"""Tests of nlmeta.data.sources: each reader on a tiny folder in its publisher's layout.

The tests write those folders themselves. Checksums and published counts are those of the tiny
files: a test puts them where a reader looks them up, so that the check itself stays on.
"""

import math
import pickle
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import cifar_batch, dump, md5, refused, register_cifar
from PIL import Image
from torch.testing import assert_close
from torchvision import datasets

from nlmeta.data import DATASETS, ImageFiles, Part, Source, at_hand, sources
from nlmeta.data.sources import (
    _cifar_n,
    _mnist,
    animal10n,
    cifar10,
    cifar10n,
    cifar100,
    cifar100n,
    clothing1m,
    data_folder,
    fashion_mnist,
    food101n,
    mnist,
    read,
    sst,
    twitter,
    webvision,
)

ON_DISK = [name for name in DATASETS if name != "digits"]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def picture(path, colour=(10, 20, 30), size=(12, 9)):
    """A picture in one colour; PNG keeps it exactly, JPEG nearly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def cut(path, share=0.5):
    """Leave only the beginning of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


# What all readers share


def test_the_folder_is_the_argument_then_the_variable_then_a_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("NLMETA_DATA", str(tmp_path / "variable"))
    assert data_folder(tmp_path) == tmp_path
    assert data_folder() == tmp_path / "variable"
    monkeypatch.delenv("NLMETA_DATA")
    assert data_folder() == Path.home() / ".cache" / "nlmeta" / "data"


@pytest.mark.parametrize("name", ON_DISK)
def test_an_empty_folder_is_an_error_with_the_path_and_what_to_do(name, tmp_path):
    text = refused(f"{tmp_path}", lambda: read(name, folder=tmp_path), FileNotFoundError)
    assert "is not there" in text
    assert re.search("https?://|download=True", text)
    assert not list(tmp_path.iterdir())


BY_HAND = ["clothing1m", "food101n", "animal10n", "webvision", "twitter", "sst"]


@pytest.mark.parametrize("name", BY_HAND)
def test_what_has_to_be_fetched_by_hand_refuses_to_download(name, tmp_path):
    text = refused("`download` is True", lambda: read(name, folder=tmp_path / "new", download=True))
    assert "https://" in text
    assert not (tmp_path / "new").exists()


def test_an_unknown_dataset_is_refused_with_the_known_ones():
    refused("`name` is 'cifar'; it must be one of 'digits', 'mnist'", lambda: read("cifar"))


def test_an_unknown_option_of_a_reader_is_refused_with_the_known_ones(tmp_path):
    text = "`sise` is not an option of 'food101n'; options are `folder`, `download`, `size`"
    with pytest.raises(TypeError, match=re.escape(text)):
        read("food101n", folder=tmp_path, sise=64)


def test_a_part_needs_a_label_an_annotation_and_an_id_for_each_sample():
    x, y = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2])
    refused("`y` has 2 entries for 3 samples", lambda: Part(x, y[:2]))
    refused("`worst` has 2 entries", lambda: Part(x, y, {"worst": y[:2]}))
    refused("`ids` has 2 entries", lambda: Part(x, y, ids=("a", "b")))


def test_a_source_refuses_labels_beyond_its_classes():
    good = Part(torch.zeros(3, 1), torch.tensor([0, 1, 0]))
    wrong = Part(torch.zeros(3, 1), torch.tensor([0, 1, 2]))
    common = {"name": "two", "class_names": ("a", "b"), "noisy": False, "attribution": ""}
    assert Source(**common, train=good, test=None).num_classes == 2
    refused(
        "`two: test labels` holds 2 at position 2; labels must lie in 0 to 1",
        lambda: Source(**common, train=good, test=wrong),
    )


# Images on disk


def test_images_come_in_the_order_of_the_rows_asked_for(tmp_path):
    colours = [(5 * i, 100, 200 - i) for i in range(7)]
    for i, colour in enumerate(colours):
        picture(tmp_path / f"{i}.png", colour, size=(10 + i, 13))
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(7)], size=8, threads=3)
    rows = torch.tensor([4, 0, 6])
    images = files[rows]
    assert images.dtype == torch.uint8
    assert files.shape == (7, 3, 8, 8)
    assert images.shape == (3, 3, 8, 8)
    expected = torch.tensor(colours, dtype=torch.uint8)
    assert torch.equal(images, expected[rows][:, :, None, None].expand(3, 3, 8, 8))
    assert torch.equal(files[2:4][:, :, 0, 0], expected[2:4])
    assert torch.equal(files[5][:, 0, 0], expected[5])
    assert files[rows[:0]].shape == (0, 3, 8, 8)
    refused("`rows` is torch.float32 of shape (7,); it must be", lambda: files[torch.ones(7)])


def test_an_image_is_not_squeezed_and_loses_its_two_ends(tmp_path):
    """A wide image of four stripes as wide as they are high: the middle two halves stay."""
    stripes = np.zeros((8, 32, 3), np.uint8)
    for i in range(4):
        stripes[:, 8 * i : 8 * i + 8, :] = 60 * i
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    image = ImageFiles(tmp_path, ["wide.png"], size=8)[0]
    assert torch.equal(image[0, 0], torch.tensor([60] * 4 + [120] * 4, dtype=torch.uint8))
    Image.fromarray(stripes.transpose(1, 0, 2)).save(tmp_path / "high.png")
    assert torch.equal(ImageFiles(tmp_path, ["high.png"], size=8)[0], image.transpose(1, 2))


def test_grey_images_and_palettes_become_rgb(tmp_path):
    Image.new("L", (8, 8), 77).save(tmp_path / "grey.png")
    Image.new("RGB", (8, 8), (1, 2, 3)).convert("P").save(tmp_path / "palette.png")
    images = ImageFiles(tmp_path, ["grey.png", "palette.png"], size=4)[:]
    assert (images[0] == 77).all()
    assert images.shape == (2, 3, 4, 4)


def test_images_that_do_not_decode_are_named_by_the_check_and_on_reading(tmp_path):
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.jpg")
    files = ImageFiles(tmp_path, [f"{i}.jpg" for i in range(6)], size=16)
    files.check()
    cut(tmp_path / "3.jpg")
    (tmp_path / "4.jpg").write_text("no image")
    text = refused("2 of 6 images that were checked do not decode", files.check)
    assert str(tmp_path / "3.jpg") in text
    assert str(tmp_path / "4.jpg") in text
    refused(tmp_path / "3.jpg", lambda: files[torch.tensor([0, 3])])
    files.check(every=5)  # looks at 0 and 5
    refused("1 of 3 images", lambda: files.check(every=2))  # at 0, 2 and 4
    refused("`every` is 0", lambda: files.check(every=0))


def test_missing_names_those_without_a_file(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "top.png")
    files = ImageFiles(tmp_path, ["a/1.png", "a/2.png", "b/1.png", "top.png", "not.png"])
    assert files.missing() == ["a/2.png", "b/1.png", "not.png"]


# MNIST, Fashion-MNIST


def idx(path, values):
    """An IDX file of unsigned bytes: magic number, sizes with the highest byte first, values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(struct.pack(">I", size) for size in values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


def write_mnist(folder, kind="MNIST"):
    """Six and four pictures; the arrays that went into the files, in their order."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 6), ("t10k", 4)):
        arrays[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = random.integers(0, 10, n, dtype=np.uint8)
    for name, values in arrays.items():
        idx(folder / kind / "raw" / name, values)
    return list(arrays.values())


def changed_files(monkeypatch, module, **changes):
    monkeypatch.setattr(module, "_FILES", replace(module._FILES, **changes))


def tiny_mnist(monkeypatch, folder, kind="MNIST", module=mnist):
    arrays = write_mnist(folder, kind)
    checksums = {name: md5(folder / name) for name in module._FILES.checksums}
    changed_files(monkeypatch, module, checksums=checksums)
    return arrays


@pytest.mark.parametrize(
    ("name", "kind", "module", "first"),
    [
        ("mnist", "MNIST", mnist, "0"),
        ("fashion_mnist", "FashionMNIST", fashion_mnist, "T-shirt/top"),
    ],
)
def test_mnist_gives_what_is_in_its_four_files(monkeypatch, tmp_path, name, kind, module, first):
    x, y, test_x, test_y = tiny_mnist(monkeypatch, tmp_path, kind, module)
    source = read(name, folder=tmp_path)
    assert source.name == name
    assert source.class_names[0] == first
    assert source.num_classes == 10
    assert torch.equal(source.train.x, torch.from_numpy(x).unsqueeze(1))
    assert torch.equal(source.test.x, torch.from_numpy(test_x).unsqueeze(1))
    assert source.train.x.dtype == torch.uint8
    assert source.train.y.tolist() == y.tolist()
    assert source.test.y.tolist() == test_y.tolist()
    assert source.train.y.dtype == torch.int64
    assert not source.noisy
    source.check()  # nothing to decode


def test_an_mnist_file_cut_short_is_named_where_torchvision_takes_it_for_there(
    monkeypatch, tmp_path
):
    tiny_mnist(monkeypatch, tmp_path)
    damaged = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    cut(damaged)
    assert datasets.MNIST._check_exists(
        type(
            "Folder", (), {"raw_folder": str(damaged.parent), "resources": datasets.MNIST.resources}
        )
    )
    text = refused(damaged, lambda: read("mnist", folder=tmp_path))
    assert "is not the published file" in text


def test_a_download_that_breaks_off_leaves_nothing_and_is_not_taken_for_whole(
    monkeypatch, tmp_path
):
    tiny_mnist(monkeypatch, tmp_path / "whole")
    folder = tmp_path / "data"

    def breaking(fresh):
        write_mnist(fresh)
        cut(fresh / "MNIST" / "raw" / "train-images-idx3-ubyte")
        raise ConnectionResetError("connection reset")

    changed_files(monkeypatch, mnist, fetch=breaking)
    text = refused(
        "failed (connection reset)",
        lambda: read("mnist", folder=folder, download=True),
        error=OSError,
    )
    assert "connection reset" in text
    assert not list(folder.iterdir())
    refused("is not there", lambda: read("mnist", folder=folder), FileNotFoundError)


def test_a_download_of_other_contents_is_refused_and_not_kept(monkeypatch, tmp_path):
    tiny_mnist(monkeypatch, tmp_path / "whole")
    folder = tmp_path / "data"

    def other(fresh):
        write_mnist(fresh)
        cut(fresh / "MNIST" / "raw" / "t10k-labels-idx1-ubyte")

    changed_files(monkeypatch, mnist, fetch=other)
    refused("is not the published file", lambda: read("mnist", folder=folder, download=True))
    assert not list(folder.iterdir())


def test_a_download_mends_a_damaged_file_and_is_not_repeated(monkeypatch, tmp_path):
    tiny_mnist(monkeypatch, tmp_path)
    calls = []

    class Good:
        def __init__(self, root, download):
            calls.append(download)
            write_mnist(root)

    Good.__name__ = "MNIST"
    checksums = {Path(name).name: md5 for name, md5 in mnist._FILES.checksums.items()}
    monkeypatch.setattr(mnist, "_FILES", _mnist.files_of(Good, checksums))
    cut(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte")
    assert len(read("mnist", folder=tmp_path, download=True).train) == 6
    read("mnist", folder=tmp_path, download=True)
    assert calls == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


# CIFAR


def tiny_cifar10(monkeypatch, folder):
    base = folder / "cifar-10-batches-py"
    names = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"]
    batches = {
        name: cifar_batch(4, seed, labels=[(seed + 3 * i) % 10 for i in range(4)])
        for seed, name in enumerate([*names, "test_batch"])
    }
    for name, content in batches.items():
        dump(base / name, content)
    dump(base / "batches.meta", {"label_names": [f"class {c}" for c in range(10)]})
    register_cifar(monkeypatch, folder, datasets.CIFAR10, cifar10)
    return batches


def tiny_cifar100(monkeypatch, folder, superclass=lambda fine: fine // 5):
    base = folder / "cifar-100-python"
    batches = {}
    for seed, (name, n) in enumerate((("train", 110), ("test", 7))):
        fine = [(7 * i + seed) % 100 for i in range(n)]
        coarse = [superclass(c) for c in fine]
        batches[name] = cifar_batch(n, seed, fine_labels=fine, coarse_labels=coarse)
        dump(base / name, batches[name])
    meta = {
        "fine_label_names": [f"fine {c}" for c in range(100)],
        "coarse_label_names": [f"coarse {c}" for c in range(20)],
    }
    dump(base / "meta", meta)
    register_cifar(monkeypatch, folder, datasets.CIFAR100, cifar100)
    return batches


def test_cifar10_joins_its_batches_in_order_with_the_layout_that_torchvision_reads(
    monkeypatch, tmp_path
):
    batches = tiny_cifar10(monkeypatch, tmp_path)
    source = read("cifar10", folder=tmp_path)
    for part, samples in (("train", source.train), ("test", source.test)):
        expected = datasets.CIFAR10(tmp_path, train=part == "train")
        assert torch.equal(samples.x, torch.from_numpy(expected.data).permute(0, 3, 1, 2))
        assert samples.y.tolist() == expected.targets
        assert samples.x.dtype == torch.uint8
    assert source.train.x.shape == (20, 3, 32, 32)
    assert source.train.ids[4:6] == ("1_0.png", "1_1.png")
    assert source.class_names[9] == "class 9"
    assert source.test.y.tolist() == batches["test_batch"]["labels"]


def test_cifar100_has_its_superclasses(monkeypatch, tmp_path):
    batches = tiny_cifar100(monkeypatch, tmp_path, superclass=lambda fine: (3 * fine) % 20)
    source = read("cifar100", folder=tmp_path)
    assert source.num_classes == 100
    assert source.train.y.tolist() == batches["train"]["fine_labels"]
    assert source.test.annotations["coarse"].tolist() == batches["test"]["coarse_labels"]
    assert source.superclasses.tolist() == [(3 * fine) % 20 for fine in range(100)]
    assert source.superclass_names[19] == "coarse 19"


def test_a_class_in_two_superclasses_is_refused(monkeypatch, tmp_path):
    tiny_cifar100(monkeypatch, tmp_path)
    path = tmp_path / "cifar-100-python" / "train"
    content = pickle.loads(path.read_bytes())
    content["coarse_labels"][0] += 1
    dump(path, content)
    register_cifar(monkeypatch, tmp_path, datasets.CIFAR100, cifar100)
    refused("two superclasses", lambda: read("cifar100", folder=tmp_path))


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_cifar_file_of_another_md5_is_named_and_not_unpickled(monkeypatch, tmp_path):
    tiny_cifar10(monkeypatch, tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    trace = tmp_path / "ran"
    dump(path, Harmful(trace))
    text = refused(path, lambda: read("cifar10", folder=tmp_path))
    assert "is not the published file" in text
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()  # it would have run


# Human labels


def human_labels(monkeypatch, folder, name, content):
    path = folder / "cifar-n" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    module = cifar10n if name == "CIFAR-10_human.pt" else cifar100n
    changed_files(monkeypatch, module, checksums={name: md5(path)})
    return path


def tiny_cifar10n(monkeypatch, folder, **changes):
    batches = tiny_cifar10(monkeypatch, folder)
    clean = np.array(sum((batches[name]["labels"] for name in sorted(batches)[:5]), []))
    keys = ["aggre_label", "random_label1", "random_label2", "random_label3", "worse_label"]
    content = {"clean_label": clean}
    content |= {key: np.where(np.arange(20) <= i, 9 - i, clean) for i, key in enumerate(keys)}
    content |= changes
    return content, human_labels(monkeypatch, folder, "CIFAR-10_human.pt", content)


def test_cifar10n_gives_each_kind_of_human_label_beside_the_clean_ones(monkeypatch, tmp_path):
    content, _ = tiny_cifar10n(monkeypatch, tmp_path)
    source = read("cifar10n", folder=tmp_path)
    keys = {
        "aggregate": "aggre_label",
        "random1": "random_label1",
        "random2": "random_label2",
        "random3": "random_label3",
        "worst": "worse_label",
    }
    assert set(source.train.annotations) == set(keys)
    for name, key in keys.items():
        assert source.train.annotations[name].tolist() == content[key].tolist()
        assert source.train.annotations[name].dtype == torch.int64
    assert source.train.y.tolist() == content["clean_label"].tolist()
    assert source.name == "cifar10n"
    assert source.human_annotations == tuple(keys)
    assert source.superclass_annotations == ()
    assert "CC BY-NC 4.0" in source.attribution


def tiny_cifar100n(monkeypatch, folder):
    batches = tiny_cifar100(monkeypatch, folder)
    clean = np.array(batches["train"]["fine_labels"])
    noisy = (clean + (np.arange(110) % 3 == 0)) % 100
    content = {
        "clean_label": clean,
        "noisy_label": noisy,
        "clean_coarse_label": list(clean // 5),  # the published file has lists here
        "noisy_coarse_label": list(noisy // 5),
    }
    human_labels(monkeypatch, folder, "CIFAR-100_human.pt", content)
    return clean, noisy


def test_cifar100n_gives_fine_and_coarse_human_labels(monkeypatch, tmp_path):
    clean, noisy = tiny_cifar100n(monkeypatch, tmp_path)
    source = read("cifar100n", folder=tmp_path)
    annotations = source.train.annotations
    assert annotations["noisy_fine"].tolist() == noisy.tolist()
    assert annotations["noisy_coarse"].tolist() == (noisy // 5).tolist()
    assert annotations["coarse"].tolist() == (clean // 5).tolist()
    assert source.human_annotations == source.label_sets == ("noisy_fine", "noisy_coarse")
    assert source.superclass_annotations == ("noisy_coarse",)


def test_human_labels_in_another_order_are_refused(monkeypatch, tmp_path):
    content, _ = tiny_cifar10n(monkeypatch, tmp_path)
    order = np.random.default_rng(0).permutation(20)
    shuffled = {key: labels[order] for key, labels in content.items()}
    differing = int((shuffled["clean_label"] != content["clean_label"]).sum())
    assert differing > 0
    path = human_labels(monkeypatch, tmp_path, "CIFAR-10_human.pt", shuffled)
    text = refused("is in another order", lambda: read("cifar10n", folder=tmp_path))
    assert str(path) in text
    assert f"at {differing} of 20 positions" in text


def test_human_labels_of_other_length_contents_or_range_are_refused(monkeypatch, tmp_path):
    content, path = tiny_cifar10n(monkeypatch, tmp_path)

    def with_content(changed):
        human_labels(monkeypatch, tmp_path, "CIFAR-10_human.pt", changed)
        return lambda: read("cifar10n", folder=tmp_path)

    short = {key: labels[:19] for key, labels in content.items()}
    refused(f"{path} has labels of 19 images", with_content(short))
    other = {key: labels for key, labels in content.items() if key != "worse_label"}
    text = refused(f"{path} holds ['aggre_label'", with_content(other))
    assert "worse_label" in text
    refused(f"{path} holds ndarray", with_content(content["clean_label"]))
    wrong = {**content, "aggre_label": content["aggre_label"] + 1}
    refused(f"`aggre_label in {path}` holds 10", with_content(wrong))


def test_a_human_label_file_cut_short_is_named_with_where_to_get_it(monkeypatch, tmp_path):
    _, path = tiny_cifar10n(monkeypatch, tmp_path)
    cut(path)
    text = refused(f"{path} is not the published file", lambda: read("cifar10n", folder=tmp_path))
    assert "https://github.com/UCSC-REAL/cifar-10-100n (CC BY-NC 4.0" in text
    changed_files(monkeypatch, cifar10n, checksums={path.name: md5(path)})
    refused(f"{path} does not load", lambda: read("cifar10n", folder=tmp_path))


def test_a_human_label_file_can_run_no_code_whatever_its_md5(monkeypatch, tmp_path):
    trace = tmp_path / "ran"
    _, path = tiny_cifar10n(monkeypatch, tmp_path, worse_label=Harmful(trace))
    refused(f"{path} does not load", lambda: read("cifar10n", folder=tmp_path))
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # it would have run


def test_human_labels_are_downloaded_only_when_asked_for_and_checked(monkeypatch, tmp_path):
    _, path = tiny_cifar10n(monkeypatch, tmp_path)
    whole = path.read_bytes()
    path.unlink()
    asked = []

    def fetch(address, folder):
        asked.append(address)
        (Path(folder) / path.name).write_bytes(whole[: len(whole) // len(asked)])
        if len(asked) == 3:
            raise TimeoutError("timed out")

    monkeypatch.setattr(_cifar_n, "download_url", fetch)
    refused("is not there", lambda: read("cifar10n", folder=tmp_path), FileNotFoundError)
    assert not asked
    assert len(read("cifar10n", folder=tmp_path, download=True).train) == 20
    read("cifar10n", folder=tmp_path, download=True)
    assert len(asked) == 1
    assert asked[0].endswith("/UCSC-REAL/cifar-10-100n/main/data/CIFAR-10_human.pt")
    path.unlink()
    refused("not the published", lambda: read("cifar10n", folder=tmp_path, download=True))
    refused("timed out", lambda: read("cifar10n", folder=tmp_path, download=True), OSError)
    assert not list(path.parent.iterdir())


# Tables for feature-dependent noise


def table_of(tmp_path, values, dataset="cifar10"):
    folder = tmp_path / "algan-noise" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "logits.npy", values)
    return folder / "logits.npy"


def test_a_table_that_went_through_softmax_twice_says_so(tmp_path):
    logits = 12 * torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    once, twice = logits.softmax(1), logits.softmax(1).softmax(1)
    table_of(tmp_path, twice.numpy())
    table = sources.read_prediction_table("cifar10", folder=tmp_path)
    assert torch.equal(table.values, twice)
    assert "softmax was applied twice" in table.notes[0]
    low, high = 1 / (math.e + 9), math.e / (math.e + 9)
    assert (round(low, 4), round(high, 4)) == (0.0853, 0.2320)  # the bounds that the text names
    assert low - 1e-7 <= twice.min()  # the round-off of float32
    assert twice.max() <= high + 1e-7
    table_of(tmp_path, once.numpy())
    assert not sources.read_prediction_table("cifar10", folder=tmp_path).notes
    doubtful = np.full((5, 10), 0.02) + 0.2 * np.eye(10)[:5]
    doubtful[:, 5:9] += 0.15  # rows sum to 1, the highest value is 0.22, but 0.02 is too low
    table_of(tmp_path, doubtful)
    assert "softmax" not in " ".join(
        sources.read_prediction_table("cifar10", folder=tmp_path).notes
    )
    table_of(tmp_path, logits.numpy())
    notes = sources.read_prediction_table("cifar10", folder=tmp_path).notes
    assert notes == ("rows do not sum to 1: these are not probabilities",)


def test_the_share_of_rows_without_a_second_best_class_is_noted(tmp_path):
    table_of(tmp_path, np.array([[0.8, 0.1, 0.1], [0.2, 0.3, 0.5], [0, 0.4, 0.6], [0, 1, 0]]))
    notes = sources.read_prediction_table("cifar10", folder=tmp_path).notes
    assert notes == ("second and third place tie exactly in 50.0 % of the rows",)


def test_a_damaged_table_is_named(tmp_path):
    def call():
        return sources.read_prediction_table("fashion_mnist", folder=tmp_path)

    path = table_of(tmp_path, np.full((40, 10), 0.1, np.float32), "mnist_fashion")
    assert call().values.shape == (40, 10)
    cut(path)
    refused(f"{path} is not a whole .npy file", call)
    table_of(tmp_path, np.zeros(4, np.float32), "mnist_fashion")
    refused(f"{path} is float32 of shape (4,)", call)
    table_of(tmp_path, np.full((4, 3), np.nan), "mnist_fashion")
    refused("not finite", call)
    np.save(path, np.array([Harmful(tmp_path / "ran")]), allow_pickle=True)
    refused(f"{path} is not a whole .npy file", call)
    assert not (tmp_path / "ran").exists()
    path.unlink()
    text = refused(path, call, FileNotFoundError)
    assert "https://github.com/gorkemalgan/corrupting_labels_with_distillation" in text


def test_shipped_labels_tell_the_rate_that_they_really_have(tmp_path):
    true = torch.arange(100) % 4
    noisy = true.clone()
    noisy[:25] = (noisy[:25] + 1) % 4
    folder = tmp_path / "algan-noise" / "mnist_fashion"
    folder.mkdir(parents=True)

    def shipped(percent, labels=noisy):
        np.save(folder / f"uniform_{percent}_ytrain.npy", labels.numpy())
        return sources.read_shipped_labels(
            "fashion_mnist", "uniform", percent, true, folder=tmp_path
        )

    assert torch.equal(shipped(25).y, noisy)
    assert shipped(25).rate == 0.25
    assert not shipped(25).notes
    assert shipped(35).notes == (
        "25.00 % of the labels in uniform_35_ytrain.npy are wrong, not 35 %",
    )
    refused("shape (99,)", lambda: shipped(25, noisy[:99]))
    refused("holds 4 at position 3", lambda: shipped(25, true + 1))
    refused("`percent` is 20", lambda: shipped(20))


# Clothing1M


def tiny_clothing1m(monkeypatch, folder, lists="."):
    root = folder / "clothing1M"
    keys = [f"images/{i % 3}/{i:02d}/{i}.jpg" for i in range(10)]
    for i, key in enumerate(keys):
        picture(root / key, colour=(20 * i, 100, 50))
    names = {"noisy_train": keys[:4], "clean_train": keys[4:7], "clean_val": keys[7:9]}
    names["clean_test"] = keys[9:]
    noisy = {key: (5 * i) % 14 for i, key in enumerate(keys) if i < 6}
    clean = {key: (3 * i) % 14 for i, key in enumerate(keys) if i >= 4}
    texts = {f"{name}_key_list.txt": "".join(f"{key}\n" for key in names[name]) for name in names}
    texts["noisy_label_kv.txt"] = "".join(f"{key} {label}\n" for key, label in noisy.items())
    texts["clean_label_kv.txt"] = "".join(f"{key} {label}\n" for key, label in clean.items())
    texts["category_names_eng.txt"] = "".join(f"Class {c}\n" for c in range(14))
    for name, text in texts.items():
        write(root / lists / name, text)
    monkeypatch.setattr(clothing1m, "_PUBLISHED", {name: len(names[name]) for name in names})
    return root


@pytest.mark.parametrize("lists", [".", "annotations"])
def test_clothing1m_gives_its_four_lists_with_noisy_and_clean_labels(monkeypatch, tmp_path, lists):
    tiny_clothing1m(monkeypatch, tmp_path, lists)
    source = read("clothing1m", folder=tmp_path, size=8)
    assert source.noisy
    assert source.class_names[13] == "Class 13"
    assert {name: len(part) for name, part in source.parts.items()} == {
        "train": 4,
        "clean_train": 3,
        "validation": 2,
        "test": 1,
    }
    assert source.train.y.tolist() == [0, 5, 10, 1]
    assert source.clean_train.y.tolist() == [12, 1, 4]
    assert source.clean_train.annotations["noisy"].tolist() == [6, 11, -1]
    assert source.test.y.tolist() == [27 % 14]
    assert source.train.ids[1] == "images/1/01/1.jpg"
    reds = source.train.x[torch.tensor([3, 1])][:, 0].float().mean((1, 2))
    assert_close(reds, torch.tensor([60.0, 20.0]), atol=2, rtol=0)  # JPEG moves a grey value or two
    source.check()


def test_clothing1m_names_what_does_not_fit(monkeypatch, tmp_path):
    root = tiny_clothing1m(monkeypatch, tmp_path)

    def call():
        return read("clothing1m", folder=tmp_path, size=8)

    labels = root / "noisy_label_kv.txt"
    whole = labels.read_text()
    write(labels, whole.replace(" 10\n", " 14\n"))
    refused(f"{labels}, line 3: 'images/2/02/2.jpg 14' is not", call)
    write(labels, whole.replace("images/1/01/1.jpg 5\n", ""))
    refused("lists 1 images without a label, first images/1/01/1.jpg", call)
    write(labels, whole + "images/0/00/0.jpg 3\n")
    refused("images/0/00/0.jpg has two labels", call)
    write(labels, whole)

    keys = root / "noisy_train_key_list.txt"
    listed = keys.read_text()
    cut(keys)
    refused(f"{keys} gives 2 images, where 4 were published", call)
    write(keys, listed)

    (root / "images/2/08/8.jpg").unlink()
    text = refused("1 of the 2 images that", call, FileNotFoundError)
    assert "images/2/08/8.jpg" in text
    (root / "images/2/08/8.jpg").write_bytes(b"")
    source = call()
    refused(root / "images/2/08/8.jpg", source.check)
    source.train.x.check()


# Food-101N


FOODS = [f"food_{c:03d}" for c in range(101)]


def tiny_food101n(monkeypatch, folder, with_test=True):
    release = folder / "Food-101N_release"
    keys = [f"{FOODS[c]}/{i}.jpg" for i, c in enumerate([0, 7, 7, 100, 50, 3])]
    for key in keys:
        picture(release / "images" / key)
    heading = "class_name/key\tverification_label\n"
    write(release / "meta" / "classes.txt", "class_name\n" + "\n".join(FOODS) + "\n")
    write(release / "meta" / "imagelist.tsv", "class_name/key\n" + "\n".join(keys) + "\n")
    write(release / "meta" / "verified_train.tsv", f"{heading}{keys[0]}\t1\n{keys[2]}\t0\n")
    write(release / "meta" / "verified_val.tsv", f"{heading}{keys[3]}\t0\n{keys[5]}\t1\n")
    published = {"imagelist": 6, "verified_train": 2, "verified_val": 2, "test": 2}
    monkeypatch.setattr(food101n, "_PUBLISHED", published)
    if with_test:
        write(folder / "food-101" / "meta" / "test.txt", "food_009/11\nfood_001/22\n")
        picture(folder / "food-101" / "images" / "food_009" / "11.jpg")
        picture(folder / "food-101" / "images" / "food_001" / "22.jpg")
    return release


def test_food101n_gives_classes_verdicts_and_the_test_part_of_food101(monkeypatch, tmp_path):
    tiny_food101n(monkeypatch, tmp_path)
    source = read("food101n", folder=tmp_path, size=8)
    assert source.class_names == tuple(FOODS)
    assert source.train.y.tolist() == [0, 7, 7, 50]
    assert source.train.annotations["verified"].tolist() == [1, -1, 0, -1]
    assert source.validation.y.tolist() == [100, 3]
    assert source.validation.annotations["verified"].tolist() == [0, 1]
    assert source.test.y.tolist() == [9, 1]
    assert source.train.x[:].shape == (4, 3, 8, 8)
    assert source.test.x[:].shape == (2, 3, 8, 8)
    assert source.notes == ()
    source.check()


def test_food101n_without_food101_has_no_test_part_and_says_so(monkeypatch, tmp_path):
    tiny_food101n(monkeypatch, tmp_path, with_test=False)
    source = read("food101n", folder=tmp_path, size=8)
    assert source.test is None
    assert "test" not in source.parts
    assert source.notes == (f"no test part: Food-101 is not in {tmp_path / 'food-101'}",)


def test_a_verdict_on_an_image_that_is_not_listed_is_left_out_and_noted(monkeypatch, tmp_path):
    """One key of the published files stands under another class in the list of verdicts."""
    release = tiny_food101n(monkeypatch, tmp_path)
    keys = [f"{FOODS[i % 101]}/{i}.jpg" for i in range(1100)]
    for key in keys:
        (release / "images" / key).parent.mkdir(exist_ok=True)
        (release / "images" / key).touch()
    held_out = ["food_100/3.jpg", "food_003/5.jpg"]  # of the tiny folder
    write(release / "meta" / "imagelist.tsv", "class_name/key\n" + "\n".join(keys + held_out))
    monkeypatch.setattr(
        food101n,
        "_PUBLISHED",
        {"imagelist": 1102, "verified_train": 1000, "verified_val": 2, "test": 2},
    )
    path = release / "meta" / "verified_train.tsv"

    def judge(judged):
        rows = "".join(f"{key}\t1\n" for key in judged)
        write(path, f"class_name/key\tverification_label\n{rows}")

    judge([*keys[:999], "food_001/0.jpg"])
    source = read("food101n", folder=tmp_path)
    assert source.train.annotations["verified"].tolist() == [1] * 999 + [-1] * 101
    assert source.notes == (
        "verified_train.tsv names 1 images that imagelist.tsv does not; their verdicts are left "
        "out: food_001/0.jpg",
    )
    judge([*keys[:998], "food_001/0.jpg", "food_002/0.jpg"])
    text = refused("names 2 images that", lambda: read("food101n", folder=tmp_path))
    assert str(path) in text


def test_food101n_names_what_does_not_fit(monkeypatch, tmp_path):
    release = tiny_food101n(monkeypatch, tmp_path)

    def call():
        return read("food101n", folder=tmp_path, size=8)

    classes, verdicts = release / "meta" / "classes.txt", release / "meta" / "verified_val.tsv"
    listed, judged = classes.read_text(), verdicts.read_text()
    write(classes, listed.replace("food_100\n", ""))
    refused(f"{classes} names 100 classes", call)
    write(classes, listed.replace("food_100", "food_bread"))
    refused("the class of food_100/3.jpg is not in classes.txt", call)
    write(classes, listed)
    write(verdicts, judged.replace("\t1", "\t2"))
    refused(f"{verdicts}: 'food_003/5.jpg\\t2' is not", call)
    write(verdicts, judged)
    cut(release / "meta" / "imagelist.tsv", 0.6)
    refused(f"{release / 'meta' / 'imagelist.tsv'} gives", call)


# ANIMAL-10N


def record(number, label, pixels):
    return struct.pack(">II", number, label) + pixels.tobytes()


def tiny_animal10n(monkeypatch, folder):
    """Seven records to train, in two files, and three to test."""
    root = folder / "animal-10n"
    root.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 64, 64), dtype=np.uint8)
    records = [record(1000 + i, (3 * i) % 10, pixels[i]) for i in range(10)]
    (root / "data_batch_1.bin").write_bytes(b"".join(records[:4]))
    (root / "data_batch_2.bin").write_bytes(b"".join(records[4:7]))
    (root / "test_batch.bin").write_bytes(b"".join(records[7:]))
    monkeypatch.setattr(animal10n, "_PUBLISHED", {"train": 7, "test": 3})
    return root, torch.from_numpy(pixels)


def test_animal10n_reads_records_of_id_label_and_pixels(monkeypatch, tmp_path):
    _, pixels = tiny_animal10n(monkeypatch, tmp_path)
    source = read("animal10n", folder=tmp_path)
    assert torch.equal(source.train.x, pixels[:7])
    assert torch.equal(source.test.x, pixels[7:])
    assert source.train.y.tolist() == [(3 * i) % 10 for i in range(7)]
    assert source.train.ids[6] == "1006"
    assert source.class_names[9] == "guinea pig"
    assert source.noisy


def test_animal10n_reads_images_with_the_label_in_the_name(monkeypatch, tmp_path):
    root = tmp_path / "animal-10n"
    for i in range(4):
        picture(root / "training" / f"{9 - 2 * i}_abc{i}.png", (i, 0, 0), size=(64, 64))
    picture(root / "testing" / "5_xyz.png", size=(64, 64))
    monkeypatch.setattr(animal10n, "_PUBLISHED", {"train": 4, "test": 1})
    source = read("animal10n", folder=tmp_path)
    assert source.train.ids == ["3_abc3.png", "5_abc2.png", "7_abc1.png", "9_abc0.png"]
    assert source.train.y.tolist() == [3, 5, 7, 9]
    assert source.train.x.shape == (4, 3, 64, 64)
    assert source.train.x[:, 0, 0, 0].tolist() == [3, 2, 1, 0]
    cut(root / "training" / "5_abc2.png")
    refused(root / "training" / "5_abc2.png", lambda: read("animal10n", folder=tmp_path))
    (root / "training" / "5_abc2.png").rename(root / "training" / "lynx.png")
    refused("lynx.png does not begin with a label", lambda: read("animal10n", folder=tmp_path))


def test_animal10n_names_what_does_not_fit(monkeypatch, tmp_path):
    root, pixels = tiny_animal10n(monkeypatch, tmp_path)

    def call():
        return read("animal10n", folder=tmp_path)

    path = root / "data_batch_2.bin"
    whole = path.read_bytes()
    cut(path)
    refused(f"{path} has {len(path.read_bytes())} bytes", call)
    path.write_bytes(whole[: 2 * len(whole) // 3])
    refused("gives 6 images to train, where 7 were published", call)
    path.write_bytes(whole[: 2 * len(whole) // 3] + record(3, 10, pixels[0].numpy()))
    refused("has label 10; labels must lie in 0 to 9", call)
    path.write_bytes(whole)
    (root / "test_batch.bin").unlink()
    refused(root / "test_batch.bin", call, FileNotFoundError)


# WebVision


def tiny_webvision(monkeypatch, folder):
    root = folder / "webvision"
    train = {"google/q0001/a.jpg": 0, "google/q0002/b.jpg": 49, "google/q0900/c.jpg": 50}
    train["google/q0001/d.jpg"] = 0
    validation = {"val000002.jpg": 3, "val000001.jpg": 999}
    for name, labels in (("train_filelist_google", train), ("val_filelist", validation)):
        text = "".join(f"{path} {label}\n" for path, label in labels.items())
        write(root / "info" / f"{name}.txt", text)
    synsets = "".join(f"n{c:08d} thing {c}, stuff\n" for c in range(1000))
    write(root / "info" / "synsets.txt", synsets)
    for name, label in train.items():
        if label < 50:
            picture(root / name)
    picture(root / "val_images_256" / "val000002.jpg")
    monkeypatch.setattr(webvision, "_PUBLISHED", {"train": 3, "validation": 1})
    return root


def test_webvision_gives_the_first_fifty_classes_in_the_order_of_its_lists(monkeypatch, tmp_path):
    tiny_webvision(monkeypatch, tmp_path)
    source = read("webvision", folder=tmp_path, size=8)
    assert source.train.y.tolist() == [0, 49, 0]
    assert source.train.ids == ["google/q0001/a.jpg", "google/q0002/b.jpg", "google/q0001/d.jpg"]
    assert source.test.y.tolist() == [3]
    assert source.num_classes == 50
    assert source.class_names[49] == "thing 49, stuff"
    assert source.train.x[:].shape == (3, 3, 8, 8)
    source.check()


def test_webvision_names_what_does_not_fit(monkeypatch, tmp_path):
    root = tiny_webvision(monkeypatch, tmp_path)

    def call():
        return read("webvision", folder=tmp_path, size=8)

    (root / "google" / "q0002" / "b.jpg").unlink()
    refused("google/q0002/b.jpg", call, FileNotFoundError)
    picture(root / "google" / "q0002" / "b.jpg")
    path = root / "info" / "train_filelist_google.txt"
    whole = path.read_text()
    write(path, whole.replace("b.jpg 49", "b.jpg 1000"))
    refused(f"{path}, line 2", call)
    write(path, whole.partition("\n")[0] + "\n")
    refused(f"{path} gives 1 images of the first 50 classes, where 3 were published", call)
    write(path, whole)
    cut(root / "info" / "synsets.txt")
    refused("classes; it must name 1000", call)


# Tweets


def tiny_twitter(monkeypatch, folder):
    root = folder / "twitter-pos" / "glc"
    write(root / "tweets-train.txt", "i\tO\nlike\tV\ni\tO\n\nlike\tV\n:)\tE\n\n")
    write(root / "tweets-dev.txt", "we\tO\nlike\tV\n\n")
    write(root / "tweets-devtest.txt", "i\tO\n:)\tE\n\n")
    monkeypatch.setattr(twitter, "_PUBLISHED", {"train": 5, "validation": 2, "test": 2})
    return root


def test_a_tweet_becomes_windows_with_edges_and_unknown_words(monkeypatch, tmp_path):
    tiny_twitter(monkeypatch, tmp_path)
    source = read("twitter", folder=tmp_path)
    # ":)" comes once in the training part, "we" never.
    assert source.vocabulary == ("</s>", "<unk>", "i", "like")
    assert source.train.x.tolist() == [[0, 2, 3], [2, 3, 2], [3, 2, 0], [0, 3, 1], [3, 1, 0]]
    assert source.validation.x.tolist() == [[0, 1, 3], [1, 3, 0]]
    assert source.test.x.tolist() == [[0, 2, 1], [2, 1, 0]]
    tags = [source.class_names[label] for label in source.train.y]
    assert tags == ["O", "V", "O", "V", "E"]
    assert source.num_classes == 25
    assert source.vectors is None
    assert read("twitter", folder=tmp_path, window=0).test.x.tolist() == [[2], [1]]
    wide = read("twitter", folder=tmp_path, window=2).test.x
    assert wide.tolist() == [[0, 0, 2, 1, 0], [0, 2, 1, 0, 0]]


def test_word_vectors_of_a_file_stand_in_the_order_of_the_vocabulary(monkeypatch, tmp_path):
    tiny_twitter(monkeypatch, tmp_path)
    path = tmp_path / "vectors.txt"
    write(path, "5 2\nwe 1 2\nlike 3 4\nzebra 9 9\n</s> 5 6\nUUUNKKK 7 8\n")
    source = read("twitter", folder=tmp_path, vectors=path)
    assert source.vocabulary == ("</s>", "<unk>", "like", "we")
    assert source.vectors.tolist() == [[5, 6], [7, 8], [3, 4], [1, 2]]
    assert source.vectors.dtype == torch.float32
    assert source.validation.x.tolist() == [[0, 3, 2], [3, 2, 0]]
    assert source.notes == ()
    write(path, "we 1 2\nlike 3 4\n")
    source = read("twitter", folder=tmp_path, vectors=path)
    assert source.vectors[:2].tolist() == [[2, 3], [2, 3]]
    assert [note.partition(":")[0] for note in source.notes] == [
        "vectors.txt has no vector for </s>",
        "vectors.txt has no vector for <unk>",
    ]


def test_twitter_names_what_does_not_fit(monkeypatch, tmp_path):
    root = tiny_twitter(monkeypatch, tmp_path)

    def call(**options):
        return lambda: read("twitter", folder=tmp_path, **options)

    path = tmp_path / "vectors.txt"
    write(path, "we 1 2\nlike 3\n")
    refused(f"{path}, line 2 has 1 numbers for 'like'", call(vectors=path))
    write(path, "we 1 2\nlike 3 x\n")
    refused(f"{path}, line 2", call(vectors=path))
    write(path, "zebra 1 2\n")
    refused("has a vector for none of the 4 words", call(vectors=path))
    write(path, "we 1 nan\n")
    refused("not finite", call(vectors=path))
    refused(tmp_path / "no.txt", call(vectors=tmp_path / "no.txt"), FileNotFoundError)
    train = root / "tweets-train.txt"
    whole = train.read_text()
    write(train, whole.replace("like\tV", "like\tW", 1))
    refused(f"{train}, line 2: 'like\\tW' is not a token, a tab and a tag", call())
    write(train, whole.partition("\n\n")[0])
    refused(f"{train} gives 3 tokens, where 5 were published", call())
    train.write_bytes(b"\xff\xfe")
    refused(f"{train} is not a text file", call())


# Phrases


def tiny_sst(monkeypatch, folder):
    root = folder / "sst-glc"
    write(root / "senti.binary.train", "A fine film\t1\na film\t0\na FILM of films\t0\n")
    write(root / "senti.binary.dev", "fine films , all of them\t1\n")
    write(root / "senti.binary.test", "a bad film\t0\nfine\t1\n")
    monkeypatch.setattr(sst, "_PUBLISHED", {"train": 3, "validation": 1, "test": 2})
    return root


def test_a_phrase_becomes_its_last_words_filled_in_front(monkeypatch, tmp_path):
    tiny_sst(monkeypatch, tmp_path)
    source = read("sst", folder=tmp_path, length=4)
    # By frequency in the training part, in lower case.
    assert source.vocabulary == ("</s>", "<unk>", "a", "film", "fine", "of", "films")
    assert source.train.x.tolist() == [[0, 2, 4, 3], [0, 0, 2, 3], [2, 3, 5, 6]]
    assert source.validation.x.tolist() == [[1, 1, 5, 1]]  # the first two of six words are left out
    assert source.test.x.tolist() == [[0, 2, 1, 3], [0, 0, 0, 4]]
    assert source.train.x.dtype == torch.int64
    assert [source.class_names[label] for label in source.train.y] == [
        "positive",
        "negative",
        "negative",
    ]
    assert source.test.y.tolist() == [0, 1]
    assert (source.num_classes, source.vectors) == (2, None)
    few = read("sst", folder=tmp_path, length=4, words=2)
    assert few.vocabulary == ("</s>", "<unk>", "a", "film")
    assert few.train.x.tolist() == [[0, 2, 1, 3], [0, 0, 2, 3], [2, 3, 1, 1]]
    assert read("sst", folder=tmp_path).train.x.shape == (3, 30)


def test_sst_names_what_does_not_fit(monkeypatch, tmp_path):
    root = tiny_sst(monkeypatch, tmp_path)

    def call(**options):
        return lambda: read("sst", folder=tmp_path, **options)

    refused("`length` is 0; it must be at least 1", call(length=0))
    refused("`words` is 0; it must be at least 1", call(words=0))
    train = root / "senti.binary.train"
    whole = train.read_text()
    for line in ("a film", "a film\t4", "a film\t", "\t0", " \t0", ""):  # 4: the file of grades
        write(train, whole.replace("a film\t0", line))
        text = f"{train}, line 2: {line!r} is not a phrase, a tab and a label, 0 or 1"
        refused(text, call())
    write(train, "sentence\tlabel\n" + whole)  # that of GLUE has a heading
    refused(f"{train}, line 1: 'sentence\\tlabel' is not a phrase", call())
    write(train, whole.partition("\n")[0])
    refused(f"{train} gives 1 phrases, where 3 were published", call())
    write(train, whole.replace("\n", "\r\n"))
    assert read("sst", folder=tmp_path).train.y.tolist() == [1, 0, 0]
    train.write_bytes(b"\xff\xfe")
    refused(f"{train} is not a text file", call())


# Whether the files are there


TINY = {
    "mnist": (tiny_mnist, "MNIST/raw/t10k-labels-idx1-ubyte"),
    "fashion_mnist": (
        lambda patch, folder: tiny_mnist(patch, folder, "FashionMNIST", fashion_mnist),
        "FashionMNIST/raw/train-images-idx3-ubyte",
    ),
    "cifar10": (tiny_cifar10, "cifar-10-batches-py/batches.meta"),
    "cifar100": (tiny_cifar100, "cifar-100-python/test"),
    "cifar10n": (tiny_cifar10n, "cifar-n/CIFAR-10_human.pt"),
    "cifar100n": (tiny_cifar100n, "cifar-100-python/train"),
    "clothing1m": (tiny_clothing1m, "clothing1M/clean_val_key_list.txt"),
    "food101n": (tiny_food101n, "Food-101N_release/meta/verified_val.tsv"),
    "animal10n": (tiny_animal10n, "animal-10n/test_batch.bin"),
    "webvision": (tiny_webvision, "webvision/info/val_filelist.txt"),
    "twitter": (tiny_twitter, "twitter-pos/glc/tweets-dev.txt"),
    "sst": (tiny_sst, "sst-glc/senti.binary.dev"),
}


def test_every_dataset_has_a_tiny_one():
    assert list(TINY) == ON_DISK


@pytest.mark.parametrize("name", ON_DISK)
def test_what_is_not_at_hand_is_said_as_the_reader_says_it(name, tmp_path):
    text = at_hand(name, tmp_path)
    assert text.startswith(f"{tmp_path}")
    assert "is not there" in text
    assert re.search("https?://|download=True", text)
    refused(text, lambda: read(name, folder=tmp_path), FileNotFoundError)
    assert f"{tmp_path / 'new'}" in at_hand(name, tmp_path / "new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ON_DISK)
def test_a_dataset_is_at_hand_once_its_files_are_there(name, monkeypatch, tmp_path):
    """Nothing is read, so a damaged file is found by the reader alone."""
    make, file = TINY[name]
    make(monkeypatch, tmp_path)
    monkeypatch.setenv("NLMETA_DATA", str(tmp_path))
    assert at_hand(name) is None
    read(name)
    (tmp_path / file).write_bytes(b"")
    assert at_hand(name, tmp_path) is None
    refused(tmp_path, lambda: read(name, folder=tmp_path))
    (tmp_path / file).unlink()
    text = at_hand(name, folder=tmp_path)
    assert text.startswith(f"{tmp_path / file} is not there.\n")
    refused(text, lambda: read(name, folder=tmp_path), FileNotFoundError)


def test_the_digits_are_always_at_hand(tmp_path):
    assert at_hand("digits") is None
    assert at_hand("digits", tmp_path) is None
    refused("`name` is 'digit'; it must be one of 'digits'", lambda: at_hand("digit"))


def test_either_layout_of_a_dataset_is_enough(monkeypatch, tmp_path):
    tiny_clothing1m(monkeypatch, tmp_path, "annotations")
    assert at_hand("clothing1m", tmp_path) is None
    picture(tmp_path / "animal-10n" / "training" / "1_a.png", size=(64, 64))
    missing = tmp_path / "animal-10n" / "testing"
    assert at_hand("animal10n", tmp_path).startswith(f"{missing} is not there.\n")
    picture(missing / "2_b.png", size=(64, 64))
    assert at_hand("animal10n", tmp_path) is None


def test_what_a_reader_does_without_is_not_missing(monkeypatch, tmp_path):
    tiny_food101n(monkeypatch, tmp_path, with_test=False)
    assert at_hand("food101n", tmp_path) is None
