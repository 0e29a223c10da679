"""Names of runs, hosts and tasks: they become paths and container names, so they are strict."""

RULE = "a name of a-z, 0-9, '_', '.' and '-' that begins with a letter or digit"
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def is_name(text: str) -> bool:
    """Whether `text` is a name."""
    return bool(text) and text[0] not in "_.-" and _CHARACTERS.issuperset(text)


def as_name(text: str, otherwise: str) -> str:
    """Return the name nearest to `text`; `otherwise` where nothing of it can stay."""
    name = "".join(c if c in _CHARACTERS else "-" for c in text.lower()).strip("_.-")
    return name or otherwise
