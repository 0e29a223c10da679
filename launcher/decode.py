"""YAML nodes into typed values, every problem collected with its line and key path.

The types are NamedTuples with the hints of `launcher.cluster`; the hints alone say what is
accepted, here and in the JSON Schema. Libraries that do this cost five interpreter starts to
import (docs/decisions/0002-own-decoder.md); PyYAML does all the parsing.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import yaml

from launcher.cluster import Form, Range, Source
from launcher.errors import Problem, nearest
from launcher.hints import (
    UNIONS,
    Hint,
    describe,
    is_struct,
    issubclass_safe,
    origin_of,
    struct_keys,
)
from launcher.names import is_name
from launcher.nodes import MERGE, Mismatch, construct, kind_of, line_of, show, text_of

T = TypeVar("T")


class Decoder:
    """Decodes the nodes of one file; `problems`, `wrong` and `lines` grow as it goes.

    lines: key path (`hosts.gpu1.gpus`, `volumes[0]`) → line number, from 1.
    wrong: the key paths that problems name; nothing follows from what stands there.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.wrong: set[str] = set()
        self.lines: dict[str, int] = {}

    def problem(self, key_path: str, what: str, node: yaml.Node | None = None) -> None:
        """Note a problem at `key_path`, on the line of `node` or else of the nearest key path."""
        where = Source(self.path, self.lines).where(key_path)
        if node:
            where = f"{self.path}:{line_of(node)} {key_path}".strip()
        self.wrong.add(key_path)
        self.problems.append(Problem(where, what))

    def decode(self, node: yaml.Node, hint: type[T], key_path: str = "") -> T | None:
        """Return the value of `node` as `hint`, or None with the problems noted.

        A struct is never None: what could not be read of it is.
        """
        try:
            return cast(T, self._value(node, hint, key_path))
        except Mismatch:
            self.problem(key_path, f"expected {describe(hint)}, got {show(node)}", node)
            return cast(T, _filled(hint, {})) if is_struct(hint) else None

    def _value(self, node: yaml.Node, hint: Hint, path: str) -> object:
        origin = origin_of(hint)
        if hint is Any:
            return self._plain(node, path)
        if origin in UNIONS:
            return self._union(node, get_args(hint), path)
        if origin is Annotated:
            base, *checks = get_args(hint)
            return _checked(self._annotated_base(node, base, checks, path), checks)
        if origin is tuple:
            return self._sequence(node, get_args(hint)[0], path)
        if origin is not None and issubclass_safe(origin, Mapping):
            return self._mapping(node, get_args(hint), path)
        if is_struct(hint):
            return self._struct(node, hint, path)
        return _scalar(node, hint)

    def _annotated_base(
        self, node: yaml.Node, base: Hint, checks: list[object], path: str
    ) -> object:
        if Form.SCALAR in checks or Form.SIZE in checks:
            return text_of(node)
        return self._value(node, base, path)

    def _union(self, node: yaml.Node, hints: tuple[Hint, ...], path: str) -> object:
        for hint in hints:
            if _fits(node, hint):
                return self._value(node, hint, path)
        raise Mismatch

    def _sequence(self, node: yaml.Node, hint: Hint, path: str) -> object:
        if not isinstance(node, yaml.SequenceNode):
            raise Mismatch
        items = self._items(node, path)
        return tuple(self.decode(item, hint, item_path) for item_path, item in items)

    def _items(self, node: yaml.SequenceNode, path: str) -> Iterator[tuple[str, yaml.Node]]:
        """Yield the items of a sequence with their key paths, noting where each stands."""
        for index, item in enumerate(node.value):
            item_path = f"{path}[{index}]"
            self.lines[item_path] = line_of(item)
            yield item_path, item

    def _plain(self, node: yaml.Node, path: str, levels: int = 2) -> object:
        """Return a node as JSON would have it, emptied below `levels`: an alias may nest itself."""
        if isinstance(node, yaml.MappingNode):
            entries = self.pairs(node, path) if levels else {}
            return {k: self._plain(v, f"{path}.{k}", levels - 1) for k, v in entries.items()}
        if isinstance(node, yaml.SequenceNode):
            items = self._items(node, path) if levels else ()
            return [self._plain(item, item_path, levels - 1) for item_path, item in items]
        try:
            return construct(node)
        except Mismatch:
            return str(node.value)

    def pairs(self, node: yaml.MappingNode, path: str) -> Mapping[str, yaml.Node]:
        """Return the entries of a mapping by key, noting where each stands and doubled keys."""
        found: dict[str, yaml.Node] = {}
        for key_node, value in self._merged(node, path):
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else show(key_node)
            key_path = f"{path}.{key}" if path else key
            if key in found:
                first = self.lines[key_path]
                self.problem(key_path, f"this key stands already on line {first}", key_node)
                continue
            self.lines[key_path] = line_of(key_node)
            found[key] = value
        return found

    def _mapping(self, node: yaml.Node, hints: tuple[Hint, Hint], path: str) -> object:
        if not isinstance(node, yaml.MappingNode):
            raise Mismatch
        key_hint, value_hint = hints
        decoded: dict[object, object] = {}
        for text, value in self.pairs(node, path).items():
            key_path = f"{path}.{text}" if path else text
            key: object = text
            if isinstance(key_hint, type) and issubclass(key_hint, Enum):
                known = [str(member.value) for member in key_hint]
                if text not in known:
                    self.problem(key_path, f"unknown key{nearest(text, known)} {_one_of(known)}")
                    continue
                key = key_hint(text)
            decoded[key] = self.decode(value, value_hint, key_path)
        return decoded

    def _struct(self, node: yaml.Node, struct: Hint, path: str) -> object:
        if not isinstance(node, yaml.MappingNode):
            raise Mismatch
        keys = struct_keys(struct)
        values: dict[str, object] = {}
        problems_before = len(self.problems)
        for key, value in self.pairs(node, path).items():
            key_path = f"{path}.{key}" if path else key
            if key not in keys:
                self.problem(key_path, f"unknown key{nearest(key, keys)} {_one_of(keys)}")
            else:
                values[key] = self.decode(value, keys[key], key_path)
        for key in keys:
            if key not in values and key not in struct._field_defaults:
                self.problem(path, f"the key {key!r} is missing", node)
        if len(self.problems) > problems_before:
            values = {key: v for key, v in values.items() if v is not None}
        return _filled(struct, values)

    def _merged(
        self, node: yaml.MappingNode, path: str, within: tuple[yaml.Node, ...] = ()
    ) -> list[tuple[yaml.Node, yaml.Node]]:
        """Return a mapping's entries, those that `<<` brings in last and not over its own."""
        own = [(k, v) for k, v in node.value if k.tag != MERGE]
        if len(own) == len(node.value):
            return own
        names = {k.value for k, _ in own if isinstance(k, yaml.ScalarNode)}
        for key, value in node.value:
            if key.tag != MERGE:
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode) or source in (node, *within):
                    self.problem(f"{path}.<<".lstrip("."), "expected another mapping", key)
                    continue
                for k, v in self._merged(source, path, (node, *within)):
                    if isinstance(k, yaml.ScalarNode) and k.value not in names:
                        own.append((k, v))
                        names.add(k.value)
        return own


