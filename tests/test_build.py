"""The package builds, and works where there is nothing else: as on a fresh Colab machine."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile

import address
import chapters
import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


@pytest.fixture(scope="module")
def distributions(root, tmp_path_factory):
    """Wheel and sdist, built with the setuptools of this environment (no download)."""
    place = tmp_path_factory.mktemp("distributions")
    source = place / "source"
    names = ["nlmeta", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"]
    source.mkdir()
    for name in names:  # a copy, since a build leaves folders behind
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, source / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(place.glob("*.whl")), next(place.glob("*.tar.gz"))


def test_wheel_and_sdist_hold_the_package_and_its_licences(root, distributions):
    """Type marker, figures, records and licences travel along; tests and chapters do not."""
    wheel, sdist = distributions
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {"nlmeta/py.typed", "nlmeta/noise/__init__.py", "nlmeta/methods/mlc.py"}
    for data in ("published/*.csv", "records/*.jsonl"):
        found = list((root / "nlmeta/experiments").glob(data))
        assert found
        wanted |= {str(path.relative_to(root)) for path in found}
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


@pytest.fixture
def set_up(tmp_path):
    """A function that runs a set-up cell in an empty directory, on a stand-in for Colab or not.

    It returns the folder that the cell's pip installs into.
    """
    (tmp_path / "stub/google/colab").mkdir(parents=True)
    (tmp_path / "stub/google/colab/__init__.py").touch()
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()

    def run(source, *, on_colab=True, **variables):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        environment = {key: os.environ[key] for key in os.environ if key != "NLMETA_SPEC"}
        environment |= {"PIP_TARGET": str(target), "PIP_NO_INDEX": "1", **variables}
        environment["PYTHONPATH"] = str(tmp_path / "stub") if on_colab else ""
        place = {"metadata": {"path": str(empty)}}
        NotebookClient(notebook, kernel_name="python3", resources=place).execute(env=environment)
        assert not list(empty.iterdir())
        return target

    return run


def test_setup_cell_installs_on_colab_and_nowhere_else(root, distributions, set_up, tmp_path):
    """The stored set-up cell, run with and without a stand-in for `google.colab`."""
    chapter = chapters.notebooks(root)[-1]
    stored = next(c for c in chapters.read(chapter).cells if "setup" in chapters.tags(c))
    assert stored.source == address.configured(root).setup
    for on_colab in (False, True):
        target = set_up(stored.source, on_colab=on_colab, NLMETA_SPEC=str(distributions[0]))
        assert (target / "nlmeta/noise/__init__.py").exists() == on_colab
    where = run_installed(target, "import nlmeta; print(nlmeta.__file__)", tmp_path)
    assert str(target) in where


def git(*arguments, cwd):
    """Run git without the settings of the person who runs the tests."""
    who = ["-c", "user.name=N", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=cwd, check=True)


@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_setup_cell_installs_the_tag_that_its_badge_opens(set_up, tmp_path):
    """From a repository here, which git takes for the one on GitHub; its branch has gone on."""
    source = tmp_path / "source"
    (source / "nlmeta").mkdir(parents=True)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "nlmeta"\nversion = "1"\ndependencies = ["not-installed"]\n'
        '[tool.setuptools]\npackages = ["nlmeta"]\n'
    )
    git("init", "--quiet", "--initial-branch=main", ".", cwd=source)
    for version in ("tagged", "later"):
        (source / "nlmeta/__init__.py").write_text(f"version = {version!r}\n")
        git("add", "--all", cwd=source)
        git("commit", "--quiet", f"--message={version}", cwd=source)
        if version == "tagged":
            git("tag", "release/v1", cwd=source)
    pinned = address.parse("https://github.com/Some-Body/other", "release/v1")
    target = set_up(
        pinned.setup,
        PIP_NO_BUILD_ISOLATION="0",  # which means: without
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.{source.as_uri()}.insteadOf",
        GIT_CONFIG_VALUE_0=pinned.url,
    )
    assert (target / "nlmeta/__init__.py").read_text() == "version = 'tagged'\n"


def test_setup_cell_says_what_to_do_while_the_address_is_undecided(set_up):
    """On Colab it names the next step; elsewhere it does nothing, as always."""
    undecided = address.parse(f"https://github.com/{address.UNDECIDED}/nlmeta", "colab").setup
    with pytest.raises(CellExecutionError) as stopped:
        set_up(undecided)
    assert "does not say where its package is" in stopped.value.evalue
    assert "\n    %env NLMETA_SPEC=git+https://github.com/OWNER/NAME\n" in stopped.value.evalue
    assert not set_up(undecided, on_colab=False).exists()
