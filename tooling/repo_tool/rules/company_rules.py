# SPDX-License-Identifier: Apache-2.0
"""REP: what the repositories that one server is given are to one another."""

__all__ = ["name_in_two_repositories"]

from collections.abc import Iterator

from repo_tool.rules.diagnostics import Finding
from repo_tool.rules.file_kinds import is_folder
from repo_tool.rules.registry import Scope, rule
from repo_tool.rules.subjects import ModelSubject


@rule("REP122", scope=Scope.DIRECTORY)
def name_in_two_repositories(model: ModelSubject) -> Iterator[Finding]:
    """A model is in only one of the repositories that a server is given.

    A server with several ``--model-repository`` knows a model by the name of its folder. One that two of them have is
    served from neither, whatever lies in the folders: even an empty one takes the name. Triton 2.51 lists such a model
    as ``UNAVAILABLE: model appears in two or more repositories``, refuses to load it as ``not unique across all model
    repositories``, and refuses every ensemble that has it as a step as ``contains models that are not available or
    ambiguous``. Ensembles whose models are spread over the repositories load. A server that is started with
    ``--model-namespacing=true`` takes both.

    Checked where several repositories are named: ``repo-tool validate REPOSITORY REPOSITORY``.

    Wrong::

        common/tokenizer/config.pbtxt
        search/tokenizer/config.pbtxt

    Right::

        common/tokenizer/config.pbtxt
        search/search_tokenizer/config.pbtxt
    """
    others = [other.path for other in model.repository.repository.beside if is_folder(other.path / model.name)]
    if others:
        named = ", ".join(f"'{path}'" for path in others)
        yield Finding(
            f"'{model.name}' is in another repository too: {named}",
            "Triton: not unique across all model repositories; it serves neither, and no ensemble with it as a step",
            "rename one of the folders, and the ensembles' steps that mean it, or take one away",
            file="",
        )
