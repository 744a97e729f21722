"""What a user can get wrong, apart from what can go wrong.

The command line prints a `UserError` as one line and exits with 2, a `GateError` with 3, a `WaitedInVain` with 75 (the
EX_TEMPFAIL of sysexits.h: the same may work later); everything else is a failure of the work itself and exits with 1.
"""


class UserError(ValueError):
    """The request cannot be carried out as asked. The message names the thing, what was got, and the fix."""


class Unavailable(UserError):
    """A service or a disk cannot be used now; the same request may work later (`data.patience`)."""


class WaitedInVain(Unavailable):
    """It was waited for, for as long as the operator allows."""


class GateError(Exception):
    """A rule refused: the request was understood, and the evidence does not allow it."""
