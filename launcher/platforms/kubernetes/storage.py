"""What the pods of a run see of disks: claims, NFS, memory, secrets and the run's code."""

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from launcher.cluster import ClusterSpec
from launcher.errors import Problem
from launcher.layout import CONTAINER_CHECKPOINT_DIR, CONTAINER_OUTPUT_DIR, CONTAINER_WORK_DIR
from launcher.platforms.kubernetes import names
from launcher.platforms.kubernetes.settings import Settings
from launcher.size import size_bytes

KEY = "platforms.kubernetes"
_SECRETS = "/run/secrets"
_OUTPUT_NOWHERE = "none"
_READABLE, _EXECUTABLE = 0o440, 0o555


class Place(NamedTuple):
    """A folder outside of the cluster's machines: the volume that has it, and where it is there."""

    volume: str
    folder: str


class Storage(NamedTuple):
    """The volumes of all pods, and what a container mounts; `problems` are all that is wrong.

    checkpoint_dir: where the tasks see the run's checkpoints.
    """

    volumes: tuple[Mapping[str, Any], ...]
    mounts: tuple[Mapping[str, Any], ...]
    checkpoint_dir: str
    problems: tuple[Problem, ...]


def storage(
    spec: ClusterSpec, settings: Settings, run_id: str, code: Mapping[str, str], job: str
) -> Storage:
    """Return what the pods of a run mount.

    code: the keys of the ConfigMap `job`, each with its path below /data.
    """
    return _Storage(spec, settings, run_id).filled(code, job)


