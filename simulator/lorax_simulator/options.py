"""The command line of the simulated server."""

import argparse
import re
from fractions import Fraction
from pathlib import Path

from lorax_simulator.faults import FAULT_KINDS, Argument, Fault, FaultError, parse_fault
from lorax_simulator.journal import DEFAULT_MARKER
from lorax_simulator.launcher_arguments import positive, read_launcher_arguments
from lorax_simulator.limits import Limits, ServerIdentity
from lorax_simulator.node_cache import NodeCache
from lorax_simulator.process_age import process_age_s
from lorax_simulator.server import ServerOptions
from lorax_simulator.speed_file import Speed, SpeedFile, SpeedFileError
from lorax_simulator.templates import TEMPLATES
from lorax_simulator.timing import TIMINGS

_DEFAULTS = Limits()
_V0_12_1_PERMITS = 128


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m lorax_simulator`."""
    parse = argparse.ArgumentParser(
        prog="lorax_simulator",
        description="A simulated LoRAX server: the wire format, errors, batching and timing of a real one, no GPU.",
        epilog=f"faults:\n{_fault_help()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parse.set_defaults(speed=None)
    parse.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parse.add_argument("--port", type=int, default=8080, help="port; 0 takes a free one (default: %(default)s)")
    parse.add_argument("--model-id", default="mistralai/Mistral-7B-Instruct-v0.2", help="base model (%(default)s)")
    parse.add_argument("--gpu", choices=sorted(TIMINGS), default="a100", help="whose step times (default: %(default)s)")
    parse.add_argument(
        "--speed-file",
        type=_speed_file,
        metavar="FILE",
        help="JSON: step times, start and capacities by model id, in place of those of --gpu; '' reads none",
    )
    parse.add_argument(
        "--node-cache",
        default="",
        metavar="DIR",
        help="what was downloaded is noted here, and takes its time only once for all servers with this directory",
    )
    parse.add_argument(
        "--time-scale",
        type=_scale,
        default=1.0,
        metavar="X",
        help="real seconds a simulated second, 0.02 or 1/50 is fifty times faster, 0 takes no time (default: 1)",
    )
    parse.add_argument("--seed", type=int, default=0, help="of all chance: texts, lengths, downloads (default: 0)")
    parse.add_argument(
        "--fault", action="append", type=_fault, default=[], metavar="KIND[=ARG]", help="misbehave; may be repeated"
    )
    parse.add_argument(
        "--startup-delay",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="simulated seconds before the port answers, beside what a speed file says (default: 0); until then "
        "connections are refused",
    )
    parse.add_argument(
        "--cold-start",
        type=_seconds,
        metavar="SECONDS",
        help="simulated seconds that a restart after an abort takes (default: the GPU's, 75-90)",
    )
    parse.add_argument(
        "--lorax-version", choices=("main", "0.12.1"), default="main", help="health, routes, defaults (%(default)s)"
    )
    parse.add_argument(
        "--task", choices=("text-generation", "feature-extraction"), default="text-generation", help="(%(default)s)"
    )
    parse.add_argument("--chat-template", choices=sorted(TEMPLATES), default="chatml", help="(default: %(default)s)")
    _add_limits(parse)
    parse.add_argument("--request-log", metavar="FILE", help="append one JSON line for each ended call of a row")
    parse.add_argument(
        "--arrival-log", metavar="FILE", help="append 'SECONDS KEY' for each row that arrives, at once: see --marker"
    )
    parse.add_argument(
        "--load-log", default="", metavar="FILE", help="append 'SECONDS MODEL ADAPTER' for each adapter that is loaded"
    )
    parse.add_argument(
        "--marker",
        type=_pattern,
        default=DEFAULT_MARKER,
        metavar="REGEX",
        help="what names a row in its body, for /_simulator/requests; '' keeps no such counts (default: %(default)s)",
    )
    parse.add_argument(
        "--grace", type=_seconds, default=5.0, metavar="SECONDS", help="real seconds for rows in flight at a stop (5)"
    )
    parse.add_argument("--exit-with-parent", action="store_true", help="stop when the parent process dies (Linux)")
    parse.add_argument(
        "--exit-with", type=_pid, metavar="PID", help="stop when that process ends (Linux); '' is nobody"
    )
    parse.add_argument(
        "--launcher-arguments",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="ARG",
        help="all that follows is a real launcher's: limits as above are taken over, the rest is ignored",
    )
    return parse


def read_arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Return the command line with what a speed file and the launcher's arguments say taken over."""
    parse = parser()
    arguments = parse.parse_args(words)
    if arguments.speed_file is not None:
        try:
            arguments.speed = arguments.speed_file.of(arguments.model_id)
        except SpeedFileError as error:
            parse.error(f"--speed-file {error}")
        arguments.max_batch_total_tokens = arguments.speed.kv_tokens
        arguments.max_active_adapters = arguments.speed.adapter_slots
    return read_launcher_arguments(arguments.launcher_arguments, arguments)


def server_options(arguments: argparse.Namespace) -> ServerOptions:
    """Return what the command line makes of the server."""
    is_main = arguments.lorax_version == "main"
    permits = arguments.max_concurrent_requests or (_DEFAULTS.max_concurrent_requests if is_main else _V0_12_1_PERMITS)
    total = arguments.max_total_tokens
    longest_input = arguments.max_input_length or total - 1
    speed: Speed | None = arguments.speed
    return ServerOptions(
        identity=ServerIdentity(model_id=arguments.model_id, is_main=is_main, pipeline_tag=arguments.task),
        limits=Limits(
            max_concurrent_requests=permits,
            max_input_length=longest_input,
            max_total_tokens=total,
            max_batch_prefill_tokens=arguments.max_batch_prefill_tokens or longest_input + 50,
            max_batch_total_tokens=arguments.max_batch_total_tokens,
            max_active_adapters=arguments.max_active_adapters,
            eager_prefill=is_main if arguments.eager_prefill is None else arguments.eager_prefill,
        ),
        timing=TIMINGS[arguments.gpu] if speed is None else speed.timing(),
        template=TEMPLATES[arguments.chat_template],
        scale=arguments.time_scale,
        seed=arguments.seed,
        cache=node_cache(arguments),
    )


def node_cache(arguments: argparse.Namespace) -> NodeCache:
    """Return what the server's node has got."""
    return NodeCache(Path(arguments.node_cache) if arguments.node_cache else None)


def start_delay_s(arguments: argparse.Namespace) -> float:
    """Return the real seconds until the port answers: of a start that took the time it has taken already."""
    speed: Speed | None = arguments.speed
    delay: float = arguments.startup_delay
    scale: float = arguments.time_scale
    if speed is None:
        return delay * scale
    delay += speed.start_s
    if not node_cache(arguments).has(arguments.model_id):
        delay += speed.weights_download_s
    return max(delay * scale - process_age_s(), 0.0)


def _add_limits(parse: argparse.ArgumentParser) -> None:
    limits = parse.add_argument_group("limits, as the launcher of a real server has them")
    number = positive
    limits.add_argument(
        "--max-concurrent-requests", type=number, metavar="N", help="permits (default: 1024; 128 for 0.12.1)"
    )
    limits.add_argument(
        "--max-total-tokens",
        type=number,
        default=_DEFAULTS.max_total_tokens,
        metavar="N",
        help="of a row (%(default)s)",
    )
    limits.add_argument("--max-input-length", type=number, metavar="N", help="of a row (default: max total - 1)")
    limits.add_argument(
        "--max-batch-total-tokens",
        type=number,
        default=_DEFAULTS.max_batch_total_tokens,
        metavar="N",
        help="KV capacity (%(default)s)",
    )
    limits.add_argument(
        "--max-batch-prefill-tokens", type=number, metavar="N", help="of one prefill (default: max input + 50)"
    )
    limits.add_argument(
        "--max-active-adapters", type=number, default=_DEFAULTS.max_active_adapters, metavar="N", help="(%(default)s)"
    )
    limits.add_argument(
        "--eager-prefill", action=argparse.BooleanOptionalAction, help="(default: on for main, off for 0.12.1)"
    )


def _fault_help() -> str:
    lines = []
    for kind in FAULT_KINDS.values():
        argument = "" if kind.argument is Argument.NONE else f"={kind.argument.value}"
        lines.append(f"  {kind.name + argument:<28} {kind.help}")
    return "\n".join(lines)


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except FaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _speed_file(text: str) -> SpeedFile | None:
    try:
        return SpeedFile.read(Path(text)) if text else None
    except SpeedFileError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _pid(text: str) -> int | None:
    return positive(text) if text else None


def _scale(text: str) -> float:
    try:
        scale = float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number like 0.02 or 1/50") from error
    if scale < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is negative")
    return scale


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from error
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1e9 seconds")
    return seconds


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from error
    return text
