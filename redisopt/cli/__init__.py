"""The command `redisopt`.

Its parts need the extra `cli` (rich and typer). They are imported inside `main`, so that without them the command can
say what to install, and so that the demo's workers, which are programs of this package, start without them.
"""

from __future__ import annotations

import importlib.util
import sys


def main() -> int:
    """Run the command line.

    Returns the exit code: 0 well, 1 a failure or a fault that was found, 2 bad arguments, 130 Ctrl-C.
    """
    if missing := [name for name in ("rich", "typer") if importlib.util.find_spec(name) is None]:
        sys.stderr.write(
            f"redisopt: the command line needs {' and '.join(missing)}, not installed here: "
            "run  pip install 'redisopt[cli]'\n"
        )
        return 1
    try:
        from redisopt.cli.app import run

        return run()
    except KeyboardInterrupt:
        return 130
