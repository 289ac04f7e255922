"""What `import nlmeta` brings, at once and at a first use, in interpreters of their own."""

import ast
import json
import subprocess
import sys
from importlib import import_module

import pytest

import nlmeta
from nlmeta import analysis, methods, training

# Imported for one figure, one dataset or one fit, each takes longer than most calls of the package.
HEAVY = {"joblib", "matplotlib", "scipy", "seaborn", "sklearn", "torchvision"}
FIGURES = {"plots", "widgets"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that an interpreter has after some code."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_alone_loads_no_heavy_library():
    """Nor pandas, which all that trains needs: a name is imported at its first use."""
    loaded = loaded_by("import nlmeta")
    assert "nlmeta" in loaded  # the list is not empty
    assert not loaded & {*HEAVY, "pandas"}


def test_all_names_but_the_figures_load_no_library_for_one_purpose():
    """So nothing is merely put off: who uses every module still waits for none of these."""
    used = "import nlmeta\n" + "\n".join(f"nlmeta.{name}" for name in {*nlmeta.__all__} - FIGURES)
    loaded = loaded_by(used)
    assert {"pandas", "torch"} <= loaded  # the modules were imported
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    ("use", "library"),
    [
        ("nlmeta.data.load('digits', seed=0)", "sklearn"),
        ("nlmeta.analysis.fit_loss_mixture(torch.tensor([0.0, 1.0, 2.0]))", "sklearn"),
        ("nlmeta.plots", "matplotlib"),
    ],
)
def test_a_heavy_library_comes_with_its_use(use, library):
    """After `import nlmeta` alone, no further import is needed."""
    assert library in loaded_by(f"import torch, nlmeta\n{use}")


def test_every_public_name_is_there_at_its_first_use_and_for_completion():
    code = """
import nlmeta
assert set(nlmeta.__all__) <= set(dir(nlmeta))
for name in nlmeta.__all__:
    assert getattr(nlmeta, name) is getattr(nlmeta, name)
from nlmeta import *
assert fit is nlmeta.fit
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert nlmeta.analysis is analysis
    assert nlmeta.MLC is methods.MLC
    assert nlmeta.fit is training.fit
    with pytest.raises(AttributeError, match="module 'nlmeta' has no attribute 'sklearn'"):
        _ = nlmeta.sklearn
    with pytest.raises(ImportError, match="cannot import name 'sklearn' from 'nlmeta'"):
        exec("from nlmeta import sklearn")


def test_type_checkers_are_told_the_names_there_are(root):
    """What stands under TYPE_CHECKING, where it says they come from, and nothing else."""
    tree = ast.parse((root / "nlmeta/__init__.py").read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    told = {alias.name: statement.module for statement in block.body for alias in statement.names}
    assert sorted(told) == sorted(nlmeta.__all__)
    for name, module in told.items():
        itself = module == "nlmeta"
        there = import_module(f"nlmeta.{name}") if itself else getattr(import_module(module), name)
        assert getattr(nlmeta, name) is there
