"""Tests of nlmeta.data.images: bytes in, standardised floats out, in memory and from disk."""

import dataclasses
import threading

import numpy as np
import pytest
import torch
from helpers import refused
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

import nlmeta
from nlmeta import data, metrics
from nlmeta.data import Batches, ImageFiles, Images, Samples, draw_batch
from nlmeta.data import batches as batches_module
from nlmeta.data.batches import draw_batches
from nlmeta.data.images import channel_statistics
from nlmeta.models import MLP
from nlmeta.seeding import generator

MEAN, DEVIATION = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([2.0, 4.0, 8.0])


class Brighter:
    """Adds up to 99 grey levels; at rest it takes the left half of an image."""

    num_random = 2

    def __call__(self, x, u):
        return (x[..., :2] + (99 * u[:, 0]).to(torch.uint8)[:, None, None, None]).to(torch.uint8)

    def for_evaluation(self, x):
        return x[..., :2]

    def __repr__(self):
        return "Brighter()"


def in_memory(n=7, **options):
    stored = torch.randint(0, 150, (n, 3, 4, 4), generator=generator(0, "x"), dtype=torch.uint8)
    return Images(stored, mean=MEAN, deviation=DEVIATION, **options)


@pytest.fixture
def on_disk(tmp_path):
    """Seven pictures of 4x4 pixels, and the same as a tensor of bytes."""
    stored = in_memory().stored
    for i, image in enumerate(stored):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(7)], size=4, threads=2)
    return Images(files, mean=MEAN, deviation=DEVIATION), stored


def test_images_come_out_standardised_by_channel():
    images = in_memory()
    rows = torch.tensor([4, 0, 4])
    want = (images.stored[rows].float() - MEAN[:, None, None]) / DEVIATION[:, None, None]
    assert torch.equal(images[rows], want)
    assert torch.equal(images[2:5], images[torch.tensor([2, 3, 4])])
    assert images[:].dtype == torch.float32
    assert images.shape == (7, 3, 4, 4)


def test_a_mask_chooses_the_rows_that_it_marks():
    images = in_memory()
    mask = torch.tensor([True, False, True, False, False, False, True])
    assert torch.equal(images[mask], images[torch.tensor([0, 2, 6])])
    refused("`rows` holds 3 bools; it must hold 7, one per image", lambda: images[mask[:3]])


def test_images_on_disk_are_those_in_memory(on_disk):
    images, stored = on_disk
    rows = torch.tensor([6, 1, 1])
    assert images.on_disk
    assert not in_memory().on_disk
    assert torch.equal(images.raw(rows), stored[rows])
    assert torch.equal(images[rows], in_memory()[rows])
    assert images.shape == in_memory().shape


def test_a_subset_stays_bytes_and_counts_its_own_rows(on_disk):
    for images in (in_memory(), on_disk[0]):
        some = images.subset(torch.tensor([5, 2, 3]))
        assert len(some) == 3
        assert some.on_disk == images.on_disk
        assert torch.equal(some[torch.tensor([1])], images[torch.tensor([2])])
        assert torch.equal(images.subset(slice(2, 4))[:], images[2:4])


def test_another_type_changes_what_comes_out_and_not_the_bytes():
    images = in_memory().to("cpu", torch.float64)
    assert images.stored.dtype == torch.uint8
    assert images[:].dtype == images.dtype == torch.float64
    assert_close(images[:], in_memory()[:].double(), rtol=1e-6, atol=0)


def test_a_description_is_the_same_in_every_precision_and_copies_no_image():
    images = in_memory().augmented(Brighter())
    said = images.description
    assert said == repr(images)
    assert "mean [10.0, 20.0, 30.0]" in said
    third = MEAN.double() / 3  # which float32 has to round
    double = Images(images.stored, mean=third, deviation=DEVIATION.double())
    assert double.description == repr(double.to("cpu", torch.float32)) != repr(double)
    elsewhere = Images(images.stored.to("meta"), mean=MEAN, deviation=DEVIATION)  # without numbers
    assert elsewhere.description == in_memory().description
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        elsewhere.to("cpu")


