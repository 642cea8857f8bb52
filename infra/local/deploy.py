"""Deploys template.yaml to the emulator through a CloudFormation change set, as it goes to AWS (infra/deploy/deploy.sh).

    deploy.py --stack-dir .local/stacks/dev --stack-name reprise-dev \
        --endpoint-url http://127.0.0.1:4566 --bin-dir target/debug --parameter Local=true ... \
        --secret-parameter ModelApiKeySecret=OPENAI_API_KEY

Idempotent: when nothing changed it says so and exits 0. Steps go to stderr, one line each. The outputs of the
stack are written to <stack-dir>/outputs.json as one flat JSON object, replaced in one step. Exit code 1 with the
cause (the events of the resources that failed) when the deploy fails.
Read next: deployment/staging.py, deployment/target.py, deployment/change_set.py.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from botocore.exceptions import BotoCoreError, ClientError  # noqa: E402

from deployment import DeployError, staging, target  # noqa: E402
from deployment.change_set import Say, StackDeploy  # noqa: E402

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"deploy: {time.monotonic() - started:5.1f}s {text}", file=sys.stderr, flush=True)

    try:
        deploy(_arguments(), say)
    except (DeployError, BotoCoreError, ClientError, OSError) as error:
        say(f"failed: {error}")
        return 1
    return 0


def deploy(options: argparse.Namespace, say: Say) -> None:
    """Stage, package, change, write the outputs."""
    parameters = _pairs("--parameter", options.parameter)
    # Read before the environment is cleaned for a local deploy.
    secrets = {name: os.environ.get(variable, "") for name, variable in _pairs("--secret-parameter", options.secret_parameter).items()}
    place = target.local(options.endpoint_url, f"{options.stack_name}-artifacts")
    template = options.template.resolve()
    work = options.stack_dir.resolve() / "package"
    work.mkdir(parents=True, exist_ok=True)
    say(f"staging the functions of {options.bin_dir}")
    template = staging.stage(template, options.bin_dir.resolve(), work, options.agents)
    say(f"packaging to s3://{place.bucket}")
    packaged = work / "packaged.yaml"
    place.ensure_bucket()
    place.aws(
        *("cloudformation", "package", "--template-file", str(template)),
        *("--s3-bucket", place.bucket, "--s3-prefix", options.stack_name, "--output-template-file", str(packaged)),
    )
    for name, text in secrets.items():
        parameters[name] = _secret_name(options.stack_name, name, text)
        if text:
            place.store_secret(parameters[name], text)
    stack = StackDeploy(place, options.stack_name, options.timeout, say)
    say(f"changing the stack {options.stack_name}")
    changed = stack.run(packaged, parameters)
    _write_outputs(options.stack_dir / "outputs.json", stack.outputs())
    if changed:
        place.forget_old_packages(packaged.read_text(encoding="utf-8"))
    say("done" if changed else "done, no changes")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack-dir", type=Path, required=True, help="folder for outputs.json and package/")
    parser.add_argument("--stack-name", required=True, help="name of the CloudFormation stack")
    parser.add_argument("--template", type=Path, default=_ROOT / "template.yaml", help="default: template.yaml of the repository")
    parser.add_argument("--endpoint-url", required=True, help="the emulator")
    parser.add_argument("--bin-dir", type=Path, required=True, help="package <bin-dir>/<function> instead of target/lambda")
    parser.add_argument("--agents", type=Path, help="folder of compiled definitions (reprise agents compile --out) that goes into each package")
    parser.add_argument("--parameter", action="append", default=[], metavar="NAME=VALUE", help="template parameter; repeatable")
    parser.add_argument(
        "--secret-parameter",
        action="append",
        default=[],
        metavar="NAME=VARIABLE",
        help="keep the text of this environment variable as a secret and pass the secret's name; repeatable",
    )
    parser.add_argument("--timeout", type=int, default=900, metavar="SECONDS", help="bound for the whole change (default 900)")
    return parser.parse_args()


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise DeployError(f"{option} {name!r} is not of the form NAME=VALUE")
        pairs[name] = value
    return pairs


def _secret_name(stack_name: str, parameter: str, text: str) -> str:
    """Empty for no secret. CloudFormation reads a secret again only when its name changes, hence the hash."""
    return f"{stack_name}/{parameter}-{hashlib.sha256(text.encode()).hexdigest()[:12]}" if text else ""


def _write_outputs(path: Path, outputs: dict[str, str]) -> None:
    """Replace the file in one step: the front and the CLI may read it at any moment."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(outputs, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    sys.exit(main())
