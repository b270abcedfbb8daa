"""How fast simulated servers are: as the replay takes them to be."""

from lorax_batch_scheduler.replay.server_model import (
    ADAPTER_COPY_S,
    ADAPTER_DOWNLOAD_S,
    ADAPTER_FACTOR,
    ADAPTER_LOAD_S,
    ADAPTER_OFFLOAD_S,
    ServerModel,
)


def speed_of(model: ServerModel, slot_speed: float) -> dict[str, float]:
    """Return an entry of a simulated server's speed file."""
    return {
        "decode_base_s": model.decode_base_s / slot_speed,
        "decode_row_s": model.decode_row_s / slot_speed,
        "prefill_base_s": model.prefill_base_s / slot_speed,
        "prefill_token_s": model.prefill_token_s / slot_speed,
        "start_s": model.cold_start_s,
        "weights_download_s": model.download_s,
        "adapter_factor": ADAPTER_FACTOR,
        "adapter_download_s": ADAPTER_DOWNLOAD_S,
        "adapter_copy_s": ADAPTER_COPY_S,
        "adapter_load_s": ADAPTER_LOAD_S,
        "adapter_offload_s": ADAPTER_OFFLOAD_S,
        "adapter_slots": model.adapter_slots,
        "kv_tokens": model.kv_tokens,
    }
