"""One host's volume of a run's checkpoints, reached through a container that is never started.

Not through the container of a task: an engine holds that locked until an archive of it has been
read to its end, and could neither stop it nor tell that it has ended meanwhile.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from launcher.creation import CHECKPOINTS_LABEL, run_labels
from launcher.engine import Engine, EngineError
from launcher.files.archive import Owner
from launcher.files.owner import owner_of
from launcher.layout import CONTAINER_CHECKPOINT_DIR, volume_name

_CONFLICT = 409


class CheckpointVolume(NamedTuple):
    """The volume of a run on one host; `container_id` mounts it at CONTAINER_CHECKPOINT_DIR.

    owner: whom files in it belong to.
    """

    engine: Engine
    container_id: str
    owner: Owner

    @property
    def host(self) -> str:
        """The host's name."""
        return self.engine.host


def opened(engine: Engine, run_id: str, task_container: str) -> CheckpointVolume:
    """Return a run's volume on a host; `task_container` is one that mounts it there.

    Raises:
        HostError: the engine refuses, or that container is gone.
    """
    with engine.errors("does not describe a task's container"):
        described: Mapping[str, Any] = engine.api.inspect_container(task_container)
    name = volume_name(run_id, "checkpoints")
    user = str(described["Config"].get("User") or "")
    container_id = _container(engine, run_id, name, str(described["Image"]))
    return CheckpointVolume(engine, container_id, owner_of(engine, user, container_id))


def _container(engine: Engine, run_id: str, name: str, image_id: str) -> str:
    mount = {
        "Type": "volume",
        "Source": name,
        "Target": CONTAINER_CHECKPOINT_DIR,
        "VolumeOptions": {"NoCopy": True, "Labels": run_labels(run_id)},
    }
    config = {
        "Image": image_id,
        "Entrypoint": ["/never-started"],
        "Labels": {**run_labels(run_id), CHECKPOINTS_LABEL: "1"},
        "HostConfig": {"NetworkMode": "none", "Mounts": [mount]},
    }
    try:
        with engine.errors("cannot make a container to reach checkpoints through"):
            return str(engine.api.create_container_from_config(config, name)["Id"])
    except EngineError as error:
        if error.status != _CONFLICT:
            raise
    with engine.errors(f"does not describe the container {name}"):  # of an earlier launcher
        return str(engine.api.inspect_container(name)["Id"])
