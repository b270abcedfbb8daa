"""`/info`, `/health` in both modes, `/startup` and `/metrics`."""

import asyncio

import pytest

from tests.simulator.conftest import MODEL

INFO_KEYS = {
    *("model_id", "model_sha", "model_dtype", "model_device_type", "model_pipeline_tag", "max_concurrent_requests"),
    *("max_best_of", "max_stop_sequences", "max_input_length", "max_total_tokens", "waiting_served_ratio"),
    *("max_batch_total_tokens", "max_waiting_tokens", "validation_workers", "eager_prefill", "version", "sha"),
    *("docker_label", "request_logger_url"),
}


async def test_info_tells_the_model_and_the_limits_and_nothing_of_adapters(simulate):
    simulator = await simulate("--max-total-tokens", "2048", "--max-batch-total-tokens", "8000")
    info = (await simulator.get("/info")).json
    assert set(info) == INFO_KEYS
    assert (info["model_id"], info["max_total_tokens"], info["max_input_length"]) == (MODEL, 2048, 2047)
    assert (info["max_batch_total_tokens"], info["max_concurrent_requests"]) == (8000, 1024)


async def test_the_older_release_has_fewer_permits_no_eager_prefill_and_fewer_routes(simulate):
    simulator = await simulate("--lorax-version", "0.12.1")
    info = (await simulator.get("/info")).json
    assert (info["max_concurrent_requests"], info["eager_prefill"]) == (128, False)
    assert (await simulator.post("/v1/embeddings", {"input": "x"})).status == 404
    assert (await simulator.get("/startup")).status == 404


@pytest.mark.parametrize("path", ["/health", "/", "/ping", "/startup"])
@pytest.mark.parametrize("version", ["main", "0.12.1"])
async def test_a_healthy_server_answers_200_with_an_empty_body(simulate, path, version):
    simulator = await simulate("--lorax-version", version)
    if (path, version) != ("/startup", "0.12.1"):
        answer = await simulator.get(path)
        assert (answer.status, answer.text) == (200, "")


async def test_an_embedding_model_starts_up_by_embedding(simulate):
    simulator = await simulate("--task", "feature-extraction")
    assert (await simulator.get("/startup")).status == 200


async def test_on_main_a_broken_shard_is_503(simulate):
    simulator = await simulate("--fault", "cuda-assert")
    answer = await simulator.get("/health")
    assert (answer.status, answer.json) == (503, {"error": "unhealthy", "error_type": "healthcheck"})


@pytest.mark.parametrize(("version", "status"), [("main", 200), ("0.12.1", 500)])
async def test_without_permits_health_of_the_older_release_is_500_overloaded(simulate, version, status):
    simulator = await simulate("--lorax-version", version, "--fault", "low-permits=0")
    answer = await simulator.get("/health")
    assert answer.status == status
    if status == 500:
        assert answer.json["error_type"] == "overloaded"


async def test_health_can_be_told_to_be_overloaded(simulate):
    simulator = await simulate("--fault", "health-overloaded")
    assert (await simulator.get("/health")).status == 500


async def test_slow_health_answers_later_in_model_time(simulate):
    simulator = await simulate("--fault", "slow-health=5", "--time-scale", "0.01")
    started = asyncio.get_running_loop().time()
    assert (await simulator.get("/health")).status == 200
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_metrics_count_rows_batches_and_failures_in_both_forms(simulate):
    simulator = await simulate()
    await simulator.chat()
    await simulator.chat(max_tokens=0)
    await simulator.chat(model="missing/adapter")
    text = await simulator.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    lines = text.text.splitlines()
    for line in (
        "# TYPE lorax_request_count counter",
        "lorax_request_count 3",
        "lorax_request_success 1",
        'lorax_request_failure{err="validation"} 1',
        'lorax_request_failure{err="download_adapter"} 1',
        'lorax_batch_inference_count{method="prefill"} 1',
        "lorax_batch_current_size 0",
        "# TYPE lorax_request_duration histogram",
        "lorax_request_duration_count 1",
        'lorax_request_duration_bucket{le="+Inf"} 1',
    ):
        assert line in lines
    shown = (await simulator.get("/metrics", headers={"accept": "application/json"})).json
    assert shown["lorax_request_success"] == {"type": "counter", "data": [{"key": "", "value": 1}]}
    assert {"key": '{err="validation"}', "value": 1} in shown["lorax_request_failure"]["data"]
