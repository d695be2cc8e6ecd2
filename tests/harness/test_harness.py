"""The harness itself: a test that relies on a piece of it relies on this."""

from __future__ import annotations

import os
import signal
import threading
import urllib.parse

import pytest
from django.db import DatabaseError, connection, transaction

from tests.harness.daemons import Daemon, Ended
from tests.harness.ledger import note, notes
from tests.harness.locks import backend_pid, wait_until_queued
from tests.harness.pgbouncer import pgbouncer
from tests.harness.points import say, stop_at, wait
from tests.harness.processes import ChildFailed, Crew, database_url_of
from tests.harness.proxy import Proxy
from tests.harness.wait import until
from tests.shop.models import Author


def count_authors(by: str = "") -> int:
    stop_at("ready")
    return Author.objects.filter(name__contains=by).count()


def note_from_threads(path: str, threads: int) -> None:
    def write(number: int) -> None:
        wait("go")
        note(path, f"{os.getpid()} {number}")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for writer in writers:
        writer.start()
    stop_at("ready")
    for writer in writers:
        writer.join()


def served_by() -> int:
    stop_at("ready")
    pid = backend_pid()
    stop_at("served")
    return pid


def rename_author(pk: int) -> None:
    with transaction.atomic():
        say("pid", backend_pid())
        Author.objects.select_for_update().get(pk=pk)


def fail() -> None:
    print("last words")
    raise LookupError("no such thing")


async def answer_later() -> str:
    stop_at("asked")
    return "here"


def go_on_saying() -> None:
    for number in range(1_000_000):
        stop_at(f"step {number}", number)


