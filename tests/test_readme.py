"""The README's example runs as it stands there, and does what it says."""

import re

import pytest
import torch

from nlmeta import CrossEntropy, data, fit, models


def example(root):
    """The code between the two marks."""
    text = (root / "README.md").read_text()
    block = re.search(r"example: begin -->\s*```python\n(.*?)```", text, re.DOTALL)
    assert block, "README.md has no marked example"
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


@pytest.mark.parametrize("seed", [0, 1])
def test_early_stopping_is_where_the_readme_says(seed):
    """Ten epochs of cross-entropy: some 90 %, so within five points."""
    split = data.load("digits", noise="symmetric", rate=0.5, meta_size=100, seed=seed)
    result = fit(CrossEntropy(), models.MLP(64, 10, seed=seed), split, epochs=10, seed=seed)
    assert result.accuracy == pytest.approx(0.9, abs=0.05)
