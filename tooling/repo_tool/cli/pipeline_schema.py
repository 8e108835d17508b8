# SPDX-License-Identifier: Apache-2.0
"""``repo-tool pipeline schema``."""

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON schema of pipeline files, by which editors complete and check them.

    **Example:**

        repo-tool pipeline schema > pipeline.schema.json
    """
    import json

    from repo_tool.pipelines.schema import pipeline_schema

    print(json.dumps(pipeline_schema(), indent=2, ensure_ascii=False))
