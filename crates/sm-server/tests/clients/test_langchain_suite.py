"""LangChain's own tests of chat models, for langchain-openai on a scripted model: which tool is called is in the script."""

import os
import sys

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestScripted(ChatModelIntegrationTests):
    """Images, audio, PDFs and recorded cassettes are left out: the model reads text."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict:
        url = os.environ["SM_SCRIPTED_URL"] + "/v1"
        return {"base_url": url, "api_key": "none", "model": "langchain", "max_retries": 0, "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "scripted"


# The client keeps its connections for other tests, so they share a loop.
OPTIONS = ["asyncio_mode=auto", "asyncio_default_test_loop_scope=session", "asyncio_default_fixture_loop_scope=session"]

if __name__ == "__main__":
    options = [part for option in OPTIONS for part in ("-o", option)]
    sys.exit(pytest.main([__file__, "-q", "-rsxXf", "--tb=short", "-p", "no:cacheprovider", *options]))
