"""`vqkit models`: what can be trained, and on what."""

from __future__ import annotations

from vqkit.cli.parameters import JsonOption


def models(as_json: JsonOption = False) -> None:
    """List every model, quantizer, prior, method of pretraining and data set, with a line each."""
    from vqkit.registry import DATASETS, METHODS, MODELS, PRIORS, QUANTIZERS

    listing = {
        f"{registry.kind}s": {name: entry.summary for name, entry in registry.entries().items()}
        for registry in (MODELS, QUANTIZERS, PRIORS, METHODS, DATASETS)
    }
    if as_json:
        import json

        print(json.dumps(listing, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("kind", "name", "what it is", box=None, header_style="bold")
    for kind, parts in listing.items():
        for name, summary in parts.items():
            table.add_row(kind.removesuffix("s"), name, summary)
    Console().print(table)
