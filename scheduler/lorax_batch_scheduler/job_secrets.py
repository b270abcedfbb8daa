"""The tokens of a job: stored sealed, used for its servers and its rows, and shown nowhere."""

import msgspec


class JobSecrets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """ "" stands for none."""

    hf_token: str = ""
    """For weights on the Hub; launched servers get it in their environment."""
    adapter_token: str = ""
    """For adapters; the requests of rows carry it."""

    def __bool__(self) -> bool:
        return bool(self.hf_token or self.adapter_token)

    def __repr__(self) -> str:
        return "JobSecrets(...)"

    @property
    def row_token(self) -> str:
        """What requests of rows carry: the token for adapters, else the one for the Hub."""
        return self.adapter_token or self.hf_token
