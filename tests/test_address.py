"""One command writes the repository's address everywhere, pinned to one tag or branch."""

import json
import shutil
import subprocess
import sys

import address
import pytest

HERE = "https://github.com/Some-Body/other.name"


@pytest.fixture
def copy(root, tmp_path):
    """The files that hold the address, and the command itself."""
    for name in ["Makefile", "_config.yml", *address.FILES]:
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "book", tmp_path / "book", ignore=shutil.ignore_patterns("_static"))
    return tmp_path


def contents(folder):
    """The bytes of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def first_cells(folder):
    """Badge and set-up cell of each chapter, as text."""
    for path in sorted((folder / "book").glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        code = next(cell for cell in cells if cell["cell_type"] == "code")
        yield path.stem, "".join(cells[0]["source"]), "".join(code["source"])


def test_every_place_agrees_with_the_configured_address(root):
    """`make address` would change nothing."""
    changes = address.rewritten(address.configured(root), root)
    assert not changes, f"run `make address`: {[path.name for path in changes]}"


@pytest.mark.parametrize("ref", ["v0.1.0", "feature/long_names.2"])
def test_badges_set_up_cells_and_package_are_pinned_together(ref, copy):
    """The chapter that a badge opens installs the package of the same tag or branch."""
    address.main([HERE + "/", "--ref", ref], copy)
    spec, on_colab = f"git+{HERE}@{ref}", ref.replace("/", "%2F")
    notebook = f"{address.COLAB}/Some-Body/other.name/blob/{on_colab}/book/"
    readme = (copy / "README.md").read_text("utf-8")
    for chapter, first, setup in first_cells(copy):
        assert f"]({notebook}{chapter}.ipynb)\n" in first
        assert f'"NLMETA_SPEC", "{spec}")\n' in setup
        assert f"]({notebook}{chapter}.ipynb)" in readme
    assert f'pip install "{spec}"' in readme
    assert address.configured(copy) == address.parse(HERE, ref)
    assert f"  url: {HERE}\n" in (copy / "_config.yml").read_text("utf-8")
    for name in ("pyproject.toml", "CITATION.cff", "_config.yml"):
        assert "https://Some-Body.github.io/other.name" in (copy / name).read_text("utf-8"), name


def test_address_leaves_no_trace_of_the_former_one(copy):
    """Neither of the placeholder nor, after a second change, of the address between."""
    tools = copy / "book/_tools"  # the command has to know the placeholder
    address.main([HERE], copy)
    address.main(["https://github.com/a-third/book"], copy)
    for path, content in contents(copy).items():
        if not path.is_relative_to(tools):
            assert address.UNDECIDED.encode() not in content, path.name
            assert b"Some-Body" not in content, path.name


def test_address_is_idempotent_and_goes_back_to_the_same_bytes(copy):
    """A second run changes nothing; what is not given stays; the way back is exact."""
    before, former = contents(copy), address.configured(copy)
    address.main([], copy)
    assert contents(copy) == before
    address.main([HERE, "--ref", "feature/x"], copy)
    there = contents(copy)
    assert there != before
    for again in ([], [HERE], ["--ref", "feature/x"], [HERE + ".git", "--ref", "feature/x"]):
        address.main(again, copy)
        assert contents(copy) == there
    address.main([former.url, "--ref", former.ref], copy)
    assert contents(copy) == before


def test_only_links_to_this_repository_follow():
    """Somebody else's repository of the same name, or of a longer one, stays."""
    former, new = address.parse(HERE, "main"), address.parse("https://github.com/me/nlmeta", "v1")
    theirs = "https://github.com/a/nlmeta https://github.com/Some-Body/other.name-data"
    theirs += " https://github.com/Some-Body/other.name.js https://a.github.io/nlmeta"
    assert address.in_text(theirs, new, former) == theirs
    ours = f"({HERE}.git), {HERE}. <{HERE}/issues> git+{HERE} git+{HERE}@main, "
    ours += "https://Some-Body.github.io/other.name/book"
    assert address.in_text(ours, new, former) == (
        f"({new.url}.git), {new.url}. <{new.url}/issues> {new.spec} {new.spec}, {new.pages}/book"
    )


