"""A run as the command line asks for it, before any plan."""

from collections.abc import Mapping
from typing import NamedTuple

from launcher.cluster import Backend, ClusterSpec
from launcher.layout import Job


class Asked(NamedTuple):
    """What to run, and how.

    spec: None for a single task without a cluster.
    run_dir: absolute; nothing is there yet.
    options: those of the command line.
    """

    job: Job
    spec: ClusterSpec | None
    run_id: str
    run_dir: str
    options: Mapping[str, str]

    @property
    def image(self) -> str | None:
        """The image of a single task."""
        return self.options.get("image")

    @property
    def in_containers(self) -> bool:
        """Whether the tasks are containers."""
        if self.spec is None:
            return self.image is not None
        return self.spec.backend is Backend.DOCKER

    @property
    def as_json(self) -> bool:
        """Whether everything is printed as JSON."""
        return "json" in self.options
