"""Keep the schema of a version, with something of each kind in it: what upgrades are tested from.

python tools/schema_fixture.py v0.3 COMMIT   writes tests/upgrades/v0.3.sql.gz

Run it at the end of each part, with the commit that ends it. Its code makes the tables and lives in them, in the small
project of tests/upgrades; what it left is dumped as SQL.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import postgres

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "tests" / "upgrades"


def main(name: str, commit: str) -> int:
    """Write the fixture of a version."""
    with tempfile.TemporaryDirectory(prefix="kck_flow_version_") as folder, postgres.server() as server:
        code = Path(folder) / "code"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", code, commit], cwd=ROOT, check=True)
        try:
            # The project is today's, the package of then.
            shutil.rmtree(code / "tests")
            (code / "tests").mkdir()
            (code / "tests" / "__init__.py").touch()
            shutil.copytree(HERE, code / "tests" / "upgrades")
            env = {
                **os.environ,
                "DATABASE_URL": server.url,
                "DJANGO_SETTINGS_MODULE": "tests.upgrades.settings",
                "PYTHONPATH": str(code),
            }
            for command in (
                ["-m", "django", "migrate", "--run-syncdb", "-v0"],
                ["-m", "tests.upgrades.life", "live"],
            ):
                subprocess.run([sys.executable, *command], cwd=code, env=env, check=True)
            dump = [str(postgres.binaries() / "pg_dump"), "--no-owner", "--no-privileges", server.url]
            text = subprocess.run(dump, capture_output=True, check=True).stdout
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", code], cwd=ROOT, check=True)
    path = HERE / f"{name}.sql.gz"
    path.write_bytes(gzip.compress(text, mtime=0))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
