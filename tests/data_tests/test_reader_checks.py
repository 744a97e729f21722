"""What a reader of one's own gives wrongly, or raises: told in a line with its name and place; nothing is stored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.readers.checks import read_recording
from data.readers.contract import Clip, IngestSettings, Reader
from data.readers.ingest import ingest
from data.registry.plugins import load_plugins
from data.stores.build import Built
from data.stores.rows import row_events
from support.forgotten_plugins import forgotten_plugins
from support.starss23_tree import noise, notes_of, rows_of, write_wav

PLUGIN = """
from dataclasses import replace
import numpy as np
from data import storage
from data.errors import UserError
from data.files.video import encode_jpeg
from data.labels import Events
from data.readers.contract import READERS, Clip, Fault, Reader, Recording, Tree

@READERS.register
class Field(Reader):
    name = "field"
    def find(self, root):
        versions = storage.list_versions(root)
        clips = [Clip(path[:-4], path.partition("_")[0], "train", path, None, None) for path in sorted(versions)]
        # find
        return Tree(root, tuple(clips), (), (), versions)
    def read(self, root, clip, settings):
        events = Events.build([0, 9], [1, 2], [0, 0], [10, -10], [0, 0], [100, 200])
        recording = Recording(clip.name, clip.room, np.zeros((4, 24000), np.int16), events)
        # read
        return recording
