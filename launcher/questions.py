"""What a host is asked before a plan is made, as a shell script that any POSIX sh understands."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from launcher.cluster import ClusterSpec, Host

_SCRIPT = """\
echo @ports
cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
echo @runs
grep -a ' @launch-claim/h/' /proc/net/unix 2>/dev/null
{gpus}
echo @missing
{paths}
echo @end
"""
_GPU_SCRIPT = """\
echo @gpus
nvidia-smi --query-gpu=index,uuid --format=csv,noheader 2>&1 || echo none
echo @apps
nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name --format=csv,noheader 2>/dev/null
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
    return {
        name: question(gpus and host.gpus not in (0, ()), paths) for name, host in hosts.items()
    }


def question(gpus: bool, paths: Sequence[str]) -> Question:
    """Return the question for ports, missing `paths`, and GPUs where they count."""
    return Question(_script(gpus, paths), gpus)


def _paths(spec: ClusterSpec) -> tuple[str, ...]:
    """Return the folders of the hosts that containers shall see."""
    data = [spec.data.path] if spec.data and spec.data.path else []
    shared = [spec.checkpoints] if spec.checkpoints else []
    return (*data, *(volume.path for volume in spec.volumes), *shared)


def _script(with_gpus: bool, paths: Sequence[str]) -> str:
    from shlex import quote

    # A folder that the login user may not see is the daemon's business, not missing.
    test = 'ls -d {0} 2>&1 >/dev/null | grep -q "No such file" && echo {0}'
    tests = "\n".join(test.format(quote(path)) for path in paths)
    return _SCRIPT.format(gpus=_GPU_SCRIPT if with_gpus else "", paths=tests)
