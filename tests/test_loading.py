"""Tests of make_split and load on small sources: truth known, known for some, known for none."""

import math
import pkgutil
import re
from dataclasses import MISSING, fields, replace
from importlib import import_module
from inspect import Parameter, signature

import pytest
import torch
from helpers import refused
from PIL import Image
from torch.testing import assert_close

from nlmeta import data, noise
from nlmeta.data import (
    DATASETS,
    ImageFiles,
    Images,
    Part,
    Source,
    SplitOptions,
    make_split,
    sources,
)
from nlmeta.models import MLP, TextMLP
from nlmeta.procedures import divergence_score, label_confidence, transition_from_anchors
from nlmeta.seeding import generator

C, N, M = 4, 400, 80
PARTS = ("train", "meta", "validation", "test")


def images(n, purpose):
    """Random bytes, darker in the second channel."""
    x = torch.randint(0, 256, (n, 2, 3, 3), generator=generator(0, purpose), dtype=torch.uint8)
    x[:, 1] //= 3
    return x


def labels(n, purpose):
    return torch.randint(0, C, (n,), generator=generator(0, purpose))


def source(**changes):
    """A clean dataset with a published test part."""
    ids = [f"image {i}" for i in range(N)]
    train = Part(images(N, "train"), labels(N, "train"), ids=ids)
    options = {
        "name": "small",
        "class_names": tuple("abcd"),
        "train": train,
        "test": Part(images(M, "test"), labels(M, "test")),
        "noisy": False,
        "attribution": "us",
    }
    return Source(**{**options, **changes})


def annotated(**annotations):
    given = source().train
    return source(train=replace(given, annotations=annotations))


def split(published=None, **options):
    return make_split(published or source(), SplitOptions(**{"seed": 3, **options}))


def rows_of(made, origin):
    """All rows that a split takes from one of the publisher's parts."""
    parts = [part for part in PARTS if made.origins[part] == origin]
    return torch.cat([made.indices[part] for part in parts]).sort().values


def test_every_reader_is_in_the_registry_and_every_entry_has_one():
    names = {module.name for module in pkgutil.iter_modules(sources.__path__)}
    readers = {name for name in names - {"registry", "feature_noise"} if name[0] != "_"}
    assert {dataset.module for dataset in DATASETS.values()} == {
        f"nlmeta.data.sources.{name}" for name in readers
    }
    assert len(readers) == len(DATASETS) > 10
    for name, dataset in DATASETS.items():
        assert dataset.module.endswith(f".{name}")
        assert dataset.reader is import_module(dataset.module).read
        taken = signature(dataset.reader).parameters.values()
        assert [p.name for p in taken][:2] == ["folder", "download"]
        assert {p.kind for p in taken} == {Parameter.KEYWORD_ONLY}
        assert callable(import_module(dataset.module).missing)


def test_every_dataset_is_on_the_api_page_and_in_the_readme(root):
    page, readme = (root / "book/api.md").read_text(), (root / "README.md").read_text()
    shown = re.findall(r"autofunction:: (\S+)\.read\n", page)
    assert shown == [dataset.module for dataset in DATASETS.values()]
    assert [name for name in DATASETS if f"`{name}`" not in readme] == []


SET_BY_THE_REGISTRY = ("meta_size", "validation_size", "test_size", "balanced_meta")


def test_load_takes_what_a_split_takes_with_the_same_defaults():
    """The two lists of options stand in two places and do not drift apart."""
    of_load = dict(signature(data.load).parameters)
    of_split = {field.name: field for field in fields(SplitOptions)}
    assert set(of_load) - set(of_split) == {"name", "folder", "download", "options"}
    assert set(of_split) - set(of_load) == {"standardise"}
    shared = [name for name in of_load if name in of_split]
    assert shared == [name for name in of_split if name in of_load]
    for name in shared:
        default, annotation = of_load[name].default, of_load[name].annotation
        if name in SET_BY_THE_REGISTRY:
            assert default is None
            assert annotation == of_split[name].type | None
        else:
            wanted = of_split[name].default
            assert default == (Parameter.empty if wanted is MISSING else wanted)
            assert annotation == of_split[name].type


