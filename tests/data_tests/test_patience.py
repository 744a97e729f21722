"""Waiting for what is away: who waits, for how long, and what is said."""

from __future__ import annotations

import _thread
import logging
import pickle
import threading
import time

import pytest

from data import patience
from data.errors import Unavailable, UserError, WaitedInVain
from data.patience import handed_on, in_a_hurry, insist, operators_limit_s, patient

WHAT = "writing to a service of this test"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.002)
    yield
    patience.back(WHAT)


def failing(times, answer="done"):
    """A call that finds its service away so often."""
    calls = iter(range(times))

    def call():
        if next(calls, None) is not None:
            raise Unavailable("the service does not answer")
        return answer

    return call


def test_nobody_waits_unasked():
    with pytest.raises(Unavailable, match="does not answer"):
        insist(WHAT, failing(1))
    assert not patience.away()


def test_a_patient_process_goes_on_where_it_was_and_says_so_once(caplog):
    caplog.set_level(logging.INFO)
    seen = []
    with patient(60.0):
        call = failing(5)
        assert insist(WHAT, lambda: (seen.append(dict(patience.away())), call())[1]) == "done"
    assert list(seen[0]) == []
    assert list(seen[-1]) == [WHAT]
    assert not patience.away()
    assert caplog.messages == [
        "the service does not answer; trials wait, up to 60 s",
        f"{WHAT} is possible again, after 0 s",
    ]


def test_a_long_absence_is_said_again(caplog, monkeypatch):
    monkeypatch.setattr(patience, "SAY_AGAIN_S", 0.0)
    with patient(60.0):
        insist(WHAT, failing(3))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings[1:] == [f"{WHAT} has not been possible for 0 s; trials wait"] * 2


def test_it_ends_and_says_for_how_long_it_waited():
    with patient(0.05), pytest.raises(WaitedInVain, match=r"does not answer; waited 0 s \(SELDTUNE_PATIENCE\)") as told:
        insist(WHAT, failing(10_000))
    assert "the same command goes on" in str(told.value)
    again = pickle.loads(pickle.dumps(told.value))  # from a trial to its driver
    assert (type(again), str(again)) == (WaitedInVain, str(told.value))


def test_that_one_thing_works_does_not_end_the_wait_for_another():
    """Where only what is written is refused, heartbeats go on reading."""
    with patient(0.05), pytest.raises(WaitedInVain):
        insist(WHAT, lambda: insist("reading from it", failing(0)) and failing(1)())


def test_what_was_waited_for_in_vain_is_not_waited_for_again():
    asked = []

    def inner():
        asked.append(1)
        raise Unavailable("away")

    with patient(0.05), pytest.raises(WaitedInVain):
        insist(WHAT, lambda: insist(f"{WHAT}, within", inner))
    patience.back(f"{WHAT}, within")
    before = len(asked)
    assert before > 1
    assert WHAT not in patience.away()


def test_other_errors_are_not_waited_for():
    def call():
        raise UserError("no such bucket")

    with patient(60.0), pytest.raises(UserError, match="no such bucket"):
        insist(WHAT, call)


def test_a_thread_in_a_hurry_is_told_at_once_and_what_it_missed_is_known():
    with patient(60.0):
        with in_a_hurry(), pytest.raises(Unavailable):
            insist(WHAT, failing(1))
        assert list(patience.away()) == [WHAT]
        found = []
        other = threading.Thread(target=lambda: found.append(insist(WHAT, failing(2))))
        other.start()
        other.join()
        assert found == ["done"]


def test_the_wait_can_be_interrupted():
    def call():
        raise Unavailable("away")

    threading.Timer(0.1, _thread.interrupt_main).start()
    with patient(60.0), pytest.raises(KeyboardInterrupt):
        insist(WHAT, call)


def test_patience_is_handed_on():
    with patient(60.0):
        call = handed_on(lambda text: insist(WHAT, failing(2, text)))
    assert patience.limit_s() is None
    assert call("as told") == "as told"
    assert patience.limit_s() is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900.0), ("90s", 90.0), ("2h", 7200.0), ("0s", 0.0), ("0", 0.0), ("", 900.0)]
)
def test_the_operator_says_for_how_long(monkeypatch, text, seconds):
    monkeypatch.setenv("SELDTUNE_PATIENCE", text)
    assert operators_limit_s() == seconds


@pytest.mark.parametrize("text", ["15", "-3m", "m", "infh", "15 min"])
def test_a_limit_of_another_form_is_refused(monkeypatch, text):
    monkeypatch.setenv("SELDTUNE_PATIENCE", text)
    with pytest.raises(UserError, match="SELDTUNE_PATIENCE"):
        operators_limit_s()


def test_one_that_does_not_wait_is_told_at_once():
    started = time.monotonic()
    with patient(0.0), pytest.raises(WaitedInVain):
        insist(WHAT, failing(10))
    assert time.monotonic() - started < 5.0
