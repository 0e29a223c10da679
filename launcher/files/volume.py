"""A Docker volume that holds a folder's content, and how far it has been filled.

A volume cannot be renamed or labelled afterwards, so a second, empty one says that the first is
complete. A volume is filled through a container that mounts it and is never started; how far an
unfinished one has come stands in that container, which stays when sending was interrupted.
"""

import os
import socket
import time
import uuid
from typing import Any

from launcher.creation import SCHEMA
from launcher.engine import Engine, EngineError
from launcher.errors import HostError
from launcher.files.owner import read_file

KIND_LABEL, HASH_LABEL = "launch.kind", "launch.hash"
TARGET = ".launch-data"  # where the container mounts the volume, below /
SENT = ".launch-data-sent"  # beside it: how many entries are in the volume
_FILL_LABEL, _FROM_LABEL = "launch.fill", "launch.from"
_CONFLICT, _MISSING = 409, 404


def name_of(content_hash: str) -> str:
    """Return the name of the volume that holds this content."""
    return f"launch-data-{content_hash}"


class DataVolume:
    """One host's volume for one content; its container has the same name."""

    def __init__(self, engine: Engine, content_hash: str) -> None:
        self.name = name_of(content_hash)
        self._engine = engine
        self._mark = f"{self.name}-complete"
        self._labels = {"launch.schema": SCHEMA, KIND_LABEL: "data", HASH_LABEL: content_hash}

    def is_complete(self) -> bool:
        """Whether all of the content is there. Raises HostError."""
        fills = self._fills()
        return self.name in fills and fills[self.name] == fills.get(self._mark)

    def begin(self) -> str:
        """Make the volume where there is none; return the name of its filling.

        Raises:
            HostError: the engine refuses, or somebody else made a volume of that name.
        """
        labels = {**self._labels, _FILL_LABEL: uuid.uuid4().hex}
        with self._engine.errors(f"cannot make the volume {self.name}"):
            made = self._engine.api.create_volume(self.name, labels=labels)
            fill = (made.get("Labels") or {}).get(_FILL_LABEL)
            if self._mark in self._fills():  # of a volume that was removed
                self._engine.api.remove_volume(self._mark)
        if fill is None:
            why = f"was not made by the launcher; there: docker volume rm {self.name}"
            raise HostError(f"{self._engine.host}: the volume {self.name} {why}")
        return str(fill)

    def complete(self, fill: str) -> None:
        """Say that the filling which `begin` named is complete; remove its container."""
        with self._engine.errors(f"cannot make the volume {self._mark}"):
            labels = {**self._labels, _FILL_LABEL: fill}
            self._engine.api.create_volume(self._mark, labels=labels)
        try:
            with self._engine.errors(f"cannot remove the container {self.name}"):
                self._engine.api.remove_container(self.name, force=True)
        except EngineError as error:
            if error.status != _MISSING:
                raise

    def remove(self, claimed_s: float) -> bool:
        """Remove the volume unless a container uses it; whether it is gone.

        Its mark goes first. Who looks for the data from then on sends it anew; who has looked
        before has a container with the volume within `claimed_s`, which keeps it.

        Raises:
            HostError: the engine refuses something else.
        """
        fill = self._fills().get(self._mark)
        self._removed(self._mark)
        time.sleep(claimed_s)
        if self._removed(self.name):
            return True
        if fill is not None and not self._is_being_filled():
            with self._engine.errors(f"cannot make the volume {self._mark}"):
                labels = {**self._labels, _FILL_LABEL: fill}
                self._engine.api.create_volume(self._mark, labels=labels)
        return False

    def _removed(self, name: str) -> bool:
        """Remove a volume that nothing uses; whether it is gone."""
        try:
            with self._engine.errors(f"cannot remove the volume {name}"):
                self._engine.api.remove_volume(name)
        except EngineError as error:
            if error.status not in (_CONFLICT, _MISSING):
                raise
            return error.status == _MISSING
        return True

    def _is_being_filled(self) -> bool:
        with self._engine.errors("does not list its containers"):
            return bool(self._engine.api.containers(all=True, filters={"name": f"^/{self.name}$"}))

    def container(self, image_id: str) -> str:
        """Return the container through which to fill it, new or an interrupted call's.

        Raises:
            HostError: the engine refuses, or another machine is filling the volume.
        """
        config = {
            "Image": image_id,
            "Entrypoint": ["/never-started"],
            "Labels": {**self._labels, _FROM_LABEL: _here()},
            "HostConfig": {"NetworkMode": "none", "Mounts": [self._mount()]},
        }
        try:
            with self._engine.errors("cannot make a container to send data through"):
                made: dict[str, Any] = self._engine.api.create_container_from_config(
                    config, self.name
                )
                return str(made["Id"])
        except EngineError as error:
            if error.status != _CONFLICT:
                raise
        return self._left_container()

    def entries_sent(self, container_id: str) -> int:
        """Return how many entries an interrupted call has sent. Raises HostError."""
        text = read_file(self._engine, container_id, f"/{SENT}")
        return int(text) if text.isdigit() else 0

    def _left_container(self) -> str:
        with self._engine.errors(f"does not describe the container {self.name}"):
            found = self._engine.api.inspect_container(self.name)
        sender = found["Config"]["Labels"].get(_FROM_LABEL, "something else")
        if sender != _here():
            raise HostError(
                f"{self._engine.host}: {sender} is sending the same data there; wait for it, or "
                f"if it ended before it was done, there: docker rm {self.name}"
            )
        return str(found["Id"])

    def _mount(self) -> dict[str, object]:
        options = {"NoCopy": True}
        where = {"Source": self.name, "Target": f"/{TARGET}"}
        return {"Type": "volume", **where, "VolumeOptions": options}

    def _fills(self) -> dict[str, str]:
        with self._engine.errors("does not list its volumes"):
            listed = self._engine.api.volumes(filters={"name": self.name})["Volumes"] or ()
        return {each["Name"]: (each["Labels"] or {}).get(_FILL_LABEL, "") for each in listed}


def _here() -> str:
    """Return who fills: whose lock file it is that keeps others out."""
    return f"{socket.gethostname()}:{os.getuid()}"
