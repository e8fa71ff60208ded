"""From a YAML file and the environment to a validated settings model, with errors that a person can act on."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

from squirrel_ioc.errors import SettingsError
from squirrel_ioc.yaml_depth import NESTED, too_deep_at

__all__ = ["read_settings"]

S = TypeVar("S", bound=BaseSettings)

_SECRET = frozenset({"database", "database.dsn"})
_REASON = {"model_type": "must be a section with keys", "model_attributes_type": "must be a section with keys"}


def read_settings(path: Path | None, model: type[S]) -> S:
    """The settings of `path` (None: no file) and of the environment.

    Raises:
        SettingsError: everything that is wrong, one line each.
    """
    data, lines = ({}, {}) if path is None else _read_yaml(path)
    # An empty section (all its keys commented out) is none.
    data = {k: v for k, v in data.items() if not (v is None and k in _sections(model))}
    problems = [(lines[k], _unknown(f"{path}:{lines[k]}", k, model.model_fields)) for k in data if _odd(k, model)]
    problems += _unknown_variables(model)
    cause: ValidationError | None = None
    try:
        settings = model(**{k: v for k, v in data.items() if not _odd(k, model)})
    except ValidationError as exc:
        cause = exc
        problems += [_problem(e, path, lines, model) for e in exc.errors(include_url=False)]
    if problems:
        raise SettingsError("\n".join(text for _, text in sorted(problems))) from cause
    return settings


def _odd(key: str, model: type[BaseModel]) -> bool:
    return key not in model.model_fields


def _sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What the file says, and the line of each dotted key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {exc.start})") from exc
    if line := too_deep_at(text):
        raise SettingsError(f"{path}:{line}: {NESTED}")
    loader = yaml.CSafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        if not isinstance(node, yaml.MappingNode):
            raise SettingsError(f"{path}:{node.start_mark.line + 1}: must be a mapping of keys to values")
        lines, problems = _keys(path, node)
        if problems:
            raise SettingsError("\n".join(problems))
        data: dict[str, Any] = loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"{path}:{mark.line + 1}" if mark else f"{path}"
        raise SettingsError(f"{where}: is not YAML: {exc.problem or exc.context}") from exc
    except (yaml.YAMLError, ValueError) as exc:
        raise SettingsError(f"{path}: is not YAML: {exc}") from exc
    finally:
        loader.dispose()
    return data, lines


def _keys(path: Path, root: yaml.MappingNode) -> tuple[dict[str, int], list[str]]:
    """The line of every dotted key, and the keys that are there twice or are no text."""
    lines: dict[str, int] = {}
    problems: list[str] = []

    def visit(node: yaml.MappingNode, parent: str, depth: int) -> None:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                what = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                problems.append(f"{path}:{line}: {what} cannot be a key")
                continue
            dotted = f"{parent}{key.value}"
            if key.value in seen:
                problems.append(f"{path}:{line}: {dotted}: is there twice, first in line {seen[key.value]}")
            seen.setdefault(key.value, line)
            lines.setdefault(dotted, line)
            # Settings are two levels deep; an alias may point back, so the depth is bounded.
            if isinstance(value, yaml.MappingNode) and depth < 2:
                visit(value, f"{dotted}.", depth + 1)

    visit(root, "", 1)
    return lines, problems


def _unknown(where: str, key: str, fields: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key.rpartition(".")[2], fields, 1)
    return f"{where}: {key}: unknown key" + (f"; {near[0]}?" if near else "")


def _variables(model: type[BaseSettings]) -> Iterator[tuple[str, list[str]]]:
    """The environment variables with our prefix, and the key each stands for."""
    prefix = str(model.model_config["env_prefix"])
    delimiter = str(model.model_config["env_nested_delimiter"])
    for name, value in sorted(os.environ.items()):
        if name.upper().startswith(prefix) and value:
            yield name, name[len(prefix) :].lower().split(delimiter)


def _unknown_variables(model: type[BaseSettings]) -> list[tuple[int, str]]:
    """Variables with a section that does not exist.

    One without a section is left alone: a container platform makes SQUIRREL_IOC_SERVICE_HOST and its like itself.
    """
    sections = _sections(model)
    return [
        (0, _unknown(f"environment variable {name}", ".".join(keys), sections))
        for name, keys in _variables(model)
        if len(keys) > 1 and keys[0] not in sections
    ]


def _problem(
    error: ErrorDetails, path: Path | None, lines: Mapping[str, int], model: type[BaseSettings]
) -> tuple[int, str]:
    """One error of the validation: its line (0: not in the file) and the words for it."""
    loc = [str(x) for x in error["loc"]]
    key = ".".join(loc)
    outwards = [".".join(loc[:n]) for n in range(len(loc), 0, -1)]
    variables = {".".join(keys): name for name, keys in _variables(model)}
    line = 0
    if variable := next((variables[k] for k in outwards if k in variables), None):
        where = f"environment variable {variable}"
    elif line := next((lines[k] for k in outwards if k in lines), 0):
        where = f"{path}:{line}"
    else:
        where = str(path or "settings")
    if error["type"] == "extra_forbidden":
        section = _sections(model).get(loc[0])
        return line, _unknown(where, key, section.model_fields if section else {})
    reason = _REASON.get(error["type"], error["msg"].removeprefix("Value error, "))
    given = error["input"]
    shown = error["type"] != "value_error" and key not in _SECRET and isinstance(given, str | int | float | bool)
    return line, f"{where}: {key}: {reason[:1].lower()}{reason[1:]}" + (f", not {repr(given)[:100]}" if shown else "")
