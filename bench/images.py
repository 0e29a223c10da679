"""What it takes to bring an image to two hosts, beside `docker save | ssh docker load`.

sudo .venv/bin/python -m bench.images            (the testbed needs root)
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.measure import REPOSITORY, say
from launcher.cluster import ImageTransfer
from launcher.engine import Engine, local_socket, open_local
from launcher.images import Images
from launcher.images.cache import LayerCache
from launcher.images.identity import inspect
from launcher.ssh import Connections, Target
from tests.testbed import Testbed
from tests.testbed import images as base_images

EDITS = 5
IMAGE = "bench/mnist"
BASE = base_images.TENSORFLOW
DOCKERFILE = f"FROM {BASE}\nCOPY launcher /opt/launch/launcher\nCOPY trainers/*.py /data/\n"


class Took(NamedTuple):
    """What a transfer took: seconds, and bytes that crossed the hosts' wires."""

    seconds: float
    wire_bytes: int


def main() -> None:
    """Print the table."""
    archive = base_images.tensorflow()  # from this user's cache
    with tempfile.TemporaryDirectory() as folder:
        bed = Testbed.up(2)
        try:
            os.environ.update(bed.environ(Path(folder, "home")))
            bed.local.docker("load", "-i", archive)
            Bench(bed, Path(folder)).run()
        finally:
            bed.down()


class Bench:
    """Two hosts, this machine's engine, and one SSH connection to each host."""

    def __init__(self, bed: Testbed, folder: Path) -> None:
        self.bed = bed
        self.context = folder / "context"
        self.cache = LayerCache(folder / "cache")
        self.here = Engine("here", open_local, local_socket(os.environ))

    def run(self) -> None:
        """Measure first ships, then edits, then ships of nothing."""
        self._copy_sources()
        with self._connected() as engines:
            self._first(engines)
            layer_bytes, ours, raw = self._edits(engines)
            nothing = [self._took(lambda: self._ship(0, engines)) for _ in range(EDITS)]
        self._say_edits(layer_bytes, ours, raw)
        self._say_nothing(nothing)

    def _first(self, engines: Sequence[Engine]) -> None:
        self._build(0)
        raw = self._took(lambda: self._save_and_load(0))
        self._forget(0)
        ours = self._took(lambda: self._ship(0, engines))
        ratio = ours.seconds / raw.seconds
        print(f"save and load: {raw}; ours: {ours}")
        say("first ship of the TensorFlow image, to save and load", f"{ratio:.2f}x", "<= 1.3x",
            ratio <= 1.3)  # fmt: skip

    def _edits(self, engines: Sequence[Engine]) -> tuple[int, list[Took], list[Took]]:
        """Return the size of a changed layer, and what each edit took both ways."""
        ours, raw = [], []
        for edit in range(1, EDITS + 1):
            self._build(edit)
            ours.append(self._took(partial(self._ship, edit, engines)))
            if edit == 1:  # it takes a minute or two
                self._forget(edit)
                raw.append(self._took(partial(self._save_and_load, edit)))
        image = inspect(self.here, f"{IMAGE}:{EDITS}")
        assert image is not None
        blob = self.cache.layer(image.layers[-1])
        assert blob is not None
        return blob.size_bytes, ours, raw

    def _say_edits(self, layer_bytes: int, ours: list[Took], raw: list[Took]) -> None:
        seconds = statistics.median(took.seconds for took in ours)
        wire_bytes = statistics.median(took.wire_bytes for took in ours)
        ratio = wire_bytes / (2 * layer_bytes)
        more_bytes = (wire_bytes - 2 * layer_bytes) / 2
        raw_s = statistics.median(took.seconds for took in raw)
        print(f"layer: {layer_bytes} bytes; beside it on each wire: {more_bytes:.0f} bytes")
        say("one changed line", f"{seconds:.2f} s", "<= 1.5 s", seconds <= 1.5)
        say("the same by save and load", f"{raw_s:.1f} s", "", True)
        say("bytes on the wire, to the layer's", f"{ratio:.2f}x", "<= 1.2x", ratio <= 1.2)

    def _say_nothing(self, nothing: list[Took]) -> None:
        seconds = statistics.median(took.seconds for took in nothing)
        wire_bytes = statistics.median(took.wire_bytes for took in nothing)
        say("nothing to ship", f"{seconds:.3f} s", "<= 0.2 s", seconds <= 0.2)
        say("the same, bytes for both hosts", f"{wire_bytes:.0f}", "< 65536", wire_bytes < 65536)

        def connect_and_ship() -> None:
            with self._connected() as engines:
                self._ship(0, engines)

        cold = self._took(connect_and_ship)
        say("the same with connecting", f"{cold.seconds:.3f} s, {cold.wire_bytes} B", "", True)

    @contextmanager
    def _connected(self) -> Iterator[Sequence[Engine]]:
        connections = Connections(ask=None)
        try:
            yield [
                Engine(host.name, connections.of(Target(host.name, host.name)).open_socket)
                for host in self.bed.hosts
            ]
        finally:
            connections.close()

    def _took(self, do: Callable[[], None]) -> Took:
        before = self._wire_bytes()
        started = time.perf_counter()
        do()
        seconds = time.perf_counter() - started
        return Took(seconds, self._wire_bytes() - before)

    def _wire_bytes(self) -> int:
        return sum(host.bytes_on_wire() for host in self.bed.hosts)

    def _ship(self, edit: int, engines: Sequence[Engine]) -> None:
        images = Images(
            f"{IMAGE}:{edit}",
            self.here,
            ImageTransfer.SHIP,
            on_progress=lambda _: None,
            is_cancelled=lambda: False,
            cache=self.cache,
        )
        done: list[str] = []
        threads = [
            threading.Thread(target=lambda there=there: done.append(images.ensure(there)))
            for there in engines
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [images.reference()] * len(engines)

    def _save_and_load(self, edit: int) -> None:
        for host in self.bed.hosts:
            subprocess.run(
                f"docker save {IMAGE}:{edit} | "
                f"ssh -F {self.bed.ssh_config} {host.name} docker load -q",
                shell=True,
                check=True,
                stdout=subprocess.DEVNULL,
            )

    def _copy_sources(self) -> None:
        skip = shutil.ignore_patterns("__pycache__")
        for part in ("launcher", "trainers"):
            shutil.copytree(REPOSITORY / part, self.context / part, ignore=skip)
        (self.context / "Dockerfile").write_text(DOCKERFILE)

    def _build(self, edit: int) -> None:
        with (self.context / "trainers/mnist_dist.py").open("a") as trainer:
            trainer.write(f"\nEDIT = {edit}\n")
        self.bed.local.docker("build", "-q", "-t", f"{IMAGE}:{edit}", self.context)

    def _forget(self, edit: int) -> None:
        for host in self.bed.hosts:
            host.docker("rmi", f"{IMAGE}:{edit}")


if __name__ == "__main__":
    main()
