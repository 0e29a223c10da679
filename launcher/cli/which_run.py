"""Which run a word on the command line means: its name, the beginning of it, its folder, `last`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.cli.reaching import cluster_hosts, runs_folder
from launcher.cluster import Host
from launcher.errors import HostError, InputError, Problem
from launcher.runs_here import began

if TYPE_CHECKING:
    from launcher.hosts import Machine

LAST = "last"


def folder_here(word: str, runs_dir: str | None) -> Path:
    """Return the folder of the run that is meant. Raises InputError where none here is."""
    runs = runs_folder(runs_dir)
    folder = folder_of(word, runs)
    if folder is None or not (folder / "plan.json").is_file():
        raise InputError(Problem(word, f"no such run; expected one of {runs} (see launch ps)"))
    return folder


def folder_of(word: str, runs: Path) -> Path | None:
    """Return the folder of the run that is meant; None where none here is."""
    if os.sep in word:
        return Path(word).absolute()
    try:
        paths = [path for path in runs.iterdir() if (path / "plan.json").is_file()]
    except OSError:
        return None
    if word == LAST:
        return max(paths, key=began, default=None)
    name = _meant(word, sorted(path.name for path in paths))
    return runs / name if name else None


def refuse_submitted(run_dir: Path | None, verb: str) -> None:
    """Refuse what the job of a run on Slurm is to be asked for, naming how. Raises InputError."""
    from launcher.platforms.slurm.settings import job_of

    if run_dir is None or (job := job_of(run_dir)) is None:
        return
    how = {
        "stop": f"launch submit stop --platform slurm {job}",
        "resume": f"sbatch {run_dir}/job.sh",
    }[verb]
    raise InputError(Problem(run_dir.name, f"is Slurm's job {job}; expected: {how}"))


def _meant(word: str, names: Sequence[str]) -> str | None:
    """Return the run that a name, or the beginning of one, means; None where there is none."""
    meant = [name for name in names if name == word] or [n for n in names if n.startswith(word)]
    if len(meant) > 1:
        raise InputError(Problem(word, f"expected one run, these begin so: {', '.join(meant)}"))
    return meant[0] if meant else None


def hosts_of(cluster: str | None, run_dir: Path | None, word: str) -> Mapping[str, Host]:
    """Return the hosts to ask for a run: those of its own plan unless a cluster is given."""
    from launcher.planned import planned_hosts

    if cluster is None and run_dir is not None and (run_dir / "plan.json").is_file():
        return planned_hosts(run_dir)
    hosts = cluster_hosts(cluster)
    if not hosts:
        what = "no such run here; expected one of ./runs, or --cluster with the hosts of its"
        raise InputError(Problem(word, f"{what} containers (launch ps lists runs)"))
    return hosts


def name_on_hosts(word: str, machines: "Mapping[str, Machine]") -> str:
    """Return the name of the run that is meant among those of these hosts."""
    from launcher.at_once import attempts
    from launcher.found import found

    listed = attempts(machines.values(), lambda machine: found(machine.engine))
    containers = [one for got in listed if not isinstance(got, HostError) for one in got]
    if word == LAST:
        name = max(containers, key=lambda one: one.created).run if containers else None
    else:
        name = _meant(word, sorted({one.run for one in containers}))
    if name is None:
        where = ", ".join(machines) or "any host"
        raise InputError(Problem(word, f"no such run here, and none on {where} (see launch ps)"))
    return name
