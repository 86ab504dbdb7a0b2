"""The `octet` command: on this machine or through the service, with the same sentences and the same tables."""

from octet.cli.app import app
from octet.cli.local import analyze, export, inspect, quantize
from octet.cli.service import cancel, download, jobs, show, submit, wait

__all__ = ["main"]

for _command in (inspect, export, quantize, analyze, submit, jobs, show, wait, cancel, download):
    app.command()(_command)


def main() -> None:
    """Run the command that the arguments of this process name."""
    app()
