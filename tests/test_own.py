"""Tests of from_arrays, from_folder and from_dataset: own data, with ids of one's own."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import refused
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import TensorDataset

import nlmeta
from nlmeta.data import Images, from_arrays, from_dataset, from_folder
from nlmeta.models import MLP
from nlmeta.seeding import generator

WORDS = ("ant", "bee", "cat")
N = 60


def table(n=N):
    """Numbers whose first column says which row they are."""
    x = torch.randn(n, 4, generator=generator(0, "x"))
    x[:, 0] = torch.arange(n)
    return x


def words(n=N):
    return [WORDS[i % 3] for i in range(n)]


def picture(path, colour, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Nine pictures in three folders; the red value says which."""
    for i in range(9):
        picture(tmp_path / "photos" / WORDS[i % 3] / f"{i}.png", (10 * i, 0, 0))
    (tmp_path / "photos" / "ant" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / ".cache").mkdir()
    return tmp_path / "photos"


# Arrays


def test_every_sample_keeps_its_own_id_through_the_split():
    ids = [f"patient {i}" for i in range(N)]
    made = from_arrays(table(), words(), true_labels=words(), ids=ids, seed=0, meta_size=6)
    for part in (made.train, made.meta):
        rows = part.x[:, 0].long().tolist()
        assert list(part.sample_ids) == [f"patient {row}" for row in rows]
        assert [WORDS[c] for c in part.y.tolist()] == [WORDS[row % 3] for row in rows]
    kept = made.keep(made.train.y == 1)
    assert list(kept.train.sample_ids) == [f"patient {row}" for row in kept.train.x[:, 0].long()]


def test_floats_are_taken_as_they_are_unless_asked():
    assert from_arrays(table(), words(), seed=0).train.x[:, 0].max() == N - 1
    scaled = from_arrays(table(), words(), seed=0, standardise=True)
    assert abs(scaled.train.x.mean()) < 1e-6


def test_an_array_that_may_only_be_read_is_copied():
    """As pandas hands them out; PyTorch would warn, and warnings fail here."""
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    x.flags.writeable = False
    split = from_arrays(x, [0, 1, 0, 1], seed=0)
    split.train.x.zero_()
    assert x.sum() == 28


def test_names_of_classes_are_sorted_unless_they_are_given():
    made = from_arrays(table(), words(), seed=0)
    assert made.class_names == WORDS
    other = from_arrays(table(), words(), class_names=("cat", "bee", "ant", "dog"), seed=0)
    assert other.num_classes == 4
    assert torch.equal(other.train.y, 2 - made.train.y)


def test_class_numbers_are_taken_as_numbers():
    y = np.arange(N) % 3
    made = from_arrays(table().numpy(), y, seed=0)
    assert made.class_names == ("0", "1", "2")
    assert torch.equal(made.train.y, made.train.x[:, 0].long() % 3)
    named = from_arrays(table(), torch.from_numpy(y), class_names=WORDS, seed=0)
    assert named.class_names == WORDS
    assert torch.equal(named.train.y, made.train.y)


def test_without_truth_nothing_is_called_clean():
    made = from_arrays(table(), words(), seed=0, test_size=9)
    assert made.true_labels is None
    assert len(made.meta) == 0
    assert len(made.test) == 9
    assert "the test part has given labels" in made.notes[0]


def test_samples_known_to_be_clean_make_the_meta_set():
    clean = np.arange(N) < 20
    made = from_arrays(table(), words(), clean=clean, seed=0, meta_size=6, test_size=8)
    assert (made.meta.x[:, 0] < 20).all()
    assert (made.test.x[:, 0] < 20).all()
    assert made.true_labels is None
    assert len(made.train) == N - 14


def test_known_truth_is_for_evaluation_and_clean_parts_and_never_trained_on():
    truth = words()
    given = [WORDS[(i + (i % 4 == 0)) % 3] for i in range(N)]
    made = from_arrays(table(), given, true_labels=truth, seed=0, meta_size=6, test_size=10)
    rows = made.train.x[:, 0].long()
    assert torch.equal(made.wrong, rows % 4 == 0)
    assert torch.equal(made.true_labels, rows % 3)
    assert torch.equal(made.meta.y, made.meta.x[:, 0].long() % 3)
    assert made.manifest["actual_rate"] == made.wrong.double().mean()


