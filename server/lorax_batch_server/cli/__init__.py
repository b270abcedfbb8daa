"""The command line: one file a command group; what is heavy is imported by the command that needs it."""


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    from lorax_batch_server.cli.application import application

    application(prog_name="lorax-batch")
