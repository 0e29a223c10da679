"""Data-roots with images in them: loaded once into a template, then linked to every host.

A layer's files are hard links to the template's: overlay2 never writes into a layer below. The
engine's own records are copied, so that no host can change the template.
"""

import hashlib
import os
import shutil
from pathlib import Path

from tests.testbed.commands import run
from tests.testbed.engine import Engine
from tests.testbed.images import archives, made_once
from tests.testbed.machine import Machine

_LOAD_S = 1200.0


def template(images: tuple[str, ...]) -> Path:
    """Return a data-root that holds these images; makes it where it is not there yet."""
    made_of = archives(images)
    version = run("dockerd", "--version").stdout.strip()
    digest = hashlib.sha256("\n".join((version, *(a.name for a in made_of))).encode()).hexdigest()
    with made_once(f"template-{digest[:12]}") as (path, work):
        if work is not None:
            _load(work, made_of)
    return path


def seed(data_root: Path, images: tuple[str, ...]) -> None:
    """Put images into a data-root that no engine uses yet."""
    if not images:
        return
    source = template(images)
    data_root.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / "image", data_root / "image")
    layers = data_root / "overlay2"
    layers.mkdir(mode=0o710)
    same_disk = os.stat(source).st_dev == os.stat(data_root).st_dev
    how = "-al" if same_disk else "-a"
    run("cp", "-a", source / "overlay2/l", layers / "l")
    for layer in sorted((source / "overlay2").iterdir()):
        if not (layer / "diff").is_dir():
            continue
        (layers / layer.name).mkdir(mode=0o710)
        for entry in layer.iterdir():
            words = how if entry.name == "diff" else "-a"
            run("cp", words, entry, layers / layer.name / entry.name)


def _load(data_root: Path, made_of: tuple[Path, ...]) -> None:
    folder = data_root.with_suffix(".machine")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("run", "etc", "etc.work"):
        (folder / name).mkdir(parents=True)
    machine = Machine("template", folder)
    engine = Engine(machine, "/launch-testbed-template", str(data_root),
                    ("--bridge=none", "--iptables=false", "--ip-forward=false"))  # fmt: skip
    data_root.mkdir()
    try:
        machine.boot()
        engine.start()
        engine.await_ready()
        for archive in made_of:
            engine.docker("load", "--input", archive, deadline_s=_LOAD_S)
        engine.stop()
    finally:
        machine.halt()
        shutil.rmtree(folder)
