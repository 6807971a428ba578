"""Loading of extensions: which are enabled, and what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from wsserver.config import ConfigFaults, Fault, Settings, load_settings, masked, secret_texts
from wsserver.errors import Meaning, WsServerError
from wsserver.extending import (
    Command,
    ConsolePage,
    Extension,
    ExtensionResource,
    Job,
    Migration,
    Part,
)
from wsserver.extending.loading import conflicts_of, find, load
from wsserver.extension_registry import BUILT_IN, find_extensions, load_extensions
from wsserver.workers.worker_settings import from_json, to_json

SECRET = "s" * 32


class Account(Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    token: str = ""
    rate: Annotated[float, Meta(gt=0)] = 1.0
    names: tuple[str, ...] = ()
    is_on: bool = True
    limit: int | None = None


class Nothing(WsServerError, meaning=Meaning(409, None, True, "Nothing left")):
    """An error of an extension."""


def build(_: Any) -> Part:
    return Part()


OF_MANY = Extension(name="accounts", build=build, options=dict[str, Account])
ONE = Extension(name="one", build=build, options=Account)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """``accounts`` and ``one`` as built-in ones, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    here = "tests.extending.test_loading"
    yield {"accounts": f"{here}:OF_MANY", "one": f"{here}:ONE"}
    sys.modules.pop("mine", None)


def configured(names: dict[str, str], toml: str = "", **environ: str) -> Settings:
    Path("c.toml").write_text(f"jwt_secret = '{SECRET}'\n{toml}", encoding="utf-8")
    variables = {f"WSSERVER_{name}": text for name, text in environ.items()}
    return load_settings(Path("c.toml"), variables, {}, False, lambda found: find(found, names))


def faults_of(names: dict[str, str], toml: str = "", **environ: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigFaults) as caught:
        configured(names, toml, **environ)
    return [(fault.key, fault.message) for fault in caught.value.faults]


def test_the_built_in_ones_can_be_loaded_and_do_not_contradict_each_other() -> None:
    assert [each.name for each in load_extensions(Settings())] == list(BUILT_IN)


def test_pages_of_the_console_are_checked(tmp_path: Path) -> None:
    (tmp_path / "a.js").touch()
    page = ConsolePage(name="a", title=("A", "甲"), module=tmp_path / "a.js")
    assert list(conflicts_of([replace(ONE, pages=(page,))])) == []
    wrong = (
        replace(page, name="A/../b"),
        replace(page, name="b", permission="no:such"),
        replace(page, name="c", module=tmp_path / "none.js"),
    )
    faults = list(
        conflicts_of([replace(ONE, pages=(page, *wrong)), replace(OF_MANY, pages=(page,))])
    )
    assert [fault.split(":")[0] for fault in faults] == ["one", "one", "one", "accounts"]
    assert "the page b needs an unknown permission no:such" in faults[1]
    assert "the page c has no module" in faults[2]
    assert "the page a is one of the extension one already" in faults[3]


def test_a_disabled_one_is_not_imported() -> None:
    off = Settings(disabled_extensions=tuple(BUILT_IN))
    assert list(load_extensions(off)) == []
    broken = {"broken": "no_such_module:X"}
    assert list(load(Settings(disabled_extensions=("broken",)), broken)) == []


def test_tables_come_from_file_and_environment(names: dict[str, str]) -> None:
    settings = configured(
        names,
        "[one]\nurl = 'u'\n[accounts.shop-a]\nurl = 'x'\nrate = 2\n[accounts.b]\nurl = 'y'\n",
        ACCOUNTS__SHOP_A__TOKEN="123456",
        ACCOUNTS__SHOP_A__NAMES="p, q,",
        ACCOUNTS__B__IS_ON="off",
        ACCOUNTS__B__LIMIT="7",
        ACCOUNTS__C__URL="z",
        ONE__RATE="0.5",
    )
    found = load(settings, names)
    options = {each.name: value for each, value in found.options.items()}
    assert options["one"] == Account("u", rate=0.5)
    assert options["accounts"] == {
        "shop-a": Account("x", "123456", 2.0, ("p", "q")),
        "b": Account("y", is_on=False, limit=7),
        "c": Account("z"),
    }
    again = from_json(to_json(settings))  # as a worker gets them
    assert again.extension_settings == settings.extension_settings
    assert load(again, names).options.keys() == found.options.keys()


def test_every_fault_of_a_table_is_named_with_its_path(names: dict[str, str]) -> None:
    assert faults_of(
        names,
        "prot = 1\n[oen]\nurl = 'u'\n[accounts.a]\nrate = -1\nmore = 1\n",
        ONE__LIMIT="many",
        ACCOUNT__A__URL="x",
    ) == [
        ("prot", 'is unknown; did you mean "port"?'),
        ("oen", 'is unknown; did you mean "one"?'),
        ("WSSERVER_ACCOUNT__A__URL", 'is unknown; did you mean "WSSERVER_ACCOUNTS"?'),
        ("accounts.a.url", "is missing"),
        ("accounts.a.rate", "is wrong: Expected float > 0.0"),
        ("accounts.a.more", "is unknown"),
        ("one.url", "is missing"),
        ("one.limit", "is wrong: Expected int | null, got str"),
    ]