def test_what_indexing_gives_is_at_rest_and_what_batches_give_is_drawn():
    images = in_memory().augmented(Brighter())
    rows = torch.tensor([3, 0])
    u = torch.tensor([[0.5, 0.0], [0.0, 0.9]])
    (drawn,) = images.batches([(rows, u)])
    rest = images[rows]
    assert rest.shape == (2, 3, 4, 2)
    assert images.shape == (7, 3, 4, 2)
    assert torch.equal(rest, in_memory()[rows][..., :2])
    assert_close(drawn[0] - rest[0], (49 / DEVIATION)[:, None, None].expand(3, 4, 2))
    assert torch.equal(drawn[1], rest[1])


def test_images_that_are_not_drawn_come_at_rest_in_batches_too():
    images = in_memory().augmented(Brighter(), augment=False)
    assert images.num_random == 0
    rows = torch.tensor([3, 0])
    (batch,) = images.batches([(rows, torch.rand(2, 0))])
    assert torch.equal(batch, images[rows])


@pytest.mark.parametrize("augmentation", [None, Brighter()])
def test_batches_from_disk_are_those_from_memory(on_disk, augmentation):
    """Decoding ahead of use changes neither order nor numbers."""
    passes = []
    for images in (on_disk[0], in_memory()):
        samples = Samples(images.augmented(augmentation), torch.arange(7))
        batches = Batches(samples, 2, generator=generator(0, "batches"))
        passes.append([list(batches) for _ in range(2)])
    for one, two in zip(*passes, strict=True):
        assert len(one) == len(two) == 3  # the last sample alone is left out of a pass
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a.x, b.x)
            assert torch.equal(a.ids, b.ids)
            assert torch.equal(a.y, a.ids)
    assert not torch.equal(passes[0][0][0].ids, passes[0][1][0].ids)  # another order each pass


def test_batches_hold_the_images_of_their_ids():
    samples = Samples(in_memory(), torch.arange(7))
    for batch in Batches(samples, 3, generator=generator(1, "batches")):
        assert torch.equal(batch.x, samples.x[batch.ids])


def test_the_same_generator_augments_alike_and_each_image_by_its_own_numbers():
    samples = Samples(in_memory(200).augmented(Brighter()), torch.zeros(200, dtype=torch.int64))
    one, two, other = (
        draw_batch(samples, 50, generator=generator(seed, "meta")) for seed in (0, 0, 1)
    )
    assert torch.equal(one.x, two.x)
    assert not torch.equal(one.x, other.x)
    steps = ((one.x - samples.x[one.ids]) * DEVIATION[:, None, None]).round()[:, 0, 0, 0]
    assert len(steps.unique()) > 25  # of 99 values, 50 draws: about 39 different ones


def test_the_whole_set_as_a_batch_is_augmented_and_in_order():
    samples = Samples(in_memory().augmented(Brighter()), torch.arange(7))
    batch = draw_batch(samples, None, generator=generator(0, "meta"))
    assert torch.equal(batch.ids, torch.arange(7))
    assert not torch.equal(batch.x, samples.x[:])


@pytest.mark.parametrize("size", [3, None])
def test_batches_drawn_ahead_are_those_drawn_one_by_one(on_disk, size):
    """Each draws its rows, then its numbers; after the last nothing more is drawn."""
    for images in (on_disk[0], in_memory()):
        samples = Samples(images.augmented(Brighter()), torch.arange(7))
        ahead, by_hand = generator(0, "meta"), generator(0, "meta")
        taken = list(draw_batches(samples, size, 5, generator=ahead))
        assert len(taken) == 5
        for batch in taken:
            rows = torch.randperm(7, generator=by_hand)[:3] if size else torch.arange(7)
            u = torch.rand(len(rows), 2, generator=by_hand)
            (want,) = in_memory().augmented(Brighter()).batches([(rows, u)])
            assert torch.equal(batch.x, want)
            assert torch.equal(batch.ids, rows)
            assert torch.equal(batch.y, rows)
        assert torch.equal(ahead.get_state(), by_hand.get_state())


