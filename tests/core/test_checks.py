"""What is declared wrongly is told before the first request (features 2, 3, 86, 227; the settings)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.core import checks
from django.core.checks import Error

from kck_flow import (
    Cache,
    ChoiceParameter,
    DateTimeParameter,
    IntegerParameter,
    ModelParameter,
    On,
    Primer,
    StringParameter,
    cached,
    every,
    scheduled,
)
from kck_flow.codec import SignedPickle
from kck_flow.conf import SETTINGS, conf
from kck_flow.errors import DeclarationError
from kck_flow.primer import where
from kck_flow.registry import Registry, registry
from kck_flow.store import workers
from kck_flow.store.session import caller
from tests.core.conftest import Declared
from tests.harness.daemons import ROOT
from tests.shop.models import Author, Book, Order


def told() -> list[Error]:
    return [message for message in checks.run_checks(tags=["kck"]) if isinstance(message, Error)]


@pytest.fixture
def wrongly() -> Iterator[Callable[..., list[Error]]]:
    """Declare a primer with these attributes; returns what the checks say of it."""
    made: list[type[Primer]] = []

    def declare(name: str = "wrong", **body: Any) -> list[Error]:
        class Wrong(Primer):
            key_base = name

            def compute(self, key: Any) -> Any:
                return 1

            locals().update(body)

        made.append(Wrong)
        registry.register(Wrong)
        return told()

    yield declare
    for one in made:
        registry.withdraw(one)
    registry.broken[:] = [one for one in registry.broken if one.declared not in made]


def test_what_the_suite_declares_is_right() -> None:
    assert told() == []


MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no name": ({"key_base": "a/b"}, "E003", "key_base 'a/b' is no name"),
    "a name that is no text": ({"key_base": 5}, "E003", "key_base 5 is no name"),
    "no compute": ({"compute": Primer.compute}, "E003", "no compute(self, key)"),
    "a compute that takes no key": ({"compute": lambda self: 1}, "E003", "compute takes (self)"),
    "an augment that takes too little": (
        {"augment": lambda self, key, changes: 1},
        "E003",
        "augment takes (self, key, changes)",
    ),
    "a parameter outside of a list": ({"parameters": IntegerParameter("n")}, "E003", "parameters is"),
    "parameters without an order": ({"parameters": {IntegerParameter("n")}}, "E003", "parameters is {"),
    "parameters that come once": (
        {"parameters": (IntegerParameter(name) for name in "ab")},
        "E003",
        "parameters is <generator",
    ),
    "two parameters of one name": (
        {"parameters": [IntegerParameter("n"), StringParameter("n")]},
        "E003",
        "Two parameters are named 'n'",
    ),
    "a parameter misspelt": ({"parameters": [{"nmae": "n"}]}, "E003", "not understood"),
    "a required parameter after an optional one": (
        {"parameters": [IntegerParameter("a", default=1), IntegerParameter("b")]},
        "E003",
        "'b' has no default but follows",
    ),
    "seconds for a duration": ({"soft_expire": 300}, "E003", "soft_expire is 300"),
    "a negative duration": ({"backoff": -timedelta(1)}, "E003", "backoff is"),
    "soft after hard": (
        {"soft_expire": timedelta(2), "hard_expire": timedelta(1)},
        "E003",
        "later than hard_expire",
    ),
    "a version of nothing": ({"version": 0}, "E003", "version is 0"),
    "a share above one": ({"jitter": 2}, "E003", "jitter is 2"),
    "a policy that is none": ({"hook_errors": "ignore"}, "E003", "hook_errors is 'ignore'"),
    "a bound of nothing": ({"max_concurrency": 0}, "E003", "max_concurrency is 0"),
    "a schedule that is none": ({"schedule": "now and then"}, "E003", "schedule:"),
    "a schedule without a domain": (
        {"schedule": every(hours=1), "parameters": [IntegerParameter("n")]},
        "E003",
        "no domain",
    ),
    "always fresh on a schedule": (
        {"schedule": every(hours=1), "always_fresh": True},
        "E003",
        "always_fresh",
    ),
    "an edge outside of a list": ({"depends_on": On(Author)}, "E003", "depends_on is"),
    "an edge that is none": ({"depends_on": ["shop.Author"]}, "E003", "depends_on is"),
    "augment without augment": ({"depends_on": [On(Author, then="augment")]}, "E003", "there is no augment"),
    "one column for two parameters": (
        {
            "parameters": [IntegerParameter("a"), IntegerParameter("b")],
            "depends_on": [On(Order, key="customer_id")],
        },
        "E003",
        "fits one parameter and there are 2",
    ),
    "a mapping to no parameter": (
        {"parameters": [IntegerParameter("a")], "depends_on": [On(Order, key={"x": "customer_id"})]},
        "E003",
        "'x', which is no parameter",
    ),
    "a source that is not there": ({"depends_on": [On("book_cuont")]}, "E005", "Did you mean 'book_count'"),
    "a model that is not there": ({"depends_on": [On("shop.Auhtor")]}, "E005", "no model 'shop.Auhtor'"),
    "a primer without a name": (
        {"depends_on": [On(type("Nameless", (Primer,), {}))]},
        "E005",
        "Nameless has no key_base",
    ),
    "the relation for its column": (
        {"parameters": [IntegerParameter("c")], "depends_on": [On(Order, key="customer")]},
        "E007",
        "the column 'customer'",
    ),
    "a field that is not there": ({"depends_on": [On(Book, fields=["prize"])]}, "E007", "the field 'prize'"),
    "an upstream's parameter that is not there": (
        {"parameters": [IntegerParameter("n")], "depends_on": [On("first_data_product", key="number")]},
        "E007",
        "has no such parameter",
    ),
    "a database that is none of ours": ({"database": "archive"}, "E009", "database is 'archive'"),
    "names outside of a list": ({"key_bases": "abc"}, "E003", "key_bases is 'abc'"),
    "names that are none": ({"key_bases": 5}, "E003", "key_base 5 is no name"),
    "two names in two places": ({"key": "other"}, "E003", "key is 'other' and key_base 'wrong'"),
    "a parameter with a function's name": (
        {"parameters": [{"name": "n", "from_str": "int"}]},
        "E003",
        "from_str of parameter 'n' must be a function",
    ),
    "a default of the wrong type": (
        {"parameters": [{"name": "n", "from_str": int, "default": "x"}]},
        "E003",
        "Parameter 'n': its default must be an int, not 'x'",
    ),
    "a parameter that build_key has itself": (
        {"parameters": [IntegerParameter("key_base")]},
        "E003",
        "a parameter is named 'key_base'",
    ),
    "a parameter of no model": (
        {"parameters": [ModelParameter("a", "shop.Auhtor")]},
        "E003",
        "names the model 'shop.Auhtor', and there is none",
    ),
    "a parameter of a class that is no model": (
        {"parameters": [ModelParameter("a", Primer)]},  # type: ignore[arg-type]
        "E003",
        "which is no model",
    ),
    "a compute that is none": ({"compute": 5}, "E003", "compute is 5"),
    "an augment that lacks an argument": (
        {"depends_on": [On(Author, then="augment")], "augment": lambda self, key, value: value},
        "E003",
        "augment takes (self, key, value)",
    ),
    "a hook that lacks an argument": (
        {"post_set": lambda self, key: None},
        "E003",
        "post_set takes (self, key)",
    ),
    "an __init__ that forgets its base": (
        {"__init__": lambda self: None},
        "E003",
        "its __init__ does not call super().__init__()",
    ),
    "a thousand years": ({"hard_expire": timedelta(days=365_000)}, "E003", "hard_expire is"),
    "a version too large": ({"version": 2**31}, "E003", "version is 2147483648"),
    "a lane that no worker serves": ({"priority": 10}, "E003", "priority is 10"),
    "text for a switch": ({"keep_history": "no"}, "E003", "keep_history is 'no'"),
    "a codec by its name": ({"codec": "json"}, "E003", "codec is 'json'"),
    "a codec's class": ({"codec": SignedPickle}, "E003", "codec is <class"),
    "columns outside of a list": ({"columns": "name"}, "E003", "columns is 'name'"),
    "a list of databases": ({"database": ["default"]}, "E003", "database is ['default']"),
    "an interval of nothing": ({"schedule": timedelta(0)}, "E003", "longer than zero"),
    "a schedule of nothing": ({"schedule": ""}, "E003", "'' is not a schedule"),
    "a domain that is none": ({"domain": 5}, "E003", "domain is 5"),
    "a domain that comes once": ({"domain": (n for n in range(3))}, "E003", "domain is <generator"),
    "a domain that wants an argument": (
        {"domain": lambda self, now: []},
        "E003",
        "domain cannot be called without arguments",
    ),
    "a mapping that takes no change": (
        {"parameters": [IntegerParameter("a")], "depends_on": [On(Order, key=lambda: 1)]},  # type: ignore[arg-type,misc]
        "E003",
        "key cannot be called with a change",
    ),
    "a domain of wrong keys": (
        {"parameters": [IntegerParameter("n")], "domain": [1, "x"]},
        "E003",
        "n must be an int, not 'x'",
    ),
    "a domain that no product holds": (
        {"domain": "no_such_list"},
        "E005",
        "No primer is named 'no_such_list'",
    ),
    "a mapping that leaves one out": (
        {
            "parameters": [IntegerParameter("a"), IntegerParameter("b")],
            "depends_on": [On(Order, key={"a": "customer_id"})],
        },
        "E003",
        "key does not say where 'b' comes from",
    ),
    "a mapping that is a list": (
        {"parameters": [IntegerParameter("a")], "depends_on": [On(Order, key=["customer_id"])]},  # type: ignore[arg-type]
        "E003",
        "key is ['customer_id']",
    ),
    "a model of no table": ({"depends_on": [On(AbstractUser)]}, "E005", "AbstractUser is abstract"),
    "a primer that nobody registered": (
        {"depends_on": [On(type("Borrowed", (Primer,), {"key_base": "borrowed"}))]},
        "E005",
        "Borrowed is not registered",
    ),
    "a circle of one": ({"depends_on": [On("wrong")]}, "E006", "wrong → wrong"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_seeded_mistake_is_told_with_id_place_and_what_to_do(
    wrongly: Callable[..., list[Error]], mistake: str
) -> None:
    body, number, says = MISTAKES[mistake]
    found = wrongly(**body)
    (error,) = [one for one in found if says in one.msg] or pytest.fail(f"told was: {found}")
    assert error.id == f"kck_flow.{number}"
    assert error.hint
    assert f"{__file__}:" in error.msg, "file and line"
    assert error.msg.endswith(".")
    assert found == [error], "one mistake is told once"


def test_an_attribute_that_is_nearly_one_is_warned_of(wrongly: Callable[..., list[Error]]) -> None:
    wrongly(soft_expires=timedelta(1), hard_expire_seconds=60, tz="Europe/Paris", unit_price=3)
    warning, other = checks.run_checks(tags=["kck"])
    assert "Did you mean 'hard_expire'?" in other.msg
    assert warning.id == "kck_flow.W001"
    assert "no attribute 'soft_expires'. Did you mean 'soft_expire'?" in warning.msg
    assert f"{__file__}:" in warning.msg


def test_a_message_names_its_primer_once(wrongly: Callable[..., list[Error]]) -> None:
    (error,) = wrongly(soft_expire=300)
    assert str(error).count("Wrong") == 1
    assert str(error).count(__file__) == 1


def _told_before_deployment() -> dict[str, str]:
    told = checks.run_checks(tags=["kck"], include_deployment_checks=True)
    return {str(one.id): str(one.hint) for one in told if str(one.id) > "kck_flow.W005"}


@pytest.mark.django_db
def test_before_a_deployment_two_things_are_told_that_nobody_decided(
    settings: Any, declare: Declared
) -> None:
    declare("a_product", 1)
    settings.KCK_FLOW = {}
    found = _told_before_deployment()
    assert list(found) == ["kck_flow.W006", "kck_flow.W007"]
    for hint in found.values():
        told = [word.strip(".:") for word in hint.split() if word.startswith("docs/")]
        assert told
        assert (ROOT / told[0]).is_file(), "it leads to the page that helps"
    workers.register(
        caller("default"),
        host="here",
        pid=1,
        version="",
        lanes=[],
        products=None,
        executor="own",
        concurrency=1,
        mode="",
    )
    assert list(_told_before_deployment()) == ["kck_flow.W007"]
    settings.KCK_FLOW = {"RUN_RETENTION_DAYS": 30}
    assert _told_before_deployment() == {}
    assert not [one for one in checks.run_checks(tags=["kck"]) if str(one.id) > "kck_flow.W005"]


@pytest.mark.parametrize("source", ["first_data_product", Order])
def test_to_be_augmented_from_another_database_is_told(
    wrongly: Callable[..., list[Error]], settings: Any, source: Any
) -> None:
    settings.KCK_FLOW = {"DATABASES": ["default", "elsewhere"]}
    (error,) = wrongly(
        database="elsewhere",
        depends_on=[On(source, then="augment")],
        augment=lambda self, key, value, changes: value,
    )
    assert error.id == "kck_flow.E009"
    assert "it is augmented from 2 databases: default, elsewhere." in error.msg
    assert "augment from one database" in str(error.hint)


def test_a_wrong_primer_does_not_stop_the_others(wrongly: Callable[..., list[Error]], db: None) -> None:
    for mistake in ("an edge outside of a list", "a source that is not there", "a parameter misspelt"):
        wrongly(f"wrong_{len(mistake)}", **MISTAKES[mistake][0])
    assert Cache.get_instance().get("book_count") == 0
    Book.objects.create(author=Author.objects.create(name="a"), title="t")
    assert Cache.get_instance().get("book_count") == 1


def test_an_edge_declared_wrongly_is_refused_where_it_stands() -> None:
    for wrong in ({"then": "stael"}, {"fields": "name"}):
        with pytest.raises(ValueError, match="On"):
            On(Author, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declare_it", "says"),
    [
        (lambda: IntegerParameter("n", default="x"), "Parameter 'n': its default must be an int, not 'x'"),
        (
            lambda: ChoiceParameter("c", ["a", "b"], default="z"),
            "Parameter 'c': its default must be one of a, b",
        ),
        (lambda: ChoiceParameter("c", [1, "1"]), "Two choices of parameter 'c' are spelled '1'"),
        (lambda: ChoiceParameter("c", "ab"), "choices of parameter 'c' are a list"),
        (lambda: ChoiceParameter("c", 5), "choices of parameter 'c' are a list or an enum class, not 5"),
        (lambda: DateTimeParameter("d", tz="Mars/Olympus"), "tz of parameter 'd' must be a time zone"),
        (
            lambda: ModelParameter("m", 5),
            "The model of parameter 'm' is a class or 'app_label.ModelName', not 5",
        ),
        (
            lambda: cached("c", soft_expre=timedelta(1))(lambda: 1),
            "no attribute 'soft_expre'.*Did you mean 'soft_expire'",
        ),
        (lambda: cached("c", compute=1)(lambda: 1), "'compute' is said by the function itself"),
        (lambda: scheduled(every(hours=1), retry=1)(lambda: 1), "no attribute 'retry'"),
        (lambda: scheduled(every(hours=1))(lambda n: n), "called without arguments"),
    ],
)
def test_what_is_wrong_by_itself_is_refused_where_it_is_written(
    declare_it: Callable[[], Any], says: str
) -> None:
    before = dict(registry.primers)
    with pytest.raises(DeclarationError, match=says):
        declare_it()
    assert registry.primers == before


def test_two_primers_of_one_name_are_both_told(wrongly: Callable[..., list[Error]]) -> None:
    wrongly("twin")
    (error,) = wrongly("twin")
    assert error.id == "kck_flow.E002"
    assert error.msg.count(f"{__file__}:") == 2
    assert "Rename one of them" in (error.hint or "")
    (error,) = wrongly("book_count")[1:] or wrongly("book_count")[:1]
    assert "Two primers are named" in error.msg


def test_a_circle_is_told_with_its_path_and_where_each_is_declared(
    wrongly: Callable[..., list[Error]],
) -> None:
    wrongly("one", depends_on=[On("two")])
    wrongly("two", depends_on=[On("three")])
    found = wrongly("three", depends_on=[On("one")])
    (error,) = [one for one in found if one.id == "kck_flow.E006"]
    assert "one → three → two → one" in error.msg
    assert error.msg.count(f"{__file__}:") == 3
    assert found == [error]


def test_a_function_is_told_by_its_own_place() -> None:
    @cached("wrong cached name")
    def answer() -> int:
        return 42

    try:
        (error,) = told()
        line = answer.uncached.__code__.co_firstlineno
        assert f"{__file__}:{line}" in error.msg
    finally:
        registry.withdraw(type(answer.primer))

    @scheduled(every(hours=1), retries=-1, priority=10)
    def tidy() -> None: ...

    try:
        places, retries = told()
        assert "priority is 10" in places.msg
        assert "from 0 to 9" in places.hint
        assert "retries is -1" in retries.msg
        assert f"{__file__}:" in retries.msg
    finally:
        registry.withdraw(type(registry.primers[tidy.action]))


# -- settings


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"WIAT": 5}, "KCK_FLOW has no setting 'WIAT'. Did you mean 'WAIT'?"),
        ({"COLOUR": 1}, "There are: "),
        ([("WAIT", 5)], "KCK_FLOW must be a dict, not list"),
        ({"WAIT": "5"}, "KCK_FLOW['WAIT'] must be int or float, not '5'"),
        ({"WAIT": True}, "must be int or float, not True"),
        ({"WAIT": -1}, "must not be negative, and is -1"),
        ({"LEASE_SECONDS": 0}, "must be above 0, not 0"),
        ({"POOL_THREADS": 2.5}, "must be int, not 2.5"),
        ({"REFRESH_IN_PROCESS": "sometimes"}, "must be one of ('auto', True, False)"),
        ({"DATABASES": ["default", "archive"]}, "names ['archive']"),
        ({"DATABASES": []}, "names nothing"),
        ({"DATABASES": [["default"]]}, "names [['default']]"),
        ({"DATABASES": ["default", "default"]}, "names a database twice"),
        ({"ALLOW_PICKLE": 1}, "must be bool, not 1"),
        (5, "KCK_FLOW must be a dict, not int"),
        ({"DATABASES": 5}, "must be list or tuple, not 5"),
        ({"WAIT": float("nan")}, "must be between 0.001 and 2,000,000, not nan"),
        ({"WAIT": float("inf")}, "must be between 0.001 and 2,000,000, not inf"),
        ({"STATEMENT_TIMEOUT": 10**8}, "must be between 0.001 and 2,000,000"),
        ({"CLAIM_TIMEOUT": 0.0001}, "must be between 0.001 and 2,000,000"),  # 0 ms would be no timeout
        ({"PENDING_FOLD": -1}, "must not be negative, and is -1"),
    ],
)
def test_a_wrong_setting_is_told_with_what_was_expected(settings: Any, given: Any, says: str) -> None:
    settings.KCK_FLOW = given
    (error,) = told()
    assert error.id == "kck_flow.E004"
    assert says in error.msg
    assert error.hint


def test_every_setting_obeys_override_and_has_a_default_of_its_kind(settings: Any) -> None:
    for name, setting in SETTINGS.items():
        assert isinstance(setting.default, setting.kinds)
        assert setting.text.endswith(".")
        settings.KCK_FLOW = {}
        assert getattr(conf, name) == setting.default
    settings.KCK_FLOW = {"WAIT": 3}
    assert conf.WAIT == 3
    settings.KCK_FLOW = None
    assert SETTINGS["WAIT"].default == conf.WAIT
    with pytest.raises(AttributeError, match="Did you mean 'WAIT'"):
        conf.WIAT  # noqa: B018


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_another_database_than_postgresql_is_told(settings: Any) -> None:
    settings.DATABASES = {**settings.DATABASES, "lite": {"ENGINE": "django.db.backends.sqlite3"}}
    settings.KCK_FLOW = {"DATABASES": ["lite"]}
    (error,) = [one for one in told() if one.id == "kck_flow.E008"]
    assert "'lite' uses django.db.backends.sqlite3" in error.msg


# -- manage.py check, as a developer sees it


def check(tmp_path: Path, apps: dict[str, str], *, more: str = "") -> subprocess.CompletedProcess[str]:
    """Run `manage.py check` in a project with these apps (name to the text of its primers.py) and settings."""
    for name, text in apps.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "primers.py").write_text(text)
    (tmp_path / "its_settings.py").write_text(
        f"from tests.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, {', '.join(map(repr, apps))}]\n{more}"
    )
    return subprocess.run(
        [sys.executable, "-m", "django", "check", "--tag", "kck"],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "its_settings",
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


GOOD = """
from kck_flow import Primer
class Good(Primer):
    key_base = "good"
    def compute(self, key):
        return 1
