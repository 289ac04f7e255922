"""Tests of copies in a reader's own data: all of one picture are in one part, and are named."""

import shutil

import numpy as np
import pytest
import torch
from helpers import refused
from PIL import Image

from nlmeta.data import from_arrays, from_folder
from nlmeta.data._copies import take

PARTS = ("train", "meta", "validation", "test")


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Six pictures of each of two classes, each there twice, and one more under both classes."""
    root = tmp_path / "photos"
    for k, name in enumerate(("cat", "dog")):
        for i in range(6):
            picture(root / name / f"{i}.png", 10 * k + i)
            shutil.copy(root / name / f"{i}.png", root / name / f"{i} (1).png")
    shutil.copy(root / "cat" / "0.png", root / "dog" / "a cat.png")
    return root


def parts_of(split):
    """For each picture the parts it is in, by its bytes."""
    found = {}
    for part in PARTS:
        for pixels in getattr(split, part).x.raw(slice(None)).numpy():
            found.setdefault(pixels.tobytes(), set()).add(part)
    return found


def images(n=24, copies=12):
    """n pictures, the last ones copies of the first."""
    x = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    x[n - copies :] = x[:copies]
    return x


LABELS = [c for _ in range(2) for c in "abc" * 4]  # those of copies are equal


def own(**options):
    return from_arrays(images(), LABELS, seed=0, **options)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_all_copies_of_a_file_are_in_one_part(folder, in_memory, seed):
    split = from_folder(
        folder, size=9, test_size=8, validation_size=5, in_memory=in_memory, seed=seed
    )
    found = parts_of(split)
    assert len(found) == 12
    assert all(len(parts) == 1 for parts in found.values())
    assert len(split.test) == 8
    assert len(split.validation) == 5


def test_notes_count_copies_and_name_those_under_two_classes(folder):
    copies, classes = from_folder(folder, size=9, seed=0).notes
    assert copies.startswith("`folder` holds 13 copies (cat/0.png = cat/0 (1).png, ")
    assert copies.endswith("; a sample and its copies are in one part")
    assert classes == (
        "`folder` holds 1 copy (cat/0 (1).png as 'cat' and dog/a cat.png as 'dog') with another "
        "label; one of the two is wrong, and such samples are in no meta, validation or test set"
    )


def test_a_copy_saved_anew_is_known_by_its_pixels_where_they_are_decoded(folder):
    shutil.rmtree(folder / "dog")
    picture(folder / "dog" / "1.png", 50)
    with Image.open(folder / "dog" / "1.png") as file:
        file.save(folder / "dog" / "1.bmp")
    counts = [
        from_folder(folder, size=9, in_memory=in_memory, seed=0).notes[0].split("(")[0]
        for in_memory in (True, False)
    ]
    assert counts == ["`folder` holds 7 copies ", "`folder` holds 6 copies "]


@pytest.mark.parametrize("seed", range(5))
def test_pictures_under_two_classes_are_only_trained_on(folder, seed):
    split = from_folder(folder, size=9, test_size=10, validation_size=10, seed=seed)
    assert {"cat/0.png", "cat/0 (1).png", "dog/a cat.png"} <= set(split.train.sample_ids)


def test_files_of_one_length_and_one_beginning_are_no_copies(tmp_path):
    """The bytes differ at the very end, behind what is compared first."""
    x = np.zeros((80, 80, 3), dtype=np.uint8)
    for i in range(4):
        x[-1, -1] = i // 2
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(x).save(tmp_path / "ab"[i % 2] / f"{i}.bmp")
    split = from_folder(tmp_path, size=80, in_memory=False, seed=0)
    assert split.notes[0].startswith("`folder` holds 2 copies (b/1.bmp = a/0.bmp, b/3.bmp = a/2.")


def test_copies_within_the_clean_folder_stay_together(folder, tmp_path):
    for i in range(4):
        picture(tmp_path / "checked" / "ab"[i % 2] / f"{i}.png", 100 + i)
        picture(tmp_path / "plain" / "ab"[i % 2] / f"{i}.png", 200 + i)
        shutil.copy(
            tmp_path / "checked" / "ab"[i % 2] / f"{i}.png",
            tmp_path / "checked" / "ab"[i % 2] / f"{i}, copy.png",
        )
    split = from_folder(
        tmp_path / "plain",
        clean=tmp_path / "checked",
        size=9,
        meta_size=4,
        validation_size=4,
        seed=0,
    )
    assert all(len(parts) == 1 for parts in parts_of(split).values())
    assert split.notes[0].startswith("`clean` holds 4 copies (a/0.png = a/0, copy.png")


def test_a_picture_of_the_clean_folder_may_not_be_tested_on(folder, tmp_path):
    picture(tmp_path / "checked" / "cat" / "0.png", 100)
    picture(tmp_path / "exam" / "dog" / "7.png", 100)
    text = "`test` holds dog/7.png, which is in `clean` too, as cat/0.png; leave such images"
    further = {"clean": tmp_path / "checked", "test": tmp_path / "exam"}
    refused(text, lambda: from_folder(folder, size=9, seed=0, **further))


@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("seed", range(3))
def test_copies_among_arrays_of_pictures_stay_together(kind, seed):
    x = images() if kind == "bytes" else images().astype(np.float32)
    split = from_arrays(x, LABELS, clean=[True] * 24, meta_size=6, test_size=4, seed=seed)
    rows = {part: set((split.indices[part] % 12).tolist()) for part in PARTS}
    assert sum(len(found) for found in rows.values()) == 12
    assert set().union(*rows.values()) == set(range(12))
    assert split.notes[0].startswith("`x` holds 12 copies (12 = 0, 13 = 1, 14 = 2, ...); a sample")


def test_rows_of_measurements_that_are_equal_are_no_copies():
    split = from_arrays(np.ones((6, 3), dtype=np.float32), [0, 1] * 3, test_size=2, seed=0)
    assert split.train.groups is None
    assert len(split.notes) == 1  # that the test labels are not known to be right


@pytest.mark.parametrize("seed", range(3))
def test_sizes_are_kept_and_what_finds_no_place_is_left_out_and_noted(seed):
    """All pictures are there twice: an odd part takes one of a pair, and nobody the other."""
    split = from_arrays(images(), LABELS, test_size=7, seed=seed)
    assert len(split.test) == 7
    assert len(split.train) == 16
    (out,) = set(range(24)) - set(split.train.sample_ids) - set(split.indices["test"].tolist())
    assert (out + 12) % 24 in split.indices["test"].tolist()
    assert split.notes[-1] == (
        f"left out: 1 copy ({out}) of samples in the meta, validation or test set"
    )


def test_a_size_that_copies_do_not_leave_is_refused():
    text = "`meta_size` is 3, that is 1 samples of each class; class"
    refused(text, lambda: own(clean=[True] * 24, test_size=11, validation_size=9, meta_size=3))
    text = "leave no training sample"
    refused(text, lambda: from_arrays(images(4, 2), [0, 1] * 2, test_size=3, seed=0))


def test_copies_of_which_one_is_not_known_to_be_clean_are_only_trained_on():
    split = own(clean=[True] * 18 + [False] * 6, meta_size=6)
    assert (split.indices["meta"] % 12 < 6).all()
    text = "`meta_size` 15 + `validation_size` 0 + `test_size` 0 is 15; it must be at most 12, the"
    refused(text, lambda: own(clean=[True] * 18 + [False] * 6, meta_size=15))


def test_a_meta_set_that_is_not_balanced_keeps_copies_together():
    split = own(clean=[True] * 24, meta_size=5, balanced_meta=False)
    assert len(split.meta) == 5
    assert split.meta.y.unique().tolist() == [0, 1, 2]
    rows = [set((split.indices[part] % 12).tolist()) for part in ("train", "meta")]
    assert not rows[0] & rows[1]


def test_copies_leave_the_training_part_with_a_noisy_meta_set():
    split = own().with_noisy_meta(9, seed=0, held_out=True)
    assert split.meta.y.bincount().tolist() == [3, 3, 3]
    rows = [set((split.indices[part] % 12).tolist()) for part in ("train", "meta")]
    assert not rows[0] & rows[1]
    assert len(split.train.groups) == len(split.train)


def test_test_pictures_that_are_trained_on_are_noted():
    x = images(24, 0)
    split = from_arrays(
        x, LABELS, test=(x[5:8], LABELS[5:8]), ids=[f"no {i}" for i in range(24)], seed=0
    )
    assert split.notes == (
        "`test` holds 3 samples (0 = no 5, 1 = no 6, 2 = no 7) of `x`: tested on, and trained on "
        "as well",
    )


def test_a_picture_that_a_table_names_twice_is_one_picture(folder, tmp_path):
    rows = ["path,label,id", "cat/1.png,cat,a", "./cat/1.png,dog,b", "dog/1.png,dog,c"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    split = from_folder(folder, table=tmp_path / "labels.csv", size=9, seed=0)
    assert split.notes[1].startswith("`folder` holds 1 copy (a as 'cat' and b as 'dog') with")


def test_what_is_left_is_filled_from_one_group_of_copies_alone():
    """Touching more groups would leave copies of each without a part."""
    rows, groups = torch.arange(12), torch.tensor([0] * 4 + [1] * 4 + [2] * 4)
    assert groups[take(rows, groups, 3)].tolist() == [0, 0, 0]
    assert groups[take(rows, groups, 6)].tolist() == [0] * 4 + [1] * 2
    x = torch.arange(5.0).repeat_interleave(8)[:, None, None].expand(40, 2, 2)
    labels = [int(v) % 2 for v in x[:, 0, 0]]
    split = from_arrays(x, labels, clean=[True] * 40, meta_size=10, seed=0)
    assert len(split.meta) == 10
    assert len(split.train) >= 16
    assert not set(split.train.x[:, 0, 0].tolist()) & set(split.meta.x[:, 0, 0].tolist())


def test_copies_are_found_in_types_that_numpy_lacks():
    x = torch.randn(20, 1, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    x[7] = x[3]
    split = from_arrays(x, [0, 1] * 10, seed=0)
    assert split.train.x.dtype == torch.bfloat16
    assert any("holds 1 copy" in note for note in split.notes)
