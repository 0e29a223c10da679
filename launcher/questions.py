"""What a host is asked before a plan is made, as a shell script that any POSIX sh understands."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launcher.cluster import ClusterSpec, Host
from launcher.gpus import APPS, LIST

# The clock comes first and last: what lies between is no part of the answer's way.
_SCRIPT = """\
echo @clock
date +%s.%N
echo @ports
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
echo @runs
grep -a ' @launch-claim/h/' /proc/net/unix 2>/dev/null
{gpus}
echo @missing
{paths}
echo @folders
{folders}
echo @disk
{disk}
echo @clock
date +%s.%N
echo @end
"""
# Where Docker keeps its data, as far as this can be told without asking it, and the room there.
_DISK = """\
root= f=/etc/docker/daemon.json
[ -r $f ] && root=$(sed -n 's/.*"data-root"[^"]*"\\([^"]*\\)".*/\\1/p' $f)
root=${root:-/var/lib/docker}
echo "$root"
df -Pk "$root" 2>/dev/null
"""
# The addresses of a host's interfaces that others may reach.
ADDRESSES = "ip -o address show scope global 2>/dev/null || hostname -I 2>/dev/null\n"
_GPU_SCRIPT = f"""\
echo @gpus
{" ".join(LIST)} 2>&1 || echo none
echo @apps
{" ".join(APPS)} 2>/dev/null
echo @hook
command -v nvidia-container-runtime-hook 2>/dev/null
"""


class Question(NamedTuple):
    """What one host is asked.

    gpus: whether it is asked for its GPUs.
    """

    script: str
    gpus: bool


def of_hosts(hosts: Mapping[str, Host], spec: ClusterSpec | None) -> Mapping[str, Question]:
    """Return what each host is asked; without a spec, for a single task."""
    gpus = spec is None or any(task.gpus for task in spec.tasks)
    paths = _paths(spec) if spec else ()
    written = (spec.checkpoints,) if spec and spec.checkpoints else ()
    return {
        name: question(gpus and host.gpus not in (0, ()), paths, written)
        for name, host in hosts.items()
    }


def question(gpus: bool, paths: Sequence[str], written: Sequence[str] = ()) -> Question:
    """Return the question for ports, clock, room, missing `paths`, and GPUs where they count.

    written: the folders of which it counts who may write there.
    """
    return Question(_script(gpus, paths, written), gpus)


def disk(path: str) -> str:
    """Return the script that tells how much room there is at a path."""
    from shlex import quote

    return f"df -Pk {quote(path)} 2>/dev/null\n"


def _paths(spec: ClusterSpec) -> tuple[str, ...]:
    """Return the folders of the hosts that containers shall see."""
    data = [spec.data.path] if spec.data and spec.data.path else []
    shared = [spec.checkpoints] if spec.checkpoints else []
    return (*data, *(volume.path for volume in spec.volumes), *shared)


def _script(with_gpus: bool, paths: Sequence[str], written: Sequence[str]) -> str:
    from shlex import quote

    # A folder that the login user may not see is the daemon's business, not missing.
    test = 'ls -d {0} 2>&1 >/dev/null | grep -q "No such file" && echo {0}'
    tests = "\n".join(test.format(quote(path)) for path in paths)
    owners = "\n".join(f"stat -c '%u %g %a %n' {quote(path)} 2>/dev/null" for path in written)
    gpus = _GPU_SCRIPT if with_gpus else ""
    return _SCRIPT.format(gpus=gpus, paths=tests, folders=owners, disk=_DISK)
