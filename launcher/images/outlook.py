"""How a host would come by an image, asked before anything is moved.

It follows what `Images.ensure` will do, with questions alone: what is here, what is there, and
whether a registry answers the host.
"""

from typing import NamedTuple

from launcher.at_once import within
from launcher.cluster import ImageTransfer
from launcher.engine import Engine
from launcher.errors import HostError
from launcher.images.identity import Identity, check_architecture, inspect
from launcher.images.pulling import offer, repository

_REGISTRY_S = 3.0


class Outlook(NamedTuple):
    """What is to be expected of an image on one host.

    how: `there`, `pulled`, `shipped`; nothing where there is no way.
    lacking_bytes: what it will take there, unpacked, as far as this is known.
    problem: why there is no way.
    """

    how: str
    lacking_bytes: int = 0
    problem: str = ""


class Expected(NamedTuple):
    """An image as it is known here.

    local: what the launching machine has under the name, None where it has nothing.
    size_bytes: of that, unpacked.
    """

    name: str
    transfer: ImageTransfer
    local: Identity | None
    size_bytes: int

    @classmethod
    def of(cls, name: str, transfer: ImageTransfer, here: Engine | None) -> "Expected":
        """Return what is known of an image here. Raises HostError."""
        local = inspect(here, name) if here else None
        if here is None or local is None:
            return cls(name, transfer, None, 0)
        with here.errors("does not describe the image"):
            size_bytes = int(here.api.inspect_image(local.id).get("Size") or 0)
        return cls(name, transfer, local, size_bytes)

    def on(self, there: Engine) -> Outlook:
        """Return what is to be expected on a host. Raises HostError where it does not answer."""
        found = inspect(there, self.name)
        if self.local is None:
            return self._without_local(there, found)
        if (found and found.is_same(self.local)) or inspect(there, self.local.id):
            return Outlook("there")
        try:
            check_architecture(there, self.local.architecture)
        except HostError as error:
            return Outlook("", problem=_without_host(error, there))
        return self._moved(there, self.local)

    def _moved(self, there: Engine, local: Identity) -> Outlook:
        is_only_way = self.transfer is ImageTransfer.PULL
        known = next((d for d in local.digests if repository(d) == repository(self.name)), None)
        if self.transfer is not ImageTransfer.SHIP and (known or is_only_way):
            problem = _registry_problem(there, known or self.name)
            if not problem:
                return Outlook("pulled", self.size_bytes)
            if is_only_way:
                return Outlook("", problem=problem)
        return Outlook("shipped", self.size_bytes)

    def _without_local(self, there: Engine, found: Identity | None) -> Outlook:
        not_here = "this machine has no Docker image of that name"
        if self.transfer is ImageTransfer.SHIP:
            return Outlook("", problem=f"{self.name} cannot be shipped: {not_here}")
        if found and self.transfer is ImageTransfer.AUTO:
            return Outlook("there")
        problem = _registry_problem(there, self.name)
        if problem:
            return Outlook("", problem=f"{problem}, and {not_here} to ship")
        return Outlook("there" if found else "pulled")


def _registry_problem(there: Engine, name: str) -> str:
    """Return why a host cannot pull an image, or nothing where it can."""
    slow = f"the registry of {name} does not answer within {_REGISTRY_S:g} s"
    try:
        within(_REGISTRY_S, lambda: offer(there, name), slow)
    except HostError as error:
        return _without_host(error, there)
    return ""


def _without_host(error: HostError, there: Engine) -> str:
    return str(error).removeprefix(f"{there.host}: ")
