"""A notebook as a script: its cells in order, without what only a notebook's own shell understands.

`nbconvert` writes the script. What it cannot take along (magics, shell lines) is left out and told
with its cell, or made Python where that is plain. The script's flags are read leniently: argparse
and absl pass over those that the notebook does not know, such as a platform's --work_dir.
"""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from launcher.errors import HostError, InputError, Problem

MARK = "# Made by launch pack from "
_FLAGS = """\
import argparse as _argparse

# Flags that the notebook does not know are passed over.
_argparse.ArgumentParser.parse_args = lambda parser, args=None, namespace=None: (
    parser.parse_known_args(args, namespace)[0]
)
try:
    from absl import flags as _flags
except ImportError:
    pass
else:
    _flags.FlagValues.__call__ = lambda values, argv, known_only=False, _call=(
        _flags.FlagValues.__call__
    ): _call(values, argv, known_only=True)
"""
_MAGIC = re.compile(r"(?P<indent>\s*)(?P<to>[A-Za-z_][\w., ]*=\s*)?(?P<what>[%!].*)")
_AROUND_PYTHON = ("%%time", "%%timeit", "%%capture", "%%prun")
_ENV = re.compile(r"%(?:set_)?env\s+([A-Za-z_]\w*)(?:\s*=\s*|\s+)(.*)")
_STATEMENT = re.compile(r"%(?:time|timeit|prun)\s+([^-].*)")


class Script(NamedTuple):
    """A notebook's script, and what became of what is no Python, each with its cell."""

    text: str
    findings: tuple[Problem, ...]


