"""What is measured once is read back, and made again only where it is gone."""

import math

from data import storage
from data.remembered import remembered, remembered_bytes


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
