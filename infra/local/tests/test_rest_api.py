"""What a function behind the front receives, and what a client sees of the gateway."""

import subprocess
import sys
import unittest

from tests.stack import LOCAL, http, stack


class RestApi(unittest.TestCase):
    def test_odd_path_parameters_arrive_decoded(self) -> None:
        for raw, decoded in {"a%22b": 'a"b', "a%0Ab": "a\nb", "%E2%82%AC": "€", "a%252Fb": "a%2Fb", "a'b": "a'b", "a%20b": "a b"}.items():
            with self.subTest(raw):
                event = http(f"{stack().front}/items/{raw}").json()
                self.assertEqual(event["pathParameters"], {"id": decoded})
                self.assertEqual(event["requestContext"]["resourcePath"], "/items/{id}")

    def test_bodies_arrive_whole(self) -> None:
        for body in (b"", b"not json", "ünïcode".encode(), b"x" * 2_000_000):
            with self.subTest(len(body)):
                event = http(f"{stack().front}/echo", body, "POST").json()
                self.assertEqual((event["body"] or "").encode(), body)
                self.assertFalse(event["isBase64Encoded"])

    def test_gateway_responses_of_the_template_shape_the_gateways_own_errors(self) -> None:
        answer = http(f"{stack().front}/no/such/route")
        self.assertEqual((answer.status, answer.json()), (404, {"code": "not_found"}))

    def test_a_function_that_fails_is_a_502_that_tells_nothing(self) -> None:
        answer = http(f"{stack().front}/items/panic")
        self.assertEqual((answer.status, answer.json()), (502, {"code": "from_the_template"}))

    def test_a_function_sees_nothing_of_the_users_environment_and_no_setting_of_ours(self) -> None:
        environment = http(f"{stack().front}/items/environment").json()
        self.assertEqual(environment["AWS_ENDPOINT_URL"], stack().endpoint)
        ours = {"A_SECRET_OF_THE_USER", "STACK_DIR", "PORT", "EMULATOR_PORT", "LOG_LEVEL", "DOCKER_HOST", "BIND_HOST"}
        self.assertEqual(ours & set(environment), set())

    def test_time_to_live_of_the_template_is_on(self) -> None:
        described = stack().client("dynamodb").describe_time_to_live(TableName=stack().outputs["TableName"])
        wanted = {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
        self.assertEqual(described["TimeToLiveDescription"], wanted)

    def test_the_alarm_is_there(self) -> None:
        alarms = stack().client("cloudwatch").describe_alarms()["MetricAlarms"]
        self.assertTrue([alarm for alarm in alarms if alarm.get("MetricName") == "ApproximateNumberOfMessagesVisible"])


class Ports(unittest.TestCase):
    def test_no_other_listener_is_started(self) -> None:
        # The emulator's MQTT listener would bind every interface.
        self.assertEqual(http(f"{stack().endpoint}/_ministack/health").json()["iot_mtls"], "disabled")

    def test_before_a_deploy_the_front_says_so(self) -> None:
        outputs = stack().folder / "outputs.json"
        aside = outputs.rename(outputs.with_suffix(".aside"))
        try:
            answer = http(f"{stack().front}/health")
            self.assertEqual((answer.status, answer.json()["code"]), (503, "not_deployed"))
            self.assertEqual(answer.headers["content-type"], "application/problem+json")
        finally:
            aside.rename(outputs)

    def test_a_busy_port_is_an_error_that_names_it(self) -> None:
        environment = stack().environment
        command = [sys.executable, str(LOCAL / "emulator.py")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"port {environment['EMULATOR_PORT']} (EMULATOR_PORT)", done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        # The one that runs still has its unpacked functions.
        self.assertTrue(any((stack().folder / "tmp").iterdir()))
