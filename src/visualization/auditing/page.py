"""The page of the data audit: one HTML file that needs nothing else, from the evidence and a template."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from markupsafe import Markup

from src.artifacts import STATUS_OK
from src.visualization.auditing.evidence import AuditEvidence
from src.visualization.auditing.figures import HISTOGRAMS, TITLES
from src.visualization.auditing.galleries import copies, pictured, samples
from src.visualization.pages import class_rows, left_out, render
from src.visualization.rendering import svg
from src.visualization.reporting.figures import MOST_BARS, class_counts
from src.wording import counted

MOST_CASES = 50

HEADINGS = {
    "leak": "Copies across splits",
    "conflicting_labels": "Contradicting labels",
    "missing_class": "Missing classes",
    "expected_counts": "Counts not as published",
    "quarantined": "Unusable files",
    "blank": "Blank images",
    "class_imbalance": "Uneven classes",
    "split_shift": "Splits that differ from train",
    "small_split": "Small splits",
    "overrides_unknown": "Corrections of absent images",
    "exact_duplicates": "Identical files",
    "near_duplicates": "Near duplicates",
    "predict_overlap": "Copies among the images to predict",
    "outlier": "Outliers",
    "not_compared": "Splits too small to compare",
    "wrong_suffix": "Misleading suffixes",
    "converted": "Converted images",
    "turned": "Turned images",
    "overrides_applied": "Corrected labels",
}
"""Kind of a finding to its heading."""

NOT_SOUGHT = ("overrides_applied", "overrides_unknown", "not_compared", "converted", "turned")
"""Kinds whose absence is no news."""

SECTION_NAMES = {
    "copies": "the pictures",
    "outlier": "the pictures",
    "blank": "the pictures",
    "classes": "the table",
    "source": "the source",
    "files": "the files",
    "splits": "the histograms",
}

SECTIONS = {
    "leak": "copies",
    "conflicting_labels": "copies",
    "exact_duplicates": "copies",
    "near_duplicates": "copies",
    "predict_overlap": "copies",
    "outlier": "outlier",
    "blank": "blank",
    "class_imbalance": "classes",
    "missing_class": "classes",
    "expected_counts": "source",
    "quarantined": "files",
    "split_shift": "splits",
    "not_compared": "splits",
}
"""Kind of a finding to the section that shows more of it."""

STATUS_NAMES = {
    "duplicate": "as copies",
    "conflict": "of contradicting labels",
    "dropped": "by hand",
    "subset": "outside the subset",
}
"""Status of an image that is left out to the words for it."""

SEVERITY_NAMES = {"error": "Error", "warning": "Warning", "info": "Note"}


def page(evidence: AuditEvidence, *, samples_per_class: int, written: datetime) -> str:
    """The whole HTML page; every name in it is escaped."""
    groups, sets = copies(evidence.duplicates), pictured(evidence)
    drawn = samples(evidence, samples_per_class)
    wanted = [image_id for group in groups for image_id in group.ids]
    wanted += [case["id"] for shown in sets.values() for case in shown["cases"]]
    wanted += [image_id for ids in drawn.values() for image_id in ids]
    counts = evidence.summary["counts"]
    class_names = evidence.manifest.class_names
    return render(
        "audit.html.j2",
        source=_source(evidence),
        summary=evidence.summary,
        verdict=_verdict(evidence.audit),
        findings=[_finding(evidence, found) for found in evidence.audit["findings"]],
        clear=_clear(evidence),
        left_out_facts=_left_out_facts(evidence),
        data=class_rows(counts, class_names) | left_out(evidence.quarantine),
        ranks=_ranks(evidence) if len(class_names) > MOST_BARS else None,
        histograms={name: _histogram(evidence, name) for name in HISTOGRAMS},
        statistics=evidence.audit["splits"],
        groups=groups,
        num_groups=evidence.duplicates["group"].nunique(),
        sets=sets,
        samples=drawn,
        pictures=evidence.pictures(wanted),
        images=evidence.images.set_index("id").loc[sorted(set(wanted)), ["split", "label", "status"]].to_dict("index"),
        headings=HEADINGS,
        digest=evidence.manifest.digest(),
        written=written.strftime("%Y-%m-%d %H:%M"),
    )


def _verdict(audit: Mapping[str, Any]) -> dict[str, str]:
    """The gravest severity found, the number of such findings in words, and all the numbers."""
    numbers = {"error": "error", "warning": "warning", "info": "note"}
    told = [counted(audit[severity], noun) for severity, noun in numbers.items() if audit[severity]]
    gravest = next((severity for severity in ("error", "warning") if audit[severity]), "clear")
    head = told[0] if gravest != "clear" else "No fault"
    return {"severity": gravest, "head": head, "all": ", ".join(told) or "nothing to tell"}


def _finding(evidence: AuditEvidence, found: Mapping[str, Any]) -> dict[str, Any]:
    """A finding with its heading, where more of it is shown, and its first cases."""
    rows = evidence.cases(found["kind"])
    section = SECTIONS.get(found["kind"], "")
    columns = [column for column in ("id", "split", "label", "detail") if (rows[column] != "").any()]
    return {
        **found,
        "heading": HEADINGS[found["kind"]],
        "severity_name": SEVERITY_NAMES[found["severity"]],
        "section": section,
        "section_name": SECTION_NAMES.get(section, ""),
        "columns": columns,
        "cases": rows[columns].head(MOST_CASES).to_dict("records"),
        "num_cases": len(rows),
    }


def _clear(evidence: AuditEvidence) -> list[str]:
    """Headings of what was looked for and not found."""
    expected = evidence.manifest.settings["about"]["expected"]
    kinds = [kind for kind in evidence.audit["not_found"] if kind not in NOT_SOUGHT]
    return [HEADINGS[kind].lower() for kind in kinds if kind != "expected_counts" or expected]


def _left_out_facts(evidence: AuditEvidence) -> list[str]:
    """Phrases for the files that are in no split."""
    statuses = evidence.images["status"].value_counts().drop(STATUS_OK, errors="ignore")
    facts = [(str(status), int(number)) for status, number in statuses.items()]
    named = [("unusable", evidence.summary["quarantined"]), *((STATUS_NAMES.get(name, name), n) for name, n in facts)]
    return [f"{number:,} {name}" for name, number in named if number]


def _source(evidence: AuditEvidence) -> dict[str, Any]:
    """What is known of the source, and what the settings of the audit were."""
    settings, summary = evidence.manifest.settings, evidence.summary
    about = settings["about"]
    place = evidence.manifest.location.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return {
        "name": place if summary["source"] == "folder" else summary["source"],
        "location": evidence.manifest.location,
        "licence": about["licence"],
        "home_page": about["home_page"],
        "expected": class_rows(about["expected"], evidence.manifest.class_names) if about["expected"] else None,
        "as_published": "expected_counts" in evidence.audit["not_found"],
        "policy": settings["duplicates"]["policy"],
        "near_distance": settings["duplicates"]["near_distance"],
        "converted": summary["converted"],
        "ignored": summary["ignored"],
    }


def _histogram(evidence: AuditEvidence, name: str) -> Markup:
    label = f"{TITLES[name]}, by split"
    return Markup(svg(HISTOGRAMS[name], evidence, name=name, label=label))


def _ranks(evidence: AuditEvidence) -> Markup:
    return Markup(svg(class_counts, evidence, name="ranks", label="Images of each class, by rank"))
