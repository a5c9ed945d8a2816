"""A program with llama-server's face (`--help`, `--list-devices`, its flags) and the real engine within.

Beside it, `called` records how it was called and `devices` says which devices it claims to have.
"""

import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

HERE = Path(sys.argv[0]).parent
HELP = """\
-m,    --model FNAME                    model path to load
-a,    --alias STRING                   set alias for model name
-c,    --ctx-size N                     size of the prompt context
-np,   --parallel N                     number of server slots
-t,    --threads N                      number of CPU threads
-dev,  --device <dev1,dev2,..>          comma-separated list of devices to use
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM
--no-webui                              disable the Web UI
--metrics                               enable prometheus compatible metrics endpoint
--slots                                 expose slots monitoring endpoint
"""


def main() -> None:
    words = sys.argv[1:]
    if words == ["--help"]:
        print(HELP)
    elif words == ["--list-devices"]:
        print("Available devices:\n" + (HERE / "devices").read_text())
    else:
        with (HERE / "called").open("a") as record:
            print(json.dumps(words), file=record)
        serve(words)


def serve(words: list[str]) -> None:
    import xllamacpp

    given = dict(pairwise(words))
    params = xllamacpp.CommonParams()
    params.model.path = given["--model"]
    params.model_alias = {given["--alias"]}
    params.n_ctx, params.n_parallel = int(given["--ctx-size"]), int(given["--parallel"])
    params.hostnames, params.port = [given["--host"]], int(given["--port"])
    params.api_keys = [os.environ["LLAMA_API_KEY"]]
    params.fit_params = params.ui = False
    server = xllamacpp.Server(params)
    while server:
        time.sleep(60)


if __name__ == "__main__":
    main()
