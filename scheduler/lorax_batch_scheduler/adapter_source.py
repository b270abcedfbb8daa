"""Where LoRAX servers have adapters from."""

from typing import Final

LOCAL_SOURCE: Final = "local"
ADAPTER_SOURCES: Final = ("hub", LOCAL_SOURCE, "s3", "pbase")
"""Where LoRAX can have adapters from."""


def is_path(adapter: str) -> bool:
    """Tell whether a name is a path of the server's machine: LoRAX takes what is a directory there as one.

    It does so whatever the source, `hub` too. A relative path of two words can't be told from an id.
    """
    return adapter.startswith(("/", ".")) or ".." in adapter.split("/")
