"""The README's example runs as it stands there, and does what it says."""

import re

import torch

from nlmeta import CrossEntropy, data, fit, models


def example(root):
    """The code between the two marks."""
    text = (root / "README.md").read_text()
    block = re.search(r"example: begin -->\s*```python\n(.*?)```", text, re.DOTALL)
    assert block, "README.md has no marked example"
    return block.group(1)


def test_example_of_the_readme_runs_and_learns(root, capsys):
    """MLC in a plain loop; 80 % leaves ten points to where its runs over seeds end."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(4)
        names: dict[str, object] = {}
        exec(compile(example(root), "README.md", "exec"), names)
    assert "clean test accuracy" in capsys.readouterr().out
    assert names["accuracy"] > 0.8
    assert (names["method"].transition - torch.eye(10)).abs().max() > 0.1


def test_cross_entropy_is_where_the_readme_says():
    """The comment beside the example: plain training stays below 70 %."""
    split = data.load("digits", noise="one-target", rate=0.4, meta_size=100, seed=0)
    model = models.MLP(64, 10, (256,), seed=0)
    result = fit(CrossEntropy(), model, split, epochs=60, seed=0, evaluate_every=60)
    assert result.accuracy < 0.7
