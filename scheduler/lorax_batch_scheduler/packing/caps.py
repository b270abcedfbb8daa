"""How many slots families may have whose tenants have caps.

A family that a tenant without a cap has jobs in is not held back: servers that are there anyway take everybody's rows.
"""

import math
from collections.abc import Mapping, Sequence

from lorax_batch_scheduler.packing.claims import Claim


def set_caps(claims: Sequence[Claim], caps: Mapping[str, int], idle_margin: float) -> None:
    """Set the most slots of each claim, the strongest first: a tenant's slots count for all its families together."""
    left = {tenant: max(cap, 0) for tenant, cap in caps.items()}
    for claim in claims:
        tenants = sorted({job.tenant for job in claim.jobs})
        if any(tenant not in left for tenant in tenants):
            continue
        claim.most = sum(left[tenant] for tenant in tenants)
        setup_s = max(min(claim.family.setup_s.values()), 1.0)
        worth = max(math.ceil(claim.needed), math.floor(claim.work_s / (idle_margin * setup_s)) + 1)
        used = min(claim.most, max(claim.hosts, worth))
        for tenant in tenants:
            taken = min(left[tenant], used)
            left[tenant] -= taken
            used -= taken
