//! Conditions and updates as DynamoDB takes them. Every name has an alias, because hundreds of plain words (`state`, `usage`, …) are
//! reserved and the list is not ours.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::items::Item;

/// A condition, an update, or both.
#[derive(Debug, Clone, Default)]
pub(super) struct Expression {
    conditions: Vec<String>,
    set: Vec<String>,
    remove: Vec<String>,
    names: HashMap<String, String>,
    values: Item,
}

/// What a request takes of an expression.
pub(super) struct Parts {
    pub(super) condition: Option<String>,
    pub(super) update: String,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<Item>,
}

impl Expression {
    fn name(&mut self, name: &'static str) -> String {
        let alias = format!("#{name}");
        self.names.insert(alias.clone(), name.to_owned());
        alias
    }

    fn value(&mut self, name: &str, value: AttributeValue) -> String {
        let mut alias = format!(":{name}");
        while self.values.contains_key(&alias) {
            alias.push('_');
        }
        self.values.insert(alias.clone(), value);
        alias
    }

    fn compare(mut self, name: &'static str, sign: &str, value: AttributeValue) -> Self {
        let (name_alias, value) = (self.name(name), self.value(name, value));
        self.conditions.push(format!("{name_alias} {sign} {value}"));
        self
    }

    /// The attribute has this value.
    pub(super) fn if_is(self, name: &'static str, value: AttributeValue) -> Self {
        self.compare(name, "=", value)
    }

    /// The attribute has another value.
    pub(super) fn if_is_not(self, name: &'static str, value: AttributeValue) -> Self {
        self.compare(name, "<>", value)
    }

