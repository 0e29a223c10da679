"""YAML texts as PyYAML's nodes, which know where they stand, and what their scalars mean."""

from typing import Any, NamedTuple

import yaml

from launcher.errors import Problem

MERGE = "tag:yaml.org,2002:merge"
_SCALAR_TAGS = {
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:bool": bool,
    "tag:yaml.org,2002:null": type(None),
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:timestamp": str,
    "tag:yaml.org,2002:value": str,  # a lone `=`
}


class Mismatch(Exception):
    """A node is not of the wanted type; the caller says so with all that would have been."""


class Document(NamedTuple):
    """One YAML document: its root node, or None for an empty file."""

    root: yaml.Node | None


def compose(text: str, path: str, problems: list[Problem]) -> Document | None:
    """Return the nodes of a YAML text, or None with the problem noted where it does not parse."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return Document(yaml.compose(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        context = f" {error.context}" if error.context else ""
        problems.append(Problem(at, f"not YAML: {error.problem}{context}"))
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        problems.append(Problem(f"{path}:{line}", f"not YAML: {str(error).splitlines()[0]}"))
    return None


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def kind_of(node: yaml.Node) -> type:
    return _SCALAR_TAGS.get(node.tag, object) if isinstance(node, yaml.ScalarNode) else object


def text_of(node: yaml.Node) -> str:
    """Return a scalar as it is written: `007` and `yes` stay what they are."""
    if kind_of(node) in (object, type(None)):
        raise Mismatch
    return str(node.value)


def construct(node: yaml.Node) -> object:
    if kind_of(node) in (str, object):
        return str(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, LookupError):  # `!!int x`, `!!int ""`
        raise Mismatch from None


def show(node: yaml.Node) -> str:
    """Return what stands in the file, shortly."""
    if isinstance(node, yaml.ScalarNode):
        kind = kind_of(node)
        if kind is type(None):
            return "nothing"
        text = str(node.value)[:60]
        return repr(text) if kind in (str, object) or not text else text
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