"""
Ingest = Callable[..., Built]


@pytest.fixture
def take_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingest]:
    """Takes in two recordings with the reader, into which lines of `find` or `read` are put."""
    monkeypatch.chdir(tmp_path)
    for name in ("room1_mix001", "room2_mix001"):
        write_wav(tmp_path / "tree" / f"{name}.wav", noise(1.0))

    def run(find: str = "pass", read: str = "pass") -> Built:
        Path("my_parts.py").write_text(PLUGIN.replace("# find", find).replace("# read", read))
        load_plugins(["my_parts.py"])
        return ingest("tree", "store", IngestSettings(val_rooms=()), reader="field")

    with forgotten_plugins():
        yield run


def _clip(change: str) -> str:
    return f"clips[1] = replace(clips[1], {change})"


FIND_LINE = PLUGIN.split("\n").index("    def find(self, root):") + 1
READ_LINE = PLUGIN.split("\n").index("    def read(self, root, clip, settings):") + 1
FOUND_WRONG = {
    "return clips": "`find` gave a list, not a Tree: ",
    "return None": "`find` gave None, not a Tree: ",
    _clip("name='room1_mix001'"): "two clips have the name room1_mix001: "
    "room1_mix001.wav and room2_mix001.wav; give each its own",
    "clips[1] = clips[0]": "two clips have the name room1_mix001: room1_mix001.wav and room1_mix001.wav; give each",
    _clip("split='dev'"): "split of clip room2_mix001 is 'dev', and has to be train, val, test or eval",
    _clip("room=''"): "room of a clip is '', not a text: Clip(name='room2_mix001'",
    "clips[1] = 'room2_mix001.wav'": "clips of the tree hold a str, not Clip alone",
    _clip("csv='labels.csv'"): "csv of clip room2_mix001 is 'labels.csv', of which versions of the tree say None: "
    "give paths relative to the root, and what data.storage.list_versions(root) says as versions",
    "versions = {}": "wav of clip room1_mix001 is 'room1_mix001.wav', of which versions of the tree say None: ",
    "versions = dict.fromkeys(versions, 'v1')": "wav of clip room1_mix001 is 'room1_mix001.wav', of which versions of "
    "the tree say 'v1': ",
    "return Tree(root, tuple(clips), ('bad.wav',), (), versions)": "faults of the tree hold a str, not Fault alone",
    "return Tree(root, tuple(clips), (), 'rest.csv', versions)": "orphans of the tree are a str, not a tuple of str",
    "return Tree(None, tuple(clips), (), (), versions)": "root of the tree is None, not the text",
    "return Tree(root, tuple(clips), (), (), None)": "versions of the tree are None; give what data.storage.list_vers",
}


@pytest.mark.parametrize("line", FOUND_WRONG)
def test_a_tree_is_checked(take_in: Ingest, line: str) -> None:
    with pytest.raises(UserError) as caught:
        take_in(find=line)
    assert str(caught.value).startswith(f"reader 'field' (my_parts.py:{FIND_LINE}): {FOUND_WRONG[line]}")
    assert not Path("store").exists()


def _recording(change: str) -> str:
    return f"recording = replace(recording, {change})"


def _events(**columns: str) -> str:
    changes = ", ".join(f"{name}=np.array({values})" for name, values in columns.items())
    return _recording(f"events=replace(events, {changes})")


READ_WRONG = {
    "return None": "`read` gave None, not a Recording, or a Fault where a file is bad",
    _recording("name='other'"): "name of the recording is 'other', not 'room1_mix001' as its clip",
    _recording("room='hall'"): "room of the recording is 'hall', not 'room1' as its clip",
    _recording("audio=recording.audio[:1]"): "audio is (1, 24000), not (4, N): four channels W, Y, Z",
    _recording("audio=recording.audio[0]"): "audio is (24000), not (4, N): four channels W, Y, Z, X",
    _recording("audio=recording.audio.T"): "audio is (24000, 4), not (4, N): it is (N, 4); give audio.T",
    _recording("audio=recording.audio / 32768"): "audio is float64, not int16: np.rint(32767 * audio)",
    _recording("audio=recording.audio.astype(int)"): "audio is int64, not int16",
    _recording("audio=[0, 0]"): "audio is a list, not an int16 array of NumPy (4, N)",
    _recording("events=[(0, 1)]"): "events are a list, not data.labels.Events: Events.build(",
    _events(class_index="[1, 99]"): "events.class_index is 99 in row 1 of 2: classes are 0..12, the places",
    _events(class_index="[-1, 2]"): "events.class_index is -1 in row 0 of 2: classes are 0..12, the places",
    _events(frame="[0, -3]"): "events.frame is -3 in row 1 of 2: label frames count from 0 in steps of 0.1 s",
    _events(frame="[0.0, 0.1]"): "events.frame is no array (events,) of whole numbers: make the table",
    _events(frame="[0, 1, 2]"): "columns of events differ in length: frame 3, class_index 2, source 2, ",
    _events(source="[0, 2**40]"): "events.source is 1.09951e+12 in row 1 of 2: sources have small numbers",
    _events(azimuth_deg="[0, 500.0]"): "events.azimuth_deg is 500 in row 1 of 2: degrees within +-360",
    _events(azimuth_deg="[0, np.nan]"): "events.azimuth_deg is nan in row 1 of 2: degrees within +-360",
    _events(elevation_deg="[0, -91.0]"): "events.elevation_deg is -91 in row 1 of 2: degrees within +-90",
    _events(elevation_deg="[0, np.inf]"): "events.elevation_deg is inf in row 1 of 2: degrees within +-90",
    _events(distance_cm="[0, np.inf]"): "events.distance_cm is inf in row 1 of 2: centimetres are expected",
    _events(distance_cm="[-5.0, 0]"): "events.distance_cm is -5 in row 0 of 2: centimetres are expected, from 0 on",
    _recording("pictures=b'jpeg'"): "pictures are a bytes, not a list of JPEG pictures as bytes",
    _recording("pictures=[np.zeros((2, 2, 3))]"): "picture 0 is a ndarray that holds no JPEG: give",
    _recording("pictures=[b'\\xff\\xd8']"): "picture 0 cannot be decoded",
    _recording("pictures=[encode_jpeg(np.zeros((2, 4, 3), np.uint8))]"): "pictures are 4 x 2, not 448 x 224",
    _recording("picture_rate_hz=0"): "picture_rate_hz is 0, not a number above 0",
    _recording("facts={'notes': ['odd']}"): "facts have to be a mapping, and so has facts['notes']",
    _recording("facts={'notes': {'odd': 'yes'}}"): "facts['notes'] have to say how often as whole",
    _recording("facts={'at': np.zeros(2)}"): "facts hold what JSON does not know",
}


@pytest.mark.parametrize("line", READ_WRONG)
def test_a_recording_is_checked(take_in: Ingest, line: str) -> None:
    with pytest.raises(UserError) as caught:
        take_in(read=line)
    expected = f"reader 'field' (my_parts.py:{READ_LINE}) on room1_mix001: {READ_WRONG[line]}"
    assert str(caught.value).startswith(expected)
    assert not Path("store/manifest.json").exists()


def test_what_a_plugin_raises_is_a_line_with_its_place(take_in: Ingest) -> None:
    with pytest.raises(UserError) as caught:
        take_in(read="1 / len(clip.name[12:])")
    place = f"my_parts.py:{READ_LINE + 3}"
    assert str(caught.value) == f"reader 'field' ({place}) raised ZeroDivisionError: division by zero on room1_mix001"
    (note,) = caught.value.__notes__
    assert re.search(r'File "my_parts.py", line \d+, in read', note)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("clips = [Clip('a', 'b', 'train', 'a.wav', None)]", r"TypeError: .*missing 1 required .*'video'"),
        ("raise SystemExit(0)", r"SystemExit: 0"),
        ("raise OSError('no such disk\\nat all')", r"OSError: no such disk"),
    ],
)
def test_so_is_what_find_raises(take_in: Ingest, line: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        take_in(find=line)
    assert re.fullmatch(rf"reader 'field' \(my_parts\.py:{FIND_LINE + 3}\) raised {said}", str(caught.value))


def test_events_of_different_length_are_told_where_they_are_made(take_in: Ingest) -> None:
    place = rf"my_parts\.py:{READ_LINE + 3}"
    told = rf"{place}\) raised ValueError: columns of events differ in length: frame 2, class_index 1"
    with pytest.raises(UserError, match=told):
        take_in(read="Events.build([0, 1], [3], [0, 0], [0, 0], [0, 0])")


def test_a_readers_own_refusal_is_as_it_says_it(take_in: Ingest) -> None:
    with pytest.raises(UserError, match=r"^tree holds no wav: name another folder$"):
        take_in(find="raise UserError(f'{root} holds no wav: name another folder')")


def test_a_readers_own_fault_is_as_it_says_it(take_in: Ingest) -> None:
    built = take_in(read="if clip.room == 'room1': return Fault(clip.name, 'labels.txt:3: no such class')")
    assert list(built.report["recordings"]) == ["room2_mix001"]
    assert [fault["reason"] for fault in built.report["faults"]] == ["labels.txt:3: no such class"]


def test_what_our_own_readers_raise_stays_what_it_is(tmp_path: Path) -> None:
    class Broken(Reader):
        name = "broken"
        find = None  # type: ignore[assignment]

        def read(self, root, clip, settings):  # type: ignore[no-untyped-def]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        read_recording(Broken(), str(tmp_path), Clip("a", "b", "train", "a.wav", None, None), IngestSettings())


def test_any_readers_late_labels_and_far_azimuths_are_counted(take_in: Ingest) -> None:
    columns = "[9, 10, 15], [1, 2, 3], [0, 0, 0], [350, 190, -10], [0, 0, 0]"
    built = take_in(read=_recording(f"events=Events.build({columns})"))
    counted = {"rows past the end of the sound dropped": 2, "rows with an azimuth beyond 180 degrees": 2}
    assert notes_of(built) == {"room1_mix001": counted, "room2_mix001": counted}
    (row,) = rows_of(built.store, "room1_mix001")
    assert row_events(row).frame.tolist() == [9]
    np.testing.assert_allclose(row_events(row).azimuth_deg, [-10])


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (
            range(0, 50, 5),
            r"8 of 10 rows .* after 1\.0 s, the last one at 4\.5 s: .*; do frames count 20 ms there\? Write",
        ),
        (range(0, 200, 20), r"9 of 10 rows .*; are they of another recording\?"),
    ],
)
def test_a_recording_most_of_whose_labels_are_late_is_left_out(take_in: Ingest, frames: range, said: str) -> None:
    zeros = [0] * len(frames)
    with pytest.raises(UserError, match=said):
        take_in(read=_recording(f"events=Events.build({list(frames)}, *{[zeros] * 4})"))


def test_a_reader_that_counts_nothing_can_be_reported(take_in: Ingest) -> None:
    from infra.datasets.ingest_report import ingest_document

    assert ingest_document(take_in())["unusual"] == {}
