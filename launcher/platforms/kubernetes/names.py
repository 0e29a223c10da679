"""What Kubernetes takes as a name, a label and a variable, and what it makes of `$(NAME)`."""

import hashlib
import re

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_QUALIFIED = re.compile(_WORD)
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_JOB_LENGTH = 46  # with `-evaluator-99999` behind it, it is still the name of a host
_LONGEST = 63


def job_name(run_id: str) -> str:
    """Return the name of a run's objects: a DNS label that begins with a letter."""
    name = re.sub(r"[^a-z0-9-]", "-", run_id.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"run-{name}".rstrip("-")
    if len(name) > _JOB_LENGTH:
        tail = hashlib.sha256(run_id.encode(errors="replace")).hexdigest()[:8]
        name = f"{name[: _JOB_LENGTH - 9].rstrip('-')}-{tail}"
    return name


def is_label(text: str) -> bool:
    """Whether `text` is a DNS label, as a namespace is named."""
    return len(text) <= _LONGEST and bool(re.fullmatch(_LABEL, text))


def is_subdomain(text: str) -> bool:
    """Whether `text` is the name of an object: DNS labels with dots between them."""
    return len(text) <= 253 and bool(_SUBDOMAIN.fullmatch(text))


def is_qualified(text: str) -> bool:
    """Whether `text` is the key of a label, a resource: a word, a domain and `/` before it."""
    domain, slash, word = text.rpartition("/")
    fits = len(word) <= _LONGEST and bool(_QUALIFIED.fullmatch(word))
    return fits and (not slash or is_subdomain(domain))


def is_label_value(text: str) -> bool:
    """Whether `text` may be a label's value."""
    return not text or (len(text) <= _LONGEST and bool(_QUALIFIED.fullmatch(text)))


def is_variable(text: str) -> bool:
    """Whether every Kubernetes takes `text` as the name of an environment variable."""
    return bool(_VARIABLE.fullmatch(text))


def is_key(text: str) -> bool:
    """Whether `text` may be a key in a secret or a ConfigMap."""
    return len(text) <= 253 and bool(_KEY.fullmatch(text)) and text not in (".", "..")


def literal(text: str) -> str:
    """Return what Kubernetes makes `text` of in a command or a variable: `$(X)` is X's value."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text
