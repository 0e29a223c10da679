"""An image by the digest that its registry knows it by: what a tag means may change."""

from collections.abc import Mapping

from launcher.cluster import Source
from launcher.errors import HostError, InputError, Problem


def named(image: str, environ: Mapping[str, str], source: Source, *, digest: bool) -> str:
    """Return the name to send: `image` with its digest, as this machine's Docker knows it.

    digest: whether it is asked for; else the name stays as the file says it.

    Raises:
        InputError: nobody here knows the digest.
    """
    if not digest or "@sha256:" in image:
        return image
    try:
        found = _known(image, environ)
    except (ImportError, HostError):
        found = ()
    repository = _repository(image)
    for name in found:
        if name.startswith(f"{repository}@"):
            return name
    what = (
        f"no digest is known here of {image}; expected {repository}@sha256:…, as `launch push` "
        "says it (or platforms.uai.by_digest: false)"
    )
    raise InputError(Problem(source.where("image"), what))


def _known(image: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names with digests by which this machine's engine knows an image."""
    from launcher.building.inspection import inspected
    from launcher.engine import Engine, local_socket, open_local

    engine = Engine("this machine", open_local, local_socket(dict(environ)))
    try:
        facts = inspected(engine, image)
    finally:
        engine.close()
    return tuple((facts or {}).get("RepoDigests") or ())


def _repository(image: str) -> str:
    head, slash, last = image.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
