import pytest
from tests import async_tests


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return async_tests.run(pyfuncitem)
