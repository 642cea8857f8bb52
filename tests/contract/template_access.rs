//! Who may call what: routes, the functions' permissions, and the table that holds everything.

use serde_json::Value;

use crate::template_document::{Template, each, referenced, text};

/// Probes of load balancers and people cannot sign requests.
const OPEN_ROUTES: [&str; 3] = ["GET /health", "GET /healthz", "GET /live"];
const VERBS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// Every policy statement of a role, whichever branch of an `!If` it stands in.
fn statements(role: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    for policy in each(&role["Policies"]) {
        for statement in each(&policy["PolicyDocument"]["Statement"]) {
            let branches = statement["Fn::If"].as_array();
            found.extend(branches.map_or_else(|| vec![statement], |parts| parts[1..].iter().collect()));
        }
    }
    found.retain(|statement| !statement["Effect"].is_null());
    found
}

/// Every text in a value, except names of parameters and resources.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(entries) => entries.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[test]
fn each_route_names_one_verb_and_one_path() {
    let template = Template::read("template.yaml");
    let mut routes = Vec::new();
    for (function, name, event) in template.events("Api") {
        let (verb, path) = (text(&event["Method"]), text(&event["Path"]));
        assert!(VERBS.contains(&verb.as_str()), "{function} {name}: {verb} is no verb");
        assert!(path.starts_with('/') && !path.contains('+'), "{function} {name}: {path} catches more than one route");
        assert_eq!(event["RestApiId"]["Ref"], "Api", "{function} {name} would get an API of its own");
        routes.push(format!("{verb} {path}"));
    }
    let all = routes.len();
    routes.sort();
    routes.dedup();
    assert_eq!(routes.len(), all, "a route is there twice");
}

#[test]
fn nothing_is_public_by_default_but_the_liveness_probes() {
    let template = Template::read("template.yaml");
    let mut open: Vec<_> = template
        .events("Api")
        .into_iter()
        .filter(|(.., event)| !event["Auth"].is_null())
        .map(|(.., event)| format!("{} {}", text(&event["Method"]), text(&event["Path"])))
        .collect();
    open.sort();
    assert_eq!(open, OPEN_ROUTES);
    assert_eq!(template.0["Resources"]["Api"]["Properties"]["Auth"]["DefaultAuthorizer"]["Ref"], "ApiAuth");
    assert_eq!(template.0["Parameters"]["ApiAuth"]["Default"], "AWS_IAM");
    assert_eq!(template.0["Parameters"]["Local"]["Default"], "false");
    assert!(template.of_type("AWS::Lambda::Url").is_empty() && !template.0.to_string().contains("FunctionUrlConfig"));
}

#[test]
fn an_open_api_is_refused_outside_the_local_stack() {
    let template = Template::read("template.yaml");
    let rules = template.0["Rules"].as_object().unwrap();
    let refused = rules.values().any(|rule| {
        rule["RuleCondition"]["Fn::Equals"] == serde_json::json!([{ "Ref": "ApiAuth" }, "NONE"])
            && rule["Assertions"][0]["Assert"]["Fn::Equals"] == serde_json::json!([{ "Ref": "Local" }, "true"])
    });
    assert!(refused);
}

#[test]
fn no_statement_allows_every_action_or_every_resource() {
    let template = Template::read("template.yaml");
    let roles = template.of_type("AWS::IAM::Role");
    let mut seen = 0;
    for (name, role) in &roles {
        for statement in statements(role) {
            seen += 1;
            for part in ["Action", "Resource"] {
                let starred: Vec<_> = texts(&statement[part]).into_iter().filter(|text| text.contains('*')).collect();
                assert!(starred.is_empty() && !statement[part].is_null(), "{name}: {part} {starred:?} of {statement}");
            }
            assert!(statement["NotAction"].is_null() && statement["NotResource"].is_null(), "{name} allows all but something");
        }
    }
    assert!(seen >= 10, "only {seen} statements found: this test looks in the wrong place");
    for name in ["BedrockModelArns", "Model"] {
        let pattern = text(&template.0["Parameters"][name]["AllowedPattern"]);
        let allows_a_star = pattern.split('[').skip(1).any(|class| class.split(']').next().is_some_and(|class| class.contains('*')));
        assert!(!pattern.is_empty() && !allows_a_star, "a `*` in {name} would end up in a policy");
    }
}

#[test]
fn each_function_has_a_role_of_its_own_with_x_ray_as_the_only_managed_policy() {
    let template = Template::read("template.yaml");
    let roles: std::collections::BTreeMap<_, _> = template.of_type("AWS::IAM::Role").into_iter().collect();
    let mut taken = Vec::new();
    for (folder, function) in template.functions() {
        let role = referenced(&function["Role"]).unwrap_or_else(|| panic!("SAM would write the role of {folder}, with a `*` in it"));
        assert!(!taken.contains(&role.to_owned()), "{folder} shares {role}");
        taken.push(role.to_owned());
        let managed: Vec<_> = texts(&roles[role]["ManagedPolicyArns"]);
        assert_eq!(managed, ["arn:${AWS::Partition}:iam::aws:policy/AWSXRayDaemonWriteAccess"], "{folder}");
        assert!(function["Policies"].is_null(), "{folder}: policies belong to the role");
    }
}

