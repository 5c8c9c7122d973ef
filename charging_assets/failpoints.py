"""Named places where a test can kill the process, so that crash safety is shown and not believed.

A failpoint does nothing unless the environment variable `CHARGING_ASSETS_FAILPOINT` names it. `NAME` kills at the first
pass, `NAME:3` at the third. SIGKILL is used: no handler, no `finally`, no flush - what a power cut leaves behind.
"""

import os
import signal

_passes = 0


def failpoint(name: str) -> None:
    """Kill this process here if `CHARGING_ASSETS_FAILPOINT` says so."""
    wanted = os.environ.get("CHARGING_ASSETS_FAILPOINT")
    if not wanted:
        return
    wanted_name, _, wanted_pass = wanted.partition(":")
    if wanted_name != name:
        return
    global _passes  # noqa: PLW0603 - counts the passes of one process, as the process is what gets killed
    _passes += 1
    if _passes == int(wanted_pass or 1):
        os.kill(os.getpid(), signal.SIGKILL)
