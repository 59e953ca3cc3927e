"""How much one key may send: counted in the broker, so that all processes count together.

The headers are those of draft-ietf-httpapi-ratelimit-headers: a policy of `q` submissions in `w`
seconds, of which `r` are left now, all of them again in `t` seconds.
"""

from __future__ import annotations

import math
import time
from typing import Annotated

from fastapi import Depends, Request
from limits import RateLimitItemPerMinute

from core.contract.errors import RateLimited
from service.auth import Caller
from service.backends import WithBackends
from service.documentation import header

_POLICY = "submissions"

RATE_LIMIT = {
    "RateLimit-Policy": header('`"submissions";q=Q;w=60`: at most Q a minute.'),
    "RateLimit": header('`"submissions";r=R;t=T`: R are left, all of them again in T seconds.'),
}


def _count(request: Request, backends: WithBackends, caller: Caller) -> str:
    """Count one submission of the caller. Raises RateLimited where it is one too many."""
    per_minute = backends.settings.limits_of(caller).submissions_per_minute
    item = RateLimitItemPerMinute(per_minute)
    accepted = backends.rates.hit(item, caller)
    stats = backends.rates.get_window_stats(item, caller)
    seconds = max(1, math.ceil(stats.reset_time - time.time()))
    # Every answer of the route carries them, whatever comes of the request.
    request.state.headers |= {
        "RateLimit-Policy": f'"{_POLICY}";q={per_minute};w=60',
        "RateLimit": f'"{_POLICY}";r={stats.remaining};t={seconds}',
    }
    if not accepted:
        raise RateLimited(f"At most {per_minute} submissions a minute.", seconds)
    return caller


Submitter = Annotated[str, Depends(_count)]
"""The caller, of whom one more submission was counted."""
