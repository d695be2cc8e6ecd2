"""Lets contestants play in turn, round after round: A B C, A B C, …, so that noise falls on all alike."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from benchmarks import venvs
from benchmarks.contestants import CONTESTANTS, Entrant
from benchmarks.measure import Turn

ANSWER_SECONDS = 600.0


@dataclass
class Result:
    """What a contestant did over all rounds; ``reason`` instead, if it could not take part."""

    name: str
    label: str
    turns: list[Turn] = field(default_factory=list)
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.turns)

    @property
    def median_us(self) -> float:
        """The smallest of the rounds' medians."""
        return min(turn.median_us for turn in self.turns)

    @property
    def p99_us(self) -> float:
        """The median of the rounds' 99th percentiles."""
        return median(turn.p99_us for turn in self.turns)

    @property
    def p999_us(self) -> float:
        """The median of the rounds' 99.9th percentiles."""
        return median(turn.p999_us for turn in self.turns)

    @property
    def slowest_us(self) -> float:
        """The median of the rounds' slowest."""
        return median(turn.slowest_us for turn in self.turns)

    @property
    def client_cpu_us(self) -> float:
        """CPU of the client for one operation, in the round that needed least in all."""
        return self._leanest.client_cpu_us

    @property
    def server_cpu_us(self) -> float:
        """CPU of the servers for one operation, in the same round."""
        return self._leanest.server_cpu_us

    @property
    def cpu_us(self) -> float:
        """CPU of both for one operation, in the same round."""
        return self._leanest.cpu_us

    @property
    def _leanest(self) -> Turn:
        return min(self.turns, key=lambda turn: turn.cpu_us)

    def count(self, name: str) -> float:
        """The median over the rounds of something that was counted."""
        return median(turn.counts[name] for turn in self.turns)

    def least(self, name: str) -> float:
        """The smallest over the rounds of something that was counted."""
        return min(turn.counts[name] for turn in self.turns)

    def most(self, name: str) -> float:
        """The largest over the rounds of something that was counted."""
        return max(turn.counts[name] for turn in self.turns)


class Player:
    """The process in which one contestant plays."""

    def __init__(self, name: str, entrant: Entrant, places: dict[str, Any], log: Path) -> None:
        python = venvs.python_of(entrant.environment)
        self.places = places
        self.log = log.open("a")
        self.process = subprocess.Popen(
            [str(python), "-m", "benchmarks.runner", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            cwd=venvs.ROOT,
            env={**_plain_environment(), "PYTHONPATH": str(venvs.ROOT)},
            text=True,
            bufsize=1,
        )

    def ask(self, module: str, do: str, options: dict[str, Any]) -> dict[str, Any]:
        """Send one order and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"module": module, "do": do, "options": options, "places": self.places}
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_SECONDS)
            line = self.process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"its process said nothing for {ANSWER_SECONDS:.0f} s, or ended"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.wait()
        self.log.close()


def play(
    scenario: ModuleType,
    places: dict[str, Any],
    *,
    rounds: int,
    sizes: dict[str, bool],
    only: set[str],
    log: Path,
) -> dict[str, dict[str, Result]]:
    """Play one scenario and return its results: phase -> contestant's name -> result.

    ``sizes`` says whether it is "quick" or "full", or neither. Each phase has processes and stores of its
    own, so that phases take turns as contestants do.
    """
    names = [name for name in scenario.CONTESTANTS if not only or name in only]
    rounds = min(rounds, getattr(scenario, "ROUNDS_AT_MOST", rounds))
    phases: tuple[str, ...] = getattr(scenario, "PHASES", ("",))
    results = {phase: {name: Result(name, CONTESTANTS[name].label) for name in names} for phase in phases}
    players: dict[tuple[str, str], Player] = {}
    try:
        for (place, phase), name in product(enumerate(phases), names):
            _say(f"{scenario.ID} {phase} prepares {name}")
            result = results[phase][name]
            try:
                player = players[phase, name] = _enter(name, {**places, "phase": place}, log)
            except Absent as reason:
                result.reason = str(reason)
            else:
                options = {"phase": phase, **sizes, "round": -1, "folder": places["folder"]}
                _note(result, player.ask(scenario.__name__, "prepare", options))
        for number in range(rounds):
            for (phase, name), player in players.items():
                result = results[phase][name]
                if not result.reason:
                    _say(f"{scenario.ID} {phase} round {number + 1}/{rounds} {name}")
                    options = {"phase": phase, **sizes, "round": number, "folder": places["folder"]}
                    _note(result, player.ask(scenario.__name__, "measure", options))
    finally:
        for player in players.values():
            player.close()
        _say("")
    return results


class Absent(Exception):
    """A contestant that cannot take part."""


def _enter(name: str, places: dict[str, Any], log: Path) -> Player:
    entrant = CONTESTANTS[name]
    for server in entrant.servers:
        if "missing" in places[server]:
            raise Absent(f"no {server}: {places[server]['missing']}")
    try:
        return Player(name, entrant, places, log)
    except venvs.NotInstalled as reason:
        raise Absent(f"cannot be installed: {reason}") from reason


def _note(result: Result, answer: dict[str, Any]) -> None:
    if "turn" in answer:
        result.turns.append(Turn(**answer["turn"]))
    elif "no" in answer:
        result.reason = answer["no"]
    elif "error" in answer:
        result.reason = "failed: " + answer["error"]
        result.turns.clear()


def _plain_environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
