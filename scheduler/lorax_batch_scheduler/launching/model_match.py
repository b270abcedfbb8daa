"""Whether a server runs the model that was asked for."""

from lorax_batch_scheduler.catalogue import BaseModel, Catalogue


def model_matches(asked: BaseModel, reported: str) -> bool:
    """Tell whether what a server reports in `/info` is the model asked for.

    Upper and lower case are the same. Aliases, a revision (`name@revision`) and paths in which the model was found (of
    a hub cache, or a directory with the repository's name) mean the model itself.
    """
    only = Catalogue([asked])
    name, _, revision = reported.strip().rpartition("@")
    return only.find(reported.strip()) is asked or (bool(name and revision) and only.find(name) is asked)


def mismatch_reason(asked: BaseModel, reported: str) -> str:
    """Return for people what is wrong with a server that reports another model; "" when it is the one asked for."""
    if model_matches(asked, reported):
        return ""
    told = f"reports the model '{reported}'" if reported.strip() else "reports no model"
    what = asked.name if asked.name == asked.hf_id else f"{asked.name} ({asked.hf_id})"
    return (
        f"was started for {what}, but {told}: it gets no rows; make its command pass the model on as it is given, or "
        f"add the reported name to the aliases of {asked.name} in the service's catalogue file"
    )
