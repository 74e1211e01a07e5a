"""Lists paged by position (an offset or a page number), which move while they are read.

When a record is deleted, it leaves the list and the later ones move up. When a list is ordered by
time of change, an edited record goes to its other end. In both cases the first record of the next
page moves onto a page that was read already, and would be lost.

So two pages overlap by one record, where the request can say so; elsewhere the page before is
looked at again after each new page. Where the overlap, or the second look, does not fit, the
reading goes back to a page that still shares a record with what was read.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from connectors.kit.spec.requests import (
    ListMovedError,
    PageRequest,
    Pages,
    PageView,
    Special,
    WindowRefusedError,
)

#: How many pages a reading goes back before the whole list is read again.
_PAGES_KEPT: Final = 4
#: How often a reading goes back without getting a new page in between.
_BACKS_MAX: Final = 6

#: A page that was read.
Read = tuple[PageRequest, PageView]


@dataclass(frozen=True)
class Step:
    """The request of the next page."""

    request: PageRequest
    #: Whether the last record of the page before is on it as well.
    overlaps: bool = False


class Steps(Protocol):
    """How one kind of list is paged; `guarded` makes sure that no record is lost."""

    def begins(self, request: PageRequest) -> bool:
        """Whether this request is the beginning of the list."""

    def after(self, request: PageRequest, view: PageView) -> Step | None:
        """The page after this one, None after the last."""

    def exhausted(self, step: Step, view: PageView) -> bool:
        """Whether a page that holds nothing new is the end."""

    def missed(self, step: Step, view: PageView | None) -> None:
        """Notes that a page did not fit to the page before; None: its request was refused."""


def guarded(first: PageRequest, steps: Steps) -> Pages:
    """Pages a list so that no record is lost while it moves.

    Records may be deleted, edited or added between two pages.

    Raises:
        ListMovedError: More moved than can be made up for: the list must be read again.
    """
    request, view = first, (yield first)
    read: deque[Read] = deque([(request, view)], maxlen=_PAGES_KEPT)
    backs = 0
    while (step := steps.after(request, view)) is not None:
        asked = replace(step.request, page_no=request.page_no + 1)
        try:
            next_view = yield (Special(asked, "overlap") if step.overlaps else asked)
        except WindowRefusedError:
            steps.missed(step, None)
            continue
        if step.overlaps:
            fits = _shares(next_view, read)
        else:
            fits = not identified(view) or _shares(next_view, read)
            fits = fits or _same((yield Special(request, "look back")), view)
        if fits:
            if (
                step.overlaps
                and next_view.marks[-1] in view.marks
                and steps.exhausted(step, next_view)
            ):
                return
            request, view, backs = asked, next_view, 0
            read.append((request, view))
            continue
        steps.missed(step, next_view)
        backs += 1
        if backs > _BACKS_MAX:
            raise ListMovedError
        request, view = yield from _back(read, steps, asked.page_no)


def _back(
    read: deque[Read], steps: Steps, page_no: int
) -> Generator[PageRequest | Special, PageView, Read]:
    """Reads earlier pages again, the latest first, up to one that shares a record with the rest.

    Raises:
        ListMovedError: If none of the pages kept does.
    """
    all_read = list(read)
    while read:
        earlier, _ = read.pop()
        page_no += 1
        request = replace(earlier, page_no=page_no)
        view = yield Special(request, "again")
        if steps.begins(request) or _shares(view, all_read):
            read.append((request, view))
            return request, view
    raise ListMovedError


def identified(view: PageView) -> bool:
    """Whether all records of a page can be told apart."""
    return bool(view.ids) and view.record_count == len(view.ids) and None not in view.ids


def _shares(view: PageView, read: Iterable[Read]) -> bool:
    """Whether a page holds an unchanged record that was read before.

    What follows that record there follows it here as well.
    """
    marks = set(view.marks)
    return any(not marks.isdisjoint(earlier.marks) for _, earlier in read)


def _same(view: PageView, earlier: PageView) -> bool:
    return list(view.ids) == list(earlier.ids)


@dataclass
class Offsets:
    """An offset as position: any record can be the first of a page, unless the server refuses."""

    #: The offset and the page size (0: not given) of a request.
    place: Callable[[PageRequest], tuple[int, int]]
    #: The request with another offset.
    at: Callable[[PageRequest, int], PageRequest]
    #: Whether a page is the last, given the number of records up to its end.
    ended: Callable[[PageRequest, PageView, int], bool]
    #: Whether any offset may be asked for, not only multiples of the page size.
    free: bool = True

    def begins(self, request: PageRequest) -> bool:
        """See `Steps`."""
        return self.place(request)[0] == 0

    def after(self, request: PageRequest, view: PageView) -> Step | None:
        """See `Steps`."""
        offset, size = self.place(request)
        behind = offset + view.record_count
        if self.ended(request, view, behind):
            return None
        if self.free and identified(view) and view.record_count > 1:
            return Step(self.at(request, behind - 1), overlaps=True)
        return Step(
            self.at(request, behind if self.free or not size else (offset // size + 1) * size)
        )

    def exhausted(self, step: Step, view: PageView) -> bool:  # noqa: ARG002  the protocol's
        """See `Steps`: whether it holds only the record that was read before."""
        return view.record_count == 1

    def missed(self, step: Step, view: PageView | None) -> None:
        """See `Steps`: some servers know multiples of the page size only."""
        if step.overlaps and view is None:
            self.free = False


@dataclass
class Numbers:
    """A page number as position.

    Pages of another size are asked for, so that the last record read is on one of them.
    """

    #: The page number (from 0) and the page size of a request.
    place: Callable[[PageRequest], tuple[int, int]]
    #: The request with another page number and page size.
    at: Callable[[PageRequest, int, int], PageRequest]
    #: As in `Offsets`.
    ended: Callable[[PageRequest, PageView, int], bool]
    #: Whether the server is told the page size, and keeps to it.
    sized: bool = True
    #: The number of records asked for, and that of records received, with the first page.
    _size: int = field(default=0, init=False)
    _served: int = field(default=0, init=False)
    _misses: int = field(default=0, init=False)
    #: Whether a page of another size fitted: then the server keeps to the size it is asked for.
    _proved: bool = field(default=False, init=False)

    def begins(self, request: PageRequest) -> bool:
        """See `Steps`."""
        return self.place(request)[0] == 0

    def after(self, request: PageRequest, view: PageView) -> Step | None:
        """See `Steps`."""
        number, size = self.place(request)
        if not self._size:
            self._size, self._served = size, view.record_count
            self.sized = self.sized and view.record_count == size
        self._proved = self._proved or size != self._size
        behind = number * (size if self.sized else self._served) + view.record_count
        if self.ended(request, view, behind):
            return None
        overlapping = _page_with(behind - 1, self._size)
        if self.sized and identified(view) and overlapping is not None:
            return Step(self.at(request, *overlapping), overlaps=True)
        return Step(self.at(request, number + 1, size))

    def exhausted(self, step: Step, view: PageView) -> bool:
        """See `Steps`: whether the page is not full."""
        return view.record_count < self.place(step.request)[1]

    def missed(self, step: Step, view: PageView | None) -> None:
        """See `Steps`: a server with a page size of its own gives other records than asked for."""
        if step.overlaps and not self._proved:
            self._misses += 1
            too_many = view is not None and view.record_count > self.place(step.request)[1]
            self.sized = self.sized and view is not None and not too_many and self._misses < 2


def _page_with(position: int, size_max: int) -> tuple[int, int] | None:
    """The number and size of the page that holds a position and most records behind it.

    None if there is no such page.
    """
    sizes = range(max(2, size_max // 2), size_max + 1)
    size = max(sizes, key=lambda candidate: candidate - position % candidate, default=1)
    return (position // size, size) if size - position % size > 1 else None


@dataclass
class Links:
    """Any way of paging that `following` leads through.

    Pages are fixed, so the page before is looked at again after each one.
    """

    #: The request of the next page, None after the last.
    following: Callable[[PageRequest, PageView], PageRequest | None]
    #: Whether a request says at which position its page begins.
    names_position: Callable[[PageRequest], bool]

    def begins(self, request: PageRequest) -> bool:
        """See `Steps`: it is the only request without a position."""
        return not self.names_position(request)

    def after(self, request: PageRequest, view: PageView) -> Step | None:
        """See `Steps`."""
        following = self.following(request, view)
        return None if following is None else Step(following)

    def exhausted(self, step: Step, view: PageView) -> bool:  # noqa: ARG002  the protocol's
        """See `Steps`."""
        return True

    def missed(self, step: Step, view: PageView | None) -> None:
        """See `Steps`."""
