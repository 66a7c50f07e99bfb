"""The `mediastore-gc` command line: puts the verbs of commands/ together.

What goes wrong leaves as one line on standard error and the exit code of its class in errors.py.
"""

import sys

import typer

from mediastore.errors import MediastoreError
from mediastore_gc.commands.auditing import auditing
from mediastore_gc.commands.brakes import brakes
from mediastore_gc.commands.collecting import collecting
from mediastore_gc.commands.command_line import Config, exit_codes
from mediastore_gc.commands.erasing import erasing
from mediastore_gc.commands.looking import looking
from mediastore_gc.commands.restoring import restoring

app = typer.Typer(
    name="mediastore-gc",
    help="Gives back the space of what nobody needs any more, and proves that it may.",
    epilog=exit_codes(),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(epilog=exit_codes())
def choose_config(context: typer.Context, config: Config = None) -> None:
    """Gives back the space of what nobody needs any more, and proves that it may.

    Settings come from flags, then MEDIASTORE_… environment variables, then the file, then defaults.
    """
    context.obj = config


for verbs in (looking, collecting, brakes, restoring, erasing, auditing):
    app.add_typer(verbs)


def main() -> None:
    """The entry point that pyproject names."""
    try:
        app()
    except MediastoreError as error:
        print(f"mediastore-gc: {error.detail} [{error.code}]", file=sys.stderr)
        sys.exit(error.exit_code)
