"""The process in which one contestant plays: it obeys one line of JSON after the other.

``python -m benchmarks.runner CONTESTANT`` runs in the contestant's own environment. Each line read is an
order ``{"scenario": "s1", "do": "prepare" | "measure", ...}``; each line written is ``{"turn": ...}``,
``{"done": ...}``, ``{"no": reason}`` for what the contestant does not offer, or ``{"error": ...}``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

from benchmarks.contestants import NotOffered, contestant
from benchmarks.measure import Turn


def main(name: str) -> None:
    """Serve orders from standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    player: Any = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if player is None:
                player = contestant(name, order["places"])
            scenario = importlib.import_module(order["module"])
            result = getattr(scenario, order["do"])(player, order["options"])
            answer = {"turn": result.as_dict()} if isinstance(result, Turn) else {"done": result}
        except NotOffered as reason:
            answer = {"no": str(reason)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
