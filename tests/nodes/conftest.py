import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import async_tests
from tests.nodes.pools import Certificate

REQUEST = """\
[req]
distinguished_name = who
x509_extensions = how
prompt = no
[who]
CN = {name}
[how]
subjectAltName = {name}
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
"""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return async_tests.run(pyfuncitem)


@pytest.fixture(scope="session")
def certificate_for(
    require: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Certificate]:
    """`certificate_for("IP:127.0.0.1")` makes one with openssl."""
    openssl = require("openssl")

    def make(name: str) -> Certificate:
        folder = tmp_path_factory.mktemp("tls")
        (folder / "request").write_text(REQUEST.format(name=name))
        command = "req -x509 -newkey rsa:2048 -nodes -days 2 -config request -keyout key.pem -out cert.pem"
        subprocess.run([openssl, *command.split()], cwd=folder, check=True, capture_output=True)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return Certificate(folder / "cert.pem", server)

    return make