#[test]
fn probes_and_operators_change_next_to_nothing_and_only_the_consumer_takes_tasks_off_the_queue() {
    let template = Template::read("template.yaml");
    let may = |role: &str, action: &str, resource: Option<&str>| {
        let role = &template.0["Resources"][role]["Properties"];
        statements(role).into_iter().any(|statement| {
            each(&statement["Action"]).iter().any(|it| it.as_str().is_some_and(|it| it.starts_with(action)))
                && resource.is_none_or(|name| each(&statement["Resource"]).into_iter().any(|it| referenced(it) == Some(name)))
        })
    };
    for action in ["dynamodb:Put", "dynamodb:Delete", "dynamodb:BatchWrite", "sqs:Send", "sqs:Receive", "sqs:Delete", "bedrock:"] {
        assert!(!may("HealthRole", action, None), "health may {action}…");
    }
    // The partitions that these two may change an item of: what probes leave for each other, and what was counted.
    for (role, partition) in [("HealthRole", "#probe"), ("OperatorApiRole", "#metrics")] {
        let all = statements(&template.0["Resources"][role]["Properties"]);
        let writes = |statement: &&&Value| each(&statement["Action"]).iter().any(|it| **it == "dynamodb:UpdateItem");
        let keys: Vec<_> =
            all.iter().filter(writes).map(|it| &it["Condition"]["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]).collect();
        assert_eq!(keys, [&serde_json::json!([partition])], "{role}");
    }
    for role in ["AgentApiRole", "DlqRedriveRole", "HealthRole", "OperatorApiRole", "SweeperRole"] {
        assert!(!may(role, "sqs:Receive", Some("Tasks")), "{role} may take tasks");
    }
    assert!(may("QueueConsumerRole", "sqs:Receive", Some("Tasks")));
    assert!(may("DlqRedriveRole", "sqs:StartMessageMoveTask", Some("DeadLetters")));
    for role in ["AgentApiRole", "DlqRedriveRole", "HealthRole", "QueueConsumerRole", "SweeperRole", "OperatorApiRole"] {
        assert_eq!(may(role, "dynamodb:Scan", Some("Table")), role == "OperatorApiRole", "{role}: only operators read the whole table");
    }
    for action in ["dynamodb:Delete", "dynamodb:BatchWrite", "sqs:", "bedrock:", "secretsmanager:"] {
        assert!(!may("OperatorApiRole", action, None), "operator-api may {action}…");
    }
    assert!(may("SweeperRole", "sqs:Delete", Some("DeadLetters")) && !may("SweeperRole", "bedrock:", None));
}

#[test]
fn the_table_can_be_restored_forgets_what_expires_and_survives_its_stack() {
    let template = Template::read("template.yaml");
    let tables = template.of_type("AWS::DynamoDB::Table");
    assert_eq!(tables.len(), 1, "one table");
    let (name, table) = tables[0];
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
    assert_eq!(table["SSESpecification"]["SSEEnabled"], true);
    assert_eq!(table["TimeToLiveSpecification"], serde_json::json!({ "AttributeName": "expires_at", "Enabled": true }));
    assert_eq!(table["DeletionProtectionEnabled"]["Ref"], "DeletionProtection");
    assert_eq!(template.0["Parameters"]["DeletionProtection"]["Default"], "true");
    let resource = &template.0["Resources"][name];
    assert!(resource["DeletionPolicy"].as_str().is_some_and(|policy| policy.starts_with("Retain")));
    assert_eq!(resource["UpdateReplacePolicy"], "Retain");
}

#[test]
fn the_stage_is_throttled_traced_and_logged() {
    let template = Template::read("template.yaml");
    let api = &template.0["Resources"]["Api"]["Properties"];
    assert_eq!(api["MethodSettings"][0]["ThrottlingRateLimit"]["Ref"], "RequestsPerSecond");
    assert!(!api["MethodSettings"][0]["ThrottlingBurstLimit"].is_null());
    assert_eq!(api["TracingEnabled"], true);
    assert_eq!(referenced(&api["AccessLogSetting"]["DestinationArn"]), Some("ApiLogs"));
}

#[test]
fn what_the_gateway_answers_by_itself_is_a_problem_document() {
    let template = Template::read("template.yaml");
    let responses = template.0["Resources"]["Api"]["Properties"]["GatewayResponses"].as_object().unwrap();
    assert!(responses.contains_key("DEFAULT_4XX") && responses.contains_key("DEFAULT_5XX"));
    for (kind, response) in responses {
        assert_eq!(response["ResponseParameters"]["Headers"]["Content-Type"], "'application/problem+json'", "{kind}");
        let body = text(&response["ResponseTemplates"]["application/json"]).replace("$context.error.messageString", "\"x\"");
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{kind}: {error}"));
        for field in ["type", "title", "code", "detail", "request_id"] {
            assert!(body[field].is_string(), "{kind} has no {field}");
        }
        if let Some(status) = response["StatusCode"].as_str() {
            assert_eq!(body["status"].to_string(), status, "{kind}: the document and the status line differ");
        }
    }
}