def test_load_hands_on_every_option_and_the_registry_gives_the_others(monkeypatch):
    options = []

    def made(published, given):
        options.append(given)
        return make_split(published, SplitOptions(seed=0))

    monkeypatch.setattr("nlmeta.data.loading.make_split", made)
    given = {
        "noise": "pair",
        "rate": 0.25,
        "labels": "worst",
        "seed": 7,
        "meta_size": 11,
        "validation_size": 12,
        "test_size": 13,
        "balanced_meta": False,
        "meta_from": "test",
        "meta_rate": 0.5,
        "class_map": {0: 1},
        "predictions": torch.ones(3, 2),
        "scale": ((0.5,), (0.25,)),
    }
    assert set(given) == {field.name for field in fields(SplitOptions)} - {"standardise"}
    data.load("digits", **given)
    data.load("digits", seed=0)
    for name, value in given.items():
        assert getattr(options[0], name) is value
        assert getattr(options[1], name) is not value
    left = DATASETS["digits"]
    want = (left.meta, left.validation, left.test, left.balanced)
    assert tuple(getattr(options[1], name) for name in SET_BY_THE_REGISTRY) == want


def test_options_of_a_split_that_cannot_be_are_refused_before_anything_is_read(tmp_path):
    """Not as files that are missing, which the folder would be for."""

    def load(**options):
        return lambda: data.load("cifar10", seed=0, folder=tmp_path, **options)

    refused("`noise` is 'worse'; it must be one of 'none', 'symmetric'", load(noise="worse"))
    refused("`meta_rate` is 2.0; it must lie in [0, 1]", load(meta_rate=2.0))
    for size in SET_BY_THE_REGISTRY[:3]:
        refused(f"`{size}` is -1; it must be at least 0", load(**{size: -1}))


@pytest.mark.parametrize("name", [n for n in DATASETS if n != "digits"])
def test_a_dataset_that_is_not_there_is_an_error_that_says_what_to_get(name, tmp_path):
    want = {"labels": "worst"} if name == "cifar10n" else {}
    text = f"{tmp_path}"
    refused(text, lambda: data.load(name, seed=0, folder=tmp_path, **want), FileNotFoundError)


def test_the_digits_take_no_folder_and_no_download():
    refused("`download` is True; the digits", lambda: data.load("digits", seed=0, download=True))
    refused("`folder` is 'x'; the digits", lambda: data.load("digits", seed=0, folder="x"))


@pytest.mark.parametrize("value", [6, 0, None])
def test_an_unknown_option_is_named_with_the_dataset_and_its_options(value, tmp_path):
    def load(name):
        return lambda: data.load(name, seed=0, folder=tmp_path, meta_sise=value)

    for name, last in (
        ("cifar10", "`download`"),
        ("twitter", "`vectors`"),
        ("digits", "`download`"),
    ):
        text = f"`meta_sise` is not an option of {name!r}; options are `noise`, `rate`, "
        with pytest.raises(TypeError, match=re.escape(text)) as caught:
            load(name)()
        assert str(caught.value).endswith(last)


def test_meta_and_validation_sets_come_out_of_the_training_part():
    made = split(meta_size=40, validation_size=50)
    assert made.origins == {
        "train": "train",
        "meta": "train",
        "validation": "train",
        "test": "test",
    }
    assert torch.equal(rows_of(made, "train"), torch.arange(N))
    assert torch.equal(made.indices["test"], torch.arange(M))
    assert [len(getattr(made, p)) for p in PARTS] == [N - 90, 40, 50, M]
    assert made.notes == ()


