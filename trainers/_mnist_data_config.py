"""data.yaml: which files to download, and what they must be.

This module knows the file's form (see mnist_data's docstring) and reports everything that is wrong
with it at once, by key path. It opens nothing but that file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

ENTRY_KEYS = ("uri", "sha256", "name")


class ConfigError(Exception):
    """data.yaml is wrong: one line a problem, each with file, key path and what was expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One entry of data.yaml: where the file is, what it must be, and its name here."""

    uri: str
    sha256: str
    name: str

    @property
    def source(self) -> str:
        """The uri as it may be shown: a query can hold a signature or a token."""
        return urlsplit(self.uri)._replace(query="", fragment="").geturl()


def read_config(path: Path) -> tuple[RemoteFile, ...]:
    """Returns the files that a data.yaml lists.

    Raises:
        ConfigError: with every problem in the file.
    """
    try:
        # BaseLoader makes no objects, and strings of all scalars: a sha256 may look like a number.
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    files, problems = _read_files(content)
    if problems:
        raise ConfigError(*(f"{path}: {problem}" for problem in problems))
    return tuple(files)


def _read_files(content: object) -> tuple[list[RemoteFile], list[str]]:
    """Returns the files that data.yaml's content describes, and its problems by key path."""
    if not isinstance(content, dict):
        return [], [f"expected files: and a list under it, {_got(content)}"]
    problems = _unknown_keys(content, ("files",), "")
    entries = content.get("files")
    if not isinstance(entries, list) or not entries:
        expected = "expected a list of files, each with uri and sha256"
        return [], [*problems, f"files: {expected}, {_got(entries)}"]
    files: list[RemoteFile] = []
    for index, entry in enumerate(entries):
        file, found = _read_entry(entry, f"files[{index}]")
        same = [n for n, earlier in enumerate(files) if file.name and earlier.name == file.name]
        if same:
            found.append(f"files[{index}].name: expected another name than files[{same[0]}]'s")
        files.append(file)
        problems += found
    return files, problems


def _read_entry(entry: object, at: str) -> tuple[RemoteFile, list[str]]:
    """Returns the file that an entry describes, and the entry's problems by key path."""
    if not isinstance(entry, dict):
        return RemoteFile("", "", ""), [f"{at}: expected uri and sha256, got {entry!r}"]
    problems = _unknown_keys(entry, ENTRY_KEYS, f"{at}.")
    uri, sha256 = entry.get("uri"), entry.get("sha256")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        problems.append(f"{at}.sha256: expected 64 hexadecimal digits, {_got(sha256)}")
    name = entry.get("name")
    if problem := _uri_problem(uri):
        problems.append(f"{at}.uri: {problem}")
    elif name is None:
        name = PurePosixPath(unquote(urlsplit(str(uri)).path)).name
    if name is not None and not _is_file_name(name):
        expected = "expected the name of a file, without / and not hidden"
        problems.append(f"{at}.name: {expected}, {_got(name)}")
    return RemoteFile(str(uri), str(sha256).lower(), str(name or "")), problems


def _unknown_keys(mapping: dict[Any, Any], known: Sequence[str], at: str) -> list[str]:
    problems = []
    for key in mapping:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
            problems.append(f"{at}{key}: unknown key; {hint}")
    return problems


def _uri_problem(uri: object) -> str | None:
    """Returns what is wrong with a uri, if anything is."""
    expected = f"expected http://, https:// or file:///absolute/path, {_got(uri)}"
    if not isinstance(uri, str) or not re.fullmatch(r"[!-~]+", uri):
        return expected + (" (other characters are written as %XX)" if uri else "")
    try:
        parts = urlsplit(uri)
        port_is_valid = parts.port != 0
    except ValueError as error:
        return f"{expected}: {error}"
    if parts.username is not None:
        return "expected no user or password in it: it is printed and logged"
    if parts.scheme == "file":
        return None if parts.netloc in ("", "localhost") and parts.path[:1] == "/" else expected
    is_web = parts.scheme in ("http", "https") and parts.hostname and port_is_valid
    return None if is_web else expected


def _is_file_name(name: object) -> bool:
    if not isinstance(name, str) or not name.isprintable():
        return False
    return bool(re.fullmatch(r"[^./\\][^/\\]*", name))


def _got(value: object) -> str:
    return "but it is missing" if value is None else f"got {value!r}"
