"""Tests of the counts of human labels: the record's sums, its published rates, its making."""

import os

import pytest
import torch

from nlmeta.data import Part, Source, sources
from nlmeta.experiments import EXPERIMENTS, RECORDS, Record, human_noise, rows, status

RATES = {  # per cent of wrong labels (Wei et al., 2022)
    "aggregate": 9.01,
    "random1": 17.23,
    "random2": 18.12,
    "random3": 17.64,
    "worst": 40.21,
}


def read(name):
    (row,) = rows("human_noise", name)
    return row


def wrong_share(counts):
    """Per cent off the diagonal, with the two digits in which it was published."""
    matrix = torch.tensor(counts)
    return round(100 * (1 - matrix.trace() / matrix.sum()).item(), 2)


@pytest.mark.parametrize(("name", "rate"), RATES.items())
def test_cifar10n_counts_every_image_once_and_has_the_published_rate(name, rate):
    counts = torch.tensor(read("cifar10n")["counts"][name])
    assert counts.shape == (10, 10)
    assert counts.sum(1).tolist() == [5000] * 10  # rows are CIFAR's own labels, which are balanced
    assert counts.sum(0).tolist() != [5000] * 10
    assert wrong_share(counts.tolist()) == rate


def test_cifar100n_counts_every_image_once_and_has_the_published_rates():
    record = read("cifar100n")
    counts = torch.tensor(record["counts"])
    assert counts.shape == (20, 20)
    assert counts.sum(1).tolist() == [2500] * 20
    assert wrong_share(record["counts"]) == 26.40
    assert record["images"] == [500] * 100
    assert round(100 * sum(record["wrong"]) / 50_000, 2) == 40.20


def test_the_three_people_add_up_to_the_other_label_sets():
    """One wrong label of three is what "worst" takes; the sums over people are the three rates."""
    record = read("cifar10n")
    wrong = torch.tensor(record["people_wrong"])  # (10, 4): none, one, two, all three
    assert wrong.sum(1).tolist() == [5000] * 10
    worst = torch.tensor(record["counts"]["worst"])
    assert wrong[:, 1:].sum(1).tolist() == (5000 - worst.diagonal()).tolist()
    people = [torch.tensor(record["counts"][f"random{k}"]) for k in (1, 2, 3)]
    errors = sum(5000 - counts.diagonal() for counts in people)
    assert (wrong @ torch.arange(4)).tolist() == errors.tolist()


def test_how_often_the_three_people_agree():
    record = read("cifar10n")
    assert sum(record["people_agree"]) == 50_000
    assert record["people_agree"][0] == 30_178  # 60.4 %
    assert record["people_agree"][2] == 3_041  # no majority
    # Nobody wrong means three equal labels.
    assert record["people_agree"][0] > torch.tensor(record["people_wrong"])[:, 0].sum()


def test_the_record_names_its_source_and_holds_no_label_of_a_single_image():
    for name in ("cifar10n", "cifar100n"):
        assert "Wei" in read(name)["attribution"]
        assert "CC BY-NC 4.0" in read(name)["attribution"]
    assert (RECORDS / "human_noise.jsonl").stat().st_size < 10_000  # 50,000 labels would not fit


def test_class_names_are_in_the_order_of_the_rows():
    """Trucks are taken for automobiles more often than anything for anything else."""
    record = read("cifar10n")
    worst = torch.tensor(record["counts"]["worst"]).fill_diagonal_(0)
    true, given = divmod(int(worst.argmax()), 10)
    assert (record["class_names"][true], record["class_names"][given]) == ("truck", "automobile")


def test_counting_six_images_by_hand(monkeypatch):
    """Two images of class 0, one each of classes 1 to 4; and six of CIFAR-100's class 3."""
    true = torch.tensor([0, 0, 1, 2, 3, 4])
    people = torch.tensor(
        [
            [0, 0, 1, 5, 7, 9],
            [0, 0, 1, 5, 3, 8],
            [0, 6, 1, 5, 7, 7],
        ]
    )
    ten = {f"random{k + 1}": labels for k, labels in enumerate(people)}
    ten |= {"aggregate": torch.tensor([0, 0, 1, 5, 7, 9])}
    ten |= {"worst": torch.tensor([0, 6, 1, 5, 7, 9])}
    hundred = {
        "coarse": torch.full((6,), 2),
        "noisy_fine": torch.tensor([3, 3, 3, 50, 50, 99]),
        "noisy_coarse": torch.tensor([2, 2, 2, 2, 2, 19]),
    }

    def tiny(name):
        labels, y = (ten, true) if name == "cifar10n" else (hundred, torch.full((6,), 3))
        part = Part(x=torch.zeros(6, 3, 32, 32, dtype=torch.uint8), y=y, annotations=labels)
        names = tuple(str(k) for k in range(10 if name == "cifar10n" else 100))
        superclasses = tuple("abcdefghijklmnopqrst")
        return Source(
            name,
            names,
            part,
            part,
            noisy=False,
            attribution="of nobody",
            superclass_names=superclasses,
        )

    monkeypatch.setattr(sources, "read", tiny)
    (ten_counted,) = human_noise.count_cifar10n()
    (hundred_counted,) = human_noise.count_cifar100n()
    assert ten_counted["attribution"] == "of nobody"
    worst = torch.tensor(ten_counted["counts"]["worst"])
    assert worst.nonzero().tolist() == [[0, 0], [0, 6], [1, 1], [2, 5], [3, 7], [4, 9]]
    wrong = ten_counted["people_wrong"]
    assert wrong[:5] == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert wrong[5:] == [[0, 0, 0, 0]] * 5
    assert ten_counted["people_agree"] == [3, 2, 1]
    assert hundred_counted["counts"][2] == [0, 0, 5] + [0] * 16 + [1]
    assert hundred_counted["wrong"][3] == 3
    assert sum(hundred_counted["wrong"]) == 3


def test_the_record_is_whole():
    experiment = EXPERIMENTS["human_noise"]
    found = status(experiment, Record(RECORDS / "human_noise.jsonl"))
    assert str(found) == "2 done, 0 to do"


@pytest.mark.skipif(
    not os.environ.get("NLMETA_DATA"),
    reason="NLMETA_DATA names no folder with the real datasets",
)
def test_the_record_is_what_the_command_counts_anew():
    assert human_noise.count_cifar10n() == rows("human_noise", "cifar10n")
    assert human_noise.count_cifar100n() == rows("human_noise", "cifar100n")
