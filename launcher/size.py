"""Sizes as Docker writes them: `512m`, `4g`, `1073741824`, with units of 1024."""

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def is_size(text: str) -> bool:
    """Whether `text` is a size of at least one byte."""
    number, unit = _parts(text)
    return unit in _UNITS and number.isascii() and number.isdigit() and int(number) > 0


def size_bytes(text: str) -> int:
    """Return the bytes that a size means; it must be one."""
    number, unit = _parts(text)
    return int(number) * _UNITS[unit]


def _parts(text: str) -> tuple[str, str]:
    text = text.lower()
    number = text.rstrip("bkmgt")
    unit = text[len(number) :]
    return number, unit.removesuffix("b") if len(unit) == 2 else unit


def shown(size_bytes: float) -> str:
    """Return a number of bytes for reading: `1.8 GB`, with units of 1000 as networks have them."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"
