"""Objects that Tune holds but that mean nothing outside the driver's process."""

from __future__ import annotations

from typing import Any


class DriverOnly:
    """Leaves nothing of itself in Tune's snapshots: a sweep is resumed from its own record, never from those."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