def test_a_test_set_of_ones_own_is_the_test_part():
    made = from_arrays(table(), words(), test=(table(9) + 100, words(9)), seed=0)
    assert torch.equal(made.test.x, table(9) + 100)
    assert len(made.train) == N
    assert made.notes == ()


@pytest.mark.parametrize("layout", ["n h w", "n h w c", "n c h w"])
def test_images_come_in_three_layouts(layout):
    x = torch.randint(0, 256, (N, 3, 5, 7), generator=generator(0, "i"), dtype=torch.uint8)
    handed = {"n h w": x[:, 0], "n h w c": x.permute(0, 2, 3, 1), "n c h w": x}[layout]
    made = from_arrays(handed.numpy(), words(), seed=0)
    assert isinstance(made.train.x, Images)
    channels = 1 if layout == "n h w" else 3
    assert made.train.x.shape == (N, channels, 5, 7)
    assert torch.equal(made.train.x.stored, x[made.indices["train"], :channels])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"labels": words(9)}, "`x` holds 60 samples and `labels` 9"),
        ({"labels": [3] * N, "class_names": WORDS}, "`labels` holds 3 at position 0; classes are"),
        ({"labels": ["ant"] * N}, "`labels` has 1 classes; it must have at least two"),
        ({"labels": [0] * N, "class_names": ["ant"]}, "`class_names` has 1 classes; it must have"),
        (
            {"labels": [0, 1, 0, -1, *[0] * (N - 4)]},
            "`labels` holds -1 at position 3; class numbers",
        ),
        ({"labels": [-1] * N}, "`labels` holds -1 at position 0; class numbers count from 0"),
        ({"ids": [1] * N}, "`ids` has 1 twice; results could not be told apart"),
        ({"ids": [1]}, "`ids` has 1 entries for 60 samples"),
        ({"clean": [2] * N}, "`clean` holds 2 at position 0; it must hold True or False for"),
        ({"clean": [True]}, "`x` holds 60 samples and `clean` 1"),
        ({"clean": [True] * N, "true_labels": words()}, "`clean` is given, and `true_labels`"),
        ({"true_labels": ["dog"] * N}, "`true_labels` holds 'dog' at position 0"),
        (
            {"x": torch.zeros(N, 4, dtype=torch.int32)},
            "`x` is torch.int32; images must be torch.uint8",
        ),
        ({"x": torch.zeros(N, 4, 4, 4, dtype=torch.uint8)}, "`x` is torch.uint8 of shape"),
        (
            {"x": torch.full((N, 2), float("nan"))},
            "`x` holds a number that is not finite, in row 0",
        ),
        ({"test": (torch.zeros(3, 5), words(3))}, "`test` holds inputs of shape (5,)"),
        ({"class_names": ("ant", "ant", "bee")}, "every name may occur only once"),
        ({"meta_size": 3}, "`meta_size` is 3; no training sample of 'own data' is known"),
    ],
)
def test_refuses_arrays_that_do_not_fit_together(options, text):
    given = {"x": table(), "labels": words(), "seed": 0, **options}
    refused(text, lambda: from_arrays(given.pop("x"), given.pop("labels"), **given))


# Folders


def test_a_folder_for_each_class_becomes_a_split_with_paths_as_ids(folder):
    made = from_folder(folder, size=4, seed=0)
    assert made.name == "photos"
    assert made.class_names == WORDS
    assert len(made.train) == 9
    red = made.train.x.stored[:, 0, 0, 0].tolist()
    for i, name, label in zip(red, made.train.sample_ids, made.train.y.tolist(), strict=True):
        number = i // 10
        assert name == f"{WORDS[number % 3]}/{number}.png"
        assert label == number % 3


