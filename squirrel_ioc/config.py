"""The settings: one YAML file, overridden by `SQUIRREL_...` environment variables, checked as a whole.

`load_settings` is the way in. The model classes can be made directly (in tests, in the demo); the paths in them are
then what was given.
"""

from __future__ import annotations

import os
import re
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from squirrel_ioc._settings_file import read_settings
from squirrel_ioc.dsn import check_dsn
from squirrel_ioc.errors import SelectionError
from squirrel_ioc.model.selection import parse

__all__ = [
    "Settings",
    "DatabaseSettings",
    "CatalogueSettings",
    "CaSettings",
    "RestoreSettings",
    "LogSettings",
    "load_settings",
    "MAX_AREA",
    "MAX_AREAS",
    "MAX_PREFIX",
    "MAX_VIEW",
]

MAX_PREFIX = 20
"""Characters of the prefix: with it, every control PV stays below the 60 of an EPICS record name."""

MAX_VIEW = 12
"""Characters of a view's name, for the same reason."""

MAX_AREA = 39
"""Characters of an area's name: what a CA string holds."""

MAX_AREAS = 200

# What EPICS base accepts in a record name (dbLexRoutines.c, dbRecordNameValidate), of printable ASCII.
_RECORD_NAME = re.compile(r"(?![-+\[{])[!#%&(-\-/-~]+")
_VIEW = re.compile(r"[A-Za-z0-9_-]+")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_GROUPS = frozenset(["SNAP", "RESTORE", "JOB", "DIFF", "LIST", "REF", "HIST", "PVS", "IOCS", "AREAS", "DB", "FILE"])
_RESERVED = frozenset(["STORE", "SAFE", "ILK", "SCHED", "WATCH", "AUTO", "GUARD"])


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _words(value: Any) -> Any:
    """A list may be one string, as in EPICS_CA_ADDR_LIST and in environment variables."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _paths(value: Any) -> Any:
    """A list of files may be one string, as in PATH."""
    return [p for p in value.split(os.pathsep) if p] if isinstance(value, str) else value


def _path(value: Any) -> Any:
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("must be the name of a file or folder")
    return value


def _expanded(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError:
        raise ValueError(f"{str(value)!r}: there is no such user") from None


def _prefix(value: str) -> str:
    if not value:
        raise ValueError("must not be empty: the control PVs would have the names of every other service's")
    if len(value) > MAX_PREFIX:
        raise ValueError(
            f"has {len(value)} characters, at most {MAX_PREFIX} are possible: the names of the control PVs must stay "
            "below the 60 characters of an EPICS record name"
        )
    if not _RECORD_NAME.fullmatch(value):
        raise ValueError(f"{value!r} cannot begin the name of an EPICS record")
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must not be empty")
    return value


def _interface(value: str) -> str:
    try:
        return str(IPv4Address(value))
    except AddressValueError:
        raise ValueError(f"{value!r} is not an IPv4 address") from None


def _address(value: str) -> str:
    host, colon, port = value.partition(":")
    if not _HOST.fullmatch(host):
        raise ValueError(f"{value!r} is not host or host:port")
    if colon and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{value!r}: the port must be 1 to 65535")
    return value


def _views(value: tuple[str, ...]) -> tuple[str, ...]:
    for i, name in enumerate(value):
        if not _VIEW.fullmatch(name) or len(name) > MAX_VIEW:
            raise ValueError(f"{name!r} must be 1 to {MAX_VIEW} letters, digits, - or _")
        if name in _GROUPS | _RESERVED:
            raise ValueError(f"{name!r} is the name of a group of control PVs")
        if name in value[:i]:
            raise ValueError(f"{name!r} is there twice")
    return value


def _dsn(value: SecretStr) -> SecretStr:
    check_dsn(value.get_secret_value())
    return value


def _areas(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_AREAS:
        raise ValueError(f"{len(value)} areas, at most {MAX_AREAS} are possible")
    for name, text in value.items():
        if not _VIEW.fullmatch(name) or len(name) > MAX_AREA:
            raise ValueError(f"{name!r} must be 1 to {MAX_AREA} letters, digits, - or _")
        try:
            selection = parse(text)
        except SelectionError as error:
            raise ValueError(f"{name}: selection {text!r}: {error}") from None
        if selection.everything:
            raise ValueError(f"{name}: an empty selection is everything: say '*'")
        if selection.needs_live:
            raise ValueError(f"{name}: {text!r} asks for the state of PVs, which does not settle where they belong")
    return value


Seconds = Annotated[float, BeforeValidator(_number), Field(gt=0, le=3600)]
Pause = Annotated[float, BeforeValidator(_number), Field(ge=0, le=3600)]
Number = Annotated[int, BeforeValidator(_number)]
FilePath = Annotated[Path, BeforeValidator(_path), AfterValidator(_expanded)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)


class DatabaseSettings(_Section):
    """Where snapshots are kept."""

    dsn: Annotated[SecretStr, AfterValidator(_dsn)] | None = Field(
        default=None, description="PostgreSQL server, postgresql://user:password@host:port/database. Absent: embedded"
    )
    pool_size: Number = Field(default=8, ge=2, le=100, description="connections held at most")
    connect_timeout_s: Seconds = Field(default=10.0, description="to wait for a connection, seconds")
    command_timeout_s: Seconds = Field(default=60.0, description="to wait for one statement, seconds")


class CatalogueSettings(_Section):
    """Which PVs the service saves and restores."""

    files: Annotated[tuple[FilePath, ...], BeforeValidator(_paths)] = Field(
        default=(), description="YAML and CSV files, relative to the settings file"
    )


class CaSettings(_Section):
    """Channel Access to the machine."""

    addr_list: Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], BeforeValidator(_words)] = Field(
        default=(), description="where to search, host or host:port. Empty: EPICS_CA_ADDR_LIST of the environment"
    )
    auto_addr_list: bool = Field(
        default=True, description="also search on every local network. Without an addr_list the environment decides"
    )
    connect_timeout_s: Seconds = Field(default=10.0, description="to wait for channels to connect, seconds")
    timeout_s: Seconds = Field(default=5.0, description="to wait for an IOC's answer to a read, seconds")
    put_timeout_s: Seconds = Field(default=10.0, description="to wait for the completion of a write, seconds")
    max_in_flight_per_ioc: Number = Field(default=2000, ge=1, le=1_000_000, description="requests under way to one IOC")
    slow_s: Seconds = Field(default=1.0, description="an IOC is Slow when its part of a bulk read took longer, seconds")
    open_s: Annotated[float, BeforeValidator(_number), Field(gt=0, le=60)] = Field(
        default=1.0, description="an IOC with timeouts is Open, and skipped, when it is silent for this long, seconds"
    )
    retry_s: Annotated[float, BeforeValidator(_number), Field(ge=0, le=60)] = Field(
        default=0.5, description="for the second round of a read, of what failed in passing, seconds. 0: none"
    )

    @model_validator(mode="before")
    @classmethod
    def _no_auto_beside_a_list(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("addr_list") and "auto_addr_list" not in data:
            return {**data, "auto_addr_list": False}
        return data

    def environment(self) -> dict[str, str]:
        """The EPICS_CA_* variables these settings stand for; what is not set is left to the process's environment."""
        variables = {}
        if self.addr_list:
            variables["EPICS_CA_ADDR_LIST"] = " ".join(self.addr_list)
        if "auto_addr_list" in self.model_fields_set:
            variables["EPICS_CA_AUTO_ADDR_LIST"] = "YES" if self.auto_addr_list else "NO"
        return variables


