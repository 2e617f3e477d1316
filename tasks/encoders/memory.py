"""How many tokens a batch may have, by the memory at hand, and how a lack of it shows."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_TOKENS = 65_536
"""Tokens of a batch above which more of them make no page faster: about 80 pages, far beyond what
fills the largest card."""

FIRST_TOKENS = 4_096
"""Tokens of a batch on a card before a page was measured there. A query may have as many by
itself, so its memory is needed anyway; usual queries are 100 to a batch."""

CPU_TOKENS = 1_300
"""Tokens of a batch on a CPU: one page, or some 50 queries. Pages gain nothing by company there:
CPU seconds a page alone, of 2 and of 4 were 8.9, 9.9, 10.5 for a model of 228 million on one
thread, and no better on two. Queries do: they are short, and share the reading of the weights."""

SHARE = 0.8
"""Share of the memory that is free after loading that batches may take. The rest is for pictures
being scaled and for what allocation wastes."""

CONTEXT_BYTES = 2**29
"""About what a process on a card takes there beyond what torch counts: code, and workspaces of
libraries."""

PAUSE_S = 1.0
"""Seconds between two tries of what memory ran out for."""


def out_of_memory(error: Exception) -> bool:
    """Say whether an error means that memory ran out, of the card or of the machine."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The allocator of the CPU, and CUDA where it cannot even start an operation, raise nothing
    # more special than RuntimeError.
    signs = ("not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def relieve(device: torch.device) -> None:
    """Give back memory that is held and not used."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def limit_to_share(device: torch.device, gpu_share: float) -> None:
    """Keep this process to its part of a card that several share; what is above is not given.

    Args:
        device: the card.
        gpu_share: above 0 and at most 1, which sets no limit.
    """
    import torch

    if gpu_share < 1:
        torch.cuda.set_per_process_memory_fraction(float(gpu_share), device)


def available(device: torch.device, gpu_share: float) -> int:
    """Return the bytes of a card that this process may still plan with.

    Processes of which each keeps to its share, what it holds already included, never plan for
    more than the card has, however many load at the same time.
    """
    import torch

    free, total = torch.cuda.mem_get_info(device)
    if gpu_share == 1:
        return int(free)
    mine = gpu_share * total - torch.cuda.memory_reserved(device) - CONTEXT_BYTES
    return max(min(int(free), int(mine)), 0)


def find_budget(
    run: Callable[[int], object],
    page_tokens: int,
    page_bytes: int,
    device: torch.device,
    gpu_share: float,
) -> int:
    """Measure on the card how many tokens a batch may have.

    Args:
        run: encodes a batch of so many pages, all alike.
        page_tokens: tokens of such a page.
        page_bytes: memory on the card that its features take.
        device: the card.
        gpu_share: part of it that is this process's.

    Raises:
        torch.OutOfMemoryError: not even one page fits.
    """
    import torch

    run(1)  # what is set up once, as workspaces of libraries, is not a page's
    peaks = []
    for pages in (1, 2):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        try:
            run(pages)
        except torch.OutOfMemoryError:
            if pages == 1:
                raise
            return page_tokens
        peaks.append(torch.cuda.max_memory_allocated(device) - before)
    torch.cuda.empty_cache()
    return budget_of(peaks[0], peaks[1], page_bytes, page_tokens, available(device, gpu_share))


def budget_of(one: int, two: int, page_bytes: int, page_tokens: int, free: int) -> int:
    """Return the tokens of a batch that memory allows.

    Args:
        one: bytes that a batch of one page takes at its height.
        two: bytes that a batch of two such pages takes.
        page_bytes: bytes of a page's features; at most as many tokens as a batch has wait
            meanwhile.
        page_tokens: tokens of a page.
        free: bytes that are free.

    >>> gib = 2**30
    >>> budget_of(2 * gib, 3 * gib, 0, 1000, 21 * gib)
    15800
    >>> budget_of(2 * gib, 3 * gib, 0, 1000, gib), budget_of(9, 9, 0, 1000, 80 * gib)
    (1000, 65536)
    """
    each = max(two - one, 1) + page_bytes
    fixed = max(one - (two - one), 0)
    pages = (SHARE * free - fixed) / each
    return max(min(int(pages * page_tokens), MOST_TOKENS), page_tokens)
