"""``chromepool``: the daemon and the commands that talk to it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chromepool import __version__, config
from chromepool.cli import daemon, install, sessions
from chromepool.cli.rpc import Group, Options


@click.group(cls=Group)
@click.version_option(__version__)
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file of settings.")
@click.option("--runtime-dir", help="Folder of the daemon's control socket.")
@click.option(
    "--address",
    envvar="CHROMEPOOL_ADDRESS",
    help="http://HOST:PORT of a daemon with control_tcp; its token is in CHROMEPOOL_TOKEN.",
)
@click.pass_context
def cli(
    ctx: click.Context, file: Path | None, runtime_dir: str | None, address: str | None
) -> None:
    """A Chrome of its own for every session, inside hard limits, cleaned up completely."""
    ctx.obj = Options(file, runtime_dir, address)


def _setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add one flag for each setting."""
    for name, field in reversed(config.FIELDS.items()):
        flag, default = config.flag_of(name), f" [{field.default}]"
        is_switch = isinstance(field.default, bool)
        switch: dict[str, Any] = {"is_flag": True, "default": None} if is_switch else {}
        if field.default is True:
            flag, default = f"{flag}/--no-{flag[2:]}", " [on]"
        elif field.default in ("", False):
            default = ""
        command = click.option(flag, name, help=field.metadata["help"] + default, **switch)(command)
    return command


@cli.command()
@_setting_flags
@click.pass_obj
def serve(options: Options, /, **flags: Any) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    from chromepool.supervisor import main as supervisor

    supervisor.serve(lambda: options.settings(flags))


@cli.command("after-stop", hidden=True)
@click.option("--keep-controllers", is_flag=True, help="Leave the cgroup controllers enabled.")
@click.pass_obj
def after_stop(options: Options, keep_controllers: bool) -> None:
    """Clean up what a service left, as the ExecStopPost= of its unit."""
    from chromepool.logs import set_up_logging
    from chromepool.supervisor.systemd import after_stop as stopped

    set_up_logging("info")
    stopped.after_stop(options.settings(), os.environ, keep_controllers=keep_controllers)


for module in (sessions, daemon, install):
    for value in vars(module).values():
        if isinstance(value, click.Command):
            cli.add_command(value)


def main() -> None:
    """Run the console script."""
    cli()


if __name__ == "__main__":
    main()
