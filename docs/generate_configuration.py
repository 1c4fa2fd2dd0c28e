"""Pages made from the code itself: every key of the configuration, the tables it chooses from, and the modules.

Reads the schema (`src/config.py`), the YAML files of `configs/`, `dvc.yaml` and the sources as text; nothing heavy is
imported. Called by `conf.py`; `configuration.md` is not kept in git.
"""

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pydantic import TypeAdapter  # noqa: E402

from src.compose import composed_tree  # noqa: E402
from src.config import Config  # noqa: E402
from src.selection import Selection, groups  # noqa: E402

Schema = Mapping[str, Any]

TYPE_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "dict",
}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}

# the key that chooses, the file of the table and the table's name in it
TABLES = {
    "data.name": ("src/data/sources.py", "SOURCES"),
    "model.name": ("src/features/backbones.py", "OWN_NETS"),
    "augment.transforms": ("src/features/augment.py", "TRANSFORMS"),
    "augment.mix": ("src/features/augment.py", "MIXES"),
    "loss.name": ("src/models/recipes/losses.py", "LOSSES"),
    "train.clip": ("src/models/recipes/clipping.py", "CLIPS"),
    "train.average": ("src/models/recipes/averages.py", "AVERAGES"),
    "sweep.name": ("src/models/sweep.py", "SWEEPS"),
    "sweep.options.sampler.name": ("src/models/sweeping/study.py", "SAMPLERS"),
    "sweep.options.pruner.name": ("src/models/sweeping/study.py", "PRUNERS"),
    "schedule.name": ("src/models/recipes/schedules.py", "SCHEDULES"),
    "run.trackers": ("src/tracking.py", "TRACKERS"),
}

# arguments that are not the user's to give: they follow from other keys or from the data
DERIVED = {"img_size", "num_classes", "in_chans", "log_priors", "epochs", "total_steps"}

HEAD = """# Configuration

Every key, as the schema in `src/config.py` has it; this page is generated from it. Keys are set on a command line
(`make train ARGS="optimizer.lr=1e-3"`, `python -m src.models.train_model optimizer.lr=1e-3`), under `set:` in
`params.yaml`, or in a preset's YAML file. A key that is misspelt, of the wrong type, out of range or in contradiction
to another one is refused before anything is read, with the near names.

*Default* is what `configs/config.yaml` composes without any override. *Re-runs* says which stages of `dvc.yaml` read
the section; what follows on them is run again too where its input has changed.
"""


def configuration_page(root: Path = ROOT) -> str:
    """The reference of all keys, presets and tables, as Markdown."""
    schema = TypeAdapter(Config).json_schema()
    defaults = composed_tree(Selection(), root / "configs")
    run_dir = table(["key", "type", "allowed", "default", "meaning"], [row("run_dir", schema, schema, defaults)])
    parts = [HEAD, "## run_dir", run_dir]
    for name, entry in schema["properties"].items():
        if any("$ref" in way for way in entry.get("anyOf", [entry])):
            parts += section(name, schema, defaults, root)
    for name in groups(root / "configs"):
        found = [line[:2] for line in presets(name, root)]
        if name not in schema["properties"] and found:
            parts += [f"## {name}", f"Values of several sections at once, chosen as `{name}=<preset>`:"]
            parts += [table(["preset", "what"], found)]
    return "\n\n".join(parts) + "\n"


def section(name: str, schema: Schema, defaults: Schema, root: Path) -> Iterator[str]:
    """Heading, what re-runs, the keys, the presets and the tables of one section."""
    entry = schema["properties"][name]
    kind = definition(next(way for way in entry.get("anyOf", [entry]) if "$ref" in way), schema)
    yield f"## {name}"
    yield f"{kind['description']} Re-runs: {readers(name, root)}."
    # a section that is off has no values
    rows = list(keys_of(name, kind, schema, defaults[name] or dict.fromkeys(kind["properties"])))
    if "anyOf" in entry:
        rows.insert(0, row(name, schema, schema, defaults))
    yield table(["key", "type", "allowed", "default", "meaning"], rows)
    found = presets(name, root)
    if len(found) > 1:
        yield f"Presets, chosen as `{name}=<preset>`:"
        yield table(["preset", "what", "values"], found)
    for key, (path, literal) in TABLES.items():
        if key.startswith(f"{name}."):
            yield f"Entries for `{key}` (`{literal}` in `{path}`):"
            yield table(["entry", "options", "what"], entries(root / path, literal))


def keys_of(prefix: str, kind: Schema, schema: Schema, defaults: Schema) -> Iterator[list[str]]:
    """A row for each key of a section; a section inside it is opened."""
    for name, entry in kind["properties"].items():
        if "$ref" in entry:
            yield from keys_of(f"{prefix}.{name}", definition(entry, schema), schema, defaults[name])
        else:
            yield [f"`{prefix}.{name}`", *row(name, kind, schema, defaults)[1:]]