def _filled(struct: Hint, values: Mapping[str, object]) -> object:
    """Return a struct of `values`, with None for each key that it must have and that is missing."""
    missing = {key: None for key in struct._fields if key not in struct._field_defaults}
    return struct(**{**missing, **values})


def _one_of(known: Any) -> str:
    return f"(expected one of {', '.join(known)})"


def _scalar(node: yaml.Node, hint: Hint) -> object:
    kind = kind_of(node)
    if origin_of(hint) is Literal:
        if kind is str and node.value in get_args(hint):
            return node.value
    elif issubclass_safe(hint, Enum):
        if node.value in [member.value for member in hint]:
            return hint(node.value)
    elif hint is type(None) or hint is None:
        if kind is type(None):
            return None
    elif kind is hint or (hint is float and kind is int):
        return hint(construct(node))
    raise Mismatch


def _checked(value: object, checks: list[object]) -> object:
    for check in checks:
        if isinstance(check, Range):
            fits = isinstance(value, int | float) and check.least <= value <= check.most
            fits = fits and value != float("inf")
        else:
            fits = _FORMS[check](str(value)) if check in _FORMS else True
        if not fits:
            raise Mismatch
    return value


def _is_size(text: str) -> bool:
    from launcher.size import is_size  # few files name one, and every start reads a file

    return is_size(text)


_FORMS: Mapping[object, Callable[[str], bool]] = {
    Form.NAME: is_name,
    Form.ABSOLUTE_PATH: lambda text: text.startswith("/") and "\0" not in text,
    Form.SIZE: _is_size,
}


def _fits(node: yaml.Node, hint: Hint) -> bool:
    """Whether a node has the outer shape of `hint`, so that its problems are worth telling."""
    origin = origin_of(hint)
    if origin is tuple:
        return isinstance(node, yaml.SequenceNode)
    if is_struct(hint) or (origin is not Annotated and issubclass_safe(origin, Mapping)):
        return isinstance(node, yaml.MappingNode)
    try:
        Decoder("")._value(node, hint, "")
    except Mismatch:
        return False
    return True
