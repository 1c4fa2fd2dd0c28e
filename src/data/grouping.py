"""Groups that overlap, joined: images that share one of either kind end in one. Pure functions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def merged_groups(duplicates: Sequence[str], users: Sequence[str | None]) -> np.ndarray:
    """The name of each image's group, an object array, once the groups of duplicates and of the user are joined.

    Two images are in one group where a chain of shared groups leads from one to the other. Its name is the first, in
    the order of the alphabet, of the user's groups in it, else of the groups of duplicates; neither the order of the
    images nor other groups matter. None in `users`: an image that is in no group of the user.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    user_of, user_names = pd.factorize(np.asarray(users, dtype=object), sort=True)
    duplicate_of, duplicate_names = pd.factorize(np.asarray(duplicates, dtype=object), sort=True)
    # one name is one group, of whichever kind
    by_user, by_duplicates = pd.Index(user_names, dtype=object), pd.Index(duplicate_names, dtype=object)
    names = by_user.append(by_duplicates[~by_duplicates.isin(by_user)])
    nodes = names.get_indexer(by_duplicates)[duplicate_of]
    rows = np.flatnonzero(user_of >= 0)
    links = coo_array((np.ones(len(rows), dtype=bool), (user_of[rows], nodes[rows])), shape=(len(names),) * 2)
    component_of = connected_components(links, directed=False)[1]
    # the first node of a component names it: users come first, and both kinds stand in alphabetical order
    _, first = np.unique(component_of, return_index=True)
    return names.to_numpy()[first][component_of[nodes]]


def check_groups(groups: pd.Series, splits: pd.Series) -> None:
    """Nothing, where each group lies in one split; None is no group.

    Raises:
        ValueError: one lies in two.
    """
    places = pd.DataFrame({"group": groups, "split": splits}).dropna().drop_duplicates()
    divided = places["group"][places["group"].duplicated()]
    if len(divided):
        first = min(divided)
        found = sorted(places["split"][(places["group"] == first).to_numpy()])
        raise ValueError(
            f"group {first!r} has images in {' and in '.join(found)}{_more(divided.nunique())}, but a group must stay "
            "in one split; give its images the same split in your list, or leave one of the columns split and group out"
        )


def _more(divided: int) -> str:
    return f" (and so have {divided - 1} more)" if divided > 1 else ""