class _Storage:
    """Collects the volumes of one run."""

    def __init__(self, spec: ClusterSpec, settings: Settings, run_id: str) -> None:
        self._spec, self._settings, self._run_id = spec, settings, run_id
        self._volumes: dict[str, Mapping[str, Any]] = {}
        self._mounts: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._problems: list[Problem] = []

    def filled(self, code: Mapping[str, str], job: str) -> Storage:
        self._memory()
        self._paths()
        checkpoint_dir = self._results()
        self._secrets()
        if code:
            self._volumes["code"] = {"configMap": {"name": job, "defaultMode": _EXECUTABLE}}
        for key, path in code.items():
            at = f"{CONTAINER_WORK_DIR}/{path}"
            self._mount("code", at, "code", subPath=key, readOnly=True)
        volumes = tuple({"name": name, **source} for name, source in self._volumes.items())
        mounts = tuple(mount for _, mount in self._mounts.values())
        return Storage(volumes, mounts, checkpoint_dir, tuple(self._problems))

    def _memory(self) -> None:
        limit = str(size_bytes(self._spec.shm_size))
        self._volumes["shm"] = {"emptyDir": {"medium": "Memory", "sizeLimit": limit}}
        self._mount("shm_size", "/dev/shm", "shm")  # noqa: S108 - of the container

    def _paths(self) -> None:
        spec = self._spec
        if spec.data and spec.data.path:
            self._folder("data.path", spec.data.path, spec.data.at, read_only=spec.data.read_only)
        elif spec.data:
            what = "nothing is copied to Kubernetes; expected data.path, a folder of a claim"
            self._problem("data.sync", f"{what} that holds it")
        for index, volume in enumerate(spec.volumes):
            where = f"volumes[{index}].path"
            self._folder(where, volume.path, volume.at, read_only=volume.read_only)

    def _results(self) -> str:
        """Mount where tasks write; return the folder of the checkpoints."""
        spec, run_id = self._spec, self._run_id
        place = self._output()
        if place:
            folder = posixpath.join(place.folder, names.literal(run_id))
            task = f"$({TASK_NAME})"
            self._mount(
                "output", CONTAINER_OUTPUT_DIR, place.volume,
                subPathExpr=posixpath.join(folder, task),
            )  # fmt: skip
        else:
            self._volumes["output"] = {"emptyDir": {}}
            self._mount("output", CONTAINER_OUTPUT_DIR, "output")
        if spec.checkpoints:
            self._folder("checkpoints", spec.checkpoints, spec.checkpoints, read_only=False)
            return f"{spec.checkpoints}/{run_id}"
        if not place:
            return f"{CONTAINER_OUTPUT_DIR}/checkpoints"
        folder = posixpath.join(place.folder, run_id, "checkpoints")
        self._mount("output", CONTAINER_CHECKPOINT_DIR, place.volume, subPath=folder)
        return CONTAINER_CHECKPOINT_DIR

    def _output(self) -> Place | None:
        output = self._settings.output
        if output == _OUTPUT_NOWHERE:
            return None
        if output is None:
            what = "missing: expected the claim that keeps what tasks write (CLAIM, CLAIM/FOLDER)"
            elsewhere = "or `none` where the trainer itself brings it away"
            self._problem(f"{KEY}.output", f"{what}, {elsewhere}")
            return None
        return self._place(f"{KEY}.output", output, "")

    def _folder(self, where: str, path: str, at: str, *, read_only: bool) -> None:
        """Mount what the file calls `path`."""
        clean = posixpath.normpath(path)
        over = [
            given
            for given in self._settings.claims
            if (bare := posixpath.normpath(given)) == clean
            or clean.startswith(f"{bare.rstrip('/')}/")
        ]
        if not over:
            what = f"expected {path}, or a folder above it, among {KEY}.claims: pods see no disk"
            self._problem(where, f"{what} of the machines they run on")
            return
        nearest = max(over, key=lambda given: len(posixpath.normpath(given)))
        rest = clean.removeprefix(posixpath.normpath(nearest)).strip("/")
        place = self._place(f"{KEY}.claims.{nearest}", self._settings.claims[nearest], rest)
        if place:
            more = {"subPath": place.folder} if place.folder else {}
            if read_only:
                more = {**more, "readOnly": True}  # type: ignore[dict-item]
            self._mount(where, at, place.volume, **more)

    def _place(self, where: str, text: str, rest: str) -> Place | None:
        """Return the folder `rest` of what the settings name, or note what is wrong with that."""
        if text.startswith("nfs://"):
            server, _, path = text.removeprefix("nfs://").partition("/")
            source: Mapping[str, Any] = {"nfs": {"server": server, "path": f"/{path}"}}
            folder, fits = "", bool(server)
        else:
            claim, _, folder = text.partition("/")
            source = {"persistentVolumeClaim": {"claimName": claim}}
            fits = names.is_subdomain(claim) and ".." not in folder.split("/")
        if not fits:
            what = "expected CLAIM, CLAIM/FOLDER or nfs://SERVER/FOLDER; a path of the machines"
            what = f"{what} themselves is not offered: a pod sees those of wherever it lands"
            self._problem(where, f"{what}; got {text!r}")
            return None
        known = [name for name, other in self._volumes.items() if other == source]
        name = known[0] if known else f"disk-{len(self._volumes)}"
        self._volumes[name] = source
        return Place(name, "/".join(filter(None, (folder.strip("/"), rest))))

    def _secrets(self) -> None:
        for name in self._spec.secrets:
            where = f"secrets.{name}"
            if name not in self._settings.secrets:
                what = f"expected {KEY}.{where}: the Kubernetes secret that holds it, SECRET/KEY"
                self._problem(where, f"{what}; values are never sent from here")
                continue
            text = self._settings.secrets[name]
            if reference := secret_key(text, name):
                volume = f"secret-{len(self._volumes)}"
                items = [{"key": reference["key"], "path": "value"}]
                source = {"secretName": reference["name"], "items": items, "defaultMode": _READABLE}
                self._volumes[volume] = {"secret": source}
                self._mount(where, f"{_SECRETS}/{name}", volume, subPath="value", readOnly=True)
            else:
                self._problem(f"{KEY}.{where}", not_a_secret(text))
        for name in self._settings.secrets:
            if name not in self._spec.secrets:
                what = "the file has no secret of this name"
                self._problem(f"{KEY}.secrets.{name}", what)

    def _mount(self, where: str, at: str, volume: str, **more: object) -> None:
        path = posixpath.normpath(at)
        mount = {"name": volume, "mountPath": path, **more}
        first, same = self._mounts.setdefault(path, (where, mount))
        if same != mount:
            self._problem(where, f"{path} is taken by {first} already")
        if ":" in path:
            self._problem(where, f"Kubernetes takes no ':' in {path}")

    def _problem(self, where: str, what: str) -> None:
        self._problems.append(Problem(self._spec.source.where(where), what))


TASK_NAME = "LAUNCH_TASK_NAME"  #: the variable that holds `worker-0`


def secret_key(text: str, otherwise: str = "") -> Mapping[str, str] | None:
    """Return the secret and its key that SECRET/KEY means, None where it means none."""
    name, slash, key = text.partition("/")
    key = key if slash else otherwise
    if not names.is_subdomain(name) or not names.is_key(key):
        return None
    return {"name": name, "key": key}


def not_a_secret(text: str) -> str:
    """Return what is said of a reference that means no secret."""
    return f"expected SECRET/KEY, the name of a Kubernetes secret and one of its keys; got {text!r}"


def code_keys(paths: Iterator[str] | Mapping[str, object]) -> Mapping[str, str]:
    """Return a ConfigMap's key for each path below /data: the path itself where it is one."""
    keys: dict[str, str] = {}
    for path in paths:
        key = "".join(c if names.is_key(c) or c == "." else "_" for c in path)[:200]
        while not names.is_key(key) or key in keys:
            key = f"{key}_"
        keys[key] = path
    return keys
