"""A simulation of UAI Train's nodes, on hosts of the testbed: what the platform does, for real.

    python tests/platform/uai_nodes.py                 # both strategies, two nodes
    python tests/platform/uai_nodes.py --strategy multi_worker_mirrored --first worker --nodes 3

Every node runs the same image with the same command line: a ps, which gets no GPU, and a trainer.
The platform puts its interpreter before the command and its arguments behind it, sets TF_CONFIG in
the old form, and shares one folder for results. The job is over when all trainers have exited;
what then still runs is killed. Each step is told; the last line is the verdict, and so the exit
code.

What the platform does is known from its SDK (github.com/ucloud/uai-sdk) and its documents
(docs.ucloud.cn/uai-train). They differ in what the first node's trainer is called: `--first`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from launcher.building import request
from launcher.building.build import build
from launcher.engine import Engine, open_local
from tests.building.places import REPOSITORY, TENSORFLOW
from tests.platform.shared_folder import shared
from tests.testbed import Host, Testbed, TestbedError, Unavailable
from tests.testbed.commands import until

NAME = "launch-test/uai"
STORE = "/srv/ufs"
TRAINER_PORT, PS_PORT = 2222, 2223
ENDS_WITHIN_S, PS_ENDS_WITHIN_S = 240.0, 20.0
DIGITS = REPOSITORY / "trainers/data/mnist.npz"
STRATEGIES = ("multi_worker_mirrored", "auto", "parameter_server")


class Job(NamedTuple):
    """What a user submits, and how the platform counts.

    command: what follows the platform's interpreter.
    first: what it calls the first node's trainer: `master`, or `worker`, counting all from there.
    """

    image: str
    command: str
    gpus: int = 0
    first: str = "master"


class Process(NamedTuple):
    """One container of a node: its ps or its trainer."""

    host: Host
    kind: str
    node: int
    container: str

    @property
    def name(self) -> str:
        return f"{self.host.name}/{self.kind}"

    def code(self) -> int | None:
        """Return how it ended; None while it runs."""
        state = self.host.engine.request("GET", f"/containers/{self.container}/json")["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def output(self) -> str:
        """Return what it has printed."""
        line = 'docker logs "$1" 2>&1'
        return self.host.exec("sh", "-c", line, "sh", self.container).stdout


class Outcome(NamedTuple):
    """What became of a job: exit codes by process (None: it was killed), output, files."""

    codes: dict[str, int | None]
    output: dict[str, str]
    files: frozenset[str]

    def problems(self) -> Iterator[str]:
        """Yield what a user of the platform would complain of."""
        for name, code in self.codes.items():
            if code != 0:
                how = "did not end by itself" if code is None else f"ended with {code}"
                yield f"{name} {how}: {self.output[name][-1500:]}"
        for file in ("mnist.keras", "mnist.h5", "mnist/saved_model.pb", "checkpoints/checkpoint"):
            if file not in self.files:
                yield f"{file} is not in the output"
        said = [line for text in self.output.values() for line in text.splitlines()]
        accuracy = [line.partition("accuracy=")[2] for line in said if "accuracy=" in line]
        if not accuracy or float(accuracy[-1]) < 0.8:
            yield f"no trained model: {accuracy or 'no accuracy was told'}"


def tell(text: str) -> None:
    """Print a step with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def tf_config(addresses: Sequence[str], kind: str, node: int, first: str) -> str:
    """Return the TF_CONFIG that the platform sets for a node's ps or trainer."""
    trainers = [f"{address}:{TRAINER_PORT}" for address in addresses]
    cluster = {
        "master": trainers[:1],
        "ps": [f"{address}:{PS_PORT}" for address in addresses],
        "worker": trainers[1:],
    }
    task: dict[str, object] = {"type": "worker", "index": node if first == "worker" else node - 1}
    if kind == "ps":
        task = {"type": "ps", "index": node}
    elif node == 0 and first == "master":
        task = {"type": "master", "index": 0}
    return json.dumps({"cluster": cluster, "task": task, "environment": "cloud"})


def run(bed: Testbed, job: Job, nodes: int, store: Path) -> Outcome:
    """Return what becomes of a job on the first hosts, its data and output in `store`."""
    hosts = bed.hosts[:nodes]
    for folder in ("data", "output"):
        shutil.rmtree(store / folder, ignore_errors=True)
        (store / folder).mkdir(parents=True)
    shutil.copy(DIGITS, store / "data")
    (store / "output").chmod(0o1777)
    started: list[Process] = []
    with shared(store, hosts, STORE):
        try:
            for kind in ("ps", "trainer"):
                for node in range(nodes):
                    started.append(_start(hosts, job, kind, node))
            return _watch(started, store / "output")
        finally:
            for process in started:
                process.host.docker("rm", "--force", "--volumes", process.container)


