"""The hand behind make: `python -m src.pipeline repro <stage>`, `predict`, `sweep`, `plan` or `reset`, with overrides.

Overrides come from the command line, or from the variable PIPELINE_ARGS, in which make hands on its ARGS as they
were typed.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from src.arguments import ARGS_VARIABLE, split_args
from src.guard import EXIT_FAULT, run_guarded
from src.layout import DATA_AUDIT_PAGE, DATASET_DIR, LABEL_ISSUES_PAGE, PACKED_DIR, PIPELINE_RUN, RunFolder
from src.selection import PARAMS_FILE, Selection, groups, load, parse, save

if TYPE_CHECKING:
    from dvc.exceptions import DvcException

log = logging.getLogger("src.pipeline")

RUN = RunFolder(PIPELINE_RUN)
ALWAYS_RUN = "fetch_data"

NOT_SELECTED = {
    "run_dir": f"the pipeline writes {PIPELINE_RUN.as_posix()}; for another folder make a run by hand: "
    "python -m src.models.train_model run_dir=<folder>",
    "predict.images": 'new images are predicted by: make predict ARGS="predict.images=<image, folder or archive>"',
    "predict.output": 'new images are predicted by: make predict ARGS="predict.images=<image, folder or archive>"',
}


def repro(stage: str, overrides: Sequence[str]) -> None:
    """Select what the overrides say, bring the stage up to date and tell the result."""
    params = Path(PARAMS_FILE)
    if overrides:
        select(overrides, params)
    log.info("running %s", load(params).described())
    ran = reproduce(stage)
    if not set(ran) - {ALWAYS_RUN}:
        log.info("nothing has changed since the last run")
    sys.stdout.write(RESULTS[stage]())


def select(overrides: Sequence[str], params: Path) -> None:
    """Lay the overrides over the selection in `params.yaml`, once the whole is known to be valid, and say the changes.

    Raises:
        ValueError: a wrong override, or one that the pipeline does not take; the file is untouched then.
    """
    from src.compose import compose_pipeline

    before, asked = load(params), parse(overrides)
    if asked.presets.get("sweep") is not None:
        raise ValueError(f'a sweep is no stage of the pipeline; run: make sweep ARGS="sweep={asked.presets["sweep"]}"')
    for key in asked.values:
        if key in NOT_SELECTED:
            raise ValueError(f"{key} is not for the pipeline: {NOT_SELECTED[key]}")
    after = before.updated(asked)
    compose_pipeline(after)
    changed = changes(before, after)
    if changed:
        save(after, params)
    log.info("%s: %s", params, "; ".join(changed) or "nothing to change")


def reset(overrides: Sequence[str]) -> None:
    """Back to the defaults: every preset null, no single values."""
    if overrides:
        raise ValueError(f"reset takes no overrides, found {' '.join(overrides)}; it clears all of {PARAMS_FILE}")
    params = Path(PARAMS_FILE)
    before = load_leniently(params)
    save(Selection(dict.fromkeys(before.presets)), params)
    log.info("%s: %s", params, "; ".join(changes(before, Selection())) or "nothing to change")


def load_leniently(params: Path) -> Selection:
    """The selection in the file; where a preset in it no longer exists, its groups alone, so that it can be cleared."""
    try:
        return load(params)
    except ValueError as error:
        log.warning("%s; clearing it", error)
        return Selection(dict.fromkeys(group for group in groups() if group != "sweep"))


def predict(overrides: Sequence[str]) -> None:
    """Predict new images with the pipeline's checkpoint; `params.yaml` stays as it is."""
    if not any(override.startswith("predict.images=") for override in overrides):
        raise ValueError('which images? make predict ARGS="predict.images=<image, folder or archive>"')
    command = [sys.executable, "-m", "src.models.predict_model", f"run_dir={PIPELINE_RUN.as_posix()}", *overrides]
    raise SystemExit(subprocess.run(command, check=False).returncode)


def sweep(overrides: Sequence[str]) -> None:
    """Bring the packed data up to date and run a sweep over them; `params.yaml` stays as it is.

    Unless an experiment is named beside the sweep: it may bring data of its own, and is remembered as by make train.

    Raises:
        ValueError: no sweep is named, or a wrong override.
    """
    import yaml

    from src.compose import compose
    from src.config import as_tree

    asked, params = parse(overrides), Path(PARAMS_FILE)
    if asked.presets.get("sweep") is None:
        raise ValueError(f'which sweep? make sweep ARGS="sweep=<{"|".join(groups()["sweep"])}>"')
    tree = as_tree(compose(load(params).updated(asked)))
    if "experiment" in asked.presets:
        select([each for each in overrides if not each.startswith(("sweep=", "sweep."))], params)
    reproduce("build_features")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        # Ctrl-C reaches the sweep too; its own exit code is waited for
        signal.signal(signal.SIGINT, lambda *_: None)
        command = [sys.executable, "-m", "src.models.sweep", "--config", str(path)]
        code = subprocess.run(command, check=False).returncode
    raise SystemExit(code)


def plan(overrides: Sequence[str]) -> None:
    """Tell what runs would cost; see `src.planning`."""
    from src.planning import plan as measured

    measured(overrides)


