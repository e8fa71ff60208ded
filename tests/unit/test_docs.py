"""The documentation: its links lead somewhere, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import squirrel_ioc
from squirrel_ioc.cli import app
from squirrel_ioc.cli._exit import NotFoundError
from squirrel_ioc.ioc.reference import static_pvs
from squirrel_ioc.panels._on_demand import ON_DEMAND
from squirrel_ioc.resources import docs_dir

PACKAGE = Path(squirrel_ioc.__file__).parent
README = PACKAGE.parent / "README.md"
TOPICS = sorted(docs_dir().glob("*.md"))
FILES = [README, *TOPICS]

PVS = {info.name for info in static_pvs()} | {name for found in ON_DEMAND for name in found.names}
GROUPS = {name.split(":")[0] for name in PVS}


def ids(file: Path) -> str:
    return file.stem


def anchors(file: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 200


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_links_lead_somewhere(file: Path) -> None:
    for path, _, anchor in re.findall(r"]\(([^)#]*)(#?)([^)]*)\)", file.read_text("utf-8")):
        if path.startswith("https://"):
            continue
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_pvs_that_are_named_are_there(file: Path) -> None:
    text = file.read_text("utf-8")
    for name in re.findall(r"(?:SQRL:|`)((?:[A-Z]+\d*:)+[A-Z]+)\b(?![:<])", text):
        known = name in PVS or name.split(":")[0] not in GROUPS
        assert known or any(re.fullmatch(rf"{name}\d*(:[A-Z]+)*", pv) for pv in PVS), name


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_commands_that_are_named_are_there(file: Path) -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    text = file.read_text("utf-8")
    scripts = "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"(?:^|/)squirrel-ioc ([a-z]+)", scripts, re.MULTILINE))
    named |= set(re.findall(r"`squirrel-ioc ([a-z]+)", text))
    assert named <= known


def test_modules_that_are_named_are_there() -> None:
    named = re.findall(r"`(\w+/[\w/]*\.py)`", "".join(file.read_text("utf-8") for file in TOPICS))
    assert named
    assert not [path for path in named if not (PACKAGE / path).is_file()]


def test_every_topic_is_in_the_readme_and_shown_by_the_command() -> None:
    listed = CliRunner().invoke(app, ["docs"])
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [file.stem for file in TOPICS]
    for file in TOPICS:
        assert f"(squirrel_ioc/docs/{file.name})" in README.read_text("utf-8")
        shown = CliRunner().invoke(app, ["docs", file.stem])
        assert shown.exit_code == 0
        assert shown.stdout == file.read_text("utf-8")


def test_a_topic_that_there_is_not() -> None:
    refused = CliRunner().invoke(app, ["docs", "../../secret"])
    assert isinstance(refused.exception, NotFoundError)
    assert "there is no topic ../../secret, there are administrator, architecture" in str(refused.exception)