def _start(hosts: Sequence[Host], job: Job, kind: str, node: int) -> Process:
    host = hosts[node]
    config = tf_config([each.address for each in hosts], kind, node, job.first)
    line = (
        f"cd /data && /usr/bin/python {job.command} --work_dir=/data --data_dir=/data/data "
        f"--output_dir=/data/output --num_gpus={job.gpus}"
    )
    mounts = ("-v", f"{STORE}/data:/data/data", "-v", f"{STORE}/output:/data/output")
    words = ("run", "--detach", "--network=host", *mounts, "--env", f"TF_CONFIG={config}")
    container = host.docker(*words, job.image, "/bin/bash", "-c", line)
    tell(f"{host.name} {host.address}: {kind}, task {json.loads(config)['task']}")
    return Process(host, kind, node, container)


def _watch(started: Sequence[Process], output: Path) -> Outcome:
    """Return what became of the processes: over when all trainers have exited."""
    codes: dict[str, int | None] = {}

    def ended(*kinds: str) -> bool:
        for process in started:
            if process.name not in codes and (code := process.code()) is not None:
                codes[process.name] = code
                tell(f"{process.name} has ended with {code}")
        return all(process.name in codes for process in started if process.kind in kinds)

    for kinds, seconds in ((("trainer",), ENDS_WITHIN_S), (("ps",), PS_ENDS_WITHIN_S)):
        try:
            until(lambda kinds=kinds: ended(*kinds), f"every {kinds[0]} to exit", seconds)  # type: ignore[misc]
        except TestbedError as error:
            tell(str(error))
            break
    for process in started:
        if process.name not in codes:
            tell(f"{process.name} still runs: the platform kills it")
            codes[process.name] = None
    said = {process.name: process.output() for process in started}
    files = frozenset(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
    return Outcome(codes, said, files)


@contextmanager
def image(bed: Testbed, nodes: int) -> Iterator[str]:
    """Yield the name of mnist.Dockerfile's image, which every node has from the same files.

    Each builds it on its own engine: what a registry would bring them is 1.8 GB that they have.
    """
    engines = [Engine(h.name, open_local, str(h.docker_socket)) for h in bed.hosts[:nodes]]
    asked = request.read(str(REPOSITORY), None, NAME, [f"BASE_IMAGE={TENSORFLOW}"], {})
    asked, now = asked._replace(network="none"), datetime.now(UTC)
    try:
        for engine in engines:
            name = build(engine, asked, now, lambda _: None).tags[0]
            tell(f"{engine.host} has the image {name}")
        yield name
    finally:
        for engine in engines:
            for found in engine.api.images(NAME):
                engine.api.remove_image(found["Id"], force=True)
            engine.close()


def command(strategy: str, *args: str, through_exec: bool) -> str:
    """Return what a user submits: the trainer, or `launch exec` as `launch submit` sends it."""
    trainer = ("/data/mnist_dist.py", f"--strategy={strategy}", *args)
    if not through_exec:
        return " ".join(trainer)
    exec_ = ("-m", "launcher", "exec", f"--strategy={strategy}", "--", "python", "-u")
    return " ".join((*exec_, trainer[0], *args))


def simulate(bed: Testbed, name: str, strategy: str, first: str, nodes: int, store: Path,
             *, through_exec: bool) -> Outcome:  # fmt: skip
    """Return what becomes of mnist_dist under a strategy, having told each step."""
    asked = command(strategy, "--epochs=1", through_exec=through_exec)
    tell(f"a job of {nodes} nodes, the first trainer called {first}: {asked}")
    outcome = run(bed, Job(name, asked, first=first), nodes, store)
    for process, text in outcome.output.items():
        for line in text.splitlines():
            print(f"    {process} | {line}")
    return outcome


def main() -> int:
    """Run what the command line asks for; return 0 where every job ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--strategy", choices=STRATEGIES, action="append")
    parser.add_argument("--first", choices=("master", "worker"), help="default: both, in turn")
    parser.add_argument("--nodes", type=int, default=2)
    asked = parser.parse_args()
    strategies = asked.strategy or STRATEGIES[:2]
    if asked.nodes < 2:
        parser.error("--nodes: expected at least 2, one node gets no TF_CONFIG")
    bed = Testbed.attach() or Testbed.up(asked.nodes, images=("busybox", "tensorflow"))
    failed = []
    try:
        if len(bed.hosts) < asked.nodes:
            raise TestbedError(f"the testbed that is up has {len(bed.hosts)} hosts")
        with tempfile.TemporaryDirectory() as folder, image(bed, asked.nodes) as name:
            for number, strategy in enumerate(strategies):
                first = asked.first or ("worker", "master")[number % 2]
                store = Path(folder, "ufs")
                outcome = simulate(bed, name, strategy, first, asked.nodes, store,
                                   through_exec=first == "worker")  # fmt: skip
                problems = list(outcome.problems())
                failed += [f"{strategy}: {problem}" for problem in problems]
                tell(f"{strategy}: {'as it should' if not problems else 'WRONG'}")
    finally:
        bed.leave() if bed.spec.stays else bed.down()
    for problem in failed:
        print(problem)
    well = " and ".join(strategies) + " ended with a trained model in the output path"
    print(f"verdict: {len(failed)} problems" if failed else f"verdict: {well}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Unavailable, TestbedError) as error:
        sys.exit(f"no testbed: {error}")
