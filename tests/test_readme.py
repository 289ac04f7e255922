"""The README's example runs as it stands there, and does what it says."""

import re

import pandas as pd
import pytest
import torch
from PIL import Image

import nlmeta
from nlmeta import CrossEntropy, data, fit, models


def example(root, mark="example"):
    """The code between the two marks."""
    text = (root / "README.md").read_text("utf-8")
    block = re.search(rf"{mark}: begin -->\s*```python\n(.*?)```", text, re.DOTALL)
    assert block, f"README.md has no marked {mark}"
    return block.group(1)


def test_example_of_the_readme_runs_and_ends_where_the_readme_says(root, capsys):
    """All four methods in a plain loop; over seeds they end well inside these bounds."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(4)
        names: dict[str, object] = {}
        exec(compile(example(root), "README.md", "exec"), names)
    accuracy = names["accuracy"]
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == list(accuracy)
    assert accuracy["cross-entropy"] < 0.75
    assert min(accuracy["MLC"], accuracy["MSLG"]) > 0.88
    assert min(accuracy["MLNT"], accuracy["CLID-MU"]) > 0.75
    assert (names["mlc"].transition - torch.eye(10)).abs().max() > 0.1
    start = 5.0 * torch.nn.functional.one_hot(names["split"].train.y, 10)
    moved = (names["mslg"].memory.logits - start).abs().max()
    assert moved > 0.5


def test_example_of_own_data_finds_pictures_in_the_wrong_folder(root, tmp_path, monkeypatch):
    """Red and blue pictures; every fifth photo lies in the folder of the other colour."""
    g = torch.Generator().manual_seed(0)
    wrong = set()
    for folder, count in (("photos", 40), ("checked", 5), ("exam", 5)):
        for i in range(count):
            for colour, other in (("blue", "red"), ("red", "blue")):
                lies = folder == "photos" and i % 5 == 0
                name = f"{other if lies else colour}/{colour}-{i}.png"
                wrong |= {name} if lies else set()
                x = torch.randint(0, 120, (32, 32, 3), generator=g, dtype=torch.uint8)
                x[..., 0 if colour == "red" else 2] += 100
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(x.numpy()).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLMETA_PROGRESS", "0")
    names: dict[str, object] = {}
    exec(compile(example(root, "own data"), "README.md", "exec"), names)
    written = pd.read_csv("suspects.csv")
    assert set(written["id"][: len(wrong)]) == wrong
    assert len(written) == 80
    assert names["run"].accuracy == 1.0


@pytest.mark.parametrize("seed", [0, 1])
def test_early_stopping_is_where_the_readme_says(seed):
    """Ten epochs of cross-entropy: some 90 %, so within five points."""
    split = data.load("digits", noise="symmetric", rate=0.5, meta_size=100, seed=seed)
    result = fit(CrossEntropy(), models.MLP(64, 10, seed=seed), split, epochs=10, seed=seed)
    assert result.accuracy == pytest.approx(0.9, abs=0.05)


def test_commands_for_windows_are_those_of_the_makefile(root):
    """Without `make`: the same set-up, the same build, the same tests."""
    makefile = (root / "Makefile").read_text("utf-8").replace("$(TOOLS)", "book/_tools")
    readme = (root / "README.md").read_text("utf-8")
    block = re.search(r"On Windows.*?```\n(.*?)```", readme, re.DOTALL)[1].split("\n")[:3]
    prepare, build, tests = (line.replace("\\", "/") for line in block)
    assert prepare == "py book/_tools/prepare.py book test"
    assert f"$(BIN){build.removeprefix('.venv/Scripts')}\n" in makefile
    assert f"$(BIN){tests.removeprefix('.venv/Scripts')} --durations" in makefile


def test_example_of_an_audition_runs_and_ranks_the_photos(root, tmp_path, monkeypatch, capsys):
    """Within no time, the cheapest method alone."""
    for folder, numbers in (("photos", range(20)), ("checked", range(20, 30))):
        for number in numbers:
            for colour, rgb in (("blue", (9, number, 200)), ("red", (200, number, 9))):
                path = tmp_path / folder / colour / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), rgb).save(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NLMETA_PROGRESS", "0")
    names: dict[str, object] = {"nlmeta": nlmeta, "SmallCNN": models.SmallCNN}
    code = example(root, "audition").replace('"10m"', '"0.001s"')
    exec(compile(code, "README.md", "exec"), names)
    assert "Not run: " in capsys.readouterr().out
    assert len(pd.read_csv("suspects.csv")) == 40
