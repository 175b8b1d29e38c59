"""What pip installs: one package, the same from every source, beside anybody's `adapters`."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytest.importorskip("hatchling", reason="builds the package without a network")
pytestmark = pytest.mark.skipif(not (ROOT / "bridge").is_dir(), reason="needs the sources")

PROGRAM = """\
import adapters
import bridge.adapters.incs
from bridge import installed

assert adapters.WORDS == "the program's own", adapters
print(bridge.__file__)
print(*installed.adapters())
print(installed.load("whatsapp").__module__)
"""


def build(target: str, source: Path, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = folder.iterdir()
    return built


def content(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel that a program may see."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if "dist-info" not in name}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_what_an_editable_install_sees(wheel):
    """Every file of `bridge`, the adapters at `bridge.adapters` among them, and no other folder."""
    seen = {
        str((Path(folder) / file).relative_to(ROOT)): (Path(folder) / file).read_bytes()
        for folder, _, files in os.walk(ROOT / "bridge", followlinks=True)
        for file in files
        if not file.endswith(".pyc")
    }
    packed = content(wheel)
    assert packed == seen
    assert {"bridge/py.typed", "bridge/adapters/py.typed"} <= packed.keys()


def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    """Whoever builds from the archive on PyPI gets what is built from the repository."""
    archive = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    assert content(build("wheel", source, tmp_path / "again")) == content(wheel)


def test_a_program_keeps_its_own_adapters(wheel, tmp_path):
    """A program with a folder `adapters` imports that, and finds the built-in ones all the same."""
    site = tmp_path / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--target", site, wheel),
        ],
        check=True,
        capture_output=True,
    )
    program = tmp_path / "program"
    (program / "adapters").mkdir(parents=True)
    (program / "adapters" / "__init__.py").write_text('WORDS = "the program\'s own"\n')
    (program / "main.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program / "main.py"],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stderr == ""
    location, names, module = done.stdout.splitlines()
    assert location == str(site / "bridge" / "__init__.py")
    assert {"incs", "rcs", "whatsapp"} <= set(names.split())
    assert module == "bridge.adapters.whatsapp"
