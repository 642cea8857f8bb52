//! The table from behind: what is in it, whatever the API shows.

use serde_json::{Value, json};

use crate::Stack;
use crate::client::{list, text};

impl Stack {
    /// The item with this key, in DynamoDB's own JSON; null if there is none.
    #[track_caller]
    #[must_use]
    pub fn item(&self, pk: &str, sk: &str) -> Value {
        let key = json!({"TableName": self.table(), "Key": {"pk": {"S": pk}, "sk": {"S": sk}}, "ConsistentRead": true});
        self.dynamodb("GetItem", &key)["Item"].clone()
    }

    /// Writes an item, in DynamoDB's own JSON.
    #[track_caller]
    pub fn put_item(&self, item: &Value) {
        let _ = self.dynamodb("PutItem", &json!({"TableName": self.table(), "Item": item}));
    }

    /// Takes an item away, if it is there.
    #[track_caller]
    pub fn delete_item(&self, pk: &str, sk: &str) {
        let _ = self.dynamodb("DeleteItem", &json!({"TableName": self.table(), "Key": {"pk": {"S": pk}, "sk": {"S": sk}}}));
    }

    /// Who holds the lease of a run.
    #[track_caller]
    #[must_use]
    pub fn lease_owner(&self, run: &str) -> Option<String> {
        self.item(&format!("local#run#{run}"), "run")["lease_owner"]["S"].as_str().map(str::to_owned)
    }

    /// The keys of all items that have this text anywhere in them.
    #[track_caller]
    #[must_use]
    pub fn items_with(&self, part: &str) -> Vec<String> {
        let (mut found, mut start) = (Vec::new(), Value::Null);
        loop {
            let mut scan = json!({"TableName": self.table(), "ConsistentRead": true});
            if !start.is_null() {
                scan["ExclusiveStartKey"] = start;
            }
            let page = self.dynamodb("Scan", &scan);
            let items = list(&page, "Items").iter().filter(|item| item.to_string().contains(part));
            found.extend(items.map(|item| format!("{} {}", text(&item["pk"], "S"), text(&item["sk"], "S"))));
            start = page["LastEvaluatedKey"].clone();
            if start.is_null() {
                return found;
            }
        }
    }

    /// The table's name.
    ///
    /// # Panics
    /// When the stack has none.
    #[track_caller]
    #[must_use]
    pub fn table(&self) -> String {
        let tables = self.dynamodb("ListTables", &json!({}));
        // Beside it stand those that other tests have made for themselves.
        let of_the_stack = format!("{}-Table-", self.name);
        let mut names = list(&tables, "TableNames").iter().filter_map(Value::as_str);
        names.find(|name| name.starts_with(&of_the_stack)).unwrap_or_else(|| panic!("the stack has no table: {tables}")).to_owned()
    }

    /// Asks DynamoDB itself.
    #[track_caller]
    #[must_use]
    pub fn dynamodb(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target.as_str())];
        self.emulator.send("POST", "/", &headers, body.to_string().into_bytes()).must(200)
    }
}
