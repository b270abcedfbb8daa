"""What the Python shard says when it raises; a 424 carries these after a fixed prefix."""

PREFIX = "Server error: "


def repository_not_found(adapter_id: str) -> str:
    """The hub's answer for an adapter that does not exist, is private, or whose token is bad."""
    return (
        f"{PREFIX}404 Client Error. (Request ID: Root=1-00000000-simulated)\n\n"
        f"Repository Not Found for url: https://huggingface.co/api/models/{adapter_id}.\n"
        "Please make sure you specified the correct `repo_id` and `repo_type`.\n"
        "If you are trying to access a private or gated repo, make sure you are authenticated."
    )


def incompatible_adapter(adapter_id: str, model_id: str) -> str:
    """The adapter's config names another base model."""
    return (
        f"{PREFIX}Adapter '{adapter_id}' is not compatible with model '{model_id}'. "
        f"Architectures differ: SimulatedForCausalLM != OtherForCausalLM. "
        "Use --model-id 'some/other-model' instead."
    )


def oversized_adapter(adapter_id: str) -> str:
    """The adapter's files exceed the memory set aside for all adapters."""
    return f"{PREFIX}Adapter {adapter_id} is larger than adapter memory reservation: 9126805504 / 8589934592 bytes"


def not_an_adapter(adapter_id: str) -> str:
    """The repository holds no adapter, for example a whole model."""
    return f"{PREFIX}No valid adapter config file found: tried None and adapter_config.json in {adapter_id}"


def download_timeout() -> str:
    """A passing failure of the hub."""
    return f"{PREFIX}HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out. (read timeout=10)"


def invalid_source(source: str) -> str:
    """The row's `adapter_source` is none that LoRAX knows."""
    return f"{PREFIX}Invalid source: {source}"


def no_adapter_memory() -> str:
    """The server was started with preloaded adapters only."""
    return f"{PREFIX}Memory reserved for adapters is 0. Please increase `adapter_memory_fraction`."


def out_of_memory() -> str:
    """CUDA ran out of memory: every running row is lost."""
    return (
        f"{PREFIX}CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB "
        "of which 1.21 GiB is free."
    )


def device_assert() -> str:
    """The GPU context is broken until the process starts again."""
    return f"{PREFIX}CUDA error: device-side assert triggered"


def unexplained() -> str:
    """A failure that names no culprit: a poisoned batch."""
    return f"{PREFIX}The size of tensor a (4096) must match the size of tensor b (5120) at non-singleton dimension 1"


def transport() -> str:
    """The shard process died; the router is about to follow."""
    return f"{PREFIX}transport error"


def unsupported_task(task: str) -> str:
    """The model is of another kind than the endpoint; `task` is what it cannot do."""
    return f"{PREFIX}Model does not support {task}"
