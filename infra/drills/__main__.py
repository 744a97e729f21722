"""`python -m infra.drills`: list the drills, or run one or several on a stack of their own."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict

import infra.drills
from infra.drills.faults import DRILLS
from infra.drills.place import Place, own_folder


def main() -> int:
    options = argparse.ArgumentParser(
        prog="python -m infra.drills",
        description=infra.drills.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("names", nargs="*", metavar="NAME", help="drills, one after another on one stack")
    options.add_argument("--list", action="store_true", help="what there is")
    options.add_argument("--seconds", type=float, help="that the fault lasts")
    options.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    asked = options.parse_args()
    if asked.list or not asked.names:
        for drill in DRILLS.values():
            print(f"{drill.name:<42} {drill.breaks}")
        return 0
    if unknown := [name for name in asked.names if name not in DRILLS]:
        options.error(f"no drill {', '.join(unknown)}; --list shows them")
    folder, passed = own_folder(), True
    try:
        with Place(folder) as place:
            for drill in map(DRILLS.__getitem__, asked.names):
                account = drill.on(place, asked.seconds)
                passed &= drill.passed(account)
                print(json.dumps(asdict(account)), flush=True)
    finally:
        if asked.keep or not passed:
            print(f"logs: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
