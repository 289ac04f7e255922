"""The hosted workflows, as far as they can be tried here, and the check before a release."""

import json
import os
import re
import shutil
import subprocess
import sys

import address
import pytest
import release
import yaml

SLUG = "Some-Body/other.name"
HERE = f"https://github.com/{SLUG}"
BASH = shutil.which("bash")


def workflows(root):
    """Each workflow's name and content. YAML reads the key `on` as true."""
    for path in sorted((root / ".github/workflows").glob("*.yml")):
        yield path.stem, yaml.safe_load(path.read_text("utf-8"))


def jobs(root):
    """Each job of each workflow, as (workflow/job, job)."""
    for name, workflow in workflows(root):
        yield from ((f"{name}/{key}", job) for key, job in workflow["jobs"].items())


def commands(job):
    """What the steps of a job run, in order."""
    return [step["run"] for step in job["steps"] if "run" in step]


def test_workflows_are_the_four():
    """What is tested below is there."""
    names = [name for name, _ in workflows(address.ROOT)]
    assert names == ["ci", "colab", "release", "weekly"]


def test_jobs_end_and_may_do_no_more_than_they_say(root):
    """A hung job costs hours; a workflow without `permissions` may do whatever the default is."""
    for name, workflow in workflows(root):
        assert True in workflow, name
        assert workflow["permissions"], name
    writing = {}
    for name, job in jobs(root):
        assert job["timeout-minutes"] <= 90, name
        assert all(("run" in step) != ("uses" in step) for step in job["steps"]), name
        for step in job["steps"]:
            assert re.search(r"@(v\d+|release/v1)$", step.get("uses", "a@v1")), step
        rights = job.get("permissions", {})
        writing |= {name: sorted(rights)} if "write" in rights.values() else {}
    assert writing == {
        "release/index": ["id-token"],
        "release/page": ["id-token", "pages"],
        "release/release": ["contents"],
    }


def test_workflows_name_only_what_exists(root):
    """Targets of the Makefile, tools and test files; the shell understands each command."""
    makefile = (root / "Makefile").read_text("utf-8")
    targets = set(re.search(r"\.PHONY: (.*)", makefile)[1].split())
    said = [command for _, job in jobs(root) for command in commands(job)]
    assert len(said) > 10
    for command in said:
        assert set(re.findall(r"\bmake (\w+)", command)) <= targets, command
        for path in re.findall(r"(?:book|tests)/[\w/]+\.py", command):
            assert (root / path).exists(), command
        if BASH:
            subprocess.run([BASH, "-n", "-c", command], check=True)


def test_jobs_need_jobs_that_exist_and_take_files_that_were_given(root):
    """Nothing is published before the build; a download has an upload of the same name."""
    workflow = dict(workflows(root))["release"]["jobs"]
    given = set()
    for name, job in workflow.items():
        assert job.get("needs") == (None if name == "build" else "build"), name
        for step in job["steps"]:
            action = step.get("uses", "").partition("@")[0]
            if action == "actions/upload-artifact":
                given.add(step["with"]["name"])
            elif action == "actions/download-artifact":
                assert step["with"]["name"] in given
    assert given == {"package", "files"}


