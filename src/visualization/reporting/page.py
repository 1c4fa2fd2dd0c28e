"""The page of a run: one HTML file that needs nothing else, from the evidence and a template."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from markupsafe import Markup

from src.artifacts import Predictions
from src.paired import share_interval
from src.trees import flat
from src.visualization.galleries import SAMPLE_SEED, class_samples, data_uri, data_uris, is_sharp, sheet_uri
from src.visualization.pages import class_rows, left_out, render
from src.visualization.rendering import svg
from src.visualization.reporting import results
from src.visualization.reporting.cases import cases_shown
from src.visualization.reporting.confusions import confused_pairs
from src.visualization.reporting.evidence import Answer, Evidence, confusion_of, mistakes_of, unsure_hits_of
from src.visualization.reporting.figures import PANELS
from src.visualization.reporting.robustness import robustness
from src.wording import counted

MOST_PAIRS = 8
MOST_CASES = 12
MOST_DIFF_CHARACTERS = 20_000

MACHINE_KEYS = {"platform": "Platform", "cpus": "CPU cores"}

STOPPED = {"finished": "after the last epoch", "patience": "early, as val/acc rose no more"}

PANEL_LABELS = {
    "loss": "Training and validation loss by epoch",
    "accuracy": "Training and validation accuracy by epoch",
    "learning_rate": "Learning rate by epoch",
    "confusion_matrix": "Confusion matrix: labels in rows, predictions in columns; the table below has the figures",
    "calibration": "Accuracy by confidence, and how many images have it",
    "embedding_map": "Images laid on a plane by the features of the network; wrong answers stand out",
    "abstention": "Share of wrong answers by share of images answered",
}


def page(evidence: Evidence, *, written: datetime) -> str:
    """The whole HTML page; every name in it is escaped."""
    return render(
        "report.html.j2",
        run=evidence.run,
        record=evidence.record,
        other_data=evidence.other_data,
        digest=evidence.manifest.digest(),
        panels={
            name: Markup(svg(draw, evidence, name=name, label=PANEL_LABELS[name])) for name, draw in PANELS.items()
        },
        best_epoch=evidence.best_epoch,
        augmented=None if evidence.augmented is None else sheet_uri(evidence.augmented),
        result=_result(evidence),
        figures=results.figure_table(evidence),
        trust={"calibration": results.calibration_text(evidence), "abstention": results.abstention_text(evidence)},
        mistakes=_mistakes(evidence),
        unsure=_unsure_hits(evidence),
        why=cases_shown(evidence, MOST_CASES),
        robust=robustness(evidence),
        has_map=not evidence.extras.places.empty,
        samples=_samples(evidence),
        data=_data(evidence),
        config=_sections(evidence.record.config),
        provenance=_provenance(evidence, written),
    )


def _result(evidence: Evidence) -> dict[str, Any] | None:
    """The figures of the split that was scored; None where no image had a label."""
    scored, scores = evidence.scored, evidence.scores
    if scored is None or scores is None:
        return None
    counts = confusion_of(scored)
    names = scored.class_names
    pairs = [(names[label], names[pred], number) for label, pred, number in confused_pairs(counts, MOST_PAIRS)]
    return {
        **scores,
        "split": scored.split,
        "intervals": {name: results.interval_text(scores, name) for name in results.ROWS},
        "level": results.level_text(scores),
        "wilson": share_interval(scores["acc"], scores["num_images"], level=0.95),
        "num_mistakes": int(counts.sum() - np.trace(counts)),
        "even_loss": float(np.log(len(names))),
        "largest_share": counts.sum(axis=1).max() / counts.sum(),
        "pairs": pairs,
    }


def _mistakes(evidence: Evidence) -> dict[str, Any] | None:
    """The most confident mistakes with their pictures; None where no image had a label."""
    scored = evidence.scored
    if scored is None:
        return None
    wrong = mistakes_of(scored)
    return {"total": len(wrong)} | _gallery(evidence, scored, wrong[: evidence.settings.num_mistakes])


def _unsure_hits(evidence: Evidence) -> dict[str, Any] | None:
    """The least confident right answers with their pictures; None where no image had a label."""
    scored = evidence.scored
    return None if scored is None else _gallery(evidence, scored, unsure_hits_of(scored, evidence.settings.num_hits))


def _gallery(evidence: Evidence, scored: Predictions, shown: list[Answer]) -> dict[str, Any]:
    pixels = evidence.pixels(scored.split, [answer.id for answer in shown])
    pictures = [None if image is None else data_uri(image) for image in pixels]
    return {"shown": list(zip(shown, pictures, strict=True)), "sharp": _sharp(evidence, scored)}


def _sharp(evidence: Evidence, scored: Predictions) -> bool:
    pack = evidence.packed.get(scored.split)
    return pack is not None and is_sharp(pack.size)


def _samples(evidence: Evidence) -> dict[str, Any]:
    """Training pictures by class, the same ones as in the figure."""
    pack = evidence.packed["train"]
    rng = np.random.default_rng(SAMPLE_SEED)
    by_class = class_samples(pack, evidence.settings.samples_per_class, rng)
    return {
        "by_class": {name: data_uris(images) for name, images in by_class.items()},
        "num_classes": len(pack.class_names),
        "size": pack.size,
        "sharp": is_sharp(pack.size),
    }


def _data(evidence: Evidence) -> dict[str, Any]:
    """Counts by class and split, and what was left out of the data and why."""
    return {
        **evidence.summary,
        **class_rows(evidence.summary["counts"], evidence.summary["class_names"]),
        **left_out(evidence.quarantine),
        "facts": _data_facts(evidence),
    }


def _data_facts(evidence: Evidence) -> list[str]:
    """Phrases for what became of the files that were found, those of zero left out."""
    summary = evidence.summary
    amounts = [
        (len(evidence.manifest.used()), "image", "used"),
        (summary["duplicates_dropped"], "duplicate", "dropped"),
        (summary.get("conflicts_dropped", 0), "image", "of conflicting labels dropped"),
        (summary["quarantined"], "unreadable file", "quarantined"),
        (sum(summary.get("ignored", {}).values()), "other file", "ignored"),
        *((number, f"{mode} image", "converted") for mode, number in summary["converted"].items()),
    ]
    return [f"{counted(number, noun)} {done}" for number, noun, done in amounts if number]


def _sections(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Section name to its dotted keys and their values as text; keys outside any section come first."""
    sections: dict[str, dict[str, str]] = {"": {}}
    for section, content in config.items():
        if isinstance(content, Mapping):
            sections[section] = {key: _as_yaml(value) for key, value in flat(content).items()}
        else:
            sections[""][section] = _as_yaml(content)
    return {section: keys for section, keys in sections.items() if keys}


