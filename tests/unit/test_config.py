"""Settings: what loads, where it comes from, and what each mistake is told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr, ValidationError

from squirrel_ioc.config import MAX_PREFIX, CaSettings, DatabaseSettings, Settings, load_settings
from squirrel_ioc.dsn import describe_dsn
from squirrel_ioc.errors import SettingsError
from squirrel_ioc.formats.catalogue.catalogue import load_catalogue
from squirrel_ioc.resources import config_dir

SMALLEST = """\
prefix: "SQRL:"
port: 5064
interfaces: [127.0.0.1]
state_dir: ./state
catalogue:
  files: [pvs.csv]
ca:
  addr_list: "127.0.0.1:5066 127.0.0.1:5067"
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.upper().startswith("SQUIRREL_"):
            monkeypatch.delenv(name)


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "squirrel.yaml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a file, without its folder."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_smallest_useful_file(tmp_path: Path) -> None:
    s = load(tmp_path, SMALLEST)
    assert (s.prefix, s.port, s.interfaces) == ("SQRL:", 5064, ("127.0.0.1",))
    assert s.state_dir == tmp_path / "state"
    assert s.catalogue.files == (tmp_path / "pvs.csv",)
    assert s.ca.addr_list == ("127.0.0.1:5066", "127.0.0.1:5067")
    assert not s.ca.auto_addr_list
    assert s.database.dsn is None


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "ca:\n  # timeout_s: 1\nlog: ~\n"])
def test_nothing_is_the_defaults(tmp_path: Path, text: str) -> None:
    s = load(tmp_path, text)
    assert s == Settings(state_dir=tmp_path / "state")


def test_without_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(None).state_dir == tmp_path / "state"
    monkeypatch.setenv("SQUIRREL_PORT", "x")
    with pytest.raises(SettingsError, match=r"^environment variable SQUIRREL_PORT: port: "):
        load_settings(None)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/op")
    text = "state_dir: /var/lib/squirrel\nexchange_dir: ~/exchange\ncatalogue: {files: [a/b.csv, ../c.yaml]}\n"
    s = load(tmp_path, text)
    assert s.state_dir == Path("/var/lib/squirrel")
    assert s.exchange_dir == Path("/home/op/exchange")
    assert s.catalogue.files == (tmp_path / "a/b.csv", tmp_path / "../c.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_settings(Path("squirrel.yaml")).catalogue == s.catalogue


def test_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SQUIRREL_PREFIX": "TEST:",
        "SQUIRREL_INTERFACES": "127.0.0.1, 10.0.0.1",
        "SQUIRREL_VIEWS": "OP1 OP2",
        "SQUIRREL_CA__TIMEOUT_S": "2.5",
        "squirrel_ca__addr_list": "ioc1 ioc2:5066",
        "SQUIRREL_CATALOGUE__FILES": "a b.csv:/c.yaml",
        "SQUIRREL_DATABASE__DSN": "postgresql://u:p@h/d",
        "SQUIRREL_RESTORE__VERIFY_DELAY_S": "",
        "SQUIRREL_IOC_SERVICE_HOST": "10.0.0.2",
    }.items():
        monkeypatch.setenv(name, value)
    s = load(tmp_path, SMALLEST + "  put_timeout_s: 7\n")
    assert (s.prefix, s.port) == ("TEST:", 5064)
    assert s.interfaces == ("127.0.0.1", "10.0.0.1")
    assert s.views == ("OP1", "OP2")
    assert s.ca.addr_list == ("ioc1", "ioc2:5066")
    assert (s.ca.timeout_s, s.ca.put_timeout_s) == (2.5, 7.0)
    assert s.catalogue.files == (tmp_path / "a b.csv", Path("/c.yaml"))
    assert s.database.dsn == SecretStr("postgresql://u:p@h/d")


def test_bad_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUIRREL_PORT", "tcp://10.0.0.2:5064")
    monkeypatch.setenv("SQUIRREL_CA__TIMOUT_S", "2")
    monkeypatch.setenv("SQUIRREL_CAA__TIMEOUT_S", "2")
    monkeypatch.setenv("SQUIRREL_LOG", "DEBUG")
    assert problems(tmp_path, SMALLEST) == [
        "environment variable SQUIRREL_CAA__TIMEOUT_S: caa.timeout_s: unknown key",
        "environment variable SQUIRREL_CA__TIMOUT_S: ca.timout_s: unknown key; timeout_s?",
        "environment variable SQUIRREL_LOG: log: must be a section with keys, not 'DEBUG'",
        "environment variable SQUIRREL_PORT: port: input should be a valid integer, unable to parse string as an "
        "integer, not 'tcp://10.0.0.2:5064'",
    ]


