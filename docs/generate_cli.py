"""Print docs/reference/cli.md: click's help of the commands, with the text of docs/parts/cli.md.

Each heading ``## chromepool NAME`` there is followed by the help of that command, and then by the
text below the heading. Commands without a heading follow at the end.

Usage: python docs/generate_cli.py > docs/reference/cli.md
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import click

from chromepool import config
from chromepool.cli.main import cli

_PARTS = Path(__file__).parent / "parts" / "cli.md"
_HEADING = re.compile(r"^## chromepool (\S+)$", re.MULTILINE)


def _cell(text: str) -> str:
    """Escape text for a table. GitHub takes a bar for the end of a cell, MkDocs shows a backslash
    before one in code, and both know the entity."""
    return html.escape(text, quote=False).replace("|", "&#124;").replace("\n", " ")


def _options(command: click.Command, context: click.Context) -> str:
    """A table of a command's options, but for --help and those that are settings."""
    records = [
        option.get_help_record(context)
        for option in command.get_params(context)
        if isinstance(option, click.Option)
        and option.name not in _settings(command)
        and "--help" not in option.opts
    ]
    rows = [
        f"| <code>{_cell(flags)}</code> | {_cell(text.rstrip('.').replace('  ', ' '))} |"
        for flags, text in filter(None, records)
    ]
    if not rows:
        return ""
    return "\n".join(["| option | meaning |", "|---|---|", *rows, ""])


def _settings(command: click.Command) -> set[str]:
    """The settings, if the command takes all of them; another page lists them."""
    names = {parameter.name for parameter in command.params if parameter.name}
    return set(config.FIELDS) if names >= set(config.FIELDS) else set()


def _command(name: str) -> str:
    """A heading, and click's help of its command."""
    command = cli.commands[name]
    context = click.Context(
        command, info_name=name, parent=click.Context(cli, info_name="chromepool")
    )
    usage = " ".join(["chromepool", name, *command.collect_usage_pieces(context)])
    text = (command.help or "").partition("\f")[0].strip()
    text += (
        "\n\nEvery [setting](../reference/settings.md) is an option." if _settings(command) else ""
    )
    options = _options(command, context)
    return f"## chromepool {name}\n\n```\n{usage}\n```\n\n{text}\n\n{options}"


def _shown() -> dict[str, click.Command]:
    return {name: command for name, command in cli.commands.items() if not command.hidden}


def _overview() -> str:
    """A table of all commands, with the first sentence of their help."""
    rows = [
        f"| [`{name}`](../reference/cli.md#chromepool-{name}) | {_cell(_first_sentence(command))} |"
        for name, command in _shown().items()
    ]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def _first_sentence(command: click.Command) -> str:
    text = " ".join((command.help or "").partition("\f")[0].partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", text)[0]


def _remaining(parts: str) -> str:
    told = set(_HEADING.findall(parts))
    return "\n".join(_command(name) for name in _shown() if name not in told)


def page() -> str:
    """The whole page."""
    parts = _PARTS.read_text()
    own = _options(cli, click.Context(cli, info_name="chromepool"))
    page = parts.replace("<!-- the options -->\n", own)
    page = page.replace("<!-- the commands -->", _overview())
    page = _HEADING.sub(lambda found: _command(found[1]), page)
    page = page.replace("<!-- the remaining commands -->", _remaining(parts))
    page = page.replace("](../reference/cli.md#", "](#").replace("](../reference/", "](")
    return re.sub(r"\n{3,}", "\n\n", page).rstrip() + "\n"


if __name__ == "__main__":
    print(page(), end="")
