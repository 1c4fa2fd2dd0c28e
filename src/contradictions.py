"""Pairs of settings that cannot hold together, each with the sentence that says so."""

from src.config import LINEAR_PROBE, Config
from src.config_data import DataConfig

Rule = tuple[bool, str]
"""Whether it is broken, and what is said then."""


def contradictions(cfg: Config) -> list[str]:
    """Sentences naming both keys of each pair that cannot hold together; empty when there is none."""
    rules = [*_in_data(cfg.data), *_in_features(cfg), *_in_model(cfg), *_in_probe(cfg), *_in_training(cfg)]
    return [sentence for broken, sentence in rules if broken]


def _in_data(data: DataConfig) -> list[Rule]:
    fold = f"data.fold={data.fold}"
    return [
        (
            data.name == "folder" and data.path is None,
            "data.name=folder needs data.path=<folder, archive or list of images>",
        ),
        (
            data.name != "folder" and data.path is not None,
            f"data.path={data.path} is not read by data.name={data.name}; choose data=folder, "
            "or give an archive you downloaded as data.archive",
        ),
        (
            data.name == "folder" and data.archive is not None,
            f"data.archive={data.archive} takes the place of a download; for data.name=folder it is data.path",
        ),
        (
            data.name == "digits" and data.archive is not None,
            f"data.archive={data.archive} is not read by data.name=digits, which scikit-learn carries",
        ),
        (
            data.val_share + data.test_share >= 1,
            f"data.val_share={data.val_share} and data.test_share={data.test_share} leave nothing to train on",
        ),
        (
            (data.folds is None) != (data.fold is None),
            f"data.folds={data.folds} and {fold} go together; give both or neither",
        ),
        (
            data.folds is not None and data.fold is not None and data.fold >= data.folds,
            f"{fold} is none of data.folds={data.folds}, which are counted from 0",
        ),
    ]


def _in_model(cfg: Config) -> list[Rule]:
    pretrained = cfg.model.pretrained or cfg.model.pretrained_path is not None
    own_net = cfg.model.name in ("baseline_cnn", "residual_cnn")
    return [
        (
            cfg.model.pretrained and cfg.model.pretrained_path is not None,
            "model.pretrained=true and model.pretrained_path both name weights; keep one",
        ),
        (
            own_net and pretrained,
            f"model.name={cfg.model.name} is trained from scratch; drop model.pretrained and model.pretrained_path",
        ),
        (
            pretrained and cfg.model.stem == "small",
            "model.stem=small changes the shape of pretrained weights; use model.stem=plain or model.pretrained=false",
        ),
    ]


def _in_probe(cfg: Config) -> list[Rule]:
    embeddings, probe = cfg.features.embeddings, cfg.model.name == LINEAR_PROBE
    has_weights = embeddings.pretrained or embeddings.pretrained_path is not None
    of_features = ("pretrained", "pretrained_path", "img_size", "mean", "std")
    of_steps = ("freeze", "init_from", "resume", "gradient_checkpointing")
    return [
        (
            probe and not has_weights,
            "model.name=linear_probe needs weights of the frozen network: features.embeddings.pretrained=true or "
            "features.embeddings.pretrained_path=<file>",
        ),
        (
            probe and cfg.sweep is not None,
            "model.name=linear_probe is fitted once, not swept; leave sweep out or choose another model",
        ),
        (
            probe and cfg.run.devices not in (None, 1),
            f"run.devices={cfg.run.devices} is of no use to model.name=linear_probe, which one process fits; "
            "leave it out",
        ),
        *(
            (
                probe and bool(getattr(cfg.model, key)),
                f"model.{key} is not read by model.name=linear_probe; set features.embeddings.{key}",
            )
            for key in of_features
        ),
        *(
            (
                probe and bool(getattr(cfg.train, key)),
                f"train.{key} is not read by model.name=linear_probe, which is fitted in one go; leave it out",
            )
            for key in of_steps
        ),
    ]


def _in_features(cfg: Config) -> list[Rule]:
    embeddings = cfg.features.embeddings
    return [
        (
            embeddings.pretrained and embeddings.pretrained_path is not None,
            "features.embeddings.pretrained=true and features.embeddings.pretrained_path both name weights; keep one",
        ),
        (
            cfg.labels.features == "embeddings" and not embeddings.pretrained and embeddings.pretrained_path is None,
            "labels.features=embeddings needs weights: features.embeddings.pretrained=true or "
            "features.embeddings.pretrained_path=<file>",
        ),
    ]


def _in_training(cfg: Config) -> list[Rule]:
    warmup, cooldown, epochs = cfg.schedule.warmup_epochs, cfg.schedule.cooldown_epochs, cfg.train.epochs
    imbalance, loss = cfg.train.imbalance, cfg.loss.name
    return [
        (
            warmup >= epochs and warmup > 0,
            f"schedule.warmup_epochs={warmup} is not shorter than train.epochs={epochs}",
        ),
        (
            warmup < epochs < warmup + cooldown,
            f"schedule.warmup_epochs={warmup} and schedule.cooldown_epochs={cooldown} are longer than "
            f"train.epochs={epochs}",
        ),
        (
            imbalance in ("focal", "logit_adjustment") and loss != "cross_entropy",
            f"train.imbalance={imbalance} takes the place of cross-entropy, and loss.name={loss}; "
            "use loss=cross_entropy, or train.imbalance=none",
        ),
        (
            imbalance in ("class_weights", "balanced_sampler", "auto") and loss == "logit_adjustment",
            f"train.imbalance={imbalance} and loss.name=logit_adjustment both make up for rare classes; keep one",
        ),
    ]
