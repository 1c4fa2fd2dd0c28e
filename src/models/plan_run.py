"""Measure a few steps of a run and tell what the whole of it would cost; nothing is written.

Takes the data that build_features has packed. Prints a JSON object; `make plan` makes a table of several.
"""

import json
import sys

from src.cli import run_verb
from src.config import LINEAR_PROBE, Config


def plan_run(cfg: Config) -> None:
    """Print the costs of the run; see `Costs`.

    Raises:
        ValueError: settings that cannot be met, absent or other data, or a head on embeddings, which trains in seconds.
    """
    if cfg.model.name == LINEAR_PROBE:
        raise ValueError(f"model.name={LINEAR_PROBE} is fitted in seconds, in no steps: there is nothing to plan")
    from dataclasses import asdict

    from src.models.costs import measure

    sys.stdout.write(json.dumps(asdict(measure(cfg)), indent=2) + "\n")


if __name__ == "__main__":
    run_verb(plan_run, about=__doc__ or "")
