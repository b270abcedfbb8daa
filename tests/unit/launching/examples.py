"""Models and slots that the tests here share."""

from lorax_batch_scheduler.catalogue import BaseModel, Catalogue
from lorax_batch_scheduler.fleet import Slot

GIB = 1 << 30
CATALOGUE = Catalogue.load()
MISTRAL = CATALOGUE.resolve("mistral-7b-instruct-v0-2")
UNLISTED = Catalogue([], accept_unlisted=True).resolve("acme/new-model")


def model(name: str) -> BaseModel:
    return CATALOGUE.resolve(name)


def slot(gib: float = 80, *, gpu_share: float = 1.0, declared_model: str | None = None) -> Slot:
    return Slot(
        slot_id="gpu-0",
        kind="command",
        memory_bytes=int(gib * GIB),
        gpu_share=gpu_share,
        declared_model=declared_model,
    )