def script_of(path: str) -> Script:
    """Return the script of the notebook at `path`.

    Raises:
        InputError: it cannot be read, or a cell is no Python.
        HostError: nbconvert is missing.
    """
    try:
        import nbformat
        from nbconvert import PythonExporter
    except ModuleNotFoundError as error:
        what = "a notebook needs more packages: pip install 'tf-config-launch[notebook]'"
        raise HostError(f"{error.name} is missing; {what}") from None
    notebook = _read(path)
    findings: list[Problem] = []
    futures = _made_python(notebook.cells, path, findings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that IPython is missing, which would make magics calls
        body, _ = PythonExporter(exclude_input_prompt=True).from_notebook_node(
            nbformat.from_dict(notebook)
        )
    body = body.removeprefix("#!/usr/bin/env python\n").removeprefix("# coding: utf-8\n")
    head = [f"{MARK}{path.rpartition('/')[2]}", *dict.fromkeys(futures), _FLAGS]
    text = "\n".join(head) + body.rstrip() + "\n"
    if problem := _problem(text, path):  # cells that are Python one by one
        raise InputError(problem._replace(where=path))
    return Script(text, tuple(findings))


def _made_python(
    cells: Iterable["nbformat.NotebookNode"],  # type: ignore[name-defined]  # noqa: F821
    path: str,
    findings: list[Problem],
) -> list[str]:
    """Make the cells Python; return their imports from __future__, which a script has first."""
    problems: list[Problem] = []
    futures: list[str] = []
    number = 0
    for cell in cells:
        if cell.cell_type != "code":  # becomes comments
            cell.source = cell.source.encode(errors="replace").decode()
            continue
        number += 1
        where = f"{path} cell {number}"
        source = _python(cell.source, where, findings)
        if problem := _problem(source, where):
            problems.append(problem)
        else:
            cell.source = _without_futures(source, futures)
    if not number:
        problems.append(Problem(path, "expected code, there is no cell with any"))
    if problems:
        raise InputError(problems)
    return futures


def _problem(source: str, where: str) -> Problem | None:
    """Return why a script cannot have this source; what only a notebook runs is among it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Python takes all the same
            compile(source, "<cell>", "exec", dont_inherit=True)
    except UnicodeEncodeError:
        return Problem(where, "not Python: expected UTF-8 text")
    except SyntaxError as error:
        return Problem(f"{where} line {error.lineno}", f"not Python: {error.args[0]}")
    except ValueError as error:
        return Problem(where, f"not Python: {error.args[0]}")
    return None


def _without_futures(source: str, futures: list[str]) -> str:
    """Return a cell without its imports from __future__, which are added to `futures`."""
    lines = source.encode().splitlines(keepends=True)  # a node's columns count bytes
    found = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    for node in reversed(found):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before, after = lines[first][: node.col_offset], lines[last][node.end_col_offset :]
        is_alone = not before.strip() and not after.partition(b"#")[0].strip()
        lines[first : last + 1] = [before + (b"" if is_alone else b"pass") + after]
    futures += map(ast.unparse, found)
    return b"".join(lines).decode()


def _read(path: str) -> "nbformat.NotebookNode":  # type: ignore[name-defined]  # noqa: F821
    import nbformat

    try:
        with open(path, encoding="utf-8") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forms that it can read all the same
            return nbformat.read(file, as_version=4)
    except OSError as error:
        raise InputError(Problem(path, f"cannot be read: {error.strerror}")) from None
    except Exception as error:  # of every kind, from within
        what = str(error).partition("\n")[0][:200] or type(error).__name__
        raise InputError(Problem(path, f"expected a Jupyter notebook: {what}")) from None


def _python(source: str, where: str, findings: list[Problem]) -> str:
    """Return a cell as Python; what is left out stays as a comment."""
    first, _, rest = source.partition("\n")
    if first.startswith("%%"):
        if not first.startswith(_AROUND_PYTHON):
            findings.append(Problem(where, f"left out, the whole cell: {first.strip()}"))
            return "".join(f"# {line}\n" for line in source.splitlines())
        findings.append(Problem(where, f"left out: {first.strip()}"))
        source = f"# {first}\n{rest}"
    if _is_python(source):
        return source
    lines: list[str] = []
    given = iter(source.split("\n"))
    for line in given:
        magic = _MAGIC.fullmatch(line)
        is_help = line.rstrip().endswith("?") or line.lstrip().startswith("?")
        if (magic or is_help) and not _is_within("\n".join(lines)):
            more = 0
            while line.endswith("\\"):
                line, more = f"{line[:-1].rstrip()} {next(given, '').lstrip()}", more + 1
            lines += [*_translated(line, _MAGIC.fullmatch(line), where, findings), *[""] * more]
        else:
            lines.append(line)
    return "\n".join(lines)


def _translated(
    line: str, magic: "re.Match[str] | None", where: str, findings: list[Problem]
) -> Iterator[str]:
    """Yield the Python in place of a line that is none."""
    indent = line[: len(line) - len(line.lstrip())]
    what = magic["what"].strip() if magic else line.strip()
    if found := _ENV.fullmatch(what):
        findings.append(Problem(where, f"made Python: {what}"))
        yield f"{indent}import os as _os; _os.environ[{found[1]!r}] = {found[2].strip()!r}"
    elif found := _STATEMENT.fullmatch(what):
        findings.append(Problem(where, f"made Python: {what}"))
        yield f"{indent}{(magic and magic['to']) or ''}{found[1]}"
    else:
        is_install = re.match(r"[%!]\s*(pip3?|conda|apt(-get)?|mamba|uv)\b", what)
        hint = "; what it installs belongs into the Dockerfile" if is_install else ""
        findings.append(Problem(where, f"left out: {line.strip()}{hint}"))
        to = magic["to"] if magic else None
        yield f"{indent}{f'{to}None' if to else 'pass'}  # {what}"


def _is_python(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _is_within(source: str) -> bool:
    """Whether what follows `source` stands within a text or brackets that it opened."""
    try:
        for _ in tokenize.generate_tokens(io.StringIO(f"{source}\n").readline):
            pass
    except tokenize.TokenError as error:
        return "multi-line" in str(error.args[0])
    except (SyntaxError, ValueError):
        return False
    return False
