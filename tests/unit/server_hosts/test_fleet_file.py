"""Fleet files, good and bad: each error names the file, the entry and the field."""

import sys
from pathlib import Path

import pytest
from lorax_batch_scheduler.errors import ConfigurationError
from lorax_batch_scheduler.launch import Launch
from lorax_batch_scheduler.server_hosts.command.launch_plan import base_environment, plan_launch
from lorax_batch_scheduler.server_hosts.fleet_file import FleetPlan, load_fleet
from lorax_batch_scheduler.server_hosts.template_entry import shipped_templates

GIB = 1 << 30
SLOT = '[[slots]]\nid = "a"\ngpus = [0]\n'


def read(directory: Path, text: str) -> FleetPlan:
    path = directory / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return load_fleet(path)


def test_a_file_of_every_kind_is_read(tmp_path: Path) -> None:
    plan = read(
        tmp_path,
        """
        [[slots]]
        id = "gpu-0"
        gpus = [0]
        gpu_kind = "a100-80"
        gpu_memory_gib = 80
        start_timeout_s = 600
        [[slots]]
        id = "gpu-1-left"
        gpus = [1]
        share = 0.5
        gpu_memory_gib = 24
        template = "mine"
        port = 8080
        grace_s = 3
        environment = { HF_HOME = "/weights" }
        values = { flavour = "sweet" }
        [[slots]]
        id = "gpu-1-right"
        gpus = [1]
        memory_gib = 12
        gpu_memory_gib = 24
        template = "simulator"
        [templates.mine]
        command = ["serve", "{model}", "{flavour}"]
        values = { flavour = "sour" }
        [[static]]
        url = "http://10.0.0.7:8080/"
        model = "mistral-7b"
        [kubernetes]
        namespace = "lorax"
        """,
    )
    whole, left, right = plan.command
    assert whole.template.name == "docker"
    assert whole.slot.memory_bytes == 80 * GIB
    assert (whole.slot.kind, whole.slot.gpu_kind, whole.slot.start_timeout_s) == ("command", "a100-80", 600)
    assert (left.share, left.slot.memory_bytes, left.port, left.grace_s) == (0.5, 12 * GIB, 8080, 3)
    assert (right.share, right.slot.memory_bytes) == (0.5, 12 * GIB)
    assert "/weights" not in repr(left)
    (static,) = plan.static
    assert (static.url, static.declared_model, static.kind) == ("http://10.0.0.7:8080", "mistral-7b", "static")
    assert plan.kubernetes == {"namespace": "lorax"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["has no slots", "[[slots]]"]),
        ("slots = 3", ["slots", "[[slots]]"]),
        ("slots = [3]", ["slots entry 1", "must be a table", "3"]),
        ('[[slot]]\nid = "a"', ["unknown key 'slot'", "did you mean 'slots'"]),
        (SLOT + "gpu_memory_gb = 80", ["slots entry 1 'a'", "'gpu_memory_gb'", "did you mean 'gpu_memory_gib'"]),
        (SLOT + "zzz = 1", ["unknown key 'zzz'", "known ones are", "template"]),
        ("[[slots]]\ngpus = [0]", ["slots entry 1", "id"]),
        ('[[slots]]\nid = "a"', ["slots entry 1 'a'", "gpus"]),
        ('[[slots]]\nid = "a"\ngpus = []', ["gpus = []"]),
        ('[[slots]]\nid = "a"\ngpus = [-1]', ["gpus"]),
        ('[[slots]]\nid = "a"\ngpus = [1, 1]', ["gpus = [1, 1]", "twice"]),
        ('[[slots]]\nid = "A b"\ngpus = [0]', ["id = 'A b'"]),
        (SLOT + SLOT, ["slots entry 2 'a'", "id = 'a'"]),
        (SLOT + "share = 0", ["share = 0"]),
        (SLOT + "share = 1.5", ["share = 1.5"]),
        (SLOT + "memory_gib = -8", ["memory_gib = -8"]),
        (SLOT + "gpu_memory_gib = 24\nmemory_gib = 32", ["memory_gib = 32", "24 GiB"]),
        (SLOT + "gpu_memory_gib = 24\nshare = 0.5\nmemory_gib = 16", ["memory_gib = 16", "share of 0.5", "12 GiB"]),
        (SLOT + "grace_s = -1", ["grace_s = -1"]),
        (SLOT + "start_timeout_s = 0", ["start_timeout_s = 0"]),
        (SLOT + "port = 70000", ["port = 70000", "<= 65535"]),
        (SLOT + "port = '80'", ["port = '80'", "must be a whole number\0"]),
        (
            SLOT + "port = 20001\n" + SLOT.replace('"a"', '"b"').replace("[0]", "[1]") + "port = 20001",
            ["slots entry 2 'b'", "port = 20001", "slot 'a' has it", "leave it out"],
        ),
        (SLOT + "gpu_memory_gib = inf", ["gpu_memory_gib = inf", "<= 10000"]),
        (SLOT + "share = nan", ["share = nan"]),
        ('[[slots]]\nid = "a"\ngpus = ["0"]', ["gpus[0] = '0'", "without quotes"]),
        (SLOT + 'values = { tag = "a\\u0000" }', ["values.tag", "NUL"]),
        ('[templates.t]\ncommand = ["a\\u0000"]', ["templates.t", "command", "NUL"]),
        ('[templates.t]\ncommand = ["{a}"]\nvalues = { a = "\\u0000" }', ["templates.t", "values.a", "NUL"]),
        (SLOT + 'template = "dokcer"', ["template = 'dokcer'", "did you mean 'docker'", "launcher, simulator"]),
        (SLOT + 'values = { tagg = "x" }', ["values", "no 'tagg'", "tag"]),
        (SLOT + 'environment = { "A-B" = "x" }', ["environment", "'A-B'"]),
        (SLOT + 'environment = { CUDA_VISIBLE_DEVICES = "1" }', ["CUDA_VISIBLE_DEVICES", "gpus"]),
        (SLOT + SLOT.replace('"a"', '"b"'), ["slots entry 2 'b'", "GPU 0", "'a' (1)", "2 of it"]),
        (
            SLOT + "share = 0.6\n" + SLOT.replace('"a"', '"b"') + "share = 0.5",
            ["slots entry 2 'b'", "share = 0.5", "GPU 0", "'a' (0.6)", "1.1"],
        ),
        (
            SLOT + "gpu_memory_gib = 24\nmemory_gib = 16\n" + SLOT.replace('"a"', '"b"') + "share = 0.5",
            ["slots entry 2 'b'", "GPU 0", "'a'"],
        ),
        (
            SLOT
            + "share = 0.5\ngpu_memory_gib = 24\n"
            + SLOT.replace('"a"', '"b"')
            + "share = 0.5\ngpu_memory_gib = 80",
            ["slots entry 2 'b'", "gpu_memory_gib", "80 GiB", "24 GiB", "'a'"],
        ),
        ("[templates.t]\ncommand = []", ["templates.t", "command"]),
        ("[templates.t]\ncommand = 'x'", ["templates.t", "command = 'x'"]),
        ("[templates.t]\ncomand = ['x']", ["templates.t", "'comand'", "did you mean 'command'"]),
        ("[templates.t]\ncommand = ['{modle}']", ["templates.t", "{modle}", "did you mean {model}", "{port}"]),
        ("[templates.t]\ncommand = ['{model']", ["templates.t", "'{model'", "doubled"]),
        ("[templates.t]\ncommand = ['{model.x}']", ["templates.t", "'{model.x}'"]),
        ("[templates.t]\ncommand = ['{model!r}']", ["templates.t", "'{model!r}' is not the name"]),
        (
            "[templates.t]\ncommand = ['x']\n[[slots]]\nid = 'a'\ngpus = [0]\ntemplate = 't'",
            ["slots entry 1 'a'", "template t has no {port}"],
        ),
        ("[templates.t]\ncommand = ['{0}']", ["templates.t", "{0}"]),
        ("[templates.t]\ncommand = ['x']\nstop = ['y', '{args}']", ["templates.t", "stop", "{args}", "{name}"]),
        ("[templates.t]\ncommand = ['{args}{environment}']", ["templates.t", "two lists"]),
        ("[templates.t]\ncommand = ['x:{tag}']", ["templates.t", "values.tag"]),
        ("[templates.t]\ncommand = ['x']\nvalues = { port = '1' }", ["templates.t", "'port'"]),
        (
            "[templates.t]\ncommand = ['x', '{gpu}']\n[[slots]]\nid = 'a'\ngpus = [0, 1]\ntemplate = 't'",
            ["slots entry 1 'a'", "gpus = [0, 1]", "{gpus}"],
        ),
        ("[[static]]\nurl = 'ftp://x'", ["static entry 1", "url", "ftp://x"]),
        ("[[static]]\nurl = 'http://u:secret@x'", ["static entry 1", "password"]),
        ("[[static]]\nurl = 'http://x?y'", ["static entry 1", "query"]),
        ("[[static]]\nurl = 'http://x'\n[[static]]\nurl = 'http://x/'", ["two slots 'http://x'"]),
        ("[[static]]\nmodel = 'x'", ["static entry 1", "url"]),
        ("kubernetes = 3", ["kubernetes", "table"]),
        ("[[slots", ["not TOML"]),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    message = str(caught.value) + "\0"
    assert [words for words in ["fleet file", "fleet.toml", *says] if words not in message] == [], message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"fleet file .*none\.toml"):
        load_fleet(tmp_path / "none.toml")