def test_password_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    s = load(tmp_path, "database: {dsn: 'postgresql://u:pass-word@h/d'}")
    assert "pass-word" not in f"{s!r} {s} {s.database!r}"
    for text in ("mysql://u:pass-word@h/d", "pass-word"):
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, f"database: {{dsn: '{text}'}}")
        assert "pass-word" not in f"{caught.value} {caught.value.__cause__}"
    monkeypatch.setenv("SQUIRREL_DATABASE", "postgresql://u:pass-word@h/d")
    assert "pass-word" not in " ".join(problems(tmp_path, ""))


def test_settings_are_frozen() -> None:
    s = Settings()
    for model, name in ((s, "port"), (s.ca, "timeout_s")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(model, name, 1)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = """\
prefx: "SQRL:"
port: 70000
interfaces: [127.0.0.1, localhost]
views: [OP1, SNAP]
database:
  dsn: mysql://secret
  pool_size: 0.5
ca:
  addr_list: "ioc1:x ioc2"
  timeout_s: -1
  put_timeout_s: yes
  timeot_s: 3
  connect_timeout_s: .nan
restore: 3
log:
  level: loud
"""
    assert problems(tmp_path, text) == [
        "squirrel.yaml:1: prefx: unknown key; prefix?",
        "squirrel.yaml:2: port: input should be less than or equal to 65535, not 70000",
        "squirrel.yaml:3: interfaces.1: 'localhost' is not an IPv4 address",
        "squirrel.yaml:4: views: 'SNAP' is the name of a group of control PVs",
        "squirrel.yaml:6: database.dsn: must be postgresql://user:password@host:port/database",
        "squirrel.yaml:7: database.pool_size: input should be a valid integer, got a number with a fractional part, "
        "not 0.5",
        "squirrel.yaml:9: ca.addr_list.0: 'ioc1:x': the port must be 1 to 65535",
        "squirrel.yaml:10: ca.timeout_s: input should be greater than 0, not -1",
        "squirrel.yaml:11: ca.put_timeout_s: must be a number, not true or false",
        "squirrel.yaml:12: ca.timeot_s: unknown key; timeout_s?",
        "squirrel.yaml:13: ca.connect_timeout_s: input should be greater than 0, not nan",
        "squirrel.yaml:14: restore: must be a section with keys, not 3",
        "squirrel.yaml:16: log.level: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR', not 'LOUD'",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [\n", "squirrel.yaml:2: is not YAML: "),
        ("prefix: SQRL:\n", "squirrel.yaml:1: is not YAML: "),
        ("port: 1\n\tca: 2\n", "squirrel.yaml:2: is not YAML: "),
        ("port: " + "[" * 3000, "squirrel.yaml:1: is nested more than 16 deep"),
        ("port: 1\nca: " + "{a: " * 3000, "squirrel.yaml:2: is nested more than 16 deep"),
        ("- " * 100_000, "squirrel.yaml:1: is nested more than 16 deep"),
        ("port: 5064\x07\n", "squirrel.yaml: is not YAML: "),
        ("port: !!python/name:os.system\n", "squirrel.yaml:1: is not YAML: "),
        ("port: 1\nca:\n  timeout_s: 1\nport: 2\n", "squirrel.yaml:4: port: is there twice, first in line 1"),
        ("ca:\n  timeout_s: 1\n  timeout_s: 2\n", "squirrel.yaml:3: ca.timeout_s: is there twice, first in line 2"),
        ("- prefix\n", "squirrel.yaml:1: must be a mapping of keys to values"),
        ("5064: port\n", "squirrel.yaml:1: '5064' cannot be a key"),
        ("? [a]\n: b\n", "squirrel.yaml:1: a list or mapping cannot be a key"),
        ("port: 1\n---\nport: 2\n", "squirrel.yaml:2: is not YAML: "),
        ("ca: &a\n  timeout_s: *a\n", "squirrel.yaml:2: ca.timeout_s: "),
        ("_env_file: /etc/passwd\n", "squirrel.yaml:1: _env_file: unknown key"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, expected: str) -> None:
    assert problems(tmp_path, text)[0].startswith(expected)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "gone.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SettingsError, match=f"^{re.escape(str(path))}: cannot be read: {reason}$"):
            load_settings(path)
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"prefix: \xfc")
    with pytest.raises(SettingsError, match=r"is not UTF-8 text \(byte 8\)"):
        load_settings(path)


@pytest.mark.parametrize("prefix", ["SQRL:", "A", "SR{PS:1}", "a-b_c:<1>;/#", "X" * MAX_PREFIX])
def test_prefixes(prefix: str) -> None:
    assert Settings(prefix=prefix).prefix == prefix


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("prefix", "''", "must not be empty"),
        ("prefix", "X" * (MAX_PREFIX + 1), "has 21 characters, at most 20"),
        ("prefix", "'A B:'", "cannot begin the name of an EPICS record"),
        ("prefix", "A.B", "cannot begin the name"),
        ("prefix", "$A", "cannot begin the name"),
        ("prefix", "-A", "cannot begin the name"),
        ("prefix", "Ä", "cannot begin the name"),
        ("prefix", "3", "input should be a valid string, not 3"),
        ("port", "0", "greater than or equal to 1"),
        ("port", "true", "must be a number"),
        ("port", "~", "valid integer"),
        ("interfaces", "[]", "must not be empty"),
        ("interfaces", "['::1']", "is not an IPv4 address"),
        ("interfaces", "['127.0.0.1:5064']", "is not an IPv4 address"),
        ("state_dir", "' '", "must be the name of a file or folder"),
        ("state_dir", "~nobody-of-this-name/x", "'~nobody-of-this-name/x': there is no such user"),
        ("state_dir", '"a\\0b"', "must be the name of a file or folder"),
        ("exchange_dir", "''", "must be the name"),
        ("views", "[OP 1]", "1 to 12 letters"),
        ("views", "[OP1, OP1]", "is there twice"),
        ("views", "[WATCH]", "is the name of a group"),
        ("views", "[ON]", "valid string, not True"),
        ("catalogue", "{files: ['']}", "must be the name"),
        ("ca", "{addr_list: ['a b']}", "is not host or host:port"),
        ("ca", "{addr_list: ':5064'}", "is not host or host:port"),
        ("ca", "{addr_list: 'ioc1:'}", "the port must be 1 to 65535"),
        ("ca", "{addr_list: 'ioc1:65536'}", "the port must be 1 to 65535"),
        ("ca", "{timeout_s: 0}", "greater than 0"),
        ("ca", "{timeout_s: .inf}", "less than or equal to 3600"),
        ("ca", "{max_in_flight_per_ioc: 0}", "greater than or equal to 1"),
        ("restore", "{verify_delay_s: -0.1}", "greater than or equal to 0"),
        ("log", "{format: xml}", "'text' or 'json'"),
    ],
)
def test_bad_values(tmp_path: Path, key: str, value: str, reason: str) -> None:
    (found,) = problems(tmp_path, f"{key}: {value}\n")
    assert found.startswith(f"squirrel.yaml:1: {key}")
    assert reason in found


