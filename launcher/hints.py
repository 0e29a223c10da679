"""Type hints as descriptions of input: what a hint accepts, for decoder and JSON Schema."""

import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from launcher.cluster import Range

Hint = Any  # a type hint: `type` does not cover unions and Annotated
origin_of: Callable[[Hint], Hint] = get_origin
UNIONS = (Union, types.UnionType)


@cache
def struct_keys(struct: type) -> Mapping[str, Hint]:
    """Return the keys that a NamedTuple takes in a file, with their hints."""
    return get_type_hints(struct, include_extras=True)


def is_struct(hint: Hint) -> bool:
    """Whether a hint is one of our NamedTuples."""
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields")


def issubclass_safe(origin: object, base: type) -> bool:
    """Whether `origin` is a class below `base`; False for what is no class."""
    return isinstance(origin, type) and issubclass(origin, base)


def describe(hint: Hint) -> str:
    """Return what a hint accepts, in words: `an integer ≥ 0`."""
    origin = origin_of(hint)
    if origin in UNIONS:
        *most, last = [describe(h) for h in get_args(hint) if h is not type(None)]
        return f"{', '.join(most)} or {last}" if most else last
    if origin is Annotated:
        base, *checks = get_args(hint)
        for check in checks:
            if isinstance(check, Range):
                limits = f"from {check.least} to {check.most}"
                return f"{describe(base)} " + (
                    f"≥ {check.least}" if check.most == float("inf") else limits
                )
            return str(check)
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    if origin is tuple:
        return f"a list (of {describe(get_args(hint)[0])})"
    if issubclass_safe(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    if origin is not None or is_struct(hint):
        return "a mapping"
    words = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}
    return words.get(hint, "null")
