"""What of an object the launcher reads, and of which kind each part must be.

An API server keeps to it; what stands in its place (a proxy, a half-broken aggregator) may not.
"""

from typing import Any

_TEXTS = {"*": str}
_CONDITION = {"type": str, "status": str, "reason": str, "message": str}
_STATE = {"*": {"reason": str, "message": str, "exitCode": int}}
_SHAPE = {
    "metadata": {
        "name": str,
        "creationTimestamp": str,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
    "spec": {"suspend": bool, "completions": int, "nodeName": str, "runPolicy": {"suspend": bool}},
    "status": {
        "active": int,
        "ready": int,
        "terminating": int,
        "succeeded": int,
        "phase": str,
        "conditions": [_CONDITION],
        "containerStatuses": [{"state": _STATE}],
    },
}
Shape = Any  # a type, [of items] or {by key}, of other keys under `*`


def is_object(value: object) -> bool:
    """Whether a value can be read as an object of Kubernetes: it has a name at least."""
    if not isinstance(value, dict) or not _fits(value, _SHAPE):
        return False
    metadata = value.get("metadata")
    return bool(metadata and isinstance(metadata.get("name"), str))


def _fits(value: object, shape: Shape) -> bool:
    """Whether a value is of a shape; a key may be missing, or null."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(item, shape[0]) for item in value)
    if not isinstance(shape, dict):
        return isinstance(value, shape) and (shape is bool or not isinstance(value, bool))
    if not isinstance(value, dict):
        return False
    other = shape.get("*")
    return all(
        item is None or (wanted := shape.get(key, other)) is None or _fits(item, wanted)
        for key, item in value.items()
    )