def test_each_part_holds_the_images_labels_and_ids_of_its_rows():
    published = source()
    made = split(published, meta_size=40, validation_size=50, rate=0.5)
    for part in ("meta", "validation", "test"):
        origin, rows = published.parts[made.origins[part]], made.indices[part]
        assert torch.equal(getattr(made, part).x.stored, origin.x[rows])
        assert torch.equal(getattr(made, part).y, origin.y[rows])
    assert torch.equal(made.true_labels, published.train.y[made.indices["train"]])
    want = [f"image {row}" for row in made.indices["train"].tolist()]
    assert list(made.train.sample_ids) == want


def test_images_are_standardised_by_the_channels_of_the_training_part():
    made = split(meta_size=40, validation_size=50)
    x = source().train.x[made.indices["train"]].double()
    mean, deviation = x.mean((0, 2, 3)), x.std((0, 2, 3), correction=0)
    assert deviation[0] > 2 * deviation[1]  # so one number for both channels would be noticed
    for part in PARTS:
        kept = getattr(made, part).x
        assert isinstance(kept, Images)
        want = (kept.stored.double() - mean[:, None, None]) / deviation[:, None, None]
        assert_close(kept[:].double(), want, rtol=0, atol=1e-5)


def test_a_scale_that_is_given_replaces_that_of_the_training_part():
    made = split(scale=((0.5, 0.5), (0.5, 0.25)))
    assert_close(made.train.x.mean, torch.tensor([127.5, 127.5]))
    assert_close(made.train.x.deviation, torch.tensor([127.5, 63.75]))
    assert made.settings["scale"] == ((0.5, 0.5), (0.5, 0.25))


def test_words_stay_what_they_are():
    words = torch.arange(3 * N).reshape(N, 3)
    made = split(source(train=Part(words, source().train.y), test=None), validation_size=10)
    assert made.train.x.dtype == torch.int64
    assert torch.equal(made.train.x, words[made.indices["train"]])
    moved = made.to("cpu", torch.float64)
    assert moved.train.x.dtype == torch.int64


def test_images_on_disk_stay_there_and_get_the_scale_of_imagenet(tmp_path):
    for i in range(12):
        Image.new("RGB", (5, 5), (i, 2 * i, 3 * i)).save(tmp_path / f"{i}.png")
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(12)], size=4)
    published = source(train=Part(files, torch.arange(12) % C), test=None)
    made = split(published, meta_size=4, validation_size=2)
    assert made.train.x.on_disk
    assert_close(made.train.x.mean, 255 * torch.tensor([0.485, 0.456, 0.406]))
    row = int(made.indices["meta"][1])
    assert made.meta.x.raw(torch.tensor([1])).flatten(2)[0, :, 0].tolist() == [
        row,
        2 * row,
        3 * row,
    ]
    refused(
        "`noise` is 'instance-dependent'; it needs all images in memory",
        lambda: split(published, noise="instance-dependent", rate=0.3),
    )


