"""`squirrel-ioc panels`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from squirrel_ioc.cli import app
from squirrel_ioc.cli._panels import PanelsError
from squirrel_ioc.panels import panel_files


def panels(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["panels", *map(str, arguments)])


def test_panels_are_copied_and_the_way_to_open_them_is_printed(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "panels"
    result = panels(folder, "--prefix", "X Y:")
    assert result.exit_code == 0
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == panel_files()
    assert f"medm -x -macro 'P=X Y:' '{folder}/squirrel_operator.adl'" in result.stdout
    assert f"-resource 'file://{tmp_path}/a%20b/panels/squirrel.bob?P=X%20Y:'" in result.stdout


def test_nothing_is_overwritten_unless_forced(tmp_path: Path) -> None:
    mine = tmp_path / "squirrel_list.bob"
    mine.write_text("mine")
    result = panels(tmp_path)
    assert isinstance(result.exception, PanelsError)
    assert "squirrel_list.bob" in str(result.exception)
    assert "--force" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["squirrel_list.bob"]
    assert mine.read_text() == "mine"
    assert panels(tmp_path, "--force").exit_code == 0
    assert mine.read_text("utf-8") == panel_files()["squirrel_list.bob"]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    result = panels(file / "panels")
    assert isinstance(result.exception, PanelsError)
    assert str(file / "panels") in str(result.exception)


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(PanelsError, match="file"):
        raise panels(file).exception or AssertionError("no error")
    assert file.read_text() == "mine"
