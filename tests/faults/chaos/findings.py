"""What a run found to be wrong."""

import time
from dataclasses import dataclass, field

MOST_TOLD = 200


@dataclass(slots=True)
class Findings:
    """Violations, in the order in which they were found; a run without any has passed."""

    began: float = field(default_factory=time.time)
    texts: list[str] = field(default_factory=list)
    lost: int = 0
    """Rows of ended jobs that are on no line, and rows of jobs that never ended."""
    doubled: int = 0
    """Lines of rows that have another one."""

    def add(self, text: str) -> None:
        """Note a violation."""
        if len(self.texts) < MOST_TOLD:
            self.texts.append(f"at {time.time() - self.began:.1f} s: {text}")
