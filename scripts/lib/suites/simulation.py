"""Simulation: engines on several hosts, over a network and by clocks out of one seed each (tests/stores/simulation.rs)."""
import os
import re

from bench.common import ROOT
from suites.common import Check, output

SEEDS, QUICK_SEEDS = 10_000, 1000
TEST = "simulation::whatever_befalls_hosts_nothing_is_lost_and_nothing_is_done_twice"


def simulation(place):
    seeds = QUICK_SEEDS if place.quick else SEEDS
    command = ["cargo", "test", "--release", "--test", "stores", TEST, "--", "--exact", "--nocapture"]
    status, out, err = output(*command, cwd=ROOT, env={**os.environ, "CDDSFS_SIMULATION_SEEDS": str(seeds)})
    text = (out + err).decode(errors="replace")
    wrong = re.search(r"CDDSFS_SIMULATION_SEED=.*", text)
    figures = re.search(rf"^{seeds} seeds: .*", text, re.MULTILINE)
    if wrong or status != 0 or not figures:
        raise SystemExit(wrong[0] if wrong else f"exit status {status}: {text[-300:]}")
    yield Check("simulation", "nothing wrong", figures[0])
