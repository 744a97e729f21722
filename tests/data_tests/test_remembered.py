"""What is measured once is read back, and made again only where it is gone."""

import io
import math
import re

import numpy as np
import pytest

from data import storage
from data.errors import UserError
from data.remembered import read_document, remembered, remembered_bytes
from infra.sweep.data import feature_statistics


class Maker:
    def __init__(self, value):
        self.value, self.calls = value, 0

    def __call__(self):
        self.calls += 1
        return self.value


def test_it_is_made_once_and_the_same_from_then_on(tmp_path):
    uri, make = f"{tmp_path}/of/a/trial.json", Maker({"score": 1 / 3, "none": math.nan, "pair": (1, 2)})
    first = remembered(uri, make)
    assert (first["score"], first["pair"], math.isnan(first["none"])) == (1 / 3, [1, 2], True)
    assert str(remembered(uri, make)) == str(first)
    assert make.calls == 1
    storage.delete(uri)
    remembered(uri, make)
    assert make.calls == 2


def test_bytes_stay_as_they_are(tmp_path):
    uri, make = f"{tmp_path}/facts.npz", Maker(b"\x00\xff")
    assert remembered_bytes(uri, make) == remembered_bytes(uri, make) == b"\x00\xff"
    assert make.calls == 1


def unused():
    raise AssertionError("it is there already")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_broken_file_is_named_with_what_to_do(tmp_path, content):
    file = tmp_path / "score.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(str(file))} is not as .*; delete it, and give"):
        remembered(str(file), unused)


def test_what_making_it_raises_is_no_fault_of_the_file(tmp_path):
    def make():
        raise KeyError("of its own")

    with pytest.raises(KeyError, match="of its own"):
        remembered(f"{tmp_path}/score.json", make)


def test_broken_statistics_are_named_with_what_to_do(tmp_path):
    file, whole = tmp_path / "facts.npz", io.BytesIO()
    np.savez(whole, mean=np.zeros(3), std=np.ones(3))
    for content in (b"", whole.getvalue()[:100], b"text", whole.getvalue().replace(b"mean", b"else")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{re.escape(str(file))} is not as .*; delete it, and give"):
            feature_statistics(None, str(file))
    file.write_bytes(whole.getvalue())
    assert feature_statistics(None, str(file))[1].tolist() == [1.0] * 3


def test_a_document_that_is_answered_with_nothing_is_asked_for_again(tmp_path, monkeypatch):
    """As it was seen of an object store while the document was being replaced."""
    uri = str(tmp_path / "trial.json")
    answers = [b"", b"", b"{}"]
    monkeypatch.setattr("data.remembered._PAUSE_S", 0.0)
    monkeypatch.setattr("data.storage.read_bytes", lambda asked: answers.pop(0) if asked == uri else b"other")
    assert read_document(uri) == b"{}"
    assert not answers
