"""How long hosts are waited for, as the environment says it."""

from collections.abc import Callable, Mapping

import pytest

from launcher.cli.reaching import homing_s, unreachable_s
from launcher.errors import InputError

READ = {"LAUNCH_HOMING_S": homing_s, "LAUNCH_UNREACHABLE_S": unreachable_s}
each = pytest.mark.parametrize(("name", "read"), READ.items())


@each
def test_seconds(name: str, read: Callable[[Mapping[str, str]], float]) -> None:
    """A fraction of one is right; without a word there is a default."""
    assert read({name: "0.5"}) == 0.5
    assert read({name: ""}) == read({}) > 0


@each
@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "1e300", "60s", "-inf"])
def test_what_nobody_can_wait_for(
    name: str, read: Callable[[Mapping[str, str]], float], text: str
) -> None:
    """It is refused, with what was expected."""
    with pytest.raises(InputError, match=rf"^\${name}: expected seconds > 0, got '{text}'$"):
        read({name: text})
