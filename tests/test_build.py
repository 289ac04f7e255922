"""The package builds, and works where there is nothing else: as on a fresh Colab machine."""

import os
import subprocess
import sys
import tarfile
import zipfile

import address
import chapters
import nbformat
import pytest
from nbclient import NotebookClient


@pytest.fixture(scope="module")
def distributions(root, tmp_path_factory):
    """Wheel and sdist, built with the setuptools of this environment (no download)."""
    place = tmp_path_factory.mktemp("distributions")
    source = place / "source"
    names = ["nlmeta", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"]
    source.mkdir()
    for name in names:  # a copy, since a build leaves folders behind
        subprocess.run(["cp", "-r", root / name, source], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(place.glob("*.whl")), next(place.glob("*.tar.gz"))


def test_wheel_and_sdist_hold_the_package_and_its_licences(root, distributions):
    """Type marker, figures, records and licences travel along; tests and chapters do not."""
    wheel, sdist = distributions
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {"nlmeta/py.typed", "nlmeta/noise/__init__.py", "nlmeta/methods/mlc.py"}
    data = (root / "nlmeta/experiments").glob("*/*.[cj]s*")  # figures and records
    wanted |= {str(path.relative_to(root)) for path in data}
    assert len(wanted) > 10
    assert wanted <= set(names)
    assert {name.rpartition("/")[2] for name in names} >= {"LICENSE", "LICENSE-TEXT", "METADATA"}
    assert not [name for name in names if name.startswith(("tests/", "book/"))]
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/nlmeta/py.typed") for name in archive.getnames())


def run_installed(target, code, cwd):
    """Run code that sees the installed copy and not the repository."""
    environment = {**os.environ, "PYTHONPATH": str(target)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installed_package_imports_from_an_empty_directory(kind, distributions, tmp_path):
    """`pip install` of either file, without any dependency, gives a package that works."""
    file = distributions[kind == "sdist"]
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    pip += ["--no-build-isolation", "--disable-pip-version-check", "--target", target, file]
    subprocess.run(pip, check=True)
    code = "import nlmeta; print(nlmeta.__file__, nlmeta.noise.symmetric(3, 0.3).shape)"
    assert str(target) in run_installed(target, code, empty)


def test_setup_cell_installs_on_colab_and_nowhere_else(root, distributions, tmp_path):
    """The stored set-up cell, run with and without a stand-in for `google.colab`."""
    (tmp_path / "stub/google/colab").mkdir(parents=True)
    (tmp_path / "stub/google/colab/__init__.py").touch()
    chapter = chapters.notebooks(root)[-1]
    stored = next(c for c in chapters.read(chapter).cells if "setup" in chapters.tags(c))
    assert stored.source == address.setup_source(address.configured(root))
    target = tmp_path / "target"
    for on_colab in (False, True):
        empty = tmp_path / f"empty-{on_colab}"
        empty.mkdir()
        cells = [nbformat.v4.new_code_cell(stored.source)]
        notebook = nbformat.v4.new_notebook(cells=cells)
        environment = {
            **os.environ,
            "NLMETA_SPEC": str(distributions[0]),
            "PIP_TARGET": str(target),
            "PIP_NO_INDEX": "1",
            "PYTHONPATH": str(tmp_path / "stub") if on_colab else "",
        }
        NotebookClient(
            notebook, kernel_name="python3", resources={"metadata": {"path": str(empty)}}
        ).execute(env=environment)
        assert (target / "nlmeta/noise/__init__.py").exists() == on_colab
    where = run_installed(target, "import nlmeta; print(nlmeta.__file__)", tmp_path)
    assert str(target) in where
