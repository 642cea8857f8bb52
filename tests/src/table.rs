//! The table from behind: one item as it is.

use serde_json::{Value, json};

use crate::Stack;
use crate::client::list;

impl Stack {
    /// The item with this key, in DynamoDB's own JSON; null if there is none.
    #[track_caller]
    #[must_use]
    pub fn item(&self, pk: &str, sk: &str) -> Value {
        let tables = self.dynamodb("ListTables", &json!({}));
        let table = list(&tables, "TableNames").first().and_then(Value::as_str).unwrap_or_default();
        let key = json!({"TableName": table, "Key": {"pk": {"S": pk}, "sk": {"S": sk}}, "ConsistentRead": true});
        self.dynamodb("GetItem", &key)["Item"].clone()
    }

    /// Who holds the lease of a run.
    #[track_caller]
    #[must_use]
    pub fn lease_owner(&self, run: &str) -> Option<String> {
        self.item(&format!("local#run#{run}"), "run")["lease_owner"]["S"].as_str().map(str::to_owned)
    }

    #[track_caller]
    fn dynamodb(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        self.emulator.send("POST", "/", &headers, body.to_string().into_bytes()).must(200)
    }
}