def test_an_image_changes_alike_on_however_many_processes(monkeypatch):
    """Two processes with generators alike draw for the joint batch and take half of it each."""
    samples = Samples(in_memory(8).augmented(Brighter()), torch.arange(8))
    (alone,) = Batches(samples, 8, generator=generator(0, "batches"))
    monkeypatch.setattr(batches_module, "world_size", lambda: 2)
    halves = []
    for rank in (0, 1):
        half = slice(4 * rank, 4 * rank + 4)
        monkeypatch.setattr(batches_module, "share", lambda n, half=half: half)
        (own,) = Batches(samples, 8, generator=generator(0, "batches"))
        assert torch.equal(own.ids, alone.ids)
        halves.append(own.x)
    assert torch.equal(torch.cat(halves), alone.x)


def test_a_loop_that_ends_early_leaves_no_thread_behind(on_disk):
    images, _ = on_disk
    before = threading.active_count()
    rows = [(torch.tensor([i % 7]), torch.rand(1, 0)) for i in range(50)]
    batches = images.batches(rows)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_an_image_that_does_not_decode_is_named_while_training(on_disk, tmp_path):
    images, _ = on_disk
    (tmp_path / "3.png").write_bytes(b"no picture")
    samples = Samples(images, torch.arange(7))
    batches = Batches(samples, 7, generator=generator(0, "batches"))
    refused(f"{tmp_path / '3.png'} does not decode", lambda: list(batches))


def test_predictions_of_images_are_those_of_their_floats(on_disk):
    model = MLP(48, 3, seed=0)
    want = metrics.predict(model, in_memory()[:], batch_size=3)
    for images in (in_memory(), on_disk[0]):
        got = metrics.predict(model, images, batch_size=3)
        assert_close(got, want, rtol=0, atol=1e-6)
    assert want.std() > 0


def test_statistics_are_those_of_all_bytes_of_the_rows():
    images = in_memory(20)
    rows = torch.tensor([1, 4, 7, 19])
    mean, deviation = channel_statistics(images.stored, rows)
    chosen = images.stored[rows].double().transpose(0, 1).flatten(1)
    assert_close(mean.double(), chosen.mean(1), rtol=1e-6, atol=0)
    assert_close(deviation.double(), chosen.std(1, correction=0), rtol=1e-6, atol=0)
    assert not torch.allclose(mean, channel_statistics(images.stored)[0])


def test_a_constant_channel_has_deviation_one():
    black = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    assert channel_statistics(black)[1].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"stored": torch.zeros(2, 3, 4, 4)}, "`stored` is torch.float32 of shape (2, 3, 4, 4)"),
        (
            {"mean": torch.zeros(1)},
            "`mean` is [0.0]; it must hold a finite number for each of the 3",
        ),
        ({"deviation": torch.tensor([1.0, 0.0, 1.0])}, "`deviation` is [1.0, 0.0, 1.0]; it must"),
    ],
)
def test_refuses_what_are_no_images_and_scales_that_do_not_fit(change, text):
    options = {"stored": in_memory().stored, "mean": MEAN, "deviation": DEVIATION, **change}
    refused(text, lambda: Images(options.pop("stored"), **options))


def test_images_take_a_quarter_of_the_room_of_floats():
    images = in_memory()
    assert images.stored.nbytes * 4 == images[:].nbytes
    assert np.prod(images.shape) == images.stored.numel()


def test_a_single_row_comes_without_the_first_axis():
    images = in_memory()
    assert torch.equal(images[2], images[2:3][0])
    assert torch.equal(images[-1], images[6:][0])
    with pytest.raises(IndexError):
        images[7]


# Rows


