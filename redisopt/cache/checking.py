"""Whether a value that Redis has is of use: in the right codec, and under the tags that hold."""

from __future__ import annotations

from collections.abc import Mapping

from redisopt import events
from redisopt.cache.asking import Asking
from redisopt.cache.layout import Place
from redisopt.cache.replies import Found
from redisopt.commands import Plan, call
from redisopt.errors import Unavailable


class Checking:
    """The checks of one cache."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._has_warned = False

    def is_of_use(self, place: Place, found: Found) -> Plan[bool]:
        """Whether the value may be served."""
        return self._can_read(place, found) and (yield from self.holds(found))

    def versions(self, tags: tuple[str, ...]) -> Plan[Mapping[str, str] | None]:
        """The versions that tags have before the computation begins; None where they are not to be had."""
        if not tags:
            return {}
        try:
            return (yield from call(self._asking.versions(tags, keep=True)))
        except Unavailable as error:
            events.logger.debug("cache %r: tags could not be read: %s", self._asking.name, error)
            return None

    def holds(self, found: Found) -> Plan[bool]:
        """Whether no tag of a value was invalidated since. Asks only on a Cluster: else the script has looked."""
        if not self._asking.clustered or not found.tags:
            return True
        versions = yield from call(self._asking.versions(tuple(found.tags)))
        return all(versions[tag] == version for tag, version in found.tags.items())

    def _can_read(self, place: Place, found: Found) -> bool:
        """Whether the value is in this cache's codec: the bytes of another one could be read as something else. Warns once where not."""
        codec = self._asking.config.codec
        if found.codec != codec and not self._has_warned:
            self._has_warned = True
            events.logger.warning(
                "cache %r: the value of %r is %s, and is computed anew as %s: give all processes the same codec (told once)",
                self._asking.name,
                place.key,
                found.codec,
                codec,
            )
        return found.codec == codec
