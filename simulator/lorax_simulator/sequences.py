"""Makes the rows of a generation: how long each will be, what it will say, and whether its prefill fails."""

from collections.abc import Iterator

import msgspec

from lorax_simulator import answer_text, schemas, tokens
from lorax_simulator.faults import Faults
from lorax_simulator.generation import FINISH_EOS, FINISH_LENGTH, FINISH_STOP, Generated, Sequence, Wish
from lorax_simulator.limits import ServerIdentity
from lorax_simulator.row import Row
from lorax_simulator.shard_errors import unexplained
from lorax_simulator.validation import Lengths


class SequenceMaker:
    """Decides the outcome of every row beforehand, the same for the same model, adapter, prompt and seed."""

    def __init__(self, *, identity: ServerIdentity, faults: Faults, seed: int) -> None:
        self._identity = identity
        self._faults = faults
        self._seed = seed
        self._next_id = 0

    def make(
        self, wish: Wish, lengths: Lengths, *, arrived_at: float, row_faults: frozenset[str]
    ) -> Iterator[Sequence]:
        """Return as many sequences as the row asked for."""
        fault = "poison" if "poison" in row_faults else ""
        if self._faults.hits_adapter("adapter-poison", wish.adapter_id) and wish.adapter_id:
            fault = "adapter-poison"
        error = unexplained() if fault else None
        if wish.schema is not None and error is None:
            error = schemas.compile_error(wish.schema)
        for index in range(wish.parameters.best_of or 1):
            chance = answer_text.draw(
                model_id=self._identity.model_id,
                adapter_id=wish.adapter_id,
                prompt=wish.prompt,
                seed=f"{self._seed}:{wish.parameters.seed}:{index}",
            )
            generated = self._generate(wish, lengths, chance, compiles=error is None)
            self._next_id += 1
            row = Row(
                id=self._next_id,
                adapter_id=wish.adapter_id,
                adapter_source=wish.adapter_source,
                prompt_tokens=lengths.prompt_tokens,
                max_new_tokens=1 if wish.embeds else lengths.max_new_tokens,
                target_tokens=1 if wish.embeds else generated.generated_tokens,
                arrived_at=arrived_at,
                streams=wish.streams,
                prefill_error=error,
                fault=fault,
            )
            yield Sequence(row, generated, _cut(generated) if wish.streams else [])

    def _generate(self, wish: Wish, lengths: Lengths, chance: answer_text.Draw, *, compiles: bool) -> Generated:
        most = lengths.max_new_tokens
        made = most if wish.parameters.ignore_eos_token else answer_text.output_tokens(chance, wish.prompt, most)
        finish = FINISH_LENGTH if made >= most else FINISH_EOS
        if wish.schema is not None and compiles:
            text = msgspec.json.encode(schemas.example(wish.schema, chance.digest)).decode()
            made = min(most, tokens.count(text))  # the end token counts too
            finish = FINISH_EOS if made < most else FINISH_LENGTH
            text = text[: made * tokens.TOKEN_CHARACTERS]
        else:
            text = answer_text.generated_text(chance, wish.said, made)
            if wish.parameters.stop and finish == FINISH_EOS:
                finish = FINISH_STOP
                text += wish.parameters.stop[0]  # the stop text stays in the output
        if "leading-space" in self._faults:
            text = f" {text}"
        return Generated(
            text=text,
            digest=chance.digest,
            finish_reason=finish,
            prompt_tokens=lengths.prompt_tokens,
            generated_tokens=made,
            seed=wish.parameters.seed,
        )


def _cut(generated: Generated) -> list[str]:
    """Return the text of each token; an end token has none."""
    pieces = tokens.pieces(generated.text)
    if generated.finish_reason == FINISH_EOS:
        last = max(0, generated.generated_tokens - 2)
        return [*pieces[:last], "".join(pieces[last:]), ""][-generated.generated_tokens :]
    last = generated.generated_tokens - 1
    return [*pieces[:last], "".join(pieces[last:])]
