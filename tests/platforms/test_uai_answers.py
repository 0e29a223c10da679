"""What the platform answers is read without belief in any of it."""

from datetime import datetime

import pytest
from hypothesis import given, settings

from launcher.errors import HostError
from launcher.platforms.uai import answers
from tests.platforms import garbled_uai
from tests.platforms.garbled_uai import CREDENTIALS, KEYS


@settings(max_examples=300)
@given(garbled_uai.texts)
def test_no_answer_brings_it_down(text: str) -> None:
    """Whatever is answered becomes a value or an error in words, and no key is in either.

    bench/platform_responses.py does the same 10,000 times.
    """
    assert garbled_uai.faults(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty answer"),
        ("<html><body>502</body></html>", "a web page"),
        ('{"RetCode": 0, "DataS', "half an answer"),
        ("upstream error", "an answer of another kind"),
        ("[" * 100_000, "not the platform's JSON"),
        ("[1]", "expected a JSON object, got a list"),
        ('{"RetCode": "zero"}', "expected RetCode, an integer, got a text"),
    ],
)
def test_what_is_no_answer(text: str, said: str) -> None:
    """A page, half an answer and the like are told apart in words."""
    with pytest.raises(HostError, match=r"^List: ") as failed:
        answers.read("List", text, str)
    assert said in str(failed.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ('"DataSet": {}', "List: DataSet: expected a list, got an object"),
        ('"DataSet": [3]', "List: DataSet[0]: expected an object, got a number"),
        ('"DataSet": [{}]', "List: DataSet[0].TrainJobId: expected what it is called by"),
        (
            '"DataSet": [{"TrainJobId": "a"}]',
            "DataSet[0].TrainJobName: expected a text, got nothing",
        ),
    ],
)
def test_where_an_answer_is_wrong(values: str, said: str) -> None:
    """A field of the wrong type is named."""
    answer = answers.read("List", '{"RetCode": 0, ' + values + "}", str)
    with pytest.raises(HostError) as failed:
        answers.page(answer)
    assert said in str(failed.value)


def test_times_that_no_calendar_has() -> None:
    """A time that cannot be shown is none."""
    job = '{"TrainJobId": 7, "TrainJobName": "n", "Status": "Done", "CreateTime": %s}'
    listed = ", ".join(job % time for time in ("1700000000", "1e400", "-5", "99999999999999"))
    page = answers.page(answers.read("List", '{"RetCode": 0, "DataSet": [' + listed + "]}", str))
    assert [job.created for job in page.jobs] == [1_700_000_000.0, None, None, None]
    assert datetime.fromtimestamp(page.jobs[0].created or 0)
    assert page.jobs[0].id == "7"


def test_keys_show_nowhere() -> None:
    """No way to show or keep a pair of keys tells them."""
    assert not any(
        key in f"{CREDENTIALS!r} {CREDENTIALS} {vars(type(CREDENTIALS))}" for key in KEYS
    )
    with pytest.raises(TypeError):
        CREDENTIALS.__reduce__()
    escaped = "".join(f"%{ord(c):02X}" if not c.isalnum() else c for c in KEYS[1])
    assert CREDENTIALS.hide(f"<{KEYS[0]}> {escaped}") == "<********> ********"
