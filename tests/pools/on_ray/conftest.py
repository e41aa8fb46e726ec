"""What all tests of Ray share."""

from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)  # before the conftest above reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks them all as `alone`: each starts a cluster, and some measure how long it takes to notice a death."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.alone)
