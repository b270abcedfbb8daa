"""What a launcher is started with for which jobs."""

import pytest
from lorax_batch_scheduler.catalogue import BaseModel
from lorax_batch_scheduler.fleet import Slot
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.launching.data_shape import DataShape
from lorax_batch_scheduler.launching.derivation import derive_launch, is_release, quantization_of
from lorax_batch_scheduler.server_config import ServerConfig

from tests.unit.launching.examples import MISTRAL, UNLISTED, model, slot


def derive(
    *custom: str,
    base: BaseModel = MISTRAL,
    on: Slot | None = None,
    data: DataShape | None = None,
    config: ServerConfig | None = None,
    default_tag: str = "main",
    hf_token: str | None = None,
) -> Launch:
    config = config or ServerConfig(base_model=base.name, custom_args=list(custom))
    return derive_launch(config, base, on or slot(), data or DataShape(), default_tag=default_tag, hf_token=hf_token)


def values(launch: Launch) -> dict[str, str]:
    """Return the value of each flag; "" for those that stand alone."""
    words = iter(launch.arguments)
    found: dict[str, str] = {}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            assert flag not in found, f"{flag} is there twice"
            found[flag] = value
        else:
            found[flag] = word
    return found


def test_a_server_is_started_for_batch_work() -> None:
    launch = derive(hf_token="secret")
    assert values(launch) == {
        "--eager-prefill": "true",
        "--max-concurrent-requests": "1024",
        "--max-total-tokens": "4096",
        "--max-input-length": "4095",
        "--max-batch-prefill-tokens": "16384",
        "--adapter-memory-fraction": "0.0125",
    }
    assert (launch.model, launch.base_model_id, launch.image_tag) == (MISTRAL.hf_id, MISTRAL.name, "main")
    assert launch.hf_token == "secret"
    assert "secret" not in repr(launch) + " ".join(launch.arguments)
    assert launch.family == ServerConfig(base_model="any name").family(MISTRAL.name)


@pytest.mark.parametrize(
    ("data", "base", "gib", "expected"),
    [
        (DataShape(longest_prompt_tokens=1_000, largest_max_tokens=1_000), MISTRAL, 80, ("4096", "4095", "16384")),
        # Estimated prompts may have twice the tokens: 2 x 3,000 + 256 + 1,000.
        (DataShape(longest_prompt_tokens=3_000, largest_max_tokens=1_000), MISTRAL, 80, ("8192", "8191", "16384")),
        (
            DataShape(longest_prompt_tokens=2_000, largest_max_tokens=1_000, prompts_are_counted=True),
            MISTRAL,
            80,
            ("4096", "4095", "16384"),
        ),
        # The context length is the end of it.
        (DataShape(longest_prompt_tokens=30_000, largest_max_tokens=9_000), MISTRAL, 80, ("32768", "32767", "32817")),
        (DataShape(longest_prompt_tokens=9_000), model("llama-2-7b"), 80, ("4096", "4095", "16384")),
        (DataShape(largest_max_tokens=400), model("bge-base-en-v1-5"), 80, ("512", "511", "16384")),
        # Long answers to short prompts need no larger prefills.
        (DataShape(longest_prompt_tokens=10, largest_max_tokens=30_000), MISTRAL, 80, ("32768", "16334", "16384")),
        # The KV cache is: 24 GiB hold 14.5 GB of weights, 5 GiB of overhead, and few tokens.
        (DataShape(largest_max_tokens=30_000), MISTRAL, 24, ("32768", "4046", "4096")),
        (DataShape(largest_max_tokens=9_000), model("llama-2-7b"), 24, ("4096", "4046", "4096")),
        # Nothing is known of the model: the data decide.
        (DataShape(), UNLISTED, 0, ("4096", "4095", "8192")),
        (DataShape(longest_prompt_tokens=10_000), UNLISTED, 80, ("32768", "20256", "20306")),
    ],
)
def test_token_limits_fit_the_data_the_model_and_the_memory(
    data: DataShape, base: BaseModel, gib: int, expected: tuple[str, str, str]
) -> None:
    found = values(derive(base=base, on=slot(gib), data=data))
    flags = ("--max-total-tokens", "--max-input-length", "--max-batch-prefill-tokens")
    assert tuple(found[flag] for flag in flags) == expected


