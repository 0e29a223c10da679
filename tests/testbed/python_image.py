"""A small image with a Python in it and nothing else: made of this machine's own in two seconds."""

import os
import subprocess
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.testbed.testbed import Testbed

PYTHON = "launch-test/python:1"
_NEEDLESS = ("__pycache__", "test", "idlelib", "lib2to3", "config-")


def give_python(bed: Testbed) -> None:
    """Give every engine of a testbed the image."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_root(folder / "root.tar")
        (folder / "Dockerfile").write_text("FROM scratch\nADD root.tar /\n")
        bed.local.docker("build", "-q", "-t", PYTHON, folder)
        bed.local.docker("save", "-o", folder / "image.tar", PYTHON)
        for host in bed.hosts:
            host.engine.docker("load", "-q", "-i", folder / "image.tar")


def take_python(bed: Testbed) -> None:
    """Take it from them again."""
    for engine in bed.engines:
        engine.docker("rmi", "-f", PYTHON)


def _write_root(path: Path) -> None:
    """Write this machine's own Python as a root file system."""
    program = os.path.realpath("/usr/bin/python3")
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    library = Path("/usr/lib", Path(program).name)
    with tarfile.open(path, "w") as tar:
        tar.add(program, "usr/bin/python")
        for word in linked.split():
            if word.startswith("/"):
                tar.add(os.path.realpath(word), word.lstrip("/"))
        tar.add(library, str(library).lstrip("/"), filter=_needed)


def _needed(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if any(name in info.name for name in _NEEDLESS) else info
