"""Arguments of a real launcher, which a simulated server may be started with."""

import argparse


def read_launcher_arguments(words: list[str], known: argparse.Namespace) -> argparse.Namespace:
    """Return what is known already with the limits among `words` taken over; other words mean nothing here."""
    parse = argparse.ArgumentParser(prog="--launcher-arguments", add_help=False, allow_abbrev=False)
    for name in ("concurrent-requests", "total-tokens", "input-length", "batch-total-tokens", "batch-prefill-tokens"):
        parse.add_argument(f"--max-{name}", type=positive)
    parse.add_argument("--max-active-adapters", type=positive)
    # A launcher's switches have values: a bare one is on.
    parse.add_argument("--eager-prefill", type=_switch, nargs="?", const=True)
    taken, _ = parse.parse_known_args(words)
    given = {name: value for name, value in vars(taken).items() if value is not None}
    return argparse.Namespace(**{**vars(known), **given})


def positive(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text == "true"
