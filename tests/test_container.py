"""What a task needs, as a value: what of its environment may be shown."""

import pytest

from launcher.container import MASK, is_secret, masked


@pytest.mark.parametrize(
    "key",
    ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "password", "DB_PASSWD", "API_KEY", "WANDB_API_KEY",
     "GOOGLE_APPLICATION_CREDENTIALS", "SSH_PRIVATE", "MY_PASS", "SENTRY_DSN", "GITHUB_PAT"],
)  # fmt: skip
def test_secrets(key: str) -> None:
    """A variable whose name looks secret is masked."""
    assert is_secret(key)
    assert masked({key: "value"}) == {key: MASK}


@pytest.mark.parametrize(
    "key",
    ["PATH", "KEYBOARD", "TF_CONFIG", "NCCL_DEBUG", "COMPASS", "PATTERN", "AUTHOR", "KERAS_HOME"],
)
def test_the_rest_is_shown(key: str) -> None:
    """A variable that only resembles one is shown; the given mapping stays as it was."""
    env = {key: "value"}
    assert masked(env) == {key: "value"}
    assert masked(env) is not env
