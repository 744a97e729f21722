"""Drills: a sweep on a stack of its own, something broken on purpose in the middle of it, and what came of that.

    python -m infra.drills --list
    python -m infra.drills store-killed --seconds 15

Each ends with one line of JSON (`infra.drills.sweep.Account`) and with exit code 1 where something was lost.
"""
