"""How a request to UCloud's API is signed, and how it writes values.

The rule is that of https://docs.ucloud.cn/api/summary/signature: SHA-1 over every key and value in
the order of the keys, with the private key behind them.
"""

import hashlib
from collections.abc import Mapping

Value = str | int | float | bool | list["Value"] | tuple["Value", ...]


def as_text(value: Value) -> str:
    """Return a value as it is sent and signed: booleans in lower case, lists joined by commas."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(as_text, value))
    return str(value)


def sign(params: Mapping[str, Value], private_key: str) -> str:
    """Return the signature of a request's parameters, `Signature` itself left out."""
    parts = (f"{key}{as_text(params[key])}" for key in sorted(params) if key != "Signature")
    text = "".join(parts) + private_key
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
