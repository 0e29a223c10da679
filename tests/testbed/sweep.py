"""Takes a testbed down wholly, whoever made it and however far it came.

Goes by names and by what processes are in, never by what a living testbed remembers: so it serves
for what a killed one left as well.
"""

import functools
import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.testbed import network
from tests.testbed.commands import run, until
from tests.testbed.machine import Machine
from tests.testbed.site import Site

_CGROUPS = Path("/sys/fs/cgroup")
_REMOVED_S = 300.0
_EMPTY_S = 20.0


def sweep(site: Site) -> None:
    """Remove every process, namespace, mount, interface, cgroup and folder of the site."""
    folders = sorted(site.folder.iterdir()) if site.folder.exists() else []
    machines = [Machine(folder.name, folder) for folder in folders if folder.is_dir()]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Machine.halt, machines))
    for netns in network.namespaces(site):
        _end_all(netns)
        remove_cgroups(slurm_cgroup(netns))
    network.remove(site)
    _remove_bridges(site.folder / "local/data/network/files/local-kv.db")
    remove_cgroups(site.cgroup)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_delete, folders))
    _delete(site.folder)
    if site.folder.parent.exists() and not any(site.folder.parent.iterdir()):
        site.folder.parent.rmdir()


def leftovers(site: Site) -> tuple[str, ...]:
    """Return what of the site still exists, for a person."""
    return (
        *(f"namespace {n}" for n in network.namespaces(site)),
        *(f"interface {link}" for link in _links() if link == site.wire),
        *(f"cgroup {path}" for name in _cgroups(site) for path in _cgroup_roots(name)),
        *(f"folder {path}" for path in (site.folder,) if path.exists()),
        *(f"mount {m}" for m in _mounts_below(site.folder)),
    )


def _delete(path: Path) -> None:
    run("rm", "-rf", "--one-file-system", path, deadline_s=_REMOVED_S)


def _end_all(netns: str) -> None:
    for pid in network.processes_in(netns):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    until(lambda: not network.processes_in(netns), f"the processes in {netns} to end")


def _remove_bridges(networks: Path) -> None:
    """Remove the bridges that the local engine made in this machine's own namespace.

    They are those whose network's id stands in that engine's own records.
    """
    if not networks.exists():
        return
    records = networks.read_bytes()
    for name in _links("type", "bridge"):
        if re.fullmatch(r"br-[0-9a-f]{12}", name) and name[3:].encode() in records:
            # Ends of containers that were just being taken off when their engine was killed.
            for end in _links("master", name):
                run("ip", "link", "delete", end, check=False)
            run("ip", "link", "delete", name)


def _links(*which: str) -> tuple[str, ...]:
    links = json.loads(run("ip", "-j", "link", "show", *which).stdout or "[]")
    return tuple(link["ifname"] for link in links if "ifname" in link)


def slurm_cgroup(node: str) -> str:
    """Return the parent of the cgroups of a Slurm node's jobs."""
    return f"slurm_{node}"


def _cgroups(site: Site) -> tuple[str, ...]:
    return (site.cgroup, *map(slurm_cgroup, network.namespaces(site)))


def remove_cgroups(name: str) -> None:
    """Remove a cgroup with all below it, once its processes are gone."""
    for root in _cgroup_roots(name):
        until(functools.partial(_removed, root), f"cgroup {root} to be empty", _EMPTY_S)


def _removed(root: Path) -> bool:
    try:
        for path, _, _ in os.walk(root, topdown=False):
            os.rmdir(path)
    except OSError:  # its processes have been killed, and are not gone yet
        return False
    return True


def _cgroup_roots(name: str) -> tuple[Path, ...]:
    """Return the cgroup in each hierarchy: several in version 1, one in version 2."""
    roots = (_CGROUPS, *(p for p in _CGROUPS.iterdir() if p.is_dir() and not p.is_symlink()))
    return tuple(path for root in roots if (path := root / name.lstrip("/")).exists())


def _mounts_below(folder: Path) -> tuple[str, ...]:
    mounts = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return tuple(m for m in mounts if m == str(folder) or m.startswith(f"{folder}/"))
