"""The keys that sign requests: where they are found, and that nobody else ever sees them."""

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from launcher.container import MASK
from launcher.errors import InputError, Problem
from launcher.platforms.uai.settings import Settings

PUBLIC, PRIVATE, PROJECT = "UCLOUD_PUBLIC_KEY", "UCLOUD_PRIVATE_KEY", "UCLOUD_PROJECT_ID"


class Credentials:
    """A pair of keys; nothing that shows one shows them."""

    __slots__ = ("_secrets", "private_key", "public_key")

    def __init__(self, public_key: str, private_key: str) -> None:
        self.public_key = public_key
        self.private_key = private_key
        written = {each for key in (private_key, public_key) for each in _as_written(key)}
        self._secrets = sorted(written, key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Credentials({MASK})"

    def __reduce__(self) -> str:
        raise TypeError("keys are not for keeping")

    def hide(self, text: str) -> str:
        """Return a text with every appearance of a key masked."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text


class Account(NamedTuple):
    """Whose requests these are; `project` is empty for the account's default one."""

    credentials: Credentials
    project: str


def _as_written(key: str) -> set[str]:
    """Return the forms in which a key may come back to us."""
    forms = {key, quote(key, safe=""), quote(key), quote_plus(key), json.dumps(key)[1:-1]}
    return {form for form in forms if form}


def find(settings: Settings, environ: Mapping[str, str]) -> Account:
    """Return the keys of the environment, else those of the user's file.

    Raises:
        InputError: there are none, or not both.
    """
    public, private = (environ.get(name, "").strip() for name in (PUBLIC, PRIVATE))
    project = settings.project or environ.get(PROJECT, "").strip()
    if public and private:
        return Account(_checked(public, private, f"${PRIVATE}"), project)
    if public or private:
        missing = PRIVATE if public else PUBLIC
        raise InputError(Problem(f"${missing}", "is not set, and its pair is; expected both keys"))
    home = environ.get("HOME") or os.path.expanduser("~")
    path = settings.credentials or os.path.join(home, ".ucloud", "credential.json")
    path = os.path.join(home, path[2:]) if path.startswith("~/") else path
    given = settings.credentials is not None
    profile, its_project = _profile(settings, os.path.dirname(path), given=given)
    return Account(_read(path, profile, given=given), project or its_project)


def _profile(settings: Settings, folder: str, *, given: bool) -> tuple[str | None, str]:
    """Return the name of the profile whose keys are meant (None: any) and its project.

    The `ucloud` command keeps them beside the keys, in config.json.
    """
    try:
        profiles = _objects(os.path.join(folder, "config.json"))
    except FileNotFoundError:
        profiles = []
    except InputError:
        if not given:
            raise
        profiles = []
    for each in profiles:
        name = each.get("profile")
        if name == settings.profile or (settings.profile is None and each.get("active") is True):
            return str(name), str(each.get("project_id") or "")
    return settings.profile, ""


def _read(path: str, profile: str | None, *, given: bool) -> Credentials:
    try:
        entries = _objects(path)
    except FileNotFoundError:
        where = "platforms.uai.credentials" if given else "platforms.uai"
        raise InputError(
            Problem(
                where, f"no keys: ${PUBLIC} and ${PRIVATE} are not set, and {path} is not there"
            )
        ) from None
    named = [e for e in entries if profile is None or e.get("profile") in (profile, None)]
    for entry in named:
        public, private = entry.get("public_key"), entry.get("private_key")
        if isinstance(public, str) and isinstance(private, str) and public and private:
            return _checked(public.strip(), private.strip(), path)
    of = f" for the profile {profile!r}" if profile else ""
    raise InputError(Problem(path, f"expected public_key and private_key{of}, found none"))


def _objects(path: str) -> list[dict[str, Any]]:
    """Return the objects of a JSON file, which holds one or a list; no word of it is ever shown."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(Problem(path, f"cannot be read: {error.strerror}")) from None
    except (ValueError, RecursionError):
        raise InputError(
            Problem(path, "expected JSON, as the `ucloud` command writes it")
        ) from None
    return [each for each in (value if isinstance(value, list) else [value]) if type(each) is dict]


def _checked(public: str, private: str, where: str) -> Credentials:
    for key in (public, private):
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise InputError(Problem(where, "expected keys of printable characters without spaces"))
        if len(key) < 8:  # so short, it would be masked in the middle of words
            raise InputError(Problem(where, "expected keys of at least 8 characters"))
    return Credentials(public, private)
