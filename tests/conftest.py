"""What holds for all tests: no property fails for taking long, since the machine may be busy with something else."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "patient",
    settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")

# Those that take minutes begin first, so that in the end no process waits for another.
FIRST = (
    "test_kernel_modes.py",
    "test_api_fuzz.py",
    "test_worker_kills.py",
    "test_search_run.py",
    "test_service_process.py",
    "test_naive_vidur.py",
    "test_pages_accessible.py",
    "test_pages_studies.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first and leaves the rest in its order."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(FIRST)))