@pytest.fixture(params=["in memory", "on disk"])
def seven(request, tmp_path):
    """Seven pictures; the first number of each says which."""
    stored = torch.randint(0, 256, (7, 3, 4, 4), generator=generator(0, "x"), dtype=torch.uint8)
    stored[:, :, 0, 0] = torch.arange(7, dtype=torch.uint8)[:, None]
    if request.param == "on disk":
        for i, image in enumerate(stored):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{i}.png")
        stored = ImageFiles(tmp_path, [f"{i}.png" for i in range(7)], size=4)
    return Images(stored, mean=torch.zeros(3), deviation=torch.ones(3))


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([5, 0, -1], [5, 0, 6]),
        (np.array([5, 0], np.uint16), [5, 0]),
        (torch.tensor([5, 0], dtype=torch.uint8), [5, 0]),
        (range(1, 7, 2), [1, 3, 5]),
        ([True] + [False] * 5 + [True], [0, 6]),
        (np.arange(7) > 4, [5, 6]),
        ([], []),
        (slice(-2, None), [5, 6]),
    ],
)
def test_rows_are_chosen_by_lists_and_arrays_as_by_tensors(seven, rows, want):
    for images in (seven, seven.stored if isinstance(seven.stored, ImageFiles) else seven):
        chosen = images[rows]
        assert chosen.shape == (len(want), 3, 4, 4)
        assert chosen[:, 0, 0, 0].tolist() == want
    assert seven.raw(rows)[:, 0, 0, 0].tolist() == want
    assert seven.subset(rows)[:][:, 0, 0, 0].tolist() == want


@pytest.mark.parametrize("row", [5, -2, np.int64(5), np.array(5), torch.tensor(5)])
def test_one_row_of_whatever_type_comes_without_the_first_axis(seven, row):
    assert seven[row].shape == (3, 4, 4)
    assert seven[row][0, 0, 0] == 5


@pytest.mark.parametrize(
    ("rows", "error", "text"),
    [
        ((0, 1), TypeError, "`rows` is (0, 1); it must be a row number, a slice, or a sequence of"),
        ("first", TypeError, "`rows` is 'first'; it must be"),
        ([0.5], TypeError, "`rows` is [0.5]; it must be"),
        (torch.tensor([1.0]), ValueError, "`rows` is torch.float32 of shape (1,); it must be"),
        (torch.tensor([[1]]), ValueError, "`rows` is torch.int64 of shape (1, 1); it must be"),
        ([True, False], ValueError, "`rows` holds 2 bools; it must hold 7, one per image"),
        ([0, 7], IndexError, "`rows` holds 7; the rows of 7 images are 0 to 6"),
        (-8, IndexError, "`rows` holds -8; the rows of 7 images are 0 to 6"),
    ],
)
def test_what_chooses_no_rows_is_refused_with_what_does(seven, rows, error, text):
    refused(text, lambda: seven[rows], error)
    if isinstance(seven.stored, ImageFiles):
        refused(text, lambda: seven.stored[rows], error)


def test_a_tensor_dataset_takes_the_pictures_of_a_split():
    pixels = torch.randint(0, 256, (9, 3, 4, 4), generator=generator(0, "x"), dtype=torch.uint8)
    train = data.from_arrays(pixels, [0, 1, 2] * 3, seed=0).train
    dataset = TensorDataset(train.x, train.y)
    assert len(dataset) == 9
    assert train.x.size() == train.x.shape == (9, 3, 4, 4)
    x, y = next(iter(DataLoader(dataset, batch_size=9)))
    assert_close(x, train.x[:])
    assert torch.equal(y, train.y)
    refused("mismatch", lambda: TensorDataset(train.x, train.y[:8]), AssertionError)


# Training


def made(augmentation=None, *, meta=False, **options):
    stored = torch.randint(0, 255, (60, 3, 4, 4), generator=generator(1, "x"), dtype=torch.uint8)
    y = torch.arange(60) % 3
    split = data.from_arrays(stored, y, true_labels=y, meta_size=6, test_size=9, seed=0, **options)
    return split if augmentation is None else split.augmented(augmentation, meta=meta)


def train(split, method=None, **options):
    method = nlmeta.CrossEntropy() if method is None else method
    model = MLP(48, 3, seed=0)
    defaults = {"epochs": 2, "batch_size": 16, "seed": 0, "device": "cpu", "progress": False}
    return nlmeta.fit(method, model, split, **{**defaults, **options})


@dataclasses.dataclass(frozen=True)
class Darker:
    """Subtracts nothing or one grey level."""

    num_random = 1

    def __call__(self, x, u):
        return x - (u < 0.5).to(torch.uint8)[:, :, None, None]

    def for_evaluation(self, x):
        return x