def test_no_password_of_a_url_gets_into_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, "[[static]]\nurl = 'http://user:swordfish@x'")
    assert "swordfish" not in str(caught.value)


def test_no_variable_of_a_file_gets_into_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, SLOT + 'environment = { KEY = "swordfish", OTHER = 3 }')
    assert "swordfish" not in str(caught.value)


def test_three_thirds_are_a_whole(tmp_path: Path) -> None:
    thirds = [SLOT.replace('"a"', f'"{name}"') + "share = 0.3333334\n" for name in "abc"]
    assert len(read(tmp_path, "".join(thirds)).command) == 3


def test_migs_are_gpus_of_their_own(tmp_path: Path) -> None:
    uuids = ["MIG-1c6e5a92-0000-5f3d-8b9f-0123456789ab", "MIG-9d2f5a92-0000-5f3d-8b9f-0123456789ab"]
    plan = read(tmp_path, "".join(f'[[slots]]\nid = "s{n}"\ngpus = ["{uuid}"]\n' for n, uuid in enumerate(uuids)))
    assert [slot.gpus for slot in plan.command] == [(uuid,) for uuid in uuids]


# --- the templates that are shipped

LAUNCH = Launch(
    family="f" * 64,
    base_model_id="m",
    model="org/model",
    arguments=("--quantize", "eetq", "--json", '{"a": "{port}"}'),
    hf_token="hf_secret",
)


