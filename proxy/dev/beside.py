"""A command with the proxy beside it: both start, signals go to the command, both end, the command's code is the answer.

The proxy is a fork of this process in a session of its own, so that Ctrl-C, which a terminal sends to everybody in its
foreground, does not end it under the command's feet. It ends when this process does, however that happens: both hold a
pipe, and the end of this process is the pipe's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

FORWARDED = tuple(
    one for one in signal.Signals if one.name in ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")
)
"""What goes on to the command. Windows knows only some, and this file must be readable there."""

NOT_FOUND, NOT_STARTED = 127, 126
"""Exit codes for a command that there is none of, and for one that cannot be started, as in shells and env(1)."""

_READY = b"r"


class Proxy:
    """The proxy as a process of its own. `pid`: its id."""

    def __init__(self, pid: int, lifeline: int) -> None:
        self.pid = pid
        self._lifeline = lifeline

    def stop(self) -> None:
        """Have it end, and see it end: its answers have a few seconds, which the policy states as ``drain``."""
        os.close(self._lifeline)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class NotReady(Exception):
    """The proxy ended before it was ready, with the exit code `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def start(serve: Callable[[Callable[[], None]], int]) -> Proxy:
    """Fork, and run `serve` there until the proxy is to end; it calls what it is given once it is ready.

    Returns when it is ready. Raises NotReady. To be called before this process has any threads.
    """
    lifeline_end, lifeline = os.pipe()
    ready_end, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(lifeline)
        os.close(ready_end)
        _be_the_proxy(serve, lifeline_end, lambda: _tell(ready))
    os.close(lifeline_end)
    os.close(ready)
    try:
        told = os.read(ready_end, 1)
    finally:
        os.close(ready_end)
    if told != _READY:
        os.close(lifeline)
        raise NotReady(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return Proxy(pid, lifeline)


def _tell(ready: int) -> None:
    # The other end is gone when this process's parent is; then the lifeline says so as well.
    with suppress(OSError):
        os.write(ready, _READY)
        os.close(ready)


def _be_the_proxy(serve: Callable[[Callable[[], None]], int], lifeline_end: int, tell: Callable[[], None]) -> None:
    """What the fork does. Never returns: what stands behind the call of `start` is the other process's."""
    code = 1
    try:
        os.setsid()
        threading.Thread(target=_end_with, args=(lifeline_end,), daemon=True).start()
        code = serve(tell)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _end_with(lifeline_end: int) -> None:
    """Ask this process to end when the other end of the pipe is closed; nothing is ever written to it."""
    os.read(lifeline_end, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run `command` with `environment`; its exit code, or 128 and the number of the signal that ended it.

    Signals that come meanwhile are the command's: each goes on to it. Raises OSError when it cannot be started.
    """
    watched = {*FORWARDED, signal.SIGCHLD}
    # Blocked before the command starts: a signal that comes in between waits, and then goes to it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        pid = os.posix_spawnp(
            command[0],
            list(command),
            dict(environment),
            setsigmask=before,
            # Python ignores these; a command expects them as they are by default.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
        while True:
            number, from_terminal = _next_signal(watched)
            if number == signal.SIGCHLD:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
            elif not from_terminal:
                os.kill(pid, number)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _next_signal(watched: set[signal.Signals]) -> tuple[int, bool]:
    """The next signal, and whether a terminal sent it: then the command, being in the same group, has it already."""
    if sys.platform == "linux":
        info = signal.sigwaitinfo(watched)
        return info.si_signo, info.si_code > 0  # a process's are 0 or less (sigaction(2), SI_USER)
    number = signal.sigwait(watched)
    return number, number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
