"""The catalogue of base models."""

from pathlib import Path

import pytest
from lorax_batch_scheduler.catalogue import Catalogue
from lorax_batch_scheduler.errors import ConfigurationError, InvalidInputError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


@pytest.mark.parametrize(
    "name",
    [
        "mistral-7b-instruct-v0-2",
        "mistralai/Mistral-7B-Instruct-v0.2",
        "MISTRALAI/mistral-7b-instruct-v0.2",
        "predibase/Mistral-7B-Instruct-v0.2-dequantized",
    ],
)
def test_a_model_is_found_by_every_name(catalogue: Catalogue, name: str) -> None:
    assert catalogue.check(name).name == "mistral-7b-instruct-v0-2"


@pytest.mark.parametrize(
    ("model_id", "name"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", "llama-3-1-8b"),
        ("/data/models--mistralai--Mistral-7B-v0.1/snapshots/26bca36bde8333b5d7f72e9ed20ccda6a618af24", "mistral-7b"),
        ("/models/Mistral-7B-Instruct-v0.2", "mistral-7b-instruct-v0-2"),
        ("gpt2", "gpt2"),
        ("acme/other", None),
        ("/models/other", None),
        ("", None),
    ],
)
def test_what_a_server_reports_is_matched(catalogue: Catalogue, model_id: str, name: str | None) -> None:
    found = catalogue.find(model_id)
    assert (found.name if found else None) == name


def test_a_model_that_nobody_knows_is_one_of_its_name(catalogue: Catalogue) -> None:
    assert catalogue.identify("org/new").name == "org/new"
    assert catalogue.identify("org/new").parameters == 0
    assert catalogue.identify("mistral-7b") is catalogue.find("mistral-7b")


def test_an_adapter_directory_is_no_base_model(catalogue: Catalogue) -> None:
    assert catalogue.named("/adapters/zephyr-7b-beta") is None


@pytest.mark.parametrize("name", ["mixtral-8x7b-instruct-v0-1", "llama-2-70b", "meta-llama/Llama-3.1-70B-Instruct"])
def test_a_model_that_is_too_large_is_refused_by_its_size(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(
        InvalidInputError, match="billion parameters, but base models may have at most 16 billion"
    ) as told:
        catalogue.check(name)
    assert told.value.field == "server_config.base_model"
    assert catalogue.check(name, 80_000_000_000).parameters > 16_000_000_000


def test_an_unknown_model_is_told_what_to_do(catalogue: Catalogue) -> None:
    with pytest.raises(
        InvalidInputError, match=r"did you mean 'mistral-7b-instruct'.*size can't be told.*catalogue file"
    ):
        catalogue.check("mistral-7b-instrukt")
    with pytest.raises(InvalidInputError, match="is required"):
        catalogue.check(" ")


def test_the_sizes_are_plausible(catalogue: Catalogue) -> None:
    for model in catalogue:
        assert 10_000_000 < model.parameters < 200_000_000_000
        assert 512 <= model.context_length <= 131_072
        assert model.kv_bytes_per_token is None or 4_096 <= model.kv_bytes_per_token < 5_000_000
    assert catalogue.resolve("llama-2-7b").weight_bytes == 2 * 6_738_415_616


def write(path: Path, text: str) -> Path:
    file = path / "models.toml"
    file.write_text(text)
    return file


def test_a_file_adds_models_and_replaces_those_of_the_same_name(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        [models.acme-7b]
        hf_id = "acme/Acme-7B"
        parameters = 7_000_000_000
        context_length = 4096
        bytes_per_weight = 0.5
        [models.gpt2]
        parameters = 1
        context_length = 7
        """,
    )
    catalogue = Catalogue.load(file)
    assert catalogue.check("ACME/acme-7b").weight_bytes == 3_500_000_000
    assert catalogue.resolve("gpt2").context_length == 7
    assert catalogue.check("mistral-7b").name == "mistral-7b"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = [", "is not TOML"),
        ("[model.a]\nparameters = 1", r"'model'.*\[models.NAME\]"),
        ("[models.a]\ncontext_length = 1", "models.a: .*`parameters`"),
        ("[models.a]\ncontext_length = 1\nparameters = 0", "models.a: .*>= 1.*`parameters`"),
        ("[models.a]\ncontext_length = 1\nparameters = 1\nsize = 1", "models.a: .*`size`"),
        ("models = 3", "models"),
        ("[models]\na = 3", "models.a"),
        (
            "[models.a]\ncontext_length = 1\nparameters = 1\naliases = ['GPT2-small']",
            "models.a.*already belongs to 'gpt2'",
        ),
    ],
)
def test_a_wrong_file_is_told_with_entry_and_field(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as error:
        Catalogue.load(write(tmp_path, text))
    assert "models.toml" in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Catalogue.load(tmp_path / "nothing.toml")
