"""`python -m tests.testbed`: a testbed for a person to try things on."""

import argparse
import sys
import time

from tests.testbed import packages
from tests.testbed.commands import TestbedError
from tests.testbed.site import Site, cache_folder
from tests.testbed.sweep import leftovers
from tests.testbed.testbed import Testbed

_USE = """\
Up in {seconds:.1f} s. In another shell, or here:
  ssh -F {ssh_config} h1
  export DOCKER_HOST={docker_host}      # this machine's own engine
  docker -H unix://{h1_socket} ps       # h1's engine
  launch --cluster {cluster} -- sh -c 'echo $TF_CONFIG'
Pull h1's cable, break its connections and more: tests/testbed/README.md.
Take it down with: python -m tests.testbed down
"""


def main() -> int:
    """Return the exit code."""
    arguments = _parse()
    try:
        match arguments.command:
            case "up":
                _up(arguments)
            case "down":
                _down()
            case _:
                return _status()
    except TestbedError as error:
        print(f"testbed: {error}", file=sys.stderr)
        return 3
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make N hosts")
    up.add_argument("n", metavar="N", type=int)
    up.add_argument("--tensorflow", action="store_true", help="with the TensorFlow image too")
    up.add_argument("--fake-gpus", type=int, default=0, metavar="N", help="fake GPUs on each host")
    up.add_argument("--disk", type=int, default=0, metavar="MIB", help="the size of h1's disk")
    commands.add_parser("down", help="remove them wholly")
    commands.add_parser("status", help="say what is up")
    return parser.parse_args()


def _up(arguments: argparse.Namespace) -> None:
    began_at = time.monotonic()
    images = ("busybox", "tensorflow") if arguments.tensorflow else ("busybox",)
    disks = {1: arguments.disk << 20} if arguments.disk else {}
    bed = Testbed.up(arguments.n, images=images, disk_bytes=disks,
                     fake_gpus=arguments.fake_gpus, stays=True)  # fmt: skip
    cluster = bed.folder / "cluster.yaml"
    cluster.write_text(_cluster(bed))
    print(
        _USE.format(
            seconds=time.monotonic() - began_at, ssh_config=bed.ssh_config, cluster=cluster,
            docker_host=bed.local.docker_host, h1_socket=bed.hosts[0].docker_socket,
        ),
        end="",
    )  # fmt: skip
    bed.leave()


def _cluster(bed: Testbed) -> str:
    image = "tensorflow:cpu" if "tensorflow" in bed.spec.images else "busybox:1"
    lines = [f"image: launch-testbed/{image}\n", "hosts:\n"]
    for host in bed.hosts:
        gpus = f", gpus: {host.fake_gpus}" if host.fake_gpus else ""
        lines.append(
            f"  {host.name}: {{address: {host.address}{gpus}, ssh: {{user: ml, "
            f"identity_file: {bed.client_key}}}}}\n"
        )
    lines.append("tasks:\n  chief: {host: h1}\n")
    if len(bed.hosts) > 1:
        lines.append(f"  worker: {{count: {len(bed.hosts) - 1}}}\n")
    return "".join(lines)


def _down() -> None:
    bed = Testbed.attach()
    if bed is not None:
        bed.down()
    else:
        packages.require()
        Testbed.sweep_left()
    left = leftovers(Site.here())
    if left:
        raise TestbedError(f"still there: {', '.join(left)}")


def _status() -> int:
    site = Site.here()
    bed = Testbed.peek()
    if bed is None:
        left = leftovers(site)
        print("no testbed is up" + (f"; left over: {', '.join(left)}" if left else ""))
    else:
        for host in bed.hosts:
            docker = "answers" if host.engine.answers else "does not answer"
            state = "up" if host.machine.is_up else "down"
            print(f"{host.name}  {host.address}  {state}, Docker {docker}")
        print(f"this machine  {bed.local.docker_host}")
    print(f"cache  {cache_folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