"""


def test_a_module_that_imports_what_is_missing_fails_the_check_by_name_and_line(tmp_path: Path) -> None:
    ran = check(
        tmp_path, {"good_app": GOOD, "broken_app": "import os\nimport no_such_module\n", "typo": "def x(:\n"}
    )
    assert ran.returncode == 1
    assert "kck_flow.E001" in ran.stderr
    assert (
        "broken_app.primers cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"
        in ran.stderr
    )
    assert f"{tmp_path / 'broken_app' / 'primers.py'}:2" in ran.stderr
    assert "typo.primers cannot be imported: SyntaxError" in ran.stderr
    assert f"{tmp_path / 'typo' / 'primers.py'}:1" in ran.stderr
    assert "HINT" in ran.stderr
    assert "2 issues" in ran.stderr


def test_a_module_that_exits_is_told_like_any_other_that_is_broken(tmp_path: Path) -> None:
    ran = check(tmp_path, {"leaving": "import sys\nsys.exit(3)\n"})
    assert ran.returncode == 1
    assert "leaving.primers cannot be imported: SystemExit: 3" in ran.stderr
    assert f"{tmp_path / 'leaving' / 'primers.py'}:2" in ran.stderr


@pytest.mark.parametrize(
    ("more", "line", "says"),
    [
        ("KCK_FLOW = {\n    'WAIT': 5,\n    'WIAT': 5,\n}\n", 5, "no setting 'WIAT'"),
        ("KCK_FLOW = {}\nKCK_FLOW['POOL_THREADS'] = 0\n", 4, "must be above 0"),
        ("KCK_FLOW = 5\n", 3, "must be a dict"),
    ],
)
def test_a_wrong_setting_is_told_with_its_file_and_line(
    tmp_path: Path, more: str, line: int, says: str
) -> None:
    ran = check(tmp_path, {"good_app": GOOD}, more=more)
    assert ran.returncode == 1
    assert says in ran.stderr
    assert f"({tmp_path / 'its_settings.py'}:{line})" in ran.stderr
    assert "1 issue" in ran.stderr


def test_a_misspelt_name_is_warned_of(tmp_path: Path) -> None:
    ran = check(tmp_path, {"good_app": GOOD, "other_app": GOOD.replace("key_base", "keybase")})
    assert ran.returncode == 0
    assert "other_app.primers.Good: (kck_flow.W001)" in ran.stderr
    assert "a primer has no attribute 'keybase'. Did you mean 'key_base'?" in ran.stderr


def test_a_project_that_forgot_the_app_is_told_so() -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "from django.conf import settings; settings.configure(); import django; django.setup()\n"
            "from kck_flow.registry import registry; registry.primer('titles')",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No primer is named 'titles': 'kck_flow' is not in INSTALLED_APPS" in ran.stderr


def test_an_apps_primers_are_found_and_the_same_name_in_another_app_is_an_error(tmp_path: Path) -> None:
    assert check(tmp_path, {"good_app": GOOD}).returncode == 0
    for name in ("good_app", "its_settings.py"):
        path = tmp_path / name
        if path.is_dir():
            for one in sorted(path.rglob("*"), reverse=True):
                one.unlink() if one.is_file() else one.rmdir()
            path.rmdir()
    ran = check(tmp_path, {"good_app": GOOD, "other_app": GOOD.replace("class Good", "class Other")})
    assert ran.returncode == 1
    assert "Two primers are named 'good'" in ran.stderr
    assert "good_app.primers.Good" in ran.stderr
    assert "other_app.primers.Other" in ran.stderr


def test_a_registry_of_its_own_finds_what_is_installed() -> None:
    found = Registry()
    found.discover()
    assert {"first_data_product", "book_count"} <= set(found.primers)
    assert found.broken == []
    assert where(type(found.primers["book_count"])).endswith(
        f"{Path('tests/shop/primers.py')}:{_line_of('class BookCount')}"
    )


def _line_of(text: str) -> int:
    lines = (ROOT / "tests/shop/primers.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(text))


def test_a_declaration_withdrawn_is_forgotten(declare: Declared) -> None:
    declare("passing", 1, depends_on=[On("book_count")])
    assert [primer.name for primer, _ in registry.on_product("book_count")] == ["passing"]
    registry.withdraw(declare.classes[-1])
    assert registry.on_product("book_count") == ()