    /// The attribute has this value, or is absent where that is none.
    pub(super) fn if_as(self, name: &'static str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.if_is(name, value),
            None => self.if_absent(name),
        }
    }

    /// The attribute is below this value.
    pub(super) fn if_below(self, name: &'static str, value: AttributeValue) -> Self {
        self.compare(name, "<", value)
    }

    /// The attribute is this value or below.
    pub(super) fn if_at_most(self, name: &'static str, value: AttributeValue) -> Self {
        self.compare(name, "<=", value)
    }

    /// The attribute is above this value.
    pub(super) fn if_above(self, name: &'static str, value: AttributeValue) -> Self {
        self.compare(name, ">", value)
    }

    /// There is no such attribute; of `pk`: no such item.
    pub(super) fn if_absent(mut self, name: &'static str) -> Self {
        let alias = self.name(name);
        self.conditions.push(format!("attribute_not_exists({alias})"));
        self
    }

    /// There is such an attribute; of `pk`: such an item.
    pub(super) fn if_there(mut self, name: &'static str) -> Self {
        let alias = self.name(name);
        self.conditions.push(format!("attribute_exists({alias})"));
        self
    }

    /// At least one of the conditions that `conditions` adds holds.
    pub(super) fn any(self, conditions: impl FnOnce(Self) -> Self) -> Self {
        self.group(" OR ", conditions)
    }

    /// All of the conditions that `conditions` adds hold: for a branch of [`Self::any`].
    pub(super) fn all(self, conditions: impl FnOnce(Self) -> Self) -> Self {
        self.group(" AND ", conditions)
    }

    fn group(mut self, sign: &str, conditions: impl FnOnce(Self) -> Self) -> Self {
        let outer = std::mem::take(&mut self.conditions);
        let mut grouped = conditions(self);
        let inner = std::mem::replace(&mut grouped.conditions, outer).join(sign);
        grouped.conditions.push(format!("({inner})"));
        grouped
    }

    /// Gives the attribute this value.
    pub(super) fn set(mut self, name: &'static str, value: AttributeValue) -> Self {
        let (alias, value) = (self.name(name), self.value(name, value));
        self.set.push(format!("{alias} = {value}"));
        self
    }

    /// Gives the attribute this value unless it has one.
    pub(super) fn set_once(mut self, name: &'static str, value: AttributeValue) -> Self {
        let (alias, value) = (self.name(name), self.value(name, value));
        self.set.push(format!("{alias} = if_not_exists({alias}, {value})"));
        self
    }

    /// Gives the attribute this value, or removes it where that is none.
    pub(super) fn set_or_remove(self, name: &'static str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self.remove(name),
        }
    }

    /// Counts the attribute up; one that is absent counts as 0.
    pub(super) fn count(mut self, name: &'static str) -> Self {
        let alias = self.name(name);
        let (zero, one) = (self.value("zero", super::items::n(0)), self.value("one", super::items::n(1)));
        self.set.push(format!("{alias} = if_not_exists({alias}, {zero}) + {one}"));
        self
    }

    /// Adds to the attribute, a number; one that is absent counts as 0.
    pub(super) fn add(mut self, name: &'static str, more: AttributeValue) -> Self {
        let alias = self.name(name);
        let (zero, more) = (self.value("zero", super::items::n(0)), self.value(name, more));
        self.set.push(format!("{alias} = if_not_exists({alias}, {zero}) + {more}"));
        self
    }

    /// Adds to the end of the attribute, a list; one that is absent counts as empty.
    pub(super) fn append(mut self, name: &'static str, value: AttributeValue) -> Self {
        let alias = self.name(name);
        let empty = self.value("empty", AttributeValue::L(Vec::new()));
        let value = self.value(name, AttributeValue::L(vec![value]));
        self.set.push(format!("{alias} = list_append(if_not_exists({alias}, {empty}), {value})"));
        self
    }

    /// Removes the attribute.
    pub(super) fn remove(mut self, name: &'static str) -> Self {
        let alias = self.name(name);
        self.remove.push(alias);
        self
    }

    /// What a request takes of it.
    pub(super) fn into_parts(self) -> Parts {
        let clause = |word: &str, parts: &[String]| (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")));
        let update: Vec<String> = [clause("SET", &self.set), clause("REMOVE", &self.remove)].into_iter().flatten().collect();
        Parts {
            condition: (!self.conditions.is_empty()).then(|| self.conditions.join(" AND ")),
            update: update.join(" "),
            // DynamoDB refuses empty ones.
            names: (!self.names.is_empty()).then_some(self.names),
            values: (!self.values.is_empty()).then_some(self.values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::{n, s};
    use super::*;

    #[test]
    fn an_expression_reads_as_dynamodb_takes_it() {
        let parts = Expression::default()
            .set("state", s("running"))
            .count("lease_no")
            .append("transitions", s("t"))
            .set_or_remove("cost_micros", None)
            .if_is("epoch", n(1))
            .any(|e| e.if_is("state", s("queued")).all(|e| e.if_is("state", s("running")).if_at_most("lease_until_ms", n(5))))
            .into_parts();
        assert_eq!(
            parts.update,
            "SET #state = :state, #lease_no = if_not_exists(#lease_no, :zero) + :one, \
             #transitions = list_append(if_not_exists(#transitions, :empty), :transitions) REMOVE #cost_micros"
        );
        assert_eq!(
            parts.condition.unwrap(),
            "#epoch = :epoch AND (#state = :state_ OR (#state = :state__ AND #lease_until_ms <= :lease_until_ms))"
        );
        let values = parts.values.unwrap();
        assert_eq!((&values[":state"], &values[":state_"], &values[":state__"]), (&s("running"), &s("queued"), &s("running")));
        assert_eq!(parts.names.unwrap()["#cost_micros"], "cost_micros");
    }

    #[test]
    fn what_is_empty_is_left_out() {
        let parts = Expression::default().if_absent("pk").into_parts();
        assert_eq!((parts.condition.as_deref(), parts.update.as_str()), (Some("attribute_not_exists(#pk)"), ""));
        assert!(parts.values.is_none(), "a request with no value at all must not carry an empty map");
    }
}
