"""Kills at random moments: a mount that runs jobs is killed again and again while specs are handed in.

What was acknowledged has to be there in the end: one run for each spec, completed, with every byte of its artifact; a spec that
was not acknowledged leads to one run at most. A death is no failure.
"""
import json
import os
import pathlib
import random
import subprocess
import threading
import time

from bench.common import CDDSFS, run
from suites.common import Check, output

KILLS, QUICK_KILLS = 200, 20
SPECS = [
    {"type": "Contact"},
    {"type": "Interaction", "split_size": "64 KiB"},
    {"type": "Interaction", "media_types": ["email"], "split_size": "256 KiB"},
]
# Seconds that a mount lives: some are killed while they start, some in the middle of a run, some behind it.
SHORTEST, LONGEST = 0.02, 1.5
# Runs that are not over: more are not handed in, so that what is killed has not only begun.
MOST_WAITING = 20
PATIENCE = 300


class Kills:
    def __init__(self, place, kills):
        self.place, self.kills = place, kills
        self.store, self.point = place.root / "kills-store", place.new("kills-mnt")
        source = place.root / "kills.db"
        run(CDDSFS, "sample", source, "--interactions", 6000, "--contacts", 500)
        run(CDDSFS, "init", self.store, "--cert", place.cert, "--source", source)
        self.acknowledged, self.tried, self.is_over = set(), 0, False
        self.log = open(place.root / "kills.log", "w+b")

    def start(self):
        command = [CDDSFS, "mount", self.store, self.point, "--key", self.place.key, "-f"]
        settings = {**os.environ, "XDG_CACHE_HOME": str(self.place.root / "cache")}
        return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=self.log,
                                stderr=self.log, env=settings)

    def clear(self):
        while os.path.ismount(self.point) or is_dead(self.point):
            output("umount", "-l", self.point)

    def submitter(self):
        source = random.Random(1)
        while not self.is_over:
            try:
                waiting = [record for record in self.records() if record["status"] in ("Queued", "In Progress")]
                if len(waiting) < MOST_WAITING:
                    title = f"spec {self.tried}"
                    self.tried += 1
                    # The close within `write_text` is what acknowledges.
                    (self.point / "jobs/new").write_text(json.dumps({"title": title, **source.choice(SPECS)}))
                    self.acknowledged.add(title)
            except OSError:
                pass
            time.sleep(source.uniform(0.05, 0.5))

    def records(self):
        status, out, _ = output(CDDSFS, "history", self.store, "--json")
        return [json.loads(line) for line in out.splitlines()] if status == 0 else []

    def kill(self):
        source = random.Random(2)
        for _ in range(self.kills):
            mount = self.start()
            # Half of them count from the start of the process, half from when the mount answers.
            if source.random() < 0.5:
                until = time.monotonic() + 20
                while not os.path.ismount(self.point) and time.monotonic() < until:
                    time.sleep(0.005)
            time.sleep(source.uniform(SHORTEST, LONGEST))
            mount.kill()
            mount.wait()
            self.clear()

    def finish(self):
        """Lets everything come to its end; returns the records."""
        mount, until = self.start(), time.monotonic() + PATIENCE
        while time.monotonic() < until:
            records = self.records()
            if records and all(record["status"] not in ("Queued", "In Progress", "Scheduled") for record in records):
                break
            time.sleep(0.5)
        output(CDDSFS, "unmount", "--lazy", self.point)
        mount.wait(30)
        return records


def is_dead(point):
    try:
        os.listdir(point)
    except OSError:
        return True
    return False


def kills(place):
    count = QUICK_KILLS if place.quick else KILLS
    world = Kills(place, count)
    submitter = threading.Thread(target=world.submitter)
    submitter.start()
    try:
        world.kill()
    finally:
        world.is_over = True
        submitter.join()
    records = world.finish()
    titles = [record["title"] for record in records]
    lost = sorted(world.acknowledged - set(titles))
    twice = sorted({title for title in titles if titles.count(title) > 1})
    not_completed = sorted({f"{record['status']}: {record.get('error', '')}" for record in records if record["status"] != "Completed"})
    wrong = [f"lost: {', '.join(lost[:3])}"] * bool(lost) + [f"twice: {', '.join(twice[:3])}"] * bool(twice) + not_completed[:3]
    yield Check("kills", "; ".join(wrong) if wrong else "nothing lost, nothing failed",
                f"{count} kills, {len(world.acknowledged)} of {world.tried} specs acknowledged, {len(records)} runs")
    status, out, err = output(CDDSFS, "verify", world.store, "--key", place.key)
    yield Check("kills/verify", f"exit status {status}", (out + err).decode(errors="replace").strip().splitlines()[-1][:80])
    known = {part["name"] for record in records for part in record.get("parts", [])}
    unknown = sorted(path.name for path in (pathlib.Path(world.store) / "artifacts").iterdir() if path.name not in known)
    yield Check("kills/strays", f"left: {', '.join(unknown[:3])}" if unknown else "none", f"{len(known)} parts")
