"""What a process and its children have cost so far: CPU time and memory, read from the Linux kernel."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MIB_KIB = 1024.0


def parents(proc: Path = PROC) -> dict[int, int]:
    """Parent of each process that exists now: pid -> ppid."""
    found: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it ended between the listing and the reading
                continue
            # the command's name may hold spaces and brackets: the fields that follow start behind the last bracket
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def process_tree(root: int, parent_of: dict[int, int] | None = None) -> list[int]:
    """`root` and all its descendants, parents first."""
    parent_of = parents() if parent_of is None else parent_of
    tree = [root]
    for pid in tree:  # grows while it is walked
        tree.extend(child for child, parent in parent_of.items() if parent == pid)
    return tree


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds (user + system) spent by these processes with all their threads, ended threads included.

    Read from each process's CPU clock, which is what ``clock_getcpuclockid(3)`` stands for: the same sum as utime +
    stime of ``/proc/PID/stat``, in nanoseconds instead of clock ticks of 10 ms.
    Raises ProcessLookupError when one of them has ended: a sum without it would be too low.
    """
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # 2: CPUCLOCK_SCHED, see linux/posix-timers.h
        except OSError as error:
            raise ProcessLookupError(f"process {pid} has ended, its CPU time is lost") from error
    return total


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree in MiB. `rss_mib` counts shared pages once per process, `pss_mib` shares them out."""

    rss_mib: float
    pss_mib: float
    peak_rss_mib: float


def _field_kib(path: Path, name: str) -> float:
    for line in path.read_text().splitlines():
        if line.startswith(name + ":"):
            return float(line.split()[1])
    return 0.0


def memory(pids: Iterable[int]) -> Memory:
    """Sums over `pids` of VmRSS and VmHWM (``/proc/PID/status``) and of Pss (``/proc/PID/smaps_rollup``)."""
    rss = pss = peak = 0.0
    for pid in pids:
        folder = PROC / str(pid)
        rss += _field_kib(folder / "status", "VmRSS")
        peak += _field_kib(folder / "status", "VmHWM")
        pss += _field_kib(folder / "smaps_rollup", "Pss")
    return Memory(rss / MIB_KIB, pss / MIB_KIB, peak / MIB_KIB)