def reproduce(stage: str) -> list[str]:
    """Names of the stages that DVC ran to bring `stage` up to date.

    Raises:
        ValueError: a stage failed, or DVC cannot work here; the message says what to do.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    _quieten_dvc()
    try:
        with Repo() as repo:
            return [done.addressing for done in repo.reproduce(targets=[stage])]
    except DvcException as error:
        causes = list(_causes(error))
        if any(cause.endswith(("exited with 130", "exited with -2")) for cause in causes):
            raise KeyboardInterrupt from None
        raise ValueError(_advice(error, causes)) from None


def changes(before: Selection, after: Selection) -> list[str]:
    """A clause for each preset or value that differs, as `key: old -> new`."""
    old, new = _chosen(before), _chosen(after)
    keys = [*old, *(key for key in new if key not in old)]
    return [
        f"{key}: {old.get(key, 'default')} -> {new.get(key, 'default')}" for key in keys if old.get(key) != new.get(key)
    ]


def _chosen(selection: Selection) -> dict[str, str]:
    presets = {group: preset for group, preset in selection.presets.items() if preset is not None}
    return presets | {key: json.dumps(value) for key, value in selection.values.items()}


def _quieten_dvc() -> None:
    """Let DVC say which stage it runs or takes from its cache, and nothing else below a warning."""
    for name in ("dvc", "dvc_data", "dvc_objects"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in ("dvc.stage.run", "dvc.stage.cache"):
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addFilter(_says_which_stage)


def _says_which_stage(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or "tage '%s'" in str(record.msg)


def _causes(error: BaseException | None) -> "list[str]":
    return [str(error), *_causes(error.__cause__)] if error is not None else []


def _advice(error: "DvcException", causes: Sequence[str]) -> str:
    """What went wrong in DVC, and the next step."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.lock import LockError
    from dvc.scm import SCMError

    if any(cause.startswith("failed to run: ") for cause in causes):
        return f"{causes[0]}: its reason stands above; mend it and call make again, finished stages are kept"
    if isinstance(error, LockError):
        return f"another dvc or make is at work here, or one was killed: {' '.join(causes[0].split())}"
    if isinstance(error, NotDvcRepoError | SCMError):
        return f"{Path.cwd()} is no git repository, which DVC needs; run: git init"
    return f"DVC stopped: {': '.join(' '.join(cause.split()) for cause in causes)}; run make doctor"


def _train_result() -> str:
    test = _json(RUN.metrics).get("test")
    score = f"{test['acc']:.2%} of {test['num_images']:,} images" if test else "no labelled test split"
    return (
        f"test accuracy  {score}\n"
        f"run folder     {RUN.path.as_posix()}\n"
        "next           make report\n"
        '               make predict ARGS="predict.images=<image, folder or archive>"\n'
        "               make serve\n"
        '               make train ARGS="model=resnet50d"\n'
        "               dvc exp run -S model=resnet50d\n"
    )


def _data_result() -> str:
    facts = _json(DATASET_DIR / "summary.json")
    counts = ", ".join(f"{split} {sum(rows.values()):,}" for split, rows in facts["counts"].items())
    return (
        f"dataset        {DATASET_DIR.as_posix()}: {len(facts['class_names'])} classes; {counts}\n"
        f"audit          {DATA_AUDIT_PAGE.as_posix()}\n"
    )


def _labels_result() -> str:
    return f"label issues   {LABEL_ISSUES_PAGE.as_posix()}\nnext           make relabel\n"


def _features_result() -> str:
    facts = _json(PACKED_DIR / "statistics.json")
    counts = ", ".join(f"{split} {count:,}" for split, count in facts["counts"].items())
    return f"packed pixels  {PACKED_DIR.as_posix()}: {facts['size']} px; {counts}\n"


def _report_result() -> str:
    return _train_result().partition("next")[0] + f"report         {(RUN.report / 'index.html').as_posix()}\n"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


RESULTS: dict[str, Callable[[], str]] = {
    "audit_data": _data_result,
    "show_label_issues": _labels_result,
    "build_features": _features_result,
    "predict_model": _train_result,
    "visualize": _report_result,
}

USAGE = (
    f"usage: python -m src.pipeline repro {{{','.join(RESULTS)}}} [override ...] "
    "| predict override ... | sweep override ... | plan override ... | reset\n"
)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Run what the arguments ask for."""
    match list(arguments):
        case ["repro", stage, *overrides] if stage in RESULTS:
            action: Callable[[Sequence[str]], None] = lambda given: repro(stage, given)  # noqa: E731
        case ["predict", *overrides]:
            action = predict
        case ["sweep", *overrides]:
            action = sweep
        case ["plan", *overrides]:
            action = plan
        case ["reset", *overrides]:
            action = reset
        case _:
            sys.stderr.write(USAGE)
            raise SystemExit(EXIT_FAULT)
    run_guarded(lambda: action(overrides or split_args(environ.get(ARGS_VARIABLE, ""))))


if __name__ == "__main__":
    # `python` in dvc.yaml is then the interpreter that runs this
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    main(sys.argv[1:], os.environ)
