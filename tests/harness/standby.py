"""A hot standby of a test's server: a base backup that follows it by streaming, and can be read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import postgres
from tests.harness.daemons import NOBODY

# A read is never cancelled by what is replayed, and what it needs is not vacuumed away on the primary.
FOLLOWING = {"max_standby_streaming_delay": -1, "hot_standby_feedback": "on"}


@contextlib.contextmanager
def standby(primary: postgres.Server, **options: str | int) -> Iterator[postgres.Server]:
    """Run a standby of a server while the block lasts.

    Args:
        primary: The server that it follows; its users and databases are the standby's.
        options: Settings of postgresql.conf. A standby must allow for as much as its primary does.
    """
    folder = Path(tempfile.mkdtemp(prefix="kck_flow_standby_")).resolve()
    folder.chmod(0o711)
    try:
        cluster = folder / "cluster"
        # -R writes standby.signal and primary_conninfo; the backup itself is streamed as well.
        command = ["-D", str(cluster), "-d", primary.url, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        done = subprocess.run(
            [postgres.binaries() / "pg_basebackup", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        if os.geteuid() == 0:
            for path in (cluster, *cluster.rglob("*")):
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        password = json.loads((primary.data_dir / "state.json").read_text())["password"]
        (folder / "state.json").write_text(json.dumps({"password": password, "port": 0, "kept": False}))
        with postgres.server(folder, options={"fsync": "off", **FOLLOWING, **options}) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