@pytest.mark.parametrize(
    ("given", "auto", "variables"),
    [
        ({}, True, {}),
        ({"addr_list": "a b:1"}, False, {"EPICS_CA_ADDR_LIST": "a b:1", "EPICS_CA_AUTO_ADDR_LIST": "NO"}),
        ({"addr_list": ["a"], "auto_addr_list": True}, True, {
            "EPICS_CA_ADDR_LIST": "a", "EPICS_CA_AUTO_ADDR_LIST": "YES",
        }),
        ({"auto_addr_list": False}, False, {"EPICS_CA_AUTO_ADDR_LIST": "NO"}),
    ],
)  # fmt: skip
def test_epics_environment(given: dict[str, Any], auto: bool, variables: dict[str, str]) -> None:
    ca = CaSettings.model_validate(given)
    assert ca.auto_addr_list is auto
    assert ca.environment() == variables


def leaves(model: type[BaseModel], parent: str = "") -> Iterator[tuple[str, Any]]:
    """Every key with its default."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{name}.")
        else:
            yield f"{parent}{name}", field


def plain(value: Any) -> Any:
    """A default as YAML has it."""
    if isinstance(value, tuple):
        return [str(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def test_every_key_has_a_description() -> None:
    assert [key for key, field in leaves(Settings) if not field.description] == []


def test_example_has_every_key_with_its_default() -> None:
    text = (config_dir() / "example.yaml").read_text(encoding="utf-8")
    documented = {}
    section = ""
    comment: list[str] = []
    for line in text.splitlines():
        # A key may be commented out where giving it, even with its default, makes a difference.
        if match := re.fullmatch(r"( *)(?:# )?([a-z_]+):(| \S+| \[.*\])", line):
            indent, key, value = match.groups()
            if not indent and not value and not comment:
                section = f"{key}."
                continue
            _, _, default = " ".join(comment).partition("Default: ")
            documented[f"{section if indent else ''}{key}"] = yaml.safe_load(default)
            comment = []
        else:
            comment = [*comment, line.strip("# ")] if line else []
    assert documented == {key: plain(field.default) for key, field in leaves(Settings)}
    given = load_settings(config_dir() / "example.yaml")
    defaults = Settings(state_dir=config_dir() / "state", catalogue=given.catalogue)
    assert given == defaults


def test_example_catalogues_load() -> None:
    settings = load_settings(config_dir() / "example.yaml")
    entries = load_catalogue(settings.catalogue.files)
    assert {p.name for p in settings.catalogue.files} == {
        p.name
        for p in config_dir().iterdir()
        if p.suffix not in (".service", ".db", ".st") and p.name not in ("example.yaml", "demo.yaml", ".gitkeep")
    }
    assert len(entries) == 16
    by_name = {e.setpoint: e for e in entries}
    assert by_name["QUAD:L2:1:BDES"].tags == {"Owner": ("Optics", "Power"), "Region": ("L2",), "Subsystem": ("Magnet",)}
    assert by_name["XCOR:L1:1:BDES"].tags == {"Region": ("L1",), "Subsystem": ("Magnet", "Corrector")}
    assert by_name["ACCL:L1:1:PDES"].rtol is None
    assert by_name["BPMS:L1:1:X"].read_only


def test_standby_needs_a_server(tmp_path: Path) -> None:
    assert problems(tmp_path, "prefix: 'S:'\nstandby: true\n") == [
        "squirrel.yaml:2: standby: two services need a PostgreSQL server that both reach: set database.dsn. The "
        "embedded database belongs to one service"
    ]
    assert load(tmp_path, "standby: true\ndatabase: {dsn: postgresql://there/squirrel}\n").standby


def test_demo_is_on_loopback() -> None:
    settings = load_settings(config_dir() / "demo.yaml")
    assert settings.interfaces == ("127.0.0.1",)
    assert all(a.startswith("127.0.0.1:") for a in settings.ca.addr_list)
    assert not settings.ca.auto_addr_list
    assert settings.catalogue.files == (config_dir() / "machine" / "pvs.csv",)


@given(st.text("portcalgviews:-[]{}&*!,\n \"'#0?~", max_size=60))
@settings(max_examples=300, deadline=None)
def test_arbitrary_files_load_or_are_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        loaded: object = load_settings(path)
    except SettingsError as exc:
        loaded = str(exc)
    assert isinstance(loaded, Settings) or str(loaded).startswith(str(path))


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://h:abc/x", "postgresql://u:S3cret@h:99999/x", "postgresql:///x?port=0", "postgresql://a:1,b:x/d"],
)
def test_a_port_that_is_none_is_told(tmp_path: Path, dsn: str) -> None:
    (problem,) = problems(tmp_path, f"database: {{dsn: '{dsn}'}}\n")
    assert problem.startswith("squirrel.yaml:1: database.dsn: the port must be 1 to 65535")
    assert "S3cret" not in problem


@given(st.text("postgresql://u:S3cret@h[]:5432,/d?port=&#%\u00e9 ", max_size=60))
def test_any_dsn_is_refused_or_can_be_spoken_of(rest: str) -> None:
    for dsn in (rest, f"postgresql://{rest}"):
        try:
            settings = DatabaseSettings(dsn=SecretStr(dsn))
        except ValidationError:
            continue
        assert settings.dsn is not None
        assert describe_dsn(settings.dsn.get_secret_value())


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.dates()
_VALUES = st.recursive(_LEAVES, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=3))
_KEYS = st.sampled_from([*Settings.model_fields, "odd"]) | st.text(max_size=8)
_SECTION = st.dictionaries(
    st.sampled_from(["dsn", "pool_size", "files", "addr_list", "timeout_s", "level", "odd"]), _VALUES, max_size=3
)


@given(st.dictionaries(_KEYS, _SECTION | _VALUES, max_size=4))
def test_any_settings_are_taken_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, keys: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(yaml.safe_dump(keys, allow_unicode=True), encoding="utf-8", errors="surrogateescape")
    told = ""
    try:
        load_settings(file)
    except SettingsError as error:
        told = str(error)
    assert all(line.strip() for line in told.split("\n") if told)
