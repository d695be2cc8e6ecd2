"""What the documentation shows works: every snippet is run, every link leads somewhere, every list is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.snippets import PAGES, ROOT, blocks, sitting

# A tutorial makes a project of its own; test_tutorial.py follows it.
TUTORIALS = sorted((ROOT / "docs").glob("tutorial*.md"))
WITH_CODE = [page for page in PAGES if page not in TUTORIALS and blocks(page)]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.once("newest")
@pytest.mark.parametrize("page", WITH_CODE, ids=_name)
def test_every_snippet_of_a_page_runs(page: Path, transactional_db: None, tmp_path: Path) -> None:
    with sitting(tmp_path) as reader:
        for block in blocks(page):
            try:
                reader.run(block)
            except Exception as error:
                error.add_note(f"in the snippet at {block.where}")
                raise
