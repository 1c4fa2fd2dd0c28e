"""Many runs under one name: sweep=cross_validation trains every fold of train and val; sweep=search looks for settings.

sweep=lr_range looks for a rate to begin with, sweep=learning_curve trains on shares of train, and presets such as
sweep=intel_scenes compare named variants. Takes the data that build_features has packed. Writes
models/sweeps/<name>-<fingerprint>: the results and, of many runs, a folder for each. The same command goes on where
it was stopped, and runs nothing twice.
"""

from collections.abc import Callable

from src.choices import bound, pick
from src.cli import run_verb
from src.config import Config
from src.models.sweeping.cross_validation import cross_validation
from src.models.sweeping.learning_curve import learning_curve
from src.models.sweeping.lr_range import lr_range
from src.models.sweeping.search import search
from src.models.sweeping.variants import variants

SWEEPS: dict[str, Callable[..., None]] = {
    "cross_validation": cross_validation,
    "learning_curve": learning_curve,
    "lr_range": lr_range,
    "search": search,
    "variants": variants,
}
"""Each takes the configuration, and as keyword-only arguments what may stand in `sweep.options`."""


def sweep(cfg: Config) -> None:
    """Run the sweep that `cfg.sweep` names.

    Raises:
        ValueError: none is named, or one that does not exist or cannot be run on the data there is.
        SystemExit: some of its runs failed (1), or a signal stopped it.
    """
    if cfg.sweep is None:
        raise ValueError(f"no sweep is chosen; give sweep=<name>, which is one of: {', '.join(sorted(SWEEPS))}")
    single = {"run_dir": cfg.run_dir, "predict.images": cfg.predict.images, "train.resume": cfg.train.resume}
    for key, value in single.items():
        if value is not None:
            raise ValueError(f"{key}={value} is for a single run; a sweep writes models/sweeps: leave {key} out")
    function = pick(SWEEPS, cfg.sweep.name, key="sweep.name")
    function(cfg, **bound(function, cfg.sweep.options, name=cfg.sweep.name, key="sweep.options"))


if __name__ == "__main__":
    run_verb(sweep, about=__doc__)
