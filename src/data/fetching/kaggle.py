"""Data sets and competitions of Kaggle, through its own client and by its own rules for credentials."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from src.config import DownloadConfig
from src.config_data import DataConfig
from src.data.fetching.archive import from_archive
from src.data.fetching.downloads import Announce, DownloadError, Fault, Offer, download
from src.data.fetching.record import Source

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi
    from requests import Response

SITE = "https://www.kaggle.com"
TOKEN_PAGE = f"{SITE}/settings/api"
WHERE_KEYS_LIE = (
    f"make a token at {TOKEN_PAGE} and put it into ~/.kaggle/access_token or into KAGGLE_API_TOKEN, in the "
    "environment or in .env (a legacy key: ~/.kaggle/kaggle.json, or KAGGLE_USERNAME and KAGGLE_KEY)"
)


@dataclass(frozen=True, kw_only=True)
class KaggleData:
    """What is asked of Kaggle: one of a `dataset`, as owner/name, and a `competition`; `only` a folder of it."""

    dataset: str | None = None
    competition: str | None = None
    only: str | None = None

    @property
    def page(self) -> str:
        """Where a person finds it."""
        if self.competition is not None:
            return f"{SITE}/competitions/{self.competition}/data"
        return f"{SITE}/datasets/{self.dataset}"

    def fetch(self, cfg: DataConfig, raw_dir: Path, settings: DownloadConfig) -> Source:
        """The source at `raw_dir/<name>.zip`; see `from_archive`."""
        offer = Offer(what=f"{cfg.name} from Kaggle", page=self.page, sentences=self._sentences())

        def get(target: Path) -> None:
            download(partial(_ask, self, target.name), target.parent, offer=offer, settings=settings)

        return from_archive(cfg, raw_dir, get=get, page=self.page, only=self.only)

    def _sentences(self) -> dict[str, str]:
        ask = "open {page} with the account whose key is used, accept what is asked there"
        if self.competition is not None:
            rules = f"{SITE}/competitions/{self.competition}/rules"
            ask = f"accept the rules of the competition at {rules} with the account whose key is used"
        return {
            "credentials": f"{{what}}: no credentials found; {WHERE_KEYS_LIE}",
            "token": f"{{what}}: Kaggle does not know the access token that was found; {WHERE_KEYS_LIE}",
            "401": f"{{what}}: Kaggle refuses the credentials that were found (401); {WHERE_KEYS_LIE}",
            "403": f"{{what}}: Kaggle refuses the download (403); {ask}, and run again",
        }


def _ask(data: KaggleData, name: str, folder: Path, announce: Announce) -> None:
    """Download into `folder/name`; run in a process of its own, for the client has no deadline."""
    api = _authenticated()
    with api.build_kaggle_client() as client:
        if data.competition is not None:
            from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest

            files = ApiDownloadDataFilesRequest()
            files.competition_name = data.competition
            response = client.competitions.competition_api_client.download_data_files(files)
        else:
            from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

            asked = ApiDownloadDatasetRequest()
            asked.owner_slug, asked.dataset_slug = str(data.dataset).split("/")
            response = client.datasets.dataset_api_client.download_dataset(asked)
        _make_sure_of_space(response, folder, announce)
        # resumes where a marker of the client's own says that the part belongs to the file that is offered now;
        # repeated attempts are counted by `download`
        api.download_file(response, str(folder / name), client.http_client(), quiet=True, resume=True, max_retries=0)


def _authenticated() -> "KaggleApi":
    import kaggle  # noqa: F401 - it tries the credentials as it is imported, and hides what comes of it
    from kaggle.api.kaggle_api_extended import KaggleApi
    from kagglesdk.kaggle_env import get_access_token_from_env

    api = KaggleApi()
    try:
        api.authenticate()
    except SystemExit:
        token, _ = get_access_token_from_env()
        raise DownloadError(Fault(kind="token" if token else "credentials")) from None
    return api


def _make_sure_of_space(response: "Response", folder: Path, announce: Announce) -> None:
    num_bytes = int(response.headers.get("Content-Length", 0))
    announce(num_bytes)
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        detail = f"{num_bytes / 1e9:.1f} GB are needed below {folder} and {free / 1e9:.1f} GB are free"
        raise DownloadError(Fault(kind="space", detail=detail))
