"""What is left of a rate limit, as the headers of an answer tell it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RateLimit:
    """A token bucket: full, it holds what flows in within `window_seconds`."""

    #: Requests that may come at once when it is full.
    burst: int
    #: Seconds in which an empty one is full again.
    window_seconds: int
    #: Requests that may come now.
    remaining: int

    def headers(self) -> dict[str, str]:
        """The header fields of draft-ietf-httpapi-ratelimit-headers, third to seventh edition."""
        used = self.burst - self.remaining
        reset_seconds = -(-used * self.window_seconds // self.burst)
        return {
            "ratelimit-limit": str(self.burst),
            "ratelimit-policy": f"{self.burst};w={self.window_seconds}",
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(reset_seconds),
        }
