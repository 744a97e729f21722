"""Parts from outside the project: Python files that are named, and installed packages that offer some.

A plugin registers its parts when it is imported, as the project's own files do. A file is one module, whole by itself.
A package offers a module as an entry point of the group `seldtune.parts`:

    [project.entry-points."seldtune.parts"]
    gated = "my_package.gated"

Whatever goes by the names of parts needs them imported first: the process that the user started, Ray's workers
(`infra.cluster.join` hands plugins on to each as it starts), and whoever loads a model that was built from them.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from data.errors import UserError
from data.registry.parts import forget, registered_in
from data.registry.user_code import FAILURES, code_identity, said, where

GROUP = "seldtune.parts"
PREFIX = "seldtune_plugin_"
"""Of the names of files' modules, so that none hides another module."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file, or the module of an installed package."""

    name: str
    """The file's, or the package's."""
    module: str
    """What Python calls it."""
    identity: str
    """Hash of the file's code, or the package's version."""
    path: str = ""
    """Where the file lay."""
    source: str | None = None
    """The file's text; None: a package, which has to be installed wherever it is needed."""

    @property
    def parts(self) -> set[tuple[str, str]]:
        """Kinds and names of what it registered, once it is loaded."""
        return registered_in(self.package)

    @property
    def package(self) -> str:
        """Whose modules may hold its parts."""
        return self.module.partition(".")[0]


_LOADED: dict[str, Plugin] = {}
"""By module."""


def loaded() -> tuple[Plugin, ...]:
    """The plugins of this process, in the order in which they came."""
    return tuple(_LOADED.values())


def load_plugins(paths: Sequence[str] = ()) -> tuple[Plugin, ...]:
    """Load the packages that offer parts, and these files; the plugins that the files are.

    Raises:
        UserError: a file is not there, is no Python, raises when it is imported, registers a name that is taken, or
            registers nothing; with the file and line.
    """
    for entry_point in sorted(entry_points(group=GROUP), key=lambda found: found.name):
        load(_package(entry_point))
    return tuple(load(read_plugin(path)) for path in paths)


def read_plugin(path: str) -> Plugin:
    """A file as a plugin; nothing of it is run.

    Raises:
        UserError: it is not there, or no Python.
    """
    file = Path(path)
    if file.suffix != ".py":
        raise UserError(f"plugin {path!r} is no Python file: name a .py file that registers parts")
    if not file.is_file():
        raise UserError(f"plugin {path!r}: there is no such file")
    try:
        source = file.read_text(encoding="utf-8")
        identity = code_identity(source)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"plugin {where(path, error)}: {said(error)}") from error
    module = PREFIX + re.sub(r"\W", "_", file.stem)
    return Plugin(name=file.name, module=module, identity=identity, path=path, source=source)


def _package(entry_point: EntryPoint) -> Plugin:
    distribution = entry_point.dist
    name = entry_point.name if distribution is None else distribution.name
    version = "" if distribution is None else distribution.version
    return Plugin(name=name, module=entry_point.module, identity=version)


def load(plugin: Plugin) -> Plugin:
    """Import a plugin, once; the one that was loaded.

    Raises:
        UserError: as `load_plugins`; or another plugin of its name is loaded in this process.
    """
    there = _LOADED.get(plugin.module)
    if there is not None:
        _require_same(there, plugin.name, plugin.identity)
        return there
    shown = plugin.path or f"{plugin.name} (package)"
    try:
        if plugin.source is None:
            importlib.import_module(plugin.module)
        else:
            _run(plugin, plugin.source)
        if not plugin.parts:
            raise UserError("it registers nothing: write e.g. @FUSIONS.register above the class of a fusion")
    except FAILURES as error:
        forget(plugin.package)
        sys.modules.pop(plugin.module, None)
        reason = str(error) if isinstance(error, UserError) else said(error)
        raise UserError(f"plugin {where(shown, error)}: {reason}") from error
    _LOADED[plugin.module] = plugin
    return plugin


def _run(plugin: Plugin, source: str) -> None:
    """Run a file's text as its module, which is found by its name: dataclasses and pickles look there."""
    module = ModuleType(plugin.module)
    module.__file__ = plugin.path
    sys.modules[plugin.module] = module
    exec(compile(source, plugin.path, "exec"), vars(module))


def _require_same(there: Plugin, name: str, identity: str) -> None:
    if there.identity != identity:
        raise UserError(
            f"plugin {name} ({identity}) is another than the {there.name} ({there.identity}) that this process has "
            "loaded: rename one of them, or use them in processes of their own"
        )


def plugins_behind(parts: Iterable[object]) -> list[Plugin]:
    """Those that the classes of these objects were written in."""
    modules = {f"{type(part).__module__}." for part in parts}
    return [plugin for plugin in loaded() if any(module.startswith(f"{plugin.package}.") for module in modules)]


def identities(plugins: Iterable[Plugin]) -> dict[str, str]:
    """By name, as the settings of what was made with them say it."""
    return {plugin.name: plugin.identity for plugin in plugins}


def options_for(names: Iterable[str]) -> str:
    """What a suggested command needs to load the plugins of these names: ` --plugin FILE` for each file, by the path
    that it was loaded from, or by its name where it is not. Packages need nothing."""
    here = {plugin.name: plugin for plugin in loaded()}
    files = [
        here[name].path if name in here else name
        for name in names
        if (here[name].source is not None if name in here else name.endswith(".py"))
    ]
    return "".join(f" --plugin {shlex.quote(file)}" for file in files)


def describe(plugin: Plugin) -> dict[str, Any]:
    """What a file that needs the plugin says of it, as JSON knows it; `require` takes it."""
    return {"name": plugin.name, "module": plugin.module, "identity": plugin.identity}


def require(described: dict[str, Any]) -> None:
    """See to it that a plugin is loaded which `describe` told of; a file may lie on Python's path under its module's
    name, as models bring it.

    Raises:
        UserError: it is not there, or another of its name is loaded.
    """
    name, module, identity = described["name"], described["module"], described["identity"]
    if module not in _LOADED:
        try:
            imported = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module.partition(".")[0] and error.name != module:
                raise
            fix = f"give --plugin PATH/{name}" if module.startswith(PREFIX) else f"install {name} {identity}"
            raise UserError(f"parts of plugin {name} are needed, which is not here: {fix}") from error
        path, source = str(imported.__file__), None
        if module.startswith(PREFIX):
            source = inspect.getsource(imported)  # out of the archive that a model brings as well
            identity = code_identity(source)
        _LOADED[module] = Plugin(name=name, module=module, identity=identity, path=path, source=source)
    if module.startswith(PREFIX):
        _require_same(_LOADED[module], name, described["identity"])
