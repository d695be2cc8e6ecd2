"""What every test may use; and at the end, what this machine could not test and how to add it."""

from __future__ import annotations

import pytest

from tests.harness import tools


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose tool is missing here; fail it in CI, where nothing may be left out."""
    for marker in item.iter_markers():
        if (tool := tools.BY_MARKER.get(marker.name)) is not None:
            tool.need()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End by printing what was left out, so that a green run does not claim more than it has seen."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)]
    missing = {tool: sum(tool.told in reason for reason in reasons) for tool in tools.ALL}
    if any(missing.values()):
        terminalreporter.section("left out on this machine", yellow=True)
        for tool, count in missing.items():
            if count:
                terminalreporter.line(f"{count:4} tests need {tool.name:12} add it with: {tool.how}")
