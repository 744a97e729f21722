"""Where a data set lies that is called by its name, as `data synth` and `data mix` call theirs."""

from __future__ import annotations

import os
import re


def is_name(place: str) -> bool:
    """Whether it is a name, and not a URI, a path, or a store from where the user stands.

    A tree of recordings often lies there by the name of the store that was made of it.
    """
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*", place, re.ASCII) is None:
        return False
    if not os.path.exists(place):
        return True
    from data.stores.chunks import MANIFEST_NAME  # pyarrow: a command that names no data needs none

    return not os.path.exists(os.path.join(place, MANIFEST_NAME))


def there_are(root: str) -> str:
    """The data sets below a root, for messages; UserError where it cannot be asked."""
    from data import storage
    from data.stores.chunks import MANIFEST_NAME

    folders = storage.list_folders(f"{root}/data")
    named = [name for name in folders if storage.exists(f"{root}/data/{name}/{MANIFEST_NAME}")]
    return f"{root}/data holds {', '.join(named)}" if named else f"there is none below {root}/data"


def data_place(place: str, root: str) -> str:
    """The URI or folder of a chunk store: `<root>/data/<name>` for a name."""
    return f"{root}/data/{place}" if is_name(place) else place