class RestoreSettings(_Section):
    """How a restore writes and verifies."""

    max_ramp_s: Annotated[float, BeforeValidator(_number), Field(gt=0, le=604800)] = Field(
        default=3600.0, description="a PV whose ramp would take longer is not written, seconds"
    )
    verify_delay_s: Pause = Field(default=0.0, description="between the last write and the first readback, seconds")
    verify_timeout_s: Pause = Field(
        default=2.0, description="a setpoint that does not read back as written is read again until then, seconds"
    )
    readback_timeout_s: Pause = Field(
        default=30.0, description="the same for the readbacks of PVs with `verify: readback`, seconds"
    )


class LogSettings(_Section):
    """The log, on standard error."""

    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(lambda v: v.upper() if isinstance(v, str) else v)
    ] = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    format: Literal["text", "json"] = Field(default="text", description="text for people, json for machines")


class Settings(BaseSettings):
    """Everything that can be set. Environment variables win over what is given."""

    model_config = SettingsConfigDict(
        env_prefix="SQUIRREL_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="SQRL:", description="begins the name of every control PV"
    )
    port: Number = Field(default=5064, ge=1, le=65535, description="of the Channel Access server, UDP and TCP")
    interfaces: Annotated[
        tuple[Annotated[str, AfterValidator(_interface)], ...], BeforeValidator(_words), AfterValidator(_some)
    ] = Field(
        default=("0.0.0.0",),  # noqa: S104 - an IOC is there to be found; loopback is one line in the file
        description="IPv4 addresses the Channel Access server listens on",
    )
    state_dir: FilePath = Field(
        default=Path("state"), description="folder of the embedded database, relative to the settings file"
    )
    exchange_dir: FilePath | None = Field(
        default=None, description="folder for FILE:IMPORT and FILE:EXPORT, relative to the settings file. Absent: none"
    )
    views: Annotated[tuple[str, ...], BeforeValidator(_words), AfterValidator(_views)] = Field(
        default=(), description="names of private copies of the DIFF, LIST and HIST PVs, one a console"
    )
    areas: Annotated[dict[str, str], AfterValidator(_areas)] = Field(
        default={}, description="parts of the catalogue that workers read and write: a name and a selection each"
    )
    database: DatabaseSettings = DatabaseSettings()
    standby: bool = Field(
        default=False, description="one of two services on the database of `database.dsn`: one works, one stands by"
    )
    standby_prefer_s: Pause = Field(
        default=30.0,
        description="with `standby`, who has reached clearly more PVs for so long is active, seconds. 0: never",
    )
    catalogue: CatalogueSettings = CatalogueSettings()
    ca: CaSettings = CaSettings()
    restore: RestoreSettings = RestoreSettings()
    log: LogSettings = LogSettings()

    @field_validator("standby")
    @classmethod
    def _standby_has_a_server(cls, value: bool, info: ValidationInfo) -> bool:
        if value and "database" in info.data and info.data["database"].dsn is None:
            raise ValueError(
                "two services need a PostgreSQL server that both reach: set database.dsn. "
                "The embedded database belongs to one service"
            )
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings


def load_settings(path: Path | None) -> Settings:
    """The settings in `path` (None: the defaults), with the overrides of the environment.

    Relative paths, also those from the environment, are relative to the folder of `path` (None: the current one).

    Raises:
        SettingsError: one line for each thing that is wrong: file and line (or variable), key, reason.
    """
    settings = read_settings(path, Settings)
    folder = Path.cwd() if path is None else path.absolute().parent
    return settings.model_copy(
        update={
            "state_dir": folder / settings.state_dir,
            "exchange_dir": settings.exchange_dir and folder / settings.exchange_dir,
            "catalogue": CatalogueSettings(files=tuple(folder / p for p in settings.catalogue.files)),
        }
    )
