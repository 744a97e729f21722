"""Lists of classes, and what label files call them: by number or name, merged, left out, of other data sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.classes import MOST_CLASSES, STARSS23, ClassList
from data.errors import UserError
from data.files.class_map import DATA_SETS, DEFAULT_CLASSES, DROPPED, UNKNOWN, ClassMap, read_class_map
from data.files.dcase_csv import parse_events_csv, read_events_csv
from data.labels import adpit_target
from data.readers.contract import IngestSettings
from data.readers.ingest import ingest
from data.stores.chunks import Manifest, Store, open_store, verify
from data.stores.mix import mix
from data.stores.replacing import differences_of
from support.starss23_tree import noise, write_text, write_wav

ANIMALS = """\
classes:
  - Dog bark
  - name: Cat
    short: cat
    from: [1, 2, purring]
  - name: Human speech
    from: [3, 4]
drop: [5, Bell]
"""


def read(folder: Path, text: str) -> ClassMap:
    (folder / "classes.yaml").write_text(text, encoding="utf-8")
    return read_class_map(folder / "classes.yaml")


@pytest.fixture
def animals(tmp_path: Path) -> ClassMap:
    return read(tmp_path, ANIMALS)


def test_short_names_are_made_of_names() -> None:
    made = ClassList.of(("Dog bark, loud", "Car  horn", "犬", "Ünïted-2", "x" * 80), {"Car  horn": "horn"})
    assert made.short_names == ("dog_bark", "horn", "犬", "ünïted_2", "x" * 24)


@pytest.mark.parametrize(
    ("names", "short_names", "said"),
    [
        ((), (), "0 classes"),
        (tuple(f"class {n}" for n in range(201)), tuple(f"c{n}" for n in range(201)), "201 classes"),
        (("Dog bark", "dogBark"), ("a", "b"), "'Dog bark' and 'dogBark'"),
        (("Dog", "Cat"), ("a", "A"), "'a' and 'A'"),
        (("Dog", "  "), ("a", "b"), "class '  '"),
        (("Dog", "Cat\n"), ("a", "b"), "class 'Cat"),
        (("Dog",), ("two words",), "short name 'two words'"),
        (("Dog", "Cat"), ("a",), "2 names of classes, and 1 short names"),
        (("Dog", "7"), ("a", "b"), "class '7'"),
        (("Dog", "nan"), ("a", "b"), "class 'nan'"),
        (("Dog", "Dog"), ("a", "b"), "'Dog' and 'Dog'"),
        (("Dog", "\u00c9t\u00e9", "E\u0301te\u0301"), ("a", "b", "c"), "called alike"),
    ],
)
def test_lists_that_are_none(names: tuple[str, ...], short_names: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as refused:
        ClassList(names=names, short_names=short_names)
    assert said in str(refused.value)


def test_a_class_goes_by_its_names_in_any_spelling() -> None:
    classes = ClassList.of(("Dog bark, loud", "Dog bark, soft", "Car horn"))
    spelt = {
        name: classes.named(name) for name in ("carHorn", "CAR_HORN", "car_horn", "dog bark LOUD", "soft", "Dog bark")
    }
    # What two classes begin with names neither.
    assert spelt == {"carHorn": 2, "CAR_HORN": 2, "car_horn": 2, "dog bark LOUD": 0, "soft": 1, "Dog bark": None}


def test_marks_that_belong_to_letters_tell_words_apart() -> None:
    water, bridge = "\u092a\u093e\u0928\u0940", "\u092a\u093e\u0928"
    classes = ClassList.of((water, bridge))
    assert (classes.named(water), classes.named(bridge)) == (0, 1)
    # MLflow takes no such mark in the name of a metric.
    assert classes.short_names == ("class_0", "class_1")
    assert ClassList.of(("Gr\u00f6\u00dfe",)).named("GR\u00d6SSE") == 0


def test_short_names_that_would_be_one_are_longer_or_have_to_be_given() -> None:
    longer = ClassList.of(("Dog bark, loud", "Dog bark, soft", "Cat")).short_names
    assert longer == ("dog_bark_loud", "dog_bark_soft", "cat")
    with pytest.raises(UserError, match=r"called alike: .*; say a `short:`"):
        ClassList.of(("The very long name of a sound, near", "The very long name of a sound, far"))


def test_numbers_are_merged_and_left_out(animals: ClassMap) -> None:
    assert animals.classes.short_names == ("dog_bark", "cat", "human_speech")
    given = np.array([0, 1, 2, 3, 4, 5, 6, 11, -1, 0.5, np.nan])
    own = [0, 1, 1, 2, 2, DROPPED, UNKNOWN, DROPPED, UNKNOWN, UNKNOWN, UNKNOWN]
    assert animals.of_numbers(given).tolist() == own


def test_names_of_starss23_stand_for_its_numbers(tmp_path: Path) -> None:
    text = "classes:\n  - name: Speech\n    from: [Female speech, male]\n  - name: Music\n    from: music\n"
    assert read(tmp_path, text).numbers == ((0, 0), (1, 0), (8, 1))
    rows = b"0,male,0,10,0\n1,Male speech,0,10,0\n2,femaleSpeech,0,10,0\n3,Music,0,10,0\n"
    assert parse_events_csv(rows, "a.csv", classes=read(tmp_path, text))[0].class_index.tolist() == [0, 0, 0, 1]
    of_2021 = "of: dcase2021\n" + text.replace("music\n", "piano\n")
    assert read(tmp_path, of_2021).numbers == ((5, 0), (11, 1))


def test_rows_are_read_by_number(tmp_path: Path, animals: ClassMap) -> None:
    rows = "0,0,0,10,0,100\n1,2,0,20,0,100\n2,5,0,30,0,100\n3,4,1,40,0,100\n"
    events, notes = parse_events_csv(rows.encode(), "a.csv", classes=animals)
    assert events.class_index.tolist() == [0, 1, 2]
    assert events.azimuth_deg.tolist() == [10, 20, 40]
    assert notes["rows of classes that are left out"] == 1
    with pytest.raises(UserError, match=r"a\.csv:2: class 7 is unknown: numbers of classes are 0, 1, 2, 3, 4, 5, 11"):
        parse_events_csv(b"0,0,0,10,0\n1,7,0,20,0\n", "a.csv", classes=animals)


def test_rows_are_read_by_name(animals: ClassMap) -> None:
    header = b"frame,class,source,azimuth,elevation\n"
    rows = header + b'0,Dog bark,0,10,0\n1,"purring",0,20,0\n2,bell,0,30,0\n3,human_speech,0,40,0\n'
    events, notes = parse_events_csv(rows, "a.csv", classes=animals)
    assert events.class_index.tolist() == [0, 1, 2]
    assert notes["rows of classes that are left out"] == 1
    with pytest.raises(UserError, match=r"a\.csv:2: there is no class 'catt' \(did you mean cat\?\)"):
        parse_events_csv(b"0,cat,0,10,0\n1,catt,0,20,0\n", "a.csv", classes=animals)


def test_numbers_and_names_may_stand_in_one_file(animals: ClassMap) -> None:
    numbers_first = b"0,2,0,10,0\n1,purring,0,20,0\n2,4,0,20,0\n"
    names_first = b"0,purring,0,10,0\n1,1,0,20,0\n2,3,0,20,0\n3,5,0,1,1\n"
    for rows in (numbers_first, names_first):
        assert parse_events_csv(rows, "a.csv", classes=animals)[0].class_index.tolist() == [1, 1, 2]
    with pytest.raises(UserError, match=r"a\.csv:2: class 7 is unknown; numbers of classes are 0, 1"):
        parse_events_csv(b"0,purring,0,10,0\n1,7,0,20,0\n", "a.csv", classes=animals)


def test_a_list_without_numbers_reads_names(tmp_path: Path) -> None:
    only = read(tmp_path, "classes: [{name: Dog, from: [bark]}, {name: Cat, from: []}]")
    assert parse_events_csv(b"0,bark,0,10,0\n1,cat,0,20,0\n", "a.csv", classes=only)[0].class_index.tolist() == [0, 1]
    with pytest.raises(UserError, match="class 0 is unknown: classes have names alone here: dog, cat"):
        parse_events_csv(b"0,0,0,10,0\n", "a.csv", classes=only)


def test_what_differs_of_lists_is_said_in_words(tmp_path: Path, animals: ClassMap) -> None:
    was, now = (IngestSettings(classes=classes).to_dict() for classes in (animals, None))
    said = differences_of(was, now)
    assert said == 'classes was ["Dog bark (dog_bark) <- 0", "Cat (ca..., now the default'


def test_names_are_read_without_a_list_too() -> None:
    rows = b'0,door,0,10,0\n3,Water tap,0,20,0\n4,"Female speech, woman speaking",0,20,0\n'
    assert parse_events_csv(rows, "a.csv")[0].class_index.tolist() == [7, 10, 0]
    with pytest.raises(UserError, match=r"no class 'wolf'.*--classes"):
        parse_events_csv(b"0,wolf,0,10,0\n", "a.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Dog, Cat]", "has to be a mapping of `classes:`"),
        ("classes: []", "classes: a list of names is needed"),
        ("classes: Dog", "classes: a list of names is needed"),
        ("classes: [Dog]\nclass: 3", "class: a list of classes has `classes`"),
        ("classes: [Dog, 3]", "entry 1 is 3"),
        (
            "classes: [{name: Dog, form: 3}]",
            "Dog: form is not known; there are name, short and from (did you mean from?)",
        ),
        ("classes: [{name: Dog, short: 3}]", "short: 3 is no text"),
        ("classes: [{name: Dog, from: -1}]", "Dog: from: -1 is neither a number"),
        ("classes: [{name: Dog, from: [true]}]", "from: True is neither"),
        ("classes: [Dog, {name: Cat, from: 0}]", "0 belongs to 'Dog' and to 'Cat'"),
        ("classes: [Dog]\ndrop: 0", "0 belongs to 'Dog' and to drop"),
        (
            "classes: [{name: Dog, from: '3'}]",
            "'3' is neither a number of a class, from 0 on, nor a name; leave out the quotes",
        ),
        ("classes: [{name: Dog, from: siren}, Siren]", "'siren' belongs to 'Siren' and to 'Dog'"),
        ("classes: [Dog, Cat]\ndrop: [cat]", "'cat' belongs to 'Cat' and to drop"),
        ("of: starss\nclasses: [Dog]", "did you mean starss23?"),
        ("of: audioset\nclasses: [Dog]", "of: 'audioset' is no data set whose numbers are known"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    assert str(refused.value).startswith(str(tmp_path / "classes.yaml"))
    assert said in str(refused.value)


def test_data_sets_go_by_name() -> None:
    assert read_class_map("starss23") == DEFAULT_CLASSES
    assert (len(DATA_SETS["dcase2020"]), len(DATA_SETS["dcase2021"])) == (14, 12)
    assert [DATA_SETS[name].named("Piano") for name in ("dcase2020", "dcase2021")] == [13, 11]
    with pytest.raises(
        UserError, match=r"--classes dcase2019: there is no such file; .* starss23, dcase2020, dcase2021"
    ):
        read_class_map("dcase2019")


@pytest.mark.parametrize("count", [1, 2, 13, MOST_CLASSES])
def test_targets_have_as_many_classes(count: int) -> None:
    last = count - 1
    classes = ClassMap(classes=ClassList.of([f"sound {n}" for n in range(count)]))
    rows = f"0,0,0,90,0\n4,{last},0,0,0\n4,{last},1,180,0\n".encode()
    events, _ = parse_events_csv(rows, "a.csv", classes=classes)
    target = adpit_target(events, 5, count)
    assert target.shape == (5, 6, 5, count)
    # Two at once are dummy tracks B0 and B1.
    assert np.argwhere(target[:, :, 0]).tolist() == [[0, 0, 0], [4, 1, last], [4, 2, last]]


# --- a tree of one's own ----------------------------------------------------------------------------------------------


def tree(root: Path, called: tuple[int | str, ...]) -> str:
    """Two rooms to train on and one to test on; each recording has one event of each class, one after another."""
    for number, name in enumerate(("fold3_room1_mix001", "fold3_room2_mix001", "fold4_room3_mix001")):
        write_wav(root / f"foa_dev/{name}.wav", noise(2.0, number))
        rows = [f"{3 * at + frame},{one},0,{30 * at},0,150\n" for at, one in enumerate(called) for frame in range(3)]
        write_text(root / f"metadata_dev/{name}.csv", "".join(rows))
    return str(root)


def taken_in(root: Path, classes: ClassMap | None, called: tuple[int | str, ...] = (0, 2, 4)) -> Store:
    settings = IngestSettings(with_video=False, classes=classes)
    return ingest(tree(root / "tree", called), str(root / "out"), settings, trust_labels=True).store


def test_a_store_says_its_classes(tmp_path: Path, animals: ClassMap) -> None:
    store = taken_in(tmp_path, animals)
    manifest = open_store(store.root).manifest
    assert manifest == store.manifest
    assert manifest.classes == animals.classes
    assert {name: split.class_frames for name, split in manifest.splits.items()} == {
        "train": (3, 3, 3),
        "val": (3, 3, 3),
        "test": (3, 3, 3),
    }
    assert verify(store) == 3
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert said["classes"][1] == {"name": "Cat", "short": "cat"}


def test_names_in_files_give_the_store_that_numbers_give(tmp_path: Path, animals: ClassMap) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    numbers = taken_in(tmp_path / "a", animals)
    names = taken_in(tmp_path / "b", animals, ("dog bark", "purring", "human_speech"))
    assert names.manifest.splits == numbers.manifest.splits


def test_starss23_by_name_is_what_it_is_without(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    said, unsaid = taken_in(tmp_path / "a", DEFAULT_CLASSES), taken_in(tmp_path / "b", None)
    assert said.manifest.sha256 == unsaid.manifest.sha256
    assert "classes" not in json.loads(said.manifest.to_json())
    assert said.manifest.classes == STARSS23


def test_other_names_are_another_store(tmp_path: Path, animals: ClassMap) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    renamed = read(tmp_path, ANIMALS.replace("Dog bark", "Wolf"))
    one, other = taken_in(tmp_path / "a", animals), taken_in(tmp_path / "b", renamed)
    assert one.manifest.sha256 != other.manifest.sha256


def test_a_class_that_nobody_named_is_a_fault_with_its_line(tmp_path: Path, animals: ClassMap) -> None:
    with pytest.raises(UserError, match=r"mix001\.csv:4: class 7 is unknown: numbers of classes are 0, 1, 2"):
        taken_in(tmp_path, animals, (0, 7))


def test_six_folds_need_to_know_whose_classes_they_have(tmp_path: Path) -> None:
    for fold in range(1, 7):
        write_wav(tmp_path / f"foa_dev/fold{fold}_room{fold}_mix001.wav", noise(1.0, fold))
        write_text(tmp_path / f"metadata_dev/fold{fold}_room{fold}_mix001.csv", "0,11,0,10,0\n")
    with pytest.raises(
        UserError, match=r"folds are 1 to 6.*--classes starss23 or --classes dcase2020 or --classes dcase2021"
    ):
        ingest(str(tmp_path), str(tmp_path / "out"), IngestSettings(with_video=False))
    settings = IngestSettings(with_video=False, classes=read_class_map("dcase2021"))
    store = ingest(str(tmp_path), str(tmp_path / "out"), settings).store
    assert (
        dict(zip(store.manifest.classes.names, store.manifest.splits["train"].class_frames, strict=True))["Piano"] == 4
    )


def test_stores_of_other_classes_do_not_mix(tmp_path: Path, animals: ClassMap) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = taken_in(tmp_path / "a", animals), taken_in(tmp_path / "b", None)
    with pytest.raises(
        UserError, match=r"other classes \(female, male, .*\) than .* \(dog_bark, cat, human_speech\); .*--classes"
    ):
        mix(str(tmp_path / "mixed"), one, {"other": other})


def test_stores_of_the_same_classes_mix(tmp_path: Path, animals: ClassMap) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = taken_in(tmp_path / "a", animals)
    settings = IngestSettings(with_video=False, classes=read(tmp_path, ANIMALS.replace("[3, 4]", "[9]")))
    write_wav(tmp_path / "b/tree/foa_dev/fold3_room7_mix001.wav", noise(2.0, 7))
    write_text(tmp_path / "b/tree/metadata_dev/fold3_room7_mix001.csv", "0,9,0,30,0,150\n")
    other = ingest(str(tmp_path / "b/tree"), str(tmp_path / "b/out"), settings, trust_labels=True).store
    mixed = mix(str(tmp_path / "mixed"), one, {"other": other})
    assert mixed.manifest.classes == animals.classes
    assert mixed.manifest.splits["train"].class_frames == (3, 3, 4)


def test_a_manifest_with_half_a_list_is_refused(tmp_path: Path, animals: ClassMap) -> None:
    document = json.loads(taken_in(tmp_path, animals).manifest.to_json())
    for wrong in ([{"name": "Dog"}], "Dog", [{"name": "Dog", "short": "two words"}]):
        with pytest.raises(UserError):
            Manifest.from_json(json.dumps({**document, "classes": wrong}), "manifest.json")


def test_a_truth_has_the_numbers_of_its_model(tmp_path: Path, animals: ClassMap) -> None:
    (tmp_path / "t.csv").write_text("0,2,0,30,0\n")
    assert read_events_csv(tmp_path / "t.csv", classes=ClassMap(classes=animals.classes)).class_index.tolist() == [2]
    (tmp_path / "t.csv").write_text("0,3,0,30,0\n")
    with pytest.raises(UserError, match=r"class 3 is unknown: classes are 0\.\.2"):
        read_events_csv(tmp_path / "t.csv", classes=ClassMap(classes=animals.classes))