def test_a_chapter_without_badge_and_set_up_cell_gets_both():
    """`make address` begins a new chapter."""
    where = address.parse(HERE, "colab")
    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# 1. One\n", "Words."]}
    bare = json.dumps({"cells": [text], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    written = address.in_chapter(bare, "one", where, where)
    first, setup = json.loads(written)["cells"]
    assert "".join(first["source"]) == f"# 1. One\n\n{where.badge('one')}\n\nWords."
    assert "".join(setup["source"]) == where.setup
    assert setup["metadata"]["tags"] == address.SETUP_TAGS
    assert setup["metadata"]["mystnb"]["code_prompt_show"] == "Set-up on Colab"
    assert address.in_chapter(written, "one", where, where) == written


SHAPE = "must look like https://github.com/OWNER/NAME"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", f"`URL` is ''; it {SHAPE}"),
        ("http://", SHAPE),
        ("https://", SHAPE),
        ("https:///a/b", SHAPE),
        ("http://github.com/a/b", SHAPE),
        ("github.com/a/b", SHAPE),
        ("git@github.com:a/b", SHAPE),
        ("https://gitlab.com/a/b", SHAPE),
        ("https://github.com/a/.git", SHAPE),
        ("https://github.com/a", SHAPE),
        ("https://github.com/a/..", SHAPE),
        ("https://github.com/a b/c", SHAPE),
        ("https://github.com/a/b c", SHAPE),
        (" https://github.com/a/b", SHAPE),
        ("https://github.com/a/b?c", SHAPE),
        ('https://github.com/a/b");', SHAPE),
        ("https://me:s3cret@github.com/a/b", "`URL` has a user name or a password in it; give"),
        ("https://s3cret@github.com/a/b", "`URL` has a user name or a password in it; give"),
    ],
)
def test_address_refuses_what_colab_cannot_open(url, message):
    """Colab opens notebooks of GitHub repositories. A password is not repeated."""
    with pytest.raises(ValueError, match="`URL`") as refused:
        address.parse(url, "main")
    assert message in str(refused.value)
    assert "s3cret" not in str(refused.value)


WRONG_REFS = ["", " ", "-v1", "--force", "a b", "a..b", "/a", "a/", "a//b", "a/-b", ".a", "a."]
WRONG_REFS += ["a.lock", "a/.b", "a@b", "a#b", "a?b", "a:b", "a\\b", "a%2Fb", 'a")', "ä", "a\n"]


@pytest.mark.parametrize("ref", WRONG_REFS)
def test_address_refuses_what_no_link_can_name(ref):
    """A tag or branch has to survive in an address, in a shell and in a Python string."""
    with pytest.raises(ValueError, match="must be the name of a tag or a branch") as refused:
        address.parse(HERE, ref)
    assert f"`REF` is {ref!r}" in str(refused.value)


def test_a_refused_address_changes_nothing(copy):
    """All is checked before the first file is written."""
    before = contents(copy)
    for arguments in (["http://"], [HERE, "--ref="], [HERE, "--ref=-x"]):
        with pytest.raises(ValueError, match="`URL`|`REF`"):
            address.main(arguments, copy)
    assert contents(copy) == before


def test_a_configuration_without_an_address_is_refused(copy):
    """Nothing could be said of the former address."""
    (copy / "_config.yml").write_text(f"title: Book\nrepository:\n  url: {HERE}\n")
    with pytest.raises(ValueError, match=r"lacks `repository.url` or `repository.branch`"):
        address.configured(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no make")
def test_make_passes_both_arguments_on_as_they_are(copy):
    """A REF that is empty is refused, one that is not given is not."""

    def make(*arguments):
        command = ["make", "-s", "address", f"PYTHON={sys.executable}", *arguments]
        return subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)

    done = make(f"URL={HERE}", "REF=feature/x")
    assert done.stdout.endswith(f"the address is {HERE}, at feature/x\n"), done.stderr
    assert make().stdout == f"0 files changed; the address is {HERE}, at feature/x\n"
    for argument in ("REF=", "REF=-x", "REF=a b; touch here", "URL=", "URL=x y"):
        done = make(argument)
        assert done.returncode
        name, _, value = argument.partition("=")
        assert f"`{name}` is {value!r}" in done.stderr
    assert not (copy / "here").exists()


@pytest.mark.parametrize("tool", ["address", "prepare", "release"])
def test_tools_of_the_set_up_are_plain_python(tool, copy):
    """They run before anything is installed, and read UTF-8 whatever the system's default is."""
    arguments = [HERE] if tool == "address" else ["--help"]
    command = [sys.executable, "-S", "-X", "warn_default_encoding", "-W", "error"]
    command += [copy / f"book/_tools/{tool}.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