def git(*arguments, cwd):
    """Run git without the settings of the person who runs the tests; return what it prints."""
    who = ["-c", "user.name=N", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", check=True)
    return done.stdout


@pytest.fixture
def published(root, tmp_path):
    """A bare repository with one commit on `main`, and a clone of it as a workflow has one."""
    place, bare, work = tmp_path / "place", tmp_path / "published.git", tmp_path / "work"
    place.mkdir()
    for name in ["Makefile", "_config.yml", *address.FILES]:
        shutil.copy(root / name, place)
    shutil.copytree(root / "book", place / "book", ignore=shutil.ignore_patterns("__pycache__"))
    git("init", "--quiet", "--initial-branch=main", ".", cwd=place)
    git("add", "--all", cwd=place)
    git("commit", "--quiet", "--message=One", cwd=place)
    git("clone", "--quiet", "--bare", place, bare, cwd=tmp_path)
    git("clone", "--quiet", "--depth=1", bare.as_uri(), work, cwd=tmp_path)
    return bare, work


@pytest.mark.skipif(sys.platform == "win32", reason="a hosted workflow has bash")
def test_a_fork_has_a_branch_whose_badges_open_the_fork(published, root, tmp_path):
    """The commands of the workflow, in a clone; then the same after `main` has gone on."""
    bare, work = published
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": SLUG,
    }
    job = dict(jobs(root))["colab/address"]
    for title in ("One", "Two"):
        for command in commands(job):
            subprocess.run([BASH, "-e", "-c", command], cwd=work, env=environment, check=True)
        assert git("log", "--format=%s", "colab", cwd=bare).split("\n")[1] == title
        text = git("show", "colab:book/noise.ipynb", cwd=bare)
        cells = json.loads(text)["cells"]
        badge = f"{address.COLAB}/{SLUG}/blob/colab/book/noise.ipynb"
        assert badge in "".join(cells[0]["source"])
        assert f'"git+{HERE}@colab"' in "".join(cells[1]["source"])
        assert badge in git("show", "colab:README.md", cwd=bare)
        assert address.UNDECIDED in git("show", "main:README.md", cwd=bare)
        # Somebody pushes to `main`, and the workflow begins with a fresh clone again.
        shutil.rmtree(work)
        git("clone", "--quiet", bare, work, cwd=tmp_path)
        git("commit", "--quiet", "--allow-empty", "--message=Two", cwd=work)
        git("push", "--quiet", "origin", "main", cwd=work)


def prepared(root, place, version):
    """A copy of the repository's texts as CONTRIBUTING.md says that they are released."""
    for name in ["_config.yml", *address.FILES]:
        shutil.copy(root / name, place)
    shutil.copytree(root / "book", place / "book")
    for name, pattern, text in (
        ("pyproject.toml", r'(?m)^version = ".*"$', f'version = "{version}"'),
        ("CITATION.cff", r"(?m)^version: .*$", f"version: {version}"),
        (
            "CHANGELOG.md",
            r"## \[Unreleased\]\n",
            f"## [Unreleased]\n\n## [{version}] - 2027-01-31\n",
        ),
    ):
        path = place / name
        text, changed = re.subn(pattern, text, path.read_text("utf-8"))
        assert changed == 1, name
        path.write_text(text, "utf-8", newline="\n")
    address.main([HERE, "--ref", f"v{version}"], place)


def test_a_prepared_release_is_let_through(root, tmp_path, capsys):
    """It prints the changelog's section, which the release shows."""
    prepared(root, tmp_path, "1.2.0")
    assert release.complaints("v1.2.0", HERE, tmp_path) == []
    capsys.readouterr()
    release.main(["v1.2.0"], tmp_path)
    printed = capsys.readouterr().out
    assert printed.startswith("This will be") or "### " in printed
    assert "## [" not in printed
    assert "[Unreleased]:" not in printed


@pytest.mark.parametrize(
    ("tag", "url", "file", "words", "complaint"),
    [
        ("v1.2.1", HERE, "README.md", None, "the tag is v1.2.1; the version in pyproject.toml is"),
        ("v1.2.0", f"{HERE}-fork", "README.md", None, "REF=v1.2.0`, commit, and tag that commit"),
        ("v1.2.0", HERE, "CITATION.cff", "1.2.0", "CITATION.cff has another version than 1.2.0"),
        ("v1.2.0", HERE, "CHANGELOG.md", "2027", "no section '## [1.2.0] - YYYY-MM-DD'"),
        ("v1.2.0", HERE, "book/noise.ipynb", "@v1.2.0", "not pinned to the tag: run `make address"),
    ],
)
def test_a_release_that_does_not_fit_together_is_refused(
    tag, url, file, words, complaint, root, tmp_path
):
    """Each fault alone, named."""
    prepared(root, tmp_path, "1.2.0")
    if words:
        text = (tmp_path / file).read_text("utf-8")
        assert words in text
        (tmp_path / file).write_text(text.replace(words, "elsewhere"), "utf-8", newline="\n")
    with pytest.raises(ValueError, match=f"^{tag} cannot be released:\n") as refused:
        release.main([tag, url], tmp_path)
    assert complaint in str(refused.value)


def test_this_repository_is_not_ready_while_its_address_is_undecided(root):
    """A release without an address could not be installed on Colab."""
    if address.configured(root).owner == address.UNDECIDED:
        assert any("address is not decided" in text for text in release.complaints("v0.1.0"))