def _as_yaml(value: Any) -> str:
    """A value as YAML writes it, on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _provenance(evidence: Evidence, written: datetime) -> dict[str, Any]:
    """Where the result comes from: code, data, weights, machine, versions."""
    record, scored = evidence.record, evidence.scored
    diff = record.git.get("dirty_diff", "")
    machine = {shown: record.environment[key] for key, shown in MACHINE_KEYS.items() if key in record.environment}
    return {
        "commit": record.git.get("commit", ""),
        "diff": diff[:MOST_DIFF_CHARACTERS],
        "diff_left_out": max(0, len(diff) - MOST_DIFF_CHARACTERS),
        "energy": _energy(record.facts.get("energy", {})),
        "checkpoint": scored.checkpoint if scored is not None else "",
        "machine": machine,
        "versions": {key: value for key, value in record.environment.items() if key not in MACHINE_KEYS},
        "stopped": STOPPED.get(record.stopped, f"by {record.stopped}"),
        "written": written.strftime("%Y-%m-%d %H:%M"),
    }


def _energy(found: Mapping[str, Any]) -> str:
    """What training took, by the counters that could be read, and why the others could not."""
    if not found:
        return "not recorded"
    names = {"cpu_wh": "processors", "gpu_wh": "GPUs"}
    known = [f"{name} {found[key]:,.2f} Wh" for key, name in names.items() if found.get(key) is not None]
    reasons = dict.fromkeys(found.get("reasons", {}).values())
    return ", ".join(known) or f"not readable: {'; '.join(reasons)}"