KINDS = {
    "symmetric": {},
    "pair": {},
    "one-target": {},
    "asymmetric": {"class_map": {0: 1, 2: 3}},
    "instance-dependent": {},
    "feature-dependent": {"predictions": torch.rand(N, C, generator=generator(1, "p"))},
}
KINDS["feature-dependent"]["predictions"] /= KINDS["feature-dependent"]["predictions"].sum(
    1, keepdim=True
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_noise_is_that_of_inject_on_the_training_rows(kind):
    made = split(noise=kind, rate=0.4, meta_size=40, validation_size=20, **KINDS[kind])
    rows = made.indices["train"]
    further = dict(KINDS[kind])
    if "predictions" in further:
        further["predictions"] = further["predictions"][rows]
    if kind == "instance-dependent":
        further["x"] = made.train.x[:]
    want = noise.inject(kind, made.true_labels, C, 0.4, seed=3, **further)
    assert torch.equal(made.train.y, want.labels)
    assert made.manifest == want.manifest
    assert made.wrong.double().mean() == made.manifest["actual_rate"]
    assert 0.1 < made.manifest["actual_rate"] < 0.6
    if want.transition is None:
        assert made.transition is None
    else:
        assert torch.equal(made.transition, want.transition)


def test_noise_within_superclasses_takes_those_of_the_source():
    made = split(source(superclasses=torch.tensor([0, 1, 0, 1])), noise="superclass", rate=0.5)
    partner = torch.tensor([2, 3, 0, 1])
    assert torch.equal(made.train.y[made.wrong], partner[made.true_labels[made.wrong]])
    assert made.wrong.any()


def test_annotations_are_given_labels_and_the_truth_stays():
    other = (labels(N, "train") + (torch.arange(N) % 5 == 0)) % C
    made = split(annotated(people=other), labels="people", meta_size=40)
    rows = made.indices["train"]
    assert torch.equal(made.train.y, other[rows])
    assert torch.equal(made.wrong, rows % 5 == 0)
    assert made.manifest["kind"] == "given"
    assert made.manifest["actual_rate"] == made.wrong.double().mean()
    assert made.transition is None
    assert torch.equal(made.meta.y, source().train.y[made.indices["meta"]])


def test_the_labels_of_cifar_n_are_human_and_must_be_named():
    people = replace(annotated(worst=labels(N, "people")), human_annotations=("worst",))
    assert split(people, labels="worst").manifest["kind"] == "human"
    refused("`labels` is None; pass the name of one set, 'worst'", lambda: split(people))


def test_a_source_says_what_its_annotations_stand_for():
    y = source().train.y
    published = annotated(worst=y, coarse=y // 2, noisy_coarse=y // 2, verified=y * 0 + 1)
    assert published.label_sets == ("worst", "noisy_coarse")
    published = replace(published, superclass_annotations=("noisy_coarse",))
    spaces = {name: published.label_space_of(name) for name in published.train.annotations}
    assert spaces == {
        "worst": "classes",
        "coarse": "superclasses",
        "noisy_coarse": "superclasses",
        "verified": None,
    }
    for argument in ("human_annotations", "superclass_annotations"):
        text = f"`{argument} of small` is 'coarse'; it must be one of 'worst', 'noisy_coarse'"
        refused(text, lambda argument=argument: replace(published, **{argument: ("coarse",)}))


def test_a_problem_of_superclasses_needs_them_in_every_part():
    y = source().train.y
    published = annotated(worst=y, coarse=y // 2, noisy_coarse=y // 2, verified=y * 0 + 1)
    published = replace(
        published,
        human_annotations=("worst", "noisy_coarse"),
        superclass_annotations=("noisy_coarse",),
        superclass_names=("low", "high"),
    )
    refused("the test part of 'small' has no superclasses", published.in_superclasses)
    coarse = replace(published, test=None).in_superclasses()
    assert coarse.num_classes == 2
    assert coarse.human_annotations == coarse.label_sets == ("noisy_coarse",)
    assert coarse.label_space_of("noisy_coarse") == "classes"
    assert set(coarse.train.annotations) == {"coarse", "noisy_coarse", "verified"}


def test_labels_of_superclasses_make_a_problem_of_superclasses():
    y = source().train.y
    published = annotated(coarse=y // 2, noisy_coarse=(y // 2 + (y == 0)) % 2)
    published = replace(
        published,
        superclass_annotations=("noisy_coarse",),
        superclass_names=("low", "high"),
        test=replace(published.test, annotations={"coarse": published.test.y // 2}),
    )
    made = split(published, labels="noisy_coarse")
    assert made.class_names == ("low", "high")
    assert torch.equal(made.true_labels, y[made.indices["train"]] // 2)
    assert torch.equal(made.wrong, y[made.indices["train"]] == 0)
    assert torch.equal(made.test.y, published.test.y // 2)


def test_ready_labels_are_taken_by_row():
    ready = (source().train.y + 1) % C
    made = split(labels=ready, meta_size=40)
    assert torch.equal(made.train.y, ready[made.indices["train"]])
    assert made.manifest["actual_rate"] == 1.0
    assert made.settings["labels"] == "a tensor"


def test_noise_is_not_put_on_labels_that_are_noisy_already():
    text = "the labels of this dataset are noisy already"
    refused(text, lambda: split(labels=source().train.y, rate=0.2))
    refused(text, lambda: split(labels=source().train.y, noise="pair"))
    refused(text, lambda: split(source(noisy=True), rate=0.2))


def test_nothing_clean_is_made_up_where_nobody_knows_the_truth():
    unknown = source(noisy=True)
    made = split(unknown, validation_size=30)
    assert made.true_labels is None
    assert made.transition is None
    assert len(made.meta) == 0
    assert made.manifest == {"kind": "given", "convention": noise.CONVENTIONS["given"]}
    refused("the true labels of 'small' are unknown, so its wrong", lambda: made.wrong)
    assert "the validation part has given labels" in made.notes[0]
    text = "`meta_size` is 40; no training sample of 'small' is known to be clean"
    refused(text, lambda: split(unknown, meta_size=40))
    kept = made.keep(made.train.y == 0)
    assert kept.true_labels is None
    assert kept.train.y.unique().tolist() == [0]


def test_verified_samples_give_the_meta_and_validation_sets():
    verified = torch.where(
        torch.arange(N) % 4 == 1, 1, torch.where(torch.arange(N) % 4 == 2, 0, -1)
    )
    known = replace(annotated(verified=verified), noisy=True)
    made = split(known, meta_size=40, validation_size=30)
    for part in ("meta", "validation"):
        assert (made.indices[part] % 4 == 1).all()
    assert len(made.train) == N - 70
    assert (made.indices["train"] % 4 == 1).sum() == N // 4 - 70
    assert made.notes == ()
    refused(
        "`meta_size` 80 + `validation_size` 30 is 110; it must be at most 100",
        lambda: split(known, meta_size=80, validation_size=30),
    )


def test_a_clean_training_part_gives_the_meta_set_by_itself():
    clean = Part(images(60, "clean"), labels(60, "clean"))
    made = split(source(noisy=True, clean_train=clean), meta_size=20)
    assert made.origins["meta"] == "clean_train"
    assert len(made.train) == N
    assert torch.equal(made.meta.x.stored, clean.x[made.indices["meta"]])


def test_a_published_validation_part_is_taken_whole_or_in_part():
    own = Part(images(60, "validation"), labels(60, "validation"))
    whole, some = split(source(validation=own)), split(source(validation=own), validation_size=11)
    assert torch.equal(whole.indices["validation"], torch.arange(60))
    assert len(some.validation) == 11
    assert len(whole.train) == len(some.train) == N


def test_test_images_that_become_the_meta_set_are_test_images_no_more():
    made = split(meta_from="test", meta_size=40)
    assert torch.equal(rows_of(made, "test"), torch.arange(M))
    assert len(made.test) == M - 40
    assert made.notes == (
        "40 samples of the published test part are the meta set; they are no test samples any more",
    )
    assert len(made.train) == N
    smaller = split(meta_from="test", meta_size=40, test_size=25)
    assert len(smaller.test) == 25
    assert not torch.isin(smaller.indices["test"], smaller.indices["meta"]).any()
    refused(
        "`meta_size` 40 + `test_size` 41 is 81; it must be at most 80",
        lambda: split(meta_from="test", meta_size=40, test_size=41),
    )
    refused(
        "`meta_from` is 'clean_train'; it must be one of", lambda: split(meta_from="clean_train")
    )


def test_a_meta_set_that_is_not_balanced_has_every_class():
    rare = source().train.y.clone()
    rare[rare == 2] = 1
    rare[7] = 2
    published = source(train=Part(images(N, "train"), rare))
    made = split(published, meta_size=30, balanced_meta=False)
    counts = made.meta.y.bincount(minlength=C)
    assert counts[2] == 1
    assert counts[1] > counts[0]
    assert len(made.meta) == 30
    refused(
        "`meta_size` is 3; it must be at least 4, one sample of each class",
        lambda: split(published, meta_size=3, balanced_meta=False),
    )
    refused("class 2 has 1 left", lambda: split(published, meta_size=40))


@pytest.mark.parametrize("kind", ["pair", "symmetric", "instance-dependent"])
def test_a_stated_share_of_the_meta_labels_is_wrong(kind):
    clean, dirty = (
        split(noise=kind, rate=0.3, meta_size=40, meta_rate=rate) for rate in (0.0, 0.3)
    )
    assert torch.equal(clean.indices["meta"], dirty.indices["meta"])
    wrong = clean.meta.y != dirty.meta.y
    assert wrong.sum() == 12
    if kind == "pair":
        assert torch.equal(dirty.meta.y[wrong], (clean.meta.y[wrong] + 1) % C)
    else:
        assert len(((dirty.meta.y - clean.meta.y)[wrong] % C).unique()) == 3
    assert torch.equal(clean.train.y, dirty.train.y)
    refused("`meta_rate` is 1.5; it must lie in [0, 1]", lambda: split(meta_rate=1.5))


def test_wrong_meta_labels_of_a_class_without_noise_go_anywhere_else():
    """Asymmetric noise leaves classes alone; asked for wrong labels, they get some all the same."""
    made = split(noise="asymmetric", rate=0.3, class_map={0: 1}, meta_size=200, meta_rate=1.0)
    true = source().train.y[made.indices["meta"]]
    assert (made.meta.y != true).all()
    assert made.meta.y[true == 0].unique().tolist() == [1]
    assert made.meta.y[true == 3].unique().tolist() == [0, 1, 2]


def test_another_noise_leaves_parts_and_images():
    one, two = split(rate=0.2, meta_size=40), split(noise="pair", rate=0.4, meta_size=40)
    for part in PARTS:
        assert torch.equal(one.indices[part], two.indices[part])
    assert one.digest != two.digest
    assert split(rate=0.2, meta_size=40).digest == one.digest
    assert split(rate=0.2, meta_size=40, seed=4).digest != one.digest


def test_noise_has_the_asked_rate():
    made = split(noise="symmetric", rate=0.4)
    assert abs(made.manifest["actual_rate"] - 0.4) < 5 * math.sqrt(0.24 / N)


def test_wrong_tables_and_labels_are_refused_by_name():
    refused("`labels` has shape (3,)", lambda: split(labels=torch.zeros(3, dtype=torch.int64)))
    refused("`labels` holds 9 at position 0", lambda: split(labels=torch.full((N,), 9)))
    refused(
        "`labels` is 'x'; it must be one of 'people'",
        lambda: split(annotated(people=source().train.y), labels="x"),
    )
    table = torch.full((5, C), 1 / C)
    refused(
        f"`predictions` has 5 rows; it must have one for each of the {N}",
        lambda: split(noise="feature-dependent", rate=0.2, predictions=table),
    )
    words = source(train=Part(torch.zeros(N, 3, dtype=torch.int64), source().train.y), test=None)
    refused("`scale` is ((0.5,), (0.5,)); it is for", lambda: split(words, scale=((0.5,), (0.5,))))
    refused("`noise` is 'worse'; it must be one of", lambda: split(noise="worse"))


class Half:
    num_random = 1

    def __call__(self, x, u):
        return x[..., :2] + (u > 0.5).to(torch.uint8)[:, :, None, None]

    def for_evaluation(self, x):
        return x[..., :2]


def test_an_augmented_split_changes_training_images_and_crops_the_others_alike():
    made = split(meta_size=40, validation_size=20).augmented(Half())
    assert [getattr(made, part).x.num_random for part in PARTS] == [1, 0, 0, 0]
    assert {getattr(made, part).x.shape[1:] for part in PARTS} == {(2, 3, 2)}
    assert split(meta_size=40).augmented(Half(), meta=True).meta.x.num_random == 1
    assert made.digest == split(meta_size=40, validation_size=20).digest
    digits = data.load("digits", seed=0)
    refused(
        "`augmentation` is given, and the train part of 'digits'", lambda: digits.augmented(Half())
    )


def test_training_on_the_meta_set_augments_it_as_the_training_part_was():
    made = split(meta_size=40).augmented(Half())
    assert made.meta.x.num_random == 0
    alone = made.on_meta_set()
    assert alone.train.x.num_random == 1
    assert alone.origins["train"] == "train"
    assert torch.equal(alone.true_labels, made.meta.y)


def test_a_noisy_meta_set_is_augmented_as_the_meta_set_was():
    for meta in (False, True):
        noisy = split(meta_size=40).augmented(Half(), meta=meta).with_noisy_meta(20, seed=0)
        assert noisy.meta.x.num_random == int(meta)
        assert noisy.train.x.num_random == 1


def test_nobody_takes_wrong_meta_labels_for_the_truth():
    dirty = split(meta_size=40, meta_rate=0.3)
    noisy = split(meta_size=40, rate=0.3).with_noisy_meta(20, seed=0)
    clean = split(meta_size=40)
    assert clean.meta_is_clean
    assert not dirty.meta_is_clean
    assert not noisy.meta_is_clean
    assert dirty.on_meta_set().true_labels is None
    assert noisy.on_meta_set().true_labels is None


def test_image_files_of_a_dataset_are_looked_at_before_it_is_split(tmp_path, monkeypatch):
    for i in range(8):
        Image.new("RGB", (5, 5)).save(tmp_path / f"{i}.png")
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(8)], size=4)
    published = source(train=Part(files, torch.arange(8) % C), test=None, noisy=True)
    monkeypatch.setattr("nlmeta.data.loading.read", lambda *_, **__: published)
    assert len(data.load("webvision", seed=0).train) == 8
    (tmp_path / "5.png").write_bytes(b"no picture")
    refused(f"{tmp_path / '5.png'} does not decode", lambda: data.load("webvision", seed=0))


def test_words_go_through_mentors_and_divergences_as_they_are():
    words = torch.randint(0, 50, (N, 3), generator=generator(0, "words"))
    published = source(train=Part(words, source().train.y), test=None)
    made = split(published, validation_size=40)
    network = TextMLP(50, C, seed=0)
    assert label_confidence(network, made).shape == (len(made.train),)
    assert math.isfinite(divergence_score(network, made.train.x, batch_size=20, seed=0))


def test_anchors_are_found_by_a_network_in_double_precision():
    made = split()
    network = MLP(18, C, seed=0).double()
    assert transition_from_anchors(network, made.train.x).shape == (C, C)


def test_refuses_to_leave_nothing_to_test_on():
    text = "`meta_size` is 80, which leaves no test sample"
    refused(text, lambda: split(meta_from="test", meta_size=M, balanced_meta=False))


def test_a_scale_that_does_not_fit_is_refused_by_its_name():
    text = "it must hold a mean and a deviation for each of the 2 channels"
    refused(text, lambda: split(scale=((0.5,) * 3, (0.5,) * 3)))


def test_labels_that_a_dataset_does_not_have_are_refused_as_such():
    text = "`labels` is 'worst'; 'small' has only one set of labels"
    refused(text, lambda: split(labels="worst"))


def test_ready_labels_of_cifar_n_are_not_called_human():
    people = replace(annotated(worst=labels(N, "people")), human_annotations=("worst",))
    assert split(people, labels=source().train.y).manifest["kind"] == "given"


def copied(published, copies):
    """A source in which the last samples of the training part are copies of the first."""
    groups = torch.arange(N)
    groups[N - copies :] = groups[:copies]
    y = published.train.y.clone()
    y[N - copies :] = y[:copies]
    return replace(published, train=replace(published.train, y=y, groups=groups))


@pytest.mark.parametrize(
    "options",
    [
        {"meta_size": 40, "validation_size": 50, "rate": 0.5},
        {"meta_size": 33, "balanced_meta": False, "test_size": 30},
        {"meta_from": "test", "meta_size": 40},
    ],
)
def test_groups_of_one_sample_change_nothing(options):
    without, alone = split(**options), split(copied(source(), 0), **options)
    assert alone.digest == without.digest
    assert alone.notes == without.notes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("balanced", [True, False])
def test_a_sample_and_its_copies_are_in_one_part(seed, balanced):
    published = copied(source(test=None), 150)
    options = {"meta_size": 40, "validation_size": 51, "test_size": 60, "balanced_meta": balanced}
    made = split(published, seed=seed, **options)
    assert [len(getattr(made, part)) for part in PARTS[1:]] == [40, 51, 60]
    groups = [set(published.train.groups[made.indices[part]].tolist()) for part in PARTS]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 250
    left_out = N - sum(len(getattr(made, part)) for part in PARTS)
    assert left_out <= (6 if balanced else 3)  # at most one from each draw
    assert torch.equal(made.train.groups, published.train.groups[made.indices["train"]])


def test_copies_with_several_labels_are_only_trained_on():
    published = copied(source(test=None), 150)
    y = published.train.y.clone()
    y[N - 150 : N - 50] += 1
    published = replace(published, train=replace(published.train, y=y % C))
    made = split(published, meta_size=80, test_size=80)
    drawn = torch.cat([made.indices["meta"], made.indices["test"]])
    assert not torch.isin(published.train.groups[drawn], torch.arange(100)).any()
    refused(
        "it must be at most 200, the samples of the train part that may be drawn",
        lambda: split(published, test_size=201),
    )


def test_a_sample_and_its_copies_are_in_one_part_of_a_published_test_set():
    groups = torch.arange(M) // 2
    y = source().test.y[groups]
    published = source(test=Part(images(M, "test"), y, groups=groups))
    made = split(published, meta_from="test", meta_size=20)
    assert not torch.isin(groups[made.indices["test"]], groups[made.indices["meta"]]).any()


def test_a_size_that_copies_do_not_leave_is_refused():
    pairs = torch.arange(N) // 2
    train = replace(source().train, y=source().train.y[pairs], groups=pairs)
    published = source(train=train, test=None)
    text = f"`meta_size` is {N - 3}, and {N - 4} samples are left, since copies of samples in"
    options = {"test_size": 1, "validation_size": 1, "balanced_meta": False}
    refused(text, lambda: split(published, meta_size=N - 3, **options))
    refused("leave no training sample", lambda: split(published, test_size=N - 1))


def test_groups_are_for_each_sample():
    with pytest.raises(ValueError, match="`groups` has 3 entries for 400 samples"):
        replace(source().train, groups=torch.arange(3))


@pytest.mark.parametrize("part", ["meta", "validation", "test"])
def test_a_class_without_a_training_sample_is_noted_with_how_many_it_had(part):
    """A balanced meta set takes all of a class that is as rare as its share; others by chance."""
    y = torch.arange(N) % 3
    y[-8:] = 3
    published = source(train=Part(images(N, "train"), y), test=None)
    sizes = {"meta": 4 * 8, "validation": N - 2, "test": N - 2}
    made = split(published, **{f"{part}_size": sizes[part]})
    left = set(made.train.y.tolist())
    assert left < {0, 1, 2, 3}
    had = {"a": 131, "b": 131, "c": 130, "d": 8}
    gone = [f"{name!r} had {had[name]}" for c, name in enumerate("abcd") if c not in left]
    what = "class" if len(gone) == 1 else "classes"
    assert made.notes[-1] == f"no training sample is left of {len(gone)} {what} ({', '.join(gone)})"
    assert split(published, meta_size=4 * 7).notes == ()


def test_a_class_without_a_training_sample_is_told_by_its_given_labels():
    y = torch.arange(N) % C
    given = torch.where(y == 3, 0, y)
    made = split(source(train=Part(images(N, "train"), y)), labels=given, meta_size=40)
    assert made.notes == ()  # nobody took a sample that is called 'd': there was none