def test_servers_are_not_let_into_the_stores_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ("LORAX_BATCH_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "OTEL_EXPORTER_OTLP_HEADERS")
    for name in (*ours, "HF_HOME"):
        monkeypatch.setenv(name, "value")
    assert base_environment().keys() & {*ours, "HF_HOME"} == {"HF_HOME"}


def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slot: str, launch: Launch = LAUNCH) -> list[str]:
    for program in ("docker", "lorax-launcher"):
        (tmp_path / program).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (command_slot,) = read(tmp_path, slot).command
    plan = plan_launch(command_slot, launch, server_id="a-1", port=20_001, master_port=20_002)
    assert "hf_secret" not in repr(plan) + " ".join((*plan.command, *plan.stop, *plan.cleanup))
    assert plan.token == plan.environment["HUGGING_FACE_HUB_TOKEN"] == plan.environment["HF_TOKEN"] == "hf_secret"
    return plan.command


def test_the_templates_are_those_that_are_documented() -> None:
    assert sorted(shipped_templates()) == ["docker", "launcher", "simulator"]


def test_docker_gets_the_gpu_the_port_and_the_names_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert planned(tmp_path, monkeypatch, SLOT) == [
        *("docker", "run", "--rm", "--name", "lorax-batch-a-1", "--gpus", '"device=0"', "--shm-size", "1g"),
        *("--publish", "127.0.0.1:20001:80", "--volume", "lorax-data:/data"),
        *("--env=HF_TOKEN", "--env=HUGGING_FACE_HUB_TOKEN"),
        *("ghcr.io/predibase/lorax:main", "--model-id", "org/model", *LAUNCH.arguments),
    ]


def test_docker_gets_several_gpus_a_share_and_the_image_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = SLOT.replace("[0]", "[2, 3]") + 'share = 0.5\nvalues = { image = "mirror/lorax" }\n'
    launch = Launch(family="f", base_model_id="m", model="m", image_tag="07addea", hf_token="hf_secret")
    command = planned(tmp_path, monkeypatch, slot, launch)
    assert '"device=2,3"' in command
    assert "--env=CUDA_MEMORY_FRACTION" in command
    assert "mirror/lorax:07addea" in command


def test_the_services_own_token_is_for_adapters_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    command = planned(tmp_path, monkeypatch, SLOT, Launch(family="f", base_model_id="m", model="m"))
    assert "--env=LORAX_USE_GLOBAL_HF_TOKEN" in command
    command = planned(tmp_path, monkeypatch, SLOT)
    assert "--env=LORAX_USE_GLOBAL_HF_TOKEN" not in command, "a job's token is for its own adapters"


def test_a_launcher_listens_on_this_host_only_and_shares_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned(tmp_path, monkeypatch, SLOT + 'template = "launcher"') == [
        *("lorax-launcher", "--hostname", "127.0.0.1", "--port", "20001"),
        *("--shard-uds-path", "/tmp/lorax-batch-a-1", "--master-port", "20002", "--model-id", "org/model"),
        *LAUNCH.arguments,
    ]


def test_a_simulator_gets_its_time_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = planned(tmp_path, monkeypatch, SLOT + 'template = "simulator"\nvalues = { time_scale = "0.02" }')
    assert command[:3] == [sys.executable, "-m", "lorax_simulator"]
    assert command[command.index("--time-scale") + 1] == "0.02"
    assert command[-len(LAUNCH.arguments) - 1 :] == ["--launcher-arguments", *LAUNCH.arguments]