def test_images_on_disk_and_in_memory_are_the_same(folder):
    memory, disk = (from_folder(folder, size=4, in_memory=m, seed=0) for m in (True, False))
    assert disk.train.x.on_disk
    assert not memory.train.x.on_disk
    assert disk.digest == memory.digest
    rows = torch.tensor([0, 5])
    assert torch.equal(disk.train.x.raw(rows), memory.train.x.raw(rows))


def test_further_folders_are_the_clean_and_the_test_part(folder, tmp_path):
    for part, level in (("checked", 100), ("exam", 200)):
        for c in range(3):
            for i in range(2):
                picture(tmp_path / part / WORDS[c] / f"{i}.png", (level + c, 0, 0))
    made = from_folder(
        folder, clean=tmp_path / "checked", test=tmp_path / "exam", size=4, meta_size=3, seed=0
    )
    assert len(made.train) == 9
    assert torch.equal(made.meta.x.stored[:, 0, 0, 0].long(), 100 + made.meta.y)
    assert torch.equal(made.test.x.stored[:, 0, 0, 0].long(), 200 + made.test.y)
    assert made.origins["meta"] == "clean_train"
    assert len(made.test) == 6


def test_a_table_names_paths_labels_ids_and_what_is_known(folder, tmp_path):
    rows = [
        {
            "path": f"{WORDS[i % 3]}/{i}.png",
            "label": WORDS[(i + 1) % 3],
            "id": f"no {i}",
            "clean": i < 6,
        }
        for i in range(9)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    made = from_folder(folder, table=tmp_path / "labels.csv", size=4, meta_size=3, seed=0)
    numbers = [int(own.removeprefix("no ")) for own in made.train.sample_ids]
    assert_close(made.train.x.stored[:, 0, 0, 0].long(), 10 * torch.tensor(numbers))
    assert made.train.y.tolist() == [(i + 1) % 3 for i in numbers]
    assert all(int(own.removeprefix("no ")) < 6 for own in made.meta.sample_ids)
    frame = pd.DataFrame(rows).drop(columns=["clean", "id"]).assign(true_label=words(9))
    frame.to_csv(tmp_path / "labels.csv", index=False)
    made = from_folder(folder, table=tmp_path / "labels.csv", size=4, seed=0)
    assert made.wrong.all()
    assert set(made.train.sample_ids) == set(frame["path"])


def test_refuses_folders_and_tables_that_are_not_what_they_should_be(folder, tmp_path):
    there_is_none = tmp_path / "nowhere"
    refused(
        "there is no such folder", lambda: from_folder(there_is_none, seed=0), FileNotFoundError
    )
    (tmp_path / "empty").mkdir()
    refused("has no images in folders", lambda: from_folder(tmp_path / "empty", seed=0))
    listing = tmp_path / "labels.csv"
    refused("`table` is", lambda: from_folder(folder, table=listing, seed=0), FileNotFoundError)
    listing.write_text("file,label\nx.png,ant\n")
    refused("`path` is missing", lambda: from_folder(folder, table=listing, seed=0))
    listing.write_text("path,label\nant/0.png,ant\nant/77.png,bee\n")
    refused(
        "1 of the 2 images", lambda: from_folder(folder, table=listing, seed=0), FileNotFoundError
    )
    listing.write_text("path,label\nant/0.png,ant\nbee/1.png,\n")
    refused(
        "labels.csv, row 3: the field `label` is empty",
        lambda: from_folder(folder, table=listing, seed=0),
    )
    refused(
        "`clean` is given with `table`",
        lambda: from_folder(folder, table=listing, clean=folder, seed=0),
    )
    picture(tmp_path / "exam" / "dog" / "0.png", (0, 0, 0))
    refused(
        "`test` holds 'dog' (dog/0.png); classes are ant, bee, cat",
        lambda: from_folder(folder, test=tmp_path / "exam", size=4, seed=0),
    )
    (folder / "cat" / "8.png").write_bytes(b"broken")
    for in_memory in (True, False):
        refused(
            f"{folder / 'cat' / '8.png'} does not decode",
            lambda in_memory=in_memory: from_folder(folder, size=4, in_memory=in_memory, seed=0),
        )


# Datasets


def test_an_indexed_dataset_becomes_the_split_of_its_arrays():
    y = torch.arange(N) % 3
    made = from_dataset(TensorDataset(table(), y), true_labels=y, meta_size=6, seed=0)
    want = from_arrays(table(), y, true_labels=y, meta_size=6, seed=0)
    assert made.digest == want.digest
    assert torch.equal(made.train.x, want.train.x)
    assert list(made.train.sample_ids) == made.indices["train"].tolist()


def test_pictures_of_a_dataset_become_bytes():
    class Pictures:
        classes = WORDS

        def __len__(self):
            return 9

        def __getitem__(self, i):
            return Image.new("RGB", (4, 4), (i, 0, 0)), i % 3

    made = from_dataset(Pictures(), seed=0)
    assert made.class_names == WORDS
    assert torch.equal(made.train.x.stored[:, 0, 0, 0].long() % 3, made.train.y)


def test_refuses_datasets_that_are_empty_or_of_many_shapes():
    refused("`dataset` is empty", lambda: from_dataset([], seed=0))
    uneven = [(torch.zeros(2), 0), (torch.zeros(3), 1)]
    refused("of shape (3,) at index 1", lambda: from_dataset(uneven, seed=0))


# Training


def test_training_on_data_without_truth_measures_what_can_be_measured():
    made = from_arrays(table(), words(), test=(table(9), words(9)), standardise=True, seed=0)
    result = nlmeta.fit(
        nlmeta.CrossEntropy(),
        MLP(4, 3, seed=0),
        made,
        epochs=2,
        seed=0,
        device="cpu",
        progress=False,
    )
    assert result.history["memorised"].isna().all()
    assert result.history["train_accuracy"].between(0, 1).all()
    assert 0 <= result.accuracy <= 1


def test_a_network_trains_to_the_same_numbers_from_memory_and_from_disk(folder):
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what images on disk are brought to
    histories = []
    for i in range(6):
        picture(folder.parent / "exam" / WORDS[i % 3] / f"{i}.png", (10 * i, 9, 0))
    for options in ({"in_memory": True, "scale": imagenet}, {"in_memory": False}):
        made = from_folder(folder, test=folder.parent / "exam", size=4, seed=0, **options)
        result = nlmeta.fit(
            nlmeta.CrossEntropy(),
            MLP(48, 3, seed=0),
            made,
            epochs=3,
            batch_size=4,
            seed=0,
            device="cpu",
            progress=False,
        )
        histories.append(result.history)
    memory, disk = histories
    assert memory["loss"].tolist() == disk["loss"].tolist()
    assert memory["loss"].std() > 0
    assert memory["test_accuracy"].tolist() == disk["test_accuracy"].tolist()
    assert "train_accuracy" in memory
    assert "train_accuracy" not in disk  # it would decode every image once more


def test_a_class_that_is_nearly_empty_is_pointed_out():
    made = from_arrays(table(121), [*words(120), "catt"], seed=0)
    assert made.notes == ("class 'catt' has 1 of 121 samples: is the name misspelt?",)
    assert from_arrays(table(), words(), seed=0).notes == ()


def test_a_split_is_printed_in_one_line():
    known = from_arrays(table(), words(), true_labels=words(), seed=0, meta_size=6)
    assert repr(known).startswith("Split of 'own data': train 54, meta 6, validation 0, test 0; 3")
    assert "wrong training labels: 0.0%" in repr(known)
    assert "wrong training labels: unknown" in repr(from_arrays(table(), words(), seed=0))


@pytest.mark.parametrize(
    "y",
    [
        torch.arange(12),
        np.arange(12),
        [np.int64(i) for i in range(12)],
        [torch.tensor(i) for i in range(12)],
        pd.Series(range(12)),
    ],
)
def test_class_numbers_of_every_kind_are_numbers_and_never_names(y):
    names = [str(12 - i) for i in range(12)]  # a class that is called 1 is not class 1
    made = from_arrays(table(12), y, class_names=names, seed=0)
    assert torch.equal(made.train.y, made.train.x[:, 0].long())
    counted = from_arrays(table(12), y, seed=0)
    assert torch.equal(counted.train.y, made.train.y)


def test_names_that_look_like_numbers_are_names():
    made = from_arrays(table(4), ["2", "1", "2", "1"], seed=0)
    assert made.class_names == ("1", "2")
    assert torch.equal(made.train.y, 1 - made.train.x[:, 0].long() % 2)


@pytest.mark.parametrize("missing", [None, float("nan"), 1.5, [0, 1]])
def test_refuses_labels_that_are_missing_or_none(missing):
    refused(
        f"`labels` holds {missing!r} at position 1",
        lambda: from_arrays(table(2), ["a", missing], seed=0),
    )


def test_refuses_inputs_that_are_no_numbers():
    refused(
        "`x` holds <U1; it must hold numbers", lambda: from_arrays([["a"], ["b"]], [0, 1], seed=0)
    )


def test_ids_and_classes_of_a_table_stay_as_they_are_written(folder, tmp_path):
    rows = [f"{WORDS[i % 3]}/{i}.png,{'None' if i % 2 else 'NA'},00{i}," for i in range(9)]
    (tmp_path / "labels.csv").write_text("path,label,id,remark\n" + "\n".join(rows) + "\n")
    made = from_folder(folder, table=tmp_path / "labels.csv", size=4, seed=0)
    assert made.class_names == ("NA", "None")
    assert set(made.train.sample_ids) == {f"00{i}" for i in range(9)}


def test_an_image_that_is_trained_on_cannot_be_checked_or_tested_on_too(folder, tmp_path):
    checked = tmp_path / "checked" / "ant"
    checked.mkdir(parents=True)
    (checked / "renamed.png").write_bytes((folder / "bee" / "4.png").read_bytes())
    text = "holds ant/renamed.png, which is in `folder` too, as bee/4.png; leave such images"
    for argument in ("clean", "test"):
        further = {argument: tmp_path / "checked"}
        refused(
            f"`{argument}` {text}",
            lambda further=further: from_folder(folder, size=4, seed=0, **further),
        )


def test_a_clean_folder_gives_validation_and_test_sets_too(folder, tmp_path):
    for c in range(3):
        for i in range(4):
            picture(tmp_path / "checked" / WORDS[c] / f"{i}.png", (100 + 10 * i + c, 0, 0))
    made = from_folder(
        folder,
        clean=tmp_path / "checked",
        size=4,
        meta_size=3,
        validation_size=4,
        test_size=5,
        seed=0,
    )
    assert [made.origins[p] for p in ("meta", "validation", "test")] == ["clean_train"] * 3
    seen = torch.cat([p.x.stored[:, 0, 0, 0] for p in (made.meta, made.validation, made.test)])
    assert len(seen.unique()) == 12
    assert len(made.train) == 9


def test_hidden_copies_are_no_images(folder):
    picture(folder / "ant" / ".ipynb_checkpoints" / "0-checkpoint.png", (1, 2, 3))
    (folder / "ant" / "._0.png").write_bytes(b"no picture")
    assert len(from_folder(folder, size=4, seed=0).train) == 9


def test_clean_data_of_ones_own_can_be_made_noisy():
    made = from_arrays(table(), words(), true_labels=words(), noise="pair", rate=0.4, seed=0)
    assert torch.equal(made.train.y[made.wrong], (made.true_labels[made.wrong] + 1) % 3)
    assert made.transition[0, 1] == 0.4
    assert 0 < made.wrong.sum() < N
    other = [*words()[1:], "ant"]
    refused(
        "`noise` is given, and `labels` differ from `true_labels`",
        lambda: from_arrays(table(), other, true_labels=words(), noise="pair", rate=0.4, seed=0),
    )


def test_files_that_are_passed_over_are_named_in_the_notes(folder):
    """The fixture has a text file in a class folder and a hidden folder, which is no file."""
    note = (
        "passed over in `folder`: 1 file (ant/notes.txt); images lie in the folder of a class and "
        "end in .bmp, .jpeg, .jpg, .png, .ppm, .tif, .tiff, .webp"
    )
    assert from_folder(folder, size=4, seed=0).notes == (note,)
    for name in ("READ ME", "bee/a.heic", "bee/deep/b.gif", "cat/.hidden.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no picture")
    picture(folder / "lost.png", (9, 9, 9))
    made = from_folder(folder, size=4, seed=0)
    assert len(made.train) == 9
    (note,) = made.notes
    assert note.startswith(
        "passed over in `folder`: 5 files (READ ME, ant/notes.txt, bee/a.heic, ...); images lie"
    )


def test_files_passed_over_among_checked_ones_are_named_too(folder, tmp_path):
    (folder / "ant" / "notes.txt").unlink()
    picture(tmp_path / "exam" / "cat" / "0.png", (1, 2, 3))
    (tmp_path / "exam" / "cat" / "1.HEIC").write_text("no picture")
    (note,) = from_folder(folder, test=tmp_path / "exam", size=4, seed=0).notes
    assert note.startswith("passed over in `test`: 1 file (cat/1.HEIC)")


def test_a_class_folder_without_an_image_is_refused(folder, tmp_path):
    (folder / "dog").mkdir()
    for _ in range(2):  # empty, then with files that are no images
        refused(
            "`folder` has no image in 1 class folder (dog); images lie in the folder of a",
            lambda: from_folder(folder, size=4, class_names=(*WORDS, "dog"), seed=0),
        )
        (folder / "dog" / "a.heic").write_text("no picture")
    picture(tmp_path / "exam" / "ant" / "0.png", (1, 2, 3))
    for name in ("bee", "cat"):
        (tmp_path / "exam" / name).mkdir()
    (folder / "dog" / "a.heic").unlink()
    (folder / "dog").rmdir()
    refused(
        "`test` has no image in 2 class folders (bee, cat)",
        lambda: from_folder(folder, test=tmp_path / "exam", size=4, seed=0),
    )


def saved_anew(folder, other, **change):
    """A copy of an image as another program writes it: other bytes, the same pixels."""
    with Image.open(folder / "bee" / "4.png") as file:
        image = file.convert("RGB")
    image.putpixel((0, 0), change.get("corner", image.getpixel((0, 0))))
    other.parent.mkdir(parents=True, exist_ok=True)
    image.save(other)
    assert other.read_bytes() != (folder / "bee" / "4.png").read_bytes()


def test_an_image_saved_anew_is_known_by_its_pixels(folder, tmp_path):
    saved_anew(folder, tmp_path / "exam" / "ant" / "new.bmp")
    further = {"test": tmp_path / "exam"}
    text = "`test` holds ant/new.bmp, which is in `folder` too, as bee/4.png; leave such images"
    refused(text, lambda: from_folder(folder, size=5, seed=0, **further))
    # On disk nothing is decoded for this, and one other pixel makes another image.
    assert len(from_folder(folder, size=5, in_memory=False, seed=0, **further).test) == 1
    saved_anew(folder, tmp_path / "exam" / "ant" / "new.bmp", corner=(40, 0, 9))
    assert len(from_folder(folder, size=5, seed=0, **further).test) == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda folder: from_arrays(table(), words(), seed=0, meta_sise=6),
            "`meta_sise` is not an option of `from_arrays`; options are `seed`, `true_labels`,",
        ),
        (
            lambda folder: from_folder(folder, seed=0, labels=words()),
            "`labels` is not an option of `from_folder`; options are `seed`, `table`, `clean`,",
        ),
        (
            lambda folder: from_dataset([], seed=0, meta_sise=6),
            "`meta_sise` is not an option of `from_dataset`; options are `seed`, `columns`",
        ),
    ],
)
def test_an_unknown_option_is_named_with_those_there_are(call, text, folder):
    with pytest.raises(TypeError, match=re.escape(text)) as caught:
        call(folder)
    assert "`meta_size`" in str(caught.value)
    assert "`source`" not in str(caught.value)
