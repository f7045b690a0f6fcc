"""A pytest plugin: runs the cases of llama.cpp's server tests that use stories260K, and writes how each ended.

Cases of other models, and those marked slow, are left out: they need models that are not here.
"""

import os

import pytest

STORIES = "ggml-org/test-model-stories260K"
outcomes: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    import utils

    # It would start every model.
    utils.ServerPreset.load_all = staticmethod(lambda: None)
    start = utils.ServerProcess.start

    def start_stories(self, timeout_seconds: int = 60) -> None:
        if self.model_hf_repo != STORIES or self.model_draft:
            pytest.skip(f"another model: {self.model_hf_repo}")
        start(self, timeout_seconds)

    utils.ServerProcess.start = start_stories


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    case = report.nodeid.removeprefix("unit/")
    if report.failed:
        outcomes[case] = "failed"
    elif report.skipped:
        outcomes[case] = "left out"
    elif report.when == "call":
        outcomes.setdefault(case, "passed")


def pytest_sessionfinish() -> None:
    with open(os.environ["SM_OUTCOMES"], "w", encoding="utf-8") as file:
        file.writelines(f"{outcome}  {case}\n" for case, outcome in outcomes.items())
