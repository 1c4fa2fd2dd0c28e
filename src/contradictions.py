"""Pairs of settings that cannot hold together, each with the sentence that says so."""

from src.config import LINEAR_PROBE, Config
from src.config_data import DataConfig

Rule = tuple[bool, str]
"""Whether it is broken, and what is said then."""


def contradictions(cfg: Config) -> list[str]:
    """Sentences naming both keys of each pair that cannot hold together; empty when there is none."""
    rules = [
        *_in_data(cfg.data),
        *_in_features(cfg),
        *_in_model(cfg),
        *_in_probe(cfg),
        *_in_training(cfg),
        *_in_slurm(cfg),
        *_in_sharding(cfg),
    ]
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
    of_steps = ("freeze", "init_from", "resume", "gradient_checkpointing", "distillation", "resizing")
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
        (
            probe and cfg.train.share < 1,
            f"train.share={cfg.train.share} is not read by model.name=linear_probe, which is fitted to all of train; "
            "leave it out",
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
    untils = [rule.until_epoch for rule in cfg.train.resizing]
    teacher = None if cfg.train.distillation is None else cfg.train.distillation.teacher
    return [
        (
            cfg.train.gradient_checkpointing and cfg.train.compile is not False,
            f"train.gradient_checkpointing=true and train.compile={str(cfg.train.compile).lower()} both decide what "
            "a pass keeps for the backward one; keep one",
        ),
        (
            untils != sorted(set(untils)),
            f"train.resizing names until_epoch={', '.join(map(str, untils))}, which should rise from one to the next",
        ),
        (
            bool(untils) and max(untils) >= epochs,
            f"train.resizing ends with until_epoch={max(untils, default=0)} and train.epochs={epochs}; leave "
            "some epochs for the size that is evaluated",
        ),
        (
            teacher is not None and teacher == cfg.run_dir,
            f"train.distillation.teacher={teacher} is the run_dir of the student itself; name another run_dir",
        ),
        (
            teacher is not None and loss in ("bce", "logit_adjustment"),
            f"train.distillation compares softmax probabilities, and loss.name={loss} learns other ones; "
            "use loss=cross_entropy or focal",
        ),
        (
            teacher is not None and imbalance == "logit_adjustment",
            f"train.distillation compares softmax probabilities, which train.imbalance={imbalance} shifts; "
            "use train.imbalance=none, class_weights, balanced_sampler, focal or auto",
        ),
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


def _in_slurm(cfg: Config) -> list[Rule]:
    slurm = cfg.run.slurm
    if slurm is None:
        return []
    return [
        (
            cfg.run.devices is not None,
            f"run.devices={cfg.run.devices} and run.slurm both say how many processes train; set run.slurm.nodes and "
            "run.slurm.processes",
        ),
        (
            cfg.sweep is not None,
            "a sweep needs the results of its runs and run.slurm only submits them; run the sweep in an allocation "
            "of your own, with run=default",
        ),
        (
            cfg.model.name == LINEAR_PROBE and slurm.nodes * slurm.processes > 1,
            f"run.slurm.nodes={slurm.nodes} and run.slurm.processes={slurm.processes} are of no use to "
            "model.name=linear_probe, which one process fits; set both to 1",
        ),
    ]


SHARDED_OPTIMIZERS = ("adam", "adamw", "sgd")
"""Those whose step treats each number by itself, as tried; others look at whole weights."""


def _in_sharding(cfg: Config) -> list[Rule]:
    if cfg.run.sharding == "none":
        return []
    train, one = cfg.train, "run.sharding=fsdp keeps slices of weights"
    clip = train.clip.name if train.clip is not None else "norm"
    return [
        (
            train.compile is not False,
            f"{one}, and train.compile={str(train.compile).lower()} is not known to work on them; set it to false, "
            "or run.sharding=none",
        ),
        (
            cfg.optimizer.name not in SHARDED_OPTIMIZERS,
            f"{one}, and optimizer.name={cfg.optimizer.name} is not known to work on them; use "
            f"{', '.join(SHARDED_OPTIMIZERS)}, or run.sharding=none",
        ),
        (
            cfg.optimizer.lookahead is not None,
            f"{one}, and optimizer.lookahead keeps whole ones; set it to null, or run.sharding=none",
        ),
        (
            train.average.name != "none",
            f"{one}, and train.average.name={train.average.name} averages whole ones; use none, or run.sharding=none",
        ),
        (
            clip != "norm",
            f"{one}, and train.clip.name={clip} looks at whole gradients; use norm or null, or run.sharding=none",
        ),
        (
            bool(train.freeze),
            f"{one} that are all trained, and train.freeze lets some rest; leave it out, or set run.sharding=none",
        ),
        (
            train.micro_batch_size is not None,
            f"{one}, which are put together by all processes at once, and train.micro_batch_size="
            f"{train.micro_batch_size} may give them different numbers of passes; leave it out",
        ),
        (
            train.precision == "fp16",
            f"{one}, and train.precision=fp16 scales whole gradients; use bf16 or fp32, or run.sharding=none",
        ),
        (
            cfg.run.devices == 1,
            f"{one} on several processes, and run.devices=1; raise it, or set run.sharding=none",
        ),
    ]
