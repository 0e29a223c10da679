"""The images that hosts are given, made once and cached by what they are made of.

busybox: Debian's static busybox alone, for tests that need no Python.
tensorflow: Debian with Python in one layer, TensorFlow in a second.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.testbed.archive import write_archive
from tests.testbed.commands import run
from tests.testbed.site import Lock, cache_folder

BUSYBOX = "launch-testbed/busybox:1"
TENSORFLOW = "launch-testbed/tensorflow:cpu"

_SUITE = "bookworm"
_DEBIAN = ("python3", "python3-venv", "ca-certificates")
_PIP = ("tensorflow-cpu==2.21.0", "keras==3.15.1", "absl-py>=2.1", "pyyaml>=6.0.2", "shtab>=1.7",
        "hatchling>=1.27", "editables")  # fmt: skip
_VENV = "/opt/venv"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUSYBOX = Path("/bin/busybox")
_BUILD_S = 1800.0
_RECIPE = 1  # counted up where this file makes something else of the same parts


def archives(images: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the archives of the named images, for `docker load`; makes those not made yet."""
    makers = {"busybox": busybox, "tensorflow": tensorflow}
    return tuple(makers[image]() for image in images)


@contextlib.contextmanager
def made_once(name: str) -> Iterator[tuple[Path, Path | None]]:
    """Yield the cache's path of that name, and where to make it: None where it is there.

    What is made in that place gets its name only when it is whole. Of several processes that
    want it at once one makes it, and the others wait.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / name
    if path.exists():
        yield path, None
        return
    lock = Lock(name)
    lock.take(wait=True)
    try:
        if path.exists():
            yield path, None
            return
        work = cache / f"{name}.part"
        _remove(work)
        try:
            yield path, work
            os.replace(work, path)
        finally:
            _remove(work)
    finally:
        lock.release()


def busybox() -> Path:
    """Return the archive of the busybox image."""
    digest = _digest(_BUSYBOX.read_bytes().hex(), str(_RECIPE))
    with made_once(f"busybox-{digest}.tar") as (path, work):
        if work is not None:
            with TemporaryDirectory(dir=path.parent) as folder:
                layer = Path(folder, "busybox.tar")
                _busybox_layer(layer)
                write_archive(work, BUSYBOX, (layer,), (f"PATH={_PATH}",), ("sh",))
    return path


def tensorflow() -> Path:
    """Return the archive of the TensorFlow image; making it takes two minutes and a network."""
    digest = _digest(_SUITE, *_DEBIAN, *_PIP, str(_RECIPE))
    with made_once(f"tensorflow-{digest}.tar") as (path, work):
        if work is not None:
            with TemporaryDirectory(dir=path.parent) as folder:
                layers = _tensorflow_layers(Path(folder))
                env = (f"PATH={_VENV}/bin:{_PATH}", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1")
                write_archive(work, TENSORFLOW, layers, env, ("python",))
    return path


def _busybox_layer(path: Path) -> None:
    applets = run(_BUSYBOX, "--list").stdout.split()
    with tarfile.open(path, "w") as layer:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755), ("root", 0o700)):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, mode
            layer.addfile(member)
        with _BUSYBOX.open("rb") as program:
            member = tarfile.TarInfo("bin/busybox")
            member.size, member.mode = _BUSYBOX.stat().st_size, 0o755
            layer.addfile(member, program)
        for applet in applets:
            if applet != "busybox":
                member = tarfile.TarInfo(f"bin/{applet}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                layer.addfile(member)


def _tensorflow_layers(folder: Path) -> tuple[Path, Path]:
    root = folder / "rootfs"
    system, packages = folder / "debian.tar", folder / "tensorflow.tar"
    run("debootstrap", "--variant=minbase", f"--include={','.join(_DEBIAN)}", _SUITE, root,
        deadline_s=_BUILD_S)  # fmt: skip
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        _remove(root / waste)
        (root / waste).mkdir(parents=True)
    run("tar", "-C", root, "--sort=name", "--numeric-owner", "-cf", system, ".",
        deadline_s=_BUILD_S)  # fmt: skip
    run("chroot", root, "python3", "-m", "venv", _VENV, deadline_s=_BUILD_S)
    wheels = folder / "wheels"
    run(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:",
        "--python-version=3.11", "--dest", wheels, *_PIP, deadline_s=_BUILD_S)  # fmt: skip
    _install(root, wheels)
    run("tar", "-C", root, "--sort=name", "--numeric-owner", "-cf", packages, "opt/venv",
        deadline_s=_BUILD_S)  # fmt: skip
    return system, packages


def _install(root: Path, wheels: Path) -> None:
    """Install the wheels into the image's venv, without a network there."""
    inside = root / "tmp/wheels"
    shutil.move(wheels, inside)
    try:
        run("chroot", root, "env", "-i", f"PATH={_VENV}/bin:{_PATH}", "HOME=/root",
            "pip", "install", "--quiet", "--no-index", "--no-cache-dir", "--no-compile",
            "--find-links=/tmp/wheels", *_PIP, deadline_s=_BUILD_S)  # fmt: skip
        run("chroot", root, f"{_VENV}/bin/python", "-m", "compileall", "-q", _VENV, check=False,
            deadline_s=_BUILD_S)  # fmt: skip
    finally:
        _remove(inside)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
