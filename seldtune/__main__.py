"""The console script `seldtune`, and `python -m seldtune`."""

from __future__ import annotations

import sys

from seldtune.hiding import hidden

EXIT_REFUSED = 2


def main() -> int:
    """The command line (`infra.cli`), unless others stand in front of what it imports."""
    if said := hidden():
        sys.stderr.write(f"error: {said}\n")
        return EXIT_REFUSED
    from infra.cli import main as command_line

    command_line()
    return 0


if __name__ == "__main__":
    sys.exit(main())
