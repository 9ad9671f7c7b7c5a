"""What is installed is the tree: its folders, its files, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from structure import code_of_the_package

# What [build-system] in pyproject.toml asks for.
SETUPTOOLS_MIN = 77
ROOT = Path(__file__).resolve().parents[1]


def files_of_the_tree() -> set[str]:
    """The files that a wheel should hold, as they are named in it."""
    found = {str(path.relative_to(ROOT)) for path in code_of_the_package(ROOT)}
    return {f"quorate/{path}" for path in found} | {"quorate/py.typed"}


def listed_packages() -> list[str]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages: list[str] = pyproject["tool"]["setuptools"]["packages"]
    return packages


def test_the_listed_packages_are_the_folders_that_hold_code() -> None:
    """A folder that is not listed works in the checkout and is missing in the wheel."""
    folders = {name.rpartition("/")[0] for name in files_of_the_tree()}
    packages = listed_packages()
    assert {folder.replace("/", ".") for folder in folders} == set(packages)
    assert packages == sorted(packages)
    for folder in sorted(folders):
        assert f"{folder}/__init__.py" in files_of_the_tree()


def test_nothing_but_the_package_lies_at_the_root() -> None:
    """Any other module there would be shipped."""
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


@pytest.mark.slow
def test_a_wheel_holds_the_tree_and_only_that(tmp_path: Path) -> None:
    # Built with what is installed: a test fetches nothing from anywhere.
    installed = version("setuptools")
    if int(installed.partition(".")[0]) < SETUPTOOLS_MIN:
        pytest.skip(f"setuptools {installed} can't read our pyproject.toml")
    # An export: what a build leaves behind would be shipped by the next one.
    export = tmp_path / "export"
    for name in [f.removeprefix("quorate/") for f in files_of_the_tree()]:
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, export / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        # Only its content differs from the real one when that is still to be written.
        source = ROOT / name
        (export / name).write_bytes(source.read_bytes() if source.exists() else b"\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--no-build-isolation"),
            *("--no-deps", "--no-index", "--wheel-dir", str(tmp_path / "dist"), "."),
        ],
        cwd=export,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {n for n in archive.namelist() if ".dist-info/" not in n}
        assert shipped == files_of_the_tree()
        for name in sorted(shipped):
            assert (
                archive.read(name)
                == (ROOT / name.removeprefix("quorate/")).read_bytes()
            )


def test_importing_the_package_loads_no_heavy_library() -> None:
    script = "import quorate, sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {"aiohttp", "asyncio", "click", "cryptography", "msgspec", "uvloop"}
    assert loaded.isdisjoint(heavy)
    assert not [name for name in loaded if name.startswith("quorate.")]
