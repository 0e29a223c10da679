"""What checks of hosts take: `launch check --hosts`, and what every run asks its hosts.

sudo .venv/bin/python -m bench.preflight      (makes hosts on this machine: tests/testbed)
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.measure import compile_launcher, say
from launcher import config, hosts, questions, readings
from launcher.logins import Logins
from tests.testbed.python_image import PYTHON, give_python, take_python
from tests.testbed.testbed import Testbed

HOSTS = 8
ROUNDS = 5
CHECK_S = 5.0
EVERY_RUN_S = 0.3
MATRIX_S = 1.0


def main() -> None:
    """Print the table."""
    compile_launcher()
    bed = Testbed.attach() or Testbed.up(HOSTS)
    try:
        give_python(bed)
        with tempfile.TemporaryDirectory() as folder, _user(bed, Path(folder)) as env:
            _check(Path(folder), env)
            _reading(Path(folder))
            _before_a_run(Path(folder), env)
    finally:
        take_python(bed)
        bed.leave() if bed.spec.stays else bed.down()


@contextlib.contextmanager
def _user(bed: Testbed, folder: Path) -> Iterator[Mapping[str, str]]:
    """Be a user with a cluster.yaml of eight hosts and an empty cache."""
    lines = "".join(
        f"  {h.name}: {{address: {h.address}, ssh: {{host: {h.name}}}}}\n"
        for h in bed.hosts[:HOSTS]
    )
    tasks = f"tasks: {{worker: {{count: {HOSTS}}}}}\n"
    (folder / "cluster.yaml").write_text(f"image: {PYTHON}\nhosts:\n{lines}{tasks}")
    before = dict(os.environ)
    env = {**bed.environ(folder / "home"), "PYTHONPATH": str(Path.cwd())}
    env["XDG_CACHE_HOME"] = str(folder / "cache")
    os.environ.update(env)
    os.environ.pop("SSH_AUTH_SOCK", None)
    try:
        yield env
    finally:
        os.environ.clear()
        os.environ.update(before)


def _launch_s(folder: Path, env: Mapping[str, str], *words: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "launcher", *words], cwd=folder, env=env, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - began


def _check(folder: Path, env: Mapping[str, str]) -> None:
    took = [_launch_s(folder, env, "check", "--hosts") for _ in range(ROUNDS + 1)][1:]
    median_s = statistics.median(took)
    name = f"launch check --hosts, {HOSTS} hosts, {HOSTS * (HOSTS - 1)} dials"
    say(name, f"{median_s:.2f} s (to {max(took):.2f})", f"<= {CHECK_S:g} s", max(took) <= CHECK_S)


def _reading(folder: Path) -> None:
    """Print what asking all hosts takes on connections that stand, ports and GPUs included."""
    spec = config.read(str(folder / "cluster.yaml"))
    asking = questions.of_hosts(spec.hosts, spec)
    took = []
    with (
        Logins(spec.hosts, None) as logins,
        hosts.opened(spec.hosts, logins) as (machines, unreached),
    ):
        assert not unreached, unreached
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            _said, silent = readings.read(machines.values(), asking)
            took.append(time.perf_counter() - began)
            assert not silent, silent
    median_s = statistics.median(took[1:])
    name = f"all that every run asks of {HOSTS} hosts, once logged in"
    say(name, f"{median_s:.2f} s", f"<= {EVERY_RUN_S:g} s", median_s <= EVERY_RUN_S)


def _before_a_run(folder: Path, env: Mapping[str, str]) -> None:
    """Print what `auto`, with a pass that is remembered, and `full` add to a run."""
    took: dict[str, list[float]] = {"none": [], "auto": [], "full": []}
    for _ in range(ROUNDS + 1):
        for how, seconds in took.items():
            command = ("--preflight", how, "--", "python", "-ISc", "")
            seconds.append(_launch_s(folder, env, *command))
    for how, limit_s in (("auto", EVERY_RUN_S), ("full", MATRIX_S)):
        pairs = zip(took[how][1:], took["none"][1:], strict=True)
        added_s = statistics.median(a - b for a, b in pairs)
        name = f"a run on {HOSTS} hosts, --preflight {how} less none"
        say(name, f"{added_s:+.2f} s", f"<= {limit_s:g} s", added_s <= limit_s)


if __name__ == "__main__":
    main()
