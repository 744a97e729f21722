"""Registries of parts: what they take, what they refuse, and in which order they name it."""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from data.errors import UserError
from data.registry.parts import Registry, import_all


class Sound:
    """The contract of the tests' parts."""


def sound(name):
    return type(name.title(), (Sound,), {"name": name})


@pytest.fixture
def sounds():
    registry = Registry("sound", Sound, order=("bell", "knock"))
    for name in ("water", "knock", "bell"):
        registry.register(sound(name))
    return registry


def test_the_order_comes_first_and_the_others_follow_as_registered(sounds):
    sounds.register(sound("apple"))
    assert list(sounds) == ["bell", "knock", "water", "apple"]


def test_a_registry_is_a_mapping(sounds):
    assert len(sounds) == 3
    assert "bell" in sounds
    assert "horn" not in sounds
    assert sounds["bell"].name == "bell"
    assert sounds.get("horn") is None
    assert sounds.keys() == {"bell", "knock", "water"}
    with pytest.raises(KeyError):
        sounds["horn"]


def test_register_is_a_decorator():
    registry = Registry("sound", Sound)

    @registry.register
    class Horn(Sound):
        name = "horn"

    assert registry["horn"] is Horn
    assert registry.register(Horn) is Horn, "the same part again is no duplicate"


def test_two_parts_of_one_name_are_refused_by_both_their_names(sounds):
    there, other = sounds["bell"], type("OtherBell", (Sound,), {"name": "bell"})
    with pytest.raises(UserError, match=r"two parts are sound 'bell': \S+\.Bell and \S+\.OtherBell; give one") as error:
        sounds.register(other)
    assert "\n" not in str(error.value)
    assert sounds["bell"] is there


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (type("Silent", (Sound,), {}), r"Silent has no name: a sound needs one"),
        (type("Numbered", (Sound,), {"name": 7}), r"Numbered has no name"),
        (type("Foreign", (), {"name": "foreign"}), r"Foreign is no sound: derive it from \S+\.Sound"),
    ],
)
def test_what_breaks_the_contract_is_refused(sounds, part, message):
    with pytest.raises(UserError, match=message):
        sounds.register(part)
    assert list(sounds) == ["bell", "knock", "water"]


@dataclass(frozen=True, kw_only=True)
class Tuned(Sound):
    """A contract whose parts have fields."""

    name: ClassVar[str]
    pitch_hz: ClassVar[float]


def fields(named: bool = True, **of: Any) -> type:
    name = {"name": ClassVar[str]} if named else {}
    hints = {**name, **{key: hint for key, (hint, *_) in of.items()}}
    values = {key: value[0] for key, (_, *value) in of.items() if value}
    return type("Fork", (Tuned,), {"__annotations__": hints, "name": "fork", "pitch_hz": 440.0, **values})


AS_PARTS = dataclass(frozen=True, kw_only=True)


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        (type("Fork", (Tuned,), {"name": "fork"}), "it lacks pitch_hz"),
        (fields(loud=(bool, False)), r"loud is no field without @dataclass\(frozen=True, kw_only=True\) above"),
        (AS_PARTS(fields(loud=(bool,))), "its field loud has no default"),
        (AS_PARTS(fields(loud=("Loudness", 1))), r"the types .* \(NameError: name 'Loudness' is not defined\)"),
        (AS_PARTS(fields(pitch_hz=(float, 1.0))), r"pitch_hz may be no field: write pitch_hz: ClassVar\[\.\.\.\]"),
        (AS_PARTS(fields(named=False, name=(str, "fork"))), "name may be no field: write name: ClassVar"),
    ],
)
def test_what_breaks_a_contract_with_fields_is_refused(part: type, fault: str) -> None:
    forks = Registry("fork", Tuned)
    with pytest.raises(UserError, match=rf"^\S+\.Fork is no whole fork: {fault}"):
        forks.register(part)
    assert not forks
    assert forks.register(AS_PARTS(fields(loud=(bool, False)))) is forks["fork"]
    forks.forget("fork")
    forks.register(type("Same", (Tuned,), {"name": "same", "pitch_hz": 1.0}))


def test_objects_are_parts_too():
    registry = Registry("number", int)
    registry.register(3, name="three")
    assert registry["three"] == 3
    with pytest.raises(UserError, match=r"builtins\.str is no number: has to be a builtins\.int"):
        registry.register("4", name="four")


def test_an_unknown_name_lists_the_choices(sounds):
    assert sounds.find("bell", "scene.sound").name == "bell"
    with pytest.raises(UserError) as error:
        sounds.find("bel", "scene.sound")
    own = "a part of your own needs --plugin FILE"
    assert str(error.value) == f"scene.sound = 'bel' is not known; choose one of bell, knock, water; {own}"
    with pytest.raises(UserError, match=r"^scene\.sound = \['bell'\] is not known; choose one of"):
        sounds.find(["bell"], "scene.sound")


def test_modules_of_a_package_are_imported_by_name(tmp_path, monkeypatch):
    package = tmp_path / "noises_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("SEEN = []\n")
    for name in ("second", "first"):
        (package / f"{name}.py").write_text(f"from noises_of_a_test import SEEN\nSEEN.append({name!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_all("noises_of_a_test")
    assert sys.modules["noises_of_a_test"].SEEN == ["first", "second"]