def test_sources_and_secrets(names: dict[str, str], tmp_path: Path) -> None:
    settings = configured(
        names,
        "[one]\nurl = 'https://user:hunter22@h.example/p?key=k'\n[accounts.a]\nurl = 'x'\n",
        ACCOUNTS__A__TOKEN="top-secret-word",
    )
    shown = masked(settings)
    assert shown["accounts.a.token"]["value"] == "********"
    assert shown["one.token"]["value"] is None
    assert shown["one.url"]["value"] == "https://********@h.example/p?********"
    assert shown["one.rate"]["value"] == 1.0
    assert "extension_settings" not in shown
    assert "top-secret-word" in secret_texts(settings)
    assert "top-secret" not in repr(settings)


def test_settings_of_a_program(names: dict[str, str]) -> None:
    settings = Settings(extension_settings={"one": {"url": "u", "rate": 3}})
    (options,) = [o for each, o in load(settings, {"one": names["one"]}).options.items()]
    assert options == Account("u", rate=3)
    with pytest.raises(ConfigFaults) as caught:
        load(Settings(extension_settings={"one": {"rate": 0}}), {"one": names["one"]})
    assert [fault.key for fault in caught.value.faults] == ["one.url", "one.rate"]


def test_a_module_of_the_working_folder_is_an_extension(names: dict[str, str]) -> None:
    Path("mine.py").write_text(
        "from wsserver.extending import Extension, Part\n"
        "MINE = Extension(name='mine', build=lambda context: Part())\n"
    )
    found = load(Settings(extensions=("mine:MINE",)), {})
    assert [each.name for each in found] == ["mine"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"extensions": ("no_such_module:X",)}, "no_such_module:X cannot be imported: Module"),
        ({"extensions": ("json:nothing",)}, "json:nothing cannot be imported: AttributeError"),
        ({"extensions": ("json:dumps",)}, "json:dumps is no Extension"),
        ({"disabled_extensions": ("taks",)}, "'taks' is no extension; did you mean \"tasks\"?"),
    ],
)
def test_what_is_no_extension_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        load_extensions(Settings(**settings))
    (fault,) = caught.value.faults
    assert fault.message.startswith(message)
    assert find_extensions(Settings(**settings)).faults == (fault,)


def test_permissions_of_extensions_are_known(tmp_path: Path) -> None:
    table = "jwt_secret = '%s'\npermissions = { user = ['%s'] }"
    for name, faults in (("tasks:manage", 0), ("tasks:mange", 1)):
        file = tmp_path / "c.toml"
        file.write_text(table % (SECRET, name))
        try:
            load_settings(file, {}, {}, False, find_extensions)
            found: list[Fault] = []
        except ConfigFaults as error:
            found = error.faults
        assert len(found) == faults


class Vote(Command):
    choice: int


class Voted(Struct):
    choice: int


def resource(route: str, access: str = "stats:read", **details: Any) -> ExtensionResource:
    made = ExtensionResource("one", "Ones", "About them.")

    @made.endpoint(route, access, Voted, **details)
    async def handle(service: Any, call: Any) -> None:
        """Do it."""

    return made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "One"}, "a name is at most 32"),
        ({"name": "port"}, "the name port is one of a setting"),
        ({"resources": (resource("GET /stats"),)}, "the route GET /api/v1/websocket/stats is one"),
        ({"resources": (resource("GET /x", "fly"),)}, "needs an unknown permission fly"),
        ({"resources": (resource("GET /x", errors=("x",)),)}, "names an unknown error x"),
        ({"commands": {"ping": Vote}, "replies": {"ping": ("x", Voted)}}, "the command ping is"),
        ({"commands": {"vote": Vote}}, "each command has a reply"),
        ({"pushes": {"new_message": Voted}}, "the push new_message is one of the server"),
        ({"pushes": {"Vote": Voted}}, "'Vote': a push type"),
        ({"permissions": {"stats:read": ("user",)}}, "the permission stats:read is one of"),
        ({"permissions": {"fly": ()}}, "'fly': a permission has the form"),
        ({"permissions": {"one:fly": ("root",)}}, "one:fly: root is no role"),
        ({"migrations": (Migration("a", ()), Migration("a", ()))}, "two migrations have the same"),
    ],
)
def test_what_is_declared_wrongly_is_named(changes: dict[str, Any], message: str) -> None:
    (fault,) = conflicts_of([replace(ONE, **changes)])
    assert message in fault


def test_two_extensions_that_claim_the_same() -> None:
    first = replace(
        ONE,
        resources=(resource("GET /x", errors=("nothing",)),),
        errors=(Nothing,),
        pushes={"vote": Voted},
        permissions={"one:fly": ("user",)},
    )
    second = replace(first, name="two")
    assert list(conflicts_of([first])) == []
    assert len(list(conflicts_of([first, second]))) == 5
    assert list(conflicts_of([first, first])) == ["two extensions have the name one"]


def test_an_error_has_a_meaning_of_its_own() -> None:
    error = Nothing(left=0)
    assert (error.code, error.message, error.meaning.status) == ("nothing", "Nothing left", 409)
    assert error.details == {"left": 0}


def test_a_job_is_for_all_nodes_unless_it_is_said_otherwise() -> None:
    assert Job(name="x", period_s=1.0, work=lambda: None).for_all