def test_training_goes_on_bit_for_bit_where_images_are_augmented(tmp_path):
    whole, stopped, resumed = (nlmeta.MLC(3, virtual_lr=0.1, transition_lr=1.0) for _ in range(3))
    split, cut = made(Darker(), meta=True), {"checkpoint": tmp_path / "run.pt", "resume": True}
    stop_after_one(split, stopped, **cut)
    one, two = train(split, whole), train(split, resumed, **cut)
    assert one.history["loss"].tolist() == two.history["loss"].tolist()
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)


def stop_after_one(split, method, **options):
    def stop(epoch, model, method):
        if epoch == 2:
            raise KeyboardInterrupt

    train(split, method, on_epoch=stop, **options)


def with_meta(images):
    samples = Samples(images.augmented(Darker()), torch.arange(7) % 3)
    return dataclasses.replace(made(), meta=samples)


def test_meta_images_are_decoded_while_a_step_is_taken(on_disk, monkeypatch):
    """At the first of three steps the other two meta batches come without being asked for."""
    decoded = threading.Semaphore(0)
    decode = ImageFiles.__getitem__

    def count(files, rows):
        images = decode(files, rows)
        decoded.release()
        return images

    monkeypatch.setattr(ImageFiles, "__getitem__", count)

    class Waiting(nlmeta.CrossEntropy):
        needs_meta = True

        def step(self, model, optimizer, train, meta=None):
            there.append(all(decoded.acquire(timeout=5) for _ in range(3 if not there else 0)))
            return super().step(model, optimizer, train)

    there = []
    train(with_meta(on_disk[0]), Waiting(), epochs=1, meta_batch_size=2, batch_size=15)
    assert there == [True] * 3


@pytest.mark.parametrize("warmup", [0, 1])
def test_meta_images_from_disk_train_as_those_from_memory(on_disk, tmp_path, warmup):
    """Bit for bit, and so after an interruption."""
    results = []
    for images, interrupted in ((in_memory(), False), (on_disk[0], False), (on_disk[0], True)):
        mlc = nlmeta.MLC(3, virtual_lr=0.1, transition_lr=1.0)
        split = with_meta(images)
        options = {"epochs": 3, "meta_batch_size": 3, "warmup_epochs": warmup}
        if interrupted:
            options |= {"checkpoint": tmp_path / "run.pt", "resume": True}
            other = nlmeta.MLC(3, virtual_lr=0.1, transition_lr=1.0)
            stop_after_one(split, other, **options)
        results.append(train(split, mlc, **options))
    memory, *others = results
    for other in others:
        assert other.history["loss"].tolist() == memory.history["loss"].tolist()
        assert torch.equal(other.method.transition, memory.method.transition)
        for a, b in zip(other.model.parameters(), memory.model.parameters(), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(memory.method.transition, torch.eye(3))


@pytest.mark.parametrize(
    "other",
    [
        lambda: made(Darker(), meta=True),
        lambda: made(),
        lambda: made(Darker(), scale=((0.5,) * 3, (0.5,) * 3)),
    ],
)
def test_a_run_on_images_of_another_scale_or_augmentation_is_not_gone_on_with(other, tmp_path):
    options = {"checkpoint": tmp_path / "run.pt", "resume": True}
    train(made(Darker()), **options)
    assert other().digest == made(Darker()).digest
    with pytest.raises(
        ValueError, match=r"belongs to another run: there `inputs.(train|meta|test)` is"
    ):
        train(other(), **options)


def test_a_whole_meta_set_is_not_decoded_in_every_step(on_disk):
    images, _ = on_disk
    split = data.from_arrays(torch.zeros(6, 3), [0, 1, 2] * 2, seed=0)
    meta = Samples(images, torch.arange(7) % 3)
    split = dataclasses.replace(split, meta=meta)
    mlc = nlmeta.MLC(3, virtual_lr=0.1, transition_lr=1.0)
    text = "`meta_batch_size` is None, so all 7 meta images would be decoded anew in every step"
    refused(text, lambda: nlmeta.fit(mlc, MLP(3, 3, seed=0), split, epochs=1, seed=0))


def test_predictions_take_floats_in_the_type_of_the_network():
    for given, wanted in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        model = MLP(48, 3, seed=0).to(wanted)
        assert metrics.predict(model, in_memory().to("cpu", given)).dtype == wanted
