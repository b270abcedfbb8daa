"""Where rows may have their adapters from."""

import pytest
from lorax_batch_scheduler.chunk import CHAT, COMPLETIONS, EMBEDDINGS, GENERATE
from lorax_batch_scheduler.ingest.limits import IngestLimits
from lorax_batch_scheduler.ingest.line import BadLine, LineReader
from lorax_batch_scheduler.ingest.request import Row

from tests.unit.ingest.lines_of import MINIMAL, line_of, read, valid

NO_FILES = IngestLimits(adapter_sources=("hub", "s3"))
ENDPOINTS = (CHAT, COMPLETIONS, EMBEDDINGS, GENERATE)


def body(url: str, model: str, source: str | None) -> dict[str, object]:
    """Return a body for an adapter."""
    named = {"adapter_source": source} if source else {}
    if url == GENERATE:
        return MINIMAL[url] | {"parameters": {"adapter_id": model, **named}}
    return MINIMAL[url] | {"model": model, **named}


def refusal(url: str, model: str, source: str | None) -> tuple[str, str, str]:
    """Return code, parameter and message of a line that is refused."""
    bad = read(line_of(body(url, model, source), url), NO_FILES)
    assert isinstance(bad, BadLine), bad
    return bad.error.code, bad.error.param, bad.error.message


@pytest.mark.parametrize("url", ENDPOINTS)
def test_a_source_that_is_not_allowed_makes_a_line_invalid(url: str) -> None:
    param = "body.parameters.adapter_source" if url == GENERATE else "body.adapter_source"
    told = f"'{param}' is \"local\", but this service allows hub, s3 alone (its adapter_sources)"
    assert refusal(url, "org/a", "local") == ("adapter_not_allowed", param, told)
    assert valid(body(url, "org/a", "local"), url).key == (url, "org/a", "local")
    for source in ("hub", "s3", None):
        assert valid(body(url, "org/a", source), url, NO_FILES).key == (url, "org/a", source or "")


@pytest.mark.parametrize("url", [CHAT, COMPLETIONS])
def test_the_short_cut_for_adapters_that_were_seen_before_allows_no_more(url: str) -> None:
    reader = LineReader(NO_FILES)
    assert isinstance(reader.read(line_of(body(url, "org/a", "s3"), url)), Row)
    assert isinstance(reader.read(line_of(body(url, "org/a", "local"), url)), BadLine)


@pytest.mark.parametrize("url", ENDPOINTS)
@pytest.mark.parametrize("model", ["/data/theirs", "./theirs", "../theirs", "org/../../theirs"])
def test_paths_are_no_adapters_where_files_are_not_allowed(url: str, model: str) -> None:
    for source in (None, "hub"):
        code, param, message = refusal(url, model, source)
        assert (code, param.rpartition(".")[2]) == ("adapter_not_allowed", "adapter_id" if url == GENERATE else "model")
        assert "a path on the server, which this service does not allow" in message
    assert valid(body(url, model, "local"), url).key[1] == model


def test_paths_are_not_merged_either() -> None:
    merged = {"ids": ["org/a", "/data/theirs"], "weights": [1, 1], "density": 0.5}
    line = line_of({"inputs": "x", "parameters": {"merged_adapters": merged}}, GENERATE)
    bad = read(line, NO_FILES)
    assert isinstance(bad, BadLine)
    assert (bad.error.code, bad.error.param) == ("adapter_not_allowed", "body.parameters.merged_adapters.ids[1]")
    assert not isinstance(read(line), BadLine)