def row(name: str, kind: Schema, schema: Schema, defaults: Schema) -> list[str]:
    """Key, type, allowed values, default and meaning of one field."""
    entry = kind["properties"][name]
    ways = entry.get("anyOf", [entry])
    types = " or ".join(dict.fromkeys(type_of(way, schema) for way in ways))
    allowed = "; ".join(filter(None, (allowed_by(way) for way in ways)))
    return [f"`{name}`", types, allowed, code(defaults[name]), prose(entry.get("description", ""))]


def type_of(way: Schema, schema: Schema) -> str:
    """What a value is, in words."""
    if "$ref" in way:
        return f"dict of {', '.join(f'`{name}`' for name in definition(way, schema)['properties'])}"
    if way["type"] == "array":
        return f"list of {type_of(way['items'], schema)}"
    return TYPE_NAMES[way["type"]]


def allowed_by(way: Schema) -> str:
    """The values or bounds that the schema sets."""
    if "enum" in way:
        return ", ".join(f"`{value}`" for value in way["enum"])
    if "minItems" in way:
        return f"{way['minItems']} of them"
    return ", ".join(f"{word} {way[key]:g}" for key, word in BOUNDS.items() if key in way)


def readers(name: str, root: Path) -> str:
    """The stages that list the section under `params`."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    found = []
    for stage, settings in stages.items():
        for params in settings.get("params", []):
            found += [f"`{stage}`"] * (name in (params.get("composed.yaml") or []))
    return ", ".join(found) or "nothing"


def presets(group: str, root: Path) -> list[list[str]]:
    """Name, first comment and own values of each preset of a group."""
    rows = []
    for name in groups(root / "configs").get(group, []):
        text = (root / "configs" / group / f"{name}.yaml").read_text(encoding="utf-8")
        values = OmegaConf.to_container(OmegaConf.create(text))
        assert isinstance(values, dict)
        own = {key: value for key, value in values.items() if key != "defaults"}
        rows.append([f"`{name}`", prose(first_comment(text)), code(own)])
    return rows


def first_comment(text: str) -> str:
    """The first line of comment in a YAML file that is no directive; empty where there is none."""
    comments = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    return next((comment for comment in comments if comment and not comment.startswith("@")), "")


def entries(path: Path, name: str) -> list[list[str]]:
    """Name, keyword-only options with their defaults, and first docstring line of each entry of a literal table."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    literal = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name
    )
    assert isinstance(literal, ast.Dict)
    rows = []
    for key, value in zip(literal.keys, literal.values, strict=True):
        assert isinstance(key, ast.Constant)
        if isinstance(value, ast.Name):
            rows.append([f"`{key.value}`", *described(tree, value.id)])
        else:
            rows.append([f"`{key.value}`", "", f"`{ast.unparse(value)}`"])
    return rows


def described(tree: ast.Module, name: str) -> list[str]:
    """Options and first docstring line of a function or class that a module defines or imports from `src`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            source = ROOT / f"{str(node.module).replace('.', '/')}.py"
            return described(ast.parse(source.read_text(encoding="utf-8")), name)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return [options(node), first_line(node)]
    raise ValueError(f"{name} is neither defined nor imported there")


def options(node: ast.FunctionDef | ast.ClassDef) -> str:
    """The keyword-only arguments, with defaults where there are any."""
    if isinstance(node, ast.ClassDef):
        functions = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
        node = next(inner for inner in functions if inner.name == "__init__")
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    shown = [f"{arg.arg}={ast.unparse(value)}" if value else arg.arg for arg, value in pairs if arg.arg not in DERIVED]
    return ", ".join(f"`{option}`" for option in shown)


def modules_table(root: Path = ROOT) -> str:
    """Every module of `src` with the first line of its docstring, as Markdown."""
    rows = []
    for path in sorted((root / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        rows.append([f"`{path.relative_to(root).as_posix()}`", first_line(tree)])
    return table(["module", "what it holds"], rows) + "\n"


def first_line(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """The first sentence or line of a docstring."""
    return prose((ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ").strip())


def definition(entry: Schema, schema: Schema) -> Schema:
    """The part of the schema that an entry refers to."""
    found: Schema = schema["$defs"][entry["$ref"].rpartition("/")[2]]
    return found


def prose(text: str) -> str:
    """Text that shows `<` as it is, outside of its code too."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def code(value: Any) -> str:
    """A value as it would be typed."""
    return "`" + json.dumps(value, ensure_ascii=False) + "`"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write(docs: Path = ROOT / "docs") -> None:
    """Write `configuration.md`, and the list of modules that the architecture page includes."""
    pages = {
        docs / "configuration.md": configuration_page(),
        docs / "_build" / "generated" / "modules.md": modules_table(),
    }
    for path, text in pages.items():
        # an unchanged page keeps its date, so that Sphinx need not read it again
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
