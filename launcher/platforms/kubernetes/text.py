"""Manifests as YAML that every reader understands alike.

Readers differ in which bare words are no texts (`y`, `1e3`, `0o7`): a text that is not plainly one
is quoted.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@-]*(:[0-9A-Za-z][A-Za-z0-9_.@-]*)*")
_NO_TEXTS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Write what occurs twice twice."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Set lists in a mapping apart from its keys."""
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXTS else '"'
    if "\n" in text and text.isascii() and text.endswith("\n") and not text.endswith("\n\n"):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dumped(objects: Iterable[Mapping[str, Any]]) -> str:
    """Return objects as one YAML file."""
    dumper: Any = _Dumper
    return yaml.dump_all(
        objects, Dumper=dumper, sort_keys=False, allow_unicode=True, width=10_000,
        explicit_start=True,
    )  # fmt: skip
