"""Secrets on their way into containers: read here, written there as files that one user may read.

Their values are in no message, no representation and no file of this machine.
"""

import os
from collections.abc import Iterator, Mapping

from launcher.cluster import Secret
from launcher.errors import InputError, Problem
from launcher.files.archive import Archive, Owner, Writer

FOLDER = "/run/secrets"
_FILE_MODE, _FOLDER_MODE = 0o400, 0o500


class Secrets(Mapping[str, bytes]):
    """The values of a run's secrets by name; shown, it has no values."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> bytes:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self._values)})"


def read_secrets(spec: Mapping[str, Secret], environ: Mapping[str, str]) -> Secrets:
    """Return the secrets that cluster.yaml names, their bytes as they are.

    Raises:
        InputError: with every one that cannot be read.
    """
    values, problems = {}, []
    for name, secret in spec.items():
        value = _read(secret, environ)
        if isinstance(value, str):
            problems.append(Problem(f"secrets.{name}", value))
        else:
            values[name] = value
    if problems:
        raise InputError(problems)
    return Secrets(values)


def _read(secret: Secret, environ: Mapping[str, str]) -> bytes | str:
    """Return a secret's value, or in words why there is none."""
    if secret.file is None:
        name = secret.env or ""
        if name not in environ:
            return f"the environment variable {name} is not set here; export it, or name a file"
        return os.fsencode(environ[name])
    path = os.path.expanduser(secret.file)
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}; expected a file of this machine"


def secrets_archive(secrets: Secrets, owner: Owner) -> Archive | None:
    """Return the files of /run/secrets, which only `owner` may read; None for no secrets."""
    if not secrets:
        return None
    with Writer(owner) as writer:
        writer.add_folder(FOLDER, _FOLDER_MODE)
        for name, value in sorted(secrets.items()):
            writer.add_bytes(f"{FOLDER}/{name}", value, _FILE_MODE)
        return writer.done()
