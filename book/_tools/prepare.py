"""Make a virtual environment and install the package in it; skip what is already done.

    python book/_tools/prepare.py book test
    python book/_tools/prepare.py test --environment .venv-constrained --constraints "torch==2.11.*"

Runs on the plain Python that was found, so it imports the standard library alone. A mark inside
the environment says whether the set-up is finished and what it was made from. An unfinished one is
made anew, since an installation that was cut short can look complete to pip; so is one of other
constraints. An environment without any mark is somebody's own: it is never touched.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "nlmeta-setup.json"


def environment_python(environment: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def finished(environment: Path) -> dict | None:
    """What the finished set-up was made from; None if there is none that still works."""
    try:
        mark = json.loads((environment / MARK).read_text("utf-8"))
        subprocess.run(
            [environment_python(environment), "-c", "import pip"], check=True, capture_output=True
        )
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    # The path too: an environment that was moved or copied does not work.
    return mark if mark.get("finished") and mark.get("root") == str(ROOT) else None


def create(environment: Path) -> None:
    """A new environment, marked as unfinished before anything else happens."""
    if environment.exists():
        if any(environment.iterdir()) and not (environment / MARK).exists():
            sys.exit(
                f"{environment.name} exists and was not made by this set-up, so it is left alone. "
                "Move it away or delete it, then run the same command again."
            )
        shutil.rmtree(environment)
    environment.mkdir()
    (environment / MARK).write_text(json.dumps({"finished": False}), "utf-8")
    venv.EnvBuilder(with_pip=True).create(environment)


def main(extras: list[str], environment: Path, constraints: list[str]) -> None:
    mark = finished(environment)
    if mark and mark.get("constraints", []) != constraints:
        mark = None
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    wanted = set(extras)
    if mark and mark["pyproject"] == project and wanted <= set(mark["extras"]):
        print(f"Set-up: {environment.name} is ready.", flush=True)
        return
    if mark:
        wanted |= set(mark["extras"])
        (environment / MARK).write_text(json.dumps({"finished": False}), "utf-8")
    else:
        version = ".".join(map(str, sys.version_info[:3]))
        print(
            f"Set-up 1/2: a new virtual environment in {environment.name} (Python {version})",
            flush=True,
        )
        create(environment)
    names = ",".join(sorted(wanted))
    print(f"Set-up 2/2: installing nlmeta[{names}]; the first time downloads a few GB", flush=True)
    command = [environment_python(environment), "-m", "pip", "install", "-e", f".[{names}]"]
    if constraints:
        listed = environment / "constraints.txt"
        listed.write_text("\n".join(constraints) + "\n", "utf-8")
        command += ["--constraint", listed]
    result = subprocess.run([*command, "--disable-pip-version-check"], cwd=ROOT, check=False)
    if result.returncode:
        sys.exit("Set-up failed (see pip's message above). Run the same command again to retry.")
    done = {
        "finished": True,
        "root": str(ROOT),
        "pyproject": project,
        "extras": sorted(wanted),
        "constraints": constraints,
    }
    (environment / MARK).write_text(json.dumps(done, indent=1), "utf-8")
    print("Set-up: done.", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extras", nargs="+", help="extras of pyproject.toml to install")
    parser.add_argument("--environment", default=".venv", help="folder (default: %(default)s)")
    parser.add_argument(
        "--constraints", default="", help="versions to keep to, separated by spaces"
    )
    given = parser.parse_args()
    main(given.extras, ROOT / given.environment, given.constraints.split())
