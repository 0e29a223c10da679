"""cluster.yaml described for editors (JSON Schema) and for readers (Markdown), from its types.

The hints and docstrings of `launcher.config.ClusterFile` and of the types below it say it all:
what the decoder accepts, what an editor proposes and what the reference prints cannot differ.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from launcher.cluster import Form, Range
from launcher.cluster_file import ClusterFile, OldForm
from launcher.hints import describe, is_struct, issubclass_safe, struct_keys
from launcher.task import TaskType

Schema = dict[str, object]
Hint = Any  # a type hint: `type` does not cover unions and Annotated
_origin: Callable[[Hint], Hint] = get_origin

MARK = "<!-- From here on scripts/docs writes this page: edit launcher/{config,cluster}.py. -->"
_PLAIN: Mapping[object, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
    Any: {},
}
_FORMS: Mapping[object, Schema] = {
    Form.NAME: {"pattern": "^[a-z0-9][a-z0-9_.-]*$"},
    Form.ABSOLUTE_PATH: {"pattern": "^/"},
    Form.SCALAR: {"type": ["string", "number", "boolean"]},
    Form.SIZE: {
        "type": ["string", "integer"],
        "pattern": "^0*[1-9][0-9]*([bBkKmMgGtT][bB]?)?$",
        "minimum": 1,
    },
}
_HOST_PORT = {"type": "string", "pattern": r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$"}


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of cluster.yaml.

    It covers what the hints say; what parts of a file say of each other is `launch check`'s.
    """
    structs: dict[str, Schema] = {}
    for _, struct in _sections(ClusterFile, ""):
        structs[struct.__name__] = _struct(struct)
    root = structs.pop(ClusterFile.__name__)
    structs["Addresses"] = _addresses()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cluster.yaml",
        **root,
        "$defs": structs,
    }


def reference() -> str:
    """Return the Markdown reference of every key: its type, its default and what it says.

    It is what docs/cluster-yaml.md holds below MARK.
    """
    return "\n".join(
        line for path, struct in _sections(ClusterFile, "") for line in _table(path, struct)
    )


def settings_table(struct: Hint) -> str:
    """Return the Markdown table of a platform's settings: their types, defaults and texts."""
    return "\n".join(line for line in _table("", struct) if line.startswith("|"))


def _sections(struct: Hint, path: str) -> Iterator[tuple[str, Hint]]:
    """Yield each struct of the file with the key path at which it stands, the outermost first."""
    yield path, struct
    for key, hint in struct_keys(struct).items():
        for suffix, inner in _structs_in(hint):
            yield from _sections(inner, f"{path}.{key}{suffix}".lstrip("."))


def _structs_in(hint: Hint) -> Iterator[tuple[str, Hint]]:
    """Yield the structs that a hint names, with what leads to them: `.NAME`, `[]` or nothing."""
    if is_struct(hint):
        yield "", hint
        return
    origin, arguments = _origin(hint), get_args(hint)
    step = ""
    if origin is tuple:
        step = "[]"
    elif issubclass_safe(origin, Mapping):
        step = ".TYPE" if issubclass_safe(arguments[0], Enum) else ".NAME"
    for argument in arguments:
        for suffix, inner in _structs_in(argument):
            yield f"{step}{suffix}", inner


# JSON Schema


def _struct(struct: Hint) -> Schema:
    text, keys = _documented(struct)
    properties: Schema = {}
    for key, hint in struct_keys(struct).items():
        described: Schema = {**_schema(hint), "description": keys[key]}
        if key in struct._field_defaults and (default := _json(struct._field_defaults[key])):
            described["default"] = default
        properties[key] = described
    schema: Schema = {"description": text, **_object(properties)}
    required = [key for key in properties if key not in struct._field_defaults]
    return {**schema, "required": required} if required else schema


def _schema(hint: Hint) -> Schema:
    origin, arguments = _origin(hint), get_args(hint)
    if hint == OldForm:
        names = [*(task_type.value for task_type in TaskType), "master"]
        return _object({name: {"$ref": "#/$defs/Addresses"} for name in names})
    if is_struct(hint):
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if origin is Annotated:
        return _limited(_schema(arguments[0]), arguments[1:])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0])}
    if issubclass_safe(origin, Mapping):
        return _mapping(*arguments)
    if issubclass_safe(hint, Enum):
        return {"enum": [member.value for member in hint]}
    return dict(_PLAIN[hint])


def _limited(schema: Schema, checks: tuple[object, ...]) -> Schema:
    for check in checks:
        if not isinstance(check, Range):
            schema = {**schema, **_FORMS[check]}
            continue
        schema = {**schema, "minimum": check.least}
        if check.most != float("inf"):
            schema["maximum"] = check.most
    return schema


def _mapping(key_hint: Hint, value_hint: Hint) -> Schema:
    value = _schema(value_hint)
    if not issubclass_safe(key_hint, Enum):
        return {"type": "object", "additionalProperties": value}
    return _object({member.value: value for member in key_hint})


def _object(properties: Mapping[str, object]) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _addresses() -> Schema:
    """Return the schema of one task type in a TF_CONFIG: a list, or an object of index → address.

    That the indices have no gaps is left to the decoder.
    """
    by_index = {"type": "object", "propertyNames": {"pattern": "^[0-9]{1,9}$"}}
    return {
        "description": "The host:port of each task of one type.",
        "anyOf": [
            {"type": "array", "items": _HOST_PORT},
            {**by_index, "additionalProperties": _HOST_PORT},
        ],
    }


def _json(default: Any) -> object:
    """Return a default as JSON has it; a struct's own keys say theirs."""
    if is_struct(type(default)):
        return None
    if isinstance(default, tuple):
        return [_json(item) for item in default]
    return default.value if isinstance(default, Enum) else default


# Markdown


def _table(path: str, struct: Hint) -> Iterator[str]:
    text, keys = _documented(struct)
    yield f"## `{path}`" if path else "## Keys"
    yield ""
    yield text
    yield ""
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for key, hint in struct_keys(struct).items():
        default = _shown_default(struct, key)
        yield f"| `{key}` | {_type(hint)} | {default} | {keys[key]} |"
    yield ""


def _type(hint: Hint) -> str:
    """Return a hint in words, with what a mapping's keys and values are."""
    for argument in (hint, *get_args(hint)):
        if issubclass_safe(_origin(argument), Mapping) and argument != OldForm:
            key_hint, value_hint = get_args(argument)
            if issubclass_safe(key_hint, Enum):
                return f"a mapping of {', '.join(member.value for member in key_hint)}"
            return f"a mapping of names, each to {describe(value_hint)}"
    return describe(hint)


def _shown_default(struct: Hint, key: str) -> str:
    if key not in struct._field_defaults:
        return "required"
    default = _json(struct._field_defaults[key])
    if default is None or default == "" or default == [] or default == {}:
        return ""
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def _documented(struct: Hint) -> tuple[str, dict[str, str]]:
    """Return what a struct's docstring says of it, and of each key in its `key: text` lines.

    A line that is indented more goes on with the one before.
    """
    lines = (struct.__doc__ or "").split("\n")
    about: list[str] = []
    keys: dict[str, list[str]] = {}
    said = about
    for line in lines:
        text = line.strip()
        key, colon, rest = text.partition(": ")
        if colon and key in struct._fields and not line.startswith(" " * 8):
            said = keys.setdefault(key, [])
            text = rest
        said.append(text)
    texts = {key: " ".join(words).strip() for key, words in keys.items()}
    return " ".join(about).strip(), texts
