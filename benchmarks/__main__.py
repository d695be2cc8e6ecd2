"""``python -m benchmarks [--only S1,S3] [--rounds 5] [--quick | --full] [--contestants a,b]``.

Runs the scenarios and writes ``benchmarks/RESULTS.md``. With ``--only``, the other scenarios keep what they
last measured, or what the page says of them. ``--quick`` is for those who work on the bench: few calls, and its
page goes to ``.bench/QUICK.md``. ``--full`` takes the sizes of the aims (ten million rows), where the default has
smaller ones.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import benchmarks
from benchmarks import report, venvs
from benchmarks.conductor import Result, play
from benchmarks.contestants import CONTESTANTS
from benchmarks.measure import Turn, cost_of_the_clock
from benchmarks.servers import all_servers


def main() -> int:
    """Run what was asked for; exit 0 when every contestant that should play did, 1 otherwise."""
    scenarios = _scenarios()
    options = _options(scenarios)
    chosen = [each.upper() for each in options.only.split(",")] if options.only else list(scenarios)
    only = set(options.contestants.split(",")) if options.contestants else set()
    venvs.ignore_cache_in_git()
    whole = not options.quick and not only
    store = venvs.CACHE / ("results.json" if whole else "quick.json")
    page = Path(__file__).with_name("RESULTS.md") if whole else venvs.CACHE / "QUICK.md"
    kept: dict[str, Any] = json.loads(store.read_text()) if store.exists() else {}
    log = venvs.CACHE / "log.txt"
    log.write_text("")
    failed = 0
    sizes = {"quick": options.quick, "full": options.full}
    before = report.sections_of(page.read_text()) if page.exists() else {}
    with all_servers() as places:
        for name in chosen:
            load = os.getloadavg()[0]
            began = time.monotonic()
            results = play(scenarios[name], places, rounds=options.rounds, sizes=sizes, only=only, log=log)
            run = {
                "rounds": min(options.rounds, getattr(scenarios[name], "ROUNDS_AT_MOST", options.rounds)),
                "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "load": f"{load:.1f}",
            }
            kept[name] = {"run": run, "results": _to_json(results)}
            store.write_text(json.dumps(kept, indent=1))
            text = report.section(scenarios[name], results, run)
            print(text)
            print(f"({time.monotonic() - began:.0f} s)\n")
            failed += sum(r.reason.startswith("failed") for found in results.values() for r in found.values())
        sections = [
            report.section(module, _from_json(kept[name]["results"]), kept[name]["run"])
            if name in kept
            else before[name]
            for name, module in scenarios.items()
            if name in kept or name in before
        ]
        versions = report.versions_of(page.read_text()) if page.exists() else {}
        versions |= _versions(kept)
        page.write_text(report.page(sections, places, versions, cost_of_the_clock()))
    print(f"Written: {page}", file=sys.stderr)
    if failed:
        print(f"{failed} contestants failed; see {log}.", file=sys.stderr)
    return 1 if failed else 0


def _options(scenarios: dict[str, ModuleType]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help=f"scenarios, by commas, out of {', '.join(scenarios)}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant takes its turn (5)")
    parser.add_argument("--quick", action="store_true", help="few calls, to see that it runs")
    parser.add_argument("--full", action="store_true", help="the sizes of the aims: hours, and 30 GB of disk")
    parser.add_argument("--contestants", default="", help="only these, by commas")
    options = parser.parse_args()
    if unknown := [each for each in options.only.upper().split(",") if each and each not in scenarios]:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(scenarios)}")
    if unknown := [each for each in options.contestants.split(",") if each and each not in CONTESTANTS]:
        parser.error(f"no contestant {', '.join(unknown)}; there are {', '.join(CONTESTANTS)}")
    return options


def _scenarios() -> dict[str, ModuleType]:
    """Return the scenario modules, S before C before R before T before P, by number."""
    names = [found.name for found in pkgutil.iter_modules(benchmarks.__path__)]
    ours = sorted(
        (name for name in names if re.match(r"[scrtp]\d+_", name)), key=lambda n: ("scrtp".index(n[0]), n)
    )
    modules = (importlib.import_module(f"benchmarks.{name}") for name in ours)
    return {module.ID: module for module in modules}


def _versions(kept: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the versions of what the contestants that took part stand on, by environment."""
    found: dict[str, dict[str, str]] = {}
    played = {name for each in kept.values() for phase in each["results"].values() for name in phase}
    for name, entrant in CONTESTANTS.items():
        if name in played and entrant.packages:
            try:
                installed = venvs.versions_of(entrant.environment)
            except venvs.NotInstalled:
                continue
            for package in entrant.packages:
                found.setdefault(entrant.environment, {})[package] = installed.get(package.lower(), "?")
    return found


def _to_json(results: report.Results) -> dict[str, Any]:
    return {
        phase: {
            name: {"label": r.label, "reason": r.reason, "turns": [turn.as_dict() for turn in r.turns]}
            for name, r in found.items()
        }
        for phase, found in results.items()
    }


def _from_json(data: dict[str, Any]) -> report.Results:
    return {
        phase: {
            name: Result(name, r["label"], [Turn(**turn) for turn in r["turns"]], r["reason"])
            for name, r in found.items()
        }
        for phase, found in data.items()
    }


if __name__ == "__main__":
    sys.exit(main())