def one(connection_url: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        (value,) = cursor.fetchone()
    assert str(connection.settings_dict["PORT"]) in connection_url
    return int(value)


def test_a_child_sees_what_the_test_has_committed_and_returns_its_result(crew: Crew) -> None:
    Author.objects.create(name="Ada")
    Author.objects.create(name="Bea")
    child = crew.spawn(count_authors, by="a")
    child.wait_for("ready")
    Author.objects.create(name="Eva")
    child.go("ready")
    assert child.result() == 3


def test_a_barrier_lets_all_threads_of_all_children_go(crew: Crew, tmp_path) -> None:
    path = str(tmp_path / "ledger")
    children = [crew.spawn(note_from_threads, path, 4) for _ in range(2)]
    for child in children:
        child.wait_for("ready")
    assert notes(path) == []
    for child in children:
        child.go("ready")
        child.go("go")
        child.result()
    assert len(set(notes(path))) == 8


def test_a_childs_error_reaches_the_test_with_its_output(crew: Crew) -> None:
    child = crew.spawn(fail)
    with pytest.raises(ChildFailed, match="last words") as raised:
        child.result()
    assert (raised.value.type, raised.value.text) == ("LookupError", "no such thing")
    with pytest.raises(ChildFailed):
        child.wait_for("anything")


def test_a_killed_child_ends_the_wait_for_it(crew: Crew) -> None:
    child = crew.spawn(count_authors)
    child.wait_for("ready")
    child.kill()
    with pytest.raises(Ended):
        child.result()
    assert not child.alive


def test_a_paused_child_does_nothing_until_it_is_resumed(crew: Crew) -> None:
    child = crew.spawn(go_on_saying)
    child.wait_for("step 0")
    for step in (0, 1):  # twice: the second pause must not take the first one's news for its own
        child.pause()
        child.go(f"step {step}")
        with pytest.raises(AssertionError, match="did not come"):
            child.wait_for(f"step {step + 1}", limit=0.2)
        child.resume()
        assert child.wait_for(f"step {step + 1}") == step + 1


def test_a_coroutine_function_runs_to_its_end(crew: Crew) -> None:
    child = crew.spawn(answer_later)
    child.wait_for("asked")
    child.go("asked")
    assert child.result() == "here"


def test_a_function_that_no_process_could_find_is_refused(crew: Crew) -> None:
    with pytest.raises(ValueError, match="top level"):
        crew.spawn(lambda: None)


def test_a_management_command_runs_on_the_tests_database(crew: Crew) -> None:
    command = crew.manage(
        "shell", "-v0", "-c", "from tests.shop.models import *; print(Author.objects.count())"
    )
    Author.objects.create(name="Ada")
    assert command.wait() == 0, command.output
    assert command.output in ("0", "1")


def test_a_session_that_queues_for_a_lock_is_seen(crew: Crew) -> None:
    author = Author.objects.create(name="Ada")
    with transaction.atomic():
        Author.objects.select_for_update().get(pk=author.pk)
        child = crew.spawn(rename_author, author.pk)
        pid = child.wait_for("pid")
        assert wait_until_queued(pids=[pid], blocked_by=backend_pid()) == [pid]
        with pytest.raises(AssertionError, match="in vain for 2 sessions"):
            wait_until_queued(2, limit=0.1)
    child.result()


@pytest.mark.needs_pgbouncer
def test_clients_share_few_server_connections_behind_pgbouncer(crew: Crew) -> None:
    with pgbouncer(database_url_of("default"), servers=2) as pooler:
        behind = {"DATABASE_URL": pooler.url, "KCK_TEST_POOLED": "1"}
        children = [crew.spawn(served_by, env=behind) for _ in range(4)]
        crew.barrier(children)
        for child in children:
            child.wait_for("served")  # all four are connected at once
        for child in children:
            child.go("served")
        assert 1 <= len({child.result() for child in children}) <= 2


@pytest.mark.needs_redis
def test_a_redis_server_answers(redis_url: str) -> None:
    import socket

    port = urllib.parse.urlsplit(redis_url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"


def test_a_child_reaches_the_database_through_the_proxy(crew: Crew, proxy: Proxy) -> None:
    child = crew.spawn(one, proxy.url, env={"DATABASE_URL": proxy.url})
    assert child.result() == 1
    assert proxy.accepted == 1
    until(lambda: proxy.open == 0, "the proxy to close with its client")


def test_the_proxy_hangs_cuts_refuses_and_heals(transactional_db, proxy: Proxy) -> None:
    other = connection.copy()
    other.settings_dict = {**connection.settings_dict, "PORT": proxy.port}

    def ask() -> int:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()[0]

    assert ask() == 1

    proxy.hang()
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(ask()))
    other.inc_thread_sharing()
    asking.start()
    asking.join(0.2)
    assert asking.is_alive()
    proxy.heal()
    asking.join(10)
    assert answers == [1]

    proxy.cut()
    with pytest.raises(DatabaseError):
        ask()
    other.close()
    assert ask() == 1

    proxy.refuse()
    with pytest.raises(DatabaseError):
        ask()
    other.close()
    with pytest.raises(DatabaseError, match="refused"):
        ask()
    other.close()
    proxy.heal()
    assert ask() == 1
    other.close()


def test_a_server_of_ones_own_survives_a_crash(own_server) -> None:
    with Crew(own_server.url) as crew:
        made = crew.manage(
            "shell", "-v0", "-c", "from tests.shop.models import *; Author.objects.create(name='A')"
        )
        assert made.wait() == 0, made.output
        port, pid = own_server.port, own_server.pid
        own_server.crash()
        down = crew.spawn(count_authors)
        down.go("ready")
        with pytest.raises(ChildFailed, match="OperationalError"):
            down.result()
        own_server.start()
        assert (own_server.port, own_server.pid != pid) == (port, True)
        up = crew.spawn(count_authors)
        up.go("ready")
        assert up.result() == 1


def test_a_daemon_is_waited_for_line_by_line() -> None:
    daemon = Daemon(["sh", "-c", "echo one; echo two; exec sleep 60"])
    try:
        assert daemon.wait_for("o(n)e").group(1) == "n"
        daemon.wait_for("two")
        with pytest.raises(AssertionError, match="did not say 'three'"):
            daemon.wait_for("three", limit=0.05)
        assert daemon.stop() == -signal.SIGTERM
        with pytest.raises(Ended):
            daemon.wait_for("three")
    finally:
        daemon.kill()


def test_a_url_survives_the_way_through_the_settings(transactional_db) -> None:
    from tests.settings import database

    again = database(database_url_of("default"))
    assert {
        name: str(connection.settings_dict[name]) for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")
    } == {name: again[name] for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")}
