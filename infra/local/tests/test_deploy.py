"""Deploying: idempotent, quick, and clear about what failed. Staging: the same bytes for the same binary."""

import tempfile
import unittest
import zipfile
from pathlib import Path

from deployment import DeployError, staging
from tests.stack import FIXTURE, http, stack


class Deploy(unittest.TestCase):
    def test_a_second_deploy_of_the_same_changes_nothing(self) -> None:
        stack()
        done = stack().deploy()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("no changes", done.stderr)

    def test_the_front_follows_an_api_that_got_a_new_id(self) -> None:
        before = stack().outputs["ApiId"]
        changed = (FIXTURE / "template.yaml").read_text().replace("/echo", "/mirror")
        with tempfile.TemporaryDirectory() as folder:
            template = Path(folder) / "template.yaml"
            template.write_text(changed)
            self.assertEqual(stack().deploy(template=template).returncode, 0)
        try:
            self.assertNotEqual(stack().outputs["ApiId"], before)
            self.assertEqual(http(f"{stack().front}/mirror", b"x", "POST").status, 200)
        finally:
            self.assertEqual(stack().deploy().returncode, 0)
        self.assertEqual(http(f"{stack().front}/echo", b"x", "POST").status, 200)

    def test_a_failed_change_names_the_resource_and_the_reason_and_rolls_back(self) -> None:
        stack()
        done = stack().deploy("--parameter", "KeySecret=no-such-secret")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Web (AWS::Lambda::Function) UPDATE_FAILED", done.stderr)
        self.assertIn("no-such-secret not found", done.stderr)
        self.assertEqual(http(f"{stack().front}/echo", b"x", "POST").status, 200)

    def test_a_secret_reaches_the_function_by_name_only(self) -> None:
        stack()
        for text in ("first key", 'second "key"'):
            done = stack().deploy("--secret-parameter", "KeySecret=MY_KEY", MY_KEY=text)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(http(f"{stack().front}/items/environment").json()["KEY"], text)
        parameters = stack().client("cloudformation").describe_stacks(StackName="probe")["Stacks"][0]["Parameters"]
        self.assertNotIn(text, str(parameters))
        self.assertEqual(stack().deploy().returncode, 0)

    def test_wrong_arguments_are_named(self) -> None:
        self.assertIn("--parameter 'Bad' is not of the form", stack().deploy("--parameter", "Bad").stderr)


class Staging(unittest.TestCase):
    def test_the_same_binary_gives_the_same_bytes_and_is_executable(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            one, two = Path(folder) / "one.zip", Path(folder) / "two.zip"
            staging.package(FIXTURE / "probe", one)
            staging.package(FIXTURE / "probe", two)
            self.assertEqual(one.read_bytes(), two.read_bytes())
            with zipfile.ZipFile(one) as zipped:
                entry = zipped.getinfo("bootstrap")
                self.assertEqual(entry.external_attr >> 16, 0o100755)
                self.assertEqual(entry.compress_type, zipfile.ZIP_STORED)
                self.assertEqual(zipped.read("bootstrap"), (FIXTURE / "probe").read_bytes())

    def test_a_new_build_is_packaged_again(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            binary, archive = Path(folder) / "bin", Path(folder) / "a.zip"
            for text in (b"old", b"new"):
                binary.write_bytes(text)
                staging.package(binary, archive)
                with zipfile.ZipFile(archive) as zipped:
                    self.assertEqual(zipped.read("bootstrap"), text)

    def test_definitions_go_into_the_package_and_a_change_of_them_makes_a_new_one(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            agents, archive = Path(folder) / "agents", Path(folder) / "a.zip"
            (agents / "prompts").mkdir(parents=True)
            (agents / "prompts" / "a.md").write_text("Be brief.")
            for text in ("one", "two"):
                (agents / "bundle.json").write_text(text)
                staging.package(FIXTURE / "probe", archive, agents)
                with zipfile.ZipFile(archive) as zipped:
                    self.assertEqual(zipped.namelist(), ["bootstrap", "agents/bundle.json", "agents/prompts/a.md"])
                    self.assertEqual(zipped.read("agents/bundle.json"), text.encode())
                    self.assertEqual(zipped.getinfo("agents/prompts/a.md").external_attr >> 16, 0o100644)
            before = archive.stat().st_ino
            staging.package(FIXTURE / "probe", archive, agents)
            self.assertEqual(archive.stat().st_ino, before, "packaged again for nothing")
            (agents / "bundle.json").unlink()
            with self.assertRaisesRegex(DeployError, "no compiled definitions"):
                staging.package(FIXTURE / "probe", archive, agents)

    def test_a_function_that_was_not_built_is_named(self) -> None:
        with self.assertRaisesRegex(DeployError, "health.*build it first"):
            staging.package(Path("/nonexistent/health"), Path("/nonexistent/a.zip"))
