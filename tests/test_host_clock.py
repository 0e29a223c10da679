"""Times that a host tells, put on this machine's clock."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import host_clock
from launcher.creation import RUN_LABEL
from launcher.engine import Engine, open_local
from launcher.host_clock import HostClock, told
from tests.testbed import Testbed
from tests.testbed.images import BUSYBOX

BASE = datetime(2026, 11, 27, 7, 40, 0, tzinfo=UTC)


def stamp(seconds: float) -> str:
    return (BASE + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


@given(
    ahead_s=st.floats(-1e6, 1e6),
    trip_s=st.floats(0, 2),
    part=st.floats(0, 1),
    ago_s=st.floats(0, 1e4),
)
def test_any_offset_is_taken_out(ahead_s: float, trip_s: float, part: float, ago_s: float) -> None:
    """However wrong a host's clock is, its times come out right to half of the round trip."""
    asked_at, happened_at = 5e4, 5e4 - ago_s
    clock = told(stamp(ahead_s + part * trip_s), asked_at, asked_at + trip_s, BASE.timestamp())
    found = clock.monotonic(stamp(ahead_s - ago_s), latest=asked_at)
    assert found is not None
    assert abs(found - happened_at) <= trip_s / 2 + 1e-4
    assert abs(clock.ahead_s - ahead_s) <= trip_s / 2 + 1e-4
    assert clock.uncertain_s == pytest.approx(trip_s / 2, abs=1e-9)


def test_stamps_as_engines_write_them() -> None:
    """Nanoseconds, other zones and missing fractions are read; what never was is no time."""
    clock = HostClock(BASE.timestamp(), 0.0, 0.0)
    for text, expected in {
        "2026-11-27T07:40:47.123456789Z": 47.123456,
        "2026-11-27T07:40:47.09024922Z": 47.090249,
        "2026-11-27T07:40:47Z": 47.0,
        "2026-11-27T08:40:47.5+01:00": 47.5,
        "2026-11-27T07:40:47": 47.0,
    }.items():
        assert clock.monotonic(text, latest=1e9) == pytest.approx(expected, abs=2e-6)
    for text in ("0001-01-01T00:00:00Z", "", "yesterday"):
        assert clock.monotonic(text, latest=1e9) is None


def test_nothing_ends_after_it_was_known_to_have() -> None:
    """A clock that was set meanwhile cannot put an end behind the moment at which we saw it."""
    assert HostClock(BASE.timestamp(), 0.0, 0.0).monotonic(stamp(99), latest=10.0) == 10.0


@pytest.mark.testbed
def test_a_containers_end(testbed: Testbed) -> None:
    """The time at which a real container ended is found within its start and our seeing its end."""
    host = testbed.hosts[0]
    engine = Engine("h1", open_local, str(host.docker_socket))
    made = engine.api.create_container(BUSYBOX, ["/bin/sleep", "0.3"], labels={RUN_LABEL: "clock"})
    began_at = time.monotonic()
    engine.api.start(made["Id"])
    engine.api.wait(made["Id"])
    seen_at = time.monotonic()
    state = engine.api.inspect_container(made["Id"])["State"]
    clock = host_clock.read(engine)
    at = clock.monotonic(state["FinishedAt"], latest=seen_at)
    engine.api.remove_container(made["Id"])
    engine.close()
    assert at is not None
    assert began_at + 0.3 - clock.uncertain_s <= at <= seen_at
    assert abs(clock.ahead_s) <= clock.uncertain_s + 0.05
