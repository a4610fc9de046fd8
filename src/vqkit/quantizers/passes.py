"""Training batches that are done in several passes: codebooks are initialised and updated as by one pass over the whole batch.

A codebook without codes gets them from the rows of all passes, before the first pass that needs them. Updates follow after the last
one, with the rows of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from vqkit.errors import ConfigError
from vqkit.quantizers.lfq import LFQ
from vqkit.quantizers.lookup import LookupQuantizer, RowsSeen


def check_passes(network: nn.Module) -> None:
    """Raise `ConfigError` for a network with a quantizer whose loss is not a mean over images."""
    if any(isinstance(module, LFQ) and module.options.entropy_weight for module in network.modules()):
        raise ConfigError(
            "The entropy loss of lfq compares all images of a batch, and training.accumulate does one part after the other.",
            "Leave training.accumulate at 1, or set model.quantizer.entropy_weight=0.",
        )


def initialise_codes(network: nn.Module, passes: Sequence[Callable[[], object]]) -> None:
    """Give codes to the codebooks that have none yet, one after the other, in the order in which they are used.

    `passes` run the network on one part of the batch each; they are broken off where a codebook without codes sees its rows. One
    whose rows are not finite stays without codes, and so do those after it.
    """
    codebooks = [each for each in _codebooks(network) if not each.is_initialised]
    for _ in codebooks:
        seen = [found for each in passes if (found := _rows_seen(network, each)) is not None]
        if not seen or seen[0].owner.is_initialised:
            return
        seen[0].owner.initialise(torch.cat([found.rows for found in seen]))
        if not seen[0].owner.is_initialised:
            return


def _rows_seen(network: nn.Module, run: Callable[[], object]) -> RowsSeen | None:
    """What the first codebook without codes sees in a pass, which updates none; None if all have codes."""
    codebooks = _codebooks(network)
    for each in codebooks:
        each.stops_at_rows, each.kept = True, []
    try:
        run()
    except RowsSeen as found:
        return found
    finally:
        for each in codebooks:
            each.stops_at_rows, each.kept = False, None
    return None


@contextmanager
def updates_at_the_end(network: nn.Module) -> Iterator[None]:
    """Within this block codebooks keep what they see in training; at its end they are updated with all of it."""
    codebooks = _codebooks(network)
    for each in codebooks:
        each.kept = []
    try:
        yield
        for each in codebooks:
            each.update_with_kept()
    finally:
        for each in codebooks:
            each.kept = None


def _codebooks(network: nn.Module) -> list[LookupQuantizer]:
    return [module for module in network.modules() if isinstance(module, LookupQuantizer)]
