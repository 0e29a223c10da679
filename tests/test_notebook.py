"""A notebook as a script: what is Python stays, what is not is told with its cell."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import InputError
from launcher.notebook import MARK, Script, script_of
from tests.conftest import DEADLINE_S


def notebook(folder: Path, *cells: str, text: str = "# Title") -> str:
    """Write a notebook of code cells; return its path."""
    made: list[dict[str, object]] = [
        {"cell_type": "markdown", "metadata": {}, "source": text, "id": "text"}
    ]
    made += [
        {"cell_type": "code", "metadata": {}, "source": cell, "outputs": [],
         "execution_count": None, "id": f"c{n}"}
        for n, cell in enumerate(cells)
    ]  # fmt: skip
    value = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}
    path = folder / "nb.ipynb"
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def said(script: Script) -> list[str]:
    return [str(finding).partition("nb.ipynb ")[2] for finding in script.findings]


def ran(script: Script, folder: Path, *words: str) -> str:
    """Return what the script prints; it must succeed."""
    (folder / "nb.py").write_text(script.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "nb.py", *words], cwd=folder, capture_output=True, text=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cells_become_a_script(tmp_path: Path) -> None:
    """Code in its order, words as comments, what looks like magic within a text as it is."""
    cells = ['x = """\n%one\n!two\n"""\nprint(x)', "y = 7 \\\n % 4\nprint(y)", ""]
    made = script_of(notebook(tmp_path, *cells, text="# Über"))
    assert made.text.startswith(f"{MARK}nb.ipynb\n") and "# # Über" in made.text
    assert made.findings == ()
    assert ran(made, tmp_path) == "\n%one\n!two\n\n3\n"


def test_magics(tmp_path: Path) -> None:
    """Each is told with its cell: left out, or made Python where that is plain."""
    cells = [
        "%matplotlib inline\nimport os\n!pip install x",
        "%%bash\nrm -rf /",
        "%%time\nprint('timed')",
        "if True:\n    %env A = b c\nfiles = !ls\n%time z = 3\nprint(os.environ['A'], files, z)",
        "def f():\n    return '''\n%no magic\n'''\nos.path?\nprint(f())",
    ]
    made = script_of(notebook(tmp_path, *cells))
    assert said(made) == [
        "cell 1: left out: %matplotlib inline",
        "cell 1: left out: !pip install x; what it installs belongs into the Dockerfile",
        "cell 2: left out, the whole cell: %%bash",
        "cell 3: left out: %%time",
        "cell 4: made Python: %env A = b c",
        "cell 4: left out: files = !ls",
        "cell 4: made Python: %time z = 3",
        "cell 5: left out: os.path?",
    ]
    assert ran(made, tmp_path) == "timed\nb c None 3\n\n%no magic\n\n"


def test_a_shell_line_over_several(tmp_path: Path) -> None:
    """It is left out to its end, and later lines keep their numbers."""
    cell = "!pip install a \\\n    b \\\n    c\nfiles = !ls \\\n  -l\nprint(files)"
    made = script_of(notebook(tmp_path, cell))
    hint = "; what it installs belongs into the Dockerfile"
    assert said(made) == [
        f"cell 1: left out: !pip install a b c{hint}",
        "cell 1: left out: files = !ls -l",
    ]
    assert ran(made, tmp_path) == "None\n"
    with pytest.raises(InputError, match="cell 1 line 7: not Python"):
        script_of(notebook(tmp_path, f"{cell}\nif x"))


@pytest.mark.parametrize(
    "flags",
    [
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('--epochs', type=int)\n"
        "epochs = p.parse_args().epochs",
        "from absl import flags\nimport sys\nflags.DEFINE_integer('epochs', 1, '')\n"
        "flags.FLAGS(sys.argv)\nepochs = flags.FLAGS.epochs",
        "import sys\nepochs = int(sys.argv[-1])",
    ],
    ids=["argparse", "absl", "by hand"],
)
def test_flags_are_read_leniently(tmp_path: Path, flags: str) -> None:
    """A platform's flags that the notebook does not know end no script; its own are read."""
    made = script_of(
        notebook(tmp_path, "from __future__ import annotations", flags, "print(epochs)")
    )
    words = ("--work_dir=/data", "--num_gpus=0", "--epochs", "3")
    assert ran(made, tmp_path, *words) == "3\n"


def test_a_cell_that_is_no_python(tmp_path: Path) -> None:
    """Every one is named before anything is built."""
    with pytest.raises(InputError) as caught:
        script_of(notebook(tmp_path, "x = 1", "if x\n", "print('a"))
    first, second = caught.value.problems
    assert first.where.endswith("nb.ipynb cell 2 line 1") and first.what.startswith("not Python: ")
    assert second.where.endswith("nb.ipynb cell 3 line 1")


@pytest.mark.parametrize(
    "cell",
    [
        "from __future__ import (\n    annotations,\n    division,\n)",
        "'é'; from __future__ import annotations ; y = 1",
        "from __future__ import annotations, \\\n    division  # both",
        "from __future__ import annotations; from __future__ import division",
    ],
)
def test_imports_from_the_future_come_first(tmp_path: Path, cell: str) -> None:
    """However they are written; what stands beside them stays."""
    rest = "def f(x: Unknown): pass\nprint(f.__annotations__, globals().get('y', 1), z)"
    made = script_of(notebook(tmp_path, "x = 1", f"{cell}\nz = 2\n", rest))
    assert ran(made, tmp_path) == "{'x': 'Unknown'} 1 2\n"
    assert made.text.count("__future__") == cell.count("__future__")


@pytest.mark.parametrize(
    ("cells", "where", "what"),
    [
        (["import asyncio\nawait asyncio.sleep(0)"], "cell 1 line 2", "outside"),
        (["x = 1", "return 3"], "cell 2 line 1", "outside"),
        (["x = 1\nfrom __future__ import division"], "cell 1 line 2", "beginning"),
        (["x = '\ud800'"], "cell 1", "UTF-8"),
        (["x = 1", "global x"], "nb.ipynb", "global"),
    ],
)
def test_what_only_a_notebook_runs(tmp_path: Path, cells: list[str], where: str, what: str) -> None:
    """What would fail in the job alone is told before anything is built."""
    with pytest.raises(InputError) as caught:
        script_of(notebook(tmp_path, *cells))
    (problem,) = caught.value.problems
    assert problem.where.endswith(where) and what in problem.what


def test_words_that_are_no_text(tmp_path: Path) -> None:
    """A comment that UTF-8 cannot hold costs no run."""
    made = script_of(notebook(tmp_path, "print(1)", text="a \ud800 b"))
    assert "# a ? b" in made.text and ran(made, tmp_path) == "1\n"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cells": 7}', '{"nbformat": 4, "cells": [3]}'])
def test_what_is_no_notebook(tmp_path: Path, text: str) -> None:
    """A file that is none is said to be none, as is one without code."""
    (tmp_path / "nb.ipynb").write_text(text)
    with pytest.raises(InputError, match=r"nb.ipynb: expected (a Jupyter notebook|code)"):
        script_of(str(tmp_path / "nb.ipynb"))
    with pytest.raises(InputError, match="cannot be read: No such file"):
        script_of(str(tmp_path / "none.ipynb"))
    with pytest.raises(InputError, match="there is no cell with any"):
        script_of(notebook(tmp_path))
