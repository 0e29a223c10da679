"""A fake kubelet: the pods of a run's Jobs as containers of one Docker Engine.

It does what a manifest says of a pod's name, its variables with what they refer to, its command,
its user, and its mounts; claims are folders here. Nothing is scheduled, limited or started again.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from launcher.engine import Engine
from tests.platforms.published import expanded

Object = dict[str, Any]


class Pod(NamedTuple):
    """One pod of a Job, and its container once it has been started."""

    job: Object
    index: int  # type: ignore[assignment]  # hides tuple.index

    @property
    def spec(self) -> Object:
        found: Object = self.job["spec"]["template"]["spec"]
        return found

    @property
    def container(self) -> Object:
        found: Object = self.spec["containers"][0]
        return found

    @property
    def hostname(self) -> str:
        return f"{self.job['metadata']['name']}-{self.index}"

    @property
    def env(self) -> dict[str, str]:
        env: dict[str, str] = {}
        for each in self.container["env"]:
            is_index = "job-completion-index" in str(each.get("valueFrom"))
            env[each["name"]] = str(self.index) if is_index else expanded(each["value"], env)
        return env

    def binds(self, folder: Path) -> Iterator[str]:
        """Yield what is mounted: `folder` has the code, and the claims by name."""
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume, inner = volumes[mount["name"]], mount.get("subPath", "")
            if "emptyDir" in volume:
                continue
            inner = inner or expanded(mount.get("subPathExpr", ""), self.env)
            claim = volume.get("persistentVolumeClaim", {"claimName": "code"})["claimName"]
            source = folder / claim / inner
            if claim != "code":
                _make_open(source)
            yield f"{source}:{mount['mountPath']}:{'ro' if mount.get('readOnly') else 'rw'}"


def _make_open(folder: Path) -> None:
    before = os.umask(0)
    folder.mkdir(parents=True, exist_ok=True)
    os.umask(before)


@contextmanager
def running(engine: Engine, objects: list[Object], folder: Path) -> Iterator[dict[str, str]]:
    """Yield the containers of all pods by `worker-0`; they are removed afterwards."""
    (run,) = [each["metadata"]["name"] for each in objects if each["kind"] == "Service"]
    (folder / "code").mkdir()
    for each in objects:
        for key, text in each.get("data", {}).items() if each["kind"] == "ConfigMap" else ():
            (folder / "code" / key).write_text(text)
    api, made = engine.api, dict[str, str]()
    networks: Any = api.create_networking_config  # its stub takes something else
    network = api.create_network(run)["Id"]
    jobs = [each for each in objects if each["kind"] == "Job"]
    pods = [Pod(job, n) for job in jobs for n in range(job["spec"]["completions"])]
    try:
        for pod in pods:
            user = pod.spec["securityContext"]
            name = api.create_endpoint_config(aliases=[f"{pod.hostname}.{pod.spec['subdomain']}"])
            made[pod.hostname.removeprefix(f"{run}-")] = api.create_container(
                pod.container["image"], [expanded(w, pod.env) for w in pod.container["command"]],
                hostname=pod.hostname, environment=pod.env, entrypoint=[],
                user=f"{user['runAsUser']}:{user['runAsGroup']}",
                working_dir=pod.container["workingDir"],
                networking_config=networks({run: name}),
                host_config=api.create_host_config(
                    init=True, network_mode=run, binds=list(pod.binds(folder)), cap_drop=["ALL"]
                ),
            )["Id"]  # fmt: skip
        for container in made.values():
            api.start(container)
        yield made
    finally:
        for container in made.values():
            api.remove_container(container, force=True, v=True)
        api.remove_network(network)
