"""A control group with little memory, whether the kernel has the controller of memory in cgroup v1 or in v2."""
import os
import pathlib
import time

from bench.common import MIB, say

BASE = pathlib.Path("/sys/fs/cgroup")
# The limit, what came of it, and the most that was used.
V1 = ("memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes")
V2 = ("memory.max", "memory.events", "memory.peak")


class NoControlGroup(Exception):
    pass


class MemoryGroup:
    """A control group of `mib` MiB, page cache included. What passes its limit is killed by the kernel."""

    def __init__(self, mib):
        root, names = hierarchy()
        self.mib, self.path = mib, root / f"cddsfs-suites-{os.getpid()}"
        self.limit, self.events, self.most = (self.path / name for name in names)

    def __enter__(self):
        try:
            self.path.mkdir()
            self.limit.write_text(str(self.mib * MIB))
        except OSError as error:
            self.__exit__()
            raise NoControlGroup(f"{self.limit}: {error.strerror}") from None
        return self

    def __exit__(self, *_):
        for _ in range(50):
            if not self.path.exists():
                return
            try:
                self.path.rmdir()
            except OSError:
                # What was killed may still be on its way out.
                time.sleep(0.1)
        say("left behind:", self.path)

    def wrapper(self):
        """Put before a command, runs it in the group."""
        return ["bash", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "bash"]

    def killed(self):
        return int(dict(line.split() for line in self.events.read_text().splitlines())["oom_kill"])

    def used(self):
        # memory.peak came with Linux 5.19.
        return f"{int(self.most.read_text()) / MIB:.0f}" if self.most.exists() else "unknown"


def hierarchy():
    """Where a group with a limit can be made, and the names of its files."""
    if (BASE / "memory" / V1[0]).exists():
        return BASE / "memory", V1
    # Beside hierarchies of v1, that of v2 is one level down.
    for root in (BASE, BASE / "unified"):
        if offers(root / "cgroup.controllers"):
            enabled = root / "cgroup.subtree_control"
            try:
                # It stays enabled: it does no harm, and another may have come to use it.
                if not offers(enabled):
                    enabled.write_text("+memory")
            except OSError as error:
                raise NoControlGroup(f"{enabled}: {error.strerror}") from None
            return root, V2
    raise NoControlGroup(f"neither cgroup v1 nor v2 has the controller of memory below {BASE}")


def offers(controllers):
    return controllers.exists() and "memory" in controllers.read_text().split()
