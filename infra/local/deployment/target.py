"""Where a deploy goes: the local emulator, and never anywhere else.

Every trace of the user's own AWS set-up (profile, keys, region, proxy) is dropped, so that a
local deploy can neither fail because of it nor ever reach a real account.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from deployment import DeployError

_REGION = "us-east-1"


@dataclass(frozen=True)
class Target:
    """One emulator to deploy to."""

    endpoint_url: str
    bucket: str

    def client(self, service: str) -> Any:
        """A boto3 client with bounded time-outs; boto3 itself retries what is safe to retry."""
        # Names of buckets as host names do not resolve on localhost.
        style = {"addressing_style": "path"}
        settings = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard"}, s3=style)
        return boto3.client(service, endpoint_url=self.endpoint_url, region_name=_REGION, config=settings)

    def aws(self, *arguments: str) -> None:
        """Run the AWS CLI that is installed beside this Python; its error text is the error."""
        command = [str(Path(sys.executable).with_name("aws")), *arguments, "--region", _REGION, "--endpoint-url", self.endpoint_url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DeployError(f"`aws {' '.join(arguments[:2])}` failed: {(done.stderr or done.stdout).strip()}")

    def ensure_bucket(self) -> None:
        """Make the bucket for the packages, unless it is there."""
        self.client("s3").create_bucket(Bucket=self.bucket)

    def forget_old_packages(self, packaged_template: str) -> None:
        """Delete what the deployed template no longer names: the emulator keeps each debug build in memory."""
        storage = self.client("s3")
        for item in storage.list_objects_v2(Bucket=self.bucket).get("Contents", []):
            if item["Key"] not in packaged_template:
                storage.delete_object(Bucket=self.bucket, Key=item["Key"])

    def store_secret(self, name: str, text: str) -> None:
        """Make the secret unless it is there; its name depends on its text, so it never changes."""
        secrets = self.client("secretsmanager")
        try:
            secrets.create_secret(Name=name, SecretString=text)
        except secrets.exceptions.ResourceExistsException:
            return


def local(endpoint_url: str, bucket: str) -> Target:
    """The emulator, from a clean AWS environment."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]
    os.environ.update(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
        # `aws cloudformation package` uploads with a client that ignores --endpoint-url.
        AWS_ENDPOINT_URL=endpoint_url,
    )
    return Target(endpoint_url, bucket)
