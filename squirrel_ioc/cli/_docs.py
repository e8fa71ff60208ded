"""`squirrel-ioc docs`: the documentation, where the program is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from squirrel_ioc.cli._exit import NotFoundError

__all__ = ["docs"]


def docs(
    topic: Annotated[str, typer.Argument(help="What to read; without it, a list of the topics.")] = "",
) -> None:
    """Show the documentation."""
    import sys

    from squirrel_ioc.resources import docs_dir

    files = {path.stem: path for path in sorted(docs_dir().glob("*.md"))}
    if not topic:
        for name, path in files.items():
            with path.open(encoding="utf-8") as file:
                typer.echo(f"{name:16}{file.readline().removeprefix('# ').rstrip()}")
        return
    if topic not in files:
        raise NotFoundError(f"there is no topic {topic}, there are {', '.join(files)}")
    text = files[topic].read_text("utf-8")
    if not sys.stdout.isatty():
        typer.echo(text, nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    with console.pager(styles=True):
        console.print(Markdown(text))
