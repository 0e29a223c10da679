"""What an engine knows of an image that it has."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from docker.errors import APIError, ImageNotFound

from launcher.engine import Engine


def inspected(engine: Engine, image: str) -> Mapping[str, Any] | None:
    """Return an image's facts as the engine gives them; None where it has no such image.

    Raises:
        HostError: the engine cannot say.
    """
    with engine.errors(f"cannot inspect {image}"):
        try:
            facts: Mapping[str, Any] = engine.api.inspect_image(image)
        except ImageNotFound:
            return None
        except APIError as error:
            if error.status_code != HTTPStatus.BAD_REQUEST:  # that is a name no image can have
                raise
            return None
        return facts


def digest(facts: Mapping[str, Any], name: str) -> str:
    """Return the digest that the registry in `name` knows an image by; its id without one."""
    named = [known.split("@") for known in facts.get("RepoDigests") or ()]
    own = [digest for repository, digest in named if name.startswith(repository)]
    return str((own or [digest for _, digest in named] or [facts["Id"]])[0])
