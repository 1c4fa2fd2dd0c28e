"""Where artifacts lie, relative to the project's root. Every path of the pipeline is named here and in `dvc.yaml`."""

from dataclasses import dataclass
from pathlib import Path

RAW_DIR = Path("data/raw/source")
DATASET_DIR = Path("data/interim/dataset")
FACTS_CACHE = Path("data/interim/.facts")
PACKED_DIR = Path("data/processed/packed")
EMBEDDINGS_CACHE = Path("data/processed/.embeddings")
FOLDS_DIR = Path("data/processed/folds")
LABEL_ISSUES_DIR = Path("data/interim/label_issues")
PIPELINE_RUN = Path("models/pipeline")
RUNS_DIR = Path("models/runs")
SWEEPS_DIR = Path("models/sweeps")
EXPERIMENTS_DIR = Path("models/experiments")
CHAMPION = "champion"
CHAMPION_FILE = Path("models/champion.json")
REQUESTS_DIR = Path("data/requests")
REPORTS_DIR = Path("reports")
DATA_AUDIT_PAGE = REPORTS_DIR / "data_audit.html"
LABEL_ISSUES_PAGE = REPORTS_DIR / "label_issues.html"
MONITOR_DIR = REPORTS_DIR / "monitor"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    `train/` is written by train_model, `predictions/` and `metrics.json` by predict_model, so that each is an
    output of its own stage; `cost.json` by measure_cost, of which no stage knows.
    """

    path: Path

    @property
    def name(self) -> str:
        """The run's name, as reports show it."""
        return self.path.name

    @property
    def train(self) -> Path:
        """Folder of train_model: `best/`, `last/`, `metrics.jsonl`, `curves.csv`, `augmented.png`, `run.json`."""
        return self.path / "train"

    def checkpoint(self, which: str) -> Path:
        """Folder of the `best` or the `last` checkpoint: `model.safetensors` and `model.json`."""
        return self.train / which

    @property
    def metrics_log(self) -> Path:
        """A JSON object per line: `step`, `epoch` and the metrics logged then."""
        return self.train / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """A row per epoch, for plots: epoch, train and val loss and accuracy, learning rate."""
        return self.train / "curves.csv"

    @property
    def augmented(self) -> Path:
        """A picture of some training images as they are and as the first epochs change them."""
        return self.train / "augmented.png"

    @property
    def resume(self) -> Path:
        """States of a run that has not ended, outside every output of a stage; gone once it has."""
        return self.path / "resume"

    @property
    def job(self) -> Path:
        """Folder of a job of Slurm: its settings, its batch script and what it said."""
        return self.path / "job"

    @property
    def predictions(self) -> Path:
        """Folder of predict_model: `<split>.parquet`, and tables of test, near images and maps beside them."""
        return self.path / "predictions"

    @property
    def metrics(self) -> Path:
        """Final metrics keyed by split."""
        return self.path / "metrics.json"

    @property
    def reference(self) -> Path:
        """How the images that the model was scored on look, and what it said of them: what monitor compares with."""
        return self.predictions / "reference.json"

    @property
    def card(self) -> Path:
        """The model card: outside every output of a stage, as people write into it too."""
        return self.path / "MODEL_CARD.md"

    @property
    def cost(self) -> Path:
        """What inference with the checkpoint costs, written by measure_cost."""
        return self.path / "cost.json"

    @property
    def report(self) -> Path:
        """Folder of the run's HTML page."""
        return REPORTS_DIR / self.name

    @property
    def figures(self) -> Path:
        """Folder of the run's PNG figures."""
        return REPORTS_DIR / "figures" / self.name
