"""The way into every verb: arguments to a validated configuration."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from src.config import Config
from src.guard import run_guarded
from src.logs import start_logging
from src.selection import groups, parse, parse_multirun

log = logging.getLogger("src.cli")

Verb = Callable[[Config], None]


def run_verb(verb: Verb, *, about: str) -> None:
    """Run one verb as the command line asks; does not return normally after a fault.

    Takes Hydra overrides (`model=resnet50d train.epochs=5`), `-m` for one run per combination of values,
    `--config FILE` for a configuration already composed, `--cfg` to print the configuration, `--help`.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(help_text(_module_name(verb), about))
        return
    start_logging()
    run_guarded(lambda: _dispatch(verb, arguments))


def help_text(module: str, about: str) -> str:
    """What `--help` prints: usage, the presets of each group and the flags."""
    rows = [f"  {group:<10} {', '.join(presets) or '-'}" for group, presets in groups().items()]
    return (
        f"{about.strip()}\n\nusage: python -m {module} [group=preset ...] [section.key=value ...]\n\n"
        "groups and presets\n" + "\n".join(rows) + "\n\nflags\n"
        "  -m, --multirun   one run for each combination of comma-separated values\n"
        "  --cfg            print the composed configuration and stop\n"
        "  --config FILE    take a composed configuration (as the pipeline does)\n"
        "  -h, --help       this text\n\n"
        "every key, with its type and meaning: docs/configuration.md (make docs)\n"
        "full traceback of an error: HYDRA_FULL_ERROR=1\n"
    )


def _module_name(verb: Verb) -> str:
    """The module as `python -m` takes it; a module that is run so calls itself `__main__`."""
    spec = getattr(sys.modules[verb.__module__], "__spec__", None)
    return spec.name if spec else verb.__module__


def _dispatch(verb: Verb, arguments: Sequence[str]) -> None:
    from src.compose import compose, load_composed

    flags = [argument for argument in arguments if argument.startswith("-")]
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    if flags == ["--config"]:
        if len(overrides) != 1:
            raise ValueError("--config takes one file and no overrides: the file is already composed")
        verb(load_composed(Path(overrides[0])))
    elif flags in (["-m"], ["--multirun"]):
        _multirun(verb, [compose(selection) for selection in parse_multirun(overrides)])
    elif flags == ["--cfg"]:
        _print_config(compose(parse(overrides)))
    elif flags:
        raise ValueError(f"unknown flags {' '.join(flags)}; allowed: -m, --cfg, --config FILE, --help")
    else:
        verb(compose(parse(overrides)))


def _multirun(verb: Verb, cfgs: Sequence[Config]) -> None:
    """Run the verb on each configuration; one that fails is reported and the others still run."""
    failed = []
    for index, cfg in enumerate(cfgs, start=1):
        log.info("run %d of %d", index, len(cfgs))
        try:
            verb(cfg)
        except (ValueError, OSError) as error:
            log.error("run %d of %d failed: %s", index, len(cfgs), error)
            failed.append(index)
    if failed:
        raise ValueError(f"{len(failed)} of {len(cfgs)} runs failed: {', '.join(map(str, failed))}")


def _print_config(cfg: Config) -> None:
    import yaml

    from src.config import as_tree

    sys.stdout.write(yaml.safe_dump(as_tree(cfg), sort_keys=False))