@pytest.mark.parametrize(
    ("data", "on", "fraction"),
    [
        # 1 GiB at least, for adapters of later jobs.
        (DataShape(adapters=0), slot(80), "0.0125"),
        (DataShape(adapters=2, adapter_bytes=84_000_000), slot(80), "0.0125"),
        # 16 at once, of 168 MB.
        (DataShape(adapters=40, adapter_bytes=168_000_000), slot(80), "0.0313"),
        (DataShape(adapters=40, adapter_rank=32), slot(80), "0.0313"),
        (DataShape(adapters=40), slot(80), "0.0313"),
        # One that is larger than all must have room.
        (DataShape(adapters=1, adapter_bytes=8 << 30), slot(80), "0.1000"),
        # No more than a least KV cache leaves.
        (DataShape(adapters=16, adapter_bytes=2 << 30), slot(24), "0.2064"),
        # LoRAX takes it of the whole GPU.
        (DataShape(adapters=40, adapter_bytes=168_000_000), slot(40, gpu_share=0.5), "0.0313"),
        (DataShape(adapters=40, adapter_bytes=168_000_000), slot(0), None),
    ],
)
def test_adapters_get_the_memory_of_a_working_set(data: DataShape, on: Slot, fraction: str | None) -> None:
    assert values(derive(on=on, data=data)).get("--adapter-memory-fraction") == fraction


def test_nothing_is_reserved_for_adapters_that_are_loaded_at_the_start() -> None:
    assert "--adapter-memory-fraction" not in values(derive("--preloaded-adapter-ids", "org/a"))


def test_the_configuration_becomes_flags() -> None:
    config = ServerConfig(base_model="m", quantization="awq", backend="flashinfer", adapter_source="s3")
    found = values(derive(config=config))
    assert (found["--quantize"], found["--backend"], found["--adapter-source"]) == ("awq", "flashinfer", "s3")


@pytest.mark.parametrize(
    ("tag", "release"),
    [("latest", True), ("0.12", True), ("0.12.1", True), ("v0.11.0", True), ("0.13.0", False), ("main", False),
     ("a7394ba", False), ("", False)],
)  # fmt: skip
def test_the_release_is_told_to_make_cuda_graphs(tag: str, release: bool) -> None:
    assert is_release(tag) is release
    assert ("--compile" in values(derive(default_tag=tag))) is release


def test_the_tag_of_the_job_wins_over_the_fleets() -> None:
    config = ServerConfig(base_model="m", lorax_image_tag="0.12.1")
    assert derive(config=config, default_tag="main").image_tag == "0.12.1"


@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        (["--eager-prefill", "false"], {"--eager-prefill": "false"}),
        (["--eager-prefill=false"], {"--eager-prefill": "false"}),
        (["--max-concurrent-requests=64"], {"--max-concurrent-requests": "64"}),
        (
            ["--trust-remote-code", "--max-active-adapters", "4"],
            {"--trust-remote-code": "", "--max-active-adapters": "4"},
        ),
        (["--max-total-tokens", "1000"], {"--max-total-tokens": "1000", "--max-input-length": "999"}),
        (["--max-input-length", "9000"], {"--max-input-length": "9000", "--max-total-tokens": "9001"}),
        (["--max-batch-prefill-tokens=600"], {"--max-batch-prefill-tokens": "600", "--max-input-length": "550"}),
        (
            ["--max-batch-total-tokens=2000"],
            {
                "--max-batch-total-tokens": "2000",
                "--max-total-tokens": "2000",
                "--max-input-length": "1999",
                "--max-batch-prefill-tokens": "2000",
            },
        ),
        (["--adapter-memory-fraction", "0.3"], {"--adapter-memory-fraction": "0.3"}),
        (["--model-id", "mistralai/Mistral-7B-Instruct-v0.2"], {}),
        (["--unheard-of=x=y"], {"--unheard-of": "x=y"}),
    ],
)
def test_the_callers_arguments_win_and_the_others_are_reckoned_around_them(
    custom: list[str], expected: dict[str, str]
) -> None:
    found = values(derive(*custom))
    assert found == values(derive()) | expected


def test_a_flag_that_excludes_a_derived_one_replaces_it() -> None:
    found = values(derive("--eager", default_tag="latest"))
    assert "--eager" in found
    assert "--compile" not in found


def test_a_quantization_among_the_callers_arguments_counts() -> None:
    config = ServerConfig(base_model="m", custom_args=["--quantize=awq"])
    assert quantization_of(config) == "awq"
    assert quantization_of(ServerConfig(base_model="m", quantization="eetq")) == "eetq"
    assert quantization_of(ServerConfig(base_model="m")) == ""


def test_a_value_that_looks_like_a_flag_stays_with_its_own() -> None:
    assert "--watermark-gamma=-0.5" in derive("--watermark-gamma", "-0.5").arguments
